/**
 * Policies of areas as they are in force: whoever signs them is none of this server's, and no version comes back.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep } from '#store/batch.ts'
import type { CommandsContext } from './context.ts'
import { checkPolicyTime, type Policy, readPolicy } from './policy/messages.ts'

export interface PolicyInForce {
  readonly policy: Policy
  /** As it was signed. */
  readonly message: Uint8Array
}

const now = ({ world }: Pick<CommandsContext, 'world'>): Date => new Date(world.clock.now())

/**
 * The next policy of an area.
 *
 * @throws TrustError `conflict` for a version that is not above the one in force, or a time that has not come; and as `readPolicy`
 */
export async function putPolicy(context: CommandsContext, message: Uint8Array, actor: string): Promise<Policy> {
  const { db, world, audit, organizationId, anchors } = context
  const policy = await readPolicy(message, anchors, now(context))
  const { area, version } = policy
  checkPolicyTime(policy, world.clock.now())
  await context.checkArea(area)
  const here = await policyOf(context, area)
  if (here !== undefined && here.policy.version >= version)
    throw new TrustError('conflict', 'commandPolicyOld', { facts: { version, here: here.policy.version } })
  await keep(db, [
    {
      sql: `INSERT INTO command_area (organization_id, area, policy_version) VALUES (?, ?, ?)
          ON CONFLICT (organization_id, area) DO UPDATE SET policy_version = CASE
            WHEN command_area.policy_version < excluded.policy_version THEN excluded.policy_version ELSE -1 END RETURNING policy_version`,
      parameters: [organizationId, area, version],
      expects: { policy_version: version },
      refusal: () => new TrustError('conflict', 'commandPolicyOld', { facts: { version, here: 'a later one' } }),
    },
    {
      sql: `INSERT INTO command_policy (id, organization_id, area, policy_version, message, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
      parameters: [uuidv7(world), organizationId, area, version, message, world.clock.now()],
    },
    audit.statement({ actor, act: 'command.policy', object: `area:${area}`, outcome: 'done', facts: { version } }),
  ])
  return policy
}

/** @returns undefined where there is none */
export async function policyOf(context: CommandsContext, area: string): Promise<PolicyInForce | undefined> {
  const { db, organizationId, anchors } = context
  const [row] = await db.query<{ message: Uint8Array }>(
    `SELECT p.message FROM command_area a JOIN command_policy p
        ON p.organization_id = a.organization_id AND p.area = a.area AND p.policy_version = a.policy_version
      WHERE a.organization_id = ? AND a.area = ?`,
    ...[organizationId, area],
  )
  if (row === undefined) return undefined
  return { policy: await readPolicy(row.message, anchors, now(context)), message: row.message }
}

/** @throws TrustError `notFound` */
export async function openPolicy(context: CommandsContext, area: string): Promise<PolicyInForce> {
  const found = await policyOf(context, area)
  if (found === undefined) throw new TrustError('notFound', 'commandPolicyNone', { facts: { area } })
  return found
}

/** By area. */
export async function listPolicies(context: CommandsContext): Promise<readonly PolicyInForce[]> {
  const { db, organizationId } = context
  const rows = await db.query<{ area: string }>(
    'SELECT area FROM command_area WHERE organization_id = ? ORDER BY area',
    organizationId,
  )
  const found = await Promise.all(rows.map(({ area }) => policyOf(context, area)))
  return found.filter((each) => each !== undefined)
}
