/** `sealworks ca`: rotating, retiring, requests to other authorities, trust, cross certificates. @module */
import { parseOnePEM } from '#asn1/pem.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { type Context, flag, integer, many, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { readInput } from '../files.ts'
import { certificateOptions, deliver, deliverRequest, encodeCertificate, outputOptions } from '../formats.ts'
import { requestIn } from '../request-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'
import { waitsFor } from '../waiting.ts'

type Authority = AnswerOf<'showAuthority'>
type AuthorityRequest = AnswerOf<'requestAuthority'>
type Publication = AnswerOf<'listPublications'>['publications'][number]
type Trusted = AnswerOf<'listTrustedAuthorities'>['trusted'][number]

const address = required(text('CA', 'short name, or short name and generation: line1.1'))
const keyAlgorithm = text('ALGORITHM', 'of a new key; that of the former one unless told')

export const lifeCommands = [
  clientCommand({
    noun: 'ca',
    verb: 'rotate',
    summary: 'Renew an authority, or with --rekey give it a new key as its next generation',
    details:
      'After --rekey, endpoints issue with the new key at once, and the former generation goes on with CRLs and OCSP for what it issued. A root is linked both ways (RFC 9810, 4.4); give relying parties the new root, and until they have it they reach it by the link.',
    example: 'sealworks ca rotate line1 --rekey',
    operands: { address },
    options: { rekey: flag('a new key; without it the key stays and only the certificate is new'), keyAlgorithm },
    async run(client, { address, rekey, keyAlgorithm }) {
      const body = { mode: rekey ? ('rekey' as const) : ('renew' as const), ...(keyAlgorithm !== undefined && { keyAlgorithm }) }
      const authority = await client.call('rotateAuthority', { params: { address }, body })
      return { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'retire',
    summary: 'Issue nothing more with an authority; its CRLs and OCSP go on',
    example: 'sealworks ca retire line1.1',
    operands: { address },
    async run(client, { address }) {
      const authority = await client.call('retireAuthority', { params: { address }, body: {} })
      return { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'destroy-key',
    summary: 'Destroy the key of a retired authority that has outlived what it issued',
    details:
      'Cannot be undone. A revoked authority needs no wait. Ends with 6 where people have to agree first (approvals.destroyKeyPeople).',
    example: 'sealworks ca destroy-key line1.1',
    operands: { address },
    async run(client, { address }) {
      const authority = await client.call('destroyAuthorityKey', { params: { address }, body: {} })
      return 'approval' in authority ? waitsFor(authority) : { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'request',
    summary: 'Make a request for the next certificate of an authority that is certified elsewhere',
    details: 'For a new authority it is `ca create --external`. The certificate that comes back is taken by `ca import`.',
    example: 'sealworks ca request line1 --rekey --out line1.csr',
    operands: { address },
    options: { rekey: flag('with a new key, for the next generation; without it the key stays'), keyAlgorithm, ...outputOptions },
    async run(client, { address, rekey, keyAlgorithm, ...output }, context) {
      const mode = rekey ? ('rekey' as const) : ('renew' as const)
      const body = { mode, ...(keyAlgorithm !== undefined && { keyAlgorithm }) }
      return deliverRequest(context, output, await client.call('requestRotation', { params: { address }, body }))
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'requests',
    summary: 'Authorities that wait for their certificate from elsewhere',
    example: 'sealworks ca requests',
    async run(client, _, { columns }) {
      const value = await client.call('listAuthorityRequests', {})
      const shape = [
        { title: 'CA', cell: ({ address }: AuthorityRequest) => address },
        { title: 'PROFILE', cell: ({ profile }: AuthorityRequest) => profile },
        { title: 'KEY', cell: ({ keyAlgorithm }: AuthorityRequest) => keyAlgorithm },
        { title: 'SINCE', cell: ({ createdAt }: AuthorityRequest) => createdAt.slice(0, 10) },
      ]
      return { value, text: table(value.requests, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'cancel-request',
    summary: 'Take a request back; a key that was made for it is destroyed',
    example: 'sealworks ca cancel-request line1',
    operands: { slug: required(text('CA', 'short name')) },
    async run(client, { slug }) {
      await client.call('cancelAuthorityRequest', { params: { slug } })
      return { value: { slug }, text: `The request of ${slug} is taken back.\n` }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'import',
    summary: 'Take what another authority made: a certificate for a request, a cross certificate, an offline root’s CRL',
    details: 'The authority that signed it is imported before, by `ca trust`. Files are PEM or DER.',
    example: 'sealworks ca import line1 --certificate line1.pem',
    operands: { slug: text('CA', 'short name of the authority that asked, with --certificate') },
    options: {
      certificate: text('FILE', 'the answer to the request of CA'),
      cross: text('FILE', 'a certificate that another authority issued for one of ours'),
      crl: text('FILE', 'the CRL of an offline authority'),
    },
    async run(client, { slug, certificate, cross, crl }, context) {
      if (
        [certificate, cross, crl].filter((one) => one !== undefined).length !== 1 ||
        (slug !== undefined) !== (certificate !== undefined)
      )
        throw new UsageError('Give CA with --certificate, or --cross, or --crl.', ['ca', 'import'])
      if (crl !== undefined) {
        const value = await client.call('importCRL', { body: { crl: await readBlock(context, crl, 'X509 CRL') } })
        return { value, text: fields(value) }
      }
      if (cross !== undefined) {
        const body = { certificate: await readBlock(context, cross, 'CERTIFICATE') }
        const authority = await client.call('importCrossCertificate', { body })
        return { value: authority, text: described(authority) }
      }
      const body = { certificate: await readBlock(context, certificate ?? '', 'CERTIFICATE') }
      const authority = await client.call('importAuthorityCertificate', { params: { slug: slug ?? '' }, body })
      return { value: authority, text: described(authority) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'trust',
    summary: 'Trust an authority whose key is elsewhere',
    details:
      'The root before those below it. It never issues here. With --offline it is a root of our own on a machine without a network: its CRL is imported by `ca import --crl` and published under its name.',
    example: 'sealworks ca trust root --certificate root.pem --offline',
    operands: { slug: required(text('NAME', 'short name that it gets here')) },
    options: { certificate: required(text('FILE', 'its certificate')), offline: flag('an offline root of our own') },
    async run(client, { slug, certificate, offline }, context) {
      const kind = offline ? ('offline' as const) : ('foreign' as const)
      const body = { slug, kind, certificate: await readBlock(context, certificate, 'CERTIFICATE') }
      const value = await client.call('trustAuthority', { body })
      return { value, text: fields({ ...value, certificate: undefined }) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'distrust',
    summary: 'Trust an authority from elsewhere no more',
    example: 'sealworks ca distrust press',
    operands: { address },
    async run(client, { address }) {
      await client.call('distrustAuthority', { params: { address } })
      return { value: { address }, text: `${address} is trusted no more.\n` }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'trusted',
    summary: 'Authorities that are trusted without their keys being here, and whether offline CRLs hold',
    example: 'sealworks ca trusted',
    async run(client, _, { columns }) {
      const value = await client.call('listTrustedAuthorities', {})
      return { value, text: trustedTable(value.trusted, columns) }
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'cross-sign',
    summary: 'Sign the request or the certificate of another authority',
    details:
      'This is how an offline root certifies an authority on a connected machine, and how one hierarchy vouches for another. Limit what the other may do by --path-length, --permit and --exclude.',
    example: 'sealworks ca cross-sign root --request line1.csr --out line1.pem',
    operands: { address },
    options: {
      request: text('FILE', 'its certificate request'),
      certificate: text('FILE', 'its certificate'),
      profile: text('ID', 'issuing unless told'),
      pathLength: integer('N', 0, 10, 'how many authorities may stand below it'),
      permit: many('SPACE', 'names below it lie in here: dns:plant.example, ip:10.1.0.0/16, email:…, uri:…, dir:…'),
      exclude: many('SPACE', 'no name below it lies in here'),
      validityDays: integer('N', 1, 36_525, "instead of the profile's"),
      noExpiry: flag('never expires'),
      ...certificateOptions,
    },
    async run(client, { address, request, certificate, permit, exclude, noExpiry, format, out, force, ...rest }, context) {
      if ((request === undefined) === (certificate === undefined))
        throw new UsageError('Give either --request or --certificate.', ['ca', 'cross-sign'])
      const value = await client.call('crossSign', {
        params: { address },
        body: {
          ...(request !== undefined && { request: requestIn(await readInput(context, request)).toBase64() }),
          ...(certificate !== undefined && { certificate: await readBlock(context, certificate, 'CERTIFICATE') }),
          ...(permit.length + exclude.length > 0 && {
            nameConstraints: {
              ...(permit.length > 0 && { permitted: [...permit] }),
              ...(exclude.length > 0 && { excluded: [...exclude] }),
            },
          }),
          ...(noExpiry && { noExpiry }),
          ...given(rest),
        },
      })
      const { chain } = await client.call('showAuthority', { params: { address } })
      return deliver(context, { out, force }, encodeCertificate(format ?? 'pem', value.certificate, chain), value)
    },
  }),

  clientCommand({
    noun: 'ca',
    verb: 'publications',
    summary: 'What was put where for relying parties, and what failed',
    example: 'sealworks ca publications',
    async run(client, _, { columns }) {
      const value = await client.call('listPublications', {})
      const shape = [
        { title: 'TARGET', cell: ({ target }: Publication) => target },
        { title: 'PATH', cell: ({ path }: Publication) => path },
        { title: 'SINCE', cell: ({ publishedAt }: Publication) => publishedAt },
        { title: 'FAILURES', cell: ({ failures }: Publication) => String(failures) },
        { title: 'ERROR', cell: ({ error }: Publication) => error },
      ]
      return { value, text: table(value.publications, shape, columns) }
    },
  }),
]

export function trustedTable(trusted: readonly Trusted[], columns: number | undefined): string {
  const shape = [
    { title: 'CA', cell: ({ address }: Trusted) => address },
    { title: 'KIND', cell: ({ kind }: Trusted) => kind },
    { title: 'CRL', cell: ({ crlState }: Trusted) => crlState },
    { title: 'NEXT CRL', cell: ({ crlNextUpdate }: Trusted) => crlNextUpdate?.slice(0, 10) ?? null },
    { title: 'UNTIL', cell: ({ notAfter }: Trusted) => notAfter.slice(0, 10) },
    { title: 'NAME', cell: ({ subject }: Trusted) => subject },
  ]
  return table(trusted, shape, columns)
}

/** Those that were given. */
const given = <T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never

/** Without the octets, which `ca export` gives. */
const described = (authority: Authority): string =>
  fields({ ...authority, certificate: undefined, chain: undefined, links: undefined })

/** @returns base64, as REST takes it @throws TrustError `malformed` unless the file is DER or has just one such PEM block */
async function readBlock(context: Context, file: string, label: string): Promise<string> {
  const octets = await readInput(context, file)
  return (octets[0] === 0x30 ? octets : parseOnePEM(new TextDecoder().decode(octets), label)).toBase64()
}
