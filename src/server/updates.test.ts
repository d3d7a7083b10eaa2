/** Releases over REST, and what the server tells the rooms of updates about devices: true, and as the schemas promise. @module */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { encodePEM } from '#asn1/pem.ts'
import { listAuditEntries } from '#audit/log.ts'
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { testCA, testKey } from '#ca/testing.ts'
import { decryptEnvelope } from '#cms/decrypt.ts'
import { parseEnvelope } from '#cms/enveloped-data.ts'
import { openerKey } from '#cms/key-objects.ts'
import { describeDevice } from '#devices/described.ts'
import { keep } from '#store/batch.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { listInstalled } from '#updates/installed.ts'
import { engineer, once, openTestUpdates, testDevice, updateTestMigrations } from '#updates/testing.ts'
import { fingerprint } from '#x509/certificate.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { devicePlant } from './device-testing.ts'
import { releaseRoutes } from './rest/releases.ts'
import { octetsOfAnswer, type Route } from './rest/route.ts'
import { campaignReleases, softwareReports } from './updates.ts'

type Fields = Record<string, unknown>

test('R11, R12: a release over REST: files, an envelope, two people, publication, what a device is told, and withdrawal', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-releases-'))
  const db = sqlite({ path: join(directory, 'releases.db') })
  try {
    const world = systemWorld()
    await migrate(db, updateTestMigrations, world)
    await using plant = await openTestUpdates(db, world)
    const access = { nameOf: async () => 'Rita', findPrincipal: async () => ({ name: 'Rita' }) } as never
    const routes = releaseRoutes({ updates: plant.updates, access }) as unknown as readonly Route[]
    const call = async (
      id: string,
      input: { params?: Fields; query?: Fields; body?: Fields } = {},
      file?: Uint8Array,
    ): Promise<Fields> => {
      const route = routes.find((one) => one.id === id) ?? assert.fail(id)
      const upload = file && { octets: file.length, read: () => once(file), idempotencyKey: undefined, prefersAsync: false }
      const principal = { id: 'rita', kind: 'person', roles: ['release-engineer'] } as never
      const caller = { actor: engineer.actor, principal, requestId: 'r', ...(upload && { upload }) }
      const answer = await route.handle(caller, { params: {}, query: {}, body: {}, ...input })
      const stream = octetsOfAnswer(answer)
      if (stream !== undefined) return { octets: Buffer.concat(await Array.fromAsync(stream.read())) }
      assert.ok(Compile(route.response as TSchema).Check(answer), `${id} answers ${JSON.stringify(answer)}`)
      return answer as Fields
    }

    const body = { component: 'motor', version: '4.2.0', models: [{ model: 'acme/engine-a', revisions: ['r1'] }] }
    const { id } = await call('createRelease', { body })
    const params = { id }
    const image = utf8('motor 4.2.0')
    const query = { format: 'cms', signer: 'acme-firmware' }
    await call('addReleaseArtifact', { params, query: { ...query, name: 'motor.bin' } }, image)
    await assert.rejects(call('addReleaseArtifact', { params, query: { ...query, name: 'motor.bin.p7s' } }, utf8('none')))
    await call('addReleaseArtifact', { params, query: { ...query, name: 'motor.bin.p7s' } }, await plant.signed('cms', image))
    const bill = utf8(JSON.stringify({ spdxVersion: 'SPDX-2.3', packages: [] }))
    const { sbom } = await call('attachReleaseSBOM', { params }, bill)
    assert.deepEqual((await call('fetchReleaseFile', { params: { id, digest: sbom } }))['octets'], Buffer.from(bill))
    const { certificate, privateKey } = await reader()
    const [{ digest } = { digest: '' }] = (await call('showRelease', { params }))['artifacts'] as { digest: string }[]
    const pem = utf8(encodePEM('CERTIFICATE', certificate))
    const { octets } = (await call('sealReleaseFile', { params: { id, digest } }, pem)) as { octets: Buffer }
    const opener = { type: 'privateKey', certificate, key: openerKey(privateKey) } as const
    const { content } = await decryptEnvelope(parseEnvelope(new Uint8Array(octets)), opener, world.random)
    assert.deepEqual([content, octets.includes(image)], [image, false])
    const filter = { act: 'release.seal' }
    const { entries } = await listAuditEntries(db, { organizationId: 'default', limit: 9, filter })
    assert.deepEqual(
      entries.map(({ facts }) => facts),
      [{ digest, recipients: fingerprint(certificate).toHex() }],
    )
    await assert.rejects(call('sealReleaseFile', { params: { id, digest: sbom } }, pem), { reason: 'releaseFileUnknown' })
    await assert.rejects(call('fetchReleaseFile', { params: { id, digest: 'a'.repeat(64) } }), { reason: 'releaseFileUnknown' })
    await assert.rejects(call('fetchReleaseManifest', { params }), { reason: 'releaseState' })
    assert.equal((await call('approveRelease', { params }))['state'], 'waiting')
    await plant.approveAll()
    assert.equal((await call('approveRelease', { params }))['state'], 'approved')
    assert.equal((await call('publishRelease', { params, body: { signer: 'acme-releases' } }))['state'], 'published')
    assert.ok(((await call('fetchReleaseManifest', { params }))['octets'] as Uint8Array).length > 200)

    const releases = campaignReleases(plant.updates)
    const device = testDevice('a-1')
    plant.devices.set(device.id, device)
    const known = await releases.open(id as string)
    assert.deepEqual([known.component, known.version, known.artifacts.length], ['motor', '4.2.0', 2])
    const order = { releaseId: known.id, deviceId: device.id, kind: 'install', action: 17, consent: undefined } as const
    const { files } = await releases.direct(order)
    assert.deepEqual(
      files.map(({ name }) => name),
      ['director.cose', 'release.cose'],
    )
    const { items } = (await call('listDeviceStatements', { params: { id: device.id } })) as { items: Fields[] }
    assert.deepEqual([items[0]?.['action'], items[0]?.['kind'], items[0]?.['release']], ['17', 'install', id])
    const { items: listed } = (await call('listReleases', { query: { state: 'published' } })) as { items: Fields[] }
    assert.equal(listed.length, 1)

    await call('withdrawRelease', { params, body: { reason: 'it stalls' } })
    assert.deepEqual(
      [(await call('showRelease', { params }))['state'], (await call('showRelease', { params }))['reason']],
      ['withdrawn', 'it stalls'],
    )
    await assert.rejects(releases.open(id as string), { reason: 'releaseState' })
    await assert.rejects(releases.direct(order), (error) => asTrustError(error).reason === 'releaseState')
  } finally {
    rmSync(directory, { recursive: true })
  }
})

/** A certificate of a key that is for nothing else than to agree on keys. */
async function reader() {
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  const subjectPublicKeyInfo = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const extensions = [extensionWith(keyUsage, ['keyAgreement'])]
  return { privateKey, certificate: await makeCertificate(makeKey(), { subjectPublicKeyInfo, extensions }) }
}

test('R12: a device is described as its records have it, and its report is what it runs', async () => {
  await using ca = await testCA()
  const plant = await devicePlant(ca)
  const idevid = await plant.enroll(plant.births, 'A-1')
  const born = await plant.device('A-1')
  const { devices } = plant
  const known = await describeDevice(devices, born.id)
  assert.deepEqual(
    [known.manufacturer, known.model, known.productSerial, known.owner, known.epoch],
    ['maker', 'pump', 'A-1', undefined, 0],
  )
  assert.equal(known.birthKey?.length, 32)
  assert.equal(known.isInUse, false)
  await plant.act('A-1', 'release', 'ship', 'offer', 'claim')
  await plant.enroll(plant.paint, 'A-1', { shown: idevid, key: testKey() })
  const used = await describeDevice(devices, born.id)
  assert.deepEqual([used.owner, used.epoch, used.area, used.isInUse], ['ann', 1, 'paint', true])
  await assert.rejects(describeDevice(devices, 'nobody'), { reason: 'deviceUnknown' })

  const software = softwareReports(devices)
  const component = { name: 'motor', version: '1.0', digest: 'a'.repeat(64) }
  assert.equal(await software.isDirected(born.id, component), false)
  await keep(devices.db, await software.stepsToRecord(born, [component], true))
  const [running] = await listInstalled(devices, born.id)
  assert.deepEqual([running?.component, running?.version, running?.source], ['motor', '1.0', 'attested'])
})
