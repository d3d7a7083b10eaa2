/**
 * The length of each MQTT packet, seen before the packet is there: the parser gathers up to 256 MB before it looks.
 *
 * Source: MQTT 3.1.1, 2.2.3 (Remaining Length).
 *
 * @module
 */

/** Follows the packets in a stream of octets. */
export interface Framing {
  /** @returns false once a packet is longer than allowed, or its length is none */
  take(octets: Uint8Array): boolean
}

/** @param packetMaxOctets of what follows the length */
export function framing(packetMaxOctets: number): Framing {
  let rest = 0 // of the packet under way
  let length = 0
  let digits = -1 // of the length, while it is read; -1 before the packet's first octet
  return {
    take(octets) {
      for (let at = 0; at < octets.length;) {
        if (rest > 0) {
          const step = Math.min(rest, octets.length - at)
          rest -= step
          at += step
          continue
        }
        const octet = octets[at++] as number
        if (digits === -1) {
          digits = 0
          length = 0
          continue
        }
        length += (octet & 0x7f) * 128 ** digits
        digits += 1
        if (length > packetMaxOctets || (digits === 4 && octet >= 0x80)) return false
        if (octet < 0x80) {
          rest = length
          digits = -1
        }
      }
      return true
    },
  }
}
