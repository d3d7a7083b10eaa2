/**
 * Births: evidence is checked, a certificate issued, and both kept with the device in one batch.
 *
 * Whoever stops in between leaves nothing or all of it. The same request of the same station gets the same certificate
 * for a while, so that a station that did not hear the answer asks again.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { asTrustError, TrustError, type TrustErrorCode } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import { type Birth, stepsToBear, stepsToRecordBirth } from '../birth-record.ts'
import type { AssuranceLevel, BirthVariant, Device } from '../device.ts'
import { openModel, type ProductModel } from '../models.ts'
import { findDevices } from '../register.ts'
import { type BirthCertificate, type BirthsContext, policiesFor, type SignedBirthCertificate } from './context.ts'
import { proveUnitKey } from './external-record.ts'
import { type BirthLine, checkMayBear, findLine } from './lines.ts'
import type { BirthEvidence, ChallengeRequest, IssuedChallenge } from './messages.ts'
import { assuranceOfEvidence, type ProvenBirth } from './proven.ts'
import { proveElement } from './secure-elements.ts'
import { checkAnswer, makeChallenge } from './tpm.ts'

interface BirthRequest {
  /** By name. */
  readonly line: string
  readonly productSerial: string
  readonly evidence: BirthEvidence
}

/** Who asks, as the audit log names them. */
export type Station = string

/** The first step of a birth from a TPM. @throws TrustError of any refusal, which is then in the audit log */
export function challenge(
  context: BirthsContext,
  asked: ChallengeRequest & { readonly line: string },
  station: Station,
): Promise<IssuedChallenge> {
  return recorded(context, { ...asked, act: 'birth.challenge' }, station, async () =>
    makeChallenge(context, await findLine(context, asked.line), asked, station),
  )
}

/** @throws TrustError of any refusal, which is then in the audit log */
export function bear(context: BirthsContext, request: BirthRequest, station: Station): Promise<BirthCertificate> {
  const requestHash = hashOf(request)
  return recorded(context, { ...request, act: 'device.bear' }, station, async () => {
    const before = await answeredBefore(context, station, requestHash)
    if (before !== undefined) return before
    const { line, productSerial, evidence } = request
    const place = await openPlace(context, line, productSerial, variantOf(evidence), station)
    const proven = await prove(context, place.line, request, station)
    try {
      return await issueAndKeep(context, place, proven, station, stepToAnswer(context, station, requestHash))
    } catch (thrown) {
      // another copy of this request was faster
      const again = asTrustError(thrown).code === 'conflict' ? await answeredBefore(context, station, requestHash) : undefined
      if (again === undefined) throw thrown
      return again
    }
  })
}

const variantOf = ({ type }: BirthEvidence): BirthVariant => type

/** Where a device is born, and what is known of it. */
interface BirthPlace {
  readonly line: BirthLine
  readonly model: ProductModel
  readonly productSerial: string
  readonly variant: BirthVariant
  /** Undefined where nobody planned it. */
  readonly planned: Device | undefined
}

/** @throws TrustError `notFound`, `forbidden`, `policyRefused`, `conflict` when it is born */
export async function openPlace(
  context: BirthsContext,
  name: string,
  productSerial: string,
  variant: BirthVariant,
  station: Station,
): Promise<BirthPlace> {
  const line = await findLine(context, name)
  checkMayBear(line, station, variant)
  const model = await openModel(context.db, line.modelId)
  if (!model.variants.includes(variant)) throw new TrustError('policyRefused', 'birthVariant', { facts: { variant } })
  const [planned] = await findDevices(context, { manufacturerId: model.manufacturerId, productSerial }, { limit: 1 })
  if (planned !== undefined && planned.modelId !== model.id)
    throw new TrustError('policyRefused', 'birthModelOther', { facts: { productSerial } })
  if (planned !== undefined && planned.state !== 'planned' && planned.state !== 'keyed')
    throw new TrustError('conflict', 'deviceBorn', { facts: { productSerial } })
  return { line, model, productSerial, variant, planned }
}

async function prove(
  context: BirthsContext,
  line: BirthLine,
  { productSerial, evidence }: BirthRequest,
  station: Station,
): Promise<ProvenBirth> {
  switch (evidence.type) {
    case 'tpm':
      return checkAnswer(context, line, productSerial, evidence, station)
    case 'secure-element':
      return proveElement(context, evidence.request)
    case 'software': {
      const { request, vouched = false } = evidence
      return {
        assurance: assuranceOfEvidence[vouched ? 'vouched' : 'software'],
        proof: { type: 'request', der: request },
        evidence: { request: hash('sha256', request), vouched },
        stepsFor: () => [],
      }
    }
    case 'external':
      return proveUnitKey(context, line, productSerial, evidence)
  }
}

/** Signs, and keeps all of it. @param more kept with it, before everything else */
export async function issueAndKeep(
  context: BirthsContext,
  place: BirthPlace,
  proven: ProvenBirth,
  station: Station,
  more: (signed: SignedBirthCertificate) => readonly Step[] = () => [],
): Promise<SignedBirthCertificate> {
  const { issuer, settings, world } = context
  const { line, model, productSerial, variant } = place
  checkEnough(model, proven.assurance)
  const { authority, profile, productSerials, requiresOrder = false } = line.terms
  const counted = requiresOrder ? await context.counting({ lineId: line.id, line: line.name, productSerial, station }) : undefined
  const signed = await issuer.sign(
    {
      authority,
      profile,
      productSerials,
      productSerial,
      hardwareType: model.hardwareType,
      policies: policiesFor(settings, proven.assurance),
      proof: proven.proof,
    },
    station,
  )
  world.faults.reach('birth signed')
  const birth: Birth = {
    variant,
    assurance: proven.assurance,
    keyHash: signed.keyHash,
    certificateId: signed.certificateId,
    bornAt: world.clock.now(),
    station: line.name,
    operator: station,
    evidence: { ...proven.evidence, ...(counted !== undefined && { order: counted.order }) },
    ...(counted !== undefined && { job: counted.job }),
  }
  await keep(context.db, [
    ...more(signed),
    ...(counted?.stepsFor(signed) ?? []),
    ...proven.stepsFor(signed),
    ...signed.steps,
    ...stepsForDevice(context, place, birth, station),
  ])
  world.faults.reach('birth kept')
  return signed
}

function checkEnough({ assuranceMin }: ProductModel, assurance: AssuranceLevel): void {
  if (assurance < assuranceMin)
    throw new TrustError('policyRefused', 'birthAssurance', { facts: { least: assuranceMin, assurance } })
}

function stepsForDevice(
  context: BirthsContext,
  { line, model, productSerial, planned }: BirthPlace,
  birth: Birth,
  station: Station,
): readonly Step[] {
  if (planned !== undefined) return stepsToRecordBirth(context, planned, birth, station)
  const { revisionId } = line
  const wanted = {
    manufacturerId: model.manufacturerId,
    modelId: model.id,
    productSerial,
    ...(revisionId !== undefined && { revisionId }),
  }
  return stepsToBear(context, wanted, birth, station).steps
}

/** The order of its fields is that in which they are written down; octets are hexadecimal. */
const hashOf = (request: BirthRequest): Uint8Array =>
  Uint8Array.fromHex(
    hash(
      'sha256',
      JSON.stringify(request, (_, value: unknown) => (value instanceof Uint8Array ? value.toHex() : value)),
    ),
  )

async function answeredBefore(
  { db, world, organizationId, settings, issuer }: BirthsContext,
  station: Station,
  requestHash: Uint8Array,
): Promise<BirthCertificate | undefined> {
  const [row] = await db.query(
    'SELECT certificate_id FROM birth_answer WHERE organization_id = ? AND station = ? AND request_hash = ? AND created_at > ?',
    ...[organizationId, station, requestHash, world.clock.now() - settings.retryWindowSeconds * 1000],
  )
  return row === undefined ? undefined : issuer.again(row['certificate_id'] as string)
}

const stepToAnswer =
  ({ world, organizationId }: BirthsContext, station: Station, requestHash: Uint8Array) =>
  ({ certificateId }: BirthCertificate): readonly Step[] => [
    {
      sql: 'INSERT INTO birth_answer (organization_id, station, request_hash, certificate_id, created_at) VALUES (?, ?, ?, ?, ?)',
      parameters: [organizationId, station, requestHash, certificateId, world.clock.now()],
      refusal: () => new TrustError('conflict', 'duplicateRow', { facts: { table: 'birth_answer' } }),
    },
  ]

/** Challenges are of no more use a day after their end. */
const CHALLENGE_KEEP_MILLISECONDS = 86_400_000

/** Forgets challenges and answers that nobody can use any more. */
export async function purgeBirths({ db, world, settings }: Pick<BirthsContext, 'db' | 'world' | 'settings'>): Promise<void> {
  const now = world.clock.now()
  await db.batch([
    { sql: 'DELETE FROM birth_challenge WHERE expires_at < ?', parameters: [now - CHALLENGE_KEEP_MILLISECONDS] },
    { sql: 'DELETE FROM birth_answer WHERE created_at < ?', parameters: [now - settings.retryWindowSeconds * 1000] },
  ])
}

const REFUSALS: ReadonlySet<TrustErrorCode> = new Set([
  'policyRefused',
  'badProof',
  'conflict',
  'forbidden',
  'unsupported',
  'quotaExceeded',
])

/** @throws whatever `work` throws, once it is in the audit log when it is a refusal (decision 9) */
export async function recorded<T>(
  { audit }: BirthsContext,
  { act, line, productSerial }: { readonly act: string; readonly line: string; readonly productSerial: string },
  station: Station,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const { code, reason, facts } = asTrustError(thrown)
    if (REFUSALS.has(code)) {
      const all = { ...facts, code, line, productSerial }
      await audit.refuse({ actor: station, act, object: 'birth', reason, facts: all })
    }
    throw thrown
  }
}
