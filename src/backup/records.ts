/**
 * The inside of a backup: records one after the other, the same for every database engine.
 *
 * A record is its type (1 octet), its length (4 octets, big-endian) and its body. Tables come as a description, rows,
 * and a count; values carry their type, so that a row means the same in SQLite and PostgreSQL.
 *
 * Layout: docs/reference/backup-format.md.
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { SqlValue } from '#store/database.ts'
import { octetReader } from './octet-reader.ts'

/** What the backup is of. First, behind the signature of the head. */
export interface Manifest {
  readonly format: 1
  readonly id: string
  /** Milliseconds. */
  readonly createdAt: number
  /** Of the program that made it. */
  readonly version: string
  readonly engine: 'sqlite' | 'postgres'
  /** Of the audit log, which names the installation. */
  readonly origin: string
  /** Entries of the audit log that had their place, as of the snapshot. */
  readonly logSize: number
  /** Those of the database, with the digests of what they ran. */
  readonly migrations: readonly { readonly id: string; readonly digest: string }[]
}

export interface BackupFile {
  readonly name: 'wrapping.key' | 'sealworks.toml' | 'tls-root.pem'
  readonly octets: Uint8Array
}

export type SqlRow = readonly SqlValue[]

/** What a backup consists of, in order. */
export type BackupRecord =
  | { readonly type: 'signature'; readonly octets: Uint8Array }
  | { readonly type: 'manifest'; readonly manifest: Manifest }
  | { readonly type: 'file'; readonly file: BackupFile }
  | { readonly type: 'table'; readonly name: string; readonly columns: readonly string[] }
  | { readonly type: 'rows'; readonly rows: readonly SqlRow[] }
  | { readonly type: 'tableEnd'; readonly rows: number }
  | { readonly type: 'end'; readonly rows: number; readonly tables: number }

const CODES = { signature: 1, manifest: 2, file: 3, table: 4, rows: 5, tableEnd: 6, end: 7 } as const
const TYPES = new Map(Object.entries(CODES).map(([type, code]) => [code as number, type as BackupRecord['type']]))
const HEADER_OCTETS = 5
/** One row at least has to fit: a part of a CRL has 1 MiB. The content is authentic, so this only bounds mistakes. */
const RECORD_MAX_OCTETS = 64 << 20

export function encodeRecord(record: BackupRecord): Uint8Array {
  const body = bodyOf(record)
  const header = new Uint8Array(HEADER_OCTETS)
  header[0] = CODES[record.type]
  new DataView(header.buffer).setUint32(1, body.length)
  return concat([header, body])
}

function bodyOf(record: BackupRecord): Uint8Array {
  switch (record.type) {
    case 'signature':
      return record.octets
    case 'manifest':
      return json(record.manifest)
    case 'file':
      return json({ name: record.file.name, octets: record.file.octets.toBase64() })
    case 'table':
      return json({ name: record.name, columns: record.columns })
    case 'rows':
      return encodeRows(record.rows)
    case 'tableEnd':
      return json({ rows: record.rows })
    case 'end':
      return json({ rows: record.rows, tables: record.tables })
  }
}

const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value))

/**
 * Reads records from content that is authentic. The last octets of the file are a record's last, or it is refused.
 *
 * @param seen told of each record's octets before it is handed on, for the signature over all of them
 * @throws TrustError `malformed`
 */
export async function* readRecords(
  content: AsyncIterable<Uint8Array>,
  seen: (record: BackupRecord['type'], octets: Uint8Array) => void = () => {},
): AsyncGenerator<BackupRecord, void, undefined> {
  const source = octetReader(content)
  let columns = 0
  for (;;) {
    const header = await source.upTo(HEADER_OCTETS)
    if (header.length === 0) return
    if (header.length < HEADER_OCTETS) throw badRecord('a record ends early')
    const type = TYPES.get(header[0] ?? 0)
    const length = new DataView(header.buffer, header.byteOffset).getUint32(1)
    if (type === undefined) throw badRecord(`a record of type ${header[0] ?? 0}`)
    if (length > RECORD_MAX_OCTETS) throw badRecord('a record is too long')
    const body = await source.exactly(length)
    if (body === undefined) throw badRecord('a record ends early')
    seen(type, concat([header, body]))
    const record = parseBody(type, body, columns)
    if (record.type === 'table') columns = record.columns.length
    yield record
  }
}

function parseBody(type: BackupRecord['type'], body: Uint8Array, columns: number): BackupRecord {
  if (type === 'signature') return { type, octets: body }
  if (type === 'rows') return { type, rows: parseRows(body, columns) }
  const value = parseJSON(body)
  switch (type) {
    case 'manifest':
      return { type, manifest: parseManifest(value) }
    case 'file':
      return { type, file: parseFile(value) }
    case 'table': {
      const { name, columns: names } = value
      if (!isName(name) || !Array.isArray(names) || names.length === 0 || !names.every(isName)) throw badRecord('a table')
      return { type, name, columns: names }
    }
    case 'tableEnd':
      return { type, rows: count(value['rows']) }
    case 'end':
      return { type, rows: count(value['rows']), tables: count(value['tables']) }
  }
}

/** They become part of SQL. */
const isName = (value: unknown): value is string => typeof value === 'string' && /^[a-z][a-z0-9_]{0,62}$/.test(value)

function parseJSON(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (cause) {
    throw new TrustError('malformed', 'badBackup', { facts: { detail: 'a record that is not JSON' }, cause })
  }
  throw badRecord('a record that is no object')
}

function parseManifest(value: Readonly<Record<string, unknown>>): Manifest {
  const { format, id, createdAt, version, engine, origin, logSize, migrations } = value
  if (format !== 1)
    throw new TrustError('unsupported', 'backupNewer', { facts: { what: `format ${String(format).slice(0, 20)}` } })
  if (typeof id !== 'string' || typeof version !== 'string' || typeof origin !== 'string') throw badRecord('its manifest')
  if (engine !== 'sqlite' && engine !== 'postgres') throw badRecord('the engine in its manifest')
  if (!Array.isArray(migrations) || !migrations.every(isMigration)) throw badRecord('the schema in its manifest')
  const ran = migrations.map((migration) => ({ id: migration.id, digest: migration.digest }))
  return { format, id, version, engine, origin, migrations: ran, createdAt: count(createdAt), logSize: count(logSize) }
}

const isMigration = (value: unknown): value is Manifest['migrations'][number] =>
  typeof value === 'object' &&
  value !== null &&
  'id' in value &&
  typeof value.id === 'string' &&
  'digest' in value &&
  typeof value.digest === 'string'

const FILE_NAMES: ReadonlySet<unknown> = new Set<BackupFile['name']>(['wrapping.key', 'sealworks.toml', 'tls-root.pem'])

function parseFile({ name, octets }: Readonly<Record<string, unknown>>): BackupFile {
  if (!FILE_NAMES.has(name) || typeof octets !== 'string') throw badRecord('a file')
  try {
    return { name: name as BackupFile['name'], octets: Uint8Array.fromBase64(octets) }
  } catch (cause) {
    throw new TrustError('malformed', 'badBackup', { facts: { detail: 'a file' }, cause })
  }
}

function count(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw badRecord('a number')
  return value
}

const NULL = 0
const INTEGER = 1
const TEXT = 2
const BLOB = 3
const INTEGER_OCTETS = 8
const LENGTH_OCTETS = 4

const UINT32 = 2 ** 32
/** Of a UTF-16 code unit in UTF-8. */
const UNIT_OCTETS_MAX = 3

/**
 * Each value is its type, then for an integer 8 octets in two's complement, for text and octets 4 of length and the octets.
 *
 * Into one array, since a backup has millions of values.
 */
function encodeRows(rows: readonly SqlRow[]): Uint8Array {
  let most = 0
  for (const row of rows) for (const value of row) most += octetsAtMost(value)
  const into = Buffer.allocUnsafe(most)
  let at = 0
  for (const row of rows) {
    for (const value of row) {
      if (value === null) {
        at = into.writeUInt8(NULL, at)
      } else if (typeof value === 'string') {
        const length = into.write(value, at + 1 + LENGTH_OCTETS)
        into.writeUInt8(TEXT, at)
        at = into.writeUInt32BE(length, at + 1) + length
      } else if (value instanceof Uint8Array) {
        into.set(value, at + 1 + LENGTH_OCTETS)
        into.writeUInt8(BLOB, at)
        at = into.writeUInt32BE(value.length, at + 1) + value.length
      } else {
        const integer = Number(value)
        if (!Number.isSafeInteger(integer)) throw new RangeError('an integer that no engine gives')
        at = into.writeUInt8(INTEGER, at)
        at = into.writeInt32BE(Math.floor(integer / UINT32), at)
        at = into.writeUInt32BE(integer >>> 0, at)
      }
    }
  }
  return new Uint8Array(into.buffer, into.byteOffset, at)
}

function octetsAtMost(value: SqlValue): number {
  if (typeof value === 'string') return 1 + LENGTH_OCTETS + value.length * UNIT_OCTETS_MAX
  return value instanceof Uint8Array ? 1 + LENGTH_OCTETS + value.length : 1 + INTEGER_OCTETS
}

function parseRows(body: Uint8Array, columns: number): readonly SqlRow[] {
  if (columns === 0) throw badRecord('rows without a table')
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let at = 0
  const need = (octets: number): number => {
    const from = at
    if ((at += octets) > body.length) throw badRecord('a row ends early')
    return from
  }
  const value = (): SqlValue => {
    const type = body[need(1)]
    if (type === NULL) return null
    if (type === INTEGER) {
      const integer = Number(view.getBigInt64(need(INTEGER_OCTETS)))
      if (!Number.isSafeInteger(integer)) throw badRecord('a number that is too large')
      return integer
    }
    if (type !== TEXT && type !== BLOB) throw badRecord('a value of no known type')
    const length = view.getUint32(need(LENGTH_OCTETS))
    const from = need(length)
    const octets = body.subarray(from, from + length)
    return type === TEXT ? decoded(octets) : octets.slice()
  }
  const decoded = (octets: Uint8Array): string => {
    try {
      return text.decode(octets)
    } catch (cause) {
      throw new TrustError('malformed', 'badBackup', { facts: { detail: 'a text that is not UTF-8' }, cause })
    }
  }
  const rows: SqlRow[] = []
  while (at < body.length) rows.push(Array.from({ length: columns }, value))
  return rows
}

export const badRecord = (detail: string): TrustError => new TrustError('malformed', 'badBackup', { facts: { detail } })
