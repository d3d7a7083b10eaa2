import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { slh_dsa_sha2_128s, slh_dsa_sha2_192s, slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, keyAlgorithms, signatureAlgorithm } from '#algorithms/table.ts'
import { encodePEM } from '#asn1/pem.ts'
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
import { issuing } from './profiles/issuing.ts'
import { ldevid } from './profiles/ldevid.ts'
import { needs } from '../../test/interop/programs.ts'
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

/** By code that is not OpenSSL (FIPS 204, 205). */
const postQuantum: Partial<Record<KeyAlgorithmId, (signature: Uint8Array, message: Uint8Array, key: Uint8Array) => boolean>> = {
  'ml-dsa-44': ml_dsa44.verify,
  'ml-dsa-65': ml_dsa65.verify,
  'ml-dsa-87': ml_dsa87.verify,
  'slh-dsa-sha2-128s': slh_dsa_sha2_128s.verify,
  'slh-dsa-sha2-192s': slh_dsa_sha2_192s.verify,
  'slh-dsa-sha2-256s': slh_dsa_sha2_256s.verify,
}

const openssl = needs('openssl')
const run = promisify(execFile)

interface Judged {
  readonly root: Uint8Array
  readonly line1: Uint8Array
  readonly leaf: Uint8Array
  readonly crl: Uint8Array
  readonly ocsp: Uint8Array
}

/** Debian's OpenSSL, of another generation than the one inside Node.js. */
async function judgeByProgram({ root, line1, leaf, crl, ocsp: answer }: Judged): Promise<void> {
  const program = openssl.path('openssl')
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-algorithms-'))
  const write = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  try {
    const [rootPEM, line1PEM, leafPEM] = [root, line1, leaf].map((der, n) => write(`${n}.pem`, encodePEM('CERTIFICATE', der)))
    assert.ok(rootPEM && line1PEM && leafPEM)
    await run(program, ['verify', '-x509_strict', '-CAfile', rootPEM, '-untrusted', line1PEM, leafPEM])
    const list = await run(program, ['crl', '-inform', 'DER', '-in', write('crl', crl), '-CAfile', line1PEM, '-noout'])
    assert.match(list.stderr, /verify OK/)
    const chain = write('chain.pem', `${encodePEM('CERTIFICATE', root)}${encodePEM('CERTIFICATE', line1)}`)
    const asked = ['-sha256', '-issuer', line1PEM, '-cert', leafPEM, '-CAfile', chain]
    const state = await run(program, ['ocsp', '-respin', write('ocsp', answer), ...asked])
    assert.match(state.stdout, /: good/)
    assert.match(state.stderr, /Response verify OK/)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** What a device may bring; authorities of algorithms that have their own turn sign two of them. */
const leaves = keyAlgorithms.map(({ id }) => id).filter((id) => ldevid.keyAlgorithms.includes(id))

for (const keyAlgorithm of issuing.keyAlgorithms as KeyAlgorithmId[]) {
  const verifyElsewhere = postQuantum[keyAlgorithm]
  const { skip } = openssl
  test(`R3, R31: ${keyAlgorithm} authorities issue, and answer for what they issued`, { skip }, async () => {
    await using ca = await testCA()
    await hierarchy(ca, { keyAlgorithm })
    const endpoint = await endpointAt(ca)
    const root = ca.authorities.byAddress('root')
    const line1 = ca.authorities.byAddress('line1')
    assert.equal(line1.keyAlgorithm, keyAlgorithm)
    assert.equal(line1.certificate.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
    const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
    const signedByLine1 = (signature: Uint8Array, message: Uint8Array, key: PublicKey): void => {
      assert.equal(key.algorithm, keyAlgorithm)
      assert.notEqual(verifyElsewhere?.(signature, message, key.subjectPublicKey), false)
      assert.notEqual(verifyElsewhere?.(signature, message.subarray(1), key.subjectPublicKey), true)
    }

    const list = parseCertificateList((await issueCRL(ca.context, line1, 0, person)).der)
    assert.equal(list.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
    assert.ok(await verifyListSignature(list, line1.publicKey))
    signedByLine1(list.signatureValue, list.tbsCertList, line1.publicKey)

    for (const algorithm of keyAlgorithm === 'ecdsa-p384' ? leaves : (['ecdsa-p256'] as const)) {
      const request = await testRequest({ subject, key: keyOf(algorithm) })
      const { certificate } = (await enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
      const parsed = parseCertificate(certificate)
      assert.equal(importPublicKey(parsed.subjectPublicKeyInfo).algorithm, algorithm)
      assert.equal(parsed.signatureAlgorithm.toHex(), signatureIdentifierOf(keyAlgorithm))
      assert.ok(await verifyCertificateSignature(parsed, line1.publicKey))
      signedByLine1(parsed.signatureValue, parsed.tbsCertificate, line1.publicKey)
      assert.ok(new X509Certificate(certificate).verify(new X509Certificate(line1.certificate.der).publicKey))
      assert.ok(new X509Certificate(certificate).checkPrivateKey(keyOf(algorithm).key))

      const certID = encodeCertID(issuerHashes(line1.certificate, 'sha256'), parsed.serialNumber, 'sha256')
      const { der } = await ocsp(ca.context, ca.authorities).answer(encodeOCSPRequest([certID]))
      const response = parseOCSPResponse(der)
      assert.ok(response.type === 'answer')
      assert.equal(response.answer.responses[0]?.status.type, 'good')
      const responder = parseCertificate(response.answer.certs[0] as Uint8Array)
      const responderKey = importPublicKey(responder.subjectPublicKeyInfo)
      assert.ok(await verifyResponseSignature(response.answer, responderKey))
      signedByLine1(response.answer.signature, response.answer.tbsResponseData, responderKey)

      if (verifyElsewhere === undefined && postQuantum[algorithm] === undefined) {
        const [rootDER, line1DER] = [root.certificate.der, line1.certificate.der]
        await judgeByProgram({ root: rootDER, line1: line1DER, leaf: certificate, crl: list.der, ocsp: der })
      }
    }
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
    ['ecdsa-p224', { code: 'unsupported', reason: 'keyAlgorithm' }],
    ['slh-dsa-sha2-128s', { code: 'policyRefused', reason: 'keyNotInProfile' }],
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
      ['ed25519', 'ecdsa-p256'],
      ['ed448', 'ed25519'],
      ['ml-dsa-65', 'ml-dsa-44'],
      ['ml-dsa-65', 'slh-dsa-sha2-128s'],
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
