/**
 * A process that makes or restores a backup and kills itself at the point it is told, as a power switch would.
 *
 * Arguments: what to do, the plant's directory, its verifier key, after how many points to die, the backup's file.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseVerifierKey } from '#audit/note-key.ts'
import { parseRecoveryKey } from '#backup/recipients.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { parseConfig } from '#config/config.ts'
import { silentLog } from '#base/log.ts'
import { openAuditLog } from '#audit/log.ts'
import { composeBackups } from '#server/backup.ts'
import { openFoundation } from '#server/compose.ts'
import { restoreInstallation } from '#server/restore.ts'

const [what, directory = '', verifierKey = '', points = '0', file = ''] = process.argv.slice(2)
let left = Number(points)
const world = {
  ...systemWorld(),
  faults: {
    reach() {
      if (--left === 0) process.kill(process.pid, 'SIGKILL')
    },
  },
}
const environment = {}

if (what === 'backup') {
  const dataDirectory = join(directory, 'data')
  const config = parseConfig({ file: readFileSync(join(dataDirectory, 'sealworks.toml'), 'utf8'), environment, dataDirectory })
  const foundation = await openFoundation({ config, world, environment })
  const { db, keys, organizationId } = foundation
  const auditLog = await openAuditLog({ database: db, organizationId, keys })
  const made = composeBackups({ foundation, auditLog, config, environment, dataDirectory, log: silentLog })
  await made.start('system')
  await made.settle()
  await db.close()
} else {
  await restoreInstallation({
    file,
    opener: parseRecoveryKey(secret(readFileSync(join(directory, 'recovery.key')))),
    verifierKey: parseVerifierKey(verifierKey),
    witnessed: [],
    world,
    dataDirectory: join(directory, 'restored'),
    environment,
  })
}
// points that were left over tell how many there are
process.stdout.write(`${Number(points) - left}\n`)
