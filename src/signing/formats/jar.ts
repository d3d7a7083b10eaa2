/**
 * JAR files, signed entry by entry.
 *
 * Source: JAR File Specification (Java SE 17), "Signed JAR File".
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { windowed } from '../artifact/blob.ts'
import { archiveSignature, archiveSignaturesIn, MANIFEST } from '../artifact/jar-signature.ts'
import { optionsOf } from '../artifact/options.ts'
import { endOf, isZip, movedRecord, newEntry, parseZip, type ZipEntry } from '../artifact/zip.ts'
import type { Piece, SigningFormat } from '../format.ts'

export const jar: SigningFormat = {
  id: 'jar',
  purpose: 'Java archives (jar, war, ear), multi-release ones too',
  source: 'JAR File Specification, Java SE 17',
  asks: ['cms'],
  algorithms: ['rsa-sha256', 'rsa-sha384', 'rsa-sha512', 'ecdsa-sha256', 'ecdsa-sha384', 'ecdsa-sha512'],
  signerPurpose: 'code-signing',
  options: {
    signerName: {
      help: 'what the signature is called in the archive, 1 to 8 of A-Z 0-9 _ -; one of that name is replaced, others are kept',
      fallback: 'SIGNER',
    },
  },

  async detect(artifact) {
    if (!(await isZip(artifact))) return false
    try {
      return (await parseZip(windowed(artifact))).entries.some(({ name }) => name === MANIFEST)
    } catch {
      return false
    }
  },

  async toBeSigned(artifact, choices) {
    const { signerName = '' } = optionsOf(jar, choices)
    if (!/^[A-Z0-9_-]{1,8}$/.test(signerName)) {
      const facts = { format: 'jar', option: 'signerName', value: signerName, offered: '1 to 8 of A-Z 0-9 _ -' }
      throw new TrustError('malformed', 'formatOption', { facts })
    }
    const source = windowed(artifact)
    const zip = await parseZip(source)
    const { signatureAlgorithm } = choices
    const { request, partsWith, isReplaced } = await archiveSignature(source, zip, { signatureAlgorithm, signerName })
    return {
      requests: [request],
      attach: ([block]) => ({
        pieces: piecesWith(
          partsWith(block),
          zip.entries.filter((entry) => !isReplaced(entry)),
        ),
        isBeside: false,
      }),
    }
  },

  async extract(signed) {
    const source = windowed(signed)
    const { signatures, uncovered } = await archiveSignaturesIn(source, await parseZip(source))
    return { signatures, uncovered }
  },
}

/** Manifest and signature first, as jarsigner puts them and some programs want them; everything else as it was. */
function piecesWith(parts: readonly (readonly [string, Uint8Array])[], kept: readonly ZipEntry[]): readonly Piece[] {
  const pieces: Piece[] = []
  const records: Uint8Array[] = []
  let at = 0
  for (const [name, content] of parts) {
    const { local, record } = newEntry(name, content, at)
    pieces.push(local)
    records.push(record)
    at += local.length
  }
  for (const entry of kept) {
    pieces.push(entry.local)
    records.push(movedRecord(entry, at))
    at += entry.local.length
  }
  const directory = concat(records)
  return [...joined(pieces), directory, endOf(records.length, directory.length, at)]
}

/** Ranges that follow each other are copied as one. */
function joined(pieces: readonly Piece[]): readonly Piece[] {
  const out: Piece[] = []
  for (const piece of pieces) {
    const last = out.at(-1)
    if (
      !(piece instanceof Uint8Array) &&
      last !== undefined &&
      !(last instanceof Uint8Array) &&
      last.offset + last.length === piece.offset
    )
      out[out.length - 1] = { offset: last.offset, length: last.length + piece.length }
    else out.push(piece)
  }
  return out
}
