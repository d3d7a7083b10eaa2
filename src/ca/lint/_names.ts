/** What several rules ask about the subject: found once for each certificate. @module */
import { type Name, type NameFinding, nameFindings, parseName } from '#x509/name.ts'
import type { TBSCertificate } from '#x509/certificate.ts'

interface Read {
  readonly name: Name
  readonly findings: readonly NameFinding[]
}
const known = new WeakMap<TBSCertificate, Read>()

export function subjectOf(certificate: TBSCertificate): Read {
  const before = known.get(certificate)
  if (before !== undefined) return before
  const name = parseName(certificate.subject)
  const read = { name, findings: nameFindings(name) }
  known.set(certificate, read)
  return read
}

/** @returns the first finding of a kind, in words */
export const findingOf = (certificate: TBSCertificate, kind: NameFinding['kind']): string | undefined =>
  subjectOf(certificate).findings.find((one) => one.kind === kind)?.detail
