/** `sealworks ca`: certificate authorities. @module */
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { ceremonyPages } from '../ceremony-page.ts'
import { type Answer, type Context, flag, integer, oneOf, required, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { deliver, deliverRequest, encodeCertificate, outputOptions } from '../formats.ts'
import { fields, table } from '../terminal.ts'
import { revocationCommands } from './ca-revocation.ts'
import { UsageError } from '../usage.ts'
import { lifeCommands, trustedTable } from './ca-life.ts'

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
      external: flag('certified elsewhere: makes its key and a request, which `ca import` completes'),
      ...outputOptions,
    },
    async run(client, values, context) {
      if (values.external) return requestNew(client, values, context)
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
    summary: 'All authorities, and those that are trusted with the state of offline CRLs',
    example: 'sealworks ca list',
    async run(client, _, { columns }) {
      const { authorities } = await client.call('listAuthorities', {})
      const { trusted } = await client.call('listTrustedAuthorities', {})
      const value = { authorities, trusted }
      const shape = [
        { title: 'CA', cell: ({ address }: Authority) => address },
        { title: 'ISSUER', cell: ({ issuer }: Authority) => issuer },
        { title: 'STATE', cell: ({ state }: Authority) => state },
        { title: 'KEY', cell: ({ keyAlgorithm }: Authority) => keyAlgorithm },
        { title: 'UNTIL', cell: ({ notAfter }: Authority) => notAfter.slice(0, 10) },
        { title: 'NAME', cell: ({ subject }: Authority) => subject },
      ]
      const elsewhere = trusted.length === 0 ? '' : `\nTrusted, with their keys elsewhere:\n${trustedTable(trusted, columns)}`
      return { value, text: table(authorities, shape, columns) + elsewhere }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'show',
    summary: 'One authority',
    example: 'sealworks ca show line1',
    details: 'With --ceremony, its key ceremony records: entries of the audit log, to print and sign.',
    operands: { address },
    options: { ceremony: flag('what was made, by whom, and where the key lies'), ...outputOptions },
    async run(client, { address, ceremony, ...output }, context) {
      if (ceremony) {
        const value = await client.call('listCeremonies', { params: { address } })
        return deliver(context, output, utf8(ceremonyPages(value)), value)
      }
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
    options: {
      format: oneOf(
        ['pem', 'der', 'p7b', 'chain', 'links'],
        'pem unless told; chain is PEM with everything above it, p7b the same as PKCS #7, links what leads to it from elsewhere',
      ),
      ...outputOptions,
    },
    async run(client, { address, format = 'pem', ...output }, context) {
      const { certificate, chain, links, address: exact } = await client.call('showAuthority', { params: { address } })
      if (format === 'links') {
        const text = links.map((der) => encodePEM('CERTIFICATE', Uint8Array.fromBase64(der))).join('')
        return deliver(context, output, utf8(text), { address: exact, links })
      }
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
      if (crl === undefined) throw new TrustError('tooLarge', 'crlLongForAnswer', { facts: { address } })
      const der = Uint8Array.fromBase64(crl)
      return deliver(context, output, format === 'der' ? der : utf8(encodePEM('X509 CRL', der)), value)
    },
  }),
  ...revocationCommands,
  ...lifeCommands,
]

interface New {
  readonly slug: string
  readonly name: string
  readonly issuer: string | undefined
  readonly noExpiry: boolean
  readonly profile: string | undefined
  readonly keyAlgorithm: string | undefined
  readonly keyStore: string | undefined
  readonly crlValiditySeconds: number | undefined
  readonly out: string | undefined
  readonly force: boolean
}

async function requestNew(client: Caller, values: New, context: Context): Promise<Answer> {
  const { slug, name, issuer, noExpiry, profile, keyAlgorithm, keyStore, crlValiditySeconds, ...output } = values
  if (issuer !== undefined || noExpiry)
    throw new UsageError('With --external, the authority elsewhere is the issuer and sets the end.', ['ca', 'create'])
  const value = await client.call('requestAuthority', {
    body: {
      slug,
      name,
      ...(profile !== undefined && { profile }),
      ...(keyAlgorithm !== undefined && { keyAlgorithm }),
      ...(keyStore !== undefined && { keyStore }),
      ...(crlValiditySeconds !== undefined && { crlValiditySeconds }),
    },
  })
  return deliverRequest(context, output, value)
}

/** Without the octets, which `ca export` gives. */
const described = (authority: Authority): string =>
  fields({ ...authority, certificate: undefined, chain: undefined, links: undefined })
