/**
 * All key stores of an installation as one: a key is named `LABEL` in the default store, `STORE:LABEL` in another.
 *
 * Everything above the keys works with this one contract; where a key is kept is part of its name, which is what
 * records hold.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { KeyEntry, KeyStore, Signer } from './key-store.ts'

export interface KeyStoreState {
  /** Of the best of its tokens. */
  readonly state: 'ready' | 'locked' | 'pinWrong' | 'gone'
  readonly tokens: readonly {
    /** As configured. */
    readonly name: string
    readonly state: string
    /** What went wrong last, in the library's words. */
    readonly problem: string | undefined
    readonly manufacturer?: string | undefined
    readonly model?: string | undefined
    readonly serialNumber?: string | undefined
  }[]
}

/** A key store that can be locked or away. */
export interface GuardedKeyStore extends KeyStore {
  state(): Promise<KeyStoreState>
  /** @throws TrustError `forbidden` when the PIN is wrong, `unavailable` when no token can be reached */
  unlock(pin: Secret): Promise<void>
  close(): Promise<void>
}

export interface KeyRing extends KeyStore {
  /** The default store first. */
  readonly stores: readonly KeyStore[]
  /** @returns undefined for a store that is always there */
  guarded(id: string): GuardedKeyStore | undefined
  close(): Promise<void>
}

const SEPARATOR = ':'

/** @param storeId undefined for the default store */
export const keyReference = (storeId: string | undefined, label: string): string =>
  storeId === undefined ? label : `${storeId}${SEPARATOR}${label}`

/** @returns undefined for the default store */
export const keyStoreOf = (reference: string): string | undefined =>
  reference.includes(SEPARATOR) ? reference.slice(0, reference.indexOf(SEPARATOR)) : undefined

/** @param others with names that no label of the default store begins with: labels hold no colon */
export function keyRing(standard: KeyStore, others: readonly GuardedKeyStore[]): KeyRing {
  const byId = new Map(others.map((store) => [store.id, store]))
  const stores = [standard, ...others]

  const find = (reference: string): { readonly store: KeyStore; readonly label: string; readonly prefix: string } => {
    const at = reference.indexOf(SEPARATOR)
    if (at < 0) return { store: standard, label: reference, prefix: '' }
    const id = reference.slice(0, at)
    const store = id === standard.id ? standard : byId.get(id)
    if (store === undefined) throw unknownStore(id, stores)
    return { store, label: reference.slice(at + 1), prefix: store === standard ? '' : `${id}${SEPARATOR}` }
  }
  const named = (prefix: string, signer: Signer): Signer =>
    prefix === '' ? signer : { ...signer, label: `${prefix}${signer.label}` }

  return {
    id: standard.id,
    algorithms: standard.algorithms,
    stores,
    guarded: (id) => byId.get(id),

    async generate(reference, algorithm) {
      const { store, label, prefix } = find(reference)
      return named(prefix, await store.generate(label, algorithm))
    },
    async open(reference) {
      const { store, label, prefix } = find(reference)
      return named(prefix, await store.open(label))
    },
    async list() {
      const lists = await Promise.all(
        stores.map(async (store) =>
          (await store.list()).map((entry): KeyEntry => ({
            ...entry,
            label: keyReference(store === standard ? undefined : store.id, entry.label),
          })),
        ),
      )
      return lists.flat()
    },
    async destroy(reference) {
      const { store, label } = find(reference)
      await store.destroy(label)
    },
    async import(reference, pkcs8) {
      const { store, label, prefix } = find(reference)
      if (store.import === undefined) throw new TrustError('unsupported', 'keyImport', { facts: { store: store.id } })
      return named(prefix, await store.import(label, pkcs8))
    },
    async close() {
      await Promise.all(others.map((store) => store.close()))
    },
  }
}

const unknownStore = (id: string, stores: readonly KeyStore[]): TrustError =>
  new TrustError('notFound', 'keyStoreUnknown', { facts: { store: id, known: stores.map((store) => store.id).join(', ') } })
