/** The audit log, exported and witnessed, read by Go's transparency log packages. R28. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { parseVerifierKey } from '#audit/note-key.ts'
import { encodeProof } from '#audit/proof-file.ts'
import { proveEntry } from '#audit/prove.ts'
import { inSetting, organizationId, recordMany, type Setting } from '#audit/testing.ts'
import { readTile, type Tile } from '#audit/tiles.ts'
import { witness } from '#audit/witness.ts'
import { createWitness, openWitness } from '#audit/witness-state.ts'
import { witnessing } from '#audit/witnessing.ts'
import { exportTiles } from '../../src/cli/audit-tiles.ts'
import type { Caller } from '../../src/cli/connection.ts'
import { noProgress } from '../../src/cli/terminal.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const tools = needs('go', 'golang-x-mod')

/** What the exporter asks a server for, from the database. */
const callerOf = ({ database }: Setting): Caller => {
  const call = async (id: string, input: { params?: { level: string; index: string }; query?: { width?: number } }) => {
    if (id === 'showAuditCheckpoint') {
      const { size, rootHash, note } = (await latestCheckpoint(database, organizationId, { cosigned: true })) ?? assert.fail()
      return { size, rootHash: rootHash.toBase64(), note }
    }
    const { level, index } = input.params ?? assert.fail()
    const tile: Tile = {
      level: level === 'entries' ? level : Number(level),
      index: Number(index),
      width: input.query?.width ?? 256,
    }
    const octets = (await readTile(database, organizationId, tile)) ?? assert.fail()
    return { octets: octets.toBase64() }
  }
  return { call: call as unknown as Caller['call'], transfer: () => assert.fail() } // of all routes, the two that it calls
}

test('Go reads every entry with its proof, the cosignature and a proof file', { skip: tools.skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tlog-'))
  try {
    const reader = join(directory, 'tlog')
    const source = join(import.meta.dirname, 'testdata', 'tlog.go')
    // Debian's packages as they are, nothing from elsewhere
    const env = { ...process.env, GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOFLAGS: '', GOTOOLCHAIN: 'local' }
    await run(tools.path('go'), ['build', '-o', reader, source], { env, cwd: directory })
    await inSetting(async (setting) => {
      const { database, world, log } = setting
      createWitness(join(directory, 'witness'), 'witness.example/w1')
      const home = openWitness(join(directory, 'witness'))
      const cosigner = witness({ ...home, logs: [parseVerifierKey(log.verifierKey)], clock: world.clock })
      const asking = witnessing({
        ...{ database, world, log, holder: 'here' },
        witnesses: [{ key: parseVerifierKey(home.verifierKey), url: '' }],
        post: async (_, body) => cosigner.addCheckpoint(body),
        onProblem: (_, error) => assert.fail(error),
      })
      const tiles = join(directory, 'tiles')
      const proof = join(directory, 'entry.tlog-proof')
      const read = async (at = tiles) => (await run(reader, [at, log.verifierKey, home.verifierKey, proof])).stdout
      const grow = async (count: number): Promise<number> => {
        await recordMany(setting, count)
        await setting.sequencer.runOnce()
        assert.equal(await asking.runOnce(), 1)
        const [row] = await database.query<{ id: string }>('SELECT id FROM audit_entry WHERE log_index = 42')
        writeFileSync(proof, encodeProof(await proveEntry(database, { organizationId, id: row?.id ?? '', cosigned: true })))
        return (await exportTiles(callerOf(setting), tiles, { progress: () => noProgress })).written
      }
      assert.equal(await grow(99), 2)
      assert.equal(await read(), '100 entries, proof of 42 under 100\n')
      assert.equal(await grow(156), 3, 'a full tile, and one hash above it')
      assert.equal(await read(), '256 entries, proof of 42 under 256\n')
      await grow(444)
      assert.equal(await read(), '700 entries, proof of 42 under 700\n')

      // what it would say of another history
      const forged = join(directory, 'forged')
      cpSync(tiles, forged, { recursive: true })
      const bundle = join(forged, 'tile', 'entries', '001')
      writeFileSync(bundle, readFileSync(bundle, 'latin1').replace('test.act', 'tesT.act'), 'latin1')
      await assert.rejects(read(forged), /invalid|inconsistent|does not match|malformed/i)
      await assert.rejects(exportTiles(callerOf(setting), forged, { progress: () => noProgress }), {
        code: 'badProof',
        reason: 'tilesDiverge',
      })
    })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
