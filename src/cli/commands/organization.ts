/** `sealworks organization`: who makes, owns and services devices. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { organizationKeyCommands } from '../ownership.ts'
import { fields, table } from '../terminal.ts'

type Organization = AnswerOf<'listOrganizations'>['items'][number]

const kinds = [
  'manufacturer',
  'contract-manufacturer',
  'owner',
  'integrator',
  'service',
] as const satisfies readonly Organization['kind'][]

export const commands = [
  clientCommand({
    noun: 'organization',
    verb: 'create',
    summary: 'Record an organization',
    example: 'sealworks organization create acme --title "Acme Pumps" --kind manufacturer',
    operands: { name: required(text('NAME', 'lower-case letters, digits and hyphens')) },
    options: { title: text('TITLE', 'as people write it'), kind: required(oneOf(kinds, 'what it does with devices')) },
    async run(client, { name, title = name, kind }) {
      const value = await client.call('createOrganization', { body: { name, title, kind } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'organization',
    verb: 'list',
    summary: 'All organizations',
    example: 'sealworks organization list',
    async run(client, _, { columns }) {
      const { items } = await client.call('listOrganizations', {})
      const shape = [
        { title: 'NAME', cell: ({ name }: Organization) => name },
        { title: 'KIND', cell: ({ kind }: Organization) => kind },
        { title: 'TITLE', cell: ({ title }: Organization) => title },
      ]
      return { value: { organizations: items }, text: table(items, shape, columns) }
    },
  }),

  ...organizationKeyCommands,
]
