/**
 * Fetching an artifact, from a server that is not believed: no octet more than was signed for, none slower than makes sense, and
 * nothing that the disk cannot hold. What came before a cut is kept, and all of it is hashed when the end has come.
 *
 * Source: RFC 9110, 14 (ranges).
 *
 * @module
 */
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { dirname } from 'node:path'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { type DeviceTLS, TIMEOUT_SECONDS } from './device.ts'
import { digestOf } from './installers/file.ts'

export interface Wanted {
  readonly octets: number
  /** Hexadecimal. */
  readonly sha256: string
}

export interface Download extends Wanted {
  readonly url: URL
  readonly tls: DeviceTLS
  /** Where it lies when it is whole. */
  readonly place: string
  readonly world: World
  /** When the agent has other things to do; it goes on later. */
  readonly signal?: AbortSignal | undefined
}

/** Less than a modem of a remote plant does; a server that is slower keeps the device busy and not up to date. */
export const SLOWEST_OCTETS_PER_SECOND = 1000
/** How long it may be slower: lines stall. */
export const WINDOW_SECONDS = 60
/** What the device needs besides. */
const DISK_RESERVE_OCTETS = 16 << 20

const part = (place: string): string => `${place}.part`

/**
 * Goes on where it was cut. What is whole already is not asked for again, but hashed again.
 *
 * @throws TrustError `unavailable` when it broke off or was too slow: what came is kept; `tooLarge`, `badProof` when it is not what
 * is wanted, and `quotaExceeded` without space: nothing is kept
 */
export async function download(wanted: Download): Promise<void> {
  const { place, octets } = wanted
  mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
  if (existsSync(place)) return checkDigest(wanted, place)
  const here = existsSync(part(place)) ? statSync(part(place)).size : 0
  checkSpace(wanted, octets - here)
  try {
    if (here < octets) await fetchFrom(wanted, here)
    await checkDigest(wanted, part(place))
  } catch (error) {
    if (error instanceof TrustError && error.code !== 'unavailable') rmSync(part(place), { force: true })
    throw error
  }
  wanted.world.faults.reach('update artifact fetched')
  renameSync(part(place), place)
  syncDirectory(dirname(place))
}

/** @throws TrustError `badProof`; what is there then is removed, so that it is fetched anew */
export async function checkDigest({ octets, sha256 }: Pick<Wanted, 'sha256'> & Partial<Wanted>, path: string): Promise<void> {
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size !== undefined && size === (octets ?? size) && (await digestOf(path)) === sha256) return
  rmSync(path, { force: true })
  throw new TrustError('badProof', 'updateArtifactOther', { facts: { name: sha256 } })
}

export function checkSpace({ place }: { readonly place: string }, needed: number): void {
  const { bavail, bsize } = statfsSync(dirname(place))
  const free = bavail * bsize
  if (free < needed + DISK_RESERVE_OCTETS)
    throw new TrustError('quotaExceeded', 'updateDiskFull', { facts: { free, needed: needed + DISK_RESERVE_OCTETS } })
}

async function fetchFrom(wanted: Download, from: number): Promise<void> {
  const { url, place, octets } = wanted
  const response = await ask(wanted, from)
  try {
    const start = startOf(response, from, octets)
    const file = await open(part(place), start === 0 ? 'w' : 'a', 0o600)
    try {
      await write(response, wanted, start, (chunk) => file.writeFile(chunk))
    } finally {
      await file.sync()
      await file.close()
    }
  } catch (cause) {
    if (wanted.signal?.aborted === true) throw laterOf(cause)
    if (cause instanceof TrustError) throw cause
    const detail = cause instanceof Error ? cause.message : ''
    throw new TrustError('unavailable', 'serverNotReached', { facts: { address: url.host, detail }, cause })
  } finally {
    response.destroy()
  }
}

const laterOf = (cause: unknown): TrustError => new TrustError('unavailable', 'agentLater', { cause })

function ask({ url, tls, octets, signal }: Download, from: number): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const headers = from > 0 && from < octets ? { range: `bytes=${from}-` } : {}
  const options = { agent: false, headers, timeout: TIMEOUT_SECONDS * 1000, ...(signal && { signal }) } as const
  const request =
    url.protocol === 'https:'
      ? httpsRequest(url, { ...options, ...tls, ca: [...tls.ca], minVersion: 'TLSv1.2' })
      : httpRequest(url, options)
  request.on('response', resolve)
  request.on('timeout', () => request.destroy(new Error('no answer in time')))
  request.on('error', (cause) =>
    reject(
      signal?.aborted === true
        ? laterOf(cause)
        : new TrustError('unavailable', 'serverNotReached', { facts: { address: url.host, detail: cause.message }, cause }),
    ),
  )
  request.end()
  return promise
}

/** @returns which octet comes first @throws TrustError `unavailable` for what is no answer to the question, `tooLarge` */
function startOf({ statusCode = 0, headers }: IncomingMessage, from: number, octets: number): number {
  const [, first, last, all] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers['content-range'] ?? '') ?? []
  if (statusCode === 206 && Number(first) === from && Number(last) === octets - 1 && Number(all) === octets) return from
  if (statusCode !== 200) throw new TrustError('unavailable', 'updateAnswer', { facts: { status: statusCode } })
  const length = headers['content-length']
  if (length !== undefined && Number(length) !== octets)
    throw new TrustError('tooLarge', 'updateArtifactLength', { facts: { octets, length } })
  return 0
}

async function write(
  response: AsyncIterable<Uint8Array>,
  { octets, world: { clock, faults } }: Download,
  start: number,
  append: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  let size = start
  let [windowFrom, windowSize] = [clock.now(), 0]
  for await (const chunk of response) {
    size += chunk.length
    if (size > octets) throw new TrustError('tooLarge', 'updateArtifactLength', { facts: { octets, length: 'more' } })
    await append(chunk)
    faults.reach('update octets written')
    windowSize += chunk.length
    const seconds = (clock.now() - windowFrom) / 1000
    if (seconds < WINDOW_SECONDS) continue
    if (windowSize / seconds < SLOWEST_OCTETS_PER_SECOND)
      throw new TrustError('unavailable', 'updateTooSlow', { facts: { perSecond: Math.round(windowSize / seconds) } })
    ;[windowFrom, windowSize] = [clock.now(), 0]
  }
  if (size < octets) throw new TrustError('unavailable', 'answerIncomplete')
}
