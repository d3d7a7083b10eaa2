/** `sealworks model`: what a manufacturer makes, and which births it lets pass. @module */
import type { AnswerOf } from '#server/rest/client.ts'
import { parseCompatible, splitName } from '../catalog.ts'
import { integer, many, required, some, text } from '../command.ts'
import { clientCommand } from '../connection.ts'
import { fields, table } from '../terminal.ts'

type Model = AnswerOf<'listModels'>['items'][number]

const model = required(text('MANUFACTURER/MODEL', 'its manufacturer and its name'))
const compatible = many('TOOL=NAME', 'how an update tool calls the hardware: rauc=pump-b')
const LEVEL_MAX = 4

export const commands = [
  clientCommand({
    noun: 'model',
    verb: 'create',
    summary: 'Record a product model',
    example: 'sealworks model create acme/pump --variant software --assurance 2 --hardware-type 1.3.6.1.4.1.99999.1',
    operands: { model },
    options: {
      title: text('TITLE', 'as people write it'),
      variant: some('VARIANT', 'how its devices may get their first key: tpm, secure-element, software, external'),
      assurance: integer('N', 0, LEVEL_MAX, 'a birth that proves less is refused; 0 unless told'),
      hardwareType: text('OID', 'of the hardware, from the maker’s own arc'),
      compatible,
    },
    async run(client, { model: written, title, variant, assurance = 0, hardwareType, compatible: tools }) {
      const [manufacturer, name] = splitName(written, 'model')
      const body = {
        ...{ manufacturer, name, title: title ?? name, assuranceMin: assurance },
        variants: [...variant] as Model['variants'], // the server knows which there are
        compatible: parseCompatible(tools, 'model'),
        ...(hardwareType !== undefined && { hardwareType }),
      }
      const value = await client.call('createModel', { body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'model',
    verb: 'list',
    summary: 'All product models',
    example: 'sealworks model list',
    async run(client, _, { columns }) {
      const { items } = await client.call('listModels', {})
      const shape = [
        { title: 'MODEL', cell: ({ manufacturer, name }: Model) => `${manufacturer}/${name}` },
        { title: 'STATE', cell: ({ state }: Model) => state },
        { title: 'LEVEL', cell: ({ assuranceMin }: Model) => `AL${assuranceMin}` },
        { title: 'VARIANTS', cell: ({ variants }: Model) => variants.join(', ') },
        { title: 'TITLE', cell: ({ title }: Model) => title },
      ]
      return { value: { models: items }, text: table(items, shape, columns) }
    },
  }),

  clientCommand({
    noun: 'model',
    verb: 'show',
    summary: 'One product model with its hardware revisions',
    example: 'sealworks model show acme/pump',
    operands: { model },
    async run(client, { model: written }) {
      const [manufacturer, name] = splitName(written, 'model')
      const value = await client.call('showModel', { params: { manufacturer, model: name } })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'model',
    verb: 'revise',
    summary: 'Record a hardware revision of a model',
    example: 'sealworks model revise acme/pump b --compatible rauc=pump-b',
    operands: { model, revision: required(text('REVISION', 'lower-case letters, digits and hyphens')) },
    options: { compatible },
    async run(client, { model: written, revision, compatible: tools }) {
      const [manufacturer, name] = splitName(written, 'model')
      const body = { name: revision, compatible: parseCompatible(tools, 'model') }
      const value = await client.call('createRevision', { params: { manufacturer, model: name }, body })
      return { value, text: fields(value) }
    },
  }),

  clientCommand({
    noun: 'model',
    verb: 'disable',
    summary: 'Let no device of a model be registered or born',
    example: 'sealworks model disable acme/pump',
    operands: { model },
    async run(client, { model: written }) {
      const [manufacturer, name] = splitName(written, 'model')
      const value = await client.call('disableModel', { params: { manufacturer, model: name } })
      return { value, text: `${written} is disabled.\n` }
    },
  }),

  clientCommand({
    noun: 'model',
    verb: 'enable',
    summary: 'Let devices of a model be made again',
    example: 'sealworks model enable acme/pump',
    operands: { model },
    async run(client, { model: written }) {
      const [manufacturer, name] = splitName(written, 'model')
      const value = await client.call('enableModel', { params: { manufacturer, model: name } })
      return { value, text: `${written} is enabled.\n` }
    },
  }),
]
