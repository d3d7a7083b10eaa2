/** Health, metrics, the status page, signing in, and what there is before `init`: curl against real listeners. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { silentLog } from '#base/log.ts'
import { systemWorld } from '#base/world.ts'
import { health, type HealthCheck, healthRouter } from './health.ts'
import { html } from './html.ts'
import { metricsPage } from './metrics-page.ts'
import { metrics } from './metrics.ts'
import { openRest } from './rest/testing.ts'
import { signInPages } from './sign-in.ts'
import { statusPage, type StatusSource } from './status-page.ts'
import { limits, listenFor, testdataPath } from './testing.ts'
import { serveUninitialized } from './uninitialized.ts'

const run = promisify(execFile)

const source: StatusSource = {
  authorities: () => [{ address: 'line1.1', subject: 'CN=<script>alert(1)</script>', notAfter: new Date(0), state: 'active' }],
  offline: () =>
    Promise.resolve([
      { address: 'vault.1', subject: 'CN=Offline root', crl: 'overdue', nextUpdate: new Date('2026-04-01T00:00:00Z') },
    ]),
  endpoints: async () => [{ label: 'press', protocol: 'est', authority: 'line1.1', state: 'enabled' }],
  counts: async () => [{ name: 'active', count: 4711 }],
}

async function open(t: Parameters<typeof listenFor>[0], checks: readonly HealthCheck[] = []) {
  const rest = await openRest(t)
  const { access, world } = rest
  const state = health(checks, world.clock)
  const measured = metrics({ version: '1.2.3', startedAt: 0 })
  const routers = [
    rest.router,
    healthRouter(state),
    statusPage({ access, health: state, source, name: 'Plant 7', version: '1.2.3', publicUrl: 'http://pki.example' }),
    signInPages({ access, world, log: silentLog }),
    metricsPage(access, measured),
  ]
  const listener = await listenFor(t, routers, { tls: true })
  const server = `https://localhost:${listener.address.port}`
  const curl = async (path: string, ...args: string[]) =>
    (await run('curl', ['-sS', '-i', '--cacert', testdataPath('server-root.pem'), ...args, server + path])).stdout
  return { ...rest, curl, measured, server }
}

// ── Health ──────────────────────────────────────────────────────────────────

test('live says that the process answers, ready that it can work; a failing check is named and not explained', async (t) => {
  let broken = false
  const check = {
    name: 'database',
    run: () => (broken ? Promise.reject(new Error('password of the database is x')) : Promise.resolve()),
  }
  const { curl, time } = await open(t, [check])
  assert.match(await curl('/health/live'), /^HTTP\/1\.1 200 [^]*\{"live":true\}/)
  assert.match(await curl('/health/ready'), /^HTTP\/1\.1 200 [^]*\{"ready":true,"checks":\[\{"name":"database","ok":true\}\]\}/)
  broken = true
  time.ahead += 10_000 // what was found a moment ago is still the answer
  const unready = await curl('/health/ready')
  assert.match(unready, /^HTTP\/1\.1 503 [^]*"ok":false/)
  assert.doesNotMatch(unready, /password/)
  assert.match(await curl('/health/live'), /^HTTP\/1\.1 200 /)
})

test('many probes at once cost one check', async () => {
  let runs = 0
  const state = health([{ name: 'x', run: async () => ++runs }], { now: () => 0 })
  await Promise.all(Array.from({ length: 50 }, () => state.report()))
  assert.equal(runs, 1)
})

// ── Metrics ─────────────────────────────────────────────────────────────────

test('metrics need a token with the permission, unless asked from this machine itself', async (t) => {
  const { curl, person } = await open(t)
  const auditor = await person('Ada', ['auditor'])
  const nobody = await person('Eve', [])
  assert.match(await curl('/metrics'), /^HTTP\/1\.1 200 [^]*text\/plain; version=0\.0\.4/)
  assert.match(await curl('/metrics', '-H', 'X-Forwarded-For: 203.0.113.9'), /^HTTP\/1\.1 401 /)
  const proxied = ['-H', 'Via: 1.1 proxy', '-H']
  assert.match(await curl('/metrics', ...proxied, `Authorization: Bearer ${auditor.token}`), /^HTTP\/1\.1 200 /)
  assert.match(await curl('/metrics', '-H', `Authorization: Bearer ${nobody.token}`), /^HTTP\/1\.1 403 /)
})

test('the text is what Prometheus reads: counters, cumulative buckets, escaped labels', async () => {
  const measured = metrics({ version: '1"2\\3', startedAt: 5000 })
  for (const seconds of [0.0005, 0.003, 0.003, 99]) measured.observe.request('tls', 'est/simpleenroll', 200, seconds)
  measured.observe.request('tls', 'est/simpleenroll', 403, 0.003)
  measured.gauge('sealworks_broken', 'cannot be had', () => Promise.reject(new Error('x')))
  measured.counter('sealworks_things_total', 'things').add(2)
  const text = await measured.render()
  for (const line of [
    '# TYPE sealworks_requests_total counter',
    'sealworks_requests_total{listener="tls",route="est/simpleenroll",status="200"} 4',
    'sealworks_requests_total{listener="tls",route="est/simpleenroll",status="403"} 1',
    'sealworks_request_seconds_bucket{route="est/simpleenroll",le="0.001"} 1',
    'sealworks_request_seconds_bucket{route="est/simpleenroll",le="0.005"} 4',
    'sealworks_request_seconds_bucket{route="est/simpleenroll",le="+Inf"} 5',
    'sealworks_request_seconds_count{route="est/simpleenroll"} 5',
    'sealworks_build_info{version="1\\"2\\\\3"} 1',
    'sealworks_start_time_seconds 5',
    'sealworks_things_total 2',
  ]) {
    assert.ok(text.includes(`${line}\n`), `${line}\nin\n${text}`)
  }
  assert.doesNotMatch(text, /^sealworks_broken /m)
  assert.ok(
    text.split('\n').every((line) => line === '' || /^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{[^}]*\})? -?[\d.e+-]+)$/.test(line)),
  )
})

// ── The status page ─────────────────────────────────────────────────────────

test('without signing in the page shows what is public, escaped, under a policy that allows nothing', async (t) => {
  const { curl } = await open(t)
  const answer = await curl('/')
  assert.match(answer, /^HTTP\/1\.1 200 [^]*Plant 7/)
  assert.match(answer, /&lt;script&gt;alert\(1\)/)
  assert.doesNotMatch(answer, /<script/)
  assert.match(answer, /http:\/\/pki\.example\/crl\/line1\.1\.crl/)
  assert.doesNotMatch(answer, /4711|press|1\.2\.3/)
  const policy = /content-security-policy: (.*)\r/i.exec(answer)?.[1] ?? ''
  assert.match(policy, /^default-src 'none'; /)
  const style = /<style>([^]*)<\/style>/.exec(answer)?.[1] ?? ''
  assert.ok(policy.includes(`'sha256-${hash('sha256', style, 'base64')}'`), 'the one style is the one that is allowed')
})

test('a one-time link asks first, signs in once, shows more, and signs out (R25)', async (t) => {
  const { curl, person, access, acts } = await open(t)
  const { principal } = await person('Ada', ['administrator'])
  const { link } = await access.createSignInLink(principal.id, 'system')
  const code = new TextDecoder().decode(link.reveal('test'))
  for (let look = 0; look < 2; look++) assert.match(await curl(`/sign-in?code=${code}`), /^HTTP\/1\.1 200 [^]*<button>Sign in/)

  const foreign = await curl('/sign-in', '-d', `code=${code}`, '-H', 'Sec-Fetch-Site: cross-site')
  assert.match(foreign, /^HTTP\/1\.1 403 /)
  assert.match(await curl('/sign-in', '-d', `code=${code}`, '-H', 'Origin: https://evil.example'), /^HTTP\/1\.1 403 /)
  assert.match(await curl('/sign-in', '-H', 'content-type: application/json', '-d', '{}'), /^HTTP\/1\.1 400 /)

  const signedIn = await curl('/sign-in', '-d', `code=${code}`)
  assert.match(signedIn, /^HTTP\/1\.1 303 [^]*location: \/\r/)
  const cookie = /set-cookie: (__Host-sealworks=\S+); Path=\/; Secure; HttpOnly; SameSite=Strict; Max-Age=43\d\d\d\r/i.exec(
    signedIn,
  )?.[1]
  assert.ok(cookie)
  assert.match(await curl('/sign-in', '-d', `code=${code}`), /^HTTP\/1\.1 401 /, 'once')

  const page = await curl('/', '-b', cookie)
  assert.match(page, /Ada \(administrator\)[^]*press[^]*4711/)
  const csrf = /name="csrf" value="([^"]+)"/.exec(page)?.[1] ?? ''
  assert.match(await curl('/sign-out', '-b', cookie, '-d', 'csrf=wrong'), /^HTTP\/1\.1 403 /)
  assert.match(await curl('/api/v1/me', '-b', cookie), /^HTTP\/1\.1 200 /)
  assert.match(await curl('/sign-out', '-b', cookie, '--data-urlencode', `csrf=${csrf}`), /^HTTP\/1\.1 303 [^]*Max-Age=0/i)
  assert.match(await curl('/api/v1/me', '-b', cookie), /^HTTP\/1\.1 401 /)
  assert.match(await curl('/', '-b', cookie), /^HTTP\/1\.1 200 [^]*not signed in/)
  assert.ok((await acts()).includes('session.end done'))
})

test('what is put into a form comes back escaped', async (t) => {
  const { curl } = await open(t)
  const answer = await curl('/sign-in?code=%22%3E%3Cscript%3E')
  assert.match(answer, /value="&quot;&gt;&lt;script&gt;"/)
  assert.match(await curl('/sign-in', '-X', 'PUT'), /^HTTP\/1\.1 405 [^]*allow: GET, POST/i)
})

test('HTML takes text apart from HTML', () => {
  const rows = ['<', '&'].map((text) => html`<b>${text}</b>`)
  assert.equal(html`${rows} ${'"\''} ${7} ${undefined}`.html, '<b>&lt;</b><b>&amp;</b> &quot;&#39; 7 ')
})

// ── Before init ─────────────────────────────────────────────────────────────

test('before init there is a page that says what to run, on loopback, under the fingerprint that is told', async (t) => {
  const listen = { host: '0.0.0.0', port: 0 }
  const { listener, fingerprint } = await serveUninitialized({ listen, limits, world: systemWorld(), log: silentLog })
  t.after(() => listener.stop())
  assert.equal(listener.address.host, '127.0.0.1')
  const socket = tlsConnect({ host: '127.0.0.1', port: listener.address.port, rejectUnauthorized: false })
  t.after(() => socket.destroy())
  await once(socket, 'secureConnect')
  const certificate = socket.getPeerX509Certificate()
  assert.equal(certificate?.fingerprint256, fingerprint)
  assert.equal(certificate.checkHost('localhost'), 'localhost')
  assert.ok(certificate.verify(certificate.publicKey))
  const curl = async (path: string) =>
    (await run('curl', ['-sS', '-i', '-k', `https://127.0.0.1:${listener.address.port}${path}`])).stdout
  assert.match(await curl('/'), /^HTTP\/1\.1 503 [^]*sealworks init/)
  assert.match(await curl('/health/live'), /^HTTP\/1\.1 200 /)
  assert.match(await curl('/health/ready'), /^HTTP\/1\.1 503 [^]*initialized/)
  assert.match(await curl('/api/v1/me'), /^HTTP\/1\.1 503 [^]*urn:sealworks:error:unavailable[^]*sealworks init/)
})
