/**
 * Keys of TUF's roles are signers of the signing server: their terms, counts, approvals and audit entries hold for metadata as
 * for anything else. A signer for it has the format `plain` and nobody but the server among its users, since whoever may have
 * any octets signed could have a root signed.
 *
 * @module
 */
import { signatureAlgorithm } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { digestContent } from '#cms/digests.ts'
import type { Requester } from '#signing/context.ts'
import type { Waiting } from '#signing/service.ts'
import { keysOf, type SignerRecord } from '#signing/signer.ts'
import type { UpdatesContext } from '../context.ts'
import { keyIdOf, type TUFKey, tufKey, type TUFSignature } from './messages.ts'

const FORMAT = 'plain'
const SERVER = 'server:updates'

export interface RoleSigner {
  readonly record: SignerRecord
  readonly key: TUFKey
  readonly keyid: string
}

/** @throws TrustError `notFound`; `policyRefused` for one whom others may use, or who signs with two keys; `unsupported` */
export async function findRoleSigner({ signing }: Pick<UpdatesContext, 'signing'>, name: string): Promise<RoleSigner> {
  const { record } = await signing.signers.find(name)
  const [own, second] = keysOf(record.key)
  const { roles, people } = record.users
  const isServers = people.length === 0 && roles.every((role) => role === SERVER) && record.formats.every((one) => one === FORMAT)
  if (own === undefined || second !== undefined || !isServers)
    throw new TrustError('policyRefused', 'tufSigner', { facts: { name, format: FORMAT, role: SERVER } })
  const key = tufKey(own.publicKey, own.signatureAlgorithm)
  return { record, key, keyid: keyIdOf(key) }
}

export type RoleSignature = { readonly state: 'signed'; readonly signature: TUFSignature } | Waiting

/** @param octets in canonical form @throws TrustError as the signer refuses */
export async function signRole(
  { signing }: Pick<UpdatesContext, 'signing'>,
  { record, keyid }: RoleSigner,
  octets: Uint8Array,
  by: Requester,
): Promise<RoleSignature> {
  const { digest } = signatureAlgorithm(record.key.signatureAlgorithm)
  const message =
    digest === null
      ? { octets }
      : { digestAlgorithm: digest, digest: (await digestContent(octets, [digest])).get(digest) as Uint8Array }
  const wanted = { format: FORMAT, requests: [{ type: 'raw', message }], signerVersion: record.version } as const
  const made = await signing.sign(record.name, wanted, by)
  if (made.state === 'waiting') return made
  const [answer = new Uint8Array()] = made.answers
  return { state: 'signed', signature: { keyid, sig: answer.toHex() } }
}
