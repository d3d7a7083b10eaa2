/**
 * What enrollment means for devices: asked before a certificate is signed, and written in the transaction that keeps it.
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import type { Step } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import { checkAdmits, openArea } from './areas.ts'
import { type Birth, stepsToBear, stepsToRecordBirth } from './birth-record.ts'
import { type CertificateRole, type CertificateStanding, stepsToAttach, stepsToConfirm } from './certificates.ts'
import { changed, stepsToChange, stillAsRead } from './change.ts'
import type { DevicesContext } from './context.ts'
import {
  assuranceOf,
  type AssuranceLevel,
  type BirthVariant,
  type Device,
  DEVICE_COLUMNS,
  deviceOf,
  PROXIED_ASSURANCE_MAX,
} from './device.ts'
import { stepsToUseKey } from './keys.ts'
import { openModel } from './models.ts'
import { type Act, type Condition, decide } from './rules.ts'
import { type DeviceState, statesInUse } from './states.ts'
import { gatewayOf } from './usable.ts'

/** What enrollment at an endpoint of the CA means. */
export type EndpointRule =
  | {
      readonly kind: 'birth'
      readonly modelId: string
      readonly revisionId?: string
      /** How the line that uses the endpoint makes keys, and how far that is believed. */
      readonly variant: BirthVariant
      readonly assurance: AssuranceLevel
      /** What becomes of a device that nobody planned. */
      readonly unknown: 'record' | 'refuse'
    }
  | {
      readonly kind: 'area'
      readonly areaId: string
      /** What becomes of a device that is not recorded here: `pass` gives it a certificate that no device has. */
      readonly unknown: 'refuse' | 'pass'
    }

export interface EnrollmentQuestion {
  readonly endpointId: string
  /** Who asks, as the audit log names them. */
  readonly actor: string
  /** The device's own, where it showed one. */
  readonly certificateId: string | undefined
  readonly productSerial: string | undefined
}

/** The certificate that was signed. */
export interface Enrolled {
  readonly certificateId: string
  readonly keyHash: Uint8Array
  readonly issuedAt: number
}

export type StepsWith = (enrolled: Enrolled) => readonly Step[]

export interface DeviceEnrollment {
  /** @returns what is kept with the certificate @throws TrustError `forbidden`, `policyRefused`, `conflict` */
  authorize(question: EnrollmentQuestion): Promise<StepsWith>
  /** @throws TrustError `notFound`, `policyRefused` */
  setRule(endpointId: string, rule: EndpointRule | undefined, actor: string): Promise<void>
  ruleOf(endpointId: string): Promise<EndpointRule | undefined>
}

/** How long another process may go on with the rule of before. */
const RULE_MILLISECONDS = 1000

export function deviceEnrollment(context: DevicesContext): DeviceEnrollment {
  const { db, audit, world, organizationId } = context
  const known = new Map<string, { readonly rule: EndpointRule | undefined; readonly readAt: number }>()

  async function ruleOf(endpointId: string): Promise<EndpointRule | undefined> {
    const now = world.clock.now()
    const before = known.get(endpointId)
    if (before !== undefined && Math.abs(now - before.readAt) < RULE_MILLISECONDS) return before.rule
    const [row] = await db.query('SELECT rule FROM device_endpoint WHERE endpoint_id = ?', endpointId)
    const rule = row && (JSON.parse(row['rule'] as string) as EndpointRule)
    known.set(endpointId, { rule, readAt: now })
    return rule
  }

  async function setRule(endpointId: string, rule: EndpointRule | undefined, actor: string): Promise<void> {
    await db.transaction(async (tx) => {
      if (rule?.kind === 'birth') {
        const { variants, assuranceMin, name } = await openModel(tx, rule.modelId)
        const { variant, assurance } = rule
        if (!variants.includes(variant)) throw new TrustError('policyRefused', 'variantNotAllowed', { facts: { variant, name } })
        if (assurance < assuranceMin)
          throw new TrustError('policyRefused', 'assuranceTooLow', { facts: { name, assurance, least: assuranceMin } })
        if (assurance > assuranceOf[variant])
          throw new TrustError('policyRefused', 'assuranceTooHigh', { facts: { variant, assurance, most: assuranceOf[variant] } })
      } else if (rule !== undefined) await openArea(tx, rule.areaId)
      await tx.query('DELETE FROM device_endpoint WHERE endpoint_id = ?', endpointId)
      if (rule !== undefined) {
        await tx.query(
          'INSERT INTO device_endpoint (endpoint_id, organization_id, version, rule, created_at) VALUES (?, ?, 1, ?, ?)',
          ...[endpointId, organizationId, JSON.stringify(rule), world.clock.now()],
        )
      }
      const facts = rule === undefined ? { rule: 'none' } : { rule: rule.kind, unknown: rule.unknown }
      await audit.record(tx, { actor, act: 'endpoint.devices', object: `endpoint:${endpointId}`, outcome: 'done', facts })
    })
    known.delete(endpointId)
  }

  async function authorize(question: EnrollmentQuestion): Promise<StepsWith> {
    const { productSerial, endpointId } = question
    const rule = await ruleOf(endpointId)
    if (productSerial === undefined) {
      if (rule?.kind === 'birth') throw refused('forbidden', 'deviceNotPlanned', 'birth.issue')
      if (rule?.unknown === 'refuse') throw refused('forbidden', 'deviceNotKnown', 'enroll.first')
      return noSteps
    }
    if (rule?.kind === 'birth') return authorizeBirth(rule, productSerial, question)
    const shown = await shownBy(question, productSerial)
    if (rule === undefined) {
      for (const { device } of shown) checkNotCutOff(device, 'enroll.renew')
      return noSteps
    }
    const spokenFor = await spokenForBy(question, shown, rule.areaId)
    if (spokenFor !== undefined) return authorizeProxied(rule.areaId, spokenFor)
    if (shown.length > 1) throw refused('conflict', 'deviceAmbiguous', 'enroll.first')
    const [found] = shown
    if (found !== undefined) return authorizeInArea(rule.areaId, found, question)
    if (rule.unknown === 'refuse') throw refused('forbidden', 'deviceNotKnown', 'enroll.first')
    return noSteps
  }

  async function authorizeBirth(
    rule: EndpointRule & { readonly kind: 'birth' },
    productSerial: string,
    { actor }: EnrollmentQuestion,
  ): Promise<StepsWith> {
    const { modelId, revisionId, variant, assurance } = rule
    const [row] = await db.query(
      `SELECT ${DEVICE_COLUMNS} FROM device JOIN product_model m ON m.manufacturer_id = device.manufacturer_id
        WHERE m.id = ? AND lower(device.product_serial) = lower(?)`,
      ...[modelId, productSerial],
    )
    const birthOf = ({ certificateId, keyHash, issuedAt }: Enrolled): Birth => ({
      ...{ variant, assurance, keyHash, certificateId },
      ...{ bornAt: issuedAt, station: actor, evidence: { requestSigned: true } },
    })
    if (row === undefined) {
      if (rule.unknown === 'refuse') throw refused('forbidden', 'deviceNotPlanned', 'birth.issue')
      const { manufacturerId } = await openModel(db, modelId)
      const wanted = { manufacturerId, modelId, productSerial, ...(revisionId !== undefined && { revisionId }) }
      return (enrolled) => stepsToBear(context, wanted, birthOf(enrolled), actor).steps
    }
    const device = deviceOf(row)
    checkNotCutOff(device, 'birth.issue')
    if (device.modelId !== modelId) throw refused('policyRefused', 'modelNotUsable', 'birth.issue')
    if (device.state === 'planned' || device.state === 'keyed')
      return (enrolled) => stepsToRecordBirth(context, device, birthOf(enrolled), actor)
    return ({ certificateId, keyHash }) => [
      stillAsRead(device),
      ...stepsToUseKey(context, device, { keyHash, purpose: 'idevid', origin: variant }),
      ...stepsToAttach(context, device, { certificateId, keyHash, role: 'birth', areaId: undefined }),
    ]
  }

  async function authorizeInArea(
    areaId: string,
    { device, shown }: Found,
    { actor, certificateId }: EnrollmentQuestion,
  ): Promise<StepsWith> {
    const act = device.areaId === undefined ? 'enroll.first' : 'enroll.renew'
    checkNotCutOff(device, act)
    const area = await openArea(db, areaId)
    const [shows, stands] =
      act === 'enroll.first' ? (['birth-good', 'claimed-here'] as const) : (['shown-by-device', 'in-use'] as const)
    checkByRule(act, [
      [shows, () => checkShown(shown, certificateId, device)],
      [stands, () => checkPlace(device, areaId)],
      ['area-admits', () => checkAdmits(area, device)],
    ])
    return ({ certificateId, keyHash }) => [
      ...(device.state === 'claimed' ? stepsToChange(context, device, { act: 'onboard', actor, areaId }) : [stillAsRead(device)]),
      ...(shown?.standing === 'issued' ? stepsToConfirm(context, device, shown, actor) : []),
      ...stepsToUseKey(context, device, { keyHash, purpose: 'operational', origin: 'software' }),
      ...stepsToAttach(context, device, { certificateId, keyHash, role: 'operational', areaId }),
    ]
  }

  /**
   * The device that a gateway asks for, with its own certificate, which the caller found usable.
   *
   * @throws TrustError `forbidden` for a gateway that is not bound to it, or may not speak for it now
   */
  async function spokenForBy(
    { certificateId, actor }: EnrollmentQuestion,
    found: readonly Found[],
    areaId: string,
  ): Promise<ProxiedQuestion | undefined> {
    if (certificateId === undefined || found.some(({ shown }) => shown !== undefined)) return undefined
    const [gateway] = await db.query<{ id: string }>(
      "SELECT d.id FROM device_certificate c JOIN device d ON d.id = c.device_id WHERE c.certificate_id = ? AND d.kind = 'gateway'",
      certificateId,
    )
    if (gateway === undefined) return undefined
    let refusal: Reason = 'gatewayNotBound'
    for (const { device } of found) {
      const reason = await mayEnrollFor(db, { id: gateway.id, certificateId }, device, areaId)
      if (reason === undefined) return { device, gatewayId: gateway.id, actor }
      if (reason !== 'gatewayNotBound') refusal = reason
    }
    throw new TrustError('forbidden', refusal, { facts: { rule: 'enroll.proxied' } })
  }

  /** Its certificate is the gateway's to use, and in use from the start: nobody waits for the device to show it. */
  async function authorizeProxied(areaId: string, { device, gatewayId, actor }: ProxiedQuestion): Promise<StepsWith> {
    const area = await openArea(db, areaId)
    checkNotCutOff(device, 'enroll.proxied')
    checkByRule('enroll.proxied', [
      ['gateway-admits', () => {}], // found so before
      ['in-use', () => checkPlace(device, areaId)],
      ['area-admits', () => checkAdmits(area, device)],
    ])
    const facts = { gateway: gatewayId }
    const begins = { act: 'onboard', actor, areaId, facts } as const
    const change = (): readonly Step[] => {
      if (device.state === 'claimed') {
        const onboarding = changed(device, begins, world.clock.now()).device
        return [
          ...stepsToChange(context, device, begins),
          ...stepsToChange(context, onboarding, { act: 'activate', actor, facts }),
        ]
      }
      const arrives = device.state === 'area-change' && areaId === device.nextAreaId
      return arrives ? stepsToChange(context, device, { act: 'settle-area', actor, facts }) : [stillAsRead(device)]
    }
    return ({ certificateId, keyHash }) => [
      ...change(),
      ...stepsToUseKey(context, device, { keyHash, purpose: 'operational', origin: 'gateway' }),
      {
        // a binding that was changed meanwhile is another one
        sql: 'SELECT gateway_id FROM gateway_binding WHERE device_id = ? AND closed_at IS NULL FOR SHARE',
        parameters: [device.id],
        expects: { gateway_id: gatewayId },
        refusal: () => new TrustError('conflict', 'gatewayListChanged'),
      },
      {
        sql: `UPDATE device_certificate SET version = version + 1, standing = 'former'
            WHERE device_id = ? AND role = 'proxied' AND standing <> 'former'`,
        parameters: [device.id],
      },
      ...stepsToAttach(context, device, { certificateId, keyHash, role: 'proxied', areaId }),
    ]
  }

  /** By its serial, which devices of several makers may have; the one whose certificate was shown, where one was. */
  async function shownBy({ certificateId }: EnrollmentQuestion, productSerial: string): Promise<readonly Found[]> {
    const rows = await db.query(
      `SELECT ${DEVICE_COLUMNS}, c.certificate_id, c.role, c.standing, c.epoch AS shown_epoch, c.area_id AS shown_area
        FROM device LEFT JOIN device_certificate c ON c.device_id = device.id AND c.certificate_id = ?
        WHERE lower(device.product_serial) = lower(?) AND device.organization_id = ?`,
      ...[certificateId ?? '', productSerial, organizationId],
    )
    const found = rows.map((row) => ({ device: deviceOf(row), shown: shownOf(row) }))
    const own = found.filter(({ shown }) => shown !== undefined)
    return own.length > 0 ? own : found
  }

  return { authorize, setRule, ruleOf }
}

interface Shown {
  readonly certificateId: string
  readonly role: CertificateRole
  readonly standing: CertificateStanding
  readonly epoch: number
  readonly areaId: string | undefined
}

interface Found {
  readonly device: Device
  readonly shown: Shown | undefined
}

const shownOf = (row: Row): Shown | undefined =>
  row['certificate_id'] === null
    ? undefined
    : {
        certificateId: row['certificate_id'] as string,
        role: row['role'] as CertificateRole,
        standing: row['standing'] as CertificateStanding,
        epoch: row['shown_epoch'] as number,
        areaId: (row['shown_area'] as string | null) ?? undefined,
      }

const noSteps: StepsWith = () => []

/** Where a device gets operational certificates. */
const ENROLLS_IN: ReadonlySet<DeviceState> = new Set<DeviceState>(['claimed', ...statesInUse])
const CUT_OFF: ReadonlySet<DeviceState> = new Set<DeviceState>(['suspended', 'quarantined', 'scrapped', 'decommissioned'])

const refused = (code: 'forbidden' | 'conflict' | 'policyRefused', reason: RefusalReason, rule: Act): TrustError =>
  new TrustError(code, reason, { facts: { rule } })
type RefusalReason =
  | 'deviceAmbiguous'
  | 'deviceNotKnown'
  | 'deviceNotPlanned'
  | 'deviceCloned'
  | 'deviceMissing'
  | 'modelNotUsable'

/** @throws TrustError `forbidden` for a device that gets nothing, wherever it asks */
function checkNotCutOff({ state, flags }: Device, rule: Act): void {
  if (flags.includes('clone')) throw refused('forbidden', 'deviceCloned', rule)
  if (flags.length > 0) throw refused('forbidden', 'deviceMissing', rule)
  if (CUT_OFF.has(state)) throw new TrustError('forbidden', 'deviceCutOff', { facts: { rule, state } })
}

/**
 * The certificate that a device shows has to be its own, of this epoch and of an area that it is in or goes to. One that is not
 * recorded may be of an owner before, or of a device of another maker with the same serial.
 */
function checkShown(shown: Shown | undefined, certificateId: string | undefined, device: Device): void {
  if (shown === undefined) {
    // who shows none has a secret or is a listed station, which the endpoint's own rules believe
    if (certificateId === undefined) return
    throw new TrustError('forbidden', 'deviceCertificateUnknown')
  }
  const { role, standing, epoch, areaId } = shown
  if (standing === 'former') throw new TrustError('forbidden', 'certificateReplaced')
  if (role !== 'operational') return
  if (epoch !== device.epoch) throw new TrustError('forbidden', 'certificateOfOtherEpoch')
  if (areaId !== device.areaId && areaId !== device.nextAreaId) throw new TrustError('forbidden', 'certificateOfOtherArea')
}

function checkPlace(device: Device, areaId: string): void {
  if (!ENROLLS_IN.has(device.state)) throw new TrustError('forbidden', 'deviceNotClaimed')
  if (device.state !== 'claimed' && areaId !== device.areaId && areaId !== device.nextAreaId)
    throw new TrustError('forbidden', 'deviceOtherArea')
}

/** @throws what the first condition that the rule misses says, with the rule @param checks each throws when its condition does not hold */
function checkByRule(act: Act, checks: readonly (readonly [Condition, () => unknown])[]): void {
  const problems = new Map(checks.map(([condition, check]) => [condition, problemOf(check)]))
  const holding = new Set([...problems].filter(([, problem]) => problem === undefined).map(([condition]) => condition))
  const decision = decide(act, holding)
  if (decision.isAllowed) return
  const { code, reason, facts } =
    (decision.missing && problems.get(decision.missing)) ?? new TrustError('forbidden', 'ruleRefuses')
  throw new TrustError(code, reason, { facts: { ...facts, rule: act, missing: decision.missing ?? 'a rule' } })
}

function problemOf(check: () => unknown): TrustError | undefined {
  try {
    check()
    return undefined
  } catch (thrown) {
    return asTrustError(thrown)
  }
}

interface ProxiedQuestion {
  readonly device: Device
  readonly gatewayId: string
  readonly actor: string
}

/**
 * Whether a gateway may have a certificate for a device now, for this area.
 *
 * @param gateway with the certificate that it shows
 * @returns why not
 */
export async function mayEnrollFor(
  db: Queries,
  { id: gatewayId, certificateId }: { readonly id: string; readonly certificateId: string },
  { id, assurance }: Pick<Device, 'id' | 'assurance'>,
  areaId: string,
): Promise<Reason | undefined> {
  const gateway = await gatewayOf(db, id, areaId)
  if (gateway?.gatewayId !== gatewayId) return 'gatewayNotBound'
  if (gateway.reason !== undefined) return gateway.reason
  if (gateway.certificateId !== certificateId) return 'certificateReplaced'
  return assurance > PROXIED_ASSURANCE_MAX ? 'gatewayNotNeeded' : undefined
}
