/** REST: the audit log, read and verified. @module */
import { Type } from 'typebox'
import type { RecordedEntry } from '#audit/entry.ts'
import { type AuditLog, listAuditEntries } from '#audit/log.ts'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { proveConsistency, proveEntry } from '#audit/prove.ts'
import { encodeProof } from '#audit/proof-file.ts'
import { readTile } from '#audit/tiles.ts'
import { verifyAuditLog } from '#audit/verify.ts'
import { listWitnesses } from '#audit/witnessing.ts'
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

const WitnessShape = record({
  name: Type.String(),
  size: Type.Integer({ description: 'entries of the newest checkpoint that it cosigned' }),
  seenAt: Type.Optional(Time),
  problem: Type.Optional(Type.String({ description: 'what it last said instead of a cosignature' })),
})

const HashPath = Type.Array(Base64, { description: 'hashes, from the leaf up' })
const Count = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const Cosigned = Type.Optional(Type.Boolean({ description: 'under a checkpoint that a witness has seen' }))

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
      response: record({
        origin: Type.String(),
        publicKey: Base64,
        verifierKey: Type.String(),
        witnesses: Type.Array(WitnessShape),
      }),
      async handle() {
        const witnesses = await listWitnesses(db, organizationId)
        return {
          origin: log.origin,
          publicKey: log.publicKey.toBase64(),
          verifierKey: log.verifierKey,
          witnesses: witnesses.map(({ witness: name, size, seen_at: seenAt, problem }) => ({
            name,
            size,
            ...(seenAt === null ? {} : { seenAt: new Date(seenAt).toISOString() }),
            ...(problem === null ? {} : { problem }),
          })),
        }
      },
    }),
    route({
      id: 'showAuditCheckpoint',
      method: 'GET',
      path: '/api/v1/audit/checkpoint',
      permission: 'audit.read',
      summary: 'The newest signed checkpoint with what witnesses signed below it; keep a copy elsewhere',
      query: record({ cosigned: Cosigned }),
      response: record({ size: Type.Integer(), rootHash: Base64, note: Type.String() }),
      async handle(_, { query: { cosigned = false } }) {
        const checkpoint = await latestCheckpoint(db, organizationId, { cosigned })
        if (checkpoint === undefined) throw new TrustError('notFound', cosigned ? 'auditEntryUncosigned' : 'auditEntryUnsigned')
        const { size, rootHash, note } = checkpoint
        return { size, rootHash: rootHash.toBase64(), note }
      },
    }),
    route({
      id: 'proveAuditEntry',
      method: 'GET',
      path: '/api/v1/audit/entries/{id}/proof',
      permission: 'audit.read',
      summary: 'Proof that an entry is in the log, which verifies without a server (RFC 9162, 2.1.3; C2SP tlog-proof)',
      params: record({ id: Uuid }),
      query: record({ cosigned: Cosigned }),
      response: record({
        index: Type.Integer(),
        size: Type.Integer(),
        rootHash: Base64,
        path: HashPath,
        proof: Type.String({ description: 'the file: entry, path and checkpoint' }),
      }),
      async handle(_, { params: { id }, query: { cosigned = false } }) {
        const proof = await proveEntry(db, { organizationId, id, cosigned })
        const { index, size, rootHash, path } = proof
        return {
          index,
          size,
          rootHash: rootHash.toBase64(),
          path: path.map((hash) => hash.toBase64()),
          proof: encodeProof(proof),
        }
      },
    }),
    route({
      id: 'proveAuditConsistency',
      method: 'GET',
      path: '/api/v1/audit/consistency',
      permission: 'audit.read',
      summary: 'Proof that the log at one size is the beginning of the log at another (RFC 9162, 2.1.4)',
      query: record({ first: Count, second: Count }),
      response: record({ firstRoot: Base64, secondRoot: Base64, path: HashPath }),
      async handle(_, { query }) {
        const { firstRoot, secondRoot, path } = await proveConsistency(db, { organizationId, ...query })
        return {
          firstRoot: firstRoot.toBase64(),
          secondRoot: secondRoot.toBase64(),
          path: path.map((hash) => hash.toBase64()),
        }
      },
    }),
    route({
      id: 'readAuditTile',
      method: 'GET',
      path: '/api/v1/audit/tiles/{level}/{index}',
      permission: 'audit.read',
      summary: 'A tile of hashes or a bundle of entries (C2SP tlog-tiles); the same octets as at /tlog/tile/…',
      params: record({
        level: Type.String({ pattern: '^(entries|[0-9]|[1-5][0-9]|6[0-3])$' }),
        index: Type.String({ pattern: '^(0|[1-9][0-9]{0,14})$' }),
      }),
      query: record({ width: Type.Optional(Type.Integer({ minimum: 1, maximum: 256, description: '256 unless told' })) }),
      response: record({ octets: Type.String({ description: 'base64' }) }),
      async handle(_, { params: { level, index }, query: { width = 256 } }) {
        const tile = { level: level === 'entries' ? level : Number(level), index: Number(index), width } as const
        const octets = await readTile(db, organizationId, tile)
        if (octets === undefined) throw new TrustError('notFound', 'auditTileMissing')
        return { octets: octets.toBase64() }
      },
    }),
    route({
      id: 'verifyAuditLog',
      method: 'POST',
      path: '/api/v1/audit/verify',
      permission: 'audit.read',
      summary: 'Read the whole log and check it against its signed checkpoints and those kept elsewhere',
      body: record({
        witnessed: Type.Optional(
          Type.Array(Type.String({ maxLength: 100_000 }), { maxItems: 100, description: 'signed checkpoints' }),
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
