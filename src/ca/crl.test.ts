/** When a certificate is on a CRL, and when a CRL is made. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, equal } from '#base/bytes.ts'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { type CertificateList, extensionOfList, parseCertificateList } from '#x509/crl.ts'
import { crlDistributionPoints, freshestCRL } from '#x509/extensions/crl-distribution-points.ts'
import { deltaCRLIndicator, issuingDistributionPoint, reasonCode } from '#x509/extensions/crl-extensions.ts'
import { readExtension } from '#x509/extensions/extension.ts'
import { issueForRequest } from './by-hand.ts'
import { holdCertificate, releaseCertificate, revokeCertificate } from './certificates.ts'
import {
  ALL_SHARDS,
  CHANGES_SINCE,
  issueAllCRLs,
  issueCRL,
  issueDeltaCRL,
  issueDueCRLs,
  latestCRL,
  latestCRLHead,
  pageOf,
  PART_OCTETS,
  readCRL,
  rowsOf,
  shardOf,
} from './crl.ts'
import { changeRevocationPolicy, revocationPolicyOf } from './revocation-policy.ts'
import { putProfile } from './profiles.ts'
import type { Profile } from './profile.ts'
import { registrationAuthority } from './profiles/registration-authority.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'
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
  assert.equal(await due(ca), 0, 'an end is no change that anyone waits for')
  ca.advance(4 * DAY_SECONDS)
  assert.equal(await due(ca), 1)
  assert.equal(await listed(), undefined)
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

/** Rows of line1's certificates that were revoked, without the certificates: what a list is made of. */
async function plantRevoked({ context, authorities }: TestCA, count: number): Promise<void> {
  const { id } = authorities.byAddress('line1')
  const now = context.world.clock.now()
  const nothing = new Uint8Array(1)
  const row = {
    organization_id: DEFAULT_ORGANIZATION,
    version: 2,
    authority_id: id,
    profile: 'ldevid',
    subject: 'CN=planted',
    key_hash: nothing,
    not_before: now - 1000,
    not_after: now + 86_400_000,
    state: 'revoked',
    revoked_at: now,
    changed_at: now,
    revocation_reason: 'keyCompromise',
    crl_shard: 0,
    der: nothing,
    created_at: now,
  }
  const rows = Array.from({ length: count }, (_, i) => {
    const serialNumber = new Uint8Array(16).fill(0x40)
    new DataView(serialNumber.buffer).setUint32(12, i)
    return [...Object.values(row), `planted-${i}`, serialNumber]
  })
  await context.db.transaction((tx) => tx.insertMany('certificate', [...Object.keys(row), 'id', 'serial_number'], rows))
}

const entriesOf = (list: CertificateList): Record<string, string> =>
  Object.fromEntries(
    [...list.entries()].map(({ serialNumber, extensions }) => [
      serialNumber.toHex(),
      readExtension(extensions, reasonCode)?.value ?? 'unspecified',
    ]),
  )

async function stations(ca: TestCA, count: number) {
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
  const where = { authority: 'line1', profile: 'ra' }
  const made = []
  for (let i = 0; i < count; i++) {
    const { certificate, certificateId: id } = await issueForRequest(ca.context, ca.authorities, where, der, person)
    const parsed = parseCertificate(certificate)
    made.push({ id, certificate: parsed, serial: parsed.serialNumber.toHex() })
  }
  return made
}

const uriOf = (point: { distributionPoint?: unknown } | undefined): string | undefined =>
  (point?.distributionPoint as { value?: { value?: string }[] } | undefined)?.value?.[0]?.value

test('R8: each certificate is on the CRL that it names, which names itself, and on the one of all (RFC 5280, 5.2.5)', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const [before] = await stations(ca, 1)
  assert.ok(before)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { crlShards: 4 }, person)
  const line = ca.authorities.byAddress('line1')
  const made = [before, ...(await stations(ca, 24))]
  for (const { id } of made) await revokeCertificate(ca.context, id, 'superseded', person)
  ca.advance(61)
  assert.equal(await due(ca), 5)
  const shards = new Set<number>()
  for (const { certificate, serial } of made) {
    const uri = uriOf(extensionOf(certificate, crlDistributionPoints)?.value[0]) ?? ''
    const shard = Number(/^http:\/\/pki\.test\/crl\/line1\.1\/(\d)\.crl$/.exec(uri)?.[1])
    if (serial !== before.serial) assert.equal(shard, shardOf(certificate.serialNumber, 4))
    shards.add(shard)
    for (let each = 0; each < 4; each++) {
      const list = parseCertificateList((await latestCRL(ca.context, line, each)).der)
      assert.equal(serial in entriesOf(list), each === shard)
      const scope = extensionOfList(list, issuingDistributionPoint)
      assert.ok(scope?.critical)
      assert.equal(uriOf(scope.value), `http://pki.test/crl/line1.1/${each}.crl`)
      assert.deepEqual([scope.value.onlyContainsUserCerts, scope.value.indirectCRL], [false, false])
    }
  }
  assert.equal(shards.size, 4)
  const all = parseCertificateList((await latestCRL(ca.context, line, ALL_SHARDS)).der)
  assert.equal(extensionOfList(all, issuingDistributionPoint), undefined)
  assert.deepEqual(new Set(Object.keys(entriesOf(all))), new Set(made.map(({ serial }) => serial)))
  await assert.rejects(changeRevocationPolicy(ca.context, ca.authorities, 'line1', { crlShards: 3 }, person), {
    reason: 'crlShardsFewer',
  })
})

test('the list of all, which has no delta, is made with every change though the shards wait for their half life', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { crlShards: 2, crlDeltaSeconds: 3600 }, person)
  const line = ca.authorities.byAddress('line1')
  const [one] = await stations(ca, 1)
  assert.ok(one)
  await revokeCertificate(ca.context, one.id, 'keyCompromise', person)
  ca.advance(61)
  assert.equal(await due(ca), 2, 'the delta of its shard, and the list of all')
  const all = parseCertificateList((await latestCRL(ca.context, line, ALL_SHARDS)).der)
  assert.deepEqual(entriesOf(all), { [one.serial]: 'keyCompromise' })
  assert.equal(await due(ca), 0)
})

test('shards are even: of 20,000 serial numbers none of 7 shards has more than a tenth above its share', () => {
  const counts = Array.from({ length: 7 }, () => 0)
  for (let i = 0; i < 20_000; i++) {
    const shard = shardOf(crypto.getRandomValues(new Uint8Array(16)), 7)
    counts[shard] = (counts[shard] as number) + 1
  }
  // 6 sigma: a false alarm comes once in 10^8 runs
  for (const count of counts) assert.ok(Math.abs(count - 20_000 / 7) < 6 * Math.sqrt(20_000 / 7), String(counts))
})

test('RFC 5280, 5.2.4: base and delta say together what a full list would say, at every step and for every base that is valid', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { crlDeltaSeconds: 3600 }, person)
  const line = ca.authorities.byAddress('line1')
  const made = await stations(ca, 6)
  const [a, b, c, d, e, f] = made
  assert.ok(a && b && c && d && e && f)
  const bases: CertificateList[] = []
  const combined = (base: CertificateList, delta: CertificateList): Record<string, string> => {
    const all = entriesOf(base)
    for (const [serial, reason] of Object.entries(entriesOf(delta))) {
      if (reason === 'removeFromCRL') delete all[serial]
      else all[serial] = reason
    }
    return all
  }
  const numbers: number[] = []
  const check = async (expected: Record<string, string>): Promise<void> => {
    ca.advance(61)
    assert.equal(await due(ca), 1, 'a delta, and no full list')
    const issued = await issueDeltaCRL(ca.context, line, 0, person)
    numbers.push(issued.crlNumber)
    const delta = parseCertificateList(issued.der)
    assert.equal(extensionOfList(delta, freshestCRL), undefined, 'RFC 5280, 5.2.6')
    const indicator = extensionOfList(delta, deltaCRLIndicator)
    assert.ok(indicator?.critical)
    for (const base of bases) assert.deepEqual(combined(base, delta), expected)
    assert.equal(Number(indicator.value), issued.baseNumber)
  }
  const full = async (): Promise<CertificateList> => {
    const issued = await issueCRL(ca.context, line, 0, person)
    numbers.push(issued.crlNumber)
    return parseCertificateList(issued.der)
  }
  await holdCertificate(ca.context, a.id, person)
  await revokeCertificate(ca.context, b.id, 'keyCompromise', person)
  bases.push(await full())
  assert.equal(
    uriOf(extensionOfList(bases[0] as CertificateList, freshestCRL)?.value[0]),
    'http://pki.test/crl/line1.1/0/delta.crl',
  )
  const state: Record<string, string> = { [a.serial]: 'certificateHold', [b.serial]: 'keyCompromise' }
  await revokeCertificate(ca.context, c.id, 'superseded', person)
  await check({ ...state, [c.serial]: 'superseded' })
  await releaseCertificate(ca.context, a.id, person)
  await holdCertificate(ca.context, d.id, person)
  const { [a.serial]: _, ...without } = state
  await check({ ...without, [c.serial]: 'superseded', [d.serial]: 'certificateHold' })
  ca.advance(3600)
  bases.push(await full())
  await releaseCertificate(ca.context, d.id, person)
  await revokeCertificate(ca.context, e.id, 'affiliationChanged', person)
  await check({ ...without, [c.serial]: 'superseded', [e.serial]: 'affiliationChanged' })
  ca.advance(3600)
  await holdCertificate(ca.context, f.id, person)
  await revokeCertificate(ca.context, f.id, 'keyCompromise', person)
  await check({ ...without, [c.serial]: 'superseded', [e.serial]: 'affiliationChanged', [f.serial]: 'keyCompromise' })
  assert.deepEqual(
    numbers,
    numbers.toSorted((x, y) => x - y),
    'one sequence for both (RFC 5280, 5.2.3)',
  )
  ca.advance(61)
  assert.equal(await due(ca), 0, 'nothing changed since')
})

test('a certificate names the deltas where its profile says so and the authority makes them (RFC 5280, 4.2.1.15)', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const profile: Profile = { ...registrationAuthority, id: 'ra-delta', freshestCRL: true }
  await putProfile(ca.context, profile, person)
  const issue = async () => {
    const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }] })
    const { certificate } = await issueForRequest(
      ca.context,
      ca.authorities,
      { authority: 'line1', profile: 'ra-delta' },
      der,
      person,
    )
    return uriOf(extensionOf(parseCertificate(certificate), freshestCRL)?.value[0])
  }
  assert.equal(await issue(), undefined)
  await changeRevocationPolicy(ca.context, ca.authorities, 'line1', { crlDeltaSeconds: 600 }, person)
  assert.equal(await issue(), 'http://pki.test/crl/line1.1/0/delta.crl')
  assert.deepEqual(await revocationPolicyOf(ca.context, ca.authorities.byAddress('line1')), {
    crlShards: 1,
    crlDeltaSeconds: 600,
    ocspMode: 'onRequest',
    ocspValiditySeconds: undefined,
  })
})

test('no delta without a full list to put it onto, and none where the authority makes none', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const line = ca.authorities.byAddress('line1')
  await assert.rejects(issueDeltaCRL(ca.context, { ...line, crlDeltaSeconds: 600 }, 0, person), { reason: 'crlNone' })
  await issueCRL(ca.context, line, 0, person)
  await assert.rejects(issueDeltaCRL(ca.context, line, 0, person), { reason: 'crlNoDeltas' })
})

test('a list of several parts is kept whole, read from anywhere, and old ones go', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const line = ca.authorities.byAddress('line1')
  await plantRevoked(ca, 12_000)
  const first = await issueCRL(ca.context, line, 0, person)
  assert.equal(first.entries, 12_000)
  assert.ok(first.size > 2 * PART_OCTETS)
  assert.deepEqual((await latestCRL(ca.context, line, 0)).der, new Uint8Array(first.der))
  const head = await latestCRLHead(ca.context, line, { shard: 0, isDelta: false })
  for (const [start, end] of [
    [0, 1],
    [PART_OCTETS - 1, PART_OCTETS + 1],
    [PART_OCTETS, 2 * PART_OCTETS],
    [first.size - 5, first.size],
  ] as const) {
    const parts: Uint8Array[] = []
    for await (const part of readCRL(ca.context, head, start, end)) parts.push(part)
    assert.deepEqual(concat(parts), first.der.slice(start, end))
  }
  for (let i = 0; i < 10; i++) await issueAllCRLs(ca.context, line, person)
  const [{ lists } = { lists: 0 }] = await ca.context.db.query<{ lists: number }>(
    'SELECT COUNT(DISTINCT crl_id) AS lists FROM crl_part',
  )
  assert.equal(lists, 8)
  await assert.rejects(readCRL({ ...ca.context, db: ca.context.db }, { id: 'gone', size: 5 }).next(), { reason: 'crlDropped' })
})

test('a list, a delta and the look whether one is due read one index and no rows', async () => {
  await using ca = await testCA()
  const nothing = new Uint8Array(0)
  for (const rows of [
    { isListed: true, endsAfter: 0 },
    { isListed: false, since: 0 },
  ] as const) {
    for (const [sql, ...parameters] of [
      rowsOf('x', 0, rows),
      pageOf('x', 0, rows, 0, nothing),
      [CHANGES_SINCE, 'x', 0, 0] as const,
    ]) {
      const plan = await ca.context.db.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...parameters)
      const steps = plan.map(({ detail }) => detail).join('; ')
      assert.match(
        steps,
        /^SEARCH certificate USING COVERING INDEX certificate_changed \(authority_id=\? AND crl_shard=\?[^;]*\)$/,
      )
    }
  }
})
