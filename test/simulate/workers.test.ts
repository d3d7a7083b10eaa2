/** Several threads that take connections, as one server: `serve --workers`. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { install, type Installation, type ServerProcess, startServer } from './server-process.ts'

const WORKERS = 2
/** A tenth of a second apart. */
const LOOKS_MAX = 100

let directory: string
let installation: Installation
let server: ServerProcess

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sealworks-workers-'))
  installation = await install(directory, { workers: WORKERS })
  server = startServer(installation)
  await server.ready
})
after(async () => {
  server.process.kill('SIGKILL')
  await server.ended
  await rm(directory, { recursive: true })
})

interface Answered {
  readonly status: number
  /** Each thread counts its requests under a prefix of its own. */
  readonly thread: string
  readonly body: string
}

/** Over a connection of its own. */
async function ask({ origin, tlsRootPEM, token }: Installation, path: string, bodyOctets = 0): Promise<Answered> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${Buffer.from(token.reveal('ask')).toString()}` }
  const agent = new Agent({ ca: tlsRootPEM, keepAlive: false })
  const asked = request(`${origin}${path}`, { agent, headers, method: bodyOctets > 0 ? 'POST' : 'GET' })
  asked.end(Buffer.alloc(bodyOctets, 32))
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  const thread = String(response.headers['x-request-id']).replace(/-.*$/, '')
  return { status: response.statusCode ?? 0, thread, body: Buffer.concat(chunks).toString() }
}

test('decision 16: connections are spread over the threads, and each answers for the whole', async () => {
  const answers = await Promise.all(Array.from({ length: 40 }, () => ask(installation, '/api/v1/authorities')))
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
  assert.equal(new Set(answers.map(({ body }) => body)).size, 1)
  assert.equal(new Set(answers.map(({ thread }) => thread)).size, WORKERS)
  assert.equal((await ask(installation, '/nowhere')).status, 404)
  assert.equal((await ask(installation, '/api/v1/authorities', 2_000_000)).status, 413)
})

test('the requests that threads answered and handed on are counted once each', async () => {
  await Promise.all(Array.from({ length: 10 }, () => ask(installation, '/.well-known/est/cacerts')))
  await Promise.all(Array.from({ length: 10 }, () => ask(installation, '/health/live')))
  let page = ''
  const count = (route: string): number =>
    [...page.matchAll(/^sealworks_requests_total\{(.*)\} (\d+)$/gm)]
      .filter(([, labels]) => labels?.includes(`route="${route}"`))
      .reduce((sum, [, , value]) => sum + Number(value), 0)
  // threads report each second; what is counted twice would be more than asked for when all have
  for (let look = 0; look < LOOKS_MAX && count('est/cacerts') < 10; look++) {
    page = (await ask(installation, '/metrics')).body
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.equal(count('est/cacerts'), 10)
  assert.equal(count('health/live'), 10)
  assert.equal(count('forwarded'), 0)
})

test('a TLS session goes on, whichever thread its next connection meets', async () => {
  const { hostname, port } = new URL(installation.origin)
  const shake = async (session?: Buffer): Promise<{ readonly reused: boolean; readonly ticket: Buffer }> => {
    const socket: TLSSocket = connect({
      host: hostname,
      port: Number(port),
      ca: installation.tlsRootPEM,
      ...(session && { session }),
    })
    const ticket = session ?? ((await once(socket.resume(), 'session')) as [Buffer])[0]
    if (session !== undefined) await once(socket, 'secureConnect')
    const reused = socket.isSessionReused()
    socket.destroy()
    return { reused, ticket }
  }
  const { ticket } = await shake()
  const again = await Promise.all(Array.from({ length: 16 }, () => shake(ticket)))
  assert.equal(again.filter(({ reused }) => reused).length, 16)
})

test('it stops as one', async () => {
  server.process.kill('SIGTERM')
  const { code, complaint } = await server.ended
  assert.equal(code, 0, complaint)
})
