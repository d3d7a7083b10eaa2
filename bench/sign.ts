/**
 * Plain signatures over digests through REST: one commit on disk for each before it is answered, or shared by those that
 * arrive together; and what a bare signature costs.
 *
 * @module
 */
import { createPublicKey, generateKeyPairSync, hash, sign, verify } from 'node:crypto'
import { openAccess } from '#access/access.ts'
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
  const { token, publicKey } = await makeSigner(plant.dataDirectory)
  await using server = await startSealworks(plant.dataDirectory)
  const digests = Array.from({ length: REQUESTS }, (_, i) => new Uint8Array(hash('sha256', `artifact ${i}`, 'buffer')))
  const rounds: Measured[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const measured = await load(server, {
      port: server.tlsPort,
      tls: { trust: plant.tlsRoot, serverName: 'localhost', holders: [plant.station] },
      requests: digests.map((digest) => request(digest, token)),
      connections: CONNECTIONS,
      oneRequestEach: false,
      warmUp: WARM_UP,
      seconds: SECONDS,
      directory: plant.directory,
    })
    check(publicKey, measured)
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

async function makeSigner(dataDirectory: string) {
  const config = configure(dataDirectory)
  const foundation = await openFoundation({ config, world, environment: {} })
  try {
    const { db, audit, organizationId } = foundation
    const ca = await openCA(foundation, config)
    const access = openAccess({ database: db, world, audit, organizationId })
    const { id } = await access.createPrincipal({ kind: 'service', name: 'CI', roles: ['service'] }, ACTOR)
    const { token } = await access.createToken(id, { name: 'bench', lifetimeSeconds: 3600 }, ACTOR)
    const { publicKey } = await foundation.keys.generate('release', 'ecdsa-p256')
    const { signers } = openSigningFor(foundation, ca, openApprovalsFor(foundation), openClock(config, world, silentLog))
    const key = { label: 'release', chain: [] }
    await signers.create(
      { name: 'release', key, formats: ['plain'], users: { roles: ['service'], people: [] }, priority: 'normal' },
      ACTOR,
    )
    return { token: new TextDecoder().decode(token.reveal('bench')), publicKey }
  } finally {
    await foundation.keys.close()
    await foundation.db.close()
  }
}

function request(digest: Uint8Array, token: string): Uint8Array {
  const requests = [{ type: 'raw', digestAlgorithm: 'sha256', digest: digest.toBase64() }]
  const body = JSON.stringify({ format: 'plain', requests })
  const fields = [
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ]
  return Buffer.from(`POST /api/v1/signers/release/sign HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n${body}`)
}

/** A sample, fully: the signature is over the very artifact that was asked for. */
function check(spki: Uint8Array, { samples }: Measured): void {
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
