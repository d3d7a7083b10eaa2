/** The story, in order. Adding a chapter: write its file, add one line here. @module */
import type { Chapter } from '../story.ts'
import { authoritiesChapter } from './authorities.ts'
import { backupChapter } from './backup.ts'
import { birthsChapter } from './births.ts'
import { copiesChapter } from './copies.ts'
import { firmwareChapter } from './firmware.ts'
import { lifeChapter } from './life.ts'
import { licensesChapter } from './licenses.ts'
import { machinesChapter } from './machines.ts'
import { messagesChapter } from './messages.ts'
import { ordersChapter } from './orders.ts'
import { ownersChapter } from './owners.ts'
import { postQuantumChapter } from './post-quantum.ts'
import { productionChapter } from './production.ts'
import { recordChapter } from './record.ts'
import { renewalChapter } from './renewal.ts'
import { revocationChapter } from './revocation.ts'
import { rotationChapter } from './rotation.ts'
import { secondOpinionChapter } from './second-opinion.ts'
import { serverChapter } from './server.ts'
import { stationChapter } from './station.ts'
import { tokenChapter } from './token.ts'
import { updatesChapter } from './updates.ts'
import { usageChapter } from './usage.ts'

export const chapters: readonly Chapter[] = [
  serverChapter,
  authoritiesChapter,
  stationChapter,
  birthsChapter,
  productionChapter,
  ownersChapter,
  copiesChapter,
  renewalChapter,
  revocationChapter,
  secondOpinionChapter,
  lifeChapter,
  tokenChapter,
  postQuantumChapter,
  rotationChapter,
  firmwareChapter,
  machinesChapter,
  updatesChapter,
  licensesChapter,
  ordersChapter,
  usageChapter,
  messagesChapter,
  recordChapter,
  backupChapter,
]
