/**
 * Who lets devices in, by whatever protocol, asks here: from the certificate that a peer showed to the device that it is, or to
 * a refusal. Nothing is allowed that the rule `connect` does not allow.
 *
 * A connection that stays open is held here too, and ended when its certificate stops being usable: by a change that any process
 * made, or by time alone.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import { seldom } from '#base/seldom.ts'
import type { Reason } from '#base/sentences.ts'
import { keep } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { type ConnectionProtocol, readAreaPolicy } from './area-policy.ts'
import { type CertificateRole, stepsToConfirm } from './certificates.ts'
import type { Changed, DeviceChanges } from './changes.ts'
import type { DevicesContext } from './context.ts'
import { type AssuranceLevel, type DeviceKind, objectOf, openDevice } from './device.ts'
import { type Condition, decide } from './rules.ts'
import { type CertificateFacts, isUsable } from './usable.ts'

export interface ConnectionsContext extends DevicesContext {
  /** The CA's record of this very certificate: the same octets. @returns undefined for one that it did not issue */
  certificate(der: Uint8Array): Promise<CertificateFacts | undefined>
  /** Reads again which authorities there are. @returns whether something about them changed */
  refreshIssuers(): Promise<boolean>
  readonly changes: DeviceChanges
}

export interface ConnectionQuestion {
  readonly protocol: ConnectionProtocol
  /** What the peer calls itself: an MQTT client id, a DDI controller id; undefined where the protocol has no such name. */
  readonly name: string | undefined
  /** `operational` and `proxied` unless told: a birth certificate shows who a device is, and that it belongs to nobody here. */
  readonly roles?: readonly CertificateRole[]
}

/** A device that was let in, as it was at that moment. */
export interface ConnectedDevice {
  readonly deviceId: string
  /** Its serial as recorded: no other device of its owner has it. */
  readonly name: string
  readonly kind: DeviceKind
  readonly assurance: AssuranceLevel
  /** Of its ownership. */
  readonly epoch: number
  readonly ownerId: string | undefined
  readonly ownerName: string | undefined
  /** Of its certificate, which is the area that it is in; undefined for a birth certificate. */
  readonly areaId: string | undefined
  readonly areaName: string | undefined
  readonly role: CertificateRole
  /** Who speaks for it with this certificate; undefined for one that speaks for itself. */
  readonly gatewayId: string | undefined
  readonly certificateId: string
  /** The certificate ends. */
  readonly notAfter: number
  /** Of {@link DeviceChanges}: what was read of changes when this was decided. */
  readonly round: number
}

export interface HeldConnection {
  /** The connection is closed. */
  release(): void
}

export interface DeviceConnections {
  /**
   * Whether this peer may connect; what was not allowed is in the audit log, at most once a minute for the same certificate and reason.
   *
   * @param chain what the peer showed, its own certificate first; TLS has proven that it has the key
   * @throws TrustError `unauthenticated`, `forbidden`, `conflict`
   */
  admit(chain: readonly Uint8Array[], question: ConnectionQuestion): Promise<ConnectedDevice>
  /** @param end is called once, when the connection may not go on */
  hold(device: ConnectedDevice, chain: readonly Uint8Array[], end: (reason: Reason) => void): HeldConnection
  /** How many are held. */
  held(): number
  /** Ends what ended by time alone, and looks at some again that nothing was heard of. To be called about once a second. */
  sweep(): Promise<void>
}

const ACTOR = 'service:device-connections'
/** Should a message ever be missed: no connection stays unasked for longer. */
const LOOK_AGAIN_MILLISECONDS = 300_000
/** Looked at in one go, so that other work comes in between. */
const LOOK_AT_ONCE = 64

interface Held {
  readonly device: ConnectedDevice
  readonly own: Uint8Array
  readonly end: (reason: Reason) => void
  lookedAt: number
}

export function deviceConnections(context: ConnectionsContext): DeviceConnections {
  const { db, world, audit, changes } = context
  const now = (): number => world.clock.now()
  const isNews = seldom(world.clock)
  const all = new Set<Held>()
  const byDevice = index((held) => held.device.deviceId)
  const byCertificate = index((held) => held.device.certificateId)
  const byArea = index((held) => held.device.areaId)
  const byGateway = index((held) => held.device.gatewayId)
  const indexes = [byDevice, byCertificate, byArea, byGateway]
  let silence: (() => void) | undefined

  async function admit(chain: readonly Uint8Array[], question: ConnectionQuestion): Promise<ConnectedDevice> {
    const [own] = chain
    try {
      if (own === undefined) throw new TrustError('unauthenticated', 'deviceCertificateMissing')
      return await admitOnce(own, question)
    } catch (thrown) {
      const error = asTrustError(thrown)
      await noteRefusal(error, own, question)
      throw error
    }
  }

  async function admitOnce(own: Uint8Array, question: ConnectionQuestion, tries = 2): Promise<ConnectedDevice> {
    const { round } = changes
    const facts = await context.certificate(own)
    if (facts === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
    const usable = await isUsable(db, facts, now())
    const row = await describe(facts.certificateId)
    check(row, question, usable.isUsable ? undefined : usable.reason)
    if (!usable.isUsable) throw new TrustError('forbidden', usable.reason)
    if (usable.isFirst && usable.role === 'operational') {
      try {
        await confirm(facts.certificateId, usable.deviceId, row.area_id)
      } catch (thrown) {
        // another connection of the device was faster, or an officer: what holds now decides
        const error = asTrustError(thrown)
        if (error.code !== 'conflict' || tries === 0) throw error
      }
      // it has arrived where the certificate is for, and may be more than it was
      return admitOnce(own, question, tries - 1)
    }
    return connected(row, facts, round)
  }

  function check(row: DeviceRow | undefined, question: ConnectionQuestion, reason: Reason | undefined): asserts row is DeviceRow {
    const problems = new Map<Condition, Reason | undefined>([
      ['certificate-usable', reason ?? (row === undefined ? 'deviceCertificateUnknown' : refusedRole(row, question))],
      ['name-matches', row === undefined ? 'deviceCertificateUnknown' : refusedName(row, question)],
    ])
    const holding = new Set([...problems].filter(([, problem]) => problem === undefined).map(([condition]) => condition))
    const decision = decide('connect', holding)
    if (decision.isAllowed) return
    const { missing } = decision
    const facts = { rule: 'connect', missing: missing ?? 'a rule', name: row?.area_name ?? '', protocol: question.protocol }
    throw new TrustError('forbidden', (missing && problems.get(missing)) ?? 'ruleRefuses', { facts })
  }

  async function describe(certificateId: string): Promise<DeviceRow | undefined> {
    const [row] = await db.query<DeviceRow>(DESCRIBE, certificateId)
    return row
  }

  async function confirm(certificateId: string, deviceId: string, areaId: string | null): Promise<void> {
    const device = await openDevice(context, db, deviceId)
    await keep(db, [...stepsToConfirm(context, device, { certificateId, areaId: areaId ?? undefined }, ACTOR)])
  }

  async function noteRefusal(error: TrustError, own: Uint8Array | undefined, { protocol }: ConnectionQuestion): Promise<void> {
    if (error.code === 'internal' || error.code === 'unavailable' || own === undefined) return
    const fingerprint = hash('sha256', own)
    if (!isNews(`${fingerprint} ${error.reason}`)) return
    const row = error.code === 'malformed' ? undefined : await rowOfRefused(own)
    const actor = row === undefined ? 'anonymous' : `certificate:${row.certificate_id}`
    const object = row === undefined ? `certificate:${fingerprint}` : objectOf({ id: row.id })
    const facts = { ...error.facts, protocol, fingerprint }
    await audit.refuse({ actor, act: 'device.connect', object, reason: error.reason, facts })
  }

  async function rowOfRefused(own: Uint8Array): Promise<DeviceRow | undefined> {
    const facts = await context.certificate(own)
    return facts === undefined ? undefined : describe(facts.certificateId)
  }

  function hold(
    device: ConnectedDevice,
    [own = new Uint8Array(0)]: readonly Uint8Array[],
    end: (reason: Reason) => void,
  ): HeldConnection {
    const held: Held = { device, own, end, lookedAt: now() }
    all.add(held)
    for (const one of indexes) one.add(held)
    silence ??= changes.listen(look)
    // a change that was read between the decision and this was not held against it
    if (device.round !== changes.round) void lookAtOne(held)
    return { release: () => release(held) }
  }

  function release(held: Held): void {
    all.delete(held)
    for (const one of indexes) one.remove(held)
    if (all.size > 0) return
    silence?.()
    silence = undefined
  }

  async function look(changed: Changed): Promise<void> {
    const known = [...changed.certificates].filter((id) => byCertificate.get(id).length > 0)
    const isIssuerAmong = known.length < changed.certificates.size && (await context.refreshIssuers())
    if (changed.all || isIssuerAmong) return lookAt([...all])
    await lookAt(
      new Set([
        ...[...changed.devices].flatMap((id) => byDevice.get(id)),
        ...known.flatMap((id) => byCertificate.get(id)),
        ...[...changed.areas].flatMap((id) => byArea.get(id)),
        ...(await spokenFor(changed)),
      ]),
    )
  }

  /** A gateway's own certificate, its area and the conduits from there decide on those it speaks for. */
  async function spokenFor({ devices, certificates, areas, conduits }: Changed): Promise<readonly Held[]> {
    const gateways = byGateway.ids()
    if (gateways.length === 0) return []
    if (areas.size > 0 || conduits) return gateways.flatMap((id) => byGateway.get(id))
    const ids = [...certificates]
    const rows =
      ids.length === 0
        ? []
        : await db.query<{ device_id: string }>(
            `SELECT DISTINCT device_id FROM device_certificate WHERE certificate_id IN (${ids.map(() => '?').join(', ')})`,
            ...ids,
          )
    const touched = new Set([...devices, ...rows.map(({ device_id: id }) => id)])
    return gateways.filter((id) => touched.has(id)).flatMap((id) => byGateway.get(id))
  }

  async function lookAt(some: Iterable<Held>): Promise<void> {
    const waiting = [...some]
    while (waiting.length > 0) await Promise.all(waiting.splice(0, LOOK_AT_ONCE).map(lookAtOne))
  }

  async function lookAtOne(held: Held): Promise<void> {
    if (!all.has(held)) return
    held.lookedAt = now()
    const reason = await endedBecause(held)
    if (reason === undefined || !all.has(held)) return
    release(held)
    held.end(reason)
  }

  /** What cannot be found out now is not taken for usable: the device comes again. */
  async function endedBecause({ own, device }: Held): Promise<Reason | undefined> {
    try {
      const facts = await context.certificate(own)
      if (facts === undefined) return 'certificateUnknown'
      const usable = await isUsable(db, facts, now())
      if (!usable.isUsable) return usable.reason
      const row = await describe(facts.certificateId)
      if (row === undefined || row.epoch !== device.epoch) return 'certificateOfOtherEpoch'
      if ((row.area_id ?? undefined) !== device.areaId) return 'certificateOfOtherArea'
      return row.area_state === 'disabled' ? 'areaDisabled' : undefined
    } catch (thrown) {
      return asTrustError(thrown).reason
    }
  }

  return {
    admit,
    hold,
    held: () => all.size,
    async sweep() {
      const at = now()
      const due = [...all].filter(({ device, lookedAt }) => device.notAfter < at || at - lookedAt > LOOK_AGAIN_MILLISECONDS)
      await lookAt(due)
    },
  }
}

/** By one of its ids, the connections that rest on it. */
function index(idOf: (held: Held) => string | undefined) {
  const found = new Map<string, Set<Held>>()
  return {
    ids: (): readonly string[] => [...found.keys()],
    get: (id: string): readonly Held[] => [...(found.get(id) ?? [])],
    add(held: Held) {
      const id = idOf(held)
      if (id === undefined) return
      const some = found.get(id)
      if (some === undefined) found.set(id, new Set([held]))
      else some.add(held)
    },
    remove(held: Held) {
      const id = idOf(held) ?? ''
      const some = found.get(id)
      some?.delete(held)
      if (some?.size === 0) found.delete(id)
    },
  }
}

const OPERATIONAL: readonly CertificateRole[] = ['operational', 'proxied']

function refusedRole(
  { role, area_state: state, policy }: DeviceRow,
  { protocol, roles = OPERATIONAL }: ConnectionQuestion,
): Reason | undefined {
  if (!roles.includes(role)) return 'certificateRole'
  if (state === null || policy === null) return undefined
  if (state !== 'enabled') return 'areaDisabled'
  const { connections } = readAreaPolicy(JSON.parse(policy) as Readonly<Record<string, unknown>>)
  return connections === undefined || connections.includes(protocol) ? undefined : 'areaProtocol'
}

function refusedName({ product_serial: serial, twins }: DeviceRow, { name }: ConnectionQuestion): Reason | undefined {
  if (twins > 0) return 'deviceNameTwice'
  return name === undefined || name === serial ? undefined : 'deviceNameOther'
}

/**
 * The area is that of the certificate, and for a birth certificate where the device is: what its area does not let in comes by neither.
 *
 * `twins`: other devices of the owner with its serial, of other makers; by `|| ''` they are sought by the serial, and not among all
 * that the owner has.
 */
const DESCRIBE = `SELECT d.id, c.certificate_id, c.role, d.product_serial, d.kind, d.assurance, d.epoch, d.owner_id, o.name AS owner_name, c.area_id,
    a.name AS area_name, a.state AS area_state, a.policy,
    (SELECT b.gateway_id FROM gateway_binding b WHERE b.device_id = d.id AND b.closed_at IS NULL AND c.role = 'proxied') AS gateway_id,
    (SELECT COUNT(*) FROM device t WHERE lower(t.product_serial) = lower(d.product_serial) AND t.owner_id || '' = d.owner_id AND t.id <> d.id)
      AS twins
  FROM device_certificate c JOIN device d ON d.id = c.device_id
    LEFT JOIN organization o ON o.id = d.owner_id LEFT JOIN application_area a ON a.id = COALESCE(c.area_id, d.area_id)
  WHERE c.certificate_id = ?`

interface DeviceRow extends Row {
  readonly id: string
  readonly certificate_id: string
  readonly role: CertificateRole
  readonly product_serial: string
  readonly kind: DeviceKind
  readonly assurance: AssuranceLevel
  readonly epoch: number
  readonly owner_id: string | null
  readonly owner_name: string | null
  readonly area_id: string | null
  readonly area_name: string | null
  readonly area_state: 'enabled' | 'disabled' | null
  readonly policy: string | null
  readonly gateway_id: string | null
  readonly twins: number
}

const noArea = { areaId: undefined, areaName: undefined }

const connected = (row: DeviceRow, { certificateId, notAfter }: CertificateFacts, round: number): ConnectedDevice => ({
  ...{ deviceId: row.id, name: row.product_serial, kind: row.kind, assurance: row.assurance, epoch: row.epoch },
  ...{ ownerId: row.owner_id ?? undefined, ownerName: row.owner_name ?? undefined },
  ...(row.area_id === null ? noArea : { areaId: row.area_id, areaName: row.area_name ?? undefined }),
  ...{ role: row.role, gatewayId: row.gateway_id ?? undefined, certificateId, notAfter, round },
})
