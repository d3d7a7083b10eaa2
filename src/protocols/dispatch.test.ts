/** Which operation a request finds, and what becomes of what it throws. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { createLog, silentLog } from '#base/log.ts'
import { type Arrival, dispatcher, mount } from './dispatch.ts'
import type { Protocol } from './protocol.ts'

interface Greeter {
  greet(label: string | undefined, path: string): string
}

const operation = (method: 'GET' | 'POST', path: string): Protocol<Greeter>['operations'][number] => ({
  method,
  path,
  section: 'none',
  async handle(exchange, service) {
    return { status: 200, headers: {}, body: `${path} ${service.greet(exchange.label, exchange.path)}` }
  },
})

const protocol = (
  id: string,
  mountPoint: string,
  listener: Protocol<Greeter>['listener'],
  operations: Protocol<Greeter>['operations'],
): Protocol<Greeter> => ({
  id,
  source: 'none',
  mount: mountPoint,
  listener,
  operations,
  failure: ({ code }) => ({ status: code === 'notFound' ? 404 : 418, headers: {}, body: code }),
})

const greeter: Greeter = { greet: (label, path) => `${label ?? '-'} ${path}` }
const est = protocol('est', '/.well-known/est', 'tls', [operation('GET', '/cacerts'), operation('POST', '/simpleenroll')])
const ocsp = protocol('ocsp', '/ocsp', 'public', [operation('POST', ''), operation('GET', '/*')])
const both = protocol('scep', '/scep', 'both', [operation('GET', '')])
const mounted = [mount(est, greeter), mount(ocsp, greeter), mount(both, greeter)]
const routers = { tls: dispatcher(mounted, 'tls', silentLog), public: dispatcher(mounted, 'public', silentLog) }

const arrival = (method: string, path: string): Arrival => ({
  requestId: 'r1',
  method,
  path,
  query: '',
  headers: {},
  body: async () => new Uint8Array(0),
  stream: () => (async function* () {})(),
  peer: { address: '192.0.2.1', chain: [], tls: undefined },
})

const cases: { request: string; side?: 'public'; reply: string | number | undefined; route?: string }[] = [
  { request: 'GET /.well-known/est/cacerts', reply: '/cacerts - /cacerts', route: 'est/cacerts' },
  { request: 'HEAD /.well-known/est/cacerts', reply: '/cacerts - /cacerts' },
  { request: 'GET /.well-known/est/line1/cacerts', reply: '/cacerts line1 /cacerts', route: 'est/cacerts' },
  { request: 'POST /.well-known/est/line1/cacerts', reply: 405 },
  { request: 'DELETE /.well-known/est/simpleenroll', reply: 405 },
  { request: 'GET /.well-known/est', reply: 404 },
  { request: 'GET /.well-known/est/', reply: 404 },
  { request: 'GET /.well-known/est/line1', reply: 404 },
  { request: 'GET /.well-known/est//cacerts', reply: 404 },
  { request: 'GET /.well-known/est/../cacerts', reply: 404 },
  { request: 'GET /.well-known/est/a%2Fb/cacerts', reply: 404 },
  { request: `GET /.well-known/est/${'a'.repeat(65)}/cacerts`, reply: 404 },
  { request: 'GET /.well-known/est/line1/cacerts/', reply: 404 },
  { request: 'GET /.well-known/estate/cacerts', reply: undefined },
  { request: 'GET /', reply: undefined },
  { request: 'GET /.well-known/est/cacerts', side: 'public', reply: undefined },
  { request: 'GET /ocsp/line1', reply: undefined },
  { request: 'POST /ocsp', side: 'public', reply: ' - ' },
  { request: 'POST /ocsp/line1', side: 'public', reply: ' line1 ' },
  { request: 'GET /ocsp/line1/MEUw/a+=', side: 'public', reply: '/* - /line1/MEUw/a+=', route: 'ocsp/*' },
  { request: 'GET /ocsp/line1', side: 'public', reply: '/* - /line1' },
  { request: 'GET /scep/line1', reply: ' line1 ' },
  { request: 'GET /scep/line1', side: 'public', reply: ' line1 ' },
]
for (const { request, side = 'tls', reply, route } of cases) {
  test(`${side}: ${request} gives ${reply ?? 'nothing'}`, async () => {
    const [method = '', path = ''] = request.split(' ')
    const found = routers[side](arrival(method, path))
    const answer = await found?.run()
    assert.equal(typeof reply === 'number' ? answer?.status : answer?.body, reply)
    if (route !== undefined) assert.equal(found?.route, route)
    if (reply === 405) assert.match(answer?.headers['allow'] ?? '', /^(?:GET|POST)$/)
  })
}

for (const { thrown, status, level } of [
  { thrown: new TrustError('forbidden', 'internal'), status: 418, level: 'info' },
  { thrown: new TrustError('unavailable', 'internal'), status: 418, level: 'warn' },
  { thrown: new Error('SELECT * FROM secrets'), status: 418, level: 'error' },
]) {
  test(`what a handler throws is rendered by its protocol and logged as ${level}`, async () => {
    const lines: string[] = []
    const failing = protocol('x', '/x', 'tls', [{ ...operation('GET', '/y'), handle: () => Promise.reject(thrown) }])
    const log = createLog({ level: 'debug', clock: { now: () => 0 }, write: (line) => lines.push(line) })
    const reply = await dispatcher([mount(failing, greeter)], 'tls', log)(arrival('GET', '/x/y'))?.run()
    assert.equal(reply?.status, status)
    assert.equal(reply?.body, thrown instanceof TrustError ? thrown.code : 'internal')
    const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>
    assert.deepEqual([lines.length, line['level'], line['requestId'], line['route']], [1, level, 'r1', 'x/y'])
  })
}

test('two operations at one place are a mistake found at the start', () => {
  const twice = protocol('x', '/x', 'tls', [operation('GET', '/y'), operation('GET', '/y')])
  assert.throws(() => dispatcher([mount(twice, greeter)], 'tls', silentLog), TypeError)
})
