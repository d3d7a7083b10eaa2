/** What a device does with commands: once, after it noted them, with a receipt; whenever power is cut. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { type Command, encodeSelect, readFromDevice, type Receipt } from '#commands/messages.ts'
import {
  ada,
  agreed,
  anchors,
  bo,
  command,
  cy,
  device as self,
  officer,
  person,
  policy,
  secondsAfter,
  signed,
  signedPolicy,
} from '#commands/testing.ts'
import {
  type CommandChannel,
  challengeFor,
  type Nonces,
  obey,
  obeyCommands,
  type Obeying,
  runOperation,
  takePolicy,
} from './command.ts'
import type { Ended } from './program.ts'
import { openCommandJournal } from './command-journal.ts'
import { commandSettings, type OperationProgram } from './command-settings.ts'

const unit = await person('P-1', 'clientAuth')
const identity: Obeying['identity'] = {
  chain: [unit.certificate],
  key: { keyAlgorithm: 'ecdsa-p256', signatureAlgorithm: 'ecdsa-sha256', publicKey: unit.key.spki, sign: unit.signer.sign },
}
const program: OperationProgram = { program: ['/bin/true'], timeoutSeconds: 5 }
class PowerCut extends Error {}

interface Plant {
  /** The device as it is started, again and again on what it kept. */
  start(options?: {
    readonly cutAt?: string | undefined
    readonly anchors?: readonly Uint8Array[]
    readonly hasClock?: boolean
  }): Obeying & Disposable
  readonly time: { seconds: number; uptime: number }
  /** What was done, and how it is to end. */
  readonly done: string[]
  ended: Ended
  /** Places that were reached. */
  readonly reached: Set<string>
}

function plant(t: TestContext): Plant {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-obey-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const time = { seconds: 1, uptime: 1000 }
  const plantHere: Plant = {
    ...{ time, done: [], reached: new Set(), ended: { exitCode: 0, output: utf8('lit') } },
    start({ cutAt, hasClock = true, ...more } = {}) {
      const reach = (point: string): void => {
        plantHere.reached.add(point)
        if (point === cutAt) throw new PowerCut(point)
      }
      const world = { ...systemWorld(), clock: { now: () => secondsAfter(time.seconds).getTime() }, faults: { reach } }
      const journal = openCommandJournal(directory, world.faults)
      const nonces: Nonces = new Map()
      return {
        ...{ world, journal, self, identity, nonces, anchors: more.anchors ?? anchors },
        settings: {
          ...{ assurance: self.assurance, hasClock, preconditions: new Map([['is.closed', program]]) },
          operations: new Map(['lamp.on', 'valve.open'].map((name) => [name, program])),
        },
        uptimeSeconds: () => time.uptime,
        async run(_, { operation }) {
          plantHere.done.push(operation)
          return plantHere.ended
        },
        [Symbol.dispose]: () => journal[Symbol.dispose](),
      }
    },
  }
  return plantHere
}

const receiptIn = async (octets: Uint8Array): Promise<Receipt> => {
  const said = await readFromDevice(octets, self.birthKey)
  assert.ok(said.kind === 'receipt')
  assert.deepEqual(said.certificate, unit.certificate)
  return said.value
}

/** A server with these for the device, until it has their receipts. */
function channelOf(messages: readonly Uint8Array[], policies: readonly Uint8Array[] = []) {
  const receipts: Uint8Array[] = []
  const channel: CommandChannel = {
    async list(kind, after) {
      const all = kind === 'command' ? messages : policies
      return all.map((octets, at) => ({ number: kind === 'command' ? at + 1 : after + 1, octets }))
    },
    send: async (_, octets) => void receipts.push(octets),
    pause: async () => {},
  }
  return { channel, receipts }
}

test('R14: a device takes its policy, does what is ordered once, and says so with its own key', async (t) => {
  const { start, done } = plant(t)
  using obeying = start()
  const { channel, receipts } = channelOf([await signed(command)], [await signedPolicy()])
  assert.equal(await obeyCommands(obeying, channel), 'command lamp.on: done')
  const { result, exitCode, output, counter } = await receiptIn(receipts[0] as Uint8Array)
  assert.deepEqual([result, exitCode, output && new TextDecoder().decode(output), counter], ['done', 0, 'lit', 1])
  assert.equal(
    await obeyCommands(obeying, channel),
    'a policy was refused: ' + new TrustError('conflict', 'commandPolicyOld', { facts: { version: 3, here: 3 } }).message,
  )
  assert.deepEqual([done, receipts.length], [['lamp.on'], 1])
})

const twice = { ...command, counter: 6, id: new Uint8Array(16).fill(9) }

test('R14: the same command in another wrapping, and an older one, are not done', async (t) => {
  const { start, done } = plant(t)
  using obeying = start()
  await takePolicy(obeying, await signedPolicy())
  await obey(obeying, await signed(twice))
  await assert.rejects(async () => obey(obeying, await signed(twice)), { reason: 'commandReplayed' }) // signed anew
  assert.deepEqual(await obey(obeying, await signed(command)), {
    did: 'ended',
    operation: 'lamp.on',
    result: 'refused',
    reason: 'commandReordered',
  })
  assert.deepEqual(done, ['lamp.on'])
})

test('R14: a critical one is done when its operator answered what this very process asked, within ten seconds', async (t) => {
  const { start, done, time } = plant(t)
  const answer = async (obeying: Obeying, what: Command): Promise<Uint8Array> => {
    const said = await readFromDevice(await challengeFor(obeying, what.id), self.birthKey)
    assert.ok(said.kind === 'challenge')
    return signed(what, { approvers: [bo, cy], nonce: said.value.nonce })
  }
  {
    using obeying = start()
    await takePolicy(obeying, await signedPolicy())
    const late = await answer(obeying, agreed)
    time.uptime += 11
    assert.deepEqual(await obey(obeying, late), {
      did: 'ended',
      operation: 'valve.open',
      result: 'refused',
      reason: 'commandNonceOld',
    })
    const good = await answer(obeying, agreed)
    using again = start() // power was cut: nobody waits for that answer any more
    assert.deepEqual(await obey(again, good), {
      did: 'ended',
      operation: 'valve.open',
      result: 'refused',
      reason: 'commandNonceNone',
    })
  }
  using obeying = start({ hasClock: false })
  time.seconds = 100_000
  assert.equal(((await obey(obeying, await answer(obeying, agreed))) as { result?: string }).result, 'done')
  assert.deepEqual(done, ['valve.open'])
})

test('an order to ask is answered, and its answer looked for in the same round', async (t) => {
  const { start, done } = plant(t)
  using obeying = start()
  await takePolicy(obeying, await signedPolicy())
  const messages: Uint8Array[] = [encodeSelect(agreed.id)]
  const { channel, receipts } = channelOf(messages)
  const pausing: CommandChannel = {
    ...channel,
    async pause() {
      const said = await readFromDevice(receipts[0] as Uint8Array, self.birthKey)
      assert.ok(said.kind === 'challenge')
      messages[0] = await signed(agreed, { approvers: [bo, cy], nonce: said.value.nonce })
    },
  }
  assert.equal(await obeyCommands(obeying, pausing), 'command valve.open: done')
  assert.deepEqual(done, ['valve.open'])
})

/** What a round reaches; from each of them power is cut once. */
const points = [
  'agent command policy kept: before commit',
  'agent command policy kept',
  'agent command begun: before commit',
  'agent command begun',
  'agent command done',
  'agent command ended: before commit',
  'agent command ended',
  'agent command told: before commit',
  'agent command told',
] as const
for (const cutAt of points) {
  test(`R14: power is cut at "${cutAt}": the command is done at most once, and has one receipt that says what is known`, async (t) => {
    const here = plant(t)
    const { channel, receipts } = channelOf([await signed(command)], [await signedPolicy()])
    {
      using obeying = here.start({ cutAt })
      await assert.rejects(obeyCommands(obeying, channel), PowerCut)
    }
    using obeying = here.start()
    await obeyCommands(obeying, channel)
    await obeyCommands(obeying, channel)
    const said = await Promise.all(receipts.map(receiptIn))
    assert.equal(new Set(receipts.map((octets) => octets.toHex())).size, 1) // the same octets, however often
    const isUnknown =
      cutAt === 'agent command begun' || cutAt === 'agent command done' || cutAt === 'agent command ended: before commit'
    assert.equal(said[0]?.result, isUnknown ? 'unknown' : 'done')
    assert.equal(here.done.length, cutAt === 'agent command begun' ? 0 : 1)
    assert.ok(here.reached.has(cutAt))
  })
}

test('every place where power can be cut is among those', async (t) => {
  const here = plant(t)
  using obeying = here.start()
  const { channel } = channelOf([await signed(command)], [await signedPolicy()])
  await obeyCommands(obeying, channel)
  assert.deepEqual([...here.reached].toSorted(), [...points].toSorted())
})

for (const [what, change, ended, expected] of [
  ['a program that fails', {}, { exitCode: 3, output: utf8('no') }, { result: 'failed', exitCode: 3 }],
  ['a program that does not end', {}, { exitCode: undefined, output: utf8('') }, { result: 'failed', reason: 'commandProgram' }],
  ['an operation without a program', { operation: 'fuse.blow' }, undefined, { result: 'refused', reason: 'commandNotHere' }],
  [
    'a precondition that does not hold',
    { precondition: 'is.closed' },
    { exitCode: 1, output: utf8('') },
    { result: 'refused', reason: 'commandPrecondition' },
  ],
  [
    'a precondition that nobody knows',
    { precondition: 'is.open' },
    undefined,
    { result: 'refused', reason: 'commandPrecondition' },
  ],
  [
    'an end that is over',
    { notBefore: secondsAfter(-60), expiresAt: secondsAfter(-30) },
    undefined,
    { result: 'refused', reason: 'commandExpired' },
  ],
] as const) {
  test(`R14: the receipt tells of ${what}`, async (t) => {
    const here = plant(t)
    using obeying = here.start()
    const [lamp, ...others] = policy.operations
    await takePolicy(
      obeying,
      await signedPolicy({
        ...policy,
        operations: [
          lamp as (typeof policy.operations)[number],
          { ...(lamp as (typeof policy.operations)[number]), operation: 'fuse.blow' },
          ...others,
        ],
      }),
    )
    if (ended !== undefined) here.ended = ended
    await obey(obeying, await signed({ ...command, ...change }))
    const [told] = obeying.journal.untold()
    const said = await receiptIn(told?.receipt as Uint8Array)
    for (const [name, value] of Object.entries(expected)) assert.equal(said[name as keyof Receipt], value)
  })
}

test('R14: a clock that is set back is found by what was signed later', async (t) => {
  const { start, time } = plant(t)
  using obeying = start()
  await takePolicy(obeying, await signedPolicy())
  time.seconds = 3601
  const late = { ...command, notBefore: secondsAfter(3600), expiresAt: secondsAfter(3630) }
  assert.equal(((await obey(obeying, await signed(late))) as { result?: string }).result, 'done')
  time.seconds = 1
  assert.equal(((await obey(obeying, await signed(twice))) as { reason?: string }).reason, 'commandClockBack')
})

test('R14: what does not verify, or is for another device, has no receipt and keeps nothing behind it', async (t) => {
  const { start, done } = plant(t)
  using obeying = start()
  const other = { ...command, audience: { ...command.audience, device: 'acme/P-2' } }
  const good = await signed(twice)
  const forged = good.with(good.length - 1, (good.at(-1) as number) ^ 1)
  const { channel, receipts } = channelOf([utf8('x'), await signed(other), forged, good], [await signedPolicy()])
  assert.equal(await obeyCommands(obeying, channel), 'command lamp.on: done')
  assert.deepEqual([done.length, receipts.length], [1, 1])
})

test('R14: a policy of another area, an older one and one of somebody else are refused; one whose signer is no longer trusted rules nothing', async (t) => {
  const { start } = plant(t)
  using obeying = start()
  await takePolicy(obeying, await signedPolicy())
  await assert.rejects(async () => takePolicy(obeying, await signedPolicy({ ...policy, version: 2 })), {
    reason: 'commandPolicyOld',
  })
  await assert.rejects(async () => takePolicy(obeying, await signedPolicy({ ...policy, version: 4, area: 'carworks/press' })), {
    reason: 'commandPolicyOther',
  })
  await assert.rejects(async () => takePolicy(obeying, await signedPolicy({ ...policy, version: 4 }, ada)), {
    reason: 'commandPolicySigner',
  })
  const without = anchors.filter((anchor) => anchor !== officer.certificate)
  using later = start({ anchors: without })
  await assert.rejects(async () => obey(later, await signed(command)), { code: 'unauthenticated' })
})

test('R14: a device that comes to another area takes the policy of that area, whatever its number, and an older one nowhere', async (t) => {
  const { start, done } = plant(t)
  using obeying = start()
  await takePolicy(obeying, await signedPolicy())
  const moved = { ...obeying, self: { ...self, area: 'forge/press' } }
  const there = { ...policy, area: 'forge/press', version: 1 }
  const { channel } = channelOf([await signed({ ...command, area: 'forge/press' })])
  const asked: number[] = []
  const server: CommandChannel = {
    ...channel,
    async list(kind, after) {
      if (kind === 'command') return channel.list(kind, after)
      asked.push(after)
      return after < 1 ? [{ number: 1, octets: await signedPolicy(there) }] : []
    },
  }
  assert.equal(await obeyCommands(moved, server), 'command lamp.on: done')
  assert.deepEqual([asked, done], [[0], ['lamp.on']])
  await assert.rejects(async () => takePolicy(obeying, await signedPolicy({ ...policy, version: 2 })), {
    reason: 'commandPolicyOld',
  })
})

test('R14: a policy from the future is not taken: it would keep the device from obeying until then', async (t) => {
  const { start, time } = plant(t)
  using obeying = start()
  const ahead = await signedPolicy({ ...policy, issuedAt: secondsAfter(3600) })
  await assert.rejects(takePolicy(obeying, ahead), { reason: 'commandPolicyNotYet' })
  time.seconds = 3600
  assert.equal(await takePolicy(obeying, ahead), 3)
})

test('a program gets what was ordered on its standard input, and no more is kept of its words than a receipt holds', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-program-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const script = join(directory, 'lamp.mjs')
  const out = join(directory, 'out.json')
  writeFileSync(
    script,
    `import { readFileSync, writeFileSync } from 'node:fs'
writeFileSync(${JSON.stringify(out)}, readFileSync(0))
process.stdout.write('x'.repeat(10_000))
process.exitCode = 7`,
  )
  const ordered = {
    operation: 'lamp.on',
    arguments: new Map<string, string | Uint8Array>([
      ['zone', '--help; $(reboot)'],
      ['raw', Uint8Array.of(1)],
    ]),
  }
  const { exitCode, output } = await runOperation({ program: [process.execPath, script], timeoutSeconds: 30 }, ordered)
  assert.deepEqual([exitCode, output.length], [7, 4096])
  assert.deepEqual(JSON.parse(readFileSync(out, 'utf8')), {
    operation: 'lamp.on',
    arguments: { zone: '--help; $(reboot)', raw: 'base64:AQ==' },
  })
  assert.deepEqual(await runOperation({ program: [join(directory, 'none')], timeoutSeconds: 1 }, ordered), {
    exitCode: undefined,
    output: new Uint8Array(0),
  })
  const late = await runOperation({ program: ['/bin/sleep', '30'], timeoutSeconds: 0.05 }, ordered)
  assert.equal(late.exitCode, undefined)
  const left = await runOperation({ program: ['/bin/sh', '-c', 'setsid sleep 20 &'], timeoutSeconds: 0.2 }, ordered)
  assert.equal(left.exitCode, 0, 'nobody waits for what it left running with its output open')
})

const settingsOf = (text: string) => commandSettings({ directory: { read: () => utf8(text) } } as never)
test('what a device can be ordered to do is said by its own file, and read strictly', () => {
  const found = settingsOf('{"assurance": 2, "operations": {"lamp.on": {"program": ["/usr/bin/lamp", "on"]}}}')
  assert.deepEqual(found?.operations.get('lamp.on'), { program: ['/usr/bin/lamp', 'on'], timeoutSeconds: 10 })
  for (const text of [
    '{}',
    '{"operations": {"lamp.on": {"program": ["lamp"]}}}',
    '{"operations": {"lamp.on": {"program": []}}}',
    '{"operations": {"Lamp": {"program": ["/x"]}}}',
    '{"operations": {"lamp.on": {"program": ["/x"], "shell": true}}}',
    '{"operations": {"lamp.on": {"program": ["/x"], "timeoutSeconds": 0}}}',
    '{"operations": {}, "clock": 1}',
    '{"operations": {}, "assurance": 5}',
    '{"operations": {}, "other": 1}',
  ])
    assert.throws(() => settingsOf(text), { code: 'malformed', reason: 'agentFile' })
})
