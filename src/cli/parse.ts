/**
 * Reads the words of a command line by the command's own tables.
 *
 * @module
 */
import { parseArgs } from 'node:util'
import { type Command, flag, optionName, type Parameter, type Parameters, type Values } from './command.ts'
import { didYouMean, UsageError } from './usage.ts'

/** Every command has these. */
export const commonOptions = {
  json: flag('one JSON value on standard output, nothing else; problems as JSON on standard error'),
  help: flag('this page'),
} satisfies Parameters

export interface Parsed {
  /** Of operands and options. */
  readonly values: Values
  readonly shared: Values
}

/** @returns undefined when help is asked for @throws UsageError that names what is wrong and where help is */
export function parseWords(command: Command, words: readonly string[]): Parsed | undefined {
  const options: Parameters = { ...command.options, ...command.sharedOptions, ...commonOptions }
  const keys = new Map(Object.keys(options).map((key) => [optionName(key), key]))
  const refuse = (problem: string): never => {
    throw new UsageError(problem, [command.noun, command.verb])
  }

  const given = new Map<string, string[]>()
  const operands: string[] = []
  for (const token of tokensOf(options, words)) {
    if (token.kind === 'option-terminator') continue
    if (token.kind === 'positional') {
      operands.push(token.value)
      continue
    }
    const { rawName, value, inlineValue } = token
    const key = token.name === 'h' ? 'help' : keys.get(token.name)
    const option = key === undefined ? undefined : options[key]
    if (key === undefined || option === undefined)
      return refuse(`There is no option ${rawName}.${didYouMean(rawName, [...keys.keys()].map(dashed))}`)
    if (option.placeholder === undefined) {
      if (value !== undefined) return refuse(`${rawName} takes no value.`)
    } else if (value === undefined || (!inlineValue && value.length > 1 && value.startsWith('-'))) {
      return refuse(`${rawName} needs a value: ${rawName} ${option.placeholder}.`)
    }
    const values = given.get(key) ?? []
    if (values.length > 0 && !option.repeats) return refuse(`${rawName} is given twice.`)
    given.set(key, [...values, value ?? ''])
  }

  if (given.has('help')) return undefined
  const read = (options: Parameters): Values =>
    readAll(
      options,
      (key) => given.get(key) ?? [],
      (key) => dashed(optionName(key)),
      refuse,
    )
  return {
    values: { ...readOperands(command.operands, operands, refuse), ...read(command.options) },
    shared: read(command.sharedOptions),
  }
}

const dashed = (name: string): string => `--${name}`

function tokensOf(options: Parameters, words: readonly string[]) {
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries(
      Object.entries(options).map(([key, { placeholder }]) => [
        optionName(key),
        { type: placeholder === undefined ? ('boolean' as const) : ('string' as const), multiple: true },
      ]),
    ),
    allowPositionals: true,
    strict: false, // our own words for what is wrong
    tokens: true,
  })
  return tokens
}

type Refuse = (problem: string) => never

/** The last operand takes all that is left where it repeats. */
function readOperands(operands: Parameters, given: readonly string[], refuse: Refuse): Record<string, unknown> {
  const keys = Object.keys(operands)
  const repeats = Object.values(operands).at(-1)?.repeats === true
  const surplus = given[keys.length]
  if (surplus !== undefined && !repeats)
    return refuse(`"${surplus}" is one word too many${keys.length === 0 ? '' : `; it takes ${describeOperands(operands)}`}.`)
  const part = (key: string): readonly string[] => {
    const at = keys.indexOf(key)
    return repeats && at === keys.length - 1 ? given.slice(at) : given.slice(at, at + 1)
  }
  return readAll(operands, part, (key) => operands[key]?.placeholder ?? key, refuse)
}

/** `ADDRESS [NAME] FILE…` */
export const describeOperands = (operands: Parameters): string =>
  Object.values(operands)
    .map(({ placeholder = '', required, repeats }) => {
      const one = repeats ? `${placeholder}…` : placeholder
      return required ? one : `[${one}]`
    })
    .join(' ')

function readAll(
  parameters: Parameters,
  given: (key: string) => readonly string[],
  nameOf: (key: string) => string,
  refuse: Refuse,
): Record<string, unknown> {
  const values: Record<string, unknown> = {}
  for (const [key, parameter] of Object.entries<Parameter<unknown>>(parameters)) {
    const reading = parameter.read(given(key))
    if ('problem' in reading) return refuse(`${nameOf(key)} ${reading.problem}.`)
    values[key] = reading.value
  }
  return values
}
