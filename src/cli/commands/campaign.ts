/** `sealworks campaign`: releases rolled out to devices, in waves. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { flag, integer, many, oneOf, required, some, text } from '../command.ts'
import { type Caller, clientCommand } from '../connection.ts'
import { deviceOperand, findDevice } from '../device.ts'
import { findRelease, releaseOperand } from '../release.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Campaign = AnswerOf<'listCampaigns'>['items'][number]
type Terms = Campaign['terms']
type Laggard = AnswerOf<'campaignLaggards'>['items'][number]
type Wave = AnswerOf<'campaignProgress'>['waves'][number]
type Tenant = AnswerOf<'listUpdateTenants'>['items'][number]

const name = required(text('CAMPAIGN', 'its name'))
const reason = required(text('TEXT', 'for the audit log'))
const paging = {
  limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
  cursor: text('CURSOR', 'where to go on: `next` of the page before'),
}

const wordsOf = ({ name: called, state, component, version, devices }: Campaign): string =>
  `Campaign ${called} (${component} ${version}) is ${state}${devices === 0 ? '' : `, with ${devices} devices`}.\n`

export const commands = [
  clientCommand({
    noun: 'campaign',
    verb: 'create',
    summary: 'Plan which devices get a release, in which waves, when, and with whose consent',
    details:
      'Nothing happens before "campaign start". A wave opens when enough devices of the one before show, by a report that they signed, that the new version runs. Times are UTC.',
    example:
      'sealworks campaign create spring --release press-os/2.0.0 --model acme/press --area carworks/paint --wave 100 --wave 10% --gate 95 --window "sat 22:00+360"',
    operands: { name },
    options: {
      release: releaseOperand,
      rollback: flag('each device goes back to it, from the very version that it has'),
      model: text('MAKER/MODEL', 'devices of this model'),
      revision: text('NAME', 'of this hardware revision'),
      owner: text('ORGANIZATION', 'of this owner'),
      area: text('OWNER/AREA', 'in this application area'),
      device: many('DEVICE', 'this device, by its id or serial'),
      installedFrom: integer('N', 0, Number.MAX_SAFE_INTEGER, 'only where the counter of what runs is this one at least'),
      installedTo: integer('N', 0, Number.MAX_SAFE_INTEGER, 'and this one at most'),
      wave: many('N|N%', 'so many devices, or so many of a hundred; who is left over comes in a last wave'),
      gate: integer('PERCENT', 0, 100, 'of a wave that has to run it before the next opens; 95 unless told'),
      errors: integer('PERCENT', 1, 100, 'of failures, at which it stops; 5 unless told'),
      least: integer('N', 1, 1_000_000, 'devices that are through before the rate counts; 20 unless told'),
      window: many('[DAY ]HH:MM+MINUTES', 'when devices may begin, such as "sat 22:00+360"; always unless told'),
      consent: oneOf(['none', 'driver', 'owner'], 'who is asked for each device; none unless told'),
      format: many('FORMAT', 'show only artifacts of this signing format to devices that do not say what they read'),
      optional: flag('devices may put it off'),
    },
    async run(client, given) {
      const { installedFrom, installedTo } = given
      const installed = {
        ...(installedFrom !== undefined && { counterMin: installedFrom }),
        ...(installedTo !== undefined && { counterMax: installedTo }),
      }
      const terms: Terms = {
        release: await findRelease(client, given.release),
        kind: given.rollback ? 'rollback' : 'install',
        who: {
          ...(given.model !== undefined && { model: given.model }),
          ...(given.revision !== undefined && { revision: given.revision }),
          ...(given.owner !== undefined && { owner: given.owner }),
          ...(given.area !== undefined && { area: given.area }),
          ...(given.device.length > 0 && { devices: await allDevices(client, given.device) }),
          ...(Object.keys(installed).length > 0 && { installed }),
        },
        waves: given.wave.map(waveOf),
        gatePercent: given.gate ?? 95,
        errors: { percent: given.errors ?? 5, least: given.least ?? 20 },
        windows: given.window.map(windowOf),
        consent: given.consent ?? 'none',
        ...(given.format.length > 0 && { formats: [...given.format] }),
        urgency: given.optional ? 'attempt' : 'forced',
      }
      const value = await client.call('createCampaign', { body: { name: given.name, terms } })
      return { value, text: `${wordsOf(value)}"campaign start ${value.name}" lists its devices and opens the first wave.\n` }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'list',
    summary: 'Campaigns, newest first',
    example: 'sealworks campaign list',
    options: paging,
    async run(client, { limit, cursor }, { columns }) {
      const query = { ...(limit !== undefined && { limit }), ...(cursor !== undefined && { cursor }) }
      const value = await client.call('listCampaigns', { query })
      const shape = [
        { title: 'CAMPAIGN', cell: ({ name: called }: Campaign) => called },
        { title: 'STATE', cell: ({ state, reason: why }: Campaign) => (why === null ? state : `${state} (${why})`) },
        { title: 'COMPONENT', cell: ({ component }: Campaign) => component },
        { title: 'VERSION', cell: ({ version }: Campaign) => version },
        { title: 'DEVICES', cell: ({ devices }: Campaign) => String(devices) },
        { title: 'WAVE', cell: ({ wave }: Campaign) => String(wave) },
      ]
      return { value: { campaigns: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'show',
    summary: 'One campaign',
    example: 'sealworks campaign show spring',
    operands: { name },
    async run(client, { name: called }) {
      const value = await client.call('showCampaign', { params: { name: called } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'start',
    summary: 'List the devices that match now, and open the first wave',
    details: 'Devices that come later are not part of it.',
    example: 'sealworks campaign start spring',
    operands: { name },
    async run(client, { name: called }) {
      const value = await client.call('startCampaign', { params: { name: called } })
      return { value, text: wordsOf(value) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'pause',
    summary: 'Offer it to nobody until it goes on; who has begun may finish',
    example: 'sealworks campaign pause spring --reason "line 3 has a fair"',
    operands: { name },
    options: { reason },
    async run(client, { name: called, reason: why }) {
      const value = await client.call('pauseCampaign', { params: { name: called }, body: { reason: why } })
      return { value, text: wordsOf(value) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'resume',
    summary: 'Go on with a campaign that is paused',
    example: 'sealworks campaign resume spring',
    operands: { name },
    async run(client, { name: called }) {
      const value = await client.call('resumeCampaign', { params: { name: called } })
      return { value, text: wordsOf(value) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'stop',
    summary: 'Stop for good; who has begun is told to give it up',
    example: 'sealworks campaign stop spring --reason "valves stick"',
    operands: { name },
    options: { reason },
    async run(client, { name: called, reason: why }) {
      const value = await client.call('stopCampaign', { params: { name: called }, body: { reason: why } })
      return { value, text: wordsOf(value) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'next-wave',
    summary: 'Open the next wave, whatever came of the one before',
    example: 'sealworks campaign next-wave spring',
    operands: { name },
    async run(client, { name: called }) {
      const value = await client.call('openNextWave', { params: { name: called } })
      return { value, text: `Wave ${value.wave} is open.\n` }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'consent',
    summary: 'Say for the owner that they agree, for devices that are offered it and are theirs',
    example: 'sealworks campaign consent spring P7-000123 P7-000124 --owner carworks',
    operands: { name, devices: some('DEVICE', 'their ids or serials') },
    options: { owner: required(text('ORGANIZATION', 'who agreed')) },
    async run(client, { name: called, devices, owner }) {
      const body = { owner, devices: await allDevices(client, devices) }
      const value = await client.call('consentToCampaign', { params: { name: called }, body })
      return { value, text: `The consent is noted for ${value.devices} of ${devices.length}.\n` }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'progress',
    summary: 'How many devices are where, wave by wave',
    example: 'sealworks campaign progress spring',
    operands: { name },
    async run(client, { name: called }, { columns }) {
      const value = await client.call('campaignProgress', { params: { name: called } })
      const { planned, offered, confirmed, downloading, installing, ...ended } = value.states
      const shape = [
        { title: 'WAVE', cell: ({ wave }: Wave) => String(wave) },
        { title: 'DEVICES', cell: ({ devices }: Wave) => String(devices) },
        { title: 'OPENED', cell: ({ openedAt }: Wave) => openedAt?.slice(0, 19) ?? '' },
        { title: 'SUCCEEDED', cell: ({ states }: Wave) => String(states.succeeded) },
        { title: 'FAILED', cell: ({ states }: Wave) => String(states.failed) },
        { title: 'REJECTED', cell: ({ states }: Wave) => String(states.rejected) },
        { title: 'CANCELED', cell: ({ states }: Wave) => String(states.canceled) },
      ]
      const open = { planned, offered, confirmed, downloading, installing }
      const reasons = value.reasons.map(({ state, reason: why, devices }) => `${state}: ${why} (${devices})\n`).join('')
      const head = fields({ state: value.state, devices: value.devices, wave: value.wave, ...open, ...ended })
      return { value, text: `${head}\n${table(value.waves, shape, columns)}${reasons === '' ? '' : `\n${reasons}`}` }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'laggards',
    summary: 'Devices of open waves that do not run the new version, and why',
    example: 'sealworks campaign laggards spring --state failed',
    operands: { name },
    options: {
      state: oneOf(
        ['planned', 'offered', 'confirmed', 'downloading', 'installing', 'failed', 'canceled', 'rejected'],
        'only those in this state',
      ),
      ...paging,
    },
    async run(client, { name: called, state, limit, cursor }, { columns }) {
      const query = {
        ...(state !== undefined && { state }),
        ...(limit !== undefined && { limit }),
        ...(cursor !== undefined && { cursor }),
      }
      const value = await client.call('campaignLaggards', { params: { name: called }, query })
      const shape = [
        { title: 'DEVICE', cell: ({ productSerial, device }: Laggard) => productSerial ?? device },
        { title: 'WAVE', cell: ({ wave }: Laggard) => String(wave) },
        { title: 'LAG', cell: ({ lag }: Laggard) => lag },
        { title: 'REASON', cell: ({ reason: why }: Laggard) => why ?? '' },
        { title: 'SEEN', cell: ({ seenAt }: Laggard) => seenAt?.slice(0, 19) ?? 'never' },
        { title: 'DETAIL', cell: ({ detail }: Laggard) => detail ?? '' },
      ]
      return { value: { laggards: value.items, next: value.next }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'tenants',
    summary: 'The addresses at which devices ask for updates',
    example: 'sealworks campaign tenants',
    async run(client, _, { columns }) {
      const value = await client.call('listUpdateTenants', {})
      const shape = [
        { title: 'TENANT', cell: ({ name: called }: Tenant) => called },
        { title: 'STATE', cell: ({ state }: Tenant) => state },
        { title: 'POLLING', cell: ({ pollingSeconds }: Tenant) => `${pollingSeconds} s` },
        { title: 'TOKENS', cell: ({ takesTokens }: Tenant) => (takesTokens ? 'taken' : 'refused') },
      ]
      return { value: { tenants: value.items }, text: table(value.items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'tenant',
    summary: 'Open an address at which devices ask for updates, or change what is told of it',
    details:
      'It is /ddi/TENANT. Devices come with their certificates. --tokens lets those in as well that have none and show a token of "campaign token".',
    example: 'sealworks campaign tenant plant2 --polling 300',
    operands: { tenant: required(text('TENANT', 'letters, digits, dots, hyphens and underscores')) },
    options: {
      polling: integer('SECONDS', 1, 86_400, 'how often devices are to ask; 300 unless told'),
      tokens: flag('take tokens'),
      disable: flag('close it'),
    },
    async run(client, { tenant, polling, tokens, disable }) {
      const body = { pollingSeconds: polling ?? 300, takesTokens: tokens, state: disable ? 'disabled' : 'enabled' } as const
      const value = await client.call('putUpdateTenant', { params: { name: tenant }, body })
      return { value, text: `Tenant ${value.name} is ${value.state}; tokens are ${value.takesTokens ? 'taken' : 'refused'}.\n` }
    },
  }),

  clientCommand({
    noun: 'campaign',
    verb: 'token',
    summary: 'Make a token by which a device without a certificate asks for updates',
    details: 'It is shown once. The one before ends.',
    example: 'sealworks campaign token P7-000123',
    operands: { device: deviceOperand },
    async run(client, { device }) {
      const value = await client.call('createUpdateToken', { params: { id: await findDevice(client, device) } })
      return { value, text: `${value.token}\n` }
    },
  }),
]

async function allDevices(client: Caller, written: readonly string[]): Promise<string[]> {
  const ids: string[] = []
  for (const one of written) ids.push(await findDevice(client, one))
  return ids
}

const wrong = (problem: string): UsageError => new UsageError(problem, ['campaign', 'create'])

function waveOf(written: string): Terms['waves'][number] {
  const [, number, percent] = /^(\d{1,7}(?:\.\d{1,3})?)(%?)$/.exec(written) ?? []
  if (number === undefined) throw wrong('--wave is written such as 100 or 10%.')
  if (percent === '%') return { percent: Number(number) }
  if (!/^\d+$/.test(number)) throw wrong('--wave has a whole number of devices.')
  return { devices: Number(number) }
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

function windowOf(written: string): Terms['windows'][number] {
  const [, day, hours, minutes, length] =
    /^(?:([a-z]{3}) )?([01]\d|2[0-3]):([0-5]\d)\+(\d{1,4})$/.exec(written.toLowerCase()) ?? []
  if (hours === undefined || (day !== undefined && !DAYS.includes(day)))
    throw wrong('--window is written such as "sat 22:00+360": a day if it is one, when it begins, and how many minutes it lasts.')
  return {
    ...(day !== undefined && { day: DAYS.indexOf(day) }),
    from: Number(hours) * 60 + Number(minutes),
    minutes: Number(length),
  }
}
