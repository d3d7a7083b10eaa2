/**
 * A private key and its certificates in one file under a password: for devices and browsers that take a key made
 * elsewhere.
 *
 * `modern` is what current software writes (PBES2 with AES-256, HMAC with SHA-256). `legacy` (three-key Triple DES,
 * HMAC with SHA-1) is for importers that know nothing else, such as Windows before 2019 and older Java; it protects the
 * key about as well as its password is long.
 *
 * Source: RFC 7292; RFC 8018, 6.2 and A.4 (PBES2).
 *
 * @module
 */
import { createCipheriv, createHmac, hash, pbkdf2 } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ANY } from '#asn1/any.ts'
import { encode, explicit, implicit, type Infer, optional, sequence, sequenceOf, setOf } from '#asn1/codec.ts'
import { BMPString, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import type { Secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { ContentInfo, contentTypes } from './content-info.ts'

export type PKCS12Form = 'modern' | 'legacy'

export interface PKCS12Contents {
  /** DER PrivateKeyInfo. */
  readonly key: Secret
  /** DER; the key's own first, then the chain. */
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]]
  /** What the importing program shows. */
  readonly friendlyName: string
  /** UTF-8. */
  readonly password: Secret
  readonly form: PKCS12Form
}

/**
 * How often the password is hashed. The platform makes up these passwords itself, long enough that the number hardly
 * matters; 100,000 makes a guess at one that a person chose cost a tenth of a second, and so does making the file.
 * Legacy importers expect 2,048 and some refuse much more.
 */
const ITERATIONS = { modern: 100_000, legacy: 2048 } as const satisfies Record<PKCS12Form, number>

/** RFC 8018, 4.1 asks for 8 at least; the older programs take no more. */
const SALT_OCTETS = { modern: 16, legacy: 8 } as const satisfies Record<PKCS12Form, number>

/** @returns DER PFX */
export async function encodePKCS12(contents: PKCS12Contents, random: Random): Promise<Uint8Array> {
  const { key, certificates, friendlyName, password, form } = contents
  const encrypt = form === 'modern' ? encryptPBES2 : encryptTripleDES
  const localKeyId = hash('sha256', certificates[0], 'buffer').subarray(0, 20)
  const ownAttributes = [
    { type: FRIENDLY_NAME, values: [encode(BMPString, friendlyName.replace(/[\ud800-\udfff]{1,2}/g, '\ufffd'))] },
    { type: LOCAL_KEY_ID, values: [encode(OCTET_STRING, localKeyId)] },
  ]
  const certificateBags = encode(
    SafeContents,
    certificates.map((certificate, i) => ({
      bagId: CERT_BAG,
      bagValue: encode(CertBag, { certId: X509_CERTIFICATE, certValue: certificate }),
      bagAttributes: i === 0 ? ownAttributes : undefined,
    })),
  )
  const encryptedKey = await encrypt(key.reveal('encrypt into PKCS #12'), password, random)
  const keyBags = encode(SafeContents, [
    {
      bagId: SHROUDED_KEY_BAG,
      bagValue: encode(EncryptedPrivateKeyInfo, {
        encryptionAlgorithm: encryptedKey.algorithm,
        encryptedData: encryptedKey.octets,
      }),
      bagAttributes: ownAttributes,
    },
  ])
  const encryptedCertificates = await encrypt(certificateBags, password, random)
  const authenticatedSafe = encode(AuthenticatedSafe, [
    {
      contentType: contentTypes.encryptedData,
      content: encode(EncryptedData, {
        version: 0,
        encryptedContentInfo: {
          contentType: contentTypes.data,
          contentEncryptionAlgorithm: encryptedCertificates.algorithm,
          encryptedContent: encryptedCertificates.octets,
        },
      }),
    },
    { contentType: contentTypes.data, content: encode(OCTET_STRING, keyBags) },
  ])
  return encode(PFX, {
    version: 3,
    authSafe: { contentType: contentTypes.data, content: encode(OCTET_STRING, authenticatedSafe) },
    macData: await macOver(authenticatedSafe, password, form, random),
  })
}

interface Encrypted {
  /** DER AlgorithmIdentifier. */
  readonly algorithm: Uint8Array
  readonly octets: Uint8Array
}

const derive = promisify(pbkdf2)

/** RFC 8018, 6.2. The password is its UTF-8 here, as every program reads PBES2, and not the BMPString of RFC 7292. */
async function encryptPBES2(plaintext: Uint8Array, password: Secret, random: Random): Promise<Encrypted> {
  const salt = random.octets(SALT_OCTETS.modern)
  const iv = random.octets(16)
  const iterationCount = ITERATIONS.modern
  const key = await derive(password.reveal('derive a PKCS #12 key'), salt, iterationCount, 32, 'sha256')
  const parameters = encode(PBES2Parameters, {
    keyDerivationFunc: {
      algorithm: PBKDF2,
      parameters: { salt, iterationCount, prf: { algorithm: HMAC_SHA256, parameters: null } },
    },
    encryptionScheme: { algorithm: AES_256_CBC, parameters: iv },
  })
  return { algorithm: encode(AnyAlgorithm, { algorithm: PBES2, parameters }), octets: cipher('aes-256-cbc', key, iv, plaintext) }
}

/** RFC 7292, appendix C: pbeWithSHAAnd3-KeyTripleDES-CBC. */
async function encryptTripleDES(plaintext: Uint8Array, password: Secret, random: Random): Promise<Encrypted> {
  const salt = random.octets(SALT_OCTETS.legacy)
  const iterations = ITERATIONS.legacy
  const key = await derivePKCS12('sha1', 'key', password, { salt, iterations, octets: 24 })
  const iv = await derivePKCS12('sha1', 'iv', password, { salt, iterations, octets: 8 })
  const parameters = encode(PBEParameters, { salt, iterations })
  return {
    algorithm: encode(AnyAlgorithm, { algorithm: PBE_3DES, parameters }),
    octets: cipher('des-ede3-cbc', key, iv, plaintext),
  }
}

function cipher(name: string, key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipherer = createCipheriv(name, key, iv)
  return concat([cipherer.update(plaintext), cipherer.final()])
}

async function macOver(content: Uint8Array, password: Secret, form: PKCS12Form, random: Random): Promise<Infer<typeof MacData>> {
  const digest = form === 'modern' ? 'sha256' : 'sha1'
  const macSalt = random.octets(SALT_OCTETS[form])
  const iterations = ITERATIONS[form]
  const key = await derivePKCS12(digest, 'mac', password, { salt: macSalt, iterations, octets: digests[digest].octets })
  const mac = new Uint8Array(createHmac(digest, key).update(content).digest())
  return {
    mac: { digestAlgorithm: { algorithm: digests[digest].oid, parameters: null }, digest: mac },
    macSalt,
    iterations,
  }
}

const digests = {
  sha1: { oid: '1.3.14.3.2.26', octets: 20 },
  sha256: { oid: '2.16.840.1.101.3.4.2.1', octets: 32 },
} as const

/** RFC 7292, B.3. */
const purposes = { key: 1, iv: 2, mac: 3 } as const

/** Both digests' block. */
const BLOCK_OCTETS = 64
/** One hash takes a microsecond; other requests get their turn in between. */
const ITERATIONS_PER_TURN = 5000

/** RFC 7292, B.2, for output of at most two digests. */
export async function derivePKCS12(
  digest: keyof typeof digests,
  purpose: keyof typeof purposes,
  password: Secret,
  { salt, iterations, octets }: { readonly salt: Uint8Array; readonly iterations: number; readonly octets: number },
): Promise<Uint8Array> {
  const diversifier = new Uint8Array(BLOCK_OCTETS).fill(purposes[purpose])
  const input = concat([repeatToBlocks(salt), repeatToBlocks(passwordOctets(password))])
  const out: Uint8Array[] = []
  for (let made = 0; made < octets; made += digests[digest].octets) {
    let value: Uint8Array = hash(digest, concat([diversifier, input]), 'buffer')
    for (let i = 1; i < iterations; i++) {
      value = hash(digest, value, 'buffer')
      if (i % ITERATIONS_PER_TURN === 0) await setImmediate()
    }
    out.push(value)
    addToBlocks(input, repeatToBlocks(value))
  }
  return concat(out).subarray(0, octets)
}

/** RFC 7292, B.1: BMPString and two zero octets. Characters beyond it go as their surrogates, as OpenSSL writes them. */
function passwordOctets(password: Secret): Uint8Array {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(password.reveal('derive a PKCS #12 key'))
  const octets = new Uint8Array(2 * text.length + 2)
  for (let i = 0; i < text.length; i++) new DataView(octets.buffer).setUint16(2 * i, text.charCodeAt(i))
  return octets
}

/** To the next multiple of the block; nothing for nothing. */
const repeatToBlocks = (octets: Uint8Array): Uint8Array =>
  Uint8Array.from(
    { length: Math.ceil(octets.length / BLOCK_OCTETS) * BLOCK_OCTETS },
    (_, i) => octets[i % octets.length] as number,
  )

/** Step 6.C: each block of the input becomes itself plus the addend plus one, modulo 2^512. */
function addToBlocks(input: Uint8Array, addend: Uint8Array): void {
  for (let block = 0; block < input.length; block += BLOCK_OCTETS) {
    let carry = 1
    for (let i = BLOCK_OCTETS - 1; i >= 0; i--) {
      const sum = (input[block + i] as number) + (addend[i] as number) + carry
      input[block + i] = sum & 0xff
      carry = sum >> 8
    }
  }
}

const PBES2 = '1.2.840.113549.1.5.13'
const PBKDF2 = '1.2.840.113549.1.5.12'
const HMAC_SHA256 = '1.2.840.113549.2.9'
const AES_256_CBC = '2.16.840.1.101.3.4.1.42'
const PBE_3DES = '1.2.840.113549.1.12.1.3'
const SHROUDED_KEY_BAG = '1.2.840.113549.1.12.10.1.2'
const CERT_BAG = '1.2.840.113549.1.12.10.1.3'
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1'
const FRIENDLY_NAME = '1.2.840.113549.1.9.20'
const LOCAL_KEY_ID = '1.2.840.113549.1.9.21'

const AnyAlgorithm = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: ANY })
const DigestAlgorithm = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: NULL })

const PBES2Parameters = sequence('PBES2-params', {
  keyDerivationFunc: sequence('keyDerivationFunc', {
    algorithm: OBJECT_IDENTIFIER,
    parameters: sequence('PBKDF2-params', { salt: OCTET_STRING, iterationCount: SMALL_INTEGER, prf: DigestAlgorithm }),
  }),
  encryptionScheme: sequence('encryptionScheme', { algorithm: OBJECT_IDENTIFIER, parameters: OCTET_STRING }),
})

const PBEParameters = sequence('pkcs-12PbeParams', { salt: OCTET_STRING, iterations: SMALL_INTEGER })

const EncryptedPrivateKeyInfo = sequence('EncryptedPrivateKeyInfo', { encryptionAlgorithm: ANY, encryptedData: OCTET_STRING })

const EncryptedData = sequence('EncryptedData', {
  version: SMALL_INTEGER,
  encryptedContentInfo: sequence('EncryptedContentInfo', {
    contentType: OBJECT_IDENTIFIER,
    contentEncryptionAlgorithm: ANY,
    encryptedContent: implicit(0, OCTET_STRING),
  }),
})

const CertBag = sequence('CertBag', { certId: OBJECT_IDENTIFIER, certValue: explicit(0, OCTET_STRING) })

const SafeContents = sequenceOf(
  'SafeContents',
  sequence('SafeBag', {
    bagId: OBJECT_IDENTIFIER,
    bagValue: explicit(0, ANY),
    bagAttributes: optional(
      setOf('bagAttributes', sequence('PKCS12Attribute', { type: OBJECT_IDENTIFIER, values: setOf('values', ANY) })),
    ),
  }),
)

const AuthenticatedSafe = sequenceOf('AuthenticatedSafe', ContentInfo)

const MacData = sequence('MacData', {
  mac: sequence('DigestInfo', { digestAlgorithm: DigestAlgorithm, digest: OCTET_STRING }),
  macSalt: OCTET_STRING,
  iterations: SMALL_INTEGER,
})

const PFX = sequence('PFX', { version: SMALL_INTEGER, authSafe: ContentInfo, macData: MacData })
