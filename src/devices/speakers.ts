/**
 * Who speaks for which organization: offers, takes and releases its devices, sets its keys, runs its areas.
 *
 * A role says what somebody may do at all; this says for whom. Whoever records an organization speaks for it, and administrators
 * bind others. Organizations from before there were bindings are everybody's with the role, until the first person is bound.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Queries } from '#store/database.ts'
import { keep, type Step } from '#store/batch.ts'
import type { DevicesContext } from './context.ts'
import { findOrganization, type Organization } from './organizations.ts'

export interface Speaker {
  /** A person or service, as the audit log names them. */
  readonly actor: string
  readonly boundAt: number
}

/** More would be a role, not a list. */
const SPEAKERS_MAX = 1000

const stepToBind = (
  { world, organizationId }: Pick<DevicesContext, 'world' | 'organizationId'>,
  { id }: Pick<Organization, 'id'>,
  actor: string,
): Step => ({
  sql: `INSERT INTO organization_speaker (party_id, actor, organization_id, created_at) VALUES (?, ?, ?, ?)
      ON CONFLICT (party_id, actor) DO NOTHING`,
  parameters: [id, actor, organizationId, world.clock.now()],
})

/** From now on only those who are bound speak for it. @throws TrustError `notFound`, `quotaExceeded` */
export async function bindSpeaker(context: DevicesContext, organization: string, speaker: string, actor: string): Promise<void> {
  const party = await findOrganization(context, context.db, organization)
  if ((await listSpeakers(context, party)).length >= SPEAKERS_MAX)
    throw new TrustError('quotaExceeded', 'organizationSpeakersMany', { facts: { organization, limit: SPEAKERS_MAX } })
  await keep(context.db, [
    { sql: "UPDATE organization SET speakers = 'bound', version = version + 1 WHERE id = ?", parameters: [party.id] },
    stepToBind(context, party, speaker),
    noteStep(context, party, 'organization.bind', speaker, actor),
  ])
}

/** Does nothing when they do not speak for it. @throws TrustError `notFound` */
export async function unbindSpeaker(
  context: DevicesContext,
  organization: string,
  speaker: string,
  actor: string,
): Promise<void> {
  const party = await findOrganization(context, context.db, organization)
  await keep(context.db, [
    { sql: "UPDATE organization SET speakers = 'bound', version = version + 1 WHERE id = ?", parameters: [party.id] },
    { sql: 'DELETE FROM organization_speaker WHERE party_id = ? AND actor = ?', parameters: [party.id, speaker] },
    noteStep(context, party, 'organization.unbind', speaker, actor),
  ])
}

const noteStep = ({ audit }: DevicesContext, { id }: Organization, act: string, speaker: string, actor: string): Step =>
  audit.statement({ actor, act, object: `organization:${id}`, outcome: 'done', facts: { speaker } })

/** @returns undefined where everybody with the role speaks for it still @throws TrustError `notFound` */
export async function speakersOf(context: DevicesContext, organization: string): Promise<readonly Speaker[] | undefined> {
  const party = await findOrganization(context, context.db, organization)
  const [row] = await context.db.query<{ speakers: string }>('SELECT speakers FROM organization WHERE id = ?', party.id)
  return row?.speakers === 'anyone' ? undefined : listSpeakers(context, party)
}

async function listSpeakers({ db }: DevicesContext, { id }: Organization): Promise<readonly Speaker[]> {
  const rows = await db.query<{ actor: string; created_at: number }>(
    'SELECT actor, created_at FROM organization_speaker WHERE party_id = ? ORDER BY created_at, actor',
    id,
  )
  return rows.map(({ actor, created_at: boundAt }) => ({ actor, boundAt }))
}

/** @throws TrustError `forbidden` unless they speak for it */
export async function checkSpeaks(db: Queries, { id, name }: Pick<Organization, 'id' | 'name'>, actor: string): Promise<void> {
  const [row] = await db.query<{ is_theirs: number }>(
    `SELECT CASE WHEN o.speakers = 'anyone' OR s.actor IS NOT NULL THEN 1 ELSE 0 END AS is_theirs
      FROM organization o LEFT JOIN organization_speaker s ON s.party_id = o.id AND s.actor = ? WHERE o.id = ?`,
    ...[actor, id],
  )
  if (row?.is_theirs !== 1) throw new TrustError('forbidden', 'organizationNotTheirs', { facts: { organization: name } })
}
