/** Profiles by name: the installation's own, then the built-in ones. @module */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { CAContext } from './context.ts'
import { lately } from './lately.ts'
import { parseProfile, type Profile } from './profile.ts'
import { profiles as builtIn } from './profiles/registry.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

const builtInById = new Map<string, Profile>(builtIn.map((profile) => [profile.id, profile]))

const openedLately = lately<Profile>()

/** @throws TrustError `notFound` */
export async function openProfile(context: Pick<CAContext, 'db' | 'world'>, id: string): Promise<Profile> {
  return builtInById.get(id) ?? openedLately.get(context, id, () => readProfile(context, id))
}

async function readProfile({ db }: Pick<CAContext, 'db'>, id: string): Promise<Profile> {
  const [row] = await db.query('SELECT definition FROM profile WHERE organization_id = ? AND name = ?', DEFAULT_ORGANIZATION, id)
  if (row === undefined) throw new TrustError('notFound', 'profileUnknown', { facts: { profile: id } })
  return parseProfile(JSON.parse(row['definition'] as string))
}

export interface ListedProfile {
  readonly profile: Profile
  readonly builtIn: boolean
}

export async function listProfiles({ db }: Pick<CAContext, 'db'>): Promise<readonly ListedProfile[]> {
  const rows = await db.query('SELECT definition FROM profile WHERE organization_id = ? ORDER BY name', DEFAULT_ORGANIZATION)
  return [
    ...builtIn.map((profile) => ({ profile, builtIn: true })),
    ...rows.map((row) => ({ profile: parseProfile(JSON.parse(row['definition'] as string)), builtIn: false })),
  ]
}

/** Adds a profile of the installation's own, or replaces it. @throws TrustError `malformed`, `conflict` for a built-in name */
export async function putProfile({ db, audit, world }: CAContext, definition: unknown, actor: string): Promise<Profile> {
  const profile = parseProfile(definition)
  if (builtInById.has(profile.id)) throw new TrustError('conflict', 'profileBuiltIn', { facts: { profile: profile.id } })
  await db.transaction(async (tx) => {
    await tx.query(
      `INSERT INTO profile (id, organization_id, version, name, definition, created_at) VALUES (?, ?, 1, ?, ?, ?)
        ON CONFLICT (organization_id, name) DO UPDATE SET definition = excluded.definition, version = profile.version + 1`,
      uuidv7(world),
      DEFAULT_ORGANIZATION,
      profile.id,
      JSON.stringify(profile),
      world.clock.now(),
    )
    await audit.record(tx, { actor, act: 'profile.put', object: `profile:${profile.id}`, outcome: 'done' })
  })
  openedLately.forget(db)
  return profile
}
