/**
 * Whether this server lives and can do its work, for orchestrators, load balancers and people.
 *
 * @module
 */
import type { Router } from '#protocols/dispatch.ts'

/** Something the server works with. `run` rejects when it is not well. */
export interface HealthCheck {
  readonly name: string
  /** False where most of the server goes on without it: shown, but no reason to send clients elsewhere. */
  readonly vital?: boolean
  run(): Promise<unknown>
}

export interface HealthReport {
  readonly ready: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean }[]
}

export interface Health {
  report(): Promise<HealthReport>
}

/** A check that does not come back in this time has failed: probes commonly give up after a second or a few. */
const CHECK_TIMEOUT_MILLISECONDS = 2000
/** Probes come from several sides; one answer serves those who ask at once. */
const REPORT_KEPT_MILLISECONDS = 1000

export function health(checks: readonly HealthCheck[], clock: { now(): number }): Health {
  let kept: { readonly at: number; readonly report: Promise<HealthReport> } | undefined
  return {
    report() {
      const now = clock.now()
      if (kept === undefined || now - kept.at >= REPORT_KEPT_MILLISECONDS || now < kept.at)
        kept = { at: now, report: runAll(checks) }
      return kept.report
    },
  }
}

async function runAll(checks: readonly HealthCheck[]): Promise<HealthReport> {
  const results = await Promise.all(
    checks.map(async (check) => ({ name: check.name, ok: await passes(check), vital: check.vital ?? true })),
  )
  return { ready: results.every(({ ok, vital }) => ok || !vital), checks: results.map(({ name, ok }) => ({ name, ok })) }
}

async function passes(check: HealthCheck): Promise<boolean> {
  const late = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => late.resolve(false), CHECK_TIMEOUT_MILLISECONDS)
  try {
    return await Promise.race([check.run().then(() => true), late.promise])
  } catch {
    return false
  } finally {
    clearTimeout(timer)
  }
}

/** Says which check failed, never why: these pages are for everyone. */
export function healthRouter(state: Health): Router {
  const headers = { 'content-type': 'application/json' }
  return ({ path, method }) => {
    if (method !== 'GET' && method !== 'HEAD') return undefined
    if (path === '/health/live') {
      return { route: 'health/live', run: () => Promise.resolve({ status: 200, headers, body: '{"live":true}\n' }) }
    }
    if (path !== '/health/ready') return undefined
    return {
      route: 'health/ready',
      async run() {
        const report = await state.report()
        return { status: report.ready ? 200 : 503, headers, body: `${JSON.stringify(report)}\n` }
      },
    }
  }
}
