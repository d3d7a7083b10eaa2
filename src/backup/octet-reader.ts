/** Takes pieces of any size and gives out as many octets as are asked for. @module */
import { concat } from '#base/bytes.ts'

export interface OctetReader {
  /** @returns fewer only at the end */
  upTo(count: number): Promise<Uint8Array>
  /** @returns undefined when there are fewer */
  exactly(count: number): Promise<Uint8Array | undefined>
}

export function octetReader(pieces: AsyncIterable<Uint8Array>): OctetReader {
  const source = pieces[Symbol.asyncIterator]()
  let held: Uint8Array = new Uint8Array()
  const upTo = async (count: number): Promise<Uint8Array> => {
    const parts = [held]
    let size = held.length
    while (size < count) {
      const step = await source.next()
      if (step.done === true) break
      parts.push(step.value)
      size += step.value.length
    }
    if (parts.length > 1) held = concat(parts)
    const taken = held.subarray(0, count)
    held = held.subarray(taken.length)
    return taken
  }
  return {
    upTo,
    async exactly(count) {
      const taken = await upTo(count)
      return taken.length === count ? taken : undefined
    },
  }
}
