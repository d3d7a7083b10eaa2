/** Usage held against devices, on both engines: what is taken, what is refused and alarmed, and what is billed. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { usageTotals } from './export.ts'
import { encodeUsage, usageDigest, type UsageRecord, type UsageSigner } from './messages.ts'
import { usageMigrations } from './migrations.ts'
import { counting, HOUR, signed, START, testChain, testSigner } from './testing.ts'
import { beginAnew, listUsage, takeUsage, type UsageContext, usageStanding } from './usage.ts'

const withoutPostgres = postgresMissing()
let server: TestServer | undefined
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

interface Setting {
  readonly context: UsageContext
  readonly press: UsageSigner
  readonly drill: UsageSigner
  readonly owners: [from: number, name: string][]
  take(record: UsageRecord, device?: string, signer?: UsageSigner): Promise<string>
  kinds(device?: string): Promise<readonly string[]>
}

async function inSetting(engine: 'sqlite' | 'postgres', body: (setting: Setting) => Promise<void>) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-usage-'))
  const db =
    engine === 'sqlite'
      ? sqlite({ path: join(directory, 'usage.db') })
      : postgres({ url: (await server?.createDatabase()) ?? '' })
  const world = systemWorld()
  const [press, drill] = [await testSigner(), await testSigner()]
  const owners: Setting['owners'] = [[0, 'carworks']]
  const names = new Map([press, drill].map(({ certificate }, at) => [usageDigest(certificate), at === 0 ? 'press' : 'drill']))
  try {
    await migrate(db, [...storeMigrations, ...auditMigrations, ...usageMigrations], world)
    const context: UsageContext = {
      ...{ db, world, organizationId: 'default' },
      audit: auditRecorder({ database: db, world, organizationId: 'default' }),
      device: async (id) => ({ id, productSerial: id.toUpperCase(), model: `acme/${id}` }),
      async deviceOf(certificate) {
        const id = names.get(usageDigest(certificate))
        if (id === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
        return id
      },
      ownerAt: async (_, at) => owners.findLast(([from]) => from <= at)?.[1] ?? '',
    }
    await body({
      ...{ context, press, drill, owners },
      async take(record, device = 'press', signer = device === 'press' ? press : drill) {
        try {
          await takeUsage(context, device, await signed(record, signer))
          return 'taken'
        } catch (error) {
          return asTrustError(error).reason
        }
      },
      kinds: async (device = 'press') => (await usageStanding(context, device)).alarms.map(({ kind }) => kind).toSorted(),
    })
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

const chain = testChain('a'.repeat(32), 6) as readonly [
  UsageRecord,
  UsageRecord,
  UsageRecord,
  UsageRecord,
  UsageRecord,
  UsageRecord,
]
const all = { from: 0, to: START + 1000 * HOUR }

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`usage on ${engine}`, { skip: engine === 'postgres' && withoutPostgres }, () => {
    test('R32: what devices count is billed, to whoever owned them, with the evidence', () =>
      inSetting(engine, async ({ context, take, owners, kinds }) => {
        for (const record of chain.slice(0, 2)) assert.equal(await take(record), 'taken')
        owners.push([START + 2 * HOUR + 1000, 'millworks'])
        for (const record of chain.slice(2, 4)) assert.equal(await take(record), 'taken')
        assert.equal(await take(chain[3]), 'taken', 'the answer was lost')
        assert.equal(await take({ ...chain[0], chain: 'b'.repeat(32) }, 'drill'), 'taken')
        const lines = await Array.fromAsync(usageTotals(context, all))
        assert.deepEqual(
          lines.map(
            ({ owner, productSerial, counter, amount, unit, records }) =>
              `${owner} ${productSerial} ${counter} ${amount} ${unit} of ${records}`,
          ),
          [
            'carworks DRILL holes 1000 1 of 1',
            'carworks DRILL run 1 h of 1',
            'carworks PRESS holes 2000 1 of 2',
            'carworks PRESS run 2 h of 2',
            'millworks PRESS holes 2000 1 of 2',
            'millworks PRESS run 2 h of 2',
          ],
        )
        const digests = chain.slice(0, 2).map((record) => Buffer.from(usageDigest(encodeUsage(record)), 'hex'))
        assert.equal(lines[2]?.evidence, createHash('sha256').update(Buffer.concat(digests)).digest('hex'))
        const hour = await Array.fromAsync(
          usageTotals(context, { from: START + HOUR, to: START + 2 * HOUR, owner: 'carworks', deviceId: 'press' }),
        )
        assert.deepEqual(
          hour.map(({ amount, value }) => [amount, value]),
          [
            [1000, 1000],
            [1, 1],
          ],
        )
        assert.deepEqual(await kinds(), [])
      }))

    test('R32: a device that says something wrong a thousand times over fills neither the alarms nor the log', () =>
      inSetting(engine, async ({ context, take, kinds }) => {
        assert.equal(await take(chain[0]), 'taken')
        for (let count = 0; count < 105; count++)
          assert.equal(await take({ ...chain[0], chain: count.toString(16).padStart(32, '0') }), 'usageChainLost')
        assert.equal((await kinds()).length, 100)
        const [refused] = await context.db.query("SELECT COUNT(*) AS count FROM audit_entry WHERE outcome = 'refused'")
        assert.equal(Number(refused?.['count']), 100)
      }))

    test('R32: records that never came are found, and nothing that they held is lost', () =>
      inSetting(engine, async ({ context, take, kinds }) => {
        assert.equal(await take(chain[0]), 'taken')
        assert.equal(await take(chain[3]), 'taken')
        assert.deepEqual(await kinds(), ['gap'])
        const [holes] = await Array.fromAsync(usageTotals(context, all))
        assert.deepEqual([holes?.amount, holes?.records, holes?.missing], [4000, 2, 2])
        assert.equal(await take(chain[1]), 'taken', 'late, and counted already')
        assert.equal((await Array.fromAsync(usageTotals(context, all)))[0]?.amount, 4000)
      }))

    test('R32: a counter that was set back is refused and alarmed, once', () =>
      inSetting(engine, async ({ context, take, kinds }) => {
        for (const record of chain.slice(0, 2)) await take(record)
        const lower = { ...chain[2], counters: counting(1999, 3) }
        assert.equal(await take(lower), 'usageSetBack')
        assert.equal(await take(lower), 'usageSetBack')
        assert.deepEqual(await kinds(), ['set-back'])
        const [entry, ...others] = await context.db.query(
          "SELECT outcome, reason, object FROM audit_entry WHERE act = 'usage.take'",
        )
        assert.deepEqual(
          [{ ...entry }, others.length],
          [{ outcome: 'refused', reason: 'usageSetBack', object: 'device:press' }, 0],
        )
        const [listed] = await listUsage(context, { onlyAlarmed: true, limit: 10 })
        assert.deepEqual([listed?.deviceId, listed?.number, listed?.alarms], ['press', 2, 1])
        assert.equal((await Array.fromAsync(usageTotals(context, all)))[0]?.amount, 2000)
        assert.equal(await take(chain[2]), 'taken', 'what was counted rightly goes on')
      }))

    test('R32: a copy that counts too, and a device that was put back, are found', () =>
      inSetting(engine, async ({ take, kinds, drill }) => {
        for (const record of chain.slice(0, 3)) await take(record)
        assert.equal(await take({ ...chain[2], counters: counting(3001, 3) }), 'usageForked')
        assert.equal(await take({ ...chain[1], counters: counting(2001, 2) }), 'usageForked', 'an earlier one')
        assert.equal(await take({ ...chain[3], previous: 'ab'.repeat(32) }), 'usageForked')
        assert.deepEqual(await kinds(), ['forked', 'forked', 'forked'])
        assert.equal(await take(chain[3], 'press', drill), 'usageFromOther')
        assert.equal(await take(chain[3], 'press', await testSigner()), 'certificateUnknown')
      }))

    test('R32: a device that lost its chain waits for an officer, and what it counted before stays', () =>
      inSetting(engine, async ({ context, take, kinds }) => {
        for (const record of chain.slice(0, 3)) await take(record)
        const anew = testChain('c'.repeat(32), 2).map((record) => ({
          ...record,
          from: record.from + 9 * HOUR,
          to: record.to + 9 * HOUR,
        }))
        const first = anew[0] as UsageRecord
        const second = { ...(anew[1] as UsageRecord), previous: usageDigest(encodeUsage(first)) }
        assert.equal(await take(first), 'usageChainLost')
        assert.deepEqual(await kinds(), ['begun-anew'])
        await beginAnew(context, 'press', 'person:olga')
        assert.ok((await usageStanding(context, 'press')).isAwaited)
        assert.equal(await take(first), 'taken')
        assert.equal(await take(second), 'taken')
        assert.equal(await take(chain[3]), 'usageChainLost', 'there is no way back')
        assert.equal((await Array.fromAsync(usageTotals(context, all)))[0]?.amount, 5000)
        const acts = await context.db.query("SELECT act, actor FROM audit_entry WHERE act LIKE 'usage.begin%'")
        assert.deepEqual(acts.map((row) => `${row['act'] as string} ${row['actor'] as string}`).toSorted(), [
          'usage.begin service:device-usage',
          'usage.begin service:device-usage',
          'usage.begin-anew person:olga',
        ])
        await assert.rejects(beginAnew(context, 'drill', 'person:olga'), { reason: 'usageUnknown' })
      }))

    test('R32: of a record that comes many times at once, one is counted', () =>
      inSetting(engine, async ({ context, take }) => {
        const answers = await Promise.all(Array.from({ length: 5 }, () => take(chain[0])))
        assert.deepEqual(new Set(answers), new Set(['taken']))
        assert.equal((await Array.fromAsync(usageTotals(context, all)))[0]?.records, 1)
      }))
  })
}
