/**
 * Certificates, requests, revocation lists and OCSP messages in words, as plain data: what `sealworks inspect` shows.
 *
 * An object whose outer structure parses is always described; what is wrong inside is said in its place.
 *
 * @module
 */
import { identifySignature, importPublicKey } from '#algorithms/public-key.ts'
import { ANY } from '#asn1/any.ts'
import { decode, optional, sequence } from '#asn1/codec.ts'
import { Reader } from '#asn1/reader.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { fingerprint, parseCertificate, serialHex } from './certificate.ts'
import { parseCertificationRequest } from './certification-request.ts'
import { CRL_MAX_OCTETS, parseCertificateList } from './crl.ts'
import {
  accessMethodLabel,
  authorityInfoAccess,
  type InfoAccess,
  subjectInfoAccess,
} from './extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from './extensions/authority-key-identifier.ts'
import { certificatePolicies, policyQualifiers, type PolicyQualifierInfo } from './extensions/certificate-policies.ts'
import { crlDistributionPoints, type CRLDistributionPoints, freshestCRL } from './extensions/crl-distribution-points.ts'
import { certificateIssuer, issuingDistributionPoint } from './extensions/crl-extensions.ts'
import type { DistributionPointName } from './extensions/distribution-point-name.ts'
import { extKeyUsage, purposeLabel } from './extensions/extended-key-usage.ts'
import { decodeExtension, type Extension, type ExtensionType } from './extensions/extension.ts'
import { formatIPAddress, type GeneralName, type GeneralNames, hardwareModuleNameOf } from './extensions/general-name.ts'
import { nameConstraints } from './extensions/name-constraints.ts'
import { knownExtension } from './extensions/registry.ts'
import { keyIdentifierOf } from './extensions/subject-key-identifier.ts'
import { issuerAltName, subjectAltName } from './extensions/subject-alternative-name.ts'
import { formatName, parseName } from './name.ts'
import { type CertStatus, parseOCSPRequest, parseOCSPResponse } from './ocsp.ts'

/** What JSON can hold. */
export type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain }
type PlainObject = { readonly [key: string]: Plain }

export type ObjectKind = 'certificate' | 'certificationRequest' | 'certificateList' | 'ocspRequest' | 'ocspResponse'

export interface Description {
  readonly kind: ObjectKind
  readonly sha256: string
  readonly fields: PlainObject
}

/**
 * @returns a description of the object, of whichever kind it is
 * @throws TrustError `malformed` when it is none of them, or one whose outer structure does not parse; `tooLarge`
 */
export function describeObject(der: Uint8Array): Description {
  const kind = kindOf(der)
  if (kind === undefined) throw new TrustError('malformed', 'unknownObject')
  return { kind, sha256: fingerprint(der).toHex(), fields: describers[kind](der) }
}

/** The tags at the beginning of what is signed tell the kinds apart. */
const shapes: readonly (readonly [ObjectKind, RegExp])[] = [
  ['certificate', /^(a0 )?02 30 30 30 30 30/],
  ['certificationRequest', /^02 30 30( a0)?$/],
  ['certificateList', /^(02 )?30 30 (17|18)/],
  ['ocspRequest', /^(a0 )?(a1 )?30( a2)?$/],
]

function kindOf(der: Uint8Array): ObjectKind | undefined {
  const from = new Reader(der, { maxOctets: CRL_MAX_OCTETS })
  from.enter(0x30, 'the object')
  if (from.peekTag() === 0x0a) return 'ocspResponse'
  from.enter(0x30, 'what is signed')
  const tags: string[] = []
  while (from.more && tags.length < 10) {
    const { tag, end } = from.readAnyHeader()
    tags.push(tag.toString(16).padStart(2, '0'))
    from.at = end
  }
  return shapes.find(([, shape]) => shape.test(tags.join(' ')))?.[0]
}

const describers: Readonly<Record<ObjectKind, (der: Uint8Array) => PlainObject>> = {
  certificate(der) {
    const certificate = parseCertificate(der)
    return {
      version: certificate.version,
      serialNumber: serialHex(certificate),
      signatureAlgorithm: describeAlgorithm(certificate.signatureAlgorithm),
      issuer: describeName(certificate.issuer),
      notBefore: certificate.notBefore.toISOString(),
      notAfter: certificate.notAfter.toISOString(),
      subject: describeName(certificate.subject),
      publicKey: describeKey(certificate.subjectPublicKeyInfo),
      extensions: certificate.extensions.map(describeExtension),
    }
  },

  certificationRequest(der) {
    const request = parseCertificationRequest(der)
    return {
      subject: describeName(request.subject),
      publicKey: describeKey(request.subjectPublicKeyInfo),
      signatureAlgorithm: describeAlgorithm(request.signatureAlgorithm),
      hasChallengePassword: request.challengePassword !== undefined, // a secret, so it is not shown
      attributes: request.attributes.map(({ type }) => type),
      requestedExtensions: request.requestedExtensions.map(describeExtension),
    }
  },

  certificateList(der) {
    const list = parseCertificateList(der)
    return {
      version: list.version,
      signatureAlgorithm: describeAlgorithm(list.signatureAlgorithm),
      issuer: describeName(list.issuer),
      thisUpdate: list.thisUpdate.toISOString(),
      nextUpdate: list.nextUpdate?.toISOString() ?? null,
      extensions: list.extensions.map(describeExtension),
      ...describeEntries(list.entries()),
    }
  },

  ocspRequest(der) {
    const { certIDs, nonce } = parseOCSPRequest(der)
    return { requests: certIDs.map(describeCertID), nonce: nonce?.toHex() ?? null }
  },

  ocspResponse(der) {
    const response = parseOCSPResponse(der)
    if (response.type !== 'answer') return { responseStatus: response.type }
    const { answer } = response
    const { responderID } = answer
    return {
      responseStatus: 'successful',
      responderID: responderID.type === 'byName' ? describeName(responderID.value) : `key ${responderID.value.toHex()}`,
      producedAt: answer.producedAt.toISOString(),
      signatureAlgorithm: describeAlgorithm(answer.signatureAlgorithm),
      responses: answer.responses.map((single) => ({
        ...describeCertID(single),
        ...describeStatus(single.status),
        thisUpdate: single.thisUpdate.toISOString(),
        nextUpdate: single.nextUpdate?.toISOString() ?? null,
      })),
      nonce: answer.nonce?.toHex() ?? null,
      extensions: answer.extensions.map(describeExtension),
      certificates: answer.certs.map((certificate) => tryTo(() => describeName(parseCertificate(certificate).subject))),
    }
  },
}

/** A list shows its first entries; someone who needs all has other programs. */
const ENTRIES_SHOWN = 100

function describeEntries(entries: ReturnType<ReturnType<typeof parseCertificateList>['entries']>): PlainObject {
  const shown: Plain[] = []
  let count = 0
  try {
    for (const { serialNumber, revokedAt, extensions } of entries) {
      if (count++ >= ENTRIES_SHOWN) continue
      shown.push({
        serialNumber: serialNumber.toHex(),
        revokedAt: revokedAt.toISOString(),
        ...(extensions.length > 0 && { extensions: extensions.map(describeExtension) }),
      })
    }
  } catch (error) {
    return { entries: count, shown, problem: problemOf(error) }
  }
  return { entries: count, shown }
}

/** What is wrong, instead of a value. @throws whatever is no refusal: a bug */
function tryTo<T extends Plain>(work: () => T): T | { readonly problem: string } {
  try {
    return work()
  } catch (error) {
    return { problem: problemOf(error) }
  }
}

function problemOf(error: unknown): string {
  if (!(error instanceof TrustError)) throw error
  return asTrustError(error).message
}

const describeName = (der: Uint8Array): Plain => tryTo(() => formatName(parseName(der)))

const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: optional(ANY) })

/** Name of an algorithm of the table, or its identifier. */
function describeAlgorithm(der: Uint8Array): Plain {
  try {
    return identifySignature(der)
  } catch {
    return tryTo(() => decode(AlgorithmIdentifier, der).algorithm)
  }
}

const describeKey = (spki: Uint8Array): Plain =>
  tryTo(() => {
    const { algorithm, subjectPublicKey } = importPublicKey(spki)
    return { algorithm, keyIdentifier: keyIdentifierOf(subjectPublicKey).toHex(), sha256: fingerprint(spki).toHex() }
  })

const describeCertID = (id: {
  readonly hashAlgorithm?: string
  readonly issuerNameHash: Uint8Array
  readonly issuerKeyHash: Uint8Array
  readonly serialNumber: Uint8Array
}): PlainObject => ({
  serialNumber: id.serialNumber.toHex(),
  hashAlgorithm: id.hashAlgorithm ?? 'not known here',
  issuerNameHash: id.issuerNameHash.toHex(),
  issuerKeyHash: id.issuerKeyHash.toHex(),
})

function describeStatus(status: CertStatus): PlainObject {
  if (status.type !== 'revoked') return { status: status.type }
  return { status: 'revoked', revokedAt: status.revokedAt.toISOString(), reason: status.reason ?? null }
}

/** An extension by its name, its value in words; in hex when it is not known or malformed. */
export function describeExtension(extension: Extension): PlainObject {
  const { extnID, critical, extnValue } = extension
  const type = knownExtension(extnID)
  if (type === undefined) return { extension: extnID, critical, hex: extnValue.toHex() }
  try {
    const value = decodeExtension(type, extension)
    const describe = valueDescribers.get(type.oid)
    return { extension: type.id, critical, value: describe === undefined ? describeValue(value) : describe(value) }
  } catch (error) {
    return { extension: type.id, critical, hex: extnValue.toHex(), problem: problemOf(error) }
  }
}

/** Words for one type's values; only {@link describeExtension} calls them, with values of that type. */
const words = <T>({ oid }: ExtensionType<T>, describe: (value: T) => Plain): [string, (value: unknown) => Plain] => [
  oid,
  describe as (value: unknown) => Plain,
]

const describeNames = (names: GeneralNames): Plain => names.map(describeGeneralName)

const valueDescribers: ReadonlyMap<string, (value: unknown) => Plain> = new Map([
  words(subjectAltName, describeNames),
  words(issuerAltName, describeNames),
  words(certificateIssuer, describeNames),
  words(extKeyUsage, (purposes) => purposes.map(purposeLabel)),
  words(authorityInfoAccess, describeAccess),
  words(subjectInfoAccess, describeAccess),
  words(crlDistributionPoints, describePoints),
  words(freshestCRL, describePoints),
  words(authorityKeyIdentifier, ({ authorityCertIssuer, ...rest }) => ({
    ...describeFields(rest),
    ...(authorityCertIssuer && { authorityCertIssuer: describeNames(authorityCertIssuer) }),
  })),
  words(certificatePolicies, (policies) =>
    policies.map(({ policyIdentifier, policyQualifiers: qualifiers }) => ({
      policyIdentifier,
      ...(qualifiers && { policyQualifiers: qualifiers.map(describeQualifier) }),
    })),
  ),
  words(nameConstraints, ({ permittedSubtrees, excludedSubtrees }) => ({
    ...(permittedSubtrees && { permittedSubtrees: permittedSubtrees.map(({ base }) => describeGeneralName(base)) }),
    ...(excludedSubtrees && { excludedSubtrees: excludedSubtrees.map(({ base }) => describeGeneralName(base)) }),
  })),
  words(issuingDistributionPoint, ({ distributionPoint, ...rest }) => ({
    ...(distributionPoint && { distributionPoint: describePointName(distributionPoint) }),
    ...describeFields(rest),
  })),
])

function describeGeneralName(name: GeneralName): string {
  switch (name.type) {
    case 'directoryName':
      return `directoryName:${formatName(name.value)}`
    case 'iPAddress':
      return `iPAddress:${describeAddress(name.value)}`
    case 'otherName': {
      const hardware = tryTo(() => hardwareWords(name))
      return typeof hardware === 'string' ? hardware : `otherName:${name.value.typeID}:#${name.value.value.toHex()}`
    }
    case 'x400Address':
    case 'ediPartyName':
      return `${name.type}:#${name.value.toHex()}`
    default:
      return `${name.type}:${name.value}`
  }
}

function hardwareWords(name: GeneralName): string | null {
  const hardware = hardwareModuleNameOf(name)
  return hardware === undefined ? null : `hardwareModuleName:${hardware.hwType}:${describeOctets(hardware.hwSerialNum)}`
}

/** Serial numbers are text on most devices and octets on some. */
function describeOctets(octets: Uint8Array): string {
  const text = Array.from(octets, (octet) => String.fromCharCode(octet)).join('')
  return /^[\x20-\x7e]+$/.test(text) ? text : `#${octets.toHex()}`
}

/** An address, or in name constraints an address and a mask (RFC 5280, 4.2.1.10). */
function describeAddress(octets: Uint8Array): string {
  if (octets.length === 4 || octets.length === 16) return formatIPAddress(octets)
  if (octets.length !== 8 && octets.length !== 32) return `#${octets.toHex()}`
  const half = octets.length / 2
  return `${formatIPAddress(octets.subarray(0, half))}/${formatIPAddress(octets.subarray(half))}`
}

function describeAccess(access: InfoAccess): Plain {
  return access.map(
    ({ accessMethod, accessLocation }) => `${accessMethodLabel(accessMethod)} ${describeGeneralName(accessLocation)}`,
  )
}

function describePoints(points: CRLDistributionPoints): Plain {
  return points.map(({ distributionPoint, reasons, cRLIssuer }) => ({
    ...(distributionPoint && { distributionPoint: describePointName(distributionPoint) }),
    ...(reasons && { reasons }),
    ...(cRLIssuer && { cRLIssuer: cRLIssuer.map(describeGeneralName) }),
  }))
}

const describePointName = (point: DistributionPointName): Plain =>
  point.type === 'fullName' ? point.value.map(describeGeneralName) : `relative:${formatName([point.value])}`

/** The two kinds that RFC 5280 defines by name; others, and malformed ones, in hex. */
function describeQualifier({ policyQualifierId, qualifier }: PolicyQualifierInfo): Plain {
  const [name, known] = Object.entries(policyQualifiers).find(([, { oid }]) => oid === policyQualifierId) ?? [policyQualifierId]
  try {
    return { [name]: known === undefined ? `#${qualifier.toHex()}` : describeValue(decode(known.codec, qualifier)) }
  } catch (error) {
    return { [name]: `#${qualifier.toHex()}`, problem: problemOf(error) }
  }
}

/** Whatever a schema decodes to: octets as hex, times as ISO 8601, large numbers as decimal text. */
function describeValue(value: unknown): Plain {
  if (value instanceof Uint8Array) return value.toHex()
  if (value instanceof Date) return value.toISOString()
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(describeValue)
  return typeof value === 'object' && value !== null ? describeFields(value) : (value as Plain)
}

const describeFields = (record: object): PlainObject =>
  Object.fromEntries(
    Object.entries(record)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, describeValue(value)]),
  )
