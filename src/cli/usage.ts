/** What was written cannot be a command of ours; nothing was done. @module */

export class UsageError extends Error {
  override readonly name = 'UsageError'
  /** What to type for help: `sealworks ca create --help`. */
  readonly help: string

  constructor(message: string, words: readonly (string | undefined)[] = []) {
    super(message)
    this.help = ['sealworks', ...words.filter((word) => word !== undefined), '--help'].join(' ')
  }
}

/** Ends a sentence with the known word that differs least, when one is near enough to be meant. */
export function didYouMean(written: string, known: readonly string[]): string {
  const near = known
    .map((word) => ({ word, distance: distance(written, word) }))
    .filter(({ word, distance }) => distance <= Math.max(1, Math.floor(word.length / 3)))
    .toSorted((a, b) => a.distance - b.distance)[0]
  return near === undefined ? '' : ` Did you mean ${near.word}?`
}

/** Letters to insert, remove or replace (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced))
    }
    row = next
  }
  return row[b.length] ?? 0
}
