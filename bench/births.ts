/**
 * Births from TPMs, as the server sees them: a challenge made, its answer checked, the certificate issued, and all of it
 * on disk. What the devices do in between is not counted: TPMs take tens of milliseconds for it, each its own.
 *
 * The devices are thousands of keys in this process, that say what a TPM says; `test/interop/births.test.ts` shows with
 * swtpm that it is the same.
 *
 * @module
 */
import { sign, verify } from 'node:crypto'
import { bear, challenge } from '#devices/birth/births.ts'
import { testTPM, type TestTPM } from '#devices/birth/testing.ts'
import { makeFactory } from '#server/births-testing.ts'
import { makeKey } from '#x509/testing.ts'
import { type Figure, median } from './figure.ts'

const ROUNDS = 3
const DEVICES = 400
/** Stations at work at once. */
const STATIONS = 32
const STATION = 'service:bench'

export async function benchBirths(): Promise<readonly Figure[]> {
  await using plant = await makeFactory({ assuranceMin: 4 })
  await plant.line('line')
  const rounds: { readonly perSecond: number; readonly cpuMicroseconds: number }[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    const tpms: TestTPM[] = []
    for (let at = 0; at < DEVICES; at++) tpms.push(await testTPM(plant.maker))
    const serialOf = (at: number): string => `P-${round}-${at}`
    const before = process.cpuUsage()
    const [challenges, challengeSeconds] = await timed(tpms, ({ introduction }, at) =>
      challenge(plant.births, { ...introduction, line: 'line', productSerial: serialOf(at) }, STATION),
    )
    const middle = process.cpuUsage(before)
    const answers = challenges.map((one, at) => (tpms[at] as TestTPM).answer(one))
    const again = process.cpuUsage()
    const [born, birthSeconds] = await timed(answers, (evidence, at) =>
      bear(plant.births, { line: 'line', productSerial: serialOf(at), evidence }, STATION),
    )
    const rest = process.cpuUsage(again)
    if (new Set(born.map(({ certificateId }) => certificateId)).size !== DEVICES) throw new Error('not every device was born')
    const cpu = middle.user + middle.system + rest.user + rest.system
    // the first round warms up
    if (round > 0) rounds.push({ perSecond: DEVICES / (challengeSeconds + birthSeconds), cpuMicroseconds: cpu / DEVICES })
  }
  return [
    {
      name: 'births.tpm.perSecond',
      value: median(rounds.map(({ perSecond }) => perSecond)),
      unit: '/s',
      reach: { atLeast: 300 },
      note: `endorsement keys P-256, ${STATIONS} stations, SQLite, challenge and birth each on disk, without HTTP`,
    },
    {
      name: 'births.tpm.serverCPU',
      value: median(rounds.map(({ cpuMicroseconds }) => cpuMicroseconds)),
      unit: 'µs',
      note: 'all threads, for challenge and birth together',
    },
    { name: 'births.bare.signAndVerify', value: bareMicroseconds(), unit: 'µs', note: 'one ECDSA P-256 signature and its check' },
  ]
}

/** Some at a time, as stations ask. @returns the answers in their order, and how long all took */
async function timed<T, R>(items: readonly T[], work: (item: T, at: number) => Promise<R>): Promise<[R[], number]> {
  const answers: R[] = []
  let next = 0
  const started = performance.now()
  await Promise.all(
    Array.from({ length: STATIONS }, async () => {
      for (let at = next++; at < items.length; at = next++) answers[at] = await work(items[at] as T, at)
    }),
  )
  return [answers, (performance.now() - started) / 1000]
}

function bareMicroseconds(): number {
  const { privateKey, publicKey } = makeKey()
  const message = new Uint8Array(1000)
  const times = 200
  const started = performance.now()
  for (let i = 0; i < times; i++) verify('sha256', message, publicKey.key, sign('sha256', message, privateKey))
  return ((performance.now() - started) * 1000) / times
}
