import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, test } from 'node:test'
import { parseCertificate, serialHex, verifyCertificateSignature, extensionOf } from '#x509/certificate.ts'
import { parseCertificateList, verifyListSignature } from '#x509/crl.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { type Extension, extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { type GeneralName, hardwareModuleNameOf } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '#x509/ocsp.ts'
import { formatName, nameOf, parseName } from '#x509/name.ts'
import { findCertificates, holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { issueCRL, issueDueCRLs, latestCRL } from './crl.ts'
import { createEndpoint, createEnrollmentSecret, type Endpoint, type EndpointRules, openEndpoint } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { ocsp } from './ocsp.ts'
import { hierarchy, person, type TestCA, testCA, testKey, testRequest } from './testing.ts'

const HARDWARE_TYPE = '1.3.6.1.4.1.99999.7.1'
const allow = async (): Promise<void> => {}

async function birthEndpoint(ca: TestCA, rules: Partial<EndpointRules> = {}): Promise<Endpoint> {
  return createEndpoint(
    ca.context,
    {
      label: 'births',
      protocol: 'est',
      authorityId: ca.authorities.byAddress('line1').id,
      profile: 'idevid',
      rules: { hardwareType: HARDWARE_TYPE, secrets: true, ...rules },
    },
    person,
  )
}

const officer: Identity = { kind: 'person', principalId: 'officer' }

test('R3: a root and an issuing authority below it, with keys that verify the chain', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [root, line] = ca.authorities.list()
  assert.ok(root && line)
  assert.ok(await verifyCertificateSignature(line.certificate, root.publicKey))
  assert.ok(new X509Certificate(line.certificate.der).checkIssued(new X509Certificate(root.certificate.der)))
  assert.equal(line.certificate.notAfter.toISOString(), '9999-12-31T23:59:59.000Z')
  assert.equal(extensionOf(line.certificate, basicConstraints)?.value.pathLenConstraint, 0)
  await assert.rejects(hierarchy(ca), { code: 'conflict', reason: 'authorityTaken' })
})

test('an authority that could not be made leaves its name free', async () => {
  await using ca = await testCA({ publicUrl: undefined })
  await assert.rejects(hierarchy(ca), { code: 'unavailable', reason: 'publicUrlMissing' })
  assert.deepEqual(
    ca.authorities.list().map(({ slug }) => slug),
    ['root'],
  )
  assert.equal((await ca.context.keys.list()).length, 1, 'its key is destroyed')
  const name = nameOf([{ type: 'CN', value: 'Line 1' }])
  const again = ca.authorities.create({ slug: 'line1', name, profile: 'root', keyAlgorithm: 'ecdsa-p256' }, person)
  assert.equal((await again).address, 'line1.1')
})

test('of two authorities that race for a name, one is made', async () => {
  await using ca = await testCA()
  const name = nameOf([{ type: 'CN', value: 'Root' }])
  const make = (): Promise<unknown> =>
    ca.authorities.create({ slug: 'root', name, profile: 'root', keyAlgorithm: 'ecdsa-p256' }, person)
  const settled = await Promise.allSettled([make(), make()])
  assert.deepEqual(settled.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
  const refused = settled.find((one) => one.status === 'rejected')
  assert.equal((refused?.reason as { reason: string } | undefined)?.reason, 'authorityTaken')
  assert.equal((await ca.context.keys.list()).length, 1)
})

test('R2, R5: a birth certificate holds the identification data of IEEE 802.1AR', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { enroll } = enrollment(ca.context, ca.authorities, allow)
  const endpoint = await birthEndpoint(ca)
  const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
  const answer = (await enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
  const certificate = parseCertificate(answer.certificate)
  assert.equal(formatName(parseName(certificate.subject)), 'serialNumber=A-1')
  assert.equal(certificate.notAfter.toISOString(), '9999-12-31T23:59:59.000Z')
  const names = extensionOf(certificate, subjectAltName)?.value ?? []
  const hardware = names.map(hardwareModuleNameOf).find((name) => name !== undefined)
  assert.deepEqual(hardware && [hardware.hwType, Buffer.from(hardware.hwSerialNum).toString()], [HARDWARE_TYPE, 'A-1'])
  assert.equal(answer.chain.length, 2)
  assert.ok(new X509Certificate(answer.certificate).verify(new X509Certificate(answer.chain[0] as Uint8Array).publicKey))
})

describe('decision 10: retries, clones and second keys', () => {
  test('the same request by the same identity gets the same certificate, and one row', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const { enroll } = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await birthEndpoint(ca)
    const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    const ask = (): Promise<IssuedAnswer> =>
      enroll({ endpoint, operation: 'enroll', request, identity: officer }) as Promise<IssuedAnswer>
    const answers = await Promise.all([ask(), ask(), ask()])
    answers.push(await ask())
    assert.equal(new Set(answers.map(({ certificateId }) => certificateId)).size, 1)
    assert.equal((await findCertificates(ca.context, { productSerial: 'A-1' }, { limit: 10 })).length, 1)
    ca.advance(3601)
    assert.notEqual((await ask()).certificateId, answers[0]?.certificateId)
  })

  test('the same key under another serial is refused; the same serial with another key is a conflict', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const { enroll } = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await birthEndpoint(ca)
    const key = testKey()
    const birth = async (serial: string, of = key): Promise<unknown> =>
      enroll({
        endpoint,
        operation: 'enroll',
        request: await testRequest({ subject: [{ type: 'serialNumber', value: serial }], key: of }),
        identity: officer,
      })
    await birth('A-1')
    await assert.rejects(birth('A-2'), { code: 'policyRefused', reason: 'keyOfAnotherProduct' })
    await assert.rejects(birth('A-1', testKey()), { code: 'conflict', reason: 'productHasAnotherKey' })
    const kept = (await ca.entries()).filter(({ outcome }) => outcome === 'refused').map(({ reason }) => reason)
    assert.deepEqual(kept, ['keyOfAnotherProduct', 'productHasAnotherKey'])
  })

  test('of two births that race with one key, one wins', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const { enroll } = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await birthEndpoint(ca)
    const key = testKey()
    const requests = await Promise.all(
      ['A-1', 'A-2', 'A-3'].map((value) => testRequest({ subject: [{ type: 'serialNumber', value }], key })),
    )
    const settled = await Promise.allSettled(
      requests.map((request) => enroll({ endpoint, operation: 'enroll', request, identity: officer })),
    )
    assert.deepEqual(settled.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected', 'rejected'])
    assert.equal((await findCertificates(ca.context, { profile: 'idevid' }, { limit: 10 })).length, 1)
  })

  test('a one-time secret serves one request, again for the same, never for another device', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const service = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await birthEndpoint(ca)
    const { userName, password } = await createEnrollmentSecret(
      ca.context,
      { endpointId: endpoint.id, productSerial: 'A-1', validSeconds: 600 },
      person,
    )
    const signIn = (): Promise<Identity> => service.authenticate(endpoint, { chain: [], basic: { userName, password } })
    const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    const other = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-9' }] })
    await assert.rejects(service.enroll({ endpoint, operation: 'enroll', request: other, identity: await signIn() }), {
      reason: 'foreignProductSerial',
    })
    const first = (await service.enroll({ endpoint, operation: 'enroll', request, identity: await signIn() })) as IssuedAnswer
    const again = (await service.enroll({ endpoint, operation: 'enroll', request, identity: await signIn() })) as IssuedAnswer
    assert.equal(again.certificateId, first.certificateId)
    const second = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    await assert.rejects(service.enroll({ endpoint, operation: 'enroll', request: second, identity: await signIn() }), {
      code: 'forbidden',
      reason: 'secretUsed',
    })
    ca.advance(601)
    await assert.rejects(signIn(), { code: 'unauthenticated', reason: 'secretWrong' })
  })
})

describe('who may ask for what', () => {
  interface Plant {
    readonly service: ReturnType<typeof enrollment>
    readonly births: Endpoint
    readonly owners: Endpoint
    born(serial: string): Promise<Uint8Array>
  }

  async function plant(ca: TestCA): Promise<Plant> {
    await hierarchy(ca)
    const service = enrollment(ca.context, ca.authorities, allow)
    const births = await birthEndpoint(ca)
    const owners = await createEndpoint(
      ca.context,
      {
        label: 'plant',
        protocol: 'est',
        authorityId: ca.authorities.byAddress('line1').id,
        profile: 'ldevid',
        isDefault: true,
        rules: { clientIssuers: ['line1.1'] },
      },
      person,
    )
    return {
      service,
      births,
      owners,
      async born(serial) {
        const request = await testRequest({
          subject: [
            { type: 'O', value: 'Example' },
            { type: 'serialNumber', value: serial },
          ],
        })
        return ((await service.enroll({ endpoint: births, operation: 'enroll', request, identity: officer })) as IssuedAnswer)
          .certificate
      },
    }
  }

  const own = [
    { type: 'O', value: 'Example' },
    { type: 'serialNumber', value: 'A-1' },
  ]
  const san = (...names: GeneralName[]): Extension[] => [extensionWith(subjectAltName, names)]
  const cases: readonly {
    name: string
    subject?: typeof own
    extensions?: Extension[]
    refused?: { code: string; reason: string }
  }[] = [
    { name: 'its own names' },
    { name: 'an empty subject, filled from its birth certificate', subject: [] },
    { name: 'its own URI', extensions: san({ type: 'uniformResourceIdentifier', value: 'urn:device:A-1' }) },
    {
      name: "another device's serial",
      subject: [{ type: 'serialNumber', value: 'A-2' }],
      refused: { code: 'forbidden', reason: 'foreignProductSerial' },
    },
    {
      name: "another device's subject",
      subject: [{ type: 'O', value: 'Other' }, own[1] as (typeof own)[0]],
      refused: { code: 'forbidden', reason: 'foreignSubject' },
    },
    {
      name: "another device's URI",
      extensions: san({ type: 'uniformResourceIdentifier', value: 'urn:device:A-2' }),
      refused: { code: 'forbidden', reason: 'foreignName' },
    },
    {
      name: "another host's name",
      extensions: san({ type: 'dNSName', value: 'scada.example' }),
      refused: { code: 'forbidden', reason: 'foreignName' },
    },
    {
      name: 'a mail address',
      extensions: san({ type: 'rfc822Name', value: 'a@b.example' }),
      refused: { code: 'policyRefused', reason: 'nameKind' },
    },
    {
      name: 'to become an authority',
      extensions: [extensionWith(basicConstraints, { cA: true }, true)],
      refused: { code: 'policyRefused', reason: 'requestedAuthority' },
    },
    {
      name: 'to sign certificates',
      extensions: [extensionWith(keyUsage, ['keyCertSign'], true)],
      refused: { code: 'policyRefused', reason: 'requestedKeyUsage' },
    },
    {
      name: 'a foreign key purpose',
      extensions: [extensionWith(extKeyUsage, ['1.3.6.1.5.5.7.3.3'])],
      refused: { code: 'policyRefused', reason: 'requestedKeyPurpose' },
    },
    {
      name: 'an unknown extension',
      extensions: [{ extnID: '1.2.3.4', critical: false, extnValue: Uint8Array.of(5, 0) }],
      refused: { code: 'policyRefused', reason: 'requestedExtension' },
    },
    {
      name: 'an attribute that the profile does not have',
      subject: [...own, { type: 'L', value: 'X' }],
      refused: { code: 'policyRefused', reason: 'subjectAttribute' },
    },
    {
      name: 'a serial twice',
      subject: [...own, own[1] as (typeof own)[0]],
      refused: { code: 'policyRefused', reason: 'subjectRepeated' },
    },
  ]
  for (const { name, subject = own, extensions = [], refused } of cases) {
    test(`a device asks with its birth certificate for ${name}`, async () => {
      await using ca = await testCA()
      const { service, owners, born } = await plant(ca)
      const identity = await service.authenticate(owners, { chain: [await born('A-1')], basic: undefined })
      const request = await testRequest({ subject, extensions })
      const asked = service.enroll({ endpoint: owners, operation: 'enroll', request, identity })
      if (refused === undefined) {
        const { certificate } = (await asked) as IssuedAnswer
        assert.match(formatName(parseName(parseCertificate(certificate).subject)), /serialNumber=A-1/)
        return
      }
      await assert.rejects(asked, refused)
      assert.equal((await findCertificates(ca.context, { profile: 'ldevid' }, { limit: 1 })).length, 0)
      assert.equal((await ca.entries()).at(-1)?.reason, refused.reason)
    })
  }

  test('revoked, held, expired and foreign certificates do not authenticate', async () => {
    await using ca = await testCA()
    const { service, births, owners, born } = await plant(ca)
    const show = (der: Uint8Array, endpoint = owners): Promise<Identity> =>
      service.authenticate(endpoint, { chain: [der], basic: undefined })
    const der = await born('A-1')
    const [record] = await findCertificates(ca.context, { productSerial: 'A-1' }, { limit: 1 })
    assert.ok(record)
    await show(der)
    await holdCertificate(ca.context, record.id, person)
    await assert.rejects(show(der), { code: 'forbidden', reason: 'certificateHeld' })
    await releaseCertificate(ca.context, record.id, person)
    await show(der)
    await revokeCertificate(ca.context, record.id, 'keyCompromise', person)
    await assert.rejects(show(der), { code: 'forbidden', reason: 'certificateRevoked' })
    await assert.rejects(releaseCertificate(ca.context, record.id, person), { code: 'conflict', reason: 'certificateNotHeld' })
    await assert.rejects(show(await born('A-2'), births), { code: 'forbidden', reason: 'issuerNotListed' })
    await assert.rejects(service.authenticate(owners, { chain: [], basic: undefined }), {
      code: 'unauthenticated',
      reason: 'noCredentials',
    })
    const answer = (await service.enroll({
      endpoint: owners,
      operation: 'enroll',
      request: await testRequest({ subject: [{ type: 'serialNumber', value: 'A-3' }] }),
      identity: await show(await born('A-3')),
    })) as IssuedAnswer
    await show(answer.certificate)
    ca.advance(366 * 86400)
    await assert.rejects(show(answer.certificate), { code: 'forbidden', reason: 'certificateExpired' })
  })

  test('strangers cannot fill the audit log: what is beyond the limit is counted', async () => {
    await using ca = await testCA()
    const { service, owners, births, born } = await plant(ca)
    const foreign = await born('A-1')
    const refusals = async (): Promise<number> => (await ca.entries()).filter(({ actor }) => actor === 'stranger').length
    for (let i = 0; i < 100; i++) await assert.rejects(service.authenticate(births, { chain: [foreign], basic: undefined }))
    assert.equal(await refusals(), 60)
    ca.advance(61)
    await assert.rejects(service.authenticate(births, { chain: [foreign], basic: undefined }))
    assert.equal(await refusals(), 61)
    const [last] = await ca.context.db.query('SELECT facts FROM audit_entry ORDER BY id DESC LIMIT 1')
    assert.match(last?.['facts'] as string, /"unrecorded":40/)
    await service.authenticate(owners, { chain: [foreign], basic: undefined })
  })

  test('RFC 7030, 4.2.2: a renewal keeps its names and may bring a new key', async () => {
    await using ca = await testCA()
    const { service, owners, born } = await plant(ca)
    const birth = await service.authenticate(owners, { chain: [await born('A-1')], basic: undefined })
    const uri = san({ type: 'uniformResourceIdentifier', value: 'urn:device:A-1' })
    const first = (await service.enroll({
      endpoint: owners,
      operation: 'enroll',
      request: await testRequest({ subject: own, extensions: uri }),
      identity: birth,
    })) as IssuedAnswer
    const current = await service.authenticate(owners, { chain: [first.certificate], basic: undefined })
    const renewed = (await service.enroll({
      endpoint: owners,
      operation: 'reenroll',
      request: await testRequest({ subject: own }),
      identity: current,
    })) as IssuedAnswer
    assert.deepEqual(extensionOf(parseCertificate(renewed.certificate), subjectAltName)?.value, [
      { type: 'uniformResourceIdentifier', value: 'urn:device:A-1' },
    ])
    const changed = await testRequest({ subject: [own[1] as (typeof own)[0]] })
    await assert.rejects(service.enroll({ endpoint: owners, operation: 'reenroll', request: changed, identity: current }), {
      reason: 'renewalChangesNames',
    })
    await assert.rejects(
      service.enroll({ endpoint: owners, operation: 'reenroll', request: await testRequest({ subject: own }), identity: birth }),
      { reason: 'nothingToRenew' },
    )
    const [newest, before] = await findCertificates(ca.context, { profile: 'ldevid' }, { limit: 2 })
    assert.deepEqual([newest?.state, before?.state], ['active', 'superseded'])
  })

  test('a registration authority asks for the serials that its endpoint lists, and no others', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const service = enrollment(ca.context, ca.authorities, allow)
    const stations = await createEndpoint(
      ca.context,
      { label: 'stations', protocol: 'est', authorityId: ca.authorities.byAddress('line1').id, profile: 'ra', rules: {} },
      person,
    )
    const station = (await service.enroll({
      endpoint: stations,
      operation: 'enroll',
      request: await testRequest({ subject: [{ type: 'CN', value: 'Station 7' }] }),
      identity: officer,
    })) as IssuedAnswer
    const fingerprint = new X509Certificate(station.certificate).fingerprint256.replaceAll(':', '').toLowerCase()
    const births = await birthEndpoint(ca, {
      clientIssuers: ['line1.1'],
      registrationAuthorities: [{ fingerprint, productSerials: ['L1-*'] }],
    })
    const identity = await service.authenticate(births, { chain: [station.certificate], basic: undefined })
    assert.equal(identity.kind, 'registration-authority')
    const ask = async (serial: string): Promise<unknown> =>
      service.enroll({
        endpoint: births,
        operation: 'enroll',
        request: await testRequest({ subject: [{ type: 'serialNumber', value: serial }] }),
        identity,
      })
    await ask('L1-0001')
    await assert.rejects(ask('L2-0001'), { code: 'forbidden', reason: 'productSerialNotListed' })
    const unlisted = await openEndpoint(ca.context, 'est', 'stations')
    await assert.rejects(
      service.authenticate(
        { ...unlisted, rules: { ...unlisted.rules, clientIssuers: ['line1.1'] } },
        { chain: [station.certificate], basic: undefined },
      ),
      {
        reason: 'certificateNotForEnrollment',
      },
    )
  })

  test('a device does not attest its own birth', async () => {
    await using ca = await testCA()
    const { service, births, born } = await plant(ca)
    const endpoint = { ...births, rules: { ...births.rules, clientIssuers: ['line1.1'] } }
    const identity = await service.authenticate(endpoint, { chain: [await born('A-1')], basic: undefined })
    const request = await testRequest({ subject: own })
    await assert.rejects(service.enroll({ endpoint, operation: 'enroll', request, identity }), {
      code: 'forbidden',
      reason: 'bornAlready',
    })
  })

  test('a request signed by another key proves nothing', async () => {
    await using ca = await testCA()
    const { service, births } = await plant(ca)
    const request = await testRequest({ subject: own, signedBy: testKey() })
    await assert.rejects(service.enroll({ endpoint: births, operation: 'enroll', request, identity: officer }), {
      code: 'badProof',
      reason: 'proofOfPossession',
    })
  })
})

test('R3: a revocation is in the next OCSP answer and in the next CRL', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { enroll } = enrollment(ca.context, ca.authorities, allow)
  const responder = ocsp(ca.context, ca.authorities)
  const endpoint = await birthEndpoint(ca)
  const answer = (await enroll({
    endpoint,
    operation: 'enroll',
    request: await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] }),
    identity: officer,
  })) as IssuedAnswer
  const certificate = parseCertificate(answer.certificate)
  const line = ca.authorities.byAddress('line1')
  const ask = async (): Promise<string> => {
    const certID = encodeCertID(issuerHashes(line.certificate, 'sha256'), certificate.serialNumber, 'sha256')
    const response = parseOCSPResponse((await responder.answer(encodeOCSPRequest([certID], Uint8Array.of(1, 2, 3)))).der)
    assert.ok(response.type === 'answer')
    assert.deepEqual(response.answer.nonce, Uint8Array.of(1, 2, 3))
    const signer = parseCertificate(response.answer.certs[0] as Uint8Array)
    assert.ok(await verifyCertificateSignature(signer, line.publicKey))
    const status = response.answer.responses[0]?.status
    return status?.type === 'revoked' ? `revoked: ${status.reason}` : (status?.type ?? 'none')
  }
  assert.equal(await ask(), 'good')
  assert.equal(await issueDueCRLs(ca.context, ca.authorities.list()), 2)
  assert.equal((await latestCRL(ca.context, line, 0)).entries, 0)
  await revokeCertificate(ca.context, answer.certificateId, 'keyCompromise', person)
  assert.equal(await ask(), 'revoked: keyCompromise')
  assert.equal(await issueDueCRLs(ca.context, ca.authorities.list()), 0, 'many revocations, one CRL')
  ca.advance(61)
  assert.equal(await issueDueCRLs(ca.context, ca.authorities.list()), 1)
  const list = parseCertificateList((await latestCRL(ca.context, line, 0)).der)
  assert.ok(await verifyListSignature(list, line.publicKey))
  assert.equal((await issueCRL(ca.context, line, 0, person)).crlNumber, 3)
  assert.equal(serialHex(certificate).length, 32)
})
