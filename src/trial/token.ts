/**
 * A PKCS #11 token of the trial's own: SoftHSM with its settings and its files in the trial's directory, and nowhere else.
 *
 * @module
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '#base/world.ts'
import { runProgram } from './programs.ts'
import { must } from './story.ts'

export interface TrialToken {
  readonly module: string
  /** Where its PIN is, for `key unlock --pin-file`. */
  readonly pinFile: string
  /** For every program that loads the library. */
  readonly environment: Readonly<Record<string, string>>
  /** Gone: it holds keys of an earlier start, and SoftHSM is not installed any more. The server has to know it all the same. */
  readonly standing: 'new' | 'known' | 'gone'
}

export const TOKEN_LABEL = 'trial'

const USUAL_MODULE = '/usr/lib/softhsm/libsofthsm2.so'
/** Where Debian, Fedora, a build by hand and Homebrew have it. */
const MODULES = [
  USUAL_MODULE,
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
]
const PIN_OCTETS = 8

/**
 * Made at the first start, found at later ones.
 *
 * @param modules where the library may be
 * @returns undefined where SoftHSM is not installed
 */
export async function openToken(
  directory: string,
  random: Random,
  modules: readonly string[] = MODULES,
): Promise<TrialToken | undefined> {
  const home = join(directory, 'token')
  const [tokens, settings, pinFile] = [join(home, 'tokens'), join(home, 'softhsm2.conf'), join(home, 'pin')]
  const environment = { SOFTHSM2_CONF: settings }
  const isKnown = existsSync(tokens) && readdirSync(tokens).length > 0
  const module = modules.find((path) => existsSync(path))
  if (module === undefined) return isKnown ? { module: USUAL_MODULE, pinFile, environment, standing: 'gone' } : undefined
  mkdirSync(tokens, { recursive: true, mode: 0o700 })
  // anew each time: the directory may have been moved
  writeFileSync(settings, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`, { mode: 0o600 })
  if (isKnown) return { module, pinFile, environment, standing: 'known' }
  const pin = random.octets(PIN_OCTETS).toHex()
  writeFileSync(pinFile, pin, { mode: 0o600 })
  const words = ['--init-token', '--free', '--label', TOKEN_LABEL, '--so-pin', random.octets(PIN_OCTETS).toHex(), '--pin', pin]
  const { code, text } = await runProgram('softhsm2-util', words, environment)
  if (code === -1) return undefined // the library alone: its tool is a package of its own in places
  must(code === 0, `softhsm2-util did not make the token: ${text}`)
  return { module, pinFile, environment, standing: 'new' }
}

/** Whether it can be asked to sign. */
export const isHere = (token: TrialToken | undefined): token is TrialToken => token !== undefined && token.standing !== 'gone'

/** Lists the public keys of the token by OpenSC's tool. @returns undefined where that is not installed */
export async function publicKeysIn({ module, pinFile, environment }: TrialToken): Promise<string | undefined> {
  const login = ['--login', '--pin', readFileSync(pinFile, 'utf8')]
  const words = ['--module', module, '--token-label', TOKEN_LABEL, ...login, '--list-objects', '--type', 'pubkey']
  const { code, text } = await runProgram('pkcs11-tool', words, environment)
  if (code === -1) return undefined
  must(code === 0, `pkcs11-tool cannot read the token: ${text}`)
  return text
}
