/** Each rule has a certificate that fails it and no other; the one that all are made from fails none. */
import assert from 'node:assert/strict'
import { checkPrimeSync, createPublicKey, generateKeyPairSync, generatePrimeSync } from 'node:crypto'
import { test } from 'node:test'
import { importPublicKey, type PublicKey, SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode } from '#asn1/codec.ts'
import { type Certificate, encodeTBSCertificate, parseCertificate, type TBSCertificateFields } from '#x509/certificate.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { nameOf, type StringEncoding } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import type { Profile } from '../profile.ts'
import { issuing } from '../profiles/issuing.ts'
import { ldevid } from '../profiles/ldevid.ts'
import { root } from '../profiles/root.ts'
import { weakKeyHash } from '../weak-keys.ts'
import { lintRules } from './registry.ts'
import type { LintRule } from './rule.ts'

const ecKey = (namedCurve: string): PublicKey => importPublicKey(spki(generateKeyPairSync('ec', { namedCurve }).publicKey))
const spki = (key: { export(options: { type: 'spki'; format: 'der' }): Buffer }): Uint8Array =>
  new Uint8Array(key.export({ type: 'spki', format: 'der' }))

const key = ecKey('P-256')
const caKeyIdentifier = new Uint8Array(20).fill(7)
const day = 86_400_000
const now = Date.UTC(2026, 0, 1)

type Part = keyof typeof parts
const parts = {
  basicConstraints: encodeExtension(basicConstraints, { cA: false }, true),
  keyUsage: encodeExtension(keyUsage, ['digitalSignature'], true),
  authorityKeyIdentifier: encodeExtension(authorityKeyIdentifier, { keyIdentifier: caKeyIdentifier }),
  extKeyUsage: encodeExtension(extKeyUsage, ldevid.extendedKeyUsage),
}

const issuerWith = (constraints: { readonly pathLenConstraint?: number }): Certificate =>
  build({
    fields: {
      serialNumber: new Uint8Array(16).fill(3),
      subject: nameOf([{ type: 'CN', value: 'Issuer' }]),
      validity: { notBefore: new Date(now - day), notAfter: new Date(now + 900 * day) },
    },
    extensions: [
      encodeExtension(basicConstraints, { cA: true, ...constraints }, true),
      encodeExtension(keyUsage, ['keyCertSign', 'cRLSign'], true),
      encodeExtension(subjectKeyIdentifier, caKeyIdentifier),
      encodeExtension(authorityKeyIdentifier, { keyIdentifier: caKeyIdentifier }),
    ],
  })
const issuer = issuerWith({})

/** An authority below `issuer`. */
const authorityWith = (constraints: { readonly pathLenConstraint?: number }): Certificate =>
  build({
    change: {
      basicConstraints: encodeExtension(basicConstraints, { cA: true, ...constraints }, true),
      keyUsage: encodeExtension(keyUsage, ['keyCertSign', 'cRLSign'], true),
      extKeyUsage: undefined,
    },
    add: [encodeExtension(subjectKeyIdentifier, new Uint8Array(20).fill(9))],
  })

interface Case {
  readonly fields?: Partial<TBSCertificateFields>
  /** Replaces or removes parts of a sound certificate. */
  readonly change?: Partial<Record<Part, Uint8Array | undefined>>
  readonly add?: readonly Uint8Array[]
  /** Instead of all parts. */
  readonly extensions?: readonly Uint8Array[]
}

function build({ fields = {}, change = {}, add = [], extensions }: Case): Certificate {
  const kept = extensions ?? [
    ...Object.entries({ ...parts, ...change })
      .map(([, part]) => part)
      .filter((part) => part !== undefined),
    ...add,
  ]
  const tbs = encodeTBSCertificate({
    serialNumber: new Uint8Array(16).fill(5),
    signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
    issuer: nameOf([{ type: 'CN', value: 'Issuer' }]),
    validity: { notBefore: new Date(now), notAfter: new Date(now + 300 * day) },
    subject: nameOf([{ type: 'serialNumber', value: 'A-1' }]),
    subjectPublicKeyInfo: key.spki,
    extensions: kept,
    ...fields,
  })
  return parseCertificate(
    encodeSigned(tbs, fields.signatureAlgorithm ?? signatureIdentifier('ecdsa-sha256'), Uint8Array.of(0x30, 0)),
  )
}

function failing(
  certificate: Certificate,
  {
    profile = ldevid,
    publicKey = key,
    of = issuer,
    weakKeys = new Set(),
  }: { profile?: Profile; publicKey?: PublicKey; of?: Certificate; weakKeys?: ReadonlySet<string> } = {},
): string[] {
  const rules: readonly LintRule[] = lintRules
  return rules
    .filter((rule) => rule.check({ certificate, publicKey, profile, issuer: of, weakKeys }) !== undefined)
    .map(({ id }) => id)
}

test('a sound RSA key fails no rule', () => {
  assert.deepEqual(failing(build({}), { publicKey: rsaKey(soundModulus) }), [])
})

test('a sound certificate fails no rule', () => {
  assert.ok(lintRules.length >= 11)
  assert.deepEqual(failing(build({})), [])
})

test('an authority within the depth that its issuer allows fails no rule', () => {
  const of = issuerWith({ pathLenConstraint: 1 })
  assert.deepEqual(failing(authorityWith({ pathLenConstraint: 0 }), { profile: issuing, of }), [])
  assert.deepEqual(failing(authorityWith({}), { profile: issuing }), [])
})

const p384 = ecKey('P-384')

/** An attribute as no CA writes it. */
const subjectWith = (type: string, value: string, encoding: StringEncoding): Certificate =>
  build({ fields: { subject: [...nameOf([{ type: 'serialNumber', value: 'A-1' }]), [{ type, value, encoding }]] } })

/** An RSA key that {@link importPublicKey} would not let in. */
function rsaKey(n: bigint, e = 65537n): PublicKey {
  const octets = (value: bigint): string => {
    const hex = value.toString(16)
    return Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex').toString('base64url')
  }
  const made = createPublicKey({ key: { kty: 'RSA', n: octets(n), e: octets(e) }, format: 'jwk' })
  const der = spki(made)
  return { algorithm: 'rsa-2048', spki: der, subjectPublicKey: decode(SubjectPublicKeyInfo, der).subjectPublicKey, key: made }
}

const soundModulus = BigInt(
  `0x${Buffer.from(String(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }).n), 'base64url').toString('hex')}`,
)
const smallPrimes = Array.from({ length: 750 }, (_, n) => n + 2).filter((n) => {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false
  return true
})
const hasSmallFactor = (n: bigint): boolean => smallPrimes.some((prime) => n % BigInt(prime) === 0n)

/** A modulus as ROCA makes it: a power of 65537 by all small primes to 167 (CVE-2017-15361). */
function rocaModulus(): bigint {
  const primorial = smallPrimes.filter((prime) => prime <= 167).reduce((product, prime) => product * BigInt(prime), 1n)
  let modulus = (soundModulus / primorial) * primorial + 65537n ** 5n
  while (hasSmallFactor(modulus)) modulus -= primorial
  return modulus
}

/** Two primes next to each other. */
function closeModulus(): bigint {
  const p = generatePrimeSync(1024, { bigint: true })
  let q = p + 2n
  while (!checkPrimeSync(q)) q += 2n
  return p * q
}

const cases: readonly {
  rule: (typeof lintRules)[number]['id']
  name: string
  made: Certificate
  with?: Parameters<typeof failing>[1]
}[] = [
  { rule: 'version', name: 'version 1', made: { ...build({}), version: 1 } },
  { rule: 'serial-number', name: 'a short serial number', made: build({ fields: { serialNumber: Uint8Array.of(5) } }) },
  { rule: 'serial-number', name: '21 octets', made: build({ fields: { serialNumber: new Uint8Array(21).fill(5) } }) },
  {
    rule: 'serial-number',
    name: 'a negative serial number',
    made: { ...build({}), serialNumber: new Uint8Array(16).fill(0x85) },
  },
  { rule: 'issuer-name', name: 'another issuer', made: build({ fields: { issuer: nameOf([{ type: 'CN', value: 'Other' }]) } }) },
  { rule: 'issuer-name', name: 'no issuer', made: build({ fields: { issuer: nameOf([]) } }) },
  {
    rule: 'validity',
    name: 'outlives its issuer',
    made: build({ fields: { validity: { notBefore: new Date(now), notAfter: new Date(now + 901 * day) } } }),
  },
  {
    rule: 'validity',
    name: 'ends before it begins',
    made: build({ fields: { validity: { notBefore: new Date(now), notAfter: new Date(now) } } }),
  },
  { rule: 'subject', name: 'nobody is named', made: build({ fields: { subject: nameOf([]) } }) },
  {
    rule: 'subject',
    name: 'only a subjectAltName that is not critical',
    made: build({
      fields: { subject: nameOf([]) },
      add: [encodeExtension(subjectAltName, [{ type: 'dNSName', value: 'a.example' }])],
    }),
  },
  {
    rule: 'name-length',
    name: 'a common name of 65 characters',
    made: build({ fields: { subject: nameOf([{ type: 'CN', value: 'x'.repeat(65) }]) } }),
  },
  {
    rule: 'key-strength',
    name: 'a key that the profile does not offer',
    made: build({ fields: { subjectPublicKeyInfo: p384.spki } }),
    with: { publicKey: p384, profile: { ...ldevid, keyAlgorithms: ['ecdsa-p256'] } },
  },
  { rule: 'name-empty', name: 'an empty common name', made: subjectWith('2.5.4.3', '', 'utf8String') },
  { rule: 'name-country', name: 'a country in small letters', made: subjectWith('2.5.4.6', 'de', 'printableString') },
  { rule: 'name-encoding', name: 'a TeletexString', made: subjectWith('2.5.4.10', 'Old', 'teletexString') },
  { rule: 'name-encoding', name: 'a serial number that is no PrintableString', made: subjectWith('2.5.4.46', 'x', 'utf8String') },
  {
    rule: 'strings-control',
    name: 'NUL in a common name',
    made: subjectWith('2.5.4.3', 'bank.example\0.evil.example', 'utf8String'),
  },
  {
    rule: 'strings-control',
    name: 'NUL in a host name',
    made: build({ add: [encodeExtension(subjectAltName, [{ type: 'dNSName', value: 'bank.example\0.evil.example' }])] }),
  },
  { rule: 'repeated-attributes', name: 'two serial numbers', made: subjectWith('2.5.4.5', 'A-2', 'printableString') },
  {
    rule: 'repeated-extensions',
    name: 'keyUsage twice',
    made: { ...build({}), extensions: [...build({}).extensions, ...build({}).extensions.slice(1, 2)] },
  },
  { rule: 'rsa-exponent', name: 'the exponent 3', made: build({}), with: { publicKey: rsaKey(soundModulus, 3n) } },
  { rule: 'rsa-exponent', name: 'an even exponent', made: build({}), with: { publicKey: rsaKey(soundModulus, 65538n) } },
  {
    rule: 'rsa-small-factor',
    name: 'a modulus that 3 divides',
    made: build({}),
    with: { publicKey: rsaKey((soundModulus / 6n) * 6n + 3n) },
  },
  { rule: 'rsa-roca', name: "a modulus of Infineon's kind", made: build({}), with: { publicKey: rsaKey(rocaModulus()) } },
  { rule: 'rsa-close-primes', name: 'neighboring primes', made: build({}), with: { publicKey: rsaKey(closeModulus()) } },
  {
    rule: 'weak-key-list',
    name: 'a key that others have too',
    made: build({}),
    with: { publicKey: rsaKey(soundModulus), weakKeys: new Set(['0'.repeat(20), weakKeyHash(soundModulus)]) },
  },
  { rule: 'key-usage', name: 'no keyUsage', made: build({ change: { keyUsage: undefined } }) },
  {
    rule: 'key-usage',
    name: 'keyUsage not critical',
    made: build({ change: { keyUsage: encodeExtension(keyUsage, ['digitalSignature'], false) } }),
    with: {},
  },
  {
    rule: 'key-usage',
    name: 'a usage that is not in the profile',
    made: build({ change: { keyUsage: encodeExtension(keyUsage, ['digitalSignature', 'keyAgreement'], true) } }),
  },
  {
    rule: 'key-usage',
    name: 'an elliptic curve key that enciphers',
    made: build({ change: { keyUsage: encodeExtension(keyUsage, ['keyEncipherment'], true) } }),
    with: { profile: { ...ldevid, keyUsage: ['keyEncipherment'] } },
  },
  {
    rule: 'basic-constraints',
    name: 'an authority that its profile does not make',
    made: build({ change: { basicConstraints: encodeExtension(basicConstraints, { cA: true }, true) } }),
  },
  {
    rule: 'basic-constraints',
    name: 'keyCertSign without cA',
    made: build({ change: { keyUsage: encodeExtension(keyUsage, ['keyCertSign'], true) } }),
    with: { profile: { ...ldevid, keyUsage: ['keyCertSign'] } },
  },
  {
    rule: 'path-length',
    name: 'an authority below one that may have none',
    made: authorityWith({ pathLenConstraint: 0 }),
    with: { profile: issuing, of: issuerWith({ pathLenConstraint: 0 }) },
  },
  {
    rule: 'path-length',
    name: 'as deep as its issuer',
    made: authorityWith({ pathLenConstraint: 1 }),
    with: { profile: { ...issuing, pathLenConstraint: 1 }, of: issuerWith({ pathLenConstraint: 1 }) },
  },
  {
    rule: 'path-length',
    name: 'any depth below an issuer that says one',
    made: authorityWith({}),
    with: { profile: issuing, of: issuerWith({ pathLenConstraint: 1 }) },
  },
  {
    rule: 'key-identifiers',
    name: 'the issuer is not named by its key',
    made: build({ change: { authorityKeyIdentifier: undefined } }),
  },
  {
    rule: 'key-identifiers',
    name: "another key than the issuer's",
    made: build({
      change: { authorityKeyIdentifier: encodeExtension(authorityKeyIdentifier, { keyIdentifier: new Uint8Array(20) }) },
    }),
  },
  {
    rule: 'key-identifiers',
    name: 'an authority without a key identifier',
    made: build({
      extensions: [
        encodeExtension(basicConstraints, { cA: true }, true),
        encodeExtension(keyUsage, ['keyCertSign', 'cRLSign'], true),
        parts.authorityKeyIdentifier,
      ],
    }),
    with: { profile: issuing },
  },
  { rule: 'extensions', name: 'an unknown extension', made: build({ add: [encodeUnknown()] }) },
  {
    rule: 'extensions',
    name: 'a critical authorityKeyIdentifier',
    made: build({
      change: { authorityKeyIdentifier: encodeExtension(authorityKeyIdentifier, { keyIdentifier: caKeyIdentifier }, true) },
    }),
  },
]

/** Extension { 1.2.3.4, OCTET STRING { NULL } } */
function encodeUnknown(): Uint8Array {
  return Uint8Array.fromHex('300906032a030404020500')
}

for (const { rule, name, made, with: options } of cases) {
  test(`${rule}: ${name}`, () => {
    const failed = failing(made, options)
    // a criticality that a rule of its own checks is found by the general rule too
    assert.deepEqual(
      failed.filter((id) => id !== 'extensions' || rule === 'extensions'),
      [rule],
    )
  })
}

test('every rule has its certificate', () => {
  const shown = new Set<string>(cases.map(({ rule }) => rule))
  // no signature algorithm of the table is refused yet, and one that is not in the table does not parse as ours
  assert.deepEqual(
    lintRules.map(({ id }) => id).filter((id) => !shown.has(id)),
    ['signature-algorithm'],
  )
  const foreign = { ...build({}), signatureAlgorithm: Uint8Array.fromHex('300b06072a8648ce3d040105') }
  assert.throws(() => failing(foreign), { code: 'unsupported' })
})

test('a root fails no rule of its own profile', () => {
  const self = build({
    fields: { subject: nameOf([{ type: 'CN', value: 'Issuer' }]) },
    extensions: [
      encodeExtension(basicConstraints, { cA: true }, true),
      encodeExtension(keyUsage, ['keyCertSign', 'cRLSign'], true),
      encodeExtension(subjectKeyIdentifier, caKeyIdentifier),
    ],
  })
  assert.deepEqual(failing(self, { profile: root, of: self }), [])
})
