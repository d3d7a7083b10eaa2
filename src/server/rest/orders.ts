/** REST: production orders, the tickets of issuing nodes, what their logs say, and whether the numbers agree. @module */
import { Type } from 'typebox'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { alarmKinds } from '#orders/alarms.ts'
import { type Allotment, allotmentsOf } from '#orders/allotment-record.ts'
import { allot, endAllotment, judge } from '#orders/allotments.ts'
import { BUNDLE_MAX_OCTETS, SerialBlock, STATEMENT_MAX_OCTETS, tiers } from '#orders/messages.ts'
import {
  challengeNode,
  closeOrder,
  createOrder,
  giveUpJob,
  issueTicket,
  jobsOf,
  listOrders,
  openOrder,
  orderSheet,
  OrderTerms,
  type OrdersContext,
  type ProductionOrder,
} from '#orders/orders.ts'
import { noteSeen, noteShipped, reconcile, type Reconciliation } from '#orders/reconcile.ts'
import { importBundle } from '#orders/synchronize.ts'
import { recordingRefusals } from './refusals.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Base64, Empty, octetsOf, Time, Uuid } from './shapes.ts'

const Name = Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{0,62}$', description: 'the name of the order' })
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' })
const Count = Type.Integer({ minimum: 0 })
const JobState = Type.Enum(['open', 'ended', 'lost'])
const Tier = Type.Enum([...tiers])
const ByName = Type.Object({ name: Name })

const OrderShape = record({ id: Uuid, name: Name, state: Type.Enum(['open', 'closed']), terms: OrderTerms, createdAt: Time })
const counts = { issued: Count, good: Count, scrap: Count, unjudged: Count, burned: Count }
const JobShape = record({
  id: Uuid,
  state: JobState,
  tier: Tier,
  endorsement: Type.Union([Hash, Type.Null()], { description: 'SHA-256 of the endorsement key that the job is bound to' }),
  quota: Count,
  scrapAllowance: Count,
  size: Type.Integer({ description: 'entries of its log that are here: where the next bundle begins' }),
  ...counts,
  refused: Count,
  seenAt: Type.Union([Time, Type.Null()]),
})
const AlarmShape = record({
  kind: Type.Enum([...alarmKinds]),
  subject: Type.String(),
  job: Type.Union([Uuid, Type.Null()]),
  facts: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  at: Time,
})
const AllotmentShape = record({
  id: Uuid,
  line: Type.String(),
  state: Type.Enum(['open', 'ended']),
  quota: Count,
  scrapAllowance: Count,
  serials: SerialBlock,
  issued: Count,
  good: Count,
  scrap: Count,
})
const allotted = ({ id, line, state, quota, scrapAllowance, serials, issued, good, scrap }: Allotment) => ({
  ...{ id, line, state, quota, scrapAllowance, serials },
  ...{ issued, good, scrap },
})
const ReconciliationShape = record({
  order: Name,
  state: Type.Enum(['open', 'closed']),
  ordered: Count,
  room: record({ quota: Count, scrap: Count }),
  ...counts,
  shipped: Count,
  seen: Type.Integer({ description: 'devices that were seen in the field' }),
  jobs: Type.Array(JobShape),
  allotments: Type.Array(AllotmentShape),
  alarms: Type.Array(AlarmShape),
  alarmCount: Count,
  agrees: Type.Boolean({ description: 'every job ended, as many are good as were ordered, and there is no alarm' }),
})

const Statement = Type.String({ maxLength: STATEMENT_MAX_OCTETS, description: 'a compact JSON Web Signature' })
/** More in one call than a truck holds. */
const SHIPPED_MAX = 5000

const shown = ({ id, name, state, terms, createdAt }: ProductionOrder) => ({
  id,
  name,
  state,
  terms,
  createdAt: timeOf(createdAt),
})

const timeOf = (at: number): string => new Date(at).toISOString()

const reported = ({ jobs, alarms, allotments, ...rest }: Reconciliation) => ({
  ...rest,
  allotments: allotments.map(allotted),
  jobs: jobs.map(({ seenAt, endorsement, ...job }) => ({
    ...job,
    endorsement: endorsement ?? null,
    seenAt: seenAt === undefined ? null : timeOf(seenAt),
  })),
  alarms: alarms.map(({ job, at, facts, ...alarm }) => ({ ...alarm, facts: { ...facts }, job: job ?? null, at: timeOf(at) })),
})

export function orderRoutes(orders: OrdersContext) {
  const { audit } = orders
  const refusable = <T>(actor: string, act: string, name: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(audit, { actor, act, object: `order:${name}` }, work)
  return [
    route({
      id: 'listOrders',
      method: 'GET',
      path: '/api/v1/orders',
      permission: 'order.read',
      summary: 'Production orders, newest first',
      query: record(pageQuery),
      response: page(OrderShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor } }) {
        const found = await listOrders(orders, { limit, after: cursor })
        return pageOf(found.map(shown), found.length === limit ? found.at(-1)?.id : undefined)
      },
    }),
    route({
      id: 'createOrder',
      method: 'POST',
      path: '/api/v1/orders',
      permission: 'order.manage',
      summary: 'Order devices of a factory: how many, with which serial numbers, at which assurance',
      body: record({ name: Name, terms: OrderTerms }),
      response: OrderShape,
      status: 201,
      handle: async ({ actor }, { body: { name, terms } }) =>
        shown(await refusable(actor, 'order.create', name, () => createOrder(orders, name, terms, actor))),
    }),
    route({
      id: 'showOrder',
      method: 'GET',
      path: '/api/v1/orders/{name}',
      permission: 'order.read',
      summary: 'One order with its jobs',
      params: ByName,
      response: record({
        ...OrderShape.properties,
        jobs: Type.Array(record({ id: Uuid, state: JobState, tier: Tier, size: Count })),
        allotments: Type.Array(AllotmentShape),
      }),
      async handle(_, { params: { name } }) {
        const order = await openOrder(orders, name)
        const jobs = await jobsOf(orders, order)
        const allotments = await allotmentsOf(orders, order)
        return {
          ...shown(order),
          jobs: jobs.map(({ id, state, tier, size }) => ({ id, state, tier, size })),
          allotments: allotments.map(allotted),
        }
      },
    }),
    route({
      id: 'showOrderSheet',
      method: 'GET',
      path: '/api/v1/orders/{name}/sheet',
      permission: 'order.read',
      summary: 'What a factory makes its request for a ticket from',
      params: ByName,
      response: record({ sheet: Statement }),
      handle: async (_, { params: { name } }) => ({ sheet: await orderSheet(orders, name) }),
    }),
    route({
      id: 'challengeNode',
      method: 'POST',
      path: '/api/v1/orders/{name}/challenges',
      permission: 'order.manage',
      summary: 'Ask an issuing node to show whose TPM it has',
      params: ByName,
      body: record({ request: Statement }),
      bodyMaxOctets: 2 * STATEMENT_MAX_OCTETS,
      response: record({ challenge: Statement }),
      status: 201,
      handle: async ({ actor }, { params: { name }, body: { request } }) => ({
        challenge: await refusable(actor, 'order.challenge', name, () => challengeNode(orders, name, request, actor)),
      }),
    }),
    route({
      id: 'issueTicket',
      method: 'POST',
      path: '/api/v1/orders/{name}/tickets',
      permission: 'order.manage',
      summary: 'Certify an issuing node, and give it a ticket for so many devices',
      params: ByName,
      body: record({
        request: Statement,
        answer: Type.Optional(Statement),
        stations: Type.Array(Hash, { minItems: 1, maxItems: 256, uniqueItems: true }),
        quota: Type.Optional(Type.Integer({ minimum: 1 })),
        scrapAllowance: Type.Optional(Count),
      }),
      bodyMaxOctets: 3 * STATEMENT_MAX_OCTETS,
      response: record({ job: Uuid, tier: Tier, quota: Count, scrapAllowance: Count, ticket: Statement }),
      status: 201,
      async handle({ actor }, { params: { name }, body }) {
        const { id, tier, ticket, ticketText } = await refusable(actor, 'order.ticket', name, () =>
          issueTicket(orders, name, body, actor),
        )
        return { job: id, tier, quota: ticket.quota, scrapAllowance: ticket.scrapAllowance, ticket: ticketText }
      },
    }),
    route({
      id: 'showTicket',
      method: 'GET',
      path: '/api/v1/orders/{name}/jobs/{job}/ticket',
      permission: 'order.read',
      summary: 'The ticket of a job, as it was signed',
      params: Type.Object({ name: Name, job: Uuid }),
      response: record({ ticket: Statement }),
      async handle(_, { params: { name, job } }) {
        const found = (await jobsOf(orders, await openOrder(orders, name))).find(({ id }) => id === job)
        if (found === undefined) throw new TrustError('notFound', 'productionJobUnknown', { facts: { job } })
        return { ticket: found.ticketText }
      },
    }),
    route({
      id: 'allotOrder',
      method: 'POST',
      path: '/api/v1/orders/{name}/allotments',
      permission: 'order.manage',
      summary: 'Give a line of this server so many devices of an order to bear',
      params: ByName,
      body: record({
        line: Type.String({ minLength: 1, maxLength: 64 }),
        quota: Type.Optional(Type.Integer({ minimum: 1 })),
        scrapAllowance: Type.Optional(Count),
      }),
      response: AllotmentShape,
      status: 201,
      handle: async ({ actor }, { params: { name }, body }) =>
        allotted(await refusable(actor, 'order.allot', name, () => allot(orders, name, body, actor))),
    }),
    route({
      id: 'endAllotment',
      method: 'POST',
      path: '/api/v1/orders/{name}/allotments/{allotment}/end',
      permission: 'order.manage',
      summary: 'Let a line bear no more of an order; what it did not use goes back',
      params: Type.Object({ name: Name, allotment: Uuid }),
      response: Empty,
      async handle({ actor }, { params: { name, allotment } }) {
        await refusable(actor, 'order.end-allotment', name, () => endAllotment(orders, name, allotment, actor))
        return {}
      },
    }),
    route({
      id: 'judgeDevice',
      method: 'POST',
      path: '/api/v1/orders/{name}/verdicts',
      permission: 'order.report',
      summary: 'Say of a device that was born at a line of this server how it did in its test',
      params: ByName,
      body: record({
        productSerial: Type.String({ minLength: 1, maxLength: 64 }),
        verdict: Type.Enum(['good', 'scrap']),
        reason: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
      }),
      response: Empty,
      async handle({ actor }, { params: { name }, body }) {
        await refusable(actor, 'order.judge', name, () => judge(orders, name, body, actor))
        return {}
      },
    }),
    route({
      id: 'giveUpJob',
      method: 'POST',
      path: '/api/v1/orders/{name}/jobs/{job}/give-up',
      permission: 'order.manage',
      summary: 'Give up a job whose node is gone or counts no further',
      params: Type.Object({ name: Name, job: Uuid }),
      body: record({ reason: Type.String({ minLength: 1, maxLength: 500 }) }),
      response: Empty,
      async handle({ actor }, { params: { name, job }, body: { reason } }) {
        await refusable(actor, 'order.give-up', name, () => giveUpJob(orders, name, job, reason, actor))
        return {}
      },
    }),
    route({
      id: 'closeOrder',
      method: 'POST',
      path: '/api/v1/orders/{name}/close',
      permission: 'order.manage',
      summary: 'Close an order whose jobs are over: no more tickets',
      params: ByName,
      response: Empty,
      async handle({ actor }, { params: { name } }) {
        await refusable(actor, 'order.close', name, () => closeOrder(orders, name, actor))
        return {}
      },
    }),
    route({
      id: 'importBundle',
      method: 'POST',
      path: '/api/v1/order-bundles',
      permission: 'order.report',
      summary: 'Take in a piece of a node’s log; it must extend what was seen before',
      takesOctets: true,
      response: record({ job: Uuid, order: Name, entries: Count, births: Count, size: Count, state: JobState, alarms: Count }),
      async handle({ actor, upload }) {
        if (upload === undefined) throw new TypeError('the route takes octets')
        const pieces: Uint8Array[] = []
        for await (const piece of upload.read(BUNDLE_MAX_OCTETS)) pieces.push(piece)
        if (pieces.length === 0) throw new TrustError('malformed', 'bundleMalformed', { facts: { detail: 'it is empty' } })
        return importBundle(orders, concat(pieces), actor)
      },
    }),
    route({
      id: 'reconcileOrder',
      method: 'POST',
      path: '/api/v1/orders/{name}/reconcile',
      permission: 'order.report',
      summary: 'Compare what was ordered, issued, good, scrapped, burned, shipped and seen, and raise alarms',
      params: ByName,
      response: ReconciliationShape,
      handle: async ({ actor }, { params: { name } }) => reported(await reconcile(orders, name, actor)),
    }),
    route({
      id: 'noteShipped',
      method: 'POST',
      path: '/api/v1/orders/{name}/shipments',
      permission: 'order.report',
      summary: 'Note which devices left the factory',
      params: ByName,
      body: record({ serials: Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { minItems: 1, maxItems: SHIPPED_MAX }) }),
      response: record({ noted: Count }),
      handle: async ({ actor }, { params: { name }, body: { serials } }) => ({
        noted: await noteShipped(orders, name, serials, actor),
      }),
    }),
    route({
      id: 'noteSeen',
      method: 'POST',
      path: '/api/v1/orders/{name}/sightings',
      permission: 'order.report',
      summary: 'Note where a device showed its birth certificate, and whether it is one of the order’s',
      params: ByName,
      body: record({ certificate: Base64, place: Type.String({ minLength: 1, maxLength: 128 }) }),
      response: record({ seen: Type.Enum(['known', 'inNoLog', 'foreignIssuer']) }),
      handle: async ({ actor }, { params: { name }, body: { certificate, place } }) => ({
        seen: await noteSeen(orders, name, { certificate: octetsOf(certificate), place }, actor),
      }),
    }),
  ] as const
}
