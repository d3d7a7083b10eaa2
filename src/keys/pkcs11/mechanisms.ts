/**
 * How each algorithm of the platform is asked of a token, and what becomes of what it answers.
 *
 * Digests are made here and not in the token: a message may have megabytes, and every token has the plain mechanisms.
 *
 * Source: PKCS #11 v2.40 current mechanisms, 2.1 (RSA) and 2.3 (EC); v3.0, 2.3.8 (EdDSA); RFC 8017, 9.2 (DigestInfo);
 * RFC 3279, 2.2.3 (Ecdsa-Sig-Value); FIPS 186-5, 6.4 (a digest longer than the order is cut).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { encode, sequence } from '#asn1/codec.ts'
import { INTEGER_OCTETS } from '#asn1/types.ts'
import { type KeyAlgorithm, keyAlgorithms, type KeyAlgorithmId, type SignatureAlgorithm } from '#algorithms/table.ts'
import { REQUEST_MAX_OCTETS } from './frames.ts'
import type { GeneratedKind, SignRequest, TokenInfo } from './messages.ts'

const CKM = {
  RSA_PKCS_KEY_PAIR_GEN: 0x0,
  RSA_PKCS: 0x1,
  RSA_PKCS_PSS: 0xd,
  EC_KEY_PAIR_GEN: 0x1040,
  ECDSA: 0x1041,
  EC_EDWARDS_KEY_PAIR_GEN: 0x1055,
  EDDSA: 0x1057,
} as const

/** Names for messages. */
const mechanismNames: ReadonlyMap<number, string> = new Map(Object.entries(CKM).map(([name, type]) => [type, `CKM_${name}`]))
export const mechanismName = (type: number): string => mechanismNames.get(type) ?? `0x${type.toString(16)}`

const CKF_SIGN = 0x800
const CKF_GENERATE_KEY_PAIR = 0x10000

type Digest = NonNullable<SignatureAlgorithm['digest']>

interface DigestRow {
  /** CKM_… and CKG_MGF1_… of PSS parameters. */
  readonly mechanism: number
  readonly mgf: number
  /** DigestInfo up to the digest (RFC 8017, 9.2, note 1). */
  readonly digestInfo: Uint8Array
}

const digests: Readonly<Record<Digest, DigestRow>> = {
  sha256: { mechanism: 0x250, mgf: 2, digestInfo: Uint8Array.fromHex('3031300d060960864801650304020105000420') },
  sha384: { mechanism: 0x260, mgf: 3, digestInfo: Uint8Array.fromHex('3041300d060960864801650304020205000430') },
  sha512: { mechanism: 0x270, mgf: 4, digestInfo: Uint8Array.fromHex('3051300d060960864801650304020305000440') },
}

/** Above this a digest goes to the thread pool: hashing a firmware image would stop everything else. */
const DIGEST_IN_TURN_MAX_OCTETS = 65_536

/** @param use what becomes of the digest */
function withDigest(
  digest: Digest,
  message: Uint8Array,
  use: (octets: Uint8Array) => Uint8Array,
): Uint8Array | Promise<Uint8Array> {
  if (message.length <= DIGEST_IN_TURN_MAX_OCTETS) return use(hash(digest, message, 'buffer'))
  const name = digest.replace('sha', 'SHA-')
  return crypto.subtle.digest(name, message as Uint8Array<ArrayBuffer>).then((octets) => use(new Uint8Array(octets)))
}

const fromDigest = (digest: Digest, use: (octets: Uint8Array) => Uint8Array): Pick<SigningPlan, 'prepare' | 'fromDigest'> => ({
  prepare: (message) => withDigest(digest, message, use),
  fromDigest: use,
})

/** One signature algorithm with one kind of key: what is sent, and how the answer becomes what X.509 carries. */
export interface SigningPlan {
  readonly request: Omit<SignRequest, 'handle' | 'data'>
  prepare(message: Uint8Array): Uint8Array | Promise<Uint8Array>
  /** The same from a digest that was made elsewhere; absent where the algorithm takes the message itself. */
  readonly fromDigest?: (digest: Uint8Array) => Uint8Array
  /** @returns undefined when it cannot be such a signature */
  finish(raw: Uint8Array): Uint8Array | undefined
}

interface Kind {
  readonly generate: GeneratedKind
  /** Sizes as CK_MECHANISM_INFO counts them: bits of modulus or field. */
  readonly bits: number
  readonly signs: number
  plan(scheme: SignatureAlgorithm): SigningPlan
}

const curveBits: Readonly<Record<string, number>> = { 'P-256': 256, 'P-384': 384, 'P-521': 521 }
const edwards: Readonly<Record<string, { readonly bits: number; readonly signatureOctets: number }>> = {
  ed25519: { bits: 256, signatureOctets: 64 },
  ed448: { bits: 456, signatureOctets: 114 },
}

const kinds: ReadonlyMap<string, Kind> = new Map(
  (keyAlgorithms as readonly KeyAlgorithm[]).flatMap((row) => {
    const kind = kindOf(row)
    return kind === undefined ? [] : [[row.id, kind] as const]
  }),
)

/** Undefined for what no token speaks yet in a form that is settled: ML-DSA and SLH-DSA came with PKCS #11 v3.2. */
function kindOf({ parameters, identifier }: KeyAlgorithm): Kind | undefined {
  if ('modulusBits' in parameters) {
    const { modulusBits } = parameters
    const generate = { mechanism: CKM.RSA_PKCS_KEY_PAIR_GEN, modulusBits }
    return { generate, bits: modulusBits, signs: CKM.RSA_PKCS, plan: (scheme) => rsaPlan(scheme, modulusBits / 8) }
  }
  if ('curve' in parameters) {
    const bits = curveBits[parameters.curve]
    if (bits === undefined) return undefined
    // CKA_EC_PARAMS is the parameters field: the last of id-ecPublicKey's identifier
    const generate = { mechanism: CKM.EC_KEY_PAIR_GEN, parameters: identifier.slice(22) }
    return { generate, bits, signs: CKM.ECDSA, plan: (scheme) => ecdsaPlan(scheme, Math.ceil(bits / 8)) }
  }
  const curve = edwards[parameters.type]
  if (curve === undefined) return undefined
  const generate = { mechanism: CKM.EC_EDWARDS_KEY_PAIR_GEN, parameters: identifier.slice(4) }
  return { generate, bits: curve.bits, signs: CKM.EDDSA, plan: () => eddsaPlan(curve.signatureOctets) }
}

const plain = (mechanism: number): SigningPlan['request'] => ({ mechanism, hash: 0, mgf: 0, saltOctets: 0 })

function rsaPlan({ digest, saltOctets }: SignatureAlgorithm, signatureOctets: number): SigningPlan {
  if (digest === null) throw new TypeError('an RSA signature without a digest')
  const { mechanism, mgf, digestInfo } = digests[digest]
  const finish = (raw: Uint8Array): Uint8Array | undefined => (raw.length === signatureOctets ? raw : undefined)
  if (saltOctets !== undefined) {
    const request = { mechanism: CKM.RSA_PKCS_PSS, hash: mechanism, mgf, saltOctets }
    return { request, ...fromDigest(digest, (octets) => octets), finish }
  }
  return { request: plain(CKM.RSA_PKCS), ...fromDigest(digest, (octets) => Buffer.concat([digestInfo, octets])), finish }
}

const EcdsaSigValue = sequence('Ecdsa-Sig-Value', { r: INTEGER_OCTETS, s: INTEGER_OCTETS })

function ecdsaPlan({ digest }: SignatureAlgorithm, orderOctets: number): SigningPlan {
  if (digest === null) throw new TypeError('an ECDSA signature without a digest')
  return {
    request: plain(CKM.ECDSA),
    // some tokens refuse a digest that is longer than the order, which counts only as far as that anyway
    ...fromDigest(digest, (octets) => octets.subarray(0, orderOctets)),
    finish(raw) {
      if (raw.length !== orderOctets * 2) return undefined
      return encode(EcdsaSigValue, { r: unsigned(raw.subarray(0, orderOctets)), s: unsigned(raw.subarray(orderOctets)) })
    },
  }
}

/** A number of fixed length as the content of a DER INTEGER: shortest, and not negative. */
function unsigned(octets: Uint8Array): Uint8Array {
  let at = 0
  while (at < octets.length - 1 && octets[at] === 0) at++
  const shortest = octets.subarray(at)
  if ((shortest[0] as number) < 0x80) return shortest
  const positive = new Uint8Array(shortest.length + 1)
  positive.set(shortest, 1)
  return positive
}

const eddsaPlan = (signatureOctets: number): SigningPlan => ({
  request: plain(CKM.EDDSA),
  prepare: (message) => message,
  finish: (raw) => (raw.length === signatureOctets ? raw : undefined),
})

/** EdDSA takes the message itself; see the bound of a request's frame. */
export const MESSAGE_MAX_OCTETS = REQUEST_MAX_OCTETS - 1024

/** @returns undefined where no token can */
export const kindFor = (algorithm: KeyAlgorithmId): Kind | undefined => kinds.get(algorithm)

/** What this token's own list says it can make and sign with. */
export function algorithmsOf({ mechanisms }: Pick<TokenInfo, 'mechanisms'>): readonly KeyAlgorithmId[] {
  const offers = (type: number, flag: number, bits: number): boolean =>
    mechanisms.some(
      (row) => row.type === type && (row.flags & flag) !== 0 && bits >= row.min && (row.max === 0 || bits <= row.max),
    )
  return keyAlgorithms
    .map(({ id }) => id)
    .filter((id) => {
      const kind = kinds.get(id)
      if (kind === undefined) return false
      const { generate, signs, bits } = kind
      return offers(generate.mechanism, CKF_GENERATE_KEY_PAIR, bits) && offers(signs, CKF_SIGN, bits)
    })
}
