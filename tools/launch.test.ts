/**
 * The launchers, in a project of their own: a program that says what it got, on the runtime that is installed here.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { after, test } from 'node:test'

const ROOT = dirname(import.meta.dirname)
const projects = mkdtempSync(join(tmpdir(), 'sealworks launch '))
after(() => rmSync(projects, { recursive: true }))

/** The package that this test itself runs on. */
const RUNTIME = relative(ROOT, dirname(dirname(realpathSync(process.execPath))))
const PROGRAM = `
const { argv, execPath, version } = process
if (argv[2] === 'wait') {
  process.on('SIGTERM', () => process.exit(7))
  setInterval(() => {}, 1000)
  console.log('waiting')
} else if (argv[2] === 'die') process.kill(process.pid, 'SIGKILL')
else {
  console.log(JSON.stringify({ args: argv.slice(2), execPath, version }))
  process.exit(argv[2] === 'fail' ? 3 : 0)
}
`
const LOCKED = { version: '1.0.0', integrity: 'sha512-AA==' }

interface Project {
  readonly files?: Readonly<Record<string, string | undefined>>
  readonly withRuntime?: boolean
}

/** A checkout with one package of the lockfile installed. */
function project({ files = {}, withRuntime = true }: Project = {}): string {
  const root = mkdtempSync(join(projects, 'a checkout '))
  const all = {
    'package.json': JSON.stringify({ name: 'p', version: '1.0.0', dependencies: { a: '1.0.0' } }),
    'package-lock.json': JSON.stringify({
      lockfileVersion: 3,
      packages: { '': { dependencies: { a: '1.0.0' } }, 'node_modules/a': LOCKED },
    }),
    'node_modules/.package-lock.json': JSON.stringify({ lockfileVersion: 3, packages: { 'node_modules/a': LOCKED } }),
    'src/trial/main.ts': PROGRAM,
    'src/cli/main.ts': PROGRAM,
    ...files,
  }
  for (const file of ['tools/launch.mjs', 'tools/relink.mjs', 'bin/sealworks']) cpSync(join(ROOT, file), join(root, file))
  for (const [file, text] of Object.entries(all)) {
    if (text === undefined) continue
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
  mkdirSync(join(root, 'node_modules'), { recursive: true })
  if (withRuntime) symlinkSync(join(ROOT, RUNTIME), join(root, RUNTIME))
  return root
}

interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

const launch = (root: string, ...args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [join(root, 'tools/launch.mjs'), ...args], {
    cwd: root,
    env: {
      ...process.env,
      npm_execpath: undefined,
      // nobody listens there
      npm_config_registry: 'http://127.0.0.1:9/',
      npm_config_fetch_retries: '0',
      npm_config_cache: join(root, 'cache'),
    },
  })

async function ending(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { code, signal, stdout, stderr }
}

test('npm start goes on under the pinned runtime, with its arguments, and links it for npm scripts', async () => {
  const root = project()
  const { code, stdout, stderr } = await ending(launch(root, 'start', '--exit', 'a b'))
  assert.equal(stderr, '')
  assert.deepEqual(JSON.parse(stdout), { args: ['--exit', 'a b'], execPath: process.execPath, version: process.version })
  assert.equal(code, 0)
  assert.equal(readlinkSync(join(root, 'node_modules/.bin/node')), join('..', RUNTIME.replace('node_modules/', ''), 'bin/node'))
})

test('the end of the program is the end of the launcher: its exit code', async () => {
  assert.equal((await ending(launch(project(), 'start', 'fail'))).code, 3)
})

test('the end of the program is the end of the launcher: the signal that killed it', async () => {
  assert.equal((await ending(launch(project(), 'start', 'die'))).signal, 'SIGKILL')
})

test('a signal reaches the program, which ends as it sees fit', async () => {
  const child = launch(project(), 'start', 'wait')
  const end = ending(child)
  await once(child.stdout ?? child, 'data')
  child.kill('SIGTERM')
  assert.equal((await end).code, 7)
})

const refused = [
  {
    name: 'a program that is not there',
    mode: 'start',
    files: { 'src/trial/main.ts': undefined },
    says: /src\/trial\/main\.ts is not in this checkout/,
  },
  {
    name: 'no lockfile',
    mode: 'start',
    files: { 'package-lock.json': undefined },
    says: /package-lock\.json is not in this checkout/,
  },
  { name: 'no such mode', mode: 'toString', files: {}, says: /say one of: start, test, install/ },
  {
    name: 'packages that cannot be fetched, without saying from where',
    mode: 'start',
    files: { 'node_modules/.package-lock.json': undefined },
    says: /installing 1 package \(npm ci\)[\s\S]*npm ci failed[\s\S]*ECONNREFUSED[\s\S]*run the same command again/,
  },
  {
    name: 'another version than the lockfile has',
    mode: 'start',
    files: {
      'node_modules/.package-lock.json': JSON.stringify({ packages: { 'node_modules/a': { ...LOCKED, version: '0.9.0' } } }),
    },
    says: /installing 1 package/,
  },
] as const
for (const { name, mode, files, says } of refused) {
  test(`refused with what to do next: ${name}`, async () => {
    const { code, stdout, stderr } = await ending(launch(project({ files }), mode))
    assert.match(stderr, says)
    assert.doesNotMatch(stderr, /https?:|127\.0\.0\.1|^ +at /m)
    assert.equal(stdout, '')
    assert.equal(code, 1)
  })
}

test('packages for development are wanted for the tests, not to start', async () => {
  const lockfile = {
    packages: {
      'node_modules/a': LOCKED,
      'node_modules/b': { ...LOCKED, dev: true },
      'node_modules/c': { ...LOCKED, optional: true },
    },
  }
  const files = { 'package-lock.json': JSON.stringify(lockfile) }
  assert.equal((await ending(launch(project({ files }), 'start'))).code, 0)
  assert.match((await ending(launch(project({ files }), 'install'))).stderr, /installing 1 package/)
})

for (const form of ['by its path', 'through a link to a link', 'from PATH', 'by sh in its own folder'] as const) {
  test(`bin/sealworks starts ${form}`, async () => {
    const root = project()
    const bin = join(root, 'bin/sealworks')
    const elsewhere = mkdtempSync(join(projects, 'else where '))
    symlinkSync('second', join(elsewhere, 'sealworks'))
    symlinkSync(bin, join(elsewhere, 'second'))
    const env = { ...process.env, PATH: `${elsewhere}:${process.env['PATH']}` }
    const [command, args, cwd] = {
      'by its path': [bin, [], '/'] as const,
      'through a link to a link': [join(elsewhere, 'sealworks'), [], '/'] as const,
      'from PATH': ['sealworks', [], '/'] as const,
      'by sh in its own folder': ['sh', ['sealworks'], dirname(bin)] as const,
    }[form]
    const { code, stdout, stderr } = await ending(spawn(command, [...args, 'fail', 'a b'], { cwd, env }))
    assert.equal(stderr, '')
    assert.deepEqual(JSON.parse(stdout), { args: ['fail', 'a b'], execPath: process.execPath, version: process.version })
    assert.equal(code, 3)
  })
}

test('bin/sealworks is the process that runs: a signal needs nobody to pass it on', async () => {
  const child = spawn(join(project(), 'bin/sealworks'), ['wait'])
  const end = ending(child)
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  assert.equal((await end).code, 7)
})

test('bin/sealworks without a runtime says how to get it', async () => {
  const root = project({ withRuntime: false })
  chmodSync(join(root, 'bin/sealworks'), 0o755)
  const { code, stderr } = await ending(spawn(join(root, 'bin/sealworks'), []))
  assert.match(stderr, /runtime it needs is not installed\. Run: cd '.*a checkout .*' && npm ci\n$/)
  assert.equal(code, 1)
  assert.ok(!existsSync(join(root, 'node_modules/.cache')))
})
