/** MCUboot's own tool takes what we sign, and we what it signs (R9, R11). @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith } from '#signing/artifact/testing.ts'
import { mcuboot } from '#signing/formats/mcuboot.ts'
import { decryptMCUboot, encryptMCUboot, parseImageKey, parseRecipient } from '#updates/encryption/mcuboot.ts'
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

const recipients = [
  ['ecdsa-p256', 'ecdsa-sha256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ['ed25519', 'ed25519', generateKeyPairSync('x25519')],
] as const
for (const [id, algorithm, { publicKey, privateKey }] of recipients)
  test(
    `R12: what imgtool encrypts (${privateKey.asymmetricKeyType}) is what we sign, and it takes what we decrypted`,
    { skip },
    async () => {
      const signer = await signerFor(id, algorithm)
      const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }), '.pem')
      const recipient = publicKey.export({ type: 'spki', format: 'pem' })
      const own = parseImageKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
      const decrypted = async (octets: Uint8Array) =>
        concat(await Array.fromAsync((await decryptMCUboot(bytesSource(octets), own)).read()))
      const random = { octets: (count: number) => new Uint8Array(count).fill(7) }

      const { octets } = await signedWith(mcuboot, bytesSource(firmware), signer, { ...options, encryption: 'aes-128' })
      imgtool('verify', '-k', key, keep(octets, '.bin'))
      const ours = concat(
        await Array.fromAsync((await encryptMCUboot(bytesSource(octets), parseRecipient(recipient), random)).read()),
      )
      assert.throws(() => imgtool('verify', '-k', key, keep(ours, '.bin')))
      assert.deepEqual(await decrypted(ours), octets)

      const [raw, out] = [keep(firmware, '.bin'), keep('', '.bin')]
      const stated = ['-v', '2.7.1+9', '-s', 'auto', '-H', '0x200', '-L', '0x20000000', '-S', '0x8000', '--pad-header']
      imgtool('sign', '-k', key, '-E', keep(recipient, '.pem'), ...stated, raw, out)
      const theirs = new Uint8Array(readFileSync(out))
      if (id === 'ed25519') assert.equal(theirs.length, ours.length) // ECDSA signatures differ in length
      const opened = await decrypted(theirs)
      imgtool('verify', '-k', key, keep(opened, '.bin'))
      assert.equal(await judged(mcuboot, opened, { certificates: signer.answering.certificates }), 'valid')
      const signedOctets = 512 + Math.ceil(firmware.length / 16) * 16 + 12
      assert.deepEqual(opened.subarray(0, signedOctets), octets.subarray(0, signedOctets))
    },
  )
