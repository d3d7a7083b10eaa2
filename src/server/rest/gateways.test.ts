import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openAccess } from '#access/access.ts'
import { approvers } from '#access/approvers.ts'
import { accessMigrations } from '#access/migrations.ts'
import { actorOf } from '#access/principals.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { keep } from '#store/batch.ts'
import { stepsToBear } from '#devices/birth-record.ts'
import { stepsToAttach, stepsToConfirm } from '#devices/certificates.ts'
import { changeState } from '#devices/change.ts'
import { type DeviceKind, openDevice } from '#devices/device.ts'
import { bindDevices } from '#devices/gateways.ts'
import { type TestInstallation, testInstallation } from '#devices/ownership/testing.ts'
import { bindSpeaker } from '#devices/speakers.ts'
import { keyHashOf, officer, testArea, testBirth, testModel, testOrganization } from '#devices/testing.ts'
import type { FindFacts } from '#devices/usable.ts'
import { openCommands } from '../commands.ts'
import type { CAServices } from '../compose.ts'
import { directedDevice } from '../updates.ts'
import { agreement, gatewayActs } from './agreed.ts'
import { gatewayRoutes } from './gateways.ts'
import type { Call, Route } from './route.ts'

/** Claimed by `works`, for whom `sam` speaks. */
async function worksOf(plant: TestInstallation, sam: string) {
  const { context } = plant
  const { db } = context
  const maker = await testOrganization({ context }, 'acme', 'manufacturer')
  const { id: modelId } = await testModel({ context }, maker.id, 'plc')
  await plant.organization('works')
  await bindSpeaker(context, 'works', sam, officer)
  const [works] = await db.query<{ id: string }>("SELECT id FROM organization WHERE name = 'works'")
  const ownerId = works?.id ?? assert.fail()
  const claimed = async (productSerial: string, kind: DeviceKind): Promise<string> => {
    const birth = testBirth(productSerial, `birth ${productSerial}`, { assurance: 1 })
    const { device, steps } = stepsToBear(context, { manufacturerId: maker.id, modelId, productSerial, kind }, birth, officer)
    await keep(db, steps)
    for (const act of ['release', 'ship'] as const) await changeState(context, device.id, { act, actor: officer })
    return (await changeState(context, device.id, { act: 'claim', actor: officer, ownerId })).id
  }
  return { ownerId, claimed }
}

test('R2: a device that goes to another gateway waits for somebody else to agree to just that', async () => {
  await using plant = await testInstallation(undefined, [...accessMigrations, ...approvalsMigrations])
  const { context } = plant
  const { db, audit, world, organizationId } = context
  const access = openAccess({ database: db, world, audit, organizationId })
  const approvals = openApprovals({ db, audit, world, organizationId, people: approvers(organizationId), kinds: gatewayActs })
  const ownership = { ...context, keys: { open: context.keys.open } }
  const services = { devices: { ownership, tellDue: async () => {} } } as unknown as CAServices
  const routes = gatewayRoutes(services, agreement({ approvals, access, db, least: 1 })) as unknown as readonly Route[]
  const person = (name: string) => access.createPrincipal({ kind: 'person', name, roles: ['pki-officer', 'approver'] }, 'system')
  const [sam, ann] = [await person('Sam'), await person('Ann')]
  const { claimed } = await worksOf(plant, actorOf(sam))
  const [first, second] = [await claimed('G1', 'gateway'), await claimed('G2', 'gateway')]
  const device = await claimed('L1', 'device')
  const call: Call = { actor: actorOf(sam), principal: sam, requestId: 'r' }
  const ask = async (id: string, gateway: string, body: unknown) => {
    const route = routes.find((one) => one.id === id) ?? assert.fail()
    return (await route.handle(call, { params: { id: gateway }, query: {}, body })) as {
      readonly state?: string
      readonly approval?: { readonly id: string; readonly description: string }
      readonly devices: readonly { readonly device: string; readonly port: string }[]
    }
  }
  const bind = (gateway: string, port: string) => ask('bindDevices', gateway, { devices: [{ device, port }] })
  assert.equal((await bind(first, 'com1')).state, 'bound')
  const { state, approval } = await bind(second, 'com1')
  assert.equal(state, 'waiting')
  assert.match(approval?.description ?? '', /gateway G2 .*L1/)
  const { id, digest } = await approvals.find(approval?.id ?? '')
  const by = (who: typeof sam) => ({ actor: actorOf(who), id: who.id, kind: who.kind })
  await assert.rejects(approvals.approve(id, { digest }, by(sam)), { code: 'forbidden' }, 'not by who asks')
  await approvals.approve(id, { digest }, by(ann))
  assert.equal((await bind(second, 'com2')).state, 'waiting', 'another port is another move')
  assert.equal((await bind(second, 'com1')).state, 'bound')
  assert.deepEqual((await ask('listBindings', first, undefined)).devices, [])
  assert.deepEqual((await ask('unbindDevices', second, { devices: [device] })).devices, [])
  const acts = await db.query<{ act: string }>("SELECT act FROM audit_entry WHERE act LIKE 'gateway.%' ORDER BY id")
  assert.deepEqual(
    acts.map(({ act }) => act),
    ['gateway.bind', 'gateway.move', 'gateway.unbind'],
  )
})

test('R2, R12: neither commands nor updates are for a device whose gateway does not stand', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  const { ownerId, claimed } = await worksOf(plant, officer)
  const area = await testArea({ context }, ownerId, 'hall')
  const [gateway, device] = [await claimed('G1', 'gateway'), await claimed('L1', 'device')]
  await bindDevices(
    context,
    { gatewayId: gateway, wanted: [{ deviceId: device, port: 'com1', fingerprint: '', assurance: 1 }] },
    { actor: officer, isAgreed: false },
  )
  const certificate = { certificateId: 'own', keyHash: keyHashOf('own'), role: 'operational', areaId: area.id } as const
  for (const id of [gateway, device]) await changeState(context, id, { act: 'onboard', actor: officer, areaId: area.id })
  await changeState(context, device, { act: 'activate', actor: officer })
  await keep(context.db, stepsToAttach(context, await openDevice(context, context.db, gateway), certificate))
  await keep(context.db, stepsToConfirm(context, await openDevice(context, context.db, gateway), certificate, officer))

  let status = 'active'
  const facts: FindFacts = async (certificateId) => ({
    ...{ certificateId, status, isIssuerEnabled: true, notBefore: 0, notAfter: Number.MAX_SAFE_INTEGER },
  })
  const commands = openCommands({ context, issuer: '', anchors: [], facts, certificate: async () => undefined })
  const standing = { isSignedByOperator: true, roleHasOperation: true, isAssuranceReached: true, areEnoughAgreed: true }
  const asked = { actor: officer, deviceId: device, command: 'c', standing }
  const check = async (isReached: boolean): Promise<void> => {
    assert.equal((await directedDevice(context, facts, device)).isInUse, isReached)
    if (isReached) return commands.checkMayCommand(asked)
    const missing = { rule: 'command', missing: 'certificate-usable' }
    await assert.rejects(commands.checkMayCommand(asked), { code: 'forbidden', reason: 'ruleRefuses', facts: missing })
  }
  await check(true)
  status = 'revoked'
  await check(false)
  status = 'active'
  await changeState(context, gateway, { act: 'suspend', actor: officer })
  await check(false)
  await changeState(context, gateway, { act: 'resume', actor: officer })
  await check(true)
})
