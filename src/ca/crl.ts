/**
 * CRLs: what is revoked or held, per authority and shard, signed by the authority itself.
 *
 * Source: RFC 5280, 5.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import { encodeCertificateList, type RevokedEntry } from '#x509/crl.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import {
  crlNumber as crlNumberType,
  type CRLReason,
  issuingDistributionPoint,
  issuingDistributionPointAt,
} from '#x509/extensions/crl-extensions.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import type { Authority } from './authorities.ts'
import type { CAContext, CASettings } from './context.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface IssuedCRL {
  readonly authorityId: string
  readonly shard: number
  readonly crlNumber: number
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly entries: number
  readonly der: Uint8Array
}

/** Makes and keeps the next CRL of one shard. @returns it, once it is on disk */
export async function issueCRL(context: CAContext, authority: Authority, shard: number, actor: string): Promise<IssuedCRL> {
  const { db, audit, world } = context
  for (;;) {
    const now = world.clock.now()
    const thisUpdate = new Date(toWholeSeconds(now))
    const nextUpdate = new Date(thisUpdate.getTime() + authority.crlValiditySeconds * 1000)
    const [last] = await db.query(
      'SELECT crl_number, this_update FROM crl WHERE authority_id = ? AND shard = ? ORDER BY crl_number DESC LIMIT 1',
      authority.id,
      shard,
    )
    const crlNumber = ((last?.['crl_number'] as number | undefined) ?? 0) + 1
    let entries = 0
    const revoked = async function* (): AsyncGenerator<RevokedEntry> {
      const rows = db.iterate(
        'SELECT serial_number, revoked_at, revocation_reason FROM certificate WHERE authority_id = ? AND crl_shard = ? AND revoked_at IS NOT NULL AND (not_after > ? OR not_after > ?) ORDER BY revoked_at, id',
        authority.id,
        shard,
        now - KEPT_AFTER_END_MILLISECONDS,
        (last?.['this_update'] as number | undefined) ?? 0,
      )
      for await (const row of rows) {
        entries++
        const reason = row['revocation_reason'] as CRLReason | null
        yield {
          serialNumber: row['serial_number'] as Uint8Array,
          revokedAt: new Date(row['revoked_at'] as number),
          ...(reason !== null && { reason }),
        }
      }
    }
    const der = await encodeCertificateList(
      {
        issuer: authority.certificate.subject,
        thisUpdate,
        nextUpdate,
        extensions: [
          encodeExtension(authorityKeyIdentifier, { keyIdentifier: authority.keyIdentifier }),
          encodeExtension(crlNumberType, BigInt(crlNumber)),
          ...scopeOf(context.settings, authority, shard),
        ],
      },
      revoked(),
      {
        signatureAlgorithm: authority.signatureAlgorithm,
        sign: (tbs) => authority.signer.sign(tbs, authority.signatureAlgorithm),
      },
    )
    const issued = { authorityId: authority.id, shard, crlNumber, thisUpdate, nextUpdate, entries, der }
    world.faults.reach('CRL signed')
    if (await keep(context, issued, actor)) return issued
  }

  /** @returns false when another process took this number in the meantime: then the list is made again */
  async function keep({ db: database }: CAContext, crl: IssuedCRL, by: string): Promise<boolean> {
    return database.transaction(async (tx) => {
      const kept = await tx.query(
        `INSERT INTO crl (id, organization_id, version, authority_id, shard, crl_number, this_update, next_update, entries, der)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (authority_id, shard, crl_number) DO NOTHING RETURNING id`,
        uuidv7(world),
        DEFAULT_ORGANIZATION,
        crl.authorityId,
        crl.shard,
        crl.crlNumber,
        crl.thisUpdate.getTime(),
        crl.nextUpdate.getTime(),
        crl.entries,
        crl.der,
      )
      if (kept.length === 0) return false
      await tx.query(
        'DELETE FROM crl WHERE authority_id = ? AND shard = ? AND crl_number < ?',
        crl.authorityId,
        crl.shard,
        crl.crlNumber - KEPT_CRLS,
      )
      await audit.record(tx, {
        actor: by,
        act: 'ca.issue-crl',
        object: `authority:${crl.authorityId}`,
        outcome: 'done',
        facts: { crlNumber: crl.crlNumber, entries: crl.entries },
      })
      return true
    })
  }
}

/** One of several shards says so, or it would be taken for the whole (RFC 5280, 5.2.5); its address is the one in the certificates. */
function scopeOf({ publicUrl }: CASettings, authority: Authority, shard: number): readonly Uint8Array[] {
  if (authority.crlShards === 1) return []
  if (publicUrl === undefined) throw new TrustError('unavailable', 'publicUrlMissing')
  return [encodeExtension(issuingDistributionPoint, issuingDistributionPointAt(crlAddress(publicUrl, authority, shard)))]
}

/** Where relying parties find the CRL of a shard. */
export const crlAddress = (publicUrl: string, { address }: Pick<Authority, 'address'>, shard: number): string =>
  `${publicUrl}/crl/${address}/${shard}.crl`

/** RFC 5280, 3.3: a certificate leaves only after it stood on a CRL that was issued beyond its end; and not within a day of it. */
const KEPT_AFTER_END_MILLISECONDS = 86_400_000
/** Old lists say nothing that the certificate rows do not; a few are kept for someone who compares. */
const KEPT_CRLS = 8

/** The newest CRL of a shard. @throws TrustError `notFound` while none was issued */
export async function latestCRL({ db }: Pick<CAContext, 'db'>, authority: Authority, shard: number): Promise<IssuedCRL> {
  const [row] = await db.query(
    'SELECT * FROM crl WHERE authority_id = ? AND shard = ? ORDER BY crl_number DESC LIMIT 1',
    authority.id,
    shard,
  )
  if (row === undefined) throw new TrustError('notFound', 'crlNone', { facts: { authority: authority.address } })
  return {
    authorityId: authority.id,
    shard,
    crlNumber: row['crl_number'] as number,
    thisUpdate: new Date(row['this_update'] as number),
    nextUpdate: new Date(row['next_update'] as number),
    entries: row['entries'] as number,
    der: row['der'] as Uint8Array,
  }
}

/**
 * Issues every CRL that is due: none yet, half of its life over, or something changed since and the least interval has
 * passed (many revocations, one CRL).
 *
 * @returns how many were issued
 * @throws the first of what went wrong, once every other authority has had its turn
 */
export async function issueDueCRLs(context: CAContext, authorities: readonly Authority[]): Promise<number> {
  const { db, world, settings } = context
  let issued = 0
  const failures: unknown[] = []
  for (const authority of authorities.filter(({ state }) => state === 'active')) {
    for (let shard = 0; shard < authority.crlShards; shard++) {
      const now = world.clock.now()
      const [row] = await db.query(
        `SELECT this_update, next_update, entries,
            (SELECT COUNT(*) FROM certificate WHERE authority_id = ? AND crl_shard = ? AND revoked_at IS NOT NULL
              AND (not_after > ? OR not_after > crl.this_update)) AS due_entries,
            (SELECT MAX(changed_at) FROM certificate WHERE authority_id = ? AND crl_shard = ? AND revoked_at IS NOT NULL) AS last_changed
          FROM crl WHERE authority_id = ? AND shard = ? ORDER BY crl_number DESC LIMIT 1`,
        authority.id,
        shard,
        now - KEPT_AFTER_END_MILLISECONDS,
        authority.id,
        shard,
        authority.id,
        shard,
      )
      if (row !== undefined && !isDue(row as never, now, settings.crlMinIntervalSeconds * 1000)) continue
      try {
        await issueCRL(context, authority, shard, 'system')
        issued++
      } catch (error) {
        failures.push(error)
      }
    }
  }
  if (failures.length > 0) throw failures[0]
  return issued
}

interface Standing {
  readonly this_update: number
  readonly next_update: number
  readonly entries: number
  readonly due_entries: number
  readonly last_changed: number | null
}

function isDue(last: Standing, now: number, leastInterval: number): boolean {
  if (now > (last.this_update + last.next_update) / 2) return true
  const changed = last.entries !== last.due_entries || (last.last_changed ?? 0) >= last.this_update
  return changed && now - last.this_update >= leastInterval
}
