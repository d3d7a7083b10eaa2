/**
 * The outermost layer of CMS, and the kinds of content that it names.
 *
 * Source: RFC 5652, 3 and 4; RFC 5083, 2.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { berToDER } from '#asn1/ber.ts'
import {
  type Codec,
  type Count,
  decode,
  explicit,
  type Infer,
  sequence,
  sequenceOf,
  setOf,
  tagged,
  type TaggedCodec,
} from '#asn1/codec.ts'
import { Reader } from '#asn1/reader.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'

export const ContentInfo = sequence('ContentInfo', {
  contentType: OBJECT_IDENTIFIER,
  content: explicit(0, ANY),
})
export type ContentInfo = Infer<typeof ContentInfo>

export const contentTypes = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  envelopedData: '1.2.840.113549.1.7.3',
  encryptedData: '1.2.840.113549.1.7.6',
  authEnvelopedData: '1.2.840.113549.1.9.16.1.23',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
} as const

/**
 * Whole messages in memory: a backup of a small plant, a firmware image. What is larger is signed detached and encrypted
 * as a stream.
 */
export const CMS_MAX_OCTETS = 16 << 20

export interface ReadForm {
  /**
   * `ber` on wires where others write it (SCEP, files that `openssl cms -stream` made). Certificates, CRLs and signed
   * attributes must be DER all the same.
   */
  readonly encoding?: 'der' | 'ber'
  readonly maxOctets?: number
  /**
   * Content that is an element of its own and not an OCTET STRING, as PKCS #7 had it and Authenticode still does. Only who
   * expects it may ask: the same octets would be content of either form, and the signature does not tell them apart.
   */
  readonly pkcs7?: boolean
}

/** One element as it stands, for another schema to read: not looked at, unlike ANY. */
const UNREAD: Codec<Uint8Array> = {
  name: 'content',
  accepts: (tag) => tag >= 0,
  read(from) {
    const start = from.at
    from.at = from.readAnyHeader().end
    return from.bytes.subarray(start, from.at)
  },
  write: (to, der) => to.octets(der),
}

const OpenContentInfo = sequence('ContentInfo', { contentType: OBJECT_IDENTIFIER, content: explicit(0, UNREAD) })

/** @returns the content as DER, not looked at yet @throws TrustError `malformed`, `tooLarge` */
export function readContentInfo(bytes: Uint8Array, { encoding = 'der', maxOctets = CMS_MAX_OCTETS }: ReadForm = {}): ContentInfo {
  if (encoding === 'der') return decode(OpenContentInfo, bytes, { maxOctets })
  return decode(OpenContentInfo, berToDER(bytes, { maxOctets, ...berForms[peekContentType(bytes)] }), { maxOctets })
}

/** The same, of one type. @throws TrustError also `malformed` for another type */
export function readContent(bytes: Uint8Array, expected: keyof typeof contentTypes, form?: ReadForm): Uint8Array {
  const { contentType, content } = readContentInfo(bytes, form)
  if (contentType !== contentTypes[expected])
    throw new TrustError('malformed', 'cmsTypeOther', { facts: { found: contentTypeLabel(contentType), expected } })
  return content
}

const labels = new Map<string, string>(Object.entries(contentTypes).map(([label, oid]) => [oid, label]))
/** The standard's name, or the identifier where there is none here. */
export const contentTypeLabel = (oid: string): string => labels.get(oid) ?? oid

const envelope = { octetStrings: new Set(['30/a0/30/30/a0']) }
/** Where each type has what BER alone does not tell. */
const berForms: Readonly<Record<string, { readonly octetStrings?: Set<string>; readonly verbatim?: Set<string> }>> = {
  // certificates, crls, signedAttrs (RFC 5652, 5.3: DER, even if the rest is BER)
  [contentTypes.signedData]: { verbatim: new Set(['30/a0/30/a0/30', '30/a0/30/a1/30', '30/a0/30/31/30/a0']) },
  [contentTypes.envelopedData]: envelope,
  [contentTypes.authEnvelopedData]: envelope,
}

/** The identifier behind the first header, in DER or BER; empty when there is none, so that it is no CMS message. */
export function peekContentType(ber: Uint8Array): string {
  const [, length = 0] = ber
  const at = length > 0x80 ? 2 + (length & 0x7f) : 2
  const from = new Reader(ber, { maxOctets: ber.length })
  from.at = Math.min(at, ber.length)
  return OBJECT_IDENTIFIER.accepts(from.peekTag()) ? OBJECT_IDENTIFIER.read(from) : ''
}

/** SET OF as others write it: read in any order, written in DER's. */
export const looseSetOf = <T>(name: string, item: Codec<T>, count?: Count): TaggedCodec<readonly T[]> =>
  tagged(name, 0x31, sequenceOf(name, item, count).readContent, setOf(name, item, count).writeContent)

export const badCMS = (detail: string): TrustError => new TrustError('malformed', 'badCMS', { facts: { detail } })
