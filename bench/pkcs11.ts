/**
 * Signing through the PKCS #11 key store beside the bare token: the same library, the same keys and the same number of
 * sessions, in a plain loop without a server's process, framing, digest, DER or checks.
 *
 * The two take turns in short rounds, so that both see the same machine; medians of the rounds are compared.
 *
 * @module
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { pkcs11KeyStore } from '#keys/pkcs11/index.ts'
import { PIN, softHSM } from '#keys/pkcs11/testing.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { needs } from '../test/interop/programs.ts'
import { type Figure, median } from './figure.ts'
import type { BareOrder } from './pkcs11-bare.ts'

const SESSIONS = 8
const ROUNDS = 9
const ROUND_MILLISECONDS = 300
/** An issuing server has more requests waiting than a token has sessions. */
const IN_FLIGHT = 64
const message = utf8('to be signed '.repeat(60))

const measured = [
  { name: 'p256', algorithm: 'ecdsa-p256', signature: 'ecdsa-sha256' },
  { name: 'rsa3072', algorithm: 'rsa-3072', signature: 'rsa-sha256' },
] as const satisfies readonly { name: string; algorithm: KeyAlgorithmId; signature: SignatureAlgorithmId }[]

export async function benchPKCS11(): Promise<readonly Figure[]> {
  const tools = needs('softhsm2-util', 'libsofthsm2')
  using hsm = softHSM({ util: tools.path('softhsm2-util'), library: tools.path('libsofthsm2') })
  await hsm.initialize('bench')
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-bench-'))
  const database = sqlite({ path: join(directory, 'bench.db') })
  const world = systemWorld()
  await migrate(database, keysMigrations, world)
  const store = pkcs11KeyStore({
    ...{ database, world, log: silentLog, organizationId: 'default', id: 'bench', module: hsm.library },
    ...{ tokens: [{ label: 'bench' }], sessions: SESSIONS, checkEverySignature: false, environment: hsm.environment },
    pin: () => secret(utf8(PIN)),
  })
  try {
    const figures: Figure[] = []
    for (const { name, algorithm, signature } of measured) {
      const signer = await store.generate(name, algorithm)
      const order = { library: hsm.library, pin: PIN, label: name, algorithm, signature, sessions: SESSIONS }
      const bare = await bareToken({ ...order, milliseconds: ROUND_MILLISECONDS }, hsm.environment)
      const ours: number[] = []
      const theirs: number[] = []
      for (let round = -2; round < ROUNDS; round++) {
        const through = await rate(IN_FLIGHT, async () => void (await signer.sign(message, signature)))
        const plain = await bare.round()
        if (round < 0) continue
        ours.push(through)
        theirs.push(plain)
      }
      bare.end()
      const [through, plain] = [median(ours), median(theirs)]
      figures.push(
        {
          name: `pkcs11.${name}.ratio`,
          value: median(ours.map((value, round) => value / (theirs[round] as number))),
          unit: '',
          reach: { atLeast: 0.8 },
          note: `the store with ${IN_FLIGHT} in flight over a plain loop of C_SignInit and C_Sign in a process of its own, ${SESSIONS} sessions each; SoftHSM`,
        },
        { name: `pkcs11.${name}.perSecond`, value: through, unit: '/s' },
        { name: `pkcs11.${name}.bare`, value: plain, unit: '/s' },
      )
    }
    return figures
  } finally {
    await store.close()
    await database.close()
    rmSync(directory, { recursive: true })
  }
}

async function rate(inFlight: number, act: () => Promise<void>): Promise<number> {
  const start = performance.now()
  let count = 0
  const loops = Array.from({ length: inFlight }, async () => {
    while (performance.now() - start < ROUND_MILLISECONDS) {
      await act()
      count++
    }
  })
  await Promise.all(loops)
  return (count / (performance.now() - start)) * 1000
}

export interface Bare {
  round(): Promise<number>
  end(): void
}

/** In a process of its own: a library beside the OpenSSL of Node.js in one process has been seen to crash it. */
export async function bareToken(order: BareOrder, environment: Readonly<Record<string, string | undefined>>): Promise<Bare> {
  const child = fork(new URL('pkcs11-bare.ts', import.meta.url), [JSON.stringify(order)], {
    env: { ...environment, UV_THREADPOOL_SIZE: String(SESSIONS) },
  })
  return {
    async round() {
      child.send('round')
      const [rate] = (await once(child, 'message')) as [number]
      return rate
    },
    end: () => child.disconnect(),
  }
}
