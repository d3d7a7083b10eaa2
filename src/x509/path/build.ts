/**
 * Ways from a certificate up to an anchor, the likeliest first. Each signature on the way is checked as it is walked,
 * so that what comes out needs only its rules checked.
 *
 * Source: RFC 4158, 2 and 3: names chain, key identifiers order the candidates, no name with the same key twice.
 *
 * @module
 */
import { type Budget, DEPTH_MAX } from './budget.ts'
import { checkPath, type PathRules } from './check.ts'
import type { Link } from './link.ts'
import { type PathFailure, PathRefusal } from './reasons.ts'

/** Certificates by the name that the certificates below them know. */
export interface Pool {
  readonly anchors: ReadonlyMap<string, readonly Link[]>
  /** None of them an anchor. */
  readonly others: ReadonlyMap<string, readonly Link[]>
}

export function poolOf(anchors: readonly Link[], others: readonly Link[]): Pool {
  const known = new Set(anchors.map(identityOf))
  const seen = new Set<string>()
  const fresh = others.filter((link) => !known.has(identityOf(link)) && !seen.has(link.fingerprint) && seen.add(link.fingerprint))
  return { anchors: Map.groupBy(anchors, ({ subject }) => subject), others: Map.groupBy(fresh, ({ subject }) => subject) }
}

/** RFC 4158, 2.4.2: the same name with the same key is the same authority, whoever certified it. */
const identityOf = ({ subject, certificate }: Link): string => `${subject} ${certificate.subjectPublicKeyInfo.toHex()}`

export interface BuildOptions extends PathRules {
  /** Authorities between the anchor and the end. */
  readonly depthMax?: number
  /** What else a path must bear. @throws PathRefusal */
  readonly accept: (path: readonly Link[]) => Promise<void> | void
}

export type Built =
  | { readonly path: readonly Link[]; readonly policies: ReadonlySet<string> }
  | { readonly path: readonly Link[]; readonly failure: PathFailure }

/**
 * The first path that holds, or why the most promising one does not.
 *
 * @throws PathRefusal `pathTooMuchWork` when nothing was found that says more
 */
export async function buildPath(target: Link, pool: Pool, options: BuildOptions, budget: Budget): Promise<Built> {
  let nearest: { readonly path: readonly Link[]; readonly failure: PathFailure; readonly rank: number } | undefined
  const fell = (path: readonly Link[], failure: PathFailure, rank: number): void => {
    if (nearest === undefined || rank > nearest.rank) nearest = { path, failure, rank }
  }
  try {
    for await (const path of pathsFrom(target, pool, options, budget, fell)) {
      budget.spend('paths', target.label)
      try {
        const policies = checkPath(path, options, budget)
        await options.accept(path)
        return { path, policies }
      } catch (error) {
        if (!(error instanceof PathRefusal)) throw error
        fell(path, error.failure, COMPLETE)
        if (error.failure.reason === 'pathTooMuchWork') break
      }
    }
  } catch (error) {
    if (!(error instanceof PathRefusal)) throw error
    fell([target], error.failure, EXHAUSTED)
  }
  const { path, failure } = nearest as NonNullable<typeof nearest>
  return { path, failure }
}

/** A complete path says more than a piece of one, and work that ran out says more than that. */
const COMPLETE = 3 * DEPTH_MAX
const EXHAUSTED = 2 * DEPTH_MAX

type Fell = (path: readonly Link[], failure: PathFailure, rank: number) => void

/** Depth first. Every path is anchor first. */
async function* pathsFrom(
  target: Link,
  pool: Pool,
  { at, depthMax = DEPTH_MAX }: BuildOptions,
  budget: Budget,
  fell: Fell,
): AsyncGenerator<readonly Link[]> {
  const same = pool.anchors.get(target.subject)?.find(({ fingerprint }) => fingerprint === target.fingerprint)
  if (same !== undefined) yield [same]

  async function* above(path: readonly [Link, ...Link[]], used: ReadonlySet<string>): AsyncGenerator<readonly Link[]> {
    const [top] = path
    const missing = new PathRefusal('pathIssuerMissing', top.label, { issuer: top.issuerLabel || '(no name)' })
    const anchors = ordered(top, pool.anchors.get(top.issuer) ?? [], at)
    const others = ordered(top, pool.others.get(top.issuer) ?? [], at).filter((link) => !used.has(identityOf(link)))
    if (anchors.length + others.length === 0) fell(path, missing.failure, path.length)
    for (const issuer of [...anchors, ...others]) {
      budget.spend('steps', target.label)
      const isAnchor = anchors.includes(issuer)
      if (!isAnchor && path.length > Math.min(depthMax, DEPTH_MAX)) {
        fell(path, new PathRefusal('pathTooDeep', target.label, { limit: Math.min(depthMax, DEPTH_MAX) }).failure, path.length)
        continue
      }
      try {
        if (!(await budget.signedCertificate(top, issuer)))
          throw new PathRefusal('pathSignature', top.label, { issuer: issuer.label })
      } catch (error) {
        if (!(error instanceof PathRefusal) || error.failure.reason === 'pathTooMuchWork') throw error
        fell(path, error.failure, path.length + 0.5) // says more than that another issuer is missing
        continue
      }
      const longer = [issuer, ...path] as const
      if (isAnchor) yield longer
      else yield* above(longer, new Set([...used, identityOf(issuer)]))
    }
  }
  yield* above([target], new Set([identityOf(target)]))
}

/** RFC 4158, 3.5: those whose key identifier fits, then those that are valid now, then the newest. */
function ordered(below: Link, candidates: readonly Link[], at: Date): readonly Link[] {
  if (candidates.length < 2) return candidates
  const rank = ({ keyIdentifier, certificate: { notBefore, notAfter } }: Link): number => {
    const fits =
      below.issuerKeyIdentifier === undefined || keyIdentifier === undefined
        ? 1
        : below.issuerKeyIdentifier === keyIdentifier
          ? 2
          : 0
    return fits * 2 + (notBefore <= at && at <= notAfter ? 1 : 0)
  }
  return candidates.toSorted((a, b) => rank(b) - rank(a) || b.certificate.notBefore.getTime() - a.certificate.notBefore.getTime())
}
