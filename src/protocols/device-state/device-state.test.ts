/** Reports over HTTP, without a network. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { talkTo } from '../testing.ts'
import { failureOf } from './failures.ts'
import { deviceState } from './index.ts'
import { REPORT_MEDIA_TYPE } from './messages.ts'

const reportMaxOctets = 1000
const sent = { method: 'POST', path: '/device/v1/state', headers: { 'content-type': REPORT_MEDIA_TYPE } }

test('R33: a report goes to whoever judges, and the next challenge comes back', async () => {
  const talk = talkTo(deviceState, {
    reportMaxOctets,
    async take(report) {
      assert.equal(new TextDecoder().decode(report), 'a.b.c')
      return { challenge: 'next' }
    },
  })
  const { status, body } = await talk({ ...sent, body: 'a.b.c' })
  assert.deepEqual([status, body], [200, '{"challenge":"next"}'])
})

test('R33: a device whose report was not looked at is told to say it again', async () => {
  const talk = talkTo(deviceState, { reportMaxOctets, take: async () => ({ challenge: 'next', again: true as const }) })
  assert.equal((await talk({ ...sent, body: 'a.b.c' })).body, '{"challenge":"next","again":true}')
})

for (const [what, more, status] of [
  ['another media type', { headers: { 'content-type': 'text/plain' } }, 400],
  ['a label', { path: '/device/v1/line1/state' }, 404],
  ['more than a report has', { body: new Uint8Array(reportMaxOctets + 1) }, 413],
] as const) {
  test(`${what} is refused before anybody judges`, async () => {
    const talk = talkTo(deviceState, { reportMaxOctets, take: () => assert.fail('nobody is to see it') })
    assert.equal((await talk({ ...sent, ...more })).status, status)
  })
}

for (const [code, status] of Object.entries(failureOf)) {
  test(`a refusal that is ${code} is told with ${status}`, async () => {
    const talk = talkTo(deviceState, {
      reportMaxOctets,
      take: () => Promise.reject(new TrustError(code as TrustErrorCode, 'deviceStateWrong')),
    })
    const reply = await talk({ ...sent, body: 'a' })
    assert.equal(reply.status, status)
    assert.match(String(reply.body), /\(deviceStateWrong\)\n$/)
  })
}
