/** OCSP: requests read, answers written, and what RFC 6960 and RFC 9654 refuse. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { encode } from '#asn1/codec.ts'
import { OCTET_STRING } from '#asn1/types.ts'
import { encodeHeader } from '#asn1/writer.ts'
import { concat } from '#base/bytes.ts'
import { encodeExtension, type Extension, Extension as ExtensionCodec } from './extensions/extension.ts'
import { ocspNonce } from './extensions/ocsp-extensions.ts'
import { encodeName, nameOf } from './name.ts'
import {
  type CertStatus,
  encodeCertID,
  encodeOCSPError,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  OCSP_REQUEST_MAX_OCTETS,
  ocspErrors,
  type OCSPError,
  ocspResponder,
  parseOCSPRequest,
  parseOCSPResponse,
  verifyResponseSignature,
} from './ocsp.ts'
import { signatureIdentifier } from './signed.ts'
import { makeCertificate, makeKey } from './testing.ts'

const authority = makeKey()
const subject = encodeName(nameOf([{ type: 'CN', value: 'Line 1 CA' }]))
const issuer = { subject, subjectPublicKeyInfo: authority.spki }
const serialNumber = Uint8Array.of(0x2a)
const thisUpdate = new Date('2026-03-01T00:00:00Z')
const nextUpdate = new Date('2026-03-01T01:00:00Z')
const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')

const certIDOf = (serial: Uint8Array, algorithm: 'sha1' | 'sha256' = 'sha1'): Uint8Array =>
  encodeCertID(issuerHashes(issuer, algorithm), serial, algorithm)

for (const algorithm of ['sha1', 'sha256'] as const) {
  test(`RFC 6960, 4.1.1 and RFC 9919: an issuer is named by its ${algorithm} hashes`, () => {
    const { certIDs, nonce } = parseOCSPRequest(encodeOCSPRequest([certIDOf(serialNumber, algorithm)]))
    const [id] = certIDs
    assert.equal(id?.hashAlgorithm, algorithm)
    assert.deepEqual(id?.issuerNameHash, new Uint8Array(createHash(algorithm).update(subject).digest()))
    assert.deepEqual(
      id?.issuerKeyHash,
      new Uint8Array(createHash(algorithm).update(authority.publicKey.subjectPublicKey).digest()),
    )
    assert.deepEqual([id?.serialNumber, nonce], [serialNumber, undefined])
  })
}

test('a hash that is not offered is told apart and not refused: the answer is "unknown"', () => {
  const sha384 = certIDOf(serialNumber, 'sha256').slice()
  const oid = Uint8Array.fromHex('608648016503040201')
  const at = Buffer.from(sha384).indexOf(oid)
  sha384[at + 8] = 2
  const [id] = parseOCSPRequest(requestOf([sha384])).certIDs
  assert.equal(id?.hashAlgorithm, undefined)
  assert.deepEqual(id?.der, sha384)
})

const element = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const content = concat(parts)
  return concat([encodeHeader(tag, content.length), content])
}

interface Odd {
  readonly single?: readonly Extension[]
  readonly whole?: readonly Extension[]
  readonly before?: Uint8Array
  readonly signature?: Uint8Array
}

function requestOf(
  certIDs: readonly Uint8Array[],
  { single = [], whole = [], before = new Uint8Array(), signature = new Uint8Array() }: Odd = {},
): Uint8Array {
  const listOf = (tag: number, extensions: readonly Extension[]): Uint8Array =>
    extensions.length === 0
      ? new Uint8Array()
      : element(tag, element(0x30, ...extensions.map((one) => encode(ExtensionCodec, one))))
  const list = element(0x30, ...certIDs.map((der) => element(0x30, der, listOf(0xa0, single))))
  return element(0x30, element(0x30, before, list, listOf(0xa2, whole)), signature)
}

const nonceOf = (octets: number): Extension => ({
  extnID: ocspNonce.oid,
  critical: false,
  extnValue: encode(OCTET_STRING, new Uint8Array(octets)),
})
const one = [certIDOf(serialNumber)]

for (const octets of [1, 16, 32, 128]) {
  test(`RFC 9654, 2.1: a nonce of ${octets} octets is taken`, () => {
    assert.equal(parseOCSPRequest(requestOf(one, { whole: [nonceOf(octets)] })).nonce?.length, octets)
  })
}

const strange = (critical: boolean): Extension => ({ extnID: '1.3.6.1.4.1.99999.1', critical, extnValue: Uint8Array.of(5, 0) })
for (const { name, der, code } of [
  { name: 'a nonce of no octets', der: requestOf(one, { whole: [nonceOf(0)] }), code: 'malformed' },
  { name: 'a nonce of 129 octets', der: requestOf(one, { whole: [nonceOf(129)] }), code: 'malformed' },
  {
    name: 'a nonce that is no OCTET STRING',
    der: requestOf(one, { whole: [{ ...nonceOf(1), extnValue: Uint8Array.of(1, 2, 3) }] }),
    code: 'malformed',
  },
  { name: 'two nonces', der: requestOf(one, { whole: [nonceOf(16), nonceOf(16)] }), code: 'malformed' },
  { name: 'a critical extension that is not known', der: requestOf(one, { whole: [strange(true)] }), code: 'unsupported' },
  { name: 'one on a single request', der: requestOf(one, { single: [strange(true)] }), code: 'unsupported' },
  { name: 'no certificate at all', der: requestOf([]), code: 'malformed' },
  { name: 'more certificates than 32', der: requestOf(Array<Uint8Array>(33).fill(certIDOf(serialNumber))), code: 'malformed' },
  { name: 'version 2', der: requestOf(one, { before: Uint8Array.fromHex('a003020101') }), code: 'malformed' },
  { name: 'too many octets', der: new Uint8Array(OCSP_REQUEST_MAX_OCTETS + 1), code: 'tooLarge' },
]) {
  test(`a request with ${name} is refused`, () => assert.throws(() => parseOCSPRequest(der), { code }))
}

test('what does not matter is passed over: extensions that are not critical, a name, a signature', () => {
  const der = requestOf(one, {
    single: [strange(false)],
    whole: [strange(false)],
    before: Uint8Array.fromHex('a106820474657374'),
    signature: Uint8Array.fromHex('a0023000'),
  })
  assert.equal(parseOCSPRequest(der).certIDs.length, 1)
})

test('R3: a delegated responder answers for good, revoked and unknown, and repeats the nonce', async () => {
  const delegate = makeKey()
  const certificate = await makeCertificate(delegate)
  const responder = ocspResponder({ publicKey: delegate.spki, signatureAlgorithm, certificates: [certificate] })
  const statuses: CertStatus[] = [
    { type: 'good' },
    { type: 'revoked', revokedAt: new Date('2026-02-01T00:00:00Z'), reason: 'keyCompromise' },
    { type: 'revoked', revokedAt: new Date('2026-02-01T00:00:00Z') },
    { type: 'unknown' },
  ]
  const ids = statuses.map((_, i) => certIDOf(Uint8Array.of(i + 1), i % 2 === 0 ? 'sha1' : 'sha256'))
  const nonce = new Uint8Array(32).fill(7)
  const tbs = encodeResponseData(responder, {
    producedAt: thisUpdate,
    nonce,
    responses: ids.map((certID, i) => ({ certID, status: statuses[i] as CertStatus, thisUpdate, ...(i < 3 && { nextUpdate }) })),
  })
  const response = parseOCSPResponse(encodeOCSPResponse(responder, tbs, await delegate.signer.sign(tbs)))
  assert.ok(response.type === 'answer')
  const { answer } = response
  assert.deepEqual(
    answer.responses.map(({ der, status }) => ({ der, status })),
    ids.map((der, i) => ({ der, status: statuses[i] })),
  )
  assert.deepEqual(
    answer.responses.map((single) => single.nextUpdate),
    [nextUpdate, nextUpdate, nextUpdate, undefined],
  )
  assert.deepEqual([answer.nonce, answer.certs, answer.producedAt], [nonce, [certificate], thisUpdate])
  assert.deepEqual(answer.responderID, {
    type: 'byKey',
    value: new Uint8Array(createHash('sha1').update(delegate.publicKey.subjectPublicKey).digest()),
  })
  assert.equal(await verifyResponseSignature(answer, delegate.publicKey), true)
  assert.equal(await verifyResponseSignature(answer, authority.publicKey), false)
})

test('RFC 6960, 4.2.2.3: without nonce and certificates both fields are absent', async () => {
  const responder = ocspResponder({ publicKey: authority.spki, signatureAlgorithm, certificates: [] })
  const tbs = encodeResponseData(responder, {
    producedAt: thisUpdate,
    responses: [{ certID: certIDOf(serialNumber), status: { type: 'good' }, thisUpdate }],
  })
  const response = parseOCSPResponse(encodeOCSPResponse(responder, tbs, await authority.signer.sign(tbs)))
  assert.ok(response.type === 'answer')
  assert.deepEqual([response.answer.certs, response.answer.extensions, response.answer.nonce], [[], [], undefined])
})

for (const [error, status] of Object.entries(ocspErrors)) {
  test(`RFC 6960, 4.2.1: ${error} is status ${status}, without an answer`, () => {
    const der = encodeOCSPError(error as OCSPError)
    assert.equal(der.toHex(), `30030a010${status}`)
    assert.deepEqual(parseOCSPResponse(der), { type: error })
  })
}

for (const { name, hex, code } of [
  { name: 'success without an answer', hex: '30030a0100', code: 'malformed' },
  { name: 'a status that is not used', hex: '30030a0104', code: 'malformed' },
  { name: 'an answer of another type', hex: '30120a0100a00d300b06052b0601070104020500', code: 'unsupported' },
]) {
  test(`a response with ${name} is refused`, () => assert.throws(() => parseOCSPResponse(Uint8Array.fromHex(hex)), { code }))
}

test('no single octet changed and no cut makes either parser do anything but read or refuse', async () => {
  const request = encodeOCSPRequest([certIDOf(serialNumber), certIDOf(serialNumber, 'sha256')], new Uint8Array(32))
  const responder = ocspResponder({
    publicKey: authority.spki,
    signatureAlgorithm,
    certificates: [await makeCertificate(authority)],
  })
  const tbs = encodeResponseData(responder, {
    producedAt: thisUpdate,
    nonce: new Uint8Array(32),
    responses: [
      {
        certID: certIDOf(serialNumber),
        status: { type: 'revoked', revokedAt: thisUpdate, reason: 'superseded' },
        thisUpdate,
        nextUpdate,
      },
    ],
  })
  const response = encodeOCSPResponse(responder, tbs, await authority.signer.sign(tbs))
  for (const [parse, der] of [
    [parseOCSPRequest, request],
    [parseOCSPResponse, response],
  ] as const) {
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), fc.boolean(), (at, octet, cut) => {
        try {
          parse(cut ? der.slice(0, at) : der.with(at, octet))
        } catch (error) {
          assert.match((error as { code?: string }).code ?? String(error), /^(malformed|tooLarge|unsupported)$/)
        }
      }),
      { numRuns: 2000 },
    )
  }
})

test('the nonce in an answer is the extension that the registry writes', () => {
  const nonce = Uint8Array.of(1, 2, 3)
  const responder = ocspResponder({ publicKey: authority.spki, signatureAlgorithm, certificates: [] })
  const tbs = encodeResponseData(responder, {
    producedAt: thisUpdate,
    nonce,
    responses: [{ certID: certIDOf(serialNumber), status: { type: 'unknown' }, thisUpdate }],
  })
  assert.ok(tbs.toHex().endsWith(encodeExtension(ocspNonce, nonce).toHex()))
})
