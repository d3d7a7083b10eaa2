import assert from 'node:assert/strict'
import { checkPrimeSync, createPublicKey, generateKeyPairSync, generatePrimeSync, sign } from 'node:crypto'
import { describe, test } from 'node:test'
import { ANY } from '#asn1/any.ts'
import { decode, encode, sequence } from '#asn1/codec.ts'
import { BIT_STRING_OCTETS, INTEGER } from '#asn1/types.ts'
import { identifySignature, importPublicKey, type PublicKey, verifySignature } from './public-key.ts'
import { type KeyAlgorithmId, keyAlgorithm, keyAlgorithms, type SignatureAlgorithmId, signatureAlgorithms } from './table.ts'
import { rsaWeakness } from './weak-rsa.ts'

const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(' ', ''))
const spkiOf = (algorithm: string, subjectPublicKey: Uint8Array) =>
  encode(sequence('SubjectPublicKeyInfo', { algorithm: ANY, subjectPublicKey: BIT_STRING_OCTETS }), {
    algorithm: bytes(algorithm),
    subjectPublicKey,
  })
const message = new TextEncoder().encode('sealed')

const P256 = '3013 06072a8648ce3d0201 06082a8648ce3d030107'
const P384 = '3010 06072a8648ce3d0201 06052b81040022'
const P521 = '3010 06072a8648ce3d0201 06052b81040023'
const RSA = '300d 06092a864886f70d010101 0500'

function pairOf(id: KeyAlgorithmId) {
  const { parameters } = keyAlgorithm(id)
  const pair =
    'curve' in parameters
      ? generateKeyPairSync('ec', { namedCurve: parameters.curve })
      : generateKeyPairSync('rsa', { modulusLength: parameters.modulusBits })
  const spki = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }))
  return { spki, key: importPublicKey(spki), privateKey: pair.privateKey }
}
const pairs = new Map(keyAlgorithms.map(({ id }) => [id, pairOf(id)]))
const pair = (id: KeyAlgorithmId) => pairs.get(id) as ReturnType<typeof pairOf>

describe('every key algorithm of the table', () => {
  for (const { id, identifier, parameters, signsWith, family } of keyAlgorithms) {
    test(`${id} is recognized by what OpenSSL writes`, () => {
      const { spki, key } = pair(id)
      assert.equal(key.algorithm, id)
      assert.deepEqual(key.spki, spki)
      assert.equal(spkiOf(identifier, key.subjectPublicKey).toHex(), spki.toHex())
      if ('pointOctets' in parameters) assert.equal(key.subjectPublicKey.length, parameters.pointOctets)
    })

    test(`${id} verifies its own signature and no other`, async () => {
      const { key, privateKey } = pair(id)
      const { digest } = signatureAlgorithms.find((row) => row.id === signsWith) as (typeof signatureAlgorithms)[number]
      const octets = new Uint8Array(sign(digest, message, privateKey))
      const verify = (algorithm: SignatureAlgorithmId, by: PublicKey, over: Uint8Array, signature = octets) =>
        verifySignature({ algorithm, octets: signature }, by, over)
      assert.equal(await verify(signsWith, key, message), true)
      assert.equal(await verify(signsWith, key, message.subarray(1)), false)
      assert.equal(await verify(signsWith, pairOf(id).key, message), false)
      assert.equal(await verify(signsWith, key, message, octets.with(9, (octets[9] as number) ^ 1)), false)
      assert.equal(await verify(signsWith, key, message, new Uint8Array()), false)
      assert.equal(await verify(family === 'ec' ? 'rsa-sha256' : 'ecdsa-sha256', key, message), false)
      const otherDigest = signatureAlgorithms.find(
        (row) => row.family === family && row.digest !== digest,
      ) as (typeof signatureAlgorithms)[number]
      assert.equal(await verify(otherDigest.id, key, message), false)
    })
  }

  test('a key and its signature algorithm are of one family, and every row is allowed', () => {
    for (const { signsWith, family } of keyAlgorithms) {
      assert.equal(signatureAlgorithms.find(({ id }) => id === signsWith)?.family, family)
    }
    for (const { standing } of [...keyAlgorithms, ...signatureAlgorithms]) assert.equal(standing, 'allowed')
  })
})

describe('every signature algorithm of the table', () => {
  // written by hand from RFC 5758, 3.2 and RFC 4055, 5
  const identifiers: Readonly<Record<SignatureAlgorithmId, string>> = {
    'ecdsa-sha256': '300a 0608 2a8648ce3d040302',
    'ecdsa-sha384': '300a 0608 2a8648ce3d040303',
    'ecdsa-sha512': '300a 0608 2a8648ce3d040304',
    'rsa-sha256': '300d 0609 2a864886f70d01010b 0500',
    'rsa-sha384': '300d 0609 2a864886f70d01010c 0500',
    'rsa-sha512': '300d 0609 2a864886f70d01010d 0500',
  }
  for (const [id, identifier] of Object.entries(identifiers))
    test(id, () => assert.equal(identifySignature(bytes(identifier)), id))

  const refused = [
    ['ECDSA with NULL parameters (RFC 5758, 3.2)', '300c 0608 2a8648ce3d040302 0500'],
    ['RSA without parameters (RFC 4055, 5)', '300b 0609 2a864886f70d01010b'],
    ['ECDSA with SHA-1', '3009 0607 2a8648ce3d0401'],
    ['RSA with SHA-1', '300d 0609 2a864886f70d010105 0500'],
    ['RSA with MD5', '300d 0609 2a864886f70d010104 0500'],
    ['a long length', '30810a 0608 2a8648ce3d040302'],
    ['nothing', ''],
  ] as const
  for (const [name, identifier] of refused) {
    test(`refuses ${name}`, () =>
      assert.throws(() => identifySignature(bytes(identifier)), { code: 'unsupported', reason: 'signatureAlgorithm' }))
  }
})

describe('elliptic curve keys that are refused', () => {
  const { subjectPublicKey: point } = pair('ecdsa-p256').key
  const compressed = Uint8Array.of(0x02 | ((point[64] as number) & 1), ...point.subarray(1, 33))
  const hybrid = point.with(0, 0x06 | ((point[64] as number) & 1))
  const explicit = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey
  const explicitSpki = new Uint8Array(explicit.export({ format: 'der', type: 'spki' }))
  const cases: readonly (readonly [name: string, spki: Uint8Array, code: string, reason: string])[] = [
    ['a compressed point', spkiOf(P256, compressed), 'unsupported', 'pointForm'],
    ['a hybrid point', spkiOf(P256, hybrid), 'unsupported', 'pointForm'],
    ['the point at infinity', spkiOf(P256, bytes('00')), 'unsupported', 'pointForm'],
    ['no point', spkiOf(P256, new Uint8Array()), 'unsupported', 'pointForm'],
    ['a point with an octet more', spkiOf(P256, Uint8Array.of(...point, 0)), 'unsupported', 'pointForm'],
    ['a point of another curve', spkiOf(P384, point), 'unsupported', 'pointForm'],
    ['a point off its curve', spkiOf(P256, point.with(64, (point[64] as number) ^ 1)), 'malformed', 'keyUnusable'],
    ['zeros', spkiOf(P256, new Uint8Array(65).with(0, 4)), 'malformed', 'keyUnusable'],
    ['coordinates beyond the field', spkiOf(P256, new Uint8Array(65).fill(0xff).with(0, 4)), 'malformed', 'keyUnusable'],
    ['a point off P-384', spkiOf(P384, new Uint8Array(97).fill(1).with(0, 4)), 'malformed', 'keyUnusable'],
    ['explicit curve parameters (RFC 5480, 2.1.1)', explicitSpki, 'unsupported', 'keyAlgorithm'],
    ['implicit curve parameters', spkiOf('300b 06072a8648ce3d0201 0500', point), 'unsupported', 'keyAlgorithm'],
    ['no curve', spkiOf('3009 06072a8648ce3d0201', point), 'unsupported', 'keyAlgorithm'],
    ['P-521, which has no row', spkiOf(P521, new Uint8Array(133).with(0, 4)), 'unsupported', 'keyAlgorithm'],
    [
      'id-ecDH instead of id-ecPublicKey',
      spkiOf('3011 06052b8104010c 06082a8648ce3d030107', point),
      'unsupported',
      'keyAlgorithm',
    ],
    ['an unknown algorithm', spkiOf('3005 06032b6570', new Uint8Array(32)), 'unsupported', 'keyAlgorithm'],
    ['an algorithm that is no SEQUENCE', spkiOf('0500', point), 'unsupported', 'keyAlgorithm'],
    ['bytes after it', Uint8Array.of(...spkiOf(P256, point), 0), 'malformed', 'notDER'],
    ['a missing octet', spkiOf(P256, point).subarray(0, -1), 'malformed', 'notDER'],
    ['unused bits', spkiOf(P256, point).with(25, 1), 'malformed', 'notDER'],
    ['nothing', new Uint8Array(), 'malformed', 'notDER'],
  ]
  for (const [name, spki, code, reason] of cases)
    test(name, () => assert.throws(() => importPublicKey(spki), { name: 'TrustError', code, reason }))

  test('explicit parameters are refused by us, for OpenSSL takes them', () => {
    assert.ok(explicitSpki.length > 300)
    assert.equal(createPublicKey({ key: Buffer.from(explicitSpki), format: 'der', type: 'spki' }).asymmetricKeyType, 'ec')
  })
})

describe('RSA keys that are refused', () => {
  const RSAPublicKey = sequence('RSAPublicKey', { modulus: INTEGER, publicExponent: INTEGER })
  const { modulus, publicExponent } = decode(RSAPublicKey, pair('rsa-2048').key.subjectPublicKey)
  const of = (n: bigint, e: bigint) => spkiOf(RSA, encode(RSAPublicKey, { modulus: n, publicExponent: e }))
  const content = pair('rsa-2048').key.subjectPublicKey

  test('the example itself is none of them', () =>
    assert.equal(importPublicKey(of(modulus, publicExponent)).algorithm, 'rsa-2048'))

  const cases: readonly (readonly [name: string, spki: Uint8Array, code: string, reason: string])[] = [
    [
      '1024 bits',
      new Uint8Array(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'der', type: 'spki' })),
      'policyRefused',
      'keyTooShort',
    ],
    ['2047 bits', of(modulus >> 1n, 65537n), 'policyRefused', 'keyTooShort'],
    ['2049 bits', of((modulus << 1n) | 1n, 65537n), 'unsupported', 'keyAlgorithm'],
    ['4096 bits, which have no row', of(2n ** 4096n - 1n, 65537n), 'unsupported', 'keyAlgorithm'],
    ['exponent 1', of(modulus, 1n), 'policyRefused', 'keyExponent'],
    ['exponent 3', of(modulus, 3n), 'policyRefused', 'keyExponent'],
    ['exponent 65535', of(modulus, 65535n), 'policyRefused', 'keyExponent'],
    ['an even exponent', of(modulus, 65538n), 'policyRefused', 'keyExponent'],
    ['an exponent of 257 bits', of(modulus, 2n ** 256n + 1n), 'policyRefused', 'keyExponent'],
    ['exponent zero', of(modulus, 0n), 'malformed', 'keyUnusable'],
    ['a negative exponent', of(modulus, -65537n), 'malformed', 'keyUnusable'],
    ['modulus zero', of(0n, 65537n), 'malformed', 'keyUnusable'],
    ['a negative modulus', of(-modulus, 65537n), 'malformed', 'keyUnusable'],
    ['an even modulus', of(modulus - 1n, 65537n), 'policyRefused', 'keyWeak'],
    ['no parameters (RFC 3279, 2.3.1)', spkiOf('300b 06092a864886f70d010101', content), 'unsupported', 'keyAlgorithm'],
    ['RSASSA-PSS parameters', spkiOf('300d 06092a864886f70d01010a 3000', content), 'unsupported', 'keyAlgorithm'],
    ['bytes after the key', spkiOf(RSA, Uint8Array.of(...content, 0)), 'malformed', 'notDER'],
    ['a modulus with a leading zero octet', spkiOf(RSA, padded(content)), 'malformed', 'notDER'],
    ['no key', spkiOf(RSA, new Uint8Array()), 'malformed', 'notDER'],
  ]
  for (const [name, spki, code, reason] of cases)
    test(name, () => assert.throws(() => importPublicKey(spki), { name: 'TrustError', code, reason }))

  test('an exponent of 256 bits is taken', () => {
    assert.equal(importPublicKey(of(modulus, 2n ** 255n + 1n)).algorithm, 'rsa-2048')
  })
})

/** One zero octet more before the modulus, its lengths adjusted. */
function padded(rsaPublicKey: Uint8Array): Uint8Array {
  const inner = Uint8Array.of(0x02, 0x82, 0x01, 0x02, 0, ...rsaPublicKey.subarray(8))
  return Uint8Array.of(0x30, 0x82, 0x01, 0x0b, ...inner)
}

describe('weak moduli', () => {
  const prime = (bits: number) => generatePrimeSync(bits, { bigint: true })
  const nextPrime = (after: bigint) => {
    for (let candidate = after + 2n; ; candidate += 2n) if (checkPrimeSync(candidate)) return candidate
  }

  test('sound ones pass', () => {
    for (const bits of [512, 1024]) assert.equal(rsaWeakness(prime(bits) * prime(bits)), undefined)
  })
  for (const factor of [2n, 3n, 5n, 743n, 751n]) {
    test(`the factor ${factor}`, () => assert.equal(rsaWeakness(prime(1024) * factor), 'small factor'))
  }
  test('757 is not looked for', () => assert.equal(rsaWeakness(prime(1024) * 757n), undefined))

  test('primes next to each other, and a square', () => {
    const p = prime(512)
    assert.equal(rsaWeakness(p * nextPrime(p)), 'close primes')
    assert.equal(rsaWeakness(p * p), 'close primes')
  })
  test('primes that Fermat meets in a hundred rounds, and not in many more', () => {
    // round i tries a = √n + i, and a - √n is (p - q)² / 8√n
    const p = prime(512)
    const apart = (rounds: bigint) => {
      let distance = 1n << 253n
      while ((distance * distance) / (8n * p) < rounds) distance += distance / 64n
      return nextPrime((p + distance) | 1n)
    }
    assert.equal(rsaWeakness(p * apart(40n)), 'close primes')
    assert.equal(rsaWeakness(p * apart(1000n)), undefined)
  })

  test('primes as a broken smart card library made them (CVE-2017-15361)', () => {
    // p = k M + (65537^a mod M), M the product of the first 39 primes
    let product = 1n
    for (let n = 2n; n <= 167n; n++) if (checkPrimeSync(n)) product *= n
    const broken = () => {
      let residue = 65537n ** 37n % product
      for (let k = 1n << 40n; ; k++) {
        residue = (residue * 65537n) % product
        const candidate = k * product + residue
        if (checkPrimeSync(candidate)) return candidate
      }
    }
    const p = broken()
    assert.equal(rsaWeakness(p * nextBroken(p, product)), 'predictable primes')
    assert.equal(rsaWeakness(p * prime(256)), undefined)
  })
})

/** Another prime of the same kind, far enough from the first not to be a close one. */
function nextBroken(p: bigint, product: bigint): bigint {
  const residue = (p * 65537n) % product
  for (let k = 1n << 50n; ; k++) if (checkPrimeSync(k * product + residue)) return k * product + residue
}
