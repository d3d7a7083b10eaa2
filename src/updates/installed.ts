/**
 * What runs on each device, as it is known: from a report that the device signed, one that its TPM vouches for, or what an update
 * tool says without proof. Only the first two show that an update succeeded.
 *
 * @module
 */
import type { Step } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import { messageStatement } from '#store/outbox.ts'
import type { UpdatesContext } from './context.ts'

/** How well it is known, from least to most. */
export const installedSources = ['reported', 'signed', 'attested'] as const
export type InstalledSource = (typeof installedSources)[number]

export interface Installed {
  readonly component: string
  readonly version: string
  /** Of the release; undefined for what is none here. */
  readonly counter: number | undefined
  /** SHA-256 of the artifact that it was installed from, hexadecimal. */
  readonly digest: string | undefined
  readonly releaseId: string | undefined
  readonly source: InstalledSource
  readonly at: number
}

/** As a report says it. */
export interface RunningComponent {
  readonly name: string
  readonly version: string
  /** SHA-256, hexadecimal. */
  readonly digest?: string | undefined
}

type Context = Pick<UpdatesContext, 'db' | 'world' | 'organizationId'>

interface InstalledRow extends Row {
  readonly component: string
  readonly installed: string
  readonly counter: number | null
  readonly digest: string | null
  readonly release_id: string | null
  readonly source: InstalledSource
  readonly at: number
}

export async function listInstalled({ db }: Pick<Context, 'db'>, deviceId: string): Promise<readonly Installed[]> {
  const rows = await db.query<InstalledRow>(
    'SELECT component, installed, counter, digest, release_id, source, at FROM installed_version WHERE device_id = ? ORDER BY component',
    deviceId,
  )
  return rows.map(({ component, installed, counter, digest, release_id: releaseId, source, at }) => ({
    ...{ component, version: installed, source, at },
    counter: counter ?? undefined,
    digest: digest ?? undefined,
    releaseId: releaseId ?? undefined,
  }))
}

/** Of those that are releases here: what the director compares. */
export async function installedCounters(context: Pick<Context, 'db'>, deviceId: string): Promise<ReadonlyMap<string, number>> {
  const list = await listInstalled(context, deviceId)
  return new Map(list.flatMap(({ component, counter }) => (counter === undefined ? [] : [[component, counter] as const])))
}

interface KnownRelease extends Row {
  readonly id: string
  readonly counter: number
}

/** A release is known by the octets that it was installed from; where nobody says them, by its version for this model. */
async function releaseOf(
  { db, organizationId }: Context,
  modelId: string,
  { name, version, digest }: RunningComponent,
): Promise<KnownRelease | undefined> {
  const where = 'm.organization_id = ? AND m.model_id = ? AND m.component = ? AND m.release_version = ?'
  const [found] = await db.query<KnownRelease>(
    digest === undefined
      ? `SELECT m.release_id AS id, m.counter AS counter FROM release_model m WHERE ${where}`
      : `SELECT m.release_id AS id, m.counter AS counter FROM release_model m
          JOIN release_artifact a ON a.release_id = m.release_id AND a.digest = ? WHERE ${where} LIMIT 1`,
    ...(digest === undefined ? [] : [digest]),
    ...[organizationId, modelId, name, version],
  )
  return found
}

export interface Running {
  readonly deviceId: string
  readonly modelId: string
  readonly components: readonly RunningComponent[]
  readonly source: InstalledSource
}

/**
 * What a report says, to be kept with it. What an update tool says does not replace what the device signed, and what a signed
 * report does not name any more is not there any more.
 */
export async function stepsToRecord(
  context: Context,
  { deviceId, modelId, components, source }: Running,
): Promise<readonly Step[]> {
  const known = new Map((await listInstalled(context, deviceId)).map((one) => [one.component, one]))
  const steps: Step[] = []
  for (const component of components) {
    const before = known.get(component.name)
    if (isSame(before, component, source)) continue
    if (before !== undefined && before.source !== 'reported' && source === 'reported') continue
    const release = await releaseOf(context, modelId, component)
    steps.push(stepToKeep(context, deviceId, { component, release, source }))
  }
  const named = new Set(components.map(({ name }) => name))
  const gone = source === 'reported' ? [] : [...known.keys()].filter((name) => !named.has(name))
  steps.push(...gone.map((name) => stepToForget(deviceId, name)))
  if (steps.length === 0) return []
  // one, however much changed: a device may have all of its components change with each report
  const payload = { deviceId, source, changes: steps.length }
  return [...steps, messageStatement(context.world, { topic: 'software.run', organization: context.organizationId, payload })]
}

const isSame = (before: Installed | undefined, { version, digest }: RunningComponent, source: InstalledSource): boolean =>
  before !== undefined && before.version === version && before.digest === digest && before.source === source

interface Change {
  readonly component: RunningComponent
  readonly release: KnownRelease | undefined
  readonly source: InstalledSource
}

function stepToKeep({ world, organizationId }: Context, deviceId: string, { component, release, source }: Change): Step {
  const { name, version, digest } = component
  return {
    sql: `INSERT INTO installed_version (device_id, organization_id, version, component, installed, counter, digest, release_id, source, at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device_id, component) DO UPDATE SET version = installed_version.version + 1,
          installed = excluded.installed, counter = excluded.counter, digest = excluded.digest, release_id = excluded.release_id,
          source = excluded.source, at = excluded.at`,
    parameters: [
      ...[deviceId, organizationId, name, version, release?.counter ?? null],
      ...[digest ?? null, release?.id ?? null, source, world.clock.now()],
    ],
  }
}

const stepToForget = (deviceId: string, component: string): Step => ({
  sql: 'DELETE FROM installed_version WHERE device_id = ? AND component = ?',
  parameters: [deviceId, component],
})

/**
 * Whether a device runs a component because it was told to, though an officer accepted another one: what the newest statement
 * for that component let it install, or what it ran by such a statement before.
 */
export async function isDirected(db: Queries, deviceId: string, { name, version, digest }: RunningComponent): Promise<boolean> {
  if (digest === undefined) return false
  const [newest] = await db.query<{ release_id: string }>(
    'SELECT release_id FROM director_statement WHERE device_id = ? AND component = ? ORDER BY sequence DESC LIMIT 1',
    ...[deviceId, name],
  )
  const [running] = await db.query<{ digest: string | null; installed: string }>(
    'SELECT digest, installed FROM installed_version WHERE device_id = ? AND component = ? AND release_id IS NOT NULL',
    ...[deviceId, name],
  )
  if (running?.digest === digest && running.installed === version) return newest !== undefined
  if (newest === undefined) return false
  const [artifact] = await db.query(
    `SELECT a.id FROM release_artifact a JOIN software_release r ON r.id = a.release_id
      WHERE a.release_id = ? AND a.digest = ? AND r.release_version = ? LIMIT 1`,
    ...[newest.release_id, digest, version],
  )
  return artifact !== undefined
}
