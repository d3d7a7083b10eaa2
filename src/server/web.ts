/**
 * What listeners answer beside the protocols: REST, health, metrics.
 *
 * @module
 */
import { openAccess } from '#access/access.ts'
import type { AuditLog } from '#audit/log.ts'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import { newestBackup, type Backups } from '#backup/runs.ts'
import type { Config } from '#config/config.ts'
import { countCertificates } from '#ca/certificates.ts'
import { listEndpoints } from '#ca/endpoint.ts'
import { offlineStates } from '#ca/trusted.ts'
import type { Broker } from '#mqtt/broker.ts'
import type { KeyRing } from '#keys/key-ring.ts'
import type { LicensesContext } from '#licenses/context.ts'
import type { Archive } from '#signing/upload/archive.ts'
import type { Jobs } from '#signing/upload/jobs.ts'
import { mount, type Mounted, type Router } from '#protocols/dispatch.ts'
import { protocols } from '#protocols/registry.ts'
import type { ClockWatch } from '#signing/tsp/clock.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Updates } from '#updates/updates.ts'
import { type CAServices, type Foundation, openApprovalsFor, openSigningFor } from './compose.ts'
import { composeArtifacts } from './artifacts.ts'
import { type Campaigns, openCampaigns } from './campaigns.ts'
import { health, type HealthCheck, healthRouter } from './health.ts'
import type { Listener, Observe } from './listener.ts'
import { metricsPage } from './metrics-page.ts'
import { metrics } from './metrics.ts'
import { agreement } from './rest/agreed.ts'
import { openLicenses } from './licenses.ts'
import { openOrders } from './orders.ts'
import { restRouter } from './rest/router.ts'
import { allRoutes } from './rest/routes.ts'
import { signInPages } from './sign-in.ts'
import { statusPage, type StatusSource } from './status-page.ts'
import { tlogRouter } from './tlog.ts'
import { tufRouter } from './tuf.ts'
import { campaignReleases, openUpdatesFor } from './updates.ts'
import { VERSION } from './version.ts'

export interface WebParts {
  readonly foundation: Foundation
  readonly backups: Backups
  readonly ca: CAServices
  readonly auditLog: AuditLog
  readonly dataDirectory: string
  readonly config: Config
  readonly world: World
  readonly clock: ClockWatch
  readonly log: Log
  /** Undefined where there is none, or not yet. */
  readonly broker: () => Broker | undefined
  /** Called when endpoints were made or changed. */
  readonly endpointsChanged: () => Promise<void>
}

export interface Web {
  readonly observe: Observe
  /** What the main thread answers for all, since it watches the clock. */
  readonly publicProtocols: readonly Mounted[]
  /** What needs more than what each thread has: signers, and who is under way. */
  readonly tlsProtocols: readonly Mounted[]
  /** Fields of every answer. */
  readonly headers: Readonly<Record<string, string>>
  routers(listener: Listener['id']): readonly Router[]
  /** Artifacts that are signed here. */
  readonly jobs: Jobs
  readonly archive: Archive
  readonly licenses: LicensesContext
  readonly updates: Updates
  readonly campaigns: Campaigns
}

/** Nothing here is to be framed, sniffed, cached or referred from. */
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
} as const

const HSTS_SECONDS = 365 * 86_400

export function composeWeb({
  foundation,
  backups,
  ca,
  auditLog,
  config,
  world,
  clock,
  log,
  endpointsChanged,
  broker,
  ...where
}: WebParts): Web {
  const { db, audit, organizationId } = foundation
  const access = openAccess({ database: db, world, audit, organizationId })
  const approvals = openApprovalsFor(foundation)
  const startedAt = world.clock.now()
  const state = health(
    [
      { name: 'database', run: () => db.query('SELECT 1 AS one') },
      { name: 'audit log key', run: () => foundation.keys.open(auditLog.signer.label) },
      ...keyStoreChecks(foundation.keys),
      ...backupChecks(foundation, config),
      { name: 'clock', vital: false, run: async () => checkClock(clock) },
      ...(config.mqtt.listen === undefined && config.mqtt.mosquitto === undefined
        ? []
        : [{ name: 'message broker', vital: false, run: async () => checkBroker(broker()) }]),
    ],
    world.clock,
  )
  const numbers = metrics({ version: VERSION, startedAt })
  const signing = openSigningFor(foundation, ca, approvals, clock)
  const licenses = openLicenses(foundation, ca.devices, signing)
  const updates = openUpdatesFor({
    foundation,
    devices: ca.devices.context,
    facts: ca.devices.facts,
    licenses,
    signing,
    approvals,
    config,
    dataDirectory: where.dataDirectory,
  })
  const campaigns = openCampaigns(foundation, ca.devices, campaignReleases(updates))
  showClock(numbers, clock)
  const artifacts = composeArtifacts({ foundation, signing, approvals, access, config, world, log, ...where })
  const { installationName: name, publicUrl } = config.server
  const routes = allRoutes({
    access,
    audit: { db, world, organizationId, log: auditLog },
    server: { health: state, version: VERSION, name, startedAt },
    ca,
    backups,
    signing,
    artifacts: { ...artifacts, waitSeconds: config.signing.uploadWaitSeconds },
    approvals,
    agreed: agreement({ approvals, access, db, least: config.approvals.destroyKeyPeople }),
    agreedByTwo: agreement({ approvals, access, db, least: 1 }),
    offersAlone: config.devices.offersAlone,
    orders: openOrders(foundation, ca),
    licenses,
    updates,
    campaigns: campaigns.context,
    broker,
    endpointsChanged,
  })
  const rest = restRouter(routes, { access, audit, db, organizationId, world, log, version: VERSION })
  const probes = healthRouter(state)
  const tuf = tufRouter(updates, config.updates.servesTargets)
  const pages = [
    statusPage({ access, health: state, source: statusSource(ca), name, version: VERSION, publicUrl }),
    signInPages({ access, world, log }),
    metricsPage(access, numbers),
  ]
  return {
    publicProtocols: [mount(protocols.tsp, signing.timeStamps)],
    tlsProtocols: [mount(protocols.ddi, campaigns.door)],
    ...artifacts,
    licenses,
    updates,
    campaigns,
    observe: numbers.observe,
    headers: {
      ...SECURITY_HEADERS,
      ...(config.server.strictTransportSecurity && { 'strict-transport-security': `max-age=${HSTS_SECONDS}` }),
    },
    routers(listener) {
      const tlog = tlogRouter({ access, db, organizationId }, listener)
      return listener === 'public' ? [probes, tlog, tuf] : [rest, probes, tlog, tuf, ...pages]
    },
  }
}

/** One of several processes drives a broker that runs beside; the others have nothing to say of it. */
function checkBroker(broker: Broker | undefined): void {
  const { state, detail = 'it has not started' } = broker?.status() ?? { state: 'away' }
  if (state === 'away') throw new TrustError('unavailable', 'brokerAway', { facts: { detail } })
}

/** Looked after where backups are meant to be made; nothing stops for want of one. */
const backupChecks = ({ db, organizationId, world }: Foundation, { backup }: Config): readonly HealthCheck[] => {
  if (backup.recipients.length === 0) return []
  const run = async (): Promise<void> => {
    const { madeAt } = await newestBackup(db, organizationId)
    const oldest = world.clock.now() - backup.warnAfterHours * 3_600_000
    if (madeAt === undefined || madeAt < oldest) throw new Error('the newest backup is too old')
  }
  return [{ name: 'backup', vital: false, run }]
}

/** Everything but time stamps goes on with a clock in doubt. */
function checkClock(clock: ClockWatch): void {
  const { standing, doubt } = clock.state()
  if (standing === 'doubtful') throw new Error(doubt)
}

function showClock({ gauge }: ReturnType<typeof metrics>, clock: ClockWatch): void {
  const secondsOf = (milliseconds: number | undefined): number => {
    if (milliseconds === undefined) throw new Error('no time servers have agreed')
    return milliseconds / 1000
  }
  gauge('sealworks_clock_doubtful', 'Whether the clock is in doubt, so that no time stamps are made', () =>
    clock.state().standing === 'doubtful' ? 1 : 0,
  )
  gauge('sealworks_clock_unchecked', 'Whether no time servers are named, so that only steps of the clock are seen', () =>
    clock.state().standing === 'unchecked' ? 1 : 0,
  )
  gauge('sealworks_clock_offset_seconds', 'How far the time servers are ahead of the clock', () =>
    secondsOf(clock.state().offsetMilliseconds),
  )
  gauge('sealworks_clock_error_seconds', 'How far the clock may be from UTC', () => secondsOf(clock.state().errorMilliseconds))
}

/** An authority whose token is away issues nothing; the others, and all CRLs that exist, are as they were. */
const keyStoreChecks = (keys: KeyRing): readonly HealthCheck[] =>
  keys.stores.flatMap(({ id }) => {
    const store = keys.guarded(id)
    if (store === undefined) return []
    const run = async (): Promise<void> => {
      const { state } = await store.state()
      if (state !== 'ready') throw new Error(`the key store is ${state}`)
    }
    return [{ name: `key store ${id}`, vital: false, run }]
  })

const statusSource = ({ context, authorities }: CAServices): StatusSource => ({
  authorities: () =>
    authorities.list().map(({ address, certificate, state }) => ({
      address,
      subject: formatName(parseName(certificate.subject)),
      notAfter: certificate.notAfter,
      state,
    })),
  offline: async () =>
    (await offlineStates(context, authorities)).map(({ authority, state, crl }) => ({
      address: authority.address,
      subject: formatName(parseName(authority.certificate.subject)),
      crl: state,
      nextUpdate: crl?.nextUpdate,
    })),
  endpoints: async () =>
    (await listEndpoints(context)).map(({ label, protocol, authorityId, state }) => ({
      label,
      protocol,
      authority: authorities.byId(authorityId).address,
      state,
    })),
  counts: async () => Object.entries(await countCertificates(context)).map(([name, count]) => ({ name, count })),
})
