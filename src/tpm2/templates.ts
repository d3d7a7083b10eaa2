/**
 * Public areas from which TPMs make the keys that everybody knows, and those that this platform asks for.
 *
 * Source: TCG EK Credential Profile for TPM Family 2.0, version 2.5, appendix B (L-1 to H-6); TCG TPM v2.0 Provisioning
 * Guidance, 7.5.1 (storage root key); TPM 2.0 Keys for Device Identity and Attestation, 7.3 (attributes).
 *
 * @module
 */
import { TPM_RH } from './constants.ts'
import type { Hash } from './hash.ts'
import { handleName } from './name.ts'
import { policyDigest, policyOR, policySecret } from './policy.ts'
import { type Curve, curves } from './public-key.ts'
import type { TPMA_OBJECT, TPMT_PUBLIC } from './structures.ts'

const NONE = new Uint8Array(0)

/** PolicyA: whoever has the authorization of the endorsement hierarchy. */
const policyA = (hash: Hash): Uint8Array => policyDigest(hash, policySecret(handleName(TPM_RH.ENDORSEMENT)))

/** PolicyC: a policy that the indexes 0x01C07F01 to 0x01C07F03 may hold one day (PolicyAuthorizeNV; B.6.3). */
const policyC = {
  SHA256: '3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde',
  SHA384: 'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165',
  SHA512:
    '589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105fba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8',
} as const
type EndorsementHash = keyof typeof policyC

/** What PolicyOR is given when a key of the high range is used. */
export const endorsementBranches = (hash: EndorsementHash): readonly [Uint8Array, Uint8Array] => [
  policyA(hash),
  Uint8Array.fromHex(policyC[hash]),
]
const policyB = (hash: EndorsementHash): Uint8Array => policyDigest(hash, policyOR(...endorsementBranches(hash)))

const STORAGE: TPMA_OBJECT = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'adminWithPolicy', 'restricted', 'decrypt']
const HIGH_STORAGE: TPMA_OBJECT = [
  'fixedTPM',
  'fixedParent',
  'sensitiveDataOrigin',
  'userWithAuth',
  'adminWithPolicy',
  'restricted',
  'decrypt',
]

interface Shape {
  readonly nameAlg: EndorsementHash
  readonly aesBits: 128 | 256
  readonly objectAttributes: TPMA_OBJECT
  readonly authPolicy: Uint8Array
  /** The low range fills what is not known yet with zeros, the high range leaves it empty. */
  readonly uniqueOctets: number
}

const rsaStorage = (keyBits: number, { nameAlg, aesBits, objectAttributes, authPolicy, uniqueOctets }: Shape): TPMT_PUBLIC => ({
  type: 'RSA',
  nameAlg,
  objectAttributes,
  authPolicy,
  parameters: {
    symmetric: { algorithm: 'AES', keyBits: aesBits, mode: 'CFB' },
    scheme: { scheme: 'NULL' },
    keyBits,
    exponent: 0,
  },
  unique: new Uint8Array(uniqueOctets),
})

const eccStorage = (curveID: Curve, { nameAlg, aesBits, objectAttributes, authPolicy, uniqueOctets }: Shape): TPMT_PUBLIC => ({
  type: 'ECC',
  nameAlg,
  objectAttributes,
  authPolicy,
  parameters: {
    symmetric: { algorithm: 'AES', keyBits: aesBits, mode: 'CFB' },
    scheme: { scheme: 'NULL' },
    curveID,
    kdf: { scheme: 'NULL' },
  },
  unique: { x: new Uint8Array(uniqueOctets), y: new Uint8Array(uniqueOctets) },
})

const low = (uniqueOctets: number): Shape => ({
  nameAlg: 'SHA256',
  aesBits: 128,
  objectAttributes: STORAGE,
  authPolicy: policyA('SHA256'),
  uniqueOctets,
})
const high = (nameAlg: EndorsementHash, aesBits: 128 | 256): Shape => ({
  nameAlg,
  aesBits,
  objectAttributes: HIGH_STORAGE,
  authPolicy: policyB(nameAlg),
  uniqueOctets: 0,
})

export interface EndorsementTemplate {
  readonly id: string
  /** Where the certificate lies. */
  readonly certificateIndex: number
  readonly publicArea: TPMT_PUBLIC
}

/** In the order in which a device looks for one that has a certificate: the quicker and stronger first. */
export const endorsementTemplates: readonly EndorsementTemplate[] = [
  { id: 'H-3', certificateIndex: 0x01c00016, publicArea: eccStorage('NIST_P384', high('SHA384', 256)) },
  { id: 'H-2', certificateIndex: 0x01c00014, publicArea: eccStorage('NIST_P256', high('SHA256', 128)) },
  { id: 'L-2', certificateIndex: 0x01c0000a, publicArea: eccStorage('NIST_P256', low(32)) },
  { id: 'H-4', certificateIndex: 0x01c00018, publicArea: eccStorage('NIST_P521', high('SHA512', 256)) },
  { id: 'H-6', certificateIndex: 0x01c0001c, publicArea: rsaStorage(3072, high('SHA384', 256)) },
  { id: 'H-1', certificateIndex: 0x01c00012, publicArea: rsaStorage(2048, high('SHA256', 128)) },
  { id: 'L-1', certificateIndex: 0x01c00002, publicArea: rsaStorage(2048, low(256)) },
]

/** @throws TypeError for an id that is not in the table */
export function endorsementTemplate(id: string): EndorsementTemplate {
  const found = endorsementTemplates.find((template) => template.id === id)
  if (found === undefined) throw new TypeError(`there is no endorsement template ${id}`)
  return found
}

/** The parent of what is kept outside of the TPM: made again from the owner's seed whenever it is needed. */
export const storageRootKey: TPMT_PUBLIC = eccStorage('NIST_P256', {
  nameAlg: 'SHA256',
  aesBits: 128,
  objectAttributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'noDA', 'restricted', 'decrypt'],
  authPolicy: NONE,
  uniqueOctets: 32,
})

export interface SigningKeyOptions {
  readonly curve?: Curve
  /** When only its policy, and not its authorization, may open the key. */
  readonly authPolicy?: Uint8Array
}

const signatureHash = { NIST_P256: 'SHA256', NIST_P384: 'SHA384', NIST_P521: 'SHA512' } as const

const signing = (restricted: boolean, { curve = 'NIST_P256', authPolicy = NONE }: SigningKeyOptions): TPMT_PUBLIC => ({
  type: 'ECC',
  nameAlg: 'SHA256',
  objectAttributes: [
    'fixedTPM',
    'fixedParent',
    'sensitiveDataOrigin',
    authPolicy.length === 0 ? 'userWithAuth' : 'adminWithPolicy',
    // power that is lost after a use counts like a wrong authorization, and would lock the key after a few cuts
    // (Part 1, 19.8.2): so an authorization has to be random, since it may be tried as often as one likes
    'noDA',
    ...(restricted ? (['restricted'] as const) : []),
    'sign',
  ],
  authPolicy,
  parameters: {
    symmetric: { algorithm: 'NULL' },
    scheme: { scheme: 'ECDSA', details: { hashAlg: signatureHash[curve] } },
    curveID: curve,
    kdf: { scheme: 'NULL' },
  },
  unique: { x: new Uint8Array(curves[curve].octets), y: new Uint8Array(curves[curve].octets) },
})

/** Signs only what the TPM itself says: an attestation key. */
export const attestationKey = (options: SigningKeyOptions = {}): TPMT_PUBLIC => signing(true, options)

/** Signs digests: the key of a device's certificate. */
export const signingKey = (options: SigningKeyOptions = {}): TPMT_PUBLIC => signing(false, options)

/** Agrees on secrets (ECDH), for messages that only this TPM opens. */
export const agreementKey: TPMT_PUBLIC = {
  type: 'ECC',
  nameAlg: 'SHA256',
  objectAttributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'noDA', 'decrypt'],
  authPolicy: NONE,
  parameters: {
    symmetric: { algorithm: 'NULL' },
    scheme: { scheme: 'NULL' },
    curveID: 'NIST_P256',
    kdf: { scheme: 'NULL' },
  },
  unique: { x: new Uint8Array(curves.NIST_P256.octets), y: new Uint8Array(curves.NIST_P256.octets) },
}
