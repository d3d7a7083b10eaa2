/** Product models and their hardware revisions: what a manufacturer makes, and which births it lets pass. @module */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Queries, Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import type { DevicesContext } from './context.ts'
import type { AssuranceLevel, BirthVariant } from './device.ts'

/** How an update tool calls the hardware, by the tool: `rauc`, `swupdate`, `mcuboot`, `mender`. */
export type Compatible = Readonly<Record<string, string>>

export interface ModelTerms {
  readonly title: string
  /** Of the hardware, from the maker's own arc: it stands in birth certificates. */
  readonly hardwareType: string | undefined
  readonly compatible: Compatible
  /** How its devices may get their first keys. */
  readonly variants: readonly BirthVariant[]
  /** A birth that proves less is refused. */
  readonly assuranceMin: AssuranceLevel
}

export interface ProductModel extends ModelTerms {
  readonly id: string
  readonly manufacturerId: string
  readonly name: string
  /** Of a disabled one no device is registered or born. */
  readonly state: 'enabled' | 'disabled'
  readonly createdAt: number
}

export interface HardwareRevision {
  readonly id: string
  readonly modelId: string
  readonly name: string
  readonly compatible: Compatible
  readonly createdAt: number
}

/** @throws TrustError `conflict` when the manufacturer has a model of this name */
export async function createModel(
  { db, world, audit, organizationId }: DevicesContext,
  wanted: ModelTerms & Pick<ProductModel, 'manufacturerId' | 'name'>,
  actor: string,
): Promise<ProductModel> {
  const model: ProductModel = { ...wanted, id: uuidv7(world), state: 'enabled', createdAt: world.clock.now() }
  const { id, manufacturerId, name, title, hardwareType, compatible, variants, assuranceMin } = model
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO product_model (id, organization_id, version, manufacturer_id, name, title, hardware_type, compatible, variants,
          assurance_min, state, created_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        ...[id, organizationId, manufacturerId, name, title, hardwareType ?? null, JSON.stringify(compatible)],
        ...[JSON.stringify(variants), assuranceMin, model.state, model.createdAt],
      )
      const facts = { variants: variants.join(' '), assuranceMin }
      await audit.record(tx, { actor, act: 'model.create', object: `model:${id}`, outcome: 'done', facts })
    })
  } catch (error) {
    throw isDuplicate(error, 'product_model') ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error }) : error
  }
  return model
}

/** By manufacturer and name. */
export async function listModels({ db, organizationId }: DevicesContext): Promise<readonly ProductModel[]> {
  const rows = await db.query(
    'SELECT * FROM product_model WHERE organization_id = ? ORDER BY manufacturer_id, name',
    organizationId,
  )
  return rows.map(modelOf)
}

/** @throws TrustError `notFound` */
export async function openModel(db: Queries, id: string): Promise<ProductModel> {
  const [row] = await db.query('SELECT * FROM product_model WHERE id = ?', id)
  if (row === undefined) throw new TrustError('notFound', 'modelUnknown', { facts: { name: id } })
  return modelOf(row)
}

/** @throws TrustError `notFound` */
export async function findModel(db: Queries, manufacturerId: string, name: string): Promise<ProductModel> {
  const [row] = await db.query('SELECT * FROM product_model WHERE manufacturer_id = ? AND name = ?', manufacturerId, name)
  if (row === undefined) throw new TrustError('notFound', 'modelUnknown', { facts: { name } })
  return modelOf(row)
}

/** Does nothing when it is so already. @throws TrustError `notFound` */
export async function setModelState(
  { db, audit }: DevicesContext,
  id: string,
  state: ProductModel['state'],
  actor: string,
): Promise<ProductModel> {
  return db.transaction(async (tx) => {
    const model = await openModel(tx, id)
    if (model.state === state) return model
    await tx.query('UPDATE product_model SET state = ?, version = version + 1 WHERE id = ?', state, id)
    const act = state === 'enabled' ? 'model.enable' : 'model.disable'
    await audit.record(tx, { actor, act, object: `model:${id}`, outcome: 'done' })
    return { ...model, state }
  })
}

/** @throws TrustError `conflict` when the model has a revision of this name */
export async function createRevision(
  { db, world, audit, organizationId }: DevicesContext,
  wanted: Pick<HardwareRevision, 'modelId' | 'name' | 'compatible'>,
  actor: string,
): Promise<HardwareRevision> {
  const revision: HardwareRevision = { ...wanted, id: uuidv7(world), createdAt: world.clock.now() }
  const { id, modelId, name, compatible, createdAt } = revision
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO hardware_revision (id, organization_id, version, model_id, name, compatible, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?)`,
        ...[id, organizationId, modelId, name, JSON.stringify(compatible), createdAt],
      )
      const facts = { revision: name }
      await audit.record(tx, { actor, act: 'model.revise', object: `model:${modelId}`, outcome: 'done', facts })
    })
  } catch (error) {
    throw isDuplicate(error, 'hardware_revision')
      ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error })
      : error
  }
  return revision
}

/** By name. */
export async function listRevisions({ db }: Pick<DevicesContext, 'db'>, modelId: string): Promise<readonly HardwareRevision[]> {
  const rows = await db.query('SELECT * FROM hardware_revision WHERE model_id = ? ORDER BY name', modelId)
  return rows.map((row) => ({
    id: row['id'] as string,
    modelId: row['model_id'] as string,
    name: row['name'] as string,
    compatible: JSON.parse(row['compatible'] as string) as Compatible,
    createdAt: row['created_at'] as number,
  }))
}

const modelOf = (row: Row): ProductModel => ({
  id: row['id'] as string,
  manufacturerId: row['manufacturer_id'] as string,
  name: row['name'] as string,
  title: row['title'] as string,
  hardwareType: (row['hardware_type'] as string | null) ?? undefined,
  compatible: JSON.parse(row['compatible'] as string) as Compatible,
  variants: JSON.parse(row['variants'] as string) as readonly BirthVariant[],
  assuranceMin: row['assurance_min'] as AssuranceLevel,
  state: row['state'] as ProductModel['state'],
  createdAt: row['created_at'] as number,
})
