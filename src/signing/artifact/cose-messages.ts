/**
 * What the two COSE formats share: the options, the headers of a signer, and reading.
 *
 * Source: RFC 9052, 4; RFC 9360, 2; RFC 9995 (a digest in place of the file).
 *
 * @module
 */
import type { NameStyle } from '#algorithms/message-names.ts'
import { NAME_STYLES } from '#algorithms/message-names.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { CBOR, Label } from '#cbor/cbor.ts'
import {
  algorithmOf,
  chainOf,
  checkCritical,
  type COSESign,
  type COSESign1,
  COSE_SHA_256,
  encodeSigStructureHead,
  type Headers,
  headers,
  parseCOSE,
  peekCOSE,
  thumbprintOf,
} from '#cbor/cose.ts'
import { arrayOf, integerOf, octetsOf } from '#cbor/typed.ts'
import { digestContent, usualDigest } from '#cms/digests.ts'
import type { Beside, BlobSource, Extracted, FormatOption, Range } from '../format.ts'
import { bytesSource, chunksOf, MESSAGE_MAX_OCTETS, readWhole, whole } from './blob.ts'
import { joined } from './joined.ts'
import {
  foundSignatures,
  type MessageSigner,
  namesOf,
  type Other,
  OTHERS,
  readAttached,
  type ReadSignature,
} from './message-signers.ts'

const PEEK_OCTETS = 16

export const coseOptions = {
  content: {
    help: 'whether the message stands beside the file, around it (up to 8 MiB), or beside it and over its digest (RFC 9995)',
    values: ['detached', 'attached', 'hash'],
    fallback: 'detached',
  },
  contentType: { help: 'what the file is: a media type, or a number of the CoAP Content-Formats registry' },
  certificates: {
    help: 'whether the signer’s certificates are in the message, or only a thumbprint of its own',
    values: ['chain', 'thumbprint'],
    fallback: 'chain',
  },
  names: {
    help: 'which numbers say the algorithm: those that most programs know, or those of RFC 9864 that say the curve too',
    values: NAME_STYLES,
    fallback: 'usual',
  },
} as const satisfies Readonly<Record<string, FormatOption>>

const styleOf = ({ names }: Readonly<Record<string, string>>): NameStyle => (names === 'specified' ? 'specified' : 'usual')

/** Which algorithm and certificate, all protected. */
export function signerHeaders(
  signer: MessageSigner,
  others: readonly MessageSigner[],
  options: Readonly<Record<string, string>>,
): readonly (readonly [Label, CBOR])[] {
  const style = styleOf(options)
  const { certificates, thumbprint } = signer
  const [own] = certificates
  const listed = others.filter((other) => other !== signer).map((other) => [namesOf(other).cose[style], other.thumbprint])
  return [
    [headers.alg, namesOf(signer).cose[style]],
    [headers.x5t, [COSE_SHA_256, thumbprint]],
    ...(options['certificates'] === 'chain'
      ? ([[headers.x5chain, certificates.length === 1 ? own : certificates]] as const)
      : []),
    ...(listed.length === 0
      ? []
      : ([
          [headers.crit, [OTHERS]],
          [OTHERS, listed],
        ] as const)),
  ]
}

export interface Payload {
  /** What is signed. */
  readonly source: BlobSource
  /** The same as octets where it stands in the message. */
  readonly payload?: Uint8Array
  readonly isBeside: boolean
  /** What it is, where that is said. */
  readonly headers: readonly (readonly [Label, CBOR])[]
}

/** By their numbers as COSE algorithms (RFC 9054, 2.1). */
const HASHES = { sha256: COSE_SHA_256, sha384: -43, sha512: -44 } as const
type Hash = keyof typeof HASHES

/** @throws TrustError `tooLarge` */
export async function payloadFor(
  artifact: BlobSource,
  { content, contentType }: Readonly<Record<string, string>>,
  signers: readonly MessageSigner[],
): Promise<Payload> {
  const type = contentType !== undefined && /^\d{1,5}$/.test(contentType) ? Number(contentType) : contentType
  if (content === 'hash') {
    const hash = signers.every((signer) => usualDigest(signer.signatureAlgorithm) === 'sha256') ? 'sha256' : 'sha512'
    const payload = await digestIn(artifact, hash)
    const named: [Label, CBOR][] = type === undefined ? [] : [[headers.preimageContentType, type]]
    return { source: bytesSource(payload), payload, isBeside: true, headers: [[headers.payloadHashAlg, HASHES[hash]], ...named] }
  }
  const named: [Label, CBOR][] = type === undefined ? [] : [[headers.contentType, type]]
  if (content !== 'attached') return { source: artifact, isBeside: true, headers: named }
  const payload = await readAttached(artifact)
  return { source: bytesSource(payload), payload, isBeside: false, headers: named }
}

const digestIn = async (content: BlobSource, hash: Hash): Promise<Uint8Array> =>
  (await digestContent(chunksOf(content), [hash])).get(hash) as Uint8Array

export const messageOver = (body: Headers, signer: Headers | undefined, payload: BlobSource): BlobSource =>
  joined(encodeSigStructureHead({ body, ...(signer !== undefined && { signer }) }, payload.size), payload)

export async function detectCOSE(artifact: BlobSource, type: 'sign1' | 'sign'): Promise<boolean> {
  return peekCOSE(await artifact.read(0, Math.min(artifact.size, PEEK_OCTETS))) === type
}

/** @throws TrustError `malformed`, `tooLarge` */
export async function extractCOSE(signed: BlobSource, type: 'sign1' | 'sign', beside: Beside = {}): Promise<Extracted> {
  const octets = await readWhole(signed, 'the COSE message', MESSAGE_MAX_OCTETS)
  const message = parseCOSE(octets, MESSAGE_MAX_OCTETS)
  if (message.type !== type) {
    const detail = message.type === 'sign' ? 'it is a COSE_Sign, not a COSE_Sign1' : 'it is a COSE_Sign1, not a COSE_Sign'
    throw malformed(detail)
  }
  const { payload } = message
  const hash = hashIn(message.headers)
  if (hash !== undefined) return overDigest(message, hash, beside)
  if (payload !== undefined && beside.content !== undefined) throw new TrustError('malformed', 'messageContentTwice')
  const content = payload === undefined ? beside.content : bytesSource(payload)
  if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
  const covered = payload === undefined ? [whole(content)] : rangesIn(octets, payload)
  return { signatures: foundSignatures(readSignatures(message, content), beside, covered), uncovered: [] }
}

const rangesIn = (octets: Uint8Array, payload: Uint8Array): readonly Range[] =>
  payload.length === 0 ? [] : [{ offset: payload.byteOffset - octets.byteOffset, length: payload.length }]

/** What the payload is a digest by, where it is one. */
function hashIn({ protected: map, unprotected }: Headers): Hash | undefined {
  if (unprotected.has(headers.payloadHashAlg)) throw malformed('the parameter payload_hash_alg is not protected') // RFC 9995, 3
  if (!map.has(headers.payloadHashAlg)) return undefined
  if (map.has(headers.contentType)) throw malformed('a digest has a content type')
  const found = Object.entries(HASHES).find(([, id]) => id === map.get(headers.payloadHashAlg))
  if (found === undefined) throw new TrustError('unsupported', 'coseHash')
  return found[0] as Hash
}

/** What is signed is the digest of the file beside (RFC 9995). */
async function overDigest(message: COSESign1 | COSESign, hash: Hash, beside: Beside): Promise<Extracted> {
  const { content } = beside
  if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
  const digest = await digestIn(content, hash)
  const payload = message.payload ?? digest
  const signatures = foundSignatures(readSignatures(message, bytesSource(payload)), beside, [whole(content)])
  return {
    uncovered: [],
    signatures: signatures.map((signature) => ({
      ...signature,
      async checkCovered() {
        await signature.checkCovered()
        if (!equal(digest, payload)) throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its digest' } })
      },
    })),
  }
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notCOSE', { facts: { detail } })

function readSignatures(message: COSESign1 | COSESign, content: BlobSource): readonly ReadSignature[] {
  const { headers: body } = message
  if (message.type === 'sign1') return [readSignature('the message', body, undefined, message.signature, content)]
  checkCritical(body, UNDERSTOOD)
  return message.signatures.map(({ headers: own, signature }, at) =>
    readSignature(`signature ${at + 1}`, body, own, signature, content),
  )
}

/** Labels that are looked at here; a content type is what its reader makes of it. */
const UNDERSTOOD: readonly Label[] = [
  headers.alg,
  headers.contentType,
  headers.kid,
  headers.typ,
  headers.x5chain,
  headers.x5t,
  headers.payloadHashAlg,
  headers.preimageContentType,
  headers.payloadLocation,
  OTHERS,
]

function readSignature(
  where: string,
  body: Headers,
  signer: Headers | undefined,
  signature: Uint8Array,
  content: BlobSource,
): ReadSignature {
  const own = signer ?? body
  return {
    where,
    algorithm: algorithmOf(own),
    signature,
    chain: chainOf(own),
    thumbprint: thumbprintOf(own),
    others: othersIn(own),
    message: messageOver(body, signer, content),
    checkCritical: () => checkCritical(own, UNDERSTOOD),
  }
}

function othersIn({ protected: map }: Headers): readonly Other[] {
  const list = map.get(OTHERS)
  if (list === undefined) return []
  return arrayOf(list, OTHERS).map((item) => {
    const [algorithm, thumbprint] = arrayOf(item, OTHERS, 2)
    return { algorithm: integerOf(algorithm, 'an algorithm'), thumbprint: octetsOf(thumbprint, 'a thumbprint') }
  })
}
