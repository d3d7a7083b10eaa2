/**
 * COSE with one signature, beside what it signs or around it: what constrained devices verify.
 *
 * Source: RFC 9052, 4.2 and 4.4; RFC 9053, 2; RFC 9360; RFC 9964 (ML-DSA); RFC 9995.
 *
 * @module
 */
import { namedSignatures } from '#algorithms/message-names.ts'
import { encodeCOSE, makeHeaders } from '#cbor/cose.ts'
import { coseOptions, detectCOSE, extractCOSE, messageOver, payloadFor, signerHeaders } from '../artifact/cose-messages.ts'
import { messageSignatures, messageSigners, rawRequests } from '../artifact/message-signers.ts'
import { optionsOf } from '../artifact/options.ts'
import type { SigningFormat } from '../format.ts'

export const coseSign1: SigningFormat = {
  id: 'cose-sign1',
  purpose: 'any file, for small devices: one signature, with its certificates',
  source: 'RFC 9052, RFC 9053, RFC 9360, RFC 9964, RFC 9995',
  asks: ['raw'],
  standsBeside: true,
  algorithms: namedSignatures,
  options: coseOptions,

  detect: (artifact) => detectCOSE(artifact, 'sign1'),

  async toBeSigned(artifact, choices) {
    const options = optionsOf(coseSign1, choices)
    const signers = messageSigners(coseSign1.id, choices)
    const { source, payload, isBeside, headers: said } = await payloadFor(artifact, options, signers)
    const headers = makeHeaders([...signerHeaders(signers[0], signers, options), ...said])
    return {
      requests: await rawRequests(signers, () => messageOver(headers, undefined, source)),
      attach(answers) {
        const [{ signature }] = messageSignatures(signers, answers)
        const message = { type: 'sign1', headers, signature, ...(payload !== undefined && { payload }) } as const
        return { pieces: [encodeCOSE(message)], isBeside, suffix: '.cose' }
      },
    }
  },

  extract: (signed, beside) => extractCOSE(signed, 'sign1', beside),
}
