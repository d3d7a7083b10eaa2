/**
 * A released file in a CMS envelope, for whoever carries it to devices and is not to read it: a stick, a station's disk.
 *
 * Source: RFC 5083, RFC 5084 (AuthEnvelopedData with AES-256-GCM).
 *
 * @module
 */
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { TAG_OCTETS } from '#cms/content-encryption.ts'
import { streamAuthEnvelopedData } from '#cms/encrypt.ts'

/** Each costs an agreement here, and a look there; half of what a reader takes. */
const RECIPIENTS_MAX = 64
/** Behind the content: the tag as an OCTET STRING. */
const TAIL_OCTETS = 2 + TAG_OCTETS

export interface Sealed {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

/** Certificates: any of them opens it. */
export type Recipients = readonly [Uint8Array, ...Uint8Array[]]

/** @param text PEM: any of them may open it @throws TrustError `malformed`, `tooLarge` */
export function recipientsIn(text: string): Recipients {
  const [first, ...others] = parsePEM(text).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : []))
  if (first === undefined) throw new TrustError('malformed', 'sealNobody')
  if (others.length >= RECIPIENTS_MAX) throw new TrustError('tooLarge', 'sealRecipients', { facts: { limit: RECIPIENTS_MAX } })
  return [first, ...others]
}

/** Can be read once. @throws TrustError `policyRefused` for a certificate that is for signatures only; `unsupported` */
export async function seal(content: Sealed, [first, ...others]: Recipients, random: Random): Promise<Sealed> {
  const recipient = (certificate: Uint8Array) => ({ type: 'certificate', certificate }) as const
  const pieces = streamAuthEnvelopedData(
    {
      cipher: 'aes-256-gcm',
      recipients: [recipient(first), ...others.map(recipient)],
      content: content.read(),
      contentOctets: content.octets,
    },
    random,
  )
  const { value: head } = await pieces.next()
  if (head === undefined) throw new TypeError('an envelope has a head')
  return {
    octets: head.length + content.octets + TAIL_OCTETS,
    async *read() {
      yield head
      yield* pieces
    },
  }
}
