/**
 * Releases of software: what they are for, what they consist of, and who let them out.
 *
 *     draft ──two people──▶ approved ──signed by the maker──▶ published
 *       └───────────────────────┴────────────────────────────────┴──▶ withdrawn
 *
 * People approve the digest of the manifest, so that nothing of it can be another one afterwards. Only what is published is
 * offered to anybody.
 *
 * @module
 */
import type { Act, ActValue } from '#approvals/act.ts'
import type { ActKind, Approval, Voter } from '#approvals/approvals.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { onBehalf, signMessage } from '#signing/message-signing.ts'
import { keep, type Step, take } from '#store/batch.ts'
import type { Queries, Row, Transaction } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { messageStatement } from '#store/outbox.ts'
import { fingerprint } from '#x509/certificate.ts'
import { checkSigned, isBeside, verifySigned } from './artifacts.ts'
import type { KnownModel, UpdatesContext } from './context.ts'
import { type Recipients, seal, type Sealed } from './encryption/sealed.ts'
import {
  type Artifact,
  ARTIFACTS_MAX,
  encodeManifest,
  MANIFEST_FILE,
  MANIFEST_TYPE,
  manifestDigest,
  parseManifest,
  type ReleaseManifest,
  type Requirement,
  STATEMENT_FILE,
} from './messages.ts'
import { parseSBOM, type SBOM, SBOM_MAX_OCTETS } from './sbom.ts'

export const releaseStates = ['draft', 'approved', 'published', 'withdrawn'] as const
export type ReleaseState = (typeof releaseStates)[number]

export interface ReleaseModel extends Pick<KnownModel, 'manufacturer' | 'model'> {
  readonly modelId: string
  /** Hardware revisions; all of the model when empty. */
  readonly revisions: readonly string[]
}

export interface ReleaseArtifact {
  readonly name: string
  /** Signing format. */
  readonly format: string
  readonly octets: number
  /** SHA-256, hexadecimal. */
  readonly digest: string
  /** Who is to have signed it. */
  readonly signerName: string
  /** SHA-256 of the certificate by which its signature is good; undefined until there is one beside it. */
  readonly signer: string | undefined
}

export interface Release {
  readonly id: string
  /** Grows with every change of the record. */
  readonly change: number
  readonly component: string
  readonly version: string
  readonly counter: number
  readonly models: readonly ReleaseModel[]
  readonly source: { readonly counterMin: number; readonly version: string } | undefined
  readonly requires: readonly Requirement[]
  readonly feature: string | undefined
  /** SHA-256, hexadecimal. */
  readonly sbom: string | undefined
  readonly state: ReleaseState
  readonly artifacts: readonly ReleaseArtifact[]
  /** As it was approved. */
  readonly manifest: Uint8Array | undefined
  /** Signed, from when it was published. */
  readonly message: Uint8Array | undefined
  readonly approvalId: string | undefined
  /** Why it was withdrawn. */
  readonly reason: string | undefined
  readonly createdBy: string
  readonly createdAt: number
  readonly publishedAt: number | undefined
}

export interface NewRelease {
  readonly component: string
  readonly version: string
  readonly models: readonly { readonly manufacturer: string; readonly model: string; readonly revisions?: readonly string[] }[]
  /** The oldest version of the component from which one may come here. */
  readonly source?: string
  readonly requires?: readonly { readonly component: string; readonly version: string }[]
  readonly feature?: string
}

export const APPROVE_RELEASE = 'release.approve'
const textOf = (value: ActValue | undefined): string => (typeof value === 'string' ? value : JSON.stringify(value))

export const updateActs: readonly ActKind[] = [
  {
    id: APPROVE_RELEASE,
    describe: ({ parameters: { component, version, counter, models } }) =>
      `Release ${textOf(component)} ${textOf(version)} (counter ${textOf(counter)}) for ${textOf(models)}`,
  },
]

/** A working week: what nobody does by then is looked at again. */
const APPROVED_SECONDS = 7 * 86_400
const APPROVERS_LEAST = 2

const objectOf = (id: string): string => `release:${id}`

/**
 * The counter is the next of all its models, so that one number says what is newer on each.
 *
 * @throws TrustError `notFound` for a model or version that is not there, `conflict` for a version that one of the models has
 */
export async function createRelease(context: UpdatesContext, wanted: NewRelease, actor: string): Promise<Release> {
  const { db, world, organizationId, audit, devices } = context
  const { component, version, feature } = wanted
  const models: ReleaseModel[] = []
  for (const { manufacturer, model, revisions = [] } of wanted.models) {
    const known = await devices.modelNamed(manufacturer, model)
    const other = revisions.find((revision) => !known.revisions.includes(revision))
    if (other !== undefined) throw new TrustError('notFound', 'revisionUnknown', { facts: { name: other } })
    models.push({ modelId: known.id, manufacturer, model, revisions })
  }
  const modelIds = models.map(({ modelId }) => modelId).toSorted() // two at once wait for each other in one order
  if (new Set(modelIds).size !== modelIds.length) throw new TrustError('malformed', 'releaseModelTwice')
  const source = wanted.source === undefined ? undefined : await counterOf(context, modelIds, component, wanted.source)
  const requires: Requirement[] = []
  for (const one of wanted.requires ?? [])
    requires.push({ component: one.component, counterMin: await counterOf(context, modelIds, one.component, one.version) })
  const id = uuidv7(world)
  const now = world.clock.now()
  const keepRelease = async (tx: Transaction): Promise<void> => {
    const counter = await nextCounter(context, tx, modelIds, component)
    await tx.query(
      `INSERT INTO software_release (id, organization_id, version, component, release_version, counter, source, requires, feature, state,
          created_by, created_at, changed_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, 'draft', ?, ?, ?)`,
      ...[id, organizationId, component, version, counter],
      ...[source === undefined ? null : JSON.stringify({ counterMin: source, version: wanted.source })],
      ...[JSON.stringify(requires), feature ?? null, actor, now, now],
    )
    for (const { modelId, manufacturer, model, revisions } of models)
      await tx.query(
        `INSERT INTO release_model (release_id, organization_id, model_id, manufacturer, model, revisions, component, release_version, counter)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        ...[id, organizationId, modelId, manufacturer, model, JSON.stringify(revisions), component, version, counter],
      )
    const facts = { component, version, counter, models: modelNames(models) }
    await audit.record(tx, { actor, act: 'release.create', object: objectOf(id), outcome: 'done', facts })
  }
  try {
    await db.transaction(keepRelease)
  } catch (error) {
    throw isDuplicate(error, 'release_model')
      ? new TrustError('conflict', 'releaseExists', { facts: { component, version }, cause: error })
      : error
  }
  return openRelease(context, id)
}

const modelNames = (models: readonly ReleaseModel[]): string =>
  models
    .map(
      ({ manufacturer, model, revisions }) =>
        `${manufacturer}/${model}${revisions.length === 0 ? '' : ` ${revisions.join(' ')}`}`,
    )
    .join(', ')

async function nextCounter(
  { organizationId }: UpdatesContext,
  tx: Transaction,
  modelIds: readonly string[],
  component: string,
): Promise<number> {
  let next = 0
  for (const modelId of modelIds) {
    const [row] = await tx.query<{ counter: number }>(
      `INSERT INTO release_counter (organization_id, model_id, component, counter) VALUES (?, ?, ?, 1)
        ON CONFLICT (organization_id, model_id, component) DO UPDATE SET counter = release_counter.counter + 1 RETURNING counter`,
      ...[organizationId, modelId, component],
    )
    next = Math.max(next, row?.counter ?? 0)
  }
  for (const modelId of modelIds)
    await tx.query(
      'UPDATE release_counter SET counter = ? WHERE organization_id = ? AND model_id = ? AND component = ?',
      ...[next, organizationId, modelId, component],
    )
  return next
}

/** Of a version, where several models have it the highest. @throws TrustError `notFound` */
async function counterOf(
  { db, organizationId }: UpdatesContext,
  modelIds: readonly string[],
  component: string,
  version: string,
): Promise<number> {
  const [row] = await db.query<{ counter: number | null }>(
    `SELECT MAX(counter) AS counter FROM release_model WHERE organization_id = ? AND component = ? AND release_version = ?
      AND model_id IN (${modelIds.map(() => '?').join(', ')})`,
    ...[organizationId, component, version, ...modelIds],
  )
  if (row === undefined || row.counter === null)
    throw new TrustError('notFound', 'releaseVersionUnknown', { facts: { component, version } })
  return row.counter
}

/** Every device gets these beside the files of its release: the director's statement, and the manifest. */
const PAPERS: ReadonlySet<string> = new Set([STATEMENT_FILE, MANIFEST_FILE])

export interface NewArtifact {
  readonly name: string
  readonly format: string
  /** Of this installation: its certificate is what the signature is judged by. */
  readonly signer: string
  readonly octets: number | undefined
  readonly pieces: AsyncIterable<Uint8Array>
}

/**
 * Takes an artifact as its signer signed it. One whose signature stands beside it comes first, and the signature then, by the
 * artifact's name and an ending.
 *
 * @throws TrustError `conflict` unless it is a draft, `badProof` when its signature is not good or not the signer's
 */
export async function addArtifact(context: UpdatesContext, id: string, wanted: NewArtifact, actor: string): Promise<Release> {
  const { files, world, organizationId, audit } = context
  const release = await openRelease(context, id)
  checkState(release, 'draft')
  const { name, format, signer: signerName } = wanted
  if (PAPERS.has(name.toLowerCase())) throw new TrustError('conflict', 'releaseArtifactTwice', { facts: { name } })
  if (release.artifacts.some((one) => one.name.toLowerCase() === name.toLowerCase()))
    throw new TrustError('conflict', 'releaseArtifactTwice', { facts: { name } })
  if (release.artifacts.length >= ARTIFACTS_MAX)
    throw new TrustError('tooLarge', 'releaseArtifacts', { facts: { limit: ARTIFACTS_MAX } })
  // they are in the order of their names: of those that it goes on after, the last has the longest
  const content = release.artifacts.findLast((one) => isBeside({ name, format }, one))
  const {
    octets,
    digest,
    seen: verified,
  } = await files.take(wanted.pieces, wanted.octets, (file) =>
    content === undefined
      ? verifySigned(context, { format, signerName, file })
      : files.withFile(content.digest, (signed) => verifySigned(context, { format, signerName, file, content: signed })),
  )
  await keep(context.db, [
    stepToChange(release),
    {
      sql: `INSERT INTO release_artifact (id, organization_id, version, release_id, name, format, octets, digest, signer_name, signer,
          added_by, added_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [
        ...[uuidv7(world), organizationId, id, name, format, octets, digest, signerName, verified ?? null],
        ...[actor, world.clock.now()],
      ],
    },
    ...(content === undefined ? [] : [stepToSign(id, content.name, verified)]),
    audit.statement({
      ...{ actor, act: 'release.add-artifact', object: objectOf(id), outcome: 'done' },
      facts: { name, format, octets, digest, signer: signerName },
    }),
  ])
  return openRelease(context, id)
}

/** What lay there without a signature has got one. */
const stepToSign = (id: string, name: string, signer: string | undefined): Step => ({
  sql: 'UPDATE release_artifact SET signer = ?, version = version + 1 WHERE release_id = ? AND name = ?',
  parameters: [signer ?? null, id, name],
})

/** @throws TrustError `malformed`, `tooLarge`, `conflict` unless it is a draft */
export async function attachSBOM(
  context: UpdatesContext,
  id: string,
  { octets, pieces }: Pick<NewArtifact, 'octets' | 'pieces'>,
  actor: string,
): Promise<{ readonly release: Release; readonly sbom: SBOM }> {
  const release = await openRelease(context, id)
  checkState(release, 'draft')
  const { digest, seen: sbom } = await context.files.take(pieces, octets, async (file) => {
    if (file.size > SBOM_MAX_OCTETS) throw new TrustError('tooLarge', 'sbomTooLarge', { facts: { limit: SBOM_MAX_OCTETS } })
    return parseSBOM(await file.read(0, file.size))
  })
  await keep(context.db, [
    stepToChange(release, { sbom: digest }),
    context.audit.statement({
      ...{ actor, act: 'release.attach-sbom', object: objectOf(id), outcome: 'done' },
      facts: { digest, ...sbom },
    }),
  ])
  return { release: await openRelease(context, id), sbom }
}

export type Outcome =
  | { readonly state: 'done'; readonly release: Release }
  | { readonly state: 'waiting'; readonly approval: Approval }

/**
 * Asks two people, and approves it once they have agreed to this very manifest; who asks does not count.
 *
 * @throws TrustError `conflict` unless it is a draft that is complete
 */
export async function approveRelease(context: UpdatesContext, id: string, by: Voter): Promise<Outcome> {
  const { approvals, audit, world } = context
  const release = await openRelease(context, id)
  checkState(release, 'draft')
  if (release.artifacts.length === 0) throw new TrustError('conflict', 'releaseEmpty')
  checkSigned(release.artifacts)
  const manifest = manifestOf(release)
  const { component, version, counter } = release
  const act: Act = {
    kind: APPROVE_RELEASE,
    object: objectOf(id),
    parameters: { component, version, counter, models: modelNames(release.models), manifest: manifestDigest(manifest).toHex() },
  }
  const rule = {
    least: APPROVERS_LEAST,
    approvers: { roles: ['approver'], people: [] },
    usesMax: 1,
    validSeconds: APPROVED_SECONDS,
  }
  const outcome = await approvals.perform(act, rule, by, async (tx, approvalId) => {
    const facts = { component, version, counter, manifest: manifestDigest(manifest).toHex(), approval: approvalId }
    await take(tx, [
      stepToChange(release, { state: 'approved', manifest: encodeManifest(manifest), approval_id: approvalId }),
      audit.statement({ actor: by.actor, act: APPROVE_RELEASE, object: objectOf(id), outcome: 'done', facts }),
      messageStatement(world, messageOf(context, release, 'approved')),
    ])
  })
  return outcome.state === 'waiting' ? outcome : { state: 'done', release: await openRelease(context, id) }
}

/**
 * Signs the manifest as whoever makes the software, and lets it out.
 *
 * @param signer of software: not the director's, or one key would say both
 * @throws TrustError `conflict` unless it is approved; as `signMessage`
 */
export async function publishRelease(
  context: UpdatesContext,
  id: string,
  signer: string,
  by: Voter & { readonly roles: readonly string[] },
): Promise<Outcome> {
  const { signing, audit, world, settings } = context
  const release = await openRelease(context, id)
  checkState(release, 'approved')
  if (signer === settings.directorSigner)
    throw new TrustError('policyRefused', 'releaseSignerDirector', { facts: { name: signer } })
  const payload = release.manifest ?? new Uint8Array()
  if (!equal(payload, encodeManifest(manifestOf(release)))) throw new TrustError('conflict', 'releaseChanged')
  const signed = await signMessage(signing, signer, { form: 'cose', typ: MANIFEST_TYPE, payload }, onBehalf('server:updates', by))
  if (signed.state === 'waiting') return signed
  const facts = { component: release.component, version: release.version, counter: release.counter, signer, entry: signed.entry }
  await keep(context.db, [
    stepToChange(release, { state: 'published', message: signed.octets, published_at: world.clock.now() }),
    audit.statement({ actor: by.actor, act: 'release.publish', object: objectOf(id), outcome: 'done', facts }),
    messageStatement(world, messageOf(context, release, 'published')),
  ])
  return { state: 'done', release: await openRelease(context, id) }
}

/** Nobody is offered it any more; who has it keeps it. @throws TrustError `conflict` when it is so already */
export async function withdrawRelease(context: UpdatesContext, id: string, reason: string, actor: string): Promise<Release> {
  const release = await openRelease(context, id)
  if (release.state === 'withdrawn') throw stateOther(release)
  const facts = { component: release.component, version: release.version, counter: release.counter, from: release.state }
  await keep(context.db, [
    stepToChange(release, { state: 'withdrawn', reason }),
    context.audit.statement({ actor, act: 'release.withdraw', object: objectOf(id), outcome: 'done', facts }),
    messageStatement(context.world, messageOf(context, release, 'withdrawn')),
  ])
  return openRelease(context, id)
}

/** An artifact in an envelope for these certificates; for whom is in the audit log. @throws TrustError `notFound`; as `seal` */
export async function sealArtifact(
  context: UpdatesContext,
  id: string,
  { digest, recipients }: { readonly digest: string; readonly recipients: Recipients },
  actor: string,
): Promise<Sealed> {
  const { db, audit, files, world } = context
  const { artifacts } = await openRelease(context, id)
  if (artifacts.every((one) => one.digest !== digest)) throw noSuchFile(id, digest)
  const octets = await files.withFile(digest, async ({ size }) => size)
  const sealed = await seal({ octets, read: () => files.read(digest, 0, octets) }, recipients, world.random)
  const facts = { digest, recipients: recipients.map((one) => fingerprint(one).toHex()).join(' ') }
  await keep(db, [audit.statement({ actor, act: 'release.seal', object: objectOf(id), outcome: 'done', facts })])
  return sealed
}

export const noSuchFile = (release: string, digest: string): TrustError =>
  new TrustError('notFound', 'releaseFileUnknown', { facts: { release, digest } })

const messageOf = ({ organizationId }: UpdatesContext, { id, component }: Release, state: ReleaseState) => ({
  topic: `release.${state}`,
  organization: organizationId,
  payload: { id, component },
})

/** What is approved, signed and named by statements. */
export function manifestOf({
  id,
  component,
  version,
  counter,
  models,
  source,
  requires,
  artifacts,
  feature,
  sbom,
}: Release): ReleaseManifest {
  const manifest: ReleaseManifest = {
    release: id,
    component,
    version,
    counter,
    models: models.map(({ manufacturer, model, revisions }) => ({ manufacturer, model, revisions })),
    source,
    requires: requires.length === 0 ? undefined : requires,
    artifacts: artifacts.map(toArtifact),
    feature,
    sbom: sbom === undefined ? undefined : Uint8Array.fromHex(sbom),
  }
  return parseManifest(encodeManifest(manifest)) // what devices would refuse is refused here
}

const toArtifact = ({ name, format, octets, digest }: ReleaseArtifact): Artifact => ({
  name,
  format,
  octets,
  sha256: Uint8Array.fromHex(digest),
})

const stateOther = ({ state }: Release): TrustError => new TrustError('conflict', 'releaseState', { facts: { state } })

function checkState(release: Release, state: ReleaseState): void {
  if (release.state !== state) throw stateOther(release)
}

interface Changes {
  readonly state?: ReleaseState
  readonly sbom?: string
  readonly manifest?: Uint8Array
  readonly message?: Uint8Array
  readonly approval_id?: string
  readonly published_at?: number
  readonly reason?: string
}

/** Of two at once, the second finds another one than it looked at. */
function stepToChange({ id, change }: Release, changes: Changes = {}): Step {
  const columns = Object.entries(changes) as [string, string | number | Uint8Array][]
  const sets = [...columns.map(([column]) => `${column} = ?`), 'version = version + 1'].join(', ')
  return {
    sql: `UPDATE software_release SET ${sets} WHERE id = ? AND version = ? RETURNING id`,
    parameters: [...columns.map(([, value]) => value), id, change],
    expects: { id },
    refusal: () => new TrustError('conflict', 'releaseChanged'),
  }
}

const COLUMNS = `id, version, component, release_version, counter, source, requires, feature, sbom, state, manifest, message, approval_id,
  reason, created_by, created_at, published_at`

interface ReleaseRow extends Row {
  readonly id: string
  readonly version: number
  readonly component: string
  readonly release_version: string
  readonly counter: number
  readonly source: string | null
  readonly requires: string
  readonly feature: string | null
  readonly sbom: string | null
  readonly state: ReleaseState
  readonly manifest: Uint8Array | null
  readonly message: Uint8Array | null
  readonly approval_id: string | null
  readonly reason: string | null
  readonly created_by: string
  readonly created_at: number
  readonly published_at: number | null
}

/** @throws TrustError `notFound` */
export async function openRelease(
  { db, organizationId }: Pick<UpdatesContext, 'db' | 'organizationId'>,
  id: string,
): Promise<Release> {
  const [row] = await db.query<ReleaseRow>(
    `SELECT ${COLUMNS} FROM software_release WHERE id = ? AND organization_id = ?`,
    id,
    organizationId,
  )
  if (row === undefined) throw new TrustError('notFound', 'releaseUnknown', { facts: { release: id } })
  return (await withParts(db, [row]))[0] as Release
}

export interface ListReleases {
  readonly component?: string | undefined
  readonly state?: ReleaseState | undefined
  readonly limit: number
  /** Id of the last of the page before. */
  readonly after?: string | undefined
}

/** Newest first. */
export async function listReleases(
  { db, organizationId }: Pick<UpdatesContext, 'db' | 'organizationId'>,
  { component, state, limit, after }: ListReleases,
): Promise<readonly Release[]> {
  const conditions: (readonly [string, string])[] = [['organization_id = ?', organizationId]]
  if (component !== undefined) conditions.push(['component = ?', component])
  if (state !== undefined) conditions.push(['state = ?', state])
  if (after !== undefined) conditions.push(['id < ?', after])
  const rows = await db.query<ReleaseRow>(
    `SELECT ${COLUMNS} FROM software_release WHERE ${conditions.map(([sql]) => sql).join(' AND ')} ORDER BY id DESC LIMIT ?`,
    ...conditions.map(([, value]) => value),
    limit,
  )
  return withParts(db, rows)
}

interface ModelRow extends Row {
  readonly release_id: string
  readonly model_id: string
  readonly manufacturer: string
  readonly model: string
  readonly revisions: string
}

interface ArtifactRow extends Row {
  readonly release_id: string
  readonly name: string
  readonly format: string
  readonly octets: number
  readonly digest: string
  readonly signer_name: string
  readonly signer: string | null
}

async function withParts(db: Queries, rows: readonly ReleaseRow[]): Promise<readonly Release[]> {
  if (rows.length === 0) return []
  const ids = rows.map(({ id }) => id)
  const marks = ids.map(() => '?').join(', ')
  const [models, artifacts] = await Promise.all([
    db.query<ModelRow>(
      `SELECT release_id, model_id, manufacturer, model, revisions FROM release_model WHERE release_id IN (${marks}) ORDER BY manufacturer, model`,
      ...ids,
    ),
    db.query<ArtifactRow>(
      `SELECT release_id, name, format, octets, digest, signer_name, signer FROM release_artifact WHERE release_id IN (${marks}) ORDER BY name`,
      ...ids,
    ),
  ])
  return rows.map((row) => ({
    id: row.id,
    change: row.version,
    component: row.component,
    version: row.release_version,
    counter: row.counter,
    models: models
      .filter(({ release_id }) => release_id === row.id)
      .map(({ model_id: modelId, manufacturer, model, revisions }) => ({
        ...{ modelId, manufacturer, model },
        revisions: JSON.parse(revisions) as readonly string[],
      })),
    source: row.source === null ? undefined : (JSON.parse(row.source) as NonNullable<Release['source']>),
    requires: JSON.parse(row.requires) as readonly Requirement[],
    feature: row.feature ?? undefined,
    sbom: row.sbom ?? undefined,
    state: row.state,
    artifacts: artifacts
      .filter(({ release_id }) => release_id === row.id)
      .map(({ name, format, octets, digest, signer_name: signerName, signer }) => ({
        ...{ name, format, octets, digest, signerName },
        signer: signer ?? undefined,
      })),
    manifest: row.manifest ?? undefined,
    message: row.message ?? undefined,
    approvalId: row.approval_id ?? undefined,
    reason: row.reason ?? undefined,
    createdBy: row.created_by,
    createdAt: row.created_at,
    publishedAt: row.published_at ?? undefined,
  }))
}
