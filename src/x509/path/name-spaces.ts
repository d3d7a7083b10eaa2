/**
 * Whether names lie inside of what the authorities above allow.
 *
 * Names come from strangers and limits from authorities that may be careless, so what cannot be compared is refused.
 *
 * Source: RFC 5280, 4.2.1.10 and 6.1.3 (b), (c); RFC 9549 (international names); RFC 9598, 6 (mailboxes in UTF-8).
 *
 * @module
 */
import { domainToASCII } from 'node:url'
import { decode } from '#asn1/codec.ts'
import { UTF8String } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { formatIPAddress, type GeneralName } from '../extensions/general-name.ts'
import type { GeneralSubtree, NameConstraints } from '../extensions/name-constraints.ts'
import { subjectAltName } from '../extensions/subject-alternative-name.ts'
import { attributesOf, comparableLevels, formatName, parseName } from '../name.ts'
import type { Budget } from './budget.ts'
import type { Link } from './link.ts'
import { PathRefusal } from './reasons.ts'

const SMTP_UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9'

/** A name that cannot be compared, and why. */
class Incomparable extends Error {}

interface Subtree {
  readonly kind: string
  /** Whether the name lies in the subtree; for a wildcard, `some` names that it stands for. @throws Incomparable */
  holds(name: Comparable, some: boolean): boolean
}

/** A name with the parts that comparisons need, made once. */
interface Comparable {
  readonly type: GeneralName['type']
  /** What is compared with what: the type, and of an otherName its own type too. */
  readonly kind: string
  /** For people. */
  readonly text: string
  readonly name: GeneralName
  readonly levels?: readonly string[]
}

export interface NameSpaces {
  /** After the certificate that carries them: they bind what is below it. @throws PathRefusal */
  narrow(constraints: NameConstraints, authority: Link): void
  /** RFC 5280, 6.1.3 (b) and (c). @throws PathRefusal */
  check(link: Link): void
}

export function nameSpaces(budget: Budget): NameSpaces {
  /** One list per authority: a name must lie in one subtree of each list that has its kind. */
  const permitted: (readonly Subtree[])[] = []
  const excluded: Subtree[] = []

  return {
    narrow({ permittedSubtrees, excludedSubtrees }, { label }) {
      if (permittedSubtrees !== undefined) permitted.push(permittedSubtrees.map((one) => subtreeOf(one, label)))
      if (excludedSubtrees !== undefined) for (const one of excludedSubtrees) excluded.push(subtreeOf(one, label))
    },
    check(link) {
      if (permitted.length === 0 && excluded.length === 0) return
      const { label } = link
      for (const name of namesOf(link)) {
        const facts = { kind: kinds[name.type], name: name.text }
        try {
          for (const one of excluded) {
            budget.spend('comparisons', label)
            if (one.kind === name.kind && one.holds(name, true)) throw new PathRefusal('pathNameExcluded', label, facts)
          }
          for (const list of permitted) {
            budget.spend('comparisons', label, list.length)
            const ofKind = list.filter(({ kind }) => kind === name.kind)
            if (ofKind.length > 0 && !ofKind.some((one) => one.holds(name, false)))
              throw new PathRefusal('pathNameNotPermitted', label, facts)
          }
        } catch (error) {
          if (!(error instanceof Incomparable)) throw error
          throw new PathRefusal('pathNameUnreadable', label, { kind: facts.kind, detail: error.message })
        }
      }
    },
  }
}

const kinds: Readonly<Record<GeneralName['type'], string>> = {
  otherName: 'name of another kind',
  rfc822Name: 'mail address',
  dNSName: 'host name',
  x400Address: 'X.400 address',
  directoryName: 'directory name',
  ediPartyName: 'EDI party name',
  uniformResourceIdentifier: 'URI',
  iPAddress: 'IP address',
  registeredID: 'registered identifier',
}

/** All that a certificate calls its subject. */
function namesOf(link: Link): readonly Comparable[] {
  const { certificate } = link
  const subject = parseName(certificate.subject)
  const alternatives = link.extension(subjectAltName) ?? []
  const names = alternatives.map(comparableOf)
  if (subject.length > 0) names.push(comparableOf({ type: 'directoryName', value: subject }))
  if (!alternatives.some(({ type }) => type === 'rfc822Name')) {
    // RFC 5280, 4.2.1.10: then limits on mail addresses bind those in the subject
    for (const value of attributesOf(subject, 'emailAddress')) names.push(comparableOf({ type: 'rfc822Name', value }))
  }
  return names
}

function comparableOf(name: GeneralName): Comparable {
  switch (name.type) {
    case 'directoryName':
      return { type: name.type, kind: name.type, name, text: formatName(name.value), levels: comparableLevels(name.value) }
    case 'otherName': {
      const mailbox = utf8MailboxOf(name)
      if (mailbox === undefined) return { type: name.type, kind: otherKind(name.value), name, text: name.value.typeID }
      return { type: 'rfc822Name', kind: 'rfc822Name', name: { type: 'rfc822Name', value: mailbox }, text: mailbox }
    }
    case 'iPAddress':
      return { type: name.type, kind: name.type, name, text: addressText(name.value) }
    case 'rfc822Name':
    case 'dNSName':
    case 'uniformResourceIdentifier':
    case 'registeredID':
      return { type: name.type, kind: name.type, name, text: name.value }
    case 'x400Address':
    case 'ediPartyName':
      return { type: name.type, kind: name.type, name, text: name.value.toHex() }
  }
}

const addressText = (octets: Uint8Array): string =>
  octets.length === 4 || octets.length === 16 ? formatIPAddress(octets) : octets.toHex()

/** RFC 9598, 3: its limits are those of rfc822Name, host compared as A-labels. */
function utf8MailboxOf({ value: { typeID, value } }: Extract<GeneralName, { type: 'otherName' }>): string | undefined {
  if (typeID !== SMTP_UTF8_MAILBOX) return undefined
  try {
    const text = decode(UTF8String, value)
    const at = text.lastIndexOf('@')
    return at < 0 ? text : `${text.slice(0, at)}@${domainToASCII(text.slice(at + 1))}`
  } catch (error) {
    if (!(error instanceof TrustError)) throw error
    return '' // compared and refused where mail addresses are limited
  }
}

/** @throws PathRefusal for a limit that nobody can apply */
function subtreeOf({ base, minimum, maximum }: GeneralSubtree, label: string): Subtree {
  const unusable = (detail: string): PathRefusal =>
    new PathRefusal('pathNameUnreadable', label, { kind: kinds[base.type], detail })
  if (minimum !== 0 || maximum !== undefined) throw unusable('its limit has a minimum or a maximum')
  switch (base.type) {
    case 'directoryName':
      return { kind: base.type, holds: within(comparableLevels(base.value)) }
    case 'dNSName': {
      const domain = base.value.toLowerCase()
      if (domain !== '' && !isHostName(domain.replace(/^\./, ''))) throw unusable(`the limit "${domain}" is no host name`)
      return { kind: base.type, holds: ({ text }, some) => hostIn(hostOf(text), domain, some) }
    }
    case 'rfc822Name': {
      const limit = base.value
      const host = limit.slice(limit.lastIndexOf('@') + 1).replace(/^\./, '')
      if (!isHostName(host.toLowerCase())) throw unusable(`the limit "${limit}" is no mail address and no host`)
      return { kind: base.type, holds: ({ text }) => mailboxIn(text, limit) }
    }
    case 'uniformResourceIdentifier': {
      const limit = base.value.toLowerCase()
      if (!isHostName(limit.replace(/^\./, ''))) throw unusable(`the limit "${limit}" is no host name`)
      return { kind: base.type, holds: ({ text }) => hostExactly(hostOfURI(text), limit) }
    }
    case 'iPAddress': {
      const range = base.value
      if (range.length !== 8 && range.length !== 32) throw unusable('its limit is no address with a mask')
      if (!isMask(range.subarray(range.length / 2))) throw unusable('its mask has gaps')
      return { kind: base.type, holds: ({ name }) => addressIn(name.value as Uint8Array, range) }
    }
    case 'otherName':
      return { kind: otherKind(base.value), holds: incomparable }
    case 'registeredID':
    case 'x400Address':
    case 'ediPartyName':
      return { kind: base.type, holds: incomparable }
  }
}

const otherKind = ({ typeID }: { readonly typeID: string }): string => `otherName ${typeID}`

function incomparable(): never {
  throw new Incomparable('nothing says how names of this kind are compared')
}

const within =
  (base: readonly string[]) =>
  ({ levels = [], name }: Comparable, some: boolean): boolean => {
    if (base.length <= levels.length && base.every((level, i) => level === levels[i])) return true
    // RFC 5280, 7.1 compares these with themselves only: the same text in another type would lie outside
    if (some && name.type === 'directoryName' && name.value.flat().some(({ encoding }) => !COMPARED.has(encoding)))
      throw new Incomparable('it has text of a type that is not compared with others')
    return false
  }

const COMPARED: ReadonlySet<string> = new Set(['printableString', 'utf8String', 'ia5String'])

/** RFC 1034, 3.5 as changed by RFC 1123, 2.1; underscores are in no host name. */
const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/

export const isHostName = (text: string): boolean =>
  text.length > 0 && text.length <= 253 && text.split('.').every((label) => LABEL.test(label)) && !/(^|\.)\d+$/.test(text)

/** A host name, or one whose first label is a wildcard. */
export const isHostPattern = (text: string): boolean => isHostName(text.startsWith('*.') ? text.slice(2) : text)

function hostOf(text: string): string {
  const host = text.toLowerCase()
  if (!isHostPattern(host)) throw new Incomparable(`"${text}" is no host name`)
  return host
}

/**
 * Zero or more labels to the left: `host.example.com` is in `example.com`. Of a wildcard, all names must be in a
 * permitted subtree, and none in an excluded one.
 */
function hostIn(host: string, domain: string, some: boolean): boolean {
  if (domain === '') return true
  const wildcard = host.startsWith('*.')
  const base = wildcard ? host.slice(2) : host
  if (domain.startsWith('.')) return `.${base}`.endsWith(domain) && (wildcard || base.length > domain.length - 1)
  if (base === domain || base.endsWith(`.${domain}`)) return true
  return some && wildcard && domain.endsWith(`.${base}`) && !domain.slice(0, -base.length - 1).includes('.')
}

/** Hosts of URIs and mailboxes: the very host, or with a leading period any host below. */
const hostExactly = (host: string, limit: string): boolean =>
  limit.startsWith('.') ? host.endsWith(limit) && host.length > limit.length : host === limit

/** RFC 5321, 4.1.2: a local part of dotted atoms; quoted ones are refused where they would have to be compared. */
const LOCAL_PART = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\u{10ffff}-]+)*$/u

function mailboxIn(text: string, limit: string): boolean {
  const at = text.lastIndexOf('@')
  const [local, host] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1).toLowerCase()]
  if (at < 0 || !LOCAL_PART.test(local) || !isHostName(host)) throw new Incomparable(`"${text}" is no mail address`)
  const limitAt = limit.lastIndexOf('@')
  if (limitAt < 0) return hostExactly(host, limit.toLowerCase())
  return local === limit.slice(0, limitAt) && host === limit.slice(limitAt + 1).toLowerCase()
}

/**
 * RFC 5280, 4.2.1.10: a URI without a host, or with an address for one, is refused where URIs are limited. So is one with
 * characters that stand in no authority (RFC 3986, 3.2), such as a backslash, which some readers take for a slash.
 */
function hostOfURI(text: string): string {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([a-z0-9._~!$&'()*+,;=:@%-]*)(?:[/?#]|$)/i.exec(text)?.[1]
  const host = authority
    ?.slice(authority.lastIndexOf('@') + 1)
    .replace(/:\d*$/, '')
    .toLowerCase()
  if (host === undefined || !isHostName(host)) throw new Incomparable(`"${text}" has no host name`)
  return host
}

function isMask(mask: Uint8Array): boolean {
  let ended = false
  for (const octet of mask) {
    for (let bit = 7; bit >= 0; bit--) {
      const set = ((octet >> bit) & 1) === 1
      if (set && ended) return false
      if (!set) ended = true
    }
  }
  return true
}

function addressIn(address: Uint8Array, range: Uint8Array): boolean {
  if (address.length !== 4 && address.length !== 16) throw new Incomparable('an address has 4 or 16 octets')
  const size = range.length / 2
  if (address.length !== size) return false
  return address.every((octet, i) => ((octet ^ (range[i] as number)) & (range[size + i] as number)) === 0)
}
