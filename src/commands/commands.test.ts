/** Commands on their way over a database of either engine: counted, signed, delivered, receipted; each act in the log. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { TrustError } from '#base/errors.ts'
import { seldom } from '#base/seldom.ts'
import { systemWorld, type World } from '#base/world.ts'
import { signCOSE1 } from '#cbor/cose-signing.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import {
  addSignature,
  type CommandRecord,
  draftCommand,
  expireCommands,
  listCommands,
  openCommand,
  type WantedCommand,
} from './commands.ts'
import type { CommandsContext, CommandStanding } from './context.ts'
import { deliver, deliverPolicy, receiptOf, takeFromDevice } from './deliveries.ts'
import {
  CHALLENGE_TYPE,
  commandDigest,
  encodeChallenge,
  encodeReceipt,
  externalAADFor,
  readCommand,
  type Receipt,
  RECEIPT_TYPE,
  selectedIn,
} from './messages.ts'
import { commandsMigrations } from './migrations.ts'
import { listPolicies, putPolicy } from './policies.ts'
import { commandRefusal, operatorTrust } from './policy/messages.ts'
import { signCommand } from './signing.ts'
import { ada, anchors, AT, bo, cy, device, nonce, officer, person, type Person, policy, signedPolicy } from './testing.ts'

const organizationId = 'default'
const unit = await person('P-1', 'clientAuth')

interface Setting {
  readonly context: CommandsContext
  readonly database: Database
  readonly time: { ahead: number }
  readonly asked: CommandStanding[]
  acts(): Promise<readonly string[]>
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-commands-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const database = url === undefined ? sqlite({ path: join(directory, 'commands.db') }) : postgres({ url })
  try {
    const time = { ahead: 0 }
    const world: World = { ...systemWorld(), clock: { now: () => AT.getTime() + time.ahead } }
    await migrate(database, [...storeMigrations, ...auditMigrations, ...commandsMigrations], world)
    const audit = auditRecorder({ database, world, organizationId })
    const asked: CommandStanding[] = []
    const context: CommandsContext = {
      ...{ db: database, audit, world, organizationId, issuer: 'plant', anchors },
      async device(id) {
        if (id === 'd1') return device
        throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
      },
      async checkCertificate(_, der) {
        if (Buffer.compare(der, unit.certificate) !== 0) throw new TrustError('forbidden', 'certificateReplaced')
      },
      checkMayCommand: async ({ standing }) => void asked.push(standing),
      checkArea: async () => {},
      isNews: seldom(world.clock),
    }
    await putPolicy(context, await signedPolicy(), 'person:olga')
    await body({
      ...{ context, database, time, asked },
      async acts() {
        const { entries } = await listAuditEntries(database, { organizationId, limit: 1000 })
        return entries.map(({ act, outcome, reason }) => [act, outcome, reason ?? ''].join(' ').trim()).toSorted()
      },
    })
  } finally {
    await database.close()
    rmSync(directory, { recursive: true })
  }
}

function onEach(name: string, body: (setting: Setting) => Promise<void>): void {
  test(`sqlite: ${name}`, () => inSetting('sqlite', body))
  test(`postgres: ${name}`, { skip: withoutPostgres }, () => inSetting('postgres', body))
}

const lamp: WantedCommand = {
  deviceId: 'd1',
  operation: 'lamp.on',
  arguments: new Map([['level', 3]]),
  priority: 'normal',
  operator: 'ada',
}
const valve: WantedCommand = { ...lamp, operation: 'valve.open' }
const actor = 'person:1'

const signs = ({ signer }: Person, { payload, form }: CommandRecord, answered?: Uint8Array): Promise<Uint8Array> =>
  signCommand(signer, { payload, form, birthKey: device.birthKey, ...(answered && { nonce: answered }) })

async function ordered(context: CommandsContext, wanted = lamp): Promise<CommandRecord> {
  const draft = await draftCommand(context, wanted, actor)
  return addSignature(context, draft.id, await signs(ada, draft), actor)
}

const receiptFor = (message: Uint8Array, id: Uint8Array, more: Partial<Receipt> = {}): Promise<Uint8Array> => {
  const receipt: Receipt = {
    ...{ command: id, message: commandDigest(message), birthKey: device.birthKey },
    ...{ result: 'done', counter: 1, at: AT, ...more },
  }
  const externalAAD = externalAADFor('receipt', device.birthKey)
  return signCOSE1(unit.signer, { typ: RECEIPT_TYPE, payload: encodeReceipt(receipt), externalAAD })
}

onEach(
  'R14: a command is drafted, signed, delivered until there is a receipt, and receipted',
  async ({ context, asked, acts }) => {
    const ready = await ordered(context)
    assert.equal(ready.state, 'ready')
    const [first] = await deliver(context, 'd1', 0)
    const [again] = await deliver(context, 'd1', 0)
    assert.deepEqual(first, again)
    assert.deepEqual(await deliver(context, 'd1', ready.number), [])
    const message = first?.octets as Uint8Array
    const read = await readCommand(message, { trust: operatorTrust(policy, anchors), at: AT, birthKey: device.birthKey })
    const fresh = { now: AT, lastSeen: AT, counter: 0, last: undefined, nonce: undefined }
    assert.equal(commandRefusal(read, policy, device, fresh), undefined)
    const receipt = await receiptFor(message, read.command.id)
    await takeFromDevice(context, 'd1', receipt)
    await takeFromDevice(context, 'd1', receipt) // our answer was lost
    assert.equal((await openCommand(context, ready.id)).state, 'receipted')
    assert.deepEqual((await receiptOf(context, ready.id))?.octets, receipt)
    assert.deepEqual(await deliver(context, 'd1', 0), [])
    assert.deepEqual(asked, [
      { roleHasOperation: true, isSignedByOperator: true, isAssuranceReached: true, areEnoughAgreed: true },
    ])
    assert.deepEqual(await acts(), [
      'command.deliver done',
      'command.draft done',
      'command.order done',
      'command.policy done',
      'command.receipt done',
    ])
  },
)

onEach('R14: a critical one waits for two, then for the device, then for its operator', async ({ context, time, acts }) => {
  const draft = await draftCommand(context, valve, actor)
  assert.equal(draft.state, 'waiting')
  await assert.rejects(async () => addSignature(context, draft.id, await signs(ada, draft), actor), {
    reason: 'commandNonceOther',
  })
  assert.equal((await addSignature(context, draft.id, await signs(bo, draft), actor)).state, 'waiting')
  await assert.rejects(async () => addSignature(context, draft.id, await signs(bo, draft), actor), { reason: 'commandSigned' })
  assert.equal((await addSignature(context, draft.id, await signs(cy, draft), actor)).state, 'challenging')
  const [select] = await deliver(context, 'd1', 0)
  const id = selectedIn(select?.octets as Uint8Array) as Uint8Array
  assert.equal(id.toHex(), draft.id)
  const externalAAD = externalAADFor('challenge', device.birthKey)
  const payload = encodeChallenge({ command: id, nonce, birthKey: device.birthKey })
  const challenge = await signCOSE1(unit.signer, { typ: CHALLENGE_TYPE, payload, externalAAD })
  await takeFromDevice(context, 'd1', challenge)
  assert.deepEqual(await deliver(context, 'd1', 0), []) // the operator's turn
  const challenges = async () => (await acts()).filter((act) => act === 'command.challenge done').length
  await takeFromDevice(context, 'd1', challenge)
  assert.equal(await challenges(), 1, 'one that nobody asked for does not fill the log')
  time.ahead += 11_000
  await assert.rejects(async () => addSignature(context, draft.id, await signs(ada, draft, nonce), actor), {
    reason: 'commandNonceOld',
  })
  assert.equal((await deliver(context, 'd1', 0)).length, 1) // asked again
  await takeFromDevice(context, 'd1', challenge)
  assert.equal(await challenges(), 2)
  const ready = await addSignature(context, draft.id, await signs(ada, draft, nonce), actor)
  assert.equal(ready.state, 'ready')
  assert.equal((await deliver(context, 'd1', 0)).length, 1)
})

onEach(
  'R14: a counter is never given twice, to whomever it is given at once, and a backup brings none back',
  async ({ context, database, time }) => {
    const drafts = await Promise.all(Array.from({ length: 12 }, () => draftCommand(context, lamp, actor)))
    const counters = drafts.map(({ command }) => command.counter).toSorted((a, b) => a - b)
    assert.equal(new Set(counters).size, 12)
    await database.transaction((tx) => tx.query('DELETE FROM command_counter')) // as if restored from before
    time.ahead += 60_000
    const { command } = await draftCommand(context, lamp, actor)
    assert.ok(command.counter > (counters.at(-1) as number))
  },
)

const mallory = await person('mallory')
onEach('R14: what a device would refuse is refused before it is drafted, or when it is signed', async ({ context }) => {
  for (const [wanted, reason] of [
    [{ ...lamp, operation: 'fuse.blow' }, 'commandOperationUnknown'],
    [{ ...lamp, operator: 'bo' }, 'commandRoleLacks'],
    [{ ...lamp, operation: 'press.stop' }, 'commandAssurance'],
    [{ ...valve, mode: 'time' }, 'commandChallengeNeeded'],
    [{ ...lamp, lifeSeconds: 31 }, 'commandLifeTooLong'],
    [{ ...lamp, deviceId: 'd2' }, 'deviceUnknown'],
  ] as const)
    await assert.rejects(draftCommand(context, wanted, actor), { reason })
  const [one, two] = [await draftCommand(context, lamp, actor), await draftCommand(context, lamp, actor)]
  for (const [message, reason] of [
    [await signs(ada, two), 'commandSignatureOther'],
    [await signs(mallory, one), 'commandApproverOther'],
    [await signs(bo, one), 'commandApproverOther'], // nobody has to agree
    [await signs(ada, { ...one, form: 'several' }), 'commandSignatureOther'],
    [await signCommand(ada.signer, { payload: one.payload, form: one.form, birthKey: new Uint8Array(32) }), 'messageSignature'],
  ] as const)
    await assert.rejects(addSignature(context, one.id, message, actor), { reason })
  assert.equal((await openCommand(context, one.id)).state, 'drafted')
})

onEach('R14: whoever is taken out of the policy has no command delivered any more', async ({ context, acts }) => {
  const [ready, sent] = [await ordered(context), await ordered(context)]
  const [{ octets } = { octets: new Uint8Array(0) }] = await deliver(context, 'd1', ready.number)
  const draft = await draftCommand(context, lamp, actor)
  const without = {
    ...policy,
    version: 4,
    roles: policy.roles.map((role) => ({ ...role, members: role.members.filter(({ name }) => name !== 'ada') })),
  }
  await putPolicy(context, await signedPolicy(without), actor)
  await assert.rejects(async () => addSignature(context, draft.id, await signs(ada, draft), actor), {
    reason: 'commandApproverOther',
  })
  assert.deepEqual(await deliver(context, 'd1', 0), []) // the device may not have fetched version 4 yet
  const { state, reason } = await openCommand(context, ready.id)
  assert.deepEqual([state, reason], ['refused', 'commandOperatorOther'])
  assert.ok((await acts()).includes('command.deliver refused commandOperatorOther'))
  await takeFromDevice(context, 'd1', await receiptFor(octets, sent.command.id)) // it had this one before
  assert.equal((await openCommand(context, sent.id)).state, 'receipted')
})

for (const [what, now, reason] of [
  ['has another owner', { ...device, epoch: 2 }, 'commandOtherEpoch'],
  ['is in another area', { ...device, area: 'carworks/body' }, 'commandPolicyNone'],
  ['is less well known', { ...device, assurance: 0 }, 'commandAssurance'],
] as const)
  onEach(`R14: a command is not delivered to a device that ${what} by now`, async ({ context }) => {
    const stop = { ...policy, version: 4, operations: policy.operations.map((rule) => ({ ...rule, assurance: 1 })) }
    await putPolicy(context, await signedPolicy(stop), actor)
    const { id } = await ordered(context)
    const moved = { ...context, device: async () => now }
    assert.deepEqual(await deliver(moved, 'd1', 0), [])
    assert.equal((await openCommand(context, id)).reason, reason)
  })

onEach('what is not delivered in its time expires, and is signed and receipted by nobody', async ({ context, time }) => {
  const [draft, ready, sent] = [await draftCommand(context, lamp, actor), await ordered(context), await ordered(context)]
  const delivered = await deliver(context, 'd1', sent.number - 1)
  assert.equal(delivered.length, 1)
  time.ahead += 36_000
  assert.equal(await expireCommands(context), 2)
  assert.deepEqual(
    [
      (await openCommand(context, draft.id)).state,
      (await openCommand(context, ready.id)).state,
      (await openCommand(context, sent.id)).state,
    ],
    ['expired', 'expired', 'delivered'],
  )
  await assert.rejects(async () => addSignature(context, draft.id, await signs(ada, draft), actor), { code: 'conflict' })
  assert.deepEqual(await deliver(context, 'd1', 0), [])
  time.ahead += 60_000
  const missing = await listCommands(context, { isReceiptMissing: true }, { limit: 10 })
  assert.deepEqual(
    missing.map(({ id }) => id),
    [sent.id],
  )
  await takeFromDevice(context, 'd1', await receiptFor(delivered[0]?.octets as Uint8Array, sent.command.id)) // it was cut off for a while
  assert.deepEqual(await listCommands(context, { isReceiptMissing: true }, { limit: 10 }), [])
})

onEach(
  'R14: receipts of others, of other messages and with a number that was there are refused, and in the log',
  async ({ context, time, acts }) => {
    const sent = [await ordered(context), await ordered(context)] as const
    const [first, second] = (await deliver(context, 'd1', 0)).map(({ octets }) => octets) as [Uint8Array, Uint8Array]
    const ids = sent.map(({ command }) => command.id) as [Uint8Array, Uint8Array]
    await assert.rejects(async () => takeFromDevice(context, 'd1', await receiptFor(second, ids[0])), {
      reason: 'commandReceiptOther',
    })
    const forged = await receiptFor(first, ids[0]).then((octets) => octets.with(octets.length - 1, (octets.at(-1) as number) ^ 1))
    await assert.rejects(takeFromDevice(context, 'd1', forged), { code: 'badProof' })
    const payload = encodeReceipt({
      command: ids[0],
      message: commandDigest(first),
      birthKey: device.birthKey,
      result: 'done',
      counter: 1,
      at: AT,
    })
    const byAda = await signCOSE1(ada.signer, {
      typ: RECEIPT_TYPE,
      payload,
      externalAAD: externalAADFor('receipt', device.birthKey),
    })
    await assert.rejects(takeFromDevice(context, 'd1', byAda), { code: 'forbidden' })
    await takeFromDevice(context, 'd1', await receiptFor(first, ids[0]))
    await assert.rejects(async () => takeFromDevice(context, 'd1', await receiptFor(first, ids[0], { counter: 2 })), {
      reason: 'commandReceiptTwice',
    })
    const isTwice = (act: string): boolean => act === 'command.receipt refused commandReceiptTwice'
    const twice = async () => takeFromDevice(context, 'd1', await receiptFor(first, ids[0], { counter: 3 }))
    await assert.rejects(twice, { reason: 'commandReceiptTwice' })
    assert.equal((await acts()).filter(isTwice).length, 1, 'a device that repeats it does not fill the log')
    time.ahead += 60_000
    await assert.rejects(twice, { reason: 'commandReceiptTwice' })
    assert.equal((await acts()).filter(isTwice).length, 2, 'but a minute later it is news again')
    time.ahead -= 60_000
    await assert.rejects(async () => takeFromDevice(context, 'd1', await receiptFor(second, ids[1])), {
      reason: 'commandReceiptForked',
    })
    await assert.rejects(async () => takeFromDevice(context, 'd1', await receiptFor(second, new Uint8Array(16))), {
      reason: 'commandUnknown',
    })
    const { exitCode: _, ...refused } = { exitCode: 0, result: 'refused' as const, reason: 'commandClockBack', counter: 2 }
    await takeFromDevice(context, 'd1', await receiptFor(second, ids[1], { ...refused, exitCode: undefined as never }))
    const record = await openCommand(context, sent[1].id)
    assert.deepEqual([record.state, record.reason], ['refused', 'commandClockBack'])
    const log = await acts()
    for (const reason of ['commandReceiptTwice', 'commandReceiptForked', 'commandReceiptOther'])
      assert.ok(log.includes(`command.receipt refused ${reason}`), reason)
  },
)

onEach('R14: a policy goes up and never back, and reaches the devices of its area', async ({ context }) => {
  for (const version of [2, 3])
    await assert.rejects(async () => putPolicy(context, await signedPolicy({ ...policy, version }), actor), {
      reason: 'commandPolicyOld',
    })
  await assert.rejects(async () => putPolicy(context, await signedPolicy({ ...policy, version: 4 }, bo), actor), {
    reason: 'commandPolicySigner',
  })
  const both = await Promise.allSettled(
    [4, 5].map(async (version) => putPolicy(context, await signedPolicy({ ...policy, version }, officer), actor)),
  )
  assert.ok(both.some(({ status }) => status === 'fulfilled'))
  const [inForce] = await listPolicies(context)
  const version = inForce?.policy.version as number
  assert.ok(version > 3)
  assert.deepEqual(
    (await deliverPolicy(context, 'd1', 3)).map(({ number }) => number),
    [version],
  )
  assert.deepEqual(await deliverPolicy(context, 'd1', version), [])
})
