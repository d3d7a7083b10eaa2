/**
 * Encrypting: one message for several recipients, each of whom opens it alone.
 *
 * AuthEnvelopedData with AES-GCM is the way; EnvelopedData with AES-CBC has no integrity and is for peers who know
 * nothing else (SCEP).
 *
 * Source: RFC 5652, 6; RFC 5083; RFC 5084; RFC 5753; RFC 8418; RFC 9629; RFC 9936.
 *
 * @module
 */
import { constants, diffieHellman, encapsulate, generateKeyPairSync, type KeyObject, publicEncrypt } from 'node:crypto'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode, encode } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER, SMALL_INTEGER } from '#asn1/types.ts'
import { encodeHeader } from '#asn1/writer.ts'
import { concat } from '#base/bytes.ts'
import type { Secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { type Attribute, Attributes, attributeWith, checkNoneTwice } from './attributes.ts'
import {
  type CBCId,
  cipherIdentifier,
  type ContentCipher,
  encryptCBC,
  encryptGCM,
  type GCMId,
  newCipher,
  TAG_OCTETS,
} from './content-encryption.ts'
import { ContentInfo, contentTypes } from './content-info.ts'
import { AlgorithmIdentifier } from './digests.ts'
import { EnvelopedDataContent, KEMRecipientInfo, ORI_KEM, type RecipientInfo, RecipientInfos } from './enveloped-data.ts'
import {
  AES256_WRAP,
  agreedKey,
  encapsulatedKey,
  KEM_KDF,
  OAEP_SHA256,
  RSA_ENCRYPTION,
  wrapForKey,
  wrapIdentifier,
  wrapKey,
  wrapWithPassword,
} from './key-wrapping.ts'
import { type AgreementRow, checkUsage, importRecipientKey, type KEMRow } from './recipient-keys.ts'
import { type EntityIdentifier, identifierOf } from './signed-data.ts'

export type Recipient =
  | {
      readonly type: 'certificate'
      /** DER; its key decides how: RSA, elliptic curve, X25519, ML-KEM. */
      readonly certificate: Uint8Array
      readonly identifyBy?: EntityIdentifier['type']
      /** For RSA: PKCS #1 v1.5 only for a peer who knows no OAEP, as most of SCEP. */
      readonly keyTransport?: 'RSAES-OAEP' | 'rsaEncryption'
    }
  /** A key that both have: 16, 24 or 32 octets, which is an AES key. */
  | { readonly type: 'kek'; readonly keyIdentifier: Uint8Array; readonly key: Secret }
  | { readonly type: 'password'; readonly password: Secret; readonly iterationCount?: number }

interface EnvelopeFields {
  /** An OBJECT IDENTIFIER; data when it is left out. */
  readonly contentType?: string
  readonly recipients: readonly [Recipient, ...Recipient[]]
}

export interface EnvelopedDataFields extends EnvelopeFields {
  readonly cipher: CBCId
  readonly content: Uint8Array
  readonly unprotectedAttributes?: readonly Attribute[]
}

export interface AuthEnvelopedDataFields extends EnvelopeFields {
  readonly cipher: GCMId
  readonly content: Uint8Array
  /** Authenticated with the content, in clear. */
  readonly attributes?: readonly Attribute[]
}

/** AuthEnvelopedData whose content comes in pieces. */
export interface StreamedEnvelopeFields extends EnvelopeFields {
  readonly cipher: GCMId
  readonly content: AsyncIterable<Uint8Array>
  /** How long it is: DER has the length at the beginning. */
  readonly contentOctets: number
}

/** @returns DER ContentInfo @throws TrustError `unsupported`, `policyRefused`, `malformed` for a recipient's certificate */
export async function encodeEnvelopedData(fields: EnvelopedDataFields, random: Random): Promise<Uint8Array> {
  const { contentType = contentTypes.data, content, unprotectedAttributes = [] } = fields
  const cipher = newCipher(fields.cipher, random)
  const { key, recipientInfos } = await keyFor(fields.recipients, cipher, random)
  const unprotectedAttrs = unprotectedAttributes.length === 0 ? undefined : unprotectedAttributes
  const envelopedData = encode(EnvelopedDataContent, {
    version: versionOf(recipientInfos, unprotectedAttrs !== undefined),
    recipientInfos,
    encryptedContentInfo: {
      contentType,
      contentEncryptionAlgorithm: cipherIdentifier(cipher),
      encryptedContent: encryptCBC(cipher, key, content),
    },
    unprotectedAttrs,
  })
  return encode(ContentInfo, { contentType: contentTypes.envelopedData, content: envelopedData })
}

/** RFC 5652, 6.1. */
function versionOf(recipientInfos: readonly RecipientInfo[], hasAttributes: boolean): number {
  if (recipientInfos.some(({ type }) => type === 'pwri' || type === 'ori')) return 3
  const plain = recipientInfos.every(({ type, value }) => type === 'ktri' && value.version === 0)
  return plain && !hasAttributes ? 0 : 2
}

/** @returns DER ContentInfo @throws TrustError as {@link encodeEnvelopedData} */
export async function encodeAuthEnvelopedData(fields: AuthEnvelopedDataFields, random: Random): Promise<Uint8Array> {
  const { content, attributes = [] } = fields
  const parts: Uint8Array[] = []
  for await (const part of written({ ...fields, content: [content], contentOctets: content.length, attributes }, random))
    parts.push(part)
  return concat(parts)
}

/**
 * Yields a DER ContentInfo in pieces; holds one piece of the content at a time.
 *
 * It has no authenticated attributes, since they stand behind the content but come first in its authentication, and
 * nobody could read it in a stream. For content other than data, RFC 5083 requires them.
 *
 * @throws TrustError as {@link encodeEnvelopedData}; TypeError when the content is not as long as it was said to be
 */
export async function* streamAuthEnvelopedData(fields: StreamedEnvelopeFields, random: Random): AsyncGenerator<Uint8Array, void> {
  if (fields.contentType !== undefined && fields.contentType !== contentTypes.data) throw new TypeError('only data is streamed')
  yield* written({ ...fields, attributes: [] }, random)
}

interface Written extends EnvelopeFields {
  readonly cipher: GCMId
  readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
  readonly contentOctets: number
  readonly attributes: readonly Attribute[]
}

const SEQUENCE = 0x30
const CONTEXT_0 = 0x80
const CONTEXT_0_CONSTRUCTED = 0xa0
const CONTEXT_1_CONSTRUCTED = 0xa1
/** Where lengths have four octets; GCM itself ends at 64 GiB. */
const CONTENT_END = 2 ** 32 - 2 ** 22

/** RFC 5083, 2.1: every part but the content is known before it, and so is every length. */
async function* written(fields: Written, random: Random): AsyncGenerator<Uint8Array, void> {
  const { contentType = contentTypes.data, recipients, content, contentOctets } = fields
  if (!(contentOctets < CONTENT_END)) throw new TypeError('the content is too long for one message: cut it')
  const cipher = newCipher(fields.cipher, random)
  const { key, recipientInfos } = await keyFor(recipients, cipher, random)
  const typed = contentType === contentTypes.data ? [] : [attributeWith('contentType', OBJECT_IDENTIFIER, contentType)]
  const attributes = [...typed, ...fields.attributes]
  checkNoneTwice(attributes)
  const additional = attributes.length === 0 ? new Uint8Array() : encode(Attributes, attributes)

  const authAttrs = additional.length === 0 ? additional : Uint8Array.of(CONTEXT_1_CONSTRUCTED, ...additional.subarray(1))
  const macHeader = encodeHeader(0x04, TAG_OCTETS)
  const about = concat([encode(OBJECT_IDENTIFIER, contentType), encode(AlgorithmIdentifier, cipherIdentifier(cipher))])
  const contentHeader = encodeHeader(CONTEXT_0, contentOctets)
  const infoOctets = about.length + contentHeader.length + contentOctets
  const head = concat([encode(SMALL_INTEGER, 0), encode(RecipientInfos, recipientInfos), encodeHeader(SEQUENCE, infoOctets)])
  const bodyOctets = head.length + infoOctets + authAttrs.length + macHeader.length + TAG_OCTETS
  const bodyHeader = encodeHeader(SEQUENCE, bodyOctets)
  const type = encode(OBJECT_IDENTIFIER, contentTypes.authEnvelopedData)
  const explicitHeader = encodeHeader(CONTEXT_0_CONSTRUCTED, bodyHeader.length + bodyOctets)
  const outerHeader = encodeHeader(SEQUENCE, type.length + explicitHeader.length + bodyHeader.length + bodyOctets)
  yield concat([outerHeader, type, explicitHeader, bodyHeader, head, about, contentHeader])

  const encrypting = encryptGCM(cipher, key, additional, content)
  let octets = 0
  let step = await encrypting.next()
  for (; step.done !== true; step = await encrypting.next()) {
    octets += step.value.length
    if (step.value.length > 0) yield step.value
  }
  if (octets !== contentOctets) throw new TypeError(`the content has ${octets} octets and was to have ${contentOctets}`)
  yield concat([authAttrs, macHeader, step.value])
}

async function keyFor(
  recipients: readonly Recipient[],
  { keyOctets }: ContentCipher,
  random: Random,
): Promise<{ readonly key: Uint8Array; readonly recipientInfos: readonly RecipientInfo[] }> {
  const key = random.octets(keyOctets)
  const recipientInfos: RecipientInfo[] = []
  for (const recipient of recipients) recipientInfos.push(await recipientInfoFor(recipient, key, random))
  return { key, recipientInfos }
}

async function recipientInfoFor(recipient: Recipient, key: Uint8Array, random: Random): Promise<RecipientInfo> {
  if (recipient.type === 'password') {
    const { password, iterationCount } = recipient
    return { type: 'pwri', value: { version: 0, ...(await wrapWithPassword(password, key, random, iterationCount)) } }
  }
  if (recipient.type === 'kek') {
    const kek = recipient.key.reveal('wrap a CMS key')
    const wrap = wrapForKey(kek.length)
    const encryptedKey = wrapKey(wrap, kek, key)
    const { keyIdentifier } = recipient
    return {
      type: 'kekri',
      value: { version: 4, kekid: { keyIdentifier }, keyEncryptionAlgorithm: wrapIdentifier(wrap), encryptedKey },
    }
  }
  const certificate = parseCertificate(recipient.certificate)
  const recipientKey = importRecipientKey(certificate.subjectPublicKeyInfo)
  checkUsage(certificate, recipientKey)
  const rid = identifierOf(certificate, recipient.identifyBy ?? 'issuerAndSerialNumber')
  if (recipientKey.way === 'agreement') return agreeing(rid, recipientKey, key)
  if (recipientKey.way === 'kem') return encapsulating(rid, recipientKey, key)
  return transporting(rid, recipientKey.key, recipient.keyTransport ?? 'RSAES-OAEP', key)
}

function transporting(
  rid: EntityIdentifier,
  rsa: KeyObject,
  way: 'RSAES-OAEP' | 'rsaEncryption',
  key: Uint8Array,
): RecipientInfo {
  const oaep = way === 'RSAES-OAEP'
  const padding = oaep ? constants.RSA_PKCS1_OAEP_PADDING : constants.RSA_PKCS1_PADDING
  const encryptedKey = new Uint8Array(publicEncrypt({ key: rsa, padding, oaepHash: 'sha256' }, key))
  const keyEncryptionAlgorithm = oaep ? OAEP_SHA256 : { algorithm: RSA_ENCRYPTION, parameters: Uint8Array.of(5, 0) }
  const version = rid.type === 'issuerAndSerialNumber' ? 0 : 2
  return { type: 'ktri', value: { version, rid, keyEncryptionAlgorithm, encryptedKey } }
}

/** RFC 5753, 3.1: a key pair of its own for each recipient, so that no two learn of each other. */
function agreeing(
  rid: EntityIdentifier,
  { key: theirs, curve, scheme }: AgreementRow & { readonly key: KeyObject },
  key: Uint8Array,
): RecipientInfo {
  const ours = curve === 'X25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('ec', { namedCurve: curve })
  const { algorithm, subjectPublicKey } = decode(
    SubjectPublicKeyInfo,
    new Uint8Array(ours.publicKey.export({ type: 'spki', format: 'der' })),
  )
  const parameters = encode(AlgorithmIdentifier, wrapIdentifier(AES256_WRAP))
  const keyEncryptionAlgorithm = { algorithm: scheme, parameters }
  const sharedSecret = new Uint8Array(diffieHellman({ privateKey: ours.privateKey, publicKey: theirs }))
  const { wrap, kek } = agreedKey(keyEncryptionAlgorithm, sharedSecret)
  return {
    type: 'kari',
    value: {
      version: 3,
      originator: {
        type: 'originatorKey',
        value: { algorithm: { algorithm: decode(AlgorithmIdentifier, algorithm).algorithm }, publicKey: subjectPublicKey },
      },
      keyEncryptionAlgorithm,
      recipientEncryptedKeys: [{ rid: agreementIdentifier(rid), encryptedKey: wrapKey(wrap, kek, key) }],
    },
  }
}

const agreementIdentifier = (
  rid: EntityIdentifier,
): Extract<RecipientInfo, { type: 'kari' }>['value']['recipientEncryptedKeys'][number]['rid'] =>
  rid.type === 'issuerAndSerialNumber' ? rid : { type: 'rKeyId', value: { subjectKeyIdentifier: rid.value } }

/** RFC 9629, 3. */
function encapsulating(
  rid: EntityIdentifier,
  { key: theirs, oid }: KEMRow & { readonly key: KeyObject },
  key: Uint8Array,
): RecipientInfo {
  const { sharedKey, ciphertext } = encapsulate(theirs)
  const derivation = { kdf: KEM_KDF, wrap: wrapIdentifier(AES256_WRAP), kekLength: AES256_WRAP.octets }
  const encryptedKey = wrapKey(AES256_WRAP, encapsulatedKey(derivation, sharedKey), key)
  const kemct = new Uint8Array(ciphertext)
  const value = encode(KEMRecipientInfo, { version: 0, rid, kem: { algorithm: oid }, kemct, ...derivation, encryptedKey })
  return { type: 'ori', value: { oriType: ORI_KEM, oriValue: value } }
}
