/**
 * The trust list on the device: taken over step by step, never back.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { AgentDirectory } from './directory.ts'
import { checkNotExpired, checkOwnSignatures, checkSuccessor, parseSignedTrustList, type TrustList } from './trust-list.ts'

/** As it lies here, whether or not its end is past. @throws TrustError `policyRefused` when a list that was here before was newer */
export function heldTrustList(directory: AgentDirectory): TrustList | undefined {
  const octets = directory.read('trust-list.json')
  if (octets === undefined) return undefined
  const { list } = parseSignedTrustList(octets)
  const { trustVersion } = directory.state()
  if (list.version >= trustVersion) return list
  throw new TrustError('policyRefused', 'trustListOther', {
    facts: { detail: `version ${trustVersion} was here before version ${list.version}` },
  })
}

/**
 * The next list, or the first. Each is on the disk before the one after it is looked at, so a cut between costs nothing.
 *
 * @throws TrustError as `checkSuccessor`; for the first, `badProof` without enough of its own signatures
 */
export async function takeTrustList(directory: AgentDirectory, octets: Uint8Array): Promise<TrustList> {
  heldTrustList(directory)
  const held = directory.read('trust-list.json')
  const next = parseSignedTrustList(octets)
  const list = await (held === undefined ? checkOwnSignatures(next) : checkSuccessor(parseSignedTrustList(held), next))
  if (list === next.list) directory.write('trust-list.json', octets, 'agent trust list written')
  if (directory.state().trustVersion < list.version) directory.update({ trustVersion: list.version }, 'agent trust version noted')
  return list
}

/** @returns DER; empty where there is no list, or none for this purpose @throws TrustError `policyRefused` when its end is past */
export function trustedFor(directory: AgentDirectory, { clock }: Pick<World, 'clock'>, purpose: string): readonly Uint8Array[] {
  const list = heldTrustList(directory)
  if (list === undefined) return []
  checkNotExpired(list, clock.now())
  return list.anchors[purpose] ?? []
}
