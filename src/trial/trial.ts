/**
 * The trial factory from its first line to its last.
 *
 * @module
 */
import { once } from 'node:events'
import { join } from 'node:path'
import type { World } from '#base/world.ts'
import { exitCodes } from '#cli/exit-codes.ts'
import { endChapter } from './chapters/end.ts'
import { chapters } from './chapters/registry.ts'
import { server, shownPath, signInLink } from './chapters/server.ts'
import { play, type Played } from './play.ts'
import { SERVER_LOG } from './server-process.ts'
import type { Teller } from './teller.ts'

export interface TrialOptions {
  readonly directory: string
  /** Ends after the story instead of leaving the server running. */
  readonly exits: boolean
  readonly world: World
  readonly teller: Teller
  readonly signal: AbortSignal
}

/** @returns the exit code; the server is stopped by then, whatever happened */
export async function runTrial({ directory, exits, world, teller, signal }: TrialOptions): Promise<number> {
  teller.line('Sealworks trial factory')
  teller.aside('A maker builds devices, an owner uses them, somebody cheats. All of it happens now, and each step is checked.')
  const played = await play({ chapters: exits ? [...chapters, endChapter] : chapters, world, directory, teller, signal })
  try {
    teller.line()
    if (played.ending === 'failed') return tellFailure(played, directory, teller)
    if (played.ending === 'interrupted') {
      teller.line('Interrupted. The server is stopped; the next start goes on with what is there.')
      return exitCodes.interrupted
    }
    teller.summary(played.tallies)
    teller.line()
    teller.line(verdict(played))
    return exits ? exitCodes.done : await stayUp(played, directory, teller, signal)
  } finally {
    await played.end()
  }
}

function verdict({ steps, skipped, seconds }: Played): string {
  const left = skipped === 0 ? '' : ` ${skipped} could not be played on this machine.`
  return `${steps - skipped} steps, all as they should be, in ${seconds.toFixed(1)} s.${left}`
}

function tellFailure({ steps }: Played, directory: string, teller: Teller): number {
  teller.line(`The story ends here: the step above did not go as it should. ${steps} went well before it.`)
  teller.line(`What the server wrote: ${shownPath(join(directory, SERVER_LOG))}`)
  return exitCodes.failed
}

/** @returns when the person ends it, or the server does */
async function stayUp(played: Played, directory: string, teller: Teller, signal: AbortSignal): Promise<number> {
  const { process } = played.known(server)
  const { url, expiresAt } = await signInLink(played)
  const minutes = `${String(expiresAt.getHours()).padStart(2, '0')}:${String(expiresAt.getMinutes()).padStart(2, '0')}`
  teller.line(`The server stays up; Ctrl-C ends it. Its files are in ${shownPath(directory)}.`)
  teller.aside('Your browser will ask about the certificate, which this server issued to itself: go on.')
  teller.line()
  teller.line(`Status page               ${process.tls}/`)
  teller.line(`Sign in, once until ${minutes} ${url}`)
  const asked = once(signal, 'abort').then(() => undefined)
  const ending = await Promise.race([process.ended, ...(signal.aborted ? [undefined] : [asked])])
  teller.line()
  if (ending === undefined) {
    const { code, signal: by } = await process.stop()
    teller.line(code === 0 ? 'The server has stopped.' : `The server ended with ${code ?? by}.`)
    return code === 0 ? exitCodes.done : exitCodes.failed
  }
  teller.line(
    `The server ended by itself (${ending.code ?? ending.signal}). What it wrote: ${shownPath(join(directory, SERVER_LOG))}`,
  )
  return exitCodes.failed
}
