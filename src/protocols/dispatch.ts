/**
 * Finds the operation a request asks for, runs it, and turns every outcome into a reply.
 *
 * A protocol's path is `mount[/LABEL]operation`: the label names an enrollment endpoint. An operation whose path is
 * `/*` takes whatever lies below the mount, for protocols that put data in the path (OCSP over GET, CRL names).
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { Exchange, Operation, Protocol, Reply } from './protocol.ts'

/** A request as the listener hands it on, before anyone knows whose it is. */
export interface Arrival extends Omit<Exchange, 'label'> {
  readonly requestId: string
  /**
   * Reads a body that is too long to be held, instead of `body`, and once. Whoever stops reading ends the connection.
   *
   * @throws TrustError as `body`
   */
  stream(maxOctets: number): AsyncIterable<Uint8Array>
}

/** An answer that is known to exist: whose it is, for the metrics, and how to get it. `run` does not reject. */
export interface Found {
  /** A name of few, never made of what the peer sent: `est/simpleenroll`. */
  readonly route: string
  run(): Promise<Reply>
}

/** Undefined where the path belongs to someone else. */
export type Router = (arrival: Arrival) => Found | undefined

/** A protocol with the service that it needs. */
export interface Mounted {
  readonly protocol: Protocol<unknown>
  readonly service: unknown
}

export const mount = <Service>(protocol: Protocol<Service>, service: Service): Mounted => ({ protocol, service })

/** Endpoint labels and CA names: what a URL carries without escapes. Longer ones cannot have been created. */
const LABEL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

const ANYTHING_BELOW = '/*'

/** @param listener the side this dispatcher serves; protocols of the other side are not there */
export function dispatcher(mounted: readonly Mounted[], listener: 'tls' | 'public', log: Log): Router {
  const tables = mounted
    .filter(({ protocol }) => protocol.listener === listener || protocol.listener === 'both')
    .map((each) => tableOf(each, log))
    .toSorted((a, b) => b.mount.length - a.mount.length) // the longest mount wins
  return (arrival) => {
    for (const table of tables) {
      if (isBelow(arrival.path, table.mount)) return resolve(table, arrival)
    }
    return undefined
  }
}

const isBelow = (path: string, mountPoint: string): boolean =>
  path.startsWith(mountPoint) && (path.length === mountPoint.length || path[mountPoint.length] === '/')

interface Table {
  readonly mount: string
  readonly id: string
  readonly byPath: ReadonlyMap<string, readonly Entry[]>
  readonly failure: Protocol<unknown>['failure']
  readonly log: Log
}

interface Entry {
  readonly method: Operation<unknown>['method']
  readonly route: string
  run(exchange: Exchange, requestId: string): Promise<Reply>
}

function tableOf({ protocol, service }: Mounted, log: Log): Table {
  const byPath = new Map<string, Entry[]>()
  for (const operation of protocol.operations) {
    const entries = byPath.get(operation.path) ?? []
    if (entries.some(({ method }) => method === operation.method)) {
      throw new TypeError(`${protocol.id} has two operations for ${operation.method} ${operation.path}`)
    }
    entries.push({
      method: operation.method,
      route: `${protocol.id}${operation.path}`,
      run: (exchange, requestId) => run(protocol, operation, exchange, service, log, requestId),
    })
    byPath.set(operation.path, entries)
  }
  return { mount: protocol.mount, id: protocol.id, byPath, failure: (error) => protocol.failure(error), log }
}

/** The one place where a protocol's refusals become replies. */
async function run(
  protocol: Protocol<unknown>,
  operation: Operation<unknown>,
  exchange: Exchange,
  service: unknown,
  log: Log,
  requestId: string,
): Promise<Reply> {
  try {
    return await operation.handle(exchange, service)
  } catch (thrown) {
    const error = asTrustError(thrown)
    logRefusal(log, error, {
      requestId,
      route: `${protocol.id}${operation.path}`,
      label: exchange.label,
      address: exchange.peer.address,
    })
    return protocol.failure(error)
  }
}

/** Bugs and broken dependencies are ours to mend; a refusal is only worth a line when someone looks for it. */
export function logRefusal(log: Log, error: TrustError, fields: Readonly<Record<string, unknown>>): void {
  if (error.code === 'internal') log.error('request failed', { ...fields, error })
  else if (error.code === 'unavailable') log.warn('request could not be served', { ...fields, error })
  else log.info('request refused', { ...fields, code: error.code, reason: error.reason, facts: error.facts })
}

function resolve(table: Table, arrival: Arrival): Found {
  const method = arrival.method === 'HEAD' ? 'GET' : arrival.method
  const below = arrival.path.slice(table.mount.length)
  let allowed = ''

  const pick = (path: string, label: string | undefined, handedPath: string): Found | undefined => {
    const entries = table.byPath.get(path)
    if (entries === undefined) return undefined
    for (const entry of entries) {
      if (entry.method === method) return found(entry, arrival, label, handedPath)
      allowed += allowed === '' ? entry.method : `, ${entry.method}`
    }
    return undefined
  }

  const unlabelled = pick(below, undefined, below)
  if (unlabelled !== undefined) return unlabelled
  const end = below.indexOf('/', 1)
  const label = end === -1 ? below.slice(1) : below.slice(1, end)
  if (LABEL.test(label)) {
    const rest = end === -1 ? '' : below.slice(end)
    const labelled = pick(rest, label, rest)
    if (labelled !== undefined) return labelled
  }
  const anything = below === '' ? undefined : pick(ANYTHING_BELOW, undefined, below)
  if (anything !== undefined) return anything

  if (allowed !== '')
    return { route: `${table.id}/method`, run: () => Promise.resolve(methodNotAllowed(arrival.method, allowed)) }
  return { route: `${table.id}/unknown`, run: () => Promise.resolve(table.failure(new TrustError('notFound', 'unknownPath'))) }
}

const found = (entry: Entry, arrival: Arrival, label: string | undefined, path: string): Found => ({
  route: entry.route,
  run: () => {
    const { method, query, headers, peer } = arrival
    return entry.run(
      { method, path, label, query, headers, peer, body: (maxOctets) => arrival.body(maxOctets) },
      arrival.requestId,
    )
  },
})

/** RFC 9110, 15.5.6: the answer lists what would have worked. No protocol has words of its own for this. */
export function methodNotAllowed(method: string, allowed: string): Reply {
  const { message } = new TrustError('unsupported', 'methodNotAllowed', { facts: { method: method.slice(0, 20), allowed } })
  return { status: 405, headers: { allow: allowed, 'content-type': 'text/plain; charset=utf-8' }, body: `${message}\n` }
}
