/** An update, cut at every point that it names: the device has the old version or the new one, whole, and says which. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { openAgent } from '#agent/agent.ts'
import { bornDevice, type DeviceFile, makers, scratch, type Update, updateFor, worldAt, writeStick } from '#agent/testing.ts'
import { runningComponents } from '#agent/update-running.ts'
import { readUpdateState } from '#agent/update-state.ts'
import { updateFrom } from '#agent/update-stick.ts'
import { utf8 } from '#base/bytes.ts'
import { AT } from '#signing/artifact/testing.ts'

const WORKER = join(import.meta.dirname, 'update-worker.ts')

/** From the look at its health on. */
const POINTS_OF_RETURN = 10
/** The first has the number 0. */
const BEFORE = -1

const by = await makers()
const file: DeviceFile = { manufacturer: 'acme', model: 'engine-a', revision: 'r2', owner: { name: 'north', epoch: 2 } }
const image = (counter: number): Uint8Array => utf8(`motor ${counter}\n`.repeat(20_000))

interface Device {
  readonly directory: string
  readonly stick: string
  readonly newer: Update
  readonly running: () => string | undefined
  /** What is on the disk now. */
  keep(point: number): void
  /** As it was at a point, or before the first. */
  restore(point?: number): void
}

/** With version 1, and a stick that holds version 2. */
async function device(t: TestContext, isGood: boolean): Promise<Device> {
  const place = scratch(t)
  const slots = join(place, 'slots')
  const health = join(place, 'health')
  writeFileSync(health, `#!/bin/sh\ntest "$1" = 1.0 || ${isGood}\n`)
  chmodSync(health, 0o755)
  const components = [{ name: 'motor', installer: 'file', slots, health: [health, '{version}'] }]
  const born = await bornDevice(place, by, { serial: 'P-1', file, components })
  const { directory } = born
  const stick = join(place, 'stick')
  const updateTo = (counter: number): Promise<Update> =>
    updateFor(by, born, file, { image: image(counter), counter, sequence: counter })
  writeStick(stick, await updateTo(1))
  {
    await using agent = openAgent(directory, worldAt(AT))
    await updateFrom(agent.device, stick)
  }
  const newer = await updateTo(2)
  writeStick(stick, newer)
  const current = join(slots, 'current', 'image')
  const kept = `${place}.kept`
  t.after(() => rmSync(kept, { recursive: true }))
  const copy = (from: string, to: string): void => cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  const keep = (point: number): void => copy(place, join(kept, String(point)))
  keep(BEFORE)
  return {
    ...{ directory, stick, newer, keep },
    running: () => (existsSync(current) ? readFileSync(current, 'latin1') : undefined),
    restore(point = BEFORE) {
      rmSync(place, { recursive: true })
      copy(join(kept, String(point)), place)
    },
  }
}

/** One update that is not cut; what lies on the disk at each of its points is kept, as a cut there would leave it. */
async function updateKeeping({ directory, stick, keep }: Device): Promise<number> {
  let points = 0
  const reach = (): void => keep(points++)
  await using agent = openAgent(directory, { ...worldAt(AT), faults: { reach } })
  await updateFrom(agent.device, stick)
  return points
}

/** What is there is one version or the other, and what follows comes to the end that an update without a cut has. */
async function checkGoesOn(one: Device, isGood: boolean, point: string): Promise<void> {
  const versions = [1, 2].map((counter) => new TextDecoder().decode(image(counter)))
  assert.ok(versions.includes(one.running() ?? ''), `${point}: one version or the other, whole`)
  await using agent = openAgent(one.directory, worldAt(AT))
  agent.directory.recover()
  const { sequence } = readUpdateState(agent.directory).last ?? {}
  await updateFrom(agent.device, one.stick)
  const { job, ended, last, installed } = readUpdateState(agent.directory)
  const expected = isGood ? 2 : 1
  assert.equal(one.running(), versions[expected - 1], point)
  assert.deepEqual([job, last?.sequence, installed['motor']?.counter], [null, 2, expected], point)
  assert.equal(ended?.result, isGood ? 'installed' : 'went back', point)
  assert.ok(sequence === 1 || sequence === 2, point)
  const [motor] = await runningComponents(agent.device)
  assert.deepEqual([motor?.version, motor?.counter], [`${expected}.0`, expected], `${point}: and it says which`)
  const left = readdirSync(agent.directory.path).filter((each) => each.endsWith('.new'))
  assert.deepEqual([left, readdirSync(join(agent.directory.path, 'updates'))], [[], []], `${point}: nothing is left over`)
}

for (const [name, isGood] of [
  ['that is good', true],
  ['that is not, and goes back', false],
] as const) {
  test(`R12, R29: an update ${name}, cut at each of its points`, async (t) => {
    const one = await device(t, isGood)
    const points = await updateKeeping(one)
    assert.ok(points >= 16, String(points))
    // up to where it shows what it is worth, both are the same
    for (let nth = isGood ? 0 : points - POINTS_OF_RETURN; nth < points; nth++) {
      one.restore(nth)
      await checkGoesOn(one, isGood, `point ${nth}`)
    }
    if (!isGood) return
    one.restore()
    const half = Math.trunc(points / 2) // the process itself, once: what it leaves is no more than what was kept there
    const child = spawn(process.execPath, [WORKER, one.directory, one.stick, String(half)], { stdio: 'inherit' })
    const [, signal] = await once(child, 'close')
    assert.equal(signal, 'SIGKILL')
    await checkGoesOn(one, isGood, `killed at ${half}`)
  })
}
