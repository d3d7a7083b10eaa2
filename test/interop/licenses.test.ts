/** Licenses and usage records by programs of others: jose for the JWT, cbor2 of npm and Debian's Python for the CWT. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, createPublicKey, sign } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { cdeEncodeOptions, decode, encode, type Tag } from 'cbor2'
import * as jose from 'jose'
import { encodePEM } from '#asn1/pem.ts'
import { encodeLicense, formOf, type License, LICENSE_TYPES, thumbprintsOf } from '#licenses/messages.ts'
import { licenses } from '#licenses/samples.ts'
import { trialSigner } from '#signing/artifact/testing.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import { encodeUsage, signUsage } from '#usage/messages.ts'
import { testChain } from '#usage/testing.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { keep } = scratch('licenses')
const python = needs('python3', 'python3-cryptography', 'python3-cbor2')
const program = join(import.meta.dirname, 'testdata/messages.py')
const verified = async (message: Uint8Array, certificate: Uint8Array): Promise<string> =>
  (await run(python.path('python3'), ['-I', program, 'verify-cose', keep(message), keep(encodePEM('CERTIFICATE', certificate))]))
    .stdout

const device = makeKey()
const jwk = createPublicKey(device.privateKey).export({ format: 'jwk' })
const keys = thumbprintsOf(device.publicKey)
const maker = await trialSigner('ecdsa-p256', 'documentSigning')
const [certificate] = maker.answering.certificates
const signed = (license: License): Promise<Uint8Array> => {
  const form = formOf(license)
  return trialMessage(maker, { form: form === 'cwt' ? 'cose' : 'jws', typ: LICENSE_TYPES[form], payload: encodeLicense(license) })
}

test('R13: jose verifies a license as a JWT, and finds the device by RFC 7638', async () => {
  const license = { ...licenses[1], confirmation: { jkt: keys.jkt } }
  const token = new TextDecoder().decode(await signed(license))
  const key = await jose.importX509(encodePEM('CERTIFICATE', certificate), 'ES256')
  const expected = { typ: 'license+jwt', issuer: 'acme', subject: 'P-1' }
  const { payload } = await jose.jwtVerify(token, key, { ...expected, currentDate: new Date(license.notBefore + 1000) })
  assert.deepEqual(payload['cnf'], { jkt: await jose.calculateJwkThumbprint(jwk as jose.JWK) })
  assert.deepEqual([payload['features'], payload['seq'], payload.jti], [license.features, 2, license.id])
  const late = jose.jwtVerify(token, key, { ...expected, currentDate: new Date((license.expiresAt ?? 0) + 1000) })
  await assert.rejects(late, { code: 'ERR_JWT_EXPIRED' })
  const early = jose.jwtVerify(token, key, { ...expected, currentDate: new Date(license.notBefore - 1000) })
  await assert.rejects(early, { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' })
  await assert.rejects(jose.jwtVerify(token, key, { ...expected, typ: 'command+jwt' }), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  })
  await assert.rejects(jose.jwtVerify(`${token.slice(0, -4)}AAAA`, key), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' })
})

test('R13: cbor2 reads a license as a CWT, and finds the device by RFC 9679', async () => {
  const message = await signed({ ...licenses[0], confirmation: { ckt: keys.ckt } })
  const { tag, contents } = decode(message) as Tag & { readonly contents: [Uint8Array, unknown, Uint8Array, Uint8Array] }
  const headers = decode<Map<number, unknown>>(contents[0], { preferMap: true })
  assert.deepEqual([tag, headers.get(16), headers.get(1)], [18, 'license+cwt', -7])
  const claims = decode<Map<number, unknown>>(contents[2], { preferMap: true })
  const coordinate = (name: 'x' | 'y'): Uint8Array => Uint8Array.fromBase64(jwk[name] as string, { alphabet: 'base64url' })
  const coseKey = encode(
    new Map<number, unknown>([
      [1, 2],
      [-1, 1],
      [-2, coordinate('x')],
      [-3, coordinate('y')],
    ]),
    cdeEncodeOptions,
  )
  const ckt = new Uint8Array(createHash('sha256').update(coseKey).digest())
  assert.deepEqual(claims.get(8), new Map([[5, ckt]]))
  assert.deepEqual([claims.get(1), claims.get(2), claims.get(4)], ['acme', 'P-1', (licenses[0].expiresAt ?? 0) / 1000])
  assert.equal(Buffer.from(claims.get(7) as Uint8Array).toString('hex'), licenses[0].id.replaceAll('-', ''))
})

test(
  'R13, R32: Python verifies licenses and usage records, and refuses them with an octet changed',
  { skip: python.skip },
  async () => {
    const key = makeKey()
    const own = await makeCertificate(key)
    const [record] = testChain('ab'.repeat(16), 1)
    assert.ok(record !== undefined)
    const signer = { certificate: own, keyAlgorithm: 'ecdsa-p256', signatureAlgorithm: 'ecdsa-sha256' } as const
    const usage = await signUsage(encodeUsage(record), {
      ...signer,
      sign: async (octets) => new Uint8Array(sign('sha256', octets, key.privateKey)),
    })
    for (const [message, by] of [
      [await signed(licenses[0]), certificate],
      [usage, own],
    ] as const) {
      assert.match(await verified(message, by), /\S/)
      const at = message.length - 80 // in the payload
      await assert.rejects(verified(message.with(at, (message[at] ?? 0) ^ 1), by), { code: 1 })
    }
  },
)
