/** Archives by name and content, to be changed; for tests. @module */
import { concat } from '#base/bytes.ts'
import { bytesSource } from './blob.ts'
import { endOf, newEntry, parseZip, readEntry } from './zip.ts'

export type Contents = ReadonlyMap<string, Uint8Array>

export async function contentsOf(octets: Uint8Array): Promise<Map<string, Uint8Array>> {
  const source = bytesSource(octets)
  const found = new Map<string, Uint8Array>()
  for (const entry of (await parseZip(source)).entries) found.set(entry.name, await readEntry(source, entry, 1 << 20))
  return found
}

export const packed = (contents: Contents): Uint8Array => packedPairs([...contents])

/** Also with a name twice. */
export function packedPairs(contents: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const [locals, records]: [Uint8Array[], Uint8Array[]] = [[], []]
  let at = 0
  for (const [name, content] of contents) {
    const { local, record } = newEntry(name, content, at)
    locals.push(local)
    records.push(record)
    at += local.length
  }
  const directory = concat(records)
  return concat([...locals, directory, endOf(contents.length, directory.length, at)])
}
