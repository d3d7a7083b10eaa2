/** Help pages, made from the tables of the commands. @module */
import { type Command, optionName, type Parameters } from './command.ts'
import { commonOptions, describeOperands } from './parse.ts'
import type { Noun } from './registry.ts'

export function helpOfAll(nouns: readonly Noun[]): string {
  return [
    'Usage: sealworks NOUN [VERB] [OPTIONS]\n\n',
    list(nouns.map(({ noun, summary }) => [noun, summary])),
    '\nExample: sealworks init --data ./data --administrator "Ada Berg" --token-file ./ada.token\n',
    'Help:    sealworks NOUN --help, sealworks NOUN VERB --help\n',
  ].join('')
}

export function helpOfNoun(noun: Noun, commands: readonly Command[]): string {
  return [
    `sealworks ${noun.noun}: ${noun.summary}\n\n`,
    list(commands.map((command) => [usageOf(command), command.summary])),
    `\nExample: ${commands[0]?.example ?? ''}\n`,
    `Help:    sealworks ${noun.noun} VERB --help\n`,
  ].join('')
}

export function helpOf(command: Command): string {
  return [
    `${command.summary}\n\n`,
    `Usage: sealworks ${usageOf(command)} [OPTIONS]\n`,
    section('', command.operands, ({ placeholder }) => placeholder ?? ''),
    ...(command.details === undefined ? [] : [`\n${command.details.trim()}\n`]),
    section('Options:', command.options),
    section('Which installation, and who asks:', command.sharedOptions),
    section('Always:', commonOptions),
    `\nExample: ${command.example}\n`,
  ].join('')
}

export const usageOf = ({ noun, verb, operands }: Command): string =>
  [noun, verb, describeOperands(operands)].filter((word) => word !== undefined && word !== '').join(' ')

type Entry = { readonly placeholder: string | undefined; readonly required: boolean; readonly help: string }

/** `--out FILE` */
const optionText = ({ placeholder }: Entry, key: string): string =>
  `--${optionName(key)}${placeholder === undefined ? '' : ` ${placeholder}`}`

function section(title: string, parameters: Parameters, nameOf: (entry: Entry, key: string) => string = optionText): string {
  const entries = Object.entries<Entry & { readonly repeats: boolean }>(parameters)
  if (entries.length === 0) return ''
  const rows = entries.map(([key, entry]): [string, string] => {
    const remarks = [
      entry.required && title !== '' ? 'required' : '',
      entry.repeats && title !== '' ? 'may be given again' : '',
    ].filter(Boolean)
    return [nameOf(entry, key), entry.help + (remarks.length > 0 ? ` (${remarks.join(', ')})` : '')]
  })
  return `\n${title === '' ? '' : `${title}\n`}${list(rows)}`
}

const NAMES_WIDEST = 34
const HELP_COLUMNS = 100

function list(rows: readonly (readonly [name: string, help: string])[]): string {
  const wide = Math.min(NAMES_WIDEST, Math.max(...rows.map(([name]) => name.length)))
  const indent = ' '.repeat(wide + 4)
  return rows
    .map(([name, help]) => {
      const text = wrap(help, HELP_COLUMNS - indent.length).join(`\n${indent}`)
      return name.length > wide ? `  ${name}\n${indent}${text}\n` : `  ${name.padEnd(wide)}  ${text}\n`
    })
    .join('')
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
