/** A factory with its authorities, on a data directory of its own, for tests and measurements of births. @module */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { systemWorld, type World } from '#base/world.ts'
import { hierarchy } from '#ca/testing.ts'
import { trustAuthority } from '#ca/trusted.ts'
import { parseConfig } from '#config/config.ts'
import type { BirthsContext } from '#devices/birth/context.ts'
import { createLine, type LineTerms } from '#devices/birth/lines.ts'
import { testMaker, type TestMaker } from '#devices/birth/testing.ts'
import type { AssuranceLevel } from '#devices/device.ts'
import { testModel, testOrganization } from '#devices/testing.ts'
import { createOrder, type OrdersContext } from '#orders/orders.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { type CAServices, migrations, openCA, openFoundation } from './compose.ts'
import { openOrders } from './orders.ts'

const officer = 'person:olga'
/** As `init` makes it. */
const WRAPPING_KEY_OCTETS = 32
/** The arc for documentation (RFC 5612). */
export const TEST_ARC = '1.3.6.1.4.1.32473.7'
const VARIANTS = ['tpm', 'secure-element', 'software', 'external'] as const

export interface OpenedFactory extends AsyncDisposable {
  readonly ca: CAServices
  readonly births: BirthsContext
}

export type FactoryWorld = World & {
  readonly time: { ahead: number }
  readonly fault: { at: string | undefined; reach(): void }
}

/** With a clock that can be moved, and a point at which something happens. */
export function factoryWorld(): FactoryWorld {
  const system = systemWorld()
  const time = { ahead: 0 }
  const fault: FactoryWorld['fault'] = {
    at: undefined,
    reach() {
      throw new Error(`stopped: ${fault.at}`)
    },
  }
  return {
    ...{ ...system, time, fault },
    clock: { now: () => system.clock.now() + time.ahead },
    faults: { reach: (point) => (point === fault.at ? fault.reach() : undefined) },
  }
}

/** @param database opened; a file in the directory unless told */
export async function openFactory(directory: string, world: World, database?: Database): Promise<OpenedFactory> {
  const file = `[server]\npublicUrl = "http://pki.test"\n[devices]\nassurancePolicyArc = "${TEST_ARC}"\n`
  const config = parseConfig({ file, environment: {}, dataDirectory: directory })
  const { wrappingKey } = config.keys
  if (wrappingKey.kind !== 'file') throw new TypeError('the wrapping key is in a file')
  if (!existsSync(wrappingKey.path)) {
    mkdirSync(dirname(wrappingKey.path), { recursive: true })
    writeFileSync(wrappingKey.path, world.random.octets(WRAPPING_KEY_OCTETS), { mode: 0o600 })
  }
  if (database !== undefined) await migrate(database, migrations, world)
  const shared = database === undefined ? {} : { shared: { database, keyStores: [] } }
  const foundation = await openFoundation({ config, world, environment: {}, ...shared })
  const ca = await openCA(foundation, config)
  return {
    ca,
    births: ca.devices.births,
    async [Symbol.asyncDispose]() {
      await foundation.keys.close()
      await foundation.db.close()
    },
  }
}

export interface Factory extends OpenedFactory {
  readonly directory: string
  readonly world: FactoryWorld
  readonly maker: TestMaker
  readonly manufacturerId: string
  readonly modelId: string
  /** More lines, all named by the test. */
  line(name: string, terms?: Partial<LineTerms>): Promise<void>
  /** As another process finds it. */
  reopened(): Promise<OpenedFactory>
  close(): Promise<void>
}

/** One that makes pumps, and trusts a maker of TPMs. */
export async function makeFactory({
  assuranceMin = 0,
  database,
}: { readonly assuranceMin?: AssuranceLevel; readonly database?: Database } = {}): Promise<Factory> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-births-'))
  const world = factoryWorld()
  const opened = await openFactory(directory, world, database)
  const { ca, births } = opened
  await hierarchy(ca)
  const maker = await testMaker()
  writeFileSync(join(directory, 'maker.der'), maker.root)
  await trustAuthority(ca.context, ca.authorities, { slug: 'tpmmaker', kind: 'foreign', certificate: maker.root }, officer)
  const { id: manufacturerId } = await testOrganization({ context: births }, 'acme', 'manufacturer')
  const terms = { variants: VARIANTS, assuranceMin, hardwareType: '1.3.6.1.4.1.32473.1' }
  const { id: modelId } = await testModel({ context: births }, manufacturerId, 'pump', terms)
  let isOpen = true
  const close = async (): Promise<void> => {
    if (isOpen) await opened[Symbol.asyncDispose]()
    isOpen = false
  }
  return {
    ...{ ...opened, directory, world, maker, manufacturerId, modelId, close },
    async line(name, more = {}) {
      const usual = { authority: 'line1', profile: 'idevid', variants: VARIANTS, productSerials: ['P-*'], units: [] }
      const endorsement = { endorsementAuthorities: ['tpmmaker'], endorsementList: false }
      await createLine(births, { name, modelId, terms: { ...usual, ...endorsement, ...more } }, officer)
    },
    reopened: () => openFactory(directory, world, database),
    async [Symbol.asyncDispose]() {
      await close()
      rmSync(directory, { recursive: true })
    },
  }
}

/** Orders pumps for a line that bears only what is ordered: serial numbers are `P-` and so many digits. */
export async function orderPumps(
  { ca, births, world, line }: Factory,
  {
    quantity,
    scrapAllowance,
    digits = 4,
    terms = {},
  }: {
    readonly quantity: number
    readonly scrapAllowance: number
    readonly digits?: number
    /** Of the line. */
    readonly terms?: Partial<LineTerms>
  },
): Promise<OrdersContext> {
  await line('line', { ...terms, requiresOrder: true })
  const { db, audit, organizationId } = births
  const orders = openOrders({ db, audit, world, organizationId }, ca)
  await ca.keys.generate('orders', 'ecdsa-p256')
  const now = world.clock.now()
  await createOrder(
    orders,
    'pumps',
    {
      ...{ model: 'acme/pump', hardwareRevision: 'A', firmware: [], factory: 'ours', tier: 'N0', blockSize: 4 },
      ...{ serials: { prefix: 'P-', digits, from: 1, to: 9 }, hardwareType: '1.3.6.1.4.1.32473.1' },
      ...{ subject: [{ type: 'O', value: 'Example' }], authority: 'line1', ticketKey: 'orders' },
      ...{ notBefore: now - 1000, notAfter: now + 86_400_000, quantity, scrapAllowance },
    },
    officer,
  )
  return orders
}
