/** The audit log holds every act of this story, in an order that nobody can change unnoticed. @module */
import { setTimeout as wait } from 'node:timers/promises'
import type { AnswerOf, Client } from '#server/rest/client.ts'
import { type Chapter, fact, must, type Scene } from '../story.ts'
import { administrator, server } from './server.ts'
import { grouped } from '../teller.ts'

type Verification = AnswerOf<'verifyAuditLog'>
type Entry = AnswerOf<'listAuditEntries'>['items'][number]

const entries = fact<readonly Entry[]>('the entries of this story')

/** Entries get their place within a second or two. */
const ORDERED_MAX_SECONDS = 15
const ASK_AGAIN_MILLISECONDS = 250
const PAGE = 500

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
        ]
        const missing = wanted.filter((reason) => !reasons.has(reason))
        must(missing.length === 0, `the log has no refusal for ${missing.join(', ')}`)
        return { said: `${refused.length} refusals with their reasons` }
      },
    },
  ],
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
