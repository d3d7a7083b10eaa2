/** `sealworks signer`: which key signs what, for whom, how often and how long. @module */
import { parsePEM } from '#asn1/pem.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import type { Part } from '#signing/message-signing.ts'
import { flag, integer, many, oneOf, required, some, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import type { Context } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { readInput } from '../files.ts'
import { findPrincipal, type Principal } from '../people.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Signer = AnswerOf<'listSigners'>['items'][number]
type Signature = AnswerOf<'listSignatures'>['items'][number]
type Role = Principal['roles'][number]

const name = required(text('SIGNER', 'its name'))
const keyOptions = {
  key: required(text('LABEL', 'the key that signs; `key list` shows them')),
  certificates: many('FILE', "the key's certificate and those above it, PEM or DER, in this order"),
  issuer: text('CA', 'have this authority of the installation issue the certificate instead'),
  subject: text('NAME', 'with --issuer: the name in the certificate, such as "CN=Firmware,O=Example"'),
  profile: text('PROFILE', 'with --issuer: code-signing unless told, or time-stamping'),
  signatureAlgorithm: text('ALGORITHM', 'such as rsa-pss-sha256; what is usual for the key unless told'),
  withKey: text('LABEL', 'a second key, such as ml-dsa-65 beside a classical one: both sign, each covers the other'),
  withCertificates: many('FILE', "with --with-key: that key's certificate and those above it"),
  withIssuer: text('CA', 'with --with-key: the authority that issues its certificate; the one of --issuer unless told'),
}

export const commands = [
  clientCommand({
    noun: 'signer',
    verb: 'list',
    summary: 'All signers',
    example: 'sealworks signer list',
    async run(client, _, { columns }) {
      const value = await client.call('listSigners', {})
      const shape = [
        { title: 'SIGNER', cell: ({ name }: Signer) => name },
        { title: 'STATE', cell: ({ state }: Signer) => state },
        { title: 'KEY', cell: ({ key }: Signer) => key.label },
        { title: 'SIGNS WITH', cell: ({ key }: Signer) => algorithmsOf(key).join(' with ') },
        { title: 'FORMATS', cell: ({ formats }: Signer) => formats.join(', ') },
      ]
      return { value: { signers: value.items }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'show',
    summary: 'One signer, and how often it was used',
    example: 'sealworks signer show firmware',
    operands: { name },
    async run(client, { name }) {
      const value = await client.call('showSigner', { params: { name } })
      return { value, text: described(value) }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'create',
    summary: 'Make a signer from a key that is there',
    details: 'Its terms do not change afterwards: what must sign otherwise is another signer.',
    example: 'sealworks signer create firmware --key release-2026 --format plain --certificates release.pem --user "CI line 1"',
    operands: { name },
    options: {
      ...keyOptions,
      format: some('FORMAT', 'what it signs'),
      role: many('ROLE', 'who may use it: those with this role; release-engineer and service unless told'),
      user: many('USER', 'who may use it: this person or service, by name or id'),
      sizeMax: integer('BYTES', 1, 1_000_000_000_000, 'longest artifact that it signs'),
      usesMax: integer('N', 1, 1_000_000_000_000, 'signatures in all'),
      usesPerHour: integer('N', 1, 1_000_000_000, 'signatures in an hour'),
      from: text('TIME', 'from when on it signs, such as 2027-01-31 or 2027-01-31T12:00:00Z'),
      until: text('TIME', 'until when it signs; its certificate bounds it further'),
      approvals: integer('N', 1, 20, 'how many people have to agree to what it signs; nobody unless told'),
      approverRole: many('ROLE', 'whose agreement counts; approver unless told'),
      approver: many('USER', 'whose agreement counts: this person, by name or id'),
      approvalUses: integer('N', 1, 1_000_000_000, 'how many signatures one agreement may cover; 1 unless told'),
      approvalHours: integer('N', 1, 8760, 'how long an agreement may be used; 8 unless told'),
      archive: oneOf(['artifacts'], 'what it signs is sent to the server and kept there; its digest is kept in any case'),
      timeStamping: text(
        'URL|SIGNER',
        'a time-stamping authority (RFC 3161), here or elsewhere, that CMS signatures get a time stamp from',
      ),
      policy: text('OID', 'with --format rfc3161: the policy under which it states times'),
      accuracy: integer('MS', 1, 86_400_000, 'with --format rfc3161: how far a time may be from UTC; 1000 unless told'),
      ordering: flag('with --format rfc3161: no two time stamps have the same time'),
      public: flag('with --format rfc3161: anybody may ask, at /tsa/SIGNER; else only its users, as `timestamp` does'),
      priority: oneOf(
        ['high', 'normal', 'low'],
        'who goes first when there is more to sign than can be signed; normal unless told',
      ),
    },
    async run(
      client,
      {
        name,
        format,
        role,
        user,
        sizeMax,
        usesMax,
        usesPerHour,
        from,
        until,
        timeStamping,
        archive,
        priority,
        policy,
        accuracy,
        ...more
      },
      context,
    ) {
      const users = role.length + user.length === 0 ? undefined : await usersOf(client, role, user)
      const value = await client.call('createSigner', {
        body: {
          name,
          ...(await keyBody(context, more)),
          ...(await approvalBody(client, more)),
          formats: [...format],
          ...(users !== undefined && { users }),
          ...(sizeMax !== undefined && { sizeMaxOctets: sizeMax }),
          ...(usesMax !== undefined && { usesMax }),
          ...(usesPerHour !== undefined && { usesPerHourMax: usesPerHour }),
          ...(from !== undefined && { notBefore: timeOf('--from', from) }),
          ...(until !== undefined && { notAfter: timeOf('--until', until) }),
          ...(archive !== undefined && { archive }),
          ...(timeStamping !== undefined && { timeStamping }),
          ...timeStampBody(policy, accuracy, more),
          ...(priority !== undefined && { priority }),
        },
      })
      return { value, text: described(value) }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'request',
    summary: 'Ask people to agree to several signatures at once, of files that are not known yet',
    details: 'Only for who asks, only for so many and so long. Without it, `sign` asks for each file by itself.',
    example: 'sealworks signer request firmware --uses 20 --hours 4 --reason "release 4.2"',
    operands: { name },
    options: {
      uses: required(integer('N', 1, 1_000_000_000, 'how many signatures')),
      hours: required(integer('N', 1, 8760, 'for how long, once enough have agreed')),
      reason: text('TEXT', 'what for'),
    },
    async run(client, { name, uses, hours, reason }) {
      const body = { uses, validSeconds: hours * 3600, ...(reason !== undefined && { reason }) }
      const value = await client.call('requestSignerUses', { params: { name }, body })
      const text = `It waits for ${value.least} to agree: "sealworks approval approve ${value.id}".\n`
      return { value, text, exitCode: value.state === 'pending' ? exitCodes.waitsForApproval : exitCodes.done }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'enable',
    summary: 'Let a signer sign again',
    example: 'sealworks signer enable firmware',
    operands: { name },
    async run(client, { name }) {
      const value = await client.call('enableSigner', { params: { name } })
      return { value, text: `${value.name} is enabled.\n` }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'history',
    summary: 'What a signer signed and refused to sign, newest first',
    example: 'sealworks signer history firmware --json',
    operands: { name },
    options: {
      outcome: oneOf(['done', 'refused'], 'only these'),
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { name, outcome, limit, cursor }, { columns }) {
      const query = {
        ...(outcome !== undefined && { outcome }),
        ...(limit !== undefined && { limit }),
        ...(cursor !== undefined && { cursor }),
      }
      const value = await client.call('listSignatures', { params: { name }, query })
      const shape = [
        { title: 'AT', cell: ({ at }: Signature) => at.slice(0, 19) },
        { title: 'BY', cell: ({ by }: Signature) => by },
        { title: 'FORMAT', cell: ({ format }: Signature) => format },
        { title: 'OUTCOME', cell: ({ outcome: how, reason }: Signature) => reason ?? how },
        { title: 'WHAT', cell: ({ artifactDigest, digests }: Signature) => artifactDigest ?? digests.join(' ') },
      ]
      return { value: { signatures: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'disable',
    summary: 'Let a signer sign nothing until it is enabled',
    example: 'sealworks signer disable firmware',
    operands: { name },
    async run(client, { name }) {
      const value = await client.call('disableSigner', { params: { name } })
      return { value, text: `${value.name} is disabled.\n` }
    },
  }),

  clientCommand({
    noun: 'signer',
    verb: 'next-key',
    summary: 'Say which key takes over, and when',
    example: 'sealworks signer next-key firmware --key release-2027 --certificates release-2027.pem --at 2027-01-01',
    operands: { name },
    options: {
      ...keyOptions,
      at: text('TIME', 'when it takes over'),
      afterUses: integer('N', 1, 1_000_000_000_000, 'after how many signatures in all it takes over'),
    },
    async run(client, { name, at, afterUses, ...key }, context) {
      if (at === undefined && afterUses === undefined)
        throw new UsageError('Say when the key takes over: --at TIME, --after-uses N, or both.', ['signer', 'next-key'])
      const when = { ...(at !== undefined && { at: timeOf('--at', at) }), ...(afterUses !== undefined && { afterUses }) }
      const value = await client.call('planSignerKey', { params: { name }, body: { ...(await keyBody(context, key)), ...when } })
      return { value, text: described(value) }
    },
  }),
]

const algorithmsOf = ({ signatureAlgorithm, companion }: Signer['key']): readonly string[] =>
  companion === undefined ? [signatureAlgorithm] : [signatureAlgorithm, companion.signatureAlgorithm]

/** Certificates as their count: `--json` has them. */
const described = ({ key, next, users, timeStamps, ...rest }: Signer): string =>
  fields({
    ...rest,
    ...(timeStamps !== undefined && {
      policy: timeStamps.policy,
      accuracy: `${timeStamps.accuracyMilliseconds} ms`,
      ordering: timeStamps.ordering,
      public: timeStamps.isPublic,
    }),
    key: keyText(key),
    ...(next !== undefined && { next: keyText(next.key), nextAt: next.at, nextAfterUses: next.afterUses }),
    users: [...users.roles, ...users.people].join(', '),
  })

const keyText = ({ companion, ...key }: Signer['key']): string =>
  [key, ...(companion === undefined ? [] : [companion])]
    .map(({ label, signatureAlgorithm, certificates }) => `${label} (${signatureAlgorithm}, ${certificates.length} certificates)`)
    .join(' with ')

async function partyOf(client: Caller, roles: readonly string[], users: readonly string[]) {
  const people: string[] = []
  for (const user of users) people.push((await findPrincipal(client, user)).id)
  return { roles: [...roles] as Role[], people } // the server knows which roles there are
}

/** A part of the server may be a signer's user as well. */
async function usersOf(client: Caller, role: readonly string[], user: readonly string[]) {
  const { people, roles } = await partyOf(client, role, user)
  return { people, roles: roles as (Role | Part)[] }
}

interface TimeStampValues {
  readonly ordering: boolean
  readonly public: boolean
}

const ACCURACY_MILLISECONDS = 1000

function timeStampBody(
  policy: string | undefined,
  accuracy: number | undefined,
  { ordering, public: isPublic }: TimeStampValues,
) {
  if (policy === undefined) {
    if (accuracy === undefined && !ordering && !isPublic) return {}
    throw new UsageError('Say under which policy it states times: --policy OID.', ['signer', 'create'])
  }
  return { timeStamps: { policy, accuracyMilliseconds: accuracy ?? ACCURACY_MILLISECONDS, ordering, isPublic } }
}

interface ApprovalValues {
  readonly approvals: number | undefined
  readonly approverRole: readonly string[]
  readonly approver: readonly string[]
  readonly approvalUses: number | undefined
  readonly approvalHours: number | undefined
}

async function approvalBody(client: Caller, values: ApprovalValues) {
  const { approvals: least, approverRole, approver, approvalUses, approvalHours } = values
  const said = approverRole.length + approver.length > 0
  if (least === undefined) {
    if (!said && approvalUses === undefined && approvalHours === undefined) return {}
    throw new UsageError('Say how many people have to agree: --approvals N.', ['signer', 'create'])
  }
  const approval = {
    least,
    ...(said && { approvers: await partyOf(client, approverRole, approver) }),
    ...(approvalUses !== undefined && { usesMax: approvalUses }),
    ...(approvalHours !== undefined && { validSeconds: approvalHours * 3600 }),
  }
  return { approval }
}

interface KeyValues {
  readonly key: string
  readonly certificates: readonly string[]
  readonly issuer: string | undefined
  readonly subject: string | undefined
  readonly profile: string | undefined
  readonly signatureAlgorithm: string | undefined
}

interface TwoKeysValues extends KeyValues {
  readonly withKey: string | undefined
  readonly withCertificates: readonly string[]
  readonly withIssuer: string | undefined
}

/** @throws UsageError */
async function keyBody(context: Context, { withKey, withCertificates, withIssuer, ...values }: TwoKeysValues) {
  const { subject, issuer, profile } = values
  if ((issuer ?? withIssuer) === undefined ? subject !== undefined : subject === undefined)
    throw new UsageError('--issuer CA and --subject NAME belong together.', ['signer', 'create'])
  const body = await loneKeyBody(context, values)
  if (withKey === undefined) {
    if (withIssuer === undefined && withCertificates.length === 0) return body
    throw new UsageError('Say which the second key is: --with-key LABEL.', ['signer', 'create'])
  }
  const issuerOfSecond = withIssuer ?? (withCertificates.length === 0 ? issuer : undefined)
  const second = {
    key: withKey,
    certificates: withCertificates,
    issuer: issuerOfSecond,
    subject,
    profile,
    signatureAlgorithm: undefined,
  }
  return { ...body, companion: await loneKeyBody(context, second) }
}

async function loneKeyBody(context: Context, { key, certificates, issuer, subject, profile, signatureAlgorithm }: KeyValues) {
  const chain: string[] = []
  for (const file of certificates) chain.push(...certificatesIn(await readInput(context, file)))
  return {
    key,
    ...(issuer !== undefined &&
      subject !== undefined && { issue: { authority: issuer, subject, ...(profile !== undefined && { profile }) } }),
    ...(chain.length > 0 && { certificates: chain }),
    ...(signatureAlgorithm !== undefined && { signatureAlgorithm: signatureAlgorithm as Signer['key']['signatureAlgorithm'] }),
  }
}

function certificatesIn(octets: Uint8Array): readonly string[] {
  if (octets[0] === 0x30) return [octets.toBase64()]
  return parsePEM(new TextDecoder().decode(octets))
    .filter(({ label }) => label === 'CERTIFICATE')
    .map(({ der }) => der.toBase64())
}

/** @throws UsageError */
function timeOf(option: string, written: string): string {
  const time = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z)?$/.test(written) ? new Date(written) : new Date(Number.NaN)
  if (Number.isNaN(time.getTime())) throw new UsageError(`${option} must be a time such as 2027-01-31 or 2027-01-31T12:00:00Z.`)
  return time.toISOString()
}
