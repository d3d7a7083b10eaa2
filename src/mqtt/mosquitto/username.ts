/**
 * What Mosquitto calls a client by its certificate (`use_subject_as_username`): the subject as OpenSSL writes it.
 *
 * @module
 */
import { parseCertificate } from '#x509/certificate.ts'
import { attributeTypes, formatName, parseName } from '#x509/name.ts'

/** OpenSSL and RFC 4514 call these the same. */
const SAME_NAMES: ReadonlySet<string> = new Set(
  (['CN', 'serialNumber', 'C', 'L', 'ST', 'O', 'OU', 'DC', 'UID'] as const).map((name) => attributeTypes[name]),
)

/** What neither of them escapes. */
const PLAIN = /^[A-Za-z0-9](?:[A-Za-z0-9 ._:@/()-]*[A-Za-z0-9._:@/()-])?$/

/** @returns undefined for a subject that OpenSSL might write in another way: who is not surely named is not let in */
export function usernameOf(der: Uint8Array): string | undefined {
  const name = parseName(parseCertificate(der).subject)
  const isPlain = name.every(
    (level) => level.length === 1 && level.every(({ type, value }) => SAME_NAMES.has(type) && PLAIN.test(value)),
  )
  return isPlain && name.length > 0 ? formatName(name) : undefined
}
