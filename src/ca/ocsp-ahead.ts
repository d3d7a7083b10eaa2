/**
 * Signs OCSP answers ahead: of what was issued since the last look, of what changed, and of what is past half of its life.
 *
 * Answers name the certificate as most clients do: by SHA-1, with its NULL parameters (RFC 6960, 4.1.1). Others are
 * signed when they are asked for.
 *
 * @module
 */
import { toWholeSeconds } from '#base/world.ts'
import type { Row } from '#store/database.ts'
import type { CRLReason } from '#x509/extensions/crl-extensions.ts'
import { type CertStatus, encodeCertID, encodeResponseData, type IssuerHashes } from '#x509/ocsp.ts'
import type { Authority } from './authorities.ts'
import type { CAContext } from './context.ts'
import type { Responder } from './ocsp.ts'
import {
  agedBlocks,
  BLOCK_ANSWERS,
  blockOf,
  findAnswer,
  lastBlock,
  nextBlock,
  type OCSPBlock,
  packAnswers,
  replaceBlocks,
  type SignedAhead,
  unpackAnswers,
} from './ocsp-blocks.ts'

export interface Ahead {
  readonly authority: Authority
  readonly responder: Responder
  /** Its name and key by SHA-1. */
  readonly hashes: IssuerHashes
  readonly validSeconds: number
}

/** What one process remembers of its last look. */
export interface LookedAhead {
  /** Up to here, newer changes are looked for. */
  changesUntil: number
  /** Certificates issued before are in blocks, or expired. */
  issuedUntil: number
}

/** A certificate becomes visible only after its serial number, which begins with the time, was made: see `crl.ts`. */
const LATE_MILLISECONDS = 600_000
/** Some 5 ms, after which others have their turn. */
const LOOKS_EACH = 256
/** Signed before they go to the disk together. */
const BLOCKS_EACH = 64

/** @returns how many answers were signed @param goesOn asked between pieces of work */
export async function signAhead(
  context: CAContext,
  ahead: Ahead,
  looked: LookedAhead,
  goesOn: () => Promise<boolean>,
): Promise<number> {
  const { db, world } = context
  const { id, crlShards } = ahead.authority
  const now = world.clock.now()
  let signed = 0
  let lookedAt = 0

  const changed: Uint8Array[] = []
  for (let shard = 0; shard < crlShards; shard++) {
    for (const row of await db.query(CHANGED, id, shard, looked.changesUntil - LATE_MILLISECONDS, now)) {
      if (++lookedAt % LOOKS_EACH === 0 && !(await goesOn())) return signed
      const serialNumber = row['serial_number'] as Uint8Array
      const block = await blockOf(db, id, serialNumber)
      if (block === undefined) continue
      if (findAnswer(block.answers, serialNumber, row['version'] as number) === undefined) changed.push(block.firstSerial)
    }
  }
  looked.changesUntil = now

  const due = new Map(
    [...changed, ...(await agedBlocks(db, id, now - ahead.validSeconds * 500))].map((first) => [first.toHex(), first]),
  )
  for (const first of due.values()) {
    if (!(await goesOn())) return signed
    signed += (await signRange(context, ahead, first, await nextBlock(db, id, first), goesOn)).signed
  }

  const last = await lastBlock(db, id)
  const since = looked.issuedUntil === 0 ? new Uint8Array(1) : serialAt(looked.issuedUntil - LATE_MILLISECONDS)
  const start = last === undefined ? new Uint8Array(1) : tailOf(last)
  const from = Buffer.compare(start, since) > 0 ? start : since
  if ((await db.query(ANY_FROM, id, from, now)).length > 0) {
    // the last block, when it is not full, is made again with those that follow
    const begin = last !== undefined && last.entries < BLOCK_ANSWERS ? last.firstSerial : from
    const tail = await signRange(context, ahead, begin, undefined, goesOn)
    signed += tail.signed
    if (!tail.isWhole) return signed // the next look begins where this one ended
  }
  looked.issuedUntil = now
  return signed
}

/** The first serial number that the block does not have. */
function tailOf({ answers }: OCSPBlock): Uint8Array {
  const last = [...unpackAnswers(answers)].at(-1)?.serialNumber ?? new Uint8Array(0)
  const after = new Uint8Array(last.length + 1) // an octet more: the least that is greater
  after.set(last)
  return after
}

/** Serial numbers made at this time begin so, see `issue.ts`. */
function serialAt(time: number): Uint8Array {
  const octets = new Uint8Array(6)
  for (let i = 5, rest = time; i >= 0; i--, rest = Math.floor(rest / 256)) octets[i] = rest & 0xff
  octets[0] = ((octets[0] as number) & 0x3f) | 0x40
  return octets
}

export const CHANGED =
  'SELECT serial_number, version FROM certificate WHERE authority_id = ? AND crl_shard = ? AND changed_at >= ? AND not_after > ?'
export const ANY_FROM =
  'SELECT serial_number FROM certificate WHERE authority_id = ? AND serial_number >= ? AND not_after > ? ORDER BY serial_number LIMIT 1'
const CERTIFICATES =
  'SELECT serial_number, version, revoked_at, revocation_reason FROM certificate WHERE authority_id = ? AND serial_number >= ? AND not_after > ?'
const IN_ORDER = `ORDER BY serial_number LIMIT ${BLOCK_ANSWERS * BLOCKS_EACH}`
export const CERTIFICATES_FROM = `${CERTIFICATES} ${IN_ORDER}`
const CERTIFICATES_BETWEEN = `${CERTIFICATES} AND serial_number < ? ${IN_ORDER}`

/** Makes every block of a range of serial numbers anew. @param end the first beyond it; undefined for no end */
async function signRange(
  { db, world }: CAContext,
  ahead: Ahead,
  start: Uint8Array,
  end: Uint8Array | undefined,
  goesOn: () => Promise<boolean>,
): Promise<{ readonly signed: number; readonly isWhole: boolean }> {
  const authorityId = ahead.authority.id
  let signed = 0
  for (let from = start; ;) {
    const now = world.clock.now()
    const rows =
      end === undefined
        ? await db.query(CERTIFICATES_FROM, authorityId, from, now)
        : await db.query(CERTIFICATES_BETWEEN, authorityId, from, now, end)
    const blocks: OCSPBlock[] = []
    for (let at = 0; at < rows.length; at += BLOCK_ANSWERS)
      blocks.push(await signBlock(ahead, rows.slice(at, at + BLOCK_ANSWERS), toWholeSeconds(now)))
    const isAll = rows.length < BLOCK_ANSWERS * BLOCKS_EACH
    const next = isAll ? end : tailOf(blocks.at(-1) as OCSPBlock)
    await db.transaction((tx) => replaceBlocks(tx, world, { authorityId, start: from, end: next }, blocks))
    signed += rows.length
    if (isAll || !(await goesOn())) return { signed, isWhole: isAll }
    from = next as Uint8Array<ArrayBuffer>
  }
}

async function signBlock(
  { authority, responder, hashes, validSeconds }: Ahead,
  rows: readonly Row[],
  signedAt: number,
): Promise<OCSPBlock> {
  const validUntil = Math.min(signedAt + validSeconds * 1000, responder.notAfter)
  const answers = await Promise.all(
    rows.map(async (row): Promise<SignedAhead> => {
      const serialNumber = row['serial_number'] as Uint8Array
      const tbs = answerData(responder, encodeCertID(hashes, serialNumber), statusOf(row), signedAt, validUntil)
      const signature = await responder.signer.sign(tbs, responder.signatureAlgorithm)
      return { serialNumber, version: row['version'] as number, signature }
    }),
  )
  return {
    authorityId: authority.id,
    firstSerial: answers[0]?.serialNumber as Uint8Array,
    responderId: responder.id,
    signedAt,
    validUntil,
    entries: answers.length,
    answers: packAnswers(answers),
  }
}

/** What is signed, made again in the same octets when it is served. @returns DER ResponseData */
export function answerData(
  { fields }: Pick<Responder, 'fields'>,
  certID: Uint8Array,
  status: CertStatus,
  signedAt: number,
  validUntil: number,
): Uint8Array {
  const producedAt = new Date(signedAt)
  const response = { certID, status, thisUpdate: producedAt, nextUpdate: new Date(validUntil) }
  return encodeResponseData(fields, { producedAt, responses: [response] })
}

/** @param row of a certificate */
export const statusOf = (row: Row): CertStatus =>
  row['revoked_at'] === null
    ? { type: 'good' }
    : {
        type: 'revoked',
        revokedAt: new Date(toWholeSeconds(row['revoked_at'] as number)),
        reason: row['revocation_reason'] as CRLReason,
      }
