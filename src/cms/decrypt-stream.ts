/**
 * Opening AuthEnvelopedData that is larger than memory, piece by piece.
 *
 * Source: RFC 5083, 2.1; RFC 5084. Only DER, whose lengths stand at the beginning.
 *
 * @module
 */
import { decode } from '#asn1/codec.ts'
import { OCTET_STRING, SMALL_INTEGER, OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import type { Random } from '#base/world.ts'
import { decryptGCM, identifyCipher } from './content-encryption.ts'
import { badCMS, contentTypes } from './content-info.ts'
import { contentKey, type Opener, type OpenRules } from './decrypt.ts'
import { AlgorithmIdentifier } from './digests.ts'
import { checkRecipientVersion, RecipientInfos } from './enveloped-data.ts'

/** Recipients and algorithms: 128 recipients with 2 KiB each. */
const HEAD_MAX_OCTETS = 512 << 10
/** The tag and attributes that nobody authenticated. */
const TAIL_MAX_OCTETS = 64 << 10

export interface StreamedEnvelope {
  readonly contentOctets: number
  /**
   * The plaintext as it is decrypted. **It is not authentic until the iteration has ended without throwing**: write it
   * where it can be thrown away, and believe and show nothing of it before. Ending early verifies nothing.
   */
  readonly unverifiedContent: AsyncIterable<Uint8Array>
}

/**
 * @throws TrustError as `decryptEnvelope`, at once for the head and from the iteration for the rest; `unsupported` where
 *   attributes are authenticated, which stand behind the content and are needed before it: read that message whole
 */
export async function decryptEnvelopeStream(
  message: AsyncIterable<Uint8Array>,
  opener: Opener,
  random: Random,
  rules: OpenRules = {},
): Promise<StreamedEnvelope> {
  const source = reader(message)
  const whole = await source.enter(0x30)
  if (decode(OBJECT_IDENTIFIER, await source.element(0x06)) !== contentTypes.authEnvelopedData)
    throw badCMS('it is not AuthEnvelopedData')
  const explicit = await source.enter(0xa0)
  const body = await source.enter(0x30)
  if (decode(SMALL_INTEGER, await source.element(0x02)) !== 0) throw badCMS('its version is not 0')
  const recipientInfos = decode(RecipientInfos, await source.element(0x31))
  for (const recipientInfo of recipientInfos) checkRecipientVersion(recipientInfo)
  const info = await source.enter(0x30)
  if (decode(OBJECT_IDENTIFIER, await source.element(0x06)) !== contentTypes.data) throw badCMS('only data is read in a stream')
  const cipher = identifyCipher(decode(AlgorithmIdentifier, await source.element(0x30)))
  if (cipher.mode !== 'gcm') throw badCMS(`${cipher.id} does not go with authEnvelopedData`)
  const content = await source.enter(0x80)
  if (content !== info || explicit !== whole || body !== whole || content > whole)
    throw badCMS('its lengths contradict each other')
  if (whole - content > TAIL_MAX_OCTETS) throw badCMS('too much stands behind its content')
  const contentOctets = content - source.at()
  const key = await contentKey(recipientInfos, opener, { cipher, random, rules })

  const tag = async (): Promise<Uint8Array> => {
    const mac = decode(OCTET_STRING, await source.element(0x04, 'its attributes are authenticated, or its tag is missing'))
    await source.skip(whole - source.at())
    await source.end()
    return mac
  }
  return { contentOctets, unverifiedContent: decryptGCM(cipher, key, undefined, source.take(contentOctets), tag) }
}

interface Source {
  /** Octets read so far. */
  at(): number
  /** Reads a header. @returns where its content ends */
  enter(tag: number): Promise<number>
  /** Reads a whole element, header and all. */
  element(tag: number, otherwise?: string): Promise<Uint8Array>
  take(octets: number): AsyncGenerator<Uint8Array, void>
  skip(octets: number): Promise<void>
  end(): Promise<void>
}

function reader(message: AsyncIterable<Uint8Array>): Source {
  const pieces = message[Symbol.asyncIterator]()
  let held: Uint8Array = new Uint8Array()
  let position = 0

  /** Makes this many octets available. */
  async function hold(octets: number): Promise<void> {
    const parts = [held]
    let size = held.length
    while (size < octets) {
      const { done, value } = await pieces.next()
      if (done === true) throw badCMS('it is cut short')
      parts.push(value)
      size += value.length
    }
    if (parts.length > 1) held = concat(parts)
  }
  function drop(octets: number): Uint8Array {
    const taken = held.subarray(0, octets)
    held = held.subarray(octets)
    position += octets
    return taken
  }
  async function header(tag: number, otherwise?: string): Promise<{ octets: number; length: number }> {
    await hold(2)
    if (held[0] !== tag) throw badCMS(otherwise ?? `tag ${String(held[0])} stands where ${tag} must`)
    const first = held[1] as number
    if (first < 0x80) return { octets: 2, length: first }
    const count = first & 0x7f
    if (count === 0 || count > 4) throw badCMS('a length is not one of DER')
    await hold(2 + count)
    const length = held.subarray(2, 2 + count).reduce((sum, octet) => sum * 256 + octet, 0)
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw badCMS('a length is not one of DER')
    return { octets: 2 + count, length }
  }
  return {
    at: () => position,
    async enter(tag) {
      const { octets, length } = await header(tag)
      drop(octets)
      return position + length
    },
    async element(tag, otherwise) {
      const { octets, length } = await header(tag, otherwise)
      if (length > HEAD_MAX_OCTETS) throw badCMS('what stands before its content is too long')
      await hold(octets + length)
      return new Uint8Array(drop(octets + length))
    },
    async *take(octets) {
      const end = position + octets
      while (position < end) {
        if (held.length === 0) await hold(1)
        yield drop(Math.min(held.length, end - position))
      }
    },
    async skip(octets) {
      await hold(octets)
      drop(octets)
    },
    async end() {
      if (held.length > 0 || (await pieces.next()).done !== true) throw badCMS('other bytes follow it')
    },
  }
}
