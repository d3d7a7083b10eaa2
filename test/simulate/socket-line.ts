/** A line between a server and the socket of its PostgreSQL, which can stand still or be cut. @module */
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SocketLine {
  /** The database by this line. */
  readonly url: string
  /** Nothing comes through and nobody is told, until `mend`. */
  stall(): void
  /** Ends what is open, and refuses what comes, until `mend`. */
  cut(): void
  mend(): void
  close(): Promise<void>
}

const SOCKET = '.s.PGSQL.5432'

/** @param url as `startPostgres` gives it */
export async function openSocketLine(url: string): Promise<SocketLine> {
  const target = new URL(url.replace('@/', '@host/')).searchParams.get('host') ?? ''
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-line-'))
  const open = new Set<Socket>()
  let state: 'whole' | 'stalled' | 'cut' = 'whole'
  const proxy = createServer((client) => {
    if (state === 'cut') return void client.destroy()
    const server = connect(join(target, SOCKET))
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      open.add(socket)
      socket.on('data', (chunk) => void other.write(chunk))
      socket.on('error', () => other.destroy())
      socket.on('end', () => other.end())
      socket.on('close', () => {
        open.delete(socket)
        other.destroy()
      })
      if (state === 'stalled') socket.pause()
    }
  })
  await new Promise<void>((resolve) => proxy.listen(join(directory, SOCKET), resolve))
  return {
    url: url.replace(/host=.*/, `host=${encodeURIComponent(directory)}`),
    stall() {
      state = 'stalled'
      for (const socket of open) socket.pause()
    },
    cut() {
      state = 'cut'
      for (const socket of open) socket.destroy()
    },
    mend() {
      state = 'whole'
      for (const socket of open) socket.resume()
    },
    async close() {
      proxy.close()
      for (const socket of open) socket.destroy()
      await rm(directory, { recursive: true, force: true })
    },
  }
}
