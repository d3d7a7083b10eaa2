import assert from 'node:assert/strict'
import { test } from 'node:test'
import { algorithmPolicy, parseSchedule } from '#algorithms/policy.ts'
import type { TrustError } from '#base/errors.ts'
import { type Extension, extensionWith } from '#x509/extensions/extension.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { fingerprint } from '#x509/certificate.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions, type TestKey as SigningKey } from '#x509/testing.ts'
import { generateAndIssue } from './by-hand.ts'
import { findCertificates, holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { ISSUER_PATH_MILLISECONDS, clientPaths } from './client-path.ts'
import { issueCRL } from './crl.ts'
import { createEndpoint } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { hierarchy, person, testCA, testRequest, type TestCA } from './testing.ts'
import { distrustAuthority, importCRL, trustAuthority } from './trusted.ts'
import { verifyHere } from './verification.ts'

const common = (CN: string) => nameOf([{ type: 'CN', value: CN }])

/** Root, an authority between, and the one that issues. */
async function threeLevels(ca: TestCA): Promise<void> {
  const made = { keyAlgorithm: 'ecdsa-p256', noExpiry: true } as const
  await ca.authorities.create({ slug: 'root', name: common('Root'), profile: 'root', ...made }, person)
  await ca.authorities.create({ slug: 'between', name: common('Between'), profile: 'root', issuer: 'root', ...made }, person)
  await ca.authorities.create({ slug: 'line1', name: common('Line 1'), profile: 'issuing', issuer: 'between', ...made }, person)
}

async function ownersEndpoint(ca: TestCA, rules: Parameters<typeof createEndpoint>[1]['rules'] = { clientIssuers: ['line1.1'] }) {
  const authorityId = ca.authorities.byAddress('line1').id
  return createEndpoint(
    ca.context,
    { label: 'plant', protocol: 'est', authorityId, profile: 'ldevid', isDefault: true, rules },
    person,
  )
}

test('R3: a certificate is refused once an authority anywhere above it is revoked or held', async () => {
  await using ca = await testCA()
  await threeLevels(ca)
  const endpoint = await ownersEndpoint(ca)
  const service = enrollment(ca.context, ca.authorities, async () => {})
  const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
  const officer: Identity = { kind: 'person', principalId: 'officer' }
  const { certificate } = (await service.enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
  const show = (): Promise<Identity> => service.authenticate(endpoint, { chain: [certificate], basic: undefined })
  const verify = () =>
    verifyHere(ca.context, ca.authorities, { certificate, at: new Date(ca.context.world.clock.now()), purpose: 'tls-client' })
  assert.equal((await show()).kind, 'device')
  assert.equal((await verify()).valid, true)

  const [between] = await findCertificates(ca.context, { subject: 'CN=Between' }, { limit: 1 })
  assert.ok(between)
  await holdCertificate(ca.context, between.id, person)
  await ca.authorities.refresh()
  await assert.rejects(show(), { code: 'forbidden', reason: 'issuerRevoked' })
  await releaseCertificate(ca.context, between.id, person)
  await ca.authorities.refresh()
  assert.equal((await show()).kind, 'device', 'a hold that ended leaves nothing behind')
  await revokeCertificate(ca.context, between.id, 'cACompromise', person)
  await ca.authorities.refresh()
  await assert.rejects(show(), (error: TrustError) => error.reason === 'issuerRevoked' && error.facts['issuer'] === 'between.1')
  const verdict = await verify()
  assert.ok(!verdict.valid)
  assert.equal(verdict.failure.reason, 'pathRevoked')
  assert.equal(verdict.failure.subject, 'CN=Between')
})

test('R3: an authority that has ended takes down what it issued', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const { checkIssuer } = clientPaths(ca.context, ca.authorities)
  const line1 = ca.authorities.byAddress('line1')
  await checkIssuer(line1)
  const past = line1.certificate.notAfter.getTime() - ca.context.world.clock.now() + 1000
  ca.advance(past / 1000)
  await assert.rejects(checkIssuer(line1), { code: 'forbidden', reason: 'issuerExpired' })
})

test('one of our issuers is validated once in a while, and not with every request', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  let queries = 0
  const query: typeof ca.context.db.query = (...given) => {
    queries++
    return ca.context.db.query(...given)
  }
  const db = new Proxy(ca.context.db, { get: (of, key) => (key === 'query' ? query : Reflect.get(of, key)) })
  const { checkIssuer } = clientPaths({ ...ca.context, db }, ca.authorities)
  const line1 = ca.authorities.byAddress('line1')
  await checkIssuer(line1)
  const once = queries
  assert.ok(once > 0)
  for (let i = 0; i < 10; i++) await checkIssuer(line1)
  assert.equal(queries, once)
  ca.advance(ISSUER_PATH_MILLISECONDS / 1000)
  await checkIssuer(line1)
  assert.ok(queries > once)
})

test('R22: a device comes in with what our authorities signed by an algorithm that is refused since, to leave it behind', async () => {
  const refused = parseSchedule(`refused from ${new Date(Date.now() + 10 * 86_400_000).toISOString().slice(0, 10)}`)
  const schedules = { 'ecdsa-p256': refused, 'ecdsa-sha256': refused }
  await using ca = await testCA({}, algorithmPolicy({ preset: 'none', schedules }))
  await hierarchy(ca)
  const endpoint = await ownersEndpoint(ca)
  const service = enrollment(ca.context, ca.authorities, async () => {})
  const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
  const officer: Identity = { kind: 'person', principalId: 'officer' }
  const { certificate } = (await service.enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
  ca.advance(11 * 86_400)
  assert.equal((await service.authenticate(endpoint, { chain: [certificate], basic: undefined })).kind, 'device')
})

test('R3: a certificate that bears our signature and is not in our records is not good', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const line1 = ca.authorities.byAddress('line1')
  const stolen: SigningKey = {
    ...makeKey(),
    signer: {
      signatureAlgorithm: line1.signatureAlgorithm,
      sign: (message) => line1.signer.sign(message, line1.signatureAlgorithm),
    },
  }
  const forged = await makeCertificate(stolen, { issuer: line1.certificate.subject, subject: encodeName(common('Forged')) })
  const at = new Date(ca.context.world.clock.now())
  const verdict = await verifyHere(ca.context, ca.authorities, { certificate: forged, at })
  assert.ok(!verdict.valid)
  assert.equal(verdict.failure.reason, 'pathRevocationUnknown')
})

test("R3: another's station counts when a trusted authority that is listed vouches for it, and its devices do not", async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [rootKey, middleKey, stationKey, strangeKey] = [makeKey(), makeKey(), makeKey(), makeKey()]
  const [rootName, middleName] = [encodeName(common('Maker root')), encodeName(common('Maker line'))]
  const root = await makeCertificate(rootKey, { issuer: rootName, subject: rootName, extensions: rootExtensions(rootKey) })
  const middle = await certify(rootKey, rootName, middleName, middleKey, [
    extensionWith(basicConstraints, { cA: true, pathLenConstraint: 0 }, true),
    extensionWith(keyUsage, ['keyCertSign', 'cRLSign']),
  ])
  const leaf = [extensionWith(keyUsage, ['digitalSignature']), extensionWith(extKeyUsage, [keyPurposes.clientAuth])]
  const station = await certify(middleKey, middleName, encodeName(common('Station')), stationKey, leaf)
  const device = await certify(middleKey, middleName, encodeName(common('Device')), strangeKey, leaf)
  const server = await certify(middleKey, middleName, encodeName(common('Server')), stationKey, [
    extensionWith(extKeyUsage, [keyPurposes.serverAuth]),
  ])
  const impostor = await certify(strangeKey, middleName, encodeName(common('Station')), stationKey, leaf)

  const maker = await trustAuthority(ca.context, ca.authorities, { slug: 'acme', kind: 'foreign', certificate: root }, person)
  await ca.authorities.refresh()
  const listed = (der: Uint8Array) => ({ fingerprint: fingerprint(der).toHex(), productSerials: ['A-*'] })
  const endpoint = await ownersEndpoint(ca, {
    clientIssuers: [maker.address],
    registrationAuthorities: [station, server, impostor].map(listed),
  })
  const { authenticate } = enrollment(ca.context, ca.authorities, async () => {})
  const show = (...chain: Uint8Array[]): Promise<Identity> => authenticate(endpoint, { chain, basic: undefined })
  assert.deepEqual(await show(station, middle), {
    kind: 'foreign-registration-authority',
    fingerprint: fingerprint(station).toHex(),
    productSerials: ['A-*'],
  })
  assert.equal((await show(station)).kind, 'foreign-registration-authority', 'as a TLS session that goes on shows it')
  const another = enrollment(ca.context, ca.authorities, async () => {})
  await assert.rejects(
    another.authenticate(endpoint, { chain: [station], basic: undefined }),
    { reason: 'issuerNotListed' },
    'the way up is missing',
  )
  await assert.rejects(show(device, middle), { reason: 'certificateNotForEnrollment' })
  await assert.rejects(show(server, middle), { code: 'forbidden', reason: 'clientPath' })
  await assert.rejects(show(impostor, middle), { code: 'forbidden', reason: 'clientPath' })
  await assert.rejects(show(root), { code: 'forbidden' })
})

test('R3: a trusted authority below a root counts no longer than the root vouches for it', async () => {
  for (const loss of ['distrusted', 'revoked'] as const) {
    await using ca = await testCA()
    await using maker = await testCA()
    await hierarchy(ca)
    await maker.authorities.create(
      { slug: 'root', name: common('Maker root'), profile: 'root', keyAlgorithm: 'ecdsa-p256' },
      person,
    )
    const below = {
      slug: 'line',
      name: common('Maker line'),
      profile: 'issuing',
      issuer: 'root',
      keyAlgorithm: 'ecdsa-p256',
    } as const
    await maker.authorities.create(below, person)
    const wanted = {
      authority: 'line',
      profile: 'tls-client',
      subject: common('Station'),
      names: [],
      keyAlgorithm: 'ecdsa-p256',
    } as const
    const station = await generateAndIssue(maker.context, maker.authorities, wanted, person)
    for (const slug of ['root', 'line']) {
      const certificate = maker.authorities.byAddress(slug).certificate.der
      await trustAuthority(ca.context, ca.authorities, { slug: `maker${slug}`.slice(1), kind: 'foreign', certificate }, person)
    }
    const registrationAuthorities = [{ fingerprint: fingerprint(station.certificate).toHex(), productSerials: ['A-*'] }]
    const endpoint = await ownersEndpoint(ca, { clientIssuers: ['akerline.1'], registrationAuthorities })
    const { authenticate } = enrollment(ca.context, ca.authorities, async () => {})
    const show = (): Promise<Identity> => authenticate(endpoint, { chain: [station.certificate], basic: undefined })
    assert.equal((await show()).kind, 'foreign-registration-authority')

    if (loss === 'distrusted') await distrustAuthority(ca.context, ca.authorities, 'akerroot', person)
    else {
      const [line] = await findCertificates(maker.context, { profile: 'issuing' }, { limit: 1 })
      await revokeCertificate(maker.context, line?.id ?? '', 'cACompromise', person)
      const list = await issueCRL(maker.context, maker.authorities.byAddress('root'), 0, person)
      await importCRL(ca.context, ca.authorities, list.der, person)
      ca.advance(ISSUER_PATH_MILLISECONDS / 1000) // as with one of ours, a validation holds for a moment
    }
    const reason = loss === 'distrusted' ? 'issuerNoLongerTrusted' : 'issuerPath'
    await assert.rejects(show(), { code: 'forbidden', reason })
  }
})

/** By `key` under `issuer`, for the key of `holder`. */
async function certify(
  key: SigningKey,
  issuer: Uint8Array,
  subject: Uint8Array,
  holder: SigningKey,
  extensions: readonly Extension[],
): Promise<Uint8Array> {
  return makeCertificate(key, {
    issuer,
    subject,
    subjectPublicKeyInfo: holder.spki,
    serialNumber: Uint8Array.of(1, subject.at(-1) ?? 0),
    extensions,
  })
}
