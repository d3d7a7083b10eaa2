/**
 * Answers about certificates' states, signed by a responder to which each authority delegates.
 *
 * The state is read from the committed row at each question, whichever process changed it: a revocation is seen by the
 * next one. A signature that was made before serves again while the row has the same version: one of another question
 * lately, or one of those signed ahead (`ocsp-ahead.ts`).
 *
 * Source: RFC 6960; RFC 9654.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { acquireLease, renewLease } from '#store/lease.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import {
  type CertID,
  type CertStatus,
  encodeCertID,
  encodeOCSPResponse,
  encodeResponseData,
  type IssuerHashes,
  issuerHashes,
  ocspResponder,
  type OCSPResponder,
  parseOCSPRequest,
} from '#x509/ocsp.ts'
import { signatureIdentifier } from '#x509/signed.ts'
import type { Authorities, Authority } from './authorities.ts'
import type { CAContext } from './context.ts'
import { rehearse, signRehearsed, stepsToInsert } from './issue.ts'
import { answerData, type LookedAhead, signAhead, statusOf } from './ocsp-ahead.ts'
import { answerAhead } from './ocsp-blocks.ts'
import { ocspResponder as responderProfile } from './profiles/ocsp-responder.ts'
import { ocspPolicyOf } from './revocation-policy.ts'

export interface OCSPAnswer {
  /** DER OCSPResponse */
  readonly der: Uint8Array
  readonly producedAt: Date
  readonly nextUpdate: Date
  /** For how long a cache may keep it. */
  readonly maxAgeSeconds: number
  /** An answer to a nonce is for one client only. */
  readonly hasNonce: boolean
}

export interface OCSP {
  /**
   * @param request DER OCSPRequest
   * @throws TrustError `malformed`, `unsupported`; `notFound` when no certificate asked for is of an authority here
   */
  answer(request: Uint8Array): Promise<OCSPAnswer>
  /**
   * Makes responders where there are none and renews those past half of their life.
   *
   * @returns how many were made @throws the first of what went wrong, once every other authority has had its turn
   */
  renewResponders(): Promise<number>
  /** For authorities that are to: signs what is due. @returns how many answers were signed, by this process */
  signAhead(): Promise<number>
}

export interface Responder {
  /** Of its certificate's record. */
  readonly id: string
  readonly fields: OCSPResponder
  readonly signer: Signer
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly notBefore: number
  readonly notAfter: number
}

export function ocsp(context: CAContext, authorities: Authorities): OCSP {
  const { db, keys, world, settings } = context
  const responders = new Map<string, { readonly at: number; readonly opened: Promise<Responder> }>()
  /** Of answers signed ahead, perhaps by one that was renewed since; by the id of its certificate. */
  const signedBy = new Map<string, Promise<Pick<Responder, 'fields'>>>()
  /** `hash name key` of each authority: how clients name an issuer. */
  const byHashes = new Map<string, Known>()
  const known = new Map<string, Known>()
  const recent = recentAnswers()
  const looked = new Map<string, LookedAhead>()
  const holder = uuidv7(world)

  /** @returns the authority that issued what the client asks about, undefined for a stranger's */
  function issuerOf({ hashAlgorithm, issuerNameHash, issuerKeyHash }: CertID): Known | undefined {
    const all = authorities.list()
    if (known.size !== all.length) {
      for (const { id, certificate } of all) {
        if (known.has(id)) continue
        const one: Known = { id, sha1: issuerHashes(certificate, 'sha1'), usualPrefix: undefined }
        known.set(id, one)
        for (const [algorithm, hashes] of [
          ['sha1', one.sha1],
          ['sha256', issuerHashes(certificate, 'sha256')],
        ] as const)
          byHashes.set(hashesKey(algorithm, hashes.issuerNameHash, hashes.issuerKeyHash), one)
      }
    }
    return hashAlgorithm === undefined ? undefined : byHashes.get(hashesKey(hashAlgorithm, issuerNameHash, issuerKeyHash))
  }

  const rowOf = async (authorityId: string, serialNumber: Uint8Array): Promise<Row | undefined> =>
    (await db.query(STATUS, serialNumber, authorityId))[0]

  async function responderOf(authority: Authority): Promise<Responder> {
    const now = world.clock.now()
    const current = responders.get(authority.id)
    if (current !== undefined && Math.abs(now - current.at) < LOOK_MILLISECONDS && (await current.opened).notAfter > now)
      return current.opened
    const next = { at: now, opened: openResponder(authority, now).then((found) => found ?? makeResponder(authority)) }
    responders.set(authority.id, next)
    next.opened.catch(() => responders.get(authority.id) === next && responders.delete(authority.id))
    return next.opened
  }

  /** The newest stored responder whose key is in the store. */
  async function openResponder(authority: Authority, now: number): Promise<Responder | undefined> {
    const rows = await db.query(RESPONDERS, authority.id, now)
    const labelled = (await keys.list()).filter(({ label }) => label.startsWith(`ocsp/${authority.address}/`))
    for (const row of rows) {
      const certificate = parseCertificate(row['der'] as Uint8Array)
      const entry = labelled.find(({ publicKey }) => equal(publicKey, certificate.subjectPublicKeyInfo))
      if (entry !== undefined) return ready(row['id'] as string, await keys.open(entry.label), certificate.der)
    }
    return undefined
  }

  const canDelegate = ({ state, certificate }: Authority): boolean =>
    (state === 'active' || state === 'retired') && certificate.notAfter.getTime() > world.clock.now()

  async function makeResponder(authority: Authority): Promise<Responder> {
    // before a key is made: a stranger's question must not fill the key store
    if (!canDelegate(authority))
      throw new TrustError('unavailable', 'authorityRetired', { facts: { authority: authority.address } })
    const signer = await keys.generate(`ocsp/${authority.address}/${uuidv7(world)}`, authority.keyAlgorithm)
    const commonName = `OCSP responder ${authority.address}`
    const plan = {
      authority,
      profile: responderProfile,
      publicKey: importPublicKey(signer.publicKey),
      subject: encodeName(nameOf([{ type: 'CN', value: commonName }])),
      subjectText: `CN=${commonName}`,
      productSerial: undefined,
      subjectAltName: undefined,
    }
    const issued = await signRehearsed(rehearse(context, plan))
    await keep(db, stepsToInsert(context, issued, { actor: 'system' }))
    return ready(issued.id, signer, issued.der)
  }

  function ready(id: string, signer: Signer, der: Uint8Array): Responder {
    const { notBefore, notAfter } = parseCertificate(der)
    const signatureAlgorithm = certificateSignatureOf(signer.keyAlgorithm)
    const fields = fieldsOf(der, signatureAlgorithm)
    return { id, fields, signer, signatureAlgorithm, notBefore: notBefore.getTime(), notAfter: notAfter.getTime() }
  }

  /** What a responder says of itself; its key may be gone. */
  function responderById(id: string): Promise<Pick<Responder, 'fields'>> {
    const read = signedBy.get(id)
    if (read !== undefined) return read
    const reading = (async () => {
      const [row] = await db.query('SELECT der FROM certificate WHERE id = ?', id)
      const der = row?.['der'] as Uint8Array
      const { algorithm } = importPublicKey(parseCertificate(der).subjectPublicKeyInfo)
      return { fields: fieldsOf(der, certificateSignatureOf(algorithm)) }
    })()
    signedBy.set(id, reading)
    reading.catch(() => signedBy.delete(id))
    return reading
  }

  const answerOf = (der: Uint8Array, producedAt: number, nextUpdate: number, hasNonce: boolean): OCSPAnswer => {
    const left = Math.floor((nextUpdate - world.clock.now()) / 1000) - 1 // RFC 9919, 7.2: earlier than nextUpdate
    return {
      der,
      producedAt: new Date(producedAt),
      nextUpdate: new Date(nextUpdate),
      // an answer signed ahead may be valid for days, and what changes at once here shall not wait for days elsewhere
      maxAgeSeconds: Math.max(0, Math.min(left, settings.ocspValiditySeconds - 1)),
      hasNonce,
    }
  }

  /** Without a nonce, about one certificate: what every client of the same certificate may have. */
  async function commonAnswer(issuer: Known, authority: Authority, certID: CertID): Promise<OCSPAnswer | undefined> {
    const row = await rowOf(authority.id, certID.serialNumber)
    if (row === undefined) return undefined // strangers can make up any number of these: none is kept
    const version = row['version'] as number
    const now = world.clock.now()
    const key = latin1(certID.der)
    const last = recent.get(key)
    if (last !== undefined && last.version === version && now < last.usableUntil)
      return answerOf(last.der, last.producedAt, last.nextUpdate, false)
    const policy = await ocspPolicyOf(context, authority)
    if (policy.ocspMode === 'preSigned' && isUsual(issuer, certID)) {
      const found = await answerAhead(db, authority.id, certID.serialNumber, version, now)
      if (found !== undefined) {
        const { signedAt, validUntil, signature } = found
        const responder = await responderById(found.responderId)
        const tbs = answerData(responder, certID.der, statusOf(row), signedAt, validUntil)
        return answerOf(encodeOCSPResponse(responder.fields, tbs, signature), signedAt, validUntil, false)
      }
    }
    const responder = await responderOf(authority)
    const producedAt = toWholeSeconds(now)
    const nextUpdate = Math.min(
      producedAt + (policy.ocspValiditySeconds ?? settings.ocspValiditySeconds) * 1000,
      responder.notAfter,
    )
    const tbs = answerData(responder, certID.der, statusOf(row), producedAt, nextUpdate)
    const der = encodeOCSPResponse(responder.fields, tbs, await responder.signer.sign(tbs, responder.signatureAlgorithm))
    recent.keep(key, { version, der, producedAt, nextUpdate, usableUntil: (producedAt + nextUpdate) / 2 })
    return answerOf(der, producedAt, nextUpdate, false)
  }

  return {
    async answer(der) {
      const { certIDs, nonce } = parseOCSPRequest(der)
      const issuers = certIDs.map(issuerOf)
      const issuer = issuers.find((found) => found !== undefined)
      if (issuer === undefined) throw new TrustError('notFound', 'ocspNotOurs')
      const authority = authorities.byId(issuer.id)
      const [first] = certIDs
      if (nonce === undefined && first !== undefined && certIDs.length === 1) {
        const common = await commonAnswer(issuer, authority, first)
        if (common !== undefined) return common
      }
      const responder = await responderOf(authority)
      const producedAt = toWholeSeconds(world.clock.now())
      const nextUpdate = Math.min(producedAt + settings.ocspValiditySeconds * 1000, responder.notAfter)
      const responses = []
      for (const [i, certID] of certIDs.entries()) {
        // one responder signs for one authority: what another issued is unknown to it
        const row = issuers[i] === issuer ? await rowOf(authority.id, certID.serialNumber) : undefined
        const status: CertStatus = row === undefined ? { type: 'unknown' } : statusOf(row)
        responses.push({ certID: certID.der, status, thisUpdate: new Date(producedAt), nextUpdate: new Date(nextUpdate) })
      }
      const tbs = encodeResponseData(responder.fields, { producedAt: new Date(producedAt), responses, nonce })
      const signature = await responder.signer.sign(tbs, responder.signatureAlgorithm)
      return answerOf(encodeOCSPResponse(responder.fields, tbs, signature), producedAt, nextUpdate, nonce !== undefined)
    },

    async signAhead() {
      let signed = 0
      for (const authority of authorities.list().filter((one) => canDelegate(one))) {
        const { ocspMode, ocspValiditySeconds = AHEAD_VALIDITY_SECONDS } = await ocspPolicyOf(context, authority)
        if (ocspMode !== 'preSigned') continue
        const name = `ocsp ahead ${authority.id}`
        const lease = await acquireLease(db, world, { name, holder, seconds: LEASE_SECONDS })
        if (lease === undefined) continue // another process does it
        let renewAt = world.clock.now() + LEASE_SECONDS * 500
        const goesOn = async (): Promise<boolean> => {
          await new Promise(setImmediate)
          if (world.clock.now() < renewAt) return true
          renewAt = world.clock.now() + LEASE_SECONDS * 500
          return (await renewLease(db, world, lease, LEASE_SECONDS)) !== undefined
        }
        const last = looked.get(authority.id) ?? { changesUntil: world.clock.now(), issuedUntil: 0 }
        looked.set(authority.id, last)
        const responder = await responderOf(authority)
        const hashes = issuerHashes(authority.certificate, 'sha1')
        signed += await signAhead(context, { authority, responder, hashes, validSeconds: ocspValiditySeconds }, last, goesOn)
      }
      return signed
    },

    async renewResponders() {
      let made = 0
      const failures: unknown[] = []
      for (const authority of authorities.list().filter((one) => canDelegate(one))) {
        try {
          const now = world.clock.now()
          const current = await openResponder(authority, now)
          if (current !== undefined && now < (current.notBefore + current.notAfter) / 2) continue
          responders.set(authority.id, { at: now, opened: Promise.resolve(await makeResponder(authority)) })
          made++
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw failures[0]
      return made
    },
  }
}

/** An authority as clients name it. */
interface Known {
  readonly id: string
  readonly sha1: IssuerHashes
  /** DER CertID of a serial number of ours, all but the number. */
  usualPrefix: Uint8Array | undefined
}

/** Within this, each thread and process goes over to the responder that another made, and leaves one that was revoked. */
const LOOK_MILLISECONDS = 60_000

const SERIAL_OCTETS = 16

/** Whether the client named the certificate in the octets that are signed ahead. */
function isUsual(issuer: Known, { der, serialNumber }: CertID): boolean {
  if (serialNumber.length !== SERIAL_OCTETS) return equal(der, encodeCertID(issuer.sha1, serialNumber))
  issuer.usualPrefix ??= encodeCertID(issuer.sha1, new Uint8Array(SERIAL_OCTETS).fill(1)).slice(0, -SERIAL_OCTETS)
  const { length } = issuer.usualPrefix
  return der.length === length + SERIAL_OCTETS && equal(der.subarray(0, length), issuer.usualPrefix)
}

export const STATUS =
  'SELECT version, revoked_at, revocation_reason FROM certificate WHERE serial_number = ? AND authority_id = ?'
/** The profile stands in the words, since its index is a partial one. */
export const RESPONDERS = `SELECT id, der FROM certificate WHERE authority_id = ? AND profile = '${responderProfile.id}'
  AND state = 'active' AND not_after > ? ORDER BY id DESC LIMIT 4`

const fieldsOf = (der: Uint8Array, signatureAlgorithm: SignatureAlgorithmId): OCSPResponder =>
  ocspResponder({
    publicKey: parseCertificate(der).subjectPublicKeyInfo,
    signatureAlgorithm: signatureIdentifier(signatureAlgorithm),
    certificates: [der],
  })

/** Signing a million takes a minute of one core: twice a day is little, and a day is what the lightweight profile had in mind. */
const AHEAD_VALIDITY_SECONDS = 86_400
const LEASE_SECONDS = 30

interface RecentAnswer {
  readonly version: number
  readonly der: Uint8Array
  readonly producedAt: number
  readonly nextUpdate: number
  /** Half of its life, so that nobody gets one that ends soon. */
  readonly usableUntil: number
}

/** Some 1.5 kB each. */
const RECENT_MAX = 16_384

/** By the octets of the CertID; the oldest make room. */
function recentAnswers() {
  const kept = new Map<string, RecentAnswer>()
  return {
    get: (key: string): RecentAnswer | undefined => kept.get(key),
    keep(key: string, answer: RecentAnswer): void {
      kept.delete(key)
      if (kept.size >= RECENT_MAX) kept.delete(kept.keys().next().value as string)
      kept.set(key, answer)
    },
  }
}

const latin1 = ({ buffer, byteOffset, length }: Uint8Array): string => Buffer.from(buffer, byteOffset, length).toString('latin1')

const hashesKey = (algorithm: string, name: Uint8Array, key: Uint8Array): string => `${algorithm} ${name.toHex()} ${key.toHex()}`
