/** Packages whose signing blocks lie. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { blockReader, encodeSigningBlock, prefixed, prefixedIn, readSigningBlock, uint32 } from '../artifact/apk-block.ts'
import { bytesSource } from '../artifact/blob.ts'
import { AT, judged, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { verifyArtifact } from '../artifact/verify.ts'
import { parseZipEnd } from '../artifact/zip.ts'
import { apk } from './apk.ts'
import { sampleOf } from './samples.ts'

const signer = await trialSigner('rsa-2048')
const { octets: signed } = await signedWith(apk, bytesSource(sampleOf('apk')), signer)
const source = bytesSource(signed)
const { directory } = await parseZipEnd(source)
const { range, values } = await readSigningBlock(source, directory.offset)
const [V2, V3] = [0x7109871a, 0xf05368c0]
const badArtifact = 'malformed badArtifact'

/** The same package with another block. */
function withBlock(block: Uint8Array): Uint8Array {
  const octets = concat([signed.subarray(0, range.offset), block, signed.subarray(directory.offset)])
  new DataView(octets.buffer).setUint32(octets.length - 6, range.offset + block.length, true)
  return octets
}
const withValues = (...pairs: readonly (readonly [number, Uint8Array])[]): Uint8Array =>
  withBlock(encodeSigningBlock(new Map(pairs)))
const valueOf = (id: number): Uint8Array => values.get(id) ?? assert.fail('it is not there')

interface Parts {
  signedData: Uint8Array
  versions: readonly Uint8Array[]
  signatures: Uint8Array
  publicKey: Uint8Array
}
/** One signer's parts, to be changed. */
function remade(id: number, change: (parts: Parts) => void): Uint8Array {
  const [signerOctets = assert.fail('no signer')] = prefixedIn(blockReader(valueOf(id)).prefixed())
  const from = blockReader(signerOctets)
  const signedData = from.prefixed()
  const versions = id === V3 ? [uint32(from.uint32()), uint32(from.uint32())] : []
  const parts: Parts = { signedData, versions, signatures: from.prefixed(), publicKey: from.prefixed() }
  change(parts)
  return prefixed(prefixed(prefixed(parts.signedData), ...parts.versions, prefixed(parts.signatures), prefixed(parts.publicKey)))
}
const other = await trialSigner('ecdsa-p256')

const lies: readonly { readonly name: string; readonly octets: Uint8Array; readonly verdict: string | RegExp }[] = [
  { name: 'v3 is stripped', octets: withValues([V2, valueOf(V2)]), verdict: 'badProof artifactChanged' },
  { name: 'both are stripped', octets: withValues([0x42726577, new Uint8Array(8)]), verdict: 'unauthenticated artifactUnsigned' },
  { name: 'the block is gone', octets: withBlock(new Uint8Array()), verdict: 'unauthenticated artifactUnsigned' },
  { name: 'a part is there twice', octets: withBlock(twice(valueOf(V2))), verdict: badArtifact },
  {
    name: 'the block states another length before than behind',
    octets: withBlock(changed((view) => view.setUint32(0, range.length, true))),
    verdict: badArtifact,
  },
  {
    name: 'the block is longer than the file',
    octets: withBlock(changed((view) => view.setUint32(range.length - 24, 0x7fffffff, true))),
    verdict: badArtifact,
  },
  {
    name: 'a part is longer than the block',
    octets: withBlock(changed((view) => view.setUint32(8, 0x7fffffff, true))),
    verdict: badArtifact,
  },
  {
    name: 'the key of another certificate',
    octets: withValues([V2, remade(V2, (parts) => (parts.publicKey = other.answering.key.publicKey))], [V3, valueOf(V3)]),
    verdict: badArtifact,
  },
  {
    name: 'other versions outside than inside',
    octets: withValues([V2, valueOf(V2)], [V3, remade(V3, (parts) => (parts.versions = [uint32(1), uint32(2)]))]),
    verdict: badArtifact,
  },
  {
    name: 'no signature',
    octets: withValues([V2, remade(V2, (parts) => (parts.signatures = new Uint8Array()))], [V3, valueOf(V3)]),
    verdict: badArtifact,
  },
  {
    name: 'a signature with another algorithm than its digest',
    octets: withValues(
      [V2, remade(V2, (parts) => (parts.signatures = prefixed(uint32(0x0104), prefixed(new Uint8Array(256)))))],
      [V3, valueOf(V3)],
    ),
    verdict: badArtifact,
  },
  { name: 'no signers', octets: withValues([V2, prefixed()], [V3, valueOf(V3)]), verdict: badArtifact },
  {
    name: 'something behind the signers',
    octets: withValues([V2, concat([valueOf(V2), Uint8Array.of(1)])], [V3, valueOf(V3)]),
    verdict: badArtifact,
  },
  {
    name: 'something behind what is signed',
    octets: withValues(
      [V2, remade(V2, (parts) => (parts.signedData = concat([parts.signedData, Uint8Array.of(1)])))],
      [V3, valueOf(V3)],
    ),
    verdict: badArtifact,
  },
  {
    name: 'a signature that is wrong',
    octets: withValues([V2, remade(V2, (parts) => (parts.signatures = wrong(parts.signatures)))], [V3, valueOf(V3)]),
    verdict: /^invalid rawSignature, valid/,
  },
]

function twice(value: Uint8Array): Uint8Array {
  const one = encodeSigningBlock(new Map([[V2, value]])).subarray(8, -24)
  const size = uint32(2 * one.length + 24)
  const frame = concat([size, new Uint8Array(4)])
  return concat([frame, one, one, frame, new TextEncoder().encode('APK Sig Block 42')])
}

function changed(change: (view: DataView) => void): Uint8Array {
  const block = new Uint8Array(signed.subarray(range.offset, directory.offset))
  change(new DataView(block.buffer))
  return block
}

function wrong(octets: Uint8Array): Uint8Array {
  return octets.with(octets.length - 1, (octets.at(-1) as number) ^ 1)
}

for (const { name, octets, verdict } of lies) {
  test(`R31: ${name}`, async () => {
    const said = await judged(apk, octets)
    if (verdict instanceof RegExp) assert.match(said, verdict)
    else assert.equal(said, verdict)
  })
}

test('the block that is written anew is the one that the lies are told of', async () => {
  assert.equal(await judged(apk, withValues([V2, valueOf(V2)], [V3, valueOf(V3)])), 'valid')
  assert.equal(await judged(apk, withValues([V2, remade(V2, () => {})], [V3, remade(V3, () => {})])), 'valid')
})

test('parts that are not known here are passed over, as devices do: the signature does not cover them', async () => {
  assert.equal(await judged(apk, withValues([V2, valueOf(V2)], [V3, valueOf(V3)], [0x504b4453, new Uint8Array(9)])), 'valid')
})

test('each scheme is reported by itself', async () => {
  const { signatures } = await verified(apk, signed)
  assert.deepEqual(
    signatures.map(({ where }) => where),
    ['scheme v2, signer 1, rsa-sha256', 'scheme v3, signer 1, rsa-sha256'],
  )
})

test('a certificate that signed itself, as most are here, is trusted by naming it', async () => {
  const key = makeKey()
  const certificate = await makeCertificate(key)
  const itself = {
    privateKey: key.privateKey,
    answering: {
      key: { publicKey: key.spki, sign: async (message: Uint8Array) => key.signer.sign(message) },
      certificates: [certificate],
      signatureAlgorithm: 'ecdsa-sha256',
    },
  } as const
  const { octets } = await signedWith(apk, bytesSource(sampleOf('apk')), itself)
  const report = await verifyArtifact(apk, bytesSource(octets), { at: AT, anchors: [certificate] })
  assert.equal(report.valid, true)
  assert.match(await judged(apk, octets), /^invalid/)
})
