/**
 * What a TPM's statements prove, checked without a TPM: a key was made in it and cannot leave, registers had these
 * values, an index this content.
 *
 * A statement is believed because a restricted key signed it: such a key signs nothing that begins like a statement
 * unless the TPM made it. So the attributes of the attestation key are checked each time, and that it lives in a true
 * TPM is shown once by `makeCredential`.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 31 (Attestation); Part 2, 10.12; Part 3, 18.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { hashOf } from './hash.ts'
import { nvName, objectName } from './name.ts'
import { formatSelection, pcrDigest, pcrSelection, type PCRValues, selectedRegisters } from './pcr.ts'
import { publicKeyOf, verifyTPMSignature } from './public-key.ts'
import {
  type TPMA_OBJECT,
  TPMS_ATTEST,
  type TPMS_CLOCK_INFO,
  TPMS_CREATION_DATA,
  type TPMS_NV_PUBLIC,
  type TPMT_PUBLIC,
  TPMT_SIGNATURE,
} from './structures.ts'
import { unmarshal } from './wire.ts'

/** As a device sends it. */
export interface Statement {
  /** Octets of TPMS_ATTEST. */
  readonly attest: Uint8Array
  /** Octets of TPMT_SIGNATURE. */
  readonly signature: Uint8Array
}

const LOOKED_AT = Symbol('its attributes were looked at')

/** An attestation key whose attributes were looked at: only {@link trustedAttestationKey} makes one. */
export interface AttestationKey {
  readonly [LOOKED_AT]: true
  readonly publicArea: TPMT_PUBLIC
  readonly name: Uint8Array
  readonly publicKey: PublicKey
}

/** What every statement says beside its matter. */
export interface Said {
  readonly clockInfo: TPMS_CLOCK_INFO
  readonly firmwareVersion: bigint
  /** Of the attestation key, as the TPM knows it: with its parents. */
  readonly qualifiedSigner: Uint8Array
}

const RESIDENT: TPMA_OBJECT = ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin']

/**
 * Looks at a public area before it is challenged or believed. Kept between statements, it saves importing the key.
 *
 * @throws TrustError `policyRefused` unless it is a restricted signing key that was made in its TPM and stays there;
 * `malformed`, `unsupported` for a key that cannot be used
 */
export function trustedAttestationKey(publicArea: TPMT_PUBLIC): AttestationKey {
  checkAttributes(publicArea, 'attestationKey', [...RESIDENT, 'restricted', 'sign'], ['decrypt'])
  return { [LOOKED_AT]: true, publicArea, name: objectName(publicArea), publicKey: publicKeyOf(publicArea) }
}

/**
 * Whether the public area is that of a key made in a TPM that cannot leave it. Says nothing of which TPM: that is
 * {@link checkCertified}.
 *
 * @throws TrustError `policyRefused`
 */
export const checkResident = (publicArea: TPMT_PUBLIC): void =>
  checkAttributes(publicArea, 'keyNotResident', RESIDENT, ['encryptedDuplication'])

function checkAttributes(
  { objectAttributes, nameAlg }: TPMT_PUBLIC,
  reason: 'attestationKey' | 'keyNotResident',
  needed: TPMA_OBJECT,
  refused: TPMA_OBJECT,
): void {
  const missing = needed.filter((name) => !objectAttributes.includes(name))
  const extra = refused.filter((name) => objectAttributes.includes(name))
  // what a Name stands for is believed by its hash: of SHA-1, somebody can make two areas with one
  const weak = nameAlg === 'SHA1' ? ['nameAlg is SHA1'] : []
  if (missing.length + extra.length + weak.length === 0) return
  const detail = [...weak, ...missing.map((name) => `${name} is clear`), ...extra.map((name) => `${name} is set`)].join(', ')
  throw new TrustError('policyRefused', reason, { facts: { detail } })
}

type Kind = TPMS_ATTEST['type']
type Attest<K extends Kind> = Extract<TPMS_ATTEST, { readonly type: K }>

/** Signature first, then whether it answers this challenge and is of this kind. */
async function believe<K extends Kind>(
  { attest, signature }: Statement,
  key: AttestationKey,
  { kind, nonce }: { readonly kind: K; readonly nonce: Uint8Array },
): Promise<{ readonly said: Attest<K>; readonly signature: TPMT_SIGNATURE }> {
  const signed = unmarshal(TPMT_SIGNATURE, signature)
  const said = unmarshal(TPMS_ATTEST, attest)
  if (!(await verifyTPMSignature(key.publicKey, signed, attest))) throw refused('badProof', 'attestationSignature')
  if (said.type !== kind) throw refused('badProof', 'attestationOther', `${said.type}, not ${kind}`)
  if (nonce.length === 0) throw new TypeError('a challenge without a nonce proves nothing')
  if (!equal(said.extraData, nonce)) throw refused('badProof', 'attestationNonce')
  return { said: said as Attest<K>, signature: signed }
}

const saidOf = ({ clockInfo, firmwareVersion, qualifiedSigner }: TPMS_ATTEST): Said => ({
  clockInfo,
  firmwareVersion,
  qualifiedSigner,
})

const refused = (code: TrustErrorCode, reason: Reason, detail?: string): TrustError =>
  new TrustError(code, reason, detail === undefined ? {} : { facts: { detail } })

/** A key of the TPM, as TPM2_Certify proved it. */
export interface CertifiedKey extends Said {
  readonly publicArea: TPMT_PUBLIC
  readonly publicKey: PublicKey
}

/**
 * TPM2_Certify: the key is in the same TPM as the attestation key, was made there, and cannot leave.
 *
 * @param certified public area of the key, whose Name is made here
 * @throws TrustError `badProof`, `policyRefused`, `malformed`, `unsupported`
 */
export async function checkCertified(
  statement: Statement,
  key: AttestationKey,
  { certified, nonce }: { readonly certified: TPMT_PUBLIC; readonly nonce: Uint8Array },
): Promise<CertifiedKey> {
  checkResident(certified)
  const { said } = await believe(statement, key, { kind: 'ATTEST_CERTIFY', nonce })
  if (!equal(said.attested.name, objectName(certified))) throw refused('badProof', 'attestationOther', 'another key is certified')
  return { ...saidOf(said), publicArea: certified, publicKey: publicKeyOf(certified) }
}

/**
 * TPM2_CertifyCreation: as {@link checkCertified}, and how the key was made.
 *
 * @param creationData octets of TPMS_CREATION_DATA
 */
export async function checkCreation(
  statement: Statement,
  key: AttestationKey,
  {
    certified,
    creationData,
    nonce,
  }: { readonly certified: TPMT_PUBLIC; readonly creationData: Uint8Array; readonly nonce: Uint8Array },
): Promise<CertifiedKey & { readonly creation: TPMS_CREATION_DATA }> {
  checkResident(certified)
  const { said } = await believe(statement, key, { kind: 'ATTEST_CREATION', nonce })
  const { objectName: name, creationHash } = said.attested
  if (!equal(name, objectName(certified))) throw refused('badProof', 'attestationOther', 'another key is certified')
  // Part 3, 18.3: by the hash of the object's Name
  if (!equal(creationHash, hashOf(certified.nameAlg, creationData)))
    throw refused('badProof', 'attestationOther', 'another creation is certified')
  const creation = unmarshal(TPMS_CREATION_DATA, creationData)
  return { ...saidOf(said), publicArea: certified, publicKey: publicKeyOf(certified), creation }
}

/**
 * TPM2_Quote: these registers, and no others, had these values.
 *
 * @throws TrustError `badProof` for a forged, old or other quote, `policyRefused` when the values are others
 */
export async function checkQuote(
  statement: Statement,
  key: AttestationKey,
  { expected, nonce }: { readonly expected: PCRValues; readonly nonce: Uint8Array },
): Promise<Said> {
  const { said, signature } = await believe(statement, key, { kind: 'ATTEST_QUOTE', nonce })
  const { pcrSelect, pcrDigest: digest } = said.attested
  const asked = pcrSelection(expected.hash, expected.values.keys())
  const found = pcrSelect.filter((one) => selectedRegisters(one).length > 0)
  if (formatSelection(found) !== formatSelection(asked))
    throw new TrustError('badProof', 'quoteSelection', { facts: { expected: formatSelection(asked) } })
  // Part 3, 18.4: by the hash of the signing scheme
  if (!equal(digest, pcrDigest(signature.signature.hash, expected))) throw refused('policyRefused', 'quoteDigest')
  return saidOf(said)
}

/**
 * TPM2_NV_Certify: what an index holds.
 *
 * @param index its public area as the verifier expects it, written: its Name is made here
 */
export async function checkNVCertified(
  statement: Statement,
  key: AttestationKey,
  { index, nonce }: { readonly index: TPMS_NV_PUBLIC; readonly nonce: Uint8Array },
): Promise<Said & { readonly contents: Uint8Array }> {
  const { said } = await believe(statement, key, { kind: 'ATTEST_NV', nonce })
  const { indexName, offset, nvContents } = said.attested
  if (!equal(indexName, nvName(index))) throw refused('badProof', 'attestationOther', 'another index is certified')
  if (offset !== 0 || nvContents.length !== index.dataSize)
    throw refused('badProof', 'attestationOther', 'not the whole index is certified')
  return { ...saidOf(said), contents: nvContents }
}

/** The value of a counter index. @throws TrustError `malformed` unless there are eight octets */
export function counterValue(contents: Uint8Array): bigint {
  if (contents.length !== 8) throw new TrustError('malformed', 'notTPM', { facts: { detail: 'a counter has eight octets' } })
  return BigInt(`0x${contents.toHex()}`)
}

/** The counts of a key outside of the endorsement hierarchy are shifted by a constant, so that they may wrap (Part 1, 36.7). */
const HALF = 2 ** 31

/**
 * Finds a software TPM whose state was put back, or that was copied: between two statements of one key, resets are only
 * ever counted up, and between resets the clock only goes forward.
 *
 * @throws TrustError `conflict`
 */
export function checkForward(before: TPMS_CLOCK_INFO, after: TPMS_CLOCK_INFO): void {
  const back = (detail: string): TrustError => new TrustError('conflict', 'tpmWentBack', { facts: { detail } })
  const resets = (after.resetCount - before.resetCount) >>> 0
  if (resets >= HALF) throw back('fewer resets than before')
  if (resets > 0) return // the clock is only written now and then, and an unclean end takes it back to that (Part 1, 36.3.2)
  const restarts = (after.restartCount - before.restartCount) >>> 0
  if (restarts >= HALF) throw back('fewer restarts than before')
  if (restarts === 0 && after.clock < before.clock) throw back('its clock stood later before')
}
