/**
 * What every use of a signer asks for, whatever it makes: that the signer stands as it was read, and has uses left.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Step } from '#store/batch.ts'
import type { SignerRecord } from './signer.ts'
import type { OpenSigner, Signers } from './signers.ts'

const HOUR_MILLISECONDS = 3_600_000

export const hourOf = (at: number): number => Math.floor(at / HOUR_MILLISECONDS) * HOUR_MILLISECONDS
const isoOf = (at: number): string => new Date(at).toISOString()

/** @throws TrustError `policyRefused` for a signer that is disabled, not valid yet, or no more */
export function checkStanding({ record: { name, state }, validity }: Pick<OpenSigner, 'record' | 'validity'>, now: number): void {
  if (state !== 'enabled') throw new TrustError('policyRefused', 'signerDisabled', { facts: { name } })
  if (now < validity.notBefore)
    throw new TrustError('policyRefused', 'signerNotYet', { facts: { name, from: isoOf(validity.notBefore) } })
  if (now > validity.notAfter)
    throw new TrustError('policyRefused', 'signerExpired', { facts: { name, until: isoOf(validity.notAfter) } })
}

/** Whether a record that refuses is still the one in the database: another process may have changed it since it was read. */
export async function isAsRead(signers: Signers, { name, version }: SignerRecord): Promise<boolean> {
  signers.forget(name)
  return (await signers.open(name)).record.version === version
}

/**
 * Counts so many more where all that was checked still is so. The signer's row is looked at after the count's, for which this
 * may have waited, and stays as it is until the batch is kept.
 *
 * @param count no more than an hour may have
 */
export function stepsToUse(
  { id, name, version, usesMax, usesPerHourMax, next }: SignerRecord,
  now: number,
  count = 1,
): readonly Step[] {
  const hour = hourOf(now)
  const most = Math.min(usesMax ?? Number.MAX_SAFE_INTEGER, next?.afterUses ?? Number.MAX_SAFE_INTEGER)
  const refusal = (): TrustError => new TrustError('conflict', 'signerChanged', { facts: { name } })
  return [
    {
      sql: `UPDATE signer_use SET uses = uses + CAST(? AS INTEGER), window_start = ?,
          window_uses = CASE WHEN window_start = ? THEN window_uses + CAST(? AS INTEGER) ELSE CAST(? AS INTEGER) END
        WHERE signer_id = ? AND uses <= ? AND (window_start <> ? OR window_uses <= ?)
        RETURNING signer_id`,
      parameters: [
        ...[count, hour, hour, count, count, id, most - count],
        ...[hour, (usesPerHourMax ?? Number.MAX_SAFE_INTEGER) - count],
      ],
      expects: { signer_id: id },
      refusal,
    },
    {
      sql: 'SELECT version, state FROM signer WHERE id = ? FOR SHARE',
      parameters: [id],
      expects: { version, state: 'enabled' },
      refusal,
    },
  ]
}

/**
 * Why it did not come to a use: the record as it is now says so, or has moved on, and the next try finds it.
 *
 * @throws TrustError `quotaExceeded`, `rateLimited`
 */
export async function lookAgain(signers: Signers, name: string, now: number): Promise<void> {
  signers.forget(name)
  const { record, uses } = await signers.find(name)
  if (record.state !== 'enabled') return // the next try says so
  const { next } = record
  if (next !== undefined && (now >= (next.at ?? Infinity) || uses.uses >= (next.afterUses ?? Infinity))) {
    await signers.rollOver(record)
    return
  }
  if (uses.uses >= (record.usesMax ?? Infinity)) throw new TrustError('quotaExceeded', 'signerUsedUp', { facts: { name } })
  if (uses.windowStart === hourOf(now) && uses.windowUses >= (record.usesPerHourMax ?? Infinity)) {
    const retryAfterSeconds = Math.ceil((hourOf(now) + HOUR_MILLISECONDS - now) / 1000)
    throw new TrustError('rateLimited', 'signerTooOften', { facts: { name }, retryAfterSeconds })
  }
}
