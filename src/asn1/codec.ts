/**
 * ASN.1 types as values: build one per type of a standard's module, nest them, and get the TypeScript type with
 * {@link Infer}. Decoding accepts DER only, and depth is bounded by the schema, never by the input.
 *
 * @module
 */
import { compare } from '#base/bytes.ts'
import { firstOctet, hexTag, highTag, isAt, malformed, type ReadLimits, Reader } from './reader.ts'
import { Writer } from './writer.ts'

export interface Codec<T> {
  /** ASN.1 type name, used in error messages. */
  readonly name: string
  /** Whether an element with this tag can be of this type. */
  accepts(tag: number): boolean
  /** Reads one element. @throws TrustError `malformed` */
  read(from: Reader): T
  /** Writes one element before what the writer holds. */
  write(to: Writer, value: T): void
}

/** A type with a tag of its own: everything but CHOICE and ANY. Only these can be tagged IMPLICIT. */
export interface TaggedCodec<T> extends Codec<T> {
  readonly tag: number
  /** Reads the content that the reader was narrowed to. */
  readContent(from: Reader): T
  writeContent(to: Writer, value: T): void
}

/** The TypeScript type a schema decodes to. */
export type Infer<C> = C extends Codec<infer T> ? T : never

/** @throws TrustError `malformed` when anything but exactly one element stands there, `tooLarge` */
export function decode<T>(codec: Codec<T>, der: Uint8Array, limits?: ReadLimits): T {
  const reader = new Reader(der, limits)
  const value = codec.read(reader)
  if (reader.more) throw malformed(`${codec.name} is followed by other bytes`)
  return value
}

/** @throws TypeError when the value is not of its type: a mistake in code or in a profile */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const writer = new Writer()
  codec.write(writer, value)
  return writer.take()
}

/** Makes a codec from what is particular to a type: its tag and its content. */
export function tagged<T>(
  name: string,
  tag: number,
  readContent: (from: Reader) => T,
  writeContent: (to: Writer, value: T) => void,
): TaggedCodec<T> {
  return {
    name,
    tag,
    accepts: (found) => found === tag,
    read(from) {
      const outer = from.enter(tag, name)
      const value = readContent(from)
      from.leave(outer, name)
      return value
    },
    write(to, value) {
      const mark = to.size
      writeContent(to, value)
      to.header(tag, mark)
    },
    readContent,
    writeContent,
  }
}

const CONSTRUCTED = 0x20
const CONTEXT = 0x80

/** A context tag in the form of {@link Reader.peekTag}; numbers above 30 take more than one octet. */
function contextTag(n: number, form: number): number {
  if (!Number.isInteger(n) || n < 0 || n >= 2 ** 21) throw new TypeError(`${n} is no tag number`)
  return n < 31 ? CONTEXT | form | n : highTag(CONTEXT | form | 0x1f, n)
}

/** `[n] IMPLICIT`: the same content under a context tag. */
export function implicit<T>(n: number, inner: TaggedCodec<T>): TaggedCodec<T> {
  return tagged(inner.name, contextTag(n, firstOctet(inner.tag) & CONSTRUCTED), inner.readContent, inner.writeContent)
}

/** `[n] EXPLICIT`: the element wrapped in a context tag. */
export const explicit = <T>(n: number, inner: Codec<T>): TaggedCodec<T> =>
  tagged(inner.name, contextTag(n, CONSTRUCTED), inner.read, inner.write)

interface Field<T, Presence extends 'required' | 'optional' | 'default'> {
  readonly codec: Codec<T>
  readonly presence: Presence
  readonly fallback?: T
}
// `any` because a record of fields holds codecs of unlike types; SequenceValue gives each its own type back
type AnyField = Field<any, 'required' | 'optional' | 'default'>
type Fields = Readonly<Record<string, AnyField | Codec<any>>>
type ValueOf<F> = F extends Codec<infer T> ? T : F extends Field<infer T, any> ? T : never
type OptionalKeys<S> = { [K in keyof S]: S[K] extends Field<any, 'optional'> ? K : never }[keyof S]
type Flatten<T> = { readonly [K in keyof T]: T[K] }
type SequenceValue<S> = Flatten<
  { [K in Exclude<keyof S, OptionalKeys<S>>]: ValueOf<S[K]> } & { [K in OptionalKeys<S>]?: ValueOf<S[K]> | undefined }
>

export const optional = <T>(codec: Codec<T>): Field<T, 'optional'> => ({ codec, presence: 'optional' })
export const withDefault = <T>(codec: Codec<T>, fallback: T): Field<T, 'default'> => ({ codec, presence: 'default', fallback })

/** SEQUENCE with named components, in order. */
export function sequence<S extends Fields>(name: string, fields: S): TaggedCodec<SequenceValue<S>> {
  const components = Object.entries(fields).map(([key, f]) => {
    const field: AnyField = 'codec' in f ? f : { codec: f, presence: 'required' }
    const fallbackDER = field.presence === 'default' ? encode(field.codec, field.fallback) : undefined
    return { key, label: `${name}.${key}`, ...field, fallbackDER }
  })

  function readContent(from: Reader): SequenceValue<S> {
    const out: Record<string, unknown> = {}
    for (const { key, label, codec, presence, fallback, fallbackDER } of components) {
      if (presence === 'required') {
        if (!from.more) throw malformed(`${label} is missing`)
        out[key] = codec.read(from)
        continue
      }
      if (!codec.accepts(from.peekTag())) {
        if (presence === 'default') out[key] = fallback
        continue
      }
      const start = from.at
      out[key] = codec.read(from)
      if (fallbackDER !== undefined && isAt(from.bytes, start, from.at, fallbackDER)) {
        throw malformed(`${label} encodes its DEFAULT`) // X.690 11.5
      }
    }
    return out as SequenceValue<S>
  }

  function writeContent(to: Writer, value: SequenceValue<S>): void {
    const record = value as Readonly<Record<string, unknown>>
    for (let i = components.length - 1; i >= 0; i--) {
      const { key, label, codec, presence, fallback, fallbackDER } = components[i] as (typeof components)[number]
      const component = record[key]
      if (component === undefined) {
        if (presence === 'required') throw new TypeError(`${label} is required`)
        continue
      }
      if (fallbackDER !== undefined && component === fallback) continue
      const mark = to.size
      codec.write(to, component)
      if (fallbackDER !== undefined && to.wrote(mark, fallbackDER)) to.drop(mark) // X.690 11.5
    }
  }

  return tagged(name, 0x30, readContent, writeContent)
}

/** How many items a SEQUENCE OF or SET OF may have when its schema does not say. */
const ITEMS_MAX = 1024

export interface Count {
  readonly min?: number
  readonly max?: number
}

/** SEQUENCE OF. */
export function sequenceOf<T>(name: string, item: Codec<T>, { min = 0, max = ITEMS_MAX }: Count = {}): TaggedCodec<readonly T[]> {
  return tagged(
    name,
    0x30,
    (from) => {
      const items: T[] = []
      while (from.more) {
        if (items.length === max) throw malformed(`${name} has more than ${max} items`)
        items.push(item.read(from))
      }
      if (items.length < min) throw malformed(`${name} has fewer than ${min} items`)
      return items
    },
    (to, items) => {
      for (let i = items.length - 1; i >= 0; i--) item.write(to, items[i] as T)
    },
  )
}

/** SET OF: in ascending order of the items' encodings (X.690 11.6). */
export function setOf<T>(name: string, item: Codec<T>, { min = 0, max = ITEMS_MAX }: Count = {}): TaggedCodec<readonly T[]> {
  return tagged(
    name,
    0x31,
    (from) => {
      const items: T[] = []
      let before = -1
      while (from.more) {
        if (items.length === max) throw malformed(`${name} has more than ${max} items`)
        const start = from.at
        items.push(item.read(from))
        if (before >= 0 && isDescending(from.bytes, before, start, from.at)) throw malformed(`${name} is not in ascending order`)
        before = start
      }
      if (items.length < min) throw malformed(`${name} has fewer than ${min} items`)
      return items
    },
    (to, items) => {
      if (items.length === 1) return item.write(to, items[0] as T)
      const descending = items.map((one) => encode(item, one)).toSorted((a, b) => compare(b, a))
      for (const der of descending) to.octets(der)
    },
  )
}

/** Whether the octets from `first` to `second` come after those from `second` to `end`. */
export function isDescending(bytes: Uint8Array, first: number, second: number, end: number): boolean {
  return compare(bytes.subarray(first, second), bytes.subarray(second, end)) > 0
}

// `any` as in Fields: each alternative keeps its own type in ChoiceValue
type Alternatives = Readonly<Record<string, Codec<any>>>
type ChoiceValue<A> = { [K in keyof A & string]: { readonly type: K; readonly value: Infer<A[K]> } }[keyof A & string]

/** CHOICE: a value with the name of the alternative beside it. */
export function choice<A extends Alternatives>(name: string, alternatives: A): Codec<ChoiceValue<A>> {
  const entries = Object.entries(alternatives)
  return {
    name,
    accepts: (tag) => entries.some(([, codec]) => codec.accepts(tag)),
    read(from) {
      const tag = from.peekTag()
      for (const [type, codec] of entries) {
        if (codec.accepts(tag)) return { type, value: codec.read(from) }
      }
      throw malformed(tag < 0 ? `${name} is missing` : `tag ${hexTag(tag)} is no alternative of ${name}`)
    },
    write(to, { type, value }) {
      const codec = alternatives[type]
      if (codec === undefined) throw new TypeError(`${type} is no alternative of ${name}`)
      codec.write(to, value)
    },
  }
}

/** A value together with the very bytes it was read from: what a signature or a fingerprint covers. */
export interface Captured<T> {
  readonly der: Uint8Array
  readonly value: T
}

/** Keeps the bytes beside the value. Writing writes the bytes. */
export const captured = <T>(codec: Codec<T>): Codec<Captured<T>> => ({
  name: codec.name,
  accepts: codec.accepts,
  read(from) {
    const start = from.at
    const value = codec.read(from)
    return { der: from.bytes.subarray(start, from.at), value }
  },
  write: (to, { der }) => to.octets(der),
})

/** OCTET STRING whose content is the encoding of one element (CONTAINING). */
export const octetStringOf = <T>(codec: Codec<T>): TaggedCodec<T> =>
  tagged(`OCTET STRING of ${codec.name}`, 0x04, codec.read, codec.write)
