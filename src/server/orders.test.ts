/** R15, R24: from the order over births without a network to numbers that agree, and whoever cheats is refused or found. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { importPublicKey } from '#algorithms/public-key.ts'
import { utf8 } from '#base/bytes.ts'
import { testKey } from '#ca/testing.ts'
import { closeOrder, giveUpJob, jobsOf, openOrder, type OrderTerms, roomIn } from '#orders/orders.ts'
import { noteSeen, noteShipped } from '#orders/reconcile.ts'
import {
  type Bundle,
  encodeBundle,
  encodeEntry,
  hashLine,
  type LogEntry,
  NOTHING_BEFORE,
  parseEntry,
  peekStatement,
  positionOf,
  signStatement,
} from '#orders/messages.ts'
import { openFileMachine } from '#orders/node/machine.ts'
import { importBundle } from '#orders/synchronize.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { verifyCertificate } from '#x509/path/verify.ts'
import { formatName, parseName } from '#x509/name.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { bear, birthRequest, serialAt, STATION, testMaker, type TestNode } from './orders-testing.ts'

const person = 'person:tester'

describe('an order from its sheet to its end', () => {
  test('five devices, one of them scrapped and born anew, and the numbers agree', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    const job = await node.ticket()
    await node.take(job.ticketText)
    const line = await node.start()
    const born: Uint8Array[] = []
    for (let number = 1; number <= 5; number++) born.push(await bear(line, number))
    assert.deepEqual(
      born.map((der) => positionOf(parseCertificate(der).serialNumber)),
      [0, 1, 2, 3, 4],
    )
    await assert.rejects(bear(line, 6), { code: 'quotaExceeded', reason: 'quotaUsedUp' })
    await line.scrap(serialAt(3), 'does not start', { station: STATION })
    born.push(await bear(line, 6))
    for (const number of [1, 2, 4, 5, 6]) await line.passed(serialAt(number), { station: STATION, operator: 'kim' })
    await line.stop()
    await node.close()
    await assert.rejects(node.start(), { code: 'conflict', reason: 'jobClosed' })
    for (const bundle of await node.export()) await maker.import(bundle)
    await noteShipped(maker.orders, 'press', [1, 2, 4, 5, 6].map(serialAt), person)
    assert.equal(await noteSeen(maker.orders, 'press', { certificate: born[0] as Uint8Array, place: 'plant 1' }, person), 'known')

    const report = await maker.reconcile('press')
    const { ordered, issued, good, scrap, unjudged, burned, shipped, seen, alarms, agrees } = report
    assert.deepEqual(
      { ordered, issued, good, scrap, unjudged, burned, shipped, seen, alarms, agrees },
      { ordered: 5, issued: 6, good: 5, scrap: 1, unjudged: 0, burned: 2, shipped: 5, seen: 1, alarms: [], agrees: true },
    )
    assert.deepEqual(
      report.jobs.map(({ state, refused }) => [state, refused]),
      [['ended', 1]],
    )
    await closeOrder(maker.orders, 'press', person)
    await assert.rejects(
      maker.node('press').then((other) => other.ticket()),
      { code: 'conflict', reason: 'orderClosed' },
    )

    // each chains to the maker's root, within names that only this job may give
    const [root] = job.ticket.authority.slice(-1).map((der) => parseCertificate(Uint8Array.fromBase64(der)))
    const [issuing] = job.ticket.authority.map((der) => parseCertificate(Uint8Array.fromBase64(der)))
    for (const der of born) {
      const certificate = parseCertificate(der)
      assert.match(formatName(parseName(certificate.subject)), /^serialNumber=P7-000\d,OU=Press 7,O=Example$/)
      assert.equal(await verifyCertificateSignature(certificate, importPublicKey(job.nodeKey)), true)
      assert.ok(root !== undefined && issuing !== undefined)
      const at = new Date(maker.world.clock.now())
      const verdict = await verifyCertificate({ certificate, intermediates: [issuing], anchors: [root], at })
      assert.equal(verdict.valid, true, JSON.stringify(verdict))
    }
  })
})

describe('an order is not made', () => {
  test('of what no sheet and no ticket can say: its jobs could not be read any more', async (t) => {
    const maker = await testMaker(t)
    const wrong: readonly (readonly [what: string, terms: Partial<OrderTerms>])[] = [
      ['an image twice', { firmware: ['a'.repeat(64), 'a'.repeat(64)] }],
      ['a line break in a name', { model: 'Press\n7' }],
      ['a name that is read from right to left', { factory: 'a\u202eb' }],
      ['letters that a node does not show', { hardwareRevision: '\u7b2c\u4e8c' }],
      ['a time after all times', { notAfter: Number.MAX_SAFE_INTEGER }],
    ]
    for (const [what, terms] of wrong)
      await assert.rejects(maker.order('press', terms), { code: 'malformed', reason: 'orderMalformed' }, what)
  })
})

describe('a node refuses', () => {
  test('what its ticket does not allow, and keeps it in the log', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    const key = testKey()
    const first = await bear(line, 1, key)
    assert.deepEqual(await bear(line, 1, key), first) // the same request again: the same certificate
    const cases: [name: string, refused: Promise<unknown>, reason: string][] = [
      ['a serial outside of the block', bear(line, 9), 'serialOutsideBlock'],
      ['a serial of other digits', line.issue(await birthRequest('P7-00002'), { station: STATION }), 'serialOutsideBlock'],
      ['a key that another device has', bear(line, 2, key), 'keyOfAnotherProduct'],
      ['a device that has another key', bear(line, 1), 'productHasAnotherKey'],
      ['a station that is not named', line.issue(await birthRequest(serialAt(2)), { station: '6'.repeat(64) }), 'stationUnknown'],
    ]
    for (const [name, refused, reason] of cases) await assert.rejects(refused, { reason }, name)
    await assert.rejects(line.passed(serialAt(2), { station: STATION }), { code: 'notFound' })
    await line.scrap(serialAt(1), 'broken', { station: STATION })
    await assert.rejects(line.passed(serialAt(1), { station: STATION }), { code: 'conflict', reason: 'judgedAlready' })
    maker.advance(31 * 86_400)
    await assert.rejects(bear(line, 2), { code: 'policyRefused', reason: 'ticketEnded' })
    await line.stop()
    assert.equal((await node.report()).course.refused, cases.length + 1)
    await assert.rejects(bear(line, 2), { reason: 'nodeStopping' })
  })

  test('machines that no ticket names, however often they come, and its log has room for births all the same', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    const stranger = '6'.repeat(64)
    const knock = () => assert.rejects(line.checkStation(stranger), { code: 'forbidden', reason: 'stationUnknown' })
    await Promise.all(Array.from({ length: 1000 }, knock))
    const { size } = line.state()
    await Promise.all(Array.from({ length: 100 }, knock))
    await assert.rejects(line.issue(await birthRequest(serialAt(1)), { station: stranger }), { reason: 'stationUnknown' })
    assert.equal(line.state().size, size, 'what comes after a thousand is refused, and written nowhere')
    await bear(line, 1)
    await assert.rejects(bear(line, 9), { reason: 'serialOutsideBlock' })
    assert.equal(line.state().course.refused, 1001, 'what a station of the ticket is refused is still kept')
    await line.stop()
    const again = await node.start()
    await knock()
    assert.equal(again.state().course.refused, 1001, 'also after a restart')
    await again.stop()
  })

  test('one more than quota and scrap allowance, whatever is scrapped', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    for (let number = 1; number <= 8; number++) {
      await bear(line, number)
      if (number <= 7) await line.scrap(serialAt(number), 'broken', { station: STATION })
    }
    await line.scrap(serialAt(8), 'broken', { station: STATION })
    await assert.rejects(bear(line, 8), { reason: 'productHasAnotherKey' })
    const another = await birthRequest('P7-0009')
    await assert.rejects(line.issue(another, { station: STATION }), { reason: 'serialOutsideBlock' }) // as many numbers as positions
    assert.equal(line.state().left, 0)
    await line.stop()
  })

  test('the ticket of another node, a second ticket and one that was changed', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press', { quantity: 2, scrapAllowance: 0 })
    await maker.order('other')
    const [node, second] = [await maker.node('press'), await maker.node('press')]
    const { ticketText } = await node.ticket({ quota: 1 })
    await assert.rejects(second.take(ticketText), { code: 'policyRefused', reason: 'ticketOfAnotherNode' })
    await assert.rejects(node.ticket({ quota: 1 }), { code: 'conflict', reason: 'nodeKeyUsed' })
    const [header = '', payload = '', signature = ''] = ticketText.split('.')
    const more = Buffer.from(Buffer.from(payload, 'base64url').toString().replace('"quota":1', '"quota":2')).toString('base64url')
    await assert.rejects(node.take(`${header}.${more}.${signature}`), /serial block/)
    const later = Buffer.from(Buffer.from(payload, 'base64url').toString().replace('"Press 7"', '"Press 8"')).toString(
      'base64url',
    )
    await assert.rejects(node.take(`${header}.${later}.${signature}`), { code: 'badProof', reason: 'statementSignature' })
    await node.take(ticketText)
    const { ticketText: next } = await second.ticket()
    await assert.rejects(node.take(next), { reason: 'ticketOfAnotherNode' })
    await assert.rejects((await maker.node('press')).ticket(), { code: 'quotaExceeded', reason: 'orderUsedUp' })
    // serial blocks of two jobs do not overlap
    const jobs = await jobsOf(maker.orders, await openOrder(maker.orders, 'press'))
    assert.deepEqual(
      jobs.map(({ ticket: { serials } }) => [serials.from, serials.to]),
      [
        [1, 1],
        [2, 2],
      ],
    )
    // a request is an answer to one sheet
    const stray = await maker.node('other')
    await assert.rejects(
      maker
        .node('press')
        .then(() => import('#orders/orders.ts'))
        .then(({ issueTicket }) => issueTicket(maker.orders, 'press', { request: stray.request, stations: [STATION] }, person)),
      { code: 'policyRefused', reason: 'ticketRequestOther' },
    )
  })
})

describe('a log that somebody touched', () => {
  test('is not taken by the node, nor by the maker', async (t) => {
    const { readFileSync, writeFileSync } = await import('node:fs')
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    for (let number = 1; number <= 4; number++) await bear(line, number)
    await line.stop()
    const [bundle] = await node.export()
    assert.ok(bundle !== undefined)
    const path = `${node.directory}/log.jsonl`
    const whole = readFileSync(path, 'utf8')
    const lines = whole.split('\n')
    const touched: [name: string, lines: string[]][] = [
      ['an entry removed', lines.toSpliced(4, 1)],
      ['an entry edited', lines.with(4, (lines[4] as string).replace(serialAt(2), serialAt(7)))],
      ['two entries exchanged', lines.with(4, lines[5] as string).with(5, lines[4] as string)],
    ]
    for (const [name, changed] of touched) {
      writeFileSync(path, changed.join('\n'))
      await assert.rejects(node.start(), { code: 'badProof', reason: 'logBroken' }, name)
      const kept = changed.slice(0, -1)
      await assert.rejects(maker.import({ ...bundle, lines: kept }), { code: 'badProof', reason: 'logBroken' }, name)
    }
    const refusals = await maker.orders.db.query("SELECT reason FROM audit_entry WHERE act = 'order.synchronize'")
    assert.deepEqual(
      refusals.map(({ reason }) => reason),
      touched.map(() => 'logBroken'),
      'whoever brings a log that somebody touched is in the audit log',
    )
    // a space in a line says the same and is another line
    writeFileSync(path, whole.replace('{"n":2,', '{"n": 2,'))
    await assert.rejects(node.start(), { code: 'malformed', reason: 'logEntryMalformed' })
    writeFileSync(path, whole)
    await (await node.start()).stop()
    assert.equal((await maker.import(bundle)).births, 4)
  })

  test('that was copied forks, and the alarm stays', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    await bear(line, 1)
    await line.stop()
    for (const bundle of await node.export()) await maker.import(bundle)
    const copy = node.copy() // N0: nothing keeps it from running, and it is found
    for (const each of [node, copy]) {
      const run = await each.start()
      await bear(run, each === node ? 2 : 3)
      await run.stop()
    }
    for (const bundle of await node.export()) await maker.import(bundle)
    const [forked] = await copy.export()
    assert.ok(forked !== undefined)
    await assert.rejects(maker.import(forked), { code: 'conflict', reason: 'logForked' })
    const { alarms, agrees } = await maker.reconcile('press')
    assert.deepEqual([alarms.map(({ kind }) => kind), agrees], [['logForked'], false])
    // the same again, from where it is and with a gap
    const size = (await jobsOf(maker.orders, await openOrder(maker.orders, 'press')))[0]?.size as number
    assert.equal((await maker.import((await node.export(size))[0] as never)).entries, 0)
    const run = await node.start()
    await bear(run, 4)
    await run.stop()
    await assert.rejects(maker.import((await node.export(size + 1))[0] as never), { reason: 'bundleGap' })
    assert.equal((await maker.import((await node.export(size))[0] as never)).births, 1)
    // an older state, which was seen before, says nothing new
    node.restore(copy)
    await assert.rejects(maker.import((await node.export())[0] as never), { code: 'conflict' })
  })

  test('what no log holds and what was scrapped is found in the field', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const before = node.copy()
    const other = await before.start()
    const clandestine = await bear(other, 1)
    await other.stop()
    const line = await node.start()
    const [honest, broken] = [await bear(line, 1), await bear(line, 2)]
    await line.passed(serialAt(1), { station: STATION })
    await line.scrap(serialAt(2), 'broken', { station: STATION })
    await line.stop()
    await node.close()
    for (const bundle of await node.export()) await maker.import(bundle)
    const see = (certificate: Uint8Array, place: string) => noteSeen(maker.orders, 'press', { certificate, place }, person)
    assert.equal(await see(clandestine, 'plant 1'), 'inNoLog')
    assert.equal(await see(honest, 'plant 1'), 'known')
    assert.equal(await see(honest, 'plant 2'), 'known')
    assert.equal(await see(broken, 'market'), 'known')
    const foreign = await testMaker(t)
    await foreign.order('press')
    const stranger = await foreign.node('press')
    await stranger.take((await stranger.ticket()).ticketText)
    const strange = await stranger.start()
    assert.equal(await see(await bear(strange, 1), 'plant 3'), 'foreignIssuer')
    await strange.stop()
    await noteShipped(maker.orders, 'press', [serialAt(2)], person)
    const { alarms } = await maker.reconcile('press')
    assert.deepEqual(alarms.map(({ kind }) => kind).toSorted(), [
      ...['seenAtTwoPlaces', 'seenInNoLog', 'seenOfForeignIssuer', 'seenScrapped', 'shippedNotGood'],
    ])
    assert.equal((await maker.reconcile('press')).alarmCount, alarms.length) // raised once
  })

  test('what another order bore is neither shipped nor seen as one of this', async (t) => {
    const maker = await testMaker(t)
    const other = { serials: { prefix: 'P8-', digits: 4, from: 1, to: 999 } }
    for (const [name, terms] of [
      ['press', {}],
      ['other', other],
    ] as const)
      await maker.order(name, terms)
    const node = await maker.node('press')
    await node.take((await node.ticket()).ticketText)
    const line = await node.start()
    const born = await bear(line, 1)
    await line.passed(serialAt(1), { station: STATION })
    await line.stop()
    for (const bundle of await node.export()) await maker.import(bundle)
    await noteShipped(maker.orders, 'other', [serialAt(1)], person)
    assert.equal(await noteSeen(maker.orders, 'other', { certificate: born, place: 'plant 1' }, person), 'known')
    const { seen, alarms } = await maker.reconcile('other')
    assert.deepEqual([seen, alarms.map(({ kind, subject }) => [kind, subject])], [0, [['shippedNotGood', serialAt(1)]]])
    assert.equal((await maker.reconcile('press')).seen, 1, 'it is noted where it belongs')
  })

  test('R15: serial numbers are compared within their manufacturer: two makers may both begin with 1', async (t) => {
    const maker = await testMaker(t)
    const bearFirst = async (name: string, model: string): Promise<void> => {
      await maker.order(name, { model })
      const node = await maker.node(name)
      await node.take((await node.ticket()).ticketText)
      const line = await node.start()
      await bear(line, 1)
      await line.stop()
      for (const bundle of await node.export()) await maker.import(bundle)
    }
    const twice = async (name: string): Promise<readonly string[]> =>
      (await maker.reconcile(name)).alarms.filter(({ kind }) => kind === 'serialTwice').map(({ subject }) => subject)
    await bearFirst('pumps', 'acme/pump')
    await bearFirst('bolts', 'bolt/pump')
    assert.deepEqual([await twice('pumps'), await twice('bolts')], [[], []])
    await bearFirst('more', 'Acme/valve')
    assert.deepEqual([await twice('pumps'), await twice('more')], [[serialAt(1)], [serialAt(1)]])
    assert.deepEqual(await twice('bolts'), [])
  })

  test('a node that is gone is given up, and what it had is not given out again', async (t) => {
    const maker = await testMaker(t)
    await maker.order('press')
    const node = await maker.node('press')
    const { id } = await node.ticket({ quota: 3, scrapAllowance: 1 })
    await assert.rejects(closeOrder(maker.orders, 'press', person), { code: 'conflict', reason: 'orderHasJobs' })
    await giveUpJob(maker.orders, 'press', id, 'disk broke', person)
    const job = await (await maker.node('press')).ticket()
    const { quota, scrapAllowance, serials } = job.ticket
    assert.deepEqual([quota, scrapAllowance, serials.from, serials.to], [2, 2, 5, 8])
  })
})

/** What staff with programs of their own could hand in: the node's log with other entries, chained and signed by its key. */
async function forged(node: TestNode, change: (entries: readonly LogEntry[]) => readonly object[]): Promise<Bundle> {
  const [bundle] = await node.export()
  assert.ok(bundle !== undefined)
  const lines: string[] = []
  for (const entry of change(bundle.lines.map(parseEntry))) {
    const previous = lines.length === 0 ? NOTHING_BEFORE : hashLine(lines.at(-1) as string)
    lines.push(encodeEntry({ ...entry, n: lines.length, previous } as LogEntry))
  }
  const { job, at } = peekStatement('log-head', bundle.head)
  const head = { version: 1, job, size: lines.length, head: hashLine(lines.at(-1) as string), at } as const
  return { ...bundle, lines, head: await signStatement('log-head', head, openFileMachine(node.directory).signer) }
}

describe('a node whose staff write programs of their own', () => {
  async function atWork(t: Parameters<typeof testMaker>[0], terms: Partial<OrderTerms> = {}) {
    const maker = await testMaker(t)
    await maker.order('press', terms)
    const node = await maker.node('press')
    const job = await node.ticket()
    await node.take(job.ticketText)
    const line = await node.start()
    for (const firmware of terms.firmware ?? [])
      await line.load({ productSerial: serialAt(1), firmware, open: async () => undefined }, { station: STATION })
    await bear(line, 1)
    await line.passed(serialAt(1), { station: STATION })
    await line.stop()
    return { maker, node, job }
  }

  test('gains nothing by what it says was scrapped', async (t) => {
    const { maker, job } = await atWork(t)
    const order = await openOrder(maker.orders, 'press')
    const roomAfter = (issued: number, scrap: number): number => {
      const { quota, scrap: left } = roomIn(order, [{ ...job, state: 'ended', course: { ...job.course, issued, scrap } }])
      return quota + left
    }
    const all = order.terms.quantity + order.terms.scrapAllowance
    for (const [issued, scrap] of [
      ...[
        [0, 0],
        [1, 0],
        [6, 1],
        [8, 3],
      ], // as it should be
      ...[
        [8, 8],
        [5, 4],
        [1, 100],
        [0, 7],
      ], // more than the allowance, and more than there is
    ] as const)
      assert.equal(roomAfter(issued as number, scrap as number), all - (issued as number), `${issued} issued, ${scrap} scrapped`)
  })

  test('is found when it judges a device twice, so that more seem good than are', async (t) => {
    const { maker, node } = await atWork(t)
    await maker.import(await forged(node, (entries) => [...entries, ...entries.filter(({ type }) => type === 'good')]))
    const { alarms } = await maker.reconcile('press')
    assert.deepEqual(
      alarms.map(({ kind, subject }) => [kind, subject]),
      [['judgedTwice', serialAt(1)]],
    )
  })

  test('is found when it judges what another node bore, or what it did not bear', async (t) => {
    const { maker, node } = await atWork(t)
    for (const bundle of await node.export()) await maker.import(bundle)
    await maker.order('other', { serials: { prefix: 'P8-', digits: 4, from: 1, to: 999 } })
    const second = await maker.node('other')
    await second.take((await second.ticket()).ticketText)
    const line = await second.start()
    await line.issue(await birthRequest('P8-0001'), { station: STATION })
    await line.passed('P8-0001', { station: STATION })
    await line.stop()
    const renamed = (entry: LogEntry) => (entry.type === 'good' ? { ...entry, productSerial: serialAt(1) } : entry)
    await maker.import(await forged(second, (entries) => entries.map(renamed)))
    assert.deepEqual(
      (await maker.reconcile('other')).alarms.map(({ kind, subject }) => [kind, subject]),
      [['judgedUnborn', serialAt(1)]],
    )
  })

  test('is found when it says of no image, or of another, that a device got it', async (t) => {
    const firmware = 'a'.repeat(64)
    const signer = await makeCertificate(makeKey())
    for (const said of [undefined, 'b'.repeat(64)]) {
      const { maker, node } = await atWork(t, { firmware: [firmware], firmwareSigners: [signer.toBase64()] })
      const claimed = (entry: LogEntry): object => (entry.type === 'issue' ? { ...entry, firmware: said } : entry)
      const { alarms } = await maker.import(await forged(node, (entries) => entries.map(claimed)))
      assert.equal(alarms, 1)
      assert.deepEqual(
        (await maker.reconcile('press')).alarms.map(({ kind, subject }) => [kind, subject]),
        [['firmwareOther', serialAt(1)]],
      )
    }
  })

  test('is found when a certificate is for another device than its entry says', async (t) => {
    const { maker, node } = await atWork(t)
    const renamed = (entry: LogEntry) => ('productSerial' in entry ? { ...entry, productSerial: serialAt(2) } : entry)
    const { alarms } = await maker.import(await forged(node, (entries) => entries.map(renamed)))
    assert.equal(alarms, 1)
    assert.deepEqual(
      (await maker.reconcile('press')).alarms.map(({ kind }) => kind),
      ['certificateOther'],
    )
  })
})

test('a job that is given up while its log comes in stays given up', async (t) => {
  const maker = await testMaker(t)
  await maker.order('press')
  const node = await maker.node('press')
  const { id, ticketText } = await node.ticket()
  await node.take(ticketText)
  const line = await node.start()
  await bear(line, 1)
  await line.stop()
  const { orders } = maker
  const db = new Proxy(orders.db, {
    get(target, name) {
      if (name !== 'transaction') return (Reflect.get(target, name) as () => unknown).bind(target)
      return async (work: Parameters<typeof target.transaction>[0]) => {
        await giveUpJob(orders, 'press', id, 'disk broke', person)
        return target.transaction(work)
      }
    },
  })
  const [bundle] = await node.export()
  assert.ok(bundle !== undefined)
  await assert.rejects(importBundle({ ...orders, db }, utf8(encodeBundle(bundle)), person), { code: 'conflict' })
  const [job] = await jobsOf(orders, await openOrder(orders, 'press'))
  assert.deepEqual([job?.state, job?.size], ['lost', 0])
})

test('a job that is given up does not come back with its end: what it had is not given out again', async (t) => {
  const maker = await testMaker(t)
  await maker.order('press')
  const node = await maker.node('press')
  const { id, ticketText } = await node.ticket()
  await node.take(ticketText)
  const line = await node.start()
  await bear(line, 1)
  await line.stop()
  await node.close()
  const [bundle] = await node.export()
  assert.ok(bundle?.end !== undefined)
  const { end: _, ...silent } = bundle
  await maker.import({ ...silent, end: undefined })
  await giveUpJob(maker.orders, 'press', id, 'its disk was stolen', person)
  for (const times of [1, 2]) assert.equal((await maker.import(bundle)).state, 'lost', `the ${times}. time`)
  const { room, jobs, agrees } = await maker.reconcile('press')
  assert.deepEqual([room, jobs[0]?.state, agrees], [{ quota: 0, scrap: 0 }, 'lost', false])
})
