/**
 * People and services, and the roles they hold.
 *
 * Names stay in this room: the audit log knows ids only.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Queries, Transaction } from '#store/database.ts'
import { type AccessOptions, perform } from './context.ts'
import type { Role } from './rights.ts'

export interface Principal {
  readonly id: string
  readonly kind: 'person' | 'service'
  readonly name: string
  /** A suspended principal signs in with nothing; what it did stays its own. */
  readonly state: 'active' | 'suspended'
  readonly roles: readonly Role[]
  readonly createdAt: Date
}

/** How the audit log names a principal. */
export const actorOf = ({ kind, id }: Pick<Principal, 'kind' | 'id'>): string => `${kind}:${id}`

export interface NewPrincipal {
  readonly kind: Principal['kind']
  readonly name: string
  readonly roles?: readonly Role[]
}

export interface PrincipalPage {
  readonly principals: readonly Principal[]
  /** Hand it in as `cursor` for those after these; undefined at the end. */
  readonly next: string | undefined
}

export interface Principals {
  /** @param actor who does it, as {@link actorOf} writes it, or `system` @throws TrustError `conflict`, `malformed` */
  createPrincipal(principal: NewPrincipal, actor: string): Promise<Principal>
  /** @throws TrustError `notFound` */
  findPrincipal(id: string): Promise<Principal>
  findPrincipalByName(name: string): Promise<Principal>
  /** By name. */
  listPrincipals(page?: { readonly cursor?: string | undefined; readonly limit?: number }): Promise<PrincipalPage>
  /** Does nothing when the role is held already. @throws TrustError `notFound` */
  grantRole(principalId: string, role: Role, actor: string): Promise<void>
  /** Does nothing when the role is not held. @throws TrustError `notFound`; `conflict` for the last administrator */
  revokeRole(principalId: string, role: Role, actor: string): Promise<void>
  /** @throws TrustError `notFound`; `conflict` for the last administrator */
  suspendPrincipal(principalId: string, actor: string): Promise<void>
  resumePrincipal(principalId: string, actor: string): Promise<void>
}

/** Long enough for a full name or a service's address, short enough for a table on a screen. */
const NAME_MAX_CHARACTERS = 100
const PAGE_MAX = 500

export function principals(options: AccessOptions): Principals {
  const { database, world, organizationId } = options

  const changeState = (state: Principal['state'], act: string) => async (principalId: string, actor: string) => {
    const from = state === 'active' ? 'suspended' : 'active'
    await perform(options, { actor, act, object: `principal:${principalId}` }, async (tx) => {
      const { roles } = await readPrincipal(tx, 'p.id = ?', principalId)
      if (state === 'suspended' && roles.includes('administrator')) await checkNotLast(tx, principalId)
      const changed = await tx.query(
        'UPDATE principal SET state = ?, version = version + 1 WHERE id = ? AND organization_id = ? AND state = ? RETURNING id',
        state,
        principalId,
        organizationId,
        from,
      )
      return changed[0]
    })
  }

  const readPrincipal = async (queries: Queries, where: 'p.id = ?' | 'p.name = ?', value: string): Promise<Principal> => {
    const rows = await queries.query<PrincipalRow>(
      `SELECT ${PRINCIPAL_COLUMNS} FROM principal p LEFT JOIN role_assignment r ON r.principal_id = p.id
        WHERE p.organization_id = ? AND ${where} ORDER BY r.role`,
      organizationId,
      value,
    )
    const [principal] = toPrincipals(rows)
    if (principal === undefined) throw new TrustError('notFound', 'principalUnknown')
    return principal
  }

  /** An installation without an administrator could never have one again. */
  const checkNotLast = async (tx: Transaction, principalId: string): Promise<void> => {
    const others = await tx.query(
      `SELECT p.id FROM principal p JOIN role_assignment r ON r.principal_id = p.id
        WHERE p.organization_id = ? AND p.state = 'active' AND r.role = 'administrator' AND p.id <> ? LIMIT 1`,
      organizationId,
      principalId,
    )
    if (others.length === 0) throw new TrustError('conflict', 'lastAdministrator')
  }

  const assign = (tx: Transaction, principalId: string, role: Role) =>
    tx.query(
      `INSERT INTO role_assignment (id, organization_id, version, principal_id, role, created_at) VALUES (?, ?, 1, ?, ?, ?)
        ON CONFLICT (principal_id, role) DO NOTHING RETURNING id`,
      uuidv7(world),
      organizationId,
      principalId,
      role,
      world.clock.now(),
    )

  return {
    async createPrincipal({ kind, name, roles = [] }, actor) {
      checkName(name)
      const id = uuidv7(world)
      const held = [...new Set(roles)].toSorted()
      const createdAt = world.clock.now()
      const act = { actor, act: 'principal.create', object: `principal:${id}`, facts: { kind, roles: held.join(' ') } }
      await perform(options, act, async (tx) => {
        const created = await tx.query(
          `INSERT INTO principal (id, organization_id, version, kind, name, state, created_at) VALUES (?, ?, 1, ?, ?, 'active', ?)
            ON CONFLICT (organization_id, name) DO NOTHING RETURNING id`,
          id,
          organizationId,
          kind,
          name,
          createdAt,
        )
        if (created.length === 0) throw new TrustError('conflict', 'principalExists', { facts: { name } })
        for (const role of held) await assign(tx, id, role)
        return id
      })
      return { id, kind, name, state: 'active', roles: held, createdAt: new Date(createdAt) }
    },

    findPrincipal: (id) => readPrincipal(database, 'p.id = ?', id),
    findPrincipalByName: (name) => readPrincipal(database, 'p.name = ?', name),

    async listPrincipals({ cursor = '', limit = PAGE_MAX } = {}) {
      const count = Math.max(1, Math.min(limit, PAGE_MAX))
      const rows = await database.query<PrincipalRow>(
        `SELECT ${PRINCIPAL_COLUMNS} FROM
          (SELECT id, kind, name, state, created_at FROM principal WHERE organization_id = ? AND name > ? ORDER BY name LIMIT ?) AS p
          LEFT JOIN role_assignment r ON r.principal_id = p.id ORDER BY p.name, r.role`,
        organizationId,
        cursor,
        count + 1,
      )
      const found = toPrincipals(rows)
      const page = found.slice(0, count)
      return { principals: page, next: found.length > count ? page.at(-1)?.name : undefined }
    },

    async grantRole(principalId, role, actor) {
      const act = { actor, act: 'role.grant', object: `principal:${principalId}`, facts: { role } }
      await perform(options, act, async (tx) => {
        await readPrincipal(tx, 'p.id = ?', principalId)
        return (await assign(tx, principalId, role))[0]
      })
    },

    async revokeRole(principalId, role, actor) {
      const act = { actor, act: 'role.revoke', object: `principal:${principalId}`, facts: { role } }
      await perform(options, act, async (tx) => {
        const { roles } = await readPrincipal(tx, 'p.id = ?', principalId)
        if (role === 'administrator' && roles.includes(role)) await checkNotLast(tx, principalId)
        const sql = 'DELETE FROM role_assignment WHERE principal_id = ? AND role = ? RETURNING id'
        return (await tx.query(sql, principalId, role))[0]
      })
    },

    suspendPrincipal: changeState('suspended', 'principal.suspend'),
    resumePrincipal: changeState('active', 'principal.resume'),
  }
}

/** A principal joined with one of its roles; a principal without roles has one row. */
export type PrincipalRow = {
  readonly principal_id: string
  readonly kind: Principal['kind']
  readonly name: string
  readonly state: Principal['state']
  readonly principal_created_at: number
  readonly role: Role | null
}

export const PRINCIPAL_COLUMNS =
  'p.id AS principal_id, p.kind AS kind, p.name AS name, p.state AS state, p.created_at AS principal_created_at, r.role AS role'

/** @param rows those of one principal next to each other */
export function toPrincipals(rows: readonly PrincipalRow[]): readonly Principal[] {
  const found: Principal[] = []
  for (const { principal_id: id, kind, name, state, principal_created_at, role } of rows) {
    const last = found.at(-1)
    const roles = role === null ? [] : [role]
    if (last?.id === id) found[found.length - 1] = { ...last, roles: [...last.roles, ...roles] }
    else found.push({ id, kind, name, state, roles, createdAt: new Date(principal_created_at) })
  }
  return found
}

function checkName(name: string): void {
  const good = name.length <= NAME_MAX_CHARACTERS && name.isWellFormed() && name === name.trim() && /^[^\p{Cc}]+$/u.test(name)
  if (!good) throw new TrustError('malformed', 'principalName', { facts: { limit: NAME_MAX_CHARACTERS } })
}
