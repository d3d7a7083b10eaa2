/**
 * The signatures of a bundle: each holder of a root key adds one to what is there, where and when they like; nobody has to be
 * there at the same time, and no key leaves its holder.
 *
 * Source: RFC 9052, 4.1.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type COSESignature, encodeCOSE, headers, makeHeaders, parseCOSE, thumbprintOf } from '#cbor/cose.ts'
import { type COSESigner, coSign } from '#cbor/cose-signing.ts'
import { certificateThumbprint } from '#signing/artifact/message-signers.ts'
import { BUNDLE_MAX_OCTETS, BUNDLE_TYPE } from './bundle.ts'

const body = makeHeaders([[headers.typ, BUNDLE_TYPE]])

export interface BundleSignatures {
  /** COSE_Sign. */
  readonly encoded: Uint8Array
  readonly count: number
}

/**
 * @param before what others signed; undefined for the first
 * @throws TrustError `conflict` for signatures over something else, and for a key that has signed
 */
export async function addSignature(
  payload: Uint8Array,
  before: Uint8Array | undefined,
  signer: COSESigner,
): Promise<BundleSignatures> {
  const there = before === undefined ? [] : signaturesOver(payload, before)
  const own = certificateThumbprint(signer.certificates[0])
  if (there.some(({ headers: one }) => equal(thumbprintOf(one) ?? new Uint8Array(), own)))
    throw new TrustError('conflict', 'hostBundleSigned')
  const signatures = [...there, await coSign(signer, { body, payload })]
  return { encoded: encodeCOSE({ type: 'sign', headers: body, payload, signatures }), count: signatures.length }
}

/** Nothing is judged here: who may sign is known where the bundle is read. */
function signaturesOver(payload: Uint8Array, before: Uint8Array): readonly COSESignature[] {
  const message = parseCOSE(before, BUNDLE_MAX_OCTETS)
  if (
    message.type !== 'sign' ||
    !equal(message.payload ?? new Uint8Array(), payload) ||
    !equal(message.headers.protectedOctets, body.protectedOctets)
  )
    throw new TrustError('conflict', 'hostBundleOther')
  return message.signatures
}
