/** What is taken away counts for requests under way, and what was used once is used. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findCertificates, holdCertificate, revokeCertificate } from './certificates.ts'
import { createEndpoint, createEnrollmentSecret, type Endpoint, type EndpointRules, openEndpoint } from './endpoint.ts'
import { type Authorize, enrollment, type Identity, type IssuedAnswer } from './enrollment.ts'
import { rekeyAuthority } from './rotate.ts'
import { hierarchy, person, type TestCA, testCA, testRequest } from './testing.ts'

const allow: Authorize = async () => {}
const officer: Identity = { kind: 'person', principalId: 'officer' }
const subject = [{ type: 'serialNumber', value: 'A-1' }]

const endpointFor = (ca: TestCA, rules: Partial<EndpointRules>): Promise<Endpoint> =>
  createEndpoint(
    ca.context,
    { label: 'owners', protocol: 'est', authorityId: ca.authorities.byAddress('line1').id, profile: 'ldevid', rules },
    person,
  )

const count = async (ca: TestCA): Promise<number> =>
  (await findCertificates(ca.context, { profile: 'ldevid' }, { limit: 9 })).length

describe('decision 10: a one-time secret, after the window in which its answer is repeated', () => {
  async function used(): Promise<{ ca: TestCA; again(): Promise<unknown>; first: IssuedAnswer }> {
    const ca = await testCA({ retryWindowSeconds: 60 })
    await hierarchy(ca)
    const service = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await endpointFor(ca, { secrets: true })
    const { userName, password } = await createEnrollmentSecret(
      ca.context,
      { endpointId: endpoint.id, validSeconds: 86_400 },
      person,
    )
    const request = await testRequest({ subject })
    const again = async (): Promise<unknown> => {
      const identity = await service.authenticate(endpoint, { chain: [], basic: { userName, password } })
      return service.enroll({ endpoint, operation: 'enroll', request, identity })
    }
    return { ca, again, first: (await again()) as IssuedAnswer }
  }

  test('does not issue for the same request again', async () => {
    const { ca, again } = await used()
    await using _ = ca
    await again()
    ca.advance(61)
    await assert.rejects(again(), { code: 'forbidden', reason: 'secretUsed' })
    assert.equal(await count(ca), 1)
  })

  test('does not replace what was revoked', async () => {
    const { ca, again, first } = await used()
    await using _ = ca
    await revokeCertificate(ca.context, first.certificateId, 'keyCompromise', person)
    await assert.rejects(again(), { code: 'forbidden', reason: 'answerRevoked' })
    ca.advance(61)
    await assert.rejects(again(), { code: 'forbidden', reason: 'secretUsed' })
    assert.equal(await count(ca), 1)
  })

  test('of two requests at once one is answered', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const service = enrollment(ca.context, ca.authorities, allow)
    const endpoint = await endpointFor(ca, { secrets: true })
    const { userName, password } = await createEnrollmentSecret(ca.context, { endpointId: endpoint.id, validSeconds: 60 }, person)
    const identity = await service.authenticate(endpoint, { chain: [], basic: { userName, password } })
    const settled = await Promise.allSettled(
      [1, 2, 3].map(async () =>
        service.enroll({ endpoint, operation: 'enroll', request: await testRequest({ subject }), identity }),
      ),
    )
    assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(await count(ca), 1)
  })
})

describe('R2: a certificate that is taken out of use while its holder enrolls with it', () => {
  for (const [what, takeAway, reason] of [
    ['revoked', (ca: TestCA, id: string) => revokeCertificate(ca.context, id, 'keyCompromise', person), 'certificateRevoked'],
    ['held', (ca: TestCA, id: string) => holdCertificate(ca.context, id, person), 'certificateHeld'],
  ] as const) {
    test(`gets nothing more once it is ${what}`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const endpoint = await endpointFor(ca, { clientIssuers: ['line1.1'] })
      const plain = enrollment(ca.context, ca.authorities, allow)
      const first = (await plain.enroll({
        endpoint,
        operation: 'enroll',
        request: await testRequest({ subject }),
        identity: officer,
      })) as IssuedAnswer
      // the last question before the signature: the officer acts while it is being answered
      const slow = enrollment(ca.context, ca.authorities, () => takeAway(ca, first.certificateId))
      const identity = await slow.authenticate(endpoint, { chain: [first.certificate], basic: undefined })
      const request = await testRequest({ subject })
      await assert.rejects(slow.enroll({ endpoint, operation: 'reenroll', request, identity }), { code: 'forbidden', reason })
      assert.equal(await count(ca), 1)
      assert.equal((await ca.entries()).at(-1)?.reason, reason)
    })
  }
})

test('R8: an authority that gets a new key while a device enrolls issues nothing more with its former one', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const endpoint = await endpointFor(ca, {})
  const rekey: Authorize = async () => void (await rekeyAuthority(ca.context, ca.authorities, 'line1', {}, person))
  const slow = enrollment(ca.context, ca.authorities, rekey)
  const request = await testRequest({ subject })
  const input = { operation: 'enroll', request, identity: officer } as const
  await assert.rejects(slow.enroll({ ...input, endpoint }), { code: 'unavailable', reason: 'authorityRetired' })
  assert.equal(await count(ca), 0)
  const again = await openEndpoint(ca.context, 'est', 'owners')
  const answer = (await enrollment(ca.context, ca.authorities, allow).enroll({ ...input, endpoint: again })) as IssuedAnswer
  assert.deepEqual(answer.chain[0], ca.authorities.byAddress('line1.2').certificate.der)
})
