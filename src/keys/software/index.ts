/**
 * Keys as wrapped blobs in the database, so that every node of an installation can sign with them.
 *
 * An unwrapped key stays in this process as an OpenSSL key object for as long as its {@link Signer} does. `open` asks
 * the database every time; a node that holds a signer keeps it when another node destroys the key.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import {
  certificateSignatureOf,
  type KeyAlgorithm,
  keyAlgorithm,
  type KeyAlgorithmId,
  keyAlgorithms,
  type SignatureAlgorithm,
  signatureAlgorithm,
  type SignatureAlgorithmId,
  signaturesOf,
} from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import type { KeyEntry, KeyStore, Signer } from '../key-store.ts'
import { checkDigest } from '../digest.ts'
import { type DigestKey, openDigestKey } from '../openssl.ts'
import { unwrapKey, wrapKey } from './wrapping.ts'

export interface SoftwareKeyStoreOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
  /** 32 octets; see `wrapping-key.ts`. */
  readonly wrappingKey: Secret
}

type WrappedKey = {
  readonly label: string
  readonly key_algorithm: KeyAlgorithmId
  readonly public_key: Uint8Array
  readonly wrapped: Uint8Array
  readonly created_at: number
}

export function softwareKeyStore({ database, world, organizationId, wrappingKey }: SoftwareKeyStoreOptions): KeyStore {
  /** One per key, so that destroying a key reaches every holder in this process. */
  const held = new Map<string, HeldKey>()
  /** Labels destroyed by this process: an `open` that read its row just before must not bring the key back. */
  const destroyed = new Set<string>()

  const find = async (label: string): Promise<WrappedKey | undefined> => {
    const rows = await database.query<WrappedKey>(
      `SELECT label, key_algorithm, public_key, wrapped, created_at FROM wrapped_key
        WHERE organization_id = ? AND label = ? AND destroyed_at IS NULL`,
      organizationId,
      label,
    )
    return rows[0]
  }

  const refuseTaken = async (label: string): Promise<void> => {
    // a destroyed key's label stays taken: what it signed still names it
    const rows = await database.query('SELECT id FROM wrapped_key WHERE organization_id = ? AND label = ?', organizationId, label)
    if (rows.length > 0) throw labelTaken(label)
  }

  const keep = async (label: string, algorithm: KeyAlgorithmId, key: KeyObject): Promise<Signer> => {
    const publicKey = spkiOf(key)
    const pkcs8 = secret(key.export({ format: 'der', type: 'pkcs8' }))
    const wrapped = wrapKey(pkcs8, wrappingKey, { organizationId, label, keyAlgorithm: algorithm, publicKey }, world.random)
    pkcs8.reveal('erase').fill(0)
    const id = uuidv7(world)
    const createdAt = world.clock.now()
    const inserted = await database.transaction((tx) =>
      tx.query(
        `INSERT INTO wrapped_key (id, organization_id, version, label, key_algorithm, public_key, wrapped, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (organization_id, label) DO NOTHING RETURNING id`,
        id,
        organizationId,
        label,
        algorithm,
        publicKey,
        wrapped,
        createdAt,
      ),
    )
    if (inserted.length === 0) throw labelTaken(label)
    return hold(label, algorithm, publicKey, key)
  }

  const hold = (label: string, algorithm: KeyAlgorithmId, publicKey: Uint8Array, key: KeyObject): Signer => {
    const entry = held.get(label) ?? heldKey(label, algorithm, publicKey, key)
    held.set(label, entry)
    return entry.signer
  }

  return {
    id: 'software',
    algorithms: keyAlgorithms.map(({ id }) => id),

    async generate(label, algorithm) {
      const row: KeyAlgorithm | undefined = keyAlgorithm(algorithm)
      if (row === undefined || row.standing !== 'allowed') {
        throw new TrustError('unsupported', 'keyStoreAlgorithm', { facts: { algorithm, offered: offered() } })
      }
      await refuseTaken(label)
      return keep(label, algorithm, (await generateKey(algorithm)).privateKey)
    },

    async open(label) {
      const row = await find(label)
      if (row === undefined || destroyed.has(label)) throw notFound(label)
      const known = held.get(label)
      if (known !== undefined) return known.signer
      const { key_algorithm: algorithm, public_key: publicKey } = row
      const pkcs8 = unwrapKey(row.wrapped, wrappingKey, { organizationId, label, keyAlgorithm: algorithm, publicKey })
      const octets = pkcs8.reveal('open a key')
      const key = createPrivateKey({
        key: Buffer.from(octets.buffer, octets.byteOffset, octets.length),
        format: 'der',
        type: 'pkcs8',
      })
      octets.fill(0)
      return hold(label, algorithm, publicKey, key)
    },

    async list() {
      const rows = await database.query<WrappedKey>(
        `SELECT label, key_algorithm, public_key, created_at FROM wrapped_key
          WHERE organization_id = ? AND destroyed_at IS NULL ORDER BY label`,
        organizationId,
      )
      return rows.map(toEntry)
    },

    async destroy(label) {
      // The row stays, so that the label is never used for another key. Copies of the wrapped blob may outlive this in
      // backups and free pages of the database file; they open only with the wrapping key.
      const rows = await database.transaction((tx) =>
        tx.query(
          `UPDATE wrapped_key SET wrapped = ?, destroyed_at = ?, version = version + 1
            WHERE organization_id = ? AND label = ? AND destroyed_at IS NULL RETURNING id`,
          new Uint8Array(0),
          world.clock.now(),
          organizationId,
          label,
        ),
      )
      destroyed.add(label)
      held.get(label)?.drop()
      held.delete(label)
      if (rows.length === 0) throw notFound(label)
    },

    async import(label, pkcs8) {
      const { algorithm, key } = await parsePrivateKey(pkcs8)
      await refuseTaken(label)
      return keep(label, algorithm, key)
    },
  }
}

interface HeldKey {
  readonly signer: Signer
  /** Makes every signer of this key refuse from now on. */
  drop(): void
}

function heldKey(label: string, algorithm: KeyAlgorithmId, publicKey: Uint8Array, privateKey: KeyObject): HeldKey {
  let key: KeyObject | undefined = privateKey
  const { slow } = keyAlgorithm(algorithm)
  const schemes = new Map(signaturesOf(algorithm).map((row) => [row.id, row]))
  const schemeOf = (signature: SignatureAlgorithmId): SignatureAlgorithm => {
    const scheme = schemes.get(signature)
    if (scheme !== undefined) return scheme
    throw new TrustError('unsupported', 'signerFamily', { facts: { keyAlgorithm: algorithm, signature } })
  }
  let forDigests: DigestKey | undefined
  return {
    signer: {
      label,
      keyAlgorithm: algorithm,
      publicKey,
      async sign(message, signature) {
        const scheme = schemeOf(signature)
        if (key === undefined) throw notFound(label)
        return signMessage(message, scheme, key, slow)
      },
      async signDigest(octets, signature) {
        const scheme = schemeOf(signature)
        checkDigest(octets, scheme)
        if (key === undefined) throw notFound(label)
        forDigests ??= openDigestKey(secret(key.export({ format: 'der', type: 'pkcs8' })), slow)
        return forDigests.sign(octets, scheme)
      },
    },
    drop() {
      key = undefined
      forDigests?.close()
    },
  }
}

/** @throws TrustError `malformed`; `unsupported` for an algorithm or form not taken; `policyRefused` for a weak key */
async function parsePrivateKey(pkcs8: Secret): Promise<{ readonly algorithm: KeyAlgorithmId; readonly key: KeyObject }> {
  const octets = pkcs8.reveal('import a key')
  const key = readPrivateKey(octets)
  const publicKey = importPublicKey(spkiOf(key))
  const { algorithm } = publicKey
  if (algorithm.startsWith('ml-dsa') && !hasSeed(key)) throw new TrustError('unsupported', 'privateKeyForm')
  // FIPS 140-3 IG 10.3.A: a key pair from elsewhere may not be one
  const probe = utf8('pairwise consistency')
  const signature = certificateSignatureOf(algorithm)
  try {
    const made = await signMessage(probe, signatureAlgorithm(signature), key, keyAlgorithm(algorithm).slow)
    if (await verifySignature({ algorithm: signature, octets: made }, publicKey, probe)) return { algorithm, key }
  } catch {
    // a key that cannot sign is one that its public key does not verify
  }
  throw new TrustError('malformed', 'privateKeyUnusable')
}

function readPrivateKey(octets: Uint8Array): KeyObject {
  try {
    return createPrivateKey({
      key: Buffer.from(octets.buffer, octets.byteOffset, octets.length),
      format: 'der',
      type: 'pkcs8',
    })
  } catch {
    throw new TrustError('malformed', 'privateKeyUnusable') // no cause: OpenSSL's words may quote the input
  }
}

/** PKCS #8 of an ML-DSA key that has its seed (RFC 9881, 6), which the rest is derived from: OpenSSL then writes that alone. */
const SEED_FORM_OCTETS = 54

function hasSeed(key: KeyObject): boolean {
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' })
  const { length } = pkcs8
  pkcs8.fill(0)
  return length === SEED_FORM_OCTETS
}

function spkiOf(key: KeyObject): Uint8Array {
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
  return new Uint8Array(spki.buffer, spki.byteOffset, spki.length)
}

const toEntry = (row: WrappedKey): KeyEntry => ({
  label: row.label,
  keyAlgorithm: row.key_algorithm,
  publicKey: row.public_key,
  createdAt: new Date(row.created_at),
})

const offered = () => keyAlgorithms.map(({ id }) => id).join(', ')
const labelTaken = (label: string) => new TrustError('conflict', 'keyLabelTaken', { facts: { label } })
const notFound = (label: string) => new TrustError('notFound', 'keyNotFound', { facts: { label } })
