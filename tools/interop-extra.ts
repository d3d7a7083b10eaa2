/**
 * `npm run interop:extra`: what programs say that neither npm nor Debian carries, as far as they are in PATH.
 *
 * @module
 */
import { globSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from 'node:test'
import { type ExtraName, extraPrograms, findExtra } from '../test/extra/programs.ts'
import { report } from './test-report.ts'

process.chdir(join(dirname(import.meta.filename), '..'))
let present = 0
for (const name of Object.keys(extraPrograms) as ExtraName[]) {
  const found = findExtra(name)
  if (found !== undefined) present++
  const { purpose, bring } = extraPrograms[name]
  console.log(`${name.padEnd(8)} ${found === undefined ? `is not here (${bring})` : found.version}\n         ${purpose}`)
}
if (present === 0) {
  console.error('None of them is here, so nothing was shown.')
  process.exitCode = 1
} else {
  const events = run({ files: globSync('test/extra/*.extra.ts').toSorted(), concurrency: 1, isolation: 'process' })
  process.exitCode = (await report(events, (line) => console.log(line))) ? 0 : 1
}
