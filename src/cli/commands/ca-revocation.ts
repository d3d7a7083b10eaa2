/** `sealworks ca revocation`: how an authority tells what it revoked. @module */
import { integer, oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { fields } from '../terminal.ts'

const MONTH_SECONDS = 31 * 86_400

export const revocationCommands = [
  clientCommand({
    noun: 'ca',
    verb: 'revocation',
    summary: 'Show or change CRL shards, deltas and OCSP answers of an authority',
    details: [
      'Without options it shows them. Shards can only be added: each certificate names its own for as long as it is valid.',
      'With 0 for a time there are no deltas, or answers are valid as long as is usual.',
    ].join(' '),
    example: 'sealworks ca revocation line1 --crl-shards 16 --ocsp pre-signed',
    operands: { address: required(text('CA', 'short name, or short name and generation: line1.1')) },
    options: {
      crlShards: integer('N', 1, 1024, 'CRLs to spread certificates over'),
      crlDeltaSeconds: integer('N', 0, MONTH_SECONDS, 'how long delta CRLs are valid; 0 for none'),
      ocsp: oneOf(['on-request', 'pre-signed'], 'when answers are signed'),
      ocspValiditySeconds: integer('N', 0, MONTH_SECONDS, 'how long answers are valid'),
    },
    async run(client, { address, crlShards, crlDeltaSeconds, ocsp, ocspValiditySeconds }) {
      const orNull = (seconds: number): number | null => (seconds === 0 ? null : seconds)
      const body = {
        ...(crlShards !== undefined && { crlShards }),
        ...(crlDeltaSeconds !== undefined && { crlDeltaSeconds: orNull(crlDeltaSeconds) }),
        ...(ocsp !== undefined && { ocspMode: ocsp === 'pre-signed' ? ('preSigned' as const) : ('onRequest' as const) }),
        ...(ocspValiditySeconds !== undefined && { ocspValiditySeconds: orNull(ocspValiditySeconds) }),
      }
      const params = { address }
      const value =
        Object.keys(body).length === 0
          ? await client.call('showRevocationPolicy', { params })
          : await client.call('changeRevocationPolicy', { params, body })
      return { value, text: fields(value) }
    },
  }),
]
