/**
 * EST enrollment over mutual TLS, durable before the answer: a station over kept connections, and devices with a
 * handshake each.
 *
 * @module
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { startPostgres } from '#store/postgres/testing.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { type Figure, median } from './figure.ts'
import type { Report } from './http-load.ts'
import { load, type Measured, post } from './load.ts'
import { deviceRequest, makePlant, type Plant } from './plant.ts'
import { startSealworks } from './server.ts'

const ROUNDS = 3
const KEPT_REQUESTS = 8000
const KEPT_CONNECTIONS = 64
const HANDSHAKE_REQUESTS = 1500
const HANDSHAKE_CONNECTIONS = 8
const WARM_UP = 0.25

export async function benchEst(): Promise<readonly Figure[]> {
  return measure('est', 3000, 'SQLite')
}

/** The same on PostgreSQL, by one server process and by two that share it. */
export async function benchEstPostgres(): Promise<readonly Figure[]> {
  const postgres = await startPostgres()
  try {
    const one = await measure('est-postgres', 2500, 'PostgreSQL', (await postgres.createDatabase()).replace('@/', '@localhost/'))
    return [...one, await measureTwo(await postgres.createDatabase(), one)]
  } finally {
    await postgres.stop()
  }
}

async function measure(bench: string, atLeast: number, engine: string, database?: string): Promise<readonly Figure[]> {
  using plant = await makePlant({ devices: HANDSHAKE_REQUESTS, ...(database !== undefined && { database }) })
  await using server = await startSealworks(plant.dataDirectory)
  const tls = { trust: plant.tlsRoot, serverName: 'localhost' }
  const kept: Measured[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const ders = await Promise.all(Array.from({ length: KEPT_REQUESTS }, (_, i) => deviceRequest(round * KEPT_REQUESTS + i)))
    const measured = await load(server, {
      port: server.tlsPort,
      tls: { ...tls, holders: [plant.station] },
      requests: ders.map(enroll),
      connections: KEPT_CONNECTIONS,
      oneRequestEach: false,
      warmUp: KEPT_REQUESTS * WARM_UP,
      directory: plant.directory,
    })
    await checkCertificates(plant, ders, measured)
    kept.push(measured)
  }
  const ders = await Promise.all(Array.from({ length: HANDSHAKE_REQUESTS }, (_, i) => deviceRequest(i)))
  const each = await load(server, {
    port: server.tlsPort,
    tls: { ...tls, holders: plant.devices },
    requests: ders.map(enroll),
    connections: HANDSHAKE_CONNECTIONS,
    oneRequestEach: true,
    warmUp: HANDSHAKE_REQUESTS * WARM_UP,
    directory: plant.directory,
  })
  await checkCertificates(plant, ders, each)
  rmSync(`${plant.directory}/requests.bin`)
  return [
    {
      name: `${bench}.keptAlive.perSecond`,
      value: median(kept.map(({ perSecond }) => perSecond)),
      unit: '/s',
      reach: { atLeast },
      note: `${KEPT_CONNECTIONS} connections of mutual TLS, ${engine}, committed before the answer, client on the same machine`,
    },
    {
      name: `${bench}.keptAlive.serverCPU`,
      value: median(kept.map(({ serverMicroseconds = Number.NaN }) => serverMicroseconds)),
      unit: 'µs',
    },
    { name: `${bench}.keptAlive.p99`, value: median(kept.map(({ latencyMilliseconds }) => latencyMilliseconds.p99)), unit: 'ms' },
    {
      name: `${bench}.handshakeEach.perSecond`,
      value: each.perSecond,
      unit: '/s',
      note: 'each device with a TLS handshake of its own',
    },
    { name: `${bench}.handshakeEach.serverCPU`, value: each.serverMicroseconds ?? Number.NaN, unit: 'µs' },
  ]
}

/** Two server processes on one database, each with half of the connections. */
async function measureTwo(database: string, one: readonly Figure[]): Promise<Figure> {
  using plant = await makePlant({ database: database.replace('@/', '@localhost/') })
  await using first = await startSealworks(plant.dataDirectory)
  await using second = await startSealworks(plant.dataDirectory)
  const tls = { trust: plant.tlsRoot, serverName: 'localhost', holders: [plant.station] }
  const rates: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const halves = await Promise.all(
      [first, second].map(async (server, half) => {
        const from = (round * 2 + half) * (KEPT_REQUESTS / 2)
        const ders = await Promise.all(Array.from({ length: KEPT_REQUESTS / 2 }, (_, i) => deviceRequest(from + i)))
        const directory = join(plant.directory, `half-${half}`)
        mkdirSync(directory, { recursive: true })
        return { server, ders, directory }
      }),
    )
    const measured = await Promise.all(
      halves.map(({ server, ders, directory }) =>
        load(server, {
          ...{ port: server.tlsPort, tls, requests: ders.map(enroll), connections: KEPT_CONNECTIONS / 2, directory },
          ...{ oneRequestEach: false, warmUp: (KEPT_REQUESTS / 2) * WARM_UP },
        }),
      ),
    )
    rates.push(measured.reduce((sum, { perSecond }) => sum + perSecond, 0))
  }
  const alone = one[0]?.value ?? Number.NaN
  return {
    name: 'est-postgres.twoProcesses',
    value: median(rates) / alone,
    unit: '',
    reach: { atLeast: 0.9 },
    note: 'rate of two server processes on one database, over that of one',
  }
}

export const enroll = (der: Uint8Array): Uint8Array =>
  post({ path: '/.well-known/est/simpleenroll', host: 'localhost', contentType: 'application/pkcs10', body: der.toBase64() })

/** A sample, fully: the owner's signature, and the very key that was asked for. */
async function checkCertificates({ owner }: Plant, requests: readonly Uint8Array[], { samples }: Report): Promise<void> {
  if (samples.length === 0) throw new Error('no answer was looked at')
  for (const { request, body } of samples) {
    const { certificates } = parseCertsOnly(Uint8Array.fromBase64(Buffer.from(body, 'base64').toString('latin1')))
    const certificate = parseCertificate(certificates[0] as Uint8Array)
    const { subjectPublicKeyInfo } = parseCertificationRequest(requests[request] as Uint8Array)
    const isRight =
      Buffer.compare(certificate.subjectPublicKeyInfo, subjectPublicKeyInfo) === 0 &&
      (await verifyCertificateSignature(certificate, owner.publicKey))
    if (!isRight) throw new Error(`the certificate for request ${request} is wrong`)
  }
}
