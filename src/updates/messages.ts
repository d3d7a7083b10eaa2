/**
 * What lets one device install one version: the manifest of a release, by whoever makes the software, and the statement of the
 * director, by whoever looks after the device. A device installs what both of them and its own facts agree on.
 *
 * The manifest says for which models and revisions a release is, and which octets it consists of; it is signed once, where no
 * server that is on the network has the key. The statement says that this very device may install it now. So a director that is
 * in wrong hands cannot make a device take software of another model, and a signer of software cannot make it take an old one.
 *
 * Deterministic CBOR with integer labels, in a COSE_Sign1 whose type is signed with it. Pure: no clock, no disk.
 *
 * Source: Uptane Standard 2.1.0, 5.2 and 5.4 (two repositories); RFC 9052; RFC 9596 (typ).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import {
  encodeRecord,
  field,
  type Infer,
  integer,
  list,
  octets,
  optional,
  parseRecord,
  productSerial,
  record,
  text,
  time,
  word,
} from '#cbor/record.ts'
import { type MessageTrust, type TrustedSigner, verifyMessage } from '#signing/messages.ts'

export const DIRECTOR_TYPE = 'application/sealworks-director+cbor'
export const MANIFEST_TYPE = 'application/sealworks-release+cbor'
/** What they are called where they are served beside the files of a release. */
export const STATEMENT_FILE = 'director.cose'
export const MANIFEST_FILE = 'release.cose'
/** The lists at their longest, and a chain of ML-DSA certificates. */
export const STATEMENT_MAX_OCTETS = 96 << 10

/** One payload for each update tool, and what a multi-part package needs. */
export const ARTIFACTS_MAX = 16
/** Of one model; more are several releases. */
export const REVISIONS_MAX = 64
export const MODELS_MAX = 64
export const REQUIRED_MAX = 32

const Uuid = text(36, /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
const Name = text(64)
/** Of a release: how many-th of its component for its model. Versions are for people; this is what is compared. */
const Counter = integer(1)
const Digest = octets(32)

/** Octets that a release consists of. */
export const Artifact = record({
  /** A file's name: it leads nowhere else. */
  name: field(1, text(128, /^[A-Za-z0-9_+][A-Za-z0-9._+-]*$/)),
  /** Signing format: who signed it is found as that says. */
  format: field(2, text(32, /^[a-z0-9-]+$/)),
  octets: field(3, integer(1)),
  sha256: field(4, Digest),
})
export type Artifact = Infer<typeof Artifact>

/** Another component that has to be there first, at this counter or above. */
export const Requirement = record({ component: field(1, Name), counterMin: field(2, Counter) })
export type Requirement = Infer<typeof Requirement>

/** From which version of the component one may come; what is below goes over another release first. */
const Source = record({ counterMin: field(1, Counter), version: field(2, Name) })

const Model = record({
  manufacturer: field(1, Name),
  model: field(2, Name),
  /** Hardware revisions; all of the model when empty. */
  revisions: field(3, list(Name, { max: REVISIONS_MAX })),
})

const ReleaseManifest = record({
  release: field(1, Uuid),
  component: field(2, Name),
  version: field(3, Name),
  counter: field(4, Counter),
  models: field(5, list(Model, { min: 1, max: MODELS_MAX })),
  source: optional(6, Source),
  requires: optional(7, list(Requirement, { min: 1, max: REQUIRED_MAX })),
  artifacts: field(8, list(Artifact, { min: 1, max: ARTIFACTS_MAX })),
  /** A feature that the device must be licensed for. */
  feature: optional(9, Name),
  /** Of the bill of materials. */
  sbom: optional(10, Digest),
})
export type ReleaseManifest = Infer<typeof ReleaseManifest>

const DirectorStatement = record({
  id: field(1, Uuid),
  device: field(2, record({ manufacturer: field(1, Name), productSerial: field(2, productSerial), birthKey: field(3, Digest) })),
  owner: field(3, record({ name: field(1, Name), epoch: field(2, integer(0)) })),
  area: optional(4, Name),
  model: field(5, Name),
  /** Hardware revisions; all of the model when empty. */
  revisions: field(6, list(Name, { max: REVISIONS_MAX })),
  component: field(7, Name),
  release: field(8, Uuid),
  version: field(9, Name),
  counter: field(10, Counter),
  source: optional(11, Source),
  requires: optional(12, list(Requirement, { min: 1, max: REQUIRED_MAX })),
  artifacts: field(13, list(Artifact, { min: 1, max: ARTIFACTS_MAX })),
  /** Of the release's manifest. */
  manifest: field(14, Digest),
  feature: optional(15, Name),
  /** Of what the owner or the driver agreed to. */
  consent: optional(16, Digest),
  /** Of the campaign: what the device's answers name. */
  action: field(17, text(64, /^[A-Za-z0-9:._-]+$/)),
  /** Goes up with every statement to this device. */
  sequence: field(18, integer(1)),
  issuedAt: field(19, time),
  expiresAt: field(20, time),
  kind: field(21, word(['install', 'rollback'])),
  /** Only to roll back: from the very counter that the device has. */
  rollback: optional(22, record({ from: field(1, Counter), to: field(2, Counter) })),
})
export type DirectorStatement = Infer<typeof DirectorStatement>

const sha256 = (encoded: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(encoded).digest())

export const encodeStatement = (statement: DirectorStatement): Uint8Array => encodeRecord(DirectorStatement, statement)
export const encodeManifest = (manifest: ReleaseManifest): Uint8Array => encodeRecord(ReleaseManifest, manifest)

/** What people approve, and what each statement names. */
export const manifestDigest = (manifest: ReleaseManifest): Uint8Array => sha256(encodeManifest(manifest))

const contradicts = (detail: string): TrustError => new TrustError('malformed', 'notUpdateMessage', { facts: { detail } })

/** What is signed, after the signature was checked. @throws TrustError `malformed`, `tooLarge` */
export function parseStatement(payload: Uint8Array): DirectorStatement {
  const statement = parseRecord(DirectorStatement, payload, { what: 'the statement', maxOctets: STATEMENT_MAX_OCTETS })
  const { issuedAt, expiresAt, kind, rollback, counter } = statement
  if (expiresAt <= issuedAt) throw contradicts('it ends before it begins')
  if ((kind === 'rollback') !== (rollback !== undefined)) throw contradicts('it does not say whether to go back')
  if (rollback !== undefined && (rollback.to !== counter || rollback.from <= rollback.to))
    throw contradicts('it goes back to nothing older')
  checkNames(statement.artifacts)
  return statement
}

/** @throws TrustError `malformed`, `tooLarge` */
export function parseManifest(payload: Uint8Array): ReleaseManifest {
  const manifest = parseRecord(ReleaseManifest, payload, { what: 'the manifest', maxOctets: STATEMENT_MAX_OCTETS })
  checkNames(manifest.artifacts)
  const named = manifest.models.map(({ manufacturer, model }) => `${manufacturer}\n${model}`)
  if (new Set(named).size !== named.length) throw contradicts('it names a model twice')
  return manifest
}

function checkNames(artifacts: readonly Artifact[]): void {
  const names = new Set(artifacts.map(({ name }) => name.toLowerCase())) // as file systems may see them
  if (names.size !== artifacts.length) throw contradicts('it names a file twice')
}

export interface ReadMessage<T> {
  readonly value: T
  readonly signer: TrustedSigner
}

interface Reading {
  readonly trust: MessageTrust
  readonly at: Date
}

async function readMessage<T>(
  message: Uint8Array,
  typ: string,
  parse: (payload: Uint8Array) => T,
  { trust, at }: Reading,
): Promise<ReadMessage<T>> {
  const { form, payload, signers } = await verifyMessage(message, { typ, trust, at, maxOctets: STATEMENT_MAX_OCTETS })
  if (form !== 'cose' || signers.length > 1) throw contradicts('it is no COSE_Sign1')
  return { value: parse(payload), signer: signers[0] }
}

/** @param reading whom the device trusts as director @throws TrustError as `verifyMessage`, and `malformed` */
export const readStatement = (message: Uint8Array, reading: Reading): Promise<ReadMessage<DirectorStatement>> =>
  readMessage(message, DIRECTOR_TYPE, parseStatement, reading)

/** @param reading whom the device trusts to sign software @throws TrustError as `verifyMessage`, and `malformed` */
export const readManifest = (message: Uint8Array, reading: Reading): Promise<ReadMessage<ReleaseManifest>> =>
  readMessage(message, MANIFEST_TYPE, parseManifest, reading)

/** What a device knows of itself, or a server of a device. */
export interface DeviceFacts {
  /** Where it is known; the birth key says it in any case. */
  readonly manufacturer?: string | undefined
  readonly productSerial: string
  /** SHA-256 of the SubjectPublicKeyInfo that it was born with. */
  readonly birthKey: Uint8Array
  readonly model: string
  /** Where it is not known, only what is for all revisions is for this one. */
  readonly revision?: string | undefined
  /** Where it is known; the epoch says it in any case. */
  readonly owner?: string | undefined
  readonly epoch: number
  readonly area?: string | undefined
  /** Counters of the components that are installed. */
  readonly installed: ReadonlyMap<string, number>
  /** It is licensed for. */
  readonly features: ReadonlySet<string>
  /** The last statement that it took. */
  readonly last?: { readonly sequence: number; readonly id: string } | undefined
}

export interface Clocks {
  readonly now: Date
  /** The latest time that it ever knew of, from anything signed. */
  readonly lastSeen: Date
}

/** How far two clocks may differ; one that was mended by less was not set back. */
export const CLOCK_TOLERANCE_SECONDS = 300

/** Why a device does not install what a statement lets it install. */
export const statementRefusals = [
  'updateOtherDevice',
  'updateTwin',
  'updateOtherOwner',
  'updateOtherEpoch',
  'updateOtherArea',
  'updateOtherModel',
  'updateOtherRevision',
  'updateSourceTooOld',
  'updateNotNewer',
  'updateRollbackOther',
  'updateRequires',
  'updateFeature',
  'updateClockBack',
  'updateNotYet',
  'updateExpired',
  'updateReplayed',
] as const satisfies readonly Reason[]
export type StatementRefusal = (typeof statementRefusals)[number]

export interface Refused {
  readonly reason: StatementRefusal
  readonly facts: Facts
}

/** What both the director and the device ask of the device before a release is for it. */
export type Wanted = Pick<
  DirectorStatement,
  'device' | 'owner' | 'area' | 'model' | 'revisions' | 'component' | 'counter' | 'source' | 'requires' | 'feature' | 'rollback'
>

type Check<T> = (asked: T, facts: DeviceFacts) => Facts | undefined

/** In this order, so that who is meant is asked before what. Each says what differs, and nothing when it holds. */
const conditions: readonly (readonly [StatementRefusal, Check<Wanted>])[] = [
  [
    'updateOtherDevice',
    ({ device }, { manufacturer = device.manufacturer, productSerial }) =>
      device.manufacturer === manufacturer && device.productSerial === productSerial
        ? undefined
        : { productSerial: `${device.manufacturer} ${device.productSerial}`, here: `${manufacturer} ${productSerial}` },
  ],
  [
    'updateTwin',
    ({ device: { birthKey, productSerial } }, facts) => (equal(birthKey, facts.birthKey) ? undefined : { productSerial }),
  ],
  [
    'updateOtherOwner',
    ({ owner }, { owner: here = owner.name }) => (owner.name === here ? undefined : { owner: owner.name, here }),
  ],
  [
    'updateOtherEpoch',
    ({ owner }, facts) => (owner.epoch === facts.epoch ? undefined : { epoch: owner.epoch, here: facts.epoch }),
  ],
  [
    'updateOtherArea',
    ({ area }, facts) => (area === facts.area ? undefined : { area: area ?? 'none', here: facts.area ?? 'none' }),
  ],
  ['updateOtherModel', ({ model }, facts) => (model === facts.model ? undefined : { model, here: facts.model })],
  [
    'updateOtherRevision',
    ({ revisions }, { revision }) =>
      revisions.length === 0 || (revision !== undefined && revisions.includes(revision))
        ? undefined
        : { revisions: revisions.join(', '), here: revision ?? 'unknown' },
  ],
  [
    'updateRollbackOther',
    ({ component, rollback }, { installed }) =>
      rollback === undefined || rollback.from === installed.get(component)
        ? undefined
        : { component, from: rollback.from, here: installed.get(component) ?? 0 },
  ],
  [
    'updateNotNewer',
    ({ component, counter, rollback }, { installed }) =>
      rollback !== undefined || counter > (installed.get(component) ?? 0)
        ? undefined
        : { component, counter, here: installed.get(component) ?? 0 },
  ],
  [
    'updateSourceTooOld',
    ({ component, source, rollback }, { installed }) =>
      source === undefined || rollback !== undefined || (installed.get(component) ?? 0) >= source.counterMin
        ? undefined
        : { component, version: source.version, counter: source.counterMin, here: installed.get(component) ?? 0 },
  ],
  [
    'updateRequires',
    ({ requires = [] }, { installed }) => {
      const missing = requires.find(({ component, counterMin }) => (installed.get(component) ?? 0) < counterMin)
      return missing && { component: missing.component, counter: missing.counterMin, here: installed.get(missing.component) ?? 0 }
    },
  ],
  ['updateFeature', ({ feature }, { features }) => (feature === undefined || features.has(feature) ? undefined : { feature })],
]

/** Whether a release is for a device. @returns the first condition that does not hold; undefined when all do */
export function refusalOf(wanted: Wanted, facts: DeviceFacts): Refused | undefined {
  for (const [reason, check] of conditions) {
    const differs = check(wanted, facts)
    if (differs !== undefined) return { reason, facts: differs }
  }
  return undefined
}

function refusalOfTime({ issuedAt, expiresAt }: DirectorStatement, { now, lastSeen }: Clocks): Refused | undefined {
  const tolerance = CLOCK_TOLERANCE_SECONDS * 1000
  if (now.getTime() < lastSeen.getTime() - tolerance)
    return { reason: 'updateClockBack', facts: { now: now.toISOString(), lastSeen: lastSeen.toISOString() } }
  if (now.getTime() < issuedAt.getTime() - tolerance) return { reason: 'updateNotYet', facts: { from: issuedAt.toISOString() } }
  const latest = Math.max(now.getTime(), lastSeen.getTime())
  return latest >= expiresAt.getTime() ? { reason: 'updateExpired', facts: { until: expiresAt.toISOString() } } : undefined
}

/** The one that it took last may be shown again: an update that was cut goes on with it. */
function refusalOfSequence({ id, sequence }: DirectorStatement, { last }: DeviceFacts): Refused | undefined {
  if (last === undefined || sequence > last.sequence || (sequence === last.sequence && id === last.id)) return undefined
  return { reason: 'updateReplayed', facts: { sequence, last: last.sequence } }
}

/**
 * Whether this device may install this now.
 *
 * @param statement read by {@link readStatement}: it is signed by a director whom the device trusts
 * @throws TrustError `policyRefused`, for one of {@link statementRefusals}
 */
export function checkStatement(statement: DirectorStatement, facts: DeviceFacts, clocks: Clocks): void {
  const refused = refusalOf(statement, facts) ?? refusalOfTime(statement, clocks) ?? refusalOfSequence(statement, facts)
  if (refused !== undefined) throw new TrustError('policyRefused', refused.reason, { facts: refused.facts })
}

/**
 * Whether the maker of the software says of this release what the director says of it.
 *
 * @param manifest read by {@link readManifest}: it is signed by whom the device trusts to sign software
 * @throws TrustError `policyRefused` (`updateManifestOther`)
 */
export function checkManifest(manifest: ReleaseManifest, statement: DirectorStatement): void {
  const differs = manifestDifference(manifest, statement)
  if (differs !== undefined) throw new TrustError('policyRefused', 'updateManifestOther', { facts: { detail: differs } })
}

function manifestDifference(manifest: ReleaseManifest, statement: DirectorStatement): string | undefined {
  const { device, model, revisions, artifacts } = statement
  if (!equal(manifestDigest(manifest), statement.manifest)) return 'it is another manifest'
  const meant = manifest.models.find((one) => one.manufacturer === device.manufacturer && one.model === model)
  if (meant === undefined) return 'it is not for this model'
  const { release, component, version, counter, source, requires, feature } = statement
  const { sbom } = manifest
  const said = {
    release,
    component,
    version,
    counter,
    source,
    requires,
    feature,
    artifacts,
    sbom,
    models: [{ ...meant, revisions }],
  }
  if (!equal(encodeManifest(said), encodeManifest({ ...manifest, artifacts, models: [meant] })))
    return 'it says other things of the release'
  const known = new Set(manifest.artifacts.map((one) => encodeRecord(Artifact, one).toHex()))
  return artifacts.every((one) => known.has(encodeRecord(Artifact, one).toHex())) ? undefined : 'its artifacts are others'
}
