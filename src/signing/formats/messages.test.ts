/** COSE and JWS: every algorithm with a name, each option, several keys, and what is refused. @module */
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { type KeyAlgorithmId, type SignatureAlgorithmId, signaturesOf } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { type CBOR, type CBORMap, encodeCBOR, type Label } from '#cbor/cbor.ts'
import { type COSESign, encodeCOSE, headers, parseCOSE } from '#cbor/cose.ts'
import { toBase64url } from '#jose/base64url.ts'
import { type JSONObject, parseJSONObject } from '#jose/json.ts'
import { bytesSource } from '../artifact/blob.ts'
import { base64urlOf, joined } from '../artifact/joined.ts'
import { OTHERS } from '../artifact/message-signers.ts'
import { choicesOf, judged, signedWith, type TrialSigner, trialSigner, verified, withCompanion } from '../artifact/testing.ts'
import type { Beside, SigningFormat } from '../format.ts'
import { coseSign1 } from './cose-sign1.ts'
import { coseSign } from './cose-sign.ts'
import { dsse } from './dsse.ts'
import { jws } from './jws.ts'
import { detectFormat } from './registry.ts'

const firmware = utf8('firmware of press 7\n'.repeat(20))
const beside: Beside = { content: bytesSource(firmware) }
const single = [coseSign1, coseSign, jws] as const
const several = [coseSign, jws] as const

const sign = async (
  format: SigningFormat,
  signer: TrialSigner,
  options: Readonly<Record<string, string>> = {},
  octets = firmware,
) => (await signedWith(format, bytesSource(octets), signer, options)).octets
const text = (octets: Uint8Array): string => Buffer.from(octets).toString()
const refusal = async (asked: Promise<unknown>): Promise<string> => {
  try {
    await asked
    return 'accepted'
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}

const signers = new Map<KeyAlgorithmId, TrialSigner>()
before(async () => {
  for (const id of ['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'rsa-2048', 'ed25519', 'ed448', 'ml-dsa-44', 'ml-dsa-65'] as const)
    signers.set(id, await trialSigner(id))
})
const signer = (id: KeyAlgorithmId): TrialSigner => signers.get(id) ?? assert.fail(`there is no signer ${id}`)
const dual = (): TrialSigner => withCompanion(signer('ecdsa-p256'), signer('ml-dsa-65'))

for (const format of single)
  describe(format.id, () => {
    test('R9: every algorithm that has a name signs, and what is signed verifies', async () => {
      let seen = 0
      for (const [id, trial] of signers)
        for (const { id: algorithm } of signaturesOf(id)) {
          const named = {
            ...trial,
            answering: { ...trial.answering, signatureAlgorithm: algorithm as SignatureAlgorithmId },
          }
          const isCurve = !id.startsWith('ecdsa') || trial.answering.signatureAlgorithm === algorithm
          for (const names of ['usual', 'specified']) {
            if (!isCurve) {
              assert.equal(await refusal(sign(format, named, { names })), 'unsupported messageNameNone')
              continue
            }
            const message = await sign(format, named, { names })
            const { valid, signatures } = await verified(format, message, beside)
            assert.equal(valid, true, `${id} ${algorithm} ${JSON.stringify(signatures.map(({ problem }) => problem))}`)
            assert.equal(signatures[0]?.signatureAlgorithm, algorithm)
            assert.equal(await judged(format, message, { content: bytesSource(firmware.with(3, 0)) }), 'invalid rawSignature')
            seen++
          }
        }
      assert.equal(seen, 2 * (3 + 6 + 2 + 2))
    })

    test('around the file it needs nothing beside; with a file beside as well it is refused', async () => {
      for (const octets of [firmware, new Uint8Array()]) {
        const message = await sign(format, signer('ecdsa-p256'), { content: 'attached' }, octets)
        if (octets.length > 0 || format !== jws) assert.equal(await judged(format, message), 'valid')
        if (octets.length > 0) assert.equal(await judged(format, message, beside), 'malformed messageContentTwice')
      }
      const detached = await sign(format, signer('ecdsa-p256'))
      assert.equal(await judged(format, detached), 'malformed contentNotGiven')
    })

    test('with a thumbprint only, the certificate must be given, and be that one', async () => {
      const message = await sign(format, signer('ecdsa-p256'), { certificates: 'thumbprint' })
      const given = (trial: TrialSigner): Beside => ({ ...beside, certificates: trial.answering.certificates })
      assert.equal(await judged(format, message, given(signer('ecdsa-p256'))), 'valid')
      assert.equal(await judged(format, message, given(signer('ecdsa-p384'))), 'unknown certificateNotGiven')
      assert.equal(await judged(format, message, beside), 'unknown certificateNotGiven')
    })

    test('what is too large to stand inside is refused before it is read', async () => {
      const source = { size: (8 << 20) + 1, read: () => assert.fail('it was read') }
      const asked = format.toBeSigned(source, { ...choicesOf(signer('ecdsa-p256')), options: { content: 'attached' } })
      assert.equal(await refusal(asked), 'tooLarge artifactPartTooLarge')
    })

    test('a large file is asked for as its digest where the algorithm takes one, and whole where not', async () => {
      const large = bytesSource(new Uint8Array(100_000))
      const [digest] = (await format.toBeSigned(large, choicesOf(signer('ecdsa-p256')))).requests
      assert.ok(digest.type === 'raw' && 'digest' in digest.message)
      const [message] = (await format.toBeSigned(large, choicesOf(signer('ed25519')))).requests
      assert.ok(message.type === 'raw' && 'octets' in message.message && message.message.octets.length > 100_000)
    })

    test('a key without a certificate, an answer that is none', async () => {
      const choices = { ...choicesOf(signer('ecdsa-p256')), certificates: [] as unknown as readonly [Uint8Array] }
      assert.equal(await refusal(format.toBeSigned(bytesSource(firmware), choices)), 'policyRefused formatNeedsCertificate')
      const { attach } = await format.toBeSigned(bytesSource(firmware), choicesOf(signer('ecdsa-p256')))
      for (const answers of [[], [new Uint8Array()], [Uint8Array.of(1, 2, 3)]])
        assert.throws(() => attach(answers), { code: 'malformed' })
    })
  })

for (const format of several)
  describe(`${format.id}, several keys`, () => {
    test('R31: both verify, with a certificate in the message or only named', async () => {
      for (const options of [{}, { content: 'attached' }, { certificates: 'thumbprint' }, { names: 'specified' }]) {
        const message = await sign(format, dual(), options)
        const certificates = ['ecdsa-p256', 'ml-dsa-65'].map((id) => signer(id as 'ecdsa-p256').answering.certificates[0])
        const isAttached = 'content' in options
        const report = await verified(format, message, isAttached ? undefined : { ...beside, certificates })
        assert.equal(report.valid, true, JSON.stringify(report.signatures.map(({ problem }) => problem)))
        assert.deepEqual(
          report.signatures.map(({ signatureAlgorithm, verdict }) => [signatureAlgorithm, verdict]),
          [
            ['ecdsa-sha256', 'valid'],
            ['ml-dsa-65', 'valid'],
          ],
        )
      }
    })

    test('R31: neither signature can be taken away, exchanged or hidden', async () => {
      const message = await sign(format, dual())
      const other = await sign(format, withCompanion(signer('ecdsa-p256'), signer('ml-dsa-44')))
      const alone = await sign(format, signer('ml-dsa-65'), format === jws ? { serialization: 'general' } : {})
      const [ours, theirs, lone] = [message, other, alone].map((octets) => parts(format, octets))
      assert.ok(ours !== undefined && theirs !== undefined && lone !== undefined)
      const [classical, quantum] = ours as [unknown, unknown]
      const missing = 'invalid messageSignatureMissing'
      for (const [name, list, expected] of [
        ['as it was', [classical, quantum], 'valid'],
        ['the other way round', [quantum, classical], 'valid'],
        ['without the post-quantum one', [classical], missing],
        ['without the classical one', [quantum], missing],
        ['with the classical one twice', [classical, classical], `${missing}, ${missing}`],
        ['with another key’s in place of the post-quantum one', [classical, theirs[1]], `${missing}, valid `],
        ['with the same key’s of another message, which names nobody', [classical, lone[0]], 'valid'],
        ['with one that is broken', [classical, broken(format, quantum)], /invalid rawSignature/],
        ['with one of an unknown algorithm', [classical, unknown(format, quantum)], /invalid messageSignatureMissing/],
      ] as const) {
        const seen = await judged(format, rebuilt(format, message, list), beside)
        if (typeof expected === 'string') assert.equal(seen, expected, name)
        else assert.match(seen, expected, name)
      }
    })
  })

/** Its signatures, each as it stands in it. */
function parts(format: SigningFormat, octets: Uint8Array): readonly unknown[] {
  if (format === jws) return parseJSONObject(octets)['signatures'] as readonly JSONObject[]
  return (parseCOSE(octets) as COSESign).signatures
}
function rebuilt(format: SigningFormat, octets: Uint8Array, list: readonly unknown[]): Uint8Array {
  if (format === jws) return utf8(JSON.stringify({ ...parseJSONObject(octets), signatures: list }))
  return encodeCOSE({ ...(parseCOSE(octets) as COSESign), signatures: list as COSESign['signatures'] })
}
function broken(format: SigningFormat, part: unknown): unknown {
  if (format === jws) {
    const { signature, ...rest } = part as { readonly signature: string }
    return { ...rest, signature: `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}` }
  }
  const { signature, ...rest } = part as COSESign['signatures'][number]
  return { ...rest, signature: signature.with(9, (signature[9] as number) ^ 1) }
}
function unknown(format: SigningFormat, part: unknown): unknown {
  if (format === jws) return { ...(part as object), protected: toBase64url(utf8('{"alg":"none"}')) }
  const { headers: own, ...rest } = part as COSESign['signatures'][number]
  return { ...rest, headers: { ...own, protectedOctets: encodeCBOR(new Map([[1, 5]])) } }
}

test('cose-sign1 and the compact form carry one signature', async () => {
  assert.equal(await refusal(sign(coseSign1, dual())), 'policyRefused formatOneKey')
  for (const serialization of ['compact', 'flattened'])
    assert.equal(await refusal(sign(jws, dual(), { serialization })), 'malformed formatOption')
})

test('each form of JWS, and what its header says', async () => {
  for (const serialization of ['compact', 'flattened', 'general']) {
    const message = await sign(jws, signer('ecdsa-p256'), { serialization, type: 'JOSE', contentType: 'octet-stream' })
    assert.equal(await judged(jws, message, beside), 'valid')
    assert.equal(await jws.detect(bytesSource(message)), true)
    const encoded = /[\w-]{50,}/.exec(text(message))?.[0] ?? ''
    const header = parseJSONObject(Uint8Array.fromBase64(encoded, { alphabet: 'base64url' }))
    assert.deepEqual(Object.keys(header), ['alg', 'typ', 'cty', 'x5t#S256', 'x5c'])
  }
})

test('RFC 7797: a detached file is signed as it is, and the header says so', async () => {
  const message = await sign(jws, signer('ed25519'), { payload: 'unencoded' })
  const [header = '', between] = text(message).split('.')
  const { b64, crit } = parseJSONObject(Uint8Array.fromBase64(header, { alphabet: 'base64url' }))
  assert.deepEqual([b64, crit, between], [false, ['b64'], ''])
  assert.equal(await judged(jws, message, beside), 'valid')
  assert.equal(
    await refusal(sign(jws, signer('ed25519'), { payload: 'unencoded', content: 'attached' })),
    'malformed formatOption',
  )
})

test('no algorithm is chosen by the message: `none`, an HMAC with the public key, another key’s', async () => {
  const message = text(await sign(jws, signer('rsa-2048'), { content: 'attached' }))
  const [header = '', payload, signature] = message.split('.')
  const members = parseJSONObject(Uint8Array.fromBase64(header, { alphabet: 'base64url' }))
  const forged = (alg: string, proof = signature): Uint8Array =>
    utf8(`${toBase64url(utf8(JSON.stringify({ ...members, alg })))}.${payload}.${proof}`)
  assert.equal(await judged(jws, forged('RS256')), 'valid')
  assert.equal(await judged(jws, forged('none', '')), 'unknown messageNameUnknown')
  assert.equal(await judged(jws, forged('HS256')), 'unknown messageNameUnknown')
  assert.equal(await judged(jws, forged('ES256')), 'badProof messageNameOther')
  assert.equal(await judged(jws, forged('PS256')), 'invalid rawSignature')
})

test('a key of the message’s own is never used', async () => {
  const message = text(await sign(jws, signer('ed25519'), { content: 'attached', certificates: 'thumbprint' }))
  const [header = '', payload, signature] = message.split('.')
  const { alg } = parseJSONObject(Uint8Array.fromBase64(header, { alphabet: 'base64url' }))
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: toBase64url(new Uint8Array(32)) }
  const forged = `${toBase64url(utf8(JSON.stringify({ alg, jwk, jku: 'https://a.example' })))}.${payload}.${signature}`
  assert.equal(await judged(jws, utf8(forged)), 'unknown certificateNotGiven')
})

test('what must be understood and is not makes a signature unknown; a certificate that is not the named one, refused', async () => {
  const message = parseCOSE(await sign(coseSign1, signer('ecdsa-p256')))
  assert.ok(message.type === 'sign1')
  const withHeader = (...entries: readonly (readonly [Label, CBOR])[]): Uint8Array => {
    const map: CBORMap = new Map([...message.headers.protected, ...entries])
    return encodeCOSE({ ...message, headers: { ...message.headers, protectedOctets: encodeCBOR(map) } })
  }
  assert.equal(await judged(coseSign1, withHeader(), beside), 'valid')
  assert.equal(await judged(coseSign1, withHeader([headers.crit, ['theirs']], ['theirs', 1]), beside), 'unknown criticalHeader')
  assert.equal(
    await judged(coseSign1, withHeader([headers.x5t, [-16, new Uint8Array(32)]]), beside),
    'malformed messageCertificate',
  )
  assert.equal(
    await judged(coseSign1, withHeader([headers.x5chain, signer('ecdsa-p384').answering.certificates[0]]), beside),
    'malformed messageCertificate',
  )
  assert.equal(await judged(coseSign1, withHeader([OTHERS, 'x']), beside), 'malformed notCBOR')
})

test('RFC 9995: over the digest of a file of any size, also with keys that take the message', async () => {
  const large = { size: 64 << 20, read: async (_: number, length: number) => new Uint8Array(length) }
  const options = { content: 'hash', contentType: 'text/plain' }
  const [first, second] = (await coseSign.toBeSigned(large, { ...choicesOf(dual()), options })).requests
  for (const request of [first, second])
    assert.ok(request?.type === 'raw' && 'octets' in request.message && request.message.octets.length < 20_000)
  for (const [format, trial, hash] of [
    [coseSign, dual(), -44],
    [coseSign1, signer('ecdsa-p256'), -16],
    [coseSign1, signer('ed25519'), -44],
  ] as const) {
    const octets = await sign(format, trial, options)
    const message = parseCOSE(octets)
    assert.deepEqual([message.headers.protected.get(258), message.headers.protected.get(259)], [hash, 'text/plain'])
    assert.equal(await judged(format, octets, beside), 'valid')
    assert.match(await judged(format, octets, { content: bytesSource(firmware.with(3, 0)) }), /^invalid artifactChanged/)
    assert.equal(await judged(format, octets), 'malformed contentNotGiven')
    const other = { ...message, payload: new Uint8Array(message.payload?.length ?? 0) }
    assert.match(await judged(format, encodeCOSE(other), beside), /^invalid rawSignature/)
    const { payload: _, ...bare } = message
    assert.equal(await judged(format, encodeCOSE(bare), beside), 'valid')
  }
  const message = parseCOSE(await sign(coseSign1, signer('ecdsa-p256'), options))
  const withHeaders = (own: ReadonlyMap<Label, CBOR>, unprotected: ReadonlyMap<Label, CBOR> = new Map()): Uint8Array =>
    encodeCOSE({ ...message, headers: { ...message.headers, unprotected, protectedOctets: encodeCBOR(own) } })
  const { protected: map } = message.headers
  assert.equal(await judged(coseSign1, withHeaders(new Map([...map, [258, -45]])), beside), 'unsupported coseHash')
  assert.equal(await judged(coseSign1, withHeaders(new Map([...map, [3, 0]])), beside), 'malformed notCOSE')
  const moved = new Map([...map].filter(([label]) => label !== 258))
  assert.equal(await judged(coseSign1, withHeaders(moved, new Map([[258, -16]])), beside), 'malformed notCOSE')
})

test('the two kinds of COSE are not taken for each other', async () => {
  assert.equal(await judged(coseSign, await sign(coseSign1, signer('ecdsa-p256')), beside), 'malformed notCOSE')
  assert.equal(await judged(coseSign1, await sign(coseSign, signer('ecdsa-p256')), beside), 'malformed notCOSE')
})

test('a long file with long signatures around it still shows what it is', async () => {
  const both = withCompanion(signer('ed25519'), signer('ml-dsa-65'))
  const long = new Uint8Array(50_000)
  for (const [format, trial, options] of [
    [jws, both, {}],
    [jws, signer('ml-dsa-65'), { serialization: 'flattened' }],
    [jws, signer('ml-dsa-65'), { serialization: 'compact' }],
    [dsse, signer('ml-dsa-65'), {}],
    [coseSign, both, {}],
  ] as const) {
    const message = bytesSource(await sign(format, trial, { ...(format !== dsse && { content: 'attached' }), ...options }, long))
    assert.equal((await detectFormat(message)).id, format.id)
  }
})

test('a content type is text, or a number of CoAP', async () => {
  for (const [contentType, value] of [
    ['application/octet-stream', 'application/octet-stream'],
    ['42', 42],
  ] as const) {
    const message = parseCOSE(await sign(coseSign1, signer('ecdsa-p256'), { contentType }))
    assert.equal(message.headers.protected.get(headers.contentType), value)
  }
})

test('text and octets read in ranges are what they are read whole', async () => {
  const octets = Uint8Array.from({ length: 50 }, (_, i) => i * 5)
  for (const length of [0, 1, 2, 3, 49, 50]) {
    const source = bytesSource(octets.subarray(0, length))
    const encoded = toBase64url(octets.subarray(0, length))
    const all = joined(utf8('head.'), base64urlOf(source), utf8('!'))
    const expected = `head.${encoded}!`
    assert.equal(all.size, expected.length)
    for (let at = 0; at <= all.size; at++)
      for (const count of [0, 1, 3, 4, 7, all.size - at].filter((one) => at + one <= all.size))
        assert.equal(text(await all.read(at, count)), expected.slice(at, at + count))
    await assert.rejects(all.read(1, all.size), RangeError)
    await assert.rejects(base64urlOf(source).read(0, encoded.length + 1), RangeError)
  }
})
