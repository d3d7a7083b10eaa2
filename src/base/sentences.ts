/**
 * The sentences that people read when something is refused, one per reason: what is wrong, and what to do next.
 *
 * A word in braces is filled from the error's facts, so whatever a sentence names is safe to show. Another
 * language is another table of the same keys.
 *
 * @module
 */

const english = {
  // base
  internal: 'Something went wrong inside Sealworks; the server log has the details under the request id.',

  // asn1
  notDER: 'The bytes are not valid DER: {detail}. Re-encode the object with distinguished encoding rules.',
  derTooLarge: 'The object is larger than the {limit} bytes allowed here. Send a smaller one.',
  derTooDeep: 'The object nests deeper than {limit} levels. Send a flatter one.',
  notPEM: 'The text is not valid PEM: {detail}. Export the object again as PEM.',

  // algorithms
  keyUnusable: 'The public key cannot be used: it is damaged or not a key of its algorithm. Generate a new key pair.',
  keyAlgorithm: 'This kind or size of key is not offered here. Use one of the key algorithms that the profile lists.',
  pointForm: 'The elliptic curve point is not in uncompressed form. Export the key with an uncompressed point.',
  keyTooShort: 'The RSA key has {bits} bits; at least {least} are required. Generate a longer key.',
  keyExponent: 'The RSA key has an unsafe public exponent. Generate a key with the exponent 65537.',
  signatureAlgorithm: 'This signature algorithm is not offered here. Sign with ECDSA or RSA and SHA-256 or longer.',
} as const satisfies Record<string, string>

export type Reason = keyof typeof english

/** @returns the sentence with its placeholders filled; a missing fact shows as its name */
export function sentence(reason: Reason, facts: Readonly<Record<string, string | number | boolean>>): string {
  return english[reason].replace(/\{(\w+)\}/g, (_, key: string) => String(facts[key] ?? key))
}
