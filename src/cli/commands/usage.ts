/** `sealworks usage`: what devices counted, and the bill of it. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { flag, integer, oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { encodeCSVLine, plainField } from '../csv.ts'
import { deviceOperand, findDevice } from '../device.ts'
import { writeOutput } from '../files.ts'
import { fields, table } from '../terminal.ts'
import { timeOf } from '../verify-certificate.ts'

type Listed = AnswerOf<'listUsage'>['items'][number]
type Total = AnswerOf<'exportUsage'>['items'][number]
type Standing = AnswerOf<'showUsage'>

/** A new column goes to the end: programs read these by their place. */
const columnsOf = [
  'owner',
  'device',
  'productSerial',
  'model',
  'counter',
  'unit',
  'amount',
  'value',
  'records',
  'missing',
  'firstAt',
  'lastAt',
  'evidence',
] as const satisfies readonly (keyof Total)[]

const shown = ({ counters, alarms, ...rest }: Standing, columns: number | undefined): string =>
  [
    fields(rest),
    `\n${table(
      counters,
      [
        { title: 'COUNTER', cell: ({ name }: Standing['counters'][number]) => name },
        { title: 'TOTAL', cell: ({ value }: Standing['counters'][number]) => value },
        { title: 'UNIT', cell: ({ unit }: Standing['counters'][number]) => unit },
      ],
      columns,
    )}`,
    ...(alarms.length === 0
      ? []
      : [
          `\n${table(
            alarms,
            [
              { title: 'ALARM', cell: ({ kind }: Standing['alarms'][number]) => kind },
              { title: 'AT', cell: ({ at }: Standing['alarms'][number]) => at.slice(0, 19) },
              {
                title: 'FACTS',
                cell: ({ facts }: Standing['alarms'][number]) =>
                  Object.entries(facts)
                    .map(([name, fact]) => `${name} ${fact}`)
                    .join(', '),
              },
            ],
            columns,
          )}`,
        ]),
  ].join('')

export const commands = [
  clientCommand({
    noun: 'usage',
    verb: 'list',
    summary: 'Devices that count, those heard of last first',
    example: 'sealworks usage list --alarmed',
    options: {
      alarmed: flag('only those whose records looked wrong'),
      limit: integer('N', 1, 500, 'at most so many; 100 unless told'),
    },
    async run(client, { alarmed, limit }, { columns }) {
      const { items } = await client.call('listUsage', { query: { alarmed, ...(limit !== undefined && { limit }) } })
      const shape = [
        { title: 'DEVICE', cell: ({ productSerial }: Listed) => productSerial },
        { title: 'MODEL', cell: ({ model }: Listed) => model },
        { title: 'RECORD', cell: ({ number }: Listed) => number },
        { title: 'UNTIL', cell: ({ to }: Listed) => to.slice(0, 19) },
        { title: 'HEARD', cell: ({ receivedAt }: Listed) => receivedAt.slice(0, 19) },
        { title: 'ALARMS', cell: ({ alarms }: Listed) => (alarms === 0 ? undefined : alarms) },
      ]
      return { value: { devices: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'usage',
    verb: 'show',
    summary: 'What a device counted so far, and what of it looked wrong',
    example: 'sealworks usage show A-1042',
    operands: { device: deviceOperand },
    async run(client, { device }, { columns }) {
      const value = await client.call('showUsage', { params: { id: await findDevice(client, device) } })
      return { value, text: shown(value, columns) }
    },
  }),

  clientCommand({
    noun: 'usage',
    verb: 'export',
    summary: 'The bill of a period: amounts by owner, device and counter, with the evidence for each line',
    details: 'Records count to the period in which they end, and to whom the device belonged then. At most 10,000 lines at once.',
    example: 'sealworks usage export --from 2027-05-01 --to 2027-06-01 --owner carworks --format csv --out may.csv',
    options: {
      from: required(text('TIME', 'from here on, such as 2027-05-01')),
      to: required(text('TIME', 'up to here, and not with it')),
      owner: text('NAME', 'only of this owner'),
      device: text('DEVICE', 'only of this device: its id, or its serial'),
      format: oneOf(['csv', 'json'], 'csv unless told'),
      out: text('FILE', 'where it goes; standard output unless told'),
      force: flag('replace the file if it is there'),
    },
    async run(client, { from, to, owner, device, format = 'csv', out, force }, context) {
      const help = ['usage', 'export']
      const value = await client.call('exportUsage', {
        query: {
          from: timeOf(from, context, help, '--from TIME').toISOString(),
          to: timeOf(to, context, help, '--to TIME').toISOString(),
          ...(owner !== undefined && { owner }),
          ...(device !== undefined && { device: await findDevice(client, device) }),
        },
      })
      const octets = format === 'json' ? `${JSON.stringify(value, undefined, 2)}\n` : csvOf(value.items)
      if (out === undefined) return { value, text: octets }
      writeOutput(context, { file: out, octets, isSecret: false, force })
      return { value, text: `${value.items.length} lines in ${out}\n` }
    },
  }),

  clientCommand({
    noun: 'usage',
    verb: 'begin-anew',
    summary: 'Let a device that lost its records begin a new series; what it counted before stays',
    details:
      'For a device that was repaired, or whose counters were set back. On the device: sealworks agent usage --begin-anew.',
    example: 'sealworks usage begin-anew A-1042',
    operands: { device: deviceOperand },
    async run(client, { device }, { columns }) {
      const value = await client.call('beginUsageAnew', { params: { id: await findDevice(client, device) }, body: {} })
      return { value, text: shown(value, columns) }
    },
  }),
]

const csvOf = (items: readonly Total[]): string =>
  [columnsOf, ...items.map((item) => columnsOf.map((column) => fieldOf(item[column])))].map(encodeCSVLine).join('')

const fieldOf = (value: string | number): string => (typeof value === 'number' ? String(value) : plainField(value))
