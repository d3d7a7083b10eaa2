/**
 * Changes a room's code in small ways and counts how many of the changes its own tests notice.
 *
 *     npm run mutate -- asn1 [--file reader.ts] [--sample 200] [--seed 1] [--at-once 2]
 *
 * Works on copies in a temporary directory. A change that makes the tests hang counts as noticed, one that makes them
 * not even load as well. The score is printed, with every change that went unnoticed: some of those change nothing that
 * can be observed (the size of a buffer), and it is for a person to tell which.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { dice } from './fuzz/dice.ts'
import { type Mutation, mutationsOf } from './mutate/operators.ts'

const ROOT = join(import.meta.dirname, '..')
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    file: { type: 'string' },
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    'at-once': { type: 'string', default: '2' },
  },
})
const [room = ''] = positionals
const files = globSync(`src/${room}/**/*.ts`, { cwd: ROOT })
  .filter((file) => !file.endsWith('.test.ts') && !file.endsWith('/contract.ts'))
  .filter((file) => values.file === undefined || file.endsWith(`/${values.file}`))
  .toSorted()
if (room === '' || files.length === 0) {
  console.error('say a room: npm run mutate -- asn1')
  process.exit(2)
}

interface Mutant extends Mutation {
  readonly file: string
  /** The file with its types blanked out; positions are the same. */
  readonly plain: string
}

const mutants = sample(
  files.flatMap((file) => {
    const plain = stripTypeScriptTypes(readFileSync(join(ROOT, file), 'utf8'))
    return mutationsOf(plain).map((mutation): Mutant => ({ ...mutation, file, plain }))
  }),
)

/** The temporary directory goes away also when the run is broken off. */
const home = mkdtempSync(join(tmpdir(), 'sealworks-mutate-'))
process.once('exit', () => rmSync(home, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

const unnoticed: Mutant[] = []
const tried = new Map<string, { noticed: number; all: number }>()
const started = performance.now()
const benches = Array.from({ length: Number(values['at-once']) }, (_, i) => makeBench(join(home, String(i))))
const baseline = await benches[0]?.run(600_000)
if (baseline?.passed !== true) throw new Error(`the tests of ${room} do not pass as they are`)
/** Ten times what the tests take, for a machine that is busy. */
const timeout = Math.ceil(Math.max(10_000, baseline.milliseconds * 10))
console.log(`${mutants.length} changes; the tests take ${(baseline.milliseconds / 1000).toFixed(1)} s`)

const waiting = mutants.values()
await Promise.all(
  benches.map(async (bench) => {
    for (const mutant of waiting) {
      const { file, plain, start, end, text } = mutant
      bench.write(file, plain.slice(0, start) + text + plain.slice(end))
      const { passed } = await bench.run(timeout, file)
      bench.write(file, plain)
      const count = tried.get(file) ?? { noticed: 0, all: 0 }
      tried.set(file, { noticed: count.noticed + (passed ? 0 : 1), all: count.all + 1 })
      if (passed) unnoticed.push(mutant)
    }
  }),
)

for (const { file, plain, start, end, text } of unnoticed.toSorted((a, b) =>
  a.file === b.file ? a.start - b.start : a.file < b.file ? -1 : 1,
)) {
  const line = plain.slice(0, start).split('\n').length
  const from = plain.lastIndexOf('\n', start) + 1
  console.log(
    `${file}:${line}: ${plain.slice(from, start).trimStart()}[${plain.slice(start, end)} → ${text}]${plain.slice(end).split('\n', 1).join('')}`,
  )
}
console.log()
for (const [file, { noticed, all }] of [...tried].toSorted(([a], [b]) => (a < b ? -1 : 1)))
  console.log(`${score(noticed, all)}  ${noticed}/${all}  ${file}`)
console.log(
  `${score(mutants.length - unnoticed.length, mutants.length)}  ${room}, in ${((performance.now() - started) / 1000).toFixed(0)} s`,
)

function sample(all: readonly Mutant[]): readonly Mutant[] {
  if (values.sample === undefined) return all
  const chance = dice(Number(values.seed))
  const left = [...all]
  return Array.from(
    { length: Math.min(Number(values.sample), all.length) },
    () => left.splice(chance.below(left.length), 1)[0] as Mutant,
  )
}

function score(noticed: number, all: number): string {
  return `${((noticed / all) * 100).toFixed(1)} %`.padStart(7)
}

/** A copy of the code in which one change at a time is tried. */
function makeBench(folder: string) {
  for (const part of ['src', 'tools', 'package.json']) cpSync(join(ROOT, part), join(folder, part), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const tests = globSync(`src/${room}/**/*.test.ts`, { cwd: folder })
  const reporter = join(folder, 'tools/first-failure.mjs')
  return {
    write: (file: string, text: string) => writeFileSync(join(folder, relative('.', file)), text),
    /** @param changed the test beside this file goes first, as it is the likeliest to notice */
    async run(limitMilliseconds: number, changed = ''): Promise<{ passed: boolean; milliseconds: number }> {
      const from = performance.now()
      const beside = changed.replace(/\.ts$/, '.test.ts')
      const ordered = tests.toSorted((a, b) => Number(b === beside) - Number(a === beside))
      const child = spawn(process.execPath, ['--test', '--test-isolation=none', `--test-reporter=${reporter}`, ...ordered], {
        cwd: folder,
        stdio: 'ignore',
        timeout: limitMilliseconds,
        killSignal: 'SIGKILL',
      })
      const passed = await new Promise<boolean>((resolve) => child.once('close', (code) => resolve(code === 0)))
      return { passed, milliseconds: performance.now() - from }
    },
  }
}
