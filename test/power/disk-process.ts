/**
 * A disk with a cache that forgets: a file under FUSE, which a loop device and a file system are put on.
 *
 * What is written lies in this process's memory until a flush takes it to the image, as in a disk's own cache. On its
 * way some sectors go to the image at once and others do not, so that what was written last may be there and what was
 * written before it missing, and a write of several sectors may be torn. To kill this process is to cut the power: the image then holds
 * what a disk would.
 *
 * It speaks the kernel's protocol itself, one request after the other, since a disk's memory and nothing else is
 * wanted of it; the mount point is a file, so there are no names.
 *
 * Arguments: the image, the mount point (a file), a seed, how many writes from now the power fails (0: when killed).
 *
 * Source: linux/fuse.h, version 7.31; kernel.org/doc/html/latest/filesystems/fuse.html.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { seeded } from '../simulate/store-kill.ts'

/** What a disk writes as a whole or not at all. With 512 ext4 itself does not survive: its superblock has 1024, in place. */
const SECTOR_OCTETS = 4096
const WRITE_MAX_OCTETS = 1 << 19
/** Of the sectors that a write brings, how many go to the image without a flush. */
const AT_ONCE = 0.3

const GETATTR = 3
const SETATTR = 4
const OPEN = 14
const READ = 15
const WRITE = 16
const STATFS = 17
const RELEASE = 18
const FSYNC = 20
const FLUSH = 25
const INIT = 26
/** They are never answered. */
const SILENT = new Set([2, 36, 42]) // FORGET, INTERRUPT, BATCH_FORGET

const FUSE_BIG_WRITES = 1 << 5
const FUSE_MAX_PAGES = 1 << 22
const ENOSYS = 38

const IN_HEADER_OCTETS = 40
const OUT_HEADER_OCTETS = 16
const WRITE_IN_OCTETS = 40

const [image = '', mountPoint = '', seed = '1', failsAfter = '0'] = process.argv.slice(2)
const random = seeded(Number(seed))
let writesLeft = Number(failsAfter)

const stored = openSync(image, 'r+')
const sizeOctets = fstatSync(stored).size
const cache = new Map<number, Uint8Array>()

const kernel = openSync('/dev/fuse', 'r+')
const options = 'fd=3,rootmode=100600,user_id=0,group_id=0'
const mounted = spawnSync('mount', ['-i', '-t', 'fuse', '-o', options, 'sealworks-test-disk', mountPoint], {
  stdio: ['ignore', 'inherit', 'inherit', kernel],
})
if (mounted.status !== 0) process.exit(1)
writeSync(1, `${process.pid}\n`)

const request = Buffer.alloc(IN_HEADER_OCTETS + WRITE_IN_OCTETS + WRITE_MAX_OCTETS)
for (;;) {
  try {
    readSync(kernel, request)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EINTR' || code === 'EAGAIN' || code === 'ENOENT') continue // a request that was withdrawn
    if (code === 'ENODEV') process.exit(0) // unmounted
    throw error
  }
  answer(request.readUInt32LE(4), request.readBigUInt64LE(8))
}

function answer(opcode: number, unique: bigint): void {
  if (SILENT.has(opcode)) return
  const body = bodyOf(opcode)
  const header = Buffer.alloc(OUT_HEADER_OCTETS)
  header.writeUInt32LE(OUT_HEADER_OCTETS + (body?.length ?? 0), 0)
  header.writeInt32LE(body === undefined ? -ENOSYS : 0, 4)
  header.writeBigUInt64LE(unique, 8)
  writeSync(kernel, Buffer.concat([header, body ?? new Uint8Array(0)]))
}

function bodyOf(opcode: number): Uint8Array | undefined {
  const offset = Number(request.readBigUInt64LE(IN_HEADER_OCTETS + 8))
  const length = request.readUInt32LE(IN_HEADER_OCTETS + 16)
  switch (opcode) {
    case INIT:
      return initialized()
    case GETATTR:
    case SETATTR:
      return attributes()
    case OPEN:
      return new Uint8Array(16)
    case READ:
      return read(offset, Math.max(0, Math.min(length, sizeOctets - offset)))
    case WRITE:
      write(offset, request.subarray(IN_HEADER_OCTETS + WRITE_IN_OCTETS, IN_HEADER_OCTETS + WRITE_IN_OCTETS + length))
      return written(length)
    case FSYNC:
      flush()
      return new Uint8Array(0)
    case RELEASE:
    case FLUSH: // each close(2), which is no fsync(2)
      return new Uint8Array(0)
    case STATFS:
      return new Uint8Array(80)
    default:
      return undefined
  }
}

function read(offset: number, length: number): Uint8Array {
  const data = Buffer.alloc(length)
  readSync(stored, data, 0, length, offset)
  for (let at = 0; at < length; at += SECTOR_OCTETS) {
    const cached = cache.get((offset + at) / SECTOR_OCTETS)
    if (cached !== undefined) data.set(cached, at)
  }
  return data
}

function write(offset: number, data: Uint8Array): void {
  if (offset % SECTOR_OCTETS !== 0 || data.length % SECTOR_OCTETS !== 0) throw new Error(`${data.length} octets at ${offset}`)
  for (let at = 0; at < data.length; at += SECTOR_OCTETS) {
    const sector = (offset + at) / SECTOR_OCTETS
    const octets = Uint8Array.from(data.subarray(at, at + SECTOR_OCTETS)) // the next request comes to the same place
    if (random() < AT_ONCE) {
      cache.delete(sector)
      writeSync(stored, octets, 0, SECTOR_OCTETS, sector * SECTOR_OCTETS)
    } else cache.set(sector, octets)
  }
  if (writesLeft > 0 && --writesLeft === 0) process.kill(process.pid, 'SIGKILL')
}

function flush(): void {
  for (const [sector, octets] of cache) writeSync(stored, octets, 0, SECTOR_OCTETS, sector * SECTOR_OCTETS)
  cache.clear()
}

/** struct fuse_init_out */
function initialized(): Uint8Array {
  const body = Buffer.alloc(64)
  body.writeUInt32LE(7, 0)
  body.writeUInt32LE(31, 4)
  body.writeUInt32LE(request.readUInt32LE(IN_HEADER_OCTETS + 8), 8) // max_readahead
  body.writeUInt32LE(FUSE_BIG_WRITES | FUSE_MAX_PAGES, 12)
  body.writeUInt16LE(64, 16) // max_background
  body.writeUInt16LE(48, 18) // congestion_threshold
  body.writeUInt32LE(WRITE_MAX_OCTETS, 20)
  body.writeUInt32LE(1, 24) // time_gran
  body.writeUInt16LE(WRITE_MAX_OCTETS / 4096, 28) // max_pages
  return body
}

/** struct fuse_attr_out: one file, which never changes its size. */
function attributes(): Uint8Array {
  const body = Buffer.alloc(104)
  const VALID_SECONDS = 86_400n
  body.writeBigUInt64LE(VALID_SECONDS, 0)
  const attr = body.subarray(16)
  attr.writeBigUInt64LE(1n, 0) // ino
  attr.writeBigUInt64LE(BigInt(sizeOctets), 8)
  attr.writeBigUInt64LE(BigInt(sizeOctets / 512), 16) // blocks
  attr.writeUInt32LE(0o100600, 60) // mode
  attr.writeUInt32LE(1, 64) // nlink
  attr.writeUInt32LE(4096, 80) // blksize
  return body
}

/** struct fuse_write_out */
function written(length: number): Uint8Array {
  const body = Buffer.alloc(8)
  body.writeUInt32LE(length, 0)
  return body
}
