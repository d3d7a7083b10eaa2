import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { importKeyMembers, type KeyMembers } from '#algorithms/jwk-form.ts'
import { namedSignature } from '#algorithms/message-names.ts'
import { verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label } from './cbor.ts'
import {
  algorithmOf,
  chainOf,
  checkCritical,
  encodeCOSE,
  encodeSigStructureHead,
  type Headers,
  headers,
  makeHeaders,
  parseCOSE,
  peekCOSE,
  thumbprintOf,
} from './cose.ts'

const hex = (text: string): Uint8Array => Uint8Array.fromHex(text)
const refusal = (ask: () => unknown): string => {
  try {
    ask()
    return 'accepted'
  } catch (error) {
    const { code, facts } = asTrustError(error)
    return `${code} ${facts['detail'] ?? facts['name'] ?? ''}`
  }
}

interface Vector {
  readonly name: string
  readonly key: KeyMembers
  readonly message: string
  readonly toBeSigned: string
  readonly external?: string
  readonly refuses?: true
}
const eleven: KeyMembers = {
  kty: 'EC',
  crv: 'P-256',
  x: 'usWxHK2PmfnHKwXPS54m0kTcGJ90UiglWiGahtagnv8',
  y: 'IBOL-C3BttVivg-lSreASjpkttcsz-1rb7btKLv8EX4',
}
/** The values of the examples that RFC 9052, appendix C, names, and of RFC 8392, A.3. */
const vectors: readonly Vector[] = [
  {
    name: 'one signature, with external data (sign1-tests/sign-pass-02)',
    key: eleven,
    external: '11aa22bb33cc44dd55006699',
    message:
      'd28443a10126a10442313154546869732069732074686520636f6e74656e742e5840eae868ecc176883766c5dc5ba5b8dca25dab3c2e56a551ce5705b793914348e155388b10c4f1b59a6733eab416870a945111a4b2fbdbef33a77234b1deff2f9b',
    toBeSigned: '846a5369676e61747572653143a101264c11aa22bb33cc44dd5500669954546869732069732074686520636f6e74656e742e',
  },
  {
    name: 'one signature of P-521 (ecdsa-examples/ecdsa-sig-03)',
    key: {
      kty: 'EC',
      crv: 'P-521',
      x: 'AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt',
      y: 'AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1',
    },
    message:
      'd28444a1013823a104581e62696c626f2e62616767696e7340686f626269746f6e2e6578616d706c6554546869732069732074686520636f6e74656e742e5884000f348009badc7da478150aa7fa06dfd812cdf826344f17c7330563573d8f97f7a966924c3d88b108907235476e3f6bea9f3890027792b0f94e905c217227cf064e00a6bc6a5187d0df9b1db7675aecfc678ce4692a8121eb8170f3592a859d518fd3b823091aab22e6c41eb97ed92127ce8c46dcc715a247cb78921fad1e19133afc30',
    toBeSigned: '846a5369676e61747572653144a10138234054546869732069732074686520636f6e74656e742e',
  },
  {
    name: 'a header was added (sign1-tests/sign-fail-06)',
    key: eleven,
    refuses: true,
    message:
      'd28445a201260300a10442313154546869732069732074686520636f6e74656e742e5840eae868ecc176883766c5dc5ba5b8dca25dab3c2e56a551ce5705b793914348e19f43d6c6ba654472da301b645b293c9ba939295b97c4bdb847782bff384c5794',
    toBeSigned: '846a5369676e61747572653145a2012603004054546869732069732074686520636f6e74656e742e',
  },
  {
    name: 'several signatures (sign-tests/sign-pass-03, with its tag)',
    key: eleven,
    message:
      'd8628440a054546869732069732074686520636f6e74656e742e818343a10126a1044231315840eae868ecc176883766c5dc5ba5b8dca25dab3c2e56a551ce5705b793914348e14eea4aee6e0c9f09db4ef3ddeca8f3506cd1a98a8fb64327be470355c9657ce0',
    toBeSigned: '85695369676e61747572654043a101264054546869732069732074686520636f6e74656e742e',
  },
  {
    name: 'a CBOR Web Token, whose header is not in the deterministic order (RFC 8392, A.3)',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: hex('c4f9160fc22682991c59c4d96e8accc2da3cc7b7a9bc197c7c1e1bc6d0c1dc61').toBase64({
        alphabet: 'base64url',
        omitPadding: true,
      }),
      y: hex('feb11ca73b028a10cf77d58a2dfdf2a11eab8ffeeeaaeeb03097ffee9f3ef2fc').toBase64({
        alphabet: 'base64url',
        omitPadding: true,
      }),
    },
    message:
      'd28447a20319fde80126a05853a70175636f61703a2f2f61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c696768742e6578616d706c652e636f6d04c11a5612aeb005c11a5610d9f006c11a5610d9f007420b7158408caad9ebd60e5f41cd683771e8a02cade07d894dd1cfaf3a23c6481546e78febc0c13e8f649096f347480db3e8c16cddc04116a3874cf0a4da2f4cb2d67c8eb0',
    toBeSigned:
      '846a5369676e61747572653147a20319fde80126405853a70175636f61703a2f2f61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c696768742e6578616d706c652e636f6d04c11a5612aeb005c11a5610d9f006c11a5610d9f007420b71',
  },
]

for (const { name, key, message: encoded, toBeSigned, external, refuses } of vectors) {
  test(`RFC 9052: ${name}`, async () => {
    const message = parseCOSE(hex(encoded))
    const [first] = message.type === 'sign' ? message.signatures : [message]
    const payload = message.payload ?? assert.fail('there is a payload')
    assert.ok(first !== undefined)
    const signed = concat([
      encodeSigStructureHead(
        {
          body: message.headers,
          ...(message.type === 'sign' && { signer: first.headers }),
          ...(external !== undefined && { externalAAD: hex(external) }),
        },
        payload.length,
      ),
      payload,
    ])
    assert.equal(signed.toHex(), toBeSigned)
    const publicKey = importKeyMembers(key)
    const algorithm = namedSignature(algorithmOf(first.headers), publicKey.algorithm)
    const octets = fromMessageSignature(first.signature, publicKey.algorithm)
    assert.equal(await verifySignature({ algorithm, octets }, publicKey, signed), refuses !== true)
    assert.equal(encodeCOSE(message).toHex(), encoded)
    assert.equal(peekCOSE(hex(encoded)), message.type)
  })
}

const sign1 = (...parts: readonly CBOR[]): Uint8Array => encodeCBOR({ tag: 18, value: parts })
const alg = encodeCBOR(new Map([[1, -7]]))
const none = new Map<Label, CBOR>()
const nothing = new Uint8Array()

const refused: readonly (readonly [string, Uint8Array, string])[] = [
  [
    'without a tag',
    encodeCBOR([alg, none, nothing, nothing]),
    'malformed it has not the tag of COSE_Sign1 (18) or COSE_Sign (98)',
  ],
  [
    'with another tag',
    encodeCBOR({ tag: 17, value: [alg, none, nothing, nothing] }),
    'malformed it has not the tag of COSE_Sign1 (18) or COSE_Sign (98)',
  ],
  [
    'a tag in a tag',
    encodeCBOR({ tag: 61, value: { tag: 18, value: [] } }),
    'malformed it has not the tag of COSE_Sign1 (18) or COSE_Sign (98)',
  ],
  ['three parts', sign1(alg, none, nothing), 'malformed the message is no array of 4'],
  [
    'a header that is not encoded',
    sign1(new Map([[1, -7]]), none, nothing, nothing),
    'malformed the protected header is no byte string',
  ],
  ['a header that is no map', sign1(encodeCBOR([1]), none, nothing, nothing), 'malformed the protected header is no map'],
  [
    'a label in both headers',
    sign1(alg, new Map([[1, -8]]), nothing, nothing),
    'malformed the header parameter 1 stands in both headers',
  ],
  [
    'crit that is not protected',
    sign1(alg, new Map<Label, CBOR>([[2, [1]]]), nothing, nothing),
    'malformed the parameter crit is not protected',
  ],
  ['a payload that is text', sign1(alg, none, 'text', nothing), 'malformed the payload is no byte string'],
  ['a signature that is null', sign1(alg, none, nothing, null), 'malformed the signature is no byte string'],
  ['no signatures', encodeCBOR({ tag: 98, value: [nothing, none, nothing, []] }), 'malformed it has no signature'],
  [
    'too many signatures',
    encodeCBOR({ tag: 98, value: [nothing, none, nothing, Array.from({ length: 17 }, () => [alg, none, nothing])] }),
    'tooLarge ',
  ],
]
for (const [name, octets, why] of refused) {
  test(`refused: ${name}`, () => {
    assert.equal(
      refusal(() => parseCOSE(octets)),
      why,
    )
  })
}

test('RFC 9052, 4.4: an empty map is signed as nothing, whichever way it came', () => {
  const [one, other] = [nothing, encodeCBOR(none)].map((octets) => parseCOSE(sign1(octets, none, nothing, nothing)).headers)
  assert.ok(one !== undefined && other !== undefined)
  assert.deepEqual(encodeSigStructureHead({ body: one }, 5), encodeSigStructureHead({ body: other }, 5))
})

test('RFC 9052, 3.1: what must be understood is, or the message is refused', () => {
  const critical = (crit: CBOR, ...more: readonly (readonly [Label, CBOR])[]): Headers =>
    makeHeaders([[1, -7], [2, crit], ...more])
  const ask = (given: Headers): string => refusal(() => checkCritical(given, [headers.contentType, 'mine']))
  assert.equal(ask(makeHeaders([[1, -7]])), 'accepted')
  assert.equal(ask(critical([3, 'mine'], [3, 0], ['mine', true])), 'accepted')
  assert.equal(ask(critical(['theirs'], ['theirs', true])), 'unsupported theirs')
  assert.equal(ask(critical([9], [9, true])), 'unsupported 9')
  assert.equal(ask(critical([3])), 'malformed crit names 3, which is not in the protected header')
  assert.equal(ask(critical([])), 'malformed crit names nothing')
  assert.equal(ask(critical(3)), 'malformed crit is no array')
  assert.equal(ask(critical([[3]])), 'malformed crit holds something that is no label')
})

test('RFC 9360: one certificate stands alone, several in an array, a thumbprint beside its algorithm', () => {
  const own = (label: Label, value: CBOR): Headers => makeHeaders([[label, value]])
  const one = utf8('one')
  assert.deepEqual(chainOf(own(33, one)), [one])
  assert.deepEqual(chainOf(own(33, [one, one])), [one, one])
  assert.deepEqual(chainOf(own(1, -7)), [])
  assert.match(
    refusal(() => chainOf(own(33, [one]))),
    /array of one/,
  )
  assert.match(
    refusal(() => chainOf(own(33, [one, 'two']))),
    /no byte string/,
  )
  assert.deepEqual(thumbprintOf(own(34, [-16, one])), one)
  assert.equal(thumbprintOf(own(34, [-44, one])), undefined)
  assert.match(
    refusal(() => thumbprintOf(own(34, [-16]))),
    /array of 2/,
  )
})

test('the algorithm is protected and a number', () => {
  assert.equal(algorithmOf(makeHeaders([[1, -7]])), -7)
  assert.match(
    refusal(() => algorithmOf({ ...makeHeaders([]), unprotected: new Map([[1, -7]]) })),
    /names no algorithm/,
  )
  assert.match(
    refusal(() => algorithmOf(makeHeaders([[1, 'ES256']]))),
    /no integer/,
  )
})
