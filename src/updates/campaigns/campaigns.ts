/**
 * Campaigns: records, and what officers do with them. Everything that goes on is in rows, so that whoever runs next goes on with it.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Queries, Row, SqlValue, Transaction } from '#store/database.ts'
import { messageStatement } from '#store/outbox.ts'
import type { CampaignRelease, CampaignsContext } from './context.ts'
import { type CampaignState, OPEN_STATES } from './states.ts'
import { type CampaignTerms, checkTerms, LISTED_MAX, waveSizes } from './terms.ts'

export interface Campaign {
  readonly id: string
  readonly version: number
  readonly name: string
  readonly terms: CampaignTerms
  readonly component: string
  readonly releaseVersion: string
  readonly state: CampaignState
  /** Why it is paused or stopped. */
  readonly reason: string | undefined
  /** Devices. */
  readonly size: number
  /** The last one that is open; -1 before any is. */
  readonly wave: number
  readonly plannedAfter: string | undefined
  readonly createdAt: number
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
}

const NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/
/** Listed at once: some megabytes of rows, and a transaction that others do not wait long for. */
const PLAN_AT_ONCE = 2000
/** Of positions: as many as an INTEGER bears without a sign. */
const POSITION_OCTETS = 4

/** @throws TrustError `malformed`, `conflict`, `notFound`, `policyRefused` for a release that may not be rolled out */
export async function createCampaign(
  context: CampaignsContext,
  name: string,
  terms: CampaignTerms,
  actor: string,
): Promise<Campaign> {
  const { db, world, organizationId } = context
  if (!NAME.test(name))
    throw new TrustError('malformed', 'campaignMalformed', {
      facts: { detail: 'its name has 1 to 63 lower-case letters, digits, dots and hyphens' },
    })
  checkTerms(terms)
  const release = await context.releases.open(terms.release)
  await context.devices.matching(terms.who, { after: '', limit: 1 }) // whether all names mean something
  const id = uuidv7(world)
  await keep(db, [
    {
      sql: `INSERT INTO campaign (id, organization_id, version, name, terms, release_id, component, release_version, state, reason, size, wave,
          planned_after, created_at, started_at, ended_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, 'draft', NULL, 0, -1, NULL, ?, NULL, NULL)`,
      parameters: [
        ...[id, organizationId, name, JSON.stringify(terms), release.id, release.component, release.version],
        world.clock.now(),
      ],
      refusal: () => new TrustError('conflict', 'campaignTaken', { facts: { campaign: name } }),
    },
    ...notes(context, { id, name }, 'create', actor, { release: release.id, kind: terms.kind, consent: terms.consent }),
  ])
  return openCampaign(context, name)
}

/** The entry of the audit log, and the message for those who follow. */
export const notes = (
  { audit, world, organizationId }: CampaignsContext,
  { id, name }: Pick<Campaign, 'id' | 'name'>,
  act: string,
  actor: string,
  facts: Facts = {},
): readonly Step[] => [
  audit.statement({ actor, act: `campaign.${act}`, object: `campaign:${id}`, outcome: 'done', facts: { name, ...facts } }),
  messageStatement(world, { topic: `campaign.${act}`, organization: organizationId, payload: { campaign: id } }),
]

/** @throws TrustError `notFound` */
export async function openCampaign(
  { db, organizationId }: Pick<CampaignsContext, 'db' | 'organizationId'>,
  name: string,
): Promise<Campaign> {
  const [row] = await db.query('SELECT * FROM campaign WHERE organization_id = ? AND name = ?', organizationId, name)
  if (row === undefined) throw new TrustError('notFound', 'campaignUnknown', { facts: { campaign: name } })
  return campaignOf(row)
}

export async function campaignById(db: Queries, id: string): Promise<Campaign> {
  const [row] = await db.query('SELECT * FROM campaign WHERE id = ?', id)
  if (row === undefined) throw new TrustError('notFound', 'campaignUnknown', { facts: { campaign: id } })
  return campaignOf(row)
}

/** Newest first. */
export async function listCampaigns(
  { db, organizationId }: Pick<CampaignsContext, 'db' | 'organizationId'>,
  { limit, after }: { readonly limit: number; readonly after?: string | undefined },
): Promise<readonly Campaign[]> {
  const rows = await db.query(
    'SELECT * FROM campaign WHERE organization_id = ? AND id < ? ORDER BY id DESC LIMIT ?',
    ...[organizationId, after ?? 'g', limit],
  )
  return rows.map(campaignOf)
}

const campaignOf = (row: Row): Campaign => ({
  id: row['id'] as string,
  version: row['version'] as number,
  name: row['name'] as string,
  terms: JSON.parse(row['terms'] as string) as CampaignTerms,
  component: row['component'] as string,
  releaseVersion: row['release_version'] as string,
  state: row['state'] as CampaignState,
  reason: (row['reason'] as string | null) ?? undefined,
  size: row['size'] as number,
  wave: row['wave'] as number,
  plannedAfter: (row['planned_after'] as string | null) ?? undefined,
  createdAt: row['created_at'] as number,
  startedAt: (row['started_at'] as number | null) ?? undefined,
  endedAt: (row['ended_at'] as number | null) ?? undefined,
})

type Change = Partial<Pick<Campaign, 'state' | 'reason' | 'size' | 'wave' | 'plannedAfter' | 'startedAt' | 'endedAt'>>

/** It only holds for the version of the campaign that it was made from. */
export function stepToChange(campaign: Campaign, change: Change): Step {
  const { id, version } = campaign
  const next = { ...campaign, ...change }
  return {
    sql: `UPDATE campaign SET version = ?, state = ?, reason = ?, size = ?, wave = ?, planned_after = ?, started_at = ?, ended_at = ?
        WHERE id = ? AND version = ? RETURNING version`,
    parameters: [
      ...[version + 1, next.state, next.reason ?? null, next.size, next.wave, next.plannedAfter ?? null],
      ...[next.startedAt ?? null, next.endedAt ?? null, id, version],
    ],
    expects: { version: version + 1 },
    refusal: () => new TrustError('conflict', 'campaignChanged'),
  }
}

const refuseState = ({ state }: Campaign, act: string): TrustError =>
  new TrustError('conflict', 'campaignState', { facts: { state, act } })

/**
 * Lists the devices that it is for, once and for all, and opens the first wave.
 *
 * @throws TrustError `notFound`, `conflict` also when no device matches; `policyRefused`
 */
export async function startCampaign(context: CampaignsContext, name: string, actor: string): Promise<Campaign> {
  const campaign = await openCampaign(context, name)
  if (campaign.state !== 'draft') throw refuseState(campaign, 'start')
  const release = await context.releases.open(campaign.terms.release)
  if (await isNobody(context, campaign)) throw new TrustError('conflict', 'campaignNobody')
  await keepDigests(context, release)
  await keep(context.db, [
    stepToChange(campaign, { state: 'planning', reason: undefined, plannedAfter: '', startedAt: context.world.clock.now() }),
    ...notes(context, campaign, 'start', actor),
  ])
  await planCampaign(context, campaign.id)
  return openCampaign(context, name)
}

/** What clients of others compare: read once, where it is known already not at all. */
async function keepDigests({ db, releases, organizationId }: CampaignsContext, release: CampaignRelease): Promise<void> {
  for (const artifact of release.artifacts) {
    const [known] = await db.query(
      'SELECT name FROM campaign_artifact WHERE release_id = ? AND name = ?',
      release.id,
      artifact.name,
    )
    if (known !== undefined) continue
    const [sha256, sha1, md5] = [createHash('sha256'), createHash('sha1'), createHash('md5')]
    for await (const piece of releases.read(artifact, 0, artifact.octets))
      for (const hash of [sha256, sha1, md5]) hash.update(piece)
    if (sha256.digest('hex') !== artifact.sha256)
      throw new TrustError('conflict', 'campaignArtifactOther', { facts: { name: artifact.name } })
    await keep(db, [
      {
        sql: `INSERT INTO campaign_artifact (release_id, name, organization_id, format, octets, sha256, sha1, md5)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (release_id, name) DO NOTHING`,
        parameters: [
          ...[release.id, artifact.name, organizationId, artifact.format, artifact.octets],
          ...[artifact.sha256, sha1.digest('hex'), md5.digest('hex')],
        ],
      },
    ])
  }
}

/** Goes on where it was, whoever began it. @throws TrustError `conflict` when somebody else does the same now */
export async function planCampaign(context: CampaignsContext, id: string): Promise<void> {
  const { db, world, organizationId } = context
  for (;;) {
    const campaign = await campaignById(db, id)
    if (campaign.state !== 'planning') return
    const { last, fit } = await nextDevices(context, campaign, campaign.plannedAfter ?? '')
    if (last === undefined) return openFirstWave(context, campaign)
    const now = world.clock.now()
    const rows = fit.map((deviceId): SqlValue[] => [
      organizationId,
      1,
      id,
      deviceId,
      positionOf(id, deviceId),
      'planned',
      0,
      0,
      now,
    ])
    const change = stepToChange(campaign, { plannedAfter: last, size: campaign.size + fit.length })
    await db.transaction(async (tx) => {
      const [kept] = await tx.query(change.sql, ...change.parameters)
      if (kept === undefined) throw new TrustError('conflict', 'campaignChanged')
      await tx.insertMany('campaign_action', ACTION_COLUMNS, rows)
    })
    world.faults.reach('campaign devices listed')
  }
}

interface SomeDevices {
  /** Where to go on; undefined at the end. */
  readonly last: string | undefined
  readonly fit: readonly string[]
}

async function nextDevices(
  { db, devices }: CampaignsContext,
  { terms, component }: Campaign,
  after: string,
): Promise<SomeDevices> {
  const found = await devices.matching(terms.who, { after, limit: PLAN_AT_ONCE })
  const last = found.at(-1)
  const { counterMin = 0, counterMax = Number.MAX_SAFE_INTEGER } = terms.who.installed ?? {}
  if (terms.who.installed === undefined || last === undefined) return { last, fit: found }
  const rows = await db.query<{ device_id: string; counter: number }>(
    `SELECT device_id, counter FROM installed_version
      WHERE component = ? AND counter IS NOT NULL AND device_id IN (${found.map(() => '?').join(', ')})`,
    ...[component, ...found],
  )
  const counters = new Map(rows.map(({ device_id: id, counter }) => [id, counter]))
  return { last, fit: found.filter((id) => inRange(counters.get(id) ?? 0, counterMin, counterMax)) }
}

const inRange = (counter: number, least: number, most: number): boolean => counter >= least && counter <= most

async function isNobody(context: CampaignsContext, campaign: Campaign): Promise<boolean> {
  for (let after: string | undefined = ''; after !== undefined;) {
    const { last, fit }: SomeDevices = await nextDevices(context, campaign, after)
    if (fit.length > 0) return false
    after = last
  }
  return true
}

const ACTION_COLUMNS = [
  ...['organization_id', 'version', 'campaign_id', 'device_id', 'position', 'state', 'contradictions', 'is_cancel_asked'],
  'changed_at',
]

/** By chance, and the same however often it is asked: who is first was not chosen by anybody. */
function positionOf(campaignId: string, deviceId: string): number {
  const digest = createHash('sha256').update(`${campaignId} ${deviceId}`).digest()
  return digest.readUIntBE(0, POSITION_OCTETS)
}

async function openFirstWave(context: CampaignsContext, campaign: Campaign): Promise<void> {
  const { db, world, organizationId } = context
  const sizes = waveSizes(campaign.terms, campaign.size)
  const bounds = sizes.map((_, wave) => sizes.slice(0, wave + 1).reduce((sum, size) => sum + size, 0))
  const cases = bounds.map((_, wave) => `WHEN ranked.n <= CAST(? AS INTEGER) THEN ${wave}`).join(' ')
  if (sizes.length === 0) {
    await keep(db, [
      stepToChange(campaign, { state: 'finished', plannedAfter: undefined, endedAt: world.clock.now() }),
      ...notes(context, campaign, 'finish', ACTOR, { devices: 0 }),
    ])
    return
  }
  await keep(db, [
    stepToChange(campaign, { state: 'running', plannedAfter: undefined, wave: 0 }),
    {
      sql: `UPDATE campaign_action SET wave = CASE ${cases} END
          FROM (SELECT number, row_number() OVER (ORDER BY position, number) AS n FROM campaign_action WHERE campaign_id = ?) AS ranked
          WHERE campaign_action.number = ranked.number`,
      parameters: [...bounds, campaign.id],
    },
    ...sizes.map((size, wave) => ({
      sql: `INSERT INTO campaign_wave (campaign_id, wave, organization_id, version, size, opened_at) VALUES (?, ?, ?, 1, ?, NULL)`,
      parameters: [campaign.id, wave, organizationId, size],
    })),
    ...stepsToOffer(context, campaign, 0),
    ...notes(context, campaign, 'open-wave', ACTOR, { wave: 1, waves: sizes.length, devices: sizes[0] ?? 0 }),
  ])
  world.faults.reach('campaign wave opened')
}

export const ACTOR = 'service:campaigns'

/** Who is not in the hands of another campaign is offered it; who is, later. */
export const stepsToOffer = ({ world }: CampaignsContext, { id }: Pick<Campaign, 'id'>, wave: number): readonly Step[] => [
  {
    sql: 'UPDATE campaign_wave SET opened_at = ?, version = version + 1 WHERE campaign_id = ? AND wave = ? AND opened_at IS NULL',
    parameters: [world.clock.now(), id, wave],
  },
  {
    sql: `UPDATE campaign_action SET state = 'offered', offered_at = ?, changed_at = ?, version = version + 1
        WHERE campaign_id = ? AND wave <= ? AND state = 'planned'
        AND NOT EXISTS (SELECT 1 FROM campaign_action AS other WHERE other.device_id = campaign_action.device_id
          AND other.state IN (${OPEN_STATES}))`,
    parameters: [world.clock.now(), world.clock.now(), id, wave],
  },
]

/** Offers nothing to anybody until it goes on; who has begun may finish. @throws TrustError `notFound`, `conflict` */
export async function pauseCampaign(context: CampaignsContext, name: string, reason: string, actor: string): Promise<Campaign> {
  const campaign = await openCampaign(context, name)
  if (campaign.state !== 'running') throw refuseState(campaign, 'pause')
  await keep(context.db, [
    stepToChange(campaign, { state: 'paused', reason }),
    ...notes(context, campaign, 'pause', actor, { why: reason }),
  ])
  return openCampaign(context, name)
}

/** @throws TrustError `notFound`, `conflict` */
export async function resumeCampaign(context: CampaignsContext, name: string, actor: string): Promise<Campaign> {
  const campaign = await openCampaign(context, name)
  if (campaign.state !== 'paused') throw refuseState(campaign, 'resume')
  await context.releases.open(campaign.terms.release)
  await keep(context.db, [
    stepToChange(campaign, { state: 'running', reason: undefined }),
    ...notes(context, campaign, 'resume', actor),
  ])
  return openCampaign(context, name)
}

/** For whoever finds a campaign paused that they started. */
const RESTORED = 'restored from a backup: resume it unless it was stopped, or its release withdrawn, since then'

/**
 * Part of a restore: whether they were stopped since the backup is not known, nor whether their releases were withdrawn. So none
 * goes on, and also who only fetched waits, until an officer resumes it. What was still being listed is begun anew.
 *
 * @returns their names
 */
export async function holdRestoredCampaigns(tx: Transaction, { clock }: Pick<World, 'clock'>): Promise<readonly string[]> {
  await tx.query("DELETE FROM campaign_action WHERE campaign_id IN (SELECT id FROM campaign WHERE state = 'planning')")
  const held = await tx.query<{ name: string }>(
    `UPDATE campaign SET state = CASE state WHEN 'planning' THEN 'draft' ELSE 'paused' END, reason = ?, version = version + 1,
        size = CASE state WHEN 'planning' THEN 0 ELSE size END, started_at = CASE state WHEN 'planning' THEN NULL ELSE started_at END,
        planned_after = NULL
      WHERE state IN ('planning', 'running') RETURNING name`,
    RESTORED,
  )
  await tx.query(
    `UPDATE campaign_action SET state = CASE WHEN consent_id IS NULL THEN 'offered' ELSE 'confirmed' END, changed_at = ?, version = version + 1
      WHERE state = 'downloading' AND said IS NULL AND campaign_id IN (SELECT id FROM campaign WHERE state = 'paused')`,
    clock.now(),
  )
  return held.map(({ name }) => name).toSorted()
}

/** For good: who has not begun is not asked any more, who has is told to give it up. @throws TrustError `notFound`, `conflict` */
export async function stopCampaign(context: CampaignsContext, name: string, reason: string, actor: string): Promise<Campaign> {
  const campaign = await openCampaign(context, name)
  if (!['draft', 'planning', 'running', 'paused'].includes(campaign.state)) throw refuseState(campaign, 'stop')
  await keep(context.db, stepsToStop(context, campaign, { reason, actor }))
  return openCampaign(context, name)
}

/** What its devices were told to do: `canceled` here is the campaign's own word, whatever the device was at. */
export const stepsToStop = (
  context: CampaignsContext,
  campaign: Campaign,
  { reason, actor, facts = {} }: { readonly reason: string; readonly actor: string; readonly facts?: Facts },
): readonly Step[] => {
  const now = context.world.clock.now()
  return [
    stepToChange(campaign, { state: 'stopped', reason, plannedAfter: undefined, endedAt: now }),
    {
      sql: `UPDATE campaign_action SET state = 'canceled', reason = 'campaignStopped', changed_at = ?, version = version + 1
          WHERE campaign_id = ? AND state IN ('planned', 'offered', 'confirmed')`,
      parameters: [now, campaign.id],
    },
    // after it, so that a device that has just begun is told as well
    {
      sql: `UPDATE campaign_action SET is_cancel_asked = 1, changed_at = ?, version = version + 1
          WHERE campaign_id = ? AND state IN ('downloading', 'installing') AND said IS NULL`,
      parameters: [now, campaign.id],
    },
    ...notes(context, campaign, 'stop', actor, { why: reason, ...facts }),
  ]
}

/** Opens the next wave, whatever came of the one before. @throws TrustError `notFound`, `conflict` */
export async function openNextWave(context: CampaignsContext, name: string, actor: string): Promise<Campaign> {
  const campaign = await openCampaign(context, name)
  if (campaign.state !== 'running') throw refuseState(campaign, 'open-wave')
  await keep(context.db, await stepsToOpen(context, campaign, actor))
  return openCampaign(context, name)
}

/** @throws TrustError `conflict` after the last one */
export async function stepsToOpen(context: CampaignsContext, campaign: Campaign, actor: string): Promise<readonly Step[]> {
  const wave = campaign.wave + 1
  const [next] = await context.db.query<{ size: number }>(
    'SELECT size FROM campaign_wave WHERE campaign_id = ? AND wave = ?',
    campaign.id,
    wave,
  )
  if (next === undefined) throw new TrustError('conflict', 'campaignLastWave')
  return [
    stepToChange(campaign, { wave }),
    ...stepsToOffer(context, campaign, wave),
    ...notes(context, campaign, 'open-wave', actor, { wave: wave + 1, devices: next.size }),
  ]
}

/**
 * The owner agrees for those of the devices that are theirs and are offered it, now.
 *
 * @returns for how many @throws TrustError `forbidden` for who does not speak for the owner; `notFound`, `conflict` also where it is none
 */
export async function consentForOwner(
  context: CampaignsContext,
  name: string,
  { owner, deviceIds }: { readonly owner: string; readonly deviceIds: readonly string[] },
  actor: string,
): Promise<number> {
  const campaign = await openCampaign(context, name)
  if (campaign.terms.consent !== 'owner') throw new TrustError('conflict', 'campaignConsentNotAsked')
  if (campaign.state !== 'running' && campaign.state !== 'paused') throw refuseState(campaign, 'consent')
  if (deviceIds.length > LISTED_MAX) throw new TrustError('tooLarge', 'campaignListTooLong', { facts: { limit: LISTED_MAX } })
  const { id: ownerId } = await context.devices.ownerFor(owner, actor)
  const theirs = await context.devices.matching({ owner, devices: [...deviceIds] }, { after: '', limit: LISTED_MAX })
  const asked = await waitingOf(context.db, campaign, theirs)
  if (asked.length === 0) throw new TrustError('conflict', 'campaignConsentNobody', { facts: { owner } })
  const consent = newConsent(context, campaign, { by: 'owner', actor, owner: ownerId })
  const now = context.world.clock.now()
  const change = `UPDATE campaign_action SET state = 'confirmed', consent_id = ?, changed_at = ?, version = version + 1
    WHERE campaign_id = ? AND state = 'offered' AND device_id`
  await keep(context.db, [
    consentStep(context, campaign, consent),
    ...chunks(asked, CONSENT_AT_ONCE).map((some) => ({
      sql: `${change} IN (${some.map(() => '?').join(', ')})`,
      parameters: [consent.id, now, campaign.id, ...some],
    })),
    ...notes(context, campaign, 'consent', actor, { owner: ownerId, devices: asked.length, consent: consent.digest.toHex() }),
  ])
  return asked.length
}

async function waitingOf(db: Queries, { id }: Campaign, deviceIds: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(
    chunks(deviceIds, CONSENT_AT_ONCE).map((some) =>
      db.query<{ device_id: string }>(
        `SELECT device_id FROM campaign_action WHERE campaign_id = ? AND state = 'offered' AND device_id IN (${some.map(() => '?').join(', ')})`,
        ...[id, ...some],
      ),
    ),
  )
  return found.flat().map((row) => row.device_id)
}

/** Parameters of one statement: both engines take far more. */
const CONSENT_AT_ONCE = 500

const chunks = <T>(list: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, at) => list.slice(at * size, (at + 1) * size))

export interface Consent {
  readonly id: string
  readonly ownerId: string | undefined
  readonly octets: Uint8Array
  readonly digest: Uint8Array
}

export interface Agreement {
  readonly by: 'owner' | 'driver' | 'automatic'
  readonly actor: string
  readonly owner: string | undefined
  readonly device?: string
  readonly action?: number
  readonly remarks?: readonly string[]
}

/** What was agreed to, by whom and when, as it is kept: one line of JSON whose members stand in this order. */
export function newConsent(
  { world }: CampaignsContext,
  { id: campaign, name, terms, component, releaseVersion }: Campaign,
  { by, actor, owner, device, action, remarks }: Agreement,
): Consent {
  const id = uuidv7(world)
  const at = new Date(world.clock.now()).toISOString()
  const what = { campaign, name, release: terms.release, component, version: releaseVersion, kind: terms.kind }
  const text = JSON.stringify({ id, ...what, by, actor, owner, device, action, remarks, at })
  const octets = new TextEncoder().encode(text)
  return { id, ownerId: owner, octets, digest: new Uint8Array(createHash('sha256').update(octets).digest()) }
}

export const consentStep = (
  { world, organizationId }: CampaignsContext,
  { id }: Pick<Campaign, 'id'>,
  consent: Consent,
): Step => ({
  sql: 'INSERT INTO campaign_consent (id, organization_id, campaign_id, owner_id, octets, created_at) VALUES (?, ?, ?, ?, ?, ?)',
  parameters: [consent.id, organizationId, id, consent.ownerId ?? null, consent.octets, world.clock.now()],
})
