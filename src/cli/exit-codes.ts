/** What the shell learns of how a command ended. Fixed by the product's face; scripts rely on it. @module */
import type { TrustErrorCode } from '#base/errors.ts'

export const exitCodes = {
  done: 0,
  failed: 1,
  wrongUsage: 2,
  notAllowed: 3,
  notFound: 4,
  conflict: 5,
  waitsForApproval: 6,
  refused: 7,
  notReached: 8,
  verificationFailed: 9,
  interrupted: 130,
} as const

export const exitCodeOf = {
  malformed: exitCodes.failed,
  tooLarge: exitCodes.failed,
  unsupported: exitCodes.failed,
  unauthenticated: exitCodes.notAllowed,
  forbidden: exitCodes.notAllowed,
  badProof: exitCodes.verificationFailed,
  policyRefused: exitCodes.refused,
  quotaExceeded: exitCodes.refused,
  notFound: exitCodes.notFound,
  conflict: exitCodes.conflict,
  rateLimited: exitCodes.refused,
  unavailable: exitCodes.notReached,
  internal: exitCodes.failed,
} as const satisfies Record<TrustErrorCode, number>
