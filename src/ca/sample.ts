/**
 * A filled sample of what a profile gives: a real certificate, made by the very code that issues, by an authority that
 * lives in memory for a moment.
 *
 * @module
 */
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { type KeyAlgorithmId, signatureAlgorithm } from '#algorithms/table.ts'
import type { Signer } from '#keys/key-store.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { type GeneralName, parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { encodeName, formatName, type NamePart, nameOf } from '#x509/name.ts'
import { describe } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { noRules } from './endpoint.ts'
import { rehearse, selfSigned, signRehearsed } from './issue.ts'
import { holderOf } from './make-authority.ts'
import type { Profile } from './profile.ts'
import { issuing } from './profiles/issuing.ts'
import { root } from './profiles/root.ts'
import { planCertificate, servesRequests } from './request-rules.ts'

export interface Sample {
  /** DER */
  readonly certificate: Uint8Array
  /** Of the throwaway authority that signed it. */
  readonly issuer: Uint8Array
}

/** Where the installation has no address of its own yet. */
const EXAMPLE_URL = 'http://pki.example'
const CRL_VALIDITY_SECONDS = 7 * 86_400

/** @throws TrustError as issuing does: a profile that nothing can be issued with shows it here */
export async function sampleOf(context: Pick<CAContext, 'world' | 'settings' | 'policy'>, profile: Profile): Promise<Sample> {
  const settings = { ...context.settings, publicUrl: context.settings.publicUrl ?? EXAMPLE_URL }
  const here = { ...context, settings }
  const authority = await sampleAuthority(here)
  const [algorithm] = profile.keyAlgorithms as readonly KeyAlgorithmId[]
  const signer = await throwaway(algorithm ?? 'ecdsa-p256')
  const name = nameOf(subjectFor(profile))
  if (!servesRequests(profile)) {
    const holder = holderOf(profile, signer, encodeName(name), formatName(name))
    // a root is signed by itself, and all others by the sample authority
    const plan =
      profile.revocationPointers || profile.holder === 'responder' ? { ...holder, authority } : selfSigned(holder, signer)
    const { der } = await signRehearsed(rehearse(here, plan))
    return { certificate: der, issuer: 'authority' in plan ? authority.certificate.der : der }
  }
  const names = namesFor(profile)
  const plan = planCertificate({
    authority,
    profile,
    publicKey: importPublicKey(signer.publicKey),
    request: {
      subject: encodeName(name),
      requestedExtensions: names.length === 0 ? [] : [extensionWith(subjectAltName, names)],
    },
    applicant: { kind: 'person' },
    renewal: false,
    endpoint: { rules: { ...noRules, hardwareType: HARDWARE_TYPE } },
  })
  return { certificate: (await signRehearsed(rehearse(here, plan))).der, issuer: authority.certificate.der }
}

async function sampleAuthority(context: Pick<CAContext, 'world' | 'settings' | 'policy'>) {
  const signer = await throwaway('ecdsa-p256')
  const name = nameOf([
    { type: 'O', value: 'Example' },
    { type: 'CN', value: 'Sample authority' },
  ])
  const holder = holderOf({ ...root, validity: { noExpiry: true } }, signer, encodeName(name), formatName(name))
  const { der, id } = await signRehearsed(rehearse(context, selfSigned(holder, signer)))
  const stored = {
    id,
    slug: 'sample',
    generation: 1,
    profile: issuing.id,
    issuerId: undefined,
    state: 'active',
    crlShards: 1,
    crlValiditySeconds: CRL_VALIDITY_SECONDS,
    crlDeltaSeconds: undefined,
  } as const
  return describe(stored, parseCertificate(der), signer)
}

/** A key that nobody keeps. */
async function throwaway(keyAlgorithm: KeyAlgorithmId): Promise<Signer> {
  const { privateKey, publicKey } = await generateKey(keyAlgorithm)
  return {
    label: 'sample',
    keyAlgorithm,
    publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    sign: async (message, algorithm) => signMessage(message, signatureAlgorithm(algorithm), privateKey, true),
  }
}

/** IANA's number for examples (RFC 5612). */
const HARDWARE_TYPE = '1.3.6.1.4.1.32473.1'
const SERIAL = 'A-1042'

const EXAMPLES: Readonly<Record<string, string>> = {
  CN: 'Sample holder',
  GN: 'Ada',
  SN: 'Berg',
  O: 'Example',
  OU: 'Line 1',
  C: 'DE',
  L: 'Hamburg',
  ST: 'Hamburg',
  serialNumber: SERIAL,
  DC: 'example',
  emailAddress: 'ada@plant.example',
}

/** Everything that the profile takes, in the order in which names are written: the country first, the holder last. */
const subjectFor = ({ subject, subjectFixed = {} }: Profile): readonly NamePart[] =>
  ['C', 'ST', 'L', 'DC', 'O', 'OU', 'CN', ...Object.keys(subject)]
    .filter((type, at, all) => all.indexOf(type) === at && type in subject && !(type in subjectFixed))
    .filter((type) => type in EXAMPLES || subject[type] === 'required')
    .map((type) => ({ type, value: EXAMPLES[type] ?? 'sample' }))

function namesFor({ subjectAltName: rules }: Profile): readonly GeneralName[] {
  const own = (templates: readonly string[]): string[] => templates.map((one) => one.replaceAll('{productSerial}', SERIAL))
  const texts = (rule: 'any' | readonly string[] | undefined, example: string): readonly string[] =>
    rule === undefined ? [] : rule === 'any' ? [example] : own(rule)
  return [
    ...texts(rules.dNSName, 'press7.plant.example').map((value) => ({ type: 'dNSName' as const, value })),
    ...texts(rules.iPAddress, '192.0.2.7').map((text) => ({ type: 'iPAddress' as const, value: parseIPAddress(text) })),
    ...texts(rules.uniformResourceIdentifier, 'urn:plant.example:press7').map((value) => ({
      type: 'uniformResourceIdentifier' as const,
      value,
    })),
    ...texts(rules.rfc822Name, 'ada@plant.example').map((value) => ({ type: 'rfc822Name' as const, value })),
  ]
}
