/**
 * What the files of this room share: where things are kept, and how an act and its audit entry come to be together.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { Audit, AuditEntry } from '#audit/audit.ts'
import { utf8 } from '#base/bytes.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import type { Database, Transaction } from '#store/database.ts'

export interface AccessOptions {
  readonly database: Database
  readonly world: World
  readonly audit: Audit
  readonly organizationId: string
}

/** An act in words of the audit log; `actor` as in {@link AuditEntry}. */
export interface Act {
  readonly actor: string
  readonly act: string
  readonly object: string
  readonly facts?: Facts
}

/**
 * Runs `work` with its audit entry in one transaction; a refusal is recorded in another, after the roll-back.
 *
 * @param work returns `undefined` when there was nothing to do, and then nothing is recorded
 */
export async function perform<T>(
  { database, audit }: AccessOptions,
  act: Act,
  work: (tx: Transaction) => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await database.transaction(async (tx) => {
      const result = await work(tx)
      if (result !== undefined) await audit.record(tx, { ...act, outcome: 'done' } satisfies AuditEntry)
      return result
    })
  } catch (error) {
    // what failed underneath was not refused by anyone
    if (error instanceof TrustError && error.code !== 'unavailable') await audit.refuse({ ...act, reason: error.reason })
    throw error
  }
}

/** 256 bits: nobody guesses one, so a plain hash in the database is enough. */
const CREDENTIAL_OCTETS = 32

/** Says what a credential is to whoever finds one, such as a scanner of repositories. */
export type CredentialPrefix = 'swt_' | 'swl_' | 'sws_'

export const makeCredential = (prefix: CredentialPrefix, { random }: Pick<World, 'random'>): Secret =>
  secret(utf8(prefix + random.octets(CREDENTIAL_OCTETS).toBase64({ alphabet: 'base64url', omitPadding: true })))

/** Over the text, not what it decodes to: one credential has one spelling. */
export const credentialHash = (text: string | Uint8Array): Uint8Array => new Uint8Array(hash('sha256', text, 'buffer'))

export const hasCredentialForm = (text: string, prefix: CredentialPrefix): boolean =>
  text.startsWith(prefix) && /^[A-Za-z0-9_-]{43}$/.test(text.slice(prefix.length))
