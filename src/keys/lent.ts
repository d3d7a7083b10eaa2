/**
 * Key stores for several threads: what is there once in a process, such as a token's sessions and its PIN, stays in the
 * thread that opened it, and others ask it to sign.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { type KeyAlgorithmId, signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { secret } from '#base/secret.ts'
import { alone, receivedError, sendError, type SentError } from '#base/sent.ts'
import type { GuardedKeyStore, KeyRing } from './key-ring.ts'
import type { Signer } from './key-store.ts'

/** What another thread needs to use the stores of a ring but for the default one, which lies in the database. */
export interface SharedKeyStores {
  readonly stores: readonly { readonly id: string; readonly algorithms: readonly KeyAlgorithmId[]; readonly imports: boolean }[]
  readonly port: MessagePort
}

type Act =
  | { readonly act: 'generate'; readonly label: string; readonly algorithm: KeyAlgorithmId }
  | { readonly act: 'open' | 'destroy'; readonly label: string }
  | { readonly act: 'take'; readonly label: string; readonly pkcs8: Uint8Array }
  | { readonly act: 'sign'; readonly label: string; readonly message: Uint8Array; readonly algorithm: SignatureAlgorithmId }
  | { readonly act: 'signDigest'; readonly label: string; readonly digest: Uint8Array; readonly algorithm: SignatureAlgorithmId }
  | { readonly act: 'unlock'; readonly pin: Uint8Array }
  | { readonly act: 'list' | 'state' }

type Ask = Act & { readonly id: number; readonly store: string }
type Answer = { readonly id: number; readonly result: unknown } | { readonly id: number; readonly error: SentError }
type SentSigner = Pick<Signer, 'label' | 'keyAlgorithm' | 'publicKey'> & { readonly takesDigests: boolean }

const sendSigner = ({ label, keyAlgorithm, publicKey, signDigest }: Signer): SentSigner => ({
  label,
  keyAlgorithm,
  publicKey: alone(publicKey),
  takesDigests: signDigest !== undefined,
})

/** Ends when the other thread does. */
export function shareKeyStores(ring: Pick<KeyRing, 'stores' | 'guarded'>): SharedKeyStores {
  const { port1, port2 } = new MessageChannel()
  const guarded = ring.stores.flatMap(({ id }) => ring.guarded(id) ?? [])
  const lent = new Map(guarded.map((store) => [store.id, lend(store)]))
  port1.on('message', (ask: Ask) => {
    const answer = (message: Answer): void => port1.postMessage(message)
    const run = lent.get(ask.store)
    if (run === undefined) return
    run(ask).then(
      (result) => answer({ id: ask.id, result }),
      (error: unknown) => answer({ id: ask.id, error: sendError(error) }),
    )
  })
  port1.unref() // who asks has something else that keeps the process going
  const stores = guarded.map((store) => ({
    id: store.id,
    algorithms: [...store.algorithms],
    imports: store.import !== undefined,
  }))
  return { stores, port: port2 }
}

function lend(store: GuardedKeyStore): (ask: Act) => Promise<unknown> {
  const signers = new Map<string, Signer>()
  const keep = (signer: Signer): SentSigner => {
    signers.set(signer.label, signer)
    return sendSigner(signer)
  }
  return async (ask) => {
    switch (ask.act) {
      case 'generate':
        return keep(await store.generate(ask.label, ask.algorithm))
      case 'open':
        return keep(await store.open(ask.label))
      case 'take':
        if (store.import === undefined) throw new TypeError(`${store.id} imports no keys`)
        return keep(await store.import(ask.label, secret(ask.pkcs8)))
      case 'sign':
        return alone(await (signers.get(ask.label) ?? (await store.open(ask.label))).sign(ask.message, ask.algorithm))
      case 'signDigest': {
        const { signDigest } = signers.get(ask.label) ?? (await store.open(ask.label))
        if (signDigest === undefined) throw new TypeError(`${store.id} signs no digests`)
        return alone(await signDigest(ask.digest, ask.algorithm))
      }
      case 'destroy':
        signers.delete(ask.label)
        return store.destroy(ask.label)
      case 'unlock':
        return store.unlock(secret(ask.pin))
      case 'list':
        return store.list()
      case 'state':
        return store.state()
    }
  }
}

/** The other thread's side. */
export function borrowKeyStores({ stores, port }: SharedKeyStores): readonly GuardedKeyStore[] {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>()
  let asked = 0
  port.on('message', (answer: Answer) => {
    const found = waiting.get(answer.id)
    waiting.delete(answer.id)
    if ('error' in answer) found?.reject(receivedError(answer.error))
    else found?.resolve(answer.result)
  })
  port.unref()
  const ask = <T>(store: string, act: Act): Promise<T> => {
    const id = ++asked
    const answered = Promise.withResolvers<unknown>()
    waiting.set(id, answered)
    port.postMessage({ ...act, id, store } satisfies Ask)
    return answered.promise as Promise<T>
  }

  return stores.map(({ id, algorithms, imports }): GuardedKeyStore => {
    const signer = ({ takesDigests, ...sent }: SentSigner): Signer => {
      const { label } = sent
      const signDigest = (octets: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array> =>
        ask(id, { act: 'signDigest', label, digest: alone(octets), algorithm })
      return {
        ...sent,
        sign(message, algorithm) {
          const { digest } = signatureAlgorithm(algorithm)
          // hashed here, where there is a core for it; a refusal of another family's algorithm is the store's all the same
          if (takesDigests && digest !== null) return signDigest(hash(digest, message, 'buffer'), algorithm)
          return ask(id, { act: 'sign', label, message: alone(message), algorithm })
        },
        ...(takesDigests && { signDigest }),
      }
    }
    return {
      id,
      algorithms,
      generate: async (label, algorithm) => signer(await ask<SentSigner>(id, { act: 'generate', label, algorithm })),
      open: async (label) => signer(await ask<SentSigner>(id, { act: 'open', label })),
      list: () => ask(id, { act: 'list' }),
      destroy: (label) => ask(id, { act: 'destroy', label }),
      ...(imports && {
        import: async (label, pkcs8) =>
          signer(await ask<SentSigner>(id, { act: 'take', label, pkcs8: alone(pkcs8.reveal('key for another thread')) })),
      }),
      state: () => ask(id, { act: 'state' }),
      unlock: (pin) => ask(id, { act: 'unlock', pin: alone(pin.reveal('PIN for another thread')) }),
      async close() {
        port.close()
      },
    }
  })
}
