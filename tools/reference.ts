/**
 * Writes `docs/reference/` from the tables that the code itself runs by, so that no page can say something else.
 *
 *     npm run reference               writes the pages
 *     npm run reference -- --check    says which are out of date, and ends with 1 then
 *
 * @module
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { keyAlgorithms, type SignatureAlgorithm, signatureAlgorithms } from '../src/algorithms/table.ts'
import { ANY } from '../src/asn1/any.ts'
import { decode, optional, sequence } from '../src/asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '../src/asn1/types.ts'
import { english } from '../src/base/sentences.ts'
import { exitCodeOf, exitCodes } from '../src/cli/exit-codes.ts'
import { helpOf } from '../src/cli/help.ts'
import { nouns } from '../src/cli/registry.ts'
import { explainConfig, type Explanation } from '../src/config/config.ts'
import { statusOf, titles } from '../src/server/rest/failures.ts'
import type { Route } from '../src/server/rest/route.ts'
import { allRoutes, type RouteServices } from '../src/server/rest/routes.ts'

const DIRECTORY = join(import.meta.dirname, '..', 'docs', 'reference')
const MADE = '<!-- Made by `npm run reference`; change the code instead. -->\n'

/** Every page by its file name. */
export async function referencePages(): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ['command-line.md', await commandLinePage()],
    ['settings.md', settingsPage(explainConfig())],
    ['algorithms.md', algorithmsPage()],
    ['errors.md', errorsPage()],
    ['rest.md', restPage(everyRoute())],
  ])
}

async function commandLinePage(): Promise<string> {
  const loaded = await Promise.all(nouns.map(async (noun) => ({ ...noun, ...(await noun.load()) })))
  const codes = Object.entries(exitCodes).map(([name, code]) => [String(code), spaced(name)])
  return [
    heading('Command line'),
    '`sealworks NOUN [VERB] [OPTIONS]`. Messages go to standard error; `--json` gives one JSON value on standard output and nothing else.\n\n',
    table(
      ['noun', 'what it does'],
      loaded.map(({ noun, summary }) => [`[${noun}](#${noun})`, summary]),
    ),
    '\n## Exit codes\n\n',
    table(['code', 'meaning'], codes),
    ...loaded.flatMap(({ noun, summary, commands }) => [
      `\n## ${noun}\n\n${sentence(summary)}\n`,
      ...commands.map((command) => {
        const title = command.verb === undefined ? '' : `\n### ${noun} ${command.verb}\n`
        return `${title}\n\`\`\`\n${helpOf(command).trimEnd()}\n\`\`\`\n`
      }),
    ]),
  ].join('')
}

function settingsPage(settings: readonly Explanation[]): string {
  const sections = Map.groupBy(settings, ({ name }) => name.slice(0, name.indexOf('.')))
  return [
    heading('Settings'),
    'In `sealworks.toml`, each in the section before its dot, or in the environment. `sealworks config explain` shows what is in force. Secrets are named as `file:PATH` or `env:NAME`, never written.\n',
    ...[...sections].map(([section, rows]) => {
      const cells = rows.map((row) => [
        `\`${row.name}\`${row.variable === undefined ? '' : `<br>\`${row.variable}\``}`,
        row.help,
        row.allowed,
        shown(row.default),
      ])
      return `\n## ${section}\n\n${table(['setting', 'what it does', 'allowed', 'default'], cells)}`
    }),
  ].join('')
}

function algorithmsPage(): string {
  const oid = (identifier: string): string => `\`${decode(AlgorithmIdentifier, Uint8Array.fromHex(identifier)).algorithm}\``
  const padding = ({ digest, saltOctets }: SignatureAlgorithm): string =>
    saltOctets === undefined ? (digest ?? 'the message itself') : `${digest}, PSS with a salt of ${saltOctets} octets`
  return [
    heading('Algorithms'),
    'What there is; [algorithms.md](../algorithms.md) says how it is used and how an administrator narrows it.\n\n',
    '## Keys\n\n',
    table(
      ['id', 'identifier', 'strength in bits', 'certificates are signed with', 'standing'],
      keyAlgorithms.map(({ id, identifier, strengthBits, signsWith, standing }) => [
        `\`${id}\``,
        oid(identifier),
        String(strengthBits),
        `\`${signsWith}\``,
        standing,
      ]),
    ),
    '\n## Signatures\n\n',
    table(
      ['id', 'identifier', 'of keys', 'digest', 'standing'],
      signatureAlgorithms.map((row) => [`\`${row.id}\``, oid(row.identifier), row.family, padding(row), row.standing]),
    ),
  ].join('')
}

const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: OBJECT_IDENTIFIER, parameters: optional(ANY) })

const shown = (value: unknown): string =>
  value === undefined ? 'none' : `\`${Array.isArray(value) ? value.join(', ') : plain(value)}\``

function errorsPage(): string {
  const codes = Object.entries(titles).map(([code, title]) => {
    const known = code as keyof typeof titles
    return [`\`${code}\``, title, String(statusOf[known]), String(exitCodeOf[known])]
  })
  const reasons = Object.entries(english).map(([reason, text]) => [`\`${reason}\``, text])
  return [
    heading('Errors'),
    'A refusal has a code from a closed list, a reason, and a sentence that says what is wrong and what to do next. On REST it is an RFC 9457 problem document of the type `urn:sealworks:error:CODE`.\n\n',
    '## Codes\n\n',
    table(['code', 'meaning', 'HTTP status', 'exit code'], codes),
    '\n## Reasons\n\nWords in braces are filled in.\n\n',
    table(['reason', 'sentence'], reasons),
  ].join('')
}

/** Stands for every service: routes are made, none is run. */
const nothing: unknown = new Proxy(() => {}, { get: () => nothing })
const everyRoute = (): readonly Route[] => allRoutes(nothing as RouteServices)

function restPage(routes: readonly Route[]): string {
  const groups = Map.groupBy(routes, ({ path }) => path.split('/')[3] ?? '')
  return [
    heading('REST interface'),
    'On the TLS listener, in JSON, with `Authorization: Bearer TOKEN`. The server gives the same as OpenAPI 3.1 at `/api/v1/openapi.json`. Refusals are [problem documents](errors.md).\n',
    ...[...groups].flatMap(([group, members]) => [`\n## ${group}\n`, ...members.map(operation)]),
  ].join('')
}

function operation({ id, method, path, permission, summary, params, query, body, response, status = 200 }: Route): string {
  const who =
    { public: 'nobody needs to sign in', signedIn: 'anybody signed in' }[permission as string] ?? `permission \`${permission}\``
  const fields = [
    ...fieldsOf('path', params),
    ...fieldsOf('query', query),
    ...fieldsOf('body', body),
    ...fieldsOf('answer', response),
  ]
  return [
    `\n### ${id}\n\n\`${method} ${path}\`: ${lower(sentence(summary))} Asks for: ${who}. Answers ${response === undefined ? 204 : status}.\n`,
    fields.length === 0 ? '' : `\n${table(['where', 'field', 'type', 'meaning'], fields)}`,
  ].join('')
}

interface Schema {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly description?: string
  readonly format?: string
}

function fieldsOf(where: string, schema: object | undefined): string[][] {
  const { properties, required = [], description } = (schema ?? {}) as Schema
  if (properties === undefined) return description === undefined ? [] : [[where, '', typeOf(schema as Schema), description]]
  return Object.entries(properties).map(([name, field]) => [
    where,
    `\`${name}\`${required.includes(name) ? '' : ' (optional)'}`,
    typeOf(field),
    field.description ?? '',
  ])
}

function typeOf({ type, const: fixed, enum: values, anyOf, items, properties, format }: Schema): string {
  if (fixed !== undefined) return `\`${plain(fixed)}\``
  if (values !== undefined) return values.map((value) => `\`${plain(value)}\``).join(', ')
  if (anyOf !== undefined) return anyOf.map(typeOf).join(' or ')
  if (type === 'array') return `list of ${items === undefined ? 'anything' : typeOf(items)}`
  if (properties !== undefined) return `{ ${Object.keys(properties).join(', ')} }`
  return format === 'date-time' ? 'time' : (type ?? 'anything')
}

const plain = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
const heading = (title: string): string => `# ${title}\n\n${MADE}\n`
const spaced = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
const lower = (text: string): string => `${text.charAt(0).toLowerCase()}${text.slice(1)}`

const table = (titles: readonly string[], rows: readonly (readonly string[])[]): string =>
  [titles, titles.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`)
    .join('')

/** Names of the pages that a directory lacks or has otherwise. */
export const outdatedPages = (pages: ReadonlyMap<string, string>, directory: string): readonly string[] =>
  [...pages].flatMap(([name, text]) => {
    const file = join(directory, name)
    return existsSync(file) && readFileSync(file, 'utf8') === text ? [] : [name]
  })

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
  const pages = await referencePages()
  const outdated = outdatedPages(pages, DIRECTORY)
  for (const name of outdated) {
    if (values.check) console.error(`docs/reference/${name} is out of date: npm run reference`)
    else writeFileSync(join(DIRECTORY, name), pages.get(name) ?? '')
  }
  return values.check && outdated.length > 0 ? 1 : 0
}

if (import.meta.main) process.exitCode = await main()
