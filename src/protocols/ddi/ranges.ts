/** One range of octets of an artifact, so that a download that broke off goes on. Source: RFC 9110, 13.1.5 and 14.2. @module */

export type Part = { readonly start: number; /** Before this one. */ readonly end: number } | 'all' | 'unsatisfiable'

/** What cannot be read, and several ranges at once, are answered with all of it, as RFC 9110 allows. */
export function partOf(range: string | undefined, ifRange: string | undefined, etag: string, octets: number): Part {
  if (range === undefined || (ifRange !== undefined && ifRange !== etag)) return 'all'
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(range.trim()) ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return 'all'
  if (first === '') {
    const start = Math.max(0, octets - Number(last))
    return Number(last) === 0 || octets === 0 ? 'unsatisfiable' : { start, end: octets }
  }
  const start = Number(first)
  const end = last === '' ? octets : Math.min(octets, Number(last) + 1)
  if (last !== '' && Number(last) < start) return 'all'
  return start >= octets ? 'unsatisfiable' : { start, end }
}
