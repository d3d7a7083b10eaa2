/**
 * A time stamp that stands beside a file, as an authority answered it or without its answer around it.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import { contentTypes } from '#cms/content-info.ts'
import { digestContent } from '#cms/digests.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { parseTimeStampResponse, parseTSTInfo, TIME_STAMP_TOKEN_MAX_OCTETS, type TSTInfo } from '#cms/timestamp.ts'
import { chunksOf } from '../artifact/blob.ts'
import { type Judging, reportTimeStamp, type TimeStampReport } from '../artifact/verify.ts'
import type { BlobSource } from '../format.ts'

/** @returns DER or BER TimeStampToken; undefined where the octets are something else */
export async function timeStampIn(source: BlobSource): Promise<Uint8Array | undefined> {
  if (source.size > TIME_STAMP_TOKEN_MAX_OCTETS) return undefined
  const octets = await source.read(0, source.size)
  if (infoIn(octets) !== undefined) return octets
  try {
    const token = parseTimeStampResponse(octets)
    return infoIn(token) === undefined ? undefined : token
  } catch (error) {
    const { code } = asTrustError(error)
    if (code === 'internal') throw error
    return undefined
  }
}

function infoIn(token: Uint8Array): TSTInfo | undefined {
  try {
    const { contentType, content } = parseSignedData(token, { encoding: 'ber', maxOctets: TIME_STAMP_TOKEN_MAX_OCTETS })
    return contentType === contentTypes.tstInfo && content !== undefined ? parseTSTInfo(content) : undefined
  } catch (error) {
    const { code } = asTrustError(error)
    if (code === 'internal') throw error
    return undefined
  }
}

/**
 * Whether an authority that is trusted says that this content was there at a time.
 *
 * @param token from {@link timeStampIn}
 * @param certificates that may be the authority's, where the token carries none
 */
export async function verifyTimeStampOver(
  content: BlobSource,
  token: Uint8Array,
  certificates: readonly Uint8Array[],
  context: Omit<Judging, 'purpose' | 'requirement'>,
): Promise<TimeStampReport & { readonly info?: TSTInfo }> {
  const info = infoIn(token)
  const algorithm = info?.imprint.digestAlgorithm ?? 'sha256'
  const digests = await digestContent(chunksOf(content), [algorithm])
  const report = await reportTimeStamp(token, (id) => digests.get(id) ?? new Uint8Array(), certificates, context)
  return { ...report, ...(info !== undefined && { info }) }
}
