/** Images that imgtool signed, made here again octet by octet; and images that lie. @module */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat } from '#base/bytes.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions } from '#x509/testing.ts'
import { bytesSource } from '../artifact/blob.ts'
import { encodeEntries, type ImageEntry, parseMCUboot } from '../artifact/mcuboot-image.ts'
import { AT, judged, octetsIn, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { type ArtifactReport, verifyArtifact } from '../artifact/verify.ts'
import { mcuboot } from './mcuboot.ts'
import { sampleOf } from './samples.ts'

interface Vectors {
  readonly firmware: string
  readonly images: readonly { readonly key: string; readonly publicKey: string; readonly image: string }[]
}
/** imgtool sign -k key --align 4 -v 1.2.3+4 -s 7 -H 0x40 --pad-header -S 0x8000 -d '(1,2.0.1+0)', of imgtool 2.5.0. */
const vectors = JSON.parse(readFileSync(join(import.meta.dirname, 'testdata', 'imgtool.json'), 'utf8')) as Vectors
const options = { version: '1.2.3+4', securityCounter: '7', headerSize: '0x40', dependencies: '(1,2.0.1+0)' }
const signsWith: Readonly<Record<string, SignatureAlgorithmId>> = {
  'rsa-2048': 'rsa-pss-sha256',
  'rsa-3072': 'rsa-pss-sha256',
  'ecdsa-p256': 'ecdsa-sha256',
  'ecdsa-p384': 'ecdsa-sha384',
  ed25519: 'ed25519',
}

const rootKey = makeKey()
const name = encodeName(nameOf([{ type: 'CN', value: 'Root' }]))
const root = await makeCertificate(rootKey, { issuer: name, subject: name, extensions: rootExtensions(rootKey) })
const certificateFor = (subjectPublicKeyInfo: Uint8Array): Promise<Uint8Array> =>
  makeCertificate(rootKey, { issuer: name, subjectPublicKeyInfo })

const judge = (octets: Uint8Array, certificates: readonly Uint8Array[]): Promise<ArtifactReport> =>
  verifyArtifact(mcuboot, bytesSource(octets), { at: AT, anchors: [root], purpose: null, beside: { certificates } })

describe('R9, R11: what imgtool signs', () => {
  for (const vector of vectors.images) {
    test(`${vector.key} verifies, and is what we make of the same firmware, octet by octet`, async () => {
      const image = Uint8Array.fromBase64(vector.image)
      const certificate = await certificateFor(Uint8Array.fromBase64(vector.publicKey))
      const other = await certificateFor(makeKey().spki)
      const { valid, signatures } = await judge(image, [other, certificate])
      assert.equal(valid, true, JSON.stringify(signatures))
      assert.equal(signatures[0]?.signatureAlgorithm, signsWith[vector.key])
      assert.equal((await judge(image, [other])).signatures[0]?.problem?.reason, 'certificateNotGiven')

      const source = bytesSource(Uint8Array.fromBase64(vectors.firmware))
      const choices = { certificates: [certificate], signatureAlgorithm: signsWith[vector.key] ?? 'ed25519' } as const
      const { attach } = await mcuboot.toBeSigned(source, { ...choices, options })
      const signature = (await parseMCUboot(bytesSource(image))).entries?.at(-1)?.value ?? new Uint8Array()
      assert.deepEqual(await octetsIn(source, attach([signature]).pieces), image)

      const again = await mcuboot.toBeSigned(bytesSource(image), choices)
      assert.deepEqual(await octetsIn(bytesSource(image), again.attach([signature]).pieces), image)
    })
  }
})

const signer = await trialSigner('ecdsa-p256')
const beside = { certificates: signer.answering.certificates }
const { octets: signed } = await signedWith(mcuboot, bytesSource(sampleOf('mcuboot')), signer)
const parsed = await parseMCUboot(bytesSource(signed))
const entries = parsed.entries ?? assert.fail('it has no entries')
const withEntries = (...changed: readonly ImageEntry[]): Uint8Array =>
  concat([signed.subarray(0, parsed.signed.length), encodeEntries(changed)])
const [digest, keyHash, signature] = entries as readonly [ImageEntry, ImageEntry, ImageEntry]
const headed = (change: (view: DataView) => void): Uint8Array => {
  const octets = new Uint8Array(signed)
  change(new DataView(octets.buffer))
  return octets
}

const lies: readonly { readonly name: string; readonly octets: Uint8Array; readonly verdict: string | RegExp }[] = [
  { name: 'the signature is stripped', octets: withEntries(digest), verdict: 'unauthenticated artifactUnsigned' },
  {
    name: 'all entries are stripped',
    octets: signed.subarray(0, parsed.signed.length),
    verdict: 'unauthenticated artifactUnsigned',
  },
  { name: 'no hash', octets: withEntries(keyHash, signature), verdict: 'malformed badArtifact' },
  { name: 'two hashes', octets: withEntries(digest, digest, keyHash, signature), verdict: 'malformed badArtifact' },
  { name: 'no key', octets: withEntries(digest, signature), verdict: 'malformed badArtifact' },
  {
    name: 'another hash',
    octets: withEntries({ ...digest, value: new Uint8Array(32) }, keyHash, signature),
    verdict: /^invalid artifactChanged/,
  },
  {
    name: 'an entry that is not signed and might mean something',
    octets: withEntries(digest, keyHash, signature, { type: 0x50, value: new Uint8Array(4) }),
    verdict: 'unsupported artifactUnsupported',
  },
  {
    name: 'a signature of another kind than its key',
    octets: withEntries(digest, keyHash, { ...signature, type: 0x24 }),
    verdict: /^invalid rawSignature/,
  },
  {
    name: 'an ECDSA signature with a hash of Ed25519 only',
    octets: withEntries({ type: 0x12, value: new Uint8Array(64) }, keyHash, signature),
    verdict: /^unknown/,
  },
  {
    name: 'encrypted with AES-256',
    octets: headed((view) => view.setUint32(16, 0x8, true)),
    verdict: 'unsupported artifactUnsupported',
  },
  {
    name: 'said to come encrypted, which the signature does not say',
    octets: headed((view) => view.setUint32(16, 0x4, true)),
    verdict: /^invalid rawSignature/,
  },
  {
    name: 'encrypted',
    octets: withEntries(...entries, { type: 0x32, value: new Uint8Array(113) }),
    verdict: 'unsupported imageEncrypted',
  },
  {
    name: 'a header that is longer than the file',
    octets: headed((view) => view.setUint32(12, 0xffff_0000, true)),
    verdict: 'malformed badArtifact',
  },
  {
    name: 'a header shorter than itself',
    octets: headed((view) => view.setUint16(8, 8, true)),
    verdict: 'malformed badArtifact',
  },
  {
    name: 'protected entries that are none',
    octets: headed((view) => view.setUint16(10, 8, true)),
    verdict: 'malformed badArtifact',
  },
  { name: 'octets behind', octets: concat([signed, new Uint8Array(8).fill(0xff)]), verdict: /^valid .*/ },
]
for (const lie of lies) {
  test(`R31: ${lie.name}`, async () => {
    const said = await judged(mcuboot, lie.octets, beside)
    assert.notEqual(said, 'valid')
    if (lie.verdict instanceof RegExp) assert.match(said, lie.verdict)
    else assert.equal(said, lie.verdict)
  })
}

test('an ECDSA signature that is filled up with zeros, as boot loaders before 1.5 wanted, is read', async () => {
  const filled = { ...signature, value: concat([signature.value, new Uint8Array(2)]) }
  assert.equal(await judged(mcuboot, withEntries(digest, keyHash, filled), beside), 'valid')
})

test('signatures of two keys are both judged', async () => {
  const other = await trialSigner('ecdsa-p256')
  const { octets } = await signedWith(mcuboot, bytesSource(sampleOf('mcuboot')), other)
  const more = (await parseMCUboot(bytesSource(octets))).entries?.slice(1) ?? []
  const both = withEntries(...entries, ...more)
  const certificates = [signer, other].flatMap(({ answering }) => answering.certificates)
  const { valid, signatures } = await verified(mcuboot, both, { certificates })
  assert.equal(valid, true)
  assert.equal(signatures.length, 2)
})

test('signed twice, the second signature replaces the first', async () => {
  const other = await trialSigner('ed25519')
  const { octets } = await signedWith(mcuboot, bytesSource(signed), other, { digest: 'sha512' })
  const { valid, signatures } = await verified(mcuboot, octets, { certificates: other.answering.certificates })
  assert.equal(valid, true)
  assert.equal(signatures.length, 1)
})

const refused: readonly { readonly name: string; readonly options: Readonly<Record<string, string>>; readonly reason: string }[] =
  [
    { name: 'no version', options: {}, reason: 'badArtifact' },
    { name: 'a version that does not fit', options: { version: '256.0.0' }, reason: 'badArtifact' },
    { name: 'a version in words', options: { version: 'one' }, reason: 'badArtifact' },
    { name: 'a header that is no header', options: { version: '1.0.0', headerSize: '16' }, reason: 'badArtifact' },
    { name: 'no room for the header', options: { version: '1.0.0', header: 'fill' }, reason: 'badArtifact' },
    { name: 'two addresses', options: { version: '1.0.0', loadAddress: '0x1000', romFixed: '0x1000' }, reason: 'badArtifact' },
    { name: 'a counter in words', options: { version: '1.0.0', securityCounter: 'many' }, reason: 'badArtifact' },
    { name: 'dependencies in words', options: { version: '1.0.0', dependencies: 'on all' }, reason: 'badArtifact' },
    { name: 'a digest that ECDSA does not go with', options: { version: '1.0.0', digest: 'sha512' }, reason: 'badArtifact' },
  ]
for (const one of refused) {
  test(`refused: ${one.name}`, async () => {
    const firmware = bytesSource(Uint8Array.fromBase64(vectors.firmware))
    await assert.rejects(signedWith(mcuboot, firmware, signer, one.options), { reason: one.reason })
  })
}

test('what has a header keeps it, so that none can be chosen', async () => {
  const asked = signedWith(mcuboot, bytesSource(signed), signer, { version: '2.0.0' })
  await assert.rejects(asked, { reason: 'artifactUnsupported' })
})

test('what is filled up to a slot is signed before', async () => {
  const filled = bytesSource(concat([signed, new Uint8Array(100).fill(0xff)]))
  await assert.rejects(signedWith(mcuboot, filled, signer), { reason: 'artifactUnsupported' })
})
