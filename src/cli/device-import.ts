/**
 * `sealworks device import`: a list of devices, however long, in batches that are registered whole or not at all.
 *
 * The file is read line by line. One that was broken off is given again: what is registered already is passed over.
 *
 * @module
 */
import { createInterface } from 'node:readline'
import { asTrustError, TrustError } from '#base/errors.ts'
import { type DeviceKind, deviceKinds } from '#devices/device.ts'
import { LIST_MAX } from '#devices/register-list.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { parseCSV } from './csv.ts'
import { exitCodes } from './exit-codes.ts'
import { openArtifact } from './files.ts'

/** Five short words. */
const LINE_MAX_CHARACTERS = 2000
/** What people read of a list that is wrong throughout; the rest is counted. */
const REFUSED_SHOWN_MAX = 100
const COLUMNS = ['serial', 'model', 'revision', 'kind'] as const
type Column = (typeof COLUMNS)[number]

interface Line {
  readonly line: number
  readonly device: {
    readonly productSerial: string
    readonly model: string
    readonly revision?: string
    readonly kind?: DeviceKind
  }
}

interface Refused {
  readonly line: number
  readonly problem: string
}

/** @param model of lines that name none */
export async function importDevices(client: Caller, context: Context, file: string, model: string | undefined): Promise<Answer> {
  const totals = { registered: 0, known: 0, refused: 0, left: 0 }
  const shown: Refused[] = []
  const refuse = (refused: readonly Refused[]): void => {
    totals.refused += refused.length
    shown.push(...refused.slice(0, REFUSED_SHOWN_MAX - shown.length))
  }
  const progress = context.progress('registering')
  const send = async (lines: readonly Line[], wrong: readonly Refused[]): Promise<void> => {
    refuse(wrong)
    // a batch with a line that cannot be read is not sent: it is registered whole, or not at all
    if (wrong.length > 0) totals.left += lines.length
    else if (lines.length > 0) await register(lines)
    progress.at(totals.registered + totals.known + totals.refused + totals.left)
  }
  const register = async (lines: readonly Line[]): Promise<void> => {
    const { registered, known, refused } = await client.call('registerDevices', {
      body: { devices: lines.map(({ device }) => device) },
    })
    totals.registered += registered
    totals.known += refused.length === 0 ? known : 0
    if (refused.length > 0) totals.left += lines.length - refused.length
    refuse(refused.map(({ at, problem }) => ({ line: lines[at]?.line ?? 0, problem })))
  }
  try {
    let batch: Line[] = []
    let wrong: Refused[] = []
    for await (const read of linesOf(context, file, model)) {
      if ('problem' in read) wrong.push(read)
      else batch.push(read)
      if (batch.length + wrong.length < LIST_MAX) continue
      await send(batch, wrong)
      ;[batch, wrong] = [[], []]
    }
    await send(batch, wrong)
  } finally {
    progress.end()
  }
  const lines = shown.map(({ line, problem }) => `line ${line}: ${problem}\n`).join('')
  const more = totals.refused > shown.length ? `and ${totals.refused - shown.length} more\n` : ''
  const sum = `${totals.registered} registered, ${totals.known} known already, ${totals.refused} refused, ${totals.left} left out with them.\n`
  return {
    value: { ...totals, lines: shown },
    text: `${lines}${more}${sum}`,
    exitCode: totals.refused > 0 ? exitCodes.failed : exitCodes.done,
  }
}

async function* linesOf(context: Context, file: string, model: string | undefined): AsyncGenerator<Line | Refused> {
  const handle = await openArtifact(context, file)
  let columns: readonly string[] | undefined
  let line = 0
  try {
    for await (const text of createInterface({ input: handle.createReadStream({ encoding: 'utf8' }), crlfDelay: Infinity })) {
      line++
      const written = line === 1 ? text.replace(/^\u{feff}/u, '') : text
      if (written.trim() === '') continue
      if (columns === undefined && !written.trimStart().startsWith('{')) {
        columns = columnsIn(written, file)
        continue
      }
      yield readLine(written, line, columns, model)
    }
  } finally {
    await handle.close()
  }
}

function columnsIn(header: string, file: string): readonly string[] {
  const columns = (parseCSV(header)[0]?.fields ?? []).map((name) => name.trim().toLowerCase())
  if (!columns.includes('serial') || !columns.every((name) => (COLUMNS as readonly string[]).includes(name)))
    throw new TrustError('malformed', 'deviceListColumns', { facts: { file } })
  return columns
}

function readLine(text: string, line: number, columns: readonly string[] | undefined, model: string | undefined): Line | Refused {
  try {
    if (text.length > LINE_MAX_CHARACTERS)
      throw new TrustError('tooLarge', 'deviceListLine', { facts: { detail: 'it is too long' } })
    return { line, device: deviceOf(columns === undefined ? objectIn(text) : fieldsIn(text, columns), model) }
  } catch (thrown) {
    return { line, problem: asTrustError(thrown).message }
  }
}

const wrong = (detail: string): TrustError => new TrustError('malformed', 'deviceListLine', { facts: { detail } })

function objectIn(text: string): Partial<Record<Column, string>> {
  const value = jsonIn(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('it is no object')
  for (const [name, one] of Object.entries(value)) {
    if (!(COLUMNS as readonly string[]).includes(name) || typeof one !== 'string') throw wrong(`it has "${name}"`)
  }
  return value
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw wrong('it is no JSON')
  }
}

function fieldsIn(text: string, columns: readonly string[]): Partial<Record<Column, string>> {
  const fields = parseCSV(text)[0]?.fields ?? []
  if (fields.length !== columns.length) throw wrong(`it has ${fields.length} fields, and the first line ${columns.length}`)
  const named = columns.map((name, at) => [name, fields[at]?.trim() ?? ''] as const)
  return Object.fromEntries(named.filter(([, value]) => value !== ''))
}

function deviceOf(
  { serial, model: own, revision, kind }: Partial<Record<Column, string>>,
  all: string | undefined,
): Line['device'] {
  const model = own ?? all
  if (serial === undefined || serial.length > 64) throw wrong('it has no serial of 64 characters at most')
  if (model === undefined || !/^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}$/.test(model)) throw wrong('it has no MANUFACTURER/MODEL')
  if (revision !== undefined && !/^[a-z0-9][a-z0-9-]{0,62}$/.test(revision)) throw wrong('its revision is none')
  if (kind !== undefined && !(deviceKinds as readonly string[]).includes(kind))
    throw wrong(`its kind is none of ${deviceKinds.join(', ')}`)
  return {
    ...{ productSerial: serial, model },
    ...(revision !== undefined && { revision }),
    ...(kind !== undefined && { kind: kind as DeviceKind }),
  }
}
