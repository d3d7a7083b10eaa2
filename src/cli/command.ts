/**
 * A command is data: its words, its options as a typed table, an example, and what it does.
 *
 * Parsing, help and the reference page all come from the same table, so they cannot disagree.
 *
 * @module
 */
import type { World } from '#base/world.ts'
import type { Progress } from './terminal.ts'

/** What a command hands back: the value for programs, and the same in words for people. */
export interface Answer {
  /** What `--json` prints. */
  readonly value: unknown
  /** What is printed otherwise; octets go out as they are. Without it the value's fields are listed. */
  readonly text?: string | Uint8Array
  /** 0 unless the command did its work and found something wrong. */
  readonly exitCode?: number
  /** What goes on after the answer is printed, such as a server until it is stopped. */
  readonly until?: Promise<unknown>
}

/** What a command sees of the world around it. */
export interface Context {
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Relative paths start here. */
  readonly directory: string
  readonly json: boolean
  /** Columns of the terminal that standard output is; undefined when it is none, and nothing is cut then. */
  readonly columns: number | undefined
  /** Aborted when the person or the system asks the command to end. */
  readonly signal: AbortSignal
  /** A line for the person, on standard error. */
  say(line: string): void
  /** All that comes in on standard input. */
  input(): Promise<Uint8Array>
  /** A bar on standard error where that is a terminal; silent elsewhere. */
  progress(label: string, total?: number): Progress
}

/** One option or operand: how it is written, and what its text means. */
export interface Parameter<T> {
  /** How the value is called in help; undefined for a flag, which has none. */
  readonly placeholder: string | undefined
  readonly help: string
  readonly required: boolean
  /** Whether it may be given more than once. */
  readonly repeats: boolean
  /** @param given as written, in order; empty when it was not @returns a problem that goes on after the name: "must be …" */
  read(given: readonly string[]): { readonly value: T } | { readonly problem: string }
}

export type Parameters = Readonly<Record<string, Parameter<unknown>>>
export type ValuesOf<P extends Parameters> = { readonly [K in keyof P]: P[K] extends Parameter<infer T> ? T : never }

export interface Command {
  readonly noun: string
  /** Absent where the noun says it all: `sealworks serve`. */
  readonly verb?: string
  readonly summary: string
  /** More than the summary says, where something is surprising. */
  readonly details?: string
  readonly example: string
  readonly operands: Parameters
  readonly options: Parameters
  /** Options that many commands share; help lists them apart. */
  readonly sharedOptions: Parameters
  /** Ends by itself, cleanly, when it is asked to; others are broken off. */
  readonly stopsItself: boolean
  /** @param values of its operands and options @param shared of its shared options */
  run(context: Context, values: Values, shared: Values): Promise<Answer>
}

export type Values = Readonly<Record<string, unknown>>

export interface CommandDefinition<A extends Parameters, O extends Parameters> {
  readonly noun: string
  readonly verb?: string
  readonly summary: string
  readonly details?: string
  readonly example: string
  readonly operands?: A
  readonly options?: O
  readonly sharedOptions?: Parameters
  readonly stopsItself?: boolean
  run(context: Context, values: ValuesOf<A & O>, shared: Values): Promise<Answer>
}

/** The type of an empty table: it has no names, while that of any table has all. */
// oxlint-disable-next-line typescript/no-generated-empty-object-type -- as meant
export type None = Readonly<Record<never, never>>

export const command = <A extends Parameters = None, O extends Parameters = None>(
  definition: CommandDefinition<A, O>,
): Command => ({
  ...definition,
  operands: definition.operands ?? {},
  options: definition.options ?? {},
  sharedOptions: definition.sharedOptions ?? {},
  stopsItself: definition.stopsItself ?? false,
  run: (context, values, shared) => definition.run(context, values as ValuesOf<A & O>, shared), // the parser read them by these very tables
})

/** `keyAlgorithm` is written `--key-algorithm`. */
export const optionName = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

export const text = (placeholder: string, help: string): Parameter<string | undefined> => ({
  placeholder,
  help,
  required: false,
  repeats: false,
  read: (given) => ({ value: given.at(-1) }),
})

export const flag = (help: string): Parameter<boolean> => ({
  placeholder: undefined,
  help,
  required: false,
  repeats: false,
  read: (given) => ({ value: given.length > 0 }),
})

export const integer = (placeholder: string, low: number, high: number, help: string): Parameter<number | undefined> => ({
  placeholder,
  help,
  required: false,
  repeats: false,
  read([written]) {
    if (written === undefined) return { value: undefined }
    const value = Number(written)
    const good = /^\d{1,15}$/.test(written) && value >= low && value <= high
    return good ? { value } : { problem: `must be a whole number from ${low} to ${high}` }
  },
})

export const oneOf = <const V extends string>(values: readonly V[], help: string): Parameter<V | undefined> => ({
  placeholder: values.join('|'),
  help,
  required: false,
  repeats: false,
  read([written]) {
    if (written === undefined) return { value: undefined }
    return values.includes(written as V) ? { value: written as V } : { problem: `must be one of ${values.join(', ')}` }
  },
})

/** Any number of them, also none. */
export const many = (placeholder: string, help: string): Parameter<readonly string[]> => ({
  placeholder,
  help,
  required: false,
  repeats: true,
  read: (given) => ({ value: given }),
})

/** At least one of them. */
export const some = (placeholder: string, help: string): Parameter<readonly string[]> => ({
  ...many(placeholder, help),
  required: true,
  read: (given) => (given.length === 0 ? { problem: 'is missing' } : { value: given }),
})

export const required = <T>(parameter: Parameter<T>): Parameter<Exclude<T, undefined>> => ({
  ...parameter,
  required: true,
  read(given) {
    const reading = parameter.read(given)
    if ('problem' in reading) return reading
    return reading.value === undefined ? { problem: 'is missing' } : { value: reading.value as Exclude<T, undefined> }
  },
})
