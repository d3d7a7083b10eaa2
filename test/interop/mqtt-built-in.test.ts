/** The built-in message broker with clients of others: Debian's Mosquitto clients and the npm client. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTo } from 'node:net'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { person } from '#ca/testing.ts'
import { revokeCertificate } from '#ca/certificates.ts'
import { createConduit, removeConduit } from '#devices/conduits.ts'
import { publish } from '#store/outbox.ts'
import { connect, ended, mosquitto, mqttPlant, type MqttPlant } from './mqtt-plant.ts'
import { needs } from './programs.ts'

const tools = needs('mosquitto_pub', 'mosquitto_sub')

const portOf = async (plant: MqttPlant, settings?: Readonly<Record<string, string>>): Promise<number> =>
  (await plant.broker(settings)).address?.port ?? assert.fail('no address')

test('R7: Mosquitto’s clients publish to the device’s own topics and to no others', { skip: tools.skip }, async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant)
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  const [pub, sub] = [tools.path('mosquitto_pub'), tools.path('mosquitto_sub')]
  const publish = (...more: string[]) => mosquitto(pub, port, own, '-q', '1', '-m', 'x', ...more)
  assert.deepEqual(await publish('-t', 'iiot/ann/paint/A-1/up/heat'), { code: 0, output: '' })
  for (const topic of ['iiot/ann/paint/A-2/up/heat', 'iiot/ann/paint/A-1/cmd/go', 'iiot/ann/press/A-1/up/heat', 'x', '$SYS/x'])
    assert.notEqual((await publish('-t', topic)).code, 0, topic)
  const before = await mosquitto(sub, port, other, '-t', 'iiot/ann/paint/A-2/cmd/#', '-W', '1')
  assert.equal(before.code, 27, `it waits for nothing, and is let wait: ${before.output}`)
  for (const filter of ['#', 'iiot/#', 'iiot/ann/paint/+/cmd/#', 'iiot/ann/paint/A-1/cmd/#', 'iiot/ann/paint/A-2/#', '$SYS/#'])
    assert.match((await mosquitto(sub, port, other, '-t', filter, '-W', '1')).output, /denied|not authori[sz]ed/i, filter)
  const v5 = await mosquitto(pub, port, own, '-V', '5', '-t', 'iiot/ann/paint/A-1/up/heat', '-m', 'x')
  assert.match(v5.output, /protocol version/i, 'it says what it does not speak')
  const wrong = await mosquitto(pub, port, { ...own, name: 'A-2' }, '-t', 'iiot/ann/paint/A-2/up/heat', '-m', 'x')
  assert.match(wrong.output, /identifier rejected/i)
  const will = await mosquitto(
    pub,
    port,
    own,
    '-t',
    'iiot/ann/paint/A-1/up/x',
    '-m',
    'x',
    '--will-topic',
    'iiot/ann/paint/A-2/cmd/x',
  )
  assert.match(will.output, /not authori[sz]ed/i)
})

test('R7: the server’s word reaches a device, and what the device says reaches the server', async () => {
  await using plant = await mqttPlant()
  const served = await plant.broker()
  const own = await plant.device('A-1')
  const client = await connect(served.address?.port ?? 0, own)
  const heard: (readonly [string, string])[] = []
  client.on('message', (topic, payload) => heard.push([topic, payload.toString()]))
  const [granted] = await client.subscribeAsync(['iiot/ann/paint/A-1/cmd/#', 'iiot/ann/paint/A-1/down/#'], { qos: 1 })
  assert.equal(granted?.qos, 1)
  const { id } = await plant.all.device('A-1')
  await served.broker.publish(id, { channel: 'cmd', topic: 'command', octets: Buffer.from('come') })
  await client.publishAsync('iiot/ann/paint/A-1/up/report', 'no report', { qos: 1 })
  while (heard.length < 2) await wait(10)
  const [hint, refusal] = heard
  assert.deepEqual(hint, ['iiot/ann/paint/A-1/cmd/command', 'come'])
  assert.equal(refusal?.[0], 'iiot/ann/paint/A-1/down/report/refused')
  assert.match(refusal?.[1] ?? '', /"reason":"/)
  assert.equal(served.broker.status().sessions, 1)
  const { db, world, organizationId: organization } = plant.all.devices
  await plant.changes.runOnce() // what came before nobody listened is not told
  await db.transaction((tx) => publish(tx, world, { topic: 'mail.command', organization, payload: { device: id } }))
  while (heard.length < 3) await wait(10)
  assert.deepEqual(heard[2], ['iiot/ann/paint/A-1/cmd/command', 'fetch'])
  await client.endAsync()
})

test('R33: a live session is cut when its certificate is revoked, and its will is not told', async () => {
  await using plant = await mqttPlant()
  const served = await plant.broker()
  const port = served.address?.port ?? 0
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  await createConduit(
    plant.all.devices,
    { fromAreaId: plant.all.areas[0], toAreaId: plant.all.areas[0], topics: '+/evt/#' },
    person,
  )
  const listener = await connect(port, other)
  const heard: string[] = []
  listener.on('message', (topic) => heard.push(topic))
  await listener.subscribeAsync('iiot/ann/paint/A-1/evt/#')
  const client = await connect(port, own, {
    will: { topic: 'iiot/ann/paint/A-1/evt/gone', payload: Buffer.from('x'), qos: 0, retain: false },
  })
  await client.publishAsync('iiot/ann/paint/A-1/evt/here', 'x')
  const gone = ended(client)
  await revokeCertificate(plant.ca.context, own.issued.certificateId, 'keyCompromise', person)
  await gone
  await assert.rejects(connect(port, own), /Not authorized/)
  assert.equal(served.broker.status().cut, 1)
  assert.deepEqual(heard, ['iiot/ann/paint/A-1/evt/here'])
  await listener.endAsync()
})

test('R33: a device that does not read what it is sent keeps no other’s session from being cut', async () => {
  await using plant = await mqttPlant()
  const served = await plant.broker()
  const port = served.address?.port ?? 0
  const [deaf, own] = [await plant.device('A-1'), await plant.device('A-2')]
  const client = await connect(port, deaf)
  await client.subscribeAsync('iiot/ann/paint/A-1/cmd/#', { qos: 1 })
  client.on('error', () => {})
  client.stream.unpipe()
  client.stream.pause()
  const { id } = await plant.all.device('A-1')
  const octets = Buffer.alloc(1 << 20)
  for (let isTaken = true; isTaken;)
    isTaken = await Promise.race([
      served.broker.publish(id, { channel: 'cmd', topic: 'x', octets }).catch(() => false),
      wait(500).then(() => false),
    ])
  const { db, world, organizationId: organization } = plant.all.devices
  await db.transaction((tx) => publish(tx, world, { topic: 'mail.command', organization, payload: { device: id } }))
  while ((await db.query('SELECT 1 AS is_new FROM outbox WHERE sequence IS NULL')).length > 0) await wait(10) // until it is told
  const live = await connect(port, own)
  await revokeCertificate(plant.ca.context, own.issued.certificateId, 'keyCompromise', person)
  await ended(live)
  assert.equal(served.broker.status().sessions, 1, 'the deaf one is still waited for')
  client.end(true)
})

test('R7: a device that was moved has the topics of its new area and none of the old one', async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant)
  const own = await plant.device('A-1')
  const first = await connect(port, own, { clean: false })
  await first.subscribeAsync('iiot/ann/paint/A-1/down/#', { qos: 1 })
  const gone = ended(first)
  await plant.all.act('A-1', 'change-area')
  const moved = await plant.renew(own, 'press')
  const second = await connect(port, moved, { clean: false })
  await gone
  const heard: string[] = []
  second.on('message', (topic) => heard.push(topic))
  const [old] = await second.subscribeAsync('iiot/ann/paint/A-1/down/#').catch(() => [])
  assert.notEqual(old?.qos, 0)
  await second.subscribeAsync('iiot/ann/press/A-1/down/#')
  await second.publishAsync('iiot/ann/press/A-1/up/x', 'x', { qos: 1 })
  await assert.rejects(connect(port, own), /Not authorized/)
  await second.endAsync()
  assert.deepEqual(heard, [])
})

test('R7: areas are joined by a conduit, and parted again', async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant)
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  await (await connect(port, other)).endAsync()
  await plant.all.act('A-2', 'change-area')
  const press = await plant.renew(other, 'press')
  const receiver = await connect(port, press)
  const heard: string[] = []
  receiver.on('message', (topic) => heard.push(topic))
  await receiver.subscribeAsync('iiot/ann/press/A-2/down/#')
  const [fromAreaId, toAreaId] = plant.all.areas
  const refused = await connect(port, own)
  const closed = ended(refused)
  refused.publish('iiot/ann/press/A-2/down/heat', 'x')
  await closed
  const there = await createConduit(plant.all.devices, { fromAreaId, toAreaId, topics: '+/down/heat' }, person)
  const back = await createConduit(plant.all.devices, { fromAreaId, toAreaId, topics: 'A-1/evt/#' }, person)
  await plant.changes.runOnce()
  const sender = await connect(port, own)
  await sender.publishAsync('iiot/ann/press/A-2/down/heat', 'x', { qos: 1 })
  await receiver.subscribeAsync('iiot/ann/paint/A-1/evt/+')
  await sender.publishAsync('iiot/ann/paint/A-1/evt/warm', 'x', { qos: 1 })
  while (heard.length < 2) await wait(10)
  assert.deepEqual(heard, ['iiot/ann/press/A-2/down/heat', 'iiot/ann/paint/A-1/evt/warm'])
  const gone = ended(receiver)
  await removeConduit(plant.all.devices, back.id, person)
  await gone
  await removeConduit(plant.all.devices, there.id, person)
  await sender.endAsync()
})

test('a device keeps to its limits, and one session at a time', async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant, { packetMaxBytes: '1024', subscriptionsPerDevice: '2', connectsPerMinutePerDevice: '4' })
  const own = await plant.device('A-1')
  const first = await connect(port, own)
  const replaced = ended(first)
  const second = await connect(port, own)
  await replaced
  const topics = ['a', 'b', 'c'].map((last) => `iiot/ann/paint/A-1/down/${last}`)
  await second.subscribeAsync(topics.slice(0, 2))
  await assert.rejects(second.subscribeAsync(topics[2] ?? ''))
  const closed = ended(second)
  second.publish('iiot/ann/paint/A-1/up/x', Buffer.alloc(2000))
  await closed
  await (await connect(port, own)).endAsync()
  await (await connect(port, own)).endAsync()
  await assert.rejects(connect(port, own), /Server unavailable/)
})

test('who shows no certificate, or another’s, is not let in', async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant)
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  await assert.rejects(connect(port, own, { cert: '', key: '' }), /Not authorized/)
  await assert.rejects(connect(port, other, { clientId: 'A-1' }), /Identifier rejected/)
  const renewed = await plant.renew(own)
  await (await connect(port, renewed)).endAsync()
  await assert.rejects(connect(port, own), /Not authorized/)
})

test('whoever opens connections and does not say who it is keeps no device of another address out', async () => {
  await using plant = await mqttPlant()
  const port = await portOf(plant)
  const device = await plant.device('A-1')
  const silent = Array.from({ length: 256 }, () => connectTo({ host: '127.0.0.1', port }))
  for (const socket of silent) socket.on('error', () => {})
  try {
    await Promise.all(silent.map((socket) => once(socket, 'connect')))
    const from = (localAddress: string) => Object.assign({ localAddress }, { host: '127.0.0.1', servername: 'localhost' })
    await assert.rejects(connect(port, device, from('127.0.0.1')))
    const elsewhere = await connect(port, device, from('127.0.0.2'))
    assert.equal(elsewhere.connected, true)
    await elsewhere.endAsync()
  } finally {
    for (const socket of silent) socket.destroy()
  }
})
