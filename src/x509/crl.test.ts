/** Revocation lists: of no, few and many entries. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeHeader } from '#asn1/writer.ts'
import { concat } from '#base/bytes.ts'
import {
  CRL_MAX_OCTETS,
  encodeCertificateList,
  extensionOfList,
  parseCertificateList,
  type EntrySource,
  type RevokedEntry,
  verifyListSignature,
} from './crl.ts'
import {
  crlNumber,
  type CRLReason,
  crlReasons,
  deltaCRLIndicator,
  issuingDistributionPoint,
  issuingDistributionPointAt,
  reasonCode,
} from './extensions/crl-extensions.ts'
import { authorityKeyIdentifier } from './extensions/authority-key-identifier.ts'
import { encodeExtension, extensionWith, readExtension } from './extensions/extension.ts'
import { encodeName, nameOf } from './name.ts'
import { encodeSigned, signatureIdentifier } from './signed.ts'
import { makeKey } from './testing.ts'

const key = makeKey()
const issuer = encodeName(nameOf([{ type: 'CN', value: 'Line 1 CA' }]))
const thisUpdate = new Date('2026-03-01T00:00:00Z')
const nextUpdate = new Date('2026-03-08T00:00:00Z')
const fields = { issuer, thisUpdate, nextUpdate, extensions: [extensionWith(crlNumber, 7n)] } as const

const readBack = (der: Uint8Array) =>
  [...parseCertificateList(der).entries()].map(({ serialNumber, revokedAt, extensions }) => ({
    serialNumber: serialNumber.toHex(),
    revokedAt: revokedAt.toISOString(),
    reason: readExtension(extensions, reasonCode)?.value,
  }))

test('R3: a list is written, signed and read back', async () => {
  const extensions = [
    encodeExtension(authorityKeyIdentifier, { keyIdentifier: Uint8Array.of(1, 2) }),
    extensionWith(crlNumber, 2n ** 70n),
    extensionWith(deltaCRLIndicator, 6n),
    extensionWith(issuingDistributionPoint, issuingDistributionPointAt('http://pki.example/crl/line1/7.crl')),
  ] as const
  const entries: RevokedEntry[] = [
    { serialNumber: Uint8Array.of(5), revokedAt: new Date('2026-02-01T23:59:58.900Z'), reason: 'keyCompromise' },
    { serialNumber: Uint8Array.of(0, 0x80), revokedAt: new Date('2026-02-02T00:00:00Z'), reason: 'unspecified' },
    { serialNumber: Uint8Array.of(7), revokedAt: new Date('2050-01-01T01:02:03Z') },
  ]
  const der = await encodeCertificateList({ ...fields, extensions }, entries, key.signer)
  const list = parseCertificateList(der)
  assert.equal(list.version, 2)
  assert.deepEqual([list.issuer, list.thisUpdate, list.nextUpdate], [issuer, thisUpdate, nextUpdate])
  assert.equal(extensionOfList(list, crlNumber)?.value, 2n ** 70n)
  assert.deepEqual(extensionOfList(list, deltaCRLIndicator), { value: 6n, critical: true })
  assert.equal(extensionOfList(list, issuingDistributionPoint)?.critical, true)
  assert.deepEqual(readBack(der), [
    { serialNumber: '05', revokedAt: '2026-02-01T23:59:58.000Z', reason: 'keyCompromise' },
    { serialNumber: '0080', revokedAt: '2026-02-02T00:00:00.000Z', reason: undefined },
    { serialNumber: '07', revokedAt: '2050-01-01T01:02:03.000Z', reason: undefined },
  ])
  assert.equal(await verifyListSignature(list, key.publicKey), true)
  assert.equal(await verifyListSignature(list, makeKey().publicKey), false)
})

test('RFC 5280, 5.1.2.6: a list of nothing has no list, rather than an empty one', async () => {
  const der = await encodeCertificateList(fields, [], key.signer)
  assert.deepEqual(readBack(der), [])
  assert.equal(await verifyListSignature(parseCertificateList(der), key.publicKey), true)
})

const someEntry = fc.record({
  serialNumber: fc
    .uint8Array({ minLength: 1, maxLength: 20 })
    .map((octets) => octets.with(0, ((octets[0] as number) & 0x3f) | 0x40)),
  revokedAt: fc.date({ min: new Date('1950-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true }),
  reason: fc.constantFrom<CRLReason | undefined>(undefined, ...(Object.keys(crlReasons) as CRLReason[])),
})

test('parse(encode(entries)) = entries, from an array and as they come', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(someEntry, { maxLength: 20 }), async (some) => {
      const entries = some.map(({ reason, ...entry }): RevokedEntry => (reason === undefined ? entry : { ...entry, reason }))
      const expected = some.map(({ serialNumber, revokedAt, reason }) => ({
        serialNumber: serialNumber.toHex(),
        revokedAt: new Date(Math.floor(revokedAt.getTime() / 1000) * 1000).toISOString(),
        reason: reason === 'unspecified' ? undefined : reason,
      }))
      const stream: EntrySource = async (put, again) => {
        for (const entry of entries.toReversed()) put(entry)
        again()
        for (const [i, { serialNumber, ...rest }] of entries.entries()) {
          const hex = (serialNumber as Uint8Array).toHex()
          put(await Promise.resolve({ serialNumber: i % 2 === 0 ? hex : hex.toUpperCase(), ...rest }))
        }
      }
      assert.deepEqual(readBack(await encodeCertificateList(fields, entries, key.signer)), expected)
      assert.deepEqual(readBack(await encodeCertificateList(fields, stream, key.signer)), expected)
    }),
    { numRuns: 100 },
  )
})

test('R8: entries beyond the first buffer come out whole and in order', async () => {
  const count = 20_000 // 49 octets each, and none was expected
  const serial = (i: number): Uint8Array => Uint8Array.of(0x40, ...new Uint8Array(12), i >> 16, (i >> 8) & 0xff, i & 0xff)
  const entries = function* (): Iterable<RevokedEntry> {
    for (let i = 0; i < count; i++)
      yield { serialNumber: serial(i), revokedAt: new Date(1_760_000_000_000 + i * 1000), reason: 'superseded' }
  }
  const list = parseCertificateList(await encodeCertificateList(fields, entries(), key.signer))
  let i = 0
  for (const { serialNumber, revokedAt } of list.entries()) {
    assert.equal(serialNumber.toHex(), serial(i).toHex())
    assert.equal(revokedAt.getTime(), 1_760_000_000_000 + i * 1000)
    i++
  }
  assert.equal(i, count)
  assert.equal(await verifyListSignature(list, key.publicKey), true)
})

test('a list beyond its limit is neither written nor read', async () => {
  const serialNumber = new Uint8Array(20).fill(0x41)
  const revokedAt = new Date(1_760_000_000_000)
  const entries = function* (): Iterable<RevokedEntry> {
    for (let i = 0; i < 1_900_000; i++) yield { serialNumber, revokedAt }
  }
  await assert.rejects(encodeCertificateList(fields, entries(), key.signer), { code: 'tooLarge' })
  assert.throws(() => parseCertificateList(new Uint8Array(CRL_MAX_OCTETS + 1)), { code: 'tooLarge' })
})

test('a serial number without octets is a mistake of the caller', async () => {
  await assert.rejects(
    encodeCertificateList(fields, [{ serialNumber: new Uint8Array(), revokedAt: thisUpdate }], key.signer),
    TypeError,
  )
})

/** A list from pieces in hex. */
function listOf(pieces: {
  readonly version?: string
  readonly entries?: string
  readonly extensions?: string
  readonly outer?: string
}): Uint8Array {
  const algorithm = signatureIdentifier('ecdsa-sha256').toHex()
  const inner = Uint8Array.fromHex(
    [
      pieces.version ?? '020101',
      algorithm,
      issuer.toHex(),
      '170d3236303330313030303030305a',
      pieces.entries ?? '',
      pieces.extensions ?? 'a00e300c300a0603551d140403020107',
    ].join(''),
  )
  return encodeSigned(
    concat([encodeHeader(0x30, inner.length), inner]),
    Uint8Array.fromHex(pieces.outer ?? algorithm),
    Uint8Array.of(1),
  )
}
const ENTRY = '3012020105170d3236303130313030303030305a'

test('lists of version 1 and lists without nextUpdate are read', () => {
  const list = parseCertificateList(listOf({ version: '', extensions: '', entries: `3014${ENTRY}` }))
  assert.deepEqual([list.version, list.nextUpdate, [...list.entries()].length], [1, undefined, 1])
})

for (const { name, pieces, detail } of [
  { name: 'of version 3', pieces: { version: '020102' }, detail: /version is 3/ },
  { name: 'of version 1 with extensions', pieces: { version: '' }, detail: /is version 1/ },
  { name: 'with an empty list of entries', pieces: { entries: '3000' }, detail: /present and empty/ },
  { name: 'with two signature algorithms', pieces: { outer: signatureIdentifier('rsa-sha256').toHex() }, detail: /differ/ },
  {
    name: 'with an extension twice',
    pieces: { extensions: 'a01a3018300a0603551d140403020107300a0603551d140403020107' },
    detail: /more than once/,
  },
]) {
  test(`a list ${name} is refused`, () =>
    assert.throws(() => parseCertificateList(listOf(pieces)), { code: 'malformed', message: detail }))
}

test('a malformed entry is refused when it is reached, after those before it', () => {
  const list = parseCertificateList(listOf({ entries: `3019${ENTRY}3003020106` }))
  const entries = list.entries()
  assert.equal(entries.next().value?.serialNumber.toHex(), '05')
  assert.throws(() => entries.next(), { code: 'malformed', message: /revocationDate is missing/ })
})
