/** REST: the keys of this installation; never their private halves. @module */
import { hash } from 'node:crypto'
import { Type } from 'typebox'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import type { Authorities } from '#ca/authorities.ts'
import type { KeyRing } from '#keys/key-ring.ts'
import type { KeyEntry, KeyStore, Signer } from '#keys/key-store.ts'
import type { CAServices } from '../compose.ts'
import { type Agreed, DESTROY_KEY, WaitingShape } from './agreed.ts'
import { orRecord, recordingRefusals } from './refusals.ts'
import { route } from './route.ts'
import { Base64, KeyAlgorithmName, Time, octetsOf } from './shapes.ts'

export const KeyLabel = Type.String({
  pattern: '^(?:[a-z][a-z0-9-]{0,31}:)?[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$',
  description: '1 to 128 letters, digits, dots, slashes, hyphens; after STORE: for a key outside the software store',
})
const KeyShape = Type.Object({
  label: KeyLabel,
  keyAlgorithm: KeyAlgorithmName,
  publicKey: Base64,
  createdAt: Type.Union([Time, Type.Null()]),
})

const StoreName = Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' })
const OrNull = Type.Union([Type.String(), Type.Null()])
const StoreShape = Type.Object({
  id: Type.String(),
  state: Type.String({ description: 'ready, locked (no PIN was given), pinWrong (the token refused it), gone' }),
  tokens: Type.Array(
    Type.Object({ name: Type.String(), state: Type.String(), problem: OrNull, device: OrNull, serialNumber: OrNull }),
  ),
  algorithms: Type.Array(KeyAlgorithmName),
  takesImports: Type.Boolean(),
})

/** Keys that the installation made for itself are not for people to make, replace or destroy. */
const OWN_LABELS = /^(?:[a-z][a-z0-9-]*:)?(?:ca|ocsp)\/|^(?:software:)?audit-log$/

/** Such a key is for nothing else. */
export const belongsToInstallation = (authorities: Authorities, label: string): boolean =>
  OWN_LABELS.test(label) || authorities.list().some(({ keyLabel }) => keyLabel === label)

/** @param isSigners whether a signer needs the key */
export function keyRoutes(
  { context, authorities, keys }: CAServices,
  isSigners: (label: string) => Promise<boolean>,
  agreed: Agreed,
) {
  const { db, audit } = context
  const shape = (key: KeyEntry | Signer) => ({
    label: key.label,
    keyAlgorithm: key.keyAlgorithm,
    publicKey: key.publicKey.toBase64(),
    createdAt: 'createdAt' in key ? key.createdAt.toISOString() : null,
  })
  const recorded = async (actor: string, act: string, label: string): Promise<void> =>
    db.transaction((tx) => audit.record(tx, { actor, act, object: `key:${label}`, outcome: 'done' }))
  const refusable = <T>(actor: string, act: string, label: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(audit, { actor, act, object: `key:${label}` }, work)
  /**
   * A key store is not the database, so that both cannot be written at once: the log has the intention first, and what came of
   * it afterwards. A crash in between leaves an intention without its end, never an act that the log does not know.
   */
  const logged = async <T>(actor: string, act: string, label: string, work: () => Promise<T>): Promise<T> => {
    await recorded(actor, `${act}.begin`, label)
    const result = await refusable(actor, act, label, work)
    await recorded(actor, act, label)
    return result
  }
  const refuseOwn = (actor: string, act: string, label: string): Promise<void> =>
    orRecord(audit, { actor, act, object: `key:${label}` }, () => {
      if (belongsToInstallation(authorities, label)) throw new TrustError('forbidden', 'keyInUse', { facts: { label } })
    })

  return [
    route({
      id: 'listKeys',
      method: 'GET',
      path: '/api/v1/keys',
      permission: 'key.read',
      summary: 'Keys and where they are kept',
      response: Type.Object({ store: Type.String(), keys: Type.Array(KeyShape) }),
      handle: async () => ({ store: keys.id, keys: (await keys.list()).map(shape) }),
    }),
    route({
      id: 'listKeyStores',
      method: 'GET',
      path: '/api/v1/key-stores',
      permission: 'key.read',
      summary: 'Key stores, how they are, and the algorithms they offer',
      response: Type.Object({
        stores: Type.Array(StoreShape),
      }),
      handle: async () => ({ stores: await Promise.all(keys.stores.map((store) => storeShape(keys, store))) }),
    }),
    route({
      id: 'unlockKeyStore',
      method: 'POST',
      path: '/api/v1/key-stores/{id}/unlock',
      permission: 'key.unlock',
      summary: 'Give the PIN of a key store; it is kept in memory only',
      params: Type.Object({ id: StoreName }),
      body: Type.Object(
        { pin: Type.String({ minLength: 1, maxLength: 1024, description: 'UTF-8, as base64', contentEncoding: 'base64' }) },
        { additionalProperties: false },
      ),
      response: StoreShape,
      answersSecret: true, // it does not, but what it is asked with is one: no trace of it is kept for repeats
      async handle({ actor }, { params: { id }, body: { pin } }) {
        const attempt = { actor, act: 'key.unlock', object: `key-store:${id}` }
        const store = keys.guarded(id)
        if (store === undefined) throw new TrustError('notFound', 'keyStoreNoLock', { facts: { store: id } })
        try {
          await store.unlock(secret(octetsOf(pin)))
        } catch (thrown) {
          await audit.refuse({ ...attempt, reason: asTrustError(thrown).reason })
          throw thrown
        }
        await db.transaction((tx) => audit.record(tx, { ...attempt, outcome: 'done' }))
        return storeShape(keys, store)
      },
    }),
    route({
      id: 'adoptKey',
      method: 'POST',
      path: '/api/v1/keys/adopt',
      permission: 'key.manage',
      summary: 'Use a key that was made in a token by other means',
      body: Type.Object({ label: KeyLabel }, { additionalProperties: false }),
      response: KeyShape,
      status: 201,
      async handle({ actor }, { body: { label } }) {
        await refuseOwn(actor, 'key.adopt', label)
        const signer = await refusable(actor, 'key.adopt', label, () => keys.open(label))
        await recorded(actor, 'key.adopt', label)
        return shape(signer)
      },
    }),
    route({
      id: 'createKey',
      method: 'POST',
      path: '/api/v1/keys',
      permission: 'key.manage',
      summary: 'Make a key',
      body: Type.Object({ label: KeyLabel, keyAlgorithm: KeyAlgorithmName }, { additionalProperties: false }),
      response: KeyShape,
      status: 201,
      async handle({ actor }, { body: { label, keyAlgorithm } }) {
        await refuseOwn(actor, 'key.create', label)
        return shape(
          await logged(actor, 'key.create', label, async () => {
            if (!isKeyAlgorithmId(keyAlgorithm)) throw new TrustError('unsupported', 'keyAlgorithm')
            return keys.generate(label, keyAlgorithm)
          }),
        )
      },
    }),
    route({
      id: 'importKey',
      method: 'POST',
      path: '/api/v1/keys/import',
      permission: 'key.manage',
      summary: 'Take in a key that was made elsewhere (PKCS #8)',
      body: Type.Object({ label: KeyLabel, privateKey: Base64 }, { additionalProperties: false }),
      response: KeyShape,
      status: 201,
      async handle({ actor }, { body: { label, privateKey } }) {
        await refuseOwn(actor, 'key.import', label)
        return shape(
          await logged(actor, 'key.import', label, async () => {
            if (keys.import === undefined) throw new TrustError('unsupported', 'keyImport', { facts: { store: keys.id } })
            return keys.import(label, secret(octetsOf(privateKey)))
          }),
        )
      },
    }),
    route({
      id: 'destroyKey',
      method: 'POST',
      path: '/api/v1/keys/destroy',
      permission: 'key.manage',
      summary: 'Destroy a key that nothing uses, for good',
      body: Type.Object({ label: KeyLabel }, { additionalProperties: false }),
      response: Type.Union([Type.Object({ label: KeyLabel }), WaitingShape]),
      isPending: (answer) => 'state' in answer,
      async handle(call, { body: { label } }) {
        const { actor } = call
        await refuseOwn(actor, 'key.destroy', label)
        const needed = await isSigners(label)
        await orRecord(audit, { actor, act: 'key.destroy', object: `key:${label}` }, () => {
          if (needed) throw new TrustError('conflict', 'keyOfSigner', { facts: { label } })
        })
        const { publicKey } = await keys.open(label)
        const key = `sha256:${hash('sha256', publicKey, 'hex')}`
        return agreed({ kind: DESTROY_KEY, object: `key:${label}`, parameters: { label, key } }, call, async () => {
          await logged(actor, 'key.destroy', label, () => keys.destroy(label))
          return { label }
        })
      },
    }),
  ]
}

/** A store without a lock is always ready. */
async function storeShape(keys: KeyRing, store: KeyStore) {
  const { state, tokens } = (await keys.guarded(store.id)?.state()) ?? { state: 'ready' as const, tokens: [] }
  return {
    id: store.id,
    state,
    tokens: tokens.map(({ name, state: of, problem, manufacturer, model, serialNumber }) => ({
      name,
      state: of,
      problem: problem ?? null,
      device: manufacturer === undefined ? null : `${manufacturer} ${model ?? ''}`.trim(),
      serialNumber: serialNumber ?? null,
    })),
    algorithms: [...store.algorithms],
    takesImports: store.import !== undefined,
  }
}
