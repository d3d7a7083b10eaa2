/** OCSP over HTTP by function calls. @module */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import {
  encodeCertID,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  OCSP_REQUEST_MAX_OCTETS,
  type OCSPError,
  ocspResponder,
  parseOCSPRequest,
  parseOCSPResponse,
} from '#x509/ocsp.ts'
import { signatureIdentifier } from '#x509/signed.ts'
import type { Reply } from '../protocol.ts'
import { certificateOf, type Sent, talkTo, testKey } from '../testing.ts'
import { errorOf } from './failures.ts'
import { ocsp, type OCSPService } from './index.ts'
import { encodeRequestPath, parseRequestPath } from './messages.ts'

const key = testKey()
const certID = encodeCertID(issuerHashes(parseCertificate(certificateOf(key)), 'sha1'), Uint8Array.of(0x7f))
const request = encodeOCSPRequest([certID])
const withNonce = encodeOCSPRequest([certID], new Uint8Array(32).fill(7))
const REQUEST = { 'content-type': 'application/ocsp-request' }
const producedAt = new Date('2026-03-01T10:00:00Z')
const nextUpdate = new Date('2026-03-01T11:00:00Z')

/** Signs that everything is good. */
const service: OCSPService = {
  answer(der) {
    const { certIDs, nonce } = parseOCSPRequest(der)
    const responder = ocspResponder({
      publicKey: key.publicKey,
      signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
      certificates: [],
    })
    const responses = certIDs.map((one) => ({
      certID: one.der,
      status: { type: 'good' } as const,
      thisUpdate: producedAt,
      nextUpdate,
    }))
    const tbs = encodeResponseData(responder, { producedAt, responses, nonce })
    return Promise.resolve({
      der: encodeOCSPResponse(responder, tbs, key.sign(tbs)),
      producedAt,
      nextUpdate,
      maxAgeSeconds: 3599,
      hasNonce: nonce !== undefined,
    })
  },
}
const talk = talkTo(ocsp, service)

const post = (changes: Partial<Sent> = {}): Sent => ({
  method: 'POST',
  path: '/ocsp',
  headers: REQUEST,
  body: request,
  ...changes,
})

function answerIn({ status, headers, body }: Reply) {
  assert.equal(status, 200)
  assert.equal(headers['content-type'], 'application/ocsp-response')
  return parseOCSPResponse(body as Uint8Array)
}

const accepted: { name: string; sent: Sent }[] = [
  { name: 'POST', sent: post() },
  { name: 'POST with a slash', sent: post({ path: '/ocsp/' }) },
  { name: "POST at an authority's address", sent: post({ path: '/ocsp/line1.2' }) },
  { name: 'GET with escapes', sent: { path: `/ocsp/${encodeRequestPath(request)}` } },
  { name: 'GET without escapes', sent: { path: `/ocsp/${request.toBase64()}` } },
  {
    name: 'GET with lower-case escapes',
    sent: { path: `/ocsp/${request.toBase64().replaceAll('=', '%3d').replaceAll('/', '%2f').replaceAll('+', '%2b')}` },
  },
  { name: "GET at an authority's address", sent: { path: `/ocsp/line1.2/${encodeRequestPath(request)}` } },
  { name: "GET at an authority's newest generation", sent: { path: `/ocsp/line1/${request.toBase64()}` } },
]
for (const { name, sent } of accepted) {
  test(`answers ${name} (RFC 6960, A.1)`, async () => {
    const response = answerIn(await talk(sent))
    assert.ok(response.type === 'answer')
    assert.equal(response.answer.responses[0]?.status.type, 'good')
  })
}

test('a GET may be kept by caches until just before its end (RFC 9919, 7.2)', async () => {
  const { headers, body } = await talk({ path: `/ocsp/${encodeRequestPath(request)}` })
  assert.equal(headers['cache-control'], 'max-age=3599, public, no-transform, must-revalidate')
  assert.equal(headers['last-modified'], 'Sun, 01 Mar 2026 10:00:00 GMT')
  assert.equal(headers['expires'], 'Sun, 01 Mar 2026 11:00:00 GMT')
  assert.equal(headers['etag'], `"${hash('sha256', body as Uint8Array, 'hex')}"`)
})

test('who has the answer already gets 304 and not it again (RFC 9110, 13)', async () => {
  const path = `/ocsp/${encodeRequestPath(request)}`
  const answer = await service.answer(request) // ours signs anew each time
  const same = talkTo(ocsp, { answer: () => Promise.resolve(answer) })
  const etag = (await same({ path })).headers['etag'] ?? ''
  for (const [given, status] of [
    [etag, 304],
    [`"x", W/${etag}`, 304],
    ['*', 304],
    ['"x"', 200],
  ] as const) {
    const reply = await same({ path, headers: { 'if-none-match': given } })
    assert.equal(reply.status, status, given)
    assert.equal(reply.headers['etag'], etag)
    assert.equal(reply.body.length === 0, status === 304)
  }
  const withOwnNonce = `/ocsp/${encodeRequestPath(withNonce)}`
  assert.equal((await talk({ path: withOwnNonce, headers: { 'if-none-match': '*' } })).status, 200)
})

test('an answer to a nonce is for one client, and a POST for none to keep (RFC 9654)', async () => {
  const byPath = await talk({ path: `/ocsp/${encodeRequestPath(withNonce)}` })
  assert.equal(byPath.headers['cache-control'], 'no-store')
  assert.equal('etag' in byPath.headers, false)
  const response = answerIn(byPath)
  assert.ok(response.type === 'answer')
  assert.deepEqual(response.answer.nonce, new Uint8Array(32).fill(7))
  assert.equal('cache-control' in (await talk(post())).headers, false)
})

const refused: { name: string; sent: Sent; error: OCSPError }[] = [
  { name: 'no body', sent: post({ body: '' }), error: 'malformedRequest' },
  { name: 'another media type', sent: post({ headers: { 'content-type': 'text/plain' } }), error: 'malformedRequest' },
  { name: 'no media type', sent: post({ headers: {} }), error: 'malformedRequest' },
  { name: 'base64 in the body', sent: post({ body: request.toBase64() }), error: 'malformedRequest' },
  { name: 'bytes after the request', sent: post({ body: concat([request, Uint8Array.of(0)]) }), error: 'malformedRequest' },
  {
    name: 'a body beyond the limit',
    sent: post({ body: new Uint8Array(OCSP_REQUEST_MAX_OCTETS + 1) }),
    error: 'malformedRequest',
  },
  { name: 'an empty nonce', sent: post({ body: encodeOCSPRequest([certID], new Uint8Array(0)) }), error: 'malformedRequest' },
  {
    name: 'a nonce of 129 octets',
    sent: post({ body: encodeOCSPRequest([certID], new Uint8Array(129)) }),
    error: 'malformedRequest',
  },
  { name: 'a path that is not base64', sent: { path: '/ocsp/M$' }, error: 'malformedRequest' },
  { name: 'a path with a broken escape', sent: { path: '/ocsp/M%2' }, error: 'malformedRequest' },
  { name: 'a path with a space', sent: { path: `/ocsp/%20${request.toBase64()}` }, error: 'malformedRequest' },
  { name: 'an authority and nothing', sent: { path: '/ocsp/line1.2/' }, error: 'malformedRequest' },
  { name: 'a path without its padding', sent: { path: '/ocsp/MA' }, error: 'malformedRequest' },
  { name: 'a path beyond the limit', sent: { path: `/ocsp/${'M'.repeat(5000)}` }, error: 'malformedRequest' },
]
for (const { name, sent, error } of refused) {
  test(`refuses ${name}: ${error}`, async () => {
    const reply = await talk(sent)
    assert.deepEqual(answerIn(reply), { type: error })
    assert.equal(reply.headers['cache-control'], 'no-store')
  })
}

for (const code of Object.keys(errorOf) as TrustErrorCode[]) {
  test(`a refusal ${code} is ${errorOf[code]} with HTTP status 200`, async () => {
    const refusing: OCSPService = { answer: () => Promise.reject(new TrustError(code, 'ocspNotOurs', { retryAfterSeconds: 5 })) }
    const reply = await talkTo(ocsp, refusing)(post())
    assert.deepEqual(answerIn(reply), { type: errorOf[code] })
    assert.equal(reply.headers['retry-after'], '5')
  })
}

test('a bug says nothing but that', async () => {
  const reply = await talkTo(ocsp, { answer: () => Promise.reject(new Error('x')) })(post())
  assert.deepEqual(answerIn(reply), { type: 'internalError' })
})

test('a PUT is answered with the methods that would do', async () => {
  const reply = await talk(post({ method: 'PUT' }))
  assert.equal(reply.status, 405)
  assert.equal(reply.headers['allow'], 'POST')
})

test("what a path carries comes back, whatever it is, and no authority's name hides it", () => {
  const slug = fc.stringMatching(/^[a-ln-z0-9][a-z0-9]{0,31}(\.[0-9]{1,5})?$/)
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.option(slug, { nil: undefined }),
      fc.boolean(),
      (tail, authority, escaped) => {
        const der = concat([Uint8Array.of(0x30), tail]) // a SEQUENCE, as every request is
        const path = escaped ? encodeRequestPath(der) : der.toBase64()
        assert.deepEqual(parseRequestPath(authority === undefined ? `/${path}` : `/${authority}/${path}`), der)
      },
    ),
    { numRuns: 2000 },
  )
})

test('no bytes crash it: every answer is an OCSP response, and none says internalError', async () => {
  const mutated = fc.tuple(fc.nat(withNonce.length - 1), fc.nat(255)).map(([at, octet]) => withNonce.with(at, octet))
  const types = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.oneof(mutated, fc.uint8Array({ maxLength: 120 })), fc.boolean(), async (der, byPath) => {
      const response = answerIn(
        await talk(byPath && der.length > 0 ? { path: `/ocsp/${encodeRequestPath(der)}` } : post({ body: der })),
      )
      types.add(response.type)
      assert.notEqual(response.type, 'internalError')
    }),
    { numRuns: 2000 },
  )
  assert.ok(types.has('answer') && types.has('malformedRequest'))
})
