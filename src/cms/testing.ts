/** Keys of every kind with a certificate each, for tests. @module */
import { constants, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import type { KeyUsageBit } from '#x509/extensions/key-usage.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import type { SigningKey } from './sign.ts'

export interface Party {
  readonly privateKey: KeyObject
  readonly certificate: Uint8Array
  readonly spki: Uint8Array
}

const authority = makeKey()
let serial = 0

/** Any key with a certificate of one authority that all tests share. */
export async function party(
  keys: { privateKey: KeyObject; publicKey: KeyObject },
  usage: readonly KeyUsageBit[],
): Promise<Party> {
  const spki = new Uint8Array(keys.publicKey.export({ type: 'spki', format: 'der' }))
  serial++
  const certificate = await makeCertificate(authority, {
    subjectPublicKeyInfo: spki,
    serialNumber: Uint8Array.of(serial),
    subject: encodeName(nameOf([{ type: 'CN', value: `Party ${serial}` }])),
    extensions: [extensionWith(keyUsage, usage, true), extensionWith(subjectKeyIdentifier, keyIdentifierOf(spki))],
  })
  return { privateKey: keys.privateKey, certificate, spki }
}

const types = {
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  x25519: () => generateKeyPairSync('x25519'),
  'ml-kem-512': () => generateKeyPairSync('ml-kem-512'),
  'ml-kem-768': () => generateKeyPairSync('ml-kem-768'),
  'ml-kem-1024': () => generateKeyPairSync('ml-kem-1024'),
} as const

export type RecipientType = keyof typeof types

export const recipientParty = (type: RecipientType): Promise<Party> =>
  party(types[type](), ['keyEncipherment', 'keyAgreement', 'digitalSignature'])

/** Somebody with a key for this signature algorithm. */
export function signerParty(id: SignatureAlgorithmId): Promise<Party> {
  return party(signingKeyPair(id), ['digitalSignature'])
}

function signingKeyPair(id: SignatureAlgorithmId): { privateKey: KeyObject; publicKey: KeyObject } {
  const { family, digest } = signatureAlgorithm(id)
  if (family === 'rsa') return types.rsa()
  if (family !== 'ec') return generateKeyPairSync(family as 'ed25519')
  return types[({ sha256: 'P-256', sha384: 'P-384', sha512: 'P-521' } as const)[digest ?? 'sha256']]()
}

export const signingKey = ({ privateKey, spki }: Party): SigningKey => ({
  publicKey: spki,
  sign: async (message, algorithm) => {
    const { digest, saltOctets } = signatureAlgorithm(algorithm)
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: saltOctets ?? 0 }
    return new Uint8Array(sign(digest, message, saltOctets === undefined ? privateKey : { key: privateKey, ...pss }))
  },
})
