/** Mosquitto, driven: each device has its own topics, and loses them at once. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, connect as connectTo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { Aedes } from 'aedes'
import { encodePEM } from '#asn1/pem.ts'
import { issueCRL } from '#ca/crl.ts'
import { person } from '#ca/testing.ts'
import { revokeCertificate } from '#ca/certificates.ts'
import { createConduit } from '#devices/conduits.ts'
import { CONTROL_TOPIC, RESPONSE_TOPIC } from '#mqtt/mosquitto/dynamic-security.ts'
import type { ServedBroker } from '#server/mqtt.ts'
import { testdataPath } from '#server/testing.ts'
import { connect, ended, mosquitto, mqttPlant, type MqttPlant } from './mqtt-plant.ts'
import { needs } from './programs.ts'

const tools = needs('mosquitto', 'mosquitto_ctrl', 'mosquitto-dynsec', 'mosquitto_pub', 'mosquitto_sub')
const PASSWORD = 'driver-password'

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : assert.fail('no port')
}

/** As an operator sets it up: a port of its own for the driver, and one for devices with certificates. */
async function startMosquitto(t: TestContext, plant: MqttPlant) {
  const file = (name: string): string => join(plant.folder, name)
  const [driver, devices] = [await freePort(), await freePort()]
  const issuers = ['line1', 'root1'].map((slug) => plant.ca.authorities.list().find((one) => one.slug === slug))
  const chain = (issuers[1] === undefined ? plant.ca.authorities.list() : issuers).flatMap((one) =>
    one === undefined ? [] : [one],
  )
  writeFileSync(file('cas.pem'), chain.map(({ certificate }) => encodePEM('CERTIFICATE', certificate.der)).join(''))
  const crl = await issueCRL(plant.ca.context, plant.ca.authorities.byAddress('line1'), 0, person)
  writeFileSync(file('crls.pem'), encodePEM('X509 CRL', crl.der))
  execFileSync(tools.path('mosquitto_ctrl'), ['dynsec', 'init', file('dynsec.json'), 'sealworks', PASSWORD])
  writeFileSync(
    file('mosquitto.conf'),
    `user nobody
allow_anonymous false
plugin ${tools.path('mosquitto-dynsec')}
plugin_opt_config_file ${file('dynsec.json')}
pid_file ${file('pid')}
listener ${driver} 127.0.0.1
listener ${devices} 127.0.0.1
cafile ${file('cas.pem')}
certfile ${testdataPath('server.pem')}
keyfile ${file('server.key')}
crlfile ${file('crls.pem')}
require_certificate true
use_subject_as_username true
use_username_as_clientid true
`,
  )
  writeFileSync(file('server.key'), readFileSync(testdataPath('server.key')), { mode: 0o644 })
  chmodSync(plant.folder, 0o777)
  chmodSync(file('dynsec.json'), 0o666)
  const child = spawn(tools.path('mosquitto'), ['-c', file('mosquitto.conf')], { stdio: ['ignore', 'ignore', 'pipe'] })
  const log: string[] = []
  child.stderr.on('data', (octets: Buffer) => log.push(octets.toString()))
  t.after(() => child.kill())
  while (!existsSync(file('pid')) || !(await answers(devices))) {
    assert.equal(child.exitCode, null, log.join(''))
    await wait(20)
  }
  writeFileSync(file('password'), PASSWORD, { mode: 0o600 })
  const broker = await plant.broker({
    ...{ listen: 'off', mosquitto: `mqtt://127.0.0.1:${driver}`, mosquittoPassword: `file:${file('password')}` },
    ...{ mosquittoCrlFile: file('crls.pem'), mosquittoPidFile: file('pid') },
  })
  await broker.runOnce()
  return { broker, port: devices, log: () => log.join('') }
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connectTo({ host: '127.0.0.1', port }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

/** New CRLs, and the driver's round. */
async function publishCRLs(plant: MqttPlant, broker: ServedBroker): Promise<void> {
  await issueCRL(plant.ca.context, plant.ca.authorities.byAddress('line1'), 0, person)
  await broker.runOnce()
}

test('R7: under the driver a device has its own topics, with MQTT 3.1.1 and 5', { skip: tools.skip }, async (t) => {
  await using plant = await mqttPlant()
  const { broker, port } = await startMosquitto(t, plant)
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  await plant.changes.runOnce()
  assert.deepEqual([broker.broker.status().state, broker.broker.status().devices], ['running', 2])
  for (const [version, protocolVersion] of [
    ['311', 4],
    ['5', 5],
  ] as const) {
    const receiver = await connect(port, other, { protocolVersion })
    const heard: string[] = []
    receiver.on('message', (topic) => heard.push(topic))
    await receiver.subscribeAsync('iiot/ann/paint/A-2/down/#')
    for (const filter of ['#', 'iiot/ann/paint/+/down/#', 'iiot/ann/paint/A-1/down/#', '$CONTROL/#'])
      await assert.rejects(receiver.subscribeAsync(filter), `${version} ${filter}`)
    const publish = (...more: string[]) =>
      mosquitto(tools.path('mosquitto_pub'), port, own, '-V', version, '-q', '1', '-m', 'x', ...more)
    assert.deepEqual(await publish('-t', 'iiot/ann/paint/A-1/up/heat'), { code: 0, output: '' })
    await publish('-t', 'iiot/ann/paint/A-2/down/foreign')
    await publish('-t', CONTROL_TOPIC)
    const { id } = await plant.all.device('A-2')
    assert.equal(await broker.broker.publish(id, { channel: 'down', topic: 'own', octets: Buffer.from('x') }), true)
    while (heard.length === 0) await wait(10)
    assert.deepEqual(heard, ['iiot/ann/paint/A-2/down/own'], 'what a neighbor sent before did not come')
    await receiver.endAsync()
  }
})

test(
  'R33: under the driver a revoked device is cut off and stays out; its client id is nobody else’s',
  { skip: tools.skip },
  async (t) => {
    await using plant = await mqttPlant()
    const { broker, port } = await startMosquitto(t, plant)
    const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
    await plant.changes.runOnce()
    const client = await connect(port, own)
    const twin = await connect(port, other, { clientId: 'A-1' })
    await client.publishAsync('iiot/ann/paint/A-1/up/x', 'x', { qos: 1 })
    assert.equal(client.connected, true, 'who calls itself like it does not end its session')
    const gone = ended(client)
    await revokeCertificate(plant.ca.context, own.issued.certificateId, 'keyCompromise', person)
    await gone
    await plant.changes.runOnce()
    await publishCRLs(plant, broker)
    await assert.rejects(connectUntilRefused(port, own))
    assert.equal(twin.connected, true)
    assert.equal(broker.broker.status().devices, 1)
    await twin.endAsync()
  },
)

/** Mosquitto takes a moment to read its CRLs again. */
async function connectUntilRefused(port: number, own: Parameters<typeof connect>[1]): Promise<never> {
  for (;;) await (await connect(port, own)).endAsync()
}

test(
  'R7: under the driver a moved device loses its old topics, and conduits are rules there too',
  { skip: tools.skip },
  async (t) => {
    await using plant = await mqttPlant()
    const { port } = await startMosquitto(t, plant)
    const own = await plant.device('A-1')
    await plant.connections.admit([own.issued.certificate], { protocol: 'mqtt', name: 'A-1' })
    await plant.changes.runOnce()
    const client = await connect(port, own)
    await client.subscribeAsync('iiot/ann/paint/A-1/down/#')
    const gone = ended(client)
    await plant.all.act('A-1', 'change-area')
    const moved = await plant.renew(own, 'press')
    await plant.connections.admit([moved.issued.certificate], { protocol: 'mqtt', name: 'A-1' })
    await gone
    await plant.changes.runOnce()
    const again = await connect(port, moved)
    await assert.rejects(again.subscribeAsync('iiot/ann/paint/A-1/down/#'))
    await again.subscribeAsync('iiot/ann/press/A-1/down/#')
    const cut = ended(again)
    const [fromAreaId, toAreaId] = plant.all.areas
    await createConduit(plant.all.devices, { fromAreaId, toAreaId, topics: '+/evt/#' }, person)
    await cut
    await plant.changes.runOnce()
    const last = await connect(port, moved)
    await last.subscribeAsync('iiot/ann/paint/+/evt/#')
    await last.endAsync()
  },
)

test('what is wrong in Mosquitto is found when it is compared, and put right', { skip: tools.skip }, async (t) => {
  await using plant = await mqttPlant()
  const { broker, port } = await startMosquitto(t, plant)
  const own = await plant.device('A-1')
  await plant.changes.runOnce()
  assert.deepEqual(await broker.broker.reconcile(), { devices: 1, added: 0, changed: 0, removed: 0 })
  const control = ['-h', '127.0.0.1', '-p', driverPortOf(plant), '-u', 'sealworks', '-P', PASSWORD, 'dynsec']
  const dynsec = (...more: string[]): string =>
    execFileSync(tools.path('mosquitto_ctrl'), [...control, ...more], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  const { deviceId } = await plant.connections.admit([own.issued.certificate], { protocol: 'mqtt', name: 'A-1' })
  const role = `sealworks/device/${deviceId}`
  dynsec('addRoleACL', role, 'publishClientSend', '#', 'allow')
  dynsec('createRole', 'sealworks/device/of-nobody')
  dynsec('createRole', 'scada')
  dynsec('setDefaultACLAccess', 'subscribe', 'allow')
  assert.deepEqual(await broker.broker.reconcile(), { devices: 1, added: 0, changed: 1, removed: 1 })
  const roles = dynsec('listRoles')
  assert.match(roles, /scada/, 'what is not ours stays')
  assert.doesNotMatch(roles, /of-nobody/)
  assert.doesNotMatch(dynsec('getRole', role), /: #/)
  const client = await connect(port, own)
  await client.endAsync()
})

const driverPortOf = (plant: MqttPlant): string =>
  /^listener (\d+)/m.exec(readFileSync(join(plant.folder, 'mosquitto.conf'), 'utf8'))?.[1] ?? assert.fail('no listener')

test('a broker that says yes and does nothing is found out', async (t) => {
  await using plant = await mqttPlant()
  await plant.device('A-1')
  const liar = await Aedes.createBroker()
  const server = createServer((socket) => void liar.handle(socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    liar.close()
    server.close()
  })
  liar.subscribe(
    CONTROL_TOPIC,
    ({ payload }, done) => {
      const { commands } = JSON.parse(payload.toString()) as { commands: { command: string; correlationData: string }[] }
      const acls = ['publishClientSend', 'publishClientReceive', 'subscribe'].map((acltype) => ({ acltype, allow: false }))
      const responses = commands.map((one) => ({ ...one, data: { roles: [], clients: [], role: {}, client: {}, acls } }))
      const packet = { cmd: 'publish', qos: 0, dup: false, retain: false, topic: RESPONSE_TOPIC } as const
      liar.publish({ ...packet, payload: Buffer.from(JSON.stringify({ responses })) }, () => done())
    },
    () => {},
  )
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const { broker, runOnce } = await plant.broker({ listen: 'off', mosquitto: `mqtt://127.0.0.1:${port}` })
  await assert.rejects(runOnce(), { code: 'unavailable', reason: 'brokerDisagrees' })
  assert.equal(broker.status().state, 'away')
  assert.match(broker.status().detail ?? '', /role is not as it was written/)
})
