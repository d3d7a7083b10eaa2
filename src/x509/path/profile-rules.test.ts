/** Each rule for those who issue, broken by a certificate that breaks it first. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accessAt, authorityInfoAccess } from '../extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import { basicConstraints } from '../extensions/basic-constraints.ts'
import { inhibitAnyPolicy, policyConstraints } from '../extensions/certificate-policies.ts'
import { crlDistributionPoints } from '../extensions/crl-distribution-points.ts'
import { type Extension, extensionWith } from '../extensions/extension.ts'
import type { GeneralName } from '../extensions/general-name.ts'
import { keyUsage } from '../extensions/key-usage.ts'
import { nameConstraints } from '../extensions/name-constraints.ts'
import { subjectAltName } from '../extensions/subject-alternative-name.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '../extensions/subject-key-identifier.ts'
import { encodeName } from '../name.ts'
import { makeCertificate } from '../testing.ts'
import { linkOf } from './link.ts'
import { checkProfile, profileRules } from './profile-rules.ts'
import { PathRefusal } from './reasons.ts'
import { certify, type Certifying, derName, party } from './testing.ts'

const [root, holder] = [party('Root'), party('Holder')]
const anchor = await certify(root, root, { isAuthority: true })
const keyIdentifier = keyIdentifierOf(root.key.publicKey.subjectPublicKey)
const names = (...values: GeneralName[]): Extension => extensionWith(subjectAltName, values)
const authority = (...extensions: Extension[]): Certifying => ({ isAuthority: true, extensions })
const without = (...ids: { readonly oid: string }[]): Extension[] =>
  ids.map(({ oid }) => ({ extnID: oid, critical: false, extnValue: new Uint8Array() }))

/** Below the root, by the words of the rule that is broken. */
const broken: readonly [rule: RegExp, given: Certifying][] = [
  [/^a serial number/, { serialNumber: new Uint8Array(21).fill(1) }],
  [/^an authority has a name/, { isAuthority: true, subject: encodeName([]) }],
  [/^a certificate without a subject/, { subject: encodeName([]), extensions: [names({ type: 'dNSName', value: 'a.example' })] }],
  [/^authorityKeyIdentifier is there/, { extensions: [extensionWith(authorityKeyIdentifier, {})] }],
  [/^authorityKeyIdentifier is not critical/, { extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier }, true)] }],
  [
    /^authorityKeyIdentifier names both/,
    { extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier, authorityCertSerialNumber: Uint8Array.of(7) })] },
  ],
  [
    /^authorityKeyIdentifier is the subjectKeyIdentifier/,
    { extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier: Uint8Array.of(1, 2, 3) })] },
  ],
  [/^subjectKeyIdentifier is not critical/, { extensions: [extensionWith(subjectKeyIdentifier, Uint8Array.of(1), true)] }],
  [/^keyUsage sets/, { extensions: [extensionWith(keyUsage, [])] }],
  [/^only authorities have the key usage/, { extensions: [extensionWith(keyUsage, ['keyCertSign'])] }],
  [/^host names/, { extensions: [names({ type: 'dNSName', value: 'press_7.example' })] }],
  [/^mail addresses/, { extensions: [names({ type: 'rfc822Name', value: 'Ada <ada@plant.example>' })] }],
  [/^addresses/, { extensions: [names({ type: 'iPAddress', value: Uint8Array.of(10, 0, 0) })] }],
  [/^pathLenConstraint/, { extensions: [extensionWith(basicConstraints, { cA: false, pathLenConstraint: 1 }, true)] }],
  [
    /^nameConstraints is critical/,
    authority(extensionWith(nameConstraints, { permittedSubtrees: limit('plant.example') }, false)),
  ],
  [/^nameConstraints has/, authority(extensionWith(nameConstraints, { permittedSubtrees: limit('.plant.example') }))],
  [/^policyConstraints/, authority(extensionWith(policyConstraints, {}))],
  [/^inhibitAnyPolicy/, authority(extensionWith(inhibitAnyPolicy, 0, false))],
  [/^a distribution point/, { extensions: [extensionWith(crlDistributionPoints, [{ reasons: ['keyCompromise'] }])] }],
  [
    /^authorityInfoAccess and/,
    { extensions: [extensionWith(authorityInfoAccess, [accessAt('ocsp', 'http://a.example')], true)] },
  ],
]

function limit(value: string) {
  return [{ base: { type: 'dNSName', value } as const, minimum: 0 }]
}

/** These have a certificate of their own, made otherwise. */
const special: readonly [rule: RegExp, chain: () => Promise<readonly Uint8Array[]>][] = [
  [/^an issuer has a name/, async () => [await makeCertificate(root.key, { issuer: encodeName([]), subject: derName('Root') })]],
  [
    /^an authority has a subjectKeyIdentifier/,
    async () => [
      await makeCertificate(root.key, {
        issuer: derName('Root'),
        subject: derName('Root'),
        extensions: [extensionWith(basicConstraints, { cA: true }, true)],
      }),
    ],
  ],
  [
    /^basicConstraints of a root/,
    async () => [await certify(root, root, { extensions: [extensionWith(basicConstraints, { cA: true }, false)] })],
  ],
]

function brokenRule(chain: readonly Uint8Array[]): string | undefined {
  try {
    checkProfile(chain.map((der) => linkOf(der)))
    return undefined
  } catch (error) {
    assert.ok(error instanceof PathRefusal)
    return String(error.failure.facts['rule'])
  }
}

test('what is as it should be breaks none', async () => {
  assert.equal(brokenRule([anchor, await certify(root, holder)]), undefined)
  assert.equal(brokenRule([anchor, await certify(root, holder, { isAuthority: true })]), undefined)
})

for (const [rule, given] of broken) {
  test(`strict: ${rule.source}`, async () => {
    assert.match(brokenRule([anchor, await certify(root, holder, given)]) ?? 'none', rule)
  })
}

for (const [rule, chain] of special) {
  test(`strict: ${rule.source}`, async () => {
    assert.match(brokenRule(await chain()) ?? 'none', rule)
  })
}

test('every rule is broken above, and a known extension that cannot be read is refused', async () => {
  const tested = [...broken, ...special].map(([rule]) => rule)
  for (const { rule } of profileRules)
    assert.ok(
      tested.some((one) => one.test(rule)),
      rule,
    )
  const unreadable = await certify(root, holder, { extensions: without(authorityInfoAccess) })
  assert.throws(
    () => checkProfile([anchor, unreadable].map((der) => linkOf(der))),
    (error: PathRefusal) => error.failure.reason === 'pathUnreadable',
  )
})
