/**
 * Attributes of signers and of encrypted messages.
 *
 * Source: RFC 5652, 5.3 and 11; RFC 5035, 3 (signing-certificate-v2); RFC 6211 (CMSAlgorithmProtection).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { ANY } from '#asn1/any.ts'
import {
  type Codec,
  decode,
  encode,
  implicit,
  type Infer,
  optional,
  sequence,
  sequenceOf,
  setOf,
  type TaggedCodec,
  withDefault,
} from '#asn1/codec.ts'
import { INTEGER_OCTETS, OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Certificate } from '#x509/certificate.ts'
import { GeneralNames } from '#x509/extensions/general-name.ts'
import { parseName } from '#x509/name.ts'
import { badCMS } from './content-info.ts'
import { AlgorithmIdentifier, digestOf, identifyDigest, isNullOrAbsent } from './digests.ts'

/** More than any signer has; CAdES with all its time stamps has a dozen. */
const ATTRIBUTES_MAX = 64
const ATTRIBUTE_VALUES_MAX = 16

const Attribute = sequence('Attribute', {
  attrType: OBJECT_IDENTIFIER,
  attrValues: setOf('attrValues', ANY, { max: ATTRIBUTE_VALUES_MAX }),
})
/** Values are DER. */
export type Attribute = Infer<typeof Attribute>

/** In DER's order: what is signed or authenticated. */
export const Attributes: TaggedCodec<readonly Attribute[]> = setOf('attributes', Attribute, { min: 1, max: ATTRIBUTES_MAX })

/** In any order: what nobody signed. */
export const LooseAttributes: TaggedCodec<readonly Attribute[]> = {
  ...Attributes,
  readContent: sequenceOf('attributes', Attribute, { min: 1, max: ATTRIBUTES_MAX }).readContent,
}

export const attributeTypes = {
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  counterSignature: '1.2.840.113549.1.9.6',
  signingCertificate: '1.2.840.113549.1.9.16.2.12',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
  cmsAlgorithmProtection: '1.2.840.113549.1.9.52',
  timeStampToken: '1.2.840.113549.1.9.16.2.14',
  multipleSignatures: '1.2.840.113549.1.9.16.2.51',
  smimeCapabilities: '1.2.840.113549.1.9.15',
} as const

const labels = new Map<string, string>(Object.entries(attributeTypes).map(([label, oid]) => [oid, label]))
/** The standard's name, or the identifier where there is none here. */
export const attributeLabel = (oid: string): string => labels.get(oid) ?? oid

/** @throws TypeError when the value is not of its type */
export const attributeWith = <T>(type: keyof typeof attributeTypes, codec: Codec<T>, value: T): Attribute => ({
  attrType: attributeTypes[type],
  attrValues: [encode(codec, value)],
})

/** Each type once (RFC 5652, 11): two values of one type would be two statements. @throws TrustError `malformed` */
export function checkNoneTwice(attributes: readonly Attribute[]): void {
  const types = new Set<string>()
  for (const { attrType } of attributes) {
    if (types.has(attrType))
      throw new TrustError('malformed', 'repeatedAttribute', { facts: { attribute: attributeLabel(attrType) } })
    types.add(attrType)
  }
}

/** @returns the one value, undefined when the attribute is not there @throws TrustError `malformed` */
export function valueOf<T>(attributes: readonly Attribute[], type: keyof typeof attributeTypes, codec: Codec<T>): T | undefined {
  const found = attributes.find(({ attrType }) => attrType === attributeTypes[type])
  if (found === undefined) return undefined
  const [value, another] = found.attrValues
  if (value === undefined || another !== undefined) throw badCMS(`the attribute ${type} has not one value`)
  return decode(codec, value)
}

const SHA256 = '2.16.840.1.101.3.4.2.1'

export const ESSCertIDv2 = sequence('ESSCertIDv2', {
  hashAlgorithm: withDefault(AlgorithmIdentifier, { algorithm: SHA256 }),
  certHash: OCTET_STRING,
  issuerSerial: optional(sequence('IssuerSerial', { issuer: GeneralNames, serialNumber: INTEGER_OCTETS })),
})

/** A chain, and a policy or two. */
const CHAIN_MAX = 16

export const SigningCertificateV2 = sequence('SigningCertificateV2', {
  certs: sequenceOf('certs', ESSCertIDv2, { min: 1, max: CHAIN_MAX }),
  policies: optional(sequenceOf('policies', ANY, { max: CHAIN_MAX })),
})

/** As it was before a digest could be named: SHA-1, which still tells certificates apart where the key is checked too. */
export const SigningCertificate = sequence('SigningCertificate', {
  certs: sequenceOf(
    'certs',
    sequence('ESSCertID', {
      certHash: OCTET_STRING,
      issuerSerial: optional(sequence('IssuerSerial', { issuer: GeneralNames, serialNumber: INTEGER_OCTETS })),
    }),
    { min: 1, max: CHAIN_MAX },
  ),
  policies: optional(sequenceOf('policies', ANY, { max: CHAIN_MAX })),
})

/** RFC 2634, 5.4. @throws TrustError `badProof` */
export function checkSigningCertificateSHA1(
  { certs: [first] }: Infer<typeof SigningCertificate>,
  { der }: Pick<Certificate, 'der'>,
): void {
  if (first === undefined || !equal(new Uint8Array(hash('sha1', der, 'buffer')), first.certHash))
    throw new TrustError('badProof', 'cmsSignature', { facts: { detail: 'it was made for another certificate' } })
}

/** Binds the signature to this very certificate, not only to its key (RFC 5035, 3). */
export const signingCertificateOf = ({ der, issuer, serialNumber }: Certificate): Infer<typeof SigningCertificateV2> => ({
  certs: [
    {
      hashAlgorithm: { algorithm: SHA256 },
      certHash: new Uint8Array(hash('sha256', der, 'buffer')),
      issuerSerial: { issuer: [{ type: 'directoryName', value: parseName(issuer) }], serialNumber },
    },
  ],
})

/** The first identifier is the signer's (RFC 5035, 3). @throws TrustError `badProof`, `unsupported` */
export function checkSigningCertificate({ certs: [first] }: Infer<typeof SigningCertificateV2>, certificate: Certificate): void {
  if (first === undefined) throw badCMS('the attribute signingCertificateV2 names no certificate')
  checkNamed(first, certificate)
}

/** @throws TrustError `badProof`, `unsupported` */
export function checkNamed(first: Infer<typeof ESSCertIDv2>, certificate: Certificate): void {
  const digest = digestOf(identifyDigest(first.hashAlgorithm), certificate.der)
  const sameSerial = first.issuerSerial === undefined || equal(first.issuerSerial.serialNumber, certificate.serialNumber)
  if (!equal(digest, first.certHash) || !sameSerial)
    throw new TrustError('badProof', 'cmsSignature', { facts: { detail: 'it was made for another certificate' } })
}

export const CMSAlgorithmProtection = sequence('CMSAlgorithmProtection', {
  digestAlgorithm: AlgorithmIdentifier,
  signatureAlgorithm: optional(implicit(1, AlgorithmIdentifier)),
  macAlgorithm: optional(implicit(2, AlgorithmIdentifier)),
})

/** RFC 6211, 2: what stands outside the signature must be what the signer meant. @throws TrustError `badProof` */
export function checkAlgorithmProtection(
  protection: Infer<typeof CMSAlgorithmProtection>,
  outside: { readonly digestAlgorithm: AlgorithmIdentifier; readonly signatureAlgorithm: AlgorithmIdentifier },
): void {
  const { digestAlgorithm, signatureAlgorithm } = protection
  const same =
    signatureAlgorithm !== undefined &&
    isSameAlgorithm(digestAlgorithm, outside.digestAlgorithm) &&
    isSameAlgorithm(signatureAlgorithm, outside.signatureAlgorithm)
  if (!same) throw new TrustError('badProof', 'cmsSignature', { facts: { detail: 'its algorithms were exchanged' } })
}

/** Absent and NULL parameters are the same. */
export function isSameAlgorithm(a: AlgorithmIdentifier, b: AlgorithmIdentifier): boolean {
  if (a.algorithm !== b.algorithm) return false
  if (isNullOrAbsent(a.parameters) && isNullOrAbsent(b.parameters)) return true
  return a.parameters !== undefined && b.parameters !== undefined && equal(a.parameters, b.parameters)
}
