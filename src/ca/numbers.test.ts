/** Numbers that must never come twice, while many ask at once and whatever the clock and chance do. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { importPublicKey } from '#algorithms/public-key.ts'
import type { World } from '#base/world.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { extensionOfList, parseCertificateList } from '#x509/crl.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { openAuthorities } from './authorities.ts'
import { issueForRequest } from './by-hand.ts'
import { findCertificates, openCertificate, revokeCertificate } from './certificates.ts'
import type { CAContext } from './context.ts'
import { issueCRL, issueDueCRLs, latestCRL } from './crl.ts'
import { rehearse } from './issue.ts'
import { registrationAuthority } from './profiles/registration-authority.ts'
import type { Plan } from './request-rules.ts'
import { hierarchy, person, type TestCA, testCA, testKey, testRequest } from './testing.ts'

const worldOf = (ca: TestCA, world: Partial<World>): CAContext => ({ ...ca.context, world: { ...ca.context.world, ...world } })

function planFor(ca: TestCA): Plan {
  const name = nameOf([{ type: 'CN', value: 'Station 1' }])
  return {
    authority: ca.authorities.byAddress('line1'),
    profile: registrationAuthority,
    publicKey: importPublicKey(testKey().spki),
    subject: encodeName(name),
    subjectText: 'CN=Station 1',
    productSerial: undefined,
    subjectAltName: undefined,
  }
}

test('serial numbers differ within one moment, and are positive, of 16 octets', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const now = ca.context.world.clock.now()
  const context = worldOf(ca, { clock: { now: () => now } })
  const plan = planFor(ca)
  const serials = new Set<string>()
  for (let i = 0; i < 2000; i++) {
    const { serialNumber } = rehearse(context, plan).record
    assert.equal(serialNumber.length, 16)
    serials.add(serialNumber.toHex())
  }
  assert.equal(serials.size, 2000)
})

test('RFC 5280, 4.1.2.2: whatever the clock says and chance gives, a serial number is positive and has its full length', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const authority = ca.authorities.byAddress('line1')
  const from = authority.certificate.notBefore.getTime() + 120_000
  const plan = planFor(ca)
  const time = fc.integer({ min: from, max: Date.UTC(9990, 0, 1) })
  const drawn = fc.oneof(fc.constant(0x00), fc.constant(0xff), fc.integer({ min: 0, max: 255 }))
  fc.assert(
    fc.property(time, drawn, (now, octet) => {
      const random = { octets: (count: number) => new Uint8Array(count).fill(octet) }
      const { serialNumber } = rehearse(worldOf(ca, { clock: { now: () => now }, random }), plan).record
      assert.equal(serialNumber.length, 16)
      const [first = 0] = serialNumber
      assert.ok(first > 0 && first < 0x80)
      assert.ok(
        serialNumber.subarray(6).every((one) => one === octet),
        '80 bits of chance',
      )
    }),
  )
})

test('a serial number that chance gave twice is not issued twice', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const now = ca.context.world.clock.now()
  let drawn = 0
  const random = {
    octets: (count: number) => {
      // the serial number draws ten octets, identifiers of rows draw as many: only the former repeats
      const octets = new Uint8Array(ca.context.world.random.octets(count))
      return count === 10 && drawn++ % 2 === 0 ? octets.fill(7) : octets
    },
  }
  const context = worldOf(ca, { clock: { now: () => now }, random })
  const plan = planFor(ca)
  const [first, second] = [rehearse(context, plan), rehearse(context, plan)]
  assert.deepEqual(first.record.serialNumber, second.record.serialNumber)
  const issue = async (): Promise<unknown> => {
    drawn = 0
    const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station 1' }] })
    return issueForRequest(context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)
  }
  await issue()
  await assert.rejects(issue(), { reason: 'duplicateRow' })
  assert.equal((await findCertificates(ca.context, { profile: 'ra' }, { limit: 9 })).length, 1)
  const issued = (await ca.entries()).filter(({ act, outcome }) => act === 'certificate.issue' && outcome === 'done')
  assert.equal(issued.length, 3, 'two authorities and one station')
})

test('certificates that are issued at once all differ, and each has its row and its audit entry', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const { der } = await testRequest({ subject: [{ type: 'CN', value: `Station ${i}` }] })
      return issueForRequest(ca.context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)
    }),
  )
  const serials = new Set(answers.map(({ certificate }) => parseCertificate(certificate).serialNumber.toHex()))
  assert.equal(serials.size, 40)
  const rows = await findCertificates(ca.context, { profile: 'ra' }, { limit: 100 })
  assert.deepEqual(new Set(rows.map(({ serialNumber }) => serialNumber.toHex())), serials)
  const objects = await ca.context.db.query("SELECT object FROM audit_entry WHERE act = 'certificate.issue' AND outcome = 'done'")
  const recorded = objects.map(({ object }) => object)
  assert.equal(recorded.length, new Set(recorded).size)
  for (const { id } of rows) assert.ok(recorded.includes(`certificate:${id}`))
})

test('RFC 5280, 5.2.3: CRLs that are issued at once have numbers of their own, without a gap', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  // as another process would: with its own view of the authorities
  const others = await openAuthorities(ca.context)
  const lists = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      issueCRL(ca.context, (i % 2 === 0 ? ca.authorities : others).byAddress('line1'), 0, person),
    ),
  )
  const numbers = lists.map((list) => list.crlNumber).toSorted((a, b) => a - b)
  assert.deepEqual(
    numbers,
    Array.from({ length: 20 }, (_, i) => i + 1),
  )
  for (const list of lists)
    assert.equal(extensionOfList(parseCertificateList(list.der), crlNumber)?.value, BigInt(list.crlNumber))
  const line1 = ca.authorities.byAddress('line1')
  assert.equal((await latestCRL(ca.context, line1, 0)).crlNumber, 20)
  assert.equal(
    (await issueCRL(ca.context, ca.authorities.byAddress('root'), 0, person)).crlNumber,
    1,
    'each authority counts for itself',
  )
  assert.equal((await ca.entries()).filter(({ act }) => act === 'ca.issue-crl').length, 21)
})

test('decision 18: many revocations at once, and no CRL that leaves out one which came before it', async () => {
  await using ca = await testCA({ crlMinIntervalSeconds: 0 })
  await hierarchy(ca)
  const line1 = ca.authorities.byAddress('line1')
  await issueCRL(ca.context, line1, 0, person)
  const ids = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const { der } = await testRequest({ subject: [{ type: 'CN', value: `Station ${i}` }] })
      return (await issueForRequest(ca.context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)).certificateId
    }),
  )
  const acknowledged = new Set<string>()
  const serialOf = async (id: string): Promise<string> => (await openCertificate(ca.context, id)).serialNumber.toHex()
  await Promise.all(
    ids.map(async (id, i) => {
      await revokeCertificate(ca.context, id, 'superseded', person)
      acknowledged.add(await serialOf(id))
      if (i % 4 !== 0) return
      const due = new Set(acknowledged)
      const { der } = await issueCRL(ca.context, line1, 0, person)
      const listed = new Set([...parseCertificateList(der).entries()].map(({ serialNumber }) => serialNumber.toHex()))
      assert.deepEqual(due.difference(listed), new Set())
    }),
  )
  ca.advance(1)
  await issueDueCRLs(ca.context, [line1])
  assert.equal((await latestCRL(ca.context, line1, 0)).entries, 20)
})
