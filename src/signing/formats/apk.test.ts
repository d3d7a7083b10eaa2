/** Packages whose signing blocks lie. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { blockReader, encodeSigningBlock, prefixed, prefixedIn, readSigningBlock, uint32 } from '../artifact/apk-block.ts'
import { encodeLineage, encodeLineageFile, type LineageLevel, lineageSignedData, USUAL_FLAGS } from '../artifact/apk-lineage.ts'
import { bytesSource } from '../artifact/blob.ts'
import { AT, judged, signedWith, type TrialSigner, trialSigner, verified } from '../artifact/testing.ts'
import { verifyArtifact } from '../artifact/verify.ts'
import { contentsOf, packed } from '../artifact/zip-testing.ts'
import { parseZip, parseZipEnd } from '../artifact/zip.ts'
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

const [V31, ROTATION_SINCE, PROOF_OF_ROTATION] = [0x1b93ad61, 0x559f8b02, 0x3ba06f8c]
const [RSA_SHA256, ECDSA_SHA256] = [0x0103, 0x0201]

interface Level {
  readonly signer: TrialSigner
  readonly algorithmId: number
}
const rsaLevel = { signer, algorithmId: RSA_SHA256 }
const ecLevel = { signer: other, algorithmId: ECDSA_SHA256 }

/** Each level signed by the one before. */
async function lineageOf(...levels: readonly Level[]): Promise<readonly LineageLevel[]> {
  const out: LineageLevel[] = []
  for (const [i, level] of levels.entries()) {
    const before = levels[i - 1]
    const [certificate] = level.signer.answering.certificates
    const parentAlgorithmId = before?.algorithmId ?? 0
    const signedData = lineageSignedData(certificate, parentAlgorithmId)
    const { key, signatureAlgorithm } = (before ?? level).signer.answering
    const signature = before === undefined ? new Uint8Array() : await key.sign(signedData, signatureAlgorithm)
    const algorithmId = i === levels.length - 1 ? 0 : level.algorithmId
    out.push({ certificate, signedData, flags: USUAL_FLAGS, algorithmId, signature, parentAlgorithmId })
  }
  return out
}

interface Block {
  readonly by: Level
  readonly attributes?: readonly Uint8Array[]
  readonly versions?: readonly [number, number]
}
const ALL_VERSIONS = [28, 0x7fffffff] as const
const digests = [rsaLevel, ecLevel].map(({ algorithmId }) => prefixed(uint32(algorithmId), prefixed(digestIn(signed))))
/** What the sample's signature of scheme v2 says of the file. */
function digestIn(octets: Uint8Array): Uint8Array {
  assert.ok(octets.length > 0)
  const [v2 = assert.fail('no signer')] = prefixedIn(blockReader(valueOf(V2)).prefixed())
  const [stated = assert.fail('no digest')] = prefixedIn(blockReader(blockReader(v2).prefixed()).prefixed())
  const from = blockReader(stated)
  from.uint32()
  return from.prefixed()
}

/** A signer of v3 or v3.1 over the sample. */
async function signerOf({ by, attributes = [], versions = ALL_VERSIONS }: Block): Promise<Uint8Array> {
  const { key, certificates, signatureAlgorithm } = by.signer.answering
  const digest = digests[by.algorithmId === RSA_SHA256 ? 0 : 1] ?? assert.fail('no digest')
  const range3 = versions.map(uint32)
  const signedData = concat([
    prefixed(digest),
    prefixed(prefixed(certificates[0])),
    ...range3,
    prefixed(...attributes.map((attribute) => prefixed(attribute))),
  ])
  const signature = await key.sign(signedData, signatureAlgorithm)
  return prefixed(
    prefixed(signedData),
    ...range3,
    prefixed(prefixed(uint32(by.algorithmId), prefixed(signature))),
    prefixed(key.publicKey),
  )
}
const blockOf = async (...signers: readonly Block[]): Promise<Uint8Array> =>
  prefixed(...(await Promise.all(signers.map(signerOf))))
const proof = (levels: readonly LineageLevel[]): Uint8Array => concat([uint32(PROOF_OF_ROTATION), encodeLineage(levels)])
const rotated = await lineageOf(rsaLevel, ecLevel)
const [firstLevel = assert.fail('none'), secondLevel = assert.fail('none')] = rotated
const v2 = [V2, valueOf(V2)] as const
/** The first key for all, the second from Android 13 on. */
const since33 = concat([uint32(ROTATION_SINCE), uint32(33)])
const v3Before33 = [V3, await blockOf({ by: rsaLevel, attributes: [since33], versions: [28, 32] })] as const
const v31 = [V31, await blockOf({ by: ecLevel, attributes: [proof(rotated)], versions: [33, 0x7fffffff] })] as const

const rotations: readonly { readonly name: string; readonly octets: Uint8Array; readonly said: string | RegExp }[] = [
  {
    name: 'a key that the one before signed',
    octets: withValues(v2, [V3, await blockOf({ by: ecLevel, attributes: [proof(rotated)] })]),
    said: 'valid',
  },
  {
    name: 'another key that nobody signed',
    octets: withValues(v2, [V3, await blockOf({ by: ecLevel })]),
    said: /^valid , invalid artifactChanged/,
  },
  {
    name: 'a lineage that the key before did not sign',
    octets: withValues(v2, [
      V3,
      await blockOf({
        by: ecLevel,
        attributes: [proof([firstLevel, { ...secondLevel, signature: wrong(secondLevel.signature) }])],
      }),
    ]),
    said: /^valid , invalid artifactChanged/,
  },
  {
    name: 'a lineage without its first',
    octets: withValues(v2, [V3, await blockOf({ by: ecLevel, attributes: [proof([secondLevel])] })]),
    said: badArtifact,
  },
  {
    name: 'a lineage that begins with the second',
    octets: withValues(v2, [V3, await blockOf({ by: ecLevel, attributes: [proof(await lineageOf(ecLevel))] })]),
    said: /^valid , invalid artifactChanged/,
  },
  {
    name: 'the lineage of another',
    octets: withValues(v2, [V3, await blockOf({ by: rsaLevel, attributes: [proof(rotated)] })]),
    said: badArtifact,
  },
  {
    name: 'two lineages',
    octets: withValues(v2, [V3, await blockOf({ by: ecLevel, attributes: [proof(rotated), proof(rotated)] })]),
    said: badArtifact,
  },
  {
    name: 'a certificate that is in it twice',
    octets: withValues(v2, [
      V3,
      await blockOf({ by: rsaLevel, attributes: [proof(await lineageOf(rsaLevel, ecLevel, rsaLevel))] }),
    ]),
    said: badArtifact,
  },
  {
    name: 'another algorithm than the level before says',
    octets: withValues(v2, [
      V3,
      await blockOf({ by: ecLevel, attributes: [proof([{ ...firstLevel, algorithmId: 0x0104 }, secondLevel])] }),
    ]),
    said: badArtifact,
  },
  {
    name: 'two signers for the same versions',
    octets: withValues(v2, [
      V3,
      await blockOf({ by: rsaLevel, versions: [28, 30] }, { by: ecLevel, attributes: [proof(rotated)], versions: [30, 40] }),
    ]),
    said: badArtifact,
  },
  {
    name: 'two signers one behind the other',
    octets: withValues(v2, [
      V3,
      await blockOf({ by: rsaLevel, versions: [28, 30] }, { by: ecLevel, attributes: [proof(rotated)], versions: [31, 40] }),
    ]),
    said: 'valid',
  },
  { name: 'v3.1 for Android 13', octets: withValues(v2, v3Before33, v31), said: 'valid' },
  { name: 'v3.1 that was stripped', octets: withValues(v2, v3Before33), said: 'badProof artifactChanged' },
  {
    name: 'v3.1 for another version than v3 says',
    octets: withValues(v2, v3Before33, [V31, await blockOf({ by: ecLevel, attributes: [proof(rotated)], versions: [34, 40] })]),
    said: 'badProof artifactChanged',
  },
  {
    name: 'v3.1 by a stranger, beside a v3 that does not know of it',
    octets: withValues(v2, [V3, valueOf(V3)], [V31, await blockOf({ by: ecLevel, versions: [33, 40] })]),
    said: /^valid , valid , invalid artifactChanged/,
  },
]

for (const { name, octets, said } of rotations) {
  test(`R31: ${name}`, async () => {
    const verdict = await judged(apk, octets)
    if (said instanceof RegExp) assert.match(verdict, said)
    else assert.equal(verdict, said)
  })
}

test('what is signed with a lineage has as much of it as leads to the signer', async () => {
  const lineage = encodeLineageFile(rotated).toBase64()
  const { octets } = await signedWith(apk, bytesSource(sampleOf('apk')), signer, { schemes: 'v3', lineage })
  const { valid, signatures } = await verified(apk, octets)
  assert.deepEqual([valid, signatures[0]?.where], [true, 'scheme v3, signer 1, rsa-sha256, level 1 of its lineage'])
  const both = signedWith(apk, bytesSource(sampleOf('apk')), signer, { lineage })
  await assert.rejects(both, { reason: 'formatOption', message: /v3 with a lineage/ })
  for (const wrong of ['', '!', 'AAAA'])
    await assert.rejects(signedWith(apk, bytesSource(sampleOf('apk')), signer, { schemes: 'v3', lineage: wrong }), {
      code: 'malformed',
    })
})

const { octets: v1 } = await signedWith(apk, bytesSource(sampleOf('apk')), signer, { schemes: 'v1' })
const withoutPromise = (await signedWith(apk, bytesSource(sampleOf('apk')), signer, { schemes: 'v1', follows: 'none' })).octets

test('R31: v1 is not valid without what it says is there too', async () => {
  assert.match(await judged(apk, v1), /^invalid artifactChanged/)
  assert.equal(await judged(apk, withoutPromise), 'valid')
  assert.equal(await judged(apk, (await signedWith(apk, bytesSource(v1), signer)).octets), 'valid')
  for (const schemes of ['v2', 'v3'])
    await assert.rejects(signedWith(apk, bytesSource(v1), signer, { schemes }), { reason: 'apkSchemeAnnounced' })
  const { octets: v2first } = await signedWith(apk, bytesSource(v1), signer, { schemes: 'v2', follows: 'v3' })
  assert.equal(await judged(apk, v2first), 'badProof artifactChanged')
  const { octets } = await signedWith(apk, bytesSource(v2first), signer, { schemes: 'v3', existing: 'keep' })
  assert.equal(await judged(apk, octets), 'valid')
})

test('R31: v1 by one and v2 by another is a package that two versions of Android see in two ways', async () => {
  const { octets } = await signedWith(apk, bytesSource(v1), other)
  const { valid, signatures } = await verified(apk, octets)
  assert.equal(valid, false)
  assert.deepEqual(
    signatures.map(({ verdict }) => verdict),
    ['invalid', 'valid', 'valid'],
  )
})

test('R31: what v1 leaves out, or names in vain, is seen', async () => {
  const entries = await contentsOf(withoutPromise)
  assert.equal(await judged(apk, packed(entries)), 'valid')
  assert.match(await judged(apk, packed(new Map([...entries, ['evil.dex', utf8('evil')]]))), /^valid/)
  assert.notEqual(await judged(apk, packed(new Map([...entries, ['evil.dex', utf8('evil')]]))), 'valid')
  assert.notEqual(await judged(apk, packed(new Map([...entries, ['META-INF/evil', utf8('evil')]]))), 'valid')
  const manifest = entries.get('META-INF/MANIFEST.MF') ?? utf8('')
  const more = concat([manifest, utf8('Name: gone\r\nSHA-256-Digest: AAAA\r\n\r\n')])
  assert.match(await judged(apk, packed(new Map([...entries, ['META-INF/MANIFEST.MF', more]]))), /^invalid artifactChanged/)
  for (const gone of ['note.txt', 'AndroidManifest.xml'].filter((name) => entries.has(name)))
    assert.match(await judged(apk, packed(new Map([...entries].filter(([name]) => name !== gone)))), /^invalid artifactChanged/)
})

test('v1 replaces what v1 was, where it was, and content stays aligned', async () => {
  const entries = await contentsOf(withoutPromise)
  const signing = [...entries].filter(([name]) => name.startsWith('META-INF/'))
  const rest = [...entries].filter(([name]) => !name.startsWith('META-INF/'))
  const first = packed(new Map([...signing, ...rest]))
  const { octets } = await signedWith(apk, bytesSource(first), other, { schemes: 'v1', follows: 'none' })
  assert.equal(await judged(apk, octets), 'valid')
  const [before, now] = await Promise.all([first, octets].map((each) => parseZip(bytesSource(each))))
  assert.deepEqual(now?.entries.map(({ name }) => name).slice(0, 3), [
    'META-INF/MANIFEST.MF',
    'META-INF/CERT.SF',
    'META-INF/CERT.EC',
  ])
  for (const [name] of rest) {
    const offsets: readonly number[] = [before, now].map(
      (zip): number => zip?.entries.find((entry) => entry.name === name)?.data.offset ?? -1,
    )
    assert.equal(Math.abs((offsets[1] ?? 0) - (offsets[0] ?? 1)) % 16_384, 0)
  }
  const scattered = packed(new Map([...signing.slice(0, 1), ...rest, ...signing.slice(1)]))
  await assert.rejects(signedWith(apk, bytesSource(scattered), other, { schemes: 'v1' }), { reason: 'artifactUnsupported' })
})

test('v1 has a name, and algorithms of its own', async () => {
  const sign = (options: Readonly<Record<string, string>>) =>
    signedWith(apk, bytesSource(sampleOf('apk')), signer, { schemes: 'v1', ...options })
  for (const signerName of ['', 'lower', '../A']) await assert.rejects(sign({ signerName }), { reason: 'formatOption' })
  await assert.rejects(sign({ lineage: encodeLineageFile(rotated).toBase64() }), { reason: 'formatOption' })
  const pss = { ...signer, answering: { ...signer.answering, signatureAlgorithm: 'rsa-pss-sha256' } } as const
  await assert.rejects(signedWith(apk, bytesSource(sampleOf('apk')), pss, { schemes: 'v1' }), { reason: 'formatAlgorithm' })
})

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
