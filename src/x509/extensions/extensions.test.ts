/** Every extension of the registry: written, read back, and refused where it is malformed. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Codec, decode, encode } from '#asn1/codec.ts'
import { nameOf } from '../name.ts'
import { accessAt } from './authority-information-access.ts'
import { basicConstraints } from './basic-constraints.ts'
import { distributionPointAt } from './crl-distribution-points.ts'
import { issuingDistributionPointAt } from './crl-extensions.ts'
import { decodeExtension, encodeExtension, Extension, Extensions, extensionWith, readExtension } from './extension.ts'
import {
  formatIPAddress,
  type GeneralName,
  GeneralNames,
  hardwareModuleName,
  hardwareModuleNameOf,
  parseIPAddress,
} from './general-name.ts'
import { keyUsage } from './key-usage.ts'
import { extensionTypes, knownExtension } from './registry.ts'
import { keyIdentifierOf } from './subject-key-identifier.ts'

const names: readonly GeneralName[] = [
  { type: 'dNSName', value: 'press7.example' },
  { type: 'rfc822Name', value: 'press7@example.com' },
  { type: 'uniformResourceIdentifier', value: 'urn:dev:ops:press-7' },
  { type: 'iPAddress', value: Uint8Array.of(192, 0, 2, 1) },
  { type: 'registeredID', value: '1.3.6.1.4.1.99999.1' },
  { type: 'directoryName', value: nameOf([{ type: 'CN', value: 'Press 7' }]) },
  { type: 'x400Address', value: Uint8Array.fromHex('a3023000') },
  { type: 'ediPartyName', value: Uint8Array.fromHex('a505a1030c0141') },
  hardwareModuleName({ hwType: '1.3.6.1.4.1.99999.1', hwSerialNum: Uint8Array.of(1, 2) }),
]

const octets = Uint8Array.from({ length: 20 }, (_, i) => i)
const moment = new Date('2026-03-01T12:30:00Z')
const anyPolicy = { policyIdentifier: '2.5.29.32.0' }

/** At least one value per type, by the type's name; DER by hand or from RFC examples where it is given. */
const values: Readonly<Record<string, readonly { readonly value: unknown; readonly der?: string }[]>> = {
  basicConstraints: [
    { value: { cA: false }, der: '3000' },
    { value: { cA: true }, der: '30030101ff' },
    { value: { cA: true, pathLenConstraint: 0 }, der: '30060101ff020100' },
  ],
  keyUsage: [
    { value: ['digitalSignature'], der: '03020780' },
    { value: ['keyCertSign', 'cRLSign'], der: '03020106' },
    { value: ['decipherOnly'], der: '0303070080' },
  ],
  extKeyUsage: [{ value: ['1.3.6.1.5.5.7.3.2'], der: '300a06082b06010505070302' }],
  subjectKeyIdentifier: [{ value: octets, der: `0414${octets.toHex()}` }],
  authorityKeyIdentifier: [
    { value: { keyIdentifier: octets }, der: `30168014${octets.toHex()}` },
    { value: { authorityCertIssuer: names.slice(0, 1), authorityCertSerialNumber: Uint8Array.of(5) } },
  ],
  subjectAltName: [{ value: names }, { value: [names[3]], der: '30068704c0000201' }],
  issuerAltName: [{ value: names.slice(0, 2) }],
  cRLDistributionPoints: [
    { value: [distributionPointAt('http://a/b')], der: '30123010a00ea00c860a687474703a2f2f612f62' },
    { value: [{ reasons: ['keyCompromise', 'aACompromise'], cRLIssuer: names.slice(5, 6) }] },
    { value: [{ distributionPoint: { type: 'nameRelativeToCRLIssuer', value: nameOf([{ type: 'CN', value: 'a' }])[0] } }] },
  ],
  freshestCRL: [{ value: [distributionPointAt('http://pki.example/crl/delta.crl')] }],
  authorityInfoAccess: [
    { value: [accessAt('ocsp', 'http://pki.example/ocsp'), accessAt('caIssuers', 'http://pki.example/ca.cer')] },
  ],
  subjectInfoAccess: [{ value: [accessAt('timeStamping', 'http://pki.example/tsa')] }],
  certificatePolicies: [
    { value: [anyPolicy], der: '300830060604551d2000' },
    {
      value: [
        {
          ...anyPolicy,
          policyQualifiers: [
            { policyQualifierId: '1.3.6.1.5.5.7.2.1', qualifier: Uint8Array.fromHex('160a687474703a2f2f612f62') },
          ],
        },
      ],
    },
  ],
  policyMappings: [{ value: [{ issuerDomainPolicy: '1.2.3', subjectDomainPolicy: '1.2.4' }], der: '300a300806022a0306022a04' }],
  policyConstraints: [{ value: { requireExplicitPolicy: 0, inhibitPolicyMapping: 3 }, der: '3006800100810103' }],
  inhibitAnyPolicy: [{ value: 0, der: '020100' }],
  nameConstraints: [
    {
      value: {
        permittedSubtrees: [{ base: { type: 'dNSName', value: '.example' }, minimum: 0 }],
        excludedSubtrees: [{ base: { type: 'iPAddress', value: Uint8Array.of(10, 0, 0, 0, 255, 0, 0, 0) }, minimum: 0 }],
      },
      der: '301ca00c300a82082e6578616d706c65a10c300a87080a000000ff000000',
    },
  ],
  cRLNumber: [{ value: 7n, der: '020107' }, { value: 2n ** 128n }],
  deltaCRLIndicator: [{ value: 6n, der: '020106' }],
  issuingDistributionPoint: [{ value: issuingDistributionPointAt('http://a/b'), der: '3010a00ea00c860a687474703a2f2f612f62' }],
  cRLReasons: [
    { value: 'keyCompromise', der: '0a0101' },
    { value: 'aACompromise', der: '0a010a' },
  ],
  invalidityDate: [{ value: moment, der: '180f32303236303330313132333030305a' }],
  certificateIssuer: [{ value: names.slice(5, 6) }],
  nonce: [{ value: octets, der: `0414${octets.toHex()}` }],
  noCheck: [{ value: null, der: '0500' }],
  archiveCutoff: [{ value: moment }],
  extendedRevoke: [{ value: null, der: '0500' }],
}

test('the table below has a case for every extension of the registry', () => {
  assert.deepEqual(extensionTypes.map(({ id }) => id).toSorted(), Object.keys(values).toSorted())
  assert.equal(new Set(extensionTypes.map(({ oid }) => oid)).size, extensionTypes.length)
})

for (const type of extensionTypes) {
  const codec = type.codec as Codec<unknown>
  for (const [i, { value, der }] of (values[type.id] ?? []).entries()) {
    test(`${type.source}: ${type.id}, case ${i + 1}, is written and read back`, () => {
      const written = encode(codec, value)
      if (der !== undefined) assert.equal(written.toHex(), der)
      const critical = type.criticality !== 'non-critical'
      const whole = decode(Extension, encodeExtension({ ...type, codec }, value, critical))
      assert.deepEqual([whole.extnID, whole.critical], [type.oid, critical])
      assert.deepEqual(decodeExtension({ ...type, codec }, whole), value)
      assert.equal(knownExtension(whole.extnID), type)
    })
  }

  test(`${type.source}: no octets crash ${type.id}: what it accepts, it writes the same`, () => {
    const valid = encode(codec, values[type.id]?.[0]?.value)
    fc.assert(
      fc.property(fc.nat(valid.length), fc.nat(255), fc.boolean(), (at, octet, cut) => {
        const bytes = cut ? valid.slice(0, at) : valid.with(Math.min(at, valid.length - 1), octet)
        try {
          assert.deepEqual(encode(codec, decode(codec, bytes)), bytes)
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'malformed', String(error))
        }
      }),
      { numRuns: 300 },
    )
  })
}

test('an extension whose rule is "critical" is written so unless the caller says otherwise', () => {
  assert.equal(extensionWith(keyUsage, ['cRLSign']).critical, true)
  assert.equal(extensionWith(keyUsage, ['cRLSign'], false).critical, false)
  assert.equal(extensionWith(basicConstraints, { cA: true }).critical, false)
})

test('RFC 5280, 4.2: two extensions of one type are refused', () => {
  const one = extensionWith(basicConstraints, { cA: false })
  const other = extensionWith(keyUsage, ['cRLSign'])
  assert.equal(decode(Extensions, encode(Extensions, [one, other])).length, 2)
  assert.throws(() => decode(Extensions, encode(Extensions, [one, other, one])), {
    code: 'malformed',
    reason: 'repeatedExtension',
    message: /2\.5\.29\.19/,
  })
})

for (const { name, der } of [
  { name: 'critical FALSE written out', der: '300c0603551d1301010004023000' },
  { name: 'a criticality that is neither FF nor 00', der: '300c0603551d1301010104023000' },
  { name: 'content after the value', der: '300b0603551d13040230000500' },
  { name: 'no value', der: '30050603551d13' },
]) {
  test(`an Extension with ${name} is refused`, () => {
    assert.throws(() => decode(Extension, Uint8Array.fromHex(der)), { code: 'malformed' })
  })
}

test('a malformed value is refused when it is asked for, and the refusal names the extension', () => {
  const list = [{ extnID: basicConstraints.oid, critical: true, extnValue: Uint8Array.fromHex('300301010f') }]
  assert.throws(() => readExtension(list, basicConstraints), {
    code: 'malformed',
    reason: 'badExtension',
    message: /basicConstraints.*BOOLEAN/,
  })
  assert.equal(readExtension(list, keyUsage), undefined)
})

test('R2: a hardware module name goes into a subjectAltName and comes out (RFC 4108, 5)', () => {
  const hardware = { hwType: '1.3.6.1.4.1.99999.7', hwSerialNum: Uint8Array.fromHex('00ff10') }
  const [back] = decode(GeneralNames, encode(GeneralNames, [hardwareModuleName(hardware)]))
  assert.deepEqual(hardwareModuleNameOf(back as GeneralName), hardware)
  assert.equal(hardwareModuleNameOf({ type: 'dNSName', value: 'a' }), undefined)
  assert.throws(
    () => hardwareModuleNameOf({ type: 'otherName', value: { typeID: '1.3.6.1.5.5.7.8.4', value: Uint8Array.of(5, 0) } }),
    { code: 'malformed' },
  )
})

for (const [text, hex] of [
  ['192.0.2.1', 'c0000201'],
  ['2001:db8::1', '20010db8000000000000000000000001'],
  ['::', '00000000000000000000000000000000'],
  ['::1', '00000000000000000000000000000001'],
  ['1::', '00010000000000000000000000000000'],
  ['1:0:0:2::3', '00010000000000020000000000000003'],
  ['2001:db8:0:1:1:1:1:1', '20010db8000000010001000100010001'],
] as const) {
  test(`RFC 5952: ${text}`, () => {
    assert.equal(parseIPAddress(text).toHex(), hex)
    assert.equal(formatIPAddress(Uint8Array.fromHex(hex)), text)
  })
}

for (const text of [
  '',
  '1.2.3',
  '1.2.3.256',
  '01.2.3.4',
  '1.2.3.4.5',
  ':',
  ':::',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7::8',
  'g::',
  '12345::',
]) {
  test(`${JSON.stringify(text)} is no IP address`, () =>
    assert.throws(() => parseIPAddress(text), { code: 'malformed', reason: 'notIPAddress' }))
}

test('every IPv6 address is formatted so that it reads back', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0, 0, 0, 1, 0xab, 0xff), { minLength: 16, maxLength: 16 }), (list) => {
      const address = Uint8Array.from(list)
      assert.deepEqual(parseIPAddress(formatIPAddress(address)), address)
    }),
  )
})

test('RFC 7093, 2: a key identifier is the leftmost 160 bits of SHA-256', () => {
  assert.equal(keyIdentifierOf(new Uint8Array()).toHex(), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4')
})
