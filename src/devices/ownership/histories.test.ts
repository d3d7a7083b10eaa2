/** Random sales between owners, on both engines, two acts at once among them: what is recorded is what the chain says. @module */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { openDevice } from '../device.ts'
import { officer } from '../testing.ts'
import { openChain } from './records.ts'
import { type TestInstallation, testInstallation } from './testing.ts'
import { answerHere, completeHere, offer, openTransfer, release, type TransferState, withdraw } from './transfers.ts'

/** `on`: whatever comes next for it. */
const acts = ['on', 'on', 'on', 'offer anna', 'offer bert', 'accept', 'reject', 'withdraw', 'release', 'complete'] as const
type Deed = (typeof acts)[number]
/** One after the other, or two at the same time. */
const deeds = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constantFrom(...acts)) },
    fc.tuple(fc.constantFrom(...acts), fc.constantFrom(...acts)),
  ),
  {
    maxLength: 14,
  },
)

const following: Readonly<Partial<Record<TransferState, Deed>>> = {
  offered: 'accept',
  accepted: 'release',
  releasing: 'release',
  released: 'complete',
}

async function play(plant: TestInstallation, productSerial: string, course: readonly (readonly Deed[])[]): Promise<number> {
  const { context } = plant
  const { device, key } = await plant.shipped(productSerial)
  let open = ''
  const does = (deed: Deed): Promise<unknown> => {
    if (deed === 'on')
      return openTransfer(context, open).then(
        ({ state }) => does(following[state] ?? 'offer bert'),
        () => does('offer anna'),
      )
    if (deed === 'accept' || deed === 'reject') return answerHere(context, open, deed === 'accept', officer)
    if (deed === 'withdraw') return withdraw(context, open, officer)
    if (deed === 'release') return release(context, open, officer)
    if (deed === 'complete') return completeHere(context, open, officer)
    return offer(context, { deviceId: device.id, to: deed.slice(6), terms: 'EXW', validSeconds: 86_400 }, officer).then(
      ({ id }) => (open = id),
    )
  }
  for (const together of course) {
    await Promise.all(
      together.map((deed) =>
        does(deed).catch((thrown: unknown) => assert.notEqual(asTrustError(thrown).code, 'internal', String(thrown))),
      ),
    )
    await check(plant, device.id, key.device)
  }
  return (await openDevice(context, context.db, device.id)).epoch
}

async function check({ context }: TestInstallation, deviceId: string, name: string): Promise<void> {
  const { db } = context
  const now = await openDevice(context, db, deviceId)
  const { standing } = await openChain(context, now) // every signature of it
  assert.ok(standing === undefined || standing.device === name)
  const rows = await db.query<{ state: string; epoch: number }>(
    'SELECT state, epoch FROM ownership_transfer WHERE device_id = ? ORDER BY id',
    deviceId,
  )
  const openOnes = rows.filter(({ state }) => ['offered', 'accepted', 'releasing', 'released'].includes(state))
  assert.ok(openOnes.length <= 1, 'one open transfer at most')
  const isReleased = openOnes.some(({ state }) => state === 'released')
  assert.equal(standing?.epoch ?? 0, now.epoch + (isReleased ? 1 : 0), 'the chain is ahead by what was released and not taken')
  const completed = rows.filter(({ state }) => state === 'completed').map(({ epoch }) => epoch)
  assert.deepEqual(
    completed,
    Array.from({ length: now.epoch }, (_, at) => at + 1),
    'each epoch was sold once, in order',
  )
  if (now.epoch > 0 && !isReleased) {
    const [owner] = await db.query<{ name: string }>('SELECT name FROM organization WHERE id = ?', now.ownerId ?? '')
    assert.equal(owner?.name, standing?.owner.name, 'the owner is who the chain names')
  }
  const epochs = await db.query<{ epoch: number; closed_at: number | null }>(
    'SELECT epoch, closed_at FROM ownership_epoch WHERE device_id = ? ORDER BY epoch',
    deviceId,
  )
  assert.deepEqual(
    epochs.map(({ epoch, closed_at: closed }) => [epoch, closed === null]),
    Array.from({ length: now.epoch }, (_, at) => [at + 1, at + 1 === now.epoch]),
  )
}

async function histories(plant: TestInstallation, numRuns: number): Promise<void> {
  await using _ = plant
  for (const name of ['valves', 'anna', 'bert']) await plant.organization(name)
  let serial = 0
  let furthest = 0
  await fc.assert(
    fc.asyncProperty(deeds, async (course) => {
      furthest = Math.max(furthest, await play(plant, `R-${++serial}`, course))
    }),
    // two sales through, whatever chance brings besides
    { numRuns, examples: [[Array.from({ length: 8 }, (): [Deed] => ['on'])]] },
  )
  assert.ok(furthest >= 2)
}

const withoutPostgres = postgresMissing()

describe('R6: random sales, some acts at once, keep to the chain', () => {
  let server: TestServer
  before(async () => {
    if (withoutPostgres === false) server = await startPostgres({ durable: false })
  })
  after(async () => {
    if (withoutPostgres === false) await server.stop()
  })

  test('on SQLite', async () => histories(await testInstallation(), 25))
  test('on PostgreSQL', { skip: withoutPostgres }, async () =>
    histories(await testInstallation(postgres({ url: await server.createDatabase() })), 15),
  )
})
