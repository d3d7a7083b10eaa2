/**
 * A TPM's own memory: contents such as endorsement certificates, and counters that nothing turns back.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 37.2 (NV indexes); Part 3, 31.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { counterValue, type Statement } from './attestation.ts'
import { commands } from './commands.ts'
import { handleName, nvName } from './name.ts'
import { type Authorized, authValueOf, type Entity, type Session } from './session.ts'
import { type TPMS_NV_PUBLIC, TPMT_SIGNATURE } from './structures.ts'
import { hierarchies, type TPM } from './tpm.ts'
import { marshal } from './wire.ts'

export interface Index extends Entity {
  readonly publicArea: TPMS_NV_PUBLIC
}

/** What every TPM reads at once; few read more. */
const CHUNK_OCTETS = 512
/** The longest certificate that anyone keeps in a TPM, by far. */
const INDEX_MAX_OCTETS = 8192
const COUNTER_OCTETS = 8

/** @throws TrustError `notFound` */
export async function openIndex(tpm: TPM, nvIndex: number, authValue?: Secret): Promise<Index> {
  let answer
  try {
    answer = await tpm.run(commands.NV_ReadPublic, { nvIndex: { handle: nvIndex, name: handleName(nvIndex) } })
  } catch (error) {
    // Part 3, 31.6: an index that is not there is a wrong value of the handle
    if (!(error instanceof TrustError) || error.facts['code'] !== 'TPM_RC_VALUE') throw error
    throw new TrustError('notFound', 'tpmMissing', { facts: error.facts, cause: error })
  }
  const { nvPublic, nvName: said } = answer
  const name = nvName(nvPublic)
  if (nvPublic.nvIndex !== nvIndex || !equal(said, name)) {
    const facts = { command: 'NV_ReadPublic', detail: 'its name is not that of its public area' }
    throw new TrustError('malformed', 'tpmAnswerOther', { facts })
  }
  return { handle: nvIndex, name, publicArea: nvPublic, ...(authValue !== undefined && { authValue }) }
}

/** The whole content. @throws TrustError `tooLarge` */
export async function readIndex(tpm: TPM, index: Index & Authorized): Promise<Uint8Array> {
  const { dataSize } = index.publicArea
  if (dataSize > INDEX_MAX_OCTETS) throw new TrustError('tooLarge', 'tpmTooLarge', { facts: { limit: INDEX_MAX_OCTETS } })
  const contents = new Uint8Array(dataSize)
  for (let offset = 0; offset < dataSize; offset += CHUNK_OCTETS) {
    const size = Math.min(CHUNK_OCTETS, dataSize - offset)
    const { data } = await tpm.run(commands.NV_Read, { authHandle: index, nvIndex: index, size, offset })
    if (data.length !== size) {
      throw new TrustError('malformed', 'tpmAnswerOther', { facts: { command: 'NV_Read', detail: 'it has another length' } })
    }
    contents.set(data, offset)
  }
  return contents
}

export interface NewCounter {
  /** 0x01800000 to 0x01BFFFFF for the owner. */
  readonly nvIndex: number
  /** Asked for by each read and increment. */
  readonly authValue?: Secret
  /** Where the owner's authorization is not empty. */
  readonly owner?: Authorized
  readonly encryptBy?: Session
}

/**
 * A new counter, counted up once, since only then it has a value: one more than any counter of this TPM ever had.
 *
 * @throws TrustError `conflict` when there is something under this index
 */
export async function defineCounter(
  tpm: TPM,
  { nvIndex, authValue, owner = hierarchies.owner, encryptBy }: NewCounter,
): Promise<Index> {
  const publicInfo: TPMS_NV_PUBLIC = {
    nvIndex,
    nameAlg: 'SHA256',
    attributes: { TPM_NT: 'COUNTER', bits: ['AUTHWRITE', 'AUTHREAD', 'NO_DA'] },
    authPolicy: new Uint8Array(0),
    dataSize: COUNTER_OCTETS,
  }
  const auth = authValue === undefined ? new Uint8Array(0) : authValueOf({ ...hierarchies.null, authValue })
  await tpm.run(commands.NV_DefineSpace, { authHandle: owner, auth, publicInfo }, encryptBy === undefined ? {} : { encryptBy })
  const fresh = await openIndex(tpm, nvIndex, authValue)
  await tpm.run(commands.NV_Increment, { authHandle: fresh, nvIndex: fresh })
  return openIndex(tpm, nvIndex, authValue) // now written, which is in its name
}

/** @returns the new value */
export async function incrementCounter(tpm: TPM, counter: Index & Authorized): Promise<bigint> {
  await tpm.run(commands.NV_Increment, { authHandle: counter, nvIndex: counter })
  return readCounter(tpm, counter)
}

export const readCounter = async (tpm: TPM, counter: Index & Authorized): Promise<bigint> =>
  counterValue(await readIndex(tpm, counter))

/** The TPM's word what an index holds; checked by `checkNVCertified`. */
export async function certifyIndex(
  tpm: TPM,
  { index, by, nonce }: { readonly index: Index & Authorized; readonly by: Authorized; readonly nonce: Uint8Array },
): Promise<Statement> {
  const said = await tpm.run(commands.NV_Certify, {
    signHandle: by,
    authHandle: index,
    nvIndex: index,
    qualifyingData: nonce,
    inScheme: { scheme: 'NULL' },
    size: index.publicArea.dataSize,
    offset: 0,
  })
  return { attest: said.attest, signature: marshal(TPMT_SIGNATURE, said.signature) }
}

export async function undefineIndex(tpm: TPM, index: Entity, owner: Authorized = hierarchies.owner): Promise<void> {
  await tpm.run(commands.NV_UndefineSpace, { authHandle: owner, nvIndex: index })
}
