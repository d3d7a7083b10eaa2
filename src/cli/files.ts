/**
 * Files that commands read and write. Nothing is overwritten unless asked, and what holds a key is for its owner only.
 *
 * @module
 */
import { linkSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Context } from './command.ts'

/** A CRL of a large plant; nothing that these commands read is longer. */
const FILE_MAX_OCTETS = 64 << 20

/** @param file `-` for standard input @throws TrustError `notFound`, `tooLarge` */
export async function readInput(context: Pick<Context, 'directory' | 'input'>, file: string): Promise<Uint8Array> {
  if (file === '-') return context.input()
  const path = resolve(context.directory, file)
  try {
    const { size } = statSync(path)
    if (size > FILE_MAX_OCTETS) throw new TrustError('tooLarge', 'fileTooLarge', { facts: { file, limit: FILE_MAX_OCTETS } })
    return readFileSync(path)
  } catch (cause) {
    if (cause instanceof TrustError) throw cause
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem: problemOf(cause) }, cause })
  }
}

/** For what is read in ranges, however long. @throws TrustError `notFound` */
export async function openArtifact({ directory }: Pick<Context, 'directory'>, file: string): Promise<FileHandle> {
  try {
    return await open(resolve(directory, file))
  } catch (cause) {
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem: problemOf(cause) }, cause })
  }
}

export interface OutputFile {
  readonly file: string
  readonly octets: Uint8Array | string
  /** Holds a private key or another secret. */
  readonly isSecret: boolean
  readonly force: boolean
}

/**
 * Written beside and moved into place, so that nobody reads half of it, and on the disk when this returns: it may be the
 * only copy of a key or of a token.
 *
 * @throws TrustError `conflict` when it is there already and `force` is not set
 */
export function writeOutput(context: { readonly directory: string; readonly world: World }, output: OutputFile): void {
  const { file, octets, isSecret, force } = output
  const path = resolve(context.directory, file)
  const beside = join(dirname(path), `.${uuidv7(context.world)}.part`)
  try {
    writeDurably(beside, octets, isSecret ? 0o600 : 0o644)
    if (force) renameSync(beside, path)
    else linkSync(beside, path) // unlike a rename, this refuses what exists
    syncDirectory(dirname(path))
  } catch (cause) {
    const problem = problemOf(cause)
    if (problem === 'EEXIST') throw new TrustError('conflict', 'fileExists', { facts: { file }, cause })
    throw new TrustError('unavailable', 'fileUnwritable', { facts: { file, problem }, cause })
  } finally {
    rmSync(beside, { force: true })
  }
}

export interface OutputOctets {
  readonly file: string
  readonly force: boolean
  readonly octets: AsyncIterable<Uint8Array>
  /** How many there are, where that is known before. */
  readonly length?: number
}

/**
 * The same for what is too long to be held.
 *
 * @throws TrustError as {@link writeOutput}; whatever `octets` throws, and nothing is left then
 */
export async function writeOctets(
  { directory, world }: { readonly directory: string; readonly world: World },
  { file, force, octets, length }: OutputOctets,
): Promise<void> {
  const path = resolve(directory, file)
  const beside = join(dirname(path), `.${uuidv7(world)}.part`)
  try {
    const handle = await open(beside, 'wx', 0o644)
    try {
      let written = 0
      for await (const piece of octets) {
        await handle.writev([piece])
        written += piece.length
      }
      if (length !== undefined && written !== length) throw new TypeError('the file is not as long as it should be')
      await handle.sync()
    } finally {
      await handle.close()
    }
    moveIntoPlace(beside, path, force)
  } catch (cause) {
    throw refusalToWrite(cause, file)
  } finally {
    rmSync(beside, { force: true })
  }
}

/** Under its own name, which is on the disk when this returns. */
export function moveIntoPlace(beside: string, path: string, force: boolean): void {
  if (force) renameSync(beside, path)
  else linkSync(beside, path) // unlike a rename, this refuses what exists
  syncDirectory(dirname(path))
}

/** @returns what to throw: a refusal for what the system said, anything else as it is */
export function refusalToWrite(cause: unknown, file: string): unknown {
  if (!(cause instanceof Error && 'syscall' in cause)) return cause
  if (problemOf(cause) === 'EEXIST') return new TrustError('conflict', 'fileExists', { facts: { file }, cause })
  return new TrustError('unavailable', 'fileUnwritable', { facts: { file, problem: problemOf(cause) }, cause })
}

/** Looked at before work whose result could then not be kept. @throws TrustError `conflict` */
export function checkWritable({ directory }: { readonly directory: string }, file: string, force: boolean): void {
  if (!force && statSync(resolve(directory, file), { throwIfNoEntry: false }) !== undefined) {
    throw new TrustError('conflict', 'fileExists', { facts: { file } })
  }
}

function problemOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be used'
}
