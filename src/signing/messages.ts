/**
 * Messages of the server's own that devices obey or believe: statements, licenses, commands and policies, each a COSE or JWS
 * message of a type that is signed with it. Pure verification, for the device as well as for whoever judges one.
 *
 * Every signature of a message has to be good, its type has to be the one that is asked for, and each signer has to be
 * trusted for this very purpose: as an anchor itself (pinned: good for as long as it is listed), or by a path to one with the
 * purpose of signing documents. Whose certificates come along in a message counts for nothing.
 *
 * Source: RFC 9052; RFC 9360 (x5chain, x5t); RFC 9596 (typ); RFC 7515 (compact form); RFC 9336 (id-kp-documentSigning).
 *
 * @module
 */
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import {
  algorithmOf,
  chainOf,
  checkCritical,
  encodeSigStructureHead,
  type Headers,
  headers,
  parseCOSE,
  thumbprintOf,
} from '#cbor/cose.ts'
import {
  chainOf as chainOfJWS,
  checkCritical as checkCriticalJWS,
  encodeSigningInputHead,
  parseJWS,
  payloadOf,
  thumbprintOf as thumbprintOfJWS,
} from '#jose/jws.ts'
import { type Certificate, extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'

export interface TrustedSigner {
  readonly certificate: Certificate
  readonly publicKey: PublicKey
}

/** Who is trusted for one purpose. */
export interface MessageTrust {
  /**
   * @param chain DER as a message carries it, the signer's first; empty where it only names the signer
   * @param thumbprint SHA-256 of the signer's certificate, where the message says it
   * @throws TrustError `unauthenticated` for whoever is not trusted; `malformed`
   */
  signerFor(chain: readonly Uint8Array[], thumbprint: Uint8Array | undefined, at: Date): Promise<TrustedSigner>
}

export interface ExpectedMessage {
  /** Media type without `application/`, or whole, as the signed header has it. */
  readonly typ: string
  readonly trust: MessageTrust
  readonly at: Date
  /** Of the whole message. */
  readonly maxOctets: number
  /** COSE only: what both sides know and is signed along. */
  readonly externalAAD?: Uint8Array
}

export interface VerifiedMessage {
  readonly form: 'cose' | 'jws'
  readonly payload: Uint8Array
  /** In the order of their signatures; no key twice. */
  readonly signers: readonly [TrustedSigner, ...TrustedSigner[]]
}

/** Signers whose path was found good: a device hears from a few, a hostile sender names as many as it likes. */
const REMEMBERED_MAX = 64

interface Remembered extends TrustedSigner {
  readonly notBefore: number
  readonly notAfter: number
}

/** @param anchors DER certificates, of signers themselves or of authorities that issue to such signers and nobody else */
export function messageTrust(anchors: readonly Uint8Array[]): MessageTrust {
  const pinned = new Map<string, TrustedSigner>()
  const remembered = new Map<string, Remembered>()

  function pinnedAs(name: string): TrustedSigner | undefined {
    const known = pinned.get(name)
    if (known !== undefined) return known
    const der = anchors.find((anchor) => fingerprint(anchor).toHex() === name)
    if (der === undefined) return undefined
    const signer = signerOf(parseCertificate(der))
    pinned.set(name, signer)
    return signer
  }

  return {
    async signerFor([own, ...above], thumbprint, at) {
      const name = thumbprintFor(own, thumbprint).toHex()
      const anchor = pinnedAs(name)
      if (anchor !== undefined) return anchor
      if (own === undefined) throw new TrustError('unauthenticated', 'messageSignerUnknown')
      const known = remembered.get(name)
      if (known !== undefined && known.notBefore <= at.getTime() && at.getTime() <= known.notAfter) return known
      const found = await pathTo(own, above, anchors, at)
      if (remembered.size >= REMEMBERED_MAX) remembered.delete(remembered.keys().next().value ?? '')
      remembered.set(name, found)
      return found
    },
  }
}

const signerOf = (certificate: Certificate): TrustedSigner => ({
  certificate,
  publicKey: importPublicKey(certificate.subjectPublicKeyInfo),
})

function thumbprintFor(own: Uint8Array | undefined, said: Uint8Array | undefined): Uint8Array {
  if (own === undefined) {
    if (said === undefined) throw new TrustError('unauthenticated', 'messageSignerUnknown')
    return said
  }
  const digest = fingerprint(own)
  if (said !== undefined && !equal(digest, said)) throw new TrustError('malformed', 'messageCertificate')
  return digest
}

/** Where no signer is pinned; what it needs is loaded then. */
async function pathTo(
  own: Uint8Array,
  intermediates: readonly Uint8Array[],
  anchors: readonly Uint8Array[],
  at: Date,
): Promise<Remembered> {
  const { verifyCertificate } = await import('#x509/path/verify.ts')
  const verdict = await verifyCertificate({ certificate: own, intermediates, anchors, at, purpose: 'document-signing' })
  if (!verdict.valid) {
    const { reason: why, subject } = verdict.failure
    throw new TrustError('unauthenticated', 'messageSignerUntrusted', { facts: { why, subject } })
  }
  const certificate = parseCertificate(own)
  // a certificate without the extension would be good for every purpose (RFC 5280, 4.2.1.12): not for this one
  const { extKeyUsage, keyPurposes } = await import('#x509/extensions/extended-key-usage.ts')
  if (!(extensionOf(certificate, extKeyUsage)?.value ?? []).includes(keyPurposes.documentSigning)) {
    const facts = { why: 'purposeMissing', subject: verdict.path[0]?.subject ?? '' }
    throw new TrustError('unauthenticated', 'messageSignerUntrusted', { facts })
  }
  const path = verdict.path.map(({ certificate: each }) => each)
  return {
    ...signerOf(certificate),
    notBefore: Math.max(...path.map(({ notBefore }) => notBefore.getTime())),
    notAfter: Math.min(...path.map(({ notAfter }) => notAfter.getTime())),
  }
}

/**
 * @throws TrustError `malformed`, `tooLarge`, `unsupported`; `badProof` for a signature that is not good or a message of another
 *   type; `unauthenticated` for a signer that is not trusted
 */
export async function verifyMessage(octets: Uint8Array, expected: ExpectedMessage): Promise<VerifiedMessage> {
  const isJWS = octets[0] === LETTER_E // every compact form begins with the base64url of a brace and a quotation mark
  const verified = await (isJWS ? verifyJWS(octets, expected) : verifyCOSE(octets, expected))
  const keys = new Set(verified.signers.map(({ publicKey }) => publicKey.spki.toHex()))
  if (keys.size !== verified.signers.length) throw new TrustError('malformed', 'messageSignerTwice')
  return verified
}

const LETTER_E = 0x65

/** Labels that are looked at here. */
const UNDERSTOOD = [headers.alg, headers.contentType, headers.kid, headers.typ, headers.x5chain, headers.x5t]

async function verifyCOSE(octets: Uint8Array, expected: ExpectedMessage): Promise<VerifiedMessage> {
  const message = parseCOSE(octets, expected.maxOctets)
  const { headers: body, payload } = message
  checkType(body.protected.get(headers.typ), expected.typ)
  checkCritical(body, UNDERSTOOD)
  if (payload === undefined) throw new TrustError('malformed', 'contentNotGiven')
  const parts: readonly (readonly [Headers | undefined, Uint8Array])[] =
    message.type === 'sign1'
      ? [[undefined, message.signature]]
      : message.signatures.map(({ headers: own, signature }) => [own, signature] as const)
  const signers: TrustedSigner[] = []
  for (const [signer, signature] of parts) {
    const own = signer ?? body
    if (signer !== undefined) checkCritical(signer, UNDERSTOOD)
    const found = await expected.trust.signerFor(chainOf(own), thumbprintOf(own), expected.at)
    const { externalAAD } = expected
    const head = encodeSigStructureHead(
      { body, ...(signer !== undefined && { signer }), ...(externalAAD !== undefined && { externalAAD }) },
      payload.length,
    )
    await checkSignature(found, algorithmOf(own), signature, concat([head, payload]))
    signers.push(found)
  }
  return { form: 'cose', payload, signers: atLeastOne(signers) }
}

async function verifyJWS(octets: Uint8Array, expected: ExpectedMessage): Promise<VerifiedMessage> {
  const message = parseJWS(octets, expected.maxOctets)
  const { encodedPayload } = message
  const [one, ...others] = message.signatures
  if (one === undefined || others.length > 0 || message.serialization !== 'compact' || !message.isEncoded)
    throw new TrustError('malformed', 'notJWS', { facts: { detail: 'it is not of the compact form' } })
  if (encodedPayload === undefined) throw new TrustError('malformed', 'contentNotGiven')
  checkType(one.protectedHeader['typ'], expected.typ)
  checkCriticalJWS(one, [])
  const found = await expected.trust.signerFor(chainOfJWS(one), thumbprintOfJWS(one), expected.at)
  const signed = concat([encodeSigningInputHead(one.encodedHeader), utf8(encodedPayload)])
  await checkSignature(found, one.algorithm, one.signature, signed)
  return { form: 'jws', payload: payloadOf(message, encodedPayload), signers: [found] }
}

const atLeastOne = (signers: readonly TrustedSigner[]) => signers as readonly [TrustedSigner, ...TrustedSigner[]] // the parser refuses none

/** RFC 7515, 4.1.9 and RFC 9596, 2: `application/` may be left out where no other slash follows. */
const wholeType = (typ: string): string => (typ.includes('/') ? typ : `application/${typ}`).toLowerCase()

function checkType(found: unknown, wanted: string): void {
  if (typeof found === 'string' && wholeType(found) === wholeType(wanted)) return
  const facts = { found: typeof found === 'string' ? found.slice(0, 80) : 'none', wanted }
  throw new TrustError('badProof', 'messageTypeOther', { facts })
}

async function checkSignature(
  { publicKey }: TrustedSigner,
  name: string | number,
  signature: Uint8Array,
  signed: Uint8Array,
): Promise<void> {
  const algorithm = namedSignature(name, publicKey.algorithm)
  const octets = fromMessageSignature(signature, publicKey.algorithm)
  if (!(await verifySignature({ algorithm, octets }, publicKey, signed))) throw new TrustError('badProof', 'messageSignature')
}
