/**
 * Java archives with the tools of the JDK, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { judged, root, signedWith, type TrialSigner, trialSigner, trialTimeStamps, verified } from '#signing/artifact/testing.ts'
import { parseZip, parseZipEnd } from '#signing/artifact/zip.ts'
import { jar } from '#signing/formats/jar.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { folder, keep } = scratch('jar')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const pem = (der: Uint8Array): string => encodePEM('CERTIFICATE', der)

const java = needs('jar', 'jarsigner', 'java', 'keytool', 'openssl')
const PASSWORD = 'changeit'

/** Files of several kinds, packed as a build does: folders, a long name, a version for Java 11. */
let packed: Uint8Array | undefined
async function archive(): Promise<Uint8Array> {
  if (packed !== undefined) return packed
  const [classes, newer] = [join(folder, 'classes'), join(folder, 'newer')]
  const contents: Readonly<Record<string, string>> = {
    'press/main.txt': 'press 7\n'.repeat(500),
    'press/größe.txt': 'a name that is not ASCII',
    [`press/${'a-very-long-name-'.repeat(8)}.txt`]: 'a name that takes several lines',
    'META-INF/services/press.Service': 'press.Main\n',
    empty: '',
  }
  for (const [name, content] of Object.entries(contents)) {
    mkdirSync(dirname(join(classes, name)), { recursive: true })
    writeFileSync(join(classes, name), content)
  }
  mkdirSync(join(newer, 'press'), { recursive: true })
  writeFileSync(join(newer, 'press/main.txt'), 'press 7, newer\n'.repeat(500))
  const manifest = keep('Main-Class: press.Main\n\nName: press/main.txt\nX-Note: has a section of its own\n')
  const out = join(folder, 'packed.jar')
  await run(java.path('jar'), [
    '--create',
    '--file',
    out,
    '--manifest',
    manifest,
    '-C',
    classes,
    '.',
    '--release',
    '11',
    '-C',
    newer,
    '.',
  ])
  packed = read(out)
  return packed
}

let trusting: Promise<string> | undefined
const trust = (): Promise<string> => (trusting ??= makeTrust())
async function makeTrust(): Promise<string> {
  const store = join(folder, 'trust.p12')
  const options = ['-keystore', store, '-storepass', PASSWORD, '-alias', 'root', '-file', keep(pem(root))]
  await run(java.path('keytool'), ['-importcert', '-noprompt', ...options])
  return store
}

/** @returns what it says; rejects when a signature is wrong, or nobody trusted made it */
const jarsignerVerifies = async (octets: Uint8Array): Promise<{ stdout: string }> =>
  run(java.path('jarsigner'), [
    '-verify',
    '-strict',
    '-verbose',
    '-keystore',
    await trust(),
    '-storepass',
    PASSWORD,
    keep(octets, '.jar'),
  ])

/** What jarsigner exits with, among others. */
const HAS_UNSIGNED_ENTRY = 16

const stores = new Map<TrialSigner, string>()
async function storeOf(signer: TrialSigner): Promise<string> {
  const known = stores.get(signer)
  if (known !== undefined) return known
  const key = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const store = keep('', '.p12')
  const certificate = keep(pem(signer.answering.certificates[0]))
  const options = ['-inkey', key, '-in', certificate, '-certfile', keep(pem(root)), '-name', 'press', '-out', store]
  await run(java.path('openssl'), ['pkcs12', '-export', ...options, '-passout', `pass:${PASSWORD}`])
  stores.set(signer, store)
  return store
}

async function jarsignerSigns(octets: Uint8Array, signer: TrialSigner, ...options: string[]): Promise<Uint8Array> {
  const path = keep(octets, '.jar')
  const store = ['-keystore', await storeOf(signer), '-storepass', PASSWORD]
  await run(java.path('jarsigner'), [...store, ...options, path, 'press'])
  return read(path)
}

/** Octets in the data of each entry that is signed. */
async function broken(octets: Uint8Array): Promise<readonly Uint8Array[]> {
  const { entries } = await parseZip(bytesSource(octets))
  const signed = entries.filter(({ name, data }) => data.length > 2 && !/\.(RSA|EC)$/.test(name))
  return signed.map(({ data: { offset, length } }) => {
    const at = offset + (length >> 1)
    return octets.with(at, (octets[at] as number) ^ 0x01)
  })
}

for (const id of ['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const) {
  test(`R9: jarsigner verifies our ${id}, and we verify its`, { skip: java.skip }, async () => {
    const signer = await trialSigner(id)
    const { octets } = await signedWith(jar, bytesSource(await archive()), signer)
    const { stdout } = await jarsignerVerifies(octets)
    assert.match(stdout, /jar verified/)
    assert.doesNotMatch(stdout, /unsigned entries|not signed by/)
    assert.match(stdout, /^smk? .*versions\/11\/press\/main\.txt/m)

    const theirs = await jarsignerSigns(await archive(), signer)
    assert.equal(await judged(jar, theirs), 'valid')
    const { signatures, uncovered } = await verified(jar, theirs)
    assert.deepEqual(signatures[0]?.signer?.der, signer.answering.certificates[0])
    assert.deepEqual(uncovered, [])
  })
}

test('R9: one changed octet in any entry fails there and here', { skip: java.skip }, async () => {
  const signer = await trialSigner('ecdsa-p256')
  for (const octets of [
    (await signedWith(jar, bytesSource(await archive()), signer)).octets,
    await jarsignerSigns(await archive(), signer, '-digestalg', 'SHA-512'),
  ]) {
    const all = await broken(octets)
    assert.ok(all.length >= 6)
    for (const one of all) assert.notEqual(await judged(jar, one), 'valid')
    for (const one of all.slice(0, 2)) await assert.rejects(jarsignerVerifies(one))
  }
})

test(
  'R9: signed twice, by them and by us in either order, both signatures hold; the same name replaces',
  { skip: java.skip },
  async () => {
    const [first, second] = [await trialSigner('rsa-2048'), await trialSigner('ecdsa-p256')]
    const ours = (await signedWith(jar, bytesSource(await archive()), first)).octets
    const oursTheirs = await jarsignerSigns(ours, second)
    const theirs = await jarsignerSigns(await archive(), second)
    const theirsOurs = (await signedWith(jar, bytesSource(theirs), first)).octets
    for (const octets of [oursTheirs, theirsOurs]) {
      const { valid, signatures } = await verified(jar, octets)
      assert.deepEqual([valid, signatures.length], [true, 2])
      assert.match((await jarsignerVerifies(octets)).stdout, /jar verified/)
    }
    const again = (await signedWith(jar, bytesSource(ours), second)).octets
    const { signatures } = await verified(jar, again)
    assert.deepEqual(
      signatures.map(({ where, signer }) => [where, signer?.der]),
      [['META-INF/SIGNER.EC', second.answering.certificates[0]]],
    )
  },
)

test('R9: what was added after signing is seen there and here; signed again it is covered', { skip: java.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const path = keep((await signedWith(jar, bytesSource(await archive()), signer)).octets, '.jar')
  const extra = join(folder, 'extra')
  mkdirSync(extra, { recursive: true })
  cpSync(keep('not signed'), join(extra, 'added.txt'))
  await run(java.path('jar'), ['--update', '--file', path, '-C', extra, 'added.txt'])
  const { valid, uncovered, signatures } = await verified(jar, read(path))
  assert.deepEqual([valid, uncovered], [false, ['the entry added.txt']])
  assert.equal(signatures[0]?.verdict, 'valid')
  await assert.rejects(jarsignerVerifies(read(path)), ({ code }: { code: number }) => (code & HAS_UNSIGNED_ENTRY) !== 0)
  const { octets } = await signedWith(jar, bytesSource(read(path)), signer)
  assert.equal(await judged(jar, octets), 'valid')
  assert.match((await jarsignerVerifies(octets)).stdout, /jar verified/)
})

test('R28: jarsigner believes our time stamp, and says the time', { skip: java.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const timeStamp = await trialTimeStamps(new Date('2026-05-02T00:00:00Z'))
  const stamped = { ...signer, answering: { ...signer.answering, signingTime: new Date('2026-05-01T00:00:00Z'), timeStamp } }
  const path = keep((await signedWith(jar, bytesSource(await archive()), stamped)).octets, '.jar')
  const check = [
    '-J-Duser.timezone=UTC',
    '-verify',
    '-strict',
    '-verbose',
    '-certs',
    '-keystore',
    await trust(),
    '-storepass',
    PASSWORD,
  ]
  const { stdout } = await run(java.path('jarsigner'), [...check, path])
  assert.match(stdout, /jar verified/)
  assert.match(stdout, /entry was signed on 5\/2\/26/)
})

test('R9: an archive that jarsigner signed with SHA-1 alone proves nothing here', { skip: java.skip }, async () => {
  const theirs = await jarsignerSigns(
    await archive(),
    await trialSigner('rsa-2048'),
    '-digestalg',
    'SHA1',
    '-sigalg',
    'SHA256withRSA',
  )
  const { valid, signatures } = await verified(jar, theirs)
  assert.equal(valid, false)
  assert.equal(signatures[0]?.verdict, 'unknown')
})

/** As the JDK writes archives: the `jar` program would want as many files. */
const makesMany = `
import java.io.*;
import java.util.jar.*;
public class Many {
  public static void main(String[] args) throws IOException {
    // its main section is empty
    try (var jar = new JarOutputStream(new BufferedOutputStream(new FileOutputStream(args[0])), new Manifest())) {
      for (int i = 0; i < Integer.parseInt(args[1]); i++) {
        jar.putNextEntry(new JarEntry("press/" + i % 700 + "/" + i));
        jar.closeEntry();
      }
    }
  }
}`
async function archiveOf(count: number): Promise<Uint8Array> {
  const [source, path] = [join(folder, 'Many.java'), join(folder, `${count}.jar`)]
  writeFileSync(source, makesMany)
  await run(java.path('java'), [source, path, String(count)])
  return read(path)
}

test('R9: an archive whose manifest says nothing of itself, signed by them and by us', { skip: java.skip }, async () => {
  const [first, second] = [await trialSigner('ecdsa-p256'), await trialSigner('ecdsa-p256')]
  const { octets } = await signedWith(jar, bytesSource(await jarsignerSigns(await archiveOf(9), first)), second)
  const { valid, signatures } = await verified(jar, octets)
  assert.deepEqual([valid, signatures.length], [true, 2])
  assert.match((await jarsignerVerifies(octets)).stdout, /jar verified/)
})

test('R9: an archive of ZIP64, with 70,000 entries', { skip: java.skip }, async () => {
  const { octets } = await signedWith(jar, bytesSource(await archiveOf(70_000)), await trialSigner('ecdsa-p256'))
  const { isZip64, count } = await parseZipEnd(bytesSource(octets))
  assert.ok(isZip64 && count > 70_000)
  assert.equal(await judged(jar, octets), 'valid')
  // without -verbose, which would write down every entry
  const check = ['-verify', '-strict', '-keystore', await trust(), '-storepass', PASSWORD]
  assert.match((await run(java.path('jarsigner'), [...check, keep(octets, '.jar')])).stdout, /jar verified/)
})
