/** A device that counts, for tests. Not part of any program. @module */
import { sign } from 'node:crypto'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { type Counter, encodeUsage, signUsage, usageDigest, type UsageRecord, type UsageSigner } from './messages.ts'

export async function testSigner(): Promise<UsageSigner> {
  const key = makeKey()
  return {
    certificate: await makeCertificate(key),
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    sign: async (message) => new Uint8Array(sign('sha256', message, key.privateKey)),
  }
}

export const HOUR = 3_600_000
export const START = Date.UTC(2027, 5, 1)

export const counting = (holes: number, hours: number): readonly Counter[] => [
  { name: 'holes', unit: '1', value: holes },
  { name: 'run', unit: 'h', value: hours },
]

/** A chain as a device that behaves makes it: an hour and a thousand holes each. */
export function testChain(chain: string, length: number): readonly UsageRecord[] {
  const records: UsageRecord[] = []
  for (let number = 1; number <= length; number++) {
    const before = records.at(-1)
    records.push({
      ...{ chain, number, previous: before === undefined ? '' : usageDigest(encodeUsage(before)) },
      ...{ from: START + (number - 1) * HOUR, to: START + number * HOUR, counters: counting(1000 * number, number) },
    })
  }
  return records
}

export const signed = (record: UsageRecord, signer: UsageSigner): Promise<Uint8Array> => signUsage(encodeUsage(record), signer)
