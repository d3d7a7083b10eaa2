/**
 * Lines: where devices of one model are born. A station bears nothing that no line allows.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { BirthVariant } from '../device.ts'
import { openModel } from '../models.ts'
import { openOrganization } from '../organizations.ts'
import { checkSpeaks } from '../speakers.ts'
import type { BirthsContext } from './context.ts'

export interface LineTerms {
  /** Address of the authority that issues its birth certificates. */
  readonly authority: string
  readonly profile: string
  /** Of those that the model allows. */
  readonly variants: readonly BirthVariant[]
  /** `*` stands for any run of characters. */
  readonly productSerials: readonly string[]
  /** As audit entries name them; undefined for whoever may bear. */
  readonly stations?: readonly string[]
  /** Addresses of trusted authorities whose endorsement certificates count. */
  readonly endorsementAuthorities: readonly string[]
  /** Whether endorsement keys on the list of the installation count without a certificate. */
  readonly endorsementList: boolean
  /** Base64 of DER certificates: of stations and units that get keys, or make them, and sign that they destroyed them. */
  readonly units: readonly string[]
  /** Whether it bears only what a production order gave to it. */
  readonly requiresOrder?: boolean
}

export interface BirthLine {
  readonly id: string
  /** As commands and addresses write it; for good. */
  readonly name: string
  readonly modelId: string
  readonly revisionId: string | undefined
  readonly terms: LineTerms
  readonly state: 'enabled' | 'disabled'
  readonly createdAt: number
}

export interface NewLine {
  readonly name: string
  readonly modelId: string
  readonly revisionId?: string
  readonly terms: LineTerms
}

/**
 * By who speaks for the model's maker: what is born there is one of its devices.
 *
 * @throws TrustError `conflict` when the name is taken; `forbidden`; `notFound`, `policyRefused`, `malformed` for its terms
 */
export async function createLine(context: BirthsContext, wanted: NewLine, actor: string): Promise<BirthLine> {
  const { db, world, audit, organizationId, issuer } = context
  const { name, modelId, revisionId, terms } = wanted
  const model = await openModel(db, modelId)
  await checkSpeaks(db, await openOrganization(db, model.manufacturerId), actor)
  const foreign = terms.variants.find((variant) => !model.variants.includes(variant))
  if (foreign !== undefined) throw new TrustError('policyRefused', 'birthVariant', { facts: { variant: foreign } })
  await issuer.check(terms)
  issuer.endorsementTrust(terms.endorsementAuthorities)
  for (const unit of terms.units) parseCertificate(Uint8Array.fromBase64(unit))
  const line: BirthLine = {
    id: uuidv7(world),
    name,
    modelId,
    revisionId,
    terms,
    state: 'enabled',
    createdAt: world.clock.now(),
  }
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO birth_line (id, organization_id, version, name, model_id, revision_id, terms, state, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)`,
        ...[line.id, organizationId, name, modelId, revisionId ?? null, JSON.stringify(terms), line.state, line.createdAt],
      )
      await audit.record(tx, {
        actor,
        act: 'birth.create-line',
        object: `line:${line.id}`,
        outcome: 'done',
        facts: {
          model: modelId,
          authority: terms.authority,
          profile: terms.profile,
          variants: terms.variants.join(' '),
          productSerials: terms.productSerials.join(' '),
          terms: hash('sha256', JSON.stringify(terms)),
        },
      })
    })
  } catch (error) {
    throw isDuplicate(error, 'birth_line') ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error }) : error
  }
  return line
}

/** By name. */
export async function listLines({
  db,
  organizationId,
}: Pick<BirthsContext, 'db' | 'organizationId'>): Promise<readonly BirthLine[]> {
  const rows = await db.query('SELECT * FROM birth_line WHERE organization_id = ? ORDER BY name', organizationId)
  return rows.map(lineOf)
}

/** @throws TrustError `notFound` */
export async function findLine(
  { db, organizationId }: Pick<BirthsContext, 'db' | 'organizationId'>,
  name: string,
): Promise<BirthLine> {
  const [row] = await db.query('SELECT * FROM birth_line WHERE organization_id = ? AND name = ?', organizationId, name)
  if (row === undefined) throw new TrustError('notFound', 'birthLineUnknown', { facts: { name } })
  return lineOf(row)
}

/** For good: nothing is born at it any more. Does nothing when it is so already. @throws TrustError `notFound`, `forbidden` */
export async function disableLine(context: BirthsContext, name: string, actor: string): Promise<BirthLine> {
  const { db, audit } = context
  const line = await findLine(context, name)
  const { manufacturerId } = await openModel(db, line.modelId)
  await checkSpeaks(db, await openOrganization(db, manufacturerId), actor)
  if (line.state === 'disabled') return line
  await db.transaction(async (tx) => {
    await tx.query("UPDATE birth_line SET state = 'disabled', version = version + 1 WHERE id = ?", line.id)
    await audit.record(tx, { actor, act: 'birth.disable-line', object: `line:${line.id}`, outcome: 'done' })
  })
  return { ...line, state: 'disabled' }
}

/** @throws TrustError `forbidden`, `policyRefused` */
export function checkMayBear({ name, state, terms }: BirthLine, station: string, variant: BirthVariant): void {
  if (state !== 'enabled') throw new TrustError('policyRefused', 'birthLineDisabled', { facts: { name } })
  if (terms.stations !== undefined && !terms.stations.includes(station))
    throw new TrustError('forbidden', 'birthStation', { facts: { name } })
  if (!terms.variants.includes(variant)) throw new TrustError('policyRefused', 'birthVariant', { facts: { variant } })
}

const lineOf = (row: Row): BirthLine => ({
  id: row['id'] as string,
  name: row['name'] as string,
  modelId: row['model_id'] as string,
  revisionId: (row['revision_id'] as string | null) ?? undefined,
  terms: JSON.parse(row['terms'] as string) as LineTerms,
  state: row['state'] as BirthLine['state'],
  createdAt: row['created_at'] as number,
})
