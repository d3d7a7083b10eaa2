/**
 * When a device asks: for a new certificate well before the old one ends, and never all devices of a plant at once.
 *
 * @module
 */
import type { Random } from '#base/world.ts'

/** From here on, of a certificate's life: a third is left to reach a server that is away. */
const WINDOW_BEGINS = 2 / 3
/** Devices that were enrolled together ask spread over this share of it. */
const WINDOW_SPREAD = 1 / 6

const BACKOFF_FIRST_MILLISECONDS = 30_000
const BACKOFF_MAX_MILLISECONDS = 6 * 3_600_000
/** Doubling stops mattering long before. */
const DOUBLINGS_MAX = 20

/** @returns from 0 up to but not 1 */
const fraction = (random: Random): number => new DataView(new Uint8Array(random.octets(4)).buffer).getUint32(0) / 2 ** 32

/** Drawn once for each certificate. */
export function renewalTime(
  { notBefore, notAfter }: { readonly notBefore: Date; readonly notAfter: Date },
  random: Random,
): number {
  const life = notAfter.getTime() - notBefore.getTime()
  return Math.trunc(notBefore.getTime() + life * (WINDOW_BEGINS + WINDOW_SPREAD * fraction(random)))
}

/**
 * How long to wait after so many failures in a row: doubled each time, half of it by chance.
 *
 * @param leftMilliseconds of the certificate's life: the nearer its end, the more often it is tried
 * @param askedSeconds what the server asked for
 */
export function backoffMilliseconds(
  failures: number,
  random: Random,
  { leftMilliseconds = Infinity, askedSeconds = 0 }: { readonly leftMilliseconds?: number; readonly askedSeconds?: number } = {},
): number {
  const doubled = BACKOFF_FIRST_MILLISECONDS * 2 ** Math.min(failures - 1, DOUBLINGS_MAX)
  const most = Math.max(BACKOFF_FIRST_MILLISECONDS, Math.min(BACKOFF_MAX_MILLISECONDS, leftMilliseconds / 8))
  const wait = Math.min(doubled, most) * (0.5 + fraction(random) / 2)
  return Math.trunc(Math.max(wait, askedSeconds * 1000))
}
