/**
 * Where our readers and python-cryptography's (38, Debian 12) differ, and why that is meant. What differs otherwise
 * fails the test.
 *
 * @module
 */
import type { Kind } from './oracle.ts'

export interface Divergence {
  /** Only for these kinds of object. */
  readonly kinds?: readonly Kind[]
  /** Found in the error of the side that refuses. */
  readonly error: RegExp
  readonly why: string
}

/** We take it, they do not. None of these is a question of DER. */
export const weAccept: readonly Divergence[] = [
  {
    error:
      /^KeyError: \d+$|^ValueError: Long-form tags are not supported in NameAttribute values$|must be (XN|X500)_UNIQUE_IDENTIFIER for BitString/,
    why: 'an AttributeValue may be of any type (X.501, 8.2); they know strings only. Ours is kept as DER and shown in hex',
  },
  {
    error: /InvalidValue(, location: \["(subject|issuer)"\])? \}$/,
    why: 'an attribute value of a type that is no string, which they read as UTF-8',
  },
  {
    error:
      /InvalidValue, location: .*("\w+::(type_id|extn_id|oid|_algorithm|policy_identifier|access_method|policy_qualifier_id)"|"(GeneralName::RegisteredID|PolicyMapping)"|\d+)\] \}$/,
    why: 'their arcs of object identifiers end at 32 bits; ours take 128, for 2.25 (X.667)',
  },
  {
    error: /InvalidValue, location: .*(authority_cert_serial_number|user_certificate|serial)"\]/,
    why: 'CertificateSerialNumber ::= INTEGER; RFC 5280, 4.1.2.2 asks those who read to handle negative ones',
  },
  {
    error: /PolicyQualifierInfo::qualifier|(CpsUri|UserNotice) ASN.1 structure found but OID did not match/,
    why: 'a qualifier is ANY DEFINED BY its identifier; ours is kept as DER, also for identifiers unknown here',
  },
  {
    error:
      /does not appear to be an IPv4 or IPv6 address|IPAddress name constraints must be|Invalid IPNetwork|has host bits set|Invalid netmask/,
    why: 'the length of an address is the business of those who compare it; ours are kept as octets until then',
  },
  { error: /\w+\/EDIPartyName are not supported types/, why: 'kept as DER, since nobody compares them' },
  {
    error: /must both be present or both None|must not be None|Cannot create empty extension|path_length must be None/,
    why: 'rules for those who issue (RFC 5280, 4.2.1.1, 4.2.1.9 to 4.2.1.11, 5.2.5), which our linter holds',
  },
  { error: /year 0 is out of range/, why: 'Python has no year 0' },
]

/** They take it, we do not: being stricter is the aim, so these say which rule. */
export const theyAccept: readonly Divergence[] = [
  { error: /two signature algorithms differ/, why: 'RFC 5280, 4.1.1.2 and 5.1.1.2; they look when asked to verify' },
  { error: /it has extensions and is |unique identifier and is version 1/, why: 'RFC 5280, 4.1.2.8, 4.1.2.9 and 5.1.2.1' },
  { error: /list of entries is present and empty/, why: 'RFC 5280, 5.1.2.6' },
  { error: /is there more than once|does not have one value/, why: 'RFC 2985, 5.4: SINGLE VALUE' },
  { error: /no alternative of challengePassword/, why: 'they keep attributes as octets' },
  {
    error: /has more than \d+ items|nests deeper than|than any in use|bytes allowed here/,
    why: 'limits of ours on what a stranger can make us hold',
  },
  { error: /has fewer than 1 items/, why: 'SIZE (1..MAX)' },
  {
    error: /has a character that it may not have|is not UTF-8|part of a character|half a character|surrogate|no such character/,
    why: 'alphabets of string types; they look at some, or when asked',
  },
  { error: /a BIT STRING of octets has unused bits/, why: 'keys and signatures are whole octets' },
  { error: /ends with zero bits|sets a bit that has no name/, why: 'X.690 11.2.2; closed lists of bits' },
  { error: /out of its range/, why: 'a path length or a count above 2^31' },
  {
    error: /^malformed badExtension (policyMappings|subjectInfoAccess|issuerAltName)/,
    why: 'a type of extension that they do not read',
  },
  {
    kinds: ['certificate-list'],
    error: /^malformed badExtension /,
    why: 'an extension of certificates or of entries at the wrong place of a list, where they do not read it',
  },
  {
    kinds: ['certificate', 'certification-request'],
    error:
      /^malformed badExtension (cRLNumber|deltaCRLIndicator|issuingDistributionPoint|cRLReasons|invalidityDate|certificateIssuer)/,
    why: 'an extension of lists in a certificate, where they do not read it',
  },
  {
    error:
      /in pieces|tag that it may not have|tag number|no usable length|cut short|shortest form|indefinite|runs past its container|no octets|neither 00 nor FF|unused bits|has unknown content|exceeds 32 bits|a length is missing|ascending order|written to the second|something else than digits|no point in time|in its DER form|an element is missing|how many bits are unused/,
    why: 'not DER, in a place that they keep as octets (parameters, attribute values, other names) and we read to the end',
  },
]

/** GnuTLS refuses arcs of object identifiers that no 64-bit number holds; the mutations make this one. */
export const LARGE_ARC = '8f8f8f8f8f8f8f8f8f01'
