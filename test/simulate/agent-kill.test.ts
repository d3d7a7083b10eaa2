/** The agent, killed at every point that it names, goes on from there: one key, one certificate, one report of each number. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openAgent } from '#agent/agent.ts'
import type { Settings } from '#agent/directory.ts'
import { identityFrom } from '#agent/enroll.ts'
import { continuityOf, type LastReport, readReport } from '#devices/state/messages.ts'
import { encodeTrustList, signTrustList, type TrustList } from '#agent/trust-list.ts'
import { systemWorld } from '#base/world.ts'
import { testKey } from '#protocols/testing.ts'
import { keyPEMOf, pemOf, plant } from '../interop/plant.ts'
import { actAs, AGENT_ACTS, type AgentAct, REPORTS } from './agent-worker.ts'

const WORKER = join(import.meta.dirname, 'agent-worker.ts')

async function listsOf(anchor: Uint8Array): Promise<readonly Uint8Array[]> {
  const key = testKey()
  const list = (version: number): TrustList => ({
    name: 'presses',
    version,
    expires: new Date('2036-01-01T00:00:00Z'),
    threshold: 1,
    keys: [key.publicKey],
    anchors: { software: [anchor] },
  })
  const signer = {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    sign: async (m: Uint8Array) => key.sign(m),
  } as const
  return [await signTrustList(encodeTrustList(list(1)), signer), await signTrustList(encodeTrustList(list(2)), signer)]
}

test('R5, R29: killed at each point of enrollment, renewal, trust and report, the agent ends with one usable certificate', async (t) => {
  const here = await plant(t)
  const [first, second] = await listsOf(here.tlsRoot)
  const [firstFile, list] = [
    here.writeFile('trust-1.json', first as Uint8Array),
    here.writeFile('trust-2.json', second as Uint8Array),
  ]
  const active = (serial: string) =>
    here.ca.context.db.query(
      "SELECT id FROM certificate WHERE product_serial = ? AND state = 'active' AND authority_id = ?",
      serial,
      here.ca.authorities.byAddress('owner1').id,
    )

  let devices = 0
  const setUp = async (act: AgentAct): Promise<{ directory: string; settings: Settings; serial: string }> => {
    const serial = `P-${++devices}`
    const { key, certificate } = await here.issue(here.births, [{ type: 'serialNumber', value: serial }])
    const settings: Settings = {
      server: here.origin,
      label: 'owner',
      trust: [here.tlsRoot.toBase64()],
      keys: 'software',
      identity: {
        certificate: here.writeFile(`${serial}.pem`, pemOf(certificate)),
        key: here.writeFile(`${serial}.key`, keyPEMOf(key)),
      },
    }
    const directory = join(here.directory, serial, 'agent')
    mkdirSync(join(here.directory, serial))
    const world = systemWorld()
    if (act !== 'enroll') await actAs('enroll', { directory, settings, world, list })
    if (act === 'trust') await actAs('trust', { directory, settings, world, list: firstFile })
    if (act === 'report') await actAs('report', { directory, settings, world, list })
    return { directory, settings, serial }
  }

  async function killAt(point: string, act: AgentAct, directory: string, settings: Settings): Promise<void> {
    const child = spawn(process.execPath, [WORKER, directory, act, point, JSON.stringify(settings), list], { stdio: 'inherit' })
    const [, signal] = await once(child, 'close')
    assert.equal(signal, 'SIGKILL')
  }
  /** The same without a process of its own, where a file is written and not yet in its place: processes take the most time here. */
  async function stopAt(point: string, act: AgentAct, directory: string, settings: Settings): Promise<void> {
    const stop = new Error('power is cut')
    const reach = (reached: string): void => {
      if (reached === point) throw stop
    }
    await assert.rejects(actAs(act, { directory, settings, world: { ...systemWorld(), faults: { reach } }, list }), stop)
  }

  for (const act of AGENT_ACTS) {
    const points: string[] = []
    const watched = { ...systemWorld(), faults: { reach: (point: string) => void points.push(point) } }
    await actAs(act, { ...(await setUp(act)), world: watched, list })
    assert.ok(points.length >= 4 && new Set(points).size === points.length, `${act}: ${points.join(', ')}`)

    for (const point of points) {
      await t.test(`${act}: ${point}`, async () => {
        const { directory, settings, serial } = await setUp(act)
        await (point.endsWith(': beside') ? stopAt : killAt)(point, act, directory, settings)

        const agent = openAgent(directory, systemWorld())
        const outcome = await agent.enroll(settings)
        assert.equal(outcome.state, 'enrolled')
        const [only, ...others] = readdirSync(join(directory, 'keys'))
        assert.deepEqual(others, [])
        const place = join(directory, 'keys', only as string)
        const file = (name: string): string => readFileSync(join(place, name), 'latin1')
        assert.ok(
          identityFrom(file('certificate.pem'), file('key.pem'), {}).chain.length > 0,
          'the key is that of the certificate',
        )
        assert.equal((await active(serial)).length, 1, 'the server knows one, too')
        assert.equal((await agent.renew({ now: true })).state, 'enrolled', 'and it is good for the next')
        if (act === 'trust') assert.equal((await agent.takeTrust(second as Uint8Array)).version, 2)
        await agent[Symbol.asyncDispose]()
        if (act === 'report') await checkReports(directory, settings)
      })
    }
  }

  /** Two more, and all that were ever sent go on from each other. */
  async function checkReports(directory: string, settings: Settings): Promise<void> {
    for (let i = 0; i < 2; i++) await actAs('report', { directory, settings, world: systemWorld(), list })
    let last: LastReport | undefined
    for (const line of readFileSync(join(directory, '..', REPORTS), 'utf8')
      .trim()
      .split('\n')) {
      const read = await readReport(Uint8Array.fromBase64(line))
      assert.notEqual(continuityOf(read, last), 'forked')
      last = { counter: read.report.counter, digest: read.digest }
    }
  }
})
