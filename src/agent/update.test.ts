/** What a device installs, what it refuses, and what is left of an update that went wrong. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import { AT, quantumAuthority, trialSigner } from '#signing/artifact/testing.ts'
import { artifactFile, statementFile } from '#updates/stick/messages.ts'
import { type Agent, runOnce } from './agent.ts'
import type { Part } from './part.ts'
import {
  type Born,
  bornDevice,
  type DeviceFile,
  makers,
  scratch,
  started,
  type Update,
  updateFor,
  type Wanted,
  worldAt,
  writeStick,
} from './testing.ts'
import { raucInstaller } from './installers/rauc.ts'
import { beginUpdate, continueUpdate, type UpdateSource } from './update.ts'
import { runningComponents } from './update-running.ts'
import { readUpdateState } from './update-state.ts'
import { updateFrom } from './update-stick.ts'

const by = await makers()
const file: DeviceFile = {
  manufacturer: 'acme',
  model: 'engine-a',
  revision: 'r2',
  owner: { name: 'north', epoch: 2 },
  area: 'hall',
}

interface Bench {
  readonly place: string
  readonly born: Born
  readonly agent: Agent
  readonly slots: string
  update(wanted: Partial<Wanted> & Pick<Wanted, 'counter' | 'sequence'>): Promise<Update>
  /** Beginning with nothing of what was there before. */
  install(update: Update): Promise<string>
  running(): string | undefined
}

async function bench(t: TestContext, more: object = {}, world = worldAt(AT)): Promise<Bench> {
  const place = scratch(t)
  const slots = join(place, 'slots')
  const components = [{ name: 'motor', installer: 'file', slots, ...more }]
  const born = await bornDevice(place, by, { serial: 'P-1', file, components })
  const agent = started(t, born, world)
  return {
    place,
    born,
    agent,
    slots,
    update: (wanted) => updateFor(by, born, file, { image: utf8(`motor ${wanted.counter}`), ...wanted }),
    async install(update) {
      const ended = await beginUpdate(agent.device, update, sourceOf(update))
      return ended === 'restarting' ? ended : ended.reason === '' ? ended.result : ended.reason
    },
    running: () => (existsSync(join(slots, 'current')) ? readFileSync(join(slots, 'current', 'image'), 'latin1') : undefined),
  }
}

const sourceOf = ({ files }: Update, action = ''): UpdateSource => ({
  action,
  async fetch({ sha256: digest }, to) {
    const octets = files.get(digest.toHex())
    mkdirSync(dirname(to), { recursive: true })
    writeFileSync(to, octets ?? new Uint8Array(0))
  },
})

const program = (place: string, name: string, script: string): string => {
  const path = join(place, name)
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

test('R11, R12: a device installs what is meant for it, one version after the other, and says what runs', async (t) => {
  const { agent, install, update, running, slots } = await bench(t)
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'installed')
  assert.equal(running(), 'motor 1')
  assert.equal(await install(await update({ counter: 2, sequence: 2 })), 'installed')
  assert.equal(running(), 'motor 2')
  assert.deepEqual(readdirSync(slots).toSorted(), ['a', 'b', 'current'])
  const [motor] = await runningComponents(agent.device)
  assert.deepEqual([motor?.version, motor?.counter], ['2.0', 2])
  const { job, last, installed } = readUpdateState(agent.directory)
  assert.equal(job, null)
  assert.equal(last?.sequence, 2)
  assert.equal(installed['motor']?.counter, 2)
  assert.deepEqual(readdirSync(join(agent.directory.path, 'updates')), [], 'what was fetched is gone')

  writeFileSync(join(slots, 'current', 'image'), 'something else')
  assert.equal((await runningComponents(agent.device))[0]?.version, 'unknown', 'measured, not remembered')
})

test('R12: a single round has an end for each of its parts too', async (t) => {
  const { agent } = await bench(t)
  const run: Part['run'] = async (_, signal) => (signal === undefined ? 'as long as it takes' : 'not for ever')
  assert.deepEqual((await runOnce(agent, undefined, [{ name: 'slow', run }])).lines, ['not for ever'])
})

test('R12: a trust list that has ended lets nothing in, and keeps no device from saying what it runs or from going back', async (t) => {
  let now = AT.getTime()
  const { agent, install, update, running } = await bench(t, { reboots: true }, { ...systemWorld(), clock: { now: () => now } })
  const atAnotherBoot = async (): Promise<unknown> => {
    const state = readUpdateState(agent.directory)
    agent.directory.write('update.json', JSON.stringify({ ...state, job: { ...state.job, boot: 'before' } }), 'test')
    return continueUpdate(agent.device)
  }
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'restarting')
  now = Date.parse('2036-01-02T00:00:00Z') // the list's end is past
  const ended = await atAnotherBoot()
  assert.equal((ended as { readonly result?: string }).result, 'installed')
  assert.equal((await runningComponents(agent.device))[0]?.version, '1.0')
  assert.equal(await install(await update({ counter: 2, sequence: 2 })), 'trustListExpired')
  assert.equal(running(), 'motor 1')
})

interface Wrong {
  readonly name: string
  readonly reason: string
  readonly wanted?: Partial<Wanted>
  readonly change?: (update: Update, bench: Bench) => Update | Promise<Update>
}

const flipped = (octets: Uint8Array, at: number): Uint8Array => octets.with(at, (octets[at] as number) ^ 1)
const twin = { manufacturer: 'acme', productSerial: 'P-1', birthKey: new Uint8Array(32).fill(7) }

const wrong: readonly Wrong[] = [
  {
    name: 'without a director’s statement',
    reason: 'updateNoStatement',
    change: (u) => ({ ...u, statement: new Uint8Array(0) }),
  },
  {
    name: 'for another device',
    reason: 'updateOtherDevice',
    wanted: { statement: { device: { ...twin, productSerial: 'P-2' } } },
  },
  { name: 'for a twin with the same serial', reason: 'updateTwin', wanted: { statement: { device: twin } } },
  { name: 'of an old owner', reason: 'updateOtherEpoch', wanted: { statement: { owner: { name: 'north', epoch: 1 } } } },
  { name: 'of another area', reason: 'updateOtherArea', wanted: { statement: { area: 'yard' } } },
  { name: 'for another model', reason: 'updateOtherModel', wanted: { statement: { model: 'engine-b' } } },
  { name: 'for another revision', reason: 'updateOtherRevision', wanted: { statement: { revisions: ['r1'] } } },
  { name: 'that ran out', reason: 'updateExpired', wanted: { statement: { expiresAt: new Date(AT.getTime() - 1000) } } },
  { name: 'that asks for a feature it has no license for', reason: 'updateFeature', wanted: { manifest: { feature: 'torque' } } },
  {
    name: 'of which the maker says other things',
    reason: 'updateManifestOther',
    wanted: { statement: { version: '99.0' } },
  },
  {
    name: 'with a changed statement',
    reason: 'messageSignature',
    change: (u) => ({ ...u, statement: flipped(u.statement, u.statement.length - 5) }),
  },
  {
    name: 'with a manifest in the place of the statement',
    reason: 'messageTypeOther',
    change: (u) => ({ ...u, statement: u.manifest }),
  },
  {
    name: 'with a payload that was changed',
    reason: 'updateArtifactOther',
    change: (u) => ({ ...u, files: new Map([...u.files].map(([digest, octets]) => [digest, flipped(octets, 0)])) }),
  },
  {
    name: 'signed by a foreign maker',
    reason: 'updateImage',
    async change(_, { born }) {
      const software = await trialSigner('ecdsa-p256', 'codeSigning', undefined, quantumAuthority)
      return updateFor({ ...by, software }, born, file, { image: utf8('foreign'), counter: 4, sequence: 6 })
    },
  },
  {
    name: 'signed by a director nobody named',
    reason: 'messageSignerUntrusted',
    async change(_, { born }) {
      const director = await trialSigner('ecdsa-p256', 'documentSigning')
      return updateFor({ ...by, director }, born, file, { image: utf8('other'), counter: 4, sequence: 6 })
    },
  },
  {
    name: 'for a component that it does not have',
    reason: 'updateNoComponent',
    wanted: { manifest: { component: 'gearbox' } },
  },
]

test('R12: a device refuses what is not meant for it, says why, and keeps what runs', async (t) => {
  const here = await bench(t)
  assert.equal(await here.install(await here.update({ counter: 3, sequence: 5 })), 'installed')
  for (const { name, reason, wanted = {}, change = (u: Update) => u } of wrong) {
    await t.test(name, async () => {
      const update = await change(await here.update({ counter: 4, sequence: 6, ...wanted }), here)
      assert.equal(await here.install(update), reason)
      assert.equal(here.running(), 'motor 3')
      const { last, ended, installed, job } = readUpdateState(here.agent.directory)
      assert.equal(last?.sequence, 5, 'what is refused takes no sequence')
      assert.deepEqual([ended?.result, installed['motor']?.counter, job], ['refused', 3, null])
    })
  }
  assert.equal(await here.install(await here.update({ counter: 4, sequence: 6 })), 'installed', 'the right one still does')
})

test('R12: a director speaks for no maker, whatever the trust list lets its key be', async (t) => {
  const both = { ...by, director: by.releases }
  const components = [{ name: 'motor', installer: 'file', slots: join(scratch(t), 'slots') }]
  const born = await bornDevice(scratch(t), both, { serial: 'P-1', file, components })
  const { device } = started(t, born)
  const update = await updateFor(both, born, file, { image: utf8('motor 1'), counter: 1, sequence: 1 })
  const ended = await beginUpdate(device, update, sourceOf(update))
  assert.ok(ended !== 'restarting')
  assert.deepEqual([ended.result, ended.reason], ['refused', 'updateManifestOther'])
})

test('R12: neither an older version nor an older statement comes again, unless an order names the device', async (t) => {
  const { install, update, running } = await bench(t)
  const first = await update({ counter: 3, sequence: 3 })
  assert.equal(await install(first), 'installed')
  assert.equal(await install(await update({ counter: 5, sequence: 4 })), 'installed')
  assert.equal(await install(first), 'updateNotNewer')
  assert.equal(await install(await update({ counter: 4, sequence: 5 })), 'updateNotNewer')
  assert.equal(await install(await update({ counter: 6, sequence: 2 })), 'updateReplayed')
  const back = { kind: 'rollback' as const, rollback: { from: 5, to: 4 } }
  assert.equal(await install(await update({ counter: 4, sequence: 6, statement: back })), 'installed')
  assert.equal(running(), 'motor 4')
  const other = { kind: 'rollback' as const, rollback: { from: 9, to: 3 } }
  assert.equal(await install(await update({ counter: 3, sequence: 7, statement: other })), 'updateRollbackOther')
})

test('R12: a clock that was set back lets nothing in that ran out', async (t) => {
  let now = AT.getTime()
  const world = { ...systemWorld(), clock: { now: () => now } }
  const { install, update } = await bench(t, {}, world)
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'installed')
  now -= 3_600_000
  assert.equal(await install(await update({ counter: 2, sequence: 2 })), 'updateClockBack')
})

test('a version that is not good goes back, and the next one is taken', async (t) => {
  const place = scratch(t)
  const health = program(place, 'health', 'echo "torque $SEALWORKS_VERSION"; test "$1" != 2.0')
  const { install, update, running, agent } = await bench(t, { health: [health, '{version}'] })
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'installed')
  assert.equal(await install(await update({ counter: 2, sequence: 2 })), 'updateUnhealthy')
  assert.equal(running(), 'motor 1')
  const { ended, installed, floors } = readUpdateState(agent.directory)
  assert.equal(ended?.result, 'went back')
  assert.match(ended?.problem ?? '', /status 1: torque 2\.0/)
  assert.deepEqual([installed['motor']?.counter, floors['motor']], [1, 2])
  assert.equal(await install(await update({ counter: 3, sequence: 3 })), 'installed')
})

test('a component that restarts the device is judged after the start, and goes back when it never comes to say so', async (t) => {
  const place = scratch(t)
  const log = join(place, 'restarts')
  const restart = program(place, 'restart', `echo x >> ${log}`)
  const { agent, install, update, running } = await bench(t, { restart: [restart], reboots: true })
  const restarts = (): number => readFileSync(log, 'latin1').length / 2
  const anotherBoot = (starts?: number): void => {
    const state = readUpdateState(agent.directory)
    const job = { ...state.job, boot: 'before', ...(starts !== undefined && { starts }) }
    agent.directory.write('update.json', JSON.stringify({ ...state, job }), 'test')
  }
  const goesOn = async (): Promise<unknown> => {
    const progress = await continueUpdate(agent.device)
    return progress === undefined || progress === 'restarting' ? progress : progress.result
  }
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'restarting')
  assert.equal(await goesOn(), 'restarting', 'it has not started yet')
  assert.equal(restarts(), 2)
  anotherBoot()
  assert.equal(await goesOn(), 'installed')

  assert.equal(await install(await update({ counter: 2, sequence: 2 })), 'restarting')
  anotherBoot(3)
  assert.equal(await goesOn(), 'restarting', 'back, which takes another start')
  assert.equal(running(), 'motor 1')
  anotherBoot()
  assert.equal(await goesOn(), 'went back')
  assert.equal(await goesOn(), undefined)
})

test('programs of the device get their arguments as they are, are bounded in time, and can say that there is no way back', async (t) => {
  const place = scratch(t)
  const log = join(place, 'log')
  const load = program(place, 'load', `printf '%s|' "$@" >> ${log}; cat "$1" >> ${log}`)
  const slow = program(place, 'slow', 'sleep 30 & sleep 30')
  const base = { installer: 'command', install: [load, '{file}', '$(touch /tmp/no) {version}'] }
  const { install, update } = await bench(t, base)
  assert.equal(await install(await update({ counter: 1, sequence: 1 })), 'installed')
  assert.match(readFileSync(log, 'latin1'), /\|\$\(touch \/tmp\/no\) 1\.0\|motor 1$/)

  const late = await bench(t, { ...base, install: [slow], timeoutSeconds: 0.2 })
  assert.equal(await late.install(await late.update({ counter: 1, sequence: 1 })), 'updateProgram')
  assert.match(readUpdateState(late.agent.directory).ended?.problem ?? '', /longer than 0\.2 s/)

  const stuck = await bench(t, { ...base, health: ['/bin/false'] })
  assert.equal(await stuck.install(await stuck.update({ counter: 1, sequence: 1 })), 'updateUnhealthy')
  const { ended, installed } = readUpdateState(stuck.agent.directory)
  assert.deepEqual([ended?.result, installed['motor']?.counter], ['unhealthy', 1], 'it says which version it has')
})

test('R12: what power was cut over is looked at again before it is installed, by whatever installs it', async (t) => {
  const place = scratch(t)
  const log = join(place, 'log')
  const load = program(place, 'load', `cat "$1" >> ${log}`)
  let cutAt = ''
  const faults = {
    reach(point: string) {
      if (point === cutAt) throw new Error('power is cut here')
    },
  }
  const world = { ...worldAt(AT), faults }
  const { install, update, agent } = await bench(t, { installer: 'command', install: [load, '{file}'] }, world)
  cutAt = 'update taken'
  await assert.rejects(install(await update({ counter: 1, sequence: 1 })), /power is cut/)
  cutAt = ''
  const { job } = readUpdateState(agent.directory)
  assert.equal(job?.step, 'install')
  writeFileSync(join(agent.directory.path, 'updates', job?.digest ?? ''), 'motor x')
  const ended = await continueUpdate(agent.device)
  assert.ok(ended !== undefined && ended !== 'restarting')
  assert.deepEqual([ended.result, ended.reason], ['went back', 'updateArtifactOther'])
  assert.equal(existsSync(log), false, 'its installer was not begun')
})

test('R29: RAUC that had switched when power was cut does not write over the version that is the way back', async (t) => {
  const place = scratch(t)
  const [log, primary] = [join(place, 'log'), join(place, 'primary')]
  writeFileSync(primary, 'rootfs.0')
  const rauc = program(
    place,
    'rauc',
    `case "$1" in install) echo "$2" >> ${log}; echo rootfs.1 > ${primary};; *) echo "{\\"boot_primary\\":\\"$(cat ${primary})\\"}";; esac`,
  )
  const installer = raucInstaller({ program: rauc, compatible: 'engine-a', options: [], timeoutSeconds: 10 }, place)
  const before = await installer.before()
  const installation = { component: 'motor', version: '2.0', file: '/bundle', digest: '', before }
  await installer.install(installation)
  await installer.install(installation)
  assert.deepEqual([before, readFileSync(log, 'latin1')], ['rootfs.0', '/bundle\n'])
})

test('R31: what only looks like a file on a stick keeps no device busy', { timeout: 20_000 }, async (t) => {
  const { place, agent, update, running } = await bench(t)
  const stick = join(place, 'stick')
  const good = await update({ counter: 1, sequence: 1 })
  writeStick(stick, good)
  const statement = join(stick, statementFile(good.says))
  const replaced = (path: string, make: () => void): void => {
    rmSync(path)
    make()
  }
  replaced(statement, () => symlinkSync('/dev/zero', statement))
  await assert.rejects(updateFrom(agent.device, stick), { reason: 'fileUnreadable' }, 'it has no end')
  replaced(statement, () => execFileSync('mkfifo', [statement]))
  await assert.rejects(updateFrom(agent.device, stick), { reason: 'fileUnreadable' }, 'nobody writes into it')
  replaced(statement, () => writeFileSync(statement, new Uint8Array((96 << 10) + 1)))
  await assert.rejects(updateFrom(agent.device, stick), { reason: 'artifactPartTooLarge' })
  writeStick(stick, good)
  const artifact = join(stick, artifactFile(good.says.artifacts[0]?.sha256 ?? new Uint8Array()))
  replaced(artifact, () => symlinkSync('/dev/zero', artifact))
  const reasons = async () => (await updateFrom(agent.device, stick)).map((one) => one !== 'restarting' && one.reason)
  assert.deepEqual(await reasons(), ['fileUnreadable'])
  replaced(artifact, () => mkdirSync(artifact))
  assert.deepEqual(await reasons(), ['fileUnreadable'])
  rmSync(artifact, { recursive: true })
  writeStick(stick, good)
  assert.deepEqual(await reasons(), [''])
  assert.equal(running(), 'motor 1')
})

test('from a stick: all that is for this device, in order, and nothing of it twice', async (t) => {
  const { place, agent, update, running, born } = await bench(t)
  const stick = join(place, 'stick')
  await assert.rejects(updateFrom(agent.device, stick), { reason: 'updateNotOnStick' })
  for (const n of [1, 2]) writeStick(stick, await update({ counter: n, sequence: n }))
  const other = { ...born, serial: 'P-2' }
  writeStick(stick, await updateFor(by, other, file, { image: utf8('motor 9'), counter: 9, sequence: 9 }))
  const results = await updateFrom(agent.device, stick)
  assert.deepEqual(
    results.map((one) => one !== 'restarting' && [one.version, one.result]),
    [
      ['1.0', 'installed'],
      ['2.0', 'installed'],
    ],
  )
  assert.equal(running(), 'motor 2')
  assert.deepEqual(await updateFrom(agent.device, stick), [])
})
