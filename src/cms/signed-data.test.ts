/** SignedData: made and verified with every algorithm, and refused whatever somebody does to it. @module */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { slh_dsa_sha2_128s, slh_dsa_sha2_192s, slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js'
import * as fc from 'fast-check'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { signatureAlgorithms } from '#algorithms/table.ts'
import { decode, encode, setOf } from '#asn1/codec.ts'
import { ANY } from '#asn1/any.ts'
import { parseOnePEM } from '#asn1/pem.ts'
import { OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { Time } from '#x509/time.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import {
  type Attribute,
  Attributes,
  attributeTypes,
  attributeWith,
  CMSAlgorithmProtection,
  SigningCertificateV2,
  signingCertificateOf,
} from './attributes.ts'
import { ContentInfo, contentTypes } from './content-info.ts'
import { AlgorithmIdentifier, digestContent, digestIdentifier, digestOf } from './digests.ts'
import { counterSignature, encodeSignedData, type Signing } from './sign.ts'
import { signerIdentifier } from './signature-algorithms.ts'
import { identifierOf, parseSignedData, type SignedData, SignedDataContent, type SignerInfo } from './signed-data.ts'
import { type Party, signerParty, signingKey } from './testing.ts'
import { counterSignaturesOf, type VerifiedSigner, verifyCounterSignature, verifySignedData } from './verify.ts'

const content = utf8('firmware of press 7')
const signing = (party: Party, signatureAlgorithm: Signing['signatureAlgorithm']): Signing => ({
  key: signingKey(party),
  certificate: party.certificate,
  signatureAlgorithm,
})
const maker = await signerParty('ecdsa-sha256')
const byMaker = signing(maker, 'ecdsa-sha256')
const signed = await encodeSignedData({ content: { attached: content }, signers: [byMaker] })

/** Post-quantum signatures read by code that is not OpenSSL. */
const second: Readonly<Record<string, { verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean }>> = {
  'ml-dsa-44': ml_dsa44,
  'ml-dsa-65': ml_dsa65,
  'ml-dsa-87': ml_dsa87,
  'slh-dsa-sha2-128s': slh_dsa_sha2_128s,
  'slh-dsa-sha2-192s': slh_dsa_sha2_192s,
  'slh-dsa-sha2-256s': slh_dsa_sha2_256s,
}

for (const { id } of signatureAlgorithms) {
  test(`R9: ${id} signs and verifies, attached and detached`, async () => {
    const party = await signerParty(id)
    const signingTime = new Date('2026-05-01T10:00:00Z')
    const one = { ...signing(party, id), signingTime }
    for (const identifyBy of ['issuerAndSerialNumber', 'subjectKeyIdentifier'] as const) {
      const message = parseSignedData(
        await encodeSignedData({ content: { detached: content }, signers: [{ ...one, identifyBy }] }),
      )
      assert.equal(message.content, undefined)
      const { signers } = await verifySignedData(message, { content })
      assert.equal(signers.length, 1)
      assert.equal(signers[0]?.signatureAlgorithm, id)
      assert.deepEqual(signers[0]?.certificate.der, party.certificate)
      assert.deepEqual(signers[0]?.signingTime, signingTime)
      await assert.rejects(verifySignedData(message, { content: utf8('other') }), {
        code: 'badProof',
        reason: 'cmsContentChanged',
      })
    }
    const attached = parseSignedData(await encodeSignedData({ content: { attached: content }, signers: [one] }))
    assert.deepEqual((await verifySignedData(attached)).content, content)

    const [signerInfo] = attached.signerInfos as [SignerInfo]
    const other = second[id]
    assert.equal(other !== undefined, /^(ml|slh)-dsa/.test(id))
    const { subjectPublicKey } = decode(SubjectPublicKeyInfo, party.spki)
    const covered = encode(Attributes, signerInfo.signedAttrs?.value ?? [])
    if (other !== undefined) assert.ok(other.verify(signerInfo.signature, covered, subjectPublicKey))
    await rejects(attached, { signature: flipped(signerInfo.signature) }, { code: 'badProof', reason: 'cmsSignature' })
  })
}

test('RFC 8419, 8933, 9814, 9882: a digest that is too weak for its signature, or another than its own, is refused', async () => {
  for (const [id, digestAlgorithm] of [
    ['ecdsa-sha256', 'sha384'],
    ['rsa-pss-sha256', 'sha512'],
    ['ed25519', 'sha256'],
    ['ed448', 'sha512'],
    ['ml-dsa-65', 'sha256'],
    ['ml-dsa-87', 'sha384'],
    ['slh-dsa-sha2-256s', 'sha3-384'],
  ] as const) {
    const one = { ...signing(await signerParty(id), id), digestAlgorithm }
    await assert.rejects(encodeSignedData({ content: { attached: content }, signers: [one] }), {
      code: 'policyRefused',
      reason: 'cmsAlgorithmsDiffer',
    })
  }
  const party = await signerParty('ml-dsa-44')
  for (const digestAlgorithm of ['sha256', 'sha3-512', 'shake128', 'shake256'] as const) {
    const one = { ...signing(party, 'ml-dsa-44'), digestAlgorithm }
    const message = parseSignedData(await encodeSignedData({ content: { attached: content }, signers: [one] }))
    assert.equal((await verifySignedData(message)).signers[0]?.digestAlgorithm, digestAlgorithm)
  }
})

test('RFC 8419, 3.1: Ed448 names SHAKE256 with its length, and is read without it', async () => {
  const one = signing(await signerParty('ed448'), 'ed448')
  const message = parseSignedData(await encodeSignedData({ content: { attached: content }, signers: [one] }))
  assert.equal((await verifySignedData(message)).signers[0]?.digestAlgorithm, 'shake256-len')
  const [{ digestAlgorithm }] = message.signerInfos as [SignerInfo]
  assert.equal(encode(AlgorithmIdentifier, digestAlgorithm).toHex(), '300f060960864801650304021202020200')
  const short = { ...digestAlgorithm, parameters: Uint8Array.fromHex('02020100') }
  await rejects(message, { digestAlgorithm: short }, { code: 'unsupported' })
  const bare = { ...one, digestAlgorithm: 'shake256' } as const
  const older = parseSignedData(await encodeSignedData({ content: { attached: content }, signers: [bare] }))
  assert.equal((await verifySignedData(older)).signers[0]?.digestAlgorithm, 'shake256')
})

test('RFC 9882, examples: ML-DSA-44 with signed attributes verifies', async () => {
  const pem = readFileSync(join(import.meta.dirname, 'testdata', 'rfc9882-ml-dsa-44.pem'), 'utf8')
  const message = parseSignedData(parseOnePEM(pem, 'CMS'))
  // the key is that of the examples of RFC 9881: its seed is 00, 01, … 1f
  const seed = Uint8Array.from({ length: 32 }, (_, i) => i)
  const pkcs8 = Buffer.concat([Buffer.from('3034020100300b060960864801650304031104228020', 'hex'), seed])
  const publicKey: KeyObject = createPublicKey(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
  const [{ sid }] = message.signerInfos as [SignerInfo]
  assert.ok(sid.type === 'issuerAndSerialNumber')
  const certificate = await makeCertificate(makeKey(), {
    ...sid.value,
    subjectPublicKeyInfo: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
  })
  const { signers, content: found } = await verifySignedData(message, { certificates: [certificate] })
  assert.equal(signers[0]?.signatureAlgorithm, 'ml-dsa-44')
  assert.equal(signers[0]?.digestAlgorithm, 'sha512')
  assert.equal(new TextDecoder().decode(found), 'ML-DSA-44 signed-data example with signed attributes')
})

test('R9: content in any pieces, or as a digest, gives one and the same attribute', async () => {
  const whole = await digestContent(content, ['sha256', 'shake256'])
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(content.length), { maxLength: 5 }), async (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), content.length]
      const pieces = at.slice(1).map((end, i) => content.subarray(at[i], end))
      assert.deepEqual(await digestContent(inPieces(pieces), ['sha256', 'shake256']), whole)
    }),
  )
  const message = parseSignedData(await encodeSignedData({ content: { detached: whole }, signers: [byMaker] }))
  assert.equal((await verifySignedData(message, { content: whole })).signers.length, 1)
  assert.equal((await verifySignedData(message, { content: inPieces([content]) })).signers.length, 1)
  await assert.rejects(encodeSignedData({ content: { detached: new Map() }, signers: [byMaker] }), TypeError)
  await assert.rejects(verifySignedData(message, { content: new Map([['sha512', new Uint8Array(64)]]) }), { code: 'unsupported' })
})

test('R9: several signers, each with attributes of its own; one wrong refuses all, one unknown does not', async () => {
  const owner = await signerParty('ml-dsa-65')
  const extra = attributeWith('timeStampToken', OBJECT_IDENTIFIER, '1.2.3')
  const message = parseSignedData(
    await encodeSignedData({
      content: { attached: content },
      signers: [byMaker, { ...signing(owner, 'ml-dsa-65'), signedAttributes: [extra], unsignedAttributes: async () => [extra] }],
    }),
  )
  const { signers, unknownSigners } = await verifySignedData(message)
  assert.deepEqual(signers.map(({ signatureAlgorithm: id }) => id).toSorted(), ['ecdsa-sha256', 'ml-dsa-65'])
  assert.deepEqual(unknownSigners, [])
  const classical = message.signerInfos.findIndex(({ unsignedAttrs }) => unsignedAttrs === undefined)
  const first = message.signerInfos[classical] as SignerInfo
  const wrong = {
    ...message,
    signerInfos: message.signerInfos.with(classical, { ...first, signature: flipped(first.signature) }),
  }
  await assert.rejects(verifySignedData(wrong), { reason: 'cmsSignature' })
  const algorithm = encode(AlgorithmIdentifier, { algorithm: '1.2.3.4' })
  const unknown = { ...first, signatureAlgorithm: { der: algorithm, value: decode(AlgorithmIdentifier, algorithm) } }
  const partly = await verifySignedData({ ...message, signerInfos: message.signerInfos.with(classical, unknown) })
  assert.equal(partly.signers.length, 1)
  assert.equal(partly.unknownSigners[0]?.why.reason, 'signatureAlgorithm')
  await assert.rejects(verifySignedData({ ...message, signerInfos: [unknown] }), { code: 'unsupported' })
})

test('RFC 5652, 11.4: counter signatures are found and verified', async () => {
  const notary = await signerParty('rsa-sha256')
  const byNotary = signing(notary, 'rsa-sha256')
  const unsignedAttributes = async (signature: Uint8Array): Promise<readonly Attribute[]> => [
    await counterSignature(byNotary, signature),
  ]
  const message = parseSignedData(
    await encodeSignedData({ content: { attached: content }, signers: [{ ...byMaker, unsignedAttributes }] }),
  )
  const { signers } = await verifySignedData(message)
  const [{ signerInfo }] = signers as [VerifiedSigner]
  const { signature } = signerInfo
  const [counter] = counterSignaturesOf(signerInfo) as [SignerInfo]
  const { certificate } = await verifyCounterSignature(counter, signature, [notary.certificate])
  assert.deepEqual(certificate.der, notary.certificate)
  await assert.rejects(verifyCounterSignature(counter, flipped(signature), [notary.certificate]), { reason: 'cmsContentChanged' })
  await assert.rejects(verifyCounterSignature({ ...counter, signedAttrs: undefined }, signature, [notary.certificate]), {
    reason: 'badCMS',
  })
})

// Hostile messages

const certificate = parseCertificate(maker.certificate)
const identifier = signerIdentifier('ecdsa-sha256')
const usual: readonly Attribute[] = [
  attributeWith('contentType', OBJECT_IDENTIFIER, contentTypes.data),
  attributeWith('messageDigest', OCTET_STRING, digestOf('sha256', content)),
]

/** A message whose maker signs whatever it is told to. */
async function forged(attributes: readonly Attribute[], fields: Partial<SignerInfo> = {}): Promise<Uint8Array> {
  const covered = encode(Attributes, attributes)
  return messageOf(
    {
      version: 1,
      sid: identifierOf(certificate, 'issuerAndSerialNumber'),
      digestAlgorithm: digestIdentifier('sha256'),
      signedAttrs: { der: concat([Uint8Array.of(0xa0), covered.subarray(1)]), value: attributes },
      signatureAlgorithm: { der: identifier, value: decode(AlgorithmIdentifier, identifier) },
      signature: await byMaker.key.sign(covered, 'ecdsa-sha256'),
      ...fields,
    },
    content,
  )
}

function messageOf(signerInfo: SignerInfo, eContent: Uint8Array | undefined, certificates = [maker.certificate]): Uint8Array {
  const body = encode(SignedDataContent, {
    version: 1,
    digestAlgorithms: [digestIdentifier('sha256')],
    encapContentInfo: { eContentType: contentTypes.data, eContent: eContent && encode(OCTET_STRING, eContent) },
    certificates,
    signerInfos: [signerInfo],
  })
  return encode(ContentInfo, { contentType: contentTypes.signedData, content: body })
}

const verify = async (der: Uint8Array): Promise<unknown> => verifySignedData(parseSignedData(der))

test('what a forger makes is right unless something is wrong', async () => {
  await verify(await forged(usual))
})

const twice = (attribute: Attribute, value: Uint8Array): Attribute => ({
  ...attribute,
  attrValues: [...attribute.attrValues, value],
})
const [contentTypeAttribute, digestAttribute] = usual as [Attribute, Attribute]
const protection = (digest: 'sha256' | 'sha384', algorithm: 'ecdsa-sha256' | 'ecdsa-sha384'): Attribute =>
  attributeWith('cmsAlgorithmProtection', CMSAlgorithmProtection, {
    digestAlgorithm: digestIdentifier(digest),
    signatureAlgorithm: decode(AlgorithmIdentifier, signerIdentifier(algorithm)),
  })
const other = await signerParty('ecdsa-sha256')

for (const { name, attributes, fields, refusal } of [
  { name: 'no message digest', attributes: [contentTypeAttribute], refusal: { reason: 'badCMS', message: /no message digest/ } },
  { name: 'no content type', attributes: [digestAttribute], refusal: { reason: 'badCMS', message: /another content type/ } },
  {
    name: 'another content type',
    attributes: [attributeWith('contentType', OBJECT_IDENTIFIER, '1.2.3'), digestAttribute],
    refusal: { reason: 'badCMS', message: /another content type/ },
  },
  {
    name: 'attributes over other content',
    attributes: [contentTypeAttribute, attributeWith('messageDigest', OCTET_STRING, digestOf('sha256', utf8('other')))],
    refusal: { code: 'badProof', reason: 'cmsContentChanged' },
  },
  {
    name: 'two digests in one attribute',
    attributes: [contentTypeAttribute, twice(digestAttribute, encode(OCTET_STRING, new Uint8Array(32)))],
    refusal: { reason: 'badCMS', message: /not one value/ },
  },
  {
    name: 'two digest attributes',
    attributes: [...usual, attributeWith('messageDigest', OCTET_STRING, new Uint8Array(32))],
    refusal: { reason: 'repeatedAttribute' },
  },
  {
    name: 'a signing time that is no time',
    attributes: [...usual, attributeWith('signingTime', OCTET_STRING, content)],
    refusal: { code: 'malformed' },
  },
  {
    name: 'a signer that fits no certificate',
    attributes: usual,
    fields: { sid: identifierOf(parseCertificate(other.certificate), 'issuerAndSerialNumber') },
    refusal: { code: 'unauthenticated', reason: 'cmsSignerUnknown' },
  },
  {
    name: 'an exchanged digest algorithm',
    attributes: usual,
    fields: { digestAlgorithm: digestIdentifier('sha384') },
    refusal: { code: 'policyRefused', reason: 'cmsAlgorithmsDiffer' },
  },
  {
    name: 'a digest algorithm with parameters',
    attributes: usual,
    fields: { digestAlgorithm: { ...digestIdentifier('sha256'), parameters: encode(OCTET_STRING, content) } },
    refusal: { code: 'unsupported', reason: 'cmsAlgorithm' },
  },
  {
    name: 'SHA-1',
    attributes: usual,
    fields: { digestAlgorithm: { algorithm: '1.3.14.3.2.26' } },
    refusal: { code: 'unsupported', reason: 'cmsAlgorithm' },
  },
  {
    name: 'protection for another digest',
    attributes: [...usual, protection('sha384', 'ecdsa-sha256')],
    refusal: { code: 'badProof', message: /exchanged/ },
  },
  {
    name: 'protection for another signature',
    attributes: [...usual, protection('sha256', 'ecdsa-sha384')],
    refusal: { code: 'badProof', message: /exchanged/ },
  },
  {
    name: 'a signature made for another certificate',
    attributes: [
      ...usual,
      attributeWith('signingCertificateV2', SigningCertificateV2, signingCertificateOf(parseCertificate(other.certificate))),
    ],
    refusal: { code: 'badProof', message: /another certificate/ },
  },
  {
    name: 'a signer of version 3 by serial number',
    attributes: usual,
    fields: { version: 3 },
    refusal: { message: /version of a signer/ },
  },
] as const satisfies readonly {
  name: string
  attributes: readonly Attribute[]
  fields?: Partial<SignerInfo>
  refusal: object
}[]) {
  test(`${name}: refused`, async () => {
    await assert.rejects(async () => verify(await forged(attributes, fields)), refusal)
  })
}

test('RFC 5652, 5.3: attributes out of order are not DER, and are refused even in BER', async () => {
  const backwards = concat([
    encode(setOf('one', ANY), []),
    ...[digestAttribute, contentTypeAttribute].map((one) => encode(Attributes, [one]).subarray(2)),
  ]).subarray(2)
  const der = concat([Uint8Array.of(0xa0, backwards.length), backwards])
  const message = await forged(usual, { signedAttrs: { der, value: usual } })
  for (const encoding of ['der', 'ber'] as const)
    assert.throws(() => parseSignedData(message, { encoding }), { code: 'malformed', message: /ascending order/ })
})

test('a certificate that is not DER is refused in BER too', async () => {
  const message = parseSignedData(await forged(usual))
  const [signerInfo] = message.signerInfos as [SignerInfo]
  const { certificate: der } = maker
  const long = concat([Uint8Array.of(0x30, 0x83, 0), der.subarray(2)]) // the same length in one octet more
  assert.equal(der[1], 0x82)
  for (const encoding of ['der', 'ber'] as const)
    assert.throws(() => parseSignedData(messageOf(signerInfo, content, [long]), { encoding }), {
      code: 'malformed',
      message: /shortest form/,
    })
})

test('signed attributes of one message are no content of another', async () => {
  const covered = encode(Attributes, usual)
  const stolen = parseSignedData(await forged(usual)).signerInfos[0] as SignerInfo
  const moved = messageOf({ ...stolen, signedAttrs: undefined }, covered)
  await assert.rejects(verify(moved), { reason: 'badCMS', message: /signed attributes of another message/ })
  const bare = messageOf(
    { ...stolen, signedAttrs: undefined, signature: await byMaker.key.sign(content, 'ecdsa-sha256') },
    content,
  )
  await verify(bare)
  const detached = messageOf({ ...stolen, signedAttrs: undefined }, undefined)
  await assert.rejects(verifySignedData(parseSignedData(detached), { content: inPieces([content]) }), {
    reason: 'cmsContentStreamed',
  })
})

test('a message that nobody signed, without content, or with two, is refused', async () => {
  const message = parseSignedData(signed)
  await assert.rejects(verifySignedData({ ...message, signerInfos: [] }), { code: 'unauthenticated', reason: 'cmsNotSigned' })
  await assert.rejects(verifySignedData({ ...message, content: undefined }), { reason: 'cmsContentMissing' })
  await assert.rejects(verifySignedData(message, { content }), { reason: 'cmsContentTwice' })
})

test('a certificate of another key under the same identifier does not get in the way, and vouches for nothing', async () => {
  const message = parseSignedData(signed)
  const impostor = await makeCertificate(makeKey(), { issuer: certificate.issuer, serialNumber: certificate.serialNumber })
  assert.deepEqual((await verifySignedData(message, { certificates: [impostor] })).signers[0]?.certificate.der, maker.certificate)
  await assert.rejects(verifySignedData({ ...message, certificates: [impostor] }), { reason: 'cmsSignature' })
})

test('a signer with a key that is not its certificate’s makes nothing', async () => {
  const signer = { ...byMaker, certificate: other.certificate }
  await assert.rejects(encodeSignedData({ content: { attached: content }, signers: [signer] }), {
    code: 'conflict',
    reason: 'cmsKeyOther',
  })
})

for (const { name, hex, detail } of [
  { name: 'another type', hex: '300f06092a864886f70d010701a0020400', detail: /holds data and not signedData/ },
  {
    name: 'version 2',
    hex: '302306092a864886f70d010702a01630140201023100300b06092a864886f70d0107013100',
    detail: /version is 2/,
  },
  {
    name: 'an attribute certificate',
    hex: '302706092a864886f70d010702a01a30180201013100300b06092a864886f70d010701a002a1003100',
    detail: /something else than X\.509/,
  },
]) {
  test(`${name} is refused`, () => {
    assert.throws(() => parseSignedData(Uint8Array.fromHex(hex)), { code: 'malformed', message: detail })
  })
}

test('R31: cut anywhere, a message is malformed', () => {
  for (let end = 0; end < signed.length; end++) {
    for (const encoding of ['der', 'ber'] as const)
      assert.throws(() => parseSignedData(signed.subarray(0, end), { encoding }), { code: 'malformed' })
  }
})

test('R31: with any one bit flipped, a message is refused or says the same', async () => {
  const { signers: before } = await verifySignedData(parseSignedData(signed))
  await fc.assert(
    fc.asyncProperty(fc.nat(signed.length * 8 - 1), async (bit) => {
      const broken = new Uint8Array(signed)
      broken[bit >> 3] = (broken[bit >> 3] as number) ^ (0x80 >> (bit & 7))
      try {
        const { content: found, signers } = await verifySignedData(parseSignedData(broken))
        assert.deepEqual(found, content)
        assert.deepEqual(signers[0]?.signedAttributes, before[0]?.signedAttributes)
      } catch (thrown) {
        assert.ok(thrown instanceof TrustError && thrown.code !== 'internal', String(thrown))
      }
    }),
    { numRuns: 400 },
  )
})

test('RFC 5652, 11.3: signing time is written as UTCTime through 2049', () => {
  assert.equal(attributeWith('signingTime', Time, new Date('2049-12-31T23:59:59Z')).attrValues[0]?.[0], 0x17)
  assert.equal(attributeWith('signingTime', Time, new Date('2050-01-01T00:00:00Z')).attrValues[0]?.[0], 0x18)
  assert.equal(attributeTypes.signingTime, '1.2.840.113549.1.9.5')
})

function flipped(octets: Uint8Array): Uint8Array {
  const changed = new Uint8Array(octets)
  const last = changed.length - 1
  changed[last] = (changed[last] as number) ^ 1
  return changed
}

async function rejects(message: SignedData, fields: Partial<SignerInfo>, refusal: object): Promise<void> {
  const [first] = message.signerInfos as [SignerInfo]
  await assert.rejects(verifySignedData({ ...message, signerInfos: [{ ...first, ...fields }] }), refusal)
}

async function* inPieces(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces
}
