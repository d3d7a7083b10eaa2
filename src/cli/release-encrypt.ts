/** Update archives and firmware that only devices with a key can read. @module */
import { secret } from '#base/secret.ts'
import type { BlobSource } from '#signing/format.ts'
import type { Answer, Context } from './command.ts'
import { openArtifact, readInput, writeOctets, writeOutput } from './files.ts'
import { fields } from './terminal.ts'
import { UsageError } from './usage.ts'

export async function makeArchiveKey(context: Context, out: string): Promise<Answer> {
  const { encodeKeyFile, SWUPDATE_KEY_OCTETS } = await import('#updates/encryption/swupdate.ts')
  const octets = encodeKeyFile(new Uint8Array(context.world.random.octets(SWUPDATE_KEY_OCTETS)))
  writeOutput(context, { file: out, octets, isSecret: true, force: false })
  return { value: { file: out }, text: `The key is in ${out}.\n` }
}

interface Files {
  readonly file: string
  readonly out: string
  readonly force: boolean
}

export interface Encrypting extends Files {
  /** Of an archive of SWUpdate; a file. */
  readonly key: string | undefined
  /** Of an image of MCUboot; a file. */
  readonly encryptTo: string | undefined
}

export async function encryptUpdate(context: Context, { key, encryptTo, ...files }: Encrypting): Promise<Answer> {
  const { random } = context.world
  if (key !== undefined && encryptTo === undefined) {
    const { encryptSWUpdate, parseKeyFile } = await import('#updates/encryption/swupdate.ts')
    const aes = secret(parseKeyFile(await textIn(context, key)))
    return rewrite(context, files, async (archive) => encryptSWUpdate(archive, aes, random))
  }
  if (key === undefined && encryptTo !== undefined) {
    const { encryptMCUboot, parseRecipient } = await import('#updates/encryption/mcuboot.ts')
    const recipient = parseRecipient(await textIn(context, encryptTo))
    return rewrite(context, files, async (image) => encryptMCUboot(image, recipient, random))
  }
  throw new UsageError('Name --key for an archive of SWUpdate, or --encrypt-to for firmware for MCUboot.', ['release', 'encrypt'])
}

export async function decryptUpdate(context: Context, { key, ...files }: Files & { readonly key: string }): Promise<Answer> {
  const { decryptMCUboot, parseImageKey } = await import('#updates/encryption/mcuboot.ts')
  const own = parseImageKey(await textIn(context, key))
  return rewrite(context, files, async (image) => decryptMCUboot(image, own))
}

const textIn = async (context: Context, file: string): Promise<string> => new TextDecoder().decode(await readInput(context, file))

interface Made {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

async function rewrite(
  context: Context,
  { file, out, force }: Files,
  make: (artifact: BlobSource) => Promise<Made>,
): Promise<Answer> {
  const { fileSource } = await import('#signing/artifact/blob.ts')
  const handle = await openArtifact(context, file)
  try {
    const { size } = await handle.stat()
    const made = await make(fileSource(handle, size))
    await writeOctets(context, { file: out, force, octets: made.read(), length: made.octets })
    return { value: { file: out, octets: made.octets }, text: fields({ file: out, octets: String(made.octets) }) }
  } finally {
    await handle.close()
  }
}
