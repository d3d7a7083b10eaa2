/**
 * The node's log on its disk: lines that are only ever added, and that are durable before anybody hears of them.
 *
 * Lines that wait together share one fsync. What a crash leaves of a last line was never said to be there, and is cut off;
 * anything else that is not as it was written makes the log unusable.
 *
 * @module
 */
import { closeSync, existsSync, fstatSync, ftruncateSync, fsyncSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { utf8 } from '#base/bytes.ts'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Clock } from '#base/world.ts'
import {
  type ChainEnd,
  emptyChain,
  encodeEntry,
  ENTRIES_MAX,
  follow,
  hashLine,
  type LogEntry,
  type NewEntry,
} from '../messages.ts'

/** Where a line stands in the file. */
export interface Place {
  readonly offset: number
  readonly octets: number
}

export interface LogFile {
  /** With what is on its way to the disk. */
  end(): ChainEnd
  /** @returns when the line is on the disk @throws TrustError `unavailable` after a write that failed: nothing is added any more */
  append(entry: NewEntry): Promise<Place>
  /** A line that is on the disk. */
  read(place: Place): Promise<string>
  /** @returns when everything is on the disk */
  close(): Promise<void>
}

const CHUNK_OCTETS = 1 << 20

/**
 * @param visit told of each entry that is there, in order
 * @throws TrustError `badProof` (`logBroken`), `malformed`
 */
export async function openLogFile(path: string, clock: Clock, visit: (entry: LogEntry, place: Place) => void): Promise<LogFile> {
  let end = emptyChain
  let size = 0
  let latest = 0
  size = cutLog(path, (line, place) => {
    const next = follow(end, line)
    end = next.end
    size = place.offset + place.octets
    latest = next.entry.at
    visit(next.entry, place)
  })
  syncDirectory(dirname(path))

  const handle: FileHandle = await open(path, 'r+')
  let broken: TrustError | undefined
  interface Waiting {
    readonly octets: Uint8Array
    readonly done: () => void
    readonly failed: (error: unknown) => void
  }
  let waiting: Waiting[] = []
  let writing: Promise<void> | undefined
  let written = size

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const group = waiting
      waiting = []
      try {
        const octets = Buffer.concat(group.map((one) => one.octets))
        await handle.write(octets, 0, octets.length, written)
        await handle.datasync()
        written += octets.length
        for (const { done } of group) done()
      } catch (cause) {
        broken = new TrustError('unavailable', 'logUnwritable', { cause })
        for (const { failed } of [...group, ...waiting.splice(0)]) failed(broken)
      }
    }
    writing = undefined // in the turn in which nothing waits any more
  }

  return {
    end: () => end,
    append(added) {
      if (broken !== undefined) return Promise.reject(broken)
      if (end.size >= ENTRIES_MAX)
        return Promise.reject(new TrustError('quotaExceeded', 'logFull', { facts: { limit: ENTRIES_MAX } }))
      // a clock that was set back does not turn the log around
      const at = (latest = Math.max(latest, Math.trunc(clock.now())))
      const line = encodeEntry({ n: end.size, previous: end.head, at, ...added })
      end = { size: end.size + 1, head: hashLine(line) }
      const octets = utf8(`${line}\n`)
      const place = { offset: size, octets: octets.length }
      size += octets.length
      return new Promise((resolve, reject) => {
        waiting.push({ octets, done: () => resolve(place), failed: reject })
        writing ??= Promise.resolve().then(writeAll) // lines of the same turn go together
      })
    },
    read: (place) => lineAt(handle, place),
    async close() {
      while (writing !== undefined) await writing
      await handle.close()
    },
  }
}

/** @returns octets of whole lines; what follows them is cut off */
function cutLog(path: string, visit: (line: string, place: Place) => void): number {
  const file = openSync(path, 'a+', 0o600)
  try {
    const { size } = fstatSync(file)
    const whole = readLines(file, size, visit)
    if (whole < size) {
      ftruncateSync(file, whole)
      fsyncSync(file)
    }
    return whole
  } finally {
    closeSync(file)
  }
}

/**
 * The lines that are on the disk for good, also while a node adds to them.
 *
 * @throws TrustError `badProof` (`logBroken`), `malformed`
 */
export function readLog(path: string, visit: (line: string, entry: LogEntry, end: ChainEnd) => void): ChainEnd {
  if (!existsSync(path)) return emptyChain
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    fsyncSync(file) // nobody is shown what a power cut could take back
    let end = emptyChain
    readLines(file, size, (line) => {
      const next = follow(end, line)
      end = next.end
      visit(line, next.entry, end)
    })
    return end
  } finally {
    closeSync(file)
  }
}

/** @returns octets of whole lines among the first `size` */
function readLines(file: number, size: number, visit: (line: string, place: Place) => void): number {
  let [offset, at] = [0, 0]
  let rest: Buffer = Buffer.alloc(0)
  while (at < size) {
    const chunk = Buffer.alloc(Math.min(CHUNK_OCTETS, size - at))
    const octets = readSync(file, chunk, 0, chunk.length, at)
    if (octets === 0) break
    at += octets
    rest = Buffer.concat([rest, chunk.subarray(0, octets)])
    let from = 0
    for (let to = rest.indexOf(0x0a); to >= 0; to = rest.indexOf(0x0a, from)) {
      visit(rest.toString('utf8', from, to), { offset, octets: to + 1 - from })
      offset += to + 1 - from
      from = to + 1
    }
    rest = rest.subarray(from)
    if (rest.length > CHUNK_OCTETS)
      throw new TrustError('malformed', 'logEntryMalformed', { facts: { detail: 'it is too long' } })
  }
  return offset
}

/** The line that begins here. */
async function lineAt(handle: FileHandle, { offset, octets }: Place): Promise<string> {
  const line = Buffer.alloc(octets - 1)
  await handle.read(line, 0, line.length, offset)
  return line.toString('utf8')
}
