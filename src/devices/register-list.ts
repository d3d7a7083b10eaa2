/** Devices registered from a list: a batch is registered whole, or not at all with a word on each line that is in the way. @module */
import { TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { keep } from '#store/batch.ts'
import type { DevicesContext } from './context.ts'
import { type NewDevice, stepsToRegister } from './register.ts'

/** One transaction; longer lists come in several. */
export const LIST_MAX = 500

export interface RefusedLine {
  /** In the batch, from 0. */
  readonly at: number
  readonly reason: Reason
}

export interface Registered {
  /** New here: all that were not known, or none. */
  readonly registered: number
  /** Registered before, as this very model: a list that was broken off is simply given again. */
  readonly known: number
  readonly refused: readonly RefusedLine[]
}

/** @throws TrustError `conflict` when somebody registers one of them meanwhile, `policyRefused` when a model is disabled; nothing is kept then */
export async function registerList(context: DevicesContext, wanted: readonly NewDevice[], actor: string): Promise<Registered> {
  const { db, organizationId } = context
  if (wanted.length > LIST_MAX) throw new TrustError('tooLarge', 'deviceListTooLong', { facts: { limit: LIST_MAX } })
  if (wanted.length === 0) return { registered: 0, known: 0, refused: [] }
  const serials = wanted.map(({ productSerial }) => productSerial)
  const rows = await db.query<{ product_serial: string; manufacturer_id: string; model_id: string }>(
    `SELECT product_serial, manufacturer_id, model_id FROM device
      WHERE organization_id = ? AND lower(product_serial) IN (${serials.map(() => 'lower(?)').join(', ')})`,
    ...[organizationId, ...serials],
  )
  // the databases do not agree on what is lower case beyond ASCII: they find, and names are made in one place
  const nameOf = (maker: string, serial: string): string => `${maker} ${serial.toLowerCase()}`
  const modelOf = new Map(rows.map((row) => [nameOf(row.manufacturer_id, row.product_serial), row.model_id]))
  const refused: RefusedLine[] = []
  const fresh: NewDevice[] = []
  const seen = new Set<string>()
  for (const [at, device] of wanted.entries()) {
    const name = nameOf(device.manufacturerId, device.productSerial)
    const recorded = modelOf.get(name)
    if (seen.has(name)) refused.push({ at, reason: 'deviceTwiceInList' })
    else if (recorded === undefined) fresh.push(device)
    else if (recorded !== device.modelId) refused.push({ at, reason: 'deviceOtherModel' })
    seen.add(name)
  }
  const known = wanted.length - fresh.length - refused.length
  if (refused.length > 0) return { registered: 0, known, refused }
  await keep(
    db,
    fresh.flatMap((device) => stepsToRegister(context, device, actor).steps),
  )
  return { registered: fresh.length, known, refused }
}
