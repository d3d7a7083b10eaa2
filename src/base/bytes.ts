/** Octet strings. `Uint8Array` everywhere; `Buffer` does not cross a room boundary. @module */

/** An array, not rest arguments: a CRL has more entries than a call has room for arguments. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0
  for (const part of parts) size += part.length
  const out = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const encoder = new TextEncoder()

export const utf8 = (text: string): Uint8Array => encoder.encode(text)

/** Octet by octet; not for secrets (see `secret.ts`). */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return compare(a, b) === 0
}

/** Lexicographic order of octets, shorter first when one is a prefix: the order of DER's SET OF (X.690 11.6). */
export function compare(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}
