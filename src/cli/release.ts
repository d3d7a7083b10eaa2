/** Releases, as commands name them. @module */
import { TrustError } from '#base/errors.ts'
import { required, text } from './command.ts'
import type { Caller } from './connection.ts'

export const releaseOperand = required(text('RELEASE', 'its id, or COMPONENT/VERSION'))

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const LIST_MAX = 500

/** @throws TrustError `notFound`, `conflict` when releases for several models have this version */
export async function findRelease(client: Caller, written: string): Promise<string> {
  if (UUID.test(written)) return written
  const at = written.lastIndexOf('/')
  const [component, version] = [written.slice(0, Math.max(at, 0)), written.slice(at + 1)]
  const { items } =
    component === '' ? { items: [] } : await client.call('listReleases', { query: { component, limit: LIST_MAX } })
  const [found, other] = items.filter((one) => one.version === version)
  if (found === undefined) throw new TrustError('notFound', 'releaseUnknown', { facts: { release: written } })
  if (other !== undefined) throw new TrustError('conflict', 'releaseAmbiguous', { facts: { release: written } })
  return found.id
}
