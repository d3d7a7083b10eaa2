/** A contract manufacturer's line without a network: as many devices as were ordered, and whoever makes more is found. @module */
import { hash } from 'node:crypto'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { silentLog } from '#base/log.ts'
import { type EstClient, estClient } from '#protocols/est/client.ts'
import { type NodeLine, serveNode } from '#server/node-line.ts'
import { makeKey, privateKeyOf, requestFor } from '../device.ts'
import { issued, refused } from '../enrolling.ts'
import { type Chapter, fact, must, present, type Scene } from '../story.ts'
import { MAKER } from './authorities.ts'
import { officer, officerCommand } from './server.ts'
import { line, station } from './station.ts'

const QUANTITY = 8
const SCRAPPED = 2
const TICKET_KEY = 'orders'
const HARDWARE_TYPE = '1.3.6.1.4.1.54392.7'
const DAY_MILLISECONDS = 86_400_000

interface Production {
  readonly order: string
  readonly directory: string
  productSerial(number: number): string
}

const production = fact<Production>('the production order')
const clandestine = fact<Uint8Array>('the birth certificate of a device that nobody ordered')

export const productionChapter: Chapter = {
  title: 'A factory without a network',
  about:
    'A contract manufacturer issues birth certificates itself: within the order, counted, each in a log that the maker reads afterwards.',
  steps: [
    {
      title: `The maker orders ${QUANTITY} devices; ${SCRAPPED} may fail`,
      async run(scene) {
        const client = scene.known(officer)
        const { number } = scene.known(line)
        const { keys } = await client.call('listKeys', {})
        if (!keys.some(({ label }) => label === TICKET_KEY))
          await client.call('createKey', { body: { label: TICKET_KEY, keyAlgorithm: 'ecdsa-p256' } })
        const now = scene.world.clock.now()
        const prefix = `C${number}-`
        const order = `contract-${number}`
        const terms = {
          ...{ model: 'Press 7', hardwareRevision: 'B', firmware: [], factory: 'Contract manufacturer', tier: 'N0' as const },
          ...{ quantity: QUANTITY, scrapAllowance: SCRAPPED, blockSize: 4, hardwareType: HARDWARE_TYPE },
          serials: { prefix, digits: 4, from: 1, to: QUANTITY + SCRAPPED },
          subject: [{ type: 'O' as const, value: MAKER }],
          ...{ authority: 'birthroot', ticketKey: TICKET_KEY, notBefore: now - 60_000, notAfter: now + DAY_MILLISECONDS },
        }
        await client.call('createOrder', { body: { name: order, terms } })
        const directory = join(scene.directory, `factory-${number}`)
        rmSync(directory, { recursive: true, force: true })
        scene.note(production, { order, directory, productSerial: (at) => `${prefix}${String(at).padStart(4, '0')}` })
        return { said: `serial numbers ${prefix}0001 to ${prefix}${String(QUANTITY + SCRAPPED).padStart(4, '0')}` }
      },
    },
    {
      title: 'sealworks node init, order ticket, node ticket',
      async run(scene) {
        const { order, directory } = scene.known(production)
        const run = scene.known(officerCommand)
        const at = (name: string): string => join(scene.directory, `${order}.${name}`)
        writeFileSync(at('station'), encodePEM('CERTIFICATE', scene.known(station).certificate))
        await run('order', 'sheet', order, '--out', at('sheet'), '--force')
        await run('node', 'init', '--data', directory, '--order', at('sheet'), '--out', at('request'), '--force')
        await run('order', 'ticket', order, '--node', at('request'), '--station', at('station'), '--out', at('ticket'), '--force')
        await run('node', 'ticket', '--data', directory, at('ticket'))
        return { said: 'signed by the maker, for this node, this station and this line' }
      },
    },
    {
      title: `${QUANTITY} are born offline, one more is refused`,
      async run(scene) {
        const { directory, productSerial } = scene.known(production)
        const said = await running(scene, directory, async (node, client) => {
          for (let number = 1; number <= QUANTITY; number++) await bear(client, productSerial(number))
          const one = await requestFor(await makeKey(), [{ type: 'serialNumber', value: productSerial(QUANTITY + 1) }])
          const refusal = await refused(() => client.simpleEnroll(one), { status: 403, reason: 'quotaUsedUp' })
          for (let number = 1; number <= SCRAPPED; number++) await say(scene, node, 'scrap', productSerial(number))
          for (let number = QUANTITY + 1; number <= QUANTITY + SCRAPPED; number++) await bear(client, productSerial(number))
          for (let number = SCRAPPED + 1; number <= QUANTITY + SCRAPPED; number++)
            await say(scene, node, 'good', productSerial(number))
          return refusal
        })
        return {
          said: `${said}; ${SCRAPPED} scrapped and made anew`,
          tally: { what: 'births offline', count: QUANTITY + SCRAPPED, timed: true },
        }
      },
    },
    {
      title: 'Somebody copies the node and makes one more',
      async run(scene) {
        const { order, directory, productSerial } = scene.known(production)
        const copy = `${directory}-copy`
        rmSync(copy, { recursive: true, force: true })
        cpSync(directory, copy, { recursive: true })
        // as it was before anything was issued: files can be put back, which a TPM's counter cannot
        for (const [name, content] of [
          ['log.jsonl', ''],
          ['starts', '0\n'],
          ['blocks', '0\n'],
        ] as const)
          writeFileSync(join(copy, name), content)
        const certificate = await running(scene, copy, (_, client) => bear(client, productSerial(3)))
        scene.note(clandestine, certificate)
        return { said: `a second ${productSerial(3)}, since ${order} asked for no TPM` }
      },
    },
    {
      title: 'sealworks node close: its key is destroyed',
      async run(scene) {
        const { directory } = scene.known(production)
        const run = scene.known(officerCommand)
        await run('node', 'close', '--data', directory)
        await run('node', `export`, '--data', directory, '--out-dir', `${directory}-stick`, '--force')
        const bundle = readFileSync(join(`${directory}-stick`, '0.bundle'))
        const read = async function* (): AsyncGenerator<Uint8Array> {
          yield bundle
        }
        await scene.known(officer).transfer('importBundle', {}, { octets: bundle.length, read, prefersAsync: false })
        return { said: 'its log, signed, goes to the maker on a stick' }
      },
    },
    {
      title: 'The maker reconciles: the numbers agree',
      async run(scene) {
        const { order, productSerial } = scene.known(production)
        const client = scene.known(officer)
        const serials = Array.from({ length: QUANTITY }, (_, at) => productSerial(SCRAPPED + 1 + at))
        await client.call('noteShipped', { params: { name: order }, body: { serials } })
        const {
          issued: born,
          good,
          scrap,
          burned,
          shipped,
          agrees,
          alarms,
        } = await client.call('reconcileOrder', { params: { name: order } })
        must(agrees && good === QUANTITY && scrap === SCRAPPED && burned === 0 && shipped === QUANTITY, JSON.stringify(alarms))
        return { said: `${born} issued, ${good} good and shipped, ${scrap} scrapped, ${burned} burned` }
      },
    },
    {
      title: 'The one too many shows up, and is found',
      async run(scene) {
        const { order } = scene.known(production)
        const client = scene.known(officer)
        const certificate = scene.known(clandestine).toBase64()
        const { seen } = await client.call('noteSeen', { params: { name: order }, body: { certificate, place: 'a market' } })
        must(seen === 'inNoLog', `it was taken for ${seen}`)
        const { alarms, agrees } = await client.call('reconcileOrder', { params: { name: order } })
        const alarm = present(alarms[0], 'nobody was alarmed')
        must(!agrees && alarm.kind === 'seenInNoLog', `the alarm is ${alarm.kind}`)
        return { said: `alarm: ${alarm.kind}, ${hash('sha256', scene.known(clandestine)).slice(0, 12)}…` }
      },
    },
  ],
}

async function running<T>(scene: Scene, directory: string, work: (node: NodeLine, client: EstClient) => Promise<T>): Promise<T> {
  const { world } = scene
  const node = await serveNode({ directory, listen: { host: '127.0.0.1', port: 0 }, names: ['localhost'], world, log: silentLog })
  const { key, certificate } = scene.known(station)
  const client = estClient({
    url: `https://localhost:${node.address.port}/.well-known/est`,
    trust: parsePEM(node.certificatePEM).map(({ der }) => der),
    certificate: { chain: [certificate], privateKey: privateKeyOf(key) },
  })
  try {
    return await work(node, client)
  } finally {
    client.close()
    await node.stop()
  }
}

const bear = async (client: EstClient, productSerial: string): Promise<Uint8Array> =>
  issued(await client.simpleEnroll(await requestFor(await makeKey(), [{ type: 'serialNumber', value: productSerial }])))

/** What the end of the line says of a device. */
function say(
  scene: Scene,
  { address, certificatePEM }: NodeLine,
  verdict: 'good' | 'scrap',
  productSerial: string,
): Promise<void> {
  const { key, certificate } = scene.known(station)
  const options = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    ca: certificatePEM,
    cert: encodePEM('CERTIFICATE', certificate),
    key: encodePEM('PRIVATE KEY', privateKeyOf(key).reveal('TLS client authentication')),
    agent: false,
  }
  return new Promise((resolve, reject) => {
    request(`https://localhost:${address.port}/line/${verdict}`, options, (answer) => {
      answer.resume()
      if (answer.statusCode === 200) answer.once('end', () => resolve())
      else reject(new Error(`the node answered ${answer.statusCode}`))
    })
      .once('error', reject)
      .end(JSON.stringify({ productSerial }))
  })
}
