/** Telling a unique key's refusal from others, the same on every engine. @module */
import { TrustError } from '#base/errors.ts'

/**
 * True when `error` says that a row with the same unique key exists. The work that met it is already undone.
 *
 * @param columns the key's columns in the order of its definition, such as `ca_id, serial_number`
 */
export function isDuplicate(error: unknown, table?: string, columns?: string): error is TrustError {
  if (!(error instanceof TrustError) || error.reason !== 'duplicateRow') return false
  if (table !== undefined && error.facts['table'] !== table) return false
  return columns === undefined || error.facts['columns'] === columns
}
