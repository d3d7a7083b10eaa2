/** An artifact of each format, made by the tools that make such artifacts, and one that is large; for tests. @module */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { concat, utf8 } from '#base/bytes.ts'
import { encodeCompoundFile } from '../artifact/cfb.ts'
import { cpioEntryLike } from '../artifact/cpio.ts'
import { endOf, newEntry } from '../artifact/zip.ts'

const firmware = utf8('firmware of press 7\n'.repeat(20))

const made = (file: string): Uint8Array => new Uint8Array(readFileSync(join(import.meta.dirname, 'testdata', file)))

const samples: ReadonlyMap<string, Uint8Array> = new Map([
  ['plain', firmware],
  ['cms', firmware],
  ['cose-sign1', firmware],
  ['cose-sign', firmware],
  ['jws', firmware],
  ['dsse', firmware],
  // x86_64-w64-mingw32-gcc -Os -s -nostdlib -e start, of: int start(void) { return 42; }
  ['authenticode-pe', made('hello.exe')],
  // wixl, of a product with two files, one of which does not compress: tables in the mini stream, a cabinet in a stream
  ['authenticode-msi', made('press.msi')],
  // gcab -c press.cab press.txt
  ['authenticode-cab', made('press.cab')],
  ['authenticode-script', utf8('<# Press 7: größer, schneller #>\nparam([string]$Name)\r\nWrite-Host "🏭 $Name"\n')],
  // aapt package -M AndroidManifest.xml -F press.apk raw
  ['apk', made('press.apk')],
  // openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 9000 -subj /CN=press -outform der
  ['apk-lineage', made('next-key.cer')],
  // jar --create --manifest … --release 11 …: two classes, one of them once more for Java 11, and a long text
  ['jar', made('press.jar')],
  // imgtool sign --align 4 -v 1.2.3+4 -H 0x40 --pad-header -S 0x8000, without a key
  ['mcuboot', made('press.mcuboot')],
  // mksquashfs, of a manifest and an image that does not compress
  ['rauc', made('press.squashfs')],
  // cert-to-efi-sig-list
  ['uefi-variable', made('press.esl')],
  // cpio -o -H crc, of a description and two files that it names
  ['swupdate', made('press.swu')],
])

/** @throws Error for a format without one: nothing would be tested of it */
export function sampleOf(format: string): Uint8Array {
  const sample = samples.get(format)
  if (sample === undefined) throw new Error(`there is no sample of ${format} in formats/samples.ts`)
  return sample
}

/** What must be said of it. */
export const optionsOfSample = (format: string): Readonly<Record<string, string>> =>
  format === 'uefi-variable' ? { variable: 'db', timestamp: '2027-05-01T10:00:00Z' } : {}

const LARGE_OCTETS = 4 << 20
const filler = new Uint8Array(LARGE_OCTETS).fill(0x5a)

/** Above any buffer, and cheap to make: a program with an archive behind it, as installers have, an archive, a file. */
export function largeOf(format: string): Uint8Array {
  if (format === 'authenticode-msi') return largePackage()
  if (format === 'authenticode-cab') return largeCabinet()
  if (format.startsWith('authenticode')) return concat([sampleOf(format), filler])
  if (format === 'mcuboot') return largeImage()
  if (format === 'rauc') return largeSquashfs()
  if (format === 'uefi-variable') return largeList()
  if (format === 'swupdate') return largeUpdate()
  if (format !== 'jar' && format !== 'apk') return filler
  const { local, record } = newEntry('filler', filler, 0)
  return concat([local, record, endOf(1, record.length, local.length)])
}

function largePackage(): Uint8Array {
  const fields = { clsid: new Uint8Array(16), stateBits: new Uint8Array(4), times: new Uint8Array(16) }
  const name = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
  const content = [filler]
  const stream = { ...fields, type: 'stream', name: name('filler'), size: filler.length, content } as const
  const clsid = Uint8Array.fromHex('84100c0000000000c000000000000046')
  const pieces = encodeCompoundFile({ ...fields, type: 'storage', name: name('Root Entry'), clsid, children: [stream] }, 512)
  return concat(pieces.map((piece) => (piece instanceof Uint8Array ? piece : new Uint8Array())))
}

function largeCabinet(): Uint8Array {
  const octets = concat([sampleOf('authenticode-cab'), filler])
  new DataView(octets.buffer).setUint32(8, octets.length, true)
  return octets
}

function largeImage(): Uint8Array {
  const header = sampleOf('mcuboot').slice(0, 64)
  new DataView(header.buffer).setUint32(12, filler.length, true)
  return concat([header, filler])
}

function largeList(): Uint8Array {
  const header = sampleOf('uefi-variable').slice(0, 28)
  const view = new DataView(header.buffer)
  view.setUint32(16, header.length + filler.length, true)
  view.setUint32(24, filler.length, true)
  return concat([header, filler])
}

function largeSquashfs(): Uint8Array {
  const octets = concat([sampleOf('rauc').subarray(0, 96), filler.subarray(96)])
  new DataView(octets.buffer).setBigUint64(40, BigInt(octets.length), true)
  return octets
}

function largeUpdate(): Uint8Array {
  const head = `070701${'0'.repeat(8)}000081a4${'0'.repeat(88)}`
  const description = `files: ({ filename = "filler"; sha256 = "${hash('sha256', filler)}"; });`
  const entries = [
    ['sw-description', utf8(description)],
    ['filler', filler],
    ['TRAILER!!!', new Uint8Array()],
  ] as const
  return concat(entries.map(([name, content]) => cpioEntryLike({ head }, name, content)))
}
