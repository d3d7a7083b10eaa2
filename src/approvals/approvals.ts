/**
 * Acts that need more than one person: asked for, approved or rejected by others, and then done as often as was agreed.
 *
 * What counts is counted when the act is done, in the batch that does it: the very act that was approved, by people who
 * may still approve, each once however many tokens they have, never by who asked. An edit begins a new round, in which
 * nothing that was said before counts.
 *
 *     pending ──enough people──▶ approved ──last use──▶ used
 *        │                          │
 *        └──────────────────────────┴──▶ rejected · withdrawn (by who asked) · expired
 *
 * @module
 */
import type { Audit } from '#audit/audit.ts'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { type Step, take } from '#store/batch.ts'
import type { Database, Queries, Row, SqlValue, Transaction } from '#store/database.ts'
import { publish } from '#store/outbox.ts'
import { type Act, actText, agreedText, digestOf, parseAct } from './act.ts'
import type { Approvers, People } from './people.ts'

/** A kind of act that can be approved. */
export interface ActKind {
  /** `room.act`, as the audit log will name it. */
  readonly id: string
  /** What whoever approves reads: what will be done, in a sentence. */
  describe(act: Act): string
}

export interface ApprovalRule {
  /** How many people have to agree. */
  readonly least: number
  readonly approvers: Approvers
  /** How often the act may be done. */
  readonly usesMax: number
  /** How long it may be done once enough have agreed. */
  readonly validSeconds: number
}

export const approvalStates = ['pending', 'approved', 'rejected', 'withdrawn', 'used', 'expired'] as const
export type ApprovalState = (typeof approvalStates)[number]

export interface Vote {
  readonly personId: string
  readonly vote: 'approve' | 'reject'
  readonly comment: string
  readonly at: number
}

export interface Approval {
  readonly id: string
  readonly act: Act
  /** In words. */
  readonly description: string
  /** SHA-256 of the act with how often and how long it may be done: what people agree to. */
  readonly digest: Uint8Array
  readonly askedBy: string
  readonly reason: string
  readonly rule: ApprovalRule
  /** Grows with each edit. */
  readonly round: number
  readonly state: ApprovalState
  readonly uses: number
  readonly askedAt: number
  /** Until when it can be approved, and from then on until when the act may be done. */
  readonly expiresAt: number
  /** Of this round. */
  readonly votes: readonly Vote[]
}

/** Who asks or votes: one person, by whatever token. */
export interface Voter {
  /** As the audit log names them. */
  readonly actor: string
  readonly id: string
  readonly kind: 'person' | 'service'
}

export interface Ballot {
  /** Of the act that whoever votes has seen. */
  readonly digest: Uint8Array
  readonly comment?: string
}

/** One use of an approval, to be taken in the batch that does the act. */
export interface Ticket {
  readonly approvalId: string
  /** End the batch when the approval does not hold any more. */
  readonly steps: readonly Step[]
  /** For a use that came to nothing. */
  readonly giveBack: readonly Step[]
}

export type Outcome<T> =
  | { readonly state: 'done'; readonly value: T }
  | { readonly state: 'waiting'; readonly approval: Approval }

export interface Approvals {
  /** Finds the open request of the same person for the same act, or makes one. */
  ask(act: Act, rule: ApprovalRule, by: Voter, reason?: string): Promise<Approval>
  /** Puts another act in place of what was asked for. @throws TrustError `forbidden` for others, `conflict` once it was used or closed */
  amend(id: string, act: Act, by: Voter): Promise<Approval>
  /** @throws TrustError `forbidden`, `notFound`, `conflict` for an act that is not what they saw, or is closed */
  approve(id: string, ballot: Ballot, by: Voter): Promise<Approval>
  /** By who asked, it is withdrawn. A single no of someone who may approve closes it, also after enough said yes. */
  reject(id: string, ballot: Ballot, by: Voter): Promise<Approval>
  find(id: string): Promise<Approval>
  /** Newest first. */
  list(page: ListApprovals): Promise<{ readonly approvals: readonly Approval[]; readonly next: string | undefined }>
  /** @returns undefined where nobody approved this very act, or not enough people who still may */
  ticketFor(act: Act): Promise<Ticket | undefined>
  /** Does the act where it is approved, in one transaction with its use; asks for approval where it is not. */
  perform<T>(
    act: Act,
    rule: ApprovalRule,
    by: Voter,
    work: (tx: Transaction, approvalId: string) => Promise<T>,
  ): Promise<Outcome<T>>
  /** For the background: closes what has expired, drops what was closed long ago. @returns how many went */
  purge(): Promise<number>
}

export interface ListApprovals {
  readonly state?: ApprovalState | undefined
  readonly cursor?: string | undefined
  readonly limit: number
}

export interface ApprovalsOptions {
  readonly db: Database
  readonly world: World
  readonly audit: Audit
  readonly organizationId: string
  readonly people: People
  readonly kinds: readonly ActKind[]
}

/** Over a long weekend; what nobody approved by then is asked for again. */
const DECIDE_SECONDS = 7 * 86_400
/** The audit log has it for good; this is for who looks back at a list. */
const KEPT_MILLISECONDS = 90 * 86_400_000
const PURGED_AT_ONCE_MAX = 500
const COMMENT_MAX_CHARACTERS = 500
const PAGE_MAX = 500

export function openApprovals({ db, world, audit, organizationId, people, kinds }: ApprovalsOptions): Approvals {
  const byId = new Map(kinds.map((kind) => [kind.id, kind]))
  const kindOf = (id: string): ActKind => {
    const kind = byId.get(id)
    if (kind === undefined) throw new TypeError(`no act of the kind ${id} is registered`)
    return kind
  }

  const votesOf = async (queries: Queries, rows: readonly ApprovalRow[]): Promise<ReadonlyMap<string, readonly Vote[]>> => {
    const votes = new Map<string, Vote[]>(rows.map(({ id }) => [id, []]))
    if (rows.length === 0) return votes
    const found = await queries.query<VoteRow>(
      `SELECT v.approval_id AS approval_id, v.person_id AS person_id, v.vote AS vote, v.comment AS comment, v.voted_at AS voted_at
        FROM approval_vote v JOIN approval a ON a.id = v.approval_id AND a.round = v.round
        WHERE a.id IN (${rows.map(() => '?').join(', ')}) ORDER BY v.id`,
      ...rows.map(({ id }) => id),
    )
    for (const { approval_id, person_id: personId, vote, comment, voted_at: at } of found)
      votes.get(approval_id)?.push({ personId, vote, comment, at })
    return votes
  }

  const toApproval = (row: ApprovalRow, votes: readonly Vote[]): Approval => {
    const act = parseAct(row.act)
    return {
      id: row.id,
      act,
      description: byId.get(act.kind)?.describe(act) ?? act.kind, // of a build that knew more kinds
      digest: row.digest,
      askedBy: row.asked_by,
      reason: row.reason,
      rule: JSON.parse(row.rule) as ApprovalRule,
      round: row.round,
      state: stateAt(row, world.clock.now()),
      uses: row.uses,
      askedAt: row.asked_at,
      expiresAt: row.expires_at,
      votes,
    }
  }

  const readRow = async (queries: Queries, id: string): Promise<ApprovalRow> => {
    const sql = `SELECT ${COLUMNS} FROM approval WHERE id = ? AND organization_id = ?`
    const [row] = await queries.query<ApprovalRow>(sql, id, organizationId)
    if (row === undefined) throw new TrustError('notFound', 'approvalUnknown')
    return row
  }
  const read = async (queries: Queries, id: string): Promise<Approval> => {
    const row = await readRow(queries, id)
    return toApproval(row, (await votesOf(queries, [row])).get(id) ?? [])
  }

  const record = async (tx: Transaction, actor: string, act: string, { id, act: asked, digest, round }: Approval, more = {}) => {
    const facts = { kind: asked.kind, object: asked.object, digest: digest.toHex(), round, ...more }
    await audit.record(tx, { actor, act, object: `approval:${id}`, outcome: 'done', facts })
    await publish(tx, world, {
      topic: act,
      organization: organizationId,
      payload: { id, kind: asked.kind, object: asked.object },
    })
  }

  /** Says no in the log too, after the roll-back. */
  const orRefused = async <T>(actor: string, act: string, id: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (thrown) {
      const { code, reason } = asTrustError(thrown)
      if (code !== 'internal' && code !== 'unavailable') await audit.refuse({ actor, act, object: `approval:${id}`, reason })
      throw thrown
    }
  }

  /** @throws TrustError when this person may not vote on this now */
  const checkBallot = async (
    tx: Transaction,
    approval: Approval,
    { digest }: Ballot,
    by: Voter,
    isOwn: boolean,
  ): Promise<void> => {
    checkOpen(approval)
    if (!equal(approval.digest, digest)) throw new TrustError('conflict', 'approvalOther')
    if (isOwn) return
    if (by.kind !== 'person') throw new TrustError('forbidden', 'approvalByService')
    const counting = await people.counting(tx, approval.rule.approvers, [by.id])
    if (counting.length === 0) throw new TrustError('forbidden', 'approvalNotYours')
  }

  const ask: Approvals['ask'] = async (act, rule, by, reason = '') => {
    kindOf(act.kind)
    checkText(reason)
    const text = actText(act)
    const digest = digestOf(agreedText(text, rule))
    return db.transaction(async (tx) => {
      const now = world.clock.now()
      await tx.query(
        `UPDATE approval SET state = 'expired', version = version + 1
          WHERE organization_id = ? AND asked_by = ? AND digest = ? AND state IN ('pending', 'approved') AND expires_at <= ?`,
        ...[organizationId, by.actor, digest, now],
      )
      const id = uuidv7(world)
      const made = await tx.query(
        `INSERT INTO approval (id, organization_id, version, kind, object, act, act_digest, digest, asked_by, reason, rule, round, state,
            uses, uses_max, asked_at, expires_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 1, 'pending', 0, ?, ?, ?)
          ON CONFLICT (organization_id, asked_by, digest) WHERE state IN ('pending', 'approved') DO NOTHING RETURNING id`,
        ...[id, organizationId, act.kind, act.object, text, digestOf(text), digest, by.actor, reason, JSON.stringify(rule)],
        ...[rule.usesMax, now, now + DECIDE_SECONDS * 1000],
      )
      if (made.length === 0) {
        const [open] = await tx.query<ApprovalRow>(
          `SELECT ${COLUMNS} FROM approval
            WHERE organization_id = ? AND asked_by = ? AND digest = ? AND state IN ('pending', 'approved')`,
          ...[organizationId, by.actor, digest],
        )
        return read(tx, open?.id ?? '')
      }
      const approval = await read(tx, id)
      await record(tx, by.actor, 'approval.ask', approval, { least: rule.least, usesMax: rule.usesMax })
      return approval
    })
  }

  const ticketFor: Approvals['ticketFor'] = async (act) => {
    const now = world.clock.now()
    const digest = digestOf(actText(act))
    const rows = await db.query<ApprovalRow>(
      `SELECT ${COLUMNS} FROM approval
        WHERE organization_id = ? AND object = ? AND act_digest = ? AND state = 'approved' AND expires_at > ? ORDER BY id`,
      ...[organizationId, act.object, digest, now],
    )
    const votes = await votesOf(db, rows)
    for (const row of rows) {
      const { approvers, least } = JSON.parse(row.rule) as ApprovalRule
      const ids = (votes.get(row.id) ?? []).flatMap(({ vote, personId }) => (vote === 'approve' ? [personId] : []))
      if ((await people.counting(db, approvers, ids)).length < least) continue
      return {
        approvalId: row.id,
        steps: stepsToUse(row, now, people.stillCount(approvers, ids, least)),
        giveBack: stepsBack(row),
      }
    }
    return undefined
  }

  return {
    ask,
    ticketFor,

    amend: (id, act, by) =>
      orRefused(by.actor, 'approval.amend', id, () => {
        kindOf(act.kind)
        const text = actText(act)
        return db.transaction(async (tx) => {
          const before = await read(tx, id)
          checkOpen(before)
          if (before.askedBy !== by.actor) throw new TrustError('forbidden', 'approvalNotAsked')
          if (before.uses > 0) throw new TrustError('conflict', 'approvalInUse')
          await tx.query(
            `UPDATE approval SET kind = ?, object = ?, act = ?, act_digest = ?, digest = ?, round = round + 1, state = 'pending', decided_at = NULL,
                expires_at = ?, version = version + 1 WHERE id = ?`,
            ...[act.kind, act.object, text, digestOf(text), digestOf(agreedText(text, before.rule))],
            ...[world.clock.now() + DECIDE_SECONDS * 1000, id],
          )
          const after = await read(tx, id)
          await record(tx, by.actor, 'approval.amend', after)
          return after
        })
      }),

    approve: (id, ballot, by) =>
      orRefused(by.actor, 'approval.approve', id, () => {
        const comment = checkText(ballot.comment ?? '')
        return db.transaction(async (tx) => {
          const before = await read(tx, id)
          if (before.askedBy === by.actor) throw new TrustError('forbidden', 'approvalOwn')
          await checkBallot(tx, before, ballot, by, false)
          const now = world.clock.now()
          const given = await tx.query(
            `INSERT INTO approval_vote (id, organization_id, approval_id, round, person_id, vote, comment, voted_at)
              VALUES (?, ?, ?, ?, ?, 'approve', ?, ?) ON CONFLICT (approval_id, round, person_id) DO NOTHING RETURNING id`,
            ...[uuidv7(world), organizationId, id, before.round, by.id, comment, now],
          )
          if (given.length === 0) return before // said already: once is enough, and twice is no more
          const { votes, rule } = await read(tx, id)
          const ids = votes.flatMap(({ vote, personId }) => (vote === 'approve' ? [personId] : []))
          const count = (await people.counting(tx, rule.approvers, ids)).length
          if (before.state === 'pending' && count >= rule.least) {
            await tx.query(
              "UPDATE approval SET state = 'approved', decided_at = ?, expires_at = ?, version = version + 1 WHERE id = ?",
              ...[now, now + rule.validSeconds * 1000, id],
            )
          }
          const after = await read(tx, id)
          await record(tx, by.actor, 'approval.approve', after, { given: count, least: rule.least })
          return after
        })
      }),

    reject: (id, ballot, by) =>
      orRefused(by.actor, 'approval.reject', id, () => {
        const comment = checkText(ballot.comment ?? '')
        return db.transaction(async (tx) => {
          const before = await read(tx, id)
          const isOwn = before.askedBy === by.actor
          await checkBallot(tx, before, ballot, by, isOwn)
          const now = world.clock.now()
          if (!isOwn) {
            await tx.query(
              `INSERT INTO approval_vote (id, organization_id, approval_id, round, person_id, vote, comment, voted_at)
                VALUES (?, ?, ?, ?, ?, 'reject', ?, ?) ON CONFLICT (approval_id, round, person_id)
                DO UPDATE SET vote = 'reject', comment = excluded.comment, voted_at = excluded.voted_at`,
              ...[uuidv7(world), organizationId, id, before.round, by.id, comment, now],
            )
          }
          await tx.query(
            'UPDATE approval SET state = ?, decided_at = ?, version = version + 1 WHERE id = ?',
            ...[isOwn ? 'withdrawn' : 'rejected', now, id],
          )
          const after = await read(tx, id)
          await record(tx, by.actor, isOwn ? 'approval.withdraw' : 'approval.reject', after)
          return after
        })
      }),

    find: (id) => read(db, id),

    async list({ state, cursor, limit }) {
      const now = world.clock.now()
      const count = Math.max(1, Math.min(limit, PAGE_MAX))
      const conditions: (readonly [sql: string, ...values: SqlValue[]])[] = [['organization_id = ?', organizationId]]
      if (cursor !== undefined) conditions.push(['id < ?', cursor])
      if (state === 'expired')
        conditions.push(["(state = 'expired' OR (state IN ('pending', 'approved') AND expires_at <= ?))", now])
      else if (state !== undefined) conditions.push(['state = ?', state])
      if (state === 'pending' || state === 'approved') conditions.push(['expires_at > ?', now])
      const rows = await db.query<ApprovalRow>(
        `SELECT ${COLUMNS} FROM approval WHERE ${conditions.map(([sql]) => sql).join(' AND ')} ORDER BY id DESC LIMIT ?`,
        ...conditions.flatMap(([, ...values]) => values),
        count + 1,
      )
      const shown = rows.slice(0, count)
      const votes = await votesOf(db, shown)
      const approvals = shown.map((row) => toApproval(row, votes.get(row.id) ?? []))
      return { approvals, next: rows.length > count ? approvals.at(-1)?.id : undefined }
    },

    async perform(act, rule, by, work) {
      const ticket = await ticketFor(act)
      if (ticket === undefined) return { state: 'waiting', approval: await ask(act, rule, by) }
      const value = await db.transaction(async (tx) => {
        await take(tx, ticket.steps)
        return work(tx, ticket.approvalId)
      })
      return { state: 'done', value }
    },

    async purge() {
      const now = world.clock.now()
      await db.transaction((tx) =>
        tx.query(
          `UPDATE approval SET state = 'expired', decided_at = expires_at, version = version + 1
            WHERE organization_id = ? AND state IN ('pending', 'approved') AND expires_at <= ?`,
          ...[organizationId, now],
        ),
      )
      const old = await db.query<{ id: string }>(
        `SELECT id FROM approval WHERE organization_id = ? AND state NOT IN ('pending', 'approved') AND expires_at <= ?
          AND COALESCE(decided_at, 0) <= ? LIMIT ?`,
        ...[organizationId, now - KEPT_MILLISECONDS, now - KEPT_MILLISECONDS, PURGED_AT_ONCE_MAX],
      )
      if (old.length === 0) return 0
      const ids = old.map(({ id }) => id)
      const marks = ids.map(() => '?').join(', ')
      await db.transaction(async (tx) => {
        await tx.query(`DELETE FROM approval_vote WHERE approval_id IN (${marks})`, ...ids)
        await tx.query(`DELETE FROM approval WHERE id IN (${marks})`, ...ids)
      })
      return ids.length
    },
  }
}

interface ApprovalRow extends Row {
  readonly id: string
  readonly act: string
  readonly digest: Uint8Array
  readonly asked_by: string
  readonly reason: string
  readonly rule: string
  readonly round: number
  readonly state: ApprovalState
  readonly uses: number
  readonly uses_max: number
  readonly asked_at: number
  readonly expires_at: number
}

interface VoteRow extends Row {
  readonly approval_id: string
  readonly person_id: string
  readonly vote: Vote['vote']
  readonly comment: string
  readonly voted_at: number
}

const COLUMNS = 'id, act, digest, asked_by, reason, rule, round, state, uses, uses_max, asked_at, expires_at'

const isOpen = (state: ApprovalState): boolean => state === 'pending' || state === 'approved'

/** A row keeps its state until somebody comes by; its time ends by itself. */
const stateAt = ({ state, expires_at }: Pick<ApprovalRow, 'state' | 'expires_at'>, now: number): ApprovalState =>
  isOpen(state) && now >= expires_at ? 'expired' : state

function checkOpen({ state }: Approval): void {
  if (!isOpen(state)) throw new TrustError('conflict', 'approvalClosed', { facts: { state } })
}

function checkText(text: string): string {
  if (text.length <= COMMENT_MAX_CHARACTERS) return text.toWellFormed()
  throw new TrustError('tooLarge', 'approvalText', { facts: { limit: COMMENT_MAX_CHARACTERS } })
}

/** The same round and digest that were read: what was said to anything else does not count. */
const stepsToUse = ({ id, digest, round }: ApprovalRow, now: number, stillCount: Omit<Step, 'refusal'>): readonly Step[] => [
  {
    sql: `UPDATE approval SET uses = uses + 1, version = version + 1,
        state = CASE WHEN uses + 1 >= uses_max THEN 'used' ELSE state END
      WHERE id = ? AND digest = ? AND round = ? AND state = 'approved' AND expires_at > ? AND uses < uses_max RETURNING id`,
    parameters: [id, digest, round, now],
    expects: { id },
    refusal: () => new TrustError('conflict', 'approvalGone'),
  },
  { ...stillCount, expects: { holds: 1 }, refusal: () => new TrustError('conflict', 'approvalGone') },
]

const stepsBack = ({ id, round }: ApprovalRow): readonly Step[] => [
  {
    sql: `UPDATE approval SET uses = uses - 1, version = version + 1, state = CASE WHEN state = 'used' THEN 'approved' ELSE state END
      WHERE id = ? AND round = ? AND uses > 0`,
    parameters: [id, round],
  },
]
