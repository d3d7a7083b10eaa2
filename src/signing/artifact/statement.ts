/**
 * Statements about artifacts: what was built, by whom, how and from what, in the form in which supply chains exchange it.
 *
 * Source: in-toto Attestation Framework, Statement v1; SLSA, Provenance v1.
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONObject, type JSONValue, parseJSON, parseJSONObject } from '#jose/json.ts'

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1'
export const PROVENANCE_TYPE = 'https://slsa.dev/provenance/v1'
export const STATEMENT_MEDIA_TYPE = 'application/vnd.in-toto+json'

/**
 * Extension field in which a provenance lists the keys that sign it, as SLSA wants such fields named: by the vendor first.
 * The envelope has nothing else that is signed.
 */
export const SIGNERS_FIELD = 'sealworks_signers'

export interface NamedSigner {
  readonly algorithm: string
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string
}

export interface ProvenanceFields {
  readonly subject: string
  /** Hex. */
  readonly sha256: string
  /** URI that says who vouches for how it was built. */
  readonly builderId: string
  /** URI that says what the external parameters mean. */
  readonly buildType: string
  /** JSON. */
  readonly externalParameters?: string | undefined
  /** JSON: an array of resource descriptors. */
  readonly resolvedDependencies?: string | undefined
  readonly invocationId?: string | undefined
  readonly signers: readonly NamedSigner[]
}

/** What cosign and others still write; a subject means the same in it. */
const READ_TYPES: ReadonlySet<unknown> = new Set([STATEMENT_TYPE, 'https://in-toto.io/Statement/v0.1'])

/** @throws TrustError `malformed` for parameters that are not what they must be */
export function encodeProvenance(fields: ProvenanceFields): Uint8Array {
  const { subject, sha256, builderId, buildType, externalParameters, resolvedDependencies, invocationId, signers } = fields
  const parameters = externalParameters === undefined ? {} : parseJSONObject(utf8(externalParameters))
  const dependencies = resolvedDependencies === undefined ? undefined : parseJSON(utf8(resolvedDependencies))
  if (dependencies !== undefined && !Array.isArray(dependencies)) throw malformed('resolvedDependencies is no array')
  for (const [name, uri] of Object.entries({ builderId, buildType })) if (!URL.canParse(uri)) throw malformed(`${name} is no URI`)
  return utf8(
    JSON.stringify({
      _type: STATEMENT_TYPE,
      subject: [{ name: subject, digest: { sha256 } }],
      predicateType: PROVENANCE_TYPE,
      predicate: {
        buildDefinition: {
          buildType,
          externalParameters: parameters,
          ...(dependencies !== undefined && { resolvedDependencies: dependencies }),
        },
        runDetails: {
          builder: { id: builderId },
          ...(invocationId !== undefined && { metadata: { invocationId } }),
        },
        ...(signers.length > 1 && { [SIGNERS_FIELD]: signers }),
      },
    }),
  )
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notStatement', { facts: { detail } })

export interface Statement {
  /** SHA-256 of what it is about, hex; only of subjects that say it. */
  readonly subjects: readonly string[]
  /** Who must have signed it, where it says so. */
  readonly signers: readonly NamedSigner[]
}

/**
 * @param maxOctets of the payload of its envelope
 * @throws TrustError `malformed`; `unsupported` for another version
 */
export function parseStatement(payload: Uint8Array, maxOctets: number): Statement {
  const { _type: type, subject, predicateType, predicate } = parseJSONObject(payload, maxOctets)
  if (!READ_TYPES.has(type)) {
    const facts = { found: typeof type === 'string' ? type.slice(0, 80) : 'of no type', expected: STATEMENT_TYPE }
    throw new TrustError('unsupported', 'statementType', { facts })
  }
  if (typeof predicateType !== 'string') throw malformed('it has no predicateType')
  if (!Array.isArray(subject) || subject.length === 0) throw malformed('it has no subject')
  const subjects = (subject as readonly JSONValue[]).flatMap(digestsOf)
  return { subjects, signers: isJSONObject(predicate) ? signersIn(predicate) : [] }
}

function digestsOf(subject: JSONValue): readonly string[] {
  const digest = isJSONObject(subject) ? subject['digest'] : undefined
  if (!isJSONObject(digest) || Object.keys(digest).length === 0) throw malformed('a subject has no digest')
  const { sha256 } = digest
  return typeof sha256 === 'string' ? [sha256] : []
}

function signersIn({ [SIGNERS_FIELD]: list }: JSONObject): readonly NamedSigner[] {
  if (list === undefined) return []
  if (!Array.isArray(list)) throw malformed(`${SIGNERS_FIELD} is no list`)
  return (list as readonly JSONValue[]).map((item) => {
    const { algorithm, certificate } = isJSONObject(item) ? item : {}
    if (typeof algorithm !== 'string' || typeof certificate !== 'string')
      throw malformed(`${SIGNERS_FIELD} is no list of signers`)
    return { algorithm, certificate }
  })
}
