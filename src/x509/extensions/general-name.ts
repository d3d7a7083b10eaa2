/**
 * Names of many kinds: what a subject, an issuer or a place on the network is called.
 *
 * Source: RFC 5280, 4.2.1.6; RFC 4108, 5 (hardwareModuleName); RFC 3280's ORAddress and EDIPartyName are kept as DER.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { choice, type Codec, decode, encode, explicit, implicit, type Infer, sequence, sequenceOf } from '#asn1/codec.ts'
import { IA5String, OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { Name } from '../name.ts'

export const OtherName = sequence('OtherName', {
  typeID: OBJECT_IDENTIFIER,
  value: explicit(0, ANY),
})
export type OtherName = Infer<typeof OtherName>

/** An element kept as it stands, under the context tag it is known to have. Content is checked to be DER. */
const opaque = (name: string, tag: number): Codec<Uint8Array> => ({
  name,
  accepts: (found) => found === tag,
  read: ANY.read,
  write: ANY.write,
})

export const GeneralName = choice('GeneralName', {
  otherName: implicit(0, OtherName),
  rfc822Name: implicit(1, IA5String),
  dNSName: implicit(2, IA5String),
  x400Address: opaque('ORAddress', 0xa3),
  directoryName: explicit(4, Name), // a CHOICE, so explicit (X.680, 31.2.7)
  ediPartyName: opaque('EDIPartyName', 0xa5),
  uniformResourceIdentifier: implicit(6, IA5String),
  iPAddress: implicit(7, OCTET_STRING),
  registeredID: implicit(8, OBJECT_IDENTIFIER),
})
export type GeneralName = Infer<typeof GeneralName>

/** More names than a certificate needs; a CA with an access list of names has them in a database. */
const NAMES_MAX = 256

export const GeneralNames = sequenceOf('GeneralNames', GeneralName, { min: 1, max: NAMES_MAX })
export type GeneralNames = readonly GeneralName[]

/** A device's hardware: who makes the type, and which piece this is. */
export const HardwareModuleName = sequence('HardwareModuleName', {
  hwType: OBJECT_IDENTIFIER,
  hwSerialNum: OCTET_STRING,
})
export type HardwareModuleName = Infer<typeof HardwareModuleName>

export const hardwareModuleNameOID = '1.3.6.1.5.5.7.8.4'

export const hardwareModuleName = (name: HardwareModuleName): GeneralName => ({
  type: 'otherName',
  value: { typeID: hardwareModuleNameOID, value: encode(HardwareModuleName, name) },
})

/** @returns undefined for a name of another kind @throws TrustError `malformed` */
export function hardwareModuleNameOf(name: GeneralName): HardwareModuleName | undefined {
  if (name.type !== 'otherName' || name.value.typeID !== hardwareModuleNameOID) return undefined
  return decode(HardwareModuleName, name.value.value)
}

/** IPv4 and IPv6 addresses as text; RFC 5952 form for IPv6. @throws TrustError `malformed` for another length */
export function formatIPAddress(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join('.')
  if (octets.length !== 16) throw notAddress(octets.toHex())
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((octets[2 * i] as number) << 8) | (octets[2 * i + 1] as number)).toString(16),
  )
  let best = { at: -1, length: 1 }
  for (let at = 0; at < 8; at++) {
    let length = 0
    while (groups[at + length] === '0') length++
    if (length > best.length) best = { at, length }
  }
  if (best.at < 0) return groups.join(':')
  return `${groups.slice(0, best.at).join(':')}::${groups.slice(best.at + best.length).join(':')}`
}

/** @throws TrustError `malformed` */
export function parseIPAddress(text: string): Uint8Array {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (v4 !== null) {
    const octets = v4.slice(1).map(Number)
    if (v4.slice(1).some((part, i) => String(octets[i]) !== part || (octets[i] as number) > 255)) throw notAddress(text)
    return Uint8Array.from(octets)
  }
  const [head = '', tail, more] = text.split('::')
  if (more !== undefined || !text.includes(':')) throw notAddress(text)
  const groupsOf = (part: string): string[] => (part === '' ? [] : part.split(':'))
  const [before, after] = [groupsOf(head), groupsOf(tail ?? '')]
  const missing = 8 - before.length - after.length
  if (tail === undefined ? missing !== 0 : missing < 1) throw notAddress(text)
  const groups = [...before, ...Array<string>(missing).fill('0'), ...after]
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) throw notAddress(text)
  return Uint8Array.from(groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]))
}

const notAddress = (text: string): TrustError => new TrustError('malformed', 'notIPAddress', { facts: { text } })
