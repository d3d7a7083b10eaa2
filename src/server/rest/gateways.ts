/** REST: for which devices a gateway speaks. @module */
import { Type } from 'typebox'
import { openDevice } from '#devices/device.ts'
import { type BindingList, bindDevices, bindingsOf, movedAmong, unbindDevices } from '#devices/gateways.ts'
import { BOUND_MAX, FINGERPRINT_MAX_LENGTH, PORT_MAX_LENGTH } from '#devices/ownership/statement.ts'
import type { CAServices } from '../compose.ts'
import { type Agreed, MOVE_BOUND, WaitingShape } from './agreed.ts'
import { CatalogName } from './device-catalog.ts'
import { ProductSerial } from './devices.ts'
import { recordingRefusals } from './refusals.ts'
import { type Call, record, route } from './route.ts'
import { Time, Uuid } from './shapes.ts'

const ById = Type.Object({ id: Uuid })
const written = (minLength: number, maxLength: number, description: string) =>
  Type.String({
    minLength,
    maxLength,
    pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]*$',
    description,
  })
const Port = written(1, PORT_MAX_LENGTH, 'where the device is: rs485-1/unit 7')
const Fingerprint = written(0, FINGERPRINT_MAX_LENGTH, 'what it is known by there: an address, a hash of its nameplate')
const Level = Type.Integer({ minimum: 0, maximum: 1, description: '0: nobody knows what it is; 1: the gateway vouches for it' })

const ListShape = record({
  gateway: Uuid,
  number: Type.Integer({ description: 'of the list; 0 before the first' }),
  statement: Type.Optional(Type.String({ description: "the owner's word for the whole list (JWS)" })),
  devices: Type.Array(
    record({
      ...{ device: Uuid, manufacturer: CatalogName, productSerial: ProductSerial, port: Port },
      ...{ fingerprint: Type.Optional(Fingerprint), assurance: Level, boundAt: Time },
    }),
  ),
})

const listShape = ({ gatewayId, number, statement, devices }: BindingList) => ({
  ...{ gateway: gatewayId, number, ...(statement !== undefined && { statement }) },
  devices: devices.map(({ deviceId, manufacturer, productSerial, port, fingerprint, assurance, boundAt }) => ({
    ...{ device: deviceId, manufacturer, productSerial, port, ...(fingerprint !== '' && { fingerprint }) },
    ...{ assurance, boundAt: new Date(boundAt).toISOString() },
  })),
})

export function gatewayRoutes({ devices }: Pick<CAServices, 'devices'>, agreed: Agreed) {
  const { ownership: context } = devices
  const { db, audit } = context

  /** The authorities are told before the answer; what is refused is in the audit log. */
  const doing = <T>({ actor }: Call, act: string, gatewayId: string, work: () => Promise<T>): Promise<T> =>
    recordingRefusals(audit, { actor, act, object: `device:${gatewayId}` }, async () => {
      const done = await work()
      await devices.tellDue()
      return done
    })

  return [
    route({
      id: 'listBindings',
      method: 'GET',
      path: '/api/v1/gateways/{id}/devices',
      permission: 'device.read',
      summary: 'For which devices a gateway speaks, with what its owner signed',
      params: ById,
      response: ListShape,
      handle: async (_, { params: { id } }) => listShape(await bindingsOf(context, id)),
    }),
    route({
      id: 'bindDevices',
      method: 'POST',
      path: '/api/v1/gateways/{id}/devices',
      permission: 'device.transfer',
      summary: 'Let a gateway speak for devices; for one that was bound elsewhere somebody else has to agree',
      params: ById,
      body: record({
        devices: Type.Array(
          record({ device: Uuid, port: Port, fingerprint: Type.Optional(Fingerprint), assurance: Type.Optional(Level) }),
          { minItems: 1, maxItems: BOUND_MAX },
        ),
      }),
      response: Type.Union([Type.Object({ state: Type.Literal('bound'), ...ListShape.properties }), WaitingShape]),
      isPending: ({ state }) => state === 'waiting',
      async handle(call, { params: { id }, body }) {
        const wanted = body.devices.map(({ device, port, fingerprint = '', assurance = 0 }) => ({
          ...{ deviceId: device, port, fingerprint, assurance: assurance === 1 ? (1 as const) : (0 as const) },
        }))
        const bind = (isAgreed: boolean) =>
          doing(call, 'gateway.bind', id, async () => ({
            state: 'bound' as const,
            ...listShape(await bindDevices(context, { gatewayId: id, wanted }, { actor: call.actor, isAgreed })),
          }))
        if ((await movedAmong({ db }, id, wanted)).length === 0) return bind(false)
        const { productSerial: gateway } = await openDevice(context, db, id)
        const serials = await Promise.all(wanted.map(async (one) => (await openDevice(context, db, one.deviceId)).productSerial))
        const parameters = { gateway, devices: wanted.map((one, at) => ({ productSerial: serials[at] ?? '', ...one })) }
        return agreed({ kind: MOVE_BOUND, object: `device:${id}`, parameters }, call, () => bind(true))
      },
    }),
    route({
      id: 'unbindDevices',
      method: 'POST',
      path: '/api/v1/gateways/{id}/devices/unbind',
      permission: 'device.transfer',
      summary: 'Let a gateway speak for devices no more: what it has of them is revoked',
      params: ById,
      body: record({ devices: Type.Array(Uuid, { minItems: 1, maxItems: BOUND_MAX }) }),
      response: ListShape,
      handle: (call, { params: { id }, body }) =>
        doing(call, 'gateway.unbind', id, async () =>
          listShape(await unbindDevices(context, { gatewayId: id, deviceIds: body.devices }, call.actor)),
        ),
    }),
  ] as const
}
