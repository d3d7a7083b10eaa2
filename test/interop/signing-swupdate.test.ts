/**
 * Update archives with SWUpdate's own verifier, and a generator that others use, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { cpioSum, parseCpio } from '#signing/artifact/cpio.ts'
import { AT, judged, root, signedWith, type TrialSigner, trialSigner, verified } from '#signing/artifact/testing.ts'
import { verifyArtifact } from '#signing/artifact/verify.ts'
import { swupdate } from '#signing/formats/swupdate.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const tools = needs('swupdate', 'swugenerator', 'cpio', 'openssl')
const { folder, keep } = scratch('swupdate')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

const image = new Uint8Array(
  createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(300_001)),
)
const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex')

const description = (...digests: readonly string[]): string => `software =
{
  version = "2027.05-1"; // as the press says
  hardware-compatibility: [ "1.0" ];
  files: (
    { filename = "firmware.bin"; path = "${folder}/installed.bin"; ${digests[0]} },
    { filename = "notes.txt"; path = "${folder}/notes.txt"; ${digests[1]} }
  );
}
`
const notes = utf8('press 7 presses softer\n')
const usual = description(`sha256 = "${sha256(image)}";`, `sha256 = "${sha256(notes)}";`)

/** As SWUpdate's documentation has it. */
async function archive(text = usual, form = 'crc', parts = ['firmware.bin', 'notes.txt']): Promise<Uint8Array> {
  const inside = mkdtempSync(join(folder, 'cpio-'))
  for (const [name, content] of [
    ['sw-description', utf8(text)],
    ['firmware.bin', image],
    ['notes.txt', notes],
  ] as const)
    writeFileSync(join(inside, name), content)
  const out = join(inside, 'out.swu')
  const list = ['sw-description', ...parts].join('\\n')
  await run('/bin/sh', ['-c', `printf '${list}\\n' | ${tools.path('cpio')} -ov -H ${form} > ${out}`], { cwd: inside })
  return read(out)
}

const keyring = keep(encodePEM('CERTIFICATE', root))

const swupdateSays = async (octets: Uint8Array): Promise<unknown> => {
  const args = ['-c', '-i', keep(octets, '.swu'), '-k', keyring, '--cert-purpose', 'codeSigning', '-H', 'press:1.0', '-l', '1']
  // its sockets and what it unpacks
  return run(tools.path('swupdate'), args, { env: { ...process.env, TMPDIR: mkdtempSync(join(folder, 'tmp-')) } })
}

async function swugeneratorMakes({ privateKey, answering }: TrialSigner, how: 'CMS' | 'RSA'): Promise<Uint8Array> {
  const inside = mkdtempSync(join(folder, 'gen-'))
  writeFileSync(join(inside, 'firmware.bin'), image)
  writeFileSync(join(inside, 'notes.txt'), notes)
  const template = join(inside, 'sw-description')
  writeFileSync(
    template,
    description('sha256 = "$swupdate_get_sha256(firmware.bin)";', 'sha256 = "$swupdate_get_sha256(notes.txt)";'),
  )
  const key = keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const certificate = keep(encodePEM('CERTIFICATE', answering.certificates[0]))
  const out = join(inside, 'out.swu')
  const sign = how === 'CMS' ? `CMS,${key},${certificate}` : `RSA,${key}`
  await run(tools.path('swugenerator'), ['-s', template, '-a', inside, '-o', out, '-k', sign, 'create'], { cwd: inside })
  return read(out)
}

const flipped = (octets: Uint8Array, at: number): Uint8Array => octets.with(at, (octets[at] as number) ^ 0x01)
const indexOf = (octets: Uint8Array, part: string): number => Buffer.from(octets).indexOf(part)

// swupdate sleeps for a second before it says that all is well
describe('R9, R11: update archives with swupdate', { skip: tools.skip, concurrency: true }, () => {
  for (const [id, signatureAlgorithm] of [
    ['rsa-2048', 'rsa-sha256'],
    ['rsa-2048', 'rsa-pss-sha256'],
    ['ecdsa-p256', 'ecdsa-sha256'],
    ['ecdsa-p384', 'ecdsa-sha384'],
  ] as const) {
    test(`swupdate verifies what we sign with ${signatureAlgorithm}`, async () => {
      const made = await trialSigner(id)
      const signer = { ...made, answering: { ...made.answering, signatureAlgorithm } }
      const form = signatureAlgorithm === 'rsa-sha256' ? 'newc' : 'crc'
      const { octets } = await signedWith(swupdate, bytesSource(await archive(usual, form)), signer)
      assert.equal(await judged(swupdate, octets), 'valid')
      await swupdateSays(octets)
    })
  }

  test('we verify what swugenerator signs, with CMS and with the key alone', async () => {
    const signer = await trialSigner('rsa-2048')
    const theirs = await swugeneratorMakes(signer, 'CMS')
    assert.equal(await judged(swupdate, theirs), 'valid')
    await swupdateSays(theirs)
    const raw = await swugeneratorMakes(signer, 'RSA')
    assert.match(await judged(swupdate, raw), /unknown certificateNotGiven/)
    assert.equal(await judged(swupdate, raw, { certificates: signer.answering.certificates }), 'valid')
    const other = await trialSigner('rsa-2048')
    assert.match(await judged(swupdate, raw, { certificates: other.answering.certificates }), /invalid rawSignature/)
  })

  test('openssl verifies what we sign with an RSA key alone, in both paddings', async () => {
    for (const signatureAlgorithm of ['rsa-sha256', 'rsa-pss-sha256'] as const) {
      const made = await trialSigner('rsa-2048')
      const signer = { ...made, answering: { ...made.answering, signatureAlgorithm } }
      const { octets } = await signedWith(swupdate, bytesSource(await archive()), signer, { signature: 'raw' })
      const beside = { certificates: signer.answering.certificates, signatureAlgorithm }
      assert.equal(await judged(swupdate, octets, beside), 'valid')
      const { entries } = await parseCpio(bytesSource(octets))
      const [text, signature] = entries.map(({ data }) => keep(octets.slice(data.offset, data.offset + data.length)))
      const key = keep(new Uint8Array(signer.answering.key.publicKey))
      const pss = signatureAlgorithm === 'rsa-sha256' ? [] : ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:-2']
      const args = ['dgst', '-sha256', '-keyform', 'DER', '-verify', key, ...pss, '-signature', signature ?? '', text ?? '']
      await run(tools.path('openssl'), args)
    }
  })

  test('one changed octet fails there and here', async () => {
    const signer = await trialSigner('ecdsa-p256')
    const { octets: ours } = await signedWith(swupdate, bytesSource(await archive()), signer)
    for (const octets of [ours, await swugeneratorMakes(signer, 'CMS')]) {
      const { entries } = await parseCpio(bytesSource(octets))
      const [text, signature] = entries
      const places = [(text?.data.offset ?? 0) + 40, (signature?.data.offset ?? 0) + (signature?.data.length ?? 0) - 20]
      for (const at of [...places, indexOf(octets, '2027.05-1')]) {
        assert.notEqual(await judged(swupdate, flipped(octets, at)), 'valid', `octet ${at}`)
        await assert.rejects(swupdateSays(flipped(octets, at)), `octet ${at}`)
      }
      const [firmware] = [entries.find(({ name }) => name === 'firmware.bin')]
      const broken = flipped(octets, (firmware?.data.offset ?? 0) + 150_000)
      assert.equal((await verified(swupdate, broken)).signatures[0]?.problem?.reason, 'artifactChanged')
      await assert.rejects(swupdateSays(broken))
    }
  })

  test('a file that is not named is not covered, and swupdate does not look at it', async () => {
    const signer = await trialSigner('ecdsa-p256')
    const { octets } = await signedWith(swupdate, bytesSource(await archive()), signer)
    const more = await withFile(octets, 'firmware.txt', 'notes.txt')
    const { valid, uncovered } = await verified(swupdate, more)
    assert.equal(valid, false)
    assert.deepEqual(uncovered, ['firmware.txt is not named'])
    await swupdateSays(more)
  })

  test('a file without a digest is refused before it is signed', async () => {
    const signer = await trialSigner('ecdsa-p256')
    const text = description(`sha256 = "${sha256(image)}";`, '')
    const unhashed = await archive(text)
    await assert.rejects(signedWith(swupdate, bytesSource(unhashed), signer), { reason: 'badArtifact' })
  })

  test('R31: a file that is missing is missed there and here', async () => {
    const signer = await trialSigner('ecdsa-p256')
    await assert.rejects(signedWith(swupdate, bytesSource(await archive(usual, 'crc', ['notes.txt'])), signer), {
      code: 'badProof',
    })
    const { octets } = await signedWith(swupdate, bytesSource(await archive()), signer)
    const less = await withoutFile(octets, 'notes.txt')
    assert.match(await judged(swupdate, less), /badProof/)
    await assert.rejects(swupdateSays(less))
  })

  test('stripped of its signature nobody signed it, there and here', async () => {
    const signer = await trialSigner('ecdsa-p256')
    const { octets } = await signedWith(swupdate, bytesSource(await archive()), signer)
    const stripped = await withoutFile(octets, 'sw-description.sig')
    assert.equal(await judged(swupdate, stripped), 'unauthenticated artifactUnsigned')
    await assert.rejects(swupdateSays(stripped))
  })

  test('signed twice, the second signature replaces the first', async () => {
    const [first, second] = await Promise.all([trialSigner('ecdsa-p256'), trialSigner('rsa-2048')])
    const once = (await signedWith(swupdate, bytesSource(await archive()), first)).octets
    const twice = (await signedWith(swupdate, bytesSource(once), second)).octets
    const { signatures, valid } = await verified(swupdate, twice)
    assert.equal(valid, true)
    assert.deepEqual(
      signatures.map(({ signer }) => signer?.der),
      [second.answering.certificates[0]],
    )
    await swupdateSays(twice)
  })

  test('a signer whose certificate is for something else is refused there and here', async () => {
    const signer = await trialSigner('rsa-2048', 'timeStamping')
    const { octets } = await signedWith(swupdate, bytesSource(await archive()), signer)
    const { valid } = await verifyArtifact(swupdate, bytesSource(octets), { at: AT, anchors: [root] })
    assert.equal(valid, false)
    await assert.rejects(swupdateSays(octets))
  })
})

/** With a copy of an entry before the trailer, under another name of the same length or longer by less than its padding. */
async function withFile(octets: Uint8Array, name: string, like: string): Promise<Uint8Array> {
  const { entries } = await parseCpio(bytesSource(octets))
  const [last, entry] = [entries.at(-1), entries.find((one) => one.name === like)]
  if (last === undefined || entry === undefined) return assert.fail()
  const content = octets.slice(entry.data.offset, entry.data.offset + entry.data.length)
  const named = `${entry.head.slice(0, 94)}${(name.length + 1).toString(16).padStart(8, '0')}${entry.head.slice(102)}${name}\0`
  assert.equal(cpioSum(content), entry.sum)
  const padded = (part: Uint8Array): Uint8Array => concat([part, new Uint8Array(-part.length & 3)])
  return block(concat([octets.slice(0, last.end), padded(utf8(named)), padded(content), octets.slice(last.end)]))
}

async function withoutFile(octets: Uint8Array, name: string): Promise<Uint8Array> {
  const { entries } = await parseCpio(bytesSource(octets))
  const at = entries.findIndex((one) => one.name === name)
  return block(concat([octets.slice(0, entries[at - 1]?.end), octets.slice(entries[at]?.end)]))
}

/** Zeros at the end up to a whole block, and no more. */
async function block(octets: Uint8Array): Promise<Uint8Array> {
  const end = indexOf(octets, 'TRAILER!!!') + 14
  return concat([octets.slice(0, end), new Uint8Array(-end & 511)])
}
