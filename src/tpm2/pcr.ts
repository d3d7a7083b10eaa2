/**
 * Platform configuration registers: which are meant, and the digest over their values that quotes and policies carry.
 *
 * Source: TCG TPM 2.0 Library, Part 2, 10.6.2; Part 1, 17.6 (selecting registers).
 *
 * @module
 */
import { type Hash, hashes, hashOf } from './hash.ts'
import type { TPML_PCR_SELECTION } from './structures.ts'

/** What a computer's TPM has (PC Client Platform TPM Profile, 4.6.1). */
const REGISTERS = 24

/** Values by register, of one bank. */
export interface PCRValues {
  readonly hash: Hash
  readonly values: ReadonlyMap<number, Uint8Array>
}

/** @throws TypeError for a register that there is not */
export function pcrSelection(hash: Hash, registers: Iterable<number>): TPML_PCR_SELECTION {
  const pcrSelect = new Uint8Array(REGISTERS / 8)
  for (const register of registers) {
    if (!Number.isInteger(register) || register < 0 || register >= REGISTERS) throw new TypeError(`there is no PCR ${register}`)
    pcrSelect[register >> 3] = (pcrSelect[register >> 3] as number) | (1 << (register & 7))
  }
  return [{ hash, pcrSelect }]
}

/** Register numbers of one selection, in the order in which their values are digested. */
export const selectedRegisters = ({ pcrSelect }: TPML_PCR_SELECTION[number]): readonly number[] =>
  Array.from(pcrSelect, (octet, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (octet >> bit) & 1).map((bit) => 8 * i + bit),
  ).flat()

/** @param hash of the signing scheme (quotes) or of the policy session */
export function pcrDigest(hash: Hash, { hash: bank, values }: PCRValues): Uint8Array {
  const inOrder = [...values].toSorted(([a], [b]) => a - b)
  for (const [register, value] of inOrder)
    if (value.length !== hashes[bank].octets) throw new TypeError(`PCR ${register} of ${bank} has another length`)
  return hashOf(hash, ...inOrder.map(([, value]) => value))
}

/** As people write it: `SHA256:0,7`. */
export const formatSelection = (selection: TPML_PCR_SELECTION): string =>
  selection.map((one) => `${one.hash}:${selectedRegisters(one).join(',')}`).join('+')
