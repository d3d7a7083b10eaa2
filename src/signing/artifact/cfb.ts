/**
 * Compound files, which hold storages and streams as a file system does: Windows Installer packages are ones. Every octet
 * is accounted for: a sector belongs to one chain at most, and what belongs to none is told apart.
 *
 * Written files are laid out anew, without gaps: what was deleted is gone, and the same tree gives the same octets.
 *
 * Source: Microsoft, [MS-CFB] Compound File Binary File Format, version 11.0.
 *
 * @module
 */
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Piece, Range } from '../format.ts'
import { sizeOf } from './blob.ts'

const MAGIC = 'd0cf11e0a1b11ae1'
const HEADER_OCTETS = 512
const MINI_SECTOR_OCTETS = 64
/** Shorter streams lie in the mini stream. */
const MINI_STREAM_CUTOFF = 4096
const DIFAT_IN_HEADER = 109
const ENTRY_OCTETS = 128
const NAME_MAX_OCTETS = 64
const ROOT_NAME = new Uint8Array(Buffer.from('Root Entry', 'utf16le'))
const DIFSECT = 0xfffffffc
const FATSECT = 0xfffffffd
const ENDOFCHAIN = 0xfffffffe
/** Of sectors, and of entries of the directory. */
const NONE = 0xffffffff
/** It covers the octets 0x7fffff00 to 0x7fffffff, which programs lock, and belongs to nobody (2.9); with sectors of 4,096 octets. */
const LOCK_SECTOR = 0x7fffe

/** 2 GB in sectors of 512 octets, which is all that these may have (2.6.3), and 16 GB in those of 4,096: a table of 16 MB. */
const SECTORS_MAX = 1 << 22
/** Packages have dozens of tables and a few files; a directory of 8 MB and a mini stream of 256 MB at most. */
const ENTRIES_MAX = 1 << 16
/** Storages within storages: packages have one, in which transforms lie. */
const DEPTH_MAX = 16
/** Fragments, of which each takes some memory: whole packages in pieces of 4 KB. */
const RUNS_MAX = 1 << 19

interface Fields {
  /** UTF-16LE. */
  readonly name: Uint8Array
  readonly clsid: Uint8Array
  readonly stateBits: Uint8Array
  /** When it was made and when it was changed, as they stand there. */
  readonly times: Uint8Array
  /** Where its record lies in a file that was read. */
  readonly record?: number
}

export interface StreamEntry extends Fields {
  readonly type: 'stream'
  /** Octets. */
  readonly size: number
  readonly content: readonly Piece[]
}

export interface StorageEntry extends Fields {
  readonly type: 'storage'
  readonly children: readonly (StreamEntry | StorageEntry)[]
}

export type SectorOctets = 512 | 4096

export interface CompoundFile {
  readonly sectorOctets: SectorOctets
  readonly root: StorageEntry
  /** What belongs to nothing: ends of sectors, free sectors, free entries of the directory. Zeros, where nobody hid anything. */
  readonly strays: readonly Range[]
  /** Octets behind the last sector that belongs to something. */
  readonly trailingOctets: number
}

export async function isCompoundFile(source: BlobSource): Promise<boolean> {
  return source.size >= 3 * HEADER_OCTETS && (await source.read(0, 8)).toHex() === MAGIC
}

/** @returns that of the root without reading the rest, which may be anything; undefined where it cannot be found */
export async function classOf(source: BlobSource): Promise<string | undefined> {
  if (!(await isCompoundFile(source))) return undefined
  const view = viewOf(await source.read(0, HEADER_OCTETS))
  const sectorOctets = view.getUint16(26, true) === 4 ? 4096 : 512
  const at = (view.getUint32(48, true) + 1) * sectorOctets
  return at + ENTRY_OCTETS > source.size ? undefined : (await source.read(at + 80, 16)).toHex()
}

interface Header {
  readonly sectorOctets: SectorOctets
  readonly fatCount: number
  readonly directoryCount: number
  readonly directoryStart: number
  readonly miniFATStart: number
  readonly miniFATCount: number
  readonly difatStart: number
  readonly difatCount: number
  readonly difat: readonly number[]
}

function parseHeader(octets: Uint8Array): Header {
  const view = viewOf(octets)
  const major = view.getUint16(26, true)
  const sectorOctets = major === 4 ? 4096 : 512
  const isKnown =
    octets.subarray(0, 8).toHex() === MAGIC &&
    (major === 3 || major === 4) &&
    view.getUint16(28, true) === 0xfffe &&
    1 << view.getUint16(30, true) === sectorOctets &&
    1 << view.getUint16(32, true) === MINI_SECTOR_OCTETS &&
    view.getUint32(56, true) === MINI_STREAM_CUTOFF
  if (!isKnown) throw badCFB('its header is of no known kind')
  if (!isZero(octets.subarray(8, 24)) || !isZero(octets.subarray(34, 40)))
    throw badCFB('its header has something where nothing is')
  const header = {
    sectorOctets,
    directoryCount: view.getUint32(40, true),
    fatCount: view.getUint32(44, true),
    directoryStart: view.getUint32(48, true),
    miniFATStart: view.getUint32(60, true),
    miniFATCount: view.getUint32(64, true),
    difatStart: view.getUint32(68, true),
    difatCount: view.getUint32(72, true),
    difat: [...Array(DIFAT_IN_HEADER).keys()].map((i) => view.getUint32(76 + i * 4, true)),
  } as const
  if (major === 3 && header.directoryCount !== 0) throw badCFB('it counts sectors of its directory where there is no count')
  return header
}

/** Who has which sectors: nobody shares any, so that no chain runs in a circle either. */
interface Sectors {
  readonly octets: SectorOctets
  readonly count: number
  /** 1 for those that belong to something. */
  readonly claimed: Uint8Array
  readonly fat: Uint32Array
}

const offsetOf = (sectorOctets: number, sector: number): number => (sector + 1) * sectorOctets

function claim(claimed: Uint8Array, sector: number): void {
  if (sector >= claimed.length) throw badCFB('a chain of sectors leads out of it')
  if (claimed[sector] !== 0) throw badCFB('a sector belongs to two chains, or a chain runs in a circle')
  claimed[sector] = 1
}

type Runs = { readonly offset: number; length: number }[]

/** Ranges that follow each other become one. */
function append(runs: Runs, offset: number, length: number): void {
  const last = runs.at(-1)
  if (last !== undefined && last.offset + last.length === offset) last.length += length
  else runs.push({ offset, length })
  if (runs.length > RUNS_MAX) throw tooMany('fragments', RUNS_MAX)
}

/** The octets of a chain, to the end of its last sector. */
function chainOf({ octets, fat, claimed }: Sectors, start: number): readonly Range[] {
  const runs: Runs = []
  for (let sector = start; sector !== ENDOFCHAIN; sector = fat[sector] as number) {
    claim(claimed, sector)
    append(runs, offsetOf(octets, sector), octets)
  }
  return runs
}

/** The first octets of the runs, and those that are left. */
function cut(runs: readonly Range[], length: number): { readonly kept: readonly Range[]; readonly rest: readonly Range[] } {
  const kept: Range[] = []
  const rest: Range[] = []
  let left = length
  for (const run of runs) {
    const taken = Math.min(left, run.length)
    if (taken > 0) kept.push({ offset: run.offset, length: taken })
    if (taken < run.length) rest.push({ offset: run.offset + taken, length: run.length - taken })
    left -= taken
  }
  if (left > 0) throw badCFB('a stream is longer than its sectors')
  return { kept, rest }
}

async function readRuns(source: BlobSource, runs: readonly Range[]): Promise<Uint8Array> {
  const all = new Uint8Array(sizeOf(runs))
  let at = 0
  for (const { offset, length } of runs) {
    for (let done = 0; done < length; done += HEADER_OCTETS * 1024) {
      const octets = await source.read(offset + done, Math.min(HEADER_OCTETS * 1024, length - done))
      all.set(octets, at)
      at += octets.length
    }
  }
  return all
}

/** The table of all sectors, and where it lies itself. */
async function readFAT(source: BlobSource, header: Header): Promise<Sectors> {
  const { sectorOctets, fatCount, difatCount } = header
  const count = Math.floor(source.size / sectorOctets) - 1
  if (count > SECTORS_MAX) throw tooMany('sectors', SECTORS_MAX)
  const perSector = sectorOctets / 4
  const needed = Math.ceil(count / perSector)
  if (count < 2 || fatCount < needed || fatCount > needed + 1) throw badCFB('its table of sectors has no usable length')
  const claimed = new Uint8Array(count)
  const places: number[] = header.difat.slice(0, fatCount)
  if (header.difat.slice(fatCount).some((place) => place !== NONE)) throw badCFB('its table of sectors is longer than it says')
  const difatSectors: number[] = []
  let next = header.difatStart
  while (places.length < fatCount) {
    claim(claimed, next)
    difatSectors.push(next)
    const view = viewOf(await source.read(offsetOf(sectorOctets, next), sectorOctets))
    for (let i = 0; i < perSector - 1; i++) {
      const place = view.getUint32(i * 4, true)
      if (places.length < fatCount) places.push(place)
      else if (place !== NONE) throw badCFB('its table of sectors is longer than it says')
    }
    next = view.getUint32(sectorOctets - 4, true)
  }
  if (difatSectors.length !== difatCount || (next !== ENDOFCHAIN && next !== NONE))
    throw badCFB('its table of sectors is longer than it says')
  const fat = new Uint32Array(fatCount * perSector) // little-endian, as are all platforms of ours
  const octets = new Uint8Array(fat.buffer)
  for (const [i, place] of places.entries()) {
    claim(claimed, place)
    octets.set(await source.read(offsetOf(sectorOctets, place), sectorOctets), i * sectorOctets)
  }
  const isMarked = places.every((place) => fat[place] === FATSECT) && difatSectors.every((place) => fat[place] === DIFSECT)
  if (!isMarked || fat.subarray(count).some((entry) => entry !== NONE))
    throw badCFB('its table of sectors does not tell of itself')
  return { octets: sectorOctets, count, claimed, fat }
}

/** Sectors of the mini stream, as those of the file are. */
interface MiniSectors {
  readonly claimed: Uint8Array
  readonly fat: Uint32Array
  /** Where in the file each sector's worth of the mini stream lies. */
  readonly offsets: Float64Array
  readonly sectorOctets: number
}

function miniChain({ claimed, fat, offsets, sectorOctets }: MiniSectors, start: number): readonly Range[] {
  const runs: Runs = []
  for (let sector = start; sector !== ENDOFCHAIN; sector = fat[sector] as number) {
    claim(claimed, sector)
    append(runs, miniOffset(offsets, sectorOctets, sector), MINI_SECTOR_OCTETS)
  }
  return runs
}

function miniOffset(offsets: Float64Array, sectorOctets: number, sector: number): number {
  const at = sector * MINI_SECTOR_OCTETS
  return (offsets[Math.floor(at / sectorOctets)] as number) + (at % sectorOctets)
}

/** @throws TrustError `malformed` for tables that lie or do not agree, `unsupported`, `tooLarge` */
export async function parseCompoundFile(source: BlobSource): Promise<CompoundFile> {
  if (!(await isCompoundFile(source))) throw badCFB('it does not begin as one')
  const header = parseHeader(await source.read(0, HEADER_OCTETS))
  const { sectorOctets } = header
  const sectors = await readFAT(source, header)
  const strays: Runs = []
  if (sectorOctets > HEADER_OCTETS) append(strays, HEADER_OCTETS, sectorOctets - HEADER_OCTETS)

  const directoryRuns = chainOf(sectors, header.directoryStart)
  const directoryOctets = sizeOf(directoryRuns)
  if (directoryOctets > ENTRIES_MAX * ENTRY_OCTETS) throw tooMany('entries', ENTRIES_MAX)
  if (sectorOctets === 4096 && header.directoryCount !== directoryOctets / sectorOctets)
    throw badCFB('its directory has not the length that it says')
  const octets = await readRuns(source, directoryRuns)
  const directory = { octets, runs: directoryRuns, isLong: sectorOctets === 4096 }
  const rootRecord = recordIn(directory, 0)
  if (rootRecord.type !== ROOT || !equal(rootRecord.name, ROOT_NAME)) throw badCFB('its directory does not begin with its root')
  const mini = await readMini(source, header, sectors, rootRecord, strays)
  const root = treeOf(directory, sectors, mini, strays)
  for (let i = 0; i < mini.claimed.length; i++)
    if (mini.claimed[i] === 0) append(strays, miniOffset(mini.offsets, sectorOctets, i), MINI_SECTOR_OCTETS)
  const end = sectors.claimed.lastIndexOf(1) + 1
  for (let i = 0; i < end; i++) if (sectors.claimed[i] === 0) append(strays, offsetOf(sectorOctets, i), sectorOctets)
  return { sectorOctets, root, strays, trailingOctets: source.size - offsetOf(sectorOctets, end) }
}

async function readMini(source: BlobSource, header: Header, sectors: Sectors, root: Entry, strays: Runs): Promise<MiniSectors> {
  const { sectorOctets } = header
  if (root.size > ENTRIES_MAX * MINI_STREAM_CUTOFF) throw tooMany('entries', ENTRIES_MAX)
  const { kept, rest } = cut(root.size === 0 ? [] : chainOf(sectors, root.start), root.size)
  for (const { offset, length } of rest) append(strays, offset, length)
  const offsets = new Float64Array(Math.ceil(root.size / sectorOctets))
  let i = 0
  for (const { offset, length } of kept) for (let at = 0; at < length; at += sectorOctets) offsets[i++] = offset + at
  const tableRuns = header.miniFATCount === 0 ? [] : chainOf(sectors, header.miniFATStart)
  const tableOctets = sizeOf(tableRuns)
  const count = Math.floor(root.size / MINI_SECTOR_OCTETS)
  if (tableOctets !== header.miniFATCount * sectorOctets || count * 4 > tableOctets || root.size % MINI_SECTOR_OCTETS !== 0)
    throw badCFB('its mini stream and its table have no usable length')
  if (tableOctets > 2 * ENTRIES_MAX * MINI_STREAM_CUTOFF) throw tooMany('entries', ENTRIES_MAX)
  const fat = new Uint32Array(tableOctets / 4)
  new Uint8Array(fat.buffer).set(await readRuns(source, tableRuns))
  return { claimed: new Uint8Array(count), fat, offsets, sectorOctets }
}

const STORAGE = 1
const STREAM = 2
const ROOT = 5

interface Directory {
  readonly octets: Uint8Array
  readonly runs: readonly Range[]
  /** Whether sizes have eight octets; in files with sectors of 512 the upper four mean nothing. */
  readonly isLong: boolean
}

interface Entry extends Required<Fields> {
  readonly type: number
  readonly left: number
  readonly right: number
  readonly child: number
  readonly start: number
  readonly size: number
}

function recordIn({ octets: directory, runs, isLong }: Directory, id: number): Entry {
  if (id >= directory.length / ENTRY_OCTETS) throw badCFB('an entry is not in its directory')
  const octets = directory.subarray(id * ENTRY_OCTETS, (id + 1) * ENTRY_OCTETS)
  const view = viewOf(octets)
  const nameOctets = view.getUint16(64, true)
  if (nameOctets < 4 || nameOctets > NAME_MAX_OCTETS || nameOctets % 2 !== 0 || view.getUint16(nameOctets - 2) !== 0)
    throw badCFB('an entry of its directory has no usable name')
  const name = octets.subarray(0, nameOctets - 2)
  for (let i = 0; i < name.length; i += 2)
    if (FORBIDDEN_UNITS.has(view.getUint16(i, true))) throw badCFB('an entry of its directory has no usable name')
  return {
    name,
    type: octets[66] as number,
    left: view.getUint32(68, true),
    right: view.getUint32(72, true),
    child: view.getUint32(76, true),
    clsid: octets.subarray(80, 96),
    stateBits: octets.subarray(96, 100),
    times: octets.subarray(100, 116),
    start: view.getUint32(116, true),
    size: view.getUint32(120, true) + (isLong ? view.getUint32(124, true) * 2 ** 32 : 0),
    record: offsetAt(runs, id * ENTRY_OCTETS),
  }
}

/** Zero, and what leads to other storages (2.6.1). */
const FORBIDDEN_UNITS: ReadonlySet<number> = new Set([0, 0x21, 0x2f, 0x3a, 0x5c])

function offsetAt(runs: readonly Range[], at: number): number {
  let left = at
  for (const { offset, length } of runs) {
    if (left < length) return offset + left
    left -= length
  }
  throw new RangeError('it lies behind the last run')
}

function treeOf(directory: Directory, sectors: Sectors, mini: MiniSectors, strays: Runs): StorageEntry {
  const claimed = new Uint8Array(directory.octets.length / ENTRY_OCTETS)
  let runCount = 0
  const take = (id: number): Entry => {
    if (claimed[id] !== 0) throw badCFB('an entry of its directory is in two places, or out of it')
    claimed[id] = 1
    const entry = recordIn(directory, id)
    const nameEnd = entry.name.length + 2
    if (nameEnd < NAME_MAX_OCTETS) append(strays, entry.record + nameEnd, NAME_MAX_OCTETS - nameEnd)
    return entry
  }

  /** Left ones are less than their parent, right ones are more: whoever searches finds what whoever lists finds. */
  const siblings = (from: number): readonly Entry[] => {
    const inOrder: Entry[] = []
    const above: Entry[] = []
    for (let id = from; id !== NONE || above.length > 0;) {
      for (; id !== NONE; id = (above.at(-1) as Entry).left) above.push(take(id))
      const entry = above.pop() as Entry
      const before = inOrder.at(-1)
      if (before !== undefined && compareNames(before.name, entry.name) >= 0)
        throw badCFB('the entries of its directory are not in order, or two have one name')
      inOrder.push(entry)
      id = entry.right
    }
    return inOrder
  }

  const storage = ({ name, clsid, stateBits, times, record, child }: Entry, depth: number): StorageEntry => {
    if (depth > DEPTH_MAX) throw tooMany('storages within each other', DEPTH_MAX)
    const children = siblings(child).map((entry) => {
      if (entry.type === STORAGE) return storage(entry, depth + 1)
      if (entry.type !== STREAM) throw badCFB('an entry of its directory is of no known kind')
      return stream(entry)
    })
    return { type: 'storage', name, clsid, stateBits, times, record, children }
  }

  const stream = ({ name, clsid, stateBits, times, record, child, start, size }: Entry): StreamEntry => {
    if (child !== NONE || !isZero(clsid) || !isZero(stateBits) || !isZero(times))
      throw badCFB('an entry of a stream has something where nothing is')
    if (size >= 2 ** 32)
      throw new TrustError('unsupported', 'artifactUnsupported', {
        facts: { format: 'compound file', detail: 'a stream of 4 GB or more' },
      })
    if (size === 0) return { type: 'stream', name, clsid, stateBits, times, record, size, content: [] }
    const runs = size < MINI_STREAM_CUTOFF ? miniChain(mini, start) : chainOf(sectors, start)
    const { kept, rest } = cut(runs, size)
    for (const { offset, length } of rest) append(strays, offset, length)
    runCount += kept.length
    if (runCount > RUNS_MAX) throw tooMany('fragments', RUNS_MAX)
    return { type: 'stream', name, clsid, stateBits, times, record, size, content: kept }
  }

  const root = storage(take(0), 0)
  for (const [id, is] of claimed.entries()) {
    if (is !== 0) continue
    const octets = directory.octets.subarray(id * ENTRY_OCTETS, (id + 1) * ENTRY_OCTETS)
    const links = octets.subarray(68, 80).toHex()
    const at = offsetAt(directory.runs, id * ENTRY_OCTETS)
    if (links !== '0'.repeat(24) && links !== 'f'.repeat(24)) append(strays, at, ENTRY_OCTETS)
    append(strays, at, 68)
    append(strays, at + 80, ENTRY_OCTETS - 80)
  }
  return root
}

/** 2.6.4: the shorter first, then by units in upper case. */
function compareNames(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length
  const [one, other] = [viewOf(a), viewOf(b)]
  for (let i = 0; i < a.length; i += 2) {
    const difference = upperCase(one.getUint16(i, true)) - upperCase(other.getUint16(i, true))
    if (difference !== 0) return difference
  }
  return 0
}

function upperCase(unit: number): number {
  const upper = String.fromCharCode(unit).toUpperCase()
  return upper.length === 1 ? upper.charCodeAt(0) : unit
}

interface NewRecord {
  readonly entry: StreamEntry | StorageEntry
  left: number
  right: number
  child: number
  isRed: boolean
  start: number
}

/** All records in the order in which they are written; each storage's children are a tree that is as flat as can be (2.6.4). */
function recordsOf(root: StorageEntry): readonly NewRecord[] {
  const records: NewRecord[] = []
  const put = (entry: StreamEntry | StorageEntry, isRed: boolean): number => {
    const id = records.push({ entry, left: NONE, right: NONE, child: NONE, isRed, start: ENDOFCHAIN }) - 1
    if (entry.type === 'storage') {
      const children = entry.children.toSorted((a, b) => compareNames(a.name, b.name))
      const deepest = Math.floor(Math.log2(children.length))
      ;(records[id] as NewRecord).child = treeIn(children, deepest)
    }
    return id
  }
  const treeIn = (siblings: readonly (StreamEntry | StorageEntry)[], deepest: number, depth = 0): number => {
    const middle = siblings.length >>> 1
    const entry = siblings[middle]
    if (entry === undefined) return NONE
    const id = put(entry, depth === deepest && depth > 0)
    const record = records[id] as NewRecord
    record.left = treeIn(siblings.slice(0, middle), deepest, depth + 1)
    record.right = treeIn(siblings.slice(middle + 1), deepest, depth + 1)
    return id
  }
  put(root, false)
  return records
}

/** A new file, in which everything follows each other. Names must differ. @throws TrustError `tooLarge` */
export function encodeCompoundFile(root: StorageEntry, sectorOctets: SectorOctets): readonly Piece[] {
  const records = recordsOf(root)
  if (records.length > ENTRIES_MAX) throw tooMany('entries', ENTRIES_MAX)
  const body: Piece[] = []
  const chains: number[] = [] // how many sectors each has
  let count = 0
  const physical = (sector: number): number => (sectorOctets === 4096 && sector >= LOCK_SECTOR ? sector + 1 : sector)
  /** @returns where it begins */
  const place = (content: readonly Piece[], octets: number, fill = 0): number => {
    if (octets === 0) return ENDOFCHAIN
    const start = physical(count)
    const padding = -octets & (sectorOctets - 1)
    for (const piece of content) body.push(piece)
    if (padding > 0) body.push(new Uint8Array(padding).fill(fill))
    chains.push((octets + padding) / sectorOctets)
    count += (octets + padding) / sectorOctets
    return start
  }

  const miniStream: Piece[] = []
  const miniFAT: number[] = []
  for (const record of records) {
    if (record.entry.type === 'storage' || record.entry.size === 0) continue
    const { content, size } = record.entry
    if (size >= MINI_STREAM_CUTOFF) {
      record.start = place(content, size)
      continue
    }
    record.start = miniFAT.length
    const padding = -size & (MINI_SECTOR_OCTETS - 1)
    for (const piece of content) miniStream.push(piece)
    if (padding > 0) miniStream.push(new Uint8Array(padding))
    for (let left = size; left > MINI_SECTOR_OCTETS; left -= MINI_SECTOR_OCTETS) miniFAT.push(miniFAT.length + 1)
    miniFAT.push(ENDOFCHAIN)
  }
  const miniOctets = miniFAT.length * MINI_SECTOR_OCTETS
  ;(records[0] as NewRecord).start = place(miniStream, miniOctets)
  const miniFATStart = place([octetsOfWords(miniFAT)], miniFAT.length * 4, 0xff)
  const miniFATCount = miniFAT.length === 0 ? 0 : (chains.at(-1) as number)
  const directory = directoryOf(records, miniOctets, sectorOctets)
  const directoryStart = place([directory], directory.length)

  const perSector = sectorOctets / 4
  let [fatCount, difatCount, total] = [0, 0, count]
  for (let before = -1; before !== total;) {
    before = total
    fatCount = Math.ceil(total / perSector)
    difatCount = Math.ceil(Math.max(0, fatCount - DIFAT_IN_HEADER) / (perSector - 1))
    total = physical(count + fatCount + difatCount - 1) + 1
  }
  if (total > SECTORS_MAX) throw tooMany('sectors', SECTORS_MAX)
  const fat = new Uint32Array(fatCount * perSector).fill(NONE)
  let at = 0
  for (const length of chains) {
    for (let i = 1; i < length; i++, at++) fat[physical(at)] = physical(at + 1)
    fat[physical(at++)] = ENDOFCHAIN
  }
  if (physical(LOCK_SECTOR) !== LOCK_SECTOR && total > LOCK_SECTOR) fat[LOCK_SECTOR] = ENDOFCHAIN
  const places = [...Array(fatCount + difatCount).keys()].map((i) => physical(count + i))
  for (const [i, sector] of places.entries()) fat[sector] = i < fatCount ? FATSECT : DIFSECT
  const [fatPlaces, difatPlaces] = [places.slice(0, fatCount), places.slice(fatCount)]
  body.push(new Uint8Array(fat.buffer), ...difatOf(fatPlaces, difatPlaces, perSector))

  const header = headerOf(sectorOctets, [
    sectorOctets === 4096 ? directory.length / sectorOctets : 0,
    fatCount,
    directoryStart,
    0, // transactions are not used
    MINI_STREAM_CUTOFF,
    miniFATStart,
    miniFATCount,
    difatPlaces[0] ?? ENDOFCHAIN,
    difatCount,
    ...[...Array(DIFAT_IN_HEADER).keys()].map((i) => fatPlaces[i] ?? NONE),
  ])
  const lockAt = LOCK_SECTOR * sectorOctets
  return [header, ...(sectorOctets === 4096 && total > LOCK_SECTOR ? withGap(body, lockAt, sectorOctets) : body)]
}

function headerOf(sectorOctets: SectorOctets, words: readonly number[]): Uint8Array {
  const header = new Uint8Array(sectorOctets)
  const view = viewOf(header)
  header.set(Uint8Array.fromHex(MAGIC))
  view.setUint16(24, 0x3e, true)
  view.setUint16(26, sectorOctets === 4096 ? 4 : 3, true)
  view.setUint16(28, 0xfffe, true)
  view.setUint16(30, Math.log2(sectorOctets), true)
  view.setUint16(32, Math.log2(MINI_SECTOR_OCTETS), true)
  for (const [i, word] of words.entries()) view.setUint32(40 + i * 4, word, true)
  return header
}

/** Padded to whole sectors with entries that are free. */
function directoryOf(records: readonly NewRecord[], miniOctets: number, sectorOctets: number): Uint8Array {
  const used = records.length * ENTRY_OCTETS
  const directory = new Uint8Array(used + (-used & (sectorOctets - 1)))
  const view = viewOf(directory)
  for (let at = used; at < directory.length; at += ENTRY_OCTETS) directory.fill(0xff, at + 68, at + 80)
  for (const [id, { entry, left, right, child, isRed, start }] of records.entries()) {
    const at = id * ENTRY_OCTETS
    directory.set(entry.name, at)
    view.setUint16(at + 64, entry.name.length + 2, true)
    view.setUint8(at + 66, entry.type === 'stream' ? STREAM : id === 0 ? ROOT : STORAGE)
    view.setUint8(at + 67, isRed ? 0 : 1)
    for (const [i, link] of [left, right, child].entries()) view.setUint32(at + 68 + i * 4, link, true)
    directory.set(concat([entry.clsid, entry.stateBits, entry.times]), at + 80)
    view.setUint32(at + 116, entry.type === 'storage' && id !== 0 ? 0 : start, true)
    view.setUint32(at + 120, entry.type === 'stream' ? entry.size : id === 0 ? miniOctets : 0, true)
  }
  return directory
}

/** The places of the table of sectors, behind those that the header has. */
function difatOf(fatPlaces: readonly number[], difatPlaces: readonly number[], perSector: number): readonly Uint8Array[] {
  return difatPlaces.map((_, i) => {
    const from = DIFAT_IN_HEADER + i * (perSector - 1)
    const words = [...Array(perSector - 1).keys()].map((j) => fatPlaces[from + j] ?? NONE)
    return octetsOfWords([...words, difatPlaces[i + 1] ?? ENDOFCHAIN])
  })
}

function octetsOfWords(words: readonly number[]): Uint8Array {
  const octets = new Uint8Array(words.length * 4)
  const view = viewOf(octets)
  for (const [i, word] of words.entries()) view.setUint32(i * 4, word, true)
  return octets
}

/** A gap of zeros before what begins there. */
function withGap(pieces: readonly Piece[], at: number, octets: number): readonly Piece[] {
  const parts: Piece[] = []
  let left = at
  for (const piece of pieces) {
    const length = Math.max(0, Math.min(left, piece.length))
    const [before, behind] =
      piece instanceof Uint8Array
        ? [piece.subarray(0, length), piece.subarray(length)]
        : [
            { offset: piece.offset, length },
            { offset: piece.offset + length, length: piece.length - length },
          ]
    if (before.length > 0) parts.push(before)
    if (left >= 0 && left < piece.length) parts.push(new Uint8Array(octets))
    if (behind.length > 0) parts.push(behind)
    left -= piece.length
  }
  return parts
}

const isZero = (octets: Uint8Array): boolean => octets.every((octet) => octet === 0)
const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

const badCFB = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'compound file', detail } })
const tooMany = (what: string, limit: number): TrustError =>
  new TrustError('tooLarge', 'artifactTooMany', { facts: { what, limit } })
