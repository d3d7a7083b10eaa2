/**
 * The tree in tiles of 256 hashes, and the entries in bundles of as many: how other programs read the whole log.
 *
 * Leaf hashes stand with their entries. Of the levels above, one hash is kept for each 256 of the level below, when the
 * last of them is placed: an entry in 256 costs one small row more, and no tile is ever computed from more than 256 rows.
 *
 * Source: C2SP tlog-tiles.
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Queries, Transaction } from '#store/database.ts'
import { ENTRY_COLUMNS, type EntryRow, entryText } from './entry.ts'
import { emptyTree, grow, HASH_OCTETS, hashNode, rootOf, type Subtree } from './merkle.ts'
import type { SubtreeHash } from './proof.ts'

export const TILE_WIDTH = 256
const TILE_HEIGHT = 8
/** The specification's bound. */
const LEVEL_MAX = 63
const LENGTH_OCTETS = 2

export interface Tile {
  /** `entries` for a bundle of them. */
  readonly level: number | 'entries'
  readonly index: number
  /** 1 to 256; a tile of fewer than 256 is the last of its level. */
  readonly width: number
}

/** Such as `tile/0/x001/x234/067.p/8`. */
export function tilePath({ level, index, width }: Tile): string {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.{3}/g) ?? []
  const number = groups.map((group, n) => (n === groups.length - 1 ? group : `x${group}`)).join('/')
  return `tile/${level}/${number}${width === TILE_WIDTH ? '' : `.p/${width}`}`
}

const TILE_PATH = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,4}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/

/** @returns undefined for what is not the one path of a tile */
export function parseTilePath(path: string): Tile | undefined {
  const [, levelText, number, widthText] = TILE_PATH.exec(path) ?? []
  if (levelText === undefined || number === undefined) return undefined
  const level: Tile['level'] = levelText === 'entries' ? levelText : Number(levelText)
  const width = widthText === undefined ? TILE_WIDTH : Number(widthText)
  const tile = { level, index: Number(number.replaceAll(/[x/]/g, '')), width }
  if (level !== 'entries' && level > LEVEL_MAX) return undefined
  // a tile with two paths would be cached, or kept on disk, twice
  return width <= TILE_WIDTH && tilePath(tile) === path ? tile : undefined
}

/** Every tile of a tree, with the bundles of its entries. */
export function* tilesOf(size: number): Generator<Tile> {
  for (const tile of tilesOfLevel('entries', size)) yield tile
  for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / TILE_WIDTH)) yield* tilesOfLevel(level, count)
}

function* tilesOfLevel(level: Tile['level'], count: number): Generator<Tile> {
  const full = Math.floor(count / TILE_WIDTH)
  for (let index = 0; index < full; index++) yield { level, index, width: TILE_WIDTH }
  if (count % TILE_WIDTH > 0) yield { level, index: full, width: count % TILE_WIDTH }
}

/** @returns undefined when the log has not come that far */
export async function readTile(database: Queries, organizationId: string, tile: Tile): Promise<Uint8Array | undefined> {
  const { level, index, width } = tile
  if (level === 'entries') return readBundle(database, organizationId, index * TILE_WIDTH, width)
  // beyond what can be counted there is nothing, and no number to ask for
  if (!Number.isSafeInteger((index + 1) * TILE_WIDTH ** (level + 1))) return undefined
  const hashes = await readHashes(database, organizationId, level, index * TILE_WIDTH, width)
  return hashes && concat(hashes)
}

/** Big-endian uint16 length before each entry's text. */
async function readBundle(
  database: Queries,
  organizationId: string,
  first: number,
  count: number,
): Promise<Uint8Array | undefined> {
  if (!Number.isSafeInteger(first + count)) return undefined
  const rows = await database.query<EntryRow>(
    `SELECT ${ENTRY_COLUMNS} FROM audit_entry WHERE organization_id = ? AND log_index >= ? AND log_index < ? ORDER BY log_index`,
    organizationId,
    first,
    first + count,
  )
  if (rows.length !== count) return undefined
  return concat(
    rows.flatMap((row) => {
      const octets = utf8(entryText(row))
      if (octets.length > 0xffff) throw new TrustError('unavailable', 'auditLogDamaged')
      return [Uint8Array.of(octets.length >> 8, octets.length & 0xff), octets]
    }),
  )
}

/** The texts of a bundle. @throws TrustError `malformed` */
export function parseEntryBundle(octets: Uint8Array): readonly Uint8Array[] {
  const entries: Uint8Array[] = []
  for (let at = 0; at < octets.length;) {
    const start = at + LENGTH_OCTETS
    const end = start + (octets[at] ?? 0) * 256 + (octets[at + 1] ?? 0)
    if (end > octets.length || start > octets.length || entries.length === TILE_WIDTH) {
      throw new TrustError('malformed', 'notEntryBundle')
    }
    entries.push(octets.subarray(start, end))
    at = end
  }
  return entries
}

/** @returns undefined when there are fewer */
async function readHashes(
  database: Queries,
  organizationId: string,
  level: number,
  first: number,
  count: number,
): Promise<readonly Uint8Array[] | undefined> {
  if (level === 0) {
    const rows = await database.query<{ leaf_hash: Uint8Array }>(
      'SELECT leaf_hash FROM audit_entry WHERE organization_id = ? AND log_index >= ? AND log_index < ? ORDER BY log_index',
      organizationId,
      first,
      first + count,
    )
    return rows.length === count ? rows.map(({ leaf_hash }) => leaf_hash) : undefined
  }
  const rows = await database.query<{ node_index: number; hash: Uint8Array }>(
    'SELECT node_index, hash FROM audit_node WHERE organization_id = ? AND level = ? AND node_index >= ? AND node_index < ?',
    organizationId,
    level,
    first,
    first + count,
  )
  const kept = new Map(rows.map(({ node_index, hash }) => [node_index, hash]))
  const hashes: Uint8Array[] = []
  for (let index = first; index < first + count; index++) {
    const hash = kept.get(index) ?? (await hashFromBelow(database, organizationId, level, index))
    if (hash === undefined) return undefined
    hashes.push(hash)
  }
  return hashes
}

/** For logs that are older than the table of kept hashes. */
async function hashFromBelow(database: Queries, organizationId: string, level: number, index: number) {
  const below = await readHashes(database, organizationId, level - 1, index * TILE_WIDTH, TILE_WIDTH)
  return below && rootOf(grow(emptyTree, below))
}

/** Reads each tile once, however many of its subtrees are asked for. @throws TrustError `unavailable` where the log has a hole */
export function subtreeHashes(database: Queries, organizationId: string, size: number): SubtreeHash {
  const tiles = new Map<string, Promise<Uint8Array | undefined>>()
  const read = (level: number, index: number): Promise<Uint8Array | undefined> => {
    const name = `${level}/${index}`
    const count = Math.floor(size / TILE_WIDTH ** level)
    const width = Math.min(TILE_WIDTH, count - index * TILE_WIDTH)
    let tile = tiles.get(name)
    if (tile === undefined) tiles.set(name, (tile = readTile(database, organizationId, { level, index, width })))
    return tile
  }
  return async (height, index) => {
    const level = Math.floor(height / TILE_HEIGHT)
    const count = 2 ** (height % TILE_HEIGHT)
    const at = (index * count) % TILE_WIDTH
    const tile = await read(level, Math.floor((index * count) / TILE_WIDTH))
    if (tile === undefined) throw new TrustError('unavailable', 'auditLogDamaged')
    return rootOfHashes(tile.subarray(at * HASH_OCTETS, (at + count) * HASH_OCTETS))
  }
}

function rootOfHashes(octets: Uint8Array): Uint8Array {
  if (octets.length === HASH_OCTETS) return octets
  const middle = octets.length / 2
  return hashNode(rootOfHashes(octets.subarray(0, middle)), rootOfHashes(octets.subarray(middle)))
}

/** A subtree whose hash stands in a tile above the leaves. */
export const isKept = ({ height }: Subtree): boolean => height % TILE_HEIGHT === 0

export const levelOf = ({ height }: Subtree): number => height / TILE_HEIGHT

/** In the transaction that places their leaves. */
export async function keepNodes(tx: Transaction, organizationId: string, nodes: readonly Subtree[]): Promise<void> {
  if (nodes.length === 0) return
  await tx.insertMany(
    'audit_node',
    ['organization_id', 'level', 'node_index', 'hash'],
    nodes.map((node) => [organizationId, levelOf(node), node.index, node.hash]),
  )
}
