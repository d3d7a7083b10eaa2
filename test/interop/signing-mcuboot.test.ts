/**
 * Firmware for MCUboot, read by a reader written from its design document on Debian's cryptography. What imgtool signed is in
 * `src/signing/formats/testdata`, and is made again there octet by octet; imgtool itself is asked in `test/extra`.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith, type TrialSigner } from '#signing/artifact/testing.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { cases, firmware, options, signerFor } from './mcuboot.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { keep } = scratch('mcuboot')

const python = needs('python3', 'python3-cryptography')
const reader = join(import.meta.dirname, 'testdata', 'mcuboot.py')
const publicKeyOf = ({ answering }: TrialSigner): string => keep(encodePEM('PUBLIC KEY', answering.key.publicKey), '.pem')

/** @returns a line for each */
async function pythonReads(images: readonly (readonly [Uint8Array, TrialSigner])[]): Promise<readonly string[]> {
  const args = images.flatMap(([octets, signer]) => [keep(octets, '.bin'), publicKeyOf(signer)])
  return (await run(python.path('python3'), [reader, ...args])).stdout.trim().split('\n')
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
