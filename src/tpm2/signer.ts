/**
 * A key in a TPM as something that signs: the shape of `keys/key-store.ts`, so that a certificate's request, a store of
 * keys and the agent take it like any other.
 *
 * @module
 */
import { signaturesOf, type KeyAlgorithmId, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { commands } from './commands.ts'
import { type Hash, hashes, hashOf } from './hash.ts'
import { loadKey, type LoadedKey, openKey, withPrimary, type WrappedKey } from './keys.ts'
import { publicKeyOf, signatureValueOf } from './public-key.ts'
import type { Authorized } from './session.ts'
import { NO_HASHCHECK, type TPMT_PUBLIC, type TPMT_SIG_SCHEME } from './structures.ts'
import { storageRootKey } from './templates.ts'
import { hierarchies, isRefusal, type TPM } from './tpm.ts'

export interface TPMSigner {
  readonly label: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  /** @returns the signature as X.509 carries it */
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
  signDigest(digest: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
  /** Gives the key's place in the TPM back; a kept key stays. */
  close(): Promise<void>
}

export interface SignerOptions {
  readonly label: string
  /** In the TPM's own memory, or beside it: wrapped by the owner's storage root key. */
  readonly key: { readonly persistentHandle: number } | { readonly wrapped: WrappedKey }
  readonly authValue?: Secret
}

/** What the table's signatures are to a TPM; its RSASSA-PSS takes salts of its own length, which X.509 cannot name. */
const schemes: Readonly<Partial<Record<SignatureAlgorithmId, { readonly scheme: 'ECDSA' | 'RSASSA'; readonly hashAlg: Hash }>>> =
  {
    'ecdsa-sha256': { scheme: 'ECDSA', hashAlg: 'SHA256' },
    'ecdsa-sha384': { scheme: 'ECDSA', hashAlg: 'SHA384' },
    'ecdsa-sha512': { scheme: 'ECDSA', hashAlg: 'SHA512' },
    'rsa-sha256': { scheme: 'RSASSA', hashAlg: 'SHA256' },
    'rsa-sha384': { scheme: 'RSASSA', hashAlg: 'SHA384' },
    'rsa-sha512': { scheme: 'RSASSA', hashAlg: 'SHA512' },
  }

/**
 * Opens the key now, and again when the TPM forgot it, as it does when power was lost.
 *
 * @throws TrustError `notFound` for a handle that nothing lies under, `badProof` for a key of another TPM, as `TPM.run`
 */
export async function openSigner(tpm: TPM, { label, key, authValue }: SignerOptions): Promise<TPMSigner> {
  const load = (): Promise<LoadedKey> =>
    'wrapped' in key ? loadWrapped(tpm, key.wrapped, authValue) : openKey(tpm, key.persistentHandle, authValue)
  let loaded = await load()
  const { publicArea, name } = loaded
  const { algorithm: keyAlgorithm, spki } = publicKeyOf(publicArea)

  const signOnce = async (digest: Uint8Array, inScheme: TPMT_SIG_SCHEME): Promise<Uint8Array> => {
    const sign = async (keyHandle: Authorized): Promise<Uint8Array> => {
      const { signature } = await tpm.run(commands.Sign, { keyHandle, digest, inScheme, validation: NO_HASHCHECK })
      return signatureValueOf(signature)
    }
    // with an authorization, prove it instead of telling it to the bus
    return authValue === undefined ? sign(loaded) : tpm.withSession({}, (session) => sign({ ...loaded, session }))
  }

  const signDigest: TPMSigner['signDigest'] = async (digest, algorithm) => {
    const inScheme = schemeFor(publicArea, keyAlgorithm, algorithm)
    const expected = hashes[inScheme.details.hashAlg].octets
    if (digest.length !== expected)
      throw new TrustError('malformed', 'digestLength', { facts: { octets: digest.length, signature: algorithm, expected } })
    try {
      return await signOnce(digest, inScheme)
    } catch (error) {
      if (!isForgotten(error)) throw error
      const again = await load()
      if (again.name.toHex() !== name.toHex()) throw error // another key was put there meanwhile
      loaded = again
      return signOnce(digest, inScheme)
    }
  }

  return {
    label,
    keyAlgorithm,
    publicKey: spki,
    signDigest,
    async sign(message, algorithm) {
      const { details } = schemeFor(publicArea, keyAlgorithm, algorithm)
      return signDigest(hashOf(details.hashAlg, message), algorithm)
    },
    async close() {
      if ('wrapped' in key) await tpm.flush(loaded)
    },
  }
}

const loadWrapped = (tpm: TPM, wrapped: WrappedKey, authValue: Secret | undefined): Promise<LoadedKey> =>
  withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, (parent) => loadKey(tpm, parent, wrapped, authValue))

const isForgotten = (error: unknown): boolean =>
  ['TPM_RC_HANDLE', 'TPM_RC_REFERENCE_H0', 'TPM_RC_INITIALIZE'].some((code) => isRefusal(error, code))

type SigningScheme = Extract<TPMT_SIG_SCHEME, { readonly scheme: 'ECDSA' | 'RSASSA' }>

/** @throws TrustError `unsupported` for a signature that this key does not make */
function schemeFor(publicArea: TPMT_PUBLIC, keyAlgorithm: KeyAlgorithmId, algorithm: SignatureAlgorithmId): SigningScheme {
  const wanted = schemes[algorithm]
  const isOfFamily = signaturesOf(keyAlgorithm).some(({ id }) => id === algorithm)
  if (wanted !== undefined && isOfFamily && (publicArea.type === 'ECC' || publicArea.type === 'RSA')) {
    const fixed = publicArea.parameters.scheme
    const { scheme, hashAlg } = wanted
    const isFree = fixed.scheme === 'NULL'
    if (isFree || (fixed.scheme === scheme && fixed.details.hashAlg === hashAlg)) return { scheme, details: { hashAlg } }
  }
  throw new TrustError('unsupported', 'signerFamily', { facts: { keyAlgorithm, signature: algorithm } })
}
