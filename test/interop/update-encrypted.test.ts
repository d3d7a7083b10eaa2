/** Encrypted archives with Debian's swupdate, as it is: what we encrypt it opens with the key that we made, and with no other. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, root, signedWith, trialSigner } from '#signing/artifact/testing.ts'
import { swupdate } from '#signing/formats/swupdate.ts'
import { encodeKeyFile, encryptSWUpdate, SWUPDATE_KEY_OCTETS } from '#updates/encryption/swupdate.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const tools = needs('swupdate', 'cpio')
const { folder, keep } = scratch('encrypted')
/** The same at each run: one in 256 wrong keys finds a padding, and swupdate says no more than that. */
const random = { octets: (count: number) => new Uint8Array(count).fill(0x5a) }
const key = new Uint8Array(SWUPDATE_KEY_OCTETS).fill(7)

const image = new Uint8Array(
  createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(300_001)),
)
const notes = utf8('press 7 presses softer\n')
const digest = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex')

/** @param place where it goes when it is installed */
async function archive(place: string, form: string): Promise<Uint8Array> {
  const inside = mkdtempSync(join(folder, 'cpio-'))
  const files = `{ filename = "firmware.bin"; path = "${place}"; sha256 = "${digest(image)}"; }, { filename = "notes.txt"; path = "${place}.txt"; sha256 = "${digest(notes)}"; }`
  const text = `software = { version = "2.0.0"; description = "a \\"press\\""; pump: { hardware-compatibility: [ "1.0" ]; files: ( ${files} ); }; }\n`
  for (const [name, content] of [
    ['sw-description', text],
    ['firmware.bin', image],
    ['notes.txt', notes],
  ] as const)
    writeFileSync(join(inside, name), content)
  const list = 'sw-description\\nfirmware.bin\\nnotes.txt\\n'
  await run('/bin/sh', ['-c', `printf '${list}' | ${tools.path('cpio')} -o -H ${form} > out.swu`], { cwd: inside })
  return new Uint8Array(readFileSync(join(inside, 'out.swu')))
}

async function encrypt(octets: Uint8Array, key: Uint8Array): Promise<Uint8Array> {
  const encrypted = await encryptSWUpdate(bytesSource(octets), secret(key), random)
  const whole = concat(await Array.fromAsync(encrypted.read()))
  assert.equal(whole.length, encrypted.octets)
  return whole
}

const keyring = keep(encodePEM('CERTIFICATE', root))

/** Installs it. */
async function swupdateTakes(octets: Uint8Array, key: Uint8Array): Promise<void> {
  const inside = mkdtempSync(join(folder, 'run-'))
  const file = keep(octets, '.swu')
  const args = [
    '-i',
    file,
    '-k',
    keyring,
    '--cert-purpose',
    'codeSigning',
    '-H',
    'pump:1.0',
    '-K',
    keep(encodeKeyFile(key)),
    '-M',
    '-m',
  ]
  await run(tools.path('swupdate'), args, { cwd: inside, env: { ...process.env, TMPDIR: inside } }).catch((error: unknown) => {
    // it asks itself once a second how it stands, and may find itself waiting for the next one
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    if (!/SWUPDATE successful/.test(stdout + stderr)) throw new Error(`${stdout}${stderr}`, { cause: error })
  })
}

describe('R12: encrypted archives with swupdate', { skip: tools.skip, concurrency: true }, () => {
  for (const form of ['crc', 'newc'])
    test(`swupdate decrypts and installs what we encrypted and signed (${form})`, async () => {
      const place = join(folder, `installed-${form}.bin`)
      const hidden = await encrypt(await archive(place, form), key)
      assert.equal(Buffer.from(hidden).indexOf(image.subarray(1000, 1032)), -1, 'nothing of it is in the clear')
      assert.equal(Buffer.from(hidden).indexOf(notes), -1)
      const { octets } = await signedWith(swupdate, bytesSource(hidden), await trialSigner('ecdsa-p256'))
      assert.equal(await judged(swupdate, octets), 'valid')
      await swupdateTakes(octets, key)
      assert.equal(digest(readFileSync(place)), digest(image))
      assert.equal(readFileSync(`${place}.txt`, 'utf8'), 'press 7 presses softer\n')
    })

  test('another key, and a changed octet, install nothing', async () => {
    const place = join(folder, 'never.bin')
    const { octets } = await signedWith(
      swupdate,
      bytesSource(await encrypt(await archive(place, 'crc'), key)),
      await trialSigner('ecdsa-p256'),
    )
    await assert.rejects(swupdateTakes(octets, key.with(0, 8)))
    const at = octets.length - 100_000
    await assert.rejects(swupdateTakes(octets.with(at, (octets[at] as number) ^ 1), key))
  })
})
