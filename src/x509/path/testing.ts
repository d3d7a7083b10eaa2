/** Small hierarchies for the tests of this folder. @module */
import { basicConstraints } from '../extensions/basic-constraints.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import { type Extension, extensionWith } from '../extensions/extension.ts'
import { keyUsage } from '../extensions/key-usage.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '../extensions/subject-key-identifier.ts'
import { encodeName, nameOf } from '../name.ts'
import { makeCertificate, makeKey, type TestKey } from '../testing.ts'

export const AT = new Date('2030-01-01T00:00:00Z')

export interface Party {
  /** CN. */
  readonly name: string
  readonly key: TestKey
}

export const party = (name: string): Party => ({ name, key: makeKey() })
export const derName = (CN: string): Uint8Array => encodeName(nameOf([{ type: 'CN', value: CN }]))

export interface Certifying {
  readonly isAuthority?: boolean
  readonly pathLenConstraint?: number
  /** Beside or in the place of the usual ones. */
  readonly extensions?: readonly Extension[]
  readonly serialNumber?: number | Uint8Array
  readonly subject?: Uint8Array
  readonly notAfter?: Date
}

/** @returns DER, signed by `issuer` */
export function certify(issuer: Party, holder: Party, given: Certifying = {}): Promise<Uint8Array> {
  const { isAuthority = false, pathLenConstraint, extensions = [], serialNumber = 7, notAfter } = given
  const usual = [
    extensionWith(subjectKeyIdentifier, keyIdentifierOf(holder.key.publicKey.subjectPublicKey)),
    extensionWith(authorityKeyIdentifier, { keyIdentifier: keyIdentifierOf(issuer.key.publicKey.subjectPublicKey) }),
    ...(isAuthority
      ? [
          extensionWith(basicConstraints, { cA: true, ...(pathLenConstraint !== undefined && { pathLenConstraint }) }, true),
          extensionWith(keyUsage, ['keyCertSign', 'cRLSign']),
        ]
      : []),
  ].filter((one) => !extensions.some(({ extnID }) => extnID === one.extnID))
  return makeCertificate(issuer.key, {
    issuer: derName(issuer.name),
    subject: given.subject ?? derName(holder.name),
    subjectPublicKeyInfo: holder.key.spki,
    serialNumber: typeof serialNumber === 'number' ? Uint8Array.of(serialNumber) : serialNumber,
    extensions: [...usual, ...extensions],
    ...(notAfter !== undefined && { validity: { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter } }),
  })
}
