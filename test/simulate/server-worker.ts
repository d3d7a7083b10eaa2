/**
 * The command line with planned faults: it stops itself, at once and without a word, where `SEALWORKS_TEST_STOP_AT` says.
 *
 * The value is `POINT#COUNT`: a name that the product reaches (`World.faults`), and the how manieth time.
 * Arguments: those of `sealworks`.
 *
 * @module
 */
import { systemWorld, type World } from '#base/world.ts'
import { runCommandLine } from '#cli/run.ts'

const [point, count = '1'] = (process.env['SEALWORKS_TEST_STOP_AT'] ?? '').split('#')
let left = Number(count)
const world: World = {
  ...systemWorld(),
  faults: {
    reach(name) {
      // a signal that cannot be caught: nothing is flushed, closed or answered any more
      if (name === point && --left === 0) process.kill(process.pid, 'SIGKILL')
    },
  },
}

const ending = new AbortController()
process.once('SIGTERM', () => ending.abort())
const outputOf = (stream: NodeJS.WriteStream) => ({
  columns: undefined,
  write: (data: string | Uint8Array) => new Promise<void>((resolve) => void stream.write(data, () => resolve())),
})
process.exit(
  await runCommandLine(process.argv.slice(2), {
    world,
    environment: process.env,
    directory: process.cwd(),
    signal: ending.signal,
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    stdin: () => Promise.resolve(new Uint8Array(0)),
  }),
)
