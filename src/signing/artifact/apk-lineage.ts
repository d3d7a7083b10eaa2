/**
 * The lineage of an Android signing key: its certificates from the first on, each signed by the key before, so that a
 * device that knows an older one takes the newest for the same signer.
 *
 * Source: Android, APK Signature Scheme v3, "Proof-of-rotation and self-trusted-old-certs structs"; the file around it as
 * `apksigner rotate` writes it.
 *
 * @module
 */
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { keyAlgorithm, signatureAlgorithm } from '#algorithms/table.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { apkAlgorithms, badAPK, blockReader, prefixed, uint32 } from './apk-block.ts'

const FILE_MAGIC = 0x3eff39d1
const VERSION = 1
/** A key changes every few years. */
const LEVELS_MAX = 16
/** So many certificates with their signatures. */
export const LINEAGE_MAX_OCTETS = 64 << 10

/** What a device still lets a signer of the past do; bits of `flags`. */
export const capabilities = {
  installedData: 0x01,
  sharedUserId: 0x02,
  permission: 0x04,
  rollback: 0x08,
  auth: 0x10,
} as const
export type Capability = keyof typeof capabilities
/** All but going back, as apksigner has it. */
export const USUAL_FLAGS = capabilities.installedData | capabilities.sharedUserId | capabilities.permission | capabilities.auth

export interface LineageLevel {
  /** DER. */
  readonly certificate: Uint8Array
  /** What the level before signed: the certificate, and with which algorithm. */
  readonly signedData: Uint8Array
  readonly flags: number
  /** What this one signs the next with; 0 when there is none yet. */
  readonly algorithmId: number
  /** By the level before; empty in the first. */
  readonly signature: Uint8Array
  /** What it says of the algorithm of {@link signature}, as it is signed; 0 in the first. */
  readonly parentAlgorithmId: number
}

/** As it stands in a signature of scheme v3. @throws TrustError `malformed` */
export function parseLineage(octets: Uint8Array): readonly LineageLevel[] {
  const from = blockReader(octets)
  if (from.uint32() !== VERSION) throw badAPK('its lineage has a version without a meaning here')
  const levels: LineageLevel[] = []
  while (from.more) {
    if (levels.length === LEVELS_MAX) throw badAPK(`its lineage has more than ${LEVELS_MAX} levels`)
    levels.push(levelIn(from.prefixed(), levels.at(-1)))
  }
  if (levels.length === 0) throw badAPK('its lineage is empty')
  if (new Set(levels.map(({ certificate }) => certificate.toHex())).size !== levels.length)
    throw badAPK('its lineage has a certificate twice')
  return levels
}

function levelIn(octets: Uint8Array, before: LineageLevel | undefined): LineageLevel {
  const from = blockReader(octets)
  const signedData = from.prefixed()
  const [flags, algorithmId] = [from.uint32(), from.uint32()]
  const signature = from.prefixed()
  const signed = blockReader(signedData)
  const certificate = signed.prefixed()
  const parentAlgorithmId = signed.uint32()
  if (from.more || signed.more) throw badAPK('a level of its lineage is followed by something')
  const isNext =
    before === undefined ? signature.length === 0 && parentAlgorithmId === 0 : parentAlgorithmId === before.algorithmId
  if (!isNext) throw badAPK('a level of its lineage does not go with the one before')
  parseCertificate(certificate)
  return { certificate, signedData, flags, algorithmId, signature, parentAlgorithmId }
}

/** @throws TrustError `malformed` */
export function parseLineageFile(octets: Uint8Array): readonly LineageLevel[] {
  const from = blockReader(octets)
  if (from.uint32() !== FILE_MAGIC || from.uint32() !== VERSION) throw badAPK('what is given as its lineage is none')
  const levels = parseLineage(from.prefixed())
  if (from.more) throw badAPK('its lineage is followed by something')
  return levels
}

/** As an option carries it, in base64. @throws TrustError `malformed` */
export function lineageIn(format: string, text: string): readonly LineageLevel[] {
  try {
    return parseLineageFile(Uint8Array.fromBase64(text))
  } catch (error) {
    if (error instanceof TrustError) throw error
    const facts = { format, option: 'lineage', value: text.slice(0, 80), offered: 'base64' }
    throw new TrustError('malformed', 'formatOption', { facts })
  }
}

/** @throws TrustError `badProof` when a level was not signed by the one before; `unsupported` for an algorithm */
export async function checkLineage(levels: readonly LineageLevel[]): Promise<void> {
  for (const [i, { signedData, signature, parentAlgorithmId }] of levels.entries()) {
    const before = levels[i - 1]
    if (before === undefined) continue
    const row = apkAlgorithms.find(({ id }) => id === parentAlgorithmId)
    if (row === undefined) {
      const facts = { format: 'APK', detail: 'a lineage with an algorithm that is not known here' }
      throw new TrustError('unsupported', 'artifactUnsupported', { facts })
    }
    const publicKey = importPublicKey(parseCertificate(before.certificate).subjectPublicKeyInfo)
    const isOfFamily = keyAlgorithm(publicKey.algorithm).family === signatureAlgorithm(row.signature).family
    if (!isOfFamily || !(await verifySignature({ algorithm: row.signature, octets: signature }, publicKey, signedData)))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: `level ${i + 1} of its lineage` } })
  }
}

export const encodeLineage = (levels: readonly LineageLevel[]): Uint8Array =>
  concat([
    uint32(VERSION),
    ...levels.map(({ signedData, flags, algorithmId, signature }) =>
      prefixed(prefixed(signedData), uint32(flags), uint32(algorithmId), prefixed(signature)),
    ),
  ])

export const encodeLineageFile = (levels: readonly LineageLevel[]): Uint8Array =>
  concat([uint32(FILE_MAGIC), uint32(VERSION), prefixed(encodeLineage(levels))])

/** Whether a file begins as one does that `apksigner rotate` wrote. */
export const isLineageFile = (head: Uint8Array): boolean => equal(head.subarray(0, 4), uint32(FILE_MAGIC))

/** What a level's signature is over. */
export const lineageSignedData = (certificate: Uint8Array, algorithmId: number): Uint8Array =>
  concat([prefixed(certificate), uint32(algorithmId)])
