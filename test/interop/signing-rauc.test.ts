/**
 * Update bundles with RAUC itself, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, root, signedWith, type TrialSigner, trialSigner, verified } from '#signing/artifact/testing.ts'
import { rauc } from '#signing/formats/rauc.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const tools = needs('rauc', 'mksquashfs')
const { fresh, keep } = scratch('rauc')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

/** More blocks than one hash block holds hashes of, so that the tree has two levels. */
const image = new Uint8Array(
  createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(700_000)),
)
const manifest = (format?: string): string =>
  [
    '[update]\ncompatible=press-7\nversion=2027.05-1\n',
    ...(format === undefined ? [] : [`[bundle]\nformat=${format}\n`]),
    `[image.rootfs]\nsha256=${createHash('sha256').update(image).digest('hex')}\nsize=${image.length}\nfilename=rootfs.img\n`,
  ].join('\n')

function content(format?: string): string {
  const inside = fresh('.content')
  mkdirSync(inside)
  writeFileSync(join(inside, 'rootfs.img'), image)
  writeFileSync(join(inside, 'manifest.raucm'), manifest(format))
  return inside
}

async function squashfs(): Promise<Uint8Array> {
  const out = fresh('.squashfs')
  await run(tools.path('mksquashfs'), [content(), out, '-all-root', '-noD', '-noF', '-no-progress'])
  return read(out)
}

const keyring = keep(encodePEM('CERTIFICATE', root))
const conf = keep(
  `[system]\ncompatible=press-7\nbootloader=noop\n[keyring]\npath=${keyring}\ncheck-purpose=codesign\n[slot.rootfs.0]\ndevice=/dev/null\n`,
)

const filesOf = ({ privateKey, answering: { certificates } }: TrialSigner): readonly string[] => [
  `--cert=${keep(certificates.map((one) => encodePEM('CERTIFICATE', one)).join(''))}`,
  `--key=${keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))}`,
]

async function raucBundles(format: string, signer: TrialSigner): Promise<Uint8Array> {
  const out = fresh('.raucb')
  await run(tools.path('rauc'), ['bundle', ...filesOf(signer), content(format), out])
  return read(out)
}

async function raucResigns(octets: Uint8Array, signer: TrialSigner): Promise<Uint8Array> {
  const out = fresh('.raucb')
  const args = ['-c', conf, `--keyring=${keyring}`, 'resign', ...filesOf(signer), keep(octets, '.raucb'), out]
  await run(tools.path('rauc'), args)
  return read(out)
}

/** Its signature, and that it is for signing code. */
const raucSays = async (octets: Uint8Array): Promise<string> =>
  (await run(tools.path('rauc'), ['-c', conf, 'info', '--output-format=json', keep(octets, '.raucb')])).stdout

/** The whole of it: it hashes the tree too. */
const raucExtracts = async (octets: Uint8Array): Promise<unknown> =>
  run(tools.path('rauc'), ['-c', conf, 'extract', keep(octets, '.raucb'), fresh('.out')])

const flipped = (octets: Uint8Array, at: number): Uint8Array => octets.with(at, (octets[at] as number) ^ 0x01)
const nameOf = async (octets: Uint8Array): Promise<string | undefined> =>
  (await verified(rauc, octets)).signatures[0]?.signer?.der.toHex()

describe('R9, R11: bundles with rauc', { skip: tools.skip }, () => {
  let bare: Uint8Array
  before(async () => {
    bare = await squashfs()
  })

  for (const [id, signatureAlgorithm] of [
    ['rsa-2048', 'rsa-sha256'],
    ['rsa-2048', 'rsa-pss-sha512'],
    ['ecdsa-p256', 'ecdsa-sha256'],
    ['ecdsa-p384', 'ecdsa-sha384'],
  ] as const) {
    test(`rauc verifies what we sign with ${signatureAlgorithm}, and we verify what it signs`, async () => {
      const made = await trialSigner(id)
      const signer = { ...made, answering: { ...made.answering, signatureAlgorithm } }
      for (const options of [{}, { manifest: manifest() }, { manifest: manifest('verity') }]) {
        const { octets } = await signedWith(rauc, bytesSource(bare), signer, options)
        assert.equal(await judged(rauc, octets), 'valid')
        assert.match(await raucSays(octets), /"compatible":"press-7"/)
      }
      for (const format of ['plain', 'verity']) {
        assert.equal(await judged(rauc, await raucBundles(format, signer)), 'valid')
      }
    })
  }

  for (const format of ['plain', 'verity'] as const) {
    test(`${format}: signed again, by us and by rauc resign, the new signature replaces the old one`, async () => {
      const [first, second, third] = await Promise.all([1, 2, 3].map(() => trialSigner('ecdsa-p256')))
      if (first === undefined || second === undefined || third === undefined) return assert.fail()
      const theirs = await raucBundles(format, first)
      const { octets: ours } = await signedWith(rauc, bytesSource(theirs), second)
      assert.equal(await nameOf(ours), second.answering.certificates[0].toHex())
      await raucSays(ours)
      const again = await raucResigns(ours, third)
      assert.equal(await judged(rauc, again), 'valid')
      assert.equal(await nameOf(again), third.answering.certificates[0].toHex())
    })

    test(`${format}: one changed octet fails there and here`, async () => {
      const signer = await trialSigner('rsa-2048')
      const options = format === 'verity' ? { manifest: manifest() } : {}
      const ours = (await signedWith(rauc, bytesSource(bare), signer, options)).octets
      for (const octets of [ours, await raucBundles(format, signer)]) {
        for (const at of [8, 5000, 400_000, 700_000, octets.length - 5000, octets.length - 400, octets.length - 100]) {
          const broken = flipped(octets, at)
          assert.notEqual(await judged(rauc, broken), 'valid', `octet ${at}`)
          await assert.rejects(raucExtracts(broken), `octet ${at}`)
        }
      }
    })
  }

  test('a signer whose certificate is for something else is refused there and here', async () => {
    const signer = await trialSigner('rsa-2048', 'timeStamping')
    const { octets } = await signedWith(rauc, bytesSource(bare), signer)
    assert.notEqual(await judged(rauc, octets), 'valid')
    await assert.rejects(raucSays(octets))
  })

  test('without its signature nobody signed it, there and here', async () => {
    const signer = await trialSigner('rsa-2048')
    const { octets } = await signedWith(rauc, bytesSource(bare), signer)
    const stripped = octets.subarray(0, bare.length)
    assert.equal(await judged(rauc, stripped), 'unauthenticated artifactUnsigned')
    await assert.rejects(raucSays(stripped))
  })

  test('the plain signature of one bundle does not stand for another', async () => {
    const signer = await trialSigner('rsa-2048')
    const [one, other] = await Promise.all([raucBundles('plain', signer), raucBundles('verity', signer)])
    const tail = (octets: Uint8Array): Uint8Array =>
      octets.subarray(-8 - Number(new DataView(octets.buffer, octets.byteOffset).getBigUint64(octets.length - 8)))
    const swapped = concat([other.subarray(0, -tail(other).length), tail(one)])
    assert.notEqual(await judged(rauc, swapped), 'valid')
    await assert.rejects(raucSays(swapped))
  })
})
