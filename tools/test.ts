/**
 * What `npm test` runs: brings the programs that tests run against where it may, then runs every test.
 *
 *     npm test                        all of them
 *     npm test -- src/asn1            those below a folder, or of one file
 *     npm test -- --name 'R2'         those whose name matches
 *     npm run test:long               only the long ones (*.long.test.ts), which no other run has
 *
 * @module
 */
import { globSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from 'node:test'
import { parseArgs } from 'node:util'
import { missingPackages, nothingMayBeSkipped } from '../test/interop/programs.ts'
import { installPackages, whyNotHere } from './debian.ts'
import { report } from './test-report.ts'

const PLACES = ['src', 'tools', 'test'] as const
/** Left to itself the runner takes one on two cores, and tests that wait for a server leave theirs idle. */
const FILES_AT_ONCE = 2
/** A file that hangs must not hang the gate; the slowest takes a minute, on a machine that does much else some, of the long ones a quarter of an hour. */
const FILE_TIMEOUT_MILLISECONDS = 600_000
const LONG_FILE_TIMEOUT_MILLISECONDS = 2_400_000

process.chdir(join(dirname(import.meta.filename), '..'))
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { name: { type: 'string' }, long: { type: 'boolean', default: false } },
})
const files = testFiles(positionals.length > 0 ? positionals : PLACES)
await bringPrograms()

const events = run({
  files,
  concurrency: values.long ? 1 : FILES_AT_ONCE,
  timeout: values.long ? LONG_FILE_TIMEOUT_MILLISECONDS : FILE_TIMEOUT_MILLISECONDS,
  isolation: 'process',
  ...(values.name === undefined ? {} : { testNamePatterns: values.name }),
})
const verdict = await report(events, (line) => process.stdout.write(`${line}\n`), { mayBeEmpty: values.name !== undefined })
process.exitCode = verdict ? 0 : 1

function testFiles(places: readonly string[]): string[] {
  const found = places.flatMap((place) => {
    const isFolder = statSync(place, { throwIfNoEntry: false })?.isDirectory() === true
    return globSync(isFolder ? `${place}/**/*.test.ts` : place)
  })
  return [...new Set(found)].filter((file) => file.endsWith('.long.test.ts') === values.long).toSorted()
}

async function bringPrograms(): Promise<void> {
  const packages = missingPackages()
  if (packages.length === 0) return
  const obstacle = nothingMayBeSkipped() ? whyNotHere() : 'SEALWORKS_TEST_INSTALL=1 installs them, as root on Debian'
  if (obstacle !== undefined) {
    console.error(`Some tests lack programs (${obstacle}): apt-get install ${packages.join(' ')}\n`)
    return
  }
  console.error(`installing ${packages.join(' ')} …`)
  const seconds = await installPackages(packages)
  console.error(`installed in ${seconds.toFixed(0)} s\n`)
}
