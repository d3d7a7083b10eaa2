/**
 * Births at an issuing node whose counter takes 50 ms for each step, as TPMs do, beside what one core needs to sign them; and the
 * reconciliation of an order of a million (`SEALWORKS_BENCH_ORDER` for another number).
 *
 * @module
 */
import { hash, sign } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { testKey } from '#ca/testing.ts'
import { nodeReport } from '#orders/node/directory.ts'
import { openFileMachine } from '#orders/node/machine.ts'
import { openIssuingNode } from '#orders/node/node.ts'
import type { Course } from '#orders/course.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import { nodeBirthIssuer } from '../src/server/node-issuer.ts'
import { birthRequest, STATION, testMaker } from '../src/server/orders-testing.ts'
import type { Figure } from './figure.ts'

const BIRTHS = Number(process.env['SEALWORKS_BENCH_BIRTHS'] ?? 3000)
/** Stations at once. */
const STATIONS = 32
const INCREMENT_MILLISECONDS = 50
const ORDER = Number(process.env['SEALWORKS_BENCH_ORDER'] ?? 1_000_000)
const ROWS_AT_ONCE = 5000

export async function benchOrders(): Promise<readonly Figure[]> {
  const ends: (() => Promise<void>)[] = []
  const context = { after: (work: () => Promise<void>) => void ends.push(work) }
  try {
    return [...(await benchLine(context)), ...(await benchReconcile(context))]
  } finally {
    for (const end of ends) await end()
  }
}

type Scope = Parameters<typeof testMaker>[0]

const serials = { prefix: 'B-', digits: 7, from: 1, to: 9_999_999 }
const serialAt = (number: number): string => `B-${String(number).padStart(7, '0')}`

async function benchLine(context: Scope): Promise<readonly Figure[]> {
  const maker = await testMaker(context)
  await maker.order('line', { quantity: BIRTHS, scrapAllowance: BIRTHS, serials, blockSize: 64 })
  const node = await maker.node('line')
  const { ticket, ticketText } = await node.ticket()
  await node.take(ticketText)
  const requests: CertificationRequest[] = []
  for (let number = 1; number <= BIRTHS; number++) requests.push(await birthRequest(serialAt(number)))

  const machine = openFileMachine(node.directory)
  const { starts, blocks } = machine.counters
  const slow = { read: () => blocks.read(), increment: async () => (await pause(INCREMENT_MILLISECONDS), blocks.increment()) }
  const line = await openIssuingNode({
    ticket,
    ticketText,
    machine: { counters: { starts, blocks: slow } },
    issuer: nodeBirthIssuer(maker.world)(ticket, machine.signer),
    logPath: `${node.directory}/log.jsonl`,
    world: maker.world,
  })
  const begun = performance.now()
  let next = 0
  const station = async (): Promise<void> => {
    for (let request = requests[next++]; request !== undefined; request = requests[next++])
      await line.issue(request, { station: STATION })
  }
  await Promise.all(Array.from({ length: STATIONS }, station))
  const perSecond = BIRTHS / ((performance.now() - begun) / 1000)
  await line.stop()
  const { course } = await nodeReport(node.directory)
  if (course.issued !== BIRTHS) throw new Error(`${course.issued} births are in the log`)
  const bareMicroseconds = bareSignature()
  return [
    {
      name: 'orders.birthsPerSecond',
      value: perSecond,
      unit: '/s',
      reach: { atLeast: 400 },
      note: `P-256, blocks of 64, ${INCREMENT_MILLISECONDS} ms for each step of the counter, ${STATIONS} at once, each entry on disk before its certificate leaves`,
    },
    {
      name: 'orders.birthsToBare',
      value: 1e6 / perSecond / bareMicroseconds,
      unit: '×',
      note: 'time for each to that of a bare signature',
    },
  ]
}

function bareSignature(): number {
  const { key } = testKey()
  const message = new Uint8Array(600)
  const begun = performance.now()
  for (let i = 0; i < 2000; i++) sign('sha256', message, key)
  return ((performance.now() - begun) * 1000) / 2000
}

async function benchReconcile(context: Scope): Promise<readonly Figure[]> {
  const maker = await testMaker(context)
  const { db, organizationId } = maker.orders
  await maker.order('million', { quantity: ORDER, scrapAllowance: 0, serials })
  const { id, orderId, course } = await (await maker.node('million')).ticket()
  const certificate = new Uint8Array(600)
  const shared = { certificate: hash('sha256', certificate) }
  const columns = [
    ...['job_id', 'organization_id', 'n', 'type', 'position', 'product_serial', 'key_hash'],
    ...['certificate_hash', 'certificate', 'detail', 'station', 'at'],
  ]
  for (let at = 0; at < ORDER; at += ROWS_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(ROWS_AT_ONCE, ORDER - at) }, (_, i) => at + i)
    await db.transaction(async (tx) => {
      await tx.insertMany(
        'job_entry',
        columns,
        numbers.flatMap((n) => [
          [
            id,
            organizationId,
            2 * n,
            'issue',
            n,
            serialAt(n + 1),
            hash('sha256', String(n)),
            shared.certificate,
            certificate,
            null,
            STATION,
            7,
          ],
          [id, organizationId, 2 * n + 1, 'good', null, serialAt(n + 1), null, null, null, null, STATION, 7],
        ]),
      )
      await tx.insertMany(
        'order_shipment',
        ['organization_id', 'order_id', 'product_serial', 'shipped_at'],
        numbers.map((n) => [organizationId, orderId, serialAt(n + 1), 7]),
      )
    })
  }
  const done: Course = { ...course, issued: ORDER, good: ORDER, closed: true }
  await db.transaction((tx) =>
    tx.query("UPDATE production_job SET state = 'ended', size = ?, course = ? WHERE id = ?", 2 * ORDER, JSON.stringify(done), id),
  )
  const begun = performance.now()
  const { issued, shipped, alarmCount, agrees } = await maker.reconcile('million')
  const seconds = (performance.now() - begun) / 1000
  if (issued !== ORDER || shipped !== ORDER || alarmCount !== 0 || !agrees) throw new Error('the order does not reconcile')
  return [
    {
      name: 'orders.reconcileSeconds',
      value: seconds,
      unit: 's',
      reach: { below: 60 },
      note: `${ORDER} births, each judged and shipped, SQLite`,
    },
  ]
}
