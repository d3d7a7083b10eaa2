/**
 * Whether a file is the provider's unaltered work, by the device's own trust list and nothing else: no network is asked.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { ArtifactReport } from '#signing/artifact/verify.ts'
import type { BlobSource } from '#signing/format.ts'
import type { AgentDirectory } from './directory.ts'
import { heldTrustList, trustedFor } from './trust.ts'

/** Whose anchors sign software. */
export const SOFTWARE = 'software'

export interface FileToVerify {
  readonly file: string
  /** Where the signature stands beside the file. */
  readonly signature?: string
  /** What the signed file looks like unless told. */
  readonly format?: string
}

/** @throws TrustError `notFound` without a trust list, `policyRefused` when it has ended; as `verifyArtifact` */
export async function verifyFile(
  { directory, world }: { readonly directory: AgentDirectory; readonly world: World },
  { file, signature, format }: FileToVerify,
): Promise<ArtifactReport> {
  if (heldTrustList(directory) === undefined) throw new TrustError('notFound', 'agentNoTrustList')
  const anchors = trustedFor(directory, world, SOFTWARE)
  if (anchors.length === 0) throw new TrustError('notFound', 'agentNoTrust', { facts: { purpose: SOFTWARE } })
  const { fileSource } = await import('#signing/artifact/blob.ts')
  const { verifyArtifact } = await import('#signing/artifact/verify.ts')
  const content = await open(file)
  const beside = signature === undefined ? undefined : await open(signature)
  try {
    const artifact = fileSource(content, (await content.stat()).size)
    const signed = beside === undefined ? artifact : fileSource(beside, (await beside.stat()).size)
    const how = format === undefined ? await detect(signed) : await load(format)
    return await verifyArtifact(how, signed, {
      at: new Date(world.clock.now()),
      anchors,
      // others below the same anchor have certificates too: every device of the plant, say
      purpose: 'code-signing',
      ...(beside !== undefined && { beside: { content: artifact } }),
    })
  } finally {
    await content.close()
    await beside?.close()
  }
}

const load = async (id: string) => (await import('#signing/formats/load.ts')).loadFormat(id)
const detect = async (signed: BlobSource) => (await import('#signing/formats/registry.ts')).detectFormat(signed)
