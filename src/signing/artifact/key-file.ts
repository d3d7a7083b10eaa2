/**
 * Key files of GLib, as RAUC's manifests are: groups of keys with values. What GLib reads in a way that is not plain (a
 * group or a key twice, a line continued) is refused.
 *
 * Source: Desktop Entry Specification 1.5, 3; GLib, GKeyFile.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

/** By group, then by key. */
export type KeyFile = ReadonlyMap<string, ReadonlyMap<string, string>>

const GROUP = /^\[([^[\]]+)\]$/
const ENTRY = /^([A-Za-z0-9_.-]+) *= *(.*)$/
// everything below a space but the line feed: GLib does not agree with others about carriage returns
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f]/

/** @param format whose file it is @throws TrustError `malformed` */
export function parseKeyFile(text: string, format: string): KeyFile {
  const groups = new Map<string, Map<string, string>>()
  let current: Map<string, string> | undefined
  if (CONTROL.test(text)) throw bad(format, 'its manifest has control characters')
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, group] = GROUP.exec(line) ?? []
    if (group !== undefined) {
      if (groups.has(group)) throw bad(format, `its manifest has the group ${group} twice`)
      groups.set(group, (current = new Map()))
      continue
    }
    const [, key, value] = ENTRY.exec(line) ?? []
    if (key === undefined || value === undefined || current === undefined) throw bad(format, 'a line of its manifest is no entry')
    if (current.has(key)) throw bad(format, `its manifest has the key ${key} twice`)
    current.set(key, value)
  }
  return groups
}

const bad = (format: string, detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format, detail } })
