/**
 * Images that a node hands out: encrypted on its disk, in clear on their way to a station only.
 *
 * Whoever has the node's directory beside a TPM reads none of them. Whoever is root on the node's machine can: the node
 * decrypts in its memory, and may be asked again. In files (tier N0) the key lies beside them.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { decryptEnvelopeStream, type StreamedEnvelope } from '#cms/decrypt-stream.ts'
import { checkImage } from '../firmware.ts'
import type { JobTicket } from '../messages.ts'
import type { Machine } from './machine.ts'

export interface ImageStream {
  readonly octets: number
  /** Its last piece comes when all of it is what was signed. */
  read(): AsyncIterable<Uint8Array>
}

export interface NodeImages {
  /**
   * Takes an image that was encrypted for this node.
   *
   * @returns its SHA-256
   * @throws TrustError `policyRefused` (`imageNotInTicket`), `badProof`; `forbidden` for one that was encrypted for another node
   */
  add(file: string, signature: Uint8Array): Promise<string>
  /** Checks it again, all of it. @throws TrustError `notFound` (`imageUnknown`), and as `add` */
  open(digest: string): Promise<ImageStream>
}

export function nodeImages(
  directory: string,
  {
    ticket,
    machine,
    world,
  }: { readonly ticket: JobTicket; readonly machine: Pick<Machine, 'envelopeKey'>; readonly world: World },
): NodeImages {
  const place = join(directory, 'images')
  const pathOf = (digest: string): string => join(place, `${digest}.cms`)
  const signatureOf = (digest: string): string => join(place, `${digest}.p7s`)
  const now = (): Date => new Date(world.clock.now())

  function decrypted(path: string): Promise<StreamedEnvelope> {
    const { envelopeKey: key } = machine
    if (key === undefined || ticket.envelope === undefined) throw new TrustError('policyRefused', 'envelopeMissing')
    const certificate = Uint8Array.fromBase64(ticket.envelope)
    return decryptEnvelopeStream(createReadStream(path), { type: 'privateKey', certificate, key }, world.random)
  }

  return {
    async add(file, signature) {
      mkdirSync(place, { recursive: true, mode: 0o700 })
      const beside = join(place, 'incoming')
      await pipeline(createReadStream(file), createWriteStream(beside, { mode: 0o600 }))
      try {
        const digest = await checkImage(ticket, (await decrypted(beside)).unverifiedContent, signature, now())
        await using written = await open(beside, 'r+')
        await written.sync()
        rmSync(signatureOf(digest), { force: true })
        writeDurably(signatureOf(digest), signature, 0o600)
        renameSync(beside, pathOf(digest))
        syncDirectory(place)
        return digest
      } finally {
        rmSync(beside, { force: true })
      }
    },

    async open(digest) {
      if (!existsSync(pathOf(digest))) throw new TrustError('notFound', 'imageUnknown', { facts: { image: digest } })
      const signature = new Uint8Array(readFileSync(signatureOf(digest)))
      const found = await checkImage(ticket, (await decrypted(pathOf(digest))).unverifiedContent, signature, now())
      if (found !== digest) throw imageOther(digest)
      const { contentOctets, unverifiedContent } = await decrypted(pathOf(digest))
      return { octets: contentOctets, read: () => checked(unverifiedContent, digest) }
    },
  }
}

/** Somebody may exchange the file while it is read: what is not the image never comes to its end. */
async function* checked(content: AsyncIterable<Uint8Array>, digest: string): AsyncGenerator<Uint8Array, void> {
  const hash = createHash('sha256')
  let held: Uint8Array | undefined
  for await (const piece of content) {
    if (held !== undefined) yield held
    hash.update(piece)
    held = piece
  }
  if (hash.digest('hex') !== digest) throw imageOther(digest)
  if (held !== undefined) yield held
}

const imageOther = (digest: string): TrustError => new TrustError('badProof', 'imageOther', { facts: { image: digest } })
