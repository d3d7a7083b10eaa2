/** What the main thread answers for its fronts. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLog } from '#base/log.ts'
import type { Found } from '#protocols/dispatch.ts'
import { answer } from './fronts.ts'
import { borrowStream } from './lent-stream.ts'

test('a page that fails is a fault of one answer, and does not end the thread that everybody needs', async () => {
  const observed: unknown[] = []
  const observe = { request: (...request: unknown[]) => void observed.push(request.slice(0, 3)), connection() {} }
  const peer = { address: '192.0.2.1', chain: [] }
  const rest = { requestId: 'r', method: 'GET', query: '', headers: {}, body: new Uint8Array(0), peer }
  const found: Record<string, () => Found> = {
    '/broken': () => ({ route: 'broken', run: () => Promise.reject(new Error('the database is away')) }),
    '/torn': () => ({
      route: 'torn',
      run: async () => ({
        ...{ status: 200, headers: {}, body: '' },
        stream: {
          octets: 2,
          async *read() {
            yield Uint8Array.of(1)
            throw new Error('the rest was dropped')
          },
        },
      }),
    }),
    '/worse': () => {
      throw new Error('not even a route')
    },
  }
  const routers = { tls: [({ path }: { readonly path: string }) => found[path]?.()], public: [], console: [] }
  const ask = (path: string) => answer({ routers, observe, log: silentLog }, { listener: 'tls', arrival: { ...rest, path } })
  for (const path of ['/broken', '/worse']) {
    const { status, body } = await ask(path)
    assert.equal(status, 500)
    assert.doesNotMatch(String(body), /database|dropped|route/, 'nothing of what is inside is told')
  }
  assert.equal((await ask('/nowhere')).status, 404)
  const { stream } = await ask('/torn')
  assert.ok(stream)
  const read: Uint8Array[] = []
  await assert.rejects(
    async () => {
      for await (const piece of borrowStream(stream.port)) read.push(piece)
    },
    { code: 'internal' },
  )
  assert.deepEqual(read, [Uint8Array.of(1)], 'what is lent comes as far as there is any, and then the fault')
  assert.deepEqual(observed, [
    ['tls', 'broken', 500],
    ['tls', 'none', 500],
    ['tls', 'none', 404],
    ['tls', 'torn', 200],
  ])
})
