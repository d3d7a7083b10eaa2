/**
 * Endorsement certificates: a maker's word that a key lives in a TPM of theirs.
 *
 * Source: TCG EK Credential Profile for TPM Family 2.0, version 2.5, 3.2 (endorsement certificates) and 2.2.1
 * (attributes of the key).
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { keyAlgorithm } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Certificate, extensionOf, parseCertificate } from '#x509/certificate.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { attributeOf } from '#x509/name.ts'
import { verifyCertificate, type VerifyInput } from '#x509/path/verify.ts'
import { subjectPublicKeyInfoOf } from './public-key.ts'
import type { TPMT_PUBLIC } from './structures.ts'

/** tcg-kp-EKCertificate */
const EK_CERTIFICATE = '2.23.133.8.1'
const TPM_MANUFACTURER = '2.23.133.2.1'
const TPM_MODEL = '2.23.133.2.2'
const TPM_VERSION = '2.23.133.2.3'

/** What a maker says of a TPM. */
export interface Endorsement {
  readonly certificate: Certificate
  readonly publicKey: PublicKey
  /** `id:` and eight hexadecimal digits, which are four letters of the registry of vendors. */
  readonly tpmManufacturer: string
  readonly tpmModel: string
  readonly tpmVersion: string
}

/**
 * Reads an endorsement certificate and holds it to its profile. Says nothing of who issued it.
 *
 * @throws TrustError `policyRefused`, `malformed`, `unsupported`
 */
export function parseEndorsementCertificate(der: Uint8Array): Endorsement {
  const certificate = parseCertificate(der)
  if (certificate.version !== 3) throw notEndorsement('it is not version 3')
  if (extensionOf(certificate, basicConstraints)?.value.cA === true) throw notEndorsement('it is an authority')
  if (!(extensionOf(certificate, extKeyUsage)?.value ?? []).includes(EK_CERTIFICATE))
    throw notEndorsement(`its extKeyUsage does not have ${EK_CERTIFICATE}`)
  const publicKey = importPublicKey(certificate.subjectPublicKeyInfo)
  const usage = keyAlgorithm(publicKey.algorithm).family === 'rsa' ? 'keyEncipherment' : 'keyAgreement'
  if (extensionOf(certificate, keyUsage)?.value.includes(usage) !== true) throw notEndorsement(`its keyUsage is not ${usage}`)
  const directoryNames = (extensionOf(certificate, subjectAltName)?.value ?? []).flatMap((name) =>
    name.type === 'directoryName' ? [name.value] : [],
  )
  const said = (type: string, what: string): string => {
    const values = directoryNames.flatMap((name) => attributeOf(name, type) ?? [])
    const [value] = values
    if (value === undefined || values.length > 1) throw notEndorsement(`its subjectAltName does not name one ${what}`)
    return value
  }
  return {
    certificate,
    publicKey,
    tpmManufacturer: said(TPM_MANUFACTURER, 'tpmManufacturer'),
    tpmModel: said(TPM_MODEL, 'tpmModel'),
    tpmVersion: said(TPM_VERSION, 'tpmVersion'),
  }
}

const notEndorsement = (detail: string): TrustError =>
  new TrustError('policyRefused', 'endorsementCertificate', { facts: { detail } })

/** Which makers of TPMs are believed, and what they took back. */
export type EndorsementTrust = Pick<VerifyInput, 'anchors' | 'revocation'>

/**
 * An endorsement certificate of a maker who is trusted.
 *
 * @throws TrustError `policyRefused` when there is no path to an anchor, as {@link parseEndorsementCertificate} does
 */
export async function checkEndorsementCertificate(
  der: Uint8Array,
  rules: Omit<VerifyInput, 'certificate'>,
): Promise<Endorsement> {
  const endorsement = parseEndorsementCertificate(der)
  const verdict = await verifyCertificate({ ...rules, certificate: endorsement.certificate })
  if (!verdict.valid) {
    const { reason, subject } = verdict.failure
    throw new TrustError('policyRefused', 'endorsementUntrusted', { facts: { detail: `${reason}: ${subject}` } })
  }
  return endorsement
}

/**
 * Whether a public area is that of the certified key, and a storage key that only its TPM has. The area is the device's
 * word for what the certificate does not say: which hash and which cipher the key protects secrets with. A wrong word
 * makes a challenge that nobody can read.
 *
 * @throws TrustError `badProof` for another key, `policyRefused` for other attributes
 */
export function checkEndorsementKey(publicArea: TPMT_PUBLIC, { publicKey }: Pick<Endorsement, 'publicKey'>): void {
  if (!equal(subjectPublicKeyInfoOf(publicArea), publicKey.spki)) throw new TrustError('badProof', 'endorsementKeyOther')
  const { objectAttributes } = publicArea
  for (const needed of ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'decrypt'] as const)
    if (!objectAttributes.includes(needed)) throw notEndorsement(`the key's ${needed} is clear`)
  if (objectAttributes.includes('sign')) throw notEndorsement("the key's sign is set")
}
