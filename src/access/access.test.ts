/** People, services, tokens and sessions on both engines; whatever changes is in the audit log. @module */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { inspect } from 'node:util'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import type { Secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { Database, SqlValue } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { type Access, openAccess } from './access.ts'
import { accessMigrations } from './migrations.ts'
import { actorOf } from './principals.ts'
import { checkCsrfToken, csrfToken, forgetEndedSessions } from './sessions.ts'
import { TOKEN_LIFETIME_MAX_SECONDS } from './tokens.ts'

const organizationId = 'default'
const HOUR = 3_600_000

interface Setting {
  readonly database: Database
  readonly access: Access
  /** The same tables as another organization sees them. */
  readonly elsewhere: Access
  readonly world: World
  readonly time: { ahead: number }
  /** Acts and outcomes, oldest first. */
  acts(): Promise<readonly string[]>
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-access-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const database = url === undefined ? sqlite({ path: join(directory, 'access.db') }) : postgres({ url })
  try {
    const { random } = systemWorld()
    const time = { ahead: 0 }
    let tick = 1_800_000_000_000
    // moves on with each look, so that what is made later sorts later
    const world: World = { random, clock: { now: () => ++tick + time.ahead }, faults: { reach() {} } }
    await migrate(database, [...auditMigrations, ...accessMigrations], world)
    const open = (organization: string) => {
      const audit = auditRecorder({ database, world, organizationId: organization })
      return openAccess({ database, world, audit, organizationId: organization })
    }
    await body({
      database,
      access: open(organizationId),
      elsewhere: open('other'),
      world,
      time,
      async acts() {
        const { entries } = await listAuditEntries(database, { organizationId, limit: 1000 })
        return entries.map(({ act, outcome, reason }) => [act, outcome, reason ?? ''].join(' ').trim()).toReversed()
      },
    })
  } finally {
    await database.close()
    await rm(directory, { recursive: true })
  }
}

function onEach(title: string, body: (setting: Setting) => Promise<void>): void {
  test(`sqlite: ${title}`, () => inSetting('sqlite', body))
  test(`postgres: ${title}`, { skip: withoutPostgres }, () => inSetting('postgres', body))
}

const text = (credential: Secret): string => new TextDecoder().decode(credential.reveal('present it'))
const month = { name: 'line 1', lifetimeSeconds: 30 * 86_400 }

onEach('people and services are made, found and listed by name', async ({ access, elsewhere, acts }) => {
  const ada = await access.createPrincipal(
    { kind: 'person', name: 'Ada', roles: ['pki-officer', 'administrator', 'pki-officer'] },
    'system',
  )
  const mes = await access.createPrincipal({ kind: 'service', name: 'MES' }, actorOf(ada))
  assert.deepEqual(ada.roles, ['administrator', 'pki-officer'])
  assert.deepEqual(await access.findPrincipal(ada.id), ada)
  assert.deepEqual(await access.findPrincipalByName('MES'), mes)
  const first = await access.listPrincipals({ limit: 1 })
  assert.deepEqual(first.principals, [ada])
  const second = await access.listPrincipals({ limit: 1, cursor: first.next })
  assert.deepEqual(second, { principals: [mes], next: undefined })
  assert.deepEqual(await acts(), ['principal.create done', 'principal.create done'])
  await assert.rejects(access.findPrincipal('nobody'), { code: 'notFound' })
  await assert.rejects(elsewhere.findPrincipal(ada.id), { code: 'notFound' })
  assert.deepEqual((await elsewhere.listPrincipals()).principals, [])
})

onEach('a name is used once, also by many at once, and has a form', async ({ access, acts }) => {
  const attempts = Array.from({ length: 5 }, () => access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system'))
  const results = await Promise.allSettled(attempts)
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const result of results) if (result.status === 'rejected') assert.equal(result.reason.reason, 'principalExists')
  assert.equal((await access.listPrincipals()).principals.length, 1)
  assert.equal((await acts()).filter((act) => act === 'principal.create refused principalExists').length, 4)
  for (const name of ['', ' Ada', 'Ada ', 'A\nda', 'A\0da', '\ud800', 'x'.repeat(101)]) {
    await assert.rejects(access.createPrincipal({ kind: 'person', name }, 'system'), {
      code: 'malformed',
      reason: 'principalName',
    })
  }
})

onEach('roles are given and taken, each change once in the log', async ({ access, acts }) => {
  const { id } = await access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system')
  await access.grantRole(id, 'auditor', 'system')
  await access.grantRole(id, 'auditor', 'system')
  assert.deepEqual((await access.findPrincipal(id)).roles, ['auditor'])
  await access.revokeRole(id, 'auditor', 'system')
  await access.revokeRole(id, 'auditor', 'system')
  assert.deepEqual((await access.findPrincipal(id)).roles, [])
  assert.deepEqual(await acts(), ['principal.create done', 'role.grant done', 'role.revoke done'])
  await assert.rejects(access.grantRole('nobody', 'auditor', 'system'), { code: 'notFound' })
  await assert.rejects(access.revokeRole('nobody', 'auditor', 'system'), { code: 'notFound' })
})

onEach('the last active administrator stays', async ({ access, acts }) => {
  const { id: one } = await access.createPrincipal({ kind: 'person', name: 'One', roles: ['administrator'] }, 'system')
  const refusal = { code: 'conflict', reason: 'lastAdministrator' }
  await assert.rejects(access.revokeRole(one, 'administrator', 'system'), refusal)
  await assert.rejects(access.suspendPrincipal(one, 'system'), refusal)
  assert.deepEqual((await acts()).slice(1), [
    'role.revoke refused lastAdministrator',
    'principal.suspend refused lastAdministrator',
  ])
  const { id: two } = await access.createPrincipal({ kind: 'person', name: 'Two', roles: ['administrator'] }, 'system')
  await access.suspendPrincipal(two, 'system')
  await assert.rejects(access.revokeRole(one, 'administrator', 'system'), refusal, 'a suspended administrator does not count')
  await access.resumePrincipal(two, 'system')
  await access.revokeRole(one, 'administrator', 'system')
  await assert.rejects(access.revokeRole(two, 'administrator', 'system'), refusal)
})

onEach('two administrators who remove each other at once leave one', async ({ access }) => {
  const names = ['One', 'Two']
  const made = await Promise.all(
    names.map((name) => access.createPrincipal({ kind: 'person', name, roles: ['administrator'] }, 'system')),
  )
  const results = await Promise.allSettled(made.map(({ id }) => access.revokeRole(id, 'administrator', 'system')))
  assert.deepEqual(results.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
})

onEach('a token lets its principal in with the roles of the moment', async ({ access, elsewhere }) => {
  const mes = await access.createPrincipal({ kind: 'service', name: 'MES', roles: ['service'] }, 'system')
  const { token, expiresAt } = await access.createToken(mes.id, month, 'system')
  assert.match(text(token), /^swt_[A-Za-z0-9_-]{43}$/)
  assert.deepEqual(await access.authenticateToken(text(token)), mes)
  await access.grantRole(mes.id, 'auditor', 'system')
  await access.revokeRole(mes.id, 'service', 'system')
  assert.deepEqual((await access.authenticateToken(text(token))).roles, ['auditor'])
  await assert.rejects(elsewhere.authenticateToken(text(token)), { code: 'unauthenticated' })
  const [entry] = await access.listTokens(mes.id)
  assert.equal(entry?.name, 'line 1')
  assert.deepEqual(entry?.expiresAt, expiresAt)
  assert.ok(entry?.lastUsedAt !== undefined)
})

onEach('a token that expired, was revoked, was altered or never was does not', async ({ access, time, acts }) => {
  const { id } = await access.createPrincipal({ kind: 'service', name: 'MES' }, 'system')
  const { id: tokenId, token } = await access.createToken(id, month, 'system')
  const good = text(token)
  const flipped = good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A')
  for (const bad of [
    '',
    'swt_',
    good.slice(0, -1),
    `${good}A`,
    flipped,
    ` ${good}`,
    good.replace('swt_', 'sws_'),
    good.toUpperCase(),
  ]) {
    await assert.rejects(access.authenticateToken(bad), { code: 'unauthenticated', reason: 'tokenUnknown' }, bad)
  }
  await access.authenticateToken(good)
  time.ahead = 30 * 24 * HOUR - 60_000
  await access.authenticateToken(good)
  time.ahead = 30 * 24 * HOUR
  await assert.rejects(access.authenticateToken(good), { code: 'unauthenticated', reason: 'tokenExpired' })
  time.ahead = 0
  await access.revokeToken(tokenId, 'system')
  await access.revokeToken(tokenId, 'system')
  await assert.rejects(access.authenticateToken(good), { code: 'unauthenticated', reason: 'tokenUnknown' })
  await assert.rejects(access.revokeToken('nothing', 'system'), { code: 'notFound' })
  assert.deepEqual(await acts(), [
    'principal.create done',
    'token.create done',
    'token.revoke done',
    'token.revoke refused tokenNotListed',
  ])
})

onEach('a suspended principal gets in with nothing, and again when resumed', async ({ access }) => {
  const { id } = await access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system')
  const { token } = await access.createToken(id, month, 'system')
  const { session } = await access.signIn(text((await access.createSignInLink(id, 'system')).link))
  const { link } = await access.createSignInLink(id, 'system')
  await access.suspendPrincipal(id, 'system')
  const refusal = { code: 'unauthenticated', reason: 'principalSuspended' }
  await assert.rejects(access.authenticateToken(text(token)), refusal)
  await assert.rejects(access.authenticateSession(text(session)), refusal)
  await assert.rejects(access.signIn(text(link)), { code: 'unauthenticated', reason: 'linkUnusable' })
  await access.resumePrincipal(id, 'system')
  await access.authenticateToken(text(token))
  await access.authenticateSession(text(session))
})

onEach('when a token was last used is known to the hour, at one write an hour', async ({ access, time, database }) => {
  const { id } = await access.createPrincipal({ kind: 'service', name: 'MES' }, 'system')
  const { token } = await access.createToken(id, month, 'system')
  const lastUse = async () => (await access.listTokens(id))[0]?.lastUsedAt?.getTime()
  assert.equal(await lastUse(), undefined)
  await access.authenticateToken(text(token))
  const first = await lastUse()
  await access.authenticateToken(text(token))
  assert.equal(await lastUse(), first)
  time.ahead = HOUR
  await access.authenticateToken(text(token))
  assert.ok(((await lastUse()) ?? 0) - (first ?? 0) >= HOUR)
  assert.equal((await database.query('SELECT id FROM access_token')).length, 1)
})

onEach('a token has a name and a bounded life, and belongs to someone', async ({ access }) => {
  const { id } = await access.createPrincipal({ kind: 'service', name: 'MES' }, 'system')
  for (const lifetimeSeconds of [0, -1, 1.5, Number.NaN, TOKEN_LIFETIME_MAX_SECONDS + 1]) {
    await assert.rejects(access.createToken(id, { name: 'x', lifetimeSeconds }, 'system'), { reason: 'tokenLifetime' })
  }
  for (const name of ['', 'a\tb', 'x'.repeat(101)]) {
    await assert.rejects(access.createToken(id, { name, lifetimeSeconds: 60 }, 'system'), { reason: 'tokenName' })
  }
  await assert.rejects(access.createToken('nobody', month, 'system'), { code: 'notFound' })
  assert.deepEqual(await access.listTokens(id), [])
})

onEach('R25: a sign-in link opens one session, once', async ({ access, acts }) => {
  const ada = await access.createPrincipal({ kind: 'person', name: 'Ada', roles: ['auditor'] }, 'system')
  const { link } = await access.createSignInLink(ada.id, 'system')
  const results = await Promise.allSettled(Array.from({ length: 4 }, () => access.signIn(text(link))))
  const opened = results.filter((result) => result.status === 'fulfilled').map(({ value }) => value)
  assert.equal(opened.length, 1)
  const { session, principal } = opened[0] ?? assert.fail()
  assert.deepEqual(principal, ada)
  assert.deepEqual(await access.authenticateSession(text(session)), ada)
  await access.endSession(text(session))
  await access.endSession(text(session))
  await assert.rejects(access.authenticateSession(text(session)), { code: 'unauthenticated', reason: 'signInNeeded' })
  const log = await acts()
  assert.equal(log.filter((act) => act === 'session.start done').length, 1)
  assert.equal(log.filter((act) => act === 'session.start refused linkUnusable').length, 3)
  assert.equal(log.filter((act) => act === 'session.end done').length, 1)
})

onEach('a link expires, is for people, and cannot be made up', async ({ access, time }) => {
  const ada = await access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system')
  const mes = await access.createPrincipal({ kind: 'service', name: 'MES' }, 'system')
  await assert.rejects(access.createSignInLink(mes.id, 'system'), { code: 'notFound' })
  const { link } = await access.createSignInLink(ada.id, 'system')
  const refusal = { code: 'unauthenticated', reason: 'linkUnusable' }
  for (const bad of ['', 'swl_', `swl_${'A'.repeat(43)}`, text(link).replace('swl_', 'swt_')])
    await assert.rejects(access.signIn(bad), refusal)
  time.ahead = 15 * 60_000
  await assert.rejects(access.signIn(text(link)), refusal)
  time.ahead = 0
  await access.signIn(text(link))
})

onEach('a session ends when it is not used, and at the end of the day', async ({ access, time }) => {
  const { id } = await access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system')
  const signIn = async () => text((await access.signIn(text((await access.createSignInLink(id, 'system')).link))).session)
  const idle = await signIn()
  const busy = await signIn()
  const refusal = { code: 'unauthenticated', reason: 'sessionExpired' }
  for (time.ahead = 0; time.ahead < 11 * HOUR; time.ahead += HOUR / 2) await access.authenticateSession(busy)
  await assert.rejects(access.authenticateSession(idle), refusal)
  for (; time.ahead < 12 * HOUR; time.ahead += HOUR / 4) await access.authenticateSession(busy)
  await assert.rejects(access.authenticateSession(busy), refusal)
  for (const bad of ['', 'sws_', `sws_${'A'.repeat(43)}`])
    await assert.rejects(access.authenticateSession(bad), { reason: 'signInNeeded' })
})

onEach('sessions and links are forgotten a day after their end', async ({ access, database, time, world }) => {
  const { id } = await access.createPrincipal({ kind: 'person', name: 'Ada' }, 'system')
  const { session } = await access.signIn(text((await access.createSignInLink(id, 'system')).link))
  time.ahead = 24 * HOUR // the link ended more than a day before, the session has not
  await access.createSignInLink(id, 'system')
  assert.equal(await forgetEndedSessions(database, world), 0)
  time.ahead = 25 * HOUR
  assert.equal(await forgetEndedSessions(database, world), 1)
  await assert.rejects(access.authenticateSession(text(session)), { reason: 'sessionExpired' })
  time.ahead = 37 * HOUR
  assert.equal(await forgetEndedSessions(database, world), 1)
})

onEach('R28: neither the database nor what can be printed holds a usable credential', async ({ access, database }) => {
  const { id } = await access.createPrincipal({ kind: 'person', name: 'Ada Lovelace' }, 'system')
  const token = await access.createToken(id, month, 'system')
  const link = await access.createSignInLink(id, 'system')
  const second = await access.createSignInLink(id, 'system')
  const session = await access.signIn(text(second.link))
  const kept: SqlValue[] = []
  for (const table of ['principal', 'access_token', 'one_time_link', 'browser_session', 'audit_entry']) {
    const rows = await database.query(`SELECT * FROM ${table}`)
    assert.ok(rows.length > 0, table)
    kept.push(...rows.flatMap((row) => Object.values(row)))
  }
  const held = kept
    .map((value) => (value instanceof Uint8Array ? `${value.toHex()} ${new TextDecoder().decode(value)}` : String(value)))
    .join('\n')
  const shown = inspect([token, link, session], { depth: 9, showHidden: true }) + JSON.stringify([token, link, session])
  for (const credential of [token.token, link.link, session.session]) {
    const secretPart = text(credential).slice(4)
    const octets = Uint8Array.fromBase64(secretPart, { alphabet: 'base64url' }).toHex()
    for (const form of [secretPart, octets]) assert.ok(!held.includes(form) && !shown.includes(form))
  }
  const entries = await database.query<{ facts: string; object: string; actor: string }>(
    'SELECT actor, object, facts FROM audit_entry',
  )
  for (const entry of entries) assert.doesNotMatch(JSON.stringify(entry), /Ada/, 'decision 20: no personal data')
})

test('a CSRF token belongs to its session', () => {
  checkCsrfToken('sws_one', csrfToken('sws_one'))
  assert.notEqual(csrfToken('sws_one'), csrfToken('sws_two'))
  for (const sent of [undefined, '', csrfToken('sws_two'), `${csrfToken('sws_one')}=`]) {
    assert.throws(() => checkCsrfToken('sws_one', sent), { code: 'forbidden', reason: 'csrfToken' })
  }
})
