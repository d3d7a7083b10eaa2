/** Releases and a director on a temporary database of either engine, with real signers; for tests. Not part of any program. @module */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accessMigrations } from '#access/migrations.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import type { People } from '#approvals/people.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { octetsIn } from '#signing/artifact/testing.ts'
import type { Requester } from '#signing/context.ts'
import { signingFormat } from '#signing/formats/registry.ts'
import { messageTrust, type MessageTrust } from '#signing/messages.ts'
import { signingMigrations } from '#signing/migrations.ts'
import { openSigning, type Signing, signingActs } from '#signing/service.ts'
import { openClockWatch } from '#signing/tsp/clock.ts'
import { testAuthority } from '#signing/tsp/testing.ts'
import type { Database, Migration } from '#store/database.ts'
import { storeMigrations } from '#store/migrations.ts'
import type { DirectedDevice, KnownModel, UpdatesContext } from './context.ts'
import { openReleaseFiles } from './files.ts'
import { updatesMigrations } from './migrations.ts'
import {
  addArtifact,
  approveRelease,
  createRelease,
  type NewRelease,
  publishRelease,
  type Release,
  updateActs,
} from './releases.ts'
import { digestOf } from './samples.ts'
import { tufMigrations } from './tuf/migrations.ts'
import { openUpdates, type Updates } from './updates.ts'

export const updateTestMigrations: readonly Migration[] = [
  ...[storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations].flat(),
  ...updatesMigrations,
  ...tufMigrations,
]

export const engineer: Requester = { actor: 'person:rita', id: 'rita', kind: 'person', roles: ['release-engineer'] }
const organizationId = 'default'

export const engineA: KnownModel = { id: 'model-a', manufacturer: 'acme', model: 'engine-a', revisions: ['r1', 'r2'] }
export const engineB: KnownModel = { id: 'model-b', manufacturer: 'acme', model: 'engine-b', revisions: [] }

export const testDevice = (id: string, more: Partial<DirectedDevice> = {}): DirectedDevice => ({
  ...{ id, manufacturer: 'acme', productSerial: id.toUpperCase(), birthKey: digestOf(`born ${id}`), modelId: engineA.id },
  ...{ model: engineA.model, revision: 'r1', owner: 'plant-north', epoch: 1, area: 'press-shop', isInUse: true },
  ...more,
})

export interface TestUpdates extends AsyncDisposable {
  readonly context: UpdatesContext
  readonly updates: Updates
  readonly signing: Signing
  readonly keys: KeyStore
  /** May be changed under way. */
  readonly devices: Map<string, DirectedDevice>
  readonly licensed: Set<string>
  /** Whom devices trust. */
  readonly trust: { readonly director: MessageTrust; readonly software: MessageTrust }
  /** As another process on the same database has it. */
  again(): Updates
  /** So many people say yes to everything that waits. */
  approveAll(people?: readonly string[]): Promise<void>
  /** An artifact as the signer signs it in the format. */
  signed(format: string, octets: Uint8Array, signer?: string): Promise<Uint8Array>
  /** A release that is out, of one artifact. */
  published(wanted?: Partial<NewRelease>): Promise<Release>
}

export async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}

/** @param db with {@link updateTestMigrations} */
export async function openTestUpdates(db: Database, world: World): Promise<TestUpdates> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-updates-'))
  const audit = auditRecorder({ database: db, world, organizationId })
  const keys = softwareKeyStore({ database: db, world, organizationId, wrappingKey: secret(new Uint8Array(32).fill(7)) })
  const clocks = { wall: () => world.clock.now(), monotonic: () => world.clock.now() }
  const clock = openClockWatch({ servers: [], clocks, random: world.random, log: silentLog, checkSeconds: 64 })
  const people: People = {
    counting: async (_, __, ids) => ids,
    stillCount: () => ({ sql: 'SELECT 1 AS holds', parameters: [], expects: { holds: 1 } }),
  }
  const approvals = openApprovals({ db, audit, world, organizationId, people, kinds: [...signingActs, ...updateActs] })
  const signing = openSigning({ db, keys, audit, world, organizationId }, approvals, clock)
  const roots = new Map<string, Uint8Array>()
  const signers = [
    { name: 'director', purpose: 'documentSigning', formats: ['cose-sign1'], roles: ['server:updates'] },
    { name: 'acme-releases', purpose: 'documentSigning', formats: ['cose-sign1'], roles: ['server:updates'] },
    {
      name: 'acme-firmware',
      purpose: 'codeSigning',
      formats: ['cms', 'swupdate', 'rauc', 'mcuboot'],
      roles: ['release-engineer'],
    },
    { name: 'other-firmware', purpose: 'codeSigning', formats: ['cms', 'swupdate'], roles: ['release-engineer'] },
  ] as const
  for (const { name, purpose, formats, roles } of signers) {
    const { root, terms } = await testAuthority(keys, name, { purposes: [purpose] })
    const { timeStamps: _, ...usual } = terms
    await signing.signers.create({ ...usual, formats: [...formats], users: { roles: [...roles], people: [] } }, engineer.actor)
    roots.set(name, root)
  }
  const devices = new Map<string, DirectedDevice>()
  const licensed = new Set<string>()
  const context: UpdatesContext = {
    ...{ db, audit, world, organizationId, approvals, signing },
    files: openReleaseFiles({ directory, artifactMaxOctets: 1 << 20, incomingMaxOctets: 8 << 20, world }),
    devices: {
      async modelNamed(manufacturer, model) {
        const found = [engineA, engineB].find((one) => one.manufacturer === manufacturer && one.model === model)
        if (found === undefined) throw new TrustError('notFound', 'modelUnknown', { facts: { name: model } })
        return found
      },
      async open(id) {
        const device = devices.get(id)
        if (device === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
        return device
      },
      mayUpdate: ({ isApproved, isAgreed }) => isApproved && isAgreed,
    },
    licenses: { isLicensed: async (deviceId, feature) => licensed.has(`${deviceId} ${feature}`) },
    settings: { directorSigner: 'director', statementHours: 168 },
  }
  const trustIn = (name: string): MessageTrust => messageTrust([roots.get(name) ?? new Uint8Array()])

  async function approveAll(ids: readonly string[] = ['ann', 'ben']): Promise<void> {
    const { approvals: waiting } = await approvals.list({ state: 'pending', limit: 100 })
    for (const { id, digest } of waiting)
      for (const person of ids) await approvals.approve(id, { digest }, { actor: `person:${person}`, id: person, kind: 'person' })
  }

  async function signed(id: string, octets: Uint8Array, signer = 'acme-firmware'): Promise<Uint8Array> {
    const { record } = await signing.signers.find(signer)
    const { signatureAlgorithm, chain } = record.key
    const [own = new Uint8Array(), ...above] = chain
    const choices = { signatureAlgorithm, certificates: [own, ...above] as const }
    const { requests, attach } = await signingFormat(id).toBeSigned(bytesSource(octets), choices)
    const made = await signing.sign(signer, { format: id, requests }, engineer)
    if (made.state !== 'signed') throw new TypeError('nobody has to agree')
    return octetsIn(bytesSource(octets), attach(made.answers).pieces)
  }

  let count = 0
  async function published(wanted: Partial<NewRelease> = {}): Promise<Release> {
    const version = wanted.version ?? `1.${++count}.0`
    const models = [{ manufacturer: 'acme', model: 'engine-a' }]
    const { id } = await createRelease(context, { component: 'motor', version, models, ...wanted }, engineer.actor)
    const image = new TextEncoder().encode(`motor ${version}`)
    const add = (name: string, octets: Uint8Array): Promise<Release> =>
      addArtifact(
        context,
        id,
        { name, format: 'cms', signer: 'acme-firmware', octets: undefined, pieces: once(octets) },
        engineer.actor,
      )
    await add('motor.bin', image)
    await add('motor.bin.p7s', await signed('cms', image))
    await approveRelease(context, id, engineer)
    await approveAll()
    await approveRelease(context, id, engineer)
    const outcome = await publishRelease(context, id, 'acme-releases', engineer)
    if (outcome.state !== 'done') throw new TypeError('nobody has to agree')
    return outcome.release
  }

  return {
    ...{ context, updates: openUpdates(context), signing, keys, devices, licensed, approveAll, signed, published },
    trust: { director: trustIn('director'), software: trustIn('acme-releases') },
    again: () => openUpdates(context),
    async [Symbol.asyncDispose]() {
      await db.close()
      rmSync(directory, { recursive: true })
    },
  }
}
