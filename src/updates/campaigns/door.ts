/**
 * What devices get when they ask: nothing but what is meant for this very device now, and what it answers, noted.
 *
 * Served by `protocols/ddi`; each answer is read from rows, so that it holds over a crash and for each process.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { type Action, type ActionChange, actionOf, openAction, stepsToMove } from './actions.ts'
import type { CampaignWork } from './advance.ts'
import { ACTOR, type Agreement, type Campaign, campaignById, consentStep, newConsent } from './campaigns.ts'
import type { CampaignsContext, KnownDevice } from './context.ts'
import { type CampaignState, isOpen, OPEN_STATES } from './states.ts'
import { isWithinWindow } from './terms.ts'
import { deviceOfToken, openTenant, type Tenant } from './tenants.ts'

/** Who asks, and at which door. */
export interface Visitor extends KnownDevice {
  readonly tenant: Tenant
}

interface Credentials {
  readonly chain: readonly Uint8Array[]
  readonly targetToken: string | undefined
}

interface Feedback {
  readonly execution: 'closed' | 'proceeding' | 'canceled' | 'scheduled' | 'rejected' | 'resumed' | 'download' | 'downloaded'
  readonly finished: 'success' | 'failure' | 'none'
  readonly code: number | undefined
  readonly details: readonly string[]
}

/** Numbers of actions. */
interface Poll {
  readonly pollingSeconds: number
  readonly wantsAttributes: boolean
  readonly deployment?: number
  readonly confirmation?: number
  readonly cancel?: number
  readonly installed?: number
}

interface Facts {
  readonly filename: string
  readonly octets: number
  readonly hashes: { readonly sha1: string; readonly md5: string; readonly sha256: string }
}

/** Kept of one action: a device that says more has a fault, or a grudge. */
const FEEDBACK_MAX = 100
/** A device is noted to be there again after this; the row is for people. */
const CONTACT_MILLISECONDS = 300_000
/** Devices of whom a contact waits to be written. */
const CONTACTS_MAX = 100_000
/** Each time that a device agrees beforehand is in the audit log; taking it back always goes. */
const AGREED_AGAIN_MILLISECONDS = 60_000
/** A token that was refused is in the audit log, for the same door and reason no sooner again. */
const REFUSED_AGAIN_MILLISECONDS = 60_000
/** At work at the same time. */
const CAMPAIGNS_MAX = 64
/** Rows of one statement. */
const CONTACTS_AT_ONCE = 500
/** Of two answers of a device at once, the second is judged by what the first left. */
const TRIES = 3

export function campaignDoor(context: CampaignsContext, work: Pick<CampaignWork, 'lookAt'>) {
  const { db, world, devices, releases, organizationId } = context
  const contacts = new Map<string, number>()
  let noted = new Map<string, number>()
  const known = new Map<string, Campaign>()
  /** By tenant and reason, of which there are few. */
  const refusedAt = new Map<string, number>()
  let agreedAt = new Map<string, number>()

  async function authenticate(tenantName: string, name: string, { chain, targetToken }: Credentials): Promise<Visitor> {
    const tenant = await openTenant(db, organizationId, tenantName)
    const token = chain.length === 0 ? targetToken : undefined
    try {
      const isByToken = token !== undefined && tenant.takesTokens
      return { ...(await (isByToken ? deviceOfToken(context, name, token) : devices.admit(chain, name))), tenant }
    } catch (thrown) {
      const { code, reason } = asTrustError(thrown)
      if (token !== undefined && code === 'unauthenticated') await noteRefusal(tenantName, name, reason)
      throw thrown
    }
  }

  /** Whoever guesses does so again and again: what refused a certificate is noted where certificates are looked at. */
  async function noteRefusal(tenant: string, name: string, reason: Reason): Promise<void> {
    const key = `${tenant} ${reason}`
    const now = world.clock.now()
    if (now - (refusedAt.get(key) ?? Number.NEGATIVE_INFINITY) < REFUSED_AGAIN_MILLISECONDS) return
    refusedAt.set(key, now)
    const facts = { protocol: 'ddi', name }
    await context.audit.refuse({ actor: 'anonymous', act: 'device.connect', object: `tenant:${tenant}`, reason, facts })
  }

  async function poll(visitor: Visitor): Promise<Poll> {
    const { deviceId, tenant } = visitor
    const [open] = await db.query<OpenRow>(OPEN_QUERY, deviceId)
    const [attributes] = await db.query('SELECT device_id FROM ddi_attributes WHERE device_id = ?', deviceId)
    const answer = { pollingSeconds: tenant.pollingSeconds, wantsAttributes: attributes === undefined }
    if (open === undefined) {
      const [done] = await db.query<{ number: number }>(INSTALLED_QUERY, deviceId)
      return done === undefined ? answer : { ...answer, installed: done.number }
    }
    note(deviceId)
    return { ...answer, ...(await offerOf(visitor, open)) }
  }

  async function offerOf(visitor: Visitor, open: OpenRow): Promise<Pick<Poll, 'deployment' | 'confirmation' | 'cancel'>> {
    const action = actionOf(open)
    const { number } = action
    if (action.isCancelAsked) return { cancel: number }
    if (action.said !== undefined || !mayGoOn(action, open.campaign_state)) return {}
    const campaign = await campaignAt(action.campaignId, open.campaign_version)
    if (isConsentMissing(action, campaign)) {
      if (campaign.terms.consent === 'owner') return {}
      return (await confirmByItself(visitor, action, campaign)) && isWithinWindow(campaign.terms, world.clock.now())
        ? { deployment: number }
        : { confirmation: number }
    }
    return hasBegun(action) || isWithinWindow(campaign.terms, world.clock.now()) ? { deployment: number } : {}
  }

  /** Its terms may name thousands of devices, and thousands of devices ask. */
  async function campaignAt(id: string, version: number): Promise<Campaign> {
    const cached = known.get(id)
    if (cached?.version === version) return cached
    const campaign = await campaignById(db, id)
    if (known.size >= CAMPAIGNS_MAX) known.clear()
    known.set(id, campaign)
    return campaign
  }

  /** Who let its device agree to whatever comes, for as long as it is theirs. */
  async function autoConfirmationOf({ deviceId, epoch }: Visitor): Promise<Row | undefined> {
    const [row] = await db.query('SELECT * FROM ddi_auto_confirmation WHERE device_id = ? AND epoch = ?', deviceId, epoch)
    return row
  }

  async function confirmByItself(visitor: Visitor, action: Action, campaign: Campaign): Promise<boolean> {
    const row = await autoConfirmationOf(visitor)
    if (row === undefined) return false
    const remarks = [row['initiator'], row['remark']].filter((one): one is string => typeof one === 'string')
    await agree(action, campaign, { by: 'automatic', actor: `device:${action.deviceId}`, owner: visitor.ownerId, remarks })
    return true
  }

  function agree(action: Action, campaign: Campaign, agreement: Agreement): Promise<void> {
    const consent = newConsent(context, campaign, { ...agreement, device: action.deviceId, action: action.number })
    return keep(db, [
      consentStep(context, campaign, consent),
      ...stepsToMove(context, action, { state: 'confirmed', consentId: consent.id }, agreement.actor),
    ])
  }

  /** @throws TrustError `notFound` unless this device may have this now */
  async function current({ deviceId }: Visitor, number: number): Promise<{ action: Action; campaign: Campaign }> {
    const action = await openAction(db, number, deviceId)
    const campaign = await campaignById(db, action.campaignId)
    const may = isOpen(action.state) && !action.isCancelAsked && mayGoOn(action, campaign.state)
    if (!may || isConsentMissing(action, campaign)) throw notOffered(number)
    return { action, campaign }
  }

  async function deployment(visitor: Visitor, number: number) {
    const { action, campaign } = await current(visitor, number)
    const { terms } = campaign
    const isNow = hasBegun(action) || isWithinWindow(terms, world.clock.now())
    if (!isNow)
      return shown(visitor, action, campaign, { handling: 'skip', maintenanceWindow: 'unavailable' as const, papers: [] })
    const papers = await papersFor(visitor, action, campaign)
    const window = terms.windows.length > 0 && { maintenanceWindow: 'available' as const }
    return shown(visitor, action, campaign, { handling: terms.urgency, papers, ...window })
  }

  /** Without what only who may begin gets. */
  async function toConfirm(visitor: Visitor, number: number) {
    const action = await openAction(db, number, visitor.deviceId)
    const campaign = await campaignById(db, action.campaignId)
    const isAsked = campaign.terms.consent === 'driver' && action.state === 'offered' && mayGoOn(action, campaign.state)
    if (!isAsked) throw notOffered(number)
    return shown(visitor, action, campaign, { handling: campaign.terms.urgency, papers: [] })
  }

  async function installed(visitor: Visitor, number: number) {
    const action = await openAction(db, number, visitor.deviceId)
    if (action.state !== 'succeeded') throw notOffered(number)
    const campaign = await campaignById(db, action.campaignId)
    return shown(visitor, action, campaign, { handling: 'attempt', papers: [] })
  }

  async function shown(
    { deviceId }: Visitor,
    { number }: Action,
    { terms, component, releaseVersion }: Campaign,
    how: {
      readonly handling: 'skip' | 'attempt' | 'forced'
      readonly maintenanceWindow?: 'available' | 'unavailable'
      readonly papers: readonly Paper[]
    },
  ) {
    const { handling, maintenanceWindow, papers } = how
    const formats = (await formatsOf(deviceId)) ?? terms.formats
    const artifacts = (await artifactsOf(terms.release)).filter(({ format }) => formats?.includes(format) ?? true)
    const files = [...artifacts.map(({ facts }) => facts), ...papers.map(factsOfPaper)]
    return {
      action: number,
      ...{ download: handling, update: handling },
      ...(maintenanceWindow !== undefined && { maintenanceWindow }),
      chunks: [{ part: 'os', name: component, version: releaseVersion, artifacts: files }],
    }
  }

  /** What the device says that it can read: its attribute `formats`, separated by commas or spaces. */
  async function formatsOf(deviceId: string): Promise<readonly string[] | undefined> {
    const { formats } = await attributesOf(deviceId)
    return formats === undefined || formats === '' ? undefined : formats.split(/[\s,]+/)
  }

  async function attributesOf(deviceId: string): Promise<Readonly<Record<string, string>>> {
    const [row] = await db.query<{ data: string }>('SELECT data FROM ddi_attributes WHERE device_id = ?', deviceId)
    return row === undefined ? {} : (JSON.parse(row.data) as Readonly<Record<string, string>>)
  }

  async function artifactsOf(releaseId: string): Promise<readonly { readonly format: string; readonly facts: Facts }[]> {
    const rows = await db.query('SELECT * FROM campaign_artifact WHERE release_id = ? ORDER BY name', releaseId)
    return rows.map((row) => ({ format: row['format'] as string, facts: factsOfArtifact(row) }))
  }

  /** Those that it was given last. */
  const papersOf = (number: number): Promise<readonly PaperRow[]> =>
    db.query<PaperRow>(
      'SELECT name, octets, expires_at FROM campaign_paper WHERE number = ? AND expires_at > ? ORDER BY name',
      ...[number, world.clock.now()],
    )

  /** The director is asked each time until it is being installed, and may refuse, which ends the action. */
  async function papersFor(visitor: Visitor, action: Action, campaign: Campaign): Promise<readonly Paper[]> {
    const given = action.state === 'installing' ? await papersOf(action.number) : []
    if (given.length > 0) return given
    const consent = await consentOf(visitor, action)
    const order = {
      releaseId: campaign.terms.release,
      deviceId: action.deviceId,
      kind: campaign.terms.kind,
      action: action.number,
      consent,
    }
    const { files, expiresAt } = await unlessRefused(action, () => releases.direct(order))
    await keep(
      db,
      files.map(({ name, octets }) => ({
        sql: `INSERT INTO campaign_paper (number, name, organization_id, octets, expires_at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (number, name) DO UPDATE SET octets = excluded.octets, expires_at = excluded.expires_at`,
        parameters: [action.number, name, organizationId, octets, expiresAt],
      })),
    )
    return files
  }

  /** @throws TrustError `notFound` where who agreed is not whose the device is now */
  async function consentOf(visitor: Visitor, action: Action): Promise<Uint8Array | undefined> {
    if (action.consentId === undefined) return undefined
    const [row] = await db.query('SELECT owner_id, octets FROM campaign_consent WHERE id = ?', action.consentId)
    const owner = row?.['owner_id'] ?? null
    if (row === undefined || (owner !== null && owner !== visitor.ownerId)) {
      await end(action, { state: 'rejected', reason: 'ownerChanged' }, ACTOR)
      throw notOffered(action.number)
    }
    return new Uint8Array(
      createHash('sha256')
        .update(row['octets'] as Uint8Array)
        .digest(),
    )
  }

  async function unlessRefused<T>(action: Action, direct: () => Promise<T>): Promise<T> {
    try {
      return await direct()
    } catch (thrown) {
      const { code, reason, message } = asTrustError(thrown)
      if (code !== 'policyRefused') throw thrown
      await end(action, { state: 'rejected', reason, detail: message }, ACTOR)
      throw new TrustError('notFound', 'actionNotOffered', { facts: { action: action.number }, cause: thrown })
    }
  }

  async function end(action: Action, change: ActionChange, actor: string): Promise<void> {
    await keep(db, stepsToMove(context, action, change, actor))
    work.lookAt(action.campaignId)
  }

  async function artifact(visitor: Visitor, number: number, filename: string) {
    const { action, campaign } = await current(visitor, number)
    if (!hasBegun(action) && !isWithinWindow(campaign.terms, world.clock.now())) throw notOffered(number)
    const [paper] = await db.query<PaperRow>(
      'SELECT name, octets, expires_at FROM campaign_paper WHERE number = ? AND name = ?',
      number,
      filename,
    )
    if (paper !== undefined) return { ...factsOfPaper(paper), read: piecesOf(paper.octets) }
    const [row] = await db.query(
      'SELECT * FROM campaign_artifact WHERE release_id = ? AND name = ?',
      campaign.terms.release,
      filename,
    )
    if (row === undefined) throw new TrustError('notFound', 'artifactUnknown')
    if ((await papersOf(number)).length === 0) await papersFor(visitor, action, campaign) // who may not install it does not read it
    const facts = factsOfArtifact(row)
    const found = { name: filename, format: row['format'] as string, octets: facts.octets, sha256: facts.hashes.sha256 }
    /** Who only asks how long it is has not begun. */
    async function* read(start: number, stop: number): AsyncGenerator<Uint8Array> {
      if (!hasBegun(action)) await move(visitor, number, (now) => (hasBegun(now) ? undefined : { state: 'downloading' }))
      yield* releases.read(found, start, stop)
    }
    return { ...facts, read }
  }

  /** @param change what becomes of the action as it is now; nothing when undefined */
  async function move(
    { deviceId }: Visitor,
    number: number,
    change: (action: Action) => ActionChange | undefined,
    more: readonly Step[] = [],
  ): Promise<void> {
    for (let tries = TRIES; ; tries--) {
      const action = await openAction(db, number, deviceId)
      const next = change(action)
      const begins = next?.state !== undefined && hasBegun({ state: next.state }) && !hasBegun(action)
      const guard = begins ? [await stepToBegin(action)] : []
      try {
        await keep(db, [
          ...guard,
          ...(next === undefined ? [] : stepsToMove(context, action, next, `device:${deviceId}`)),
          ...more,
        ])
        if (next?.state !== undefined && !isOpen(next.state)) work.lookAt(action.campaignId)
        return
      } catch (thrown) {
        if (tries === 1 || asTrustError(thrown).reason !== 'actionChanged') throw thrown
      }
    }
  }

  /** What a device says of itself takes it past no consent, window or pause. @throws TrustError `notFound` */
  async function stepToBegin(action: Action): Promise<Step> {
    const campaign = await campaignById(db, action.campaignId)
    if (campaign.state !== 'running' || isConsentMissing(action, campaign) || !isWithinWindow(campaign.terms, world.clock.now()))
      throw notOffered(action.number)
    return {
      sql: 'SELECT state FROM campaign WHERE id = ?',
      parameters: [campaign.id],
      expects: { state: 'running' },
      refusal: () => notOffered(action.number),
    }
  }

  const feedbackStep = (number: number, { execution, finished, code, details }: Feedback): Step => ({
    sql: `INSERT INTO campaign_feedback (id, organization_id, number, execution, finished, code, details, created_at)
        SELECT CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS INTEGER), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS INTEGER), CAST(? AS TEXT),
          CAST(? AS INTEGER)
        WHERE (SELECT count(*) FROM campaign_feedback WHERE number = ?) < ${FEEDBACK_MAX}`,
    parameters: [
      ...[uuidv7(world), organizationId, number, execution, finished, code ?? null, JSON.stringify(details)],
      ...[world.clock.now(), number],
    ],
  })

  function note(deviceId: string): void {
    const now = world.clock.now()
    if (now - (noted.get(deviceId) ?? 0) < CONTACT_MILLISECONDS || contacts.size >= CONTACTS_MAX) return
    noted.set(deviceId, now)
    contacts.set(deviceId, now)
  }

  async function writeContacts(): Promise<void> {
    const now = world.clock.now()
    noted = new Map([...noted].filter(([, at]) => now - at < CONTACT_MILLISECONDS))
    agreedAt = new Map([...agreedAt].filter(([, at]) => now - at < AGREED_AGAIN_MILLISECONDS))
    const waiting = [...contacts]
    contacts.clear()
    for (let at = 0; at < waiting.length; at += CONTACTS_AT_ONCE) {
      const some = waiting.slice(at, at + CONTACTS_AT_ONCE)
      await keep(db, [
        {
          sql: `INSERT INTO ddi_contact (device_id, organization_id, seen_at) VALUES ${some.map(() => '(?, ?, ?)').join(', ')}
              ON CONFLICT (device_id) DO UPDATE SET seen_at = excluded.seen_at`,
          parameters: some.flatMap(([deviceId, seenAt]) => [deviceId, organizationId, seenAt]),
        },
      ])
    }
  }

  return {
    authenticate,
    poll,
    deployment,
    toConfirm,
    installed,
    artifact,
    /** Writes down who was heard of; to be called now and then. What a crash loses is known again a few minutes later. */
    writeContacts,

    async checkCanceled({ deviceId }: Visitor, number: number): Promise<void> {
      const { state, isCancelAsked } = await openAction(db, number, deviceId)
      if (!isOpen(state) || !isCancelAsked) throw notOffered(number)
    },

    async confirmations(visitor: Visitor) {
      const row = await autoConfirmationOf(visitor)
      const [open] = await db.query<OpenRow>(OPEN_QUERY, visitor.deviceId)
      const offer: Pick<Poll, 'confirmation'> = open === undefined ? {} : await offerOf(visitor, open)
      return {
        waiting: offer.confirmation,
        autoConfirm: row && {
          initiator: (row['initiator'] as string | null) ?? undefined,
          remark: (row['remark'] as string | null) ?? undefined,
          activatedAt: new Date(row['created_at'] as number),
        },
      }
    },

    async confirm(
      visitor: Visitor,
      number: number,
      { confirmation, details }: { readonly confirmation: 'confirmed' | 'denied'; readonly details: readonly string[] },
    ): Promise<void> {
      const action = await openAction(db, number, visitor.deviceId)
      const campaign = await campaignById(db, action.campaignId)
      if (campaign.terms.consent !== 'driver') throw notOffered(number)
      const actor = `device:${visitor.deviceId}`
      if (confirmation === 'confirmed' && action.consentId !== undefined && isOpen(action.state)) return // our answer was lost
      if (action.state !== 'offered' || !mayGoOn(action, campaign.state)) throw isOver(action)
      if (confirmation === 'denied')
        await end(action, { state: 'rejected', reason: 'driverDenied', detail: details.join('; ') }, actor)
      else await agree(action, campaign, { by: 'driver', actor, owner: visitor.ownerId, remarks: details })
    },

    async setAutoConfirmation(
      visitor: Visitor,
      wanted: { readonly initiator: string | undefined; readonly remark: string | undefined } | undefined,
    ): Promise<void> {
      const { deviceId, epoch } = visitor
      const now = world.clock.now()
      const before = await autoConfirmationOf(visitor)
      const isSame =
        wanted === undefined
          ? before === undefined
          : before?.['initiator'] === (wanted.initiator ?? null) && before['remark'] === (wanted.remark ?? null)
      if (isSame) return
      if (wanted !== undefined && now - (agreedAt.get(deviceId) ?? 0) < AGREED_AGAIN_MILLISECONDS)
        throw new TrustError('rateLimited', 'tooManyRequests', { retryAfterSeconds: AGREED_AGAIN_MILLISECONDS / 1000 })
      if (wanted !== undefined) agreedAt.set(deviceId, now)
      const actor = `device:${deviceId}`
      const act = wanted === undefined ? 'ddi.auto-confirm-off' : 'ddi.auto-confirm-on'
      const step =
        wanted === undefined
          ? { sql: 'DELETE FROM ddi_auto_confirmation WHERE device_id = ?', parameters: [deviceId] }
          : {
              sql: `INSERT INTO ddi_auto_confirmation (device_id, organization_id, version, epoch, initiator, remark, created_at)
                  VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET epoch = excluded.epoch, initiator = excluded.initiator,
                  remark = excluded.remark, created_at = excluded.created_at, version = ddi_auto_confirmation.version + 1`,
              parameters: [deviceId, organizationId, epoch, wanted.initiator ?? null, wanted.remark ?? null, now],
            }
      await keep(db, [step, context.audit.statement({ actor, act, object: actor, outcome: 'done', facts: {} })])
    },

    feedback: (visitor: Visitor, number: number, feedback: Feedback): Promise<void> =>
      move(visitor, number, (action) => changeBy(action, feedback), [feedbackStep(number, feedback)]),

    /** Closed or canceled: it gave up. Rejected: it cannot any more, and goes on. */
    cancelFeedback: (visitor: Visitor, number: number, feedback: Feedback): Promise<void> =>
      move(
        visitor,
        number,
        (action) => {
          if (!isOpen(action.state)) return repeated(action, 'canceled')
          if (!action.isCancelAsked) throw notOffered(number)
          const { execution, finished } = feedback
          if (execution === 'rejected' || (execution === 'closed' && finished === 'failure')) return { isCancelAsked: false }
          return execution === 'closed' || execution === 'canceled'
            ? { state: 'canceled', reason: 'campaignStopped', isCancelAsked: false }
            : undefined
        },
        [feedbackStep(number, feedback)],
      ),

    async setAttributes(
      { deviceId }: Visitor,
      mode: 'merge' | 'replace' | 'remove',
      data: Readonly<Record<string, string>>,
    ): Promise<void> {
      const before = mode === 'replace' ? {} : await attributesOf(deviceId)
      const kept = Object.entries({ ...before, ...(mode === 'remove' ? {} : data) }).filter(
        ([name, value]) => value !== '' && !(mode === 'remove' && name in data),
      )
      if (kept.length > ATTRIBUTES_MAX)
        throw new TrustError('tooLarge', 'ddiTooManyAttributes', { facts: { limit: ATTRIBUTES_MAX } })
      await keep(db, [
        {
          sql: `INSERT INTO ddi_attributes (device_id, organization_id, version, data, changed_at) VALUES (?, ?, 1, ?, ?)
              ON CONFLICT (device_id) DO UPDATE SET data = excluded.data, changed_at = excluded.changed_at,
              version = ddi_attributes.version + 1`,
          parameters: [deviceId, organizationId, JSON.stringify(Object.fromEntries(kept)), world.clock.now()],
        },
      ])
    },
  }
}

/** Of one device, however often it adds some. */
const ATTRIBUTES_MAX = 100

interface OpenRow extends Row {
  readonly campaign_state: CampaignState
  readonly campaign_version: number
}
interface PaperRow extends Row {
  readonly name: string
  readonly octets: Uint8Array
  readonly expires_at: number
}
type Paper = Pick<PaperRow, 'name' | 'octets'>

const OPEN_QUERY = `SELECT campaign_action.*, campaign.state AS campaign_state, campaign.version AS campaign_version
  FROM campaign_action JOIN campaign ON campaign.id = campaign_action.campaign_id
  WHERE campaign_action.device_id = ? AND campaign_action.state IN (${OPEN_STATES})`

const INSTALLED_QUERY =
  "SELECT number FROM campaign_action WHERE device_id = ? AND state = 'succeeded' ORDER BY number DESC LIMIT 1"

const notOffered = (action: number): TrustError => new TrustError('notFound', 'actionNotOffered', { facts: { action } })
const isOver = ({ number, state }: Action): TrustError =>
  new TrustError('conflict', 'actionOver', { facts: { action: number, state } })

const hasBegun = ({ state }: Pick<Action, 'state'>): boolean => state === 'downloading' || state === 'installing'

/** A campaign that is paused or stopped lets those finish who have begun. */
const mayGoOn = (action: Action, state: CampaignState): boolean => state === 'running' || (state !== 'draft' && hasBegun(action))

const isConsentMissing = ({ consentId }: Action, { terms }: Campaign): boolean =>
  terms.consent !== 'none' && consentId === undefined

/** A client repeats what it said when our answer was lost. @throws TrustError `conflict` for something else about an action that is over */
function repeated(action: Action, said: Action['state']): undefined {
  if (action.state !== said) throw isOver(action)
  return undefined
}

function changeBy(action: Action, { execution, finished, details, code }: Feedback): ActionChange | undefined {
  const failed = execution === 'closed' && finished === 'failure'
  const ending = failed ? 'failed' : execution === 'canceled' ? 'canceled' : execution === 'rejected' ? 'rejected' : undefined
  const detail = [...(code === undefined ? [] : [`code ${code}`]), ...details].join('; ')
  if (!isOpen(action.state)) return repeated(action, ending ?? 'succeeded')
  switch (ending) {
    case 'failed':
      return { state: 'failed', reason: 'deviceFailed', detail }
    case 'canceled':
      return { state: 'canceled', reason: 'deviceCanceled', detail, isCancelAsked: false }
    case 'rejected':
      return { state: 'rejected', reason: 'deviceRejected', detail, isCancelAsked: false }
    default:
      return progressBy(action, execution)
  }
}

function progressBy({ state, said }: Action, execution: Feedback['execution']): ActionChange | undefined {
  if (execution === 'closed')
    return said === 'success' && state === 'installing' ? undefined : { state: 'installing', said: 'success' }
  if (state === 'installing') return undefined
  if (execution === 'downloaded') return { state: 'installing' }
  if (state === 'downloading') return undefined
  return execution === 'download' || execution === 'proceeding' ? { state: 'downloading' } : undefined
}

const factsOfArtifact = (row: Row): Facts => ({
  filename: row['name'] as string,
  octets: row['octets'] as number,
  hashes: { sha1: row['sha1'] as string, md5: row['md5'] as string, sha256: row['sha256'] as string },
})

function factsOfPaper({ name, octets }: Paper): Facts {
  const hex = (algorithm: string): string => createHash(algorithm).update(octets).digest('hex')
  return { filename: name, octets: octets.length, hashes: { sha1: hex('sha1'), md5: hex('md5'), sha256: hex('sha256') } }
}

const piecesOf = (octets: Uint8Array) =>
  async function* (start: number, end: number): AsyncGenerator<Uint8Array> {
    yield octets.subarray(start, end)
  }
