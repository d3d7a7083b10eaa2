/**
 * What `serve` offers before `init`: on loopback, health and one page that says what to run. It makes nothing (decision 1).
 *
 * Its certificate lives in memory. Nobody vouches for it, so its fingerprint is printed for whoever wants to compare.
 *
 * @module
 */
import { generateKeyPair, hash, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { toWholeSeconds, type World } from '#base/world.ts'
import type { Address } from '#config/setting.ts'
import type { Router } from '#protocols/dispatch.ts'
import { encodeTBSCertificate } from '#x509/certificate.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import { parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { nameOf } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import { healthRouter } from './health.ts'
import { html } from './html.ts'
import { type Listener, type ListenerLimits, openListener } from './listener.ts'
import { page } from './page.ts'
import { rateLimit } from './rate-limit.ts'
import { problem } from './rest/failures.ts'
import { TICKET_SECRET_OCTETS, type TLSIdentity } from './tls-options.ts'

export interface UninitializedOptions {
  /** Host and port of the TLS listener to come; only the port is used. */
  readonly listen: Address
  readonly limits: ListenerLimits
  readonly world: World
  readonly log: Log
}

export interface Uninitialized {
  readonly listener: Listener
  /** SHA-256 of the certificate, hex with colons, as browsers show it. */
  readonly fingerprint: string
}

/** @throws TrustError `conflict` when the address is taken */
export async function serveUninitialized({ listen, limits, world, log }: UninitializedOptions): Promise<Uninitialized> {
  const { identity, der } = await temporaryIdentity(world)
  const notReady = { report: () => Promise.resolve({ ready: false, checks: [{ name: 'initialized', ok: false }] }) }
  const listener = await openListener({
    id: 'tls',
    address: { host: '127.0.0.1', port: listen.port }, // whatever the configuration says: nobody has been let in yet
    tls: {
      face: { identity, clientAuthorities: [] },
      asksForCertificate: false,
      ticketSecret: world.random.octets(TICKET_SECRET_OCTETS),
    },
    limits,
    rate: rateLimit({ perSecond: 0, burst: 1, addressesMax: 1, clock: world.clock }),
    routers: [healthRouter(notReady), explain],
    headers: { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' },
    world,
    log,
    observe: { request() {}, connection() {} },
  })
  return {
    listener,
    fingerprint: hash('sha256', der, 'hex')
      .toUpperCase()
      .replace(/..(?=.)/g, '$&:'),
  }
}

const explain: Router = ({ path, requestId }) => ({
  route: 'uninitialized',
  run: () => {
    const error = new TrustError('unavailable', 'notInitialized')
    if (path !== '/') return Promise.resolve(problem(error, { requestId }))
    const body = html`<header><h1>Sealworks</h1></header>
      <p>This data directory is not ready yet.</p>
      <p>
        Stop this server and run <code>sealworks init</code>; it makes the audit log, the keys of this installation and the link
        that signs the first person in.
      </p>`
    return Promise.resolve(page('Sealworks: not ready', body, { status: 503 }))
  },
})

const makePair = promisify(generateKeyPair)

/** Long enough for someone to read the page and run `init`. */
const VALIDITY_MILLISECONDS = 7 * 86_400_000

async function temporaryIdentity({
  clock,
  random,
}: World): Promise<{ readonly identity: TLSIdentity; readonly der: Uint8Array }> {
  const { privateKey, publicKey } = await makePair('ec', { namedCurve: 'P-256' })
  const name = nameOf([{ type: 'CN', value: 'Sealworks before init' }])
  const now = toWholeSeconds(clock.now())
  const serialNumber = new Uint8Array(random.octets(16))
  serialNumber[0] = ((serialNumber[0] ?? 0) & 0x3f) | 0x40 // positive, in its shortest form
  const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
  const tbsCertificate = encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm,
    issuer: name,
    validity: { notBefore: new Date(now - 60_000), notAfter: new Date(now + VALIDITY_MILLISECONDS) },
    subject: name,
    subjectPublicKeyInfo: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    extensions: [
      encodeExtension(subjectAltName, [
        { type: 'dNSName', value: 'localhost' },
        { type: 'iPAddress', value: parseIPAddress('127.0.0.1') },
      ]),
    ],
  })
  const der = encodeSigned(tbsCertificate, signatureAlgorithm, new Uint8Array(sign('sha256', tbsCertificate, privateKey)))
  const identity = {
    certificateChainPEM: encodePEM('CERTIFICATE', der),
    privateKeyPEM: secret(utf8(privateKey.export({ type: 'pkcs8', format: 'pem' }))),
  }
  return { identity, der }
}
