/**
 * Time stamps over HTTP with kept connections, each in the audit log on disk before it is made; and what a bare signature costs.
 *
 * @module
 */
import { generateKeyPairSync, hash, sign } from 'node:crypto'
import { silentLog } from '#base/log.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { encodeTimeStampRequest, parseTimeStampResponse, verifyTimeStamp } from '#cms/timestamp.ts'
import { openApprovalsFor, openCA, openClock, openFoundation, openSigningFor } from '#server/compose.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { nameOf } from '#x509/name.ts'
import { type Figure, median } from './figure.ts'
import { load, type Measured, post } from './load.ts'
import { configure, makePlant, type Plant, world } from './plant.ts'
import { startSealworks } from './server.ts'

const ROUNDS = 3
const REQUESTS = 1000
const CONNECTIONS = 64
const WARM_UP = 2000
const SECONDS = 3
const ACTOR = 'person:bench'

export async function benchTSA(): Promise<readonly Figure[]> {
  using plant = await makePlant()
  await makeAuthority(plant)
  await using server = await startSealworks(plant.dataDirectory)
  const digests = Array.from({ length: REQUESTS }, (_, i) => new Uint8Array(hash('sha256', `artifact ${i}`, 'buffer')))
  const requests = digests.map((digest, i) =>
    encodeTimeStampRequest({
      imprint: { digestAlgorithm: 'sha256', digest },
      nonce: nonceOf(i),
      certReq: true,
      extensions: [],
    }),
  )
  const rounds: Measured[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const measured = await load(server, {
      port: server.publicPort,
      requests: requests.map((body) =>
        post({ path: '/tsa/time', host: 'localhost', contentType: 'application/timestamp-query', body }),
      ),
      connections: CONNECTIONS,
      oneRequestEach: false,
      warmUp: WARM_UP,
      seconds: SECONDS,
      directory: plant.directory,
    })
    await check(digests, measured)
    rounds.push(measured)
  }
  const perSecond = median(rounds.map((each) => each.perSecond))
  const bareMicroseconds = bare()
  return [
    {
      name: 'tsa.perSecond',
      value: perSecond,
      unit: '/s',
      reach: { atLeast: 4000 },
      note: `P-256 over HTTP, ${CONNECTIONS} kept connections, SQLite, audit entry on disk before the answer, client on the same machine`,
    },
    {
      name: 'tsa.serverCPU',
      value: median(rounds.map(({ serverMicroseconds = Number.NaN }) => serverMicroseconds)),
      unit: 'µs',
    },
    { name: 'tsa.p99', value: median(rounds.map(({ latencyMilliseconds }) => latencyMilliseconds.p99)), unit: 'ms' },
    { name: 'tsa.bare', value: bareMicroseconds, unit: 'µs', note: 'one signature of node:crypto, on one core' },
    {
      name: 'tsa.toBare',
      value: 1e6 / perSecond / bareMicroseconds,
      unit: '×',
      note: 'time for each answer to that of a bare signature',
    },
  ]
}

const nonceOf = (i: number): Uint8Array => Uint8Array.of(0x41, i >> 8, i & 0xff)

async function makeAuthority({ dataDirectory, births }: Plant): Promise<void> {
  const config = configure(dataDirectory)
  const foundation = await openFoundation({ config, world, environment: {} })
  try {
    const ca = await openCA(foundation, config)
    const key = await foundation.keys.generate('time', 'ecdsa-p256')
    const subject = nameOf([
      { type: 'CN', value: 'Time' },
      { type: 'O', value: 'Bench' },
    ])
    const request = await encodeCertificationRequest(
      { subject, publicKey: key.publicKey, extensions: [] },
      { signatureAlgorithm: 'ecdsa-sha256', sign: (message) => key.sign(message, 'ecdsa-sha256') },
    )
    const wanted = { authority: births.address, profile: 'time-stamping' }
    const { certificate } = await issueForRequest(ca.context, ca.authorities, wanted, request, ACTOR)
    const { signers } = openSigningFor(foundation, ca, openApprovalsFor(foundation), openClock(config, world, silentLog))
    await signers.create(
      {
        name: 'time',
        key: { label: 'time', chain: [certificate] },
        formats: ['rfc3161'],
        users: { roles: [], people: [] },
        priority: 'normal',
        timeStamps: { policy: '1.3.6.1.4.1.32473.7', accuracyMilliseconds: 1000, ordering: false, isPublic: true },
      },
      ACTOR,
    )
  } finally {
    await foundation.keys.close()
    await foundation.db.close()
  }
}

/** A sample, fully: each over the digest and with the nonce that were sent. */
async function check(digests: readonly Uint8Array[], { samples }: Pick<Measured, 'samples'>): Promise<void> {
  if (samples.length === 0) throw new Error('no answer was looked at')
  for (const { request, body } of samples) {
    const token = parseTimeStampResponse(new Uint8Array(Buffer.from(body, 'base64')))
    await verifyTimeStamp(token, { digestWith: () => digests[request] as Uint8Array, nonce: nonceOf(request) })
  }
}

const BARE = 5000

/** @returns µs for a signature over a token's attributes, as openssl's code makes it from JavaScript */
function bare(): number {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const attributes = new Uint8Array(300).fill(7)
  for (let i = 0; i < BARE; i++) sign('sha256', attributes, privateKey)
  const begun = performance.now()
  for (let i = 0; i < BARE; i++) sign('sha256', attributes, privateKey)
  return ((performance.now() - begun) * 1000) / BARE
}
