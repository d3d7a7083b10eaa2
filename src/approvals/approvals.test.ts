/** Approvals on both engines: who counts, what voids what, races, and a simple model beside the real thing. @module */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { type Access, openAccess } from '#access/access.ts'
import { approvers } from '#access/approvers.ts'
import { accessMigrations } from '#access/migrations.ts'
import { actorOf, type Principal } from '#access/principals.ts'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { systemWorld, type World } from '#base/world.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { type Act, actText } from './act.ts'
import { type ApprovalRule, type Approvals, openApprovals, type Voter } from './approvals.ts'
import { approvalsMigrations } from './migrations.ts'

const organizationId = 'default'
const KEY: Act = { kind: 'test.destroy', object: 'key:1', parameters: { label: 'root', generation: 1 } }
const RULE: ApprovalRule = { least: 2, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 }
const DAY = 86_400_000

interface Setting {
  readonly db: Database
  readonly access: Access
  readonly approvals: Approvals
  readonly time: { ahead: number }
  /** A person or service with this role; asked for twice, two tokens of the same. */
  who(name: string, role?: 'approver' | 'service'): Promise<Voter & { readonly principal: Principal }>
  acts(): Promise<readonly string[]>
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-approvals-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const db = url === undefined ? sqlite({ path: join(directory, 'approvals.db') }) : postgres({ url })
  try {
    const { random } = systemWorld()
    const time = { ahead: 0 }
    let tick = 1_800_000_000_000
    const world: World = { random, clock: { now: () => ++tick + time.ahead }, faults: { reach() {} } }
    await migrate(db, [...storeMigrations, ...auditMigrations, ...accessMigrations, ...approvalsMigrations], world)
    const audit = auditRecorder({ database: db, world, organizationId })
    const access = openAccess({ database: db, world, audit, organizationId })
    const kinds = [
      { id: 'test.destroy', describe: ({ parameters }: Act) => `Destroy the key ${JSON.stringify(parameters['label'])}` },
    ]
    await body({
      db,
      access,
      approvals: openApprovals({ db, world, audit, organizationId, people: approvers(organizationId), kinds }),
      time,
      async who(name, role = 'approver') {
        const kind = role === 'service' ? 'service' : 'person'
        const roles = role === 'service' ? (['service', 'approver'] as const) : ([role] as const)
        const principal = await access
          .createPrincipal({ kind, name, roles: [...roles] }, 'system')
          .catch(() => access.findPrincipalByName(name))
        return { actor: actorOf(principal), id: principal.id, kind, principal }
      },
      async acts() {
        const { entries } = await listAuditEntries(db, { organizationId, limit: 1000, filter: {} })
        return entries
          .filter(({ act }) => act.startsWith('approval.'))
          .map(({ act, outcome, reason }) => [act, outcome, reason ?? ''].join(' ').trim())
          .toReversed()
      },
    })
  } finally {
    await db.close()
    await rm(directory, { recursive: true })
  }
}

const done = async (approvals: Approvals, by: Voter, act = KEY, rule = RULE): Promise<boolean> =>
  (await approvals.perform(act, rule, by, async () => 'did')).state === 'done'

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`approvals on ${engine}`, { skip: engine === 'postgres' && withoutPostgres }, () => {
    test('R17: two others approve the very act, and it is done once', () =>
      inSetting(engine, async ({ approvals, who, acts }) => {
        const [ada, bo, cy] = [await who('ada'), await who('bo'), await who('cy')]
        const first = await approvals.perform(KEY, RULE, ada, async () => 'did')
        assert.ok(first.state === 'waiting')
        const { id, digest, description, state } = first.approval
        assert.deepEqual([description, state], ['Destroy the key "root"', 'pending'])
        assert.equal((await approvals.ask(KEY, RULE, ada)).id, id, 'asked for once')
        const often = await approvals.ask(KEY, { ...RULE, usesMax: 100 }, ada)
        assert.notDeepEqual(often.digest, digest, 'how often is part of what people agree to')
        await approvals.approve(id, { digest, comment: 'as planned' }, bo)
        assert.equal(await done(approvals, ada), false)
        assert.equal((await approvals.approve(id, { digest }, cy)).state, 'approved')
        assert.equal(await done(approvals, ada, { ...KEY, parameters: { ...KEY.parameters, generation: 2 } }), false)
        assert.equal(await done(approvals, ada), true)
        assert.equal((await approvals.find(id)).state, 'used')
        assert.equal(await done(approvals, ada), false, 'once')
        assert.deepEqual((await acts()).slice(1, 4), ['approval.ask done', 'approval.approve done', 'approval.approve done'])
      }))

    test('what does not count: who asked, a service, who may not, the same person by two tokens, another act', () =>
      inSetting(engine, async ({ access, approvals, who, acts }) => {
        const [ada, bo, machine] = [await who('ada'), await who('bo'), await who('machine', 'service')]
        const eve = await who('eve')
        await access.revokeRole(eve.id, 'approver', 'system')
        const { id, digest } = await approvals.ask(KEY, RULE, ada)
        await assert.rejects(approvals.approve(id, { digest }, ada), { code: 'forbidden', reason: 'approvalOwn' })
        await assert.rejects(approvals.approve(id, { digest }, machine), { code: 'forbidden', reason: 'approvalByService' })
        await assert.rejects(approvals.approve(id, { digest }, eve), { code: 'forbidden', reason: 'approvalNotYours' })
        await assert.rejects(approvals.approve(id, { digest: new Uint8Array(32) }, bo), {
          code: 'conflict',
          reason: 'approvalOther',
        })
        await approvals.approve(id, { digest }, bo)
        const again = await approvals.approve(id, { digest }, await who('bo'))
        assert.deepEqual([again.state, again.votes.length], ['pending', 1])
        const refused = (await acts()).filter((act) => act.includes('refused'))
        assert.equal(refused.length, 4)
      }))

    test('an edit voids what was said, also when it leads back to the act as it was', () =>
      inSetting(engine, async ({ approvals, who }) => {
        const [ada, bo, cy] = [await who('ada'), await who('bo'), await who('cy')]
        const { id, digest } = await approvals.ask(KEY, RULE, ada)
        await approvals.approve(id, { digest }, bo)
        const other = { ...KEY, parameters: { label: 'line1' } }
        await assert.rejects(approvals.amend(id, other, bo), { code: 'forbidden', reason: 'approvalNotAsked' })
        const edited = await approvals.amend(id, other, ada)
        assert.deepEqual([edited.state, edited.votes.length, edited.round], ['pending', 0, 2])
        await assert.rejects(approvals.approve(id, { digest }, cy), { reason: 'approvalOther' })
        const back = await approvals.amend(id, KEY, ada)
        assert.deepEqual(back.digest, digest)
        assert.equal((await approvals.approve(id, { digest }, cy)).state, 'pending', 'what bo said was about another round')
        assert.equal((await approvals.approve(id, { digest }, bo)).state, 'approved')
        assert.equal(await done(approvals, ada), true)
        await assert.rejects(approvals.amend(id, other, ada), { code: 'conflict' })
      }))

    test('who lost the right, or is suspended, does not count when it is used; even between the look and the use', () =>
      inSetting(engine, async ({ access, db, approvals, who }) => {
        const [ada, bo, cy, di] = [await who('ada'), await who('bo'), await who('cy'), await who('di')]
        const { id, digest } = await approvals.ask(KEY, RULE, ada)
        await approvals.approve(id, { digest }, bo)
        await approvals.approve(id, { digest }, cy)
        const ticket = await approvals.ticketFor(KEY)
        assert.ok(ticket)
        await access.revokeRole(bo.id, 'approver', 'system')
        await assert.rejects(keep(db, ticket.steps), { code: 'conflict', reason: 'approvalGone' })
        assert.equal(await approvals.ticketFor(KEY), undefined)
        assert.equal((await approvals.find(id)).uses, 0)
        await approvals.approve(id, { digest }, di)
        assert.ok(await approvals.ticketFor(KEY), 'another one in place of the one who is gone')
        await access.suspendPrincipal(cy.id, 'system')
        assert.equal(await done(approvals, ada), false)
        await access.resumePrincipal(cy.id, 'system')
        assert.equal(await done(approvals, ada), true)
      }))

    test('bounded by count and by time; a use that came to nothing is given back', () =>
      inSetting(engine, async ({ db, approvals, who, time }) => {
        const [ada, bo] = [await who('ada'), await who('bo')]
        const rule = { ...RULE, least: 1, approvers: { roles: [], people: [bo.id] }, usesMax: 3 }
        const { id, digest } = await approvals.ask(KEY, rule, ada)
        await approvals.approve(id, { digest }, bo)
        assert.equal(await done(approvals, ada, KEY, rule), true)
        await assert.rejects(
          approvals.perform(KEY, rule, ada, () => Promise.reject(new Error('it did not work'))),
          /did not work/,
        )
        assert.equal((await approvals.find(id)).uses, 1)
        const ticket = await approvals.ticketFor(KEY)
        await keep(db, ticket?.steps ?? [])
        await keep(db, ticket?.giveBack ?? [])
        assert.equal((await approvals.find(id)).uses, 1)
        assert.equal(await done(approvals, ada, KEY, rule), true)
        time.ahead += 3_601_000
        assert.equal((await approvals.find(id)).state, 'expired')
        assert.equal(await approvals.ticketFor(KEY), undefined)
        await assert.rejects(approvals.approve(id, { digest }, bo), { code: 'conflict', reason: 'approvalClosed' })
        const anew = await approvals.ask(KEY, rule, ada)
        assert.notEqual(anew.id, id)
        time.ahead += 8 * DAY
        assert.deepEqual((await approvals.list({ state: 'pending', limit: 10 })).approvals, [])
        assert.equal((await approvals.list({ state: 'expired', limit: 10 })).approvals.length, 2)
        assert.equal(await approvals.purge(), 0)
        time.ahead += 91 * DAY
        assert.equal(await approvals.purge(), 2)
        assert.deepEqual((await approvals.list({ limit: 10 })).approvals, [])
      }))

    test('a no closes it, also after enough said yes; who asked withdraws', () =>
      inSetting(engine, async ({ approvals, who, acts }) => {
        const [ada, bo, cy] = [await who('ada'), await who('bo'), await who('cy')]
        const { id, digest } = await approvals.ask(KEY, RULE, ada)
        await approvals.approve(id, { digest }, bo)
        await approvals.approve(id, { digest }, cy)
        assert.equal((await approvals.reject(id, { digest, comment: 'not today' }, bo)).state, 'rejected')
        assert.equal(await done(approvals, ada), false, 'asked for anew')
        const [open] = (await approvals.list({ state: 'pending', limit: 1 })).approvals
        assert.equal((await approvals.reject(open?.id ?? '', { digest }, ada)).state, 'withdrawn')
        assert.equal((await acts()).at(-1), 'approval.withdraw done')
      }))

    test('races: two approve at once, many use at once, one uses while one rejects', () =>
      inSetting(engine, async ({ approvals, who }) => {
        const [ada, bo, cy] = [await who('ada'), await who('bo'), await who('cy')]
        for (let round = 0; round < 5; round++) {
          const act = { ...KEY, object: `key:${round}` }
          const { id, digest } = await approvals.ask(act, RULE, ada)
          await Promise.all([bo, cy, bo, cy].map((by) => approvals.approve(id, { digest }, by)))
          assert.deepEqual([(await approvals.find(id)).state, (await approvals.find(id)).votes.length], ['approved', 2])
          if (round % 2 === 0) {
            const uses = await Promise.allSettled(Array.from({ length: 8 }, () => done(approvals, ada, act)))
            assert.equal(uses.filter((use) => use.status === 'fulfilled' && use.value).length, 1)
            continue
          }
          const [use, no] = await Promise.allSettled([done(approvals, ada, act), approvals.reject(id, { digest }, bo)])
          const used = use.status === 'fulfilled' && use.value
          assert.notEqual(used, no.status === 'fulfilled', 'one of the two')
          assert.equal((await approvals.find(id)).state, used ? 'used' : 'rejected')
        }
      }))
  })
}

test('R17: whatever people do in whatever order, the act is done only as a simple model says', async () => {
  const step = fc.record({
    what: fc.constantFrom('approve', 'approve', 'reject', 'amend', 'use', 'use', 'revoke', 'grant', 'wait', 'ask'),
    who: fc.integer({ min: 0, max: 3 }),
    act: fc.integer({ min: 0, max: 1 }),
  } as const)
  let uses = 0
  await inSetting('sqlite', async ({ access, approvals, who, time }) => {
    const people = [await who('ada'), await who('bo'), await who('cy'), await who('di')]
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
        const object = `key:${++run}`
        const acts: readonly Act[] = [0, 1].map((generation) => ({ ...KEY, object, parameters: { generation } }))
        const asker = people[0] as Voter
        for (const { id } of people) await access.grantRole(id, 'approver', 'system')
        const rule = { ...RULE, usesMax: 2 }
        const { id } = await approvals.ask(acts[0] as Act, rule, asker)
        const model = {
          act: 0,
          said: new Set<number>(),
          may: new Set([0, 1, 2, 3]),
          uses: 0,
          open: true,
          agreed: false,
          left: 3600,
        }
        for (const { what, who: at, act } of steps) {
          const by = people[at] as Voter
          const { digest } = await approvals.find(id)
          if (what === 'approve') {
            const went = await approvals.approve(id, { digest }, by).then(
              () => true,
              () => false,
            )
            assert.equal(went, model.open && at !== 0 && model.may.has(at))
            if (went) model.said.add(at)
            if (went && !model.agreed && [...model.said].filter((each) => model.may.has(each)).length >= 2) {
              model.agreed = true
              model.left = 3600
            }
          } else if (what === 'reject') {
            const went = await approvals.reject(id, { digest }, by).then(
              () => true,
              () => false,
            )
            assert.equal(went, model.open && (at === 0 || model.may.has(at)))
            if (went) model.open = false
          } else if (what === 'amend') {
            const went = await approvals.amend(id, acts[act] as Act, by).then(
              () => true,
              () => false,
            )
            assert.equal(went, model.open && at === 0 && model.uses === 0)
            if (went) Object.assign(model, { act, said: new Set(), agreed: false })
          } else if (what === 'use') {
            const ticket = await approvals.ticketFor(acts[act] as Act)
            const counting = [...model.said].filter((each) => model.may.has(each)).length
            assert.equal(ticket !== undefined, model.open && model.agreed && act === model.act && counting >= 2)
            if (ticket === undefined) continue
            await approvals.perform(acts[act] as Act, rule, by, async () => {})
            uses++
            if (++model.uses === 2) model.open = false
          } else if (what === 'revoke') {
            await access.revokeRole(by.id, 'approver', 'system')
            model.may.delete(at)
          } else if (what === 'grant') {
            await access.grantRole(by.id, 'approver', 'system')
            model.may.add(at)
          } else if (what === 'wait' && model.agreed) {
            time.ahead += 1_700_000
            model.left -= 1700
            if (model.left <= 0) model.open = false
          }
        }
      }),
      { numRuns: process.env['SLOW'] === '1' ? 500 : 60 },
    )
  })
  assert.ok(uses > 0, 'some acts were done')
})

test('two acts have one text exactly if they are the same', () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof({ depthSize: 'small' }, fc.string(), fc.integer(), fc.boolean(), fc.constant(null), tie('list'), tie('record')),
    list: fc.array(tie('any'), { maxLength: 3 }),
    record: fc.dictionary(fc.string(), tie('any'), { maxKeys: 3, noNullPrototype: true }),
  })).record as fc.Arbitrary<Act['parameters']>
  const turned = (parameters: Act['parameters']): Act['parameters'] => Object.fromEntries(Object.entries(parameters).toReversed())
  fc.assert(
    fc.property(value, value, (one, two) => {
      const [a, b] = [one, two].map((parameters) => actText({ ...KEY, parameters }))
      assert.equal(actText({ ...KEY, parameters: turned(one) }), a)
      const same = ((): boolean => {
        try {
          assert.deepEqual(one, two)
          return true
        } catch {
          return false
        }
      })()
      assert.equal(a === b, same)
      assert.notEqual(actText({ ...KEY, object: 'key:2', parameters: one }), a)
    }),
  )
})
