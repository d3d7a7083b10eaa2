/**
 * Commands as a device judges them: signature, policy, freshness; and critical ones that two others agreed to.
 *
 * `BENCH_SECONDS` makes it longer. The ratio is to the bare verification by the same kind of key, made one after the other.
 *
 * @module
 */
import { setImmediate as turn } from 'node:timers/promises'
import { generateKeyPairSync, sign, verify } from 'node:crypto'
import { readCommand } from '#commands/messages.ts'
import { commandRefusal, type Freshness } from '#commands/policy/messages.ts'
import { agreed, answering, AT, bo, command, cy, device, fresh, nonce, policy, signed, trust } from '#commands/testing.ts'
import type { Figure } from './figure.ts'

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 1)

export async function benchCommand(): Promise<readonly Figure[]> {
  const single = await rate(await signed(command), fresh)
  const critical = await rate(await signed(agreed, { approvers: [bo, cy], nonce }), answering)
  const bare = bareVerifications()
  return [
    {
      ...{ name: 'command.judged.perSecond', value: single, unit: '/s', reach: { atLeast: 5000 } },
      note: `on one thread; ${(single / bare).toFixed(2)} of ${Math.round(bare)} bare verifications`,
    },
    {
      ...{ name: 'command.judgedThreeSignatures.perSecond', value: critical, unit: '/s' },
      note: `${((critical * 3) / bare).toFixed(2)} of the bare verifications`,
    },
  ]
}

async function rate(message: Uint8Array, freshness: Freshness): Promise<number> {
  const judge = async (): Promise<void> => {
    const read = await readCommand(message, { trust, at: AT, birthKey: device.birthKey })
    const refused = commandRefusal(read, policy, device, freshness)
    if (refused !== undefined) throw new Error(refused.reason)
  }
  const until = async (end: number): Promise<number> => {
    let count = 0
    for (; performance.now() < end; count++) {
      await judge()
      await turn() // each comes by itself; of many in one turn the thread pool checks some
    }
    return count
  }
  await until(performance.now() + 300)
  const begun = performance.now()
  const count = await until(begun + SECONDS * 1000)
  return count / ((performance.now() - begun) / 1000)
}

function bareVerifications(): number {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const message = new Uint8Array(400)
  const signature = sign('sha256', message, privateKey)
  const begun = performance.now()
  let count = 0
  for (; performance.now() - begun < 500; count++) verify('sha256', message, publicKey, signature)
  return count / 0.5
}
