/**
 * What a request may ask for: its words are compared with the profile, the endpoint and the one who asks.
 *
 * Nothing is silently changed: a request either gets a certificate that says what it asked for, completed by the
 * profile, or a refusal that names what was wrong.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Certificate } from '#x509/certificate.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { decodeExtension, type Extension, readExtension } from '#x509/extensions/extension.ts'
import {
  formatIPAddress,
  type GeneralName,
  type GeneralNames,
  hardwareModuleName,
  hardwareModuleNameOf,
} from '#x509/extensions/general-name.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName as subjectAltNameType } from '#x509/extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import {
  attributeLabel,
  encodeName,
  equalNames,
  formatName,
  isPreferredEncoding,
  type Name,
  nameOf,
  parseName,
} from '#x509/name.ts'
import type { Authority } from './authorities.ts'
import { type Endpoint, matchesPattern } from './endpoint.ts'
import { allowsKey, type Profile } from './profile.ts'

/** The one who asks, as far as names are concerned. */
export type Applicant =
  | { readonly kind: 'device'; readonly certificate: Certificate; readonly productSerial: string }
  | { readonly kind: 'registration-authority'; mayAskFor(productSerial: string): boolean }
  | { readonly kind: 'secret'; readonly productSerial: string | undefined }
  | { readonly kind: 'person' }

/** What a certificate will say about its holder. */
export interface Plan {
  readonly authority: Authority
  readonly profile: Profile
  readonly publicKey: PublicKey
  /** DER Name */
  readonly subject: Uint8Array
  /** RFC 4514, for people. */
  readonly subjectText: string
  readonly productSerial: string | undefined
  readonly subjectAltName: GeneralNames | undefined
  /** Instead of the profile's validity: between authorities both ends are given. Milliseconds, whole seconds. */
  readonly period?: { readonly notBefore: number; readonly notAfter: number }
  /** Of an authority that has one already, which what it issued names; made from the key otherwise. */
  readonly subjectKeyIdentifier?: Uint8Array
  /** Where it says something, as the position of a job does; made from time and chance otherwise. */
  readonly serialNumber?: Uint8Array
}

export interface Asked {
  readonly authority: Authority
  readonly profile: Profile
  readonly request: Pick<CertificationRequest, 'subject' | 'requestedExtensions'>
  readonly publicKey: PublicKey
  readonly applicant: Applicant
  /** Absent when a person issues by hand. */
  readonly endpoint?: Pick<Endpoint, 'rules'>
  /** The device renews its own certificate: same names, perhaps another key (RFC 7030, 4.2.2). */
  readonly renewal: boolean
}

/** Who signs certificates or speaks of their state does it with a key of ours: neither is ever made from a request. */
export const servesRequests = ({ holder }: Pick<Profile, 'holder'>): boolean => holder !== 'authority' && holder !== 'responder'

/** @throws TrustError `policyRefused`, `forbidden`, `malformed` */
export function planCertificate(asked: Asked): Plan {
  const { authority, profile, publicKey } = asked
  if (!allowsKey(profile, publicKey.algorithm))
    throw refused('keyNotInProfile', { algorithm: publicKey.algorithm, profile: profile.id })
  if (!servesRequests(profile)) throw refused('profileForAuthorities', { profile: profile.id })
  // a device is born once, attested by its maker; its own birth certificate attests nothing new
  if (profile.birth && asked.applicant.kind === 'device') throw forbidden('bornAlready')
  const { attributes, written } = checkSubject(asked)
  const productSerial = attributes.get('serialNumber')
  checkProductSerial(asked, productSerial)
  if (asked.applicant.kind === 'device') checkOwnAttributes(asked.applicant, profile, attributes)
  else checkCommonName(asked, attributes, productSerial)
  checkRequestedExtensions(asked)
  const subjectAltName = planNames(asked, productSerial)
  if (asked.renewal && asked.applicant.kind === 'device') checkRenewedNames(asked, asked.applicant.certificate)
  const name = written?.name ?? nameOf([...attributes].map(([type, value]) => ({ type, value })))
  return {
    authority,
    profile,
    publicKey,
    subject: written?.der ?? encodeName(name),
    subjectText: formatName(name),
    productSerial,
    subjectAltName,
  }
}

/** Values that end up in names of ours: printable, without the characters that have fooled comparisons. */
// oxlint-disable-next-line no-control-regex -- control characters are what is refused
const UNSAFE_TEXT = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/

interface Subject {
  /** Short name → value, in the request's order, then what the profile fixes. */
  readonly attributes: ReadonlyMap<string, string>
  /** The name as it was asked for, when it is written just as we would write it. */
  readonly written: { readonly der: Uint8Array; readonly name: Name } | undefined
}

function checkSubject({ profile, request, applicant }: Asked): Subject {
  const attributes = new Map<string, string>()
  const requested = parseName(request.subject)
  const fillsIn = requested.length === 0 && applicant.kind === 'device'
  const der = fillsIn ? applicant.certificate.subject : request.subject
  const name = fillsIn ? parseName(der) : requested
  let asWritten = true
  for (const rdn of name) {
    const [attribute, another] = rdn
    if (attribute === undefined || another !== undefined) throw refused('subjectMultiValued')
    const type = attributeLabel(attribute.type)
    const fixed = profile.subjectFixed?.[type]
    if (fixed !== undefined && fixed !== attribute.value) throw refused('subjectFixed', { attribute: type, value: fixed })
    if (fixed === undefined && profile.subject[type] === undefined)
      throw refused('subjectAttribute', { attribute: type, profile: profile.id })
    if (attributes.has(type)) throw refused('subjectRepeated', { attribute: type })
    if (attribute.encoding === 'any' || UNSAFE_TEXT.test(attribute.value)) throw refused('subjectText', { attribute: type })
    if (!isPreferredEncoding(attribute)) asWritten = false
    attributes.set(type, attribute.value)
  }
  for (const [type, value] of Object.entries(profile.subjectFixed ?? {})) {
    if (attributes.has(type)) continue
    attributes.set(type, value)
    asWritten = false
  }
  for (const [type, presence] of Object.entries(profile.subject)) {
    if (presence === 'required' && !attributes.has(type))
      throw refused('subjectMissing', { attribute: type, profile: profile.id })
  }
  return { attributes, written: asWritten ? { der, name } : undefined }
}

/** Spaces that a comparison of names leaves out (RFC 5280, 7.1): two serials that differ by them would be one name. */
const INSIGNIFICANT_SPACE = /^ | $| {2}/

function checkProductSerial({ applicant }: Asked, productSerial: string | undefined): void {
  if (productSerial !== undefined && INSIGNIFICANT_SPACE.test(productSerial)) throw refused('productSerialSpaces')
  switch (applicant.kind) {
    case 'device':
      if (productSerial !== applicant.productSerial) throw forbidden('foreignProductSerial')
      return
    case 'registration-authority':
      if (productSerial === undefined || !applicant.mayAskFor(productSerial)) throw forbidden('productSerialNotListed')
      return
    case 'secret':
      if (applicant.productSerial !== undefined && productSerial !== applicant.productSerial)
        throw forbidden('foreignProductSerial')
      return
    case 'person':
      return
  }
}

/** A device speaks for itself: each attribute is one of its own certificate, its product serial, or the profile's. */
function checkOwnAttributes(
  applicant: Applicant & { kind: 'device' },
  profile: Profile,
  attributes: ReadonlyMap<string, string>,
): void {
  const own = new Map(
    parseName(applicant.certificate.subject).flatMap((rdn) => rdn.map((one) => [attributeLabel(one.type), one.value])),
  )
  for (const [type, value] of attributes) {
    const mayBe = [own.get(type), profile.subjectFixed?.[type], type === 'CN' ? applicant.productSerial : undefined]
    if (!mayBe.includes(value)) throw forbidden('foreignSubject', { attribute: type })
  }
}

/**
 * Brokers and servers take the common name for who somebody is, so that whoever may ask for one device only does not get
 * another's there. What a person writes by hand is their own act.
 */
function checkCommonName(
  { applicant, profile }: Asked,
  attributes: ReadonlyMap<string, string>,
  productSerial: string | undefined,
): void {
  const commonName = attributes.get('CN')
  if (applicant.kind === 'person' || commonName === undefined || productSerial === undefined) return
  if (commonName !== productSerial && commonName !== profile.subjectFixed?.['CN'])
    throw forbidden('foreignSubject', { attribute: 'CN' })
}

/** Extensions that a request may carry without saying anything that we would write. */
const IGNORED_EXTENSIONS: ReadonlySet<string> = new Set([subjectKeyIdentifier.oid])

function checkRequestedExtensions({ profile, request }: Asked): void {
  for (const extension of request.requestedExtensions) checkRequestedExtension(profile, extension)
}

function checkRequestedExtension(profile: Profile, extension: Extension): void {
  switch (extension.extnID) {
    case basicConstraints.oid: {
      const { cA } = decodeExtension(basicConstraints, extension)
      if (cA && profile.holder !== 'authority') throw refused('requestedAuthority')
      return
    }
    case keyUsage.oid: {
      const foreign = decodeExtension(keyUsage, extension).find((name) => !(profile.keyUsage as readonly string[]).includes(name))
      if (foreign !== undefined) throw refused('requestedKeyUsage', { usage: foreign, profile: profile.id })
      return
    }
    case extKeyUsage.oid: {
      const foreign = decodeExtension(extKeyUsage, extension).find((purpose) => !profile.extendedKeyUsage.includes(purpose))
      if (foreign !== undefined) throw refused('requestedKeyPurpose', { purpose: foreign, profile: profile.id })
      return
    }
    case subjectAltNameType.oid:
      return // planNames looks at each name
    default:
      if (!IGNORED_EXTENSIONS.has(extension.extnID))
        throw refused('requestedExtension', { extension: extension.extnID, profile: profile.id })
  }
}

function planNames(asked: Asked, productSerial: string | undefined): GeneralNames | undefined {
  const { profile, endpoint } = asked
  const rules = profile.subjectAltName
  const requested = requestedNames(asked)
  const names: GeneralName[] = []
  for (const name of requested) {
    const hardware = hardwareModuleNameOf(name)
    if (hardware === undefined) {
      checkName(asked, name, productSerial)
      names.push(name)
      continue
    }
    const isOwn =
      hardware.hwType === endpoint?.rules.hardwareType &&
      productSerial !== undefined &&
      equal(hardware.hwSerialNum, utf8(productSerial))
    if (rules.hardwareModuleName !== true || !isOwn) throw forbidden('foreignName', { name: 'hardwareModuleName' })
  }
  if (rules.hardwareModuleName === true) {
    if (endpoint?.rules.hardwareType === undefined || productSerial === undefined) throw refused('hardwareTypeMissing')
    names.unshift(hardwareModuleName({ hwType: endpoint.rules.hardwareType, hwSerialNum: utf8(productSerial) }))
  }
  if (names.length === 0 && rules.presence === 'required') throw refused('namesMissing', { profile: profile.id })
  return names.length === 0 ? undefined : names
}

/** A renewal that names nothing keeps the names it has. */
function requestedNames({ request, renewal, applicant }: Asked): GeneralNames {
  const requested = readExtension(request.requestedExtensions, subjectAltNameType)
  if (requested !== undefined) return requested.value
  if (!renewal || applicant.kind !== 'device') return []
  return readExtension(applicant.certificate.extensions, subjectAltNameType)?.value ?? []
}

/** RFC 1034, 3.5 and RFC 1123, 2.1, with a wildcard only as the whole first label (RFC 9525, 6.3). */
const HOST_NAME = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i
const HOST_NAME_MAX = 253
/** An address in figures is no host name: it belongs into iPAddress (RFC 1123, 2.1). */
const NUMBER_LAST = /(^|\.)\d+$/
/** RFC 5321, 4.1.2: a local part of plain atoms, and a domain; what needs quotes fools too many readers. */
const MAILBOX = /^[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/i
/** RFC 3986, 3: a scheme and something after it, no spaces. */
const URI = /^[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,500}$/i

function checkName({ profile, applicant, endpoint }: Asked, name: GeneralName, productSerial: string | undefined): void {
  const { rule, text, folds } = textOf(profile, name)
  if (rule === undefined) throw refused('nameKind', { name: name.type, profile: profile.id })
  const compare = (value: string): string => (folds ? value.toLowerCase() : value)
  if (rule === 'any') {
    // a pattern lists hosts, each by its own name: a certificate for every host at once is a person's to issue
    const listed =
      !text.startsWith('*.') && (endpoint?.rules.names ?? []).some((one) => matchesPattern(compare(one), compare(text)))
    if (applicant.kind !== 'person' && !listed) throw forbidden('foreignName', { name: text })
    return
  }
  if (productSerial === undefined) throw forbidden('foreignName', { name: text })
  // a serial such as scada.plant.example must not make its device that host
  if (name.type === 'dNSName' && productSerial.includes('.')) throw forbidden('foreignName', { name: text })
  const own = rule.map((template) => template.replaceAll('{productSerial}', productSerial))
  if (!own.some((value) => compare(value) === compare(text))) throw forbidden('foreignName', { name: text })
}

function textOf(
  profile: Profile,
  name: GeneralName,
): { rule: 'any' | readonly string[] | undefined; text: string; folds: boolean } {
  const { rfc822Name, dNSName, iPAddress, uniformResourceIdentifier } = profile.subjectAltName
  switch (name.type) {
    case 'dNSName':
      if (name.value.length > HOST_NAME_MAX || !HOST_NAME.test(name.value) || NUMBER_LAST.test(name.value))
        throw refused('nameSyntax', { name: name.type })
      return { rule: dNSName, text: name.value, folds: true }
    case 'rfc822Name':
      if (!MAILBOX.test(name.value)) throw refused('nameSyntax', { name: name.type })
      return { rule: rfc822Name, text: name.value, folds: false }
    case 'iPAddress':
      return { rule: iPAddress, text: formatIPAddress(name.value), folds: false }
    case 'uniformResourceIdentifier':
      if (!URI.test(name.value)) throw refused('nameSyntax', { name: name.type })
      return { rule: uniformResourceIdentifier, text: name.value, folds: false }
    default:
      return { rule: undefined, text: name.type, folds: false }
  }
}

/** RFC 7030, 4.2.2: subject and subjectAltName are those of the certificate that is renewed; absent means the same. */
function checkRenewedNames({ request }: Asked, current: Certificate): void {
  if (parseName(request.subject).length > 0 && !equalNames(request.subject, current.subject))
    throw forbidden('renewalChangesNames')
  const requested = request.requestedExtensions.find(({ extnID }) => extnID === subjectAltNameType.oid)
  const held = current.extensions.find(({ extnID }) => extnID === subjectAltNameType.oid)
  if (requested !== undefined && (held === undefined || !equal(requested.extnValue, held.extnValue)))
    throw forbidden('renewalChangesNames')
}

const refused = (reason: ConstructorParameters<typeof TrustError>[1], facts: Record<string, string> = {}): TrustError =>
  new TrustError('policyRefused', reason, { facts })
const forbidden = (reason: ConstructorParameters<typeof TrustError>[1], facts: Record<string, string> = {}): TrustError =>
  new TrustError('forbidden', reason, { facts })
