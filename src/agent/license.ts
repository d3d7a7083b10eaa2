/**
 * The licenses of this device: taken from its server or from a file, and asked for features without a network.
 *
 * A license is on the disk, with its sequence, before anything rests on it; one that was here is not taken back by an older one,
 * also where power was cut in between. That the licenses are this device's is shown each time by a signature of the key that it
 * was born with, so that they are worth nothing beside another key.
 *
 * @module
 */
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { headers, parseCOSE } from '#cbor/cose.ts'
import {
  checkLicense,
  CLOCK_TOLERANCE_MILLISECONDS,
  type DeviceFacts,
  type Feature,
  type Holding,
  type License,
  type LicenseRefusal,
  readLicense,
  readStatusList,
  STATUS_MAX_OCTETS,
  STATUS_TYPE,
  type StatusList,
  thumbprintsOf,
} from '#licenses/messages.ts'
import { messageTrust, type MessageTrust } from '#signing/messages.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Device } from './device.ts'
import { factsOf } from './facts.ts'
import { type LicenseStore, openLicenseStore } from './license-store.ts'
import { heldTrustList, trustedFor } from './trust.ts'

const PURPOSE = 'license'
/** Of one device: features come together in one license. */
const LICENSES_MAX = 64

export type FeatureAnswer =
  | ({ readonly isLicensed: true; readonly license: string; readonly limit: number | undefined } & Holding)
  | { readonly isLicensed: false; readonly reason: string; readonly why: string }

export interface DeviceLicenses extends Disposable {
  /**
   * A license, or a list of what was taken back.
   *
   * @returns what was taken, for whoever looks
   * @throws TrustError `policyRefused` for what does not hold here and never will; `badProof`, `unauthenticated`, `malformed`, `tooLarge`
   */
  take(octets: Uint8Array): Promise<string>
  /** Whether the feature may be used now, and how much of it. */
  feature(name: string): Promise<FeatureAnswer>
  /** All that may be used now. */
  features(): Promise<ReadonlySet<string>>
  readonly store: LicenseStore
}

/** Such a license may hold later: it is kept. */
const LATER: ReadonlySet<string> = new Set<LicenseRefusal>(['licenseNotYet', 'licenseOffline', 'licenseClockBack'])

/** Such a license never holds again: it makes room for another. */
const OVER: readonly string[] = ['licenseRevoked', 'licenseOwnerEpoch', 'licenseExpired'] satisfies LicenseRefusal[]

/** @throws TrustError `badProof` where the key of the birth certificate is not here; `notFound` before the device is set up */
export async function openLicenses(device: Device): Promise<DeviceLicenses> {
  const { directory, world } = device
  const keys = thumbprintsOf(await birthKeyOf(device))
  const described = await describedAs(device)
  const store = openLicenseStore(directory.path, world.faults)
  const facts = (): DeviceFacts => ({ keys, ...described, epoch: Math.max(described.epoch, store.epoch) })

  async function take(octets: Uint8Array): Promise<string> {
    const trust = messageTrust(trustedFor(directory, world, PURPOSE))
    return isStatusList(octets) ? takeStatus(octets, trust) : takeLicense(octets, trust)
  }

  async function takeStatus(octets: Uint8Array, trust: MessageTrust): Promise<string> {
    const { issuer, version, issuedAt } = await readStatusList(octets, trust)
    const known = store.status(issuer)?.version ?? 0
    if (version < known) throw new TrustError('policyRefused', 'licenseStatusOld', { facts: { version, known } })
    store.keepStatus({ issuer, version, octets, issuedAt })
    return `list ${version} of what ${issuer} took back`
  }

  async function takeLicense(octets: Uint8Array, trust: MessageTrust): Promise<string> {
    const license = await readLicense(octets, trust)
    const { id, sequence, owner, issuedAt, features } = license
    try {
      await check(license, trust)
    } catch (error) {
      if (!(error instanceof TrustError) || !LATER.has(error.reason)) throw error
    }
    if (!store.has(id) && store.count >= LICENSES_MAX) store.drop(await overId())
    store.keepLicense({ id, octets, sequence, epoch: owner?.epoch ?? 0, issuedAt })
    return `license for ${features.map(({ name }) => name).join(', ')}`
  }

  /** One that will never hold again, what was taken back first. @throws TrustError `tooLarge` where there is none */
  async function overId(): Promise<string> {
    const reasons = new Map<string, string>()
    for await (const { license, answer } of held()) if (answer instanceof TrustError) reasons.set(answer.reason, license.id)
    const over = OVER.find((reason) => reasons.has(reason))
    const id = over && reasons.get(over)
    if (id === undefined) throw new TrustError('tooLarge', 'licensesTooMany', { facts: { limit: LICENSES_MAX } })
    return id
  }

  async function check(license: License, trust: MessageTrust): Promise<Holding> {
    const { lastSeen } = store
    const status = await statusOf(license, trust)
    return checkLicense(license, facts(), {
      ...{ now: world.clock.now(), lastSeen, storedSequence: store.sequenceOf(license.id) },
      ...(status !== undefined && { status }),
    })
  }

  async function statusOf({ issuer }: License, trust: MessageTrust): Promise<StatusList | undefined> {
    const held = store.status(issuer)
    return held && readStatusList(held.octets, trust)
  }

  /** What is held stays good when the trust list has ended: nobody can say more by keeping its successor back. */
  async function* held(): AsyncGenerator<{ readonly license: License; readonly answer: Holding | TrustError }> {
    const trust = messageTrust(heldTrustList(directory)?.anchors[PURPOSE] ?? [])
    for (const { octets } of store.licenses()) {
      const license = await readLicense(octets, trust).catch((error: unknown) => asTrustError(error))
      if (license instanceof TrustError) continue // whoever signed it is trusted no more
      yield { license, answer: await check(license, trust).catch((error: unknown) => asTrustError(error)) }
    }
    see()
  }

  /** On the disk before the answer is given, where the time went on by enough to matter. */
  function see(): void {
    const now = world.clock.now()
    if (now > store.lastSeen + CLOCK_TOLERANCE_MILLISECONDS) store.see(now)
  }

  async function feature(name: string): Promise<FeatureAnswer> {
    let best: (FeatureAnswer & { readonly isLicensed: true }) | undefined
    let refusal = new TrustError('policyRefused', 'licenseNone', { facts: { feature: name } })
    for await (const { license, answer } of held()) {
      const found = license.features.find((one) => one.name === name)
      if (found === undefined) continue
      if (answer instanceof TrustError) refusal = answer
      else best = better(best, { isLicensed: true, license: license.id, limit: found.limit, ...answer })
    }
    return best ?? { isLicensed: false, reason: refusal.reason, why: refusal.message }
  }

  async function features(): Promise<ReadonlySet<string>> {
    const names = new Set<string>()
    for await (const { license, answer } of held())
      if (!(answer instanceof TrustError)) for (const { name } of license.features) names.add(name)
    return names
  }

  return { take, feature, features, store, [Symbol.dispose]: () => store[Symbol.dispose]() }
}

type Licensed = FeatureAnswer & { readonly isLicensed: true }

/** Of two licenses for the same: the one with the larger limit. Limits are not added up: who has more, is sold one for more. */
function better(one: Licensed | undefined, other: Licensed): Licensed {
  const limitOf = ({ limit }: Pick<Feature, 'limit'> | Licensed): number => limit ?? Infinity
  return one === undefined || limitOf(other) > limitOf(one) ? other : one
}

function isStatusList(octets: Uint8Array): boolean {
  if (octets[0] === 0x65) return false // JWS
  return parseCOSE(octets, STATUS_MAX_OCTETS).headers.protected.get(headers.typ) === STATUS_TYPE
}

/** For updates that ask for a license. */
export async function licensedFeatures(device: Device): Promise<ReadonlySet<string>> {
  using held = await openLicenses(device)
  return await held.features()
}

/** So that what it signs here is nothing elsewhere. */
const PROOF = utf8('sealworks license check\0')
const NONCE_OCTETS = 32

/** Its possession is proven: a copy of the certificate, or of the key's file beside another TPM, is not the device. */
async function birthKeyOf(device: Device): Promise<PublicKey> {
  const { chain, key } = await device.born()
  const publicKey = importPublicKey(parseCertificate(chain[0] ?? new Uint8Array(0)).subjectPublicKeyInfo)
  const message = concat([PROOF, device.world.random.octets(NONCE_OCTETS)])
  const signature = { algorithm: key.signatureAlgorithm, octets: await key.sign(message) }
  if (!(await verifySignature(signature, publicKey, message))) throw new TrustError('badProof', 'agentIdentity')
  return publicKey
}

/** As far as somebody wrote it down. */
async function describedAs(device: Device): Promise<{ readonly model?: string; readonly epoch: number }> {
  try {
    const { manufacturer, model, epoch } = await factsOf(device)
    return { model: `${manufacturer}/${model}`, epoch }
  } catch (error) {
    if (asTrustError(error).code === 'notFound') return { epoch: 0 }
    throw error
  }
}
