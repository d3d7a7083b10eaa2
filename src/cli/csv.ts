/**
 * Comma-separated values as spreadsheets write them.
 *
 * Source: RFC 4180, with LF alone as a line end too and a byte order mark skipped.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

/** @returns fields by line; empty lines are left out @throws TrustError `malformed` naming the line */
export function parseCSV(text: string): readonly { readonly line: number; readonly fields: readonly string[] }[] {
  const rows: { line: number; fields: string[] }[] = []
  let at = text.startsWith('\u{feff}') ? 1 : 0
  let line = 1
  while (at < text.length) {
    const fields: string[] = []
    const first = line
    for (let more = true; more;) {
      let field: string
      if (text[at] === '"') {
        const quoted = /"((?:[^"]|"")*)"/y
        quoted.lastIndex = at
        const whole = quoted.exec(text)
        if (whole === null)
          throw new TrustError('malformed', 'notCSV', { facts: { line: first, detail: 'a quoted field does not end' } })
        field = (whole[1] ?? '').replaceAll('""', '"')
        at = quoted.lastIndex
        line += whole[0].split('\n').length - 1
      } else {
        const end = at + text.slice(at).search(/[,\r\n]|$/)
        field = text.slice(at, end)
        at = end
      }
      fields.push(field)
      more = text[at] === ','
      if (more) at++
    }
    if (text.startsWith('\r\n', at)) at += 2
    else if (text[at] === '\n' || at >= text.length) at++
    else throw new TrustError('malformed', 'notCSV', { facts: { line: first, detail: 'a quotation mark stands inside a field' } })
    if (fields.some((field) => field !== '')) rows.push({ line: first, fields })
    line++
  }
  return rows
}

export const encodeCSVLine = (fields: readonly string[]): string =>
  `${fields.map((field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(',')}\n`

/** A text that a spreadsheet would take for a formula, with the apostrophe that keeps it from that: whoever named a device wrote it. */
export const plainField = (text: string): string => (/^[=+\-@]/.test(text) ? `'${text}` : text)
