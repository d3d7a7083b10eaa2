/** Ways to get a certificate that one may not have, each of which must end in its refusal. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { GeneralName } from '#x509/extensions/general-name.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, type NamePart, nameOf } from '#x509/name.ts'
import { issueForRequest } from './by-hand.ts'
import { findCertificates } from './certificates.ts'
import { createEndpoint, createEnrollmentSecret, type Endpoint, type EndpointRules } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { hierarchy, person, type TestCA, testCA, testKey, type TestRequest, testRequest } from './testing.ts'

const allow = async (): Promise<void> => {}
const hardwareType = '1.3.6.1.4.1.99999.7.1'
const officer: Identity = { kind: 'person', principalId: 'officer' }

const endpointFor = (ca: TestCA, profile: string, rules: Partial<EndpointRules> = {}): Promise<Endpoint> =>
  createEndpoint(
    ca.context,
    {
      label: profile,
      protocol: 'est',
      authorityId: ca.authorities.byAddress('line1').id,
      profile,
      rules: { hardwareType, secrets: true, ...rules },
    },
    person,
  )

/** One request with a one-time secret of its own. */
async function askWithSecret(ca: TestCA, endpoint: Endpoint, wanted: TestRequest, productSerial?: string): Promise<IssuedAnswer> {
  const service = enrollment(ca.context, ca.authorities, allow)
  const { userName, password } = await createEnrollmentSecret(
    ca.context,
    { endpointId: endpoint.id, validSeconds: 600, ...(productSerial !== undefined && { productSerial }) },
    person,
  )
  const identity = await service.authenticate(endpoint, { chain: [], basic: { userName, password } })
  return (await service.enroll({ endpoint, operation: 'enroll', request: await testRequest(wanted), identity })) as IssuedAnswer
}

const serial = (value: string): NamePart => ({ type: 'serialNumber', value })
const issued = async (ca: TestCA, profile: string): Promise<number> =>
  (await findCertificates(ca.context, { profile }, { limit: 100 })).length

describe('R17: who may have certificates issued does not become an authority by it', () => {
  for (const [authority, profile] of [
    ['root', 'issuing'],
    ['root', 'root'],
    ['line1', 'ocsp-responder'],
  ] as const) {
    test(`${profile} below ${authority}, for a key from elsewhere`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const before = await issued(ca, profile)
      const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Mine' }] })
      await assert.rejects(issueForRequest(ca.context, ca.authorities, { authority, profile }, der, person), {
        code: 'policyRefused',
        reason: 'profileForAuthorities',
      })
      assert.equal(await issued(ca, profile), before)
      assert.equal((await ca.entries()).at(-1)?.reason, 'profileForAuthorities')
    })
  }
})

describe('who asks for one device does not get the name of another', () => {
  for (const [what, productSerial] of [
    ['a secret for A-1', 'A-1'],
    ['a secret for whoever has it', undefined],
  ] as const) {
    test(`${what} and the common name A-2`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointFor(ca, 'ldevid')
      const named = (value: string): readonly NamePart[] => [{ type: 'CN', value }, serial('A-1')]
      await assert.rejects(askWithSecret(ca, endpoint, { subject: named('A-2') }, productSerial), {
        code: 'forbidden',
        reason: 'foreignSubject',
      })
      await askWithSecret(ca, endpoint, { subject: named('A-1') }, productSerial)
      assert.equal(await issued(ca, 'ldevid'), 1)
    })
  }

  test('a person may write a common name', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await endpointFor(ca, 'ldevid')
    const request = await testRequest({ subject: [{ type: 'CN', value: 'Press' }, serial('A-1')] })
    await enrollment(ca.context, ca.authorities, allow).enroll({ endpoint, operation: 'enroll', request, identity: officer })
    assert.equal(await issued(ca, 'ldevid'), 1)
  })
})

describe('one product serial has one spelling', () => {
  const unusual: readonly (readonly [what: string, value: string, refusal: { code: string; reason: string }])[] = [
    ['a space behind it', 'A-1 ', { code: 'policyRefused', reason: 'productSerialSpaces' }],
    ['a space before it', ' A-1', { code: 'policyRefused', reason: 'productSerialSpaces' }],
    ['two spaces in it', 'A  1', { code: 'policyRefused', reason: 'productSerialSpaces' }],
    ['nothing but a space', ' ', { code: 'policyRefused', reason: 'productSerialSpaces' }],
  ]
  for (const [what, value, refusal] of unusual) {
    test(`refused: ${what}`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointFor(ca, 'idevid')
      await assert.rejects(askWithSecret(ca, endpoint, { subject: [serial(value)] }), refusal)
      assert.equal(await issued(ca, 'idevid'), 0)
    })
  }

  test('a birth under another case is a birth of the same device', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await endpointFor(ca, 'idevid')
    const key = testKey()
    await askWithSecret(ca, endpoint, { subject: [serial('SN-1a')], key })
    await assert.rejects(askWithSecret(ca, endpoint, { subject: [serial('sn-1A')] }), { reason: 'productHasAnotherKey' })
    await assert.rejects(askWithSecret(ca, endpoint, { subject: [serial('sn-1A')], key }), { reason: 'keyOfAnotherProduct' })
    assert.equal(await issued(ca, 'idevid'), 1)
  })

  test('also when both are born at once', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await endpointFor(ca, 'idevid')
    const settled = await Promise.allSettled(
      ['SN-1', 'sn-1', 'Sn-1'].map((value) => askWithSecret(ca, endpoint, { subject: [serial(value)] })),
    )
    const refused = settled.filter((one) => one.status === 'rejected').map(({ reason }) => (reason as { reason: string }).reason)
    assert.deepEqual(refused, ['productHasAnotherKey', 'productHasAnotherKey'])
    assert.equal(await issued(ca, 'idevid'), 1)
  })

  // RFC 5280, A.1 has a PrintableString here, but a request may say UTF8String: full-width, Cyrillic, decomposed, empty.
  for (const value of ['Ａ-1', 'А-1', 'e\u0301-1', 'A-1\u00a0', 'A-1\u200b', '']) {
    test(`refused: ${JSON.stringify(value)} as UTF8String`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointFor(ca, 'idevid')
      const subject = encodeName([[{ type: '2.5.4.5', value, encoding: 'utf8String' }]])
      const request = { ...(await testRequest({ subject: [serial('A-1')] })), subject }
      const { enroll } = enrollment(ca.context, ca.authorities, allow)
      await assert.rejects(
        enroll({ endpoint, operation: 'enroll', request, identity: officer }),
        ({ code }: { code: string }) => code === 'policyRefused' || code === 'malformed',
      )
      assert.equal(await issued(ca, 'idevid'), 0)
    })
  }
})

describe('a pattern of host names lists hosts', () => {
  const ask = async (name: string): Promise<number> => {
    await using ca = await testCA()
    await hierarchy(ca)
    const endpoint = await endpointFor(ca, 'tls-server', { names: ['*.plant.example'] })
    const names: readonly GeneralName[] = [{ type: 'dNSName', value: name }]
    await askWithSecret(ca, endpoint, { subject: [], extensions: [extensionWith(subjectAltName, names)] })
    return await issued(ca, 'tls-server')
  }
  test('one host', async () => assert.equal(await ask('scada.plant.example'), 1))
  for (const name of ['*.plant.example', '*.line1.plant.example', 'plant.example', 'scada.plant.example.evil.example']) {
    test(`refused: ${name}`, async () => {
      await assert.rejects(ask(name), { code: 'forbidden', reason: 'foreignName' })
    })
  }
})

test('a name of one level with two values is refused', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const endpoint = await endpointFor(ca, 'idevid')
  const [one, two] = [nameOf([serial('A-1')]), nameOf([serial('A-2')])]
  const subject = encodeName([[...(one[0] ?? []), ...(two[0] ?? [])]])
  const request = { ...(await testRequest({ subject: [serial('A-1')], key: testKey() })), subject }
  const { enroll } = enrollment(ca.context, ca.authorities, allow)
  await assert.rejects(enroll({ endpoint, operation: 'enroll', request, identity: officer }), { reason: 'subjectMultiValued' })
})

describe('R2: a product serial does not make its device a host of that name', () => {
  const asking = (value: string): TestRequest => ({
    subject: [serial(value)],
    extensions: [extensionWith(subjectAltName, [{ type: 'dNSName', value }] satisfies GeneralName[])],
  })
  for (const [value, refused] of [
    ['press-7', undefined],
    ['scada.plant.example', { code: 'forbidden', reason: 'foreignName' }],
    ['192.0.2.1', { code: 'policyRefused', reason: 'nameSyntax' }],
    ['4711', { code: 'policyRefused', reason: 'nameSyntax' }],
  ] as const) {
    test(value, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointFor(ca, 'ldevid')
      const answer = askWithSecret(ca, endpoint, asking(value))
      if (refused === undefined) await answer
      else await assert.rejects(answer, refused)
      assert.equal(await issued(ca, 'ldevid'), refused === undefined ? 1 : 0)
    })
  }
})
