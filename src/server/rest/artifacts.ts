/** REST: artifacts that are signed here, their jobs, their archive, and the history of what a signer signed. @module */
import { createReadStream } from 'node:fs'
import { Type } from 'typebox'
import { isAllowed } from '#access/rights.ts'
import { listAuditEntries } from '#audit/log.ts'
import { TrustError } from '#base/errors.ts'
import { objectOf } from '#signing/signers.ts'
import { SIGNATURE_ACT, type Signing } from '#signing/service.ts'
import type { Archive } from '#signing/upload/archive.ts'
import { type Job, jobStates } from '#signing/upload/job.ts'
import type { JobNow, Jobs, Result } from '#signing/upload/jobs.ts'
import type { Database } from '#store/database.ts'
import { type Call, octetAnswer, octetRoute, page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'
import { FormatName, requesterOf, SignerName } from './signers.ts'

const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256, hexadecimal' })
const Octets = Type.Integer({ minimum: 0 })

const JobShape = record({
  id: Uuid,
  state: Type.Enum([...jobStates], {
    description: 'queued until it is over; waiting for people to agree; done, failed, canceled',
  }),
  signer: SignerName,
  by: Type.String({ description: 'who sent the artifact' }),
  format: Type.Optional(FormatName),
  octets: Octets,
  digest: Digest,
  hashed: Type.Optional(Type.Integer({ description: 'octets of it that were hashed so far' })),
  approval: Type.Optional(Type.Union([Uuid], { description: 'the request for approval that it waits for' })),
  entry: Type.Optional(Type.Union([Uuid], { description: 'the audit entry of the signature' })),
  signatureAlgorithm: Type.Optional(Type.String()),
  result: Type.Optional(
    record({
      octets: Octets,
      digest: Digest,
      isBeside: Type.Boolean({ description: 'a file beside the artifact, and not in its place' }),
      suffix: Type.Optional(Type.String({ description: 'what such a file is usually called: appended to the name' })),
    }),
  ),
  problem: Type.Optional(record({ code: Type.String(), reason: Type.String(), detail: Type.String() })),
  createdAt: Time,
  endedAt: Type.Optional(Time),
})

const timeOf = (at: number): string => new Date(at).toISOString()

const jobShape = ({ job, hashed }: JobNow) => {
  const { id, state, signer, actor: by, format, octets, digest, approval, made, result, problem, createdAt, endedAt } = job
  return {
    ...{ id, state, signer, by, octets, digest, createdAt: timeOf(createdAt) },
    ...(format !== undefined && { format }),
    ...(hashed !== undefined && { hashed }),
    ...(approval !== undefined && state === 'waiting' && { approval }),
    ...(made !== undefined && { entry: made.entry, signatureAlgorithm: made.signatureAlgorithm }),
    ...(result !== undefined && state === 'done' && { result }),
    ...(problem !== undefined && { problem: { code: problem.code, reason: problem.reason, detail: refusalOf(problem).message } }),
    ...(endedAt !== undefined && { endedAt: timeOf(endedAt) }),
  }
}

const refusalOf = ({ code, reason, facts, retryAfterSeconds }: NonNullable<Job['problem']>): TrustError =>
  new TrustError(code, reason, { facts, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) })

const SignedShape = record({
  entry: Type.Union([Uuid], { description: 'the audit entry' }),
  at: Time,
  by: Type.String(),
  outcome: Type.Enum(['done', 'refused']),
  reason: Type.Optional(Type.String()),
  format: Type.Optional(Type.String()),
  digests: Type.Array(Type.String(), { description: 'of what was signed: algorithm:hexadecimal' }),
  artifactDigest: Type.Optional(Type.String({ description: 'of the artifact, where it was sent here' })),
  artifactOctets: Type.Optional(Octets),
  signatureAlgorithm: Type.Optional(Type.String()),
  logIndex: Type.Optional(Type.Integer()),
})

/** A choice is a word or an address; there are few. */
const OPTIONS_MAX_CHARACTERS = 4096

export interface ArtifactServices {
  readonly signing: Pick<Signing, 'signers'>
  readonly jobs: Jobs
  readonly archive: Archive
  readonly db: Database
  readonly organizationId: string
  readonly waitSeconds: number
}

export function artifactRoutes({ signing, jobs, archive, db, organizationId, waitSeconds }: ArtifactServices) {
  /** Whoever manages signers sees all jobs; the artifact is only for who sent it. */
  const seesAll = ({ principal }: Call): boolean => isAllowed(principal?.roles ?? [], 'signer.manage')
  const seen = async (call: Call, id: string): Promise<JobNow> => {
    const now = await jobs.find(id)
    if (now.job.actor !== call.actor && !seesAll(call)) throw new TrustError('notFound', 'jobUnknown')
    return now
  }
  const signedId = async (name: string): Promise<string> => (await signing.signers.find(name)).record.id

  return [
    octetRoute({
      id: 'signArtifact',
      method: 'POST',
      path: '/api/v1/signers/{name}/artifacts',
      permission: 'signer.use',
      summary: 'Send an artifact and get it back signed, or the job that signs it when that takes longer',
      params: Type.Object({ name: SignerName }),
      query: record({
        format: Type.Optional(FormatName),
        options: Type.Optional(
          Type.String({
            maxLength: OPTIONS_MAX_CHARACTERS,
            description: 'choices of the format, as a form would send them: name=value, joined with &',
          }),
        ),
      }),
      takesOctets: true,
      givesOctets: 'The signed artifact, or the signature beside it',
      response: JobShape,
      isPending: () => true,
      async answer(call, { params: { name: signer }, query: { format, options = '' } }) {
        const { upload } = call
        if (upload === undefined) throw new TypeError('the route takes octets')
        const { octets, read, idempotencyKey, prefersAsync: isPatient } = upload
        const wanted = { signer, format, options: optionsOf(options), octets, idempotencyKey, isPatient, read }
        const { id } = await jobs.submit(wanted, requesterOf(call))
        const job = isPatient ? (await jobs.find(id)).job : await jobs.settled(id, waitSeconds * 1000)
        if (job.state === 'failed' && job.problem !== undefined && !isPatient) throw refusalOf(job.problem)
        if (job.state !== 'done' || isPatient) return jobShape(await jobs.find(id))
        return resultAnswer(await jobs.result(id), idempotencyKey === undefined ? () => jobs.discard(id) : undefined)
      },
    }),
    route({
      id: 'listSigningJobs',
      method: 'GET',
      path: '/api/v1/signing-jobs',
      permission: 'signer.read',
      summary: 'Artifacts that are or were signed here, newest first: one’s own, or all for who manages signers',
      query: record({ ...pageQuery }),
      response: page(JobShape),
      async handle(call, { query: { limit = PAGE_DEFAULT, cursor } }) {
        const { jobs: found, next } = await jobs.list({ actor: seesAll(call) ? undefined : call.actor, limit, cursor })
        return pageOf(
          found.map((job) => jobShape({ job })),
          next,
        )
      },
    }),
    route({
      id: 'showSigningJob',
      method: 'GET',
      path: '/api/v1/signing-jobs/{id}',
      permission: 'signer.read',
      summary: 'How far a signing job is',
      params: Type.Object({ id: Uuid }),
      response: JobShape,
      handle: async (call, { params: { id } }) => jobShape(await seen(call, id)),
    }),
    route({
      id: 'cancelSigningJob',
      method: 'POST',
      path: '/api/v1/signing-jobs/{id}/cancel',
      permission: 'signer.read',
      summary: 'Let go of an artifact that is not signed yet',
      params: Type.Object({ id: Uuid }),
      body: Empty,
      response: JobShape,
      async handle(call, { params: { id } }) {
        await seen(call, id)
        return jobShape({ job: await jobs.cancel(id) })
      },
    }),
    octetRoute({
      id: 'fetchSignedArtifact',
      method: 'GET',
      path: '/api/v1/signing-jobs/{id}/artifact',
      permission: 'signer.use',
      summary: 'The result of a signing job, for who sent the artifact',
      params: Type.Object({ id: Uuid }),
      givesOctets: 'The signed artifact, or the signature beside it',
      async answer(call, { params: { id } }) {
        const { job } = await seen(call, id)
        if (job.actor !== call.actor) throw new TrustError('forbidden', 'jobNotYours')
        return resultAnswer(await jobs.result(id))
      },
    }),
    route({
      id: 'listSignatures',
      method: 'GET',
      path: '/api/v1/signers/{name}/history',
      permission: 'signer.read',
      summary: 'What a signer signed and refused to sign, newest first, from the audit log',
      params: Type.Object({ name: SignerName }),
      query: record({ ...pageQuery, outcome: Type.Optional(Type.Enum(['done', 'refused'])) }),
      response: page(SignedShape),
      async handle(_, { params: { name }, query: { limit = PAGE_DEFAULT, cursor, outcome } }) {
        const object = objectOf({ id: await signedId(name) })
        const filter = { object, act: SIGNATURE_ACT, ...(outcome !== undefined && { outcome }) }
        const { entries, next } = await listAuditEntries(db, { organizationId, limit, cursor, filter })
        const items = entries.map(({ id: entry, at, actor: by, outcome: how, reason, facts, logIndex }) => ({
          ...{
            entry,
            at: at.toISOString(),
            by,
            outcome: how,
            digests: String(facts['digests'] ?? '')
              .split(' ')
              .filter(Boolean),
          },
          ...(reason !== undefined && { reason }),
          ...(typeof facts['format'] === 'string' && { format: facts['format'] }),
          ...(typeof facts['artifactDigest'] === 'string' && { artifactDigest: facts['artifactDigest'] }),
          ...(typeof facts['artifactOctets'] === 'number' && { artifactOctets: facts['artifactOctets'] }),
          ...(typeof facts['signatureAlgorithm'] === 'string' && { signatureAlgorithm: facts['signatureAlgorithm'] }),
          ...(logIndex !== undefined && { logIndex }),
        }))
        return pageOf(items, next)
      },
    }),
    octetRoute({
      id: 'fetchArchivedArtifact',
      method: 'GET',
      path: '/api/v1/signers/{name}/archive/{digest}',
      permission: 'signer.manage',
      summary: 'An artifact that a signer signed and archived, as it was sent',
      params: Type.Object({ name: SignerName, digest: Digest }),
      givesOctets: 'The artifact',
      async answer(_, { params: { name, digest } }) {
        const { file, octets } = await archive.find(digest, await signedId(name))
        return octetAnswer({ octets, read: () => createReadStream(file) }, { 'content-digest': contentDigest(digest) })
      },
    }),
  ] as const
}

const optionsOf = (form: string): Readonly<Record<string, string>> => Object.fromEntries(new URLSearchParams(form))

/** RFC 9530, 2. */
const contentDigest = (hex: string): string => `sha-256=:${Uint8Array.fromHex(hex).toBase64()}:`

/** @param afterwards done once the client has all of it */
function resultAnswer({ job, octets, read }: Result, afterwards?: () => Promise<void>) {
  let isWhole = false
  const { result, made, format } = job
  return octetAnswer(
    {
      octets,
      async *read() {
        yield* read()
        isWhole = true
      },
      end() {
        if (isWhole) void afterwards?.().catch(() => {}) // it goes with the old ones
      },
    },
    {
      'content-digest': contentDigest(result?.digest ?? ''),
      'sealworks-job': job.id,
      'sealworks-entry': made?.entry ?? '',
      'sealworks-format': format ?? '',
      'sealworks-signature-algorithm': made?.signatureAlgorithm ?? '',
      'sealworks-beside': result?.isBeside === true ? 'yes' : 'no',
      ...(result?.suffix !== undefined && { 'sealworks-suffix': result.suffix }),
    },
  )
}
