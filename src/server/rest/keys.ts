/** REST: the keys of this installation; never their private halves. @module */
import { Type } from 'typebox'
import { isKeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import type { KeyEntry, KeyStore, Signer } from '#keys/key-store.ts'
import type { CAServices } from '../compose.ts'
import { orRecord } from './refusals.ts'
import { route } from './route.ts'
import { Base64, KeyAlgorithmName, Time } from './shapes.ts'

const Label = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$',
  description: '1 to 128 letters, digits, dots, slashes, hyphens',
})
const KeyShape = Type.Object({
  label: Label,
  keyAlgorithm: KeyAlgorithmName,
  publicKey: Base64,
  createdAt: Type.Union([Time, Type.Null()]),
})

/** Keys that the installation made for itself are not for people to make, replace or destroy. */
const OWN_LABELS = /^(ca|ocsp)\/|^audit-log$/

export function keyRoutes({ context, authorities }: CAServices) {
  const { keys, db, audit } = context
  const shape = (key: KeyEntry | Signer) => ({
    label: key.label,
    keyAlgorithm: key.keyAlgorithm,
    publicKey: key.publicKey.toBase64(),
    createdAt: 'createdAt' in key ? key.createdAt.toISOString() : null,
  })
  const recorded = async (actor: string, act: string, label: string): Promise<void> =>
    db.transaction((tx) => audit.record(tx, { actor, act, object: `key:${label}`, outcome: 'done' }))
  const refuseOwn = (actor: string, act: string, label: string): Promise<void> =>
    orRecord(audit, { actor, act, object: `key:${label}` }, () => {
      const used = authorities.list().some(({ keyLabel }) => keyLabel === label)
      if (used || OWN_LABELS.test(label)) throw new TrustError('forbidden', 'keyInUse', { facts: { label } })
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
      summary: 'Key stores and the algorithms they offer',
      response: Type.Object({
        stores: Type.Array(
          Type.Object({ id: Type.String(), algorithms: Type.Array(KeyAlgorithmName), takesImports: Type.Boolean() }),
        ),
      }),
      handle: async () => ({ stores: [storeShape(keys)] }),
    }),
    route({
      id: 'createKey',
      method: 'POST',
      path: '/api/v1/keys',
      permission: 'key.manage',
      summary: 'Make a key',
      body: Type.Object({ label: Label, keyAlgorithm: KeyAlgorithmName }, { additionalProperties: false }),
      response: KeyShape,
      status: 201,
      async handle({ actor }, { body: { label, keyAlgorithm } }) {
        if (!isKeyAlgorithmId(keyAlgorithm)) throw new TrustError('unsupported', 'keyAlgorithm')
        await refuseOwn(actor, 'key.create', label)
        const signer = await keys.generate(label, keyAlgorithm)
        await recorded(actor, 'key.create', label)
        return shape(signer)
      },
    }),
    route({
      id: 'importKey',
      method: 'POST',
      path: '/api/v1/keys/import',
      permission: 'key.manage',
      summary: 'Take in a key that was made elsewhere (PKCS #8)',
      body: Type.Object({ label: Label, privateKey: Base64 }, { additionalProperties: false }),
      response: KeyShape,
      status: 201,
      async handle({ actor }, { body: { label, privateKey } }) {
        if (keys.import === undefined) throw new TrustError('unsupported', 'keyImport', { facts: { store: keys.id } })
        await refuseOwn(actor, 'key.import', label)
        const signer = await keys.import(label, secret(Uint8Array.fromBase64(privateKey)))
        await recorded(actor, 'key.import', label)
        return shape(signer)
      },
    }),
    route({
      id: 'destroyKey',
      method: 'POST',
      path: '/api/v1/keys/destroy',
      permission: 'key.manage',
      summary: 'Destroy a key that nothing uses, for good',
      body: Type.Object({ label: Label }, { additionalProperties: false }),
      response: Type.Object({ label: Label }),
      async handle({ actor }, { body: { label } }) {
        await refuseOwn(actor, 'key.destroy', label)
        await keys.destroy(label)
        await recorded(actor, 'key.destroy', label)
        return { label }
      },
    }),
  ]
}

const storeShape = ({ id, algorithms, import: take }: KeyStore) => ({
  id,
  algorithms: [...algorithms],
  takesImports: take !== undefined,
})
