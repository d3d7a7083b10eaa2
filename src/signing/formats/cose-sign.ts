/**
 * COSE with the signatures of several keys, beside what they sign or around it: a post-quantum one beside a classical one,
 * each of which says which others there are.
 *
 * Source: RFC 9052, 4.1 and 4.4; RFC 9053, 2; RFC 9360; RFC 9964 (ML-DSA); RFC 9995.
 *
 * @module
 */
import { namedSignatures } from '#algorithms/message-names.ts'
import { encodeCOSE, makeHeaders } from '#cbor/cose.ts'
import { coseOptions, detectCOSE, extractCOSE, messageOver, payloadFor, signerHeaders } from '../artifact/cose-messages.ts'
import { messageSignatures, messageSigners, rawRequests } from '../artifact/message-signers.ts'
import { optionsOf } from '../artifact/options.ts'
import type { SigningFormat } from '../format.ts'

export const coseSign: SigningFormat = {
  id: 'cose-sign',
  purpose: 'any file, for small devices: the signatures of several keys, none of which can be taken away',
  source: 'RFC 9052, RFC 9053, RFC 9360, RFC 9964, RFC 9995',
  asks: ['raw'],
  standsBeside: true,
  algorithms: namedSignatures,
  severalKeys: true,
  options: coseOptions,

  detect: (artifact) => detectCOSE(artifact, 'sign'),

  async toBeSigned(artifact, choices) {
    const options = optionsOf(coseSign, choices)
    const signers = messageSigners(coseSign.id, choices)
    const { source, payload, isBeside, headers: said } = await payloadFor(artifact, options, signers)
    const body = makeHeaders(said)
    const headersOf = new Map(signers.map((signer) => [signer, makeHeaders(signerHeaders(signer, signers, options))]))
    return {
      requests: await rawRequests(signers, (signer) => messageOver(body, headersOf.get(signer), source)),
      attach(answers) {
        const signatures = messageSignatures(signers, answers).map(({ signer, signature }) => ({
          headers: headersOf.get(signer) ?? body,
          signature,
        }))
        const message = { type: 'sign', headers: body, signatures, ...(payload !== undefined && { payload }) } as const
        return { pieces: [encodeCOSE(message)], isBeside, suffix: '.cose' }
      },
    }
  },

  extract: (signed, beside) => extractCOSE(signed, 'sign', beside),
}
