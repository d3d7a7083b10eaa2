/**
 * The bare token of `pkcs11.ts`: C_SignInit and C_Sign in a plain loop, asked for one round at a time.
 *
 * A round is run with all sessions in the thread pool and with one session in turn; the better counts.
 *
 * @module
 */
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { ATTRIBUTE, loadCryptoki, mechanismOf, OBJECT_CLASS, SESSION } from '#keys/pkcs11/cryptoki.ts'
import { kindFor } from '#keys/pkcs11/mechanisms.ts'

export interface BareOrder {
  readonly library: string
  readonly pin: string
  readonly label: string
  readonly algorithm: KeyAlgorithmId
  readonly signature: SignatureAlgorithmId
  readonly sessions: number
  readonly milliseconds: number
}

const order = JSON.parse(process.argv[2] ?? '') as BareOrder
const cryptoki = loadCryptoki(order.library)
const [token] = cryptoki.tokens()
if (token === undefined) throw new Error('the token is not there')
const sessions = Array.from({ length: order.sessions }, () => cryptoki.openSession(token.slot, SESSION.serial))
const [first] = sessions
const plan = kindFor(order.algorithm)?.plan(signatureAlgorithm(order.signature))
if (first === undefined || plan === undefined) throw new Error('nothing to measure')
cryptoki.login(first, Buffer.from(order.pin))
const wanted = [
  [ATTRIBUTE.CLASS, OBJECT_CLASS.privateKey],
  [ATTRIBUTE.LABEL, Buffer.from(order.label)],
] as const
const [key] = cryptoki.find(first, wanted, 1)
if (key === undefined) throw new Error('the key is not there')
const data = Buffer.from(await plan.prepare(utf8('to be signed')))
const mechanism = mechanismOf(plan.request.mechanism)

async function pooled(): Promise<number> {
  const start = performance.now()
  let count = 0
  const loops = sessions.map(async (session) => {
    while (performance.now() - start < order.milliseconds) {
      await cryptoki.signLater(session, mechanism, key as number, data)
      count++
    }
  })
  await Promise.all(loops)
  return (count / (performance.now() - start)) * 1000
}

function inTurn(): number {
  const start = performance.now()
  let count = 0
  for (; performance.now() - start < order.milliseconds; count++)
    cryptoki.sign(first as (typeof sessions)[0], mechanism, key as number, data)
  return (count / (performance.now() - start)) * 1000
}

process.on('message', () => {
  void pooled().then((rate) => process.send?.(Math.max(rate, inTurn())))
})
