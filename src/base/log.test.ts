/** What a log line holds, and what it never holds. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TrustError } from './errors.ts'
import { createLog, type LogLevel } from './log.ts'
import { secret } from './secret.ts'

function logged(level: LogLevel = 'debug') {
  const lines: string[] = []
  const log = createLog({ level, clock: { now: () => 0 }, write: (line) => lines.push(line) })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown> }
}

test('a line is one JSON object with time, level, message and the fields', () => {
  const { log, lines, last } = logged()
  log.with({ requestId: 'r1' }).warn('slow', { path: '/x\n{"level":"error"}' })
  assert.deepEqual(last(), {
    time: '1970-01-01T00:00:00.000Z',
    level: 'warn',
    message: 'slow',
    requestId: 'r1',
    path: '/x\n{"level":"error"}',
  })
  assert.equal(lines[0]?.split('\n').length, 2, 'one line break, at the end')
})

test('lines below the level are not written', () => {
  const { log, lines } = logged('warn')
  log.debug('a')
  log.info('b')
  log.warn('c')
  log.error('d')
  assert.equal(lines.length, 2)
})

test('secrets are not printed, by type or by name (R28)', () => {
  const { log, lines } = logged()
  log.info('x', {
    key: secret(Uint8Array.from([104, 117, 115, 104])),
    password: 'hush',
    nested: { clientSecret: 'hush', Authorization: 'hush' },
  })
  log.info('y', { octets: new TextEncoder().encode('hush'), buffer: Buffer.from('hush') })
  for (const line of lines) assert.ok(!/hush|104|117/.test(line), line)
})

test('an error is written with its cause; a long text is cut', () => {
  const { log, last } = logged()
  log.error('x', {
    error: new TrustError('internal', 'internal', { cause: new Error('below'), facts: { n: 1 } }),
    long: 'a'.repeat(10_000),
  })
  const { error, long } = last() as { error: { code: string; facts: object; cause: { message: string } }; long: string }
  assert.equal(error.code, 'internal')
  assert.equal(error.cause.message, 'below')
  assert.deepEqual(error.facts, { n: 1 })
  assert.ok(long.length < 5000)
})

test('a field that refers to itself does not lose the line', () => {
  const { log, last } = logged()
  const loop: { self?: unknown } = {}
  loop.self = loop
  log.error('x', { loop })
  assert.deepEqual(last()['unprintable'], ['loop'])
})
