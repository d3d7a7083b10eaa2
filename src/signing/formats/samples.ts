/** An artifact of each format, made by the tools that make such artifacts, and one that is large; for tests. @module */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { concat, utf8 } from '#base/bytes.ts'
import { endOf, newEntry } from '../artifact/zip.ts'

const firmware = utf8('firmware of press 7\n'.repeat(20))

const made = (file: string): Uint8Array => new Uint8Array(readFileSync(join(import.meta.dirname, 'testdata', file)))

const samples: ReadonlyMap<string, Uint8Array> = new Map([
  ['plain', firmware],
  ['cms', firmware],
  // x86_64-w64-mingw32-gcc -Os -s -nostdlib -e start, of: int start(void) { return 42; }
  ['authenticode-pe', made('hello.exe')],
  // aapt package -M AndroidManifest.xml -F press.apk raw
  ['apk', made('press.apk')],
  // jar --create --manifest … --release 11 …: two classes, one of them once more for Java 11, and a long text
  ['jar', made('press.jar')],
])

/** @throws Error for a format without one: nothing would be tested of it */
export function sampleOf(format: string): Uint8Array {
  const sample = samples.get(format)
  if (sample === undefined) throw new Error(`there is no sample of ${format} in formats/samples.ts`)
  return sample
}

const LARGE_OCTETS = 4 << 20
const filler = new Uint8Array(LARGE_OCTETS).fill(0x5a)

/** Above any buffer, and cheap to make: a program with an archive behind it, as installers have, an archive, a file. */
export function largeOf(format: string): Uint8Array {
  if (format.startsWith('authenticode')) return concat([sampleOf(format), filler])
  if (format !== 'jar' && format !== 'apk') return filler
  const { local, record } = newEntry('filler', filler, 0)
  return concat([local, record, endOf(1, record.length, local.length)])
}
