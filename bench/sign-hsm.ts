/**
 * Plain signatures over digests through REST by keys in a token, beside the bare token: the same library, the same keys and
 * the same number of sessions. SoftHSM computes on the same processor as the server and its client; a device of its own does not.
 *
 * The two take turns, so that both see the same machine; medians of the rounds are compared.
 *
 * @module
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { parseConfig } from '#config/config.ts'
import { PIN, softHSM } from '#keys/pkcs11/testing.ts'
import { needs } from '../test/interop/programs.ts'
import { type Figure, median } from './figure.ts'
import { load } from './load.ts'
import { bareToken } from './pkcs11.ts'
import { makePlant } from './plant.ts'
import { startSealworks } from './server.ts'
import { artifactDigests, checkSignatures, makeSigner, signRequest } from './sign.ts'

const SESSIONS = 8
const ROUNDS = 3
const CONNECTIONS = 64
const WARM_UP = 200
const SECONDS = 2

const measured = [
  { name: 'p256', algorithm: 'ecdsa-p256', signature: 'ecdsa-sha256' },
  { name: 'rsa3072', algorithm: 'rsa-3072', signature: 'rsa-sha256' },
] as const satisfies readonly { name: string; algorithm: KeyAlgorithmId; signature: SignatureAlgorithmId }[]

export async function benchSignHSM(): Promise<readonly Figure[]> {
  const tools = needs('softhsm2-util', 'libsofthsm2')
  using hsm = softHSM({ util: tools.path('softhsm2-util'), library: tools.path('libsofthsm2') })
  await hsm.initialize('bench')
  Object.assign(process.env, hsm.environment) // the server that is started gets ours
  using plant = await makePlant()
  const { dataDirectory, directory } = plant
  const file = join(dataDirectory, 'sealworks.toml')
  writeFileSync(join(dataDirectory, 'bench.pin'), PIN, { mode: 0o600 })
  const section = ['[keyStore.hsm]', `module = "${hsm.library}"`, 'tokens = ["label:bench"]', 'pin = "file:bench.pin"']
  appendFileSync(file, [...section, `sessions = ${SESSIONS}`, ''].join('\n'))
  const environment = process.env
  const config = parseConfig({ file: readFileSync(file, 'utf8'), environment: {}, dataDirectory })
  const signers = []
  for (const { name, algorithm } of measured)
    signers.push(await makeSigner(config, { label: `hsm:${name}`, algorithm }, environment))

  await using server = await startSealworks(dataDirectory)
  const figures: Figure[] = []
  for (const [at, { name, algorithm, signature }] of measured.entries()) {
    const { token, publicKey } = signers[at] ?? { token: '', publicKey: new Uint8Array(0) }
    const order = { library: hsm.library, pin: PIN, label: name, algorithm, signature, sessions: SESSIONS }
    const bare = await bareToken({ ...order, milliseconds: SECONDS * 1000 }, hsm.environment)
    const [ours, theirs]: [number[], number[]] = [[], []]
    for (let round = 0; round < ROUNDS; round++) {
      const through = await load(server, {
        port: server.tlsPort,
        tls: { trust: plant.tlsRoot, serverName: 'localhost', holders: [plant.station] },
        requests: artifactDigests().map((digest) => signRequest(name, digest, token)),
        connections: CONNECTIONS,
        oneRequestEach: false,
        warmUp: WARM_UP,
        seconds: SECONDS,
        directory,
      })
      checkSignatures(publicKey, through)
      ours.push(through.perSecond)
      theirs.push(await bare.round())
    }
    bare.end()
    const [through, plain] = [median(ours), median(theirs)]
    figures.push(
      {
        name: `sign.hsm.${name}.ofBareToken`,
        value: through / plain,
        unit: '',
        // what a token in software takes of a core, it takes from the server: only a slow key leaves it one
        ...(name === 'rsa3072' && { reach: { atLeast: 0.8 } }),
        note: `over REST with ${CONNECTIONS} kept TLS connections, audit entry on disk before the answer, over a plain loop of C_SignInit and C_Sign, ${SESSIONS} sessions each; SoftHSM on the same machine`,
      },
      { name: `sign.hsm.${name}.perSecond`, value: through, unit: '/s' },
      { name: `sign.hsm.${name}.bare`, value: plain, unit: '/s' },
    )
  }
  return figures
}
