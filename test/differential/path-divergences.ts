/**
 * Where OpenSSL (3.0, Debian 12) and GnuTLS (3.7) judge a path of PKITS otherwise than we do. NIST's own result stands
 * beside each; what differs otherwise, or no longer, fails the test.
 *
 * @module
 */
const COMPARISON = 'valid says NIST; GnuTLS compares names octet by octet (RFC 5280, 7.1 ignores case and width of spaces)'
const DIRECTORY = 'GnuTLS compares limits on directory names not level by level, or not at all; ours is as NIST has it'
const SELF_ISSUED = 'valid says NIST; GnuTLS counts self-issued certificates into the length of the path'

export const openSSLDiffers: Readonly<Record<string, string>> = {
  '4.1.4 Valid DSA Signatures Test4': 'valid says NIST and OpenSSL; DSA is not in our table of algorithms',
  '4.14.30 Valid cRLIssuer Test30':
    'valid says NIST; OpenSSL does not let the signer of an indirect list tell its own state, as the authority above appointed it to',
}

export const gnuTLSDiffers: Readonly<Record<string, string>> = {
  '4.3.3 Valid Name Chaining Whitespace Test3': COMPARISON,
  '4.3.4 Valid Name Chaining Whitespace Test4': COMPARISON,
  '4.3.5 Valid Name Chaining Capitalization Test5': COMPARISON,
  '4.3.11 Valid UTF8String Case Insensitive Match Test11': COMPARISON,
  '4.6.15 Valid Self-Issued pathLenConstraint Test15': SELF_ISSUED,
  '4.6.17 Valid Self-Issued pathLenConstraint Test17': SELF_ISSUED,
  '4.13.2 Invalid DN nameConstraints Test2': DIRECTORY,
  '4.13.3 Invalid DN nameConstraints Test3': DIRECTORY,
  '4.13.6 Valid DN nameConstraints Test6': DIRECTORY,
  '4.13.11 Valid DN nameConstraints Test11': DIRECTORY,
  '4.13.12 Invalid DN nameConstraints Test12': DIRECTORY,
  '4.13.13 Invalid DN nameConstraints Test13': DIRECTORY,
  '4.13.18 Valid DN nameConstraints Test18': DIRECTORY,
  '4.13.20 Invalid Self-Issued DN nameConstraints Test20': DIRECTORY,
  '4.13.35 Invalid URI nameConstraints Test35': 'invalid says NIST; GnuTLS does not compare limits on URIs as NIST has it',
  '4.13.36 Valid URI nameConstraints Test36': 'valid says NIST; GnuTLS does not compare limits on URIs as NIST has it',
}
