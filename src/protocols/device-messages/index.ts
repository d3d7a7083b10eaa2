/**
 * Signed messages to devices and from them, over mutual TLS, where no broker stands between.
 *
 * A protocol of this product: `docs/commands.md`. The connection says which device asks; what a message is worth, its own
 * signature says. Each kind belongs to a room, which keeps what it has for a device until the device has seen it.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Operation, Protocol } from '../protocol.ts'
import { failure } from './failures.ts'
import {
  afterIn,
  encodeList,
  LIST_MEDIA_TYPE,
  MESSAGE_MEDIA_TYPE,
  type MessageKind,
  messageKinds,
  MOUNT,
  type NumberedMessage,
} from './messages.ts'

/** What a room has for devices, and takes from them. */
export interface Mailbox {
  /** @returns those with a greater number, in their order; as many as the room likes */
  list?(deviceId: string, after: number): Promise<readonly NumberedMessage[]>
  readonly take?: {
    /** Longer ones are not read. */
    readonly maxOctets: number
    /** @returns what the device is told, signed in itself, where there is something to say @throws TrustError of any refusal */
    run(deviceId: string, octets: Uint8Array): Promise<Uint8Array | undefined>
  }
}

export type Mailboxes = Readonly<Partial<Record<MessageKind, Mailbox>>>

/** What this protocol needs from those who know devices and those who have something for them. */
export interface DeviceMessagesService {
  /**
   * Who may come in: rule `connect`.
   *
   * @param chain of the client certificate, DER; empty without one
   * @returns the device's id @throws TrustError `unauthenticated`, `forbidden`
   */
  admit(chain: readonly Uint8Array[]): Promise<string>
  readonly mailboxes: Mailboxes
}

const unknown = (): TrustError => new TrustError('notFound', 'unknownPath')
const noStore = { 'cache-control': 'no-store' } as const

const list = (kind: MessageKind): Operation<DeviceMessagesService> => ({
  method: 'GET',
  path: `/${kind}`,
  section: 'docs/commands.md',
  async handle({ peer, label, query }, { admit, mailboxes }) {
    const mailbox = mailboxes[kind]
    if (label !== undefined || mailbox?.list === undefined) throw unknown()
    const after = afterIn(query)
    const messages = await mailbox.list(await admit(peer.chain), after)
    return { status: 200, headers: { 'content-type': LIST_MEDIA_TYPE, ...noStore }, body: encodeList(messages) }
  },
})

const send = (kind: MessageKind): Operation<DeviceMessagesService> => ({
  method: 'POST',
  path: `/${kind}`,
  section: 'docs/commands.md',
  async handle({ peer, label, headers, body }, { admit, mailboxes }) {
    const take = mailboxes[kind]?.take
    if (label !== undefined || take === undefined) throw unknown()
    const mediaType = (headers['content-type'] ?? '').split(';', 1)[0] as string
    if (mediaType.trim().toLowerCase() !== MESSAGE_MEDIA_TYPE)
      throw new TrustError('malformed', 'mediaType', { facts: { expected: MESSAGE_MEDIA_TYPE } })
    const deviceId = await admit(peer.chain) // before the body: who may not come in sends nothing that is kept
    const answer = await take.run(deviceId, await body(take.maxOctets))
    if (answer === undefined) return { status: 204, headers: noStore, body: '' }
    return { status: 200, headers: { 'content-type': MESSAGE_MEDIA_TYPE, ...noStore }, body: answer }
  },
})

export const deviceMessages: Protocol<DeviceMessagesService> = {
  id: 'device-messages',
  source: 'docs/commands.md',
  mount: MOUNT,
  listener: 'tls',
  operations: messageKinds.flatMap((kind) => [list(kind), send(kind)]),
  failure,
}
