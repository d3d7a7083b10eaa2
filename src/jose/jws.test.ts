import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { importKeyMembers, type KeyMembers } from '#algorithms/jwk-form.ts'
import { namedSignature } from '#algorithms/message-names.ts'
import { verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { fromBase64url, toBase64url } from './base64url.ts'
import { parseJSONObject } from './json.ts'
import { jwkThumbprint, parseJWK } from './jwk.ts'
import {
  chainOf,
  checkCritical,
  encodeHeader,
  encodeJWS,
  encodeSigningInputHead,
  JWS_SERIALIZATIONS,
  type JWSSignature,
  parseJWS,
  payloadOf,
  thumbprintOf,
} from './jws.ts'

const LIMIT = 1 << 20
const refusal = (ask: () => unknown): string => {
  try {
    ask()
    return 'accepted'
  } catch (error) {
    const { code, reason, facts } = asTrustError(error)
    return `${code} ${facts['detail'] ?? facts['name'] ?? facts['what'] ?? reason}`
  }
}
const parsed = (message: string): string => refusal(() => parseJWS(utf8(message), LIMIT))

const joe = 'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'
const vectors: readonly { readonly source: string; readonly key: KeyMembers; readonly message: string }[] = [
  {
    source: 'RFC 7515, A.2 (RS256)',
    key: {
      kty: 'RSA',
      n: 'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ',
      e: 'AQAB',
    },
    message: `eyJhbGciOiJSUzI1NiJ9.${joe}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw`,
  },
  {
    source: 'RFC 7515, A.3 (ES256)',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    },
    message: `eyJhbGciOiJFUzI1NiJ9.${joe}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q`,
  },
  {
    source: 'RFC 8037, A.4 (EdDSA)',
    key: { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
    message:
      'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg',
  },
]

for (const { source, key, message } of vectors) {
  test(source, async () => {
    const jws = parseJWS(utf8(message), LIMIT)
    const [signature] = jws.signatures as readonly [JWSSignature]
    const publicKey = importKeyMembers(key)
    const algorithm = namedSignature(signature.algorithm, publicKey.algorithm)
    const octets = fromMessageSignature(signature.signature, publicKey.algorithm)
    const signed = concat([encodeSigningInputHead(signature.encodedHeader), utf8(jws.encodedPayload ?? '')])
    assert.equal(await verifySignature({ algorithm, octets }, publicKey, signed), true)
    assert.equal(await verifySignature({ algorithm, octets }, publicKey, signed.with(20, 0x41)), false)
    assert.deepEqual(encodeJWS(jws as Parameters<typeof encodeJWS>[0]), utf8(message))
  })
}

test('RFC 7638, 3.1 and RFC 8037, A.3: thumbprints', () => {
  const rsa =
    '{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}'
  assert.equal(jwkThumbprint(parseJWK(parseJSONObject(utf8(rsa)))), 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
  const okp = '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
  assert.equal(jwkThumbprint(parseJWK(parseJSONObject(utf8(okp)))), 'kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
})

const x = '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'
const keys: readonly (readonly [string, object, string])[] = [
  ['a shared secret', { kty: 'oct', k: 'AAAA' }, 'malformed it is private, or a shared secret'],
  ['a private key', { kty: 'OKP', crv: 'Ed25519', x, d: x }, 'malformed it is private, or a shared secret'],
  ['no type', { crv: 'Ed25519', x }, 'unsupported keyAlgorithm'],
  ['a type that is everywhere', { kty: 'constructor' }, 'unsupported keyAlgorithm'],
  ['another curve', { kty: 'OKP', crv: 'X25519', x }, 'unsupported keyAlgorithm'],
  ['a missing coordinate', { kty: 'OKP', crv: 'Ed25519' }, 'malformed its member x is missing'],
  ['padding', { kty: 'OKP', crv: 'Ed25519', x: `${x}=` }, 'malformed keyUnusable'],
  ['trailing bits', { kty: 'OKP', crv: 'Ed25519', x: x.replace(/.$/, 'p') }, 'malformed keyUnusable'],
  ['a short coordinate', { kty: 'OKP', crv: 'Ed25519', x: x.slice(4) }, 'malformed keyUnusable'],
  ['a weak exponent', { kty: 'RSA', n: toBase64url(new Uint8Array(256).fill(0xa5)), e: 'Aw' }, 'policyRefused keyExponent'],
  ['a short modulus', { kty: 'RSA', n: toBase64url(new Uint8Array(128).fill(0xa5)), e: 'AQAB' }, 'policyRefused keyTooShort'],
]
for (const [name, jwk, expected] of keys) {
  test(`no key: ${name}`, () => {
    assert.equal(
      refusal(() => parseJWK(parseJSONObject(utf8(JSON.stringify(jwk))))),
      expected,
    )
  })
}

const h = encodeHeader({ alg: 'ES256' })
const header = (members: object): string => encodeHeader({ alg: 'ES256', ...members })
const cases: readonly (readonly [string, string, string])[] = [
  ['compact', `${h}.YQ.AA`, 'accepted'],
  ['compact with a line end', `${h}.YQ.AA\n`, 'accepted'],
  ['compact, detached', `${h}..AA`, 'accepted'],
  ['flattened', `{"protected":"${h}","payload":"YQ","signature":"AA"}`, 'accepted'],
  ['flattened, detached', `{"protected":"${h}","signature":"AA"}`, 'accepted'],
  ['general', `{"payload":"YQ","signatures":[{"protected":"${h}","signature":"AA"}]}`, 'accepted'],
  [
    'members that nobody knows',
    `{"payload":"YQ","note":1,"signatures":[{"protected":"${h}","signature":"AA","x":2}]}`,
    'accepted',
  ],
  ['nothing', '', 'malformed it has not three parts'],
  ['two parts', `${h}.YQ`, 'malformed it has not three parts'],
  ['four parts', `${h}.YQ.AA.AA`, 'malformed it has not three parts'],
  ['five parts, as JWE has', `${h}.AA.AA.AA.AA`, 'malformed it has not three parts'],
  ['a space', `${h}.YQ.AA `, 'malformed it is neither JSON nor of the compact form'],
  ['padding', `${h}.YQ.AA==`, 'malformed the signature'],
  ['trailing bits', `${h}.YQ.AB`, 'malformed the signature'],
  ['the other alphabet', `${h}.YQ./+AA`, 'malformed the signature'],
  ['a header that is no JSON', 'AAAA.YQ.AA', 'malformed there is no value where one should be'],
  ['a header that is no object', `${toBase64url(utf8('[]'))}.YQ.AA`, 'malformed it is no object'],
  ['no header', '.YQ.AA', 'malformed the protected header names no algorithm'],
  [
    'a member of the header twice',
    `${toBase64url(utf8('{"alg":"none","alg":"ES256"}'))}.YQ.AA`,
    'malformed an object has a member twice',
  ],
  ['no algorithm', `${encodeHeader({})}.YQ.AA`, 'malformed the protected header names no algorithm'],
  [
    'an algorithm that is not protected',
    '{"payload":"YQ","header":{"alg":"ES256"},"signature":"AA"}',
    'malformed the protected header names no algorithm',
  ],
  [
    'an algorithm in both headers',
    `{"payload":"YQ","protected":"${h}","header":{"alg":"ES256"},"signature":"AA"}`,
    'malformed a header parameter stands in both headers',
  ],
  [
    'crit that is not protected',
    `{"payload":"YQ","protected":"${h}","header":{"crit":["exp"],"exp":1},"signature":"AA"}`,
    'malformed the parameter crit or b64 is not protected',
  ],
  [
    'both forms at once',
    `{"payload":"YQ","signatures":[{"protected":"${h}","signature":"AA"}],"signature":"AA"}`,
    'malformed it is of the flattened and of the general form at once',
  ],
  ['no signatures', '{"payload":"YQ","signatures":[]}', 'malformed it has no signatures'],
  [
    'too many signatures',
    `{"payload":"YQ","signatures":[${Array(17).fill(`{"protected":"${h}","signature":"AA"}`).join(',')}]}`,
    'tooLarge messageSignatures',
  ],
  ['a payload that is no text', `{"payload":1,"protected":"${h}","signature":"AA"}`, 'malformed the payload is no text'],
  ['b64 that is not critical', `${header({ b64: false })}..AA`, 'malformed b64 is not named in crit'],
  ['b64 that is no boolean', `${header({ b64: 0, crit: ['b64'] })}..AA`, 'malformed b64 is neither true nor false'],
  [
    'b64 that differs',
    `{"payload":"YQ","signatures":[{"protected":"${h}","signature":"AA"},{"protected":"${header({ b64: false, crit: ['b64'] })}","signature":"AA"}]}`,
    'malformed its signatures disagree about b64',
  ],
]
for (const [name, message, expected] of cases) {
  test(`${name}: ${expected}`, () => assert.equal(parsed(message), expected))
}

test('RFC 7515, 4.1.11: what must be understood is, or the message is refused', () => {
  const ask = (members: object): string =>
    refusal(() => {
      const [signature] = parseJWS(utf8(`${header(members)}..AA`), LIMIT).signatures
      checkCritical(signature as JWSSignature, ['mine'])
    })
  assert.equal(ask({}), 'accepted')
  assert.equal(ask({ crit: ['mine'], mine: 1 }), 'accepted')
  assert.equal(ask({ crit: ['b64', 'mine'], mine: 1, b64: false }), 'accepted')
  assert.equal(ask({ crit: ['theirs'], theirs: 1 }), 'unsupported theirs')
  assert.equal(ask({ crit: ['mine'] }), 'malformed crit names what is not in the protected header')
  assert.equal(ask({ crit: ['toString'] }), 'malformed crit names what is not in the protected header')
  for (const crit of [[], 'mine', { mine: 1 }, ['mine', 'mine'], null])
    assert.equal(ask({ crit, mine: 1 }), 'malformed crit is no list of names')
  for (const crit of [['alg'], [1], [null]]) assert.equal(ask({ crit }), 'malformed crit holds what must not be in it')
})

test('certificates and thumbprints are read from either header, and in their one form', () => {
  const ask = (members: object): JWSSignature =>
    parseJWS(utf8(JSON.stringify({ protected: h, header: members, signature: 'AA' })), LIMIT).signatures[0] as JWSSignature
  assert.deepEqual(chainOf(ask({ x5c: ['AAE='] })), [Uint8Array.of(0, 1)])
  assert.deepEqual(chainOf(ask({})), [])
  for (const x5c of [[], 'AAE=', ['AAE'], [1], Array(17).fill('AAE=')])
    assert.match(
      refusal(() => chainOf(ask({ x5c }))),
      /^malformed/,
    )
  assert.deepEqual(thumbprintOf(ask({ 'x5t#S256': 'AAE' })), Uint8Array.of(0, 1))
  assert.equal(thumbprintOf(ask({})), undefined)
  for (const value of ['AAE=', 1])
    assert.match(
      refusal(() => thumbprintOf(ask({ 'x5t#S256': value }))),
      /^malformed/,
    )
})

test('RFC 7797: a payload that is not encoded is its own octets', () => {
  const message = JSON.stringify({ payload: '$.02 ü', protected: header({ b64: false, crit: ['b64'] }), signature: 'AA' })
  const jws = parseJWS(utf8(message), LIMIT)
  assert.equal(jws.isEncoded, false)
  assert.deepEqual(payloadOf(jws, jws.encodedPayload ?? ''), utf8('$.02 ü'))
})

test('what is written is read again, in every form', () => {
  fc.assert(
    fc.property(
      fc.uint8Array(),
      fc.uint8Array(),
      fc.constantFrom(...JWS_SERIALIZATIONS),
      fc.boolean(),
      (octets, signature, serialization, isDetached) => {
        const encodedPayload = isDetached || octets.length === 0 ? undefined : toBase64url(octets)
        const signatures = [{ encodedHeader: h, signature }]
        const message = encodeJWS({ serialization, signatures, ...(encodedPayload !== undefined && { encodedPayload }) })
        const again = parseJWS(message, LIMIT)
        assert.equal(again.serialization, serialization)
        assert.equal(again.encodedPayload, encodedPayload)
        assert.deepEqual(again.signatures[0]?.signature, signature)
        if (encodedPayload !== undefined) assert.deepEqual(fromBase64url(encodedPayload, 'it'), octets)
      },
    ),
  )
  assert.throws(() => encodeJWS({ serialization: 'compact', signatures: [] }), TypeError)
})
