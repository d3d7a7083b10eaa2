/** What a director and a maker sign, read by programs that are not ours: cbor2 of npm and of Python, and Python's cryptography. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { cdeEncodeOptions, decode, encode, type Tag } from 'cbor2'
import { encodePEM } from '#asn1/pem.ts'
import { type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import { DIRECTOR_TYPE, encodeManifest, encodeStatement, MANIFEST_TYPE } from '#updates/messages.ts'
import { manifest, statement } from '#updates/samples.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { keep } = scratch('director')
const python = needs('python3', 'python3-cryptography', 'python3-cbor2')
const program = join(import.meta.dirname, 'testdata/messages.py')
const check = async (message: Uint8Array, { answering }: TrialSigner): Promise<void> => {
  const certificate = keep(encodePEM('CERTIFICATE', answering.certificates[0]))
  const { stdout } = await run(python.path('python3'), ['-I', program, 'verify-cose', keep(message), certificate])
  assert.match(stdout, /^-\d+\n$/)
}

for (const algorithm of ['ecdsa-p256', 'ed25519'] as const) {
  test(
    `R12: Python checks a statement and a manifest signed with ${algorithm}, and finds one changed octet`,
    { skip: python.skip },
    async () => {
      const signer = await trialSigner(algorithm, 'documentSigning')
      const messages = [
        { typ: DIRECTOR_TYPE, payload: encodeStatement(statement) },
        { typ: MANIFEST_TYPE, payload: encodeManifest(manifest) },
      ]
      for (const message of messages) {
        const signed = await trialMessage(signer, { form: 'cose', ...message })
        await check(signed, signer)
        const at = Buffer.from(signed).indexOf('engine-a')
        assert.ok(at > 0)
        await assert.rejects(check(signed.with(at, 0x45), signer))
        const [protectedHeader] = decode<Tag>(signed).contents as [Uint8Array]
        const header: ReadonlyMap<unknown, unknown> = decode(protectedHeader, { preferMap: true })
        assert.equal(header.get(16), message.typ, 'the type is signed (RFC 9596)')
      }
    },
  )
}

test('R12: cbor2 reads a statement by its labels, and writes the same octets (RFC 8949, 4.2.1)', () => {
  const octets = encodeStatement(statement)
  const read: ReadonlyMap<number, unknown> = decode(octets, { preferMap: true })
  assert.deepEqual(new Uint8Array(encode(read, cdeEncodeOptions)), octets)
  assert.deepEqual([...read.keys()], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21])
  const device = read.get(2) as ReadonlyMap<number, unknown>
  assert.deepEqual([device.get(1), device.get(2)], ['acme', 'A-1042'])
  assert.deepEqual(device.get(3), statement.device.birthKey)
  assert.deepEqual([read.get(5), read.get(10), read.get(18), read.get(21)], ['engine-a', 7, 12, 'install'])
  assert.equal(read.get(20), statement.expiresAt.getTime() / 1000)
})
