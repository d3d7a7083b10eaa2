/**
 * RSA moduli that anyone can factor, because the generator of the key was broken. Cheap checks on the public half.
 *
 * Source: NIST SP 800-89, 5.3.3 (small factors); CVE-2017-15361 (Infineon's primes); CVE-2022-26320 and CA/Browser
 * Forum Baseline Requirements, 6.1.1.3 (close primes).
 *
 * @module
 */

/** NIST SP 800-89: no factor below 752. */
const FACTOR_END = 752
const smallPrimes: number[] = []
for (let n = 2; n < FACTOR_END; n++) if (smallPrimes.every((prime) => n % prime !== 0)) smallPrimes.push(n)
/** One long division takes the modulus down to what the short ones need. */
const smallProduct = smallPrimes.reduce((product, prime) => product * BigInt(prime), 1n)

const INFINEON_GENERATOR = 65537
/** The primes of the shortest such keys; longer keys use these and more. */
const INFINEON_LAST_PRIME = 167
const infineonResidues = new Map<number, ReadonlySet<number>>(
  smallPrimes
    .filter((prime) => prime <= INFINEON_LAST_PRIME)
    .map((prime) => [prime, powersOf(INFINEON_GENERATOR % prime, prime)]),
)

function powersOf(generator: number, prime: number): ReadonlySet<number> {
  const powers = new Set<number>()
  for (let power = 1 % prime; !powers.has(power); power = (power * generator) % prime) powers.add(power)
  return powers
}

/** Rounds of Fermat's method that the Baseline Requirements ask for. */
const FERMAT_ROUNDS = 100

export type RSAWeakness = 'small factor' | 'predictable primes' | 'close primes'

/** @param modulus positive */
export function rsaWeakness(modulus: bigint): RSAWeakness | undefined {
  const rest = modulus % smallProduct
  let predictable = true
  for (const prime of smallPrimes) {
    const residue = Number(rest % BigInt(prime))
    if (residue === 0) return 'small factor'
    predictable &&= infineonResidues.get(prime)?.has(residue) ?? true
  }
  if (predictable) return 'predictable primes'
  return hasCloseFactors(modulus) ? 'close primes' : undefined
}

/** Fermat: an odd n = pq is a² - b² with a = (p + q) / 2, which is just above √n when p and q are close. */
function hasCloseFactors(modulus: bigint): boolean {
  let a = squareRoot(modulus)
  if (a * a < modulus) a++
  let square = a * a - modulus
  for (let round = 0; round < FERMAT_ROUNDS; round++) {
    if (mayBeSquare(square) && squareRoot(square) ** 2n === square) return true
    square += 2n * a + 1n
    a++
  }
  return false
}

/** Squares leave few residues: one number in a hundred passes all of these. */
const squareResidues = [64, 63, 65, 11].map((modulus) => ({
  modulus,
  residues: new Set(Array.from({ length: modulus }, (_, n) => (n * n) % modulus)),
}))
const residuesProduct = BigInt(64 * 63 * 65 * 11)

function mayBeSquare(n: bigint): boolean {
  const rest = Number(n % residuesProduct)
  return squareResidues.every(({ modulus, residues }) => residues.has(rest % modulus))
}

/** Newton's method from above. @returns the root rounded down */
function squareRoot(n: bigint): bigint {
  if (n < 2n) return n
  let root = 1n << BigInt((n.toString(16).length * 4 + 1) >> 1)
  for (;;) {
    const next = (root + n / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
