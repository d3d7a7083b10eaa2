/**
 * The engine controller's case, as a story of its own (R12): whatever is brought to it, over the air or on a stick, it installs
 * only what its maker made for that very model and revision, and what its director meant for that very device. Each layer is
 * shown to hold alone: the server does not offer, the agent refuses, and the update tool refuses.
 *
 * Real releases, approvals, signers, director, campaigns and DDI over mutual TLS, real agents, and SWUpdate and RAUC as Debian has them.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { type Agent, openAgent, runAgent } from '#agent/agent.ts'
import { decideConsent, sentenceOf, updateOverAir } from '#agent/update-ddi.ts'
import { readUpdateState } from '#agent/update-state.ts'
import { updateFrom } from '#agent/update-stick.ts'
import { sha256, trustListOf, writeStick } from '#agent/testing.ts'
import type { Role } from '#access/rights.ts'
import { listAuditEntries } from '#audit/log.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { systemWorld, uuidv7 } from '#base/world.ts'
import { parseCOSE } from '#cbor/cose.ts'
import { ocsp } from '#ca/ocsp.ts'
import { readReport, REPORT_MAX_OCTETS } from '#devices/state/messages.ts'
import { type DdiService, ddi } from '#protocols/ddi/index.ts'
import { deviceState } from '#protocols/device-state/index.ts'
import { dispatcher, mount, type Mounted } from '#protocols/dispatch.ts'
import type { Caller } from '#cli/connection.ts'
import { releaseOnStick } from '#cli/release-stick.ts'
import { composeProtocols } from '#server/compose.ts'
import { inProcessTransport, restClient } from '#server/rest/client.ts'
import { releaseRoutes } from '#server/rest/releases.ts'
import { openRest } from '#server/rest/testing.ts'
import { face, listenFor } from '#server/testing.ts'
import { campaignReleases } from '#server/updates.ts'
import { onBehalf, signMessage } from '#signing/message-signing.ts'
import { keep } from '#store/batch.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { actionOf } from '#updates/campaigns/actions.ts'
import { campaignWork, stepsOnReport } from '#updates/campaigns/advance.ts'
import { createCampaign, startCampaign, stopCampaign } from '#updates/campaigns/campaigns.ts'
import type { CampaignsContext } from '#updates/campaigns/context.ts'
import { campaignDoor } from '#updates/campaigns/door.ts'
import { campaignsMigrations } from '#updates/campaigns/migrations.ts'
import { putTenant } from '#updates/campaigns/tenants.ts'
import { plainTerms } from '#updates/campaigns/testing.ts'
import { stepsToRecord } from '#updates/installed.ts'
import { DIRECTOR_TYPE, type DirectorStatement, encodeStatement, parseStatement } from '#updates/messages.ts'
import { addArtifact, approveRelease, createRelease, publishRelease, type Release } from '#updates/releases.ts'
import { engineA, engineB, engineer, once, openTestUpdates, testDevice, updateTestMigrations } from '#updates/testing.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { keyPEMOf, pemOf, plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const tools = needs('swupdate', 'cpio')
const raucTools = needs('rauc', 'mksquashfs', 'dbus-run-session', 'dbus-send')
const OFFICER = 'person:olga'
const world = systemWorld()

interface Controller {
  readonly id: string
  readonly serial: string
  readonly agent: Agent
  readonly slots: string
  /** What it runs. */
  running(): string | undefined
  /** @returns why not, or `installed`; undefined when there is nothing for it */
  overAir(): Promise<string | undefined>
  fromStick(stick: string): Promise<string>
}

/** All that there is: an authority, a maker with its signers, a director, and a listener for devices. */
async function works(t: TestContext) {
  const here = await plant(t)
  const db = sqlite({ path: join(here.directory, 'updates.db') })
  await migrate(db, [...updateTestMigrations, ...campaignsMigrations], world)
  const maker = await openTestUpdates(db, world)
  t.after(() => maker[Symbol.asyncDispose]())
  const { audit, organizationId } = maker.context

  /** By the certificate of its operational key, which the owner's authority issued. */
  async function admit([own = new Uint8Array(), ...above]: readonly Uint8Array[], name?: string) {
    await here.enrollment.authenticate(here.owner, { chain: [own, ...above], basic: undefined })
    const serial = attributeOf(parseName(parseCertificate(own).subject), 'serialNumber')
    const device = [...maker.devices.values()].find(({ productSerial }) => productSerial === serial)
    assert.ok(device !== undefined && (name === undefined || name === serial))
    return { deviceId: device.id, name: device.productSerial, ownerId: undefined, epoch: device.epoch }
  }
  const context: CampaignsContext = {
    ...{ db, audit, world, organizationId },
    devices: {
      matching: async ({ devices = [] }, { after }) => devices.filter((id) => id > after),
      admit,
      named: async () => [],
      serials: async (ids) => new Map(ids.map((id) => [id, id.toUpperCase()])),
      epochOf: async (id) => maker.devices.get(id)?.epoch ?? 0,
      ownerFor: async (name) => ({ id: name }),
    },
    releases: campaignReleases(maker.updates),
  }
  const work = campaignWork(context)
  t.after(() => work.settled())
  await putTenant(context, { name: 'default', pollingSeconds: 60, takesTokens: false, state: 'enabled' }, OFFICER)
  const reports = {
    reportMaxOctets: REPORT_MAX_OCTETS,
    async take(octets: Uint8Array) {
      const { report, certificate } = await readReport(octets)
      const { deviceId } = await admit([certificate])
      const { modelId } = await maker.context.devices.open(deviceId)
      const { components } = report
      await keep(db, [
        ...(await stepsToRecord({ db, world, organizationId }, { deviceId, modelId, components, source: 'signed' })),
        ...(await stepsOnReport(context, deviceId, components)),
      ])
      return { challenge: '' }
    },
  }

  async function listen(door: DdiService): Promise<string> {
    const mounted: readonly Mounted[] = [
      ...composeProtocols({
        context: here.ca.context,
        authorities: here.ca.authorities,
        enrollment: here.enrollment,
        ocsp: ocsp(here.ca.context, here.ca.authorities),
      }),
      mount(ddi, door),
      mount(deviceState, reports),
    ]
    const listener = await listenFor(t, [dispatcher(mounted, 'tls', silentLog)], { tls: true })
    const clientAuthorities = ['line1', 'owner1'].map((slug) => here.ca.authorities.byAddress(slug).certificate.der)
    listener.present({ ...face(), clientAuthorities })
    return `https://localhost:${listener.address.port}`
  }

  const door = campaignDoor(context, work)
  const origin = await listen(door)
  const rootOf = async (name: string): Promise<Uint8Array> =>
    (await maker.signing.signers.find(name)).record.key.chain.at(-1) ?? assert.fail()
  const anchors = {
    software: [await rootOf('acme-firmware'), await rootOf('acme-releases')],
    director: [await rootOf('director')],
  }

  /** Born on the line, brought to its owner, enrolled. */
  async function controller(id: string, model: typeof engineA, component: object, server = origin): Promise<Controller> {
    const serial = id.toUpperCase()
    const { key, certificate } = await here.issue(here.births, [{ type: 'serialNumber', value: serial }])
    const birthKey = sha256(parseCertificate(certificate).subjectPublicKeyInfo)
    maker.devices.set(id, testDevice(id, { productSerial: serial, birthKey, modelId: model.id, model: model.model }))
    const home = join(here.directory, id)
    const slots = join(home, 'slots')
    mkdirSync(slots, { recursive: true })
    const agent = openAgent(join(home, 'agent'), world)
    t.after(() => agent[Symbol.asyncDispose]())
    await agent.takeTrust(await trustListOf(anchors))
    const file = {
      manufacturer: 'acme',
      model: model.model,
      revision: 'r1',
      owner: { name: 'plant-north', epoch: 1 },
      area: 'press-shop',
    }
    agent.directory.write('device.json', JSON.stringify(file), 'test')
    agent.directory.write('updates.json', JSON.stringify({ components: [{ name: 'motor', slots, ...component }] }), 'test')
    const outcome = await agent.enroll({
      ...{ server, label: 'owner', trust: [here.tlsRoot.toBase64()], keys: 'software' },
      identity: {
        certificate: here.writeFile(`${id}.pem`, pemOf(certificate)),
        key: here.writeFile(`${id}.key`, keyPEMOf(key)),
      },
    })
    assert.equal(outcome.state, 'enrolled')
    const image = join(slots, 'current', 'image')
    return {
      ...{ id, serial, agent, slots },
      running: () => (existsSync(image) ? readFileSync(image, 'latin1') : undefined),
      async overAir() {
        const progress = await updateOverAir(agent.device)
        await agent.report()
        await work.runOnce()
        return progress === undefined || progress === 'restarting' ? progress : progress.reason || progress.result
      },
      async fromStick(stick) {
        const [progress = 'restarting'] = await updateFrom(agent.device, stick)
        assert.ok(progress !== 'restarting', sentenceOf(progress))
        return progress.reason || progress.result
      },
    }
  }

  let campaigns = 0
  /** Rolls a release out to these. */
  async function rollOut(
    { id: release }: Release,
    devices: readonly string[],
    kind: 'install' | 'rollback' = 'install',
    consent: 'none' | 'driver' = 'none',
  ): Promise<string> {
    const name = `roll-out-${++campaigns}`
    await createCampaign(context, name, { ...plainTerms, release, kind, consent, who: { devices: [...devices] } }, OFFICER)
    await startCampaign(context, name, OFFICER)
    await work.runOnce()
    return name
  }

  /** How the last roll-out stands for a device. */
  async function actionFor(deviceId: string) {
    const rows = await db.query('SELECT * FROM campaign_action WHERE device_id = ? ORDER BY number DESC LIMIT 1', deviceId)
    const [row] = rows
    return row === undefined ? undefined : actionOf(row)
  }

  /** What the director says of this device and release, on a stick; `change` is what a director in wrong hands would say. */
  async function stickFor(
    deviceId: string,
    { id: releaseId, artifacts }: Release,
    change: (says: DirectorStatement) => Partial<DirectorStatement> = () => ({}),
    lent = deviceId,
  ): Promise<string> {
    const order = { releaseId, deviceId: lent, kind: 'install' as const, action: uuidv7(world), consent: undefined }
    const directed = await maker.updates.direct(order, OFFICER)
    const genuine = parseStatement(parseCOSE(directed.statement, 1 << 20).payload ?? assert.fail())
    const says = { ...genuine, ...change(genuine) }
    const message = { form: 'cose', typ: DIRECTOR_TYPE, payload: encodeStatement(says) } as const
    const signed = await signMessage(maker.signing, 'director', message, onBehalf('server:updates'))
    assert.ok(signed.state === 'signed')
    const files = new Map<string, Uint8Array>()
    for (const { digest, octets } of artifacts) files.set(digest, await joined(maker.updates.read(digest, 0, octets)))
    const stick = mkdtempSync(join(here.directory, 'stick-'))
    const { productSerial, birthKey } = maker.devices.get(deviceId) ?? assert.fail()
    writeStick(stick, { says, statement: signed.octets, manifest: directed.manifest, files })
    if (says.device.productSerial === productSerial && says.device.birthKey === birthKey) return stick
    // it lies where the device looks, whomever it is for
    const device = { ...says.device, productSerial }
    writeStick(stick, { says: { ...says, device }, statement: signed.octets, manifest: directed.manifest, files })
    return stick
  }

  return { here, maker, anchors, context, listen, controller, rollOut, actionFor, stickFor }
}

const joined = async (pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> =>
  new Uint8Array(Buffer.concat(await Array.fromAsync(pieces)))

const FILE = { installer: 'file' }

test('R12: over the air, the right device installs, and is believed when it shows that it runs', async (t) => {
  const { maker, controller, rollOut, actionFor } = await works(t)
  const a = await controller('a-1', engineA, FILE)
  const first = await maker.published()
  const second = await maker.published()
  await rollOut(second, [a.id])
  assert.equal(await a.overAir(), 'installed')
  assert.equal(a.running(), `motor ${second.version}`)
  assert.equal((await actionFor(a.id))?.state, 'succeeded', 'its signed report says so')
  assert.equal(await a.overAir(), undefined, 'there is nothing more')

  await t.test('an older version is not offered, and goes back only by an order that names the device', async () => {
    await rollOut(first, [a.id])
    assert.equal(await a.overAir(), undefined)
    assert.equal((await actionFor(a.id))?.state, 'rejected')
    await rollOut(first, [a.id], 'rollback')
    assert.equal(await a.overAir(), 'installed')
    assert.equal(a.running(), `motor ${first.version}`)
  })
  await t.test('the server offers neither another model’s release nor another revision’s', async () => {
    const models = [{ manufacturer: 'acme', model: 'engine-b' }]
    const forB = await maker.published({ models })
    const forR2 = await maker.published({ models: [{ manufacturer: 'acme', model: 'engine-a', revisions: ['r2'] }] })
    for (const release of [forB, forR2]) {
      await rollOut(release, [a.id])
      assert.equal(await a.overAir(), undefined)
      const action = await actionFor(a.id)
      assert.equal(action?.state, 'rejected')
    }
    assert.equal(a.running(), `motor ${first.version}`)
  })
  await t.test('nor anything to a device of which somebody else has become the owner', async () => {
    const next = await maker.published()
    maker.devices.set(a.id, { ...(maker.devices.get(a.id) ?? assert.fail()), isInUse: false })
    await rollOut(next, [a.id])
    assert.equal(await a.overAir(), undefined)
    assert.equal(a.running(), `motor ${first.version}`)
  })
})

test('R12: a device waits for whoever has it in hand where it is told to ask, and gives up what is taken back', async (t) => {
  const { maker, context, controller, rollOut, actionFor } = await works(t)
  const a = await controller('a-1', engineA, FILE)
  const { directory, device } = a.agent
  const settings = JSON.parse(new TextDecoder().decode(directory.read('updates.json'))) as object
  directory.write('updates.json', JSON.stringify({ ...settings, consent: 'ask' }), 'test')
  assert.throws(() => decideConsent(device, 'confirmed'), { reason: 'updateNoConsent' })
  const first = await maker.published()
  await rollOut(first, [a.id], 'install', 'driver')
  assert.equal(await a.overAir(), undefined)
  assert.equal(a.agent.status().updates?.waitsForConsent, true)
  decideConsent(device, 'confirmed')
  assert.equal(await a.overAir(), undefined, 'it is said')
  assert.equal(await a.overAir(), 'installed', 'and then offered')

  await rollOut(await maker.published(), [a.id], 'install', 'driver')
  assert.equal(await a.overAir(), undefined)
  decideConsent(device, 'denied')
  assert.equal(await a.overAir(), undefined)
  assert.equal((await actionFor(a.id))?.state, 'rejected')

  const name = await rollOut(await maker.published(), [a.id])
  await stopCampaign(context, name, 'it was the wrong one', OFFICER)
  assert.equal(await a.overAir(), undefined)
  assert.equal((await actionFor(a.id))?.state, 'canceled')
  assert.equal(a.running(), `motor ${first.version}`)
})

test('R12: from a stick, the agent refuses alone what a director in wrong hands would let in', async (t) => {
  const { maker, controller, stickFor } = await works(t)
  const a = await controller('a-1', engineA, FILE)
  const twin = await controller('a-2', engineA, FILE)
  const release = await maker.published()
  const newer = await maker.published()
  assert.equal(await a.fromStick(await stickFor('a-1', release)), 'installed')
  const kept = a.running()
  const born = (id: string): Uint8Array => maker.devices.get(id)?.birthKey ?? assert.fail()
  type Says = Partial<DirectorStatement>
  const rows: readonly (readonly [string, string, () => Promise<string>])[] = [
    ['wrong model', 'updateOtherModel', () => stickFor('a-1', newer, () => ({ model: 'engine-b' }))],
    ['wrong revision', 'updateOtherRevision', () => stickFor('a-1', newer, () => ({ revisions: ['r2'] }))],
    ['older version', 'updateNotNewer', () => stickFor('a-1', release)],
    ['the twin’s statement', 'updateOtherDevice', () => stickFor('a-1', newer, () => ({}), 'a-2')],
    [
      'a statement for a copy of it',
      'updateTwin',
      () => stickFor('a-1', newer, ({ device }): Says => ({ device: { ...device, birthKey: born('a-2') } })),
    ],
    [
      'the old owner’s statement',
      'updateOtherEpoch',
      () => stickFor('a-1', newer, ({ owner }): Says => ({ owner: { ...owner, epoch: 0 } })),
    ],
    ['another area’s statement', 'updateOtherArea', () => stickFor('a-1', newer, () => ({ area: 'yard' }))],
    [
      'an expired statement',
      'updateExpired',
      () => stickFor('a-1', newer, () => ({ issuedAt: new Date(0), expiresAt: new Date(1000) })),
    ],
    ['a replayed statement', 'updateReplayed', () => stickFor('a-1', newer, () => ({ sequence: 1 }))],
    ['a version that its maker does not say', 'updateManifestOther', () => stickFor('a-1', newer, () => ({ version: '9.9.9' }))],
    [
      'a changed payload',
      'updateArtifactLength',
      async () => changed(await stickFor('a-1', newer), (octets) => octets.subarray(1)),
    ],
    ['a payload with one bit changed', 'updateArtifactOther', async () => changed(await stickFor('a-1', newer), flipped)],
    ['a foreign signer', 'updateImage', async () => stickFor('a-1', await foreign())],
  ]
  async function foreign(): Promise<Release> {
    const image = utf8('motor of somebody else')
    const signature = await maker.signed('cms', image, 'other-firmware')
    return publishedOf(maker, engineA.model, 'other-firmware', [
      ['motor.bin', 'cms', image],
      ['motor.bin.p7s', 'cms', signature],
    ])
  }
  for (const [name, reason, make] of rows) {
    await t.test(name, async () => {
      assert.equal(await a.fromStick(await make()), reason)
      assert.equal(a.running(), kept)
    })
  }
  await t.test('no statement for it at all', async () => {
    await assert.rejects(a.fromStick(await stickFor('a-2', newer)), { reason: 'updateNotOnStick' })
  })
  assert.equal(await twin.fromStick(await stickFor('a-2', newer)), 'installed', 'each is good where it belongs')
  assert.equal(await a.fromStick(await stickFor('a-1', newer)), 'installed')
})

test('R12: a stick that the server writes is obeyed by its devices, and a device that is cut off gets none', async (t) => {
  const { here, maker, controller } = await works(t)
  const rest = await openRest(t, releaseRoutes({ updates: maker.updates, access: undefined as never })) // for names of people
  const clientOf = async (role: Role): Promise<Caller> => {
    const { secretToken: token } = await rest.person(role, [role])
    return restClient({ transport: inProcessTransport(rest.router, () => uuidv7(world)), token })
  }
  const rita = await clientOf('release-engineer')
  const [a, b, c] = [
    await controller(uuidv7(world), engineA, FILE),
    await controller(uuidv7(world), engineA, FILE),
    await controller(uuidv7(world), engineA, FILE),
  ]
  const release = await maker.published()
  const stick = join(here.directory, 'media')
  const write = (devices: readonly Controller[], client = rita, { id }: Release = release) =>
    releaseOnStick(
      client,
      { release: id, devices: devices.map((one) => one.id), isRollback: false, out: stick },
      { directory: here.directory, world },
    )
  maker.devices.set(c.id, { ...(maker.devices.get(c.id) ?? assert.fail()), isInUse: false })
  await assert.rejects(write([c]), { code: 'policyRefused', reason: 'deviceNotInUse' })
  await assert.rejects(write([a, b, c]), ({ code, reason, message }: TrustError) => {
    assert.deepEqual([code, reason], ['policyRefused', 'stickRefused'])
    return message.includes('1 of 3') && message.includes(c.id)
  })
  await assert.rejects(write([a], await clientOf('auditor')), { code: 'forbidden' })
  assert.equal(existsSync(stick), false, 'nothing is written')

  await write([a, b])
  assert.equal(await a.fromStick(stick), 'installed')
  assert.equal(await b.fromStick(stick), 'installed')
  assert.deepEqual([a.running(), b.running()], Array(2).fill(`motor ${release.version}`))
  await assert.rejects(c.fromStick(stick), { reason: 'updateNotOnStick' })
  const { entries } = await listAuditEntries(maker.context.db, {
    organizationId: 'default',
    limit: 100,
    filter: { act: 'update.direct' },
  })
  const told = entries.map(({ actor, object, outcome, reason }) => [actor, object, outcome, reason ?? ''].join(' '))
  const rows = [`${a.id} done `, `${b.id} done `, `${c.id} refused deviceNotInUse`, `${c.id} refused deviceNotInUse`]
  const by = entries[0]?.actor ?? ''
  assert.match(by, /^person:/)
  assert.deepEqual(told.toSorted(), rows.map((row) => `${by} device:${row}`).toSorted(), 'each device has its entry')

  const next = await maker.published()
  await write([a], rita, next)
  assert.equal(await a.fromStick(stick), 'installed', 'the same stick, used again')
  assert.equal(a.running(), `motor ${next.version}`)
})

const flipped = (octets: Uint8Array): Uint8Array => octets.with(0, (octets[0] as number) ^ 1)

/** What lies on the stick of the artifacts. */
function changed(stick: string, how: (octets: Uint8Array) => Uint8Array): string {
  const folder = join(stick, 'artifacts')
  for (const name of readdirSync(folder)) writeFileSync(join(folder, name), how(new Uint8Array(readFileSync(join(folder, name)))))
  return stick
}

type Maker = Awaited<ReturnType<typeof openTestUpdates>>
let versions = 100

/** A release that is out, of these artifacts. */
async function publishedOf(
  { context, approveAll }: Maker,
  model: string,
  signer: string,
  artifacts: readonly (readonly [name: string, format: string, octets: Uint8Array])[],
): Promise<Release> {
  const wanted = { component: 'motor', version: `${++versions}.0.0`, models: [{ manufacturer: 'acme', model }] }
  const { id } = await createRelease(context, wanted, engineer.actor)
  for (const [name, format, octets] of artifacts)
    await addArtifact(context, id, { name, format, signer, octets: octets.length, pieces: once(octets) }, engineer.actor)
  await approveRelease(context, id, engineer)
  await approveAll()
  await approveRelease(context, id, engineer)
  const outcome = await publishRelease(context, id, 'acme-releases', engineer)
  assert.ok(outcome.state === 'done')
  return outcome.release
}

test('R12: over the air, the agent refuses a correctly signed artifact for its model without a statement, or with a twin’s', async (t) => {
  const { maker, controller, listen, stickFor } = await works(t)
  const release = await maker.published()
  const files = new Map<string, Uint8Array>()
  const said: string[] = []
  const door = hostile(files, said)
  let takesFeedback = true
  const origin = await listen({
    ...door,
    async feedback(...one) {
      if (!takesFeedback) throw new TrustError('malformed', 'ddiMalformed', { facts: { detail: 'it likes none' } })
      return door.feedback(...one)
    },
  })
  const a = await controller('a-1', engineA, FILE, origin)
  await controller('a-2', engineA, FILE)
  for (const { name, digest, octets } of release.artifacts) files.set(name, await joined(maker.updates.read(digest, 0, octets)))
  assert.equal(
    (await updateOverAir(a.agent.device)) !== 'restarting' && readUpdateState(a.agent.directory).ended?.reason,
    'updateNoStatement',
  )

  const stick = await stickFor('a-2', release)
  const folder = join(stick, 'devices', 'A-2')
  for (const name of readdirSync(folder)) files.set(name.replace(/^\d+\./, ''), new Uint8Array(readFileSync(join(folder, name))))
  await updateOverAir(a.agent.device)
  assert.equal(readUpdateState(a.agent.directory).ended?.reason, 'updateOtherDevice')
  assert.equal(a.running(), undefined)
  assert.deepEqual(
    said.map((one) => one.split(' ')[0]),
    ['closed/failure', 'closed/failure'],
    'and says so',
  )

  said.length = 0
  takesFeedback = false
  await updateOverAir(a.agent.device)
  const { ended } = readUpdateState(a.agent.directory)
  assert.equal(ended?.untold, false, 'what is refused for good holds up no other update')
  assert.match(ended?.refusal ?? '', /400/)
  assert.match(a.agent.status().updates?.ended?.refusal ?? '', /400/)
})

test('a server that is slow with an update holds up no other part of a round, and the update goes on in its place', async (t) => {
  const { maker, controller, listen, stickFor } = await works(t)
  const release = await maker.published()
  const files = new Map<string, Uint8Array>()
  const said: string[] = []
  const door = hostile(files, said)
  const pieces: number[] = []
  const slow: DdiService = {
    ...door,
    poll: async () => ({ pollingSeconds: 60, wantsAttributes: false, deployment: 1 }),
    async artifact(known, action, filename) {
      const found = await door.artifact(known, action, filename)
      if (filename !== 'motor.bin') return found
      return {
        ...found,
        async *read(start, end) {
          pieces.push(start)
          yield* found.read(start, Math.min(start + 5, end))
          if (start + 5 < end) await new Promise<void>((resolve) => t.signal.addEventListener('abort', () => resolve())) // and no more
        },
      }
    },
  }
  const a = await controller('a-1', engineA, FILE, await listen(slow))
  for (const { name, digest, octets } of release.artifacts) files.set(name, await joined(maker.updates.read(digest, 0, octets)))
  const stick = join(await stickFor('a-1', release), 'devices', 'A-1')
  for (const name of readdirSync(stick)) files.set(name.replace(/^\d+\./, ''), new Uint8Array(readFileSync(join(stick, name))))
  const ended = new AbortController()
  const lines: string[] = []
  const say = (line: string): void => {
    lines.push(line)
    if (line === 'report 2') ended.abort()
  }
  await runAgent(a.agent, world, { pollSeconds: 3600, partSeconds: 1, signal: ended.signal, say })
  const later = 'updates: It takes longer than the agent gives it at a time, and goes on next time.'
  const told = lines.filter((line) => !line.startsWith('certificate'))
  assert.deepEqual(told.slice(0, 2), [later, 'report 1'], 'it reports beside it')
  assert.deepEqual(told.slice(-2), [`motor ${release.version}: installed`, 'report 2'], 'and tells the end at once')
  assert.deepEqual(
    pieces,
    pieces.toSorted((one, other) => one - other),
  )
  assert.equal(pieces.at(-1), 10, 'it goes on where it was')
  assert.equal(a.running(), `motor ${release.version}`)
})

/** It has a certificate that devices trust, and wants them to install what it likes. */
function hostile(files: ReadonlyMap<string, Uint8Array>, said: string[]): DdiService {
  let action = 0
  const nobody = (): never => assert.fail('nobody is to ask this')
  const factsOf = (filename: string, octets: Uint8Array) => ({
    ...{ filename, octets: octets.length },
    hashes: { sha1: '', md5: '', sha256: sha256(octets).toHex() },
  })
  return {
    authenticate: async () => ({}),
    poll: async () => ({ pollingSeconds: 60, wantsAttributes: false, deployment: ++action }),
    deployment: async (_, number) => ({
      ...{ action: number, download: 'forced', update: 'forced' },
      chunks: [{ part: 'os', name: 'motor', version: '1', artifacts: [...files].map(([name, octets]) => factsOf(name, octets)) }],
    }),
    async artifact(_, __, filename) {
      const octets = files.get(filename) ?? new Uint8Array(0)
      return {
        ...factsOf(filename, octets),
        async *read(start, end) {
          yield octets.subarray(start, end)
        },
      }
    },
    async feedback(_, __, { execution, finished, details }) {
      said.push(`${execution}/${finished} ${details.join(' ')}`)
    },
    ...{ installed: nobody, toConfirm: nobody, checkCanceled: nobody, confirmations: nobody, confirm: nobody },
    ...{ setAutoConfirmation: nobody, cancelFeedback: nobody, setAttributes: nobody },
  }
}

test(
  'R12: another model with SWUpdate on it: installed over the air, and each layer refuses alone',
  { skip: tools.skip },
  async (t) => {
    const { here, maker, controller, rollOut, actionFor, stickFor } = await works(t)
    const target = join(here.directory, 'installed.bin')
    const runs = (): string | undefined => (existsSync(target) ? readFileSync(target, 'latin1') : undefined)
    // its sockets and what it unpacks
    const place = mkdtempSync(join(here.directory, 'tmp-'))
    const program = here.writeFile('swupdate', `#!/bin/sh\nTMPDIR=$(mktemp -d -p ${place}) exec ${tools.path('swupdate')} "$@"\n`)
    chmodSync(program, 0o755)
    const b = await controller('b-1', engineB, { installer: 'swupdate', program, options: ['-l', '1'] })

    let archives = 0
    async function archive(board: string, revision: string, text: string): Promise<Uint8Array> {
      const inside = join(here.directory, `cpio-${++archives}`)
      mkdirSync(inside)
      const digest = sha256(utf8(text)).toHex()
      const file = `{ filename = "motor.bin"; path = "${target}"; sha256 = "${digest}"; }`
      const own = `${board} = { hardware-compatibility: [ "${revision}" ]; files: ( ${file} ); };`
      writeFileSync(join(inside, 'sw-description'), `software = {\n version = "1.0";\n ${own}\n}\n`)
      writeFileSync(join(inside, 'motor.bin'), text)
      const pack = `printf 'sw-description\\nmotor.bin\\n' | ${tools.path('cpio')} -o -H crc > out.swu`
      await run('/bin/sh', ['-c', pack], { cwd: inside })
      return new Uint8Array(readFileSync(join(inside, 'out.swu')))
    }
    const releaseOf = async (board: string, revision: string, text: string): Promise<readonly [Release, Uint8Array]> => {
      const signed = await maker.signed('swupdate', await archive(board, revision, text))
      return [await publishedOf(maker, engineB.model, 'acme-firmware', [['motor.swu', 'swupdate', signed]]), signed]
    }

    const [right, octets] = await releaseOf('engine-b', 'r1', 'motor of engine b')
    await rollOut(right, [b.id])
    assert.equal(await b.overAir(), 'installed')
    assert.equal(runs(), 'motor of engine b')
    assert.equal((await actionFor(b.id))?.state, 'succeeded')

    const [forA, ofA] = await releaseOf('engine-a', 'r1', 'motor of engine a')
    const [forR2, ofR2] = await releaseOf('engine-b', 'r2', 'motor of revision 2')
    await t.test(
      'the agent refuses what says itself that it is for another model or revision, though all others agree',
      async () => {
        assert.equal(await b.fromStick(await stickFor('b-1', forA)), 'updateArtifactModel')
        assert.equal(await b.fromStick(await stickFor('b-1', forR2)), 'updateArtifactModel')
        assert.equal(runs(), 'motor of engine b')
      },
    )

    const keyring = join(b.agent.directory.path, 'software-anchors.pem')
    const alone = (archived: Uint8Array): Promise<unknown> => {
      const file = here.writeFile(`alone-${++archives}.swu`, archived)
      return run(program, ['-l', '1', '-k', keyring, '--cert-purpose', 'codeSigning', '-H', 'engine-b:r1', '-i', file])
    }
    const foreign = await maker.signed('swupdate', await archive('engine-b', 'r1', 'foreign'), 'other-firmware')
    const broken = octets.with(Buffer.from(octets).lastIndexOf('motor of'), 0x4d)
    await t.test('a hostile server that got past both: SWUpdate refuses it by itself', async () => {
      const rows = [
        ['another model’s', ofA, /HW compatibility not found/],
        ['another revision’s', ofR2, /SW not compatible with hardware/],
        ['a foreign signer’s', foreign, /Authentication of all signatures failed/],
        ['a changed one', broken, /HASH mismatch/],
      ] as const
      // it sleeps for a second before it says so
      await Promise.all(rows.map(([name, archived, says]) => assert.rejects(alone(archived), { stderr: says }, name)))
      assert.equal(runs(), 'motor of engine b')
    })
    // it ends with 1 at times though it is done: see `installers/swupdate.ts`
    const took = await alone(octets).catch((error: unknown) => error)
    assert.match((took as { readonly stdout: string }).stdout, /SWUPDATE successful/, 'and takes the right one')
  },
)

test(
  'R12: a device with RAUC on it starts the new version, and goes back to the slot before when that is not good',
  { skip: raucTools.skip },
  async (t) => {
    const { here, maker, anchors, controller, rollOut, actionFor } = await works(t)
    const file = (name: string): string => join(here.directory, name)
    const script = (name: string, text: string): string => {
      chmodSync(here.writeFile(name, `#!/bin/sh\n${text}\n`), 0o755)
      return file(name)
    }
    const image = (text: string): Uint8Array => utf8(text.padEnd(8192, '.'))
    for (const [name, text] of [
      ['primary', 'A'],
      ['booted', 'A'],
      ['slot0', new TextDecoder().decode(image('motor 0'))],
      ['slot1', ''.padEnd(8192, '-')],
    ] as const)
      here.writeFile(name, text)
    const backend = script(
      'backend',
      `case "$1" in
get-primary) cat ${file('primary')};; set-primary) printf %s "$2" > ${file('primary')};;
get-state) echo good;; set-state) echo "$2 $3" >> ${file('states')};;
esac`,
    )
    const keyring = here.writeFile('keyring.pem', pemOf(anchors.software[0] ?? assert.fail()))
    const slot = (at: number, name: string): string =>
      `[slot.rootfs.${at}]\ndevice=${file(`slot${at}`)}\ntype=raw\nbootname=${name}\n`
    const conf = here.writeFile(
      'rauc.conf',
      `[system]\ncompatible=engine-b\nbootloader=custom\nmountprefix=${file('mnt')}\nstatusfile=${file('status')}
[handlers]\nbootloader-custom-backend=${backend}\n[keyring]\npath=${keyring}\ncheck-purpose=codesign\n${slot(0, 'A')}${slot(1, 'B')}`,
    )
    // its service, on a bus of its own, in the slot that was started
    const inside = `export DBUS_STARTER_BUS_TYPE=session
rauc -c ${conf} --override-boot-slot=$(cat ${file('booted')}) service > ${file('service.log')} 2>&1 & service=$!
until dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:de.pengutronix.rauc | grep -q true
do sleep 0.05; done
rauc "$@"; code=$?; kill $service; exit $code`
    const program = script('rauc', `exec ${raucTools.path('dbus-run-session')} -- sh -c '${inside}' sh "$@" 2> ${file('errors')}`)
    const restart = script('restart', `cp ${file('primary')} ${file('booted')}`)
    const health = script('health', 'exit 0')
    const component = { installer: 'rauc', program, restart: [restart], reboots: true, health: [health, '{version}'] }
    const b = await controller('b-1', engineB, component)
    const runs = (): string =>
      readFileSync(file(readFileSync(file('booted'), 'latin1') === 'A' ? 'slot0' : 'slot1'), 'latin1').replaceAll('.', '')
    const startsAgain = (): void => {
      const state = readUpdateState(b.agent.directory)
      b.agent.directory.write('update.json', JSON.stringify({ ...state, job: { ...state.job, boot: 'the one before' } }), 'test')
    }
    async function bundle(text: string, compatible: string): Promise<Release> {
      const content = mkdtempSync(file('content-'))
      const digest = sha256(image(text)).toHex()
      writeFileSync(join(content, 'rootfs.img'), image(text))
      const described = `[image.rootfs]\nsha256=${digest}\nsize=8192\nfilename=rootfs.img\n`
      writeFileSync(join(content, 'manifest.raucm'), `[update]\ncompatible=${compatible}\nversion=1\n${described}`)
      const squashfs = `${content}.squashfs`
      await run(raucTools.path('mksquashfs'), [content, squashfs, '-all-root', '-noD', '-noF', '-no-progress'])
      const signed = await maker.signed('rauc', new Uint8Array(readFileSync(squashfs)))
      return publishedOf(maker, engineB.model, 'acme-firmware', [['motor.raucb', 'rauc', signed]])
    }

    await rollOut(await bundle('motor 1', 'engine-b'), [b.id])
    assert.equal(await b.overAir(), 'restarting')
    startsAgain()
    assert.equal(await b.overAir(), 'installed')
    assert.equal(runs(), 'motor 1')
    assert.match(readFileSync(file('states'), 'latin1'), /B good\n$/)
    assert.equal((await actionFor(b.id))?.state, 'succeeded')

    await rollOut(await bundle('motor of engine a', 'engine-a'), [b.id])
    assert.equal(await b.overAir(), 'updateProgram', 'a plain bundle says for what it is where RAUC alone reads it')
    assert.match(readUpdateState(b.agent.directory).ended?.problem ?? '', /Compatible mismatch/i)
    assert.equal(runs(), 'motor 1')

    writeFileSync(health, '#!/bin/sh\nexit 1\n')
    await rollOut(await bundle('motor 2', 'engine-b'), [b.id])
    assert.equal(await b.overAir(), 'restarting')
    assert.equal(runs(), 'motor 2')
    startsAgain()
    assert.equal(await b.overAir(), 'restarting', 'back')
    startsAgain()
    assert.equal(await b.overAir(), 'updateUnhealthy')
    assert.equal(runs(), 'motor 1')
  },
)
