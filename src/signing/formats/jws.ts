/**
 * JSON Web Signatures, beside what they sign or around it: compact for one key, and the general form for several, each of
 * which says which others there are.
 *
 * Source: RFC 7515; RFC 7797 (a payload that is not encoded); RFC 7518, 3; RFC 8037; RFC 9864; RFC 9964 (ML-DSA).
 *
 * @module
 */
import { namedSignatures, NAME_STYLES, type NameStyle } from '#algorithms/message-names.ts'
import { TrustError } from '#base/errors.ts'
import { fromBase64url, toBase64url } from '#jose/base64url.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import {
  chainOf,
  checkCritical,
  encodeHeader,
  encodeJWS,
  encodeSigningInputHead,
  type JWS,
  JWS_SERIALIZATIONS,
  type JWSSerialization,
  type JWSSignature,
  parseJWS,
  payloadOf,
  thumbprintOf,
} from '#jose/jws.ts'
import { bytesSource, MESSAGE_MAX_OCTETS, readWhole, whole } from '../artifact/blob.ts'
import { base64urlOf, joined } from '../artifact/joined.ts'
import {
  foundSignatures,
  type MessageSigner,
  messageSignatures,
  messageSigners,
  namesOf,
  type Other,
  OTHERS,
  rawRequests,
  readAttached,
  type ReadSignature,
} from '../artifact/message-signers.ts'
import { optionsOf } from '../artifact/options.ts'
import type { BlobSource, Range, SigningFormat } from '../format.ts'

const PEEK_OCTETS = 4096
/** A compact header with a chain of ML-DSA certificates. */
const HEADER_PEEK_OCTETS = 128 << 10

type Options = Readonly<Record<string, string>>

export const jws: SigningFormat = {
  id: 'jws',
  purpose: 'any file, for web services and tokens: JSON Web Signatures with their certificates',
  source: 'RFC 7515, RFC 7797, RFC 7518, RFC 8037, RFC 9864, RFC 9964',
  asks: ['raw'],
  standsBeside: true,
  algorithms: namedSignatures,
  severalKeys: true,
  options: {
    serialization: {
      help: 'the form; compact for one key and general for several when left out',
      values: JWS_SERIALIZATIONS,
    },
    content: {
      help: 'whether the signature stands beside the file, or around it (up to 8 MiB)',
      values: ['detached', 'attached'],
      fallback: 'detached',
    },
    payload: {
      help: 'whether a detached file is signed as base64url, which every program does, or as it is (RFC 7797)',
      values: ['encoded', 'unencoded'],
      fallback: 'encoded',
    },
    type: { help: 'the header parameter typ: what the whole is' },
    contentType: { help: 'the header parameter cty: what the file is' },
    certificates: {
      help: 'whether the signer’s certificates are in the message, or only a thumbprint of its own',
      values: ['chain', 'thumbprint'],
      fallback: 'chain',
    },
    names: {
      help: 'which names say the algorithm: those that most programs know, or those of RFC 9864 that say the curve too',
      values: NAME_STYLES,
      fallback: 'usual',
    },
  },

  async detect(artifact) {
    const head = textIn(await artifact.read(0, Math.min(artifact.size, PEEK_OCTETS)))
    if (/^[\w-]+(?:\.|$)/.test(head))
      return isCompact(textIn(await artifact.read(0, Math.min(artifact.size, HEADER_PEEK_OCTETS))))
    if (!/^\s*\{/.test(head)) return false
    const tail = textIn(await artifact.read(Math.max(0, artifact.size - PEEK_OCTETS), Math.min(artifact.size, PEEK_OCTETS)))
    return [head, tail].some((text) => /"protected"\s*:\s*"eyJ/.test(text)) // what every JSON object begins with in base64url
  },

  async toBeSigned(artifact, choices) {
    const options = optionsOf(jws, choices)
    const signers = messageSigners(jws.id, choices)
    const serialization = serializationOf(options, signers.length)
    const isDetached = options['content'] === 'detached'
    const isEncoded = options['payload'] === 'encoded'
    if (!isDetached && !isEncoded) throw notTogether('payload', 'unencoded')
    const content = isDetached ? artifact : bytesSource(await readAttached(artifact))
    const payload = isEncoded ? base64urlOf(content) : content
    const headerOf = new Map(signers.map((signer) => [signer, encodeHeader(headerFor(signer, signers, options))]))
    const encodedPayload = isDetached ? undefined : toBase64url(await content.read(0, content.size))
    return {
      requests: await rawRequests(signers, (signer) => joined(encodeSigningInputHead(headerOf.get(signer) ?? ''), payload)),
      attach(answers) {
        const signatures = messageSignatures(signers, answers).map(({ signer, signature }) => ({
          encodedHeader: headerOf.get(signer) ?? '',
          signature,
        }))
        const message = encodeJWS({ serialization, signatures, ...(encodedPayload !== undefined && { encodedPayload }) })
        return { pieces: [message], isBeside: isDetached, suffix: serialization === 'compact' ? '.jws' : '.jws.json' }
      },
    }
  },

  async extract(signed, beside = {}) {
    const octets = await readWhole(signed, 'the JSON Web Signature', MESSAGE_MAX_OCTETS)
    const message = parseJWS(octets, MESSAGE_MAX_OCTETS)
    const { encodedPayload } = message
    if (encodedPayload !== undefined && beside.content !== undefined) throw new TrustError('malformed', 'messageContentTwice')
    const content = encodedPayload === undefined ? beside.content : bytesSource(payloadOf(message, encodedPayload))
    if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
    const covered = encodedPayload === undefined ? [whole(content)] : rangesOf(octets, encodedPayload)
    return { signatures: foundSignatures(readSignatures(message, content), beside, covered), uncovered: [] }
  },
}

const textIn = (octets: Uint8Array): string => Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')

function isCompact(start: string): boolean {
  const [, header] = /^([\w-]+)\.[\w-]*(?:\.|$)/.exec(start) ?? []
  if (header === undefined) return false
  try {
    return 'alg' in parseJSONObject(fromBase64url(header, 'the protected header'))
  } catch {
    return false
  }
}

const notTogether = (option: string, value: string): TrustError =>
  new TrustError('malformed', 'formatOption', { facts: { format: jws.id, option, value, offered: 'another with these' } })

function serializationOf({ serialization }: Options, keys: number): JWSSerialization {
  const wanted = JWS_SERIALIZATIONS.find((one) => one === serialization) ?? (keys > 1 ? 'general' : 'compact')
  if (keys > 1 && wanted !== 'general') throw notTogether('serialization', wanted)
  return wanted
}

function headerFor(
  signer: MessageSigner,
  signers: readonly MessageSigner[],
  options: Options,
): Readonly<Record<string, unknown>> {
  const style: NameStyle = options['names'] === 'specified' ? 'specified' : 'usual'
  const isEncoded = options['payload'] === 'encoded'
  const others = signers
    .filter((other) => other !== signer)
    .map((other) => ({ alg: namesOf(other).jose[style], 'x5t#S256': toBase64url(other.thumbprint) }))
  const crit = [...(isEncoded ? [] : ['b64']), ...(others.length === 0 ? [] : [OTHERS])]
  const { type, contentType } = options
  return {
    alg: namesOf(signer).jose[style],
    ...(type !== undefined && { typ: type }),
    ...(contentType !== undefined && { cty: contentType }),
    'x5t#S256': toBase64url(signer.thumbprint),
    ...(options['certificates'] === 'chain' && { x5c: signer.certificates.map((each) => each.toBase64()) }),
    ...(!isEncoded && { b64: false }),
    ...(others.length > 0 && { [OTHERS]: others }),
    ...(crit.length > 0 && { crit }),
  }
}

/** Where the payload stands, if its text stands in the message once. */
function rangesOf(octets: Uint8Array, encodedPayload: string): readonly Range[] {
  const message = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
  const offset = message.indexOf(encodedPayload)
  const isOnce = offset >= 0 && message.indexOf(encodedPayload, offset + 1) < 0
  return isOnce ? [{ offset, length: Buffer.byteLength(encodedPayload) }] : []
}

function readSignatures({ signatures, isEncoded }: JWS, content: BlobSource): readonly ReadSignature[] {
  // what is in the message was checked to be in its one form: encoding it again gives the same
  const payload = isEncoded ? base64urlOf(content) : content
  return signatures.map((signature, at) => ({
    where: signatures.length === 1 ? 'the message' : `signature ${at + 1}`,
    algorithm: signature.algorithm,
    signature: signature.signature,
    chain: chainOf(signature),
    thumbprint: thumbprintOf(signature),
    others: othersIn(signature),
    message: joined(encodeSigningInputHead(signature.encodedHeader), payload),
    checkCritical: () => checkCritical(signature, [OTHERS]),
  }))
}

function othersIn({ protectedHeader: { [OTHERS]: list } }: JWSSignature): readonly Other[] {
  if (list === undefined) return []
  if (!Array.isArray(list)) throw malformedList()
  return (list as readonly JSONValue[]).map((item) => {
    const { alg, 'x5t#S256': thumbprint } = isJSONObject(item) ? item : {}
    if (typeof alg !== 'string' || typeof thumbprint !== 'string') throw malformedList()
    return { algorithm: alg, thumbprint: fromBase64url(thumbprint, OTHERS) }
  })
}

const malformedList = (): TrustError =>
  new TrustError('malformed', 'notJWS', { facts: { detail: `${OTHERS} is no list of algorithms and thumbprints` } })
