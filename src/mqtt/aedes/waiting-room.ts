/**
 * Connections of which it is not known yet whose they are, by address: whoever opens many and says nothing takes no room from others.
 *
 * @module
 */
import type { Socket } from 'node:net'

export interface WaitingRoom {
  /** @returns false where there are too many; until it leaves or is closed */
  enter(socket: Socket): boolean
  /** It is known whose it is. By its two ends: TLS has a socket of its own around the one that came in. */
  leave(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): void
}

export function waitingRoom(limits: { readonly perAddress: number; readonly inAll: number }): WaitingRoom {
  const ports = new Map<string, Set<number>>()
  let all = 0

  function leave(address: string, port: number): void {
    const known = ports.get(address)
    if (known === undefined || !known.delete(port)) return
    all -= 1
    if (known.size === 0) ports.delete(address)
  }

  return {
    enter(socket) {
      const { remoteAddress: address, remotePort: port } = socket
      if (address === undefined || port === undefined) return false // gone already
      const known = ports.get(address) ?? new Set<number>()
      if (known.size >= limits.perAddress || all >= limits.inAll) return false
      ports.set(address, known.add(port))
      all += 1
      socket.once('close', () => leave(address, port))
      return true
    },
    leave: ({ remoteAddress = '', remotePort = 0 }) => leave(remoteAddress, remotePort),
  }
}
