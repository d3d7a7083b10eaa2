/**
 * Looks at a restored database as its users will: is the audit log whole, and can every key be used?
 *
 * @module
 */
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf } from '#algorithms/table.ts'
import type { NoteKey } from '#audit/note-key.ts'
import { type AuditVerification, verifyAuditLog } from '#audit/verify.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import type { Database } from '#store/database.ts'

export interface ExamineOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
  /** The software store, with the wrapping key of the backup. */
  readonly keys: KeyStore
  readonly verifierKey: NoteKey
  /** Signed checkpoints that were kept elsewhere. */
  readonly witnessed: readonly string[]
}

export interface Examination {
  readonly audit: AuditVerification
  /** Keys that signed something that their public half verified. */
  readonly keysTried: number
}

const TRIAL_OCTETS = 32

/** @throws TrustError `unavailable` when a key cannot be opened, `badProof` when what it signs does not verify */
export async function examineRestored({
  database,
  world,
  organizationId,
  keys,
  verifierKey,
  witnessed,
}: ExamineOptions): Promise<Examination> {
  // entries without a place are normal in a backup: the sequencer gives them one when the installation runs again
  const audit = await verifyAuditLog(database, {
    organizationId,
    clock: world.clock,
    publicKey: verifierKey.publicKey,
    witnessed,
  })
  let keysTried = 0
  for (const { label, keyAlgorithm, publicKey } of await keys.list()) {
    const message = world.random.octets(TRIAL_OCTETS)
    const algorithm = certificateSignatureOf(keyAlgorithm)
    const octets = await (await keys.open(label)).sign(message, algorithm)
    if (!(await verifySignature({ algorithm, octets }, importPublicKey(publicKey), message)))
      throw new TrustError('badProof', 'restoredKey', { facts: { label } })
    keysTried++
  }
  return { audit: { ...audit, problems: audit.problems.filter(({ kind }) => kind !== 'waiting') }, keysTried }
}
