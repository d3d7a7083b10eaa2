/**
 * A proof in one file that needs no server: the entry, its path to the root, and the checkpoint that the log signed and
 * witnesses cosigned. The entry's text travels as the format's extra data: its hash is the leaf, so nothing of it is
 * believed that the proof does not cover.
 *
 * Source: C2SP tlog-proof (`c2sp.org/tlog-proof@v1`).
 *
 * @module
 */
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { HASH_OCTETS, hashLeaf } from './merkle.ts'
import { type Checkpoint, parseSignedCheckpoint, parseSize } from './note.ts'
import { cosignatureSeconds, fromBase64, type NoteKey } from './note-key.ts'
import { isIncluded, PATH_MAX_HASHES } from './proof.ts'

export interface EntryProof {
  /** As it was hashed: docs/reference/audit-entry.md. */
  readonly entry: string
  readonly index: number
  readonly path: readonly Uint8Array[]
  /** The signed checkpoint. */
  readonly note: string
}

const HEADER = 'c2sp.org/tlog-proof@v1'
/** An entry of 64 KiB in base64, a path of 63 hashes and a note of 100,000 characters. */
const PROOF_MAX_CHARACTERS = 200_000

export function encodeProof({ entry, index, path, note }: EntryProof): string {
  const lines = [HEADER, `extra ${utf8(entry).toBase64()}`, `index ${index}`, ...path.map((hash) => hash.toBase64())]
  return `${lines.join('\n')}\n\n${note}`
}

/** @throws TrustError `malformed`; nothing is verified yet */
export function parseProof(text: string): EntryProof {
  if (text.length > PROOF_MAX_CHARACTERS) throw malformed('its length')
  const split = text.indexOf('\n\n')
  const [header, ...lines] = text.slice(0, Math.max(split, 0)).split('\n')
  if (header !== HEADER) throw malformed('the first line')
  const [extra, index, ...hashes] = lines
  if (extra?.startsWith('extra ') !== true) throw new TrustError('malformed', 'auditProofWithoutEntry')
  return {
    entry: parseExtra(extra),
    index: parseIndex(index),
    path: hashes.length > PATH_MAX_HASHES ? malformedPath() : hashes.map(parseHash),
    note: text.slice(split + 2),
  }
}

function parseExtra(line: string): string {
  const octets = fromBase64(line.slice('extra '.length))
  if (octets === undefined) throw malformed('the entry')
  const entry = new TextDecoder().decode(octets)
  if (!equal(utf8(entry), octets)) throw malformed('the entry')
  return entry
}

function parseIndex(line: string | undefined): number {
  const index = line?.startsWith('index ') === true ? parseSize(line.slice('index '.length)) : undefined
  if (index === undefined) throw malformed('the index')
  return index
}

/** @throws TrustError `malformed` */
export function parseHash(line: string): Uint8Array {
  const hash = fromBase64(line)
  return hash?.length === HASH_OCTETS ? hash : malformedPath()
}

export interface ProvenEntry {
  readonly entry: string
  readonly index: number
  readonly checkpoint: Checkpoint
  /** Of the keys that were given, in their order. */
  readonly cosignatures: readonly Cosigned[]
}

export interface Cosigned {
  readonly witness: string
  readonly at: Date
}

export interface ProofKeys {
  readonly log: NoteKey
  /** Each must have cosigned. */
  readonly witnesses: readonly NoteKey[]
}

/** @throws TrustError `malformed`, `badProof` */
export async function checkProof(text: string, { log, witnesses }: ProofKeys): Promise<ProvenEntry> {
  const { entry, index, path, note } = parseProof(text)
  const checkpoint = await checkLogSignature(note, log)
  const cosignatures = await checkCosignatures(note, witnesses)
  const { size, rootHash } = checkpoint
  if (!isIncluded({ index, size, leafHash: hashLeaf(entry), path, rootHash })) throw new TrustError('badProof', 'auditProofWrong')
  return { entry, index, checkpoint, cosignatures }
}

/** @throws TrustError `malformed`, `badProof` */
export async function checkLogSignature(note: string, key: NoteKey): Promise<Checkpoint> {
  const { text, checkpoint, signatures } = parseSignedCheckpoint(note)
  if (key.kind === 'log' && checkpoint.origin === key.name) {
    for (const signature of signatures) if (await key.verify(signature, text)) return checkpoint
  }
  throw new TrustError('badProof', 'checkpointSignature')
}

/** @throws TrustError `badProof` when one of the witnesses has not cosigned */
export async function checkCosignatures(note: string, witnesses: readonly NoteKey[]): Promise<readonly Cosigned[]> {
  const { text, signatures } = parseSignedCheckpoint(note)
  const found: Cosigned[] = []
  for (const key of witnesses) {
    let at: number | undefined
    for (const signature of signatures) {
      if (key.kind === 'witness' && (await key.verify(signature, text))) at = cosignatureSeconds(signature.octets)
    }
    if (at === undefined) throw new TrustError('badProof', 'auditProofUnwitnessed', { facts: { witness: key.name } })
    found.push({ witness: key.name, at: new Date(at * 1000) })
  }
  return found
}

const malformed = (detail: string) => new TrustError('malformed', 'notAuditProof', { facts: { detail } })
const malformedPath = (): never => {
  throw malformed('the path')
}
