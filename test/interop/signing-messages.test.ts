/**
 * COSE, JWS and DSSE with programs of others, both ways: jose, Debian's jwcrypto, cbor2 and cryptography of Python, and for
 * ML-DSA `@noble/post-quantum` over what cbor2 of npm encodes.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js'
import { cdeEncodeOptions, decode, encode, type Tag } from 'cbor2'
import * as jose from 'jose'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { OTHERS } from '#signing/artifact/message-signers.ts'
import { judged, signedWith, type TrialSigner, trialSigner, verified, withCompanion } from '#signing/artifact/testing.ts'
import type { SigningFormat } from '#signing/format.ts'
import { coseSign } from '#signing/formats/cose-sign.ts'
import { coseSign1 } from '#signing/formats/cose-sign1.ts'
import { dsse } from '#signing/formats/dsse.ts'
import { jws } from '#signing/formats/jws.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { keep } = scratch('messages')

const certificateFile = ({ answering }: TrialSigner): string => keep(encodePEM('CERTIFICATE', answering.certificates[0]))
const keyFile = ({ privateKey }: TrialSigner): string => keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))

const python = needs('python3', 'python3-cryptography', 'python3-cbor2', 'python3-jwcrypto')
const program = join(import.meta.dirname, 'testdata/messages.py')
const ask = async (...args: readonly string[]): Promise<string> =>
  (await run(python.path('python3'), ['-I', program, ...args])).stdout.trim()
const made = async (...args: readonly string[]): Promise<Uint8Array> => Uint8Array.fromBase64(await ask(...args))

const firmware = utf8('firmware of press 7\r\nversion 3\n'.repeat(40))
const firmwareFile = keep(firmware)
const changedFile = keep(firmware.with(77, 0x00))
const beside = { content: bytesSource(firmware) }
const changed = { content: bytesSource(firmware.with(77, 0x00)) }
const sign = async (format: SigningFormat, signer: TrialSigner, options: Readonly<Record<string, string>> = {}) =>
  (await signedWith(format, bytesSource(firmware), signer, options)).octets
const text = (octets: Uint8Array): string => Buffer.from(octets).toString()

for (const id of ['ecdsa-p256', 'ecdsa-p521', 'rsa-2048', 'ed25519'] as const satisfies readonly KeyAlgorithmId[]) {
  test(`R9: COSE with ${id}: Python checks ours, and we check Python's`, { skip: python.skip }, async () => {
    const signer = await trialSigner(id)
    const certificate = certificateFile(signer)
    for (const format of [coseSign1, coseSign]) {
      const message = await sign(format, signer, { contentType: 'application/octet-stream' })
      assert.match(await ask('verify-cose', keep(message), certificate, '--content', firmwareFile), /^-\d+$/)
      await assert.rejects(ask('verify-cose', keep(message), certificate, '--content', changedFile))
      const attached = await sign(format, signer, { content: 'attached' })
      await ask('verify-cose', keep(attached), certificate)
      await assert.rejects(ask('verify-cose', keep(attached.with(attached.indexOf(0x66), 0x67)), certificate))
    }
    for (const how of ['detached', 'attached', 'several']) {
      const message = await made('sign-cose', keyFile(signer), certificate, firmwareFile, how)
      const format = how === 'several' ? coseSign : coseSign1
      assert.equal(await judged(format, message, how === 'detached' ? beside : undefined), 'valid')
      const at = message.length - 60
      const broken = message.with(at, (message[at] as number) ^ 1)
      assert.equal(await judged(format, broken, how === 'detached' ? beside : undefined), 'invalid rawSignature')
      if (how === 'detached') assert.equal(await judged(format, message, changed), 'invalid rawSignature')
    }
  })
}

for (const id of ['ecdsa-p256', 'rsa-2048', 'ed25519'] as const) {
  test(`R9: DSSE with ${id}: Python checks ours, and we check Python's`, { skip: python.skip }, async () => {
    const signer = await trialSigner(id)
    const certificate = certificateFile(signer)
    const envelope = await sign(dsse, signer, { payloadType: 'application/vnd.préss' })
    assert.match(await ask('verify-dsse', keep(envelope), certificate), /^[0-9a-f]{64}$/)
    await assert.rejects(ask('verify-dsse', keep(text(envelope).replace('préss', 'press')), certificate))
    for (const how of id === 'rsa-2048' ? [[], ['pss']] : [[]]) {
      const theirs = await made('sign-dsse', keyFile(signer), certificate, firmwareFile, 'application/vnd.préss', ...how)
      assert.equal(await judged(dsse, theirs), 'valid')
      assert.equal(await judged(dsse, utf8(text(theirs).replace('pr\\u00e9ss', 'press'))), 'invalid rawSignature')
    }
  })
}

const joseNames = {
  'ecdsa-p256': 'ES256',
  'ecdsa-p384': 'ES384',
  'ecdsa-p521': 'ES512',
  'rsa-2048': 'PS256',
  ed25519: 'EdDSA',
  'ml-dsa-44': 'ML-DSA-44',
  'ml-dsa-65': 'ML-DSA-65',
} as const satisfies Partial<Record<KeyAlgorithmId, string>>

for (const [id, alg] of Object.entries(joseNames) as [keyof typeof joseNames, string][]) {
  test(`R9: JWS with ${alg}: jose checks ours, and we check jose's`, async () => {
    const trial = await trialSigner(id)
    const signer =
      id === 'rsa-2048' ? { ...trial, answering: { ...trial.answering, signatureAlgorithm: 'rsa-pss-sha256' as const } } : trial
    const { privateKey: key } = signer
    const spki = encodePEM('PUBLIC KEY', signer.answering.key.publicKey)
    const publicKey = await jose.importSPKI(spki, alg)

    const compact = text(await sign(jws, signer, { content: 'attached', type: 'press' }))
    const read = await jose.compactVerify(compact, publicKey)
    assert.deepEqual([new Uint8Array(read.payload), read.protectedHeader.alg], [firmware, alg])
    await assert.rejects(
      jose.compactVerify(
        compact.replace(/\.(.)/, (_, one) => `.${one === 'A' ? 'B' : 'A'}`),
        publicKey,
      ),
    )

    const unencoded = JSON.parse(text(await sign(jws, signer, { serialization: 'flattened', payload: 'unencoded' }))) as object
    await jose.flattenedVerify({ ...unencoded, payload: firmware } as jose.FlattenedJWSInput, publicKey)
    await assert.rejects(
      jose.flattenedVerify({ ...unencoded, payload: firmware.with(3, 0) } as jose.FlattenedJWSInput, publicKey),
    )

    const x5c = signer.answering.certificates.map((each) => each.toBase64())
    const theirs = await new jose.CompactSign(firmware).setProtectedHeader({ alg, x5c }).sign(key)
    assert.equal(await judged(jws, utf8(theirs)), 'valid')
    const broken = theirs.replace(/(.)(.{20})$/, (_, one, rest) => `${one === 'A' ? 'B' : 'A'}${rest}`)
    assert.equal(await judged(jws, utf8(broken)), 'invalid rawSignature')
    const { payload, ...detached } = await new jose.FlattenedSign(firmware)
      .setProtectedHeader({ alg, x5c, b64: false, crit: ['b64'] })
      .sign(key)
    assert.ok(payload === undefined || payload === '')
    assert.equal(await judged(jws, utf8(JSON.stringify(detached)), beside), 'valid')
    assert.equal(await judged(jws, utf8(JSON.stringify(detached)), changed), 'invalid rawSignature')
  })
}

test('R31: two signatures: jose checks each where it is told that the list of the others is understood', async () => {
  const [classical, quantum] = await Promise.all([trialSigner('ecdsa-p256'), trialSigner('ml-dsa-65')])
  const message = JSON.parse(
    text(await sign(jws, withCompanion(classical, quantum), { content: 'attached' })),
  ) as jose.GeneralJWSInput
  for (const [signer, alg] of [
    [classical, 'ES256'],
    [quantum, 'ML-DSA-65'],
  ] as const) {
    const publicKey = await jose.importSPKI(encodePEM('PUBLIC KEY', signer.answering.key.publicKey), alg)
    await assert.rejects(jose.generalVerify(message, publicKey))
    const { payload, protectedHeader } = await jose.generalVerify(message, publicKey, { crit: { [OTHERS]: true } })
    assert.deepEqual(new Uint8Array(payload), firmware)
    assert.equal(protectedHeader?.alg, alg)
  }
})

test("R9: several signatures of jose's are each judged", async () => {
  const signers = await Promise.all([trialSigner('ecdsa-p256'), trialSigner('ed25519')])
  const builder = new jose.GeneralSign(firmware)
  for (const [at, { privateKey, answering }] of signers.entries())
    builder
      .addSignature(privateKey)
      .setProtectedHeader({ alg: at === 0 ? 'ES256' : 'EdDSA' })
      .setUnprotectedHeader({ x5c: answering.certificates.map((each) => each.toBase64()) })
  const { valid, signatures } = await verified(jws, utf8(JSON.stringify(await builder.sign())))
  assert.deepEqual([valid, signatures.map(({ verdict }) => verdict)], [true, ['valid', 'valid']])
})

for (const [id, alg] of [
  ['ecdsa-p256', 'ES256'],
  ['rsa-2048', 'RS256'],
  ['ed25519', 'EdDSA'],
] as const) {
  test(`R9: JWS with ${alg}: jwcrypto checks ours, and we check jwcrypto's`, { skip: python.skip }, async () => {
    const signer = await trialSigner(id)
    const certificate = certificateFile(signer)
    assert.equal(await ask('verify-jws', keep(await sign(jws, signer, { content: 'attached' })), certificate), 'verified')
    const detached = keep(await sign(jws, signer, { serialization: 'flattened' }))
    assert.equal(await ask('verify-jws', detached, certificate, firmwareFile), 'verified')
    await assert.rejects(ask('verify-jws', detached, certificate, changedFile))
    for (const how of ['compact', 'detached'])
      assert.equal(
        await judged(
          jws,
          await made('sign-jws', keyFile(signer), certificate, firmwareFile, alg, how),
          how === 'detached' ? beside : undefined,
        ),
        'valid',
      )
  })
}

test('R31: two signatures of COSE: ML-DSA checked by code that is neither OpenSSL nor ours', { skip: python.skip }, async () => {
  const [classical, quantum] = await Promise.all([trialSigner('ecdsa-p256'), trialSigner('ml-dsa-65')])
  const message = await sign(coseSign, withCompanion(classical, quantum))
  await ask('verify-cose', keep(message), certificateFile(classical), '--content', firmwareFile)
  const [body, , , signatures] = decode<Tag>(message).contents as [Uint8Array, unknown, null, [Uint8Array, unknown, Uint8Array][]]
  const [own, , signature] = signatures[1] ?? assert.fail('there is a second signature')
  const header = decode(own) as ReadonlyMap<unknown, unknown>
  assert.deepEqual([header.get(1), header.get(2)], [-49, [OTHERS]])
  const structure = (content: Uint8Array): Uint8Array =>
    encode(['Signature', body, own, new Uint8Array(), content], cdeEncodeOptions)
  const publicKey = quantum.answering.key.publicKey.slice(-1952)
  assert.equal(ml_dsa65.verify(signature, structure(firmware), publicKey), true)
  assert.equal(ml_dsa65.verify(signature, structure(firmware.with(7, 0)), publicKey), false)
})
