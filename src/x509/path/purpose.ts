/**
 * What a certificate is wanted for, in words that people use, and whether it is for that.
 *
 * Source: RFC 5280, 4.2.1.3 and 4.2.1.12; RFC 3161, 2.3 (time stamping alone and critical).
 *
 * @module
 */
import { extKeyUsage, type KeyPurpose, keyPurposes } from '../extensions/extended-key-usage.ts'
import type { KeyUsageBit } from '../extensions/key-usage.ts'
import { checkKeyUsage } from './check.ts'
import type { Link } from './link.ts'
import type { Purpose } from './purpose-names.ts'
import { PathRefusal } from './reasons.ts'

interface PurposeRow {
  readonly keyPurpose: KeyPurpose
  readonly usages: readonly [KeyUsageBit, ...KeyUsageBit[]]
  readonly words: string
}

const purposes = {
  'tls-server': {
    keyPurpose: 'serverAuth',
    usages: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
    words: 'TLS servers',
  },
  'tls-client': { keyPurpose: 'clientAuth', usages: ['digitalSignature', 'keyAgreement'], words: 'TLS clients' },
  'code-signing': { keyPurpose: 'codeSigning', usages: ['digitalSignature'], words: 'signing code' },
  email: {
    keyPurpose: 'emailProtection',
    usages: ['digitalSignature', 'nonRepudiation', 'keyEncipherment', 'keyAgreement'],
    words: 'mail',
  },
  'time-stamping': { keyPurpose: 'timeStamping', usages: ['digitalSignature', 'nonRepudiation'], words: 'time stamps' },
  'ocsp-signing': { keyPurpose: 'OCSPSigning', usages: ['digitalSignature', 'nonRepudiation'], words: 'OCSP answers' },
  ike: { keyPurpose: 'ipsecIKE', usages: ['digitalSignature', 'nonRepudiation'], words: 'IPsec' },
  'document-signing': {
    keyPurpose: 'documentSigning',
    usages: ['digitalSignature', 'nonRepudiation'],
    words: 'signing documents',
  },
} as const satisfies Record<Purpose, PurposeRow>

/**
 * The purposes of an authority bound those of what it issues, as the large verifiers have it; RFC 5280 leaves that open.
 * An anchor's own are not looked at: who trusts it decided what for.
 *
 * @param path anchor first @throws PathRefusal
 */
export function checkPurpose(path: readonly Link[], purpose: Purpose): void {
  const { keyPurpose, usages, words }: PurposeRow = purposes[purpose]
  const target = path.at(-1) as Link
  for (const link of path.length === 1 ? path : path.slice(1)) {
    const given = link.extension(extKeyUsage)
    if (given !== undefined && !given.includes(keyPurposes[keyPurpose]) && !given.includes(keyPurposes.anyExtendedKeyUsage))
      throw new PathRefusal('pathPurpose', link.label, { purpose: words })
  }
  checkKeyUsage(target, ...usages)
  if (purpose === 'time-stamping') {
    const found = target.certificate.extensions.find(({ extnID }) => extnID === extKeyUsage.oid)
    const only = target.extension(extKeyUsage)
    if (found?.critical !== true || only?.length !== 1)
      throw new PathRefusal('pathPurpose', target.label, { purpose: `${words} alone, marked critical` }, 'RFC 3161, 2.3')
  }
}
