/**
 * The thread that looks at artifacts: it reads what strangers made, as long as it may be, while the server goes on answering.
 *
 * It has no key, no database and no network: a file comes in, and what is to be signed goes out.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { type MessagePort, parentPort } from 'node:worker_threads'
import { sendError } from '#base/sent.ts'
import { fileSource, octetsOf, sizeOf } from '../artifact/blob.ts'
import type { BlobSource, ToBeSigned } from '../format.ts'
import { chooseFormat } from '../formats/registry.ts'
import type { FromThread, ToThread, Written } from './messages.ts'

interface Prepared {
  readonly handle: FileHandle
  readonly artifact: BlobSource
  readonly attach: ToBeSigned['attach']
}

/** Often enough for a bar to move. */
const PROGRESS_OCTETS = 4 << 20

function serve(port: MessagePort): void {
  const prepared = new Map<number, Prepared>()
  const post = (message: FromThread): void => port.postMessage(message)

  const counting = (id: number, source: BlobSource): BlobSource => {
    let read = 0
    let told = 0
    return {
      size: source.size,
      async read(offset, length) {
        const octets = await source.read(offset, length)
        read += length
        if (read - told >= PROGRESS_OCTETS) post({ kind: 'progress', id, read: (told = read) })
        return octets
      },
    }
  }

  async function prepare({ id, file, formats, choices }: ToThread & { readonly kind: 'prepare' }): Promise<void> {
    const handle = await open(file)
    try {
      const artifact = fileSource(handle, (await handle.stat()).size)
      const format = await chooseFormat(artifact, formats)
      const { requests, attach } = await format.toBeSigned(counting(id, artifact), choices)
      prepared.set(id, { handle, artifact, attach })
      post({ kind: 'prepared', id, format: format.id, requests })
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async function attach({ id, answers, out }: ToThread & { readonly kind: 'attach' }): Promise<void> {
    const found = prepared.get(id)
    if (found === undefined) throw new TypeError(`nothing was prepared as ${id}`)
    const { pieces, isBeside, suffix } = found.attach(answers)
    const written = await write(octetsOf(found.artifact, pieces), out)
    if (written.octets !== sizeOf(pieces)) throw new TypeError('the signed file is not as long as its pieces')
    post({ kind: 'written', id, written: { ...written, isBeside, ...(suffix !== undefined && { suffix }) } })
  }

  const drop = async (id: number): Promise<void> => {
    const found = prepared.get(id)
    prepared.delete(id)
    await found?.handle.close()
  }

  port.on('message', (message: ToThread) => {
    const done = message.kind === 'prepare' ? prepare(message) : message.kind === 'attach' ? attach(message) : drop(message.id)
    done.catch((error: unknown) => post({ kind: 'failed', id: message.id, error: sendError(error) }))
  })
}

async function write(pieces: AsyncIterable<Uint8Array>, out: string): Promise<Pick<Written, 'octets' | 'digest'>> {
  const handle = await open(out, 'w', 0o600) // what was begun before a crash is begun again
  try {
    const hash = createHash('sha256')
    let octets = 0
    for await (const piece of pieces) {
      hash.update(piece)
      for (let at = 0; at < piece.length;) at += (await handle.write(piece, at)).bytesWritten
      octets += piece.length
    }
    await handle.sync()
    return { octets, digest: hash.digest('hex') }
  } finally {
    await handle.close()
  }
}

if (parentPort === null) throw new TypeError('artifacts are looked at in a thread of the server')
serve(parentPort)
