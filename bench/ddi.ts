/**
 * 100,000 devices that ask for updates once a minute: 1,667 polls a second, over 2,000 connections of mutual TLS that stay open, to the
 * server as users start it; handshakes apart.
 *
 * The polls come at the rate that they come at, not as fast as the server answers: the figure is how long each waits, timed from when
 * it was due. `BENCH_DDI_DEVICES`, `BENCH_DDI_SESSIONS`, `BENCH_DDI_RATE` and `BENCH_DDI_SECONDS` make it smaller. All devices have an
 * open action of a campaign; as many as there are connections have certificates, and each of them asks as often as the rate needs.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { uuidv7 } from '#base/world.ts'
import { createModel } from '#devices/models.ts'
import { createOrganization } from '#devices/organizations.ts'
import type { Database, SqlValue } from '#store/database.ts'
import { plainTerms } from '#updates/campaigns/testing.ts'
import type { PollOrder, PollReport } from './ddi-load.ts'
import type { Figure } from './figure.ts'
import { makePlant, openPlant, type Plant, serialOf, world } from './plant.ts'
import { startSealworks } from './server.ts'

const DEVICES = Number(process.env['BENCH_DDI_DEVICES'] ?? 100_000)
const SESSIONS = Number(process.env['BENCH_DDI_SESSIONS'] ?? 2000)
const RATE = Number(process.env['BENCH_DDI_RATE'] ?? DEVICES / 60)
const SECONDS = Number(process.env['BENCH_DDI_SECONDS'] ?? 60)
const ACTOR = 'person:bench'
const TENANT = 'bench'
const ROWS_EACH = 5000

export async function benchDDI(): Promise<readonly Figure[]> {
  using plant = await makePlant({ devices: SESSIONS })
  await fill(plant)
  await using server = await startSealworks(plant.dataDirectory)
  const order: PollOrder = {
    ...{ port: server.tlsPort, trust: plant.tlsRoot, serverName: 'localhost', perSecond: RATE, seconds: SECONDS },
    sessions: plant.devices.map(({ certificate, key }, number) => ({
      ...{ path: `/ddi/${TENANT}/controller/v1/${serialOf(number)}`, certificate, key },
    })),
  }
  const file = join(plant.directory, 'polls.json')
  writeFileSync(file, JSON.stringify(order))
  const before = server.cpuSeconds()
  const { handshakesPerSecond, polls, seconds, statuses, deployments, latencyMilliseconds } = await run(file)
  const after = server.cpuSeconds()
  const others = Object.keys(statuses).filter((status) => status !== '200')
  if (others.length > 0 || deployments !== polls)
    throw new Error(`not every poll was answered with its deployment: ${JSON.stringify(statuses)}`)
  const { median, p99, most } = latencyMilliseconds
  const note = `${SESSIONS} connections, ${DEVICES} devices with an open action, client on the same machine`
  return [
    { name: 'ddi.polls.perSecond', value: polls / seconds, unit: '/s', reach: { atLeast: RATE * 0.99 }, note },
    { name: 'ddi.polls.median', value: median, unit: 'ms' },
    { name: 'ddi.polls.p99', value: p99, unit: 'ms', reach: { below: 200 }, note: `the longest ${most.toFixed(0)} ms` },
    ...(before === undefined || after === undefined
      ? []
      : [
          {
            name: 'ddi.polls.serverCPU',
            value: ((after - before) / polls) * 1e6,
            unit: 'µs',
            note: 'with the handshakes',
          } as const,
        ]),
    { name: 'ddi.handshakes', value: handshakesPerSecond, unit: '/s', note: 'mutual TLS 1.3, P-256, sixteen at a time' },
  ]
}

async function run(file: string): Promise<PollReport> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'ddi-load.ts'), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close') as Promise<[number | null]>])
  if (code !== 0) throw new Error(`the load ended with ${code}`)
  return JSON.parse(said) as PollReport
}

/** Devices as births and a campaign leave them, in few statements. */
async function fill(plant: Plant): Promise<void> {
  await using opened = await openPlant(plant)
  const { context } = opened.ca.devices
  const { db, organizationId } = context
  const now = world.clock.now()
  const { id: maker } = await createOrganization(context, { name: 'maker', title: 'Maker', kind: 'manufacturer' }, ACTOR)
  const model = await createModel(
    context,
    {
      ...{ manufacturerId: maker, name: 'press', title: 'Press', hardwareType: undefined, compatible: {} },
      ...{ variants: ['software'], assuranceMin: 0 },
    },
    ACTOR,
  )
  const ids = Array.from({ length: DEVICES }, () => uuidv7(world))
  const device = [
    ...['organization_id', 'version', 'manufacturer_id', 'model_id', 'kind', 'state', 'assurance', 'epoch', 'owner_id'],
    ...['is_lost', 'is_stolen', 'is_clone', 'created_at', 'changed_at', 'id', 'product_serial'],
  ]
  const same = [organizationId, 1, maker, model.id, 'device', 'active', 2, 1, maker, 0, 0, 0, now, now]
  await insert(
    db,
    'device',
    device,
    ids.map((id, number) => [...same, id, serialOf(number)]),
  )
  const certificates = await db.query<{ id: string; der: Uint8Array }>("SELECT id, der FROM certificate WHERE profile = 'idevid'")
  const byDER = new Map(certificates.map(({ id, der }) => [digestOf(der), id]))
  await insert(
    db,
    'device_certificate',
    ['certificate_id', 'organization_id', 'version', 'device_id', 'key_hash', 'role', 'epoch', 'standing', 'created_at'],
    plant.devices.map(({ der }, number) => [
      ...[byDER.get(digestOf(der)) ?? '', organizationId, 1, ids[number] ?? '', createHash('sha256').update(der).digest()],
      ...['birth', 1, 'current', now],
    ]),
  )
  await insert(db, 'ddi_tenant', TENANT_COLUMNS, [[uuidv7(world), organizationId, 1, TENANT, 60, 0, 'enabled', now]])
  const campaign = uuidv7(world)
  const terms = JSON.stringify({ ...plainTerms, release: uuidv7(world) })
  await insert(db, 'campaign', CAMPAIGN_COLUMNS, [
    [campaign, organizationId, 1, 'bench', terms, uuidv7(world), 'press-os', '2.0.0', 'running', DEVICES, 0, now],
  ])
  await insert(
    db,
    'campaign_wave',
    ['campaign_id', 'wave', 'organization_id', 'version', 'size', 'opened_at'],
    [[campaign, 0, organizationId, 1, DEVICES, now]],
  )
  await insert(
    db,
    'campaign_action',
    [
      ...['organization_id', 'version', 'campaign_id', 'device_id', 'position', 'wave', 'state', 'contradictions'],
      ...['is_cancel_asked', 'offered_at', 'changed_at'],
    ],
    ids.map((id, position) => [organizationId, 1, campaign, id, position, 0, 'offered', 0, 0, now, now]),
  )
}

const TENANT_COLUMNS = ['id', 'organization_id', 'version', 'name', 'polling_seconds', 'takes_tokens', 'state', 'created_at']
const CAMPAIGN_COLUMNS = [
  ...['id', 'organization_id', 'version', 'name', 'terms', 'release_id', 'component', 'release_version', 'state', 'size', 'wave'],
  'created_at',
]

const digestOf = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex')

async function insert(
  db: Database,
  table: string,
  columns: readonly string[],
  rows: readonly (readonly SqlValue[])[],
): Promise<void> {
  for (let at = 0; at < rows.length; at += ROWS_EACH)
    await db.transaction((tx) => tx.insertMany(table, columns, rows.slice(at, at + ROWS_EACH)))
}
