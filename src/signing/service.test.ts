/** Signers on both engines: what refuses before the key is touched, what is counted, and that openssl takes the result. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accessMigrations } from '#access/migrations.ts'
import { approvers } from '#access/approvers.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { needs } from '../../test/interop/programs.ts'
import type { Requester } from './context.ts'
import { signingMigrations } from './migrations.ts'
import { signingQueue } from './queue.ts'
import { openClockWatch } from './tsp/clock.ts'
import { openSigning, type Signing, signingActs, type Wanted } from './service.ts'
import type { NewSigner } from './signers.ts'

const organizationId = 'default'
const CI: Requester = { actor: 'service:ci', id: 'ci', kind: 'service', roles: ['service'] }
const USERS = { roles: ['service'], people: [] }
const officer = 'person:olga'
const message = utf8('firmware 4.2')
const digest = new Uint8Array(hash('sha256', message, 'buffer'))
const wanted: Wanted = { format: 'plain', requests: [{ type: 'raw', message: { digestAlgorithm: 'sha256', digest } }] }
const terms = { formats: ['plain'], users: USERS, priority: 'normal' } as const
const plain = (name: string, more: Partial<NewSigner> = {}): NewSigner => ({
  name,
  key: { label: 'release', chain: [] },
  ...terms,
  ...more,
})

interface Setting {
  readonly db: Database
  readonly signing: Signing
  /** As another process on the same database has it. */
  readonly other: Signing
  readonly keys: KeyStore
  /** How often a key was asked for a signature. */
  readonly touched: { count: number; fails: boolean }
  readonly time: { ahead: number }
  /** Of signatures, oldest first. */
  entries(): Promise<readonly { readonly outcome: string; readonly reason: string | undefined }[]>
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-signing-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const db = url === undefined ? sqlite({ path: join(directory, 'signing.db') }) : postgres({ url })
  try {
    const time = { ahead: 0 }
    let tick = 1_800_000_000_000
    const world: World = { ...systemWorld(), clock: { now: () => ++tick + time.ahead } }
    const rooms = [storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations]
    await migrate(db, rooms.flat(), world)
    const audit = auditRecorder({ database: db, world, organizationId })
    const store = softwareKeyStore({ database: db, world, organizationId, wrappingKey: secret(world.random.octets(32)) })
    const touched = { count: 0, fails: false }
    const touch = (): void => {
      touched.count++
      if (touched.fails) throw new TrustError('unavailable', 'tokenBusy', { facts: { store: 'test' } })
    }
    const keys: KeyStore = {
      ...store,
      async open(label) {
        const { sign, signDigest, ...rest } = await store.open(label)
        return {
          ...rest,
          async sign(octets, algorithm) {
            touch()
            return sign(octets, algorithm)
          },
          ...(signDigest !== undefined && {
            async signDigest(octets, algorithm) {
              touch()
              return signDigest(octets, algorithm)
            },
          }),
        }
      },
    }
    for (const label of ['release', 'release-2']) await store.generate(label, 'ecdsa-p256')
    const clocks = { wall: () => tick + time.ahead, monotonic: () => performance.now() }
    const clock = openClockWatch({ servers: [], clocks, random: world.random, log: silentLog, checkSeconds: 64 })
    const open = (): Signing => {
      const people = approvers(organizationId)
      const approvals = openApprovals({ db, world, audit, organizationId, people, kinds: signingActs })
      return openSigning({ db, keys, audit, world, organizationId }, approvals, clock)
    }
    await body({
      ...{ db, keys, touched, time, signing: open(), other: open() },
      async entries() {
        const { entries } = await listAuditEntries(db, { organizationId, limit: 1000, filter: { act: 'signature.make' } })
        return entries.toReversed()
      },
    })
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

async function signed(signing: Signing, name: string, what = wanted, by = CI) {
  const made = await signing.sign(name, what, by)
  assert.ok(made.state === 'signed')
  return made
}

const tools = needs('openssl')

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`signers on ${engine}`, { skip: engine === 'postgres' && withoutPostgres }, () => {
    test('R9: from a digest and from the message, openssl verifies what was signed', { skip: tools.skip }, () =>
      inSetting(engine, async ({ signing, entries }) => {
        const { key } = await signing.signers.create(plain('firmware'), officer)
        const directory = mkdtempSync(join(tmpdir(), 'sealworks-signed-'))
        const file = (name: string, octets: Uint8Array | string): string => {
          writeFileSync(join(directory, name), octets)
          return join(directory, name)
        }
        try {
          const pem = file('key.pem', `-----BEGIN PUBLIC KEY-----\n${key.publicKey.toBase64()}\n-----END PUBLIC KEY-----\n`)
          const [artifact, altered] = [file('a', message), file('b', utf8('firmware 4.3'))]
          for (const request of [wanted.requests, [{ type: 'raw', message: { octets: message } }] as const]) {
            const { answers } = await signed(signing, 'firmware', { ...wanted, requests: request })
            const signature = file('a.sig', answers[0] as Uint8Array)
            const verify = ['dgst', '-sha256', '-verify', pem, '-signature', signature]
            assert.match(execFileSync(tools.path('openssl'), [...verify, artifact], { encoding: 'utf8' }), /Verified OK/)
            assert.throws(() => execFileSync(tools.path('openssl'), [...verify, altered], { stdio: 'pipe' }))
          }
        } finally {
          rmSync(directory, { recursive: true })
        }
        assert.deepEqual(
          (await entries()).map(({ outcome }) => outcome),
          ['done', 'done'],
        )
      }),
    )

    test('R28: whatever refuses does so before the key is touched, and is in the log', () =>
      inSetting(engine, async ({ signing, touched, time, entries }) => {
        const { signers } = signing
        const now = 1_800_000_000_000
        await signers.create(plain('few', { usesMax: 1 }), officer)
        await signers.create(plain('hourly', { usesPerHourMax: 2 }), officer)
        await signers.create(plain('small', { sizeMaxOctets: 10 }), officer)
        await signers.create(plain('later', { notBefore: now + 3_600_000 }), officer)
        await signers.create(plain('over', { notAfter: now }), officer)
        await signers.create(plain('messages', { formats: ['cms'] }), officer)
        await signers.create(plain('off'), officer)
        await signers.setState('off', 'disabled', officer)
        await signers.create(plain('people', { users: { roles: [], people: ['ada'] } }), officer)
        await signers.create(
          plain('two', { approval: { least: 2, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 60 } }),
          officer,
        )
        await signed(signing, 'few')
        await signed(signing, 'hourly')
        await signed(signing, 'hourly')
        const before = touched.count
        const cms: Wanted = {
          format: 'plain',
          requests: [{ type: 'cms', form: 'cades', contentType: '1.2.840.113549.1.7.1', content: { attached: message } }],
        }
        // a signature over anything, under the name of a format that signs something else
        const bare: Wanted = { format: 'cms', requests: wanted.requests }
        const stamp: Wanted = {
          format: 'cms',
          requests: [{ type: 'cms', form: 'cades', contentType: '1.2.840.113549.1.9.16.1.4', content: { attached: message } }],
        }
        const longer: Wanted = {
          format: 'plain',
          requests: [{ type: 'raw', message: { digestAlgorithm: 'sha512', digest: new Uint8Array(64) } }],
        }
        const cases = [
          { name: 'few', refusal: { code: 'quotaExceeded', reason: 'signerUsedUp' } },
          { name: 'hourly', refusal: { code: 'rateLimited', reason: 'signerTooOften' } },
          { name: 'small', refusal: { code: 'malformed', reason: 'signerSizeUnsaid' } },
          { name: 'small', what: { ...wanted, artifactOctets: 11 }, refusal: { code: 'tooLarge', reason: 'signerSize' } },
          { name: 'later', refusal: { code: 'policyRefused', reason: 'signerNotYet' } },
          { name: 'over', refusal: { code: 'policyRefused', reason: 'signerExpired' } },
          { name: 'off', refusal: { code: 'policyRefused', reason: 'signerDisabled' } },
          { name: 'people', refusal: { code: 'forbidden', reason: 'signerNotYours' } },
          { name: 'few', what: { ...wanted, format: 'jar' }, refusal: { code: 'policyRefused', reason: 'signerFormat' } },
          { name: 'few', what: cms, refusal: { code: 'policyRefused', reason: 'formatRequest' } },
          { name: 'messages', what: bare, refusal: { code: 'policyRefused', reason: 'formatRequest' } },
          { name: 'messages', what: stamp, refusal: { code: 'policyRefused', reason: 'formatRequest' } },
          {
            name: 'messages',
            what: { ...cms, format: 'cms' },
            refusal: { code: 'policyRefused', reason: 'signerNoCertificate' },
          },
          { name: 'few', what: longer, refusal: { code: 'unsupported', reason: 'digestOther' } },
          { name: 'few', what: { ...wanted, signerVersion: 7 }, refusal: { code: 'conflict', reason: 'signerMoved' } },
        ]
        for (const { name, what = wanted, refusal } of cases) await assert.rejects(signing.sign(name, what, CI), refusal, name)
        assert.equal((await signing.sign('two', wanted, CI)).state, 'waiting')
        await assert.rejects(signing.sign('nobody', wanted, CI), { code: 'notFound' })
        assert.equal(touched.count, before)
        const refused = (await entries()).filter(({ outcome }) => outcome === 'refused')
        assert.deepEqual(
          refused.map(({ reason }) => reason),
          cases.map(({ refusal }) => refusal.reason),
        )
        time.ahead += 3_600_000
        await signed(signing, 'hourly')
      }))

    test('of many at once, on two processes, as many sign as may; each has its entry', () =>
      inSetting(engine, async ({ signing, other, touched, entries }) => {
        await signing.signers.create(plain('few', { usesMax: 10 }), officer)
        const all = await Promise.allSettled(
          Array.from({ length: 24 }, (_, n) => (n % 2 === 0 ? signing : other).sign('few', wanted, CI)),
        )
        const made = all.flatMap((result) =>
          result.status === 'fulfilled' && result.value.state === 'signed' ? [result.value.entry] : [],
        )
        assert.equal(made.length, 10)
        assert.equal(touched.count, 10)
        assert.equal((await signing.signers.find('few')).uses.uses, 10)
        assert.equal((await entries()).filter(({ outcome }) => outcome === 'done').length, 10)
        assert.equal(new Set(made).size, 10)
      }))

    test('what another process disabled signs no more, though it is still in memory here', () =>
      inSetting(engine, async ({ signing, other, touched }) => {
        await signing.signers.create(plain('firmware'), officer)
        await signed(other, 'firmware')
        await signing.signers.setState('firmware', 'disabled', officer)
        const before = touched.count
        await assert.rejects(other.sign('firmware', wanted, CI), { reason: 'signerDisabled' })
        assert.equal(touched.count, before)
        await signing.signers.setState('firmware', 'enabled', officer)
        await signed(other, 'firmware')
      }))

    test('what another process enabled again is taken again, also where only the beginning of a request is looked at', () =>
      inSetting(engine, async ({ signing, other }) => {
        await signing.signers.create(plain('moving'), officer)
        await other.signers.setState('moving', 'disabled', officer)
        await assert.rejects(signing.check('moving', {}, CI), { reason: 'signerDisabled' })
        await other.signers.setState('moving', 'enabled', officer)
        assert.equal((await signing.check('moving', {}, CI)).version, 3)
      }))

    test('once it is disabled it signs no more, also for who was waiting for the count by then', () =>
      inSetting(engine, async ({ db, signing, other, touched }) => {
        const { id } = await signing.signers.create(plain('firmware'), officer)
        await signed(signing, 'firmware')
        const held = Promise.withResolvers<void>()
        const holds = Promise.withResolvers<void>()
        const counting = db.transaction(async (tx) => {
          await tx.query('UPDATE signer_use SET uses = uses WHERE signer_id = ?', id)
          holds.resolve()
          await held.promise
        })
        await holds.promise
        const waiting = Promise.allSettled([signing.sign('firmware', wanted, CI)])
        let isDisabled = false
        const disabling = other.signers.setState('firmware', 'disabled', officer).then(() => (isDisabled = true))
        await Promise.race([disabling, sleep(200)])
        const before = isDisabled
        held.resolve()
        await counting
        const [outcome] = await waiting
        await disabling
        if (before) assert.equal(outcome.status, 'rejected')
        const { count } = touched
        await assert.rejects(signing.sign('firmware', wanted, CI), { reason: 'signerDisabled' })
        assert.equal(touched.count, count)
      }))

    test('the next key takes over at its count and at its time, exactly once', () =>
      inSetting(engine, async ({ db, signing, other, time }) => {
        const { signers } = signing
        await signers.create(plain('counted'), officer)
        await signers.planNext('counted', { label: 'release-2', chain: [], afterUses: 3 }, officer)
        for (let n = 0; n < 3; n++) assert.equal((await signed(n === 1 ? other : signing, 'counted')).signerVersion, 2)
        const after = await Promise.all([signed(signing, 'counted'), signed(other, 'counted')])
        assert.deepEqual(
          after.map(({ signerVersion }) => signerVersion),
          [3, 3],
        )
        assert.equal((await signers.find('counted')).record.key.label, 'release-2')
        await signers.create(plain('timed'), officer)
        await signers.planNext('timed', { label: 'release-2', chain: [], at: 1_800_000_000_000 + 3_600_000 }, officer)
        assert.equal((await signed(signing, 'timed')).signerVersion, 2)
        time.ahead += 3_600_000
        assert.equal((await signed(other, 'timed')).signerVersion, 3)
        const { entries } = await listAuditEntries(db, { organizationId, limit: 100, filter: { act: 'signer.roll-over' } })
        assert.equal(entries.length, 2)
      }))

    test('a key that fails costs nothing, and the log says both', () =>
      inSetting(engine, async ({ signing, touched, entries }) => {
        await signing.signers.create(plain('few', { usesMax: 1 }), officer)
        touched.fails = true
        await assert.rejects(signing.sign('few', wanted, CI), { code: 'unavailable' })
        touched.fails = false
        await signed(signing, 'few')
        assert.deepEqual(
          (await entries()).map(({ outcome }) => outcome),
          ['done', 'refused', 'done'],
        )
      }))
  })
}

test('back-pressure: so many run, so many wait by priority, and who comes then is told when to come again', async () => {
  const queue = signingQueue({ runningMax: 1, waitingMax: 3 })
  const order: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = queue.run('low', () => gate.promise)
  const add = (name: string, priority: 'high' | 'normal' | 'low') => queue.run(priority, async () => void order.push(name))
  const waiting = [add('low', 'low'), add('normal', 'normal'), add('high', 'high')]
  await assert.rejects(add('more', 'high'), { code: 'rateLimited', reason: 'signingBusy', retryAfterSeconds: 1 })
  gate.resolve()
  await Promise.all([first, ...waiting])
  assert.deepEqual(order, ['high', 'normal', 'low'])
  await assert.rejects(
    queue.run('low', () => Promise.reject(new Error('its own'))),
    /its own/,
  )
  await queue.run('low', async () => {}) // the place of the one that failed is free again
})
