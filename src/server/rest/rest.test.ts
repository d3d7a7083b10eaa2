/** The REST interface from outside: curl and the typed client against real listeners and a real database. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { Type } from 'typebox'
import fc from 'fast-check'
import { csrfToken } from '#access/sessions.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import { listenFor, testdata, testdataPath } from '../testing.ts'
import { SESSION_COOKIE } from './authenticate.ts'
import { httpsTransport, inProcessTransport, RemoteRefusal, restClient } from './client.ts'
import { type ProblemDocument, statusOf } from './failures.ts'
import { forgetIdempotencyKeys } from './idempotency.ts'
import { OPENAPI_PATH } from './router.ts'
import { record, type Route, route } from './route.ts'
import { openRest } from './testing.ts'

const run = promisify(execFile)

interface Given {
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** A request straight to the router. */
async function ask(router: Router, method: string, target: string, { token, headers = {}, body }: Given = {}) {
  const octets = typeof body === 'string' ? utf8(body) : body === undefined ? new Uint8Array(0) : utf8(JSON.stringify(body))
  const [path = '', query = ''] = target.split('?')
  const arrival: Arrival = {
    requestId: 'r1',
    method,
    path,
    query,
    headers: {
      'content-length': String(octets.length),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: () => Promise.resolve(octets),
    async *stream() {
      yield octets
    },
    peer: { address: '192.0.2.1', chain: [], tls: undefined },
  }
  const reply = await router(arrival)?.run()
  assert.ok(reply, `${path} belongs to REST`)
  const answer = reply.body === '' ? undefined : (JSON.parse(reply.body as string) as ProblemDocument & Record<string, unknown>)
  return { ...reply, answer }
}

async function overHTTPS(t: TestContext, more: readonly Route[] = []) {
  const rest = await openRest(t, more)
  const listener = await listenFor(t, [rest.router], { tls: true })
  return { ...rest, server: `https://localhost:${listener.address.port}` }
}

test('curl with a token reads who it is; without one it is told to sign in', async (t) => {
  const { server, person } = await overHTTPS(t)
  const { token } = await person('Ada', ['auditor'])
  const curl = async (...args: string[]) =>
    (await run('curl', ['-sS', '-i', '--cacert', testdataPath('server-root.pem'), ...args, `${server}/api/v1/me`])).stdout
  const answer = await curl('-H', `Authorization: Bearer ${token}`)
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*content-type: application\/json\r\n/)
  assert.equal((JSON.parse(answer.split('\r\n\r\n')[1] ?? '') as { principal: { name: string } }).principal.name, 'Ada')
  const refused = await curl()
  assert.match(refused, /^HTTP\/1\.1 401 /)
  assert.match(refused, /www-authenticate: Bearer/i)
  assert.match(refused, /content-type: application\/problem\+json/i)
  const document = JSON.parse(refused.split('\r\n\r\n')[1] ?? '') as ProblemDocument
  assert.equal(document.type, 'urn:sealworks:error:unauthenticated')
  assert.equal(document.reason, 'signInNeeded')
  assert.equal(document.instance, `urn:sealworks:request:${/x-request-id: (\S+)/i.exec(refused)?.[1]}`)
})

test('the typed client does over HTTPS what it does in process', async (t) => {
  const { server, person, router } = await overHTTPS(t)
  const { secretToken: token } = await person('Ada', ['administrator'])
  const https = httpsTransport({ server, trust: { rootsPEM: testdata('server-root.pem') } })
  t.after(() => https.close())
  let count = 0
  const transports = [https, inProcessTransport(router, () => `local-${count++}`)]
  for (const [index, transport] of transports.entries()) {
    const client = restClient({ transport, token })
    const made = await client.call('createPrincipal', { body: { kind: 'service', name: `MES ${index}`, roles: ['service'] } })
    assert.deepEqual(await client.call('showPrincipal', { params: { id: made.id } }), made)
    assert.equal(await client.call('grantRole', { params: { id: made.id, role: 'auditor' } }), undefined)
    const { items } = await client.call('listPrincipals', { query: { limit: 500 } })
    assert.deepEqual(items.find(({ id }) => id === made.id)?.roles, ['auditor', 'service'])
    await assert.rejects(client.call('showPrincipal', { params: { id: 'nobody' } }), (error: RemoteRefusal) => {
      assert.ok(error instanceof RemoteRefusal)
      assert.equal(error.code, 'malformed')
      assert.deepEqual(
        error.problems.map(({ at }) => at),
        ['path/id'],
      )
      assert.ok(error.requestId)
      return true
    })
  }
})

test('the client knows the server by root or fingerprint, and sends nothing to another', async (t) => {
  const { server, person } = await overHTTPS(t)
  const { secretToken: token } = await person('Ada', [])
  const { X509Certificate } = await import('node:crypto')
  const fingerprint = new X509Certificate(testdata('server.pem')).fingerprint256
  const other = new X509Certificate(testdata('other-server.pem')).fingerprint256
  const call = async (trust: Parameters<typeof httpsTransport>[0]['trust']) => {
    const transport = httpsTransport({ server, ...(trust === undefined ? {} : { trust }) })
    t.after(() => transport.close())
    return restClient({ transport, token }).call('showMe', {})
  }
  assert.equal((await call({ fingerprint })).principal.name, 'Ada')
  await assert.rejects(call({ fingerprint: other }), { code: 'unreachable', reason: 'otherServer' })
  await assert.rejects(call({ rootsPEM: testdata('client-root.pem') }), { code: 'unreachable' })
  await assert.rejects(call(undefined), { code: 'unreachable' })
  const nobody = httpsTransport({ server: 'https://127.0.0.1:1' })
  await assert.rejects(restClient({ transport: nobody, token }).call('showMe', {}), {
    code: 'unreachable',
    reason: 'unreachable',
  })
})

test('each route lets in those whose role has the permission, and no others (R17)', async (t) => {
  const { router, routes, person, acts } = await openRest(t)
  const { token } = await person('Nobody', [])
  for (const { id, method, path, permission } of routes) {
    const target = path.replace(/\{\w+\}/g, 'x')
    const anonymous = await ask(router, method, target)
    const powerless = await ask(router, method, target, { token })
    if (permission === 'public') assert.equal(anonymous.status, 200, id)
    else {
      assert.equal(anonymous.status, 401, id)
      assert.equal(powerless.status, permission === 'signedIn' ? 200 : 403, id)
    }
  }
  const changing = routes.filter(({ method, permission }) => method !== 'GET' && permission !== 'public')
  const remembered = (await acts()).filter((act) => act.endsWith('refused permissionMissing'))
  assert.equal(remembered.length, changing.length, 'whoever tries what is not theirs is in the audit log')
})

const wrongCredentials = [
  { name: 'a token that nobody has', authorization: `Bearer swt_${'A'.repeat(43)}`, reason: 'tokenUnknown' },
  { name: 'another scheme', authorization: 'Basic YTpi', reason: 'bearerNeeded' },
  { name: 'an empty token', authorization: 'Bearer ', reason: 'bearerNeeded' },
] as const
for (const { name, authorization, reason } of wrongCredentials) {
  test(`refuses ${name}`, async (t) => {
    const { router } = await openRest(t)
    const { status, answer } = await ask(router, 'GET', '/api/v1/me', { headers: { authorization } })
    assert.equal(status, 401)
    assert.equal(answer?.reason, reason)
  })
}

test('a session cookie signs a browser in; what changes something needs the CSRF token too', async (t) => {
  const { router, person, access } = await openRest(t)
  const { principal } = await person('Ada', ['administrator'])
  const { link } = await access.createSignInLink(principal.id, 'system')
  const { session } = await access.signIn(new TextDecoder().decode(link.reveal('test')))
  const text = new TextDecoder().decode(session.reveal('test'))
  const cookie = `other=1; ${SESSION_COOKIE}=${text}`
  assert.equal((await ask(router, 'GET', '/api/v1/me', { headers: { cookie } })).status, 200)
  const body = { kind: 'person', name: 'Grace' }
  const forged = await ask(router, 'POST', '/api/v1/principals', { headers: { cookie }, body })
  assert.deepEqual([forged.status, forged.answer?.reason], [403, 'csrfToken'])
  const real = await ask(router, 'POST', '/api/v1/principals', { headers: { cookie, 'x-csrf-token': csrfToken(text) }, body })
  assert.equal(real.status, 201)
})

const wrongInput: {
  name: string
  method?: string
  target?: string
  body?: unknown
  headers?: Record<string, string>
  status?: number
  problems?: string[]
  reason?: string
}[] = [
  { name: 'not JSON', body: '{', reason: 'notJSON' },
  { name: 'another media type', body: {}, headers: { 'content-type': 'text/plain' }, reason: 'jsonNeeded' },
  { name: 'nothing', problems: ['body/kind is missing', 'body/name is missing'] },
  {
    name: 'unknown and wrong fields at once',
    body: { kind: 'robot', nam: 'x', roles: ['king'] },
    problems: [
      'body/name is missing',
      'body/nam is not known here',
      'body/kind must be one of person, service',
      'roles/0 must be one of',
    ],
  },
  {
    name: '__proto__',
    body: '{"kind":"person","name":"x","__proto__":{"roles":["administrator"]}}',
    problems: ['body/__proto__ is not known here'],
  },
  { name: 'an unknown query', method: 'GET', target: '/api/v1/principals?limt=1', problems: ['query/limt is not known here'] },
  { name: 'a query out of bounds', method: 'GET', target: '/api/v1/principals?limit=0', problems: ['query/limit must be'] },
  {
    name: 'a query that is no number',
    method: 'GET',
    target: '/api/v1/principals?limit=1e9',
    problems: ['query/limit must be integer'],
  },
  {
    name: 'a query twice',
    method: 'GET',
    target: '/api/v1/principals?limit=1&limit=2',
    problems: ['query/limit is given twice'],
  },
  {
    name: 'a character that PostgreSQL does not keep',
    body: '{"kind":"person","name":"x\\u0000"}',
    problems: ['body/name must not hold the character U.0000'],
  },
  {
    name: 'a damaged escape',
    method: 'GET',
    target: '/api/v1/principals/%zz',
    problems: ['path/id has a damaged percent escape'],
  },
]
for (const {
  name,
  method = 'POST',
  target = '/api/v1/principals',
  body,
  headers,
  problems,
  reason = 'inputInvalid',
} of wrongInput) {
  test(`says all that is wrong with ${name}`, async (t) => {
    const { router, person } = await openRest(t)
    const { token } = await person('Ada', ['administrator'])
    const { status, answer } = await ask(router, method, target, {
      token,
      ...(body === undefined ? {} : { body }),
      ...(headers === undefined ? {} : { headers }),
    })
    assert.equal(status, 400)
    assert.equal(answer?.reason, reason)
    const found = (answer?.problems ?? []).map(({ at, problem }) => `${at} ${problem}`).join('\n')
    for (const expected of problems ?? []) assert.match(found, new RegExp(expected))
  })
}

test('what is not there is 404, what is done otherwise 405 with what would work', async (t) => {
  const { router } = await openRest(t)
  for (const path of ['/api', '/api/', '/api/v1', '/api/v2/me', '/api/v1/me/', '/api/v1/principals//tokens', '/api/v1/nowhere']) {
    const { status, answer } = await ask(router, 'GET', path)
    assert.deepEqual([status, answer?.reason], [404, 'unknownPath'], path)
  }
  const { status, headers, answer } = await ask(router, 'PATCH', '/api/v1/principals')
  assert.deepEqual([status, headers['allow'], answer?.type], [405, 'GET, POST', 'urn:sealworks:error:unsupported'])
})

test('every code has its status, and a bug says nothing', async (t) => {
  let thrown: unknown
  const failing = route({
    id: 'fail',
    method: 'GET',
    path: '/api/v1/fail',
    permission: 'public',
    summary: 'none',
    handle: () => Promise.reject(thrown),
  })
  const { router } = await openRest(t, [failing])
  for (const [code, status] of Object.entries(statusOf)) {
    thrown = new TrustError(code as TrustErrorCode, 'internal', { retryAfterSeconds: 7 })
    const reply = await ask(router, 'GET', '/api/v1/fail')
    assert.deepEqual(
      [reply.status, reply.answer?.type, reply.headers['retry-after']],
      [status, `urn:sealworks:error:${code}`, '7'],
    )
  }
  thrown = new Error('SELECT * FROM secrets')
  const { status, body } = await ask(router, 'GET', '/api/v1/fail')
  assert.equal(status, 500)
  assert.doesNotMatch(body as string, /SELECT/)
})

// ── Idempotency-Key ─────────────────────────────────────────────────────────

function counting() {
  let done = 0
  const hold: { until: Promise<void> | undefined; refuse: boolean } = { until: undefined, refuse: false }
  const common = { method: 'POST', permission: 'signedIn', summary: 'none', body: record({ n: Type.Integer() }) } as const
  const work = async () => {
    await hold.until
    if (hold.refuse) throw new TrustError('unavailable', 'internal')
    return { done: ++done }
  }
  const routes: readonly Route[] = [
    route({
      ...common,
      id: 'count',
      path: '/api/v1/count',
      response: record({ done: Type.Integer() }),
      status: 201,
      handle: work,
    }),
    route({
      ...common,
      id: 'countSecret',
      path: '/api/v1/secret',
      response: record({ done: Type.Integer() }),
      answersSecret: true,
      handle: work,
    }),
  ]
  return { routes, hold, times: () => done }
}

test('a repeated request is not done twice and gets the same answer', async (t) => {
  const { routes, times } = counting()
  const { router, person, time, context } = await openRest(t, routes)
  const [ada, eve] = [await person('Ada', []), await person('Eve', [])]
  const post = (key: string, n: number, token = ada.token) =>
    ask(router, 'POST', '/api/v1/count', { token, body: { n }, headers: { 'idempotency-key': key } })
  const first = await post('k1', 1)
  const again = await post('k1', 1)
  assert.deepEqual([first.status, first.answer, first.headers['idempotency-replayed']], [201, { done: 1 }, undefined])
  assert.deepEqual([again.status, again.answer, again.headers['idempotency-replayed']], [201, { done: 1 }, 'true'])
  assert.equal((await post('k1', 2)).answer?.reason, 'idempotencyKeyReused')
  assert.deepEqual((await post('k1', 1, eve.token)).answer, { done: 2 }, 'keys are each caller’s own')
  assert.deepEqual((await post('k2', 1)).answer, { done: 3 })
  time.ahead = 25 * 3_600_000
  assert.deepEqual((await post('k1', 1)).answer, { done: 4 }, 'a day later it is another request')
  assert.equal(times(), 4)
  time.ahead = 50 * 3_600_000
  assert.equal(await forgetIdempotencyKeys(context), 3)
})

test('a repeat while the first is under way is refused; one of a refused request is done', async (t) => {
  const { routes, hold, times } = counting()
  const { router, person } = await openRest(t, routes)
  const { token } = await person('Ada', [])
  const post = () => ask(router, 'POST', '/api/v1/count', { token, body: { n: 1 }, headers: { 'idempotency-key': 'k' } })
  let release = () => {}
  hold.until = new Promise((resolve) => (release = resolve))
  hold.refuse = true
  const first = post()
  let second = await post()
  while (second.answer?.reason !== 'idempotencyRunning') second = await post() // until the first has claimed the key
  assert.equal(second.status, 409)
  release()
  assert.equal((await first).status, 503)
  hold.refuse = false
  assert.equal((await post()).status, 201)
  assert.equal(times(), 1)
})

test('an answer with a secret is not kept: its repeat is a conflict (decision 17)', async (t) => {
  const { routes, times } = counting()
  const { router, person, database } = await openRest(t, routes)
  const { token, principal } = await person('Ada', ['administrator'])
  const post = () => ask(router, 'POST', '/api/v1/secret', { token, body: { n: 1 }, headers: { 'idempotency-key': 'k' } })
  assert.equal((await post()).status, 200)
  const repeated = await post()
  assert.deepEqual([repeated.status, repeated.answer?.reason, times()], [409, 'idempotencySecret', 1])

  const body = { name: 'line 1', lifetimeSeconds: 60 }
  const made = await ask(router, 'POST', `/api/v1/principals/${principal.id}/tokens`, {
    token,
    body,
    headers: { 'idempotency-key': 'k2' },
  })
  assert.equal(made.status, 201)
  const rows = await database.query('SELECT * FROM idempotency_key')
  assert.equal(rows.length, 2)
  assert.ok(!JSON.stringify(rows).includes(String(made.answer?.['token']).slice(4)))
  const other = await ask(router, 'POST', `/api/v1/principals/${principal.id}/tokens`, {
    token,
    body: { ...body, name: 'what was sent leaves no mark that could be guessed against' },
    headers: { 'idempotency-key': 'k2' },
  })
  assert.deepEqual([other.status, other.answer?.reason], [409, 'idempotencySecret'])
})

test('a key of the wrong form is refused', async (t) => {
  const { routes, times } = counting()
  const { router, person } = await openRest(t, routes)
  const { token } = await person('Ada', [])
  for (const key of ['', 'a b', 'ä', 'x'.repeat(256)]) {
    const { answer } = await ask(router, 'POST', '/api/v1/count', { token, body: { n: 1 }, headers: { 'idempotency-key': key } })
    assert.equal(answer?.reason, 'idempotencyKeyForm', key)
  }
  assert.equal(times(), 0)
})

// ── Lists, audit, tokens ────────────────────────────────────────────────────

test('lists go on where the page before ended', async (t) => {
  const { router, person } = await openRest(t)
  const { token } = await person('A', ['administrator'])
  for (const name of ['B', 'C', 'D', 'E']) await person(name, [])
  const names: string[] = []
  let cursor: string | undefined
  let pages = 0
  do {
    const target = `/api/v1/principals?limit=2${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`
    const { answer } = await ask(router, 'GET', target, { token })
    assert.ok(answer)
    names.push(...(answer['items'] as { name: string }[]).map(({ name }) => name))
    cursor = answer['next'] as string | undefined
    pages += 1
  } while (cursor !== undefined)
  assert.deepEqual([names, pages], [['A', 'B', 'C', 'D', 'E'], 3])
})

test('a token made over REST signs in until it is revoked; the audit log tells all of it', async (t) => {
  const { router, person } = await openRest(t)
  const { token } = await person('Ada', ['administrator', 'auditor'])
  const mes = (await ask(router, 'POST', '/api/v1/principals', { token, body: { kind: 'service', name: 'MES' } }))
    .answer as unknown as { id: string }
  const made = (
    await ask(router, 'POST', `/api/v1/principals/${mes.id}/tokens`, { token, body: { name: 'line', lifetimeSeconds: 60 } })
  ).answer as unknown as { id: string; token: string }
  assert.equal((await ask(router, 'GET', '/api/v1/me', { token: made.token })).status, 200)
  assert.equal((await ask(router, 'DELETE', `/api/v1/tokens/${made.id}`, { token })).status, 204)
  assert.equal((await ask(router, 'GET', '/api/v1/me', { token: made.token })).status, 401)
  const entries = (await ask(router, 'GET', `/api/v1/audit/entries?object=token:${made.id}`, { token })).answer?.['items'] as {
    act: string
    outcome: string
  }[]
  assert.deepEqual(
    entries.map(({ act, outcome }) => `${act} ${outcome}`),
    ['token.revoke done', 'token.create done'],
  )
  assert.equal((await ask(router, 'GET', '/api/v1/audit/entries?from=yesterday', { token })).status, 400)
})

// ── OpenAPI ─────────────────────────────────────────────────────────────────

test('the OpenAPI document names every route, parameter and schema', async (t) => {
  const { router, routes } = await openRest(t)
  const { status, answer } = await ask(router, 'GET', OPENAPI_PATH)
  assert.equal(status, 200)
  const document = answer as unknown as {
    openapi: string
    info: { version: string }
    paths: Record<
      string,
      Record<
        string,
        {
          operationId: string
          parameters: { name: string; in: string }[]
          responses: Record<string, unknown>
          requestBody?: unknown
          security: unknown[]
        }
      >
    >
    components: { responses: object; schemas: object; securitySchemes: Record<string, unknown> }
  }
  assert.equal(document.openapi, '3.1.0')
  assert.equal(document.info.version, '1.2.3')
  assert.ok(routes.length > 15)
  for (const { id, method, path, body, permission } of routes) {
    const operation = document.paths[path]?.[method.toLowerCase()]
    assert.equal(operation?.operationId, id)
    const inPath = operation.parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name)
    assert.deepEqual(
      inPath,
      [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
      id,
    )
    assert.equal(operation.requestBody !== undefined, body !== undefined, id)
    assert.equal(operation.security.length === 0, permission === 'public', id)
    assert.ok(Object.keys(operation.responses).length === 2, id)
  }
  for (const [reference] of JSON.stringify(document).matchAll(/(?<="\$ref":")[^"]+/g)) {
    const found = reference
      .slice(2)
      .split('/')
      .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document)
    assert.ok(found, `${reference} is there`)
  }
})

test('no request crashes the router: every answer is JSON with a status of its own', async (t) => {
  const { router, person } = await openRest(t)
  const { token } = await person('Ada', ['auditor'])
  const segment = fc.oneof(
    fc.constantFrom('api', 'v1', 'principals', 'me', 'audit', 'entries', 'tokens', '%', '..', '__proto__', 'constructor'),
    fc.string({ maxLength: 5 }).map(encodeURIComponent),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'BREW'),
      fc.array(segment, { maxLength: 6 }),
      fc.string({ maxLength: 20 }),
      fc.jsonValue(),
      async (method, segments, query, body) => {
        const { status } = await ask(router, method, `/api/v1/${segments.join('/')}?${query.replaceAll('?', '')}`, {
          token,
          body,
        })
        assert.ok([200, 204, 400, 401, 403, 404, 405].includes(status), String(status))
      },
    ),
    { numRuns: 300 },
  )
})

test('two routes at one place, or of one name, are a mistake found at the start', async (t) => {
  const one = route({
    id: 'one',
    method: 'GET',
    path: '/api/v1/{a}/x',
    permission: 'public',
    summary: 'none',
    handle: async () => undefined,
  })
  await assert.rejects(openRest(t, [one, one]), TypeError)
  await assert.rejects(openRest(t, [one, { ...one, id: 'two', path: '/api/v1/{b}/x' }]), TypeError)
})
