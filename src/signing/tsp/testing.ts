/** A time-stamping authority on a database, with a certificate of a root made for it; for tests. Not part of any program. @module */
import { accessMigrations } from '#access/migrations.ts'
import { approvers } from '#access/approvers.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Database, Migration } from '#store/database.ts'
import { storeMigrations } from '#store/migrations.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage, type KeyPurpose, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey, rootExtensions } from '#x509/testing.ts'
import type { Requester } from '../context.ts'
import { signingMigrations } from '../migrations.ts'
import { openSigning, type Signing } from '../service.ts'
import type { TimeStampTerms } from '../signer.ts'
import type { NewSigner } from '../signers.ts'
import { type ClockWatch, openClockWatch } from './clock.ts'

const organizationId = 'default'
const rooms = [storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations]
export const tspMigrations: readonly Migration[] = rooms.flat()
export const POLICY = '1.3.6.1.4.1.32473.7'
export const ROBOT: Requester = { actor: 'service:robot', id: 'robot', kind: 'service', roles: ['service'] }

/** @param world its clock is the one that is stated */
export async function openTestSigning(db: Database, world: World, clock?: ClockWatch) {
  const audit = auditRecorder({ database: db, world, organizationId })
  const wrappingKey = secret(new Uint8Array(32).fill(7)) // the same for every process of a test
  const keys = softwareKeyStore({ database: db, world, organizationId, wrappingKey })
  const watch =
    clock ??
    openClockWatch({
      servers: [],
      clocks: { wall: () => world.clock.now(), monotonic: () => world.clock.now() },
      random: world.random,
      log: silentLog,
      checkSeconds: 64,
    })
  const approvals = openApprovals({
    db,
    audit,
    world,
    organizationId,
    people: approvers(organizationId),
    kinds: [],
  })
  const signing: Signing = openSigning({ db, keys, audit, world, organizationId }, approvals, watch)
  return { signing, keys }
}

export interface TestAuthority {
  readonly root: Uint8Array
  readonly terms: NewSigner
}

/** A key with a certificate of a fresh root. */
export async function testAuthority(
  keys: Awaited<ReturnType<typeof openTestSigning>>['keys'],
  name: string,
  {
    algorithm = 'ecdsa-p256',
    purposes = ['timeStamping'],
    critical = true,
    terms = {},
  }: {
    readonly algorithm?: KeyAlgorithmId
    readonly purposes?: readonly KeyPurpose[]
    readonly critical?: boolean
    readonly terms?: Partial<TimeStampTerms>
  } = {},
): Promise<TestAuthority> {
  const { publicKey } = await keys.generate(name, algorithm)
  const rootKey = makeKey()
  const rootName = encodeName(nameOf([{ type: 'CN', value: 'Time Root' }]))
  const root = await makeCertificate(rootKey, { issuer: rootName, subject: rootName, extensions: rootExtensions(rootKey) })
  const certificate = await makeCertificate(rootKey, {
    serialNumber: Uint8Array.of(7), // not the root's: openssl looks a signer up by issuer and number
    issuer: rootName,
    subject: encodeName(nameOf([{ type: 'CN', value: `Time ${name}` }])),
    subjectPublicKeyInfo: publicKey,
    extensions: [
      extensionWith(basicConstraints, { cA: false }),
      extensionWith(keyUsage, ['digitalSignature'], true),
      extensionWith(
        extKeyUsage,
        purposes.map((purpose) => keyPurposes[purpose]),
        critical,
      ),
    ],
  })
  return {
    root,
    terms: {
      name,
      key: { label: name, chain: [certificate, root] },
      formats: ['rfc3161'],
      users: { roles: ['service'], people: [] },
      priority: 'normal',
      timeStamps: { policy: POLICY, accuracyMilliseconds: 1000, ordering: false, isPublic: true, ...terms },
    },
  }
}
