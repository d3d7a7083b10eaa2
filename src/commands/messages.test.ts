/** Commands as a device judges them: what it obeys, and each attack on what it must not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { encodeCBOR, parseCBOR, type CBORMap } from '#cbor/cbor.ts'
import { encodeCOSE, parseCOSE } from '#cbor/cose.ts'
import { signCOSE1 } from '#cbor/cose-signing.ts'
import { messageTrust } from '#signing/messages.ts'
import { fingerprint } from '#x509/certificate.ts'
import {
  type Command,
  encodeCommand,
  encodeReceipt,
  encodeSelect,
  externalAADFor,
  parseCommand,
  readCommand,
  readFromDevice,
  type Receipt,
  RECEIPT_TYPE,
  selectedIn,
} from './messages.ts'
import { commandRefusal, type CommandRefusal, type Freshness, operatorTrust, readPolicy } from './policy/messages.ts'
import { joinCommand } from './signing.ts'
import {
  ada,
  agreed,
  anchors,
  answering,
  AT,
  bo,
  command,
  cy,
  device,
  fresh,
  nonce,
  officer,
  peopleRoot,
  person,
  policy,
  receipt,
  secondsAfter,
  signed,
  signedPolicy,
  signerOf,
  trust,
} from './testing.ts'

const read = (message: Uint8Array, birthKey = device.birthKey) => readCommand(message, { trust, at: secondsAfter(1), birthKey })

async function judged(message: Uint8Array, freshness: Freshness = fresh, here = device): Promise<CommandRefusal | 'obeyed'> {
  return commandRefusal(await read(message), policy, here, freshness)?.reason ?? 'obeyed'
}

const both = { approvers: [bo, cy], nonce }

test('R14: a device obeys what its operator signed, for it, in time', async () => {
  const { command: found, signers } = await read(await signed(command))
  assert.deepEqual(found, command)
  assert.equal(signers.length, 1)
  assert.equal(await judged(await signed(command)), 'obeyed')
})

test('R14: a critical command is obeyed when two agreed and the operator answered the device', async () => {
  assert.equal(await judged(await signed(agreed, both), answering), 'obeyed')
})

const mallory = await person('mallory')
const otherAda = await person('ada')
const stranger = { ...device, birthKey: new Uint8Array(32).fill(8), name: 'acme/P-2' }

/** What was changed, and what the device says to it. */
const attacks: readonly (readonly [string, () => Promise<Uint8Array>, CommandRefusal, Freshness?, typeof device?])[] = [
  ['one that was done already', () => signed(command), 'commandReplayed', { ...fresh, counter: 5, last: command.id }],
  ['one that a later one overtook', () => signed(command), 'commandReordered', { ...fresh, counter: 6 }],
  [
    'another with the counter of one that was done',
    () => signed(command),
    'commandReordered',
    { ...fresh, counter: 5, last: agreed.id },
  ],
  [
    'one whose counter leaves none for those that come after it',
    () => signed({ ...command, counter: Number.MAX_SAFE_INTEGER }),
    'commandCounterFar',
  ],
  [
    'one for another device',
    () => signed({ ...command, audience: { ...command.audience, device: 'acme/P-2' } }),
    'commandOtherDevice',
  ],
  [
    'one for a twin with the same serial',
    () => signed({ ...command, audience: { ...command.audience, birthKey: stranger.birthKey } }),
    'commandTwin',
  ],
  ['one of an earlier owner', () => signed({ ...command, epoch: 0 }), 'commandOtherEpoch'],
  ['one for another area', () => signed({ ...command, area: 'carworks/press' }), 'commandOtherArea'],
  [
    'one whose area the policy is not for',
    () => signed({ ...command, area: 'carworks/press' }),
    'commandPolicyOther',
    fresh,
    { ...device, area: 'carworks/press' },
  ],
  ['one with a counter of nobody', () => signed({ ...command, issuer: 'elsewhere' }), 'commandIssuerUnknown'],
  ['an operation that nobody may order', () => signed({ ...command, operation: 'fuse.blow' }), 'commandOperationUnknown'],
  ['one of an operator who did not sign', () => signed(command, { operator: bo }), 'commandOperatorOther'],
  [
    'one of somebody whom the policy does not name',
    () => signed({ ...command, operator: 'mallory' }, { operator: mallory }),
    'commandOperatorOther',
  ],
  ['one of a person whose role lacks it', () => signed({ ...command, operator: 'bo' }, { operator: bo }), 'commandRoleLacks'],
  [
    'one that asks for more assurance than the device has',
    () => signed({ ...command, operation: 'press.stop' }),
    'commandAssurance',
  ],
  ['a critical one that nobody agreed to', () => signed(agreed, { nonce }), 'commandApproversFew', answering],
  ['a critical one that one agreed to', () => signed(agreed, { approvers: [bo], nonce }), 'commandApproversFew', answering],
  [
    'a critical one with a stranger',
    () => signed(agreed, { approvers: [bo, mallory], nonce }),
    'commandApproverOther',
    answering,
  ],
  [
    'a critical one that its operator agreed to',
    () => signed(agreed, { approvers: [bo, otherAda], nonce }),
    'commandApproverTwice',
    answering,
  ],
  ['an uncritical one with somebody who may not agree', () => signed(command, { approvers: [bo] }), 'commandApproverOther'],
  [
    'a critical one without a challenge',
    () => signed({ ...agreed, mode: 'time' }, { approvers: [bo, cy] }),
    'commandChallengeNeeded',
    answering,
  ],
  ['one that is good for too long', () => signed({ ...command, expiresAt: secondsAfter(31) }), 'commandLifeTooLong'],
  ['one that is over', () => signed(command), 'commandExpired', { ...fresh, now: secondsAfter(36) }],
  [
    'one that has not begun',
    () => signed(command),
    'commandNotYet',
    { ...fresh, now: secondsAfter(-6), lastSeen: secondsAfter(-6) },
  ],
  [
    'an old one, to a device whose clock was set back',
    () => signed(command),
    'commandClockBack',
    { ...fresh, lastSeen: secondsAfter(3600) },
  ],
  ['one in time, to a device without a clock', () => signed(command), 'commandChallengeNeeded', { ...fresh, now: undefined }],
  ['one that answers nothing', () => signed(agreed, both), 'commandNonceNone'],
  ['one whose operator answered nothing', () => signed(agreed, { approvers: [bo, cy] }), 'commandNonceOther', answering],
  [
    'one that answers another challenge',
    () => signed(agreed, { ...both, nonce: new Uint8Array(16) }),
    'commandNonceOther',
    answering,
  ],
  [
    'one that answers too late',
    () => signed(agreed, both),
    'commandNonceOld',
    { ...answering, nonce: { octets: nonce, ageSeconds: 10.5 } },
  ],
]
for (const [what, make, reason, freshness, here] of attacks) {
  test(`R14: ${what} is refused: ${reason}`, async () => assert.equal(await judged(await make(), freshness, here), reason))
}

test('R14: a device without a clock obeys what answers its challenge, whatever the time', async () => {
  assert.equal(await judged(await signed(agreed, both), { ...answering, now: undefined }), 'obeyed')
})

test('R14: the nonce of somebody who agreed is not the operator’s', async () => {
  const parts = await Promise.all([
    signed(agreed, { form: 'several' }),
    signed(agreed, { operator: bo, form: 'several', nonce }),
    signed(agreed, { operator: cy, form: 'several' }),
  ])
  assert.equal(await judged(joinCommand(parts), answering), 'commandNonceOther')
})

const good = await signed(command)
const critical = await signed(agreed, both)

test('R14: a message with one octet changed does not verify', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(critical.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const changed = critical.with(at, (critical[at] as number) ^ change)
      await assert.rejects(read(changed), TrustError)
    }),
    { numRuns: 200 },
  )
})

for (const [what, attempt, expected] of [
  [
    'what was sent to the mailbox of another device',
    () => read(good, stranger.birthKey),
    { code: 'badProof', reason: 'messageSignature' },
  ],
  [
    'a command of one from nowhere',
    async () => read(await signed(command, { operator: { ...ada, signer: signerOf(mallory.key, ada.certificate) } })),
    { code: 'badProof' },
  ],
  [
    'one whose certificate is for something else',
    async () => read(await signed(command, { operator: await person('ada', 'codeSigning') })),
    { code: 'unauthenticated', reason: 'messageSignerUntrusted' },
  ],
  [
    'one by an authority that is not for commands',
    () => readCommand(good, { trust: messageTrust([officer.certificate]), at: AT, birthKey: device.birthKey }),
    { code: 'unauthenticated' },
  ],
  [
    'one that one key signed twice',
    async () => read(await signed(agreed, { approvers: [ada, bo] })),
    { code: 'malformed', reason: 'messageSignerTwice' },
  ],
  ['a policy in its place', async () => read(await signedPolicy()), { code: 'badProof', reason: 'messageTypeOther' }],
] as const) {
  test(`R14: ${what} is refused`, async () => assert.rejects(attempt, expected))
}

test('R14: signatures that are taken away, or put to another command, do not pass', async () => {
  const message = parseCOSE(critical)
  assert.ok(message.type === 'sign')
  const fewer = encodeCOSE({ ...message, signatures: message.signatures.slice(0, 2) })
  assert.equal(await judged(fewer, answering), 'commandApproversFew')
  const changed = encodeCOSE({ ...message, payload: encodeCommand({ ...agreed, counter: 6 }) })
  await assert.rejects(read(changed), { reason: 'messageSignature' })
  const parts = await Promise.all([
    signed(agreed, { form: 'several' }),
    signed({ ...agreed, counter: 6 }, { operator: bo, form: 'several' }),
  ])
  assert.throws(() => joinCommand(parts), { code: 'malformed' })
  assert.throws(() => joinCommand([good, good]), { code: 'malformed' })
})

const mapOf = (what: Command): Map<number, unknown> =>
  new Map(parseCBOR(encodeCommand(what)) as CBORMap as ReadonlyMap<number, unknown>)
for (const [what, change] of [
  ['a field that nobody knows', (map) => map.set(99, 1)],
  ['no counter', (map) => map.delete(4)],
  ['the counter 0', (map) => map.set(4, 0)],
  ['an end before its beginning', (map) => map.set(6, 0)],
  ['an operation in capitals', (map) => map.set(7, 'Valve')],
  ['a map among its arguments', (map) => map.set(8, new Map([['a', new Map()]]))],
  ['null among its arguments', (map) => map.set(8, new Map([['a', null]]))],
  ['an argument with another name', (map) => map.set(8, new Map([['a b', 1]]))],
  ['arguments without end', (map) => map.set(8, new Map([['a', new Uint8Array(5000)]]))],
  ['a name that shows otherwise', (map) => map.set(13, 'ada\u202e')],
  ['a short id', (map) => map.set(1, new Uint8Array(15))],
] as readonly (readonly [string, (map: Map<number, unknown>) => unknown])[]) {
  test(`a command with ${what} is malformed`, () => {
    const map = mapOf(command)
    change(map)
    assert.throws(() => parseCommand(encodeCBOR(map as CBORMap)), { code: 'malformed' })
  })
}

test('what is read as a command is written again as the same octets', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
      try {
        assert.deepEqual(encodeCommand(parseCommand(octets)), octets)
      } catch (error) {
        assert.ok(error instanceof TrustError)
      }
    }),
  )
  assert.deepEqual(encodeCommand(parseCommand(encodeCommand(agreed))), encodeCommand(agreed))
})

test('R14: a policy counts when one who is pinned for commands signed it', async () => {
  assert.deepEqual(await readPolicy(await signedPolicy(), anchors, AT), policy)
  const unpinned = { code: 'unauthenticated', reason: 'commandPolicySigner' }
  await assert.rejects(readPolicy(await signedPolicy(policy, ada), anchors, AT), unpinned)
  const authority = { ...officer, certificate: peopleRoot }
  await assert.rejects(readPolicy(await signedPolicy(policy, authority), [peopleRoot], AT), { code: 'unauthenticated' })
  await assert.rejects(readPolicy(good, anchors, AT), { reason: 'messageTypeOther' })
})

const [operators] = policy.roles
for (const [what, wrong] of [
  ['a role twice', { ...policy, roles: [...policy.roles, ...policy.roles] }],
  ['an operation twice', { ...policy, operations: [...policy.operations, ...policy.operations] }],
  ['a role that is not in it', { ...policy, roles: [operators as (typeof policy.roles)[number]] }],
  [
    'one certificate for two people',
    {
      ...policy,
      roles: policy.roles.map((role) => ({
        ...role,
        members: [...role.members, { name: 'di', certificate: fingerprint(cy.certificate) }],
      })),
    },
  ],
] as const) {
  test(`a policy with ${what} is malformed`, async () => {
    await assert.rejects(readPolicy(await signedPolicy(wrong), anchors, AT), { code: 'malformed', reason: 'notCommandPolicy' })
  })
}

test('a person whom the policy names by certificate needs no authority, and is nobody else', async () => {
  const alone = operatorTrust(policy, [officer.certificate])
  const by = async (who: typeof cy) =>
    readCommand(await signed({ ...command, operator: 'bo' }, { operator: who }), {
      trust: alone,
      at: AT,
      birthKey: device.birthKey,
    })
  const { signers } = await by(cy)
  assert.equal(signers.length, 1)
  await assert.rejects(by(bo), { code: 'unauthenticated' })
  assert.equal(commandRefusal(await by(cy), policy, device, fresh)?.reason, 'commandOperatorOther')
})

const signedReceipt = (what: Receipt): Promise<Uint8Array> =>
  signCOSE1(mallory.signer, {
    typ: RECEIPT_TYPE,
    payload: encodeReceipt(what),
    externalAAD: externalAADFor('receipt', device.birthKey),
  })

test('R14: a receipt is read with the certificate that it carries, from the mailbox that it was made for', async () => {
  const found = await readFromDevice(await signedReceipt(receipt), device.birthKey)
  assert.deepEqual(found, { kind: 'receipt', value: receipt, certificate: mallory.certificate })
  await assert.rejects(readFromDevice(await signedReceipt(receipt), stranger.birthKey), { reason: 'messageSignature' })
  await assert.rejects(readFromDevice(good, device.birthKey), { reason: 'messageTypeOther' })
  const { exitCode: _, ...refused } = { ...receipt, result: 'refused' as const }
  await assert.rejects(async () => readFromDevice(await signedReceipt(refused), device.birthKey), { reason: 'notCommand' })
})

test('an order to answer a challenge is told from a command', () => {
  assert.deepEqual(selectedIn(encodeSelect(command.id)), command.id)
  for (const other of [good, critical, new Uint8Array(0), encodeSelect(command.id).with(1, 0), encodeSelect(new Uint8Array(15))])
    assert.equal(selectedIn(other), undefined)
})

test('arguments take 4 KiB as they are encoded, and not an octet more', () => {
  const withOne = (value: string | Uint8Array) => encodeCommand({ ...command, arguments: new Map([['a', value]]) })
  const [most, more] = [4090, 4091] // with the heads of the map, the name and the value
  for (const value of [new Uint8Array(most), 'a'.repeat(most), 'é'.repeat(most / 2), '€'.repeat(1363)])
    assert.deepEqual(parseCommand(withOne(value)).arguments.get('a'), value)
  for (const value of [new Uint8Array(more), 'a'.repeat(more), 'é'.repeat(most / 2 + 1), '€'.repeat(1364)])
    assert.throws(() => parseCommand(withOne(value)), { code: 'malformed', reason: 'notCommand' })
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`a${at}`, at]))
  const tooMany = encodeCommand({ ...command, arguments: new Map(Object.entries(many)) })
  assert.throws(() => parseCommand(tooMany), { code: 'malformed', reason: 'notCommand' })
})
