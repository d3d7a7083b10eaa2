/** Exchanges made by hand, and a key with what it signs, for the tests of protocol folders. Not part of any program. @module */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { silentLog } from '#base/log.ts'
import { TrustError } from '#base/errors.ts'
import { utf8 } from '#base/bytes.ts'
import { encodeTBSCertificate } from '#x509/certificate.ts'
import { type CertificationRequestFields, encodeCertificationRequest } from '#x509/certification-request.ts'
import { nameOf } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import { type Arrival, dispatcher, mount } from './dispatch.ts'
import type { Peer, Protocol, Reply } from './protocol.ts'

export interface Sent {
  readonly method?: string
  readonly path: string
  readonly query?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
  readonly peer?: Partial<Peer>
}

/** Sends requests through the dispatcher, as the listener does. */
export const talkTo =
  <Service>(protocol: Protocol<Service>, service: Service) =>
  async ({ method = 'GET', path, query = '', headers = {}, body = '', peer = {} }: Sent): Promise<Reply> => {
    const octets = typeof body === 'string' ? utf8(body) : body
    const arrival: Arrival = {
      requestId: 'test',
      method,
      path,
      query,
      headers,
      peer: { address: '192.0.2.1', chain: [], tls: undefined, ...peer },
      body: (maxOctets) =>
        octets.length > maxOctets
          ? Promise.reject(new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit: maxOctets } }))
          : Promise.resolve(octets),
      async *stream(maxOctets) {
        yield await this.body(maxOctets)
      },
    }
    const found = dispatcher([mount(protocol, service)], protocol.listener === 'public' ? 'public' : 'tls', silentLog)(arrival)
    if (found === undefined) throw new Error(`${path} belongs to nobody`)
    return found.run()
  }

export interface TestKey {
  readonly privateKey: KeyObject
  /** DER SubjectPublicKeyInfo */
  readonly publicKey: Uint8Array
  sign(message: Uint8Array): Uint8Array
}

export function testKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  return { privateKey, publicKey: spki, sign: (message) => new Uint8Array(sign('sha256', message, privateKey)) }
}

export const requestFor = (key: TestKey, fields: Partial<CertificationRequestFields> = {}): Promise<Uint8Array> =>
  encodeCertificationRequest(
    { subject: nameOf([{ type: 'serialNumber', value: 'P-1' }]), publicKey: key.publicKey, ...fields },
    { signatureAlgorithm: 'ecdsa-sha256', sign: key.sign },
  )

/** @returns DER, signed by the key itself */
export function certificateOf(key: TestKey, publicKey: Uint8Array = key.publicKey): Uint8Array {
  const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
  const name = nameOf([{ type: 'CN', value: 'Test' }])
  const tbs = encodeTBSCertificate({
    serialNumber: Uint8Array.of(1),
    signatureAlgorithm,
    issuer: name,
    subject: name,
    validity: { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2036-01-01T00:00:00Z') },
    subjectPublicKeyInfo: publicKey,
    extensions: [],
  })
  return encodeSigned(tbs, signatureAlgorithm, key.sign(tbs))
}
