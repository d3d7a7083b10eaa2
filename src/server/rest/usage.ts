/** REST: what devices counted, what of it looked wrong, and what is billed. @module */
import { Type } from 'typebox'
import { TrustError } from '#base/errors.ts'
import { type UsageTotal, usageTotals } from '#usage/export.ts'
import { beginAnew, listUsage, usageAlarmKinds, type UsageContext, type UsageStanding, usageStanding } from '#usage/usage.ts'
import { CatalogName } from './device-catalog.ts'
import { ProductSerial } from './devices.ts'
import { recordingRefusals } from './refusals.ts'
import { PAGE_DEFAULT, record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

const ById = Type.Object({ id: Uuid })
const Model = Type.String({ description: 'MANUFACTURER/MODEL' })
const Total = Type.Integer({ description: 'in all, since the device began to count' })
/** Lines of one answer: a month of a large plant by device and counter. */
const LINES_MAX = 10_000
const Facts = Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]))

const UsageShape = record({
  device: Uuid,
  productSerial: ProductSerial,
  model: Model,
  chain: Type.String({ description: 'what the device calls this series of records' }),
  number: Type.Integer({ description: 'of the last record' }),
  digest: Type.String({ description: 'SHA-256 of it, hexadecimal: what the next one names' }),
  to: Type.Union([Time], { description: 'until when it counted, by its own clock' }),
  counters: Type.Array(record({ name: Type.String(), unit: Type.String(), value: Total })),
  isAwaited: Type.Boolean({ description: 'whether its next record may begin anew' }),
  receivedAt: Time,
  alarms: Type.Array(record({ kind: Type.Enum([...usageAlarmKinds]), facts: Facts, at: Time })),
})

const ListedShape = record({
  device: Uuid,
  productSerial: ProductSerial,
  model: Model,
  number: Type.Integer(),
  to: Time,
  receivedAt: Time,
  isAwaited: Type.Boolean(),
  alarms: Type.Integer(),
})

const TotalShape = record({
  owner: Type.String({ description: 'whose the device was; empty for nobody' }),
  device: Uuid,
  productSerial: ProductSerial,
  model: Model,
  counter: Type.String(),
  unit: Type.String(),
  amount: Type.Integer({ description: 'in this period' }),
  value: Total,
  records: Type.Integer(),
  missing: Type.Integer({ description: 'records that never came; what they held is in the amount' }),
  firstAt: Time,
  lastAt: Time,
  evidence: Type.String({ description: 'SHA-256 over the digests of the records, in their order' }),
})

const timeOf = (at: number): string => new Date(at).toISOString()

function shown({ device, to, counters, receivedAt, alarms, ...rest }: UsageStanding) {
  return {
    ...{ device: device.id, productSerial: device.productSerial, model: device.model, to: timeOf(to) },
    ...{ chain: rest.chain, number: rest.number, digest: rest.digest, isAwaited: rest.isAwaited },
    counters: counters.map((counter) => ({ ...counter })),
    receivedAt: timeOf(receivedAt),
    alarms: alarms.map(({ kind, facts, at }) => ({ kind, facts: { ...facts }, at: timeOf(at) })),
  }
}

const totalShown = ({ deviceId, firstAt, lastAt, ...total }: UsageTotal) => ({
  ...total,
  ...{ device: deviceId, firstAt: timeOf(firstAt), lastAt: timeOf(lastAt) },
})

export function usageRoutes(context: UsageContext) {
  return [
    route({
      id: 'listUsage',
      method: 'GET',
      path: '/api/v1/usage',
      permission: 'usage.read',
      summary: 'Devices that count, those heard of last first',
      query: Type.Object({
        alarmed: Type.Optional(Type.Boolean({ description: 'only those whose records looked wrong' })),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500 })),
      }),
      response: record({ items: Type.Array(ListedShape) }),
      async handle(_, { query: { alarmed = false, limit = PAGE_DEFAULT } }) {
        const found = await listUsage(context, { onlyAlarmed: alarmed, limit })
        const items = await Promise.all(
          found.map(async ({ deviceId, to, receivedAt, ...rest }) => {
            const { productSerial, model } = await context.device(deviceId)
            return { ...rest, device: deviceId, productSerial, model, to: timeOf(to), receivedAt: timeOf(receivedAt) }
          }),
        )
        return { items }
      },
    }),
    route({
      id: 'exportUsage',
      method: 'GET',
      path: '/api/v1/usage/export',
      permission: 'usage.read',
      summary: 'What was used in a period, by owner, device and counter, with the evidence',
      query: Type.Object({
        from: Type.Union([Time], { description: 'of records that end from here on' }),
        to: Type.Union([Time], { description: 'and before here' }),
        owner: Type.Optional(CatalogName),
        device: Type.Optional(Uuid),
      }),
      response: record({ items: Type.Array(TotalShape) }),
      async handle(_, { query: { from, to, owner, device } }) {
        const items: ReturnType<typeof totalShown>[] = []
        const period = { from: Date.parse(from), to: Date.parse(to), owner, deviceId: device }
        for await (const total of usageTotals(context, period)) {
          if (items.push(totalShown(total)) > LINES_MAX)
            throw new TrustError('tooLarge', 'usageExportLong', { facts: { limit: LINES_MAX } })
        }
        return { items }
      },
    }),
    route({
      id: 'showUsage',
      method: 'GET',
      path: '/api/v1/devices/{id}/usage',
      permission: 'usage.read',
      summary: 'What a device counted so far, and what of it looked wrong',
      params: ById,
      response: UsageShape,
      handle: async (_, { params: { id } }) => shown(await usageStanding(context, id)),
    }),
    route({
      id: 'beginUsageAnew',
      method: 'POST',
      path: '/api/v1/devices/{id}/usage/begin-anew',
      permission: 'usage.manage',
      summary: 'A device lost its records: its next one begins a new series, and what was counted before stays',
      params: ById,
      body: Empty,
      response: UsageShape,
      handle: ({ actor }, { params: { id } }) =>
        recordingRefusals(context.audit, { actor, act: 'usage.begin-anew', object: `device:${id}` }, async () => {
          await beginAnew(context, id, actor)
          return shown(await usageStanding(context, id))
        }),
    }),
  ] as const
}
