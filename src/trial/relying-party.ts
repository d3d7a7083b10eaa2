/**
 * The one who is shown a certificate and has to decide: checks by signature, asks whether it still holds.
 *
 * Believes nothing but the authority's certificate, which it was given by hand.
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import type { World } from '#base/world.ts'
import { ocspClient } from '#protocols/ocsp/client.ts'
import { repositoryClient } from '#protocols/repository/client.ts'
import { type Certificate, extensionOf, parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { type CertificateList, extensionOfList, parseCertificateList, verifyListSignature } from '#x509/crl.ts'
import { accessMethods, authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { crlDistributionPoints } from '#x509/extensions/crl-distribution-points.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { formatName, parseName } from '#x509/name.ts'
import { type CertStatus, encodeCertID, encodeOCSPRequest, issuerHashes, verifyResponseSignature } from '#x509/ocsp.ts'
import { must, present } from './story.ts'

/** An authority as a relying party knows it. */
export interface KnownAuthority {
  /** `slug.generation` */
  readonly address: string
  readonly certificate: Certificate
  readonly publicKey: PublicKey
  /** From this authority up to its root. DER */
  readonly chain: readonly Uint8Array[]
}

export const knownAuthority = (address: string, chain: readonly Uint8Array[]): KnownAuthority => {
  const certificate = parseCertificate(present(chain[0], `${address} has no certificate`))
  return { address, certificate, publicKey: importPublicKey(certificate.subjectPublicKeyInfo), chain }
}

export interface Expected {
  readonly issuer: KnownAuthority
  /** DER SubjectPublicKeyInfo of the key that the holder has. */
  readonly publicKey: Uint8Array
  /** RFC 4514 text that stands in the subject. */
  readonly subject: string
}

/** @throws NotAsExpected unless this authority signed it, for this key and this subject */
export async function checkCertificate(der: Uint8Array, { issuer, publicKey, subject }: Expected): Promise<Certificate> {
  const certificate = parseCertificate(der)
  const name = formatName(parseName(certificate.subject))
  must(name === subject, `the certificate is for ${name} instead of ${subject}`)
  must(equal(certificate.subjectPublicKeyInfo, publicKey), `the certificate of ${subject} has another key`)
  must(equal(certificate.issuer, issuer.certificate.subject), `the certificate of ${subject} is not by ${issuer.address}`)
  must(await verifyCertificateSignature(certificate, issuer.publicKey), `the signature on the certificate of ${subject} is wrong`)
  return certificate
}

/** The two addresses at which a certificate says that its standing can be asked for. */
export function standingAddresses(certificate: Certificate): { readonly ocsp: string; readonly crl: string } {
  const access = extensionOf(certificate, authorityInfoAccess)?.value ?? []
  const ocsp = access.find(({ accessMethod }) => accessMethod === accessMethods.ocsp)?.accessLocation
  const [point] = extensionOf(certificate, crlDistributionPoints)?.value ?? []
  const names = point?.distributionPoint?.type === 'fullName' ? point.distributionPoint.value : []
  const crl = names.find(({ type }) => type === 'uniformResourceIdentifier')
  must(ocsp?.type === 'uniformResourceIdentifier', 'the certificate names no OCSP address')
  must(crl?.type === 'uniformResourceIdentifier', 'the certificate names no CRL address')
  return { ocsp: ocsp.value, crl: crl.value }
}

const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9'
/** RFC 9654, 2.1. */
const NONCE_OCTETS = 32

/** Asks the responder that the certificate names. @throws NotAsExpected when its answer is not to be believed (RFC 6960, 3.2) */
export async function askStanding(der: Uint8Array, issuer: KnownAuthority, { random, clock }: World): Promise<CertStatus> {
  const certificate = parseCertificate(der)
  const { serialNumber } = certificate
  const nonce = random.octets(NONCE_OCTETS)
  const id = encodeCertID(issuerHashes(issuer.certificate, 'sha256'), serialNumber, 'sha256')
  const client = ocspClient({ url: standingAddresses(certificate).ocsp })
  try {
    const response = await client.ask(encodeOCSPRequest([id], nonce))
    must(response.type === 'answer', `the OCSP responder answered ${response.type}`)
    const { answer } = response
    const responder = parseCertificate(present(answer.certs[0], 'the OCSP answer comes without its certificate'))
    const purposes = extensionOf(responder, extKeyUsage)?.value ?? []
    must(purposes.includes(OCSP_SIGNING), 'the OCSP responder is not allowed to answer')
    must(await verifyCertificateSignature(responder, issuer.publicKey), 'the OCSP responder was not appointed by the authority')
    const key = importPublicKey(responder.subjectPublicKeyInfo)
    must(await verifyResponseSignature(answer, key), 'the signature on the OCSP answer is wrong')
    must(answer.nonce !== undefined && equal(answer.nonce, nonce), 'the OCSP answer is not to this question')
    const single = present(answer.responses[0], 'the OCSP answer says nothing')
    must(equal(single.serialNumber, serialNumber), 'the OCSP answer is about another certificate')
    must(isCurrent(single, clock.now()), 'the OCSP answer is not of now')
    return single.status
  } finally {
    client.close()
  }
}

export interface FetchedCRL {
  readonly list: CertificateList
  readonly number: bigint
  readonly entries: number
  has(certificate: Uint8Array): boolean
}

/** Fetches the CRL that the certificate names. @throws NotAsExpected unless the authority signed it */
export async function fetchCRL(der: Uint8Array, issuer: KnownAuthority, { clock }: Pick<World, 'clock'>): Promise<FetchedCRL> {
  const client = repositoryClient()
  try {
    const fetched = present(await client.fetch(standingAddresses(parseCertificate(der)).crl), 'there is no CRL')
    const list = parseCertificateList(fetched.body)
    must(await verifyListSignature(list, issuer.publicKey), 'the signature on the CRL is wrong')
    must(isCurrent(list, clock.now()), 'the CRL is not of now')
    const serials = new Set([...list.entries()].map(({ serialNumber }) => serialNumber.toHex()))
    return {
      list,
      number: present(extensionOfList(list, crlNumber), 'the CRL has no number').value,
      entries: serials.size,
      has: (certificate) => serials.has(parseCertificate(certificate).serialNumber.toHex()),
    }
  } finally {
    client.close()
  }
}

/** Both say from when to when they hold. */
const isCurrent = ({ thisUpdate, nextUpdate }: { readonly thisUpdate: Date; readonly nextUpdate?: Date }, now: number): boolean =>
  thisUpdate.getTime() <= now && nextUpdate !== undefined && now <= nextUpdate.getTime()
