/**
 * A witness's directory: its key, and what it has seen. Made once; a witness that lost its record must not go on with
 * the same key, for it would cosign what it refused before.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { HASH_OCTETS } from './merkle.ts'
import { checkOrigin } from './note.ts'
import { cosign, fromBase64, witnessKey } from './note-key.ts'

/** The newest checkpoint that was cosigned, of one log. */
export interface Seen {
  readonly origin: string
  readonly size: number
  readonly rootHash: Uint8Array
  /** As the log signed it: with a later one that contradicts it, the evidence. */
  readonly note: string
}

export interface WitnessState {
  seen(origin: string): Seen | undefined
  /** On disk when it returns. */
  keep(seen: Seen): void
}

export interface WitnessHome {
  readonly name: string
  readonly keyId: Uint8Array
  /** What logs are given to know this witness by. */
  readonly verifierKey: string
  readonly cosign: (seconds: number, text: string) => Uint8Array
  readonly state: WitnessState
}

export const witnessAlgorithms = ['ed25519', 'ml-dsa-44'] as const
export type WitnessAlgorithm = (typeof witnessAlgorithms)[number]

const KEY_FILE = 'witness.key'
const STATE_FILE = 'witness.json'

/** @param name a URL without its scheme that names the witness for good @throws TrustError `conflict` when there is one */
export function createWitness(directory: string, name: string, algorithm: WitnessAlgorithm = 'ed25519'): void {
  checkOrigin(name)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (existsSync(join(directory, KEY_FILE)) || existsSync(join(directory, STATE_FILE))) {
    throw new TrustError('conflict', 'witnessStateExists', { facts: { directory } })
  }
  const { privateKey } = algorithm === 'ml-dsa-44' ? generateKeyPairSync('ml-dsa-44') : generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  // the record first: with a key and no record it is a witness that forgot
  writeDurably(directory, STATE_FILE, encodeRecord(name, new Map()))
  writeDurably(directory, KEY_FILE, pem)
}

/** @throws TrustError `unavailable` when there is none, or its record cannot be read */
export function openWitness(directory: string): WitnessHome {
  const key = readKey(directory)
  const { name, logs } = readRecord(directory)
  const { id, verifierKey } = witnessKey(name, createPublicKey(key))
  return {
    name,
    keyId: id,
    verifierKey,
    cosign: (seconds, text) => cosign(name, key, seconds, text),
    state: {
      seen: (origin) => logs.get(origin),
      keep(seen) {
        const next = new Map(logs).set(seen.origin, seen)
        writeDurably(directory, STATE_FILE, encodeRecord(name, next))
        logs.set(seen.origin, seen) // not before it is kept: what failed was not seen
      },
    },
  }
}

function readKey(directory: string): KeyObject {
  const file = join(directory, KEY_FILE)
  if (!existsSync(file)) throw new TrustError('unavailable', 'witnessStateMissing', { facts: { directory } })
  try {
    const key = createPrivateKey(readFileSync(file))
    if (witnessAlgorithms.some((algorithm) => algorithm === key.asymmetricKeyType)) return key
  } catch {
    // as if it were another key
  }
  throw new TrustError('unavailable', 'witnessStateDamaged', { facts: { file } })
}

type Kept = { readonly size: number; readonly rootHash: string; readonly note: string }
type KeptRecord = { readonly name: string; readonly logs: Readonly<Record<string, Kept>> }

function readRecord(directory: string): { readonly name: string; readonly logs: Map<string, Seen> } {
  const file = join(directory, STATE_FILE)
  try {
    const { name, logs } = JSON.parse(readFileSync(file, 'utf8')) as KeptRecord
    checkOrigin(name)
    return { name, logs: new Map(Object.entries(logs).map(([origin, kept]) => [origin, readSeen(origin, kept)])) }
  } catch (cause) {
    throw new TrustError('unavailable', 'witnessStateDamaged', { facts: { file }, cause })
  }
}

function readSeen(origin: string, { size, rootHash: encoded, note }: Kept): Seen {
  const rootHash = fromBase64(encoded)
  if (!Number.isSafeInteger(size) || size < 0 || rootHash?.length !== HASH_OCTETS || typeof note !== 'string') {
    throw new TypeError(`not a checkpoint that was seen: ${origin}`)
  }
  return { origin, size, rootHash, note }
}

function encodeRecord(name: string, logs: ReadonlyMap<string, Seen>): string {
  const kept = [...logs].map(([origin, { size, rootHash, note }]) => [origin, { size, rootHash: rootHash.toBase64(), note }])
  return `${JSON.stringify({ name, logs: Object.fromEntries(kept) as unknown }, undefined, 2)}\n`
}

/** Either the old file or the new one is there after a power cut, whole. */
function writeDurably(directory: string, name: string, content: string): void {
  const path = join(directory, name)
  const part = `${path}.part`
  const file = openSync(part, 'w', 0o600)
  try {
    writeSync(file, content)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(part, path)
  const parent = openSync(directory, 'r')
  try {
    fsyncSync(parent)
  } finally {
    closeSync(parent)
  }
}
