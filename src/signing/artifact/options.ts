/**
 * What whoever signs may choose, checked before anything is read.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Choices, SigningFormat } from '../format.ts'

/** The longest text that an option takes unless it says otherwise: an address, or the name of a program. */
const OPTION_MAX_CHARACTERS = 2048

/**
 * @returns every option that has a value
 * @throws TrustError `malformed` for an option or a value that the format does not offer; `policyRefused` for an algorithm
 *   that those who verify it do not know, and for several keys where it carries the signature of one
 */
export function optionsOf(
  format: Pick<SigningFormat, 'id' | 'options' | 'algorithms' | 'severalKeys'>,
  { options = {}, others = [], signatureAlgorithm }: Choices,
): Readonly<Record<string, string>> {
  const { id, algorithms } = format
  if (others.length > 0 && format.severalKeys !== true)
    throw new TrustError('policyRefused', 'formatOneKey', { facts: { format: id } })
  for (const algorithm of [signatureAlgorithm, ...others.map((other) => other.signatureAlgorithm)]) {
    if (algorithms?.includes(algorithm) !== false) continue
    const facts = { format: id, algorithm, offered: algorithms.join(', ') }
    throw new TrustError('policyRefused', 'formatAlgorithm', { facts })
  }
  const chosen: Record<string, string> = {}
  for (const [name, { fallback }] of Object.entries(format.options)) if (fallback !== undefined) chosen[name] = fallback
  for (const [option, value] of Object.entries(options)) {
    const offer = Object.hasOwn(format.options, option) ? format.options[option] : undefined
    if (
      offer === undefined ||
      value.length > (offer.charactersMax ?? OPTION_MAX_CHARACTERS) ||
      offer.values?.includes(value) === false
    ) {
      const offered = offer === undefined ? Object.keys(format.options) : (offer.values ?? ['a shorter text'])
      const facts = { format: id, option, value: value.slice(0, 80), offered: offered.join(', ') || 'none' }
      throw new TrustError('malformed', 'formatOption', { facts })
    }
    chosen[option] = value
  }
  return chosen
}
