/** R14: commands and receipts, checked by COSE libraries that are not ours, and commands made by one of them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { Sign, Sign1 } from '@auth0/cose'
import { decode, type Tag } from 'cbor2'
import { signCOSE1 } from '#cbor/cose-signing.ts'
import { encodeReceipt, externalAADFor, RECEIPT_TYPE } from '#commands/messages.ts'
import { ada, agreed, bo, command, cy, device, nonce, person, receipt as said, signed } from '#commands/testing.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const keyOf = ({ certificate }: { readonly certificate: Uint8Array }) => new X509Certificate(certificate).publicKey
const externalAAD = externalAADFor('command', device.birthKey)
const unit = await person('P-1', 'clientAuth')
const receipt = await signCOSE1(unit.signer, {
  typ: RECEIPT_TYPE,
  payload: encodeReceipt(said),
  externalAAD: externalAADFor('receipt', device.birthKey),
})
const [single, critical] = [await signed(command), await signed(agreed, { approvers: [bo, cy], nonce })]

test('R14: @auth0/cose verifies a command, and not with the mailbox of another device', async () => {
  const message = Sign1.decode(single)
  await message.verify(keyOf(ada), { externalAAD })
  await assert.rejects(message.verify(keyOf(bo), { externalAAD }))
  await assert.rejects(message.verify(keyOf(ada), { externalAAD: externalAADFor('command', new Uint8Array(32)) }))
  await assert.rejects(message.verify(keyOf(ada)))
})

// it takes no external_aad where there are several signatures: those are for Python below
test('R14: @auth0/cose reads who signed a critical command', () => {
  const message = Sign.decode(critical)
  assert.deepEqual(
    message.signatures.map(({ x5chain }) => x5chain?.length),
    [1, 1, 1],
  )
})

test('R14: @auth0/cose verifies a receipt', async () => {
  await Sign1.decode(receipt).verify(keyOf(unit), { externalAAD: externalAADFor('receipt', device.birthKey) })
  await assert.rejects(Sign1.decode(receipt).verify(keyOf(unit), { externalAAD }))
})

const python = needs('python3', 'python3-cryptography', 'python3-cbor2')
const { keep } = scratch('commands')
const run = promisify(execFile)

test(
  'R14: Python builds what was signed by itself, and checks every signature with the keys in the certificates',
  { skip: python.skip },
  async () => {
    const program = join(import.meta.dirname, 'testdata/command.py')
    const ask = async (...args: readonly string[]): Promise<string> =>
      (await run(python.path('python3'), ['-I', program, ...args])).stdout.trim()
    const birthKey = device.birthKey.toHex()
    assert.equal(await ask(keep(single), 'command', birthKey), 'lamp.on ada ada')
    assert.equal(await ask(keep(critical), 'command', birthKey), 'valve.open ada ada bo cy')
    assert.equal(await ask(keep(receipt), 'receipt', birthKey), 'done P-1')
    await assert.rejects(ask(keep(single), 'command', '00'.repeat(32)))
    await assert.rejects(ask(keep(single), 'receipt', birthKey))
  },
)

test('what is signed is deterministic CBOR as cbor2 has it, with the nonce in the header of its operator alone', () => {
  const [, , payload, signatures] = decode<Tag>(critical).contents as [
    Uint8Array,
    unknown,
    Uint8Array,
    [Uint8Array, unknown, Uint8Array][],
  ]
  const claims = signatures.map(([own]) => decode<ReadonlyMap<number, ReadonlyMap<number, Uint8Array>>>(own).get(15))
  assert.deepEqual([claims[0]?.get(10), claims[1], claims[2]], [nonce, undefined, undefined])
  assert.equal(decode<ReadonlyMap<number, unknown>>(payload).get(4), agreed.counter)
})
