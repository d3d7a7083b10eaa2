/**
 * Is this certificate good? Builds a path to an anchor, checks it, and asks whether anything on it is revoked.
 *
 * Bytes and values in, a result out: time is an argument, and what must be fetched comes through a port.
 *
 * Source: RFC 5280, 6; RFC 6960; RFC 9618; RFC 4158.
 *
 * @module
 */
import type { AlgorithmPolicy } from '#algorithms/policy.ts'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds } from '#base/world.ts'
import type { Certificate } from '../certificate.ts'
import { parseCertificateList } from '../crl.ts'
import { accessMethods, authorityInfoAccess } from '../extensions/authority-information-access.ts'
import { crlDistributionPoints, freshestCRL } from '../extensions/crl-distribution-points.ts'
import { type BasicResponse, encodeCertID, encodeOCSPRequest, issuerHashes, parseOCSPResponse } from '../ocsp.ts'
import { Budget, CANDIDATES_MAX } from './budget.ts'
import { buildPath, type Pool, poolOf } from './build.ts'
import { checkKeyUsage, type PathRules } from './check.ts'
import { comparableKey, detailOf, type Link, linkOf } from './link.ts'
import { statusByAnswers } from './ocsp-answers.ts'
import { checkPeerName, type PeerName } from './peer-name.ts'
import { checkProfile } from './profile-rules.ts'
import { checkPurpose } from './purpose.ts'
import type { Purpose } from './purpose-names.ts'
import { type PathFailure, pathReasons, PathRefusal } from './reasons.ts'
import { type List, listOf, type Status, statusByLists } from './revocation-lists.ts'

/** Where lists and answers are fetched. Anything that goes wrong is `undefined`: nothing was learned. */
export interface RevocationPort {
  fetchList?(uri: string): Promise<Uint8Array | undefined>
  /** @param request DER OCSPRequest */
  askResponder?(uri: string, request: Uint8Array): Promise<Uint8Array | undefined>
  /** One who issued it himself need not ask. */
  lookUp?(certificate: Certificate, issuer: Certificate): Promise<Status | undefined>
}

export interface VerifyInput extends PathRules {
  /** DER, or parsed. */
  readonly certificate: Uint8Array | Certificate
  /** Others that may stand between; those that do not parse are passed over. */
  readonly intermediates?: readonly (Uint8Array | Certificate)[]
  /** Trusted because someone decided so. */
  readonly anchors: readonly (Uint8Array | Certificate)[]
  readonly purpose?: Purpose | undefined
  readonly peerName?: PeerName | undefined
  readonly depthMax?: number | undefined
  /** Also holds every certificate to the rules for those who issue (RFC 5280, 4). */
  readonly strict?: boolean
  readonly revocation?: RevocationInput
  /** Which algorithms are taken at this time; those of the table without it. */
  readonly policy?: AlgorithmPolicy
}

export interface RevocationInput {
  /** `required`: what is not known to be good is refused. `known`: only what is known to be revoked is. */
  readonly demand: 'required' | 'known'
  /** DER. Those that do not parse are passed over. */
  readonly lists?: readonly Uint8Array[]
  /** DER OCSPResponses, such as a TLS server staples. */
  readonly answers?: readonly Uint8Array[]
  readonly port?: RevocationPort
  /** For the questions that are asked now. */
  readonly nonce?: Uint8Array
}

/** One certificate of the path, for people. */
export interface Step {
  readonly subject: string
  readonly fingerprint: string
  readonly certificate: Certificate
  readonly revocation: Status['state'] | 'unasked'
  /** Why its state is not known. */
  readonly detail?: string
}

export type Verdict =
  | { readonly valid: true; readonly path: readonly Step[]; readonly policies: readonly string[] }
  | {
      readonly valid: false
      readonly path: readonly Step[]
      readonly failure: PathFailure
      /** How many of the others that were given could not be read: one of them may be what is missing. */
      readonly unread: number
    }

/** Addresses that are asked for one answer: two for each certificate of a deep path. */
export const FETCHES_MAX = 32
/** Lists and answers that may come along. */
export const EVIDENCE_MAX = 512
/** Signers of lists whose own state hangs on lists of others, and so on. */
const SIGNERS_DEPTH_MAX = 3

/** Never throws for what the bytes say: each fault of theirs is a failure with its reason. */
export async function verifyCertificate(given: VerifyInput): Promise<Verdict> {
  const input = { ...given, at: new Date(toWholeSeconds(given.at.getTime())) } // certificates know whole seconds
  const budget = new Budget((algorithm) => input.policy?.check(algorithm, input.at.getTime()))
  const refused = (subject: string, error: unknown): Verdict => {
    if (error instanceof PathRefusal) return { valid: false, path: [], failure: error.failure, unread: 0 }
    const detail = detailOf(error)
    const facts = { subject, detail }
    const failure = { reason: 'pathUnreadable', section: pathReasons.pathUnreadable, subject, facts } as const
    return { valid: false, path: [], failure, unread: 0 }
  }
  let target: Link
  try {
    target = linkOf(input.certificate)
  } catch (error) {
    return refused('the certificate', error)
  }
  const others = input.intermediates ?? []
  if (others.length > CANDIDATES_MAX)
    return refused(
      target.label,
      new PathRefusal('pathTooMuchWork', target.label, { limit: CANDIDATES_MAX, what: 'certificates' }),
    )
  const intermediates = linksOf(others)
  const anchors = linksOf(input.anchors)
  const unread = input.anchors.length + others.length - anchors.length - intermediates.length
  const pool = poolOf(anchors, intermediates)
  const question = revocationOf(input, pool, budget)
  const { purpose, peerName, strict = false } = input
  const rules: PathRules = input
  const built = await buildPath(
    target,
    pool,
    {
      ...rules,
      ...(input.depthMax !== undefined && { depthMax: input.depthMax }),
      async accept(path) {
        if (strict) checkProfile(path)
        if (purpose !== undefined) checkPurpose(path, purpose)
        if (peerName !== undefined) checkPeerName(target, peerName)
        await question?.check(path)
      },
    },
    budget,
  )
  const path = built.path.map((link) => stepOf(link, question?.statusOf(link)))
  return 'failure' in built
    ? { valid: false, path, failure: built.failure, unread }
    : { valid: true, path, policies: [...built.policies].toSorted() }
}

const stepOf = ({ label, fingerprint, certificate }: Link, status: Status | undefined): Step => ({
  subject: label,
  fingerprint,
  certificate,
  revocation: status?.state ?? 'unasked',
  ...(status?.state === 'unknown' && { detail: status.detail }),
})

/** Those that can be read. */
function linksOf(given: readonly (Uint8Array | Certificate)[]): readonly Link[] {
  return given.flatMap((one) => readable(() => linkOf(one)) ?? [])
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof TrustError) return undefined
    throw error
  }
}

interface RevocationQuestion {
  /** @param path anchor first @throws PathRefusal */
  check(path: readonly Link[]): Promise<void>
  statusOf(link: Link): Status | undefined
}

function revocationOf(input: VerifyInput, pool: Pool, budget: Budget): RevocationQuestion | undefined {
  if (input.revocation === undefined) return undefined
  const { demand, port = {}, nonce } = input.revocation
  const { at } = input
  const lists = (input.revocation.lists ?? []).slice(0, EVIDENCE_MAX).flatMap((der) => readList(der, input.strict) ?? [])
  const answers = (input.revocation.answers ?? []).slice(0, EVIDENCE_MAX).flatMap((der) => readAnswer(der) ?? [])
  const known = new Map<string, Status>()
  const fetched = new Set<string>()

  async function check(path: readonly Link[], signing: readonly string[] = []): Promise<void> {
    for (let i = 1; i < path.length; i++) {
      const [issuer, link] = [path[i - 1], path[i]] as [Link, Link]
      const status = known.get(link.fingerprint) ?? (await ask(link, issuer, path[0] as Link, signing))
      // what was not known while a signer waited for its own state may be known later
      if (status.state !== 'unknown' || signing.length === 0) known.set(link.fingerprint, status)
      if (status.state === 'revoked') {
        const facts = { revokedAt: status.revokedAt.toISOString(), because: status.reason }
        throw new PathRefusal('pathRevoked', link.label, facts)
      }
      if (status.state === 'unknown' && (demand === 'required' || status.isFinal === true))
        throw new PathRefusal('pathRevocationUnknown', link.label, { detail: status.detail })
    }
  }

  async function ask(link: Link, issuer: Link, anchor: Link, signing: readonly string[]): Promise<Status> {
    const recorded = await port.lookUp?.(link.certificate, issuer.certificate)
    if (recorded !== undefined && (recorded.state !== 'unknown' || recorded.isFinal === true)) return recorded
    const byLists = (): Promise<Status> =>
      statusByLists({ link, lists, at, budget, isSigned: (list) => isListSigned(list, link, issuer, anchor, signing) })
    const byAnswers = (of: readonly BasicResponse[], asked?: Uint8Array): Promise<Status | undefined> => {
      const isResponderGood = async (responder: Link): Promise<boolean> => {
        const status = await statusByLists({
          link: responder,
          lists,
          at,
          budget,
          isSigned: (list) => isListSigned(list, responder, issuer, anchor, signing),
        })
        return status.state === 'good' || (status.state === 'unknown' && demand === 'known')
      }
      return statusByAnswers({ link, issuer, answers: of, at, nonce: asked, isResponderGood, budget })
    }
    let status = await byAnswers(answers)
    if (status === undefined || status.state === 'unknown') status = better(status, await byLists())
    if (status.state !== 'unknown') return status
    const answer = await askResponders(link, issuer)
    if (answer !== undefined) status = better(status, await byAnswers([answer], nonce))
    if (status.state === 'unknown' && (await fetchLists(link))) status = better(status, await byLists())
    return status
  }

  /** RFC 5280, 6.3.3 (f) and (g): the issuer's own key, or another that the same anchor vouches for. */
  async function isListSigned(list: List, link: Link, issuer: Link, anchor: Link, signing: readonly string[]): Promise<boolean> {
    const { signatureAlgorithm, signatureValue: signature, tbsCertList: message } = list.list
    const signedBy = (signer: Link): Promise<boolean> =>
      budget.signed({ signatureAlgorithm, signature, message }, signer, list.issuerLabel, list.id)
    const candidates = [issuer, anchor, ...(pool.others.get(list.issuer) ?? [])]
    for (const signer of candidates) {
      const isItself = signing.includes(signer.fingerprint)
      if (signer.subject !== list.issuer || (isItself && !answersForItself(link, signer))) continue
      try {
        checkKeyUsage(signer, 'cRLSign')
        if (!(await signedBy(signer))) continue
        if (signer === issuer || signer === anchor || isItself) return true
        if (signing.length >= SIGNERS_DEPTH_MAX) continue
        const below = [...signing, signer.fingerprint]
        const onlyThis: Pool = { anchors: new Map([[anchor.subject, [anchor]]]), others: pool.others }
        const built = await buildPath(signer, onlyThis, { at, accept: (path) => check(path, below) }, budget)
        if (!('failure' in built)) return true
      } catch (error) {
        if (!(error instanceof PathRefusal) || error.failure.reason === 'pathTooMuchWork') throw error
      }
    }
    return false
  }

  async function askResponders(link: Link, issuer: Link): Promise<BasicResponse | undefined> {
    if (port.askResponder === undefined) return undefined
    for (const uri of responders(link)) {
      if (!mayFetch(`${uri} ${link.fingerprint}`)) continue
      const hashes = issuerHashes(issuer.certificate, 'sha1')
      const request = encodeOCSPRequest([encodeCertID(hashes, link.certificate.serialNumber)], nonce)
      const der = await port.askResponder(uri, request)
      const answer = der === undefined ? undefined : readAnswer(der)
      if (answer !== undefined) return answer
    }
    return undefined
  }

  async function fetchLists(link: Link): Promise<boolean> {
    let found = false
    for (const uri of distributionPoints(link)) {
      if (port.fetchList === undefined || !mayFetch(uri)) continue
      const der = await port.fetchList(uri)
      const list = der === undefined ? undefined : readList(der, input.strict)
      if (list === undefined) continue
      lists.push(list)
      found = true
    }
    return found
  }

  function mayFetch(what: string): boolean {
    if (fetched.has(what) || fetched.size >= FETCHES_MAX) return false
    fetched.add(what)
    return true
  }

  return { check: (path) => check(path), statusOf: ({ fingerprint }) => known.get(fingerprint) }
}

/** The authority above named the signer for the signer's own state (PKITS 4.14.30); nobody else can be asked then. */
const answersForItself = (link: Link, signer: Link): boolean =>
  link.fingerprint === signer.fingerprint &&
  (link.extension(crlDistributionPoints) ?? []).some(({ cRLIssuer = [] }) =>
    cRLIssuer.some((name) => name.type === 'directoryName' && comparableKey(name.value) === signer.subject),
  )

const better = (a: Status | undefined, b: Status | undefined): Status => {
  if (b !== undefined && b.state !== 'unknown') return b
  return a ?? b ?? { state: 'unknown', detail: 'there is no list and no answer' }
}

function readList(der: Uint8Array, strict: boolean | undefined): List | undefined {
  const list = readable(() => parseCertificateList(der))
  return list && listOf(list, strict)
}

function readAnswer(der: Uint8Array): BasicResponse | undefined {
  const response = readable(() => parseOCSPResponse(der))
  return response?.type === 'answer' ? response.answer : undefined
}

/** Only plain HTTP: what is fetched is signed, and to fetch it by TLS would need this very answer (RFC 5280, 8). */
const isFetchable = (uri: string): boolean => /^http:\/\//i.test(uri)

const responders = (link: Link): readonly string[] =>
  (link.extension(authorityInfoAccess) ?? []).flatMap(({ accessMethod, accessLocation: { type, value } }) =>
    accessMethod === accessMethods.ocsp && type === 'uniformResourceIdentifier' && isFetchable(value) ? [value] : [],
  )

const distributionPoints = (link: Link): readonly string[] =>
  [...(link.extension(crlDistributionPoints) ?? []), ...(link.extension(freshestCRL) ?? [])].flatMap(({ distributionPoint }) =>
    distributionPoint?.type === 'fullName'
      ? distributionPoint.value.flatMap(({ type, value }) =>
          type === 'uniformResourceIdentifier' && isFetchable(value) ? [value] : [],
        )
      : [],
  )
