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
  readonly cpuSeconds: number
  readonly memoryAboveIdle: number
  readonly revokeMilliseconds: number
}

export function benchCRL(): readonly Figure[] {
  return LENGTHS.flatMap((entries) => {
    const { seconds, cpuSeconds, octets, memoryAboveIdle, revokeMilliseconds } = make(entries)
    const name = `crl.${entries / 1000}k`
    return [
      {
        name: `${name}.time`,
        value: seconds,
        unit: 's',
        ...(entries === 1_000_000 && { reach: { below: 1.5 } }),
        note: 'rows read, list written, signed and kept',
      },
      { name: `${name}.cpu`, value: cpuSeconds, unit: 's', note: 'of the whole process meanwhile' },
      { name: `${name}.size`, value: octets / 2 ** 20, unit: 'MiB' },
      {
        name: `${name}.memory`,
        value: memoryAboveIdle / 2 ** 20,
        unit: 'MiB',
        ...(entries === 1_000_000 && { reach: { below: 200 } }),
        note: 'above what the process had before',
      },
      {
        name: `${name}.revoke`,
        value: revokeMilliseconds,
        unit: 'ms',
        ...(entries === 1_000_000 && { reach: { below: 10 } }),
        note: 'one more certificate, until it is on disk, median',
      },
    ]
  })
}

function make(entries: number): Made {
  const program = fileURLToPath(new URL('crl-process.ts', import.meta.url))
  const { status, stdout } = spawnSync(process.execPath, [program, String(entries)], { stdio: ['ignore', 'pipe', 'inherit'] })
  if (status !== 0) throw new Error(`making a list of ${entries} entries ended with ${status}`)
  return JSON.parse(stdout.toString()) as Made
}
