/** The client against chrony, and against servers that lie, over real UDP. @module */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { needs } from '../../../test/interop/programs.ts'
import { goodAnswer, withTimeServer } from './ntp-testing.ts'
import { askTime, encodeTimeQuestion, parseTimeAnswer, readingOf, type TimeReading } from './ntp.ts'

const world = systemWorld()
const ask = (port: number, ahead = 0, timeoutMilliseconds = 2000): Promise<TimeReading> =>
  askTime(
    { host: '127.0.0.1', port },
    {
      clocks: { wall: () => world.clock.now() + ahead, monotonic: () => performance.now() },
      random: world.random,
      timeoutMilliseconds,
    },
  )

async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

const tools = needs('chronyd')
test('a real server (chrony) says how far our clock is off', { skip: tools.skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-ntp-'))
  chmodSync(directory, 0o777) // for the unprivileged user that it runs as
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const port = await freePort()
  const lines = [`port ${port}`, 'bindaddress 127.0.0.1', 'cmdport 0', 'local stratum 1', 'allow 127.0.0.1']
  writeFileSync(join(directory, 'chrony.conf'), [...lines, `pidfile ${join(directory, 'pid')}`, ''].join('\n'))
  // -x: it leaves the clock of this machine alone; -U: it needs not be root
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? 'nobody' : userInfo().username
  const words = ['-x', '-d', '-U', '-f', join(directory, 'chrony.conf'), '-u', user]
  const child = spawn(tools.path('chronyd'), words, { stdio: 'ignore', ...(isRoot && { uid: 65_534, gid: 65_534 }) })
  t.after(async () => {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  })
  let reading: TimeReading | undefined
  for (let tries = 0; reading === undefined && tries < 40; tries++) {
    reading = await ask(port, 0, 500).catch(() => undefined) // until it listens
    if (reading === undefined) await wait(100)
  }
  assert.ok(reading !== undefined, 'chrony does not answer')
  assert.ok(Math.abs(reading.offset) <= reading.distance + 1, `off by ${reading.offset} ms`)
  assert.equal(reading.leap, 'none')
  for (const ahead of [-5000, 86_400_000]) {
    const { offset, distance } = await ask(port, ahead)
    assert.ok(Math.abs(offset + ahead) <= distance + 1, `with a clock ${ahead} ms ahead it says ${offset} ms`)
  }
})

const changed = (packet: Uint8Array, at: number, ...octets: readonly number[]): Uint8Array => {
  packet.set(octets, at)
  return packet
}

const refusals: readonly { name: string; change: (packet: Uint8Array) => Uint8Array; code: string }[] = [
  { name: 'a server that is not synchronized', change: (packet) => changed(packet, 0, 0xe4), code: 'unavailable' },
  { name: 'stratum 16', change: (packet) => changed(packet, 1, 16), code: 'unavailable' },
  { name: 'a root more than a second away', change: (packet) => changed(packet, 8, 0, 1, 0, 0), code: 'unavailable' },
  { name: 'no transmit time', change: (packet) => changed(packet, 40, 0, 0, 0, 0, 0, 0, 0, 0), code: 'malformed' },
  { name: 'an answer that left before the question came', change: (packet) => changed(packet, 40, 0x80), code: 'malformed' },
  { name: 'a client as server', change: (packet) => changed(packet, 0, 0x23), code: 'malformed' },
  { name: 'NTP 2', change: (packet) => changed(packet, 0, 0x14), code: 'malformed' },
  {
    name: 'the kiss of death RATE (RFC 5905, 7.4)',
    change: (packet) => changed(packet, 1, 0, ...packet.subarray(2, 12), 0x52, 0x41, 0x54, 0x45),
    code: 'rateLimited',
  },
  {
    name: 'the kiss of death DENY',
    change: (packet) => changed(packet, 1, 0, ...packet.subarray(2, 12), 0x44, 0x45, 0x4e, 0x59),
    code: 'forbidden',
  },
  // never taken for an answer, so that the question is not answered
  { name: 'a replay: the number of another question', change: (packet) => changed(packet, 24, 1, 2, 3, 4), code: 'unavailable' },
  { name: 'less than a packet', change: (packet) => packet.subarray(0, 47), code: 'unavailable' },
]
for (const { name, change, code } of refusals) {
  test(`RFC 4330, 5: refuses ${name}`, () =>
    withTimeServer(
      (question) => [change(goodAnswer(question))],
      async (port) => {
        await assert.rejects(ask(port, 0, 150), { code, reason: 'timeServer' })
      },
    ))
}

test('forged answers before the right one are passed over, but not without end', async () => {
  const forged = (question: Uint8Array) => changed(goodAnswer(question, Date.parse('2000-01-01T00:00:00Z')), 24, 9, 9)
  await withTimeServer(
    (question) => [forged(question), forged(question), goodAnswer(question, world.clock.now())],
    async (port) => {
      const { offset } = await ask(port)
      assert.ok(Math.abs(offset) < 1000)
    },
  )
  await withTimeServer(
    (question) => Array.from({ length: 40 }, () => forged(question)),
    async (port) => assert.rejects(ask(port), { code: 'malformed' }),
  )
})

test('who does not answer, and a name that is none, are no servers', async () => {
  await withTimeServer(
    () => [],
    async (port) => assert.rejects(ask(port, 0, 50), { code: 'unavailable' }),
  )
  const asking = { clocks: { wall: () => 0, monotonic: () => 0 }, random: world.random, timeoutMilliseconds: 500 }
  await assert.rejects(askTime({ host: 'no.such.name.invalid', port: 123 }, asking), { code: 'unavailable' })
})

test('RFC 5905, 6: times after 2036, when the count begins again, are read as near as they are', () => {
  for (const at of ['2036-02-07T06:28:15Z', '2036-02-07T06:28:17Z', '2050-01-01T00:00:00Z', '1999-12-31T23:59:59Z']) {
    const time = Date.parse(at)
    const packet = goodAnswer(encodeTimeQuestion(new Uint8Array(8)), time)
    const view = new DataView(packet.buffer)
    for (const field of [32, 40]) view.setUint32(field, (time / 1000 + 2_208_988_800) % 2 ** 32)
    assert.equal(parseTimeAnswer(packet, time + 86_400_000).sentAt, time)
  }
})

test('RFC 5905, 8: the true offset lies within the distance, however the way is divided', () => {
  const milliseconds = fc.integer({ min: 0, max: 2000 })
  fc.assert(
    fc.property(fc.integer({ min: -1e9, max: 1e9 }), milliseconds, milliseconds, milliseconds, (offset, there, inside, back) => {
      const receivedAt = 1e12 + there + offset
      const answer = {
        leap: 'none',
        stratum: 1,
        rootDelay: 0,
        rootDispersion: 0,
        precision: 0.001,
        receivedAt,
        sentAt: receivedAt + inside,
      } as const
      const reading = readingOf(answer, { sentAt: 1e12, receivedAt: 1e12 + there + inside + back })
      assert.ok(Math.abs(reading.offset - offset) <= reading.distance)
    }),
  )
})

test('no octets crash it', () => {
  const good = goodAnswer(encodeTimeQuestion(new Uint8Array(8)))
  const mutated = fc.tuple(fc.nat(47), fc.nat(255)).map(([at, octet]) => good.with(at, octet))
  let read = 0
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 80 })), (packet) => {
      try {
        const { sentAt, receivedAt } = parseTimeAnswer(packet, 1.8e12)
        assert.ok(Number.isFinite(sentAt) && sentAt >= receivedAt)
        read++
      } catch (error) {
        assert.ok(error instanceof TrustError && error.reason === 'timeServer')
      }
    }),
    { numRuns: 2000 },
  )
  assert.ok(read > 0)
})
