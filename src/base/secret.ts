/**
 * A value that must not be printed by accident. Reading it needs a call that names its purpose, so that one search
 * for `.reveal(` lists every place where a secret is seen.
 *
 * @module
 */
import { timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

export interface Secret {
  /** @param purpose why the raw octets are needed here; for the reader of the code */
  reveal(purpose: string): Uint8Array
  toString(): string
  toJSON(): string
}

const HIDDEN = '[secret]'

/** @param octets kept by reference; the caller must not change them */
export function secret(octets: Uint8Array): Secret {
  return Object.freeze({
    reveal: () => octets,
    toString: () => HIDDEN,
    toJSON: () => HIDDEN,
    [inspect.custom]: () => HIDDEN,
  })
}

/** Compares without telling by its time where two values differ; the lengths may be told. */
export const equalInConstantTime = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)
