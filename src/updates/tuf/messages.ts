/**
 * Metadata of The Update Framework, as its clients read it: four roles, each a JSON object with signatures over the canonical
 * form of what it says.
 *
 * Source: The Update Framework Specification 1.0.31, 3 (the repository) and 4 (document formats); canonical JSON of OLPC, which
 * the specification names: members sorted, no space, nothing escaped but the quotation mark and the backslash, whole numbers.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { encodePEM } from '#asn1/pem.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

export const tufRoles = ['root', 'targets', 'snapshot', 'timestamp'] as const
export type TUFRole = (typeof tufRoles)[number]

const SPEC_VERSION = '1.0.31'

export type JSONValue = string | number | boolean | readonly JSONValue[] | { readonly [name: string]: JSONValue }

/** @throws TypeError for a number that is not whole, which no document here has */
export function encodeCanonicalJSON(value: JSONValue): string {
  if (typeof value === 'string') return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError('canonical JSON has whole numbers only')
    return String(value)
  }
  if (isList(value)) return `[${value.map(encodeCanonicalJSON).join(',')}]`
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, inner]) => `${encodeCanonicalJSON(name)}:${encodeCanonicalJSON(inner)}`).join(',')}}`
}

const isList = (value: JSONValue): value is readonly JSONValue[] => Array.isArray(value)

/** As metadata names a key (4.2). */
export type TUFKey = {
  readonly keytype: string
  readonly scheme: string
  readonly keyval: { readonly public: string }
}

/** What clients have in common, by what signs and which key it is. */
const schemes: readonly (Omit<TUFKey, 'keyval'> & { readonly signs: SignatureAlgorithmId; readonly key?: KeyAlgorithmId })[] = [
  { signs: 'ed25519', keytype: 'ed25519', scheme: 'ed25519' },
  { signs: 'ecdsa-sha256', key: 'ecdsa-p256', keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256' },
  { signs: 'rsa-pss-sha256', keytype: 'rsa', scheme: 'rsassa-pss-sha256' },
]

/** @param spki DER @throws TrustError `unsupported` for a key that clients do not verify with */
export function tufKey(spki: Uint8Array, signatureAlgorithm: SignatureAlgorithmId): TUFKey {
  const { algorithm, subjectPublicKey } = importPublicKey(spki)
  const row = schemes.find(({ signs, key = algorithm }) => signs === signatureAlgorithm && key === algorithm)
  if (row === undefined) {
    const offered = schemes.map(({ signs }) => signs).join(', ')
    throw new TrustError('unsupported', 'tufKey', { facts: { algorithm: `${algorithm} ${signatureAlgorithm}`, offered } })
  }
  const { keytype, scheme } = row
  const isRaw = keytype === 'ed25519'
  return { keytype, scheme, keyval: { public: isRaw ? subjectPublicKey.toHex() : encodePEM('PUBLIC KEY', spki) } }
}

export const keyIdOf = (key: TUFKey): string => sha256(utf8(encodeCanonicalJSON(key)))

const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex')

export interface RoleKeys {
  readonly keyids: readonly string[]
  readonly threshold: number
}

export interface Target {
  /** `RELEASE/NAME`. */
  readonly path: string
  readonly octets: number
  /** SHA-256, hexadecimal. */
  readonly digest: string
  readonly custom: TargetCustom
}

/** Of its release; the names are Uptane's where it has one. */
export type TargetCustom = {
  readonly component: string
  readonly version: string
  readonly releaseCounter: number
  /** `MANUFACTURER/MODEL`, or with `:REVISION`. */
  readonly hardwareIds: readonly string[]
  readonly format: string
}

export interface FileMeta {
  readonly number: number
  readonly octets: Uint8Array
}

interface Place {
  /** What the specification calls version. */
  readonly number: number
  /** Milliseconds. */
  readonly expiresAt: number
}

/** 4.3: without fractions of a second. */
const timeOf = (at: number): string => `${new Date(at).toISOString().slice(0, 19)}Z`

const common = (role: TUFRole, { number, expiresAt }: Place) => ({
  _type: role,
  spec_version: SPEC_VERSION,
  version: number,
  expires: timeOf(expiresAt),
})

/** What each role says. */
export const rootDocument = (place: Place, keys: readonly TUFKey[], roles: Readonly<Record<TUFRole, RoleKeys>>): JSONValue => ({
  ...common('root', place),
  consistent_snapshot: true,
  keys: Object.fromEntries(keys.map((key) => [keyIdOf(key), key])),
  roles: Object.fromEntries(tufRoles.map((role) => [role, { keyids: roles[role].keyids, threshold: roles[role].threshold }])),
})

export const targetsDocument = (place: Place, targets: readonly Target[]) => ({
  ...common('targets', place),
  targets: Object.fromEntries(
    targets.map(({ path, octets, digest, custom }) => [path, { length: octets, hashes: { sha256: digest }, custom }]),
  ),
})

export const snapshotDocument = (place: Place, targets: FileMeta): JSONValue => ({
  ...common('snapshot', place),
  meta: { 'targets.json': metaOf(targets) },
})

export const timestampDocument = (place: Place, snapshot: FileMeta): JSONValue => ({
  ...common('timestamp', place),
  meta: { 'snapshot.json': metaOf(snapshot) },
})

const metaOf = ({ number, octets }: FileMeta): JSONValue => ({
  version: number,
  length: octets.length,
  hashes: { sha256: sha256(octets) },
})

/** What is signed. */
export const canonical = (document: JSONValue): Uint8Array => utf8(encodeCanonicalJSON(document))

export interface TUFSignature {
  readonly keyid: string
  /** Hexadecimal. */
  readonly sig: string
}

/** A whole file: any JSON of the same values will do, and canonical JSON with the lines of a key in it is none. */
export const encodeMetadata = (signed: JSONValue, signatures: readonly TUFSignature[]): Uint8Array =>
  utf8(JSON.stringify({ signatures, signed }))

/** With consistent snapshots all but the timestamp have their number in their names (3.6). */
export const metadataFile = (role: TUFRole, number: number): string =>
  role === 'timestamp' ? 'timestamp.json' : `${number}.${role}.json`

/** Where a target's file lies below the address of targets. */
export function targetFile({ path, digest }: Pick<Target, 'path' | 'digest'>): string {
  const at = path.lastIndexOf('/')
  return `${path.slice(0, at + 1)}${digest}.${path.slice(at + 1)}`
}
