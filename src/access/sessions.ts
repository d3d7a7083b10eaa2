/**
 * How a person's browser signs in: a link that works once, and the session that it opens.
 *
 * The session's secret goes into a cookie that scripts cannot read and other sites cannot send (`__Host-`, `HttpOnly`,
 * `Secure`, `SameSite=Strict`). Requests that change something also carry {@link csrfToken}, which only our own pages know.
 *
 * @module
 */
import { createHmac } from 'node:crypto'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { equalInConstantTime, type Secret } from '#base/secret.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { type AccessOptions, credentialHash, hasCredentialForm, makeCredential, perform } from './context.ts'
import { actorOf, type Principal, PRINCIPAL_COLUMNS, type PrincipalRow, toPrincipals } from './principals.ts'

export interface Sessions {
  /** @returns the secret part of the link, which is not kept @throws TrustError `notFound` */
  createSignInLink(principalId: string, actor: string): Promise<{ readonly link: Secret; readonly expiresAt: Date }>
  /** Opens a session with a link, which is then used up. @throws TrustError `unauthenticated` */
  signIn(link: string): Promise<{ readonly session: Secret; readonly principal: Principal; readonly expiresAt: Date }>
  /** @throws TrustError `unauthenticated` */
  authenticateSession(session: string): Promise<Principal>
  /** Signs out. Does nothing when the session has ended. */
  endSession(session: string): Promise<void>
}

/** Long enough to walk to the console with it. */
const LINK_SECONDS = 15 * 60
/** A working day. */
const SESSION_SECONDS = 12 * 3600
/** A console left open at the line. */
const IDLE_SECONDS = 3600
const LAST_USED_GRAIN_MILLISECONDS = 5 * 60_000

type SessionRow = PrincipalRow & {
  readonly id: string
  readonly expires_at: number
  readonly last_used_at: number
  readonly ended_at: number | null
}

export function sessions(options: AccessOptions): Sessions {
  const { database, world, organizationId } = options

  const find = async (session: string): Promise<{ row: SessionRow; principal: Principal } | undefined> => {
    if (!hasCredentialForm(session, 'sws_')) return undefined
    const rows = await database.query<SessionRow>(
      `SELECT s.id AS id, s.expires_at AS expires_at, s.last_used_at AS last_used_at, s.ended_at AS ended_at, ${PRINCIPAL_COLUMNS}
        FROM browser_session s JOIN principal p ON p.id = s.principal_id LEFT JOIN role_assignment r ON r.principal_id = p.id
        WHERE s.hash = ? AND s.organization_id = ? ORDER BY r.role`,
      credentialHash(session),
      organizationId,
    )
    const [row] = rows
    const [principal] = toPrincipals(rows)
    return row === undefined || principal === undefined ? undefined : { row, principal }
  }

  return {
    async createSignInLink(principalId, actor) {
      const id = uuidv7(world)
      const link = makeCredential('swl_', world)
      const now = world.clock.now()
      const expiresAt = now + LINK_SECONDS * 1000
      const act = { actor, act: 'link.create', object: `link:${id}`, facts: { principal: principalId } }
      await perform(options, act, async (tx) => {
        const created = await tx.query(
          `INSERT INTO one_time_link (id, organization_id, version, principal_id, hash, created_at, expires_at)
            SELECT ?, organization_id, 1, id, ?, ?, ? FROM principal
              WHERE id = ? AND organization_id = ? AND kind = 'person' RETURNING id`,
          id,
          credentialHash(link.reveal('keep its hash')),
          now,
          expiresAt,
          principalId,
          organizationId,
        )
        if (created.length === 0) throw new TrustError('notFound', 'principalUnknown')
        return id
      })
      return { link, expiresAt: new Date(expiresAt) }
    },

    async signIn(link) {
      const refusal = new TrustError('unauthenticated', 'linkUnusable')
      if (!hasCredentialForm(link, 'swl_')) throw refusal
      const hash = credentialHash(link)
      const rows = await database.query<PrincipalRow & { readonly id: string }>(
        `SELECT l.id AS id, ${PRINCIPAL_COLUMNS} FROM one_time_link l JOIN principal p ON p.id = l.principal_id
          LEFT JOIN role_assignment r ON r.principal_id = p.id WHERE l.hash = ? AND l.organization_id = ? ORDER BY r.role`,
        hash,
        organizationId,
      )
      const [known] = rows
      const [principal] = toPrincipals(rows)
      if (known === undefined || principal === undefined) throw refusal // not recorded: anyone can make up a link
      const id = uuidv7(world)
      const session = makeCredential('sws_', world)
      const now = world.clock.now()
      const expiresAt = now + SESSION_SECONDS * 1000
      const act = { actor: actorOf(principal), act: 'session.start', object: `session:${id}`, facts: { link: known.id } }
      await perform(options, act, async (tx) => {
        const used = await tx.query(
          `UPDATE one_time_link SET used_at = ?, version = version + 1 WHERE id = ? AND used_at IS NULL AND expires_at > ?
            AND EXISTS (SELECT 1 FROM principal p WHERE p.id = one_time_link.principal_id AND p.state = 'active') RETURNING id`,
          now,
          known.id,
          now,
        )
        if (used.length === 0) throw refusal
        await tx.query(
          `INSERT INTO browser_session (id, organization_id, version, principal_id, hash, created_at, expires_at, last_used_at)
            VALUES (?, ?, 1, ?, ?, ?, ?, ?)`,
          id,
          organizationId,
          principal.id,
          credentialHash(session.reveal('keep its hash')),
          now,
          expiresAt,
          now,
        )
        return id
      })
      return { session, principal, expiresAt: new Date(expiresAt) }
    },

    async authenticateSession(session) {
      const found = await find(session)
      const now = world.clock.now()
      if (found === undefined || found.row.ended_at !== null) throw new TrustError('unauthenticated', 'signInNeeded')
      const { row, principal } = found
      if (now >= row.expires_at || now - row.last_used_at >= IDLE_SECONDS * 1000) {
        throw new TrustError('unauthenticated', 'sessionExpired')
      }
      if (principal.state !== 'active') throw new TrustError('unauthenticated', 'principalSuspended')
      if (now - row.last_used_at >= LAST_USED_GRAIN_MILLISECONDS) {
        await database.transaction((tx) => tx.query('UPDATE browser_session SET last_used_at = ? WHERE id = ?', now, row.id))
      }
      return principal
    },

    async endSession(session) {
      const found = await find(session)
      if (found === undefined) return
      const act = { actor: actorOf(found.principal), act: 'session.end', object: `session:${found.row.id}` }
      await perform(options, act, async (tx) => {
        const sql =
          'UPDATE browser_session SET ended_at = ?, version = version + 1 WHERE id = ? AND ended_at IS NULL RETURNING id'
        return (await tx.query(sql, world.clock.now(), found.row.id))[0]
      })
    },
  }
}

/** What our pages send back in a header with every request that changes something. */
export const csrfToken = (session: string): string => createHmac('sha256', session).update('sealworks csrf').digest('base64url')

/** @throws TrustError `forbidden` */
export function checkCsrfToken(session: string, sent: string | undefined): void {
  if (sent === undefined || !equalInConstantTime(utf8(csrfToken(session)), utf8(sent)))
    throw new TrustError('forbidden', 'csrfToken')
}

/** After its end a session or link says for a while why it is refused. */
const ENDED_KEPT_MILLISECONDS = 86_400_000

/** Drops what ended more than a day ago. @returns how many */
export async function forgetEndedSessions(db: Database, { clock }: Pick<World, 'clock'>): Promise<number> {
  const until = clock.now() - ENDED_KEPT_MILLISECONDS
  return db.transaction(async (tx) => {
    const sessions = await tx.query('DELETE FROM browser_session WHERE expires_at <= ? RETURNING id', until)
    const links = await tx.query('DELETE FROM one_time_link WHERE expires_at <= ? RETURNING id', until)
    return sessions.length + links.length
  })
}
