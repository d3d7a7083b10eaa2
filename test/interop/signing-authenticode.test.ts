/**
 * Authenticode with osslsigncode, sbsigntool and pesign, both ways, over what a Windows compiler and a boot loader's
 * maker built.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { hashedRanges, parsePE } from '#signing/artifact/pe.ts'
import { judged, root, signedWith, type TrialSigner, trialSigner, trialTimeStamps, verified } from '#signing/artifact/testing.ts'
import { authenticodePE } from '#signing/formats/authenticode-pe.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { fresh, keep } = scratch('authenticode')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const pem = (der: Uint8Array): string => encodePEM('CERTIFICATE', der)
const rootFile = keep(pem(root))
const keyFile = ({ privateKey }: TrialSigner): string => keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))
const certificateFile = ({ answering }: TrialSigner): string => keep(pem(answering.certificates[0]))

const windows = needs('x86_64-w64-mingw32-gcc', 'osslsigncode')
const uefi = needs('sbsign', 'sbverify', 'fallback')
const both = needs('osslsigncode', 'sbverify', 'fallback')
const signedByOthers = needs('fallback-signed', 'pesign')

let built: Uint8Array | undefined
/** A program with the C runtime in it. */
async function program(): Promise<Uint8Array> {
  if (built !== undefined) return built
  const [source, out] = [`${fresh()}.c`, `${fresh()}.exe`]
  writeFileSync(source, '#include <stdio.h>\nint main(void) { puts("press 7"); return 0; }\n')
  await run(windows.path('x86_64-w64-mingw32-gcc'), ['-Os', '-o', out, source])
  built = read(out)
  return built
}
const withOverlay = async (): Promise<Uint8Array> => concat([await program(), Uint8Array.of(1, 2, 3)]) // an odd end

const ossl = (...args: string[]): Promise<{ stdout: string; stderr: string }> => run(windows.path('osslsigncode'), args)
const osslVerifies = (octets: Uint8Array): Promise<{ stdout: string }> =>
  ossl('verify', '-in', keep(octets), '-CAfile', rootFile, '-TSA-CAfile', rootFile)
const sbVerifies = (octets: Uint8Array): Promise<{ stdout: string }> =>
  run(uefi.path('sbverify'), ['--cert', rootFile, keep(octets)])

async function osslSigns(octets: Uint8Array, signer: TrialSigner, ...options: string[]): Promise<Uint8Array> {
  const out = fresh()
  const key = ['-certs', certificateFile(signer), '-key', keyFile(signer), '-ac', rootFile]
  await ossl('sign', ...key, ...options, '-in', keep(octets), '-out', out)
  return read(out)
}

async function sbSigns(octets: Uint8Array, signer: TrialSigner): Promise<Uint8Array> {
  const out = fresh()
  await run(uefi.path('sbsign'), ['--key', keyFile(signer), '--cert', certificateFile(signer), '--output', out, keep(octets)])
  return read(out)
}

/** An octet in every range that is signed, at both ends and in the middle. */
async function changed(octets: Uint8Array): Promise<readonly Uint8Array[]> {
  const image = await parsePE(bytesSource(octets))
  return hashedRanges(image)
    .flatMap(({ offset, length }) => [offset + 2, offset + (length >> 1), offset + length - 1])
    .filter((at) => at > 0x40 && at !== 2)
    .map((at) => octets.with(at, (octets[at] as number) ^ 0x10))
}

const checksumsIn = (said: string): ReadonlySet<string> =>
  new Set([...said.matchAll(/PE checksum\s*: ([0-9A-F]{8})/g)].map(([, found = '']) => found))

for (const id of ['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const) {
  test(`R9: osslsigncode verifies our ${id} over a program, with and without a tail`, { skip: windows.skip }, async () => {
    const signer = await trialSigner(id)
    for (const octets of [await program(), await withOverlay()]) {
      const { octets: signed } = await signedWith(authenticodePE, bytesSource(octets), signer, {
        programName: 'Press 7 – control',
        programUrl: 'https://press.example/7',
      })
      const { stdout } = await osslVerifies(signed)
      assert.match(stdout, /Signature verification: ok/)
      assert.match(stdout, /URL description: https:\/\/press\.example\/7/)
      assert.equal(checksumsIn(stdout).size, 1) // what stands there is what it computes
      const image = await parsePE(bytesSource(signed))
      const wrong = signed.with(image.checksumOffset, (signed[image.checksumOffset] as number) ^ 1)
      const { stdout: said } = await osslVerifies(wrong).catch((error: { stdout: string }) => error)
      assert.ok(checksumsIn(said).size === 2 || /MISMATCH/.test(said), said)
    }
  })

  test(`R9: ${id} of osslsigncode verifies here, with page hashes and a description`, { skip: windows.skip }, async () => {
    const signer = await trialSigner(id)
    const digest = id === 'ecdsa-p384' ? 'sha384' : 'sha256'
    for (const options of [[], ['-ph'], ['-n', 'Press 7', '-i', 'https://press.example'], ['-comm', '-addUnauthenticatedBlob']]) {
      if (digest === 'sha384' && options.includes('-ph')) continue // page hashes are SHA-1 or SHA-256
      const signed = await osslSigns(await withOverlay(), signer, '-h', digest, ...options)
      const { valid, signatures } = await verified(authenticodePE, signed)
      assert.equal(valid, true, JSON.stringify(signatures))
      assert.deepEqual(signatures[0]?.signer?.der, signer.answering.certificates[0])
    }
  })
}

test('R9: one changed octet fails there and here', { skip: windows.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const { octets } = await signedWith(authenticodePE, bytesSource(await withOverlay()), signer)
  const broken = await changed(octets)
  assert.ok(broken.length >= 6)
  for (const one of broken) {
    assert.notEqual(await judged(authenticodePE, one), 'valid')
    await assert.rejects(osslVerifies(one))
  }
})

test('R9: signed twice: replaced, and nested, as osslsigncode has it', { skip: windows.skip }, async () => {
  const [first, second, third] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256'), await trialSigner('ecdsa-p384')]
  const byThem = await osslSigns(await program(), first, '-h', 'sha256')
  const replaced = (await signedWith(authenticodePE, bytesSource(byThem), second)).octets
  assert.equal((await parsePE(bytesSource(replaced))).end, (await parsePE(bytesSource(byThem))).end)
  assert.equal((await verified(authenticodePE, replaced)).signatures.length, 1)

  const nested = (await signedWith(authenticodePE, bytesSource(byThem), second, { existing: 'nest' })).octets
  assert.match((await osslVerifies(nested)).stdout, /Signature Index: 1[^]*Signature verification: ok/)
  const { valid, signatures } = await verified(authenticodePE, nested)
  assert.equal(valid, true)
  assert.deepEqual(
    signatures.map(({ where, signer }) => [where, signer?.der]),
    [
      ['certificate table, entry 1', first.answering.certificates[0]],
      ['certificate table, entry 1, nested signature 1', second.answering.certificates[0]],
    ],
  )
  const thrice = await osslSigns(nested, third, '-nest', '-h', 'sha384')
  const report = await verified(authenticodePE, thrice)
  assert.deepEqual([report.valid, report.signatures.length], [true, 3])
  for (const one of await changed(thrice)) {
    const verdict = await judged(authenticodePE, one)
    assert.ok(
      verdict === 'invalid artifactChanged, invalid artifactChanged, invalid artifactChanged' ||
        /malformed|unsupported/.test(verdict),
      verdict,
    )
  }
})

test('R9: a signature with SHA-1 proves nothing, and one nested in it with SHA-256 does', { skip: windows.skip }, async () => {
  const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('rsa-2048')]
  const old = await osslSigns(await program(), first, '-h', 'sha1')
  const { valid, signatures } = await verified(authenticodePE, old)
  assert.deepEqual([valid, signatures.map(({ verdict }) => verdict)], [false, ['unknown']])
  for (const dual of [
    await osslSigns(old, second, '-nest', '-h', 'sha256'),
    (await signedWith(authenticodePE, bytesSource(old), second, { existing: 'nest' })).octets,
  ]) {
    const report = await verified(authenticodePE, dual)
    assert.deepEqual([report.valid, report.signatures.map(({ verdict }) => verdict)], [true, ['unknown', 'valid']])
    for (const one of await changed(dual)) assert.notEqual(await judged(authenticodePE, one), 'valid')
  }
})

test('R28: osslsigncode believes our time stamp, and says the time', { skip: windows.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const timeStamp = await trialTimeStamps(new Date('2026-05-02T00:00:00Z'))
  const stamped = { ...signer, answering: { ...signer.answering, signingTime: new Date('2026-05-01T00:00:00Z'), timeStamp } }
  const { octets } = await signedWith(authenticodePE, bytesSource(await program()), stamped)
  const { stdout } = await osslVerifies(octets)
  assert.match(stdout, /May {2}2 00:00:00 2026 GMT/)
  assert.match(stdout, /Signature verification: ok/)
})

test(
  'R9, R11: sbverify and osslsigncode verify a boot loader signed here; signatures stand behind each other',
  { skip: both.skip || uefi.skip },
  async () => {
    const loader = read(uefi.path('fallback'))
    const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('rsa-3072')]
    const once = (await signedWith(authenticodePE, bytesSource(loader), first)).octets
    assert.match((await sbVerifies(once)).stdout, /Signature verification OK/)
    const twice = (await signedWith(authenticodePE, bytesSource(once), second, { existing: 'append' })).octets
    assert.match((await sbVerifies(twice)).stdout, /Signature verification OK/)
    const { stdout } = await run(uefi.path('sbverify'), ['--list', keep(twice)])
    assert.match(stdout, /signature 1[^]*signature 2/)
    assert.equal((await verified(authenticodePE, twice)).signatures.length, 2)
    for (const one of await changed(once)) {
      await assert.rejects(sbVerifies(one))
      assert.notEqual(await judged(authenticodePE, one), 'valid')
    }
  },
)

test('R9, R11: what sbsign signs, once and twice, verifies here', { skip: uefi.skip }, async () => {
  const loader = read(uefi.path('fallback'))
  const once = await sbSigns(loader, await trialSigner('rsa-2048'))
  assert.equal(await judged(authenticodePE, once), 'valid')
  const twice = await sbSigns(once, await trialSigner('rsa-2048'))
  const { valid, signatures } = await verified(authenticodePE, twice)
  assert.deepEqual([valid, signatures.length], [true, 2])
  for (const one of await changed(twice)) assert.notEqual(await judged(authenticodePE, one), 'valid')
})

test(
  'R11: a boot loader that Debian signed is untouched, and pesign computes the same digest',
  { skip: signedByOthers.skip },
  async () => {
    const path = signedByOthers.path('fallback-signed')
    const { valid, signatures } = await verified(authenticodePE, read(path))
    assert.equal(valid, false) // its root is not trusted here
    assert.equal(signatures[0]?.untouched, true)
    assert.match(
      signatures[0]?.standing?.atSigning.valid === false ? signatures[0].standing.atSigning.failure.reason : '',
      /pathIssuerMissing/,
    )
    const { stdout } = await run(signedByOthers.path('pesign'), ['-h', '-P', '-d', 'sha256', '-i', path])
    const signer = await trialSigner('rsa-2048')
    const { certificates, signatureAlgorithm } = signer.answering
    const { requests } = await authenticodePE.toBeSigned(bytesSource(read(path)), { certificates, signatureAlgorithm })
    const [request] = requests
    assert.ok(request.type === 'cms' && 'attached' in request.content)
    const digest = /[0-9a-f]{64}/.exec(stdout)?.[0] ?? assert.fail(stdout)
    assert.equal(request.content.attached.subarray(-32).toHex(), digest)
  },
)
