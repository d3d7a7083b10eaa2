/**
 * Certificate requests: PKCS #10.
 *
 * The [0] attributes field is mandatory (RFC 2986, 4.1), although it may be empty. A request without it is refused:
 * every client that was tried writes it, and no later standard makes it optional.
 *
 * Source: RFC 2986; RFC 2985, 5.4 (challengePassword, extensionRequest); RFC 5967.
 *
 * @module
 */
import { identifySignature, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { captured, choice, decode, encode, implicit, type Infer, sequence, setOf } from '#asn1/codec.ts'
import {
  BIT_STRING_OCTETS,
  BMPString,
  IA5String,
  OBJECT_IDENTIFIER,
  PrintableString,
  SMALL_INTEGER,
  TeletexString,
  UniversalString,
  UTF8String,
} from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { type Extension, Extensions } from './extensions/extension.ts'
import { Name } from './name.ts'
import { encodeSigned, signatureIdentifier, type SignatureMaker } from './signed.ts'

/** More than any client sends. */
const ATTRIBUTES_MAX = 32
const ATTRIBUTE_VALUES_MAX = 16

export const Attribute = sequence('Attribute', {
  type: OBJECT_IDENTIFIER,
  values: setOf('values', ANY, { max: ATTRIBUTE_VALUES_MAX }),
})
/** Values are DER. */
export type Attribute = Infer<typeof Attribute>

export const requestAttributes = {
  extensionRequest: '1.2.840.113549.1.9.14',
  challengePassword: '1.2.840.113549.1.9.7',
  unstructuredName: '1.2.840.113549.1.9.2',
} as const

const CertificationRequestInfo = sequence('CertificationRequestInfo', {
  version: SMALL_INTEGER,
  subject: ANY,
  subjectPKInfo: ANY,
  attributes: implicit(0, setOf('Attributes', Attribute, { max: ATTRIBUTES_MAX })),
})

const SignedRequest = sequence('CertificationRequest', {
  certificationRequestInfo: captured(CertificationRequestInfo),
  signatureAlgorithm: ANY,
  signature: BIT_STRING_OCTETS,
})

/** IA5String stands in it because OpenSSL's older versions wrote one. */
const Password = choice('challengePassword', {
  utf8String: UTF8String,
  printableString: PrintableString,
  teletexString: TeletexString,
  bmpString: BMPString,
  universalString: UniversalString,
  ia5String: IA5String,
})

/** Octets are views of `der`. */
export interface CertificationRequest {
  readonly der: Uint8Array
  /** The bytes that the applicant signed. */
  readonly certificationRequestInfo: Uint8Array
  /** DER Name. */
  readonly subject: Uint8Array
  /** DER SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Uint8Array
  readonly attributes: readonly Attribute[]
  /** What the applicant would like in the certificate; none when it asks for none. */
  readonly requestedExtensions: readonly Extension[]
  readonly challengePassword?: string
  /** DER AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array
  readonly signature: Uint8Array
}

/** A request with a key of the largest signature scheme is below 64 KiB with room to spare. */
export const REQUEST_MAX_OCTETS = 64 << 10

/** @throws TrustError `malformed`, `tooLarge` */
export function parseCertificationRequest(der: Uint8Array): CertificationRequest {
  const { certificationRequestInfo, signatureAlgorithm, signature } = decode(SignedRequest, der, {
    maxOctets: REQUEST_MAX_OCTETS,
  })
  const { version, subject, subjectPKInfo, attributes } = certificationRequestInfo.value
  if (version !== 0) throw unusable(`its version is ${version + 1}`)
  refuseRepeats(attributes)
  const extensionRequest = onlyValue(attributes, requestAttributes.extensionRequest)
  const password = onlyValue(attributes, requestAttributes.challengePassword)
  return {
    der,
    certificationRequestInfo: certificationRequestInfo.der,
    subject,
    subjectPublicKeyInfo: subjectPKInfo,
    attributes,
    requestedExtensions: extensionRequest === undefined ? [] : decode(Extensions, extensionRequest),
    ...(password !== undefined && { challengePassword: decode(Password, password).value }),
    signatureAlgorithm,
    signature,
  }
}

function refuseRepeats(attributes: readonly Attribute[]): void {
  for (const [i, { type }] of attributes.entries()) {
    if (attributes.findIndex((other) => other.type === type) !== i) {
      throw new TrustError('malformed', 'repeatedAttribute', { facts: { attribute: type } })
    }
  }
}

/** RFC 2985, 5.4: both attributes are SINGLE VALUE. */
function onlyValue(attributes: readonly Attribute[], type: string): Uint8Array | undefined {
  const found = attributes.find((attribute) => attribute.type === type)
  if (found === undefined) return undefined
  const [value, another] = found.values
  if (value === undefined || another !== undefined) throw unusable(`its attribute ${type} does not have one value`)
  return value
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badRequest', { facts: { detail } })

/**
 * @param publicKey the request's own, imported
 * @param accept throws for a signature algorithm that may not be used
 * @throws TrustError `badProof` when another key signed the request, `unsupported` for a signature algorithm not in the table
 */
export async function checkProofOfPossession(
  request: CertificationRequest,
  publicKey: PublicKey,
  accept: (algorithm: SignatureAlgorithmId) => unknown = () => {},
): Promise<void> {
  const algorithm = identifySignature(request.signatureAlgorithm)
  accept(algorithm)
  const verified = await verifySignature({ algorithm, octets: request.signature }, publicKey, request.certificationRequestInfo)
  if (!verified) throw new TrustError('badProof', 'proofOfPossession')
}

export interface CertificationRequestFields {
  readonly subject: Uint8Array | Name
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly extensions?: readonly Extension[]
  readonly challengePassword?: string
  /** Beside those for the two fields before. */
  readonly attributes?: readonly Attribute[]
}

/** @returns DER CertificationRequest */
export async function encodeCertificationRequest(
  fields: CertificationRequestFields,
  signer: SignatureMaker,
): Promise<Uint8Array> {
  const { subject, publicKey, extensions = [], challengePassword, attributes = [] } = fields
  const info = encode(CertificationRequestInfo, {
    version: 0,
    subject: subject instanceof Uint8Array ? subject : encode(Name, subject),
    subjectPKInfo: publicKey,
    attributes: [
      ...(extensions.length > 0 ? [{ type: requestAttributes.extensionRequest, values: [encode(Extensions, extensions)] }] : []),
      ...(challengePassword === undefined
        ? []
        : [{ type: requestAttributes.challengePassword, values: [encode(Password, passwordOf(challengePassword))] }]),
      ...attributes,
    ],
  })
  return encodeSigned(info, signatureIdentifier(signer.signatureAlgorithm), await signer.sign(info))
}

/** RFC 2985, 5.4.1: PrintableString where it can hold the text. */
const passwordOf = (value: string): Infer<typeof Password> =>
  /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value) ? { type: 'printableString', value } : { type: 'utf8String', value }
