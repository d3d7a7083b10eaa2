/**
 * Encrypts the files of an update archive of SWUpdate with the key that devices have in a file (`swupdate -K`), before it is
 * signed: what the description says of each file is then of the encrypted one. The description itself stays readable.
 *
 * AES in CBC mode says nothing of whether it was changed; the digests in the signed description do, before anything is decrypted.
 *
 * Source: SWUpdate 2022.12, "Symmetrically Encrypted Update Images" (AES-256-CBC, one initialization vector a file).
 *
 * @module
 */
import { createCipheriv, createHash } from 'node:crypto'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { chunksOf } from '#signing/artifact/blob.ts'
import {
  type CpioEntry,
  cpioEntryHead,
  cpioEntryLike,
  cpioFill,
  cpioPadding,
  cpioSum,
  parseCpio,
} from '#signing/artifact/cpio.ts'
import { isGroup, isList, parseLibconfig, type Setting } from '#signing/artifact/libconfig.ts'
import type { BlobSource } from '#signing/format.ts'

const DESCRIPTION = 'sw-description'
const SIGNATURE = 'sw-description.sig'
const DESCRIPTION_MAX_OCTETS = 1 << 20
export const SWUPDATE_KEY_OCTETS = 32
const IV_OCTETS = 16

interface Encrypted {
  readonly iv: Uint8Array
  readonly octets: number
  readonly sha256: string
  readonly sum: number
}

/** An archive that is to be written. */
export interface EncryptedArchive {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

/**
 * Two passes over each file, so that nothing is as large in memory: one for what its entry says, one for its octets.
 *
 * @param key 32 octets
 * @throws TrustError `malformed`, `unsupported`, `tooLarge`; `conflict` for an archive that is encrypted already
 */
export async function encryptSWUpdate(archive: BlobSource, key: Secret, random: Random): Promise<EncryptedArchive> {
  const aes = key.reveal('encrypt an update archive')
  const { entries, end } = await parseCpio(archive)
  const [description, ...others] = entries
  if (description?.name !== DESCRIPTION || description.data.length > DESCRIPTION_MAX_OCTETS)
    throw bad(`its first entry is not ${DESCRIPTION}`)
  const text = new TextDecoder().decode(await archive.read(description.data.offset, description.data.length))
  const root = parseLibconfig(text)
  const named = new Set(filesIn(root))
  const encrypted = new Map<string, Encrypted>()
  const parts: Part[] = []
  for (const entry of others) {
    if (entry.name === SIGNATURE) continue // of another description
    if (!named.has(entry.name)) throw bad(`${entry.name} is not named, so that it would stay readable`)
    const made = await measure(archive, entry, aes, new Uint8Array(random.octets(IV_OCTETS)))
    encrypted.set(entry.name, made)
    const ciphertext = { octets: made.octets, read: () => ciphertextOf(archive, entry, aes, made.iv) }
    parts.push(whole(cpioEntryHead(entry, entry.name, made)), ciphertext, whole(cpioFill(made.octets)))
  }
  parts.unshift(whole(cpioEntryLike(description, DESCRIPTION, utf8(encodeRoot(root, encrypted)))))
  const trailerAt = entries.at(-1)?.end ?? end
  parts.push(whole(await archive.read(trailerAt, end - trailerAt)))
  parts.push(whole(cpioPadding(octetsOf(parts))))
  return {
    octets: octetsOf(parts),
    async *read() {
      for (const part of parts) yield* part.read()
    },
  }
}

interface Part {
  readonly octets: number
  read(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

const whole = (octets: Uint8Array): Part => ({ octets: octets.length, read: () => [octets] })
const octetsOf = (parts: readonly Part[]): number => parts.reduce((sum, { octets }) => sum + octets, 0)

async function measure(archive: BlobSource, entry: CpioEntry, aes: Uint8Array, iv: Uint8Array): Promise<Encrypted> {
  const hash = createHash('sha256')
  let [octets, sum] = [0, 0]
  for await (const chunk of ciphertextOf(archive, entry, aes, iv)) {
    hash.update(chunk)
    sum = cpioSum(chunk, sum)
    octets += chunk.length
  }
  return { iv, octets, sha256: hash.digest('hex'), sum }
}

async function* ciphertextOf(
  archive: BlobSource,
  { data }: CpioEntry,
  aes: Uint8Array,
  iv: Uint8Array,
): AsyncGenerator<Uint8Array, void> {
  const cipher = createCipheriv('aes-256-cbc', aes, iv) // with PKCS #7 padding, as SWUpdate expects
  for await (const chunk of chunksOf(archive, data)) yield cipher.update(chunk)
  yield cipher.final()
}

/** @throws TrustError `conflict` */
function* filesIn(setting: Setting): Generator<string> {
  if (isList(setting)) for (const item of setting) yield* filesIn(item)
  if (!isGroup(setting)) return
  const { group } = setting
  const filename = group.get('filename')
  if (group.has('encrypted') || group.has('ivt')) throw new TrustError('conflict', 'artifactEncrypted')
  if (typeof filename === 'string') yield filename
  for (const inner of group.values()) yield* filesIn(inner)
}

type Files = ReadonlyMap<string, Encrypted>

const encodeRoot = (root: Setting, files: Files): string => (isGroup(root) ? `${settingsOf(root.group, files).join('\n')}\n` : '')

function settingsOf(group: ReadonlyMap<string, Setting>, files: Files): readonly string[] {
  const filename = group.get('filename')
  const made = typeof filename === 'string' ? files.get(filename) : undefined
  const changed = made === undefined ? group : new Map([...group, ['sha256', made.sha256], ['ivt', made.iv.toHex()]])
  const settings = [...changed].map(([name, value]) => `${name} = ${encodeSetting(value, files)};`)
  return made === undefined ? settings : [...settings, 'encrypted = true;']
}

function encodeSetting(setting: Setting, files: Files): string {
  if (typeof setting === 'string') return encodeText(setting)
  if (isList(setting)) {
    const items = setting.map((item) => encodeSetting(item, files)).join(', ')
    return setting.every((item) => typeof item === 'string') ? `[ ${items} ]` : `( ${items} )`
  }
  return isGroup(setting) ? `{ ${settingsOf(setting.group, files).join(' ')} }` : setting.scalar
}

const encodeText = (text: string): string =>
  `"${[...text]
    .map((letter) => {
      if (letter === '"' || letter === '\\') return `\\${letter}`
      const code = letter.codePointAt(0) ?? 0
      return code < 0x20 ? `\\x${code.toString(16).padStart(2, '0')}` : letter
    })
    .join('')}"`

/** As `swupdate -K` reads it: key and a vector that files with their own do not use, hexadecimal. */
export const encodeKeyFile = (key: Uint8Array): string => `${key.toHex()} ${new Uint8Array(IV_OCTETS).toHex()}\n`

/** @throws TrustError `malformed` */
export function parseKeyFile(text: string): Uint8Array {
  const [, hex] = /^([0-9a-fA-F]{64})(?:\s+[0-9a-fA-F]{32})?\s*$/.exec(text) ?? []
  if (hex === undefined) throw new TrustError('malformed', 'swupdateKeyFile')
  return Uint8Array.fromHex(hex)
}

const bad = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'SWUpdate', detail } })
