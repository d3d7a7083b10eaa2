/**
 * Time stamps: questions, answers and tokens, in both directions. A token is a SignedData over TSTInfo; who may make one
 * is path validation's to say, with the purpose `time-stamping`.
 *
 * Source: RFC 3161; RFC 5816 (ESSCertIDv2).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import {
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  optional,
  sequence,
  sequenceOf,
  tagged,
  withDefault,
} from '#asn1/codec.ts'
import { malformed } from '#asn1/reader.ts'
import {
  BOOLEAN,
  INTEGER_OCTETS,
  namedBits,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  SMALL_INTEGER,
  UTF8String,
  VisibleString,
} from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Extension, Extensions } from '#x509/extensions/extension.ts'
import { GeneralName } from '#x509/extensions/general-name.ts'
import { attributeTypes } from './attributes.ts'
import { contentTypes, readContentInfo } from './content-info.ts'
import { AlgorithmIdentifier, type DigestId, digestIdentifierWithNull, identifyDigest } from './digests.ts'
import { encodeSignedData, type Signing } from './sign.ts'
import { parseSignedData } from './signed-data.ts'
import { type VerifiedSigner, verifySignedData } from './verify.ts'

/** A question has about 60 octets; extensions are nowhere in use. */
export const TIME_STAMP_REQUEST_MAX_OCTETS = 4 << 10
/** A token with a chain of post-quantum certificates. */
export const TIME_STAMP_TOKEN_MAX_OCTETS = 256 << 10

const MessageImprint = sequence('MessageImprint', { hashAlgorithm: AlgorithmIdentifier, hashedMessage: OCTET_STRING })

export interface Imprint {
  readonly digestAlgorithm: DigestId
  readonly digest: Uint8Array
}

const TimeStampReq = sequence('TimeStampReq', {
  version: SMALL_INTEGER,
  messageImprint: MessageImprint,
  reqPolicy: optional(OBJECT_IDENTIFIER),
  nonce: optional(INTEGER_OCTETS),
  certReq: withDefault(BOOLEAN, false),
  extensions: optional(implicit(0, Extensions)),
})

export interface TimeStampRequest {
  readonly imprint: Imprint
  /** An OBJECT IDENTIFIER: under which policy the time stamp is wanted. */
  readonly reqPolicy?: string | undefined
  /** Content octets of the INTEGER: it comes back as it was sent. */
  readonly nonce?: Uint8Array | undefined
  /** Whether the certificates of the authority are wanted in the token. */
  readonly certReq: boolean
  readonly extensions: readonly Extension[]
}

const lengths: Readonly<Record<DigestId, number>> = {
  sha256: 32,
  sha384: 48,
  sha512: 64,
  'sha3-256': 32,
  'sha3-384': 48,
  'sha3-512': 64,
  shake128: 32,
  shake256: 64,
  'shake256-len': 64,
}

/** @throws TrustError `malformed` for a digest of another length, `unsupported` for an algorithm that is not offered here */
function imprintOf({ hashAlgorithm, hashedMessage: digest }: Infer<typeof MessageImprint>): Imprint {
  const digestAlgorithm = identifyDigest(hashAlgorithm)
  if (digest.length !== lengths[digestAlgorithm]) throw badTimeStamp('its digest has not the length of its algorithm') // RFC 3161, 2.4.1
  return { digestAlgorithm, digest }
}

/** With NULL, as every program writes it: some compare the octets. */
const writtenImprint = ({ digestAlgorithm, digest }: Imprint): Infer<typeof MessageImprint> => ({
  hashAlgorithm: digestIdentifierWithNull(digestAlgorithm),
  hashedMessage: digest,
})

const ZERO = Uint8Array.of(0)

/** @throws TrustError `malformed`, `unsupported` for a version or a digest, `tooLarge` */
export function parseTimeStampRequest(der: Uint8Array): TimeStampRequest {
  const limits = { maxOctets: TIME_STAMP_REQUEST_MAX_OCTETS }
  const { version, messageImprint, reqPolicy, nonce, certReq, extensions = [] } = decode(TimeStampReq, der, limits)
  if (version !== 1) throw badTimeStamp(`its version is ${version}`)
  return { imprint: imprintOf(messageImprint), reqPolicy, nonce, certReq, extensions }
}

export function encodeTimeStampRequest({ imprint, reqPolicy, nonce, certReq, extensions }: TimeStampRequest): Uint8Array {
  return encode(TimeStampReq, {
    version: 1,
    messageImprint: writtenImprint(imprint),
    reqPolicy,
    nonce,
    certReq,
    extensions: extensions.length === 0 ? undefined : extensions,
  })
}

const PKI_STATUS = ['granted', 'grantedWithMods', 'rejection', 'waiting', 'revocationWarning', 'revocationNotification'] as const
export type PKIStatus = (typeof PKI_STATUS)[number]

/** RFC 3161, 2.4.2; the numbers between belong to CMP. */
const PKIFailureInfo = namedBits('PKIFailureInfo', [
  'badAlg',
  'unassigned1',
  'badRequest',
  'unassigned3',
  'unassigned4',
  'badDataFormat',
  ...([6, 7, 8, 9, 10, 11, 12, 13] as const).map((bit) => `unassigned${bit}` as const),
  'timeNotAvailable',
  'unacceptedPolicy',
  'unacceptedExtension',
  'addInfoNotAvailable',
  ...([18, 19, 20, 21, 22, 23, 24] as const).map((bit) => `unassigned${bit}` as const),
  'systemFailure',
])
export type TimeStampFailure =
  | 'badAlg'
  | 'badRequest'
  | 'badDataFormat'
  | 'timeNotAvailable'
  | 'unacceptedPolicy'
  | 'unacceptedExtension'
  | 'addInfoNotAvailable'
  | 'systemFailure'

/** A sentence or two. */
const TEXTS_MAX = 8

const TimeStampResp = sequence('TimeStampResp', {
  status: sequence('PKIStatusInfo', {
    status: SMALL_INTEGER,
    statusString: optional(sequenceOf('PKIFreeText', UTF8String, { min: 1, max: TEXTS_MAX })),
    failInfo: optional(PKIFailureInfo),
  }),
  timeStampToken: optional(ANY),
})

/** @param token DER ContentInfo */
export const encodeGrantedTimeStamp = (token: Uint8Array): Uint8Array =>
  encode(TimeStampResp, { status: { status: PKI_STATUS.indexOf('granted') }, timeStampToken: token })

/** @param text for people; not shown in most programs */
export const encodeRefusedTimeStamp = (failure: TimeStampFailure, text: string): Uint8Array =>
  encode(TimeStampResp, {
    status: { status: PKI_STATUS.indexOf('rejection'), statusString: [text], failInfo: [failure] },
  })

/**
 * @returns the token, DER ContentInfo, not looked at yet
 * @throws TrustError `malformed`; `policyRefused` when the authority says no, with its words
 */
export function parseTimeStampResponse(der: Uint8Array): Uint8Array {
  const { status, timeStampToken } = decode(TimeStampResp, der, { maxOctets: TIME_STAMP_TOKEN_MAX_OCTETS })
  const known = PKI_STATUS[status.status]
  if (known !== 'granted' && known !== 'grantedWithMods') {
    const detail = [known ?? `status ${status.status}`, ...(status.failInfo ?? []), ...(status.statusString ?? [])].join(', ')
    throw new TrustError('policyRefused', 'timeStampRefused', { facts: { detail } })
  }
  if (timeStampToken === undefined) throw badTimeStamp('the answer says granted and has none')
  return timeStampToken
}

/** X.690 11.7 with the fractions that RFC 3161, 2.4.2 allows; what lies below a millisecond is cut off. */
const GenTime = tagged<Date>(
  'GeneralizedTime',
  0x18,
  (from) => {
    const text = VisibleString.readContent(from)
    const [, year, month, day, hour, minute, second, fraction = ''] =
      /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{0,8}[1-9]))?Z$/.exec(text) ?? []
    const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction.padEnd(3, '0').slice(0, 3)}Z`
    const time = new Date(iso)
    if (Number.isNaN(time.getTime()) || time.toISOString() !== iso) throw malformed('a GeneralizedTime is no point in time')
    return time
  },
  (to, time) => {
    const text = time.toISOString().replace(/[-:T]/g, '')
    to.latin1(text.replace(/\.?0*Z$/, 'Z'))
  },
)

const Accuracy = sequence('Accuracy', {
  seconds: optional(SMALL_INTEGER),
  millis: optional(implicit(0, SMALL_INTEGER)),
  micros: optional(implicit(1, SMALL_INTEGER)),
})
export type Accuracy = Infer<typeof Accuracy>

const TSTInfoFields = sequence('TSTInfo', {
  version: SMALL_INTEGER,
  policy: OBJECT_IDENTIFIER,
  messageImprint: MessageImprint,
  serialNumber: INTEGER_OCTETS,
  genTime: GenTime,
  accuracy: optional(Accuracy),
  ordering: withDefault(BOOLEAN, false),
  nonce: optional(INTEGER_OCTETS),
  tsa: optional(explicit(0, GeneralName)),
  extensions: optional(implicit(1, Extensions)),
})

/** What an authority states: this digest was there at that time. */
export interface TSTInfo {
  /** An OBJECT IDENTIFIER. */
  readonly policy: string
  readonly imprint: Imprint
  /** Content octets of the INTEGER. */
  readonly serialNumber: Uint8Array
  readonly genTime: Date
  readonly accuracy?: Accuracy | undefined
  /** Whether two time stamps of this authority can be ordered by their times, whatever the accuracy. */
  readonly ordering: boolean
  readonly nonce?: Uint8Array | undefined
  readonly tsa?: Infer<typeof GeneralName> | undefined
  readonly extensions: readonly Extension[]
}

/** @param der as it stands in the token @throws TrustError `malformed`, `unsupported` */
export function parseTSTInfo(der: Uint8Array): TSTInfo {
  const { version, messageImprint, extensions = [], ...fields } = decode(TSTInfoFields, der)
  if (version !== 1) throw badTimeStamp(`its version is ${version}`)
  const { millis, micros } = fields.accuracy ?? {}
  if ([millis, micros].some((part) => part !== undefined && (part < 1 || part > 999))) throw badTimeStamp('its accuracy is none')
  if (extensions.some(({ critical }) => critical)) throw badTimeStamp('it has a critical extension')
  return { ...fields, imprint: imprintOf(messageImprint), extensions }
}

/**
 * @param signing with the certificate of an authority; the time of the stamp is that of `info`
 * @param certificates those above the signer's, DER; undefined when none are wanted, not even the signer's
 * @returns DER ContentInfo
 * @throws whatever {@link encodeSignedData} throws
 */
export function encodeTimeStampToken(
  { imprint, extensions, ...info }: TSTInfo,
  signing: Signing,
  certificates: readonly Uint8Array[] | undefined,
): Promise<Uint8Array> {
  const attached = encode(TSTInfoFields, {
    ...info,
    version: 1,
    messageImprint: writtenImprint(imprint),
    extensions: extensions.length === 0 ? undefined : extensions,
  })
  return encodeSignedData({
    contentType: contentTypes.tstInfo,
    content: { attached },
    signers: [signing],
    certificates: certificates ?? [],
    certificatesLeftOut: certificates === undefined,
  })
}

export interface VerifiedTimeStamp {
  readonly info: TSTInfo
  /** Still to be validated, as of `info.genTime`, for the purpose `time-stamping`. */
  readonly signer: VerifiedSigner
  /** For building its path; DER, and nobody vouches for them. */
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
}

/** What a time stamp must be over, and what it must repeat. */
export interface TimeStampQuestion {
  readonly digestWith: (digestAlgorithm: DigestId) => Uint8Array
  readonly nonce?: Uint8Array | undefined
  /** Certificates that may be the authority's, DER, when the token may not carry them. */
  readonly certificates?: readonly Uint8Array[]
}

/**
 * Whether the token is over these octets, made by the key of a certificate that it names.
 *
 * @param token DER, or BER as some authorities write it
 * @throws TrustError `malformed`, `unsupported`; `badProof` for another imprint, nonce or a wrong signature;
 *   `unauthenticated` when its signer is not known
 */
export async function verifyTimeStamp(token: Uint8Array, question: TimeStampQuestion): Promise<VerifiedTimeStamp> {
  const signed = parseSignedData(token, { encoding: isDER(token) ? 'der' : 'ber', maxOctets: TIME_STAMP_TOKEN_MAX_OCTETS })
  if (signed.contentType !== contentTypes.tstInfo || signed.content === undefined) throw badTimeStamp('its content is no TSTInfo')
  const info = parseTSTInfo(signed.content)
  const { certificates = [] } = question
  const verified = await verifySignedData(signed, { certificates })
  const [signer, another] = verified.signers
  if (signer === undefined || another !== undefined || verified.unknownSigners.length > 0)
    throw badTimeStamp('it has not one signer') // RFC 3161, 2.4.2
  const namesIt = signer.signedAttributes.some(
    ({ attrType }) => attrType === attributeTypes.signingCertificate || attrType === attributeTypes.signingCertificateV2,
  )
  if (!namesIt) throw badTimeStamp('it does not name the certificate of its signer')
  if (!equal(info.imprint.digest, question.digestWith(info.imprint.digestAlgorithm)))
    throw new TrustError('badProof', 'timeStampOther', { facts: { detail: 'its digest differs' } })
  if (question.nonce !== undefined && !equal(info.nonce ?? ZERO, question.nonce))
    throw new TrustError('badProof', 'timeStampOther', { facts: { detail: 'its nonce is not the one that was sent' } })
  return { info, signer, certificates: verified.certificates, crls: verified.crls }
}

function isDER(token: Uint8Array): boolean {
  try {
    readContentInfo(token, { maxOctets: TIME_STAMP_TOKEN_MAX_OCTETS })
    return true
  } catch {
    return false
  }
}

const badTimeStamp = (detail: string): TrustError => new TrustError('malformed', 'badTimeStamp', { facts: { detail } })
