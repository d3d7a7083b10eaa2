/**
 * What is kept of keys that were made outside of their device: who has them, and who says that they are destroyed.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { fingerprint } from '#x509/certificate.ts'
import type { DevicesContext } from '../context.ts'
import type { SignedBirthCertificate } from './context.ts'
import type { BirthLine } from './lines.ts'
import { type BirthEvidence, checkReceipt } from './messages.ts'
import { assuranceOfEvidence, type ProvenBirth } from './proven.ts'

export interface KeyUnit {
  /** Who made the key. */
  readonly maker: 'server' | 'unit'
  /** DER certificate of who writes it into the device. */
  readonly unit: Uint8Array
  /** SHA-256 of what was delivered; undefined where the unit made the key itself. */
  readonly messageHash?: Uint8Array
}

/** @param print SHA-256 of its certificate, in hexadecimal digits @returns DER @throws TrustError `forbidden` */
export function unitOf({ name, terms }: BirthLine, print: string): Uint8Array {
  const found = terms.units.map((unit) => Uint8Array.fromBase64(unit)).find((der) => fingerprint(der).toHex() === print)
  if (found === undefined) throw new TrustError('forbidden', 'birthUnit', { facts: { name } })
  return found
}

/** The unit made the key and asks with it. @throws TrustError `forbidden` when it is none of the line */
export function proveUnitKey(
  context: DevicesContext,
  line: BirthLine,
  productSerial: string,
  { request, unit: print }: Extract<BirthEvidence, { type: 'external' }>,
): ProvenBirth {
  const unit = unitOf(line, print)
  return {
    assurance: assuranceOfEvidence.external,
    proof: { type: 'request', der: request },
    evidence: { maker: 'unit', unit: print, request: hash('sha256', request) },
    stepsFor: (signed) => stepsToNoteKey(context, { line, productSerial }, signed, { maker: 'unit', unit }),
  }
}

export const stepsToNoteKey = (
  { world, organizationId }: DevicesContext,
  { line, productSerial }: { readonly line: BirthLine; readonly productSerial: string },
  { certificateId, keyHash }: SignedBirthCertificate,
  { maker, unit, messageHash }: KeyUnit,
): readonly Step[] => [
  {
    sql: `INSERT INTO external_key (certificate_id, organization_id, version, line_id, product_serial, key_hash, maker, unit, message_hash,
        state, receipt, created_at, changed_at)
      VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, 'delivered', NULL, ?, ?)`,
    parameters: [
      ...[certificateId, organizationId, line.id, productSerial, keyHash, maker, unit, messageHash ?? null],
      ...[world.clock.now(), world.clock.now()],
    ],
  },
]

export interface ExternalKey {
  readonly certificateId: string
  readonly productSerial: string
  readonly maker: KeyUnit['maker']
  /** SHA-256 of the unit's certificate, in hexadecimal digits. */
  readonly unit: string
  /** `delivered`: it may still be somewhere else than in its device. */
  readonly state: 'delivered' | 'destroyed'
  /** JWS of the unit. */
  readonly receipt: string | undefined
  readonly createdAt: number
}

export interface ExternalKeyPage {
  readonly state?: ExternalKey['state']
  readonly limit: number
  /** Certificate of the last one of the page before. */
  readonly after?: string
}

/** Newest first. */
export async function listExternalKeys(
  { db, organizationId }: DevicesContext,
  { state, limit, after }: ExternalKeyPage,
): Promise<readonly ExternalKey[]> {
  const rows = await db.query(
    `SELECT * FROM external_key WHERE organization_id = ? AND certificate_id < ? ${state === undefined ? '' : 'AND state = ?'}
      ORDER BY certificate_id DESC LIMIT ?`,
    ...[organizationId, after ?? 'z', ...(state === undefined ? [] : [state]), limit],
  )
  return rows.map(externalKeyOf)
}

/** Birth certificates lie some clocks' difference apart from receipts. */
const CLOCK_SLACK_MILLISECONDS = 300_000

/**
 * The unit's word that the key is in its device and nowhere else.
 *
 * @param receipt a JWS by the unit, see `messages.ts`
 * @throws TrustError `badProof`, `malformed`, `notFound`; `conflict` when there is one already
 */
export async function takeReceipt(
  context: DevicesContext,
  certificate: { readonly certificateId: string; readonly der: Uint8Array },
  receipt: Uint8Array,
  actor: string,
): Promise<ExternalKey> {
  const { db, world, audit, organizationId } = context
  const { certificateId, der } = certificate
  const [row] = await db.query(
    'SELECT * FROM external_key WHERE certificate_id = ? AND organization_id = ?',
    ...[certificateId, organizationId],
  )
  if (row === undefined) throw new TrustError('notFound', 'externalKeyUnknown')
  const said = await checkReceipt(receipt, row['unit'] as Uint8Array)
  const now = world.clock.now()
  const inTime =
    said.destroyedAt >= (row['created_at'] as number) - CLOCK_SLACK_MILLISECONDS &&
    said.destroyedAt <= now + CLOCK_SLACK_MILLISECONDS
  if (said.certificate !== fingerprint(der).toHex() || said.productSerial !== row['product_serial'] || !inTime)
    throw new TrustError('badProof', 'birthReceiptOther')
  await db.transaction(async (tx) => {
    const changed = await tx.query(
      `UPDATE external_key SET state = 'destroyed', receipt = ?, changed_at = ?, version = version + 1
        WHERE certificate_id = ? AND state = 'delivered' RETURNING state`,
      ...[new TextDecoder().decode(receipt), now, certificateId],
    )
    if (changed.length === 0) throw new TrustError('conflict', 'externalKeyDestroyed')
    const facts = { receipt: hash('sha256', receipt), destroyedAt: said.destroyedAt }
    await audit.record(tx, { actor, act: 'birth.key-destroyed', object: `certificate:${certificateId}`, outcome: 'done', facts })
  })
  return { ...externalKeyOf(row), state: 'destroyed', receipt: new TextDecoder().decode(receipt) }
}

const externalKeyOf = (row: Row): ExternalKey => ({
  certificateId: row['certificate_id'] as string,
  productSerial: row['product_serial'] as string,
  maker: row['maker'] as KeyUnit['maker'],
  unit: fingerprint(row['unit'] as Uint8Array).toHex(),
  state: row['state'] as ExternalKey['state'],
  receipt: (row['receipt'] as string | null) ?? undefined,
  createdAt: row['created_at'] as number,
})
