/**
 * The outermost layer of CMS, and the kinds of content that it names.
 *
 * Source: RFC 5652, 3 and 4.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { explicit, type Infer, sequence } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'

export const ContentInfo = sequence('ContentInfo', {
  contentType: OBJECT_IDENTIFIER,
  content: explicit(0, ANY),
})
export type ContentInfo = Infer<typeof ContentInfo>

export const contentTypes = {
  data: '1.2.840.113549.1.7.1',
  signedData: '1.2.840.113549.1.7.2',
  encryptedData: '1.2.840.113549.1.7.6',
} as const
