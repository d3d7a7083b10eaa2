/**
 * The long fuzz of every reader of a stranger's bytes.
 *
 *     npm run fuzz -- [--seconds 60] [--seed 1] [--target certificate]
 *
 * Each fault is kept as a vector in tools/fuzz/testdata, which `tools/fuzz.test.ts` replays from then on.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ACCEPTED_FLOOR, ENTERED_FLOOR, fuzz } from './fuzz/fuzz.ts'
import { type Target, targets } from './fuzz/targets.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' }, target: { type: 'string' } },
})
const seconds = Number(values.seconds)
const seed = values.seed === undefined ? Date.now() & 0x7fffffff : Number(values.seed)
const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target)
if (chosen.length === 0 || !(seconds > 0) || !Number.isInteger(seed)) {
  console.error(`--target is one of ${targets.map(({ name }) => name).join(', ')}; --seconds and --seed are numbers`)
  process.exit(2)
}

console.log(`seed ${seed}, ${seconds} s for each of ${chosen.length} targets`)
const verdicts: boolean[] = []
for (const target of chosen) verdicts.push(await fuzzOne(target))
process.exitCode = verdicts.every(Boolean) ? 0 : 1

async function fuzzOne(target: Target): Promise<boolean> {
  const end = performance.now() + seconds * 1000
  const { runs, entered, accepted, refusals, faults, slow } = await fuzz(target, {
    seed,
    now: () => performance.now(),
    again: () => performance.now() < end,
  })
  console.log(
    `\n${target.name}: ${runs} inputs, ${share(entered / runs)} past the outer layer, ${share(accepted / runs)} accepted`,
  )
  const reasons = [...refusals].toSorted(([, a], [, b]) => b - a).map(([reason, count]) => `${reason} ${count}`)
  console.log(`  refused as ${reasons.join(', ')}`)
  if (slow !== undefined) console.log(`  slowest ${slow.milliseconds.toFixed(0)} ms, kept as ${keep(target, 'slow', slow.input)}`)
  for (const { input, steps, thrown } of faults) {
    console.log(`  FAULT kept as ${keep(target, 'fault', input)} after ${steps.join(', ')}\n`, thrown)
  }
  const enough = entered / runs >= ENTERED_FLOOR && accepted / runs >= ACCEPTED_FLOOR
  if (!enough)
    console.log(`  TOO FEW got in: at least ${share(ENTERED_FLOOR)} must enter and ${share(ACCEPTED_FLOOR)} be accepted`)
  return enough && faults.length === 0
}

function keep({ name }: Target, kind: 'fault' | 'slow', input: Uint8Array): string {
  const folder = join(import.meta.dirname, 'fuzz', 'testdata', name)
  const file = join(folder, `${kind}-${hash('sha256', input).slice(0, 16)}.hex`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, `${input.toHex()}\n`)
  return file
}

function share(part: number): string {
  return `${(part * 100).toFixed(1)} %`
}
