/**
 * What a server would like to see in requests, on the wire.
 *
 * The answer says it twice: as a template that newer clients fill in, and as the plain attributes that older ones know
 * and that newer ones pass over.
 *
 * Source: RFC 8951, 3.5 (CsrAttrs, AttrOrOID); RFC 9908, 3.2 (extensionRequest) and 3.4 (template).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { choice, decode, encode, implicit, type Infer, optional, sequence, sequenceOf, setOf, withDefault } from '#asn1/codec.ts'
import { BIT_STRING_OCTETS, BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { Attribute, requestAttributes } from '#x509/certification-request.ts'
import { Extensions } from '#x509/extensions/extension.ts'

const templateAttributes = {
  certificationRequestInfoTemplate: '1.2.840.113549.1.9.16.2.61',
  extensionReqTemplate: '1.2.840.113549.1.9.16.2.62',
} as const

/** A client reads this much at most, each list of it. */
const LIST_MAX = 64
export const CSR_ATTRIBUTES_MAX_OCTETS = 64 << 10

const SingleAttributeTemplate = sequence('SingleAttributeTemplate', { type: OBJECT_IDENTIFIER, value: optional(ANY) })

/** A Name whose values may be left to the client. */
export const NameTemplate = sequenceOf(
  'NameTemplate',
  setOf('RelativeDistinguishedNameTemplate', SingleAttributeTemplate, { min: 1, max: LIST_MAX }),
  { max: LIST_MAX },
)
export type NameTemplate = Infer<typeof NameTemplate>

const ExtensionTemplate = sequence('ExtensionTemplate', {
  extnID: OBJECT_IDENTIFIER,
  critical: withDefault(BOOLEAN, false),
  extnValue: optional(OCTET_STRING),
})
/** An extension whose value may be left to the client. */
export type ExtensionTemplate = Infer<typeof ExtensionTemplate>

const ExtensionReqTemplate = sequenceOf('ExtensionReqTemplate', ExtensionTemplate, { min: 1, max: LIST_MAX })

const SubjectPublicKeyInfoTemplate = sequence('SubjectPublicKeyInfoTemplate', {
  algorithm: ANY,
  subjectPublicKey: optional(BIT_STRING_OCTETS),
})

const CertificationRequestInfoTemplate = sequence('CertificationRequestInfoTemplate', {
  version: SMALL_INTEGER,
  subject: optional(NameTemplate),
  subjectPKInfo: optional(implicit(0, SubjectPublicKeyInfoTemplate)),
  attributes: implicit(1, setOf('Attributes', Attribute, { max: LIST_MAX })),
})

const CsrAttrs = sequenceOf('CsrAttrs', choice('AttrOrOID', { oid: OBJECT_IDENTIFIER, attribute: Attribute }), { max: LIST_MAX })

/** What a client is to fill in. */
export interface RequestTemplate {
  readonly subject: NameTemplate
  /** DER AlgorithmIdentifier, where only one will do. */
  readonly keyAlgorithm?: Uint8Array
  readonly extensions: readonly ExtensionTemplate[]
}

/** @param attributes for clients that do not know the template, beside the extensions of it that have values @returns DER CsrAttrs */
export function encodeCsrAttributes(template: RequestTemplate, attributes: readonly Attribute[]): Uint8Array {
  const { subject, keyAlgorithm, extensions } = template
  const valued = extensions.flatMap(({ extnID, critical, extnValue }) =>
    extnValue === undefined ? [] : [{ extnID, critical, extnValue }],
  )
  const extensionRequest =
    valued.length === 0 ? [] : [{ type: requestAttributes.extensionRequest, values: [encode(Extensions, valued)] }]
  // RFC 9908, 3.4: one of the two kinds, never both
  const inTemplate =
    valued.length === extensions.length
      ? extensionRequest
      : [{ type: templateAttributes.extensionReqTemplate, values: [encode(ExtensionReqTemplate, extensions)] }]
  const filled = encode(CertificationRequestInfoTemplate, {
    version: 0,
    subject: subject.length === 0 ? undefined : subject,
    subjectPKInfo: keyAlgorithm && { algorithm: keyAlgorithm },
    attributes: inTemplate,
  })
  const all = [
    { type: templateAttributes.certificationRequestInfoTemplate, values: [filled] },
    ...attributes,
    ...extensionRequest,
  ]
  return encode(
    CsrAttrs,
    // RFC 8951, 3.5: an attribute has a value, and what has none is named by its identifier alone
    all.map((value) => (value.values.length === 0 ? { type: 'oid', value: value.type } : { type: 'attribute', value })),
  )
}

export interface CsrAttributes {
  /** What the client is asked for by name only, as object identifiers. */
  readonly oids: readonly string[]
  /** Beside the template. */
  readonly attributes: readonly Attribute[]
  readonly template?: RequestTemplate
}

/** What is not known is kept and means nothing (RFC 8951, 3.5). @throws TrustError `malformed`, `tooLarge` */
export function parseCsrAttributes(der: Uint8Array): CsrAttributes {
  const items = decode(CsrAttrs, der, { maxOctets: CSR_ATTRIBUTES_MAX_OCTETS })
  const oids: string[] = []
  const attributes: Attribute[] = []
  let template: RequestTemplate | undefined
  for (const item of items) {
    if (item.type === 'oid') oids.push(item.value)
    else if (item.value.type !== templateAttributes.certificationRequestInfoTemplate) attributes.push(item.value)
    else if (template === undefined) template = templateOf(onlyValue(item.value))
    else throw unusable('it has two templates')
  }
  return { oids, attributes, ...(template !== undefined && { template }) }
}

function templateOf(der: Uint8Array): RequestTemplate {
  const { version, subject = [], subjectPKInfo, attributes } = decode(CertificationRequestInfoTemplate, der)
  if (version !== 0) throw unusable(`its version is ${version + 1}`)
  const [named, another] = attributes.filter(
    ({ type }) => type === requestAttributes.extensionRequest || type === templateAttributes.extensionReqTemplate,
  )
  if (another !== undefined) throw unusable('it asks for extensions twice')
  return {
    subject,
    ...(subjectPKInfo !== undefined && { keyAlgorithm: subjectPKInfo.algorithm }),
    extensions: named === undefined ? [] : decode(ExtensionReqTemplate, onlyValue(named)), // an Extension is an ExtensionTemplate with its value
  }
}

function onlyValue({ type, values }: Attribute): Uint8Array {
  const [value, another] = values
  if (value === undefined || another !== undefined) throw unusable(`its attribute ${type} does not have one value`)
  return value
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badCsrAttributes', { facts: { detail } })
