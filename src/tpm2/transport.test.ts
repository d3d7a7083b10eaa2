import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { commands } from './commands.ts'
import { readResponseCode, refusalOf } from './response-codes.ts'
import { TPM } from './tpm.ts'
import { openDevice, openSocket, type Transport } from './transport.ts'

const options = { name: 'GetRandom', limitSeconds: 0.2 }
const COMMAND = Uint8Array.fromHex('80010000000c0000017b0008')

/** A TPM that does as it is told, at a socket. */
async function pretend(t: TestContext, onCommand: (socket: Socket, command: Buffer) => void): Promise<Transport> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tpm-'))
  const path = join(directory, 'tpm.sock')
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (command: Buffer) => onCommand(socket, command))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const transport = await openSocket({ path })
  t.after(async () => {
    await transport.close()
    await new Promise<void>((resolve) => server.close(() => resolve()))
    rmSync(directory, { recursive: true })
  })
  return transport
}

const answers: readonly { name: string; hex?: string; reason: string }[] = [
  { name: 'is silent', reason: 'tpmSilent' },
  { name: 'sends half an answer', hex: '800100000016000000000008', reason: 'tpmSilent' },
  { name: 'says that its answer is endless', hex: '8001ffffffff00000000', reason: 'tpmAnswerOther' },
  { name: 'says that its answer is shorter than a header', hex: '80010000000900000000', reason: 'tpmAnswerOther' },
  { name: 'sends more than it says', hex: '80010000000a0000000000', reason: 'tpmAnswerOther' },
  { name: 'sends more than any TPM does', hex: `800100001001${'00'.repeat(5000)}`, reason: 'tpmAnswerOther' },
]
describe('a TPM that', () => {
  for (const { name, hex, reason } of answers) {
    test(`${name} is refused, and not asked again`, async (t) => {
      const transport = await pretend(t, (socket) => {
        if (hex !== undefined) socket.write(Buffer.from(hex, 'hex'))
      })
      await assert.rejects(transport.exchange(COMMAND, options), { reason })
      await assert.rejects(transport.exchange(COMMAND, options), { code: 'unavailable', reason: 'tpmUnreachable' })
    })
  }

  test('hangs up is refused', async (t) => {
    const transport = await pretend(t, (socket) => socket.destroy())
    await assert.rejects(transport.exchange(COMMAND, options), { code: 'unavailable', reason: 'tpmUnreachable' })
  })

  test('speaks without being asked is not asked any more', async (t) => {
    const transport = await pretend(t, (socket) => {
      socket.write(Buffer.from('8001000000140000000000085061636564206f75', 'hex'))
      setTimeout(() => socket.write(Buffer.from('8001000000140000000000085061636564206f75', 'hex')), 50)
    })
    await transport.exchange(COMMAND, options)
    await new Promise((resolve) => setTimeout(resolve, 200))
    await assert.rejects(transport.exchange(COMMAND, options), { reason: 'tpmUnreachable' })
  })

  test('answers in pieces is understood, and takes one command at a time', async (t) => {
    const whole = Buffer.from('8001000000140000000000085061636564206f75', 'hex')
    const transport = await pretend(t, (socket) => {
      socket.write(whole.subarray(0, 7))
      setTimeout(() => socket.write(whole.subarray(7)), 20)
    })
    const first = transport.exchange(COMMAND, options)
    await assert.rejects(transport.exchange(COMMAND, options), TypeError)
    assert.deepEqual(await first, new Uint8Array(whole))
  })

  test('is busy is asked again with the same octets, for a while', async (t) => {
    const heard: string[] = []
    const transport = await pretend(t, (socket, command) => {
      heard.push(command.toString('hex'))
      const code = ['00000922', '0000090a', '00000908'][heard.length - 1]
      socket.write(Buffer.from(code === undefined ? '8001000000140000000000085061636564206f75' : `80010000000a${code}`, 'hex'))
    })
    const tpm = new TPM(transport, systemWorld().random)
    const { randomBytes } = await tpm.run(commands.GetRandom, { bytesRequested: 8 })
    assert.equal(randomBytes.toHex(), '5061636564206f75')
    assert.equal(heard.length, 4)
    assert.equal(new Set(heard).size, 1)
  })

  test('is busy for ever is given up', async (t) => {
    let times = 0
    const transport = await pretend(t, (socket) => {
      times++
      socket.write(Buffer.from('80010000000a00000922', 'hex'))
    })
    const tpm = new TPM(transport, systemWorld().random)
    await assert.rejects(tpm.run(commands.GetRandom, { bytesRequested: 8 }), { code: 'unavailable', reason: 'tpmBusy' })
    assert.equal(times, 12)
  })

  const wrong = [
    { name: 'answers with another tag', hex: '80020000000a00000000' },
    { name: 'leaves the answer out', hex: '80010000000a00000000' },
    { name: 'adds something to its answer', hex: '80010000001500000000000850616365 64206f7500'.replaceAll(' ', '') },
  ]
  for (const { name, hex } of wrong) {
    test(`${name} is refused`, async (t) => {
      const transport = await pretend(t, (socket) => socket.write(Buffer.from(hex, 'hex')))
      const tpm = new TPM(transport, systemWorld().random)
      await assert.rejects(tpm.run(commands.GetRandom, { bytesRequested: 8 }), { code: 'malformed' })
    })
  }
})

test('nobody at the socket, no device, a device that is none', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tpm-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const refusal = { code: 'unavailable', reason: 'tpmUnreachable' }
  await assert.rejects(openSocket({ path: join(directory, 'none.sock') }), refusal)
  await assert.rejects(openDevice(join(directory, 'tpmrm0')), refusal)
  const file = join(directory, 'file')
  writeFileSync(file, '')
  const transport = await openDevice(file)
  await assert.rejects(transport.exchange(COMMAND, options), { code: 'malformed', reason: 'tpmAnswerOther' })
  await assert.rejects(transport.exchange(COMMAND, options), refusal)
  await transport.close()
})

// Part 2, 6.6.3; the last one is of the kernel's resource manager
const codes = [
  [0x101, 'TPM_RC_FAILURE', '', 'unavailable'],
  [0x100, 'TPM_RC_INITIALIZE', '', 'unavailable'],
  [0x126, 'TPM_RC_POLICY', '', 'policyRefused'],
  [0x14c, 'TPM_RC_NV_DEFINED', '', 'conflict'],
  [0x18b, 'TPM_RC_HANDLE, handle 1', ', handle 1', 'notFound'],
  [0x1c4, 'TPM_RC_VALUE', ', parameter 1', 'unsupported'],
  [0x98e, 'TPM_RC_AUTH_FAIL', ', session 1', 'forbidden'],
  [0x99d, 'TPM_RC_POLICY_FAIL', ', session 1', 'policyRefused'],
  [0x1df, 'TPM_RC_INTEGRITY', ', parameter 1', 'badProof'],
  [0x5db, 'TPM_RC_SIGNATURE', ', parameter 5', 'badProof'],
  [0x902, 'TPM_RC_OBJECT_MEMORY', '', 'quotaExceeded'],
  [0x903, 'TPM_RC_SESSION_MEMORY', '', 'quotaExceeded'],
  [0x921, 'TPM_RC_LOCKOUT', '', 'unavailable'],
  [0x7ff00ff, '0x7ff00ff', '', 'unsupported'],
  [0x0b0143, 'TPM_RC_COMMAND_CODE', ', by the resource manager', 'unsupported'],
] as const
for (const [code, name, at, kind] of codes) {
  test(`0x${code.toString(16)} is ${name}`, () => {
    assert.deepEqual(readResponseCode(code), { name: name.split(',')[0], at })
    assert.equal(refusalOf(code, 'Unseal').code, kind)
  })
}
