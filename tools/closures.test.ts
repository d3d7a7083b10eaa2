/**
 * What the agent loads, file by file: at once, and later where it is needed. A device is small, so the list changes only on
 * purpose: `UPDATE=1 node --test tools/closures.test.ts` writes it anew.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripTypeScriptTypes } from 'node:module'
import { test } from 'node:test'
import { importsOf } from './tidy.ts'

const ROOT = join(import.meta.dirname, '..')
const GOLDEN = join(import.meta.dirname, 'closures/agent.txt')
/** The command's own files, and the agent, which one loads by the other. */
const ENTRIES = ['src/cli/device-agent.ts'] as const

/** Neither database nor authority nor server, and none of their packages. */
const REFUSED = [
  /^src\/(?:store|ca|server|audit|access|approvals|backup|orders|config|trial)\//,
  /^src\/(?:devices|updates|licenses|commands|usage)\/(?!(?:.+\/)?messages\.ts$)/,
  /^src\/keys\/(?!contract\.ts$|key-store\.ts$)/,
  /^src\/signing\/(?!formats\/|artifact\/|format\.ts$|messages\.ts$)/,
  /^src\/protocols\/(?!http-client\.ts$|[^/]+\/(?:client|messages|csr-attributes)\.ts$|ddi\/service\.ts$)/,
  /^(?!src\/|node:)/,
]

/** Static imports without those for types, which the runtime never sees; and the dynamic ones apart. */
function loadedBy(file: string): { readonly atOnce: readonly string[]; readonly later: readonly string[] } {
  const code = stripTypeScriptTypes(readFileSync(join(ROOT, file), 'utf8'))
  const later = new Set([...code.matchAll(/(?<![.\w$])import\s*\(\s*(['"])([^'"\n]+)\1/g)].map(([, , specifier]) => specifier))
  const all = importsOf(file, code)
  return {
    atOnce: all.filter(({ specifier }) => !later.has(specifier)).map(({ target }) => target),
    later: all.filter(({ specifier }) => later.has(specifier)).map(({ target }) => target),
  }
}

/** Everything that is reached from these files; packages and modules of the runtime as they are named. */
function closureOf(entries: readonly string[], alsoLater: boolean): ReadonlySet<string> {
  const found = new Set<string>()
  const visit = (file: string): void => {
    if (found.has(file)) return
    found.add(file)
    if (!file.startsWith('src/')) return
    const { atOnce, later } = loadedBy(file)
    for (const target of alsoLater ? [...atOnce, ...later] : atOnce) visit(target)
  }
  for (const entry of entries) visit(entry)
  return found
}

const ours = (files: ReadonlySet<string>): readonly string[] => [...files].filter((file) => file.startsWith('src/')).toSorted()

test('the agent loads the files of its list, and nothing of store, authority and server', () => {
  const [atOnce, all] = [closureOf(ENTRIES, false), closureOf(ENTRIES, true)]
  const later = ours(all).filter((file) => !atOnce.has(file))
  const text = `# At once\n${ours(atOnce).join('\n')}\n\n# Where it is needed\n${later.join('\n')}\n`
  if (process.env['UPDATE'] === '1') writeFileSync(GOLDEN, text)
  assert.equal(text, readFileSync(GOLDEN, 'utf8'), 'UPDATE=1 writes the list anew, if what is new belongs on a device')
  assert.deepEqual(
    [...all].filter((file) => REFUSED.some((pattern) => pattern.test(file))),
    [],
  )
})

test('types are not loaded, and what is refused is seen', () => {
  const { atOnce } = loadedBy('src/agent/verify.ts')
  assert.ok(atOnce.includes('src/agent/trust.ts') && !atOnce.includes('src/signing/artifact/verify.ts'))
  assert.ok(loadedBy('src/agent/verify.ts').later.includes('src/signing/artifact/verify.ts'))
  assert.ok([...closureOf(['src/server/compose.ts'], false)].some((file) => REFUSED.some((pattern) => pattern.test(file))))
})
