/**
 * CMS messages in words, as plain data: what `sealworks inspect` shows beside the objects of `#x509/inspect.ts`.
 *
 * @module
 */
import { decode } from '#asn1/codec.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { fingerprint } from '#x509/certificate.ts'
import type { Plain } from '#x509/inspect.ts'
import { formatName, parseName } from '#x509/name.ts'
import { Time } from '#x509/time.ts'
import { type Attribute, attributeLabel, valueOf } from './attributes.ts'
import { identifyCipher } from './content-encryption.ts'
import { contentTypeLabel, contentTypes, peekContentType } from './content-info.ts'
import { type AlgorithmIdentifier, identifyDigest } from './digests.ts'
import { type Envelope, KEMRecipientInfo, ORI_KEM, parseEnvelope, type RecipientInfo } from './enveloped-data.ts'
import { identifySigner } from './signature-algorithms.ts'
import { type EntityIdentifier, parseSignedData, type SignerInfo } from './signed-data.ts'
import { counterSignaturesOf, verifySignedData } from './verify.ts'

type PlainObject = { readonly [key: string]: Plain }

export interface CMSDescription {
  readonly kind: 'signedData' | 'envelopedData' | 'authEnvelopedData'
  readonly sha256: string
  readonly fields: PlainObject
  /** What is carried in it, DER, to be described as it is. */
  readonly carried: readonly Uint8Array[]
}

/** Whether the bytes are a CMS message, of whatever kind. */
export const isCMS = (bytes: Uint8Array): boolean => peekContentType(bytes) !== ''

/**
 * Describes DER and BER. Whether signatures fit is said where content and certificates are in the message; whether the
 * signers are to be trusted is not.
 *
 * @throws TrustError `malformed` when it is no CMS message or its structure does not parse; `unsupported` for other kinds;
 *   `tooLarge`
 */
export async function describeCMS(bytes: Uint8Array): Promise<CMSDescription> {
  const sha256 = fingerprint(bytes).toHex()
  const contentType = peekContentType(bytes)
  switch (contentType) {
    case contentTypes.signedData:
      return { kind: 'signedData', sha256, ...(await describeSignedData(bytes)) }
    case contentTypes.envelopedData:
    case contentTypes.authEnvelopedData: {
      const envelope = parseEnvelope(bytes, { encoding: 'ber' })
      return { kind: envelope.type, sha256, fields: describeEnvelope(envelope), carried: [] }
    }
    default: {
      const facts = { found: contentTypeLabel(contentType), expected: 'signedData, envelopedData or authEnvelopedData' }
      throw new TrustError('unsupported', 'cmsTypeOther', { facts })
    }
  }
}

async function describeSignedData(bytes: Uint8Array): Promise<{ fields: PlainObject; carried: readonly Uint8Array[] }> {
  const signed = parseSignedData(bytes, { encoding: 'ber' })
  const { contentType, content, certificates, crls, signerInfos } = signed
  const fields = {
    contentType: contentTypeLabel(contentType),
    contentOctets: content?.length ?? 'detached',
    certificates: certificates.length,
    crls: crls.length,
    signers: signerInfos.map(describeSigner),
    signatures:
      signerInfos.length === 0 ? 'nobody signed' : content === undefined ? 'not checked without the content' : await judge(),
  }
  return { fields, carried: [...certificates, ...crls] }

  async function judge(): Promise<string> {
    try {
      const { signers, unknownSigners } = await verifySignedData(signed)
      const unknown = unknownSigners.length === 0 ? '' : `; ${unknownSigners.length} cannot be judged here`
      return `${signers.length} of ${signerInfos.length} fit the content and the certificates in it${unknown}`
    } catch (error) {
      return problemOf(error)
    }
  }
}

const describeSigner = (signerInfo: SignerInfo): PlainObject => ({
  signer: describeEntity(signerInfo.sid),
  digestAlgorithm: said(() => identifyDigest(signerInfo.digestAlgorithm)),
  signatureAlgorithm: said(() => identifySigner(signerInfo.signatureAlgorithm.der, identifyDigest(signerInfo.digestAlgorithm))),
  signedAttributes: describeAttributes(signerInfo.signedAttrs?.value),
  signingTime: said(() => valueOf(signerInfo.signedAttrs?.value ?? [], 'signingTime', Time)?.toISOString() ?? null),
  unsignedAttributes: describeAttributes(signerInfo.unsignedAttrs),
  counterSignatures: said(() => counterSignaturesOf(signerInfo).map(({ sid }) => describeEntity(sid))),
})

const describeAttributes = (attributes: readonly Attribute[] = []): Plain =>
  attributes.map(({ attrType }) => attributeLabel(attrType))

function describeEnvelope({ type, value }: Envelope): PlainObject {
  const { contentType, contentEncryptionAlgorithm, encryptedContent } =
    type === 'envelopedData' ? value.encryptedContentInfo : value.authEncryptedContentInfo
  return {
    contentType: contentTypeLabel(contentType),
    cipher: said(() => identifyCipher(contentEncryptionAlgorithm).id),
    contentOctets: encryptedContent?.length ?? 'elsewhere',
    authenticated: type === 'authEnvelopedData',
    attributes: describeAttributes(type === 'authEnvelopedData' ? value.authAttrs?.value : value.unprotectedAttrs),
    recipients: value.recipientInfos.map((recipient) => said(() => describeRecipient(recipient))),
  }
}

function describeRecipient({ type, value }: RecipientInfo): Plain {
  switch (type) {
    case 'ktri':
      return {
        recipient: describeEntity(value.rid),
        way: 'key transport',
        algorithm: algorithmLabel(value.keyEncryptionAlgorithm),
      }
    case 'kari':
      return {
        recipients: value.recipientEncryptedKeys.map(({ rid }) =>
          describeEntity(rid.type === 'rKeyId' ? { type: 'subjectKeyIdentifier', value: rid.value.subjectKeyIdentifier } : rid),
        ),
        way: 'key agreement',
        algorithm: algorithmLabel(value.keyEncryptionAlgorithm),
      }
    case 'kekri':
      return { recipient: `key ${value.kekid.keyIdentifier.toHex()}`, way: 'shared key' }
    case 'pwri':
      return { way: 'password' }
    case 'ori': {
      if (value.oriType !== ORI_KEM) return { way: value.oriType }
      const { rid, kem } = decode(KEMRecipientInfo, value.oriValue)
      return { recipient: describeEntity(rid), way: 'key encapsulation', algorithm: algorithmLabel(kem) }
    }
  }
}

/** Names of the standards for what a message may be encrypted with. */
const algorithmNames: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.1': 'rsaEncryption',
  '1.2.840.113549.1.1.7': 'RSAES-OAEP',
  '1.3.133.16.840.63.0.2': 'dhSinglePass-stdDH-sha1kdf-scheme',
  '1.3.132.1.11.1': 'dhSinglePass-stdDH-sha256kdf-scheme',
  '1.3.132.1.11.2': 'dhSinglePass-stdDH-sha384kdf-scheme',
  '1.3.132.1.11.3': 'dhSinglePass-stdDH-sha512kdf-scheme',
  '1.2.840.113549.1.9.16.3.19': 'dhSinglePass-stdDH-hkdf-sha256-scheme',
  '2.16.840.1.101.3.4.4.1': 'ML-KEM-512',
  '2.16.840.1.101.3.4.4.2': 'ML-KEM-768',
  '2.16.840.1.101.3.4.4.3': 'ML-KEM-1024',
}
const algorithmLabel = ({ algorithm }: AlgorithmIdentifier): string => algorithmNames[algorithm] ?? algorithm

function describeEntity({ type, value }: EntityIdentifier): string {
  if (type === 'subjectKeyIdentifier') return `key identifier ${value.toHex()}`
  return `serial number ${value.serialNumber.toHex()} of ${issuerText(value.issuer)}`
}

function issuerText(issuer: Uint8Array): string {
  try {
    return formatName(parseName(issuer))
  } catch (error) {
    return problemOf(error)
  }
}

/** What it is, or in its place what is wrong with it. */
function said(what: () => Plain): Plain {
  try {
    return what()
  } catch (error) {
    return { problem: problemOf(error) }
  }
}

const problemOf = (error: unknown): string => asTrustError(error).message
