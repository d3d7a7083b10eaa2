/** Reports held against devices, on a database, with the agent's own part as the device. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { AgentDirectory } from '#agent/directory.ts'
import type { Identity } from '#agent/enroll.ts'
import { reportState } from '#agent/report.ts'
import { systemWorld } from '#base/world.ts'
import { certificateOf, testKey } from '#protocols/testing.ts'
import { keep } from '#store/batch.ts'
import { stepsToBear } from '../birth-record.ts'
import { stepsToAttach } from '../certificates.ts'
import { changeState, setFlag } from '../change.ts'
import { openDevice } from '../device.ts'
import { keyHashOf, officer, testArea, testBirth, testDevices, testModel, testOrganization } from '../testing.ts'
import type { CertificateFacts } from '../usable.ts'
import { deviceStateMigrations } from './migrations.ts'
import { acceptNextReport, deviceReports, reportStanding } from './reports.ts'

const good: CertificateFacts = {
  certificateId: 'c',
  status: 'active',
  isIssuerEnabled: true,
  notBefore: 0,
  notAfter: Number.MAX_SAFE_INTEGER,
}

async function setting(t: TestContext) {
  const devices = await testDevices(undefined, deviceStateMigrations)
  t.after(() => devices[Symbol.asyncDispose]())
  const { context } = devices
  const { id: manufacturerId } = await testOrganization(devices, 'maker', 'manufacturer')
  const { id: modelId } = await testModel(devices, manufacturerId, 'pump')
  const { id: ownerId } = await testOrganization(devices, 'plant')
  const { id: areaId } = await testArea(devices, ownerId, 'hall')
  const {
    device: { id },
    steps,
  } = stepsToBear(context, { manufacturerId, modelId, productSerial: 'P-1' }, testBirth('born', 'b'), officer)
  await keep(context.db, steps)
  await changeState(context, id, { act: 'release', actor: officer })
  await changeState(context, id, { act: 'claim', actor: officer, ownerId })
  const device = await changeState(context, id, { act: 'onboard', actor: officer, areaId })
  const certificate = { certificateId: 'c', keyHash: keyHashOf('own'), role: 'operational', areaId } as const
  await keep(context.db, stepsToAttach(context, device, certificate))

  const key = testKey()
  const own = certificateOf(key)
  const identity: Identity = {
    chain: [own],
    key: {
      keyAlgorithm: 'ecdsa-p256',
      signatureAlgorithm: 'ecdsa-sha256',
      publicKey: key.publicKey,
      sign: async (m) => key.sign(m),
    },
  }
  const told = new Set<string>()
  const recorded: string[] = []
  const server = deviceReports({
    ...context,
    tellDue: async () => {},
    certificate: async (der) => (Buffer.compare(der, own) === 0 ? good : undefined),
    software: {
      isDirected: async (_, { version }) => told.has(version),
      async stepsToRecord(_, components, isAttested) {
        recorded.push(...components.map(({ version }) => `${version} ${isAttested}`))
        return []
      },
    },
    stepsToSight: async () => [],
  })
  const machine = (before?: AgentDirectory): AgentDirectory => {
    const path = mkdtempSync(join(tmpdir(), 'sealworks-agent-'))
    const directory = new AgentDirectory(path, systemWorld().faults)
    t.after(() => {
      directory.close()
      rmSync(path, { recursive: true })
    })
    if (before !== undefined) directory.update(before.state(), 'copied')
    return directory
  }
  const report = (directory: AgentDirectory, send = (octets: Uint8Array) => server.take(octets)): Promise<number> =>
    reportState({ directory, identity, world: systemWorld(), send })
  const runs = (directory: AgentDirectory, version: string): void =>
    directory.write('components.json', JSON.stringify([{ name: 'app', version, digest: 'a'.repeat(64) }]), 'written')
  return { context, id, machine, report, runs, server, told, recorded, state: async () => openDevice(context, context.db, id) }
}

test('R33: the first report of a device shows that it uses its certificate', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  assert.equal((await here.state()).state, 'onboarding')
  assert.equal(await here.report(device), 1)
  assert.equal((await here.state()).state, 'active')
  assert.equal(await here.report(device), 2)
  assert.equal((await reportStanding(here.context, here.id))?.counter, 2)
})

test('R33: a device that runs what was not accepted is cut off until an officer clears it', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  here.runs(device, '1')
  await here.report(device)
  await acceptNextReport(here.context, here.id, officer)
  await here.report(device)
  assert.ok((await reportStanding(here.context, here.id))?.isExpected)
  await here.report(device)

  here.runs(device, '6')
  await assert.rejects(here.report(device), { code: 'forbidden', reason: 'deviceStateWrong' })
  assert.equal((await here.state()).state, 'quarantined')
  assert.deepEqual((await reportStanding(here.context, here.id))?.faults, ['app 6 is not 1 as it was released'])
  await assert.rejects(here.report(device), { code: 'forbidden' }, 'nothing is taken of it')

  await changeState(here.context, here.id, { act: 'clear', actor: officer })
  await assert.rejects(here.report(device), { reason: 'deviceStateWrong' }, 'cleared, and as wrong as before')
  await changeState(here.context, here.id, { act: 'clear', actor: officer })
  here.runs(device, '1')
  await here.report(device)
  assert.equal((await here.state()).state, 'active', 'mended')

  here.runs(device, '2')
  await acceptNextReport(here.context, here.id, officer)
  await here.report(device)
  await here.report(device)
  here.runs(device, '1')
  await assert.rejects(here.report(device), { reason: 'deviceStateWrong' }, 'what was right before is not now')
})

test('R12, R33: what a device was told to run is no deviation from what an officer accepted, and what it runs is recorded', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  here.runs(device, '1')
  await here.report(device)
  await acceptNextReport(here.context, here.id, officer)
  await here.report(device)
  here.told.add('2')
  here.runs(device, '2')
  await here.report(device)
  assert.deepEqual(here.recorded, ['1 false', '1 false', '2 false'])
  here.runs(device, '3')
  await assert.rejects(here.report(device), { reason: 'deviceStateWrong' })
  assert.equal(here.recorded.length, 3, 'what is held against a device is not what it runs')
})

test('R2, R15: of two machines with one directory, the second to speak has both cut off, and it shows as a clone', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  await here.report(device)
  const copy = here.machine(device)
  await here.report(copy)
  await assert.rejects(here.report(device), { code: 'forbidden', reason: 'deviceForked' })
  const { state, flags } = await here.state()
  assert.deepEqual([state, flags], ['quarantined', ['clone']])
  await assert.rejects(here.report(copy), { code: 'forbidden' })

  // the officer found out which one it is, gave it back, and takes what it says next
  await setFlag(here.context, here.id, { flag: 'clone', isSet: false, actor: officer })
  await changeState(here.context, here.id, { act: 'clear', actor: officer })
  await acceptNextReport(here.context, here.id, officer)
  await here.report(device)
  await here.report(device)
  await assert.rejects(here.report(copy), { reason: 'deviceForked' })
})

test('R33: no report from before an officer’s word passes for the one that it is about, not even one that nobody looked at', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  here.runs(device, '1')
  await here.report(device)
  await acceptNextReport(here.context, here.id, officer)
  await here.report(device)
  const captured: Uint8Array[] = []
  const sees = async (octets: Uint8Array) => {
    captured.push(octets)
    return here.server.take(octets)
  }
  here.runs(device, '6')
  await assert.rejects(here.report(device, sees), { reason: 'deviceStateWrong' })
  await assert.rejects(here.report(device, sees), { code: 'forbidden' }, 'cut off: not looked at')
  assert.equal(captured.length, 2)

  await changeState(here.context, here.id, { act: 'clear', actor: officer })
  await acceptNextReport(here.context, here.id, officer)
  for (const octets of captured) {
    assert.ok((await here.server.take(octets)).again, 'it is asked to say it anew')
    assert.ok((await reportStanding(here.context, here.id))?.isAwaited)
  }
  device.remove('report.jws') // what it could not send while it was cut off
  here.runs(device, '1')
  const number = await here.report(device)
  const standing = await reportStanding(here.context, here.id)
  assert.deepEqual([standing?.isAwaited, standing?.counter, standing?.faults], [false, number, []])
})

test('R33: each cut is in the history and in the audit log', async (t) => {
  const here = await setting(t)
  const device = here.machine()
  await here.report(device)
  device.update({ counter: 7 }, 'forged')
  await assert.rejects(here.report(device), { reason: 'deviceForked' })
  const entries = await here.context.db.query("SELECT act, actor FROM audit_entry WHERE act LIKE 'device.%' ORDER BY id")
  const acts = entries.filter(({ actor }) => actor === 'service:device-reports').map(({ act }) => act)
  assert.deepEqual(new Set(acts), new Set(['device.activate', 'device.flag', 'device.quarantine'])) // two of one batch: in no order
})

test('a certificate that is not of this installation says nothing here', async (t) => {
  const here = await setting(t)
  const key = testKey()
  const foreign = { ...here, chain: [certificateOf(key)] }
  const directory = here.machine()
  const identity: Identity = {
    chain: foreign.chain,
    key: {
      keyAlgorithm: 'ecdsa-p256',
      signatureAlgorithm: 'ecdsa-sha256',
      publicKey: key.publicKey,
      sign: async (m) => key.sign(m),
    },
  }
  const sending = reportState({ directory, identity, world: systemWorld(), send: (octets) => here.server.take(octets) })
  await assert.rejects(sending, { code: 'unauthenticated', reason: 'certificateUnknown' })
})
