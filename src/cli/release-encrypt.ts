/** Update archives that only devices with a key can read. @module */
import { secret } from '#base/secret.ts'
import type { Answer, Context } from './command.ts'
import { openArtifact, readInput, writeOctets, writeOutput } from './files.ts'
import { fields } from './terminal.ts'

export async function makeArchiveKey(context: Context, out: string): Promise<Answer> {
  const { encodeKeyFile, SWUPDATE_KEY_OCTETS } = await import('#updates/encryption/swupdate.ts')
  const octets = encodeKeyFile(new Uint8Array(context.world.random.octets(SWUPDATE_KEY_OCTETS)))
  writeOutput(context, { file: out, octets, isSecret: true, force: false })
  return { value: { file: out }, text: `The key is in ${out}.\n` }
}

export interface Encrypting {
  readonly file: string
  /** File. */
  readonly key: string
  readonly out: string
  readonly force: boolean
}

export async function encryptArchive(context: Context, { file, key, out, force }: Encrypting): Promise<Answer> {
  const { encryptSWUpdate, parseKeyFile } = await import('#updates/encryption/swupdate.ts')
  const { fileSource } = await import('#signing/artifact/blob.ts')
  const aes = secret(parseKeyFile(new TextDecoder().decode(await readInput(context, key))))
  const handle = await openArtifact(context, file)
  try {
    const { size } = await handle.stat()
    const { octets, read } = await encryptSWUpdate(fileSource(handle, size), aes, context.world.random)
    await writeOctets(context, { file: out, force, octets: read(), length: octets })
    return { value: { file: out, octets }, text: fields({ file: out, octets: String(octets) }) }
  } finally {
    await handle.close()
  }
}
