/**
 * One format by its name, without the others: a command that signs with one is not to wait until all are loaded.
 *
 * @module
 */
import type { SigningFormat } from '../format.ts'

/** As every file of a format is called. */
const NAME = /^[a-z][a-z0-9-]{0,31}$/

/** @throws TrustError `notFound` */
export async function loadFormat(id: string): Promise<SigningFormat> {
  const found = NAME.test(id) ? await formatIn(id) : undefined
  return found ?? (await import('./registry.ts')).signingFormat(id)
}

async function formatIn(id: string): Promise<SigningFormat | undefined> {
  try {
    const values: readonly unknown[] = Object.values((await import(`./${id}.ts`)) as Record<string, unknown>)
    return values.find((value) => isFormat(value, id))
  } catch {
    return undefined // the registry knows what there is
  }
}

const isFormat = (value: unknown, id: string): value is SigningFormat =>
  typeof value === 'object' && value !== null && 'toBeSigned' in value && 'id' in value && value.id === id
