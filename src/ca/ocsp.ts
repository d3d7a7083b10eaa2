/**
 * Answers about certificates' states, signed by a responder to which each authority delegates.
 *
 * The state is read from the committed row at each request: a revocation is seen by the next question.
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
import { parseCertificate } from '#x509/certificate.ts'
import type { CRLReason } from '#x509/extensions/crl-extensions.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import {
  type CertID,
  type CertStatus,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
  type OCSPResponder,
  parseOCSPRequest,
} from '#x509/ocsp.ts'
import { signatureIdentifier } from '#x509/signed.ts'
import type { Authorities, Authority } from './authorities.ts'
import type { CAContext } from './context.ts'
import { insertIssued, rehearse, signRehearsed } from './issue.ts'
import { ocspResponder as responderProfile } from './profiles/ocsp-responder.ts'

export interface OCSPAnswer {
  /** DER OCSPResponse */
  readonly der: Uint8Array
  readonly producedAt: Date
  /** Until when a cache may keep it. */
  readonly nextUpdate: Date
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
}

interface Responder {
  readonly fields: OCSPResponder
  readonly signer: Signer
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly notBefore: number
  readonly notAfter: number
}

export function ocsp(context: CAContext, authorities: Authorities): OCSP {
  const { db, keys, world, settings } = context
  const responders = new Map<string, Promise<Responder>>()
  /** `hash name key` of each authority: how clients name an issuer. */
  const byHashes = new Map<string, Authority>()
  let known = 0

  /** @returns the authority that issued what the client asks about, undefined for a stranger's */
  function issuerOf({ hashAlgorithm, issuerNameHash, issuerKeyHash }: CertID): Authority | undefined {
    const all = authorities.list()
    for (; known < all.length; known++) {
      const authority = all[known] as Authority
      for (const algorithm of ['sha1', 'sha256'] as const) {
        const hashes = issuerHashes(authority.certificate, algorithm)
        byHashes.set(hashesKey(algorithm, hashes.issuerNameHash, hashes.issuerKeyHash), authority)
      }
    }
    return hashAlgorithm === undefined ? undefined : byHashes.get(hashesKey(hashAlgorithm, issuerNameHash, issuerKeyHash))
  }

  async function statusOf(authority: Authority, { serialNumber }: CertID): Promise<CertStatus> {
    const [row] = await db.query(
      'SELECT revoked_at, revocation_reason FROM certificate WHERE serial_number = ? AND authority_id = ?',
      serialNumber,
      authority.id,
    )
    if (row === undefined) return { type: 'unknown' }
    if (row['revoked_at'] === null) return { type: 'good' }
    return {
      type: 'revoked',
      revokedAt: new Date(toWholeSeconds(row['revoked_at'] as number)),
      reason: row['revocation_reason'] as CRLReason,
    }
  }

  async function responderOf(authority: Authority): Promise<Responder> {
    const now = world.clock.now()
    const current = responders.get(authority.id)
    if (current !== undefined && (await current).notAfter > now) return current
    const opened = openResponder(authority, now).then((found) => found ?? makeResponder(authority))
    responders.set(authority.id, opened)
    opened.catch(() => responders.delete(authority.id))
    return opened
  }

  /** The newest stored responder whose key is in the store. */
  async function openResponder(authority: Authority, now: number): Promise<Responder | undefined> {
    const rows = await db.query(
      "SELECT der FROM certificate WHERE authority_id = ? AND profile = ? AND state = 'active' AND not_after > ? ORDER BY id DESC LIMIT 4",
      authority.id,
      responderProfile.id,
      now,
    )
    const labelled = (await keys.list()).filter(({ label }) => label.startsWith(`ocsp/${authority.address}/`))
    for (const row of rows) {
      const certificate = parseCertificate(row['der'] as Uint8Array)
      const entry = labelled.find(({ publicKey }) => equal(publicKey, certificate.subjectPublicKeyInfo))
      if (entry !== undefined) return ready(await keys.open(entry.label), certificate.der)
    }
    return undefined
  }

  const canDelegate = ({ state, certificate }: Authority): boolean =>
    state === 'active' && certificate.notAfter.getTime() > world.clock.now()

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
    await db.transaction((tx) => insertIssued(context, tx, issued, { actor: 'system' }))
    return ready(signer, issued.der)
  }

  function ready(signer: Signer, der: Uint8Array): Responder {
    const { notBefore, notAfter } = parseCertificate(der)
    const signatureAlgorithm = certificateSignatureOf(signer.keyAlgorithm)
    const fields = ocspResponder({
      publicKey: signer.publicKey,
      signatureAlgorithm: signatureIdentifier(signatureAlgorithm),
      certificates: [der],
    })
    return { fields, signer, signatureAlgorithm, notBefore: notBefore.getTime(), notAfter: notAfter.getTime() }
  }

  return {
    async answer(der) {
      const request = parseOCSPRequest(der)
      const authority = request.certIDs.map(issuerOf).find((found) => found !== undefined)
      if (authority === undefined) throw new TrustError('notFound', 'ocspNotOurs')
      const responder = await responderOf(authority)
      const producedAt = new Date(toWholeSeconds(world.clock.now()))
      const nextUpdate = new Date(Math.min(producedAt.getTime() + settings.ocspValiditySeconds * 1000, responder.notAfter))
      const responses = []
      for (const certID of request.certIDs) {
        // one responder signs for one authority: what another issued is unknown to it
        const status: CertStatus = issuerOf(certID) === authority ? await statusOf(authority, certID) : { type: 'unknown' }
        responses.push({ certID: certID.der, status, thisUpdate: producedAt, nextUpdate })
      }
      const tbs = encodeResponseData(responder.fields, { producedAt, responses, nonce: request.nonce })
      const signature = await responder.signer.sign(tbs, responder.signatureAlgorithm)
      return {
        der: encodeOCSPResponse(responder.fields, tbs, signature),
        producedAt,
        nextUpdate,
        hasNonce: request.nonce !== undefined,
      }
    },

    async renewResponders() {
      let made = 0
      const failures: unknown[] = []
      for (const authority of authorities.list().filter((one) => canDelegate(one))) {
        try {
          const now = world.clock.now()
          const current = await openResponder(authority, now)
          if (current !== undefined && now < (current.notBefore + current.notAfter) / 2) continue
          responders.set(authority.id, Promise.resolve(await makeResponder(authority)))
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

const hashesKey = (algorithm: string, name: Uint8Array, key: Uint8Array): string => `${algorithm} ${name.toHex()} ${key.toHex()}`
