/**
 * "Is it genuine?": what a device signs with the key that it was born with, for somebody who holds it and does not know it.
 *
 * A few lines of text and a plain signature over them, so that a small device and `openssl dgst -sign` can do it too. The first
 * line says what the signature is for: it passes for nothing else.
 *
 * @module
 */
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseJSONObject } from '#jose/json.ts'

/** What the device answers. */
export interface Question {
  /** The maker, as its label has it. */
  readonly manufacturer: string
  readonly productSerial: string
  /** The server's: 32 octets, base64url. */
  readonly nonce: string
}

export interface Proof {
  /** DER SubjectPublicKeyInfo of the birth key. */
  readonly key: Uint8Array
  /** Over {@link signedText}, as certificates are signed with such a key. */
  readonly signature: Uint8Array
}

const NONCE = /^[A-Za-z0-9_-]{43}$/
const MANUFACTURER = /^[a-z0-9][a-z0-9-]{0,62}$/
/** X.520, 6.2.9, has 64 characters; none that begins another line. */
const PRODUCT_SERIAL = /^[^\p{Cc}\p{Cf}\u2028\u2029]{1,64}$/u
/** An ML-DSA-87 key and signature as base64 are 10 KiB. */
const FILE_MAX_OCTETS = 32 << 10

/** Exactly these octets, each line ended by LF. */
export const signedText = ({ manufacturer, productSerial, nonce }: Question): Uint8Array =>
  utf8(`sealworks: is this device genuine? 1\n${manufacturer}\n${productSerial}\n${nonce}\n`)

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notGenuineQuestion', { facts: { detail } })

/** @throws TrustError `malformed`, `tooLarge` */
export function parseQuestion(octets: Uint8Array): Question {
  const { manufacturer, productSerial, nonce } = parseJSONObject(octets, FILE_MAX_OCTETS)
  if (typeof nonce !== 'string' || !NONCE.test(nonce)) throw malformed('its nonce is none')
  if (typeof manufacturer !== 'string' || !MANUFACTURER.test(manufacturer)) throw malformed('it names no maker')
  if (typeof productSerial !== 'string' || !PRODUCT_SERIAL.test(productSerial)) throw malformed('it names no serial')
  return { manufacturer, productSerial, nonce }
}

export const encodeProof = ({ key, signature }: Proof): string =>
  `${JSON.stringify({ key: key.toBase64(), signature: signature.toBase64() })}\n`

/** @throws TrustError `malformed`, `tooLarge` */
export function parseProof(octets: Uint8Array): Proof {
  const { key, signature } = parseJSONObject(octets, FILE_MAX_OCTETS)
  if (typeof key !== 'string' || typeof signature !== 'string') throw malformed('its proof has no key or no signature')
  try {
    const strict = { lastChunkHandling: 'strict' } as const
    return { key: Uint8Array.fromBase64(key, strict), signature: Uint8Array.fromBase64(signature, strict) }
  } catch (cause) {
    throw new TrustError('malformed', 'notGenuineQuestion', { facts: { detail: 'its proof is not base64' }, cause })
  }
}

/** Whether the key in it signed it. Whose key that is, is for the caller to say. @throws TrustError `malformed`, `unsupported`, `policyRefused` */
export async function isSigned(question: Question, { key, signature }: Proof): Promise<boolean> {
  const publicKey = importPublicKey(key)
  const algorithm = certificateSignatureOf(publicKey.algorithm)
  return verifySignature({ algorithm, octets: signature }, publicKey, signedText(question))
}
