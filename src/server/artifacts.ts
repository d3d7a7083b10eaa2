/** Artifacts that are signed here: their spool in the data directory, their jobs, and their archive. @module */
import { join } from 'node:path'
import type { Access } from '#access/access.ts'
import { actorOf } from '#access/principals.ts'
import type { Approvals } from '#approvals/approvals.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import { openArchive } from '#signing/upload/archive.ts'
import { openJobs } from '#signing/upload/jobs.ts'
import type { Signing } from '#signing/service.ts'
import type { Foundation } from './compose.ts'

export interface ArtifactParts {
  readonly foundation: Foundation
  readonly signing: Signing
  readonly approvals: Approvals
  readonly access: Access
  readonly config: Config
  readonly dataDirectory: string
  readonly world: World
  readonly log: Log
}

export function composeArtifacts({ foundation, signing, approvals, access, config, dataDirectory, world, log }: ArtifactParts) {
  const { db, organizationId } = foundation
  const { signing: settings } = config
  const archive = openArchive({
    ...{ db, world, organizationId },
    directory: settings.archiveDirectory,
    keepDays: settings.archiveKeepDays,
  })
  const jobs = openJobs({
    ...{ db, world, organizationId, log, signing, approvals, archive },
    directory: join(dataDirectory, 'spool'),
    uploadMaxOctets: settings.uploadMaxBytes,
    spoolMaxOctets: settings.spoolMaxBytes,
    resultKeepHours: settings.resultKeepHours,
    async requesterOf(id) {
      const { state, kind, roles } = await access.findPrincipal(id)
      return state === 'active' ? { actor: actorOf({ kind, id }), id, kind, roles } : undefined
    },
  })
  return { jobs, archive }
}
