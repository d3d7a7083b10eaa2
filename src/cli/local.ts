/**
 * The REST interface of a data directory, in this process, under the directory's exclusive lock.
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { openAuditLog } from '#audit/log.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { TrustError } from '#base/errors.ts'
import { createLog } from '#base/log.ts'
import type { Secret } from '#base/secret.ts'
import { uuidv7 } from '#base/world.ts'
import { composeBackups } from '#server/backup.ts'
import { openCA, openClock, openFoundation } from '#server/compose.ts'
import { TLS_ROOT_FILE } from '#server/init.ts'
import { inProcessTransport, restClient } from '#server/rest/client.ts'
import { composeWeb } from '#server/web.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import type { Context } from './command.ts'
import { type InstallationValues, openConfiguration } from './installation.ts'

/** @throws TrustError `unavailable` before `init`; `conflict` naming the process that has the directory */
export async function openLocalClient(context: Context, where: InstallationValues, token: Secret | undefined) {
  const opened = await openConfiguration(context, where)
  const { config, dataDirectory, world, environment, configText } = opened
  if (!existsSync(join(dataDirectory, TLS_ROOT_FILE))) throw new TrustError('unavailable', 'notInitialized')
  // PostgreSQL has several writers; a SQLite file has one process.
  const lock = config.store.url.engine === 'sqlite' ? lockDirectory(dataDirectory, 'sealworks') : undefined
  const foundation = await openFoundation(opened).catch((error: unknown) => {
    lock?.release()
    throw error
  })
  const { db, keys, organizationId } = foundation
  const close = async (): Promise<void> => {
    await keys.close()
    await db.close()
    lock?.release()
  }
  try {
    const ca = await openCA(foundation, config)
    const auditLog = await openAuditLog({ database: db, organizationId, keys })
    // Refusals are told to the person; the log is for what they cannot be told.
    const log = createLog({ level: 'error', clock: world.clock, write: (line) => context.say(line.trimEnd()) })
    const backups = composeBackups({ foundation, auditLog, config, environment, dataDirectory, configText, log })
    const web = composeWeb({
      foundation,
      backups,
      ca,
      auditLog,
      config,
      world,
      clock: openClock(config, world, log),
      dataDirectory,
      log,
      broker: () => undefined, // only a server runs one
      endpointsChanged: async () => {},
    })
    const [rest] = web.routers('tls')
    if (rest === undefined) throw new TypeError('the TLS listener has no REST interface')
    const client = restClient({
      transport: inProcessTransport(rest, () => uuidv7(world)),
      ...(token !== undefined && { token }),
    })
    return {
      call: client.call,
      transfer: client.transfer,
      async close() {
        await backups.settle()
        await web.jobs.close()
        // a restored log goes on where its journals end
        if (ca.context.settings.issuanceClosed === true) return close()
        const sequencer = auditSequencer({ database: db, world, log: auditLog, holder: uuidv7(world), alone: lock !== undefined })
        await sequencer.runOnce()
        await sequencer.release()
        await close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}
