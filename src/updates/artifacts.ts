/**
 * Whether an artifact is what its signer signed, before it becomes part of a release.
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import { equal } from '#base/bytes.ts'
import { verifyArtifact } from '#signing/artifact/verify.ts'
import type { BlobSource } from '#signing/format.ts'
import { loadFormat } from '#signing/formats/load.ts'
import { keysOf } from '#signing/signer.ts'
import { fingerprint } from '#x509/certificate.ts'
import type { UpdatesContext } from './context.ts'

interface Named {
  readonly name: string
  readonly format: string
}

/** A file whose name goes on after another's, and has its format, is the signature of that one. */
export const isBeside = (file: Named, content: Named): boolean =>
  file.format === content.format && file.name.startsWith(`${content.name}.`)

export interface Submitted {
  readonly format: string
  readonly signerName: string
  readonly file: BlobSource
  /** What the file is the signature of. */
  readonly content?: BlobSource
}

/**
 * @returns SHA-256 of the signer's certificate, hexadecimal; undefined for a file that carries no signature and may have one beside
 * @throws TrustError `badProof` when it is signed by somebody else, or was changed
 */
export async function verifySigned(
  { signing, world }: UpdatesContext,
  { format: id, signerName, file, content }: Submitted,
): Promise<string | undefined> {
  const format = await loadFormat(id)
  const { record } = await signing.signers.find(signerName)
  const chains = keysOf(record.key).map(({ chain }) => chain)
  const own = chains.flatMap(([certificate]) => (certificate === undefined ? [] : [certificate]))
  if (own.length === 0) throw new TrustError('policyRefused', 'signerNoCertificate', { facts: { name: signerName } })
  const judging = {
    at: new Date(world.clock.now()),
    anchors: chains.flatMap((chain) => chain.slice(-1)),
    intermediates: chains.flat(),
    beside: { certificates: chains.flat(), ...(content !== undefined && { content }) },
  }
  try {
    const report = await verifyArtifact(format, file, judging)
    const by = report.signatures.find(
      ({ verdict, signer }) =>
        verdict === 'valid' && own.some((certificate) => signer !== undefined && equal(certificate, signer.der)),
    )
    if (report.valid && by?.signer !== undefined) return fingerprint(by.signer.der).toHex()
    const detail = report.signatures.find(({ problem }) => problem !== undefined)?.problem?.message ?? ''
    throw new TrustError('badProof', 'releaseArtifactSigner', { facts: { name: signerName, detail } })
  } catch (error) {
    if (content === undefined && format.standsBeside === true && mayBeContent(error)) return undefined
    throw error
  }
}

/** It shows no signature of its format, so that it may be what one is over. */
const mayBeContent = (error: unknown): boolean => {
  const { code, reason } = asTrustError(error)
  return code === 'malformed' || reason === 'artifactUnsigned'
}

/** @throws TrustError `conflict` while the signature of one is missing */
export function checkSigned(artifacts: readonly (Named & { readonly signer: string | undefined })[]): void {
  const unsigned = artifacts.find(({ signer }) => signer === undefined)
  if (unsigned !== undefined) throw new TrustError('conflict', 'releaseUnsigned', { facts: { name: unsigned.name } })
}
