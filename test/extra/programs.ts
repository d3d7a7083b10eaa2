/**
 * Programs that neither npm nor Debian carries (decision 28): `npm run interop:extra` runs those that are there.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface ExtraProgram {
  readonly purpose: string
  /** How whoever has the means brings it. */
  readonly bring: string
  /** What it prints about itself. */
  readonly version: readonly string[]
  /** What must stand there: an older program of the same name may be installed. */
  readonly isRight: RegExp
}

export const extraPrograms = {
  zlint: {
    purpose: 'reads certificates by the rules of RFC 5280 and others, as public authorities have to',
    bring: 'go install github.com/zmap/zlint/v3/cmd/zlint@latest',
    version: ['-version'],
    isRight: /ZLint/i,
  },
  botan: {
    purpose: 'path validation with post-quantum signatures by a library that is not OpenSSL',
    bring: 'Botan 3: ./configure.py && make, and its folder in PATH',
    version: ['version'],
    isRight: /^3\./,
  },
  imgtool: {
    purpose: "MCUboot's own signer and verifier",
    bring: 'pip install imgtool, in an environment of its own',
    version: ['version'],
    isRight: /\d/,
  },
} as const satisfies Readonly<Record<string, ExtraProgram>>

export type ExtraName = keyof typeof extraPrograms

/** @returns the path and the version, undefined where it is not in PATH, or is another release */
export function findExtra(name: ExtraName): { readonly path: string; readonly version: string } | undefined {
  const { version, isRight }: ExtraProgram = extraPrograms[name]
  for (const folder of (process.env['PATH'] ?? '').split(delimiter).filter((each) => each !== '')) {
    const path = join(folder, name)
    try {
      accessSync(path, constants.X_OK)
      const text = execFileSync(path, version, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
      if (isRight.test(text)) return { path, version: text.split('\n', 1)[0] as string }
    } catch {
      // not here, or not this
    }
  }
  return undefined
}

/** What a test needs: its path, and the sentence with which it is skipped. */
export function needsExtra(name: ExtraName): { readonly skip: string | false; readonly path: string } {
  const found = findExtra(name)
  return { skip: found === undefined ? `needs ${name}: ${extraPrograms[name].bring}` : false, path: found?.path ?? '' }
}
