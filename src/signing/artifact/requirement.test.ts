/** What a verifier asks for beyond valid signatures, exact on each border, over messages with one key and with two. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode, encode } from '#asn1/codec.ts'
import { utf8 } from '#base/bytes.ts'
import { ContentInfo } from '#cms/content-info.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { parseSignedData, SignedDataContent } from '#cms/signed-data.ts'
import { TEST_NOT_AFTER } from '#x509/testing.ts'
import { cms } from '../formats/cms.ts'
import { optionsOf } from './options.ts'
import { bytesSource } from './blob.ts'
import type { Requirement } from './requirement.ts'
import {
  AT,
  choicesOf,
  quantumAuthority,
  root,
  signedWith,
  type TrialSigner,
  trialSigner,
  trialTimeStamps,
  withCompanion,
} from './testing.ts'
import { type ArtifactReport, verifyArtifact } from './verify.ts'
import { plain } from '../formats/plain.ts'

const firmware = bytesSource(utf8('firmware of press 7'))
const classical = await trialSigner('ecdsa-p256')
const another = await trialSigner('rsa-2048')
const quantum = await trialSigner('ml-dsa-65', 'codeSigning', TEST_NOT_AFTER, quantumAuthority)
const vouchedClassically = await trialSigner('ml-dsa-65')
const dual = withCompanion(classical, quantum)

const signed = async (by: TrialSigner, content = 'detached'): Promise<Uint8Array> =>
  (await signedWith(cms, firmware, by, { content })).octets

const judged = (octets: Uint8Array, requirement?: Requirement, anchors = [root, quantumAuthority.certificate], at = AT) =>
  verifyArtifact(cms, bytesSource(octets), {
    at,
    anchors,
    beside: { content: firmware },
    ...(requirement !== undefined && { requirement }),
  })
const outcome = ({ valid, unmet }: ArtifactReport): string => (valid ? 'valid' : (unmet?.reason ?? 'not valid'))

const until = (at: Date): Requirement => ({ type: 'classical-until', until: at })
const justAfter = new Date(AT.getTime() + 1)

const cases: readonly (readonly [name: string, octets: Uint8Array, Readonly<Record<string, string>>])[] = [
  [
    'one classical key',
    await signed(classical),
    { none: 'valid', both: 'requiredPostQuantum', quantum: 'requiredPostQuantum', passed: 'requiredPostQuantum', later: 'valid' },
  ],
  [
    'one post-quantum key',
    await signed(quantum),
    { none: 'valid', both: 'requiredClassical', quantum: 'valid', passed: 'valid', later: 'valid' },
  ],
  ['both', await signed(dual), { none: 'valid', both: 'valid', quantum: 'valid', passed: 'valid', later: 'valid' }],
  [
    'two classical keys',
    await signed(withCompanion(classical, another)),
    { none: 'valid', both: 'requiredPostQuantum', quantum: 'requiredPostQuantum', passed: 'requiredPostQuantum', later: 'valid' },
  ],
  [
    'both, and a classical authority vouches for the post-quantum key',
    await signed(withCompanion(classical, vouchedClassically)),
    {
      none: 'valid',
      both: 'requiredPostQuantumPath',
      quantum: 'requiredPostQuantumPath',
      passed: 'requiredPostQuantumPath',
      later: 'valid',
    },
  ],
]
const requirements: Readonly<Record<string, Requirement | undefined>> = {
  none: undefined,
  both: { type: 'both' },
  quantum: { type: 'post-quantum' },
  passed: until(AT), // from that very moment on
  later: until(justAfter),
}

for (const [name, octets, expected] of cases) {
  test(`R9, R11: ${name}: what each requirement says`, async () => {
    for (const [which, requirement] of Object.entries(requirements))
      assert.equal(outcome(await judged(octets, requirement)), expected[which], which)
  })
}

test('R9: both signatures are reported, with how many others each names', async () => {
  for (const content of ['detached', 'attached']) {
    const octets = await signed(dual, content)
    const beside = content === 'detached' ? { beside: { content: firmware } } : {}
    const anchors = [root, quantumAuthority.certificate]
    const { valid, signatures } = await verifyArtifact(cms, bytesSource(octets), { at: AT, anchors, ...beside })
    assert.equal(valid, true)
    assert.deepEqual(
      signatures.map(({ verdict, signatureAlgorithm, announced }) => [verdict, signatureAlgorithm, announced]),
      [
        ['valid', 'ecdsa-sha256', 1],
        ['valid', 'ml-dsa-65', 1],
      ],
    )
  }
})

test('R9: whichever root is not trusted, the artifact is not valid: nothing that is there may be wrong', async () => {
  const octets = await signed(dual)
  for (const anchors of [[root], [quantumAuthority.certificate]]) {
    for (const requirement of Object.values(requirements)) assert.equal((await judged(octets, requirement, anchors)).valid, false)
  }
})

test('R9, R31: a stripped second signature is never valid, whatever is required', async () => {
  const octets = await signed(dual)
  const { contentType, content } = decode(ContentInfo, octets, { maxOctets: octets.length })
  const signedData = decode(SignedDataContent, content, { maxOctets: content.length })
  for (const left of signedData.signerInfos) {
    const stripped = encode(ContentInfo, {
      contentType,
      content: encode(SignedDataContent, { ...signedData, signerInfos: [left] }),
    })
    assert.equal(parseSignedData(stripped).signerInfos.length, 1)
    for (const requirement of Object.values(requirements)) {
      const { valid, signatures } = await judged(stripped, requirement)
      assert.equal(valid, false)
      assert.deepEqual([signatures[0]?.verdict, signatures[0]?.problem?.reason], ['invalid', 'cmsSignatureMissing'])
    }
  }
})

test('R28: both signatures have a time stamp of their own, and a time stamp from before does not help', async () => {
  const timeStamp = await trialTimeStamps(new Date('2027-05-02T00:00:00Z'))
  const stamped = await signed({ ...dual, answering: { ...dual.answering, timeStamp } })
  const { valid, signatures } = await judged(stamped, { type: 'both' })
  assert.equal(valid, true)
  for (const { provenTime } of signatures) assert.equal(provenTime?.toISOString(), '2027-05-02T00:00:00.000Z')
  const alone = await signed({ ...classical, answering: { ...classical.answering, timeStamp } })
  const report = await judged(alone, until(new Date('2027-05-03T00:00:00Z')))
  assert.deepEqual([report.signatures[0]?.verdict, outcome(report)], ['valid', 'requiredPostQuantum'])
})

test('R9, R31: no octet of a signature by two keys can change', async () => {
  const octets = await signed(dual, 'attached')
  const content = Buffer.from(octets).indexOf('firmware')
  const { signerInfos } = parseSignedData(octets)
  const starts = signerInfos.flatMap(({ signature, signedAttrs }) => [
    Buffer.from(octets).indexOf(signature),
    Buffer.from(octets).indexOf(signedAttrs?.der ?? assert.fail()),
  ])
  for (const start of [content, ...starts]) {
    assert.ok(start > 0)
    for (const at of [start + 2, start + 10, start + 15]) {
      const broken = octets.with(at, (octets[at] as number) ^ 1)
      const valid = await verifyArtifact(cms, bytesSource(broken), {
        at: AT,
        anchors: [root, quantumAuthority.certificate],
      }).then(
        (report) => report.valid,
        () => false,
      )
      assert.equal(valid, false, `octet ${at} was changed`)
    }
  }
})

test('R31: a signed statement that is not understood makes no valid signature', async () => {
  const { key, certificates, signatureAlgorithm } = classical.answering
  for (const [attrType, verdict] of [
    ['1.2.840.113549.1.9.16.2.15', 'unknown'], // a signature policy (ETSI EN 319 122-1, 5.2.9) sets terms of its own
    ['1.3.6.1.4.1.32473.9', 'unknown'],
    ['1.2.840.113549.1.9.16.2.17', 'valid'], // a location
  ] as const) {
    const octets = await encodeSignedData({
      content: { attached: utf8('firmware of press 7') },
      signers: [
        {
          key,
          certificate: certificates[0],
          signatureAlgorithm,
          signedAttributes: [{ attrType, attrValues: [Uint8Array.of(0x30, 0)] }],
        },
      ],
    })
    const { valid, signatures } = await verifyArtifact(cms, bytesSource(octets), { at: AT, anchors: [root] })
    assert.deepEqual([valid, signatures[0]?.verdict], [verdict === 'valid', verdict])
    if (verdict === 'unknown') assert.equal(signatures[0]?.problem?.reason, 'cmsAttributeUnknown')
  }
})

test('a format for one key refuses two before anything is read', async () => {
  assert.throws(() => optionsOf(plain, choicesOf(dual)), { code: 'policyRefused', reason: 'formatOneKey' })
  await assert.rejects(plain.toBeSigned(firmware, choicesOf(dual)), { reason: 'formatOneKey' })
})
