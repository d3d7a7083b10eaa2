/** A folder for the files that programs of others read and write; it goes when the test file ends. @module */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'

export interface Scratch {
  readonly folder: string
  /** @returns the path of a file that is not there yet */
  fresh(suffix?: string): string
  /** @returns the path of a file of its own with this in it */
  keep(content: Uint8Array | string, suffix?: string): string
}

/** To be called once in a test file, outside its tests. @param name for whoever finds what a killed test left behind */
export function scratch(name: string): Scratch {
  const folder = mkdtempSync(join(tmpdir(), `sealworks-${name}-`))
  after(() => rmSync(folder, { recursive: true, force: true }))
  let files = 0
  const fresh = (suffix = ''): string => join(folder, `${++files}${suffix}`)
  return {
    folder,
    fresh,
    keep(content, suffix) {
      const path = fresh(suffix)
      writeFileSync(path, content)
      return path
    },
  }
}
