/** Messages over HTTP, without a network. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { talkTo } from '../testing.ts'
import { failureOf } from './failures.ts'
import { type DeviceMessagesService, deviceMessages } from './index.ts'
import { encodeList, LIST_MAX_OCTETS, MESSAGE_MEDIA_TYPE, type NumberedMessage, parseList } from './messages.ts'

const OWN = Uint8Array.of(1)
const kept: readonly NumberedMessage[] = [1, 2, 5].map((number) => ({ number, octets: Uint8Array.of(number) }))
const taken: string[] = []

const service: DeviceMessagesService = {
  async admit([own]) {
    if (own === undefined) throw new TrustError('unauthenticated', 'deviceCertificateNeeded')
    return `device-${own[0]}`
  },
  mailboxes: {
    command: { list: async (_device, after) => kept.filter(({ number }) => number > after) },
    receipt: {
      take: {
        maxOctets: 4,
        async run(deviceId, octets) {
          taken.push(`${deviceId} ${octets.toHex()}`)
          return octets[0] === 7 ? Uint8Array.of(8) : undefined
        },
      },
    },
  },
}
const talk = talkTo(deviceMessages, service)
const peer = { chain: [OWN] }
const receipt = { method: 'POST', path: '/device/messages/receipt', headers: { 'content-type': MESSAGE_MEDIA_TYPE }, peer }

test('R14: a device gets what the room has for it, above the number that it names', async () => {
  const { status, body } = await talk({ path: '/device/messages/command', query: 'after=1', peer })
  assert.equal(status, 200)
  assert.deepEqual(parseList(utf8(body as string), 1), kept.slice(1))
})

test('R14: what a device sends goes to the room with the name that its connection has', async () => {
  const { status, body } = await talk({ ...receipt, body: Uint8Array.of(1, 2) })
  assert.deepEqual([status, body, taken.splice(0)], [204, '', ['device-1 0102']])
  const answered = await talk({ ...receipt, body: Uint8Array.of(7) })
  assert.deepEqual([answered.status, answered.body, taken.splice(0)], [200, Uint8Array.of(8), ['device-1 07']])
})

for (const [what, sent, status] of [
  ['a connection without a certificate', { path: '/device/messages/command', peer: {} }, 401],
  ['a message over such a connection', { ...receipt, peer: {}, body: Uint8Array.of(1) }, 401],
  ['a kind that nobody fills', { path: '/device/messages/usage', peer }, 404],
  ['a kind that is none', { path: '/device/messages/gossip', peer }, 404],
  ['a list of what only comes in', { path: '/device/messages/receipt', peer }, 404],
  ['a label', { path: '/device/messages/line1/command', peer }, 404],
  ['a number that is none', { path: '/device/messages/command', query: 'after=-1', peer }, 400],
  ['two numbers', { path: '/device/messages/command', query: 'after=1&after=2', peer }, 400],
  ['another media type', { ...receipt, headers: { 'content-type': 'text/plain' } }, 400],
  ['more than the room takes', { ...receipt, body: new Uint8Array(5) }, 413],
] as const) {
  test(`${what} is refused`, async () => {
    assert.equal((await talk(sent)).status, status)
    assert.deepEqual(taken, [])
  })
}

for (const [code, status] of Object.entries(failureOf)) {
  test(`a refusal that is ${code} is told with ${status}`, async () => {
    const refusing = talkTo(deviceMessages, {
      ...service,
      admit: () => Promise.reject(new TrustError(code as TrustErrorCode, 'deviceNotInUse')),
    })
    const reply = await refusing({ ...receipt, body: Uint8Array.of(1) })
    assert.equal(reply.status, status)
    assert.match(String(reply.body), /\(deviceNotInUse\)\n$/)
  })
}

test('a list holds as much as fits, and always its first message', () => {
  const large = (number: number, length: number): NumberedMessage => ({ number, octets: new Uint8Array(length) })
  const numbers = (messages: readonly NumberedMessage[]): readonly number[] =>
    parseList(utf8(encodeList(messages)), 0).map(({ number }) => number)
  assert.deepEqual(numbers([large(1, LIST_MAX_OCTETS), large(2, 1)]), [1])
  assert.deepEqual(numbers([large(1, LIST_MAX_OCTETS + 1), large(2, 0)]), [1])
  assert.equal(numbers(Array.from({ length: 300 }, (_, at) => large(at + 1, 1))).length, 256)
})

for (const [what, body] of [
  ['that is no JSON', 'x'],
  ['that is null', 'null'],
  ['without messages', '{}'],
  ['with a number that was there', '{"messages":[{"number":4,"message":""}]}'],
  ['whose numbers fall', '{"messages":[{"number":6,"message":""},{"number":5,"message":""}]}'],
  ['with a number that is a fraction', '{"messages":[{"number":6.5,"message":""}]}'],
  ['with what is not base64', '{"messages":[{"number":6,"message":"?"}]}'],
  ['with null in it', '{"messages":[null]}'],
] as const) {
  test(`a device refuses a list ${what}`, () => {
    assert.throws(() => parseList(utf8(body), 4), { code: 'malformed', reason: 'notMessageList' })
  })
}

test('no octets crash the reader of lists', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json().map(utf8), fc.uint8Array({ maxLength: 64 })), (octets) => {
      try {
        parseList(octets, 0)
      } catch (error) {
        assert.equal((error as TrustError).code, 'malformed')
      }
    }),
  )
})
