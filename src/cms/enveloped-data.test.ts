/** EnvelopedData and AuthEnvelopedData: opened by whom they are for, by nobody else, and not when they were changed. @module */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, hash, hkdfSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js'
import * as fc from 'fast-check'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode, encode, sequence } from '#asn1/codec.ts'
import { parseOnePEM } from '#asn1/pem.ts'
import { OBJECT_IDENTIFIER, OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { type Attribute, attributeWith } from './attributes.ts'
import { ContentInfo, contentTypes } from './content-info.ts'
import { type Agreer, type Decapsulator, type Decrypter, decryptEnvelope, type Opener } from './decrypt.ts'
import { decryptEnvelopeStream } from './decrypt-stream.ts'
import { encodeAuthEnvelopedData, encodeEnvelopedData, type Recipient, streamAuthEnvelopedData } from './encrypt.ts'
import {
  AuthEnvelopedDataContent,
  EnvelopedDataContent,
  type Envelope,
  KEMRecipientInfo,
  parseEnvelope,
  type RecipientInfo,
} from './enveloped-data.ts'
import { openerKey } from './key-objects.ts'
import { agreedKey, unwrapKey, unwrapWithPassword, wrapWithPassword } from './key-wrapping.ts'
import { type Party, recipientParty, type RecipientType, signerParty } from './testing.ts'

const { random } = systemWorld()
const content = utf8('the private key of press 7')
const to = ({ certificate }: Party): Recipient => ({ type: 'certificate', certificate })
const opener = ({ certificate, privateKey }: Party): Opener => ({ type: 'privateKey', certificate, key: openerKey(privateKey) })
const open = async (der: Uint8Array, by: Opener): Promise<Uint8Array> =>
  (await decryptEnvelope(parseEnvelope(der), by, random)).content
const NOT_OPENED = { code: 'badProof', reason: 'cmsNotOpened' }

const types: readonly RecipientType[] = ['rsa', 'P-256', 'P-384', 'P-521', 'x25519', 'ml-kem-512', 'ml-kem-768', 'ml-kem-1024']
const parties = new Map(await Promise.all(types.map(async (type) => [type, await recipientParty(type)] as const)))
const partyOf = (type: RecipientType): Party => parties.get(type) as Party
const shared = { type: 'kek', keyIdentifier: utf8('backup'), key: secret(random.octets(32)) } as const
const password = { type: 'password', password: secret(utf8('geheim')), iterationCount: 1000 } as const

for (const type of types) {
  test(`R9: a message for ${type} is opened with its key and no other`, async () => {
    const party = partyOf(type)
    const stranger = await recipientParty(type)
    for (const identifyBy of ['issuerAndSerialNumber', 'subjectKeyIdentifier'] as const) {
      for (const der of [
        await encodeEnvelopedData(
          { cipher: 'aes-256-cbc', content, recipients: [{ ...to(party), identifyBy } as Recipient] },
          random,
        ),
        await encodeAuthEnvelopedData(
          { cipher: 'aes-256-gcm', content, recipients: [{ ...to(party), identifyBy } as Recipient] },
          random,
        ),
      ]) {
        assert.deepEqual(await open(der, opener(party)), content)
        await assert.rejects(open(der, opener(stranger)), { code: 'forbidden', reason: 'cmsNoRecipient' })
        // the right certificate, the wrong key: for ML-KEM a key of chance comes out, for the others nothing does
        await assert.rejects(open(der, { ...opener(party), key: openerKey(stranger.privateKey) } as Opener), NOT_OPENED)
      }
    }
  })
}

test('R9: one message for all kinds of recipients at once; each opens it alone', async () => {
  const recipients: [Recipient, ...Recipient[]] = [shared, password, ...types.map((type) => to(partyOf(type)))]
  for (const der of [
    await encodeEnvelopedData({ cipher: 'aes-192-cbc', content, recipients }, random),
    await encodeAuthEnvelopedData({ cipher: 'aes-192-gcm', content, recipients }, random),
  ]) {
    for (const by of [shared, password, ...types.map((type) => opener(partyOf(type)))])
      assert.deepEqual(await open(der, by), content)
    await assert.rejects(open(der, { ...shared, keyIdentifier: utf8('other') }), { reason: 'cmsNoRecipient' })
    await assert.rejects(open(der, { ...shared, key: secret(new Uint8Array(32)) }), NOT_OPENED)
    await assert.rejects(open(der, { ...shared, key: secret(new Uint8Array(16)) }), NOT_OPENED)
    await assert.rejects(open(der, { type: 'password', password: secret(utf8('Geheim')) }), NOT_OPENED)
  }
})

test('RFC 5652, 6.1: the version says what is inside', async () => {
  const versionOf = async (recipient: Recipient, attributes: readonly Attribute[] = []): Promise<number> =>
    parseEnvelope(
      await encodeEnvelopedData(
        { cipher: 'aes-128-cbc', content, recipients: [recipient], unprotectedAttributes: attributes },
        random,
      ),
    ).value.version
  assert.equal(await versionOf(to(partyOf('rsa'))), 0)
  assert.equal(await versionOf({ ...to(partyOf('rsa')), identifyBy: 'subjectKeyIdentifier' } as Recipient), 2)
  assert.equal(await versionOf(to(partyOf('rsa')), [attributeWith('timeStampToken', OBJECT_IDENTIFIER, '1.2.3')]), 2)
  assert.equal(await versionOf(to(partyOf('P-256'))), 2)
  assert.equal(await versionOf(to(partyOf('ml-kem-768'))), 3)
  assert.equal(await versionOf(password), 3)
})

test('RFC 9936, appendix: the example for ML-KEM-512 opens', async () => {
  const pem = readFileSync(join(import.meta.dirname, 'testdata', 'rfc9936-ml-kem-512.pem'), 'utf8')
  // the key of the examples of RFC 9935: its seed is 00, 01, … 3f
  const seed = Uint8Array.from({ length: 64 }, (_, i) => i)
  const pkcs8 = Buffer.concat([Buffer.from('3054020100300b060960864801650304040104428040', 'hex'), seed])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const certificate = await makeCertificate(makeKey(), {
    subjectPublicKeyInfo: new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' })),
    extensions: [extensionWith(subjectKeyIdentifier, Uint8Array.fromHex('599788c37aed400ee405d1b2a3366ab17d824a51'))],
  })
  const opened = await decryptEnvelope(
    parseEnvelope(parseOnePEM(pem, 'CMS')),
    { type: 'privateKey', certificate, key: openerKey(privateKey) },
    random,
  )
  assert.equal(new TextDecoder().decode(opened.content), 'Hello, world!')
  assert.equal(opened.cipher, 'aes-128-gcm')
})

test('R9: what was encapsulated is decapsulated by code that is not OpenSSL', async () => {
  const seed = random.octets(64)
  const pkcs8 = Buffer.concat([Buffer.from('3054020100300b060960864801650304040204428040', 'hex'), seed])
  const publicKey = createPublicKey(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
  const certificate = await makeCertificate(makeKey(), {
    subjectPublicKeyInfo: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
  })
  const { secretKey } = ml_kem768.keygen(seed)
  const key: Decapsulator = { decapsulate: async (ciphertext) => ml_kem768.decapsulate(ciphertext, secretKey) }
  const der = await encodeAuthEnvelopedData(
    { cipher: 'aes-256-gcm', content, recipients: [{ type: 'certificate', certificate }] },
    random,
  )
  assert.deepEqual(await open(der, { type: 'privateKey', certificate, key }), content)
})

test('RFC 8418, 2.2: the key of X25519 is HKDF-SHA-256 of the shared secret over ECC-CMS-SharedInfo', async () => {
  const party = partyOf('x25519')
  const envelope = parseEnvelope(
    await encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: [to(party)] }, random),
  )
  const [recipient] = envelope.value.recipientInfos
  assert.ok(recipient?.type === 'kari' && recipient.value.originator.type === 'originatorKey')
  const { algorithm, publicKey } = recipient.value.originator.value
  assert.deepEqual(algorithm, { algorithm: '1.3.101.110' })
  assert.equal(publicKey.length, 32)
  assert.equal(recipient.value.keyEncryptionAlgorithm.algorithm, '1.2.840.113549.1.9.16.3.19')
  const spki = encode(SubjectPublicKeyInfo, { algorithm: Uint8Array.fromHex('300506032b656e'), subjectPublicKey: publicKey })
  const sharedSecret = await (openerKey(party.privateKey) as Agreer).agree(spki)
  // SEQUENCE { SEQUENCE { id-aes256-wrap }, [2] { OCTET STRING 00 00 01 00 } }, written by hand
  const info = Uint8Array.fromHex('3015300b060960864801650304012da206040400000100')
  const kek = new Uint8Array(hkdfSync('sha256', sharedSecret, new Uint8Array(32), info, 32))
  const { wrap, kek: ours } = agreedKey(recipient.value.keyEncryptionAlgorithm, sharedSecret)
  assert.deepEqual(ours, kek)
  assert.equal(unwrapKey(wrap, kek, recipient.value.recipientEncryptedKeys[0]?.encryptedKey as Uint8Array).length, 32)
  assert.throws(() => agreedKey(recipient.value.keyEncryptionAlgorithm, sharedSecret, content), { code: 'unsupported' })
})

test('RFC 5083, 2.1: content other than data has an authenticated content type, and attributes are authenticated', async () => {
  const extra = attributeWith('signingTime', OBJECT_IDENTIFIER, '1.2.3')
  const der = await encodeAuthEnvelopedData(
    { cipher: 'aes-256-gcm', contentType: contentTypes.signedData, content, recipients: [shared], attributes: [extra] },
    random,
  )
  const envelope = parseEnvelope(der)
  const opened = await decryptEnvelope(envelope, shared, random)
  assert.equal(opened.contentType, contentTypes.signedData)
  assert.equal(opened.attributes.length, 2)
  assert.ok(envelope.type === 'authEnvelopedData')
  const changed = (value: Partial<typeof envelope.value>): Envelope => ({ ...envelope, value: { ...envelope.value, ...value } })
  await assert.rejects(decryptEnvelope(changed({ authAttrs: undefined }), shared, random), { reason: 'badCMS' })
  const other = envelope.value.authAttrs?.der.slice() as Uint8Array
  other[other.length - 1] = 9
  const authAttrs = { der: other, value: envelope.value.authAttrs?.value ?? [] }
  await assert.rejects(decryptEnvelope(changed({ authAttrs }), shared, random), NOT_OPENED)
})

test('a certificate whose key is not for encryption is refused', async () => {
  const signs = await signerParty('ecdsa-sha256')
  const recipients: [Recipient] = [to(signs)]
  await assert.rejects(encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients }, random), {
    code: 'policyRefused',
    reason: 'cmsRecipientKey',
  })
  const edwards = await signerParty('ed25519')
  const certificate = await makeCertificate(makeKey(), {
    subjectPublicKeyInfo: edwards.spki,
    extensions: [extensionWith(keyUsage, ['keyAgreement'])],
  })
  await assert.rejects(
    encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: [{ type: 'certificate', certificate }] }, random),
    { code: 'unsupported' },
  )
  assert.throws(() => openerKey(edwards.privateKey), { code: 'unsupported' })
})

// Oracles

test('RFC 3218, 2.3: after PKCS #1 v1.5 a wrong padding, a wrong length and a wrong key end alike', async () => {
  const party = partyOf('rsa')
  const recipient: Recipient = { type: 'certificate', certificate: party.certificate, keyTransport: 'rsaEncryption' }
  const envelope = parseEnvelope(await encodeEnvelopedData({ cipher: 'aes-256-cbc', content, recipients: [recipient] }, random))
  const by = (decrypt: Decrypter['decrypt']): Opener => ({ type: 'privateKey', certificate: party.certificate, key: { decrypt } })
  const outcomeWith = (chance: Uint8Array, answer: Decrypter['decrypt']): Promise<string> =>
    decryptEnvelope(envelope, by(answer), { octets: () => chance }, { allowPKCS1: true }).then(
      ({ content: garbage }) => garbage.toHex(),
      (thrown: unknown) => (thrown as TrustError).reason,
    )
  // one key of chance in 256 passes the padding of CBC: look at one that does and at one that does not
  const seen = new Map<string, Uint8Array>()
  for (let n = 0; seen.size < 2 && n < 20_000; n++) {
    const key = new Uint8Array(hash('sha256', String(n), 'buffer'))
    const outcome = await outcomeWith(key, async () => key)
    if ([...seen.keys()].every((one) => (one === 'cmsNotOpened') !== (outcome === 'cmsNotOpened'))) seen.set(outcome, key)
  }
  assert.equal(seen.size, 2)
  for (const [outcome, chance] of seen) {
    for (const answer of [
      async () => Promise.reject(new Error('padding')),
      async () => new Uint8Array(),
      async () => new Uint8Array(16),
      async () => new Uint8Array(200),
    ])
      assert.equal(await outcomeWith(chance, answer), outcome)
  }
  await assert.rejects(decryptEnvelope(envelope, opener(party), random), {
    code: 'policyRefused',
    reason: 'cmsKeyTransportRefused',
  })
  const away = async (): Promise<Uint8Array> => Promise.reject(new TrustError('unavailable', 'databaseUnavailable'))
  await assert.rejects(decryptEnvelope(envelope, by(away), random, { allowPKCS1: true }), { code: 'unavailable' })
})

test('R31: with any one bit flipped, an authenticated message is refused or opens to the same', async () => {
  const der = await encodeAuthEnvelopedData(
    { cipher: 'aes-128-gcm', content, recipients: [shared, to(partyOf('P-256'))] },
    random,
  )
  await fc.assert(
    fc.asyncProperty(fc.nat(der.length * 8 - 1), async (bit) => {
      const broken = new Uint8Array(der)
      broken[bit >> 3] = (broken[bit >> 3] as number) ^ (0x80 >> (bit & 7))
      for (const by of [shared, opener(partyOf('P-256'))]) {
        try {
          assert.deepEqual(await open(broken, by), content)
        } catch (thrown) {
          assert.ok(thrown instanceof TrustError && thrown.code !== 'internal', String(thrown))
        }
      }
    }),
    { numRuns: 400 },
  )
})

// Bounds

const opened = parseEnvelope(await encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: [shared] }, random))
assert.ok(opened.type === 'authEnvelopedData')
const { value: right } = opened
const GCM = sequence('GCMParameters', { nonce: OCTET_STRING, length: SMALL_INTEGER })
const withCipher = (nonceOctets: number, tagOctets: number): Envelope => ({
  type: 'authEnvelopedData',
  value: {
    ...right,
    authEncryptedContentInfo: {
      ...right.authEncryptedContentInfo,
      contentEncryptionAlgorithm: {
        algorithm: '2.16.840.1.101.3.4.1.46',
        parameters: encode(GCM, { nonce: new Uint8Array(nonceOctets), length: tagOctets }),
      },
    },
  },
})

for (const { name, envelope, refusal } of [
  { name: 'a nonce of 8 octets', envelope: withCipher(8, 16), refusal: { reason: 'badCMS', message: /nonce/ } },
  { name: 'a nonce of 1 MiB', envelope: withCipher(1 << 20, 16), refusal: { code: 'tooLarge' } },
  { name: 'a tag of 4 octets', envelope: withCipher(12, 4), refusal: { reason: 'badCMS', message: /tag has 4/ } },
  { name: 'a tag of 17 octets', envelope: withCipher(12, 17), refusal: { reason: 'badCMS', message: /tag has 17/ } },
  { name: 'a tag shorter than it says', envelope: withCipher(12, 13), refusal: { reason: 'badCMS', message: /another length/ } },
  {
    name: 'a cut tag',
    envelope: { ...opened, value: { ...right, mac: right.mac.subarray(0, 4) } },
    refusal: { reason: 'badCMS', message: /another length/ },
  },
  {
    name: 'content that is elsewhere',
    envelope: {
      ...opened,
      value: { ...right, authEncryptedContentInfo: { ...right.authEncryptedContentInfo, encryptedContent: undefined } },
    },
    refusal: { reason: 'badCMS', message: /not in it/ },
  },
] as const satisfies readonly { name: string; envelope: Envelope; refusal: object }[]) {
  test(`${name}: refused`, async () => {
    await assert.rejects(decryptEnvelope(envelope, shared, random), refusal)
  })
}

test('a cipher without integrity is not taken for one that has it, nor the other way', async () => {
  const cbc = parseEnvelope(await encodeEnvelopedData({ cipher: 'aes-256-cbc', content, recipients: [shared] }, random))
  assert.ok(cbc.type === 'envelopedData')
  const { encryptedContentInfo } = cbc.value
  const asAuthenticated: Envelope = { ...opened, value: { ...right, authEncryptedContentInfo: encryptedContentInfo } }
  await assert.rejects(decryptEnvelope(asAuthenticated, shared, random), { message: /does not go with authEnvelopedData/ })
  const asPlain: Envelope = { ...cbc, value: { ...cbc.value, encryptedContentInfo: right.authEncryptedContentInfo } }
  await assert.rejects(decryptEnvelope(asPlain, shared, random), { message: /does not go with envelopedData/ })
})

test('RFC 3211: a password costs what is allowed and no more', async () => {
  const key = random.octets(32)
  const form = await wrapWithPassword(password.password, key, random, 1000)
  assert.deepEqual(await unwrapWithPassword(password.password, form), key)
  const giant = await wrapWithPassword(password.password, key, random, 1000)
  const parameters = giant.keyDerivationAlgorithm.parameters?.toHex().replace('020203e8', '02047fffffff') ?? ''
  const grown = Uint8Array.fromHex(parameters)
  grown[1] = (grown[1] as number) + 2
  const costly = { ...giant, keyDerivationAlgorithm: { ...giant.keyDerivationAlgorithm, parameters: grown } }
  await assert.rejects(unwrapWithPassword(password.password, costly), { code: 'tooLarge', reason: 'cmsIterations' })
  for (const encryptedKey of [new Uint8Array(), new Uint8Array(16), new Uint8Array(33), new Uint8Array(160)])
    await assert.rejects(unwrapWithPassword(password.password, { ...form, encryptedKey }), { reason: 'badCMS' })
  const four: Recipient[] = [password, password, password, password]
  const der = await encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: four as [Recipient] }, random)
  await assert.rejects(open(der, password), { reason: 'badCMS', message: /password recipients/ })
})

test('R31: recipients are counted', () => {
  const [one] = right.recipientInfos as [RecipientInfo]
  const body = encode(AuthEnvelopedDataContent, { ...right, recipientInfos: Array<RecipientInfo>(129).fill(one) })
  const der = encode(ContentInfo, { contentType: contentTypes.authEnvelopedData, content: body })
  assert.throws(() => parseEnvelope(der), { code: 'malformed', message: /more than 128/ })
  const odd = encode(AuthEnvelopedDataContent, {
    ...right,
    recipientInfos: [{ ...one, value: { ...one.value, version: 9 } } as RecipientInfo],
  })
  const wrong = encode(ContentInfo, { contentType: contentTypes.authEnvelopedData, content: odd })
  assert.throws(() => parseEnvelope(wrong), { reason: 'badCMS', message: /version of a recipient is 9/ })
  const none = encode(EnvelopedDataContent, {
    version: 0,
    recipientInfos: [],
    encryptedContentInfo: right.authEncryptedContentInfo,
  })
  assert.throws(
    () => parseEnvelope(encode(ContentInfo, { contentType: contentTypes.envelopedData, content: none })),
    /fewer than 1/,
  )
  assert.throws(() => parseEnvelope(encode(ContentInfo, { contentType: contentTypes.signedData, content: none })), {
    reason: 'cmsTypeOther',
  })
})

test('RFC 9629: the lengths and algorithms of a KEM recipient must agree with its key', async () => {
  const party = partyOf('ml-kem-768')
  const envelope = parseEnvelope(
    await encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: [to(party)] }, random),
  )
  assert.ok(envelope.type === 'authEnvelopedData')
  const [recipient] = envelope.value.recipientInfos
  assert.ok(recipient?.type === 'ori')
  const kem = decode(KEMRecipientInfo, recipient.value.oriValue)
  const changed = (fields: Partial<KEMRecipientInfo>): Envelope => {
    const oriValue = encode(KEMRecipientInfo, { ...kem, ...fields })
    return {
      ...envelope,
      value: { ...envelope.value, recipientInfos: [{ type: 'ori', value: { ...recipient.value, oriValue } }] },
    }
  }
  for (const [fields, refusal] of [
    [{ kekLength: 16 }, { reason: 'badCMS' }],
    [{ kem: { algorithm: '2.16.840.1.101.3.4.4.1' } }, { code: 'unsupported' }],
    [{ kdf: { algorithm: '1.2.3' } }, { code: 'unsupported' }],
    [{ wrap: { algorithm: '1.2.3' } }, { code: 'unsupported' }],
    [{ version: 1 }, { reason: 'badCMS' }],
    [{ kemct: new Uint8Array(10) }, NOT_OPENED],
    [{ ukm: content }, NOT_OPENED],
  ] as const)
    await assert.rejects(decryptEnvelope(changed(fields), opener(party), random), refusal)
})

// Streams

async function* inPieces(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}
const streamed = async (octets: Uint8Array, size: number): Promise<Uint8Array> =>
  concat(
    await Array.fromAsync(
      streamAuthEnvelopedData(
        { cipher: 'aes-256-gcm', content: inPieces(octets, size), contentOctets: octets.length, recipients: [shared] },
        random,
      ),
    ),
  )
const all = async (message: AsyncIterable<Uint8Array>): Promise<Uint8Array> =>
  concat(await Array.fromAsync((await decryptEnvelopeStream(message, shared, random)).unverifiedContent))

test('R23: what is written in a stream is read in one, in any pieces, and whole', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), fc.integer({ min: 1, max: 700 }), async (octets, size) => {
      const der = await streamed(octets, size)
      assert.deepEqual(await all(inPieces(der, size)), octets)
      assert.deepEqual(await open(der, shared), octets)
      const { contentOctets } = await decryptEnvelopeStream(inPieces(der, size), shared, random)
      assert.equal(contentOctets, octets.length)
    }),
    { numRuns: 40 },
  )
})

test('R23: a stream that was changed, cut or lengthened never ends well', async () => {
  const der = await streamed(content, 7)
  await fc.assert(
    fc.asyncProperty(fc.nat(der.length * 8 - 1), async (bit) => {
      const broken = new Uint8Array(der)
      broken[bit >> 3] = (broken[bit >> 3] as number) ^ (0x80 >> (bit & 7))
      await all(inPieces(broken, 11)).then(
        (octets) => assert.deepEqual(octets, content),
        (thrown: unknown) => assert.ok(thrown instanceof TrustError && thrown.code !== 'internal', String(thrown)),
      )
    }),
    { numRuns: 400 },
  )
  for (let end = 0; end < der.length; end++) await assert.rejects(all(inPieces(der.subarray(0, end), 64)), { code: 'malformed' })
  await assert.rejects(all(inPieces(concat([der, Uint8Array.of(0)]), 64)), { reason: 'badCMS', message: /follow/ })
  const withAttributes = await encodeAuthEnvelopedData(
    {
      cipher: 'aes-256-gcm',
      content,
      recipients: [shared],
      attributes: [attributeWith('signingTime', OBJECT_IDENTIFIER, '1.2.3')],
    },
    random,
  )
  await assert.rejects(all(inPieces(withAttributes, 64)), { reason: 'badCMS', message: /attributes are authenticated/ })
})

test('content that is not as long as was said is a mistake of the caller', async () => {
  const fields = { cipher: 'aes-256-gcm', recipients: [shared], contentOctets: 5 } as const
  await assert.rejects(Array.fromAsync(streamAuthEnvelopedData({ ...fields, content: inPieces(content, 4) }, random)), TypeError)
  await assert.rejects(
    Array.fromAsync(streamAuthEnvelopedData({ ...fields, contentOctets: 2 ** 33, content: inPieces(content, 4) }, random)),
    TypeError,
  )
  await assert.rejects(
    Array.fromAsync(streamAuthEnvelopedData({ ...fields, contentType: '1.2.3', content: inPieces(content, 4) }, random)),
    TypeError,
  )
})

test('R23: 256 MiB pass through without staying', async () => {
  const piece = new Uint8Array(1 << 20)
  const count = 256
  async function* many(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < count; i++) yield piece
  }
  const written = streamAuthEnvelopedData(
    { cipher: 'aes-128-gcm', content: many(), contentOctets: count * piece.length, recipients: [shared] },
    random,
  )
  const { unverifiedContent } = await decryptEnvelopeStream(written, shared, random)
  let octets = 0
  let most = 0
  for await (const one of unverifiedContent) {
    octets += one.length
    most = Math.max(most, one.length)
  }
  assert.equal(octets, count * piece.length)
  assert.ok(most <= piece.length)
})
