/**
 * The audit log as a directory of tiles that any C2SP tlog-tiles client reads, from disk or behind a web server.
 *
 * Only entries are fetched; every hash is made from them here, and must lead to the root that the log signed.
 *
 * @module
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { emptyTree, grow, hashLeaf, rootOf } from '#audit/merkle.ts'
import { isKept, levelOf, parseEntryBundle, type Tile, TILE_WIDTH, tilePath, tilesOf } from '#audit/tiles.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Context } from './command.ts'
import type { Caller } from './connection.ts'

export interface ExportedTiles {
  readonly entries: number
  /** Files that were not there yet. */
  readonly written: number
}

/** A second export into the same directory fetches only what came since. @throws TrustError `badProof` */
export async function exportTiles(client: Caller, directory: string, context: Pick<Context, 'progress'>): Promise<ExportedTiles> {
  const { size, rootHash, note } = await client.call('showAuditCheckpoint', {})
  const bar = context.progress('entries', size)
  const levels: Uint8Array[][] = []
  let tree = emptyTree
  let written = 0
  const write = (tile: Tile, octets: Uint8Array): void => {
    if (writeWhole(join(directory, tilePath(tile)), octets)) written++
  }
  try {
    for (const tile of tilesOf(size)) {
      if (tile.level !== 'entries') break // they come first
      const bundle = await bundleOf(client, directory, tile)
      const leaves = parseEntryBundle(bundle).map((entry) => hashLeaf(new TextDecoder().decode(entry)))
      if (leaves.length !== tile.width) throw new TrustError('badProof', 'tilesDiverge')
      tree = grow(tree, leaves, (subtree) => {
        if (isKept(subtree)) (levels[levelOf(subtree)] ??= []).push(subtree.hash)
      })
      write(tile, bundle)
      write({ ...tile, level: 0 }, concat(leaves))
      bar.at(tree.size)
    }
    if (!equal(rootOf(tree), Uint8Array.fromBase64(rootHash))) throw new TrustError('badProof', 'tilesDiverge')
    for (const tile of tilesOf(size)) {
      if (tile.level === 'entries' || tile.level === 0) continue
      const start = tile.index * TILE_WIDTH
      write(tile, concat((levels[tile.level] ?? []).slice(start, start + tile.width)))
    }
    // last: whoever reads meanwhile finds all that it names
    replaceFile(join(directory, 'checkpoint'), Buffer.from(note))
    return { entries: size, written }
  } finally {
    bar.end()
  }
}

/** From the directory when an earlier export brought it whole. */
async function bundleOf(client: Caller, directory: string, tile: Tile): Promise<Uint8Array> {
  const kept = tile.width === TILE_WIDTH ? readIfThere(join(directory, tilePath(tile))) : undefined
  if (kept !== undefined) return kept
  const params = { level: String(tile.level), index: String(tile.index) }
  const { octets } = await client.call('readAuditTile', { params, query: { width: tile.width } })
  return Uint8Array.fromBase64(octets)
}

/** @returns whether it was not there yet */
function writeWhole(path: string, octets: Uint8Array): boolean {
  const kept = readIfThere(path)
  if (kept !== undefined && equal(kept, octets)) return false
  replaceFile(path, octets)
  return true
}

function replaceFile(path: string, octets: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  writeFileSync(`${path}.part`, octets, { mode: 0o600 })
  renameSync(`${path}.part`, path)
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}
