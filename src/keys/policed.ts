/** A key store under the algorithm policy: what is refused today is neither made nor signed with. @module */
import type { AlgorithmPolicy } from '#algorithms/policy.ts'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import type { Secret } from '#base/secret.ts'
import type { Clock } from '#base/world.ts'
import type { KeyStore, Signer } from './key-store.ts'

/** An imported key of a refused algorithm is kept and signs nothing: what it was for may still have to be looked at. */
export function policedKeyStore<Store extends KeyStore>(store: Store, policy: AlgorithmPolicy, clock: Clock): Store {
  const police = (signer: Signer): Signer => {
    const checkNow = (algorithm: SignatureAlgorithmId): void => {
      policy.check(signer.keyAlgorithm, clock.now())
      policy.check(algorithm, clock.now())
    }
    const { signDigest } = signer
    return {
      ...signer,
      async sign(message, algorithm) {
        checkNow(algorithm)
        return signer.sign(message, algorithm)
      },
      ...(signDigest !== undefined && {
        async signDigest(digest: Uint8Array, algorithm: SignatureAlgorithmId) {
          checkNow(algorithm)
          return signDigest(digest, algorithm)
        },
      }),
    }
  }
  return {
    ...store,
    async generate(label: string, algorithm: KeyAlgorithmId) {
      policy.check(algorithm, clock.now())
      return police(await store.generate(label, algorithm))
    },
    open: async (label: string) => police(await store.open(label)),
    ...(store.import !== undefined && {
      import: async (label: string, pkcs8: Secret) =>
        police(await (store.import as NonNullable<KeyStore['import']>)(label, pkcs8)),
    }),
  }
}
