/**
 * Ports for the trial's server: the ones it had before, the usual ones, or any that are free.
 *
 * @module
 */
import { createServer, type AddressInfo, type Server } from 'node:net'

export const HOST = '127.0.0.1'

/** @param wanted for each port, those that would do, best first @returns one free port for each, all different */
export async function choosePorts(wanted: readonly (readonly number[])[]): Promise<readonly number[]> {
  const held: Server[] = []
  try {
    const ports: number[] = []
    for (const candidates of wanted) {
      const server = await firstFree(candidates)
      held.push(server)
      ports.push((server.address() as AddressInfo).port)
    }
    return ports
  } finally {
    // Held until all are chosen, so that none is chosen twice.
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

/** Any free port, if none of the candidates is: the system knows one for 0. */
async function firstFree(candidates: readonly number[]): Promise<Server> {
  for (const port of candidates) {
    const server = await listenOn(port)
    if (server !== undefined) return server
  }
  const server = await listenOn(0)
  if (server === undefined) throw new Error(`no port of ${HOST} is free`)
  return server
}

function listenOn(port: number): Promise<Server | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen(port, HOST, () => resolve(server))
  })
}
