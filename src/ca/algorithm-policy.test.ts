/** The algorithm policy at every place that makes or takes a signature: requests, issuance, keys, CRLs and answers. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AlgorithmPolicy, algorithmPolicy, parseSchedule } from '#algorithms/policy.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { nameOf } from '#x509/name.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes } from '#x509/ocsp.ts'
import { generateAndIssue, issueForRequest } from './by-hand.ts'
import { importCertificate, requestAuthority } from './authority-requests.ts'
import { issueCRL } from './crl.ts'
import { crossSign } from './cross-sign.ts'
import { createEndpoint } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { ocsp } from './ocsp.ts'
import { importCRL, trustAuthority } from './trusted.ts'
import { verifyHere } from './verification.ts'
import { hierarchy, person, type TestCA, testCA, testKey, testRequest } from './testing.ts'

const officer: Identity = { kind: 'person', principalId: 'officer' }
const subject = [{ type: 'serialNumber', value: 'A-1' }]
const DAY_SECONDS = 86_400

const policyOf = (schedules: Readonly<Record<string, string>>): AlgorithmPolicy =>
  algorithmPolicy({
    preset: 'none',
    schedules: Object.fromEntries(Object.entries(schedules).map(([id, written]) => [id, parseSchedule(written)])),
  })
const refused = { code: 'policyRefused', reason: 'algorithmRefused' }
const dayFromNow = (days: number): string => new Date(Date.now() + days * DAY_SECONDS * 1000).toISOString().slice(0, 10)

/** By EST's way in, with a key of this algorithm. */
async function ask(ca: TestCA, key = testKey()): Promise<IssuedAnswer> {
  const authorityId = ca.authorities.byAddress('line1').id
  const endpoint = await createEndpoint(
    ca.context,
    { label: `l${key.signatureAlgorithm}`.replaceAll('-', ''), protocol: 'est', authorityId, profile: 'ldevid' },
    person,
  )
  const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
  const request = await testRequest({ subject, key })
  return (await enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
}

test('R22: a refused key gets no certificate, over the wire or by hand, and the refusal names it', async () => {
  await using ca = await testCA({}, policyOf({ ed25519: 'refused' }))
  await hierarchy(ca)
  const facts = { algorithm: 'ed25519', since: '' }
  await assert.rejects(ask(ca, testKey('ed25519')), { ...refused, facts })
  const { der } = await testRequest({ subject, key: testKey('ed25519') })
  const where = { authority: 'line1', profile: 'ldevid' }
  await assert.rejects(issueForRequest(ca.context, ca.authorities, where, der, person), refused)
  const wanted = { ...where, subject: nameOf(subject), names: [], keyAlgorithm: 'ed25519' } as const
  await assert.rejects(generateAndIssue(ca.context, ca.authorities, wanted, person), refused)
  await ask(ca)
  assert.equal((await ca.entries()).filter(({ reason }) => reason === 'algorithmRefused').length, 3)
})

test('a request signed with a refused digest is refused though its key is allowed', async () => {
  await using ca = await testCA({}, policyOf({ 'ecdsa-sha384': 'refused' }))
  await hierarchy(ca)
  const key = testKey('ecdsa-p384')
  await assert.rejects(ask(ca, key), { ...refused, facts: { algorithm: 'ecdsa-sha384', since: '' } })
  await ask(ca, { ...key, signatureAlgorithm: 'ecdsa-sha512' })
})

test('an authority signs nothing more from the day on that refuses its algorithm: no certificate, CRL or answer', async () => {
  const last = dayFromNow(10)
  await using ca = await testCA({}, policyOf({ 'ecdsa-sha256': `refused from ${last}` }))
  await hierarchy(ca)
  const { certificate } = await ask(ca)
  const line1 = ca.authorities.byAddress('line1')
  const certID = encodeCertID(issuerHashes(line1.certificate, 'sha256'), parseCertificate(certificate).serialNumber, 'sha256')
  const question = encodeOCSPRequest([certID])
  const responder = ocsp(ca.context, ca.authorities)
  await issueCRL(ca.context, line1, 0, person)
  await responder.answer(question)

  ca.advance(11 * DAY_SECONDS)
  const facts = { algorithm: 'ecdsa-sha256', since: ` since ${last}` }
  await assert.rejects(ask(ca, testKey('ecdsa-p384')), { ...refused, facts })
  await assert.rejects(issueCRL(ca.context, line1, 0, person), refused)
  await assert.rejects(responder.answer(question), refused)
})

test('an authority is not made with a refused key, and no key is left behind', async () => {
  await using ca = await testCA({}, policyOf({ 'ml-dsa-65': 'refused' }))
  await assert.rejects(hierarchy(ca, { keyAlgorithm: 'ml-dsa-65' }), refused)
  assert.deepEqual(await ca.context.keys.list(), [])
})

test('a path over a refused algorithm is refused from its day on, be it the digest or the key of an issuer', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { certificate } = await ask(ca)
  const last = dayFromNow(10)
  for (const algorithm of ['ecdsa-sha256', 'ecdsa-p256'] as const) {
    const context = { ...ca.context, policy: policyOf({ [algorithm]: `refused from ${last}` }) }
    const verdictOn = (day: string) => verifyHere(context, ca.authorities, { certificate, at: new Date(`${day}T00:00:00Z`) })
    assert.equal((await verdictOn(dayFromNow(9))).valid, true)
    const verdict = await verdictOn(last)
    assert.ok(!verdict.valid)
    assert.equal(verdict.failure.reason, 'pathAlgorithm')
  }
})

test('an authority of others is not trusted with a refused key, nor is a list taken that is signed with a refused digest', async () => {
  await using elsewhere = await testCA()
  await hierarchy(elsewhere)
  const root = elsewhere.authorities.byAddress('root')
  const foreign = { slug: 'vendor', kind: 'foreign', certificate: root.certificate.der } as const
  await using wary = await testCA({}, policyOf({ 'ecdsa-p256': 'refused' }))
  await assert.rejects(trustAuthority(wary.context, wary.authorities, foreign, person), refused)
  assert.deepEqual(wary.authorities.trusted(), [])

  await using ca = await testCA()
  await trustAuthority(ca.context, ca.authorities, foreign, person)
  const { der } = await issueCRL(elsewhere.context, root, 0, person)
  const context = { ...ca.context, policy: policyOf({ 'ecdsa-sha256': 'refused' }) }
  await assert.rejects(importCRL(context, ca.authorities, der, person), refused)
  await importCRL(ca.context, ca.authorities, der, person)
})

test('a certificate between authorities is not taken or made over a refused digest, here or elsewhere', async () => {
  await using elsewhere = await testCA()
  await hierarchy(elsewhere)
  await using ca = await testCA()
  const vault = { slug: 'vault', kind: 'offline', certificate: elsewhere.authorities.byAddress('root').certificate.der } as const
  await trustAuthority(ca.context, ca.authorities, vault, person)
  const wary = { ...ca.context, policy: policyOf({ 'ecdsa-sha256': 'refused' }) }
  const below = { slug: 'line', kind: 'foreign', certificate: elsewhere.authorities.byAddress('line1').certificate.der } as const
  await assert.rejects(trustAuthority(wary, ca.authorities, below, person), refused)
  const name = nameOf([{ type: 'CN', value: 'Line 7' }])
  const wanted = { slug: 'line7', name, profile: 'issuing', keyAlgorithm: 'ecdsa-p256' } as const
  const { request } = await requestAuthority(ca.context, wanted, person)
  const strict = { ...elsewhere.context, policy: wary.policy }
  const asked = { authority: 'root', of: { request } } as const
  await assert.rejects(crossSign(strict, elsewhere.authorities, asked, person), refused)
  const { der } = await crossSign(elsewhere.context, elsewhere.authorities, asked, person)
  await assert.rejects(importCertificate(wary, ca.authorities, 'line7', der, person), refused)
  assert.equal((await importCertificate(ca.context, ca.authorities, 'line7', der, person)).state, 'active')
})

test('what is deprecated is issued, and the audit entry says so', async () => {
  await using ca = await testCA({}, policyOf({ 'rsa-2048': 'deprecated', 'ecdsa-sha256': 'deprecated' }))
  await hierarchy(ca)
  await ask(ca, testKey('rsa-2048'))
  const rows = await ca.context.db.query("SELECT facts FROM audit_entry WHERE act = 'certificate.issue' ORDER BY id DESC LIMIT 1")
  assert.match(String(rows[0]?.['facts']), /"deprecated":"rsa-2048, ecdsa-sha256"/)
})
