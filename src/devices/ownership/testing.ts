/** Keys and chains for tests. @module */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import {
  follow,
  partyOf,
  placeAfter,
  type Party,
  type Product,
  type Standing,
  signAnswer,
  signOffer,
  signRelease,
  type StatementKey,
} from './messages.ts'
import { deviceNameOf } from './statement.ts'

export interface TestKey extends StatementKey {
  readonly public: PublicKey
  readonly thumbprint: string
  /** As statements name a device with this key. */
  readonly device: string
}

export function testKey(
  pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = generateKeyPairSync('ec', { namedCurve: 'P-256' }),
): TestKey {
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }))
  const known = importPublicKey(publicKey)
  return {
    publicKey,
    public: known,
    thumbprint: jwkThumbprint(known),
    device: deviceNameOf(publicKey),
    sign: (message, algorithm) =>
      Promise.resolve(new Uint8Array(sign(signatureAlgorithm(algorithm).digest, message, pair.privateKey))),
  }
}

export const PRODUCT: Product = {
  manufacturer: 'valves',
  model: 'v2',
  productSerial: 'V2-0001',
  variant: 'software',
  assurance: 2,
}
export const DAY = 86_400_000
export const NOW = Date.UTC(2027, 0, 1)

export interface TestOwner {
  readonly party: Party
  readonly key: TestKey
}

export const testOwner = (name: string, key = testKey()): TestOwner => ({ party: partyOf(name, key.public), key })

/** One sale, done rightly. */
export async function sell(
  before: Standing | undefined,
  device: string,
  { from, to, at = NOW }: { readonly from: TestKey; readonly to: TestOwner; readonly at?: number },
): Promise<string> {
  const place = placeAfter(before, device)
  const first = before === undefined ? { product: PRODUCT } : {}
  const offer = await signOffer(place, { to: to.party, terms: 'as agreed', offeredAt: at, expiresAt: at + DAY, ...first }, from)
  const answer = await signAnswer(offer, { isAccepted: true, answeredAt: at + 1 }, to.key)
  return (await signRelease(offer, answer, at + 2, from)).statement
}

/** A chain through these owners. */
export async function chainOf(
  maker: TestKey,
  device: string,
  owners: readonly TestOwner[],
): Promise<{ readonly entries: readonly string[]; readonly standings: readonly Standing[] }> {
  const entries: string[] = []
  const standings: Standing[] = []
  let from = maker
  for (const to of owners) {
    const entry = await sell(standings.at(-1), device, { from, to })
    entries.push(entry)
    standings.push(await follow(standings.at(-1), entry, { makers: [maker.public] }))
    from = to.key
  }
  return { entries, standings }
}
