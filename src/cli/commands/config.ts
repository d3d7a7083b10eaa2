/** `sealworks config`: what is set, and whether it can be used. Only reads. @module */
import type { Explanation } from '#config/config.ts'
import { command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { configSources, installationOptions } from '../installation.ts'
import { table } from '../terminal.ts'

export const commands = [
  command({
    noun: 'config',
    verb: 'check',
    summary: 'Say everything that is wrong with the configuration',
    example: 'sealworks config check --config ./sealworks.toml',
    options: installationOptions,
    async run(context, where) {
      const { readConfig } = await import('#config/config.ts')
      const { configFile, ...sources } = configSources(context, where)
      const problems = readConfig(sources).problems.map(({ name, line, problem }) => ({ name, line: line ?? null, problem }))
      const value = { usable: problems.length === 0, configFile: configFile ?? null, problems }
      const file = configFile ?? 'The configuration'
      const lines = problems.map(
        ({ name, line, problem }) => `${configFile ?? ''}${line === null ? '' : `:${line}`}: ${name} ${problem}`,
      )
      return value.usable
        ? { value, text: `${file} can be used.\n` }
        : { value, text: `${lines.join('\n')}\n`, exitCode: exitCodes.failed }
    },
  }),
  command({
    noun: 'config',
    verb: 'explain',
    summary: 'Every setting: what it does, what is in force, and where that came from',
    example: 'sealworks config explain',
    options: installationOptions,
    async run(context, where) {
      const { explainConfig } = await import('#config/config.ts')
      const { configFile: _, ...sources } = configSources(context, where)
      const settings = explainConfig(sources)
      const shape = [
        { title: 'SETTING', cell: ({ name }: Explanation) => name },
        { title: 'VALUE', cell: ({ value }: Explanation) => shown(value) },
        { title: 'FROM', cell: originOf },
        { title: 'WHAT IT DOES', cell: ({ help }: Explanation) => help },
      ]
      return { value: { settings }, text: table(settings, shape, context.columns) }
    },
  }),
]

const shown = (value: unknown): string =>
  value === undefined ? '–' : Array.isArray(value) ? value.join(', ') : typeof value === 'string' ? value : JSON.stringify(value)

function originOf({ origin }: Explanation): string {
  if (origin?.kind === 'file') return origin.line === undefined ? 'file' : `line ${origin.line}`
  return origin?.kind === 'environment' ? origin.variable : 'default'
}
