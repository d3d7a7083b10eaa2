/**
 * Android packages with the tools of its kit, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat } from '#base/bytes.ts'
import { readSigningBlock } from '#signing/artifact/apk-block.ts'
import { checkLineage, encodeLineageFile, parseLineageFile } from '#signing/artifact/apk-lineage.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, signedWith, type TrialSigner, trialSigner, verified } from '#signing/artifact/testing.ts'
import { parseZipEnd } from '#signing/artifact/zip.ts'
import { apkLineage } from '#signing/formats/apk-lineage.ts'
import { apk } from '#signing/formats/apk.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { folder, fresh, keep } = scratch('apk')

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

const keyOf = ({ privateKey, answering }: TrialSigner): readonly string[] => [
  '--key',
  keep(privateKey.export({ type: 'pkcs8', format: 'der' })),
  '--cert',
  keep(encodePEM('CERTIFICATE', answering.certificates[0])),
]

async function apksignerSigns(octets: Uint8Array, signer: TrialSigner, ...options: string[]): Promise<Uint8Array> {
  const out = fresh('.apk')
  const args = [...keyOf(signer), '--min-sdk-version', '24', ...options, '--out', out, keep(octets, '.apk')]
  await run(android.path('apksigner'), ['sign', ...args])
  return read(out)
}

/** Scheme v1, then what is over it. */
async function signedForAll(signer: TrialSigner): Promise<{ readonly v1: Uint8Array; readonly octets: Uint8Array }> {
  const { octets: v1 } = await signedWith(apk, bytesSource(await androidPackage()), signer, { schemes: 'v1' })
  return { v1, octets: (await signedWith(apk, bytesSource(v1), signer)).octets }
}

/** The same package without its signing block. */
async function stripped(octets: Uint8Array): Promise<Uint8Array> {
  const { directory } = await parseZipEnd(bytesSource(octets))
  const { range } = await readSigningBlock(bytesSource(octets), directory.offset)
  const out = concat([octets.subarray(0, range.offset), octets.subarray(directory.offset)])
  new DataView(out.buffer).setUint32(out.length - 6, range.offset, true)
  return out
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
      const schemes = signatures.map(({ where }) => where.slice(7, 9)).join('+')
      const v1 = options.join(' ') === '--v1-signing-enabled false' ? '' : 'v1+'
      assert.equal(schemes, `${v1}${options.includes('--v3-signing-enabled') ? 'v2' : 'v2+v3'}`)
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

/** Android 4.4 for RSA; 5 for ECDSA, which older ones do not know in a CMS with signed attributes. */
for (const [id, since] of [
  ['rsa-2048', '19'],
  ['ecdsa-p256', '21'],
] as const) {
  test(
    `R9: apksigner verifies our ${id} in all schemes from API level ${since} on, and we its`,
    { skip: android.skip },
    async () => {
      const signer = await trialSigner(id)
      const { octets } = await signedForAll(signer)
      assert.equal(await judged(apk, octets), 'valid')
      const { stdout } = await apksignerVerifies(octets, since)
      for (const scheme of ['v1', 'v2', 'v3']) assert.match(stdout, new RegExp(`using ${scheme} scheme .*: true`))
      const theirs = await apksignerSigns(await androidPackage(), signer, '--min-sdk-version', '18')
      const { valid, signatures } = await verified(apk, theirs)
      assert.deepEqual([valid, signatures.length], [true, 3])
      // over theirs: their v1 lies before the block, and gives way
      const again = (await signedWith(apk, bytesSource(theirs), signer, { schemes: 'v1', follows: 'none' })).octets
      assert.equal(await judged(apk, again), 'valid')
      assert.match((await apksignerVerifies(again, since)).stdout, /using v1 scheme .*: true/)
      // alone, as for old devices
      const alone = await apksignerSigns(
        await androidPackage(),
        signer,
        ...['v2', 'v3'].flatMap((one) => [`--${one}-signing-enabled`, 'false']),
      )
      assert.equal(await judged(apk, alone), 'valid')
    },
  )
}

test('R9: what is over v1 cannot be stripped, there and here', { skip: android.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const { v1, octets } = await signedForAll(signer)
  const theirs = await apksignerSigns(await androidPackage(), signer, '--min-sdk-version', '18')
  for (const one of [v1, await stripped(octets), await stripped(theirs)]) {
    assert.match(await judged(apk, one), /^invalid artifactChanged/)
    await assert.rejects(apksignerVerifies(one, '24'))
  }
  for (const one of [...changed(octets), ...changed(v1)]) assert.notEqual(await judged(apk, one), 'valid')
  for (const [one = octets] of [changed(octets), changed(v1)]) await assert.rejects(apksignerVerifies(one, '19'))
})

test('R9: a rotated key, by a lineage of theirs', { skip: android.skip }, async () => {
  const signers = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256'), await trialSigner('rsa-2048')] as const
  const [oldest, middle, newest] = signers
  const lineages = [join(folder, 'lineage1'), join(folder, 'lineage2')] as const
  await run(android.path('apksigner'), [
    'rotate',
    '--out',
    lineages[0],
    '--old-signer',
    ...keyOf(oldest),
    '--new-signer',
    ...keyOf(middle),
  ])
  await run(android.path('apksigner'), [
    'rotate',
    '--in',
    lineages[0],
    '--out',
    lineages[1],
    '--old-signer',
    ...keyOf(middle),
    '--new-signer',
    ...keyOf(newest),
  ])
  assert.deepEqual(encodeLineageFile(parseLineageFile(read(lineages[1]))), read(lineages[1]))
  await checkLineage(parseLineageFile(read(lineages[1])))

  // ours: v2 by the first key for Android 7 and 8, v3 by the newest
  const { octets: v2 } = await signedWith(apk, bytesSource(await androidPackage()), oldest, { schemes: 'v2', follows: 'v3' })
  assert.match(await judged(apk, v2), /^badProof artifactChanged/)
  const lineage = Buffer.from(read(lineages[1])).toString('base64')
  const both = { schemes: 'v3', existing: 'keep', lineage }
  const { octets } = await signedWith(apk, bytesSource(v2), newest, both)
  const { valid, signatures } = await verified(apk, octets)
  assert.equal(valid, true)
  assert.deepEqual(
    signatures.map(({ where }) => where),
    ['scheme v2, signer 1, rsa-sha256', 'scheme v3, signer 1, rsa-sha256, level 3 of its lineage'],
  )
  assert.ok((await apksignerVerifies(octets)).stdout.includes(await fingerprintOf(newest)))
  const path = keep(octets, '.apk')
  const { stdout } = await run(android.path('apksigner'), ['lineage', '--in', path, '--print-certs'])
  for (const signer of signers) assert.ok(stdout.includes(await fingerprintOf(signer)))

  // theirs, with the lineage and the keys before
  const out = join(folder, 'rotated.apk')
  const options = [...keyOf(oldest), '--next-signer', ...keyOf(middle), '--lineage', lineages[0], '--min-sdk-version', '18']
  await run(android.path('apksigner'), ['sign', ...options, '--out', out, keep(await androidPackage(), '.apk')])
  const report = await verified(apk, read(out))
  assert.deepEqual([report.valid, report.signatures.length], [true, 3])
  assert.match(report.signatures[2]?.where ?? '', /level 2 of its lineage/)

  // rotated by us, believed by them
  const rotate = (from: TrialSigner, to: TrialSigner, options = {}): Promise<{ readonly octets: Uint8Array }> =>
    signedWith(apkLineage, bytesSource(to.answering.certificates[0]), from, options)
  const { octets: two } = await rotate(oldest, middle)
  const { octets: three } = await rotate(middle, newest, { lineage: two.toBase64(), signerMay: 'installedData+auth' })
  const said = await run(android.path('apksigner'), ['lineage', '--in', keep(three), '--print-certs'])
  assert.equal(said.stdout.match(/SHA-256 digest: [0-9a-f]{64}/g)?.length, 3)
  const may = said.stdout.match(/Has .*capability *: (true|false)/g)?.map((line) => line.endsWith('true'))
  assert.deepEqual(may?.slice(5, 10), [true, false, false, false, true])
  assert.equal(await judged(apkLineage, read(lineages[1])), 'valid')
  const ours = await signedWith(apk, bytesSource(v2), newest, { ...both, lineage: three.toBase64() })
  assert.ok((await apksignerVerifies(ours.octets)).stdout.includes(await fingerprintOf(newest)))

  // a signer who is not in it, and one whose lineage nobody signed
  await assert.rejects(signedWith(apk, bytesSource(v2), await trialSigner('ecdsa-p256'), both), { reason: 'apkLineageOther' })
  const forged = read(lineages[1])
  forged[forged.length - 1] = (forged.at(-1) as number) ^ 1
  const wrong = { ...both, lineage: Buffer.from(forged).toString('base64') }
  await assert.rejects(signedWith(apk, bytesSource(v2), newest, wrong), { reason: 'artifactChanged' })
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
