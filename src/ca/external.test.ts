/** Authorities that are certified elsewhere, offline roots and their CRLs, foreign trust, cross certificates. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { nameConstraints } from '#x509/extensions/name-constraints.ts'
import { nameOf } from '#x509/name.ts'
import { chainOf, offeredBy, openAuthorities } from './authorities.ts'
import { cancelRequest, importCertificate, listRequests, requestAuthority, requestRotation } from './authority-requests.ts'
import { generateAndIssue } from './by-hand.ts'
import { findCertificates, holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { ALL_SHARDS, issueCRL } from './crl.ts'
import { crossSign, importCrossCertificate } from './cross-sign.ts'
import { importedRevocations } from './imported-revocations.ts'
import { changeRevocationPolicy } from './revocation-policy.ts'
import { rekeyAuthority } from './rotate.ts'
import { hierarchy, person, type TestCA, testCA } from './testing.ts'
import { distrustAuthority, importCRL, latestImportedCRL, offlineStates, trustAuthority } from './trusted.ts'

const name = (value: string) => nameOf([{ type: 'CN', value }])
const DAY = 86_400

/** The machine without a network: one root. */
async function offlineMachine(): Promise<TestCA> {
  const ca = await testCA()
  await ca.authorities.create(
    { slug: 'root', name: name('Offline root'), profile: 'root', keyAlgorithm: 'ecdsa-p384', crlValiditySeconds: 90 * DAY },
    person,
  )
  return ca
}

const wanted = { slug: 'line1', name: name('Line 1'), profile: 'issuing', keyAlgorithm: 'ecdsa-p256' } as const

/** What a stick carries back: the certificate that the root made for a request. */
async function signedBy(offline: TestCA, request: Uint8Array): Promise<Uint8Array> {
  return (await crossSign(offline.context, offline.authorities, { authority: 'root', of: { request } }, person)).der
}

const rootOf = (offline: TestCA): Uint8Array => offline.authorities.byAddress('root').certificate.der

async function completed(offline: TestCA, online: TestCA): Promise<void> {
  await trustAuthority(
    online.context,
    online.authorities,
    { slug: 'root', kind: 'offline', certificate: rootOf(offline) },
    person,
  )
  const { request } = await requestAuthority(online.context, wanted, person)
  await importCertificate(online.context, online.authorities, 'line1', await signedBy(offline, request), person)
}

test('R3: an authority is certified by an offline root: request and certificate by stick', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await completed(offline, online)
  const line1 = authorities.byAddress('line1')
  assert.equal(line1.state, 'active')
  assert.deepEqual(await listRequests(context), [])
  assert.deepEqual(chainOf(authorities, line1), [line1.certificate.der, rootOf(offline)])
  assert.equal(authorities.issuerOf(line1)?.address, 'root.1')
  const made = await generateAndIssue(
    context,
    authorities,
    {
      authority: 'line1',
      profile: 'tls-server',
      subject: [],
      names: [{ type: 'dNSName', value: 'a.example' }],
      keyAlgorithm: 'ecdsa-p256',
    },
    person,
  )
  assert.equal(made.chain.length, 2)
  const acts = (await online.entries()).map(({ act }) => act)
  assert.deepEqual(
    acts.filter((act) => act.startsWith('ca.')),
    ['ca.trust', 'ca.request', 'ca.import'],
  )
})

test('a certificate that is not the answer to the request is refused, with the reason', async () => {
  await using offline = await offlineMachine()
  await using stranger = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  const { request } = await requestAuthority(context, wanted, person)
  const take = (der: Uint8Array) => importCertificate(context, authorities, 'line1', der, person)
  const certificate = await signedBy(offline, request)
  const refusal = (finding: RegExp) => (error: Error & { reason?: string; facts?: Record<string, unknown> }) =>
    error.reason === 'foreignCertificate' && finding.test(String(error.facts?.['finding']))
  await assert.rejects(take(certificate), refusal(/no trusted authority/))
  await trustAuthority(context, authorities, { slug: 'root', kind: 'offline', certificate: rootOf(offline) }, person)
  await assert.rejects(take(rootOf(offline)), refusal(/key is not that of the request/))
  await assert.rejects(take(await signedBy(stranger, request)), refusal(/no trusted authority/), 'same name, another key')
  const other = await requestAuthority(stranger.context, { ...wanted, slug: 'other' }, person)
  await assert.rejects(take(await signedBy(offline, other.request)), refusal(/key is not that/))
  const leaf = parseCertificate(certificate)
  await assert.rejects(take(leaf.der.slice(0, -1)), { code: 'malformed' })
  await assert.rejects(importCertificate(context, authorities, 'line9', certificate, person), { reason: 'authorityNotRequested' })
  assert.equal((await take(certificate)).address, 'line1.1')
  await assert.rejects(take(certificate), { reason: 'authorityNotRequested' })
})

test('the names of authorities, of requests and of trusted ones are one name space', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await requestAuthority(context, wanted, person)
  await assert.rejects(requestAuthority(context, wanted, person), { code: 'conflict' })
  await assert.rejects(
    authorities.create({ slug: 'line1', name: name('x'), profile: 'root', keyAlgorithm: 'ecdsa-p256' }, person),
    { reason: 'authorityTaken' },
  )
  await assert.rejects(
    trustAuthority(context, authorities, { slug: 'line1', kind: 'foreign', certificate: rootOf(offline) }, person),
    { reason: 'authorityTaken' },
  )
  await cancelRequest(context, authorities, 'line1', person)
  assert.deepEqual(await context.keys.list(), [], 'the key of a cancelled request is destroyed')
  await trustAuthority(context, authorities, { slug: 'line1', kind: 'foreign', certificate: rootOf(offline) }, person)
})

test("R10: an offline root's CRL is imported, published, due, overdue; what it revokes is revoked here", async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await completed(offline, online)
  const root = authorities.trustedByAddress('root')
  const stateNow = async () => (await offlineStates(context, authorities)).map(({ state }) => state)
  assert.deepEqual(await stateNow(), ['none'])
  await assert.rejects(latestImportedCRL(context, root), { code: 'notFound', reason: 'importedCRLNone' })

  const carry = async (): Promise<Uint8Array> =>
    (await issueCRL(offline.context, offline.authorities.byAddress('root'), 0, person)).der
  const first = await carry()
  const { crl } = await importCRL(context, authorities, first, person)
  assert.equal(crl.crlNumber, 1n)
  assert.deepEqual((await latestImportedCRL(context, root)).der, first)
  assert.deepEqual(await stateNow(), ['published'])
  await assert.rejects(importCRL(context, authorities, first, person), { reason: 'foreignCRL' }, 'the number must grow')

  online.advance(70 * DAY)
  assert.deepEqual(await stateNow(), ['due'])
  online.advance(21 * DAY)
  assert.deepEqual(await stateNow(), ['overdue'])
  offline.advance(91 * DAY)

  const [record] = await findCertificates(offline.context, { profile: 'issuing' }, { limit: 1 })
  await revokeCertificate(offline.context, record?.id ?? '', 'cACompromise', person)
  await importCRL(context, authorities, await carry(), person)
  assert.deepEqual(await stateNow(), ['published'])
  assert.equal(authorities.byAddress('line1').state, 'revoked')
})

test('an import only takes away: a hold that was lifted there is released here by a person', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await completed(offline, online)
  const carry = async (): Promise<unknown> => {
    const { der } = await issueCRL(offline.context, offline.authorities.byAddress('root'), 0, person)
    return importCRL(context, authorities, der, person)
  }
  const idIn = async (ca: TestCA): Promise<string> =>
    (await findCertificates(ca.context, { profile: 'issuing' }, { limit: 1 }))[0]?.id ?? ''
  await holdCertificate(offline.context, await idIn(offline), person)
  await carry()
  assert.equal(authorities.byAddress('line1').state, 'revoked')
  await releaseCertificate(offline.context, await idIn(offline), person)
  await carry()
  assert.equal(authorities.byAddress('line1').state, 'revoked')
  await releaseCertificate(context, await idIn(online), person)
  await authorities.refresh()
  assert.equal(authorities.byAddress('line1').state, 'active')
})

test('a CRL that is not whole, not signed, ended, or from nowhere is refused', async () => {
  await using offline = await offlineMachine()
  await using stranger = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  const listOf = async (ca: TestCA): Promise<Uint8Array> =>
    (await issueCRL(ca.context, ca.authorities.byAddress('root'), 0, person)).der
  const list = await listOf(offline)
  await assert.rejects(importCRL(context, authorities, list, person), { reason: 'foreignCRL' }, 'nobody trusted')
  await trustAuthority(context, authorities, { slug: 'root', kind: 'offline', certificate: rootOf(offline) }, person)
  await assert.rejects(importCRL(context, authorities, await listOf(stranger), person), { reason: 'foreignCRL' })
  const forged = Uint8Array.from(list)
  forged[forged.length - 5] = (forged[forged.length - 5] as number) ^ 1
  await assert.rejects(importCRL(context, authorities, forged, person), { reason: 'foreignCRL' })
  online.advance(91 * DAY)
  await assert.rejects(importCRL(context, authorities, list, person), { reason: 'foreignCRL' }, 'it has ended')
  assert.equal((await online.entries()).filter(({ act }) => act === 'ca.import-crl').length, 0)
})

test('R8: a part of a list is refused, and what the whole one revokes stays revoked (RFC 5280, 5.2.5)', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await completed(offline, online)
  const listOf = async (shard: number): Promise<Uint8Array> =>
    (await issueCRL(offline.context, offline.authorities.byAddress('root'), shard, person)).der
  const [record] = await findCertificates(offline.context, { profile: 'issuing' }, { limit: 1 })
  await revokeCertificate(offline.context, record?.id ?? '', 'cACompromise', person)
  const { crl } = await importCRL(context, authorities, await listOf(0), person)
  assert.equal(crl.entries, 1)
  await changeRevocationPolicy(offline.context, offline.authorities, 'root', { crlShards: 2 }, person)
  offline.advance(DAY)
  online.advance(DAY)
  for (const shard of [0, 1])
    await assert.rejects(importCRL(context, authorities, await listOf(shard), person), { reason: 'foreignCRLPartial' })
  const root = authorities.trustedByAddress('root')
  assert.deepEqual((await latestImportedCRL(context, root)).der, crl.der)
  const revocations = importedRevocations(context, authorities)
  const found = await revocations.lookUp(authorities.byAddress('line1').certificate, root.certificate)
  assert.equal(found?.state, 'revoked')
  assert.equal((await importCRL(context, authorities, await listOf(ALL_SHARDS), person)).crl.entries, 1)
})

test('renewal and rekey of an authority that is certified elsewhere go by request, too', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await completed(offline, online)
  const before = authorities.byAddress('line1')
  offline.advance(DAY)
  const renewal = await requestRotation(context, authorities, 'line1', { mode: 'renew' }, person)
  assert.equal(renewal.address, 'line1.1')
  online.advance(DAY)
  const renewed = await importCertificate(context, authorities, 'line1', await signedBy(offline, renewal.request), person)
  assert.equal(renewed.id, before.id)
  assert.ok(renewed.certificate.notAfter > before.certificate.notAfter)
  const rekey = await requestRotation(context, authorities, 'line1', { mode: 'rekey' }, person)
  const next = await importCertificate(context, authorities, 'line1', await signedBy(offline, rekey.request), person)
  assert.equal(next.address, 'line1.2')
  assert.equal(authorities.byAddress('line1.1').state, 'retired')
})

test('a request for the next key is of no use once the authority was given another key here', async () => {
  await using offline = await offlineMachine()
  await using online = await testCA()
  const { context, authorities } = online
  await hierarchy(online)
  await trustAuthority(context, authorities, { slug: 'vault', kind: 'foreign', certificate: rootOf(offline) }, person)
  const { request } = await requestRotation(context, authorities, 'line1', { mode: 'rekey' }, person)
  const { certificate } = await rekeyAuthority(context, authorities, 'line1', {}, person)
  await assert.rejects(importCertificate(context, authorities, 'line1', await signedBy(offline, request), person), {
    code: 'conflict',
    reason: 'authorityNotNewest',
  })
  const reopened = await openAuthorities(context)
  assert.deepEqual(
    reopened.byAddress('line1.2').certificate.der,
    certificate.der,
    'the program starts, with the key that is there',
  )
})

test('nobody gets the name of an authority here signed by writing it another way, or could speak of what that one revoked', async () => {
  await using online = await testCA()
  await using other = await testCA()
  await hierarchy(online)
  await using offline = await offlineMachine()
  await trustAuthority(
    online.context,
    online.authorities,
    { slug: 'vault', kind: 'offline', certificate: rootOf(offline) },
    person,
  )
  const asOurs = nameOf([
    { type: 'O', value: 'EXAMPLE' },
    { type: 'CN', value: 'example  LINE 1' },
  ])
  for (const [slug, asked] of [
    ['line1', asOurs],
    ['line2', name('OFFLINE root')],
  ] as const) {
    const { request } = await requestAuthority(other.context, { ...wanted, slug, name: asked }, person)
    await assert.rejects(crossSign(online.context, online.authorities, { authority: 'root', of: { request } }, person), {
      code: 'policyRefused',
      reason: 'foreignCertificate',
    })
  }
})

test('RFC 5280, 4.2.1.10: a cross certificate limits how deep and in which name spaces the other may issue', async () => {
  await using maker = await testCA()
  await using owner = await testCA()
  await hierarchy(maker, { noExpiry: false })
  await hierarchy(owner, { noExpiry: false })
  const other = { certificate: owner.authorities.byAddress('line1').certificate.der }
  const cross = {
    authority: 'root',
    of: other,
    pathLength: 0,
    nameConstraints: { permitted: ['dns:owner.example'], excluded: ['ip:0.0.0.0/0'] },
  }
  // both have the same names here, as a test has them: a stranger's name is what is taken
  await assert.rejects(crossSign(maker.context, maker.authorities, cross, person), { reason: 'foreignCertificate' })
  await using plant = await testCA()
  await plant.authorities.create({ slug: 'plant', name: name('Plant root'), profile: 'root', keyAlgorithm: 'ecdsa-p256' }, person)
  const plantRoot = plant.authorities.byAddress('plant')
  const issued = await crossSign(
    maker.context,
    maker.authorities,
    { ...cross, of: { certificate: plantRoot.certificate.der } },
    person,
  )
  const certificate = parseCertificate(issued.der)
  assert.equal(extensionOf(certificate, basicConstraints)?.value.pathLenConstraint, 0)
  const constraints = extensionOf(certificate, nameConstraints)
  assert.equal(constraints?.critical, true)
  assert.deepEqual(constraints.value.permittedSubtrees, [{ base: { type: 'dNSName', value: 'owner.example' }, minimum: 0 }])
  assert.deepEqual(constraints.value.excludedSubtrees?.[0]?.base, { type: 'iPAddress', value: new Uint8Array(8) })

  const imported = (): Promise<unknown> => importCrossCertificate(plant.context, plant.authorities, issued.der, person)
  await assert.rejects(imported(), { reason: 'foreignCertificate' }, 'its issuer is not trusted yet')
  const makerRoot = maker.authorities.byAddress('root').certificate.der
  await trustAuthority(plant.context, plant.authorities, { slug: 'press0', kind: 'foreign', certificate: makerRoot }, person)
  await imported()
  await assert.rejects(imported(), { reason: 'authorityKnown' })
  const offered = offeredBy(plant.authorities, plantRoot, plant.context.world.clock.now())
  assert.deepEqual(offered, [plantRoot.certificate.der, issued.der])
})

test('foreign authorities are trusted for paths, root before what is below, and no longer once taken back', async () => {
  await using maker = await testCA()
  await using owner = await testCA()
  await hierarchy(maker, { noExpiry: true })
  const { context, authorities } = owner
  const der = (address: string): Uint8Array => maker.authorities.byAddress(address).certificate.der
  const below = { slug: 'press1', kind: 'foreign', certificate: der('line1') } as const
  await assert.rejects(trustAuthority(context, authorities, below, person), { reason: 'foreignCertificate' })
  await trustAuthority(context, authorities, { slug: 'press0', kind: 'foreign', certificate: der('root') }, person)
  await trustAuthority(context, authorities, below, person)
  await assert.rejects(trustAuthority(context, authorities, below, person), { reason: 'authorityKnown' })
  assert.deepEqual(
    authorities.trusted().map(({ address }) => address),
    ['press0.1', 'press1.1'],
  )
  assert.deepEqual(authorities.list(), [], 'nothing can issue with them')
  await distrustAuthority(context, authorities, 'press1', person)
  assert.deepEqual(
    authorities.trusted().map(({ address }) => address),
    ['press0.1'],
  )
  const leaf = await generateAndIssue(
    maker.context,
    maker.authorities,
    { authority: 'line1', profile: 'ra', subject: name('Station'), names: [], keyAlgorithm: 'ecdsa-p256' },
    person,
  )
  const no = { slug: 'leaf', kind: 'foreign', certificate: leaf.certificate } as const
  await assert.rejects(trustAuthority(context, authorities, no, person), { reason: 'foreignCertificate' })
})
