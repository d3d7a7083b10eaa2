/**
 * One object of each kind with most of what the standards allow in it, the same bytes on every run: what is to be
 * broken. The signatures are numbers, since nobody checks them.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeReport } from '#devices/state/messages.ts'
import { encodeTrustList } from '#agent/trust-list.ts'
import { encode, octetStringOf } from '#asn1/codec.ts'
import { encodePEM, parseOnePEM } from '#asn1/pem.ts'
import { INTEGER_OCTETS, OBJECT_IDENTIFIER, UTF8String } from '#asn1/types.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { concat } from '#base/bytes.ts'
import { type CBOR, encodeCBOR, type Label } from '#cbor/cbor.ts'
import { encodeCOSEKey } from '#cbor/cose-key.ts'
import { answer } from '#signing/artifact/answer.ts'
import { encodeLineageFile, type LineageLevel, lineageSignedData, USUAL_FLAGS } from '#signing/artifact/apk-lineage.ts'
import { endOf } from '#signing/artifact/zip.ts'
import { bytesSource, octetsOf } from '#signing/artifact/blob.ts'
import type { SigningFormat } from '#signing/format.ts'
import { apk } from '#signing/formats/apk.ts'
import { authenticodeCAB } from '#signing/formats/authenticode-cab.ts'
import { authenticodeMSI } from '#signing/formats/authenticode-msi.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { authenticodeScript } from '#signing/formats/authenticode-script.ts'
import { coseSign } from '#signing/formats/cose-sign.ts'
import { coseSign1 } from '#signing/formats/cose-sign1.ts'
import { dsse } from '#signing/formats/dsse.ts'
import { jar } from '#signing/formats/jar.ts'
import { jws } from '#signing/formats/jws.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { rauc } from '#signing/formats/rauc.ts'
import { swupdate } from '#signing/formats/swupdate.ts'
import { parseImageKey } from '#updates/encryption/mcuboot.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import { encodeAuthEnvelopedData, encodeEnvelopedData, type Recipient } from '#cms/encrypt.ts'
import { counterSignature, encodeSignedData, type Signing } from '#cms/sign.ts'
import { encodeGrantedTimeStamp, encodeTimeStampRequest, encodeTimeStampToken } from '#cms/timestamp.ts'
import { secret } from '#base/secret.ts'
import { encodeTBSCertificate, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { encodeCertificateList } from '#x509/crl.ts'
import { authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import {
  certificatePolicies,
  inhibitAnyPolicy,
  policyConstraints,
  policyMappings,
} from '#x509/extensions/certificate-policies.ts'
import { crlDistributionPoints, freshestCRL } from '#x509/extensions/crl-distribution-points.ts'
import {
  crlNumber,
  deltaCRLIndicator,
  issuingDistributionPoint,
  issuingDistributionPointAt,
} from '#x509/extensions/crl-extensions.ts'
import { extKeyUsage, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { type Extension, extensionWith } from '#x509/extensions/extension.ts'
import { type GeneralName, hardwareModuleName } from '#x509/extensions/general-name.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { nameConstraints } from '#x509/extensions/name-constraints.ts'
import { ocspNoCheck } from '#x509/extensions/ocsp-extensions.ts'
import { issuerAltName, subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import {
  encodeCertID,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
} from '#x509/ocsp.ts'
import { encodeSigned, signatureIdentifier, type SignatureMaker } from '#x509/signed.ts'

/** Keys made for this file; nobody kept their private halves. */
const SPKI_P256 = Uint8Array.fromHex(
  '3059301306072a8648ce3d020106082a8648ce3d03010703420004baaea530f1b0f4ed1f2a7abe377a27e1d379b33280784506a634941158' +
    '1ec2ed0ee08c07dff1719cfbf4accbe5c9419bbade1b6106adadf2603602b95e65dc6b',
)
const SPKI_RSA = Uint8Array.fromHex(
  '30820122300d06092a864886f70d01010105000382010f003082010a02820101009ff61d5d4a3a4bdea7e1f28e719c2ca84904be7875970a' +
    'aa0f9ca09cf8b2f231eb8d671189cca23aacbc18ef8a2a1c8984e4922fbd0aaecfd5fefdb30072a35d1ec235f0baf3479720bd32cd4e446e' +
    '492c69da9d2f178a4edb9d67bdb4bc697e31e1eb38bcbe5fe8207731b34eb512e459075e71e4ae2310b11429211bdf4c35893d379eae2058' +
    '5aa5e24f0cd2a36596a0784e9a028dca159b8906e7f94c9d8d39ac10eb25ae033b4ee212628bcb3dff5b9a7a42de1f570df7c2b40140f838' +
    '9b7981ee674550b1c233207eca33c2c66d93a78081f60a4a20271db0f7aa906a4c202a0c78f57f8ad6624e469154d8d28710d3ced7e6a13d' +
    'a801a8c6e6310b4b7f0203010001',
)
const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
/** Ecdsa-Sig-Value with two small numbers. */
const SIGNATURE = Uint8Array.fromHex('3006020107020109')
const signer: SignatureMaker = { signatureAlgorithm: 'ecdsa-sha256', sign: () => SIGNATURE }

const directory = nameOf([
  { type: 'C', value: 'DE' },
  { type: 'O', value: 'Wörter & Söhne' },
  { type: 'CN', value: 'Device Issuing CA 1' },
])
const issuer = encodeName(directory)
const subject = encodeName([
  ...nameOf([
    { type: 'C', value: 'DE' },
    { type: 'DC', value: 'example' },
    { type: 'serialNumber', value: 'SN-000042' },
  ]),
  [
    { type: '2.5.4.3', value: 'sensor 42', encoding: 'utf8String' },
    { type: '2.5.4.10', value: 'Works', encoding: 'printableString' },
  ],
])
const names: readonly GeneralName[] = [
  { type: 'dNSName', value: 'sensor.example' },
  { type: 'rfc822Name', value: 'line@plant.example' },
  { type: 'uniformResourceIdentifier', value: 'urn:dev:ops:32473-42' },
  { type: 'iPAddress', value: Uint8Array.of(192, 0, 2, 42) },
  { type: 'directoryName', value: directory },
  { type: 'registeredID', value: '1.3.6.1.4.1.32473' },
  { type: 'otherName', value: { typeID: '1.3.6.1.4.1.32473.1', value: encode(UTF8String, 'other') } },
  hardwareModuleName({ hwType: '1.3.6.1.4.1.32473.2', hwSerialNum: Uint8Array.of(0, 42) }),
]
const at = (uri: string): GeneralName => ({ type: 'uniformResourceIdentifier', value: uri })
const keyIdentifier = new Uint8Array(20).fill(0xa5)
const points = [
  { distributionPoint: { type: 'fullName', value: [at('http://pki.example/crl/line1.1.crl')] } },
  {
    distributionPoint: { type: 'fullName', value: [at('ldap://pki.example')] },
    reasons: ['keyCompromise'],
    cRLIssuer: [{ type: 'directoryName', value: directory }],
  },
] as const

const deviceExtensions: readonly Extension[] = [
  extensionWith(basicConstraints, { cA: false }),
  extensionWith(keyUsage, ['digitalSignature', 'keyAgreement']),
  extensionWith(extKeyUsage, [keyPurposes.clientAuth, keyPurposes.serverAuth]),
  extensionWith(subjectKeyIdentifier, keyIdentifier),
  extensionWith(authorityKeyIdentifier, {
    keyIdentifier,
    authorityCertIssuer: [{ type: 'directoryName', value: directory }],
    authorityCertSerialNumber: Uint8Array.of(0x01, 0x02),
  }),
  extensionWith(subjectAltName, names),
  extensionWith(issuerAltName, [at('http://pki.example')]),
  extensionWith(crlDistributionPoints, points),
  extensionWith(freshestCRL, [points[0]]),
  extensionWith(authorityInfoAccess, [
    { accessMethod: '1.3.6.1.5.5.7.48.1', accessLocation: at('http://pki.example/ocsp') },
    { accessMethod: '1.3.6.1.5.5.7.48.2', accessLocation: at('http://pki.example/ca') },
  ]),
  extensionWith(certificatePolicies, [
    { policyIdentifier: '1.3.6.1.4.1.32473.3' },
    {
      policyIdentifier: '1.3.6.1.4.1.32473.4',
      policyQualifiers: [{ policyQualifierId: '1.3.6.1.5.5.7.2.1', qualifier: Uint8Array.fromHex('1603687474') }],
    },
  ]),
  { extnID: '1.3.6.1.4.1.32473.5', critical: false, extnValue: encode(octetStringOf(OBJECT_IDENTIFIER), '1.2.3') },
]

const authorityExtensions: readonly Extension[] = [
  extensionWith(basicConstraints, { cA: true, pathLenConstraint: 1 }),
  extensionWith(keyUsage, ['keyCertSign', 'cRLSign']),
  extensionWith(nameConstraints, {
    permittedSubtrees: [{ base: { type: 'dNSName', value: 'example' }, minimum: 0 }],
    excludedSubtrees: [{ base: { type: 'iPAddress', value: Uint8Array.of(10, 0, 0, 0, 255, 0, 0, 0) }, minimum: 0 }],
  }),
  extensionWith(policyConstraints, { requireExplicitPolicy: 0, inhibitPolicyMapping: 2 }),
  extensionWith(policyMappings, [{ issuerDomainPolicy: '1.2.3', subjectDomainPolicy: '1.2.4' }]),
  extensionWith(inhibitAnyPolicy, 0),
  extensionWith(ocspNoCheck, null),
]

const certificateOf = (extensions: readonly Extension[], notAfter: string): Uint8Array =>
  encodeSigned(
    encodeTBSCertificate({
      serialNumber: Uint8Array.fromHex('40a1b2c3d4e5f60718293a4b5c6d7e8f'),
      signatureAlgorithm,
      issuer,
      validity: { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date(notAfter) },
      subject,
      subjectPublicKeyInfo: SPKI_P256,
      extensions,
    }),
    signatureAlgorithm,
    SIGNATURE,
  )

const device = certificateOf(deviceExtensions, '2046-01-01T00:00:00Z')
const authority = certificateOf(authorityExtensions, '9999-12-31T23:59:59Z')
export const certificates: readonly Uint8Array[] = [device, authority]

export const certificationRequests: readonly Uint8Array[] = await Promise.all([
  encodeCertificationRequest(
    { subject, publicKey: SPKI_P256, extensions: deviceExtensions.slice(0, 6), challengePassword: 'once only' },
    signer,
  ),
  encodeCertificationRequest({ subject: issuer, publicKey: SPKI_RSA }, signer),
])

const listOf = (
  extensions: readonly [Extension, ...Extension[]],
  reasons: readonly ('keyCompromise' | 'certificateHold' | undefined)[],
): Promise<Uint8Array> =>
  encodeCertificateList(
    { issuer, thisUpdate: new Date('2026-01-01T00:00:00Z'), nextUpdate: new Date('2050-01-08T00:00:00Z'), extensions },
    reasons.map((reason, i) => ({
      serialNumber: Uint8Array.of(0x40, i),
      revokedAt: new Date('2025-06-01T00:00:00Z'),
      ...(reason !== undefined && { reason }),
    })),
    signer,
  )
export const certificateLists: readonly Uint8Array[] = [
  await listOf(
    [
      extensionWith(authorityKeyIdentifier, { keyIdentifier }),
      extensionWith(crlNumber, 42n),
      extensionWith(issuingDistributionPoint, issuingDistributionPointAt('http://pki.example/crl/line1/7.crl')),
    ],
    ['keyCompromise', undefined, 'certificateHold'],
  ),
  await listOf([extensionWith(crlNumber, 43n), extensionWith(deltaCRLIndicator, 42n)], []),
]

const certIDs = (['sha1', 'sha256'] as const).map((algorithm) =>
  encodeCertID(
    issuerHashes({ subject: issuer, subjectPublicKeyInfo: SPKI_P256 }, algorithm),
    Uint8Array.of(0x40, 0x01),
    algorithm,
  ),
)
export const ocspRequests: readonly Uint8Array[] = [
  encodeOCSPRequest(certIDs, new Uint8Array(32).fill(7)),
  encodeOCSPRequest(certIDs.slice(0, 1)),
]

const responder = ocspResponder({ publicKey: SPKI_P256, signatureAlgorithm, certificates: [device] })
const thisUpdate = new Date('2026-01-01T00:00:00Z')
export const ocspResponses: readonly Uint8Array[] = [
  encodeOCSPResponse(
    responder,
    encodeResponseData(responder, {
      producedAt: thisUpdate,
      responses: [
        { certID: certIDs[0] as Uint8Array, status: { type: 'good' }, thisUpdate, nextUpdate: new Date('2026-01-02T00:00:00Z') },
        {
          certID: certIDs[1] as Uint8Array,
          status: { type: 'revoked', revokedAt: thisUpdate, reason: 'keyCompromise' },
          thisUpdate,
        },
      ],
      nonce: new Uint8Array(32).fill(7),
    }),
    SIGNATURE,
  ),
]

export const certificateBundles: readonly Uint8Array[] = [
  encodeCertsOnly([device, authority], [...certificateLists]),
  encodeCertsOnly([device]),
]

export const publicKeys: readonly Uint8Array[] = [SPKI_P256, SPKI_RSA]

/** Nothing in particular: types that no other sample has. */
export const elements: readonly Uint8Array[] = [...certificates, encode(INTEGER_OCTETS, Uint8Array.of(1))]

const rootHash = new Uint8Array(32).fill(7).toBase64()
/** With a log's ECDSA line and a witness's. */
export const checkpoint = `pki.example/audit
1234067
${rootHash}

— pki.example/audit ${new Uint8Array(75).fill(1).toBase64()}
— witness.example/w1 ${new Uint8Array(76).fill(2).toBase64()}
`
export const addCheckpoint = `old 1234000\n${`${rootHash}\n`.repeat(9)}\n${checkpoint}`
export const auditProof = `c2sp.org/tlog-proof@v1\nextra e30=\nindex 42\n${`${rootHash}\n`.repeat(11)}\n${checkpoint}`
export const entryBundle = Uint8Array.of(0, 2, 123, 125, 0, 0, 0, 1, 65)

/** One number for all chance: the same bytes on every run. Key agreement and encapsulation have their own, so they are not here. */
const random = { octets: (count: number): Uint8Array => new Uint8Array(count).fill(0x5a) }
const signing: Signing = {
  key: { publicKey: SPKI_P256, sign: async () => SIGNATURE },
  certificate: device,
  signatureAlgorithm: 'ecdsa-sha256',
  signingTime: new Date('2026-01-01T00:00:00Z'),
}
const firmware = new Uint8Array(100).fill(0x11)
export const signedMessages: readonly Uint8Array[] = await Promise.all([
  encodeSignedData({
    content: { attached: firmware },
    signers: [
      { ...signing, unsignedAttributes: async (signature) => [await counterSignature(signing, signature)] },
      { ...signing, identifyBy: 'subjectKeyIdentifier', signatureAlgorithm: 'ecdsa-sha512' },
    ],
    certificates: [authority],
    crls: certificateLists,
  }),
  encodeSignedData({ contentType: '1.2.840.113549.1.9.16.1.4', content: { detached: firmware }, signers: [signing] }),
  encodeSignedData({
    content: { attached: firmware },
    signers: [signing, { ...signing, identifyBy: 'subjectKeyIdentifier', signatureAlgorithm: 'ecdsa-sha512' }],
    namingEachOther: true,
  }),
])

const imprint = { digestAlgorithm: 'sha256', digest: new Uint8Array(32).fill(0x22) } as const
const nonce = Uint8Array.of(1, 2, 3)
export const timeStampRequests: readonly Uint8Array[] = [
  encodeTimeStampRequest({ imprint, reqPolicy: '1.3.6.1.4.1.32473.7', nonce, certReq: true, extensions: [] }),
  encodeTimeStampRequest({ imprint, certReq: false, extensions: deviceExtensions.slice(0, 2) }),
]
export const timeStampResponses: readonly Uint8Array[] = [
  encodeGrantedTimeStamp(
    await encodeTimeStampToken(
      {
        policy: '1.3.6.1.4.1.32473.7',
        imprint,
        serialNumber: Uint8Array.of(7),
        genTime: new Date('2027-05-02T01:02:03.450Z'),
        accuracy: { seconds: 1, millis: 500, micros: 1 },
        ordering: true,
        nonce,
        tsa: { type: 'directoryName', value: directory },
        extensions: [],
      },
      signing,
      [authority],
    ),
  ),
]

/** Signs for the formats: nobody checks the signature, so any number will do. */
const answering = {
  key: signing.key,
  certificates: [signing.certificate, authority],
  signatureAlgorithm: 'ecdsa-sha256',
} as const
async function signedBy(
  format: SigningFormat,
  artifact: Uint8Array,
  options: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> {
  const source = bytesSource(artifact)
  const { requests, attach } = await format.toBeSigned(source, { ...answering, options })
  const { pieces } = attach(await Promise.all(requests.map((request) => answer(request, answering))))
  return concat(await Array.fromAsync(octetsOf(source, pieces)))
}

const hello = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/hello.exe')))
const signedHello = await signedBy(authenticodePE, hello, { programName: 'hello', programUrl: 'https://press.example' })
export const programs: readonly Uint8Array[] = [
  signedHello,
  await signedBy(authenticodePE, signedHello, { existing: 'nest' }),
  await signedBy(authenticodePE, signedHello, { existing: 'append' }),
]
/** A message of each form, with its content inside, and such as others write. */
const inside = { content: 'attached' }
export const coseMessages: readonly Uint8Array[] = [
  await signedBy(coseSign1, firmware, inside),
  Uint8Array.fromHex('d28443a10126a10442313154546869732069732074686520636f6e74656e742e4100'),
]
export const coseSignMessages: readonly Uint8Array[] = [await signedBy(coseSign, firmware, inside)]
export const coseKeys: readonly Uint8Array[] = [publicKeys[0], publicKeys[1]].flatMap((spki) =>
  spki === undefined ? [] : [encodeCOSEKey(importPublicKey(spki))],
)
const prose = 'from the factory to the field, in text that can change and still be text'
export const cborItems: readonly Uint8Array[] = [
  encodeCBOR(
    new Map<Label, CBOR>([
      [1, { tag: 2, value: firmware }],
      [-1, [1000, { float: 1.5 }, true]],
      ['prose', prose],
    ]),
  ),
  Uint8Array.fromHex('9f5f42010243030405ffbf61610161629f0203ffff7f657374726561646d696e67fff8fffb3ff199999999999aff'),
]
export const trustLists: readonly Uint8Array[] = [
  encodeTrustList({
    name: 'presses',
    version: 2,
    expires: new Date('2030-01-01T00:00:00Z'),
    threshold: 1,
    keys: certificates.map((der) => parseCertificate(der).subjectPublicKeyInfo),
    anchors: { software: certificates, server: [authority] },
  }),
]
export const deviceReports: readonly Uint8Array[] = [
  encodeReport({
    counter: 2,
    previous: 'ab'.repeat(32),
    challenge: 'c',
    at: new Date('2027-01-01T00:00:00Z'),
    trustVersion: 2,
    components: [{ name: 'app', version: '1', digest: 'cd'.repeat(32) }],
    boot: {
      key: new Uint8Array(3),
      values: new Map([[4, new Uint8Array(32)]]),
      attest: new Uint8Array(5),
      signature: new Uint8Array(6),
    },
  }),
]
export const jsonTexts: readonly string[] = [
  JSON.stringify({ prose, list: [1, -2500, true, null, {}], escaped: 'ä"\\', deeper: { prose } }),
  '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
]
export const jwsMessages: readonly Uint8Array[] = [
  await signedBy(jws, firmware, inside),
  await signedBy(jws, firmware, { ...inside, serialization: 'general' }),
  await signedBy(jws, firmware, { serialization: 'flattened', payload: 'unencoded' }),
]
export const dsseEnvelopes: readonly Uint8Array[] = [
  await signedBy(dsse, firmware),
  await signedBy(dsse, firmware, {
    content: 'provenance',
    builderId: 'https://b.example',
    buildType: 'https://t.example',
    externalParameters: '{"a":[1,"b"]}',
  }),
]

const pressMSI = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.msi')))
const signedMSI = await signedBy(authenticodeMSI, pressMSI)
export const installers: readonly Uint8Array[] = [signedMSI, await signedBy(authenticodeMSI, signedMSI, { existing: 'nest' })]
const pressCab = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.cab')))
const signedCab = await signedBy(authenticodeCAB, pressCab)
export const cabinets: readonly Uint8Array[] = [signedCab, await signedBy(authenticodeCAB, signedCab, { existing: 'nest' })]
export const scripts: readonly Uint8Array[] = await Promise.all(
  [
    Buffer.from('Write-Host "größer 🏭"\n'.repeat(40)),
    Buffer.from('\uFEFF<Types>größer 🏭</Types>\r\n'.repeat(40), 'utf16le'),
  ].map((text) => signedBy(authenticodeScript, new Uint8Array(text))),
)
const pressJar = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.jar')))
const signedJar = await signedBy(jar, pressJar)
const pressApk = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.apk')))
/** As `apksigner rotate` writes it. */
const first = { flags: USUAL_FLAGS, algorithmId: 0x0201, signature: new Uint8Array(), parentAlgorithmId: 0 }
const next = { flags: USUAL_FLAGS, algorithmId: 0, signature: new Uint8Array(70), parentAlgorithmId: 0x0201 }
const level = (certificate: Uint8Array, rest: typeof first): LineageLevel => ({
  ...rest,
  certificate,
  signedData: lineageSignedData(certificate, rest.parentAlgorithmId),
})
export const lineages: readonly Uint8Array[] = [
  encodeLineageFile([level(signing.certificate, first)]),
  encodeLineageFile([level(authority, first), level(signing.certificate, next)]),
]
const [lineageOfOne = assert.fail('none')] = lineages
const pressV1 = await signedBy(apk, pressApk, { schemes: 'v1' })
export const packages: readonly Uint8Array[] = [
  await signedBy(apk, pressApk),
  await signedBy(apk, pressV1),
  await signedBy(apk, pressApk, { schemes: 'v3', lineage: lineageOfOne.toBase64() }),
  await signedBy(apk, pressApk, { schemes: 'v2' }),
  await signedBy(apk, pressApk, { schemes: 'v3' }),
]
export const archives: readonly Uint8Array[] = [
  pressJar,
  signedJar,
  await signedBy(jar, signedJar, { signerName: 'SECOND' }),
  withZIP64(signedJar),
]
/** The same archive with the end that one of 65,535 entries has, which says its own number in the record of ZIP64 alone. */
function withZIP64(octets: Uint8Array): Uint8Array {
  const end = new DataView(octets.buffer, octets.byteOffset + octets.length - 22)
  const wide = endOf(0xffff, end.getUint32(12, true), end.getUint32(16, true))
  for (const at of [24, 32]) new DataView(wide.buffer, wide.byteOffset).setBigUint64(at, BigInt(end.getUint16(10, true)), true)
  return concat([octets.subarray(0, -22), wide])
}
/** A manifest of names that go over several lines, and one as it is written by hand. */
export const manifests: readonly Uint8Array[] = [
  `Manifest-Version: 1.0\r\n\r\nName: ${'a'.repeat(64)}\r\n bcd\r\nSHA-256-Digest: ${'A'.repeat(43)}=\r\n\r\n`,
  'Manifest-Version: 1.0\n\nName: a/b\nX: y\n\n\nName: c\nX: z',
].map((text) => new TextEncoder().encode(text))

/** MCUboot's, and whose they are. */
export const images: readonly Uint8Array[] = [
  await signedBy(mcuboot, new Uint8Array(200), { version: '1.2.3', headerSize: '32', securityCounter: 'auto' }),
]
const [encryptedImage] = (
  JSON.parse(readFileSync(join(import.meta.dirname, '../../src/updates/encryption/testdata/imgtool.json'), 'utf8')) as {
    readonly images: readonly [{ readonly image: string; readonly privateKey: string }]
  }
).images
/** What imgtool encrypted, and the key of the boot loader. */
export const hiddenImages: readonly Uint8Array[] = [Uint8Array.fromBase64(encryptedImage.image)]
export const hiddenImageKey = parseImageKey(encodePEM('PRIVATE KEY', Uint8Array.fromBase64(encryptedImage.privateKey)))
export const imageCertificate = answering.certificates[0]
const pressSquashfs = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.squashfs')))
/** RAUC's: plain, and with a hash tree. */
export const bundles: readonly Uint8Array[] = [
  await signedBy(rauc, pressSquashfs),
  await signedBy(rauc, pressSquashfs, { manifest: '[update]\ncompatible=press-7\n\n[bundle]\nformat=verity\n' }),
]
const pressUpdate = new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.swu')))
/** UEFI's: a list, and an update of db with it that sign-efi-sig-list signed. */
export const variables: readonly Uint8Array[] = [
  new Uint8Array(readFileSync(join(import.meta.dirname, '../../src/signing/formats/testdata/press.auth'))),
]
/** SWUpdate's. */
export const updates: readonly Uint8Array[] = [await signedBy(swupdate, pressUpdate)]
export const descriptions: readonly Uint8Array[] = [
  firstFileOf(pressUpdate),
  new TextEncoder().encode('# a\nsoftware : { b = [1, 0x2L, -3.5e1], c = ("x" "\\x41\\n", { d = TRUE; /* e */ }); };'),
]

/** Behind a header of 110 octets, which states the length in digits, and the name `sw-description`. */
function firstFileOf(archive: Uint8Array): Uint8Array {
  const length = Number.parseInt(Buffer.from(archive.subarray(54, 62)).toString('latin1'), 16)
  return archive.subarray(128, 128 + length)
}

const [, nested = signedHello] = programs
/** The certificate table lies behind the program, whose padding is not needed: 8 octets of header come first. */
export const authenticode: readonly Uint8Array[] = [withoutPadding(nested.subarray(hello.length + 8))]

function withoutPadding(octets: Uint8Array): Uint8Array {
  return octets.subarray(0, 4 + (octets[2] as number) * 256 + (octets[3] as number))
}

/** What the fuzz opens {@link envelopes} with. */
export const sharedKey = { type: 'kek', keyIdentifier: Uint8Array.of(1, 2), key: secret(new Uint8Array(16).fill(9)) } as const
const password: Recipient = { type: 'password', password: secret(firmware), iterationCount: 1 }
export const envelopes: readonly Uint8Array[] = await Promise.all([
  encodeEnvelopedData({ cipher: 'aes-128-cbc', content: firmware, recipients: [sharedKey, password] }, random),
  encodeAuthEnvelopedData({ cipher: 'aes-128-gcm', content: firmware, recipients: [password, sharedKey] }, random),
])

/** An octet string in pieces. */
export const ber: readonly Uint8Array[] = [...signedMessages, Uint8Array.fromHex('3009240704020102040103')]

const published = (file: string): Uint8Array =>
  parseOnePEM(readFileSync(join(import.meta.dirname, '../../src/cms/testdata', file), 'utf8'), 'CMS')
/** Examples of the RFCs, with what is made by chance here and so is not above. */
export const publishedMessages: readonly Uint8Array[] = [
  published('rfc9936-ml-kem-512.pem'),
  published('rfc9882-ml-dsa-44.pem'),
  published('openssl-key-agreement.pem'),
]
