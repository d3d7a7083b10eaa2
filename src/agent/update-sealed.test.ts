/** Files in envelopes: the device that they are for installs them from a stick, and nobody on the way reads them. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import { AT } from '#signing/artifact/testing.ts'
import { recipientsIn, seal } from '#updates/encryption/sealed.ts'
import { writeStick } from '#updates/stick/write.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { bornDevice, type DeviceFile, makers, scratch, started, updateFor } from './testing.ts'
import { updateFrom } from './update-stick.ts'

const { random, faults } = systemWorld()
const by = await makers()
const file: DeviceFile = { manufacturer: 'acme', model: 'engine-a', revision: 'r2', owner: { name: 'north', epoch: 2 } }
const image = utf8('motor 1, which nobody is to read on its way')

interface Reader {
  readonly pem: string
  readonly key: string
}

/** A certificate for encryption, of a key that is for nothing else. */
async function reader(usage: 'keyAgreement' | 'digitalSignature' = 'keyAgreement'): Promise<Reader> {
  const issuer = makeKey()
  const { privateKey, publicKey } = generateKeyPairSync('x25519')
  const subjectPublicKeyInfo = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
  const serialNumber = random.octets(8).with(0, 1)
  const extensions = [extensionWith(keyUsage, [usage])]
  const certificate = await makeCertificate(issuer, { subjectPublicKeyInfo, serialNumber, extensions })
  return { pem: encodePEM('CERTIFICATE', certificate), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }
}

interface Trip {
  readonly stick: string
  readonly artifacts: string
  arrives(): Promise<string>
  running(): string
}

/** @param recipients whom the server encrypts for @param own what the device opens with */
async function trip(t: TestContext, recipients: readonly Reader[], own: Reader | undefined): Promise<Trip> {
  const place = scratch(t)
  const slots = join(place, 'slots')
  const born = await bornDevice(place, by, { serial: 'P-1', file, components: [] })
  const agent = started(t, born)
  const components = [{ name: 'motor', installer: 'file', slots }]
  const decryption = { certificate: join(place, 'reader.pem'), key: join(place, 'reader.key') }
  if (own !== undefined) {
    writeFileSync(decryption.certificate, own.pem)
    writeFileSync(decryption.key, own.key)
  }
  const settings = { components, ...(own !== undefined && { decryption }) }
  agent.directory.write('updates.json', JSON.stringify(settings), 'test')
  const update = await updateFor(by, born, file, { image, counter: 1, sequence: 1 })
  const stick = join(place, 'stick')
  mkdirSync(stick)
  await writeStick(stick, {
    papers: [update],
    async fetch(digest) {
      const octets = update.files.get(digest) ?? assert.fail(digest)
      const content = { octets: octets.length, read: () => once(octets) }
      const sealed = await seal(content, recipientsIn(recipients.map(({ pem }) => pem).join('')), random)
      const pieces = await Array.fromAsync(sealed.read())
      assert.equal(Buffer.concat(pieces).length, sealed.octets)
      return once(new Uint8Array(Buffer.concat(pieces)))
    },
    ...{ sealedFor: 'north', now: AT.getTime(), faults },
  })
  return {
    stick,
    artifacts: join(stick, 'artifacts'),
    async arrives() {
      const [ended] = await updateFrom(agent.device, stick)
      return ended === undefined || ended === 'restarting' ? 'restarting' : ended.reason === '' ? ended.result : ended.reason
    },
    running: () => readFileSync(join(slots, 'current', 'image'), 'latin1'),
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}

test('R12: the device that it is for opens it; on the stick nothing is in the clear', async (t) => {
  const [north, south] = [await reader(), await reader()]
  const { artifacts, arrives, running } = await trip(t, [south, north], north)
  const names = readdirSync(artifacts)
  assert.equal(names.length, 2)
  for (const name of names) {
    assert.match(name, /^[0-9a-f]{64}\.north\.p7m$/)
    assert.equal(readFileSync(join(artifacts, name)).indexOf('nobody is to read'), -1)
  }
  assert.equal(await arrives(), 'installed')
  assert.equal(running(), Buffer.from(image).toString())
})

test('another device, one without a key, and one whose envelope was changed install nothing', async (t) => {
  const [north, south] = [await reader(), await reader()]
  assert.equal(await (await trip(t, [south], north)).arrives(), 'cmsNoRecipient')
  assert.equal(await (await trip(t, [south], undefined)).arrives(), 'updateSealed')
  const { artifacts, arrives } = await trip(t, [north], north)
  for (const name of readdirSync(artifacts)) {
    const octets = readFileSync(join(artifacts, name))
    octets.writeUInt8(octets.readUInt8(octets.length - 20) ^ 1, octets.length - 20)
    writeFileSync(join(artifacts, name), octets)
  }
  assert.equal(await arrives(), 'cmsNotOpened')
})

test('nothing is encrypted for a key that only signs, for nobody, or for a crowd', async (t) => {
  const signer = await reader('digitalSignature')
  await assert.rejects(trip(t, [signer], signer), { code: 'policyRefused' })
  assert.throws(() => recipientsIn('none'), { reason: 'sealNobody' })
  const { pem } = await reader()
  assert.throws(() => recipientsIn(pem.repeat(65)), { reason: 'sealRecipients' })
})
