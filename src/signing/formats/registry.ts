/** Every signing format of this build. Adding one: write its file, add one line here. @module */
import { TrustError } from '#base/errors.ts'
import type { BlobSource, SigningFormat } from '../format.ts'
import { apkLineage } from './apk-lineage.ts'
import { apk } from './apk.ts'
import { authenticodeCAB } from './authenticode-cab.ts'
import { authenticodeMSI } from './authenticode-msi.ts'
import { authenticodePE } from './authenticode-pe.ts'
import { authenticodeScript } from './authenticode-script.ts'
import { cms } from './cms.ts'
import { coseSign1 } from './cose-sign1.ts'
import { coseSign } from './cose-sign.ts'
import { dsse } from './dsse.ts'
import { jar } from './jar.ts'
import { jws } from './jws.ts'
import { mcuboot } from './mcuboot.ts'
import { plain } from './plain.ts'
import { rauc } from './rauc.ts'
import { swupdate } from './swupdate.ts'
import { uefiVariable } from './uefi-variable.ts'

/** In the order in which they look at an artifact that nobody named a format for. */
export const signingFormats = [
  authenticodePE,
  authenticodeMSI,
  authenticodeCAB,
  authenticodeScript,
  apk,
  apkLineage,
  jar,
  mcuboot,
  rauc,
  swupdate,
  uefiVariable,
  cms,
  coseSign1,
  coseSign,
  jws,
  dsse,
  plain,
] as const satisfies readonly SigningFormat[]

/** @throws TrustError `notFound` */
export function signingFormat(id: string): SigningFormat {
  const found = signingFormats.find((format) => format.id === id)
  if (found !== undefined) return found
  const facts = { format: id, formats: signingFormats.map((format) => format.id).join(', ') }
  throw new TrustError('notFound', 'formatUnknown', { facts })
}

/**
 * @param ids a single one is what is wanted, whatever the artifact looks like; of several, the first that it shows
 * @throws TrustError `notFound`; `unsupported` when it shows none of several
 */
export async function chooseFormat(artifact: BlobSource, ids: readonly string[]): Promise<SigningFormat> {
  const [only, another] = ids
  if (only !== undefined && another === undefined) return signingFormat(only)
  for (const format of signingFormats) if (ids.includes(format.id) && (await format.detect(artifact))) return format
  throw new TrustError('unsupported', 'formatUnsaid', { facts: { formats: ids.join(', ') } })
}

/** @throws TrustError `unsupported` when it shows none */
export async function detectFormat(artifact: BlobSource): Promise<SigningFormat> {
  for (const format of signingFormats) if (await format.detect(artifact)) return format
  throw new TrustError('unsupported', 'formatNotSeen')
}
