/**
 * The director: whether a device may install a release now, and the signed statement that says so to that device alone.
 *
 * It asks the very conditions that the device will ask, so that nothing is offered which is refused there. What was said to whom
 * is kept with the record of it before it goes out. Each statement has a higher number than any before it, and one that is at
 * least the second in which it was made: a server that was put back to an earlier day goes on above what its devices have seen.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { asTrustError, type Facts, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import { parseCOSE } from '#cbor/cose.ts'
import { onBehalf, type OwnMessage, type SignedMessage, signMessage } from '#signing/message-signing.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import type { UpdatesContext } from './context.ts'
import { installedCounters } from './installed.ts'
import {
  type DeviceFacts,
  DIRECTOR_TYPE,
  type DirectorStatement,
  encodeStatement,
  manifestDigest,
  parseManifest,
  parseStatement,
  refusalOf,
  type ReleaseManifest,
  type Wanted,
} from './messages.ts'
import { openRelease, type Release } from './releases.ts'

export interface Order {
  readonly releaseId: string
  readonly deviceId: string
  readonly kind: 'install' | 'rollback'
  /** Of the campaign: what the device's answers name. */
  readonly action: string
  /** SHA-256 of what the owner or the driver agreed to. */
  readonly consent?: Uint8Array | undefined
}

type Decision =
  | { readonly isAllowed: true; readonly prepared: Prepared }
  | { readonly isAllowed: false; readonly reason: Reason; readonly facts: Facts }

/** What holds of a device and a release at once. */
interface Prepared {
  readonly release: Published
  readonly wanted: Wanted
}

/** A release that is out, and does not change any more. */
interface Published {
  readonly release: Release
  readonly manifest: ReleaseManifest
  readonly manifestDigest: Uint8Array
  /** Signed by the maker. */
  readonly message: Uint8Array
}

/** Both papers that a device wants to see. */
export interface Directed {
  readonly statementId: string
  readonly sequence: number
  readonly statement: Uint8Array
  /** The release's manifest, as its maker signed it. */
  readonly manifest: Uint8Array
  readonly expiresAt: number
}

export interface Director {
  /**
   * The statement that was given last, where it still says the same; a new one otherwise.
   *
   * @throws TrustError `policyRefused` when the device may not, which is in the audit log; `unavailable` without a signer
   */
  direct(order: Order, actor: string): Promise<Directed>
}

/** More than are rolled out at once. */
const PUBLISHED_MAX = 64
/** Others that tell the same device something at the same time; each has taken its number. */
const TRIES_MAX = 4
/** After a signer did not sign: devices ask once a minute, and whoever mends it does not wait long. */
const SILENT_MILLISECONDS = 60_000
/** A statement that was given before is given again until so much of its time is over: a device needs time to use it. */
const REUSED_UNTIL = 0.5

export function openDirector(context: UpdatesContext): Director {
  const { db, audit, world, organizationId, devices, licenses, signing, settings } = context
  const published = new Map<string, Published>()

  /** @returns the record of one that is not out */
  async function publishedRelease(id: string): Promise<Published | Release> {
    const known = published.get(id)
    const [row] = await db.query<{ state: string }>('SELECT state FROM software_release WHERE id = ?', id)
    if (known !== undefined && row?.state === 'published') return known
    published.delete(id)
    const release = await openRelease(context, id)
    if (release.state !== 'published' || release.manifest === undefined || release.message === undefined) return release
    const manifest = parseManifest(release.manifest)
    const found = { release, manifest, manifestDigest: manifestDigest(manifest), message: release.message }
    if (published.size >= PUBLISHED_MAX) published.delete(published.keys().next().value ?? '')
    published.set(id, found)
    return found
  }

  async function decide(order: Order): Promise<Decision> {
    const [found, device, installed] = await Promise.all([
      publishedRelease(order.releaseId),
      devices.open(order.deviceId),
      installedCounters(context, order.deviceId),
    ])
    if (!('release' in found)) return refused('releaseState', { state: found.state })
    const { release, manifest } = found
    const { birthKey, owner, isInUse } = device
    if (!isInUse) return refused('deviceNotInUse')
    if (birthKey === undefined) return refused('updateNotBorn')
    if (owner === undefined) return refused('updateNoOwner')
    const meant = release.models.find(({ modelId }) => modelId === device.modelId)
    const { component, counter, source, requires, feature } = manifest
    if (meant === undefined) {
      const models = manifest.models.map(({ manufacturer, model }) => `${manufacturer}/${model}`).join(', ')
      return refused('updateOtherModel', { model: models, here: `${device.manufacturer}/${device.model}` })
    }
    const here = installed.get(component) ?? 0
    if (order.kind === 'rollback' && here <= counter)
      return refused('updateRollbackOther', { component, from: counter + 1, here })
    const isLicensed = feature !== undefined && (await licenses.isLicensed(device.id, feature))
    const wanted: Wanted = {
      device: { manufacturer: device.manufacturer, productSerial: device.productSerial, birthKey },
      owner: { name: owner, epoch: device.epoch },
      area: device.area,
      model: device.model,
      revisions: meant.revisions,
      ...{ component, counter, source, requires, feature },
      rollback: order.kind === 'rollback' ? { from: here, to: counter } : undefined,
    }
    const features = new Set(isLicensed ? [feature] : [])
    const facts: DeviceFacts = { ...device, birthKey, owner, installed, features }
    const differs = refusalOf(wanted, facts)
    if (differs !== undefined) return refused(differs.reason, differs.facts)
    if (!devices.mayUpdate({ isApproved: true, isAgreed: true })) return refused('updateRule')
    return { isAllowed: true, prepared: { release: found, wanted } }
  }

  let silence: { readonly until: number; readonly error: TrustError } | undefined

  /** A signer that does not sign is asked again a while later: each time it is asked there is an entry in the audit log. */
  async function signAs(name: string, message: OwnMessage): Promise<SignedMessage> {
    if (silence !== undefined && world.clock.now() < silence.until) throw silence.error
    silence = undefined
    try {
      const signed = await signMessage(signing, name, message, onBehalf('server:updates'))
      if (signed.state === 'signed') return signed
      throw new TrustError('policyRefused', 'updateDirectorWaits', { facts: { name } })
    } catch (cause) {
      const { code, reason, message: detail } = asTrustError(cause)
      if (code === 'internal' || code === 'unavailable' || code === 'rateLimited') throw cause
      // no device is refused for what is wrong with the signer
      const why = reason === 'updateDirectorWaits' ? reason : 'updateDirectorRefuses'
      const error = new TrustError('unavailable', why, { facts: { name, detail }, cause })
      silence = { until: world.clock.now() + SILENT_MILLISECONDS, error }
      throw error
    }
  }

  async function sign(order: Order, prepared: Prepared, last: number, actor: string): Promise<Directed> {
    const { directorSigner: signer, statementHours } = settings
    if (signer === undefined) throw new TrustError('unavailable', 'updateDirectorMissing')
    const now = toWholeSeconds(world.clock.now())
    const sequence = Math.max(last + 1, now / 1000)
    const expiresAt = now + statementHours * 3_600_000
    const place = { id: uuidv7(world), sequence, issuedAt: new Date(now), expiresAt: new Date(expiresAt) }
    const statement = statementOf(order, prepared, place)
    const payload = encodeStatement(statement)
    const message: OwnMessage = { form: 'cose', typ: DIRECTOR_TYPE, payload }
    const signed = await signAs(signer, message)
    world.faults.reach('director statement signed')
    const digest = createHash('sha256').update(signed.octets).digest('hex')
    const { id, component, version, counter, kind, action, consent } = statement
    await keep(db, [
      {
        sql: 'SELECT state FROM software_release WHERE id = ?',
        parameters: [order.releaseId],
        expects: { state: 'published' },
        refusal: (row) => new TrustError('policyRefused', 'releaseState', { facts: { state: String(row?.['state'] ?? '') } }),
      },
      {
        sql: `INSERT INTO director_sequence (device_id, organization_id, last) VALUES (?, ?, ?)
          ON CONFLICT (device_id) DO UPDATE SET last = excluded.last WHERE director_sequence.last < excluded.last RETURNING last`,
        parameters: [order.deviceId, organizationId, sequence],
        expects: { last: sequence },
        refusal: () => new TrustError('conflict', 'updateSequence'),
      },
      {
        sql: `INSERT INTO director_statement (id, organization_id, version, device_id, release_id, component, kind, action, sequence, digest,
            octets, entry, issued_at, expires_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        parameters: [
          ...[id, organizationId, order.deviceId, order.releaseId, component, kind, action, sequence, digest, signed.octets],
          ...[signed.entry, now, expiresAt],
        ],
      },
      audit.statement({
        ...{ actor, act: 'update.direct', object: `device:${order.deviceId}`, outcome: 'done' },
        facts: {
          ...{ release: order.releaseId, component, version, counter, kind, action, sequence, digest, entry: signed.entry },
          ...(consent !== undefined && { consent: consent.toHex() }),
        },
      }),
    ])
    world.faults.reach('director statement kept')
    return { statementId: id, sequence, statement: signed.octets, manifest: prepared.release.message, expiresAt }
  }

  async function direct(order: Order, actor: string): Promise<Directed> {
    const decision = await decide(order)
    if (!decision.isAllowed) {
      const { reason, facts } = decision
      const object = `device:${order.deviceId}`
      await audit.refuse({ actor, act: 'update.direct', object, reason, facts: { ...facts, release: order.releaseId } })
      throw new TrustError('policyRefused', reason, { facts })
    }
    for (let tries = 1; ; tries++) {
      const newest = await newestOf(context, order.deviceId)
      const again = newest === undefined ? undefined : reused(order, decision.prepared, newest, world.clock.now())
      if (again !== undefined) return again
      try {
        return await sign(order, decision.prepared, newest?.last ?? 0, actor)
      } catch (error) {
        if (asTrustError(error).reason !== 'updateSequence' || tries === TRIES_MAX) throw error
      }
    }
  }

  return { direct }
}

const refused = (reason: Reason, facts: Facts = {}): Decision => ({ isAllowed: false, reason, facts })

type Place = Pick<DirectorStatement, 'id' | 'sequence' | 'issuedAt' | 'expiresAt'>

const statementOf = (
  { releaseId, kind, action, consent }: Order,
  { release: { manifest, manifestDigest: digest }, wanted }: Prepared,
  place: Place,
): DirectorStatement => ({
  ...wanted,
  ...place,
  release: releaseId,
  version: manifest.version,
  artifacts: manifest.artifacts,
  manifest: digest,
  ...{ kind, action, consent },
})

interface NewestRow extends Row {
  readonly last: number
  readonly octets: Uint8Array | null
}

/** The number outlives its statement. */
async function newestOf({ db }: UpdatesContext, deviceId: string): Promise<NewestRow | undefined> {
  const [row] = await db.query<NewestRow>(
    `SELECT q.last AS last, s.octets AS octets FROM director_sequence q
      LEFT JOIN director_statement s ON s.device_id = q.device_id AND s.sequence = q.last WHERE q.device_id = ?`,
    deviceId,
  )
  return row
}

/** @returns what was given last, where it says what would be said now and has enough of its time before it */
function reused(order: Order, prepared: Prepared, { octets }: NewestRow, now: number): Directed | undefined {
  const payload = octets === null ? undefined : parseCOSE(octets).payload
  if (octets === null || payload === undefined) return undefined
  const { id, sequence, issuedAt, expiresAt } = parseStatement(payload)
  const until = issuedAt.getTime() + (expiresAt.getTime() - issuedAt.getTime()) * REUSED_UNTIL
  const same = encodeStatement(statementOf(order, prepared, { id, sequence, issuedAt, expiresAt }))
  if (now >= until || !equal(payload, same)) return undefined
  return { statementId: id, sequence, statement: octets, manifest: prepared.release.message, expiresAt: expiresAt.getTime() }
}
