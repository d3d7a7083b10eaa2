/** NIST's interoperability suite whole: what diverges is written down with its reason, and checked. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pathReasons } from './reasons.ts'
import divergences from './testdata/divergences.json' with { type: 'json' }
import pkits from './testdata/pkits.json' with { type: 'json' }
import { type VerifyInput, verifyCertificate } from './verify.ts'

interface Row {
  readonly test: string
  readonly path: readonly string[]
  readonly lists: readonly string[]
  readonly valid: boolean
  readonly policies?: readonly string[]
  readonly requireExplicitPolicy?: boolean
  readonly inhibitPolicyMapping?: boolean
  readonly inhibitAnyPolicy?: boolean
}

/** Within the validity of all that is meant to be valid. */
const AT = new Date('2015-06-01T00:00:00Z')

const der = (from: Readonly<Record<string, string>>, name: string): Uint8Array => Uint8Array.fromBase64(from[name] as string)

function inputOf({ path, lists, policies, requireExplicitPolicy, inhibitPolicyMapping, inhibitAnyPolicy }: Row): VerifyInput {
  const certificates = path.map((name) => der(pkits.certificates, name))
  return {
    certificate: certificates.at(-1) as Uint8Array,
    anchors: certificates.slice(0, 1),
    intermediates: certificates.slice(1, -1),
    at: AT,
    policies: policies && new Set(policies),
    requireExplicitPolicy: requireExplicitPolicy === true,
    inhibitPolicyMapping: inhibitPolicyMapping === true,
    inhibitAnyPolicy: inhibitAnyPolicy === true,
    revocation: { demand: 'required', lists: lists.map((name) => der(pkits.lists, name)) },
  }
}

const sectionOf = (row: Row): string => row.test.split(' ', 1)[0] as string
const known: Readonly<Record<string, string>> = divergences.pkits

test('R1: PKITS has all of its sections here', () => {
  const sections = new Set((pkits.tests as readonly Row[]).map((row) => row.test.split('.').slice(0, 2).join('.')))
  assert.deepEqual(
    [...sections],
    Array.from({ length: 16 }, (_, i) => `4.${i + 1}`),
  )
  assert.equal(pkits.tests.length, 249)
})

for (const row of pkits.tests as readonly Row[]) {
  test(`R1: PKITS ${row.test}`, async () => {
    const expected = row.valid !== sectionOf(row) in known
    for (const strict of [false, true]) {
      const verdict = await verifyCertificate({ ...inputOf(row), strict })
      assert.equal(verdict.valid, expected, verdict.valid ? 'accepted' : verdict.failure.reason)
      if (!verdict.valid) assert.ok(verdict.failure.reason in pathReasons)
    }
  })
}

const everyCertificate = Object.keys(pkits.certificates).map((name) => der(pkits.certificates, name))

test('R1: PKITS is decided the same when the path must be found among all 405 certificates', async () => {
  for (const row of pkits.tests as readonly Row[]) {
    const input = inputOf(row)
    // among all, another path than the test's own may hold, so only what is valid is asked for
    if (!row.valid || sectionOf(row) in known) continue
    const verdict = await verifyCertificate({ ...input, intermediates: everyCertificate })
    assert.ok(verdict.valid, `${row.test}: ${verdict.valid ? '' : verdict.failure.reason}`)
  }
})
