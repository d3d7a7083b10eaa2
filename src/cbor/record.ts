/**
 * Messages of our own as CBOR maps with integer labels: what each field may be is said once, for writing and for reading.
 *
 * Read strictly: the deterministic encoding and no other, no label that is not known, nothing longer than it may be. So a
 * record that was read and is written again is the same octets.
 *
 * Source: RFC 8949, 4.2.1.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label, parseCBOR } from './cbor.ts'
import { arrayOf, integerOf, mapOf, octetsOf } from './typed.ts'

/** How a value is written and read. */
export interface Shape<T> {
  encode(value: T): CBOR
  /** @param what the value is, for people @throws TrustError `malformed` */
  decode(item: CBOR, what: string): T
}

interface Field<T> {
  readonly label: number
  readonly shape: Shape<T>
  readonly isOptional: boolean
}
type Fields = Readonly<Record<string, Field<unknown>>>
type ValueOf<F> = F extends Field<infer T> ? T : never
type OptionalOf<F extends Fields> = { [K in keyof F]: undefined extends ValueOf<F[K]> ? K : never }[keyof F]
type RecordOf<F extends Fields> = {
  readonly [K in Exclude<keyof F, OptionalOf<F>>]: ValueOf<F[K]>
} & { readonly [K in OptionalOf<F>]?: ValueOf<F[K]> }
export type Infer<S> = S extends Shape<infer T> ? T : never

const wrong = (detail: string): TrustError => new TrustError('malformed', 'notCBOR', { facts: { detail } })

/** One line that shows what it holds: no control characters, and nothing that reads from right to left. */
const LINE = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u

/** @param max characters @param pattern one line of text when left out */
export const text = (max: number, pattern = LINE): Shape<string> => ({
  encode: (value) => value,
  decode(item, what) {
    if (typeof item !== 'string' || item.length > max || !pattern.test(item))
      throw wrong(`${what} is not the text that it must be`)
    return item
  },
})

/** Of a device: PrintableString without the space, as births have it. */
export const productSerial = text(64, /^[A-Za-z0-9'()+,./:=?-]+$/)

export const integer = (min: number, max = Number.MAX_SAFE_INTEGER): Shape<number> => ({
  encode: (value) => value,
  decode(item, what) {
    const value = integerOf(item, what)
    if (value < min || value > max) throw wrong(`${what} is not from ${min} to ${max}`)
    return value
  },
})

export const octets = (min: number, max = min): Shape<Uint8Array> => ({
  encode: (value) => value,
  decode(item, what) {
    const value = octetsOf(item, what)
    if (value.length < min || value.length > max) throw wrong(`${what} has not its length`)
    return value
  },
})

export const boolean: Shape<boolean> = {
  encode: (value) => value,
  decode(item, what) {
    if (typeof item !== 'boolean') throw wrong(`${what} is neither true nor false`)
    return item
  },
}

/** One of some words. */
export const word = <const W extends string>(words: readonly W[]): Shape<W> => ({
  encode: (value) => value,
  decode(item, what) {
    const found = words.find((one) => one === item)
    if (found === undefined) throw wrong(`${what} is none of ${words.join(', ')}`)
    return found
  },
})

const YEAR_10000_SECONDS = 253_402_300_800

/** Whole seconds since 1970, UTC; what is written has lost its fraction. */
export const time: Shape<Date> = {
  encode: (value) => Math.floor(value.getTime() / 1000),
  decode(item, what) {
    const seconds = integerOf(item, what)
    if (seconds < 0 || seconds >= YEAR_10000_SECONDS) throw wrong(`${what} is no time`)
    return new Date(seconds * 1000)
  },
}

export const list = <T>(
  shape: Shape<T>,
  { min = 0, max }: { readonly min?: number; readonly max: number },
): Shape<readonly T[]> => ({
  encode: (values) => values.map((value) => shape.encode(value)),
  decode(item, what) {
    const items = arrayOf(item, what)
    if (items.length < min || items.length > max) throw wrong(`${what} has not from ${min} to ${max} entries`)
    return items.map((one, at) => shape.decode(one, `${what}, entry ${at + 1},`))
  },
})

export const field = <T>(label: number, shape: Shape<T>): Field<T> => ({ label, shape, isOptional: false })

/** Left out, and not null, where there is nothing. */
export const optional = <T>(label: number, shape: Shape<T>): Field<T | undefined> => ({
  label,
  shape,
  isOptional: true,
})

/** A map of all that `fields` name and nothing else. */
export function record<F extends Fields>(fields: F): Shape<RecordOf<F>> {
  const named = Object.entries(fields)
  const labels = new Set<Label>(named.map(([, { label }]) => label))
  if (labels.size !== named.length) throw new TypeError('two fields have one label')
  return {
    encode(value) {
      const given = value as Readonly<Record<string, unknown>>
      return new Map(
        named.flatMap(([name, { label, shape }]) =>
          given[name] === undefined ? [] : [[label, shape.encode(given[name])] as const],
        ),
      )
    },
    decode(item, what) {
      const map = mapOf(item, what)
      for (const label of map.keys())
        if (!labels.has(label)) throw wrong(`${what} holds ${String(label).slice(0, 40)}, which is not known`)
      const entries = named.flatMap(([name, { label, shape, isOptional }]) => {
        if (map.has(label)) return [[name, shape.decode(map.get(label), `${name} of ${what}`)] as const]
        if (isOptional) return []
        throw wrong(`${what} says no ${name}`)
      })
      return Object.fromEntries(entries) as RecordOf<F>
    },
  }
}

export const encodeRecord = <T>(shape: Shape<T>, value: T): Uint8Array => encodeCBOR(shape.encode(value))

/** @param what it is, for people: `the statement` @throws TrustError `malformed`, `tooLarge` */
export const parseRecord = <T>(
  shape: Shape<T>,
  encoded: Uint8Array,
  { what, maxOctets }: { readonly what: string; readonly maxOctets: number },
): T => shape.decode(parseCBOR(encoded, { maxOctets }), what)
