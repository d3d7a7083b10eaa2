/** REST: signers, and what they sign. @module */
import { type Static, Type } from 'typebox'
import type { Access } from '#access/access.ts'
import { checkAllowed, roles } from '#access/rights.ts'
import { encodeProof } from '#audit/proof-file.ts'
import { proveEntry } from '#audit/prove.ts'
import { certificateSignatureOf, signatureAlgorithms } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { decode } from '#asn1/codec.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import type { Requester } from '#signing/context.ts'
import type { SignatureRequest } from '#signing/format.ts'
import { SIGNATURE_ACT, type Signing } from '#signing/service.ts'
import { TIME_STAMP_ACT } from '#signing/tsp/authority.ts'
import { parts } from '#signing/message-signing.ts'
import { type LoneKey, PRIORITIES, type SignerApproval, type SignerKey, type SignerRecord } from '#signing/signer.ts'
import type { NewLoneKey, NewSigner, NewSignerKey, SignerUses } from '#signing/signers.ts'
import { TIME_STAMP_REQUEST_MAX_OCTETS } from '#cms/timestamp.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { parseDistinguishedName } from '#x509/name.ts'
import type { CAServices } from '../compose.ts'
import { approvalShape, ApprovalShape } from './approvals.ts'
import { belongsToInstallation, KeyLabel } from './keys.ts'
import { orRecord } from './refusals.ts'
import { type Call, record, route } from './route.ts'
import { Address, Base64, DistinguishedName, Empty, octetsOf, Time, Uuid } from './shapes.ts'

export const SignerName = Type.String({
  pattern: '^[a-z0-9][a-z0-9-]{0,62}$',
  description: '1 to 63 lower-case letters, digits and hyphens',
})
const SignatureAlgorithmName = Type.Enum(signatureAlgorithms.map(({ id }) => id))
const Role = Type.Enum([...roles])
export const FormatName = Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$', description: 'a signing format, such as plain' })
const OID = Type.String({ pattern: '^[0-2](\\.(0|[1-9][0-9]{0,38})){1,30}$', description: 'an object identifier' })
const Count = Type.Integer({ minimum: 1, maximum: 1_000_000_000_000 })

const PartyShape = record(
  {
    roles: Type.Optional(Type.Array(Role, { maxItems: roles.length })),
    people: Type.Optional(Type.Array(Uuid, { maxItems: 100, description: 'ids of people and services' })),
  },
  'whoever has one of the roles, and those who are named',
)

/** Of the server's own parts as well, which sign what devices obey. */
const UserRole = Type.Enum([...roles, ...parts])
const UsersShape = record(
  {
    roles: Type.Optional(Type.Array(UserRole, { maxItems: roles.length + parts.length })),
    people: PartyShape.properties.people,
  },
  'whoever has one of the roles, and those who are named; `server:…` is a part of the server, which no person can be',
)

const LoneKeyFields = {
  key: KeyLabel,
  issue: Type.Optional(
    record(
      {
        authority: Address,
        profile: Type.Optional(
          Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,63}$', description: 'code-signing unless told, or time-stamping' }),
        ),
        subject: DistinguishedName,
      },
      'have an authority of this installation issue the certificate of the key',
    ),
  ),
  certificates: Type.Optional(Type.Array(Base64, { maxItems: 10, description: "the key's own first, then those above it" })),
  signatureAlgorithm: Type.Optional(SignatureAlgorithmName),
}

const KeyFields = {
  ...LoneKeyFields,
  companion: Type.Optional(
    record(LoneKeyFields, 'a second key, post-quantum beside a classical one, that signs whatever the first one signs'),
  ),
}

const YEAR_SECONDS = 366 * 86_400
const Seconds = Type.Integer({ minimum: 1, maximum: YEAR_SECONDS })
/** More people than any plant finds for one signature. */
const LEAST_MAX = 20

const TermsFields = {
  formats: Type.Array(FormatName, { minItems: 1, maxItems: 50 }),
  sizeMaxOctets: Type.Optional(Count),
  usesMax: Type.Optional(Count),
  usesPerHourMax: Type.Optional(Count),
  notBefore: Type.Optional(Time),
  notAfter: Type.Optional(Time),
  archive: Type.Optional(
    Type.Union([Type.Literal('artifacts')], { description: 'what is signed is sent here and kept, beside its digest' }),
  ),
  timeStamping: Type.Optional(
    Type.String({
      pattern: '^(https?://.*|[a-z0-9][a-z0-9-]{0,62})$',
      maxLength: 500,
      description: 'URL of a time-stamping authority, or the name of a signer here that is one',
    }),
  ),
  timeStamps: Type.Optional(
    record(
      {
        policy: OID,
        accuracyMilliseconds: Type.Integer({ minimum: 1, maximum: 86_400_000, description: 'how far a time may be from UTC' }),
        ordering: Type.Boolean({ description: 'no two have the same time' }),
        isPublic: Type.Boolean({ description: 'anybody may ask, over plain HTTP; else only its users' }),
      },
      'for the format rfc3161: what a time-stamping authority states',
    ),
  ),
}

const NewSignerShape = record({
  name: SignerName,
  ...KeyFields,
  ...TermsFields,
  approval: Type.Optional(
    record(
      {
        least: Type.Integer({ minimum: 1, maximum: LEAST_MAX, description: 'how many people have to agree' }),
        approvers: Type.Optional(PartyShape),
        usesMax: Type.Optional(Count),
        validSeconds: Type.Optional(Seconds),
      },
      'signatures need the agreement of others: each by itself, or so many for so long',
    ),
  ),
  users: Type.Optional(UsersShape),
  priority: Type.Optional(Type.Enum([...PRIORITIES])),
})

const LoneKeyShape = record({
  label: KeyLabel,
  keyAlgorithm: Type.String(),
  signatureAlgorithm: SignatureAlgorithmName,
  publicKey: Base64,
  certificates: Type.Array(Base64),
})
const KeyShape = record({ ...LoneKeyShape.properties, companion: Type.Optional(LoneKeyShape) })

const SignerShape = record({
  id: Uuid,
  name: SignerName,
  version: Type.Integer({ description: 'grows with every change; a request may say for which it was made' }),
  state: Type.Enum(['enabled', 'disabled']),
  key: KeyShape,
  next: Type.Optional(record({ key: KeyShape, at: Type.Optional(Time), afterUses: Type.Optional(Count) })),
  users: record({ roles: Type.Array(Type.String()), people: Type.Array(Uuid) }),
  priority: Type.Enum([...PRIORITIES]),
  approval: Type.Optional(
    record({
      least: Type.Integer(),
      approvers: record({ roles: Type.Array(Type.String()), people: Type.Array(Uuid) }),
      usesMax: Count,
      validSeconds: Seconds,
    }),
  ),
  ...TermsFields,
  createdAt: Time,
})

const SignerWithUses = record({
  ...SignerShape.properties,
  uses: Type.Integer({ description: 'signatures in all' }),
})

/** A request is small whatever the artifact's size; EdDSA and post-quantum algorithms take the message itself. */
const MESSAGE_MAX_OCTETS = 131_072
const REQUESTS_MAX = 16
const DIGEST_MAX_OCTETS = 64

const digestOctets = {
  sha256: 32,
  sha384: 48,
  sha512: 64,
  'sha3-256': 32,
  'sha3-384': 48,
  'sha3-512': 64,
  'shake256-len': 64,
} as const
type DigestName = keyof typeof digestOctets
const digestIds = Object.keys(digestOctets) as DigestName[]

const Octets = Type.String({ ...Base64, maxLength: base64Length(MESSAGE_MAX_OCTETS) })
const Digest = Type.String({ ...Base64, maxLength: base64Length(DIGEST_MAX_OCTETS) })
const ATTRIBUTES_MAX = 16

/** Two keys at most: one of today and one of tomorrow. */
const KEY_LAST = 1
const Which = Type.Integer({
  minimum: 0,
  maximum: KEY_LAST,
  description: "which of the signer's keys; 0, the first, unless told",
})
const By = Type.Optional(Which)
const ByAll = Type.Optional(
  Type.Union([Type.Literal('all', { description: 'one message that all keys of the signer sign' }), Which]),
)

const RequestShape = Type.Union(
  [
    record({ type: Type.Literal('raw'), by: By, octets: Octets }),
    record({ type: Type.Literal('raw'), by: By, digestAlgorithm: Type.Enum(digestIds), digest: Digest }),
    record({
      type: Type.Literal('cms'),
      by: ByAll,
      form: Type.Enum(['cades', 'authenticode']),
      contentType: OID,
      attached: Octets,
      attributes: Type.Optional(
        Type.Array(record({ type: OID, values: Type.Array(Octets, { minItems: 1, maxItems: 8 }) }), { maxItems: ATTRIBUTES_MAX }),
      ),
    }),
    record({
      type: Type.Literal('cms'),
      by: ByAll,
      form: Type.Enum(['cades', 'authenticode']),
      contentType: OID,
      digests: Type.Array(record({ digestAlgorithm: Type.Enum(digestIds), digest: Digest }), { minItems: 1, maxItems: 4 }),
      attributes: Type.Optional(
        Type.Array(record({ type: OID, values: Type.Array(Octets, { minItems: 1, maxItems: 8 }) }), { maxItems: ATTRIBUTES_MAX }),
      ),
    }),
  ],
  { description: 'a message or its digest, to be signed as it is; or the content or its digests, for a CMS message' },
)

function base64Length(octets: number): number {
  return Math.ceil(octets / 3) * 4
}

const ByName = Type.Object({ name: SignerName })

export interface SignerServices {
  readonly signing: Signing
  readonly ca: CAServices
  readonly access: Access
  readonly organizationId: string
}

export function signerRoutes({ signing, ca, access, organizationId }: SignerServices) {
  const { signers } = signing
  const { context, authorities } = ca
  const { audit, db } = context
  const shown = async (name: string) => {
    const { record: found, uses } = await signers.find(name)
    return withUses(found, uses)
  }
  /** An authority's key signs certificates and lists; what it signed as something else could be taken for one. */
  const refuseOwn = (actor: string, name: string, { key, companion }: KeyBody): Promise<void> =>
    orRecord(audit, { actor, act: 'signer.create', object: `signer:${name}` }, () => {
      for (const label of [key, ...(companion === undefined ? [] : [companion.key])])
        if (belongsToInstallation(authorities, label)) throw new TrustError('forbidden', 'keyInUse', { facts: { label } })
    })

  /** Asks an authority of ours, as anybody would who may issue certificates. */
  const withIssued = async <B extends KeyBody>(body: B, call: Call, usual: string): Promise<B> => {
    const { companion } = body
    const issued = await withOneIssued(body, call, usual)
    return companion === undefined ? issued : { ...issued, companion: await withOneIssued(companion, call, usual) }
  }

  const withOneIssued = async <B extends LoneKeyBody>(body: B, { actor, principal }: Call, usual: string): Promise<B> => {
    const { issue, key: label } = body
    if (issue === undefined) return body
    if (body.certificates !== undefined) throw new TrustError('malformed', 'signerTwoCertificates')
    checkAllowed(principal, 'certificate.issue')
    const { authority, profile = usual } = issue
    const key = await context.keys.open(label)
    const request = await encodeCertificationRequest(
      { subject: parseDistinguishedName(issue.subject), publicKey: key.publicKey, extensions: [] },
      {
        signatureAlgorithm: certificateSignatureOf(key.keyAlgorithm),
        sign: (message) => key.sign(message, certificateSignatureOf(key.keyAlgorithm)),
      },
    )
    const { certificate, chain } = await issueForRequest(context, authorities, { authority, profile }, request, actor)
    const certificates = [certificate, ...chain.filter((der) => !isRoot(der))].map((der) => der.toBase64())
    return { ...body, certificates }
  }

  return [
    route({
      id: 'listSigners',
      method: 'GET',
      path: '/api/v1/signers',
      permission: 'signer.read',
      summary: 'Signers by name',
      response: record({ items: Type.Array(SignerShape) }),
      handle: async () => ({ items: (await signers.list()).map(shape) }),
    }),
    route({
      id: 'showSigner',
      method: 'GET',
      path: '/api/v1/signers/{name}',
      permission: 'signer.read',
      summary: 'One signer, and how often it was used',
      params: ByName,
      response: SignerWithUses,
      handle: async (_, { params: { name } }) => shown(name),
    }),
    route({
      id: 'createSigner',
      method: 'POST',
      path: '/api/v1/signers',
      permission: 'signer.manage',
      summary: 'Make a signer: which key signs what, for whom, how often and how long',
      body: NewSignerShape,
      response: SignerShape,
      status: 201,
      async handle(call, { body }) {
        const { actor } = call
        await refuseOwn(actor, body.name, body)
        return shape(await signers.create(newSigner(await withIssued(body, call, usualProfile(body))), actor))
      },
    }),
    route({
      id: 'enableSigner',
      method: 'POST',
      path: '/api/v1/signers/{name}/enable',
      permission: 'signer.manage',
      summary: 'Let a signer sign again',
      params: ByName,
      body: Empty,
      response: SignerShape,
      handle: async ({ actor }, { params: { name } }) => shape(await signers.setState(name, 'enabled', actor)),
    }),
    route({
      id: 'disableSigner',
      method: 'POST',
      path: '/api/v1/signers/{name}/disable',
      permission: 'signer.manage',
      summary: 'Let a signer sign nothing until it is enabled',
      params: ByName,
      body: Empty,
      response: SignerShape,
      handle: async ({ actor }, { params: { name } }) => shape(await signers.setState(name, 'disabled', actor)),
    }),
    route({
      id: 'planSignerKey',
      method: 'PUT',
      path: '/api/v1/signers/{name}/next-key',
      permission: 'signer.manage',
      summary: 'Say which key takes over, at a time, after a number of signatures in all, or at whichever comes first',
      params: ByName,
      body: record({ ...KeyFields, at: Type.Optional(Time), afterUses: Type.Optional(Count) }),
      response: SignerShape,
      async handle(call, { params: { name }, body: { at, afterUses, ...fields } }) {
        const { actor } = call
        await refuseOwn(actor, name, fields)
        if (at === undefined && afterUses === undefined) throw new TrustError('malformed', 'signerNextWhen')
        const when = { ...(at !== undefined && { at: Date.parse(at) }), ...(afterUses !== undefined && { afterUses }) }
        const { record: signer } = await signers.find(name)
        const key = newKey(await withIssued(fields, call, usualProfile(signer)))
        return shape(await signers.planNext(name, { ...key, ...when }, actor))
      },
    }),
    route({
      id: 'sign',
      method: 'POST',
      path: '/api/v1/signers/{name}/sign',
      permission: 'signer.use',
      summary: 'Sign what a client hashed; the artifact itself stays where it is',
      params: ByName,
      body: record({
        format: FormatName,
        requests: Type.Array(RequestShape, { minItems: 1, maxItems: REQUESTS_MAX }),
        signerVersion: Type.Optional(Type.Integer({ minimum: 1 })),
        artifactOctets: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
      }),
      response: Type.Union([
        record({
          state: Type.Literal('signed'),
          answers: Type.Array(Base64, { description: 'to the requests, in their order: a signature, or a CMS message' }),
          signatureAlgorithm: SignatureAlgorithmName,
          companionAlgorithm: Type.Optional(SignatureAlgorithmName),
          signerVersion: Type.Integer(),
          entry: Type.Union([Uuid], { description: 'the audit entry: its place in the log can be proven' }),
        }),
        record({ state: Type.Literal('waiting'), approval: ApprovalShape }),
      ]),
      isPending: ({ state }) => state === 'waiting',
      async handle(call, { params: { name }, body: { requests, ...rest } }) {
        const made = await signing.sign(name, { ...rest, requests: requests.map(parseRequest) }, requesterOf(call))
        if (made.state === 'waiting') return { state: 'waiting' as const, approval: await approvalShape(made.approval, access) }
        return { ...made, answers: made.answers.map((octets) => octets.toBase64()) }
      },
    }),
    route({
      id: 'timeStamp',
      method: 'POST',
      path: '/api/v1/signers/{name}/time-stamp',
      permission: 'signer.use',
      summary: 'Have a time-stamping authority answer a request (RFC 3161), in the name of who asks',
      params: ByName,
      body: record({ request: Type.String({ ...Base64, maxLength: base64Length(TIME_STAMP_REQUEST_MAX_OCTETS) }) }),
      response: record({
        response: Type.Union([Base64], { description: 'DER TimeStampResp' }),
        token: Type.Union([Base64], { description: 'DER TimeStampToken: what is in it' }),
        time: Time,
        entry: Type.Union([Uuid], { description: 'the audit entry: its place in the log can be proven' }),
      }),
      async handle(call, { params: { name }, body: { request } }) {
        const { response, token, genTime, entry } = await signing.timeStamps.answer(name, octetsOf(request), requesterOf(call))
        return { response: response.toBase64(), token: token.toBase64(), time: timeOf(genTime.getTime()), entry }
      },
    }),
    route({
      id: 'requestSignerUses',
      method: 'POST',
      path: '/api/v1/signers/{name}/approvals',
      permission: 'signer.use',
      summary: 'Ask people to agree to so many signatures, for so long, of artifacts that are not known yet',
      params: ByName,
      body: record({
        uses: Count,
        validSeconds: Seconds,
        reason: Type.Optional(Type.String({ maxLength: 500 })),
      }),
      response: ApprovalShape,
      status: 201,
      async handle(call, { params: { name }, body: { uses, validSeconds: seconds, reason } }) {
        const wanted = { uses, seconds, ...(reason !== undefined && { reason }) }
        return approvalShape(await signing.askForUses(name, wanted, requesterOf(call)), access)
      },
    }),
    route({
      id: 'proveSignature',
      method: 'GET',
      path: '/api/v1/signatures/{id}/proof',
      permission: 'signer.use',
      summary: 'Proof that a signature is in the audit log, which verifies without a server',
      params: Type.Object({ id: Uuid }),
      response: record({ proof: Type.String({ description: 'the file: entry, path and checkpoint (C2SP tlog-proof)' }) }),
      async handle(_, { params: { id } }) {
        const proof = await proveEntry(db, { organizationId, id, cosigned: false })
        const { act } = JSON.parse(proof.entry) as { readonly act: string }
        if (act !== SIGNATURE_ACT && act !== TIME_STAMP_ACT) throw new TrustError('notFound', 'unknownAuditEntry') // the rest of the log is for auditors
        return { proof: encodeProof(proof) }
      },
    }),
  ] as const
}

export function requesterOf({ actor, principal }: Call): Requester {
  if (principal === undefined) throw new TrustError('unauthenticated', 'signInNeeded')
  return { actor, id: principal.id, kind: principal.kind, roles: principal.roles }
}

function parseRequest(request: Static<typeof RequestShape>): SignatureRequest {
  if (request.type === 'raw') {
    const which = { type: 'raw' as const, ...(request.by !== undefined && { by: request.by }) }
    if ('octets' in request) return { ...which, message: { octets: octetsOf(request.octets) } }
    return { ...which, message: { digestAlgorithm: request.digestAlgorithm, digest: digestOf(request) } }
  }
  const { form, contentType, attributes = [], by } = request
  const content =
    'attached' in request
      ? { attached: octetsOf(request.attached) }
      : { detached: new Map(request.digests.map((each) => [each.digestAlgorithm, digestOf(each)])) }
  return {
    type: 'cms',
    ...(by !== undefined && { by }),
    form,
    contentType,
    content,
    attributes: attributes.map(({ type, values }) => ({
      attrType: type,
      attrValues: values.map((value) => decode(ANY, octetsOf(value))),
    })),
  }
}

function digestOf({ digestAlgorithm, digest }: { readonly digestAlgorithm: DigestName; readonly digest: string }): Uint8Array {
  const octets = octetsOf(digest)
  const expected = digestOctets[digestAlgorithm]
  if (octets.length === expected) return octets
  throw new TrustError('malformed', 'digestLength', { facts: { signature: digestAlgorithm, expected, octets: octets.length } })
}

/** Whoever verifies has it, or does not trust it. */
const isRoot = (der: Uint8Array): boolean => {
  const { issuer, subject } = parseCertificate(der)
  return equal(issuer, subject)
}

const usualProfile = ({ timeStamps }: { readonly timeStamps?: unknown }): string =>
  timeStamps === undefined ? 'code-signing' : 'time-stamping'

interface LoneKeyBody {
  readonly key: string
  readonly issue?: { readonly authority: string; readonly profile?: string; readonly subject: string }
  readonly certificates?: readonly string[]
  readonly signatureAlgorithm?: string
}

interface KeyBody extends LoneKeyBody {
  readonly companion?: LoneKeyBody
}

const newKey = ({ companion, ...key }: KeyBody): NewSignerKey => ({
  ...newLoneKey(key),
  ...(companion !== undefined && { companion: newLoneKey(companion) }),
})

const newLoneKey = ({ key, certificates = [], signatureAlgorithm }: LoneKeyBody): NewLoneKey => ({
  label: key,
  chain: certificates.map(octetsOf),
  ...(signatureAlgorithm !== undefined && { signatureAlgorithm }),
})

/** Who signs releases and the services that build them, unless told otherwise. */
const USERS = { roles: ['release-engineer', 'service'], people: [] }

type NewSignerBody = Static<typeof NewSignerShape>

/** Each signature by itself, and for as long as a working day. */
const APPROVAL = { usesMax: 1, validSeconds: 8 * 3600, approvers: { roles: ['approver'], people: [] } }

function newApproval({ least, approvers, usesMax, validSeconds }: NonNullable<NewSignerBody['approval']>): SignerApproval {
  return {
    least,
    approvers: approvers === undefined ? APPROVAL.approvers : { roles: approvers.roles ?? [], people: approvers.people ?? [] },
    usesMax: usesMax ?? APPROVAL.usesMax,
    validSeconds: validSeconds ?? APPROVAL.validSeconds,
  }
}

function newSigner({
  name,
  key,
  issue: _issue,
  certificates,
  signatureAlgorithm,
  companion,
  users,
  priority,
  approval,
  notBefore,
  notAfter,
  ...terms
}: NewSignerBody): NewSigner {
  return {
    ...terms,
    name,
    key: newKey({
      key,
      ...(certificates !== undefined && { certificates }),
      ...(signatureAlgorithm !== undefined && { signatureAlgorithm }),
      ...(companion !== undefined && { companion }),
    }),
    users: users === undefined ? USERS : { roles: users.roles ?? [], people: users.people ?? [] },
    priority: priority ?? 'normal',
    ...(approval !== undefined && { approval: newApproval(approval) }),
    ...(notBefore !== undefined && { notBefore: Date.parse(notBefore) }),
    ...(notAfter !== undefined && { notAfter: Date.parse(notAfter) }),
  }
}

const keyShape = ({ companion, ...key }: SignerKey) => ({
  ...loneKeyShape(key),
  ...(companion !== undefined && { companion: loneKeyShape(companion) }),
})

const loneKeyShape = ({ label, keyAlgorithm, signatureAlgorithm, publicKey, chain }: LoneKey) => ({
  label,
  keyAlgorithm,
  signatureAlgorithm,
  publicKey: publicKey.toBase64(),
  certificates: chain.map((der) => der.toBase64()),
})

const timeOf = (at: number): string => new Date(at).toISOString()

function shape({ key, next, users, approval, formats, notBefore, notAfter, createdAt, ...rest }: SignerRecord) {
  return {
    ...rest,
    formats: [...formats],
    key: keyShape(key),
    users: { roles: [...users.roles], people: [...users.people] },
    createdAt: timeOf(createdAt),
    ...(approval !== undefined && {
      approval: { ...approval, approvers: { roles: [...approval.approvers.roles], people: [...approval.approvers.people] } },
    }),
    ...(notBefore !== undefined && { notBefore: timeOf(notBefore) }),
    ...(notAfter !== undefined && { notAfter: timeOf(notAfter) }),
    ...(next !== undefined && {
      next: {
        key: keyShape(next),
        ...(next.at !== undefined && { at: timeOf(next.at) }),
        ...(next.afterUses !== undefined && { afterUses: next.afterUses }),
      },
    }),
  }
}

const withUses = (found: SignerRecord, { uses }: SignerUses) => ({ ...shape(found), uses })
