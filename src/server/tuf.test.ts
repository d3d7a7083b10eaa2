/** TUF over REST and as clients fetch it: what is made with one is served by the other, and released files only where they may be. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { systemWorld } from '#base/world.ts'
import type { Arrival } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { engineer, openTestUpdates, updateTestMigrations } from '#updates/testing.ts'
import { octetsOfAnswer, type Route } from './rest/route.ts'
import { tufRoutes } from './rest/tuf.ts'
import { tufRouter } from './tuf.ts'

type Fields = Record<string, unknown>

test('R12: a TUF repository is made over REST, and fetched below /tuf', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tuf-'))
  const db = sqlite({ path: join(directory, 'tuf.db') })
  try {
    const world = systemWorld()
    await migrate(db, updateTestMigrations, world)
    await using plant = await openTestUpdates(db, world)
    const access = { nameOf: async () => 'Rita', findPrincipal: async () => ({ name: 'Rita' }) } as never
    const routes = tufRoutes({ updates: plant.updates, access }) as unknown as readonly Route[]
    const call = async (id: string, input: { params?: Fields; body?: Fields } = {}): Promise<Fields> => {
      const route = routes.find((one) => one.id === id) ?? assert.fail(id)
      const principal = { id: 'rita', kind: 'person', roles: ['release-engineer'] } as never
      const caller = { actor: engineer.actor, principal, requestId: 'r' }
      const answer = await route.handle(caller, { params: {}, query: {}, body: {}, ...input })
      const stream = octetsOfAnswer(answer)
      if (stream !== undefined) return { octets: Buffer.concat(await Array.fromAsync(stream.read())) }
      assert.ok(Compile(route.response as TSchema).Check(answer), `${id} answers ${JSON.stringify(answer)}`)
      return answer as Fields
    }
    const get = async (path: string, { servesTargets = false, method = 'GET' } = {}): Promise<Reply | undefined> =>
      tufRouter(plant.updates, servesTargets)({ path, method, requestId: 'r' } as Arrival)?.run()
    const users = { roles: ['server:updates'], people: [] }
    for (const name of ['root', 'list', 'live']) {
      await plant.keys.generate(name, 'ed25519')
      const approval = { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 60 }
      const terms = { name, formats: ['plain'], users, priority: 'normal', key: { label: name, chain: [] } } as const
      await plant.signing.signers.create({ ...terms, ...(name === 'root' && { approval }) }, engineer.actor)
    }

    await assert.rejects(call('showTUF'), { reason: 'tufNotBegun' })
    await assert.rejects(call('publishTUF'), { reason: 'tufNotBegun' })
    assert.equal((await get('/tuf/metadata/timestamp.json'))?.status, 404)
    const role = (signer: string): Fields => ({ signers: [signer], threshold: 1 })
    const body = { root: role('root'), targets: role('list'), snapshot: role('live'), timestamp: role('live') }
    assert.equal((await call('initTUF', { body }))['state'], 'waiting')
    await plant.approveAll()
    assert.equal((await call('initTUF', { body }))['state'], 'done')
    await assert.rejects(call('initTUF', { body }), { reason: 'tufBegun' })

    const { id } = await plant.published()
    assert.equal((await call('showTUF'))['current'], false)
    const { files, targets, current } = await call('publishTUF')
    assert.equal(current, true)
    for (const file of files as string[]) {
      const reply = (await get(`/tuf/metadata/${file}`)) ?? assert.fail(file)
      assert.deepEqual(Buffer.from(reply.body), (await call('fetchTUFMetadata', { params: { file } }))['octets'])
      assert.equal(reply.headers['cache-control']?.includes('immutable'), file !== 'timestamp.json')
    }
    const file = (targets as Fields[]).find(({ path }) => path === `${id}/motor.bin`)?.['file'] as string
    assert.equal(await get(`/tuf/targets/${file}`), undefined, 'unless the setting says so')
    const served = (await get(`/tuf/targets/${file}`, { servesTargets: true })) ?? assert.fail(file)
    assert.equal(Buffer.concat(await Array.fromAsync(served.stream?.read() ?? [])).toString(), 'motor 1.1.0')
    for (const other of [`${id}/motor.bin`, `../${file}`, file.replace(/[0-9a-f]\./, 'x.')])
      assert.equal((await get(`/tuf/targets/${other}`, { servesTargets: true }))?.status, 404, other)
    assert.equal((await get('/tuf/metadata/timestamp.json', { method: 'POST' }))?.status, 405)
  } finally {
    rmSync(directory, { recursive: true })
  }
})
