/** Fifty power cuts: `npm run test:long`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { diskMissing } from './disk.ts'
import { assertCaught, powerCuts } from './power-cut.ts'

for (const workers of [0, 2]) {
  test(`decision 4: what was answered survives 25 power cuts, ${workers} threads`, { skip: diskMissing() }, async () => {
    const outcome = await powerCuts({ cuts: 25, seed: 50 + workers, lines: 24, workers, waits: 'often' })
    assert.deepEqual(outcome.problems, [])
    assert.equal(outcome.kills, 25)
    assert.ok(outcome.checkpoints > 25, 'there were no checkpoints')
    assert.ok(outcome.lost > 0, 'nobody was disturbed at work')
  })
}

test('a server that waits only where SQLite does is caught by one power cut', { skip: diskMissing() }, () =>
  assertCaught('no-log-syncs'),
)
