/** Checkpoints: the text the standard asks for, the refusal of all else. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Signer } from '#keys/key-store.ts'
import { needs } from '../../test/interop/programs.ts'
import { openCheckpoint, signCheckpoint } from './note.ts'
import { logVerifierKey } from './note-key.ts'

const { privateKey, publicKey: publicObject } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const publicKey = new Uint8Array(publicObject.export({ format: 'der', type: 'spki' }))
const signer: Signer = {
  label: 'log',
  keyAlgorithm: 'ecdsa-p256',
  publicKey,
  sign: async (message) => new Uint8Array(sign('sha256', message, privateKey)),
}
const checkpoint = { origin: 'pki.example/audit', size: 20852163, rootHash: new Uint8Array(32).fill(7) }
const text = `pki.example/audit\n20852163\n${checkpoint.rootHash.toBase64()}\n`

test('C2SP tlog-checkpoint: three lines, an empty one, the signature line', async () => {
  const note = await signCheckpoint(checkpoint, signer)
  const [, signed, line] = /^(.*\n)\n(— .*\n)$/s.exec(note) ?? []
  assert.equal(signed, text)
  const [, name, base64] = /^— (\S+) (\S+)\n$/.exec(line ?? '') ?? []
  assert.equal(name, 'pki.example/audit')
  const octets = Uint8Array.fromBase64(base64 ?? '')
  assert.equal(octets.subarray(0, 4).toHex(), createHash('sha256').update(publicKey).digest('hex').slice(0, 8)) // type 0x02
  assert.deepEqual(await openCheckpoint(note, publicKey), checkpoint)
})

const tools = needs('openssl')

test('openssl verifies the signature over the text', { skip: tools.skip }, async () => {
  const note = await signCheckpoint(checkpoint, signer)
  const signature = Uint8Array.fromBase64(/ (\S+)\n$/.exec(note)?.[1] ?? '').subarray(4)
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-note-'))
  try {
    writeFileSync(join(directory, 'key.pem'), publicObject.export({ format: 'pem', type: 'spki' }))
    writeFileSync(join(directory, 'text'), text)
    writeFileSync(join(directory, 'signature'), signature)
    const command = ['dgst', '-sha256', '-verify', 'key.pem', '-signature', 'signature', 'text']
    const said = execFileSync(tools.path('openssl'), command, { cwd: directory, encoding: 'utf8' })
    assert.match(said, /Verified OK/)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('C2SP signed-note: signatures of unknown keys are ignored, several lines accepted', async () => {
  const note = await signCheckpoint(checkpoint, signer)
  const witness = `— witness.example/w1 ${new Uint8Array(80).toBase64()}\n`
  const split = note.indexOf('—')
  assert.deepEqual(await openCheckpoint(note + witness.repeat(15), publicKey), checkpoint)
  assert.deepEqual(await openCheckpoint(note.slice(0, split) + witness + note.slice(split), publicKey), checkpoint)
  await assert.rejects(openCheckpoint(note.slice(0, split) + witness, publicKey), { code: 'badProof' })
})

test('C2SP signed-note: a key is known by its name and its id together', async () => {
  const note = await signCheckpoint(checkpoint, signer)
  const renamed = note.replace('— pki.example/audit ', '— other.example/audit ')
  await assert.rejects(openCheckpoint(renamed, publicKey), { code: 'badProof' })
})

test('C2SP tlog-checkpoint: extension lines belong to the signed text', async () => {
  const extended = `${text}extension line\n`
  const id = createHash('sha256').update(publicKey).digest().subarray(0, 4)
  const line = `— pki.example/audit ${Buffer.concat([id, sign('sha256', Buffer.from(extended), privateKey)]).toString('base64')}\n`
  assert.deepEqual(await openCheckpoint(`${extended}\n${line}`, publicKey), checkpoint)
  await assert.rejects(openCheckpoint(`${text}\n${line}`, publicKey), { code: 'badProof' })
})

test('the verifier key names origin, key and signature type', () => {
  const [name, id, key] = logVerifierKey('pki.example/audit', publicKey).split('+', 3)
  assert.equal(name, 'pki.example/audit')
  assert.equal(id, createHash('sha256').update(publicKey).digest('hex').slice(0, 8))
  const encoded = logVerifierKey('pki.example/audit', publicKey).slice(`${name}+${id}+`.length)
  assert.ok(encoded.startsWith(key ?? 'none'))
  assert.deepEqual(Uint8Array.fromBase64(encoded), Uint8Array.of(2, ...publicKey))
})

test('every changed character of the text breaks the signature or the form', async () => {
  const note = await signCheckpoint(checkpoint, signer)
  for (let at = 0; at < text.length; at++) {
    const changed = note.slice(0, at) + (note[at] === '1' ? '2' : '1') + note.slice(at + 1)
    await assert.rejects(openCheckpoint(changed, publicKey), { name: 'TrustError' }, `character ${at}`)
  }
})

const line = `— a ${new Uint8Array(72).toBase64()}\n`
const root = new Uint8Array(32).toBase64()
const malformed = [
  { name: 'nothing', note: '' },
  { name: 'no signature', note: text },
  { name: 'no signature line', note: `${text}\n` },
  { name: 'no last newline', note: `${text}\n${line}`.slice(0, -1) },
  { name: 'two lines', note: `a\n1\n\n${line}` },
  { name: 'a leading zero', note: `a\n01\n${root}\n\n${line}` },
  { name: 'a negative size', note: `a\n-1\n${root}\n\n${line}` },
  { name: 'a size past what can be counted', note: `a\n9007199254740993\n${root}\n\n${line}` },
  { name: 'a short root hash', note: `a\n1\n${new Uint8Array(31).toBase64()}\n\n${line}` },
  { name: 'a root hash with loose bits', note: `a\n1\n${root.replace(/A=$/, 'B=')}\n\n${line}` },
  { name: 'an empty line among the extensions', note: `a\n1\n${root}\n\nx\n\n${line}` },
  { name: 'a carriage return', note: `a\r\n1\n${root}\n\n${line}` },
  { name: 'a tab', note: `a\t\n1\n${root}\n\n${line}` },
  { name: 'a hyphen for the dash', note: `a\n1\n${root}\n\n${line.replace('—', '-')}` },
  { name: 'a signature that is only a key id', note: `a\n1\n${root}\n\n— a AAAAAA==\n` },
  { name: 'a name with a plus sign', note: `a\n1\n${root}\n\n${line.replace(' a ', ' a+b ')}` },
  { name: 'more than the limit', note: `a\n1\n${root}\n\n${line.repeat(2000)}` },
]
for (const { name, note } of malformed) {
  test(`refuses ${name}`, () => assert.rejects(openCheckpoint(note, publicKey), { code: 'malformed', reason: 'notCheckpoint' }))
}
