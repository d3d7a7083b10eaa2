/**
 * Several signatures of one signer over the same content, a classical and a post-quantum one say: each names all the
 * others in its signed attributes, so that none can be taken away while another still holds.
 *
 * Source: RFC 5752.
 *
 * @module
 */
import { decode, encode, type Infer, optional, sequence } from '#asn1/codec.ts'
import { OCTET_STRING } from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Certificate } from '#x509/certificate.ts'
import {
  type Attribute,
  Attributes,
  attributeLabel,
  attributeTypes,
  ESSCertIDv2,
  isSameAlgorithm,
  signingCertificateOf,
} from './attributes.ts'
import { badCMS } from './content-info.ts'
import { AlgorithmIdentifier, type DigestId, digestOf, identifyDigest } from './digests.ts'
import type { SignerInfo } from './signed-data.ts'

const MultipleSignatures = sequence('MultipleSignatures', {
  bodyHashAlg: AlgorithmIdentifier,
  signAlg: AlgorithmIdentifier,
  signAttrsHash: sequence('SignAttrsHash', { algID: AlgorithmIdentifier, hash: OCTET_STRING }),
  cert: optional(ESSCertIDv2),
})
type MultipleSignatures = Infer<typeof MultipleSignatures>

/** A signature that is about to be made. */
export interface Planned {
  readonly digest: DigestId
  readonly digestAlgorithm: AlgorithmIdentifier
  readonly signatureAlgorithm: AlgorithmIdentifier
  readonly certificate: Certificate
  /** All signed attributes but this one. */
  readonly attributes: readonly Attribute[]
}

/** @returns the signed attributes of each, with one that names all the others (RFC 5752, 4.4.1) */
export function withEachOther(planned: readonly Planned[]): readonly (readonly Attribute[])[] {
  const naming = (one: Planned, hashOf: (other: Planned) => Uint8Array): readonly Attribute[] => {
    const values = planned.filter((other) => other !== one).map((other) => announcement(one, other, hashOf(other)))
    return [...one.attributes, { attrType: attributeTypes.multipleSignatures, attrValues: values }]
  }
  const hashed = new Map(
    planned.map((one) => [
      one,
      encode(
        Attributes,
        naming(one, () => NO_HASH),
      ),
    ]),
  )
  return planned.map((one) => naming(one, (other) => digestOf(one.digest, hashed.get(other) as Uint8Array)))
}

/** What stands in place of every hash while the hashes are made. */
const NO_HASH = new Uint8Array()

const announcement = (by: Planned, other: Planned, hash: Uint8Array): Uint8Array =>
  encode(MultipleSignatures, {
    bodyHashAlg: other.digestAlgorithm,
    signAlg: other.signatureAlgorithm,
    signAttrsHash: { algID: by.digestAlgorithm, hash },
    cert: signingCertificateOf(other.certificate).certs[0],
  })

/** Another signature that a signature names. */
export interface Announced {
  readonly signerInfo: SignerInfo
  /** As it names it, if it does. */
  readonly cert: MultipleSignatures['cert']
  /** As it names them: signed, where the other's own fields are not. */
  readonly algorithms: Pick<MultipleSignatures, 'bodyHashAlg' | 'signAlg'>
}

/**
 * Finds what each signature names. Whether those signatures are good is not looked at here.
 *
 * @returns an entry for each signer that names others, each of which names it too
 * @throws TrustError `badProof` when one that is named is not there as it was; `malformed`
 */
export function announcedIn(signerInfos: readonly SignerInfo[]): ReadonlyMap<SignerInfo, readonly Announced[]> {
  const announced = new Map<SignerInfo, readonly Announced[]>()
  const readable = new Set(signerInfos.filter(hasKnownDigest))
  for (const signerInfo of readable) {
    const said = announcementsOf(signerInfo)
    if (said.length > 0) announced.set(signerInfo, matched(signerInfo, said, signerInfos))
  }
  for (const [one, others] of announced) {
    const group = new Set([one, ...others.map(({ signerInfo }) => signerInfo)])
    for (const { signerInfo } of others)
      if (readable.has(signerInfo)) checkNames(announced.get(signerInfo) ?? [], signerInfo, group)
  }
  return announced
}

/** What another signer says with a digest that is not known here cannot be read; that it is there can. */
function hasKnownDigest({ digestAlgorithm }: SignerInfo): boolean {
  try {
    identifyDigest(digestAlgorithm)
    return true
  } catch {
    return false
  }
}

/** RFC 5752, 4.6: as many as there are others of that signer, which are all the same for all of them. */
function checkNames(names: readonly Announced[], by: SignerInfo, group: ReadonlySet<SignerInfo>): void {
  const named = new Set([by, ...names.map(({ signerInfo }) => signerInfo)])
  if (named.symmetricDifference(group).size > 0) throw badCMS('its signatures do not all name each other')
}

function announcementsOf({ signedAttrs, unsignedAttrs = [] }: SignerInfo): readonly MultipleSignatures[] {
  const isOurs = ({ attrType }: Attribute): boolean => attrType === attributeTypes.multipleSignatures
  if (unsignedAttrs.some(isOurs)) throw badCMS(`the attribute ${attributeLabel(attributeTypes.multipleSignatures)} is not signed`)
  const attributes = signedAttrs?.value.filter(isOurs) ?? []
  if (attributes.some(({ attrValues }) => attrValues.length === 0)) throw badCMS('a signature names no others')
  return attributes.flatMap(({ attrValues }) => attrValues).map((value) => decode(MultipleSignatures, value))
}

function matched(by: SignerInfo, said: readonly MultipleSignatures[], signerInfos: readonly SignerInfo[]): readonly Announced[] {
  const found = said.map((one): Announced => {
    if (!isSameAlgorithm(one.signAttrsHash.algID, by.digestAlgorithm))
      throw badCMS('a signature names another with a digest algorithm that is not its own')
    const [signerInfo, another] = signerInfos.filter((other) => other !== by && isMeant(one, other))
    if (signerInfo === undefined) throw missing(one.signAlg)
    if (another !== undefined) throw badCMS('a signature that another names is there twice')
    return { signerInfo, cert: one.cert, algorithms: one }
  })
  if (new Set(found.map(({ signerInfo }) => signerInfo)).size < found.length) throw badCMS('a signature names another twice')
  return found
}

const missing = ({ algorithm }: AlgorithmIdentifier): TrustError =>
  new TrustError('badProof', 'cmsSignatureMissing', { facts: { algorithm } })

function isMeant({ bodyHashAlg, signAlg, signAttrsHash: { algID, hash } }: MultipleSignatures, other: SignerInfo): boolean {
  const { digestAlgorithm, signatureAlgorithm, signedAttrs } = other
  if (signedAttrs === undefined) return false
  if (!isSameAlgorithm(bodyHashAlg, digestAlgorithm) || !isSameAlgorithm(signAlg, signatureAlgorithm.value)) return false
  return equal(digestOf(identifyDigest(algID), encode(Attributes, signedAttrs.value.map(withoutHashes))), hash)
}

/** As the attribute was while the hashes were made (RFC 5752, 4.4.1). */
function withoutHashes({ attrType, attrValues }: Attribute): Attribute {
  if (attrType !== attributeTypes.multipleSignatures) return { attrType, attrValues }
  return {
    attrType,
    attrValues: attrValues.map((value) => {
      const { signAttrsHash, ...rest } = decode(MultipleSignatures, value)
      return encode(MultipleSignatures, { ...rest, signAttrsHash: { ...signAttrsHash, hash: NO_HASH } })
    }),
  }
}
