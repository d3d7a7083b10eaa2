/** `sealworks conduit`: what may flow from one application area to another. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { splitName } from '../catalog.ts'
import { required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Conduit = AnswerOf<'listConduits'>['items'][number]

export const commands = [
  clientCommand({
    noun: 'conduit',
    verb: 'create',
    summary: 'Let topics flow from one application area to another of the same owner',
    details:
      'DEVICE/down/... is what devices of the first area may publish to devices of the second; DEVICE/evt/... what devices of the ' +
      'second may hear of devices of the first. DEVICE is a name or +. Orders (cmd) come from the server alone.',
    example: "sealworks conduit create carworks/paint carworks/press '+/down/heat'",
    operands: {
      from: required(text('OWNER/AREA', 'where it comes from')),
      to: required(text('OWNER/AREA', 'where it goes')),
      topics: required(text('TOPICS', 'below the area')),
    },
    async run(client, { from: first, to: second, topics }) {
      const [owner, from] = splitName(first, 'area')
      const [other, to] = splitName(second, 'area')
      if (owner !== other) throw new UsageError('a conduit joins areas of one owner')
      const value = await client.call('createConduit', { body: { owner, from, to, topics } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'conduit',
    verb: 'list',
    summary: 'All conduits',
    example: 'sealworks conduit list',
    async run(client, _, { columns }) {
      const { items } = await client.call('listConduits', {})
      const shape = [
        { title: 'ID', cell: ({ id }: Conduit) => id },
        { title: 'OWNER', cell: ({ owner }: Conduit) => owner },
        { title: 'FROM', cell: ({ from }: Conduit) => from },
        { title: 'TO', cell: ({ to }: Conduit) => to },
        { title: 'TOPICS', cell: ({ topics }: Conduit) => topics },
      ]
      return { value: { conduits: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'conduit',
    verb: 'remove',
    summary: 'Let it flow no more; sessions that rest on it are cut',
    example: 'sealworks conduit remove 01980000-0000-7000-8000-000000000000',
    operands: { conduit: required(text('CONDUIT', 'its id')) },
    async run(client, { conduit: id }) {
      const value = await client.call('removeConduit', { params: { id } })
      return { value, text: 'Removed.\n' }
    },
  }),
]
