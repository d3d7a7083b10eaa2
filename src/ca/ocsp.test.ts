/** A responder lives no longer than its authority, and nobody makes keys by asking. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '#x509/ocsp.ts'
import { findCertificates } from './certificates.ts'
import { ocsp } from './ocsp.ts'
import { hierarchy, testCA } from './testing.ts'

const DAY_SECONDS = 86_400
const ISSUING_DAYS = 3653

test('RFC 6960: an authority answers to its last day, by a responder that ends with it, and then makes no more keys', async () => {
  await using ca = await testCA()
  await hierarchy(ca, { noExpiry: false })
  const line = ca.authorities.byAddress('line1')
  const responder = ocsp(ca.context, ca.authorities)
  const question = encodeOCSPRequest([encodeCertID(issuerHashes(line.certificate, 'sha256'), Uint8Array.of(1), 'sha256')])
  ca.advance((ISSUING_DAYS - 10) * DAY_SECONDS)
  const answer = parseOCSPResponse((await responder.answer(question)).der)
  assert.ok(answer.type === 'answer')
  const signer = parseCertificate(answer.answer.certs[0] as Uint8Array)
  assert.deepEqual(signer.notAfter, line.certificate.notAfter)
  const keys = (await ca.context.keys.list()).length
  ca.advance(11 * DAY_SECONDS)
  for (let i = 0; i < 3; i++) await assert.rejects(responder.answer(question), { code: 'unavailable' })
  assert.equal((await ca.context.keys.list()).length, keys)
})

test('an authority that cannot have a responder does not keep the others from theirs', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [root] = ca.authorities.list()
  await ca.context.keys.destroy(root?.keyLabel ?? '')
  const responder = ocsp(ca.context, ca.authorities)
  await assert.rejects(responder.renewResponders(), { reason: 'keyNotFound' })
  const made = await findCertificates(ca.context, { profile: 'ocsp-responder' }, { limit: 9 })
  assert.deepEqual(
    made.map(({ authorityId }) => authorityId),
    [ca.authorities.byAddress('line1').id],
  )
})
