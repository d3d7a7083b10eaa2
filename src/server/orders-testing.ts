/** A maker with an order and a factory with nodes, for tests. Not part of any program. @module */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { concat, utf8 } from '#base/bytes.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import type { World } from '#base/world.ts'
import { openAuthorities } from '#ca/authorities.ts'
import { importCRL, trustAuthority } from '#ca/trusted.ts'
import { hierarchy, onDatabase, person, testCA, testKey, type TestKey, testRequest } from '#ca/testing.ts'
import { sealImage } from '#orders/firmware.ts'
import { type Bundle, encodeBundle, type JobTicket } from '#orders/messages.ts'

import {
  answerChallenge,
  closeNode,
  exportLog,
  initNode,
  nodeReport,
  type RunningNode,
  startNode,
  takeImage,
  takeTicket,
} from '#orders/node/directory.ts'
import type { IssuingNode } from '#orders/node/node.ts'
import {
  challengeNode,
  createOrder,
  issueTicket,
  type Job,
  orderSheet,
  type OrdersContext,
  type OrderTerms,
  type WantedTicket,
} from '#orders/orders.ts'
import { reconcile } from '#orders/reconcile.ts'
import { importBundle, type Synchronized } from '#orders/synchronize.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import { migrations } from './compose.ts'
import { openOrders } from './orders.ts'
import { nodeBirthIssuer } from './node-issuer.ts'

export const STATION = '5'.repeat(64)

export interface TestMaker extends AsyncDisposable {
  readonly orders: OrdersContext
  readonly world: World
  advance(seconds: number): void
  order(name: string, terms?: Partial<OrderTerms>): Promise<void>
  /** Believes a maker of TPMs from now on. */
  trust(slug: string, certificate: Uint8Array): Promise<void>
  importCRL(der: Uint8Array): Promise<void>
  /** @returns its directory, with a request that nobody has answered */
  node(order: string, options?: { tpm?: string; keyAlgorithm?: KeyAlgorithmId }): Promise<TestNode>
  import(bundle: Bundle): Promise<Synchronized>
  reconcile(name: string): ReturnType<typeof reconcile>
}

export interface TestNode {
  readonly directory: string
  readonly request: string
  /** What the maker asks of its TPM. */
  challenge(): Promise<string>
  answer(challenge: string): Promise<string>
  ticket(more?: Partial<WantedTicket>): Promise<Job>
  take(text: string): Promise<JobTicket>
  start(world?: World): Promise<RunningNode>
  /** @param image as it is in clear */
  takeImage(ticket: JobTicket, image: Uint8Array, signature: Uint8Array): Promise<string>
  close(world?: World): Promise<string>
  export(from?: number): Promise<readonly Bundle[]>
  report(): ReturnType<typeof nodeReport>
  /** As the disk is now. */
  copy(): TestNode
  /** What was copied before, put back. */
  restore(from: TestNode): void
}

/** @param context a test, at whose end everything goes @param database of either engine; a temporary SQLite unless told */
export async function testMaker(
  context: { after(work: () => Promise<void>): void },
  { database, faults }: { readonly database?: Database; readonly faults?: World['faults'] } = {},
): Promise<TestMaker> {
  const ca = database === undefined ? await testCA() : await testCAOn(database)
  const { db, audit, keys } = ca.context
  const world: World = { ...ca.context.world, ...(faults && { faults }) }
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-orders-'))
  context.after(async () => {
    await ca[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true, force: true })
  })
  await migrate(db, migrations, world)
  await hierarchy(ca)
  await keys.generate('orders', 'ecdsa-p256')
  const organizationId = 'default'
  const orders = openOrders(
    { db, audit, world, organizationId },
    { context: ca.context, authorities: ca.authorities, keys: keys as never },
  )
  let nodes = 0

  const nodeIn = (order: string, place: string, request: string): TestNode => ({
    directory: place,
    request,
    challenge: () => challengeNode(orders, order, request, person),
    answer: (challenge) => answerChallenge(place, challenge, world),
    ticket: (more = {}) => issueTicket(orders, order, { request, stations: [STATION], ...more }, person),
    take: (text) => takeTicket(place, text, world),
    start: (within = world) => startNode(place, nodeBirthIssuer(within), within),
    async takeImage(ticket, image, signature) {
      const content = async function* (): AsyncGenerator<Uint8Array> {
        yield image
      }
      const sealed = sealImage(ticket, { content: content(), octets: image.length }, world.random)
      return takeImage(place, { sealed, signature }, world)
    },
    close: (within = world) => closeNode(place, nodeBirthIssuer(within), within),
    async export(from = 0) {
      const bundles: Bundle[] = []
      await exportLog(place, { from, world }, (bundle) => void bundles.push(bundle))
      return bundles
    },
    report: () => nodeReport(place),
    copy() {
      const other = join(directory, `node-${++nodes}`)
      cpSync(place, other, { recursive: true })
      return nodeIn(order, other, request)
    },
    restore(from) {
      rmSync(place, { recursive: true })
      cpSync(from.directory, place, { recursive: true })
    },
  })

  return {
    orders,
    world,
    advance: ca.advance,
    async trust(slug, certificate) {
      await trustAuthority(ca.context, ca.authorities, { slug, kind: 'foreign', certificate }, person)
    },
    async importCRL(der) {
      await importCRL(ca.context, ca.authorities, der, person)
    },
    async order(name, terms = {}) {
      const now = world.clock.now()
      await createOrder(orders, name, { ...testTerms, notBefore: now - 1000, notAfter: now + 30 * 86_400_000, ...terms }, person)
    },
    async node(order, { tpm, keyAlgorithm = 'ecdsa-p256' } = {}) {
      const place = join(directory, `node-${++nodes}`)
      const sheet = await orderSheet(orders, order)
      const { request } = await initNode({ directory: place, sheet, keyAlgorithm, world, ...(tpm !== undefined && { tpm }) })
      return nodeIn(order, place, request)
    },
    import: (bundle) => importBundle(orders, utf8(encodeBundle(bundle)), person),
    reconcile: (name) => reconcile(orders, name, person),
    async [Symbol.asyncDispose]() {},
  }
}

async function testCAOn(db: Database) {
  const { context, advance } = await onDatabase(db)
  return { context, authorities: await openAuthorities(context), advance, [Symbol.asyncDispose]: () => db.close() }
}

const testTerms: Omit<OrderTerms, 'notBefore' | 'notAfter'> = {
  model: 'Press 7',
  hardwareRevision: 'B',
  firmware: ['a'.repeat(64)],
  factory: 'Contract manufacturer',
  tier: 'N0',
  quantity: 5,
  scrapAllowance: 3,
  serials: { prefix: 'P7-', digits: 4, from: 1, to: 999 },
  hardwareType: '1.3.6.1.4.1.54392.7',
  subject: [
    { type: 'O', value: 'Example' },
    { type: 'OU', value: 'Press 7' },
  ],
  blockSize: 4,
  authority: 'root',
  ticketKey: 'orders',
}

export const serialAt = (number: number): string => `P7-${String(number).padStart(4, '0')}`

export const birthRequest = (productSerial: string, key: TestKey = testKey()): Promise<CertificationRequest> =>
  testRequest({ subject: [{ type: 'serialNumber', value: productSerial }], key })

/** @returns DER */
export const bear = async (node: IssuingNode, number: number, key?: TestKey): Promise<Uint8Array> =>
  node.issue(await birthRequest(serialAt(number), key), { station: STATION })

export async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return concat(all)
}
