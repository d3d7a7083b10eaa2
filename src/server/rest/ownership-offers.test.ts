import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openAccess } from '#access/access.ts'
import { approvers } from '#access/approvers.ts'
import { accessMigrations } from '#access/migrations.ts'
import { actorOf } from '#access/principals.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { testInstallation } from '#devices/ownership/testing.ts'
import { bindSpeaker } from '#devices/speakers.ts'
import type { CAServices } from '../compose.ts'
import { agreement, transferActs } from './agreed.ts'
import { ownershipRoutes } from './ownership.ts'
import type { Call, Route } from './route.ts'

test('R6: beyond so many devices in a day, somebody else has to agree to each that an organization gives away', async () => {
  await using plant = await testInstallation(undefined, [...accessMigrations, ...approvalsMigrations])
  const { context } = plant
  const { db, audit, world, organizationId } = context
  const access = openAccess({ database: db, world, audit, organizationId })
  const people = approvers(organizationId)
  const approvals = openApprovals({ db, audit, world, organizationId, people, kinds: transferActs })
  const agreed = agreement({ approvals, access, db, least: 1 })
  const ownership = { ...context, keys: { open: context.keys.open } }
  const authorities = { list: () => [{ keyLabel: 'authority' }] }
  const services = { devices: { ownership, tellDue: async () => {} }, authorities } as unknown as CAServices
  const routes = ownershipRoutes(services, { agreed, alone: 1 }) as unknown as readonly Route[]
  const [seller, second] = [
    await access.createPrincipal({ kind: 'person', name: 'Sam', roles: ['pki-officer', 'approver'] }, 'system'),
    await access.createPrincipal({ kind: 'person', name: 'Ann', roles: ['approver'] }, 'system'),
  ]
  await plant.organization('valves')
  await plant.organization('anna')
  await bindSpeaker(context, 'valves', actorOf(seller), 'system')
  const [one, two] = [await plant.shipped('V2-1'), await plant.shipped('V2-2')]
  const call: Call = { actor: actorOf(seller), principal: seller, requestId: 'r' }
  const offer = async (device: string) => {
    const route = routes.find(({ id }) => id === 'offerDevice') ?? assert.fail()
    return (await route.handle(call, { params: {}, query: {}, body: { device, to: 'anna' } })) as {
      readonly state: string
      readonly approval?: { readonly id: string; readonly description: string }
    }
  }
  const setKey = routes.find(({ id }) => id === 'setOrganizationKey') ?? assert.fail()
  await assert.rejects(
    setKey.handle(call, { params: { name: 'valves' }, query: {}, body: { label: 'authority' } }),
    { code: 'forbidden', reason: 'keyInUse' },
    'the key of an authority speaks for nobody',
  )
  assert.equal((await offer(one.device.id)).state, 'offered')
  const { state, approval } = await offer(two.device.id)
  assert.equal(state, 'waiting')
  assert.match(approval?.description ?? '', /of valves to anna/)
  const { id, digest } = await approvals.find(approval?.id ?? '')
  const by = (who: typeof seller) => ({ actor: actorOf(who), id: who.id, kind: who.kind })
  await assert.rejects(approvals.approve(id, { digest }, by(seller)), { code: 'forbidden' })
  assert.equal((await offer(two.device.id)).state, 'waiting')
  await approvals.approve(id, { digest }, by(second))
  assert.equal((await offer(two.device.id)).state, 'offered')
  plant.time.ahead += 86_400_001
  const { device } = await plant.shipped('V2-3')
  assert.equal((await offer(device.id)).state, 'offered', 'the next day is another')
})
