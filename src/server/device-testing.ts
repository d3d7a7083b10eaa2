/** A CA with devices: a line that bears them, an owner, and two areas. For tests only. @module */
import assert from 'node:assert/strict'
import { createEndpoint, type Endpoint, type EndpointRules } from '#ca/endpoint.ts'
import { type Enrollment, enrollment, type IssuedAnswer } from '#ca/enrollment.ts'
import { hierarchy, person, type TestCA, type TestKey, testRequest } from '#ca/testing.ts'
import { DEFAULT_ORGANIZATION } from '#ca/tables.ts'
import { createArea } from '#devices/areas.ts'
import { changeState } from '#devices/change.ts'
import type { DevicesContext } from '#devices/context.ts'
import type { Device } from '#devices/device.ts'
import { deviceEnrollment, type DeviceEnrollment, type EndpointRule } from '#devices/enrollment.ts'
import { createModel } from '#devices/models.ts'
import { createOrganization } from '#devices/organizations.ts'
import { findDevices, registerDevice } from '#devices/register.ts'
import type { DeviceAct } from '#devices/states.ts'
import { migrate } from '#store/migrate.ts'
import { askingDevices, migrations } from './compose.ts'

const HARDWARE_TYPE = '1.3.6.1.4.1.99999.1'

export interface DevicePlant {
  readonly ca: TestCA
  readonly devices: DevicesContext
  readonly rules: DeviceEnrollment
  readonly service: Enrollment
  readonly births: Endpoint
  readonly paint: Endpoint
  readonly press: Endpoint
  readonly owner: string
  readonly areas: readonly [string, string]
  enroll(endpoint: Endpoint, serial: string, options?: { key?: TestKey; shown?: IssuedAnswer }): Promise<IssuedAnswer>
  device(serial: string): Promise<Device>
  act(serial: string, ...acts: DeviceAct[]): Promise<void>
}

/** @param unknown `refuse`: only `A-1` is planned */
export async function devicePlant(ca: TestCA, unknown: 'record' | 'refuse' = 'record'): Promise<DevicePlant> {
  const { db, audit, world } = ca.context
  await migrate(db, migrations, world)
  const devices: DevicesContext = { db, audit, world, organizationId: DEFAULT_ORGANIZATION }
  await hierarchy(ca)
  const rules = deviceEnrollment(devices)
  const service = enrollment(ca.context, ca.authorities, askingDevices(rules, devices))
  const endpoint = (label: string, profile: string, more: Partial<EndpointRules>): Promise<Endpoint> =>
    createEndpoint(
      ca.context,
      { label, protocol: 'est', authorityId: ca.authorities.byAddress('line1').id, profile, rules: more },
      person,
    )
  const [births, paint, press] = [
    await endpoint('births', 'idevid', { hardwareType: HARDWARE_TYPE, secrets: true }),
    await endpoint('paint', 'ldevid', { clientIssuers: ['line1.1'], firstEnrollmentOnReenroll: true }),
    await endpoint('press', 'ldevid', { clientIssuers: ['line1.1'], firstEnrollmentOnReenroll: true }),
  ]
  const { id: manufacturerId } = await createOrganization(
    devices,
    { name: 'maker', title: 'Maker', kind: 'manufacturer' },
    person,
  )
  const { id: owner } = await createOrganization(devices, { name: 'ann', title: 'Ann', kind: 'owner' }, person)
  const { id: modelId } = await createModel(
    devices,
    {
      ...{ manufacturerId, name: 'pump', title: 'Pump', hardwareType: HARDWARE_TYPE, compatible: {} },
      ...{ variants: ['software'], assuranceMin: 1 },
    },
    person,
  )
  const area = async (name: string): Promise<string> => {
    const terms = {
      title: name,
      authority: 'line1.1',
      profiles: ['ldevid'],
      policy: {},
      assuranceMin: 1,
      models: undefined,
    } as const
    return (await createArea(devices, { ...terms, ownerId: owner, name }, person)).id
  }
  const areas = [await area('paint'), await area('press')] as const
  const birth: EndpointRule = { kind: 'birth', modelId, variant: 'software', assurance: 2, unknown }
  await rules.setRule(births.id, birth, person)
  await rules.setRule(paint.id, { kind: 'area', areaId: areas[0], unknown: 'refuse' }, person)
  await rules.setRule(press.id, { kind: 'area', areaId: areas[1], unknown: 'pass' }, person)

  const device = async (productSerial: string): Promise<Device> => {
    const [found] = await findDevices(devices, { productSerial }, { limit: 1 })
    return found ?? assert.fail(`no device ${productSerial}`)
  }
  if (unknown === 'refuse') await registerDevice(devices, { manufacturerId, modelId, productSerial: 'A-1' }, person)
  return {
    ...{ ca, devices, rules, service, births, paint, press, owner, areas, device },
    async enroll(at, serial, { key, shown } = {}) {
      const request = await testRequest({ subject: [{ type: 'serialNumber', value: serial }], ...(key !== undefined && { key }) })
      const identity =
        shown === undefined
          ? ({ kind: 'person', principalId: 'officer' } as const)
          : await service.authenticate(at, { chain: [shown.certificate], basic: undefined })
      return (await service.enroll({ endpoint: at, operation: 'enroll', request, identity })) as IssuedAnswer
    },
    async act(serial, ...acts) {
      const { id } = await device(serial)
      for (const act of acts) {
        const areaId = act === 'change-area' ? areas[1] : areas[0]
        await changeState(devices, id, { act, actor: person, ownerId: owner, areaId })
      }
    },
  }
}
