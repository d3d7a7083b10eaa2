/**
 * Bundles: all that one secure host runs, by digests, signed by enough of those who answer for it. A host starts what its newest
 * bundle names and nothing else, with the disks, networks and serial ports that stand there and no others.
 *
 * Deterministic CBOR with integer labels in a COSE_Sign whose type is signed with it. A holder of several root keys (a
 * classical and a post-quantum one) counts once all of them have signed, so that breaking one algorithm forges nothing.
 *
 * Pure: no clock, no disk.
 *
 * Source: RFC 8949, 4.2.1; RFC 9052, 4.1; RFC 9596 (typ); Uptane Standard 2.1.0, 5.2 (thresholds, targets, versions).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import {
  encodeRecord,
  field,
  type Infer,
  integer,
  list,
  octets,
  optional,
  parseRecord,
  productSerial,
  record,
  text,
  time,
  word,
} from '#cbor/record.ts'
import { messageTrust, verifyMessage } from '#signing/messages.ts'
import { VERITY_BLOCK_OCTETS, verityTreeOctets } from '#signing/artifact/verity.ts'

export const BUNDLE_TYPE = 'application/sealworks-host-bundle+cbor'
/** All lists at their longest stay below half of it; with as many ML-DSA certificates and signatures as a message may have. */
export const BUNDLE_MAX_OCTETS = 1 << 20

/** Of one host: each is a machine of its own that shares its memory and cores. */
const MACHINES_MAX = 16
const TARGETS_MAX = 256
const DISKS_MAX = 8
const NETWORKS_MAX = 4
const ALLOWED_MAX = 64
const SERIAL_MAX = 4
/** 16 GiB: its hash tree, which is held in memory when it is made, is 1/127 of it. */
const ROOT_BLOCKS_MAX = (16 * 2 ** 30) / VERITY_BLOCK_OCTETS

const Digest = octets(32)
const Name = text(32, /^[a-z][a-z0-9-]*$/)

/** A file beside the bundle: its name leads nowhere else. */
export const BundledFile = record({
  name: field(1, text(96, /^[A-Za-z0-9_+][A-Za-z0-9._+-]*$/)),
  octets: field(2, integer(1)),
  sha256: field(3, Digest),
})
export type BundledFile = Infer<typeof BundledFile>

/** What a machine may be given at all; a bundle widens it for its machines, and everything else is not there. */
export const interfaces = ['ethernet', 'serial'] as const

/** `secure-boot`: firmware starts a signed image. `direct`: the host loads kernel, initrd and command line that it hashed. */
export const profiles = ['secure-boot', 'direct'] as const

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\/(?:3[0-2]|[12]?\d))?$/

const Allowed = record({
  direction: field(1, word(['in', 'out'])),
  protocol: field(2, word(['tcp', 'udp'])),
  /** Of the other side: an address, or a network with its prefix. */
  peer: field(3, text(18, IPV4)),
  port: field(4, integer(1, 65_535)),
})

const Network = record({
  mac: field(1, octets(6)),
  address: field(2, text(18, IPV4)),
  allow: field(3, list(Allowed, { max: ALLOWED_MAX })),
})

const Disk = record({ name: field(1, Name), octets: field(2, integer(1 << 20)) })

/** A file system that is checked block by block against the hash of a tree (dm-verity, SHA-256, no superblock). */
const Root = record({
  file: field(1, BundledFile),
  tree: field(2, BundledFile),
  rootHash: field(3, Digest),
  salt: field(4, Digest),
  blocks: field(5, integer(2, ROOT_BLOCKS_MAX)),
})

const Boot = record({
  profile: field(1, word(profiles)),
  firmware: optional(2, BundledFile),
  /** Signed for UEFI. */
  image: optional(3, BundledFile),
  /** What its signature and register 4 are about. */
  imageDigest: optional(4, Digest),
  /** SHA-256 bank, as predicted. */
  registers: optional(5, list(record({ register: field(1, integer(0, 23)), value: field(2, Digest) }), { min: 1, max: 24 })),
  kernel: optional(6, BundledFile),
  initrd: optional(7, BundledFile),
  commandLine: optional(8, text(2047)),
  /** What the firmware keeps, with the keys that it is to know: each start has a fresh copy. */
  variables: optional(9, BundledFile),
})

const Machine = record({
  name: field(1, Name),
  boot: field(2, Boot),
  root: optional(3, Root),
  cores: field(4, integer(1, 256)),
  memoryMiB: field(5, integer(16, 1 << 20)),
  disks: field(6, list(Disk, { max: DISKS_MAX })),
  networks: field(7, list(Network, { max: NETWORKS_MAX })),
  /** Ports by their names. */
  serial: field(8, list(Name, { max: SERIAL_MAX })),
  /** Of its bill of materials. */
  sbom: optional(9, Digest),
})
export type Machine = Infer<typeof Machine>

const Bundle = record({
  /** Goes up with every bundle for these hosts. */
  version: field(1, integer(1)),
  owner: field(2, record({ name: field(1, text(64)), epoch: field(2, integer(0)) })),
  /** Serial numbers of the hosts that it is for. */
  targets: field(3, list(productSerial, { min: 1, max: TARGETS_MAX })),
  issuedAt: field(4, time),
  expiresAt: field(5, time),
  interfaces: field(6, list(word(interfaces), { max: interfaces.length })),
  /** In the order in which they start. */
  machines: field(7, list(Machine, { min: 1, max: MACHINES_MAX })),
})
export type Bundle = Infer<typeof Bundle>

export const encodeBundle = (bundle: Bundle): Uint8Array => encodeRecord(Bundle, bundle)

/** What a host measures, and remembers of what it has. @param payload as it was signed */
export const bundleDigest = (payload: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(payload).digest())

const contradicts = (detail: string): TrustError => new TrustError('malformed', 'notHostBundle', { facts: { detail } })

/** @throws TrustError `malformed`, `tooLarge` */
export function parseBundle(payload: Uint8Array): Bundle {
  const bundle = parseRecord(Bundle, payload, { what: 'the bundle', maxOctets: BUNDLE_MAX_OCTETS })
  if (bundle.expiresAt <= bundle.issuedAt) throw contradicts('it ends before it begins')
  checkOnce(bundle.targets, 'a host')
  checkOnce(bundle.interfaces, 'an interface')
  const { machines } = bundle
  const names = machines.map(({ name }) => name)
  checkOnce(names, 'a machine')
  checkOnce(
    machines.flatMap(({ networks }) => networks.map(({ mac }) => mac.toHex())),
    'a MAC address',
  )
  checkFiles(bundle)
  for (const machine of machines) checkMachine(bundle, machine)
  return bundle
}

function checkOnce(values: readonly string[], what: string): void {
  if (new Set(values).size !== values.length) throw contradicts(`${what} is in it twice`)
}

/** One name, one content: machines may share a kernel. */
function checkFiles(bundle: Bundle): void {
  const known = new Map<string, string>()
  for (const { name, octets: length, sha256 } of filesOf(bundle)) {
    const content = `${length} ${sha256.toHex()}`
    if ((known.get(name) ?? content) !== content) throw contradicts(`${name} is two different files`)
    known.set(name, content)
  }
}

function checkMachine({ interfaces: open }: Bundle, { name, boot, root, disks, networks, serial }: Machine): void {
  const { profile, firmware, variables, image, imageDigest, registers, kernel, initrd, commandLine } = boot
  const ofFirmware = [firmware, variables, image, imageDigest, registers]
  const ofHost = [kernel, initrd, commandLine]
  const [there, absent] = profile === 'secure-boot' ? [ofFirmware, ofHost] : [ofHost, ofFirmware]
  if (there.includes(undefined) || absent.some((one) => one !== undefined))
    throw contradicts(`${name} does not say what the profile ${profile} starts from`)
  checkOnce(
    (registers ?? []).map(({ register }) => String(register)),
    `a register of ${name}`,
  )
  checkOnce(
    disks.map((one) => one.name),
    `a disk of ${name}`,
  )
  checkOnce(serial, `a serial port of ${name}`)
  if (networks.length > 0 && !open.includes('ethernet')) throw contradicts(`${name} has a network and the hosts have none`)
  if (serial.length > 0 && !open.includes('serial')) throw contradicts(`${name} has a serial port and the hosts have none`)
  if (root === undefined) return
  const { file, tree, blocks, rootHash } = root
  if (commandLine?.includes(rootHash.toHex()) === false)
    throw contradicts(`the command line of ${name} does not name the hash of its root file system`)
  if (file.octets !== blocks * VERITY_BLOCK_OCTETS || tree.octets !== verityTreeOctets(file.octets))
    throw contradicts(`the root file system of ${name} has another size than its tree`)
}

/** All that has to lie beside it. */
export const filesOf = ({ machines }: Bundle): readonly BundledFile[] =>
  machines.flatMap(({ boot: { firmware, variables, image, kernel, initrd }, root }) =>
    [firmware, variables, image, kernel, initrd, root?.file, root?.tree].filter((file) => file !== undefined),
  )

/** Who answers for what hosts run. */
export interface RootHolders {
  /** How many holders have to have signed. */
  readonly threshold: number
  /** Certificates of each holder's keys, DER: a holder has signed once all of them have. */
  readonly holders: readonly (readonly Uint8Array[])[]
}

/** What a host knows of itself. */
export interface HostFacts {
  readonly productSerial: string
  readonly owner: { readonly name: string; readonly epoch: number }
  /** The bundle that it has, once it had one. */
  readonly installed?: { readonly version: number; readonly digest: Uint8Array }
}

export interface VerifiedBundle {
  readonly bundle: Bundle
  readonly payload: Uint8Array
  /** Holders who signed, by their place. */
  readonly holders: readonly number[]
}

/**
 * @throws TrustError `malformed`, `tooLarge`; `badProof` for a signature that is not good; `unauthenticated` for one of somebody
 *   else; `policyRefused` for too few holders
 */
export async function readBundle(encoded: Uint8Array, { threshold, holders }: RootHolders, at: Date): Promise<VerifiedBundle> {
  const keys = holders.flat()
  checkOnce(
    keys.map((der) => der.toHex()),
    'a root certificate',
  )
  if (threshold < 1 || threshold > holders.length || holders.some((one) => one.length === 0))
    throw new TypeError('a threshold of nobody')
  const trust = messageTrust(keys)
  const { payload, form, signers } = await verifyMessage(encoded, { typ: BUNDLE_TYPE, trust, at, maxOctets: BUNDLE_MAX_OCTETS })
  if (form !== 'cose') throw contradicts('it is no COSE message')
  const signed = new Set(signers.map(({ certificate: { der } }) => der.toHex()))
  const complete = [...holders.keys()].filter((i) => holders[i]?.every((der) => signed.has(der.toHex())))
  if (complete.length < threshold)
    throw new TrustError('policyRefused', 'hostBundleThreshold', { facts: { signed: complete.length, needed: threshold } })
  return { bundle: parseBundle(payload), payload, holders: complete }
}

/** Whether this very host may take it now. @throws TrustError `policyRefused` */
export function checkFor({ bundle, payload }: VerifiedBundle, host: HostFacts, at: Date): void {
  const { version, targets, owner, issuedAt, expiresAt } = bundle
  const refuse = (
    reason: 'hostBundleForeign' | 'hostBundleOwner' | 'hostBundleEarly' | 'hostBundleExpired' | 'hostBundleOlder',
    facts = {},
  ) => {
    throw new TrustError('policyRefused', reason, { facts })
  }
  if (!targets.includes(host.productSerial)) refuse('hostBundleForeign', { host: host.productSerial })
  if (owner.name !== host.owner.name || owner.epoch !== host.owner.epoch)
    refuse('hostBundleOwner', { owner: owner.name, epoch: owner.epoch })
  if (at < issuedAt) refuse('hostBundleEarly', { from: issuedAt.toISOString() })
  if (at >= expiresAt) refuse('hostBundleExpired', { until: expiresAt.toISOString() })
  const { installed } = host
  if (installed === undefined || version > installed.version) return
  const isSame = version === installed.version && bundleDigest(payload).toHex() === installed.digest.toHex()
  if (!isSame) refuse('hostBundleOlder', { version, installed: installed.version })
}
