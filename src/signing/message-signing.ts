/**
 * Signs messages of the server's own through its signers: what holds for a signature of an artifact holds for each of these.
 * The terms, the count, who has to agree, and the audit entry are the signer's.
 *
 * Nobody but the server may have such a message signed: a signer for it has one of `parts` among the roles of its users, which
 * no person and no service can hold. So a device's next command cannot be signed by whoever may sign files.
 *
 * Source: RFC 9052, 4.4; RFC 9360; RFC 9596 (typ); RFC 7515 (compact form).
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { COSE_SHA_256, encodeCOSE, encodeSigStructureHead, headers, makeHeaders } from '#cbor/cose.ts'
import { toBase64url } from '#jose/base64url.ts'
import { encodeHeader, encodeJWS, encodeSigningInputHead } from '#jose/jws.ts'
import { bytesSource } from './artifact/blob.ts'
import { type MessageSigner, messageSignatures, messageSigners, namesOf, rawRequests } from './artifact/message-signers.ts'
import type { Requester } from './context.ts'
import type { Signing, Waiting } from './service.ts'
import { keysOf } from './signer.ts'

/** Of the server, for which a signer signs messages; in the roles of its users. */
export const parts = ['server:updates', 'server:licenses'] as const
export type Part = (typeof parts)[number]

export interface OwnMessage {
  readonly form: 'cose' | 'jws'
  /** As the signed header says it: a media type, without `application/` where it has no other slash. */
  readonly typ: string
  readonly payload: Uint8Array
  /** COSE only: what both sides know and is signed along. */
  readonly externalAAD?: Uint8Array
  /** Whether the signer's certificates are in it, or only the thumbprint of its own, for devices that hold it as an anchor. */
  readonly certificates?: 'chain' | 'thumbprint'
}

export interface SignedMessage {
  readonly state: 'signed'
  readonly octets: Uint8Array
  /** The audit entry of the signature. */
  readonly entry: string
}

/** Who asks, and which part of the server on their behalf. @param by nobody where the server acts by itself */
export const onBehalf = (part: Part, by?: Requester): Requester =>
  by === undefined ? { actor: part, id: part, kind: 'service', roles: [part] } : { ...by, roles: [part] }

const formatOf = { cose: 'cose-sign1', jws: 'jws' } as const

/**
 * @param name of the signer
 * @param by see {@link onBehalf}
 * @returns the message, or what people have to agree to first
 * @throws TrustError `policyRefused` for a signer without a certificate or with two keys; as {@link Signing.sign}
 */
export async function signMessage(
  signing: Signing,
  name: string,
  message: OwnMessage,
  by: Requester,
): Promise<SignedMessage | Waiting> {
  const format = formatOf[message.form]
  const { record } = await signing.signers.find(name)
  const [key, second] = keysOf(record.key)
  const [own, ...above] = key?.chain ?? []
  if (key === undefined || own === undefined || second !== undefined)
    throw new TrustError('policyRefused', 'messageSignerForm', { facts: { name, format } })
  const { signatureAlgorithm } = key
  const signer = signerFor(`${format} ${record.id} ${record.version}`, () =>
    messageSigners(format, { signatureAlgorithm, certificates: [own, ...above] }),
  )
  const form = formOf(signer, message)
  const requests = await rawRequests([signer], () => bytesSource(form.signed))
  const made = await signing.sign(name, { format, requests, signerVersion: record.version }, by)
  if (made.state === 'waiting') return made
  const [{ signature }] = messageSignatures([signer], made.answers)
  return { state: 'signed', octets: form.encode(signature), entry: made.entry }
}

/** Reading a certificate takes as long as signing does, and thousands of messages are signed by one. */
const REMEMBERED_MAX = 32
const remembered = new Map<string, MessageSigner>()

/** @param state which signer it is, and which change of it */
function signerFor(state: string, make: () => readonly [MessageSigner, ...MessageSigner[]]): MessageSigner {
  const known = remembered.get(state)
  if (known !== undefined) return known
  const [signer] = make()
  if (remembered.size >= REMEMBERED_MAX) remembered.delete(remembered.keys().next().value ?? '')
  remembered.set(state, signer)
  return signer
}

export interface MessageForm {
  /** All that is signed. */
  readonly signed: Uint8Array
  /** @param signature as COSE and JOSE have it */
  encode(signature: Uint8Array): Uint8Array
}

/** What is signed, and what becomes of the signature. */
export const formOf = (signer: MessageSigner, message: OwnMessage): MessageForm =>
  message.form === 'cose' ? coseForm(signer, message) : jwsForm(signer, message)

function coseForm(signer: MessageSigner, { typ, payload, externalAAD, certificates = 'chain' }: OwnMessage): MessageForm {
  const { certificates: chain, thumbprint } = signer
  const body = makeHeaders([
    [headers.alg, namesOf(signer).cose.usual],
    [headers.typ, typ],
    [headers.x5t, [COSE_SHA_256, thumbprint]],
    ...(certificates === 'chain' ? ([[headers.x5chain, chain.length === 1 ? chain[0] : chain]] as const) : []),
  ])
  const head = encodeSigStructureHead({ body, ...(externalAAD !== undefined && { externalAAD }) }, payload.length)
  return {
    signed: concat([head, payload]),
    encode: (signature) => encodeCOSE({ type: 'sign1', headers: body, payload, signature }),
  }
}

function jwsForm(signer: MessageSigner, { typ, payload, certificates = 'chain' }: OwnMessage): MessageForm {
  const encodedHeader = encodeHeader({
    alg: namesOf(signer).jose.usual,
    typ,
    'x5t#S256': toBase64url(signer.thumbprint),
    ...(certificates === 'chain' && { x5c: signer.certificates.map((each) => each.toBase64()) }),
  })
  const encodedPayload = toBase64url(payload)
  return {
    signed: concat([encodeSigningInputHead(encodedHeader), utf8(encodedPayload)]),
    encode: (signature) => encodeJWS({ serialization: 'compact', signatures: [{ encodedHeader, signature }], encodedPayload }),
  }
}
