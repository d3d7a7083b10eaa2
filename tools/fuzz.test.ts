import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { describe, test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { dice } from './fuzz/dice.ts'
import { readElements, writeElements } from './fuzz/elements.ts'
import { ACCEPTED_FLOOR, ENTERED_FLOOR, fuzz } from './fuzz/fuzz.ts'
import { mutant } from './fuzz/mutation.ts'
import { certificates } from './fuzz/samples.ts'
import { type Target, targets } from './fuzz/targets.ts'

const RUNS = 1000
const limits = { seed: 20260101, now: () => 0, again: (runs: number) => runs < RUNS }

describe('every reader of a stranger’s bytes answers or refuses', () => {
  for (const target of targets) {
    test(target.name, async () => {
      const { runs, entered, accepted, faults } = await fuzz(target, limits)
      assert.deepEqual(
        faults.map(({ input, steps, thrown }) => ({ input: input.toHex(), steps, thrown })),
        [],
      )
      assert.equal(runs, RUNS)
      assert.ok(entered / runs >= ENTERED_FLOOR, `only ${entered} of ${runs} got past the outer layer`)
      assert.ok(accepted / runs >= ACCEPTED_FLOOR, `only ${accepted} of ${runs} were accepted`)
    })

    test(`${target.name}: the seeds are accepted`, async () => {
      assert.ok(target.seeds.length > 0)
      for (const seed of target.seeds) await target.run(seed)
    })
  }
})

describe('inputs that were faults once', () => {
  for (const file of globSync('fuzz/testdata/*/*.hex', { cwd: import.meta.dirname }).toSorted()) {
    test(file, async () => {
      const target = targets.find(({ name }) => name === basename(dirname(file)))
      assert.ok(target, 'its target is gone')
      try {
        await target.run(Uint8Array.fromHex(readFileSync(`${import.meta.dirname}/${file}`, 'utf8').trim()))
      } catch (thrown) {
        assert.ok(thrown instanceof TrustError && thrown.code !== 'internal', String(thrown))
      }
    })
  }
})

describe('the fuzz itself', () => {
  const target = (run: Target['run']): Target => ({ name: 'trial', seeds: certificates, run, outer: () => {} })

  test('finds a reader that throws something else', async () => {
    const { faults } = await fuzz(
      target((bytes) => {
        if (bytes.length % 7 === 0) throw new RangeError('trial')
      }),
      limits,
    )
    assert.ok(faults.length > 0 && faults.every(({ input }) => input.length % 7 === 0))
  })

  test('counts an internal refusal as a fault, and others as refusals', async () => {
    const { faults, refusals, accepted, runs } = await fuzz(
      target((bytes) => {
        throw new TrustError(bytes.length % 100 === 0 ? 'internal' : 'malformed', 'notDER')
      }),
      limits,
    )
    assert.equal(accepted, 0)
    assert.equal((refusals.get('malformed notDER') ?? 0) + faults.length, runs)
  })

  test('reports what is slow', async () => {
    let time = 0
    const { slow } = await fuzz(
      target((bytes) => (time += bytes.length)),
      { ...limits, now: () => time },
    )
    assert.ok(slow !== undefined && slow.milliseconds === slow.input.length)
  })

  test('a seed repeats', () => {
    const run = (seed: number) => {
      const chance = dice(seed)
      return Array.from({ length: 50 }, () => mutant(certificates, chance).bytes.toHex())
    }
    assert.deepEqual(run(5), run(5))
    assert.notDeepEqual(run(5), run(6))
  })

  test('an unbroken tree is written as it was read', () => {
    let trees = 0
    for (const { seeds } of targets) {
      for (const seed of seeds) {
        const elements = readElements(seed)
        if (elements === undefined) continue // no DER
        trees++
        assert.equal(writeElements(elements).toHex(), seed.toHex())
      }
    }
    assert.ok(trees > 50, `only ${trees} are DER`)
  })
})
