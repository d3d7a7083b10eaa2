/**
 * Messages signed by a key at hand: a device's, or a person's own. What a signing server signs is in the room of signing.
 *
 * Source: RFC 9052, 4.2 and 4.4; RFC 9360, 2 (x5chain, x5t); RFC 9596 (typ).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { toMessageSignature } from '#algorithms/ecdsa.ts'
import { messageNames } from '#algorithms/message-names.ts'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat } from '#base/bytes.ts'
import type { CBOR, Label } from './cbor.ts'
import {
  COSE_SHA_256,
  type COSESignature,
  encodeCOSE,
  encodeSigStructureHead,
  type Headers,
  headers,
  makeHeaders,
} from './cose.ts'

export interface COSESigner {
  readonly keyAlgorithm: KeyAlgorithmId
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** DER, the signer's own first. */
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]]
  sign(message: Uint8Array): Promise<Uint8Array>
}

export interface ToSign {
  readonly payload: Uint8Array
  readonly externalAAD?: Uint8Array
}

type Entries = readonly (readonly [Label, CBOR])[]

/** What says who signs. @param more of the signer's own that is signed along */
export const signerHeaders = (
  { keyAlgorithm, signatureAlgorithm, certificates }: Omit<COSESigner, 'sign'>,
  more: Entries = [],
): Headers => makeHeaders([...signerEntries({ keyAlgorithm, signatureAlgorithm, certificates }), ...more])

function signerEntries({ keyAlgorithm, signatureAlgorithm, certificates }: Omit<COSESigner, 'sign'>): Entries {
  const thumbprint = new Uint8Array(createHash('sha256').update(certificates[0]).digest())
  return [
    [headers.alg, messageNames(signatureAlgorithm, keyAlgorithm).cose.usual],
    [headers.x5t, [COSE_SHA_256, thumbprint]],
    [headers.x5chain, certificates.length === 1 ? certificates[0] : certificates],
  ]
}

/** @returns COSE_Sign1 */
export async function signCOSE1(
  signer: COSESigner,
  { typ, more = [], payload, externalAAD }: ToSign & { readonly typ: string; readonly more?: Entries },
): Promise<Uint8Array> {
  const body = signerHeaders(signer, [[headers.typ, typ], ...more])
  const signature = await signatureOf(signer, octetsToSign({ body, payload, ...(externalAAD !== undefined && { externalAAD }) }))
  return encodeCOSE({ type: 'sign1', headers: body, payload, signature })
}

/** One of several signatures of a COSE_Sign. @param body headers of the message */
export async function coSign(
  signer: COSESigner,
  { body, more = [], payload, externalAAD }: ToSign & { readonly body: Headers; readonly more?: Entries },
): Promise<COSESignature> {
  const own = signerHeaders(signer, more)
  const signed = octetsToSign({ body, signer: own, payload, ...(externalAAD !== undefined && { externalAAD }) })
  return { headers: own, signature: await signatureOf(signer, signed) }
}

/** Sig_structure, whole. */
export const octetsToSign = ({ payload, ...by }: ToSign & { readonly body: Headers; readonly signer?: Headers }): Uint8Array =>
  concat([encodeSigStructureHead(by, payload.length), payload])

const signatureOf = async ({ sign, keyAlgorithm }: COSESigner, signed: Uint8Array): Promise<Uint8Array> =>
  toMessageSignature(await sign(signed), keyAlgorithm)
