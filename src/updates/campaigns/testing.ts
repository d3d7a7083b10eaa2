/** Campaigns on a temporary database of either engine, with devices and releases that a test makes up. Not part of any program. @module */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { updatesMigrations } from '../migrations.ts'
import { actionOf, type Action } from './actions.ts'
import { type CampaignWork, campaignWork } from './advance.ts'
import { createCampaign } from './campaigns.ts'
import type { CampaignRelease, CampaignsContext, DirectorOrder } from './context.ts'
import { campaignDoor } from './door.ts'
import { campaignsMigrations } from './migrations.ts'
import { putTenant } from './tenants.ts'
import type { CampaignTerms } from './terms.ts'

export const officer = 'person:olga'

export interface TestCampaigns extends AsyncDisposable {
  readonly context: CampaignsContext
  readonly work: CampaignWork
  readonly door: ReturnType<typeof campaignDoor>
  readonly release: CampaignRelease
  readonly time: { ahead: number }
  /** What the director was asked. */
  readonly orders: DirectorOrder[]
  /** Devices whom the director refuses. */
  readonly refused: Set<string>
  /** To `cleo`, and into another epoch. */
  sell(...deviceIds: readonly string[]): void
  create(name: string, terms?: Partial<CampaignTerms>): Promise<void>
  /** As the door knows it. */
  visit(deviceId: string): Promise<Awaited<ReturnType<ReturnType<typeof campaignDoor>['authenticate']>>>
  /** In the order of their numbers. */
  actions(campaign?: string): Promise<readonly Action[]>
  audited(act: string): Promise<number>
}

export const swu = utf8('an update archive of the press\n'.repeat(500))
const raucb = utf8('a bundle of the press\n')

export interface TestCampaignsOptions {
  readonly devices: number
  readonly db?: Database
  readonly world?: World
}

/** Devices are called d0000, d0001 and so on; the owner of every second one is `ann`, of the others `ben`. */
export async function testCampaigns({ devices: count, db, world: given }: TestCampaignsOptions): Promise<TestCampaigns> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-campaigns-'))
  const database = db ?? sqlite({ path: join(directory, 'sealworks.db') })
  const system = given ?? systemWorld()
  const time = { ahead: 0 }
  const world: World = { ...system, clock: { now: () => system.clock.now() + time.ahead } }
  await migrate(database, [...storeMigrations, ...auditMigrations, ...updatesMigrations, ...campaignsMigrations], world)
  const organizationId = 'default'
  const audit = auditRecorder({ database, world, organizationId })
  const bodies = { 'press.swu': swu, 'press.raucb': raucb }
  const release: CampaignRelease = {
    ...{ id: '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b', component: 'press-os', version: '2.0.0', counter: 7 },
    artifacts: Object.entries(bodies).map(([name, body]) => ({
      ...{ name, format: name.endsWith('.swu') ? 'swupdate' : 'rauc', octets: body.length },
      sha256: createHash('sha256').update(body).digest('hex'),
    })),
  }
  const ids = Array.from({ length: count }, (_, at) => `d${String(at).padStart(String(count).length + 3, '0')}`)
  const sold = new Set<string>()
  const known = (deviceId: string) =>
    sold.has(deviceId)
      ? { deviceId, name: deviceId, ownerId: 'cleo', epoch: 2 }
      : { deviceId, name: deviceId, ownerId: Number(deviceId.slice(1)) % 2 === 0 ? 'ann' : 'ben', epoch: 1 }
  const orders: DirectorOrder[] = []
  const refused = new Set<string>()
  const context: CampaignsContext = {
    ...{ db: database, audit, world, organizationId },
    devices: {
      async matching({ devices, owner }, { after, limit }) {
        const fit = ids.filter(
          (id) => id > after && (devices?.includes(id) ?? true) && (owner === undefined || known(id).ownerId === owner),
        )
        return fit.slice(0, limit)
      },
      async admit([own], name) {
        if (own === undefined || new TextDecoder().decode(own) !== name)
          throw new TrustError('unauthenticated', 'certificateUnknown')
        return known(name)
      },
      named: async (name) => (ids.includes(name) ? [known(name)] : []),
      serials: async (list) => new Map(list.map((id) => [id, `serial of ${id}`])),
      async epochOf(id) {
        if (!ids.includes(id)) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
        return known(id).epoch
      },
      async ownerFor(name, actor) {
        if (actor !== officer) throw new TrustError('forbidden', 'organizationNotTheirs', { facts: { organization: name } })
        return { id: name }
      },
    },
    releases: {
      async open(id) {
        if (id !== release.id) throw new TrustError('notFound', 'artifactUnknown')
        return release
      },
      async direct(order) {
        orders.push(order)
        if (refused.has(order.deviceId))
          throw new TrustError('policyRefused', 'updateOtherModel', { facts: { model: 'a', here: 'b' } })
        const octets = utf8(
          `${order.deviceId} may install ${order.releaseId}, as was agreed: ${order.consent?.toHex() ?? 'not asked'}`,
        )
        return { files: [{ name: 'director.cose', octets }], expiresAt: world.clock.now() + 86_400_000 }
      },
      async *read({ name }, start, end) {
        yield bodies[name as keyof typeof bodies].subarray(start, end)
      },
    },
  }
  const work = campaignWork(context)
  const door = campaignDoor(context, work)
  await putTenant(context, { name: 'plant', pollingSeconds: 60, takesTokens: false, state: 'enabled' }, officer)
  return {
    ...{ context, work, door, release, time, orders, refused },
    sell: (...deviceIds) => deviceIds.forEach((id) => sold.add(id)),
    async create(name, terms = {}) {
      await createCampaign(context, name, { ...plainTerms, release: release.id, ...terms }, officer)
    },
    visit: (id) => door.authenticate('plant', id, { chain: [utf8(id)], targetToken: undefined }),
    actions: async (campaign) =>
      (
        await database.query(
          `SELECT a.* FROM campaign_action AS a JOIN campaign ON campaign.id = a.campaign_id WHERE campaign.name = ? ORDER BY number`,
          campaign ?? 'press',
        )
      ).map(actionOf),
    async audited(act) {
      const [row] = await database.query<{ n: number }>('SELECT count(*) AS n FROM audit_entry WHERE act = ?', act)
      return row?.n ?? 0
    },
    async [Symbol.asyncDispose]() {
      await work.settled()
      await database.close()
      rmSync(directory, { recursive: true })
    },
  }
}

export const plainTerms: Omit<CampaignTerms, 'release'> = {
  kind: 'install',
  who: { model: 'acme/press' },
  waves: [],
  gatePercent: 100,
  errors: { percent: 50, least: 2 },
  windows: [],
  consent: 'none',
  urgency: 'forced',
}
