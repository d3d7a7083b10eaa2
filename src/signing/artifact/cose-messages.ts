/**
 * What the two COSE formats share: the options, the headers of a signer, and reading.
 *
 * Source: RFC 9052, 4; RFC 9360, 2.
 *
 * @module
 */
import type { NameStyle } from '#algorithms/message-names.ts'
import { NAME_STYLES } from '#algorithms/message-names.ts'
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
import type { Beside, BlobSource, Extracted, FormatOption } from '../format.ts'
import { bytesSource, MESSAGE_MAX_OCTETS, readWhole, whole } from './blob.ts'
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
    help: 'whether the message stands beside the file, or around it (up to 8 MiB)',
    values: ['detached', 'attached'],
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

/** What the file is, where it was said. */
export const contentHeaders = ({ contentType }: Readonly<Record<string, string>>): readonly (readonly [Label, CBOR])[] =>
  contentType === undefined ? [] : [[headers.contentType, /^\d{1,5}$/.test(contentType) ? Number(contentType) : contentType]]

/** @returns what is signed, and the same as octets where it stands in the message */
export async function payloadFor(
  artifact: BlobSource,
  { content }: Readonly<Record<string, string>>,
): Promise<{ readonly source: BlobSource; readonly payload?: Uint8Array }> {
  if (content !== 'attached') return { source: artifact }
  const payload = await readAttached(artifact)
  return { source: bytesSource(payload), payload }
}

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
    throw new TrustError('malformed', 'notCOSE', { facts: { detail } })
  }
  const { payload } = message
  if (payload !== undefined && beside.content !== undefined) throw new TrustError('malformed', 'messageContentTwice')
  const content = payload === undefined ? beside.content : bytesSource(payload)
  if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
  const covered =
    payload === undefined
      ? [whole(content)]
      : payload.length === 0
        ? []
        : [{ offset: payload.byteOffset - octets.byteOffset, length: payload.length }]
  return { signatures: foundSignatures(readSignatures(message, content), beside, covered), uncovered: [] }
}

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
