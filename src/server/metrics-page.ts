/**
 * `/metrics`: with a token that may read them, or from this machine. Never on the public listener.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import { checkAllowed } from '#access/rights.ts'
import { asTrustError } from '#base/errors.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { type Metrics, METRICS_TYPE } from './metrics.ts'
import { authenticate } from './rest/authenticate.ts'
import { problem } from './rest/failures.ts'

export const metricsPage =
  (access: Access, metrics: Metrics): Router =>
  (arrival) =>
    arrival.path === '/metrics' && arrival.method === 'GET'
      ? { route: 'metrics', run: () => serve(access, metrics, arrival) }
      : undefined

async function serve(access: Access, metrics: Metrics, arrival: Arrival): Promise<Reply> {
  try {
    if (arrival.headers['authorization'] !== undefined || !isFromThisMachine(arrival)) {
      const { principal } = await authenticate(access, arrival)
      checkAllowed(principal, 'metrics.read')
    }
    return { status: 200, headers: { 'content-type': METRICS_TYPE }, body: await metrics.render() }
  } catch (thrown) {
    return problem(asTrustError(thrown), { requestId: arrival.requestId })
  }
}

/** A proxy on this machine speaks for others, and says so in one of these fields. */
function isFromThisMachine({ peer: { address }, headers }: Arrival): boolean {
  if (headers['forwarded'] !== undefined || headers['x-forwarded-for'] !== undefined || headers['via'] !== undefined) return false
  return address === '::1' || /^(?:::ffff:)?127\./.test(address)
}
