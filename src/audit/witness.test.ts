/** A witness and the log that asks it: over HTTP, with a log that is rolled back, forked, and a witness that lies. @module */
import assert from 'node:assert/strict'
import { createPublicKey, verify as verifyOctets } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { concat, utf8 } from '#base/bytes.ts'
import type { TrustError } from '#base/errors.ts'
import { latestCheckpoint, newestSigned } from './checkpoints.ts'
import { hashLeaf } from './merkle.ts'
import { encodeCheckpoint, parseSignatureLine, signCheckpoint } from './note.ts'
import { parseVerifierKey } from './note-key.ts'
import { checkCosignatures, checkProof, encodeProof } from './proof-file.ts'
import { consistencyPath } from './proof.ts'
import { proveEntry } from './prove.ts'
import { onEach, organizationId, recordMany, type Setting, tamper, verify } from './testing.ts'
import { subtreeHashes } from './tiles.ts'
import { encodeAddCheckpoint, witness, type Witness, type WitnessAnswer } from './witness.ts'
import { serveWitness } from './witness-server.ts'
import { createWitness, openWitness, type WitnessHome } from './witness-state.ts'
import { listWitnesses, type Post, witnessing } from './witnessing.ts'

const name = 'witness.example/w1'

interface Stand {
  readonly directory: string
  readonly home: WitnessHome
  readonly witness: Witness
}

async function withWitness(setting: Pick<Setting, 'log' | 'world'>, body: (stand: Stand) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-witness-'))
  try {
    createWitness(directory, name)
    const home = openWitness(directory)
    await body({ directory, home, witness: openOn(setting, home) })
  } finally {
    await rm(directory, { recursive: true })
  }
}

const openOn = ({ log, world }: Pick<Setting, 'log' | 'world'>, home: WitnessHome): Witness =>
  witness({ ...home, logs: [parseVerifierKey(log.verifierKey)], clock: world.clock })

/** What the log would ask with now. */
async function request({ database }: Setting, old: number): Promise<string> {
  const { size, note } = (await newestSigned(database, organizationId)) ?? assert.fail()
  return encodeAddCheckpoint(
    old,
    await consistencyPath(Math.min(old, size), size, subtreeHashes(database, organizationId, size)),
    note,
  )
}

const status = async (answer: Promise<WitnessAnswer>): Promise<number> => (await answer).status

onEach('C2SP tlog-witness: what it cosigns, what it refuses, and with which status', async (setting) => {
  await withWitness(setting, async (stand) => {
    const { directory, home } = stand
    await recordMany(setting, 5)
    await setting.sequencer.runOnce()
    const first = await request(setting, 0)
    const answer = await stand.witness.addCheckpoint(first)
    assert.equal(answer.status, 200)
    assert.match(answer.body, /^— witness\.example\/w1 [A-Za-z0-9+/]+=*\n$/)
    // by other code: the message of tlog-cosignature, put together here
    const { octets } = parseSignatureLine(answer.body.trimEnd())
    const seconds = Buffer.from(octets).readBigUInt64BE(0)
    const raw = Buffer.from(home.verifierKey.split('+').slice(2).join('+'), 'base64')
    assert.equal(raw[0], 4)
    const key = createPublicKey({
      key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw.subarray(1)]),
      format: 'der',
      type: 'spki',
    })
    const text = first.slice(first.indexOf('\n\n') + 2, first.lastIndexOf('\n\n') + 1)
    assert.ok(verifyOctets(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), key, octets.subarray(8)))

    assert.equal(await status(stand.witness.addCheckpoint(await request(setting, 6))), 200, 'the same again')
    assert.deepEqual(await stand.witness.addCheckpoint(first), { status: 409, type: 'text/x.tlog.size', body: '6\n' })

    await recordMany(setting, 7)
    await setting.sequencer.runOnce()
    const good = await request(setting, 6)
    const [, proofLine = ''] = good.split('\n')
    const zero = new Uint8Array(32).toBase64()
    assert.equal(await status(stand.witness.addCheckpoint(good.replace(proofLine, zero))), 422, 'another proof')
    assert.equal(await status(stand.witness.addCheckpoint(good.replace(`${proofLine}\n`, ''))), 422, 'a shorter proof')
    assert.equal(await status(stand.witness.addCheckpoint(good.replace('old 6', 'old 14'))), 400, 'an old size beyond the new')
    assert.equal(await status(stand.witness.addCheckpoint(good.replace('old 6', 'old 06'))), 400)
    assert.equal(await status(stand.witness.addCheckpoint(good.replace('\n13\n', '\n12\n'))), 403, 'not what was signed')
    assert.equal(await status(stand.witness.addCheckpoint(good.replaceAll('pki.example', 'other.example'))), 404)
    for (const bad of [
      '',
      'old 6',
      'old 6\n\n',
      `old 6\n${`${zero}\n`.repeat(64)}\n${good.slice(good.indexOf('\n\n') + 2)}`,
      'x'.repeat(400_000),
    ]) {
      assert.equal(await status(stand.witness.addCheckpoint(bad)), 400, bad.slice(0, 20))
    }
    assert.equal(openWitness(directory).state.seen(setting.log.origin)?.size, 6, 'nothing of this was kept')

    // two at once: one is before the other, never beside it
    const both = await Promise.all([stand.witness.addCheckpoint(good), stand.witness.addCheckpoint(good)])
    assert.deepEqual(
      both.map((each) => each.status).toSorted((a, b) => a - b),
      [200, 409],
    )
    assert.equal(openWitness(directory).state.seen(setting.log.origin)?.size, 13)

    // as after a restart: a log that was rolled back, and one that was rewritten, both signed by the log's own key
    const again = openOn(setting, openWitness(directory))
    const sign = async (size: number, root: Uint8Array) =>
      signCheckpoint({ origin: setting.log.origin, size, rootHash: root }, setting.log.signer)
    const other = hashLeaf('another history')
    assert.deepEqual(await again.addCheckpoint(encodeAddCheckpoint(6, [], await sign(6, other))), {
      status: 409,
      type: 'text/x.tlog.size',
      body: '13\n',
    })
    assert.equal(await status(again.addCheckpoint(encodeAddCheckpoint(13, [], await sign(6, other)))), 400)
    assert.equal(await status(again.addCheckpoint(encodeAddCheckpoint(13, [], await sign(13, other)))), 409)
    assert.equal(await status(again.addCheckpoint(encodeAddCheckpoint(13, [other, other], await sign(15, other)))), 422)
    assert.equal(await status(again.addCheckpoint(encodeAddCheckpoint(0, [other], await sign(15, other)))), 409)
    assert.equal(await status(again.addCheckpoint(encodeAddCheckpoint(13, [], await sign(Number.MAX_SAFE_INTEGER, other)))), 422)
  })
})

test('from nothing, the proof is empty and the empty tree has one root', () =>
  onOwnLog(async (stand, sign) => {
    const root = hashLeaf('x')
    assert.equal(await status(stand.witness.addCheckpoint(encodeAddCheckpoint(0, [root], await sign(3, root)))), 422)
    assert.equal(await status(stand.witness.addCheckpoint(encodeAddCheckpoint(0, [], await sign(3, root)))), 200)
  }))

/** With a log of which there is only the key. */
async function onOwnLog(body: (stand: Stand, sign: (size: number, root: Uint8Array) => Promise<string>) => Promise<void>) {
  const { generateKeyPairSync, sign: signOctets, createHash } = await import('node:crypto')
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(12)
  const origin = 'example.com/other-log'
  const id = createHash('sha256')
    .update(Buffer.concat([Buffer.from(`${origin}\n\x01`), raw]))
    .digest()
    .subarray(0, 4)
  const verifierKey = `${origin}+${id.toString('hex')}+${Buffer.concat([Buffer.of(1), raw]).toString('base64')}`
  const sign = (size: number, rootHash: Uint8Array) => {
    const text = encodeCheckpoint({ origin, size, rootHash })
    return Promise.resolve(`${text}\n— ${origin} ${concat([id, signOctets(null, utf8(text), privateKey)]).toBase64()}\n`)
  }
  await withWitness({ log: { verifierKey } as Setting['log'], world: systemWorld() }, (stand) => body(stand, sign))
}

onEach(
  'C2SP tlog-cosignature: a witness with ML-DSA-44 signs its name, the origin and the tree, as noble reads it',
  async (setting) => {
    const directory = await mkdtemp(join(tmpdir(), 'sealworks-witness-'))
    try {
      createWitness(directory, name, 'ml-dsa-44')
      const home = openWitness(directory)
      await recordMany(setting, 5)
      await setting.sequencer.runOnce()
      const body = await request(setting, 0)
      const answer = await openOn(setting, home).addCheckpoint(body)
      assert.equal(answer.status, 200)
      const signature = parseSignatureLine(answer.body.trimEnd())
      const text = body.slice(body.indexOf('\n\n') + 2, body.lastIndexOf('\n\n') + 1)
      const key = parseVerifierKey(home.verifierKey)
      assert.ok(await key.verify(signature, text))
      assert.ok(!(await key.verify(signature, text.replace('\n6\n', '\n7\n'))))
      assert.ok(
        !(await key.verify({ ...signature, octets: signature.octets.with(7, 0xff ^ (signature.octets[7] ?? 0)) }, text)),
        'another time',
      )

      const [origin = '', , root = ''] = text.split('\n')
      const uint64 = (value: bigint) => Buffer.from(value.toString(16).padStart(16, '0'), 'hex')
      const time = Buffer.from(signature.octets).readBigUInt64BE(0)
      const message = Buffer.concat([
        ...[Buffer.from('subtree/v1\n\0'), Buffer.of(name.length), Buffer.from(name), uint64(time)],
        ...[Buffer.of(origin.length), Buffer.from(origin), uint64(0n), uint64(6n), Buffer.from(root, 'base64')],
      ])
      const { ml_dsa44: noble } = await import('@noble/post-quantum/ml-dsa.js')
      const raw = Buffer.from(home.verifierKey.split('+').slice(2).join('+'), 'base64')
      assert.deepEqual([raw[0], raw.length], [6, 1313])
      assert.ok(
        noble.verify(new Uint8Array(signature.octets.subarray(8)), new Uint8Array(message), new Uint8Array(raw.subarray(1))),
      )
    } finally {
      await rm(directory, { recursive: true })
    }
  },
)

test('a witness is made once, its key is for its owner, and without its record it does not go on', () =>
  onOwnLog(async ({ directory, witness: first }, sign) => {
    assert.throws(() => createWitness(directory, name), { code: 'conflict', reason: 'witnessStateExists' })
    for (const file of ['witness.key', 'witness.json']) assert.equal((await stat(join(directory, file))).mode & 0o777, 0o600)
    await first.addCheckpoint(encodeAddCheckpoint(0, [], await sign(3, hashLeaf('x'))))
    const record = await readFile(join(directory, 'witness.json'), 'utf8')
    for (const damaged of [
      record.slice(0, -20),
      '{}',
      record.replace('"size": 3', '"size": -3'),
      record.replace(/"rootHash": "../, '"rootHash": "'),
      '',
    ]) {
      await writeFile(join(directory, 'witness.json'), damaged)
      assert.throws(() => openWitness(directory), { code: 'unavailable', reason: 'witnessStateDamaged' }, damaged.slice(0, 40))
    }
    await rm(join(directory, 'witness.json'))
    assert.throws(() => openWitness(directory), { reason: 'witnessStateDamaged' })
    assert.throws(() => createWitness(directory, name), { reason: 'witnessStateExists' })
    assert.throws(() => openWitness(join(directory, 'elsewhere')), { reason: 'witnessStateMissing' })
    assert.throws(() => createWitness(join(directory, 'new'), 'two words'), { reason: 'auditOrigin' })
  }))

test('a record that cannot be written is not vouched for', () =>
  onOwnLog(async ({ directory, home, witness: each }, sign) => {
    const { mkdir } = await import('node:fs/promises')
    await mkdir(join(directory, 'witness.json.part')) // where the new record would be written
    await assert.rejects(each.addCheckpoint(encodeAddCheckpoint(0, [], await sign(3, hashLeaf('x')))))
    assert.equal(home.state.seen('example.com/other-log'), undefined)
    assert.equal(openWitness(directory).state.seen('example.com/other-log'), undefined)
  }))

const overHTTP: Post = async (url, body) => {
  const response = await fetch(url, { method: 'POST', body })
  return { status: response.status, type: response.headers.get('content-type') ?? '', body: await response.text() }
}

onEach('a log is witnessed over HTTP, proves its entries so, and is told when it was rolled back or forked', async (setting) => {
  await withWitness(setting, async ({ home, witness: each }) => {
    const errors: unknown[] = []
    const server = await serveWitness({ witness: each, host: '127.0.0.1', port: 0, onError: (error) => errors.push(error) })
    try {
      const { database, world, log } = setting
      const told: TrustError[] = []
      const key = parseVerifierKey(home.verifierKey)
      const known = { key, url: `http://127.0.0.1:${server.port}` }
      const asking = witnessing({
        ...{ database, world, log, witnesses: [known], post: overHTTP, holder: 'here' },
        onProblem: (_, error) => told.push(error),
      })
      assert.equal(await asking.runOnce(), 0, 'there is no checkpoint yet')
      await recordMany(setting, 20)
      await setting.sequencer.runOnce()
      assert.equal(await asking.runOnce(), 1)
      assert.equal(await asking.runOnce(), 0, 'nothing new')
      await recordMany(setting, 280)
      await setting.sequencer.runOnce()
      assert.equal(await asking.runOnce(), 1)
      const { note, size } = (await latestCheckpoint(database, organizationId, { cosigned: true })) ?? assert.fail()
      assert.equal(size, 301)
      assert.deepEqual(
        (await checkCosignatures(note, [key])).map(({ witness: who }) => who),
        [name],
      )
      assert.deepEqual((await verify(setting, [note])).problems, [])
      assert.equal(told.length, 0)

      const [row] = await database.query<{ id: string }>('SELECT id FROM audit_entry WHERE log_index = 299')
      const proof = encodeProof(await proveEntry(database, { organizationId, id: row?.id ?? '', cosigned: true }))
      const keys = { log: parseVerifierKey(log.verifierKey), witnesses: [key] }
      assert.equal((await checkProof(proof, keys)).cosignatures[0]?.witness, name)
      const unwitnessed = proof.slice(0, proof.lastIndexOf('— '))
      await assert.rejects(checkProof(unwitnessed, keys), { code: 'badProof', reason: 'auditProofUnwitnessed' })

      // what we remember of the witness is older than what it saw, as after a backup was restored
      await database.transaction((tx) => tx.query('UPDATE audit_witness SET size = 0'))
      await recordMany(setting, 1)
      await setting.sequencer.runOnce()
      assert.equal(await asking.runOnce(), 1)

      // the database as it was at 21 entries: whole in itself, and the witness knows better
      await tamper(
        setting,
        'DELETE FROM audit_entry WHERE log_index > 20',
        'DELETE FROM audit_checkpoint WHERE size > 21',
        'DELETE FROM audit_cosignature WHERE size > 21',
        'DELETE FROM audit_node',
        'UPDATE audit_witness SET size = 21',
      )
      const { size: head, peaks } = await headAt(setting)
      await database.transaction((tx) => tx.query('UPDATE audit_log SET size = ?, peaks = ?', head, peaks))
      assert.deepEqual((await verify(setting)).problems, [], 'a shorter log that is whole')
      assert.deepEqual(
        (await verify(setting, [note])).problems.map(({ kind }) => kind),
        ['cut'],
      )
      await recordMany(setting, 4)
      await setting.sequencer.runOnce()
      setting.time.ahead += 61_000
      assert.equal(await asking.runOnce(), 0)
      assert.deepEqual([told.at(-1)?.code, told.at(-1)?.reason], ['conflict', 'witnessAhead'])
      assert.match(told.at(-1)?.message ?? '', /saw 302 entries, and the log has 25/)
      assert.match((await listWitnesses(database, organizationId))[0]?.problem ?? '', /rolled back/)

      // grown past what it saw, it is another log
      await recordMany(setting, 300)
      await setting.sequencer.runOnce()
      setting.time.ahead += 61_000
      assert.equal(await asking.runOnce(), 0)
      assert.deepEqual([told.at(-1)?.code, told.at(-1)?.reason], ['conflict', 'witnessFork'])
      assert.deepEqual(
        (await verify(setting, [note])).problems.map(({ kind }) => kind),
        ['diverged'],
      )
      assert.deepEqual(errors, [])
    } finally {
      await server.stop()
    }
  })
})

/** The log's own count and hashes as they were with the entries that are there. */
async function headAt({ database }: Setting) {
  const { emptyTree, encodePeaks, grow } = await import('./merkle.ts')
  const rows = await database.query<{ leaf_hash: Uint8Array }>(
    'SELECT leaf_hash FROM audit_entry WHERE log_index IS NOT NULL ORDER BY log_index',
  )
  const tree = grow(
    emptyTree,
    rows.map(({ leaf_hash }) => leaf_hash),
  )
  return { size: tree.size, peaks: encodePeaks(tree) }
}

onEach('a witness that lies, or is away, changes nothing, and is asked again later and later', async (setting) => {
  await withWitness(setting, async ({ home, witness: each }) => {
    const { database, world, log } = setting
    const key = parseVerifierKey(home.verifierKey)
    await recordMany(setting, 9)
    await setting.sequencer.runOnce()
    const honest = (await each.addCheckpoint(await request(setting, 0))).body
    const forged = honest.replace(/.{8}\n$/, 'AAAAAAA=\n')
    const reasons: string[] = []
    let reply: Post = () => Promise.reject(new Error('away'))
    let asked = 0
    const asking = witnessing({
      ...{ database, world, log, witnesses: [{ key, url: 'http://witness.example' }], holder: 'here' },
      post: (url, body) => (asked++, reply(url, body)),
      onProblem: (_, error) => reasons.push(error.reason),
    })
    const lies: readonly (readonly [reply: { status: number; type: string; body: string }, reason: string])[] = [
      [{ status: 200, type: 'text/plain', body: '' }, 'witnessSignature'],
      [{ status: 200, type: 'text/plain', body: forged }, 'witnessSignature'],
      [{ status: 200, type: 'text/plain', body: honest.replace('w1', 'w2') }, 'witnessSignature'],
      [{ status: 200, type: 'text/plain', body: `— ${name} AAAA\n` }, 'notCheckpoint'],
      [{ status: 200, type: 'text/html', body: '<html>' }, 'witnessSignature'],
      [{ status: 404, type: 'text/plain', body: 'no' }, 'witnessAnswer'],
      [{ status: 500, type: 'text/plain', body: 'no' }, 'witnessAnswer'],
      [{ status: 409, type: 'text/x.tlog.size', body: '4\n' }, 'witnessFork'],
      [{ status: 409, type: 'text/x.tlog.size', body: '11\n' }, 'witnessAhead'],
      [{ status: 409, type: 'text/x.tlog.size', body: '9'.repeat(40) }, 'witnessFork'],
      [{ status: 409, type: 'text/plain', body: '4\n' }, 'witnessFork'],
      [{ status: 422, type: 'text/plain', body: 'no' }, 'witnessFork'],
    ]
    assert.equal(await asking.runOnce(), 0)
    assert.deepEqual(reasons.splice(0), ['witnessAnswer'])
    assert.equal(await asking.runOnce(), 0)
    assert.equal(asked, 1, 'not at once')
    for (const [lie, reason] of lies) {
      setting.time.ahead += 3_600_000
      reply = () => Promise.resolve(lie)
      assert.equal(await asking.runOnce(), 0)
      assert.deepEqual(reasons.splice(0), [reason])
    }
    assert.equal(asked, 1 + lies.length + 1, 'a size is asked for once more, and no more than that')
    assert.deepEqual(await database.query('SELECT * FROM audit_cosignature'), [])
    const [row] = await listWitnesses(database, organizationId)
    assert.deepEqual([row?.failures, row?.size], [lies.length + 1, 0])
    assert.ok((row?.retry_at ?? 0) - world.clock.now() > 3_500_000, 'an hour at most')

    setting.time.ahead += 3_600_000
    reply = async (_, body) => each.addCheckpoint(body)
    assert.equal(await asking.runOnce(), 1)
    assert.deepEqual(
      (await listWitnesses(database, organizationId)).map(({ size, failures, problem }) => [size, failures, problem]),
      [[10, 0, null]],
    )

    // one process ended and the next began: it waits for the lease, unless the lock on the directory proves that nobody has it
    await recordMany(setting, 1)
    await setting.sequencer.runOnce()
    const next = (alone: boolean) =>
      witnessing({
        ...{ database, world, log, witnesses: [{ key, url: 'http://witness.example' }], holder: 'there', alone },
        post: (url, body) => reply(url, body),
        onProblem: (_, error) => reasons.push(error.reason),
      })
    assert.equal(await next(false).runOnce(), 0)
    assert.equal(await next(true).runOnce(), 1)
  })
})

test('over HTTP: other paths, methods and bodies too long are refused', () =>
  onOwnLog(async ({ witness: each }) => {
    const server = await serveWitness({ witness: each, host: '127.0.0.1', port: 0, onError: () => assert.fail() })
    try {
      const at = (path: string, init: RequestInit = {}) =>
        fetch(`http://127.0.0.1:${server.port}${path}`, init).then(({ status: code }) => code)
      assert.equal(await at('/'), 404)
      assert.equal(await at('/add-checkpoint'), 405)
      assert.equal(await at('/add-checkpoint', { method: 'POST', body: '' }), 400)
      assert.equal(await at('/add-checkpoint', { method: 'POST', body: 'x'.repeat(304_001) }), 413)
    } finally {
      await server.stop()
    }
  }))

for (const [why, written, reason] of [
  ['nothing', '', 'verifierKey'],
  ['no key', 'a+00000000', 'verifierKey'],
  ['another id', `a+00000000+${new Uint8Array([4, ...new Uint8Array(32)]).toBase64()}`, 'verifierKey'],
  ['a short key', 'a+00000000+BAAA', 'verifierKey'],
  ['another type', `a+00000000+${new Uint8Array([5, ...new Uint8Array(32)]).toBase64()}`, 'verifierKeyType'],
  ['a short ML-DSA key', `a+00000000+${new Uint8Array([6, ...new Uint8Array(1311)]).toBase64()}`, 'verifierKey'],
  ['more than the limit', `a+00000000+${'A'.repeat(5000)}`, 'verifierKey'],
] as const) {
  test(`a verifier key is refused: ${why}`, () => assert.throws(() => parseVerifierKey(written), { reason }))
}
