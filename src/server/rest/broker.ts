/** REST: the message broker, and what flows between application areas. @module */
import { Type } from 'typebox'
import { findArea } from '#devices/areas.ts'
import { createConduit, listConduits, removeConduit, type NamedConduit } from '#devices/conduits.ts'
import { findOrganization } from '#devices/organizations.ts'
import { checkSpeaks } from '#devices/speakers.ts'
import { TrustError } from '#base/errors.ts'
import type { Broker } from '#mqtt/broker.ts'
import type { CAServices } from '../compose.ts'
import { CatalogName } from './device-catalog.ts'
import { recordingRefusals } from './refusals.ts'
import { record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

const ConduitShape = record({
  id: Uuid,
  owner: CatalogName,
  from: CatalogName,
  to: CatalogName,
  topics: Type.String({
    description: 'below the area: DEVICE/down/... of the one it goes to, DEVICE/evt/... of the one it comes from',
  }),
  createdAt: Time,
})

const BrokerShape = record({
  broker: Type.Enum(['off', 'built-in', 'mosquitto']),
  state: Type.Enum(['running', 'away', 'stopped']),
  detail: Type.Optional(Type.String()),
  sessions: Type.Optional(Type.Integer({ description: 'devices that are connected' })),
  devices: Type.Optional(Type.Integer({ description: 'devices that the broker lets in' })),
  cut: Type.Integer({ description: 'devices that were cut off since the start' }),
})

export function brokerRoutes({ devices: { context } }: CAServices, broker: () => Broker | undefined) {
  const { db, audit, organizationId } = context
  const shapeOf = ({ id, ownerName, fromName, toName, topics, createdAt }: NamedConduit) => ({
    ...{ id, owner: ownerName, from: fromName, to: toName, topics, createdAt: new Date(createdAt).toISOString() },
  })
  const running = (): Broker => {
    const found = broker()
    if (found === undefined) throw new TrustError('conflict', 'brokerOff')
    return found
  }

  return [
    route({
      id: 'showBroker',
      method: 'GET',
      path: '/api/v1/broker',
      permission: 'device.read',
      summary: 'The message broker: whether it runs, and who is connected',
      response: BrokerShape,
      async handle() {
        const status = broker()?.status()
        if (status === undefined) return { broker: 'off' as const, state: 'stopped' as const, cut: 0 }
        const { detail, sessions, devices, ...rest } = status
        return {
          ...rest,
          ...(detail !== undefined && { detail }),
          ...(sessions !== undefined && { sessions }),
          ...(devices !== undefined && { devices }),
        }
      },
    }),
    route({
      id: 'reconcileBroker',
      method: 'POST',
      path: '/api/v1/broker/reconcile',
      permission: 'device.manage',
      summary: 'Compare what the message broker has with what it should have, and put it right',
      body: Empty,
      response: record({ devices: Type.Integer(), added: Type.Integer(), changed: Type.Integer(), removed: Type.Integer() }),
      async handle({ actor }) {
        const act = { actor, act: 'broker.reconcile', object: 'broker' }
        const found = await recordingRefusals(audit, act, () => running().reconcile())
        await db.transaction((tx) => audit.record(tx, { ...act, outcome: 'done', facts: { ...found } }))
        return found
      },
    }),
    route({
      id: 'listConduits',
      method: 'GET',
      path: '/api/v1/conduits',
      permission: 'device.read',
      summary: 'What may flow from one application area to another',
      response: record({ items: Type.Array(ConduitShape) }),
      handle: async () => ({ items: (await listConduits(db, organizationId)).map(shapeOf) }),
    }),
    route({
      id: 'createConduit',
      method: 'POST',
      path: '/api/v1/conduits',
      permission: 'device.manage',
      summary: 'Let topics flow from one application area of an owner to another',
      body: record({ owner: CatalogName, from: CatalogName, to: CatalogName, topics: Type.String({ maxLength: 256 }) }),
      response: ConduitShape,
      status: 201,
      handle: ({ actor }, { body: { owner, from, to, topics } }) =>
        recordingRefusals(audit, { actor, act: 'conduit.create', object: `organization:${owner}` }, async () => {
          const organization = await findOrganization(context, db, owner)
          await checkSpeaks(db, organization, actor)
          const [fromAreaId, toAreaId] = [await findArea(db, organization.id, from), await findArea(db, organization.id, to)].map(
            ({ id }) => id,
          )
          const conduit = await createConduit(context, { fromAreaId: fromAreaId ?? '', toAreaId: toAreaId ?? '', topics }, actor)
          return shapeOf({ ...conduit, ownerName: owner, fromName: from, toName: to })
        }),
    }),
    route({
      id: 'removeConduit',
      method: 'DELETE',
      path: '/api/v1/conduits/{id}',
      permission: 'device.manage',
      summary: 'Let it flow no more: sessions that rest on it are cut',
      params: Type.Object({ id: Uuid }),
      response: record({ items: Type.Array(ConduitShape) }),
      handle: ({ actor }, { params: { id } }) =>
        recordingRefusals(audit, { actor, act: 'conduit.remove', object: `conduit:${id}` }, async () => {
          const found = (await listConduits(db, organizationId)).find((one) => one.id === id)
          if (found !== undefined) await checkSpeaks(db, await findOrganization(context, db, found.ownerName), actor)
          await removeConduit(context, id, actor)
          return { items: (await listConduits(db, organizationId)).map(shapeOf) }
        }),
    }),
  ]
}
