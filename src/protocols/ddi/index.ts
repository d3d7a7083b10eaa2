/**
 * hawkBit's Direct Device Integration: devices poll, get what is meant for them, and say how it went.
 *
 * Source: hawkBit DDI API v1. What a device says here is noted and never believed: that an update runs is known from its signed
 * report (`protocols/device-state`).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Exchange, Operation, Protocol, Reply } from '../protocol.ts'
import { failure } from './failures.ts'
import {
  BODY_MAX_OCTETS,
  encodeArtifacts,
  encodeCancel,
  encodeConfirmations,
  encodeDeployment,
  encodeMD5Sum,
  encodePoll,
  MEDIA_TYPE,
  MOUNT,
  parseAction,
  parseAutoConfirmation,
  parseConfigData,
  parseConfirmation,
  parseFeedback,
} from './messages.ts'
import { partOf } from './ranges.ts'
import type { ArtifactBody, Controller, DdiService } from './service.ts'

export type { DdiService } from './service.ts'

/** Tenant, controller, and what is asked of it. A controller's name is its device's serial, 64 characters at most, escaped or not. */
const PATH = /^\/([A-Za-z0-9][A-Za-z0-9._-]{0,63})\/controller\/v1\/([^/]{1,192})(\/.*)?$/
const DOWNLOAD = /^\/softwaremodules\/(\d{1,10})\/artifacts\/([^/]{1,600})$/
const NUMBERED = /^\/(deploymentBase|installedBase|cancelAction|confirmationBase)\/(\d{1,10})(\/feedback)?$/
const LISTED = /^\/softwaremodules\/(\d{1,10})\/artifacts$/
const MD5SUM = '.MD5SUM'
/** A name and a port as RFC 9110, 7.2 has them; anything else makes no link. */
const HOST = /^[A-Za-z0-9.-]{1,253}(?::\d{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?$/
const TARGET_TOKEN = /^TargetToken +([\w.~+/=-]{16,128})$/

/** One request, once it is known who asks. */
interface Asked {
  readonly service: DdiService
  readonly controller: Controller
  /** Below the controller. */
  readonly rest: string
  /** What links begin with. */
  readonly base: string
  readonly exchange: Exchange
}

const unknown = (): TrustError => new TrustError('notFound', 'unknownPath')

async function asked(exchange: Exchange, service: DdiService): Promise<Asked> {
  const [, tenant, id, rest = ''] = PATH.exec(exchange.path) ?? []
  if (tenant === undefined || id === undefined) throw unknown()
  const { host = '', authorization } = exchange.headers
  if (!HOST.test(host)) throw new TrustError('malformed', 'ddiMalformed', { facts: { detail: 'its Host field is no name' } })
  const targetToken = TARGET_TOKEN.exec(authorization ?? '')?.[1]
  const controller = await service.authenticate(tenant, unescaped(id), { chain: exchange.peer.chain, targetToken })
  return { service, controller, rest, base: `https://${host}${MOUNT}/${tenant}/controller/v1/${id}`, exchange }
}

function unescaped(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw unknown()
  }
}

const get: Operation<DdiService> = {
  method: 'GET',
  path: '/*',
  section: 'DDI v1, GET',
  async handle(exchange, ddiService) {
    const one = await asked(exchange, ddiService)
    const { service, controller, rest, base } = one
    if (rest === '') return json(encodePoll(await service.poll(controller), base))
    if (rest === '/confirmationBase') return json(encodeConfirmations(await service.confirmations(controller), base))
    const [, module, filename] = DOWNLOAD.exec(rest) ?? []
    if (module !== undefined && filename !== undefined) return download(one, parseAction(module), unescaped(filename))
    const [, listed] = LISTED.exec(rest) ?? []
    if (listed !== undefined) {
      const { action, chunks } = await service.deployment(controller, parseAction(listed))
      return json(
        encodeArtifacts(
          chunks.flatMap(({ artifacts }) => artifacts),
          base,
          action,
        ),
      )
    }
    const [, resource, number = '', feedback] = NUMBERED.exec(rest) ?? []
    if (feedback !== undefined) throw unknown()
    switch (resource) {
      case 'deploymentBase':
        return json(encodeDeployment(await service.deployment(controller, parseAction(number)), base))
      case 'installedBase':
        return json(encodeDeployment(await service.installed(controller, parseAction(number)), base))
      case 'confirmationBase':
        return json(encodeDeployment(await service.toConfirm(controller, parseAction(number)), base, 'confirmation'))
      case 'cancelAction':
        await service.checkCanceled(controller, parseAction(number))
        return json(encodeCancel(parseAction(number)))
      default:
        throw unknown()
    }
  },
}

const post: Operation<DdiService> = {
  method: 'POST',
  path: '/*',
  section: 'DDI v1, POST',
  async handle(exchange, ddiService) {
    const { service, controller, rest } = await asked(exchange, ddiService)
    const read = async (): Promise<Uint8Array> => exchange.body(BODY_MAX_OCTETS)
    if (rest === '/confirmationBase/activateAutoConfirm') {
      await service.setAutoConfirmation(controller, parseAutoConfirmation(await read()))
      return done()
    }
    if (rest === '/confirmationBase/deactivateAutoConfirm') {
      await service.setAutoConfirmation(controller, undefined)
      return done()
    }
    const [, resource, number = '', feedback] = NUMBERED.exec(rest) ?? []
    if (feedback === undefined) throw unknown()
    const action = parseAction(number)
    switch (resource) {
      case 'deploymentBase':
        await service.feedback(controller, action, parseFeedback(await read(), action))
        return done()
      case 'cancelAction':
        await service.cancelFeedback(controller, action, parseFeedback(await read(), action))
        return done()
      case 'confirmationBase':
        await service.confirm(controller, action, parseConfirmation(await read()))
        return done()
      default:
        throw unknown()
    }
  },
}

const put: Operation<DdiService> = {
  method: 'PUT',
  path: '/*',
  section: 'DDI v1, PUT',
  async handle(exchange, ddiService) {
    const { service, controller, rest } = await asked(exchange, ddiService)
    if (rest !== '/configData') throw unknown()
    const { mode, data } = parseConfigData(await exchange.body(BODY_MAX_OCTETS))
    await service.setAttributes(controller, mode, data)
    return done()
  },
}

const json = (body: string): Reply => ({ status: 200, headers: { 'content-type': MEDIA_TYPE }, body })
const done = (): Reply => ({ status: 200, headers: {}, body: '' })

/** A name that ends in `.MD5SUM` asks for the sum of what is called so without it. */
async function download({ service, controller, exchange }: Asked, action: number, filename: string): Promise<Reply> {
  const isSum = filename.endsWith(MD5SUM)
  const artifact = await service.artifact(controller, action, isSum ? filename.slice(0, -MD5SUM.length) : filename)
  if (isSum) return { status: 200, headers: { 'content-type': 'text/plain' }, body: encodeMD5Sum(artifact) }
  return artifactReply(artifact, exchange)
}

function artifactReply(artifact: ArtifactBody, { headers }: Exchange): Reply {
  const { octets, hashes } = artifact
  const etag = `"${hashes.sha256}"`
  const fields = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes', etag }
  const known = (headers['if-none-match'] ?? '').split(',').map((one) => one.trim())
  if (known.includes(etag)) return { status: 304, headers: fields, body: '' }
  const part = partOf(headers['range'], headers['if-range'], etag, octets)
  if (part === 'unsatisfiable') return { status: 416, headers: { ...fields, 'content-range': `bytes */${octets}` }, body: '' }
  if (part === 'all') return { status: 200, headers: fields, body: '', stream: { octets, read: () => artifact.read(0, octets) } }
  const { start, end } = part
  const partial = { ...fields, 'content-range': `bytes ${start}-${end - 1}/${octets}` }
  return { status: 206, headers: partial, body: '', stream: { octets: end - start, read: () => artifact.read(start, end) } }
}

export const ddi: Protocol<DdiService> = {
  id: 'ddi',
  source: 'hawkBit DDI API v1',
  mount: MOUNT,
  listener: 'tls',
  operations: [get, post, put],
  failure,
}
