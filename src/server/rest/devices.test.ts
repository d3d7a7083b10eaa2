/** Devices over REST: what is answered is what the schemas promise, and true. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { testCA, type TestCA, testKey, testRequest } from '#ca/testing.ts'
import { bindSpeaker } from '#devices/speakers.ts'
import { tellDue } from '#devices/due.ts'
import { certificateById, certificateStates } from '../compose.ts'
import { type DevicePlant, devicePlant } from '../device-testing.ts'
import { certificateRoutes } from './certificates.ts'
import { deviceCatalogRoutes } from './device-catalog.ts'
import { deviceRoutes } from './devices.ts'
import type { Route } from './route.ts'

type Fields = Record<string, unknown>

interface Answer {
  readonly [name: string]: unknown
}

function api(ca: TestCA, { devices, rules }: DevicePlant) {
  const states = certificateStates(ca.context)
  const services = {
    ...{ context: ca.context, authorities: ca.authorities },
    devices: {
      ...{ context: devices, enrollment: rules, facts: (id: string) => certificateById(ca, id) },
      async tellDue() {
        while ((await tellDue(devices, states)) > 0);
      },
    },
  }
  const all = services as never
  const routes = [...deviceRoutes(all), ...deviceCatalogRoutes(all), ...certificateRoutes(all)] as unknown as readonly Route[]
  return async (id: string, input: { params?: Fields; query?: Fields; body?: Fields } = {}): Promise<Answer> => {
    const route = routes.find((one) => one.id === id) ?? assert.fail(id)
    const call = { actor: 'person:olga', principal: undefined, requestId: 'r' }
    const answer = await route.handle(call, { params: {}, query: {}, body: {}, ...input })
    assert.ok(Compile(route.response as TSchema).Check(answer), `${id} answers ${JSON.stringify(answer)}`)
    return answer as Answer
  }
}

test('R2, R6, R33: a life over REST: its history, and whether its certificates are usable at each turn', async () => {
  await using ca = await testCA()
  const plant = await devicePlant(ca)
  const call = api(ca, plant)
  const idevid = await plant.enroll(plant.births, 'A-1')
  const { id } = await plant.device('A-1')
  const params = { id }
  for (const act of ['releaseDevice', 'shipDevice']) await call(act, { params })
  await plant.act('A-1', 'offer', 'claim')
  const first = await plant.enroll(plant.paint, 'A-1', { shown: idevid, key: testKey() })
  const second = await plant.enroll(plant.paint, 'A-1', { shown: first, key: testKey() })
  const usable = async ({ certificateId }: { readonly certificateId: string }): Promise<unknown> =>
    (await call('decideCertificate', { params: { id: certificateId } }))['reason'] ?? 'usable'
  assert.deepEqual([await usable(idevid), await usable(first), await usable(second)], ['usable', 'usable', 'usable'])

  await call('suspendDevice', { params, body: { reason: 'odd' } })
  assert.deepEqual([await usable(first), await usable(second)], ['certificateHeld', 'certificateHeld'], 'the CA was told')
  await assert.rejects(call('suspendDevice', { params }), { code: 'conflict', reason: 'deviceState' })
  const refusal = (await ca.entries()).at(-1)
  assert.deepEqual([refusal?.act, refusal?.outcome, refusal?.reason], ['device.suspend', 'refused', 'deviceState'])
  await call('resumeDevice', { params })
  assert.equal(await usable(second), 'usable')
  await call('flagDevice', { params: { id, flag: 'stolen' } })
  assert.equal(await usable(second), 'deviceMissing')
  await call('unflagDevice', { params: { id, flag: 'stolen' } })
  await call('quarantineDevice', { params })
  await call('clearDevice', { params })
  await plant.act('A-1', 'change-area')
  const moved = await plant.enroll(plant.press, 'A-1', { shown: second, key: testKey() })
  assert.deepEqual([await usable(second), await usable(moved)], ['usable', 'usable'], 'both, until the new one is seen')
  await plant.enroll(plant.press, 'A-1', { shown: moved, key: testKey() })
  assert.deepEqual([await usable(second), await usable(moved)], ['certificateReplaced', 'usable'])
  await call('decommissionDevice', { params })
  assert.deepEqual([await usable(idevid), await usable(moved)], ['certificateRevoked', 'certificateRevoked'])

  const history = await call('showDeviceHistory', { params })
  const events = history['events'] as readonly { readonly act: string; readonly facts: object }[]
  const acts =
    'bear release ship offer claim onboard activate suspend resume flag unflag quarantine clear change-area settle-area decommission'
  assert.deepEqual(events.map(({ act }) => act).join(' '), acts)
  assert.deepEqual(events.find(({ act }) => act === 'suspend')?.facts, { reason: 'odd' })
  assert.deepEqual(
    (history['areas'] as readonly { readonly name: string }[]).map(({ name }) => name),
    ['ann/paint', 'ann/press'],
  )
})

test('catalog, filters and pages, and what endpoints say of devices', async () => {
  await using ca = await testCA()
  const plant = await devicePlant(ca)
  const call = api(ca, plant)
  const body = { name: 'acme', title: 'Acme', kind: 'manufacturer' }
  await call('createOrganization', { body })
  await assert.rejects(call('createOrganization', { body }), { code: 'conflict', reason: 'nameTaken' })
  const model = {
    manufacturer: 'acme',
    name: 'valve',
    title: 'Valve',
    compatible: { rauc: 'v' },
    variants: ['tpm'],
    assuranceMin: 3,
  }
  await call('createModel', { body: model })
  const byModel = { manufacturer: 'acme', model: 'valve' }
  await call('createRevision', { params: byModel, body: { name: 'b', compatible: {} } })
  const area = {
    owner: 'ann',
    name: 'wash',
    title: 'Wash',
    authority: 'line1',
    profiles: ['ldevid'],
    assuranceMin: 0,
    models: ['acme/valve'],
  }
  await assert.rejects(call('createArea', { body: area }), { code: 'forbidden', reason: 'organizationNotTheirs' })
  await bindSpeaker(plant.devices, 'ann', 'person:olga', 'system')
  assert.equal((await call('createArea', { body: area }))['authority'], 'line1.1')
  await assert.rejects(call('createArea', { body: { ...area, name: 'x', models: ['acme/none'] } }), { reason: 'modelUnknown' })
  for (const [id, params] of [
    ['disableModel', byModel],
    ['enableModel', byModel],
    ['showModel', byModel],
    ['disableArea', { owner: 'ann', area: 'wash' }],
    ['enableArea', { owner: 'ann', area: 'wash' }],
    ['showArea', { owner: 'ann', area: 'wash' }],
  ] as const)
    assert.equal((await call(id, { params }))['state'], id.startsWith('disable') ? 'disabled' : 'enabled')
  for (const list of ['listOrganizations', 'listModels', 'listAreas'])
    assert.ok(((await call(list))['items'] as readonly unknown[]).length >= 2, list)

  for (const productSerial of ['V-1', 'V-2', 'V-3'])
    await call('registerDevice', { body: { model: 'acme/valve', productSerial, revision: 'b' } })
  await assert.rejects(call('registerDevice', { body: { model: 'acme/valve', productSerial: 'v-3' } }), {
    reason: 'deviceExists',
  })
  await assert.rejects(call('registerDevice', { body: { model: 'acme/valve', productSerial: 'V-4', revision: 'z' } }), {
    reason: 'revisionUnknown',
  })
  const serials = ({ items }: Answer): readonly string[] =>
    (items as readonly { readonly productSerial: string }[]).map(({ productSerial }) => productSerial)
  const query = { model: 'acme/valve', state: 'planned', manufacturer: 'acme', limit: 2 }
  const page = await call('findDevices', { query })
  assert.equal(serials(page).length, 2)
  const rest = await call('findDevices', { query: { ...query, cursor: page['next'] } })
  assert.deepEqual([...serials(page), ...serials(rest)].toSorted(), ['V-1', 'V-2', 'V-3'])
  assert.equal(rest['next'], undefined)
  assert.deepEqual(serials(await call('findDevices', { query: { owner: 'ann', area: 'ann/wash', flag: 'lost' } })), [])

  const params = { label: 'births' }
  const rule = { kind: 'birth', model: 'acme/valve', revision: 'b', variant: 'tpm', assurance: 4, unknown: 'record' }
  for (const organization of ['maker', 'ann']) await bindSpeaker(plant.devices, organization, 'person:olga', 'person:ada')
  assert.deepEqual(await call('setEndpointDevices', { params, body: { rule } }), { rule })
  assert.deepEqual(await call('showEndpointDevices', { params }), { rule })
  await assert.rejects(call('setEndpointDevices', { params, body: { rule: { ...rule, assurance: 2 } } }), {
    code: 'policyRefused',
  })
  await assert.rejects(call('setEndpointDevices', { params, body: { rule: { ...rule, variant: 'software' } } }), {
    reason: 'variantNotAllowed',
  })
  const other = { kind: 'area', area: 'ann/wash', unknown: 'pass' }
  assert.deepEqual(await call('setEndpointDevices', { params, body: { rule: other } }), { rule: other })
  assert.deepEqual(await call('setEndpointDevices', { params }), {})
  await assert.rejects(call('showEndpointDevices', { params: { label: 'none' } }), { code: 'notFound' })
})

test('R2, R33: by hand as well: a birth is recorded where its endpoint lends its rules, and who is cut off gets nothing', async () => {
  await using ca = await testCA()
  const plant = await devicePlant(ca)
  const call = api(ca, plant)
  const where = { authority: 'line1', profile: 'idevid', endpoint: 'births' }
  const { der } = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
  await call('issueCertificate', { body: { ...where, request: der.toBase64() } })
  const { id, state } = await plant.device('A-1')
  assert.equal(state, 'born')
  const tls = { ...where, profile: 'ldevid' }
  const generate = (): Promise<Answer> =>
    call('generateCertificate', { body: { ...tls, subject: 'serialNumber=A-1', password: 'long enough' } })
  await generate()
  await call('quarantineDevice', { params: { id } })
  await assert.rejects(generate(), { code: 'forbidden', reason: 'deviceCutOff' })
  assert.equal((await ca.entries()).at(-1)?.reason, 'deviceCutOff')
})

test('R6: what enrollment at an endpoint makes of devices is for who speaks for the maker, or for the owner of the area', async () => {
  await using ca = await testCA()
  const plant = await devicePlant(ca)
  const call = api(ca, plant)
  const [births, paint] = ['births', 'paint'].map((label) => ({ params: { label } }))
  assert.ok(births !== undefined && paint !== undefined)
  const { rule: ofBirths } = await call('showEndpointDevices', births)
  const { rule: ofPaint } = await call('showEndpointDevices', paint)
  const refuses = (work: Promise<unknown>) => assert.rejects(work, { code: 'forbidden', reason: 'organizationNotTheirs' })
  for (const [at, rule] of [
    [births, ofBirths],
    [paint, ofPaint],
    [births, undefined],
    [paint, undefined],
  ] as const)
    await refuses(call('setEndpointDevices', { ...at, body: rule === undefined ? {} : { rule } }))
  assert.deepEqual((await call('showEndpointDevices', paint))['rule'], ofPaint)
  const refusal = (await ca.entries()).at(-1)
  assert.deepEqual([refusal?.act, refusal?.outcome], ['endpoint.devices', 'refused'])
  await bindSpeaker(plant.devices, 'ann', 'person:olga', 'person:ada')
  await call('setEndpointDevices', { ...paint, body: { rule: ofPaint } })
  await refuses(call('setEndpointDevices', { ...paint, body: { rule: ofBirths } }))
})
