/**
 * Whether the files that lie beside a bundle are those that it names, and what it says of them is so.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { fileSource, sha256Of } from '#signing/artifact/blob.ts'
import { joined } from '#signing/artifact/joined.ts'
import { checkVerity } from '#signing/artifact/verity.ts'
import type { BlobSource } from '#signing/format.ts'
import { imageDigest, imageRegisters } from './boot-registers.ts'
import { type Bundle, type BundledFile, filesOf, type Machine } from './bundle.ts'
import { sectionsOf } from './unified-kernel.ts'

export interface Checked {
  readonly what: string
  /** Undefined when it is good. */
  readonly problem: TrustError | undefined
}

/** All of it, so that whoever looks sees everything that is wrong. A fault that is no refusal is thrown. */
export async function checkFiles(bundle: Bundle, directory: string): Promise<readonly Checked[]> {
  const files = new Map(filesOf(bundle).map((file) => [file.name, file]))
  const checks: Checked[] = []
  const look = async (what: string, check: () => Promise<void>): Promise<void> => {
    checks.push({ what, problem: await problemOf(check) })
  }
  for (const file of files.values()) await look(file.name, () => withFile(directory, file, (source) => checkFile(file, source)))
  for (const machine of bundle.machines) {
    const { name, root, boot } = machine
    if (root !== undefined) await look(`${name}: hash tree of its root`, () => checkRoot(root, directory))
    const { image } = boot
    if (image !== undefined)
      await look(`${name}: image and registers`, () => withFile(directory, image, (source) => checkImage(machine, source)))
  }
  return checks
}

async function problemOf(check: () => Promise<void>): Promise<TrustError | undefined> {
  try {
    await check()
    return undefined
  } catch (error) {
    const refusal = asTrustError(error)
    if (refusal.code === 'internal') throw error
    return refusal
  }
}

const other = (file: string, detail: string): TrustError =>
  new TrustError('badProof', 'hostBundleFile', { facts: { file, detail } })

async function withFile<T>(directory: string, { name }: BundledFile, use: (source: BlobSource) => Promise<T>): Promise<T> {
  const handle = await open(join(directory, name)).catch((cause: unknown) => {
    throw new TrustError('notFound', 'fileUnreadable', {
      facts: { file: name, problem: (cause as NodeJS.ErrnoException).code ?? '' },
      cause,
    })
  })
  try {
    return await use(fileSource(handle, (await handle.stat()).size))
  } finally {
    await handle.close()
  }
}

async function checkFile({ name, octets, sha256 }: BundledFile, source: BlobSource): Promise<void> {
  if (source.size !== octets) throw other(name, `it has ${source.size} octets in place of ${octets}`)
  if (!equal(await sha256Of(source), sha256)) throw other(name, 'its digest is another')
}

const checkRoot = ({ file, tree, rootHash, salt }: NonNullable<Machine['root']>, directory: string): Promise<void> =>
  withFile(directory, file, (data) =>
    withFile(directory, tree, async (hashes) => {
      if (data.size !== file.octets || hashes.size !== tree.octets) throw other(tree.name, 'it has another length')
      const ranges = { data: { offset: 0, length: data.size }, tree: { offset: data.size, length: hashes.size } }
      await checkVerity(joined(data, hashes), { ...ranges, salt, root: rootHash })
    }),
  )

/** Register 7 depends on keys that are not in the bundle; a host compares it when the machine has started. */
async function checkImage(
  { boot: { image, imageDigest: stated, registers = [] }, root }: Machine,
  source: BlobSource,
): Promise<void> {
  const name = image?.name ?? ''
  if (stated === undefined || !equal(await imageDigest(source), stated)) throw other(name, 'its Authenticode digest is another')
  for (const { register, value } of await imageRegisters(source)) {
    const said = registers.find((one) => one.register === register)
    if (said === undefined || !equal(said.value, value)) throw other(name, `it gives another value of register ${register}`)
  }
  if (root === undefined) return
  const commandLine = (await sectionsOf(source)).find((section) => section.name === '.cmdline')
  if (!new TextDecoder().decode(commandLine?.octets).includes(root.rootHash.toHex()))
    throw other(name, 'its command line does not name the hash of the root file system')
}
