/**
 * Whether what a device says of itself is as it should be: for whoever takes reports. Devices do not load it.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { checkQuote, trustedAttestationKey } from '#tpm2/attestation.ts'
import { pcrDigest } from '#tpm2/pcr.ts'
import { TPMT_PUBLIC } from '#tpm2/structures.ts'
import { unmarshal } from '#tpm2/wire.ts'
import { type Component, quoteNonce, type StateReport } from './messages.ts'

/** What an officer holds to be right; what is left out is not looked at. */
export interface ExpectedState {
  /** What the server gave with its last answer; empty before it gave any. */
  readonly challenge: string
  readonly components?: readonly Component[]
  readonly boot?: {
    /** TPMT_PUBLIC of the attestation key, as the birth proved it. */
    readonly key: Uint8Array
    readonly values: ReadonlyMap<number, Uint8Array>
  }
}

/** @returns what is wrong, for people; empty when all is as it should be */
export async function faultsOf(report: StateReport, expected: ExpectedState): Promise<readonly string[]> {
  if (report.challenge !== expected.challenge) return ['it answers another challenge']
  return [...componentFaults(report.components, expected.components), ...(await bootFaults(report, expected.boot))]
}

function componentFaults(found: readonly Component[], expected: readonly Component[] | undefined): readonly string[] {
  if (expected === undefined) return []
  const missing = expected.filter(({ name }) => !found.some((one) => one.name === name))
  return [
    ...found.flatMap(({ name, version, digest }) => {
      const wanted = expected.find((one) => one.name === name)
      if (wanted === undefined) return [`${name} ${version} is not known`]
      return wanted.digest === digest && wanted.version === version
        ? []
        : [`${name} ${version} is not ${wanted.version} as it was released`]
    }),
    ...missing.map(({ name }) => `${name} is missing`),
  ]
}

async function bootFaults(report: StateReport, expected: ExpectedState['boot']): Promise<readonly string[]> {
  if (expected === undefined) return []
  const { boot } = report
  if (boot === undefined) return ['it says nothing of how it started']
  if (!equal(boot.key, expected.key)) return ['the attestation key is another']
  try {
    const key = trustedAttestationKey(unmarshal(TPMT_PUBLIC, expected.key))
    const quoted = { hash: 'SHA256', values: boot.values } as const
    await checkQuote({ attest: boot.attest, signature: boot.signature }, key, { expected: quoted, nonce: quoteNonce(report) })
    const asExpected = { hash: 'SHA256', values: expected.values } as const
    if (equal(pcrDigest('SHA256', quoted), pcrDigest('SHA256', asExpected))) return []
    const others = [...expected.values].filter(
      ([register, value]) => !equal(boot.values.get(register) ?? new Uint8Array(0), value),
    )
    return [`it started otherwise: ${others.map(([register]) => `register ${register}`).join(', ') || 'other registers'}`]
  } catch (error) {
    if (error instanceof TrustError) return [error.message]
    throw error
  }
}
