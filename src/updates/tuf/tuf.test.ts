/** TUF metadata with tuf-js as its client, which is not ours: what it takes, and what it refuses from a repository that lies. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Updater } from 'tuf-js'
import { utf8 } from '#base/bytes.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { withdrawRelease } from '../releases.ts'
import { engineer, openTestUpdates, type TestUpdates, updateTestMigrations } from '../testing.ts'
import { encodeCanonicalJSON, targetFile } from './messages.ts'
import {
  changeRepository,
  findTargetFile,
  isCurrent,
  listMetadata,
  openRepository,
  publishedTargets,
  readMetadata,
  renewOnline,
  type TUFOutcome,
  type TUFTerms,
} from './repository.ts'

const DAY = 86_400_000
const algorithms = {
  root1: 'ed25519',
  root2: 'ecdsa-p256',
  root3: 'ed25519',
  list: 'rsa-2048',
  list2: 'ed25519',
  live: 'ecdsa-p256',
} as const
const terms: TUFTerms = {
  root: { signers: ['root1', 'root2'], threshold: 2 },
  targets: { signers: ['list'], threshold: 1 },
  snapshot: { signers: ['live'], threshold: 1 },
  timestamp: { signers: ['live'], threshold: 1 },
}

interface Repository extends TestUpdates {
  /** The clock of the server; that of the client is the machine's. */
  readonly time: { ahead: number }
  readonly fault: { at: string }
  /** Instead of what is there, by paths. */
  readonly lies: Map<string, Uint8Array | 'endless'>
  /** A device that has the first root. */
  client(): Updater
  /** What people have to agree to waits, they do, and it goes on. */
  change(terms?: TUFTerms): Promise<void>
}

const directory = mkdtempSync(join(tmpdir(), 'sealworks-tuf-'))
let all: Repository
let server: TestServer | undefined
const withoutPostgres = postgresMissing()

const file = async (name: string): Promise<Uint8Array> =>
  (await readMetadata(all.context, name)) ?? assert.fail(`${name} is missing`)

async function open(db: Database): Promise<Repository> {
  const time = { ahead: 0 }
  const fault = { at: '' }
  const usual = systemWorld()
  const world: World = {
    ...usual,
    clock: { now: () => usual.clock.now() + time.ahead },
    faults: {
      reach(point) {
        if (point === fault.at) throw new Error(`cut at ${point}`)
      },
    },
  }
  await migrate(db, updateTestMigrations, world)
  const updates = await openTestUpdates(db, world)
  const { keys, signing, context } = updates
  for (const [name, algorithm] of Object.entries(algorithms)) {
    await keys.generate(`tuf-${name}`, algorithm)
    const approval = { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 }
    const isOffline = name === 'root1' || name === 'list'
    await signing.signers.create(
      {
        ...{ name, formats: ['plain'], users: { roles: ['server:updates'], people: [] }, priority: 'normal' },
        key: { label: `tuf-${name}`, chain: [], ...(algorithm === 'rsa-2048' && { signatureAlgorithm: 'rsa-pss-sha256' }) },
        ...(isOffline && { approval }),
      },
      engineer.actor,
    )
  }
  const lies: Repository['lies'] = new Map()
  const web = createServer((request, response) => {
    const path = (request.url ?? '').slice(1)
    const lie = lies.get(path)
    if (lie === 'endless') {
      const more = (): void => {
        while (response.write(new Uint8Array(65_536))) if (response.destroyed) return
      }
      response.on('drain', more).on('error', () => {})
      return more()
    }
    const found = async (): Promise<Uint8Array | undefined> => {
      if (lie !== undefined) return lie
      if (!path.startsWith('targets/')) return readMetadata(context, path)
      const target = await findTargetFile(context, path.slice('targets/'.length))
      return target && context.files.withFile(target.digest, (source) => source.read(0, source.size))
    }
    void found().then((octets) => response.writeHead(octets === undefined ? 404 : 200).end(octets))
  })
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const base = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
  async function change(wanted?: TUFTerms): Promise<void> {
    let outcome: TUFOutcome = await changeRepository(context, wanted, engineer)
    for (let rounds = 0; outcome.state === 'waiting' && rounds < 4; rounds++) {
      await updates.approveAll()
      outcome = await changeRepository(context, wanted, engineer)
    }
    assert.equal(outcome.state, 'done')
  }
  return {
    ...updates,
    async [Symbol.asyncDispose]() {
      web.closeAllConnections()
      await new Promise((resolve) => web.close(resolve))
      await updates[Symbol.asyncDispose]()
    },
    ...{ time, fault, lies, change },
    client() {
      const place = mkdtempSync(join(directory, 'client-'))
      writeFileSync(join(place, 'root.json'), firstRoot)
      return new Updater({
        ...{ metadataDir: place, targetDir: place, metadataBaseUrl: base, targetBaseUrl: `${base}/targets` },
        config: { fetchRetries: 0, fetchTimeout: 2000 },
      })
    },
  }
}

let firstRoot: Uint8Array
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
  all = await open(sqlite({ path: join(directory, 'tuf.db') }))
  await all.published({ version: '1.0.0' })
  await all.change(terms)
  firstRoot = await file('1.root.json')
})
after(async () => {
  await all[Symbol.asyncDispose]()
  await server?.stop()
  rmSync(directory, { recursive: true })
})

/** The same device at another day. */
const again = (updater: Updater): Updater => {
  const { dir, metadataBaseUrl, targetBaseUrl } = updater as unknown as {
    dir: string
    metadataBaseUrl: string
    targetBaseUrl: string
  }
  const config = { fetchRetries: 0, fetchTimeout: 2000 }
  return new Updater({ metadataDir: dir, targetDir: dir, metadataBaseUrl, targetBaseUrl, config })
}

test('canonical JSON sorts, escapes two characters and nothing else', () => {
  assert.equal(encodeCanonicalJSON({ b: [1, true], a: 'x"\\\n' }), '{"a":"x\\"\\\\\n","b":[1,true]}')
  assert.throws(() => encodeCanonicalJSON(0.5), TypeError)
})

test('a client finds a released file with what it is for, and fetches it (R12)', async () => {
  const [target] = await publishedTargets(all.context)
  assert.ok(target)
  const client = all.client()
  const found = (await client.getTargetInfo(target.path)) ?? assert.fail('the target is not there')
  assert.deepEqual(found.custom, {
    ...{ component: 'motor', version: '1.0.0', releaseCounter: 1, format: 'cms' },
    hardwareIds: ['acme/engine-a'],
  })
  assert.equal(readFileSync(await client.downloadTarget(found), 'utf8'), 'motor 1.0.0')
})

test('what is withdrawn is no target any more once people signed it (R12)', async () => {
  const release = await all.published({ version: '1.5.0' })
  assert.equal(await isCurrent(all.context, await openRepository(all.context)), false)
  await all.change()
  assert.equal(await isCurrent(all.context, await openRepository(all.context)), true)
  const path = `${release.id}/motor.bin`
  assert.ok(await all.client().getTargetInfo(path))
  await withdrawRelease(all.context, release.id, 'stalls', engineer.actor)
  await all.change()
  assert.equal(await all.client().getTargetInfo(path), undefined)
})

test('a client refuses an older timestamp, snapshot and list than it saw', async () => {
  const [timestamp, repository] = [await file('timestamp.json'), await openRepository(all.context)]
  const client = all.client()
  all.time.ahead += 2000
  await all.change()
  await client.refresh()
  all.lies.set('timestamp.json', timestamp)
  await assert.rejects(again(client).refresh(), { message: /[Nn]ew timestamp version .* is less than current version/ })
  // a new timestamp for an old snapshot, as whoever has the online key can make it
  all.lies.clear()
  const { newest } = repository
  assert.ok(newest.snapshot.number < (await openRepository(all.context)).newest.snapshot.number)
  all.lies.set(`${(await openRepository(all.context)).newest.snapshot.number}.snapshot.json`, newest.snapshot.octets)
  await assert.rejects(all.client().refresh(), /Unable to load snapshot/)
  all.lies.clear()
})

test('a frozen repository is refused when its timestamp has ended, and the server renews it by itself', async () => {
  all.time.ahead -= 3 * DAY
  try {
    await all.change()
  } finally {
    all.time.ahead += 3 * DAY
  }
  await assert.rejects(all.client().refresh(), /timestamp.json is expired/)
  const before = await openRepository(all.context)
  assert.equal(await renewOnline(all.context), true)
  const { newest } = await openRepository(all.context)
  assert.ok(newest.timestamp.number > before.newest.timestamp.number)
  assert.equal(newest.targets.number, before.newest.targets.number)
  await all.client().refresh()
  assert.equal(await renewOnline(all.context), false)
})

test('mix and match, a wrong hash and endless data are refused', async () => {
  const [target] = await publishedTargets(all.context)
  assert.ok(target)
  const old = await openRepository(all.context)
  await all.published({ version: '1.6.0' })
  await all.change()
  const { newest } = await openRepository(all.context)
  const targets = `${newest.targets.number}.targets.json`
  all.lies.set(targets, old.newest.targets.octets)
  await assert.rejects(all.client().refresh(), /Unable to load targets/)
  all.lies.set(targets, 'endless')
  await assert.rejects(all.client().refresh(), /[Mm]ax length reached/)
  all.lies.clear()
  const path = `targets/${targetFile(target)}`
  const client = all.client()
  const found = (await client.getTargetInfo(target.path)) ?? assert.fail('the target is not there')
  all.lies.set(path, utf8('motor 6.6.6'))
  await assert.rejects(client.downloadTarget(found), /hash/)
  all.lies.set(path, 'endless')
  await assert.rejects(client.downloadTarget(found), /[Mm]ax length reached/)
  all.lies.clear()
})

test('a new root is followed with enough keys of both, and not with those of one side', async () => {
  const client = all.client()
  await client.refresh()
  const next: TUFTerms = {
    ...terms,
    root: { signers: ['root2', 'root3'], threshold: 2 },
    targets: { signers: ['list2'], threshold: 1 },
  }
  await all.change(next)
  const root = JSON.parse(Buffer.from(await file('2.root.json')).toString()) as {
    readonly signatures: readonly { readonly keyid: string }[]
    readonly signed: object
  }
  assert.equal(root.signatures.length, 3)
  const [old] = (await openRepository(all.context)).roles.root.keys
  for (const without of root.signatures.filter(({ keyid }) => keyid !== old?.keyid)) {
    const signatures = root.signatures.filter((one) => one !== without)
    all.lies.set('2.root.json', utf8(JSON.stringify({ ...root, signatures })))
    await assert.rejects(again(client).refresh(), /root was signed by 1\/2 keys/, without.keyid)
  }
  all.lies.clear()
  const [target] = await publishedTargets(all.context)
  assert.ok(await again(client).getTargetInfo(target?.path ?? ''))
  assert.ok(await all.client().getTargetInfo(target?.path ?? ''), 'and by one that has only the first root')
  assert.deepEqual((await listMetadata(all.context)).slice(0, 2), ['1.root.json', '2.root.json'])
})

test('whoever signs by itself must not be whom people have to agree for, nor sign root or targets', async () => {
  const others = [
    { ...terms, timestamp: { signers: ['root2'], threshold: 1 } },
    { ...terms, snapshot: { signers: ['list'], threshold: 1 } },
  ]
  for (const wanted of others) await assert.rejects(changeRepository(all.context, wanted, engineer), { reason: 'tufOnline' })
  const many = { ...terms, root: { signers: ['root1', 'root1'], threshold: 2 } }
  await assert.rejects(changeRepository(all.context, many, engineer), { reason: 'tufThreshold' })
  const cose = { ...terms, root: { signers: ['director'], threshold: 1 } }
  await assert.rejects(changeRepository(all.context, cose, engineer), { reason: 'tufSigner' })
})

for (const at of ['tuf metadata signed', 'tuf metadata kept'])
  test(`cut at "${at}", the files fit each other and no number is there twice`, async () => {
    const { newest } = await openRepository(all.context)
    all.fault.at = at
    await assert.rejects(changeRepository(all.context, undefined, engineer), /cut at/)
    all.fault.at = ''
    await all.client().refresh()
    await all.change()
    await all.client().refresh()
    const later = (await openRepository(all.context)).newest
    for (const role of ['targets', 'snapshot', 'timestamp'] as const) assert.ok(later[role].number > newest[role].number)
  })

/** One of them is told, and what the other kept stands. */
async function renewAtOnce(repository: Repository): Promise<void> {
  const before = (await openRepository(repository.context)).newest.timestamp.number
  repository.time.ahead += DAY
  const results = await Promise.allSettled([1, 2, 3].map(() => renewOnline(repository.context)))
  const refused = results.filter((one) => one.status === 'rejected')
  for (const { reason } of refused) assert.equal((reason as { reason?: string }).reason, 'tufChanged')
  assert.ok(refused.length < results.length)
  assert.ok((await openRepository(repository.context)).newest.timestamp.number > before)
  await repository.client().refresh()
}

test('several at once: one renews, the others are told', () => renewAtOnce(all))

test('the same on PostgreSQL, from the first root to a client', { skip: withoutPostgres }, async () => {
  const url = (await server?.createDatabase()) ?? assert.fail('no PostgreSQL')
  await using repository = await open(postgres({ url }))
  await repository.published({ version: '1.0.0' })
  await repository.change(terms)
  firstRoot = (await readMetadata(repository.context, '1.root.json')) ?? assert.fail('no root')
  await renewAtOnce(repository)
})
