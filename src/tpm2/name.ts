/**
 * Names: what a TPM calls an object or an index so that nothing else can be meant.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 16 (Names).
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TPM_ALG } from './constants.ts'
import { type Hash, hashOf, uint32 } from './hash.ts'
import { TPMS_NV_PUBLIC, TPMT_PUBLIC } from './structures.ts'
import { marshal } from './wire.ts'

/** Made from the public area always: a Name that came along proves nothing. */
export const objectName = (publicArea: TPMT_PUBLIC): Uint8Array => named(publicArea.nameAlg, marshal(TPMT_PUBLIC, publicArea))

export const nvName = (publicArea: TPMS_NV_PUBLIC): Uint8Array => named(publicArea.nameAlg, marshal(TPMS_NV_PUBLIC, publicArea))

/** Of hierarchies, registers and sessions: the handle itself. */
export const handleName = (handle: number): Uint8Array => uint32(handle)

function named(nameAlg: Hash, area: Uint8Array): Uint8Array {
  const id = TPM_ALG[nameAlg]
  return concat([Uint8Array.of(id >> 8, id & 0xff), hashOf(nameAlg, area)])
}
