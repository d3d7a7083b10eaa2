/**
 * The rotation of the key of Android packages: the old key signs the certificate of the new. What comes of it is a
 * lineage, which the signer of packages names from then on (`lineage` of the format `apk`).
 *
 * What devices still let an older key do stands beside the signatures and is signed with each package.
 *
 * Source: Android, APK Signature Scheme v3; the file as `apksigner rotate` writes it.
 *
 * @module
 */
import { parsePEM } from '#asn1/pem.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { type APKAlgorithm, apkAlgorithms } from '../artifact/apk-block.ts'
import {
  capabilities,
  type Capability,
  checkLineage,
  encodeLineageFile,
  isLineageFile,
  LINEAGE_MAX_OCTETS,
  type LineageLevel,
  lineageIn,
  lineageSignedData,
  parseLineageFile,
  USUAL_FLAGS,
} from '../artifact/apk-lineage.ts'
import { bytesSource, readWhole } from '../artifact/blob.ts'
import { optionsOf } from '../artifact/options.ts'
import type { BlobSource, FoundSignature, SigningFormat } from '../format.ts'

export const apkLineage: SigningFormat = {
  id: 'apk-lineage',
  purpose: 'new keys for Android packages: the old key signs the certificate of the new, which is the artifact',
  source: 'Android, APK Signature Scheme v3',
  asks: ['raw'],
  algorithms: apkAlgorithms.map(({ signature }) => signature),
  options: {
    lineage: {
      help: 'the lineage until now, in base64; without it the signer is the first',
      charactersMax: Math.ceil(LINEAGE_MAX_OCTETS / 3) * 4,
    },
    signerMay: {
      help: `what devices still let the signer do, some of ${Object.keys(capabilities).join('+')}; as it was, or all but rollback`,
    },
  },

  async detect(artifact) {
    return artifact.size >= 4 && artifact.size <= LINEAGE_MAX_OCTETS && isLineageFile(await artifact.read(0, 4))
  },

  async toBeSigned(artifact, choices) {
    const { lineage, signerMay } = optionsOf(apkLineage, choices)
    const certificate = await certificateIn(artifact)
    const [own] = choices.certificates
    const before = lineage === undefined ? [firstLevel(own)] : lineageIn('apk-lineage', lineage)
    await checkLineage(before)
    const last = before.at(-1)
    if (last === undefined || !equal(last.certificate, own)) throw new TrustError('conflict', 'apkLineageOther')
    if (before.some((level) => equal(level.certificate, certificate))) throw new TrustError('conflict', 'apkLineageThere')
    const flags = signerMay === undefined ? last.flags : flagsIn(signerMay)
    const { id } = apkAlgorithms.find(({ signature }) => signature === choices.signatureAlgorithm) as APKAlgorithm
    const signedData = lineageSignedData(certificate, id)
    return {
      requests: [{ type: 'raw', message: { octets: signedData } }],
      attach([signature]) {
        if (signature === undefined)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there are fewer than were asked for' } })
        const next = { certificate, signedData, flags: USUAL_FLAGS, algorithmId: 0, signature, parentAlgorithmId: id }
        return {
          pieces: [encodeLineageFile([...before.slice(0, -1), { ...last, flags, algorithmId: id }, next])],
          isBeside: false,
        }
      },
    }
  },

  async extract(signed) {
    const octets = await readWhole(signed, 'a lineage', LINEAGE_MAX_OCTETS)
    const levels = parseLineageFile(octets)
    const signatures = levels.slice(1).map((level, i): FoundSignature => {
      const { signedData, signature, parentAlgorithmId } = level
      const row = apkAlgorithms.find(({ id }) => id === parentAlgorithmId)
      const facts = { format: 'APK', detail: 'a lineage with an algorithm that is not known here' }
      return {
        where: `level ${i + 2}`,
        evidence:
          row === undefined
            ? { type: 'unknown', problem: new TrustError('unsupported', 'artifactUnsupported', { facts }) }
            : {
                type: 'raw',
                signature,
                signatureAlgorithm: row.signature,
                certificate: (levels[i] as LineageLevel).certificate,
                message: bytesSource(signedData),
              },
        covered: [{ offset: signedData.byteOffset - octets.byteOffset, length: signedData.length }],
        // what is signed is in the level itself
        checkCovered: async () => {},
      }
    })
    return { signatures, uncovered: [] }
  },
}

const firstLevel = (certificate: Uint8Array): LineageLevel => ({
  certificate,
  signedData: lineageSignedData(certificate, 0),
  flags: USUAL_FLAGS,
  algorithmId: 0,
  signature: new Uint8Array(),
  parentAlgorithmId: 0,
})

/** DER or PEM. */
async function certificateIn(artifact: BlobSource): Promise<Uint8Array> {
  const octets = await readWhole(artifact, 'a certificate', LINEAGE_MAX_OCTETS)
  const text = Buffer.from(octets).toString('latin1')
  const [block] = text.includes('-----BEGIN ') ? parsePEM(text) : []
  return parseCertificate(block?.der ?? octets).der
}

function flagsIn(written: string): number {
  const names = written === '' ? [] : written.split('+')
  return names.reduce((flags, name) => {
    if (Object.hasOwn(capabilities, name)) return flags | capabilities[name as Capability]
    const offered = Object.keys(capabilities).join('+')
    throw new TrustError('malformed', 'formatOption', {
      facts: { format: 'apk-lineage', option: 'signerMay', value: name, offered },
    })
  }, 0)
}
