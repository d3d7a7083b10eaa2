/**
 * Writes a stick (messages.ts) so that nothing on it is half there: a device acts on a statement, so a statement comes to its
 * place last, when its manifest and all that it names are on the disk.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { equal } from '#base/bytes.ts'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Faults } from '#base/world.ts'
import { parseCOSE } from '#cbor/cose.ts'
import {
  type Artifact,
  type DirectorStatement,
  manifestDigest,
  parseManifest,
  parseStatement,
  STATEMENT_MAX_OCTETS,
} from '../messages.ts'
import { artifactFile, folderOf, MANIFEST_SUFFIX, manifestFile, sealedFile, STATEMENT_SUFFIX, statementFile } from './messages.ts'

/** What one device gets, as it was signed. */
export interface StickPapers {
  readonly statement: Uint8Array
  readonly manifest: Uint8Array
}

export interface StickWriting {
  readonly papers: readonly StickPapers[]
  /** Octets of an artifact, by its SHA-256 in hexadecimal. */
  fetch(digest: string): Promise<AsyncIterable<Uint8Array>>
  /** What comes is in envelopes, for those whom this names; what lies there in the clear goes away. */
  readonly sealedFor?: string
  /** What is over by now goes away. */
  readonly now: number
  readonly faults: Faults
}

export interface OnStick {
  readonly device: DirectorStatement['device']
  readonly sequence: number
  readonly expiresAt: Date
  readonly file: string
}

/**
 * What lies there for other devices, or for other components of these, stays. Of these, what is over or replaced goes away: a
 * device stops at the first statement that it refuses.
 *
 * @throws TrustError `badProof` when what came is not what a statement names: no statement is written then
 */
export async function writeStick(
  stick: string,
  { papers, fetch, sealedFor, now, faults }: StickWriting,
): Promise<readonly OnStick[]> {
  const read = papers.map((one) => ({ ...one, says: saidIn(one) }))
  const artifacts = new Map<string, Artifact>()
  for (const { says } of read) for (const one of says.artifacts) artifacts.set(one.sha256.toHex(), one)
  for (const [digest, artifact] of artifacts) {
    const place = join(stick, artifactFile(artifact.sha256))
    if (sealedFor === undefined) await writeArtifact(place, artifact, () => fetch(digest))
    else {
      await writeSealed(join(stick, sealedFile(artifact.sha256, sealedFor)), await fetch(digest))
      rmSync(place, { force: true })
    }
    faults.reach('stick artifact written')
  }
  const written: OnStick[] = []
  for (const { says, statement, manifest } of read) {
    replace(join(stick, manifestFile(says)), manifest)
    faults.reach('stick manifest written')
    replace(join(stick, statementFile(says)), statement)
    faults.reach('stick statement written')
    removeOthers(join(stick, folderOf(says.device)), says, now)
    const { device, sequence, expiresAt } = says
    written.push({ device, sequence, expiresAt, file: statementFile(says) })
  }
  return written
}

const payloadOf = (message: Uint8Array): Uint8Array => parseCOSE(message, STATEMENT_MAX_OCTETS).payload ?? new Uint8Array(0) // refused by who reads it

/** @throws TrustError `badProof` for a manifest of something else */
function saidIn({ statement, manifest }: StickPapers): DirectorStatement {
  const says = parseStatement(payloadOf(statement))
  if (!equal(manifestDigest(parseManifest(payloadOf(manifest))), says.manifest)) throw notNamed(`the manifest of ${says.version}`)
  return says
}

const notNamed = (name: string): TrustError => new TrustError('badProof', 'stickOther', { facts: { name } })

/** Left as it is where it is there already, and good. */
async function writeArtifact(place: string, artifact: Artifact, fetch: () => Promise<AsyncIterable<Uint8Array>>): Promise<void> {
  if (existsSync(place) && (await isWhole(createReadStream(place), artifact))) return
  const beside = prepared(place)
  const file = await open(beside, 'wx', 0o644)
  try {
    const pieces = await fetch()
    const isGood = await isWhole(pieces, artifact, (piece) => file.writeFile(piece))
    if (!isGood) throw notNamed(artifact.name)
    await file.sync()
  } catch (error) {
    rmSync(beside)
    throw error
  } finally {
    await file.close()
  }
  settle(beside, place)
}

/** Whoever opens it sees whether it is what the statement names. */
async function writeSealed(place: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const beside = prepared(place)
  const file = await open(beside, 'wx', 0o644)
  try {
    for await (const piece of pieces) await file.writeFile(piece)
    await file.sync()
  } finally {
    await file.close()
  }
  settle(beside, place)
}

/** @param keep is given each piece, and none beyond the length of the artifact */
async function isWhole(
  pieces: AsyncIterable<Uint8Array>,
  { octets, sha256 }: Artifact,
  keep: (piece: Uint8Array) => Promise<void> = async () => {},
): Promise<boolean> {
  const hash = createHash('sha256')
  let length = 0
  for await (const piece of pieces) {
    length += piece.length
    if (length > octets) return false
    hash.update(piece)
    await keep(piece)
  }
  return length === octets && equal(hash.digest(), sha256)
}

function replace(place: string, octets: Uint8Array): void {
  const beside = prepared(place)
  writeDurably(beside, octets, 0o644)
  settle(beside, place)
}

/** @returns where it is written first; what a cut left there is gone */
function prepared(place: string): string {
  const folder = dirname(place)
  const first = mkdirSync(folder, { recursive: true })
  if (first !== undefined) for (let at = folder; at.length >= first.length; at = dirname(at)) syncDirectory(dirname(at))
  const beside = `${place}.part`
  rmSync(beside, { force: true })
  return beside
}

function settle(beside: string, place: string): void {
  renameSync(beside, place)
  syncDirectory(dirname(place))
}

/** Of the same component, what is over, and what is no statement at all. */
function removeOthers(folder: string, { component, sequence }: DirectorStatement, now: number): void {
  const others = readdirSync(folder).filter(
    (name) => name.endsWith(STATEMENT_SUFFIX) && name !== `${sequence}${STATEMENT_SUFFIX}`,
  )
  for (const name of others) {
    const says = saidBy(join(folder, name))
    if (says !== undefined && says.component !== component && says.expiresAt.getTime() > now) continue
    rmSync(join(folder, name))
    rmSync(join(folder, name.replace(STATEMENT_SUFFIX, MANIFEST_SUFFIX)), { force: true })
  }
  syncDirectory(folder)
}

function saidBy(file: string): DirectorStatement | undefined {
  if (statSync(file).size > STATEMENT_MAX_OCTETS) return undefined
  try {
    return parseStatement(payloadOf(new Uint8Array(readFileSync(file))))
  } catch (error) {
    if (error instanceof TrustError) return undefined
    throw error
  }
}
