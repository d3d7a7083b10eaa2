/**
 * As much of MQTT as a machine of the trial speaks: connect, subscribe, publish with an acknowledgment, one at a time.
 *
 * Source: MQTT 3.1.1 (OASIS), sections 3.1 to 3.4, 3.8 and 3.9.
 *
 * @module
 */
import { connect, type TLSSocket } from 'node:tls'
import { NotAsExpected } from './story.ts'

export interface MQTTDoor {
  readonly host: string
  readonly port: number
  readonly clientId: string
  /** PEM, as the others. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface MQTTSession {
  /** @returns whether the broker granted it */
  subscribe(filter: string): Promise<boolean>
  /** @returns when the broker has it @throws NotAsExpected when it ends the session instead */
  publish(topic: string, text: string): Promise<void>
  /** Whoever ended it. */
  readonly ended: Promise<void>
  end(): void
}

/** The first octet of a packet: its type, with the flags that this type has. */
const packets = {
  connect: 0x10,
  connack: 0x20,
  publish: 0x32,
  puback: 0x40,
  subscribe: 0x82,
  suback: 0x90,
  disconnect: 0xe0,
} as const
const KEEP_ALIVE_SECONDS = 60
const CLEAN_SESSION = 0x02
const LEVEL = 4
const AT_LEAST_ONCE = 1
/** In a subscription's answer. */
const FAILURE = 0x80
/** Packets of this story are short: their length is one octet. */
const LENGTH_MAX = 127

/** @throws NotAsExpected when it is not let in */
export async function connectMQTT({ host, port, clientId, ca, cert, key }: MQTTDoor): Promise<MQTTSession> {
  const socket = connect({ host, port, ca, cert, key })
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {}) // its end is what counts, and follows
  const answers = reading(socket)
  const ask = async (type: number, body: Uint8Array): Promise<Uint8Array> => {
    const answer = answers.next()
    socket.write(packetOf(type, body))
    const first = await Promise.race([answer, ended])
    if (first === undefined) throw new NotAsExpected('the broker ended the connection')
    return first
  }
  const numbered = Uint8Array.of(0, 1)
  const variable = Uint8Array.of(LEVEL, CLEAN_SESSION, 0, KEEP_ALIVE_SECONDS)
  const connack = await ask(packets.connect, Buffer.concat([textOf('MQTT'), variable, textOf(clientId)]))
  if (connack[0] !== packets.connack || connack[3] !== 0) {
    socket.destroy()
    throw new NotAsExpected(`the broker did not let ${clientId} in: ${connack[3]}`)
  }
  return {
    ended,
    async subscribe(filter) {
      const suback = await ask(packets.subscribe, Buffer.concat([numbered, textOf(filter), Uint8Array.of(AT_LEAST_ONCE)]))
      return suback[0] === packets.suback && suback[4] !== FAILURE
    },
    async publish(topic, text) {
      const puback = await ask(packets.publish, Buffer.concat([textOf(topic), numbered, Buffer.from(text)]))
      if (puback[0] !== packets.puback) throw new NotAsExpected('the broker answered something else')
    },
    end() {
      socket.end(packetOf(packets.disconnect, new Uint8Array(0)))
    },
  }
}

function packetOf(type: number, body: Uint8Array): Uint8Array {
  if (body.length > LENGTH_MAX) throw new TypeError(`a packet of ${body.length} octets`)
  return Buffer.concat([Uint8Array.of(type, body.length), body])
}

/** 1.5.3: its length before it, in two octets. */
function textOf(text: string): Uint8Array {
  const octets = Buffer.from(text)
  return Buffer.concat([Uint8Array.of(octets.length >> 8, octets.length & 0xff), octets])
}

/** The broker's packets, whole, one for each question. */
function reading(socket: TLSSocket): { next(): Promise<Uint8Array> } {
  let held = Buffer.alloc(0)
  let waiting: ((packet: Uint8Array) => void) | undefined
  const deliver = (): void => {
    const length = 2 + (held[1] ?? 0)
    if (waiting === undefined || held.length < 2 || held.length < length) return
    const take = waiting
    waiting = undefined
    take(held.subarray(0, length))
    held = held.subarray(length)
  }
  socket.on('data', (octets: Buffer) => {
    held = Buffer.concat([held, octets])
    deliver()
  })
  return {
    next: () =>
      new Promise((resolve) => {
        waiting = resolve
        deliver()
      }),
  }
}
