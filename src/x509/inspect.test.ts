/** Descriptions: every kind is told apart, and what is wrong inside is said in its place. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { encodeCertificationRequest } from './certification-request.ts'
import { encodeCertificateList, type RevokedEntry } from './crl.ts'
import { accessAt, authorityInfoAccess } from './extensions/authority-information-access.ts'
import { certificatePolicies } from './extensions/certificate-policies.ts'
import { crlDistributionPoints, distributionPointAt } from './extensions/crl-distribution-points.ts'
import { crlNumber } from './extensions/crl-extensions.ts'
import { extensionWith } from './extensions/extension.ts'
import { hardwareModuleName } from './extensions/general-name.ts'
import { nameConstraints } from './extensions/name-constraints.ts'
import { subjectAltName } from './extensions/subject-alternative-name.ts'
import { describeExtension, describeObject } from './inspect.ts'
import { encodeName, nameOf } from './name.ts'
import {
  encodeCertID,
  encodeOCSPError,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
} from './ocsp.ts'
import { signatureIdentifier } from './signed.ts'
import { makeCertificate, makeKey, rootExtensions } from './testing.ts'

const key = makeKey()
const moment = new Date('2026-03-01T00:00:00Z')
const name = encodeName(nameOf([{ type: 'CN', value: 'Press 7' }]))

test('a certificate is described by its fields and extensions', async () => {
  const { kind, fields } = describeObject(await makeCertificate(key, { extensions: rootExtensions(key) }))
  assert.equal(kind, 'certificate')
  assert.equal(fields['subject'], 'CN=Test')
  assert.equal(fields['serialNumber'], '2a')
  assert.equal(fields['signatureAlgorithm'], 'ecdsa-sha256')
  assert.equal(fields['notAfter'], '2056-01-01T00:00:00.000Z')
  assert.equal((fields['publicKey'] as { algorithm: string }).algorithm, 'ecdsa-p256')
  assert.deepEqual((fields['extensions'] as unknown[]).slice(0, 2), [
    { extension: 'basicConstraints', critical: true, value: { cA: true } },
    { extension: 'keyUsage', critical: true, value: ['digitalSignature', 'keyCertSign', 'cRLSign'] },
  ])
})

test('a malformed, an unknown extension and a key that is not offered do not stop the description', async () => {
  const broken = { extnID: '2.5.29.19', critical: true, extnValue: Uint8Array.of(0x30, 0x03, 1) }
  const unknown = { extnID: '1.3.6.1.4.1.99999.1', critical: false, extnValue: Uint8Array.of(5, 0) }
  const oddKey = Uint8Array.fromHex('300a300506032b656e030100') // X25519, which signs nothing
  const { fields } = describeObject(await makeCertificate(key, { extensions: [broken, unknown], subjectPublicKeyInfo: oddKey }))
  const [first, second] = fields['extensions'] as { problem?: string; hex?: string; extension: string }[]
  assert.match(first?.problem ?? '', /basicConstraints is malformed/)
  assert.equal(first?.hex, '300301')
  assert.deepEqual(second, { extension: '1.3.6.1.4.1.99999.1', critical: false, hex: '0500' })
  assert.match((fields['publicKey'] as { problem: string }).problem, /not offered/)
})

test('a request is described without the password in it', async () => {
  const der = await encodeCertificationRequest({ subject: name, publicKey: key.spki, challengePassword: 'hush-hush' }, key.signer)
  const { kind, fields } = describeObject(der)
  assert.deepEqual([kind, fields['subject'], fields['hasChallengePassword']], ['certificationRequest', 'CN=Press 7', true])
  assert.ok(!JSON.stringify(fields).includes('hush'))
})

test('a list shows how many entries it has, and the first hundred', async () => {
  const entries = Array.from({ length: 150 }, (_, i): RevokedEntry => ({
    serialNumber: Uint8Array.of(1, i),
    revokedAt: moment,
    reason: 'superseded',
  }))
  const extensions = [extensionWith(crlNumber, 9n)] as const
  const der = await encodeCertificateList(
    { issuer: name, thisUpdate: moment, nextUpdate: moment, extensions },
    entries,
    key.signer,
  )
  const { kind, fields } = describeObject(der)
  assert.equal(kind, 'certificateList')
  assert.equal(fields['entries'], 150)
  assert.equal((fields['shown'] as unknown[]).length, 100)
  assert.deepEqual((fields['shown'] as unknown[])[3], {
    serialNumber: '0103',
    revokedAt: '2026-03-01T00:00:00.000Z',
    extensions: [{ extension: 'cRLReasons', critical: false, value: 'superseded' }],
  })
})

test('OCSP requests, answers and errors are told apart', async () => {
  const certID = encodeCertID(
    issuerHashes({ subject: name, subjectPublicKeyInfo: key.spki }, 'sha256'),
    Uint8Array.of(0x2a),
    'sha256',
  )
  const request = describeObject(encodeOCSPRequest([certID], Uint8Array.of(1, 2)))
  assert.deepEqual([request.kind, request.fields['nonce']], ['ocspRequest', '0102'])
  const responder = ocspResponder({
    publicKey: key.spki,
    signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
    certificates: [await makeCertificate(key)],
  })
  const status = { type: 'revoked', revokedAt: moment, reason: 'keyCompromise' } as const
  const tbs = encodeResponseData(responder, { producedAt: moment, responses: [{ certID, status, thisUpdate: moment }] })
  const { kind, fields } = describeObject(encodeOCSPResponse(responder, tbs, await key.signer.sign(tbs)))
  assert.equal(kind, 'ocspResponse')
  assert.deepEqual(fields['certificates'], ['CN=Test'])
  const [single] = fields['responses'] as Record<string, unknown>[]
  assert.deepEqual([single?.['serialNumber'], single?.['status'], single?.['reason']], ['2a', 'revoked', 'keyCompromise'])
  assert.deepEqual(describeObject(encodeOCSPError('tryLater')).fields, { responseStatus: 'tryLater' })
})

for (const { said, extension } of [
  {
    said: [
      'dNSName:a.example',
      'iPAddress:2001:db8::1',
      'directoryName:CN=Press 7',
      'hardwareModuleName:1.3.6.1.4.1.99999.1:SN-7',
      'registeredID:1.2.3',
    ],
    extension: extensionWith(subjectAltName, [
      { type: 'dNSName', value: 'a.example' },
      { type: 'iPAddress', value: Uint8Array.fromHex('20010db8000000000000000000000001') },
      { type: 'directoryName', value: nameOf([{ type: 'CN', value: 'Press 7' }]) },
      hardwareModuleName({ hwType: '1.3.6.1.4.1.99999.1', hwSerialNum: new TextEncoder().encode('SN-7') }),
      { type: 'registeredID', value: '1.2.3' },
    ]),
  },
  {
    said: ['otherName:1.2.3:#0500', 'iPAddress:#0102', 'hardwareModuleName:1.2.3:#00'],
    extension: extensionWith(subjectAltName, [
      { type: 'otherName', value: { typeID: '1.2.3', value: Uint8Array.of(5, 0) } },
      { type: 'iPAddress', value: Uint8Array.of(1, 2) },
      hardwareModuleName({ hwType: '1.2.3', hwSerialNum: Uint8Array.of(0) }),
    ]),
  },
  {
    said: [
      {
        policyIdentifier: '1.2.3',
        policyQualifiers: [
          { cps: 'http://a/b' },
          { unotice: { explicitText: { type: 'utf8String', value: 'hi' } } },
          { '1.2.4': '#0500' },
        ],
      },
    ],
    extension: extensionWith(certificatePolicies, [
      {
        policyIdentifier: '1.2.3',
        policyQualifiers: [
          { policyQualifierId: '1.3.6.1.5.5.7.2.1', qualifier: Uint8Array.fromHex('160a687474703a2f2f612f62') },
          { policyQualifierId: '1.3.6.1.5.5.7.2.2', qualifier: Uint8Array.fromHex('30040c026869') },
          { policyQualifierId: '1.2.4', qualifier: Uint8Array.of(5, 0) },
        ],
      },
    ]),
  },
  {
    said: ['ocsp uniformResourceIdentifier:http://a/'],
    extension: extensionWith(authorityInfoAccess, [accessAt('ocsp', 'http://a/')]),
  },
  {
    said: [{ distributionPoint: ['uniformResourceIdentifier:http://a/'] }],
    extension: extensionWith(crlDistributionPoints, [distributionPointAt('http://a/')]),
  },
  {
    said: { excludedSubtrees: ['iPAddress:10.0.0.0/255.0.0.0'] },
    extension: extensionWith(nameConstraints, {
      excludedSubtrees: [{ base: { type: 'iPAddress', value: Uint8Array.of(10, 0, 0, 0, 255, 0, 0, 0) }, minimum: 0 }],
    }),
  },
]) {
  test(`in words: ${JSON.stringify(said).slice(0, 60)}`, () => assert.deepEqual(describeExtension(extension)['value'], said))
}

test('something else is refused, whatever it is', () => {
  assert.throws(() => describeObject(Uint8Array.fromHex('30053003020101')), { code: 'malformed', reason: 'unknownObject' })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
      try {
        describeObject(Uint8Array.of(0x30, octets.length, ...octets))
      } catch (error) {
        assert.ok(error instanceof TrustError, String(error))
      }
    }),
    { numRuns: 2000 },
  )
})

test('a certificate with any octet changed is described or refused', async () => {
  const der = await makeCertificate(key, { extensions: rootExtensions(key) })
  for (let at = 0; at < der.length; at++) {
    for (const octet of [0, 0x30, 0xa0, 0xff]) {
      try {
        describeObject(der.with(at, octet))
      } catch (error) {
        assert.ok(error instanceof TrustError, `${at} ${octet}: ${String(error)}`)
      }
    }
  }
})
