/** Rotations from the wrong key or to one that was there, and lineages that nobody signed. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { capabilities, encodeLineageFile, parseLineageFile, USUAL_FLAGS } from '../artifact/apk-lineage.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, type TrialSigner, trialSigner } from '../artifact/testing.ts'
import { apkLineage } from './apk-lineage.ts'

const [first, second, third] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256'), await trialSigner('ecdsa-p256')]
const certificateOf = ({ answering }: TrialSigner): Uint8Array => answering.certificates[0]
const rotate = async (from: TrialSigner, to: Uint8Array, options: Readonly<Record<string, string>> = {}): Promise<Uint8Array> =>
  (await signedWith(apkLineage, bytesSource(to), from, options)).octets

const two = await rotate(first, certificateOf(second))
const three = await rotate(second, utf8(encodePEM('CERTIFICATE', certificateOf(third))), {
  lineage: two.toBase64(),
  signerMay: 'installedData+rollback',
})

test('each key signs the certificate of the next, and says what the one before still may', async () => {
  assert.equal(await judged(apkLineage, three), 'valid')
  const levels = parseLineageFile(three)
  assert.deepEqual(
    levels.map(({ certificate, flags }) => [certificate, flags]),
    [
      [certificateOf(first), USUAL_FLAGS],
      [certificateOf(second), capabilities.installedData | capabilities.rollback],
      [certificateOf(third), USUAL_FLAGS],
    ],
  )
  assert.deepEqual(encodeLineageFile(levels), three)
})

test('R31: a rotation from a key that is not the last, or to one that was there, is refused', async () => {
  const lineage = three.toBase64()
  const fourth = certificateOf(await trialSigner('ecdsa-p256'))
  for (const from of [first, second]) await assert.rejects(rotate(from, fourth, { lineage }), { reason: 'apkLineageOther' })
  for (const to of [first, second, third])
    await assert.rejects(rotate(third, certificateOf(to), { lineage }), { reason: 'apkLineageThere' })
  await assert.rejects(rotate(first, certificateOf(first)), { reason: 'apkLineageThere' })
  await assert.rejects(rotate(third, utf8('no certificate'), { lineage }), { code: 'malformed' })
  await assert.rejects(rotate(first, fourth, { signerMay: 'installedData+fly' }), { reason: 'formatOption' })
})

test('R31: a lineage with a level that the one before did not sign is not valid, and not gone on with', async () => {
  const [a, b, c] = parseLineageFile(three)
  assert.ok(a !== undefined && b !== undefined && c !== undefined)
  const signature = c.signature.with(c.signature.length - 1, (c.signature.at(-1) as number) ^ 1)
  const forged = encodeLineageFile([a, b, { ...c, signature }])
  assert.match(await judged(apkLineage, forged), /^valid , invalid rawSignature/)
  const next = certificateOf(await trialSigner('ecdsa-p256'))
  await assert.rejects(rotate(third, next, { lineage: forged.toBase64() }), { code: 'badProof' })
  for (const [name, octets] of [
    ['a level is left out', encodeLineageFile([a, c])],
    ['one begins with the second', encodeLineageFile([b, c])],
    ['something follows', concat([three, Uint8Array.of(0)])],
    ['nothing is in it', encodeLineageFile([])],
    ['more than any', encodeLineageFile(Array(17).fill(a))],
  ] as const)
    assert.match(await judged(apkLineage, octets), /^malformed badArtifact/, name)
  assert.equal(await judged(apkLineage, encodeLineageFile([a])), 'unauthenticated artifactUnsigned')
})
