/** When a certificate is on a CRL, and when a CRL is made. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { equal } from '#base/bytes.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { reasonCode } from '#x509/extensions/crl-extensions.ts'
import { readExtension } from '#x509/extensions/extension.ts'
import { issueForRequest } from './by-hand.ts'
import { holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import { issueCRL, issueDueCRLs, latestCRL } from './crl.ts'
import { hierarchy, person, type TestCA, testCA, testRequest } from './testing.ts'

const DAY_SECONDS = 86_400

interface Subject {
  readonly id: string
  /** What the newest CRL says of it: a reason, or undefined where it is not on the list. */
  listed(): Promise<string | undefined>
}

async function station(ca: TestCA): Promise<Subject> {
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station 1' }] })
  const where = { authority: 'line1', profile: 'ra' } // 365 days
  const issued = await issueForRequest(ca.context, ca.authorities, where, der, person)
  const { serialNumber } = parseCertificate(issued.certificate)
  return {
    id: issued.certificateId,
    async listed() {
      const list = parseCertificateList((await latestCRL(ca.context, ca.authorities.byAddress('line1'), 0)).der)
      for (const entry of list.entries()) {
        if (equal(entry.serialNumber, serialNumber)) return readExtension(entry.extensions, reasonCode)?.value ?? 'unspecified'
      }
      return undefined
    },
  }
}

const due = (ca: TestCA): Promise<number> => issueDueCRLs(ca.context, [ca.authorities.byAddress('line1')])

test('RFC 5280, 3.3: a revoked certificate leaves the CRL only after one that was issued beyond its end', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { id, listed } = await station(ca)
  await revokeCertificate(ca.context, id, 'keyCompromise', person)
  ca.advance(364 * DAY_SECONDS)
  await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, person)
  assert.equal(await listed(), 'keyCompromise')
  ca.advance(3 * DAY_SECONDS) // two days beyond its end, and no list was issued in between
  assert.equal(await due(ca), 0)
  ca.advance(DAY_SECONDS)
  assert.equal(await due(ca), 1)
  assert.equal(await listed(), 'keyCompromise', 'the first list beyond its end still names it')
  ca.advance(61)
  assert.equal(await due(ca), 1)
  assert.equal(await listed(), undefined)
  ca.advance(61)
  assert.equal(await due(ca), 0, 'nothing changed since')
})

test('a hold that becomes a revocation is in the next CRL, and so is a release', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { id, listed } = await station(ca)
  const next = async (): Promise<string | undefined> => {
    ca.advance(61)
    assert.equal(await due(ca), 1)
    ca.advance(61)
    assert.equal(await due(ca), 0)
    return listed()
  }
  await holdCertificate(ca.context, id, person)
  assert.equal(await next(), 'certificateHold')
  await releaseCertificate(ca.context, id, person)
  assert.equal(await next(), undefined)
  await holdCertificate(ca.context, id, person)
  assert.equal(await next(), 'certificateHold')
  await revokeCertificate(ca.context, id, 'keyCompromise', person)
  assert.equal(await next(), 'keyCompromise')
})

test('an authority whose key is gone does not keep the others from their CRLs', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [root, line] = ca.authorities.list()
  assert.ok(root && line)
  await ca.context.keys.destroy(root.keyLabel)
  await assert.rejects(issueDueCRLs(ca.context, [root, line]), { reason: 'keyNotFound' })
  assert.equal((await latestCRL(ca.context, line, 0)).crlNumber, 1)
})
