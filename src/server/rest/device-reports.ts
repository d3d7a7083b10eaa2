/** REST: what devices said of themselves, and an officer's word that it is right. @module */
import { Type } from 'typebox'
import { acceptNextReport, type ReportStanding, reportStanding } from '#devices/state/reports.ts'
import { openDevice } from '#devices/device.ts'
import type { CAServices } from '../compose.ts'
import { recordingRefusals } from './refusals.ts'
import { record, route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

const ById = Type.Object({ id: Uuid })
const ReportShape = record({
  counter: Type.Integer({ description: 'of its last report that was taken; 0 before the first' }),
  receivedAt: Type.Optional(Time),
  isExpected: Type.Boolean({ description: 'whether there is a state to hold its reports against' }),
  isAwaited: Type.Boolean({ description: 'whether what it says next is taken as right' }),
  faults: Type.Array(Type.String(), { description: 'why it was cut off' }),
})

const NONE: ReportStanding = { counter: 0, receivedAt: new Date(0), isExpected: false, isAwaited: false, faults: [] }

function shown({ receivedAt, faults, ...standing }: ReportStanding) {
  const at = receivedAt.getTime() === 0 ? {} : { receivedAt: receivedAt.toISOString() }
  return { ...standing, ...at, faults: [...faults] }
}

export function deviceReportRoutes({ devices: { context } }: Pick<CAServices, 'devices'>) {
  const standing = async (id: string) => shown((await reportStanding(context, id)) ?? NONE)
  return [
    route({
      id: 'showDeviceReports',
      method: 'GET',
      path: '/api/v1/devices/{id}/reports',
      permission: 'device.read',
      summary: 'What a device says of itself: the last report, and what was wrong with it',
      params: ById,
      response: ReportShape,
      async handle(_, { params: { id } }) {
        await openDevice(context, context.db, id)
        return standing(id)
      },
    }),
    route({
      id: 'acceptDeviceState',
      method: 'POST',
      path: '/api/v1/devices/{id}/reports/accept',
      permission: 'device.change',
      summary: 'Take the next report of a device as right: its numbers begin there, and later ones are held against it',
      params: ById,
      body: Empty,
      response: ReportShape,
      handle: ({ actor }, { params: { id } }) =>
        recordingRefusals(context.audit, { actor, act: 'device.accept-state', object: `device:${id}` }, async () => {
          await acceptNextReport(context, id, actor)
          return standing(id)
        }),
    }),
  ] as const
}
