/** An artifact of each format, made by the tools that make such artifacts, and one that is large; for tests. @module */
import { utf8 } from '#base/bytes.ts'

const firmware = utf8('firmware of press 7\n'.repeat(20))

const samples: ReadonlyMap<string, Uint8Array> = new Map([
  ['plain', firmware],
  ['cms', firmware],
])

/** @throws Error for a format without one: nothing would be tested of it */
export function sampleOf(format: string): Uint8Array {
  const sample = samples.get(format)
  if (sample === undefined) throw new Error(`there is no sample of ${format} in formats/samples.ts`)
  return sample
}

const LARGE_OCTETS = 4 << 20

/** Above any buffer, and cheap to make. */
export function largeOf(_format: string): Uint8Array {
  return new Uint8Array(LARGE_OCTETS).fill(0x5a)
}
