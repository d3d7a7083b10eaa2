/** What of an archive is encrypted and what is refused; that swupdate reads it is shown in test/interop. @module */
import assert from 'node:assert/strict'
import { createDecipheriv } from 'node:crypto'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { cpioEntryLike, cpioPadding, parseCpio } from '#signing/artifact/cpio.ts'
import { encodeKeyFile, encryptSWUpdate, parseKeyFile } from './swupdate.ts'

const key = new Uint8Array(32).fill(7)
const random = { octets: (count: number) => new Uint8Array(count).fill(9) }
const like = { head: `070701${'0'.repeat(8)}000081A4${'0'.repeat(88)}` }

/** @param files by their names */
function archive(description: string, files: Readonly<Record<string, string>>): Uint8Array {
  const all = Object.entries({ 'sw-description': description, ...files, 'TRAILER!!!': '' })
  const octets = concat(all.map(([name, content]) => cpioEntryLike(like, name, utf8(content))))
  return concat([octets, cpioPadding(octets.length)])
}

const encrypted = async (octets: Uint8Array): Promise<Uint8Array> =>
  concat(await Array.fromAsync((await encryptSWUpdate(bytesSource(octets), secret(key), random)).read()))

const named =
  'software = { version = "2"; note = "a \\"b\\" \\\\ \\n"; n = 0x10; images: ( { filename = "a.bin"; } ); a: { scripts: ( { filename = "b.sh"; }, { filename = "a.bin"; } ); }; }'

test('R12: each file is encrypted, its entry and its digest say so wherever it is named, and an old signature goes', async () => {
  const files = { 'sw-description.sig': 'old', 'a.bin': 'x'.repeat(4096), 'b.sh': '' }
  const made = await encrypted(archive(named, files))
  const { entries } = await parseCpio(bytesSource(made))
  assert.deepEqual(
    entries.map(({ name, data }) => [name, data.length].slice(0, name === 'sw-description' ? 1 : 2)),
    [['sw-description'], ['a.bin', 4112], ['b.sh', 16]],
  )
  const [description, first] = entries.map(({ data }) => made.slice(data.offset, data.offset + data.length))
  const text = Buffer.from(description ?? []).toString()
  assert.equal(text.match(/encrypted = true/g)?.length, 3)
  assert.match(text, /note = "a \\"b\\" \\\\ \\x0a";/)
  assert.match(text, /n = 0x10;/)
  const decipher = createDecipheriv('aes-256-cbc', key, random.octets(16))
  assert.equal(Buffer.concat([decipher.update(first ?? new Uint8Array()), decipher.final()]).toString(), files['a.bin'])
})

test('what would stay readable, what is encrypted already, and what is no archive is refused', async () => {
  await assert.rejects(encrypted(archive(named, { 'c.bin': '' })), { reason: 'badArtifact' })
  await assert.rejects(encrypted(await encrypted(archive(named, { 'a.bin': '1', 'b.sh': '2' }))), { reason: 'artifactEncrypted' })
  await assert.rejects(encrypted(utf8('no archive')), { code: 'malformed' })
})

test('a key file is read as swupdate reads it', () => {
  assert.deepEqual(parseKeyFile(encodeKeyFile(key)), key)
  assert.deepEqual(parseKeyFile('07'.repeat(32)), key)
  for (const text of ['', '07'.repeat(16), `${'07'.repeat(32)} 07`, `${'0g'.repeat(32)}\n`])
    assert.throws(() => parseKeyFile(text), { reason: 'swupdateKeyFile' })
})
