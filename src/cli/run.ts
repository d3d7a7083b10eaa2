/**
 * Runs one command line from its words to its exit code. Everything it touches is handed in, so tests can own it.
 *
 * @module
 */
import type { World } from '#base/world.ts'
import type { Answer, Command, Context } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { noProgress, progressBar } from './terminal.ts'
import { type Noun, nouns } from './registry.ts'
import { didYouMean, UsageError } from './usage.ts'

export interface Terminal {
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly directory: string
  readonly signal: AbortSignal
  readonly stdout: Output
  readonly stderr: Output
  stdin(): Promise<Uint8Array>
}

export interface Output {
  /** Undefined when it is no terminal. */
  readonly columns: number | undefined
  /** @returns when it was handed over */
  write(data: string | Uint8Array): Promise<void>
}

/** @returns the exit code; nothing is thrown */
export async function runCommandLine(words: readonly string[], terminal: Terminal): Promise<number> {
  // Looked for by hand: also a command line that cannot be parsed must be answered in the form that was asked for.
  const json = words.includes('--json')
  try {
    return await runWords(words, json, terminal)
  } catch (thrown) {
    if (terminal.signal.aborted) return exitCodes.interrupted
    const { reportOf } = await import('./report.ts')
    const { exitCode, text } = reportOf(thrown, { json, verbose: terminal.environment['SEALWORKS_LOG_LEVEL'] === 'debug' })
    await terminal.stderr.write(text)
    return exitCode
  }
}

async function runWords(words: readonly string[], json: boolean, terminal: Terminal): Promise<number> {
  const [first, ...rest] = words
  if (first === undefined) throw new UsageError('Say what to do: sealworks NOUN VERB.')
  if (first === '--version') return runWords(['version', ...rest], json, terminal)
  if (first === 'help' || first === '--help' || first === '-h')
    return showHelp(
      rest.filter((word) => !word.startsWith('-')),
      json,
      terminal,
    )
  const { command, words: left } = await findCommand(first, rest)
  if (command === undefined) return showHelp([first], json, terminal)

  const { parseWords } = await import('./parse.ts')
  const parsed = parseWords(command, left)
  if (parsed === undefined) return showHelp([first, ...(command.verb === undefined ? [] : [command.verb])], json, terminal)
  const context = contextOf(json, terminal)
  const answer = await orInterrupted(command.run(context, parsed.values, parsed.shared), command, terminal.signal)
  await show(answer, json, terminal)
  await answer.until
  return answer.exitCode ?? exitCodes.done
}

/** @returns no command where the words ask for the noun's help */
async function findCommand(
  first: string,
  rest: readonly string[],
): Promise<{ readonly command?: Command; readonly words: readonly string[] }> {
  const noun = findNoun(first)
  const { commands } = await noun.load()
  const [only] = commands
  if (only !== undefined && only.verb === undefined) return { command: only, words: rest }
  const [verb = ''] = rest
  if (verb === '--help' || verb === '-h') return { words: [] }
  const verbs = commands.flatMap(({ verb }) => verb ?? [])
  if (verb === '' || verb.startsWith('-')) throw new UsageError(`Say what to do: sealworks ${first} ${verbs.join('|')}.`, [first])
  for (const count of [2, 1]) {
    // "token create" is one verb
    const command = commands.find((command) => command.verb === rest.slice(0, count).join(' '))
    if (command !== undefined) return { command, words: rest.slice(count) }
  }
  throw new UsageError(`"${first}" has no verb "${verb}"; it has ${verbs.join(', ')}.${didYouMean(verb, verbs)}`, [first])
}

function findNoun(word: string): Noun {
  if (word.startsWith('-')) throw new UsageError(`Options stand after the command: sealworks NOUN VERB ${word}.`)
  const noun = nouns.find(({ noun }) => noun === word)
  const known = nouns.map(({ noun }) => noun)
  if (noun === undefined)
    throw new UsageError(`There is no command "${word}"; there are ${known.join(', ')}.${didYouMean(word, known)}`)
  return noun
}

async function showHelp([first, ...verb]: readonly string[], json: boolean, terminal: Terminal): Promise<number> {
  const help = await import('./help.ts')
  const text = await (async () => {
    if (first === undefined) return help.helpOfAll(nouns)
    const noun = findNoun(first)
    const { commands } = await noun.load()
    const wanted =
      verb.length === 0 ? commands.find((command) => command.verb === undefined) : (await findCommand(first, verb)).command
    return wanted === undefined ? help.helpOfNoun(noun, commands) : help.helpOf(wanted)
  })()
  await show({ value: { help: text }, text }, json, terminal)
  return exitCodes.done
}

async function show({ value, text }: Answer, json: boolean, { stdout }: Terminal): Promise<void> {
  if (json) return stdout.write(`${JSON.stringify(value, undefined, stdout.columns === undefined ? undefined : 2)}\n`)
  if (text !== undefined) return text.length === 0 ? undefined : stdout.write(text)
  const { fields } = await import('./terminal.ts')
  return stdout.write(fields(value))
}

function contextOf(json: boolean, terminal: Terminal): Context {
  const { world, environment, directory, signal, stdout, stderr } = terminal
  return {
    world,
    environment,
    directory,
    json,
    columns: stdout.columns,
    signal,
    say: (line) => void stderr.write(`${line}\n`),
    input: () => terminal.stdin(),
    progress: (label, total) =>
      stderr.columns === undefined ? noProgress : progressBar(label, total, world.clock, (text) => void stderr.write(text)),
  }
}

/** Commands that do not stop by themselves are left where they are: what they began is whole or did not happen. */
function orInterrupted<T>(work: Promise<T>, { stopsItself }: Command, signal: AbortSignal): Promise<T> {
  if (stopsItself) return work
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('interrupted')), { once: true })
    work.then(resolve, reject)
  })
}
