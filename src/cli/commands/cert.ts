/** `sealworks cert`: certificates, issued by hand, found, and taken out of use. @module */
import { TrustError } from '#base/errors.ts'
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { purposeNames } from '#x509/path/purpose-names.ts'
import { command, type Context, flag, integer, many, oneOf, required, text, type ValuesOf } from '../command.ts'
import { type Caller, clientCommand, connect, connectionOptions } from '../connection.ts'
import { checkWritable, readInput, writeOutput } from '../files.ts'
import { certificateOptions, deliver, encodeCertificate } from '../formats.ts'
import { requestIn } from '../request-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Certificate = AnswerOf<'findCertificates'>['certificates'][number]
type Reason = NonNullable<NonNullable<InputOf<'revokeCertificate'>['body']>['reason']>

const reasons = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const satisfies readonly Reason[]

const certificate = required(text('CERTIFICATE', 'its id, or its serial number in hexadecimal'))

/** Its --trust names the roots of certificates; those of the server come from the environment. */
const { trust: _, ...installation } = connectionOptions

const generateOptions = {
  subject: text('NAME', 'with --generate: distinguished name, such as "CN=Press 7,O=Example"'),
  name: many('KIND:NAME', 'with --generate: dns:…, ip:… or uri:…'),
  keyAlgorithm: text('ALGORITHM', 'with --generate: ecdsa-p256 unless told'),
  passwordFile: text('FILE', 'with --generate: holds the password of the PKCS #12 file'),
  passwordEnv: text('NAME', 'with --generate: the environment variable that holds the password'),
  legacy: flag('with --generate: 3DES and SHA-1, for readers that know nothing better'),
}

export const commands = [
  clientCommand({
    noun: 'cert',
    verb: 'issue',
    summary: 'Issue a certificate: for a request, with a new key, or for a whole list',
    details:
      'For a request (--csr) the certificate is written in the format asked for. With --generate the key is made by the server, kept nowhere, and delivered with the certificate as a PKCS #12 file. ' +
      'A list (--batch) is a CSV file with a header: the column "csr" names request files, or the columns "subject", "names" and "serial" ask for generated keys. What was done is written line by line to the result file, with which the same command goes on after an interruption.',
    example: 'sealworks cert issue --csr press7.csr --ca line1 --profile tls-server --format chain --out press7.pem',
    options: {
      ca: required(text('CA', 'the authority that issues')),
      profile: required(text('ID', 'what the certificate looks like')),
      endpoint: text('LABEL', 'lends its rules, such as the hardware type of birth certificates'),
      csr: text('FILE', 'the request (PKCS #10) as PEM, DER or base64; - for standard input'),
      generate: flag('make the key too'),
      ...generateOptions,
      batch: text('CSV', 'a whole list of requests'),
      outDir: text('DIR', 'with --batch: where the certificates go'),
      ...certificateOptions,
    },
    async run(client, values, context) {
      const { csr, generate, batch } = values
      if ([csr !== undefined, generate, batch !== undefined].filter(Boolean).length !== 1)
        throw new UsageError('Say one of --csr FILE, --generate, --batch CSV.', ['cert', 'issue'])
      const where = {
        authority: values.ca,
        profile: values.profile,
        ...(values.endpoint !== undefined && { endpoint: values.endpoint }),
      }
      if (batch !== undefined) {
        const { issueBatch } = await import('../batch.ts')
        const password =
          values.passwordFile === undefined && values.passwordEnv === undefined ? undefined : await readPassword(context, values)
        return issueBatch(client, context, { ...values, batch, where, password })
      }
      if (csr === undefined) return generateOne(client, context, where, values)
      if (values.out !== undefined) checkWritable(context, values.out, values.force)
      const request = requestIn(await readInput(context, csr))
      const issued = await client.call('issueCertificate', { body: { ...where, request: request.toBase64() } })
      return deliver(context, values, encodeCertificate(values.format ?? 'pem', issued.certificate, issued.chain), issued)
    },
  }),

  clientCommand({
    noun: 'cert',
    verb: 'find',
    summary: 'Find certificates, newest first',
    example: 'sealworks cert find --product-serial A-1042 --state active',
    options: {
      serialNumber: text('HEX', 'serial number of the certificate'),
      productSerial: text('SERIAL', 'serial of the device'),
      subject: text('TEXT', 'part of the distinguished name'),
      ca: text('CA', 'issued by this authority'),
      profile: text('ID', 'of this profile'),
      state: oneOf(['active', 'superseded', 'held', 'revoked', 'issued-unconfirmed'], 'in this state'),
      limit: integer('N', 1, 500, 'most to show; 100 unless told'),
      cursor: text('ID', 'go on after this one, as the last answer said'),
    },
    async run(client, { ca, ...given }, { columns, say }) {
      const query = Object.fromEntries(Object.entries({ ...given, authority: ca }).filter(([, value]) => value !== undefined))
      const value = await client.call('findCertificates', { query })
      const shape = [
        { title: 'SERIAL NUMBER', cell: ({ serialNumber }: Certificate) => serialNumber },
        { title: 'STATE', cell: ({ state }: Certificate) => state },
        { title: 'CA', cell: ({ authority }: Certificate) => authority },
        { title: 'PROFILE', cell: ({ profile }: Certificate) => profile },
        { title: 'UNTIL', cell: ({ notAfter }: Certificate) => notAfter.slice(0, 10) },
        { title: 'PRODUCT SERIAL', cell: ({ productSerial }: Certificate) => productSerial },
        { title: 'SUBJECT', cell: ({ subject }: Certificate) => subject },
      ]
      if (value.cursor !== null) say(`There may be more: --cursor ${value.cursor}`)
      return { value, text: table(value.certificates, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'cert',
    verb: 'show',
    summary: 'One certificate: what is recorded of it, or the certificate itself',
    example: 'sealworks cert show 5A1F00D2 --format chain --out press7.pem',
    operands: { certificate },
    options: certificateOptions,
    async run(client, { certificate, format, out, force }, context) {
      const value = await client.call('showCertificate', { params: { id: await resolveCertificate(client, certificate) } })
      if (format === undefined && out === undefined) return { value, text: described(value) }
      return deliver(context, { out, force }, encodeCertificate(format ?? 'pem', value.certificate, value.chain), value)
    },
  }),

  clientCommand({
    noun: 'cert',
    verb: 'revoke',
    summary: 'Revoke for good; OCSP says so at once',
    example: 'sealworks cert revoke 5A1F00D2 --reason keyCompromise',
    operands: { certificate },
    options: { reason: oneOf(reasons, 'why; unspecified unless told') },
    async run(client, { certificate, reason }) {
      const id = await resolveCertificate(client, certificate)
      const value = await client.call('revokeCertificate', { params: { id }, body: reason === undefined ? {} : { reason } })
      return { value, text: `${value.serialNumber} is revoked: ${value.subject}\n` }
    },
  }),

  clientCommand({
    noun: 'cert',
    verb: 'hold',
    summary: 'Put on hold until released or revoked',
    example: 'sealworks cert hold 5A1F00D2',
    operands: { certificate },
    async run(client, { certificate }) {
      const value = await client.call('holdCertificate', { params: { id: await resolveCertificate(client, certificate) } })
      return { value, text: `${value.serialNumber} is on hold: ${value.subject}\n` }
    },
  }),

  clientCommand({
    noun: 'cert',
    verb: 'release',
    summary: 'Release from hold',
    example: 'sealworks cert release 5A1F00D2',
    operands: { certificate },
    async run(client, { certificate }) {
      const value = await client.call('releaseCertificate', { params: { id: await resolveCertificate(client, certificate) } })
      return { value, text: `${value.serialNumber} is released: ${value.subject}\n` }
    },
  }),

  command({
    noun: 'cert',
    verb: 'verify',
    summary: 'Say whether a certificate is good, and if not, which rule it breaks',
    details:
      'With --trust the roots in those files are trusted and nothing else, and no installation is needed. Without it the installation is asked: its authorities and those that it trusts are the roots, and its records say what is revoked. ' +
      'Revocation lists and OCSP answers are fetched from the addresses in the certificates unless --offline is said; with --crl or --ocsp every certificate below the root must be known to be good. ' +
      'Ends with 9 when the certificate is not good.',
    example: 'sealworks cert verify press7.pem --trust plant-root.pem --purpose tls-server --name dns:press7.plant.example',
    operands: { file: required(text('FILE', 'the certificate, PEM or DER; others in the file may stand above it')) },
    options: {
      trust: many('FILE', 'trusted roots, PEM or DER'),
      intermediates: many('FILE', 'certificates that may stand between'),
      purpose: oneOf(purposeNames, 'what it must be for'),
      name: text('KIND:NAME', 'whom it must name: dns:HOST, ip:ADDRESS or email:MAILBOX'),
      at: text('TIME', 'as of then, such as 2027-01-31 or 2027-01-31T12:00:00Z; now unless told'),
      crl: many('FILE', 'revocation lists, PEM or DER'),
      ocsp: many('FILE', 'OCSP answers, DER'),
      policy: many('OID', 'a certificate policy that is accepted; one of them must hold all the way'),
      requirePolicy: flag('refuse a path on which no policy holds all the way; --policy implies it'),
      inhibitPolicyMapping: flag('let no authority say that policies of others are as good'),
      inhibitAnyPolicy: flag('let anyPolicy stand for none'),
      requireRevocation: flag('refuse what is not known to be good'),
      lenient: flag('accept what breaks only the rules for those who issue, such as a missing key identifier'),
      offline: flag('fetch nothing'),
    },
    sharedOptions: installation,
    async run(context, values, shared) {
      const { verifyByFiles, verifyByInstallation } = await import('../verify-certificate.ts')
      if (values.trust.length > 0) return verifyByFiles(context, values)
      const client = await connect(context, { ...(shared as ValuesOf<typeof installation>), trust: undefined })
      try {
        return await verifyByInstallation(client, context, values)
      } finally {
        await client.close()
      }
    },
  }),
]

/** Without the octets, which `--format` gives. */
const described = (record: Certificate): string => fields({ ...record, certificate: undefined, chain: undefined })

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** People copy serial numbers from certificates; an id is told from one by its hyphens. */
async function resolveCertificate(client: Caller, written: string): Promise<string> {
  if (UUID.test(written)) return written
  if (!/^[0-9a-fA-F]{2}(?::?[0-9a-fA-F]{2})*$/.test(written)) throw new TrustError('malformed', 'serialNumberText')
  const { certificates } = await client.call('findCertificates', { query: { serialNumber: written, limit: 2 } })
  const [only, another] = certificates
  if (only === undefined) throw new TrustError('notFound', 'certificateNotFound')
  if (another !== undefined) throw new TrustError('conflict', 'serialNumberAmbiguous')
  return only.id
}

interface Where {
  readonly authority: string
  readonly profile: string
  readonly endpoint?: string
}

interface Generate {
  readonly subject: string | undefined
  readonly name: readonly string[]
  readonly keyAlgorithm: string | undefined
  readonly passwordFile: string | undefined
  readonly passwordEnv: string | undefined
  readonly legacy: boolean
  readonly out: string | undefined
  readonly force: boolean
}

async function generateOne(client: Caller, context: Context, where: Where, values: Generate) {
  const { subject, name, keyAlgorithm, legacy, out, force } = values
  if (subject === undefined || out === undefined)
    throw new UsageError('--generate needs --subject NAME and --out FILE.', ['cert', 'issue'])
  checkWritable(context, out, force) // before a certificate exists whose key nobody has
  const password = await readPassword(context, values)
  const made = await client.call('generateCertificate', {
    body: {
      ...where,
      subject,
      names: [...name],
      password,
      ...(keyAlgorithm !== undefined && { keyAlgorithm }),
      ...(legacy && { legacy }),
    },
  })
  const { pkcs12, ...value } = made
  writeOutput(context, { file: out, octets: Uint8Array.fromBase64(pkcs12), isSecret: true, force })
  return { value: { ...value, file: out }, text: `${out} is written: key, certificate and chain as PKCS #12.\n` }
}

async function readPassword(
  context: Context,
  { passwordFile, passwordEnv }: Pick<Generate, 'passwordFile' | 'passwordEnv'>,
): Promise<string> {
  const { readSecret } = await import('#config/secret-file.ts')
  const { resolve } = await import('node:path')
  if ((passwordFile === undefined) === (passwordEnv === undefined))
    throw new UsageError('Say where the password is: --password-file FILE or --password-env NAME.', ['cert', 'issue'])
  const reference =
    passwordFile === undefined
      ? ({ kind: 'env', name: passwordEnv ?? '' } as const)
      : ({ kind: 'file', path: resolve(context.directory, passwordFile) } as const)
  return new TextDecoder().decode(readSecret(reference, context.environment).reveal('password of a PKCS #12 file'))
}
