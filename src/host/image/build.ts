/**
 * Builds a bundle and its files from a plan. The same plan and the same inputs give the same octets, with the same
 * `mkfs.erofs` where it makes a file system: so two people who build it apart can compare digests before they sign.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { bytesSource, fileSource, sha256Of } from '#signing/artifact/blob.ts'
import { VERITY_BLOCK_OCTETS, verityTree } from '#signing/artifact/verity.ts'
import { imageDigest, predictRegisters } from './boot-registers.ts'
import {
  type Bundle,
  type BundledFile,
  encodeBundle,
  type interfaces,
  type Machine,
  parseBundle,
  type profiles,
} from './bundle.ts'
import { assembleUnifiedKernel } from './unified-kernel.ts'

const run = promisify(execFile)

/** A root file system of gigabytes, on a slow disk. */
const FILE_SYSTEM_SECONDS = 600
/** Kernels and initrds are held in memory; so is firmware. */
const PART_MAX_OCTETS = 128 << 20

export const BUNDLE_FILE = 'bundle.cbor'
export const SIGNED_BUNDLE_FILE = 'bundle.cose'

interface MachinePlan extends Omit<Machine, 'boot' | 'root' | 'networks' | 'sbom'> {
  readonly profile: (typeof profiles)[number]
  readonly kernel: string
  readonly initrd: string
  /** `{root}`, `{salt}` and `{blocks}` stand for what the root file system is checked by. */
  readonly commandLine: string
  /** A directory that becomes a file system, or one that is finished. */
  readonly root?: { readonly tree: string } | { readonly image: string }
  readonly networks: readonly (Omit<Machine['networks'][number], 'mac'> & { readonly mac: string })[]
  readonly sbom?: string
  readonly secureBoot?: {
    readonly stub: string
    readonly kernelRelease: string
    readonly osRelease: string
    readonly firmware: string
    readonly variables: string
    /** Lists of signatures, as they are in the variables. */
    readonly keys: { readonly PK: string; readonly KEK: string; readonly db: string; readonly dbx?: string }
  }
}

/** File names are relative to the plan. */
export interface Plan {
  readonly version: number
  readonly owner: Bundle['owner']
  readonly targets: readonly string[]
  readonly issuedAt: Date
  readonly expiresAt: Date
  readonly interfaces: readonly (typeof interfaces)[number][]
  readonly machines: readonly MachinePlan[]
}

export interface BuildPlaces {
  /** Where the plan's names begin. */
  readonly from: string
  /** Is made; files of the same names are replaced. */
  readonly to: string
}

/** Gives back the image with a signature for UEFI; undefined where it is signed elsewhere and not yet. */
export type SignImage = (machine: string, unsigned: Uint8Array) => Promise<Uint8Array | undefined>

export interface Built {
  readonly bundle?: Bundle
  /** Images that wait for their signature, by their files; without a bundle then. */
  readonly unsigned: readonly string[]
}

/** @throws TrustError `malformed`, `notFound`, `tooLarge`, `unavailable` for a program that is not there */
export async function buildBundle(plan: Plan, places: BuildPlaces, signImage: SignImage): Promise<Built> {
  mkdirSync(places.to, { recursive: true })
  const unsigned: string[] = []
  const machines: Machine[] = []
  for (const machine of plan.machines) {
    const built = await buildMachine(machine, places, signImage)
    if ('unsigned' in built) unsigned.push(built.unsigned)
    else machines.push(built)
  }
  if (unsigned.length > 0) return { unsigned }
  const { version, owner, targets, issuedAt, expiresAt } = plan
  const encoded = encodeBundle({ version, owner, targets, issuedAt, expiresAt, interfaces: plan.interfaces, machines })
  const bundle = parseBundle(encoded) // a plan that contradicts itself gives no bundle
  writeFileSync(join(places.to, BUNDLE_FILE), encoded)
  return { bundle, unsigned }
}

async function buildMachine(
  plan: MachinePlan,
  places: BuildPlaces,
  signImage: SignImage,
): Promise<Machine | { readonly unsigned: string }> {
  const { name, cores, memoryMiB, disks, serial, networks, sbom } = plan
  const root = plan.root === undefined ? undefined : await buildRoot(name, plan.root, places)
  const commandLine = commandLineFor(plan, root)
  const boot =
    plan.profile === 'direct'
      ? {
          profile: plan.profile,
          kernel: place(places, `${name}.kernel`, partOf(places, plan.kernel)),
          initrd: place(places, `${name}.initrd`, partOf(places, plan.initrd)),
          commandLine,
        }
      : await buildSecureBoot(plan, commandLine, places, signImage)
  if ('unsigned' in boot) return boot
  return {
    ...{ name, boot, cores, memoryMiB, disks, serial },
    networks: networks.map(({ mac, ...rest }) => ({ ...rest, mac: Uint8Array.fromHex(mac.replaceAll(':', '')) })),
    ...(root !== undefined && { root }),
    ...(sbom !== undefined && { sbom: digestOf(partOf(places, sbom)) }),
  }
}

async function buildSecureBoot(
  { name, kernel, initrd, secureBoot }: MachinePlan,
  commandLine: string,
  places: BuildPlaces,
  signImage: SignImage,
): Promise<Machine['boot'] | { readonly unsigned: string }> {
  if (secureBoot === undefined) throw badPlan(`${name} does not say its stub, firmware and keys`)
  const { stub, osRelease, kernelRelease, firmware, variables, keys } = secureBoot
  const unsigned = await assembleUnifiedKernel({
    stub: partOf(places, stub),
    osRelease,
    commandLine,
    kernelRelease,
    initrd: partOf(places, initrd),
    kernel: partOf(places, kernel),
  })
  const signed = await signImage(name, unsigned)
  if (signed === undefined) {
    const file = join(places.to, `${name}.efi`)
    writeFileSync(file, unsigned)
    return { unsigned: file }
  }
  const digest = await imageDigest(bytesSource(unsigned))
  if (!equal(digest, await imageDigest(bytesSource(signed))))
    throw new TrustError('policyRefused', 'hostImageOther', { facts: { machine: name } })
  const registers = await predictRegisters(bytesSource(signed), {
    PK: partOf(places, keys.PK),
    KEK: partOf(places, keys.KEK),
    db: partOf(places, keys.db),
    dbx: keys.dbx === undefined ? new Uint8Array() : partOf(places, keys.dbx),
  })
  return {
    profile: 'secure-boot',
    firmware: place(places, basename(firmware), partOf(places, firmware)),
    variables: place(places, `${name}.variables`, partOf(places, variables)),
    image: place(places, `${name}.efi`, signed),
    imageDigest: digest,
    registers,
  }
}

/** A root file system of which the start does not know the hash would be checked against nothing. */
function commandLineFor({ name, commandLine }: MachinePlan, root: Machine['root']): string {
  const named = /\{(root|salt|blocks)\}/g
  if (root === undefined) {
    if (named.test(commandLine)) throw badPlan(`the command line of ${name} names a root file system and there is none`)
    return commandLine
  }
  if (!commandLine.includes('{root}'))
    throw badPlan(`the command line of ${name} does not say {root}, by which its root is checked`)
  const values = { root: root.rootHash.toHex(), salt: root.salt.toHex(), blocks: String(root.blocks) }
  return commandLine.replace(named, (_, key: keyof typeof values) => values[key])
}

async function buildRoot(
  name: string,
  root: NonNullable<MachinePlan['root']>,
  { from, to }: BuildPlaces,
): Promise<NonNullable<Machine['root']>> {
  const file = join(to, `${name}.root`)
  if ('image' in root) copyFileSync(existing(resolve(from, root.image)), file)
  else await makeFileSystem(name, existing(resolve(from, root.tree)), file)
  const handle = await open(file)
  try {
    const source = fileSource(handle, (await handle.stat()).size)
    if (source.size % VERITY_BLOCK_OCTETS !== 0 || source.size < 2 * VERITY_BLOCK_OCTETS)
      throw badPlan(`the root file system of ${name} is not of two or more whole blocks of ${VERITY_BLOCK_OCTETS} octets`)
    const sha256 = await sha256Of(source)
    const salt = sha256 // as public as any, and the same at each build
    const { tree, root: rootHash } = await verityTree(source, { offset: 0, length: source.size }, salt)
    return {
      file: { name: `${name}.root`, octets: source.size, sha256 },
      tree: place({ from, to }, `${name}.verity`, tree),
      ...{ rootHash, salt, blocks: source.size / VERITY_BLOCK_OCTETS },
    }
  } finally {
    await handle.close()
  }
}

/** No times, no owners, and an identifier that is the machine's. */
async function makeFileSystem(name: string, tree: string, file: string): Promise<void> {
  const hex = digestOf(new TextEncoder().encode(`sealworks root ${name}`)).toHex()
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}` // RFC 9562, 5.8
  const program = 'mkfs.erofs'
  try {
    const words = ['-T0', `-U${uuid}`, '--all-root', '-x-1', '--quiet', file, tree]
    await run(program, words, { timeout: FILE_SYSTEM_SECONDS * 1000, env: { PATH: process.env['PATH'] ?? '', LANG: 'C' } })
  } catch (cause) {
    const { code, stderr } = cause as { readonly code?: unknown; readonly stderr?: string }
    const problem = code === 'ENOENT' ? 'it is not there' : (stderr?.trim().split('\n').at(-1) ?? '').slice(0, 200)
    throw new TrustError('unavailable', 'hostProgramFailed', { facts: { program, problem }, cause })
  }
}

const badPlan = (detail: string): TrustError => new TrustError('malformed', 'hostPlan', { facts: { detail } })

function existing(file: string): string {
  if (statSync(file, { throwIfNoEntry: false }) === undefined)
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem: 'ENOENT' } })
  return file
}

function partOf({ from }: BuildPlaces, name: string): Uint8Array {
  const file = existing(resolve(from, name))
  const { size } = statSync(file)
  if (size > PART_MAX_OCTETS) throw new TrustError('tooLarge', 'fileTooLarge', { facts: { file: name, limit: PART_MAX_OCTETS } })
  return new Uint8Array(readFileSync(file))
}

function place({ to }: BuildPlaces, name: string, octets: Uint8Array): BundledFile {
  writeFileSync(join(to, name), octets)
  return { name, octets: octets.length, sha256: digestOf(octets) }
}

const digestOf = (octets: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(octets).digest())
