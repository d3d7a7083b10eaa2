/** The listener against real sockets: curl, openssl, and clients that misbehave. @module */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { Agent, request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createLog } from '#base/log.ts'
import { systemWorld } from '#base/world.ts'
import type { Arrival } from '#protocols/dispatch.ts'
import type { Reply, ReplyStream } from '#protocols/protocol.ts'
import { openListener, reservePort } from './listener.ts'
import { derOf, face, limits, listenFor, rawExchange, routerOf, testdata, testdataPath } from './testing.ts'

const run = promisify(execFile)
const ok = (body: string | Uint8Array, headers: Record<string, string> = {}): Reply => ({ status: 200, headers, body })
const hello = routerOf(async () => ok('hello\n', { 'content-type': 'text/plain' }))
const clientIdentity = { cert: testdata('client.pem') + testdata('client-issuer.pem'), key: testdata('client.key') }
const trust = { ca: testdata('server-root.pem'), servername: 'localhost' }

async function handshake(t: TestContext, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = tlsConnect({ port, host: '127.0.0.1', ...trust, ...options })
  t.after(() => socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

/** One request on an open socket, as text. */
async function ask(socket: TLSSocket, path: string): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  return answer.toString('latin1')
}

test('curl gets an answer with the standing headers, a request id and a length', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true })
  const { stdout } = await run('curl', [
    '-sS',
    '-i',
    '--cacert',
    testdataPath('server-root.pem'),
    `https://localhost:${listener.address.port}/x?y=1`,
  ])
  assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(stdout, /^content-length: 6\r$/im)
  assert.match(stdout, /^x-content-type-options: nosniff\r$/im)
  assert.match(stdout, /^x-request-id: [0-9a-f]{12}-0\r$/im)
  assert.match(stdout, /\r\n\r\nhello\n$/)
  assert.deepEqual(listener.observed.requests, [['/x', 200]])
})

for (const kind of ['text', 'octets'] as const) {
  test(`head and body of ${kind} arrive in one TLS record (strongSwan reads them so)`, async (t) => {
    const body = kind === 'text' ? 'a'.repeat(3000) : new Uint8Array(3000).fill(97)
    const listener = await listenFor(t, [routerOf(async () => ok(body))], { tls: true })
    const socket = await handshake(t, listener.address.port)
    const answer = await ask(socket, '/')
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\na{3000}$/)
    assert.doesNotMatch(answer, /transfer-encoding/i)
  })
}

test('TLS 1.2 and 1.3 are served, 1.1, weak suites and HTTP/2 are not', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true })
  const { port } = listener.address
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const socket = await handshake(t, port, { minVersion: version, maxVersion: version, ALPNProtocols: ['http/1.1'] })
    assert.equal(socket.getProtocol(), version)
    assert.equal(socket.alpnProtocol, 'http/1.1')
  }
  const refused: ConnectionOptions[] = [
    { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
    { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' },
    { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' },
    { ALPNProtocols: ['h2'] },
  ]
  for (const options of refused) await assert.rejects(handshake(t, port, options), JSON.stringify(options))
  assert.equal(listener.observed.connections.filter((event) => event === 'refusedHandshake').length, refused.length)
})

test('a client that offers it gets the hybrid post-quantum key exchange (R31)', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true })
  const socket = await handshake(t, listener.address.port, { ecdhCurve: 'X25519MLKEM768' })
  assert.equal(socket.getProtocol(), 'TLSv1.3')
})

test('the certificate request names the CAs of the face, and can change while running', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true })
  const names = async () => {
    const { stdout } = await run('sh', [
      '-c',
      `openssl s_client -connect 127.0.0.1:${listener.address.port} </dev/null 2>/dev/null`,
    ])
    return stdout
  }
  const before = await names()
  assert.match(before, /Acceptable client certificate CA names\s+CN = Test client root\s/)
  assert.doesNotMatch(before, /CN = Test client issuer/)
  const first = await handshake(t, listener.address.port)
  const fingerprint = first.getPeerX509Certificate()?.fingerprint256
  listener.present(face('other-server', ['client-issuer']))
  assert.match(await names(), /Acceptable client certificate CA names\s+CN = Test client issuer\s/)
  const second = await handshake(t, listener.address.port)
  assert.notEqual(second.getPeerX509Certificate()?.fingerprint256, fingerprint)
  assert.match(await ask(first, '/'), /200 OK/, 'connections that stand go on')

  assert.throws(() => listener.present({ ...face(), identity: { ...face().identity, certificateChainPEM: 'damaged' } }))
  const third = await handshake(t, listener.address.port)
  assert.equal(
    third.getPeerX509Certificate()?.fingerprint256,
    second.getPeerX509Certificate()?.fingerprint256,
    'a damaged one changes nothing',
  )
})

test('with no enabled endpoint nobody is named; the console listener does not ask', async (t) => {
  const quiet = await listenFor(t, [hello], { tls: true, asksForCertificate: false })
  const peers: Arrival['peer'][] = []
  const noting = routerOf(async ({ peer }) => (peers.push(peer), ok('')))
  const asking = await listenFor(t, [noting], { tls: true })
  asking.present(face('server', []))
  const { stdout } = await run('sh', ['-c', `openssl s_client -connect 127.0.0.1:${asking.address.port} </dev/null 2>/dev/null`])
  assert.match(stdout, /No client certificate CA names sent/)
  const socket = await handshake(t, quiet.address.port, clientIdentity)
  assert.match(await ask(socket, '/'), /200 OK/)
  const named = await handshake(t, asking.address.port, clientIdentity)
  await ask(named, '/')
  assert.equal(peers[0]?.chain.length, 2, 'sent although not named')
})

test('the exchange sees the chain that the client proved, parsed once per connection (R1)', async (t) => {
  const peers: Arrival['peer'][] = []
  const listener = await listenFor(t, [routerOf(async ({ peer }) => (peers.push(peer), ok('')))], { tls: true })
  const socket = await handshake(t, listener.address.port, clientIdentity)
  await ask(socket, '/')
  await ask(socket, '/')
  assert.deepEqual(
    peers[0]?.chain.map((der) => Buffer.from(der)),
    ['client', 'client-issuer'].map((name) => Buffer.from(derOf(testdata(`${name}.pem`)))),
  )
  assert.equal(peers[0]?.chain, peers[1]?.chain)
  assert.equal(peers[0]?.address, '127.0.0.1')
  const anonymous = await handshake(t, listener.address.port)
  await ask(anonymous, '/')
  assert.deepEqual(peers[2]?.chain, [])
})

const SSL_OP_NO_EXTENDED_MASTER_SECRET = 1
const bindings = [
  { version: 'TLSv1.3', extended: true, resumed: false },
  { version: 'TLSv1.2', extended: true, resumed: false },
  { version: 'TLSv1.2', extended: false, resumed: false },
  { version: 'TLSv1.2', extended: true, resumed: true },
  { version: 'TLSv1.2', extended: false, resumed: true },
  { version: 'TLSv1.3', extended: true, resumed: true },
] as const
for (const { version, extended, resumed } of bindings) {
  const name = `${version}${resumed ? ', resumed' : ''}, ${extended ? 'with' : 'without'} extended master secret`
  test(`both ends agree on the channel bindings: ${name} (RFC 9266, RFC 5929, RFC 7627)`, async (t) => {
    const peers: Arrival['peer'][] = []
    const listener = await listenFor(t, [routerOf(async ({ peer }) => (peers.push(peer), ok('')))], { tls: true })
    const options = {
      minVersion: version,
      maxVersion: version,
      ...clientIdentity,
      secureOptions: extended ? 0 : SSL_OP_NO_EXTENDED_MASTER_SECRET,
    }
    let socket = await handshake(t, listener.address.port, options)
    if (resumed) {
      const kept = version === 'TLSv1.3' ? once(socket, 'session') : undefined
      await ask(socket, '/')
      const session = kept === undefined ? socket.getSession() : ((await kept) as [Buffer])[0]
      assert.ok(session)
      socket = await handshake(t, listener.address.port, { ...options, session })
    }
    assert.equal(socket.isSessionReused(), resumed)
    await ask(socket, '/')
    const peer = peers.at(-1)
    assert.ok(peer?.tls)
    assert.equal(peer.tls.version, version)
    assert.equal(peer.tls.extendedMasterSecret, extended)
    const exported = socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
    assert.equal(peer.tls.exporter().toHex(), exported.toString('hex'))
    // The client's own view: its Finished came first unless the session was resumed.
    const unique = version === 'TLSv1.3' ? undefined : resumed ? socket.getPeerFinished() : socket.getFinished()
    assert.equal(peer.tls.tlsUnique()?.toHex(), unique?.toString('hex'))
    assert.equal(peer.chain[0]?.toHex(), derOf(testdata('client.pem')).toHex(), 'a resumed session still names its certificate')
  })
}

for (const extended of [true, false]) {
  test(`openssl s_client ${extended ? 'with' : 'without'} extended master secret is told apart (RFC 7627)`, async (t) => {
    let told: boolean | undefined
    const listener = await listenFor(t, [routerOf(async ({ peer }) => ((told = peer.tls?.extendedMasterSecret), ok('')))], {
      tls: true,
    })
    const directory = mkdtempSync(join(tmpdir(), 'sealworks-tls-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const conf = join(directory, 'openssl.cnf')
    writeFileSync(
      conf,
      'openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = ' +
        (extended ? '' : '-') +
        'ExtendedMasterSecret\n',
    )
    const client = spawn(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${listener.address.port}`, '-tls1_2', '-quiet', '-no_ign_eof'],
      {
        env: { ...process.env, OPENSSL_CONF: conf },
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    )
    client.stdin.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(client.stdout, 'data')
    client.stdin.end()
    await once(client, 'exit')
    assert.equal(told, extended)
  })
}

test('openssl s_client exports the same value (RFC 9266)', async (t) => {
  let exported = ''
  const listener = await listenFor(t, [routerOf(async ({ peer }) => ((exported = peer.tls?.exporter().toHex() ?? ''), ok('')))], {
    tls: true,
  })
  const args = [
    's_client',
    '-connect',
    `127.0.0.1:${listener.address.port}`,
    '-tls1_3',
    '-keymatexport',
    'EXPORTER-Channel-Binding',
    '-keymatexportlen',
    '32',
    '-no_ign_eof',
  ]
  const client = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'ignore'] })
  let output = ''
  client.stdout.setEncoding('latin1').on('data', (chunk: string) => (output += chunk))
  client.stdin.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  while (!output.includes('200 OK')) await once(client.stdout, 'data')
  client.stdin.end()
  await once(client, 'exit')
  assert.match(output, new RegExp(`Keying material: ${exported}`, 'i'))
})

test('a client may not renegotiate', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true })
  const socket = await handshake(t, listener.address.port, { maxVersion: 'TLSv1.2' })
  const outcome = await new Promise<Error | null>((resolve) => {
    socket.once('error', resolve)
    socket.renegotiate({}, resolve)
  })
  assert.ok(outcome instanceof Error)
})

test('an old ticket key is replaced, and its sessions begin anew', async (t) => {
  let now = 0
  const listener = await listenFor(t, [hello], { tls: true, world: { ...systemWorld(), clock: { now: () => now } } })
  const options = { maxVersion: 'TLSv1.2' } as const
  const first = await handshake(t, listener.address.port, options)
  const session = first.getSession()
  assert.ok(session)
  assert.equal((await handshake(t, listener.address.port, { ...options, session })).isSessionReused(), true)
  now = 3_600_001
  await handshake(t, listener.address.port, options) // the connection that finds the key too old
  assert.equal((await handshake(t, listener.address.port, { ...options, session })).isSessionReused(), false)
})

// ── Bodies ──────────────────────────────────────────────────────────────────

const echo = routerOf(async ({ body }) => {
  try {
    return ok(await body(1000))
  } catch (error) {
    return {
      status: (error as { code: string }).code === 'tooLarge' ? 413 : 400,
      headers: {},
      body: (error as { reason: string }).reason,
    }
  }
})

test('a body is read whole, with a length or in chunks', async (t) => {
  const { address } = await listenFor(t, [echo])
  const url = `http://127.0.0.1:${address.port}/`
  assert.equal(await (await fetch(url, { method: 'POST', body: 'x'.repeat(1000) })).text(), 'x'.repeat(1000))
  const chunked = await rawExchange(address.port, [
    'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    '2\r\nde\r\n0\r\n\r\n',
  ])
  assert.match(chunked, /200 OK[^]*\r\n\r\nabcde$/)
  assert.equal(await (await fetch(url, { method: 'POST' })).text(), '')
})

test('a body that is too long is refused by its stated length, and while it streams', async (t) => {
  const { address } = await listenFor(t, [echo])
  const stated = await rawExchange(address.port, [
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\nConnection: close\r\n\r\n',
  ])
  assert.match(stated, /^HTTP\/1\.1 413 [^]*bodyTooLarge$/)
  const chunk = `3e8\r\n${'y'.repeat(1000)}\r\n`
  const streamed = await rawExchange(address.port, [
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n',
    chunk,
    chunk,
  ])
  assert.match(streamed, /^HTTP\/1\.1 413 [^]*bodyTooLarge$/)
})

test('after a refused body that ends soon, the connection goes on; an endless one is cut', async (t) => {
  const { address } = await listenFor(t, [echo])
  const two = await rawExchange(address.port, [
    `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n${'z'.repeat(2000)}`,
    'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok',
  ])
  assert.match(two, /413 Payload Too Large[^]*200 OK[^]*\r\n\r\nok$/)

  const socket = connect(address.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const piece = Buffer.from(`10000\r\n${'w'.repeat(65_536)}\r\n`)
  let sent = 0
  while (!socket.destroyed && sent < 200) {
    sent += 1
    if (!socket.write(piece)) await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed])
  }
  await closed
  assert.ok(sent < 200, 'cut before everything was taken')
})

test('a client that waits for 100 Continue uploads only what is wanted', async (t) => {
  const { address } = await listenFor(t, [echo])
  const head = (length: number) => `POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`
  assert.match(await rawExchange(address.port, [head(5000)]), /^HTTP\/1\.1 413 [^]*connection: close/i)
  const socket = connect(address.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(head(3))
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 100 Continue/)
  socket.write('abc')
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 OK[^]*abc$/)
})

test('an upload cut off half way reaches the handler as a refusal, and nothing else stops', async (t) => {
  const outcomes: unknown[] = []
  let settle = () => {}
  const settled = new Promise<void>((resolve) => (settle = resolve))
  const listener = await listenFor(t, [
    routerOf(async ({ body, path }) => {
      if (path !== '/cut') return ok('fine')
      await body(1000).catch((error: unknown) => outcomes.push((error as { reason: string }).reason))
      settle()
      return ok('')
    }),
  ])
  const socket = connect(listener.address.port, '127.0.0.1')
  socket.write('POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf')
  await once(socket, 'connect')
  setTimeout(() => socket.destroy(), 50)
  await settled
  assert.deepEqual(outcomes, ['bodyIncomplete'])
  assert.equal(await (await fetch(`http://127.0.0.1:${listener.address.port}/`)).text(), 'fine')
})

// ── Clients that misbehave ──────────────────────────────────────────────────

const unreadable = [
  { name: 'no HTTP at all', bytes: ['\x16\x03\x01\x02\x00\r\n\r\n'], status: 400 },
  { name: 'a bare line break in a header', bytes: ['GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n'], status: 400 },
  {
    name: 'both length and chunks (smuggling)',
    bytes: ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    status: 400,
  },
  {
    name: 'two lengths',
    bytes: ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc'],
    status: 400,
  },
  { name: 'a negative length', bytes: ['POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'], status: 400 },
  { name: 'no host', bytes: ['GET / HTTP/1.1\r\n\r\n'], status: 400 },
  { name: 'a head that is too long', bytes: [`GET / HTTP/1.1\r\nHost: x\r\nA: ${'b'.repeat(5000)}\r\n\r\n`], status: 431 },
  {
    name: 'too many fields',
    bytes: [`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${'A: b\r\n'.repeat(30)}\r\n`],
    status: 431,
  },
  { name: 'a head that never ends', bytes: ['GET / HTTP/1.1\r\nHost: x\r\n'], status: 408 },
  { name: 'a connection that says nothing', bytes: [], status: 408 },
] as const
for (const { name, bytes, status } of unreadable) {
  test(`refuses ${name} with ${status}`, async (t) => {
    const listener = await listenFor(t, [hello])
    assert.match(await rawExchange(listener.address.port, bytes), new RegExp(`^HTTP/1\\.1 ${status} `))
    assert.equal(await (await fetch(`http://127.0.0.1:${listener.address.port}/`)).text(), 'hello\n', 'others are still served')
  })
}

test('a body that trickles is cut off in time', async (t) => {
  const { address } = await listenFor(t, [echo])
  const socket = connect(address.port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => {})
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n')
  const trickle = setInterval(() => socket.write('.'), 50)
  t.after(() => clearInterval(trickle))
  let got = ''
  socket.on('data', (chunk: Buffer) => (got += chunk.toString()))
  await once(socket, 'close')
  assert.doesNotMatch(got, /200 OK/)
})

test('a TLS handshake that stands still is cut off', async (t) => {
  const listener = await listenFor(t, [hello], { tls: true, limits: { handshakeTimeoutSeconds: 0.2 } })
  const socket = connect(listener.address.port, '127.0.0.1')
  socket.resume()
  await once(socket, 'close')
  assert.deepEqual(listener.observed.connections, ['refusedHandshake'])
})

test('connections over the limit are dropped, and one that goes makes room', async (t) => {
  const listener = await listenFor(t, [hello], { limits: { connectionsMax: 1 } })
  const first = connect(listener.address.port, '127.0.0.1')
  await once(first, 'connect')
  first.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(first, 'data')
  assert.equal(await rawExchange(listener.address.port, ['GET / HTTP/1.1\r\nHost: x\r\n\r\n']), '')
  assert.ok(listener.observed.connections.includes('overLimit'))
  first.destroy()
  await once(first, 'close')
  const deadline = performance.now() + 2000
  let answer = ''
  while (answer === '' && performance.now() < deadline)
    answer = await rawExchange(listener.address.port, ['GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'])
  assert.match(answer, /200 OK/)
})

test('a connection ends after its number of requests', async (t) => {
  const listener = await listenFor(t, [hello], { limits: { requestsPerConnectionMax: 2 } })
  const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
  const answers = await rawExchange(listener.address.port, [get, get])
  assert.equal(answers.match(/200 OK/g)?.length, 2)
  assert.match(answers, /connection: close/i)
})

test('too many requests of one address get 429 with the time to wait', async (t) => {
  let now = 0
  const listener = await listenFor(t, [hello], { perSecond: 1, burst: 2, world: { ...systemWorld(), clock: { now: () => now } } })
  const get = () => fetch(`http://127.0.0.1:${listener.address.port}/`)
  assert.equal((await get()).status, 200)
  assert.equal((await get()).status, 200)
  const third = await get()
  assert.equal(third.status, 429)
  assert.equal(third.headers.get('retry-after'), '1')
  now += 1000
  assert.equal((await get()).status, 200)
})

test('a bug outside every handler says nothing to the peer and everything to the log', async (t) => {
  const lines: string[] = []
  const log = createLog({ level: 'error', clock: { now: () => 0 }, write: (line) => lines.push(line) })
  const router = () => {
    throw new Error('SELECT * FROM secrets')
  }
  const listener = await listenFor(t, [router], { log })
  const answer = await fetch(`http://127.0.0.1:${listener.address.port}/`)
  assert.equal(answer.status, 500)
  assert.doesNotMatch(await answer.text(), /SELECT/)
  assert.match(lines[0] ?? '', /SELECT \* FROM secrets/)
  assert.ok(lines[0]?.includes(answer.headers.get('x-request-id') ?? 'none'))
})

test('an absolute request target and a HEAD are understood', async (t) => {
  const listener = await listenFor(t, [hello])
  const absolute = await rawExchange(listener.address.port, [
    'GET http://other.example/path?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  ])
  assert.match(absolute, /200 OK/)
  assert.deepEqual(listener.observed.requests, [['/path', 200]])
  const head = await rawExchange(listener.address.port, ['HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'])
  assert.match(head, /content-length: 6\r\n[^]*\r\n\r\n$/)
})

// ── Stopping ────────────────────────────────────────────────────────────────

/** A long answer in pieces, and how many of them were read. */
function longAnswer(pieces: number, octets: number, breaksAt = Infinity) {
  const read = { pieces: 0 }
  const stream: ReplyStream = {
    octets: pieces * octets,
    async *read() {
      for (let i = 0; i < pieces; i++) {
        if (i === breaksAt) throw new Error('the list was dropped')
        read.pieces++
        yield new Uint8Array(octets).fill(i)
        await Promise.resolve()
      }
    },
  }
  return { read, router: routerOf(async () => ({ status: 200, headers: {}, body: '', stream })) }
}

test('R8: a long answer arrives whole and in order, with its length said before; a HEAD reads none of it', async (t) => {
  const { read, router } = longAnswer(40, 100_000)
  const listener = await listenFor(t, [router])
  const url = `http://127.0.0.1:${listener.address.port}/`
  const answer = await fetch(url)
  assert.equal(answer.headers.get('content-length'), '4000000')
  const octets = new Uint8Array(await answer.arrayBuffer())
  assert.equal(octets.length, 4_000_000)
  assert.ok(octets.every((octet, at) => octet === Math.floor(at / 100_000)))
  assert.equal(read.pieces, 40)
  const head = await fetch(url, { method: 'HEAD' })
  assert.equal(head.headers.get('content-length'), '4000000')
  assert.equal(read.pieces, 40)
  assert.deepEqual(listener.observed.requests, [
    ['/', 200],
    ['/', 200],
  ])
})

test('R8: of hundreds of peers that take nothing, each holds a few pieces and not the whole', async (t) => {
  const { read, router } = longAnswer(400, 256 << 10) // 100 MB each
  const listener = await listenFor(t, [router], { limits: { connectionsMax: 300, idleTimeoutSeconds: 60 } })
  const sockets = Array.from({ length: 200 }, () => connect(listener.address.port, '127.0.0.1'))
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  await Promise.all(
    sockets.map(async (socket) => {
      socket.pause() // the kernel takes what its buffers hold
      await once(socket, 'connect')
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    }),
  )
  let last = -1
  while (last !== read.pieces || read.pieces < sockets.length) {
    last = read.pieces
    await wait(200)
  }
  assert.ok(read.pieces < sockets.length * 40, `${read.pieces} pieces of ${sockets.length * 400} were read`)
  for (const socket of sockets) socket.destroy()
})

test('an answer that breaks off closes the connection, so that nobody takes it for the whole', async (t) => {
  const { router } = longAnswer(10, 100_000, 5)
  const listener = await listenFor(t, [router])
  await assert.rejects(fetch(`http://127.0.0.1:${listener.address.port}/`).then((answer) => answer.arrayBuffer()))
})

test('a stop lets a request in flight finish and closes the idle and the half-open', async (t) => {
  let finish = () => {}
  let begun = () => {}
  const started = new Promise<void>((resolve) => (begun = resolve))
  const slow = routerOf(async ({ path }) => {
    if (path === '/slow') {
      begun()
      await new Promise<void>((resolve) => (finish = resolve))
    }
    return ok('done')
  })
  const listener = await listenFor(t, [slow], {
    tls: true,
    limits: { gracefulStopSeconds: 60, headersTimeoutSeconds: 60, requestTimeoutSeconds: 60, handshakeTimeoutSeconds: 60 },
  })
  const idle = await handshake(t, listener.address.port)
  await ask(idle, '/')
  const fresh = await handshake(t, listener.address.port)
  const halfOpen = connect(listener.address.port, '127.0.0.1')
  await once(halfOpen, 'connect')
  for (const socket of [idle, fresh, halfOpen]) socket.resume().on('error', () => {})
  const closed = Promise.all([once(idle, 'close'), once(fresh, 'close'), once(halfOpen, 'close')])

  const agent = new Agent({ keepAlive: true, ...trust })
  const answer = new Promise<string>((resolve, reject) => {
    httpsRequest({ port: listener.address.port, host: '127.0.0.1', path: '/slow', agent }, (response) => {
      response.setEncoding('latin1').on('data', (body: string) => resolve(`${response.headers.connection} ${body}`))
    })
      .on('error', reject)
      .end()
  })
  await started
  const stopped = listener.stop()
  await closed
  await assert.rejects(handshake(t, listener.address.port), { code: 'ECONNREFUSED' })
  finish()
  assert.equal(await answer, 'close done')
  await stopped
})

test('a stop does not wait for ever', async (t) => {
  const listener = await listenFor(t, [routerOf(() => new Promise(() => {}))], { limits: { gracefulStopSeconds: 0.1 } })
  const hanging = rawExchange(listener.address.port, ['GET / HTTP/1.1\r\nHost: x\r\n\r\n'])
  while (listener.observed.connections.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await listener.stop()
  assert.equal(await hanging, '')
})

test(
  'an address that listeners share cannot be joined by others',
  { skip: process.platform !== 'linux' && 'shared ports need Linux' },
  async (t) => {
    const { address } = await listenFor(t, [hello], { reusePort: true })
    await assert.rejects(reservePort(address), { code: 'conflict', reason: 'addressTaken' })
    const free = await reservePort({ host: '127.0.0.1', port: 0 })
    assert.notEqual(free.port, 0)
    assert.deepEqual(await reservePort(free), free)
  },
)

test('an address in use is refused by name', async (t) => {
  const first = await listenFor(t, [hello])

  const { rateLimit } = await import('./rate-limit.ts')
  const { silentLog } = await import('#base/log.ts')
  const world = systemWorld()
  await assert.rejects(
    openListener({
      id: 'public',
      address: first.address,
      limits,
      rate: rateLimit({ perSecond: 0, burst: 1, addressesMax: 1, clock: world.clock }),
      routers: [],
      headers: {},
      world,
      log: silentLog,
      observe: { request() {}, connection() {} },
    }),
    { code: 'conflict', reason: 'addressTaken', message: new RegExp(`^.+ already listens on 127.0.0.1:${first.address.port}`) },
  )
})
