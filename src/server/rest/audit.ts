/** REST: the audit log, read and verified. @module */
import { Type } from 'typebox'
import type { RecordedEntry } from '#audit/entry.ts'
import { type AuditLog, listAuditEntries } from '#audit/log.ts'
import { verifyAuditLog } from '#audit/verify.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { page, PAGE_DEFAULT, pageOf, pageQuery, record, route } from './route.ts'
import { Base64, Time, Uuid } from './shapes.ts'

export interface AuditServices {
  readonly db: Database
  readonly world: World
  readonly organizationId: string
  readonly log: Pick<AuditLog, 'origin' | 'publicKey' | 'verifierKey'>
}

const EntryShape = record({
  id: Uuid,
  at: Time,
  actor: Type.String(),
  act: Type.String(),
  object: Type.String(),
  outcome: Type.Enum(['done', 'refused']),
  reason: Type.Optional(Type.String()),
  facts: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()])),
  logIndex: Type.Optional(Type.Integer({ description: 'absent until the entry has its place, within a second or two' })),
  leafHash: Base64,
})

const entryShape = ({ id, at, actor, act, object, outcome, reason, facts, logIndex, leafHash }: RecordedEntry) => ({
  id,
  at: at.toISOString(),
  actor,
  act,
  object,
  outcome,
  ...(reason === undefined ? {} : { reason }),
  facts: { ...facts },
  ...(logIndex === undefined ? {} : { logIndex }),
  leafHash: leafHash.toBase64(),
})

const Word = Type.String({ minLength: 1, maxLength: 200 })
const Moment = Type.String({ maxLength: 40, description: 'RFC 3339' })

export const auditRoutes = ({ db, world, organizationId, log }: AuditServices) =>
  [
    route({
      id: 'listAuditEntries',
      method: 'GET',
      path: '/api/v1/audit/entries',
      permission: 'audit.read',
      summary: 'What was done and refused, newest first',
      query: record({
        ...pageQuery,
        actor: Type.Optional(Word),
        act: Type.Optional(Word),
        object: Type.Optional(Word),
        outcome: Type.Optional(Type.Enum(['done', 'refused'])),
        from: Type.Optional(Moment),
        until: Type.Optional(Moment),
      }),
      response: page(EntryShape),
      async handle(_, { query: { limit = PAGE_DEFAULT, cursor, from, until, ...words } }) {
        const filter = {
          ...words,
          ...(from === undefined ? {} : { from: parseMoment(from, 'from') }),
          ...(until === undefined ? {} : { until: parseMoment(until, 'until') }),
        }
        const { entries, next } = await listAuditEntries(db, { organizationId, limit, cursor, filter })
        return pageOf(entries.map(entryShape), next)
      },
    }),
    route({
      id: 'showAuditLog',
      method: 'GET',
      path: '/api/v1/audit/log',
      permission: 'audit.read',
      summary: 'The log’s name and the key that signs its checkpoints; keep a copy elsewhere',
      response: record({ origin: Type.String(), publicKey: Base64, verifierKey: Type.String() }),
      handle: async () => ({ origin: log.origin, publicKey: log.publicKey.toBase64(), verifierKey: log.verifierKey }),
    }),
    route({
      id: 'verifyAuditLog',
      method: 'POST',
      path: '/api/v1/audit/verify',
      permission: 'audit.read',
      summary: 'Read the whole log and check it against its signed checkpoints and those kept elsewhere',
      body: record({
        witnessed: Type.Optional(
          Type.Array(Type.String({ maxLength: 10_000 }), { maxItems: 100, description: 'signed checkpoints' }),
        ),
      }),
      response: record({
        verified: Type.Boolean(),
        origin: Type.String(),
        size: Type.Integer(),
        rootHash: Base64,
        checkpoints: Type.Integer(),
        signedSize: Type.Integer({ description: 'entries that a verified checkpoint covers' }),
        waiting: Type.Integer({ description: 'entries without their place yet' }),
        problems: Type.Array(record({ kind: Type.String(), sentence: Type.String(), logIndex: Type.Optional(Type.Integer()) })),
      }),
      async handle(_, { body: { witnessed = [] } }) {
        const { rootHash, problems, ...counts } = await verifyAuditLog(db, {
          organizationId,
          clock: world.clock,
          publicKey: log.publicKey,
          witnessed,
        })
        return {
          verified: problems.length === 0,
          ...counts,
          rootHash: rootHash.toBase64(),
          problems: problems.map((each) => ({ ...each })),
        }
      },
    }),
  ] as const

function parseMoment(text: string, name: string): number {
  const time = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (Number.isNaN(time))
    throw new TrustError('malformed', 'inputInvalid', { facts: { problems: `query/${name} must be an RFC 3339 time` } })
  return time
}
