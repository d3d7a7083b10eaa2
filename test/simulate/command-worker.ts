/** Drafts commands one after the other and says each counter once it is kept, until it is killed. @module */
import { writeSync } from 'node:fs'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { systemWorld } from '#base/world.ts'
import { draftCommand } from '#commands/commands.ts'
import type { CommandsContext } from '#commands/context.ts'
import { commandsMigrations } from '#commands/migrations.ts'
import { putPolicy } from '#commands/policies.ts'
import { anchors, AT, device, signedPolicy } from '#commands/testing.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'

const [path = '', cutAt = '', after = '0'] = process.argv.slice(2)
let left = Number(after)
const reach = (point: string): void => {
  if (point === cutAt && left-- === 0) process.kill(process.pid, 'SIGKILL')
}
const world = { ...systemWorld(), clock: { now: () => AT.getTime() }, faults: { reach } }
const organizationId = 'default'
const db = sqlite({ path })
await migrate(db, [...storeMigrations, ...auditMigrations, ...commandsMigrations], world)
const context: CommandsContext = {
  ...{ db, world, organizationId, issuer: 'plant', anchors, audit: auditRecorder({ database: db, world, organizationId }) },
  device: async () => device,
  checkCertificate: async () => {},
  checkMayCommand: async () => {},
  checkArea: async () => {},
  isNews: () => true,
}
// people's keys are made anew by each process, so that the policy of the one before is none of theirs
await db.transaction(async (tx) => {
  await tx.query('DELETE FROM command_area')
  await tx.query('DELETE FROM command_policy')
})
await putPolicy(context, await signedPolicy(), 'person:1')
for (;;) {
  const wanted = { deviceId: 'd1', operation: 'lamp.on', arguments: new Map(), priority: 'normal', operator: 'ada' } as const
  const { command } = await draftCommand(context, wanted, 'person:1')
  writeSync(1, `${command.counter}\n`)
}
