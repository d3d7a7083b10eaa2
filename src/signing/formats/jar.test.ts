/** Archives that somebody changed, and signatures that say something else than they seem to. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { contentTypes } from '#cms/content-info.ts'
import { answer } from '../artifact/answer.ts'
import { bytesSource } from '../artifact/blob.ts'
import { judged, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { type Contents, contentsOf, packed, packedPairs } from '../artifact/zip-testing.ts'
import { jar } from './jar.ts'
import { sampleOf } from './samples.ts'

const signer = await trialSigner('ecdsa-p256')
const { octets: signed } = await signedWith(jar, bytesSource(sampleOf('jar')), signer)

const contents = await contentsOf(signed)
const changed = (change: (contents: Map<string, Uint8Array>) => void): Uint8Array => {
  const copy = new Map(contents)
  change(copy)
  return packed(copy)
}
const MANIFEST = 'META-INF/MANIFEST.MF'
const SIGNATURE_FILE = 'META-INF/SIGNER.SF'
const BLOCK = 'META-INF/SIGNER.EC'
const replaced = (octets: Uint8Array | undefined, from: string | RegExp, to: string): Uint8Array =>
  utf8(
    Buffer.from(octets ?? assert.fail('it is not there'))
      .toString()
      .replace(from, to),
  )

test('packed anew it is as valid: a signature is over what is unpacked', async () => {
  assert.equal(await judged(jar, packed(contents)), 'valid')
  assert.deepEqual([...contents.keys()].slice(0, 3), [MANIFEST, SIGNATURE_FILE, BLOCK])
})

const tricks: readonly { readonly name: string; readonly octets: Uint8Array; readonly verdict: string | RegExp }[] = [
  { name: 'another class', verdict: 'invalid artifactChanged', octets: changed((c) => c.set('Press.class', utf8('other'))) },
  {
    name: 'a class for Java 11 that was changed',
    verdict: 'invalid artifactChanged',
    octets: changed((c) => c.set('META-INF/versions/11/Version.class', utf8('other'))),
  },
  { name: 'a class that is missing', verdict: 'invalid artifactChanged', octets: changed((c) => c.delete('Press.class')) },
  { name: 'a class that nobody signed', verdict: /^valid/, octets: changed((c) => c.set('Evil.class', utf8('evil'))) },
  {
    name: 'a service that nobody signed',
    verdict: /^valid/,
    octets: changed((c) => c.set('META-INF/services/evil', utf8('evil'))),
  },
  {
    name: 'a signature file without its block',
    verdict: /^valid/,
    octets: changed((c) => c.set('META-INF/EVIL.SF', utf8('Signature-Version: 1.0\r\n'))),
  },
  {
    name: 'another main class',
    verdict: 'invalid artifactChanged',
    octets: changed((c) => c.set(MANIFEST, replaced(c.get(MANIFEST), 'Main-Class: Press', 'Main-Class: Other'))),
  },
  {
    name: 'another note in a section',
    verdict: 'invalid artifactChanged',
    octets: changed((c) => c.set(MANIFEST, replaced(c.get(MANIFEST), 'X-Note: has', 'X-Note: had'))),
  },
  {
    name: 'a section that is gone',
    verdict: 'invalid artifactChanged',
    octets: changed((c) => c.set(MANIFEST, replaced(c.get(MANIFEST), /Name: Press.class\r\n.*\r\n\r\n/, ''))),
  },
  { name: 'no manifest', verdict: 'malformed badArtifact', octets: changed((c) => c.delete(MANIFEST)) },
  {
    name: 'another signature file',
    verdict: 'invalid cmsContentChanged',
    octets: changed((c) =>
      c.set(SIGNATURE_FILE, replaced(c.get(SIGNATURE_FILE), 'Created-By: Sealworks', 'Created-By: Somebody')),
    ),
  },
  { name: 'no signature file', verdict: 'unauthenticated artifactUnsigned', octets: changed((c) => c.delete(SIGNATURE_FILE)) },
  { name: 'no block', verdict: 'unauthenticated artifactUnsigned', octets: changed((c) => c.delete(BLOCK)) },
  {
    name: 'a second block for one signature file',
    verdict: 'malformed badArtifact',
    octets: changed((c) => c.set('META-INF/SIGNER.RSA', c.get(BLOCK) ?? utf8(''))),
  },
  { name: 'a block that is none', verdict: /^malformed/, octets: changed((c) => c.set(BLOCK, utf8('nothing'))) },
]

for (const { name, octets, verdict } of tricks) {
  test(`R31: ${name}`, async () => {
    const said = await judged(jar, octets)
    assert.notEqual(said, 'valid')
    assert.match(said, verdict instanceof RegExp ? verdict : new RegExp(`^${verdict}`))
  })
}

test('what nobody signed is named, and the signature by itself is right', async () => {
  const { valid, signatures, uncovered } = await verified(
    jar,
    changed((c) => c.set('Evil.class', utf8('evil'))),
  )
  assert.deepEqual([valid, signatures[0]?.verdict, uncovered], [false, 'valid', ['the entry Evil.class']])
})

test('a section that was added to the manifest for another signer does not break this one', async () => {
  const more = changed((c) => {
    c.set(MANIFEST, concat([c.get(MANIFEST) ?? utf8(''), utf8('Name: press/\r\nSealed: true\r\n\r\n')]))
  })
  assert.equal(await judged(jar, more), 'valid')
})

test('signed again, an archive that has all digests keeps its manifest octet for octet', async () => {
  const { octets } = await signedWith(jar, bytesSource(signed), signer, { signerName: 'SECOND' })
  const again = await contentsOf(octets)
  assert.deepEqual(again.get(MANIFEST), contents.get(MANIFEST))
  const { valid, signatures } = await verified(jar, octets)
  assert.deepEqual([valid, signatures.map(({ where }) => where)], [true, ['META-INF/SECOND.EC', BLOCK]])
  // each covers all, so that one alone can be taken away and the other stays right: nothing says that there were two
  const stripped = new Map(again)
  stripped.delete(BLOCK)
  stripped.delete(SIGNATURE_FILE)
  assert.equal(await judged(jar, packed(stripped)), 'valid')
})

test('a class that changed since is signed with its new digest', async () => {
  const { octets } = await signedWith(jar, bytesSource(changed((c) => c.set('Press.class', utf8('newer')))), signer)
  assert.equal(await judged(jar, octets), 'valid')
})

const crooked = {
  'a name twice': () => packedPairs([...contents, ['Press.class', utf8('other')]]),
  'a name twice but for its case, of the signature': () => packedPairs([...contents, ['meta-inf/signer.sf', utf8('x')]]),
  'a name that leads out': () => packedPairs([...contents, ['../Press.class', utf8('other')]]),
  'something behind the end': () => concat([signed, utf8('more')]),
  'another archive behind it': () => concat([signed, packed(new Map([['Press.class', utf8('other')]]))]),
  'another archive before it': () => concat([packed(new Map([['Press.class', utf8('other')]])), signed]),
  'a program before it': () => concat([utf8('#!/bin/sh\n'), signed]),
}

for (const [name, octetsOf] of Object.entries(crooked)) {
  test(`R31: a signed archive with ${name} is not valid, and not signed again as it is`, async () => {
    const octets = octetsOf()
    assert.notEqual(await judged(jar, octets), 'valid')
    const again = async (): Promise<string> => judged(jar, (await signedWith(jar, bytesSource(octets), signer)).octets)
    // what has the name of the signer's own files gives way
    if (name.includes('its case')) assert.equal(await again(), 'valid')
    else await assert.rejects(again(), { reason: 'badArtifact' })
  })
}

test('a manifest whose last section lacks its empty line keeps it apart from what is added', async () => {
  for (const ending of ['', '\n', '\r\n', '\r', '\r\n\r\n', '\n\n']) {
    const manifest = utf8(`Manifest-Version: 1.0\r\n\r\nName: a.txt\r\nX-Note: kept${ending}`)
    const bare = packed(
      new Map([
        [MANIFEST, manifest],
        ['b.txt', utf8('text')],
        ['a.txt', utf8('text')],
      ]),
    )
    const { octets } = await signedWith(jar, bytesSource(bare), signer)
    assert.equal(await judged(jar, octets), 'valid')
    const written = Buffer.from((await contentsOf(octets)).get(MANIFEST) ?? utf8('')).toString()
    assert.deepEqual(written.match(/^Name: .*$/gm), ['Name: a.txt', 'Name: b.txt'])
  }
})

test('R31: an entry whose section has no digest is not covered by the signature that names it', async () => {
  const manifest = utf8('Manifest-Version: 1.0\r\n\r\nName: a.txt\r\nX-Note: no digest\r\n\r\n')
  const digest = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('base64')
  const file = utf8(
    `Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: ${digest(manifest)}\r\n\r\nName: a.txt\r\nSHA-256-Digest: ${digest(manifest.subarray(25))}\r\n\r\n`,
  )
  const content = { detached: new Map([['sha256', new Uint8Array(createHash('sha256').update(file).digest())]] as const) }
  const block = await answer({ type: 'cms', form: 'cades', contentType: contentTypes.data, content }, signer.answering)
  const signedFor = (more: Contents): Uint8Array =>
    packed(new Map([[MANIFEST, manifest], [SIGNATURE_FILE, file], [BLOCK, block], ...more]))
  assert.equal(await judged(jar, signedFor(new Map())), 'valid')
  assert.match(await judged(jar, signedFor(new Map([['a.txt', utf8('anything')]]))), /^unknown artifactUnsupported/)
})

test('an archive without a manifest gets one, and the name of a signer is one', async () => {
  const bare = packed(new Map([['a.txt', utf8('text')]]))
  assert.equal(await jar.detect(bytesSource(bare)), false)
  const { octets } = await signedWith(jar, bytesSource(bare), signer)
  assert.equal(await judged(jar, octets), 'valid')
  for (const signerName of ['', 'lower', 'TOO-LONG-A-NAME', '../A'])
    await assert.rejects(signedWith(jar, bytesSource(bare), signer, { signerName }), { reason: 'formatOption' })
})
