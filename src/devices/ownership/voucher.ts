/**
 * Vouchers: the maker's word in the form of RFC 8366, by which a device knows whose it is now, and the owner certificate of RFC 8572 that
 * leads from there to whoever speaks for the owner.
 *
 * A voucher is CMS SignedData over JSON; the device takes it when its maker signed it and it names the device's own serial. It pins
 * one certificate: whatever that one vouches for is the owner's.
 *
 * Source: RFC 8366, 5 (the artifact) and 6 (CMS); RFC 7951 (YANG in JSON); RFC 8572, 3.2 (owner certificate).
 *
 * @module
 */
import { encode } from '#asn1/codec.ts'
import { OCTET_STRING } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { equal, utf8 } from '#base/bytes.ts'
import { encodeCertsOnly, parseCertsOnly } from '#cms/certs-only.ts'
import { encodeSignedData, type Signing } from '#cms/sign.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { verifySignedData } from '#cms/verify.ts'
import { isJSONObject, type JSONObject, parseJSONObject } from '#jose/json.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { decodeExtension } from '#x509/extensions/extension.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'

/** RFC 8366, 8.3: id-ct-animaJSONVoucher. */
export const VOUCHER_TYPE = '1.2.840.113549.1.9.16.1.40'

/** A voucher with a chain of ML-DSA certificates takes some 60 KiB. */
const VOUCHER_MAX_OCTETS = 256 << 10
const ASSERTIONS = ['verified', 'logged', 'proximity'] as const
export type Assertion = (typeof ASSERTIONS)[number]

export interface Voucher {
  readonly createdOn: Date
  /** It never expires where this is left out: with a nonce, that is one use. */
  readonly expiresOn?: Date
  readonly assertion: Assertion
  readonly serialNumber: string
  /** Which authority issued the birth certificate: see {@link issuerOf}. */
  readonly idevidIssuer?: Uint8Array
  /** DER: the owner's authority. */
  readonly pinnedDomainCert: Uint8Array
  readonly domainCertRevocationChecks: boolean
  /** What the device asked with, where it asked. */
  readonly nonce?: Uint8Array
}

const instant = (time: Date): string => time.toISOString().replace(/\.\d{3}Z$/, 'Z')

/** @param signing of the maker @returns DER */
export function signVoucher(voucher: Voucher, signing: Signing, certificates: readonly Uint8Array[] = []): Promise<Uint8Array> {
  const { createdOn, expiresOn, assertion, serialNumber, idevidIssuer, pinnedDomainCert, domainCertRevocationChecks, nonce } =
    voucher
  const content = {
    'ietf-voucher:voucher': {
      'created-on': instant(createdOn),
      ...(expiresOn !== undefined && { 'expires-on': instant(expiresOn) }),
      assertion,
      'serial-number': serialNumber,
      ...(idevidIssuer !== undefined && { 'idevid-issuer': idevidIssuer.toBase64() }),
      'pinned-domain-cert': pinnedDomainCert.toBase64(),
      'domain-cert-revocation-checks': domainCertRevocationChecks,
      ...(nonce !== undefined && { nonce: nonce.toBase64() }),
    },
  }
  return encodeSignedData({
    contentType: VOUCHER_TYPE,
    content: { attached: utf8(JSON.stringify(content)) },
    signers: [signing],
    certificates,
  })
}

export interface ExpectedVoucher {
  /** Certificates of makers that may sign, DER: those of the very signer. */
  readonly makers: readonly Uint8Array[]
  readonly serialNumber: string
  /** The device's birth certificate, DER. */
  readonly birth: Uint8Array
  readonly now: Date
  /** What the device asked with; undefined where it did not ask. */
  readonly nonce?: Uint8Array
}

/**
 * @returns what the maker says
 * @throws TrustError `malformed`, `badProof`, `unauthenticated` unless a maker signed, `policyRefused` when it is not for this device
 *   or not any more
 */
export async function verifyVoucher(der: Uint8Array, expected: ExpectedVoucher): Promise<Voucher> {
  const signed = parseSignedData(der, { maxOctets: VOUCHER_MAX_OCTETS })
  if (signed.contentType !== VOUCHER_TYPE) throw malformed('it is not of the type of a voucher')
  const { signers, content, unknownSigners } = await verifySignedData(signed, { certificates: expected.makers })
  if (content === undefined || signers.length !== 1 || unknownSigners.length > 0) throw malformed('it is not signed by one')
  const [signer] = signers
  if (signer === undefined || !expected.makers.some((maker) => equal(maker, signer.certificate.der)))
    throw new TrustError('unauthenticated', 'voucherSigner')
  const voucher = parseVoucher(content)
  checkFor(voucher, expected)
  return voucher
}

function checkFor(voucher: Voucher, { serialNumber, birth, now, nonce }: ExpectedVoucher): void {
  const { idevidIssuer, expiresOn, createdOn } = voucher
  if (voucher.serialNumber !== serialNumber) throw new TrustError('policyRefused', 'voucherOtherDevice')
  if (idevidIssuer !== undefined && !formsOf(birth).some((form) => equal(form, idevidIssuer)))
    throw new TrustError('policyRefused', 'voucherOtherDevice')
  if (createdOn.getTime() > now.getTime() || (expiresOn !== undefined && expiresOn.getTime() < now.getTime()))
    throw new TrustError('policyRefused', 'voucherTime')
  const isAsked = voucher.nonce === undefined ? nonce === undefined : nonce !== undefined && equal(voucher.nonce, nonce)
  if (!isAsked) throw new TrustError('policyRefused', 'voucherNonce')
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'voucherMalformed', { facts: { detail } })

const MEMBERS: ReadonlySet<string> = new Set([
  'created-on',
  'expires-on',
  'assertion',
  'serial-number',
  'idevid-issuer',
  'pinned-domain-cert',
  'domain-cert-revocation-checks',
  'nonce',
  'last-renewal-date',
])

/** @throws TrustError `malformed` */
function parseVoucher(octets: Uint8Array): Voucher {
  const outer = parseJSONObject(octets, VOUCHER_MAX_OCTETS)
  const inner = outer['ietf-voucher:voucher']
  if (Object.keys(outer).length !== 1 || !isJSONObject(inner)) throw malformed('it is not one object')
  const strange = Object.keys(inner).find((name) => !MEMBERS.has(name))
  if (strange !== undefined) throw malformed(`it has the member ${strange.slice(0, 40)}`)
  const assertion = ASSERTIONS.find((one) => one === inner['assertion'])
  if (assertion === undefined) throw malformed('its assertion is none of RFC 8366')
  const checks = inner['domain-cert-revocation-checks'] ?? false
  if (typeof checks !== 'boolean') throw malformed('domain-cert-revocation-checks is neither true nor false')
  const issuer = octetsIn(inner, 'idevid-issuer')
  const nonce = octetsIn(inner, 'nonce')
  const pinned = octetsIn(inner, 'pinned-domain-cert')
  const createdOn = timeIn(inner, 'created-on')
  const expiresOn = timeIn(inner, 'expires-on')
  if (pinned === undefined || createdOn === undefined) throw malformed('a member that must be there is not')
  if (nonce !== undefined && (nonce.length < 8 || nonce.length > 32)) throw malformed('its nonce has not 8 to 32 octets')
  if (nonce !== undefined && expiresOn !== undefined) throw malformed('it has a nonce and an end: RFC 8366 wants one of them')
  parseCertificate(pinned)
  return {
    createdOn,
    ...(expiresOn !== undefined && { expiresOn }),
    assertion,
    serialNumber: textIn(inner, 'serial-number'),
    ...(issuer !== undefined && { idevidIssuer: issuer }),
    pinnedDomainCert: pinned,
    domainCertRevocationChecks: checks,
    ...(nonce !== undefined && { nonce }),
  }
}

function textIn(object: JSONObject, name: string): string {
  const value = object[name]
  if (typeof value !== 'string' || value === '' || value.length > 256) throw malformed(`${name} is no text`)
  return value
}

function octetsIn(object: JSONObject, name: string): Uint8Array | undefined {
  const value = object[name]
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw malformed(`${name} is no text`)
  try {
    return Uint8Array.fromBase64(value, { lastChunkHandling: 'strict' })
  } catch {
    throw malformed(`${name} is not base64`)
  }
}

/** RFC 6991, date-and-time, in UTC. */
function timeIn(object: JSONObject, name: string): Date | undefined {
  const value = object[name]
  if (value === undefined) return undefined
  if (typeof value !== 'string' || !/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/.test(value))
    throw malformed(`${name} is no time`)
  const time = new Date(value)
  if (Number.isNaN(time.getTime())) throw malformed(`${name} is no time`)
  return time
}

/** RFC 8572, 3.2: the owner's certificate and those between it and the one that the voucher pins. @returns DER */
export const encodeOwnerCertificate = (certificates: readonly Uint8Array[]): Uint8Array => encodeCertsOnly(certificates)

/** @returns DER certificates, in no order @throws TrustError `malformed` */
export const parseOwnerCertificate = (der: Uint8Array): readonly Uint8Array[] => parseCertsOnly(der).certificates

/**
 * "The Authority Key Identifier OCTET STRING" of the birth certificate (RFC 8366, 5.3): its extension's value with the OCTET STRING around
 * it. Others write the inner key identifier, with or without its OCTET STRING; when a voucher is read those count too.
 */
export const issuerOf = (birth: Uint8Array): Uint8Array | undefined => formsOf(birth)[0]

function formsOf(birth: Uint8Array): readonly Uint8Array[] {
  const certificate = parseCertificate(birth)
  const extension = certificate.extensions.find(({ extnID }) => extnID === authorityKeyIdentifier.oid)
  if (extension === undefined) return []
  const { keyIdentifier } = decodeExtension(authorityKeyIdentifier, extension)
  const inner = keyIdentifier === undefined ? [] : [encode(OCTET_STRING, keyIdentifier), keyIdentifier]
  return [encode(OCTET_STRING, extension.extnValue), extension.extnValue, ...inner]
}
