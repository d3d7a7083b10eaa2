/** The whole server, killed while a plant works with it: a few seconds of what `server-kill.ts` runs for long. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createAuditLog } from '#audit/log.ts'
import { revokeCertificate } from '#ca/certificates.ts'
import { createEndpoint } from '#ca/endpoint.ts'
import { enrollment, type IssuedAnswer } from '#ca/enrollment.ts'
import { hierarchy, person, testCA, testRequest } from '#ca/testing.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { parseCertificate, serialHex } from '#x509/certificate.ts'
import { type Account, check } from './server-check.ts'
import { type Outcome, simulate } from './server-kill.ts'

function assertWhole(outcome: Outcome): void {
  assert.deepEqual(outcome.problems, [])
  assert.ok(outcome.certificates > 0 && outcome.lost > 0, 'nobody was disturbed at work')
}

test('decision 10: a server that is killed at random loses and doubles nothing', async () => {
  const outcome = await simulate({ seconds: 1.5, seed: 21, lines: 16, stop: 'random' })
  assertWhole(outcome)
  assert.ok(outcome.kills > 0, 'the server was not killed')
})

test('decision 16: the same with several threads that take connections', async () => {
  const outcome = await simulate({ seconds: 1.5, seed: 24, lines: 16, stop: 'random', workers: 2 })
  assertWhole(outcome)
  assert.ok(outcome.kills > 0, 'the server was not killed')
})

test('decision 10: the same on PostgreSQL', { skip: postgresMissing() }, async (t) => {
  const postgres = await startPostgres()
  t.after(postgres.stop)
  const outcome = await simulate({
    seconds: 1,
    seed: 23,
    lines: 8,
    stop: 'random',
    workers: 2,
    database: await postgres.createDatabase(),
  })
  assertWhole(outcome)
  assert.ok(outcome.kills > 0, 'the server was not killed')
})

/** Whatever a kill test may name: a new fault point is tested from the moment it stands in the product. */
const source = join(import.meta.dirname, '../../src')
// those of backups and restores are stopped at in `server/restore.test.ts` and `server/restore-broken.test.ts`
// those of signing jobs in `signing-kill.test.ts`, of time stamps in `tsa-kill.test.ts`; those of nodes, devices and agents beside
// them (licenses, updates and commands in their rooms), in `server/orders-killed.test.ts`, `births-kill.test.ts`, `devices/ownership` and `agent-kill.test.ts`
const points = globSync('**/*.ts', {
  cwd: source,
  exclude: [
    '**/*.test.ts',
    'backup/*',
    'server/restore.ts',
    'signing/**',
    'orders/**',
    'devices/**',
    'agent/**',
    'updates/**',
    'commands/**',
    'licenses/**',
  ],
})
  .flatMap((file) => [...readFileSync(join(source, file), 'utf8').matchAll(/faults\.reach\('([^']+)'\)/g)])
  .map(([, point]) => point as string)
  // the sequencer's first: who stands there has a lease, which outlives a killed server for a while
  .toSorted((a, b) => Number(b.startsWith('audit')) - Number(a.startsWith('audit')))
/** What every request reaches is stopped in the middle of many. */
const countOf = (point: string): number => (/^certificate (?:inserted|kept|signed)$/.test(point) ? 10 : 1)

test(`decision 19: a server that stops exactly at a fault point loses and doubles nothing (${points.join(', ')})`, async () => {
  assert.ok(points.length >= 5, 'the fault points were not found')
  const outcome = await simulate({
    seconds: 0,
    seed: 22,
    lines: 24,
    stop: { at: points.map((point) => `${point}#${countOf(point)}`) },
  })
  assertWhole(outcome)
  assert.equal(outcome.kills, points.length)
})

test('the check finds what is missing, there twice, or there for nobody', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const { context, authorities } = ca
  const { db, keys, world } = context
  await createAuditLog({ database: db, world, organizationId: 'default', keys, origin: 'test.example/audit' })
  const authorityId = authorities.byAddress('line1').id
  const rules = { hardwareType: '1.3.6.1.4.1.99999.7.1' }
  const births = await createEndpoint(
    context,
    { label: 'births', protocol: 'est', authorityId, profile: 'idevid', rules },
    person,
  )
  const { enroll } = enrollment(context, authorities, async () => {})
  const birth = async (value: string): Promise<IssuedAnswer> => {
    const request = await testRequest({ subject: [{ type: 'serialNumber', value }] })
    const identity = { kind: 'person', principalId: 'officer' } as const
    return (await enroll({ endpoint: births, operation: 'enroll', request, identity })) as IssuedAnswer
  }
  const [whole, lost, unknown, revoked] = [await birth('A-1'), await birth('A-2'), await birth('A-3'), await birth('A-4')]
  await revokeCertificate(context, revoked.certificateId, 'keyCompromise', person)
  const account: Account = {
    received: [whole, lost, unknown, revoked].map(({ certificate }) => ({ endpoint: 'births', certificate })),
    revoked: new Set([serialOf(revoked.certificate)]),
    byHand: [],
    secrets: [],
    crlNumbers: [],
  }
  const unplaced = /^audit log: (?:\d+ entries wait|only)/ // there is no sequencer here
  const found = async (told: Account): Promise<readonly string[]> =>
    (await check(db, told, { auditKey: undefined })).filter((problem) => !unplaced.test(problem))
  assert.deepEqual(await found(account), [])

  await db.transaction(async (tx) => {
    await tx.query('DELETE FROM certificate WHERE id = ?', lost.certificateId)
    await tx.query("UPDATE certificate SET state = 'active' WHERE id = ?", revoked.certificateId)
    await tx.query("UPDATE outbox SET payload = replace(payload, ?, 'other')", revoked.certificateId)
    const columns = `organization_id, version, serial_number, profile, endpoint_id, subject, product_serial, key_hash,
      not_before, not_after, state, crl_shard, der, created_at`
    await tx.query(
      `INSERT INTO certificate (id, authority_id, ${columns}) SELECT 'copy', 'elsewhere', ${columns} FROM certificate WHERE id = ?`,
      whole.certificateId,
    )
  })
  const [row] = await db.query('SELECT product_serial, key_hash FROM certificate WHERE id = ?', whole.certificateId)
  assert.ok(row)
  const keyHash = (row['key_hash'] as Uint8Array).toHex()
  const problems = await found({
    ...account,
    received: account.received.filter(({ certificate }) => certificate !== unknown.certificate),
    secrets: ['nobody'],
    crlNumbers: [7, 7],
  })
  assert.deepEqual(
    problems.filter((problem) => !problem.startsWith('request ')),
    [
      `serial number ${serialOf(whole.certificate)} twice`,
      `received certificate ${serialOf(lost.certificate)} lost`,
      `certificate ${whole.certificateId} of births, which nobody received`,
      `certificate ${unknown.certificateId} of births, which nobody received`,
      `certificate for the key at births ${keyHash} twice`,
      'birth of product A-1 twice',
      `birth of key ${keyHash} twice`,
      'certificate:copy without its audit entry',
      `audit entry for certificate:${lost.certificateId} without its certificate`,
      `acknowledgment for ${serialOf(revoked.certificate)} without its revocation`,
      `audit entry for certificate:${revoked.certificateId} without its revocation`,
      'one-time secret nobody lost',
      'CRL number handed out 7 twice',
      '1 certificates of endpoints without a request',
      'outbox message for other without its revocation',
    ],
  )
  assert.equal(problems.filter((problem) => problem.startsWith('request ')).length, 1)
})

const serialOf = (der: Uint8Array): string => serialHex(parseCertificate(der))
