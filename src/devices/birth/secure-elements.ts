/**
 * Secure elements that a signed manifest states: the list of what may be born. A chip is purchased until it is mounted.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Row, SqlValue, Transaction } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import type { DevicesContext } from '../context.ts'
import { checkManifestEntry, type ManifestEntry, type StatedElement } from './manifest.ts'
import { assuranceOfEvidence, type ProvenBirth } from './proven.ts'

export interface ManifestSigner {
  readonly id: string
  readonly name: string
  /** SHA-256 of the certificate, in hexadecimal digits. */
  readonly fingerprint: string
  /** DER */
  readonly certificate: Uint8Array
  readonly state: 'enabled' | 'disabled'
  readonly createdAt: number
}

/** Whom manifests are believed from. @throws TrustError `malformed`, `conflict` when the name or the certificate is there */
export async function trustManifestSigner(
  { db, world, audit, organizationId }: DevicesContext,
  { name, certificate }: Pick<ManifestSigner, 'name' | 'certificate'>,
  actor: string,
): Promise<ManifestSigner> {
  const print = fingerprint(parseCertificate(certificate).der)
  const [id, now] = [uuidv7(world), world.clock.now()]
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO manifest_signer (id, organization_id, version, name, fingerprint, certificate, state, created_at)
          VALUES (?, ?, 1, ?, ?, ?, 'enabled', ?)`,
        ...[id, organizationId, name, print, certificate, now],
      )
      const facts = { name, certificateFingerprint: print.toHex() }
      await audit.record(tx, {
        actor,
        act: 'birth.trust-manifest-signer',
        object: `manifest-signer:${id}`,
        outcome: 'done',
        facts,
      })
    })
  } catch (error) {
    throw isDuplicate(error, 'manifest_signer')
      ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error })
      : error
  }
  return { id, name, fingerprint: print.toHex(), certificate, state: 'enabled', createdAt: now }
}

/** By name. */
export async function listManifestSigners({ db, organizationId }: DevicesContext): Promise<readonly ManifestSigner[]> {
  const rows = await db.query('SELECT * FROM manifest_signer WHERE organization_id = ? ORDER BY name', organizationId)
  return rows.map((row) => ({
    id: row['id'] as string,
    name: row['name'] as string,
    fingerprint: (row['fingerprint'] as Uint8Array).toHex(),
    certificate: row['certificate'] as Uint8Array,
    state: row['state'] as ManifestSigner['state'],
    createdAt: row['created_at'] as number,
  }))
}

export interface ImportedManifest {
  readonly imported: number
  /** Were there already, the same. */
  readonly known: number
}

/**
 * All of the entries or none.
 *
 * @throws TrustError naming the first entry that is wrong: `policyRefused` for a foreign signer, `badProof`, `malformed`,
 *   `conflict` when a chip or a key is known and stated otherwise
 */
export async function importManifest(
  context: DevicesContext,
  entries: readonly ManifestEntry[],
  actor: string,
): Promise<ImportedManifest> {
  const { db, audit } = context
  const signers = (await listManifestSigners(context)).filter(({ state }) => state === 'enabled')
  const stated: { readonly element: StatedElement; readonly signer: ManifestSigner }[] = []
  for (const [at, entry] of entries.entries()) stated.push(await inEntry(at, () => checkManifestEntry(entry, signers)))
  return db.transaction(async (tx) => {
    let imported = 0
    for (const [at, { element, signer }] of stated.entries())
      if (await inEntry(at, () => insertElement(context, tx, element, signer))) imported++
    const facts = {
      entries: entries.length,
      imported,
      manifest: hash('sha256', stated.map(({ element }) => element.digest).join('\n')),
    }
    await audit.record(tx, { actor, act: 'birth.import-manifest', object: 'secure-elements', outcome: 'done', facts })
    return { imported, known: entries.length - imported }
  })
}

/** A refusal says which of many entries it is about. */
async function inEntry<T>(at: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const { code, reason, message } = asTrustError(thrown)
    if (code === 'internal' || code === 'unavailable') throw thrown
    throw new TrustError(code, 'manifestRefused', { facts: { entry: at + 1, because: reason, detail: message }, cause: thrown })
  }
}

/** @returns false when it is there already, stated in the same words */
async function insertElement(
  { world, organizationId }: DevicesContext,
  tx: Transaction,
  { uniqueId, partNumber, manufacturer, groupId, keys, digest }: StatedElement,
  signer: ManifestSigner,
): Promise<boolean> {
  const [known] = await tx.query(
    'SELECT manifest FROM secure_element WHERE organization_id = ? AND unique_id = ?',
    ...[organizationId, uniqueId],
  )
  if (known !== undefined) {
    if (known['manifest'] === digest) return false
    throw new TrustError('conflict', 'elementKnown', { facts: { uniqueId } })
  }
  const [id, now] = [uuidv7(world), world.clock.now()]
  await tx.query(
    `INSERT INTO secure_element (id, organization_id, version, unique_id, signer_id, part_number, manufacturer, group_id, manifest,
        state, certificate_id, created_at, changed_at)
      VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, 'purchased', NULL, ?, ?)`,
    ...[id, organizationId, uniqueId, signer.id, partNumber, manufacturer, groupId ?? null, digest, now, now],
  )
  for (const { slot, keyHash } of keys) {
    const [taken] = await tx.query('SELECT element_id FROM secure_element_key WHERE key_hash = ?', keyHash)
    if (taken !== undefined) throw new TrustError('conflict', 'elementKeyKnown', { facts: { uniqueId, slot } })
    await tx.query(
      'INSERT INTO secure_element_key (key_hash, organization_id, element_id, slot) VALUES (?, ?, ?, ?)',
      ...[keyHash, organizationId, id, slot],
    )
  }
  return true
}

export type ElementState = 'purchased' | 'mounted' | 'blocked'

export interface SecureElement {
  readonly id: string
  readonly uniqueId: string
  readonly partNumber: string
  readonly manufacturer: string
  readonly groupId: string | undefined
  readonly state: ElementState
  /** The birth certificate of its device. */
  readonly certificateId: string | undefined
}

export interface ElementFilter {
  readonly uniqueId?: string
  readonly state?: ElementState
}

/** Newest first. */
export async function findElements(
  { db, organizationId }: DevicesContext,
  { uniqueId, state }: ElementFilter,
  { limit, after }: { readonly limit: number; readonly after?: string },
): Promise<readonly SecureElement[]> {
  const wanted: readonly [clause: string, value: SqlValue | undefined][] = [
    ['unique_id = ?', uniqueId?.toLowerCase()],
    ['state = ?', state],
    ['id < ?', after],
  ]
  const given = wanted.filter((one): one is [string, SqlValue] => one[1] !== undefined)
  const where = ['organization_id = ?', ...given.map(([clause]) => clause)].join(' AND ')
  const rows = await db.query(
    `SELECT * FROM secure_element WHERE ${where} ORDER BY id DESC LIMIT ?`,
    ...[organizationId, ...given.map(([, value]) => value), limit],
  )
  return rows.map(elementOf)
}

/** For good: it was lost, scrapped or stolen before it was mounted. @throws TrustError `notFound`, `conflict` when it is mounted */
export async function blockElement(context: DevicesContext, uniqueId: string, actor: string): Promise<SecureElement> {
  const { db, world, audit } = context
  const [element] = await findElements(context, { uniqueId }, { limit: 1 })
  if (element === undefined) throw new TrustError('notFound', 'elementUnknown', { facts: { uniqueId } })
  await db.transaction(async (tx) => {
    const changed = await tx.query(
      "UPDATE secure_element SET state = 'blocked', changed_at = ?, version = version + 1 WHERE id = ? AND state = 'purchased' RETURNING id",
      ...[world.clock.now(), element.id],
    )
    if (changed.length === 0) throw new TrustError('conflict', 'elementUsed', { facts: { uniqueId } })
    await audit.record(tx, { actor, act: 'birth.block-element', object: `secure-element:${element.id}`, outcome: 'done' })
  })
  return { ...element, state: 'blocked' }
}

/** @throws TrustError `policyRefused` when no manifest states the key; `conflict` when its chip is not purchased any more */
export async function proveElement(context: DevicesContext, request: Uint8Array): Promise<ProvenBirth> {
  const { db, world } = context
  const keyHash = hash('sha256', parseCertificationRequest(request).subjectPublicKeyInfo)
  const [row] = await db.query(
    `SELECT e.*, k.slot FROM secure_element_key k JOIN secure_element e ON e.id = k.element_id
      WHERE k.key_hash = ? AND k.organization_id = ?`,
    ...[Uint8Array.fromHex(keyHash), context.organizationId],
  )
  if (row === undefined) throw new TrustError('policyRefused', 'elementNotStated', { facts: { key: keyHash } })
  const { id, uniqueId, partNumber, manufacturer, state } = elementOf(row)
  const used = (): TrustError => new TrustError('conflict', 'elementUsed', { facts: { uniqueId } })
  if (state !== 'purchased') throw used()
  return {
    assurance: assuranceOfEvidence['secure-element'],
    proof: { type: 'request', der: request },
    evidence: { uniqueId, slot: row['slot'] as string, partNumber, manufacturer, manifest: row['manifest'] as string },
    stepsFor: ({ certificateId }) => [
      {
        sql: `UPDATE secure_element SET state = 'mounted', certificate_id = ?, changed_at = ?, version = version + 1
            WHERE id = ? AND state = 'purchased' RETURNING state`,
        parameters: [certificateId, world.clock.now(), id],
        expects: { state: 'mounted' },
        refusal: used,
      },
    ],
  }
}

const elementOf = (row: Row): SecureElement => ({
  id: row['id'] as string,
  uniqueId: row['unique_id'] as string,
  partNumber: row['part_number'] as string,
  manufacturer: row['manufacturer'] as string,
  groupId: (row['group_id'] as string | null) ?? undefined,
  state: row['state'] as ElementState,
  certificateId: (row['certificate_id'] as string | null) ?? undefined,
})
