/** REST: backups of the whole installation. They are encrypted, so who may fetch one still cannot read it. @module */
import { Type } from 'typebox'
import type { BackupRun, Backups } from '#backup/runs.ts'
import { TrustError } from '#base/errors.ts'
import { route } from './route.ts'
import { Empty, Time, Uuid } from './shapes.ts'

const RunShape = Type.Object({
  id: Uuid,
  state: Type.String({ description: 'running, done, failed, or interrupted when its server was not heard of for a minute' }),
  file: Type.String({ description: 'its name in the directory of backups' }),
  backupId: Type.Optional(Type.String({ description: 'stands in the backup itself' })),
  rows: Type.Integer(),
  octets: Type.Integer(),
  logSize: Type.Optional(Type.Integer({ description: 'entries of the audit log that it has' })),
  reason: Type.Optional(Type.String({ description: 'why it failed' })),
  startedAt: Time,
  finishedAt: Type.Optional(Time),
  rehearsedAt: Type.Optional(Time),
})

const shape = ({ id, state, file, backupId, rows, octets, logSize, reason, ...times }: BackupRun) => ({
  ...{ id, state, file, rows, octets, startedAt: timeOf(times.startedAt) },
  ...(backupId !== undefined && { backupId }),
  ...(logSize !== undefined && { logSize }),
  ...(reason !== undefined && { reason }),
  ...(times.finishedAt !== undefined && { finishedAt: timeOf(times.finishedAt) }),
  ...(times.rehearsedAt !== undefined && { rehearsedAt: timeOf(times.rehearsedAt) }),
})

const timeOf = (at: number): string => new Date(at).toISOString()

/** Decimal, as many as a file may have. */
const PART_MAX = 10_000_000

export const backupRoutes = (backups: Backups) => [
  route({
    id: 'createBackup',
    method: 'POST',
    path: '/api/v1/backups',
    permission: 'backup.manage',
    summary: 'Begin a backup into the directory of backups; the answer comes before it is done',
    body: Empty,
    response: RunShape,
    status: 201,
    handle: async ({ actor }) => shape(await backups.start(actor)),
  }),
  route({
    id: 'listBackups',
    method: 'GET',
    path: '/api/v1/backups',
    permission: 'backup.read',
    summary: 'Backups that were made, newest first',
    response: Type.Object({ backups: Type.Array(RunShape) }),
    handle: async () => ({ backups: (await backups.list()).map(shape) }),
  }),
  route({
    id: 'showBackup',
    method: 'GET',
    path: '/api/v1/backups/{id}',
    permission: 'backup.read',
    summary: 'How far a backup is',
    params: Type.Object({ id: Uuid }),
    response: RunShape,
    handle: async (_, { params: { id } }) => shape(await backups.find(id)),
  }),
  route({
    id: 'fetchBackup',
    method: 'GET',
    path: '/api/v1/backups/{id}/parts/{number}',
    permission: 'backup.manage',
    summary: 'A part of the file of a backup, from 0 on',
    params: Type.Object({ id: Uuid, number: Type.String({ pattern: '^(0|[1-9][0-9]{0,7})$' }) }),
    response: Type.Object({ octets: Type.String({ description: 'base64' }), last: Type.Boolean() }),
    async handle(_, { params: { id, number } }) {
      if (Number(number) > PART_MAX) throw new TrustError('notFound', 'backupUnknown')
      const { octets, last } = await backups.part(id, Number(number))
      return { octets: octets.toBase64(), last }
    },
  }),
  route({
    id: 'recordRehearsal',
    method: 'POST',
    path: '/api/v1/backups/rehearsals',
    permission: 'backup.manage',
    summary: 'Note that a backup was restored on trial and found whole',
    body: Type.Object({ backupId: Uuid }, { additionalProperties: false }),
    response: RunShape,
    handle: async ({ actor }, { body: { backupId } }) => shape(await backups.rehearsed(backupId, actor)),
  }),
]
