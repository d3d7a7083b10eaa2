/** REST: releases of software, from draft to withdrawal, and what devices were told and run. @module */
import { Type } from 'typebox'
import type { Access } from '#access/access.ts'
import { TrustError } from '#base/errors.ts'
import { type DirectorStatement, MODELS_MAX, REQUIRED_MAX, REVISIONS_MAX } from '#updates/messages.ts'
import { installedSources, listInstalled } from '#updates/installed.ts'
import {
  addArtifact,
  approveRelease,
  attachSBOM,
  createRelease,
  listReleases,
  type NewRelease,
  noSuchFile,
  openRelease,
  type Outcome,
  publishRelease,
  type Release,
  releaseStates,
  sealArtifact,
  withdrawRelease,
} from '#updates/releases.ts'
import { recipientsIn } from '#updates/encryption/sealed.ts'
import { SBOM_MAX_OCTETS } from '#updates/sbom.ts'
import { listStatements } from '#updates/statements.ts'
import type { Updates } from '#updates/updates.ts'
import { WaitingShape } from './agreed.ts'
import { approvalShape } from './approvals.ts'
import { CatalogName } from './device-catalog.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, octetAnswer, octetRoute, page, PAGE_DEFAULT, pageOf, pageQuery, record, route, wholeAnswer } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'
import { FormatName, requesterOf, SignerName } from './signers.ts'

const Line = Type.String({ minLength: 1, maxLength: 64, pattern: '^[!-~]([ -~]*[!-~])?$' })
const Component = Type.Union([Line], { description: 'what is updated by itself, such as motor' })
const Version = Type.Union([Line], { description: 'for people; what is compared is the counter' })
const Counter = Type.Integer({ minimum: 1, description: 'how many-th release of the component for its models' })
const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hexadecimal' })
const FileName = Type.String({ pattern: '^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,127}$', description: 'a file name without a directory' })
const ModelName = Type.String({ pattern: '^[a-z0-9-]{1,63}/[a-z0-9-]{1,63}$', description: 'MANUFACTURER/MODEL' })
/** Of PEM: each certificate has some two thousand. */
const RECIPIENTS_MAX_OCTETS = 512 << 10

const ModelShape = record({
  model: ModelName,
  revisions: Type.Optional(
    Type.Array(CatalogName, { maxItems: REVISIONS_MAX, uniqueItems: true, description: 'of its hardware; all unless told' }),
  ),
})

const ArtifactShape = record({
  name: FileName,
  format: FormatName,
  octets: Type.Integer(),
  digest: Digest,
  signer: SignerName,
  certificate: Type.Optional(Type.Union([Digest], { description: 'of the signer; absent until its signature is here' })),
})

const ReleaseShape = record({
  id: Uuid,
  component: Component,
  version: Version,
  counter: Counter,
  models: Type.Array(ModelShape),
  source: Type.Optional(record({ version: Version, counter: Counter })),
  requires: Type.Array(record({ component: Component, counter: Counter })),
  feature: Type.Optional(Type.String({ description: 'that a device must be licensed for' })),
  sbom: Type.Optional(Digest),
  state: Type.Enum([...releaseStates]),
  artifacts: Type.Array(ArtifactShape),
  approval: Type.Optional(Uuid),
  reason: Type.Optional(Type.String({ description: 'why it was withdrawn' })),
  createdBy: Type.String(),
  createdAt: Time,
  publishedAt: Type.Optional(Time),
})

const StatementShape = record({
  id: Uuid,
  sequence: Type.Integer(),
  release: Uuid,
  component: Component,
  kind: Type.Enum(['install', 'rollback'] satisfies DirectorStatement['kind'][]),
  action: Type.String(),
  digest: Digest,
  entry: Type.Union([Uuid], { description: 'the audit entry of its signature' }),
  issuedAt: Time,
  expiresAt: Time,
})

const InstalledShape = record({
  component: Type.String(),
  version: Type.String(),
  counter: Type.Optional(Counter),
  digest: Type.Optional(Digest),
  release: Type.Optional(Uuid),
  source: Type.Enum([...installedSources], {
    description: 'reported: an update tool says so; signed: by the device; attested: its TPM vouches for it',
  }),
  at: Time,
})

/** What the device says that it did, of what came on no campaign. */
const STICK_ACTION = 'stick'

const ById = Type.Object({ id: Uuid })
const timeOf = (at: number): string => new Date(at).toISOString()

function shapeOf(release: Release) {
  const { id, component, version, counter, state, models, source, requires, feature, sbom, artifacts } = release
  const { approvalId, reason, createdBy, createdAt, publishedAt } = release
  return {
    ...{ id, component, version, counter, state, createdBy },
    models: models.map(({ manufacturer, model, revisions }) => ({
      model: `${manufacturer}/${model}`,
      ...(revisions.length > 0 && { revisions: [...revisions] }),
    })),
    ...(source !== undefined && { source: { version: source.version, counter: source.counterMin } }),
    requires: requires.map((one) => ({ component: one.component, counter: one.counterMin })),
    ...(feature !== undefined && { feature }),
    ...(sbom !== undefined && { sbom }),
    artifacts: artifacts.map(({ name, format, octets, digest, signerName, signer }) => ({
      ...{ name, format, octets, digest, signer: signerName },
      ...(signer !== undefined && { certificate: signer }),
    })),
    ...(approvalId !== undefined && { approval: approvalId }),
    ...(reason !== undefined && { reason }),
    createdAt: timeOf(createdAt),
    ...(publishedAt !== undefined && { publishedAt: timeOf(publishedAt) }),
  }
}

export interface ReleaseServices {
  readonly updates: Updates
  readonly access: Access
}

export function releaseRoutes({ updates, access }: ReleaseServices) {
  const { context } = updates
  const outcomeShape = async (outcome: Outcome) =>
    outcome.state === 'done'
      ? shapeOf(outcome.release)
      : { state: 'waiting' as const, approval: await approvalShape(outcome.approval, access) }
  const refusable = <T>({ actor }: Call, id: string, act: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(context.audit, { actor, act: `release.${act}`, object: `release:${id}` }, work)
  const uploaded = ({ upload }: Call) => {
    if (upload === undefined) throw new TypeError('the route takes octets')
    return upload
  }

  return [
    route({
      id: 'listReleases',
      method: 'GET',
      path: '/api/v1/releases',
      permission: 'release.read',
      summary: 'Releases of software, newest first',
      query: record({
        ...pageQuery,
        component: Type.Optional(Component),
        state: Type.Optional(Type.Enum([...releaseStates])),
      }),
      response: page(ReleaseShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, component, state } }) {
        const found = await listReleases(context, { component, state, limit: limit + 1, after: cursor })
        const shown = found.slice(0, limit)
        return pageOf(shown.map(shapeOf), found.length > limit ? shown.at(-1)?.id : undefined)
      },
    }),
    route({
      id: 'createRelease',
      method: 'POST',
      path: '/api/v1/releases',
      permission: 'release.manage',
      summary: 'Begin a release: it gets the next counter of its component for its models',
      body: record({
        component: Component,
        version: Version,
        models: Type.Array(ModelShape, { minItems: 1, maxItems: MODELS_MAX }),
        source: Type.Optional(Type.Union([Version], { description: 'the oldest version from which one may come here' })),
        requires: Type.Optional(
          Type.Array(record({ component: Component, version: Version }), {
            maxItems: REQUIRED_MAX,
            description: 'other components that have to be there first, at this version or later',
          }),
        ),
        feature: Type.Optional(Line),
      }),
      response: ReleaseShape,
      status: 201,
      async handle({ actor }, { body: { models, ...rest } }) {
        const wanted: NewRelease = {
          ...rest,
          models: models.map(({ model: written, revisions = [] }) => {
            const [manufacturer = '', model = ''] = written.split('/')
            return { manufacturer, model, revisions }
          }),
        }
        return shapeOf(await createRelease(context, wanted, actor))
      },
    }),
    route({
      id: 'showRelease',
      method: 'GET',
      path: '/api/v1/releases/{id}',
      permission: 'release.read',
      summary: 'One release with its artifacts',
      params: ById,
      response: ReleaseShape,
      handle: async (_, { params: { id } }) => shapeOf(await openRelease(context, id)),
    }),
    route({
      id: 'addReleaseArtifact',
      method: 'POST',
      path: '/api/v1/releases/{id}/artifacts',
      permission: 'release.manage',
      summary: 'Send a signed artifact of a release, or the signature that stands beside one',
      params: ById,
      query: record({
        name: FileName,
        format: FormatName,
        signer: Type.Union([SignerName], { description: 'who signed it' }),
      }),
      takesOctets: true,
      response: ReleaseShape,
      handle: (call, { params: { id }, query }) =>
        refusable(call, id, 'add-artifact', async () => {
          const { octets, read } = uploaded(call)
          const pieces = read(context.files.artifactMaxOctets)
          return shapeOf(await addArtifact(context, id, { ...query, octets, pieces }, call.actor))
        }),
    }),
    route({
      id: 'attachReleaseSBOM',
      method: 'POST',
      path: '/api/v1/releases/{id}/sbom',
      permission: 'release.manage',
      summary: 'Send the bill of materials of a release: CycloneDX or SPDX, in JSON',
      params: ById,
      takesOctets: true,
      response: ReleaseShape,
      handle: (call, { params: { id } }) =>
        refusable(call, id, 'attach-sbom', async () => {
          const { octets, read } = uploaded(call)
          const { release } = await attachSBOM(context, id, { octets, pieces: read(SBOM_MAX_OCTETS) }, call.actor)
          return shapeOf(release)
        }),
    }),
    octetRoute({
      id: 'fetchReleaseFile',
      method: 'GET',
      path: '/api/v1/releases/{id}/files/{digest}',
      permission: 'release.read',
      summary: 'A file of a release: an artifact, or its bill of materials',
      params: Type.Object({ id: Uuid, digest: Digest }),
      givesOctets: 'The file',
      async answer(_, { params: { id, digest } }) {
        const { artifacts, sbom } = await openRelease(context, id)
        if (sbom !== digest && artifacts.every((one) => one.digest !== digest)) throw noSuchFile(id, digest)
        const octets = await context.files.withFile(digest, async ({ size }) => size)
        return octetAnswer({ octets, read: () => updates.read(digest, 0, octets) })
      },
    }),
    octetRoute({
      id: 'sealReleaseFile',
      method: 'POST',
      path: '/api/v1/releases/{id}/files/{digest}/sealed',
      permission: 'release.read',
      summary:
        'A file of a release in an envelope for the certificates that are sent, as PEM: whoever carries it reads nothing of it',
      params: Type.Object({ id: Uuid, digest: Digest }),
      takesOctets: true,
      givesOctets: 'CMS AuthEnvelopedData with AES-256-GCM',
      answer: (call, { params: { id, digest } }) =>
        refusable(call, id, 'seal', async () => {
          const pieces = await Array.fromAsync(uploaded(call).read(RECIPIENTS_MAX_OCTETS))
          const recipients = recipientsIn(Buffer.concat(pieces).toString('latin1'))
          return octetAnswer(await sealArtifact(context, id, { digest, recipients }, call.actor))
        }),
    }),
    octetRoute({
      id: 'fetchReleaseManifest',
      method: 'GET',
      path: '/api/v1/releases/{id}/manifest',
      permission: 'release.read',
      summary: 'The manifest of a published release, as its maker signed it (COSE_Sign1)',
      params: ById,
      givesOctets: 'The manifest',
      async answer(_, { params: { id } }) {
        const { message, state } = await openRelease(context, id)
        if (message === undefined) throw new TrustError('conflict', 'releaseState', { facts: { state } })
        return wholeAnswer(message)
      },
    }),
    route({
      id: 'approveRelease',
      method: 'POST',
      path: '/api/v1/releases/{id}/approve',
      permission: 'release.manage',
      summary: 'Ask two people to approve a release; the same call again approves it once they have',
      params: ById,
      body: Empty,
      response: Type.Union([ReleaseShape, WaitingShape]),
      isPending: ({ state }) => state === 'waiting',
      handle: (call, { params: { id } }) =>
        refusable(call, id, 'approve', async () => outcomeShape(await approveRelease(context, id, requesterOf(call)))),
    }),
    route({
      id: 'publishRelease',
      method: 'POST',
      path: '/api/v1/releases/{id}/publish',
      permission: 'release.manage',
      summary: 'Sign the manifest of an approved release as the maker of the software, and let it out',
      params: ById,
      body: record({ signer: SignerName }),
      response: Type.Union([ReleaseShape, WaitingShape]),
      isPending: ({ state }) => state === 'waiting',
      handle: (call, { params: { id }, body: { signer } }) =>
        refusable(call, id, 'publish', async () => outcomeShape(await publishRelease(context, id, signer, requesterOf(call)))),
    }),
    route({
      id: 'withdrawRelease',
      method: 'POST',
      path: '/api/v1/releases/{id}/withdraw',
      permission: 'release.manage',
      summary: 'Offer a release to nobody any more',
      params: ById,
      body: record({ reason: Type.String({ minLength: 1, maxLength: 500 }) }),
      response: ReleaseShape,
      handle: (call, { params: { id }, body: { reason } }) =>
        refusable(call, id, 'withdraw', async () => shapeOf(await withdrawRelease(context, id, reason, call.actor))),
    }),
    route({
      id: 'directDevice',
      method: 'POST',
      path: '/api/v1/releases/{id}/direct',
      permission: 'campaign.manage',
      summary: 'Have the director say that a device may install a release, for a device that no server reaches',
      params: ById,
      body: record({
        device: Uuid,
        kind: Type.Enum(['install', 'rollback'] satisfies DirectorStatement['kind'][], {
          description: 'rollback: from the very version that the device has to this older one',
        }),
      }),
      response: record({
        sequence: Type.Integer(),
        statement: Type.String({ description: 'COSE_Sign1, as base64' }),
        expiresAt: Time,
      }),
      async handle({ actor }, { params: { id: releaseId }, body: { device: deviceId, kind } }) {
        const { sequence, statement, expiresAt } = await updates.direct(
          { releaseId, deviceId, kind, action: STICK_ACTION },
          actor,
        )
        return { sequence, statement: statement.toBase64(), expiresAt: timeOf(expiresAt) }
      },
    }),
    route({
      id: 'listDeviceSoftware',
      method: 'GET',
      path: '/api/v1/devices/{id}/software',
      permission: 'release.read',
      summary: 'What runs on a device, and how well that is known',
      params: ById,
      response: record({ items: Type.Array(InstalledShape) }),
      async handle(_, { params: { id } }) {
        const items = (await listInstalled(context, id)).map(({ releaseId, counter, digest, at, ...one }) => ({
          ...one,
          ...(counter !== undefined && { counter }),
          ...(digest !== undefined && { digest }),
          ...(releaseId !== undefined && { release: releaseId }),
          at: timeOf(at),
        }))
        return { items }
      },
    }),
    route({
      id: 'listDeviceStatements',
      method: 'GET',
      path: '/api/v1/devices/{id}/statements',
      permission: 'release.read',
      summary: 'What a device was told to install, newest first',
      params: ById,
      query: record({ ...pageQuery }),
      response: page(StatementShape),
      async handle(_, { params: { id }, query: { limit = PAGE_DEFAULT, cursor } }) {
        const found = await listStatements(context, id, {
          limit: limit + 1,
          before: cursor === undefined || !/^\d{1,15}$/.test(cursor) ? undefined : Number(cursor),
        })
        const shown = found.slice(0, limit)
        const items = shown.map(({ releaseId: release, issuedAt, expiresAt, octets: _octets, ...one }) => ({
          ...{ ...one, release },
          ...{ issuedAt: timeOf(issuedAt), expiresAt: timeOf(expiresAt) },
        }))
        return pageOf(items, found.length > limit ? String(shown.at(-1)?.sequence) : undefined)
      },
    }),
  ] as const
}
