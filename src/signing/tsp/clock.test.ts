/** What the watch believes of a clock: agreement of servers, drift, steps, leap seconds. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { systemWorld } from '#base/world.ts'
import { agreement, openClockWatch } from './clock.ts'
import type { TimeReading, TimeServer } from './ntp.ts'

const NOON = Date.parse('2027-06-15T12:00:00Z')

/** A machine whose two clocks a test moves, and servers that say what the test says. */
function machine(servers: number, start = NOON) {
  const time = { wall: start, monotonic: 5000 }
  const answers: (Partial<TimeReading> | TrustError)[] = Array.from({ length: servers }, () => ({}))
  const all = (answer: Partial<TimeReading> | TrustError): void => {
    for (const at of answers.keys()) answers[at] = answer
  }
  const asked: string[] = []
  const watch = openClockWatch({
    servers: Array.from({ length: servers }, (_, at): TimeServer => ({ host: `ntp${at}.example`, port: 123 })),
    clocks: { wall: () => time.wall, monotonic: () => time.monotonic },
    random: systemWorld().random,
    log: silentLog,
    checkSeconds: 64,
    async ask({ host }) {
      asked.push(host)
      const answer = answers[Number(/\d+/.exec(host)?.[0])]
      if (answer instanceof TrustError) throw answer
      return { offset: 0, distance: 10, leap: 'none', ...answer }
    },
  })
  const pass = (seconds: number): void => {
    time.wall += seconds * 1000
    time.monotonic += seconds * 1000
  }
  return { watch, time, answers, all, asked, pass }
}

const away = (code: 'unavailable' | 'rateLimited' | 'forbidden') => new TrustError(code, 'timeServer', { facts: { detail: 'x' } })
const doubt = { code: 'unavailable', reason: 'clockDoubtful' } as const

test('before servers have agreed there is no time; then there is, as good as they say', async () => {
  const { watch, time } = machine(3)
  assert.throws(() => watch.now(1000), doubt)
  assert.equal(watch.state().standing, 'doubtful')
  await watch.runOnce()
  assert.equal(watch.now(1000), time.wall)
  assert.throws(() => watch.now(5), doubt) // the servers are 10 ms from UTC themselves
  assert.equal(watch.state().standing, 'good')
})

test('a clock that is further off than is promised is not stated', async () => {
  const { watch, all } = machine(3)
  all({ offset: 700 })
  await watch.runOnce()
  assert.throws(() => watch.now(500), doubt)
  watch.now(1000)
})

test('one server of three may lie; two may not, and neither may one be believed alone', async () => {
  const lying = machine(3)
  lying.answers[0] = { offset: 90_000 }
  await lying.watch.runOnce()
  assert.equal(lying.watch.state().offsetMilliseconds, 0)
  lying.watch.now(100)
  const torn = machine(3)
  torn.answers[0] = { offset: 90_000 }
  torn.answers[1] = { offset: -90_000 }
  await torn.watch.runOnce()
  assert.throws(() => torn.watch.now(1000), doubt)
  const alone = machine(3)
  alone.answers[0] = away('unavailable')
  alone.answers[1] = away('unavailable')
  await alone.watch.runOnce()
  assert.throws(() => alone.watch.now(1000), doubt)
  assert.match(alone.watch.state().servers[0]?.problem ?? '', /time server/)
})

test('what was known grows old: it drifts, and after a time of silence it is nothing', async () => {
  const { watch, all, pass } = machine(2)
  await watch.runOnce()
  watch.now(11)
  all(away('unavailable'))
  pass(100)
  await watch.runOnce()
  assert.throws(() => watch.now(11), doubt) // 100 ppm of 100 s are 10 ms
  watch.now(25)
  pass(500)
  await watch.runOnce()
  assert.throws(() => watch.now(10_000), doubt)
})

test('a step of the clock is seen against the other clock, and lasts until servers have spoken', async () => {
  for (const step of [-3_600_000, -200, 200, 86_400_000]) {
    const { watch, time } = machine(3)
    await watch.runOnce()
    time.wall += step
    assert.throws(() => watch.now(10 * Math.abs(step)), doubt)
    time.monotonic += 1000
    time.wall += 1000
    assert.throws(() => watch.now(10 * Math.abs(step)), doubt)
    await watch.runOnce() // at once, and not when the next check is due
    watch.now(100)
  }
})

test('a clock that is slewed as operating systems do is followed', async () => {
  const { watch, time } = machine(3)
  await watch.runOnce()
  for (let second = 0; second < 60; second++) {
    time.monotonic += 1000
    time.wall += 1000.4
    await watch.runOnce()
    watch.now(10 + 0.4 * 60 + 6 + 1)
  }
  assert.throws(() => watch.now(20), doubt)
})

test('without servers only steps are seen, and the status says so', async () => {
  const { watch, time, pass } = machine(0)
  assert.equal(watch.state().standing, 'unchecked')
  watch.now(1)
  time.wall -= 1000
  assert.throws(() => watch.now(1000), doubt)
  assert.equal(watch.state().standing, 'doubtful')
  pass(65)
  await watch.runOnce()
  watch.now(1)
})

test('RFC 5905, 7.4: who sends a kiss of death is left alone', async () => {
  const { watch, answers, asked, pass } = machine(3)
  answers[0] = away('forbidden')
  answers[1] = new TrustError('rateLimited', 'timeServer', { facts: { detail: 'x' }, retryAfterSeconds: 900 })
  await watch.runOnce()
  for (let check = 0; check < 10; check++) {
    pass(70)
    await watch.runOnce()
  }
  assert.equal(asked.filter((host) => host === 'ntp0.example').length, 1)
  assert.equal(asked.filter((host) => host === 'ntp1.example').length, 1)
  pass(900)
  await watch.runOnce()
  assert.equal(asked.filter((host) => host === 'ntp1.example').length, 2)
})

test('servers are not asked more often than is said, but sooner in doubt', async () => {
  const { watch, asked, pass, all } = machine(1)
  for (let second = 0; second < 64; second++) {
    await watch.runOnce()
    pass(1)
  }
  assert.equal(asked.length, 1)
  all(away('unavailable'))
  for (let second = 0; second < 33; second++) {
    await watch.runOnce()
    pass(1)
  }
  assert.equal(asked.length, 4)
})

test('around a leap second that servers announce there is no time', async () => {
  const midnight = Date.parse('2028-07-01T00:00:00Z')
  for (const [at, leap, stated] of [
    [-1500, 'inserted', true],
    [-500, 'inserted', false],
    [500, 'inserted', false],
    [1500, 'inserted', true],
    [-500, 'deleted', false],
    [-500, 'none', true],
  ] as const) {
    const { watch, all } = machine(3, midnight + at)
    all({ leap })
    await watch.runOnce()
    if (stated) watch.now(100)
    else assert.throws(() => watch.now(100), doubt, `${at} ${leap}`)
  }
  // announced all month, it holds at its end only
  const { watch, all } = machine(3, Date.parse('2028-06-10T00:00:00Z'))
  all({ leap: 'inserted' })
  await watch.runOnce()
  watch.now(100)
  // one server of three announces none
  const one = machine(3, midnight)
  one.answers[0] = { leap: 'inserted' }
  await one.watch.runOnce()
  one.watch.now(100)
})

test('RFC 5905, 11.2.1: where most servers are right, true time lies within what they agree on', () => {
  const right = fc.record({ error: fc.double({ min: -1, max: 1, noNaN: true }), distance: fc.integer({ min: 1, max: 500 }) })
  fc.assert(
    fc.property(
      fc.integer({ min: -1e6, max: 1e6 }),
      fc.array(right, { minLength: 1, maxLength: 9 }),
      fc.nat(8),
      (truth, good, liars) => {
        const bad = Array.from({ length: Math.min(liars, good.length - 1) }, (_, at) => ({
          offset: truth + 1e7 * (at + 1),
          distance: 1,
          leap: 'none' as const,
        }))
        const readings = good.map(({ error, distance }) => ({
          offset: truth + error * distance,
          distance,
          leap: 'none' as const,
        }))
        const agreed = agreement([...bad, ...readings], bad.length + readings.length)
        assert.ok(agreed !== undefined)
        assert.ok(Math.abs(agreed.offset - truth) <= agreed.distance + 1e-6)
      },
    ),
  )
})
