/**
 * A certificate profile: what a certificate of one kind looks like, and what a request may ask for.
 *
 * Profiles are data. The built-in ones lie in `profiles/`; an installation may add its own under other names.
 *
 * @module
 */
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { asTrustError, TrustError } from '#base/errors.ts'
import { isKeyAlgorithmId, type KeyAlgorithmId } from '#algorithms/table.ts'
import { nameConstraintsOf } from './name-constraints.ts'

const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
] as const

/** `any`, or the values that are allowed, where `{productSerial}` stands for the device's own. */
const NameRule = Type.Union([Type.Literal('any'), Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { maxItems: 16 })])

/** Each as `dns:plant.example`, `ip:10.1.0.0/16`, `email:plant.example`, `uri:plant.example` or `dir:O=Example`. */
const Constraint = Type.String({ pattern: '^(dns|ip|email|uri|dir):.+$', maxLength: 512 })
export const NameConstraintRules = Type.Object(
  {
    permitted: Type.Optional(Type.Array(Constraint, { minItems: 1, maxItems: 64 })),
    excluded: Type.Optional(Type.Array(Constraint, { minItems: 1, maxItems: 64 })),
  },
  { additionalProperties: false, minProperties: 1 },
)
export type NameConstraintRules = Static<typeof NameConstraintRules>

const Presence = Type.Union([Type.Literal('required'), Type.Literal('optional')])

export const Profile = Type.Object(
  {
    /** The name in commands, endpoints and records. */
    id: Type.String({ pattern: '^[a-z][a-z0-9-]{1,40}$' }),
    /** What people call it. */
    title: Type.String({ minLength: 1, maxLength: 80 }),
    holder: Type.Union([
      Type.Literal('authority'),
      Type.Literal('device'),
      Type.Literal('server'),
      Type.Literal('responder'),
      Type.Literal('registration-authority'),
      Type.Literal('person'),
      Type.Literal('signer'),
    ]),
    keyAlgorithms: Type.Array(Type.String(), { minItems: 1, maxItems: 32 }),
    /** `noExpiry` is 99991231235959Z (RFC 5280, 4.1.2.5; IEEE 802.1AR, 8.7): for identities that live as long as the device. */
    validity: Type.Union([
      Type.Object({ days: Type.Integer({ minimum: 1, maximum: 36525 }) }, { additionalProperties: false }),
      Type.Object({ noExpiry: Type.Literal(true) }, { additionalProperties: false }),
    ]),
    keyUsage: Type.Array(Type.Enum(KEY_USAGES), { minItems: 1, uniqueItems: true }),
    /** Object identifiers; empty leaves the extension out. */
    extendedKeyUsage: Type.Array(Type.String({ pattern: '^[0-2](\\.\\d+)+$' }), { maxItems: 16, uniqueItems: true }),
    /** For purposes that must stand alone, such as time stamping (RFC 3161, 2.3). */
    extendedKeyUsageCritical: Type.Optional(Type.Boolean()),
    /** Only for authorities; absent means any depth. */
    pathLenConstraint: Type.Optional(Type.Integer({ minimum: 0, maximum: 10 })),
    /** Only for authorities: where the names below them may lie (RFC 5280, 4.2.1.10). */
    nameConstraints: Type.Optional(NameConstraintRules),
    /** Attributes that a request may carry, by short name (CN, O, OU, serialNumber, …). Others are refused. */
    subject: Type.Record(Type.String(), Presence),
    /** Attributes that are always written, whatever the request says. */
    subjectFixed: Type.Optional(Type.Record(Type.String(), Type.String({ minLength: 1, maxLength: 64 }))),
    subjectAltName: Type.Object(
      {
        presence: Presence,
        rfc822Name: Type.Optional(NameRule),
        dNSName: Type.Optional(NameRule),
        iPAddress: Type.Optional(NameRule),
        uniformResourceIdentifier: Type.Optional(NameRule),
        /** Written from the product serial with the endpoint's hardware type (RFC 4108, 5; IEEE 802.1AR, 8.10.4). */
        hardwareModuleName: Type.Optional(Type.Boolean()),
      },
      { additionalProperties: false },
    ),
    /** A birth: the key is bound to the product serial for good, and the product serial to this one key. */
    birth: Type.Boolean(),
    /** Whether CRL and OCSP addresses are written. */
    revocationPointers: Type.Boolean(),
    /** Leaves the OCSP address out of these: for issuers whose responder would have no network. */
    withoutOCSP: Type.Optional(Type.Boolean()),
    /** Whether the address of delta CRLs is written too, where the authority makes them (RFC 5280, 4.2.1.15). */
    freshestCRL: Type.Optional(Type.Boolean()),
    subjectKeyIdentifier: Type.Boolean(),
    /** RFC 6960, 4.2.2.2.1. */
    ocspNocheck: Type.Optional(Type.Boolean()),
    certificatePolicies: Type.Optional(Type.Array(Type.String({ pattern: '^[0-2](\\.\\d+)+$' }), { maxItems: 8 })),
  },
  { additionalProperties: false },
)
export type Profile = Static<typeof Profile>

const compiled = Compile(Profile)

/** @throws TrustError `malformed`, naming every problem at once */
export function parseProfile(value: unknown): Profile {
  const problems = compiled.Check(value)
    ? contradictions(value)
    : compiled.Errors(value).map((error) => `${error.instancePath || '/'} ${error.message}`)
  if (problems.length > 0) throw new TrustError('malformed', 'profileMalformed', { facts: { problems: problems.join('; ') } })
  return value as Profile
}

function contradictions(profile: Profile): string[] {
  const problems: string[] = []
  const isAuthority = profile.holder === 'authority'
  for (const id of profile.keyAlgorithms) if (!isKeyAlgorithmId(id)) problems.push(`/keyAlgorithms: ${id} is not offered`)
  if (isAuthority !== profile.keyUsage.includes('keyCertSign'))
    problems.push('/keyUsage: keyCertSign is for authorities, and only for them')
  if (!isAuthority && profile.pathLenConstraint !== undefined) problems.push('/pathLenConstraint: only an authority has one')
  if (!isAuthority && profile.nameConstraints !== undefined) problems.push('/nameConstraints: only an authority has them')
  if (profile.nameConstraints !== undefined) problems.push(...constraintProblems(profile.nameConstraints))
  if (profile.birth && profile.subject['serialNumber'] !== 'required') problems.push('/subject: a birth needs serialNumber')
  if (profile.subjectAltName.hardwareModuleName === true && profile.subject['serialNumber'] !== 'required') {
    problems.push('/subjectAltName: hardwareModuleName is made from serialNumber, which must be required')
  }
  return problems
}

function constraintProblems(rules: NameConstraintRules): readonly string[] {
  try {
    nameConstraintsOf(rules)
    return []
  } catch (thrown) {
    return [`/nameConstraints: ${asTrustError(thrown).message}`]
  }
}

export const allowsKey = (profile: Profile, algorithm: KeyAlgorithmId): boolean => profile.keyAlgorithms.includes(algorithm)
