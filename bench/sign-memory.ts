/**
 * Memory for artifacts of 4 GB, whatever the format: the most that `sealworks sign` has at once, as a whole process.
 *
 * The files are mostly holes, which are hashed like any octets and take no room on the disk.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sampleOf } from '#signing/formats/samples.ts'
import { needs } from '../test/interop/programs.ts'
import type { Figure } from './figure.ts'
import { makeSigning, runWatched, SEALWORKS, type SigningPlant } from './signing-plant.ts'

const OCTETS = 4 * 2 ** 30
/** The largest that fits its 32 bits with a signature behind it. */
const PROGRAM_OCTETS = OCTETS - 2 ** 20

const FORMATS = ['plain', 'cms', 'cose-sign1', 'dsse', 'authenticode-pe', 'jar'] as const

export async function benchSignMemory(): Promise<readonly Figure[]> {
  await using signing = await makeSigning(FORMATS)
  const figures: Figure[] = []
  for (const format of FORMATS) {
    const artifact = make(format, signing)
    const out = signing.inPlant(`${format}.out`)
    const { seconds, memoryPeak } = await runWatched(
      SEALWORKS,
      signing.words(artifact, format, out, OPTIONS[format] ?? []),
      signing.environment,
    )
    for (const path of [artifact, out]) rmSync(path, { force: true })
    figures.push(
      { name: `memory.${format}`, value: memoryPeak / 2 ** 20, unit: 'MiB', reach: { below: 300 }, note: '4 GB' },
      { name: `memory.${format}.time`, value: seconds, unit: 's' },
    )
  }
  return figures
}

const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  'cose-sign1': ['--option', 'content=hash'],
  dsse: [
    '--option',
    'content=provenance',
    '--option',
    'builderId=https://ci.example/1',
    '--option',
    'buildType=https://ci.example/build',
  ],
}

function make(format: (typeof FORMATS)[number], { inPlant }: SigningPlant): string {
  if (format === 'jar') return makeJAR(inPlant('classes'), inPlant('large.jar'))
  const path = inPlant('large.bin', format === 'authenticode-pe' ? sampleOf('authenticode-pe') : 'begins')
  truncateSync(path, format === 'authenticode-pe' ? PROGRAM_OCTETS : OCTETS)
  return path
}

function makeJAR(classes: string, archive: string): string {
  mkdirSync(classes)
  for (const name of ['one', 'two', 'three', 'four', 'five']) {
    writeFileSync(join(classes, name), name)
    truncateSync(join(classes, name), OCTETS / 4)
  }
  execFileSync(needs('jar').path('jar'), ['--create', '--no-compress', '--file', archive, '-C', classes, '.'])
  rmSync(classes, { recursive: true })
  return archive
}
