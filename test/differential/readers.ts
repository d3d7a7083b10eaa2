/**
 * Our readers as a caller who looks at everything uses them.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { decode, optional, sequence } from '#asn1/codec.ts'
import { BIT_STRING, OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { decodeExtension, type Extension } from '#x509/extensions/extension.ts'
import { knownExtension } from '#x509/extensions/registry.ts'
import { parseName } from '#x509/name.ts'
import type { Kind } from './oracle.ts'

/**
 * The shape of an identifier. The product asks for more: it takes those of its table, octet for octet, but that would
 * hide here what the rest of the object is worth.
 */
const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: optional(ANY) })
const SubjectPublicKeyInfo = sequence('SubjectPublicKeyInfo', { algorithm: AlgorithmIdentifier, subjectPublicKey: BIT_STRING })

function readExtensions(extensions: readonly Extension[]): void {
  for (const extension of extensions) {
    const type = knownExtension(extension.extnID)
    if (type !== undefined) decodeExtension(type, extension)
  }
}

export const readers: Readonly<Record<Kind, (der: Uint8Array) => void>> = {
  certificate(der) {
    const { issuer, subject, subjectPublicKeyInfo, signatureAlgorithm, extensions } = parseCertificate(der)
    parseName(issuer)
    parseName(subject)
    decode(SubjectPublicKeyInfo, subjectPublicKeyInfo)
    decode(AlgorithmIdentifier, signatureAlgorithm)
    readExtensions(extensions)
  },
  'certification-request'(der) {
    const { subject, subjectPublicKeyInfo, signatureAlgorithm, requestedExtensions } = parseCertificationRequest(der)
    parseName(subject)
    decode(SubjectPublicKeyInfo, subjectPublicKeyInfo)
    decode(AlgorithmIdentifier, signatureAlgorithm)
    readExtensions(requestedExtensions)
  },
  'certificate-list'(der) {
    const list = parseCertificateList(der)
    parseName(list.issuer)
    decode(AlgorithmIdentifier, list.signatureAlgorithm)
    readExtensions(list.extensions)
    for (const { extensions } of list.entries()) readExtensions(extensions)
  },
}
