/** The log as others read it: anyone the checkpoint, auditors the tiles, over real listeners. @module */
import assert from 'node:assert/strict'
import { request } from 'node:https'
import { test } from 'node:test'
import { readFileSync } from 'node:fs'
import { openAccess } from '#access/access.ts'
import { accessMigrations } from '#access/migrations.ts'
import { openCheckpoint } from '#audit/note.ts'
import { hashLeaf } from '#audit/merkle.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { inSetting, organizationId, recordMany } from '#audit/testing.ts'
import { parseEntryBundle } from '#audit/tiles.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { listenFor, testdataPath } from './testing.ts'
import { tlogRouter } from './tlog.ts'

test('R28: a checkpoint is for anyone, tiles for auditors alone, and on the public listener there are none', (t) =>
  inSetting(async (setting) => {
    const { database, world, audit, log, sequencer } = setting
    await migrate(database, [...storeMigrations, ...keysMigrations, ...auditMigrations, ...accessMigrations], world)
    const access = openAccess({ database, world, audit, organizationId })
    const parts = { access, db: database, organizationId }
    const open = await listenFor(t, [tlogRouter(parts, 'public')])
    const tls = await listenFor(t, [tlogRouter(parts, 'tls')], { tls: true })
    const publicly = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${open.address.port}/tlog/${path}`, init)
    const ca = readFileSync(testdataPath('server-root.pem'))
    const ask = (path: string, token?: string, method = 'GET') =>
      new Promise<{ status: number; headers: Record<string, unknown>; body: Uint8Array }>((resolve, reject) => {
        const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
        request(
          { host: 'localhost', port: tls.address.port, path: `/tlog/${path}`, method, headers, ca, agent: false },
          (response) => {
            const chunks: Buffer[] = []
            response.on('data', (chunk: Buffer) => chunks.push(chunk))
            response.on('end', () =>
              resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
            )
          },
        )
          .on('error', reject)
          .end()
      })
    const tokenOf = async (role: 'auditor' | 'administrator' | 'line-operator') => {
      const { id } = await access.createPrincipal({ kind: 'person', name: role, roles: [role] }, 'system')
      const { token } = await access.createToken(id, { name: 'test', lifetimeSeconds: 3600 }, 'system')
      return new TextDecoder().decode(token.reveal('test'))
    }
    const auditor = await tokenOf('auditor')
    const operator = await tokenOf('line-operator')

    assert.equal((await publicly('checkpoint')).status, 404, 'nothing is signed yet')
    await recordMany(setting, 300)
    await sequencer.runOnce()
    const answer = await publicly('checkpoint')
    assert.deepEqual(
      [answer.status, answer.headers.get('content-type'), answer.headers.get('cache-control')],
      [200, 'text/plain; charset=utf-8', 'no-cache'],
    )
    const { size } = await openCheckpoint(await answer.text(), log.publicKey)
    assert.equal(size, 305) // the log, two people, two tokens, and ours
    assert.equal((await publicly('checkpoint?cosigned')).status, 404)
    assert.equal((await publicly('checkpoint', { method: 'POST' })).status, 405)
    assert.equal((await publicly('tile/0/000')).status, 404)
    assert.equal((await publicly('tile/entries/000')).status, 404)

    for (const path of ['tile/entries/000', 'tile/0/000', 'tile/0/001.p/49', 'tile/1/000.p/1']) {
      assert.equal((await ask(path)).status, 401, path)
      assert.equal((await ask(path, 'nonsense')).status, 401, path)
      assert.equal((await ask(path, operator)).status, 403, path)
      const tile = await ask(path, auditor)
      assert.deepEqual([tile.status, tile.headers['content-type']], [200, 'application/octet-stream'], path)
      assert.match(String(tile.headers['cache-control']), /^private, .*immutable$/)
    }
    const entries = parseEntryBundle((await ask('tile/entries/001.p/49', auditor)).body)
    const hashes = entries.map((entry) => hashLeaf(new TextDecoder().decode(entry)))
    assert.deepEqual(Buffer.concat(hashes), Buffer.from((await ask('tile/0/001.p/49', auditor)).body))
    assert.equal((await ask('checkpoint')).status, 200)
    for (const path of ['tile/0/001', 'tile/0/002.p/1', 'tile/9/000', 'tile/0/x999/x999/x999/x999/999', 'tile/0/0', 'tile', '']) {
      assert.equal((await ask(path, auditor)).status, 404, path)
    }
    assert.equal((await ask('tile/0/000', auditor, 'DELETE')).status, 405)
  }))
