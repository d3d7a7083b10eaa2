/**
 * The configuration: one file and the environment, checked against the tables of `settings.ts`.
 *
 * Unknown keys are errors and every problem is named at once, with its line. An empty file is a working
 * single-machine system.
 *
 * @module
 */
import { parse, TomlError } from 'smol-toml'
import { TrustError } from '#base/errors.ts'
import { nearestWord } from '#base/nearest.ts'
import type { SecretReference, Setting, ValueOf } from './setting.ts'
import { namedSections, sections } from './settings.ts'

type Sections = typeof sections
export type Section = keyof Sections
type Named = typeof namedSections
/** A section that was written under a name of its own. */
export type NamedSection<S extends keyof Named> = { readonly [K in keyof Named[S]]: ValueOf<Named[S][K]> } & {
  readonly name: string
}
export type Config = { readonly [S in Section]: { readonly [K in keyof Sections[S]]: ValueOf<Sections[S][K]> } } & {
  readonly [S in keyof Named]: readonly NamedSection<S>[]
}

/** Where a value came from, for `config explain`. */
export type Origin =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly line: number | undefined }
  | { readonly kind: 'environment'; readonly variable: string }

export interface Explanation {
  /** `section.key` */
  readonly name: string
  /** Undefined where only the file can set it. */
  readonly variable: string | undefined
  readonly help: string
  readonly allowed: string
  readonly default: unknown
  /** As written; a reference, never a secret. Absent from the plain table. */
  readonly value?: unknown
  readonly origin?: Origin
}

export interface Problem {
  readonly name: string
  readonly line: number | undefined
  readonly problem: string
}

export interface ConfigSources {
  /** The file's text; empty without a file. */
  readonly file: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Absolute; relative paths in settings start here. */
  readonly dataDirectory: string
}

/** A configuration is a page or two; more is a wrong file. */
const FILE_MAX_CHARACTERS = 262_144

/** `listenPublic` of `server` is `SEALWORKS_SERVER_LISTEN_PUBLIC`. */
export const variableOf = (section: string, key: string): string =>
  `SEALWORKS_${section}_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).replaceAll('-', '_')}`.toUpperCase()

/** Variables with our prefix that are not settings: the command line and the test and start scripts read them. */
const OTHER_VARIABLES = /^SEALWORKS_(?:TEST_|(?:TOKEN|TOKEN_FILE|TRUST|DATA|SERVER|CONFIG)$)/

interface Row {
  /** As the file's tables are nested. */
  readonly section: string
  readonly key: string
  readonly name: string
  readonly variable: string | undefined
  readonly setting: Setting<unknown>
}

const rows: readonly Row[] = Object.entries(sections).flatMap(([section, settings]) =>
  Object.entries(settings as Record<string, Setting<unknown>>).map(([key, setting]) => ({
    section,
    key,
    name: `${section}.${key}`,
    variable: variableOf(section, key),
    setting,
  })),
)

/** Short enough for a column, and nothing that a key reference or a TOML key could misread. */
const SECTION_NAME = /^[a-z][a-z0-9-]{0,31}$/
/** The keys that are always there go by this name. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(['software'])
/** What `[keyStore.NAME]` is called in the table of all settings. */
const ANY_NAMES = Object.keys(namedSections).map((section) => `${section}.NAME.`)

/** @param settings names of settings, of which the first two words count */
function namedRows(settings: readonly string[]): readonly Row[] {
  const present = new Set(settings.map((name) => name.split('.').slice(0, 2).join('.')))
  return [...present].flatMap((section) => {
    const table = (namedSections as Readonly<Record<string, Record<string, Setting<unknown>>>>)[section.split('.', 1)[0] ?? '']
    if (table === undefined) return []
    return Object.entries(table).map(([key, setting]) => ({
      section,
      key,
      name: `${section}.${key}`,
      variable: undefined,
      setting,
    }))
  })
}

/** @throws TrustError `malformed`, naming every problem at once */
export function parseConfig(sources: ConfigSources): Config {
  const { config, problems } = readConfig(sources)
  if (problems.length === 0) return config
  const listed = problems.map(({ name, line, problem }) => `${name}${line === undefined ? '' : ` (line ${line})`} ${problem}`)
  throw new TrustError('malformed', 'configInvalid', { facts: { problems: listed.join('; '), count: problems.length } })
}

/** The table of all settings; with sources, also what is in force and where it came from. */
export function explainConfig(sources?: ConfigSources): readonly Explanation[] {
  const written = sources === undefined ? undefined : readConfig(sources).written
  return [...rows, ...namedRows([...(written?.keys() ?? ANY_NAMES)])].map(({ name, variable, setting }) => {
    const plain = { name, variable, help: setting.help, allowed: setting.allowed, default: setting.default }
    return written === undefined ? plain : { ...plain, ...written.get(name) }
  })
}

interface Written {
  readonly value: unknown
  readonly origin: Origin
}

/** What `parseConfig` refuses on, as a list: for `config check`. The config is only whole when there are no problems. */
export function readConfig(sources: ConfigSources): {
  config: Config
  problems: readonly Problem[]
  written: ReadonlyMap<string, Written>
} {
  const problems: Problem[] = []
  const file = flattened(parseFile(sources.file, problems))
  const lines = linesOf(sources.file)
  const named = namedRows(Object.keys(file))
  checkNames(file, lines, [...rows, ...named], problems)
  checkVariables(sources.environment, problems)

  const config: Record<string, Record<string, unknown>> = {}
  const written = new Map<string, Written>()
  for (const row of [...rows, ...named]) {
    const found = find(row, file, lines, sources.environment, problems)
    written.set(row.name, found)
    const values = (config[row.section] ??= {})
    if (row.setting.needed && (found.value === undefined || (Array.isArray(found.value) && found.value.length === 0)))
      problems.push({ name: row.name, line: lines.get(row.section), problem: 'must be set' })
    if (found.value === undefined) {
      values[row.key] = undefined
      continue
    }
    const reading = row.setting.read(found.value, { dataDirectory: sources.dataDirectory })
    if ('problem' in reading) {
      const { origin } = found
      const name = origin.kind === 'environment' ? origin.variable : row.name
      problems.push({ name, line: origin.kind === 'file' ? origin.line : undefined, problem: reading.problem })
    } else {
      values[row.key] = reading.value
    }
  }
  return { config: gathered(config) as unknown as Config, problems, written }
}

/** `[keyStore.hsm]` becomes the section `keyStore.hsm`; other tables stay as they are. */
function flattened(file: Tables): Tables {
  const flat = Object.entries(file).flatMap(([section, values]): [string, unknown][] =>
    Object.hasOwn(namedSections, section) && isTable(values)
      ? Object.entries(values).map(([name, inner]) => [`${section}.${name}`, inner])
      : [[section, values]],
  )
  return Object.fromEntries(flat) as Tables
}

/** The other way: named sections become a list. */
function gathered(config: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Record<string, unknown> {
  const lists = Object.keys(namedSections).map((section) => {
    const inner = Object.entries(config).filter(([name]) => name.startsWith(`${section}.`))
    const list: unknown = inner.map(([name, values]) => ({ ...values, name: name.slice(section.length + 1) }))
    return [section, list] as const
  })
  const plain = Object.entries(config).filter(([name]) => !name.includes('.'))
  return { ...Object.fromEntries(plain), ...Object.fromEntries(lists) }
}

type Tables = Readonly<Record<string, Readonly<Record<string, unknown>>>>

function parseFile(file: string, problems: Problem[]): Tables {
  if (file.length > FILE_MAX_CHARACTERS) {
    problems.push({ name: 'file', line: undefined, problem: `must have at most ${FILE_MAX_CHARACTERS} characters` })
    return {}
  }
  try {
    return parse(file) as Tables
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // Only the first line of the message: the rest quotes the file, which may hold what should not be printed.
    const problem = error.message.split('\n', 1)[0] ?? 'is not TOML'
    problems.push({ name: 'file', line: error.line, problem })
    return {}
  }
}

/** Line of each `section` and `section.key`, for ordinary tables; an inline or dotted key is named without a line. */
function linesOf(file: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  let section = ''
  for (const [index, line] of file.split('\n').entries()) {
    const header = /^\s*\[\s*([\w-]+(?:\.[\w-]+)?)\s*\]/.exec(line)?.[1]
    const key = /^\s*([\w-]+)\s*=/.exec(line)?.[1]
    if (header !== undefined) found.set((section = header), index + 1)
    else if (key !== undefined) found.set(section === '' ? key : `${section}.${key}`, index + 1)
  }
  return found
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

function checkNames(file: Tables, lines: ReadonlyMap<string, number>, rowsHere: readonly Row[], problems: Problem[]): void {
  const known = new Set(rowsHere.map(({ name }) => name))
  const names = [...Object.keys(sections), ...Object.keys(namedSections).map((section) => `${section}.NAME`)]
  for (const [section, values] of Object.entries(file)) {
    const [kind = '', name] = section.split('.')
    if (!Object.hasOwn(name === undefined ? sections : namedSections, kind)) {
      problems.push({ name: section, line: lines.get(section), problem: `is no section; there are ${names.join(', ')}` })
    } else if (name !== undefined && (!SECTION_NAME.test(name) || RESERVED_NAMES.has(name))) {
      const problem =
        'must be named by at most 32 lower-case letters, digits and hyphens, beginning with a letter, and not "software"'
      problems.push({ name: section, line: lines.get(section), problem })
    } else if (!isTable(values)) {
      problems.push({
        name: section,
        line: lines.get(section),
        problem: 'must be a section: write it in brackets on a line of its own',
      })
    } else {
      for (const key of Object.keys(values)) {
        const name = `${section}.${key}`
        if (!known.has(name)) problems.push({ name, line: lines.get(name), problem: 'is no setting' + nearest(name, known) })
      }
    }
  }
}

function checkVariables(environment: ConfigSources['environment'], problems: Problem[]): void {
  const known = new Set(
    rows.flatMap(({ variable = '', setting }) => (setting.secret ? [variable, `${variable}_FILE`] : [variable])),
  )
  for (const name of Object.keys(environment)) {
    if (!name.startsWith('SEALWORKS_') || known.has(name) || OTHER_VARIABLES.test(name)) continue
    problems.push({ name, line: undefined, problem: 'is no setting' + nearest(name, known) })
  }
}

function find(
  { section, key, name, variable, setting }: Row,
  file: Tables,
  lines: ReadonlyMap<string, number>,
  environment: ConfigSources['environment'],
  problems: Problem[],
): Written {
  const text = variable === undefined ? undefined : environment[variable]
  const fileName = variable !== undefined && setting.secret ? environment[`${variable}_FILE`] : undefined
  if (variable !== undefined && text !== undefined && fileName !== undefined) {
    problems.push({ name: variable, line: undefined, problem: `and ${variable}_FILE are both set; keep one` })
  }
  if (fileName !== undefined) return { value: `file:${fileName}`, origin: { kind: 'environment', variable: `${variable}_FILE` } }
  if (variable !== undefined && text !== undefined)
    return { value: setting.fromText(text), origin: { kind: 'environment', variable } }
  const values = file[section]
  if (isTable(values) && Object.hasOwn(values, key)) {
    return { value: values[key], origin: { kind: 'file', line: lines.get(name) } }
  }
  return { value: setting.default, origin: { kind: 'default' } }
}

/** Ends the sentence with the known name that differs least, when one is near enough to be meant. */
function nearest(name: string, known: ReadonlySet<string>): string {
  const word = nearestWord(name, known)
  return word === undefined ? '' : `; did you mean ${word}?`
}

/** How a reference is written: for messages that must name it. */
export const referenceText = (reference: SecretReference): string =>
  reference.kind === 'file' ? `file:${reference.path}` : `env:${reference.name}`
