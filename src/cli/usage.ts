/** What was written cannot be a command of ours; nothing was done. @module */
import { nearestWord } from '#base/nearest.ts'

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
  const word = nearestWord(written, known)
  return word === undefined ? '' : ` Did you mean ${word}?`
}
