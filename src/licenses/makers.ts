/** Who licenses what they made: which signer signs for them, and how many licenses of a feature they have. @module */
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import type { LicensesContext } from './context.ts'
import { FEATURE_NAME, LIMIT_MAX } from './messages.ts'

export interface LicenseMaker {
  readonly maker: string
  /** Name of the signer. */
  readonly signer: string
  /** Of the last status list; 0 before the first. */
  readonly statusVersion: number
  readonly statusAt: number | undefined
  /** Whether more was taken back than the last list says. */
  readonly isDue: boolean
  readonly pools: readonly Pool[]
}

export interface Pool {
  readonly feature: string
  readonly most: number
  readonly taken: number
}

interface MakerRow extends Row {
  readonly maker: string
  readonly version: number
  readonly signer: string
  readonly pools: number
  readonly revocations: number
  readonly status_version: number
  readonly status_revocations: number
  readonly status_number: number
  readonly status_octets: Uint8Array | null
  readonly status_at: number | null
  readonly pending: Uint8Array | null
  readonly pending_revocations: number | null
}

/**
 * Of what devices fetch: it grows, and is never below the seconds of the clock. So a device that fetched what a backup does not
 * have misses nothing that comes after the backup is brought back.
 */
export const NEXT_NUMBER = 'CASE WHEN last_number < ? THEN ? ELSE last_number + 1 END'
/** The parameters of {@link NEXT_NUMBER}. */
export function nextNumber({ clock }: Pick<World, 'clock'>): readonly [number, number] {
  const seconds = Math.floor(clock.now() / 1000)
  return [seconds, seconds]
}

/** @throws TrustError `notFound` for an organization that nobody made a maker of licenses */
export async function makerRow({ db, organizationId }: Pick<LicensesContext, 'db' | 'organizationId'>, maker: string) {
  const [row] = await db.query<MakerRow>(
    'SELECT * FROM license_maker WHERE organization_id = ? AND maker = ?',
    ...[organizationId, maker],
  )
  if (row === undefined) throw new TrustError('notFound', 'licenseMakerUnknown', { facts: { name: maker } })
  return row
}

export const poolsOf = async (db: Queries, organizationId: string, maker: string): Promise<readonly Pool[]> =>
  (
    await db.query(
      'SELECT feature, most, taken FROM license_pool WHERE organization_id = ? AND maker = ? ORDER BY feature',
      ...[organizationId, maker],
    )
  ).map((row) => ({ feature: row['feature'] as string, most: row['most'] as number, taken: row['taken'] as number }))

/** @throws TrustError `notFound` */
export async function showMaker(context: LicensesContext, maker: string): Promise<LicenseMaker> {
  const [row, pools] = await Promise.all([makerRow(context, maker), poolsOf(context.db, context.organizationId, maker)])
  return {
    maker,
    signer: row.signer,
    statusVersion: row.status_version,
    statusAt: row.status_at ?? undefined,
    isDue: row.revocations > row.status_revocations,
    pools,
  }
}

export async function listMakers(context: LicensesContext): Promise<readonly LicenseMaker[]> {
  const rows = await context.db.query<Row & { readonly maker: string }>(
    'SELECT maker FROM license_maker WHERE organization_id = ? ORDER BY maker',
    context.organizationId,
  )
  return Promise.all(rows.map(({ maker }) => showMaker(context, maker)))
}

/** From now on this signer signs its licenses. @throws TrustError `forbidden`; `notFound` for the signer, `policyRefused` for one that others may use */
export async function setMaker(
  context: LicensesContext,
  { maker, signer }: { readonly maker: string; readonly signer: string },
  actor: string,
): Promise<LicenseMaker> {
  await context.checkSpeaks(maker, actor)
  const { record } = await context.signing.signers.find(signer)
  const users = [...record.users.roles, ...record.users.people]
  if (users.length !== 1 || users[0] !== 'server:licenses')
    throw new TrustError('policyRefused', 'licenseSignerOpen', { facts: { name: signer } })
  await keep(context.db, [
    {
      sql: `INSERT INTO license_maker (organization_id, maker, version, signer, pools, last_number, revocations, status_version,
            status_revocations, status_number)
          VALUES (?, ?, 1, ?, 0, 0, 0, 0, 0, 0)
          ON CONFLICT (organization_id, maker) DO UPDATE SET signer = excluded.signer, version = license_maker.version + 1`,
      parameters: [context.organizationId, maker, signer],
    },
    context.audit.statement({
      actor,
      act: 'license.set-maker',
      object: `organization:${maker}`,
      outcome: 'done',
      facts: { signer },
    }),
  ])
  return showMaker(context, maker)
}

/**
 * How many licenses with this feature the maker has, those counted that are there already. A pool may be made smaller than
 * what is taken: nothing more is taken then.
 *
 * @throws TrustError `notFound`, `malformed`
 */
export async function setPool(
  context: LicensesContext,
  { maker, feature, most }: { readonly maker: string; readonly feature: string; readonly most: number },
  actor: string,
): Promise<LicenseMaker> {
  const { organizationId, db } = context
  if (!FEATURE_NAME.test(feature) || !Number.isSafeInteger(most) || most < 0 || most > LIMIT_MAX)
    throw new TrustError('malformed', 'notLicense', { facts: { detail: 'the pool has no feature or no count' } })
  await context.checkSpeaks(maker, actor)
  await makerRow(context, maker)
  const key = [organizationId, maker] as const
  await keep(db, [
    // first: licenses that are issued at the same time wait for this, and look again
    { sql: 'UPDATE license_maker SET pools = pools + 1 WHERE organization_id = ? AND maker = ?', parameters: [...key] },
    {
      sql: `INSERT INTO license_pool (organization_id, maker, feature, version, most, taken)
          VALUES (?, ?, ?, 1, ?, (SELECT COUNT(*) FROM license_place WHERE organization_id = ? AND maker = ? AND feature = ?))
          ON CONFLICT (organization_id, maker, feature) DO UPDATE SET most = excluded.most, version = license_pool.version + 1`,
      parameters: [...key, feature, most, ...key, feature],
    },
    context.audit.statement({
      ...{ actor, act: 'license.set-pool', object: `organization:${maker}`, outcome: 'done' },
      facts: { feature, most },
    }),
  ])
  return showMaker(context, maker)
}

/**
 * One place in the pool of each of these features that has one. They end with TrustError `quotaExceeded` when there is none
 * left, and `conflict` when the pools are others by now.
 *
 * @param read pools as they were read, with the count of their changes at that time
 */
export const stepsToTake = (
  { organizationId }: Pick<LicensesContext, 'organizationId'>,
  maker: string,
  features: readonly string[],
  read: { readonly changes: number; readonly pools: readonly Pool[] },
): readonly Step[] => [
  {
    sql: 'SELECT pools FROM license_maker WHERE organization_id = ? AND maker = ? FOR SHARE',
    parameters: [organizationId, maker],
    expects: { pools: read.changes },
    refusal: () => new TrustError('conflict', 'licensePoolsChanged'),
  },
  ...read.pools
    .filter(({ feature }) => features.includes(feature))
    .map(({ feature, most }): Step => ({
      sql: `UPDATE license_pool SET taken = taken + 1 WHERE organization_id = ? AND maker = ? AND feature = ? AND taken < most
            RETURNING feature`,
      parameters: [organizationId, maker, feature],
      expects: { feature },
      refusal: () => new TrustError('quotaExceeded', 'licensePoolEmpty', { facts: { feature, most } }),
    })),
]

/** All places of a license, back to the pools. */
export const stepsToGiveBack = (
  { organizationId }: Pick<LicensesContext, 'organizationId'>,
  maker: string,
  licenseId: string,
): readonly Step[] => [
  {
    sql: `UPDATE license_pool SET taken = taken - 1 WHERE organization_id = ? AND maker = ?
        AND feature IN (SELECT feature FROM license_place WHERE license_id = ?)`,
    parameters: [organizationId, maker, licenseId],
  },
  { sql: 'DELETE FROM license_place WHERE license_id = ?', parameters: [licenseId] },
]
