/**
 * Certificate policies along a path, as a graph: each level has one node per policy, so that a path of many policies
 * and mappings costs their product and not their power.
 *
 * Source: RFC 9618, 5 (which replaces the policy tree of RFC 5280, 6.1).
 *
 * @module
 */
export const ANY_POLICY = '2.5.29.32.0'

interface Node {
  readonly validPolicy: string
  /** Policies of the next certificate that this one leads to. */
  expected: ReadonlySet<string>
  /** Of the level above; none for the root alone. */
  readonly parents: readonly Node[]
}

type Level = Map<string, Node>

export interface PolicyGraph {
  /** RFC 9618, 5.3 (d) and (e). @param policies of the extension, undefined when there is none */
  addCertificate(policies: readonly string[] | undefined, mayUseAnyPolicy: boolean): void
  /** RFC 9618, 5.4 (b) @param mappings issuer's policy to those of the subject */
  map(mappings: ReadonlyMap<string, ReadonlySet<string>>, mayMap: boolean): void
  /** Nothing is left of it: no policy holds all the way. */
  readonly isEmpty: boolean
  /** RFC 9618, 5.5 (g) @param initial the policies that the user accepts; undefined for any */
  userConstrained(initial: ReadonlySet<string> | undefined): ReadonlySet<string>
}

export function policyGraph(): PolicyGraph {
  let levels: Level[] | undefined = [new Map([[ANY_POLICY, node(ANY_POLICY, [])]])]

  function nextLevel(above: Level, policies: readonly string[], mayUseAnyPolicy: boolean): Level {
    const leading = new Map<string, Node[]>() // by the policy that is expected next
    for (const one of above.values()) {
      for (const policy of one.expected) {
        const known = leading.get(policy)
        if (known === undefined) leading.set(policy, [one])
        else known.push(one)
      }
    }
    const any = above.get(ANY_POLICY)
    const level: Level = new Map()
    for (const policy of policies) {
      if (policy === ANY_POLICY) continue
      const parents = leading.get(policy) ?? (any && [any])
      if (parents !== undefined) level.set(policy, node(policy, parents))
    }
    if (mayUseAnyPolicy && policies.includes(ANY_POLICY)) {
      for (const [policy, parents] of leading) if (!level.has(policy)) level.set(policy, node(policy, parents))
    }
    return level
  }

  /** Takes away what has no child below, level by level up. */
  function prune(): void {
    if (levels === undefined) return
    for (let depth = levels.length - 2; depth >= 0; depth--) {
      const used = new Set<Node>()
      for (const { parents } of (levels[depth + 1] as Level).values()) for (const parent of parents) used.add(parent)
      const level = levels[depth] as Level
      for (const [policy, one] of level) if (!used.has(one)) level.delete(policy)
    }
    if (levels[0]?.size === 0 || levels.at(-1)?.size === 0) levels = undefined
  }

  return {
    addCertificate(policies, mayUseAnyPolicy) {
      if (levels === undefined) return
      if (policies === undefined) levels = undefined
      else {
        levels.push(nextLevel(levels.at(-1) as Level, policies, mayUseAnyPolicy))
        prune()
      }
    },
    map(mappings, mayMap) {
      if (levels === undefined) return
      const level = levels.at(-1) as Level
      const any = level.get(ANY_POLICY)
      for (const [policy, subjectPolicies] of mappings) {
        const mapped = level.get(policy)
        if (!mayMap) level.delete(policy)
        else if (mapped !== undefined) mapped.expected = subjectPolicies
        else if (any !== undefined) level.set(policy, { validPolicy: policy, expected: subjectPolicies, parents: any.parents })
      }
      prune()
    },
    get isEmpty() {
      return levels === undefined
    },
    userConstrained(initial) {
      const found = new Set<string>()
      if (levels === undefined) return found
      for (const level of levels.slice(1)) {
        for (const { validPolicy, parents } of level.values()) {
          if (validPolicy !== ANY_POLICY && parents.length === 1 && parents[0]?.validPolicy === ANY_POLICY) found.add(validPolicy)
        }
      }
      if (levels.at(-1)?.has(ANY_POLICY) === true) found.add(ANY_POLICY)
      if (initial === undefined) return found
      return found.has(ANY_POLICY) ? initial : found.intersection(initial)
    },
  }
}

const node = (validPolicy: string, parents: readonly Node[]): Node => ({ validPolicy, expected: new Set([validPolicy]), parents })
