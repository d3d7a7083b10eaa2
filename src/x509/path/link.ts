/**
 * A certificate as path building handles it: its names in comparable form and its key ready, each made once.
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import { type Certificate, extensionOf, fingerprint, parseCertificate } from '../certificate.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import type { ExtensionType } from '../extensions/extension.ts'
import { subjectKeyIdentifier } from '../extensions/subject-key-identifier.ts'
import { comparableLevels, formatName, parseName } from '../name.ts'
import { PathRefusal } from './reasons.ts'

export interface Link {
  readonly certificate: Certificate
  /** SHA-256, hex. */
  readonly fingerprint: string
  /** RFC 4514; the serial number where the subject is empty. */
  readonly label: string
  readonly issuerLabel: string
  /** Equal for names that are the same (RFC 5280, 7.1). */
  readonly subject: string
  readonly issuer: string
  /** RFC 5280, 6.1: subject and issuer are the same name. */
  readonly isSelfIssued: boolean
  readonly keyIdentifier: string | undefined
  readonly issuerKeyIdentifier: string | undefined
  /** @throws PathRefusal */
  key(): PublicKey
  /** @throws PathRefusal when its value is not of its type */
  extension<T>(type: ExtensionType<T>): T | undefined
}

/** @throws TrustError `malformed` for a certificate, or a name in it, that does not parse */
export function linkOf(given: Uint8Array | Certificate): Link {
  const certificate = given instanceof Uint8Array ? parseCertificate(given) : given
  const [subjectName, issuerName] = [parseName(certificate.subject), parseName(certificate.issuer)]
  const subject = comparableKey(subjectName)
  const issuer = comparableKey(issuerName)
  const label = formatName(subjectName) || `serial number ${certificate.serialNumber.toHex()}`
  let known: PublicKey | undefined
  const extension = <T>(type: ExtensionType<T>): T | undefined => {
    try {
      return extensionOf(certificate, type)?.value
    } catch (error) {
      throw unreadable(label, error)
    }
  }
  const quietly = <T>(type: ExtensionType<T>): T | undefined => {
    try {
      return extensionOf(certificate, type)?.value
    } catch {
      return undefined // only orders candidates here; validation reads it again and refuses
    }
  }
  return {
    certificate,
    fingerprint: fingerprint(certificate.der).toHex(),
    label,
    issuerLabel: formatName(issuerName),
    subject,
    issuer,
    isSelfIssued: subject === issuer,
    keyIdentifier: quietly(subjectKeyIdentifier)?.toHex(),
    issuerKeyIdentifier: quietly(authorityKeyIdentifier)?.keyIdentifier?.toHex(),
    key() {
      if (known !== undefined) return known
      try {
        return (known = importPublicKey(certificate.subjectPublicKeyInfo))
      } catch (error) {
        throw new PathRefusal('pathKey', label, { detail: detailOf(error) })
      }
    },
    extension,
  }
}

export const comparableKey = (name: ReturnType<typeof parseName>): string => comparableLevels(name).join('\n')

export const unreadable = (label: string, error: unknown): PathRefusal =>
  new PathRefusal('pathUnreadable', label, { detail: detailOf(error) })

/** What a refusal below says, as a clause. @throws what is no refusal */
export function detailOf(error: unknown): string {
  if (!(error instanceof TrustError)) throw error
  return String(error.facts['detail'] ?? error.message.split('. ', 1)[0]).replace(/\.$/, '')
}
