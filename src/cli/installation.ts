/**
 * A data directory with its configuration, as the commands that work on one find it.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import type { ConfigSources } from '#config/config.ts'
import { type Context, type Parameters, text } from './command.ts'

export const CONFIG_FILE = 'sealworks.toml'
/** There is one until there are several. */
export const ORGANIZATION = 'default'
const DATA_DIRECTORY = 'data'

export const installationOptions = {
  data: text('DIR', 'the data directory (SEALWORKS_DATA; ./data unless told)'),
  config: text('FILE', `the configuration (SEALWORKS_CONFIG; ${CONFIG_FILE} here or in the data directory, if there is one)`),
} satisfies Parameters

export interface InstallationValues {
  readonly data: string | undefined
  readonly config: string | undefined
}

export interface Sources extends ConfigSources {
  /** Undefined where there is none: then defaults and the environment hold. */
  readonly configFile: string | undefined
}

/** @throws TrustError `notFound` when a file that was named is not there */
export function configSources({ directory, environment }: Context, values: InstallationValues): Sources {
  const dataDirectory = resolve(directory, values.data ?? environment['SEALWORKS_DATA'] ?? DATA_DIRECTORY)
  const named = values.config ?? environment['SEALWORKS_CONFIG']
  if (named !== undefined) {
    const configFile = resolve(directory, named)
    const file = readIfThere(configFile)
    if (file === undefined) throw new TrustError('notFound', 'fileUnreadable', { facts: { file: named, problem: 'ENOENT' } })
    return { file, environment, dataDirectory, configFile }
  }
  for (const place of [directory, dataDirectory]) {
    const configFile = join(place, CONFIG_FILE)
    const file = readIfThere(configFile)
    if (file !== undefined) return { file, environment, dataDirectory, configFile }
  }
  return { file: '', environment, dataDirectory, configFile: undefined }
}

/** Imported late: many commands need no configuration, and its parser takes time to load. */
export async function openConfiguration(context: Context, values: InstallationValues) {
  const { parseConfig } = await import('#config/config.ts')
  const sources = configSources(context, values)
  const config = parseConfig(sources)
  const { dataDirectory, configFile, file: configText } = sources
  return { config, dataDirectory, configFile, configText, environment: context.environment, world: context.world }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const problem = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
    if (problem === 'ENOENT' || problem === 'ENOTDIR') return undefined
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file: path, problem }, cause })
  }
}
