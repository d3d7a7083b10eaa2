/** REST: anybody who holds a device asks whether it is genuine; the device answers with the key that it was born with. @module */
import { Type } from 'typebox'
import { TrustError } from '#base/errors.ts'
import { answerGenuine, askGenuine } from '#devices/genuine/genuine.ts'
import { verdicts } from '#devices/ownership/statement.ts'
import type { CAServices } from '../compose.ts'
import { rateLimit } from '../rate-limit.ts'
import { CatalogName } from './device-catalog.ts'
import { ProductSerial } from './devices.ts'
import { record, route } from './route.ts'
import { Base64, octetsOf, Time } from './shapes.ts'

const Nonce = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: '32 octets, base64url' })
/** An ML-DSA-87 signature is 4,627 octets, the key a little over half of that. */
const ANSWER_MAX_OCTETS = 32 << 10

/** Of one address (IPv6: one /64): somebody with a few devices in hand, not somebody who tries out serials. */
const QUESTIONS_PER_SECOND = 0.5
const QUESTION_BURST = 20
const ADDRESSES_MAX = 10_000

export function genuineRoutes({ devices: { ownership: context } }: Pick<CAServices, 'devices'>) {
  const { clock } = context.world
  const rate = rateLimit({ perSecond: QUESTIONS_PER_SECOND, burst: QUESTION_BURST, addressesMax: ADDRESSES_MAX, clock })
  return [
    route({
      id: 'askGenuine',
      method: 'POST',
      path: '/api/v1/genuine/questions',
      permission: 'public',
      summary: 'Ask whether a device is genuine: what it has to sign; anybody may ask, of any serial',
      body: record({ manufacturer: CatalogName, productSerial: ProductSerial }),
      response: record({ manufacturer: CatalogName, productSerial: ProductSerial, nonce: Nonce, expiresAt: Time }),
      status: 201,
      async handle({ address = '' }, { body }) {
        const retryAfterSeconds = rate.take(address)
        if (retryAfterSeconds > 0) throw new TrustError('rateLimited', 'genuineBusy', { retryAfterSeconds })
        const { expiresAt, ...question } = await askGenuine(context, body)
        return { ...question, expiresAt: new Date(expiresAt).toISOString() }
      },
    }),
    route({
      id: 'answerGenuine',
      method: 'POST',
      path: '/api/v1/genuine/answers',
      permission: 'public',
      summary: 'Hand in what the device signed: whether it is genuine, once for each question, with the maker’s word for it',
      bodyMaxOctets: ANSWER_MAX_OCTETS,
      body: record({ nonce: Nonce, key: Base64, signature: Base64 }),
      response: record({
        manufacturer: CatalogName,
        productSerial: ProductSerial,
        verdict: Type.Enum([...verdicts]),
        statement: Type.Optional(Type.String({ description: 'signed by the maker; left out where its key is elsewhere' })),
      }),
      async handle({ actor }, { body: { nonce, key, signature } }) {
        const proof = { key: octetsOf(key), signature: octetsOf(signature) }
        const { verdict, statement, question } = await answerGenuine(context, nonce, proof, actor)
        const { manufacturer, productSerial } = question
        return { manufacturer, productSerial, verdict, ...(statement !== undefined && { statement }) }
      },
    }),
  ] as const
}
