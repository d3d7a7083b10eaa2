/** Requests: what a client asks for, the proof that it has the key, and what is refused. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encode } from '#asn1/codec.ts'
import { IA5String, UTF8String } from '#asn1/types.ts'
import { encodeHeader } from '#asn1/writer.ts'
import { concat } from '#base/bytes.ts'
import {
  checkProofOfPossession,
  encodeCertificationRequest,
  parseCertificationRequest,
  REQUEST_MAX_OCTETS,
  requestAttributes,
} from './certification-request.ts'
import { Extensions, extensionWith } from './extensions/extension.ts'
import { keyUsage } from './extensions/key-usage.ts'
import { subjectAltName } from './extensions/subject-alternative-name.ts'
import { encodeName, nameOf } from './name.ts'
import { encodeSigned, signatureIdentifier } from './signed.ts'
import { makeKey } from './testing.ts'

const key = makeKey()
const subject = encodeName(nameOf([{ type: 'CN', value: 'Press 7' }]))
const extensions = [
  extensionWith(subjectAltName, [{ type: 'dNSName', value: 'press7.example' }]),
  extensionWith(keyUsage, ['digitalSignature']),
]

test('R5: what a client asks for is read back', async () => {
  const attributes = [{ type: requestAttributes.unstructuredName, values: [encode(IA5String, 'line 1')] }]
  const der = await encodeCertificationRequest(
    { subject, publicKey: key.spki, extensions, challengePassword: 'p4ss-ö', attributes },
    key.signer,
  )
  const request = parseCertificationRequest(der)
  assert.deepEqual(request.subject, subject)
  assert.deepEqual(request.subjectPublicKeyInfo, key.spki)
  assert.deepEqual(request.requestedExtensions, extensions)
  assert.equal(request.challengePassword, 'p4ss-ö')
  assert.deepEqual(
    request.attributes.find(({ type }) => type === requestAttributes.unstructuredName)?.values,
    attributes[0]?.values,
  )
  await checkProofOfPossession(request, key.publicKey)
})

test('R5: a request that asks for nothing has no attributes, and nothing is made up for it', async () => {
  const request = parseCertificationRequest(await encodeCertificationRequest({ subject, publicKey: key.spki }, key.signer))
  assert.deepEqual([request.attributes, request.requestedExtensions, request.challengePassword], [[], [], undefined])
})

test('R2: a request that another key signed proves nothing', async () => {
  const request = parseCertificationRequest(await encodeCertificationRequest({ subject, publicKey: key.spki }, makeKey().signer))
  await assert.rejects(checkProofOfPossession(request, key.publicKey), { code: 'badProof', reason: 'proofOfPossession' })
  const altered = { ...request, signature: Uint8Array.of(1, 2, 3) }
  await assert.rejects(checkProofOfPossession(altered, key.publicKey), { code: 'badProof' })
  const sha1 = { ...request, signatureAlgorithm: Uint8Array.fromHex('300906072a8648ce3d0401') }
  await assert.rejects(checkProofOfPossession(sha1, key.publicKey), { code: 'unsupported' })
})

const element = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const content = concat(parts)
  return concat([encodeHeader(tag, content.length), content])
}
const hex = (text: string): Uint8Array => Uint8Array.fromHex(text)

/** A request whose attributes are given as DER. */
function requestWith(attributes: Uint8Array, version = hex('020100')): Uint8Array {
  return encodeSigned(
    element(0x30, version, subject, key.spki, attributes),
    signatureIdentifier('ecdsa-sha256'),
    Uint8Array.of(1),
  )
}

const EXTENSION_REQUEST = hex('06092a864886f70d01090e')
const PASSWORD = hex('06092a864886f70d010907')
const attribute = (type: Uint8Array, ...values: readonly Uint8Array[]): Uint8Array =>
  element(0x30, type, element(0x31, ...values))
const asked = encode(Extensions, extensions)
const twice = encode(Extensions, [...extensions.slice(0, 1), ...extensions.slice(0, 1)])

for (const { name, der, detail } of [
  { name: 'without the attributes field (RFC 2986, 4.1)', der: requestWith(hex('')), detail: /attributes is missing/ },
  { name: 'of version 2', der: requestWith(hex('a000'), hex('020101')), detail: /version is 2/ },
  {
    name: 'with two extension requests',
    der: requestWith(element(0xa0, attribute(EXTENSION_REQUEST, asked), attribute(EXTENSION_REQUEST, asked))),
    detail: /1\.2\.840\.113549\.1\.9\.14 is there more than once/,
  },
  {
    name: 'with an extension twice',
    der: requestWith(element(0xa0, attribute(EXTENSION_REQUEST, twice))),
    detail: /2\.5\.29\.17 is there more than once/,
  },
  {
    name: 'with an extension request of no value',
    der: requestWith(element(0xa0, attribute(EXTENSION_REQUEST))),
    detail: /does not have one value/,
  },
  {
    name: 'with two passwords in one attribute',
    der: requestWith(element(0xa0, attribute(PASSWORD, encode(UTF8String, 'a'), encode(UTF8String, 'b')))),
    detail: /does not have one value/,
  },
  {
    name: 'with a password that is a number',
    der: requestWith(element(0xa0, attribute(PASSWORD, hex('020101')))),
    detail: /no alternative/,
  },
  {
    name: 'with attributes out of their order (X.690, 11.6)',
    der: requestWith(element(0xa0, attribute(PASSWORD, encode(UTF8String, 'a')), attribute(hex('06032a0304'), hex('0500')))),
    detail: /ascending/,
  },
]) {
  test(`a request ${name} is refused`, () =>
    assert.throws(() => parseCertificationRequest(der), { code: 'malformed', message: detail }))
}

test('an attribute that is not known here is kept and does no harm', () => {
  const request = parseCertificationRequest(requestWith(element(0xa0, attribute(hex('06032a0304'), hex('0500')))))
  assert.deepEqual(request.attributes, [{ type: '1.2.3.4', values: [hex('0500')] }])
})

test('a request longer than its limit is refused before it is read', () => {
  assert.throws(() => parseCertificationRequest(new Uint8Array(REQUEST_MAX_OCTETS + 1)), { code: 'tooLarge' })
})

test('no single octet changed and no cut makes the parser do anything but read or refuse', async () => {
  const der = await encodeCertificationRequest({ subject, publicKey: key.spki, extensions, challengePassword: 'x' }, key.signer)
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), fc.boolean(), (at, octet, cut) => {
      try {
        parseCertificationRequest(cut ? der.slice(0, at) : der.with(at, octet))
      } catch (error) {
        assert.match((error as { code?: string }).code ?? String(error), /^(malformed|tooLarge)$/)
      }
    }),
    { numRuns: 2000 },
  )
})
