/**
 * What a careful authority must not issue, over a real connection: each refused with its code, kept in the audit log
 * where it is sensitive, and with nothing changed.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import { encode } from '#asn1/codec.ts'
import { UTF8String } from '#asn1/types.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { holdCertificate, revokeCertificate } from '#ca/certificates.ts'
import { person } from '#ca/testing.ts'
import { EstRefusal } from '#protocols/est/client.ts'
import { certificateOf, requestFor, testKey } from '#protocols/testing.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extKeyUsage, keyPurposes } from '#x509/extensions/extended-key-usage.ts'
import { type Extension, extensionWith } from '#x509/extensions/extension.ts'
import { hardwareModuleName } from '#x509/extensions/general-name.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { nameConstraints } from '#x509/extensions/name-constraints.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { nameOf, type NamePart } from '#x509/name.ts'
import { HARDWARE_TYPE, type Holder, keyPEMOf, pemOf, type Plant, plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const subject = (...parts: readonly NamePart[]) => nameOf(parts)
const serialNumber = (value: string): NamePart => ({ type: 'serialNumber', value })
const own = subject(serialNumber('P-1'))

interface Asked {
  readonly here: Plant
  /** P-1 with its birth certificate. */
  readonly device: Holder
}

interface Case {
  readonly name: string
  /** Who asks; the device P-1 unless told. */
  readonly who?: (asked: Asked) => Promise<Holder> | Holder
  readonly label?: 'births' | 'owner' | 'stranger'
  readonly operation?: 'simpleReenroll'
  /** DER. */
  readonly request: (asked: Asked) => Promise<Uint8Array>
  readonly status: number
  readonly reason: string
  /** Whether the refusal is kept. */
  readonly audited?: true
}

const plain = ({ device }: Asked): Promise<Uint8Array> => requestFor(device.key, { subject: own })
const withExtension =
  (...extensions: readonly Extension[]) =>
  ({ device }: Asked): Promise<Uint8Array> =>
    requestFor(device.key, { subject: own, extensions })

/** Changes bytes that the signature does not save: what comes before it is looked at first. */
const inFirst = (der: Uint8Array, find: Uint8Array, replace: Uint8Array): Uint8Array => {
  const at = Buffer.from(der).indexOf(find)
  assert.ok(at >= 0)
  return concat([der.subarray(0, at), replace, der.subarray(at + find.length)])
}

const lastBitFlipped = (der: Uint8Array): Uint8Array => concat([der.subarray(0, -1), Uint8Array.of((der.at(-1) as number) ^ 1)])

/** @param spki of a P-256 key: its last 65 octets are the point */
function compressed(spki: Uint8Array): Uint8Array {
  const point = spki.subarray(-65)
  const form = 2 + ((point.at(-1) as number) & 1)
  return concat([
    Uint8Array.fromHex('3039301306072a8648ce3d020106082a8648ce3d030107032200'),
    Uint8Array.of(form),
    point.subarray(1, 33),
  ])
}

const nested = (depth: number): Uint8Array => {
  let der: Uint8Array = Uint8Array.of(0x05, 0)
  for (let i = 0; i < depth; i++)
    der = concat([der.length < 128 ? Uint8Array.of(0x30, der.length) : Uint8Array.of(0x30, 0x81, der.length), der])
  return der
}

const cases: readonly Case[] = [
  // bytes
  { name: 'something else', request: async () => utf8('hello'), status: 400, reason: 'notDER' },
  {
    name: 'a request in BER',
    request: async (asked) => inFirst(await plain(asked), Uint8Array.of(0x02, 0x01, 0x00), Uint8Array.of(0x02, 0x81, 0x01, 0x00)),
    status: 400,
    reason: 'notDER',
  },
  { name: 'more than the limit', request: async () => new Uint8Array(70_000), status: 413, reason: 'derTooLarge' },
  { name: 'far more than the limit', request: async () => new Uint8Array(500_000), status: 413, reason: 'bodyTooLarge' },
  {
    name: 'deep nesting',
    request: ({ device }) => requestFor(device.key, { subject: own, attributes: [{ type: '1.2.3.4', values: [nested(40)] }] }),
    status: 413,
    reason: 'derTooDeep',
  },
  {
    name: 'an extension twice',
    request: withExtension(extensionWith(keyUsage, ['digitalSignature']), extensionWith(keyUsage, ['digitalSignature'])),
    status: 400,
    reason: 'repeatedExtension',
  },
  {
    name: 'an attribute twice',
    request: ({ device }) =>
      requestFor(device.key, {
        subject: own,
        attributes: ['a', 'b'].map((value) => ({ type: '1.2.840.113549.1.9.2', values: [encode(UTF8String, value)] })),
      }),
    status: 400,
    reason: 'repeatedAttribute',
  },
  {
    name: 'an extension with a damaged value',
    request: withExtension({ extnID: keyUsage.oid, critical: true, extnValue: Uint8Array.of(4, 1, 1) }),
    status: 400,
    reason: 'badExtension',
  },
  // proof and keys
  {
    name: "another's signature",
    request: ({ device }) => requestFor({ ...testKey(), publicKey: device.key.publicKey }, { subject: own }),
    status: 400,
    reason: 'proofOfPossession',
    audited: true,
  },
  {
    name: 'a signature that was altered',
    request: async (asked) => lastBitFlipped(await plain(asked)),
    status: 400,
    reason: 'proofOfPossession',
    audited: true,
  },
  {
    name: 'a compressed point',
    request: ({ device: { key } }) => requestFor({ ...key, publicKey: compressed(key.publicKey) }, { subject: own }),
    status: 400,
    reason: 'pointForm',
  },
  // the subject
  {
    name: "another device's serial",
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-2')) }),
    status: 403,
    reason: 'foreignProductSerial',
    audited: true,
  },
  {
    name: 'two serials',
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-1'), serialNumber('P-2')) }),
    status: 403,
    reason: 'subjectRepeated',
    audited: true,
  },
  {
    name: "another device's common name",
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-1'), { type: 'CN', value: 'P-2' }) }),
    status: 403,
    reason: 'foreignSubject',
    audited: true,
  },
  {
    name: 'an organization of its own choice',
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-1'), { type: 'O', value: 'Somebody' }) }),
    status: 403,
    reason: 'foreignSubject',
    audited: true,
  },
  {
    name: 'an attribute that the profile has not',
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-1'), { type: 'L', value: 'Ulm' }) }),
    status: 403,
    reason: 'subjectAttribute',
    audited: true,
  },
  {
    name: 'two attributes in one level',
    request: ({ device }) =>
      requestFor(device.key, { subject: [subject(serialNumber('P-1'), { type: 'CN', value: 'P-1' }).flat()] }),
    status: 403,
    reason: 'subjectMultiValued',
    audited: true,
  },
  {
    name: 'a serial with a NUL in it',
    request: ({ device }) =>
      requestFor(device.key, { subject: [[{ type: '2.5.4.5', value: 'P-1\u0000', encoding: 'utf8String' }]] }),
    status: 403,
    reason: 'subjectText',
    audited: true,
  },
  // names
  {
    name: "another device's name",
    request: withExtension(extensionWith(subjectAltName, [{ type: 'uniformResourceIdentifier', value: 'urn:device:P-2' }])),
    status: 403,
    reason: 'foreignName',
    audited: true,
  },
  {
    name: 'a host name',
    request: withExtension(extensionWith(subjectAltName, [{ type: 'dNSName', value: 'pki.example' }])),
    status: 403,
    reason: 'foreignName',
    audited: true,
  },
  {
    name: 'a mail address',
    request: withExtension(extensionWith(subjectAltName, [{ type: 'rfc822Name', value: 'a@pki.example' }])),
    status: 403,
    reason: 'nameKind',
    audited: true,
  },
  {
    name: "another device's hardware module name",
    request: withExtension(
      extensionWith(subjectAltName, [hardwareModuleName({ hwType: HARDWARE_TYPE, hwSerialNum: utf8('P-2') })]),
    ),
    status: 403,
    reason: 'foreignName',
    audited: true,
  },
  {
    name: 'a host name with a NUL in it',
    request: withExtension(extensionWith(subjectAltName, [{ type: 'dNSName', value: 'p-1\u0000.example' }])),
    status: 403,
    reason: 'nameSyntax',
    audited: true,
  },
  // extensions
  {
    name: 'CA:TRUE',
    request: withExtension(extensionWith(basicConstraints, { cA: true })),
    status: 403,
    reason: 'requestedAuthority',
    audited: true,
  },
  {
    name: 'a foreign key purpose',
    request: withExtension(extensionWith(extKeyUsage, [keyPurposes.codeSigning])),
    status: 403,
    reason: 'requestedKeyPurpose',
    audited: true,
  },
  {
    name: 'the usage of an authority',
    request: withExtension(extensionWith(keyUsage, ['digitalSignature', 'keyCertSign'])),
    status: 403,
    reason: 'requestedKeyUsage',
    audited: true,
  },
  {
    name: 'an extension that nobody asked for',
    request: withExtension(
      extensionWith(nameConstraints, { permittedSubtrees: [{ base: { type: 'dNSName', value: 'example' }, minimum: 0 }] }),
    ),
    status: 403,
    reason: 'requestedExtension',
    audited: true,
  },
  // who asks
  {
    name: "a trusted certificate at another owner's endpoint",
    label: 'stranger',
    request: plain,
    status: 403,
    reason: 'issuerNotListed',
    audited: true,
  },
  {
    name: 'a certificate of no authority here',
    who: () => stranger,
    request: plain,
    status: 403,
    reason: 'issuerNotListed',
    audited: true,
  },
  {
    name: 'a revoked certificate',
    who: async ({ here, device }) => {
      await revokeCertificate(here.ca.context, device.certificateId, 'keyCompromise', person)
      return device
    },
    request: plain,
    status: 403,
    reason: 'certificateRevoked',
    audited: true,
  },
  {
    name: 'a certificate on hold',
    who: async ({ here, device }) => {
      await holdCertificate(here.ca.context, device.certificateId, person)
      return device
    },
    request: plain,
    status: 403,
    reason: 'certificateHeld',
    audited: true,
  },
  {
    name: 'an expired certificate',
    who: async ({ here, device }) => {
      const owned = await here.issue(here.owner, [serialNumber('P-1')], device.key)
      here.ca.advance(366 * 86_400)
      return owned
    },
    request: plain,
    status: 403,
    reason: 'certificateExpired',
    audited: true,
  },
  {
    name: 'a device that asks for the birth of another',
    label: 'births',
    request: () => requestFor(testKey(), { subject: subject(serialNumber('P-2')) }),
    status: 403,
    reason: 'bornAlready',
    audited: true,
  },
  {
    name: 'a station beyond its serials',
    label: 'births',
    who: ({ here }) => here.station,
    request: () => requestFor(testKey(), { subject: subject(serialNumber('Q-1')) }),
    status: 403,
    reason: 'productSerialNotListed',
    audited: true,
  },
  {
    name: 'a station at an endpoint that does not list it',
    who: ({ here }) => here.station,
    request: plain,
    status: 403,
    reason: 'certificateNotForEnrollment',
    audited: true,
  },
  // clones
  {
    name: 'the key of P-1 for P-2',
    label: 'births',
    who: ({ here }) => here.station,
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-2')) }),
    status: 403,
    reason: 'keyOfAnotherProduct',
    audited: true,
  },
  {
    name: 'a second key for P-1',
    label: 'births',
    who: ({ here }) => here.station,
    request: () => requestFor(testKey(), { subject: own }),
    status: 409,
    reason: 'productHasAnotherKey',
    audited: true,
  },
  // renewal
  {
    name: 'a renewal with other names',
    who: ({ here, device }) => here.issue(here.owner, [serialNumber('P-1')], device.key),
    operation: 'simpleReenroll',
    request: ({ device }) => requestFor(device.key, { subject: subject(serialNumber('P-1'), { type: 'CN', value: 'P-1' }) }),
    status: 403,
    reason: 'renewalChangesNames',
    audited: true,
  },
]

const strangerKey = testKey()
const stranger: Holder = { key: strangerKey, certificate: certificateOf(strangerKey), certificateId: '' }

const rowsOf = async ({ ca: { context } }: Plant): Promise<unknown> => {
  const [row] = await context.db.query(
    'SELECT (SELECT COUNT(*) FROM certificate) AS certificates, (SELECT COUNT(*) FROM enrollment_request) AS requests, (SELECT COUNT(*) FROM key_binding) AS bindings',
  )
  return row
}

for (const { name, who, label = 'owner', operation = 'simpleEnroll', request, status, reason, audited } of cases) {
  test(`R1, R2: refuses ${name}: ${status} ${reason}`, async (t) => {
    const here = await plant(t)
    const asked: Asked = { here, device: await here.issue(here.births, [serialNumber('P-1')]) }
    const client = here.client(label, (await who?.(asked)) ?? asked.device)
    const der = await request(asked)
    const before = await rowsOf(here)
    await assert.rejects(client[operation](der), (error) => {
      assert.ok(error instanceof EstRefusal, String(error))
      assert.deepEqual([error.status, error.reason], [status, reason], error.message)
      return true
    })
    assert.deepEqual(await rowsOf(here), before)
    const kept = (await here.ca.entries()).filter((entry) => entry.outcome === 'refused')
    assert.deepEqual(
      kept.map((entry) => entry.reason),
      audited === true ? [reason] : [],
    )
  })
}

const { skip, path } = needs('openssl')
const foreignKeys: { name: string; options: readonly string[]; status: number; reason: string }[] = [
  { name: 'an RSA key of 1024 bits', options: ['-newkey', 'rsa:1024'], status: 403, reason: 'keyTooShort' },
  {
    name: 'an RSA key with the exponent 3',
    options: ['-newkey', 'rsa:3072', '-pkeyopt', 'rsa_keygen_pubexp:3'],
    status: 403,
    reason: 'keyExponent',
  },
  {
    name: 'a Brainpool key',
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:brainpoolP256r1'],
    status: 400,
    reason: 'keyAlgorithm',
  },
  {
    name: 'a key on secp256k1',
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
    status: 400,
    reason: 'keyAlgorithm',
  },
  {
    name: 'explicit curve parameters',
    options: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-pkeyopt', 'ec_param_enc:explicit'],
    status: 400,
    reason: 'keyAlgorithm',
  },
  { name: 'a SHA-1 signature', options: ['-newkey', 'rsa:3072', '-sha1'], status: 400, reason: 'signatureAlgorithm' },
  {
    name: 'an RSASSA-PSS signature',
    options: ['-newkey', 'rsa:3072', '-sigopt', 'rsa_padding_mode:pss'],
    status: 400,
    reason: 'signatureAlgorithm',
  },
]
test('R1: refuses keys and signatures that are weak or not offered, as openssl makes them', { skip }, async (t) => {
  const here = await plant(t)
  const station = here.client('births', here.station)
  for (const { name, options, status, reason } of foreignKeys) {
    const made = [
      'req',
      '-new',
      '-nodes',
      '-subj',
      '/serialNumber=P-1',
      '-keyout',
      'key.pem',
      '-outform',
      'DER',
      '-out',
      'request.der',
    ]
    await run(path('openssl'), [...made, ...options], { cwd: here.directory })
    const before = await rowsOf(here)
    await assert.rejects(station.simpleEnroll(readFileSync(`${here.directory}/request.der`)), { status, reason }, name)
    assert.deepEqual(await rowsOf(here), before, name)
  }
})

test('R1: a client that stops half way through its request changes nothing', async (t) => {
  const here = await plant(t)
  const before = await rowsOf(here)
  const body = (await requestFor(testKey(), { subject: own })).toBase64()
  const { port } = new URL(here.origin)
  const socket = connect({
    port: Number(port),
    host: '127.0.0.1',
    servername: 'localhost',
    ca: pemOf(here.tlsRoot),
    cert: pemOf(here.station.certificate),
    key: keyPEMOf(here.station.key),
  })
  await once(socket, 'secureConnect')
  let answer = ''
  socket
    .setEncoding('latin1')
    .on('data', (chunk: string) => (answer += chunk))
    .on('error', () => {})
  socket.write(
    `POST /.well-known/est/births/simpleenroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/pkcs10\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, -8)}`,
  )
  await once(socket, 'close') // the listener's own time for a request ends it
  assert.doesNotMatch(answer, /^HTTP\/1\.1 200/)
  assert.deepEqual(await rowsOf(here), before)
})
