/** `npm start`: plays the trial factory, and leaves its server running unless told `--exit`. @module */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemWorld } from '#base/world.ts'
import { exitCodes } from '#cli/exit-codes.ts'
import { teller } from './teller.ts'

const USAGE = `Usage: npm start [-- --exit]

Plays the trial factory: a server of its own, a line of devices, their owner. Its state lies in ./.sealworks/trial.
Afterwards the server stays up until Ctrl-C.

  --exit   end after the story: status 0 when every step went as expected
`

const values = readArguments()
if (values === undefined) process.exit(exitCodes.wrongUsage)
if (values.help) {
  process.stdout.write(USAGE)
  process.exit(exitCodes.done)
}

const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (ending.signal.aborted) process.exit(exitCodes.interrupted) // asked twice: it does not end by itself
    ending.abort()
  })
}
// A reader that has seen enough (`| head`) closes the pipe: nobody is left to tell the story to.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(exitCodes.failed)
})

const { runTrial } = await import('./trial.ts') // most of the program: not for who asks what to write
const terminal = process.stdout.isTTY && process.env['TERM'] !== 'dumb'
process.exitCode = await runTrial({
  directory: join(process.cwd(), '.sealworks', 'trial'),
  exits: values.exit,
  world: systemWorld(),
  signal: ending.signal,
  teller: teller({
    write: (text) => void process.stdout.write(text),
    terminal,
    colors: terminal && process.env['NO_COLOR'] === undefined,
  }),
})

function readArguments(): { readonly exit: boolean; readonly help: boolean } | undefined {
  try {
    const options = { exit: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false } } as const
    return parseArgs({ options }).values
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    return undefined
  }
}
