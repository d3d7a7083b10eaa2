/**
 * What a TPM's registers will hold when firmware with Secure Boot starts an image, before any machine has started it: so keys
 * can be sealed to an image when it is built.
 *
 * Register 4 holds what firmware started (the image's Authenticode hash), 7 by which keys it judged, 11 what the stub found in
 * the image. Registers 0 and 1, the firmware itself and its settings, are not of the image and are left out.
 *
 * Source: TCG PC Client Platform Firmware Profile 1.06, 3.3.4 (PCR usage), 10.4 (EV_EFI_VARIABLE_DRIVER_CONFIG, UEFI_VARIABLE_DATA);
 * systemd, man systemd-stub, "TPM PCR Notes"; UEFI Specification 2.10, 32.4.1 (EFI_SIGNATURE_LIST).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { checkSignatureLists, EFI_CERT_X509, GLOBAL_VARIABLE, IMAGE_SECURITY } from '#signing/artifact/efi-variable.ts'
import { parsePE, sumsOf } from '#signing/artifact/pe.ts'
import type { BlobSource } from '#signing/format.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { type Section, sectionsOf } from './unified-kernel.ts'

/** The firmware's variables, as lists of signatures. */
export interface SecureBootKeys {
  readonly PK: Uint8Array
  readonly KEK: Uint8Array
  readonly db: Uint8Array
  /** Empty where the firmware has none. */
  readonly dbx: Uint8Array
}

export interface Register {
  readonly register: number
  /** Of the bank of SHA-256. */
  readonly value: Uint8Array
}

const DIGEST_OCTETS = 32
const GUID_OCTETS = 16
const LIST_HEADER_OCTETS = GUID_OCTETS + 12
/** EV_SEPARATOR: the boot manager begins. */
const SEPARATOR = new Uint8Array(4)

/** Which sections stubs measure, in this order, by the version of systemd; only what was compared with a machine's TPM. */
const MEASURED: Readonly<Record<string, readonly string[]>> = {
  '252': ['.linux', '.osrel', '.cmdline', '.initrd', '.splash', '.dtb', '.pcrpkey'],
}

const sha256 = (...parts: readonly Uint8Array[]): Uint8Array => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** What a register holds after these were measured into it, one after the other. */
const extended = (events: readonly Uint8Array[]): Uint8Array =>
  events.reduce((value, event) => sha256(value, sha256(event)), new Uint8Array(DIGEST_OCTETS))

/**
 * @param image signed, since the key that it is signed with is measured
 * @throws TrustError `malformed`, `tooLarge`; `unsupported` for a stub that is not known; `policyRefused` for an image that
 *   these keys would not let start
 */
export async function predictRegisters(image: BlobSource, keys: SecureBootKeys): Promise<readonly Register[]> {
  const [started, measured] = await imageRegisters(image)
  return [started, { register: 7, value: secureBootPolicy(keys, await authorityIn(image, keys.db)) }, measured]
}

/** Those that the image alone decides. @throws TrustError as {@link predictRegisters} */
export async function imageRegisters(image: BlobSource): Promise<readonly [Register, Register]> {
  return [
    { register: 4, value: await startedPrograms(image) },
    { register: 11, value: measuredSections(await sectionsOf(image)) },
  ]
}

/** The Authenticode hash: of signed and unsigned the same. */
export async function imageDigest(image: BlobSource): Promise<Uint8Array> {
  return (await sumsOf(image, await parsePE(image), 'sha256')).digest
}

async function startedPrograms(image: BlobSource): Promise<Uint8Array> {
  const before = extended([utf8('Calling EFI Application from Boot Option'), SEPARATOR])
  return sha256(before, await imageDigest(image)) // the hash itself is the event
}

function secureBootPolicy({ PK, KEK, db, dbx }: SecureBootKeys, authority: Uint8Array): Uint8Array {
  return extended([
    variableData(GLOBAL_VARIABLE, 'SecureBoot', Uint8Array.of(1)),
    variableData(GLOBAL_VARIABLE, 'PK', PK),
    variableData(GLOBAL_VARIABLE, 'KEK', KEK),
    variableData(IMAGE_SECURITY, 'db', db),
    variableData(IMAGE_SECURITY, 'dbx', dbx),
    SEPARATOR,
    variableData(IMAGE_SECURITY, 'db', authority),
  ])
}

/** UEFI_VARIABLE_DATA. */
function variableData(guid: Uint8Array, name: string, data: Uint8Array): Uint8Array {
  const lengths = new Uint8Array(16)
  const view = new DataView(lengths.buffer)
  view.setBigUint64(0, BigInt(name.length), true)
  view.setBigUint64(8, BigInt(data.length), true)
  return concat([guid, lengths, new Uint8Array(Buffer.from(name, 'utf16le')), data])
}

/** EFI_SIGNATURE_DATA of the list by which the firmware lets the image start. */
async function authorityIn(image: BlobSource, db: Uint8Array): Promise<Uint8Array> {
  await checkSignatureLists(bytesSource(db), { offset: 0, length: db.length })
  const { signatures } = await authenticodePE.extract(image)
  const carried = signatures.flatMap(({ evidence }) => (evidence.type === 'cms' ? evidence.signedData.certificates : []))
  const found = certificatesIn(db).find((entry) => carried.some((der) => equal(entry.subarray(GUID_OCTETS), der)))
  if (found === undefined) throw new TrustError('policyRefused', 'hostImageUntrusted')
  return found
}

/** Each with the owner's GUID before it. */
function certificatesIn(lists: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(lists.buffer, lists.byteOffset, lists.length)
  const found: Uint8Array[] = []
  for (let at = 0; at < lists.length; at += view.getUint32(at + GUID_OCTETS, true)) {
    const [length, header, each] = [0, 4, 8].map((place) => view.getUint32(at + GUID_OCTETS + place, true)) as [
      number,
      number,
      number,
    ]
    if (lists.subarray(at, at + GUID_OCTETS).toHex() !== EFI_CERT_X509) continue
    for (let entry = at + LIST_HEADER_OCTETS + header; entry < at + length; entry += each)
      found.push(lists.subarray(entry, entry + each))
  }
  return found
}

function measuredSections(sections: readonly Section[]): Uint8Array {
  const order = measuredBy(sections)
  const events = order.flatMap((name) => {
    const section = sections.find((one) => one.name === name)
    return section === undefined ? [] : [utf8(`${name}\0`), section.octets]
  })
  return extended(events)
}

function measuredBy(sections: readonly Section[]): readonly string[] {
  const magic = sections.find(({ name }) => name === '.sdmagic')
  const [, version = ''] = /systemd-stub (\d+)/.exec(new TextDecoder('latin1').decode(magic?.octets)) ?? []
  const order = MEASURED[version]
  if (order === undefined)
    throw new TrustError('unsupported', 'hostStubUnknown', {
      facts: { version: version || 'unknown', known: Object.keys(MEASURED).join(', ') },
    })
  return order
}
