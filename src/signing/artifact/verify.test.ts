/** When a signature was made, and what became of its signer since: each way in which that can be right or wrong. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { RevokedEntry } from '#x509/crl.ts'
import type { Purpose } from '#x509/path/purpose-names.ts'
import { cms } from '../formats/cms.ts'
import { bytesSource } from './blob.ts'
import { AT, revocationList, root, signedWith, type TrialSigner, trialSigner, trialTimeStamps } from './testing.ts'
import { type ArtifactReport, verifyArtifact } from './verify.ts'

const firmware = bytesSource(utf8('firmware of press 7'))
const STAMPED = new Date('2027-05-02T00:00:00Z')
const before = new Date('2027-05-01T00:00:00Z')
const later = new Date('2027-05-03T00:00:00Z')

const signer = await trialSigner('ecdsa-p256')
const ended = await trialSigner('ecdsa-p256', 'codeSigning', later)
const authority = await trialSigner('ecdsa-p256', 'timeStamping')
const noAuthority = await trialSigner('ecdsa-p256', 'codeSigning')

async function stamped(by: TrialSigner, genTime = STAMPED, authorityOfTime = authority): Promise<Uint8Array> {
  const timeStamp = await trialTimeStamps(genTime, authorityOfTime)
  return (await signedWith(cms, firmware, { ...by, answering: { ...by.answering, timeStamp } })).octets
}
const unstamped = async (by: TrialSigner): Promise<Uint8Array> => (await signedWith(cms, firmware, by)).octets

const revoked = (
  { answering }: TrialSigner,
  revokedAt: Date,
  reason: RevokedEntry['reason'] = 'keyCompromise',
): RevokedEntry => ({
  serialNumber: parseCertificate(answering.certificates[0]).serialNumber,
  revokedAt,
  ...(reason !== undefined && { reason }),
})

async function verdictOf(octets: Uint8Array, entries?: readonly RevokedEntry[], at = AT): Promise<ArtifactReport> {
  return verifyArtifact(cms, bytesSource(octets), {
    at,
    anchors: [root],
    purpose: 'code-signing',
    beside: { content: firmware },
    ...(entries !== undefined && { revocation: { demand: 'required', lists: [await revocationList(entries)] } }),
  })
}

interface Case {
  readonly name: string
  readonly octets: Uint8Array
  readonly entries?: readonly RevokedEntry[]
  readonly at?: Date
  readonly valid: boolean
  /** Whether a time is proven. */
  readonly proven: boolean
}

const cases: readonly Case[] = [
  { name: 'good now, no time stamp', octets: await unstamped(signer), valid: true, proven: false },
  { name: 'good now and then', octets: await stamped(signer), valid: true, proven: true },
  { name: 'ended, no time stamp', octets: await unstamped(ended), valid: false, proven: false },
  { name: 'ended since', octets: await stamped(ended), valid: true, proven: true },
  { name: 'ended before', octets: await stamped(ended, new Date('2027-05-20T00:00:00Z')), valid: false, proven: true },
  {
    name: 'stamped before the authority began',
    octets: await stamped(signer, new Date('2025-01-01T00:00:00Z')),
    valid: true,
    proven: false,
  },
  { name: 'not revoked', octets: await stamped(signer), entries: [], valid: true, proven: true },
  {
    name: 'revoked, no time stamp',
    octets: await unstamped(signer),
    entries: [revoked(signer, later)],
    valid: false,
    proven: false,
  },
  { name: 'revoked since', octets: await stamped(signer), entries: [revoked(signer, later)], valid: true, proven: true },
  { name: 'revoked before', octets: await stamped(signer), entries: [revoked(signer, before)], valid: false, proven: true },
  {
    name: 'revoked at that very second',
    octets: await stamped(signer),
    entries: [revoked(signer, STAMPED)],
    valid: false,
    proven: true,
  },
  {
    name: 'the authority was replaced since',
    octets: await stamped(ended),
    entries: [revoked(authority, later, 'superseded')],
    valid: false,
    proven: true,
  },
  {
    name: 'the authority was replaced since, and the signer is good',
    octets: await stamped(signer),
    entries: [revoked(authority, later, 'superseded')],
    valid: true,
    proven: true,
  },
  {
    name: "the authority's key was stolen since",
    octets: await stamped(signer),
    entries: [revoked(authority, later)],
    valid: true,
    proven: false,
  },
  {
    name: "the authority's key was stolen since, and the signer revoked",
    octets: await stamped(signer),
    entries: [revoked(authority, later), revoked(signer, later)],
    valid: false,
    proven: false,
  },
  {
    name: 'stamped by somebody who is no authority, and ended',
    octets: await stamped(ended, STAMPED, noAuthority),
    valid: false,
    proven: false,
  },
  {
    name: 'stamped in the future, and ended',
    octets: await stamped(ended, new Date('2028-01-01T00:00:00Z')),
    valid: false,
    proven: true,
  },
]

for (const { name, octets, entries, at, valid, proven } of cases) {
  test(`R11, R28: ${name}: ${valid ? 'valid' : 'not valid'}${proven ? ', at a proven time' : ''}`, async () => {
    const report = await verdictOf(octets, entries, at)
    assert.equal(report.valid, valid)
    assert.equal(report.signatures[0]?.provenTime !== undefined, proven)
    assert.equal(report.signatures[0]?.untouched, true)
  })
}

test('what was revoked later is said with its time', async () => {
  const { signatures } = await verdictOf(await stamped(signer), [revoked(signer, later)])
  const { standing, provenTime } = signatures[0] ?? assert.fail('no signature')
  assert.equal(standing?.revokedLater?.getTime(), later.getTime())
  assert.equal(standing?.now?.valid, false)
  assert.equal(standing?.atSigning.valid, true)
  assert.equal(provenTime?.getTime(), STAMPED.getTime())
})

test('a time stamp of another signature proves nothing, and its reason is given', async () => {
  const timeStamp = await trialTimeStamps(STAMPED, authority)
  const elsewhere = await timeStamp(utf8('another signature'))
  const by = { ...ended, answering: { ...ended.answering, timeStamp: async () => elsewhere } }
  const { valid, signatures } = await verdictOf((await signedWith(cms, firmware, by)).octets)
  assert.equal(valid, false)
  assert.equal(signatures[0]?.timeStamps[0]?.problem?.reason, 'timeStampOther')
})

test('time is believed from other anchors where they are given', async () => {
  const octets = await stamped(ended)
  const report = await verifyArtifact(cms, bytesSource(octets), {
    at: AT,
    anchors: [root],
    timeStampAnchors: [],
    beside: { content: firmware },
  })
  assert.equal(report.valid, false)
  assert.equal(report.signatures[0]?.timeStamps[0]?.valid, false)
})

test('what nobody signed is no artifact to judge', async () => {
  const format = { ...cms, extract: async () => ({ signatures: [], uncovered: [] }) }
  await assert.rejects(verifyArtifact(format, firmware, { at: AT, anchors: [root] }), {
    code: 'unauthenticated',
    reason: 'artifactUnsigned',
  })
})

test('R31: a time stamp over a file is nobody’s signature of it: anybody can have one made', async () => {
  const token = await (await trialTimeStamps(STAMPED, authority))(utf8('firmware of press 7'))
  const beside = { content: bytesSource(utf8('firmware of press 7')) }
  const judged = (purpose?: Purpose | null) =>
    verifyArtifact(cms, bytesSource(token), { at: AT, anchors: [root], beside, ...(purpose !== undefined && { purpose }) })
  for (const purpose of [undefined, null, 'code-signing'] as const) {
    const { valid, signatures } = await judged(purpose)
    assert.deepEqual([valid, signatures[0]?.problem?.reason], [false, 'signatureIsTimeStamp'], String(purpose))
  }
  assert.equal((await judged('time-stamping')).valid, true)
})
