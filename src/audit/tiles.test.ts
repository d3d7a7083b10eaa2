/** Tiles, bundles and proofs from the database, on each engine; and checkpoints that are kept or thinned. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { latestCheckpoint } from './checkpoints.ts'
import { emptyTree, grow, hashLeaf, rootOf } from './merkle.ts'
import { isConsistent, isIncluded } from './proof.ts'
import { checkProof, encodeProof, parseProof } from './proof-file.ts'
import { proveConsistency, proveEntry } from './prove.ts'
import { logVerifierKey, parseVerifierKey } from './note-key.ts'
import { done, lastNote, onEach, organizationId, recordMany, type Setting, tamper, verify } from './testing.ts'
import { parseEntryBundle, parseTilePath, readTile, tilePath, tilesOf } from './tiles.ts'

test('C2SP tlog-tiles: paths as the specification writes them', () => {
  assert.equal(tilePath({ level: 0, index: 1_234_067, width: 256 }), 'tile/0/x001/x234/067')
  assert.equal(tilePath({ level: 'entries', index: 0, width: 7 }), 'tile/entries/000.p/7')
  assert.equal(tilePath({ level: 63, index: 999, width: 255 }), 'tile/63/999.p/255')
  assert.equal(tilePath({ level: 2, index: 1000, width: 256 }), 'tile/2/x001/000')
})

test('C2SP tlog-tiles: a tree of 70,000 entries has the tiles of the specification', () => {
  const tiles = [...tilesOf(70_000)]
  const count = (level: unknown, full: boolean) =>
    tiles.filter((tile) => tile.level === level && (tile.width === 256) === full).length
  assert.deepEqual([count(0, true), count(1, true), count(2, true), count(3, true), count('entries', true)], [273, 1, 0, 0, 273])
  const widths = tiles.filter(({ width }) => width < 256).map(({ level, width }) => [level, width])
  assert.deepEqual(widths, [
    ['entries', 112],
    [0, 112],
    [1, 17],
    [2, 1],
  ])
  assert.deepEqual([...tilesOf(256)].map(tilePath), ['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1'])
  assert.deepEqual([...tilesOf(0)], [])
})

test('a tile has one path, and what is not that path is none', () => {
  const tile = fc.record({
    level: fc.oneof(fc.constant('entries' as const), fc.integer({ min: 0, max: 63 })),
    index: fc.integer({ min: 0, max: 999_999_999_999_999 }),
    width: fc.integer({ min: 1, max: 256 }),
  })
  fc.assert(fc.property(tile, (each) => assert.deepEqual(parseTilePath(tilePath(each)), { ...each })))
  for (const path of [
    '',
    'tile/0/0',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/0/x001',
    'tile/0/000.p/0',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/257',
    'tile/0/000.p/8/',
    'tile/data/000',
    'tile/0/x999/x999/x999/x999/x999/999',
    'tile/0/../entries/000',
    '/tile/0/000',
    'tile/0/000\n',
  ]) {
    assert.equal(parseTilePath(path), undefined, path)
  }
})

test('bundles that are cut or too full are refused', () => {
  assert.deepEqual(parseEntryBundle(new Uint8Array(0)), [])
  for (const octets of [[0], [0, 2, 65], [0, 1, 65, 9], [255, 255], Array.from({ length: 514 }, () => 0)]) {
    assert.throws(() => parseEntryBundle(Uint8Array.from(octets)), { code: 'malformed', reason: 'notEntryBundle' })
  }
})

/** Leaf hashes from the bundles alone, as a stranger has them. */
async function leavesOf({ database }: Setting, size: number): Promise<Uint8Array[]> {
  const leaves: Uint8Array[] = []
  for (const tile of tilesOf(size)) {
    if (tile.level !== 'entries') break
    const bundle = (await readTile(database, organizationId, tile)) ?? assert.fail()
    const entries = parseEntryBundle(bundle)
    assert.equal(entries.length, tile.width)
    leaves.push(...entries.map((entry) => hashLeaf(new TextDecoder().decode(entry))))
  }
  return leaves
}

onEach('tiles hold the hashes of the entries in the bundles, level over level, up to the signed root', async (setting) => {
  const { database } = setting
  for (const count of [700, 2300, 12]) {
    await recordMany(setting, count)
    await setting.sequencer.runOnce()
  }
  const size = 3013
  const leaves = await leavesOf(setting, size)
  const { rootHash } = (await latestCheckpoint(database, organizationId)) ?? assert.fail()
  assert.deepEqual(rootOf(grow(emptyTree, leaves)), rootHash)
  const levelOne = Array.from({ length: 11 }, (_, n) => rootOf(grow(emptyTree, leaves.slice(n * 256, (n + 1) * 256))))
  for (const tile of tilesOf(size)) {
    if (tile.level === 'entries') continue
    const hashes = [leaves, levelOne][tile.level] ?? assert.fail()
    const octets = await readTile(database, organizationId, tile)
    assert.deepEqual(octets, concat(hashes.slice(tile.index * 256, tile.index * 256 + tile.width)), tilePath(tile))
  }
  const kept = await database.query('SELECT level, node_index FROM audit_node ORDER BY level, node_index')
  assert.equal(kept.length, 11, 'one row for each 256 entries')
  for (const [level, index, width] of [
    [0, 11, 198],
    [0, 12, 1],
    [1, 0, 12],
    [2, 0, 1],
    ['entries', 11, 198],
    [63, 0, 1],
    [7, 999_999_999_999_999, 256],
    ['entries', 999_999_999_999_999, 256],
  ] as const) {
    assert.equal(await readTile(database, organizationId, { level, index, width }), undefined, `${level}/${index}.p/${width}`)
  }
})

onEach('hashes that an earlier build did not keep are made from the entries', async (setting) => {
  await recordMany(setting, 599)
  await setting.sequencer.runOnce()
  const tile = { level: 1, index: 0, width: 2 }
  const kept = await readTile(setting.database, organizationId, tile)
  await setting.database.transaction((tx) => tx.query('DELETE FROM audit_node WHERE node_index = 1'))
  assert.deepEqual(await readTile(setting.database, organizationId, tile), kept)
  assert.deepEqual((await verify(setting)).problems, [])
})

onEach('R28: a kept hash that was changed is found, and a proof made from it proves nothing', async (setting) => {
  const { database } = setting
  await recordMany(setting, 599)
  await setting.sequencer.runOnce()
  const wrong = hashLeaf('another')
  await database.transaction((tx) => tx.query('UPDATE audit_node SET hash = ? WHERE level = 1 AND node_index = 1', wrong))
  const { problems } = await verify(setting)
  assert.deepEqual(
    problems.map(({ kind }) => kind),
    ['tile'],
  )
  assert.match(problems[0]?.sentence ?? '', /tile 1\/1 /)
  const [row] = await database.query<{ id: string }>('SELECT id FROM audit_entry WHERE log_index = 3')
  const proof = encodeProof(await proveEntry(database, { organizationId, id: row?.id ?? '', cosigned: false }))
  await assert.rejects(checkProof(proof, keysOf(setting)), { code: 'badProof', reason: 'auditProofWrong' })
})

const keysOf = ({ log }: Setting) => ({ log: parseVerifierKey(log.verifierKey), witnesses: [] })

onEach('an entry is proven in one file, which needs no database', async (setting) => {
  const { database } = setting
  const id = await database.transaction(async (tx) => {
    await setting.audit.record(tx, { ...done, act: 'certificate.revoke', facts: { reason: 'keyCompromise', note: 'é 🔏' } })
    const [row] = await tx.query<{ id: string }>(`SELECT id FROM audit_entry WHERE act = 'certificate.revoke'`)
    return row?.id ?? assert.fail()
  })
  const prove = () => proveEntry(database, { organizationId, id, cosigned: false })
  await assert.rejects(prove(), { code: 'unavailable', reason: 'auditEntryUnsigned' })
  await setting.sequencer.runOnce()
  await recordMany(setting, 900)
  await setting.sequencer.runOnce()
  const made = await prove()
  const text = encodeProof(made)
  assert.match(text, /^c2sp\.org\/tlog-proof@v1\nextra [A-Za-z0-9+/=]+\nindex [01]\n/)
  const proven = await checkProof(text, keysOf(setting))
  assert.deepEqual([proven.index, proven.checkpoint.size, JSON.parse(proven.entry).act], [made.index, 902, 'certificate.revoke'])
  assert.ok(isIncluded({ ...made, leafHash: hashLeaf(made.entry) }))

  await assert.rejects(
    prove().then((proof) => checkProof(encodeProof({ ...proof, index: 7 }), keysOf(setting))),
    { code: 'badProof' },
  )
  const other = await setting.keys.generate('other', 'ecdsa-p256')
  const otherKey = { log: parseVerifierKey(logVerifierKey(setting.log.origin, other.publicKey)), witnesses: [] }
  await assert.rejects(checkProof(text, otherKey), { code: 'badProof', reason: 'checkpointSignature' })
  const forged = encodeProof({ ...made, entry: made.entry.replace('keyCompromise', 'superseded') })
  await assert.rejects(checkProof(forged, keysOf(setting)), { code: 'badProof', reason: 'auditProofWrong' })
  await assert.rejects(proveEntry(database, { organizationId, id: 'none', cosigned: false }), { code: 'notFound' })
  await assert.rejects(proveEntry(database, { organizationId, id, cosigned: true }), { reason: 'auditEntryUncosigned' })

  // whatever is changed: another form, or no proof
  for (let at = 0; at < text.length; at += 3) {
    const changed = text.slice(0, at) + (text[at] === 'B' ? 'C' : 'B') + text.slice(at + 1)
    await assert.rejects(checkProof(changed, keysOf(setting)), { name: 'TrustError' }, `character ${at}`)
  }
  for (let length = 0; length < text.length; length += 5) {
    await assert.rejects(checkProof(text.slice(0, length), keysOf(setting)), { name: 'TrustError' }, `${length} characters`)
  }
})

const hash = new Uint8Array(32).toBase64()
for (const [name, text] of [
  ['nothing', ''],
  ['another form', `c2sp.org/tlog-proof@v2\nextra e30=\nindex 0\n\n`],
  ['no entry', `c2sp.org/tlog-proof@v1\nindex 0\n\n`],
  ['no index', `c2sp.org/tlog-proof@v1\nextra e30=\n\n`],
  ['a negative index', `c2sp.org/tlog-proof@v1\nextra e30=\nindex -1\n\n`],
  ['a leading zero', `c2sp.org/tlog-proof@v1\nextra e30=\nindex 01\n\n`],
  ['an index past what can be counted', `c2sp.org/tlog-proof@v1\nextra e30=\nindex 9007199254740993\n\n`],
  ['a short hash', `c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\nAAAA\n\n`],
  ['an entry that is not UTF-8', `c2sp.org/tlog-proof@v1\nextra /w==\nindex 0\n\n`],
  ['64 hashes', `c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n${`${hash}\n`.repeat(64)}\n`],
  ['more than the limit', 'c2sp.org/tlog-proof@v1\n'.repeat(10_000)],
] as const) {
  test(`a proof is refused with ${name}`, () => assert.throws(() => parseProof(text), { code: 'malformed' }))
}

onEach('the log at one size is proven to be the beginning of the log at another', async (setting) => {
  const { database } = setting
  await recordMany(setting, 999)
  await setting.sequencer.runOnce()
  for (const [first, second] of [
    [1, 1000],
    [256, 1000],
    [700, 701],
    [512, 768],
    [1000, 1000],
    [3, 7],
  ] as const) {
    const proof = await proveConsistency(database, { organizationId, first, second })
    assert.ok(isConsistent({ first, second, ...proof }), `${first} to ${second}`)
    assert.deepEqual(proof.firstRoot, rootOf(grow(emptyTree, await leavesOf(setting, first))))
  }
  for (const [first, second] of [
    [0, 1],
    [2, 1],
    [1, 1001],
    [1, Number.MAX_SAFE_INTEGER],
  ] as const) {
    await assert.rejects(proveConsistency(database, { organizationId, first, second }), {
      code: 'malformed',
      reason: 'auditSizes',
    })
  }
})

onEach('checkpoints: the newest of each day is kept, and what a witness saw', async (setting) => {
  const { database, sequencer, time } = setting
  const sizes = async (from = database) =>
    (await from.query<{ size: number }>('SELECT size FROM audit_checkpoint ORDER BY size')).map(({ size }) => size)
  const day = 86_400_000
  time.ahead = day - (setting.world.clock.now() % day) + 1000 // just after midnight
  for (let n = 0; n < 3; n++) {
    await recordMany(setting, 2)
    await sequencer.runOnce()
  }
  assert.deepEqual(await sizes(), [7])
  await database.transaction((tx) =>
    tx.query(
      `INSERT INTO audit_cosignature (organization_id, size, witness, line, made_at) VALUES (?, 7, 'w', 'line', 0)`,
      organizationId,
    ),
  )
  for (let n = 0; n < 2; n++) {
    await recordMany(setting, 2)
    await sequencer.runOnce()
  }
  assert.deepEqual(await sizes(), [7, 11])
  time.ahead += day
  await recordMany(setting, 2)
  await sequencer.runOnce()
  assert.deepEqual(await sizes(), [7, 11, 13])
  assert.deepEqual((await verify(setting)).problems, [])

  // as an earlier build left them
  const note = await lastNote(setting)
  await database.transaction((tx) =>
    tx.insertMany(
      'audit_checkpoint',
      ['id', 'organization_id', 'version', 'size', 'root_hash', 'note', 'created_at'],
      [2, 3, 12].map((size) => [`old-${size}`, organizationId, 1, size, new Uint8Array(32), note, setting.world.clock.now()]),
    ),
  )
  const after = await setting.reopen()
  await after.sequencer.runOnce()
  assert.deepEqual(await sizes(after.database), [7, 11, 13])
})

/** Each column that is hashed, with another value. */
const altered: Readonly<Record<string, string>> = {
  id: `'0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b'`,
  at: 'at + 1',
  actor: `'person:someone'`,
  act: `'nothing.happened'`,
  object: `'thing:2'`,
  outcome: `'refused'`,
  reason: `'keyTooShort'`,
  facts: `'{}'`,
}

for (const [column, value] of Object.entries(altered)) {
  onEach(`R28: found when ${column} of one row is altered`, async (setting) => {
    await recordMany(setting, 20)
    await setting.sequencer.runOnce()
    await tamper(setting, `UPDATE audit_entry SET ${column} = ${value} WHERE log_index = 11`)
    const { problems } = await verify(setting)
    assert.deepEqual(
      problems.map(({ kind, logIndex }) => [kind, logIndex]),
      [['altered', 11]],
    )
    assert.match(problems[0]?.sentence ?? '', /^Entry 11 .* was altered/)
  })
}

for (const [name, statements, kinds] of [
  [
    'the leaf hash of a row is altered',
    [`UPDATE audit_entry SET leaf_hash = (SELECT leaf_hash FROM audit_entry WHERE log_index = 2) WHERE log_index = 11`],
    ['altered', 'diverged'],
  ],
  [
    'a row is given to another organization',
    [`UPDATE audit_entry SET organization_id = 'other' WHERE log_index = 11`],
    ['missing'],
  ],
  ['a row is taken out of the order', ['UPDATE audit_entry SET log_index = NULL WHERE log_index = 11'], ['missing']],
  ['a row in the middle is deleted', ['DELETE FROM audit_entry WHERE log_index = 11'], ['missing']],
  ['the last row is deleted', ['DELETE FROM audit_entry WHERE log_index = 20'], ['cut']],
  [
    'two rows are swapped',
    [
      'UPDATE audit_entry SET log_index = 1000 WHERE log_index = 11',
      'UPDATE audit_entry SET log_index = 11 WHERE log_index = 12',
      'UPDATE audit_entry SET log_index = 12 WHERE log_index = 1000',
    ],
    ['diverged'],
  ],
] as const) {
  onEach(`R28: found when ${name}`, async (setting) => {
    await recordMany(setting, 20)
    await setting.sequencer.runOnce()
    await tamper(setting, ...statements)
    const { problems } = await verify(setting)
    assert.deepEqual(
      problems.map(({ kind }) => kind),
      kinds,
    )
  })
}
