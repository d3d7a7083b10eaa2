/** Who may take out of use what others stand on, and what is kept of those who tried. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Role } from '#access/rights.ts'
import { findCertificates } from '#ca/certificates.ts'
import { createEndpoint } from '#ca/endpoint.ts'
import { enrollment, type Identity, type IssuedAnswer } from '#ca/enrollment.ts'
import { openAuthorities } from '#ca/authorities.ts'
import { hierarchy, person, type TestCA, testCA, testRequest } from '#ca/testing.ts'
import type { CAServices } from '../compose.ts'
import { authorityLifeRoutes } from './authority-life.ts'
import { authorityRoutes } from './authorities.ts'
import { certificateRoutes } from './certificates.ts'
import { keyRoutes } from './keys.ts'
import type { Call, Route } from './route.ts'

const callOf = (role: Role): Call => ({
  actor: `person:${role}`,
  principal: { id: role, kind: 'person', name: role, state: 'active', roles: [role], createdAt: new Date(0) },
  requestId: 'r',
})

async function call(ca: TestCA, id: string, role: Role, input: object): Promise<unknown> {
  const services = ca as unknown as CAServices
  const routes: readonly Route[] = [
    ...certificateRoutes(services),
    ...keyRoutes(
      { ...services, keys: ca.context.keys } as never,
      async () => false,
      (_act, _call, work) => work(),
    ),
    ...authorityRoutes(services),
    ...authorityLifeRoutes(
      services,
      async () => {},
      (_act, _call, work) => work(),
    ),
  ] as never
  const route = routes.find((one) => one.id === id) ?? assert.fail(id)
  return route.handle(callOf(role), { params: {}, query: {}, body: {}, ...input })
}

const owners = (ca: TestCA) =>
  createEndpoint(
    ca.context,
    {
      label: 'owners',
      protocol: 'est',
      authorityId: ca.authorities.byAddress('line1').id,
      profile: 'ldevid',
      rules: { clientIssuers: ['line1.1'] },
    },
    person,
  )

test("R17: an authority's own certificate is for those who manage authorities, and the attempt is in the audit log", async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [record] = await findCertificates(ca.context, { profile: 'issuing' }, { limit: 1 })
  assert.ok(record)
  const params = { id: record.id }
  for (const id of ['revokeCertificate', 'holdCertificate', 'releaseCertificate']) {
    await assert.rejects(call(ca, id, 'service', { params }), { code: 'forbidden', reason: 'permissionMissing' })
    assert.deepEqual((await ca.entries()).at(-1), {
      act: 'certificate.change',
      outcome: 'refused',
      reason: 'permissionMissing',
      actor: 'person:service',
    })
  }
  assert.equal(ca.authorities.byAddress('line1').state, 'active')
})

test('R3: a revoked authority issues nothing more, and nobody enrolls with what it issued; after a restart too', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const endpoint = await owners(ca)
  const officer: Identity = { kind: 'person', principalId: 'officer' }
  const subject = [{ type: 'serialNumber', value: 'A-1' }]
  const ask = async (authorities = ca.authorities): Promise<IssuedAnswer> => {
    const { enroll } = enrollment(ca.context, authorities, async () => {})
    return (await enroll({
      endpoint,
      operation: 'enroll',
      request: await testRequest({ subject }),
      identity: officer,
    })) as IssuedAnswer
  }
  const { certificate } = await ask()
  const show = (authorities = ca.authorities): Promise<Identity> =>
    enrollment(ca.context, authorities, async () => {}).authenticate(endpoint, { chain: [certificate], basic: undefined })
  const [record] = await findCertificates(ca.context, { profile: 'issuing' }, { limit: 1 })
  const params = { id: record?.id }
  await call(ca, 'holdCertificate', 'pki-officer', { params })
  await assert.rejects(ask(), { code: 'unavailable', reason: 'authorityRetired' })
  await call(ca, 'releaseCertificate', 'pki-officer', { params })
  await ask()
  await show()
  await call(ca, 'revokeCertificate', 'pki-officer', { params, body: { reason: 'cACompromise' } })
  for (const authorities of [ca.authorities, await openAuthorities(ca.context)]) {
    await assert.rejects(ask(authorities), { code: 'unavailable', reason: 'authorityRetired' })
    await assert.rejects(show(authorities), { code: 'forbidden', reason: 'issuerRevoked' })
    assert.equal(authorities.byAddress('line1').state, 'revoked')
    assert.equal(authorities.byAddress('root').state, 'active')
  }
})

test('who reaches for a key of the installation itself is in the audit log', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const label = ca.authorities.byAddress('line1').keyLabel
  for (const [id, act] of [
    ['destroyKey', 'key.destroy'],
    ['createKey', 'key.create'],
  ]) {
    const body = { label, keyAlgorithm: 'ecdsa-p256' }
    await assert.rejects(call(ca, id as string, 'pki-officer', { body }), { code: 'forbidden', reason: 'keyInUse' })
    assert.deepEqual((await ca.entries()).at(-1), { act, outcome: 'refused', reason: 'keyInUse', actor: 'person:pki-officer' })
  }
  await ca.context.keys.open(label)
})

test('the log knows of a key before the key store does, so that no crash leaves an act without its entry', async () => {
  await using ca = await testCA()
  const label = 'release-1'
  await call(ca, 'createKey', 'pki-officer', { body: { label, keyAlgorithm: 'ecdsa-p256' } })
  await call(ca, 'destroyKey', 'pki-officer', { body: { label } })
  const acts = (await ca.entries()).map(({ act, outcome }) => `${act} ${outcome}`)
  assert.deepEqual(acts, ['key.create.begin done', 'key.create done', 'key.destroy.begin done', 'key.destroy done'])
  const { db } = ca.context
  await db.transaction((tx) => tx.query('DROP TABLE audit_entry')) // no entry can be written
  await assert.rejects(call(ca, 'createKey', 'pki-officer', { body: { label: 'release-2', keyAlgorithm: 'ecdsa-p256' } }))
  assert.deepEqual(await ca.context.keys.list(), [])
})

test('decision 9: making keys and authorities that is refused is in the audit log, whatever the reason', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const label = 'release-1'
  await call(ca, 'createKey', 'pki-officer', { body: { label, keyAlgorithm: 'ecdsa-p256' } })
  const attempts: readonly [id: string, body: object, act: string, reason: string][] = [
    ['createKey', { label, keyAlgorithm: 'ecdsa-p256' }, 'key.create', 'keyLabelTaken'],
    ['createKey', { label: 'release-2', keyAlgorithm: 'md5-rsa' }, 'key.create', 'keyAlgorithm'],
    ['createAuthority', { slug: 'line1', name: 'CN=x', issuer: 'root' }, 'ca.create', 'authorityTaken'],
    ['createAuthority', { slug: 'line2', name: 'CN=x', profile: 'tls-server' }, 'ca.create', 'profileNotForAuthorities'],
  ]
  for (const [id, body, act, reason] of attempts) {
    await assert.rejects(call(ca, id, 'pki-officer', { body }), { reason })
    assert.deepEqual((await ca.entries()).at(-1), { act, outcome: 'refused', reason, actor: 'person:pki-officer' })
  }
})

test('text that is not whole base64 is refused as such, wherever octets are asked for', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const params = { address: 'line1', slug: 'line1' }
  const odd = 'AAAAA'
  for (const [id, body] of [
    ['crossSign', { request: odd }],
    ['crossSign', { certificate: odd }],
    ['importCrossCertificate', { certificate: odd }],
    ['importAuthorityCertificate', { certificate: odd }],
    ['trustAuthority', { slug: 'acme', kind: 'foreign', certificate: odd }],
    ['importCRL', { crl: odd }],
    ['importKey', { label: 'release-1', privateKey: odd }],
  ] as const)
    await assert.rejects(call(ca, id, 'pki-officer', { params, body }), { code: 'malformed', reason: 'notBase64' }, id)
})
