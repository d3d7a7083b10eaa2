/**
 * A stream of octets that another thread reads, piece by piece and no faster than it asks.
 *
 * @module
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { TrustError } from '#base/errors.ts'
import { alone, receivedError, sendError, type SentError } from '#base/sent.ts'
import type { ReplyStream } from '#protocols/protocol.ts'

type Lent = { readonly piece: Uint8Array } | { readonly end: true } | { readonly error: SentError }

/** @returns the end of a channel for whoever reads; the stream is left when that end closes */
export function lendStream({ read, end }: Pick<ReplyStream, 'read' | 'end'>): MessagePort {
  const { port1, port2 } = new MessageChannel()
  const pieces = read()[Symbol.asyncIterator]()
  const post = (message: Lent): void =>
    port1.postMessage(message, 'piece' in message ? [message.piece.buffer as ArrayBuffer] : [])
  port1.on('message', () => {
    pieces.next().then(
      // a copy: what is handed over is gone here, and it may be a view of something larger
      ({ done, value }) => post(done === true ? { end: true } : { piece: new Uint8Array(value) }),
      (error: unknown) => post({ error: sendError(error) }),
    )
  })
  port1.once('close', () => {
    const left = pieces.return?.() ?? Promise.resolve()
    void left.catch(() => {}).finally(() => end?.())
  })
  return port2
}

/** The other thread's side, to be read once. @throws TrustError `malformed` when the thread that lent it has ended, and what its source throws */
export async function* borrowStream(port: MessagePort): AsyncGenerator<Uint8Array> {
  let answered = Promise.withResolvers<Lent>()
  const gone: Lent = { error: sendError(new TrustError('malformed', 'bodyIncomplete')) }
  port.on('message', (message: Lent) => answered.resolve(message))
  port.once('close', () => answered.resolve(gone))
  try {
    for (;;) {
      answered = Promise.withResolvers<Lent>()
      port.postMessage('next')
      const message = await answered.promise
      if ('error' in message) throw receivedError(message.error)
      if ('end' in message) return
      yield alone(message.piece)
    }
  } finally {
    port.close()
  }
}
