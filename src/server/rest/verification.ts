/** REST: whether a certificate is good, by the authorities and the records of this installation. @module */
import { type Static, Type } from 'typebox'
import { verifyHere } from '#ca/verification.ts'
import { describeVerdict } from '#x509/path/describe.ts'
import { parsePeerName } from '#x509/path/peer-name.ts'
import { purposeNames } from '#x509/path/purpose-names.ts'
import type { CAServices } from '../compose.ts'
import { record, route } from './route.ts'
import { Base64, octetsOf, Time } from './shapes.ts'

/** A chain, a mesh of a few plants; more is looked at by the command line alone. */
const CERTIFICATES_MAX = 64
const EVIDENCE_MAX = 64

const Given = record({
  certificates: Type.Array(Base64, {
    minItems: 1,
    maxItems: CERTIFICATES_MAX,
    description: 'DER: the certificate in question, then others that may stand above it, in any order',
  }),
  purpose: Type.Optional(Type.Enum([...purposeNames])),
  name: Type.Optional(Type.String({ maxLength: 260, description: 'whom it must name: dns:HOST, ip:ADDRESS or email:MAILBOX' })),
  at: Type.Optional(Type.String({ format: 'date-time', description: 'as of then instead of now' })),
  policies: Type.Optional(
    Type.Array(Type.String({ pattern: '^[0-2](\\.\\d+)+$', maxLength: 128 }), {
      minItems: 1,
      maxItems: 32,
      description: 'object identifiers; one of them must hold all the way',
    }),
  ),
  requirePolicy: Type.Optional(Type.Boolean({ description: 'one policy must hold all the way; policies imply it' })),
  inhibitPolicyMapping: Type.Optional(Type.Boolean()),
  inhibitAnyPolicy: Type.Optional(Type.Boolean()),
  lenient: Type.Optional(Type.Boolean({ description: 'accept what breaks only the rules for those who issue' })),
  requireRevocation: Type.Optional(
    Type.Boolean({ description: "refuse what is not known to be good, also where it is another's" }),
  ),
  lists: Type.Optional(Type.Array(Base64, { maxItems: EVIDENCE_MAX, description: 'CRLs of others, DER' })),
  answers: Type.Optional(Type.Array(Base64, { maxItems: EVIDENCE_MAX, description: 'OCSP answers of others, DER' })),
})

const VerdictShape = Type.Object({
  valid: Type.Boolean(),
  summary: Type.String({ description: 'for people' }),
  reason: Type.Union([Type.String(), Type.Null()], { description: 'key of the rule that is broken' }),
  section: Type.Union([Type.String(), Type.Null()], { description: 'where the rule is written' }),
  certificate: Type.Union([Type.String(), Type.Null()], { description: 'subject of the certificate that breaks it' }),
  path: Type.Array(
    Type.Object({
      subject: Type.String(),
      sha256: Type.String(),
      notAfter: Time,
      revocation: Type.Enum(['good', 'revoked', 'unknown', 'unasked']),
      detail: Type.Union([Type.String(), Type.Null()]),
    }),
    { description: 'from the trusted one down' },
  ),
  policies: Type.Array(Type.String()),
})

export const verificationRoutes = ({ context, authorities }: CAServices) => [
  route({
    id: 'verifyCertificate',
    method: 'POST',
    path: '/api/v1/certificates/verify',
    permission: 'certificate.read',
    summary: 'Say whether a certificate is good: its path to a trusted root, and revocation',
    body: Given,
    response: VerdictShape,
    async handle(_, { body }) {
      const input = { ...inputOf(body, context.world.clock.now()), policy: context.policy }
      const verdict = await verifyHere(context, authorities, input)
      const { path, policies, ...description } = describeVerdict(verdict)
      return { ...description, path: [...path], policies: [...policies] }
    },
  }),
]

function inputOf(body: Static<typeof Given>, now: number): Parameters<typeof verifyHere>[2] {
  const { certificates, purpose, name, at, policies, lenient = false, requireRevocation = false, lists = [], answers = [] } = body
  const [certificate = new Uint8Array(0), ...intermediates] = certificates.map(octetsOf)
  return {
    certificate,
    intermediates,
    purpose,
    peerName: name === undefined ? undefined : parsePeerName(name),
    at: at === undefined ? new Date(now) : new Date(at),
    strict: !lenient,
    ...(policies !== undefined && { policies: new Set(policies) }),
    requireExplicitPolicy: body.requirePolicy === true || policies !== undefined,
    inhibitPolicyMapping: body.inhibitPolicyMapping === true,
    inhibitAnyPolicy: body.inhibitAnyPolicy === true,
    requireRevocation,
    lists: lists.map(octetsOf),
    answers: answers.map(octetsOf),
  }
}
