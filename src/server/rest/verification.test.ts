/** What the route says of certificates of this installation, of others, and of what is none. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateAndIssue } from '#ca/by-hand.ts'
import { findCertificates, revokeCertificate } from '#ca/certificates.ts'
import { hierarchy, person, testCA, type TestCA } from '#ca/testing.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { nameOf } from '#x509/name.ts'
import type { CAServices } from '../compose.ts'
import type { InputOf } from './client.ts'
import type { Call } from './route.ts'
import { verificationRoutes } from './verification.ts'

const call: Call = { actor: person, principal: undefined, requestId: 'r' }

const verify = (ca: TestCA, body: InputOf<'verifyCertificate'>['body']) => {
  const [route] = verificationRoutes(ca as unknown as CAServices)
  assert.ok(route)
  return route.handle(call, { params: {}, query: {}, body })
}

async function issueServer(ca: TestCA): Promise<Uint8Array> {
  await hierarchy(ca)
  const wanted = {
    authority: 'line1',
    profile: 'tls-server',
    subject: nameOf([{ type: 'CN', value: 'press7.plant.example' }]),
    names: [{ type: 'dNSName', value: 'press7.plant.example' }],
    keyAlgorithm: 'ecdsa-p256',
  } as const
  const { certificate } = await generateAndIssue(ca.context, ca.authorities, wanted, person)
  return certificate
}

test('R1: POST /api/v1/certificates/verify', async () => {
  await using ca = await testCA()
  const der = await issueServer(ca)
  const certificates = [der.toBase64()]
  const good = await verify(ca, { certificates, purpose: 'tls-server', name: 'dns:press7.plant.example' })
  assert.deepEqual(
    [good.valid, good.reason, good.path.map(({ revocation }) => revocation)],
    [true, null, ['unasked', 'good', 'good']],
  )
  const other = await verify(ca, { certificates, name: 'dns:press8.plant.example' })
  assert.deepEqual([other.valid, other.reason, other.section], [false, 'pathPeerName', 'RFC 9525, 6'])
  const later = await verify(ca, { certificates, at: '2999-01-01T00:00:00Z' })
  assert.equal(later.reason, 'pathExpired')
  const policy = await verify(ca, { certificates, policies: ['1.2.3'] })
  assert.equal(policy.reason, 'pathPolicy')
  const [record] = await findCertificates(ca.context, { profile: 'tls-server' }, { limit: 1 })
  await revokeCertificate(ca.context, record?.id as string, 'superseded', person)
  assert.equal((await verify(ca, { certificates })).reason, 'pathRevoked')

  const stranger = await makeCertificate(makeKey())
  assert.equal((await verify(ca, { certificates: [stranger.toBase64()] })).reason, 'pathIssuerMissing')
  assert.equal((await verify(ca, { certificates: ['MAA='] })).reason, 'pathUnreadable')
  await assert.rejects(verify(ca, { certificates, name: 'press7' }), { code: 'malformed', reason: 'peerNameText' })
})
