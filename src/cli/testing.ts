/** For the tests of this room. Not part of any program. @module */

/** Words as a shell splits them, with '…' and "…" and no more. */
export const words = (line: string): string[] =>
  [...line.matchAll(/(?:[^\s'"]+|'[^']*'|"[^"]*")+/g)].map(([word]) => word.replace(/'([^']*)'|"([^"]*)"/g, '$1$2'))
