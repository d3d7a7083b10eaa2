import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, test } from 'node:test'
import { certificateSignatureOf, type KeyAlgorithmId, signatureAlgorithm } from '#algorithms/table.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { parseCertificateList, verifyListSignature } from '#x509/crl.ts'
import { nameOf } from '#x509/name.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse, verifyResponseSignature } from '#x509/ocsp.ts'
import { findCertificates } from './certificates.ts'
import { issueCRL } from './crl.ts'
import { createEndpoint, type Endpoint } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { ocsp } from './ocsp.ts'
import { putProfile } from './profiles.ts'
import { ldevid } from './profiles/ldevid.ts'
import { hierarchy, person, type TestCA, testCA, type TestKey, testKey, type TestKeyAlgorithm, testRequest } from './testing.ts'

const officer: Identity = { kind: 'person', principalId: 'officer' }
const subject = [{ type: 'serialNumber', value: 'A-1' }]

/** RSA keys take a while to find: one of each for the whole file. */
const keys = new Map<TestKeyAlgorithm, TestKey>()
function keyOf(algorithm: TestKeyAlgorithm): TestKey {
  const key = keys.get(algorithm) ?? testKey(algorithm)
  keys.set(algorithm, key)
  return key
}

const endpointAt = (ca: TestCA, profile = 'ldevid'): Promise<Endpoint> =>
  createEndpoint(
    ca.context,
    { label: profile, protocol: 'est', authorityId: ca.authorities.byAddress('line1').id, profile },
    person,
  )

const signatureIdentifierOf = (id: KeyAlgorithmId): string => signatureAlgorithm(certificateSignatureOf(id)).identifier

for (const keyAlgorithm of ['ecdsa-p384', 'rsa-3072'] as const) {
  test(`R3, R31: ${keyAlgorithm} authorities issue for keys of every kind, and answer for them`, async () => {
    await using ca = await testCA()
    await hierarchy(ca, { keyAlgorithm })
    const endpoint = await endpointAt(ca)
    const line1 = ca.authorities.byAddress('line1')
    assert.equal(line1.keyAlgorithm, keyAlgorithm)
    assert.equal(line1.certificate.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
    const { enroll } = enrollment(ca.context, ca.authorities, async () => {})

    for (const algorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-3072'] as const) {
      const request = await testRequest({ subject, key: keyOf(algorithm) })
      const { certificate } = (await enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
      const parsed = parseCertificate(certificate)
      assert.equal(importPublicKey(parsed.subjectPublicKeyInfo).algorithm, algorithm)
      assert.equal(parsed.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
      assert.ok(await verifyCertificateSignature(parsed, line1.publicKey))
      assert.ok(new X509Certificate(certificate).verify(new X509Certificate(line1.certificate.der).publicKey))
      assert.ok(new X509Certificate(certificate).checkPrivateKey(keyOf(algorithm).key))

      const certID = encodeCertID(issuerHashes(line1.certificate, 'sha256'), parsed.serialNumber, 'sha256')
      const { der } = await ocsp(ca.context, ca.authorities).answer(encodeOCSPRequest([certID]))
      const response = parseOCSPResponse(der)
      assert.ok(response.type === 'answer')
      assert.equal(response.answer.responses[0]?.status.type, 'good')
      const responder = parseCertificate(response.answer.certs[0] as Uint8Array)
      assert.equal(importPublicKey(responder.subjectPublicKeyInfo).algorithm, keyAlgorithm)
      assert.ok(await verifyResponseSignature(response.answer, importPublicKey(responder.subjectPublicKeyInfo)))
    }
    const list = parseCertificateList((await issueCRL(ca.context, line1, 0, person)).der)
    assert.equal(list.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
    assert.ok(await verifyListSignature(list, line1.publicKey))
  })
}

test('R3: an issuing authority may have a key of another algorithm than its root', async () => {
  await using ca = await testCA()
  const make = (slug: string, keyAlgorithm: KeyAlgorithmId, issuer?: string): Promise<unknown> =>
    ca.authorities.create(
      {
        slug,
        name: nameOf([{ type: 'CN', value: slug }]),
        profile: issuer === undefined ? 'root' : 'issuing',
        keyAlgorithm,
        ...(issuer !== undefined && { issuer }),
      },
      person,
    )
  await make('root', 'ecdsa-p384')
  await make('line1', 'rsa-3072', 'root')
  const [root, line1] = ['root', 'line1'].map((address) => ca.authorities.byAddress(address))
  assert.ok(root && line1)
  assert.equal(line1.certificate.signatureAlgorithm.toHex(), signatureIdentifierOf('ecdsa-p384'))
  assert.ok(new X509Certificate(line1.certificate.der).verify(new X509Certificate(root.certificate.der).publicKey))
})

describe('keys that are refused', () => {
  const cases: readonly [TestKeyAlgorithm, { code: string; reason: string }][] = [
    ['rsa-1024', { code: 'policyRefused', reason: 'keyTooShort' }],
    ['rsa-4096', { code: 'unsupported', reason: 'keyAlgorithm' }],
    ['ecdsa-p521', { code: 'unsupported', reason: 'keyAlgorithm' }],
  ]
  for (const [algorithm, refusal] of cases) {
    test(`R2: a request with a key of ${algorithm} gets no certificate`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointAt(ca)
      const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
      const request = await testRequest({ subject, key: keyOf(algorithm) })
      await assert.rejects(enroll({ endpoint, operation: 'enroll', request, identity: officer }), refusal)
      assert.equal((await findCertificates(ca.context, { profile: 'ldevid' }, { limit: 1 })).length, 0)
    })
  }

  test('R23: a profile takes only the keys that it lists, and says which it refused', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    await putProfile(ca.context, { ...ldevid, id: 'strong', title: 'Strong keys', keyAlgorithms: ['ecdsa-p384'] }, person)
    const endpoint = await endpointAt(ca, 'strong')
    const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
    const ask = async (algorithm: TestKeyAlgorithm): Promise<unknown> =>
      enroll({
        endpoint,
        operation: 'enroll',
        request: await testRequest({ subject, key: keyOf(algorithm) }),
        identity: officer,
      })
    for (const algorithm of ['ecdsa-p256', 'rsa-2048', 'rsa-3072'] as const) {
      await assert.rejects(ask(algorithm), {
        code: 'policyRefused',
        reason: 'keyNotInProfile',
        facts: { algorithm, profile: 'strong' },
      })
    }
    await ask('ecdsa-p384')
    const issued = await findCertificates(ca.context, { profile: 'strong' }, { limit: 9 })
    assert.equal(issued.length, 1)
    const refusals = (await ca.entries()).filter(({ reason }) => reason === 'keyNotInProfile')
    assert.equal(refusals.length, 3)
  })

  test('a key proves nothing with a signature of another family', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await endpointAt(ca)
    const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
    for (const [key, signedBy] of [
      ['rsa-2048', 'ecdsa-p256'],
      ['ecdsa-p256', 'rsa-2048'],
      ['ecdsa-p384', 'ecdsa-p256'],
    ] as const) {
      const request = await testRequest({ subject, key: keyOf(key), signedBy: keyOf(signedBy) })
      await assert.rejects(enroll({ endpoint, operation: 'enroll', request, identity: officer }), {
        code: 'badProof',
        reason: 'proofOfPossession',
      })
    }
  })

  test('an authority is not made with a key that its profile does not list', async () => {
    await using ca = await testCA()
    const name = nameOf([{ type: 'CN', value: 'Root' }])
    await assert.rejects(ca.authorities.create({ slug: 'root', name, profile: 'root', keyAlgorithm: 'rsa-2048' }, person), {
      code: 'policyRefused',
      reason: 'keyNotInProfile',
    })
    assert.deepEqual(ca.authorities.list(), [])
    assert.deepEqual(await ca.context.keys.list(), [], 'a key was made before the refusal')
  })
})
