/**
 * How an authority tells what it revoked: over how many CRLs, with deltas or without, and by which OCSP answers.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Authorities, Authority } from './authorities.ts'
import { noteChange } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { issueAllCRLs } from './crl.ts'
import { lately } from './lately.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface OCSPPolicy {
  /** Whether answers are signed when they are asked for, or ahead for every certificate. */
  readonly ocspMode: 'onRequest' | 'preSigned'
  /** How long an answer may be believed; undefined for the usual time of the mode. */
  readonly ocspValiditySeconds: number | undefined
}

export interface RevocationPolicy extends OCSPPolicy, Pick<Authority, 'crlShards' | 'crlDeltaSeconds'> {}

/** Absent stays as it is; null goes back to none, or to the usual. */
export interface RevocationPolicyChange {
  readonly crlShards?: number
  readonly crlDeltaSeconds?: number | null
  readonly ocspMode?: OCSPPolicy['ocspMode']
  readonly ocspValiditySeconds?: number | null
}

/** A list has some 50 octets for each certificate: with 1024 shards, a million revoked are 50 kB each. */
export const CRL_SHARDS_MAX = 1024

const policiesLately = lately<OCSPPolicy>()

export const ocspPolicyOf = (context: Pick<CAContext, 'db' | 'world'>, authority: Pick<Authority, 'id'>): Promise<OCSPPolicy> =>
  policiesLately.get(context, authority.id, async () => {
    const [row] = await context.db.query('SELECT mode, validity_seconds FROM ocsp_policy WHERE id = ?', authority.id)
    return {
      ocspMode: (row?.['mode'] as OCSPPolicy['ocspMode'] | undefined) ?? 'onRequest',
      ocspValiditySeconds: (row?.['validity_seconds'] as number | null | undefined) ?? undefined,
    }
  })

export const revocationPolicyOf = async (
  context: Pick<CAContext, 'db' | 'world'>,
  authority: Pick<Authority, 'id' | 'crlShards' | 'crlDeltaSeconds'>,
): Promise<RevocationPolicy> => ({
  crlShards: authority.crlShards,
  crlDeltaSeconds: authority.crlDeltaSeconds,
  ...(await ocspPolicyOf(context, authority)),
})

const changed = <T>(to: T | null | undefined, from: T | undefined): T | undefined => (to === undefined ? from : (to ?? undefined))

/**
 * New shards are for certificates that are issued from now on; those before keep theirs, so that shards never become
 * fewer. Every list that a new certificate may point to is there before the first one does.
 *
 * @throws TrustError `notFound`; `conflict` for fewer shards
 */
export async function changeRevocationPolicy(
  context: CAContext,
  authorities: Authorities,
  address: string,
  change: RevocationPolicyChange,
  actor: string,
): Promise<RevocationPolicy> {
  const { db, audit } = context
  const authority = authorities.byAddress(address)
  const before = await revocationPolicyOf(context, authority)
  const next: RevocationPolicy = {
    crlShards: change.crlShards ?? before.crlShards,
    crlDeltaSeconds: changed(change.crlDeltaSeconds, before.crlDeltaSeconds),
    ocspMode: change.ocspMode ?? before.ocspMode,
    ocspValiditySeconds: changed(change.ocspValiditySeconds, before.ocspValiditySeconds),
  }
  const fewer = (shards: number) =>
    new TrustError('conflict', 'crlShardsFewer', { facts: { authority: authority.address, shards } })
  if (next.crlShards < before.crlShards) throw fewer(before.crlShards)
  if (next.crlShards !== before.crlShards || next.crlDeltaSeconds !== before.crlDeltaSeconds)
    await issueAllCRLs(context, { ...authority, crlShards: next.crlShards, crlDeltaSeconds: next.crlDeltaSeconds }, actor)
  await db.transaction(async (tx) => {
    await noteChange(tx)
    const [row] = await tx.query(
      'UPDATE authority SET crl_shards = ?, crl_delta_seconds = ?, version = version + 1 WHERE id = ? AND crl_shards <= ? RETURNING id',
      next.crlShards,
      next.crlDeltaSeconds ?? null,
      authority.id,
      next.crlShards,
    )
    if (row === undefined) throw fewer(next.crlShards) // another process added some
    await tx.query(
      `INSERT INTO ocsp_policy (id, organization_id, version, mode, validity_seconds) VALUES (?, ?, 1, ?, ?)
        ON CONFLICT (id) DO UPDATE SET mode = excluded.mode, validity_seconds = excluded.validity_seconds,
          version = ocsp_policy.version + 1`,
      authority.id,
      DEFAULT_ORGANIZATION,
      next.ocspMode,
      next.ocspValiditySeconds ?? null,
    )
    await audit.record(tx, {
      actor,
      act: 'ca.change-revocation',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: {
        crlShards: next.crlShards,
        ocspMode: next.ocspMode,
        ...(next.crlDeltaSeconds !== undefined && { crlDeltaSeconds: next.crlDeltaSeconds }),
        ...(next.ocspValiditySeconds !== undefined && { ocspValiditySeconds: next.ocspValiditySeconds }),
      },
    })
  })
  policiesLately.forget(db)
  await authorities.refresh()
  return revocationPolicyOf(context, authorities.byId(authority.id))
}
