/** Cabinets whose headers lie, and signatures that are not where they are said to be. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { authenticodeCAB } from './authenticode-cab.ts'
import { sampleOf } from './samples.ts'

const cabinet = sampleOf('authenticode-cab')
const signer = await trialSigner('rsa-2048')
const other = await trialSigner('ecdsa-p384')
const { octets: signed } = await signedWith(authenticodeCAB, bytesSource(cabinet), signer)
const view = new DataView(signed.buffer, signed.byteOffset)
const [signatureAt, signatureLength] = [view.getUint32(44, true), view.getUint32(48, true)]

type Change = (view: DataView) => void
const changed = (octets: Uint8Array, change: Change): Uint8Array => {
  const copy = new Uint8Array(octets)
  change(new DataView(copy.buffer))
  return copy
}
/** With octets at the end that the header counts to the signature. */
const stuffed = (more: Uint8Array): Uint8Array =>
  changed(concat([signed, more]), (v) => v.setUint32(48, signatureLength + more.length, true))

const lies: readonly (readonly [what: string, verdict: string, octets: Uint8Array])[] = [
  ['it continues another cabinet', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint16(30, 5, true))],
  ['it is the second of a set', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint16(34, 1, true))],
  ['flags that mean nothing', 'malformed badArtifact', changed(signed, (v) => v.setUint16(30, 0x0c, true))],
  ['something in the reserved fields', 'malformed badArtifact', changed(signed, (v) => v.setUint32(4, 1, true))],
  ['something in the second of them', 'malformed badArtifact', changed(signed, (v) => v.setUint32(12, 1, true))],
  ['something in the third of them', 'malformed badArtifact', changed(signed, (v) => v.setUint32(20, 1, true))],
  ['another version', 'malformed badArtifact', changed(signed, (v) => v.setUint16(24, 0x0203, true))],
  ['no folders', 'malformed badArtifact', changed(signed, (v) => v.setUint16(26, 0, true))],
  ['65,535 folders', 'malformed badArtifact', changed(signed, (v) => v.setUint16(26, 0xffff, true))],
  ['files elsewhere', 'malformed badArtifact', changed(signed, (v) => v.setUint32(16, 69, true))],
  ['data before its files', 'malformed badArtifact', changed(signed, (v) => v.setUint32(60, 4, true))],
  ['data behind its end', 'malformed badArtifact', changed(signed, (v) => v.setUint32(60, signatureAt + 1, true))],
  ['a size that counts the signature', 'malformed badArtifact', changed(signed, (v) => v.setUint32(8, signed.length, true))],
  ['room for more than a signature', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint16(36, 21, true))],
  ['room in its folders', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint8(38, 1))],
  ['room in its data', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint8(39, 1))],
  ['another mark', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint32(40, 0, true))],
  ['something hidden in that room', 'unsupported artifactUnsupported', changed(signed, (v) => v.setUint32(52, 1, true))],
  [
    'a signature before the end of its data',
    'malformed badArtifact',
    changed(signed, (v) => v.setUint32(44, signatureAt - 8, true)),
  ],
  ['a signature behind its end', 'malformed badArtifact', changed(signed, (v) => v.setUint32(44, 0xfffffff8, true))],
  ['a signature that ends before the file', 'malformed badArtifact', concat([signed, new Uint8Array(8)])],
  ['a signature of no length', 'malformed badArtifact', changed(signed, (v) => v.setUint32(48, 0, true))],
  ['a signature of any length', 'malformed badArtifact', changed(signed, (v) => v.setUint32(48, 0xffffffff, true))],
  ['something hidden behind the signature', 'malformed badArtifact', stuffed(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))],
  ['zeros behind the signature', 'malformed badArtifact', stuffed(new Uint8Array(8))],
  ['no signature in its place', 'malformed badArtifact', changed(signed, (v) => v.setUint8(signatureAt, 0))],
  ['its header alone', 'malformed badArtifact', signed.subarray(0, 40)],
  ['a name of the next cabinet that has no end', 'malformed badArtifact', changed(signed, (v) => v.setUint16(30, 6, true))],
]
for (const [what, verdict, octets] of lies) {
  test(`R31: ${what}: ${verdict}`, async () => {
    assert.notDeepEqual(octets, signed)
    assert.equal(await judged(authenticodeCAB, octets), verdict)
  })
}

test('the sample is what the lies are told of', async () => {
  assert.equal(await judged(authenticodeCAB, signed), 'valid')
  assert.equal(await judged(authenticodeCAB, cabinet), 'unauthenticated artifactUnsigned')
  assert.deepEqual([signatureAt, signatureAt + signatureLength], [cabinet.length + 24, signed.length])
})

test('a signature taken away leaves room, which the next one takes', async () => {
  const stripped = changed(signed.subarray(0, signatureAt), (v) => (v.setUint32(44, 0, true), v.setUint32(48, 0, true)))
  assert.equal(await judged(authenticodeCAB, stripped), 'unauthenticated artifactUnsigned')
  assert.deepEqual((await signedWith(authenticodeCAB, bytesSource(stripped), signer)).octets, signed)
})

test('signing again replaces or nests', async () => {
  const replaced = (await signedWith(authenticodeCAB, bytesSource(signed), other)).octets
  assert.deepEqual(
    (await verified(authenticodeCAB, replaced)).signatures.map(({ signer: by }) => by?.der),
    [other.answering.certificates[0]],
  )
  const nested = (await signedWith(authenticodeCAB, bytesSource(signed), other, { existing: 'nest' })).octets
  const { valid, signatures } = await verified(authenticodeCAB, nested)
  assert.deepEqual(
    [valid, ...signatures.map(({ where }) => where)],
    [true, 'end of the cabinet', 'end of the cabinet, nested signature 1'],
  )
})

/** Named: the next cabinet of a set, and its disk. */
function withNext(names: Uint8Array): Uint8Array {
  const head = changed(cabinet.subarray(0, 36), (v) => {
    v.setUint32(8, cabinet.length + names.length, true)
    v.setUint32(16, v.getUint32(16, true) + names.length, true)
    v.setUint16(30, 2, true)
  })
  const rest = changed(cabinet.subarray(36), (v) => v.setUint32(0, v.getUint32(0, true) + names.length, true))
  return concat([head, names, rest])
}

test('the first of a set is signed with the names that lead to the next', async () => {
  const first = withNext(new TextEncoder().encode('press2.cab\0disk 2\0'))
  const { octets } = await signedWith(authenticodeCAB, bytesSource(first), signer)
  assert.equal(await judged(authenticodeCAB, octets), 'valid')
  assert.equal(await judged(authenticodeCAB, octets.with(65, 0x33)), 'invalid artifactChanged')
  const endless = withNext(new TextEncoder().encode(`${'a'.repeat(300)}\0disk 2\0`))
  assert.equal(await judged(authenticodeCAB, endless), 'malformed badArtifact')
})

test('a cabinet as large as its header can say has no room for a signature', async () => {
  const size = 0xffffffff
  const head = changed(cabinet, (v) => v.setUint32(8, size, true))
  const source = {
    size,
    read: async (offset: number, length: number) =>
      concat([head.subarray(offset), new Uint8Array(Math.max(0, length - head.length))]).subarray(0, length),
  }
  await assert.rejects(signedWith(authenticodeCAB, source, signer), { code: 'tooLarge', reason: 'artifactPartTooLarge' })
})
