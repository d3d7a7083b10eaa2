/** What `sealworks agent feature`, `license`, `count` and `usage` do. They work beside an agent that runs. @module */
import { openDevice } from '#agent/device.ts'
import { openLicenses } from '#agent/license.ts'
import { openUsageStore } from '#agent/usage-store.ts'
import type { Answer, Context } from './command.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput } from './files.ts'

export async function feature(context: Context, place: string, { name }: { readonly name: string }): Promise<Answer> {
  using held = await openLicenses(openDevice(place, context.world, 'read'))
  const answer = await held.feature(name)
  if (!answer.isLicensed) return { value: answer, text: `NOT LICENSED  ${answer.why}\n`, exitCode: exitCodes.refused }
  const { limit, state, until } = answer
  const ends = until === undefined ? 'without an end' : `until ${new Date(until).toISOString()}`
  return {
    value: { ...answer, limit: limit ?? null, until: until === undefined ? null : new Date(until).toISOString() },
    text: `LICENSED  ${name}${limit === undefined ? '' : `, up to ${limit}`}; ${state}, ${ends}\n`,
  }
}

export async function license(
  context: Context,
  place: string,
  { files }: { readonly files: readonly string[] },
): Promise<Answer> {
  using held = await openLicenses(openDevice(place, context.world, 'read'))
  const taken: string[] = []
  for (const file of files) taken.push(await held.take(await readInput(context, file)))
  return { value: { taken }, text: taken.map((one) => `Taken: ${one}.\n`).join('') }
}

interface CountValues {
  readonly name: string
  readonly amount: number
  readonly unit: string | undefined
}

export async function count(context: Context, place: string, { name, amount, unit }: CountValues): Promise<Answer> {
  const { directory } = openDevice(place, context.world, 'read')
  directory.settings()
  using store = openUsageStore(directory.path, context.world)
  const counter = store.count(name, amount, unit)
  return { value: counter, text: `${counter.name} ${counter.value} ${counter.unit}\n` }
}

export async function usage(context: Context, place: string, { beginAnew }: { readonly beginAnew: boolean }): Promise<Answer> {
  const { directory } = openDevice(place, context.world, 'read')
  directory.settings()
  using store = openUsageStore(directory.path, context.world)
  if (beginAnew) store.beginAnew()
  const value = { counters: store.counters(), unsent: store.unsent().length }
  const lines = value.counters.map(({ name, value: total, unit }) => `${name} ${total} ${unit}\n`)
  return { value, text: `${lines.join('')}${value.unsent} records are not sent yet.\n` }
}
