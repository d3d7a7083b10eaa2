import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changeRules, createEndpoint, disableEndpoint, noRules, openEndpoint } from './endpoint.ts'
import { lately, LATELY_MILLISECONDS } from './lately.ts'
import { hierarchy, person, testCA } from './testing.ts'

test('what was read is read again when it was forgotten, and when it is old', async () => {
  await using ca = await testCA()
  const kept = lately<number>()
  let reads = 0
  const get = (): Promise<number> => kept.get(ca.context, 'key', async () => ++reads)
  assert.deepEqual([await get(), await get()], [1, 1])
  kept.forget(ca.context.db)
  assert.equal(await get(), 2)
  ca.advance(LATELY_MILLISECONDS / 1000)
  assert.equal(await get(), 3)
})

test('a read that began before a change is not kept after it', async () => {
  await using ca = await testCA()
  const kept = lately<string>()
  const reading = Promise.withResolvers<string>()
  const early = kept.get(ca.context, 'key', () => reading.promise)
  kept.forget(ca.context.db)
  reading.resolve('before')
  assert.equal(await early, 'before')
  assert.equal(await kept.get(ca.context, 'key', async () => 'after'), 'after')
})

test('a refusal is not kept', async () => {
  await using ca = await testCA()
  const kept = lately<string>()
  await assert.rejects(kept.get(ca.context, 'key', () => Promise.reject(new Error('not there'))))
  assert.equal(await kept.get(ca.context, 'key', async () => 'there'), 'there')
})

test('R1: an endpoint made, changed or disabled in this process is so from the next request on', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const open = () => openEndpoint(ca.context, 'est', 'line')
  await assert.rejects(open, { reason: 'endpointUnknown' })
  const authorityId = ca.authorities.byAddress('line1').id
  const { id } = await createEndpoint(ca.context, { label: 'line', protocol: 'est', authorityId, profile: 'ldevid' }, person)
  assert.equal((await open()).rules.secrets, false)
  await changeRules(ca.context, id, { ...noRules, secrets: true }, person)
  assert.equal((await open()).rules.secrets, true)
  await disableEndpoint(ca.context, id, person)
  await assert.rejects(open, { reason: 'endpointUnknown' })
})

test('another process counts within the time that is named', async () => {
  await using ca = await testCA()
  await hierarchy(ca)
  const authorityId = ca.authorities.byAddress('line1').id
  await createEndpoint(ca.context, { label: 'line', protocol: 'est', authorityId, profile: 'ldevid' }, person)
  const open = () => openEndpoint(ca.context, 'est', 'line')
  await open()
  await ca.context.db.transaction((tx) => tx.query("UPDATE endpoint SET state = 'disabled'"))
  ca.advance(LATELY_MILLISECONDS / 1000)
  await assert.rejects(open, { reason: 'endpointUnknown' })
})
