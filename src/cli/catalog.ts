/** Names of models and areas on the command line: `OWNER/NAME`. @module */
import { UsageError } from './usage.ts'

/** @throws UsageError */
export function splitName(written: string, noun: string): readonly [owner: string, name: string] {
  const [owner = '', name = '', ...rest] = written.split('/')
  if (owner === '' || name === '' || rest.length > 0)
    throw new UsageError(`"${written}" is not two names with a slash between, such as acme/pump.`, [noun])
  return [owner, name]
}

/** `TOOL=NAME` each. @throws UsageError */
export function parseCompatible(written: readonly string[], noun: string): Record<string, string> {
  return Object.fromEntries(
    written.map((one) => {
      const at = one.indexOf('=')
      if (at < 1) throw new UsageError(`--compatible is written as TOOL=NAME, such as rauc=pump-b, not as "${one}".`, [noun])
      return [one.slice(0, at), one.slice(at + 1)]
    }),
  )
}
