/** Bodies that are read piece by piece, against real sockets: long ones, slow ones, and those that break off. @module */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import type { Router } from '#protocols/dispatch.ts'
import { listenFor, rawExchange, routerOf } from './testing.ts'

const LIMIT = 200_000

/** Answers how many octets came, or why not. */
function counting(): { readonly router: Router; readonly refusals: string[] } {
  const refusals: string[] = []
  const router = routerOf(async ({ stream, path }) => {
    let octets = 0
    try {
      if (path !== '/unread') for await (const piece of stream(LIMIT)) octets += piece.length
    } catch (error) {
      assert.ok(error instanceof TrustError)
      refusals.push(error.reason)
      return { status: error.code === 'tooLarge' ? 413 : 400, headers: {}, body: error.reason }
    }
    return { status: 200, headers: {}, body: String(octets) }
  })
  return { router, refusals }
}

const head = (length: number, more = ''): string => `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n${more}\r\n`

async function open(t: TestContext, port: number): Promise<Socket & { readonly got: () => string }> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  let got = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (got += chunk))
  socket.on('error', () => {})
  await new Promise((resolve) => socket.once('connect', resolve))
  return Object.assign(socket, { got: () => got })
}

test('a body that comes for longer than other requests may is read to its end', async (t) => {
  const { router } = counting()
  const listener = await listenFor(t, [router])
  const socket = await open(t, listener.address.port)
  socket.write(head(12_000))
  for (let i = 0; i < 12; i++) {
    socket.write('x'.repeat(1000))
    await wait(150) // 1.8 s in all: three times what whole requests may take, and several looks of Node's at its clock
  }
  while (socket.got() === '') await wait(20)
  assert.match(socket.got(), /^HTTP\/1\.1 200 [\s\S]*12000$/)
})

test('a request whose body is read whole is cut off as before', async (t) => {
  const whole = routerOf(async ({ body }) => ({ status: 200, headers: {}, body: String((await body(LIMIT)).length) }))
  const listener = await listenFor(t, [whole])
  const socket = await open(t, listener.address.port)
  socket.write(head(12_000))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const sending = setInterval(() => socket.write('x'.repeat(100)), 100)
  await closed
  clearInterval(sending)
  assert.doesNotMatch(socket.got(), /200/)
})

test('a body that never ends is cut off when its own time is over', async (t) => {
  const { router, refusals } = counting()
  const listener = await listenFor(t, [router], { limits: { streamSeconds: 0.5 } })
  const socket = await open(t, listener.address.port)
  socket.write(head(100_000))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const sending = setInterval(() => socket.write('x'), 50)
  await closed
  clearInterval(sending)
  assert.deepEqual(refusals, ['bodyIncomplete'])
})

test('one that is too long is refused by its stated length, or where it passes the limit', async (t) => {
  const { router, refusals } = counting()
  const listener = await listenFor(t, [router])
  const { port } = listener.address
  assert.match(await rawExchange(port, [head(LIMIT + 1, 'Connection: close\r\nExpect: 100-continue\r\n')]), /^HTTP\/1\.1 413 /)
  const chunk = `${(50_000).toString(16)}\r\n${'x'.repeat(50_000)}\r\n`
  const start = 'POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
  assert.match(await rawExchange(port, [start, chunk, chunk, chunk, chunk, chunk, '0\r\n\r\n']), /^HTTP\/1\.1 413 /)
  assert.match(await rawExchange(port, [start, chunk, chunk, '0\r\n\r\n']), /100000$/)
  assert.deepEqual(refusals, ['bodyTooLarge', 'bodyTooLarge'])
})

test('one that breaks off says so to whoever reads it', async (t) => {
  const { router, refusals } = counting()
  const listener = await listenFor(t, [router])
  const socket = await open(t, listener.address.port)
  socket.write(head(5000) + 'x'.repeat(100))
  await wait(50)
  socket.destroy()
  while (refusals.length === 0) await wait(10)
  assert.deepEqual(refusals, ['bodyIncomplete'])
})

test('a body that nobody reads does not hold the next request of its connection', async (t) => {
  const { router } = counting()
  const listener = await listenFor(t, [router])
  const first = head(3000).replace('POST /', 'POST /unread') + 'x'.repeat(3000)
  const answers = await rawExchange(listener.address.port, [first, head(2, 'Connection: close\r\n') + 'xx'])
  assert.match(answers, /^HTTP\/1\.1 200 [\s\S]*\r\n\r\n0HTTP\/1\.1 200 [\s\S]*\r\n\r\n2$/)
})
