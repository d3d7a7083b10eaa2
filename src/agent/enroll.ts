/**
 * Getting a certificate for a key of this device, and the next one before it ends.
 *
 * A key and the request signed with it are on the disk before they are sent, and the same request is sent again after a cut:
 * the server gives the same certificate again, so that there is never one too many.
 *
 * @module
 */
import { parsePEM, encodePEM } from '#asn1/pem.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { type EstClient, EstRefusal } from '#protocols/est/client.ts'
import { type Certificate, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { attributeOf, nameOf, parseName } from '#x509/name.ts'
import { type DeviceKey, type KeyMaker, makeKey, openKey } from './device-keys.ts'
import type { AgentDirectory, Generation, Settings, WaitsFor } from './directory.ts'
import { backoffMilliseconds, renewalTime } from './schedule.ts'

/** Who asks, over TLS. */
export interface Identity {
  /** DER, the device's own first. */
  readonly chain: readonly Uint8Array[]
  readonly key: DeviceKey
}

export interface Enrolling {
  readonly directory: AgentDirectory
  readonly settings: Settings
  readonly keys: KeyMaker
  readonly world: World
  /** What the device was born with. */
  readonly born: Identity
  connect(identity: Identity): EstClient
}

export type Outcome =
  | { readonly state: 'enrolled'; readonly certificate: Certificate }
  | { readonly state: 'waiting'; readonly waitsFor: WaitsFor; readonly until: Date; readonly why: string }

const UNAPPROVED = 'A person has to approve the request.'

/** The device as its birth certificate names it. @throws TrustError `malformed` when that has no serial */
function subjectOf({ chain: [own] }: Identity): Uint8Array | ReturnType<typeof nameOf> {
  const value = attributeOf(parseName(parseCertificate(own ?? new Uint8Array(0)).subject), 'serialNumber')
  if (value === undefined) throw new TrustError('malformed', 'agentIdentity')
  return nameOf([{ type: 'serialNumber', value }])
}

/** Goes on with what was begun, or begins. Does nothing while the certificate in use is good for longer. */
export async function ensureEnrolled(enrolling: Enrolling, { now = false }: { readonly now?: boolean } = {}): Promise<Outcome> {
  const { directory, world } = enrolling
  const ready = directory.recover()
  if (ready !== undefined) return use(enrolling, ready)
  const current = directory.current()
  const { renewAt, nextAt, problem, waitsFor } = directory.state()
  const time = world.clock.now()
  const certificate = current?.chain[0] === undefined ? undefined : parseCertificate(current.chain[0])
  if (certificate !== undefined && directory.pending() === undefined && !now && time < renewAt)
    return { state: 'enrolled', certificate }
  if (!now && time < nextAt) return { state: 'waiting', waitsFor, until: new Date(nextAt), why: problem }
  try {
    return await ask(enrolling, current)
  } catch (error) {
    return putOff(enrolling, error, certificate)
  }
}

async function ask(enrolling: Enrolling, current: Generation | undefined): Promise<Outcome> {
  const { directory, world, born } = enrolling
  const renewing = currentIdentity(enrolling, current)
  const waiting = directory.pending() ?? (await begin(enrolling, renewing))
  const client = enrolling.connect(renewing ?? born)
  try {
    const issuers = await client.caCertificates()
    const answer = await (renewing === undefined ? client.simpleEnroll(waiting.request) : client.simpleReenroll(waiting.request))
    world.faults.reach('agent answer received')
    if (answer.state === 'pending') {
      const nextAt = world.clock.now() + answer.retryAfterSeconds * 1000
      directory.update({ nextAt, problem: UNAPPROVED, waitsFor: 'approval' }, 'agent waits')
      return { state: 'waiting', waitsFor: 'approval', until: new Date(nextAt), why: UNAPPROVED }
    }
    const above = await pathOf(answer.certificate, issuers, world.clock.now())
    const pem = (list: readonly Uint8Array[]): string => list.map((der) => encodePEM('CERTIFICATE', der)).join('')
    directory.complete(waiting, pem([answer.certificate, ...above.intermediates]), pem(above.anchors))
    return use(enrolling, { ...waiting, chain: [answer.certificate] })
  } finally {
    client.close()
  }
}

/** With a key that TLS can use, the operational certificate renews itself; else, and once it has ended, the birth certificate asks. */
function currentIdentity({ keys, world }: Enrolling, current: Generation | undefined): Identity | undefined {
  const [own] = current?.chain ?? []
  if (current === undefined || own === undefined || parseCertificate(own).notAfter.getTime() <= world.clock.now())
    return undefined
  const key = openKey(current.key, keys)
  return key.privateKey === undefined ? undefined : { chain: current.chain, key }
}

async function begin({ directory, settings, keys, born }: Enrolling, renewing: Identity | undefined): Promise<Generation> {
  const pem = await makeKey(settings.keys, keys)
  const { publicKey, signatureAlgorithm, sign } = openKey(pem, keys)
  const [own] = renewing?.chain ?? [] // RFC 7030, 4.2.2: a renewal keeps the name
  const subject = own === undefined ? subjectOf(born) : parseCertificate(own).subject
  return directory.begin(pem, await encodeCertificationRequest({ subject, publicKey }, { signatureAlgorithm, sign }))
}

/** The first use of it: from here on the one before is gone. */
function use({ directory, keys, world }: Enrolling, generation: Generation): Outcome {
  const certificate = parseCertificate(generation.chain[0] ?? new Uint8Array(0))
  if (!equal(certificate.subjectPublicKeyInfo, openKey(generation.key, keys).publicKey)) {
    directory.discard(generation)
    throw new TrustError('badProof', 'answerForAnotherKey')
  }
  directory.switchTo(generation, renewalTime(certificate, world.random))
  return { state: 'enrolled', certificate }
}

/** A certificate that leads nowhere is never put in the place of one that works. @throws TrustError `badProof` */
async function pathOf(certificate: Uint8Array, issuers: readonly Uint8Array[], now: number) {
  const isRoot = (der: Uint8Array): boolean => {
    const { issuer, subject } = parseCertificate(der)
    return equal(issuer, subject)
  }
  const roots = issuers.filter(isRoot)
  const anchors = roots.length > 0 ? roots : issuers
  const intermediates = issuers.filter((der) => !anchors.includes(der))
  // a device's clock may be behind: what was issued just now must not fail for that
  const at = new Date(Math.max(now, parseCertificate(certificate).notBefore.getTime()))
  const { verifyCertificate } = await import('#x509/path/verify.ts') // once in months: it need not lie in memory until then
  const verdict = await verifyCertificate({ certificate, intermediates, anchors, at })
  if (!verdict.valid) throw new TrustError('badProof', 'agentCertificatePath', { facts: { detail: verdict.failure.reason } })
  return { anchors, intermediates }
}

/** A refusal ends this request; a server that is away does not. */
function putOff({ directory, world }: Enrolling, error: unknown, current: Certificate | undefined): Outcome {
  const isRefusal = error instanceof EstRefusal && error.status >= 400 && error.status < 500 && error.status !== 429
  const isLater = (error instanceof EstRefusal && !isRefusal) || (error instanceof TrustError && error.code === 'unavailable')
  if (!isRefusal && !isLater) throw error
  const pending = directory.pending()
  if (isRefusal && pending !== undefined) directory.discard(pending)
  const failures = directory.state().failures + 1
  const now = world.clock.now()
  const wait = backoffMilliseconds(failures, world.random, {
    ...(current !== undefined && { leftMilliseconds: current.notAfter.getTime() - now }),
    ...(error instanceof EstRefusal && error.retryAfterSeconds !== undefined && { askedSeconds: error.retryAfterSeconds }),
  })
  const why = error.message
  const waitsFor = isRefusal ? 'mending' : 'server'
  directory.update({ failures, nextAt: now + wait, problem: why, waitsFor }, 'agent put off')
  return { state: 'waiting', waitsFor, until: new Date(now + wait), why }
}

/** @param pem certificates, the device's own first @param key PEM */
export function identityFrom(pem: string, key: string, keys: KeyMaker): Identity {
  const chain = parsePEM(pem).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))
  const opened = openKey(key, keys)
  const [own] = chain
  if (own === undefined || !equal(parseCertificate(own).subjectPublicKeyInfo, opened.publicKey))
    throw new TrustError('malformed', 'agentIdentity')
  return { chain, key: opened }
}
