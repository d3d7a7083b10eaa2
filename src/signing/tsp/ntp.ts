/**
 * A client of NTP: asks a server what time it is, and how far that may be wrong. It sets no clock.
 *
 * The question carries a random number where the client's time would stand, so that an answer shows that it is one to this
 * question, and nobody learns what this machine believes.
 *
 * Source: RFC 5905, 7.3 and 8; RFC 4330, 5 (the checks of a client that only asks).
 *
 * @module
 */
import { createSocket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'

export interface TimeServer {
  readonly host: string
  readonly port: number
}

/** What one exchange says; milliseconds. */
export interface TimeReading {
  /** How far the server's clock is ahead of ours. */
  readonly offset: number
  /** How far that can be from true time, by what the server says of itself and the way to it (RFC 5905, 11.2). */
  readonly distance: number
  /** A leap second at the end of this month, as the server announces it. */
  readonly leap: 'none' | 'inserted' | 'deleted'
}

/** Two clocks of this machine, in milliseconds: one that people set, and one that only goes on. */
export interface TwoClocks {
  wall(): number
  monotonic(): number
}

const PACKET_OCTETS = 48
/** An answer with extension fields or a MAC, neither of which was asked for. */
const ANSWER_MAX_OCTETS = 1024
/** Of others than the one asked, which the kernel lets through: forgers get no more tries than this at one question. */
const STRAYS_MAX = 16
/** RFC 4330, 5: a server that is more than a second from its source knows no time. */
const ROOT_MAX_MILLISECONDS = 1000
const STRATUM_MAX = 15
const ERA_SECONDS = 2 ** 32
/** Seconds from 1900 to 1970. */
const EPOCH_SECONDS = 2_208_988_800

const VERSION_4_CLIENT = (4 << 3) | 3
const MODE_SERVER = 4
const LEAPS = ['none', 'inserted', 'deleted'] as const

/** @param nonce 8 octets, in the place of the transmit timestamp */
export function encodeTimeQuestion(nonce: Uint8Array): Uint8Array {
  const packet = new Uint8Array(PACKET_OCTETS)
  packet[0] = VERSION_4_CLIENT
  packet.set(nonce, 40)
  return packet
}

/** What an answer states; times in milliseconds since 1970. */
export interface TimeAnswer {
  readonly leap: TimeReading['leap']
  readonly stratum: number
  readonly rootDelay: number
  readonly rootDispersion: number
  readonly precision: number
  readonly receivedAt: number
  readonly sentAt: number
}

/** Whether it repeats the number that was sent: what does not is no answer, whatever else it says. */
export const isAnswerTo = (packet: Uint8Array, nonce: Uint8Array): boolean =>
  packet.length >= PACKET_OCTETS && equal(packet.subarray(24, 32), nonce)

/**
 * @param near about what time it is, in milliseconds: NTP counts only 136 years
 * @throws TrustError `malformed`; `rateLimited` and `forbidden` for a kiss of death (RFC 5905, 7.4); `unavailable` for a server
 *   that knows no time itself
 */
export function parseTimeAnswer(packet: Uint8Array, near: number): TimeAnswer {
  if (packet.length < PACKET_OCTETS || packet.length > ANSWER_MAX_OCTETS) throw badAnswer(`it has ${packet.length} octets`)
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length)
  const first = view.getUint8(0)
  const version = (first >> 3) & 7
  if ((first & 7) !== MODE_SERVER || (version !== 3 && version !== 4)) throw badAnswer('it is not of a server of NTP 3 or 4')
  const stratum = view.getUint8(1)
  if (stratum === 0) throw kissOfDeath(packet)
  const leap = LEAPS[first >> 6]
  if (leap === undefined || stratum > STRATUM_MAX) throw doubtful('it says that its clock is not synchronized')
  const rootDelay = shortAt(view, 4)
  const rootDispersion = shortAt(view, 8)
  const root = rootDelay / 2 + rootDispersion
  if (root >= ROOT_MAX_MILLISECONDS) throw doubtful(`it is ${Math.round(root)} ms from its own source`)
  const receivedAt = timeAt(view, 32, near)
  const sentAt = timeAt(view, 40, near)
  if (receivedAt === undefined || sentAt === undefined || sentAt < receivedAt) throw badAnswer('its times are none')
  return { leap, stratum, rootDelay, rootDispersion, precision: 1000 * 2 ** view.getInt8(3), receivedAt, sentAt }
}

/** 16 bits of seconds and 16 of their fractions. */
const shortAt = (view: DataView, at: number): number => (view.getUint32(at) / 65_536) * 1000

/** Undefined for zero, which is no time. The era is the one nearest to `near` (RFC 5905, 6). */
function timeAt(view: DataView, at: number, near: number): number | undefined {
  const seconds = view.getUint32(at)
  const fraction = view.getUint32(at + 4)
  if (seconds === 0 && fraction === 0) return undefined
  const era = Math.round((near / 1000 + EPOCH_SECONDS - seconds) / ERA_SECONDS)
  return (era * ERA_SECONDS + seconds - EPOCH_SECONDS + fraction / ERA_SECONDS) * 1000
}

/** Says why in four letters; only RATE passes by itself. */
function kissOfDeath(packet: Uint8Array): TrustError {
  const code = Buffer.from(packet.subarray(12, 16))
    .toString('latin1')
    .replace(/[^A-Z]/g, '')
  const facts = { detail: `it asks not to be asked (${code})` }
  if (code === 'RATE') return new TrustError('rateLimited', 'timeServer', { facts, retryAfterSeconds: KISS_SECONDS })
  return new TrustError('forbidden', 'timeServer', { facts })
}

const KISS_SECONDS = 900

export interface AskingTime {
  readonly clocks: TwoClocks
  readonly random: Random
  readonly timeoutMilliseconds: number
}

/** @throws TrustError `unavailable` without an answer in time, and as {@link parseTimeAnswer} */
export async function askTime(
  { host, port }: TimeServer,
  { clocks, random, timeoutMilliseconds }: AskingTime,
): Promise<TimeReading> {
  const nonce = new Uint8Array(random.octets(8))
  const { address, family } = await lookup(host).catch((cause: unknown) => {
    throw new TrustError('unavailable', 'timeServer', { facts: { detail: 'its name is not known' }, cause })
  })
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
  const answered = Promise.withResolvers<{ readonly packet: Uint8Array; readonly at: number }>()
  let strays = 0
  const timer = setTimeout(() => answered.reject(doubtful('it does not answer')), timeoutMilliseconds)
  socket.on('error', (cause) =>
    answered.reject(new TrustError('unavailable', 'timeServer', { facts: { detail: 'it cannot be reached' }, cause })),
  )
  socket.on('message', (packet) => {
    const at = clocks.monotonic()
    if (isAnswerTo(packet, nonce)) answered.resolve({ packet, at })
    else if (++strays > STRAYS_MAX) answered.reject(badAnswer('what comes does not answer the question'))
  })
  try {
    let wall = 0
    let begun = 0
    socket.connect(port, address, () => {
      // connected, so that the kernel drops what comes from elsewhere
      wall = clocks.wall()
      begun = clocks.monotonic()
      socket.send(encodeTimeQuestion(nonce))
    })
    const { packet, at } = await answered.promise
    const roundTrip = at - begun
    const answer = parseTimeAnswer(packet, wall)
    return readingOf(answer, { sentAt: wall, receivedAt: wall + roundTrip })
  } finally {
    clearTimeout(timer)
    socket.close()
  }
}

/** RFC 5905, 8. @throws TrustError `malformed` when the server took longer than the whole exchange */
export function readingOf(answer: TimeAnswer, ours: { readonly sentAt: number; readonly receivedAt: number }): TimeReading {
  const delay = ours.receivedAt - ours.sentAt - (answer.sentAt - answer.receivedAt)
  if (delay < -answer.precision) throw badAnswer('it took longer than the whole exchange')
  const offset = (answer.receivedAt - ours.sentAt + (answer.sentAt - ours.receivedAt)) / 2
  const distance = (Math.max(delay, 0) + answer.rootDelay) / 2 + answer.rootDispersion + answer.precision
  return { offset, distance, leap: answer.leap }
}

const badAnswer = (detail: string): TrustError => new TrustError('malformed', 'timeServer', { facts: { detail } })
const doubtful = (detail: string): TrustError => new TrustError('unavailable', 'timeServer', { facts: { detail } })
