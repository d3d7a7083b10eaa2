/**
 * Whether this very device may install this very artifact now. The director says so of the device, the maker of the software
 * says so of the release, the artifact says so of itself, and the device says what it is: all of them have to agree.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { messageTrust } from '#signing/messages.ts'
import {
  type Artifact,
  checkManifest,
  checkStatement,
  type DeviceFacts,
  type DirectorStatement,
  readManifest,
  readStatement,
} from '#updates/messages.ts'
import type { Device } from './device.ts'
import type { Facts } from './facts.ts'
import type { UpdateState } from './update-state.ts'
import { trustedFor } from './trust.ts'
import { SOFTWARE, verifyFile } from './verify.ts'

export const DIRECTOR = 'director'

export interface Signed {
  readonly statement: Uint8Array
  readonly manifest: Uint8Array
}

export interface Known {
  readonly facts: Facts
  readonly state: UpdateState
  /** Features that it is licensed for; asked where a release wants one. */
  features(): Promise<ReadonlySet<string>>
}

/** @throws TrustError `policyRefused`, `badProof`, `unauthenticated`, `malformed`: and nothing of it is done */
export async function checkUpdate(device: Device, { statement, manifest }: Signed, known: Known): Promise<DirectorStatement> {
  // a correctly signed artifact says nothing of who may have it, or when
  if (statement.length === 0) throw new TrustError('policyRefused', 'updateNoStatement')
  const at = new Date(device.world.clock.now())
  const trust = (purpose: string): ReturnType<typeof messageTrust> => messageTrust(anchorsFor(device, purpose))
  const { value, signer: director } = await readStatement(statement, { trust: trust(DIRECTOR), at })
  checkStatement(value, await factsFor(known, value), { now: at, lastSeen: new Date(known.state.lastSeen) })
  checkFloor(value, known.state)
  const { value: released, signer: maker } = await readManifest(manifest, { trust: trust(SOFTWARE), at })
  // where one authority stands for both in the trust list, one key still does not
  if (equal(director.publicKey.spki, maker.publicKey.spki))
    throw new TrustError('policyRefused', 'updateManifestOther', { facts: { detail: 'the director signed it too' } })
  checkManifest(released, value)
  return value
}

/** @throws TrustError `notFound` where the trust list names nobody; `policyRefused` when it has ended */
function anchorsFor({ directory, world }: Device, purpose: string): readonly Uint8Array[] {
  const anchors = trustedFor(directory, world, purpose)
  if (anchors.length > 0) return anchors
  throw new TrustError('notFound', 'agentNoTrust', { facts: { purpose } })
}

async function factsFor({ facts, state, features }: Known, { feature }: DirectorStatement): Promise<DeviceFacts> {
  const installed = new Map(Object.entries(state.installed).map(([name, { counter }]) => [name, counter]))
  return { ...facts, installed, features: feature === undefined ? new Set() : await features(), last: state.last ?? undefined }
}

/** What was begun and went back is done again or followed by what is newer, and by nothing older. */
function checkFloor({ component, counter, kind }: DirectorStatement, { floors }: UpdateState): void {
  const floor = floors[component] ?? 0
  if (kind === 'install' && counter < floor)
    throw new TrustError('policyRefused', 'updateNotNewer', { facts: { component, counter, here: floor } })
}

export interface Chosen {
  readonly artifact: Artifact
  /** Its signature, where that stands beside it. */
  readonly signature?: Artifact
}

/** @param formats that the component's installer takes @throws TrustError `policyRefused` where there is none for it */
export function chooseArtifact({ artifacts, component }: DirectorStatement, formats: readonly string[] | undefined): Chosen {
  const isBeside = ({ name, format }: Artifact): boolean =>
    artifacts.some((one) => one.format === format && name.startsWith(`${one.name}.`))
  const artifact = artifacts.find((one) => !isBeside(one) && (formats === undefined || formats.includes(one.format)))
  if (artifact === undefined) throw new TrustError('policyRefused', 'updateNoArtifact', { facts: { component } })
  const signature = artifacts.find((one) => one.format === artifact.format && one.name.startsWith(`${artifact.name}.`))
  return { artifact, ...(signature !== undefined && { signature }) }
}

/** @throws TrustError `badProof` when its signature is not that of whom the trust list names for software */
export async function checkImage(
  device: Device,
  files: { readonly file: string; readonly signature?: string; readonly format: string },
): Promise<void> {
  const { valid, signatures } = await verifyFile(device, files)
  if (valid) return
  const [first] = signatures
  const detail = first?.problem?.message ?? (first === undefined ? 'nobody signed it' : 'its signer is not trusted')
  throw new TrustError('badProof', 'updateImage', { facts: { detail } })
}
