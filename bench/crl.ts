/**
 * Revocation lists of many entries, made from rows of the database: a first line to compare later ones with.
 *
 * Each length in a process of its own, which says how much memory it had at most.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Figure } from './figure.ts'

const LENGTHS = [100_000, 1_000_000]

export interface Made {
  readonly seconds: number
  readonly octets: number
  readonly memoryPeak: number
}

export function benchCRL(): readonly Figure[] {
  return LENGTHS.flatMap((entries) => {
    const { seconds, octets, memoryPeak } = make(entries)
    const name = `crl.${entries / 1000}k`
    return [
      { name: `${name}.time`, value: seconds, unit: 's', note: 'rows read, list written, signed and kept' },
      { name: `${name}.size`, value: octets / 2 ** 20, unit: 'MiB' },
      { name: `${name}.memoryPeak`, value: memoryPeak / 2 ** 20, unit: 'MiB', note: 'of the whole process' },
    ]
  })
}

function make(entries: number): Made {
  const program = fileURLToPath(new URL('crl-process.ts', import.meta.url))
  const { status, stdout } = spawnSync(process.execPath, [program, String(entries)], { stdio: ['ignore', 'pipe', 'inherit'] })
  if (status !== 0) throw new Error(`making a list of ${entries} entries ended with ${status}`)
  return JSON.parse(stdout.toString()) as Made
}
