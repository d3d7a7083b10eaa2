/**
 * Updates of UEFI's lists of keys: what firmware takes for PK, KEK, db and dbx, signed by who may change them.
 *
 * The signature covers which variable it is for, and the file does not say: a reader tries each.
 *
 * Source: UEFI Specification 2.10, 8.2.2, 32.4, 32.6.
 *
 * @module
 */
import { encode } from '#asn1/codec.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { ContentInfo, contentTypes, peekContentType, readContent } from '#cms/content-info.ts'
import { digestContent } from '#cms/digests.ts'
import { parseSignedData, type SignedData } from '#cms/signed-data.ts'
import { verifySignedData } from '#cms/verify.ts'
import { bytesSource, chunksOf, MESSAGE_MAX_OCTETS } from '../artifact/blob.ts'
import { detachedContent } from '../artifact/detached.ts'
import {
  badVariable,
  checkSignatureLists,
  type EFIVariable,
  efiVariables,
  encodeAuthentication,
  encodeTime,
  isSignatureList,
  parseAuthenticated,
  signedBefore,
  type Update,
} from '../artifact/efi-variable.ts'
import { piecesSource } from '../artifact/joined.ts'
import { optionsOf } from '../artifact/options.ts'
import type { FoundSignature, SigningFormat } from '../format.ts'

export const uefiVariable: SigningFormat = {
  id: 'uefi-variable',
  purpose: 'changes of the keys that UEFI firmware trusts: a list (esl) becomes an update (auth) of PK, KEK, db or dbx',
  source: 'UEFI Specification 2.10, 8.2.2 and 32.4',
  asks: ['cms'],
  // what every firmware reads
  algorithms: ['rsa-sha256'],
  options: {
    variable: { help: 'whose update it is; must be said', values: efiVariables },
    timestamp: { help: 'as 2027-05-01T10:00:00Z; firmware refuses one that is not later than the last; must be said' },
    write: {
      help: 'whether the list takes the place of what is there, or is added',
      values: ['replace', 'append'],
      fallback: 'replace',
    },
  },

  async detect(artifact) {
    try {
      return (await parseAuthenticated(artifact)) !== undefined || (await isSignatureList(artifact))
    } catch {
      return false
    }
  },

  async toBeSigned(artifact, choices) {
    const { variable, timestamp, write } = optionsOf(uefiVariable, choices)
    if (variable === undefined || timestamp === undefined) throw badVariable('variable and timestamp must be given')
    const update: Update = { variable: variable as EFIVariable, isAppended: write === 'append' }
    const time = encodeTime(timestamp)
    const data = (await parseAuthenticated(artifact))?.data ?? { offset: 0, length: artifact.size }
    checkLength(data.length)
    await checkSignatureLists(artifact, data)
    const signed = piecesSource(artifact, [signedBefore(update, time), data])
    const detached = await digestContent(chunksOf(signed), ['sha256'])
    return {
      requests: [{ type: 'cms', form: 'cades', contentType: contentTypes.data, content: { detached } }],
      attach([message = new Uint8Array()]) {
        if (peekContentType(message) !== contentTypes.signedData)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'it is no CMS SignedData' } })
        // 8.2.2: without the ContentInfo around it
        const signature = readContent(message, 'signedData')
        return { pieces: [encodeAuthentication(time, signature), data], isBeside: false, suffix: '.auth' }
      },
    }
  },

  async extract(signed, { certificates = [] } = {}) {
    const found = await parseAuthenticated(signed)
    if (found === undefined) {
      await checkSignatureLists(signed, { offset: 0, length: signed.size })
      return { signatures: [], uncovered: [] }
    }
    const { time, data } = found
    checkLength(data.length)
    await checkSignatureLists(signed, data)
    const signedData = parseSignedData(contentInfoOf(found.signature))
    const octets = await signed.read(data.offset, data.length)
    const signature = await asUpdate(signedData, { time, octets, certificates })
    const covered = [{ offset: 0, length: time.length }, data].filter(({ length }) => length > 0)
    return { signatures: [{ ...signature, covered, checkCovered: async () => {} }], uncovered: [] }
  },
}

function checkLength(octets: number): void {
  if (octets <= MESSAGE_MAX_OCTETS) return
  throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its list', limit: MESSAGE_MAX_OCTETS } })
}

/** Some write it around the message all the same, and firmware reads it. */
const contentInfoOf = (signature: Uint8Array): Uint8Array =>
  peekContentType(signature) === contentTypes.signedData
    ? signature
    : encode(ContentInfo, { contentType: contentTypes.signedData, content: signature })

const updates: readonly Update[] = efiVariables.flatMap((variable) =>
  [false, true].map((isAppended) => ({ variable, isAppended })),
)

/** The one that the signature fits; where it fits none, the first, whose report then says that it does not. */
async function asUpdate(
  signedData: SignedData,
  {
    time,
    octets,
    certificates,
  }: { readonly time: Uint8Array; readonly octets: Uint8Array; readonly certificates: readonly Uint8Array[] },
): Promise<Pick<FoundSignature, 'where' | 'evidence'>> {
  let first: Pick<FoundSignature, 'evidence'> | undefined
  for (const update of updates) {
    const message = bytesSource(concat([signedBefore(update, time), octets]))
    const content = await detachedContent(signedData, message, { offset: 0, length: message.size })
    const evidence = { type: 'cms', signedData, content } as const
    first ??= { evidence }
    try {
      await verifySignedData(signedData, { content, certificates })
      return { where: update.isAppended ? `addition to ${update.variable}` : `update of ${update.variable}`, evidence }
    } catch (error) {
      if (!(error instanceof TrustError)) throw error
    }
  }
  return { where: `update of ${efiVariables.join(', ')} or another variable`, ...(first as Pick<FoundSignature, 'evidence'>) }
}
