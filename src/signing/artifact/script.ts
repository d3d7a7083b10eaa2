/**
 * Scripts with a signature in comments at their end: where the text ends, and the block exactly as programs write it. A
 * block that is written in any other way, or stands anywhere else, is refused: programs differ in where they look for it.
 *
 * Source: Microsoft, about_Signing (PowerShell 7.5), "Signature block"; the rest was learned from what its programs and
 * osslsigncode sign.
 *
 * @module
 */
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource } from '../format.ts'
import { chunksOf } from './blob.ts'

type Encoding = 'utf8' | 'utf16le'

/** What stands before and behind each line of a block. */
type Comment = readonly [open: string, close: string]
/** ps1, psm1, psd1. */
const HASH: Comment = ['# ', '']
/** ps1xml, psc1, cdxml. */
const XML: Comment = ['<!-- ', ' -->']

const BEGIN = 'SIG # Begin signature block'
const END = 'SIG # End signature block'
/** Either, however it is written. */
const MARK = /SIG # (?:Begin|End) signature block/gi
const LINE_CHARACTERS = 64
/** Programs of Microsoft sign nothing shorter. */
const TEXT_MIN_OCTETS = 4
/** Signatures have some ten kilobytes; one of 1.4 MB in UTF-16. */
const BLOCK_MAX_OCTETS = 4 << 20
/** In which the first character that says what it is stands. */
const LOOK_OCTETS = 4096

export interface Script {
  readonly encoding: Encoding
  readonly comment: Comment
  /** Where the text ends, and the block begins with its line break. */
  readonly textOctets: number
  /** DER; undefined when nobody signed. */
  readonly signature: Uint8Array | undefined
}

/** Whether it ends with a block: an unsigned script shows nothing. */
export async function endsWithBlock(source: BlobSource): Promise<boolean> {
  const length = Math.min(source.size, 80)
  const tail = Buffer.from(await source.read(source.size - length, length))
    .toString('latin1')
    .replaceAll('\0', '')
  return [HASH, XML].some(([open, close]) => tail.endsWith(`${open}${END}${close}\r\n`))
}

/** @throws TrustError `malformed` for a block that is not what ends the script, `unsupported` for another encoding */
export async function parseScript(source: BlobSource): Promise<Script> {
  if (source.size < TEXT_MIN_OCTETS) throw badScript('it is too short')
  const encoding = encodingOf(await source.read(0, TEXT_MIN_OCTETS))
  const unitOctets = encoding === 'utf8' ? 1 : 2
  if (source.size % unitOctets !== 0) throw badScript('it ends within a character')
  const comment = await commentOf(source, encoding)
  const marks = await marksIn(source, encoding)
  if (marks.length === 0) return { encoding, comment, textOctets: source.size, signature: undefined }
  const [begin, end, more] = marks
  if (begin === undefined || end === undefined || more !== undefined)
    throw badScript('it has more or less than one signature block, or its text names one')
  const textOctets = begin - (comment[0].length + 2) * unitOctets
  if (textOctets < TEXT_MIN_OCTETS) throw badScript('nothing is before its signature block')
  if (source.size - textOctets > BLOCK_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its signature block', limit: BLOCK_MAX_OCTETS } })
  const block = concat(await Array.fromAsync(chunksOf(source, { offset: textOctets, length: source.size - textOctets })))
  const signature = signatureIn(Buffer.from(block).toString(encoding), comment)
  if (!equal(encodeBlock(signature, { encoding, comment }), block)) throw badScript(NOT_AS_WRITTEN)
  return { encoding, comment, textOctets, signature }
}

function encodingOf(head: Uint8Array): Encoding {
  const [first, second, third, fourth] = head
  if (first === 0xfe && second === 0xff) throw unsupported('text in UTF-16 with the upper octet first')
  if (first !== 0xff || second !== 0xfe) return 'utf8'
  if (third === 0 && fourth === 0) throw unsupported('text in UTF-32')
  return 'utf16le'
}

/** XML begins with an element, a comment or its declaration; `<#` begins a comment of PowerShell. */
async function commentOf(source: BlobSource, encoding: Encoding): Promise<Comment> {
  const head = await source.read(0, Math.min(source.size, LOOK_OCTETS))
  return /^\uFEFF?\s*<[?!A-Za-z]/.test(Buffer.from(head).toString(encoding)) ? XML : HASH
}

/** Offsets in octets: two, or as many more as suffice to refuse. */
async function marksIn(source: BlobSource, encoding: Encoding): Promise<readonly number[]> {
  const marks: number[] = []
  let before = ''
  let at = 0
  for await (const chunk of chunksOf(source)) {
    const text = before + Buffer.from(chunk).toString(encoding === 'utf8' ? 'latin1' : 'utf16le')
    for (const { index } of text.matchAll(MARK)) if (at + index > (marks.at(-1) ?? -1)) marks.push(at + index)
    if (marks.length > 2) break
    before = text.slice(-BEGIN.length)
    at += text.length - before.length
  }
  return marks.map((mark) => mark * (encoding === 'utf8' ? 1 : 2))
}

function signatureIn(block: string, [open, close]: Comment): Uint8Array {
  const lines = block.split('\r\n').slice(2, -2)
  try {
    return Uint8Array.fromBase64(lines.map((line) => line.slice(open.length, line.length - close.length)).join(''))
  } catch (cause) {
    throw badScript(NOT_AS_WRITTEN, cause)
  }
}

/** With the line break before it, which belongs to it and not to the text. */
export function encodeBlock(
  der: Uint8Array,
  { encoding, comment: [open, close] }: Pick<Script, 'encoding' | 'comment'>,
): Uint8Array {
  const base64 = der.toBase64()
  const lines = [BEGIN, ...(base64.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? []), END]
  return new Uint8Array(Buffer.from(`${lines.map((line) => `\r\n${open}${line}${close}`).join('')}\r\n`, encoding))
}

/**
 * What is hashed: the text in UTF-16 with the lower octet first, with its byte order mark where it has one.
 *
 * @throws TrustError `malformed` for octets that are no text
 */
export async function* hashedText(source: BlobSource, { encoding, textOctets }: Script): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  for await (const chunk of chunksOf(source, { offset: 0, length: textOctets })) {
    yield encoding === 'utf16le' ? chunk : inUTF16(chunk)
  }
  if (encoding === 'utf8') yield inUTF16()

  function inUTF16(chunk?: Uint8Array): Uint8Array {
    try {
      const text = decoder.decode(chunk, { stream: chunk !== undefined })
      if (!text.includes('\0')) return Buffer.from(text, 'utf16le')
    } catch (cause) {
      throw badScript(NO_TEXT, cause)
    }
    throw badScript(NO_TEXT)
  }
}

const NOT_AS_WRITTEN = 'its signature block is not as programs write it, or not what ends the script'
const NO_TEXT = 'it is neither UTF-8 nor UTF-16 with a byte order mark'
const badScript = (detail: string, cause?: unknown): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'script', detail }, cause })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'script', detail } })
