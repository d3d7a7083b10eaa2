/**
 * Which program listens on a port that we wanted: the first question of whoever reads that it is taken.
 *
 * Read from Linux' /proc; elsewhere, and for programs of other users, nobody is named.
 *
 * @module
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** State of a listening socket in /proc/net/tcp. */
const LISTEN = '0A'

/** @returns such as `nginx, process 4711` */
export function holderOf(port: number): string | undefined {
  const inodes = new Set(['tcp', 'tcp6'].flatMap((table) => listeningInodes(readText(`/proc/net/${table}`), port)))
  if (inodes.size === 0) return undefined
  for (const pid of list('/proc')) {
    if (/^\d+$/.test(pid) && list(`/proc/${pid}/fd`).some((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`)))) {
      return `${readText(`/proc/${pid}/comm`).trim()}, process ${pid}`
    }
  }
  return undefined
}

/** Columns: number, local address as HEX:PORT, remote address, state, queues, timer, retransmits, uid, timeout, inode. */
function listeningInodes(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === LISTEN && local?.endsWith(suffix) === true)
    .map((columns) => `socket:[${columns[9]}]`)
}

const readText = (path: string): string => orElse('', () => readFileSync(path, 'utf8'))
const list = (path: string): readonly string[] => orElse([], () => readdirSync(path))
const linkOf = (path: string): string => orElse('', () => readlinkSync(path))

/** Processes come and go while we look, and some are not ours to look at. */
function orElse<T>(fallback: T, read: () => T): T {
  try {
    return read()
  } catch {
    return fallback
  }
}
