/**
 * `operations.ts` is the client's short copy of the table of routes: a client does not load the server to know a path.
 * `UPDATE=1` writes it anew.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { allRoutes, type RouteServices } from './routes.ts'

const FILE = new URL('operations.ts', import.meta.url)

/** Stands for every service: routes are made, none is run. */
const nothing: unknown = new Proxy(() => {}, { get: () => nothing })

test('the client knows exactly the routes that there are', () => {
  const rows = allRoutes(nothing as RouteServices)
    .map(({ id, method, path }) => ({ id, line: `  ${id}: '${method} ${path}',\n` }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
  assert.ok(rows.length > 30)
  const text = `/** Method and path of every route. Made from the routes: see operations.test.ts. @module */
import type { AnyRoute } from './routes.ts'

export const operations = {
${rows.map(({ line }) => line).join('')}} as const satisfies Readonly<Record<AnyRoute['id'], string>>
`
  if (process.env['UPDATE'] === '1') writeFileSync(FILE, text)
  assert.equal(readFileSync(FILE, 'utf8'), text, 'run this test again with UPDATE=1')
})
