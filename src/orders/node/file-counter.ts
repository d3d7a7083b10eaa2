/**
 * A counter in a file, for nodes without a TPM (tier N0): whoever copies the file back counts again, and is found, not kept from it.
 *
 * @module
 */
import { readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { MonotonicCounter } from '../counting.ts'

export function fileCounter(path: string): MonotonicCounter {
  const read = (): number => {
    const text = readFileSync(path, 'utf8')
    if (!/^\d{1,15}\n$/.test(text)) throw new TrustError('unavailable', 'counterUnreadable', { facts: { file: path } })
    return Number(text)
  }
  return {
    read: async () => read(),
    async increment() {
      const next = read() + 1
      writeCounter(path, next)
      return next
    },
  }
}

/** Beside, then moved into place: a crash leaves the old value or the new one. */
export function writeCounter(path: string, value: number): void {
  const beside = `${path}.new`
  rmSync(beside, { force: true })
  writeDurably(beside, `${value}\n`, 0o600)
  renameSync(beside, path)
  syncDirectory(dirname(path))
}
