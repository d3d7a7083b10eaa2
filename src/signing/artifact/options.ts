/**
 * What whoever signs may choose, checked before anything is read.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Choices, SigningFormat } from '../format.ts'

/** The longest text that an option takes: an address, or the name of a program. */
const OPTION_MAX_CHARACTERS = 2048

/**
 * @returns every option that has a value
 * @throws TrustError `malformed` for an option or a value that the format does not offer; `policyRefused` for an algorithm
 *   that those who verify it do not know
 */
export function optionsOf(
  format: Pick<SigningFormat, 'id' | 'options' | 'algorithms'>,
  { options = {}, signatureAlgorithm }: Choices,
): Readonly<Record<string, string>> {
  const { id, algorithms } = format
  if (algorithms?.includes(signatureAlgorithm) === false) {
    const facts = { format: id, algorithm: signatureAlgorithm, offered: algorithms.join(', ') }
    throw new TrustError('policyRefused', 'formatAlgorithm', { facts })
  }
  const chosen: Record<string, string> = {}
  for (const [name, { fallback }] of Object.entries(format.options)) if (fallback !== undefined) chosen[name] = fallback
  for (const [option, value] of Object.entries(options)) {
    const offer = Object.hasOwn(format.options, option) ? format.options[option] : undefined
    if (offer === undefined || value.length > OPTION_MAX_CHARACTERS || offer.values?.includes(value) === false) {
      const offered = offer === undefined ? Object.keys(format.options) : (offer.values ?? ['a shorter text'])
      const facts = { format: id, option, value: value.slice(0, 80), offered: offered.join(', ') || 'none' }
      throw new TrustError('malformed', 'formatOption', { facts })
    }
    chosen[option] = value
  }
  return chosen
}
