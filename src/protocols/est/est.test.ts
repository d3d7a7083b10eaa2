/** EST by function calls: what is answered to what, in words of the standard. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decode } from '#asn1/codec.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest, requestAttributes } from '#x509/certification-request.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { decodeExtension, Extensions } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { UTF8String } from '#asn1/types.ts'
import type { Reply, TLSBinding } from '../protocol.ts'
import { certificateOf, requestFor, type Sent, talkTo, testKey } from '../testing.ts'
import { checkChannelBinding } from './channel-binding.ts'
import { parseCsrAttributes } from './csr-attributes.ts'
import { describe } from './csrattrs.ts'
import { statusOf } from './failures.ts'
import { est } from './index.ts'
import { encodeAuthorization, parseAuthorization, REQUEST_BODY_MAX_OCTETS } from './messages.ts'
import type { EstService, RequestableProfile } from './service.ts'

const key = testKey()
const authority = certificateOf(key)
const request = await requestFor(key)
const PKCS10 = { 'content-type': 'application/pkcs10' }

const profile: RequestableProfile = {
  keyAlgorithms: ['ecdsa-p256'],
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  subject: { serialNumber: 'required', CN: 'optional' },
  subjectFixed: { O: 'Example' },
  subjectAltName: { presence: 'optional' },
}

/** What the protocol handed to the service, beside its answers. */
interface Seen {
  endpoints: (string | undefined)[]
  credentials: Parameters<EstService['authenticate']>[1][]
  enrolled: Parameters<EstService['enroll']>[0][]
}

function serviceWith(answers: Partial<EstService> = {}): EstService & { seen: Seen } {
  const seen: Seen = { endpoints: [], credentials: [], enrolled: [] }
  return {
    seen,
    openEndpoint(_, label) {
      seen.endpoints.push(label)
      if (label === 'gone') return Promise.reject(new TrustError('notFound', 'endpointUnknown', { facts: { endpoint: label } }))
      return Promise.resolve({})
    },
    authorityCertificates: () => [authority],
    authenticate(_, credentials) {
      seen.credentials.push(credentials)
      return Promise.resolve({})
    },
    enroll(input) {
      seen.enrolled.push(input)
      input.checkChannel?.()
      return Promise.resolve({ state: 'issued', certificate: certificateOf(key, input.request.subjectPublicKeyInfo) })
    },
    profileOf: () => Promise.resolve(profile),
    ...answers,
  }
}

const enroll = (changes: Partial<Sent> = {}): Sent => ({
  method: 'POST',
  path: '/.well-known/est/simpleenroll',
  headers: PKCS10,
  body: request.toBase64(),
  ...changes,
})

const certificatesIn = ({ body, headers }: Reply): readonly Uint8Array[] => {
  assert.equal(headers['content-type'], 'application/pkcs7-mime; smime-type=certs-only')
  assert.equal(typeof body, 'string')
  assert.match(body as string, /^[A-Za-z0-9+/]+=*$/, 'base64 without line breaks')
  return parseCertsOnly(Uint8Array.fromBase64(body as string)).certificates
}

test('cacerts gives the trust anchors to anyone, at a label or without (RFC 7030, 4.1)', async () => {
  const service = serviceWith()
  const talk = talkTo(est, service)
  for (const path of ['/.well-known/est/cacerts', '/.well-known/est/line-1/cacerts']) {
    const reply = await talk({ path })
    assert.equal(reply.status, 200)
    assert.deepEqual(certificatesIn(reply), [authority])
  }
  assert.deepEqual(service.seen.endpoints, [undefined, 'line-1'])
  assert.equal(service.seen.credentials.length, 0)
})

test('an enrollment gives the issued certificate and no other (R2; RFC 7030, 4.2.3)', async () => {
  for (const [operation, name] of [
    ['enroll', 'simpleenroll'],
    ['reenroll', 'simplereenroll'],
  ] as const) {
    const service = serviceWith()
    const reply = await talkTo(est, service)(enroll({ path: `/.well-known/est/${name}` }))
    assert.equal(reply.status, 200)
    const [certificate, another] = certificatesIn(reply)
    assert.equal(another, undefined)
    assert.deepEqual(parseCertificate(certificate as Uint8Array).subjectPublicKeyInfo, key.publicKey)
    assert.equal(service.seen.enrolled[0]?.operation, operation)
    assert.deepEqual(service.seen.enrolled[0].request.der, request)
  }
})

const lines = (request.toBase64().match(/.{1,64}/g) ?? []).join('\r\n')
const tolerated: { name: string; sent: Partial<Sent> }[] = [
  { name: 'base64 in lines', sent: { body: `${lines}\r\n` } },
  { name: 'a Content-Transfer-Encoding that is not so', sent: { headers: { ...PKCS10, 'content-transfer-encoding': 'binary' } } },
  { name: 'a media type with a charset', sent: { headers: { 'content-type': 'Application/PKCS10; charset=us-ascii' } } },
]
for (const { name, sent } of tolerated) {
  test(`tolerates ${name} (RFC 8951, 3.1)`, async () => {
    assert.equal((await talkTo(est, serviceWith())(enroll(sent))).status, 200)
  })
}

const basic = (text: string): Record<string, string> => ({ ...PKCS10, authorization: `Basic ${utf8(text).toBase64()}` })
const indefinite = concat([Uint8Array.of(0x30, 0x80), request.subarray(4), Uint8Array.of(0, 0)])
const refused: { name: string; sent: Partial<Sent>; status: number; reason: string }[] = [
  { name: 'no media type', sent: { headers: {} }, status: 400, reason: 'mediaType' },
  {
    name: 'another media type',
    sent: { headers: { 'content-type': 'application/pkcs7-mime' } },
    status: 400,
    reason: 'mediaType',
  },
  { name: 'no body', sent: { body: '' }, status: 400, reason: 'bodyEmpty' },
  { name: 'line breaks for a body', sent: { body: '\r\n' }, status: 400, reason: 'bodyEmpty' },
  { name: 'DER that is not in base64', sent: { body: request }, status: 400, reason: 'notBase64' },
  {
    name: 'PEM',
    sent: { body: `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n` },
    status: 400,
    reason: 'notBase64',
  },
  { name: 'the URL alphabet', sent: { body: 'MA-_' }, status: 400, reason: 'notBase64' },
  {
    name: 'base64 without its padding',
    sent: {
      body: concat([request, Uint8Array.of(0)])
        .toBase64()
        .replace(/=*$/, '')
        .slice(0, -1),
    },
    status: 400,
    reason: 'notBase64',
  },
  { name: 'base64 that is followed by more', sent: { body: `${request.toBase64()}====` }, status: 400, reason: 'notBase64' },
  {
    name: 'a request with bytes after it',
    sent: { body: concat([request, Uint8Array.of(0)]).toBase64() },
    status: 400,
    reason: 'notDER',
  },
  { name: 'a request cut short', sent: { body: request.subarray(0, -1).toBase64() }, status: 400, reason: 'notDER' },
  { name: 'BER', sent: { body: indefinite.toBase64() }, status: 400, reason: 'notDER' },
  { name: 'a certificate instead of a request', sent: { body: authority.toBase64() }, status: 400, reason: 'notDER' },
  {
    name: 'a body beyond the limit',
    sent: { body: 'A'.repeat(REQUEST_BODY_MAX_OCTETS + 1) },
    status: 413,
    reason: 'bodyTooLarge',
  },
  { name: 'DER beyond the limit', sent: { body: new Uint8Array(65_537).toBase64() }, status: 413, reason: 'derTooLarge' },
  {
    name: 'an endpoint that does not exist',
    sent: { path: '/.well-known/est/gone/simpleenroll' },
    status: 404,
    reason: 'endpointUnknown',
  },
  { name: 'Bearer', sent: { headers: { ...PKCS10, authorization: 'Bearer abc' } }, status: 401, reason: 'authorizationScheme' },
  { name: 'Basic with nothing', sent: { headers: { ...PKCS10, authorization: 'Basic' } }, status: 400, reason: 'basicMalformed' },
  { name: 'Basic without a colon', sent: { headers: basic('name') }, status: 400, reason: 'basicMalformed' },
  { name: 'Basic without a name', sent: { headers: basic(':password') }, status: 400, reason: 'basicMalformed' },
  { name: 'Basic without a password', sent: { headers: basic('name:') }, status: 400, reason: 'basicMalformed' },
  { name: 'Basic with a control character', sent: { headers: basic('name:pass\nword') }, status: 400, reason: 'basicMalformed' },
  {
    name: 'Basic that is not UTF-8',
    sent: { headers: { ...PKCS10, authorization: `Basic ${Uint8Array.of(0x61, 0x3a, 0xff).toBase64()}` } },
    status: 400,
    reason: 'basicMalformed',
  },
  { name: 'Basic with a long name', sent: { headers: basic(`${'n'.repeat(129)}:p`) }, status: 413, reason: 'basicTooLong' },
  { name: 'Basic with a long password', sent: { headers: basic(`n:${'p'.repeat(513)}`) }, status: 413, reason: 'basicTooLong' },
  {
    name: 'Basic of any length',
    sent: { headers: { ...PKCS10, authorization: `Basic ${'A'.repeat(100_000)}` } },
    status: 413,
    reason: 'basicTooLong',
  },
  { name: 'fullcmc', sent: { path: '/.well-known/est/fullcmc' }, status: 501, reason: 'operationNotOffered' },
  {
    name: 'serverkeygen at a label',
    sent: { path: '/.well-known/est/line-1/serverkeygen' },
    status: 501,
    reason: 'operationNotOffered',
  },
  {
    name: 'an operation that nobody knows',
    sent: { path: '/.well-known/est/line-1/enroll' },
    status: 404,
    reason: 'unknownPath',
  },
]
for (const { name, sent, status, reason } of refused) {
  test(`refuses ${name}: ${status} ${reason}`, async () => {
    const service = serviceWith()
    const reply = await talkTo(est, service)(enroll(sent))
    assert.equal(reply.status, status)
    assert.match(reply.body as string, new RegExp(` \\(${reason}\\)\n$`))
    assert.equal(reply.headers['content-type'], 'text/plain; charset=utf-8')
    assert.equal(reply.headers['www-authenticate'], status === 401 ? 'Basic realm="Sealworks EST", charset="UTF-8"' : undefined)
    assert.equal(service.seen.enrolled.length, 0)
  })
}

test('a wrong method says which would do', async () => {
  const talk = talkTo(est, serviceWith())
  assert.equal((await talk({ path: '/.well-known/est/simpleenroll' })).headers['allow'], 'POST')
  assert.equal((await talk({ method: 'POST', path: '/.well-known/est/cacerts' })).status, 405)
})

for (const code of Object.keys(statusOf) as TrustErrorCode[]) {
  test(`a refusal ${code} is HTTP ${statusOf[code]} with its sentence`, async () => {
    const refuse = () =>
      Promise.reject(new TrustError(code, 'certificateRevoked', { retryAfterSeconds: 7, facts: { hidden: 'x' } }))
    const reply = await talkTo(est, serviceWith({ enroll: refuse }))(enroll())
    assert.equal(reply.status, statusOf[code])
    assert.match(reply.body as string, /^The certificate is revoked\. .* \(certificateRevoked\)\n$/)
    assert.equal(reply.headers['retry-after'], '7')
    assert.equal('www-authenticate' in reply.headers, code === 'unauthenticated')
  })
}

test('a bug says nothing', async () => {
  const reply = await talkTo(est, serviceWith({ enroll: () => Promise.reject(new Error('SELECT * FROM secret')) }))(enroll())
  assert.equal(reply.status, 500)
  assert.doesNotMatch(reply.body as string, /SELECT/)
})

test('what waits for a person is 202 with Retry-After (RFC 7030, 4.2.3)', async () => {
  const reply = await talkTo(
    est,
    serviceWith({ enroll: () => Promise.resolve({ state: 'pending', retryAfterSeconds: 60 }) }),
  )(enroll())
  assert.equal(reply.status, 202)
  assert.equal(reply.headers['retry-after'], '60')
})

test('a stranger is refused before the body is read (R1)', async () => {
  const refuse = () => Promise.reject(new TrustError('unauthenticated', 'noCredentials'))
  const reply = await talkTo(
    est,
    serviceWith({ authenticate: refuse }),
  )(enroll({ headers: {}, body: 'A'.repeat(REQUEST_BODY_MAX_OCTETS + 1) }))
  assert.equal(reply.status, 401)
})

test('the client certificate and the password reach the one who decides', async () => {
  const service = serviceWith()
  await talkTo(est, service)(enroll({ headers: basic('Stelle 7:päss:wort'), peer: { chain: [authority] } }))
  const [credentials] = service.seen.credentials
  assert.deepEqual(credentials?.chain, [authority])
  assert.equal(credentials.basic?.userName, 'Stelle 7')
  assert.deepEqual(credentials.basic.password.reveal('test'), utf8('päss:wort'))
})

test('a name and a password come back as they were written (RFC 7617)', () => {
  const text = (max: number) =>
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: max }).filter((one) => !/\p{Cc}/u.test(one) && one.isWellFormed())
  fc.assert(
    fc.property(
      text(20).filter((name) => !name.includes(':')),
      text(40),
      (userName, password) => {
        const parsed = parseAuthorization(encodeAuthorization({ userName, password: secret(utf8(password)) }))
        assert.equal(parsed?.userName, userName)
        assert.deepEqual(parsed.password.reveal('test'), utf8(password))
      },
    ),
  )
})

const octets = (filler: number): Uint8Array => new Uint8Array(32).fill(filler)
const tls = (version: TLSBinding['version'], extendedMasterSecret: boolean | undefined): TLSBinding => ({
  version,
  extendedMasterSecret,
  exporter: () => octets(1),
  tlsUnique: () => (version === 'TLSv1.2' ? octets(2).subarray(0, 12) : undefined),
})
const exporter = octets(1).toBase64()
const unique = octets(2).subarray(0, 12).toBase64()
const bindings: {
  name: string
  password: string | undefined
  tls: TLSBinding | undefined
  refusal?: 'channelBindingWrong' | 'channelBindingUnsafe'
}[] = [
  { name: 'nothing on TLS 1.3', password: undefined, tls: tls('TLSv1.3', true) },
  { name: 'nothing where nothing is safe', password: undefined, tls: tls('TLSv1.2', undefined) },
  { name: 'tls-unique on TLS 1.2', password: unique, tls: tls('TLSv1.2', true) },
  { name: 'tls-exporter on TLS 1.2', password: exporter, tls: tls('TLSv1.2', true) },
  { name: 'tls-exporter on TLS 1.3', password: exporter, tls: tls('TLSv1.3', true) },
  {
    name: 'tls-unique without extended master secret',
    password: unique,
    tls: tls('TLSv1.2', false),
    refusal: 'channelBindingUnsafe',
  },
  {
    name: 'tls-unique where that cannot be told',
    password: unique,
    tls: tls('TLSv1.2', undefined),
    refusal: 'channelBindingUnsafe',
  },
  {
    name: 'tls-exporter without extended master secret',
    password: exporter,
    tls: tls('TLSv1.2', false),
    refusal: 'channelBindingUnsafe',
  },
  { name: 'any value without TLS', password: exporter, tls: undefined, refusal: 'channelBindingUnsafe' },
  {
    name: "another connection's value",
    password: octets(3).toBase64(),
    tls: tls('TLSv1.3', true),
    refusal: 'channelBindingWrong',
  },
  {
    name: 'the beginning of the value',
    password: octets(1).subarray(0, 12).toBase64(),
    tls: tls('TLSv1.3', true),
    refusal: 'channelBindingWrong',
  },
  { name: 'an empty value', password: '', tls: tls('TLSv1.3', true), refusal: 'channelBindingWrong' },
  { name: 'a password that is none of this', password: 'open sesame', tls: tls('TLSv1.3', true), refusal: 'channelBindingWrong' },
]
for (const { name, password, tls: binding, refusal } of bindings) {
  test(`channel binding: ${name} ${refusal === undefined ? 'passes' : `is refused as ${refusal}`} (RFC 7030, 3.5; RFC 7627)`, () => {
    const check = () => checkChannelBinding(password === undefined ? {} : { challengePassword: password }, binding)
    if (refusal === undefined) check()
    else assert.throws(check, { code: 'badProof', reason: refusal })
  })
}

test('the binding is checked where enrollments are refused, so that the refusal is kept', async () => {
  const bound = await requestFor(key, { challengePassword: octets(3).toBase64() })
  const reply = await talkTo(est, serviceWith())(enroll({ body: bound.toBase64(), peer: { tls: tls('TLSv1.3', true) } }))
  assert.equal(reply.status, 400)
  assert.match(reply.body as string, /channelBindingWrong/)
})

test('csrattrs gives the profile as a template and for older clients as attributes (RFC 9908, 3.2 and 3.4)', async () => {
  const reply = await talkTo(est, serviceWith())({ path: '/.well-known/est/csrattrs' })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['content-type'], 'application/csrattrs')
  const { template, attributes, oids } = parseCsrAttributes(Uint8Array.fromBase64(reply.body as string))
  assert.deepEqual(oids, [])
  const subject = template?.subject.flat().map(({ type, value }) => [type, value && decode(UTF8String, value)])
  assert.deepEqual(subject, [
    ['2.5.4.10', 'Example'],
    ['2.5.4.5', undefined],
  ])
  assert.equal(template?.keyAlgorithm?.toHex(), '301306072a8648ce3d020106082a8648ce3d030107')
  assert.deepEqual(
    template.extensions.map(({ extnID }) => extnID),
    [keyUsage.oid, extKeyUsage.oid],
  )
  const plain = attributes.find(({ type }) => type === requestAttributes.extensionRequest)
  const extensions = decode(Extensions, plain?.values[0] as Uint8Array)
  assert.deepEqual(
    extensions.map((extension) =>
      decodeExtension(extension.extnID === keyUsage.oid ? keyUsage : (extKeyUsage as never), extension),
    ),
    [['digitalSignature'], ['1.3.6.1.5.5.7.3.2']],
  )
  const curve = attributes.find(({ type }) => type === '1.2.840.10045.2.1')
  assert.equal(curve?.values[0]?.toHex(), '06082a8648ce3d030107')
})

test('csrattrs leaves open what the profile leaves open', () => {
  const several = parseCsrAttributes(
    describe({ ...profile, keyAlgorithms: ['ecdsa-p256', 'rsa-2048'], subjectAltName: { presence: 'required' } }),
  )
  assert.equal(several.template?.keyAlgorithm, undefined)
  assert.deepEqual(several.template?.extensions.at(-1), { extnID: subjectAltName.oid, critical: false })
  const made = parseCsrAttributes(describe({ ...profile, subjectAltName: { presence: 'required', hardwareModuleName: true } }))
  assert.ok(made.template?.extensions.every(({ extnID }) => extnID !== subjectAltName.oid))
})

test('csrattrs, octet by octet (RFC 9908, appendix A)', () => {
  const der = describe({
    keyAlgorithms: ['rsa-3072'],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [],
    subject: { CN: 'required' },
    subjectAltName: { presence: 'required' },
  })
  const keyUsageWithValue = '300e0603551d0f0101ff040403020780'
  const expected = [
    '308192', // CsrAttrs
    '305c060b2a864886f70d010910023d314d304b', // id-aa-certificationRequestInfoTemplate
    '020100', // version v1
    '3009310730050603550403', // subject: commonName without a value
    'a00f300d06092a864886f70d0101010500', // subjectPKInfo [0]: rsaEncryption, no key
    'a12a3028060b2a864886f70d010910023e31193017', // attributes [1]: id-aa-extensionReqTemplate
    keyUsageWithValue,
    '30050603551d11', // subjectAltName without a value
    '301106092a864886f70d010101310402020c00', // rsaEncryption, 3072 bits
    '301f06092a864886f70d01090e31123010', // id-ExtensionReq
    keyUsageWithValue,
  ]
  assert.equal(der.toHex(), expected.join(''))
})

test('csrattrs: an algorithm without parameters is named by its identifier alone (RFC 8951, 3.5)', () => {
  const der = describe({
    keyAlgorithms: ['ml-dsa-65'],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [],
    subject: {},
    subjectAltName: { presence: 'optional' },
  })
  assert.deepEqual(parseCsrAttributes(der).oids, ['2.16.840.1.101.3.4.3.18'])
  assert.equal(parseCsrAttributes(der).template?.keyAlgorithm?.toHex(), '300b0609608648016503040312')
})

const closed = new Set<number>([200, 501, ...Object.values(statusOf)])
test('no bytes in any field crash it: every answer is one of a closed list, and never a bug', async () => {
  const talk = talkTo(
    est,
    serviceWith({ enroll: (input) => Promise.resolve({ state: 'issued', certificate: input.request.subjectPublicKeyInfo }) }),
  )
  const mutated = fc.tuple(fc.nat(request.length - 1), fc.nat(255)).map(([at, octet]) => request.with(at, octet).toBase64())
  const body = fc.oneof(mutated, fc.uint8Array({ maxLength: 400 }), fc.base64String({ maxLength: 400 }))
  const authorization = fc.option(
    fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.base64String({ maxLength: 60 }).map((text) => `Basic ${text}`),
    ),
    { nil: undefined },
  )
  await fc.assert(
    fc.asyncProperty(body, authorization, async (bytes, field) => {
      const reply = await talk(
        enroll({ body: bytes, headers: { ...PKCS10, ...(field !== undefined && { authorization: field }) } }),
      )
      assert.ok(closed.has(reply.status) && reply.status !== 500, `${reply.status} ${String(reply.body)}`)
    }),
    { numRuns: 2000 },
  )
})

test('no bytes crash the reader of CSR attributes', () => {
  const whole = describe(profile)
  const mutated = fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, octet]) => whole.with(at, octet))
  let read = 0
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })), (der) => {
      try {
        parseCsrAttributes(der)
        read++
      } catch (error) {
        assert.equal((error as TrustError).code, 'malformed')
      }
    }),
    { numRuns: 2000 },
  )
  assert.ok(read > 50, `only ${read} got through`)
})

test('requests that the template asks for parse as requests', async () => {
  const der = await requestFor(key, { extensions: parseCsrAttributes(describe(profile)).template?.extensions as never })
  assert.equal(parseCertificationRequest(der).requestedExtensions.length, 2)
})
