/**
 * Public keys that something can be encrypted for: one for each way in which CMS hands a key over.
 *
 * Source: RFC 5652, 6.2.1; RFC 5753, 7.1.1; RFC 8418, 2; RFC 9935 (ML-KEM keys).
 *
 * @module
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { importPublicKey, SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode, encode } from '#asn1/codec.ts'
import { TrustError } from '#base/errors.ts'
import type { Certificate } from '#x509/certificate.ts'
import { extensionOf } from '#x509/certificate.ts'
import { keyUsage, type KeyUsageBit } from '#x509/extensions/key-usage.ts'

interface Row {
  /** DER AlgorithmIdentifier of the key, hex. */
  readonly identifier: string
  readonly usage: KeyUsageBit
}
export interface AgreementRow extends Row {
  readonly way: 'agreement'
  readonly curve: 'P-256' | 'P-384' | 'P-521' | 'X25519'
  /** What is written for it: a digest as strong as the curve. */
  readonly scheme: string
}
export interface KEMRow extends Row {
  readonly way: 'kem'
  readonly oid: string
}
interface TransportRow extends Row {
  readonly way: 'transport'
}

const rows: readonly (AgreementRow | KEMRow | TransportRow)[] = [
  { way: 'transport', identifier: '300d06092a864886f70d0101010500', usage: 'keyEncipherment' },
  agreement('P-256', '301306072a8648ce3d020106082a8648ce3d030107', '1.3.132.1.11.1'),
  agreement('P-384', '301006072a8648ce3d020106052b81040022', '1.3.132.1.11.2'),
  agreement('P-521', '301006072a8648ce3d020106052b81040023', '1.3.132.1.11.3'),
  agreement('X25519', '300506032b656e', '1.2.840.113549.1.9.16.3.19'),
  kem('2.16.840.1.101.3.4.4.1', '300b0609608648016503040401'),
  kem('2.16.840.1.101.3.4.4.2', '300b0609608648016503040402'),
  kem('2.16.840.1.101.3.4.4.3', '300b0609608648016503040403'),
]

function agreement(curve: AgreementRow['curve'], identifier: string, scheme: string): AgreementRow {
  return { way: 'agreement', curve, identifier, usage: 'keyAgreement', scheme }
}

function kem(oid: string, identifier: string): KEMRow {
  return { way: 'kem', oid, identifier, usage: 'keyEncipherment' }
}

export type RecipientKey = (AgreementRow | KEMRow | TransportRow) & { readonly key: KeyObject }

/** @param spki DER @throws TrustError `unsupported`, `malformed`, `policyRefused` for a weak key */
export function importRecipientKey(spki: Uint8Array): RecipientKey {
  const { algorithm } = decode(SubjectPublicKeyInfo, spki)
  const row = rows.find(({ identifier }) => identifier === algorithm.toHex())
  if (row === undefined) throw new TrustError('unsupported', 'keyAlgorithm')
  if (row.way === 'transport') return { ...row, key: importPublicKey(spki).key } // which looks for weak keys
  try {
    return { ...row, key: createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }) }
  } catch (cause) {
    throw new TrustError('malformed', 'keyUnusable', { cause })
  }
}

/** Where a certificate says what its key is for, it must be for this (RFC 5280, 4.2.1.3). @throws TrustError `policyRefused` */
export function checkUsage(certificate: Certificate, { usage }: RecipientKey): void {
  const usages = extensionOf(certificate, keyUsage)?.value
  if (usages === undefined || usages.includes(usage)) return
  throw new TrustError('policyRefused', 'cmsRecipientKey', { facts: { detail: `its key usage is not ${usage}` } })
}

/** The subjectPublicKey of a key of this algorithm as a whole SubjectPublicKeyInfo. @param identifier hex */
export const spkiOf = (identifier: string, subjectPublicKey: Uint8Array): Uint8Array =>
  encode(SubjectPublicKeyInfo, { algorithm: Uint8Array.fromHex(identifier), subjectPublicKey })
