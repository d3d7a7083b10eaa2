/**
 * The built-in message broker: connections with client certificates, messages from device to device, and how long a revoked
 * device stays connected. Devices run in a thread of their own, on the same machine.
 *
 * @module
 */
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { Worker } from 'node:worker_threads'
import { revokeCertificate } from '#ca/certificates.ts'
import { person } from '#ca/testing.ts'
import { createConduit } from '#devices/conduits.ts'
import { face, testdata } from '#server/testing.ts'
import { contextOptions } from '#server/tls-options.ts'
import { connect, ended, type Identity, mqttPlant } from '../test/interop/mqtt-plant.ts'
import { pemOf } from '../test/interop/plant.ts'
import type { Figure } from './figure.ts'
import type { Client, Work } from './mqtt-clients.ts'

const DEVICES = 32
const MILLISECONDS = 3000
const REVOKED = 10

interface Done {
  readonly done: number
  readonly seconds: number
}

export async function benchMQTT(): Promise<readonly Figure[]> {
  await using plant = await mqttPlant()
  const limits = { connectsPerMinutePerDevice: '10000', messagesPerSecondPerDevice: '100000' }
  const port = (await plant.broker(limits)).address?.port ?? 0
  const devices: Identity[] = []
  for (let at = 0; at < DEVICES; at++) devices.push(await plant.device(`D-${at}`))
  const [fromAreaId] = plant.all.areas
  await createConduit(plant.all.devices, { fromAreaId, toAreaId: fromAreaId, topics: '+/evt/#' }, person)
  const clients = devices.map(clientOf)
  const ca = testdata('server-root.pem')
  // each device's first connection takes its certificate into use, which happens once
  await load({ port, ca, clients, what: 'connects', milliseconds: 500 })
  const connects = await load({ port, ca, clients, what: 'connects', milliseconds: MILLISECONDS })
  const bare = await bareConnects({ ca, clients, what: 'connects', milliseconds: MILLISECONDS / 2 })
  const messages = await load({ port, ca, clients, what: 'messages', milliseconds: MILLISECONDS })
  const cuts: number[] = []
  for (const device of devices.slice(0, REVOKED)) {
    const gone = ended(await connect(port, device))
    const begun = performance.now()
    await revokeCertificate(plant.ca.context, device.issued.certificateId, 'keyCompromise', person)
    await gone
    cuts.push(performance.now() - begun)
  }
  const rate = ({ done, seconds }: Done): number => done / seconds
  return [
    {
      ...{ name: 'mqtt.connects.perSecond', value: rate(connects), unit: '/s', reach: { atLeast: 500 } },
      note: 'TLS 1.3 without resumption, P-256, decided against SQLite, up to the CONNACK; clients on the same cores',
    },
    {
      ...{ name: 'mqtt.connects.ofBare', value: rate(connects) / rate(bare), unit: '×' },
      note: `of ${Math.round(rate(bare))}/s where the same TLS server answers every CONNECT with the same four octets`,
    },
    {
      ...{ name: 'mqtt.messages.perSecond', value: rate(messages), unit: '/s', reach: { atLeast: 10_000 } },
      note: `64 octets, QoS 0, from ${DEVICES / 2} devices to as many others through a conduit, counted where they arrive`,
    },
    {
      ...{ name: 'mqtt.revokeToCut.longest', value: Math.max(...cuts), unit: 'ms', reach: { below: 1000 } },
      note: `of ${REVOKED}, from the call that revokes to the end of the session`,
    },
  ]
}

/** The same handshakes, and nothing decided. */
async function bareConnects(work: Omit<Work, 'port'>): Promise<Done> {
  const server = createServer(
    { ...contextOptions(face('server', [])), requestCert: true, rejectUnauthorized: false },
    (socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.write(Buffer.of(0x20, 2, 0, 0)))
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await load({ ...work, port: (server.address() as AddressInfo).port })
  } finally {
    server.close()
  }
}

const clientOf = ({ name, issued, key }: Identity): Client => ({
  name,
  certificate: pemOf(issued.certificate),
  key: key.export({ type: 'pkcs8', format: 'pem' }),
})

function load(work: Work): Promise<Done> {
  const worker = new Worker(new URL('./mqtt-clients.ts', import.meta.url), { workerData: work })
  return new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
}
