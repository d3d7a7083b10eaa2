/**
 * Makes a data directory ready, once: what must never be made twice is made here and nowhere else.
 *
 * @module
 */
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { openAccess } from '#access/access.ts'
import { encodePEM } from '#asn1/pem.ts'
import { createAuditLog } from '#audit/log.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import { makeWrappingKey } from '#keys/software/wrapping-key.ts'
import { nameOf } from '#x509/name.ts'
import { openCA, openFoundation } from './compose.ts'
import { TLS_AUTHORITY } from './listener-certificate.ts'

export interface InitOptions {
  readonly dataDirectory: string
  readonly config: Config
  readonly world: World
  readonly environment: Readonly<Record<string, string | undefined>>
  /** The first person: may do everything that one person may do, and makes the others. */
  readonly administrator: string
  /** Where to put a token for the command line, mode 0600; none is made otherwise. */
  readonly tokenFile?: string
}

export interface Initialized {
  readonly administratorId: string
  /** Signs the administrator in at the console, once. */
  readonly link: Secret
  readonly linkExpiresAt: Date
  /** The installation's own TLS root, which clients of this server trust. */
  readonly tlsRootFile: string
  /** Verifies the audit log's checkpoints; keep it elsewhere too. */
  readonly auditVerifierKey: string
}

const TOKEN_SECONDS = 90 * 86_400

/** Written last: a directory with it is whole. */
export const TLS_ROOT_FILE = 'tls-root.pem'

/**
 * @throws TrustError `conflict` when the directory was made ready before
 */
export async function initialize(options: InitOptions): Promise<Initialized> {
  const { dataDirectory, config, world } = options
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 })
  if (config.keys.wrappingKey.kind === 'file') {
    mkdirSync(dirname(config.keys.wrappingKey.path), { recursive: true, mode: 0o700 })
    await makeWrappingKeyOnce(config.keys.wrappingKey.path, options)
  }
  const foundation = await openFoundation(options)
  try {
    const { db, keys, audit, organizationId } = foundation
    const log = await createAuditLog({
      database: db,
      world,
      organizationId,
      keys,
      origin: `sealworks.invalid/audit/${uuidv7(world)}`,
    })
    const access = openAccess({ database: db, world, audit, organizationId })
    const administrator = await access.createPrincipal(
      { kind: 'person', name: options.administrator, roles: ['administrator', 'pki-officer', 'auditor'] },
      'system',
    )
    const { authorities } = await openCA(foundation, config)
    const root = await authorities.create(
      {
        slug: TLS_AUTHORITY,
        name: nameOf([
          { type: 'O', value: 'Sealworks installation' },
          { type: 'CN', value: `TLS root ${log.origin.slice(-12)}` },
        ]),
        profile: 'root',
        keyAlgorithm: 'ecdsa-p256',
      },
      'system',
    )
    if (options.tokenFile !== undefined) {
      const { token } = await access.createToken(
        administrator.id,
        { name: 'command line', lifetimeSeconds: TOKEN_SECONDS },
        'system',
      )
      writeDurably(options.tokenFile, token.reveal('hand the token to its owner'), 0o600)
    }
    const { link, expiresAt } = await access.createSignInLink(administrator.id, 'system')
    const sequencer = auditSequencer({ database: db, world, log, holder: uuidv7(world) })
    await sequencer.runOnce()
    await sequencer.release()
    const tlsRootFile = join(dataDirectory, TLS_ROOT_FILE)
    writeDurably(tlsRootFile, encodePEM('CERTIFICATE', root.certificate.der), 0o644)
    return { administratorId: administrator.id, link, linkExpiresAt: expiresAt, tlsRootFile, auditVerifierKey: log.verifierKey }
  } finally {
    await foundation.db.close()
  }
}

async function makeWrappingKeyOnce(path: string, { world }: InitOptions): Promise<void> {
  try {
    await makeWrappingKey(path, world.random)
  } catch (error) {
    if (error instanceof TrustError && error.reason === 'wrappingKeyExists')
      throw new TrustError('conflict', 'initializedBefore', { cause: error })
    throw error
  }
}
