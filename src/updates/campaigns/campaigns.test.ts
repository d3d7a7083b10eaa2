/** Campaigns on both engines: waves, gates, errors, consent, and what devices say against what they sign. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { keep } from '#store/batch.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { campaignWork, stepsOnReport } from './advance.ts'
import {
  consentForOwner,
  holdRestoredCampaigns,
  openCampaign,
  openNextWave,
  pauseCampaign,
  resumeCampaign,
  startCampaign,
  stopCampaign,
} from './campaigns.ts'
import { laggardsOf, progressOf } from './progress.ts'
import { actionStates, actionSteps, openStates } from './states.ts'
import { createToken, putTenant } from './tenants.ts'
import { officer, swu, testCampaigns, type TestCampaigns } from './testing.ts'
import { isWithinWindow, waveSizes } from './terms.ts'

const done = { execution: 'closed', finished: 'success', code: undefined, details: [] } as const
const failure = { execution: 'closed', finished: 'failure', code: 3, details: ['no slot'] } as const
const begun = { execution: 'proceeding', finished: 'none', code: undefined, details: [] } as const

/** A signed report came, and its signature was found good. */
async function report({ context, release }: TestCampaigns, deviceId: string, version: string, digest?: string): Promise<void> {
  const components = [{ name: 'press-os', version, digest: digest ?? release.artifacts[0]?.sha256 ?? '' }]
  await keep(context.db, await stepsOnReport(context, deviceId, components))
}

type Visitor = Awaited<ReturnType<TestCampaigns['visit']>>

async function offered({ door }: TestCampaigns, visitor: Visitor): Promise<number> {
  const { deployment } = await door.poll(visitor)
  return deployment ?? assert.fail(`${visitor.name} is offered nothing`)
}

/** The device takes its update and shows that it runs. */
async function install(all: TestCampaigns, deviceId: string): Promise<void> {
  const visitor = await all.visit(deviceId)
  const deployment = await offered(all, visitor)
  await all.door.deployment(visitor, deployment)
  await all.door.feedback(visitor, deployment, done)
  await report(all, deviceId, '2.0.0')
}

async function fail(all: TestCampaigns, deviceId: string): Promise<void> {
  const visitor = await all.visit(deviceId)
  const { deployment } = await all.door.poll(visitor)
  if (deployment !== undefined) await all.door.feedback(visitor, deployment, failure)
}

const stateOf = async (all: TestCampaigns, name = 'press'): Promise<string> => (await openCampaign(all.context, name)).state

const engines = [
  { id: 'sqlite' as const, skip: false },
  { id: 'postgres' as const, skip: postgresMissing() },
]

for (const { id, skip } of engines) {
  describe(`R12: campaigns on ${id}`, { skip }, () => {
    let server: TestServer | undefined
    /** Made once, and copied for each test. */
    let migrated: string | undefined
    before(async () => {
      if (id !== 'postgres') return
      server = await startPostgres({ durable: false })
      migrated = await server.createDatabase()
      await (await testCampaigns({ devices: 0, db: postgres({ url: migrated }) }))[Symbol.asyncDispose]()
    })
    after(() => server?.stop())

    /** What rests on no statement that the engines could read in two ways. */
    const onOne = (name: string, work: () => Promise<void>): void => {
      if (id === 'sqlite') test(name, work)
    }

    async function campaigns(devices: number): Promise<TestCampaigns> {
      const url = await server?.createDatabase(migrated)
      return testCampaigns({ devices, ...(url !== undefined && { db: postgres({ url }) }) })
    }

    test('each wave waits until enough of the one before run the new version', async () => {
      await using all = await campaigns(10)
      await all.create('press', { waves: [{ devices: 2 }, { percent: 30 }], gatePercent: 50 })
      assert.equal((await startCampaign(all.context, 'press', officer)).size, 10)
      const waves = async () => (await progressOf(all.context, await openCampaign(all.context, 'press'))).waves
      assert.deepEqual(
        (await waves()).map(({ size }) => size),
        [2, 3, 5],
      )
      const first = (await all.actions()).filter(({ wave }) => wave === 0).map(({ deviceId }) => deviceId)
      const others = (await all.actions()).filter(({ wave }) => wave > 0).map(({ deviceId }) => deviceId)
      assert.ok(!('deployment' in (await all.door.poll(await all.visit(others[0] ?? '')))), 'its wave is not open')

      const [one = ''] = first
      const visitor = await all.visit(one)
      await all.door.feedback(visitor, await offered(all, visitor), done)
      await all.work.runOnce()
      assert.equal((await openCampaign(all.context, 'press')).wave, 0, 'its word alone opens no gate')
      await report(all, one, '1.0.0')
      await all.work.runOnce()
      assert.equal((await openCampaign(all.context, 'press')).wave, 0, 'another version runs')
      await report(all, one, '2.0.0')
      await all.work.runOnce()
      assert.equal((await openCampaign(all.context, 'press')).wave, 1)

      for (const device of (await all.actions()).filter(({ wave }) => wave < 2 && wave > 0)) await install(all, device.deviceId)
      await all.work.runOnce()
      for (const { state, deviceId } of await all.actions()) if (state === 'offered') await install(all, deviceId)
      await all.work.runOnce()
      assert.equal(await stateOf(all), 'finished')
      assert.equal((await progressOf(all.context, await openCampaign(all.context, 'press'))).states.succeeded, 10)
      assert.equal(await all.audited('campaign.device-succeeded'), 10)
    })

    test('too many errors stop it: nobody is offered it any more, and who has begun is told', async () => {
      await using all = await campaigns(8)
      await all.create('press', { errors: { percent: 40, least: 3 } })
      await startCampaign(all.context, 'press', officer)
      const [a = '', b = '', c = '', d = '', e = ''] = (await all.actions()).map(({ deviceId }) => deviceId)
      const begins = await all.visit(d)
      const number = await offered(all, begins)
      await all.door.feedback(begins, number, begun)
      await install(all, a)
      await fail(all, b)
      await all.work.runOnce()
      assert.equal(await stateOf(all), 'running', 'two are too few to say')
      await fail(all, c)
      await all.work.settled()
      const stopped = await openCampaign(all.context, 'press')
      assert.deepEqual([stopped.state, stopped.reason], ['stopped', 'errorRate'])
      assert.equal('deployment' in (await all.door.poll(await all.visit(e))), false)

      assert.deepEqual(await all.door.poll(begins), { pollingSeconds: 60, wantsAttributes: true, cancel: number })
      await all.door.checkCanceled(begins, number)
      await assert.rejects(all.door.deployment(begins, number), { reason: 'actionNotOffered' })
      await all.door.cancelFeedback(begins, number, done)
      const { states, reasons } = await progressOf(all.context, stopped)
      assert.deepEqual([states.succeeded, states.failed, states.canceled], [1, 2, 5])
      assert.deepEqual(reasons, [
        { state: 'canceled', reason: 'campaignStopped', devices: 5 },
        { state: 'failed', reason: 'deviceFailed', devices: 2 },
      ])
      const told = await laggardsOf(all.context, stopped, { limit: 10, state: 'failed' })
      assert.deepEqual(
        told.map(({ name, lag, reason, detail }) => [name, lag, reason, detail]),
        [b, c].toSorted().map((device) => [`serial of ${device}`, 'failed', 'deviceFailed', 'code 3; no slot']),
      )
    })

    onOne('a device that cannot give up any more goes on, and its report counts', async () => {
      await using all = await campaigns(1)
      await all.create('press')
      await startCampaign(all.context, 'press', officer)
      const visitor = await all.visit('d0000')
      const number = await offered(all, visitor)
      await all.door.feedback(visitor, number, begun)
      await stopCampaign(all.context, 'press', 'a fault', officer)
      await all.door.cancelFeedback(visitor, number, { ...begun, execution: 'rejected' })
      assert.ok('deployment' in (await all.door.poll(visitor)))
      await report(all, 'd0000', '2.0.0')
      const [action] = await all.actions()
      assert.equal(action?.state, 'succeeded')
    })

    onOne('paused, it offers nothing; resumed, it goes on; stopped, it does not', async () => {
      await using all = await campaigns(2)
      await all.create('press')
      await startCampaign(all.context, 'press', officer)
      const visitor = await all.visit('d0001')
      await pauseCampaign(all.context, 'press', 'lunch', officer)
      assert.equal('deployment' in (await all.door.poll(visitor)), false)
      await assert.rejects(pauseCampaign(all.context, 'press', 'lunch', officer), { reason: 'campaignState' })
      await resumeCampaign(all.context, 'press', officer)
      assert.equal('deployment' in (await all.door.poll(visitor)), true)
      await stopCampaign(all.context, 'press', 'enough', officer)
      await assert.rejects(resumeCampaign(all.context, 'press', officer), { reason: 'campaignState' })
      await assert.rejects(startCampaign(all.context, 'press', officer), { reason: 'campaignState' })
    })

    onOne('R22: restored, no campaign offers anything before an officer resumes it, also to who began to fetch', async () => {
      await using all = await campaigns(4)
      const { context, door } = all
      await all.create('press')
      await startCampaign(context, 'press', officer)
      await all.create('cut-off')
      await keep(context.db, [
        {
          sql: "UPDATE campaign SET state = 'planning', planned_after = '', size = 1 WHERE name = ?",
          parameters: ['cut-off'],
        },
        {
          sql: `INSERT INTO campaign_action (organization_id, version, campaign_id, device_id, position, state, contradictions, is_cancel_asked,
              changed_at) SELECT organization_id, 1, id, 'd0000', 1, 'planned', 0, 0, 1 FROM campaign WHERE name = ?`,
          parameters: ['cut-off'],
        },
      ])
      const [waits, fetches, installs] = await Promise.all(['d0000', 'd0001', 'd0002'].map((device) => all.visit(device)))
      assert.ok(waits && fetches && installs)
      const number = await offered(all, fetches)
      await door.feedback(fetches, number, { ...begun, execution: 'download' })
      await door.feedback(installs, await offered(all, installs), { ...begun, execution: 'downloaded' })
      const held = await context.db.transaction((tx) => holdRestoredCampaigns(tx, context.world))
      assert.deepEqual(held, ['cut-off', 'press'])
      assert.deepEqual([await stateOf(all), await stateOf(all, 'cut-off')], ['paused', 'draft'])
      assert.match((await openCampaign(context, 'press')).reason ?? '', /restored/)
      await all.work.runOnce()
      for (const visitor of [waits, fetches]) assert.equal('deployment' in (await door.poll(visitor)), false)
      await assert.rejects(door.deployment(fetches, number), { reason: 'actionNotOffered' })
      await assert.rejects(door.artifact(fetches, number, 'press.swu'), { reason: 'actionNotOffered' })
      assert.ok('deployment' in (await door.poll(installs)), 'who installs finishes')
      await resumeCampaign(context, 'press', officer)
      assert.equal(await offered(all, fetches), number)
      assert.ok('deployment' in (await door.poll(waits)))
      const again = await startCampaign(context, 'cut-off', officer)
      assert.deepEqual([again.state, again.size, again.reason], ['running', 4, undefined], 'listed anew')
    })

    test('the driver is asked, and what was agreed to stands in the statement by its digest', async () => {
      await using all = await campaigns(4)
      await all.create('press', { consent: 'driver' })
      await startCampaign(all.context, 'press', officer)
      const [yes, no, always] = await Promise.all(['d0000', 'd0001', 'd0002'].map((device) => all.visit(device)))
      assert.ok(yes && no && always)
      const { confirmation: number = 0 } = await all.door.poll(yes)
      assert.equal((await all.door.toConfirm(yes, number)).chunks[0]?.artifacts.length, 2, 'no statement before there is consent')
      await assert.rejects(all.door.deployment(yes, number), { reason: 'actionNotOffered' })
      await assert.rejects(all.door.artifact(yes, number, 'press.swu'), { reason: 'actionNotOffered' })
      await all.door.confirm(yes, number, { confirmation: 'confirmed', details: ['by the wheel'] })
      await all.door.confirm(yes, number, { confirmation: 'confirmed', details: ['again'] })
      await all.door.deployment(yes, number)
      const [kept, ...more] = await all.context.db.query('SELECT octets FROM campaign_consent')
      assert.equal(more.length, 0)
      const octets = kept?.['octets'] as Uint8Array
      assert.deepEqual(all.orders[0]?.consent, new Uint8Array(createHash('sha256').update(octets).digest()))
      assert.match(
        new TextDecoder().decode(octets),
        /"release":"0190a1b2.*"by":"driver".*"action":\d+,"remarks":\["by the wheel"\]/,
      )

      const { confirmation: other = 0 } = await all.door.poll(no)
      await all.door.confirm(no, other, { confirmation: 'denied', details: [] })
      assert.deepEqual(await all.door.poll(no), { pollingSeconds: 60, wantsAttributes: true })
      await assert.rejects(all.door.confirm(no, other, { confirmation: 'confirmed', details: [] }), { reason: 'actionOver' })

      await all.door.setAutoConfirmation(always, { initiator: 'fleet', remark: undefined })
      assert.ok('deployment' in (await all.door.poll(always)))
      assert.equal((await all.door.confirmations(always)).autoConfirm?.initiator, 'fleet')
      await all.door.setAutoConfirmation(always, undefined)
      assert.equal((await all.door.confirmations(always)).autoConfirm, undefined)
      const states = (await all.actions()).map(({ state, reason }) => [state, reason])
      assert.deepEqual(states, [
        ['confirmed', undefined],
        ['rejected', 'driverDenied'],
        ['confirmed', undefined],
        ['offered', undefined],
      ])
    })

    onOne('R12: what a device says of its progress takes it past no consent, window or pause', async () => {
      await using all = await campaigns(4)
      const words = [begun, done, { ...begun, execution: 'download' }, { ...begun, execution: 'downloaded' }] as const
      const getsNothing = async (deviceId: string, number: number): Promise<void> => {
        const visitor = await all.visit(deviceId)
        for (const word of words) await assert.rejects(all.door.feedback(visitor, number, word), { reason: 'actionNotOffered' })
        assert.equal('deployment' in (await all.door.poll(visitor)), false)
        await assert.rejects(all.door.artifact(visitor, number, 'press.swu'), { reason: 'actionNotOffered' })
        assert.deepEqual([all.orders.length, (await all.actions())[0]?.state], [0, 'offered'], 'no statement was asked for')
      }
      const numberOf = async (campaign: string): Promise<number> => (await all.actions(campaign))[0]?.number ?? 0
      await all.create('press', { consent: 'driver', who: { devices: ['d0000'] } })
      await startCampaign(all.context, 'press', officer)
      await getsNothing('d0000', await numberOf('press'))
      await stopCampaign(all.context, 'press', 'enough', officer)

      const now = new Date(all.context.world.clock.now())
      const closed = { from: (now.getUTCHours() * 60 + now.getUTCMinutes() + 720) % 1440, minutes: 60 }
      for (const [name, terms, deviceId] of [
        ['owners', { consent: 'owner' }, 'd0001'],
        ['nightly', { windows: [closed] }, 'd0002'],
        ['paused', {}, 'd0003'],
      ] as const) {
        await all.create(name, {
          ...terms,
          windows: [...('windows' in terms ? terms.windows : [])],
          who: { devices: [deviceId] },
        })
        await startCampaign(all.context, name, officer)
        if (name === 'paused') await pauseCampaign(all.context, name, 'lunch', officer)
        const [action] = await all.actions(name)
        const visitor = await all.visit(deviceId)
        for (const word of words)
          await assert.rejects(all.door.feedback(visitor, action?.number ?? 0, word), { reason: 'actionNotOffered' }, name)
        assert.equal('deployment' in (await all.door.poll(visitor)), false, name)
        assert.equal((await all.actions(name))[0]?.state, 'offered', name)
      }
      assert.equal(all.orders.length, 0)
    })

    onOne('R12: what was agreed or given under one owner ends with the ownership', async () => {
      await using all = await campaigns(3)
      await putTenant(all.context, { name: 'plant', pollingSeconds: 60, takesTokens: true, state: 'enabled' }, officer)
      await all.create('press', { consent: 'driver' })
      await startCampaign(all.context, 'press', officer)
      const token = await createToken(all.context, 'd0000', officer)
      const come = () => all.door.authenticate('plant', 'd0000', { chain: [], targetToken: token })
      const always = await all.visit('d0001')
      await all.door.setAutoConfirmation(always, { initiator: 'the former owner', remark: undefined })
      const agreed = await all.visit('d0002')
      const { confirmation: number = 0 } = await all.door.poll(agreed)
      await all.door.confirm(agreed, number, { confirmation: 'confirmed', details: [] })
      await come()

      all.sell('d0000', 'd0001', 'd0002')
      await assert.rejects(come(), { reason: 'targetTokenWrong' })
      const answer = await all.door.poll(await all.visit('d0001'))
      assert.deepEqual(['confirmation' in answer, 'deployment' in answer], [true, false], 'its new owner agreed to nothing')
      assert.equal((await all.door.confirmations(await all.visit('d0001'))).autoConfirm, undefined)
      await assert.rejects(all.door.deployment(await all.visit('d0002'), number), { reason: 'actionNotOffered' })
      assert.deepEqual([all.orders.length, (await all.actions())[2]?.reason], [0, 'ownerChanged'])
    })

    onOne('a wave of which nobody can come to run it opens no other: that takes a person', async () => {
      await using all = await campaigns(3)
      await all.create('press', { waves: [{ devices: 1 }], gatePercent: 90 })
      await startCampaign(all.context, 'press', officer)
      const first = (await all.actions()).find(({ wave }) => wave === 0)
      const visitor = await all.visit(first?.deviceId ?? '')
      await all.door.feedback(visitor, first?.number ?? 0, { ...failure, execution: 'rejected' })
      await all.work.settled()
      await all.work.runOnce()
      assert.equal((await openCampaign(all.context, 'press')).wave, 0, 'nothing shows that the version is good')
      await openNextWave(all.context, 'press', officer)
      assert.equal((await openCampaign(all.context, 'press')).wave, 1)
    })

    onOne('R22: a campaign whose devices are still listed can be stopped', async () => {
      const faults = {
        reach(point: string) {
          if (point === 'campaign devices listed') throw new Error('the process ends here')
        },
      }
      await using all = await testCampaigns({ devices: 2, world: { ...systemWorld(), faults } })
      await all.create('press')
      await assert.rejects(startCampaign(all.context, 'press', officer), /ends here/)
      assert.equal((await openCampaign(all.context, 'press')).state, 'planning')
      assert.equal((await stopCampaign(all.context, 'press', 'a mistake', officer)).state, 'stopped')
      await all.work.runOnce()
      assert.deepEqual(
        (await all.actions()).map(({ state }) => state),
        ['canceled', 'canceled'],
      )
    })

    onOne('R21: a device that agrees beforehand again and again fills no log', async () => {
      await using all = await campaigns(1)
      const visitor = await all.visit('d0000')
      const wanted = { initiator: 'fleet', remark: undefined }
      const noted = async () => [await all.audited('ddi.auto-confirm-on'), await all.audited('ddi.auto-confirm-off')]
      await all.door.setAutoConfirmation(visitor, undefined)
      assert.deepEqual(await noted(), [0, 0], 'nothing changed')
      await all.door.setAutoConfirmation(visitor, wanted)
      await all.door.setAutoConfirmation(visitor, wanted)
      await all.door.setAutoConfirmation(visitor, undefined)
      await assert.rejects(all.door.setAutoConfirmation(visitor, wanted), { code: 'rateLimited' })
      assert.deepEqual(await noted(), [1, 1])
      all.time.ahead += 60_000
      await all.door.setAutoConfirmation(visitor, wanted)
      assert.deepEqual(await noted(), [2, 1])
    })

    onOne('the owner agrees for devices that are theirs, and nobody else’s', async () => {
      await using all = await campaigns(2)
      await all.create('press', { consent: 'owner' })
      await startCampaign(all.context, 'press', officer)
      const [anns, bens] = [await all.visit('d0000'), await all.visit('d0001')]
      assert.deepEqual(await all.door.poll(anns), { pollingSeconds: 60, wantsAttributes: true })
      const consent = (owner: string, by = officer) =>
        consentForOwner(all.context, 'press', { owner, deviceIds: ['d0000', 'd0001'] }, by)
      await assert.rejects(consent('ann', 'person:mallory'), { reason: 'organizationNotTheirs' })
      assert.equal(await consent('ann'), 1)
      await assert.rejects(consent('ann'), { reason: 'campaignConsentNobody' }, 'none of hers waits any more')
      const number = await offered(all, anns)
      await all.door.deployment(anns, number)
      assert.equal(all.orders[0]?.consent?.length, 32)
      assert.deepEqual(await all.door.poll(bens), { pollingSeconds: 60, wantsAttributes: true }, 'ben was not asked')
      assert.equal((await all.actions()).find(({ deviceId }) => deviceId === 'd0001')?.state, 'offered')
    })

    onOne('R12: whom the director refuses gets neither statement nor artifact, and the reason is told', async () => {
      await using all = await campaigns(2)
      all.refused.add('d0000').add('d0001')
      await all.create('press')
      await startCampaign(all.context, 'press', officer)
      const visitors = [await all.visit('d0000'), await all.visit('d0001')] as const
      const numbers = [await offered(all, visitors[0]), await offered(all, visitors[1])] as const
      await assert.rejects(all.door.deployment(visitors[0], numbers[0]), { reason: 'actionNotOffered' })
      await assert.rejects(all.door.artifact(visitors[1], numbers[1], 'press.swu'), {
        reason: 'actionNotOffered',
      })
      assert.deepEqual(
        (await all.actions()).map(({ state, reason }) => [state, reason]),
        [
          ['rejected', 'updateOtherModel'],
          ['rejected', 'updateOtherModel'],
        ],
      )
    })

    onOne('R12: going back is asked of the director as such, for this device and by this action', async () => {
      await using all = await campaigns(1)
      await all.create('press', { kind: 'rollback' })
      await startCampaign(all.context, 'press', officer)
      const visitor = await all.visit('d0000')
      const number = await offered(all, visitor)
      const { chunks } = await all.door.deployment(visitor, number)
      assert.deepEqual(all.orders, [
        { releaseId: all.release.id, deviceId: 'd0000', kind: 'rollback', action: number, consent: undefined },
      ])
      const sizes = chunks[0]?.artifacts.map(({ filename, octets }) => [filename, octets])
      const { read } = await all.door.artifact(visitor, number, 'press.swu')
      assert.equal((await all.actions())[0]?.state, 'offered', 'who only asks has not begun')
      const pieces = await Array.fromAsync(read(0, swu.length))
      assert.deepEqual([(await all.actions())[0]?.state, Buffer.concat(pieces).length], ['downloading', swu.length])
      assert.deepEqual(
        sizes?.find(([name]) => name === 'press.swu'),
        ['press.swu', swu.length],
      )
    })

    onOne('actions of other devices are not there', async () => {
      await using all = await campaigns(2)
      await all.create('press')
      await startCampaign(all.context, 'press', officer)
      const [own, other] = [await all.visit('d0000'), await all.visit('d0001')]
      const number = await offered(all, own)
      for (const asked of [
        () => all.door.deployment(other, number),
        () => all.door.artifact(other, number, 'press.swu'),
        () => all.door.feedback(other, number, done),
        () => all.door.cancelFeedback(other, number, done),
        () => all.door.installed(other, number),
        () => all.door.confirm(other, number, { confirmation: 'confirmed', details: [] }),
      ])
        await assert.rejects(asked(), { reason: 'actionUnknown' })
      await assert.rejects(
        all.door.authenticate('plant', 'd0001', { chain: [new TextEncoder().encode('d0000')], targetToken: undefined }),
        {
          code: 'unauthenticated',
        },
      )
      await assert.rejects(all.door.authenticate('elsewhere', 'd0001', { chain: [], targetToken: undefined }), {
        reason: 'tenantUnknown',
      })
    })

    onOne('a device that says twice that it is done, and signs that it is not, has failed', async () => {
      await using all = await campaigns(1)
      await all.create('press')
      await startCampaign(all.context, 'press', officer)
      const visitor = await all.visit('d0000')
      const number = await offered(all, visitor)
      await all.door.feedback(visitor, number, done)
      assert.equal('deployment' in (await all.door.poll(visitor)), false)
      const lag = async () => (await laggardsOf(all.context, await openCampaign(all.context, 'press'), { limit: 1 }))[0]?.lag
      assert.equal(await lag(), 'noSignedReport')
      await report(all, 'd0000', '1.9.0')
      assert.equal(await lag(), 'otherVersionReported')
      await report(all, 'd0000', '2.0.0', '0'.repeat(64)) // the right word for other octets
      const [action] = await all.actions()
      assert.deepEqual([action?.state, action?.reason], ['failed', 'otherVersionRuns'])
      await all.door.feedback(visitor, number, { ...done, finished: 'failure' }) // it repeats itself: nothing changes
      await assert.rejects(all.door.feedback(visitor, number, done), { reason: 'actionOver' })
    })

    test('R22: whatever comes at once, each device ends once, and the log has each end once', async () => {
      await using all = await campaigns(24)
      await all.create('press', { waves: [{ devices: 12 }], gatePercent: 25, errors: { percent: 60, least: 20 } })
      await startCampaign(all.context, 'press', officer)
      const judging = [campaignWork(all.context), campaignWork(all.context)]
      const tolerant = (work: Promise<unknown>): Promise<unknown> =>
        work.catch((thrown: unknown) => {
          const { code } = asTrustError(thrown)
          if (code !== 'conflict' && code !== 'notFound') throw thrown // it was over, or somebody was faster
        })
      for (let round = 0; round < 2; round++) {
        const offers = (await all.actions()).filter(({ state }) => state === 'offered')
        await Promise.all([
          ...offers.flatMap(({ deviceId }, at) => [
            tolerant(at % 3 === 0 ? fail(all, deviceId) : install(all, deviceId)),
            tolerant(at % 3 === 0 ? fail(all, deviceId) : report(all, deviceId, '2.0.0')),
          ]),
          ...judging.map((work) => work.runOnce()),
          ...(round === 1 ? [tolerant(stopCampaign(all.context, 'press', 'enough', officer))] : []),
        ])
        await all.work.settled()
        await all.work.runOnce()
      }
      const { states } = await progressOf(all.context, await openCampaign(all.context, 'press'))
      assert.equal(
        Object.values(states).reduce((sum, count) => sum + count, 0),
        24,
      )
      assert.equal(states.planned + states.offered + states.confirmed, 0)
      for (const state of ['succeeded', 'failed'] as const)
        assert.equal(await all.audited(`campaign.device-${state}`), states[state], state)
      assert.equal(await all.audited('campaign.open-wave'), 2)
      assert.equal((await all.audited('campaign.stop')) + (await all.audited('campaign.finish')), 1)
    })

    test('R12: only those are listed whose version is in the range', async () => {
      await using all = await campaigns(4)
      const { db, organizationId, world } = all.context
      const known = (
        [
          ['d0000', 5],
          ['d0001', 7],
          ['d0002', 6],
        ] as const
      ).map(([device, counter]) => ({
        sql: `INSERT INTO installed_version (device_id, organization_id, version, component, installed, counter, digest, release_id, source, at)
            VALUES (?, ?, 1, ?, '1', ?, NULL, NULL, 'signed', ?)`,
        parameters: [device, organizationId, 'press-os', counter, world.clock.now()],
      }))
      await keep(db, known)
      await all.create('press', { who: { installed: { counterMin: 1, counterMax: 6 } } })
      await startCampaign(all.context, 'press', officer)
      assert.deepEqual(
        (await all.actions()).map(({ deviceId }) => deviceId),
        ['d0000', 'd0002'],
      )
      await all.create('nobody', { who: { installed: { counterMin: 9 } } })
      await assert.rejects(startCampaign(all.context, 'nobody', officer), { reason: 'campaignNobody' })
    })

    test('a device is in the hands of one campaign at a time', async () => {
      await using all = await campaigns(3)
      await all.create('press')
      await all.create('second')
      await startCampaign(all.context, 'press', officer)
      await startCampaign(all.context, 'second', officer)
      assert.deepEqual(new Set((await all.actions('second')).map(({ state }) => state)), new Set(['planned']))
      assert.equal(
        (await laggardsOf(all.context, await openCampaign(all.context, 'second'), { limit: 1 }))[0]?.lag,
        'otherCampaign',
      )
      await fail(all, 'd0001')
      await all.work.runOnce()
      assert.deepEqual(
        (await all.actions('second')).map(({ state }) => state),
        ['planned', 'offered', 'planned'],
      )
      await stopCampaign(all.context, 'press', 'enough', officer)
      await all.work.runOnce()
      assert.deepEqual(
        (await all.actions('second')).map(({ state }) => state),
        ['offered', 'offered', 'offered'],
      )
    })

    onOne('R4: tokens are off; turned on, each is for one device, and a later one ends it', async () => {
      await using all = await campaigns(2)
      const token = await createToken(all.context, 'd0000', officer)
      const come = (name: string, targetToken: string) => all.door.authenticate('plant', name, { chain: [], targetToken })
      await assert.rejects(come('d0000', token), { code: 'unauthenticated' })
      assert.equal(await all.audited('device.connect'), 1, 'also at a door that takes none')
      await putTenant(all.context, { name: 'plant', pollingSeconds: 60, takesTokens: true, state: 'enabled' }, officer)
      assert.equal((await come('d0000', token)).deviceId, 'd0000')
      await assert.rejects(come('d0001', token), { reason: 'targetTokenWrong' })
      await assert.rejects(come('d0000', `${token}x`), { reason: 'targetTokenWrong' })
      assert.equal(await all.audited('device.connect'), 2, 'once a minute, however often somebody guesses')
      all.time.ahead += 60_000
      await assert.rejects(come('d0001', token), { reason: 'targetTokenWrong' })
      assert.equal(await all.audited('device.connect'), 3)
      const later = await createToken(all.context, 'd0000', officer)
      await assert.rejects(come('d0000', token), { reason: 'targetTokenWrong' })
      assert.equal((await come('d0000', later)).deviceId, 'd0000')
      const stored = await all.context.db.query('SELECT * FROM ddi_token')
      assert.equal(JSON.stringify(stored).includes(later), false)
    })

    test('windows, formats, attributes and contacts', async () => {
      await using all = await campaigns(2)
      const now = new Date(all.context.world.clock.now())
      const closed = { from: (now.getUTCHours() * 60 + now.getUTCMinutes() + 720) % 1440, minutes: 60 }
      await all.create('press', { windows: [closed] })
      await startCampaign(all.context, 'press', officer)
      const visitor = await all.visit('d0000')
      assert.deepEqual(await all.door.poll(visitor), { pollingSeconds: 60, wantsAttributes: true })
      const [{ number } = { number: 0 }] = await all.actions()
      const shown = await all.door.deployment(visitor, number)
      assert.deepEqual([shown.update, shown.maintenanceWindow, shown.chunks[0]?.artifacts.length], ['skip', 'unavailable', 2])
      await assert.rejects(all.door.artifact(visitor, number, 'press.swu'), { reason: 'actionNotOffered' })
      await all.door.writeContacts()
      const lag = async () =>
        (await laggardsOf(all.context, await openCampaign(all.context, 'press'), { limit: 5 })).map((one) => one.lag)
      assert.deepEqual(await lag(), ['outsideWindow', 'neverSeen'])
      all.time.ahead += 12 * 3_600_000
      await all.door.setAttributes(visitor, 'merge', { formats: 'swupdate', board: 'press' })
      assert.deepEqual(await all.door.poll(visitor), { pollingSeconds: 60, wantsAttributes: false, deployment: number })
      const names = (await all.door.deployment(visitor, number)).chunks[0]?.artifacts.map(({ filename }) => filename)
      assert.deepEqual(names, ['press.swu', 'director.cose'])
      await all.door.setAttributes(visitor, 'remove', { formats: '' })
      assert.equal((await all.door.deployment(visitor, number)).chunks[0]?.artifacts.length, 3)
      await assert.rejects(openNextWave(all.context, 'press', officer), { reason: 'campaignLastWave' })
    })
  })
}

test('waves have all devices, and none is empty', () => {
  const wave = fc.oneof(
    fc.record({ percent: fc.double({ min: 0.01, max: 30, noNaN: true }) }),
    fc.record({ devices: fc.integer({ min: 1, max: 500 }) }),
  )
  fc.assert(
    fc.property(fc.array(wave, { maxLength: 6 }), fc.nat({ max: 2000 }), (waves, size) => {
      const sizes = waveSizes({ waves }, size)
      assert.equal(
        sizes.reduce((sum, one) => sum + one, 0),
        size,
      )
      assert.ok(sizes.every((one) => one > 0))
    }),
  )
})

test('windows go over midnight and the end of the week', () => {
  const saturdayNight = { windows: [{ day: 6, from: 23 * 60, minutes: 120 }] }
  assert.equal(isWithinWindow(saturdayNight, Date.parse('2026-11-21T23:30:00Z')), true)
  assert.equal(isWithinWindow(saturdayNight, Date.parse('2026-11-22T00:59:00Z')), true)
  assert.equal(isWithinWindow(saturdayNight, Date.parse('2026-11-22T01:00:00Z')), false)
  assert.equal(isWithinWindow({ windows: [{ from: 1430, minutes: 20 }] }, Date.parse('2026-11-23T00:05:00Z')), true)
  assert.equal(isWithinWindow({ windows: [] }, 0), true)
})

test('nothing follows an end, and only what is open ends well', () => {
  for (const state of actionStates) {
    const isEnd = ['succeeded', 'failed', 'canceled', 'rejected'].includes(state)
    assert.equal(actionSteps[state].length === 0, isEnd)
    assert.equal(
      (actionSteps[state] as readonly string[]).includes('succeeded'),
      (openStates as readonly string[]).includes(state),
    )
  }
})
