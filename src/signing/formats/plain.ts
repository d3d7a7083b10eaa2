/**
 * A signature and nothing around it, in a file of its own: what `openssl dgst -verify` and every boot loader can check.
 *
 * Source: RFC 8017 (RSA), RFC 3279, 2.2.3 (ECDSA as DER), RFC 8032, FIPS 204, FIPS 205: as X.509 carries them.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, signatureAlgorithm } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { digestContent } from '#cms/digests.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { chunksOf, MESSAGE_MAX_OCTETS, readWhole, whole } from '../artifact/blob.ts'
import { optionsOf } from '../artifact/options.ts'
import type { SigningFormat } from '../format.ts'

/** SLH-DSA-SHA2-256s has 29,792; nothing in the table is longer. */
const SIGNATURE_MAX_OCTETS = 32 << 10

export const plain: SigningFormat = {
  id: 'plain',
  purpose: 'any file, for whoever has a public key and nothing else',
  source: 'RFC 8017, RFC 3279, RFC 8032, FIPS 204, FIPS 205',
  asks: ['raw'],
  standsBeside: true,
  options: {
    send: {
      help: 'what the key is given, where its algorithm leaves a choice: a digest, or the file itself (up to 16 MiB)',
      values: ['digest', 'message'],
      fallback: 'digest',
    },
  },

  detect: async () => false, // any octets can be a signature, and any file signed

  async toBeSigned(artifact, choices) {
    const { send } = optionsOf(plain, choices)
    const { digest } = signatureAlgorithm(choices.signatureAlgorithm)
    const message =
      digest === null || send === 'message'
        ? { octets: await readWhole(artifact, 'what is signed as a whole', MESSAGE_MAX_OCTETS) }
        : {
            digestAlgorithm: digest,
            digest: (await digestContent(chunksOf(artifact), [digest])).get(digest) as Uint8Array,
          }
    return {
      requests: [{ type: 'raw', message }],
      suffix: '.sig',
      attach([signature]) {
        if (signature === undefined || signature.length === 0)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there is no signature' } })
        return { pieces: [signature], isBeside: true, suffix: '.sig' }
      },
    }
  },

  async extract(signed, { content, certificates = [], signatureAlgorithm: named } = {}) {
    const [certificate] = certificates
    if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
    if (certificate === undefined) throw new TrustError('unauthenticated', 'certificateNotGiven')
    const signature = await readWhole(signed, 'the signature', SIGNATURE_MAX_OCTETS)
    const { algorithm } = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
    return {
      signatures: [
        {
          where: 'the whole file',
          evidence: {
            type: 'raw',
            signature,
            signatureAlgorithm: named ?? certificateSignatureOf(algorithm),
            certificate,
            message: content,
          },
          covered: [whole(content)],
          checkCovered: async () => {}, // the signature itself is over all of it
        },
      ],
      uncovered: [],
    }
  },
}
