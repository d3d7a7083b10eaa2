/**
 * OCSP answers that were signed ahead, 32 to a row: of each only the signature is kept, since everything else of an
 * answer follows from the question, the certificate's row and the block's times. A million take some 130 MB.
 *
 * A block covers certificates of one authority whose serial numbers follow each other. An answer is of use only while
 * the certificate's row has the version that it was signed for, so that a change counts at once, whoever made it.
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import type { Queries, Row, SqlValue, Transaction } from '#store/database.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** Of P-256 they fill one page of the database, and are signed in some 2 ms. */
export const BLOCK_ANSWERS = 32

/** One certificate's, as it is kept. */
export interface SignedAhead {
  readonly serialNumber: Uint8Array
  /** Of the certificate's row when it was signed. */
  readonly version: number
  readonly signature: Uint8Array
}

export interface OCSPBlock {
  readonly authorityId: string
  readonly firstSerial: Uint8Array
  /** Id of the responder's certificate. */
  readonly responderId: string
  /** thisUpdate and producedAt of each answer. */
  readonly signedAt: number
  /** Their nextUpdate. */
  readonly validUntil: number
  readonly entries: number
  /** See {@link packAnswers}. */
  readonly answers: Uint8Array
}

const HEAD_OCTETS = 7

/** Each: length of the serial number (1), version (4), length of the signature (2), serial number, signature. */
export function packAnswers(answers: readonly SignedAhead[]): Uint8Array {
  const size = answers.reduce((sum, one) => sum + HEAD_OCTETS + one.serialNumber.length + one.signature.length, 0)
  const packed = new Uint8Array(size)
  const view = new DataView(packed.buffer)
  let at = 0
  for (const { serialNumber, version, signature } of answers) {
    view.setUint8(at, serialNumber.length)
    view.setUint32(at + 1, version)
    view.setUint16(at + 5, signature.length)
    packed.set(serialNumber, at + HEAD_OCTETS)
    packed.set(signature, at + HEAD_OCTETS + serialNumber.length)
    at += HEAD_OCTETS + serialNumber.length + signature.length
  }
  return packed
}

/** Octets of what comes back are views of `packed`. */
export function* unpackAnswers(packed: Uint8Array): Generator<SignedAhead> {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  for (let at = 0; at < packed.length;) {
    const serial = at + HEAD_OCTETS
    const signature = serial + view.getUint8(at)
    const end = signature + view.getUint16(at + 5)
    yield {
      serialNumber: packed.subarray(serial, signature),
      version: view.getUint32(at + 1),
      signature: packed.subarray(signature, end),
    }
    at = end
  }
}

/** @returns the signature for this certificate as it is now, if there is one */
export function findAnswer(packed: Uint8Array, serialNumber: Uint8Array, version: number): Uint8Array | undefined {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  const { length } = serialNumber
  for (let at = 0; at < packed.length;) {
    const serial = at + HEAD_OCTETS
    const octets = view.getUint8(at)
    const end = serial + octets + view.getUint16(at + 5)
    if (octets === length && isAt(packed, serial, serialNumber))
      return view.getUint32(at + 1) === version ? packed.subarray(serial + octets, end) : undefined
    at = end
  }
  return undefined
}

/** From the end: serial numbers begin with the time, which those of a block share. */
function isAt(packed: Uint8Array, at: number, serialNumber: Uint8Array): boolean {
  for (let i = serialNumber.length - 1; i >= 0; i--) if (packed[at + i] !== serialNumber[i]) return false
  return true
}

const AT_OR_BEFORE = 'WHERE authority_id = ? AND first_serial <= ? ORDER BY first_serial DESC LIMIT 1'
const FIELDS = 'first_serial, responder_id, signed_at, valid_until, entries, answers'

export const BLOCK_OF = `SELECT responder_id, signed_at, valid_until, answers FROM ocsp_block ${AT_OR_BEFORE}`

/** @returns the block that this certificate is in, if it is in any */
export async function blockOf(db: Queries, authorityId: string, serialNumber: Uint8Array): Promise<OCSPBlock | undefined> {
  const [row] = await db.query(`SELECT ${FIELDS} FROM ocsp_block ${AT_OR_BEFORE}`, authorityId, serialNumber)
  return row === undefined ? undefined : blockFrom(authorityId, row)
}

export interface FoundAhead extends Pick<OCSPBlock, 'responderId' | 'signedAt' | 'validUntil'> {
  readonly signature: Uint8Array
}

/** @returns the answer for this certificate as it is now, if there is one that is valid */
export async function answerAhead(
  db: Queries,
  authorityId: string,
  serialNumber: Uint8Array,
  version: number,
  now: number,
): Promise<FoundAhead | undefined> {
  const [row] = await db.query(BLOCK_OF, authorityId, serialNumber)
  if (row === undefined || (row['valid_until'] as number) <= now) return undefined
  const signature = findAnswer(row['answers'] as Uint8Array, serialNumber, version)
  if (signature === undefined) return undefined
  return {
    responderId: row['responder_id'] as string,
    signedAt: row['signed_at'] as number,
    validUntil: row['valid_until'] as number,
    signature,
  }
}

/** @returns the one with the highest serial numbers */
export async function lastBlock(db: Queries, authorityId: string): Promise<OCSPBlock | undefined> {
  const [row] = await db.query(
    `SELECT ${FIELDS} FROM ocsp_block WHERE authority_id = ? ORDER BY first_serial DESC LIMIT 1`,
    authorityId,
  )
  return row === undefined ? undefined : blockFrom(authorityId, row)
}

/** @returns where the blocks begin that were signed before this time, oldest first */
export async function agedBlocks(db: Queries, authorityId: string, signedBefore: number): Promise<readonly Uint8Array[]> {
  const rows = await db.query<{ first_serial: Uint8Array }>(AGED, authorityId, signedBefore)
  return rows.map((row) => row.first_serial)
}

/** Works until the next look; some 20,000 signatures. */
const AGED_EACH = 640
export const AGED = `SELECT first_serial FROM ocsp_block WHERE authority_id = ? AND signed_at < ? ORDER BY signed_at LIMIT ${AGED_EACH}`

/** @returns where the block after this place begins, if there is one */
export async function nextBlock(db: Queries, authorityId: string, after: Uint8Array): Promise<Uint8Array | undefined> {
  const [row] = await db.query(
    'SELECT first_serial FROM ocsp_block WHERE authority_id = ? AND first_serial > ? ORDER BY first_serial LIMIT 1',
    authorityId,
    after,
  )
  return row?.['first_serial'] as Uint8Array | undefined
}

/** Puts blocks in place of all that begin in a range. @param end the first serial number beyond it; undefined for none */
export async function replaceBlocks(
  tx: Transaction,
  world: Pick<World, 'clock' | 'random'>,
  { authorityId, start, end }: { readonly authorityId: string; readonly start: Uint8Array; readonly end: Uint8Array | undefined },
  blocks: readonly OCSPBlock[],
): Promise<void> {
  await tx.query(
    `DELETE FROM ocsp_block WHERE authority_id = ? AND first_serial >= ? ${end === undefined ? '' : 'AND first_serial < ?'}`,
    ...[authorityId, start, ...(end === undefined ? [] : [end])],
  )
  const rows = blocks.map((block): SqlValue[] => [
    uuidv7(world),
    DEFAULT_ORGANIZATION,
    1,
    block.authorityId,
    block.firstSerial,
    block.responderId,
    block.signedAt,
    block.validUntil,
    block.entries,
    block.answers,
  ])
  if (rows.length > 0) await tx.insertMany('ocsp_block', COLUMNS, rows)
}

const COLUMNS = [
  'id',
  'organization_id',
  'version',
  'authority_id',
  'first_serial',
  'responder_id',
  'signed_at',
  'valid_until',
  'entries',
  'answers',
]

const blockFrom = (authorityId: string, row: Row): OCSPBlock => ({
  authorityId,
  firstSerial: row['first_serial'] as Uint8Array,
  responderId: row['responder_id'] as string,
  signedAt: row['signed_at'] as number,
  validUntil: row['valid_until'] as number,
  entries: row['entries'] as number,
  answers: row['answers'] as Uint8Array,
})
