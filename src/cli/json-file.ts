/** JSON files that people write: profiles, endpoint rules. @module */
import { TrustError } from '#base/errors.ts'
import type { Context } from './command.ts'
import { readInput } from './files.ts'

/** @param file `-` for standard input @throws TrustError `malformed` unless it holds one JSON object */
export async function readJSONObject(context: Context, file: string): Promise<Record<string, unknown>> {
  const octets = await readInput(context, file)
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (cause) {
    throw new TrustError('malformed', 'fileNotJSON', { facts: { file }, cause })
  }
  throw new TrustError('malformed', 'fileNotJSON', { facts: { file } })
}
