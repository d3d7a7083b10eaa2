/**
 * What revocation lists say of a certificate.
 *
 * Source: RFC 5280, 6.3 (scopes, reasons, deltas, indirect lists) and 5.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CertificateList, type RevokedCertificate } from '../crl.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import { basicConstraints } from '../extensions/basic-constraints.ts'
import { crlDistributionPoints, type DistributionPoint } from '../extensions/crl-distribution-points.ts'
import {
  certificateIssuer,
  crlNumber,
  type CRLReason,
  deltaCRLIndicator,
  invalidityDate,
  issuingDistributionPoint,
  type IssuingDistributionPoint,
  reasonCode,
} from '../extensions/crl-extensions.ts'
import type { DistributionPointName } from '../extensions/distribution-point-name.ts'
import { type Extension, type ExtensionType, readExtension } from '../extensions/extension.ts'
import type { GeneralName } from '../extensions/general-name.ts'
import { comparableLevels, formatName, parseName } from '../name.ts'
import type { Budget } from './budget.ts'
import { comparableKey, type Link } from './link.ts'

/** A list with its scope read. */
export interface List {
  readonly list: CertificateList
  readonly id: string
  /** RFC 4514. */
  readonly issuerLabel: string
  /** Comparable, as {@link Link.subject}. */
  readonly issuer: string
  readonly scope: IssuingDistributionPoint | undefined
  readonly number: bigint | undefined
  /** Number of the list that this delta goes on from; undefined for a complete list. */
  readonly base: bigint | undefined
  readonly authorityKey: string
}

const processedInList: ReadonlySet<string> = new Set(
  [authorityKeyIdentifier, crlNumber, deltaCRLIndicator, issuingDistributionPoint].map(({ oid }) => oid),
)
const processedInEntry: ReadonlySet<string> = new Set([reasonCode, invalidityDate, certificateIssuer].map(({ oid }) => oid))

/**
 * @param strict whether it must also be as RFC 5280, 5.2.3 asks an issuer to write it
 * @returns undefined for a list that must not be used: it has a critical extension that is not understood (RFC 5280,
 * 5.2), or one that cannot be read
 */
export function listOf(list: CertificateList, strict = false): List | undefined {
  if (strict && list.extensions.find(({ extnID }) => extnID === crlNumber.oid)?.critical !== false) return undefined
  if (list.extensions.some(({ critical, extnID }) => critical && !processedInList.has(extnID))) return undefined
  try {
    const issuerName = parseName(list.issuer)
    const read = <T>(type: ExtensionType<T>): T | undefined => readExtension(list.extensions, type)?.value
    return {
      list,
      id: hash('sha256', list.der, 'hex'),
      issuerLabel: formatName(issuerName),
      issuer: comparableKey(issuerName),
      scope: read(issuingDistributionPoint),
      number: read(crlNumber),
      base: read(deltaCRLIndicator),
      authorityKey: list.extensions.find(({ extnID }) => extnID === authorityKeyIdentifier.oid)?.extnValue.toHex() ?? '',
    }
  } catch (error) {
    if (!(error instanceof TrustError)) throw error
    return undefined
  }
}

export type Status =
  | { readonly state: 'good' }
  | { readonly state: 'revoked'; readonly revokedAt: Date; readonly reason: CRLReason }
  /** `isFinal`: one who would know does not, and nobody else needs to be asked. */
  | { readonly state: 'unknown'; readonly detail: string; readonly isFinal?: true }

const ALL_REASONS = [
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
] as const
type ReasonFlag = (typeof ALL_REASONS)[number]

export interface ListQuestion {
  readonly link: Link
  readonly lists: readonly List[]
  readonly at: Date
  /** Whether a certificate that may sign lists for this one signed it (RFC 5280, 6.3.3 (f) and (g)). */
  readonly isSigned: (list: List) => Promise<boolean>
  readonly budget: Budget
}

/** RFC 5280, 6.3.3. */
export async function statusByLists(question: ListQuestion): Promise<Status> {
  const { link } = question
  const covered = new Set<ReasonFlag>()
  let why = 'there is no list of its issuer'
  // the last one is the list of its issuer, wherever that was found
  for (const point of [...(link.extension(crlDistributionPoints) ?? []), ISSUERS_OWN]) {
    const inScope = question.lists.filter((list) => list.base === undefined && coversPoint(list, link, point))
    for (const list of newestFirst(inScope)) {
      question.budget.spend('lists', link.label)
      const reasons = reasonsOf(point, list)
      if ([...reasons].every((reason) => covered.has(reason))) continue
      const delta = await deltaFor(list, question)
      if (!isCurrent(list, question.at) && delta === undefined) {
        why = `the list of "${list.issuerLabel}" is not current`
        continue
      }
      if (!(await question.isSigned(list))) {
        why = `the list of "${list.issuerLabel}" is not signed by one who may sign it`
        continue
      }
      const found = entryIn(list, delta, link)
      if (found === 'unusable') {
        why = `the list of "${list.issuerLabel}" has entries that are not understood`
        continue
      }
      if (found !== undefined) return found
      for (const reason of reasons) covered.add(reason)
      why = 'the lists do not speak of all reasons for which it may be revoked'
      if (covered.size === ALL_REASONS.length) return { state: 'good' }
    }
  }
  return { state: 'unknown', detail: why }
}

const ISSUERS_OWN: DistributionPoint = {}

const newestFirst = (lists: readonly List[]): readonly List[] =>
  lists.toSorted((a, b) => b.list.thisUpdate.getTime() - a.list.thisUpdate.getTime())

function isCurrent({ list: { thisUpdate, nextUpdate } }: List, at: Date): boolean {
  return thisUpdate <= at && nextUpdate !== undefined && at <= nextUpdate
}

/** 6.3.3 (b). */
function coversPoint({ issuer, scope }: List, link: Link, { distributionPoint, cRLIssuer }: DistributionPoint): boolean {
  const issuers = cRLIssuer?.flatMap((name) => (name.type === 'directoryName' ? [comparableKey(name.value)] : []))
  if (issuers === undefined ? issuer !== link.issuer : !issuers.includes(issuer) || scope?.indirectCRL !== true) return false
  if (scope === undefined) return true
  const isAuthority = link.extension(basicConstraints)?.cA === true
  if ((scope.onlyContainsUserCerts && isAuthority) || (scope.onlyContainsCACerts && !isAuthority)) return false
  if (scope.onlyContainsAttributeCerts) return false
  if (scope.distributionPoint === undefined) return true
  const here = namesOfPoint(scope.distributionPoint, issuer)
  const there =
    distributionPoint === undefined
      ? (cRLIssuer?.map(comparableGeneralName) ?? [])
      : namesOfPoint(distributionPoint, issuers?.[0] ?? link.issuer)
  return there.some((name) => here.includes(name))
}

function namesOfPoint({ type, value }: DistributionPointName, issuer: string): readonly string[] {
  if (type === 'fullName') return value.map(comparableGeneralName)
  const levels = [...(issuer === '' ? [] : issuer.split('\n')), ...comparableLevels([value])]
  return [`directoryName ${levels.join('\n')}`]
}

function comparableGeneralName({ type, value }: GeneralName): string {
  if (type === 'directoryName') return `${type} ${comparableKey(value)}`
  if (value instanceof Uint8Array) return `${type} ${value.toHex()}`
  return `${type} ${typeof value === 'string' ? value : `${value.typeID} ${value.value.toHex()}`}`
}

/** 6.3.3 (d). */
function reasonsOf(point: DistributionPoint, { scope }: List): ReadonlySet<ReasonFlag> {
  const [here, there] = [point.reasons ?? ALL_REASONS, scope?.onlySomeReasons ?? ALL_REASONS] as [
    readonly string[],
    readonly string[],
  ]
  return new Set(ALL_REASONS.filter((reason) => here.includes(reason) && there.includes(reason)))
}

/** 6.3.3 (c) and (h): the newest that goes on from this list. */
async function deltaFor(complete: List, { lists, at, isSigned, budget, link }: ListQuestion): Promise<List | undefined> {
  const fitting = lists.filter(
    (delta) =>
      delta.base !== undefined &&
      complete.number !== undefined &&
      delta.number !== undefined &&
      delta.base <= complete.number && // 5.2.4: the list is the base or newer than it
      complete.number < delta.number &&
      delta.issuer === complete.issuer &&
      delta.authorityKey === complete.authorityKey &&
      equalScopes(delta, complete) &&
      isCurrent(delta, at),
  )
  for (const delta of newestFirst(fitting)) {
    budget.spend('lists', link.label)
    if (await isSigned(delta)) return delta
  }
  return undefined
}

function equalScopes(a: List, b: List): boolean {
  const [left, right] = [a, b].map(({ list }) => list.extensions.find(({ extnID }) => extnID === issuingDistributionPoint.oid))
  return left === undefined || right === undefined ? left === right : equal(left.extnValue, right.extnValue)
}

/** 6.3.3 (i) to (k). */
function entryIn(complete: List, delta: List | undefined, link: Link): Status | 'unusable' | undefined {
  const newer = delta === undefined ? undefined : search(delta, link)
  if (newer === 'unusable') return newer
  const entry = newer ?? search(complete, link)
  if (entry === 'unusable' || entry === undefined) return entry
  return entry.reason === 'removeFromCRL' ? undefined : { state: 'revoked', ...entry }
}

type Found = { readonly revokedAt: Date; readonly reason: CRLReason } | 'unusable' | undefined

/** To the end of the list even when it was found: a critical extension in any entry spoils the whole (RFC 5280, 5.3). */
function search({ list, issuer, scope }: List, link: Link): Found {
  let of = issuer // 5.3.3: an entry without certificateIssuer is of the same issuer as the one before it
  let found: Found
  try {
    for (const entry of list.entries()) {
      if (entry.extensions.some(({ critical, extnID }) => critical && !processedInEntry.has(extnID))) return 'unusable'
      if (scope?.indirectCRL === true) of = issuerOf(entry) ?? of
      if (of !== link.issuer || !equal(entry.serialNumber, link.certificate.serialNumber)) continue
      const reason = valueIn(entry, reasonCode) ?? 'unspecified'
      found = { revokedAt: entry.revokedAt, reason }
    }
  } catch (error) {
    if (!(error instanceof TrustError)) throw error
    return 'unusable'
  }
  return found
}

const valueIn = <T>({ extensions }: { readonly extensions: readonly Extension[] }, type: ExtensionType<T>): T | undefined =>
  extensions.length === 0 ? undefined : readExtension(extensions, type)?.value

function issuerOf(entry: RevokedCertificate): string | undefined {
  const names = valueIn(entry, certificateIssuer)
  const directory = names?.find(({ type }) => type === 'directoryName')
  return directory?.type === 'directoryName' ? comparableKey(directory.value) : undefined
}
