/**
 * What RFC 5280 asks of those who issue, beside the path rules: a certificate that breaks one of these came from
 * careless or old software, or was made to confuse. Asked for by strict verification.
 *
 * Source: RFC 5280, 4.1 and 4.2; the section stands beside each rule.
 *
 * @module
 */
import { authorityInfoAccess, subjectInfoAccess } from '../extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import { basicConstraints } from '../extensions/basic-constraints.ts'
import { inhibitAnyPolicy, policyConstraints } from '../extensions/certificate-policies.ts'
import { crlDistributionPoints } from '../extensions/crl-distribution-points.ts'
import type { ExtensionType } from '../extensions/extension.ts'
import { keyUsage } from '../extensions/key-usage.ts'
import { nameConstraints } from '../extensions/name-constraints.ts'
import { knownExtension } from '../extensions/registry.ts'
import { subjectAltName } from '../extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '../extensions/subject-key-identifier.ts'
import type { Link } from './link.ts'
import { isHostPattern } from './name-spaces.ts'
import { PathRefusal } from './reasons.ts'

interface Rule {
  readonly section: string
  readonly rule: string
  breaks(link: Link, place: Place): boolean
}

interface Place {
  readonly isAnchor: boolean
  /** The one above, and of a root itself; an anchor may have one that is not at hand. */
  readonly issuer: Link | undefined
}

const criticalIn = ({ certificate: { extensions } }: Link, { oid }: Pick<ExtensionType<unknown>, 'oid'>): boolean | undefined =>
  extensions.find(({ extnID }) => extnID === oid)?.critical
const isAuthority = (link: Link): boolean => link.extension(basicConstraints)?.cA === true
const isEmptyName = (der: Uint8Array): boolean => der.length === 2
const SERIAL_NUMBER_MAX_OCTETS = 20

/** Exported for its test, which breaks each. */
export const profileRules: readonly Rule[] = [
  {
    section: 'RFC 5280, 4.1.2.2',
    rule: 'a serial number is positive and has at most 20 octets',
    breaks({ certificate: { serialNumber } }, { isAnchor }) {
      const [first = 0x80] = serialNumber
      const isZero = serialNumber.every((octet) => octet === 0)
      return first >= 0x80 || (isZero && !isAnchor) || serialNumber.length > SERIAL_NUMBER_MAX_OCTETS // many old roots have zero
    },
  },
  {
    section: 'RFC 5280, 4.1.2.4',
    rule: 'an issuer has a name',
    breaks: ({ certificate }) => isEmptyName(certificate.issuer),
  },
  {
    section: 'RFC 5280, 4.1.2.6',
    rule: 'an authority has a name',
    breaks: (link) => isEmptyName(link.certificate.subject) && isAuthority(link),
  },
  {
    section: 'RFC 5280, 4.1.2.6',
    rule: 'a certificate without a subject has a critical subjectAltName',
    breaks: (link) => isEmptyName(link.certificate.subject) && criticalIn(link, subjectAltName) !== true,
  },
  {
    section: 'RFC 5280, 4.2.1.1',
    rule: 'authorityKeyIdentifier is there and names a key',
    breaks(link) {
      const identifier = link.extension(authorityKeyIdentifier)
      return identifier === undefined ? !link.isSelfIssued : identifier.keyIdentifier === undefined
    },
  },
  {
    section: 'RFC 5280, 4.2.1.1',
    rule: 'authorityKeyIdentifier is not critical',
    breaks: (link) => criticalIn(link, authorityKeyIdentifier) === true,
  },
  {
    section: 'RFC 5280, A.2',
    rule: 'authorityKeyIdentifier names both issuer and serial number, or neither',
    breaks(link) {
      const { authorityCertIssuer, authorityCertSerialNumber } = link.extension(authorityKeyIdentifier) ?? {}
      return (authorityCertIssuer === undefined) !== (authorityCertSerialNumber === undefined)
    },
  },
  {
    section: 'RFC 5280, 4.2.1.2',
    rule: 'authorityKeyIdentifier is the subjectKeyIdentifier of the issuer',
    breaks: ({ issuerKeyIdentifier = '' }, { issuer }) =>
      issuerKeyIdentifier !== '' && issuer?.keyIdentifier !== undefined && issuerKeyIdentifier !== issuer.keyIdentifier,
  },
  {
    section: 'RFC 5280, 4.2.1.2',
    rule: 'an authority has a subjectKeyIdentifier',
    breaks: (link) => isAuthority(link) && link.extension(subjectKeyIdentifier) === undefined,
  },
  {
    section: 'RFC 5280, 4.2.1.2',
    rule: 'subjectKeyIdentifier is not critical',
    breaks: (link) => criticalIn(link, subjectKeyIdentifier) === true,
  },
  {
    section: 'RFC 5280, 4.2.1.3',
    rule: 'keyUsage sets at least one bit',
    breaks: (link) => link.extension(keyUsage)?.length === 0,
  },
  {
    section: 'RFC 5280, 4.2.1.3',
    rule: 'only authorities have the key usage keyCertSign',
    breaks: (link) => link.extension(keyUsage)?.includes('keyCertSign') === true && !isAuthority(link),
  },
  {
    section: 'RFC 5280, 4.2.1.6',
    rule: 'host names in subjectAltName are host names',
    breaks: (link) =>
      link.extension(subjectAltName)?.some(({ type, value }) => type === 'dNSName' && !isHostPattern(value.toLowerCase())) ===
      true,
  },
  {
    section: 'RFC 5280, 4.2.1.6',
    rule: 'mail addresses in subjectAltName have one @ and a host',
    breaks: (link) =>
      link
        .extension(subjectAltName)
        ?.some(({ type, value }) => type === 'rfc822Name' && !/^[^@\s<>]+@[a-z0-9.-]+$/i.test(value)) === true,
  },
  {
    section: 'RFC 5280, 4.2.1.6',
    rule: 'addresses in subjectAltName have 4 or 16 octets',
    breaks: (link) =>
      link
        .extension(subjectAltName)
        ?.some(({ type, value }) => type === 'iPAddress' && value.length !== 4 && value.length !== 16) === true,
  },
  {
    section: 'RFC 5280, 4.2.1.9',
    rule: 'basicConstraints of a root is critical',
    // of the authorities below too, says the RFC; PKITS 4.6.4 has one that verifiers must accept
    breaks: (link, { isAnchor }) => isAnchor && isAuthority(link) && criticalIn(link, basicConstraints) !== true,
  },
  {
    section: 'RFC 5280, 4.2.1.9',
    rule: 'pathLenConstraint stands only beside cA and keyCertSign',
    breaks(link) {
      const { cA, pathLenConstraint } = link.extension(basicConstraints) ?? {}
      return pathLenConstraint !== undefined && (cA !== true || link.extension(keyUsage)?.includes('keyCertSign') === false)
    },
  },
  {
    section: 'RFC 5280, 4.2.1.10',
    rule: 'nameConstraints is critical and only in authorities',
    breaks: (link) =>
      criticalIn(link, nameConstraints) === false || (criticalIn(link, nameConstraints) === true && !isAuthority(link)),
  },
  {
    section: 'RFC 5280, 4.2.1.10',
    rule: 'nameConstraints has at least one subtree, with limits written as the name form asks',
    breaks(link) {
      const { permittedSubtrees, excludedSubtrees } = link.extension(nameConstraints) ?? { permittedSubtrees: [] }
      return (
        (permittedSubtrees ?? excludedSubtrees) === undefined ||
        [...(permittedSubtrees ?? []), ...(excludedSubtrees ?? [])].some(
          ({ base: { type, value } }) => type === 'dNSName' && value.startsWith('.'),
        )
      )
    },
  },
  {
    section: 'RFC 5280, 4.2.1.11',
    rule: 'policyConstraints says something',
    // and is critical, says the RFC; in PKITS 4.8 to 4.12 it is not, and verifiers must accept that
    breaks(link) {
      const value = link.extension(policyConstraints)
      return value !== undefined && Object.values(value).every((one) => one === undefined)
    },
  },
  {
    section: 'RFC 5280, 4.2.1.14',
    rule: 'inhibitAnyPolicy is critical',
    breaks: (link) => criticalIn(link, inhibitAnyPolicy) === false,
  },
  {
    section: 'RFC 5280, 4.2.1.13',
    rule: 'a distribution point has more than reasons',
    breaks: (link) =>
      link
        .extension(crlDistributionPoints)
        ?.some(({ distributionPoint, cRLIssuer }) => (distributionPoint ?? cRLIssuer) === undefined) === true,
  },
  {
    section: 'RFC 5280, 4.2.2.1',
    rule: 'authorityInfoAccess and subjectInfoAccess are not critical',
    breaks: (link) => criticalIn(link, authorityInfoAccess) === true || criticalIn(link, subjectInfoAccess) === true,
  },
]

/** @param path anchor first @throws PathRefusal for the first rule that is broken */
export function checkProfile(path: readonly Link[]): void {
  path.forEach((link, i) => {
    for (const { extnID } of link.certificate.extensions) {
      const type = knownExtension(extnID)
      if (type !== undefined) link.extension(type) // what is known can be read, whether a rule asks for it or not
    }
    const place = { isAnchor: i === 0, issuer: path[i - 1] ?? (link.isSelfIssued ? link : undefined) }
    for (const { section, rule, breaks } of profileRules) {
      if (breaks(link, place)) throw new PathRefusal('pathProfile', link.label, { rule }, section)
    }
  })
  path.at(-1)?.key() // those above were used already
}
