/** REST: devices, what became of them, and whether their certificates may be used. @module */
import { Type } from 'typebox'
import { asTrustError, TrustError } from '#base/errors.ts'
import { sentence } from '#base/sentences.ts'
import { listEndpoints } from '#ca/endpoint.ts'
import { findArea, listAreas, openArea } from '#devices/areas.ts'
import { changeState, setFlag } from '#devices/change.ts'
import { type AssuranceLevel, type Device, deviceFlags, deviceKinds, openDevice } from '#devices/device.ts'
import type { EndpointRule } from '#devices/enrollment.ts'
import { historyOf } from '#devices/history.ts'
import { findModel, listModels, listRevisions, openModel } from '#devices/models.ts'
import { findOrganization, listOrganizations, openOrganization } from '#devices/organizations.ts'
import { productionOf } from '#devices/produced.ts'
import { findDevices, type NewDevice, registerDevice } from '#devices/register.ts'
import { LIST_MAX, registerList } from '#devices/register-list.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import { type DeviceAct, deviceStates } from '#devices/states.ts'
import { isUsable } from '#devices/usable.ts'
import type { CAServices } from '../compose.ts'
import { Assurance, CatalogName, Variant } from './device-catalog.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

export const ProductSerial = Type.String({
  minLength: 1,
  maxLength: 64,
  // what a label cannot show, and PostgreSQL does not keep
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$',
  description: "a device's serial, as its maker writes it",
})
const InCatalog = Type.String({ pattern: '^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$', description: 'two names with a slash between' })
const State = Type.Enum([...deviceStates])
const Flag = Type.Enum([...deviceFlags])
/** {@link LIST_MAX} devices with long names. */
const LIST_MAX_OCTETS = 512 << 10
const ById = Type.Object({ id: Uuid })
const ByLabel = Type.Object({ label: CatalogName })

const DeviceShape = record({
  id: Uuid,
  version: Type.Integer({ description: 'grows with every change' }),
  manufacturer: CatalogName,
  model: Type.String({ description: 'MANUFACTURER/MODEL' }),
  revision: Type.Optional(CatalogName),
  kind: Type.Enum([...deviceKinds]),
  productSerial: ProductSerial,
  state: State,
  quarantinedFrom: Type.Optional(State),
  assurance: Assurance,
  epoch: Type.Integer({ description: 'of its ownership; 0 before anybody claimed it' }),
  owner: Type.Optional(CatalogName),
  area: Type.Optional(Type.String({ description: 'OWNER/AREA' })),
  nextArea: Type.Optional(Type.String({ description: 'OWNER/AREA, while it changes' })),
  flags: Type.Array(Flag),
  createdAt: Time,
  changedAt: Time,
})

const Facts = Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]))
const SpanShape = record({ name: Type.String(), epoch: Type.Integer(), from: Time, until: Type.Optional(Time) })
const HistoryShape = record({
  device: DeviceShape,
  events: Type.Array(
    record({
      version: Type.Integer(),
      at: Time,
      act: Type.String(),
      from: Type.Optional(State),
      to: Type.Optional(State),
      epoch: Type.Integer(),
      actor: Type.String(),
      facts: Facts,
    }),
  ),
  birth: Type.Optional(
    record({
      at: Time,
      variant: Variant,
      assurance: Assurance,
      certificate: Type.String(),
      key: Type.String({ description: 'SHA-256 of the SubjectPublicKeyInfo, hexadecimal' }),
      job: Type.Optional(Type.String()),
      node: Type.Optional(Type.String()),
      station: Type.Optional(Type.String()),
      logNumber: Type.Optional(Type.Integer()),
      evidence: Facts,
      digest: Type.String({ description: 'as its entry in the audit log has it' }),
    }),
  ),
  certificates: Type.Array(
    record({
      id: Type.String(),
      role: Type.String(),
      epoch: Type.Integer(),
      area: Type.Optional(Type.String()),
      standing: Type.Enum(['issued', 'current', 'former']),
      at: Time,
    }),
  ),
  owners: Type.Array(SpanShape),
  areas: Type.Array(SpanShape),
})

const RuleShape = Type.Union([
  record({
    kind: Type.Literal('birth'),
    model: InCatalog,
    revision: Type.Optional(CatalogName),
    variant: Variant,
    assurance: Assurance,
    unknown: Type.Enum(['record', 'refuse'], { description: 'what becomes of a device that nobody planned' }),
  }),
  record({
    kind: Type.Literal('area'),
    area: InCatalog,
    unknown: Type.Enum(['refuse', 'pass'], { description: 'what becomes of a device that is not recorded here' }),
  }),
])

const timeOf = (at: number): string => new Date(at).toISOString()

/** What an officer does by hand; owners and areas have commands of their own. */
const byHand = {
  releaseDevice: ['release', 'The device is found good at the end of the line'],
  scrapDevice: ['scrap', 'The device goes no further; its certificates are revoked'],
  shipDevice: ['ship', 'The device leaves its maker'],
  suspendDevice: ['suspend', 'Put the device and its certificates on hold'],
  resumeDevice: ['resume', 'Let the device go on'],
  quarantineDevice: ['quarantine', 'Trust nothing of the device until it is cleared'],
  clearDevice: ['clear', 'The device is what it was before its quarantine'],
  decommissionDevice: ['decommission', 'The device ends; its certificates are revoked'],
} as const satisfies Readonly<Record<string, readonly [DeviceAct, string]>>
type ByHand = keyof typeof byHand

/** What routes show of records that refer to each other by ids. */
interface Names {
  readonly organizations: ReadonlyMap<string, string>
  readonly models: ReadonlyMap<string, string>
  readonly areas: ReadonlyMap<string, string>
}

export function deviceRoutes({ devices, context: ca }: Pick<CAServices, 'devices' | 'context'>) {
  const { context, enrollment } = devices
  const { db } = context

  async function namesOf(): Promise<Names> {
    const [organizations, models, areas] = await Promise.all([
      listOrganizations(context),
      listModels(context),
      listAreas(context),
    ])
    const byId = new Map(organizations.map(({ id, name }) => [id, name]))
    const within = (ownerId: string, name: string): string => `${byId.get(ownerId) ?? ''}/${name}`
    return {
      organizations: byId,
      models: new Map(models.map(({ id, manufacturerId, name }) => [id, within(manufacturerId, name)])),
      areas: new Map(areas.map(({ id, ownerId, name }) => [id, within(ownerId, name)])),
    }
  }

  async function shape(device: Device, names: Names) {
    const { id, version, kind, productSerial, state, assurance, epoch, quarantinedFrom, ownerId, areaId, nextAreaId } = device
    const revision =
      device.revisionId && (await listRevisions(context, device.modelId)).find((one) => one.id === device.revisionId)?.name
    return {
      ...{ id, version, kind, productSerial, state, assurance, epoch },
      manufacturer: names.organizations.get(device.manufacturerId) ?? '',
      model: names.models.get(device.modelId) ?? '',
      ...(revision !== undefined && { revision }),
      ...(quarantinedFrom !== undefined && { quarantinedFrom }),
      ...(ownerId !== undefined && { owner: names.organizations.get(ownerId) ?? '' }),
      ...(areaId !== undefined && { area: names.areas.get(areaId) ?? '' }),
      ...(nextAreaId !== undefined && { nextArea: names.areas.get(nextAreaId) ?? '' }),
      flags: [...device.flags],
      createdAt: timeOf(device.createdAt),
      changedAt: timeOf(device.changedAt),
    }
  }
  const shown = async (device: Device) => shape(device, await namesOf())

  const inCatalog = async (written: string): Promise<readonly [organizationId: string, name: string]> => {
    const [organization = '', name = ''] = written.split('/')
    return [(await findOrganization(context, db, organization)).id, name]
  }
  const revisionOf = async (modelId: string, name: string): Promise<string> => {
    const revision = (await listRevisions(context, modelId)).find((one) => one.name === name)
    if (revision === undefined) throw new TrustError('notFound', 'revisionUnknown', { facts: { name } })
    return revision.id
  }

  /** The authorities are told before the answer, so that whoever suspends a device finds its certificates on hold. */
  const changing = ({ actor }: Call, id: string, act: string, work: () => Promise<Device>) =>
    recordingRefusals(context.audit, { actor, act: `device.${act}`, object: `device:${id}` }, async () => {
      const device = await work()
      await devices.tellDue()
      return shown(device)
    })

  const endpointId = async (label: string): Promise<string> => {
    const endpoint = (await listEndpoints(ca)).find((one) => one.label === label)
    if (endpoint === undefined) throw new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: label } })
    return endpoint.id
  }
  /** Whose devices, or whose area, an endpoint's rule is about. */
  const concernedBy = async (rule: EndpointRule) =>
    openOrganization(
      db,
      rule.kind === 'area' ? (await openArea(db, rule.areaId)).ownerId : (await openModel(db, rule.modelId)).manufacturerId,
    )
  const ruleShape = async (rule: EndpointRule) => {
    const names = await namesOf()
    if (rule.kind === 'area') return { kind: rule.kind, area: names.areas.get(rule.areaId) ?? '', unknown: rule.unknown }
    const { kind, variant, assurance, unknown, modelId, revisionId } = rule
    const revision = (await listRevisions(context, modelId)).find(({ id }) => id === revisionId)?.name
    return {
      kind,
      model: names.models.get(modelId) ?? '',
      ...(revision !== undefined && { revision }),
      variant,
      assurance,
      unknown,
    }
  }

  const acting = <Id extends ByHand>(id: Id) => {
    const [act, summary] = byHand[id]
    return route({
      id,
      method: 'POST',
      path: `/api/v1/devices/{id}/${act}`,
      permission: 'device.change',
      summary,
      params: ById,
      body: record({ reason: Type.Optional(Type.String({ maxLength: 200, description: 'for the history; nothing personal' })) }),
      response: DeviceShape,
      handle: (call, { params, body: { reason } }) =>
        changing(call, params.id, act, () =>
          changeState(context, params.id, { act, actor: call.actor, ...(reason !== undefined && { facts: { reason } }) }),
        ),
    })
  }

  return [
    route({
      id: 'findDevices',
      method: 'GET',
      path: '/api/v1/devices',
      permission: 'device.read',
      summary: 'Find devices, newest first',
      query: record({
        productSerial: Type.Optional(ProductSerial),
        model: Type.Optional(InCatalog),
        manufacturer: Type.Optional(CatalogName),
        owner: Type.Optional(CatalogName),
        area: Type.Optional(InCatalog),
        state: Type.Optional(State),
        flag: Type.Optional(Flag),
        ...pageQuery,
      }),
      response: page(DeviceShape),
      async handle(_, { query: { productSerial, model, manufacturer, owner, area, state, flag, limit = PAGE_DEFAULT, cursor } }) {
        const organization = async (name: string): Promise<string> => (await findOrganization(context, db, name)).id
        const found = await findDevices(
          context,
          {
            ...(productSerial !== undefined && { productSerial }),
            ...(model !== undefined && { modelId: (await findModel(db, ...(await inCatalog(model)))).id }),
            ...(manufacturer !== undefined && { manufacturerId: await organization(manufacturer) }),
            ...(owner !== undefined && { ownerId: await organization(owner) }),
            ...(area !== undefined && { areaId: (await findArea(db, ...(await inCatalog(area)))).id }),
            ...(state !== undefined && { state }),
            ...(flag !== undefined && { flag }),
          },
          { limit: limit + 1, ...(cursor !== undefined && { after: cursor }) },
        )
        const names = await namesOf()
        const items = await Promise.all(found.slice(0, limit).map((device) => shape(device, names)))
        return pageOf(items, found.length > limit ? items.at(-1)?.id : undefined)
      },
    }),
    route({
      id: 'registerDevice',
      method: 'POST',
      path: '/api/v1/devices',
      permission: 'device.register',
      summary: 'Plan a device: its serial belongs to its model from now on',
      body: record({
        model: InCatalog,
        productSerial: ProductSerial,
        revision: Type.Optional(CatalogName),
        kind: Type.Optional(Type.Enum([...deviceKinds])),
      }),
      response: DeviceShape,
      status: 201,
      async handle({ actor }, { body: { model, revision, productSerial, kind } }) {
        const { id: modelId, manufacturerId } = await findModel(db, ...(await inCatalog(model)))
        const wanted = {
          ...{ manufacturerId, modelId, productSerial },
          ...(kind !== undefined && { kind }),
          ...(revision !== undefined && { revisionId: await revisionOf(modelId, revision) }),
        }
        const attempt = { actor, act: 'device.register', object: `model:${modelId}` }
        return recordingRefusals(context.audit, attempt, async () => shown(await registerDevice(context, wanted, actor)))
      },
    }),
    route({
      id: 'registerDevices',
      method: 'POST',
      path: '/api/v1/devices/list',
      permission: 'device.register',
      summary: 'Plan devices of a list: all of the batch, or none with a word on each that is in the way',
      bodyMaxOctets: LIST_MAX_OCTETS,
      body: record({
        devices: Type.Array(
          record({
            model: InCatalog,
            productSerial: ProductSerial,
            revision: Type.Optional(CatalogName),
            kind: Type.Optional(Type.Enum([...deviceKinds])),
          }),
          { minItems: 1, maxItems: LIST_MAX },
        ),
      }),
      response: record({
        registered: Type.Integer({ description: 'new here' }),
        known: Type.Integer({ description: 'registered before, as this very model' }),
        refused: Type.Array(
          record({ at: Type.Integer({ description: 'in the batch, from 0' }), reason: Type.String(), problem: Type.String() }),
        ),
      }),
      async handle({ actor }, { body: { devices: lines } }) {
        const attempt = { actor, act: 'device.register', object: 'devices:list' }
        return recordingRefusals(context.audit, attempt, async () => {
          const models = new Map<string, Promise<{ readonly id: string; readonly manufacturerId: string }>>()
          const revisions = new Map<string, Promise<string>>()
          const once = <T>(known: Map<string, Promise<T>>, name: string, find: () => Promise<T>): Promise<T> => {
            const found = known.get(name) ?? find()
            known.set(name, found)
            return found
          }
          const wanted: NewDevice[] = []
          const unknown: { at: number; reason: string; problem: string }[] = []
          for (const [at, { model, revision, productSerial, kind }] of lines.entries()) {
            try {
              const { id: modelId, manufacturerId } = await once(models, model, async () =>
                findModel(db, ...(await inCatalog(model))),
              )
              const revisionId = revision && (await once(revisions, `${model} ${revision}`, () => revisionOf(modelId, revision)))
              wanted.push({
                ...{ manufacturerId, modelId, productSerial },
                ...(kind !== undefined && { kind }),
                ...(revisionId !== undefined && { revisionId }),
              })
            } catch (thrown) {
              const { code, reason, message } = asTrustError(thrown)
              if (code !== 'notFound') throw thrown
              unknown.push({ at, reason, problem: message })
            }
          }
          if (unknown.length > 0) return { registered: 0, known: 0, refused: unknown }
          const { registered, known, refused } = await registerList(context, wanted, actor)
          return { registered, known, refused: refused.map(({ at, reason }) => ({ at, reason, problem: sentence(reason, {}) })) }
        })
      },
    }),
    route({
      id: 'showDevice',
      method: 'GET',
      path: '/api/v1/devices/{id}',
      permission: 'device.read',
      summary: 'One device',
      params: ById,
      response: record({
        ...DeviceShape.properties,
        order: Type.Optional(Type.String({ description: 'the production order that it was born for' })),
        job: Type.Optional(
          Type.String({ description: 'the job of an issuing node, or the part of a line here, that counted its birth' }),
        ),
      }),
      handle: async (_, { params: { id } }) => ({
        ...(await shown(await openDevice(context, db, id))),
        ...(await productionOf(context, id)),
      }),
    }),
    route({
      id: 'showDeviceHistory',
      method: 'GET',
      path: '/api/v1/devices/{id}/history',
      permission: 'device.read',
      summary: 'What became of a device, from its first record to now',
      params: ById,
      response: HistoryShape,
      async handle(_, { params: { id } }) {
        const device = await openDevice(context, db, id)
        const names = await namesOf()
        const { events, birth, certificates, epochs, areas } = await historyOf(context, id)
        const span = (of: ReadonlyMap<string, string>) => (one: (typeof epochs)[number]) => ({
          ...{ name: of.get(one.id) ?? one.id, epoch: one.epoch, from: timeOf(one.openedAt) },
          ...(one.closedAt !== undefined && { until: timeOf(one.closedAt) }),
        })
        return {
          device: await shape(device, names),
          events: events.map(({ version, at, act, from, to, epoch, actor, facts }) => ({
            ...{ version, at: timeOf(at), act, epoch, actor, facts: { ...facts } },
            ...(from !== undefined && { from }),
            ...(to !== undefined && { to }),
          })),
          ...(birth !== undefined && { birth: birthShape(birth) }),
          certificates: certificates.map(({ certificateId, role, epoch, areaId, standing, createdAt }) => ({
            ...{ id: certificateId, role, epoch, standing, at: timeOf(createdAt) },
            ...(areaId !== undefined && { area: names.areas.get(areaId) ?? areaId }),
          })),
          owners: epochs.map(span(names.organizations)),
          areas: areas.map(span(names.areas)),
        }
      },
    }),
    acting('releaseDevice'),
    acting('scrapDevice'),
    acting('shipDevice'),
    acting('suspendDevice'),
    acting('resumeDevice'),
    acting('quarantineDevice'),
    acting('clearDevice'),
    acting('decommissionDevice'),
    route({
      id: 'flagDevice',
      method: 'PUT',
      path: '/api/v1/devices/{id}/flags/{flag}',
      permission: 'device.change',
      summary: 'Say that a device is lost, stolen or a clone: its certificates are refused from now on',
      params: Type.Object({ id: Uuid, flag: Flag }),
      body: Empty,
      response: DeviceShape,
      handle: (call, { params: { id, flag } }) =>
        changing(call, id, 'flag', () => setFlag(context, id, { flag, isSet: true, actor: call.actor })),
    }),
    route({
      id: 'unflagDevice',
      method: 'DELETE',
      path: '/api/v1/devices/{id}/flags/{flag}',
      permission: 'device.change',
      summary: 'Take back that a device is lost, stolen or a clone',
      params: Type.Object({ id: Uuid, flag: Flag }),
      response: DeviceShape,
      handle: (call, { params: { id, flag } }) =>
        changing(call, id, 'unflag', () => setFlag(context, id, { flag, isSet: false, actor: call.actor })),
    }),
    route({
      id: 'decideCertificate',
      method: 'GET',
      path: '/api/v1/certificates/{id}/usable',
      permission: 'device.read',
      summary: "Whether a device's certificate may be used now: status, epoch, area, issuer, and the device's state",
      params: ById,
      response: record({ isUsable: Type.Boolean(), reason: Type.Optional(Type.String()), device: Type.Optional(Uuid) }),
      async handle(_, { params: { id } }) {
        const facts = await devices.facts(id)
        if (facts === undefined) throw new TrustError('notFound', 'certificateNotFound', { facts: { certificate: id } })
        const answer = await isUsable(db, facts, context.world.clock.now())
        return {
          isUsable: answer.isUsable,
          ...(!answer.isUsable && { reason: answer.reason }),
          ...(answer.deviceId !== undefined && { device: answer.deviceId }),
        }
      },
    }),
    route({
      id: 'showEndpointDevices',
      method: 'GET',
      path: '/api/v1/endpoints/{label}/devices',
      permission: 'endpoint.read',
      summary: 'What enrollment at an endpoint means for devices',
      params: ByLabel,
      response: record({ rule: Type.Optional(RuleShape) }),
      async handle(_, { params: { label } }) {
        const rule = await enrollment.ruleOf(await endpointId(label))
        return rule === undefined ? {} : { rule: await ruleShape(rule) }
      },
    }),
    route({
      id: 'setEndpointDevices',
      method: 'PUT',
      path: '/api/v1/endpoints/{label}/devices',
      permission: 'endpoint.manage',
      summary: 'Say what enrollment at an endpoint means for devices: births of a model, or certificates of an area',
      params: ByLabel,
      body: record({ rule: Type.Optional(RuleShape) }),
      response: record({ rule: Type.Optional(RuleShape) }),
      async handle({ actor }, { params: { label }, body: { rule: written } }) {
        const id = await endpointId(label)
        const attempt = { actor, act: 'endpoint.devices', object: `endpoint:${label}` }
        let rule: EndpointRule | undefined
        if (written?.kind === 'area') {
          const { kind, unknown, area } = written
          rule = { kind, unknown, areaId: (await findArea(db, ...(await inCatalog(area)))).id }
        } else if (written !== undefined) {
          const { kind, unknown, variant, assurance, model, revision } = written
          const { id: modelId } = await findModel(db, ...(await inCatalog(model)))
          rule = {
            ...{ kind, unknown, variant, modelId, assurance: assurance as AssuranceLevel },
            ...(revision !== undefined && { revisionId: await revisionOf(modelId, revision) }),
          }
        }
        await recordingRefusals(context.audit, attempt, async () => {
          // who enrolls there becomes a device of that maker, or one of that owner's area; and is neither without the rule
          for (const one of [await enrollment.ruleOf(id), rule])
            if (one !== undefined) await checkSpeaks(db, await concernedBy(one), actor)
        })
        await enrollment.setRule(id, rule, actor)
        return rule === undefined ? {} : { rule: await ruleShape(rule) }
      },
    }),
  ]
}

function birthShape(birth: NonNullable<Awaited<ReturnType<typeof historyOf>>['birth']>) {
  const { bornAt, variant, assurance, certificateId, keyHash, job, node, station, logNumber, evidence, digest } = birth
  return {
    ...{
      at: timeOf(bornAt),
      variant,
      assurance,
      certificate: certificateId,
      key: keyHash.toHex(),
      evidence: { ...evidence },
      digest,
    },
    ...(job !== undefined && { job }),
    ...(node !== undefined && { node }),
    ...(station !== undefined && { station }),
    ...(logNumber !== undefined && { logNumber }),
  }
}
