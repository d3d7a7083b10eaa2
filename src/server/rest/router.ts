/**
 * Serves the table of routes: finds the row by its path, checks who asks and what they send, and runs it.
 *
 * @module
 */
import { checkAllowed } from '#access/rights.ts'
import { utf8 } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { type Arrival, type Found, logRefusal, type Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { anonymous, authenticate } from './authenticate.ts'
import type { RestContext } from './context.ts'
import { problem } from './failures.ts'
import { once } from './idempotency.ts'
import { inputReader, type RawInput } from './input.ts'
import { openAPI } from './openapi.ts'
import { type Call, type Caller, type Method, type OctetAnswer, octetsOfAnswer, type Route, type Upload } from './route.ts'

export const API_ROOT = '/api/v1'
export const OPENAPI_PATH = `${API_ROOT}/openapi.json`

/** Certificates, requests and records are small; files to be signed come another way: see `takesOctets`. */
const BODY_MAX_OCTETS = 262_144

const JSON_TYPE = { 'content-type': 'application/json' } as const

/** Methods that change nothing are not repeated with care. */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD'])

interface Node {
  readonly literal: Map<string, Node>
  parameter: Node | undefined
  readonly rows: Map<Method, Row>
}

interface Row {
  readonly route: Route
  /** Names of the parameters in the order of the path. */
  readonly names: readonly string[]
  readonly read: ReturnType<typeof inputReader>
}

export function restRouter(routes: readonly Route[], context: RestContext): Router {
  const root = treeOf(routes)
  const document = JSON.stringify(openAPI(routes, context.version))

  return (arrival) => {
    const { path, requestId } = arrival
    if (path !== '/api' && !path.startsWith('/api/')) return undefined
    if (path === OPENAPI_PATH && SAFE.has(arrival.method)) {
      return { route: 'api/openapi', run: () => Promise.resolve({ status: 200, headers: JSON_TYPE, body: document }) }
    }
    const values: string[] = []
    const rows = walk(root, path.slice(1).split('/'), 0, values)
    if (rows === undefined) return refused('api/unknown', new TrustError('notFound', 'unknownPath'), requestId)
    const method = arrival.method === 'HEAD' ? 'GET' : arrival.method
    const row = rows.get(method as Method)
    if (row === undefined) {
      const allowed = [...rows.keys()].join(', ')
      const error = new TrustError('unsupported', 'methodNotAllowed', { facts: { method: method.slice(0, 20), allowed } })
      return {
        route: 'api/method',
        run: () => Promise.resolve(problem(error, { requestId, status: 405, headers: { allow: allowed } })),
      }
    }
    return { route: `api/${row.route.id}`, run: () => serve(row, values, arrival, context) }
  }
}

const refused = (route: string, error: TrustError, requestId: string): Found => ({
  route,
  run: () => Promise.resolve(problem(error, { requestId })),
})

/** A path is a few steps through maps, however many routes there are. */
function treeOf(routes: readonly Route[]): Node {
  const newNode = (): Node => ({ literal: new Map(), parameter: undefined, rows: new Map() })
  const root = newNode()
  const ids = new Set<string>()
  for (const route of routes) {
    if (ids.has(route.id)) throw new TypeError(`two routes are called ${route.id}`)
    ids.add(route.id)
    const names: string[] = []
    let node = root
    for (const segment of route.path.slice(1).split('/')) {
      const name = /^\{(\w+)\}$/.exec(segment)?.[1]
      if (name === undefined) {
        let next = node.literal.get(segment)
        if (next === undefined) node.literal.set(segment, (next = newNode()))
        node = next
      } else {
        names.push(name)
        node = node.parameter ??= newNode()
      }
    }
    if (node.rows.has(route.method)) throw new TypeError(`two routes answer ${route.method} ${route.path}`)
    node.rows.set(route.method, { route, names, read: inputReader(route) })
  }
  return root
}

/** A literal segment wins over a parameter; a parameter is never empty. */
function walk(node: Node, segments: readonly string[], at: number, values: string[]): Node['rows'] | undefined {
  const segment = segments[at]
  if (segment === undefined) return node.rows.size > 0 ? node.rows : undefined
  const literal = node.literal.get(segment)
  const found = literal === undefined ? undefined : walk(literal, segments, at + 1, values)
  if (found !== undefined) return found
  if (node.parameter === undefined || segment === '') return undefined
  values.push(segment)
  const below = walk(node.parameter, segments, at + 1, values)
  if (below === undefined) values.pop()
  return below
}

async function serve(row: Row, values: readonly string[], arrival: Arrival, context: RestContext): Promise<Reply> {
  const { route } = row
  const { requestId } = arrival
  let caller = anonymous
  try {
    if (route.permission !== 'public') {
      caller = await authenticate(context.access, arrival)
      await checkPermission(route, caller, context)
    }
    return await run(row, values, arrival, caller, context)
  } catch (thrown) {
    const error = asTrustError(thrown)
    logRefusal(context.log, error, { requestId, route: `api/${route.id}`, actor: caller.actor, address: arrival.peer.address })
    return problem(error, { requestId })
  }
}

/** Who tries what is not theirs to do is remembered; who is not known is only told to sign in. */
async function checkPermission({ id, method, permission }: Route, caller: Caller, { audit }: RestContext): Promise<void> {
  if (permission === 'signedIn') {
    if (caller.principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
    return
  }
  if (permission === 'public') return
  try {
    checkAllowed(caller.principal, permission)
  } catch (error) {
    if (error instanceof TrustError && error.code === 'forbidden' && !SAFE.has(method)) {
      await audit.refuse({ actor: caller.actor, act: id, object: `route:${id}`, reason: error.reason, facts: { permission } })
    }
    throw error
  }
}

async function run(row: Row, values: readonly string[], arrival: Arrival, caller: Caller, context: RestContext): Promise<Reply> {
  const { route } = row
  const { requestId, method, path, query } = arrival
  const body = route.body === undefined ? undefined : await readJSONBody(arrival, route.bodyMaxOctets)
  const params = Object.fromEntries(row.names.map((name, index) => [name, values[index] ?? '']))
  const reading = row.read({ params, query, body } satisfies RawInput)
  if ('problems' in reading) {
    const list = reading.problems.map(({ at, problem }) => `${at} ${problem}`).join('; ')
    return problem(new TrustError('malformed', 'inputInvalid', { facts: { problems: list } }), {
      requestId,
      problems: reading.problems,
    })
  }
  const handle = (call: Call): Promise<unknown> => route.handle(call, reading.input as never) // as its schemas say
  if (route.takesOctets === true) return replyTo(route, await handle({ ...caller, requestId, upload: uploadOf(arrival) }))
  if (route.givesOctets !== undefined) return replyTo(route, await handle({ ...caller, requestId }))
  const work = async () => {
    const result: unknown = await handle({ ...caller, requestId, address: arrival.peer.address })
    if (route.response === undefined) return { status: 204, body: '' }
    const status = route.isPending?.(result) === true ? 202 : (route.status ?? 200)
    return { status, body: JSON.stringify(result) }
  }
  if (SAFE.has(method)) return toReply(await work(), false)
  const request = {
    key: arrival.headers['idempotency-key'],
    actor: caller.actor,
    method,
    path,
    query,
    body: body ?? new Uint8Array(0),
    answersSecret: route.answersSecret === true,
  }
  const answer = await once(context, request, work)
  return toReply(answer, answer.replayed)
}

/** @throws TrustError `unsupported` for what may be a form, or text that somebody converted on the way */
function uploadOf({ headers, stream }: Arrival): Upload {
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/octet-stream') throw new TrustError('unsupported', 'octetsNeeded')
  const octets = Number(headers['content-length'])
  return {
    octets: Number.isSafeInteger(octets) ? octets : undefined,
    read: stream,
    idempotencyKey: headers['idempotency-key'],
    prefersAsync: /(^|,)\s*respond-async\s*($|[,;])/i.test(headers['prefer'] ?? ''),
  }
}

/** @param result JSON, or octets that are read as they are sent */
function replyTo(route: Route, result: unknown): Reply {
  const stream = octetsOfAnswer(result)
  if (stream === undefined) {
    const status = route.isPending?.(result) === true ? 202 : (route.status ?? 200)
    return toReply({ status, body: JSON.stringify(result) }, false)
  }
  const { headers } = result as OctetAnswer
  return { status: 200, headers: { 'content-type': 'application/octet-stream', ...headers }, body: '', stream }
}

/** What `curl -X POST` sends is no JSON, and clear enough. */
const EMPTY_RECORD = utf8('{}')

async function readJSONBody({ headers, body }: Arrival, maxOctets = BODY_MAX_OCTETS): Promise<Uint8Array> {
  if ((headers['content-length'] ?? '0') === '0' && headers['transfer-encoding'] === undefined) return EMPTY_RECORD
  const type = headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/json') throw new TrustError('unsupported', 'jsonNeeded')
  return body(maxOctets)
}

const toReply = ({ status, body }: { readonly status: number; readonly body: string }, replayed: boolean): Reply => ({
  status,
  headers: { ...(body === '' ? {} : JSON_TYPE), ...(replayed ? { 'idempotency-replayed': 'true' } : {}) },
  body,
})
