/** Devices at the door for updates, over mutual TLS: each gets what is meant for it, and nothing once it is cut off. */
import assert from 'node:assert/strict'
import { request as httpsRequest, Agent } from 'node:https'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { setFlag } from '#devices/change.ts'
import { person } from '#ca/testing.ts'
import { ddiClient } from '#protocols/ddi/client.ts'
import { parsePoll } from '#protocols/ddi/messages.ts'
import { testdata } from '#server/testing.ts'
import { readStatement } from '#updates/messages.ts'
import { type PlantDevice, TENANT, type UpdatePlant, updatePlant } from './update-plant.ts'

interface Got {
  readonly status: number
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string | undefined>>
}

/** One kept-alive session as a device. */
function session({ port }: UpdatePlant, { certificate, key }: Pick<PlantDevice, 'certificate' | 'key'>) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: testdata('server-root.pem'), cert: certificate, key })
  const ports = new Set<number | undefined>()
  const get = (path: string, headers: Readonly<Record<string, string>> = {}, method = 'GET'): Promise<Got> =>
    new Promise((resolve, reject) => {
      const request = httpsRequest({ host: 'localhost', port, path, method, headers, agent }, (response) => {
        ports.add(response.socket.localPort)
        const pieces: Buffer[] = []
        response.on('data', (piece: Buffer) => pieces.push(piece))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces), headers: response.headers as Got['headers'] }),
        )
      })
      request.on('error', reject)
      request.end()
    })
  return { get, ports, close: () => agent.destroy() }
}

const pathOf = (serial: string): string => `/ddi/${TENANT}/controller/v1/${serial}`

test('R12: a device finds the director’s word for it beside the artifact, and reads it in pieces', async (t) => {
  const plant = await updatePlant(t)
  const [own, other] = [await plant.device('A-1'), await plant.device('A-2')]
  const image = utf8('pump 2.0.0 '.repeat(10_000))
  const signed = await plant.test.signed('cms', image)
  const release = await plant.release('2.0.0', {
    'pump.bin': { format: 'cms', octets: image },
    'pump.bin.p7s': { format: 'cms', octets: signed },
  })
  await plant.campaign('spring', release, [own])
  const here = ddiClient({
    ...{ server: plant.origin, tenant: TENANT, controllerId: own.serial, timeoutSeconds: 10 },
    tls: { ca: [testdata('server-root.pem')], cert: own.certificate, key: own.key },
  })
  t.after(() => here.close())
  const { links } = await here.poll()
  const { chunks, action, update } = await here.deployment(links['deploymentBase'] ?? '')
  assert.equal(update, 'forced')
  const artifacts = new Map(chunks[0]?.artifacts.map((one) => [one.filename, one]))
  assert.deepEqual([...artifacts.keys()], ['pump.bin', 'pump.bin.p7s', 'director.cose', 'release.cose'])

  const device = session(plant, own)
  t.after(() => device.close())
  const at = (name: string): string => new URL(artifacts.get(name)?.href ?? '').pathname
  const statement = await device.get(at('director.cose'))
  const read = await readStatement(new Uint8Array(statement.body), {
    trust: plant.test.trust.director,
    at: new Date(plant.ca.context.world.clock.now()),
  })
  const { value } = read
  assert.deepEqual(
    [value.device.productSerial, value.version, value.action, value.owner.name],
    ['A-1', '2.0.0', String(action), 'ann'],
  )

  const head = await device.get(at('pump.bin'), {}, 'HEAD')
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, String(image.length), 0])
  const etag = head.headers['etag'] ?? ''
  const first = await device.get(at('pump.bin'), { range: 'bytes=0-49999' })
  const rest = await device.get(at('pump.bin'), { range: 'bytes=50000-', 'if-range': etag })
  assert.deepEqual([first.status, rest.status], [206, 206])
  assert.deepEqual(Buffer.concat([first.body, rest.body]), Buffer.from(image))

  const stranger = session(plant, other)
  t.after(() => stranger.close())
  assert.equal((await stranger.get(at('pump.bin'))).status, 403, 'another device may not even ask in its name')
  assert.equal((await stranger.get(at('pump.bin').replace('A-1', 'A-2'))).status, 404)
  const { links: none } = parsePoll((await stranger.get(pathOf('A-2'))).body)
  assert.deepEqual(none, { configData: `${plant.origin}${pathOf('A-2')}/configData` })
})

test('R33: a device whose certificate stops being usable gets nothing at its next poll, on the same connection', async (t) => {
  const plant = await updatePlant(t)
  const own = await plant.device('A-1')
  const image = utf8('pump 2.0.0')
  const release = await plant.release('2.0.0', {
    'pump.bin': { format: 'cms', octets: image },
    'pump.bin.p7s': { format: 'cms', octets: await plant.test.signed('cms', image) },
  })
  await plant.campaign('spring', release, [own])
  const device = session(plant, own)
  t.after(() => device.close())
  const polled = await device.get(pathOf('A-1'))
  const link = new URL(parsePoll(polled.body).links['deploymentBase'] ?? '').pathname
  assert.equal((await device.get(link)).status, 200)
  await setFlag(plant.all.devices, own.id, { flag: 'stolen', isSet: true, actor: person })
  for (const path of [pathOf('A-1'), link]) {
    const refused = await device.get(path)
    assert.equal(refused.status, 403)
    assert.equal((JSON.parse(refused.body.toString()) as { errorCode: string }).errorCode, 'deviceMissing')
  }
  assert.equal(device.ports.size, 1, 'it was the same connection all the time')
  await setFlag(plant.all.devices, own.id, { flag: 'stolen', isSet: false, actor: person })
  assert.equal((await device.get(link)).status, 200)
})

test('R4: without a certificate, or with that of another, nobody is let in', async (t) => {
  const plant = await updatePlant(t)
  const own = await plant.device('A-1')
  const nobody = session(plant, { certificate: '', key: '' })
  t.after(() => nobody.close())
  assert.equal((await nobody.get(pathOf('A-1'))).status, 401)
  assert.equal((await nobody.get(pathOf('A-1'), { authorization: 'TargetToken 0123456789abcdef0123' })).status, 401)
  const device = session(plant, own)
  t.after(() => device.close())
  assert.equal((await device.get(pathOf('A-9'))).status, 403)
  assert.equal((await device.get(pathOf('A-1').replace(TENANT, 'elsewhere'))).status, 404)
})
