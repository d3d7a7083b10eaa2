/** The way in to signing: who goes first, and who is told to come again. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { signingQueue } from './queue.ts'

test('of those that wait, the more urgent go first, each in the order of coming', async () => {
  const queue = signingQueue({ runningMax: 1, waitingMax: 10 })
  const done: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = queue.run('low', () => gate.promise)
  const rest = (['low 1', 'normal 1', 'high 1', 'low 2', 'high 2'] as const).map((name) =>
    queue.run(name.split(' ')[0] as 'low' | 'normal' | 'high', async () => void done.push(name)),
  )
  gate.resolve()
  await Promise.all([first, ...rest])
  assert.deepEqual(done, ['high 1', 'high 2', 'normal 1', 'low 1', 'low 2'])
})

test('when as many wait as may, the next is told so, before it brings anything and when it does; and not once there is room', async () => {
  const queue = signingQueue({ runningMax: 1, waitingMax: 1 })
  const gate = Promise.withResolvers<void>()
  queue.checkRoom()
  const running = queue.run('normal', () => gate.promise)
  queue.checkRoom()
  const waiting = queue.run('normal', async () => {})
  const busy = { code: 'rateLimited', reason: 'signingBusy', retryAfterSeconds: 1 }
  assert.throws(() => queue.checkRoom(), busy)
  await assert.rejects(
    queue.run('high', async () => {}),
    busy,
  )
  gate.resolve()
  await Promise.all([running, waiting])
  queue.checkRoom()
})

test('work that fails gives its place back', async () => {
  const queue = signingQueue({ runningMax: 1, waitingMax: 0 })
  const failing = queue.run('normal', () => Promise.reject(new Error('the key is away')))
  await assert.rejects(failing, /away/)
  assert.equal(await queue.run('normal', async () => 'signed'), 'signed')
})
