/** `sealworks role`: who may do what. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { findPrincipal, type Principal } from '../people.ts'
import { fields, table } from '../terminal.ts'

type Listed = AnswerOf<'listRoles'>['items'][number]
type Role = Principal['roles'][number]

const operands = {
  who: required(text('USER', 'name or id')),
  role: required(text('ROLE', 'as `role list` shows it')),
}

export const commands = [
  clientCommand({
    noun: 'role',
    verb: 'list',
    summary: 'All roles with what they may do',
    example: 'sealworks role list',
    async run(client, _, { columns }) {
      const { items: roles } = await client.call('listRoles', {})
      const shape = [
        { title: 'ROLE', cell: ({ name }: Listed) => name },
        { title: 'MAY', cell: ({ permissions }: Listed) => permissions.join(', ') },
      ]
      return { value: { roles }, text: table(roles, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'role',
    verb: 'grant',
    summary: 'Give a role',
    example: 'sealworks role grant "Bo Lind" auditor',
    operands,
    async run(client, { who, role }) {
      const { id } = await findPrincipal(client, who)
      await client.call('grantRole', { params: { id, role: role as Role } })
      return shown(await client.call('showPrincipal', { params: { id } }))
    },
  }),

  clientCommand({
    noun: 'role',
    verb: 'revoke',
    summary: 'Take a role away',
    example: 'sealworks role revoke "Bo Lind" auditor',
    operands,
    async run(client, { who, role }) {
      const { id } = await findPrincipal(client, who)
      await client.call('revokeRole', { params: { id, role: role as Role } })
      return shown(await client.call('showPrincipal', { params: { id } }))
    },
  }),
]

const shown = (value: Principal) => ({ value, text: fields(value) })
