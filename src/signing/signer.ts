/**
 * A signer: which key signs what, for whom, how often and how long.
 *
 * A record is never edited but for what moves it along: enabled, disabled, rolled over to its next key. What must change
 * otherwise is another signer, so that an audit entry's signer always meant the same.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, type SignatureAlgorithmId, signaturesOf } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'

/** Who may do something: whoever has one of the roles, and those who are named. */
export interface Party {
  readonly roles: readonly string[]
  /** Ids of people and services. */
  readonly people: readonly string[]
}

/** A key with what says whose it is. */
export interface LoneKey {
  /** A reference into the key ring. */
  readonly label: string
  readonly keyAlgorithm: KeyAlgorithmId
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  /** The key's own certificate first, then those above it; DER. Empty for a key without one. */
  readonly chain: readonly Uint8Array[]
}

/** What a signer signs with: one key, or two that always sign together. */
export interface SignerKey extends LoneKey {
  /** A post-quantum one beside a classical one, or the other way round. */
  readonly companion?: LoneKey
}

export const keysOf = ({ companion, ...key }: SignerKey): readonly LoneKey[] =>
  companion === undefined ? [key] : [key, companion]

/** The key that takes over, at a time, after a number of signatures in all, or at whichever comes first. */
export interface NextKey extends SignerKey {
  readonly at?: number
  readonly afterUses?: number
}

export interface SignerApproval {
  /** How many people have to agree. */
  readonly least: number
  readonly approvers: Party
  /** How many signatures one approval may cover; 1 means that each is approved by itself. */
  readonly usesMax: number
  /** How long an approval may be used once it is given. */
  readonly validSeconds: number
}

export interface TimeStampTerms {
  /** An OBJECT IDENTIFIER: under what rules the times are stated. */
  readonly policy: string
  /** How far a stated time may be from UTC. Where the clock is not known to be that good, nothing is stated. */
  readonly accuracyMilliseconds: number
  /** Whether no two have the same time, so that their times tell their order. */
  readonly ordering: boolean
  /** Whether anybody may ask, over plain HTTP; else only the signer's users, who say who they are. */
  readonly isPublic: boolean
}

export interface SignerTerms {
  readonly formats: readonly string[]
  readonly users: Party
  /** Longest artifact that is signed, as whoever signs states it; the server sees it only where it hashes itself. */
  readonly sizeMaxOctets?: number
  /** Signatures in all. */
  readonly usesMax?: number
  readonly usesPerHourMax?: number
  /** Both ends in milliseconds; a certificate bounds them further. */
  readonly notBefore?: number
  readonly notAfter?: number
  readonly approval?: SignerApproval
  /** Where time stamps come from: a URL of a time-stamping authority (RFC 3161), or the name of such a signer here. */
  readonly timeStamping?: string
  /** What it states, where it is itself a time-stamping authority. */
  readonly timeStamps?: TimeStampTerms
  /** What is kept of what is signed beside its digest; then the artifact has to come here. */
  readonly archive?: 'artifacts'
  /** Of those that wait when there is more to sign than can be signed, who goes first. */
  readonly priority: Priority
}

export const PRIORITIES = ['high', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

export interface SignerRecord extends SignerTerms {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly state: 'enabled' | 'disabled'
  readonly key: SignerKey
  readonly next?: NextKey
  readonly createdAt: number
}

/**
 * @param wanted what the key signs with; what is usual for it when left out
 * @throws TrustError `policyRefused` when the certificate is another key's, `unsupported` for another family's algorithm
 */
export function signerKey(
  { label, keyAlgorithm, publicKey }: Pick<LoneKey, 'label' | 'keyAlgorithm' | 'publicKey'>,
  chain: readonly Uint8Array[],
  wanted?: string,
): LoneKey {
  const offered = signaturesOf(keyAlgorithm).map(({ id }) => id)
  const signatureAlgorithm = (wanted ?? certificateSignatureOf(keyAlgorithm)) as SignatureAlgorithmId
  if (!offered.includes(signatureAlgorithm)) {
    throw new TrustError('unsupported', 'signerFamily', { facts: { keyAlgorithm, signature: signatureAlgorithm } })
  }
  checkChain(publicKey, chain)
  return { label, keyAlgorithm, signatureAlgorithm, publicKey, chain }
}

/** @throws TrustError `policyRefused` when both are one key, or only one of them has a certificate */
export function withCompanion(key: LoneKey, companion: LoneKey | undefined): SignerKey {
  if (companion === undefined) return key
  if (equal(key.publicKey, companion.publicKey)) throw new TrustError('policyRefused', 'signerKeyTwice')
  if ((key.chain.length === 0) !== (companion.chain.length === 0)) throw new TrustError('policyRefused', 'signerOneCertificate')
  return { ...key, companion }
}

/** Each certificate names the next as its issuer; whether a relying party trusts the last is not for us to say. */
function checkChain(publicKey: Uint8Array, chain: readonly Uint8Array[]): void {
  const certificates = chain.map(parseCertificate)
  const [own] = certificates
  if (own === undefined) return
  if (!equal(importPublicKey(own.subjectPublicKeyInfo).spki, publicKey))
    throw new TrustError('policyRefused', 'signerCertificate')
  for (const [at, certificate] of certificates.entries()) {
    const above = certificates[at + 1]
    if (above !== undefined && !equal(certificate.issuer, above.subject)) throw new TrustError('policyRefused', 'signerChain')
  }
}

/** @returns the time from which and until which it signs, with its certificates' own */
export function validityOf({ notBefore, notAfter, key }: Pick<SignerRecord, 'notBefore' | 'notAfter' | 'key'>) {
  const certificates = keysOf(key).flatMap(({ chain }) => chain.slice(0, 1).map(parseCertificate))
  return {
    notBefore: Math.max(notBefore ?? Number.NEGATIVE_INFINITY, ...certificates.map((one) => one.notBefore.getTime())),
    notAfter: Math.min(notAfter ?? Number.POSITIVE_INFINITY, ...certificates.map((one) => one.notAfter.getTime())),
  }
}

export const isParty = (
  { roles, people }: Party,
  { id, roles: held }: { readonly id: string; readonly roles: readonly string[] },
): boolean => people.includes(id) || held.some((role) => roles.includes(role))
