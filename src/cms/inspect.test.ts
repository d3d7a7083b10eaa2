/** CMS messages in words: what a person wants to know before they trust or open one. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encode } from '#asn1/codec.ts'
import { OCTET_STRING } from '#asn1/types.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { encodeCertsOnly } from './certs-only.ts'
import { ContentInfo, contentTypes } from './content-info.ts'
import { encodeAuthEnvelopedData, encodeEnvelopedData } from './encrypt.ts'
import { describeCMS, isCMS } from './inspect.ts'
import { encodeSignedData } from './sign.ts'
import { recipientParty, signerParty, signingKey } from './testing.ts'

const { random } = systemWorld()
const content = utf8('firmware')
const party = await signerParty('ecdsa-sha256')
const signing = {
  key: signingKey(party),
  certificate: party.certificate,
  signatureAlgorithm: 'ecdsa-sha256',
  signingTime: new Date('2026-05-01T10:00:00Z'),
} as const

test('a signed message: who, with what, when, and whether it fits', async () => {
  const der = await encodeSignedData({ content: { attached: content }, signers: [signing] })
  assert.ok(isCMS(der) && !isCMS(party.certificate))
  const { kind, fields, carried } = await describeCMS(der)
  assert.equal(kind, 'signedData')
  assert.deepEqual(carried, [party.certificate])
  assert.equal(fields['contentOctets'], content.length)
  assert.equal(fields['signatures'], '1 of 1 fit the content and the certificates in it')
  const [signer] = fields['signers'] as { [key: string]: string | readonly string[] }[]
  assert.match(signer?.['signer'] as string, /^serial number [0-9a-f]+ of CN=Test$/)
  assert.equal(signer?.['signatureAlgorithm'], 'ecdsa-sha256')
  assert.equal(signer?.['signingTime'], '2026-05-01T10:00:00.000Z')
  const attributes = signer?.['signedAttributes'] as readonly string[]
  assert.deepEqual(attributes.toSorted(), [
    'cmsAlgorithmProtection',
    'contentType',
    'messageDigest',
    'signingCertificateV2',
    'signingTime',
  ])
})

test('a signature that does not fit, one without content, and none', async () => {
  const der = await encodeSignedData({ content: { attached: content }, signers: [signing] })
  const broken = Uint8Array.from(der)
  broken[broken.length - 1] = (broken.at(-1) as number) ^ 1
  assert.match((await describeCMS(broken)).fields['signatures'] as string, /signature of the CMS message is wrong/)
  const detached = await encodeSignedData({ content: { detached: content }, signers: [signing] })
  assert.equal((await describeCMS(detached)).fields['signatures'], 'not checked without the content')
  assert.equal((await describeCMS(encodeCertsOnly([party.certificate]))).fields['signatures'], 'nobody signed')
})

test('an encrypted message: for whom, how, and with what', async () => {
  const people = await Promise.all((['rsa', 'P-256', 'ml-kem-768'] as const).map(recipientParty))
  const [rsa, ec, kem] = people.map(({ certificate }) => ({ type: 'certificate', certificate }) as const) as [never, never, never]
  const shared = { type: 'kek', keyIdentifier: Uint8Array.of(7), key: secret(new Uint8Array(16)) } as const
  const password = { type: 'password', password: secret(content), iterationCount: 1 } as const
  const { kind, fields } = await describeCMS(
    await encodeAuthEnvelopedData({ cipher: 'aes-256-gcm', content, recipients: [rsa, ec, kem, shared, password] }, random),
  )
  assert.equal(kind, 'authEnvelopedData')
  assert.equal(fields['cipher'], 'aes-256-gcm')
  assert.equal(fields['authenticated'], true)
  const ways = (fields['recipients'] as { way: string; algorithm?: string }[]).map(({ way, algorithm }) =>
    `${way} ${algorithm ?? ''}`.trim(),
  )
  assert.deepEqual(ways.toSorted(), [
    'key agreement dhSinglePass-stdDH-sha256kdf-scheme',
    'key encapsulation ML-KEM-768',
    'key transport RSAES-OAEP',
    'password',
    'shared key',
  ])
  const plain = await describeCMS(await encodeEnvelopedData({ cipher: 'aes-128-cbc', content, recipients: [shared] }, random))
  assert.deepEqual([plain.kind, plain.fields['authenticated'], plain.fields['cipher']], ['envelopedData', false, 'aes-128-cbc'])
})

test('another kind of message is named and refused', async () => {
  const data = encode(ContentInfo, { contentType: contentTypes.data, content: encode(OCTET_STRING, content) })
  await assert.rejects(describeCMS(data), { code: 'unsupported', reason: 'cmsTypeOther', message: /holds data/ })
})
