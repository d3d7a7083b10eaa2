/**
 * Plain and CMS signatures and time stamps with OpenSSL and GnuTLS, both ways.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { decode, encode } from '#asn1/codec.ts'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { ContentInfo } from '#cms/content-info.ts'
import { digestOf } from '#cms/digests.ts'
import { parseSignedData, SignedDataContent } from '#cms/signed-data.ts'
import {
  encodeGrantedTimeStamp,
  encodeTimeStampRequest,
  encodeTimeStampToken,
  parseTimeStampRequest,
  parseTimeStampResponse,
  verifyTimeStamp,
} from '#cms/timestamp.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import {
  AT,
  judged,
  quantumAuthority,
  root,
  signedWith,
  type TrialSigner,
  trialSigner,
  trialTimeStamps,
  withCompanion,
} from '#signing/artifact/testing.ts'
import { verifyArtifact } from '#signing/artifact/verify.ts'
import { cms } from '#signing/formats/cms.ts'
import { plain } from '#signing/formats/plain.ts'
import { TEST_NOT_AFTER } from '#x509/testing.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { folder, keep } = scratch('signing')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const certificateOf = ({ answering }: TrialSigner): Uint8Array => answering.certificates[0]
const pem = (der: Uint8Array): string => encodePEM('CERTIFICATE', der)
const keyFile = ({ privateKey }: TrialSigner): string => keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))

const openssl = needs('openssl')
const certtool = needs('certtool')
const python = needs('python3', 'python3-pyasn1-modules')
const ssl = (...args: string[]): Promise<{ stdout: string; stderr: string }> => run(openssl.path('openssl'), args)

const firmware = utf8('firmware of press 7\r\nversion 3\n'.repeat(400))
const firmwareFile = keep(firmware)
const changedFile = keep(firmware.with(77, 0x00))
const rootFile = keep(pem(root))

for (const [id, digest] of [
  ['ecdsa-p256', 'sha256'],
  ['ecdsa-p384', 'sha384'],
  ['rsa-3072', 'sha256'],
] as const satisfies readonly (readonly [KeyAlgorithmId, string])[]) {
  test(`R9: plain ${id}: openssl dgst checks ours, and we check its`, { skip: openssl.skip }, async () => {
    const signer = await trialSigner(id)
    const publicKey = keep(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const { octets } = await signedWith(plain, bytesSource(firmware), signer, { send: 'message' })
    const check = ['dgst', `-${digest}`, '-prverify', publicKey, '-signature', keep(octets)]
    assert.match((await ssl(...check, firmwareFile)).stdout, /Verified OK/)
    await assert.rejects(ssl(...check, changedFile))

    const theirs = keep('')
    await ssl('dgst', `-${digest}`, '-sign', keyFile(signer), '-out', theirs, firmwareFile)
    const beside = { content: bytesSource(firmware), certificates: [certificateOf(signer)] }
    assert.equal(await judged(plain, read(theirs), beside), 'valid')
    const changed = { ...beside, content: bytesSource(read(changedFile)) }
    assert.equal(await judged(plain, read(theirs), changed), 'invalid rawSignature')
  })
}

test('R9: a plain RSA signature over nothing but a digest is the one over the file', { skip: openssl.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const { octets } = await signedWith(plain, bytesSource(firmware), signer)
  assert.deepEqual(octets, (await signedWith(plain, bytesSource(firmware), signer, { send: 'message' })).octets)
  const check = ['dgst', '-sha256', '-prverify', keyFile(signer), '-signature', keep(octets), firmwareFile]
  assert.match((await ssl(...check)).stdout, /Verified OK/)
})

test('R9: Ed25519 over the file itself', { skip: openssl.skip }, async () => {
  const signer = await trialSigner('ed25519')
  const { octets } = await signedWith(plain, bytesSource(firmware), signer)
  const args = ['pkeyutl', '-verify', '-rawin', '-inkey', keyFile(signer), '-in', firmwareFile, '-sigfile', keep(octets)]
  assert.match((await ssl(...args)).stdout, /Verified Successfully/)
})

test('R9: CMS, detached and attached: openssl checks ours to its root', { skip: openssl.skip }, async () => {
  const signer = await trialSigner('ecdsa-p256')
  const out = keep('')
  const check = ['cms', '-verify', '-cades', '-binary', '-inform', 'DER', '-CAfile', rootFile, '-purpose', 'any', '-out', out]
  const detached = keep((await signedWith(cms, bytesSource(firmware), signer)).octets)
  await ssl(...check, '-in', detached, '-content', firmwareFile)
  await assert.rejects(ssl(...check, '-in', detached, '-content', changedFile), /Verification failure/)
  const attached = (await signedWith(cms, bytesSource(firmware), signer, { content: 'attached' })).octets
  await ssl(...check, '-in', keep(attached))
  assert.deepEqual(read(out), firmware)
  const at = Buffer.from(attached).indexOf('press')
  await assert.rejects(ssl(...check, '-in', keep(attached.with(at, 0x50))), /Verification failure/)
  assert.equal(await judged(cms, attached.with(at, 0x50)), 'invalid cmsContentChanged')
})

test('R9: certtool checks ours to its root', { skip: certtool.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const detached = keep((await signedWith(cms, bytesSource(firmware), signer)).octets)
  const check = (content: string) =>
    run(certtool.path('certtool'), [
      '--p7-verify',
      '--inder',
      `--infile=${detached}`,
      `--load-data=${content}`,
      `--load-ca-certificate=${rootFile}`,
    ])
  const { stdout, stderr } = await check(firmwareFile)
  assert.match(stdout + stderr, /Signature status: (ok|verified)/)
  await assert.rejects(check(changedFile))
})

test('R9: CMS of openssl, in DER, in pieces and in PEM, verifies here', { skip: openssl.skip }, async () => {
  const signer = await trialSigner('rsa-2048')
  const sign = [
    'cms',
    '-sign',
    '-binary',
    '-signer',
    keep(pem(certificateOf(signer))),
    '-inkey',
    keyFile(signer),
    '-in',
    firmwareFile,
  ]
  for (const options of [
    ['-outform', 'DER', '-nodetach'],
    ['-outform', 'DER', '-nodetach', '-stream', '-cades'],
    ['-outform', 'PEM', '-nodetach', '-keyid'],
  ]) {
    const out = keep('')
    await ssl(...sign, ...options, '-out', out)
    assert.equal(await cms.detect(bytesSource(read(out))), true)
    assert.equal(await judged(cms, read(out)), 'valid')
  }
  const bare = keep('')
  await ssl(...sign, '-noattr', '-outform', 'DER', '-out', bare)
  assert.equal(await judged(cms, read(bare), { content: bytesSource(firmware) }), 'valid')
  assert.match(await judged(cms, read(bare), { content: bytesSource(read(changedFile)) }), /invalid cmsSignature/)
})

const TSA_SETTINGS = `[tsa]
default_tsa = here
[here]
serial = FOLDER/serial
default_policy = 1.3.6.1.4.1.32473.9
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
clock_precision_digits = 3
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = ALGORITHM
`

test('R28: openssl ts asks, we answer, and it is satisfied', { skip: openssl.skip }, async () => {
  const query = keep('')
  await ssl('ts', '-query', '-data', firmwareFile, '-sha256', '-cert', '-tspolicy', '1.3.6.1.4.1.32473.9', '-out', query)
  const request = parseTimeStampRequest(read(query))
  assert.equal(request.certReq, true)
  assert.equal(request.reqPolicy, '1.3.6.1.4.1.32473.9')
  assert.deepEqual(request.imprint, { digestAlgorithm: 'sha256', digest: digestOf('sha256', firmware) })
  const { answering } = await trialSigner('ecdsa-p256', 'timeStamping')
  const [certificate, ...above] = answering.certificates
  const token = await encodeTimeStampToken(
    {
      policy: '1.3.6.1.4.1.32473.9',
      imprint: request.imprint,
      serialNumber: Uint8Array.of(1, 2),
      genTime: new Date('2027-05-02T01:02:03.450Z'),
      accuracy: { seconds: 1 },
      ordering: false,
      nonce: request.nonce,
      extensions: [],
    },
    { key: answering.key, certificate, signatureAlgorithm: answering.signatureAlgorithm },
    above,
  )
  const response = keep(encodeGrantedTimeStamp(token))
  const check = ['ts', '-verify', '-in', response, '-CAfile', rootFile]
  assert.match((await ssl(...check, '-queryfile', query)).stdout, /Verification: OK/)
  assert.match((await ssl(...check, '-data', firmwareFile)).stdout, /Verification: OK/)
  await assert.rejects(ssl(...check, '-data', changedFile), /message imprint mismatch/)
  assert.match((await ssl('ts', '-reply', '-in', response, '-text')).stdout, /May  2 01:02:03.45 2027 GMT/)
})

test(
  'R28: we ask, openssl ts answers with either certificate identifier, and we are satisfied',
  { skip: openssl.skip },
  async () => {
    const authority = await trialSigner('rsa-2048', 'timeStamping')
    const nonce = Uint8Array.of(1, 2, 3)
    const imprint = { digestAlgorithm: 'sha256', digest: digestOf('sha256', firmware) } as const
    const query = keep(encodeTimeStampRequest({ imprint, nonce, certReq: true, extensions: [] }))
    for (const algorithm of ['sha1', 'sha256', 'sha384']) {
      const settings = keep(TSA_SETTINGS.replace('FOLDER', folder).replace('ALGORITHM', algorithm))
      const out = keep('')
      const key = ['-inkey', keyFile(authority), '-signer', keep(pem(certificateOf(authority))), '-sha256']
      await ssl('ts', '-reply', '-config', settings, '-queryfile', query, ...key, '-chain', rootFile, '-out', out)
      const token = parseTimeStampResponse(read(out))
      const question = { digestWith: (id: Parameters<typeof digestOf>[0]) => digestOf(id, firmware), nonce }
      const { info, signer } = await verifyTimeStamp(token, question)
      assert.deepEqual(info.imprint, imprint)
      assert.equal(info.ordering, true)
      assert.deepEqual(signer.certificate.der, certificateOf(authority))
      // the answer as a file beside the artifact, as of the time it states: proof of a time, and nobody's signature
      const judgedAs = async (content: Uint8Array, purpose: 'time-stamping' | 'code-signing') => {
        const beside = { content: bytesSource(content) }
        const { valid, signatures } = await verifyArtifact(cms, bytesSource(read(out)), {
          at: AT,
          anchors: [root],
          beside,
          purpose,
        })
        return [valid, signatures[0]?.problem?.reason]
      }
      assert.deepEqual(await judgedAs(firmware, 'time-stamping'), [true, undefined])
      assert.deepEqual(await judgedAs(read(changedFile), 'time-stamping'), [false, 'artifactChanged'])
      assert.deepEqual(await judgedAs(firmware, 'code-signing'), [false, 'signatureIsTimeStamp'])
    }
  },
)

/** The same message with some of its signatures: what a verifier sees that drops those that it does not know, or an attacker makes. */
function withSigners(message: Uint8Array, keep: (index: number) => boolean): Uint8Array {
  const { contentType, content } = decode(ContentInfo, message, { maxOctets: message.length })
  const signedData = decode(SignedDataContent, content, { maxOctets: content.length })
  const signerInfos = signedData.signerInfos.filter((_, index) => keep(index))
  return encode(ContentInfo, { contentType, content: encode(SignedDataContent, { ...signedData, signerInfos }) })
}

const checkDetached = (message: Uint8Array, content: string) =>
  ssl(
    ...['cms', '-verify', '-binary', '-inform', 'DER', '-CAfile', rootFile, '-purpose', 'any', '-out', keep('')],
    ...['-in', keep(message), '-content', content],
  )

test('R9: two classical keys that name each other: openssl checks both', { skip: openssl.skip }, async () => {
  const both = withCompanion(await trialSigner('rsa-2048'), await trialSigner('ecdsa-p384'))
  const { octets } = await signedWith(cms, bytesSource(firmware), both)
  await checkDetached(octets, firmwareFile)
  await assert.rejects(checkDetached(octets, changedFile), /Verification failure/)
  const { stdout } = await ssl('cms', '-cmsout', '-print', '-inform', 'DER', '-in', keep(octets))
  assert.equal(stdout.match(/1\.2\.840\.113549\.1\.9\.16\.2\.51|multipleSignatures/g)?.length, 2)
})

test(
  'R9: a classical and a post-quantum key: what OpenSSL 3.0 and GnuTLS make of it',
  { skip: openssl.skip || certtool.skip },
  async () => {
    const quantum = await trialSigner('ml-dsa-65', 'codeSigning', TEST_NOT_AFTER, quantumAuthority)
    const both = withCompanion(await trialSigner('rsa-2048'), quantum)
    const { octets } = await signedWith(cms, bytesSource(firmware), both)
    const beside = { content: bytesSource(firmware) }
    const anchors = [root, quantumAuthority.certificate]
    assert.equal((await verifyArtifact(cms, bytesSource(octets), { at: AT, anchors, beside })).valid, true)
    // the classical signature is good for itself, and we say that the other is missing
    const classical = withSigners(octets, (index) => index === 0)
    await checkDetached(classical, firmwareFile)
    await assert.rejects(checkDetached(classical, changedFile), /Verification failure/)
    assert.match(await judged(cms, classical, beside), /invalid cmsSignatureMissing/)
    const { stdout } = await ssl('version')
    // it judges every signer, and ML-DSA came with 3.5
    if (/^OpenSSL 3\.[0-4]\./.test(stdout))
      await assert.rejects(checkDetached(octets, firmwareFile), /no public key|unable to get/)
    const check = (content: string) =>
      run(certtool.path('certtool'), [
        ...['--p7-verify', '--inder', `--infile=${keep(octets)}`, `--load-data=${content}`],
        `--load-ca-certificate=${rootFile}`,
      ])
    const answer = await check(firmwareFile)
    assert.match(answer.stdout + answer.stderr, /Signature status: (ok|verified)/)
    await assert.rejects(check(changedFile))
  },
)

test(
  'RFC 5752: pyasn1 finds every signature that another names, and misses one that was exchanged',
  { skip: python.skip },
  async () => {
    const both = withCompanion(await trialSigner('rsa-2048'), await trialSigner('ml-dsa-65'))
    const { octets } = await signedWith(cms, bytesSource(firmware), both)
    const read = (message: Uint8Array): Promise<{ stdout: string }> =>
      run(python.path('python3'), [join(import.meta.dirname, 'testdata', 'rfc5752.py'), keep(message)])
    assert.deepEqual((await read(octets)).stdout.trim().split('\n'), [
      '2.16.840.1.101.3.4.3.18 sha256', // by the RSA key, of the one with ML-DSA-65
      '1.2.840.113549.1.1.1 sha512', // and the other way round
    ])
    const { signerInfos } = parseSignedData(octets)
    const at = Buffer.from(octets).indexOf(signerInfos[1]?.signedAttrs?.der ?? assert.fail())
    const other = Buffer.from(octets).indexOf(Buffer.from('270501', 'latin1'), at) // its signing time
    assert.ok(other > at)
    await assert.rejects(read(octets.with(other + 1, 0x38)), /none is meant/)
  },
)

test('R28: openssl finds our time stamp in a CMS signature', { skip: openssl.skip }, async () => {
  const signer = await trialSigner('ecdsa-p256')
  const timeStamp = await trialTimeStamps(new Date('2027-05-02T00:00:00Z'))
  const stamped = { ...signer, answering: { ...signer.answering, timeStamp } }
  const message = keep((await signedWith(cms, bytesSource(firmware), stamped)).octets)
  const out = keep('')
  const check = [
    'cms',
    '-verify',
    '-binary',
    '-inform',
    'DER',
    '-CAfile',
    rootFile,
    '-purpose',
    'any',
    '-out',
    out,
    '-in',
    message,
  ]
  await ssl(...check, '-content', firmwareFile)
  assert.match((await ssl('cms', '-cmsout', '-print', '-inform', 'DER', '-in', message)).stdout, /id-smime-aa-timeStampToken/)
})
