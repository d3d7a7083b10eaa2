/**
 * Files that come in an envelope which only some devices open: whoever carries them reads nothing of them.
 *
 * Nothing of it is believed for having been opened: it has to be what the director's statement names.
 *
 * Source: RFC 5083.
 *
 * @module
 */
import { createPrivateKey } from 'node:crypto'
import { readFileSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parsePEM } from '#asn1/pem.ts'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { decryptEnvelopeStream } from '#cms/decrypt-stream.ts'
import { openerKey } from '#cms/key-objects.ts'
import type { Device } from './device.ts'
import { updateSettings } from './update-settings.ts'

/** What it is to be. */
export interface Opened {
  readonly place: string
  readonly octets: number
}

/**
 * @throws TrustError `policyRefused` without a key; `forbidden` when it is not for this device; `badProof` when it was changed
 */
export async function openSealed(device: Device, envelope: AsyncIterable<Uint8Array>, { place, octets }: Opened): Promise<void> {
  const decryption = updateSettings(device)?.decryption
  if (decryption === undefined) throw new TrustError('policyRefused', 'updateSealed')
  const [certificate] = parsePEM(readPEM(decryption.certificate))
  if (certificate === undefined) throw new TrustError('malformed', 'agentKeyFile')
  const key = openerKey(createPrivateKey(readPEM(decryption.key)))
  const opener = { type: 'privateKey', certificate: certificate.der, key } as const
  const { contentOctets, unverifiedContent } = await decryptEnvelopeStream(envelope, opener, device.world.random)
  if (contentOctets !== octets)
    throw new TrustError('tooLarge', 'updateArtifactLength', { facts: { octets, length: contentOctets } })
  await write(unverifiedContent, place)
}

/** It is at its place only when all of it was found unchanged. */
async function write(content: AsyncIterable<Uint8Array>, place: string): Promise<void> {
  const part = `${place}.part`
  const file = await open(part, 'w', 0o600)
  try {
    for await (const piece of content) await file.writeFile(piece)
    await file.sync()
  } catch (error) {
    rmSync(part)
    throw error
  } finally {
    await file.close()
  }
  renameSync(part, place)
  syncDirectory(dirname(place))
}

function readPEM(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (cause) {
    const problem = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file: path, problem }, cause })
  }
}
