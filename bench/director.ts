/**
 * Statements of the director: decided, signed with ECDSA P-256, counted, audited and kept, each for a device of its own, in one
 * process on SQLite.
 *
 * `BENCH_SECONDS` makes it longer. The ratio is to the bare signature, made one after the other by the same key.
 *
 * @module
 */
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { encodeStatement } from '#updates/messages.ts'
import { statement } from '#updates/samples.ts'
import { openTestUpdates, testDevice, updateTestMigrations } from '#updates/testing.ts'
import type { Figure } from './figure.ts'
import { world } from './plant.ts'

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 3)
/** As many as a campaign tells at once. */
const AT_ONCE = 256
const DEVICES = 100_000

export async function benchDirector(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-bench-'))
  try {
    const db = sqlite({ path: join(directory, 'bench.db') })
    await migrate(db, updateTestMigrations, world)
    await using plant = await openTestUpdates(db, world)
    const release = await plant.published()
    for (let n = 0; n < DEVICES; n++) plant.devices.set(`d-${n}`, testDevice(`d-${n}`))
    let next = 0
    const tell = async (until: number): Promise<void> => {
      while (performance.now() < until && next < DEVICES)
        await plant.updates.direct(
          { deviceId: `d-${next++}`, releaseId: release.id, kind: 'install', action: '1' },
          'service:director',
        )
    }
    const all = (until: number): Promise<unknown> => Promise.all(Array.from({ length: AT_ONCE }, () => tell(until)))
    await all(performance.now() + 500)
    const [from, begun, used] = [next, performance.now(), process.threadCpuUsage()]
    await all(begun + SECONDS * 1000)
    const perSecond = (next - from) / ((performance.now() - begun) / 1000)
    const { user, system } = process.threadCpuUsage(used)
    const microseconds = Math.round((user + system) / (next - from))
    const [row] = await db.query<{ kept: number }>('SELECT COUNT(*) AS kept FROM director_statement')
    if (row?.kept !== next) throw new Error(`${next} were told something, and ${row?.kept} statements are kept`)
    const bare = bareSignatures()
    const note = `${microseconds} µs of processor time each; ${(perSecond / bare).toFixed(2)} of ${Math.round(bare)} bare signatures of one thread`
    return [{ name: 'director.statements.perSecond', value: perSecond, unit: '/s', reach: { atLeast: 3000 }, note }]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function bareSignatures(): number {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const payload = encodeStatement(statement)
  const begun = performance.now()
  let count = 0
  for (; performance.now() - begun < 500; count++) sign('sha256', payload, privateKey)
  return count / 0.5
}
