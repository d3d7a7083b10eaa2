/**
 * Authenticode for scripts of PowerShell: the signature stands in comments behind the text. An unsigned script shows
 * nothing by which it is known, so this format is named by whoever signs.
 *
 * Source: Windows Authenticode Portable Executable Signature Format 1.0, for the signature; Microsoft, about_Signing
 * (PowerShell 7.5), for where it stands.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { type DigestId, usualDigest } from '#cms/digests.ts'
import { optionsOf } from '../artifact/options.ts'
import { encodeBlock, endsWithBlock, hashedText, parseScript, type Script } from '../artifact/script.ts'
import {
  AUTHENTICODE_ALGORITHMS,
  AUTHENTICODE_OPTIONS,
  checkAnswer,
  foundSignatures,
  indirectDataRequest,
  nest,
  sipInfo,
  SPC_SIP_INFO,
} from '../artifact/spc.ts'
import type { BlobSource, SigningFormat } from '../format.ts'

/** {603BCC1F-4B59-4E08-B724-D2C6297EF351}, which reads scripts of PowerShell. */
const SCRIPT_READER = '1fcc3b60594b084eb724d2c6297ef351'
const SCRIPT_VERSION = 0x10000n

export const authenticodeScript: SigningFormat = {
  id: 'authenticode-script',
  purpose: 'scripts, modules and data of PowerShell (ps1, psm1, psd1, ps1xml, psc1, cdxml)',
  source: 'Windows Authenticode, with the signature block of PowerShell',
  asks: ['authenticode'],
  algorithms: AUTHENTICODE_ALGORITHMS,
  signerPurpose: 'code-signing',
  options: AUTHENTICODE_OPTIONS,

  detect: endsWithBlock,

  async toBeSigned(artifact, choices) {
    const { existing, programName, programUrl } = optionsOf(authenticodeScript, choices)
    const script = await parseScript(artifact)
    const before = existing === 'nest' ? script.signature : undefined
    const digestAlgorithm = usualDigest(choices.signatureAlgorithm)
    const digest = await digestOfText(artifact, script, digestAlgorithm)
    const statement = { type: SPC_SIP_INFO, value: sipInfo(SCRIPT_VERSION, SCRIPT_READER), digestAlgorithm, digest }
    return {
      requests: [indirectDataRequest(statement, { programName, programUrl })],
      attach([message]) {
        const signature = checkAnswer(message, SPC_SIP_INFO)
        const block = encodeBlock(before === undefined ? signature : nest(before, signature), script)
        return { pieces: [{ offset: 0, length: script.textOctets }, block], isBeside: false }
      },
    }
  },

  async extract(signed) {
    const script = await parseScript(signed)
    if (script.signature === undefined) return { signatures: [], uncovered: [] }
    const found = {
      type: SPC_SIP_INFO,
      reader: SCRIPT_READER,
      where: 'signature block',
      covered: [{ offset: 0, length: script.textOctets }],
    }
    const signatures = foundSignatures(script.signature, found, (id) => digestOfText(signed, script, id))
    return { signatures, uncovered: [] }
  },
}

async function digestOfText(source: BlobSource, script: Script, digestAlgorithm: DigestId): Promise<Uint8Array> {
  const hash = createHash(digestAlgorithm)
  for await (const octets of hashedText(source, script)) hash.update(octets)
  return new Uint8Array(hash.digest())
}
