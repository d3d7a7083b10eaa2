/** The authority on both engines: what is in a token, what is refused, and that no serial number or time comes twice. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { encodePEM } from '#asn1/pem.ts'
import { listAuditEntries } from '#audit/log.ts'
import { utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { systemWorld, type World } from '#base/world.ts'
import { digestOf } from '#cms/digests.ts'
import { encodeTimeStampRequest, parseTimeStampResponse, type TimeStampRequest, verifyTimeStamp } from '#cms/timestamp.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { needs } from '../../../test/interop/programs.ts'
import type { Requester } from '../context.ts'
import type { Signing } from '../service.ts'
import { openClockWatch } from './clock.ts'
import { openTestSigning, POLICY, ROBOT, testAuthority, tspMigrations } from './testing.ts'

const message = utf8('a signature')
const digest = digestOf('sha256', message)
const nonce = Uint8Array.of(0x41, 2, 3, 4, 5, 6, 7, 8)
const asked = (changes: Partial<TimeStampRequest> = {}): Uint8Array =>
  encodeTimeStampRequest({ imprint: { digestAlgorithm: 'sha256', digest }, nonce, certReq: true, extensions: [], ...changes })
const STRANGER: Requester = { actor: 'person:x', id: 'x', kind: 'person', roles: ['auditor'] }

interface Setting {
  readonly db: Database
  readonly signing: Signing
  /** As another process on the same database has it, with a clock of its own. */
  readonly other: Signing
  readonly keys: Awaited<ReturnType<typeof openTestSigning>>['keys']
  readonly time: { ahead: number; otherAhead: number }
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tsa-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const db = url === undefined ? sqlite({ path: join(directory, 'tsa.db') }) : postgres({ url })
  try {
    const time = { ahead: 0, otherAhead: 0 }
    const real = systemWorld()
    const from = real.clock.now()
    const start = Date.parse('2027-06-01T12:00:00Z')
    const world: World = { ...real, clock: { now: () => start + real.clock.now() - from + time.ahead } }
    const otherWorld: World = { ...real, clock: { now: () => start + real.clock.now() - from + time.otherAhead } }
    await migrate(db, tspMigrations, world)
    const { signing, keys } = await openTestSigning(db, world)
    const { signing: other } = await openTestSigning(db, otherWorld)
    await body({ db, signing, other, keys, time })
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

/** A clock that stands still, and a server that says how far it is behind. */
const serversSaying = (offset: number) =>
  openClockWatch({
    servers: [{ host: 'ntp.example', port: 123 }],
    clocks: { wall: () => Date.parse('2027-06-01T12:00:00Z'), monotonic: () => 0 },
    random: systemWorld().random,
    log: silentLog,
    checkSeconds: 64,
    ask: () => Promise.resolve({ offset, distance: 5, leap: 'none' }),
  })

const infoOf = async (response: Uint8Array, certificates: readonly Uint8Array[] = []) =>
  verifyTimeStamp(parseTimeStampResponse(response), { digestWith: (id) => digestOf(id, message), nonce, certificates })

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`the time-stamping authority on ${engine}`, { skip: engine === 'postgres' ? withoutPostgres : false }, () => {
    test('RFC 3161, 2.4.2: a token says what was asked, when, under which policy, and is in the audit log', () =>
      inSetting(engine, async ({ db, signing, keys }) => {
        const { terms } = await testAuthority(keys, 'time', { terms: { accuracyMilliseconds: 1500 } })
        await signing.signers.create(terms, 'person:olga')
        const { response, entry } = await signing.timeStamps.answer('time', asked())
        const { info, certificates } = await infoOf(response)
        assert.equal(info.policy, POLICY)
        assert.deepEqual(info.accuracy, { seconds: 1, millis: 500 })
        assert.equal(info.ordering, false)
        assert.equal(info.tsa?.type, 'directoryName')
        assert.equal(info.genTime.getUTCFullYear(), 2027)
        assert.equal(certificates.length, 2)
        const { entries } = await listAuditEntries(db, { organizationId: 'default', limit: 10 })
        const row = entries.find(({ act }) => act === 'time-stamp.make')
        assert.equal(row?.id, entry)
        const facts = JSON.stringify(row)
        assert.ok(facts.includes(info.serialNumber.toHex()) && facts.includes(Buffer.from(digest).toString('hex')))
        // without certReq no certificate is in it (2.4.1)
        const bare = await signing.timeStamps.answer('time', asked({ certReq: false }))
        const known = await infoOf(bare.response, terms.key.chain)
        assert.equal(known.certificates.filter((der) => terms.key.chain.includes(der)).length, known.certificates.length)
        assert.ok(bare.response.length < response.length - (terms.key.chain[0] as Uint8Array).length)
      }))

    test('refuses what RFC 3161 has words for, and who may not ask', () =>
      inSetting(engine, async ({ signing, keys }) => {
        const { terms } = await testAuthority(keys, 'time')
        await signing.signers.create(terms, 'person:olga')
        const closed = await testAuthority(keys, 'closed', { terms: { isPublic: false } })
        await signing.signers.create(closed.terms, 'person:olga')
        const { timeStamps } = signing
        const extensions = [{ extnID: '1.2.3', critical: false, extnValue: Uint8Array.of(5, 0) }]
        await assert.rejects(timeStamps.answer('time', asked({ reqPolicy: '1.2.3' })), { reason: 'timeStampPolicy' })
        await assert.rejects(timeStamps.answer('time', asked({ extensions })), { reason: 'timeStampExtension' })
        await assert.rejects(timeStamps.answer('time', Uint8Array.of(0x30, 0)), { code: 'malformed' })
        await assert.rejects(timeStamps.answer('nobody', asked()), { code: 'notFound' })
        await assert.rejects(timeStamps.answer('closed', asked()), { code: 'forbidden' })
        await assert.rejects(timeStamps.answer('closed', asked(), STRANGER), { code: 'forbidden' })
        await infoOf((await timeStamps.answer('closed', asked(), ROBOT)).response)
        await infoOf((await timeStamps.answer('time', asked({ reqPolicy: POLICY }), STRANGER)).response)
        // its key signs nothing that somebody else made
        const raw = { format: 'rfc3161', requests: [{ type: 'raw', message: { octets: message } }] } as const
        await assert.rejects(signing.sign('time', raw, ROBOT), { reason: 'timeStampsOnly' })
        await signing.signers.setState('time', 'disabled', 'person:olga')
        await assert.rejects(timeStamps.answer('time', asked()), { reason: 'signerDisabled' })
      }))

    test('RFC 3161, 2.3: a certificate for anything else, or for more, makes no authority', () =>
      inSetting(engine, async ({ signing, keys }) => {
        const create = async (name: string, how: Parameters<typeof testAuthority>[2], change: object = {}) =>
          signing.signers.create({ ...(await testAuthority(keys, name, how)).terms, ...change }, 'person:olga')
        await assert.rejects(create('a', { purposes: ['codeSigning'] }), { reason: 'timeStampCertificate' })
        await assert.rejects(create('b', { purposes: ['timeStamping', 'codeSigning'] }), { reason: 'timeStampCertificate' })
        await assert.rejects(create('c', { critical: false }), { reason: 'timeStampCertificate' })
        await assert.rejects(create('d', {}, { formats: ['rfc3161', 'plain'] }), { reason: 'timeStampFormat' })
        await assert.rejects(create('e', {}, { timeStamps: undefined }), { reason: 'timeStampFormat' })
        const approval = { least: 1, approvers: { roles: [], people: ['x'] }, usesMax: 1, validSeconds: 1 }
        await assert.rejects(create('f', {}, { approval }), { reason: 'timeStampTerms' })
        await assert.rejects(create('g', {}, { timeStamping: 'time' }), { reason: 'timeStampTerms' })
        const plain = { formats: ['plain'], timeStamps: undefined, timeStamping: 'nobody' }
        await assert.rejects(create('h', {}, plain), { code: 'notFound' })
        await create('i', {}, { ...plain, timeStamping: undefined })
        await assert.rejects(create('j', {}, { ...plain, timeStamping: 'i' }), { reason: 'noTimeStamps' })
      }))

    test('RFC 3161, 2.3: its key signs nothing else, which could be made a token of any time', () =>
      inSetting(engine, async ({ signing, keys }) => {
        const { signers } = signing
        const { terms } = await testAuthority(keys, 'time')
        const { terms: more } = await testAuthority(keys, 'more')
        const plain = { name: 'files', formats: ['plain'], users: terms.users, priority: 'normal' } as const
        const refusal = { code: 'policyRefused', reason: 'timeStampKeyShared' }
        await signers.create(terms, 'person:olga')
        await assert.rejects(signers.create({ ...plain, key: { label: terms.key.label, chain: [] } }, 'person:olga'), refusal)
        await signers.create({ ...plain, key: { label: more.key.label, chain: [] } }, 'person:olga')
        await assert.rejects(signers.create(more, 'person:olga'), refusal)
        await assert.rejects(signers.planNext('time', { ...more.key, afterUses: 9 }, 'person:olga'), refusal)
        const next = { label: terms.key.label, chain: [], afterUses: 9 }
        await assert.rejects(signers.planNext('files', next, 'person:olga'), refusal)
        await signers.create({ ...terms, name: 'again' }, 'person:olga') // the same for another policy, say
      }))

    test('an authority that another process disabled states nothing, and does again once that one enabled it', () =>
      inSetting(engine, async ({ signing, other, keys }) => {
        const { terms } = await testAuthority(keys, 'time')
        await signing.signers.create(terms, 'person:olga')
        await signing.timeStamps.answer('time', asked())
        for (let round = 0; round < 2; round++) {
          await other.signers.setState('time', 'disabled', 'person:olga')
          await assert.rejects(signing.timeStamps.answer('time', asked()), { reason: 'signerDisabled' })
          await other.signers.setState('time', 'enabled', 'person:olga')
          await signing.timeStamps.answer('time', asked())
        }
      }))

    test('counts, limits and the next key hold for many at once as for one', () =>
      inSetting(engine, async ({ signing, keys }) => {
        const first = await testAuthority(keys, 'time')
        await signing.signers.create({ ...first.terms, usesMax: 12 }, 'person:olga')
        const second = await testAuthority(keys, 'next')
        await signing.signers.planNext('time', { ...second.terms.key, afterUses: 5 }, 'person:olga')
        const answers = await Promise.allSettled(Array.from({ length: 20 }, () => signing.timeStamps.answer('time', asked())))
        const granted = answers.filter(({ status }) => status === 'fulfilled')
        assert.equal(granted.length, 12)
        for (const answer of answers) if (answer.status === 'rejected') assert.equal(answer.reason.reason, 'signerUsedUp')
        const { uses, record } = await (async () => {
          const found = await signing.signers.find('time')
          return { uses: found.uses.uses, record: found.record }
        })()
        assert.equal(uses, 12)
        assert.equal(record.key.label, 'next')
      }))

    test('R7: whatever comes at once, at two processes, no serial number comes twice; with ordering, no time either', () =>
      inSetting(engine, async ({ db, signing, other, keys }) => {
        const { terms } = await testAuthority(keys, 'time')
        await signing.signers.create(terms, 'person:olga')
        const ordered = await testAuthority(keys, 'ordered', { terms: { ordering: true, accuracyMilliseconds: 20_000 } })
        await signing.signers.create(ordered.terms, 'person:olga')
        const serials = new Set<string>()
        const times: number[] = []
        let made = 0
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.record({ here: fc.boolean(), order: fc.boolean() }), { minLength: 1, maxLength: 40 }),
            async (plan) => {
              const answers = await Promise.all(
                plan.map(async ({ here, order }) => {
                  const { timeStamps } = here ? signing : other
                  const { response } = await timeStamps.answer(order ? 'ordered' : 'time', asked())
                  return { order, ...(await infoOf(response)) }
                }),
              )
              for (const { order, info } of answers) {
                made++
                serials.add(`${order} ${info.serialNumber.toHex()}`)
                if (order) times.push(info.genTime.getTime())
              }
            },
          ),
          { numRuns: 15 },
        )
        assert.equal(serials.size, made)
        assert.equal(new Set(times).size, times.length)
        assert.ok(times.length > 10 && made - times.length > 10)
        const [row] = await db.query<{ readonly n: number }>(
          "SELECT COUNT(*) AS n FROM audit_entry WHERE act = 'time-stamp.make'",
        )
        assert.equal(row?.n, made)
      }))

    test('with a clock in doubt, or not as good as is promised, there is no token and no entry', () =>
      inSetting(engine, async ({ db, keys, signing: plain }) => {
        const { terms } = await testAuthority(keys, 'time', { terms: { accuracyMilliseconds: 100 } })
        await plain.signers.create(terms, 'person:olga')
        const clock = serversSaying(300)
        const { signing } = await openTestSigning(db, systemWorld(), clock)
        await assert.rejects(signing.timeStamps.answer('time', asked()), { reason: 'clockDoubtful' }) // nobody was asked yet
        await clock.runOnce()
        await assert.rejects(signing.timeStamps.answer('time', asked()), { reason: 'clockDoubtful' })
        const [row] = await db.query<{ readonly n: number }>(
          "SELECT COUNT(*) AS n FROM audit_entry WHERE act = 'time-stamp.make'",
        )
        assert.equal(row?.n, 0)
        assert.equal((await plain.signers.find('time')).uses.uses, 0)
        const better = serversSaying(20)
        await better.runOnce()
        const stated = await (await openTestSigning(db, systemWorld(), better)).signing.timeStamps.answer('time', asked())
        assert.equal(stated.genTime.toISOString(), '2027-06-01T12:00:00.000Z')
      }))

    test('a clock that was set back while nothing ran is behind what was stated: no time', () =>
      inSetting(engine, async ({ signing, other, keys, time }) => {
        const { terms } = await testAuthority(keys, 'time')
        await signing.signers.create(terms, 'person:olga')
        await signing.timeStamps.answer('time', asked())
        time.otherAhead = -60_000 // not noticed by the other's watch, which sees only its own clock go on
        await assert.rejects(other.timeStamps.answer('time', asked()), { reason: 'clockDoubtful', code: 'unavailable' })
        await infoOf((await signing.timeStamps.answer('time', asked())).response)
      }))
  })
}

const tools = needs('openssl')
for (const algorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072', 'ed25519', 'ml-dsa-44'] as const) {
  test(
    `${algorithm}: what the authority makes verifies here${algorithm === 'ml-dsa-44' ? ' (RFC 9882)' : ', and with openssl ts'}`,
    {
      skip: tools.skip,
    },
    () =>
      inSetting('sqlite', async ({ signing, keys }) => {
        const { terms, root } = await testAuthority(keys, 'time', { algorithm })
        await signing.signers.create(terms, 'person:olga')
        const { response } = await signing.timeStamps.answer('time', asked())
        await infoOf(response)
        if (algorithm === 'ml-dsa-44' || algorithm === 'ed25519') return // openssl 3.0 knows neither in time stamps
        const directory = mkdtempSync(join(tmpdir(), 'sealworks-tsa-'))
        try {
          const file = (name: string, octets: Uint8Array | string): string => {
            writeFileSync(join(directory, name), octets)
            return join(directory, name)
          }
          const reply = file('reply', response)
          const verify = (data: Uint8Array, query: Uint8Array): string => {
            const answer = ['-in', reply, '-CAfile', file('root.pem', encodePEM('CERTIFICATE', root))]
            const when = ['-attime', String(Date.parse('2027-06-01T13:00:00Z') / 1000)]
            try {
              execFileSync(tools.path('openssl'), ['ts', '-verify', ...answer, ...when, '-queryfile', file('query', query)], {
                stdio: 'pipe',
              })
              execFileSync(tools.path('openssl'), ['ts', '-verify', ...answer, ...when, '-data', file('data', data)], {
                stdio: 'pipe',
              })
              return 'OK'
            } catch (error) {
              return String((error as { stderr: Buffer }).stderr)
            }
          }
          assert.equal(verify(message, asked()), 'OK')
          assert.match(verify(utf8('another'), asked()), /message imprint mismatch/)
          assert.match(verify(message, asked({ nonce: Uint8Array.of(1) })), /nonce mismatch/)
          assert.match(verify(message, asked({ reqPolicy: '1.2.3' })), /policy mismatch/)
          const other = new Uint8Array(hash('sha256', 'x', 'buffer'))
          assert.match(verify(message, asked({ imprint: { digestAlgorithm: 'sha256', digest: other } })), /imprint mismatch/)
        } finally {
          rmSync(directory, { recursive: true })
        }
      }),
  )
}
