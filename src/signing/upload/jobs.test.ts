/** Artifacts that are signed here: the same bytes as a client's own hashing gives, and nothing lost, doubled or left lying. @module */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { accessMigrations } from '#access/migrations.ts'
import { approvers } from '#access/approvers.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { bytesSource } from '../artifact/blob.ts'
import { octetsIn, trialSigner } from '../artifact/testing.ts'
import type { Requester } from '../context.ts'
import type { SigningFormat } from '../format.ts'
import { signingFormats } from '../formats/registry.ts'
import { optionsOfSample, sampleOf } from '../formats/samples.ts'
import { signingMigrations } from '../migrations.ts'
import { openSigning, type Signing, signingActs } from '../service.ts'
import { openClockWatch } from '../tsp/clock.ts'
import { type Archive, openArchive } from './archive.ts'
import { type Job, jobStore } from './job.ts'
import { type Jobs, type JobsOptions, openJobs, type Submission } from './jobs.ts'

const organizationId = 'default'
const CI: Requester = { actor: 'service:ci', id: 'ci', kind: 'service', roles: ['service'] }
const USERS = { roles: ['service'], people: [] }
const DAY_MILLISECONDS = 86_400_000

interface Setting {
  readonly db: Database
  readonly signing: Signing
  readonly jobs: Jobs
  readonly archive: Archive
  readonly spool: string
  readonly archived: string
  readonly keys: { unavailable: boolean }
  readonly time: { now: number }
  approve(id: string): Promise<void>
  reject(id: string): Promise<void>
  /** As after a start of the program. */
  open(more?: Partial<JobsOptions>): Jobs
  signatures(): Promise<number>
}

const rsa = await trialSigner('rsa-2048')
const ed25519 = await trialSigner('ed25519')

async function inSetting(body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-jobs-'))
  const db = sqlite({ path: join(directory, 'jobs.db') })
  const opened: Jobs[] = []
  try {
    const time = { now: Date.parse('2027-05-01T10:00:00Z') }
    const world: World = { ...systemWorld(), clock: { now: () => time.now } }
    const rooms = [storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations]
    await migrate(db, rooms.flat(), world)
    const audit = auditRecorder({ database: db, world, organizationId })
    const store = softwareKeyStore({ database: db, world, organizationId, wrappingKey: secret(world.random.octets(32)) })
    for (const [label, { privateKey }] of Object.entries({ rsa, ed25519 }))
      await store.import?.(label, secret(new Uint8Array(privateKey.export({ type: 'pkcs8', format: 'der' }))))
    const state = { unavailable: false }
    const keys: KeyStore = {
      ...store,
      async open(label) {
        const { sign, signDigest, ...rest } = await store.open(label)
        const check = (): void => {
          if (state.unavailable) throw new TrustError('unavailable', 'tokenBusy', { facts: { store: 'test' } })
        }
        return {
          ...rest,
          sign: async (...given) => (check(), sign(...given)),
          ...(signDigest !== undefined && { signDigest: async (...given) => (check(), signDigest(...given)) }),
        }
      },
    }
    const clock = openClockWatch({
      servers: [],
      clocks: { wall: () => time.now, monotonic: () => performance.now() },
      random: world.random,
      log: silentLog,
      checkSeconds: 64,
    })
    const people = approvers(organizationId)
    const approvals = openApprovals({ db, world, audit, organizationId, people, kinds: signingActs })
    const signing = openSigning({ db, keys, audit, world, organizationId }, approvals, clock)
    const spool = join(directory, 'spool')
    const archived = join(directory, 'archive')
    const archive = openArchive({ db, world, organizationId, directory: archived, keepDays: 10 })
    const open = (more: Partial<JobsOptions> = {}): Jobs => {
      const jobs = openJobs({
        ...{ db, world, organizationId, log: silentLog, signing, approvals, archive, directory: spool },
        ...{ uploadMaxOctets: 1 << 30, spoolMaxOctets: 1 << 30, resultKeepHours: 24 },
        requesterOf: async (id) => (id === CI.id ? CI : undefined),
        ...more,
      })
      opened.push(jobs)
      return jobs
    }
    const vote = async (id: string, say: 'approve' | 'reject'): Promise<void> => {
      const { digest } = await approvals.find(id)
      await approvals[say](id, { digest }, { actor: 'person:vera', id: 'vera', kind: 'person' })
    }
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO principal (id, organization_id, version, kind, name, state, created_at)
          VALUES ('vera', ?, 1, 'person', 'Vera', 'active', 0)`,
        organizationId,
      )
      await tx.query(
        `INSERT INTO role_assignment (id, organization_id, version, principal_id, role, created_at)
          VALUES ('vera', ?, 1, 'vera', 'approver', 0)`,
        organizationId,
      )
    })
    await body({
      ...{ db, signing, archive, spool, archived, time, open, jobs: open(), keys: state },
      approve: (id) => vote(id, 'approve'),
      reject: (id) => vote(id, 'reject'),
      async signatures() {
        const filter = { act: 'signature.make', outcome: 'done' } as const
        return (await listAuditEntries(db, { organizationId, limit: 500, filter })).entries.length
      },
    })
  } finally {
    for (const jobs of opened) await jobs.close()
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

const sent = (octets: Uint8Array, more: Partial<Submission> = {}): Submission => ({
  ...{ signer: 'firmware', format: 'plain', options: {}, octets: octets.length, idempotencyKey: undefined, isPatient: true },
  async *read() {
    for (let at = 0; at < octets.length; at += 1000) yield octets.subarray(at, at + 1000)
  },
  ...more,
})

const signer = (signing: Signing, more: Partial<Parameters<Signing['signers']['create']>[0]> = {}) =>
  signing.signers.create(
    {
      ...{ name: 'firmware', key: { label: 'rsa', chain: rsa.answering.certificates }, formats: ['plain', 'cms'], users: USERS },
      ...{ priority: 'normal', ...more },
    },
    'person:olga',
  )

async function over(jobs: Jobs, { id }: Job): Promise<Job> {
  const job = await jobs.settled(id, 20_000)
  assert.notEqual(job.state, 'queued', 'the job came to no end')
  return job
}

async function resultOf(jobs: Jobs, { id }: Job): Promise<Uint8Array> {
  const { octets, read } = await jobs.result(id)
  const found = Buffer.concat(await Array.fromAsync(read()))
  assert.equal(found.length, octets)
  return new Uint8Array(found)
}

const firmware = utf8('firmware 4.2\n'.repeat(500))

describe('R9: a file that is sent is signed to the same bytes as one that is hashed where it lies', () => {
  const artifactFormats = signingFormats.filter(({ id }) => id !== 'rfc3161')
  for (const format of artifactFormats as readonly SigningFormat[]) {
    for (const [label, { answering }] of Object.entries({ rsa, ed25519 })) {
      const { signatureAlgorithm, certificates } = answering
      if (format.algorithms?.includes(signatureAlgorithm) === false) continue
      test(`${format.id} with ${signatureAlgorithm}`, () =>
        inSetting(async ({ signing, jobs }) => {
          await signer(signing, { key: { label, chain: certificates }, formats: [format.id] })
          const artifact = sampleOf(format.id)
          const options = optionsOfSample(format.id)
          const source = bytesSource(artifact)
          const { requests, attach } = await format.toBeSigned(source, { signatureAlgorithm, certificates, options })
          const made = await signing.sign('firmware', { format: format.id, requests }, CI)
          assert.ok(made.state === 'signed')
          const there = attach(made.answers)
          const job = await over(jobs, await jobs.submit(sent(artifact, { format: format.id, options }), CI))
          assert.equal(job.state, 'done', JSON.stringify(job.problem))
          assert.deepEqual(await resultOf(jobs, job), await octetsIn(source, there.pieces))
          assert.equal(job.result?.isBeside, there.isBeside)
          assert.equal(job.result?.suffix, there.suffix)
        }))
    }
  }
})

test('the artifact is for the server’s own user only, goes when it is signed, and the result when its time is over', () =>
  inSetting(async ({ signing, jobs, spool, time, keys, open }) => {
    await signer(signing)
    keys.unavailable = true
    const job = await jobs.submit(sent(firmware), CI)
    const file = join(spool, `${job.id}.artifact`)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(statSync(spool).mode & 0o777, 0o700)
    await jobs.settled(job.id, 5000)
    keys.unavailable = false
    time.now += 60_000
    await jobs.runOnce()
    assert.equal((await over(jobs, job)).state, 'done')
    assert.equal(existsSync(file), false)
    assert.equal((await resultOf(jobs, job)).length, 256)
    time.now += 2 * DAY_MILLISECONDS
    await open().runOnce()
    await assert.rejects(jobs.result(job.id), { code: 'notFound', reason: 'jobResultGone' })
    assert.equal((await jobs.find(job.id)).job.state, 'done')
    time.now += 40 * DAY_MILLISECONDS
    await jobs.runOnce()
    await assert.rejects(jobs.find(job.id), { code: 'notFound' })
  }))

test('what may not be signed is refused before it is sent, and what is too long before all of it came', () =>
  inSetting(async ({ signing, jobs, spool, open }) => {
    await signer(signing, { sizeMaxOctets: 5000 })
    const unread = {
      // oxlint-disable-next-line require-yield -- nobody gets so far
      async *read(): AsyncGenerator<Uint8Array> {
        assert.fail('it was read')
      },
    }
    const other = { ...CI, roles: ['auditor'] }
    await assert.rejects(jobs.submit(sent(firmware, unread), other), { reason: 'signerNotYours' })
    await assert.rejects(jobs.submit(sent(firmware, unread), CI), { reason: 'signerSize' })
    await assert.rejects(jobs.submit(sent(firmware, { ...unread, octets: 10, format: 'jar' }), CI), { reason: 'signerFormat' })
    await assert.rejects(jobs.submit(sent(firmware, { ...unread, signer: 'other' }), CI), { code: 'notFound' })
    const small = open({ uploadMaxOctets: 1000 })
    await assert.rejects(small.submit(sent(firmware, { ...unread, octets: 2000 }), CI), { code: 'tooLarge' })
    const tight = open({ spoolMaxOctets: 4000 })
    await assert.rejects(tight.submit(sent(firmware, { ...unread, octets: 4500 }), CI), {
      reason: 'spoolFull',
      retryAfterSeconds: 60,
    })
    const silent = sent(firmware.subarray(0, 4500), { octets: undefined })
    await assert.rejects(tight.submit(silent, CI), { code: 'rateLimited' })
    assert.deepEqual(readdirSync(spool), ['node'])
  }))

test('an upload that breaks off leaves nothing', () =>
  inSetting(async ({ signing, jobs, spool, signatures }) => {
    await signer(signing)
    const broken = sent(firmware, {
      async *read() {
        yield firmware.subarray(0, 3000)
        throw new TrustError('malformed', 'bodyIncomplete')
      },
    })
    await assert.rejects(jobs.submit(broken, CI), { reason: 'bodyIncomplete' })
    assert.deepEqual(readdirSync(spool), ['node'])
    assert.equal((await jobs.list({ actor: undefined, cursor: undefined, limit: 10 })).jobs.length, 0)
    assert.equal(await signatures(), 0)
  }))

test('an artifact that is on the disk, and whose row is being written, is not swept away as one of before the start', () =>
  inSetting(async ({ db, signing, open }) => {
    await signer(signing)
    let sweep: (() => Promise<void>) | undefined
    const transaction: Database['transaction'] = async (work) => {
      await sweep?.()
      return db.transaction(work)
    }
    const jobs = open({ db: { ...db, transaction } })
    sweep = async () => {
      sweep = undefined
      await jobs.runOnce()
    }
    const job = await over(jobs, await jobs.submit(sent(firmware), CI))
    assert.deepEqual([sweep, job.state], [undefined, 'done'], JSON.stringify(job.problem))
  }))

test('the same request again is the same job and one signature', () =>
  inSetting(async ({ signing, jobs, signatures }) => {
    await signer(signing)
    const wanted = sent(firmware, { idempotencyKey: 'release-4.2' })
    const [one, two] = await Promise.all([jobs.submit(wanted, CI), jobs.submit(wanted, CI)])
    assert.equal(one.id, two.id)
    await over(jobs, one)
    assert.equal((await jobs.submit(wanted, CI)).id, one.id)
    assert.notEqual((await jobs.submit(sent(firmware), CI)).id, one.id)
    await jobs.close()
    assert.ok((await signatures()) <= 2)
  }))

test('the same key with anything else is refused, and gives nobody the signature of another artifact', () =>
  inSetting(async ({ signing, jobs, spool }) => {
    await signer(signing)
    await signer(signing, { name: 'other' })
    const key = { idempotencyKey: 'release-4.3' }
    const job = await over(jobs, await jobs.submit(sent(firmware, key), CI))
    const changed = firmware.with(7, 0x30)
    const others = [
      sent(changed, key),
      sent(changed, { ...key, octets: undefined }),
      sent(firmware, { ...key, signer: 'other' }),
      sent(firmware, { ...key, format: 'cms' }),
      sent(firmware, { ...key, options: { send: 'message' } }),
      sent(firmware.subarray(1), key),
    ]
    for (const other of others) await assert.rejects(jobs.submit(other, CI), { code: 'conflict', reason: 'idempotencyKeyReused' })
    const { id } = await jobs.submit(sent(firmware, { ...key, format: undefined, octets: undefined }), CI)
    assert.equal(id, job.id)
    const at = { idempotencyKey: 'release-4.4' }
    const once = await Promise.allSettled([jobs.submit(sent(firmware, at), CI), jobs.submit(sent(changed, at), CI)])
    assert.deepEqual(once.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
    await jobs.close()
    assert.equal(readdirSync(spool).filter((file) => file.endsWith('.artifact')).length <= 1, true)
  }))

test('a job goes on where a stop left it: before the signature it is made, after it the same signature is put in place', () =>
  inSetting(async ({ db, signing, jobs, open, signatures, spool }) => {
    await signer(signing)
    const closed = open()
    await closed.close()
    const job = await closed.submit(sent(firmware, { format: 'cms' }), CI)
    assert.equal((await jobs.find(job.id)).job.state, 'queued')
    writeFileSync(join(spool, 'left.artifact'), 'what came only in part')
    const again = open()
    await again.runOnce()
    const done = await over(again, job)
    assert.equal(done.state, 'done')
    const first = await resultOf(again, done)
    assert.equal(existsSync(join(spool, 'left.artifact')), false)
    assert.equal(await signatures(), 1)

    // as if it had stopped between the signature and its end
    writeFileSync(join(spool, `${job.id}.artifact`), firmware)
    rmSync(join(spool, `${job.id}.signed`))
    const { result: _result, endedAt: _endedAt, ...rest } = done
    await db.transaction((tx) => tx.query(`UPDATE signing_job SET state = 'queued', ended_at = NULL WHERE id = ?`, job.id))
    assert.equal(await jobStore(db, organizationId).update({ ...rest, state: 'queued' }), true)
    await signing.signers.setState('firmware', 'disabled', 'person:olga')
    const third = open()
    await third.runOnce()
    assert.deepEqual(await resultOf(third, await over(third, job)), first)
    assert.equal(await signatures(), 1, 'it was not signed again')
  }))

test('an artifact whose file is gone, or that was begun again and again, ends with a word of what to do', () =>
  inSetting(async ({ db, signing, open, spool }) => {
    await signer(signing)
    const closed = open()
    await closed.close()
    const gone = await closed.submit(sent(firmware), CI)
    const often = await closed.submit(sent(firmware), CI)
    rmSync(join(spool, `${gone.id}.artifact`))
    await jobStore(db, organizationId).update({ ...often, begun: 20 })
    const again = open()
    await again.runOnce()
    assert.equal((await over(again, gone)).problem?.reason, 'jobFilesGone')
    assert.equal((await over(again, often)).problem?.reason, 'jobBegunTooOften')
  }))

test('whoever may not ask any more gets nothing signed by a job that goes on later', () =>
  inSetting(async ({ signing, open, signatures }) => {
    await signer(signing)
    const closed = open()
    await closed.close()
    const job = await closed.submit(sent(firmware), CI)
    const again = open({ requesterOf: async () => undefined })
    await again.runOnce()
    assert.equal((await over(again, job)).problem?.reason, 'jobNobody')
    assert.equal(await signatures(), 0)
  }))

test('R10: a job waits for people, goes on when they agree, and ends when they do not', () =>
  inSetting(async ({ signing, jobs, approve, reject, signatures, spool }) => {
    const approval = { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 }
    await signer(signing, { approval })
    const yes = await over(jobs, await jobs.submit(sent(firmware), CI))
    const no = await over(jobs, await jobs.submit(sent(utf8('other')), CI))
    assert.deepEqual([yes.state, no.state], ['waiting', 'waiting'])
    await assert.rejects(jobs.result(yes.id), { reason: 'jobNotDone' })
    await jobs.runOnce()
    assert.equal((await jobs.find(yes.id)).job.state, 'waiting')
    assert.equal(await signatures(), 0)
    await approve(yes.approval ?? '')
    await reject(no.approval ?? '')
    await jobs.runOnce()
    assert.equal((await over(jobs, yes)).state, 'done')
    assert.equal((await over(jobs, no)).problem?.reason, 'jobNotApproved')
    assert.equal(await signatures(), 1)
    assert.deepEqual(readdirSync(spool).toSorted(), [`${yes.id}.signed`, 'node'].toSorted())
  }))

test('a job is let go of until it is signed, and not after', () =>
  inSetting(async ({ signing, jobs, spool, time }) => {
    const approval = { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 }
    await signer(signing)
    await signer(signing, { name: 'slow', approval })
    const waiting = await over(jobs, await jobs.submit(sent(firmware, { signer: 'slow' }), CI))
    assert.equal((await jobs.cancel(waiting.id)).state, 'canceled')
    assert.equal((await jobs.cancel(waiting.id)).state, 'canceled')
    time.now += 1 // ids of one millisecond are in the order of chance
    const done = await over(jobs, await jobs.submit(sent(firmware), CI))
    await assert.rejects(jobs.cancel(done.id), { code: 'conflict', reason: 'jobSigned' })
    assert.deepEqual(readdirSync(spool).toSorted(), [`${done.id}.signed`, 'node'].toSorted())
    const { jobs: listed } = await jobs.list({ actor: CI.actor, cursor: undefined, limit: 1 })
    assert.equal(listed[0]?.id, done.id)
    const { jobs: rest, next } = await jobs.list({ actor: CI.actor, cursor: listed[0]?.id, limit: 1 })
    assert.deepEqual([rest[0]?.id, next], [waiting.id, undefined])
    assert.equal((await jobs.list({ actor: 'service:other', cursor: undefined, limit: 1 })).jobs.length, 0)
  }))

test('a job that is let go of while its artifact is archived is not signed', () =>
  inSetting(async ({ signing, archive, open, signatures }) => {
    await signer(signing, { archive: 'artifacts' })
    const [archiving, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const keep: Archive['keep'] = async (...given) => {
      archiving.resolve()
      await go.promise
      return archive.keep(...given)
    }
    const jobs = open({ archive: { ...archive, keep } })
    const { id } = await jobs.submit(sent(firmware), CI)
    await archiving.promise
    assert.equal((await jobs.cancel(id)).state, 'canceled')
    go.resolve()
    await jobs.settled(id, 20_000)
    assert.equal(await signatures(), 0)
  }))

test('who waits hears at once that a key is away; who does not is served when it is back', () =>
  inSetting(async ({ signing, jobs, keys, time, signatures }) => {
    await signer(signing)
    keys.unavailable = true
    const hasty = await over(jobs, await jobs.submit(sent(firmware, { isPatient: false }), CI))
    assert.deepEqual([hasty.state, hasty.problem?.reason], ['failed', 'tokenBusy'])
    const patient = await jobs.submit(sent(firmware), CI)
    await jobs.settled(patient.id, 5000)
    assert.equal((await jobs.find(patient.id)).job.state, 'queued')
    keys.unavailable = false
    await jobs.runOnce()
    assert.equal((await jobs.find(patient.id)).job.state, 'queued', 'not before its time')
    time.now += 60_000
    await jobs.runOnce()
    assert.equal((await over(jobs, patient)).state, 'done')
    assert.equal(await signatures(), 3, 'each try that came to the key is in the log')
  }))

test('an artifact that ends the thread that looks at it does so no more than so often, also for who waits', () =>
  inSetting(async ({ signing, jobs, time }) => {
    await signer(signing)
    const end = (message: unknown): void => void (message as { readonly worker: Worker }).worker.terminate()
    subscribe('worker_threads', end)
    try {
      const { id } = await jobs.submit(sent(firmware), CI)
      let rounds = 0
      for (let job = await jobs.settled(id, 20_000); job.state === 'queued'; job = await jobs.settled(id, 20_000)) {
        assert.ok(++rounds < 40, 'it ends')
        time.now += 11_000
        await jobs.runOnce()
      }
      const { job } = await jobs.find(id)
      assert.deepEqual([job.state, job.problem?.reason], ['failed', 'jobBegunTooOften'])
    } finally {
      unsubscribe('worker_threads', end)
    }
  }))

test('an artifact that is not what its format says fails, with the reason of the format', () =>
  inSetting(async ({ signing, jobs, spool }) => {
    await signer(signing, { formats: ['authenticode-pe', 'jar'] })
    const wrong = await over(jobs, await jobs.submit(sent(firmware, { format: 'authenticode-pe' }), CI))
    assert.equal(wrong.state, 'failed')
    assert.equal(wrong.problem?.code, 'malformed')
    const unsaid = await over(jobs, await jobs.submit(sent(firmware, { format: undefined }), CI))
    assert.equal(unsaid.problem?.reason, 'formatUnsaid')
    const shown = await over(jobs, await jobs.submit(sent(sampleOf('jar'), { format: undefined }), CI))
    assert.deepEqual([shown.state, shown.format], ['done', 'jar'])
    assert.deepEqual(readdirSync(spool).toSorted(), [`${shown.id}.signed`, 'node'].toSorted())
  }))

test('R28: an archiving signer keeps each artifact before it signs it, signs nothing it does not get, and forgets in time', () =>
  inSetting(async ({ signing, jobs, archive, archived, time, open, keys }) => {
    const { id } = await signer(signing, { archive: 'artifacts' })
    const request = { type: 'raw', message: { octets: firmware } } as const
    const hashed = signing.sign('firmware', { format: 'plain', requests: [request] }, CI)
    await assert.rejects(hashed, { code: 'policyRefused', reason: 'signerUploadNeeded' })
    keys.unavailable = true
    const job = await over(jobs, await jobs.submit(sent(firmware, { isPatient: false }), CI))
    assert.equal(job.state, 'failed')
    const { file } = await archive.find(job.digest, id)
    assert.deepEqual(new Uint8Array(readFileSync(file)), firmware, 'it is kept before the key is asked')
    assert.equal(statSync(file).mode & 0o777, 0o400)
    keys.unavailable = false
    time.now += 5 * DAY_MILLISECONDS
    assert.equal((await over(jobs, await jobs.submit(sent(firmware), CI))).state, 'done')
    time.now += 6 * DAY_MILLISECONDS
    assert.equal(await archive.purge(), 0, 'its time runs from the last signature')
    time.now += 5 * DAY_MILLISECONDS
    assert.equal(await archive.purge(), 1)
    await assert.rejects(archive.find(job.digest, id), { code: 'notFound' })
    assert.deepEqual(readdirSync(join(archived, job.digest.slice(0, 2))), [])
    const without = openArchive({ ...none, directory: undefined, keepDays: 1 })
    const unset = open({ archive: without })
    const refused = await over(unset, await unset.submit(sent(firmware, { isPatient: false }), CI))
    assert.equal(refused.problem?.reason, 'archiveMissing')
  }))

/** Nothing of it is asked where there is no directory. */
const none = { db: undefined as unknown as Database, world: systemWorld(), organizationId }
