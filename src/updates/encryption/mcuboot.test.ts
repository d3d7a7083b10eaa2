/** What imgtool encrypted is opened, and what is encrypted here is read by the design document alone. @module */
import assert from 'node:assert/strict'
import {
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { encodeEntries, type ImageEntry, parseMCUboot } from '#signing/artifact/mcuboot-image.ts'
import { judged, octetsIn, signedWith, trialSigner } from '#signing/artifact/testing.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { decryptMCUboot, encryptMCUboot, type MadeImage, parseImageKey, parseRecipient } from './mcuboot.ts'

interface Vectors {
  readonly firmware: string
  readonly images: readonly Record<'recipient' | 'privateKey' | 'signer' | 'image', string>[]
}
/** imgtool sign -k key -E recipient -v 1.2.3+4 -s 7 -H 0x40 --pad-header -S 0x8000 -d '(1,2.0.1+0)', of imgtool 2.5.0. */
const vectors = JSON.parse(readFileSync(join(import.meta.dirname, 'testdata', 'imgtool.json'), 'utf8')) as Vectors
const firmware = Uint8Array.fromBase64(vectors.firmware)
const options = { version: '1.2.3+4', securityCounter: '7', headerSize: '0x40', encryption: 'aes-128' }
const imageKey = new Uint8Array(16).fill(9)
const random = { octets: (count: number) => imageKey.slice(0, count) }

const pemOf = (key: KeyObject): string => key.export({ type: key.type === 'private' ? 'pkcs8' : 'spki', format: 'pem' })
const read = async (made: MadeImage): Promise<Uint8Array> => {
  const octets = concat(await Array.fromAsync(made.read()))
  assert.equal(octets.length, made.octets)
  return octets
}
const encrypted = async (octets: Uint8Array, pem: string): Promise<Uint8Array> =>
  read(await encryptMCUboot(bytesSource(octets), parseRecipient(pem), random))
const decrypted = async (octets: Uint8Array, pem: string): Promise<Uint8Array> =>
  read(await decryptMCUboot(bytesSource(octets), parseImageKey(pem)))

for (const { recipient, privateKey, signer, image } of vectors.images)
  test(`R12: what imgtool encrypts for ${recipient} is opened, and is what we sign of the same firmware`, async () => {
    const certificate = await makeCertificate(makeKey(), { subjectPublicKeyInfo: Uint8Array.fromBase64(signer) })
    const theirs = Uint8Array.fromBase64(image)
    const plain = await decrypted(theirs, encodePEM('PRIVATE KEY', Uint8Array.fromBase64(privateKey)))
    const signatureAlgorithm = recipient === 'x25519' ? 'ed25519' : 'ecdsa-sha256'
    const choices = {
      certificates: [certificate],
      signatureAlgorithm,
      options: { ...options, dependencies: '(1,2.0.1+0)' },
    } as const
    const source = bytesSource(firmware)
    const { attach } = await mcuboot.toBeSigned(source, choices)
    const signature = (await parseMCUboot(bytesSource(plain))).entries?.at(-1)?.value ?? assert.fail()
    assert.deepEqual(await octetsIn(source, attach([signature]).pieces), plain)
  })

const signer = await trialSigner('ecdsa-p256')
const beside = { certificates: signer.answering.certificates }
const { octets: signed } = await signedWith(mcuboot, bytesSource(firmware), signer, options)

const kinds = [
  { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }), kind: 'P-256', type: 0x32, point: 65, head: 26 },
  { ...generateKeyPairSync('x25519'), kind: 'X25519', type: 0x33, point: 32, head: 12 },
]
for (const { kind, publicKey, privateKey, type, point, head } of kinds)
  test(`R12: firmware for a key on ${kind} is encrypted as MCUboot's design has it, and its signature is over the plain one`, async () => {
    const made = await encrypted(signed, pemOf(publicKey))
    const { body, entries = [] } = await parseMCUboot(bytesSource(made))
    const entry = entries.at(-1) ?? assert.fail()
    assert.deepEqual([entry.type, entry.value.length, body.length % 16], [type, point + 48, 0])
    const spki = Buffer.concat([
      publicKey.export({ type: 'spki', format: 'der' }).subarray(0, head),
      entry.value.subarray(0, point),
    ])
    const shared = diffieHellman({ privateKey, publicKey: createPublicKey({ key: spki, type: 'spki', format: 'der' }) })
    const keys = Buffer.from(hkdfSync('sha256', shared, '', 'MCUBoot_ECIES_v1', 48))
    const sealed = entry.value.subarray(point + 32)
    const mac = createHmac('sha256', keys.subarray(16)).update(sealed).digest('hex')
    assert.equal(mac, entry.value.subarray(point, point + 32).toHex())
    const key = createDecipheriv('aes-128-ctr', keys.subarray(0, 16), Buffer.alloc(16)).update(sealed)
    assert.deepEqual(new Uint8Array(key), imageKey)
    const hidden = made.subarray(body.offset, body.offset + body.length)
    const plain = createDecipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(hidden)
    assert.deepEqual(new Uint8Array(plain.subarray(0, firmware.length)), firmware)
    assert.notDeepEqual(hidden.subarray(0, 32), firmware.subarray(0, 32))

    assert.equal(await judged(mcuboot, made, beside), 'unsupported imageEncrypted')
    await assert.rejects(signedWith(mcuboot, bytesSource(made), signer), { reason: 'imageEncrypted' })
    const opened = await decrypted(made, pemOf(privateKey))
    assert.deepEqual(opened, signed)
    assert.equal(await judged(mcuboot, opened, beside), 'valid')
  })

test('R31: an octet of the firmware that was changed is found, though it opens; one of the entry does not open', async () => {
  const [{ publicKey, privateKey }] = kinds as [(typeof kinds)[0]]
  const made = await encrypted(signed, pemOf(publicKey))
  const { body, signed: covered, entries = [] } = await parseMCUboot(bytesSource(made))
  const flip = (at: number) => made.with(at, (made[at] as number) ^ 1)
  assert.match(await judged(mcuboot, await decrypted(flip(body.offset + 20), pemOf(privateKey)), beside), /^invalid rawSignature/)
  for (const back of [1, 17, 60, 112])
    await assert.rejects(decrypted(flip(made.length - back), pemOf(privateKey)), { reason: 'imageNotOpened' })
  const withEntries = (...changed: readonly ImageEntry[]) => concat([made.subarray(0, covered.length), encodeEntries(changed)])
  const entry = entries.at(-1) ?? assert.fail()
  const short = { ...entry, value: entry.value.subarray(1) }
  await assert.rejects(decrypted(withEntries(...entries.slice(0, -1), short), pemOf(privateKey)), { reason: 'imageNotOpened' })
  await assert.rejects(decrypted(withEntries(...entries, entry), pemOf(privateKey)), { reason: 'imageNotEncrypted' })
  assert.match(await judged(mcuboot, withEntries(...entries.slice(0, -1)), beside), /^invalid rawSignature/)
  for (const other of [kinds[1]?.privateKey, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey])
    await assert.rejects(decrypted(made, pemOf(other as KeyObject)), { reason: 'imageNotOpened' })
})

test('a point of small order is no key', async () => {
  const { publicKey, privateKey } = kinds[1] ?? assert.fail()
  const made = await encrypted(signed, pemOf(publicKey))
  await assert.rejects(decrypted(made.fill(0, made.length - 80, made.length - 48), pemOf(privateKey)), {
    reason: 'imageNotOpened',
  })
})

test('what devices would not decrypt is refused: signed for no encryption, not signed, encrypted already, filled up', async () => {
  const pem = pemOf((kinds[0] ?? assert.fail()).publicKey)
  const { octets: other } = await signedWith(mcuboot, bytesSource(firmware), signer, { ...options, encryption: 'none' })
  const { signed: covered } = await parseMCUboot(bytesSource(signed))
  for (const octets of [other, signed.subarray(0, covered.length)])
    await assert.rejects(encrypted(octets, pem), { reason: 'imageNotForEncryption' })
  await assert.rejects(encrypted(await encrypted(signed, pem), pem), { reason: 'artifactEncrypted' })
  await assert.rejects(encrypted(concat([signed, new Uint8Array(4)]), pem), { reason: 'imageFilled' })
  await assert.rejects(decrypted(signed, pemOf((kinds[0] ?? assert.fail()).privateKey)), { reason: 'imageNotEncrypted' })
})

test('keys that MCUboot does not decrypt with are refused', () => {
  const others = [generateKeyPairSync('ed25519'), generateKeyPairSync('ec', { namedCurve: 'P-384' })]
  for (const pem of [...others.map(({ publicKey }) => pemOf(publicKey)), '', 'x'.repeat(9000)])
    assert.throws(() => parseRecipient(pem), { reason: 'imageKey' })
  const publicOnly = pemOf((kinds[0] ?? assert.fail()).publicKey)
  assert.throws(() => parseImageKey(publicOnly), { reason: 'imageKey' })
  assert.equal(parseRecipient(pemOf(createPrivateKey(pemOf((kinds[1] ?? assert.fail()).privateKey)))).scheme.type, 0x33)
})
