/**
 * Certificates that a person issues: for a device that speaks no protocol, a server, a station.
 *
 * The person's right was checked before; the profile, the key binding and the lint rules hold here as everywhere.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { generateKey } from '#algorithms/private-key.ts'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { asTrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import { keep } from '#store/batch.ts'
import { type CertificationRequest, parseCertificationRequest } from '#x509/certification-request.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import type { GeneralName } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, type Name } from '#x509/name.ts'
import { type Authorities, chainOf } from './authorities.ts'
import type { CAContext } from './context.ts'
import type { Endpoint } from './endpoint.ts'
import type { Authorize, IssuedAnswer } from './enrollment.ts'
import { checkBinding, rehearse, signRehearsed, stepsToInsert, stillIssues } from './issue.ts'
import { openProfile } from './profiles.ts'
import { provenKey } from './proof.ts'
import { planCertificate } from './request-rules.ts'

export interface ByHand {
  /** Address of the issuing authority. */
  readonly authority: string
  readonly profile: string
  /** Lends its rules (the hardware type of births). */
  readonly endpoint?: Endpoint
  /** As enrollment asks: see {@link Authorize}. */
  readonly authorize?: (productSerial: string | undefined) => ReturnType<Authorize>
}

/** @param der PKCS #10 @throws TrustError of any refusal, which is then in the audit log */
export function issueForRequest(
  context: CAContext,
  authorities: Authorities,
  where: ByHand,
  der: Uint8Array,
  actor: string,
): Promise<IssuedAnswer> {
  return recorded(context, actor, where, async () => {
    const request = parseCertificationRequest(der)
    const publicKey = await provenKey(context, request)
    return issue(context, authorities, where, { request, publicKey }, actor)
  })
}

export interface GeneratedFor extends ByHand {
  readonly subject: Name
  readonly names: readonly GeneralName[]
  readonly keyAlgorithm: KeyAlgorithmId
}

/** A certificate with a key that was made here, lives in memory, and is kept nowhere (decision 21). */
export interface Generated extends IssuedAnswer {
  /** DER PrivateKeyInfo */
  readonly privateKey: Secret
}

export function generateAndIssue(
  context: CAContext,
  authorities: Authorities,
  wanted: GeneratedFor,
  actor: string,
): Promise<Generated> {
  return recorded(context, actor, wanted, async () => {
    const key = await makeKey(wanted.keyAlgorithm)
    const publicKey = importPublicKey(key.spki)
    const request = {
      subject: encodeName(wanted.subject),
      requestedExtensions: wanted.names.length === 0 ? [] : [extensionWith(subjectAltName, wanted.names)],
    }
    const answer = await issue(context, authorities, wanted, { request, publicKey }, actor)
    return { ...answer, privateKey: secret(new Uint8Array(key.privateKey.export({ type: 'pkcs8', format: 'der' }))) }
  })
}

async function makeKey(id: KeyAlgorithmId): Promise<{ readonly privateKey: KeyObject; readonly spki: Uint8Array }> {
  const { privateKey, publicKey } = await generateKey(id)
  return { privateKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })) }
}

interface Holder {
  readonly request: Pick<CertificationRequest, 'subject' | 'requestedExtensions'>
  readonly publicKey: PublicKey
}

async function issue(
  context: CAContext,
  authorities: Authorities,
  where: ByHand,
  holder: Holder,
  actor: string,
): Promise<IssuedAnswer> {
  const authority = authorities.byAddress(where.authority)
  const profile = await openProfile(context, where.profile)
  const plan = planCertificate({
    ...holder,
    authority,
    profile,
    applicant: { kind: 'person' },
    renewal: false,
    ...(where.endpoint !== undefined && { endpoint: where.endpoint }),
  })
  const stepsWith = await where.authorize?.(plan.productSerial)
  const rehearsed = rehearse(context, plan)
  await checkBinding(context, rehearsed)
  const issued = await signRehearsed(rehearsed)
  const by = { actor, ...(where.endpoint !== undefined && { endpointId: where.endpoint.id }) }
  await keep(context.db, [stillIssues(authority), ...stepsToInsert(context, issued, by), ...(stepsWith?.(issued) ?? [])])
  return { state: 'issued', certificateId: issued.id, certificate: issued.der, chain: chainOf(authorities, authority) }
}

async function recorded<T>(
  { audit }: CAContext,
  actor: string,
  { authority, profile }: ByHand,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const { code, reason, facts } = asTrustError(thrown)
    if (code !== 'internal' && code !== 'unavailable') {
      await audit.refuse({
        actor,
        act: 'certificate.issue',
        object: `authority:${authority}`,
        reason,
        facts: { ...facts, code, profile },
      })
    }
    throw thrown
  }
}
