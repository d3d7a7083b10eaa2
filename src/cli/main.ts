/** The command `sealworks`. @module */
import { systemWorld } from '#base/world.ts'
import { exitCodes } from './exit-codes.ts'
import { runCommandLine } from './run.ts'

const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (ending.signal.aborted) process.exit(exitCodes.interrupted) // asked twice: it does not end by itself
    ending.abort()
  })
}

// A reader that has seen enough (`| head`) closes the pipe; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.done)
  throw error
})

const outputOf = (stream: NodeJS.WriteStream) => ({
  columns: stream.isTTY ? stream.columns : undefined,
  write: (data: string | Uint8Array) => new Promise<void>((resolve) => void stream.write(data, () => resolve())),
})

async function readAll(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks)
}

const code = await runCommandLine(process.argv.slice(2), {
  world: systemWorld(),
  environment: process.env,
  directory: process.cwd(),
  signal: ending.signal,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  stdin: readAll,
})
process.exit(code)
