/** What must not be restored is refused with closed codes, and what breaks off leaves nothing half done. R22, R23. */
import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { journalFiles } from '#backup/journal.ts'
import { loadBackup } from '#backup/load.ts'
import { readBackup } from '#backup/read.ts'
import { openContainer, sealChunks, sealHead } from '#backup/container.ts'
import { makeRecoveryKey, parseRecipients, parseRecoveryKey } from '#backup/recipients.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { revokeCertificate } from '#ca/certificates.ts'
import { decryptEnvelope } from '#cms/decrypt.ts'
import { parseEnvelope } from '#cms/enveloped-data.ts'
import type { Migration } from '#store/database.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { atWork, environment, Fault, makePlant, type Plant, removeAll, restoreBeside, sourceOf } from './backup-testing.ts'
import { migrations } from './compose.ts'
import { openRestored, rehearseBackup, restoreInstallation } from './restore.ts'

after(removeAll)

/** Magic and length before the envelope. */
const ENVELOPE_AT = 19 + 4

async function plantWithBackup(): Promise<{ readonly plant: Plant; readonly file: string }> {
  const plant = await makePlant('sqlite:sealworks.db')
  const file = await atWork(plant, async ({ issue, backUp, settle }) => {
    await issue('one')
    await settle()
    return backUp()
  })
  return { plant, file }
}

/** Restoring `file` must end so, and leave neither the directory nor the one beside it. */
async function refused(plant: Plant, file: string, expected: object, more: object = {}): Promise<void> {
  const dataDirectory = join(plant.directory, 'never')
  await assert.rejects(restoreInstallation({ ...sourceOf(plant, file), dataDirectory, environment, ...more }), expected)
  assert.deepEqual(
    readdirSync(plant.directory).filter((name) => name.startsWith('never')),
    [],
  )
}

describe('a backup that must not be restored', () => {
  test('is tried out first, which shows what is in it', async () => {
    const { plant, file } = await plantWithBackup()
    const note = await atWork(plant, async ({ foundation }) => {
      const found = await latestCheckpoint(foundation.db, foundation.organizationId)
      return found?.note ?? assert.fail()
    })
    const seen = await rehearseBackup({ ...sourceOf(plant, file), witnessed: [note] })
    assert.deepEqual(seen.audit.problems, [])
    assert.equal(seen.keysTried, 4) // of the log, of three authorities
    assert.equal(seen.counts['certificate'], 4)
    assert.equal(seen.manifest.origin, plant.verifierKey.name)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    // neither key nor names can be read without the recovery key
    const octets = readFileSync(file)
    assert.equal(octets.indexOf(readFileSync(join(plant.dataDirectory, 'keys/wrapping.key'))), -1)
    assert.equal(octets.indexOf('Ada'), -1)
  })

  test('one with fewer entries than a checkpoint that was kept elsewhere', async () => {
    const { plant, file } = await plantWithBackup()
    const note = await atWork(plant, async ({ foundation, issue, settle }) => {
      await issue('after the backup')
      await settle()
      return (await latestCheckpoint(foundation.db, foundation.organizationId))?.note ?? assert.fail()
    })
    const seen = await rehearseBackup({ ...sourceOf(plant, file), witnessed: [note] })
    assert.deepEqual(
      seen.audit.problems.map(({ kind }) => kind),
      ['cut'],
    )
    await refused(plant, file, { code: 'badProof', reason: 'restoreLogDamaged' }, { witnessed: [note] })
  })

  test('one of another installation, though it is for our recovery key', async () => {
    const { plant } = await plantWithBackup()
    const stranger = await plantWithBackup()
    const recipients = readFileSync(join(plant.directory, 'recovery.pem'))
    writeFileSync(join(stranger.plant.directory, 'recovery.pem'), recipients)
    const forged = await atWork(stranger.plant, ({ backUp }) => backUp())
    await refused(plant, forged, { code: 'badProof', reason: 'backupSignature' })
    await refused(plant, stranger.file, { code: 'forbidden' })
  })

  test('one that somebody with the recovery key changed', async () => {
    const { plant, file } = await plantWithBackup()
    const octets = new Uint8Array(readFileSync(file))
    const opened = await openContainer(of(octets), plant.recoveryKey, plant.world.random)
    const content = concat(await Array.fromAsync(opened.content))
    const envelope = parseEnvelope(opened.head.subarray(ENVELOPE_AT))
    const key = secret((await decryptEnvelope(envelope, plant.recoveryKey, plant.world.random)).content)
    const rewritten = async (changed: Uint8Array, head = { octets: opened.head, key }): Promise<string> => {
      const path = join(plant.directory, 'changed.backup')
      writeFileSync(path, concat([head.octets, ...(await Array.fromAsync(sealChunks(head, of(changed))))]))
      return path
    }
    assert.equal((await rehearseBackup(sourceOf(plant, await rewritten(content)))).keysTried, 4) // the way of the test is right
    const at = Buffer.from(content).indexOf('administrator')
    assert.ok(at > 0)
    const promoted = content.slice()
    promoted.set(utf8('adminisTrator'), at)
    await refused(plant, await rewritten(promoted), { code: 'badProof', reason: 'backupSignature' })
    // without its last signature, and under another key
    await refused(plant, await rewritten(content.subarray(0, -60)), { code: 'malformed' })
    const recipients = parseRecipients(readFileSync(join(plant.directory, 'recovery.pem'), 'utf8')) as [never]
    const other = await sealHead(recipients, plant.world.random)
    await refused(plant, await rewritten(content, other), { code: 'badProof', reason: 'backupSignature' })
  })

  test('one that was cut, or to which something was added', async () => {
    const { plant, file } = await plantWithBackup()
    const octets = readFileSync(file)
    const path = join(plant.directory, 'cut.backup')
    for (const end of [0, 10, 100, octets.length >> 1, octets.length - 1]) {
      writeFileSync(path, octets.subarray(0, end))
      await refused(plant, path, { code: 'malformed' })
    }
    writeFileSync(path, Buffer.concat([octets, Buffer.from([0])]))
    await refused(plant, path, { code: 'badProof', reason: 'backupChanged' })
    await refused(plant, join(plant.directory, 'nothing.backup'), { code: 'notFound' })
  })

  test('one for other recipients', async () => {
    const { plant, file } = await plantWithBackup()
    const other = await makeRecoveryKey({ algorithm: 'p256', name: 'Another' }, plant.world)
    await refused(plant, file, { code: 'forbidden' }, { opener: parseRecoveryKey(other.key) })
  })

  test('one of a newer version or of a changed schema; an older one is brought forward', async () => {
    const { plant, file } = await plantWithBackup()
    const { world } = plant
    const loaded = async (all: readonly Migration[], name: string) => {
      const database = sqlite({ path: join(plant.directory, `${name}.db`) })
      try {
        const backup = await readBackup(of(readFileSync(file)), { ...sourceOf(plant, file), random: world.random })
        await loadBackup(backup, { database, world, migrations: all, finish: async () => {} })
        return await database.query('SELECT subject, later FROM certificate')
      } finally {
        await database.close()
      }
    }
    const later = { id: '9999-test-later', statements: ["ALTER TABLE certificate ADD COLUMN later TEXT NOT NULL DEFAULT 'now'"] }
    const rows = await loaded([...migrations, later], 'later')
    assert.equal(rows.length, 4)
    assert.ok(rows.every((row) => row['later'] === 'now'))
    const [last] = migrations.toSorted((one, other) => (one.id < other.id ? 1 : -1))
    const before = migrations.filter((migration) => migration !== last)
    await assert.rejects(loaded(before, 'before'), { code: 'unsupported', reason: 'backupNewer' })
    const edited = migrations.map((one) => (one === last ? { ...one, statements: [...one.statements, 'SELECT 1'] } : one))
    await assert.rejects(loaded(edited, 'edited'), { code: 'conflict', reason: 'migrationEdited' })
  })

  test('one into a directory or database that is in use', async () => {
    const { plant, file } = await plantWithBackup()
    const used = join(plant.directory, 'used')
    mkdirSync(used)
    writeFileSync(join(used, 'precious'), '')
    const into = (dataDirectory: string, configText?: string) =>
      restoreInstallation({ ...sourceOf(plant, file), dataDirectory, environment, configText })
    await assert.rejects(into(used), { code: 'conflict', reason: 'restoreTarget' })
    await assert.rejects(into(plant.dataDirectory), { code: 'conflict', reason: 'restoreTarget' })
    const elsewhere = `[store]\nurl = "sqlite:${join(plant.dataDirectory, 'sealworks.db')}"`
    await assert.rejects(into(join(plant.directory, 'other'), elsewhere), { code: 'conflict', reason: 'restoreDatabase' })
    const wrong = join(plant.directory, 'other.key')
    writeFileSync(wrong, new Uint8Array(32), { mode: 0o600 })
    const key = `[keys]\nwrappingKey = "file:${wrong}"`
    await assert.rejects(into(join(plant.directory, 'other'), key), { code: 'conflict', reason: 'backupWrappingKey' })
    assert.deepEqual(readdirSync(used), ['precious'])
    assert.ok(!existsSync(join(plant.directory, 'other')))
  })
})

describe('a restore that breaks off', () => {
  for (const point of ['backup rows kept', 'backup loaded', 'restore checked']) {
    test(`at "${point}" leaves nothing, and can be begun again`, async () => {
      const { plant, file } = await plantWithBackup()
      const dataDirectory = join(plant.directory, 'restored')
      const options = { ...sourceOf(plant, file), dataDirectory, environment }
      plant.world.fault.at = point
      await assert.rejects(restoreInstallation(options), Fault)
      assert.ok(!existsSync(dataDirectory))
      plant.world.fault.at = undefined
      await restoreInstallation(options)
      await atWork({ ...plant, dataDirectory }, ({ issue }) => assert.rejects(issue('none'), { reason: 'issuanceClosed' }))
    })
  }

  test('while the journal is read goes on where it was', async () => {
    const { plant, file } = await plantWithBackup()
    const id = await atWork(plant, async ({ issue, settle, ca }) => {
      await issue('two')
      await settle()
      const three = await issue('three')
      await settle()
      await revokeCertificate(ca.context, three, 'keyCompromise', 'person:ada')
      await settle()
      return three
    })
    const restored = await restoreBeside(plant, file)
    const open = () => openRestored({ ...restored, environment, by: { journal: join(plant.directory, 'journal') } })
    plant.world.fault.at = 'journal line replayed'
    await assert.rejects(open(), Fault)
    await atWork(restored, ({ issue }) => assert.rejects(issue('none'), { reason: 'issuanceClosed' }))
    plant.world.fault.at = undefined
    await open()
    await atWork(restored, async ({ foundation, issue }) => {
      const [row] = await foundation.db.query('SELECT state FROM certificate WHERE id = ?', id)
      assert.deepEqual(row, { state: 'revoked' })
      await issue('four')
    })
  })

  test('a backup that breaks off leaves no file of that name, and says so', async () => {
    const plant = await makePlant('sqlite:sealworks.db')
    plant.world.fault.at = 'backup written'
    await assert.rejects(
      atWork(plant, ({ backUp }) => backUp()),
      { message: /^internal/ },
    )
    assert.deepEqual(readdirSync(join(plant.dataDirectory, 'backups')), [])
    plant.world.fault.at = undefined
    assert.ok(existsSync(await atWork(plant, ({ backUp }) => backUp())))
  })
})

describe('a journal that must not be read', () => {
  async function withJournal() {
    const { plant, file } = await plantWithBackup()
    await atWork(plant, async ({ issue, settle }) => {
      for (const name of ['a', 'b', 'c']) {
        await issue(name)
        await settle()
      }
    })
    const directory = join(plant.directory, 'journal')
    const [name] = await journalFiles(directory)
    const path = join(directory, name ?? assert.fail())
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
    const restored = await restoreBeside(plant, file)
    const read = async (...changed: readonly string[]) => {
      writeFileSync(path, changed.map((line) => `${line}\n`).join(''))
      return openRestored({ ...restored, environment, by: { journal: directory } })
    }
    return { plant, restored, lines, path, directory, read }
  }

  test('one whose lines were changed, left out, or are of another installation', async () => {
    const { restored, lines, read } = await withJournal()
    assert.ok(lines.length >= 4)
    await assert.rejects(read(lines.at(-1) ?? ''), { code: 'conflict', reason: 'journalGap' })
    const changed = (line: string): string => line.replace('certificate.issue', 'certificate.isSue')
    await assert.rejects(read(...lines.slice(0, -1), changed(lines.at(-1) ?? '')), {
      code: 'badProof',
      reason: 'journalSignature',
    })
    await assert.rejects(read('nonsense'), { code: 'malformed', reason: 'badJournal' })
    await assert.rejects(read(`AAAA {"origin":`), { code: 'malformed', reason: 'badJournal' })
    const stranger = await withJournal()
    await assert.rejects(read(...stranger.lines), { code: 'badProof', reason: 'journalSignature' })
    await atWork(restored, ({ issue }) => assert.rejects(issue('none'), { reason: 'issuanceClosed' }))
    assert.equal((await read(...lines))?.certificates, 1) // two were taken in before the line that was refused
  })

  test('one that ends before a checkpoint that was kept elsewhere', async () => {
    const { plant, restored, lines, path, directory } = await withJournal()
    const note = await atWork(plant, async ({ foundation }) => {
      return (await latestCheckpoint(foundation.db, foundation.organizationId))?.note ?? assert.fail()
    })
    const open = () => openRestored({ ...restored, environment, by: { journal: directory }, witnessed: [note] })
    writeFileSync(path, `${lines.slice(0, -1).join('\n')}\n`)
    await assert.rejects(open(), { code: 'badProof', reason: 'journalShort' })
    await atWork(restored, ({ issue }) => assert.rejects(issue('none'), { reason: 'issuanceClosed' }))
    writeFileSync(path, `${lines.join('\n')}\n`)
    assert.ok(await open())
  })

  test('a line that was not written to its end does not count, and the next process writes it again', async () => {
    const { plant, path, lines } = await withJournal()
    writeFileSync(path, `${lines.slice(0, -1).join('\n')}\n${(lines.at(-1) ?? '').slice(0, 300)}`)
    await atWork(plant, ({ settle }) => settle())
    const again = readFileSync(path, 'utf8').split('\n').slice(0, -1)
    assert.equal(again.length, lines.length)
    assert.equal(again.at(-1)?.split(' ')[1]?.slice(0, 200), lines.at(-1)?.split(' ')[1]?.slice(0, 200))
  })

  test('one of another installation is not continued', async () => {
    const { plant, directory } = await withJournal()
    const stranger = await makePlant('sqlite:sealworks.db')
    renameSync(directory, join(stranger.directory, 'journal'))
    await assert.rejects(
      atWork(stranger, ({ settle }) => settle()),
      { code: 'unavailable', reason: 'journalOther' },
    )
    mkdirSync(directory)
    const [name] = await journalFiles(join(stranger.directory, 'journal'))
    appendFileSync(join(directory, name ?? ''), readFileSync(join(stranger.directory, 'journal', name ?? '')))
    await atWork(plant, ({ settle }) => settle())
  })

  test('without it a reason opens, the old journal is set aside, and a new one begins', async () => {
    const { plant, restored, directory } = await withJournal()
    await openRestored({ ...restored, environment, by: { override: 'half of the journal is lost' } })
    assert.deepEqual(await journalFiles(directory), [])
    const [aside] = readdirSync(directory)
    assert.match(aside ?? '', /^before-/)
    await atWork({ ...restored, directory: plant.directory }, async ({ issue, settle }) => {
      await issue('new')
      await settle()
    })
    assert.equal((await journalFiles(directory)).length, 1)
  })
})

async function* of(octets: Uint8Array) {
  yield octets
}
