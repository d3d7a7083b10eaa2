/** Updates from a stick, or any directory: what is in it is believed as little as what comes over the air. @module */
import { constants, existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { type Artifact, STATEMENT_MAX_OCTETS } from '#updates/messages.ts'
import { artifactFile, folderOf, MANIFEST_SUFFIX, SEALED_SUFFIX, STATEMENT_SUFFIX } from '#updates/stick/messages.ts'
import type { Device } from './device.ts'
import { factsOf } from './facts.ts'
import { beginUpdate, continueUpdate, type UpdateSource } from './update.ts'
import { checkSpace } from './update-download.ts'
import type { Opened } from './update-sealed.ts'
import { type Ended, readUpdateState } from './update-state.ts'

/**
 * All that is meant for this device, in the order of its statements; it stops where one was refused or went back.
 *
 * @returns how each ended @throws TrustError `notFound` where there is nothing for this device
 */
export async function updateFrom(device: Device, stick: string): Promise<readonly (Ended | 'restarting')[]> {
  const before = await continueUpdate(device, sourceOn(device, stick))
  const results = before === undefined ? [] : [before]
  const folder = join(stick, folderOf(await factsOf(device)))
  const sequences = sequencesIn(folder)
  if (sequences.length === 0) throw new TrustError('notFound', 'updateNotOnStick', { facts: { folder } })
  for (const sequence of sequences) {
    if (results.some((one) => one === 'restarting' || one.result !== 'installed')) break
    if (sequence <= (readUpdateState(device.directory).last?.sequence ?? 0) && sequences.length > 1) continue // done before
    const signed = {
      statement: await readBounded(join(folder, `${sequence}${STATEMENT_SUFFIX}`)),
      manifest: await readBounded(join(folder, `${sequence}${MANIFEST_SUFFIX}`)),
    }
    results.push(await beginUpdate(device, signed, sourceOn(device, stick)))
  }
  return results
}

function sequencesIn(folder: string): readonly number[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .flatMap((name) => (name.endsWith(STATEMENT_SUFFIX) ? [name.slice(0, -STATEMENT_SUFFIX.length)] : []))
    .filter((text) => /^[1-9]\d{0,15}$/.test(text))
    .map(Number)
    .toSorted((a, b) => a - b)
}

const unreadable = (file: string, problem: string, cause?: unknown): TrustError =>
  new TrustError('notFound', 'fileUnreadable', { facts: { file, problem }, cause })

/**
 * A stick is whatever somebody plugged in: what is no file of its own has no end, or waits for somebody who never writes.
 *
 * @throws TrustError `notFound`
 */
async function withFile<T>(path: string, work: (file: FileHandle, octets: number) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const stat = await file.stat()
    if (!stat.isFile()) throw unreadable(path, 'no file')
    return await work(file, stat.size)
  } catch (cause) {
    if (cause instanceof TrustError) throw cause
    throw unreadable(path, (cause as NodeJS.ErrnoException).code ?? 'unknown', cause)
  } finally {
    await file?.close()
  }
}

const readBounded = (path: string): Promise<Uint8Array> =>
  withFile(path, async (file, octets) => {
    if (octets > STATEMENT_MAX_OCTETS)
      throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: path, limit: STATEMENT_MAX_OCTETS } })
    const { buffer, bytesRead } = await file.read(new Uint8Array(octets), 0, octets, 0)
    return buffer.subarray(0, bytesRead)
  })

const sourceOn = (device: Device, stick: string): UpdateSource => ({
  action: '',
  async fetch({ sha256, octets }: Artifact, place: string) {
    if (existsSync(place)) return
    mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
    const path = join(stick, artifactFile(sha256))
    const envelopes = existsSync(path) ? [] : envelopesOf(path)
    if (envelopes.length > 0) return fromEnvelopes(device, envelopes, { place, octets })
    await withFile(path, async (file, length) => {
      if (length !== octets) throw new TrustError('tooLarge', 'updateArtifactLength', { facts: { octets, length } })
      checkSpace({ place }, octets)
      await copy(file, octets, `${place}.part`)
    })
    renameSync(`${place}.part`, place) // hashed by whoever asked for it, wherever it came from
    syncDirectory(dirname(place))
  },
})

/** @returns where the file lies for those who can open it, which may be none */
function envelopesOf(path: string): readonly string[] {
  const [folder, name] = [dirname(path), `${basename(path)}.`]
  if (!existsSync(folder)) return []
  const found = readdirSync(folder).filter((one) => one.startsWith(name) && one.endsWith(SEALED_SUFFIX))
  return found.map((one) => join(folder, one))
}

/** From the one that is for this device. */
async function fromEnvelopes(device: Device, envelopes: readonly string[], to: Opened): Promise<void> {
  const { openSealed } = await import('./update-sealed.ts')
  checkSpace(to, to.octets)
  let problem: unknown
  for (const envelope of envelopes) {
    try {
      return await withFile(envelope, (file) =>
        openSealed(device, file.createReadStream({ autoClose: false }) as AsyncIterable<Uint8Array>, to),
      )
    } catch (error) {
      problem = error
      if (!(error instanceof TrustError) || error.reason !== 'cmsNoRecipient') break
    }
  }
  throw problem
}

/** No octet more than was signed for, and on the disk. */
async function copy(from: FileHandle, octets: number, path: string): Promise<void> {
  const to = await open(path, 'w', 0o600)
  try {
    const read = from.createReadStream({ end: octets - 1, autoClose: false }) as AsyncIterable<Uint8Array>
    for await (const chunk of read) await to.writeFile(chunk) // appends where the one before ended
    await to.sync()
  } finally {
    await to.close()
  }
}
