/**
 * What strict DER costs: a certification request read, a certificate read and written. Prints µs per operation.
 *
 *     node bench/asn1.ts [part of a case's name]
 *
 * Nothing is asserted about time: compare runs on one machine.
 *
 * @module
 */
import { generateKeyPairSync, sign } from 'node:crypto'
import { ANY } from '#asn1/any.ts'
import {
  captured,
  choice,
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  optional,
  sequence,
  sequenceOf,
  setOf,
  withDefault,
} from '#asn1/codec.ts'
import {
  BIT_STRING_OCTETS,
  BOOLEAN,
  IA5String,
  INTEGER_OCTETS,
  namedBits,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  PrintableString,
  SMALL_INTEGER,
  Time,
  UTF8String,
} from '#asn1/types.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { encodeTBSCertificate, parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import { measure } from './measure.ts'

const DirectoryString = choice('DirectoryString', { printableString: PrintableString, utf8String: UTF8String })
const AttributeTypeAndValue = sequence('AttributeTypeAndValue', { type: OBJECT_IDENTIFIER, value: DirectoryString })
const Name = sequenceOf('RDNSequence', setOf('RelativeDistinguishedName', AttributeTypeAndValue, { min: 1 }))
const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: optional(ANY) })
const SubjectPublicKeyInfo = sequence('SubjectPublicKeyInfo', {
  algorithm: AlgorithmIdentifier,
  subjectPublicKey: BIT_STRING_OCTETS,
})
const Extension = sequence('Extension', {
  extnID: OBJECT_IDENTIFIER,
  critical: withDefault(BOOLEAN, false),
  extnValue: OCTET_STRING,
})
const Extensions = sequenceOf('Extensions', Extension, { min: 1 })

const Attribute = sequence('Attribute', { type: OBJECT_IDENTIFIER, values: setOf('values', ANY, { min: 1 }) })
const CertificationRequest = sequence('CertificationRequest', {
  certificationRequestInfo: captured(
    sequence('CertificationRequestInfo', {
      version: SMALL_INTEGER,
      subject: Name,
      subjectPKInfo: captured(SubjectPublicKeyInfo),
      attributes: implicit(0, setOf('Attributes', Attribute)),
    }),
  ),
  signatureAlgorithm: AlgorithmIdentifier,
  signature: BIT_STRING_OCTETS,
})

const TBSCertificate = sequence('TBSCertificate', {
  version: withDefault(explicit(0, SMALL_INTEGER), 0),
  serialNumber: INTEGER_OCTETS,
  signature: AlgorithmIdentifier,
  issuer: captured(Name),
  validity: sequence('Validity', { notBefore: Time, notAfter: Time }),
  subject: captured(Name),
  subjectPublicKeyInfo: captured(SubjectPublicKeyInfo),
  issuerUniqueID: optional(implicit(1, BIT_STRING_OCTETS)),
  subjectUniqueID: optional(implicit(2, BIT_STRING_OCTETS)),
  extensions: optional(explicit(3, Extensions)),
})
const Certificate = sequence('Certificate', {
  tbsCertificate: captured(TBSCertificate),
  signatureAlgorithm: AlgorithmIdentifier,
  signature: BIT_STRING_OCTETS,
})

const BasicConstraints = sequence('BasicConstraints', {
  cA: withDefault(BOOLEAN, false),
  pathLenConstraint: optional(SMALL_INTEGER),
})
const KeyUsage = namedBits('KeyUsage', [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
])
const ExtKeyUsage = sequenceOf('ExtKeyUsageSyntax', OBJECT_IDENTIFIER, { min: 1 })
const GeneralName = choice('GeneralName', {
  dNSName: implicit(2, IA5String),
  uniformResourceIdentifier: implicit(6, IA5String),
  iPAddress: implicit(7, OCTET_STRING),
})
const GeneralNames = sequenceOf('GeneralNames', GeneralName, { min: 1 })
const AuthorityKeyIdentifier = sequence('AuthorityKeyIdentifier', { keyIdentifier: optional(implicit(0, OCTET_STRING)) })
const DistributionPoints = sequenceOf(
  'CRLDistributionPoints',
  sequence('DistributionPoint', {
    distributionPoint: optional(explicit(0, choice('DistributionPointName', { fullName: implicit(0, GeneralNames) }))),
  }),
)
const AuthorityInfoAccess = sequenceOf(
  'AuthorityInfoAccess',
  sequence('AccessDescription', { accessMethod: OBJECT_IDENTIFIER, accessLocation: GeneralName }),
)

const name = (...parts: readonly (readonly [string, string])[]): Infer<typeof Name> =>
  parts.map(([type, value]) => [
    { type, value: type === '2.5.4.6' ? { type: 'printableString', value } : { type: 'utf8String', value } },
  ])
const subject = name(
  ['2.5.4.6', 'DE'],
  ['2.5.4.10', 'Example Works'],
  ['2.5.4.11', 'Line 1'],
  ['2.5.4.3', 'sensor-000042'],
  ['2.5.4.5', 'SN-000042'],
)
const issuer = name(['2.5.4.6', 'DE'], ['2.5.4.10', 'Example Works'], ['2.5.4.3', 'Device Issuing CA 1'])
const subjectAltName = encode(GeneralNames, [
  { type: 'dNSName', value: 'sensor-000042.line1.example' },
  { type: 'iPAddress', value: Uint8Array.of(192, 0, 2, 1) },
])

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
const signatureAlgorithm = { algorithm: '1.2.840.10045.4.3.2' }
const rsaSpki = new Uint8Array(
  generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'der', type: 'spki' }),
)

const uri = (value: string): Infer<typeof GeneralName> => ({ type: 'uniformResourceIdentifier', value })
const keyIdentifier = Uint8Array.from({ length: 20 }, (_, i) => i * 11)
const extensionsOf = () => [
  { extnID: '2.5.29.19', critical: true, extnValue: encode(BasicConstraints, { cA: false }) },
  { extnID: '2.5.29.15', critical: true, extnValue: encode(KeyUsage, ['digitalSignature', 'keyAgreement']) },
  { extnID: '2.5.29.37', critical: false, extnValue: encode(ExtKeyUsage, ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1']) },
  { extnID: '2.5.29.14', critical: false, extnValue: encode(OCTET_STRING, keyIdentifier) },
  { extnID: '2.5.29.35', critical: false, extnValue: encode(AuthorityKeyIdentifier, { keyIdentifier }) },
  { extnID: '2.5.29.17', critical: false, extnValue: subjectAltName },
  {
    extnID: '2.5.29.31',
    critical: false,
    extnValue: encode(DistributionPoints, [
      { distributionPoint: { type: 'fullName', value: [uri('http://pki.example/crl/line1.1.crl')] } },
    ]),
  },
  {
    extnID: '1.3.6.1.5.5.7.1.1',
    critical: false,
    extnValue: encode(AuthorityInfoAccess, [
      { accessMethod: '1.3.6.1.5.5.7.48.1', accessLocation: uri('http://pki.example/ocsp/line1.1') },
    ]),
  },
]

const subjectPKInfo = { der: spki, value: decode(SubjectPublicKeyInfo, spki) }
const requestInfo = {
  version: 0,
  subject,
  subjectPKInfo,
  attributes: [
    {
      type: '1.2.840.113549.1.9.14',
      values: [
        encode(Extensions, [
          { extnID: '2.5.29.15', critical: true, extnValue: encode(KeyUsage, ['digitalSignature']) },
          { extnID: '2.5.29.17', critical: false, extnValue: subjectAltName },
        ]),
      ],
    },
  ],
}
const signed = <T>(codec: Parameters<typeof encode<T>>[0], value: T) => {
  const der = encode(codec, value)
  return { der, value, signature: new Uint8Array(sign('sha256', der, privateKey)) }
}
const info = signed(
  sequence('CertificationRequestInfo', {
    version: SMALL_INTEGER,
    subject: Name,
    subjectPKInfo: captured(SubjectPublicKeyInfo),
    attributes: implicit(0, setOf('Attributes', Attribute)),
  }),
  requestInfo,
)
const requestDER = encode(CertificationRequest, { certificationRequestInfo: info, signatureAlgorithm, signature: info.signature })

const issuerDER = encode(Name, issuer)
const subjectDER = encode(Name, subject)
const serialNumber = Uint8Array.from({ length: 16 }, (_, i) => i + 64)
const tbsCertificateOf = (extensions: Infer<typeof Extensions>): Infer<typeof TBSCertificate> => ({
  version: 2,
  serialNumber,
  signature: signatureAlgorithm,
  issuer: { der: issuerDER, value: issuer },
  validity: { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2051-01-01T00:00:00Z') },
  subject: { der: subjectDER, value: subject },
  subjectPublicKeyInfo: subjectPKInfo,
  extensions,
})
const tbs = signed(TBSCertificate, tbsCertificateOf(extensionsOf()))
const certificateDER = encode(Certificate, { tbsCertificate: tbs, signatureAlgorithm, signature: tbs.signature })

/** What reading a request means to its caller: the names and the extensions that it asks for, too. */
function readRequest(): number {
  const request = decode(CertificationRequest, requestDER)
  const [attribute] = request.certificationRequestInfo.value.attributes
  const [value] = attribute?.values ?? []
  let seen = 0
  for (const { extnID, extnValue } of decode(Extensions, value as Uint8Array)) {
    seen += extnID === '2.5.29.17' ? decode(GeneralNames, extnValue).length : decode(KeyUsage, extnValue).length
  }
  return seen
}

function writeCertificate(): Uint8Array {
  const value = tbsCertificateOf(extensionsOf())
  const der = encode(TBSCertificate, value)
  return encode(Certificate, { tbsCertificate: { der, value }, signatureAlgorithm, signature: tbs.signature })
}

/** As the authority does it: what a profile fixes is encoded once, the rest for each device. */
const fixedExtensions = extensionsOf()
  .slice(0, 5)
  .map((one) => encode(Extension, one))
const ecdsa = signatureIdentifier('ecdsa-sha256')
function writeByProfile(): Uint8Array {
  const der = encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm: ecdsa,
    issuer: issuerDER,
    validity: { notBefore: new Date(1_767_225_600_000), notAfter: new Date(2_556_144_000_000) },
    subject: subjectDER,
    subjectPublicKeyInfo: spki,
    extensions: [...fixedExtensions, { extnID: '2.5.29.17', critical: false, extnValue: subjectAltName }],
  })
  return encodeSigned(der, ecdsa, tbs.signature)
}

const key = importPublicKey(spki)
const [, , wanted = ''] = process.argv
const cases: Parameters<typeof measure>[0] = [
  [`read a request (${requestDER.length} octets) with its extension request`, readRequest],
  [`read a certificate (${certificateDER.length} octets), extensions as octets`, () => decode(Certificate, certificateDER)],
  ['write that certificate with its eight extensions', writeCertificate],
  ['encodeTBSCertificate and encodeSigned, most extensions encoded before', writeByProfile],
  ['parseCertificationRequest', () => parseCertificationRequest(requestDER)],
  ['parseCertificate', () => parseCertificate(certificateDER)],
  ['write a name', () => encode(Name, subject)],
  ['read a name', () => decode(Name, subjectDER)],
  ['import a P-256 public key', () => importPublicKey(spki)],
  ['import an RSA-2048 public key', () => importPublicKey(rsaSpki)],
  ['verify an ECDSA P-256 signature', () => verifySignature({ algorithm: 'ecdsa-sha256', octets: tbs.signature }, key, tbs.der)],
]
await measure(cases.filter(([name]) => name.includes(wanted)))
