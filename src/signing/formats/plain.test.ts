/** Raw signatures with every algorithm of the table. @module */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { type KeyAlgorithmId, keyAlgorithms, signatureAlgorithm } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { plain } from './plain.ts'

const firmware = utf8('firmware of press 7')

for (const { id } of keyAlgorithms) {
  test(`R9: ${id} signs the file, and another file does not fit`, { timeout: 60_000 }, async () => {
    const signer = await trialSigner(id)
    const { octets } = await signedWith(plain, bytesSource(firmware), signer, { send: 'message' })
    const beside = { content: bytesSource(firmware), certificates: signer.answering.certificates }
    assert.equal(await judged(plain, octets, beside), 'valid')
    const other = { ...beside, content: bytesSource(utf8('firmware of press 8')) }
    assert.equal(await judged(plain, octets, other), 'invalid rawSignature')
  })
}

test('R9: a digest is all that travels, for every algorithm that has one', async () => {
  for (const id of ['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const satisfies readonly KeyAlgorithmId[]) {
    const { certificates, signatureAlgorithm: algorithm } = (await trialSigner(id)).answering
    const { requests } = await plain.toBeSigned(bytesSource(firmware), { certificates, signatureAlgorithm: algorithm })
    const digestAlgorithm = signatureAlgorithm(algorithm).digest as 'sha256'
    const digest = new Uint8Array(hash(digestAlgorithm, firmware, 'buffer'))
    assert.deepEqual(requests, [{ type: 'raw', message: { digestAlgorithm, digest } }])
  }
})

test('what takes the message itself is refused above 16 MiB, before it is read', async () => {
  const { certificates, signatureAlgorithm: algorithm } = (await trialSigner('ed25519')).answering
  const source = { size: (16 << 20) + 1, read: () => assert.fail('it was read') }
  const asked = plain.toBeSigned(source, { certificates, signatureAlgorithm: algorithm })
  await assert.rejects(asked, { code: 'tooLarge', reason: 'artifactPartTooLarge' })
})

test('a key that cannot sign a digest says so', async () => {
  const signer = await trialSigner('ecdsa-p256')
  await assert.rejects(signedWith(plain, bytesSource(firmware), signer), { code: 'unsupported', reason: 'digestNotSignable' })
})

test('a signature is not judged without the file and a certificate, nor with a key of another kind', async () => {
  const signer = await trialSigner('rsa-2048')
  const { octets } = await signedWith(plain, bytesSource(firmware), signer)
  const content = bytesSource(firmware)
  const { certificates } = signer.answering
  await assert.rejects(verified(plain, octets, { certificates }), { reason: 'contentNotGiven' })
  await assert.rejects(verified(plain, octets, { content }), { reason: 'certificateNotGiven' })
  const { certificates: other } = (await trialSigner('ecdsa-p256')).answering
  assert.equal(await judged(plain, octets, { content, certificates: other }), 'invalid rawSignature')
  const pss = { content, certificates, signatureAlgorithm: 'rsa-pss-sha256' } as const
  assert.equal(await judged(plain, octets, pss), 'invalid rawSignature')
})
