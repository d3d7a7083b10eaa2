/** Reports: what goes on from what, and what is wrong with what they say. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { certificateOf, testKey } from '#protocols/testing.ts'
import { AgentDirectory } from './directory.ts'
import type { Identity } from './enroll.ts'
import { faultsOf } from '#devices/state/judgment.ts'
import { type Component, continuityOf, type LastReport, readReport } from '#devices/state/messages.ts'
import { reportState } from './report.ts'

const key = testKey()
const identity: Identity = {
  chain: [certificateOf(key)],
  key: {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    publicKey: key.publicKey,
    sign: async (m) => key.sign(m),
  },
}
const component = (name: string, version: string, digit = 'a'): Component => ({ name, version, digest: digit.repeat(64) })

/** Judges as a server does, and keeps what it must keep. */
function judge() {
  let last: LastReport | undefined
  let challenges = 0
  return {
    async take(octets: Uint8Array) {
      const read = await readReport(octets)
      const continuity = continuityOf(read, last)
      if (continuity === 'forked') throw new TrustError('forbidden', 'internal')
      if (continuity === 'next') challenges++
      last = { counter: read.report.counter, digest: read.digest }
      return { challenge: `c${challenges}` }
    },
    last: () => last,
  }
}

interface Machine {
  readonly directory: AgentDirectory
  report(send: (octets: Uint8Array) => Promise<{ readonly challenge: string }>): Promise<number>
}

function machine(t: TestContext): Machine {
  const path = mkdtempSync(join(tmpdir(), 'sealworks-agent-'))
  const directory = new AgentDirectory(path, systemWorld().faults)
  t.after(() => {
    directory.close()
    rmSync(path, { recursive: true })
  })
  return { directory, report: (send) => reportState({ directory, identity, world: systemWorld(), send }) }
}

/** What a copier of the whole directory has. */
function copyOf(t: TestContext, { directory }: Machine): Machine {
  const copy = machine(t)
  copy.directory.update(directory.state(), 'copied')
  const waiting = directory.read('report.jws')
  if (waiting !== undefined) copy.directory.write('report.jws', waiting, 'copied')
  return copy
}

test('R33: reports go on one from the other, and one whose answer was lost is sent again as it was', async (t) => {
  const [server, device] = [judge(), machine(t)]
  assert.equal(await device.report(server.take), 1)
  const lost = async (octets: Uint8Array): Promise<never> => {
    await server.take(octets)
    throw new TrustError('unavailable', 'answerIncomplete')
  }
  await assert.rejects(device.report(lost), { reason: 'answerIncomplete' })
  assert.equal(server.last()?.counter, 2)
  assert.equal(await device.report(server.take), 2)
  assert.equal(await device.report(server.take), 3)
})

test('R2, R15: two machines with one directory are found by their first two reports, in whatever order they speak', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.nat(3), fc.array(fc.boolean(), { minLength: 0, maxLength: 6 }), async (before, order) => {
      const [server, device] = [judge(), machine(t)]
      for (let i = 0; i < before; i++) await device.report(server.take)
      const copy = copyOf(t, device)
      copy.directory.write('components.json', '[]', 'copied')
      device.directory.write('components.json', JSON.stringify([component('app', '1')]), 'changed')
      let alarms = 0
      const spoken = new Set<Machine>()
      for (const isCopy of [...order, true, false, true]) {
        const speaker = isCopy ? copy : device
        spoken.add(speaker)
        await speaker.report(server.take).catch((error: unknown) => {
          assert.ok(error instanceof TrustError && error.code === 'forbidden')
          alarms++
        })
        assert.equal(alarms > 0, spoken.size === 2)
      }
    }),
    { numRuns: 20 },
  )
})

test('a device that was put back to an earlier day is found', async (t) => {
  const [server, device] = [judge(), machine(t)]
  await device.report(server.take)
  const earlier = device.directory.state()
  await device.report(server.take)
  device.directory.update(earlier, 'put back')
  await assert.rejects(device.report(server.take), { code: 'forbidden' })
})

test('a report is signed as it is: each changed octet is refused', async (t) => {
  let octets = new Uint8Array(0)
  await machine(t).report(async (report) => {
    octets = new Uint8Array(report)
    return { challenge: '' }
  })
  for (let at = 0; at < octets.length; at++) {
    const changed = new Uint8Array(octets)
    changed[at] = (changed[at] as number) ^ 1
    await assert.rejects(readReport(changed), { name: 'TrustError' }, `octet ${at}`)
  }
})

test('R33: foreign, other and missing software is told, and an answer to another challenge counts for nothing', async () => {
  const report = {
    counter: 1,
    previous: '',
    challenge: 'c',
    at: new Date(0),
    trustVersion: 1,
    components: [component('app', '2'), component('loader', '1', 'b'), component('miner', '6')],
  }
  const components = [component('app', '1'), component('loader', '1'), component('safety', '1')]
  assert.deepEqual(await faultsOf(report, { challenge: 'c', components }), [
    'app 2 is not 1 as it was released',
    'loader 1 is not 1 as it was released',
    'miner 6 is not known',
    'safety is missing',
  ])
  assert.deepEqual(await faultsOf(report, { challenge: 'c' }), [])
  assert.deepEqual(await faultsOf(report, { challenge: 'c', components: report.components }), [])
  assert.deepEqual(await faultsOf(report, { challenge: 'd' }), ['it answers another challenge'])
  const boot = { key: new Uint8Array(0), values: new Map() }
  assert.deepEqual(await faultsOf(report, { challenge: 'c', boot }), ['it says nothing of how it started'])
})
