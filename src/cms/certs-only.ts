/**
 * Bundles of certificates: a SignedData that nobody signed, as EST answers, CA pages and `.p7b` files have it.
 *
 * The certificates are a SET OF, so DER puts them in the order of their octets and not of a chain. Clients look for
 * theirs by its key: what RFC 7030 clients enroll for is alone in its answer (4.2.3), and of CA certificates the order
 * says nothing (4.1.3).
 *
 * Source: RFC 5652, 5; RFC 5751, 3.2.2 (certs-only); RFC 7030, 4.1.3 and 4.2.3.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { decode, encode, implicit, optional, sequence, sequenceOf, setOf } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER, SMALL_INTEGER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { ContentInfo, contentTypes } from './content-info.ts'

/** The roots of a large plant and their links; a browser's whole store has 150. */
const CERTIFICATES_MAX = 256

const EncapsulatedContentInfo = sequence('EncapsulatedContentInfo', { eContentType: OBJECT_IDENTIFIER })

const SignedData = sequence('SignedData', {
  version: SMALL_INTEGER,
  digestAlgorithms: setOf('digestAlgorithms', ANY, { max: 0 }),
  encapContentInfo: EncapsulatedContentInfo,
  certificates: optional(implicit(0, setOf('certificates', ANY, { max: CERTIFICATES_MAX }))),
  crls: optional(implicit(1, setOf('crls', ANY, { max: CERTIFICATES_MAX }))),
  signerInfos: setOf('signerInfos', ANY, { max: 0 }),
})

/** OpenSSL and Windows leave the certificates in the order they were given, which CMS allows and DER does not. */
const LooseSignedData = sequence('SignedData', {
  version: SMALL_INTEGER,
  digestAlgorithms: setOf('digestAlgorithms', ANY),
  encapContentInfo: EncapsulatedContentInfo,
  certificates: optional(implicit(0, { ...sequenceOf('certificates', ANY, { max: CERTIFICATES_MAX }), tag: 0x31 })),
  crls: optional(implicit(1, { ...sequenceOf('crls', ANY, { max: CERTIFICATES_MAX }), tag: 0x31 })),
  signerInfos: setOf('signerInfos', ANY, { max: 0 }),
})

/** Both as DER. */
export interface CertificateBundle {
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
}

/** @param certificates DER @param crls DER @returns DER ContentInfo */
export function encodeCertsOnly(certificates: readonly Uint8Array[], crls: readonly Uint8Array[] = []): Uint8Array {
  const content = encode(SignedData, {
    version: 1,
    digestAlgorithms: [],
    encapContentInfo: { eContentType: contentTypes.data },
    certificates: certificates.length === 0 ? undefined : certificates,
    crls: crls.length === 0 ? undefined : crls,
    signerInfos: [],
  })
  return encode(ContentInfo, { contentType: contentTypes.signedData, content })
}

const CERTIFICATE = 0x30

/**
 * @returns what is inside, not yet parsed: `parseCertificate` and `parseCertificateList` do that
 * @throws TrustError `malformed`, also when somebody did sign it; `tooLarge`
 */
export function parseCertsOnly(der: Uint8Array): CertificateBundle {
  const { contentType, content } = decode(ContentInfo, der)
  if (contentType !== contentTypes.signedData) throw unusable(`its content is ${contentType} and not SignedData`)
  const { version, certificates = [], crls = [] } = decode(LooseSignedData, content)
  if (version !== 1) throw unusable(`its version is ${version}`)
  if (![...certificates, ...crls].every(([tag]) => tag === CERTIFICATE))
    throw unusable('it holds something else than X.509 certificates and lists')
  return { certificates, crls }
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badBundle', { facts: { detail } })
