/**
 * Manifests of secure elements: who made and filled them says, for each chip, which public keys are in it.
 *
 * Each entry is a JWS of its own, so that a list can be cut as reels are.
 *
 * Source: Microchip Trust Platform, "TrustFLEX and Trust&GO manifest files" (DS00002790), the signed object of one
 * secure element.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { isJSONObject, type JSONObject, type JSONValue } from '#jose/json.ts'
import { parseJWK } from '#jose/jwk.ts'
import { type JWSSignature, parseJWS, thumbprintOf } from '#jose/jws.ts'
import { extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { onlySignature, verifiedPayload } from './messages.ts'

/** As it stands in the manifest's array. */
export interface ManifestEntry {
  readonly payload: string
  readonly protected: string
  readonly header?: { readonly uniqueId?: string }
  readonly signature: string
}

/** Sixteen slots, some with a chain of two certificates, take 30 KiB. */
const ENTRY_MAX_OCTETS = 128 << 10
/** More slots than any chip has. */
const KEYS_MAX = 64
const TEXT_MAX = 100

export interface StatedElement {
  /** Serial of the chip, lower-case hexadecimal digits. */
  readonly uniqueId: string
  readonly partNumber: string
  readonly manufacturer: string
  readonly groupId: string | undefined
  readonly keys: readonly { readonly slot: string; readonly publicKey: PublicKey; readonly keyHash: Uint8Array }[]
  /** SHA-256 of what was signed, in hexadecimal digits. */
  readonly digest: string
}

/** Who an entry says signed it. */
const isNamed = (signature: JWSSignature, certificate: Uint8Array): boolean => {
  const thumbprint = thumbprintOf(signature)
  const { kid } = signature.protectedHeader
  const identifier = extensionOf(parseCertificate(certificate), subjectKeyIdentifier)?.value
  const byKey = kid === undefined || (identifier !== undefined && kid === toBase64url(identifier))
  const byThumbprint = thumbprint === undefined || equal(thumbprint, fingerprint(certificate))
  return byKey && byThumbprint && (kid !== undefined || thumbprint !== undefined)
}

/**
 * @param signers certificates that are believed, DER
 * @returns the element, and which of the signers said it
 * @throws TrustError `policyRefused` when none of the signers is named; `badProof`, `malformed`, `unsupported`
 */
export async function checkManifestEntry<S extends { readonly certificate: Uint8Array }>(
  entry: ManifestEntry,
  signers: readonly S[],
): Promise<{ readonly element: StatedElement; readonly signer: S }> {
  const jws = parseJWS(utf8(JSON.stringify(entry)), ENTRY_MAX_OCTETS)
  const signer = signers.find(({ certificate }) => isNamed(onlySignature(jws), certificate))
  if (signer === undefined) throw new TrustError('policyRefused', 'manifestSignerUnknown')
  const { certificate } = signer
  const payload = await verifiedPayload(jws, importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo), certificate)
  const element = parseStatedElement(payload, hash('sha256', `${entry.protected}.${entry.payload}`))
  if (entry.header?.uniqueId !== undefined && entry.header.uniqueId.toLowerCase() !== element.uniqueId)
    throw malformed('its header names another chip')
  return { element, signer }
}

const UNIQUE_ID = /^[0-9a-f]{2,64}$/i

/** @param digest of what was signed @throws TrustError `malformed`, `unsupported` */
export function parseStatedElement(payload: JSONObject, digest: string): StatedElement {
  const { version, uniqueId, partNumber, manufacturer, groupId, publicKeySet } = payload
  if (version !== 1)
    throw new TrustError('unsupported', 'manifestVersion', { facts: { version: JSON.stringify(version ?? null).slice(0, 20) } })
  if (typeof uniqueId !== 'string' || !UNIQUE_ID.test(uniqueId)) throw malformed('it has no uniqueId of hexadecimal digits')
  const organization = isJSONObject(manufacturer) ? manufacturer['organizationName'] : undefined
  const set = isJSONObject(publicKeySet) ? publicKeySet['keys'] : undefined
  if (!Array.isArray(set) || set.length === 0 || set.length > KEYS_MAX) throw malformed('it has no keys, or too many')
  const keys = (set as readonly JSONValue[]).map(keyOf)
  if (new Set(keys.map(({ slot }) => slot)).size !== keys.length) throw malformed('a slot stands twice in it')
  return {
    uniqueId: uniqueId.toLowerCase(),
    partNumber: textOf(partNumber, 'partNumber'),
    manufacturer: textOf(organization, 'manufacturer.organizationName'),
    groupId: groupId === undefined ? undefined : textOf(groupId, 'groupId'),
    keys,
    digest,
  }
}

function keyOf(value: JSONValue): StatedElement['keys'][number] {
  if (!isJSONObject(value)) throw malformed('a key is no object')
  const publicKey = parseJWK(value)
  return {
    slot: textOf(value['kid'], 'kid'),
    publicKey,
    keyHash: Uint8Array.fromHex(hash('sha256', publicKey.spki)),
  }
}

function textOf(value: JSONValue | undefined, name: string): string {
  if (typeof value !== 'string' || value === '' || value.length > TEXT_MAX)
    throw malformed(`its ${name} is no text of usual length`)
  return value
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'manifestEntry', { facts: { detail } })
