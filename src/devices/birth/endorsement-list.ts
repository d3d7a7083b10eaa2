/**
 * Endorsement keys that count without a certificate: what a supplier states of the TPMs that it delivered.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { DevicesContext } from '../context.ts'

/** One request; a longer list comes in pieces. */
export const ENDORSEMENTS_MAX = 10_000

/**
 * @param hashes SHA-256 of SubjectPublicKeyInfo, in hexadecimal digits
 * @param source who states it, for people
 */
export async function allowEndorsements(
  { db, world, audit, organizationId }: DevicesContext,
  { hashes, source }: { readonly hashes: readonly string[]; readonly source: string },
  actor: string,
): Promise<{ readonly imported: number; readonly known: number }> {
  if (hashes.length > ENDORSEMENTS_MAX)
    throw new TrustError('tooLarge', 'endorsementListLong', { facts: { limit: ENDORSEMENTS_MAX } })
  const now = world.clock.now()
  return db.transaction(async (tx) => {
    const answers = await Promise.all(
      hashes.map((one) =>
        tx.query(
          `INSERT INTO endorsement_allowed (endorsement_hash, organization_id, source, created_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (organization_id, endorsement_hash) DO NOTHING RETURNING source`,
          ...[Uint8Array.fromHex(one), organizationId, source, now],
        ),
      ),
    )
    const imported = answers.filter((rows) => rows.length > 0).length
    const facts = { source, imported, list: hash('sha256', hashes.join('\n')) }
    await audit.record(tx, { actor, act: 'birth.allow-endorsements', object: 'endorsements', outcome: 'done', facts })
    return { imported, known: hashes.length - imported }
  })
}

/** It counts no more; a device that is born with it stays as it is. @throws TrustError `notFound` */
export async function disallowEndorsement(
  { db, audit, organizationId }: DevicesContext,
  endorsement: string,
  actor: string,
): Promise<void> {
  await db.transaction(async (tx) => {
    const rows = await tx.query(
      'DELETE FROM endorsement_allowed WHERE organization_id = ? AND endorsement_hash = ? RETURNING source',
      ...[organizationId, Uint8Array.fromHex(endorsement)],
    )
    if (rows.length === 0) throw new TrustError('notFound', 'endorsementNotListed', { facts: { endorsement } })
    await audit.record(tx, {
      actor,
      act: 'birth.disallow-endorsement',
      object: 'endorsements',
      outcome: 'done',
      facts: { endorsement },
    })
  })
}
