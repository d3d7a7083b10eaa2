/**
 * Signed statements of ownership: compact JSON Web Signatures over JSON in its one form.
 *
 * Whose key a statement must be signed with is known before it is read, from the chain or from whom is trusted: a key
 * that a message names for itself counts for nothing.
 *
 * Source: RFC 7515; RFC 7638 (thumbprints); RFC 8785 (JSON in one form: members sorted, no space).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { type Static, type TObject, type TProperties, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { fromMessageSignature, toMessageSignature } from '#algorithms/ecdsa.ts'
import { keyMembers } from '#algorithms/jwk-form.ts'
import { messageNames, namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { type JSONValue, parseJSONObject } from '#jose/json.ts'
import { jwkThumbprint, parseJWK } from '#jose/jwk.ts'
import { checkCritical, encodeHeader, encodeJWS, encodeSigningInputHead, parseJWS, payloadOf } from '#jose/jws.ts'

/** A key store's signer fits. */
export interface StatementKey {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
}

/** An entry holds an offer and an answer, each with a key: with ML-DSA-87 some 40 KiB, a recovery half as much again. */
export const STATEMENT_MAX_OCTETS = 128 << 10

const record = <const Fields extends TProperties>(fields: Fields): TObject<Fields> =>
  Type.Object(fields, { additionalProperties: false })

/** SHA-256 as base64url. */
const Hash = Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' })
const Epoch = Type.Integer({ minimum: 1, maximum: 1_000_000 })
const Time = Type.Integer({ minimum: 0, maximum: Date.UTC(9999, 11, 31), description: 'milliseconds since 1970, UTC' })
const Statement = Type.String({ pattern: '^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$', maxLength: STATEMENT_MAX_OCTETS })
/** No control characters and nothing that changes the direction of what people read. */
const line = (maxLength: number) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]*$',
  })
const Terms = Type.String({
  maxLength: 4000,
  pattern: '^[^\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]*$',
})

/** A gateway has few ports, a field bus some dozens of stations; so many fit a statement with the longest of names. */
export const BOUND_MAX = 128
/** Where the device is: `rs485-1/unit 7`. */
export const PORT_MAX_LENGTH = 64
/** What it is known by there: an address, a hash of its nameplate. */
export const FINGERPRINT_MAX_LENGTH = 128

const KeyMember = Type.String({ minLength: 1, maxLength: 4096 })

/** RFC 7638: the members that make a key the one it is, and no others. */
const Key = record({
  kty: KeyMember,
  crv: Type.Optional(KeyMember),
  x: Type.Optional(KeyMember),
  y: Type.Optional(KeyMember),
  e: Type.Optional(KeyMember),
  n: Type.Optional(KeyMember),
  alg: Type.Optional(KeyMember),
  pub: Type.Optional(KeyMember),
})
export type Key = Static<typeof Key>

const Party = record({ name: line(128), key: Key })
/** An organization as statements name it. */
export type Party = Static<typeof Party>

const Product = record({
  manufacturer: line(128),
  model: line(128),
  productSerial: line(80),
  /** How it got its key, and how far that is known (docs/devices.md). */
  variant: Type.Enum(['tpm', 'secure-element', 'software', 'external']),
  assurance: Type.Integer({ minimum: 0, maximum: 4 }),
})
export type Product = Static<typeof Product>

/** Which change of which device's ownership: the next epoch, after the entry that it names. */
const Place = {
  version: Type.Literal(1),
  /** SHA-256 of the SubjectPublicKeyInfo that the device was born with. */
  device: Hash,
  epoch: Epoch,
  /** Hash of the entry before; left out in the first. */
  previous: Type.Optional(Hash),
}

/** What a stranger who holds a device may know of it: no owner, no place, no date. */
export const verdicts = [
  'genuine',
  'unknown', // the maker has no such device, or what answered does not have its key: the same word for both
  'clone', // somebody found two of it
  'stolen', // or lost
  'doubted', // it is under examination
  'neverShipped', // made, and never let out by its maker
  'scrapped',
  'ended',
] as const
export type Verdict = (typeof verdicts)[number]

const shapes = {
  /** By the owner, and the first by the maker: to whom, on which terms. */
  offer: record({ ...Place, product: Type.Optional(Product), to: Party, terms: Terms, offeredAt: Time, expiresAt: Time }),
  /** By who would be the next owner, to an offer or a notice of recovery. */
  answer: record({ ...Place, to: Hash, isAccepted: Type.Boolean(), answeredAt: Time }),
  /** An entry of the chain, by the owner: the device is the buyer's from here on. */
  release: record({ ...Place, offer: Statement, answer: Statement, releasedAt: Time }),
  /** By the device's own key: it is in the hands of whom it names. */
  presence: record({ ...Place, key: Key, to: Party, nonce: Hash, at: Time }),
  /** By the maker, in public: who claims the device, and until when its owner may object. */
  notice: record({ ...Place, presence: Statement, reason: line(500), publishedAt: Time, endsAt: Time }),
  /** By the owner: the device is not lost. */
  objection: record({ ...Place, notice: Hash, reason: line(500), objectedAt: Time }),
  /** An entry of the chain, by the maker, after the time of the notice. */
  recovery: record({ ...Place, notice: Statement, answer: Statement, releasedAt: Time }),
  /** By the maker, to whoever asks whether a device is genuine: what became of the one that just answered (genuine.ts). */
  verdict: record({
    version: Type.Literal(1),
    nonce: Hash,
    manufacturer: line(128),
    productSerial: line(80),
    verdict: Type.Enum([...verdicts]),
    at: Time,
  }),
  /** By the owner of a gateway: the devices that it may speak for. The whole list each time, with the next number. */
  binding: record({
    version: Type.Literal(1),
    /** SHA-256 of the SubjectPublicKeyInfo that the gateway was born with. */
    gateway: Hash,
    /** Of the gateway's ownership. */
    epoch: Epoch,
    number: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    /** Hash of the list before; left out in the first. */
    previous: Type.Optional(Hash),
    devices: Type.Array(
      record({
        manufacturer: line(128),
        productSerial: line(80),
        /** Of the device's ownership. */
        epoch: Epoch,
        port: line(PORT_MAX_LENGTH),
        fingerprint: Type.Optional(line(FINGERPRINT_MAX_LENGTH)),
        assurance: Type.Integer({ minimum: 0, maximum: 1 }),
      }),
      { maxItems: BOUND_MAX },
    ),
    issuedAt: Time,
  }),
} as const

export type StatementKind = keyof typeof shapes
/** Of a device's place in its chain. */
export type PlacedKind = Exclude<StatementKind, 'verdict' | 'binding'>
export type Payload<Kind extends StatementKind> = Static<(typeof shapes)[Kind]>

const typeOf = (kind: StatementKind): string => `ownership-${kind}+jws`
const kinds = Object.keys(shapes) as readonly StatementKind[]
const checks = Object.fromEntries(kinds.map((kind) => [kind, Compile(shapes[kind] as TObject)])) as unknown as Readonly<
  Record<StatementKind, { Check(value: unknown): boolean }>
>

/** A statement that was read. Nothing of it is true before {@link checkSigned}. */
export interface Read<Kind extends StatementKind> {
  readonly kind: Kind
  readonly payload: Payload<Kind>
  /** As it came. */
  readonly statement: string
  /** SHA-256 of it, base64url: how other statements name it. */
  readonly hash: string
  /** Thumbprint of the key that the header claims: for finding the key, not for believing it. */
  readonly signer: string
}

export const hashOf = (statement: string): string => toBase64url(new Uint8Array(hash('sha256', statement, 'buffer')))

/** How statements name a device: by the SubjectPublicKeyInfo of its birth certificate. */
export const deviceNameOf = (spki: Uint8Array): string => toBase64url(new Uint8Array(hash('sha256', spki, 'buffer')))

/** @throws whatever the key's holder throws; TrustError `unsupported` for a key that JOSE has no name for */
export async function signStatement<Kind extends StatementKind>(
  kind: Kind,
  payload: Payload<Kind>,
  key: StatementKey,
): Promise<Read<Kind>> {
  const publicKey = importPublicKey(key.publicKey)
  const algorithm = certificateSignatureOf(publicKey.algorithm)
  const signer = jwkThumbprint(publicKey)
  const alg = messageNames(algorithm, publicKey.algorithm).jose.usual
  const encodedHeader = encodeHeader({ alg, kid: signer, typ: typeOf(kind) })
  const encodedPayload = toBase64url(utf8(canonical(payload)))
  const input = new Uint8Array([...encodeSigningInputHead(encodedHeader), ...utf8(encodedPayload)])
  const signature = toMessageSignature(await key.sign(input, algorithm), publicKey.algorithm)
  const octets = encodeJWS({ serialization: 'compact', encodedPayload, signatures: [{ encodedHeader, signature }] })
  const statement = new TextDecoder().decode(octets)
  return readStatement(kind, statement)
}

const malformed = (what: string, detail: string): TrustError =>
  new TrustError('malformed', 'ownershipMalformed', { facts: { what, detail } })

/** @throws TrustError `malformed`, `tooLarge`, `unsupported` */
export function readStatement<Kind extends StatementKind>(kind: Kind, statement: string): Read<Kind> {
  const message = parseJWS(utf8(statement), STATEMENT_MAX_OCTETS)
  const { encodedPayload } = message
  const [signature] = message.signatures
  if (message.serialization !== 'compact' || !message.isEncoded || signature === undefined || encodedPayload === undefined)
    throw malformed(kind, 'it is not a compact signature with its payload')
  checkCritical(signature, [])
  const { typ, kid, alg } = signature.protectedHeader
  if (typ !== typeOf(kind)) throw malformed(kind, 'it is another kind of statement')
  if (typeof kid !== 'string' || typeof alg !== 'string') throw malformed(kind, 'its header names no key')
  if (signature.encodedHeader !== encodeHeader({ alg, kid, typ })) throw malformed(kind, 'its header is not in its one form')
  const octets = payloadOf(message, encodedPayload)
  const payload = parseJSONObject(octets, STATEMENT_MAX_OCTETS)
  if (!checks[kind].Check(payload)) throw malformed(kind, 'its members are not those of such a statement')
  if (!equal(utf8(canonical(payload)), octets)) throw malformed(kind, 'its payload is not in its one form')
  if (`${signature.encodedHeader}.${encodedPayload}.${toBase64url(signature.signature)}` !== statement)
    throw malformed(kind, 'something stands around it')
  return { kind, payload: payload as unknown as Payload<Kind>, statement, hash: hashOf(statement), signer: kid }
}

/** @param who for the sentence @throws TrustError `badProof` unless this key signed it */
export async function checkSigned(read: Read<StatementKind>, key: PublicKey, who: string): Promise<void> {
  const { statement, kind } = read
  const end = statement.lastIndexOf('.')
  const [signature] = parseJWS(utf8(statement), STATEMENT_MAX_OCTETS).signatures
  const wrong = (): TrustError => new TrustError('badProof', 'ownershipSignature', { facts: { what: kind, who } })
  if (signature === undefined || read.signer !== jwkThumbprint(key)) throw wrong()
  const algorithm = namedSignature(signature.algorithm, key.algorithm)
  const octets = fromMessageSignature(signature.signature, key.algorithm)
  if (!(await verifySignature({ algorithm, octets }, key, utf8(statement.slice(0, end))))) throw wrong()
}

/** @throws TrustError `malformed`, `unsupported`, `policyRefused` for a weak key */
export function keyOf(written: Key): PublicKey {
  const key = parseJWK(written)
  if (canonical(keyMembers(key)) !== canonical(written)) throw malformed('key', 'it has members that are not part of it')
  return key
}

export const writtenKey = (key: PublicKey): Key => keyMembers(key) as unknown as Key

/** RFC 8785, for text, whole numbers, booleans and objects: all that stands in statements. */
function canonical(value: JSONValue): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${(value as readonly JSONValue[]).map(canonical).join(',')}]`
  const members = Object.entries(value).filter(([, one]) => (one as unknown) !== undefined)
  return `{${members
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, one]) => `${JSON.stringify(name)}:${canonical(one)}`)
    .join(',')}}`
}
