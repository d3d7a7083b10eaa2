/**
 * An act that needs more than one person, in the one text that its digest is made of.
 *
 * Two acts are the same exactly if their texts are: what is approved is this act on this object with these parameters,
 * and nothing near it.
 *
 * Source of the text: RFC 8785 (members sorted by UTF-16 code unit, numbers and strings as ECMAScript writes them).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'

export type ActValue = string | number | boolean | null | readonly ActValue[] | { readonly [name: string]: ActValue }

export interface Act {
  /** A registered kind, such as `signature.make`. */
  readonly kind: string
  /** What it is done to, as the audit log names it: `signer:0190…`. */
  readonly object: string
  readonly parameters: Readonly<Record<string, ActValue>>
}

/** A screen full; an act names what is large by its digest. */
const ACT_MAX_CHARACTERS = 16_384
const FORM = 'sealworks-act-v1'

/** @throws TrustError `tooLarge` */
export function actText({ kind, object, parameters }: Act): string {
  const text = canonical({ form: FORM, kind, object, parameters })
  if (text.length > ACT_MAX_CHARACTERS) throw new TrustError('tooLarge', 'actTooLong', { facts: { limit: ACT_MAX_CHARACTERS } })
  return text
}

/** An act with how often and how long it may be done: what people agree to. */
export const agreedText = (
  act: string,
  { usesMax, validSeconds }: { readonly usesMax: number; readonly validSeconds: number },
): string => `${act}\n${canonical({ usesMax, validSeconds })}`

export const digestOf = (text: string): Uint8Array => new Uint8Array(hash('sha256', text, 'buffer'))

/** @param text made by {@link actText} */
export function parseAct(text: string): Act {
  const { kind, object, parameters } = JSON.parse(text) as Act
  return { kind, object, parameters }
}

function canonical(value: ActValue): string {
  if (typeof value === 'string') return JSON.stringify(value.toWellFormed())
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('a parameter is a finite number')
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isList(value)) return `[${value.map(canonical).join(',')}]`
  const names = Object.keys(value).toSorted()
  return `{${names.map((name) => `${JSON.stringify(name.toWellFormed())}:${canonical(value[name] ?? null)}`).join(',')}}`
}

const isList = (value: ActValue): value is readonly ActValue[] => Array.isArray(value)
