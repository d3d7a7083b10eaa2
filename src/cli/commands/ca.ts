/** `sealworks ca`: certificate authorities. @module */
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { flag, integer, oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { certificateOptions, deliver, encodeCertificate, outputOptions } from '../formats.ts'
import { fields, table } from '../terminal.ts'

type Authority = AnswerOf<'showAuthority'>

const address = required(text('CA', 'short name, or short name and generation: line1.1'))

export const commands = [
  clientCommand({
    noun: 'ca',
    verb: 'create',
    summary: 'Make an authority with its key: a root, or one below another',
    example: 'sealworks ca create line1 --name "CN=Line 1,O=Example" --issuer root',
    operands: { slug: required(text('SLUG', 'short name: lower-case letters and digits, not beginning with "m"')) },
    options: {
      name: required(text('NAME', 'distinguished name, such as "CN=Line 1,O=Example"')),
      issuer: text('CA', 'the authority above; without it this is a root'),
      profile: text('ID', 'root or issuing; what fits unless told'),
      keyAlgorithm: text('ALGORITHM', 'ecdsa-p256 unless told'),
      keyStore: text('STORE', 'where its key is made and stays; the software store unless told'),
      noExpiry: flag('never expires: for the hierarchy above birth certificates'),
      crlValiditySeconds: integer('N', 60, 366 * 86_400, 'how long its CRLs are valid'),
    },
    async run(client, values) {
      const { slug, name, noExpiry, issuer, profile, keyAlgorithm, keyStore, crlValiditySeconds } = values
      const authority = await client.call('createAuthority', {
        body: {
          slug,
          name,
          ...(issuer !== undefined && { issuer }),
          ...(profile !== undefined && { profile }),
          ...(keyAlgorithm !== undefined && { keyAlgorithm }),
          ...(keyStore !== undefined && { keyStore }),
          ...(noExpiry && { noExpiry }),
          ...(crlValiditySeconds !== undefined && { crlValiditySeconds }),
        },
      })
      return { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'list',
    summary: 'All authorities',
    example: 'sealworks ca list',
    async run(client, _, { columns }) {
      const value = await client.call('listAuthorities', {})
      const shape = [
        { title: 'CA', cell: ({ address }: Authority) => address },
        { title: 'ISSUER', cell: ({ issuer }: Authority) => issuer },
        { title: 'STATE', cell: ({ state }: Authority) => state },
        { title: 'KEY', cell: ({ keyAlgorithm }: Authority) => keyAlgorithm },
        { title: 'UNTIL', cell: ({ notAfter }: Authority) => notAfter.slice(0, 10) },
        { title: 'NAME', cell: ({ subject }: Authority) => subject },
      ]
      return { value, text: table(value.authorities, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'show',
    summary: 'One authority',
    example: 'sealworks ca show line1',
    operands: { address },
    async run(client, { address }) {
      const authority = await client.call('showAuthority', { params: { address } })
      return { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'export',
    summary: 'The certificate of an authority',
    example: 'sealworks ca export line1 --format chain --out line1-chain.pem',
    operands: { address },
    options: certificateOptions,
    async run(client, { address, format = 'pem', ...output }, context) {
      const { certificate, chain, address: exact } = await client.call('showAuthority', { params: { address } })
      const octets = encodeCertificate(format, certificate, chain.slice(1))
      return deliver(context, output, octets, { address: exact, certificate, chain })
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'issue-crl',
    summary: 'Issue the next CRL now',
    details: 'CRLs are issued by themselves when certificates are revoked and before the last one ends; this does it at once.',
    example: 'sealworks ca issue-crl line1 --out line1.crl',
    operands: { address },
    options: { format: oneOf(['der', 'pem'], 'der unless told'), ...outputOptions },
    async run(client, { address, format = 'der', ...output }, context) {
      const value = await client.call('issueCRL', { params: { address } })
      const { crl, ...facts } = value
      if (output.out === undefined) return { value, text: fields(facts) }
      const der = Uint8Array.fromBase64(crl)
      return deliver(context, output, format === 'der' ? der : utf8(encodePEM('X509 CRL', der)), value)
    },
  }),
]

/** Without the octets, which `ca export` gives. */
const described = (authority: Authority): string => fields({ ...authority, certificate: undefined, chain: undefined })
