/** `sealworks profile`: what certificates of one kind look like. @module */
import { encodePEM } from '#asn1/pem.ts'
import type { AnswerOf } from '#server/rest/client.ts'
import { describeObject } from '#x509/inspect.ts'
import { flag, required, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { readJSONObject } from '../json-file.ts'
import { fields, table } from '../terminal.ts'
import { UsageError } from '../usage.ts'

type Listed = AnswerOf<'listProfiles'>['profiles'][number]

const file = required(text('FILE', 'the profile as JSON; - for standard input'))

export const commands = [
  clientCommand({
    noun: 'profile',
    verb: 'list',
    summary: 'All profiles, the built-in ones first',
    example: 'sealworks profile list',
    async run(client, _, { columns }) {
      const value = await client.call('listProfiles', {})
      const shape = [
        { title: 'PROFILE', cell: ({ profile }: Listed) => profile.id },
        { title: 'HOLDER', cell: ({ profile }: Listed) => profile.holder },
        {
          title: 'VALID',
          cell: ({ profile: { validity } }: Listed) => ('days' in validity ? `${validity.days} days` : 'no expiry'),
        },
        { title: 'BUILT IN', cell: ({ builtIn }: Listed) => (builtIn ? 'yes' : 'no') },
        { title: 'TITLE', cell: ({ profile }: Listed) => profile.title },
      ]
      return { value, text: table(value.profiles, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'profile',
    verb: 'show',
    summary: 'One profile',
    details:
      'With --json it is the form that `profile put` takes: a copy under another id is where a profile of your own begins.',
    example: 'sealworks profile show tls-server --json > plant-server.json',
    operands: { id: required(text('ID', 'such as idevid')) },
    options: { sample: flag('a filled sample: a real certificate of this kind, in words and as PEM') },
    async run(client, { id, sample }) {
      if (!sample) return { value: await client.call('showProfile', { params: { id } }) }
      const value = await client.call('sampleProfile', { params: { id } })
      const der = Uint8Array.fromBase64(value.certificate)
      const { fields: held } = describeObject(der)
      return { value, text: `${fields(held)}\n${encodePEM('CERTIFICATE', der)}` }
    },
  }),

  clientCommand({
    noun: 'profile',
    verb: 'check',
    summary: 'Say what is wrong with a profile, without keeping it',
    example: 'sealworks profile check plant-server.json',
    operands: { file },
    async run(client, { file }, context) {
      const value = await client.call('checkProfile', { body: await readJSONObject(context, file) })
      return { value, text: `${value.id} can be used.\n` }
    },
  }),

  clientCommand({
    noun: 'profile',
    verb: 'put',
    summary: 'Add a profile of your own, or replace it',
    example: 'sealworks profile put plant-server.json',
    operands: { file },
    async run(client, { file }, context) {
      const profile = await readJSONObject(context, file)
      const { id } = profile
      if (typeof id !== 'string') throw new UsageError('The profile has no "id", which names it.', ['profile', 'put'])
      const value = await client.call('putProfile', { params: { id }, body: profile })
      return { value, text: fields(value) }
    },
  }),
]
