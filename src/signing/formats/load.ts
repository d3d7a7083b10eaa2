/**
 * One format by its name, without the others: a command that signs with one is not to wait until all are loaded. Here are
 * those that build machines wait for; any other comes with the whole registry.
 *
 * @module
 */
import type { SigningFormat } from '../format.ts'

const alone: ReadonlyMap<string, () => Promise<SigningFormat>> = new Map<string, () => Promise<SigningFormat>>([
  ['apk', async () => (await import('./apk.ts')).apk],
  ['authenticode-pe', async () => (await import('./authenticode-pe.ts')).authenticodePE],
  ['cms', async () => (await import('./cms.ts')).cms],
  ['jar', async () => (await import('./jar.ts')).jar],
  ['plain', async () => (await import('./plain.ts')).plain],
])

/** @throws TrustError `notFound` */
export async function loadFormat(id: string): Promise<SigningFormat> {
  const load = alone.get(id)
  return load === undefined ? (await import('./registry.ts')).signingFormat(id) : load()
}
