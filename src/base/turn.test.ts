import assert from 'node:assert/strict'
import { test } from 'node:test'
import { staysInTurn } from './turn.ts'

test('the first of a turn stay in it, the others go, and the next turn begins anew', async () => {
  const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 3; turn++) {
    await nextTurn()
    const asked = Array.from({ length: 5 }, staysInTurn)
    assert.deepEqual(asked, [true, true, false, false, false])
    await Promise.resolve() // what was awaited without leaving the turn
    assert.equal(staysInTurn(), false)
  }
})
