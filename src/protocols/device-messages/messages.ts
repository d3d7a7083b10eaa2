/** What devices and the server send each other by kind, and how the bodies are named. @module */
import { TrustError } from '#base/errors.ts'

/** Closed: what each is, its room says. */
export const messageKinds = ['command', 'command-policy', 'receipt', 'license', 'usage'] as const
export type MessageKind = (typeof messageKinds)[number]

/** A message as the server keeps it for one device: the numbers of one kind grow, and may leave some out. */
export interface NumberedMessage {
  readonly number: number
  readonly octets: Uint8Array
}

export const MOUNT = '/device/messages'
/** One message, signed by whoever made it (RFC 9052). */
export const MESSAGE_MEDIA_TYPE = 'application/cose'
export const LIST_MEDIA_TYPE = 'application/json'

/** Of one list: some hundred licenses, or one with post-quantum chains. What is over comes with the next question. */
export const LIST_MAX_OCTETS = 512 << 10
const LIST_MAX_MESSAGES = 256
/** The list as base64 in JSON, with room for its numbers. */
export const LIST_ANSWER_MAX_OCTETS = LIST_MAX_OCTETS * 2

/** @returns JSON of as many as fit, the first one in any case */
export function encodeList(messages: readonly NumberedMessage[]): string {
  let octets = 0
  const fitting = messages
    .slice(0, LIST_MAX_MESSAGES)
    .filter((message, at) => (octets += message.octets.length) <= LIST_MAX_OCTETS || at === 0)
  return JSON.stringify({ messages: fitting.map((message) => ({ number: message.number, message: message.octets.toBase64() })) })
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notMessageList', { facts: { detail } })

/** @param after what was asked for @throws TrustError `malformed` */
export function parseList(body: Uint8Array, after: number): readonly NumberedMessage[] {
  const { messages } = objectIn(body)
  if (!Array.isArray(messages) || messages.length > LIST_MAX_MESSAGES) throw malformed('it has no messages, or too many')
  let last = after
  return messages.map((item: unknown) => {
    const { number, message } = (item ?? {}) as { readonly number?: unknown; readonly message?: unknown }
    if (!Number.isSafeInteger(number) || (number as number) <= last) throw malformed('its numbers do not grow')
    last = number as number
    return { number: last, octets: octetsOf(message) }
  })
}

function objectIn(body: Uint8Array): { readonly messages?: unknown } {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // said below
  }
  throw malformed('it is no JSON object')
}

function octetsOf(text: unknown): Uint8Array {
  try {
    return Uint8Array.fromBase64(text as string, { lastChunkHandling: 'strict' })
  } catch {
    throw malformed('a message is not base64')
  }
}

/** @param query without the question mark @returns 0 when it does not say @throws TrustError `malformed` */
export function afterIn(query: string): number {
  const [given, ...others] = new URLSearchParams(query).getAll('after')
  if (given === undefined) return 0
  if (others.length === 0 && /^\d{1,15}$/.test(given)) return Number(given)
  throw new TrustError('malformed', 'messageAfter')
}
