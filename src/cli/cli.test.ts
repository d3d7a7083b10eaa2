import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { type Command, optionName } from './command.ts'
import { exitCodeOf } from './exit-codes.ts'
import { helpOf } from './help.ts'
import { parseWords } from './parse.ts'
import { nouns } from './registry.ts'
import { runCommandLine } from './run.ts'
import { words } from './testing.ts'

const commands: readonly Command[] = (await Promise.all(nouns.map(({ load }) => load()))).flatMap(({ commands }) => commands)
const nameOf = ({ noun, verb }: Command): string => [noun, verb].filter(Boolean).join(' ')

test('there are commands, each under one name', () => {
  assert.ok(commands.length > 40)
  assert.equal(new Set(commands.map(nameOf)).size, commands.length)
})

for (const command of commands) {
  test(`${nameOf(command)}: its example is a command line of it`, () => {
    const [program, ...given] = words(command.example.split(' > ')[0] ?? '')
    assert.equal(program, 'sealworks')
    const own = nameOf(command).split(' ')
    assert.deepEqual(given.slice(0, own.length), own)
    if (given.includes('--help')) return
    assert.ok(parseWords(command, given.slice(own.length)) !== undefined)
  })

  test(`${nameOf(command)}: help names every operand and option`, () => {
    const help = helpOf(command)
    for (const key of Object.keys({ ...command.options, ...command.sharedOptions }))
      assert.ok(help.includes(`--${optionName(key)}`), key)
    for (const { placeholder = '' } of Object.values(command.operands)) assert.ok(help.includes(placeholder), placeholder)
    assert.ok(help.includes(command.example))
    assert.doesNotMatch(help, /undefined|\[object/)
  })

  test(`${nameOf(command)}: no secret can be given as an argument`, () => {
    const takesText = Object.entries(command.options).filter(([, { placeholder }]) => placeholder !== undefined)
    const secrets = takesText.filter(([key]) => /password|token|passphrase|private/i.test(key) && !/(File|Env)$/.test(key))
    assert.deepEqual(secrets, [])
  })
}

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function run(
  line: string,
  options: { readonly columns?: number; readonly environment?: Record<string, string> } = {},
): Promise<Ran> {
  const out = { stdout: '', stderr: '' }
  const output = (name: 'stdout' | 'stderr') => ({
    columns: options.columns,
    write: async (data: string | Uint8Array) =>
      void (out[name] += typeof data === 'string' ? data : Buffer.from(data).toString()),
  })
  const code = await runCommandLine(words(line), {
    world: systemWorld(),
    environment: options.environment ?? {},
    directory: '/nonexistent',
    signal: new AbortController().signal,
    stdout: output('stdout'),
    stderr: output('stderr'),
    stdin: async () => new Uint8Array(0),
  })
  return { code, ...out }
}

test('with --json, standard output holds one JSON value or nothing, whatever happens', async () => {
  const cases = [
    { line: 'version --json', code: 0 },
    { line: 'help --json', code: 0 },
    { line: 'ca --help --json', code: 0 },
    { line: 'ca create --help --json', code: 0 },
    { line: 'config explain --json', code: 0 },
    { line: 'config check --json', code: 0 },
    { line: '--json', code: 2 },
    { line: 'nonsense --json', code: 2 },
    { line: 'ca nonsense --json', code: 2 },
    { line: 'inspect /nonexistent/file --json', code: 4 },
    { line: 'ca list --server https://127.0.0.1:1 --json', code: 8 },
    { line: 'ca list --data /nonexistent --json', code: 8 },
    { line: 'ca list --token-file /nonexistent/token --json', code: 4 },
  ]
  for (const { line, code } of cases) {
    const ran = await run(line)
    assert.equal(ran.code, code, `${line}: ${ran.stderr}`)
    if (code === 0) {
      assert.ok(JSON.parse(ran.stdout) !== undefined, line)
      assert.equal(ran.stderr, '', line)
    } else {
      assert.equal(ran.stdout, '', line)
      const problem = JSON.parse(ran.stderr) as Record<string, unknown>
      assert.match(String(problem['type']), /^urn:sealworks:/, line)
      assert.equal(problem['exitCode'], code, line)
      assert.ok(String(problem['detail']).length > 10, line)
    }
  }
})

test('the exit codes are those that scripts rely on', () => {
  assert.deepEqual(exitCodeOf, {
    malformed: 1,
    tooLarge: 1,
    unsupported: 1,
    unauthenticated: 3,
    forbidden: 3,
    badProof: 9,
    policyRefused: 7,
    quotaExceeded: 7,
    notFound: 4,
    conflict: 5,
    rateLimited: 7,
    unavailable: 8,
    internal: 1,
  })
})

test('a configuration with mistakes is told line by line, and ends with 1', async () => {
  const { code, stdout } = await run('config check', { environment: { SEALWORKS_SERVER_LISTENN: 'x' } })
  assert.equal(code, 1)
  assert.match(stdout, /SEALWORKS_SERVER_LISTENN is no setting; did you mean SEALWORKS_SERVER_LISTEN\?/)
})

test('an interruption ends with 130', async () => {
  const ending = new AbortController()
  const silent = { columns: undefined, write: async () => {} }
  const running = runCommandLine(['inspect', '-'], {
    world: systemWorld(),
    environment: {},
    directory: '/',
    signal: ending.signal,
    stdout: silent,
    stderr: silent,
    stdin: () => new Promise(() => {}), // a person who never types
  })
  setImmediate(() => ending.abort())
  assert.equal(await running, 130)
})
