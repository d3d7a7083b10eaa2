/**
 * A node's key and counters in a TPM: what a copy of its disk does not have, and what only goes forward.
 *
 * The file beside holds the key wrapped, which is worth nothing without this very TPM, and the authorizations.
 *
 * @module
 */
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { importPublicKey } from '#algorithms/public-key.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import { parseJSONObject } from '#jose/json.ts'
import {
  activateCredential,
  agree,
  certify,
  createKey,
  type LoadedKey,
  loadKey,
  withKey,
  withPrimary,
  type WrappedKey,
} from '#tpm2/keys.ts'
import { certifyIndex, defineCounter, incrementCounter, type Index, openIndex, readCounter, undefineIndex } from '#tpm2/nv.ts'
import { publicKeyOf } from '#tpm2/public-key.ts'
import type { Authorized } from '#tpm2/session.ts'
import { listHandles, readEndorsement } from '#tpm2/platform.ts'
import { openSigner } from '#tpm2/signer.ts'
import { TPMS_ID_OBJECT, TPMS_NV_PUBLIC, TPMT_PUBLIC } from '#tpm2/structures.ts'
import { agreementKey, attestationKey, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies, isRefusal, TPM } from '#tpm2/tpm.ts'
import { openDevice, openSocket } from '#tpm2/transport.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import type { MonotonicCounter } from '../counting.ts'
import type { Machine } from './machine.ts'

/** `device:/dev/tpmrm0`, `socket:/path` or `tcp:host:port`. */
export type TPMPlace = string

const Hex = Type.String({ pattern: '^([0-9a-f]{2})+$', maxLength: 8192 })
const Key = Type.Object({ outPrivate: Hex, outPublic: Hex }, { additionalProperties: false })
const NVHandle = Type.Integer({ minimum: 0x01800000, maximum: 0x01bfffff })
const Kept = Type.Object(
  {
    place: Type.String(),
    jobKey: Key,
    attestationKey: Key,
    envelopeKey: Type.Optional(Key),
    authValue: Hex,
    starts: NVHandle,
    blocks: NVHandle,
  },
  { additionalProperties: false },
)
type Kept = Static<typeof Kept>
const compiled = Compile(Kept)

async function connect(place: TPMPlace, { random }: World): Promise<TPM> {
  const [, kind = '', rest = ''] = /^(device|socket|tcp):(.+)$/.exec(place) ?? []
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(rest) ?? []
  if (kind === '' || (kind === 'tcp' && port === '')) throw new TrustError('malformed', 'tpmPlace', { facts: { place } })
  const transport =
    kind === 'device' ? openDevice(rest) : openSocket(kind === 'tcp' ? { host, port: Number(port) } : { path: rest })
  const tpm = new TPM(await transport, random)
  await tpm.startup()
  // behind a socket nobody gives back what a run that was killed left loaded, and there are three places
  if (kind !== 'device') for (const handle of await listHandles(tpm, TRANSIENT_FIRST)) await tpm.flush({ handle })
  return tpm
}

const TRANSIENT_FIRST = 0x80000000

/** The owner's range; places taken by others are passed over. */
const INDEX_FIRST = 0x01900000
const INDEX_SPREAD_OCTETS = 2
const TRIES_MAX = 16

/** @returns what the node's file keeps */
export async function makeTPMMachine(place: TPMPlace, world: World): Promise<Kept> {
  const { random } = world
  const tpm = await connect(place, world)
  try {
    const authValue = new Uint8Array(random.octets(32))
    const [jobKey, attesting, agreeing] = await withPrimary(
      tpm,
      hierarchies.owner,
      { template: storageRootKey },
      async (parent) => [
        await createKey(tpm, parent, { template: signingKey(), authValue: secret(authValue) }),
        await createKey(tpm, parent, { template: attestationKey(), authValue: secret(authValue) }),
        await createKey(tpm, parent, { template: agreementKey, authValue: secret(authValue) }),
      ],
    )
    const define = async (): Promise<number> => {
      for (let tries = 0; ; tries++) {
        const nvIndex = INDEX_FIRST + Number(`0x${random.octets(INDEX_SPREAD_OCTETS).toHex()}`)
        try {
          await defineCounter(tpm, { nvIndex, authValue: secret(authValue) })
          return nvIndex
        } catch (error) {
          if (!isRefusal(error, 'TPM_RC_NV_DEFINED') || tries === TRIES_MAX) throw error
        }
      }
    }
    const [starts, blocks] = [await define(), await define()]
    return {
      place,
      jobKey: kept(jobKey),
      attestationKey: kept(attesting),
      envelopeKey: kept(agreeing),
      authValue: authValue.toHex(),
      starts,
      blocks,
    }
  } finally {
    await tpm.close()
  }
}

const kept = ({ outPrivate, outPublic }: WrappedKey): Kept['jobKey'] => ({
  outPrivate: outPrivate.toHex(),
  outPublic: marshal(TPMT_PUBLIC, outPublic).toHex(),
})

const wrapped = ({ outPrivate, outPublic }: Kept['jobKey']): WrappedKey => ({
  outPrivate: Uint8Array.fromHex(outPrivate),
  outPublic: unmarshal(TPMT_PUBLIC, Uint8Array.fromHex(outPublic)),
})

/** @param text of the node's file @throws TrustError `badProof` beside another TPM; `notFound` when the counters are gone */
export async function openTPMMachine(text: string, world: World): Promise<Machine> {
  const value = parseJSONObject(utf8(text))
  if (!compiled.Check(value)) throw new TrustError('malformed', 'notStrictJSON', { facts: { detail: 'it is no file of a node' } })
  const tpm = await connect(value.place, world)
  try {
    return await machineIn(tpm, value)
  } catch (error) {
    await tpm.close()
    throw error
  }
}

async function machineIn(
  tpm: TPM,
  { jobKey, attestationKey: attesting, envelopeKey: agreeing, authValue: hex, ...indexes }: Kept,
): Promise<Machine> {
  const authValue = secret(Uint8Array.fromHex(hex))
  const signer = await openSigner(tpm, { label: 'job', key: { wrapped: wrapped(jobKey) }, authValue })
  const [starts, blocks] = [await openIndex(tpm, indexes.starts, authValue), await openIndex(tpm, indexes.blocks, authValue)]

  /** Proves the authorization instead of telling it to the bus. */
  const proving = <A extends Authorized, T>(entity: A, work: (entity: A) => Promise<T>): Promise<T> =>
    tpm.withSession({}, (session) => work({ ...entity, session }))

  const counter = (index: Index): MonotonicCounter => ({
    read: async () => Number(await proving(index, (authorized) => readCounter(tpm, authorized))),
    increment: async () => Number(await proving(index, (authorized) => incrementCounter(tpm, authorized))),
  })

  const endorsement = async () => {
    try {
      const { key, certificate } = await readEndorsement(tpm)
      await tpm.flush(key)
      return { key: marshal(TPMT_PUBLIC, key.publicArea).toBase64(), certificate: certificate.toBase64() }
    } catch (error) {
      if (error instanceof TrustError && error.code === 'notFound') return undefined // as most TPMs in software
      throw error
    }
  }

  const envelopeKey = agreeing === undefined ? undefined : { ...wrapped(agreeing), authValue }

  return {
    signer,
    envelopeKey: envelopeKey && {
      publicKey: publicKeyOf(envelopeKey.outPublic).spki,
      agree: (spki) =>
        withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, (parent) =>
          withKey(tpm, parent, envelopeKey, (key) => proving(key, (one) => agree(tpm, one, importPublicKey(spki)))),
        ),
    },
    counters: { starts: counter(starts), blocks: counter(blocks) },
    counterNames: { starts: starts.name.toHex(), blocks: blocks.name.toHex() },
    async attest(nonce) {
      await signer.close() // three keys are all that fit; it is loaded again when it signs next
      const endorsed = await endorsement()
      return withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, async (parent) => {
        const ak = { ...wrapped(attesting), authValue }
        return withKey(tpm, parent, ak, async (by) => {
          const certified = [
            await withKey(tpm, parent, { ...wrapped(jobKey), authValue }, (object) => certify(tpm, { object, by, nonce })),
            await certifyIndex(tpm, { index: starts, by, nonce }),
            await certifyIndex(tpm, { index: blocks, by, nonce }),
            ...(envelopeKey === undefined
              ? []
              : [await withKey(tpm, parent, envelopeKey, (object) => certify(tpm, { object, by, nonce }))]),
          ]
          return {
            attestationKey: Uint8Array.fromHex(attesting.outPublic).toBase64(),
            nodeKey: Uint8Array.fromHex(jobKey.outPublic).toBase64(),
            starts: marshal(TPMS_NV_PUBLIC, starts.publicArea).toBase64(),
            blocks: marshal(TPMS_NV_PUBLIC, blocks.publicArea).toBase64(),
            certified: certified.map(({ attest, signature }) => ({ attest: attest.toBase64(), signature: signature.toBase64() })),
            ...(agreeing !== undefined && { envelopeKey: Uint8Array.fromHex(agreeing.outPublic).toBase64() }),
            ...(endorsed !== undefined && { endorsement: endorsed }),
          }
        })
      })
    },
    async activate(challenge) {
      await signer.close()
      const sealed = {
        credentialBlob: unmarshal(TPMS_ID_OBJECT, Uint8Array.fromBase64(challenge.credentialBlob)),
        secret: Uint8Array.fromBase64(challenge.secret),
      }
      const ak = wrapped(attesting)
      const load = (parent: LoadedKey): Promise<LoadedKey> => loadKey(tpm, parent, ak, authValue)
      const object = await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, load)
      return tpm.using(object, async () => {
        const { key: endorsementKey } = await readEndorsement(tpm)
        const activate = () => proving(object, (one) => activateCredential(tpm, { object: one, endorsementKey }, sealed))
        return tpm.using(endorsementKey, activate)
      })
    },
    async destroy() {
      await undefineIndex(tpm, starts)
      await undefineIndex(tpm, blocks)
    },
    async close() {
      await signer.close()
      await tpm.close()
    },
  }
}
