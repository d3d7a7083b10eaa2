/**
 * Firmware for MCUboot, read by a reader written from its design document on Debian's cryptography, and by imgtool where
 * it is installed (it is in PyPI, not in Debian: `pip install imgtool`). What imgtool signed is in
 * `src/signing/formats/testdata`, and is made again there octet by octet.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { encodePEM } from '#asn1/pem.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith, type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'sealworks-mcuboot-'))
after(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
function keep(content: Uint8Array | string, suffix = ''): string {
  const path = join(folder, `${++files}${suffix}`)
  writeFileSync(path, content)
  return path
}
const python = needs('python3', 'python3-cryptography')
const reader = join(import.meta.dirname, 'testdata', 'mcuboot.py')
const imgtool = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((one) => join(one, 'imgtool'))
  .find(isThere)

function isThere(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const firmware = Uint8Array.from({ length: 4099 }, (_, i) => (i * i) >>> 3)
const options = { version: '2.7.1+9', headerSize: '0x200', securityCounter: 'auto', loadAddress: '0x20000000' }
const publicKeyOf = ({ answering }: TrialSigner): string => keep(encodePEM('PUBLIC KEY', answering.key.publicKey), '.pem')

/** @returns a line for each */
async function pythonReads(images: readonly (readonly [Uint8Array, TrialSigner])[]): Promise<readonly string[]> {
  const args = images.flatMap(([octets, signer]) => [keep(octets, '.bin'), publicKeyOf(signer)])
  return (await run(python.path('python3'), [reader, ...args])).stdout.trim().split('\n')
}

const cases: readonly (readonly [Parameters<typeof trialSigner>[0], SignatureAlgorithmId, Readonly<Record<string, string>>])[] = [
  ['rsa-2048', 'rsa-pss-sha256', {}],
  ['rsa-3072', 'rsa-pss-sha256', {}],
  ['ecdsa-p256', 'ecdsa-sha256', {}],
  ['ecdsa-p384', 'ecdsa-sha384', {}],
  ['ed25519', 'ed25519', {}],
  ['ed25519', 'ed25519', { digest: 'sha512' }],
]
async function signerFor(id: Parameters<typeof trialSigner>[0], signatureAlgorithm: SignatureAlgorithmId): Promise<TrialSigner> {
  const made = await trialSigner(id)
  return { ...made, answering: { ...made.answering, signatureAlgorithm } }
}

describe('R9: a reader of the design document takes what we sign', { skip: python.skip }, () => {
  for (const [id, algorithm, more] of cases) {
    test(`${id} ${Object.values(more).join('')}`, async () => {
      const signer = await signerFor(id, algorithm)
      const { octets } = await signedWith(mcuboot, bytesSource(firmware), signer, { ...options, ...more })
      assert.equal(await judged(mcuboot, octets, { certificates: signer.answering.certificates }), 'valid')
      const places = [5, 600, 512 + firmware.length + 9, octets.length - 300, octets.length - 3]
      const broken = places.map((at) => octets.with(at, (octets[at] as number) ^ 0x01))
      for (const one of broken)
        assert.notEqual(await judged(mcuboot, one, { certificates: signer.answering.certificates }), 'valid')
      const [taken, ...others] = await pythonReads([
        [octets, signer],
        [octets, await signerFor(id, algorithm)],
        ...broken.map((one) => [one, signer] as const),
      ])
      // counter, version, address, and that it is copied there
      assert.equal(taken, 'taken 50=01000702 2 7 1 9 20000000 20')
      assert.equal(others.length, 1 + places.length)
      for (const other of others) assert.match(other, /^refused/)
    })
  }
})

const skip = imgtool === undefined ? 'needs imgtool: pip install imgtool' : false
describe('R9: imgtool takes what we sign, and we what it signs', { skip }, () => {
  for (const [id, algorithm, more] of cases) {
    test(`${id} ${Object.values(more).join('')}`, async () => {
      const signer = await signerFor(id, algorithm)
      const beside = { certificates: signer.answering.certificates }
      const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }), '.pem')
      const { octets } = await signedWith(mcuboot, bytesSource(firmware), signer, { ...options, ...more })
      await run(imgtool ?? '', ['verify', '-k', key, keep(octets, '.bin')])
      const sha = more['digest'] === undefined ? [] : ['--sha', '512']
      const [raw, out] = [keep(firmware, '.bin'), join(folder, `${++files}.bin`)]
      const args = ['sign', '-k', key, ...sha, '-v', '2.7.1+9', '-s', 'auto', '-H', '0x200', '-L', '0x20000000', '-S', '0x8000']
      await run(imgtool ?? '', [...args, '--pad-header', raw, out])
      const theirs = new Uint8Array(readFileSync(out))
      assert.equal(await judged(mcuboot, theirs, beside), 'valid')
      const signedPart = 512 + firmware.length + 12 + 4
      assert.deepEqual(octets.subarray(0, signedPart - 4), theirs.subarray(0, signedPart - 4))
      await assert.rejects(run(imgtool ?? '', ['verify', '-k', key, keep(octets.with(700, (octets[700] as number) ^ 1), '.bin')]))
    })
  }
})
