/**
 * A running server: what was composed, its listeners, and the work that comes by itself.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { forgetEndedSessions } from '#access/sessions.ts'
import { openAuditLog } from '#audit/log.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { journal } from '#backup/journal.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { uuidv7, type World } from '#base/world.ts'
import { issueDueCRLs } from '#ca/crl.ts'
import { listEndpoints } from '#ca/endpoint.ts'
import { offlineStates } from '#ca/trusted.ts'
import { forgetAnswered, forgetSecrets, SLICES } from '#ca/forget.ts'
import type { Config } from '#config/config.ts'
import { publishDue } from '#licenses/status.ts'
import { purgeBirths } from '#devices/birth/births.ts'
import { listAreas } from '#devices/areas.ts'
import { CHANGES_SECONDS } from '#devices/changes.ts'
import { readSecret } from '#config/secret-file.ts'
import type { Address } from '#config/setting.ts'
import { dispatcher, type Router } from '#protocols/dispatch.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import { pruneOutbox, sequenceOutbox } from '#store/outbox.ts'
import { renewOnline } from '#updates/tuf/repository.ts'
import { runInBackground } from './background.ts'
import { composeBackups } from './backup.ts'
import {
  type CAServices,
  composeProtocols,
  openApprovalsFor,
  openCA,
  openClock,
  openFoundation,
  repositoryOf,
  type Foundation,
} from './compose.ts'
import { TLS_ROOT_FILE } from './init.ts'
import { issueListenerCertificate, type ListenerCertificate } from './listener-certificate.ts'
import { type Listener, openListener } from './listener.ts'
import { publisher } from './publication/publisher.ts'
import { publicationTargets } from './publication/targets.ts'
import { rateLimit } from './rate-limit.ts'
import { forgetIdempotencyKeys } from './rest/idempotency.ts'
import { TICKET_SECRET_OCTETS, type TLSFace, type TLSIdentity } from './tls-options.ts'
import { startBroker } from './mqtt.ts'
import { composeWeb } from './web.ts'
import { composeWitnessing } from './witnesses.ts'
import { AUTHORITIES_SECONDS } from './front-messages.ts'
import { type Fronts, startFronts } from './fronts.ts'

export interface ServeOptions {
  readonly config: Config
  readonly dataDirectory: string
  /** The configuration's file as it was read, which goes into backups; empty where there is none. */
  readonly configText?: string | undefined
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly log: Log
  /** Takes whole lines of the log that other threads write. */
  readonly write?: (line: string) => void
}

export interface Served {
  readonly addresses: {
    readonly tls: Address
    readonly public: Address
    readonly console: Address | undefined
    /** Of the built-in message broker. */
    readonly mqtt: Address | undefined
  }
  /** Takes nothing new, finishes what is under way, puts the last audit entries in order. */
  stop(): Promise<void>
}

/** Whether `init` went through here. */
export const isInitialized = (dataDirectory: string): boolean => existsSync(join(dataDirectory, TLS_ROOT_FILE))

/** @returns once both listeners answer @throws TrustError `unavailable` before `init`, `conflict` when another server has the directory */
export async function serve(options: ServeOptions): Promise<Served> {
  const { config, dataDirectory } = options
  if (!isInitialized(dataDirectory)) throw new TrustError('unavailable', 'notInitialized')
  const lock = config.store.url.engine === 'sqlite' ? lockDirectory(dataDirectory, 'sealworks serve') : undefined
  const undo: (() => unknown)[] = [() => lock?.release()]
  try {
    const foundation = await openFoundation(options)
    undo.push(async () => {
      await foundation.keys.close()
      await foundation.db.close()
    })
    const ca = await openCA(foundation, config)
    return await listen(options, foundation, ca, undo)
  } catch (error) {
    for (const step of undo.toReversed()) await step()
    throw error
  }
}

async function listen(options: ServeOptions, foundation: Foundation, ca: CAServices, undo: (() => unknown)[]): Promise<Served> {
  const { config, world, log } = options
  const { db, keys, organizationId } = foundation
  const auditLog = await openAuditLog({ database: db, keys, organizationId })

  const identity = await serverIdentity(options, ca)
  let current = identity.issued
  const face = async (): Promise<TLSFace> => ({ identity: identity.now(), clientAuthorities: await clientAuthorities(ca) })
  const brokerFace = async (): Promise<TLSFace> => ({ identity: identity.now(), clientAuthorities: await areaAuthorities(ca) })
  const listeners: Listener[] = []
  let fronts: Fronts | undefined
  const broker = await startBroker({
    config,
    environment: options.environment,
    ca,
    devices: ca.devices,
    world,
    log,
    face: await brokerFace(),
  })
  undo.push(() => broker?.stop())
  const present = async (): Promise<void> => {
    const next = await face()
    fronts?.present(next)
    for (const listener of listeners) if (listener.id !== 'public') listener.present(next)
    broker?.present(await brokerFace())
  }

  /** Whoever has changed something by REST finds it changed, whichever thread is asked next. */
  const seenByAll =
    (router: Router): Router =>
    (arrival) => {
      const found = router(arrival)
      if (found === undefined || arrival.method === 'GET' || arrival.method === 'HEAD') return found
      return {
        route: found.route,
        async run() {
          const reply = await found.run()
          await fronts?.changed()
          return reply
        },
      }
    }
  const backups = composeBackups({ ...options, foundation, auditLog })
  const clock = openClock(config, world, log)
  const web = composeWeb({
    ...options,
    foundation,
    backups,
    ca,
    clock,
    auditLog,
    endpointsChanged: present,
    broker: () => broker?.broker,
  })
  const routers = {
    tls: [dispatcher(web.tlsProtocols, 'tls', log), ...web.routers('tls').map(seenByAll)],
    public: [dispatcher(web.publicProtocols, 'public', log), ...web.routers('public').map(seenByAll)],
    console: web.routers('console').map(seenByAll),
  }
  const mounted = composeProtocols(ca)
  const { server } = config
  const shared = {
    limits: server,
    rate: rateLimit({
      perSecond: server.requestsPerSecondPerAddress,
      burst: server.requestBurstPerAddress,
      addressesMax: server.rateAddressesMax,
      clock: world.clock,
    }),
    headers: web.headers,
    world,
    log,
    observe: web.observe,
  }
  const firstFace = await face()
  const ticketSecret = new Uint8Array(world.random.octets(TICKET_SECRET_OCTETS))
  const open = async (id: Listener['id'], address: Address): Promise<Listener> => {
    const all = id === 'console' ? routers.console : [dispatcher(mounted, id, log), ...routers[id]]
    const tls = id === 'public' ? {} : { tls: { face: firstFace, asksForCertificate: id === 'tls', ticketSecret } }
    const listener = await openListener({ id, address, routers: all, ...tls, ...shared })
    undo.push(() => listener.stop())
    listeners.push(listener)
    return listener
  }
  const wanted = { tls: server.listen as Address, public: server.listenPublic as Address }
  let addresses = wanted
  if (server.workers > 0) {
    const { environment } = options
    const lendable = { config, environment, addresses: wanted, headers: web.headers, ticketSecret, database: db, keys, face }
    fronts = await startFronts({
      ...lendable,
      count: server.workers,
      routers,
      observe: web.observe,
      log,
      write: options.write ?? (() => {}),
    })
    undo.push(() => fronts?.stop())
    addresses = fronts.addresses
  } else {
    addresses = { tls: (await open('tls', wanted.tls)).address, public: (await open('public', wanted.public)).address }
  }
  const console = server.listenConsole === undefined ? undefined : await open('console', server.listenConsole)

  // the lock on a SQLite directory proves that who held the lease before us is gone
  const alone = config.store.url.engine === 'sqlite'
  const sequencer = auditSequencer({ database: db, world, log: auditLog, holder: uuidv7(world), alone })
  const witnesses = composeWitnessing({ database: db, world, auditLog, config, log, alone })
  const publishing = publisher({
    db,
    world,
    organizationId,
    authorities: ca.authorities,
    repository: repositoryOf(ca),
    targets: publicationTargets(options),
    log,
  })
  let slices = 0
  const isClosed = ca.context.settings.issuanceClosed === true
  if (isClosed)
    log.warn('restored from a backup, so nothing is issued until: sealworks restore --journal DIR, or --override REASON', {})
  const { journal: directory } = config.backup
  const following =
    directory === undefined ? undefined : journal({ database: db, world, log: auditLog, directory, holder: uuidv7(world), alone })
  const background = runInBackground(
    [
      // a restored log goes on where its journals end, once they are read
      { name: 'audit log', everySeconds: 1, run: async () => (isClosed ? undefined : sequencer.runOnce()) },
      { name: 'backup journal', everySeconds: 1, run: async () => (isClosed ? undefined : following?.runOnce()) },
      {
        name: 'audit witnesses',
        everySeconds: config.audit.witnessIntervalSeconds,
        run: () => witnesses.runOnce(),
      },
      { name: 'clock', everySeconds: 1, run: () => clock.runOnce() },
      { name: 'signing jobs', everySeconds: 2, run: async () => (isClosed ? undefined : web.jobs.runOnce()) },
      { name: 'licenses taken back', everySeconds: 60, run: async () => (isClosed ? undefined : publishDue(web.licenses)) },
      { name: 'signing archive', everySeconds: 3600, run: () => web.archive.purge() },
      { name: 'outbox', everySeconds: 1, run: () => sequenceOutbox(db) },
      { name: 'read outbox', everySeconds: 3600, run: () => pruneOutbox(db, world) },
      { name: 'campaigns', everySeconds: 2, run: async () => (isClosed ? undefined : web.campaigns.work.runOnce()) },
      { name: 'TUF metadata', everySeconds: 300, run: async () => (isClosed ? undefined : renewOnline(web.updates.context)) },
      { name: 'devices that asked for updates', everySeconds: 60, run: () => web.campaigns.door.writeContacts() },
      { name: 'approvals', everySeconds: 3600, run: () => openApprovalsFor(foundation).purge() },
      { name: 'idempotency keys', everySeconds: 3600, run: () => forgetIdempotencyKeys({ db, world, organizationId }) },
      {
        name: 'authorities',
        everySeconds: AUTHORITIES_SECONDS,
        // what another process made, rotated or revoked
        run: async () => ((await ca.authorities.refresh()) ? present() : undefined),
      },
      { name: 'answered requests', everySeconds: 3600 / SLICES, run: () => forgetAnswered(ca.context, slices++) },
      { name: 'births', everySeconds: 3600, run: () => purgeBirths(ca.devices.births) },
      { name: 'ended sessions', everySeconds: 3600, run: () => forgetEndedSessions(db, world) },
      { name: 'ended secrets', everySeconds: 3600, run: () => forgetSecrets(ca.context) },
      { name: 'CRLs', everySeconds: 5, run: () => issueDueCRLs(ca.context, ca.authorities.list()) },
      { name: 'devices', everySeconds: 5, run: () => ca.devices.tellDue() },
      { name: 'changes of devices', everySeconds: CHANGES_SECONDS, run: () => ca.devices.changes.runOnce() },
      { name: 'message broker', everySeconds: 1, run: async () => broker?.runOnce() },
      { name: 'connections of devices', everySeconds: 1, run: () => ca.devices.connections.sweep() },
      { name: 'offers and unused certificates', everySeconds: 60, run: () => ca.devices.takeBack() },
      { name: 'publication', everySeconds: 5, run: () => publishing.runOnce() },
      { name: 'offline CRLs', everySeconds: 3600, run: () => warnOfOfflineCRLs(ca, log) },
      { name: 'OCSP responders', everySeconds: 3600, run: () => ca.ocsp.renewResponders() },
      { name: 'OCSP answers', everySeconds: 5, run: () => ca.ocsp.signAhead() },
      {
        name: 'server certificate',
        everySeconds: 600,
        async run() {
          if (current === undefined || world.clock.now() < (current.notBefore + current.notAfter) / 2) return
          current = await identity.renew()
          await present()
          log.info('server certificate renewed', { notAfter: new Date(current.notAfter).toISOString() })
        },
      },
    ],
    log,
    (milliseconds, signal) => wait(milliseconds, undefined, { signal, ref: false }).catch(() => {}),
  )

  return {
    addresses: { ...addresses, console: console?.address, mqtt: broker?.address },
    async stop() {
      await broker?.stop()
      await Promise.all([fronts?.stop(), ...listeners.map((listener) => listener.stop())])
      await background.stop()
      await web.jobs.close()
      await backups.settle()
      if (!isClosed) {
        await sequencer.runOnce()
        await following?.runOnce()
      }
      await Promise.all([sequencer.release(), following?.release()])
      for (const step of undo.slice(0, 2).toReversed()) await step()
    },
  }
}

interface Identity {
  now(): TLSIdentity
  /** Undefined when the certificate comes from elsewhere. */
  readonly issued: ListenerCertificate | undefined
  renew(): Promise<ListenerCertificate>
}

async function serverIdentity({ config, environment }: ServeOptions, ca: CAServices): Promise<Identity> {
  const { tlsCertificate, tlsKey, serverNames: names, certificateDays: validityDays } = config.server
  const issue = (): Promise<ListenerCertificate> => issueListenerCertificate(ca.context, ca.authorities, { names, validityDays })
  if (tlsCertificate !== undefined && tlsKey !== undefined) {
    const certificateChainPEM = readFileSync(tlsCertificate, 'utf8')
    const privateKeyPEM = secret(utf8(Buffer.from(readSecret(tlsKey, environment).reveal('TLS server key')).toString()))
    return { now: () => ({ certificateChainPEM, privateKeyPEM }), issued: undefined, renew: issue }
  }
  let latest = await issue()
  return {
    now: () => latest.identity,
    issued: latest,
    async renew() {
      latest = await issue()
      return latest
    },
  }
}

/** A person has to go to the offline machine, and should know it in time. */
async function warnOfOfflineCRLs({ context, authorities }: CAServices, log: Log): Promise<void> {
  for (const { authority, state, crl } of await offlineStates(context, authorities)) {
    if (state === 'published') continue
    const nextUpdate = crl === undefined ? {} : { nextUpdate: crl.nextUpdate.toISOString() }
    log.warn('the CRL of an offline authority has to be issued and imported', {
      authority: authority.address,
      state,
      ...nextUpdate,
    })
  }
}

/** Only the issuers that enabled endpoints list: a client then offers the certificate that is meant for here. */
async function clientAuthorities({ context, authorities }: CAServices): Promise<readonly Uint8Array[]> {
  const addresses = new Set(
    (await listEndpoints(context)).filter(({ state }) => state === 'enabled').flatMap(({ rules }) => rules.clientIssuers),
  )
  return [...authorities.list(), ...authorities.trusted()]
    .filter(({ address }) => addresses.has(address))
    .map(({ certificate }) => certificate.der)
}

/** Only those that issue for areas: a device then offers its operational certificate. */
async function areaAuthorities({ authorities, devices }: CAServices): Promise<readonly Uint8Array[]> {
  const addresses = new Set((await listAreas(devices.context)).map(({ authority }) => authority))
  return authorities
    .list()
    .filter(({ address, slug }) => addresses.has(address) || addresses.has(slug))
    .map(({ certificate }) => certificate.der)
}
