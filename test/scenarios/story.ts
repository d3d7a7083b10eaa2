/**
 * Reads and plays command-line stories: text files with commands, what they must end with, and what they must say.
 *
 *     # a comment
 *     needs openssl                      a program of test/interop/programs.ts; without it the story is skipped
 *     env NAME=VALUE                     for the commands that follow; empty VALUE takes it away
 *     as processes                       commands of sealworks run as processes of their own; else within this one, which is quicker
 *     $ sealworks ca list --json         runs, and must end with 0
 *     $~ sealworks …                     the same again until it ends so, for what another process does in its own time
 *     exit 4                             … or with this
 *     > pattern                          a line of standard output matches
 *     ! > pattern                        none does
 *     2> pattern                         the same for standard error; "2> nothing" and "> nothing" for silence
 *     json .authorities.0.slug = root    the one JSON value of standard output holds this
 *     let ID = .id                       keeps a part of it; $ID stands for it from then on
 *     & server sealworks serve --json    goes on in the background, once it printed a line
 *     stop server                        SIGTERM; must end with 0
 *     mode FILE 600                      permissions
 *     -- FILE --                         what follows, to the next such line, is a file of the story
 *
 * @module
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { systemWorld } from '#base/world.ts'
import { runCommandLine } from '#cli/run.ts'
import { find, programs, type ProgramName } from '../interop/programs.ts'

export interface Story {
  readonly needs: readonly ProgramName[]
  readonly steps: readonly Step[]
  readonly files: ReadonlyMap<string, string>
}

interface Step {
  readonly line: number
  readonly verb: 'as' | 'env' | '$' | '$~' | '&' | 'exit' | '>' | '! >' | '2>' | '! 2>' | 'json' | 'let' | 'stop' | 'mode'
  readonly rest: string
}

const STEP = /^(as|env|\$~|\$|&|exit|! 2>|! >|2>|>|json|let|stop|mode)\s+(.*)$/

/** @throws Error naming a line that is none of the above: a typing error must not pass as a comment */
export function parseStory(text: string): Story {
  const [script = '', ...sections] = text.split(/^-- (?=\S+ --$)/m)
  const steps: Step[] = []
  const needs: ProgramName[] = []
  for (const [index, written] of script.split('\n').entries()) {
    const line = written.trim()
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('needs ')) {
      for (const name of line.slice(6).split(' ')) {
        if (!Object.hasOwn(programs, name)) throw new Error(`line ${index + 1}: ${name} is not in test/interop/programs.ts`)
        needs.push(name as ProgramName)
      }
      continue
    }
    const [, verb, rest = ''] = STEP.exec(line) ?? []
    if (verb === undefined) throw new Error(`line ${index + 1}: "${line}" is no step`)
    steps.push({ line: index + 1, verb: verb as Step['verb'], rest })
  }
  const files = new Map(
    sections.map((section): [string, string] => {
      const end = section.indexOf(' --\n')
      return [section.slice(0, end), section.slice(end + 4)]
    }),
  )
  return { needs, steps, files }
}

interface Ended {
  readonly command: string
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

interface Running {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
}

const ROOT = join(import.meta.dirname, '..', '..')
/** A command takes a second; a machine that does much else takes some. */
const COMMAND_MILLISECONDS = 60_000
/** How often, and how far apart, what may take its time is asked again: half a minute in all. */
const AGAIN_MAX = 100
const AGAIN_MILLISECONDS = 300
/** What runs beside a story lasts as long as it; a long one takes a minute on a busy machine. */
const STORY_MILLISECONDS = 600_000

export async function playStory({ steps, files }: Story): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'story-'))
  for (const [name, content] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), content)
  }
  const variables = new Map<string, string>()
  const environment: Record<string, string | undefined> = {
    PATH: [join(ROOT, 'bin'), dirname(process.execPath), process.env['PATH']].join(delimiter),
    HOME: directory,
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
  }
  const background = new Map<string, Running>()
  let last: Ended | undefined
  let isApart = false
  const asked = (): Ended => {
    assert.ok(last !== undefined, 'nothing has run yet')
    return last
  }
  const filled = (text: string): string => text.replace(/\$([A-Z]+)\b/g, (whole, name: string) => variables.get(name) ?? whole)

  try {
    for (const [index, step] of steps.entries()) {
      const rest = filled(step.rest)
      try {
        switch (step.verb) {
          case 'env': {
            const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(rest) ?? []
            environment[name] = value === '' ? undefined : value
            break
          }
          case 'as':
            assert.equal(rest, 'processes')
            isApart = true
            break
          case '$':
          case '$~': {
            const [name, ...words] = wordsOf(rest)
            const next = steps[index + 1]
            const wanted = next?.verb === 'exit' ? Number(next.rest) : 0
            const patience = step.verb === '$~' ? AGAIN_MAX : 0
            for (let again = 0; ; again++) {
              last = await (name === 'sealworks' && !isApart
                ? within(rest, words, directory, environment)
                : begin(rest, directory, environment).ended)
              if (last.code === wanted || again === patience) break
              await pause(AGAIN_MILLISECONDS)
            }
            if (next?.verb !== 'exit') assert.equal(last.code, 0, told(last))
            break
          }
          case '&': {
            const [, name = '', command = ''] = /^(\w+)\s+(.*)$/.exec(rest) ?? []
            const running = begin(command, directory, environment, STORY_MILLISECONDS)
            background.set(name, running)
            last = await firstLine(running, command)
            break
          }
          case 'exit':
            assert.equal(asked().code, Number(rest), told(asked()))
            break
          case '>':
          case '! >':
            check(asked().stdout, rest, step.verb === '>', asked())
            break
          case '2>':
          case '! 2>':
            check(asked().stderr, rest, step.verb === '2>', asked())
            break
          case 'json': {
            const [, path = '', wanted = ''] = /^(\S+) = (.*)$/.exec(rest) ?? []
            assert.equal(String(pick(asked(), path)), wanted, told(asked()))
            break
          }
          case 'let': {
            const [, name = '', path = ''] = /^([A-Z]+) = (\S+)$/.exec(rest) ?? []
            const value = pick(asked(), path)
            assert.ok(typeof value === 'string' || typeof value === 'number', `${path} holds no text\n${told(asked())}`)
            variables.set(name, String(value))
            break
          }
          case 'stop': {
            const running = background.get(rest)
            assert.ok(running !== undefined, `nothing is called ${rest}`)
            background.delete(rest)
            running.child.kill('SIGTERM')
            last = await running.ended
            assert.equal(last.code, 0, told(last))
            break
          }
          case 'mode': {
            const [file = '', mode = ''] = rest.split(' ')
            assert.equal((statSync(join(directory, file)).mode & 0o777).toString(8), mode, file)
            break
          }
        }
      } catch (error) {
        const what = error instanceof Error ? error.message : String(error)
        throw new Error(`line ${step.line}: ${step.verb} ${step.rest}\n${what}`, { cause: error })
      }
    }
    assert.equal(background.size, 0, `still running at the end: ${[...background.keys()].join(', ')}`)
  } finally {
    for (const { child, ended } of background.values()) {
      child.kill('SIGKILL')
      await ended
    }
    rmSync(directory, { recursive: true, force: true })
  }
}

function begin(
  command: string,
  cwd: string,
  environment: Record<string, string | undefined>,
  timeout = COMMAND_MILLISECONDS,
): Running {
  const [name = '', ...words] = wordsOf(command)
  const program = Object.hasOwn(programs, name) ? (find(name as ProgramName) ?? name) : name
  const child = spawn(program, words, { cwd, env: environment, stdio: ['ignore', 'pipe', 'pipe'], timeout })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (out.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (out.stderr += text))
  const ended = once(child, 'close').then(([code]): Ended => ({ command, code: code as number | null, ...out }))
  return { child, ended }
}

/** The command line as `bin/sealworks` runs it, but for a process of its own. */
async function within(
  command: string,
  words: readonly string[],
  directory: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Ended> {
  const out = { stdout: '', stderr: '' }
  const outputTo = (stream: keyof typeof out) => ({
    columns: undefined,
    write: async (data: string | Uint8Array) =>
      void (out[stream] += typeof data === 'string' ? data : Buffer.from(data).toString()),
  })
  const code = await runCommandLine(words, {
    world: systemWorld(),
    environment,
    directory,
    signal: AbortSignal.timeout(COMMAND_MILLISECONDS),
    stdout: outputTo('stdout'),
    stderr: outputTo('stderr'),
    stdin: async () => new Uint8Array(0),
  })
  return { command, code, ...out }
}

/** A background command has begun when it said so. @throws when it ends before */
async function firstLine({ child, ended }: Running, command: string): Promise<Ended> {
  let stdout = ''
  const spoke = new Promise<undefined>((resolve) => {
    child.stdout?.on('data', (text: string) => {
      stdout += text
      if (stdout.includes('\n')) resolve(undefined)
    })
  })
  const early = await Promise.race([spoke, ended])
  if (early !== undefined) assert.fail(`it ended\n${told(early)}`)
  return { command, code: null, stdout, stderr: '' }
}

/** Words as a shell splits them, with '…' and "…" and no more: a story is no shell script. */
function wordsOf(command: string): string[] {
  return [...command.matchAll(/(?:[^\s'"]+|'[^']*'|"[^"]*")+/g)].map(([word]) => word.replace(/'([^']*)'|"([^"]*)"/g, '$1$2'))
}

function check(output: string, pattern: string, wanted: boolean, ended: Ended): void {
  if (pattern === 'nothing') return assert.equal(output, '', told(ended))
  const matches = output.split('\n').some((line) => new RegExp(pattern, 'u').test(line))
  assert.equal(matches, wanted, `${wanted ? 'no line matches' : 'a line matches'} ${pattern}\n${told(ended)}`)
}

/** @param path `.authorities.0.slug`, `.items.length` */
function pick({ stdout }: Ended, path: string): unknown {
  const value: unknown = JSON.parse(stdout) // throws unless it is one JSON value and nothing else
  return path
    .split('.')
    .filter((part) => part !== '')
    .reduce((at, part) => (at as Record<string, unknown> | undefined)?.[part], value)
}

const told = ({ command, code, stdout, stderr }: Ended): string => `$ ${command}\nended with ${code}\n${stdout}${stderr}`
