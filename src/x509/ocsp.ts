/**
 * Questions about a certificate's state, and signed answers.
 *
 * Source: RFC 6960; RFC 9919, the lightweight profile that follows RFC 5019 (identifiers with SHA-256 beside SHA-1, the
 * responder named by its key, nextUpdate always there, whole seconds); RFC 9654 (nonces).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { identifySignature, type PublicKey, SubjectPublicKeyInfo, verifySignature } from '#algorithms/public-key.ts'
import { ANY } from '#asn1/any.ts'
import {
  captured,
  choice,
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  optional,
  sequence,
  sequenceOf,
  withDefault,
} from '#asn1/codec.ts'
import {
  BIT_STRING_OCTETS,
  ENUMERATED,
  GeneralizedTime,
  INTEGER_OCTETS,
  NULL,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  SMALL_INTEGER,
} from '#asn1/types.ts'
import { Writer } from '#asn1/writer.ts'
import { TrustError } from '#base/errors.ts'
import { CRLReason } from './extensions/crl-extensions.ts'
import { decodeExtension, type Extension, Extensions, readExtension } from './extensions/extension.ts'
import { ocspNonce } from './extensions/ocsp-extensions.ts'

/** A request for one certificate has about 120 octets, a signed one with its certificates a few thousand. */
export const OCSP_REQUEST_MAX_OCTETS = 16 << 10
/** Each one costs a look-up; clients that we know of ask for one certificate, or for a short chain. */
const CERT_IDS_MAX = 32

const digests = {
  '1.3.14.3.2.26': 'sha1', // the only one that RFC 5019 clients know; it names a key here and proves nothing
  '2.16.840.1.101.3.4.2.1': 'sha256',
} as const satisfies Record<string, string>
export type CertIDHash = (typeof digests)[keyof typeof digests]

const HashAlgorithm = sequence('hashAlgorithm', { algorithm: OBJECT_IDENTIFIER, parameters: optional(NULL) })

const CertIDFields = sequence('CertID', {
  hashAlgorithm: HashAlgorithm,
  issuerNameHash: OCTET_STRING,
  issuerKeyHash: OCTET_STRING,
  serialNumber: INTEGER_OCTETS,
})

export interface CertID {
  /** As the client wrote it: an answer repeats it octet by octet. */
  readonly der: Uint8Array
  /** Undefined for a hash that is not offered here: the answer is `unknown`. */
  readonly hashAlgorithm?: CertIDHash
  readonly issuerNameHash: Uint8Array
  readonly issuerKeyHash: Uint8Array
  /** Content octets of the INTEGER. */
  readonly serialNumber: Uint8Array
}

const Request = sequence('Request', {
  reqCert: captured(CertIDFields),
  singleRequestExtensions: optional(explicit(0, Extensions)),
})

const TBSRequest = sequence('TBSRequest', {
  version: withDefault(explicit(0, SMALL_INTEGER), 0),
  requestorName: optional(explicit(1, ANY)),
  requestList: sequenceOf('requestList', Request, { min: 1, max: CERT_IDS_MAX }),
  requestExtensions: optional(explicit(2, Extensions)),
})

const SignedRequest = sequence('OCSPRequest', {
  tbsRequest: TBSRequest,
  optionalSignature: optional(explicit(0, ANY)), // anyone may ask, so it is not looked at
})

/** Octets are views of what was parsed. */
export interface OCSPRequest {
  readonly certIDs: readonly CertID[]
  readonly nonce?: Uint8Array
}

/**
 * @throws TrustError `malformed`, also for a nonce that is empty or longer than 128 octets (RFC 9654, 2.1);
 * `unsupported` for a critical extension that is not offered here; `tooLarge`
 */
export function parseOCSPRequest(der: Uint8Array): OCSPRequest {
  const {
    version,
    requestList,
    requestExtensions = [],
  } = decode(SignedRequest, der, { maxOctets: OCSP_REQUEST_MAX_OCTETS }).tbsRequest
  if (version !== 0) throw unusable(`its version is ${version + 1}`)
  let nonce: Uint8Array | undefined
  for (const extension of requestExtensions) {
    if (extension.extnID === ocspNonce.oid) nonce = decodeExtension(ocspNonce, extension)
    else refuseCritical(extension)
  }
  const certIDs = requestList.map(({ reqCert, singleRequestExtensions }) => {
    singleRequestExtensions?.forEach(refuseCritical)
    return certIDOf(reqCert)
  })
  return nonce === undefined ? { certIDs } : { certIDs, nonce }
}

/** RFC 6960, 4.4: what is critical and not understood must be refused. */
function refuseCritical({ extnID, critical }: Extension): void {
  if (critical) throw new TrustError('unsupported', 'ocspCritical', { facts: { extension: extnID } })
}

function certIDOf({ der, value }: { readonly der: Uint8Array; readonly value: Infer<typeof CertIDFields> }): CertID {
  const { hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber } = value
  const known = digests[hashAlgorithm.algorithm as keyof typeof digests] as CertIDHash | undefined
  return { der, ...(known !== undefined && { hashAlgorithm: known }), issuerNameHash, issuerKeyHash, serialNumber }
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badOCSP', { facts: { detail } })

/** How a CertID names an issuer (RFC 6960, 4.1.1). */
export interface IssuerHashes {
  readonly issuerNameHash: Uint8Array
  readonly issuerKeyHash: Uint8Array
}

/** @param issuer its subject as DER Name, and its DER SubjectPublicKeyInfo */
export function issuerHashes(
  issuer: { readonly subject: Uint8Array; readonly subjectPublicKeyInfo: Uint8Array },
  algorithm: CertIDHash,
): IssuerHashes {
  const { subjectPublicKey } = decode(SubjectPublicKeyInfo, issuer.subjectPublicKeyInfo)
  return {
    issuerNameHash: new Uint8Array(hash(algorithm, issuer.subject, 'buffer')),
    issuerKeyHash: new Uint8Array(hash(algorithm, subjectPublicKey, 'buffer')),
  }
}

/** @returns DER CertID, for a client; SHA-1 with its NULL parameters is what every responder knows */
export function encodeCertID(issuer: IssuerHashes, serialNumber: Uint8Array, algorithm: CertIDHash = 'sha1'): Uint8Array {
  const oid = (Object.keys(digests) as (keyof typeof digests)[]).find((one) => digests[one] === algorithm) as string
  return encode(CertIDFields, { hashAlgorithm: { algorithm: oid, parameters: null }, ...issuer, serialNumber })
}

/** @param certIDs DER @returns DER OCSPRequest, not signed */
export function encodeOCSPRequest(certIDs: readonly Uint8Array[], nonce?: Uint8Array): Uint8Array {
  return encode(SignedRequest, {
    tbsRequest: {
      version: 0,
      requestList: certIDs.map((der) => ({ reqCert: { der, value: decode(CertIDFields, der) } })),
      requestExtensions: nonce && [{ extnID: ocspNonce.oid, critical: false, extnValue: encode(ocspNonce.codec, nonce) }],
    },
  })
}

export type CertStatus =
  | { readonly type: 'good' }
  | { readonly type: 'revoked'; readonly revokedAt: Date; readonly reason?: CRLReason }
  | { readonly type: 'unknown' }

export interface SingleResponse {
  /** DER, as the client wrote it. */
  readonly certID: Uint8Array
  readonly status: CertStatus
  readonly thisUpdate: Date
  readonly nextUpdate?: Date
}

const RevokedInfo = sequence('RevokedInfo', {
  revocationTime: GeneralizedTime,
  revocationReason: optional(explicit(0, CRLReason)),
})

const Status = choice('CertStatus', { good: implicit(0, NULL), revoked: implicit(1, RevokedInfo), unknown: implicit(2, NULL) })

const Single = sequence('SingleResponse', {
  certID: captured(CertIDFields),
  certStatus: Status,
  thisUpdate: GeneralizedTime,
  nextUpdate: optional(explicit(0, GeneralizedTime)),
  singleExtensions: optional(explicit(1, Extensions)),
})

const ResponderID = choice('ResponderID', { byName: explicit(1, ANY), byKey: explicit(2, OCTET_STRING) })

const ResponseData = sequence('ResponseData', {
  version: withDefault(explicit(0, SMALL_INTEGER), 0),
  responderID: ResponderID,
  producedAt: GeneralizedTime,
  responses: sequenceOf('responses', Single, { min: 1, max: CERT_IDS_MAX }),
  responseExtensions: optional(explicit(1, Extensions)),
})

/** What a responder says of itself in every answer, encoded once. */
export interface OCSPResponder {
  /** DER ResponderID. */
  readonly responderID: Uint8Array
  /** DER AlgorithmIdentifier of its signatures. */
  readonly signatureAlgorithm: Uint8Array
  /** DER `[0] EXPLICIT SEQUENCE OF Certificate`, or nothing when it answers for itself. */
  readonly certs: Uint8Array
}

/**
 * @param certificates DER, the responder's own first; none when the authority itself signs
 */
export function ocspResponder(responder: {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly signatureAlgorithm: Uint8Array
  readonly certificates: readonly Uint8Array[]
}): OCSPResponder {
  const { subjectPublicKey } = decode(SubjectPublicKeyInfo, responder.publicKey)
  const keyHash = new Uint8Array(hash('sha1', subjectPublicKey, 'buffer')) // RFC 6960, 4.2.1: KeyHash is SHA-1
  return {
    responderID: encode(ResponderID, { type: 'byKey', value: keyHash }),
    signatureAlgorithm: responder.signatureAlgorithm,
    certs: responder.certificates.length === 0 ? new Uint8Array(0) : encode(Certs, responder.certificates),
  }
}

const Certs = explicit(0, sequenceOf('certs', ANY, { max: 8 }))

export interface ResponseDataFields {
  readonly producedAt: Date
  readonly responses: readonly SingleResponse[]
  /** The request's, to be repeated. */
  readonly nonce?: Uint8Array | undefined
}

const SEQUENCE = 0x30
const NONCE_OID = encode(OBJECT_IDENTIFIER, ocspNonce.oid)
const GOOD = encode(Status, { type: 'good', value: null })
const UNKNOWN = encode(Status, { type: 'unknown', value: null })

/**
 * What a responder signs: a ResponseData. Written directly rather than by schema, since one is made for every
 * request with a nonce.
 */
export function encodeResponseData(
  { responderID }: OCSPResponder,
  { producedAt, responses, nonce }: ResponseDataFields,
): Uint8Array {
  const to = new Writer()
  if (nonce !== undefined) {
    to.octets(nonce)
    to.header(OCTET_STRING.tag, 0)
    to.header(OCTET_STRING.tag, 0)
    to.octets(NONCE_OID)
    to.header(SEQUENCE, 0)
    to.header(SEQUENCE, 0)
    to.header(0xa1, 0)
  }
  const list = to.size
  for (let i = responses.length - 1; i >= 0; i--) {
    const { certID, status, thisUpdate, nextUpdate } = responses[i] as SingleResponse
    const single = to.size
    if (nextUpdate !== undefined) {
      const mark = to.size
      to.octets(encodeTime(nextUpdate))
      to.header(0xa0, mark)
    }
    to.octets(encodeTime(thisUpdate))
    if (status.type === 'good') to.octets(GOOD)
    else if (status.type === 'unknown') to.octets(UNKNOWN)
    else {
      const revocationReason = status.reason === 'unspecified' ? undefined : status.reason
      Status.write(to, { type: 'revoked', value: { revocationTime: status.revokedAt, revocationReason } })
    }
    to.octets(certID)
    to.header(SEQUENCE, single)
  }
  to.header(SEQUENCE, list)
  to.octets(encodeTime(producedAt))
  to.octets(responderID)
  to.header(SEQUENCE, 0)
  return to.take()
}

/** Answers of one second share their times. */
const times = new Map<number, Uint8Array>()
const TIMES_MAX = 64

function encodeTime(time: Date): Uint8Array {
  const second = Math.floor(time.getTime() / 1000)
  const known = times.get(second)
  if (known !== undefined) return known
  const der = encode(GeneralizedTime, time)
  if (times.size >= TIMES_MAX) times.clear()
  times.set(second, der)
  return der
}

const BASIC = '1.3.6.1.5.5.7.48.1.1'
const BASIC_OID = encode(OBJECT_IDENTIFIER, BASIC)
const SUCCESSFUL = Uint8Array.of(0x0a, 1, 0)

/** @param tbsResponseData of {@link encodeResponseData} @returns DER OCSPResponse */
export function encodeOCSPResponse(
  { signatureAlgorithm, certs }: OCSPResponder,
  tbsResponseData: Uint8Array,
  signature: Uint8Array,
): Uint8Array {
  const to = new Writer()
  to.octets(certs)
  BIT_STRING_OCTETS.write(to, signature)
  to.octets(signatureAlgorithm)
  to.octets(tbsResponseData)
  to.header(SEQUENCE, 0)
  to.header(OCTET_STRING.tag, 0)
  to.octets(BASIC_OID)
  to.header(SEQUENCE, 0)
  to.header(0xa0, 0)
  to.octets(SUCCESSFUL)
  to.header(SEQUENCE, 0)
  return to.take()
}

/** OCSPResponseStatus of answers that are not signed; 4 is not used. */
export const ocspErrors = { malformedRequest: 1, internalError: 2, tryLater: 3, sigRequired: 5, unauthorized: 6 } as const
export type OCSPError = keyof typeof ocspErrors

/** @returns DER OCSPResponse without an answer */
export const encodeOCSPError = (error: OCSPError): Uint8Array => Uint8Array.of(SEQUENCE, 3, 0x0a, 1, ocspErrors[error])

const Response = sequence('OCSPResponse', {
  responseStatus: ENUMERATED,
  responseBytes: optional(explicit(0, sequence('ResponseBytes', { responseType: OBJECT_IDENTIFIER, response: OCTET_STRING }))),
})

const BasicOCSPResponse = sequence('BasicOCSPResponse', {
  tbsResponseData: captured(ResponseData),
  signatureAlgorithm: ANY,
  signature: BIT_STRING_OCTETS,
  certs: optional(Certs),
})

/** A signed answer. Octets are views of what was parsed. */
export interface BasicResponse {
  /** The bytes that the responder signed. */
  readonly tbsResponseData: Uint8Array
  readonly responderID: Infer<typeof ResponderID>
  readonly producedAt: Date
  readonly responses: readonly (CertID & Omit<SingleResponse, 'certID'>)[]
  readonly nonce?: Uint8Array
  readonly extensions: readonly Extension[]
  readonly signatureAlgorithm: Uint8Array
  readonly signature: Uint8Array
  readonly certs: readonly Uint8Array[]
}

export type OCSPResponse = { readonly type: 'answer'; readonly answer: BasicResponse } | { readonly type: OCSPError }

const errorsByNumber = new Map<number, OCSPError>(
  (Object.entries(ocspErrors) as [OCSPError, number][]).map(([name, number]) => [number, name]),
)

/** @throws TrustError `malformed`, `unsupported` for a response type other than basic, `tooLarge` */
export function parseOCSPResponse(der: Uint8Array): OCSPResponse {
  const { responseStatus, responseBytes } = decode(Response, der)
  if (responseStatus !== 0) {
    const type = errorsByNumber.get(responseStatus)
    if (type === undefined || responseBytes !== undefined) throw unusable(`its status is ${responseStatus}`)
    return { type }
  }
  if (responseBytes === undefined) throw unusable('it has no answer')
  if (responseBytes.responseType !== BASIC)
    throw new TrustError('unsupported', 'badOCSP', { facts: { detail: 'its answer is not of the basic type' } })
  const { tbsResponseData, signatureAlgorithm, signature, certs = [] } = decode(BasicOCSPResponse, responseBytes.response)
  const { version, responderID, producedAt, responses, responseExtensions: extensions = [] } = tbsResponseData.value
  if (version !== 0) throw unusable(`its version is ${version + 1}`)
  const nonce = readExtension(extensions, ocspNonce)?.value
  const answer: BasicResponse = {
    tbsResponseData: tbsResponseData.der,
    responderID,
    producedAt,
    responses: responses.map(({ certID, certStatus, thisUpdate, nextUpdate }) => ({
      ...certIDOf(certID),
      status: statusOf(certStatus),
      thisUpdate,
      ...(nextUpdate !== undefined && { nextUpdate }),
    })),
    ...(nonce !== undefined && { nonce }),
    extensions,
    signatureAlgorithm,
    signature,
    certs,
  }
  return { type: 'answer', answer }
}

function statusOf(status: Infer<typeof Status>): CertStatus {
  if (status.type !== 'revoked') return { type: status.type }
  const { revocationTime: revokedAt, revocationReason: reason } = status.value
  return { type: 'revoked', revokedAt, ...(reason !== undefined && { reason }) }
}

/** Whether this key signed the answer. Whether it may is for the caller to say (RFC 6960, 4.2.2.2). */
export const verifyResponseSignature = async (
  { signatureAlgorithm, signature, tbsResponseData }: BasicResponse,
  publicKey: PublicKey,
): Promise<boolean> =>
  verifySignature({ algorithm: identifySignature(signatureAlgorithm), octets: signature }, publicKey, tbsResponseData)
