/**
 * Policy digests computed without a TPM: what an object's `authPolicy` has to be so that exactly these steps open it.
 *
 *     policyDigest('SHA256', policyPCR(selection, digest), policyNV(name, ceiling, 0, 'UNSIGNED_LE'))
 *
 * Source: TCG TPM 2.0 Library, Part 1, 19.7 (Enhanced Authorization); Part 3, 23 (policy commands).
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TPM_CC, TPM_EO } from './constants.ts'
import { type Hash, hashes, hashOf, uint32 } from './hash.ts'
import { TPML_PCR_SELECTION } from './structures.ts'
import { marshal } from './wire.ts'

/** One policy command: from the digest before it to the digest after. */
export type PolicyStep = (hash: Hash, before: Uint8Array) => Uint8Array

/** In the order in which the session runs them. */
export const policyDigest = (hash: Hash, ...steps: readonly PolicyStep[]): Uint8Array =>
  steps.reduce((digest, step) => step(hash, digest), zeros(hash))

const zeros = (hash: Hash): Uint8Array => new Uint8Array(hashes[hash].octets)

const extend =
  (command: keyof typeof TPM_CC, ...parts: readonly Uint8Array[]): PolicyStep =>
  (hash, before) =>
    hashOf(hash, before, uint32(TPM_CC[command]), ...parts)

/** PolicyUpdate (Part 3, 23.2.3): a name, then a reference, in two steps. */
const update =
  (command: keyof typeof TPM_CC, name: Uint8Array, policyRef: Uint8Array): PolicyStep =>
  (hash, before) =>
    hashOf(hash, extend(command, name)(hash, before), policyRef)

const NONE = new Uint8Array(0)

/** @param pcrDigest of the registers' values one after another, lowest number first, by the policy's own hash */
export const policyPCR = (selection: TPML_PCR_SELECTION, pcrDigest: Uint8Array): PolicyStep =>
  extend('PolicyPCR', marshal(TPML_PCR_SELECTION, selection), pcrDigest)

export const policySigned = (authName: Uint8Array, policyRef: Uint8Array = NONE): PolicyStep =>
  update('PolicySigned', authName, policyRef)

/** @param authName of the object or hierarchy whose authorization is asked for */
export const policySecret = (authName: Uint8Array, policyRef: Uint8Array = NONE): PolicyStep =>
  update('PolicySecret', authName, policyRef)

/** Whatever policy this key has signed; what went before counts no more. */
export const policyAuthorize =
  (keySign: Uint8Array, policyRef: Uint8Array = NONE): PolicyStep =>
  (hash) =>
    update('PolicyAuthorize', keySign, policyRef)(hash, zeros(hash))

/** The policy that an index holds. */
export const policyAuthorizeNV =
  (indexName: Uint8Array): PolicyStep =>
  (hash) =>
    extend('PolicyAuthorizeNV', indexName)(hash, zeros(hash))

/** What `keySign` signs so that PolicyAuthorize takes a policy: its digest by the key's Name algorithm is signed. */
export const authorizedPolicy = (approvedPolicy: Uint8Array, policyRef: Uint8Array = NONE): Uint8Array =>
  concat([approvedPolicy, policyRef])

/** What a key signs for PolicySigned: bound to one session by its nonce, unless that is empty. */
export const authorizedSession = ({
  nonceTPM,
  expiration = 0,
  cpHashA = NONE,
  policyRef = NONE,
}: {
  readonly nonceTPM: Uint8Array
  /** Seconds; 0 is as long as the session. */
  readonly expiration?: number
  readonly cpHashA?: Uint8Array
  readonly policyRef?: Uint8Array
}): Uint8Array => concat([nonceTPM, uint32(expiration), cpHashA, policyRef])

/** @throws TypeError unless there are two to eight branches and what went before is one of them */
export const policyOR =
  (...branches: readonly Uint8Array[]): PolicyStep =>
  (hash, before) => {
    if (branches.length < 2 || branches.length > 8) throw new TypeError('PolicyOR has two to eight branches')
    if (before.some((octet) => octet !== 0) && !branches.some((branch) => branch.toHex() === before.toHex()))
      throw new TypeError('what went before is no branch of this PolicyOR')
    return extend('PolicyOR', ...branches)(hash, zeros(hash))
  }

export type Comparison = keyof typeof TPM_EO

/** @param operand compared with as many octets of the index, from `offset` on */
export const policyNV =
  (indexName: Uint8Array, operand: Uint8Array, offset: number, operation: Comparison): PolicyStep =>
  (hash, before) =>
    extend('PolicyNV', hashOf(hash, operand, uint16(offset), uint16(TPM_EO[operation])), indexName)(hash, before)

/** The TPM's own clock and counts (TPMS_TIME_INFO). */
export const policyCounterTimer =
  (operand: Uint8Array, offset: number, operation: Comparison): PolicyStep =>
  (hash, before) =>
    extend('PolicyCounterTimer', hashOf(hash, operand, uint16(offset), uint16(TPM_EO[operation])))(hash, before)

export const policyCommandCode = (command: keyof typeof TPM_CC): PolicyStep =>
  extend('PolicyCommandCode', uint32(TPM_CC[command]))

/** The object's own authorization, by HMAC or (the same digest) as a password. */
export const policyAuthValue: PolicyStep = extend('PolicyAuthValue')

export const policyCpHash = (cpHashA: Uint8Array): PolicyStep => extend('PolicyCpHash', cpHashA)
export const policyNameHash = (nameHash: Uint8Array): PolicyStep => extend('PolicyNameHash', nameHash)
export const policyNvWritten = (writtenSet: boolean): PolicyStep => extend('PolicyNvWritten', Uint8Array.of(writtenSet ? 1 : 0))
/** @param locality TPMA_LOCALITY */
export const policyLocality = (locality: number): PolicyStep => extend('PolicyLocality', Uint8Array.of(locality))

const uint16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
