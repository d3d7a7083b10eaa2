/** Time stamps: every message in both directions, and tokens that are refused. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode } from '#asn1/codec.ts'
import { ANY } from '#asn1/any.ts'
import { utf8 } from '#base/bytes.ts'
import { digestOf } from './digests.ts'
import { encodeSignedData, type Signing } from './sign.ts'
import { signerParty, signingKey } from './testing.ts'
import { signatureAlgorithms } from '#algorithms/table.ts'
import {
  encodeGrantedTimeStamp,
  encodeRefusedTimeStamp,
  encodeTimeStampRequest,
  encodeTimeStampToken,
  parseTimeStampRequest,
  parseTimeStampResponse,
  parseTSTInfo,
  type TSTInfo,
  verifyTimeStamp,
} from './timestamp.ts'

const message = utf8('a signature')
const imprint = { digestAlgorithm: 'sha256', digest: digestOf('sha256', message) } as const
const nonce = Uint8Array.of(0x01, 0x02, 0x03)
const info: TSTInfo = {
  policy: '1.3.6.1.4.1.32473.7',
  imprint,
  serialNumber: Uint8Array.of(0x05),
  genTime: new Date('2027-05-02T01:02:03.450Z'),
  accuracy: { seconds: 1, millis: 500 },
  ordering: true,
  nonce,
  tsa: { type: 'dNSName', value: 'time.example' },
  extensions: [],
}
const party = await signerParty('ecdsa-sha256')
const signing: Signing = { key: signingKey(party), certificate: party.certificate, signatureAlgorithm: 'ecdsa-sha256' }
const digestWith = (id: Parameters<typeof digestOf>[0]): Uint8Array => digestOf(id, message)

test('RFC 3161, 2.4.1: a question is read as it was written', () => {
  for (const request of [
    { imprint, reqPolicy: '1.2.3', nonce, certReq: true, extensions: [] },
    { imprint, reqPolicy: undefined, nonce: undefined, certReq: false, extensions: [] },
  ])
    assert.deepEqual(parseTimeStampRequest(encodeTimeStampRequest(request)), request)
})

test('RFC 3161, 2.4.1: a digest of another length, another version and another algorithm are refused', () => {
  const der = encodeTimeStampRequest({ imprint, certReq: true, extensions: [] })
  const short = { ...imprint, digest: imprint.digest.subarray(1) }
  assert.throws(() => parseTimeStampRequest(encodeTimeStampRequest({ imprint: short, certReq: true, extensions: [] })), {
    code: 'malformed',
    reason: 'badTimeStamp',
  })
  assert.throws(() => parseTimeStampRequest(Uint8Array.fromHex(der.toHex().replace('020101', '020102'))), { code: 'malformed' })
  const sha1 = Uint8Array.fromHex(der.toHex().replace('608648016503040201', '608648016503040209'))
  assert.throws(() => parseTimeStampRequest(sha1), { code: 'malformed' }) // sha3-384, whose digests are longer
  assert.throws(() => parseTimeStampRequest(new Uint8Array(5000)), { code: 'tooLarge' })
})

test('RFC 3161, 2.4.2: an answer gives the token, or the reason', async () => {
  const token = await encodeTimeStampToken(info, signing, [])
  assert.deepEqual(parseTimeStampResponse(encodeGrantedTimeStamp(token)), token)
  assert.throws(() => parseTimeStampResponse(encodeRefusedTimeStamp('timeNotAvailable', 'the clock is in doubt')), {
    code: 'policyRefused',
    message: /timeNotAvailable, the clock is in doubt/,
  })
})

for (const { id } of signatureAlgorithms) {
  test(`R28: a token by ${id} says when, and is over these octets only`, async () => {
    const one = await signerParty(id)
    const by = { key: signingKey(one), certificate: one.certificate, signatureAlgorithm: id }
    const verified = await verifyTimeStamp(await encodeTimeStampToken(info, by, []), { digestWith, nonce })
    assert.deepEqual(verified.info, info)
    assert.deepEqual(verified.signer.certificate.der, one.certificate)
  })
}

test('what a token is not over, and what it does not repeat', async () => {
  const token = await encodeTimeStampToken(info, signing, [])
  await assert.rejects(verifyTimeStamp(token, { digestWith: (id) => digestOf(id, utf8('other')) }), {
    code: 'badProof',
    reason: 'timeStampOther',
  })
  await assert.rejects(verifyTimeStamp(token, { digestWith, nonce: Uint8Array.of(9) }), { reason: 'timeStampOther' })
  const without = await encodeTimeStampToken({ ...info, nonce: undefined }, signing, [])
  await assert.rejects(verifyTimeStamp(without, { digestWith, nonce }), { reason: 'timeStampOther' })
})

test('RFC 3161, 2.4.1: certificates are left out for those who did not ask, and are then given beside', async () => {
  const token = await encodeTimeStampToken(info, signing, undefined)
  await assert.rejects(verifyTimeStamp(token, { digestWith }), { code: 'unauthenticated' })
  assert.ok(await verifyTimeStamp(token, { digestWith, certificates: [party.certificate] }))
})

test('other signed content and two signers are no token', async () => {
  const data = await encodeSignedData({ content: { attached: message }, signers: [signing] })
  await assert.rejects(verifyTimeStamp(data, { digestWith }), { reason: 'badTimeStamp' })
  const other = await signerParty('rsa-sha256')
  const second = { key: signingKey(other), certificate: other.certificate, signatureAlgorithm: 'rsa-sha256' } as const
  const two = await encodeSignedData({
    contentType: '1.2.840.113549.1.9.16.1.4',
    content: { attached: infoDER },
    signers: [signing, second],
  })
  await assert.rejects(verifyTimeStamp(two, { digestWith }), { reason: 'badTimeStamp', message: /one signer/ })
})

/** Version 1, policy 1.2.3, an imprint of 32 zeros, serial number 5, and a time that is put in. */
const infoWith = (time: string): Uint8Array => {
  const written = `18${time.length.toString(16).padStart(2, '0')}${Buffer.from(time).toString('hex')}`
  const body = `020101 06022a03 3031 300d 0609608648016503040201 0500 0420 ${'00'.repeat(32)} 020105 ${written}`.replaceAll(
    ' ',
    '',
  )
  return Uint8Array.fromHex(`30${(body.length / 2).toString(16)}${body}`)
}
const infoDER = infoWith('20270502010203Z')

test('RFC 3161, 2.4.2: times have fractions or none, and one form', () => {
  for (const [written, read] of [
    ['20270502010203Z', '2027-05-02T01:02:03.000Z'],
    ['20270502010203.4Z', '2027-05-02T01:02:03.400Z'],
  ] as const) {
    const der = infoWith(written)
    assert.ok(decode(ANY, der))
    assert.equal(parseTSTInfo(der).genTime.toISOString(), read)
  }
  for (const written of ['2027050201020Z', '20270502010260Z', '20270230010203Z', '20270502010203.Z', '2027050201020.0Z'])
    assert.throws(() => parseTSTInfo(infoWith(written)), { code: 'malformed' }, written)
})

test('a fraction of a second is written as short as it can be', async () => {
  for (const genTime of [
    '2027-05-02T01:02:03.000Z',
    '2027-05-02T01:02:00.000Z',
    '2027-05-02T01:02:03.450Z',
    '2027-05-02T00:00:00.007Z',
  ]) {
    const token = await encodeTimeStampToken({ ...info, genTime: new Date(genTime) }, signing, [])
    assert.equal((await verifyTimeStamp(token, { digestWith })).info.genTime.toISOString(), genTime)
  }
})
