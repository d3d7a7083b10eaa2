/** The graph of RFC 9618 against the tree that it replaces, and where the tree would not end. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ANY_POLICY, policyGraph } from './policy-graph.ts'

/** The tree of RFC 5280, 6.1.2 (a) to 6.1.5 (g), node by node as it is written there. */
interface Leaf {
  readonly policy: string
  expected: readonly string[]
  readonly parent: Leaf | undefined
  readonly depth: number
}

function policyTree() {
  let nodes: Leaf[] = [{ policy: ANY_POLICY, expected: [ANY_POLICY], parent: undefined, depth: 0 }]
  let depth = 0
  const at = (level: number): Leaf[] => nodes.filter((node) => node.depth === level)
  const prune = (): void => {
    for (let level = depth - 1; level >= 0; level--) {
      const parents = new Set(at(level + 1).map(({ parent }) => parent))
      nodes = nodes.filter((node) => node.depth !== level || parents.has(node))
    }
  }
  return {
    addCertificate(policies: readonly string[] | undefined, mayUseAnyPolicy: boolean): void {
      if (nodes.length === 0) return
      if (policies === undefined) {
        nodes = []
        return
      }
      const above = at(depth)
      depth++
      const add = (policy: string, parent: Leaf): void => void nodes.push({ policy, expected: [policy], parent, depth })
      for (const policy of policies.filter((one) => one !== ANY_POLICY)) {
        const matching = above.filter(({ expected }) => expected.includes(policy))
        for (const parent of matching) add(policy, parent)
        if (matching.length === 0) for (const parent of above.filter((node) => node.policy === ANY_POLICY)) add(policy, parent)
      }
      if (mayUseAnyPolicy && policies.includes(ANY_POLICY)) {
        for (const parent of above) {
          const children = new Set(at(depth).flatMap((node) => (node.parent === parent ? [node.policy] : [])))
          for (const policy of parent.expected) if (!children.has(policy)) add(policy, parent)
        }
      }
      prune()
    },
    map(mappings: ReadonlyMap<string, ReadonlySet<string>>, mayMap: boolean): void {
      for (const [policy, to] of mappings) {
        const mapped = at(depth).filter((node) => node.policy === policy)
        if (!mayMap) nodes = nodes.filter((node) => !mapped.includes(node))
        else if (mapped.length > 0) for (const node of mapped) node.expected = [...to]
        else {
          const any = at(depth).find((node) => node.policy === ANY_POLICY)
          if (any !== undefined) nodes.push({ policy, expected: [...to], parent: any.parent, depth })
        }
      }
      prune()
    },
    isEmpty: () => nodes.length === 0 || at(depth).length === 0,
    userConstrained(initial: ReadonlySet<string> | undefined): Set<string> {
      const domain = nodes.filter(({ policy, parent }) => parent?.policy === ANY_POLICY && policy !== ANY_POLICY)
      const found = new Set(domain.map(({ policy }) => policy))
      if (at(depth).some(({ policy }) => policy === ANY_POLICY) && depth > 0) found.add(ANY_POLICY)
      if (initial === undefined) return found
      return found.has(ANY_POLICY) ? new Set(initial) : found.intersection(initial)
    },
  }
}

const policy = fc.constantFrom('1.1', '1.2', '1.3', '1.4')
const level = fc.record({
  policies: fc.option(fc.uniqueArray(fc.oneof({ weight: 4, arbitrary: policy }, fc.constant(ANY_POLICY)), { maxLength: 4 }), {
    nil: undefined,
    freq: 9,
  }),
  mayUseAnyPolicy: fc.boolean(),
  mappings: fc.array(fc.tuple(policy, fc.uniqueArray(policy, { minLength: 1, maxLength: 3 })), { maxLength: 3 }),
  mayMap: fc.boolean(),
})

test('R1: the graph decides as the tree does', () => {
  fc.assert(
    fc.property(fc.array(level, { maxLength: 5 }), fc.option(fc.uniqueArray(policy), { nil: undefined }), (levels, accepted) => {
      const [graph, tree] = [policyGraph(), policyTree()]
      for (const { policies, mayUseAnyPolicy, mappings, mayMap } of levels) {
        const map = new Map(mappings.map(([from, to]) => [from, new Set(to)] as const))
        graph.addCertificate(policies, mayUseAnyPolicy)
        tree.addCertificate(policies, mayUseAnyPolicy)
        assert.equal(graph.isEmpty, tree.isEmpty())
        graph.map(map, mayMap)
        tree.map(map, mayMap)
        assert.equal(graph.isEmpty, tree.isEmpty())
      }
      if (graph.isEmpty || levels.length === 0) return
      const initial = accepted && new Set(accepted)
      assert.deepEqual([...graph.userConstrained(initial)].toSorted(), [...tree.userConstrained(initial)].toSorted())
    }),
    { numRuns: 3000 },
  )
})

test('R1: every policy mapped to every other, sixteen deep, is decided at once', () => {
  const policies = Array.from({ length: 200 }, (_, i) => `1.3.${i}`)
  const all = new Map(policies.map((one) => [one, new Set(policies)] as const))
  const graph = policyGraph()
  for (let depth = 0; depth < 16; depth++) {
    graph.addCertificate(policies, false)
    graph.map(all, true)
  }
  graph.addCertificate(policies, false)
  // the tree would have 200 to the power of 17 leaves
  assert.equal(graph.userConstrained(undefined).size, 200)
})
