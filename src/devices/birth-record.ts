/**
 * Births: written once, in the transaction that keeps the birth certificate.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Step } from '#store/batch.ts'
import { stepsToAttach } from './certificates.ts'
import { stepsToChange } from './change.ts'
import type { DevicesContext } from './context.ts'
import { assuranceOf, type AssuranceLevel, type BirthVariant, type Device } from './device.ts'
import { stepsToUseKey } from './keys.ts'
import { modelStep, type NewDevice, stepsToRegister } from './register.ts'

export interface Birth {
  readonly variant: BirthVariant
  /** No more than the variant's evidence proves. */
  readonly assurance: AssuranceLevel
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array
  /** In the CA's table, or of an issuing node elsewhere. */
  readonly certificateId: string
  readonly bornAt: number
  /** Of the production order, where there is one. */
  readonly job?: string
  readonly node?: string
  readonly station?: string
  readonly operator?: string
  /** Position in the node's log. */
  readonly logNumber?: number
  /** What the birth rests on, for those who look into it later: digests rather than octets, nothing personal. */
  readonly evidence: Readonly<Record<string, string | number | boolean>>
}

/**
 * Of a device that nobody planned: registered and born at once.
 *
 * The steps end as those of {@link stepsToRecordBirth} do, and with TrustError `conflict` when its manufacturer has the serial.
 */
export function stepsToBear(
  context: DevicesContext,
  wanted: NewDevice,
  birth: Birth,
  actor: string,
): { readonly device: Device; readonly steps: readonly Step[] } {
  checkAssurance(birth)
  const digest = digestOf(birth)
  const { device, steps } = stepsToRegister(context, wanted, actor, { assurance: birth.assurance, facts: factsOf(birth, digest) })
  return { device, steps: [...steps, ...stepsToWrite(context, device, birth, digest)] }
}

/**
 * To be kept in the batch that keeps the certificate.
 *
 * They end with TrustError `conflict` when the device is born already, is not what it was, or another device has its key;
 * `policyRefused` when its model is disabled or asks for more than is proven.
 *
 * @param device planned or keyed, as it was read
 * @throws TrustError `policyRefused` when more is claimed than the variant proves; `conflict` when it is born already
 */
export function stepsToRecordBirth(context: DevicesContext, device: Device, birth: Birth, actor: string): readonly Step[] {
  checkAssurance(birth)
  const digest = digestOf(birth)
  const { assurance } = birth
  return [
    modelStep({ ...device, assurance, state: 'born' }),
    ...stepsToChange(context, device, { act: 'bear', actor, assurance, facts: factsOf(birth, digest) }),
    ...stepsToWrite(context, device, birth, digest),
  ]
}

function checkAssurance({ variant, assurance }: Birth): void {
  const most = assuranceOf[variant]
  if (assurance > most) throw new TrustError('policyRefused', 'assuranceTooHigh', { facts: { variant, assurance, most } })
}

/** It stands in the audit log as well, so that a record that somebody edits does not fit its entry. */
const digestOf = (birth: Birth): string => hash('sha256', JSON.stringify({ ...birth, keyHash: birth.keyHash.toHex() }))

const factsOf = ({ variant, assurance, certificateId }: Birth, birth: string): Facts => ({
  variant,
  assurance,
  certificate: certificateId,
  birth,
})

function stepsToWrite(context: DevicesContext, device: Device, birth: Birth, digest: string): readonly Step[] {
  const { world, organizationId } = context
  const { variant, assurance, keyHash, certificateId } = birth
  return [
    // the key may be known from an import of what a maker of secure elements states
    ...stepsToUseKey(context, device, { keyHash, purpose: 'idevid', origin: variant }),
    {
      sql: `INSERT INTO birth_record (id, organization_id, version, device_id, key_hash, certificate_id, variant, assurance, job, node,
          station, operator, log_number, evidence, digest, born_at, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [
        ...[uuidv7(world), organizationId, device.id, keyHash, certificateId, variant, assurance, birth.job ?? null],
        ...[birth.node ?? null, birth.station ?? null, birth.operator ?? null, birth.logNumber ?? null],
        ...[JSON.stringify(birth.evidence), digest, birth.bornAt, world.clock.now()],
      ],
      refusal: () => new TrustError('conflict', 'deviceBorn', { facts: { productSerial: device.productSerial } }),
    },
    ...stepsToAttach(context, device, { certificateId, keyHash, role: 'birth', areaId: undefined }),
  ]
}
