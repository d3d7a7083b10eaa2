/**
 * Extensions as certificates, requests, CRLs and OCSP messages carry them, and what this platform knows of a type.
 *
 * Source: RFC 5280, 4.1.2.9 and 4.2.
 *
 * @module
 */
import { type Codec, decode, encode, sequenceOf, tagged, type TaggedCodec } from '#asn1/codec.ts'
import { malformed } from '#asn1/reader.ts'
import { BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'

/** One extension as it was found; the value is decoded where someone asks for it. */
export interface Extension {
  /** Object identifier in dotted form. */
  readonly extnID: string
  readonly critical: boolean
  /** Content of the OCTET STRING: usually the DER of a value. */
  readonly extnValue: Uint8Array
}

/** SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }, by hand: half of a certificate is these. */
export const Extension: TaggedCodec<Extension> = tagged(
  'Extension',
  0x30,
  (from) => {
    const extnID = OBJECT_IDENTIFIER.read(from)
    const critical = from.peekTag() === BOOLEAN.tag
    if (critical && !BOOLEAN.read(from)) throw malformed('Extension.critical encodes its DEFAULT') // X.690 11.5
    return { extnID, critical, extnValue: OCTET_STRING.read(from) }
  },
  (to, { extnID, critical, extnValue }) => {
    OCTET_STRING.write(to, extnValue)
    if (critical) BOOLEAN.write(to, true)
    OBJECT_IDENTIFIER.write(to, extnID)
  },
)

/** More than any certificate has; each new one is looked for among those before it. */
const EXTENSIONS_MAX = 64

const ExtensionList = sequenceOf('Extensions', Extension, { min: 1, max: EXTENSIONS_MAX })

/** @throws TrustError `malformed` `repeatedExtension` when two have one type (RFC 5280, 4.2) */
export const Extensions: TaggedCodec<readonly Extension[]> = {
  ...ExtensionList,
  read(from) {
    const extensions = ExtensionList.read(from)
    refuseRepeats(extensions)
    return extensions
  },
  readContent(from) {
    const extensions = ExtensionList.readContent(from)
    refuseRepeats(extensions)
    return extensions
  },
}

/** For writing: octets are whole DER Extensions already. */
export const ExtensionsAsGiven: TaggedCodec<readonly (Uint8Array | Extension)[]> = sequenceOf('Extensions', {
  name: Extension.name,
  accepts: Extension.accepts,
  read: Extension.read,
  write(to, extension) {
    if (extension instanceof Uint8Array) to.octets(extension)
    else Extension.write(to, extension)
  },
})

function refuseRepeats(extensions: readonly Extension[]): void {
  for (let i = 1; i < extensions.length; i++) {
    const { extnID } = extensions[i] as Extension
    for (let j = 0; j < i; j++) {
      if ((extensions[j] as Extension).extnID === extnID) {
        throw new TrustError('malformed', 'repeatedExtension', { facts: { extension: extnID } })
      }
    }
  }
}

/**
 * How RFC 5280 and its kin want an extension marked by those who write it; `either` is as the profile says.
 */
export type Criticality = 'critical' | 'non-critical' | 'either'

/** Where an extension may stand. */
export type ExtensionPlace = 'certificate' | 'crl' | 'crlEntry' | 'ocspRequest' | 'ocspResponse' | 'ocspSingle'

/** What is known of a type of extension. */
export interface ExtensionType<T> {
  /** Object identifier in dotted form. */
  readonly oid: string
  /** ASN.1 name without its `id-ce-` or `id-pe-`. */
  readonly id: string
  readonly codec: Codec<T>
  readonly criticality: Criticality
  readonly places: readonly ExtensionPlace[]
  /** Section that defines it. */
  readonly source: string
}

/** Pins the type of value to the codec. */
export const extensionType = <T>(type: ExtensionType<T>): ExtensionType<T> => type

/** @returns DER Extension @param critical the type's own rule where left out; types that may be either are not */
export function encodeExtension<T>(
  type: ExtensionType<T>,
  value: T,
  critical: boolean = type.criticality === 'critical',
): Uint8Array {
  return encode(Extension, extensionWith(type, value, critical))
}

export function extensionWith<T>(
  type: ExtensionType<T>,
  value: T,
  critical: boolean = type.criticality === 'critical',
): Extension {
  return { extnID: type.oid, critical, extnValue: encode(type.codec, value) }
}

export const findExtension = (extensions: readonly Extension[], { oid }: ExtensionType<unknown>): Extension | undefined =>
  extensions.find(({ extnID }) => extnID === oid)

/** A decoded extension. */
export interface ReadExtension<T> {
  readonly value: T
  readonly critical: boolean
}

/** @throws TrustError `malformed` when the extension is there and its value is not of its type */
export function readExtension<T>(extensions: readonly Extension[], type: ExtensionType<T>): ReadExtension<T> | undefined {
  const found = findExtension(extensions, type)
  return found && { value: decodeExtension(type, found), critical: found.critical }
}

/** @throws TrustError `malformed` `badExtension` */
export function decodeExtension<T>(type: ExtensionType<T>, { extnValue }: Extension): T {
  try {
    return decode(type.codec, extnValue)
  } catch (cause) {
    if (!(cause instanceof TrustError)) throw cause
    throw new TrustError('malformed', 'badExtension', {
      facts: { extension: type.id, detail: String(cause.facts['detail'] ?? cause.message) },
      cause,
    })
  }
}

/** SEQUENCE SIZE (1..MAX) OF in an extension. */
export const LIST_MAX = 256
