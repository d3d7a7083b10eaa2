/**
 * Name constraints as people write them: `dns:plant.example`, `ip:10.1.0.0/16`, `email:`, `uri:` and `dir:O=Example`.
 *
 * Source: RFC 5280, 4.2.1.10.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { type GeneralName, parseIPAddress } from '#x509/extensions/general-name.ts'
import type { GeneralSubtree, NameConstraints } from '#x509/extensions/name-constraints.ts'
import { parseDistinguishedName } from '#x509/name.ts'

/** @throws TrustError `malformed` */
export function nameConstraintsOf({
  permitted = [],
  excluded = [],
}: {
  readonly permitted?: readonly string[]
  readonly excluded?: readonly string[]
}): NameConstraints {
  return {
    ...(permitted.length > 0 && { permittedSubtrees: permitted.map(subtreeOf) }),
    ...(excluded.length > 0 && { excludedSubtrees: excluded.map(subtreeOf) }),
  }
}

const subtreeOf = (text: string): GeneralSubtree => ({ base: baseOf(text), minimum: 0 })

/** A host, a domain with all below it, or (with a dot in front) only what is below. */
const DOMAIN = /^\.?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i

function baseOf(text: string): GeneralName {
  const at = text.indexOf(':')
  const [kind, value] = [text.slice(0, at), text.slice(at + 1)]
  switch (kind) {
    case 'dns':
      if (DOMAIN.test(value)) return { type: 'dNSName', value }
      break
    case 'email':
      if (DOMAIN.test(value.slice(value.indexOf('@') + 1))) return { type: 'rfc822Name', value }
      break
    case 'uri':
      if (DOMAIN.test(value)) return { type: 'uniformResourceIdentifier', value } // a host, not a whole URI
      break
    case 'dir':
      return { type: 'directoryName', value: parseDistinguishedName(value) }
    case 'ip':
      return { type: 'iPAddress', value: network(value, text) }
  }
  throw notConstraint(text)
}

/** The address and its mask, one after the other. */
function network(value: string, text: string): Uint8Array {
  const [, address = '', digits = ''] = /^([0-9a-f.:]+)\/(\d{1,3})$/i.exec(value) ?? []
  if (address === '') throw notConstraint(text)
  const octets = parseIPAddress(address)
  const bits = Number(digits)
  if (bits > octets.length * 8) throw notConstraint(text)
  const mask = octets.map((_, at) => (0xff00 >> Math.max(0, Math.min(8, bits - at * 8))) & 0xff)
  return Uint8Array.from([...octets.map((octet, at) => octet & (mask[at] as number)), ...mask])
}

const notConstraint = (text: string): TrustError => new TrustError('malformed', 'nameConstraint', { facts: { text } })
