/**
 * What building and reading certificates, requests, lists and OCSP messages costs, beside one P-256 signature.
 *
 *     node bench/x509.ts [part of a case's name]
 *
 * Nothing is asserted about time: compare runs on one machine. The list of a million entries runs once, with its time
 * and peak memory.
 *
 * @module
 */
import { sign } from 'node:crypto'
import { encodeTBSCertificate, encodeValidity, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest, parseCertificationRequest } from '#x509/certification-request.ts'
import { encodeCertificateList, parseCertificateList, type RevokedEntry } from '#x509/crl.ts'
import { accessAt, authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { certificatePolicies } from '#x509/extensions/certificate-policies.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { crlDistributionPoints, distributionPointAt } from '#x509/extensions/crl-distribution-points.ts'
import { extKeyUsage, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { encodeExtension, extensionWith } from '#x509/extensions/extension.ts'
import { hardwareModuleName } from '#x509/extensions/general-name.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, nameOf, parseName } from '#x509/name.ts'
import {
  encodeCertID,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
  parseOCSPRequest,
} from '#x509/ocsp.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { measure } from './measure.ts'

const key = makeKey()
const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
const keyIdentifier = keyIdentifierOf(key.publicKey.subjectPublicKey)
const issuer = encodeName(
  nameOf([
    { type: 'C', value: 'DE' },
    { type: 'O', value: 'Example Works' },
    { type: 'CN', value: 'Line 1 CA' },
  ]),
)
const validity = encodeValidity({ notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('9999-12-31T23:59:59Z') })
const serialNumber = Uint8Array.from({ length: 16 }, (_, i) => i + 64)
const constant = [
  encodeExtension(basicConstraints, { cA: false }, true),
  encodeExtension(keyUsage, ['digitalSignature']),
  encodeExtension(extKeyUsage, [keyPurposes.clientAuth]),
  encodeExtension(authorityKeyIdentifier, { keyIdentifier }),
  encodeExtension(crlDistributionPoints, [distributionPointAt('http://pki.example/crl/line1.1.crl')]),
  encodeExtension(authorityInfoAccess, [
    accessAt('ocsp', 'http://pki.example/ocsp/line1'),
    accessAt('caIssuers', 'http://pki.example/ca/line1.cer'),
  ]),
  encodeExtension(certificatePolicies, [{ policyIdentifier: '2.23.133.11.1.1' }]),
]
const hwSerialNum = new TextEncoder().encode('SN-000042')

/** A device's own parts are made anew, the profile's are copied. */
const build = (): Uint8Array =>
  encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm,
    issuer,
    validity,
    subject: nameOf([
      { type: 'O', value: 'Example Works' },
      { type: 'CN', value: 'sensor-000042' },
      { type: 'serialNumber', value: 'SN-000042' },
    ]),
    subjectPublicKeyInfo: key.spki,
    extensions: [
      ...constant,
      extensionWith(subjectKeyIdentifier, keyIdentifier),
      extensionWith(subjectAltName, [hardwareModuleName({ hwType: '1.3.6.1.4.1.99999.1', hwSerialNum })]),
    ],
  })

const tbs = build()
const signature = new Uint8Array(sign('sha256', tbs, key.privateKey))
const certificate = encodeSigned(tbs, signatureAlgorithm, signature)
const request = await encodeCertificationRequest(
  {
    subject: parseCertificate(certificate).subject,
    publicKey: key.spki,
    extensions: [extensionWith(subjectAltName, [{ type: 'dNSName', value: 'a.example' }])],
  },
  key.signer,
)

const responder = ocspResponder({ publicKey: key.spki, signatureAlgorithm, certificates: [await makeCertificate(key)] })
const hashes = issuerHashes({ subject: issuer, subjectPublicKeyInfo: key.spki }, 'sha1')
const question = encodeOCSPRequest([encodeCertID(hashes, serialNumber)], new Uint8Array(32))
const [thisUpdate, nextUpdate] = [new Date('2026-03-01T00:00:00Z'), new Date('2026-03-01T01:00:00Z')]

function answer(): Uint8Array {
  const { certIDs, nonce } = parseOCSPRequest(question)
  const responses = certIDs.map(({ der }) => ({ certID: der, status: { type: 'good' }, thisUpdate, nextUpdate }) as const)
  return encodeOCSPResponse(responder, encodeResponseData(responder, { producedAt: thisUpdate, nonce, responses }), signature)
}

const [, , wanted = ''] = process.argv
const cases: Parameters<typeof measure>[0] = [
  ['one ECDSA P-256 signature, for comparison', () => sign('sha256', tbs, key.privateKey)],
  [
    `build a certificate of nine extensions (${certificate.length} octets)`,
    () => encodeSigned(build(), signatureAlgorithm, signature),
  ],
  ['parse that certificate', () => parseCertificate(certificate)],
  [`parse a request (${request.length} octets)`, () => parseCertificationRequest(request)],
  ['parse a name', () => parseName(issuer)],
  ['parse an OCSP request with a nonce and build its answer, unsigned', answer],
]
await measure(cases.filter(([name]) => name.includes(wanted)))

const MILLION = 1_000_000
function* entries(): Iterable<RevokedEntry> {
  for (let i = 0; i < MILLION; i++) {
    const serial = serialNumber.slice()
    new DataView(serial.buffer).setUint32(12, i)
    yield { serialNumber: serial, revokedAt: new Date(1_760_000_000_000 + i * 1000), reason: 'superseded' }
  }
}
if ('a list of a million entries'.includes(wanted)) {
  const fields = { issuer, thisUpdate, nextUpdate, extensions: [extensionWith(crlNumber, 1n)] } as const
  const begun = performance.now()
  const list = await encodeCertificateList(fields, entries(), key.signer)
  const written = performance.now()
  let count = 0
  for (const { serialNumber: serial } of parseCertificateList(list).entries()) count += serial.length > 0 ? 1 : 0
  const seconds = (milliseconds: number): string => (milliseconds / 1000).toFixed(2)
  const peak = Math.round(process.resourceUsage().maxRSS / 1024)
  console.log(
    `a list of a million entries: written in ${seconds(written - begun)} s, ${count} read in ${seconds(performance.now() - written)} s, ${list.length} octets, peak ${peak} MB`,
  )
}
