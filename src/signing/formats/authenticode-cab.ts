/**
 * Authenticode for cabinets: drivers, updates and installers that carry their files in one. The signature ends the file.
 *
 * Source: Windows Authenticode Portable Executable Signature Format 1.0, for the signature; [MS-CAB] for the file. What of
 * a cabinet is hashed Microsoft did not publish; it was learned from what its programs and osslsigncode sign.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { type DigestId, usualDigest } from '#cms/digests.ts'
import { chunksOf } from '../artifact/blob.ts'
import { type Cabinet, hashedOfHead, headFor, isCabinet, parseCabinet } from '../artifact/cab.ts'
import { optionsOf } from '../artifact/options.ts'
import {
  AUTHENTICODE_ALGORITHMS,
  AUTHENTICODE_MAX_OCTETS,
  AUTHENTICODE_OPTIONS,
  checkAnswer,
  foundSignatures,
  indirectDataRequest,
  nest,
  obsoleteLink,
  withoutPadding,
} from '../artifact/spc.ts'
import type { BlobSource, SigningFormat } from '../format.ts'

const SPC_CAB_DATA = '1.3.6.1.4.1.311.2.1.25'
const ALIGNMENT = 8

export const authenticodeCAB: SigningFormat = {
  id: 'authenticode-cab',
  purpose: 'cabinets (cab): drivers, updates and parts of installers for Windows',
  source: 'Windows Authenticode, over [MS-CAB] 3.0',
  asks: ['authenticode'],
  algorithms: AUTHENTICODE_ALGORITHMS,
  signerPurpose: 'code-signing',
  options: AUTHENTICODE_OPTIONS,

  detect: isCabinet,

  async toBeSigned(artifact, choices) {
    const { existing, programName, programUrl } = optionsOf(authenticodeCAB, choices)
    const cabinet = await parseCabinet(artifact)
    const before = existing === 'nest' ? await signatureOf(artifact, cabinet) : undefined
    const digestAlgorithm = usualDigest(choices.signatureAlgorithm)
    const digest = await digestOfCabinet(artifact, cabinet, digestAlgorithm)
    const statement = { type: SPC_CAB_DATA, value: obsoleteLink, digestAlgorithm, digest }
    return {
      requests: [indirectDataRequest(statement, { programName, programUrl })],
      attach([message]) {
        const answer = checkAnswer(message, SPC_CAB_DATA)
        const signature = before === undefined ? answer : nest(before, answer)
        const padding = new Uint8Array(-signature.length & (ALIGNMENT - 1))
        const head = headFor(cabinet, signature.length + padding.length)
        return { pieces: [head, cabinet.rest, signature, padding], isBeside: false }
      },
    }
  },

  async extract(signed) {
    const cabinet = await parseCabinet(signed)
    const der = await signatureOf(signed, cabinet)
    if (der === undefined) return { signatures: [], uncovered: [] }
    const found = {
      type: SPC_CAB_DATA,
      where: 'end of the cabinet',
      covered: [...hashedOfHead(cabinet), cabinet.rest],
    }
    const signatures = foundSignatures(der, found, (id) => digestOfCabinet(signed, cabinet, id))
    return { signatures, uncovered: [] }
  },
}

/** DER. @returns undefined when nobody signed @throws TrustError `malformed`, `tooLarge` */
async function signatureOf(source: BlobSource, { rest, signatureLength }: Cabinet): Promise<Uint8Array | undefined> {
  if (signatureLength === 0) return undefined
  if (signatureLength > AUTHENTICODE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its signature', limit: AUTHENTICODE_MAX_OCTETS } })
  return withoutPadding(await source.read(rest.offset + rest.length, signatureLength), ALIGNMENT)
}

async function digestOfCabinet(source: BlobSource, cabinet: Cabinet, digestAlgorithm: DigestId): Promise<Uint8Array> {
  const hash = createHash(digestAlgorithm)
  for (const { offset, length } of hashedOfHead(cabinet)) hash.update(cabinet.head.subarray(offset, offset + length))
  for await (const chunk of chunksOf(source, cabinet.rest)) hash.update(chunk)
  return new Uint8Array(hash.digest())
}
