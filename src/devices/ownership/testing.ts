/** Keys, chains, and installations with organizations and devices, for tests of ownership. @module */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import {
  follow,
  partyOf,
  placeAfter,
  type Party,
  type Product,
  type Standing,
  signAnswer,
  signOffer,
  signRelease,
  type StatementKey,
} from './messages.ts'
import { deviceNameOf } from './statement.ts'
import { TrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import type { Database, Migration } from '#store/database.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { stepsToBear } from '../birth-record.ts'
import { stepsToAttach } from '../certificates.ts'
import { changeState } from '../change.ts'
import type { Device } from '../device.ts'
import { officer, testBirth, testDevices, testModel, testOrganization } from '../testing.ts'
import { openDevice } from '../device.ts'
import type { OwnershipContext } from './context.ts'
import { ownershipMigrations } from './migrations.ts'
import { setPartyKey } from './parties.ts'

export interface TestKey extends StatementKey {
  readonly public: PublicKey
  readonly thumbprint: string
  /** As statements name a device with this key. */
  readonly device: string
}

export function testKey(
  pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = generateKeyPairSync('ec', { namedCurve: 'P-256' }),
): TestKey {
  const publicKey = new Uint8Array(pair.publicKey.export({ type: 'spki', format: 'der' }))
  const known = importPublicKey(publicKey)
  return {
    publicKey,
    public: known,
    thumbprint: jwkThumbprint(known),
    device: deviceNameOf(publicKey),
    sign: (message, algorithm) =>
      Promise.resolve(new Uint8Array(sign(signatureAlgorithm(algorithm).digest, message, pair.privateKey))),
  }
}

export const PRODUCT: Product = {
  manufacturer: 'valves',
  model: 'v2',
  productSerial: 'V2-0001',
  variant: 'software',
  assurance: 2,
}
export const DAY = 86_400_000
export const NOW = Date.UTC(2027, 0, 1)

export interface TestOwner {
  readonly party: Party
  readonly key: TestKey
}

export const testOwner = (name: string, key = testKey()): TestOwner => ({ party: partyOf(name, key.public), key })

/** One sale, done rightly. */
export async function sell(
  before: Standing | undefined,
  device: string,
  { from, to, at = NOW }: { readonly from: TestKey; readonly to: TestOwner; readonly at?: number },
): Promise<string> {
  const place = placeAfter(before, device)
  const first = before === undefined ? { product: PRODUCT } : {}
  const offer = await signOffer(place, { to: to.party, terms: 'as agreed', offeredAt: at, expiresAt: at + DAY, ...first }, from)
  const answer = await signAnswer(offer, { isAccepted: true, answeredAt: at + 1 }, to.key)
  return (await signRelease(offer, answer, at + 2, from)).statement
}

/** A chain through these owners. */
export async function chainOf(
  maker: TestKey,
  device: string,
  owners: readonly TestOwner[],
): Promise<{ readonly entries: readonly string[]; readonly standings: readonly Standing[] }> {
  const entries: string[] = []
  const standings: Standing[] = []
  let from = maker
  for (const to of owners) {
    const entry = await sell(standings.at(-1), device, { from, to })
    entries.push(entry)
    standings.push(await follow(standings.at(-1), entry, { makers: [maker.public] }))
    from = to.key
  }
  return { entries, standings }
}

const maker = makeKey()

export interface TestInstallation extends AsyncDisposable {
  readonly context: OwnershipContext
  readonly time: { ahead: number }
  /** Certificates that the CA was told to revoke, in order. */
  readonly revoked: string[]
  /** The point at which the next run ends. */
  readonly fault: { at: string | undefined; reached: string[] }
  /** An organization whose key is here, or that of another installation's of the same name. */
  organization(name: string, elsewhere?: TestKey): Promise<TestKey>
  /** A shipped device of the maker `valves`, or one that is only born. */
  shipped(productSerial: string, until?: 'born'): Promise<{ readonly device: Device; readonly key: TestKey }>
  /** A device as it is in use, with an operational certificate. */
  use(deviceId: string, certificateId: string): Promise<void>
}

/** What a process that is killed at a fault point looks like from within. */
export class Killed extends Error {}

/** @param db of either engine; a temporary SQLite unless told @param more of the folders of this room that the test is about */
export async function testInstallation(db?: Database, more: readonly Migration[] = []): Promise<TestInstallation> {
  const devices = await testDevices(db, [...ownershipMigrations, ...more])
  const { context: base, time } = devices
  const keys = new Map<string, TestKey>()
  const births = new Map<string, readonly Uint8Array[]>()
  const revoked: string[] = []
  const fault: TestInstallation['fault'] = { at: undefined, reached: [] }
  const context: OwnershipContext = {
    ...base,
    world: {
      ...base.world,
      faults: {
        reach(point) {
          fault.reached.push(point)
          if (fault.at === point) throw new Killed(point)
        },
      },
    },
    keys: {
      open(label) {
        const key = keys.get(label)
        if (key === undefined) throw new TrustError('notFound', 'keyNotFound', { facts: { label } })
        return Promise.resolve({ ...key, label, keyAlgorithm: key.public.algorithm })
      },
    },
    certificates: {
      revoke(id) {
        if (!revoked.includes(id)) revoked.push(id)
        return Promise.resolve()
      },
    },
    birthChain: (id) => Promise.resolve(births.get(id) ?? []),
  }
  let model: Promise<{ readonly id: string; readonly manufacturerId: string }> | undefined
  return {
    ...{ context, time, revoked, fault },
    async organization(name, elsewhere) {
      const key = elsewhere ?? testKey()
      const made = await testOrganization(devices, name, name === 'valves' ? 'manufacturer' : 'owner')
      if (name === 'valves') model = testModel(devices, made.id, 'v2')
      await model
      if (elsewhere === undefined) keys.set(name, key)
      await setPartyKey(
        context,
        name,
        elsewhere === undefined ? { label: name } : { key: partyOf(name, key.public).key },
        officer,
      )
      return key
    },
    async shipped(productSerial, until) {
      if (model === undefined) throw new Error('there is no maker')
      const { id: modelId, manufacturerId } = await model
      const key = testKey()
      const certificateId = `birth-${productSerial}`
      const subject = encodeName(nameOf([{ type: 'serialNumber', value: productSerial }]))
      births.set(certificateId, [await makeCertificate(maker, { subjectPublicKeyInfo: key.publicKey, subject })])
      const keyHash = new Uint8Array(Buffer.from(key.device, 'base64url'))
      const birth = { ...testBirth(productSerial, certificateId), keyHash }
      const { device: born, steps } = stepsToBear(context, { manufacturerId, modelId, productSerial }, birth, officer)
      await keep(context.db, steps)
      if (until === 'born') return { device: born, key }
      await changeState(context, born.id, { act: 'release', actor: officer })
      return { device: await changeState(context, born.id, { act: 'ship', actor: officer }), key }
    },
    async use(deviceId, certificateId) {
      const device = await openDevice(context, context.db, deviceId)
      const keyHash = new Uint8Array(Buffer.from(testKey().device, 'base64url'))
      await keep(context.db, stepsToAttach(context, device, { certificateId, keyHash, role: 'operational', areaId: undefined }))
    },
    [Symbol.asyncDispose]: () => devices[Symbol.asyncDispose](),
  }
}
