/** DDI over HTTP, without a network: what goes in is bounded and strict, what comes out is as clients read it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '../protocol.ts'
import { type Sent, talkTo } from '../testing.ts'
import { failureOf } from './failures.ts'
import { ddi } from './index.ts'
import {
  encodeDeployment,
  encodePoll,
  encodeSleep,
  parseAutoConfirmation,
  parseConfigData,
  parseDeployment,
  parseFeedback,
  parsePoll,
} from './messages.ts'
import { partOf } from './ranges.ts'
import type { Credentials, DdiService, Deployment } from './service.ts'

const HOST = { host: 'pki.example:8443' }
const AT = '/ddi/plant/controller/v1/P-1'
const body = utf8('0123456789'.repeat(20))
const hashes = { sha1: '1'.repeat(40), md5: '2'.repeat(32), sha256: '3'.repeat(64) }
const facts = { filename: 'press 1.swu', octets: body.length, hashes }
const deployment: Deployment = {
  ...{ action: 77, download: 'forced', update: 'forced', maintenanceWindow: 'available' },
  chunks: [{ part: 'os', name: 'press-os', version: '2.0.0', artifacts: [facts] }],
}

/** Everything that it is asked fails the test unless it is given. */
function serviceOf(given: Partial<DdiService>, seen: (name: string, credentials: Credentials) => void = () => {}): DdiService {
  const nobody = (): never => assert.fail('nobody is to ask this')
  return {
    async authenticate(tenant, name, credentials) {
      seen(`${tenant}/${name}`, credentials)
      return { tenant, name }
    },
    ...{ poll: nobody, deployment: nobody, installed: nobody, toConfirm: nobody, checkCanceled: nobody, confirmations: nobody },
    ...{
      confirm: nobody,
      setAutoConfirmation: nobody,
      feedback: nobody,
      cancelFeedback: nobody,
      setAttributes: nobody,
      artifact: nobody,
    },
    ...given,
  }
}

const talk = (given: Partial<DdiService>, sent: Sent): Promise<Reply> =>
  talkTo(ddi, serviceOf(given))({ ...sent, headers: { ...HOST, ...sent.headers } })

const textOf = ({ body: said }: Reply): string => (typeof said === 'string' ? said : new TextDecoder().decode(said))

async function octetsOf({ stream }: Reply): Promise<string> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream?.read() ?? []) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

const artifact = async () => ({
  ...facts,
  async *read(start: number, end: number) {
    yield body.subarray(start, end)
  },
})

test('R12: a poll links what there is, and its numbers lead there', async () => {
  const reply = await talk(
    {
      poll: async () => ({
        pollingSeconds: 90,
        wantsAttributes: true,
        deployment: 77,
        installed: 76,
        cancel: 75,
        confirmation: 74,
      }),
    },
    { path: AT },
  )
  assert.equal(reply.headers['content-type'], 'application/hal+json;charset=utf-8')
  const { sleepSeconds, links } = parsePoll(utf8(textOf(reply)))
  const base = `https://pki.example:8443${AT}`
  assert.equal(sleepSeconds, 90)
  assert.deepEqual(links, {
    ...{ deploymentBase: `${base}/deploymentBase/77`, cancelAction: `${base}/cancelAction/75` },
    ...{
      confirmationBase: `${base}/confirmationBase/74`,
      installedBase: `${base}/installedBase/76`,
      configData: `${base}/configData`,
    },
  })
})

test('a deployment is as hawkBit writes it, and is read again', async () => {
  const reply = await talk({ deployment: async () => deployment }, { path: `${AT}/deploymentBase/77` })
  const { id, deployment: written } = JSON.parse(textOf(reply)) as {
    id: string
    deployment: { chunks: { artifacts: object[] }[] }
  }
  assert.equal(id, '77')
  const href = `https://pki.example:8443${AT}/softwaremodules/77/artifacts/press%201.swu`
  assert.deepEqual(written.chunks[0]?.artifacts[0], {
    ...{ filename: 'press 1.swu', hashes, size: 200 },
    _links: { download: { href }, md5sum: { href: `${href}.MD5SUM` } },
  })
  const read = parseDeployment(utf8(textOf(reply)))
  assert.deepEqual([read.action, read.update, read.maintenanceWindow], [77, 'forced', 'available'])
  assert.deepEqual(read.chunks[0]?.artifacts[0], { filename: 'press 1.swu', octets: 200, sha256: hashes.sha256, href })
})

test('the other resources: what waits for a consent, what was installed, what is canceled, lists', async () => {
  const said: unknown[] = []
  const given: Partial<DdiService> = {
    toConfirm: async () => deployment,
    installed: async () => deployment,
    deployment: async () => deployment,
    checkCanceled: async (_, action) => void said.push(action),
    confirmations: async () => ({
      autoConfirm: { initiator: 'fleet', remark: undefined, activatedAt: new Date(5) },
      waiting: 77,
    }),
    confirm: async (_, action, answer) => void said.push([action, answer]),
    setAutoConfirmation: async (_, wanted) => void said.push(wanted),
    cancelFeedback: async (_, action, { execution }) => void said.push([action, execution]),
  }
  const json = async (sent: Sent) => JSON.parse(textOf(await talk(given, sent))) as Record<string, unknown>
  assert.ok('confirmation' in (await json({ path: `${AT}/confirmationBase/77` })))
  assert.ok('deployment' in (await json({ path: `${AT}/installedBase/77` })))
  assert.deepEqual(await json({ path: `${AT}/cancelAction/77` }), { id: '77', cancelAction: { stopId: '77' } })
  assert.equal(((await json({ path: `${AT}/softwaremodules/77/artifacts` })) as unknown as unknown[]).length, 1)
  const { autoConfirm } = await json({ path: `${AT}/confirmationBase` })
  assert.deepEqual(autoConfirm, { active: true, initiator: 'fleet', activatedAt: 5 })
  const post = (path: string, text: string) => talk(given, { method: 'POST', path: `${AT}${path}`, body: text })
  assert.equal(
    (await post('/confirmationBase/77/feedback', '{"confirmation":"denied","details":["not now\\u001b[2J"]}')).status,
    200,
  )
  await post('/confirmationBase/activateAutoConfirm', '')
  await post('/confirmationBase/deactivateAutoConfirm', '')
  await post('/cancelAction/77/feedback', '{"id":"77","status":{"execution":"closed","result":{"finished":"success"}}}')
  assert.deepEqual(said, [
    77,
    [77, { confirmation: 'denied', code: undefined, details: ['not now [2J'] }],
    { initiator: undefined, remark: undefined },
    undefined,
    [77, 'closed'],
  ])
})

test('what swupdate 2022.12 sends is understood', async () => {
  const said: unknown[] = []
  const given: Partial<DdiService> = {
    feedback: async (_, action, feedback) => void said.push([action, feedback]),
    setAttributes: async (_, mode, data) => void said.push([mode, data]),
  }
  const feedback =
    '{ "id": 77, "time": "20261123T094500", "status": { "result": { "progress": { "cnt": 1, "of": 2 }, "finished": "none" }, "execution": "proceeding", "details": [ "Installing Update Chunk Artifacts.", "" ] } }'
  await talk(given, { method: 'POST', path: `${AT}/deploymentBase/77/feedback`, body: feedback })
  const configData =
    '{ "id": "", "time": "20261123T094500", "status": { "result": { "finished": "success" }, "execution": "closed", "details": [ "" ] }, "data": { "board": "press" } }'
  await talk(given, { method: 'PUT', path: `${AT}/configData`, body: configData })
  assert.deepEqual(said, [
    [77, { execution: 'proceeding', finished: 'none', code: undefined, details: ['Installing Update Chunk Artifacts.'] }],
    ['merge', { board: 'press' }],
  ])
})

for (const [what, text] of [
  ['another action', '{"id":"78","status":{"execution":"closed","result":{"finished":"success"}}}'],
  ['no status', '{"id":"77"}'],
  ['an execution of its own', '{"status":{"execution":"perhaps","result":{"finished":"success"}}}'],
  ['a member twice', '{"status":{"execution":"closed","result":{"finished":"success"}},"status":{}}'],
  ['no JSON', '<status/>'],
] as const) {
  test(`R31: feedback with ${what} is refused before anybody hears it`, async () => {
    const { status } = await talk({}, { method: 'POST', path: `${AT}/deploymentBase/77/feedback`, body: text })
    assert.equal(status, 400)
  })
}

test('R31: what is too long, too much or no number is refused', async () => {
  const long = '{"status":{"execution":"closed","result":{"finished":"success"},"details":["'.padEnd(300_000, 'x')
  assert.equal((await talk({}, { method: 'POST', path: `${AT}/deploymentBase/77/feedback`, body: long })).status, 413)
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, at) => [`a${at}`, 'b']))
  assert.throws(() => parseConfigData(utf8(JSON.stringify({ data: many }))), { reason: 'ddiTooManyAttributes' })
  assert.throws(() => parseConfigData(utf8('{"data":{"__proto__":"x"}}')), { code: 'malformed' })
  assert.throws(() => parseConfigData(utf8(`{"data":{"a":"${'x'.repeat(513)}"}}`)), { code: 'malformed' })
  for (const number of ['0', '00', '2147483648', '9999999999'])
    assert.equal((await talk({}, { path: `${AT}/deploymentBase/${number}` })).status, 400, number)
  const { details } = parseFeedback(
    utf8(
      JSON.stringify({
        status: {
          execution: 'closed',
          result: { finished: 'failure' },
          details: Array.from({ length: 80 }, () => 'x'.repeat(900)),
        },
      }),
    ),
    77,
  )
  assert.deepEqual([details.length, details[0]?.length], [50, 512])
})

test('other paths and methods lead nowhere', async () => {
  for (const path of [
    '/ddi/plant',
    '/ddi/plant/controller/v2/P-1',
    `${AT}/deploymentBase`,
    `${AT}/deploymentBase/77/feedback`,
    `${AT}/../x`,
    `/ddi/plant/controller/v1/%ff`,
  ])
    assert.equal((await talk({}, { path })).status, 404, path)
  assert.equal((await talk({}, { method: 'POST', path: `${AT}/configData`, body: '{}' })).status, 404)
  assert.equal((await talk({}, { method: 'PUT', path: `${AT}/deploymentBase/77/feedback`, body: '{}' })).status, 404)
  assert.equal((await talk({}, { method: 'DELETE', path: AT })).status, 405)
  assert.equal((await talk({}, { path: AT, headers: { host: 'evil"example' } })).status, 400)
})

test('R4: who asks is known from the certificate, and from a token only as a token', async () => {
  const seen: [string, Credentials][] = []
  const service = serviceOf({ poll: async () => ({ pollingSeconds: 5, wantsAttributes: false }) }, (name, given) =>
    seen.push([name, given]),
  )
  const talking = talkTo(ddi, service)
  const chain = [utf8('certificate')]
  await talking({ path: '/ddi/plant/controller/v1/P%2F1', headers: HOST, peer: { chain } })
  await talking({ path: AT, headers: { ...HOST, authorization: 'TargetToken 0123456789abcdef' } })
  await talking({ path: AT, headers: { ...HOST, authorization: 'GatewayToken 0123456789abcdef' } })
  assert.deepEqual(seen, [
    ['plant/P/1', { chain, targetToken: undefined }],
    ['plant/P-1', { chain: [], targetToken: '0123456789abcdef' }],
    ['plant/P-1', { chain: [], targetToken: undefined }],
  ])
})

test('an artifact comes whole, in part, again where it was cut, or not when it is there already', async () => {
  const path = `${AT}/softwaremodules/77/artifacts/press%201.swu`
  const etag = `"${hashes.sha256}"`
  const get = (headers: Readonly<Record<string, string>> = {}, method = 'GET') => talk({ artifact }, { method, path, headers })
  const whole = await get()
  assert.deepEqual(
    [whole.status, whole.headers['etag'], whole.headers['accept-ranges'], whole.stream?.octets],
    [200, etag, 'bytes', 200],
  )
  assert.equal(await octetsOf(whole), Buffer.from(body).toString())
  assert.equal((await get({}, 'HEAD')).stream?.octets, 200, 'the listener sends the head alone')
  const rest = await get({ range: 'bytes=195-', 'if-range': etag })
  assert.deepEqual([rest.status, rest.headers['content-range'], await octetsOf(rest)], [206, 'bytes 195-199/200', '56789'])
  assert.equal(await octetsOf(await get({ range: 'bytes=-3' })), '789')
  assert.equal((await get({ range: 'bytes=195-', 'if-range': '"other"' })).status, 200, 'it is another file by now')
  const beyond = await get({ range: 'bytes=200-' })
  assert.deepEqual([beyond.status, beyond.headers['content-range']], [416, 'bytes */200'])
  assert.equal((await get({ 'if-none-match': `"x", ${etag}` })).status, 304)
  const sum = await talk({ artifact }, { path: `${path}.MD5SUM` })
  assert.equal(textOf(sum), `${hashes.md5}  press 1.swu\n`)
})

test('a range is never more than there is', () => {
  fc.assert(
    fc.property(fc.nat(300), fc.option(fc.nat(400)), fc.option(fc.nat(400)), (octets, first, last) => {
      const part = partOf(`bytes=${first ?? ''}-${last ?? ''}`, undefined, '"e"', octets)
      if (typeof part === 'string') return
      assert.ok(part.start >= 0 && part.start < part.end && part.end <= octets)
    }),
  )
})

for (const [code, status] of Object.entries(failureOf)) {
  test(`a refusal that is ${code} is told with ${status}`, async () => {
    const poll = () => Promise.reject(new TrustError(code as TrustErrorCode, 'actionNotOffered', { facts: { action: 7 } }))
    const reply = await talk({ poll }, { path: AT })
    assert.equal(reply.status, status)
    assert.deepEqual(Object.keys(JSON.parse(textOf(reply)) as object), ['errorCode', 'message'])
  })
}

test('answers of a server that lies are refused by the client', () => {
  for (const text of [
    '{}',
    '{"config":{"polling":{"sleep":"soon"}}}',
    '{"config":{"polling":{"sleep":"00:01:00"}},"_links":{"deploymentBase":{}}}',
  ])
    assert.throws(() => parsePoll(utf8(text)), { code: 'malformed' }, text)
  const good = encodeDeployment(deployment, 'https://a')
  assert.ok(parseDeployment(utf8(good)))
  for (const [from, to] of [
    ['forced', 'now'],
    ['"size":200', '"size":-1'],
    [hashes.sha256, 'x'],
    ['"id":"77"', '"id":"0"'],
    ['"chunks"', '"pieces"'],
  ] as const)
    assert.throws(() => parseDeployment(utf8(good.replace(from, to))), { code: 'malformed' }, to)
  assert.equal(encodeSleep(86_399), '23:59:59')
  assert.deepEqual(parsePoll(utf8(encodePoll({ pollingSeconds: 86_400, wantsAttributes: false }, ''))).sleepSeconds, 86_400)
  assert.deepEqual(parseAutoConfirmation(utf8('{"initiator":"x","remark":5}')), { initiator: 'x', remark: undefined })
})
