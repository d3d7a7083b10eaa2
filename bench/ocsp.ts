/**
 * OCSP over HTTP with kept connections: with a nonce, signed for each request; without one, signed once for each certificate
 * and then kept for a while.
 *
 * @module
 */
import { randomFillSync } from 'node:crypto'
import { importPublicKey, identifySignature, verifySignature } from '#algorithms/public-key.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '#x509/ocsp.ts'
import { type Figure, median } from './figure.ts'
import type { Report } from './http-load.ts'
import { load, type Measured, post } from './load.ts'
import { makePlant, type Plant } from './plant.ts'
import { type Served, startSealworks } from './server.ts'

const ROUNDS = 3
const SECONDS = 3
const CERTIFICATES = 256
const CONNECTIONS = 32
const WARM_UP = 8000
export const NONCE_OCTETS = 32

export async function benchOCSP(): Promise<readonly Figure[]> {
  using plant = await makePlant({ devices: CERTIFICATES })
  await using server = await startSealworks(plant.dataDirectory)
  const kinds = [
    { name: 'withoutNonce', how: 'kept signatures', requests: questions(plant.devices, plant.births.certificate, 0) },
    {
      name: 'withNonce',
      how: 'signed for each request',
      reach: { atLeast: 8000 },
      requests: questions(plant.devices, plant.births.certificate, NONCE_OCTETS),
    },
  ]
  const figures: Figure[] = []
  for (const { name, how, reach, requests } of kinds) {
    const rounds: Measured[] = []
    for (let round = 0; round < ROUNDS; round++) rounds.push(await ask(server, plant, requests))
    figures.push(
      {
        name: `ocsp.${name}.perSecond`,
        value: median(rounds.map(({ perSecond }) => perSecond)),
        unit: '/s',
        ...(reach !== undefined && { reach }),
        note: `${how}, P-256, ${CONNECTIONS} kept connections, client on the same machine`,
      },
      {
        name: `ocsp.${name}.serverCPU`,
        value: median(rounds.map(({ serverMicroseconds = Number.NaN }) => serverMicroseconds)),
        unit: 'µs',
      },
    )
  }
  return figures
}

async function ask(server: Served, plant: Plant, requests: readonly Uint8Array[]): Promise<Measured> {
  const measured = await load(server, {
    port: server.publicPort,
    requests: requests.map((body) => post({ path: '/ocsp', host: 'localhost', contentType: 'application/ocsp-request', body })),
    connections: CONNECTIONS,
    oneRequestEach: false,
    warmUp: WARM_UP,
    seconds: SECONDS,
    directory: plant.directory,
  })
  await checkAnswers(requests, measured)
  return measured
}

/** One question for each device's birth certificate. @param issuer which shall have issued them */
export function questions(
  devices: Plant['devices'],
  issuer: Parameters<typeof issuerHashes>[0],
  nonceOctets: number,
): readonly Uint8Array[] {
  const hashes = issuerHashes(issuer, 'sha1')
  return devices.map(({ der }) => {
    const certID = encodeCertID(hashes, parseCertificate(der).serialNumber)
    return encodeOCSPRequest([certID], nonceOctets === 0 ? undefined : randomFillSync(new Uint8Array(nonceOctets)))
  })
}

/** A sample, fully: signed by the responder that it carries, about the certificate that was asked for, which is good. */
export async function checkAnswers(requests: readonly Uint8Array[], { samples }: Pick<Report, 'samples'>): Promise<void> {
  if (samples.length === 0) throw new Error('no answer was looked at')
  for (const { request, body } of samples) {
    const response = parseOCSPResponse(new Uint8Array(Buffer.from(body, 'base64')))
    if (response.type !== 'answer') throw new Error(`an answer says ${response.type}`)
    const { answer } = response
    const [single] = answer.responses
    const responder = importPublicKey(parseCertificate(answer.certs[0] as Uint8Array).subjectPublicKeyInfo)
    const signature = { algorithm: identifySignature(answer.signatureAlgorithm), octets: answer.signature }
    const isRight =
      single?.status.type === 'good' &&
      Buffer.from(requests[request] as Uint8Array).includes(single.der) &&
      (await verifySignature(signature, responder, answer.tbsResponseData))
    if (!isRight) throw new Error(`the answer to question ${request} is wrong`)
  }
}
