/** `sealworks area`: where an owner uses devices, and which authority issues for it. @module */
import { type ConnectionProtocol, connectionProtocols } from '#devices/area-policy.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { splitName } from '../catalog.ts'
import { integer, many, required, some, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Area = AnswerOf<'listAreas'>['items'][number]

const area = required(text('OWNER/AREA', 'its owner and its name'))
const LEVEL_MAX = 4

function protocolIn(written: string): ConnectionProtocol {
  const found = connectionProtocols.find((one) => one === written)
  if (found === undefined) throw new UsageError(`--connect takes one of ${connectionProtocols.join(', ')}`)
  return found
}

export const commands = [
  clientCommand({
    noun: 'area',
    verb: 'create',
    summary: 'Record an application area',
    details: 'Give each area an authority of its own: peers then keep areas apart by what they trust, without a network too.',
    example: 'sealworks area create carworks/paint --ca paint --profile ldevid --assurance 2',
    operands: { area },
    options: {
      title: text('TITLE', 'as people write it'),
      ca: required(text('CA', 'the authority that issues for it')),
      profile: some('ID', 'of its operational certificates'),
      assurance: integer('N', 0, LEVEL_MAX, 'a device of a lower level does not come in; 0 unless told'),
      model: many('MANUFACTURER/MODEL', 'only devices of these; any unless told'),
      connect: many('PROTOCOL', `by which its devices connect: ${connectionProtocols.join(', ')}; all unless told`),
    },
    async run(client, { area: written, title, ca, profile, assurance = 0, model, connect }) {
      const [owner, name] = splitName(written, 'area')
      const body = {
        ...{ owner, name, title: title ?? name, authority: ca, profiles: [...profile], assuranceMin: assurance },
        ...(model.length > 0 && { models: [...model] }),
        ...(connect.length > 0 && { connections: connect.map(protocolIn) }),
      }
      const value = await client.call('createArea', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'area',
    verb: 'list',
    summary: 'All application areas',
    example: 'sealworks area list',
    async run(client, _, { columns }) {
      const { items } = await client.call('listAreas', {})
      const shape = [
        { title: 'AREA', cell: ({ owner, name }: Area) => `${owner}/${name}` },
        { title: 'STATE', cell: ({ state }: Area) => state },
        { title: 'CA', cell: ({ authority }: Area) => authority },
        { title: 'LEVEL', cell: ({ assuranceMin }: Area) => `AL${assuranceMin}` },
        { title: 'PROFILES', cell: ({ profiles }: Area) => profiles.join(', ') },
      ]
      return { value: { areas: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'area',
    verb: 'show',
    summary: 'One application area',
    example: 'sealworks area show carworks/paint',
    operands: { area },
    async run(client, { area: written }) {
      const [owner, name] = splitName(written, 'area')
      const value = await client.call('showArea', { params: { owner, area: name } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'area',
    verb: 'disable',
    summary: 'Let no more devices come into an area; those in it stay',
    example: 'sealworks area disable carworks/paint',
    operands: { area },
    async run(client, { area: written }) {
      const [owner, name] = splitName(written, 'area')
      const value = await client.call('disableArea', { params: { owner, area: name } })
      return { value, text: `${written} is disabled.\n` }
    },
  }),

  clientCommand({
    noun: 'area',
    verb: 'enable',
    summary: 'Let devices come into an area again',
    example: 'sealworks area enable carworks/paint',
    operands: { area },
    async run(client, { area: written }) {
      const [owner, name] = splitName(written, 'area')
      const value = await client.call('enableArea', { params: { owner, area: name } })
      return { value, text: `${written} is enabled.\n` }
    },
  }),
]
