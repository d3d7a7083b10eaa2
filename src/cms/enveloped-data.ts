/**
 * EnvelopedData and AuthEnvelopedData: what they look like. `encrypt.ts` makes them and `decrypt.ts` opens them.
 *
 * Source: RFC 5652, 6; RFC 5083, 2; RFC 9629, 3 (KEMRecipientInfo).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { captured, choice, decode, explicit, implicit, type Infer, optional, sequence, sequenceOf } from '#asn1/codec.ts'
import {
  BIT_STRING_OCTETS,
  GeneralizedTime,
  INTEGER_OCTETS,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  SMALL_INTEGER,
} from '#asn1/types.ts'
import { Attributes, LooseAttributes } from './attributes.ts'
import { badCMS, contentTypes, looseSetOf, readContentInfo, contentTypeLabel, type ReadForm } from './content-info.ts'
import { AlgorithmIdentifier } from './digests.ts'
import { EntityIdentifier } from './signed-data.ts'
import { TrustError } from '#base/errors.ts'

/** A backup has a handful of officers; a list of a whole department is 100. */
const RECIPIENTS_MAX = 128

const KeyTransRecipientInfo = sequence('KeyTransRecipientInfo', {
  version: SMALL_INTEGER,
  rid: EntityIdentifier,
  keyEncryptionAlgorithm: AlgorithmIdentifier,
  encryptedKey: OCTET_STRING,
})

const OtherKeyAttribute = sequence('OtherKeyAttribute', { keyAttrId: OBJECT_IDENTIFIER, keyAttr: optional(ANY) })

const KeyAgreeRecipientInfo = sequence('KeyAgreeRecipientInfo', {
  version: SMALL_INTEGER,
  originator: explicit(
    0,
    choice('OriginatorIdentifierOrKey', {
      identifier: EntityIdentifier,
      originatorKey: implicit(
        1,
        sequence('OriginatorPublicKey', { algorithm: AlgorithmIdentifier, publicKey: BIT_STRING_OCTETS }),
      ),
    }),
  ),
  ukm: optional(explicit(1, OCTET_STRING)),
  keyEncryptionAlgorithm: AlgorithmIdentifier,
  recipientEncryptedKeys: sequenceOf(
    'RecipientEncryptedKeys',
    sequence('RecipientEncryptedKey', {
      rid: choice('KeyAgreeRecipientIdentifier', {
        issuerAndSerialNumber: sequence('IssuerAndSerialNumber', { issuer: ANY, serialNumber: INTEGER_OCTETS }),
        rKeyId: implicit(
          0,
          sequence('RecipientKeyIdentifier', {
            subjectKeyIdentifier: OCTET_STRING,
            date: optional(GeneralizedTime),
            other: optional(OtherKeyAttribute),
          }),
        ),
      }),
      encryptedKey: OCTET_STRING,
    }),
    { min: 1, max: RECIPIENTS_MAX },
  ),
})

const KEKRecipientInfo = sequence('KEKRecipientInfo', {
  version: SMALL_INTEGER,
  kekid: sequence('KEKIdentifier', {
    keyIdentifier: OCTET_STRING,
    date: optional(GeneralizedTime),
    other: optional(OtherKeyAttribute),
  }),
  keyEncryptionAlgorithm: AlgorithmIdentifier,
  encryptedKey: OCTET_STRING,
})

const PasswordRecipientInfo = sequence('PasswordRecipientInfo', {
  version: SMALL_INTEGER,
  keyDerivationAlgorithm: optional(implicit(0, AlgorithmIdentifier)),
  keyEncryptionAlgorithm: AlgorithmIdentifier,
  encryptedKey: OCTET_STRING,
})

const OtherRecipientInfo = sequence('OtherRecipientInfo', { oriType: OBJECT_IDENTIFIER, oriValue: ANY })

/** id-ori-kem. */
export const ORI_KEM = '1.2.840.113549.1.9.16.13.3'

export const KEMRecipientInfo = sequence('KEMRecipientInfo', {
  version: SMALL_INTEGER,
  rid: EntityIdentifier,
  kem: AlgorithmIdentifier,
  kemct: OCTET_STRING,
  kdf: AlgorithmIdentifier,
  kekLength: SMALL_INTEGER,
  ukm: optional(explicit(0, OCTET_STRING)),
  wrap: AlgorithmIdentifier,
  encryptedKey: OCTET_STRING,
})
export type KEMRecipientInfo = Infer<typeof KEMRecipientInfo>

export const RecipientInfo = choice('RecipientInfo', {
  ktri: KeyTransRecipientInfo,
  kari: implicit(1, KeyAgreeRecipientInfo),
  kekri: implicit(2, KEKRecipientInfo),
  pwri: implicit(3, PasswordRecipientInfo),
  ori: implicit(4, OtherRecipientInfo),
})
export type RecipientInfo = Infer<typeof RecipientInfo>
export type RecipientInfoOf<T extends RecipientInfo['type']> = Extract<RecipientInfo, { type: T }>['value']

export const RecipientInfos = looseSetOf('recipientInfos', RecipientInfo, { min: 1, max: RECIPIENTS_MAX })

export const EncryptedContentInfo = sequence('EncryptedContentInfo', {
  contentType: OBJECT_IDENTIFIER,
  contentEncryptionAlgorithm: AlgorithmIdentifier,
  encryptedContent: optional(implicit(0, OCTET_STRING)),
})

export const EnvelopedDataContent = sequence('EnvelopedData', {
  version: SMALL_INTEGER,
  originatorInfo: optional(implicit(0, sequenceOf('OriginatorInfo', ANY, { max: 2 }))),
  recipientInfos: RecipientInfos,
  encryptedContentInfo: EncryptedContentInfo,
  unprotectedAttrs: optional(implicit(1, LooseAttributes)),
})

export const AuthEnvelopedDataContent = sequence('AuthEnvelopedData', {
  version: SMALL_INTEGER,
  originatorInfo: optional(implicit(0, sequenceOf('OriginatorInfo', ANY, { max: 2 }))),
  recipientInfos: RecipientInfos,
  authEncryptedContentInfo: EncryptedContentInfo,
  authAttrs: optional(captured(implicit(1, Attributes))),
  mac: OCTET_STRING,
  unauthAttrs: optional(implicit(2, LooseAttributes)),
})

export type Envelope =
  | { readonly type: 'envelopedData'; readonly value: Infer<typeof EnvelopedDataContent> }
  | { readonly type: 'authEnvelopedData'; readonly value: Infer<typeof AuthEnvelopedDataContent> }

/** Reads an encrypted message; `decryptEnvelope` opens it. @throws TrustError `malformed`, `tooLarge` */
export function parseEnvelope(bytes: Uint8Array, form?: ReadForm): Envelope {
  const { contentType, content } = readContentInfo(bytes, form)
  const limits = { maxOctets: content.length }
  if (contentType === contentTypes.envelopedData) {
    const value = decode(EnvelopedDataContent, content, limits)
    if (value.version > 4) throw badCMS(`its version is ${value.version}`)
    for (const recipientInfo of value.recipientInfos) checkRecipientVersion(recipientInfo)
    return { type: 'envelopedData', value }
  }
  if (contentType !== contentTypes.authEnvelopedData) {
    const facts = { found: contentTypeLabel(contentType), expected: 'envelopedData' }
    throw new TrustError('malformed', 'cmsTypeOther', { facts })
  }
  const value = decode(AuthEnvelopedDataContent, content, limits)
  if (value.version !== 0) throw badCMS(`its version is ${value.version}`)
  for (const recipientInfo of value.recipientInfos) checkRecipientVersion(recipientInfo)
  return { type: 'authEnvelopedData', value }
}

/** RFC 5652, 6.2.2 to 6.2.4. */
const versions = { kari: 3, kekri: 4, pwri: 0 } as const

/** RFC 5652, 6.2. @throws TrustError `malformed` */
export function checkRecipientVersion({ type, value }: RecipientInfo): void {
  if (type === 'ori') return
  const right = type === 'ktri' ? (value.rid.type === 'issuerAndSerialNumber' ? 0 : 2) : versions[type]
  if (value.version !== right) throw badCMS(`the version of a recipient is ${value.version}`)
}
