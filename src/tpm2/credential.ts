/**
 * A challenge that only the TPM with a certain endorsement key can read, and only for an object that it holds: the
 * proof that an attestation key lives beside an endorsement key.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 24 (Credential Protection), B.10.4 and C.6.4; Part 3, 12.6 (TPM2_MakeCredential).
 *
 * @module
 */
import { constants, diffieHellman, publicEncrypt } from 'node:crypto'
import { promisify } from 'node:util'
import { generateKey } from '#algorithms/private-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { encryptCFB, hashes, hmacOf, kdfa, kdfe } from './hash.ts'
import { coordinate, curves, publicKeyOf } from './public-key.ts'
import { TPM2B_DIGEST, TPMS_ECC_POINT, type TPMS_ID_OBJECT, type TPMT_PUBLIC } from './structures.ts'
import { marshal } from './wire.ts'

const EMPTY = new Uint8Array(0)
const agree = promisify(diffieHellman)

/** What TPM2_ActivateCredential takes. */
export interface Credential {
  readonly credentialBlob: TPMS_ID_OBJECT
  /** Content of a TPM2B_ENCRYPTED_SECRET. */
  readonly secret: Uint8Array
}

export interface CredentialRequest {
  /** Public area of the endorsement key; its key is the certificate's (`checkEndorsementKey`). */
  readonly endorsementKey: TPMT_PUBLIC
  /** Made here from the public area of the object, see `objectName`. */
  readonly objectName: Uint8Array
  /** The secret to be told; at most as long as a digest of the endorsement key's hash. */
  readonly credential: Uint8Array
}

/**
 * Elliptic curves go to the thread pool: on P-384 the two multiplications take longer than all else of a birth.
 *
 * @throws TrustError `policyRefused` for a key that is not a storage key, `unsupported` for another
 * than RSA or ECC with AES
 */
export async function makeCredential(
  { endorsementKey, objectName, credential }: CredentialRequest,
  random: Random,
): Promise<Credential> {
  const { nameAlg, objectAttributes } = endorsementKey
  // TPM2_MakeCredential asks for both; a key without them would decrypt for whoever asks
  if (!objectAttributes.includes('restricted') || !objectAttributes.includes('decrypt'))
    throw new TrustError('policyRefused', 'endorsementCertificate', { facts: { detail: 'the key is not a storage key' } })
  const { octets } = hashes[nameAlg]
  if (credential.length > octets) throw new TypeError(`a credential for this key has at most ${octets} octets`)
  const symmetricKeyBits = keyBitsOf(endorsementKey)
  const { seed, secret } = await newSeed(endorsementKey, random)
  const key = kdfa(nameAlg, seed, { label: 'STORAGE', contextU: objectName, contextV: EMPTY, bits: symmetricKeyBits })
  const encIdentity = encryptCFB({ key, iv: new Uint8Array(16) }, marshal(TPM2B_DIGEST, credential))
  const hmacKey = kdfa(nameAlg, seed, { label: 'INTEGRITY', contextU: EMPTY, contextV: EMPTY, bits: 8 * octets })
  return { credentialBlob: { integrityHMAC: hmacOf(nameAlg, hmacKey, encIdentity, objectName), encIdentity }, secret }
}

/** Also for salted sessions: which label is used makes the difference. */
export async function newSeed(
  publicArea: TPMT_PUBLIC,
  random: Random,
  label: 'IDENTITY' | 'SECRET' = 'IDENTITY',
): Promise<{ readonly seed: Uint8Array; readonly secret: Uint8Array }> {
  const { key } = publicKeyOf(publicArea)
  const { nameAlg } = publicArea
  const { digest, octets } = hashes[nameAlg]
  if (publicArea.type === 'ECC') {
    const { curveID } = publicArea.parameters
    const { algorithm, octets: half } = curves[curveID]
    const ephemeral = await generateKey(algorithm)
    const z = new Uint8Array(await agree({ privateKey: ephemeral.privateKey, publicKey: key }))
    const mine = new Uint8Array(ephemeral.publicKey.export({ format: 'der', type: 'spki' })).subarray(-2 * half)
    const point = { x: mine.subarray(0, half), y: mine.subarray(half) }
    const theirs = coordinate(curveID, publicArea.unique.x)
    const seed = kdfe(nameAlg, z, { label, contextU: point.x, contextV: theirs, bits: 8 * octets })
    return { seed, secret: marshal(TPMS_ECC_POINT, point) }
  }
  const seed = new Uint8Array(random.octets(octets))
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const secret = publicEncrypt({ key, padding, oaepHash: digest, oaepLabel: utf8(`${label}\0`) }, seed)
  return { seed, secret: concat([secret]) }
}

/** @throws TrustError `unsupported` */
function keyBitsOf(publicArea: TPMT_PUBLIC): 128 | 256 {
  if (publicArea.type === 'RSA' || publicArea.type === 'ECC') {
    const { symmetric } = publicArea.parameters
    if (symmetric.algorithm === 'AES' && symmetric.mode === 'CFB' && (symmetric.keyBits === 128 || symmetric.keyBits === 256))
      return symmetric.keyBits
  }
  throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: 'an endorsement key without AES in CFB mode' } })
}
