/** A whole certification authority on a temporary database, for the tests of this room. @module */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type AlgorithmPolicy, tablePolicy } from '#algorithms/policy.ts'
import { signMessage } from '#algorithms/private-key.ts'
import {
  certificateSignatureOf,
  isKeyAlgorithmId,
  type KeyAlgorithmId,
  signatureAlgorithm as signatureRow,
  type SignatureAlgorithmId,
} from '#algorithms/table.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { policedKeyStore } from '#keys/policed.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { encodeCertificationRequest, parseCertificationRequest } from '#x509/certification-request.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import type { Extension } from '#x509/extensions/extension.ts'
import { nameOf, type NamePart } from '#x509/name.ts'
import { type Authorities, openAuthorities } from './authorities.ts'
import type { CAContext, CASettings } from './context.ts'
import { caMigrations, DEFAULT_ORGANIZATION } from './tables.ts'

export const testSettings: CASettings = {
  publicUrl: 'http://pki.test',
  backdateSeconds: 60,
  retryWindowSeconds: 3600,
  crlMinIntervalSeconds: 60,
  ocspValiditySeconds: 3600,
  weakKeys: new Set(),
  programVersion: 'test',
}

export interface TestCA extends AsyncDisposable {
  readonly context: CAContext
  readonly authorities: Authorities
  /** Moves the clock. */
  advance(seconds: number): void
  /** What the audit log holds, oldest first. */
  entries(): Promise<
    readonly { readonly act: string; readonly outcome: string; readonly reason: string | null; readonly actor: string }[]
  >
}

/** What a CA works with on this database, migrated, with a clock that can be moved. */
export async function onDatabase(db: Database, settings: Partial<CASettings> = {}, policy: AlgorithmPolicy = tablePolicy) {
  const system = systemWorld()
  let offset = 0
  const world: World = { ...system, clock: { now: () => system.clock.now() + offset } }
  await migrate(db, [...storeMigrations, ...keysMigrations, ...auditMigrations, ...caMigrations], world)
  const store = softwareKeyStore({
    database: db,
    world,
    organizationId: DEFAULT_ORGANIZATION,
    wrappingKey: secret(world.random.octets(32)),
  })
  const audit = auditRecorder({ database: db, world, organizationId: DEFAULT_ORGANIZATION })
  const keys = policedKeyStore(store, policy, world.clock)
  const context: CAContext = { db, keys, audit, world, settings: { ...testSettings, ...settings }, policy }
  const advance = (seconds: number): void => {
    offset += seconds * 1000
  }
  return { context, advance }
}

export async function testCA(settings: Partial<CASettings> = {}, policy: AlgorithmPolicy = tablePolicy): Promise<TestCA> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-ca-'))
  const ca = await testCAOn(sqlite({ path: join(directory, 'sealworks.db') }), settings, policy)
  return {
    ...ca,
    async [Symbol.asyncDispose]() {
      await ca[Symbol.asyncDispose]()
      rmSync(directory, { recursive: true })
    },
  }
}

/** The same on a database of the caller's, which is closed with it. */
export async function testCAOn(
  db: Database,
  settings: Partial<CASettings> = {},
  policy: AlgorithmPolicy = tablePolicy,
): Promise<TestCA> {
  const { context, advance } = await onDatabase(db, settings, policy)
  return {
    context,
    authorities: await openAuthorities(context),
    advance,
    entries: () => db.query('SELECT act, outcome, reason, actor FROM audit_entry ORDER BY id'),
    [Symbol.asyncDispose]: () => db.close(),
  }
}

export const person = 'person:tester'

export interface TestHierarchy {
  readonly noExpiry?: boolean
  /** Of both authorities. */
  readonly keyAlgorithm?: KeyAlgorithmId
}

/** A root and an issuing authority below it, as a maker of devices has them. */
export async function hierarchy(
  { authorities }: Pick<TestCA, 'authorities'>,
  { noExpiry = true, keyAlgorithm = 'ecdsa-p256' }: TestHierarchy = {},
): Promise<void> {
  const example = { type: 'O', value: 'Example' }
  const root = nameOf([example, { type: 'CN', value: 'Example root' }])
  await authorities.create({ slug: 'root', name: root, profile: 'root', keyAlgorithm, noExpiry }, person)
  const line1 = nameOf([example, { type: 'CN', value: 'Example line 1' }])
  await authorities.create({ slug: 'line1', name: line1, profile: 'issuing', issuer: 'root', keyAlgorithm, noExpiry }, person)
}

export interface TestKey {
  readonly key: KeyObject
  readonly spki: Uint8Array
  readonly signatureAlgorithm: SignatureAlgorithmId
}

/** What a device may hold: also keys that no profile takes. */
export type TestKeyAlgorithm = KeyAlgorithmId | 'rsa-1024' | 'ecdsa-p224'

export function testKey(algorithm: TestKeyAlgorithm = 'ecdsa-p256'): TestKey {
  const { privateKey, publicKey } = makePair(algorithm)
  return {
    key: privateKey,
    spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    signatureAlgorithm: isKeyAlgorithmId(algorithm)
      ? certificateSignatureOf(algorithm)
      : algorithm === 'rsa-1024'
        ? 'rsa-sha256'
        : 'ecdsa-sha256',
  }
}

function makePair(algorithm: TestKeyAlgorithm) {
  const [family, size = ''] = algorithm.split('-')
  if (family === 'rsa') return generateKeyPairSync('rsa', { modulusLength: Number(size) })
  if (family === 'ecdsa')
    return generateKeyPairSync('ec', { namedCurve: size === 'p224' ? 'secp224r1' : size.replace('p', 'P-') })
  return generateKeyPairSync(algorithm as 'ed25519')
}

export interface TestRequest {
  readonly subject: readonly NamePart[]
  readonly key?: TestKey
  readonly extensions?: readonly Extension[]
  /** Signs instead of the request's own key: a broken proof of possession. */
  readonly signedBy?: TestKey
}

export async function testRequest({
  subject,
  key = testKey(),
  extensions = [],
  signedBy = key,
}: TestRequest): Promise<CertificationRequest> {
  const { signatureAlgorithm } = signedBy
  const der = await encodeCertificationRequest(
    { subject: nameOf(subject), publicKey: key.spki, extensions },
    { signatureAlgorithm, sign: (message) => signMessage(message, signatureRow(signatureAlgorithm), signedBy.key, false) },
  )
  return parseCertificationRequest(der)
}
