/** Certificates: fields verbatim, signatures, and what the parser refuses. @module */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { encode } from '#asn1/codec.ts'
import { concat } from '#base/bytes.ts'
import { encodeHeader } from '#asn1/writer.ts'
import {
  encodeTBSCertificate,
  encodeValidity,
  extensionOf,
  fingerprint,
  parseCertificate,
  serialHex,
  verifyCertificateSignature,
} from './certificate.ts'
import { basicConstraints } from './extensions/basic-constraints.ts'
import { encodeExtension, Extension, extensionWith } from './extensions/extension.ts'
import { keyUsage } from './extensions/key-usage.ts'
import { encodeName, nameOf } from './name.ts'
import { encodeSigned, signatureIdentifier } from './signed.ts'
import { makeCertificate, makeKey, rootExtensions, TEST_NOT_AFTER, TEST_NOT_BEFORE } from './testing.ts'

const key = makeKey()

test('R5: what is written is read back, and Node reads the same', async () => {
  const subject = nameOf([
    { type: 'C', value: 'DE' },
    { type: 'CN', value: 'Press 7' },
  ])
  const der = await makeCertificate(key, {
    subject,
    serialNumber: Uint8Array.of(0x00, 0x80, 0x01),
    extensions: rootExtensions(key),
  })
  const certificate = parseCertificate(der)
  assert.equal(certificate.version, 3)
  assert.equal(serialHex(certificate), '008001')
  assert.deepEqual(certificate.subject, encodeName(subject))
  assert.deepEqual([certificate.notBefore, certificate.notAfter], [TEST_NOT_BEFORE, TEST_NOT_AFTER])
  assert.deepEqual(certificate.subjectPublicKeyInfo, key.spki)
  assert.deepEqual(certificate.signatureAlgorithm, signatureIdentifier('ecdsa-sha256'))
  assert.deepEqual(certificate.extensions, rootExtensions(key))
  assert.deepEqual(extensionOf(certificate, basicConstraints), { value: { cA: true }, critical: true })
  const other = new X509Certificate(der)
  assert.equal(other.subject, 'C=DE\nCN=Press 7')
  assert.equal(other.serialNumber, '8001')
  assert.equal(other.validToDate.getTime(), TEST_NOT_AFTER.getTime())
  assert.equal(other.fingerprint256.replaceAll(':', '').toLowerCase(), fingerprint(der).toHex())
  assert.equal(other.verify(key.publicKey.key), true)
})

test('parts given as octets and parts given as values make the same certificate', () => {
  const validity = { notBefore: TEST_NOT_BEFORE, notAfter: TEST_NOT_AFTER }
  const name = nameOf([{ type: 'CN', value: 'x' }])
  const extension = extensionWith(keyUsage, ['digitalSignature'])
  const common = {
    serialNumber: Uint8Array.of(1),
    signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
    subjectPublicKeyInfo: key.spki,
  }
  assert.deepEqual(
    encodeTBSCertificate({ ...common, issuer: name, subject: name, validity, extensions: [extension] }),
    encodeTBSCertificate({
      ...common,
      issuer: encodeName(name),
      subject: encodeName(name),
      validity: encodeValidity(validity),
      extensions: [encode(Extension, extension)],
    }),
  )
})

test('a signature verifies with its key, and with no other and over no other bytes', async () => {
  const certificate = parseCertificate(await makeCertificate(key))
  assert.equal(await verifyCertificateSignature(certificate, key.publicKey), true)
  assert.equal(await verifyCertificateSignature(certificate, makeKey().publicKey), false)
  const { tbsCertificate } = certificate
  const altered = tbsCertificate.with(tbsCertificate.length - 1, (tbsCertificate.at(-1) as number) ^ 1)
  assert.equal(await verifyCertificateSignature({ ...certificate, tbsCertificate: altered }, key.publicKey), false)
})

for (const [name, serialNumber] of [
  ['none', []],
  ['zero', [0]],
  ['a negative one', [0x80]],
  ['one that is not in its shortest form', [0, 0x7f]],
] as const) {
  test(`the writer takes no serial number such as ${name}`, async () => {
    await assert.rejects(makeCertificate(key, { serialNumber: Uint8Array.from(serialNumber) }), TypeError)
  })
}

/** A TBSCertificate from pieces in hex, in which a test can put something odd. */
function certificateOf(
  pieces: Partial<Record<'version' | 'serial' | 'algorithm' | 'validity' | 'ids' | 'extensions', string>> & {
    readonly outer?: string
  },
): Uint8Array {
  const algorithm = signatureIdentifier('ecdsa-sha256').toHex()
  const name = encodeName(nameOf([{ type: 'CN', value: 'x' }])).toHex()
  const validity = encodeValidity({ notBefore: TEST_NOT_BEFORE, notAfter: TEST_NOT_AFTER }).toHex()
  const inner = Uint8Array.fromHex(
    [
      pieces.version ?? 'a003020102',
      pieces.serial ?? '020101',
      pieces.algorithm ?? algorithm,
      name,
      pieces.validity ?? validity,
      name,
      key.spki.toHex(),
      pieces.ids ?? '',
      pieces.extensions ?? '',
    ].join(''),
  )
  const tbs = concat([encodeHeader(0x30, inner.length), inner])
  return encodeSigned(tbs, Uint8Array.fromHex(pieces.outer ?? algorithm), Uint8Array.of(1))
}

const wrap = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const content = concat(parts)
  return concat([encodeHeader(tag, content.length), content])
}
const constraints = encodeExtension(basicConstraints, { cA: true })
const list = (...extensions: readonly Uint8Array[]): string => wrap(0xa3, wrap(0x30, ...extensions)).toHex()

for (const { name, pieces, version, serial } of [
  { name: 'version 1, as old roots are', pieces: { version: '' }, version: 1 },
  { name: 'version 2 with a unique identifier', pieces: { version: 'a003020101', ids: '81020780' }, version: 2 },
  { name: 'version 3 without extensions', pieces: {}, version: 3 },
  { name: 'a negative serial number, as some CAs wrote', pieces: { serial: '0201ff' }, version: 3, serial: 'ff' },
  { name: 'a serial number of 32 octets', pieces: { serial: `0220${'11'.repeat(32)}` }, version: 3, serial: '11'.repeat(32) },
  // RFC 5280, 4.1.2.5: who reads must know both
  {
    name: 'a GeneralizedTime before 2050',
    pieces: { validity: '3020170d3236303130313030303030305a180f32303330303130313030303030305a' },
    version: 3,
  },
] as const) {
  test(`the parser accepts ${name}`, () => {
    const certificate = parseCertificate(certificateOf(pieces))
    assert.equal(certificate.version, version)
    if (serial !== undefined) assert.equal(serialHex(certificate), serial)
  })
}

for (const { name, pieces, detail } of [
  { name: 'version 4', pieces: { version: 'a003020103' }, detail: /version is 4/ },
  { name: 'version 1 written out', pieces: { version: 'a003020100' }, detail: /DEFAULT/ },
  { name: 'extensions in version 1', pieces: { version: '', extensions: list(constraints) }, detail: /not version 3/ },
  { name: 'a unique identifier in version 1', pieces: { version: '', ids: '81020780' }, detail: /unique identifier/ },
  { name: 'a serial number of 65 octets', pieces: { serial: `0241${'11'.repeat(65)}` }, detail: /longer than any/ },
  { name: 'a serial number not in its shortest form', pieces: { serial: '02020001' }, detail: /shortest/ },
  { name: 'two signature algorithms', pieces: { outer: signatureIdentifier('ecdsa-sha384').toHex() }, detail: /differ/ },
  { name: 'a repeated extension', pieces: { extensions: list(constraints, constraints) }, detail: /more than once/ },
  { name: 'an empty list of extensions', pieces: { extensions: list() }, detail: /fewer than 1/ },
  {
    name: 'an end without a second',
    pieces: { validity: '301a170b323630313031303030305a170b323630313031303030305a' },
    detail: /to the second/,
  },
] as const) {
  test(`the parser refuses ${name}`, () => {
    assert.throws(() => parseCertificate(certificateOf(pieces)), { code: 'malformed', message: detail })
  })
}

test('the parser refuses bytes after the certificate, and more than its limit', async () => {
  const der = await makeCertificate(key)
  assert.throws(() => parseCertificate(concat([der, Uint8Array.of(0)])), { code: 'malformed', message: /followed/ })
  assert.throws(() => parseCertificate(new Uint8Array((1 << 20) + 1)), { code: 'tooLarge' })
})

test('no single octet changed and no cut makes the parser do anything but read or refuse', async () => {
  const der = await makeCertificate(key, { extensions: rootExtensions(key) })
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), fc.boolean(), (at, octet, cut) => {
      const bytes = cut ? der.slice(0, at) : der.with(at, octet)
      try {
        assert.deepEqual(parseCertificate(bytes).der, bytes)
      } catch (error) {
        assert.match((error as { code?: string }).code ?? String(error), /^(malformed|tooLarge)$/)
      }
    }),
    { numRuns: 2000 },
  )
})
