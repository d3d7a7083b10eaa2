/** A key and the objects that it signs, for tests. @module */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { encodeTBSCertificate, type TBSCertificateFields } from './certificate.ts'
import { type Extension, extensionWith } from './extensions/extension.ts'
import { authorityKeyIdentifier } from './extensions/authority-key-identifier.ts'
import { basicConstraints } from './extensions/basic-constraints.ts'
import { keyUsage } from './extensions/key-usage.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from './extensions/subject-key-identifier.ts'
import { encodeName, nameOf } from './name.ts'
import { encodeSigned, signatureIdentifier, type SignatureMaker } from './signed.ts'

export interface TestKey {
  readonly privateKey: KeyObject
  readonly publicKey: PublicKey
  readonly spki: Uint8Array
  readonly signer: SignatureMaker
}

export function makeKey(): TestKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const signer: SignatureMaker = { signatureAlgorithm: 'ecdsa-sha256', sign: (message) => sign('sha256', message, privateKey) }
  return { privateKey, publicKey: importPublicKey(spki), spki, signer }
}

export const TEST_NOT_BEFORE = new Date('2026-01-01T00:00:00Z')
export const TEST_NOT_AFTER = new Date('2056-01-01T00:00:00Z')

export async function makeCertificate(key: TestKey, fields: Partial<TBSCertificateFields> = {}): Promise<Uint8Array> {
  const name = encodeName(nameOf([{ type: 'CN', value: 'Test' }]))
  const signatureAlgorithm = signatureIdentifier(key.signer.signatureAlgorithm)
  const tbs = encodeTBSCertificate({
    serialNumber: Uint8Array.of(0x2a),
    signatureAlgorithm,
    issuer: name,
    validity: { notBefore: TEST_NOT_BEFORE, notAfter: TEST_NOT_AFTER },
    subject: name,
    subjectPublicKeyInfo: key.spki,
    extensions: [],
    ...fields,
  })
  return encodeSigned(tbs, signatureAlgorithm, await key.signer.sign(tbs))
}

/** What a root has. */
export function rootExtensions({ publicKey: { subjectPublicKey } }: TestKey): readonly Extension[] {
  const keyIdentifier = keyIdentifierOf(subjectPublicKey)
  return [
    extensionWith(basicConstraints, { cA: true }, true),
    extensionWith(keyUsage, ['digitalSignature', 'keyCertSign', 'cRLSign']),
    extensionWith(subjectKeyIdentifier, keyIdentifier),
    extensionWith(authorityKeyIdentifier, { keyIdentifier }),
  ]
}
