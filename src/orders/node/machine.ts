/**
 * What a node stands on: the key of its job and its two counters, in files or in a TPM.
 *
 * @module
 */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { keyAlgorithm, type KeyAlgorithmId, signatureAlgorithm } from '#algorithms/table.ts'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { Agreer } from '#cms/decrypt.ts'
import { openerKey } from '#cms/key-objects.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Counters } from '../counting.ts'
import type { EndorsementChallenge, TicketRequest } from '../messages.ts'
import { fileCounter, writeCounter } from './file-counter.ts'

/** A key that agrees, and does nothing else. */
export interface EnvelopeKey extends Agreer {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
}

export interface Machine {
  readonly signer: Signer
  readonly counters: Counters
  /** As tickets name them. */
  readonly counterNames: { readonly starts: string; readonly blocks: string }
  /** Opens images that were encrypted for this node; undefined for nodes of earlier versions. */
  readonly envelopeKey: EnvelopeKey | undefined
  /** What it proves of itself. @param nonce of the order's sheet */
  attest(nonce: Uint8Array): Promise<TicketRequest['attestation']>
  /** Reads what the maker asks of its TPM. @throws TrustError `badProof` when it is asked of another; `policyRefused` without one */
  activate(challenge: Pick<EndorsementChallenge, 'credentialBlob' | 'secret'>): Promise<Secret>
  /** The key is gone for good afterwards, and so are the counters. */
  destroy(): Promise<void>
  close(): Promise<void>
}

const KEY_FILE = 'job-key.p8'
const ENVELOPE_FILE = 'envelope-key.p8'
const STARTS_FILE = 'starts'
const BLOCKS_FILE = 'blocks'

/** Makes key and counters in files; what an unfinished start left there is made anew. */
export async function makeFileMachine(directory: string, algorithm: KeyAlgorithmId): Promise<void> {
  for (const [file, of] of [
    [KEY_FILE, algorithm],
    [ENVELOPE_FILE, 'ecdsa-p256'],
  ] as const) {
    const { privateKey } = await generateKey(of)
    const path = join(directory, file)
    rmSync(path, { force: true })
    writeDurably(path, privateKey.export({ type: 'pkcs8', format: 'der' }), 0o600)
  }
  writeCounter(join(directory, STARTS_FILE), 0)
  writeCounter(join(directory, BLOCKS_FILE), 0)
}

/** @throws TrustError `unavailable` (`jobKeyGone`) after the job was closed */
export function openFileMachine(directory: string): Machine {
  const path = join(directory, KEY_FILE)
  if (!existsSync(path)) throw new TrustError('unavailable', 'jobKeyGone')
  const key = createPrivateKey({ key: readFileSync(path), format: 'der', type: 'pkcs8' })
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }))
  const { algorithm } = importPublicKey(publicKey)
  const { slow } = keyAlgorithm(algorithm)
  return {
    envelopeKey: openEnvelopeKey(directory),
    signer: {
      label: 'job',
      keyAlgorithm: algorithm,
      publicKey,
      sign: async (message, signature) => signMessage(message, signatureAlgorithm(signature), key, slow),
    },
    counters: { starts: fileCounter(join(directory, STARTS_FILE)), blocks: fileCounter(join(directory, BLOCKS_FILE)) },
    counterNames: { starts: 'file', blocks: 'file' },
    attest: async () => undefined,
    activate: () => Promise.reject(new TrustError('policyRefused', 'endorsementMissing')),
    async destroy() {
      for (const file of [path, join(directory, ENVELOPE_FILE)]) rmSync(file, { force: true })
      syncDirectory(directory)
    },
    close: async () => {},
  }
}

function openEnvelopeKey(directory: string): EnvelopeKey | undefined {
  const path = join(directory, ENVELOPE_FILE)
  if (!existsSync(path)) return undefined
  const key = createPrivateKey({ key: readFileSync(path), format: 'der', type: 'pkcs8' })
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }))
  return { ...(openerKey(key) as Agreer), publicKey } // an elliptic key, which we made
}
