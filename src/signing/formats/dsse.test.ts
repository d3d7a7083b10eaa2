import assert from 'node:assert/strict'
import { createHash, verify } from 'node:crypto'
import { test } from 'node:test'
import { importKeyMembers } from '#algorithms/jwk-form.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { bytesSource } from '../artifact/blob.ts'
import { encodePAEHead, parseEnvelope } from '../artifact/dsse-envelope.ts'
import { PROVENANCE_TYPE, STATEMENT_MEDIA_TYPE, STATEMENT_TYPE } from '../artifact/statement.ts'
import { AT, judged, root, signedWith, type TrialSigner, trialSigner, verified, withCompanion } from '../artifact/testing.ts'
import { verifyArtifact } from '../artifact/verify.ts'
import type { Beside } from '../format.ts'
import { dsse } from './dsse.ts'

const firmware = utf8('firmware of press 7\n'.repeat(20))
const [p256, quantum, rsa] = await Promise.all((['ecdsa-p256', 'ml-dsa-65', 'rsa-2048'] as const).map((id) => trialSigner(id)))
assert.ok(p256 !== undefined && quantum !== undefined && rsa !== undefined)
const dual = withCompanion(p256, quantum)

type Options = Readonly<Record<string, string>>
const sign = async (signer: TrialSigner, options: Options = {}, octets = firmware): Promise<Uint8Array> =>
  (await signedWith(dsse, bytesSource(octets), signer, options)).octets
const build: Options = {
  content: 'provenance',
  subject: 'press.bin',
  builderId: 'https://builds.example/line1',
  buildType: 'https://builds.example/types/firmware/v1',
  externalParameters: '{"branch":"release-3"}',
  resolvedDependencies: '[{"uri":"git+https://git.example/press","digest":{"gitCommit":"abc"}}]',
  invocationId: 'run-77',
}
const beside: Beside = { content: bytesSource(firmware) }
const changed: Beside = { content: bytesSource(firmware.with(3, 0)) }
const refusal = async (asked: Promise<unknown>): Promise<string> => {
  try {
    await asked
    return 'accepted'
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}
interface Written {
  readonly payloadType: string
  readonly payload: string
  readonly signatures: readonly { readonly keyid: string; readonly sig: string; readonly cert?: string }[]
}
const written = (octets: Uint8Array): Written => JSON.parse(Buffer.from(octets).toString()) as Written
const edited = (octets: Uint8Array, edit: (envelope: Written) => object): Uint8Array =>
  utf8(JSON.stringify(edit(written(octets))))

test('DSSE v1.0, protocol: the example’s PAE and signature', () => {
  const payload = utf8('hello world')
  const pae = concat([encodePAEHead('http://example.com/HelloWorld', payload.length), payload])
  assert.deepEqual(pae, utf8('DSSEv1 29 http://example.com/HelloWorld 11 hello world'))
  const coordinate = (decimal: string): string =>
    Uint8Array.fromHex(BigInt(decimal).toString(16).padStart(64, '0')).toBase64({ alphabet: 'base64url', omitPadding: true })
  const { key } = importKeyMembers({
    kty: 'EC',
    crv: 'P-256',
    x: coordinate('46950820868899156662930047687818585632848591499744589407958293238635476079160'),
    y: coordinate('5640078356564379163099075877009565129882514886557779369047442380624545832820'),
  })
  const envelope = utf8(`{"payload": "aGVsbG8gd29ybGQ=",
 "payloadType": "http://example.com/HelloWorld",
 "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}`)
  const { payloadType, payload: carried, signatures } = parseEnvelope(envelope, 1000)
  assert.deepEqual([payloadType, carried], ['http://example.com/HelloWorld', payload])
  const { sig } = signatures[0] ?? assert.fail('there is a signature')
  assert.equal(verify('sha256', pae, { key, dsaEncoding: 'ieee-p1363' }, sig), true)
})

test('LEN(type) counts octets, not characters', () => {
  assert.deepEqual(encodePAEHead('application/vnd.exämple+json', 0), utf8('DSSEv1 29 application/vnd.exämple+json 0 '))
})

test('R9: a file in its envelope, with its type; both are signed', async () => {
  for (const signer of [p256, quantum, rsa]) {
    const envelope = await sign(signer, { payloadType: 'application/vnd.press+octets' })
    assert.equal(await judged(dsse, envelope), 'valid')
    assert.deepEqual(Uint8Array.fromBase64(written(envelope).payload), firmware)
    const retyped = edited(envelope, (one) => ({ ...one, payloadType: 'application/vnd.other' }))
    assert.equal(await judged(dsse, retyped), 'invalid rawSignature')
    const other = edited(envelope, (one) => ({ ...one, payload: firmware.with(0, 0).toBase64() }))
    assert.equal(await judged(dsse, other), 'invalid rawSignature')
  }
})

test('either alphabet of base64 is read, members that nobody knows are left alone', async () => {
  const octets = Uint8Array.of(0xfb, 0xff, 0xbf, 0x3e, 0x3f)
  const envelope = await sign(p256, {}, octets)
  const safe = (text: string): string => text.replaceAll('+', '-').replaceAll('/', '_')
  const reworded = edited(envelope, ({ payload, signatures, ...rest }) => ({
    ...rest,
    later: 1,
    payload: safe(payload),
    signatures: signatures.map(({ sig, ...more }) => ({ ...more, sig: safe(sig), later: 2 })),
  }))
  assert.equal(await judged(dsse, reworded), 'valid')
})

test('who signed is known by the certificate in the envelope, or by those that are given', async () => {
  const bare = await sign(p256, { certificates: 'none' })
  const given = (...signers: readonly TrialSigner[]): Beside => ({
    certificates: signers.map(({ answering }) => answering.certificates[0]),
  })
  assert.equal(await judged(dsse, bare), 'unknown certificateNotGiven')
  assert.equal(await judged(dsse, bare, given(p256)), 'valid')
  assert.equal(await judged(dsse, bare, given(rsa, quantum, p256)), 'valid')
  assert.equal(await judged(dsse, bare, given(rsa)), 'invalid rawSignature')
  assert.equal(await judged(dsse, bare, given(rsa, quantum)), 'unknown certificateNotGiven')
  const hinted = edited(bare, (one) => ({ ...one, signatures: [{ sig: one.signatures[0]?.sig }] }))
  assert.equal(await judged(dsse, hinted, given(rsa, p256)), 'valid')
})

test('RSA: both paddings are known by trying, unless one was named', async () => {
  const pss = { ...rsa, answering: { ...rsa.answering, signatureAlgorithm: 'rsa-pss-sha256' as const } }
  const envelope = await sign(pss)
  const report = await verified(dsse, envelope)
  assert.deepEqual([report.valid, report.signatures[0]?.signatureAlgorithm], [true, 'rsa-pss-sha256'])
  assert.equal(await judged(dsse, envelope, { signatureAlgorithm: 'rsa-sha256' }), 'invalid rawSignature')
})

test('SLSA provenance v1 of an artifact, in an in-toto statement v1', async () => {
  const envelope = await sign(p256, build)
  assert.equal(written(envelope).payloadType, STATEMENT_MEDIA_TYPE)
  assert.deepEqual(JSON.parse(Buffer.from(written(envelope).payload, 'base64').toString()), {
    _type: STATEMENT_TYPE,
    subject: [{ name: 'press.bin', digest: { sha256: createHash('sha256').update(firmware).digest('hex') } }],
    predicateType: PROVENANCE_TYPE,
    predicate: {
      buildDefinition: {
        buildType: 'https://builds.example/types/firmware/v1',
        externalParameters: { branch: 'release-3' },
        resolvedDependencies: [{ uri: 'git+https://git.example/press', digest: { gitCommit: 'abc' } }],
      },
      runDetails: { builder: { id: 'https://builds.example/line1' }, metadata: { invocationId: 'run-77' } },
    },
  })
  assert.equal(await judged(dsse, envelope, beside), 'valid')
  assert.equal(await judged(dsse, envelope), 'valid')
  assert.equal(await judged(dsse, envelope, changed), 'invalid artifactChanged')
})

test('what a provenance needs, and in which form', async () => {
  const { builderId, buildType, ...rest } = build
  assert.equal(await refusal(sign(p256, rest)), 'malformed provenanceIncomplete')
  for (const wrong of [
    { builderId: 'line 1' },
    { buildType: 'firmware' },
    { externalParameters: '[1]' },
    { externalParameters: '{"a":1,"a":2}' },
    { resolvedDependencies: '{}' },
  ])
    assert.match(await refusal(sign(p256, { ...build, ...wrong })), /^malformed not(Statement|StrictJSON)$/)
  assert.ok(builderId !== undefined && buildType !== undefined)
})

test('R31: several keys sign a provenance that lists them, and nothing else', async () => {
  const envelope = await sign(dual, build)
  const report = await verified(dsse, envelope, beside)
  assert.deepEqual(
    report.signatures.map(({ signatureAlgorithm, verdict }) => `${signatureAlgorithm} ${verdict}`),
    ['ecdsa-sha256 valid', 'ml-dsa-65 valid'],
  )
  assert.equal(await refusal(sign(dual)), 'policyRefused dsseSeveralKeys')
  const take = (...at: readonly number[]): Uint8Array =>
    edited(envelope, (one) => ({ ...one, signatures: at.map((i) => one.signatures[i]) }))
  assert.equal(await judged(dsse, take(1, 0), beside), 'valid')
  assert.equal(await judged(dsse, take(0), beside), 'invalid messageSignatureMissing')
  assert.equal(await judged(dsse, take(1), beside), 'invalid messageSignatureMissing')
  const bare = edited(envelope, (one) => ({
    ...one,
    signatures: one.signatures.map(({ cert, ...more }, at) => (at === 1 ? more : { ...more, cert })),
  }))
  assert.equal(await judged(dsse, bare, beside), 'invalid messageSignatureMissing, unknown certificateNotGiven')
  assert.equal(await refusal(sign(rsa, { content: 'envelope' }, envelope)), 'conflict dsseClosed')
})

test('an envelope gets a further signature, of another key and once', async () => {
  const one = await sign(p256, build)
  const two = await sign(rsa, { content: 'envelope' }, one)
  assert.deepEqual(written(two).signatures[0], written(one).signatures[0])
  assert.equal((await verified(dsse, two, beside)).signatures.filter(({ verdict }) => verdict === 'valid').length, 2)
  assert.equal(await refusal(sign(p256, { content: 'envelope' }, two)), 'conflict dsseSignedAlready')
  assert.equal(await refusal(sign(p256, { content: 'envelope' })), 'malformed notStrictJSON')
})

test('statements of others: an older version, several subjects, none that we can compare', async () => {
  const statement = (fields: object): Uint8Array =>
    utf8(JSON.stringify({ _type: STATEMENT_TYPE, predicateType: 'https://a.example/v1', subject: [], ...fields }))
  const sha256 = createHash('sha256').update(firmware).digest('hex')
  const type = { payloadType: STATEMENT_MEDIA_TYPE }
  const ours = { digest: { sha256 } }
  const others = { digest: { sha512: 'aa' } }
  for (const [fields, expected] of [
    [{ _type: 'https://in-toto.io/Statement/v0.1', subject: [ours] }, 'valid'],
    [{ subject: [others, ours] }, 'valid'],
    [{ subject: [others] }, 'invalid artifactChanged'],
  ] as const)
    assert.equal(await judged(dsse, await sign(p256, type, statement(fields)), beside), expected)
  for (const [fields, expected] of [
    [{ _type: 'https://in-toto.io/Statement/v2', subject: [ours] }, 'unsupported statementType'],
    [{ _type: 7, subject: [ours] }, 'unsupported statementType'],
    [{}, 'malformed notStatement'],
    [{ subject: [{}] }, 'malformed notStatement'],
    [{ subject: [ours], predicateType: 1 }, 'malformed notStatement'],
    [{ subject: [ours], predicate: { sealworks_signers: 1 } }, 'malformed notStatement'],
    [{ subject: [ours], predicate: { sealworks_signers: [{}] } }, 'malformed notStatement'],
  ] as const)
    assert.equal(await refusal(sign(p256, type, statement(fields))), expected)
})

const envelope = { payloadType: 'a/b', payload: 'AA==', signatures: [{ sig: 'AA==' }] }
for (const [name, fields, expected] of [
  ['no type', { payloadType: '' }, 'malformed notDSSE'],
  ['a type that is no text', { payloadType: 1 }, 'malformed notDSSE'],
  ['no signatures', { signatures: [] }, 'malformed notDSSE'],
  ['too many signatures', { signatures: Array.from({ length: 17 }, () => ({ sig: 'AA==' })) }, 'tooLarge messageSignatures'],
  ['a signature that is no object', { signatures: ['AA=='] }, 'malformed notDSSE'],
  ['a signature without one', { signatures: [{ keyid: 'a' }] }, 'malformed notDSSE'],
  ['trailing bits', { payload: 'AB==' }, 'malformed notDSSE'],
  ['both alphabets', { payload: '-/-/' }, 'malformed notDSSE'],
  ['a space', { payload: 'AA = =' }, 'malformed notDSSE'],
  ['a payload that is no text', { payload: null }, 'malformed notDSSE'],
  ['a certificate that is none', { signatures: [{ sig: 'AA==', cert: 'none' }] }, 'malformed'],
] as const) {
  test(`refused: ${name}`, async () => {
    assert.ok((await judged(dsse, utf8(JSON.stringify({ ...envelope, ...fields })))).startsWith(expected))
  })
}

test('a file beside what is no statement has no meaning', async () => {
  assert.equal(await judged(dsse, await sign(p256), beside), 'malformed messageContentTwice')
})

test('a chain above the certificate is used, and needed', async () => {
  const signed = await sign(p256)
  const { valid } = await verifyArtifact(dsse, bytesSource(signed), { at: AT, anchors: [root] })
  assert.equal(valid, true)
  const nobody = await verifyArtifact(dsse, bytesSource(signed), { at: AT, anchors: [] })
  assert.equal(nobody.valid, false)
})
