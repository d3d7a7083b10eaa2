/** R24: images at a line reach only devices of the ticket, only whole and signed, and each birth says which it got. @module */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { signerParty, signingKey, type Party } from '#cms/testing.ts'
import type { Bundle, LogEntry } from '#orders/messages.ts'
import type { IssuingNode } from '#orders/node/node.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { serveNode } from './node-line.ts'
import { bear, collect, serialAt, STATION, testMaker } from './orders-testing.ts'

const asker = { station: STATION, operator: 'kim' }
/** Longer than one piece of a stream. */
const image = utf8('firmware of press 7. '.repeat(20_000))
const other = utf8('firmware of press 8')
const sha256 = (octets: Uint8Array): string => hash('sha256', octets)

const signatureOf = (content: Uint8Array, signer: Party): Promise<Uint8Array> =>
  encodeSignedData({
    content: { detached: content },
    signers: [{ key: signingKey(signer), certificate: signer.certificate, signatureAlgorithm: 'ecdsa-sha256' }],
  })

async function line(t: TestContext, stations: readonly string[] = [STATION]) {
  const maker = await testMaker(t)
  const signer = await signerParty('ecdsa-sha256')
  await maker.order('press', { firmware: [sha256(image)], firmwareSigners: [signer.certificate.toBase64()] })
  const node = await maker.node('press')
  const { ticket, ticketText } = await node.ticket({ stations })
  await node.take(ticketText)
  return { maker, signer, node, ticket }
}

const entriesOf = (bundles: readonly Bundle[]): readonly LogEntry[] =>
  bundles.flatMap(({ lines }) => lines.map((text) => JSON.parse(text) as LogEntry))

test('an image is taken when the ticket names it and its signer signed it, and stays encrypted', async (t) => {
  const { maker, signer, node, ticket } = await line(t)
  const stranger = await signerParty('ecdsa-sha256')
  const take = async (content: Uint8Array, by: Party) => node.takeImage(ticket, content, await signatureOf(content, by))
  await assert.rejects(take(other, signer), { code: 'policyRefused', reason: 'imageNotInTicket' })
  await assert.rejects(take(image, stranger), { code: 'badProof', reason: 'imageSignature' })
  await assert.rejects(node.takeImage(ticket, image, await signatureOf(other, signer)), { reason: 'imageSignature' })
  const places = join(node.directory, 'images')
  assert.deepEqual(readdirSync(places), [], 'nothing of what was refused is kept')
  assert.equal(await take(image, signer), sha256(image))
  for (const name of readdirSync(places))
    assert.equal(readFileSync(join(places, name)).includes('firmware of press'), false, `${name} is not in clear`)

  // encrypted for another node
  await maker.order('more', { firmware: [sha256(image)], firmwareSigners: [signer.certificate.toBase64()] })
  const foreign = await maker.node('more')
  const { ticket: foreignTicket } = await foreign.ticket()
  await assert.rejects(node.takeImage(foreignTicket, image, await signatureOf(image, signer)), { code: 'forbidden' })

  // what was changed on the disk comes to nobody
  const path = join(places, `${sha256(image)}.cms`)
  const whole = readFileSync(path)
  const run = await node.start()
  const read = async () => collect((await run.images.open(sha256(image))).read())
  assert.deepEqual(await read(), image)
  writeFileSync(path, whole.with(whole.length - 40_000, (whole[whole.length - 40_000] as number) ^ 1))
  await assert.rejects(read(), { code: 'badProof' })
  writeFileSync(path, whole)
  const during = (await run.images.open(sha256(image))).read()
  writeFileSync(path, whole.with(whole.length - 40_000, (whole[whole.length - 40_000] as number) ^ 1))
  const got: Uint8Array[] = []
  await assert.rejects(async () => {
    for await (const piece of during) got.push(piece)
  })
  assert.ok(concat(got).length < image.length, 'not all of it')
  await run.stop()
})

test('no device is born without an image, and log and record say which it got', async (t) => {
  const { maker, signer, node, ticket } = await line(t)
  await node.takeImage(ticket, image, await signatureOf(image, signer))
  const firmware = sha256(image)
  const run = await node.start()
  const load = (productSerial: string, digest = firmware) =>
    run.load({ productSerial, firmware: digest, open: () => run.images.open(digest) }, asker)
  await assert.rejects(bear(run, 1), { code: 'policyRefused', reason: 'imageNotLoaded' })
  await assert.rejects(load(serialAt(1), sha256(other)), { code: 'policyRefused', reason: 'imageNotInTicket' })
  await assert.rejects(load('P7-9999'), { reason: 'serialOutsideBlock' })
  await assert.rejects(
    run.load({ productSerial: serialAt(1), firmware, open: () => run.images.open(firmware) }, { station: '6'.repeat(64) }),
    { code: 'forbidden', reason: 'stationUnknown' },
  )
  await load(serialAt(1))
  await bear(run, 1)
  await load(serialAt(1)) // the same again, after a plug was pulled
  await run.scrap(serialAt(1), 'broken', asker)
  await assert.rejects(load(serialAt(1)), { code: 'conflict', reason: 'imageAfterBirth' })
  await run.stop()
  const again = await node.start() // what was loaded is in the log
  await again.load({ productSerial: serialAt(2), firmware, open: async () => undefined }, asker)
  await again.stop()
  const last = await node.start()
  await bear(last, 2)
  await last.stop()

  const bundles = await node.export()
  const births = entriesOf(bundles).flatMap((entry) => (entry.type === 'issue' ? [entry.firmware] : []))
  assert.deepEqual(births, [firmware, firmware])
  assert.equal(entriesOf(bundles).filter(({ type }) => type === 'refused').length, 5)
  for (const bundle of bundles) assert.equal((await maker.import(bundle)).alarms, 0)
})

test('images are handed out twice for each position, so that the log has room for the births', async (t) => {
  const { node, ticket } = await line(t)
  const firmware = sha256(image)
  const run = await node.start()
  const load = (from: IssuingNode) => from.load({ productSerial: serialAt(1), firmware, open: async () => undefined }, asker)
  for (let times = 0; times < 2 * (ticket.quota + ticket.scrapAllowance); times++) await load(run)
  await assert.rejects(load(run), { code: 'quotaExceeded', reason: 'imageLoadsUsedUp' })
  await bear(run, 1)
  await run.stop()
  const again = await node.start()
  await assert.rejects(load(again), { reason: 'imageLoadsUsedUp' })
  await again.stop()
})

test('a station fetches an image over TLS; another gets nothing, and the order is in the log first', async (t) => {
  const key = makeKey()
  const certificate = await makeCertificate(key)
  const { signer, node, ticket, maker } = await line(t, [sha256(certificate)])
  await node.takeImage(ticket, image, await signatureOf(image, signer))
  const served = await serveNode({
    ...{ directory: node.directory, listen: { host: '127.0.0.1', port: 0 }, names: ['localhost'] },
    ...{ world: maker.world, log: silentLog },
  })
  const fetched = async (asked: object, cert: Uint8Array, by = key) => {
    const body = JSON.stringify(asked)
    const sent = request({
      ...{ host: '127.0.0.1', port: served.address.port, servername: 'localhost', path: '/line/image', method: 'POST' },
      ...{ ca: served.certificatePEM, agent: false, headers: { 'content-length': body.length } },
      cert: encodePEM('CERTIFICATE', cert),
      key: by.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    })
    sent.end(body)
    const [answer] = (await once(sent, 'response')) as [IncomingMessage]
    return { status: answer.statusCode, octets: await collect(answer) }
  }
  try {
    const { status, octets } = await fetched({ productSerial: serialAt(1) }, certificate)
    assert.equal(status, 200)
    assert.equal(sha256(octets), sha256(image))
    const stranger = makeKey()
    assert.equal((await fetched({ productSerial: serialAt(2) }, await makeCertificate(stranger), stranger)).status, 403)
    assert.equal((await fetched({ productSerial: serialAt(2), firmware: sha256(other) }, certificate)).status, 403)
    const entries = entriesOf(await node.export())
    assert.deepEqual(
      entries.flatMap((entry) => (entry.type === 'load' ? [entry.productSerial] : [])),
      [serialAt(1)],
    )
  } finally {
    await served.stop()
  }
  await node.close()
  assert.equal(existsSync(join(node.directory, 'envelope-key.p8')), false, 'the key for images goes with the job')
})
