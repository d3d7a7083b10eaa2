/**
 * What makes a signer a time-stamping authority: its terms, and a certificate that is for nothing else.
 *
 * Source: RFC 3161, 2.3 (the key is for time stamps only, and the certificate says so, critically) and 2.4.2.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { readExtension } from '#x509/extensions/extension.ts'
import { extKeyUsage, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import type { SignerKey, SignerTerms } from '../signer.ts'

/** The word that stands among a signer's formats. */
export const TIME_STAMP_FORMAT = 'rfc3161'

/** @throws TrustError `policyRefused` for terms that go with artifacts, or with time stamps, but not both */
export function checkTimeStampTerms({ formats, timeStamps, ...terms }: SignerTerms): void {
  const isAuthority = formats.includes(TIME_STAMP_FORMAT)
  if (isAuthority !== (timeStamps !== undefined) || (isAuthority && formats.length > 1))
    throw new TrustError('policyRefused', 'timeStampFormat')
  if (!isAuthority) return
  const names = { approval: 'approvals', timeStamping: 'time stamps of another', sizeMaxOctets: 'a largest artifact' } as const
  for (const [term, words] of Object.entries(names))
    if (terms[term as keyof typeof names] !== undefined)
      throw new TrustError('policyRefused', 'timeStampTerms', { facts: { terms: words } })
}

/** Key usages that a time-stamping authority may have (RFC 5280, 4.2.1.12). */
const USAGES: ReadonlySet<string> = new Set(['digitalSignature', 'nonRepudiation'])

/** @throws TrustError `policyRefused` */
export function checkTimeStampKey({ chain: [own] }: Pick<SignerKey, 'chain'>): void {
  if (own === undefined) throw refused('there is none')
  const { extensions } = parseCertificate(own)
  const purposes = readExtension(extensions, extKeyUsage)
  if (
    purposes === undefined ||
    !purposes.critical ||
    purposes.value.length !== 1 ||
    purposes.value[0] !== keyPurposes.timeStamping
  )
    throw refused('its extended key usage is not timeStamping alone, and critical')
  const usages = readExtension(extensions, keyUsage)
  if (usages !== undefined && !usages.value.every((usage) => USAGES.has(usage)))
    throw refused('its key is for more than signatures')
}

const refused = (detail: string): TrustError => new TrustError('policyRefused', 'timeStampCertificate', { facts: { detail } })
