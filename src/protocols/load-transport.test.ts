/** Both ways to a server give the same answers, however the bytes arrive, and say when there is none. @module */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import { concat, utf8 } from '#base/bytes.ts'
import { httpTransport, type Question, type Transport } from './http-client.ts'
import { loadTransport } from './load-transport.ts'

/** A server whose connections do what the test says with each request, and what it got so far. */
async function serverFor(t: TestContext, onRequest: (socket: Socket, text: string) => void): Promise<URL> {
  const server = createServer((socket) => {
    let text = ''
    socket.on('error', () => {})
    socket.setNoDelay(true)
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      const end = text.indexOf('\r\n\r\n')
      if (end < 0 || text.length < end + 4 + length) return
      onRequest(socket, text)
      text = ''
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/x?y`)
}

const transports = (url: URL): Record<string, Transport> => ({
  ordinary: httpTransport(url),
  load: loadTransport({ url: url.href, connections: 2 }),
})

const question = (url: URL, changes: Partial<Question> = {}): Question => ({
  method: 'POST',
  url,
  headers: { 'content-type': 'text/plain' },
  body: 'hello',
  timeoutSeconds: 0.3,
  answerMaxOctets: 1000,
  ...changes,
})

test('an answer is the same in whatever pieces it comes', async (t) => {
  let pieces: readonly Uint8Array[] = []
  const url = await serverFor(t, (socket) => {
    const sendFrom = (at: number): void => {
      const piece = pieces[at]
      if (piece !== undefined) socket.write(piece, () => setImmediate(sendFrom, at + 1))
    }
    sendFrom(0)
  })
  const ways = transports(url)
  t.after(() => Object.values(ways).forEach((way) => way.close()))
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat(400), { maxLength: 5 }), async (body, cuts) => {
      const whole = concat([utf8(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nX-One: a: b \r\n\r\n`), body])
      const at = [0, ...cuts.filter((cut) => cut < whole.length).toSorted((a, b) => a - b), whole.length]
      pieces = at
        .slice(1)
        .map((end, i) => whole.subarray(at[i], end))
        .filter((piece) => piece.length > 0)
      for (const way of Object.values(ways)) {
        const answer = await way.ask(question(url))
        assert.equal(answer.status, 200)
        assert.equal(answer.headers['x-one'], 'a: b')
        assert.deepEqual(new Uint8Array(answer.body), body)
      }
    }),
    { numRuns: 60 },
  )
})

test('the same request arrives', async (t) => {
  const got: string[] = []
  const url = await serverFor(t, (socket, text) => {
    got.push(
      text.toLowerCase().split('\r\n\r\n')[1] ?? '',
      text.split('\r\n')[0] ?? '',
      /content-type: ([^\r]*)/i.exec(text)?.[1] ?? '',
    )
    socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  })
  for (const way of Object.values(transports(url))) {
    got.length = 0
    assert.equal((await way.ask(question(url, { body: utf8('hello') }))).status, 204)
    assert.deepEqual(got, ['hello', 'POST /x?y HTTP/1.1', 'text/plain'])
    way.close()
  }
})

const ends: { name: string; answer: (socket: Socket) => void; code: string }[] = [
  { name: 'no answer in time', answer: () => {}, code: 'unavailable' },
  { name: 'a connection that ends at once', answer: (socket) => socket.destroy(), code: 'unavailable' },
  {
    name: 'an answer cut off',
    answer: (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell'),
    code: 'unavailable',
  },
  { name: 'something else than HTTP', answer: (socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'), code: 'unavailable' },
  {
    name: 'too much',
    answer: (socket) => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n${'a'.repeat(1001)}`),
    code: 'tooLarge',
  },
]
for (const { name, answer, code } of ends) {
  test(`${name} is ${code}, and the next question is answered`, async (t) => {
    let first = true
    const url = await serverFor(t, (socket) => {
      if (first) answer(socket)
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    for (const [way, transport] of Object.entries(transports(url))) {
      first = true
      await assert.rejects(transport.ask(question(url)), { code }, way)
      first = false
      assert.equal((await transport.ask(question(url))).status, 200, way)
      transport.close()
    }
  })
}

test('a server that is not there is unavailable', async () => {
  const url = new URL('http://127.0.0.1:1/')
  for (const way of Object.values(transports(url))) await assert.rejects(way.ask(question(url)), { code: 'unavailable' })
})

test('load runs over no more than the connections it was given', async (t) => {
  const sockets = new Set<Socket>()
  const url = await serverFor(t, (socket) => {
    sockets.add(socket)
    setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
  })
  const transport = loadTransport({ url: url.href, connections: 3 })
  await Promise.all(Array.from({ length: 50 }, () => transport.ask(question(url))))
  assert.equal(sockets.size, 3)
  transport.close()
})
