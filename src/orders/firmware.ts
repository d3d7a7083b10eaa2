/**
 * Images on their way to devices at a line: signed by the maker's signers, named by the ticket, and readable for one node only.
 *
 * An image travels as AuthEnvelopedData for the node's key, its signature beside it as detached SignedData over the plain image.
 * What counts is the ticket: digests of images, and whose signatures on them are believed. No network is asked.
 *
 * Source: RFC 5652, RFC 5083, RFC 5084.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { digestContent } from '#cms/digests.ts'
import { streamAuthEnvelopedData } from '#cms/encrypt.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { verifySignedData } from '#cms/verify.ts'
import { type Certificate, parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { verifyCertificate } from '#x509/path/verify.ts'
import type { JobTicket } from './messages.ts'

/** A signature with its certificates; the image is not in it. */
export const SIGNATURE_MAX_OCTETS = 1 << 20

/**
 * Reads the image once, and keeps none of it.
 *
 * @param signature detached SignedData
 * @returns SHA-256 of the image
 * @throws TrustError `policyRefused` (`imageNotInTicket`) for one that the ticket does not name, as that of another model;
 *   `badProof` (`imageSignature`) when no signer that the ticket names signed it
 */
export async function checkImage(
  { firmware, firmwareSigners = [] }: JobTicket,
  content: AsyncIterable<Uint8Array>,
  signature: Uint8Array,
  at: Date,
): Promise<string> {
  const digests = await digestContent(content, ['sha256', 'sha384', 'sha512'])
  const digest = (digests.get('sha256') as Uint8Array).toHex()
  if (!firmware.includes(digest)) throw new TrustError('policyRefused', 'imageNotInTicket', { facts: { image: digest } })
  const wrong = (detail: string, cause?: unknown): TrustError =>
    new TrustError('badProof', 'imageSignature', { facts: { image: digest, detail }, cause })
  try {
    const signed = parseSignedData(signature, { maxOctets: SIGNATURE_MAX_OCTETS })
    if (signed.content !== undefined) throw wrong('it has a content of its own')
    const { signers, certificates } = await verifySignedData(signed, { content: digests })
    const anchors = firmwareSigners.map((base64) => Uint8Array.fromBase64(base64))
    for (const { certificate } of signers) {
      // a signer that is named itself needs nobody above it
      if (anchors.some((anchor) => equal(anchor, certificate.der))) continue
      const verdict = await verifyCertificate({ certificate, intermediates: certificates, anchors, at, purpose: 'code-signing' })
      if (!verdict.valid) throw wrong(`${verdict.failure.reason}: ${verdict.failure.subject}`)
    }
    return digest
  } catch (error) {
    const refusal = asTrustError(error)
    throw refusal.code === 'internal' || refusal.reason === 'imageSignature' ? error : wrong(refusal.reason, error)
  }
}

/** For one node. @returns AuthEnvelopedData in pieces @throws TrustError `policyRefused` (`envelopeMissing`) */
export function sealImage(
  { envelope }: JobTicket,
  image: { readonly content: AsyncIterable<Uint8Array>; readonly octets: number },
  random: Random,
): AsyncGenerator<Uint8Array, void> {
  if (envelope === undefined) throw new TrustError('policyRefused', 'envelopeMissing')
  const certificate = Uint8Array.fromBase64(envelope)
  return streamAuthEnvelopedData(
    {
      ...{ cipher: 'aes-256-gcm', content: image.content, contentOctets: image.octets },
      recipients: [{ type: 'certificate', certificate }],
    },
    random,
  )
}

/** @throws TrustError `badProof` (`envelopeOther`) when the node's key did not issue it */
export async function checkEnvelope(base64: string, nodeKey: PublicKey): Promise<Certificate> {
  const certificate = parseCertificate(Uint8Array.fromBase64(base64))
  if (await verifyCertificateSignature(certificate, nodeKey)) return certificate
  throw new TrustError('badProof', 'envelopeOther')
}
