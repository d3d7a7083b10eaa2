/**
 * What goes between two installations in a file: the chain, an offer where there is one, and the device's birth certificate.
 *
 * Nothing in it is believed: the chain says who signed what, and the birth certificate has to be the device's that the chain is of.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import type { PublicKey } from '#algorithms/public-key.ts'
import { ENTRIES_MAX } from './messages.ts'
import { type Key, keyOf, type Payload } from './statement.ts'

export interface Package {
  readonly chain: readonly string[]
  /** Of the epoch after the chain. */
  readonly offer?: string
  /** The birth certificate and those above it, DER. */
  readonly certificates: readonly Uint8Array[]
}

const VERSION = 1
/** A chain of some hundred owners with post-quantum keys. */
export const PACKAGE_MAX_OCTETS = 8 << 20
const CERTIFICATES_MAX = 10

export const encodePackage = ({ chain, offer, certificates }: Package): string =>
  `${JSON.stringify({ 'sealworks-ownership': VERSION, chain, ...(offer !== undefined && { offer }), certificates: certificates.map((one) => one.toBase64()) }, null, 2)}\n`

const malformed = (detail: string): TrustError => new TrustError('malformed', 'ownershipPackage', { facts: { detail } })

/** @throws TrustError `malformed`, `tooLarge` */
export function parsePackage(octets: Uint8Array): Package {
  const read = parseJSONObject(octets, PACKAGE_MAX_OCTETS)
  if (!isJSONObject(read) || read['sealworks-ownership'] !== VERSION) throw malformed('it does not say that it is one')
  const { chain, offer, certificates } = read
  if (offer !== undefined && typeof offer !== 'string') throw malformed('its offer is no text')
  return {
    chain: textsOf(chain, ENTRIES_MAX, 'chain'),
    ...(offer !== undefined && { offer }),
    certificates: textsOf(certificates, CERTIFICATES_MAX, 'certificates').map(octetsOf),
  }
}

/** A public key as another installation gives it: a JWK. @throws TrustError `malformed`, `unsupported`, `policyRefused` */
export const parsePublicKey = (octets: Uint8Array): PublicKey => keyOf(parseJSONObject(octets) as unknown as Key)

/** What a device is asked to sign; what it signed is checked where that is used. @throws TrustError `malformed` */
export const parsePresenceAsked = (octets: Uint8Array): Omit<Payload<'presence'>, 'key' | 'at'> =>
  parseJSONObject(octets) as unknown as Omit<Payload<'presence'>, 'key' | 'at'>

function textsOf(value: JSONValue | undefined, most: number, what: string): readonly string[] {
  if (!Array.isArray(value) || value.length > most || !value.every((one) => typeof one === 'string'))
    throw malformed(`its ${what} is no list of text, or too long`)
  return value
}

function octetsOf(text: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' })
  } catch {
    throw malformed('a certificate is not base64')
  }
}
