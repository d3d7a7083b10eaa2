/**
 * Compares what a server kept with what its clients were told.
 *
 * @module
 */
import { verifyAuditLog } from '#audit/verify.ts'
import { equal } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import type { Database, Row } from '#store/database.ts'
import { sequenceOutbox } from '#store/outbox.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Told } from './server-load.ts'

export type Account = Pick<Told, 'received' | 'revoked' | 'byHand' | 'secrets' | 'crlNumbers'>

/** The log's key as it was shown before anything went wrong; undefined to believe the database. */
export interface Evidence {
  readonly auditKey: Uint8Array | undefined
}

/** @returns what is wrong with the rows, given what the clients were told; empty when nothing was lost or doubled */
export async function check(db: Database, told: Account, { auditKey }: Evidence): Promise<readonly string[]> {
  const problems: string[] = []
  const certificates = await db.query(
    `SELECT c.id, c.serial_number, c.der, c.key_hash, c.product_serial, c.profile, c.state, c.endpoint_id, c.authority_id, e.label
      FROM certificate c LEFT JOIN endpoint e ON e.id = c.endpoint_id`,
  )
  twice(
    certificates.map((row) => hex(row, 'serial_number')),
    'serial number',
    problems,
  )
  checkReceived(certificates, told, problems)
  checkByHand(certificates, told, problems)
  const births = certificates.filter(({ profile }) => profile === 'idevid')
  twice(
    births.map((row) => String(row['product_serial'])),
    'birth of product',
    problems,
  )
  twice(
    births.map((row) => hex(row, 'key_hash')),
    'birth of key',
    problems,
  )

  const entries = (await db.query(
    "SELECT act, object, actor, facts FROM audit_entry WHERE outcome = 'done'",
  )) as unknown as readonly Entry[]
  const ids = certificates.map(({ id }) => `certificate:${String(id)}`)
  sameOnes(ids, objectsOf(entries, 'certificate.issue'), 'certificate', 'audit entry', problems)
  checkRevocations(certificates, entries, told, problems)
  checkSecrets(await db.query('SELECT id, user_name, used_request_hash FROM enrollment_secret'), entries, told, problems)
  checkCRLs(entries, told, problems)
  await checkRequests(db, problems)
  await checkOutbox(db, certificates, problems)

  const verified = await verifyAuditLog(db, {
    organizationId: 'default',
    clock: systemWorld().clock,
    ...(auditKey !== undefined && { publicKey: auditKey }),
  })
  problems.push(...verified.problems.map(({ sentence }) => `audit log: ${sentence}`))
  if (verified.waiting > 0) problems.push(`audit log: ${verified.waiting} entries wait though a minute has passed`)
  if (verified.signedSize !== verified.size)
    problems.push(`audit log: only ${verified.signedSize} of ${verified.size} are signed`)
  return problems
}

interface Entry {
  readonly act: string
  readonly object: string
  readonly actor: string
  /** JSON */
  readonly facts: string
}

const hex = (row: Row, column: string): string => (row[column] as Uint8Array).toHex()

const objectsOf = (entries: readonly Entry[], act: string): readonly string[] =>
  entries.filter((entry) => entry.act === act).map(({ object }) => object)

function twice(values: readonly string[], what: string, problems: string[]): void {
  const seen = new Set<string>()
  for (const value of values) {
    if (seen.has(value)) problems.push(`${what} ${value} twice`)
    seen.add(value)
  }
}

/** Each once on either side. */
function sameOnes(
  left: readonly string[],
  right: readonly string[],
  leftName: string,
  rightName: string,
  problems: string[],
): void {
  twice(left, leftName, problems)
  twice(right, rightName, problems)
  for (const value of new Set(left).difference(new Set(right))) problems.push(`${value} without its ${rightName}`)
  for (const value of new Set(right).difference(new Set(left))) problems.push(`${rightName} for ${value} without its ${leftName}`)
}

/** Every request was asked until it was answered: so there is what was received, and nothing else. */
function checkReceived(certificates: readonly Row[], { received }: Account, problems: string[]): void {
  const kept = new Map(certificates.map((row) => [hex(row, 'serial_number'), row]))
  const expected = new Set<unknown>()
  for (const { endpoint, certificate } of received) {
    const serialNumber = parseCertificate(certificate).serialNumber.toHex()
    const row = kept.get(serialNumber)
    if (row === undefined) problems.push(`received certificate ${serialNumber} lost`)
    else if (!equal(row['der'] as Uint8Array, certificate)) problems.push(`received certificate ${serialNumber} is another one`)
    else if (row['label'] !== endpoint) problems.push(`received certificate ${serialNumber} of another endpoint`)
    expected.add(row?.['id'])
  }
  for (const { id, label } of certificates) {
    if (label !== null && !expected.has(id)) problems.push(`certificate ${String(id)} of ${String(label)}, which nobody received`)
  }
  twice(
    certificates.filter(({ label }) => label !== null).map((row) => `${String(row['label'])} ${hex(row, 'key_hash')}`),
    'certificate for the key at',
    problems,
  )
}

function checkByHand(certificates: readonly Row[], { byHand }: Account, problems: string[]): void {
  for (const { keyHash, certificate } of byHand) {
    const rows = certificates.filter((row) => hex(row, 'key_hash') === keyHash)
    if (rows.length > 1) problems.push(`issued by hand twice for the key ${keyHash}`)
    if (certificate === undefined) continue
    if (!rows.some(({ der }) => equal(der as Uint8Array, certificate))) problems.push(`issued by hand and lost: key ${keyHash}`)
  }
}

function checkRevocations(
  certificates: readonly Row[],
  entries: readonly Entry[],
  { revoked }: Account,
  problems: string[],
): void {
  const rows = certificates.filter(({ state }) => state === 'revoked')
  const serials = rows.map((row) => hex(row, 'serial_number'))
  sameOnes(serials, [...revoked], 'revocation', 'acknowledgment', problems)
  const objects = rows.map(({ id }) => `certificate:${String(id)}`)
  sameOnes(objects, objectsOf(entries, 'certificate.revoke'), 'revocation', 'audit entry', problems)
}

function checkSecrets(rows: readonly Row[], entries: readonly Entry[], { secrets }: Account, problems: string[]): void {
  const names = new Set(rows.map((row) => row['user_name']))
  for (const name of secrets) if (!names.has(name)) problems.push(`one-time secret ${name} lost`)
  const uses = entries.filter(({ act }) => act === 'certificate.issue').map(({ actor }) => actor)
  twice(
    uses.filter((actor) => actor.startsWith('secret:')),
    'certificate by',
    problems,
  )
  const used = rows.filter((row) => row['used_request_hash'] !== null).map(({ id }) => `secret:${String(id)}`)
  for (const actor of new Set(used).symmetricDifference(new Set(uses.filter((name) => name.startsWith('secret:'))))) {
    problems.push(`${actor} is used without a certificate, or the other way around`)
  }
}

/** A number stands for one list of one authority, and none is left out. */
function checkCRLs(entries: readonly Entry[], { crlNumbers }: Account, problems: string[]): void {
  twice(crlNumbers.map(String), 'CRL number handed out', problems)
  const numbers = new Map<string, number[]>()
  for (const { act, object, facts } of entries) {
    if (act !== 'ca.issue-crl') continue
    numbers.set(object, [...(numbers.get(object) ?? []), (JSON.parse(facts) as { crlNumber: number }).crlNumber])
  }
  for (const [authority, issued] of numbers) contiguous(issued, `CRL number of ${authority}`, problems)
}

/** Every kept request leads to a certificate, and each certificate of an endpoint has one. */
async function checkRequests(db: Database, problems: string[]): Promise<void> {
  const rows = await db.query(
    `SELECT r.id, c.id AS certificate FROM enrollment_request r LEFT JOIN certificate c ON c.id = r.certificate_id`,
  )
  for (const { id, certificate } of rows) if (certificate === null) problems.push(`request ${String(id)} without its certificate`)
  const [orphans] = await db.query<{ number: number }>(
    `SELECT count(*) AS number FROM certificate WHERE endpoint_id IS NOT NULL
      AND id NOT IN (SELECT certificate_id FROM enrollment_request)`,
  )
  if (orphans?.number !== 0) problems.push(`${orphans?.number} certificates of endpoints without a request`)
}

async function checkOutbox(db: Database, certificates: readonly Row[], problems: string[]): Promise<void> {
  while ((await sequenceOutbox(db)) > 0);
  const rows = await db.query<{ sequence: number; topic: string; payload: string }>('SELECT sequence, topic, payload FROM outbox')
  contiguous(
    rows.map(({ sequence }) => sequence),
    'outbox sequence',
    problems,
  )
  const published = rows
    .filter(({ topic }) => topic === 'certificate.revoke')
    .map(({ payload }) => (JSON.parse(payload) as { certificate: string }).certificate)
  const revoked = certificates.filter(({ state }) => state === 'revoked').map(({ id }) => String(id))
  sameOnes(revoked, published, 'revocation', 'outbox message', problems)
}

function contiguous(numbers: readonly number[], what: string, problems: string[]): void {
  numbers
    .toSorted((a, b) => a - b)
    .forEach((number, i) => {
      if (number !== i + 1) problems.push(`${what} ${number} where ${i + 1} was due`)
    })
}
