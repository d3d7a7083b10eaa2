/** Update archives that lie. @module */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { bytesSource } from '../artifact/blob.ts'
import { cpioEntryLike, parseCpio } from '../artifact/cpio.ts'
import { judged, signedWith, trialSigner } from '../artifact/testing.ts'
import { swupdate } from './swupdate.ts'

const signer = await trialSigner('ecdsa-p256')
const head = `070702${'0'.repeat(8)}000081a4${'0'.repeat(88)}`
const entry = (name: string, content: Uint8Array | string, as = head): Uint8Array =>
  cpioEntryLike({ head: as, sum: 0 }, name, typeof content === 'string' ? utf8(content) : content)
const trailer = entry('TRAILER!!!', '')
const file = utf8('press 7')
const sha256 = hash('sha256', file)
const saying = (text: string, ...others: readonly Uint8Array[]): Uint8Array =>
  concat([entry('sw-description', text), entry('a', file), ...others, trailer])
const good = `files: ({ filename = "a"; sha256 = "${sha256}"; });`

test('what is named with its digest is signed, in whichever part of the description', async () => {
  for (const text of [
    good,
    `software = { board = { stable = { main: { images: ({ filename = "a"; sha256 = "${sha256}" }) } } } }`,
  ]) {
    const { octets } = await signedWith(swupdate, bytesSource(saying(text)), signer)
    assert.equal(await judged(swupdate, octets), 'valid')
  }
})

const small = saying(good)
const refused: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['no digest', saying('files: ({ filename = "a"; });'), /badArtifact/],
  ['a digest that is none', saying('files: ({ filename = "a"; sha256 = "@digest"; });'), /badArtifact/],
  ['two digests', saying(`${good} more: ({ filename = "a"; sha256 = "${'0'.repeat(64)}"; });`), /badArtifact/],
  ['a second mention without digest', saying(`${good} more: ({ filename = "a"; });`), /badArtifact/],
  ['another digest', saying(`files: ({ filename = "a"; sha256 = "${'0'.repeat(64)}"; });`), /artifactChanged/],
  ['a file that is not there', saying(`${good} more: ({ filename = "b"; sha256 = "${sha256}"; });`), /artifactChanged/],
  ['a file that is not named', saying(good, entry('b', 'more')), /badArtifact/],
  ['a file twice', saying(good, entry('a', file)), /badArtifact/],
  ['a link', saying(good, entry('b', 'a', head.replace('81a4', 'a1ff'))), /artifactUnsupported/],
  ['the description second', concat([entry('a', file), entry('sw-description', good), trailer]), /badArtifact/],
  ['no trailer', small.subarray(0, -trailer.length), /badArtifact/],
  ['two forms of entries', saying(good, entry('b', '', head.replace('070702', '070701'))), /badArtifact/],
  ['something behind', concat([small, Uint8Array.of(1)]), /badArtifact/],
  ['many zeros behind', concat([small, new Uint8Array(5000)]), /badArtifact/],
  ['another sum', small.with(110 - 1, 0x30), /badArtifact/],
  ['padding that is not zero', small.with(small.indexOf(0) + 1, 1), /badArtifact/],
  ['no UTF-8', concat([entry('sw-description', Uint8Array.of(0xff)), trailer]), /badArtifact/],
]
for (const [name, octets, reason] of refused)
  test(`R31: not signed: ${name}`, async () => {
    await assert.rejects(signedWith(swupdate, bytesSource(octets), signer), ({ reason: said }: { reason: string }) =>
      reason.test(said),
    )
  })

test('a signature that is not the second entry is a file that nobody named', async () => {
  const { octets } = await signedWith(swupdate, bytesSource(small), signer)
  const { entries, end } = await parseCpio(bytesSource(octets))
  const [description, signature, image] = entries.map((one, i) => octets.slice(entries[i - 1]?.end ?? 0, one.end))
  const moved = concat(
    [description, image, signature, octets.slice(entries.at(-1)?.end, end)].map((part) => part ?? new Uint8Array()),
  )
  assert.match(await judged(swupdate, moved), /artifactUnsigned/)
})

test('a key that is not RSA makes no signature without CMS', async () => {
  const asked = signedWith(swupdate, bytesSource(small), signer, { signature: 'raw' })
  await assert.rejects(asked, { reason: 'formatAlgorithm' })
})
