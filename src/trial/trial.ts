/**
 * The trial factory from its first line to its last.
 *
 * @module
 */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { World } from '#base/world.ts'
import { exitCodes } from '#cli/exit-codes.ts'
import { endChapter } from './chapters/end.ts'
import { chapters } from './chapters/registry.ts'
import { administrator, server, shownPath, signInLink, type TrialServer } from './chapters/server.ts'
import { play, type Played } from './play.ts'
import { type Ending, SERVER_LOG } from './server-process.ts'
import { present } from './story.ts'
import type { Teller } from './teller.ts'

export interface TrialOptions {
  readonly directory: string
  /** Ends after the story instead of leaving the server running. */
  readonly exits: boolean
  readonly world: World
  readonly teller: Teller
  /** Aborted when the person has seen enough. */
  readonly signal: AbortSignal
}

/** @returns the exit code; the server is stopped by then, whatever happened */
export async function runTrial(options: TrialOptions): Promise<number> {
  const { exits, teller } = options
  teller.line('Sealworks trial factory')
  teller.aside('A maker builds devices, an owner uses them, somebody cheats. All of it happens now, and each step is checked.')
  const played = await play({ ...options, chapters: exits ? [...chapters, endChapter] : chapters })
  try {
    teller.line()
    if (played.ending === 'failed') return await tellFailure(played, options)
    if (played.ending === 'interrupted') {
      teller.line('Interrupted. The server is stopped; the next start goes on with what is there.')
      return exitCodes.interrupted
    }
    teller.summary(played.tallies)
    teller.line()
    teller.line(verdict(played))
    return exits ? exitCodes.done : await stayUp(played, options)
  } finally {
    await played.end()
  }
}

function verdict({ steps, skipped, seconds }: Played): string {
  const left = skipped === 0 ? '' : ` ${skipped} could not be played on this machine.`
  return `${steps - skipped} steps, all as they should be, in ${seconds.toFixed(1)} s.${left}`
}

/** A server that dies breaks the connection a moment before it is known to be gone. */
const ENDING_KNOWN_MILLISECONDS = 300

async function tellFailure(played: Played, { directory, teller }: TrialOptions): Promise<number> {
  teller.line(`The last step did not go as it should. Steps before it that did: ${played.steps}.`)
  const ended = await Promise.race([played.found(server)?.process.ended, wait(ENDING_KNOWN_MILLISECONDS)])
  if (ended !== undefined) teller.line(`The server ended by itself (${wordOf(ended)}).`)
  tellLog(directory, teller)
  return exitCodes.failed
}

/** @returns when the person ends it, or the server does */
async function stayUp(played: Played, { directory, teller, signal }: TrialOptions): Promise<number> {
  const running = present(played.found(server), 'no step has started the server')
  const { process } = running
  await tellAddresses(running, played, teller, directory)
  const asked = signal.aborted ? undefined : once(signal, 'abort').then(() => undefined)
  const ended = await Promise.race([process.ended, asked])
  teller.line()
  if (ended !== undefined) {
    teller.line(`The server ended by itself (${wordOf(ended)}).`)
    tellLog(directory, teller)
    return exitCodes.failed
  }
  const ending = await process.stop()
  teller.line(ending.code === 0 ? 'The server has stopped.' : `The server was ended (${wordOf(ending)}).`)
  return ending.code === 0 ? exitCodes.done : exitCodes.failed
}

async function tellAddresses(running: TrialServer, played: Played, teller: Teller, directory: string): Promise<void> {
  const { url, expiresAt } = await signInLink(present(played.found(administrator), 'there is no administrator'), running)
  const until = `${twoDigits(expiresAt.getHours())}:${twoDigits(expiresAt.getMinutes())}`
  teller.line(`The server stays up; Ctrl-C ends it. Its files are in ${shownPath(directory)}.`)
  teller.aside('Your browser will ask about the certificate, which this server issued to itself: go on.')
  teller.line()
  teller.line(`Status page:                ${running.process.tls}/`)
  teller.line(`Sign in, once, until ${until}: ${url}`)
}

function tellLog(directory: string, teller: Teller): void {
  const log = join(directory, SERVER_LOG)
  if (existsSync(log)) teller.line(`What the server wrote: ${shownPath(log)}`)
}

const wordOf = ({ code, signal }: Ending): string => (code === undefined ? `signal ${signal}` : `exit code ${code}`)

const twoDigits = (number: number): string => String(number).padStart(2, '0')
