/** Devices with certificates of two areas, and clients of others that speak MQTT as one of them. For tests and benchmarks only. @module */
import { spawn } from 'node:child_process'
import type { KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { silentLog } from '#base/log.ts'
import { certificateStates, certificateFacts } from '#server/compose.ts'
import type { IssuedAnswer } from '#ca/enrollment.ts'
import { testCA, type TestCA, testKey } from '#ca/testing.ts'
import { type Config, parseConfig } from '#config/config.ts'
import { CHANGES_SECONDS, type DeviceChanges, deviceChanges } from '#devices/changes.ts'
import { type DeviceConnections, deviceConnections } from '#devices/connections.ts'
import { tellDue } from '#devices/due.ts'
import { deviceReports } from '#devices/state/reports.ts'
import { runInBackground } from '#server/background.ts'
import { deviceMessagesService } from '#server/device-messages.ts'
import { type DevicePlant, devicePlant } from '#server/device-testing.ts'
import { type ServedBroker, startBroker } from '#server/mqtt.ts'
import { face, testdata, testdataPath } from '#server/testing.ts'
import { pemOf } from './plant.ts'

export interface Identity {
  readonly name: string
  readonly issued: IssuedAnswer
  readonly key: KeyObject
  /** For programs of others. */
  readonly files: { readonly certificate: string; readonly key: string }
}

export interface MqttPlant extends AsyncDisposable {
  readonly ca: TestCA
  readonly all: DevicePlant
  readonly folder: string
  readonly connections: DeviceConnections
  readonly changes: DeviceChanges
  /** Born, claimed, and with a certificate of the area `paint`. */
  device(name: string): Promise<Identity>
  /** The device's next certificate of the same area, or of the one it goes to. */
  renew(device: Identity, area?: 'paint' | 'press'): Promise<Identity>
  /** The authorities are told what became of devices. */
  tell(): Promise<void>
  broker(settings?: Readonly<Record<string, string>>): Promise<ServedBroker>
}

export async function mqttPlant(): Promise<MqttPlant> {
  const folder = mkdtempSync(join(tmpdir(), 'sealworks-mqtt-'))
  const ca = await testCA()
  const all = await devicePlant(ca)
  const { devices } = all
  const changes = deviceChanges(devices)
  const certificate: Parameters<typeof deviceReports>[0]['certificate'] = (der) => certificateFacts(ca, der)
  const connections = deviceConnections({ ...devices, changes, certificate, refreshIssuers: () => ca.authorities.refresh() })
  const tell = async (): Promise<void> => {
    while ((await tellDue(devices, certificateStates(ca.context))) > 0);
  }
  const pause = (milliseconds: number, signal: AbortSignal): Promise<unknown> =>
    wait(milliseconds, undefined, { signal }).catch(() => {})
  const background = runInBackground(
    [{ name: 'changes', everySeconds: CHANGES_SECONDS, run: () => changes.runOnce() }],
    silentLog,
    async (milliseconds, signal) => void (await pause(milliseconds, signal)),
  )
  const brokers: ServedBroker[] = []
  let files = 0

  function identity(name: string, issued: IssuedAnswer, key: KeyObject): Identity {
    const write = (suffix: string, text: string): string => {
      const path = join(folder, `${++files}${suffix}`)
      writeFileSync(path, text)
      return path
    }
    const pem = key.export({ type: 'pkcs8', format: 'pem' })
    return { name, issued, key, files: { certificate: write('.pem', pemOf(issued.certificate)), key: write('.key', pem) } }
  }

  async function enroll(name: string, area: 'paint' | 'press', shown: IssuedAnswer): Promise<Identity> {
    const key = testKey()
    return identity(name, await all.enroll(all[area], name, { shown, key }), key.key)
  }

  return {
    ...{ ca, all, folder, connections, changes, tell },
    async device(name) {
      const idevid = await all.enroll(all.births, name)
      await all.act(name, 'release', 'ship', 'offer', 'claim')
      return enroll(name, 'paint', idevid)
    },
    renew: ({ name, issued }, area = 'paint') => enroll(name, area, issued),
    async broker(settings = {}) {
      const environment = Object.fromEntries(
        Object.entries({ listen: '127.0.0.1:0', ...settings }).map(([name, value]) => [variable(name), value]),
      )
      const config: Config = parseConfig({ file: '', environment, dataDirectory: folder })
      const parts = {
        ...{ context: devices, connections, changes },
        reports: deviceReports({
          ...{ ...devices, tellDue: tell, certificate },
          software: { isDirected: async () => false, stepsToRecord: async () => [] },
          stepsToSight: async () => [],
        }),
        messages: deviceMessagesService(connections, {}),
      }
      const served = await startBroker({
        ...{ config, environment, ca, devices: parts, world: devices.world, log: silentLog, face: face('server', []) },
      })
      if (served === undefined) throw new Error('no broker is configured')
      brokers.push(served)
      return served
    },
    async [Symbol.asyncDispose]() {
      for (const broker of brokers) await broker.stop()
      await background.stop()
      await ca[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const variable = (name: string): string => `SEALWORKS_MQTT_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`

/** The npm client, connected as a device. @throws what the broker answers */
export function connect(port: number, { name, issued, key }: Identity, options: IClientOptions = {}): Promise<MqttClient> {
  return mqtt.connectAsync(
    `mqtts://localhost:${port}`,
    {
      ...{ clientId: name, protocolVersion: 4, reconnectPeriod: 0, connectTimeout: 5000, ca: testdata('server-root.pem') },
      ...{ cert: pemOf(issued.certificate), key: key.export({ type: 'pkcs8', format: 'pem' }) },
      ...options,
    },
    false,
  )
}

export interface Ran {
  readonly code: number | null
  readonly output: string
}

/** A program of others, as a device: `mosquitto_pub` or `mosquitto_sub`. */
export async function mosquitto(program: string, port: number, { name, files }: Identity, ...more: string[]): Promise<Ran> {
  const own = ['--cafile', testdataPath('server-root.pem'), '--cert', files.certificate, '--key', files.key]
  const child = spawn(program, ['-h', 'localhost', '-p', String(port), '-i', name, ...own, ...more])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (octets: Buffer) => (output += octets.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output }
}

/** Resolves when the client has lost its connection. */
export const ended = (client: MqttClient): Promise<void> =>
  new Promise((resolve) => (client.connected ? client.once('close', () => resolve()) : resolve()))
