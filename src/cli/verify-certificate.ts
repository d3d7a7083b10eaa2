/**
 * `cert verify` in its two ways: by roots that are named, in this process; or by what an installation trusts.
 *
 * @module
 */
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { CRL_MAX_OCTETS } from '#x509/crl.ts'
import { describeVerdict, type StepDescription, type VerdictDescription } from '#x509/path/describe.ts'
import { parsePeerName } from '#x509/path/peer-name.ts'
import type { Purpose } from '#x509/path/purpose-names.ts'
import { type RevocationPort, verifyCertificate } from '#x509/path/verify.ts'
import type { Answer, Context } from './command.ts'
import type { Caller } from './connection.ts'
import { exitCodes } from './exit-codes.ts'
import { readInput } from './files.ts'
import { UsageError } from './usage.ts'

export interface VerifyValues {
  readonly file: string
  readonly trust: readonly string[]
  readonly intermediates: readonly string[]
  readonly purpose: Purpose | undefined
  readonly name: string | undefined
  readonly at: string | undefined
  readonly crl: readonly string[]
  readonly ocsp: readonly string[]
  readonly policy: readonly string[]
  readonly requirePolicy: boolean
  readonly inhibitPolicyMapping: boolean
  readonly inhibitAnyPolicy: boolean
  readonly requireRevocation: boolean
  readonly lenient: boolean
  readonly offline: boolean
}

/** What both ways need, read from files. */
interface Material {
  /** The one in question first. */
  readonly certificates: readonly Uint8Array[]
  readonly lists: readonly Uint8Array[]
  readonly answers: readonly Uint8Array[]
  readonly at: Date
}

async function readMaterial(context: Context, values: VerifyValues): Promise<Material> {
  const certificates = await derOf(context, [values.file, ...values.intermediates], 'CERTIFICATE')
  if (certificates.length === 0) throw new TrustError('malformed', 'unknownObject')
  return {
    certificates,
    lists: await derOf(context, values.crl, 'X509 CRL'),
    answers: await derOf(context, values.ocsp, 'OCSP RESPONSE'),
    at: timeOf(values.at, context),
  }
}

/** By the roots in files alone: nothing else on this machine is trusted. */
export async function verifyByFiles(context: Context, values: VerifyValues): Promise<Answer> {
  const { certificates, lists, answers, at } = await readMaterial(context, values)
  const [certificate = new Uint8Array(0), ...intermediates] = certificates
  const { policy, name, purpose, lenient, offline, requireRevocation } = values
  const verdict = await verifyCertificate({
    certificate,
    intermediates,
    anchors: await derOf(context, values.trust, 'CERTIFICATE'),
    at,
    purpose,
    peerName: name === undefined ? undefined : parsePeerName(name),
    strict: !lenient,
    ...(policy.length > 0 && { policies: new Set(policy) }),
    requireExplicitPolicy: values.requirePolicy || policy.length > 0,
    inhibitPolicyMapping: values.inhibitPolicyMapping,
    inhibitAnyPolicy: values.inhibitAnyPolicy,
    revocation: {
      // who hands a list in wants to know by it
      demand: requireRevocation || lists.length + answers.length > 0 ? 'required' : 'known',
      lists,
      answers,
      ...(!offline && { port: overHTTP(context.signal) }),
    },
  })
  return answerOf(describeVerdict(verdict), at)
}

/** By the authorities and records of an installation. */
export async function verifyByInstallation(client: Caller, context: Context, values: VerifyValues): Promise<Answer> {
  const { certificates, lists, answers, at } = await readMaterial(context, values)
  const { policy, name, purpose, lenient, requireRevocation } = values
  const described = await client.call('verifyCertificate', {
    body: {
      certificates: certificates.map((der) => der.toBase64()),
      lists: lists.map((der) => der.toBase64()),
      answers: answers.map((der) => der.toBase64()),
      at: at.toISOString(),
      lenient,
      requireRevocation,
      requirePolicy: values.requirePolicy,
      inhibitPolicyMapping: values.inhibitPolicyMapping,
      inhibitAnyPolicy: values.inhibitAnyPolicy,
      ...(purpose !== undefined && { purpose }),
      ...(name !== undefined && { name }),
      ...(policy.length > 0 && { policies: [...policy] }),
    },
  })
  return answerOf(described, at)
}

function answerOf(described: VerdictDescription, at: Date): Answer {
  const { valid, summary, section, path } = described
  const lines = [
    valid ? `VALID  ${summary}` : `NOT VALID  ${summary}`,
    ...(section === null ? [] : [`Rule: ${section}`]),
    `As of: ${at.toISOString()}`,
    ...(path.length > 1 ? ['Path:', ...path.map(stepLine)] : []),
  ]
  return {
    value: { ...described, at: at.toISOString() },
    text: `${lines.join('\n')}\n`,
    exitCode: valid ? exitCodes.done : exitCodes.verificationFailed,
  }
}

const states: Readonly<Record<StepDescription['revocation'], string>> = {
  good: 'not revoked',
  revoked: 'REVOKED',
  unknown: 'not known whether revoked',
  unasked: 'revocation not looked at',
}

function stepLine({ subject, notAfter, revocation, detail }: StepDescription, depth: number): string {
  const state = depth === 0 ? 'trusted' : states[revocation]
  return `${'  '.repeat(depth + 1)}${subject}, until ${notAfter.slice(0, 10)}, ${state}${detail === null ? '' : ` (${detail})`}`
}

/** DER, PEM with any number of blocks of the kind, or base64. */
export async function derOf(context: Context, files: readonly string[], label: string): Promise<readonly Uint8Array[]> {
  const found: Uint8Array[] = []
  for (const file of files) {
    const octets = await readInput(context, file)
    if (octets[0] === 0x30) found.push(octets)
    else found.push(...blocksOf(new TextDecoder().decode(octets), label))
  }
  return found
}

function blocksOf(text: string, label: string): readonly Uint8Array[] {
  if (text.includes('-----BEGIN ')) {
    const blocks = parsePEM(text).filter(
      (block) => block.label === label || (label === 'CERTIFICATE' && block.label === 'X509 CERTIFICATE'),
    )
    if (blocks.length === 0) throw new TrustError('malformed', 'notPEM', { facts: { detail: `it has no ${label} block` } })
    return blocks.map(({ der }) => der)
  }
  try {
    return [Uint8Array.fromBase64(text)]
  } catch (cause) {
    throw new TrustError('malformed', 'unknownObject', { cause })
  }
}

/** @param help whose help says more @throws UsageError */
export function timeOf(written: string | undefined, { world }: Context, help = ['cert', 'verify'], option = '--at TIME'): Date {
  if (written === undefined) return new Date(world.clock.now())
  const at = new Date(/^\d{4}-\d\d-\d\d$/.test(written) ? `${written}T00:00:00Z` : written)
  if (Number.isNaN(at.getTime()) || !/^\d{4}-\d\d-\d\d(T\S+(Z|[+-]\d\d:\d\d))?$/.test(written))
    throw new UsageError(`${option.replace(/.TIME$/, '')} is a time such as 2027-01-31 or 2027-01-31T12:00:00Z.`, help)
  return at
}

/** An address that does not answer within this is passed over. */
const FETCH_SECONDS = 10
/** All addresses together: a person waits for the answer. */
const FETCH_ALL_SECONDS = 30
/** An OCSP answer with its responder's certificates has a few thousand octets. */
const ANSWER_MAX_OCTETS = 64 << 10

/** What is fetched is signed, so plain HTTP does; redirects are not followed, as a list's address is written by its issuer. */
export function overHTTP(signal: AbortSignal): RevocationPort {
  const all = AbortSignal.timeout(FETCH_ALL_SECONDS * 1000)
  const get = async (uri: string, limit: number, init: RequestInit = {}): Promise<Uint8Array | undefined> => {
    try {
      const timeout = AbortSignal.timeout(FETCH_SECONDS * 1000)
      const response = await fetch(uri, { ...init, redirect: 'error', signal: AbortSignal.any([signal, all, timeout]) })
      return response.ok && response.body !== null ? await readBounded(response.body, limit) : undefined
    } catch {
      if (signal.aborted) throw signal.reason
      return undefined // the answer says that the state is not known
    }
  }
  return {
    fetchList: (uri) => get(uri, CRL_MAX_OCTETS),
    askResponder: (uri, request) =>
      get(uri, ANSWER_MAX_OCTETS, {
        method: 'POST',
        headers: { 'content-type': 'application/ocsp-request' },
        body: new Uint8Array(request),
      }),
  }
}

async function readBounded(body: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of body) {
    size += part.length
    if (size > limit) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts)
}
