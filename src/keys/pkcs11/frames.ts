/**
 * How the server and a token worker speak: length, id, kind, body, over one socket pair.
 *
 * Both ends bound what they read. The worker runs a vendor's library, so the server believes nothing about what comes
 * from there but its length.
 *
 * @module
 */

/** The largest answer is a mechanism list: a few kilobytes. */
export const ANSWER_MAX_OCTETS = 65_536
/** EdDSA takes the message itself; the longest that an authority signs is a CRL of a million entries, about 40 MB. */
export const REQUEST_MAX_OCTETS = 67_108_864

const HEAD_OCTETS = 9

/** What the server asks. `control` bodies are JSON; `login` and `sign` have forms of their own. */
export const requestKinds = { control: 1, login: 2, sign: 3 } as const
/** What the worker answers. A `refused` body is JSON, see `WorkerRefusal`. */
export const answerKinds = { done: 1, refused: 2 } as const

export interface Frame {
  /** Chosen by the server, repeated in the answer. */
  readonly id: number
  readonly kind: number
  readonly body: Uint8Array
}

/** As read: a view of the chunk it came in. */
export interface ReadFrame extends Frame {
  readonly body: Buffer
}

/** @returns head and body, written one after the other into one buffer */
export function encodeFrame({ id, kind, body }: Frame): Buffer {
  const frame = Buffer.allocUnsafe(HEAD_OCTETS + body.length)
  frame.writeUInt32LE(body.length, 0)
  frame.writeUInt32LE(id, 4)
  frame[8] = kind
  frame.set(body, HEAD_OCTETS)
  return frame
}

/** Cuts a stream of chunks into frames. @throws RangeError for a frame that is too long: the other end is broken */
export function frameReader(maxOctets: number, take: (frame: ReadFrame) => void): (chunk: Buffer) => void {
  let held: Buffer[] = []
  let heldOctets = 0
  /** How many must be there before it is worth looking: a long frame's pieces are joined once. */
  let wanted = HEAD_OCTETS
  return (chunk) => {
    held.push(chunk)
    heldOctets += chunk.length
    if (heldOctets < wanted) return
    const octets = held.length === 1 ? chunk : Buffer.concat(held)
    let at = 0
    wanted = HEAD_OCTETS
    while (octets.length - at >= HEAD_OCTETS) {
      const length = octets.readUInt32LE(at)
      if (length > maxOctets) throw new RangeError(`a frame of ${length} octets`)
      const end = at + HEAD_OCTETS + length
      if (octets.length < end) {
        wanted = end - at
        break
      }
      take({ id: octets.readUInt32LE(at + 4), kind: octets[at + 8] as number, body: octets.subarray(at + HEAD_OCTETS, end) })
      at = end
    }
    held = at === octets.length ? [] : [octets.subarray(at)]
    heldOctets = octets.length - at
  }
}

/** Collects what is written within one turn of the event loop: a system call each would cost more than a fast signature. */
export function batchedWriter(write: (octets: Buffer) => void): (frame: Frame) => void {
  let waiting: Buffer[] = []
  return (frame) => {
    if (waiting.push(encodeFrame(frame)) > 1) return
    setImmediate(() => {
      const batch = waiting
      waiting = []
      write(batch.length === 1 ? (batch[0] as Buffer) : Buffer.concat(batch))
    })
  }
}
