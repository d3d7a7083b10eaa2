/** The audit log from recording to verification, and what is found when someone changes the past. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import type { Signer } from '#keys/key-store.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import { acquireLease } from '#store/lease.ts'
import { createAuditLog, listAuditEntries, openAuditLog } from './log.ts'
import { openCheckpoint, signCheckpoint } from './note.ts'
import { auditSequencer, runSequencer, type Sequencer } from './sequencer.ts'
import {
  done,
  inSetting,
  lastNote,
  onEach,
  organizationId,
  origin,
  recordMany,
  tamper,
  verify,
  withoutPostgres,
} from './testing.ts'
import { type AuditProblemKind, verifyAuditLog } from './verify.ts'

onEach('decision 20: entries get contiguous places and a checkpoint that the key verifies', async (setting) => {
  await recordMany(setting, 2500) // more than one batch
  assert.deepEqual(await setting.sequencer.runOnce(), { sequenced: 2501, leading: true }) // and the log's own first entry
  assert.deepEqual(await setting.sequencer.runOnce(), { sequenced: 0, leading: true })
  const rows = await setting.database.query<{ log_index: number; id: string }>(
    'SELECT log_index, id FROM audit_entry ORDER BY id',
  )
  assert.deepEqual(
    rows.map(({ log_index }) => log_index),
    rows.map((_, n) => n),
  )
  const checkpoint = await openCheckpoint(await lastNote(setting), setting.log.publicKey)
  const result = await verify(setting)
  assert.deepEqual(result.problems, [])
  assert.equal(result.size, 2501)
  assert.equal(result.signedSize, 2501)
  assert.equal(result.waiting, 0)
  assert.deepEqual(checkpoint, { origin, size: 2501, rootHash: result.rootHash })
})

onEach('an entry comes and goes with its act', async (setting) => {
  const { database, audit } = setting
  const refusal = new TrustError('policyRefused', 'keyTooShort')
  const attempt = database.transaction(async (tx) => {
    await audit.record(tx, done)
    throw refusal
  })
  await assert.rejects(attempt, refusal)
  await audit.refuse({ actor: 'system', act: 'test.act', object: 'thing:1', reason: refusal.reason, facts: { bits: 1024 } })
  await setting.sequencer.runOnce()
  const { entries } = await listAuditEntries(database, { organizationId, limit: 10 })
  assert.deepEqual(
    entries.map(({ act, outcome, reason, facts, logIndex }) => ({ act, outcome, reason, facts, logIndex })),
    [
      { act: 'test.act', outcome: 'refused', reason: 'keyTooShort', facts: { bits: 1024 }, logIndex: 1 },
      { act: 'audit.create', outcome: 'done', reason: undefined, facts: {}, logIndex: 0 },
    ],
  )
  assert.deepEqual((await verify(setting)).problems, [])
})

test('text that no database keeps as it is still verifies', () =>
  inSetting(async (setting) => {
    const facts = { lone: '\ud800x', quote: '"\\\n\u2028', null: '\0', emoji: '🔏', tiny: 5e-324, zero: -0 }
    await setting.database.transaction((tx) => setting.audit.record(tx, { ...done, object: 'thing:\udfff', facts }))
    await setting.sequencer.runOnce()
    assert.deepEqual((await verify(setting)).problems, [])
  }))

const tampering: readonly { name: string; sql: readonly string[]; kinds: readonly AuditProblemKind[]; says: RegExp }[] = [
  {
    name: 'a fact is changed',
    sql: [`UPDATE audit_entry SET facts = '{"n":99}' WHERE log_index = 17`],
    kinds: ['altered'],
    says: /^Entry 17 .* was altered/,
  },
  {
    name: 'the actor is changed',
    sql: [`UPDATE audit_entry SET actor = 'person:2' WHERE log_index = 3`],
    kinds: ['altered'],
    says: /^Entry 3 /,
  },
  {
    name: 'the time is changed',
    sql: ['UPDATE audit_entry SET at = at - 1 WHERE log_index = 3'],
    kinds: ['altered'],
    says: /^Entry 3 /,
  },
  {
    name: 'facts that reach into the rest of the text',
    sql: [`UPDATE audit_entry SET facts = facts || ' ' WHERE log_index = 5`],
    kinds: ['altered'],
    says: /^Entry 5 /,
  },
  {
    name: 'the leaf hash of an entry is replaced',
    sql: [`UPDATE audit_entry SET leaf_hash = (SELECT leaf_hash FROM audit_entry WHERE log_index = 8) WHERE log_index = 7`],
    kinds: ['altered', 'diverged'],
    says: /^Entry 7 /,
  },
  {
    name: 'a row is deleted',
    sql: ['DELETE FROM audit_entry WHERE log_index = 9'],
    kinds: ['missing'],
    says: /^Entry 9 is missing/,
  },
  {
    name: 'several rows are deleted',
    sql: ['DELETE FROM audit_entry WHERE log_index BETWEEN 9 AND 12'],
    kinds: ['missing'],
    says: /^Entries 9 to 12 are missing/,
  },
  {
    name: 'the first row is deleted',
    sql: ['DELETE FROM audit_entry WHERE log_index = 0'],
    kinds: ['missing'],
    says: /^Entry 0 is missing/,
  },
  {
    name: 'a row is deleted and the others close the gap',
    sql: [
      'DELETE FROM audit_entry WHERE log_index = 9',
      'UPDATE audit_entry SET log_index = log_index + 1000 WHERE log_index > 9',
      'UPDATE audit_entry SET log_index = log_index - 1001 WHERE log_index > 1000',
    ],
    kinds: ['diverged', 'cut'],
    says: /^Entries 0 to 20 are not those signed at 21 entries/,
  },
  {
    name: 'two rows change places',
    sql: [
      'UPDATE audit_entry SET log_index = 1000 WHERE log_index = 24',
      'UPDATE audit_entry SET log_index = 24 WHERE log_index = 25',
      'UPDATE audit_entry SET log_index = 25 WHERE log_index = 1000',
    ],
    kinds: ['diverged'],
    says: /^Entries 21 to 30 are not those signed at 31 entries/,
  },
  {
    name: 'the tail is cut',
    sql: ['DELETE FROM audit_entry WHERE log_index >= 28'],
    kinds: ['cut'],
    says: /ends at 28 entries, but there were 31: entries 28 to 30 are gone/,
  },
  {
    name: 'the tail is cut and the count lowered',
    sql: ['DELETE FROM audit_entry WHERE log_index >= 28', 'UPDATE audit_log SET size = 28'],
    kinds: ['cut'],
    says: /entries 28 to 30 are gone/,
  },
  { name: 'everything is deleted', sql: ['DELETE FROM audit_entry'], kinds: ['cut'], says: /entries 0 to 30 are gone/ },
  {
    name: 'a checkpoint says another size',
    sql: [
      `UPDATE audit_checkpoint SET note = replace(note, char(10) || '31' || char(10), char(10) || '30' || char(10)) WHERE size = 31`,
    ],
    kinds: ['checkpoint'],
    says: /checkpoint at 31 entries cannot be relied on: .*not signed/,
  },
  {
    name: 'a checkpoint is moved to another row',
    sql: ['UPDATE audit_checkpoint SET size = 22 WHERE size = 21'],
    kinds: ['checkpoint'],
    says: /checkpoint at 22 entries says something else than its row/,
  },
  {
    name: 'the root hash beside a checkpoint is changed',
    sql: ['UPDATE audit_checkpoint SET root_hash = zeroblob(32) WHERE size = 21'],
    kinds: ['checkpoint'],
    says: /checkpoint at 21 entries says something else than its row/,
  },
  {
    name: 'a checkpoint is no checkpoint',
    sql: [`UPDATE audit_checkpoint SET note = 'yes' WHERE size = 31`],
    kinds: ['checkpoint'],
    says: /not a log checkpoint/,
  },
  { name: "the log's count is lowered", sql: ['UPDATE audit_log SET size = 30'], kinds: ['head'], says: /counts fewer/ },
  {
    name: "the log's hashes are changed",
    sql: ['UPDATE audit_log SET peaks = zeroblob(length(peaks))'],
    kinds: ['head'],
    says: /do not fit/,
  },
]

for (const { name, sql, kinds, says } of tampering) {
  test(`R28: found when ${name}`, () =>
    inSetting(async (setting) => {
      await recordMany(setting, 20)
      await setting.sequencer.runOnce()
      setting.time.ahead += 86_400_000 // of one day, only the newest checkpoint is kept
      await recordMany(setting, 10)
      await setting.sequencer.runOnce()
      assert.deepEqual((await verify(setting)).problems, [])
      await tamper(setting, ...sql)
      const { problems } = await verify(setting)
      assert.deepEqual(
        problems.map(({ kind }) => kind),
        kinds,
        JSON.stringify(problems),
      )
      assert.match(problems[0]?.sentence ?? '', says)
    }))
}

test('what follows an altered entry is still compared', () =>
  inSetting(async (setting) => {
    await recordMany(setting, 5)
    await setting.sequencer.runOnce()
    await tamper(setting, `UPDATE audit_entry SET actor = 'person:2' WHERE log_index IN (1, 4)`)
    const { problems, signedSize } = await verify(setting)
    assert.deepEqual(
      problems.map(({ kind, logIndex }) => [kind, logIndex]),
      [
        ['altered', 1],
        ['altered', 4],
      ],
    )
    assert.equal(signedSize, 6)
  }))

test('a tail cut with its checkpoints is found by a checkpoint kept elsewhere', () =>
  inSetting(async (setting) => {
    await recordMany(setting, 20)
    await setting.sequencer.runOnce()
    const { rootHash } = await verify(setting)
    const [head] = await setting.database.query('SELECT size, peaks FROM audit_log')
    await recordMany(setting, 10)
    await setting.sequencer.runOnce()
    const kept = await lastNote(setting)
    await tamper(setting, 'DELETE FROM audit_entry WHERE log_index >= 21', 'DELETE FROM audit_checkpoint WHERE size > 21')
    await setting.database.transaction((tx) =>
      tx.query('UPDATE audit_log SET size = ?, peaks = ?', head?.['size'] ?? 0, head?.['peaks'] ?? null),
    )
    const unaided = await verify(setting)
    assert.deepEqual(unaided.problems, [], 'a shorter log that is whole: only a witness can tell')
    assert.deepEqual(unaided.rootHash, rootHash)
    const { problems } = await verify(setting, [kept])
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['cut'],
    )
  }))

test('a checkpoint of another log is told apart, though signed by the same key', () =>
  inSetting(async (setting) => {
    await setting.sequencer.runOnce()
    const { rootHash } = await verify(setting)
    const note = await signCheckpoint({ origin: 'other.example/audit', size: 1, rootHash }, setting.log.signer)
    const { problems } = await verify(setting, [note])
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['checkpoint'],
    )
    assert.match(problems[0]?.sentence ?? '', /of another log, other\.example/)
  }))

test('a log rewritten under another key is found by the key kept elsewhere', () =>
  inSetting(async (setting) => {
    await recordMany(setting, 3)
    await setting.sequencer.runOnce()
    const other = await setting.keys.generate('other', 'ecdsa-p256')
    const options = { organizationId, clock: setting.world.clock, publicKey: other.publicKey }
    const { problems } = await verifyAuditLog(setting.database, options)
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      ['checkpoint', 'checkpoint'],
    )
  }))

test('the database itself refuses to change or delete an entry', () =>
  inSetting(async (setting) => {
    await recordMany(setting, 3)
    await setting.sequencer.runOnce()
    await recordMany(setting, 1)
    const before = await setting.database.query('SELECT * FROM audit_entry ORDER BY id')
    const statements = [
      `UPDATE audit_entry SET actor = 'x'`,
      `UPDATE audit_entry SET facts = '{}' WHERE log_index IS NULL`,
      `UPDATE audit_entry SET leaf_hash = x'00'`,
      'UPDATE audit_entry SET log_index = log_index + 100 WHERE log_index IS NOT NULL',
      'UPDATE audit_entry SET log_index = NULL WHERE log_index IS NOT NULL',
      'DELETE FROM audit_entry',
    ]
    for (const sql of statements)
      await assert.rejects(
        setting.database.transaction((tx) => tx.query(sql)),
        /never changed/,
        sql,
      )
    assert.deepEqual(await setting.database.query('SELECT * FROM audit_entry ORDER BY id'), before)
    assert.equal(before.length, 5)
  }))

onEach('a crash between recording and placing loses nothing', async (setting) => {
  await recordMany(setting, 7)
  const after = await setting.reopen()
  assert.equal((await verify(after)).waiting, 8)
  assert.deepEqual(await after.sequencer.runOnce(), { sequenced: 8, leading: true })
  assert.deepEqual((await verify(after)).problems, [])
})

onEach('a crash between placing and signing is made good by the next run', async (setting) => {
  await recordMany(setting, 7)
  setting.time.fault = 'audit.sequenced'
  await assert.rejects(setting.sequencer.runOnce(), /stopped at/)
  const after = await setting.reopen()
  const between = await verify(after)
  assert.deepEqual([between.size, between.signedSize, between.problems], [8, 0, []])
  assert.deepEqual(await after.sequencer.runOnce(), { sequenced: 0, leading: true })
  assert.equal((await verify(after)).signedSize, 8)
})

onEach('two sequencers that keep taking over from each other give every entry one place', async (setting) => {
  const rival = auditSequencer({ ...setting, database: setting.connect(), holder: 'there' })
  const run = async (sequencer: Sequencer): Promise<void> => {
    setting.time.ahead += 16_000 // whoever holds the lease, it has expired
    try {
      await sequencer.runOnce()
    } catch (error) {
      assert.ok(error instanceof TrustError && error.reason === 'leaseLost', String(error))
    }
  }
  const here = () => run(setting.sequencer)
  const there = () => run(rival)
  for (let n = 0; n < 10; n++) {
    const [first, second] = n % 2 === 0 ? [here, there] : [there, here]
    await Promise.all([recordMany(setting, 30), first(), second(), first()])
  }
  for (const last of [rival, setting.sequencer]) {
    setting.time.ahead += 16_000
    assert.ok((await last.runOnce()).leading)
  }
  const result = await verify(setting)
  assert.deepEqual(result.problems, [])
  assert.equal(result.signedSize, 301)
})

onEach('while another leads, this one stands by; once released, it takes over', async (setting) => {
  const rival = auditSequencer({ ...setting, database: setting.connect(), holder: 'there' })
  assert.deepEqual(await rival.runOnce(), { sequenced: 1, leading: true })
  await recordMany(setting, 3)
  assert.deepEqual(await setting.sequencer.runOnce(), { sequenced: 0, leading: false })
  await rival.release()
  assert.deepEqual(await setting.sequencer.runOnce(), { sequenced: 3, leading: true })
})

onEach(
  'who is alone on the database does not wait for the lease of one that crashed, and the dead may not come back',
  async (setting) => {
    const dead = auditSequencer({ ...setting, database: setting.connect(), holder: 'there' })
    assert.deepEqual(await dead.runOnce(), { sequenced: 1, leading: true })
    await recordMany(setting, 3)
    const next = auditSequencer({ ...setting, holder: 'next', alone: true })
    assert.deepEqual(await next.runOnce(), { sequenced: 3, leading: true })
    await recordMany(setting, 2)
    await assert.rejects(dead.runOnce(), { code: 'conflict', reason: 'leaseLost' })
    assert.deepEqual(await next.runOnce(), { sequenced: 2, leading: true })
    assert.deepEqual((await verify(setting)).problems, [])
  },
)

onEach('who has lost the lease places and signs nothing', async (setting) => {
  const { database, world, log, sequencer } = setting
  const usurp = async (): Promise<void> => {
    const later = { clock: { now: () => world.clock.now() + 60_000 } }
    const request = { name: `audit-sequencer:${organizationId}`, holder: 'there', seconds: 1 }
    assert.ok(await acquireLease(database, later, request))
  }
  await sequencer.runOnce()
  await recordMany(setting, 3)
  await usurp()
  await assert.rejects(sequencer.runOnce(), { code: 'conflict', reason: 'leaseLost' })
  const before = await verify(setting)
  assert.deepEqual([before.size, before.waiting, before.checkpoints], [1, 3, 1])
  assert.deepEqual(await sequencer.runOnce(), { sequenced: 0, leading: false })

  setting.time.ahead += 120_000
  const signer: Signer = {
    ...log.signer,
    async sign(message, algorithm) {
      await usurp()
      return log.signer.sign(message, algorithm)
    },
  }
  const slow = auditSequencer({ ...setting, log: { ...log, signer }, holder: 'slow' })
  await assert.rejects(slow.runOnce(), { reason: 'leaseLost' })
  const after = await verify(setting)
  assert.deepEqual([after.size, after.signedSize, after.checkpoints, after.problems], [4, 1, 1, []])
})

test('postgres: the database itself refuses to change, delete or empty', { skip: withoutPostgres }, () =>
  inSetting(async (setting) => {
    await setting.sequencer.runOnce()
    for (const sql of [
      `UPDATE audit_entry SET actor = 'x'`,
      'UPDATE audit_entry SET log_index = NULL',
      'DELETE FROM audit_entry',
      'TRUNCATE audit_entry',
    ]) {
      await assert.rejects(
        setting.database.transaction((tx) => tx.query(sql)),
        /never changed/,
        sql,
      )
    }
    assert.equal((await verify(setting)).size, 1)
  }, 'postgres'),
)

test('postgres: R28: an altered entry is found', { skip: withoutPostgres }, () =>
  inSetting(async (setting) => {
    await recordMany(setting, 5)
    await setting.sequencer.runOnce()
    await setting.database.transaction(async (tx) => {
      await tx.query('ALTER TABLE audit_entry DISABLE TRIGGER ALL')
      await tx.query(`UPDATE audit_entry SET facts = '{"n":99}' WHERE log_index = 4`)
      await tx.query('DELETE FROM audit_entry WHERE log_index = 2')
    })
    const { problems } = await verify(setting)
    assert.deepEqual(
      problems.map(({ kind, logIndex }) => [kind, logIndex]),
      [
        ['missing', 2],
        ['altered', 4],
      ],
    )
  }, 'postgres'),
)

onEach('entries that wait too long are reported', async (setting) => {
  await recordMany(setting, 2)
  assert.deepEqual((await verify(setting)).problems, [])
  setting.time.ahead = 61_000
  const { problems } = await verify(setting)
  assert.deepEqual(
    problems.map(({ kind }) => kind),
    ['waiting'],
  )
  assert.match(problems[0]?.sentence ?? '', /^3 entries wait/)
})

test('the loop goes on after an error and places what came last when it is stopped', () =>
  inSetting(async (setting) => {
    const stop = new AbortController()
    const errors: unknown[] = []
    const placed: number[] = []
    let released = 0
    let round = 0
    const sequencer: Sequencer = {
      async runOnce() {
        if (++round === 2) throw new Error('the key store is away')
        const run = await setting.sequencer.runOnce()
        placed.push(run.sequenced)
        return run
      },
      release: async () => void released++,
    }
    await runSequencer({
      sequencer,
      signal: stop.signal,
      onError: (error) => errors.push(error),
      async pause(milliseconds) {
        assert.ok(milliseconds <= 1000)
        await recordMany(setting, 1)
        if (round === 3) stop.abort()
      },
    })
    assert.deepEqual(errors.map(String), ['Error: the key store is away'])
    assert.deepEqual(placed, [1, 2, 1])
    assert.equal(released, 1)
  }))

onEach('a log is made once, and never by opening it', async ({ database, world, keys }) => {
  await assert.rejects(createAuditLog({ database, world, organizationId, keys, origin }), {
    code: 'conflict',
    reason: 'auditLogExists',
  })
  const elsewhere = { database, organizationId: 'other', keys }
  await assert.rejects(openAuditLog(elsewhere), { code: 'unavailable', reason: 'auditLogMissing', message: /sealworks init/ })
  await assert.rejects(verifyAuditLog(database, { organizationId: 'other', clock: world.clock }), { reason: 'auditLogMissing' })
  for (const bad of ['', 'two words', 'a+b', 'a\nb', 'x'.repeat(201)]) {
    await assert.rejects(createAuditLog({ database, world, organizationId: 'other', keys, origin: bad }), {
      reason: 'auditOrigin',
    })
  }
})

test('a key left by an init that stopped half way is used', () =>
  inSetting(async ({ database, world, log }) => {
    const wrappingKey = secret(world.random.octets(32))
    const keys = softwareKeyStore({ database, world, organizationId: 'other', wrappingKey })
    const left = await keys.generate('audit-log', 'ecdsa-p256')
    const created = await createAuditLog({ database, world, organizationId: 'other', keys, origin: 'pki.example/other' })
    assert.deepEqual(created.publicKey, left.publicKey)
    assert.notDeepEqual(created.publicKey, log.publicKey)
  }))

test('a log whose key was exchanged does not open', () =>
  inSetting(async ({ database, keys }) => {
    await database.transaction((tx) => tx.query(`UPDATE audit_log SET public_key = x'00'`))
    await assert.rejects(openAuditLog({ database, organizationId, keys }), { code: 'unavailable', reason: 'auditKeyOther' })
  }))

onEach('pages are newest first, filtered, and stay put while entries arrive', async (setting) => {
  const { database, audit, time } = setting
  const record = (object: string, act = 'test.act') => database.transaction((tx) => audit.record(tx, { ...done, object, act }))
  for (let n = 0; n < 7; n++) {
    time.ahead += 10
    await record(`thing:${n % 2}`)
  }
  const filter = { object: 'thing:0' }
  const seen: string[] = []
  let cursor: string | undefined
  for (let page = 0; page < 2; page++) {
    const { entries, next } = await listAuditEntries(database, { organizationId, filter, cursor, limit: 2 })
    seen.push(...entries.map(({ id }) => id))
    cursor = next
    time.ahead += 10
    await record('thing:0')
  }
  assert.equal(cursor, undefined)
  assert.equal(seen.length, 4)
  assert.deepEqual(seen, seen.toSorted().toReversed())
  const times = (await listAuditEntries(database, { organizationId, limit: 50 })).entries.map(({ at }) => at.getTime())
  const [newest = 0, second = 0] = times
  const within = async (span: { from?: number; until?: number }) =>
    (await listAuditEntries(database, { organizationId, filter: span, limit: 50 })).entries.length
  assert.equal(await within({ from: newest }), 1)
  assert.equal(await within({ from: second, until: newest }), 1)
  assert.equal(await within({ until: newest }), times.length - 1)
  const acts = await listAuditEntries(database, {
    organizationId,
    filter: { act: 'audit.create', actor: 'system', outcome: 'done' },
    limit: 5,
  })
  assert.equal(acts.entries.length, 1)
  assert.deepEqual((await listAuditEntries(database, { organizationId, filter: { outcome: 'refused' }, limit: 5 })).entries, [])
  assert.deepEqual((await listAuditEntries(database, { organizationId: 'other', limit: 5 })).entries, [])
})
