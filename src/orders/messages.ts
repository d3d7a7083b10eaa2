/**
 * What a maker and an issuing node say to each other, signed or chained: the job ticket, the entries of the node's log,
 * bundles of them, and the certificate that ends a job. Pure: nothing here reads a clock or a disk.
 *
 * Signed statements are compact JSON Web Signatures whose key is known beforehand, never taken from the message. The log is
 * one line of JSON for each entry; each names the hash of the line before it.
 *
 * Source: RFC 7515; the rule of counting is `docs/decisions/0009-counting-offline.md`.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { type Static, type TObject, type TProperties, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { fromMessageSignature, toMessageSignature } from '#algorithms/ecdsa.ts'
import { messageNames, namedSignature } from '#algorithms/message-names.ts'
import { type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { parseJSONObject } from '#jose/json.ts'
import { checkCritical, encodeHeader, encodeJWS, encodeSigningInputHead, parseJWS, payloadOf } from '#jose/jws.ts'

/** What a node's machine was shown to have; decision 0009 says what each prevents. */
export const tiers = ['N0', 'N1', 'N2', 'NV'] as const
export type Tier = (typeof tiers)[number]

/** Births of one job: a node keeps an index of them in memory. */
export const QUOTA_MAX = 2_000_000
/** What one log may hold: for each position a birth, two verdicts, a lease and two images, and the refusals that are kept. */
export const ENTRIES_MAX = 7 * QUOTA_MAX
/** Of one bundle, so that whoever imports it holds it in memory; a longer log is several bundles. */
export const BUNDLE_ENTRIES_MAX = 20_000
export const BUNDLE_MAX_OCTETS = 256 << 20
/** A ticket with a chain of ML-DSA certificates takes some 40 KiB. */
export const STATEMENT_MAX_OCTETS = 256 << 10
/** A birth certificate signed with ML-DSA-87 takes 11 KiB as base64. */
const LINE_MAX_OCTETS = 32 << 10

const record = <const Fields extends TProperties>(fields: Fields): TObject<Fields> =>
  Type.Object(fields, { additionalProperties: false })
const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Time = Type.Integer({ minimum: 0, maximum: Date.UTC(9999, 11, 31), description: 'milliseconds since 1970, UTC' })
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' })
/** No control characters, no leading or trailing space, and nothing that reads from right to left. */
const Text = Type.String({
  minLength: 1,
  maxLength: 128,
  pattern: '^[!-~\\u00a1-\\u024f]([ -~\\u00a0-\\u024f]*[!-~\\u00a1-\\u024f])?$',
})
const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })
const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength: 24 << 10 })
/** PrintableString, which X.520 wants of a serialNumber, without the space. */
const ProductSerial = Type.String({ pattern: "^[A-Za-z0-9'()+,./:=?-]{1,64}$" })
const Version = Type.Literal(1)
const Tier = Type.Enum([...tiers])

/** Serial numbers are the prefix and a number of so many digits. */
export const SerialBlock = record({
  prefix: Type.String({ pattern: "^[A-Za-z0-9'()+,./:=?-]{0,40}$" }),
  digits: Type.Integer({ minimum: 1, maximum: 15 }),
  from: Count,
  to: Count,
})
export type SerialBlock = Static<typeof SerialBlock>

/** Whose TPM answered the challenge of its endorsement key: SHA-256 of that key's SubjectPublicKeyInfo, and of its certificate. */
const EndorsedBy = record({ key: Hash, certificate: Hash })

/** A counter by its TPM Name in hexadecimal, or `file` where there is no TPM; its value when the node asked for the ticket. */
const CounterStart = record({ name: Type.String({ pattern: '^(file|[0-9a-f]{68})$' }), value: Count })

/** What an order says, and each of its tickets says again: what is refused in one is refused in the other. */
export const orderedFields = {
  model: Text,
  hardwareRevision: Text,
  firmware: Type.Array(Hash, { maxItems: 64, uniqueItems: true, description: 'SHA-256 of what the devices are loaded with' }),
  /** Where there are any, the node hands images out, and no device is born that got none of the ticket's. */
  firmwareSigners: Type.Optional(
    Type.Array(Base64, {
      minItems: 1,
      maxItems: 8,
      description: 'certificates (DER, base64) of those whose signatures on images count: the node then hands images out',
    }),
  ),
  factory: Text,
  tier: Tier,
  scrapAllowance: Type.Integer({
    minimum: 0,
    maximum: QUOTA_MAX,
    description: 'how many more may be issued, for what was scrapped or burned',
  }),
  serials: SerialBlock,
  hardwareType: Type.String({ pattern: '^[0-2](\\.\\d{1,12}){1,24}$', description: 'object identifier of hardwareModuleName' }),
  subject: Type.Array(record({ type: Type.Enum(['C', 'O', 'OU']), value: Type.String({ minLength: 1, maxLength: 64 }) }), {
    minItems: 1,
    maxItems: 3,
    description: 'what the name of each device begins with: the name constraint of the node',
  }),
  blockSize: Type.Integer({ minimum: 1, maximum: 4096 }),
  notBefore: Time,
  notAfter: Time,
} as const

const JobTicket = record({
  ...orderedFields,
  version: Version,
  /** The job; a node serves one. */
  id: Uuid,
  order: Text,
  /** Certificate of the key to which images for this node are encrypted, issued by the node's key. */
  envelope: Type.Optional(Base64),
  /** SHA-256 of the SubjectPublicKeyInfo of the node's key, which signs births and the log. */
  nodeKey: Hash,
  /** The TPM that the job is bound to, from tier N1 on. */
  endorsement: Type.Optional(EndorsedBy),
  counters: record({ starts: CounterStart, blocks: CounterStart }),
  /** SHA-256 of the certificates that stations show. */
  stations: Type.Array(Hash, { minItems: 1, maxItems: 256, uniqueItems: true }),
  /** Births that may be good at once. */
  quota: Type.Integer({ minimum: 1, maximum: QUOTA_MAX }),
  profile: Type.String({ pattern: '^[a-z][a-z0-9-]{1,40}$' }),
  /** The node's own certificate as an authority, then those above it to the root. */
  authority: Type.Array(Base64, { minItems: 1, maxItems: 8 }),
})
export type JobTicket = Static<typeof JobTicket>

/** What the node asks for, signed with its new key. */
const TicketRequest = record({
  version: Version,
  /** Of the order's sheet: an answer to it, and no older one. */
  nonce: Hash,
  order: Text,
  /** PKCS #10 of the node's key. */
  request: Base64,
  counters: record({ starts: CounterStart, blocks: CounterStart }),
  /** Certificate of the key to which images for this node are encrypted, issued by the node's key; nodes of earlier versions have none. */
  envelope: Type.Optional(Base64),
  /** What a TPM says of the keys and the counters. */
  attestation: Type.Optional(
    record({
      /** TPMT_PUBLIC of the attestation key and of the node's key, TPMS_NV_PUBLIC of the counters. */
      attestationKey: Base64,
      nodeKey: Base64,
      starts: Base64,
      blocks: Base64,
      /** TPMS_ATTEST and TPMT_SIGNATURE of each. */
      certified: Type.Array(record({ attest: Base64, signature: Base64 }), { minItems: 3, maxItems: 4 }),
      /** TPMT_PUBLIC of the key for images, which the fourth statement is about. */
      envelopeKey: Type.Optional(Base64),
      /** TPMT_PUBLIC of the endorsement key and its certificate, where the TPM has one. */
      endorsement: Type.Optional(record({ key: Base64, certificate: Base64 })),
    }),
  ),
})
export type TicketRequest = Static<typeof TicketRequest>

/** The maker's question whether attestation key and endorsement key are in one TPM; signed with the order's ticket key. */
const EndorsementChallenge = record({
  version: Version,
  id: Uuid,
  order: Text,
  /** SHA-256 of the statement `ticket-request` that it is about. */
  request: Hash,
  /** TPMS_ID_OBJECT, and the content of TPM2B_ENCRYPTED_SECRET. */
  credentialBlob: Base64,
  secret: Base64,
  expiresAt: Time,
})
export type EndorsementChallenge = Static<typeof EndorsementChallenge>

/** What only that TPM could read; signed with the node's key. */
const EndorsementAnswer = record({ version: Version, challenge: Uuid, request: Hash, credential: Base64 })

/** What the maker gives a factory before there is a ticket: what is wanted, and by which key the ticket will be signed. */
const OrderSheet = record({
  version: Version,
  order: Text,
  model: Text,
  factory: Text,
  tier: Tier,
  nonce: Hash,
  /** DER SubjectPublicKeyInfo. */
  ticketKey: Base64,
})
export type OrderSheet = Static<typeof OrderSheet>

/** How far a log goes, signed by its node. */
const LogHead = record({ version: Version, job: Uuid, size: Count, head: Hash, at: Time })
export type LogHead = Static<typeof LogHead>

const JobEnd = record({
  version: Version,
  job: Uuid,
  /** Entries in the log, and the hash of the last. */
  size: Count,
  head: Hash,
  issued: Count,
  good: Count,
  scrap: Count,
  /** Positions that were leased and used by nobody. */
  burned: Count,
  /** As in the ticket; nodes of earlier versions do not say it. */
  tier: Type.Optional(Tier),
  at: Time,
})
export type JobEnd = Static<typeof JobEnd>

const statements = {
  ticket: JobTicket,
  'ticket-request': TicketRequest,
  'endorsement-challenge': EndorsementChallenge,
  'endorsement-answer': EndorsementAnswer,
  'order-sheet': OrderSheet,
  'log-head': LogHead,
  'job-end': JobEnd,
} as const
type StatementKind = keyof typeof statements
type StatementOf<K extends StatementKind> = Static<(typeof statements)[K]>

const compiled = Object.fromEntries(Object.entries(statements).map(([kind, schema]) => [kind, Compile(schema)]))

/** What signs: the shape of any key store's signer. */
export interface StatementSigner {
  readonly keyAlgorithm: KeyAlgorithmId
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
}

const mediaTypeOf = (kind: StatementKind): string => `sealworks-${kind}+jws`

/** @returns a compact JSON Web Signature */
export async function signStatement<K extends StatementKind>(
  kind: K,
  value: StatementOf<K>,
  signer: StatementSigner,
): Promise<string> {
  const algorithm = certificateSignatureOf(signer.keyAlgorithm)
  const encodedHeader = encodeHeader({
    alg: messageNames(algorithm, signer.keyAlgorithm).jose.usual,
    typ: mediaTypeOf(kind),
  })
  const encodedPayload = toBase64url(utf8(JSON.stringify(value)))
  const message = utf8(new TextDecoder().decode(encodeSigningInputHead(encodedHeader)) + encodedPayload)
  const signature = toMessageSignature(await signer.sign(message, algorithm), signer.keyAlgorithm)
  return new TextDecoder().decode(
    encodeJWS({ serialization: 'compact', encodedPayload, signatures: [{ encodedHeader, signature }] }),
  )
}

/**
 * @param publicKey by which the statement must be signed; what its header says of keys is not looked at
 * @throws TrustError `malformed`, `tooLarge`, `unsupported`; `badProof` when another key signed it
 */
export async function openStatement<K extends StatementKind>(
  kind: K,
  text: string,
  publicKey: PublicKey,
): Promise<StatementOf<K>> {
  const { value, signature, message, algorithmName } = readStatement(kind, text)
  const algorithm = namedSignature(algorithmName, publicKey.algorithm)
  const octets = fromMessageSignature(signature, publicKey.algorithm)
  if (!(await verifySignature({ algorithm, octets }, publicKey, message)))
    throw new TrustError('badProof', 'statementSignature', { facts: { kind } })
  return value
}

/** What a statement says, before it is known who signed it: to find out by which key it should be. */
export const peekStatement = <K extends StatementKind>(kind: K, text: string): StatementOf<K> => readStatement(kind, text).value

function readStatement<K extends StatementKind>(kind: K, text: string) {
  const message = parseJWS(utf8(text), STATEMENT_MAX_OCTETS)
  const [signature, ...more] = message.signatures
  const { encodedPayload } = message
  if (signature === undefined || more.length > 0 || encodedPayload === undefined || message.serialization !== 'compact')
    throw statementMalformed(kind, 'it is not of the compact form')
  checkCritical(signature, [])
  if (!message.isEncoded) throw statementMalformed(kind, 'its payload is not encoded')
  if (signature.protectedHeader['typ'] !== mediaTypeOf(kind))
    throw statementMalformed(kind, `its typ is not ${mediaTypeOf(kind)}`)
  return {
    value: checkShape(kind, parseJSONObject(payloadOf(message, encodedPayload), STATEMENT_MAX_OCTETS)),
    signature: signature.signature,
    message: utf8(`${signature.encodedHeader}.${encodedPayload}`),
    algorithmName: signature.algorithm,
  }
}

const statementMalformed = (kind: StatementKind, detail: string): TrustError =>
  new TrustError('malformed', 'statementMalformed', { facts: { kind, detail } })

function checkShape<K extends StatementKind>(kind: K, value: unknown): StatementOf<K> {
  const schema = compiled[kind]
  if (schema === undefined || !schema.Check(value)) {
    const [error] = schema?.Errors(value) ?? []
    throw statementMalformed(kind, `${error?.instancePath ?? ''} ${error?.message ?? ''}`.trim())
  }
  const found = value as StatementOf<K>
  if (kind === 'ticket') checkTicket(found as JobTicket)
  return found
}

function checkTicket({ serials, quota, scrapAllowance, notBefore, notAfter }: JobTicket): void {
  const { from, to, digits, prefix } = serials
  const fits =
    from <= to && String(to).length <= digits && to - from + 1 >= quota + scrapAllowance && prefix.length + digits <= 64
  if (!fits) throw statementMalformed('ticket', 'its serial block does not hold quota and scrap allowance')
  if (notBefore >= notAfter) throw statementMalformed('ticket', 'it ends before it begins')
}

export const isInBlock = ({ prefix, digits, from, to }: SerialBlock, productSerial: string): boolean => {
  const number = productSerial.slice(prefix.length)
  if (!productSerial.startsWith(prefix) || number.length !== digits || !/^\d+$/.test(number)) return false
  return Number(number) >= from && Number(number) <= to
}

// --- the log ---

const head = { n: Count, previous: Hash, at: Time }
const Issue = record({
  ...head,
  type: Type.Literal('issue'),
  position: Count,
  productSerial: ProductSerial,
  /** SHA-256 of the SubjectPublicKeyInfo. */
  key: Hash,
  /** DER, as base64. */
  certificate: Base64,
  /** SHA-256 of what the birth rests on: the request as it came. */
  evidence: Hash,
  /** SHA-256 of the image that the device got before, where the node hands images out. */
  firmware: Type.Optional(Hash),
  /** SHA-256 of its certificate. */
  station: Hash,
  operator: Type.Optional(Text),
})
const Judged = { ...head, productSerial: ProductSerial, station: Hash, operator: Type.Optional(Text) }
const entrySchemas = {
  begin: record({ ...head, type: Type.Literal('begin'), job: Uuid, /** SHA-256 of the ticket. */ ticket: Hash }),
  start: record({ ...head, type: Type.Literal('start'), start: Count }),
  lease: record({ ...head, type: Type.Literal('lease'), block: Count }),
  stop: record({ ...head, type: Type.Literal('stop'), next: Count }),
  /** An image is about to be handed out for this device. */
  load: record({ ...Judged, type: Type.Literal('load'), firmware: Hash }),
  issue: Issue,
  /** It passed the test at the end of the line. */
  good: record({ ...Judged, type: Type.Literal('good') }),
  scrap: record({ ...Judged, type: Type.Literal('scrap'), reason: Text, wasGood: Type.Boolean() }),
  refused: record({
    ...head,
    type: Type.Literal('refused'),
    reason: Type.String({ pattern: '^[A-Za-z]{1,60}$' }),
    productSerial: Type.Optional(ProductSerial),
    key: Type.Optional(Hash),
    station: Type.Optional(Hash),
  }),
  close: record({ ...head, type: Type.Literal('close'), issued: Count, good: Count, scrap: Count, burned: Count }),
} as const
export type EntryType = keyof typeof entrySchemas
export type EntryOf<T extends EntryType> = Static<(typeof entrySchemas)[T]>
export type LogEntry = { readonly [T in EntryType]: EntryOf<T> }[EntryType]
/** An entry before it has its place. */
export type NewEntry = { readonly [T in EntryType]: Omit<EntryOf<T>, 'n' | 'previous' | 'at'> }[EntryType]

const compiledEntries = new Map(Object.entries(entrySchemas).map(([type, schema]) => [type, Compile(schema)]))

/** What the first entry names as before it. */
export const NOTHING_BEFORE = '0'.repeat(64)

/** Without its line break. */
export const encodeEntry = (entry: LogEntry): string => JSON.stringify(entry)

export const hashLine = (line: string): string => hash('sha256', line)

/**
 * One line, in the one form that it can have: written again it is the same, so that it holds nothing twice and nothing hidden.
 *
 * @throws TrustError `malformed`
 */
export function parseEntry(line: string): LogEntry {
  if (line.length > LINE_MAX_OCTETS) throw entryMalformed('it is too long')
  const value = jsonOf(line)
  if (typeof value !== 'object' || value === null || JSON.stringify(value) !== line)
    throw entryMalformed('it is not in its one form')
  const schema = 'type' in value && typeof value.type === 'string' ? compiledEntries.get(value.type) : undefined
  if (schema === undefined) throw entryMalformed('its type is not known')
  if (!schema.Check(value)) throw entryMalformed(`${schema.Errors(value)[0]?.instancePath ?? ''} is not as it must be`)
  return value as LogEntry
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw entryMalformed('it is not JSON')
  }
}

const entryMalformed = (detail: string): TrustError => new TrustError('malformed', 'logEntryMalformed', { facts: { detail } })

/** How far a chain goes. */
export interface ChainEnd {
  readonly size: number
  readonly head: string
}
export const emptyChain: ChainEnd = { size: 0, head: NOTHING_BEFORE }

/** @throws TrustError `malformed` for a line that is none; `badProof` (`logBroken`) for one that does not follow */
export function follow({ size, head: before }: ChainEnd, line: string): { readonly entry: LogEntry; readonly end: ChainEnd } {
  const entry = parseEntry(line)
  if (entry.n !== size || entry.previous !== before) throw new TrustError('badProof', 'logBroken', { facts: { entry: size } })
  return { entry, end: { size: size + 1, head: hashLine(line) } }
}

// --- bundles ---

const BundleHead = record({
  head: Type.String({ maxLength: STATEMENT_MAX_OCTETS }),
  /** The number of the first entry that follows. */
  from: Count,
  end: Type.Optional(Type.String({ maxLength: STATEMENT_MAX_OCTETS })),
})
const compiledBundleHead = Compile(BundleHead)

/** A piece of a log for the maker: its signed head, the entries before it, and the job's end when it has ended. */
export interface Bundle {
  /** A statement `log-head`. */
  readonly head: string
  readonly from: number
  /** A statement `job-end`. */
  readonly end: string | undefined
  readonly lines: readonly string[]
}

export const encodeBundle = ({ head: signed, from, end, lines }: Bundle): string =>
  [JSON.stringify({ head: signed, from, ...(end !== undefined && { end }) }), ...lines, ''].join('\n')

/** Says nothing yet of signatures and hashes. @throws TrustError `malformed`, `tooLarge` */
export function parseBundle(octets: Uint8Array): Bundle {
  if (octets.length > BUNDLE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'bundleTooLarge', { facts: { limit: BUNDLE_MAX_OCTETS } })
  // no more pieces than there may be: a bundle of line breaks alone would be as many strings
  const [first = '', ...lines] = textOf(octets).split('\n', BUNDLE_ENTRIES_MAX + 3)
  if (lines.length > BUNDLE_ENTRIES_MAX + 1)
    throw new TrustError('tooLarge', 'bundleTooLarge', { facts: { limit: BUNDLE_ENTRIES_MAX } })
  if (lines.pop() !== '') throw bundleMalformed('its last line does not end')
  const value = parseJSONObject(utf8(first), 2 * STATEMENT_MAX_OCTETS)
  if (!compiledBundleHead.Check(value)) throw bundleMalformed('its first line is none')
  const { head: signed, from, end } = value
  return { head: signed, from, end, lines }
}

function textOf(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets)
  } catch {
    throw bundleMalformed('it is not UTF-8')
  }
}

const bundleMalformed = (detail: string): TrustError => new TrustError('malformed', 'bundleMalformed', { facts: { detail } })

// --- certificates ---

const POSITION_MARK = 0x50
const POSITION_OCTETS = 5

/** A birth carries its position in its certificate's serialNumber; the rest is chance, as nobody may guess a serial number. */
export function serialNumberAt(position: number, random: Uint8Array): Uint8Array {
  const serialNumber = new Uint8Array(1 + POSITION_OCTETS + random.length)
  serialNumber[0] = POSITION_MARK
  for (let i = POSITION_OCTETS, rest = position; i > 0; i--, rest = Math.floor(rest / 256)) serialNumber[i] = rest & 0xff
  serialNumber.set(random, 1 + POSITION_OCTETS)
  return serialNumber
}

export const POSITION_RANDOM_OCTETS = 10

/** @returns undefined for a serialNumber that no node made */
export function positionOf(serialNumber: Uint8Array): number | undefined {
  if (serialNumber.length !== 1 + POSITION_OCTETS + POSITION_RANDOM_OCTETS || serialNumber[0] !== POSITION_MARK) return undefined
  return serialNumber.subarray(1, 1 + POSITION_OCTETS).reduce((sum, octet) => sum * 256 + octet, 0)
}
