/**
 * A witness over HTTP. Nobody is asked who they are: a checkpoint is signed by its log or refused, and what comes back
 * is signed by the witness.
 *
 * Source: C2SP tlog-witness, `add-checkpoint`.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { once } from 'node:events'
import { REQUEST_MAX_OCTETS, type Witness, type WitnessAnswer } from './witness.ts'

export interface WitnessServerOptions {
  readonly witness: Witness
  readonly host: string
  readonly port: number
  /** What went wrong inside; the peer is told no more than 500. */
  readonly onError: (error: unknown) => void
}

export interface WitnessServer {
  readonly port: number
  stop(): Promise<void>
}

const TIMEOUT_MILLISECONDS = 10_000
const CONNECTIONS_MAX = 256

export async function serveWitness({ witness, host, port, onError }: WitnessServerOptions): Promise<WitnessServer> {
  const server = createServer((request, response) => {
    const reply = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
    }
    const answered = ({ status, type, body }: WitnessAnswer): void => reply(status, type, body)
    if (request.url !== '/add-checkpoint') return reply(404, 'text/plain', 'not found\n')
    if (request.method !== 'POST') return reply(405, 'text/plain', 'POST\n')
    readBody(request)
      .then((body) => (body === undefined ? reply(413, 'text/plain', 'too large\n') : witness.addCheckpoint(body).then(answered)))
      .catch((error: unknown) => {
        onError(error)
        if (!response.headersSent && !response.destroyed) reply(500, 'text/plain', 'the witness failed\n')
      })
  })
  server.headersTimeout = TIMEOUT_MILLISECONDS
  server.requestTimeout = TIMEOUT_MILLISECONDS
  server.maxConnections = CONNECTIONS_MAX
  server.listen(port, host)
  await once(server, 'listening')
  return { port: portOf(server), stop: () => close(server) }
}

/** @returns undefined for more than a request can be; ill-formed UTF-8 becomes U+FFFD, which no note with its signature survives */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > REQUEST_MAX_OCTETS) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeIdleConnections()
  await closed
}
