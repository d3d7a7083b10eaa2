/** `sealworks user`: people and services, and what they sign in with. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { flag, integer, many, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { checkWritable, writeOutput } from '../files.ts'
import { outputOptions } from '../formats.ts'
import { allPrincipals, findPrincipal, type Principal } from '../people.ts'
import { fields, table } from '../terminal.ts'

type Token = AnswerOf<'listTokens'>['items'][number]
type Role = Principal['roles'][number]

const who = required(text('USER', 'name or id'))
const DAY_SECONDS = 86_400
const TOKEN_DAYS = 90

export const commands = [
  clientCommand({
    noun: 'user',
    verb: 'list',
    summary: 'People and services with their roles',
    example: 'sealworks user list',
    async run(client, _, { columns }) {
      const users = await Array.fromAsync(allPrincipals(client))
      const shape = [
        { title: 'NAME', cell: ({ name }: Principal) => name },
        { title: 'KIND', cell: ({ kind }: Principal) => kind },
        { title: 'STATE', cell: ({ state }: Principal) => state },
        { title: 'ROLES', cell: ({ roles }: Principal) => roles.join(', ') },
      ]
      return { value: { users }, text: table(users, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'create',
    summary: 'Add a person or a service',
    example: 'sealworks user create "Bo Lind" --role pki-officer --role auditor',
    operands: { name: required(text('NAME', 'as people write it')) },
    options: {
      service: flag('a program, which never signs in at the console'),
      role: many('ROLE', 'what they may do; `role list` shows all'),
    },
    async run(client, { name, service, role }) {
      const roles = [...role] as Role[] // the server knows which there are
      const value = await client.call('createPrincipal', { body: { kind: service ? 'service' : 'person', name, roles } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'show',
    summary: 'One person or service with their tokens',
    example: 'sealworks user show "Bo Lind"',
    operands: { who },
    async run(client, { who }, { columns }) {
      const user = await findPrincipal(client, who)
      const { items: tokens } = await client.call('listTokens', { params: { id: user.id } })
      const shape = [
        { title: 'TOKEN', cell: ({ id }: Token) => id },
        { title: 'NAME', cell: ({ name }: Token) => name },
        {
          title: 'UNTIL',
          cell: ({ expiresAt, revokedAt }: Token) => (revokedAt === undefined ? expiresAt.slice(0, 10) : 'revoked'),
        },
        { title: 'LAST USED', cell: ({ lastUsedAt }: Token) => lastUsedAt?.slice(0, 10) ?? 'never' },
      ]
      return { value: { ...user, tokens }, text: `${fields(user)}\n${table(tokens, shape, columns)}` }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'suspend',
    summary: 'Let them sign in with nothing until resumed',
    example: 'sealworks user suspend "Bo Lind"',
    operands: { who },
    async run(client, { who }) {
      const { id } = await findPrincipal(client, who)
      const value = await client.call('suspendPrincipal', { params: { id } })
      return { value, text: `${value.name} is suspended.\n` }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'resume',
    summary: 'Let them sign in again',
    example: 'sealworks user resume "Bo Lind"',
    operands: { who },
    async run(client, { who }) {
      const { id } = await findPrincipal(client, who)
      const value = await client.call('resumePrincipal', { params: { id } })
      return { value, text: `${value.name} is active.\n` }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'token create',
    summary: 'Make a token with which a program or the command line asks in their name',
    details: 'It is shown or written this once and kept nowhere.',
    example: 'sealworks user token create "MES line 1" --name "order import" --days 365 --out mes.token',
    operands: { who },
    options: {
      name: required(text('NAME', 'where it is used, for whoever has to revoke it one day')),
      days: integer('N', 1, 732, `how long it works; ${TOKEN_DAYS} unless told`),
      ...outputOptions,
    },
    async run(client, { who, name, days = TOKEN_DAYS, out, force }, context) {
      if (out !== undefined) checkWritable(context, out, force)
      const { id } = await findPrincipal(client, who)
      const made = await client.call('createToken', { params: { id }, body: { name, lifetimeSeconds: days * DAY_SECONDS } })
      if (out === undefined) return { value: made, text: `${made.token}\n` }
      const { token, ...value } = made
      writeOutput(context, { file: out, octets: `${token}\n`, isSecret: true, force })
      return { value: { ...value, file: out }, text: `${out} is written; the token works until ${made.expiresAt}.\n` }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'token revoke',
    summary: 'End a token at once',
    example: 'sealworks user token revoke 0190f0c2-7b1e-7c3a-9a51-0c9e2f6f3b10',
    operands: { token: required(text('TOKEN', 'its id, as `user show` lists it')) },
    async run(client, { token: id }) {
      await client.call('revokeToken', { params: { id } })
      return { value: { id }, text: `${id} is revoked.\n` }
    },
  }),

  clientCommand({
    noun: 'user',
    verb: 'link',
    summary: 'Make a link that signs a person in at the console once',
    example: 'sealworks user link "Bo Lind"',
    operands: { who },
    async run(client, { who }) {
      const { id } = await findPrincipal(client, who)
      const value = await client.call('createSignInLink', { params: { id } })
      return { value, text: `${value.path}\nAppend it to the address of the console; it works once, until ${value.expiresAt}.\n` }
    },
  }),
]
