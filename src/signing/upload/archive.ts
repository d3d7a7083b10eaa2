/**
 * The archive of what was signed: each artifact once, under its digest, on the disk before its signature is made.
 *
 * @module
 */
import { constants, existsSync, mkdirSync } from 'node:fs'
import { copyFile, open, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database, Row } from '#store/database.ts'

export interface Archive {
  /** @throws TrustError `unavailable` where nothing is configured, or the disk cannot */
  keep(file: string, artifact: { readonly digest: string; readonly octets: number }, signerId: string): Promise<void>
  /** @throws TrustError `notFound` */
  find(digest: string, signerId: string): Promise<{ readonly file: string; readonly octets: number }>
  /** For the background: removes what was kept long enough. @returns how many went */
  purge(): Promise<number>
}

export interface ArchiveOptions {
  readonly db: Database
  readonly world: World
  readonly organizationId: string
  /** Absent where nothing is archived. */
  readonly directory: string | undefined
  readonly keepDays: number
}

interface ArchiveRow extends Row {
  readonly digest: string
  readonly octets: number
}

const DAY_MILLISECONDS = 86_400_000
/** Removed at once, so that the disk is not busy with it alone. */
const PURGE_MAX = 1000

export function openArchive({ db, world, organizationId, directory, keepDays }: ArchiveOptions): Archive {
  const placeOf = (root: string, digest: string): string => join(root, digest.slice(0, 2), digest)
  const root = (): string => {
    if (directory === undefined) throw new TrustError('unavailable', 'archiveMissing')
    return directory
  }

  async function put(file: string, place: string, octets: number): Promise<void> {
    if ((await stat(place).catch(() => undefined))?.size === octets) return // the same octets, as their digest says
    const beside = `${place}.${uuidv7(world)}.part`
    try {
      mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
      await copyFile(file, beside, constants.COPYFILE_FICLONE)
      const handle = await open(beside, 'r+')
      await handle.chmod(0o400)
      await handle.sync()
      await handle.close()
      await rename(beside, place)
      syncDirectory(dirname(place))
      syncDirectory(dirname(dirname(place)))
    } catch (cause) {
      throw new TrustError('unavailable', 'archiveUnwritable', { cause })
    } finally {
      await rm(beside, { force: true })
    }
  }

  return {
    async keep(file, { digest, octets }, signerId) {
      await put(file, placeOf(root(), digest), octets)
      const until = world.clock.now() + keepDays * DAY_MILLISECONDS
      await db.transaction((tx) =>
        tx.query(
          `INSERT INTO signing_archive (id, organization_id, version, signer_id, digest, octets, kept_until) VALUES (?, ?, 1, ?, ?, ?, ?)
            ON CONFLICT (organization_id, signer_id, digest) DO UPDATE SET kept_until = excluded.kept_until, version = signing_archive.version + 1`,
          ...[uuidv7(world), organizationId, signerId, digest, octets, until],
        ),
      )
    },
    async find(digest, signerId) {
      const [row] = await db.query<ArchiveRow>(
        'SELECT digest, octets FROM signing_archive WHERE organization_id = ? AND signer_id = ? AND digest = ?',
        ...[organizationId, signerId, digest],
      )
      const file = row === undefined ? undefined : placeOf(root(), digest)
      if (row === undefined || file === undefined || !existsSync(file)) throw new TrustError('notFound', 'archiveUnknown')
      return { file, octets: row.octets }
    },
    async purge() {
      if (directory === undefined) return 0
      const now = world.clock.now()
      const gone = await db.query<ArchiveRow>(
        'SELECT digest, octets FROM signing_archive WHERE organization_id = ? AND kept_until < ? ORDER BY kept_until LIMIT ?',
        ...[organizationId, now, PURGE_MAX],
      )
      for (const { digest } of gone) {
        const others = await db.transaction(async (tx) => {
          await tx.query(
            'DELETE FROM signing_archive WHERE organization_id = ? AND digest = ? AND kept_until < ?',
            ...[organizationId, digest, now],
          )
          return tx.query(
            'SELECT id FROM signing_archive WHERE organization_id = ? AND digest = ? LIMIT 1',
            organizationId,
            digest,
          )
        })
        if (others.length === 0) await rm(placeOf(directory, digest), { force: true })
      }
      return gone.length
    },
  }
}
