/**
 * What JOSE and COSE call the algorithms of the table.
 *
 * A name alone never chooses how a signature is checked: the key does, and a name that does not go with it is refused. So
 * there is no `none`, no HMAC over a public key, and no curve other than the one that the name means.
 *
 * Source: RFC 7518, 3.1 (ECDSA, RSA in JOSE); RFC 9053, 2 and RFC 8230, 2, RFC 8812, 2 (in COSE); RFC 8037, 3.1 (EdDSA);
 * RFC 9864, 2 (names that say the curve); RFC 9964, 3 (ML-DSA). Nothing is registered for SLH-DSA.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { type KeyAlgorithmId, keyAlgorithm, signatureAlgorithm, type SignatureAlgorithmId } from './table.ts'

/** `usual`: what most verifiers know. `specified`: what RFC 9864 wants instead, which says the curve too. */
export const NAME_STYLES = ['usual', 'specified'] as const
export type NameStyle = (typeof NAME_STYLES)[number]

export interface MessageNames {
  readonly jose: Readonly<Record<NameStyle, string>>
  readonly cose: Readonly<Record<NameStyle, number>>
  /** Of the keys of its family, the one that the names mean. JOSE has it so; here COSE has it too (RFC 9864, 4.2.1). */
  readonly keyAlgorithm?: KeyAlgorithmId
}

const same = (jose: string, cose: number): MessageNames => ({
  jose: { usual: jose, specified: jose },
  cose: { usual: cose, specified: cose },
})
const ecdsa = (jose: string, usual: number, specified: number, key: KeyAlgorithmId): MessageNames => ({
  jose: { usual: jose, specified: jose },
  cose: { usual, specified },
  keyAlgorithm: key,
})
const edwards = (specified: string, number: number): MessageNames => ({
  jose: { usual: 'EdDSA', specified },
  cose: { usual: -8, specified: number },
})

const namesOf: Readonly<Record<SignatureAlgorithmId, MessageNames | null>> = {
  'ecdsa-sha256': ecdsa('ES256', -7, -9, 'ecdsa-p256'),
  'ecdsa-sha384': ecdsa('ES384', -35, -51, 'ecdsa-p384'),
  'ecdsa-sha512': ecdsa('ES512', -36, -52, 'ecdsa-p521'),
  'rsa-sha256': same('RS256', -257),
  'rsa-sha384': same('RS384', -258),
  'rsa-sha512': same('RS512', -259),
  'rsa-pss-sha256': same('PS256', -37),
  'rsa-pss-sha384': same('PS384', -38),
  'rsa-pss-sha512': same('PS512', -39),
  ed25519: edwards('Ed25519', -19),
  ed448: edwards('Ed448', -53),
  'ml-dsa-44': same('ML-DSA-44', -48),
  'ml-dsa-65': same('ML-DSA-65', -49),
  'ml-dsa-87': same('ML-DSA-87', -50),
  'slh-dsa-sha2-128s': null,
  'slh-dsa-sha2-192s': null,
  'slh-dsa-sha2-256s': null,
}

const rows = (Object.entries(namesOf) as [SignatureAlgorithmId, MessageNames | null][]).flatMap(([id, names]) =>
  names === null ? [] : [{ id, names }],
)

/** What JOSE and COSE have a name for. */
export const namedSignatures: readonly SignatureAlgorithmId[] = rows.map(({ id }) => id)

/** @throws TrustError `unsupported` where nothing is registered, or for another key than the name means */
export function messageNames(id: SignatureAlgorithmId, key: KeyAlgorithmId): MessageNames {
  const names = namesOf[id]
  if (names === null || !goesWith(id, names, key))
    throw new TrustError('unsupported', 'messageNameNone', { facts: { algorithm: id, key } })
  return names
}

/**
 * @param name a JOSE name, or a COSE number
 * @param key  of the certificate or record that says who signed, never of the message's own choice
 * @throws TrustError `unsupported` for a name that is not known; `badProof` for one that does not go with the key
 */
export function namedSignature(name: string | number, key: KeyAlgorithmId): SignatureAlgorithmId {
  const named = rows.filter(({ names: { jose, cose } }) =>
    typeof name === 'string' ? jose.usual === name || jose.specified === name : cose.usual === name || cose.specified === name,
  )
  if (named.length === 0)
    throw new TrustError('unsupported', 'messageNameUnknown', { facts: { name: String(name).slice(0, 40) } })
  const found = named.find(({ id, names }) => goesWith(id, names, key))
  if (found === undefined) throw new TrustError('badProof', 'messageNameOther', { facts: { name, key } })
  return found.id
}

const goesWith = (id: SignatureAlgorithmId, names: MessageNames, key: KeyAlgorithmId): boolean =>
  signatureAlgorithm(id).family === keyAlgorithm(key).family && (names.keyAlgorithm ?? key) === key
