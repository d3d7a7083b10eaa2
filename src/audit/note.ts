/**
 * Signed notes and the checkpoints they carry: a text that says how long the log is and what its root hash is.
 *
 * Signatures are of type 0x02 (ECDSA P-256 with SHA-256, DER), whose key id is the beginning of the SHA-256 of the
 * SubjectPublicKeyInfo. Lines of keys that we do not know are kept and ignored, so that witnesses can add theirs.
 *
 * Source: C2SP signed-note v1.0.0 and tlog-checkpoint v1.0.0.
 *
 * @module
 */
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Signer } from '#keys/key-store.ts'
import { HASH_OCTETS } from './merkle.ts'
import { ecdsaKeyId, fromBase64, KEY_ID_OCTETS } from './note-key.ts'

export interface Checkpoint {
  /** Names the log; also the name of its key in signature lines. */
  readonly origin: string
  readonly size: number
  readonly rootHash: Uint8Array
}

/** Bounds what is parsed: a checkpoint has three short lines, and 16 signatures must be accepted, of about 5 kB each after quantum. */
const NOTE_MAX_CHARACTERS = 100_000
/** Each may be worth a verification; the specification asks for at least 16. */
const SIGNATURES_MAX = 64
const SIGNATURE_LINE = /^— ([^\p{White_Space}+]+) ([A-Za-z0-9+/]+={0,2})$/u
const NAME = /^[^\p{White_Space}\p{Cc}+]+$/u

/** @param origin a URL without its scheme, such as `pki.example/audit` @throws TrustError `malformed` */
export function checkOrigin(origin: string): void {
  if (!NAME.test(origin) || origin.length > 200) throw new TrustError('malformed', 'auditOrigin', { facts: { origin } })
}

export function encodeCheckpoint({ origin, size, rootHash }: Checkpoint): string {
  return `${origin}\n${size}\n${rootHash.toBase64()}\n`
}

/** @param signer a P-256 key; the name of the key is the checkpoint's origin */
export async function signCheckpoint(checkpoint: Checkpoint, signer: Signer): Promise<string> {
  const text = encodeCheckpoint(checkpoint)
  const signature = await signer.sign(utf8(text), 'ecdsa-sha256')
  return `${text}\n— ${checkpoint.origin} ${concat([ecdsaKeyId(signer.publicKey), signature]).toBase64()}\n`
}

/**
 * @param publicKey the log's, DER SubjectPublicKeyInfo
 * @throws TrustError `malformed`; `badProof` when no signature of that key under the note's origin verifies
 */
export async function openCheckpoint(note: string, publicKey: Uint8Array): Promise<Checkpoint> {
  const { text, checkpoint, signatures } = parseSignedCheckpoint(note)
  const key = importPublicKey(publicKey)
  const ours = signatures.filter(({ name, id }) => name === checkpoint.origin && equal(id, ecdsaKeyId(publicKey)))
  if (ours.length === 0 || !(await allVerify(ours, key, utf8(text)))) throw new TrustError('badProof', 'checkpointSignature')
  return checkpoint
}

export interface NoteSignature {
  readonly name: string
  readonly id: Uint8Array
  readonly octets: Uint8Array
}

/** A checkpoint with what was signed and by whom; nothing is verified yet. @throws TrustError `malformed` */
export function parseSignedCheckpoint(note: string) {
  const { text, signatures } = parseNote(note)
  return { text, checkpoint: parseCheckpoint(text), signatures }
}

function parseNote(note: string): { text: string; signatures: readonly NoteSignature[] } {
  // oxlint-disable-next-line no-control-regex -- signed-note: no control characters but newline
  if (note.length > NOTE_MAX_CHARACTERS || /[\0-\x09\x0b-\x1f]/.test(note)) throw malformed('its length or a control character')
  const split = note.lastIndexOf('\n\n')
  if (split < 0 || !note.endsWith('\n')) throw malformed('no signatures after an empty line')
  const lines = note.slice(split + 2, -1).split('\n')
  if (lines.length > SIGNATURES_MAX) throw malformed('the number of signatures')
  return { text: note.slice(0, split + 1), signatures: lines.map(parseSignatureLine) }
}

/** @throws TrustError `malformed` */
export function parseSignatureLine(line: string): NoteSignature {
  const [, name, base64] = SIGNATURE_LINE.exec(line) ?? []
  if (name === undefined || base64 === undefined) throw malformed('a signature line')
  const octets = fromBase64(base64)
  if (octets === undefined || octets.length <= KEY_ID_OCTETS) throw malformed('a signature')
  return { name, id: octets.subarray(0, KEY_ID_OCTETS), octets: octets.subarray(KEY_ID_OCTETS) }
}

function parseCheckpoint(text: string): Checkpoint {
  const [origin, sizeText, root, ...extensions] = text.slice(0, -1).split('\n')
  if (origin === undefined || sizeText === undefined || root === undefined || origin === '' || extensions.includes('')) {
    throw malformed('fewer than three lines')
  }
  const size = parseSize(sizeText)
  if (size === undefined) throw malformed('the tree size')
  const rootHash = fromBase64(root)
  if (rootHash?.length !== HASH_OCTETS) throw malformed('the root hash')
  return { origin, size, rootHash }
}

/** Decimal without leading zeros, as far as can be counted. */
export function parseSize(text: string): number | undefined {
  const size = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(size) ? size : undefined
}

async function allVerify(signatures: readonly NoteSignature[], key: PublicKey, message: Uint8Array): Promise<boolean> {
  for (const { octets } of signatures) {
    if (!(await verifySignature({ algorithm: 'ecdsa-sha256', octets }, key, message))) return false
  }
  return true
}

const malformed = (detail: string) => new TrustError('malformed', 'notCheckpoint', { facts: { detail } })
