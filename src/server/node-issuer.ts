/**
 * Births at an issuing node, by the very code that issues at the maker's: request rules, profile, lint.
 *
 * A node has no database and no authorities but itself; what the ticket says stands in for both.
 *
 * @module
 */
import { type AlgorithmPolicy, tablePolicy } from '#algorithms/policy.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Authority } from '#ca/authorities.ts'
import type { CASettings } from '#ca/context.ts'
import { noRules } from '#ca/endpoint.ts'
import { rehearse, signRehearsed } from '#ca/issue.ts'
import type { Profile } from '#ca/profile.ts'
import { idevid } from '#ca/profiles/idevid.ts'
import { provenKey } from '#ca/proof.ts'
import { planCertificate } from '#ca/request-rules.ts'
import type { Signer } from '#keys/key-store.ts'
import { type JobTicket, POSITION_RANDOM_OCTETS, serialNumberAt } from '#orders/messages.ts'
import type { OpenBirthIssuer } from '#orders/node/births.ts'
import { parseCertificate, extensionOf } from '#x509/certificate.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { attributeLabel, encodeName, formatName, nameOf, parseName } from '#x509/name.ts'
import { VERSION } from './version.ts'

/** As for requests everywhere: devices' clocks may be slow. */
const BACKDATE_SECONDS = 60

/** Of what the node issues: no addresses, since what it names would have to be there for the life of the device. */
export const nodeProfile = ({ subject }: Pick<JobTicket, 'subject'>): Profile => ({
  ...idevid,
  revocationPointers: false,
  subject: { serialNumber: 'required', CN: 'optional', ...Object.fromEntries(subject.map(({ type }) => [type, 'optional'])) },
  subjectFixed: Object.fromEntries(subject.map(({ type, value }) => [type, value])),
  // no URI: the authority's name constraints allow none
  subjectAltName: { presence: 'required', hardwareModuleName: true },
})

export const nodeBirthIssuer =
  (world: World, policy: AlgorithmPolicy = tablePolicy): OpenBirthIssuer =>
  (ticket, signer) => {
    const settings: CASettings = {
      publicUrl: undefined,
      backdateSeconds: BACKDATE_SECONDS,
      retryWindowSeconds: 0,
      crlMinIntervalSeconds: 0,
      ocspValiditySeconds: 0,
      weakKeys: new Set(),
      programVersion: VERSION,
    }
    const authority = authorityOf(ticket, signer)
    const profile = nodeProfile(ticket)
    const context = { world, settings, policy }
    const sample = serialNumberAt(0, new Uint8Array(POSITION_RANDOM_OCTETS))
    return {
      async plan(request) {
        const publicKey = await provenKey(context, request)
        const planned = planCertificate({
          authority,
          profile,
          request,
          publicKey,
          applicant: { kind: 'registration-authority', mayAskFor: () => true }, // the node looks at the serial itself
          endpoint: { rules: { ...noRules, hardwareType: ticket.hardwareType } },
          renewal: false,
        })
        const subject = fixedFirst(planned.subject, ticket)
        const { notAfter } = authority.certificate
        const period = {
          notBefore: Math.floor(world.clock.now() / 1000 - BACKDATE_SECONDS) * 1000,
          notAfter: notAfter.getTime(), // for the life of the device, which the maker's authority bounds
        }
        const plan = { ...planned, subject: encodeName(subject), subjectText: formatName(subject), period }
        const { record } = rehearse(context, { ...plan, serialNumber: sample })
        return {
          productSerial: planned.productSerial as string, // the profile requires it
          keyHash: record.keyHash,
          issue: async (serialNumber) => (await signRehearsed(rehearse(context, { ...plan, serialNumber }))).der,
        }
      },
    }
  }

/** A name constraint is about how names begin (RFC 5280, 7.1), so what it says comes first. */
function fixedFirst(subject: Uint8Array, ticket: JobTicket) {
  const parts = parseName(subject).flatMap((rdn) => rdn.map(({ type, value }) => ({ type: attributeLabel(type), value })))
  const isFixed = ({ type }: { readonly type: string }): boolean => ticket.subject.some((fixed) => fixed.type === type)
  return nameOf([...ticket.subject, ...parts.filter((part) => !isFixed(part))])
}

function authorityOf({ authority: chain, id }: JobTicket, signer: Signer): Authority {
  const certificate = parseCertificate(Uint8Array.fromBase64(chain[0] as string))
  const publicKey = importPublicKey(certificate.subjectPublicKeyInfo)
  const keyIdentifier = extensionOf(certificate, subjectKeyIdentifier)?.value
  if (keyIdentifier === undefined)
    throw new TrustError('policyRefused', 'ticketAuthority', { facts: { detail: 'its certificate has no subjectKeyIdentifier' } })
  return {
    id,
    slug: 'node',
    generation: 1,
    address: 'node.1',
    profile: 'issuing',
    issuerId: undefined,
    keyLabel: signer.label,
    keyAlgorithm: publicKey.algorithm,
    signatureAlgorithm: certificateSignatureOf(publicKey.algorithm),
    certificate,
    publicKey,
    keyIdentifier,
    signer,
    state: 'active',
    crlShards: 1,
    crlValiditySeconds: 0,
    crlDeltaSeconds: undefined,
  }
}
