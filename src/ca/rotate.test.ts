/** Renewal, rekey with links, retirement, and what other processes see of it. @module */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { extensionOf, parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '#x509/ocsp.ts'
import { chainOf, offeredBy, openAuthorities } from './authorities.ts'
import { ceremoniesOf } from './ceremony.ts'
import { findCertificates, holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { issueDueCRLs } from './crl.ts'
import { createEndpoint, disableEndpoint, openEndpoint } from './endpoint.ts'
import { generateAndIssue } from './by-hand.ts'
import { ocsp } from './ocsp.ts'
import { rekeyAuthority, renewAuthority } from './rotate.ts'
import { destroyAuthorityKey, retireAuthority } from './retire.ts'
import { hierarchy, person, type TestCA, testCA } from './testing.ts'
import { nameOf } from '#x509/name.ts'

const issueTo = (ca: TestCA, authority: string) =>
  generateAndIssue(
    ca.context,
    ca.authorities,
    {
      authority,
      profile: 'tls-server',
      subject: [],
      names: [{ type: 'dNSName', value: 'press.plant.example' }],
      keyAlgorithm: 'ecdsa-p256',
    },
    person,
  )

test('renewal keeps the key, the identifier and the address, and gives a new certificate with a new end', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  ca.advance(86_400 * 100)
  const former = ca.authorities.byAddress('root')
  const renewed = await renewAuthority(ca.context, ca.authorities, 'root', person)
  assert.equal(renewed.address, 'root.1')
  assert.deepEqual(renewed.keyIdentifier, former.keyIdentifier)
  assert.deepEqual(renewed.certificate.subjectPublicKeyInfo, former.certificate.subjectPublicKeyInfo)
  assert.ok(renewed.certificate.notAfter > former.certificate.notAfter)
  assert.notDeepEqual(renewed.certificate.serialNumber, former.certificate.serialNumber)
  assert.ok(await verifyCertificateSignature(renewed.certificate, former.publicKey))
  const line = ca.authorities.byAddress('line1')
  assert.ok(await verifyCertificateSignature(line.certificate, renewed.publicKey), 'what it issued goes on to verify')
  assert.deepEqual(
    ca.authorities.further(renewed).map(({ kind, certificate }) => [kind, certificate.der]),
    [['earlier', former.certificate.der]],
  )
  const records = await findCertificates(ca.context, { authorityId: renewed.id, profile: 'root' }, { limit: 9 })
  assert.deepEqual(
    records.map(({ state }) => state),
    ['active', 'superseded'],
  )
})

test('rekey of an issuing authority: next generation, endpoints follow at once, the former one only speaks of what it issued', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  const old = authorities.byAddress('line1')
  const issuedBefore = await issueTo(ca, 'line1')
  const rules = { secrets: true, clientIssuers: ['line1.1'] }
  await createEndpoint(context, { label: 'line', protocol: 'est', authorityId: old.id, profile: 'ldevid', rules }, person)

  const next = await rekeyAuthority(context, authorities, 'line1', { keyAlgorithm: 'ecdsa-p384' }, person)
  assert.equal(next.address, 'line1.2')
  assert.equal(next.keyAlgorithm, 'ecdsa-p384')
  assert.equal(authorities.byAddress('line1').address, 'line1.2')
  assert.equal(authorities.byAddress('line1.1').state, 'retired')
  assert.deepEqual(next.certificate.subject, old.certificate.subject)
  const endpoint = await openEndpoint(context, 'est', 'line')
  assert.equal(endpoint.authorityId, next.id)
  assert.deepEqual(endpoint.rules.clientIssuers, ['line1.1', 'line1.2'])
  await assert.rejects(issueTo(ca, 'line1.1'), { code: 'unavailable', reason: 'authorityRetired' })
  const issuedAfter = parseCertificate((await issueTo(ca, 'line1')).certificate)
  assert.deepEqual(extensionOf(issuedAfter, authorityKeyIdentifier)?.value.keyIdentifier, next.keyIdentifier)

  await revokeCertificate(context, issuedBefore.certificateId, 'keyCompromise', person)
  assert.ok((await issueDueCRLs(context, authorities.list())) >= 3, 'the retired one has its CRL too')
  const answers = ocsp(context, authorities)
  const { serialNumber } = parseCertificate(issuedBefore.certificate)
  const certID = encodeCertID(issuerHashes(old.certificate, 'sha256'), serialNumber, 'sha256')
  const response = parseOCSPResponse((await answers.answer(encodeOCSPRequest([certID]))).der)
  assert.ok(response.type === 'answer')
  assert.equal(response.answer.responses[0]?.status.type, 'revoked')

  await assert.rejects(rekeyAuthority(context, authorities, 'line1.1', {}, person), {
    code: 'conflict',
    reason: 'authorityRetired',
  })
  const acts = (await ca.entries()).map(({ act }) => act)
  assert.equal(acts.filter((act) => act === 'ca.rekey').length, 1)
  assert.equal(acts.filter((act) => act === 'endpoint.change').length, 1)
})

test('RFC 9810, 4.4: a rekeyed root is linked both ways, so that either anchor reaches what both issued', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  const old = authorities.byAddress('root')
  const next = await rekeyAuthority(context, authorities, 'root', {}, person)
  const [newWithOld] = authorities.further(next)
  const [oldWithNew] = authorities.further(old)
  assert.equal(newWithOld?.kind, 'newWithOld')
  assert.equal(oldWithNew?.kind, 'oldWithNew')
  assert.ok(new X509Certificate(newWithOld.certificate.der).verify(old.publicKey.key))
  assert.ok(new X509Certificate(oldWithNew.certificate.der).verify(next.publicKey.key))
  assert.deepEqual(oldWithNew.certificate.subjectPublicKeyInfo, old.certificate.subjectPublicKeyInfo)
  assert.deepEqual(oldWithNew.certificate.notBefore, old.certificate.notBefore)
  assert.deepEqual(oldWithNew.certificate.notAfter, old.certificate.notAfter)
  assert.deepEqual(newWithOld.certificate.notAfter, old.certificate.notAfter)
  const offered = offeredBy(authorities, authorities.byAddress('line1'), context.world.clock.now())
  assert.equal(offered.length, 5, 'line1, both roots, both links')
  assert.deepEqual(offered.slice(0, 2), chainOf(authorities, authorities.byAddress('line1')))

  const line2 = await rekeyAuthority(context, authorities, 'line1', {}, person)
  assert.ok(await verifyCertificateSignature(line2.certificate, next.publicKey), 'the newest root signs what comes after')
  assert.equal(authorities.issuerOf(line2)?.address, 'root.2')
})

test('what one process changes, another on the same database sees', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const elsewhere = await openAuthorities(ca.context)
  const kept = elsewhere.byAddress('root')
  assert.equal(await elsewhere.refresh(), false, 'nothing changed')
  await rekeyAuthority(ca.context, ca.authorities, 'line1', {}, person)
  assert.equal(elsewhere.byAddress('line1').address, 'line1.1')
  assert.equal(await elsewhere.refresh(), true)
  assert.equal(elsewhere.byAddress('line1').address, 'line1.2')
  assert.equal(elsewhere.byAddress('line1.1').state, 'retired')
  assert.equal(elsewhere.byAddress('root'), kept, 'what did not change is the same object')

  const [record] = await findCertificates(ca.context, { authorityId: kept.id, profile: 'issuing' }, { limit: 1 })
  await revokeCertificate(ca.context, record?.id ?? '', 'cACompromise', person)
  assert.equal(await elsewhere.refresh(), true)
  assert.equal(elsewhere.byAddress('line1').state, 'revoked')
  await ca.authorities.create(
    { slug: 'other', name: nameOf([{ type: 'CN', value: 'Other' }]), profile: 'root', keyAlgorithm: 'ecdsa-p256' },
    person,
  )
  await elsewhere.refresh()
  assert.equal(elsewhere.byAddress('other').state, 'active')
})

test('of two rekeys at once, one makes the next generation', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const settled = await Promise.allSettled([1, 2].map(() => rekeyAuthority(ca.context, ca.authorities, 'root', {}, person)))
  assert.deepEqual(settled.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  assert.deepEqual(
    ca.authorities.list().map(({ address, state }) => `${address} ${state}`),
    ['root.1 retired', 'line1.1 active', 'root.2 active'],
  )
  assert.equal((await ca.context.keys.list()).filter(({ label }) => label.startsWith('ca/root.')).length, 2)
})

test('an authority retires, outlives what it issued, and only then its key may be destroyed', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  const { id, keyLabel } = authorities.byAddress('line1')
  await issueTo(ca, 'line1')
  const { id: endpointId } = await createEndpoint(
    context,
    { label: 'line', protocol: 'est', authorityId: id, profile: 'ldevid' },
    person,
  )
  await assert.rejects(retireAuthority(context, authorities, 'line1', person), { code: 'conflict', reason: 'authorityInUse' })
  await disableEndpoint(context, endpointId, person)
  await assert.rejects(destroyAuthorityKey(context, authorities, 'line1', person), {
    code: 'conflict',
    reason: 'authorityActive',
  })
  assert.equal((await retireAuthority(context, authorities, 'line1', person)).state, 'retired')
  await assert.rejects(issueTo(ca, 'line1'), { reason: 'authorityRetired' })
  await assert.rejects(retireAuthority(context, authorities, 'line1', person), { reason: 'authorityRetired' })
  await assert.rejects(destroyAuthorityKey(context, authorities, 'line1', person), {
    code: 'conflict',
    reason: 'authorityNeeded',
  })

  ca.advance(86_400 * 91)
  const ended = await destroyAuthorityKey(context, authorities, 'line1', person)
  assert.equal(ended.state, 'ended')
  assert.ok(!(await context.keys.list()).some(({ label }) => label === keyLabel))
  await assert.rejects(ended.signer.sign(new Uint8Array(1), 'ecdsa-sha256'), { code: 'unavailable', reason: 'authorityEnded' })
  const reopened = await openAuthorities(context)
  assert.equal(reopened.byAddress('line1').state, 'ended', 'the program starts without the key')
  const ceremonies = await ceremoniesOf(context, id)
  assert.deepEqual(
    ceremonies.map(({ act }) => act),
    ['ca.create', 'ca.retire', 'ca.destroy-key'],
  )
  const [made] = ceremonies
  assert.equal(made?.actor, person)
  assert.equal(made.facts['keyStore'], context.keys.id)
  assert.equal(made.facts['issuer'], 'root.1')
  assert.equal(made.facts['programVersion'], 'test')
  assert.match(String(made.facts['certificateFingerprint']), /^[0-9a-f]{64}$/)
})

test('R10: responders do not keep the key of a retired authority from being destroyed', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  await retireAuthority(context, authorities, 'line1', person)
  ca.advance(86_400 * 20)
  await ocsp(context, authorities).renewResponders() // as long as the authority is there
  assert.equal((await destroyAuthorityKey(context, authorities, 'line1', person)).state, 'ended')
})

test('R10: the key of an authority on hold stays, since the hold can be lifted', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  const [own] = await findCertificates(context, { profile: 'issuing' }, { limit: 1 })
  await holdCertificate(context, own?.id ?? '', person)
  await authorities.refresh()
  await assert.rejects(destroyAuthorityKey(context, authorities, 'line1', person), { code: 'conflict', reason: 'authorityHeld' })
  await releaseCertificate(context, own?.id ?? '', person)
  await authorities.refresh()
  await issueTo(ca, 'line1')
  await holdCertificate(context, own?.id ?? '', person)
  await authorities.refresh()
  // seen as held a moment ago, and released since by another process
  await releaseCertificate(context, own?.id ?? '', person)
  await assert.rejects(destroyAuthorityKey(context, authorities, 'line1', person), { code: 'conflict' })
})

test('R8: what another process retired a moment ago issues nothing more, to whoever asks', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { context, authorities } = ca
  const other = await openAuthorities(context)
  await retireAuthority(context, other, 'line1', person)
  await retireAuthority(context, other, 'root', person)
  const asBefore = { code: 'unavailable', reason: 'authorityRetired' }
  await assert.rejects(issueTo(ca, 'line1'), asBefore)
  const name = nameOf([{ type: 'CN', value: 'Line 2' }])
  const line2 = { slug: 'line2', name, profile: 'issuing', issuer: 'root', keyAlgorithm: 'ecdsa-p256' } as const
  await assert.rejects(authorities.create(line2, person), asBefore)
  await assert.rejects(renewAuthority(context, authorities, 'line1', person), asBefore)
  await assert.rejects(rekeyAuthority(context, authorities, 'line1', {}, person), asBefore)
  const labels = (await context.keys.list()).map(({ label }) => label)
  assert.equal(labels.filter((label) => label.startsWith('ca/')).length, 2, 'keys made for it are gone again')
})
