/** The audit log holds every act of this story, in an order that nobody can change unnoticed. @module */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type AnswerOf, type Client, RemoteRefusal } from '#server/rest/client.ts'
import { type Chapter, fact, must, NotAsExpected, present, type Scene } from '../story.ts'
import { CommandRefusal, runCommand } from '../server-process.ts'
import { grouped } from '../teller.ts'
import { administrator, server, witness } from './server.ts'

type Verification = AnswerOf<'verifyAuditLog'>
type Entry = AnswerOf<'listAuditEntries'>['items'][number]

const entries = fact<readonly Entry[]>('the entries of this story')
/** A file that proves a revocation. */
const proofFile = fact<string>('the proof')

/** Entries get their place within a second or two. */
const ORDERED_MAX_SECONDS = 15
const ASK_AGAIN_MILLISECONDS = 250
const PAGE = 500

/** Why the stolen device's certificates were revoked. */
const THEFT = 'keyCompromise'

export const recordChapter: Chapter = {
  title: 'The record',
  about: 'What was done and what was refused stands in a log, each entry chained to all before it, and signed.',
  steps: [
    {
      title: 'Every entry gets its place',
      async run(scene) {
        const { size } = await verified(scene, ({ waiting, signedSize, size }) => waiting === 0 && signedSize === size)
        return { said: `${grouped(size)} entries, none waiting` }
      },
    },
    {
      title: 'The whole log is verified',
      async run(scene) {
        const { problems, size } = await scene.known(administrator).call('verifyAuditLog', { body: {} })
        must(problems.length === 0, problems.map(({ sentence }) => sentence).join('\n'))
        const tally = { what: 'log entries verified', count: size, timed: true }
        return { said: 'each is what it was when it was signed', tally }
      },
    },
    {
      title: 'Every certificate of this story is in it',
      async run(scene) {
        const client = scene.known(administrator)
        const from = scene.known(server).startedAt.toISOString()
        const found = await allEntries(client, from)
        scene.note(entries, found)
        const issues = found.filter(({ act, outcome }) => act === 'certificate.issue' && outcome === 'done')
        const byProfile = Map.groupBy(issues, ({ facts }) => String(facts['profile']))
        const inStore = await certificatesSince(client, from)
        for (const profile of new Set([...inStore.keys(), ...byProfile.keys()])) {
          const [issued, logged] = [inStore.get(profile) ?? 0, byProfile.get(profile)?.length ?? 0]
          must(logged === issued, `${issued} certificates of profile ${profile} were issued, and the log has ${logged}`)
        }
        const total = [...inStore.values()].reduce((sum, count) => sum + count, 0)
        return { said: `${grouped(total)} certificates, ${grouped(issues.length)} entries` }
      },
    },
    {
      title: 'Every refusal is in it',
      async run(scene) {
        const refused = scene.known(entries).filter(({ outcome }) => outcome === 'refused')
        const reasons = new Set(refused.map(({ reason }) => reason))
        const wanted = [
          'secretUsed',
          'keyOfAnotherProduct',
          'productHasAnotherKey',
          'productSerialNotListed',
          'foreignProductSerial',
          'certificateRevoked',
          'deviceNotClaimed',
          'updateOtherModel',
          'usageSetBack',
        ]
        const missing = wanted.filter((reason) => !reasons.has(reason))
        must(missing.length === 0, `the log has no refusal for ${missing.join(', ')}`)
        return { said: `${refused.length} refusals with their reasons` }
      },
    },
    {
      title: 'The witness has cosigned it',
      async run(scene) {
        const entry = present(
          scene.known(entries).find(({ act, facts }) => act === 'certificate.revoke' && facts?.['reason'] === THEFT),
          'the log has no revocation for the theft',
        )
        const { size } = await cosigned(scene, present(entry.logIndex, 'the revocation has no place'))
        const query = { cosigned: true }
        const { proof } = await scene.known(administrator).call('proveAuditEntry', { params: { id: entry.id }, query })
        const directory = mkdtempSync(join(tmpdir(), 'sealworks-trial-'))
        scene.atEnd(() => rmSync(directory, { recursive: true, force: true }))
        const path = join(directory, 'revocation.tlog-proof')
        writeFileSync(path, proof)
        scene.note(proofFile, path)
        return { said: `all ${grouped(size)} entries up to then, theft included` }
      },
    },
    {
      title: 'sealworks audit check: the revocation, offline',
      async run(scene) {
        const { index, size, cosignatures } = await checkOffline(scene, scene.known(proofFile))
        must(cosignatures.length === 1, `${cosignatures.length} witnesses cosigned instead of one`)
        return { said: `entry ${grouped(index)} of ${grouped(size)}, by one file and two keys` }
      },
    },
    {
      title: 'The same file with another reason in it',
      async run(scene) {
        const path = forge(scene.known(proofFile))
        try {
          await checkOffline(scene, path)
        } catch (error) {
          if (!(error instanceof CommandRefusal)) throw error
          must(error.reason === 'auditProofWrong', `it was refused for ${error.reason} instead of auditProofWrong`)
          return { said: `refused: ${error.reason}` }
        }
        throw new NotAsExpected('a forged proof was believed')
      },
    },
  ],
}

interface Proven {
  readonly index: number
  readonly size: number
  readonly cosignatures: readonly unknown[]
}

/** Neither server nor database: a file, and the two keys that were kept. */
async function checkOffline(scene: Scene, path: string): Promise<Proven> {
  const { logKey, verifierKey } = scene.known(witness)
  return (await runCommand(['audit', 'check', path, '--verifier-key', logKey, '--witness', verifierKey])) as Proven
}

/** Somebody would rather have had another reason for the revocation. @returns the path of the forged file */
function forge(path: string): string {
  const lines = readFileSync(path, 'utf8').split('\n')
  const extra = present(
    lines.find((line) => line.startsWith('extra ')),
    'the proof has no entry',
  )
  const entry = Buffer.from(extra.slice('extra '.length), 'base64').toString()
  must(entry.includes(THEFT), `the entry gives no reason: ${entry}`)
  const changed = `extra ${Buffer.from(entry.replace(THEFT, 'superseded')).toString('base64')}`
  const forged = `${path}.forged`
  writeFileSync(forged, lines.map((line) => (line === extra ? changed : line)).join('\n'))
  return forged
}

/** @returns the newest checkpoint with the witness’s signature @throws NotAsExpected when it does not cover the entry in time */
async function cosigned({ known, world }: Scene, index: number): Promise<AnswerOf<'showAuditCheckpoint'>> {
  const begun = world.clock.now()
  for (;;) {
    try {
      const checkpoint = await known(administrator).call('showAuditCheckpoint', { query: { cosigned: true } })
      if (checkpoint.size > index) return checkpoint
    } catch (error) {
      if (!(error instanceof RemoteRefusal && error.reason === 'auditEntryUncosigned')) throw error
    }
    const late = world.clock.now() - begun > ORDERED_MAX_SECONDS * 1000
    must(!late, `after ${ORDERED_MAX_SECONDS} s, the witness has not cosigned entry ${index}`)
    await wait(ASK_AGAIN_MILLISECONDS)
  }
}

/** @throws NotAsExpected when the log is not whole, or does not come to order in time */
async function verified({ known, world }: Scene, isDone: (log: Verification) => boolean): Promise<Verification> {
  const begun = world.clock.now()
  for (;;) {
    const log = await known(administrator).call('verifyAuditLog', { body: {} })
    must(log.verified, log.problems.map(({ sentence }) => sentence).join('\n'))
    if (isDone(log)) return log
    const late = world.clock.now() - begun > ORDERED_MAX_SECONDS * 1000
    must(!late, `after ${ORDERED_MAX_SECONDS} s, ${log.waiting} entries still wait for their place`)
    await wait(ASK_AGAIN_MILLISECONDS)
  }
}

async function allEntries(client: Client, from: string): Promise<readonly Entry[]> {
  const found: Entry[] = []
  for (let cursor: string | undefined; ;) {
    const { items, next } = await client.call('listAuditEntries', {
      query: { from, limit: PAGE, ...(cursor !== undefined && { cursor }) },
    })
    found.push(...items)
    if (next === undefined) return found
    cursor = next
  }
}

/** How many certificates of each profile the server says that it issued. */
async function certificatesSince(client: Client, from: string): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>()
  for (let cursor: string | null = null; ;) {
    const answer: AnswerOf<'findCertificates'> = await client.call('findCertificates', {
      query: { limit: PAGE, ...(cursor !== null && { cursor }) },
    })
    for (const { profile, createdAt } of answer.certificates) {
      if (createdAt < from) return counts // newest first
      counts.set(profile, (counts.get(profile) ?? 0) + 1)
    }
    if (answer.cursor === null) return counts
    cursor = answer.cursor
  }
}
