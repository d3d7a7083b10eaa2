/** Campaigns over REST: an officer's day, and what others may not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plainTerms, testCampaigns } from '#updates/campaigns/testing.ts'
import { campaignRoutes } from './campaigns.ts'
import { inProcessTransport, restClient } from './client.ts'
import { openRest } from './testing.ts'

test('R12: an officer rolls out, looks, pauses and stops; an auditor only looks', async (t) => {
  await using all = await testCampaigns({ devices: 5 })
  const rest = await openRest(t, campaignRoutes(all.context))
  let count = 0
  const clientOf = async (name: string, role: 'release-engineer' | 'auditor' | 'line-operator') => {
    const { secretToken: token } = await rest.person(name, [role])
    return restClient({ transport: inProcessTransport(rest.router, () => `test-${count++}`), token })
  }
  const [rita, otto] = [await clientOf('Rita', 'release-engineer'), await clientOf('Otto', 'auditor')]
  const terms = { ...plainTerms, release: all.release.id, waves: [{ devices: 2 }] }
  await assert.rejects(otto.call('createCampaign', { body: { name: 'spring', terms } }), { code: 'forbidden' })
  const made = await rita.call('createCampaign', { body: { name: 'spring', terms } })
  assert.deepEqual([made.state, made.version, made.devices, made.wave], ['draft', '2.0.0', 0, 0])
  await assert.rejects(rita.call('createCampaign', { body: { name: 'spring', terms } }), { code: 'conflict' })
  await assert.rejects(rita.call('createCampaign', { body: { name: 'nobody', terms: { ...terms, who: {} } } }), {
    code: 'malformed',
  })
  const params = { name: 'spring' }
  assert.equal((await rita.call('startCampaign', { params })).devices, 5)
  const progress = await otto.call('campaignProgress', { params })
  assert.deepEqual([progress.states.offered, progress.states.planned, progress.waves.length], [2, 3, 2])
  const { items, next } = await otto.call('campaignLaggards', { params, query: { limit: 1 } })
  assert.deepEqual([items.length, items[0]?.lag, items[0]?.wave], [1, 'neverSeen', 1])
  const rest2 = await otto.call('campaignLaggards', { params, query: { cursor: next ?? '' } })
  assert.deepEqual([rest2.items.length, rest2.next], [1, undefined])

  assert.equal((await rita.call('openNextWave', { params })).wave, 2)
  assert.equal((await rita.call('pauseCampaign', { params, body: { reason: 'a fair' } })).reason, 'a fair')
  assert.equal((await rita.call('resumeCampaign', { params })).state, 'running')
  assert.equal((await rita.call('stopCampaign', { params, body: { reason: 'valves stick' } })).state, 'stopped')
  const listed = await otto.call('listCampaigns', {})
  assert.deepEqual(
    listed.items.map(({ name, state }) => [name, state]),
    [['spring', 'stopped']],
  )
  await assert.rejects(rita.call('startCampaign', { params }), { code: 'conflict' })

  const tenant = { pollingSeconds: 300 }
  const opened = await rita.call('putUpdateTenant', { params: { name: 'north' }, body: tenant })
  assert.deepEqual([opened.takesTokens, opened.state], [false, 'enabled'], 'tokens are off unless told')
  await assert.rejects(otto.call('putUpdateTenant', { params: { name: 'north' }, body: tenant }), { code: 'forbidden' })
  assert.deepEqual(
    (await otto.call('listUpdateTenants', {})).items.map(({ name }) => name),
    ['north', 'plant'],
  )
})
