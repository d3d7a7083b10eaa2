/**
 * Whether octets are the one encoding of a usable point on an Edwards curve. OpenSSL takes any octets as a public key
 * and finds out when it verifies; a certificate must not carry a key that verifies nothing, or everything.
 *
 * Source: RFC 8032, 5.1.3 and 5.2.3 (decoding); 5.1 and 5.2 (the curves).
 *
 * @module
 */

interface EdwardsCurve {
  readonly p: bigint
  /** In a x² + y² = 1 + d x² y². */
  readonly a: bigint
  readonly d: bigint
  readonly octets: number
  /** y of every point whose order divides the cofactor: a signature by such a key can be right for any message. */
  readonly smallOrder: readonly bigint[]
}

const P25519 = 2n ** 255n - 19n
const P448 = 2n ** 448n - 2n ** 224n - 1n
/** The y of which 2 y² + d y⁴ = 1, so that twice the point has y = 0. */
const ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n

const curves: Readonly<Record<'ed25519' | 'ed448', EdwardsCurve>> = {
  ed25519: {
    p: P25519,
    a: P25519 - 1n,
    d: 37095705934669439343138083508754565189542113879843219016388785533085940283555n,
    octets: 32,
    smallOrder: [0n, 1n, P25519 - 1n, ORDER_8, P25519 - ORDER_8],
  },
  ed448: { p: P448, a: 1n, d: P448 - 39081n, octets: 57, smallOrder: [0n, 1n, P448 - 1n] },
}

/** @param encoded as long as the curve's points are */
export function isUsablePoint(curve: keyof typeof curves, encoded: Uint8Array): boolean {
  const { p, a, d, octets, smallOrder } = curves[curve]
  const bigEndian = encoded.toReversed()
  bigEndian[0] = (bigEndian[0] as number) & 0x7f // the topmost bit is the sign of x
  const y = BigInt(`0x${bigEndian.toHex()}`)
  if (encoded.length !== octets || y >= p || smallOrder.includes(y)) return false
  // x² = (1 - y²) / (a - d y²): there is an x if this is a square, and dividing or multiplying makes no difference to that
  const square = (y * y) % p
  const product = ((((1n - square) * (a - d * square)) % p) + p) % p
  return power(product, (p - 1n) / 2n, p) === 1n
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  for (const bit of exponent.toString(2)) {
    result = (result * result) % modulus
    if (bit === '1') result = (result * base) % modulus
  }
  return result
}
