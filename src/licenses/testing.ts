/** Licenses on a temporary database of either engine, with a maker, its signer and its devices; for tests. Not part of any program. @module */
import { generateKeyPairSync } from 'node:crypto'
import { accessMigrations } from '#access/migrations.ts'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import type { People } from '#approvals/people.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Requester } from '#signing/context.ts'
import { messageTrust, type MessageTrust } from '#signing/messages.ts'
import { signingMigrations } from '#signing/migrations.ts'
import { openSigning, signingActs } from '#signing/service.ts'
import type { SignerApproval } from '#signing/signer.ts'
import { openClockWatch } from '#signing/tsp/clock.ts'
import { testAuthority } from '#signing/tsp/testing.ts'
import type { Database, Migration } from '#store/database.ts'
import { storeMigrations } from '#store/migrations.ts'
import type { LicensedDevice, LicensesContext } from './context.ts'
import type { WantedLicense } from './licenses.ts'
import { setMaker } from './makers.ts'
import { licensesMigrations } from './migrations.ts'

export const licenseTestMigrations: readonly Migration[] = [
  ...[storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations].flat(),
  ...licensesMigrations,
]

export const seller: Requester = { actor: 'person:sam', id: 'sam', kind: 'person', roles: ['release-engineer'] }
const organizationId = 'default'

export const birthKey = (): PublicKey =>
  importPublicKey(
    new Uint8Array(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'der' })),
  )

export const testDevice = (id: string, more: Partial<LicensedDevice> = {}): LicensedDevice => ({
  ...{ id, productSerial: id.toUpperCase(), manufacturer: 'acme', model: 'acme/press', birthKey: birthKey() },
  ...{ isCutOff: false, owner: 'carworks', epoch: 1, ...more },
})

export const usualTerms = { form: 'cwt', features: [{ name: 'drill' }], graceDays: 0, isTransferable: true } as const
export const wantedFor = (device: Pick<LicensedDevice, 'id'>, more: Partial<WantedLicense> = {}): WantedLicense => ({
  ...usualTerms,
  ...{ maker: 'acme', deviceId: device.id },
  ...more,
})

export interface TestLicenses {
  readonly context: LicensesContext
  /** May be changed under way. */
  readonly devices: Map<string, LicensedDevice>
  readonly trust: MessageTrust
  /** DER: whom devices trust for licenses. */
  readonly root: Uint8Array
  readonly refusals: string[]
  /** The person says yes to everything that waits. */
  approveAll(): Promise<void>
}

/** @param approval of the signer, where people have to agree */
export async function openTestLicenses(
  db: Database,
  world: World,
  { approval }: { readonly approval?: SignerApproval } = {},
): Promise<TestLicenses> {
  const audit = auditRecorder({ database: db, world, organizationId })
  const keys = softwareKeyStore({ database: db, world, organizationId, wrappingKey: secret(new Uint8Array(32).fill(7)) })
  const clocks = { wall: () => world.clock.now(), monotonic: () => world.clock.now() }
  const clock = openClockWatch({ servers: [], clocks, random: world.random, log: silentLog, checkSeconds: 64 })
  const people: People = {
    counting: async (_, __, ids) => ids,
    stillCount: () => ({ sql: 'SELECT 1 AS holds', parameters: [], expects: { holds: 1 } }),
  }
  const approvals = openApprovals({ db, audit, world, organizationId, people, kinds: signingActs })
  const signing = openSigning({ db, keys, audit, world, organizationId }, approvals, clock)
  const { root, terms } = await testAuthority(keys, 'acme-licenses', { purposes: ['documentSigning'] })
  const { timeStamps: _, ...usual } = terms
  const users = { roles: ['server:licenses'], people: [] }
  await signing.signers.create({ ...usual, formats: ['cose-sign1', 'jws'], users, ...(approval && { approval }) }, seller.actor)
  const devices = new Map<string, LicensedDevice>()
  const refusals: string[] = []
  const context: LicensesContext = {
    ...{ db, audit, world, organizationId, signing },
    async device(id) {
      const device = devices.get(id)
      if (device === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
      return device
    },
    epochsOf: async (ids) => new Map(ids.flatMap((id) => (devices.has(id) ? [[id, devices.get(id)?.epoch ?? 0] as const] : []))),
    async checkSpeaks() {},
    async checkMayIssue({ maker, deviceId }) {
      if (devices.get(deviceId)?.manufacturer === maker) return
      refusals.push(deviceId)
      throw new TrustError('forbidden', 'ruleRefuses', { facts: { rule: 'license.issue', missing: 'maker-of-model' } })
    },
  }
  await setMaker(context, { maker: 'acme', signer: 'acme-licenses' }, seller.actor)
  return {
    ...{ context, devices, root, refusals, trust: messageTrust([root]) },
    async approveAll() {
      const { approvals: waiting } = await approvals.list({ state: 'pending', limit: 100 })
      for (const { id, digest } of waiting)
        await approvals.approve(id, { digest }, { actor: 'person:ann', id: 'ann', kind: 'person' })
    },
  }
}
