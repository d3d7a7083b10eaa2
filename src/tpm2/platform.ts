/**
 * What a TPM says of itself and of its platform: its handles, its registers, its endorsement.
 *
 * Source: TCG TPM 2.0 Library, Part 3, 22 (integrity collection) and 30.2 (TPM2_GetCapability); TCG EK Credential
 * Profile 2.5, 2.2.2 (where certificates lie).
 *
 * @module
 */
import { Reader as DERReader } from '#asn1/reader.ts'
import { TrustError } from '#base/errors.ts'
import { commands } from './commands.ts'
import { TPM_PT } from './constants.ts'
import type { Hash } from './hash.ts'
import { createPrimary, type LoadedKey } from './keys.ts'
import { handleName } from './name.ts'
import { openIndex, readIndex } from './nv.ts'
import { pcrSelection, type PCRValues, selectedRegisters } from './pcr.ts'
import { type EndorsementTemplate, endorsementTemplates } from './templates.ts'
import { hierarchies, type TPM } from './tpm.ts'

/** More handles of one kind than a TPM has room for. */
const HANDLES_MAX = 254

/** Handles of one kind. @param first 0x01000000 for indexes, 0x80000000 for loaded objects, 0x81000000 for kept ones */
export async function listHandles(tpm: TPM, first: number): Promise<readonly number[]> {
  const asked = { capability: 'HANDLES', property: first, propertyCount: HANDLES_MAX } as const
  const { capabilityData } = await tpm.run(commands.GetCapability, asked)
  if (capabilityData.capability !== 'HANDLES') throw otherCapability()
  return capabilityData.data.filter((handle) => handle >>> 24 === first >>> 24)
}

/** Who made the TPM, as four letters, and its firmware. */
export async function readProperties(tpm: TPM): Promise<{ readonly manufacturer: string; readonly firmwareVersion: number }> {
  const asked = { capability: 'TPM_PROPERTIES', property: TPM_PT.MANUFACTURER, propertyCount: 16 } as const
  const { capabilityData } = await tpm.run(commands.GetCapability, asked)
  if (capabilityData.capability !== 'TPM_PROPERTIES') throw otherCapability()
  const properties = new Map(capabilityData.data.map(({ property, value }) => [property, value]))
  const letters = handleName(properties.get(TPM_PT.MANUFACTURER) ?? 0).filter((octet) => octet > 0x20 && octet < 0x7f)
  return {
    manufacturer: String.fromCharCode(...letters),
    firmwareVersion: properties.get(TPM_PT.FIRMWARE_VERSION_1) ?? 0,
  }
}

const otherCapability = (): TrustError =>
  new TrustError('malformed', 'tpmAnswerOther', { facts: { command: 'GetCapability', detail: 'it is another capability' } })

/** Registers may be extended while they are read, a few at a time; then all are read again. */
const READS_MAX = 5

/** @throws TrustError `unavailable` while registers keep changing, `notFound` for a bank that this TPM does not have */
export async function readPCRs(tpm: TPM, hash: Hash, registers: readonly number[]): Promise<PCRValues> {
  for (let reads = 0; reads < READS_MAX; reads++) {
    const values = new Map<number, Uint8Array>()
    const counts = new Set<number>()
    while (values.size < new Set(registers).size) {
      const missing = registers.filter((register) => !values.has(register))
      const answer = await tpm.run(commands.PCR_Read, { pcrSelectionIn: pcrSelection(hash, missing) })
      counts.add(answer.pcrUpdateCounter)
      const read = answer.pcrSelectionOut.flatMap((one) => (one.hash === hash ? selectedRegisters(one) : []))
      if (read.length === 0)
        throw new TrustError('notFound', 'tpmMissing', { facts: { command: 'PCR_Read', code: `no bank ${hash}` } })
      read.forEach((register, i) => {
        const value = answer.pcrValues[i]
        if (value !== undefined && missing.includes(register)) values.set(register, value)
      })
      if (!read.some((register) => values.has(register) && missing.includes(register))) throw otherRegisters()
    }
    if (counts.size <= 1) return { hash, values }
  }
  throw new TrustError('unavailable', 'tpmBusy', { facts: { command: 'PCR_Read', code: 'registers keep changing' } })
}

const otherRegisters = (): TrustError =>
  new TrustError('malformed', 'tpmAnswerOther', { facts: { command: 'PCR_Read', detail: 'it has other registers' } })

/** Measures: the register becomes the digest of what it was and this. */
export async function extendPCR(tpm: TPM, register: number, hash: Hash, digest: Uint8Array): Promise<void> {
  const pcrHandle = { handle: register, name: handleName(register) }
  await tpm.run(commands.PCR_Extend, { pcrHandle, digests: [{ hashAlg: hash, digest }] })
}

/** A device's endorsement: sent to whoever challenges it. The key is loaded; flush it. */
export interface OwnEndorsement {
  readonly template: EndorsementTemplate
  /** DER. */
  readonly certificate: Uint8Array
  readonly key: LoadedKey
}

/**
 * Finds the first template of the table that this TPM has a certificate for, and makes its key.
 *
 * @throws TrustError `notFound` when there is no certificate
 */
export async function readEndorsement(
  tpm: TPM,
  templates: readonly EndorsementTemplate[] = endorsementTemplates,
): Promise<OwnEndorsement> {
  const indexes = await listHandles(tpm, 0x01000000)
  const template = templates.find(({ certificateIndex }) => indexes.includes(certificateIndex))
  if (template === undefined)
    throw new TrustError('notFound', 'tpmMissing', { facts: { command: 'NV_Read', code: 'no endorsement certificate' } })
  const index = await openIndex(tpm, template.certificateIndex)
  const contents = await readIndex(tpm, index)
  const certificate = contents.subarray(0, new DERReader(contents).readAnyHeader().end) // makers leave room behind it
  return { template, certificate, key: await createPrimary(tpm, hierarchies.endorsement, { template: template.publicArea }) }
}
