/**
 * How fast one address may ask: a token bucket each, in a table of bounded size.
 *
 * @module
 */
import type { Clock } from '#base/world.ts'

export interface RateLimit {
  /** @returns 0 when the request may go on, else the whole seconds after which one will */
  take(address: string): number
}

export interface RateLimitOptions {
  /** Tokens that come back each second; 0 switches the limit off. */
  readonly perSecond: number
  readonly burst: number
  readonly addressesMax: number
  readonly clock: Clock
}

interface Bucket {
  tokens: number
  /** Milliseconds. */
  at: number
}

/**
 * When the table is full, the address that has been in it longest is forgotten: it starts again with a full burst,
 * which gains an attacker nothing that another address would not.
 */
export function rateLimit({ perSecond, burst, addressesMax, clock }: RateLimitOptions): RateLimit {
  const buckets = new Map<string, Bucket>()
  if (perSecond === 0) return { take: () => 0 }
  return {
    take(address) {
      const key = networkOf(address)
      const now = clock.now()
      let bucket = buckets.get(key)
      if (bucket === undefined) {
        if (buckets.size >= addressesMax) forgetOldest(buckets)
        bucket = { tokens: burst, at: now }
        buckets.set(key, bucket)
      } else {
        const elapsed = Math.max(0, now - bucket.at) // a clock set back gives nothing and takes nothing
        bucket.tokens = Math.min(burst, bucket.tokens + (elapsed / 1000) * perSecond)
        bucket.at = now
      }
      if (bucket.tokens >= 1) {
        bucket.tokens -= 1
        return 0
      }
      return Math.max(1, Math.ceil((1 - bucket.tokens) / perSecond))
    },
  }
}

function forgetOldest(buckets: Map<string, Bucket>): void {
  for (const key of buckets.keys()) {
    buckets.delete(key)
    return
  }
}

/** One IPv6 subscriber has a whole /64, so that is what is counted; IPv4 in IPv6 clothes is counted as IPv4. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const four = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (four !== undefined) return four
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? []
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length)
  return [...first, ...Array.from({ length: zeros }, () => '0'), ...last].slice(0, 4).join(':')
}
