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
   * @param sealed as `sealImage` made it
   * @returns its SHA-256
   * @throws TrustError `policyRefused` (`imageNotInTicket`), `badProof`; `forbidden` for one that was encrypted for another node
   */
  add(sealed: AsyncIterable<Uint8Array>, signature: Uint8Array): Promise<string>
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

  /** The file is closed when the work has ended, however it does. */
  async function* decrypted(path: string): AsyncGenerator<StreamedEnvelope, void> {
    const { envelopeKey: key } = machine
    if (key === undefined || ticket.envelope === undefined) throw new TrustError('policyRefused', 'envelopeMissing')
    const certificate = Uint8Array.fromBase64(ticket.envelope)
    const file = createReadStream(path)
    try {
      yield await decryptEnvelopeStream(file, { type: 'privateKey', certificate, key }, world.random)
    } finally {
      file.destroy()
    }
  }

  async function check(path: string, signature: Uint8Array): Promise<{ readonly digest: string; readonly octets: number }> {
    for await (const { contentOctets: octets, unverifiedContent } of decrypted(path))
      return { octets, digest: await checkImage(ticket, unverifiedContent, signature, new Date(world.clock.now())) }
    throw new TypeError('a file is decrypted once')
  }

  async function* read(digest: string): AsyncGenerator<Uint8Array, void> {
    for await (const { unverifiedContent } of decrypted(pathOf(digest))) yield* checked(unverifiedContent, digest)
  }

  return {
    async add(sealed, signature) {
      mkdirSync(place, { recursive: true, mode: 0o700 })
      const beside = join(place, 'incoming')
      try {
        await pipeline(sealed, createWriteStream(beside, { mode: 0o600 }))
        const { digest } = await check(beside, signature)
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
      const found = await check(pathOf(digest), new Uint8Array(readFileSync(signatureOf(digest))))
      if (found.digest !== digest) throw imageOther(digest)
      return { octets: found.octets, read: () => read(digest) }
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
