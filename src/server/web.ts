/**
 * What listeners answer beside the protocols: REST, health, metrics.
 *
 * @module
 */
import { openAccess } from '#access/access.ts'
import type { AuditLog } from '#audit/log.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import type { Router } from '#protocols/dispatch.ts'
import type { CAServices, Foundation } from './compose.ts'
import { health, healthRouter } from './health.ts'
import type { Listener, Observe } from './listener.ts'
import { metrics } from './metrics.ts'
import { accessRoutes } from './rest/access.ts'
import { auditRoutes } from './rest/audit.ts'
import { authorityRoutes } from './rest/authorities.ts'
import { certificateRoutes } from './rest/certificates.ts'
import { endpointRoutes } from './rest/endpoints.ts'
import { keyRoutes } from './rest/keys.ts'
import { profileRoutes } from './rest/profiles.ts'
import { restRouter } from './rest/router.ts'
import { serverRoutes } from './rest/server.ts'
import { VERSION } from './version.ts'

export interface WebParts {
  readonly foundation: Foundation
  readonly ca: CAServices
  readonly auditLog: AuditLog
  readonly config: Config
  readonly world: World
  readonly log: Log
  /** Called when endpoints were made or changed. */
  readonly endpointsChanged: () => Promise<void>
}

export interface Web {
  readonly observe: Observe
  /** Fields of every answer. */
  readonly headers: Readonly<Record<string, string>>
  routers(listener: Listener['id']): readonly Router[]
}

/** Nothing here is to be framed, sniffed, cached or referred from. */
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
} as const

const HSTS_SECONDS = 365 * 86_400

export function composeWeb({ foundation, ca, auditLog, config, world, log, endpointsChanged }: WebParts): Web {
  const { db, audit, organizationId } = foundation
  const access = openAccess({ database: db, world, audit, organizationId })
  const startedAt = world.clock.now()
  const state = health(
    [
      { name: 'database', run: () => db.query('SELECT 1 AS one') },
      { name: 'audit log key', run: () => foundation.keys.open(auditLog.signer.label) },
    ],
    world.clock,
  )
  const numbers = metrics({ version: VERSION, startedAt })
  const routes = [
    ...serverRoutes({ health: state, version: VERSION, name: config.server.installationName, startedAt }),
    ...accessRoutes(access),
    ...auditRoutes({ db, world, organizationId, log: auditLog }),
    ...authorityRoutes(ca),
    ...profileRoutes(ca),
    ...endpointRoutes(ca, endpointsChanged),
    ...certificateRoutes(ca),
    ...keyRoutes(ca),
  ]
  const rest = restRouter(routes, { access, audit, db, organizationId, world, log, version: VERSION })
  const probes = healthRouter(state)
  return {
    observe: numbers.observe,
    headers: {
      ...SECURITY_HEADERS,
      ...(config.server.strictTransportSecurity && { 'strict-transport-security': `max-age=${HSTS_SECONDS}` }),
    },
    routers: (listener) => (listener === 'public' ? [probes] : [rest, probes]),
  }
}
