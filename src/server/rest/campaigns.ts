/** REST: campaigns over releases, how far they are and who lags behind; and the doors that devices come to. @module */
import { Type } from 'typebox'
import {
  type Campaign,
  consentForOwner,
  createCampaign,
  listCampaigns,
  openCampaign,
  openNextWave,
  pauseCampaign,
  resumeCampaign,
  startCampaign,
  stopCampaign,
} from '#updates/campaigns/campaigns.ts'
import type { CampaignsContext } from '#updates/campaigns/context.ts'
import { lagReasons, laggardsOf, progressOf } from '#updates/campaigns/progress.ts'
import { actionStates, campaignStates } from '#updates/campaigns/states.ts'
import { createToken, listTenants, pollingSeconds, putTenant, TENANT_NAME } from '#updates/campaigns/tenants.ts'
import { CampaignTerms, LISTED_MAX } from '#updates/campaigns/terms.ts'
import { recordingRefusals } from './refusals.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Time, Uuid } from './shapes.ts'

const Name = Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{0,62}$', description: 'the name of the campaign' })
const Count = Type.Integer({ minimum: 0 })
const Wave = Type.Integer({ minimum: 0, description: 'counted from 1; 0 before the first is open' })
const ByName = Type.Object({ name: Name })
const Why = record({ reason: Type.String({ minLength: 1, maxLength: 500, description: 'for the audit log' }) })
const orNull = <T>(value: T | undefined): T | null => value ?? null

const CampaignShape = record({
  id: Uuid,
  name: Name,
  state: Type.Enum([...campaignStates]),
  reason: Type.Union([Type.String(), Type.Null()]),
  component: Type.String(),
  version: Type.String(),
  devices: Count,
  wave: Wave,
  terms: CampaignTerms,
  createdAt: Time,
  startedAt: Type.Union([Time, Type.Null()]),
  endedAt: Type.Union([Time, Type.Null()]),
})

const TallyShape = Type.Object(
  Object.fromEntries(actionStates.map((state) => [state, Count])) as Record<(typeof actionStates)[number], typeof Count>,
)
const ProgressShape = record({
  state: Type.Enum([...campaignStates]),
  devices: Count,
  wave: Wave,
  states: TallyShape,
  waves: Type.Array(record({ wave: Wave, devices: Count, openedAt: Type.Union([Time, Type.Null()]), states: TallyShape })),
  reasons: Type.Array(record({ state: Type.Enum([...actionStates]), reason: Type.String(), devices: Count })),
})
const LaggardShape = record({
  action: Count,
  device: Uuid,
  productSerial: Type.Union([Type.String(), Type.Null()]),
  wave: Wave,
  state: Type.Enum([...actionStates]),
  lag: Type.Enum([...lagReasons]),
  reason: Type.Union([Type.String(), Type.Null()]),
  detail: Type.Union([Type.String({ description: 'in the words of the device' }), Type.Null()]),
  seenAt: Type.Union([Time, Type.Null()]),
  changedAt: Time,
})

const TenantName = Type.String({ pattern: TENANT_NAME.source })
const TenantShape = record({
  name: TenantName,
  pollingSeconds: Type.Integer({ minimum: pollingSeconds.least, maximum: pollingSeconds.most }),
  takesTokens: Type.Boolean({ description: 'devices may come with a token alone, without a certificate' }),
  state: Type.Enum(['enabled', 'disabled']),
})

const timeOf = (at: number): string => new Date(at).toISOString()
const timeOrNull = (at: number | undefined): string | null => (at === undefined ? null : timeOf(at))

const shown = ({ releaseVersion, size, wave, createdAt, startedAt, endedAt, ...campaign }: Campaign) => ({
  ...{ id: campaign.id, name: campaign.name, state: campaign.state, reason: orNull(campaign.reason) },
  ...{ component: campaign.component, version: releaseVersion, devices: size, wave: wave + 1, terms: campaign.terms },
  ...{ createdAt: timeOf(createdAt), startedAt: timeOrNull(startedAt), endedAt: timeOrNull(endedAt) },
})

export function campaignRoutes(campaigns: CampaignsContext) {
  const refusable = <T>(actor: string, act: string, name: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(campaigns.audit, { actor, act: `campaign.${act}`, object: `campaign:${name}` }, work)
  return [
    route({
      id: 'listCampaigns',
      method: 'GET',
      path: '/api/v1/campaigns',
      permission: 'campaign.read',
      summary: 'Campaigns, newest first',
      query: record(pageQuery),
      response: page(CampaignShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor } }) {
        const found = await listCampaigns(campaigns, { limit, after: cursor })
        return pageOf(found.map(shown), found.length === limit ? found.at(-1)?.id : undefined)
      },
    }),
    route({
      id: 'createCampaign',
      method: 'POST',
      path: '/api/v1/campaigns',
      permission: 'campaign.manage',
      summary: 'Plan which devices get a release, in which waves, when, and with whose consent',
      body: record({ name: Name, terms: CampaignTerms }),
      bodyMaxOctets: LISTED_MAX * 48,
      response: CampaignShape,
      status: 201,
      handle: async ({ actor }, { body: { name, terms } }) =>
        shown(await refusable(actor, 'create', name, () => createCampaign(campaigns, name, terms, actor))),
    }),
    route({
      id: 'showCampaign',
      method: 'GET',
      path: '/api/v1/campaigns/{name}',
      permission: 'campaign.read',
      summary: 'One campaign',
      params: ByName,
      response: CampaignShape,
      handle: async (_, { params: { name } }) => shown(await openCampaign(campaigns, name)),
    }),
    route({
      id: 'startCampaign',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/start',
      permission: 'campaign.manage',
      summary: 'List the devices that match now, and open the first wave',
      params: ByName,
      response: CampaignShape,
      handle: async ({ actor }, { params: { name } }) =>
        shown(await refusable(actor, 'start', name, () => startCampaign(campaigns, name, actor))),
    }),
    route({
      id: 'pauseCampaign',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/pause',
      permission: 'campaign.manage',
      summary: 'Offer it to nobody until it goes on; who has begun may finish',
      params: ByName,
      body: Why,
      response: CampaignShape,
      handle: async ({ actor }, { params: { name }, body: { reason } }) =>
        shown(await refusable(actor, 'pause', name, () => pauseCampaign(campaigns, name, reason, actor))),
    }),
    route({
      id: 'resumeCampaign',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/resume',
      permission: 'campaign.manage',
      summary: 'Go on with a campaign that is paused',
      params: ByName,
      response: CampaignShape,
      handle: async ({ actor }, { params: { name } }) =>
        shown(await refusable(actor, 'resume', name, () => resumeCampaign(campaigns, name, actor))),
    }),
    route({
      id: 'stopCampaign',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/stop',
      permission: 'campaign.manage',
      summary: 'Stop for good; who has begun is told to give it up',
      params: ByName,
      body: Why,
      response: CampaignShape,
      handle: async ({ actor }, { params: { name }, body: { reason } }) =>
        shown(await refusable(actor, 'stop', name, () => stopCampaign(campaigns, name, reason, actor))),
    }),
    route({
      id: 'openNextWave',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/next-wave',
      permission: 'campaign.manage',
      summary: 'Open the next wave, whatever came of the one before',
      params: ByName,
      response: CampaignShape,
      handle: async ({ actor }, { params: { name } }) =>
        shown(await refusable(actor, 'open-wave', name, () => openNextWave(campaigns, name, actor))),
    }),
    route({
      id: 'consentToCampaign',
      method: 'POST',
      path: '/api/v1/campaigns/{name}/consents',
      permission: 'campaign.manage',
      summary: 'Say for the owner that they agree, for devices that are offered it and are theirs',
      params: ByName,
      body: record({
        owner: Type.String({ minLength: 1, maxLength: 160 }),
        devices: Type.Array(Uuid, { minItems: 1, maxItems: LISTED_MAX, uniqueItems: true }),
      }),
      bodyMaxOctets: LISTED_MAX * 48,
      response: record({ devices: Count }),
      async handle({ actor }, { params: { name }, body: { owner, devices } }) {
        const consent = () => consentForOwner(campaigns, name, { owner, deviceIds: devices }, actor)
        return { devices: await refusable(actor, 'consent', name, consent) }
      },
    }),
    route({
      id: 'campaignProgress',
      method: 'GET',
      path: '/api/v1/campaigns/{name}/progress',
      permission: 'campaign.read',
      summary: 'How many devices are where, wave by wave, and why some ended otherwise',
      params: ByName,
      response: ProgressShape,
      async handle(_, { params: { name } }) {
        const campaign = await openCampaign(campaigns, name)
        const { states, waves, reasons } = await progressOf(campaigns, campaign)
        return {
          ...{ state: campaign.state, devices: campaign.size, wave: campaign.wave + 1, states: { ...states } },
          waves: waves.map(({ wave, size, openedAt, states: tally }) => ({
            ...{ wave: wave + 1, devices: size, openedAt: timeOrNull(openedAt), states: { ...tally } },
          })),
          reasons: reasons.map((one) => ({ ...one })),
        }
      },
    }),
    route({
      id: 'campaignLaggards',
      method: 'GET',
      path: '/api/v1/campaigns/{name}/laggards',
      permission: 'campaign.read',
      summary: 'Devices of open waves that do not run the new version, and why',
      params: ByName,
      query: record({ ...pageQuery, state: Type.Optional(Type.Enum(actionStates.filter((state) => state !== 'succeeded'))) }),
      response: page(LaggardShape),
      async handle(_, { params: { name }, query: { limit = PAGE_DEFAULT, cursor, state } }) {
        const campaign = await openCampaign(campaigns, name)
        const after = cursor === undefined || !/^\d{1,15}$/.test(cursor) ? 0 : Number(cursor)
        const found = await laggardsOf(campaigns, campaign, { limit, after, state })
        const items = found.map(({ deviceId, name: productSerial, wave, reason, detail, seenAt, changedAt, ...laggard }) => ({
          ...{ ...laggard, device: deviceId, productSerial: orNull(productSerial), wave: wave + 1 },
          ...{ reason: orNull(reason), detail: orNull(detail), seenAt: timeOrNull(seenAt), changedAt: timeOf(changedAt) },
        }))
        return pageOf(items, found.length === limit ? String(found.at(-1)?.action) : undefined)
      },
    }),
    route({
      id: 'listUpdateTenants',
      method: 'GET',
      path: '/api/v1/update-tenants',
      permission: 'campaign.read',
      summary: 'The addresses at which devices ask for updates (DDI)',
      response: record({ items: Type.Array(TenantShape) }),
      handle: async () => ({ items: (await listTenants(campaigns)).map((tenant) => ({ ...tenant })) }),
    }),
    route({
      id: 'putUpdateTenant',
      method: 'PUT',
      path: '/api/v1/update-tenants/{name}',
      permission: 'campaign.manage',
      summary: 'Open an address at which devices ask for updates, or change what is told of it',
      params: Type.Object({ name: TenantName }),
      body: record({
        pollingSeconds: TenantShape.properties.pollingSeconds,
        takesTokens: Type.Optional(TenantShape.properties.takesTokens),
        state: Type.Optional(TenantShape.properties.state),
      }),
      response: TenantShape,
      async handle({ actor }, { params: { name }, body: { pollingSeconds: seconds, takesTokens = false, state = 'enabled' } }) {
        const tenant = { name, pollingSeconds: seconds, takesTokens, state }
        await refusable(actor, 'tenant', name, () => putTenant(campaigns, tenant, actor))
        return tenant
      },
    }),
    route({
      id: 'createUpdateToken',
      method: 'POST',
      path: '/api/v1/devices/{id}/update-token',
      permission: 'campaign.manage',
      summary: 'Make a token by which a device without a certificate asks for updates; the one before ends',
      params: Type.Object({ id: Uuid }),
      response: record({ token: Type.String() }),
      status: 201,
      answersSecret: true,
      async handle({ actor }, { params: { id } }) {
        return { token: await refusable(actor, 'token', id, () => createToken(campaigns, id, actor)) }
      },
    }),
  ] as const
}
