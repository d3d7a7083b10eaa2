/**
 * Android packages with the tools of its kit, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith, type TrialSigner, trialSigner, verified } from '#signing/artifact/testing.ts'
import { apk } from '#signing/formats/apk.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'sealworks-apk-'))
after(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
function keep(content: Uint8Array | string, suffix = ''): string {
  const path = join(folder, `${++files}${suffix}`)
  writeFileSync(path, content)
  return path
}
const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const android = needs('aapt', 'apksigner')

let built: Uint8Array | undefined
/** Longer than a chunk of the digest. */
async function androidPackage(): Promise<Uint8Array> {
  if (built !== undefined) return built
  const raw = join(folder, 'raw')
  mkdirSync(raw)
  writeFileSync(join(raw, 'note.txt'), 'press 7 presses\n'.repeat(100))
  writeFileSync(
    join(raw, 'picture.png'),
    Uint8Array.from({ length: 1_500_000 }, (_, i) => (i * i) & 0xff),
  )
  const manifest = join(folder, 'AndroidManifest.xml')
  writeFileSync(manifest, '<manifest package="press.seven"><application/></manifest>\n')
  const out = join(folder, 'press.apk')
  await run(android.path('aapt'), ['package', '-M', manifest, '-F', out, raw])
  built = read(out)
  return built
}

const apksignerVerifies = async (octets: Uint8Array, since = '24'): Promise<{ stdout: string }> =>
  run(android.path('apksigner'), ['verify', '--min-sdk-version', since, '--verbose', '--print-certs', keep(octets, '.apk')])

async function apksignerSigns(
  octets: Uint8Array,
  { privateKey, answering }: TrialSigner,
  ...options: string[]
): Promise<Uint8Array> {
  const out = join(folder, `${++files}.apk`)
  const key = keep(privateKey.export({ type: 'pkcs8', format: 'der' }))
  const certificate = keep(encodePEM('CERTIFICATE', answering.certificates[0]))
  const args = ['--key', key, '--cert', certificate, '--min-sdk-version', '24', ...options, '--out', out, keep(octets, '.apk')]
  await run(android.path('apksigner'), ['sign', ...args])
  return read(out)
}

const fingerprintOf = async ({ answering }: TrialSigner): Promise<string> =>
  Buffer.from(await crypto.subtle.digest('SHA-256', new Uint8Array(answering.certificates[0]))).toString('hex')

/** Octets of entries, of the directory and of what ends the file. */
function changed(octets: Uint8Array): readonly Uint8Array[] {
  const directory = new DataView(octets.buffer, octets.byteOffset).getUint32(octets.length - 6, true)
  return [60, 1_000_000, directory + 12, directory + 60].map((at) => octets.with(at, (octets[at] as number) ^ 0x01))
}

for (const id of ['rsa-2048', 'ecdsa-p256'] as const) {
  test(`R9: apksigner verifies our ${id} in both schemes, and we verify its`, { skip: android.skip }, async () => {
    const signer = await trialSigner(id)
    for (const schemes of ['v2+v3', 'v2', 'v3'] as const) {
      const { octets } = await signedWith(apk, bytesSource(await androidPackage()), signer, { schemes })
      const { stdout } = await apksignerVerifies(octets, schemes === 'v3' ? '28' : '24')
      assert.match(stdout, new RegExp(`scheme v2\\): ${schemes.includes('v2')}`, 'i'))
      assert.match(stdout, new RegExp(`scheme v3\\): ${schemes.includes('v3')}`, 'i'))
      assert.ok(stdout.includes(await fingerprintOf(signer)))
    }
    for (const options of [
      ['--v1-signing-enabled', 'false'],
      ['--v1-signing-enabled', 'true'],
      ['--v3-signing-enabled', 'false'],
    ]) {
      const theirs = await apksignerSigns(await androidPackage(), signer, ...options)
      assert.equal(await judged(apk, theirs), 'valid')
      const { signatures } = await verified(apk, theirs)
      assert.equal(signatures.length, options.includes('--v3-signing-enabled') ? 1 : 2)
    }
  })
}

test('R9: one changed octet fails there and here', { skip: android.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  for (const octets of [
    (await signedWith(apk, bytesSource(await androidPackage()), signer)).octets,
    await apksignerSigns(await androidPackage(), signer, '--v1-signing-enabled', 'false'),
  ])
    for (const one of changed(octets)) {
      assert.notEqual(await judged(apk, one), 'valid')
      await assert.rejects(apksignerVerifies(one))
    }
})

test('R9: signed twice, the second signature replaces the first, as theirs does', { skip: android.skip }, async () => {
  const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256')]
  const theirs = await apksignerSigns(await androidPackage(), first, '--v1-signing-enabled', 'false')
  const { octets } = await signedWith(apk, bytesSource(theirs), second)
  assert.ok((await apksignerVerifies(octets)).stdout.includes(await fingerprintOf(second)))
  const back = await apksignerSigns(octets, first, '--v1-signing-enabled', 'false')
  const { valid, signatures } = await verified(apk, back)
  assert.equal(valid, true)
  for (const { signer } of signatures) assert.deepEqual(signer?.der, first.answering.certificates[0])
})
