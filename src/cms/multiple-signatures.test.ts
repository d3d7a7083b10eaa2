/** Several signatures of one signer: whatever is taken away, exchanged or said twice is found. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode, encode } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { type Attribute, Attributes, attributeTypes, attributeWith } from './attributes.ts'
import { contentTypes } from './content-info.ts'
import { AlgorithmIdentifier, type DigestId, digestIdentifier, digestOf } from './digests.ts'
import { type Planned, withEachOther } from './multiple-signatures.ts'
import { encodeSignedData, type Signing } from './sign.ts'
import { parseSignedData, type SignedData, type SignerInfo } from './signed-data.ts'
import { signerParty, signingKey } from './testing.ts'
import { verifySignedData } from './verify.ts'

const content = utf8('firmware of press 7')
const keyOf = async (signatureAlgorithm: Signing['signatureAlgorithm']): Promise<Signing> => {
  const party = await signerParty(signatureAlgorithm)
  return { key: signingKey(party), certificate: party.certificate, signatureAlgorithm }
}
const classical = await keyOf('ecdsa-sha256')
const quantum = await keyOf('ml-dsa-65')
const hashBased = await keyOf('slh-dsa-sha2-128s')

const made = async (signers: readonly Signing[], namingEachOther = true): Promise<SignedData> =>
  parseSignedData(
    await encodeSignedData({ content: { attached: content }, signers: signers as [Signing, ...Signing[]], namingEachOther }),
  )
const dual = await made([classical, quantum])
const [first, second] = dual.signerInfos as [SignerInfo, SignerInfo]
const lone = (await made([classical], false)).signerInfos[0] as SignerInfo
const of = (...signerInfos: SignerInfo[]): SignedData => ({ ...dual, signerInfos })
const attributesOf = ({ signedAttrs }: SignerInfo): readonly Attribute[] => signedAttrs?.value ?? []

const announcement = (signerInfo: SignerInfo): Attribute =>
  attributesOf(signerInfo).find(({ attrType }) => attrType === attributeTypes.multipleSignatures) ?? assert.fail('it names none')

/** Signed anew with other attributes, as a signer would who gets it wrong. */
async function signedAnew(
  by: Signing,
  signerInfo: SignerInfo,
  change: (attributes: readonly Attribute[]) => readonly Attribute[],
): Promise<SignerInfo> {
  const value = change(attributesOf(signerInfo))
  const der = encode(Attributes, value)
  const signature = await by.key.sign(der, by.signatureAlgorithm)
  return { ...signerInfo, signedAttrs: { der: der.with(0, 0xa0), value }, signature }
}

test('R9: two and three keys sign together, attached and detached, and each names all the others', async () => {
  for (const signers of [
    [classical, quantum],
    [classical, quantum, hashBased],
  ] as const) {
    const attached = await verifySignedData(await made(signers))
    assert.deepEqual(
      attached.signers.map(({ signatureAlgorithm, announced }) => [signatureAlgorithm, announced]),
      signers.map(({ signatureAlgorithm }) => [signatureAlgorithm, signers.length - 1]),
    )
    const detached = await encodeSignedData({ content: { detached: content }, signers, namingEachOther: true })
    assert.equal((await verifySignedData(parseSignedData(detached), { content })).signers.length, signers.length)
  }
})

test('who signs beside somebody else, and is not the same signer, names nobody', async () => {
  const { signers } = await verifySignedData(await made([classical, quantum], false))
  assert.deepEqual(
    signers.map(({ announced }) => announced),
    [0, 0],
  )
  const { signers: alone } = await verifySignedData(await made([classical]))
  assert.equal(alone[0]?.announced, 0)
})

test('R9: the post-quantum signature is read by code that is not OpenSSL', () => {
  const spki = decode(SubjectPublicKeyInfo, quantum.key.publicKey)
  const covered = encode(Attributes, attributesOf(second))
  assert.ok(ml_dsa65.verify(second.signature, covered, spki.subjectPublicKey))
  assert.equal(ml_dsa65.verify(second.signature, covered.with(40, (covered[40] ?? 0) ^ 1), spki.subjectPublicKey), false)
})

// RFC 5752, 4.4.1, with nothing of the code that it tests: the other's attributes with hashes of no octets, in DER's order
test('RFC 5752, 4.4.1: the hash is over the signed attributes of the other without any hash', () => {
  const element = (tag: number, body: Uint8Array): Uint8Array => {
    const { length } = body
    const header = length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255]
    return concat([Uint8Array.from(header), body])
  }
  const parts = (body: Uint8Array): readonly (readonly [tag: number, body: Uint8Array, whole: Uint8Array])[] => {
    const found: [number, Uint8Array, Uint8Array][] = []
    for (let at = 0; at < body.length;) {
      const long = (body[at + 1] as number) & 0x80 ? (body[at + 1] as number) & 0x7f : 0
      const length = long === 0 ? (body[at + 1] as number) : Number(`0x${body.subarray(at + 2, at + 2 + long).toHex()}`)
      const start = at + 2 + long
      found.push([body[at] as number, body.subarray(start, start + length), body.subarray(at, start + length)])
      at = start + length
    }
    return found
  }
  const cleared = (signerInfo: SignerInfo): Uint8Array => {
    const all = attributesOf(signerInfo).map(({ attrType, attrValues: [value = new Uint8Array()] }, at) => {
      const whole = encode(Attributes, [attributesOf(signerInfo)[at] as Attribute])
      const [, , attribute] = parts(parts(whole)[0]?.[1] ?? assert.fail())[0] ?? assert.fail()
      if (attrType !== '1.2.840.113549.1.9.16.2.51') return attribute
      const [oid] = parts(parts(attribute)[0]?.[1] ?? assert.fail())
      const [body, sign, hash, cert] = parts(parts(value)[0]?.[1] ?? assert.fail())
      const [algorithm] = parts(hash?.[1] ?? assert.fail())
      const none = element(0x30, concat([algorithm?.[2] ?? assert.fail(), Uint8Array.of(4, 0)]))
      const renewed = element(
        0x30,
        concat([body?.[2] ?? assert.fail(), sign?.[2] ?? assert.fail(), none, cert?.[2] ?? assert.fail()]),
      )
      return element(0x30, concat([oid?.[2] ?? assert.fail(), element(0x31, renewed)]))
    })
    return element(0x31, concat(all.toSorted(Buffer.compare)))
  }
  const said = (signerInfo: SignerInfo): string => {
    const [value = new Uint8Array()] = announcement(signerInfo).attrValues
    const [, , hash] = parts(parts(value)[0]?.[1] ?? assert.fail())
    return parts(hash?.[1] ?? assert.fail())[1]?.[1].toHex() ?? assert.fail()
  }
  assert.equal(said(first), digestOf('sha256', cleared(second)).toHex())
  assert.equal(said(second), digestOf('sha512', cleared(first)).toHex()) // ML-DSA-65 goes with SHA-512
})

test('R9: none can be taken away, whichever is left, with its certificate or without', async () => {
  for (const left of [first, second]) {
    await assert.rejects(verifySignedData(of(left)), { code: 'badProof', reason: 'cmsSignatureMissing' })
    const own = left === first ? classical.certificate : quantum.certificate
    await assert.rejects(verifySignedData({ ...of(left), certificates: [own] }), { reason: 'cmsSignatureMissing' })
  }
  const three = await made([classical, quantum, hashBased])
  for (const gone of three.signerInfos) {
    const signerInfos = three.signerInfos.filter((one) => one !== gone)
    await assert.rejects(verifySignedData({ ...three, signerInfos }), { reason: 'cmsSignatureMissing' })
  }
})

test('R9: one that is named and cannot be judged for want of its certificate is as good as taken away', async () => {
  const onlyClassical = { ...dual, certificates: [classical.certificate] }
  await assert.rejects(verifySignedData(onlyClassical), { code: 'badProof', reason: 'cmsSignatureMissing' })
  const unnamed = await made([classical, quantum], false)
  const { unknownSigners } = await verifySignedData({ ...unnamed, certificates: [classical.certificate] })
  assert.equal(unknownSigners.length, 1)
})

test('R9: one that is named cannot be exchanged for another, not even of the same key', async () => {
  const other = await made([classical, quantum], false)
  await assert.rejects(verifySignedData(of(first, other.signerInfos[1] as SignerInfo)), { reason: 'cmsSignatureMissing' })
  await assert.rejects(verifySignedData(of(first, { ...second, signature: second.signature.with(9, 1) })), {
    reason: 'cmsSignature',
  })
  const later = await made([classical, { ...quantum, signingTime: new Date('2027-05-01T10:00:00Z') }])
  await assert.rejects(verifySignedData(of(first, later.signerInfos[1] as SignerInfo)), { reason: 'cmsSignatureMissing' })
})

test('R9: one with an algorithm that is not known here is there, and does not hinder the other', async () => {
  const ofTomorrow = Uint8Array.fromHex('300b06092b0601040181fd5901')
  const value = decode(AlgorithmIdentifier, ofTomorrow)
  const plan = (signing: Signing, digest: DigestId, signatureAlgorithm: AlgorithmIdentifier): Planned => ({
    digest,
    digestAlgorithm: digestIdentifier(digest),
    signatureAlgorithm,
    certificate: parseCertificate(signing.certificate),
    attributes: [
      attributeWith('contentType', OBJECT_IDENTIFIER, contentTypes.data),
      attributeWith('messageDigest', OCTET_STRING, digestOf(digest, content)),
    ],
  })
  const [known = [], unknown = []] = withEachOther([
    plan(classical, 'sha256', first.signatureAlgorithm.value),
    plan(quantum, 'sha512', value),
  ])
  const one = await signedAnew(classical, first, () => known)
  const signedAttrs = { der: encode(Attributes, unknown).with(0, 0xa0), value: unknown }
  const other = { ...second, signedAttrs, signatureAlgorithm: { der: ofTomorrow, value } }
  const { signers, unknownSigners } = await verifySignedData(of(one, other))
  assert.deepEqual([signers.length, signers[0]?.announced, unknownSigners[0]?.why.code], [1, 1, 'unsupported'])
  await assert.rejects(verifySignedData(of(one)), { reason: 'cmsSignatureMissing' })
})

test('R31: whoever is named names back', async () => {
  const isOther = ({ attrType }: Attribute): boolean => attrType !== attributeTypes.multipleSignatures
  const silent = await signedAnew(quantum, second, (all) => all.filter(isOther))
  const hash = digestOf('sha256', encode(Attributes, attributesOf(silent)))
  const naming = await signedAnew(classical, first, (all) =>
    all.map((attribute) =>
      isOther(attribute) ? attribute : { ...attribute, attrValues: attribute.attrValues.map((value) => withHash(value, hash)) },
    ),
  )
  await assert.rejects(verifySignedData(of(naming, silent)), { code: 'malformed', message: /do not all name each other/ })
})

/** The one hash of an attribute's value that is under SHA-256 exchanged. */
const withHash = (value: Uint8Array, hash: Uint8Array): Uint8Array =>
  Uint8Array.fromHex(value.toHex().replace(/(300b06096086480165030402010420)[0-9a-f]{64}/, `$1${hash.toHex()}`))

test('R31: the attribute twice, with a value twice, without a value, or unsigned, is refused', async () => {
  const named = announcement(first)
  const rest = attributesOf(first).filter((one) => one !== named)
  const [value = new Uint8Array()] = named.attrValues
  const wrong: readonly (readonly Attribute[])[] = [
    [...rest, named, named],
    [...rest, { ...named, attrValues: [value, value] }],
    [...rest, { ...named, attrValues: [] }],
  ]
  for (const attributes of wrong)
    await assert.rejects(verifySignedData(of(await signedAnew(classical, first, () => attributes), second)), {
      code: 'malformed',
    })
  await assert.rejects(verifySignedData(of({ ...first, unsignedAttrs: [named] }, second)), { code: 'malformed' })
  await assert.rejects(verifySignedData(of({ ...lone, unsignedAttrs: [named] })), { code: 'malformed' })
})

test('R31: a signature that is there twice is refused where it is named', async () => {
  await assert.rejects(verifySignedData(of(first, second, second)), { code: 'malformed', reason: 'badCMS' })
})

test('RFC 5652, 11.1 to 11.3: what only a signer can say is refused where nobody signed it', async () => {
  for (const type of [attributeTypes.contentType, attributeTypes.messageDigest, attributeTypes.signingTime]) {
    const unsigned = { attrType: type, attrValues: [Uint8Array.of(5, 0)] }
    await assert.rejects(verifySignedData(of({ ...lone, unsignedAttrs: [unsigned] })), { code: 'malformed' })
  }
})

test('RFC 5652, 5: signatures are all made before an authority for time sees any of them', async () => {
  const order: string[] = []
  const watched = (signing: Signing, name: string): Signing => ({
    ...signing,
    key: {
      publicKey: signing.key.publicKey,
      sign: (message, algorithm) => {
        order.push(`sign ${name}`)
        return signing.key.sign(message, algorithm)
      },
    },
    unsignedAttributes: async () => {
      order.push(`stamp ${name}`)
      return []
    },
  })
  await made([watched(classical, 'a'), watched(quantum, 'b')])
  assert.deepEqual(order, ['sign a', 'sign b', 'stamp a', 'stamp b'])
})

test('R9: whoever writes the algorithm of a named signature in another way does not make it one that nobody judges', async () => {
  const NULL = Uint8Array.of(5, 0)
  const written = (signerInfo: SignerInfo): SignerInfo => {
    const value = { ...signerInfo.signatureAlgorithm.value, parameters: NULL }
    return { ...signerInfo, signatureAlgorithm: { der: encode(AlgorithmIdentifier, value), value } }
  }
  const spoiled = (signerInfo: SignerInfo): SignerInfo => ({ ...signerInfo, signature: signerInfo.signature.with(9, 0) })
  for (const signerInfos of [
    [first, spoiled(written(second))],
    [first, written(second)],
    [spoiled(written(first)), second],
  ])
    await assert.rejects(verifySignedData(of(...signerInfos)), { code: 'badProof', reason: 'cmsSignatureMissing' })
})
