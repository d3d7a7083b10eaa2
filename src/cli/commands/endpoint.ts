/** `sealworks endpoint`: where devices enroll. @module */
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { type Context, flag, integer, many, oneOf, type Parameters, required, text, type ValuesOf } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { checkWritable, writeOutput } from '../files.ts'
import { outputOptions } from '../formats.ts'
import { readJSONObject } from '../json-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Endpoint = AnswerOf<'showEndpoint'>
type Rules = NonNullable<InputOf<'changeEndpoint'>['body']>

type DeviceRule = NonNullable<NonNullable<InputOf<'setEndpointDevices'>['body']>['rule']>

const variants = ['tpm', 'secure-element', 'software', 'external'] as const
const LEVEL_MAX = 4

const label = required(text('LABEL', 'the name in its address: /.well-known/est/LABEL'))

const ruleOptions = {
  secrets: oneOf(['on', 'off'], 'whether one-time secrets authenticate here'),
  clientIssuer: many('CA', 'an authority whose certificates authenticate here'),
  registrationAuthority: many(
    'FINGERPRINT=SERIALS',
    'a station by the SHA-256 of its certificate (hex), and the product serials it may ask for: A-*,B-7',
  ),
  hardwareType: text('OID', 'type of the hardware in birth certificates, from the maker’s own arc'),
  name: many('PATTERN', 'a host name that may be asked for; * stands for any characters'),
  firstEnrollmentOnReenroll: oneOf(['on', 'off'], 'take first requests on the renewal path, as some clients send them'),
  rules: text('FILE', 'all rules as JSON instead; - for standard input'),
} satisfies Parameters

export const commands = [
  clientCommand({
    noun: 'endpoint',
    verb: 'create',
    summary: 'Bind a protocol to an authority, a profile and rules',
    details: 'Whoever no rule names is refused: an endpoint without rules answers nobody.',
    example: 'sealworks endpoint create line1 --ca line1 --profile idevid --secrets on --hardware-type 1.3.6.1.4.1.99999.1',
    operands: { label },
    options: {
      ca: required(text('CA', 'the authority that issues')),
      profile: required(text('ID', 'what the certificates look like')),
      default: flag('answers on the path without a label too'),
      ...ruleOptions,
    },
    async run(client, { label, ca, profile, default: isDefault, ...rules }, context) {
      const body = { label, authority: ca, profile, isDefault, rules: await rulesOf(context, rules, {}) }
      const value = await client.call('createEndpoint', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'list',
    summary: 'All endpoints',
    example: 'sealworks endpoint list',
    async run(client, _, { columns }) {
      const value = await client.call('listEndpoints', {})
      const shape = [
        { title: 'LABEL', cell: ({ label, isDefault }: Endpoint) => (isDefault ? `${label} (default)` : label) },
        { title: 'PROTOCOL', cell: ({ protocol }: Endpoint) => protocol },
        { title: 'CA', cell: ({ authority }: Endpoint) => authority },
        { title: 'PROFILE', cell: ({ profile }: Endpoint) => profile },
        { title: 'STATE', cell: ({ state }: Endpoint) => state },
      ]
      return { value, text: table(value.endpoints, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'show',
    summary: 'One endpoint with its rules',
    example: 'sealworks endpoint show line1',
    operands: { label },
    run: async (client, { label }) => ({ value: await client.call('showEndpoint', { params: { label } }) }),
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'rules',
    summary: 'Change who may ask for what',
    details: 'What is given replaces what was there under that name; the rest stays. --rules replaces everything.',
    example: 'sealworks endpoint rules line1 --client-issuer births.1 --client-issuer line1.1',
    operands: { label },
    options: ruleOptions,
    async run(client, { label, ...given }, context) {
      const { rules } = await client.call('showEndpoint', { params: { label } })
      const value = await client.call('changeEndpoint', { params: { label }, body: await rulesOf(context, given, rules) })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'secret',
    summary: 'Make a one-time secret with which one device enrolls',
    details: 'The password is shown this once and kept nowhere.',
    example: 'sealworks endpoint secret line1 --product-serial A-1042 --valid-seconds 3600',
    operands: { label },
    options: {
      productSerial: text('SERIAL', 'the only device that may use it'),
      validSeconds: integer('N', 60, 90 * 86_400, 'a day unless told'),
      ...outputOptions,
    },
    async run(client, { label, productSerial, validSeconds, out, force }, context) {
      if (out !== undefined) checkWritable(context, out, force)
      const body = { ...(productSerial !== undefined && { productSerial }), ...(validSeconds !== undefined && { validSeconds }) }
      const secret = await client.call('createEnrollmentSecret', { params: { label }, body })
      if (out === undefined) return { value: secret, text: fields(secret) }
      writeOutput(context, { file: out, octets: `${secret.userName}:${secret.password}\n`, isSecret: true, force })
      const { password: _, ...value } = secret
      return { value: { ...value, file: out }, text: `${out} is written: name and password, until ${secret.expiresAt}.\n` }
    },
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'devices',
    summary: 'Say what enrollment at an endpoint means for devices, or show it',
    details:
      'With --model, births are recorded as devices of the model; with --area, what is issued are operational certificates of the area. An endpoint that says nothing records nothing, and still refuses devices that are cut off.',
    example: 'sealworks endpoint devices line1 --model acme/pump --variant software --assurance 2 --unknown record',
    operands: { label },
    options: {
      model: text('MANUFACTURER/MODEL', 'what is born here'),
      revision: text('REVISION', 'with --model: of the hardware'),
      variant: oneOf(variants, 'with --model: how the line makes keys'),
      assurance: integer('N', 0, LEVEL_MAX, 'with --model: how far that is believed'),
      area: text('OWNER/AREA', 'where devices that enroll here are used'),
      unknown: oneOf(['record', 'refuse', 'pass'], 'what becomes of a device that nobody planned, or that is not recorded'),
      none: flag('nothing any more'),
    },
    async run(client, { label, none, ...given }) {
      const rule = deviceRule(given)
      const answer =
        rule === undefined && !none
          ? await client.call('showEndpointDevices', { params: { label } })
          : await client.call('setEndpointDevices', { params: { label }, body: rule === undefined ? {} : { rule } })
      return { value: answer, text: answer.rule === undefined ? 'none\n' : fields(answer.rule) }
    },
  }),

  clientCommand({
    noun: 'endpoint',
    verb: 'disable',
    summary: 'Refuse every request at an endpoint from now on',
    example: 'sealworks endpoint disable line1',
    operands: { label },
    async run(client, { label }) {
      const value = await client.call('disableEndpoint', { params: { label } })
      return { value, text: `${label} is disabled.\n` }
    },
  }),
]

interface GivenRule {
  readonly model: string | undefined
  readonly revision: string | undefined
  readonly variant: (typeof variants)[number] | undefined
  readonly assurance: number | undefined
  readonly area: string | undefined
  readonly unknown: 'record' | 'refuse' | 'pass' | undefined
}

/** @throws UsageError */
function deviceRule({ model, revision, variant, assurance, area, unknown = 'refuse' }: GivenRule): DeviceRule | undefined {
  const wrong = (what: string): UsageError => new UsageError(what, ['endpoint', 'devices'])
  if (model !== undefined && area !== undefined) throw wrong('An endpoint is for births or for an area: give --model or --area.')
  if (area !== undefined) {
    if (unknown === 'record') throw wrong('With --area, --unknown is refuse or pass.')
    return { kind: 'area', area, unknown }
  }
  if (model === undefined) return undefined
  if (variant === undefined || assurance === undefined) throw wrong('With --model, say --variant and --assurance.')
  if (unknown === 'pass') throw wrong('With --model, --unknown is record or refuse.')
  return { kind: 'birth', model, variant, assurance, unknown, ...(revision !== undefined && { revision }) }
}

async function rulesOf(context: Context, given: ValuesOf<typeof ruleOptions>, before: Rules): Promise<Rules> {
  const { rules: file, secrets, clientIssuer, registrationAuthority, hardwareType, name, firstEnrollmentOnReenroll } = given
  if (file !== undefined) return readJSONObject(context, file) // the server says what is wrong with it
  return {
    ...before,
    ...(secrets !== undefined && { secrets: secrets === 'on' }),
    ...(clientIssuer.length > 0 && { clientIssuers: [...clientIssuer] }),
    ...(registrationAuthority.length > 0 && { registrationAuthorities: registrationAuthority.map(parseStation) }),
    ...(hardwareType !== undefined && { hardwareType }),
    ...(name.length > 0 && { names: [...name] }),
    ...(firstEnrollmentOnReenroll !== undefined && { firstEnrollmentOnReenroll: firstEnrollmentOnReenroll === 'on' }),
  }
}

function parseStation(written: string): { fingerprint: string; productSerials: string[] } {
  const [, hex = '', serials = ''] = /^([0-9a-fA-F:]+)=(.+)$/.exec(written) ?? []
  const fingerprint = hex.replaceAll(':', '').toLowerCase()
  const productSerials = serials.split(',').filter((serial) => serial !== '')
  if (fingerprint.length !== 64 || productSerials.length === 0)
    throw new UsageError('--registration-authority is written as 64 hexadecimal digits, "=", and serials with commas between.', [
      'endpoint',
      'rules',
    ])
  return { fingerprint, productSerials }
}
