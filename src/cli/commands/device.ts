/** `sealworks device`: devices from their plan to their end. @module */
import type { AnswerOf, InputOf } from '#server/rest/client.ts'
import { flag, integer, oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { type Device, deviceOperand, findDevice } from '../device.ts'
import { genuineCommands } from '../genuine.ts'
import { ownershipCommands } from '../ownership.ts'
import { fields, table } from '../terminal.ts'

type State = NonNullable<NonNullable<InputOf<'findDevices'>['query']>['state']>
type History = AnswerOf<'showDeviceHistory'>
type Act =
  | 'releaseDevice'
  | 'scrapDevice'
  | 'shipDevice'
  | 'suspendDevice'
  | 'resumeDevice'
  | 'quarantineDevice'
  | 'clearDevice'
  | 'decommissionDevice'

const device = deviceOperand
const flags = ['lost', 'stolen', 'clone'] as const

const acting = (verb: string, operation: Act, summary: string, done: string) =>
  clientCommand({
    noun: 'device',
    verb,
    summary,
    example: `sealworks device ${verb} A-1042`,
    operands: { device },
    options: { reason: text('TEXT', 'for its history; nothing personal') },
    async run(client, { device: written, reason }) {
      const id = await findDevice(client, written)
      const value = await client.call(operation, { params: { id }, body: reason === undefined ? {} : { reason } })
      return { value, text: `${value.productSerial} ${done} (${value.state}).\n` }
    },
  })

export const commands = [
  clientCommand({
    noun: 'device',
    verb: 'list',
    summary: 'Find devices, newest first',
    example: 'sealworks device list --area carworks/paint --state suspended',
    options: {
      serial: text('SERIAL', 'a serial, in upper or lower case'),
      model: text('MANUFACTURER/MODEL', 'devices of it'),
      manufacturer: text('NAME', 'devices it made'),
      owner: text('NAME', 'devices it owns'),
      area: text('OWNER/AREA', 'devices in it'),
      state: text('STATE', 'such as born, active, suspended'),
      flag: oneOf(flags, 'devices of which this is said'),
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
      cursor: text('CURSOR', 'where to go on: `next` of the page before'),
    },
    async run(client, { serial, model, manufacturer, owner, area, state, flag: said, limit, cursor }, { columns }) {
      const { items, next } = await client.call('findDevices', {
        query: {
          ...(serial !== undefined && { productSerial: serial }),
          ...(model !== undefined && { model }),
          ...(manufacturer !== undefined && { manufacturer }),
          ...(owner !== undefined && { owner }),
          ...(area !== undefined && { area }),
          ...(state !== undefined && { state: state as State }), // the server knows which there are
          ...(said !== undefined && { flag: said }),
          ...(limit !== undefined && { limit }),
          ...(cursor !== undefined && { cursor }),
        },
      })
      const shape = [
        { title: 'SERIAL', cell: ({ productSerial }: Device) => productSerial },
        { title: 'MODEL', cell: ({ model: of }: Device) => of },
        { title: 'STATE', cell: ({ state: now, flags: all }: Device) => [now, ...all].join(', ') },
        { title: 'LEVEL', cell: ({ assurance }: Device) => `AL${assurance}` },
        { title: 'OWNER', cell: ({ owner: by, epoch }: Device) => by && `${by} (${epoch})` },
        { title: 'AREA', cell: ({ area: at }: Device) => at },
        { title: 'ID', cell: ({ id }: Device) => id },
      ]
      return { value: { devices: items, next }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'register',
    summary: 'Plan a device: its serial belongs to its model from now on',
    example: 'sealworks device register acme/pump A-1042',
    operands: {
      model: required(text('MANUFACTURER/MODEL', 'what it is')),
      serial: required(text('SERIAL', 'as its maker writes it')),
    },
    options: { revision: text('REVISION', 'of the hardware') },
    async run(client, { model, serial, revision }) {
      const body = { model, productSerial: serial, ...(revision !== undefined && { revision }) }
      const value = await client.call('registerDevice', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'show',
    summary: 'One device',
    example: 'sealworks device show A-1042',
    operands: { device },
    async run(client, { device: written }) {
      const value = await client.call('showDevice', { params: { id: await findDevice(client, written) } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'history',
    summary: 'What became of a device, from its first record to now',
    example: 'sealworks device history A-1042',
    operands: { device },
    async run(client, { device: written }, { columns }) {
      const value = await client.call('showDeviceHistory', { params: { id: await findDevice(client, written) } })
      return { value, text: described(value, columns) }
    },
  }),

  acting('release', 'releaseDevice', 'The device is found good at the end of the line', 'is released'),
  acting('scrap', 'scrapDevice', 'The device goes no further; its certificates are revoked', 'is scrapped'),
  acting('ship', 'shipDevice', 'The device leaves its maker', 'is shipped'),
  acting('suspend', 'suspendDevice', 'Put a device and its certificates on hold', 'is on hold'),
  acting('resume', 'resumeDevice', 'Let a suspended device go on', 'goes on'),
  acting('quarantine', 'quarantineDevice', 'Trust nothing of a device until it is cleared', 'is not trusted'),
  acting('clear', 'clearDevice', 'A device is what it was before its quarantine', 'is cleared'),
  acting('decommission', 'decommissionDevice', 'A device ends; its certificates are revoked', 'has ended'),

  clientCommand({
    noun: 'device',
    verb: 'flag',
    summary: 'Say that a device is lost, stolen or a clone: its certificates are refused from now on',
    example: 'sealworks device flag A-1042 lost',
    operands: { device, flag: required(oneOf(flags, 'what is said of it')) },
    options: { clear: flag('it is not so any more') },
    async run(client, { device: written, flag: said, clear }) {
      const id = await findDevice(client, written)
      const params = { id, flag: said }
      const value = clear ? await client.call('unflagDevice', { params }) : await client.call('flagDevice', { params, body: {} })
      return {
        value,
        text: `${value.productSerial} is ${clear ? 'not ' : ''}said to be ${said === 'clone' ? 'a clone' : said}.\n`,
      }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'reports',
    summary: 'What a device says of itself, and why it was cut off for that',
    example: 'sealworks device reports A-1042',
    operands: { device },
    async run(client, { device: written }) {
      const value = await client.call('showDeviceReports', { params: { id: await findDevice(client, written) } })
      const { faults } = value
      return { value, text: fields({ ...value, faults: faults.length === 0 ? 'none' : faults.join('; ') }) }
    },
  }),
  clientCommand({
    noun: 'device',
    verb: 'accept-state',
    summary: 'Take what a device says next of itself as right, and hold later reports against it',
    details: 'After a repair, a release of software, or when a device that was cut off as a copy was found to be the true one.',
    example: 'sealworks device accept-state A-1042',
    operands: { device },
    async run(client, { device: written }) {
      const value = await client.call('acceptDeviceState', { params: { id: await findDevice(client, written) }, body: {} })
      return { value, text: 'What it reports next is taken as right.\n' }
    },
  }),

  clientCommand({
    noun: 'device',
    verb: 'import',
    summary: 'Register devices of a list, in batches that are kept whole or not at all',
    details:
      'CSV with a first line of serial and, if wanted, model, revision and kind; or one JSON object with these a line. Batches have 500 lines; of one with a line that is refused nothing is registered. A list that was broken off is given again. Ends with 1 when lines were refused.',
    example: 'sealworks device import pumps.csv --model acme/pump',
    operands: { file: required(text('FILE', 'the list')) },
    options: { model: text('MANUFACTURER/MODEL', 'of lines that name none') },
    run: async (client, { file, model }, context) =>
      (await import('../device-import.ts')).importDevices(client, context, file, model),
  }),
  ...ownershipCommands,
  ...genuineCommands,
]

function described({ device: now, events, birth, certificates, owners, areas }: History, columns: number | undefined): string {
  const second = (time: string): string => time.slice(0, 19)
  const parts = [
    fields(now),
    ...(birth === undefined ? [] : [`\nbirth\n${fields(birth, '  ')}`]),
    `\n${table(
      events,
      [
        { title: 'AT', cell: ({ at }: History['events'][number]) => second(at) },
        { title: 'ACT', cell: ({ act }: History['events'][number]) => act },
        { title: 'STATE', cell: ({ to }: History['events'][number]) => to },
        { title: 'EPOCH', cell: ({ epoch }: History['events'][number]) => epoch },
        { title: 'BY', cell: ({ actor }: History['events'][number]) => actor },
        {
          title: 'FACTS',
          cell: ({ facts }: History['events'][number]) =>
            Object.entries(facts)
              .map(([name, fact]) => `${name} ${fact}`)
              .join(', '),
        },
      ],
      columns,
    )}`,
    `\n${table(
      certificates,
      [
        { title: 'CERTIFICATE', cell: ({ id }: History['certificates'][number]) => id },
        { title: 'ROLE', cell: ({ role }: History['certificates'][number]) => role },
        { title: 'STANDING', cell: ({ standing }: History['certificates'][number]) => standing },
        { title: 'EPOCH', cell: ({ epoch }: History['certificates'][number]) => epoch },
        { title: 'AREA', cell: ({ area }: History['certificates'][number]) => area },
      ],
      columns,
    )}`,
    ...(owners.length === 0 ? [] : [`\n${spans('OWNER', owners, columns)}`]),
    ...(areas.length === 0 ? [] : [`\n${spans('AREA', areas, columns)}`]),
  ]
  return parts.join('')
}

const spans = (title: string, all: History['owners'], columns: number | undefined): string =>
  table(
    all,
    [
      { title, cell: ({ name }: History['owners'][number]) => name },
      { title: 'EPOCH', cell: ({ epoch }: History['owners'][number]) => epoch },
      { title: 'FROM', cell: ({ from }: History['owners'][number]) => from.slice(0, 19) },
      { title: 'UNTIL', cell: ({ until }: History['owners'][number]) => until?.slice(0, 19) },
    ],
    columns,
  )
