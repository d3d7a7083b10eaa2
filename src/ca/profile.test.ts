import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { certificatePolicies } from '#x509/extensions/certificate-policies.ts'
import { crlDistributionPoints } from '#x509/extensions/crl-distribution-points.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { formatName, nameOf, parseName } from '#x509/name.ts'
import { createEndpoint } from './endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { parseProfile, type Profile } from './profile.ts'
import { listProfiles, openProfile, putProfile } from './profiles.ts'
import { idevid } from './profiles/idevid.ts'
import { issuing } from './profiles/issuing.ts'
import { ldevid } from './profiles/ldevid.ts'
import { profiles } from './profiles/registry.ts'
import { hierarchy, person, testCA, testRequest } from './testing.ts'

const officer: Identity = { kind: 'person', principalId: 'officer' }

/** @returns what is wrong with it */
function problemsOf(value: unknown): string {
  try {
    parseProfile(value)
    return ''
  } catch (error) {
    assert.ok(error instanceof TrustError && error.code === 'malformed' && error.reason === 'profileMalformed')
    return String(error.facts['problems'])
  }
}

describe('a profile is checked before it is kept', () => {
  test('the built-in ones pass', () => {
    for (const profile of profiles) assert.equal(problemsOf(profile), '', profile.id)
  })

  const contradictions: readonly [name: string, profile: object, problem: RegExp][] = [
    ['a key algorithm that is not offered', { ...ldevid, keyAlgorithms: ['ecdsa-p256', 'dsa-1024'] }, /dsa-1024 is not offered/],
    ['a device that signs certificates', { ...ldevid, keyUsage: ['keyCertSign'] }, /keyCertSign is for authorities/],
    ['an authority that does not', { ...issuing, keyUsage: ['cRLSign'] }, /keyCertSign is for authorities/],
    ['a device with a path length', { ...ldevid, pathLenConstraint: 0 }, /only an authority has one/],
    ['a birth without product serial', { ...idevid, subject: { CN: 'required' } }, /a birth needs serialNumber/],
    [
      'a hardware name without product serial',
      { ...ldevid, subject: {}, subjectAltName: { presence: 'required', hardwareModuleName: true } },
      /hardwareModuleName is made from serialNumber/,
    ],
  ]
  for (const [name, profile, problem] of contradictions) {
    test(`contradiction: ${name}`, () => assert.match(problemsOf(profile), problem))
  }

  const malformed: readonly [name: string, profile: object, place: RegExp][] = [
    ['an id that is no word', { ...ldevid, id: 'Plant 1' }, /\/id/],
    ['no title', { ...ldevid, title: '' }, /\/title/],
    ['an unknown holder', { ...ldevid, holder: 'pump' }, /\/holder/],
    ['no key algorithm', { ...ldevid, keyAlgorithms: [] }, /\/keyAlgorithms/],
    ['no validity', { ...ldevid, validity: {} }, /\/validity/],
    ['a validity of nothing', { ...ldevid, validity: { days: 0 } }, /\/validity/],
    ['a validity longer than a century', { ...ldevid, validity: { days: 36_526 } }, /\/validity/],
    ['both an end and none', { ...ldevid, validity: { days: 1, noExpiry: true } }, /\/validity/],
    ['an unknown key usage', { ...ldevid, keyUsage: ['openDoors'] }, /\/keyUsage/],
    ['a key purpose by name', { ...ldevid, extendedKeyUsage: ['clientAuth'] }, /\/extendedKeyUsage/],
    ['a key purpose twice', { ...ldevid, extendedKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.2'] }, /\/extendedKeyUsage/],
    ['an attribute that is forbidden', { ...ldevid, subject: { CN: 'forbidden' } }, /\/subject/],
    ['an unknown setting', { ...ldevid, maxPathLen: 3 }, /maxPathLen|additional/i],
    ['an unknown kind of name', { ...ldevid, subjectAltName: { presence: 'optional', faxNumber: 'any' } }, /subjectAltName/],
  ]
  for (const [name, profile, place] of malformed) {
    test(`malformed: ${name}`, () => assert.match(problemsOf(profile), place))
  }

  test('every problem is named at once', () => {
    const problems = problemsOf({ ...ldevid, keyUsage: ['keyCertSign'], keyAlgorithms: ['dsa-1024'], pathLenConstraint: 1 })
    assert.equal(problems.split('; ').length, 3, problems)
  })

  test('whatever JSON holds is taken or refused in words', () => {
    const changed = fc.tuple(fc.constantFrom(...Object.keys(ldevid), 'other'), fc.jsonValue()).map(([key, value]) => ({
      ...ldevid,
      [key]: value,
    }))
    fc.assert(fc.property(fc.oneof(fc.jsonValue(), changed), (value) => typeof problemsOf(value) === 'string'))
  })
})

describe("profiles of the installation's own", () => {
  const mine: Profile = { ...ldevid, id: 'plant', title: 'Plant', validity: { days: 30 } }

  test('a built-in one stays as it is', async () => {
    await using ca = await testCA()
    for (const { id } of profiles) {
      await assert.rejects(putProfile(ca.context, { ...mine, id }, person), { code: 'conflict', reason: 'profileBuiltIn' })
      assert.equal(
        await openProfile(ca.context, id),
        profiles.find((profile) => profile.id === id),
      )
    }
    assert.equal((await listProfiles(ca.context)).length, profiles.length)
  })

  test('one is added, listed after the built-in ones, replaced, and each is in the audit log', async () => {
    await using ca = await testCA()
    await assert.rejects(openProfile(ca.context, 'plant'), { code: 'notFound', reason: 'profileUnknown' })
    assert.deepEqual(await putProfile(ca.context, mine, person), mine)
    assert.deepEqual(await openProfile(ca.context, 'plant'), mine)
    await putProfile(ca.context, { ...mine, validity: { days: 7 } }, person)
    const listed = await listProfiles(ca.context)
    assert.equal(listed.length, profiles.length + 1)
    assert.deepEqual(listed.at(-1), { profile: { ...mine, validity: { days: 7 } }, builtIn: false })
    await assert.rejects(putProfile(ca.context, { ...mine, keyUsage: ['keyCertSign'] }, person), { reason: 'profileMalformed' })
    assert.deepEqual((await openProfile(ca.context, 'plant')).validity, { days: 7 })
    const acts = (await ca.entries()).map(({ act, actor }) => `${act} ${actor}`)
    assert.deepEqual(acts, [`profile.put ${person}`, `profile.put ${person}`])
  })

  test('R3: an endpoint issues by it, and by its next form from the next request on', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const definition: Profile = {
      ...mine,
      keyUsage: ['digitalSignature', 'keyAgreement'],
      extendedKeyUsage: ['1.3.6.1.4.1.99999.42'],
      subject: { serialNumber: 'required', CN: 'required' },
      subjectFixed: { O: 'Müller Pumpen' },
      subjectAltName: { presence: 'required', dNSName: ['{productSerial}.plant.example'] },
      revocationPointers: false,
      subjectKeyIdentifier: false,
      certificatePolicies: ['1.3.6.1.4.1.99999.1', '2.23.133.11.1.1'],
    }
    await putProfile(ca.context, definition, person)
    const authorityId = ca.authorities.byAddress('line1').id
    const endpoint = await createEndpoint(ca.context, { label: 'p', protocol: 'est', authorityId, profile: 'plant' }, person)
    const { enroll } = enrollment(ca.context, ca.authorities, async () => {})
    const ask = async (value: string, name: string): Promise<ReturnType<typeof parseCertificate>> => {
      const request = await testRequest({
        subject: [
          { type: 'serialNumber', value },
          { type: 'CN', value: 'Press' },
        ],
        extensions: [extensionWith(subjectAltName, [{ type: 'dNSName', value: name }])],
      })
      const answer = (await enroll({ endpoint, operation: 'enroll', request, identity: officer })) as IssuedAnswer
      return parseCertificate(answer.certificate)
    }

    const certificate = await ask('A-1', 'a-1.PLANT.example') // host names do not differ by case
    assert.equal(formatName(parseName(certificate.subject)), 'O=Müller Pumpen,CN=Press,serialNumber=A-1')
    assert.deepEqual(extensionOf(certificate, keyUsage)?.value, ['digitalSignature', 'keyAgreement'])
    assert.deepEqual(extensionOf(certificate, extKeyUsage)?.value, ['1.3.6.1.4.1.99999.42'])
    assert.deepEqual(
      extensionOf(certificate, certificatePolicies)?.value.map(({ policyIdentifier }) => policyIdentifier),
      definition.certificatePolicies,
    )
    assert.equal(extensionOf(certificate, crlDistributionPoints), undefined)
    assert.equal(extensionOf(certificate, subjectKeyIdentifier), undefined)
    const days = (certificate.notAfter.getTime() - certificate.notBefore.getTime() - 60_000) / 86_400_000
    assert.equal(Math.round(days), 30)
    await assert.rejects(ask('A-2', 'a-1.plant.example'), { reason: 'foreignName' })

    await putProfile(ca.context, { ...definition, validity: { days: 3 }, subjectFixed: { O: 'Other' } }, person)
    const next = await ask('A-2', 'a-2.plant.example')
    assert.match(formatName(parseName(next.subject)), /^O=Other,/)
    assert.equal(Math.round((next.notAfter.getTime() - next.notBefore.getTime() - 60_000) / 86_400_000), 3)
  })

  test('R3: a third level below a root, by a profile that allows it', async () => {
    await using ca = await testCA()
    await putProfile(ca.context, { ...issuing, id: 'region', title: 'Region', pathLenConstraint: 1 }, person)
    const make = (slug: string, profile: string, issuer?: string): Promise<unknown> =>
      ca.authorities.create(
        {
          slug,
          name: nameOf([{ type: 'CN', value: slug }]),
          profile,
          keyAlgorithm: 'ecdsa-p256',
          ...(issuer !== undefined && { issuer }),
        },
        person,
      )
    await make('root', 'root')
    await make('europe', 'region', 'root')
    await make('line1', 'issuing', 'europe')
    await assert.rejects(make('below', 'issuing', 'line1'), { reason: 'lint' }, 'pathLenConstraint 0 allows no authority below')
    await assert.rejects(make('device', 'ldevid', 'line1'), { code: 'policyRefused', reason: 'profileNotForAuthorities' })
  })
})
