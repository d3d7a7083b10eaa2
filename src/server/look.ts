/**
 * An installation as its database shows it, for `doctor`: nothing is opened, made or changed. Each room says what is its own.
 *
 * @module
 */
import { newestEntry } from '#audit/log.ts'
import { newestBackup } from '#backup/runs.ts'
import { readRestoration } from '#ca/restoration.ts'
import { DEFAULT_ORGANIZATION } from '#ca/tables.ts'
import { offlineStatesIn } from '#ca/trusted.ts'
import { countTimeStampers } from '#signing/tsp/look.ts'
import type { Database } from '#store/database.ts'
import { settingsOff } from '#store/registry.ts'

export async function lookAt(db: Pick<Database, 'id' | 'query'>, now: number) {
  const [audit, offline, backup, restoration, timeStampers, unsafe] = await Promise.all([
    newestEntry(db),
    offlineStatesIn(db, now),
    newestBackup(db, DEFAULT_ORGANIZATION),
    readRestoration(db),
    countTimeStampers(db, DEFAULT_ORGANIZATION),
    db.id === 'postgres' ? settingsOff(db) : undefined,
  ])
  return { audit, offline, backup, isClosed: restoration?.state === 'closed', timeStampers, unsafe }
}

export type Look = Awaited<ReturnType<typeof lookAt>>
