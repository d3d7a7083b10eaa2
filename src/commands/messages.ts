/**
 * Commands to devices, and what devices say to them: schemas and pure verification, for the device as well as for the server.
 *
 * A command says all that is to happen and to which device; whoever orders it signs it with a key of their own, and where
 * others have to agree, each of them does (COSE_Sign). So no server on the way can make one up, and the device counts itself
 * who agreed. What is signed along (external_aad) is the kind of message and the key that the device was born with: what was
 * meant for another mailbox does not verify in this one.
 *
 * Where a device asks for a challenge to be answered, the operator's signature, and no other, carries its nonce: people agree
 * in their own time, and the one who orders says so at the very moment.
 *
 * Source: RFC 9052 (COSE_Sign1, COSE_Sign); RFC 9597 (claims in a header); RFC 9711, 4.1 (nonce); RFC 9596 (typ).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label } from '#cbor/cbor.ts'
import { type COSESign, type COSESign1, type Headers, headers, makeHeaders, parseCOSE } from '#cbor/cose.ts'
import {
  encodeRecord,
  field,
  type Infer,
  integer,
  octets,
  optional,
  parseRecord,
  record,
  type Shape,
  text,
  time,
  word,
} from '#cbor/record.ts'
import { type MessageTrust, type TrustedSigner, verifyMessage } from '#signing/messages.ts'
import { parseCertificate } from '#x509/certificate.ts'

export const COMMAND_TYPE = 'application/sealworks-command+cbor'
export const CHALLENGE_TYPE = 'application/sealworks-command-challenge+cbor'
export const RECEIPT_TYPE = 'application/sealworks-command-receipt+cbor'

/** An operator and eight who agree, each with a chain of ML-DSA certificates, and the arguments at their longest. */
export const COMMAND_MAX_OCTETS = 256 << 10
/** Output, and a chain of ML-DSA certificates. */
export const RECEIPT_MAX_OCTETS = 32 << 10
/** A command sets something; whole files come as releases. */
export const ARGUMENTS_MAX_OCTETS = 4096
const ARGUMENTS_MAX = 32
/** What a person reads of it; more belongs into a log of the device. */
export const OUTPUT_MAX_OCTETS = 4096
/** Guessed by nobody within its ten seconds. */
export const NONCE_OCTETS = 16
/** How long a nonce is good for: between two steps of programs, not of people. */
export const NONCE_SECONDS = 10

export const modes = ['time', 'challenge'] as const
/** How a device knows that a command is new: by counter and clock, or by its own nonce as well. */
export type Mode = (typeof modes)[number]
export const priorities = ['low', 'normal', 'high', 'urgent'] as const
export type Priority = (typeof priorities)[number]
export const results = ['done', 'failed', 'refused', 'unknown'] as const
/**
 * `failed`: its program said so, or did not come to its end in time. `unknown`: power was cut while it ran, so that nobody knows
 * how far it came; it is not begun again.
 */
export type Result = (typeof results)[number]

export const Name = text(64)
/** `valve.open` */
export const OPERATION = /^[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?$/
export const Operation = text(64, OPERATION)
/** `carworks/paint`: owner and area. */
export const AreaName = text(200)
export const Digest = octets(32)

export type ArgumentValue = string | number | boolean | Uint8Array
/** By name. */
export type Arguments = ReadonlyMap<string, ArgumentValue>

const ARGUMENT_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,31}$/

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notCommand', { facts: { detail } })

const ArgumentsShape: Shape<Arguments> = {
  encode: (value) => new Map<Label, CBOR>(value),
  decode(item, what) {
    if (!(item instanceof Map)) throw malformed(`${what} are no map`)
    const entries = [...(item as ReadonlyMap<Label, CBOR>)]
    if (entries.length > ARGUMENTS_MAX || areTooLong(item as ReadonlyMap<Label, CBOR>))
      throw malformed(`${what} are too many or too long`)
    return new Map(
      entries.map(([name, value]) => {
        if (typeof name !== 'string' || !ARGUMENT_NAME.test(name)) throw malformed('the name of an argument is none')
        return [name, argumentOf(value, name)]
      }),
    )
  },
}

/** Encoded again only where they might be: what devices judge has a few short ones. */
function areTooLong(given: ReadonlyMap<Label, CBOR>): boolean {
  let most = HEAD_MAX_OCTETS
  for (const entry of given) for (const item of entry) most += octetsAtMost(item)
  return most > ARGUMENTS_MAX_OCTETS && encodeCBOR(given).length > ARGUMENTS_MAX_OCTETS
}

/** Of what comes before each item, and of a number. */
const HEAD_MAX_OCTETS = 9

/** Three octets of UTF-8 for each unit of UTF-16 at most; what is neither text nor octets is a number or refused below. */
const octetsAtMost = (item: CBOR): number =>
  HEAD_MAX_OCTETS + (typeof item === 'string' ? item.length * 3 : item instanceof Uint8Array ? item.length : 0)

function argumentOf(value: CBOR, name: string): ArgumentValue {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value instanceof Uint8Array)
    return value
  throw malformed(`the argument ${name} is neither text, integer, truth value nor octets`)
}

/** A device as commands name it. */
const Audience = record({
  /** SHA-256 of the SubjectPublicKeyInfo that it was born with. */
  birthKey: field(1, Digest),
  /** Manufacturer and serial, `acme/P-1`: for people, and against a mix-up. */
  device: field(2, text(200)),
})

const Command = record({
  id: field(1, octets(16)),
  /** Who counts: an installation, or a part of one with counters of its own. */
  issuer: field(2, Name),
  audience: field(3, Audience),
  /** Grows with every command of this issuer to this device. */
  counter: field(4, integer(1)),
  notBefore: field(5, time),
  expiresAt: field(6, time),
  operation: field(7, Operation),
  arguments: field(8, ArgumentsShape),
  /** A check of the device's own that has to hold. */
  precondition: optional(9, Operation),
  area: field(10, AreaName),
  /** Of the device's ownership. */
  epoch: field(11, integer(0)),
  priority: field(12, word(priorities)),
  /** Who orders it, as the policy names them. */
  operator: field(13, Name),
  mode: field(14, word(modes)),
})
export type Command = Infer<typeof Command>

export const encodeCommand = (command: Command): Uint8Array => encodeRecord(Command, command)

/** What is signed. @throws TrustError `malformed`, `tooLarge` */
export function parseCommand(payload: Uint8Array): Command {
  const command = parseRecord(Command, payload, { what: 'the command', maxOctets: COMMAND_MAX_OCTETS })
  if (command.expiresAt <= command.notBefore) throw malformed('it ends before it begins')
  return command
}

/** Bound to the kind of message and to the device's mailbox. @param birthKey of the device that it goes to, or comes from */
export const externalAADFor = (kind: 'command' | 'challenge' | 'receipt', birthKey: Uint8Array): Uint8Array =>
  encodeCBOR(['sealworks', kind, birthKey])

/** Headers of a message that several sign. */
export const sharedHeaders = (): Headers => makeHeaders([[headers.typ, COMMAND_TYPE]])

const CWT_CLAIMS = 15
const NONCE_CLAIM = 10

/** For the operator's own header. */
export const nonceEntry = (nonce: Uint8Array): readonly [Label, CBOR] => [
  CWT_CLAIMS,
  new Map<Label, CBOR>([[NONCE_CLAIM, nonce]]),
]

function nonceIn({ protected: map }: Headers): Uint8Array | undefined {
  const claims = map.get(CWT_CLAIMS)
  const nonce = claims instanceof Map ? (claims as ReadonlyMap<Label, CBOR>).get(NONCE_CLAIM) : undefined
  return nonce instanceof Uint8Array && nonce.length === NONCE_OCTETS ? nonce : undefined
}

export interface SignedBy extends TrustedSigner {
  /** The device's nonce that this signature answers. */
  readonly nonce: Uint8Array | undefined
}

export interface ReadCommand {
  readonly command: Command
  /** In the order of their signatures; no key twice. */
  readonly signers: readonly SignedBy[]
  /** SHA-256 of the message: what the receipt names. */
  readonly digest: Uint8Array
}

/**
 * Reads it and checks every signature; what it may do is for the policy to say.
 *
 * @throws TrustError as `verifyMessage`; `malformed`
 */
export async function readCommand(
  message: Uint8Array,
  { trust, at, birthKey }: { readonly trust: MessageTrust; readonly at: Date; readonly birthKey: Uint8Array },
): Promise<ReadCommand> {
  const externalAAD = externalAADFor('command', birthKey)
  const verified = await verifyMessage(message, { typ: COMMAND_TYPE, trust, at, maxOctets: COMMAND_MAX_OCTETS, externalAAD })
  if (verified.form !== 'cose') throw malformed('it is no COSE message')
  const command = parseCommand(verified.payload)
  const own = command.mode === 'challenge' ? headersOf(parseCOSE(message, COMMAND_MAX_OCTETS)) : []
  const signers = verified.signers.map((signer, at_) => ({ ...signer, nonce: own[at_] && nonceIn(own[at_]) }))
  return { command, signers, digest: commandDigest(message) }
}

/** SHA-256: what a receipt names it by. */
export const commandDigest = (message: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(message).digest())

const headersOf = (message: COSESign1 | COSESign): readonly Headers[] =>
  message.type === 'sign1' ? [message.headers] : message.signatures.map((each) => each.headers)

const Challenge = record({
  command: field(1, octets(16)),
  nonce: field(2, octets(NONCE_OCTETS)),
  birthKey: field(3, Digest),
})
export type Challenge = Infer<typeof Challenge>

const Receipt = record({
  command: field(1, octets(16)),
  /** SHA-256 of the message with its signatures. */
  message: field(2, Digest),
  birthKey: field(3, Digest),
  result: field(4, word(results)),
  /** Of the program. */
  exitCode: optional(5, integer(0, 255)),
  /** What the program wrote. */
  output: optional(6, octets(0, OUTPUT_MAX_OCTETS)),
  /** Why it was refused or failed, in a stable word. */
  reason: optional(7, text(64, /^[A-Za-z]+$/)),
  /** Of this device's receipts: each has the next number. */
  counter: field(8, integer(1)),
  /** By the device's own clock. */
  at: field(9, time),
})
export type Receipt = Infer<typeof Receipt>

export const encodeChallenge = (challenge: Challenge): Uint8Array => encodeRecord(Challenge, challenge)
export const encodeReceipt = (receipt: Receipt): Uint8Array => encodeRecord(Receipt, receipt)

/** @throws TrustError `malformed`, `tooLarge` */
export const parseChallenge = (payload: Uint8Array): Challenge =>
  parseRecord(Challenge, payload, { what: 'the challenge', maxOctets: RECEIPT_MAX_OCTETS })

/** @throws TrustError `malformed`, `tooLarge` */
export function parseReceipt(payload: Uint8Array): Receipt {
  const receipt = parseRecord(Receipt, payload, { what: 'the receipt', maxOctets: RECEIPT_MAX_OCTETS })
  const { result, exitCode, reason } = receipt
  if (result === 'done' && reason !== undefined) throw malformed('the receipt says why something went wrong that was done')
  if (result === 'refused' && (reason === undefined || exitCode !== undefined))
    throw malformed('the receipt does not say why nothing was done')
  return receipt
}

export interface FromDevice<T> {
  readonly value: T
  /** DER: whose key signed it. Whether that is this device's is for the caller to say. */
  readonly certificate: Uint8Array
}

/** Whoever shows a certificate; who that is, the caller finds out. */
const anybody: MessageTrust = {
  async signerFor([own]) {
    if (own === undefined) throw new TrustError('unauthenticated', 'messageSignerUnknown')
    const certificate = parseCertificate(own)
    return { certificate, publicKey: importPublicKey(certificate.subjectPublicKeyInfo) }
  },
}

/**
 * A challenge or a receipt: read, and its signature checked with the certificate that it carries.
 *
 * @param birthKey of the device whose mailbox it came to
 * @throws TrustError as `verifyMessage`; `malformed`
 */
export async function readFromDevice(
  message: Uint8Array,
  birthKey: Uint8Array,
): Promise<({ readonly kind: 'challenge' } & FromDevice<Challenge>) | ({ readonly kind: 'receipt' } & FromDevice<Receipt>)> {
  const kind = typeOf(message) === CHALLENGE_TYPE ? 'challenge' : 'receipt'
  const { form, payload, signers } = await verifyMessage(message, {
    typ: kind === 'challenge' ? CHALLENGE_TYPE : RECEIPT_TYPE,
    trust: anybody,
    at: new Date(0), // nobody looks at it
    maxOctets: RECEIPT_MAX_OCTETS,
    externalAAD: externalAADFor(kind, birthKey),
  })
  if (form !== 'cose' || signers.length > 1) throw malformed('it is no COSE_Sign1')
  const { der: certificate } = signers[0].certificate
  return kind === 'challenge'
    ? { kind, value: parseChallenge(payload), certificate }
    : { kind, value: parseReceipt(payload), certificate }
}

const typeOf = (message: Uint8Array): CBOR => parseCOSE(message, RECEIPT_MAX_OCTETS).headers.protected.get(headers.typ)

/** An order of the server's to answer a challenge for a command that people agreed to. Unsigned: whoever makes one up gets a nonce. */
const SELECT = 'sealworks-select'

export const encodeSelect = (command: Uint8Array): Uint8Array => encodeCBOR([SELECT, command])

/** @returns the command's id; undefined for what is no such order */
export function selectedIn(message: Uint8Array): Uint8Array | undefined {
  const command = message.subarray(-16)
  return equal(encodeSelect(command), message) ? command : undefined
}
