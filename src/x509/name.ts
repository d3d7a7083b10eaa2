/**
 * Distinguished names: their DER, their RFC 4514 text, and when two of them are the same.
 *
 * Names travel through the platform as DER and are decoded where someone looks inside, so that what was signed is
 * what is copied.
 *
 * Source: RFC 5280, 4.1.2.4, 7.1 and appendix A.1; RFC 4514 (text); RFC 4518 (comparison); RFC 4519 (short names).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { type Codec, decode, encode, sequenceOf, setOf, tagged, type TaggedCodec } from '#asn1/codec.ts'
import {
  BMPString,
  IA5String,
  NumericString,
  OBJECT_IDENTIFIER,
  PrintableString,
  TeletexString,
  UniversalString,
  UTF8String,
  VisibleString,
} from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

const strings = {
  printableString: PrintableString,
  utf8String: UTF8String,
  ia5String: IA5String,
  numericString: NumericString,
  teletexString: TeletexString,
  bmpString: BMPString,
  universalString: UniversalString,
  visibleString: VisibleString,
} as const satisfies Record<string, TaggedCodec<string>>

export type StringEncoding = keyof typeof strings

export interface AttributeTypeAndValue {
  /** Object identifier in dotted form. */
  readonly type: string
  /** The text, or the whole element in hex where the encoding is `any`. */
  readonly value: string
  readonly encoding: StringEncoding | 'any'
}

const encodingOfTag = new Map<number, StringEncoding>(
  (Object.keys(strings) as StringEncoding[]).map((encoding) => [strings[encoding].tag, encoding]),
)

/** AttributeValue is open; the string types are read as text and everything else as it stands. */
const AttributeValue: Codec<Omit<AttributeTypeAndValue, 'type'>> = {
  name: 'AttributeValue',
  accepts: ANY.accepts,
  read(from) {
    const encoding = encodingOfTag.get(from.peekTag())
    if (encoding === undefined) return { value: ANY.read(from).toHex(), encoding: 'any' }
    return { value: strings[encoding].read(from), encoding }
  },
  write(to, { value, encoding }) {
    if (encoding === 'any') to.octets(Uint8Array.fromHex(value))
    else strings[encoding].write(to, value)
  },
}

/** SEQUENCE { type OBJECT IDENTIFIER, value ANY }, by hand: names are made of these, and read more often than all else. */
const AttributeTypeAndValue: Codec<AttributeTypeAndValue> = tagged(
  'AttributeTypeAndValue',
  0x30,
  (from) => {
    const type = OBJECT_IDENTIFIER.read(from)
    const { value, encoding } = AttributeValue.read(from)
    return { type, value, encoding }
  },
  (to, attribute) => {
    AttributeValue.write(to, attribute)
    OBJECT_IDENTIFIER.write(to, attribute.type)
  },
)

/** More levels or values than any directory has; each costs a comparison with every other. */
const ATTRIBUTES_MAX = 64

export const RelativeDistinguishedName = setOf('RelativeDistinguishedName', AttributeTypeAndValue, {
  min: 1,
  max: ATTRIBUTES_MAX,
})
export type RelativeDistinguishedName = readonly AttributeTypeAndValue[]

/** From the root of the directory to the entry: country first, common name last, as X.501 has it. */
export const Name = sequenceOf('Name', RelativeDistinguishedName, { max: ATTRIBUTES_MAX })
export type Name = readonly RelativeDistinguishedName[]

/** @throws TrustError `malformed` */
export const parseName = (der: Uint8Array): Name => decode(Name, der)
export const encodeName = (name: Name): Uint8Array => encode(Name, name)

/** Short names of attribute types, as RFC 4519 and RFC 5280 spell them. */
export const attributeTypes = {
  CN: '2.5.4.3',
  SN: '2.5.4.4',
  serialNumber: '2.5.4.5',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  STREET: '2.5.4.9',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  title: '2.5.4.12',
  postalCode: '2.5.4.17',
  name: '2.5.4.41',
  GN: '2.5.4.42',
  initials: '2.5.4.43',
  generationQualifier: '2.5.4.44',
  x500UniqueIdentifier: '2.5.4.45',
  dnQualifier: '2.5.4.46',
  pseudonym: '2.5.4.65',
  organizationIdentifier: '2.5.4.97',
  UID: '0.9.2342.19200300.100.1.1',
  DC: '0.9.2342.19200300.100.1.25',
  emailAddress: '1.2.840.113549.1.9.1',
} as const

export type AttributeShortName = keyof typeof attributeTypes

const shortNames = new Map<string, AttributeShortName>(
  (Object.entries(attributeTypes) as [AttributeShortName, string][]).map(([short, oid]) => [oid, short]),
)
const typesByLowerName = new Map<string, string>(Object.entries(attributeTypes).map(([short, oid]) => [short.toLowerCase(), oid]))

/** Short name of an attribute type, or its dotted form. */
export const attributeLabel = (type: string): string => shortNames.get(type) ?? type

/** RFC 5280, A.1: these are PrintableString, and the other two IA5String; all else is a DirectoryString, written as UTF8String. */
const encodings: ReadonlyMap<string, StringEncoding> = new Map([
  [attributeTypes.C, 'printableString'],
  [attributeTypes.serialNumber, 'printableString'],
  [attributeTypes.dnQualifier, 'printableString'],
  [attributeTypes.DC, 'ia5String'],
  [attributeTypes.emailAddress, 'ia5String'],
])

/** Whether a CA writes the attribute in this encoding (RFC 5280, 4.1.2.4 allows two for a DirectoryString). */
export function isPreferredEncoding({ type, encoding }: AttributeTypeAndValue): boolean {
  const only = encodings.get(type)
  return only === undefined ? encoding === 'utf8String' || encoding === 'printableString' : encoding === only
}

export interface NamePart {
  /** Short name or dotted object identifier. */
  readonly type: AttributeShortName | (string & {})
  readonly value: string
}

/**
 * A name of one attribute per level, in the encodings that RFC 5280 asks a CA to write.
 *
 * @throws TrustError `malformed` for an attribute type that is neither in the table nor dotted, and for a value that
 * the type's encoding cannot hold
 */
export const nameOf = (parts: readonly NamePart[]): Name => parts.map((part) => [attribute(part)])

function attribute({ type: given, value }: NamePart): AttributeTypeAndValue {
  const type = attributeTypes[given as AttributeShortName] ?? given
  const encoding = encodings.get(type) ?? 'utf8String'
  if (!isIdentifier(type)) throw notName(`${given} is no attribute type`)
  if (value === '') throw notName(`${given} is empty`)
  try {
    encode(strings[encoding], value)
  } catch (cause) {
    throw notName(`${given} has a character that its encoding does not have`, cause)
  }
  return { type, value, encoding }
}

/** X.660: the second arc is below 40 under the first two roots. */
const isIdentifier = (text: string): boolean => /^([01]\.[1-3]?\d|2\.(0|[1-9]\d*))(\.(0|[1-9]\d*))*$/.test(text)

/** All values of an attribute, from the root of the name to its end. */
export function attributesOf(name: Name, type: AttributeShortName | (string & {})): readonly string[] {
  const oid = attributeTypes[type as AttributeShortName] ?? type
  return name.flatMap((rdn) => rdn.filter((one) => one.type === oid).map(({ value }) => value))
}

/**
 * The value of an attribute that a name has once.
 *
 * @throws TrustError `malformed` when the name has it more than once: two readers would pick different ones
 */
export function attributeOf(name: Name, type: AttributeShortName | (string & {})): string | undefined {
  const values = attributesOf(name, type)
  if (values.length > 1) throw new TrustError('malformed', 'repeatedAttribute', { facts: { attribute: type } })
  return values[0]
}

/** RFC 4514, 2: most specific first. Types without a short name are written as `1.2.3=#HEX` of the value's DER. */
export function formatName(name: Name): string {
  let text = ''
  for (const rdn of name) {
    const level = rdn.length === 1 ? formatAttribute(rdn[0] as AttributeTypeAndValue) : rdn.map(formatAttribute).join('+')
    text = text === '' ? level : `${level},${text}`
  }
  return text
}

function formatAttribute(attribute: AttributeTypeAndValue): string {
  const short = shortNames.get(attribute.type)
  if (short === undefined || attribute.encoding === 'any') {
    return `${short ?? attribute.type}=#${encode(AttributeValue, attribute).toHex()}`
  }
  return `${short}=${escapeText(attribute.value)}`
}

/** Text in which there is nothing to escape: nearly all of it. */
const PLAIN_TEXT = /^[A-Za-z0-9](?:[A-Za-z0-9 ._:@/()=-]*[A-Za-z0-9._:@/()=-])?$/

/** RFC 4514, 2.4. Control characters too are written as hex pairs: the text goes to terminals and logs. */
function escapeText(value: string): string {
  if (PLAIN_TEXT.test(value)) return value
  return (
    value
      .replace(/["+,;<>\\]/g, '\\$&')
      .replace(/^[ #]/, '\\$&')
      .replace(/ $/, (space, at: number) => (value.length > 1 || at === 0 ? `\\${space}` : space))
      // oxlint-disable-next-line no-control-regex -- these are the very characters that must not get out
      .replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) =>
        Array.from(new TextEncoder().encode(character), (octet) => `\\${octet.toString(16).padStart(2, '0')}`).join(''),
      )
  )
}

/** Longer than any name within the upper bounds of RFC 5280. */
const TEXT_MAX_CHARACTERS = 8192

/**
 * Reads RFC 4514 text, as people type it: `CN=Press 7,O=Mustermann\, Inc.,C=DE`.
 *
 * @returns the name with the encodings of {@link nameOf}; only `#HEX` values keep theirs
 * @throws TrustError `malformed`
 */
export function parseDistinguishedName(text: string): Name {
  if (text.length > TEXT_MAX_CHARACTERS)
    throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: TEXT_MAX_CHARACTERS } })
  if (text.trim() === '') return []
  const name: AttributeTypeAndValue[][] = [[]]
  let at = 0
  while (true) {
    const equals = text.indexOf('=', at)
    if (equals < 0) throw notName('a part has no equals sign')
    const { value, next } = parseValue(text, equals + 1)
    name.at(-1)?.push(typedAttribute(text.slice(at, equals).trim(), value))
    if (next >= text.length) break
    if (text[next] === ',') name.push([])
    at = next + 1
  }
  return name.toReversed()
}

function typedAttribute(label: string, value: string | Uint8Array): AttributeTypeAndValue {
  const type = typesByLowerName.get(label.toLowerCase()) ?? label.replace(/^oid\./i, '')
  if (typeof value === 'string') return attribute({ type, value })
  if (!isIdentifier(type)) throw notName(`${label} is no attribute type`)
  return { type, ...decode(AttributeValue, value) }
}

/** One value, to the next comma or plus sign that is not escaped. */
function parseValue(text: string, from: number): { readonly value: string | Uint8Array; readonly next: number } {
  let start = from
  while (text[start] === ' ') start++
  const hex = /^#((?:[0-9a-f]{2})+) *(?=[,+]|$)/i.exec(text.slice(start))
  if (hex !== null) return { value: Uint8Array.fromHex(hex[1] as string), next: start + hex[0].length }
  const octets: number[] = []
  let kept = 0 // trailing spaces that are not escaped do not count
  let at = start
  while (at < text.length) {
    const character = String.fromCodePoint(text.codePointAt(at) as number)
    if (character === ',' || character === '+') break
    if (/["<>;\u0000]/.test(character)) throw notName(`the character ${JSON.stringify(character)} is not escaped`)
    if (character !== '\\') {
      octets.push(...new TextEncoder().encode(character))
      if (character !== ' ') kept = octets.length
      at += character.length
      continue
    }
    const pair = /^[0-9a-f]{2}/i.exec(text.slice(at + 1, at + 3))
    const escaped = text[at + 1] ?? ''
    if (pair !== null) octets.push(Number.parseInt(pair[0], 16))
    else if (/[ "#+,;<=>\\]/.test(escaped)) octets.push(escaped.charCodeAt(0))
    else throw notName('a backslash stands before nothing that needs it')
    kept = octets.length
    at += pair === null ? 2 : 3
  }
  try {
    const value = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(octets.slice(0, kept)))
    return { value, next: at }
  } catch (cause) {
    throw notName('an escaped value is not UTF-8', cause)
  }
}

/**
 * Whether two DER names are the same name: byte for byte, or by the comparison of RFC 5280, 7.1, which ignores case,
 * the width of white space, and whether text is a PrintableString or a UTF8String.
 *
 * @throws TrustError `malformed`
 */
export function equalNames(a: Uint8Array, b: Uint8Array): boolean {
  if (equal(a, b)) return true
  const [left, right] = [parseName(a), parseName(b)]
  return left.length === right.length && left.every((rdn, level) => equalLevels(rdn, right[level] ?? []))
}

/** An RDN is a set: the same values in any order. */
function equalLevels(a: RelativeDistinguishedName, b: RelativeDistinguishedName): boolean {
  const [left, right] = [a.map(comparable).toSorted(), b.map(comparable).toSorted()]
  return left.length === right.length && left.every((one, i) => one === right[i])
}

/**
 * Each level of a name in a form that is the same text for names that {@link equalNames} calls the same: for maps of
 * names and for subtrees (RFC 5280, 4.2.1.10).
 */
export const comparableLevels = (name: Name): readonly string[] =>
  name.map((rdn) => JSON.stringify(rdn.map(comparable).toSorted()))

/** RFC 5280, 7.1: the types that must compare with each other do, all others only with themselves. */
function comparable({ type, value, encoding }: AttributeTypeAndValue): string {
  if (encoding === 'printableString' || encoding === 'utf8String') return `${type}=text:${foldText(value)}`
  if (encoding === 'ia5String') return `${type}=ia5:${foldText(value)}` // RFC 5280, 7.2 and 7.3
  return `${type}=${encoding}:${value}`
}

/** RFC 4518, 2.2: characters that mean nothing. */
const UNSEEN =
  // oxlint-disable-next-line no-control-regex -- the RFC's own list
  /[\u034f\ufe00-\ufe0f\u180b-\u180e\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u06dd\u070f\u1806\u200b-\u200f\u202a-\u202e\u2060-\u2063\u206a-\u206f\ufeff\ufff9-\ufffc]/g

/** RFC 4518: map, normalize, fold, and count runs of white space as one. Upper case first, so that ß and SS meet. */
const foldText = (text: string): string =>
  text.replace(UNSEEN, '').normalize('NFKC').toUpperCase().toLowerCase().normalize('NFKC').replace(/\s+/g, ' ').trim()

/** RFC 5280, A.1 (`ub-…`), in characters. Not in the parser: names in the wild exceed them, names of ours do not. */
const upperBounds: ReadonlyMap<string, number> = new Map([
  [attributeTypes.CN, 64],
  [attributeTypes.SN, 40], // ub-surname-length and its kin of X.411
  [attributeTypes.serialNumber, 64],
  [attributeTypes.C, 2],
  [attributeTypes.L, 128],
  [attributeTypes.ST, 128],
  [attributeTypes.O, 64],
  [attributeTypes.OU, 64],
  [attributeTypes.title, 64],
  [attributeTypes.name, 32768],
  [attributeTypes.pseudonym, 128],
  [attributeTypes.emailAddress, 255],
])

/** What a careful CA does not write into a name although it parses. */
export interface NameFinding {
  readonly kind: 'empty' | 'length' | 'country' | 'encoding'
  /** In one clause. */
  readonly detail: string
}

/** For the linter. */
export function nameFindings(name: Name): readonly NameFinding[] {
  const findings: NameFinding[] = []
  for (const rdn of name) for (const attribute of rdn) findBounds(attribute, findings)
  return findings
}

function findBounds(attribute: AttributeTypeAndValue, findings: NameFinding[]): void {
  const { type, value, encoding } = attribute
  if (encoding === 'any') return
  const limit = upperBounds.get(type)
  if (value === '') findings.push({ kind: 'empty', detail: `${attributeLabel(type)} is empty` })
  if (limit !== undefined && value.length > limit) {
    const length = Array.from(value).length // characters, some of which take two units
    if (length > limit)
      findings.push({ kind: 'length', detail: `${attributeLabel(type)} has ${length} characters, more than ${limit}` })
  }
  if (type === attributeTypes.C && value !== '' && !/^[A-Z]{2}$/.test(value))
    findings.push({ kind: 'country', detail: 'C is not a country code of two capital letters' })
  // RFC 5280, 4.1.2.4: no other DirectoryString in new certificates
  if (!isPreferredEncoding(attribute))
    findings.push({ kind: 'encoding', detail: `${attributeLabel(type)} is written as ${encoding}` })
}

const notName = (detail: string, cause?: unknown): TrustError =>
  new TrustError('malformed', 'notName', { facts: { detail }, cause })
