/**
 * TPM structures as values, in the manner of `asn1/codec.ts`: build one per type of the specification, nest them, and
 * get the TypeScript type with {@link Infer}. Every length has a limit, depth is the schema's, nothing may be left over,
 * and what is accepted is written again octet for octet.
 *
 * Source: TCG TPM 2.0 Library, Part 2: Structures, revision 1.59, 4 (notation) and 5 (base types).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export interface Wire<T> {
  /** As Part 2 has it; used in error messages. */
  readonly name: string
  /** A TPM2B: the only kind of parameter that a session can encrypt (Part 1, 21.1). */
  readonly sized?: true
  /** @throws TrustError `malformed`, `tooLarge`, `unsupported` */
  read(from: Reader): T
  write(to: Writer, value: T): void
}

/** The TypeScript type that a schema reads. */
export type Infer<W> = W extends Wire<infer T> ? T : never

/** The largest command and answer of any TPM in use; the Linux driver has no larger buffer either. */
export const MESSAGE_MAX_OCTETS = 4096

/** @throws TrustError `malformed` when anything but exactly one structure stands there */
export function unmarshal<T>(wire: Wire<T>, octets: Uint8Array): T {
  if (octets.length > MESSAGE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'tpmTooLarge', { facts: { limit: MESSAGE_MAX_OCTETS } })
  const reader = new Reader(octets)
  const value = wire.read(reader)
  if (reader.more) throw malformed(`${wire.name} is followed by other octets`)
  return value
}

export function marshal<T>(wire: Wire<T>, value: T): Uint8Array {
  const writer = new Writer()
  wire.write(writer, value)
  return writer.take()
}

export const malformed = (detail: string): TrustError => new TrustError('malformed', 'notTPM', { facts: { detail } })

export const unknown = (name: string, value: number): TrustError =>
  new TrustError('unsupported', 'tpmUnsupported', { facts: { what: `${name} 0x${value.toString(16).padStart(4, '0')}` } })

export class Reader {
  readonly bytes: Uint8Array
  at = 0
  end: number

  constructor(bytes: Uint8Array) {
    // values are views, and a view of a Buffer would be one, whose `slice` does not copy
    this.bytes = bytes instanceof Buffer ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes
    this.end = bytes.length
  }

  get more(): boolean {
    return this.at < this.end
  }

  /** Big-endian, as everything in a TPM is. @param count at most 4 */
  uint(count: number, name: string): number {
    if (count > this.end - this.at) throw malformed(`${name} is cut short`)
    let value = 0
    for (let i = 0; i < count; i++) value = value * 256 + (this.bytes[this.at++] as number)
    return value
  }

  octets(count: number, name: string): Uint8Array {
    if (count > this.end - this.at) throw malformed(`${name} is cut short`)
    return this.bytes.subarray(this.at, (this.at += count))
  }

  /** Narrows the reader to the next octets. @returns what {@link leave} needs */
  enter(count: number, name: string): number {
    if (count > this.end - this.at) throw malformed(`${name} is cut short`)
    const outer = this.end
    this.end = this.at + count
    return outer
  }

  leave(outer: number, name: string): void {
    if (this.more) throw malformed(`${name} is longer than what is in it`)
    this.end = outer
  }
}

/** Nearly every structure fits; the rest grow. */
const FIRST_OCTETS = 512

export class Writer {
  #buffer = new Uint8Array(FIRST_OCTETS)
  size = 0

  uint(value: number, count: number): void {
    this.#reserve(count)
    for (let shift = 8 * (count - 1); shift >= 0; shift -= 8) this.#buffer[this.size++] = Math.floor(value / 2 ** shift) & 0xff
  }

  octets(octets: Uint8Array): void {
    this.#reserve(octets.length)
    this.#buffer.set(octets, this.size)
    this.size += octets.length
  }

  /** Writes what `work` writes with its length before it. */
  sized(name: string, work: () => void): void {
    const at = this.size
    this.uint(0, 2)
    work()
    const length = this.size - at - 2
    if (length > 0xffff) throw new TypeError(`${name} is too long`)
    this.#buffer[at] = length >> 8
    this.#buffer[at + 1] = length & 0xff
  }

  take(): Uint8Array {
    return this.#buffer.slice(0, this.size)
  }

  #reserve(count: number): void {
    if (this.size + count <= this.#buffer.length) return
    const grown = new Uint8Array(2 * (this.size + count))
    grown.set(this.#buffer.subarray(0, this.size))
    this.#buffer = grown
  }
}

const unsigned = (name: string, count: number): Wire<number> => ({
  name,
  read: (from) => from.uint(count, name),
  write(to, value) {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * count)) throw new TypeError(`${value} is no ${name}`)
    to.uint(value, count)
  },
})

export const UINT8 = unsigned('UINT8', 1)
export const UINT16 = unsigned('UINT16', 2)
export const UINT32 = unsigned('UINT32', 4)

export const UINT64: Wire<bigint> = {
  name: 'UINT64',
  read: (from) => BigInt(from.uint(4, 'UINT64')) * 2n ** 32n + BigInt(from.uint(4, 'UINT64')),
  write(to, value) {
    to.uint(Number(value >> 32n), 4)
    to.uint(Number(value & 0xffff_ffffn), 4)
  },
}

/** Two values and no other (Part 2, 9.2). */
export const TPMI_YES_NO: Wire<boolean> = {
  name: 'TPMI_YES_NO',
  read(from) {
    const value = from.uint(1, 'TPMI_YES_NO')
    if (value > 1) throw malformed(`TPMI_YES_NO is ${value}`)
    return value === 1
  },
  write: (to, value) => to.uint(value ? 1 : 0, 1),
}

/** A value of a closed table, by its name there. */
export function oneOf<const T extends Readonly<Record<string, number>>, const K extends keyof T & string>(
  name: string,
  integer: Wire<number>,
  table: T,
  allowed: readonly K[],
): Wire<K> {
  const names = new Map<number, K>(allowed.map((key) => [table[key] as number, key]))
  return {
    name,
    read(from) {
      const value = integer.read(from)
      const key = names.get(value)
      if (key === undefined) throw unknown(name, value)
      return key
    },
    write: (to, key) => integer.write(to, table[key] as number),
  }
}

/** Names of the bits that are set, lowest first. Reserved ones must be clear. */
export function bits<const T extends Readonly<Record<string, number>>>(
  name: string,
  integer: Wire<number>,
  table: T,
): Wire<readonly (keyof T & string)[]> {
  const entries = Object.entries(table).toSorted(([, a], [, b]) => a - b) as [keyof T & string, number][]
  const known = entries.reduce((sum, [, bit]) => sum + 2 ** bit, 0)
  return {
    name,
    read(from) {
      const value = integer.read(from)
      if ((value & ~known) !== 0) throw malformed(`${name} has reserved bits set`)
      return entries.filter(([, bit]) => (value >>> bit) & 1).map(([key]) => key)
    },
    write(to, set) {
      integer.write(
        to,
        entries.reduce((sum, [key, bit]) => (set.includes(key) ? sum + 2 ** bit : sum), 0),
      )
    },
  }
}

/** Octets whose number is known from elsewhere. */
export const octets = (name: string, count: number): Wire<Uint8Array> => ({
  name,
  read: (from) => from.octets(count, name),
  write(to, value) {
    if (value.length !== count) throw new TypeError(`${name} has ${value.length} octets, not ${count}`)
    to.octets(value)
  },
})

/** What is left of the structure around it. */
export const restOctets = (name: string): Wire<Uint8Array> => ({
  name,
  read: (from) => from.octets(from.end - from.at, name),
  write: (to, value) => to.octets(value),
})

/** TPM2B: octets with their number before them (Part 2, 10.4). */
export const TPM2B = (name: string, maxOctets: number): Wire<Uint8Array> => ({
  name,
  sized: true,
  read(from) {
    const size = from.uint(2, name)
    if (size > maxOctets) throw malformed(`${name} has ${size} octets, more than ${maxOctets}`)
    return from.octets(size, name)
  },
  write(to, value) {
    if (value.length > maxOctets) throw new TypeError(`${name} has ${value.length} octets, more than ${maxOctets}`)
    to.uint(value.length, 2)
    to.octets(value)
  },
})

/** TPM2B around a structure, which must fill it. */
export const TPM2BOf = <T>(name: string, inner: Wire<T>): Wire<T> => ({
  name,
  sized: true,
  read(from) {
    const outer = from.enter(from.uint(2, name), name)
    const value = inner.read(from)
    from.leave(outer, name)
    return value
  },
  write: (to, value) => to.sized(name, () => inner.write(to, value)),
})

/** TPML: a count, and as many of one kind. */
export const TPML = <T>(name: string, item: Wire<T>, max: number): Wire<readonly T[]> => ({
  name,
  read(from) {
    const count = from.uint(4, name)
    if (count > max) throw malformed(`${name} has ${count} items, more than ${max}`)
    return Array.from({ length: count }, () => item.read(from))
  },
  write(to, items) {
    if (items.length > max) throw new TypeError(`${name} has ${items.length} items, more than ${max}`)
    to.uint(items.length, 4)
    for (const one of items) item.write(to, one)
  },
})

/** A value that is always the same. */
export const constant = (name: string, value: number): Wire<typeof name> => ({
  name,
  read(from) {
    if (from.uint(4, name) !== value) throw malformed(`${name} is another`)
    return name
  },
  write: (to) => to.uint(value, 4),
})

// `any` because a record of fields holds wires of unlike types; Structure gives each its own type back
export type Fields = Readonly<Record<string, Wire<any>>>
export type Structure<F> = { readonly [K in keyof F]: Infer<F[K]> }
type Flatten<T> = { readonly [K in keyof T]: T[K] }

/** TPMS: named fields, in order. */
export function structure<const F extends Fields>(name: string, fields: F): Wire<Structure<F>> {
  const entries = Object.entries(fields)
  return {
    name,
    read(from) {
      const out: Record<string, unknown> = {}
      for (const [key, wire] of entries) out[key] = wire.read(from)
      return out as Structure<F>
    },
    write(to, value) {
      for (const [key, wire] of entries) wire.write(to, (value as Readonly<Record<string, unknown>>)[key])
    },
  }
}

type Variant<F, S extends keyof F, A> = {
  [K in keyof A & string]: Flatten<Structure<Omit<F, S>> & { readonly [P in S]: K } & Structure<A[K]>>
}[keyof A & string]

/** TPMT: named fields, one of which selects what follows them (Part 2, 4.9 and 4.10). */
export function variants<
  const F extends Fields,
  const S extends keyof F & string,
  const A extends Readonly<Record<string, Fields>>,
>(name: string, fields: F, selector: S, alternatives: A): Wire<Variant<F, S, A>> {
  const head = Object.entries(fields)
  const tails = new Map(Object.entries(alternatives).map(([key, tail]) => [key, Object.entries(tail)]))
  const tailOf = (selected: unknown): [string, Wire<unknown>][] => {
    const tail = tails.get(String(selected))
    if (tail === undefined)
      throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: `${name} with ${String(selected)}` } })
    return tail
  }
  return {
    name,
    read(from) {
      const out: Record<string, unknown> = {}
      for (const [key, wire] of head) out[key] = wire.read(from)
      for (const [key, wire] of tailOf(out[selector])) out[key] = wire.read(from)
      return out as Variant<F, S, A>
    },
    write(to, value) {
      const record = value as Readonly<Record<string, unknown>>
      for (const [key, wire] of head) wire.write(to, record[key])
      for (const [key, wire] of tailOf(record[selector])) wire.write(to, record[key])
    },
  }
}
