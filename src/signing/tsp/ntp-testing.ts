/** A time server that says what a test wants, over real UDP. Not part of any program. @module */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

/** An answer as a good server gives it, at 2027-06-01T12:00:00Z. */
export function goodAnswer(question: Uint8Array, atMilliseconds = Date.parse('2027-06-01T12:00:00Z')): Uint8Array {
  const packet = new Uint8Array(48)
  const view = new DataView(packet.buffer)
  packet[0] = (4 << 3) | 4
  packet[1] = 2
  packet[3] = 0xec // 2^-20 s
  view.setUint32(4, 655) // 10 ms
  view.setUint32(8, 328) // 5 ms
  packet.set(question.subarray(40, 48), 24)
  for (const at of [16, 32, 40]) {
    view.setUint32(at, Math.floor(atMilliseconds / 1000) + 2_208_988_800)
    view.setUint32(at + 4, ((atMilliseconds % 1000) / 1000) * 2 ** 32)
  }
  return packet
}

export interface TimeServerOfTests extends AsyncDisposable {
  readonly port: number
}

/** @param answers to each question */
export async function openTimeServer(answers: (question: Uint8Array) => readonly Uint8Array[]): Promise<TimeServerOfTests> {
  const socket = createSocket('udp4')
  socket.on('message', (question, { port, address }) => {
    for (const packet of answers(question)) socket.send(packet, port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    port: socket.address().port,
    async [Symbol.asyncDispose]() {
      socket.close()
      await once(socket, 'close')
    },
  }
}

export async function withTimeServer(
  answers: (question: Uint8Array) => readonly Uint8Array[],
  body: (port: number) => Promise<void>,
): Promise<void> {
  await using server = await openTimeServer(answers)
  await body(server.port)
}
