/**
 * Plain signatures over digests through REST: one commit on disk for each before it is answered, or shared by those that
 * arrive together; and what a bare signature costs.
 *
 * @module
 */
import { createPublicKey, generateKeyPairSync, hash, sign, verify } from 'node:crypto'
import { openAccess } from '#access/access.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import type { Config } from '#config/config.ts'
import { openApprovalsFor, openCA, openClock, openFoundation, openSigningFor } from '#server/compose.ts'
import { silentLog } from '#base/log.ts'
import { type Figure, median } from './figure.ts'
import { load, type Measured } from './load.ts'
import { configure, makePlant, world } from './plant.ts'
import { startSealworks } from './server.ts'

const ROUNDS = 3
const REQUESTS = 1000
const CONNECTIONS = 64
const WARM_UP = 2000
const SECONDS = 3
const ACTOR = 'person:bench'

export async function benchSign(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  const { token, publicKey } = await makeSigner(configure(plant.dataDirectory), { label: 'release', algorithm: 'ecdsa-p256' })
  await using server = await startSealworks(plant.dataDirectory)
  const digests = artifactDigests()
  const rounds: Measured[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const measured = await load(server, {
      port: server.tlsPort,
      tls: { trust: plant.tlsRoot, serverName: 'localhost', holders: [plant.station] },
      requests: digests.map((digest) => signRequest('release', digest, token)),
      connections: CONNECTIONS,
      oneRequestEach: false,
      warmUp: WARM_UP,
      seconds: SECONDS,
      directory: plant.directory,
    })
    checkSignatures(publicKey, measured)
    rounds.push(measured)
  }
  return [
    {
      name: 'sign.digest.perSecond',
      value: median(rounds.map(({ perSecond }) => perSecond)),
      unit: '/s',
      reach: { atLeast: 5000 },
      note: `P-256 over REST, ${CONNECTIONS} kept TLS connections, SQLite, audit entry on disk before the answer, client on the same machine`,
    },
    {
      name: 'sign.digest.serverCPU',
      value: median(rounds.map(({ serverMicroseconds = Number.NaN }) => serverMicroseconds)),
      unit: 'µs',
    },
    {
      name: 'sign.digest.clientCPU',
      value: median(rounds.map(({ cpuSeconds, answered }) => (cpuSeconds / answered) * 1e6)),
      unit: 'µs',
    },
    { name: 'sign.digest.p99', value: median(rounds.map(({ latencyMilliseconds }) => latencyMilliseconds.p99)), unit: 'ms' },
    { name: 'sign.bare', value: bare(), unit: 'µs', note: 'one signature of node:crypto, on one core' },
  ]
}

/** Of artifacts that {@link checkSignatures} knows. */
export const artifactDigests = (): readonly Uint8Array[] =>
  Array.from({ length: REQUESTS }, (_, i) => new Uint8Array(hash('sha256', `artifact ${i}`, 'buffer')))

export interface BenchKey {
  /** With the name of its key store where it lies in a token. */
  readonly label: string
  readonly algorithm: KeyAlgorithmId
}

/** Makes the key, a signer of its name (without its store), and a service that may use it. */
export async function makeSigner(
  config: Config,
  { label, algorithm }: BenchKey,
  environment: Readonly<Record<string, string | undefined>> = {},
) {
  const name = label.slice(label.indexOf(':') + 1)
  const foundation = await openFoundation({ config, world, environment })
  try {
    const { db, audit, organizationId } = foundation
    const ca = await openCA(foundation, config)
    const access = openAccess({ database: db, world, audit, organizationId })
    const { id } = await access.createPrincipal({ kind: 'service', name: `CI ${name}`, roles: ['service'] }, ACTOR)
    const { token } = await access.createToken(id, { name: 'bench', lifetimeSeconds: 3600 }, ACTOR)
    const { publicKey } = await foundation.keys.generate(label, algorithm)
    const { signers } = openSigningFor(foundation, ca, openApprovalsFor(foundation), openClock(config, world, silentLog))
    const key = { label, chain: [] }
    await signers.create({ name, key, formats: ['plain'], users: { roles: ['service'], people: [] }, priority: 'normal' }, ACTOR)
    return { token: new TextDecoder().decode(token.reveal('bench')), publicKey }
  } finally {
    await foundation.keys.close()
    await foundation.db.close()
  }
}

export function signRequest(signer: string, digest: Uint8Array, token: string): Uint8Array {
  const requests = [{ type: 'raw', digestAlgorithm: 'sha256', digest: digest.toBase64() }]
  const body = JSON.stringify({ format: 'plain', requests })
  const fields = [
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ]
  return Buffer.from(`POST /api/v1/signers/${signer}/sign HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n${body}`)
}

/** A sample, fully: the signature is over the very artifact that was asked for. */
export function checkSignatures(spki: Uint8Array, { samples }: Measured): void {
  if (samples.length === 0) throw new Error('no answer was looked at')
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
  for (const { request: number, body } of samples) {
    const { answers } = JSON.parse(Buffer.from(body, 'base64').toString()) as { answers: string[] }
    const signature = Buffer.from(answers[0] ?? '', 'base64')
    if (!verify('sha256', Buffer.from(`artifact ${number}`), key, signature))
      throw new Error(`the signature for ${number} is wrong`)
  }
}

function bare(): number {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const message = Buffer.alloc(32)
  const count = 3000
  for (let i = 0; i < count; i++) sign('sha256', message, privateKey)
  const begun = performance.now()
  for (let i = 0; i < count; i++) sign('sha256', message, privateKey)
  return ((performance.now() - begun) / count) * 1000
}
