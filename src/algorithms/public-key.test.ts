import assert from 'node:assert/strict'
import { checkPrimeSync, createPublicKey, generateKeyPairSync, generatePrimeSync } from 'node:crypto'
import { describe, test } from 'node:test'
import { ANY } from '#asn1/any.ts'
import { decode, encode, sequence } from '#asn1/codec.ts'
import { BIT_STRING_OCTETS, INTEGER } from '#asn1/types.ts'
import { generateKey, signMessage } from './private-key.ts'
import { identifySignature, importPublicKey, type PublicKey, verifySignature } from './public-key.ts'
import { type KeyAlgorithmId, keyAlgorithms, type SignatureAlgorithmId, signatureAlgorithms, signaturesOf } from './table.ts'
import { rsaWeakness } from './weak-rsa.ts'

const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(/\s/g, ''))
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

async function pairOf(id: KeyAlgorithmId) {
  const { publicKey, privateKey } = await generateKey(id)
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  return { spki, key: importPublicKey(spki), privateKey }
}
type Pair = Awaited<ReturnType<typeof pairOf>>
const pairs = new Map(await Promise.all(keyAlgorithms.map(async ({ id }) => [id, await pairOf(id)] as const)))
const pair = (id: KeyAlgorithmId) => pairs.get(id) as Pair

describe('every key algorithm of the table', () => {
  for (const { id, identifier, parameters, signsWith, family } of keyAlgorithms) {
    test(`${id} is recognized by what OpenSSL writes`, () => {
      const { spki, key } = pair(id)
      assert.equal(key.algorithm, id)
      assert.deepEqual(key.spki, spki)
      assert.equal(spkiOf(identifier, key.subjectPublicKey).toHex(), spki.toHex())
      if ('pointOctets' in parameters) assert.equal(key.subjectPublicKey.length, parameters.pointOctets)
    })

    test(`${id} verifies each of its signatures and no other`, async () => {
      const { key, privateKey } = pair(id)
      const other = keyAlgorithms.find((row) => row.family === family && row.id !== id)
      const stranger = (other === undefined ? await pairOf(id) : pair(other.id)).key
      const own = signaturesOf(id).map((row) => row.id as SignatureAlgorithmId)
      assert.ok(own.includes(signsWith))
      for (const scheme of signaturesOf(id)) {
        const algorithm = scheme.id as SignatureAlgorithmId
        const octets = await signMessage(message, scheme, privateKey, true)
        const verify = (by: PublicKey, over: Uint8Array, signature = octets, as = algorithm) =>
          verifySignature({ algorithm: as, octets: signature }, by, over)
        assert.equal(await verify(key, message), true)
        assert.equal(await verify(key, message.subarray(1)), false)
        assert.equal(await verify(stranger, message), false)
        assert.equal(await verify(key, message, octets.with(9, (octets[9] as number) ^ 1)), false)
        assert.equal(await verify(key, message, octets.subarray(0, -1)), false)
        assert.equal(await verify(key, message, Uint8Array.of(...octets, 0)), false)
        assert.equal(await verify(key, message, new Uint8Array()), false)
        for (const row of signatureAlgorithms.filter((one) => one.id !== algorithm)) {
          assert.equal(await verify(key, message, octets, row.id), false, row.id)
        }
      }
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
  // written by hand from RFC 5758, 3.2; RFC 4055, 3.1 and 5; RFC 8410, 3; RFC 9881, 2; RFC 9909, 3
  const pss = (hash: string, salt: string) =>
    `3041 0609 2a864886f70d01010a 3034 a00f 300d 0609 ${hash} 0500
     a11c 301a 0609 2a864886f70d010108 300d 0609 ${hash} 0500 a203 0201 ${salt}`
  const identifiers: Readonly<Record<SignatureAlgorithmId, string>> = {
    'ecdsa-sha256': '300a 0608 2a8648ce3d040302',
    'ecdsa-sha384': '300a 0608 2a8648ce3d040303',
    'ecdsa-sha512': '300a 0608 2a8648ce3d040304',
    'rsa-sha256': '300d 0609 2a864886f70d01010b 0500',
    'rsa-sha384': '300d 0609 2a864886f70d01010c 0500',
    'rsa-sha512': '300d 0609 2a864886f70d01010d 0500',
    'rsa-pss-sha256': pss('608648016503040201', '20'),
    'rsa-pss-sha384': pss('608648016503040202', '30'),
    'rsa-pss-sha512': pss('608648016503040203', '40'),
    ed25519: '3005 0603 2b6570',
    ed448: '3005 0603 2b6571',
    'ml-dsa-44': '300b 0609 608648016503040311',
    'ml-dsa-65': '300b 0609 608648016503040312',
    'ml-dsa-87': '300b 0609 608648016503040313',
    'slh-dsa-sha2-128s': '300b 0609 608648016503040314',
    'slh-dsa-sha2-192s': '300b 0609 608648016503040316',
    'slh-dsa-sha2-256s': '300b 0609 608648016503040318',
  }
  for (const [id, identifier] of Object.entries(identifiers))
    test(id, () => assert.equal(identifySignature(bytes(identifier)), id))

  const refused = [
    ['ECDSA with NULL parameters (RFC 5758, 3.2)', '300c 0608 2a8648ce3d040302 0500'],
    ['RSA without parameters (RFC 4055, 5)', '300b 0609 2a864886f70d01010b'],
    ['ECDSA with SHA-1', '3009 0607 2a8648ce3d0401'],
    ['RSA with SHA-1', '300d 0609 2a864886f70d010105 0500'],
    ['RSA with MD5', '300d 0609 2a864886f70d010104 0500'],
    ['PSS without parameters', '300b 0609 2a864886f70d01010a'],
    ['PSS with its defaults, which are SHA-1', '300d 0609 2a864886f70d01010a 3000'],
    ['PSS with a salt shorter than the digest', pss('608648016503040201', '10')],
    ['PSS with a digest of 512 bits and a salt of 256', pss('608648016503040203', '20')],
    ['Ed25519 with NULL parameters (RFC 8410, 3)', '3007 0603 2b6570 0500'],
    ['ML-DSA with NULL parameters (RFC 9881, 2)', '300d 0609 608648016503040312 0500'],
    ['HashML-DSA-65', '300b 0609 608648016503040321'],
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
    ['a point off P-521', spkiOf(P521, new Uint8Array(133).fill(1).with(0, 4)), 'malformed', 'keyUnusable'],
    [
      'P-224, which has no row',
      spkiOf('3010 06072a8648ce3d0201 06052b81040021', new Uint8Array(57)),
      'unsupported',
      'keyAlgorithm',
    ],
    [
      'id-ecDH instead of id-ecPublicKey',
      spkiOf('3011 06052b8104010c 06082a8648ce3d030107', point),
      'unsupported',
      'keyAlgorithm',
    ],
    ['X25519, which does not sign', spkiOf('3005 06032b656e', new Uint8Array(32)), 'unsupported', 'keyAlgorithm'],
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

describe('Edwards curve keys that are refused', () => {
  const ED25519 = '3005 06032b6570'
  const ED448 = '3005 06032b6571'
  const little = (value: bigint, octets: number) => bytes(value.toString(16).padStart(2 * octets, '0')).toReversed()
  const p25519 = 2n ** 255n - 19n
  const p448 = 2n ** 448n - 2n ** 224n - 1n
  const { subjectPublicKey: point } = pair('ed25519').key
  const { subjectPublicKey: longPoint } = pair('ed448').key
  const cases: readonly (readonly [name: string, spki: Uint8Array])[] = [
    ['Ed25519: an octet more', spkiOf(ED25519, Uint8Array.of(...point, 0))],
    ['Ed25519: an octet less', spkiOf(ED25519, point.subarray(1))],
    ['Ed25519: nothing', spkiOf(ED25519, new Uint8Array())],
    ['Ed25519: y of 2, which has no x', spkiOf(ED25519, little(2n, 32))],
    ['Ed25519: y = p + 3, which is 3 written otherwise', spkiOf(ED25519, little(p25519 + 3n, 32))],
    ['Ed25519: the neutral point', spkiOf(ED25519, little(1n, 32))],
    ['Ed25519: the point of order 2', spkiOf(ED25519, little(p25519 - 1n, 32))],
    ['Ed25519: a point of order 4', spkiOf(ED25519, little(0n, 32))],
    ['Ed25519: a point of order 8', spkiOf(ED25519, bytes('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'))],
    [
      'Ed25519: another point of order 8, x negative',
      spkiOf(ED25519, bytes('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa')),
    ],
    ['Ed448: the neutral point', spkiOf(ED448, little(1n, 57))],
    ['Ed448: y beyond the field', spkiOf(ED448, little(p448 + 3n, 57))],
    ['Ed448: bits after the sign', spkiOf(ED448, longPoint.with(56, 1))],
    ['Ed448: a point of Ed25519', spkiOf(ED448, point)],
    ['ML-DSA-65: a key of ML-DSA-44', spkiOf('300b 0609 608648016503040312', pair('ml-dsa-44').key.subjectPublicKey)],
    ['SLH-DSA: an octet less', spkiOf('300b 0609 608648016503040314', new Uint8Array(31))],
  ]
  for (const [name, spki] of cases)
    test(name, () => assert.throws(() => importPublicKey(spki), { code: 'malformed', reason: 'keyUnusable' }))

  test('points with an x are taken, as RFC 8032, 7.1 and 7.4 list them', () => {
    for (const y of ['d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'])
      assert.equal(importPublicKey(spkiOf(ED25519, bytes(y))).algorithm, 'ed25519')
    const blank =
      '5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778edf124769b46c7061bd6783df1e50f6cd1fa1abeafe8256180'
    assert.equal(importPublicKey(spkiOf(ED448, bytes(blank))).algorithm, 'ed448')
  })

  test('half of all y have no x', () => {
    const taken = Array.from({ length: 200 }, (_, n) => {
      try {
        return importPublicKey(spkiOf(ED25519, little(BigInt(n) + 2n, 32))).algorithm.length
      } catch {
        return 0
      }
    }).filter((length) => length > 0).length
    assert.ok(taken > 70 && taken < 130, String(taken))
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
    ['4096 bits and a small factor', of(2n ** 4096n - 1n, 65537n), 'policyRefused', 'keyWeak'],
    ['4097 bits', of(2n ** 4096n + 1n, 65537n), 'unsupported', 'keyAlgorithm'],
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
