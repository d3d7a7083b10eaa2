/**
 * Who can open a backup: recovery recipients by their certificates, and the recovery key in its file.
 *
 * A recipient is a certificate because CMS names recipients by theirs. Nobody judges who signed it: what counts is which
 * file the administrator named. So the certificate of a recovery key made here is signed by a key that is then forgotten,
 * which also gives keys one that cannot sign, such as X25519 and ML-KEM.
 *
 * @module
 */
import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import { utf8 } from '#base/bytes.ts'
import type { World } from '#base/world.ts'
import type { Opener } from '#cms/decrypt.ts'
import type { Recipient } from '#cms/encrypt.ts'
import { openerKey } from '#cms/key-objects.ts'
import { checkUsage, importRecipientKey } from '#cms/recipient-keys.ts'
import { encodeTBSCertificate, parseCertificate } from '#x509/certificate.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'

/** @param pem certificates, at least one @throws TrustError `malformed`, `unsupported` or `policyRefused` for a key that opens nothing */
export function parseRecipients(pem: string): readonly Recipient[] {
  const certificates = parsePEM(pem).filter(({ label }) => label === 'CERTIFICATE')
  if (certificates.length === 0) throw new TrustError('malformed', 'recoveryCertificate')
  return certificates.map(({ der }) => {
    const certificate = parseCertificate(der)
    checkUsage(certificate, importRecipientKey(certificate.subjectPublicKeyInfo))
    return { type: 'certificate', certificate: der }
  })
}

/** @param pem a private key and the certificate that belongs to it, as `makeRecoveryKey` writes them @throws TrustError `malformed`, `unsupported` */
export function parseRecoveryKey(pem: Secret): Opener {
  const text = Buffer.from(pem.reveal('open a backup')).toString()
  const blocks = parsePEM(text)
  const certificate = blocks.find(({ label }) => label === 'CERTIFICATE')
  const key = blocks.find(({ label }) => label === 'PRIVATE KEY')
  if (certificate === undefined || key === undefined) throw new TrustError('malformed', 'recoveryKey')
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey({ key: Buffer.from(key.der), format: 'der', type: 'pkcs8' })
  } catch {
    throw new TrustError('malformed', 'recoveryKey') // without a cause, which might quote it
  }
  return { type: 'privateKey', certificate: certificate.der, key: openerKey(privateKey) }
}

export const recoveryAlgorithms = ['x25519', 'p256', 'ml-kem-768', 'ml-kem-1024'] as const
export type RecoveryAlgorithm = (typeof recoveryAlgorithms)[number]

export interface RecoveryKey {
  /** PEM, for the setting `backup.recipients`. Not secret. */
  readonly certificate: string
  /** PEM: the private key with its certificate. */
  readonly key: Secret
}

/** As long as backups of an installation may lie in a safe. It is not looked at when a backup is made. */
const VALIDITY_YEARS = 30
const YEAR_MILLISECONDS = 365.25 * 86_400_000
const SERIAL_OCTETS = 16

/** @param name says whose it is, in the certificate */
export async function makeRecoveryKey(
  { algorithm, name }: { readonly algorithm: RecoveryAlgorithm; readonly name: string },
  { clock, random }: Pick<World, 'clock' | 'random'>,
): Promise<RecoveryKey> {
  const { privateKey, publicKey } = await makePair(algorithm)
  const signing = await generateKey('ecdsa-p256')
  const subject = encodeName(nameOf([{ type: 'CN', value: name }]))
  const serialNumber = new Uint8Array(random.octets(SERIAL_OCTETS))
  serialNumber[0] = ((serialNumber[0] ?? 0) & 0x3f) | 0x40 // positive, and of full length
  const now = Math.floor(clock.now() / 1000) * 1000
  const usage = algorithm.startsWith('ml-kem') ? 'keyEncipherment' : 'keyAgreement'
  const identifier = signatureIdentifier('ecdsa-sha256')
  const tbs = encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm: identifier,
    issuer: subject,
    validity: { notBefore: new Date(now), notAfter: new Date(now + VALIDITY_YEARS * YEAR_MILLISECONDS) },
    subject,
    subjectPublicKeyInfo: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    extensions: [encodeExtension(keyUsage, [usage], true)],
  })
  const signature = await signMessage(tbs, signatureAlgorithm('ecdsa-sha256'), signing.privateKey, false)
  const certificate = encodePEM('CERTIFICATE', encodeSigned(tbs, identifier, signature))
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
  return { certificate, key: secret(utf8(`${pem}${certificate}`)) }
}

const pair = promisify(generateKeyPair)

const makePair = (algorithm: RecoveryAlgorithm): Promise<{ readonly privateKey: KeyObject; readonly publicKey: KeyObject }> => {
  switch (algorithm) {
    case 'x25519':
      return pair('x25519')
    case 'p256':
      return pair('ec', { namedCurve: 'P-256' })
    case 'ml-kem-768':
    case 'ml-kem-1024':
      return pair(algorithm)
  }
}
