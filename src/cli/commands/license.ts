/** `sealworks license`: what of a device may be used until when, signed for that device alone. @module */
import { EPOCH_MAX, GRACE_MAX_DAYS, licenseForms, LIMIT_MAX, OFFLINE_MAX_DAYS, SEQUENCE_MAX } from '#licenses/messages.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { command, type Context, flag, integer, many, oneOf, required, some, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { deviceOperand, findDevice } from '../device.ts'
import { writeOutput } from '../files.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'
import { waitsFor } from '../waiting.ts'

type License = AnswerOf<'showLicense'>
type Maker = AnswerOf<'setLicenseMaker'>
type Issued = AnswerOf<'issueLicense'>

const licenseId = required(text('LICENSE', 'its id'))
const makerName = required(text('MAKER', 'the organization that made the devices'))
const out = {
  out: text('FILE', 'where the signed license goes'),
  force: flag('replace the file if it is there'),
}
const terms = {
  feature: some('NAME[=LIMIT]', 'what may be used, and how much of it'),
  form: oneOf(licenseForms, 'COSE (cwt) for small devices, or JOSE (jws); cwt unless told'),
  from: text('TIME', 'when it begins, such as 2027-01-31; now unless told'),
  until: text('TIME', 'when it ends; never unless told'),
  grace: integer('DAYS', 0, GRACE_MAX_DAYS, 'after its end, until it stops; 0 unless told'),
  owned: flag('only for the owner that the device has now'),
  offline: integer('DAYS', 1, OFFLINE_MAX_DAYS, 'how long it holds without word from its issuer; for ever unless told'),
}

interface Terms {
  readonly feature: readonly string[]
  readonly form: (typeof licenseForms)[number] | undefined
  readonly from: string | undefined
  readonly until: string | undefined
  readonly grace: number | undefined
  readonly owned: boolean
  readonly offline: number | undefined
}

const termsIn = ({ feature, form, from, until, grace, owned, offline }: Terms) => ({
  features: feature.map(featureIn),
  ...(form !== undefined && { form }),
  ...(from !== undefined && { notBefore: timeIn('from', from) }),
  ...(until !== undefined && { expiresAt: timeIn('until', until) }),
  ...(grace !== undefined && { graceDays: grace }),
  isTransferable: !owned,
  ...(offline !== undefined && { offlineMaxDays: offline }),
})

function featureIn(written: string): { name: string; limit?: number } {
  const [name = '', limit, ...more] = written.split('=')
  if (limit === undefined) return { name }
  if (more.length > 0 || !/^\d{1,10}$/.test(limit) || Number(limit) > LIMIT_MAX)
    throw new UsageError(`--feature ${written}: the limit is a whole number up to ${LIMIT_MAX}.`)
  return { name, limit: Number(limit) }
}

function timeIn(option: string, written: string): string {
  const time = new Date(written)
  if (!/^\d{4}-\d\d-\d\d(?:T[\d:.]+Z)?$/.test(written) || Number.isNaN(time.getTime()))
    throw new UsageError(`--${option} must be like 2027-01-31 or 2027-01-31T12:00:00Z.`)
  return time.toISOString()
}

const named = ({ features }: License): string =>
  features.map(({ name, limit }) => (limit === undefined ? name : `${name} ${limit}`)).join(', ')

function answerOf(
  value: Issued,
  context: Context,
  { out: file, force }: { readonly out: string | undefined; readonly force: boolean },
) {
  if (value.state === 'waiting') return waitsFor(value)
  const { license: octets = '' } = value
  if (file !== undefined) writeOutput(context, { file, octets: Uint8Array.fromBase64(octets), isSecret: false, force })
  return { value, text: described(value) }
}

const described = ({ license, ...value }: License): string =>
  fields({ ...value, features: named(value), license: license === undefined ? 'not signed yet' : 'signed; --out gives it' })

export const commands = [
  clientCommand({
    noun: 'license',
    verb: 'issue',
    summary: 'License features to a device, bound to the key that it was born with',
    details:
      'By the maker of the device, whose signer signs it. Ends with 6 while people have to agree; the same command goes on once they have. The device fetches it by itself; --out gives it as a file.',
    example: 'sealworks license issue acme A-1042 --feature drill --feature holes=100000 --until 2028-01-01 --grace 14',
    operands: { maker: makerName, device: deviceOperand },
    options: { ...terms, ...out },
    async run(client, { maker, device, out: file, force, ...given }, context) {
      const body = { maker, device: await findDevice(client, device), ...termsIn(given) }
      return answerOf(await client.call('issueLicense', { body }), context, { out: file, force })
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'replace',
    summary: 'Put a license with other terms in the place of one, under the next sequence',
    details:
      'The device takes the newer one and none before it again. With --recall the one before also ends where the status list arrives first.',
    example: 'sealworks license replace 0190a000-… --feature drill --until 2029-01-01 --recall',
    operands: { license: licenseId },
    options: { ...terms, recall: flag('the one before holds no longer'), ...out },
    async run(client, { license: id, recall, out: file, force, ...given }, context) {
      const body = { ...termsIn(given), recalls: recall }
      return answerOf(await client.call('replaceLicense', { params: { id }, body }), context, { out: file, force })
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'revoke',
    summary: 'Take a license back, for good',
    details:
      'A device without a network goes on with it until the status list arrives, or for as long as the license holds offline. So its places in pools stay taken, unless --return says that it is not used any more.',
    example: 'sealworks license revoke 0190a000-… --reason "device scrapped" --return',
    operands: { license: licenseId },
    options: {
      reason: required(text('TEXT', 'for the audit log; nothing personal')),
      return: flag('it is not used any more: its places are free'),
    },
    async run(client, { license: id, reason, return: returnsPlaces }) {
      const value = await client.call('revokeLicense', { params: { id }, body: { reason, returnsPlaces } })
      return { value, text: described(value) }
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'list',
    summary: 'Find licenses, newest first',
    example: 'sealworks license list --maker acme --device A-1042',
    options: {
      maker: text('MAKER', 'those that it issued'),
      device: text('DEVICE', 'those of this device: its id, or its serial'),
      state: oneOf(['asked', 'issued', 'revoked'], 'those that are'),
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { maker, device, state, limit, cursor }, { columns }) {
      const { items, next } = await client.call('findLicenses', {
        query: {
          ...(maker !== undefined && { maker }),
          ...(device !== undefined && { device: await findDevice(client, device) }),
          ...(state !== undefined && { state }),
          ...(limit !== undefined && { limit }),
          ...(cursor !== undefined && { cursor }),
        },
      })
      const shape = [
        { title: 'DEVICE', cell: ({ productSerial }: License) => productSerial },
        { title: 'MODEL', cell: ({ model }: License) => model },
        { title: 'FEATURES', cell: named },
        {
          title: 'STATE',
          cell: ({ state: now, isAsked }: License) => (isAsked && now === 'issued' ? 'issued, next asked' : now),
        },
        { title: 'SEQUENCE', cell: ({ sequence }: License) => sequence },
        { title: 'UNTIL', cell: ({ expiresAt }: License) => expiresAt?.slice(0, 10) },
        { title: 'OWNER', cell: ({ owner, epoch }: License) => owner && `${owner} (${epoch})` },
        { title: 'ID', cell: ({ id }: License) => id },
      ]
      return { value: { licenses: items, next }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'show',
    summary: 'One license, as it was signed last',
    example: 'sealworks license show 0190a000-… --out A-1042.license',
    operands: { license: licenseId },
    options: out,
    async run(client, { license: id, ...rest }, context) {
      return answerOf(await client.call('showLicense', { params: { id } }), context, rest)
    },
  }),

  command({
    noun: 'license',
    verb: 'check',
    summary: 'Say whether a license holds, on which device, and until when; with no server',
    details:
      'Asks no network and changes nothing. Without --certificate only the signature and the times are checked. Ends with 9 when it does not hold.',
    example: 'sealworks license check A-1042.license --trust license-root.pem --certificate idevid.pem --status acme.status',
    operands: { file: required(text('FILE', 'the license')) },
    options: {
      trust: some('FILE', 'who is trusted for licenses: signers, or roots that issue to them and nobody else; PEM or DER'),
      certificate: text('FILE', 'the birth certificate of the device, PEM or DER'),
      model: text('MANUFACTURER/MODEL', 'what the device is'),
      status: many('FILE', 'lists of what was taken back; the newest of each issuer counts'),
      at: text('TIME', 'as of then, such as 2027-01-31 or 2027-01-31T12:00:00Z; now unless told'),
      seen: text('TIME', 'the latest time that was ever seen'),
      sequence: integer('N', 0, SEQUENCE_MAX, 'the highest of this license that was ever seen'),
      epoch: integer('N', 0, EPOCH_MAX, 'of the device’s ownership, as far as it is known'),
    },
    async run(context, values) {
      const { checkFile } = await import('../check-license.ts')
      return checkFile(context, values)
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'status',
    summary: 'Sign the list of what a maker took back, for devices without a network',
    details:
      'The server does it by itself, after each change and once a day. The list also is the word that licenses with --offline wait for.',
    example: 'sealworks license status acme --out acme.status',
    operands: { maker: makerName },
    options: out,
    async run(client, { maker, out: file, force }, context) {
      const value = await client.call('publishLicenseStatus', { params: { maker }, body: {} })
      if ('state' in value) return waitsFor(value)
      const { list, ...shown } = value
      if (file !== undefined) writeOutput(context, { file, octets: Uint8Array.fromBase64(list), isSecret: false, force })
      return { value, text: fields(shown) }
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'maker',
    summary: 'Say which signer signs the licenses of a maker, or list the makers with their pools',
    details:
      'The signer needs a certificate of the profile statement-signing and formats cose-sign1 and jws, and its only user is the role server:licenses.',
    example: 'sealworks license maker acme --signer acme-licenses',
    operands: { maker: text('MAKER', 'the organization; all of them when left out') },
    options: { signer: text('NAME', 'the signer') },
    async run(client, { maker, signer }, { columns }) {
      if (maker === undefined || signer === undefined) {
        const { items } = await client.call('listLicenseMakers', {})
        const found = items.filter((one) => maker === undefined || one.maker === maker)
        return { value: { makers: found }, text: makers(found, columns) }
      }
      const value = await client.call('setLicenseMaker', { params: { maker }, body: { signer } })
      return { value, text: makers([value], columns) }
    },
  }),

  clientCommand({
    noun: 'license',
    verb: 'pool',
    summary: 'Say how many licenses with a feature a maker has: never one more',
    example: 'sealworks license pool acme drill --most 500',
    operands: { maker: makerName, feature: required(text('FEATURE', 'what is licensed')) },
    options: { most: required(integer('N', 0, LIMIT_MAX, 'how many, with those that are out already')) },
    async run(client, { maker, feature, most }, { columns }) {
      const value = await client.call('setLicensePool', { params: { maker, feature }, body: { most } })
      return { value, text: makers([value], columns) }
    },
  }),
]

const makers = (list: readonly Maker[], columns: number | undefined): string =>
  table(
    list,
    [
      { title: 'MAKER', cell: ({ maker }: Maker) => maker },
      { title: 'SIGNER', cell: ({ signer }: Maker) => signer },
      { title: 'STATUS', cell: ({ statusVersion, isDue }: Maker) => `${statusVersion}${isDue ? ', behind' : ''}` },
      {
        title: 'POOLS',
        cell: ({ pools }: Maker) => pools.map(({ feature, most, taken }) => `${feature} ${taken}/${most}`).join(', '),
      },
    ],
    columns,
  )
