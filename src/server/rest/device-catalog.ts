/** REST: organizations, product models and application areas, which devices refer to. @module */
import { Type } from 'typebox'
import { connectionProtocols, readAreaPolicy } from '#devices/area-policy.ts'
import { type ApplicationArea, createArea, findArea, listAreas, setAreaState } from '#devices/areas.ts'
import { type AssuranceLevel, birthVariants } from '#devices/device.ts'
import {
  createModel,
  createRevision,
  findModel,
  listModels,
  listRevisions,
  type ProductModel,
  setModelState,
} from '#devices/models.ts'
import {
  createOrganization,
  findOrganization,
  listOrganizations,
  type Organization,
  organizationKinds,
} from '#devices/organizations.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import type { CAServices } from '../compose.ts'
import { recordingRefusals } from './refusals.ts'
import { record, route } from './route.ts'
import { Address, Empty, Time, Uuid } from './shapes.ts'

export const CatalogName = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,62}$',
  description: '1 to 63 lower-case letters, digits and hyphens',
})
const Title = Type.String({ minLength: 1, maxLength: 200 })
const OID = Type.String({ pattern: '^[0-2](\\.(0|[1-9][0-9]{0,38})){1,30}$', description: 'an object identifier' })
const ProfileId = Type.String({ pattern: '^[a-z][a-z0-9-]{1,40}$', description: 'the id of a profile' })

export const Assurance = Type.Integer({
  minimum: 0,
  maximum: 4,
  description: 'assurance level: 0 is unknown, 4 is proven by the maker of a TPM or secure element',
})
export const Variant = Type.Enum([...birthVariants])
/** Update tools that a maker writes names for. */
const COMPATIBLE_MAX = 20
const Compatible = Type.Record(Type.String({ pattern: '^[a-z0-9-]{1,32}$' }), Type.String({ minLength: 1, maxLength: 200 }), {
  maxProperties: COMPATIBLE_MAX,
  description: 'how update tools call the hardware: rauc, swupdate, mcuboot, mender',
})

const OrganizationShape = record({
  id: Uuid,
  name: CatalogName,
  title: Title,
  kind: Type.Enum([...organizationKinds]),
  createdAt: Time,
})

const ModelTerms = {
  title: Title,
  hardwareType: Type.Optional(OID),
  compatible: Compatible,
  variants: Type.Array(Variant, { maxItems: birthVariants.length, uniqueItems: true }),
  assuranceMin: Assurance,
}
const RevisionShape = record({ id: Uuid, name: CatalogName, compatible: Compatible, createdAt: Time })
const ModelShape = record({
  id: Uuid,
  manufacturer: CatalogName,
  name: CatalogName,
  ...ModelTerms,
  state: Type.Enum(['enabled', 'disabled']),
  createdAt: Time,
})

const ModelsMax = 1000
const AreaTerms = {
  title: Title,
  authority: Address,
  profiles: Type.Array(ProfileId, { minItems: 1, maxItems: 20, uniqueItems: true }),
  assuranceMin: Assurance,
  models: Type.Optional(
    Type.Array(Type.String({ pattern: '^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$', description: 'MANUFACTURER/MODEL' }), {
      maxItems: ModelsMax,
      description: 'only these; any unless told',
    }),
  ),
  connections: Type.Optional(
    Type.Array(Type.Enum([...connectionProtocols]), {
      uniqueItems: true,
      description: 'by which its devices connect; all unless told',
    }),
  ),
}
const AreaShape = record({
  id: Uuid,
  owner: CatalogName,
  name: CatalogName,
  ...AreaTerms,
  state: Type.Enum(['enabled', 'disabled']),
  createdAt: Time,
})

const ByModel = Type.Object({ manufacturer: CatalogName, model: CatalogName })
const ByArea = Type.Object({ owner: CatalogName, area: CatalogName })

const timeOf = (at: number): string => new Date(at).toISOString()

function connectionsOf(policy: ApplicationArea['policy']) {
  const { connections } = readAreaPolicy(policy)
  return connections === undefined ? {} : { connections: [...connections] }
}

export function deviceCatalogRoutes({ devices: { context }, authorities }: CAServices) {
  const { db } = context
  const organizationIds = async (): Promise<ReadonlyMap<string, string>> =>
    new Map((await listOrganizations(context)).map(({ id, name }) => [id, name]))
  const modelShape = (
    { id, name, title, assuranceMin, state, hardwareType, variants, compatible, createdAt }: ProductModel,
    manufacturer: string,
  ) => ({
    ...{ id, name, title, assuranceMin, state, manufacturer },
    ...(hardwareType !== undefined && { hardwareType }),
    variants: [...variants],
    compatible: { ...compatible },
    createdAt: timeOf(createdAt),
  })
  /** @throws TrustError `forbidden`, once it is in the audit log */
  const spokenFor = (actor: string, act: string, name: string): Promise<Organization> =>
    recordingRefusals(context.audit, { actor, act, object: `organization:${name}` }, async () => {
      const organization = await findOrganization(context, db, name)
      await checkSpeaks(db, organization, actor)
      return organization
    })
  const openModel = async (manufacturer: string, name: string): Promise<ProductModel> =>
    findModel(db, (await findOrganization(context, db, manufacturer)).id, name)
  const openArea = async (owner: string, name: string): Promise<ApplicationArea> =>
    findArea(db, (await findOrganization(context, db, owner)).id, name)
  const shownModel = async (model: ProductModel, manufacturer: string) => ({
    ...modelShape(model, manufacturer),
    revisions: (await listRevisions(context, model.id)).map(({ id, name, compatible, createdAt }) => ({
      ...{ id, name, compatible: { ...compatible }, createdAt: timeOf(createdAt) },
    })),
  })
  const ShownModel = record({ ...ModelShape.properties, revisions: Type.Array(RevisionShape) })

  const areaShapes = async (areas: readonly ApplicationArea[]) => {
    const names = await organizationIds()
    const models = new Map(
      (await listModels(context)).map(({ id, manufacturerId, name }) => [id, `${names.get(manufacturerId) ?? ''}/${name}`]),
    )
    return areas.map(
      ({ id, name, title, authority, assuranceMin, state, ownerId, profiles, policy, models: allowed, createdAt }) => ({
        ...{ id, name, title, authority, assuranceMin, state },
        owner: names.get(ownerId) ?? '',
        profiles: [...profiles],
        ...(allowed !== undefined && { models: allowed.map((id) => models.get(id) ?? id) }),
        ...connectionsOf(policy),
        createdAt: timeOf(createdAt),
      }),
    )
  }
  const areaShape = async (area: ApplicationArea) => {
    const [shown] = await areaShapes([area])
    return shown as NonNullable<typeof shown>
  }

  const modelState = <const Id extends string>(id: Id, verb: 'enable' | 'disable', summary: string) =>
    route({
      id,
      method: 'POST',
      path: `/api/v1/models/{manufacturer}/{model}/${verb}`,
      permission: 'device.manage',
      summary,
      params: ByModel,
      body: Empty,
      response: ShownModel,
      async handle({ actor }, { params: { manufacturer, model } }) {
        await spokenFor(actor, `model.${verb}`, manufacturer)
        const { id: modelId } = await openModel(manufacturer, model)
        return shownModel(await setModelState(context, modelId, `${verb}d`, actor), manufacturer)
      },
    })
  const areaState = <const Id extends string>(id: Id, verb: 'enable' | 'disable', summary: string) =>
    route({
      id,
      method: 'POST',
      path: `/api/v1/areas/{owner}/{area}/${verb}`,
      permission: 'device.manage',
      summary,
      params: ByArea,
      body: Empty,
      response: AreaShape,
      async handle({ actor }, { params: { owner, area } }) {
        await spokenFor(actor, `area.${verb}`, owner)
        const { id: areaId } = await openArea(owner, area)
        return areaShape(await setAreaState(context, areaId, `${verb}d`, actor))
      },
    })

  return [
    route({
      id: 'listOrganizations',
      method: 'GET',
      path: '/api/v1/organizations',
      permission: 'device.read',
      summary: 'Who makes, owns and services devices, by name',
      response: record({ items: Type.Array(OrganizationShape) }),
      handle: async () => ({
        items: (await listOrganizations(context)).map((one) => ({ ...one, createdAt: timeOf(one.createdAt) })),
      }),
    }),
    route({
      id: 'createOrganization',
      method: 'POST',
      path: '/api/v1/organizations',
      permission: 'device.manage',
      summary: 'Record an organization',
      body: record({ name: CatalogName, title: Title, kind: Type.Enum([...organizationKinds]) }),
      response: OrganizationShape,
      status: 201,
      async handle({ actor }, { body }) {
        const made = await createOrganization(context, body, actor)
        return { ...made, createdAt: timeOf(made.createdAt) }
      },
    }),
    route({
      id: 'listModels',
      method: 'GET',
      path: '/api/v1/models',
      permission: 'device.read',
      summary: 'Product models',
      response: record({ items: Type.Array(ModelShape) }),
      async handle() {
        const names = await organizationIds()
        return { items: (await listModels(context)).map((model) => modelShape(model, names.get(model.manufacturerId) ?? '')) }
      },
    }),
    route({
      id: 'createModel',
      method: 'POST',
      path: '/api/v1/models',
      permission: 'device.manage',
      summary: 'Record a product model: its hardware, and which births it lets pass',
      body: record({ manufacturer: CatalogName, name: CatalogName, ...ModelTerms }),
      response: ModelShape,
      status: 201,
      async handle({ actor }, { body: { manufacturer, hardwareType, assuranceMin, ...body } }) {
        const { id: manufacturerId } = await spokenFor(actor, 'model.create', manufacturer)
        const least = assuranceMin as AssuranceLevel
        return modelShape(
          await createModel(context, { ...body, manufacturerId, hardwareType, assuranceMin: least }, actor),
          manufacturer,
        )
      },
    }),
    route({
      id: 'showModel',
      method: 'GET',
      path: '/api/v1/models/{manufacturer}/{model}',
      permission: 'device.read',
      summary: 'One product model with its hardware revisions',
      params: ByModel,
      response: ShownModel,
      handle: async (_, { params: { manufacturer, model } }) => shownModel(await openModel(manufacturer, model), manufacturer),
    }),
    modelState('enableModel', 'enable', 'Let devices of a model be made again'),
    modelState('disableModel', 'disable', 'Let no device of a model be registered or born'),
    route({
      id: 'createRevision',
      method: 'POST',
      path: '/api/v1/models/{manufacturer}/{model}/revisions',
      permission: 'device.manage',
      summary: 'Record a hardware revision of a model',
      params: ByModel,
      body: record({ name: CatalogName, compatible: Compatible }),
      response: ShownModel,
      status: 201,
      async handle({ actor }, { params: { manufacturer, model }, body }) {
        await spokenFor(actor, 'model.revise', manufacturer)
        const found = await openModel(manufacturer, model)
        await createRevision(context, { ...body, modelId: found.id }, actor)
        return shownModel(found, manufacturer)
      },
    }),
    route({
      id: 'listAreas',
      method: 'GET',
      path: '/api/v1/areas',
      permission: 'device.read',
      summary: 'Application areas',
      response: record({ items: Type.Array(AreaShape) }),
      handle: async () => ({ items: await areaShapes(await listAreas(context)) }),
    }),
    route({
      id: 'createArea',
      method: 'POST',
      path: '/api/v1/areas',
      permission: 'device.manage',
      summary: 'Record an application area with the authority that issues for it',
      body: record({ owner: CatalogName, name: CatalogName, ...AreaTerms }),
      response: AreaShape,
      status: 201,
      async handle({ actor }, { body: { owner, models, assuranceMin, authority, connections, ...body } }) {
        const { id: ownerId } = await spokenFor(actor, 'area.create', owner)
        const wanted = models?.map(async (written) => {
          const [manufacturer = '', model = ''] = written.split('/')
          return (await openModel(manufacturer, model)).id
        })
        const terms = {
          ...{
            ...body,
            ownerId,
            policy: connections === undefined ? {} : { connections: [...connections] },
            assuranceMin: assuranceMin as AssuranceLevel,
          },
          authority: authorities.byAddress(authority).address,
          models: wanted && (await Promise.all(wanted)),
        }
        return areaShape(await createArea(context, terms, actor))
      },
    }),
    route({
      id: 'showArea',
      method: 'GET',
      path: '/api/v1/areas/{owner}/{area}',
      permission: 'device.read',
      summary: 'One application area',
      params: ByArea,
      response: AreaShape,
      handle: async (_, { params: { owner, area } }) => areaShape(await openArea(owner, area)),
    }),
    areaState('enableArea', 'enable', 'Let devices come into an area again'),
    areaState('disableArea', 'disable', 'Let no more devices come into an area'),
  ]
}
