/**
 * The one file that knows every implementation: it builds stores, keys, authorities and protocols and hands them down.
 *
 * @module
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { approvers } from '#access/approvers.ts'
import { accessMigrations } from '#access/migrations.ts'
import { algorithmPolicy } from '#algorithms/policy.ts'
import { type ActKind, type Approvals, openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import type { Audit } from '#audit/audit.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { backupMigrations } from '#backup/migrations.ts'
import { type Log, silentLog } from '#base/log.ts'
import type { Secret } from '#base/secret.ts'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { type Authorities, chainOf, isVouchedFor, offeredBy, openAuthorities } from '#ca/authorities.ts'
import {
  type CertificateRecord,
  findByIssuerAndSerial,
  holdCertificate,
  openCertificate,
  releaseCertificate,
  revokeCertificate,
} from '#ca/certificates.ts'
import { birthAgain, openBirthProfile, signBirth } from '#ca/births.ts'
import type { CAContext } from '#ca/context.ts'
import { publishedCRL } from '#ca/crl.ts'
import { importedRevocations } from '#ca/imported-revocations.ts'
import { type Authorize, enrollment, type Enrollment, type Identity, nameOfIdentity } from '#ca/enrollment.ts'
import { ocsp, type OCSP } from '#ca/ocsp.ts'
import { readRestoration } from '#ca/restoration.ts'
import { caMigrations, DEFAULT_ORGANIZATION } from '#ca/tables.ts'
import { offlineAt, publishedImportedCRL } from '#ca/trusted.ts'
import { parseWeakKeys } from '#ca/weak-keys.ts'
import type { Config } from '#config/config.ts'
import { readSecret } from '#config/secret-file.ts'
import type { BirthIssuer, BirthsContext } from '#devices/birth/context.ts'
import { birthMigrations } from '#devices/birth/migrations.ts'
import { type DeviceChanges, deviceChanges } from '#devices/changes.ts'
import { type DeviceConnections, deviceConnections } from '#devices/connections.ts'
import type { DevicesContext } from '#devices/context.ts'
import { type CertificateStates, tellDue } from '#devices/due.ts'
import { type DeviceEnrollment, deviceEnrollment } from '#devices/enrollment.ts'
import { genuineMigrations } from '#devices/genuine/migrations.ts'
import { devicesMigrations } from '#devices/migrations.ts'
import { type CertificateFacts, type FindFacts } from '#devices/usable.ts'
import { deviceStateMigrations } from '#devices/state/migrations.ts'
import { type DeviceReports, deviceReports } from '#devices/state/reports.ts'
import type { OwnershipContext } from '#devices/ownership/context.ts'
import { ownershipMigrations } from '#devices/ownership/migrations.ts'
import { takeBackUnconfirmed } from '#devices/ownership/moves.ts'
import { bornElsewhere, expireTransfers, foreignCertificateId } from '#devices/ownership/transfers.ts'
import { type GuardedKeyStore, type KeyRing, keyRing } from '#keys/key-ring.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { licensesMigrations } from '#licenses/migrations.ts'
import { policedKeyStore } from '#keys/policed.ts'
import { keyStores } from '#keys/registry.ts'
import { readWrappingKey } from '#keys/software/wrapping-key.ts'
import { type Mounted, mount } from '#protocols/dispatch.ts'
import { protocols } from '#protocols/registry.ts'
import { countBirth } from '#orders/allotments.ts'
import { noteStranger } from '#orders/sightings.ts'
import { ordersMigrations } from '#orders/migrations.ts'
import { expireCommands } from '#commands/commands.ts'
import type { CommandsContext } from '#commands/context.ts'
import { commandsMigrations } from '#commands/migrations.ts'
import type { DeviceMessagesService } from '#protocols/device-messages/index.ts'
import type { RepositoryService } from '#protocols/repository/index.ts'
import { signingMigrations } from '#signing/migrations.ts'
import { openSigning, type Signing, signingActs } from '#signing/service.ts'
import { type ClockWatch, openClockWatch } from '#signing/tsp/clock.ts'
import type { Database, Migration } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { openDatabase } from '#store/registry.ts'
import { campaignsMigrations } from '#updates/campaigns/migrations.ts'
import { usageMigrations } from '#usage/migrations.ts'
import type { UsageContext } from '#usage/usage.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { updatesMigrations } from '#updates/migrations.ts'
import { updateActs } from '#updates/releases.ts'
import { tufMigrations } from '#updates/tuf/migrations.ts'
import { databaseURLOf } from './database-url.ts'
import { deviceMessagesService } from './device-messages.ts'
import { commandMailboxes, openCommands } from './commands.ts'
import { licenseMailbox } from './licenses.ts'
import { stepsToSight } from './order-sightings.ts'
import { publicationMigrations } from './publication/migrations.ts'
import { destroyActs, gatewayActs, transferActs } from './rest/agreed.ts'
import { restMigrations } from './rest/migrations.ts'
import { softwareReports } from './updates.ts'
import { openUsage, usageMailbox } from './usage.ts'
import { VERSION } from './version.ts'

/** Every step of the schema, of all rooms. */
export const migrations: readonly Migration[] = [
  ...storeMigrations,
  ...keysMigrations,
  ...auditMigrations,
  ...accessMigrations,
  ...approvalsMigrations,
  ...caMigrations,
  ...signingMigrations,
  ...devicesMigrations,
  ...birthMigrations,
  ...ordersMigrations,
  ...restMigrations,
  ...publicationMigrations,
  ...backupMigrations,
  ...ownershipMigrations,
  ...deviceStateMigrations,
  ...genuineMigrations,
  ...licensesMigrations,
  ...usageMigrations,
  ...campaignsMigrations,
  ...commandsMigrations,
  ...updatesMigrations,
  ...tufMigrations,
]

const [softwareStore, tokenStore] = keyStores

/** What everything else stands on. */
export interface Foundation {
  readonly db: Database
  readonly keys: KeyRing
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
}

export interface FoundationOptions {
  readonly config: Config
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
  /** What another thread of this process has opened: the database at this build's schema, and stores that are there once. */
  readonly shared?: { readonly database: Database; readonly keyStores: readonly GuardedKeyStore[] }
  /** For what key stores meet while nobody asks. */
  readonly log?: Log
}

/** Opens the database at this build's schema. @throws TrustError `unavailable`, `conflict` when a newer build made it */
export async function openFoundation({ config, world, environment, log, shared }: FoundationOptions): Promise<Foundation> {
  const wrappingKey = await openWrappingKey(config, environment)
  const db = shared?.database ?? (await openMigrated(config, world, environment))
  const audit = auditRecorder({ database: db, world, organizationId: DEFAULT_ORGANIZATION })
  const software = softwareStore.make({ database: db, world, organizationId: DEFAULT_ORGANIZATION, wrappingKey })
  const others = shared?.keyStores ?? openTokens({ config, world, environment, ...(log !== undefined && { log }) }, db)
  const keys = keyRing(software, others)
  return { db, keys, audit, world, organizationId: DEFAULT_ORGANIZATION }
}

async function openMigrated(config: Config, world: World, environment: FoundationOptions['environment']): Promise<Database> {
  const { engine, location } = config.store.url
  if (engine === 'sqlite') mkdirSync(dirname(location), { recursive: true, mode: 0o700 })
  const db = openDatabase(databaseURLOf(config, environment))
  try {
    await migrate(db, migrations, world)
    return db
  } catch (error) {
    await db.close()
    throw error
  }
}

function openTokens({ config, world, environment, log }: FoundationOptions, database: Database): readonly GuardedKeyStore[] {
  const shared = { database, world, organizationId: DEFAULT_ORGANIZATION }
  return config.keyStore.map(({ name, pin, ...settings }) =>
    tokenStore.make({
      ...shared,
      ...settings,
      id: name,
      pin: () => (pin === undefined ? undefined : readSecret(pin, environment)),
      environment: forLibraries(config, environment),
      log: log ?? silentLog,
    }),
  )
}

/** For `doctor`: whether the tokens that the configuration names are there. Gives no PIN. */
export async function lookAtKeyStores({ config, world, environment }: FoundationOptions) {
  const [, pkcs11] = keyStores
  return Promise.all(
    config.keyStore.map(async ({ name, pin, module, tokens }) => ({
      name,
      pin,
      tokens: await pkcs11.look({ id: name, module, tokens, world, environment: forLibraries(config, environment) }),
    })),
  )
}

/** A token's library reads its own settings from the environment; ours, which may hold secrets, are not for it. */
function forLibraries(config: Config, environment: FoundationOptions['environment']): FoundationOptions['environment'] {
  const references = [
    config.keys.wrappingKey,
    config.store.password,
    config.server.tlsKey,
    ...config.keyStore.map(({ pin }) => pin),
  ]
  const secrets = new Set(references.flatMap((reference) => (reference?.kind === 'env' ? [reference.name] : [])))
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('SEALWORKS_') && !secrets.has(name)))
}

/** @throws TrustError `unavailable`, `notFound` */
export function openWrappingKey(
  { keys: { wrappingKey } }: Config,
  environment: FoundationOptions['environment'],
): Promise<Secret> {
  if (wrappingKey.kind === 'file') return readWrappingKey(wrappingKey.path)
  return Promise.resolve(readSecret(wrappingKey, environment))
}

/** The authorities with what they do. */
export interface CAServices {
  readonly context: CAContext
  readonly keys: KeyRing
  readonly authorities: Authorities
  readonly enrollment: Enrollment
  readonly ocsp: OCSP
  readonly devices: DeviceServices
}

export interface DeviceServices {
  readonly context: DevicesContext
  readonly enrollment: DeviceEnrollment
  readonly births: BirthsContext
  readonly reports: DeviceReports
  readonly messages: DeviceMessagesService
  readonly commands: CommandsContext
  readonly connections: DeviceConnections
  /** Read for connections, and for brokers. */
  readonly changes: DeviceChanges
  readonly ownership: OwnershipContext
  readonly usage: UsageContext
  readonly facts: FindFacts
  /** Tells the authorities what became of devices, since the last time. */
  tellDue(): Promise<void>
  /** Offers that nobody answered, and certificates that no device was seen to use, are taken back. */
  takeBack(): Promise<void>
}

/** As devices know it. */
const certificateOf = (identity: Identity): string | undefined =>
  identity.kind === 'device'
    ? identity.record.id
    : identity.kind === 'foreign-device'
      ? foreignCertificateId(identity.fingerprint)
      : undefined

/** What devices have to say to an enrollment, and keep with it. */
export const askingDevices =
  ({ authorize }: Pick<DeviceEnrollment, 'authorize'>, context: DevicesContext): Authorize =>
  async ({ endpoint, identity, productSerial }) => {
    const certificateId = certificateOf(identity)
    const actor = nameOfIdentity(identity)
    const stepsWith = await authorize({ endpointId: endpoint.id, actor, certificateId, productSerial })
    const place = placeOf(endpoint.label)
    const sighted = certificateId === undefined ? [] : await stepsToSight(context, { certificateId, place }, actor)
    return ({ id, keyHash, issuedAt }) => [...stepsWith({ certificateId: id, keyHash, issuedAt }), ...sighted]
  }

/** Where a device is when it enrolls: endpoints are for plants. */
const placeOf = (label: string): string => `endpoint ${label}`

const OCSP_VALIDITY_SECONDS = 3600

export async function openCA({ db, keys, audit, world }: Foundation, config: Config): Promise<CAServices> {
  const { preset, ...schedules } = config.algorithms
  const policy = algorithmPolicy({ preset, schedules })
  const restoration = await readRestoration(db)
  const policed = policedKeyStore(keys, policy, world.clock)
  const context: CAContext = {
    db,
    keys: policed,
    audit,
    world,
    settings: {
      ...config.ca,
      publicUrl: config.server.publicUrl,
      ocspValiditySeconds: OCSP_VALIDITY_SECONDS,
      weakKeys: readWeakKeys(config.ca.weakKeyLists),
      issuanceClosed: restoration?.state === 'closed',
      programVersion: VERSION,
    },
    policy,
  }
  const authorities = await openAuthorities(context)
  const devices = openDevices({ db, audit, world, organizationId: DEFAULT_ORGANIZATION }, { context, authorities }, config)
  return {
    context,
    keys: policed,
    authorities,
    enrollment: enrollment(
      context,
      authorities,
      askingDevices(devices.enrollment, devices.context),
      async (fingerprint, chain, { label }) => {
        const productSerial = await bornElsewhere(devices.ownership, fingerprint)
        if (productSerial === undefined) await noteStranger(devices.context, chain, placeOf(label))
        return productSerial
      },
    ),
    ocsp: ocsp(context, authorities),
    devices,
  }
}

function openDevices(context: DevicesContext, ca: Pick<CAServices, 'context' | 'authorities'>, config: Config): DeviceServices {
  const states = certificateStates(ca.context)
  const ownership: OwnershipContext = {
    ...context,
    keys: ca.context.keys,
    certificates: states,
    birthChain: (certificateId) => birthChain(ca, certificateId),
  }
  const tellAll = async (): Promise<void> => {
    while ((await tellDue(context, states)) > 0);
  }
  const changes = deviceChanges(context)
  const usage = openUsage(context, (der) => certificateFacts(ca, der))
  const { assurancePolicyArc, birthChallengeSeconds: challengeSeconds } = config.devices
  const { retryWindowSeconds } = config.ca
  const certificate = (der: Uint8Array): Promise<CertificateFacts | undefined> => certificateFacts(ca, der)
  const facts: FindFacts = (id) => certificateById(ca, id)
  const connections = deviceConnections({ ...context, changes, certificate, refreshIssuers: () => ca.authorities.refresh() })
  const commands = openCommands({ context, ...config.commands, certificate, facts })
  return {
    context,
    enrollment: deviceEnrollment(context),
    births: {
      ...context,
      issuer: birthIssuer(ca),
      counting: (toBe) => countBirth(context, toBe),
      settings: { assurancePolicyArc, challengeSeconds, retryWindowSeconds },
    },
    ownership,
    usage,
    changes,
    connections,
    facts,
    reports: deviceReports({
      ...{ ...context, tellDue: tellAll, certificate, software: softwareReports(context) },
      // devices report from wherever they are
      stepsToSight: (certificateId) => stepsToSight(context, { certificateId, place: '' }, 'service:device-reports'),
    }),
    commands,
    messages: deviceMessagesService(connections, {
      ...commandMailboxes(commands),
      license: licenseMailbox({ context, ownership }),
      usage: usageMailbox(usage),
    }),
    tellDue: tellAll,
    async takeBack() {
      await expireTransfers(ownership)
      await takeBackUnconfirmed(context, config.devices.unconfirmedHours)
      await expireCommands(commands)
    },
  }
}

/** What the authorities know of a certificate that a device shows. */
export async function certificateFacts(
  { context, authorities }: Pick<CAServices, 'context' | 'authorities'>,
  der: Uint8Array,
): Promise<CertificateFacts | undefined> {
  const addresses = authorities.list().map(({ address }) => address)
  const record = await findByIssuerAndSerial(context, authorities, parseCertificate(der), addresses)
  return record === undefined || !equal(record.der, der) ? undefined : factsOf({ context, authorities }, record)
}

/** The same, by its id in the CA's table. */
export async function certificateById({ context, authorities }: Pick<CAServices, 'context' | 'authorities'>, id: string) {
  const record = await openCertificate(context, id).catch((thrown: unknown) => {
    if (asTrustError(thrown).code === 'notFound') return undefined
    throw thrown
  })
  return record === undefined ? undefined : { ...factsOf({ context, authorities }, record), der: record.der }
}

function factsOf(
  { context, authorities }: Pick<CAServices, 'context' | 'authorities'>,
  { id, state, notBefore, notAfter, authorityId }: CertificateRecord,
): CertificateFacts {
  return {
    ...{ certificateId: id, status: state, notBefore: notBefore.getTime(), notAfter: notAfter.getTime() },
    isIssuerEnabled: isVouchedFor(authorities, authorities.byId(authorityId), context.world.clock.now()),
    another: (other) => certificateById({ context, authorities }, other),
  }
}

async function birthChain({ context, authorities }: Pick<CAServices, 'context' | 'authorities'>, certificateId: string) {
  const { der, authorityId } = await openCertificate(context, certificateId)
  return [der, ...chainOf(authorities, authorities.byId(authorityId))]
}

/** Births get their certificates from authorities of this installation, and believe makers of TPMs that it trusts. */
export const birthIssuer = ({ context, authorities }: Pick<CAServices, 'context' | 'authorities'>): BirthIssuer => ({
  endorsementTrust: endorsementTrust({ context, authorities }),
  sign: (wanted, actor) => signBirth(context, authorities, wanted, actor),
  again: (certificateId) => birthAgain(context, authorities, certificateId),
  async check({ authority, profile }) {
    authorities.byAddress(authority)
    await openBirthProfile(context, profile)
  },
})

/** Makers of TPMs that are trusted here. */
export function endorsementTrust({
  context,
  authorities,
}: Pick<CAServices, 'context' | 'authorities'>): BirthIssuer['endorsementTrust'] {
  const revocation = { demand: 'known', port: importedRevocations(context, authorities) } as const
  return (addresses) => ({
    revocation,
    anchors: addresses.map((address) => {
      const { state, certificate } = authorities.trustedByAddress(address)
      if (state === 'active') return certificate.der
      throw new TrustError('policyRefused', 'authorityRetired', { facts: { authority: address } })
    }),
  })
}

/** Certificates as devices ask for them to be: those that are so already, and those of other installations, stay. */
export function certificateStates(context: CAContext): CertificateStates {
  const unlessSo = async (work: Promise<void>): Promise<void> => {
    try {
      await work
    } catch (thrown) {
      const { code } = asTrustError(thrown)
      if (code !== 'conflict' && code !== 'notFound') throw thrown
    }
  }
  return {
    hold: (id) => unlessSo(holdCertificate(context, id, 'system')),
    release: (id) => unlessSo(releaseCertificate(context, id, 'system')),
    revoke: (id, reason) => unlessSo(revokeCertificate(context, id, reason, 'system')),
  }
}

/** What can be asked approval for: each room lists its own. */
const actKinds: readonly ActKind[] = [...signingActs, ...destroyActs, ...transferActs, ...gatewayActs, ...updateActs]

export const openApprovalsFor = ({ db, audit, world, organizationId }: Omit<Foundation, 'keys'>): Approvals =>
  openApprovals({ db, audit, world, organizationId, people: approvers(organizationId), kinds: actKinds })

/**
 * Signers take keys under the same policy of algorithms as authorities, and sign nothing while those issue nothing: what
 * was counted, approved and disabled since the backup is not known.
 */
export function openSigningFor(
  { db, audit, world, organizationId }: Foundation,
  { keys, context }: Pick<CAServices, 'keys' | 'context'>,
  approvals: Approvals,
  clock: ClockWatch,
): Signing {
  const signing = openSigning({ db, keys, audit, world, organizationId }, approvals, clock)
  if (context.settings.issuanceClosed !== true) return signing
  const refuse = (): Promise<never> => Promise.reject(new TrustError('unavailable', 'issuanceClosed'))
  return {
    ...signing,
    timeStamps: { ...signing.timeStamps, answer: refuse, stamp: refuse },
    check: refuse,
    sign: refuse,
    askForUses: refuse,
  }
}

/** Watches the clock that all of this process goes by. */
export const openClock = ({ clock }: Config, world: World, log: Log): ClockWatch =>
  openClockWatch({
    servers: clock.sources,
    clocks: { wall: () => world.clock.now(), monotonic: () => performance.now() },
    random: world.random,
    log,
    checkSeconds: clock.checkSeconds,
  })

/** @throws TrustError `malformed`, `notFound` */
function readWeakKeys(files: readonly (string | undefined)[]): ReadonlySet<string> {
  const hashes = new Set<string>()
  for (const file of files) {
    if (file === undefined) continue
    for (const hash of parseWeakKeys(readFileSync(file, 'utf8'), file)) hashes.add(hash)
  }
  return hashes
}

/** What relying parties get, over HTTP and where it is published. */
export const repositoryOf = ({ context, authorities }: Pick<CAServices, 'context' | 'authorities'>): RepositoryService => ({
  publishedCRL(address, which) {
    const offline = offlineAt(authorities, address)
    return offline === undefined
      ? publishedCRL(context, authorities, address, which)
      : publishedImportedCRL(context, offline, which)
  },
  authorityCertificates: (address) =>
    offeredBy(authorities, offlineAt(authorities, address) ?? authorities.byAddress(address), context.world.clock.now()),
  now: () => context.world.clock.now(),
})

/** Every protocol with the service that it needs. */
export function composeProtocols({
  context,
  authorities,
  enrollment: enrolls,
  ocsp: answers,
  devices,
}: Omit<CAServices, 'keys' | 'devices'> & {
  readonly devices?: Pick<DeviceServices, 'reports' | 'messages'>
}): readonly Mounted[] {
  const repository = repositoryOf({ context, authorities })
  const { est, ocsp: ocspProtocol, crlRepository, certificateRepository } = protocols
  return [
    mount(est, enrolls),
    mount(ocspProtocol, answers),
    mount(crlRepository, repository),
    mount(certificateRepository, repository),
    ...(devices === undefined
      ? []
      : [mount(protocols.deviceState, devices.reports), mount(protocols.deviceMessages, devices.messages)]),
  ]
}
