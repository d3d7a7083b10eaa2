/**
 * What a TPM answers instead of a result, by its name, and as a refusal.
 *
 * Source: TCG TPM 2.0 Library, Part 2, revision 1.59, 6.6 (TPM_RC).
 *
 * @module
 */
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'

/** TPM_RC without TPM_RC_VER1 (0x100). */
const errors: Readonly<Record<number, string>> = {
  0x00: 'INITIALIZE',
  0x01: 'FAILURE',
  0x03: 'SEQUENCE',
  0x0b: 'PRIVATE',
  0x19: 'HMAC',
  0x20: 'DISABLED',
  0x21: 'EXCLUSIVE',
  0x24: 'AUTH_TYPE',
  0x25: 'AUTH_MISSING',
  0x26: 'POLICY',
  0x27: 'PCR',
  0x28: 'PCR_CHANGED',
  0x2d: 'UPGRADE',
  0x2e: 'TOO_MANY_CONTEXTS',
  0x2f: 'AUTH_UNAVAILABLE',
  0x30: 'REBOOT',
  0x31: 'UNBALANCED',
  0x42: 'COMMAND_SIZE',
  0x43: 'COMMAND_CODE',
  0x44: 'AUTHSIZE',
  0x45: 'AUTH_CONTEXT',
  0x46: 'NV_RANGE',
  0x47: 'NV_SIZE',
  0x48: 'NV_LOCKED',
  0x49: 'NV_AUTHORIZATION',
  0x4a: 'NV_UNINITIALIZED',
  0x4b: 'NV_SPACE',
  0x4c: 'NV_DEFINED',
  0x50: 'BAD_CONTEXT',
  0x51: 'CPHASH',
  0x52: 'PARENT',
  0x53: 'NEEDS_TEST',
  0x54: 'NO_RESULT',
  0x55: 'SENSITIVE',
}

/** Format one (0x080): about a handle, a parameter or a session. */
const placed: Readonly<Record<number, string>> = {
  0x01: 'ASYMMETRIC',
  0x02: 'ATTRIBUTES',
  0x03: 'HASH',
  0x04: 'VALUE',
  0x05: 'HIERARCHY',
  0x07: 'KEY_SIZE',
  0x08: 'MGF',
  0x09: 'MODE',
  0x0a: 'TYPE',
  0x0b: 'HANDLE',
  0x0c: 'KDF',
  0x0d: 'RANGE',
  0x0e: 'AUTH_FAIL',
  0x0f: 'NONCE',
  0x10: 'PP',
  0x12: 'SCHEME',
  0x15: 'SIZE',
  0x16: 'SYMMETRIC',
  0x17: 'TAG',
  0x18: 'SELECTOR',
  0x1a: 'INSUFFICIENT',
  0x1b: 'SIGNATURE',
  0x1c: 'KEY',
  0x1d: 'POLICY_FAIL',
  0x1f: 'INTEGRITY',
  0x20: 'TICKET',
  0x21: 'RESERVED_BITS',
  0x22: 'BAD_AUTH',
  0x23: 'EXPIRED',
  0x24: 'POLICY_CC',
  0x25: 'BINDING',
  0x26: 'CURVE',
  0x27: 'ECC_POINT',
}

/** TPM_RC_WARN (0x900): ask again, or make room. */
const warnings: Readonly<Record<number, string>> = {
  0x01: 'CONTEXT_GAP',
  0x02: 'OBJECT_MEMORY',
  0x03: 'SESSION_MEMORY',
  0x04: 'MEMORY',
  0x05: 'SESSION_HANDLES',
  0x06: 'OBJECT_HANDLES',
  0x07: 'LOCALITY',
  0x08: 'YIELDED',
  0x09: 'CANCELED',
  0x0a: 'TESTING',
  0x10: 'REFERENCE_H0',
  0x11: 'REFERENCE_H1',
  0x12: 'REFERENCE_H2',
  0x13: 'REFERENCE_H3',
  0x14: 'REFERENCE_H4',
  0x15: 'REFERENCE_H5',
  0x16: 'REFERENCE_H6',
  0x18: 'REFERENCE_S0',
  0x19: 'REFERENCE_S1',
  0x1a: 'REFERENCE_S2',
  0x1b: 'REFERENCE_S3',
  0x1c: 'REFERENCE_S4',
  0x1d: 'REFERENCE_S5',
  0x1e: 'REFERENCE_S6',
  0x20: 'NV_RATE',
  0x21: 'LOCKOUT',
  0x22: 'RETRY',
  0x23: 'NV_UNAVAILABLE',
}

export interface ResponseCode {
  /** As `TPM_RC_VALUE`; hexadecimal where the table does not have it. */
  readonly name: string
  /** As `, parameter 1`; empty where the code does not say. */
  readonly at: string
}

/** Never throws: a TPM may have codes of its vendor. */
export function readResponseCode(code: number): ResponseCode {
  const layer = code >>> 16 // the resource manager of the kernel answers in the TPM's place (TSS 2.0 Overview, 3.3)
  const low = code & 0xffff
  const unknown = { name: `0x${code.toString(16)}`, at: '' }
  const known = low & 0x080 ? readPlaced(low) : readPlain(low)
  if (known === undefined) return unknown
  return layer === 0 ? known : { ...known, at: ', by the resource manager' }
}

function readPlaced(code: number): ResponseCode | undefined {
  const name = placed[code & 0x3f]
  if (name === undefined || code > 0xfff) return undefined
  const n = (code >> 8) & 0xf
  const at = code & 0x040 ? `, parameter ${n}` : n >= 8 ? `, session ${n - 8}` : n > 0 ? `, handle ${n}` : ''
  return { name: `TPM_RC_${name}`, at }
}

function readPlain(code: number): ResponseCode | undefined {
  const name = code >> 8 === 1 ? errors[code & 0x7f] : code >> 8 === 9 ? warnings[code & 0x7f] : undefined
  return name === undefined ? undefined : { name: `TPM_RC_${name}`, at: '' }
}

/** What each group of codes means to whoever asked; all others are `tpmRefused`. */
const groups: readonly (readonly [Reason, TrustErrorCode, readonly string[]])[] = [
  [
    'tpmAuthorization',
    'forbidden',
    ['AUTH_FAIL', 'BAD_AUTH', 'NV_AUTHORIZATION', 'AUTH_UNAVAILABLE', 'AUTH_TYPE', 'AUTH_MISSING'],
  ],
  ['tpmLockedOut', 'unavailable', ['LOCKOUT']],
  ['tpmPolicy', 'policyRefused', ['POLICY_FAIL', 'POLICY', 'POLICY_CC', 'PCR_CHANGED', 'EXPIRED', 'NV_LOCKED', 'LOCALITY']],
  ['tpmExists', 'conflict', ['NV_DEFINED']],
  ['tpmMissing', 'notFound', ['HANDLE', ...[0, 1, 2, 3, 4, 5, 6].flatMap((n) => [`REFERENCE_H${n}`, `REFERENCE_S${n}`])]],
  [
    'tpmFull',
    'quotaExceeded',
    [
      'OBJECT_MEMORY',
      'SESSION_MEMORY',
      'MEMORY',
      'SESSION_HANDLES',
      'OBJECT_HANDLES',
      'NV_SPACE',
      'TOO_MANY_CONTEXTS',
      'CONTEXT_GAP',
    ],
  ],
  ['tpmProof', 'badProof', ['INTEGRITY', 'SIGNATURE', 'TICKET', 'BINDING', 'CPHASH', 'HMAC']],
  [
    'tpmBusy',
    'unavailable',
    [
      'INITIALIZE',
      'FAILURE',
      'REBOOT',
      'UPGRADE',
      'NEEDS_TEST',
      'YIELDED',
      'CANCELED',
      'TESTING',
      'NV_RATE',
      'RETRY',
      'NV_UNAVAILABLE',
    ],
  ],
]
const groupOf = new Map<string, { readonly reason: Reason; readonly code: TrustErrorCode }>(
  groups.flatMap(([reason, code, names]) => names.map((name) => [`TPM_RC_${name}`, { reason, code }] as const)),
)

/** @returns the refusal; its facts have the name as `code`, for those who must tell them apart */
export function refusalOf(code: number, command: string): TrustError {
  const { name, at } = readResponseCode(code)
  const { reason, code: kind } = groupOf.get(name) ?? ({ reason: 'tpmRefused', code: 'unsupported' } as const)
  return new TrustError(kind, reason, { facts: { command, code: name, at } })
}

/** Codes that say nothing but "again": the same octets are sent once more (Part 3, 5.4 and 6). */
const AGAIN: ReadonlySet<number> = new Set([0x908, 0x90a, 0x922])
export const isTransient = (code: number): boolean => AGAIN.has(code)
