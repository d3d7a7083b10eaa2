/** Every signing format of this build. Adding one: write its file, add one line here. @module */
import { TrustError } from '#base/errors.ts'
import type { BlobSource, SigningFormat } from '../format.ts'
import { apk } from './apk.ts'
import { authenticodeCAB } from './authenticode-cab.ts'
import { authenticodeMSI } from './authenticode-msi.ts'
import { authenticodePE } from './authenticode-pe.ts'
import { authenticodeScript } from './authenticode-script.ts'
import { cms } from './cms.ts'
import { jar } from './jar.ts'
import { plain } from './plain.ts'

/** In the order in which they look at an artifact that nobody named a format for. */
export const signingFormats = [
  authenticodePE,
  authenticodeMSI,
  authenticodeCAB,
  authenticodeScript,
  apk,
  jar,
  cms,
  plain,
] as const satisfies readonly SigningFormat[]

/** @throws TrustError `notFound` */
export function signingFormat(id: string): SigningFormat {
  const found = signingFormats.find((format) => format.id === id)
  if (found !== undefined) return found
  const facts = { format: id, formats: signingFormats.map((format) => format.id).join(', ') }
  throw new TrustError('notFound', 'formatUnknown', { facts })
}

/** @throws TrustError `unsupported` when it shows none */
export async function detectFormat(artifact: BlobSource): Promise<SigningFormat> {
  for (const format of signingFormats) if (await format.detect(artifact)) return format
  throw new TrustError('unsupported', 'formatNotSeen')
}
