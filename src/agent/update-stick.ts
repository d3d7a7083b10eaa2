/** Updates from a stick, or any directory: what is in it is believed as little as what comes over the air. @module */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { type Artifact, STATEMENT_MAX_OCTETS } from '#updates/messages.ts'
import { artifactFile, folderOf, MANIFEST_SUFFIX, STATEMENT_SUFFIX } from '#updates/stick/messages.ts'
import type { Device } from './device.ts'
import { factsOf } from './facts.ts'
import { beginUpdate, continueUpdate, type UpdateSource } from './update.ts'
import { checkSpace } from './update-download.ts'
import { type Ended, readUpdateState } from './update-state.ts'

/**
 * All that is meant for this device, in the order of its statements; it stops where one was refused or went back.
 *
 * @returns how each ended @throws TrustError `notFound` where there is nothing for this device
 */
export async function updateFrom(device: Device, stick: string): Promise<readonly (Ended | 'restarting')[]> {
  const before = await continueUpdate(device, sourceOn(stick))
  const results = before === undefined ? [] : [before]
  const folder = join(stick, folderOf(await factsOf(device)))
  const sequences = sequencesIn(folder)
  if (sequences.length === 0) throw new TrustError('notFound', 'updateNotOnStick', { facts: { folder } })
  for (const sequence of sequences) {
    if (results.some((one) => one === 'restarting' || one.result !== 'installed')) break
    if (sequence <= (readUpdateState(device.directory).last?.sequence ?? 0) && sequences.length > 1) continue // done before
    const signed = {
      statement: readBounded(join(folder, `${sequence}${STATEMENT_SUFFIX}`)),
      manifest: readBounded(join(folder, `${sequence}${MANIFEST_SUFFIX}`)),
    }
    results.push(await beginUpdate(device, signed, sourceOn(stick)))
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

function readBounded(path: string): Uint8Array {
  if (!existsSync(path)) throw new TrustError('notFound', 'fileUnreadable', { facts: { file: path, problem: 'ENOENT' } })
  if (statSync(path).size > STATEMENT_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: path, limit: STATEMENT_MAX_OCTETS } })
  return new Uint8Array(readFileSync(path))
}

const sourceOn = (stick: string): UpdateSource => ({
  action: '',
  async fetch({ sha256, octets }: Artifact, place: string) {
    const file = join(stick, artifactFile(sha256))
    if (existsSync(place)) return
    if (!existsSync(file)) throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem: 'ENOENT' } })
    if (statSync(file).size !== octets)
      throw new TrustError('tooLarge', 'updateArtifactLength', { facts: { octets, length: statSync(file).size } })
    mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
    checkSpace({ place }, octets)
    copyFileSync(file, `${place}.part`)
    renameSync(`${place}.part`, place) // hashed by whoever asked for it, wherever it came from
  },
})
