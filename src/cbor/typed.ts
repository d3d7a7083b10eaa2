/** Values of CBOR as the types that a message has them in; what is of another type is refused by name. @module */
import { TrustError } from '#base/errors.ts'
import type { CBOR, CBORMap } from './cbor.ts'

const other = (what: string, type: string): TrustError =>
  new TrustError('malformed', 'notCBOR', { facts: { detail: `${what} is no ${type}` } })

export function octetsOf(value: CBOR, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw other(what, 'byte string')
}

export function integerOf(value: CBOR, what: string): number {
  if (typeof value === 'number') return value
  throw other(what, 'integer of this size')
}

export function mapOf(value: CBOR, what: string): CBORMap {
  if (value instanceof Map) return value as CBORMap
  throw other(what, 'map')
}

export function arrayOf(value: CBOR, what: string, length?: number): readonly CBOR[] {
  if (!Array.isArray(value)) throw other(what, 'array')
  if (length !== undefined && value.length !== length) throw other(what, `array of ${length}`)
  return value as readonly CBOR[]
}
