/**
 * A whole list of certificates: several at a time, each result written down before the next is asked for.
 *
 * Broken off, it goes on where it was: rows in the result file are not asked for again. A row whose answer was lost is
 * asked for with the same idempotency key, so it gets the certificate that was made and not a second one.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { encodeCSVLine, parseCSV } from './csv.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput, writeOutput } from './files.ts'
import { type CertificateFormat, encodeCertificate } from './formats.ts'
import { requestIn } from './request-file.ts'
import { UsageError } from './usage.ts'

export interface BatchOptions {
  readonly batch: string
  readonly outDir: string | undefined
  readonly format: CertificateFormat | undefined
  readonly force: boolean
  readonly where: { readonly authority: string; readonly profile: string; readonly endpoint?: string }
  /** For generated keys. */
  readonly password: string | undefined
  readonly keyAlgorithm: string | undefined
  readonly legacy: boolean
}

/** Keeps both sides busy without crowding out the line's own requests. */
const AT_ONCE = 8
const RESULT_COLUMNS = ['line', 'list', 'state', 'id', 'file', 'reason'] as const

interface Row {
  readonly line: number
  readonly csr: string
  readonly subject: string
  readonly names: readonly string[]
}

export async function issueBatch(client: Caller, context: Context, options: BatchOptions): Promise<Answer> {
  const { batch, outDir } = options
  if (outDir === undefined) throw new UsageError('--batch needs --out-dir DIR.', ['cert', 'issue'])
  const octets = await readInput(context, batch)
  // Another list, authority or profile is other work, which an old result file must not stop.
  const list = hash('sha256', JSON.stringify([Buffer.from(octets).toString('base64'), options.where]), 'hex').slice(0, 32)
  const rows = rowsOf(batch, new TextDecoder().decode(octets), options)
  mkdirSync(resolve(context.directory, outDir), { recursive: true, mode: 0o700 })
  const resultFile = join(outDir, 'result.csv')
  const before = readResults(resolve(context.directory, resultFile), list)
  const left = rows.filter(({ line }) => !before.has(line))

  const result = openSync(resolve(context.directory, resultFile), 'a', 0o600)
  if (before.size === 0) writeSync(result, encodeCSVLine(RESULT_COLUMNS))
  const progress = context.progress('issuing', rows.length)
  let issued = 0
  let refused = 0
  const one = async (row: Row): Promise<void> => {
    const outcome = await issueRow(client, context, { ...options, outDir, list }, row)
    if (outcome.state === 'issued') issued++
    else refused++
    writeSync(
      result,
      encodeCSVLine([String(row.line), list, outcome.state, outcome.id ?? '', outcome.file ?? '', outcome.reason ?? '']),
    )
    fsyncSync(result)
    progress.at(rows.length - left.length + issued + refused)
  }
  try {
    await inParallel(left, one, context.signal)
  } finally {
    progress.end()
    closeSync(result)
  }
  const value = { issued, refused, doneBefore: rows.length - left.length, result: resultFile }
  const text = `${issued} issued, ${refused} refused, ${value.doneBefore} done before. See ${resultFile}.\n`
  return { value, text, exitCode: refused > 0 ? exitCodes.failed : exitCodes.done }
}

/** @throws TrustError `malformed` when the columns are not those of a list */
function rowsOf(file: string, text: string, { password }: BatchOptions): readonly Row[] {
  const [header, ...lines] = parseCSV(text)
  const columns = header?.fields.map((name) => name.trim().toLowerCase()) ?? []
  const has = (name: string): boolean => columns.includes(name)
  const known = columns.every((name) => ['csr', 'subject', 'names', 'serial'].includes(name))
  if (!known || has('csr') === has('subject')) throw new TrustError('malformed', 'batchColumns', { facts: { file } })
  if (has('subject') && password === undefined)
    throw new UsageError('Keys are made for this list: say --password-file FILE or --password-env NAME.', ['cert', 'issue'])
  return lines.map(({ line, fields }) => {
    const field = (name: string): string => fields[columns.indexOf(name)]?.trim() ?? ''
    const serial = field('serial')
    return {
      line,
      csr: field('csr'),
      subject: serial === '' ? field('subject') : `serialNumber=${escapeRDN(serial)},${field('subject')}`,
      names: field('names')
        .split(/[\s;]+/)
        .filter((name) => name !== ''),
    }
  })
}

/** RFC 4514, 2.4. */
const escapeRDN = (value: string): string => value.replace(/[",+;<>\\=]|^[# ]| $/g, (character) => `\\${character}`)

/** Lines that were issued; a refused one is tried again. */
function readResults(file: string, list: string): ReadonlySet<number> {
  if (!existsSync(file)) return new Set()
  const rows = parseCSV(readFileSync(file, 'utf8')).slice(1)
  if (rows.some(({ fields }) => fields[1] !== list)) throw new TrustError('conflict', 'batchOther', { facts: { file } })
  return new Set(rows.filter(({ fields }) => fields[2] === 'issued').map(({ fields }) => Number(fields[0])))
}

interface Outcome {
  readonly state: 'issued' | 'refused'
  readonly id?: string
  readonly file?: string
  readonly reason?: string
}

type RowOptions = BatchOptions & { readonly outDir: string; readonly list: string }

/** @throws what makes going on pointless: no server, no rights */
async function issueRow(client: Caller, context: Context, options: RowOptions, row: Row): Promise<Outcome> {
  try {
    return row.csr === '' ? await generateRow(client, context, options, row) : await requestRow(client, context, options, row)
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown }
    const hopeless = ['unreachable', 'unavailable', 'unauthenticated', 'forbidden', 'internal', 'rateLimited']
    if (typeof code !== 'string' || hopeless.includes(code) || typeof message !== 'string') throw error
    return { state: 'refused', reason: message }
  }
}

const EXTENSIONS = { pem: 'pem', chain: 'pem', der: 'cer', p7b: 'p7b' } as const satisfies Record<CertificateFormat, string>

async function requestRow(client: Caller, context: Context, options: RowOptions, { line, csr }: Row): Promise<Outcome> {
  const { where, outDir, list, batch, format = 'pem' } = options
  const request = requestIn(await readInput(context, join(dirname(batch), csr)))
  const idempotencyKey = `batch-${list}-${line}`
  const { id, certificate, chain } = await client.call('issueCertificate', {
    body: { ...where, request: request.toBase64() },
    idempotencyKey,
  })
  const file = join(outDir, `${line}.${EXTENSIONS[format]}`)
  writeOutput(context, { file, octets: encodeCertificate(format, certificate, chain), isSecret: false, force: true })
  return { state: 'issued', id, file }
}

async function generateRow(
  client: Caller,
  context: Context,
  options: RowOptions,
  { line, subject, names }: Row,
): Promise<Outcome> {
  const { where, outDir, password = '', keyAlgorithm, legacy } = options
  const body = {
    ...where,
    subject,
    names: [...names],
    password,
    ...(keyAlgorithm !== undefined && { keyAlgorithm }),
    ...(legacy && { legacy }),
  }
  const { id, pkcs12 } = await client.call('generateCertificate', { body })
  const file = join(outDir, `${line}.p12`)
  writeOutput(context, { file, octets: Uint8Array.fromBase64(pkcs12), isSecret: true, force: true })
  return { state: 'issued', id, file }
}

/** The first failure stops those that have not begun; those under way are waited for. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>, signal: AbortSignal): Promise<void> {
  const queue = items.values()
  let failed = false
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failed || signal.aborted) return
      try {
        await work(item)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const endings = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker))
  const failure = endings.find((ending) => ending.status === 'rejected')
  if (failure !== undefined) throw failure.reason
}
