/** MCUboot's own tool takes what we sign, and we what it signs (R9, R11). @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith } from '#signing/artifact/testing.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { cases, firmware, options, signerFor } from '../interop/mcuboot.ts'
import { needsExtra } from './programs.ts'
import { scratch } from '../interop/scratch.ts'

const { skip, path } = needsExtra('imgtool')
const { keep } = scratch('imgtool')

const imgtool = (...words: readonly string[]): string => execFileSync(path, words, { encoding: 'utf8', stdio: 'pipe' })

for (const [id, algorithm, more] of cases) {
  test(`R9: ${id} ${Object.values(more).join('')}`, { skip }, async () => {
    const signer = await signerFor(id, algorithm)
    const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }), '.pem')
    const { octets } = await signedWith(mcuboot, bytesSource(firmware), signer, { ...options, ...more })
    imgtool('verify', '-k', key, keep(octets, '.bin'))
    const sha = more['digest'] === undefined ? [] : ['--sha', '512']
    const [raw, out] = [keep(firmware, '.bin'), keep('', '.bin')]
    const stated = ['-v', '2.7.1+9', '-s', 'auto', '-H', '0x200', '-L', '0x20000000', '-S', '0x8000', '--pad-header']
    imgtool('sign', '-k', key, ...sha, ...stated, raw, out)
    const theirs = new Uint8Array(readFileSync(out))
    assert.equal(await judged(mcuboot, theirs, { certificates: signer.answering.certificates }), 'valid')
    const signedOctets = 512 + firmware.length + 12
    assert.deepEqual(octets.subarray(0, signedOctets), theirs.subarray(0, signedOctets))
    const changed = keep(octets.with(700, (octets[700] as number) ^ 1), '.bin')
    assert.throws(() => imgtool('verify', '-k', key, changed))
  })
}
