/** What stands before several servers: passes each connection on to one that takes it. @module */
import { connect, createServer, type Socket } from 'node:net'

export interface Balancer {
  /** On 127.0.0.1. */
  readonly port: number
  close(): void
}

/** @param ports of servers on 127.0.0.1, tried from another one on with each connection */
export async function openBalancer(ports: readonly number[]): Promise<Balancer> {
  const open = new Set<Socket>()
  let turn = 0
  const server = createServer({ allowHalfOpen: true }, (client) => {
    turn++
    const tryFrom = (tries: number): void => {
      const port = ports[(turn + tries) % ports.length]
      if (tries === ports.length || port === undefined) return void client.destroy()
      const behind = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
      const refused = (): void => tryFrom(tries + 1)
      behind.once('error', refused)
      behind.once('connect', () => {
        behind.off('error', refused)
        for (const [socket, other] of [
          [client, behind],
          [behind, client],
        ] as const) {
          open.add(socket)
          socket.on('error', () => other.destroy())
          socket.once('close', () => {
            open.delete(socket)
            other.destroy()
          })
          socket.pipe(other)
        }
      })
    }
    client.on('error', () => {})
    tryFrom(0)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    close() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
