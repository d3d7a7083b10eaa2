/**
 * Certificates: read with every field as it was written, and built from parts that a profile encodes once.
 *
 * Source: RFC 5280, 4.1.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { identifySignature, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { ANY } from '#asn1/any.ts'
import {
  type Captured,
  captured,
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  optional,
  sequence,
  withDefault,
} from '#asn1/codec.ts'
import { BIT_STRING, BIT_STRING_OCTETS, INTEGER_OCTETS, SMALL_INTEGER } from '#asn1/types.ts'
import { Writer } from '#asn1/writer.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import {
  type Extension,
  Extensions,
  ExtensionsAsGiven,
  type ExtensionType,
  type ReadExtension,
  readExtension,
} from './extensions/extension.ts'
import { Name } from './name.ts'
import { Time } from './time.ts'

/** What an issuer signs. Octets are views of what was parsed. */
export interface TBSCertificate {
  /** The whole of it as DER. */
  readonly tbsCertificate: Uint8Array
  readonly version: 1 | 2 | 3
  /** Content octets of the INTEGER: big-endian, two's complement. */
  readonly serialNumber: Uint8Array
  /** DER AlgorithmIdentifier; in a certificate the same inside and outside of what is signed. */
  readonly signatureAlgorithm: Uint8Array
  /** DER Name. */
  readonly issuer: Uint8Array
  readonly notBefore: Date
  readonly notAfter: Date
  /** DER Name. */
  readonly subject: Uint8Array
  /** DER SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Uint8Array
  readonly extensions: readonly Extension[]
}

export interface Certificate extends TBSCertificate {
  readonly der: Uint8Array
  readonly signatureValue: Uint8Array
}

const Validity = sequence('Validity', { notBefore: Time, notAfter: Time })

const ToBeSigned = sequence('TBSCertificate', {
  version: withDefault(explicit(0, SMALL_INTEGER), 0),
  serialNumber: INTEGER_OCTETS,
  signature: ANY,
  issuer: ANY,
  validity: Validity,
  subject: ANY,
  subjectPublicKeyInfo: ANY,
  issuerUniqueID: optional(implicit(1, BIT_STRING)),
  subjectUniqueID: optional(implicit(2, BIT_STRING)),
  extensions: optional(explicit(3, Extensions)),
})

const SignedCertificate = sequence('Certificate', {
  tbsCertificate: captured(ToBeSigned),
  signatureAlgorithm: ANY,
  signatureValue: BIT_STRING_OCTETS,
})

/** RFC 5280 allows 20, and CAs have written more; ours do not, which the linter sees to. */
const SERIAL_NUMBER_MAX_OCTETS = 64

/** @throws TrustError `malformed`, `tooLarge` */
export function parseCertificate(der: Uint8Array): Certificate {
  const { tbsCertificate, signatureAlgorithm, signatureValue } = decode(SignedCertificate, der)
  const tbs = tbsCertificateOf(tbsCertificate)
  if (!equal(tbs.signatureAlgorithm, signatureAlgorithm)) throw unusable('its two signature algorithms differ') // RFC 5280, 4.1.1.2
  return { ...tbs, der, signatureValue }
}

/** For an issuer who looks at what is about to be signed. @throws TrustError `malformed`, `tooLarge` */
export const parseTBSCertificate = (der: Uint8Array): TBSCertificate => tbsCertificateOf({ der, value: decode(ToBeSigned, der) })

function tbsCertificateOf({ der, value }: Captured<Infer<typeof ToBeSigned>>): TBSCertificate {
  const { version, serialNumber, extensions = [] } = value
  if (version > 2) throw unusable(`its version is ${version + 1}`)
  if (extensions.length > 0 && version !== 2) throw unusable('it has extensions and is not version 3') // RFC 5280, 4.1.2.9
  if ((value.issuerUniqueID ?? value.subjectUniqueID) !== undefined && version === 0)
    throw unusable('it has a unique identifier and is version 1')
  if (serialNumber.length > SERIAL_NUMBER_MAX_OCTETS) throw unusable('its serial number is longer than any in use')
  return {
    tbsCertificate: der,
    version: (version + 1) as 1 | 2 | 3,
    serialNumber,
    signatureAlgorithm: value.signature,
    issuer: value.issuer,
    notBefore: value.validity.notBefore,
    notAfter: value.validity.notAfter,
    subject: value.subject,
    subjectPublicKeyInfo: value.subjectPublicKeyInfo,
    extensions,
  }
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badCertificate', { facts: { detail } })

/**
 * An extension's value, decoded now.
 *
 * @returns undefined when the certificate does not have it
 * @throws TrustError `malformed` when its value is not of its type
 */
export const extensionOf = <T>(
  { extensions }: Pick<TBSCertificate, 'extensions'>,
  type: ExtensionType<T>,
): ReadExtension<T> | undefined => readExtension(extensions, type)

/** Lower-case hex of the content octets: how serial numbers are kept, compared and shown. */
export const serialHex = ({ serialNumber }: Pick<TBSCertificate, 'serialNumber'>): string => serialNumber.toHex()

/** SHA-256 over the whole object. */
export function fingerprint(der: Uint8Array): Uint8Array {
  const digest = hash('sha256', der, 'buffer')
  return new Uint8Array(digest.buffer, digest.byteOffset, digest.length)
}

/**
 * Whether this key signed the certificate. Says nothing of names, times or rights.
 *
 * @throws TrustError `unsupported` for a signature algorithm that is not in the table
 */
export const verifyCertificateSignature = async (certificate: Certificate, issuerPublicKey: PublicKey): Promise<boolean> =>
  verifySignature(
    { algorithm: identifySignature(certificate.signatureAlgorithm), octets: certificate.signatureValue },
    issuerPublicKey,
    certificate.tbsCertificate,
  )

/** Parts given as octets are DER already and are copied as they are. */
export interface TBSCertificateFields {
  /** Content octets of a positive INTEGER in its shortest form. */
  readonly serialNumber: Uint8Array
  /** DER AlgorithmIdentifier of the signature to come. */
  readonly signatureAlgorithm: Uint8Array
  readonly issuer: Uint8Array | Name
  /** DER Validity, or both ends. Fractions of a second are cut off. */
  readonly validity: Uint8Array | { readonly notBefore: Date; readonly notAfter: Date }
  readonly subject: Uint8Array | Name
  /** DER SubjectPublicKeyInfo. */
  readonly subjectPublicKeyInfo: Uint8Array
  /** In this order; octets are whole DER Extensions, one or several after each other. */
  readonly extensions: readonly (Uint8Array | Extension)[]
}

const VERSION_3 = encode(explicit(0, SMALL_INTEGER), 2)
const SEQUENCE = 0x30
const EXTENSIONS = 0xa3

/**
 * What an issuer signs: a version 3 TBSCertificate.
 *
 * Written directly rather than by schema: every certificate of every device comes through here.
 *
 * @throws TypeError for a serial number that is not positive or not in its shortest form
 */
export function encodeTBSCertificate(fields: TBSCertificateFields): Uint8Array {
  const { serialNumber, signatureAlgorithm, issuer, validity, subject, subjectPublicKeyInfo, extensions } = fields
  const [first = 0xff, second = 0] = serialNumber
  if (first >= 0x80 || (first === 0 && second < 0x80))
    throw new TypeError('a serial number is not a positive INTEGER in its shortest form')
  const to = new Writer()
  if (extensions.length > 0) {
    ExtensionsAsGiven.write(to, extensions)
    to.header(EXTENSIONS, 0)
  }
  to.octets(subjectPublicKeyInfo)
  if (subject instanceof Uint8Array) to.octets(subject)
  else Name.write(to, subject)
  if (validity instanceof Uint8Array) to.octets(validity)
  else Validity.write(to, validity)
  if (issuer instanceof Uint8Array) to.octets(issuer)
  else Name.write(to, issuer)
  to.octets(signatureAlgorithm)
  INTEGER_OCTETS.write(to, serialNumber)
  to.octets(VERSION_3)
  to.header(SEQUENCE, 0)
  return to.take()
}

/** For profiles that give many certificates the same ends. */
export const encodeValidity = (validity: { readonly notBefore: Date; readonly notAfter: Date }): Uint8Array =>
  encode(Validity, validity)
