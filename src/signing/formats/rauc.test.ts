/** Bundles whose parts lie. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, trialSigner } from '../artifact/testing.ts'
import { rauc } from './rauc.ts'
import { sampleOf } from './samples.ts'

const signer = await trialSigner('ecdsa-p256')
const bare = sampleOf('rauc')
const manifest = '[update]\ncompatible=press-7\n\n[bundle]\nformat=verity\n'
const { octets: signed } = await signedWith(rauc, bytesSource(bare), signer, { manifest })
const length = Number(new DataView(signed.buffer, signed.byteOffset).getBigUint64(signed.length - 8))
const payload = signed.subarray(0, signed.length - 8 - length)
const [, verity = ''] = /\[bundle\]\n([^[]*)/.exec(Buffer.from(signed).toString('latin1')) ?? []
const lines = verity.split('\n').filter((line) => line.startsWith('verity-'))

/** The same payload, with what somebody with a key says of it. */
async function saying(text: string): Promise<Uint8Array> {
  const { key, certificates, signatureAlgorithm } = signer.answering
  const [certificate] = certificates
  const message = await encodeSignedData({
    content: { attached: utf8(text) },
    signers: [{ key, certificate, signatureAlgorithm }],
  })
  const size = new Uint8Array(8)
  new DataView(size.buffer).setBigUint64(0, BigInt(message.length))
  return concat([payload, message, size])
}
const bundle = (...more: readonly string[]): string => `[bundle]\n${more.join('\n')}\n`

test('what is said as it was signed is valid', async () => {
  assert.equal(lines.length, 3)
  assert.equal(await judged(rauc, await saying(bundle('format=verity', ...lines))), 'valid')
  assert.equal(await judged(rauc, await saying(bundle('format=crypt', ...lines))), 'valid')
})

const lies: readonly (readonly [string, string, RegExp])[] = [
  ['no format', bundle(...lines), /unsupported artifactUnsupported/],
  ['plain with a manifest', bundle('format=plain', ...lines), /unsupported artifactUnsupported/],
  ['no hash', bundle('format=verity', ...lines.slice(1)), /malformed badArtifact/],
  ['a hash twice', bundle('format=verity', ...lines, lines[0] ?? ''), /malformed badArtifact/],
  ['a group twice', bundle('format=verity', ...lines) + bundle('format=verity'), /malformed badArtifact/],
  ['another hash', bundle('format=verity', ...lines).replace(/hash=./, 'hash=g'), /malformed badArtifact/],
  ['another root', bundle('format=verity', ...lines).replace(/hash=[0-9a-f]{8}/, 'hash=00000000'), /invalid artifactChanged/],
  ['another salt', bundle('format=verity', ...lines).replace(/salt=[0-9a-f]{8}/, 'salt=00000000'), /invalid artifactChanged/],
  ['a shorter tree', bundle('format=verity', ...lines).replace('size=4096', 'size=0'), /malformed badArtifact/],
  ['a longer tree', bundle('format=verity', ...lines).replace('size=4096', 'size=8192'), /malformed badArtifact/],
]
for (const [name, text, verdict] of lies)
  test(`R31: ${name}`, async () => {
    assert.match(await judged(rauc, await saying(text)), verdict)
  })

test('what is signed already takes no manifest, and no salt comes without one', async () => {
  for (const [octets, options] of [
    [signed, { manifest }],
    [signed, { salt: '00' }],
  ] as const)
    await assert.rejects(signedWith(rauc, bytesSource(octets), signer, options), { reason: 'artifactUnsupported' })
})

test('a manifest that names a tree, a salt that is none, and a tree that does not fit are not signed', async () => {
  const broken = signed.with(5000, (signed[5000] as number) ^ 0x01)
  await assert.rejects(signedWith(rauc, bytesSource(broken), signer), { code: 'badProof', reason: 'artifactChanged' })
  for (const options of [{ manifest: `${manifest}verity-size=4096\n` }, { manifest, salt: 'salt' }, { manifest: 'compatible=x' }])
    await assert.rejects(signedWith(rauc, bytesSource(bare), signer, options), { reason: 'badArtifact' })
})
