/** `sealworks organization`: who makes, owns and services devices. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { oneOf, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { organizationKeyCommands } from '../ownership.ts'
import { findPrincipal } from '../people.ts'
import { fields, table } from '../terminal.ts'

type Speaker = AnswerOf<'listSpeakers'>['items'][number]
type Organization = AnswerOf<'listOrganizations'>['items'][number]

const organization = required(text('ORGANIZATION', '`organization list` shows them'))
const principal = required(text('NAME', 'of a person or service, or its id; `user list` shows them'))

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

  clientCommand({
    noun: 'organization',
    verb: 'bind',
    summary: 'Let a person or service speak for an organization: its devices, keys and areas',
    details:
      'Whoever records an organization speaks for it. From the first binding on, those who are not bound do not, whatever their role.',
    example: 'sealworks organization bind acme "Olga Berg"',
    operands: { organization, principal },
    async run(client, { organization: name, principal: written }) {
      const { id } = await findPrincipal(client, written)
      const value = await client.call('bindSpeaker', { params: { name }, body: { principal: id } })
      return { value, text: `${written} speaks for ${name}.\n` }
    },
  }),

  clientCommand({
    noun: 'organization',
    verb: 'unbind',
    summary: 'Let a person or service speak for an organization no more',
    example: 'sealworks organization unbind acme "Olga Berg"',
    operands: { organization, principal },
    async run(client, { organization: name, principal: written }) {
      const { id } = await findPrincipal(client, written)
      const value = await client.call('unbindSpeaker', { params: { name }, body: { principal: id } })
      return { value, text: `${written} does not speak for ${name}.\n` }
    },
  }),

  clientCommand({
    noun: 'organization',
    verb: 'speakers',
    summary: 'Who speaks for an organization',
    example: 'sealworks organization speakers acme',
    operands: { organization },
    async run(client, { organization: name }, { columns }) {
      const value = await client.call('listSpeakers', { params: { name } })
      const shape = [
        { title: 'ID', cell: ({ principal: id }: Speaker) => id },
        { title: 'KIND', cell: ({ kind }: Speaker) => kind },
        { title: 'SINCE', cell: ({ boundAt }: Speaker) => boundAt },
      ]
      const text = value.isOpen ? 'Everybody with the role: nobody was ever bound.\n' : table(value.items, shape, columns)
      return { value, text }
    },
  }),

  ...organizationKeyCommands,
]
