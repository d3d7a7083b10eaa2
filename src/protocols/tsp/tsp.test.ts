/** Time stamps over HTTP by function calls. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import {
  encodeGrantedTimeStamp,
  encodeTimeStampRequest,
  parseTimeStampRequest,
  parseTimeStampResponse,
  TIME_STAMP_REQUEST_MAX_OCTETS,
} from '#cms/timestamp.ts'
import type { Transport } from '../http-client.ts'
import type { Reply } from '../protocol.ts'
import { type Sent, talkTo } from '../testing.ts'
import { tspClient } from './client.ts'
import { failureOf } from './failures.ts'
import { tsp, type TSPService } from './index.ts'

const request = encodeTimeStampRequest({
  imprint: { digestAlgorithm: 'sha256', digest: new Uint8Array(32).fill(3) },
  reqPolicy: '1.2.3.4',
  nonce: Uint8Array.of(0x41, 2),
  certReq: true,
  extensions: [],
})
const token = Uint8Array.of(0x30, 0)
const QUERY = { 'content-type': 'application/timestamp-query' }
const post = (changes: Partial<Sent> = {}): Sent => ({
  method: 'POST',
  path: '/tsa/time',
  headers: QUERY,
  body: request,
  ...changes,
})

/** Reads the question, and answers with a token that says nothing. */
const service: TSPService = {
  async answer(name, octets) {
    parseTimeStampRequest(octets)
    if (name !== 'time') throw new TrustError('notFound', 'signerUnknown', { facts: { name } })
    return { response: encodeGrantedTimeStamp(token) }
  },
}
const talk = talkTo(tsp, service)
const refusing = (error: TrustError) =>
  talkTo(tsp, {
    async answer() {
      throw error
    },
  })

/** The words of a refusal, as a client reads them. */
function refusalIn({ status, headers, body }: Reply): string {
  assert.equal(status, 200)
  assert.equal(headers['content-type'], 'application/timestamp-reply')
  try {
    parseTimeStampResponse(body as Uint8Array)
  } catch (error) {
    return String((error as TrustError).facts['detail']).split(', ')[1] ?? ''
  }
  return 'granted'
}

test('RFC 3161, 3.4: the answer comes back in its media type', async () => {
  const reply = await talk(post({ headers: { 'content-type': 'Application/Timestamp-Query; charset=x' } }))
  assert.equal(reply.headers['content-type'], 'application/timestamp-reply')
  assert.deepEqual(parseTimeStampResponse(reply.body as Uint8Array), token)
})

const refused: { name: string; sent: Sent; words: string }[] = [
  { name: 'no body', sent: post({ body: '' }), words: 'badDataFormat' },
  { name: 'another media type', sent: post({ headers: { 'content-type': 'text/plain' } }), words: 'badDataFormat' },
  { name: 'octets after the request', sent: post({ body: Buffer.concat([request, Uint8Array.of(0)]) }), words: 'badDataFormat' },
  {
    name: 'a body beyond the limit',
    sent: post({ body: new Uint8Array(TIME_STAMP_REQUEST_MAX_OCTETS + 1) }),
    words: 'badDataFormat',
  },
  {
    name: 'a digest of an algorithm that is not taken (SHA-1)',
    sent: post({ body: Uint8Array.fromHex(`3024020101301f300706052b0e03021a0414${'00'.repeat(20)}`) }),
    words: 'badAlg',
  },
]
for (const { name, sent, words } of refused) {
  test(`RFC 3161, 2.4.2: ${name} is ${words}`, async () => assert.equal(refusalIn(await talk(sent)), words))
}

for (const [reason, code, words] of [
  ['clockDoubtful', 'unavailable', 'timeNotAvailable'],
  ['timeStampPolicy', 'policyRefused', 'unacceptedPolicy'],
  ['timeStampExtension', 'unsupported', 'unacceptedExtension'],
] as const) {
  test(`RFC 3161, 2.4.2: ${reason} is ${words}`, async () => {
    assert.equal(refusalIn(await refusing(new TrustError(code, reason))(post())), words)
  })
}

for (const code of Object.keys(failureOf) as TrustErrorCode[]) {
  test(`a refusal ${code} is ${failureOf[code]}`, async () => {
    const reply = await refusing(new TrustError(code, 'signerChanged', { retryAfterSeconds: 5 }))(post())
    assert.equal(reply.headers['retry-after'], '5')
    const said = failureOf[code]
    if (typeof said === 'number') assert.equal(reply.status, said)
    else assert.equal(refusalIn(reply), said)
  })
}

test('an authority that is not there is 404, and so is a path without one', async () => {
  assert.equal((await talk(post({ path: '/tsa/other' }))).status, 404)
  assert.equal((await talk(post({ path: '/tsa' }))).status, 404)
  assert.equal((await talk({ method: 'GET', path: '/tsa/time' })).status, 405)
})

test('the client takes a granted token, hands on the words of a refusal, and no other answer', async () => {
  const through = (answer: { status: number; type: string; body: Uint8Array }): Transport => ({
    async ask({ url, headers }) {
      assert.equal(url.href, 'http://tsa.example/tsa/time')
      assert.deepEqual(headers, QUERY)
      return { status: answer.status, headers: { 'content-type': answer.type }, body: answer.body }
    },
    close: () => {},
  })
  const ask = (answer: Parameters<typeof through>[0]) =>
    tspClient({ url: 'http://tsa.example/tsa/time', transport: through(answer) }).ask(request)
  const type = 'application/timestamp-reply'
  const { body } = await talk(post())
  assert.deepEqual(await ask({ status: 200, type, body: body as Uint8Array }), token)
  const refusal = await refusing(new TrustError('policyRefused', 'timeStampPolicy'))(post())
  await assert.rejects(ask({ status: 200, type, body: refusal.body as Uint8Array }), {
    code: 'policyRefused',
    message: /unacceptedPolicy/,
  })
  await assert.rejects(ask({ status: 200, type: 'text/html', body: body as Uint8Array }), { code: 'unavailable' })
  await assert.rejects(ask({ status: 429, type, body: body as Uint8Array }), { code: 'unavailable' })
})

test('no octets crash it: every answer is a TimeStampResp, and none says systemFailure', async () => {
  const mutated = fc.tuple(fc.nat(request.length - 1), fc.nat(255)).map(([at, octet]) => request.with(at, octet))
  const words = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.oneof(mutated, fc.uint8Array({ maxLength: 120 })), async (body) => {
      words.add(refusalIn(await talk(post({ body }))))
    }),
    { numRuns: 2000 },
  )
  assert.ok(words.has('granted') && words.has('badDataFormat') && words.has('badAlg'))
  assert.equal(words.has('systemFailure'), false)
})
