/**
 * How people and services sign commands and policies with keys of their own: what each gives is a message by itself, and those
 * of several are joined.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { COSE_SIGNATURES_MAX, type COSESign, encodeCOSE, headers, parseCOSE } from '#cbor/cose.ts'
import { type COSESigner, coSign, signCOSE1 } from '#cbor/cose-signing.ts'

import { COMMAND_MAX_OCTETS, COMMAND_TYPE, externalAADFor, nonceEntry, sharedHeaders } from './messages.ts'
import { POLICY_TYPE } from './policy/messages.ts'

/** A key of a person or service, with its certificates. */
export type { COSESigner }

/** `several`: where others have to agree. Who signs has to know, since it is signed differently (RFC 9052, 4.4). */
export const forms = ['single', 'several'] as const
export type Form = (typeof forms)[number]

export interface CommandToSign {
  readonly payload: Uint8Array
  readonly form: Form
  /** Of the device that it goes to. */
  readonly birthKey: Uint8Array
  /** The operator answers it, where the device asked. */
  readonly nonce?: Uint8Array
}

/** @returns COSE_Sign1, or COSE_Sign with this one signature */
export async function signCommand(signer: COSESigner, { payload, form, birthKey, nonce }: CommandToSign): Promise<Uint8Array> {
  const more = nonce === undefined ? [] : [nonceEntry(nonce)]
  const externalAAD = externalAADFor('command', birthKey)
  if (form === 'single') return signCOSE1(signer, { typ: COMMAND_TYPE, more, payload, externalAAD })
  const body = sharedHeaders()
  return encodeCOSE({
    type: 'sign',
    headers: body,
    payload,
    signatures: [await coSign(signer, { body, more, payload, externalAAD })],
  })
}

/** @returns COSE_Sign1 */
export const signPolicy = (signer: COSESigner, payload: Uint8Array): Promise<Uint8Array> =>
  signCOSE1(signer, { typ: POLICY_TYPE, payload })

const other = (detail: string): TrustError => new TrustError('malformed', 'notCommand', { facts: { detail } })

/**
 * One message of what several signed, each for themselves; one that stands alone stays as it is.
 *
 * @throws TrustError `malformed` for messages that are not about the same; `tooLarge`
 */
export function joinCommand(messages: readonly Uint8Array[]): Uint8Array {
  const [first, ...others] = messages
  if (first === undefined) throw other('nobody signed it')
  if (others.length === 0) return first
  const parsed = messages.map((message) => parseCOSE(message, COMMAND_MAX_OCTETS))
  const same = parsed.filter((message): message is COSESign => message.type === 'sign')
  const [one] = same
  if (one === undefined || same.length !== parsed.length) throw other('it is signed as if nobody else had to agree')
  for (const { headers: own, payload } of same) {
    if (payload === undefined || one.payload === undefined || !equal(payload, one.payload))
      throw other('the signatures are over different commands')
    if (!equal(own.protectedOctets, one.headers.protectedOctets) || own.protected.get(headers.typ) !== COMMAND_TYPE)
      throw other('the signatures are over different headers')
  }
  const signatures = same.flatMap((message) => message.signatures)
  if (signatures.length > COSE_SIGNATURES_MAX)
    throw new TrustError('tooLarge', 'messageSignatures', { facts: { limit: COSE_SIGNATURES_MAX } })
  return encodeCOSE({ ...one, signatures })
}
