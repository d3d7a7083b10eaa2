/** What was backed up is restored, on both engines, and learns what came after. R22, R23. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openAccess } from '#access/access.ts'
import type { Role } from '#access/rights.ts'
import { utf8 } from '#base/bytes.ts'
import { secret, type Secret } from '#base/secret.ts'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { verifyAuditLog } from '#audit/verify.ts'
import { uuidv7 } from '#base/world.ts'
import { findCertificates, holdCertificate, revokeCertificate } from '#ca/certificates.ts'
import { issueCRL } from '#ca/crl.ts'
import { createEndpoint, createEnrollmentSecret } from '#ca/endpoint.ts'
import { testRequest } from '#ca/testing.ts'
import { keep } from '#store/batch.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { atWork, environment, Fault, makePlant, removeAll, restoreBeside, type Working } from './backup-testing.ts'
import type { Foundation } from './compose.ts'
import { openRestored } from './restore.ts'

interface Engine {
  readonly name: 'sqlite' | 'postgres'
  readonly skip: string | false
  url(): Promise<string>
}

let server: TestServer | undefined
const engines: readonly Engine[] = [
  { name: 'sqlite', skip: false, url: async () => 'sqlite:sealworks.db' },
  {
    name: 'postgres',
    skip: postgresMissing(), // the driver takes the socket's directory from the query
    url: async () => (await (server as TestServer).createDatabase()).replace('@/', '@localhost/'),
  },
]

before(async () => {
  if (postgresMissing() === false) server = await startPostgres({ durable: false })
})
after(async () => {
  await server?.stop()
  removeAll()
})

for (const { name, skip, url } of engines) {
  describe(`backup on ${name}`, { skip }, () => {
    test('what was restored is what was backed up, and issues nothing until it is told (R22)', async () => {
      const plant = await makePlant(await url())
      const { file, known } = await atWork(plant, async ({ issue, backUp, ca, foundation }) => {
        await keep(
          foundation.db,
          ['running', 'finished'].map((state) => ({
            sql: `INSERT INTO campaign (id, organization_id, version, name, terms, release_id, component, release_version, state, size, wave,
                created_at) VALUES (?, ?, 1, ?, '{}', 'r', 'motor', '2', ?, 1, 0, 1)`,
            parameters: [state, foundation.organizationId, `was-${state}`, state],
          })),
        )
        const revoked = await issue('one')
        await issue('two')
        await revokeCertificate(ca.context, revoked, 'keyCompromise', 'person:ada')
        return { file: await backUp(), known: await findCertificates(ca.context, {}, { limit: 100 }) }
      })
      const restored = await restoreBeside(plant, file, await url())
      await atWork(restored, async ({ ca, issue, foundation }) => {
        assert.deepEqual(await findCertificates(ca.context, {}, { limit: 100 }), known)
        const campaigns = await foundation.db.query('SELECT name, state, reason FROM campaign ORDER BY name')
        assert.deepEqual(
          campaigns.map(({ name, state }) => [name, state]),
          [
            ['was-finished', 'finished'],
            ['was-running', 'paused'], // it may have been stopped since
          ],
        )
        assert.match(String(campaigns[1]?.['reason']), /restored/)
        await assert.rejects(issue('three'), { code: 'unavailable', reason: 'issuanceClosed' })
        assert.equal((await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')).entries, 1)
      })
      const tokens = await atWork(restored, async ({ foundation: { db, audit, organizationId } }) => {
        const access = openAccess({ database: db, world: restored.world, audit, organizationId })
        const tokenOf = async (name: string, role: Role): Promise<Secret> => {
          const { id } = await access.createPrincipal({ kind: 'person', name, roles: [role] }, 'person:ada')
          return (await access.createToken(id, { name: 'safe', lifetimeSeconds: 3600 }, 'person:ada')).token
        }
        return [await tokenOf('Bo', 'approver'), await tokenOf('Rui', 'approver'), await tokenOf('Eve', 'auditor')] as const
      })
      const [bo, rui, eve] = tokens
      const approvals = { ...restored.config.approvals, overridePeople: 2 }
      const asking = { ...restored, environment, config: { ...restored.config, approvals } }
      const override = 'the journals burned'
      for (const consents of [[], [bo], [bo, bo], [bo, eve]])
        await assert.rejects(openRestored({ ...asking, by: { override, consents } }), { reason: 'overrideAlone' })
      const forged = secret(utf8('swt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'))
      await assert.rejects(openRestored({ ...asking, by: { override, consents: [bo, forged] } }), { code: 'unauthenticated' })
      await openRestored({ ...asking, by: { override, consents: [bo, rui] } })
      await atWork(restored, async ({ issue, foundation }) => {
        await issue('three')
        const acts = await foundation.db.query<{ act: string; facts: string }>(
          "SELECT act, facts FROM audit_entry WHERE act LIKE 'backup.%' ORDER BY id",
        )
        assert.deepEqual(
          acts.map(({ act }) => act),
          ['backup.restore', 'backup.override'],
        )
        assert.match(acts[0]?.facts ?? '', /"paused":"was-running"/)
        assert.match(acts[1]?.facts ?? '', /the journals burned/)
        assert.match(acts[1]?.facts ?? '', /"consents":"person:[0-9a-f-]+ person:[0-9a-f-]+"/)
      })
      await assert.rejects(openRestored({ ...restored, environment, by: { override: 'again' } }), { reason: 'issuanceOpen' })
    })

    test('the journal brings back what came after the backup, and the audit log goes on as the one it was', async () => {
      const plant = await makePlant(await url())
      const before = await atWork(plant, async ({ issue, backUp, ca, settle, foundation }) => {
        const [early, kept] = [await issue('early'), await issue('kept')]
        const enrollOnce = await oneTimeSecret(ca)
        await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')
        await settle()
        await issue('waits for its place in the log') // in the backup, but not yet in order
        const file = await backUp()
        const [late, lost] = [await issue('late'), await issue('lost')]
        await revokeCertificate(ca.context, early, 'keyCompromise', 'person:ada')
        await revokeCertificate(ca.context, late, 'superseded', 'person:ada')
        await holdCertificate(ca.context, kept, 'person:ada')
        await enrollOnce(ca)
        const published = await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')
        await settle()
        const { note } = (await latestCheckpoint(foundation.db, foundation.organizationId)) ?? assert.fail()
        return { file, early, kept, late, lost, enrollOnce, published, note, states: await statesOf(foundation) }
      })
      const restored = await restoreBeside(plant, before.file, await url())
      // lists go on before the journals are read, with numbers that were never given
      await atWork(restored, async ({ ca }) => {
        const { crlNumber } = await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')
        assert.ok(crlNumber > before.published.crlNumber, `${crlNumber}`)
      })
      const replayed = await openRestored({ ...restored, environment, by: { journal: join(plant.directory, 'journal') } })
      assert.ok(replayed)
      assert.deepEqual([replayed.certificates, replayed.changes], [3, 3])
      assert.equal(replayed.ofLostAuthorities, 0)

      await atWork(restored, async ({ ca, foundation, issue, settle }) => {
        assert.deepEqual(await statesOf(foundation), before.states)
        await assert.rejects(before.enrollOnce(ca), { reason: 'secretUsed' })
        // what was lost can be revoked, and stands on the next list
        await revokeCertificate(ca.context, before.lost, 'keyCompromise', 'person:ada')
        assert.equal((await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')).entries, 4)
        await issue('new')
        await settle()
        const { db, organizationId } = foundation
        const { publicKey } = plant.verifierKey
        const verified = await verifyAuditLog(db, {
          organizationId,
          clock: plant.world.clock,
          publicKey,
          witnessed: [before.note],
        })
        assert.deepEqual(verified.problems, [])
        assert.equal(verified.signedSize, verified.size)
      })
    })

    test('a restore that broke off is begun again in the same database, and one that is in use is refused', async () => {
      const plant = await makePlant(await url())
      const file = await atWork(plant, ({ backUp }) => backUp())
      const target = await url()
      for (const point of ['backup rows kept', 'backup loaded']) {
        plant.world.fault.at = point
        await assert.rejects(restoreBeside(plant, file, target), Fault)
      }
      plant.world.fault.at = undefined
      const restored = await restoreBeside(plant, file, target)
      await atWork(restored, ({ issue }) => assert.rejects(issue('none'), { reason: 'issuanceClosed' }))
      if (name === 'postgres')
        await assert.rejects(restoreBeside(plant, file, target), { code: 'conflict', reason: 'restoreDatabase' })
      // entries are guarded again, which no row of the backup says
      const { foundation } = await atWork(restored, async (working) => {
        const change = working.foundation.db.transaction((tx) => tx.query("UPDATE audit_entry SET act = 'nothing'"))
        await assert.rejects(change, /never changed/)
        return working
      })
      assert.equal(foundation.db.id, name)
    })

    test('a serial number never comes twice, though a restored authority issues at the same times (R23)', async () => {
      const plant = await makePlant(await url())
      const serials = new Set<string>()
      const issueSome = ({ issue, foundation }: Working) =>
        Promise.all(Array.from({ length: 20 }, (_, n) => issue(`device ${n}`))).then(async (ids) => {
          for (const { id, serial } of await serialsOf(foundation)) {
            if (!ids.includes(id)) continue
            assert.ok(!serials.has(serial), 'a serial number twice')
            serials.add(serial)
          }
        })
      const file = await atWork(plant, ({ backUp }) => backUp())
      const first = plant.world.clock.now()
      await atWork(plant, issueSome)
      for (let n = 0; n < 2; n++) {
        const restored = await restoreBeside(plant, file, await url())
        await openRestored({ ...restored, environment, by: { override: 'a test without its journal' } })
        plant.world.time.ahead += first - plant.world.clock.now() // the clock went back to when the others were issued
        await atWork(restored, issueSome)
      }
      assert.equal(serials.size, 60)
    })
  })
}

describe('backup across engines', { skip: postgresMissing() }, () => {
  test('20,000 certificates go from SQLite to PostgreSQL and back, row for row', async () => {
    const plant = await makePlant('sqlite:sealworks.db')
    const { file, all } = await atWork(plant, async (working) => {
      await manyCertificates(working, 20_000)
      await working.settle()
      return { file: await working.backUp(), all: await contentsOf(working.foundation) }
    })
    const onPostgres = await restoreBeside(plant, file, await (engines[1] as Engine).url())
    const again = await atWork(onPostgres, async (working) => {
      assert.deepEqual(await contentsOf(working.foundation), all)
      return working.backUp()
    })
    const back = await restoreBeside(plant, again)
    assert.deepEqual(await atWork(back, ({ foundation }) => contentsOf(foundation)), all)
  })
})

/** Rows as enrollment writes them, without its signatures. */
async function manyCertificates({ foundation: { db, audit, world }, ca }: Working, count: number): Promise<void> {
  const columns = ['id', 'organization_id', 'version', 'authority_id', 'serial_number', 'profile', 'subject', 'key_hash']
  const more = ['not_before', 'not_after', 'state', 'crl_shard', 'der', 'created_at']
  const { id: authority } = ca.authorities.byAddress('line1')
  for (let done = 0; done < count; done += 2000) {
    await db.transaction(async (tx) => {
      const rows = Array.from({ length: 2000 }, (_, n) => {
        const der = new Uint8Array(world.random.octets(500))
        const names = [uuidv7(world), 'default', 1, authority, new Uint8Array(world.random.octets(16)), 'tls-client']
        return [
          ...names,
          `CN=device ${done + n}`,
          new Uint8Array(world.random.octets(32)),
          0,
          2e12,
          'active',
          0,
          der,
          world.clock.now(),
        ]
      })
      await tx.insertMany('certificate', [...columns, ...more], rows)
      for (const [id] of rows)
        await audit.record(tx, {
          actor: 'system',
          act: 'certificate.issue',
          object: `certificate:${String(id)}`,
          outcome: 'done',
        })
    })
  }
}

/** A digest of each table that a backup holds whole. */
async function contentsOf({ db }: Foundation): Promise<Readonly<Record<string, string>>> {
  const tables = [
    'certificate',
    'authority',
    'wrapped_key',
    'principal',
    'access_token',
    'crl',
    'crl_part',
    'audit_node',
    'key_binding',
  ]
  const digests: Record<string, string> = {}
  for (const table of tables) {
    const digest = createHash('sha256')
    const order = table === 'audit_node' ? 'level, node_index' : 'id'
    for await (const row of db.iterate(`SELECT * FROM ${table} ORDER BY ${order}`)) {
      for (const name of Object.keys(row).toSorted()) {
        const value = row[name]
        digest.update(`${name}=`).update(value instanceof Uint8Array ? value : String(value))
      }
    }
    digests[table] = digest.digest('hex')
  }
  const entries =
    'SELECT id, log_index, hex(leaf_hash) AS leaf, facts FROM audit_entry WHERE log_index IS NOT NULL ORDER BY log_index'
  const digest = createHash('sha256')
  for await (const { id, log_index: index, leaf, facts } of db.iterate(entries))
    digest.update(JSON.stringify([id, index, String(leaf).toLowerCase(), facts]))
  return { ...digests, entries: digest.digest('hex') }
}

/** An endpoint and a device's one-time secret there. @returns the device's way to its certificate */
async function oneTimeSecret({ context, authorities }: Working['ca']): Promise<(ca: Working['ca']) => Promise<unknown>> {
  const endpoint = await createEndpoint(
    context,
    {
      ...{ label: 'line', protocol: 'est', authorityId: authorities.byAddress('line1').id, profile: 'ldevid' },
      rules: { secrets: true },
    },
    'person:ada',
  )
  const { userName, password } = await createEnrollmentSecret(
    context,
    { endpointId: endpoint.id, validSeconds: 86_400 },
    'person:ada',
  )
  return async (ca) => {
    const identity = await ca.enrollment.authenticate(endpoint, { chain: [], basic: { userName, password } })
    const request = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    return ca.enrollment.enroll({ endpoint, operation: 'enroll', request, identity })
  }
}

const statesOf = ({ db }: Foundation) =>
  db.query(
    `SELECT id, state, revoked_at, revocation_reason, serial_number, product_serial, key_hash, der FROM certificate
      WHERE profile <> 'ocsp-responder' ORDER BY id`,
  )

const serialsOf = ({ db }: Foundation) =>
  db.query<{ id: string; serial: string }>('SELECT id, hex(serial_number) AS serial FROM certificate')
