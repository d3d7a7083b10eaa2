/**
 * Tokens: what programs and the command line show to be let in. Each belongs to a person or a service and can do what
 * they can, until it expires or is revoked. Only its hash is kept.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { uuidv7 } from '#base/world.ts'
import { type AccessOptions, credentialHash, hasCredentialForm, makeCredential, perform } from './context.ts'
import { type Principal, PRINCIPAL_COLUMNS, type PrincipalRow, toPrincipals } from './principals.ts'

export interface TokenEntry {
  readonly id: string
  readonly name: string
  readonly createdAt: Date
  readonly expiresAt: Date
  /** To the hour; undefined when never used. */
  readonly lastUsedAt: Date | undefined
  readonly revokedAt: Date | undefined
}

export interface NewToken {
  /** Where it is used, for whoever has to revoke it one day. */
  readonly name: string
  readonly lifetimeSeconds: number
}

export interface Tokens {
  /** @returns the token itself, which is not kept and cannot be had again @throws TrustError `notFound`, `malformed` */
  createToken(
    principalId: string,
    token: NewToken,
    actor: string,
  ): Promise<{ readonly id: string; readonly token: Secret; readonly expiresAt: Date }>
  listTokens(principalId: string): Promise<readonly TokenEntry[]>
  /** Does nothing when it is revoked already. @throws TrustError `notFound` */
  revokeToken(tokenId: string, actor: string): Promise<void>
  /** @throws TrustError `unauthenticated`, with the same words for a token that never was and one that was revoked */
  authenticateToken(text: string): Promise<Principal>
}

export const TOKEN_PREFIX = 'swt_'
/** Two years: longer than a plant's service interval, and short enough that a forgotten one ends. */
export const TOKEN_LIFETIME_MAX_SECONDS = 2 * 366 * 86_400
const NAME_MAX_CHARACTERS = 100
/** Enough to find tokens that nobody uses; writing each use would make every request a write. */
const LAST_USED_GRAIN_MILLISECONDS = 3_600_000

type TokenRow = PrincipalRow & {
  readonly id: string
  readonly expires_at: number
  readonly last_used_at: number | null
  readonly revoked_at: number | null
}

export function tokens(options: AccessOptions): Tokens {
  const { database, world, organizationId } = options

  return {
    async createToken(principalId, { name, lifetimeSeconds }, actor) {
      if (name === '' || name.length > NAME_MAX_CHARACTERS || /\p{Cc}/u.test(name) || !name.isWellFormed()) {
        throw new TrustError('malformed', 'tokenName', { facts: { limit: NAME_MAX_CHARACTERS } })
      }
      if (!Number.isSafeInteger(lifetimeSeconds) || lifetimeSeconds < 1 || lifetimeSeconds > TOKEN_LIFETIME_MAX_SECONDS) {
        throw new TrustError('malformed', 'tokenLifetime', { facts: { days: TOKEN_LIFETIME_MAX_SECONDS / 86_400 } })
      }
      const id = uuidv7(world)
      const token = makeCredential(TOKEN_PREFIX, world)
      const now = world.clock.now()
      const expiresAt = now + lifetimeSeconds * 1000
      const act = { actor, act: 'token.create', object: `token:${id}`, facts: { principal: principalId, expiresAt } }
      await perform(options, act, async (tx) => {
        const created = await tx.query(
          `INSERT INTO access_token (id, organization_id, version, principal_id, name, hash, created_at, expires_at)
            SELECT ?, organization_id, 1, id, ?, ?, ?, ? FROM principal WHERE id = ? AND organization_id = ? RETURNING id`,
          id,
          name,
          credentialHash(token.reveal('keep its hash')),
          now,
          expiresAt,
          principalId,
          organizationId,
        )
        if (created.length === 0) throw new TrustError('notFound', 'principalUnknown')
        return id
      })
      return { id, token, expiresAt: new Date(expiresAt) }
    },

    async listTokens(principalId) {
      const rows = await database.query<Omit<TokenRow, keyof PrincipalRow> & { name: string; created_at: number }>(
        `SELECT id, name, created_at, expires_at, last_used_at, revoked_at FROM access_token
          WHERE principal_id = ? AND organization_id = ? ORDER BY id`,
        principalId,
        organizationId,
      )
      return rows.map((row) => ({
        id: row.id,
        name: row.name,
        createdAt: new Date(row.created_at),
        expiresAt: new Date(row.expires_at),
        lastUsedAt: row.last_used_at === null ? undefined : new Date(row.last_used_at),
        revokedAt: row.revoked_at === null ? undefined : new Date(row.revoked_at),
      }))
    },

    async revokeToken(tokenId, actor) {
      await perform(options, { actor, act: 'token.revoke', object: `token:${tokenId}` }, async (tx) => {
        const known = await tx.query('SELECT id FROM access_token WHERE id = ? AND organization_id = ?', tokenId, organizationId)
        if (known.length === 0) throw new TrustError('notFound', 'tokenNotListed')
        const sql =
          'UPDATE access_token SET revoked_at = ?, version = version + 1 WHERE id = ? AND revoked_at IS NULL RETURNING id'
        return (await tx.query(sql, world.clock.now(), tokenId))[0]
      })
    },

    async authenticateToken(text) {
      if (!hasCredentialForm(text, TOKEN_PREFIX)) throw new TrustError('unauthenticated', 'tokenUnknown')
      const rows = await database.query<TokenRow>(
        `SELECT t.id AS id, t.expires_at AS expires_at, t.last_used_at AS last_used_at, t.revoked_at AS revoked_at, ${PRINCIPAL_COLUMNS}
          FROM access_token t JOIN principal p ON p.id = t.principal_id LEFT JOIN role_assignment r ON r.principal_id = p.id
          WHERE t.hash = ? AND t.organization_id = ? ORDER BY r.role`,
        credentialHash(text),
        organizationId,
      )
      const [token] = rows
      const [principal] = toPrincipals(rows)
      if (token === undefined || principal === undefined || token.revoked_at !== null) {
        throw new TrustError('unauthenticated', 'tokenUnknown')
      }
      const now = world.clock.now()
      if (now >= token.expires_at) throw new TrustError('unauthenticated', 'tokenExpired')
      if (principal.state !== 'active') throw new TrustError('unauthenticated', 'principalSuspended')
      if (token.last_used_at === null || now - token.last_used_at >= LAST_USED_GRAIN_MILLISECONDS) {
        await database.transaction((tx) => tx.query('UPDATE access_token SET last_used_at = ? WHERE id = ?', now, token.id))
      }
      return principal
    },
  }
}
