/**
 * Licenses: which features of which device may be used until when, signed by whom the device trusts for it, and bound to the key
 * that the device was born with. Schema and pure verification, for the device as well as for whoever issues them.
 *
 * One schema in two encodings: claims of a JWT in a compact JWS, and the same claims of a CWT in a COSE_Sign1. Renewals of a
 * device's certificates and changes of its owner leave its birth key as it is, and so the license; one that is not transferable
 * names the owner's epoch and ends with it.
 *
 * Nothing here asks a network. What a device has to remember between two checks (the latest time that it saw, the highest
 * sequence of each license, the newest list of what was revoked) is handed in, and kept by whoever asks.
 *
 * Source: RFC 7519; RFC 8392 (CWT); RFC 7800 and RFC 8747 (cnf); RFC 9449, 6 (`jkt`); RFC 9679, 5.6 (`ckt`); RFC 7638.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { compare, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CBOR, type CBORMap, encodeCBOR, type Label, parseCBOR } from '#cbor/cbor.ts'
import { coseKeyThumbprint } from '#cbor/cose-key.ts'
import { arrayOf, integerOf, mapOf, octetsOf } from '#cbor/typed.ts'
import { fromBase64url, toBase64url } from '#jose/base64url.ts'
import { isJSONObject, type JSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import { type MessageTrust, type VerifiedMessage, verifyMessage } from '#signing/messages.ts'

export const licenseForms = ['cwt', 'jws'] as const
export type LicenseForm = (typeof licenseForms)[number]

/** What is signed says what it is, so that no other message of the same key passes for it. */
export const LICENSE_TYPES = { cwt: 'license+cwt', jws: 'license+jwt' } as const satisfies Record<LicenseForm, string>
export const STATUS_TYPE = 'license-status+cwt'

/** All features with their names at their longest, and a chain of ML-DSA certificates. */
export const LICENSE_MAX_OCTETS = 64 << 10
export const FEATURES_MAX = 64
/** A limit of a feature is a count of something that a person has sold. */
export const LIMIT_MAX = 1_000_000_000
/** Of a license that is replaced so often every second for a century. */
export const SEQUENCE_MAX = 0xffff_fffe
export const EPOCH_MAX = 1_000_000
export const GRACE_MAX_DAYS = 366
export const OFFLINE_MAX_DAYS = 3660
const SECONDS_MAX = Date.UTC(9999, 11, 31) / 1000
/** More licenses of one maker than are ever revoked and not yet ended; 1.3 MB. */
export const STATUS_ENTRIES_MAX = 65_536
const ENTRY_OCTETS = 20
export const STATUS_MAX_OCTETS = STATUS_ENTRIES_MAX * ENTRY_OCTETS + (64 << 10)
/** Clocks of devices and servers differ by minutes. */
export const CLOCK_TOLERANCE_MILLISECONDS = 600_000
const DAY_MILLISECONDS = 86_400_000

export interface Feature {
  readonly name: string
  /** How much of it; what it counts is the feature's own matter. */
  readonly limit?: number
}

/** Thumbprint of the key that the device was born with, as base64url: of the JSON Web Key, or of the COSE key. */
export type Confirmation = { readonly jkt: string } | { readonly ckt: string }

/** Times are in milliseconds, of whole seconds. */
export interface License {
  readonly id: string
  /** Grows with each license that takes the place of this one. */
  readonly sequence: number
  /** Who made the device: the name of the organization. */
  readonly issuer: string
  readonly productSerial: string
  /** `MANUFACTURER/MODEL` */
  readonly model: string
  readonly confirmation: Confirmation
  readonly features: readonly Feature[]
  readonly issuedAt: number
  readonly notBefore: number
  /** Without it the license has no end. */
  readonly expiresAt?: number
  /** After its end, for as long as somebody needs to renew it. */
  readonly graceDays: number
  /** Of a license that is not transferable: it ends with the epoch. */
  readonly owner?: { readonly name: string; readonly epoch: number }
  /** How long it holds without word from its issuer. */
  readonly offlineMaxDays?: number
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notLicense', { facts: { detail } })

/** Both thumbprints of a key: whichever a license names. */
export interface KeyThumbprints {
  readonly jkt: string
  readonly ckt: string
}

export const thumbprintsOf = (key: PublicKey): KeyThumbprints => ({
  jkt: jwkThumbprint(key),
  ckt: toBase64url(coseKeyThumbprint(key)),
})

/** Names of the claims in JSON, with their keys in CBOR; those of our own are of the range for private use (RFC 8392, 9.1). */
const CLAIMS = {
  iss: 1,
  sub: 2,
  exp: 4,
  nbf: 5,
  iat: 6,
  jti: 7,
  cnf: 8,
  seq: -65_537,
  model: -65_538,
  features: -65_539,
  grace: -65_540,
  transferable: -65_541,
  owner: -65_542,
  epoch: -65_543,
  offline: -65_544,
} as const
type Claim = keyof typeof CLAIMS
const claimOf = new Map<Label, Claim>((Object.keys(CLAIMS) as readonly Claim[]).map((name) => [CLAIMS[name], name]))
const CNF_CKT = 5
const FEATURE_LABELS = { name: 1, limit: 2 } as const

/** @returns the payload: what is signed */
export function encodeLicense(license: License): Uint8Array {
  const claims = claimsIn(license)
  return 'ckt' in license.confirmation ? encodeCBOR(toCWT(claims)) : utf8(JSON.stringify(claims))
}

export const formOf = ({ confirmation }: Pick<License, 'confirmation'>): LicenseForm => ('ckt' in confirmation ? 'cwt' : 'jws')

function claimsIn(license: License) {
  const { owner, expiresAt, offlineMaxDays } = license
  return {
    iss: license.issuer,
    sub: license.productSerial,
    jti: license.id,
    iat: license.issuedAt / 1000,
    nbf: license.notBefore / 1000,
    ...(expiresAt !== undefined && { exp: expiresAt / 1000 }),
    cnf: { ...license.confirmation },
    seq: license.sequence,
    model: license.model,
    features: license.features.map(({ name, limit }) => ({ name, ...(limit !== undefined && { limit }) })),
    grace: license.graceDays,
    transferable: owner === undefined,
    ...(owner !== undefined && { owner: owner.name, epoch: owner.epoch }),
    ...(offlineMaxDays !== undefined && { offline: offlineMaxDays }),
  }
}

function toCWT({ jti, cnf, features, ...plain }: ReturnType<typeof claimsIn>): CBORMap {
  const shared = Object.entries(plain).map(([name, value]): [Label, CBOR] => [CLAIMS[name as keyof typeof plain], value])
  return new Map<Label, CBOR>([
    ...shared,
    [CLAIMS.jti, octetsOfId(jti)],
    [CLAIMS.cnf, new Map([[CNF_CKT, fromBase64url('ckt' in cnf ? cnf.ckt : '', 'the thumbprint')]])],
    [
      CLAIMS.features,
      features.map(
        ({ name, limit }) =>
          new Map<Label, CBOR>([
            [FEATURE_LABELS.name, name],
            ...(limit === undefined ? [] : ([[FEATURE_LABELS.limit, limit]] as const)),
          ]),
      ),
    ],
  ])
}

const octetsOfId = (id: string): Uint8Array => Uint8Array.fromHex(id.replaceAll('-', ''))

/** @throws TrustError `malformed`, `tooLarge` */
export function parseLicense(payload: Uint8Array, form: LicenseForm): License {
  if (form === 'jws') return licenseOf(parseJSONObject(payload, LICENSE_MAX_OCTETS))
  return licenseOf(fromCWT(mapOf(parseCBOR(payload, { maxOctets: LICENSE_MAX_OCTETS }), 'the license')))
}

function fromCWT(map: CBORMap): JSONObject {
  const claims: Record<string, JSONValue> = {}
  for (const [label, value] of map) {
    const name = claimOf.get(label)
    if (name === undefined) throw malformed('it says more than this program knows')
    claims[name] =
      name === 'jti'
        ? idOf(value)
        : name === 'cnf'
          ? confirmationOf(value)
          : name === 'features'
            ? featuresOf(value)
            : plainOf(value)
  }
  return claims
}

function plainOf(value: CBOR): JSONValue {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  throw malformed('a claim is of another type')
}

function idOf(value: CBOR): string {
  const octets = octetsOf(value, 'the id')
  if (octets.length !== 16) throw malformed('its id is none')
  return octets.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function confirmationOf(value: CBOR): JSONObject {
  const map = mapOf(value, 'cnf')
  if (map.size !== 1) throw malformed('it does not name one key')
  return { ckt: toBase64url(octetsOf(map.get(CNF_CKT), 'the thumbprint')) }
}

const featuresOf = (value: CBOR): readonly JSONObject[] =>
  arrayOf(value, 'features').map((item) => {
    const map = mapOf(item, 'a feature')
    const limit = map.get(FEATURE_LABELS.limit)
    if (map.size !== (limit === undefined ? 1 : 2)) throw malformed('a feature says more than this program knows')
    return { name: plainOf(map.get(FEATURE_LABELS.name)), ...(limit !== undefined && { limit: plainOf(limit) }) }
  })

function licenseOf({ ...claims }: JSONObject): License {
  if (Object.keys(claims).some((name) => !Object.hasOwn(CLAIMS, name))) throw malformed('it says more than this program knows')
  const { iss, sub, jti, iat, nbf, exp, cnf, seq, model, features, grace, transferable, owner, epoch, offline } = claims
  if (typeof jti !== 'string' || !UUID.test(jti)) throw malformed('its id is none')
  if (typeof transferable !== 'boolean') throw malformed('it does not say whether it is transferable')
  if ((owner === undefined) !== transferable || (epoch === undefined) !== transferable)
    throw malformed('what is not transferable names its owner and the epoch, and nothing else does')
  const issuer = lineIn(iss, 'issuer')
  const notBefore = timeIn(nbf, 'begin')
  const expiresAt = exp === undefined ? undefined : timeIn(exp, 'end')
  if (expiresAt !== undefined && expiresAt <= notBefore) throw malformed('its end is not after its begin')
  const named = lineIn(model, 'model')
  if (!named.startsWith(`${issuer}/`)) throw malformed('its issuer did not make the model')
  return {
    id: jti,
    sequence: countIn(seq, 'sequence', 1, SEQUENCE_MAX),
    issuer,
    productSerial: lineIn(sub, 'device'),
    model: named,
    confirmation: confirmationIn(cnf),
    features: featuresIn(features),
    issuedAt: timeIn(iat, 'time'),
    notBefore,
    ...(expiresAt !== undefined && { expiresAt }),
    graceDays: countIn(grace, 'grace', 0, GRACE_MAX_DAYS),
    ...(!transferable && { owner: { name: lineIn(owner, 'owner'), epoch: countIn(epoch, 'epoch', 1, EPOCH_MAX) } }),
    ...(offline !== undefined && { offlineMaxDays: countIn(offline, 'time without a network', 1, OFFLINE_MAX_DAYS) }),
  }
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** No control characters and nothing that changes the direction of what people read. */
const LINE = /^[^\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{1,128}$/u
export const FEATURE_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/

function lineIn(value: JSONValue | undefined, what: string): string {
  if (typeof value === 'string' && LINE.test(value)) return value
  throw malformed(`its ${what} is missing, or no line of text`)
}

function countIn(value: JSONValue | undefined, what: string, least: number, most: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value
  throw malformed(`its ${what} is no number from ${least} to ${most}`)
}

const timeIn = (value: JSONValue | undefined, what: string): number => countIn(value, what, 0, SECONDS_MAX) * 1000

function confirmationIn(value: JSONValue | undefined): Confirmation {
  const { jkt, ckt, ...others } = isJSONObject(value) ? value : {}
  const thumbprint = jkt ?? ckt
  if (typeof thumbprint !== 'string' || !/^[\w-]{43}$/.test(thumbprint) || Object.keys(others).length > 0 || jkt === ckt)
    throw malformed('it names no key')
  if (jkt !== undefined && ckt !== undefined) throw malformed('it names two keys')
  fromBase64url(thumbprint, 'the thumbprint')
  return jkt === undefined ? { ckt: thumbprint } : { jkt: thumbprint }
}

function featuresIn(list: JSONValue | undefined): readonly Feature[] {
  if (!Array.isArray(list) || list.length === 0 || list.length > FEATURES_MAX)
    throw malformed(`its features are no list of 1 to ${FEATURES_MAX}`)
  const features = (list as readonly JSONValue[]).map((item): Feature => {
    const { name, limit, ...others } = isJSONObject(item) ? item : {}
    if (typeof name !== 'string' || !FEATURE_NAME.test(name) || Object.keys(others).length > 0)
      throw malformed('a feature has no name, or says more than this program knows')
    return { name, ...(limit !== undefined && { limit: countIn(limit, 'limit', 0, LIMIT_MAX) }) }
  })
  if (new Set(features.map(({ name }) => name)).size !== features.length) throw malformed('a feature is in it twice')
  return features
}

/**
 * Reads a license and checks who signed it. A signer that is trusted by a path has to have been so when the license was issued:
 * a license without an end outlives its signer's certificate. Who takes an authority out of the trust list ends all its licenses.
 *
 * @throws TrustError `malformed`, `tooLarge`, `unsupported`; `badProof`, also for a message of another type; `unauthenticated`
 */
export async function readLicense(octets: Uint8Array, trust: MessageTrust): Promise<License> {
  const form = formIn(octets)
  const payload = payloadIn(octets, form, LICENSE_MAX_OCTETS)
  const license = parseLicense(payload, form)
  if (formOf(license) !== form) throw malformed('it names its key as the other form does')
  const at = new Date(license.issuedAt)
  checkSame(payload, await verifyMessage(octets, { typ: LICENSE_TYPES[form], trust, at, maxOctets: LICENSE_MAX_OCTETS }))
  return license
}

/** Every compact JWS begins with an `e`, which no tag of CBOR is. */
const formIn = (octets: Uint8Array): LicenseForm => (octets[0] === 0x65 ? 'jws' : 'cwt')

/** Before its signature is checked, which needs the time that it says; {@link checkSame} says whether it is what was signed. */
function payloadIn(octets: Uint8Array, form: LicenseForm, maxOctets: number): Uint8Array {
  if (octets.length > maxOctets) throw new TrustError('tooLarge', 'jsonTooLarge', { facts: { limit: maxOctets } })
  if (form === 'cwt') {
    const item = parseCBOR(octets, { encoding: 'any', maxOctets })
    const value = typeof item === 'object' && item !== null && 'tag' in item ? item.value : undefined
    return octetsOf(arrayOf(value, 'the message', 4)[2], 'the payload')
  }
  const [, payload = ''] = new TextDecoder('latin1').decode(octets).split('.', 3)
  return fromBase64url(payload, 'the payload')
}

function checkSame(read: Uint8Array, { payload }: VerifiedMessage): void {
  if (!equal(read, payload)) throw malformed('its payload can be read in two ways')
}

/**
 * What an issuer has taken back: the least sequence that still holds, by license. Of each version there is one, and a device
 * that has one takes none that is older.
 */
export interface StatusList {
  readonly issuer: string
  readonly version: number
  readonly issuedAt: number
  /** Ids (16 octets) in their order, each with the least sequence that holds (4 octets); none holds of a revoked license. */
  readonly entries: Uint8Array
}

/** As the least sequence: none is so high. */
export const REVOKED = 0xffff_ffff

export interface StatusEntry {
  readonly id: string
  readonly leastSequence: number
}

/** @throws TrustError `tooLarge` for more than a device reads */
export function statusEntries(list: readonly StatusEntry[]): Uint8Array {
  if (list.length > STATUS_ENTRIES_MAX)
    throw new TrustError('tooLarge', 'licenseStatusLong', { facts: { limit: STATUS_ENTRIES_MAX } })
  const entries = new Uint8Array(list.length * ENTRY_OCTETS)
  const view = new DataView(entries.buffer)
  for (const [at, { id, leastSequence }] of list.toSorted((a, b) => (a.id < b.id ? -1 : 1)).entries()) {
    entries.set(octetsOfId(id), at * ENTRY_OCTETS)
    view.setUint32(at * ENTRY_OCTETS + 16, leastSequence)
  }
  return entries
}

const STATUS_LABELS = { issuer: 1, issuedAt: 6, version: -65_545, entries: -65_546 } as const

export const encodeStatusList = ({ issuer, version, issuedAt, entries }: StatusList): Uint8Array =>
  encodeCBOR(
    new Map<Label, CBOR>([
      [STATUS_LABELS.issuer, issuer],
      [STATUS_LABELS.issuedAt, issuedAt / 1000],
      [STATUS_LABELS.version, version],
      [STATUS_LABELS.entries, entries],
    ]),
  )

/** @throws TrustError `malformed`, `tooLarge` */
export function parseStatusList(payload: Uint8Array): StatusList {
  const map = mapOf(parseCBOR(payload, { maxOctets: STATUS_MAX_OCTETS }), 'the list')
  const known: readonly Label[] = Object.values(STATUS_LABELS)
  if ([...map.keys()].some((label) => !known.includes(label))) throw malformed('the list says more than this program knows')
  const entries = octetsOf(map.get(STATUS_LABELS.entries), 'the entries')
  if (entries.length % ENTRY_OCTETS !== 0 || entries.length > STATUS_ENTRIES_MAX * ENTRY_OCTETS)
    throw malformed('its entries are none, or too many')
  for (let at = ENTRY_OCTETS; at < entries.length; at += ENTRY_OCTETS)
    if (compare(entries.subarray(at - ENTRY_OCTETS, at - 4), entries.subarray(at, at + 16)) >= 0)
      throw malformed('its entries are not in order')
  return {
    issuer: lineIn(plainOf(map.get(STATUS_LABELS.issuer)), 'issuer'),
    version: countIn(integerOf(map.get(STATUS_LABELS.version), 'the version'), 'version', 1, SEQUENCE_MAX),
    issuedAt: timeIn(integerOf(map.get(STATUS_LABELS.issuedAt), 'the time'), 'time'),
    entries,
  }
}

/** @throws TrustError as {@link readLicense} */
export async function readStatusList(octets: Uint8Array, trust: MessageTrust): Promise<StatusList> {
  const payload = payloadIn(octets, 'cwt', STATUS_MAX_OCTETS)
  const list = parseStatusList(payload)
  const at = new Date(list.issuedAt)
  checkSame(payload, await verifyMessage(octets, { typ: STATUS_TYPE, trust, at, maxOctets: STATUS_MAX_OCTETS }))
  return list
}

/** @returns the least sequence of the license that still holds */
export function leastSequence({ entries }: Pick<StatusList, 'entries'>, id: string): number {
  const wanted = octetsOfId(id)
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength)
  let [low, high] = [0, entries.length / ENTRY_OCTETS]
  while (low < high) {
    const middle = (low + high) >> 1
    const order = compare(entries.subarray(middle * ENTRY_OCTETS, middle * ENTRY_OCTETS + 16), wanted)
    if (order === 0) return view.getUint32(middle * ENTRY_OCTETS + 16)
    if (order < 0) low = middle + 1
    else high = middle
  }
  return 0
}

/** What a device knows of itself. */
export interface DeviceFacts {
  /** Of the key that it was born with. */
  readonly keys: KeyThumbprints
  /** Where it knows it. */
  readonly model?: string
  /** The newest that it heard of; 0 for none. */
  readonly epoch: number
}

export interface CheckOptions {
  readonly now: number
  /** The latest time that was ever seen here, also in signed messages; 0 for none. */
  readonly lastSeen: number
  /** The highest of this license that was ever here; 0 for none. */
  readonly storedSequence: number
  /** Of the license's issuer, the newest that is here. */
  readonly status?: StatusList
}

/** Why a license does not hold. The list is closed. */
export const licenseRefusals = [
  'licenseOtherDevice',
  'licenseOtherModel',
  'licenseRolledBack',
  'licenseRevoked',
  'licenseClockBack',
  'licenseOwnerEpoch',
  'licenseNotYet',
  'licenseExpired',
  'licenseOffline',
] as const
export type LicenseRefusal = (typeof licenseRefusals)[number]

export interface Holding {
  /** `grace`: its end is past, and it is to be renewed. */
  readonly state: 'valid' | 'grace'
  /** When it stops to hold, if nothing else comes; undefined for never. */
  readonly until: number | undefined
}

/**
 * Whether a license that was read holds, on this device, now.
 *
 * @throws TrustError `policyRefused`, with one of {@link licenseRefusals}
 */
export function checkLicense(license: License, device: DeviceFacts, options: CheckOptions): Holding {
  const { now, lastSeen, storedSequence, status } = options
  const refused = (reason: LicenseRefusal, facts: Record<string, string | number> = {}): TrustError =>
    new TrustError('policyRefused', reason, { facts: { license: license.id, ...facts } })
  const time = (at: number): string => new Date(at).toISOString()

  if (!isConfirmed(license, device.keys)) throw refused('licenseOtherDevice', { device: license.productSerial })
  if (device.model !== undefined && device.model !== license.model)
    throw refused('licenseOtherModel', { model: license.model, is: device.model })
  const { sequence, issuedAt, owner } = license
  if (sequence < storedSequence) throw refused('licenseRolledBack', { sequence, known: storedSequence })
  const own = status?.issuer === license.issuer ? status : undefined
  const least = own === undefined ? 0 : leastSequence(own, license.id)
  if (least === REVOKED) throw refused('licenseRevoked')
  if (sequence < least) throw refused('licenseRolledBack', { sequence, known: least })
  const heard = Math.max(issuedAt, own?.issuedAt ?? 0)
  const latest = Math.max(lastSeen, heard)
  if (now + CLOCK_TOLERANCE_MILLISECONDS < latest) throw refused('licenseClockBack', { now: time(now), seen: time(latest) })
  if (owner !== undefined && owner.epoch < device.epoch)
    throw refused('licenseOwnerEpoch', { owner: owner.name, epoch: owner.epoch, now: device.epoch })
  if (now + CLOCK_TOLERANCE_MILLISECONDS < license.notBefore) throw refused('licenseNotYet', { from: time(license.notBefore) })

  const { expiresAt = Infinity, graceDays, offlineMaxDays } = license
  const end = expiresAt + graceDays * DAY_MILLISECONDS
  if (now >= end) throw refused('licenseExpired', { until: time(end) })
  const offlineEnd = offlineMaxDays === undefined ? Infinity : heard + offlineMaxDays * DAY_MILLISECONDS
  if (now >= offlineEnd) throw refused('licenseOffline', { until: time(offlineEnd) })
  const until = Math.min(end, offlineEnd)
  return { state: now >= expiresAt ? 'grace' : 'valid', until: until === Infinity ? undefined : until }
}

const isConfirmed = ({ confirmation }: License, keys: KeyThumbprints): boolean =>
  'jkt' in confirmation ? confirmation.jkt === keys.jkt : confirmation.ckt === keys.ckt
