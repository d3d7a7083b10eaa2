/**
 * Opening encrypted messages with a private key, a shared key or a password.
 *
 * Whatever fails once the recipient is found (the key transport, the wrap, the padding, the tag) fails in one way: who
 * learns which of them it was can open messages by asking often enough (RFC 3218, 2.3; RFC 5083, 6).
 *
 * Source: RFC 5652, 6; RFC 5083; RFC 5084; RFC 5753; RFC 8418; RFC 9629; RFC 3218.
 *
 * @module
 */
import { decode } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { type Certificate, parseCertificate } from '#x509/certificate.ts'
import { type Attribute, attributeTypes, checkNoneTwice, valueOf } from './attributes.ts'
import {
  type ContentCipher,
  type ContentEncryptionId,
  decryptCBC,
  decryptGCM,
  identifyCipher,
  notOpened,
} from './content-encryption.ts'
import { badCMS, contentTypes } from './content-info.ts'
import { type Envelope, KEMRecipientInfo, ORI_KEM, type RecipientInfo, type RecipientInfoOf } from './enveloped-data.ts'
import {
  agreedKey,
  encapsulatedKey,
  identifyOAEP,
  identifyWrap,
  type OAEPDigest,
  RSA_ENCRYPTION,
  RSAES_OAEP,
  unwrapKey,
  unwrapWithPassword,
} from './key-wrapping.ts'
import { importRecipientKey, spkiOf } from './recipient-keys.ts'
import { type EntityIdentifier, identifies } from './signed-data.ts'

/** An RSA key that decrypts, wherever it is. */
export interface Decrypter {
  /** @throws when the padding is wrong; with `rsaEncryption` it may return anything instead, of any length */
  decrypt(encrypted: Uint8Array, scheme: 'rsaEncryption' | { readonly oaep: OAEPDigest }): Promise<Uint8Array>
}
/** A key that agrees: elliptic curve or X25519. */
export interface Agreer {
  /** @param publicKey DER SubjectPublicKeyInfo, not looked at yet @returns the shared secret as it is, not derived from */
  agree(publicKey: Uint8Array): Promise<Uint8Array>
}
/** An ML-KEM key. */
export interface Decapsulator {
  decapsulate(ciphertext: Uint8Array): Promise<Uint8Array>
}

/** What may open a message: for each way in which a key is handed over, one. */
export type Opener =
  | { readonly type: 'privateKey'; readonly certificate: Uint8Array; readonly key: Decrypter | Agreer | Decapsulator }
  | { readonly type: 'kek'; readonly keyIdentifier: Uint8Array; readonly key: Secret }
  | { readonly type: 'password'; readonly password: Secret }

export interface OpenRules {
  /** Whether keys may come with RSA PKCS #1 v1.5. Only where the protocol leaves no choice (SCEP). */
  readonly allowPKCS1?: boolean
}

export interface OpenedEnvelope {
  readonly contentType: string
  readonly content: Uint8Array
  readonly cipher: ContentEncryptionId
  /** False for EnvelopedData: anybody may have changed the content, and a signature around or within must tell. */
  readonly authenticated: boolean
  /** Authenticated as the content is. */
  readonly attributes: readonly Attribute[]
}

/**
 * @returns the content, when all of it is there and its tag is right
 * @throws TrustError `forbidden` when it is for somebody else; `badProof` when it cannot be opened, whatever the cause;
 *   `policyRefused`, `unsupported`, `malformed`, `tooLarge`
 */
export async function decryptEnvelope(
  envelope: Envelope,
  opener: Opener,
  random: Random,
  rules: OpenRules = {},
): Promise<OpenedEnvelope> {
  const { type, value } = envelope
  const info = type === 'envelopedData' ? value.encryptedContentInfo : value.authEncryptedContentInfo
  const { contentType, contentEncryptionAlgorithm, encryptedContent } = info
  const cipher = identifyCipher(contentEncryptionAlgorithm)
  if ((cipher.mode === 'gcm') !== (type === 'authEnvelopedData')) throw badCMS(`${cipher.id} does not go with ${type}`)
  if (encryptedContent === undefined) throw badCMS('its encrypted content is not in it')
  const attributes = type === 'authEnvelopedData' ? (value.authAttrs?.value ?? []) : []
  if (type === 'authEnvelopedData') checkAuthAttributes(contentType, attributes)
  const key = await contentKey(value.recipientInfos, opener, { cipher, random, rules })
  if (type === 'envelopedData')
    return {
      contentType,
      content: decryptCBC(cipher, key, encryptedContent),
      cipher: cipher.id,
      authenticated: false,
      attributes,
    }
  const additional = value.authAttrs === undefined ? undefined : underTag(SET, value.authAttrs.der)
  const parts: Uint8Array[] = []
  for await (const part of decryptGCM(cipher, key, additional, [encryptedContent], () => value.mac)) parts.push(part)
  return { contentType, content: concat(parts), cipher: cipher.id, authenticated: true, attributes }
}

const SET = 0x31

/** RFC 5083, 2.2: what is authenticated has the tag of a SET OF. */
const underTag = (tag: number, der: Uint8Array): Uint8Array => Uint8Array.of(tag, ...der.subarray(1))

/** RFC 5083, 2.1. */
function checkAuthAttributes(contentType: string, attributes: readonly Attribute[]): void {
  checkNoneTwice(attributes)
  const named = valueOf(attributes, 'contentType', OBJECT_IDENTIFIER)
  if ((named !== undefined || contentType !== contentTypes.data) && named !== contentType)
    throw badCMS('the authenticated attributes name another content type than the message')
  if (attributes.some(({ attrType }) => attrType === attributeTypes.messageDigest))
    throw badCMS('the authenticated attributes have a message digest')
}

interface Opening {
  readonly cipher: ContentCipher
  readonly random: Random
  readonly rules: OpenRules
}

/** Passwords name nobody: each recipient costs a derivation. */
const PASSWORD_RECIPIENTS_MAX = 3

/** The content-encryption key, or one of chance where the standard wants no answer. @throws TrustError */
export async function contentKey(
  recipientInfos: readonly RecipientInfo[],
  opener: Opener,
  opening: Opening,
): Promise<Uint8Array> {
  const key = await keyAmong(recipientInfos, opener, opening)
  if (key.length !== opening.cipher.keyOctets) throw notOpened()
  return key
}

async function keyAmong(recipientInfos: readonly RecipientInfo[], opener: Opener, opening: Opening): Promise<Uint8Array> {
  if (opener.type === 'password') return openWithPassword(recipientInfos, opener.password)
  if (opener.type === 'kek') {
    for (const { type, value } of recipientInfos) {
      if (type !== 'kekri' || !equal(value.kekid.keyIdentifier, opener.keyIdentifier)) continue
      const wrap = identifyWrap(value.keyEncryptionAlgorithm)
      const kek = opener.key.reveal('unwrap a CMS key')
      if (kek.length !== wrap.octets) throw notOpened()
      return unwrapKey(wrap, kek, value.encryptedKey)
    }
    throw noRecipient()
  }
  const certificate = parseCertificate(opener.certificate)
  const { key } = opener
  for (const recipientInfo of recipientInfos) {
    const open = openingOf(recipientInfo, certificate, key, opening)
    if (open !== undefined) return open()
  }
  throw noRecipient()
}

const noRecipient = (): TrustError => new TrustError('forbidden', 'cmsNoRecipient')

async function openWithPassword(recipientInfos: readonly RecipientInfo[], password: Secret): Promise<Uint8Array> {
  const forms = recipientInfos.flatMap(({ type, value }) => (type === 'pwri' ? [value] : []))
  if (forms.length === 0) throw noRecipient()
  if (forms.length > PASSWORD_RECIPIENTS_MAX) throw badCMS(`it has more than ${PASSWORD_RECIPIENTS_MAX} password recipients`)
  for (const { keyDerivationAlgorithm, keyEncryptionAlgorithm, encryptedKey } of forms) {
    if (keyDerivationAlgorithm === undefined) continue // the password were the key itself
    try {
      return await unwrapWithPassword(password, { keyDerivationAlgorithm, keyEncryptionAlgorithm, encryptedKey })
    } catch (thrown) {
      if (!(thrown instanceof TrustError) || thrown.reason !== 'cmsNotOpened') throw thrown
    }
  }
  throw notOpened()
}

type Open = () => Promise<Uint8Array>

/** @returns how this recipient is opened, undefined when it is another one */
function openingOf(
  { type, value }: RecipientInfo,
  certificate: Certificate,
  key: Decrypter | Agreer | Decapsulator,
  opening: Opening,
): Open | undefined {
  if (type === 'ktri' && 'decrypt' in key)
    return identifies(value.rid, certificate) ? () => transported(value, key, opening) : undefined
  if (type === 'kari' && 'agree' in key) {
    const mine = value.recipientEncryptedKeys.find(({ rid }) => identifies(entityOf(rid), certificate))
    return mine === undefined ? undefined : () => agreed(value, mine.encryptedKey, certificate, key)
  }
  if (type === 'ori' && value.oriType === ORI_KEM && 'decapsulate' in key) {
    const kem = decode(KEMRecipientInfo, value.oriValue)
    return identifies(kem.rid, certificate) ? () => encapsulated(kem, certificate, key) : undefined
  }
  return undefined
}

const entityOf = (rid: RecipientInfoOf<'kari'>['recipientEncryptedKeys'][number]['rid']): EntityIdentifier =>
  rid.type === 'rKeyId' ? { type: 'subjectKeyIdentifier', value: rid.value.subjectKeyIdentifier } : rid

/** RFC 3218, 2.3: after PKCS #1 v1.5 a wrong padding and a key of a wrong length go on with a key of chance. */
async function transported(
  { keyEncryptionAlgorithm: { algorithm, parameters }, encryptedKey }: RecipientInfoOf<'ktri'>,
  key: Decrypter,
  { cipher, random, rules }: Opening,
): Promise<Uint8Array> {
  if (algorithm === RSAES_OAEP) return closed(() => key.decrypt(encryptedKey, { oaep: identifyOAEP(parameters) }))
  if (algorithm !== RSA_ENCRYPTION)
    throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'key transport', algorithm } })
  if (rules.allowPKCS1 !== true) throw new TrustError('policyRefused', 'cmsKeyTransportRefused')
  const chance = random.octets(cipher.keyOctets)
  let found: Uint8Array = chance
  try {
    found = await key.decrypt(encryptedKey, 'rsaEncryption')
  } catch (thrown) {
    if (isOutage(thrown)) throw thrown
  }
  return found.length === cipher.keyOctets ? found : chance
}

async function agreed(
  { originator, ukm, keyEncryptionAlgorithm }: RecipientInfoOf<'kari'>,
  encryptedKey: Uint8Array,
  certificate: Certificate,
  key: Agreer,
): Promise<Uint8Array> {
  if (originator.type !== 'originatorKey')
    throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'key agreement', algorithm: 'static-static' } })
  const { identifier, way } = importRecipientKey(certificate.subjectPublicKeyInfo)
  if (way !== 'agreement') throw notOpened()
  const theirs = spkiOf(identifier, originator.value.publicKey) // on the curve of ours, whatever they say
  const sharedSecret = await closed(() => key.agree(theirs))
  const { wrap, kek } = agreedKey(keyEncryptionAlgorithm, sharedSecret, ukm)
  return unwrapKey(wrap, kek, encryptedKey)
}

async function encapsulated(kem: KEMRecipientInfo, certificate: Certificate, key: Decapsulator): Promise<Uint8Array> {
  const recipientKey = importRecipientKey(certificate.subjectPublicKeyInfo)
  if (kem.version !== 0) throw badCMS(`the version of a recipient is ${kem.version}`)
  if (recipientKey.way !== 'kem' || recipientKey.oid !== kem.kem.algorithm)
    throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'key encapsulation', algorithm: kem.kem.algorithm } })
  const sharedSecret = await closed(() => key.decapsulate(kem.kemct))
  return unwrapKey(identifyWrap(kem.wrap), encapsulatedKey(kem, sharedSecret), kem.encryptedKey)
}

/** What a key says of wrong input is not passed on; that it is out of reach, is. */
async function closed(use: () => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await use()
  } catch (thrown) {
    if (isOutage(thrown) || (thrown instanceof TrustError && thrown.reason === 'cmsAlgorithm')) throw thrown
    throw notOpened()
  }
}

const isOutage = (thrown: unknown): boolean => thrown instanceof TrustError && thrown.code === 'unavailable'
