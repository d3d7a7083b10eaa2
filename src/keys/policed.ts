/** A key store under the algorithm policy: what is refused today is neither made nor signed with. @module */
import type { AlgorithmPolicy } from '#algorithms/policy.ts'
import type { Clock } from '#base/world.ts'
import type { KeyStore, Signer } from './key-store.ts'

export function policedKeyStore(store: KeyStore, policy: AlgorithmPolicy, clock: Clock): KeyStore {
  const police = (signer: Signer): Signer => ({
    ...signer,
    sign(message, algorithm) {
      try {
        policy.check(signer.keyAlgorithm, clock.now())
        policy.check(algorithm, clock.now())
      } catch (refusal) {
        return Promise.reject(refusal)
      }
      return signer.sign(message, algorithm)
    },
  })
  return {
    ...store,
    async generate(label, algorithm) {
      policy.check(algorithm, clock.now())
      return police(await store.generate(label, algorithm))
    },
    open: async (label) => police(await store.open(label)),
    ...(store.import !== undefined && {
      import: async (label, pkcs8) => police(await (store.import as NonNullable<KeyStore['import']>)(label, pkcs8)),
    }),
  }
}
