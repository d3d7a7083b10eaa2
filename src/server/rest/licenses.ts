/** REST: licenses of devices, who issues them, how many there are, and what was taken back. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import type { LicensesContext } from '#licenses/context.ts'
import {
  findLicenses,
  type Issued,
  issueLicense,
  type LicenseRecord,
  licenseStates,
  type LicenseTerms,
  openLicense,
  replaceLicense,
  revokeLicense,
} from '#licenses/licenses.ts'
import { type LicenseMaker, listMakers, setMaker, setPool, showMaker } from '#licenses/makers.ts'
import { FEATURE_NAME, FEATURES_MAX, GRACE_MAX_DAYS, licenseForms, LIMIT_MAX, OFFLINE_MAX_DAYS } from '#licenses/messages.ts'
import { publishStatus } from '#licenses/status.ts'
import { WaitingShape } from './agreed.ts'
import { approvalShape } from './approvals.ts'
import { CatalogName } from './device-catalog.ts'
import { ProductSerial } from './devices.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'
import { requesterOf } from './signers.ts'

const ById = Type.Object({ id: Uuid })
const ByMaker = Type.Object({ maker: CatalogName })
const FeatureName = Type.String({ pattern: FEATURE_NAME.source, description: 'what is licensed, such as drill' })
const Form = Type.Enum([...licenseForms], { description: 'COSE (CWT) for small devices, or JOSE (JWT)' })
const FeatureShape = record({ name: FeatureName, limit: Type.Optional(Type.Integer({ minimum: 0, maximum: LIMIT_MAX })) })

const terms = {
  form: Type.Optional(Form),
  features: Type.Array(FeatureShape, { minItems: 1, maxItems: FEATURES_MAX }),
  notBefore: Type.Optional(Time),
  expiresAt: Type.Optional(Time),
  graceDays: Type.Optional(Type.Integer({ minimum: 0, maximum: GRACE_MAX_DAYS })),
  isTransferable: Type.Optional(Type.Boolean({ description: 'whether it stays with the device when that changes its owner' })),
  offlineMaxDays: Type.Optional(Type.Integer({ minimum: 1, maximum: OFFLINE_MAX_DAYS })),
}

const LicenseShape = record({
  id: Uuid,
  version: Type.Integer(),
  maker: CatalogName,
  device: Uuid,
  productSerial: ProductSerial,
  model: Type.String({ description: 'MANUFACTURER/MODEL' }),
  state: Type.Enum([...licenseStates]),
  sequence: Type.Integer({ description: 'of the last that was signed; 0 before the first' }),
  isAsked: Type.Boolean({ description: 'whether one is asked for and not signed; the terms are those' }),
  form: Form,
  features: Type.Array(FeatureShape),
  notBefore: Time,
  expiresAt: Type.Optional(Time),
  graceDays: Type.Integer(),
  isTransferable: Type.Boolean(),
  owner: Type.Optional(Type.String({ description: 'whose it is, where it is not transferable' })),
  epoch: Type.Optional(Type.Integer()),
  offlineMaxDays: Type.Optional(Type.Integer()),
  license: Type.Optional(Type.String({ description: 'the last that was signed, base64' })),
  createdAt: Time,
  changedAt: Time,
})

const MakerShape = record({
  maker: CatalogName,
  signer: Type.String(),
  statusVersion: Type.Integer({ description: 'of the list of what was taken back; 0 before the first' }),
  statusAt: Type.Optional(Time),
  isDue: Type.Boolean({ description: 'whether more was taken back than the list says' }),
  pools: Type.Array(record({ feature: FeatureName, most: Type.Integer(), taken: Type.Integer() })),
})

const StatusShape = record({
  version: Type.Integer(),
  issuedAt: Time,
  list: Type.String({ description: 'the signed list, base64' }),
})

const timeOf = (at: number): string => new Date(at).toISOString()

function shown({ license, octets, deviceId, ...one }: LicenseRecord) {
  const { owner, expiresAt, offlineMaxDays, productSerial, model, notBefore, graceDays } = license
  return {
    ...{ id: one.id, version: one.version, maker: one.maker, device: deviceId, productSerial, model },
    ...{ state: one.state, sequence: one.sequence, isAsked: one.isAsked, form: one.form },
    features: license.features.map((feature) => ({ ...feature })),
    notBefore: timeOf(notBefore),
    ...(expiresAt !== undefined && { expiresAt: timeOf(expiresAt) }),
    ...{ graceDays, isTransferable: owner === undefined },
    ...(owner !== undefined && { owner: owner.name, epoch: owner.epoch }),
    ...(offlineMaxDays !== undefined && { offlineMaxDays }),
    ...(octets !== undefined && { license: octets.toBase64() }),
    createdAt: timeOf(one.createdAt),
    changedAt: timeOf(one.changedAt),
  }
}

const makerShown = ({ statusAt, pools, ...maker }: LicenseMaker) => ({
  ...maker,
  ...(statusAt !== undefined && { statusAt: timeOf(statusAt) }),
  pools: pools.map((pool) => ({ ...pool })),
})

interface Terms {
  readonly form?: LicenseTerms['form']
  readonly features: LicenseTerms['features']
  readonly notBefore?: string
  readonly expiresAt?: string
  readonly graceDays?: number
  readonly isTransferable?: boolean
  readonly offlineMaxDays?: number
}

const termsIn = ({
  form = 'cwt',
  features,
  notBefore,
  expiresAt,
  graceDays = 0,
  isTransferable = true,
  offlineMaxDays,
}: Terms): LicenseTerms => ({
  ...{ form, features, graceDays, isTransferable },
  ...(notBefore !== undefined && { notBefore: Date.parse(notBefore) }),
  ...(expiresAt !== undefined && { expiresAt: Date.parse(expiresAt) }),
  ...(offlineMaxDays !== undefined && { offlineMaxDays }),
})

export function licenseRoutes(context: LicensesContext, access: Access) {
  const { audit } = context

  const answered = async (issued: Issued) =>
    issued.state === 'waiting'
      ? { state: 'waiting' as const, approval: await approvalShape(issued.approval, access) }
      : shown(issued.record)
  const onLicense = <T>({ actor }: Call, act: string, id: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(audit, { actor, act: `license.${act}`, object: `license:${id}` }, work)
  const onMaker = <T>({ actor }: Call, act: string, maker: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(audit, { actor, act: `license.${act}`, object: `organization:${maker}` }, work)

  return [
    route({
      id: 'issueLicense',
      method: 'POST',
      path: '/api/v1/licenses',
      permission: 'license.issue',
      summary: 'License features to a device, by its maker; the same call again goes on where people had to agree first',
      body: record({ maker: CatalogName, device: Uuid, ...terms }),
      response: Type.Union([LicenseShape, WaitingShape]),
      status: 201,
      isPending: ({ state }) => state === 'waiting',
      async handle(call, { body: { maker, device, ...rest } }) {
        const attempt = { actor: call.actor, act: 'license.issue', object: `device:${device}` }
        const issued = await recordingRefusals(audit, attempt, () =>
          issueLicense(context, { maker, deviceId: device, ...termsIn(rest) }, requesterOf(call)),
        )
        return answered(issued)
      },
    }),
    route({
      id: 'findLicenses',
      method: 'GET',
      path: '/api/v1/licenses',
      permission: 'license.read',
      summary: 'Licenses, newest first',
      query: Type.Object({
        ...{ ...pageQuery, maker: Type.Optional(CatalogName), device: Type.Optional(Uuid) },
        state: Type.Optional(Type.Enum([...licenseStates])),
      }),
      response: page(LicenseShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, maker, device, state } }) {
        const found = await findLicenses(context, { maker, deviceId: device, state, before: cursor, limit: limit + 1 })
        const items = found.slice(0, limit)
        return pageOf(items.map(shown), found.length > limit ? items.at(-1)?.id : undefined)
      },
    }),
    route({
      id: 'showLicense',
      method: 'GET',
      path: '/api/v1/licenses/{id}',
      permission: 'license.read',
      summary: 'One license, as it was signed last',
      params: ById,
      response: LicenseShape,
      handle: async (_, { params: { id } }) => shown(await openLicense(context, id)),
    }),
    route({
      id: 'replaceLicense',
      method: 'POST',
      path: '/api/v1/licenses/{id}/replace',
      permission: 'license.issue',
      summary: 'Put a license with other terms in the place of this one, under the next sequence',
      params: ById,
      body: record({
        ...terms,
        recalls: Type.Optional(Type.Boolean({ description: 'the one before holds no longer where the status list arrived' })),
      }),
      response: Type.Union([LicenseShape, WaitingShape]),
      isPending: ({ state }) => state === 'waiting',
      async handle(call, { params: { id }, body: { recalls = false, ...rest } }) {
        const wanted = { ...termsIn(rest), recalls }
        return answered(await onLicense(call, 'replace', id, () => replaceLicense(context, id, wanted, requesterOf(call))))
      },
    }),
    route({
      id: 'revokeLicense',
      method: 'POST',
      path: '/api/v1/licenses/{id}/revoke',
      permission: 'license.issue',
      summary: 'Take a license back, for good',
      params: ById,
      body: record({
        reason: Type.String({ minLength: 1, maxLength: 200, description: 'for the audit log; nothing personal' }),
        returnsPlaces: Type.Optional(Type.Boolean({ description: 'it is not used any more: its places in pools are free' })),
      }),
      response: LicenseShape,
      handle: async (call, { params: { id }, body: { reason, returnsPlaces = false } }) =>
        shown(
          await onLicense(call, 'revoke', id, () => revokeLicense(context, id, { reason, returnsPlaces }, requesterOf(call))),
        ),
    }),
    route({
      id: 'listLicenseMakers',
      method: 'GET',
      path: '/api/v1/license-makers',
      permission: 'license.read',
      summary: 'Who issues licenses here, with their pools',
      response: record({ items: Type.Array(MakerShape) }),
      handle: async () => ({ items: (await listMakers(context)).map(makerShown) }),
    }),
    route({
      id: 'setLicenseMaker',
      method: 'PUT',
      path: '/api/v1/license-makers/{maker}',
      permission: 'license.manage',
      summary: 'Say which signer signs the licenses of a maker; its only user has to be the role server:licenses',
      params: ByMaker,
      body: record({ signer: Type.String({ minLength: 1, maxLength: 64 }) }),
      response: MakerShape,
      handle: async (call, { params: { maker }, body: { signer } }) =>
        makerShown(await onMaker(call, 'set-maker', maker, () => setMaker(context, { maker, signer }, call.actor))),
    }),
    route({
      id: 'setLicensePool',
      method: 'PUT',
      path: '/api/v1/license-makers/{maker}/pools/{feature}',
      permission: 'license.manage',
      summary: 'Say how many licenses with a feature a maker has, those counted that are there already',
      params: Type.Object({ maker: CatalogName, feature: FeatureName }),
      body: record({ most: Type.Integer({ minimum: 0, maximum: LIMIT_MAX }) }),
      response: MakerShape,
      handle: async (call, { params: { maker, feature }, body: { most } }) =>
        makerShown(await onMaker(call, 'set-pool', maker, () => setPool(context, { maker, feature, most }, call.actor))),
    }),
    route({
      id: 'publishLicenseStatus',
      method: 'POST',
      path: '/api/v1/license-makers/{maker}/status',
      permission: 'license.issue',
      summary: 'Sign the list of what was taken back, for devices without a network; it is also done by itself',
      params: ByMaker,
      body: Empty,
      response: Type.Union([StatusShape, WaitingShape]),
      isPending: (answer) => 'state' in answer,
      async handle(call, { params: { maker } }) {
        await showMaker(context, maker)
        const published = await onMaker(call, 'status', maker, () => publishStatus(context, maker, requesterOf(call)))
        if (published.state === 'waiting')
          return { state: 'waiting' as const, approval: await approvalShape(published.approval, access) }
        const { version, issuedAt, octets } = published
        return { version, issuedAt: timeOf(issuedAt), list: octets.toBase64() }
      },
    }),
  ] as const
}
