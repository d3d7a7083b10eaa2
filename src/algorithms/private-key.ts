/** Private keys in this process, by the table's names: made, and signed with. @module */
import { generateKeyPair, type KeyObject, sign as signNow } from 'node:crypto'
import { promisify } from 'node:util'
import { staysInTurn } from '#base/turn.ts'
import { paddedKey } from './public-key.ts'
import { type KeyAlgorithm, keyAlgorithm, type KeyAlgorithmId, type SignatureAlgorithm } from './table.ts'

export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

const generatePair = promisify(generateKeyPair)

/** On the thread pool: an RSA or SLH-DSA key takes up to seconds to make. */
export function generateKey(id: KeyAlgorithmId): Promise<KeyPair> {
  const { parameters }: KeyAlgorithm = keyAlgorithm(id)
  if ('curve' in parameters) return generatePair('ec', { namedCurve: parameters.curve })
  if ('modulusBits' in parameters) return generatePair('rsa', { modulusLength: parameters.modulusBits })
  return generatePair(parameters.type as 'ed25519') // the types have one overload for each key type
}

const signLater = promisify(signNow)

/**
 * Fast algorithms answer at once, slow ones and the many of a busy turn from the thread pool: await the result.
 *
 * @param slow what the key's row says
 */
export function signMessage(
  message: Uint8Array,
  signature: SignatureAlgorithm,
  key: KeyObject,
  slow: boolean,
): Uint8Array | Promise<Uint8Array> {
  const { digest } = signature
  const input = paddedKey(signature, key)
  return slow || !staysInTurn() ? signLater(digest, message, input).then(octetsOf) : octetsOf(signNow(digest, message, input))
}

const octetsOf = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length)
