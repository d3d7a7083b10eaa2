/**
 * A disk of a test's own that loses what was not flushed when its power is cut, with an ext4 file system on it.
 *
 * Needs Linux and root: FUSE, a loop device, mount. Decision 0007 says why it is this and not a virtual machine.
 *
 * @module
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { needs, nothingMayBeSkipped } from '../interop/programs.ts'

const run = promisify(execFile)
const program = join(import.meta.dirname, 'disk-process.ts')
const tools = needs('mkfs.ext4', 'mount')

export interface Disk {
  /** Where its file system is while it has power. */
  readonly folder: string
  /** Cuts the power, now. */
  cut(): void
  /** When the power is gone. */
  readonly gone: Promise<void>
  /**
   * With power again: what is left is mounted. No process may use its files any more.
   *
   * @param failsAfterWrites unless 0 @returns whether the power lasted for as long as mounting took
   */
  restore(failsAfterWrites?: number): Promise<boolean>
  /** Writes everything, as `sync` does. */
  settle(): Promise<void>
  remove(): Promise<void>
}

/** The reason to skip a test that needs such a disk, or false. A run that must skip nothing goes on and fails. */
export function diskMissing(): string | false {
  if (nothingMayBeSkipped()) return false
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'a disk that loses writes needs Linux and root'
  try {
    for (const file of ['/dev/fuse', '/dev/loop-control']) accessSync(file, constants.R_OK | constants.W_OK)
    return tools.skip
  } catch {
    return 'a disk that loses writes needs /dev/fuse and a loop device'
  }
}

const SIZE_OCTETS = 192 << 20
/** Of 20 ms each: a file system without its disk is let go once its last writes have failed. */
const UNMOUNT_TRIES_MAX = 500
/** Who hears of a cut from the file system hears of it before the pipe does. */
const GONE_MILLISECONDS = 500
/** Even when this process is killed, the pipe closes, and nothing stays mounted. */
const UNTIL_STDIN_ENDS =
  '"$@" & disk=$!; exec >&-; read -r _; kill -9 $disk 2>/dev/null; umount -l "$FOLDER" "$DEVICE" 2>/dev/null; wait $disk 2>/dev/null'

interface Powered {
  readonly pid: number
  readonly guard: ChildProcess
  readonly gone: Promise<void>
}

/** @param directory of the test's own, not on such a disk */
export async function makeDisk(directory: string, seed: number, sizeOctets = SIZE_OCTETS): Promise<Disk> {
  const [image, device, folder] = [join(directory, 'image'), join(directory, 'device'), join(directory, 'disk')]
  writeFileSync(image, '')
  truncateSync(image, sizeOctets)
  writeFileSync(device, '')
  mkdirSync(folder)
  await run(tools.path('mkfs.ext4'), ['-q', '-F', '-b', '4096', '-m', '0', image])
  const mount = async (): Promise<void> => void (await run(tools.path('mount'), ['-t', 'ext4', '-o', 'loop', device, folder]))
  let times = 0
  let powered = await power(0)
  await mount()

  async function power(failsAfterWrites: number): Promise<Powered> {
    const words = [process.execPath, program, image, device, String(seed + times++), String(failsAfterWrites)]
    const guard = spawn('/bin/sh', ['-c', UNTIL_STDIN_ENDS, 'sh', ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, FOLDER: folder, DEVICE: device },
    })
    const said = Promise.withResolvers<number>()
    guard.stdout.once('data', (line: Buffer) => said.resolve(Number(line.toString())))
    // the disk has the other end of this pipe, and nobody else
    const gone = new Promise<void>((resolve) => guard.stdout.once('close', () => resolve()))
    const pid = await Promise.race([said.promise, gone.then(() => Promise.reject(new Error('the disk did not start')))])
    return { pid, guard, gone }
  }

  async function release(): Promise<void> {
    cut()
    await unmount(folder)
    await unmount(device)
    const ended = new Promise((resolve) => powered.guard.once('exit', resolve))
    powered.guard.stdin?.end()
    await ended
  }

  function cut(): void {
    try {
      process.kill(powered.pid, 'SIGKILL')
    } catch {
      // it has failed by itself
    }
  }

  return {
    folder,
    cut,
    get gone() {
      return powered.gone
    },
    async restore(failsAfterWrites = 0) {
      await release()
      powered = await power(failsAfterWrites)
      try {
        await mount()
        return true
      } catch (error) {
        if (await Promise.race([powered.gone.then(() => true), delay(GONE_MILLISECONDS, false)])) return false
        throw error
      }
    },
    settle: async () => void (await run('sync', ['-f', folder])),
    remove: release,
  }
}

async function unmount(path: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return void (await run('umount', [path]))
    } catch (error) {
      if (String(error).includes('not mounted')) return
      if (tries >= UNMOUNT_TRIES_MAX) throw error
      await delay(20)
    }
  }
}
