/** What a TPM in software (swtpm 0.7.1) said once, for tests and as seeds of the fuzz. @module */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Statement } from './attestation.ts'
import { TPMT_PUBLIC } from './structures.ts'
import { unmarshal } from './wire.ts'

type Said = Readonly<Record<string, string | readonly string[] | { readonly attest: string; readonly signature: string }>>

const said = JSON.parse(readFileSync(join(import.meta.dirname, 'testdata/swtpm.json'), 'utf8')) as Said

export const octetsOf = (name: string): Uint8Array => Uint8Array.fromHex(said[name] as string)
export const listOf = (name: string): readonly Uint8Array[] =>
  (said[name] as readonly string[]).map((hex) => Uint8Array.fromHex(hex))
export const areaOf = (name: string): TPMT_PUBLIC => unmarshal(TPMT_PUBLIC, octetsOf(name))
export function statementOf(name: string): Statement {
  const { attest, signature } = said[name] as { readonly attest: string; readonly signature: string }
  return { attest: Uint8Array.fromHex(attest), signature: Uint8Array.fromHex(signature) }
}
export const statements = ['certify', 'certifyCreation', 'certifyIndex', 'quote', 'quoteRSA'] as const
export const areas = ['endorsementKey', 'endorsementKeyRSA', 'attestationKey', 'attestationKeyRSA', 'key'] as const
