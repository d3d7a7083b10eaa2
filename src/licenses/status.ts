/**
 * What a maker took back, as a signed list for devices without a network; and what a device fetches.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds } from '#base/world.ts'
import { onBehalf, signMessage } from '#signing/message-signing.ts'
import type { Requester } from '#signing/context.ts'
import type { Waiting } from '#signing/service.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import type { LicensesContext } from './context.ts'
import { makerRow, NEXT_NUMBER, nextNumber } from './makers.ts'
import { encodeStatusList, parseStatusList, REVOKED, STATUS_ENTRIES_MAX, STATUS_TYPE, statusEntries } from './messages.ts'

export type Published =
  | { readonly state: 'signed'; readonly version: number; readonly issuedAt: number; readonly octets: Uint8Array }
  | Waiting

/** Devices whose licenses are to hold a month without a network hear of them a day late at most. */
export const STATUS_EVERY_MILLISECONDS = 86_400_000
const AT_ONCE = 500
const TRIES_MAX = 4

/** Signs what was taken back by now. @throws TrustError `notFound`, `tooLarge`; of the signer's terms */
export async function publishStatus(context: LicensesContext, maker: string, by?: Requester): Promise<Published> {
  await endThoseOfFormerOwners(context, maker)
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const published = await attempt(context, maker, by)
    if (published !== undefined) return published
  }
  throw new TrustError('conflict', 'licenseChanged', { facts: { license: maker } })
}

/** @returns undefined where another list was signed in between */
async function attempt(context: LicensesContext, maker: string, by: Requester | undefined): Promise<Published | undefined> {
  const { db, world, signing, organizationId, audit } = context
  const row = await makerRow(context, maker)
  const { revocations, status_version: before } = row
  const payload =
    row.pending !== null && row.pending_revocations === revocations && parseStatusList(row.pending).version === before + 1
      ? row.pending
      : await payloadOf(context, maker, before + 1)
  const message = { form: 'cose', typ: STATUS_TYPE, payload } as const
  const signed = await signMessage(signing, row.signer, message, onBehalf('server:licenses', by))
  const key = [organizationId, maker] as const
  if (signed.state === 'waiting') {
    await keep(db, [
      {
        sql: `UPDATE license_maker SET pending = ?, pending_revocations = ? WHERE organization_id = ? AND maker = ? AND status_version = ?`,
        parameters: [payload, revocations, ...key, before],
      },
    ])
    return signed
  }
  const { version, issuedAt } = parseStatusList(payload)
  const changed = new TrustError('conflict', 'licenseChanged', { facts: { license: maker } })
  try {
    await keep(db, [
      {
        sql: `UPDATE license_maker SET version = version + 1, last_number = ${NEXT_NUMBER}, status_number = ${NEXT_NUMBER},
              status_version = ?, status_revocations = ?, status_octets = ?, status_at = ?, pending = NULL, pending_revocations = NULL
            WHERE organization_id = ? AND maker = ? AND status_version = ? RETURNING status_version`,
        parameters: [
          ...nextNumber(world),
          ...nextNumber(world),
          version,
          revocations,
          signed.octets,
          world.clock.now(),
          ...key,
          before,
        ],
        expects: { status_version: version },
        refusal: () => changed,
      },
      audit.statement({
        ...{ actor: by?.actor ?? 'system', act: 'license.status', object: `organization:${maker}`, outcome: 'done' },
        facts: { version, signature: signed.entry },
      }),
    ])
  } catch (error) {
    if (error === changed) return undefined
    throw error
  }
  return { state: 'signed', version, issuedAt, octets: signed.octets }
}

async function payloadOf({ db, world, organizationId }: LicensesContext, maker: string, version: number): Promise<Uint8Array> {
  const now = world.clock.now()
  // what has ended by itself holds nowhere: it need not stand there any more
  const rows = await db.query(
    `SELECT id, least_sequence FROM license WHERE organization_id = ? AND maker = ? AND least_sequence > 0
        AND (ends_at IS NULL OR ends_at > ?) LIMIT ?`,
    ...[organizationId, maker, now, STATUS_ENTRIES_MAX + 1],
  )
  const entries = statusEntries(rows.map((row) => ({ id: row['id'] as string, leastSequence: row['least_sequence'] as number })))
  return encodeStatusList({ issuer: maker, version, issuedAt: toWholeSeconds(now), entries })
}

/** Licenses that are not transferable, of devices that have another owner by now. */
async function endThoseOfFormerOwners(context: LicensesContext, maker: string): Promise<void> {
  const { db, organizationId, world, audit } = context
  let after = ''
  for (;;) {
    const rows = await db.query<Row & { readonly id: string; readonly device_id: string; readonly device_epoch: number }>(
      `SELECT id, device_id, device_epoch FROM license WHERE organization_id = ? AND maker = ? AND state = 'issued'
          AND device_epoch IS NOT NULL AND id > ? ORDER BY id LIMIT ?`,
      ...[organizationId, maker, after, AT_ONCE],
    )
    if (rows.length === 0) return
    const epochs = await context.epochsOf(rows.map(({ device_id: id }) => id))
    for (const { id, device_id: deviceId, device_epoch: epoch } of rows) {
      const now = epochs.get(deviceId)
      if (now === undefined || now <= epoch) continue
      await keep(db, [
        {
          sql: 'UPDATE license_maker SET revocations = revocations + 1 WHERE organization_id = ? AND maker = ?',
          parameters: [organizationId, maker],
        },
        {
          sql: `UPDATE license SET version = version + 1, state = 'revoked', least_sequence = ?, changed_at = ?
              WHERE id = ? AND state = 'issued'`,
          parameters: [REVOKED, world.clock.now(), id],
        },
        audit.statement({
          ...{ actor: 'system', act: 'license.revoke', object: `license:${id}`, outcome: 'done' },
          facts: { why: 'another owner', epoch: now },
        }),
      ])
    }
    after = rows.at(-1)?.id ?? after
  }
}

/**
 * For the background: lists that are behind, or a day old. Those that wait for people are left to them, and one whose signer
 * does not sign keeps no other.
 *
 * @throws whatever kept the first of those that were not published
 */
export async function publishDue(context: LicensesContext): Promise<void> {
  const { db, organizationId, world } = context
  const rows = await db.query<Row & { readonly maker: string }>(
    `SELECT maker FROM license_maker WHERE organization_id = ? AND (revocations > status_revocations OR status_at IS NULL OR status_at < ?)`,
    ...[organizationId, world.clock.now() - STATUS_EVERY_MILLISECONDS],
  )
  const problems: unknown[] = []
  for (const { maker } of rows) await publishStatus(context, maker).catch((problem: unknown) => problems.push(problem))
  if (problems.length > 0) throw problems[0]
}

export interface NumberedMessage {
  readonly number: number
  readonly octets: Uint8Array
}

const MESSAGES_MAX = 100

/** What a device fetches: its licenses and its maker's status list, in the order of their numbers, which only grow. */
export async function messagesAfter(
  { db, organizationId }: Pick<LicensesContext, 'db' | 'organizationId'>,
  { deviceId, maker }: { readonly deviceId: string; readonly maker: string },
  after: number,
): Promise<readonly NumberedMessage[]> {
  const rows = await db.query<Row & NumberedMessage>(
    `SELECT number, octets FROM license_version WHERE device_id = ? AND number > ?
      UNION ALL SELECT status_number, status_octets FROM license_maker
        WHERE organization_id = ? AND maker = ? AND status_number > ? AND status_octets IS NOT NULL
      ORDER BY 1 LIMIT ?`,
    ...[deviceId, after, organizationId, maker, after, MESSAGES_MAX],
  )
  return rows.map(({ number, octets }) => ({ number, octets }))
}
