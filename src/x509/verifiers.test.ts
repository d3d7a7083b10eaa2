/** What this room writes, read by OpenSSL, GnuTLS and python-cryptography; and what they write, read here. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { importPublicKey } from '#algorithms/public-key.ts'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld, toWholeSeconds } from '#base/world.ts'
import { needs } from '../../test/interop/programs.ts'
import { parseCertificate } from './certificate.ts'
import { checkProofOfPossession, encodeCertificationRequest, parseCertificationRequest } from './certification-request.ts'
import { encodeCertificateList, type RevokedEntry } from './crl.ts'
import { accessAt, authorityInfoAccess } from './extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from './extensions/authority-key-identifier.ts'
import { basicConstraints } from './extensions/basic-constraints.ts'
import { certificatePolicies } from './extensions/certificate-policies.ts'
import { crlDistributionPoints, distributionPointAt } from './extensions/crl-distribution-points.ts'
import { crlNumber, issuingDistributionPoint, issuingDistributionPointAt } from './extensions/crl-extensions.ts'
import { extKeyUsage, keyPurposes } from './extensions/extended-key-usage.ts'
import { readExtension, extensionWith } from './extensions/extension.ts'
import { hardwareModuleName, parseIPAddress } from './extensions/general-name.ts'
import { keyUsage } from './extensions/key-usage.ts'
import { nameConstraints } from './extensions/name-constraints.ts'
import { ocspNoCheck } from './extensions/ocsp-extensions.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from './extensions/subject-key-identifier.ts'
import { subjectAltName } from './extensions/subject-alternative-name.ts'
import { encodeName, formatName, nameOf, parseName } from './name.ts'
import {
  type CertStatus,
  encodeCertID,
  encodeOCSPRequest,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  ocspResponder,
  parseOCSPRequest,
  parseOCSPResponse,
} from './ocsp.ts'
import { signatureIdentifier } from './signed.ts'
import { makeCertificate, makeKey, rootExtensions, type TestKey } from './testing.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'sealworks-x509-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function keep(name: string, content: Uint8Array | string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

const root = makeKey()
const rootName = encodeName(
  nameOf([
    { type: 'C', value: 'DE' },
    { type: 'O', value: 'Müller Pumpen' },
    { type: 'CN', value: 'Root' },
  ]),
)
const rootDER = await makeCertificate(root, { issuer: rootName, subject: rootName, extensions: rootExtensions(root) })
const rootPEM = keep('root.pem', encodePEM('CERTIFICATE', rootDER))
const rootKeyIdentifier = keyIdentifierOf(root.publicKey.subjectPublicKey)

/** A certificate under the root. */
async function issue(
  holder: TestKey,
  cn: string,
  serial: number,
  extensions: Parameters<typeof makeCertificate>[1] = {},
): Promise<Uint8Array> {
  return makeCertificate(
    { ...root, spki: holder.spki },
    { issuer: rootName, subject: nameOf([{ type: 'CN', value: cn }]), serialNumber: Uint8Array.of(serial), ...extensions },
  )
}

const device = makeKey()
const deviceDER = await issue(device, 'Press 7', 0x2b, {
  subject: nameOf([
    { type: 'O', value: 'Müller Pumpen' },
    { type: 'CN', value: 'Press 7' },
    { type: 'serialNumber', value: 'SN-0007' },
  ]),
  extensions: [
    extensionWith(basicConstraints, { cA: false }, true),
    extensionWith(keyUsage, ['digitalSignature', 'keyAgreement']),
    extensionWith(extKeyUsage, [keyPurposes.clientAuth]),
    extensionWith(subjectKeyIdentifier, keyIdentifierOf(device.publicKey.subjectPublicKey)),
    extensionWith(authorityKeyIdentifier, { keyIdentifier: rootKeyIdentifier }),
    extensionWith(subjectAltName, [
      { type: 'dNSName', value: 'press7.example' },
      { type: 'iPAddress', value: parseIPAddress('2001:db8::7') },
      { type: 'uniformResourceIdentifier', value: 'urn:dev:ops:press-7' },
      hardwareModuleName({ hwType: '1.3.6.1.4.1.99999.1', hwSerialNum: new TextEncoder().encode('SN-0007') }),
    ]),
    extensionWith(crlDistributionPoints, [distributionPointAt('http://pki.example/crl/root.crl')]),
    extensionWith(authorityInfoAccess, [
      accessAt('ocsp', 'http://pki.example/ocsp'),
      accessAt('caIssuers', 'http://pki.example/ca/root.cer'),
    ]),
    extensionWith(certificatePolicies, [{ policyIdentifier: '2.23.133.11.1.1' }]),
  ],
})
const devicePEM = keep('device.pem', encodePEM('CERTIFICATE', deviceDER))

const openssl = needs('openssl')
const certtool = needs('certtool')
const ocsptool = needs('ocsptool')
const python = needs('python3', 'python3-cryptography')

test('R1: OpenSSL reads the same certificate and builds the path', { skip: openssl.skip }, async () => {
  const { stdout } = await run(openssl.path('openssl'), [
    'x509',
    '-in',
    devicePEM,
    '-noout',
    '-text',
    '-nameopt',
    'RFC2253,utf8,-esc_msb',
  ])
  for (const line of [
    'Serial Number: 43 (0x2b)',
    'Subject: serialNumber=SN-0007,CN=Press 7,O=Müller Pumpen',
    'Issuer: CN=Root,O=Müller Pumpen,C=DE',
    'Not Before: Jan  1 00:00:00 2026 GMT',
    'Not After : Jan  1 00:00:00 2056 GMT',
    'X509v3 Basic Constraints: critical',
    'Digital Signature, Key Agreement',
    'TLS Web Client Authentication',
    'DNS:press7.example, IP Address:2001:DB8:0:0:0:0:0:7, URI:urn:dev:ops:press-7',
    'URI:http://pki.example/crl/root.crl',
    'OCSP - URI:http://pki.example/ocsp',
    'CA Issuers - URI:http://pki.example/ca/root.cer',
    'Policy: 2.23.133.11.1.1',
  ]) {
    assert.ok(stdout.includes(line), `${line} in\n${stdout}`)
  }
  const { stdout: verdict } = await run(openssl.path('openssl'), ['verify', '-x509_strict', '-CAfile', rootPEM, devicePEM])
  assert.match(verdict, /device\.pem: OK/)
})

test('R1: GnuTLS reads the same certificate and builds the path', { skip: certtool.skip }, async () => {
  const { stdout } = await run(certtool.path('certtool'), ['--certificate-info', '--infile', devicePEM])
  for (const line of [
    'Serial Number (hex): 2b',
    'DNSname: press7.example',
    'IPAddress: 2001:db8::7',
    'Key agreement',
    'TLS WWW Client',
  ]) {
    assert.ok(stdout.includes(line), `${line} in\n${stdout}`)
  }
  const chain = keep('chain.pem', readFileSync(devicePEM, 'latin1') + readFileSync(rootPEM, 'latin1'))
  const { stdout: verdict } = await run(certtool.path('certtool'), [
    '--verify',
    '--load-ca-certificate',
    rootPEM,
    '--infile',
    chain,
  ])
  assert.match(verdict, /Chain verification output: Verified\. The certificate is trusted/)
})

const PYTHON = `
import json, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
c = x509.load_der_x509_certificate(open(sys.argv[1], 'rb').read())
e = c.extensions
print(json.dumps({
  'version': c.version.name, 'serial': c.serial_number, 'subject': c.subject.rfc4514_string(), 'issuer': c.issuer.rfc4514_string(),
  'not_before': c.not_valid_before.isoformat(), 'not_after': c.not_valid_after.isoformat(), 'sha256': c.fingerprint(hashes.SHA256()).hex(),
  'critical': [x.critical for x in e], 'oids': [x.oid.dotted_string for x in e],
  'dns': e.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName),
  'other': [(o.type_id.dotted_string, o.value.hex()) for o in e.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.OtherName)],
  'aki': e.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier.hex(),
  'crl': e.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name[0].value,
}))
`

test('R1: python-cryptography reads the same certificate', { skip: python.skip }, async () => {
  const { stdout } = await run(python.path('python3'), ['-c', PYTHON, keep('device.der', deviceDER)])
  const seen = JSON.parse(stdout) as Record<string, unknown>
  const certificate = parseCertificate(deviceDER)
  assert.deepEqual(seen, {
    version: 'v3',
    serial: 0x2b,
    // python writes an attribute type without a short name of RFC 4514 as its identifier
    subject: formatName(parseName(certificate.subject)).replace('serialNumber=', '2.5.4.5='),
    issuer: formatName(parseName(certificate.issuer)),
    not_before: '2026-01-01T00:00:00',
    not_after: '2056-01-01T00:00:00',
    sha256: seen['sha256'],
    critical: certificate.extensions.map(({ critical }) => critical),
    oids: certificate.extensions.map(({ extnID }) => extnID),
    dns: ['press7.example'],
    other: [['1.3.6.1.5.5.7.8.4', '301406092b06010401868d1f010407534e2d30303037']],
    aki: rootKeyIdentifier.toHex(),
    crl: 'http://pki.example/crl/root.crl',
  })
})

test('name constraints that are written here bind OpenSSL', { skip: openssl.skip }, async () => {
  const narrow = makeKey()
  const narrowName = nameOf([{ type: 'CN', value: 'Narrow' }])
  const constraint = extensionWith(nameConstraints, {
    permittedSubtrees: [{ base: { type: 'dNSName', value: 'inside.example' }, minimum: 0 }],
  })
  const narrowPEM = keep(
    'narrow.pem',
    encodePEM(
      'CERTIFICATE',
      await makeCertificate(narrow, {
        issuer: narrowName,
        subject: narrowName,
        extensions: [...rootExtensions(narrow), constraint],
      }),
    ),
  )
  for (const [dns, works] of [
    ['a.inside.example', true],
    ['a.outside.example', false],
  ] as const) {
    const leaf = await makeCertificate(
      { ...narrow, spki: device.spki },
      {
        issuer: narrowName,
        subject: nameOf([{ type: 'O', value: 'x' }]),
        extensions: [extensionWith(subjectAltName, [{ type: 'dNSName', value: dns }])],
      },
    )
    const verdict = run(openssl.path('openssl'), [
      'verify',
      '-CAfile',
      narrowPEM,
      keep('leaf.pem', encodePEM('CERTIFICATE', leaf)),
    ])
    if (works) assert.match((await verdict).stdout, /OK/)
    else await assert.rejects(verdict, /permitted subtree violation/)
  }
})

test(
  'R5: OpenSSL and GnuTLS read and verify a request that is written here',
  { skip: openssl.skip || certtool.skip },
  async () => {
    const extensions = [extensionWith(subjectAltName, [{ type: 'dNSName', value: 'press7.example' }])]
    const der = await encodeCertificationRequest(
      { subject: nameOf([{ type: 'CN', value: 'Press 7' }]), publicKey: device.spki, extensions, challengePassword: 'secret' },
      device.signer,
    )
    const path = keep('request.pem', encodePEM('CERTIFICATE REQUEST', der))
    const { stdout, stderr } = await run(openssl.path('openssl'), ['req', '-in', path, '-noout', '-verify', '-text'])
    assert.match(stderr, /verify OK/)
    assert.match(stdout, /challengePassword\s*:secret/)
    assert.match(stdout, /DNS:press7\.example/)
    const { stdout: gnutls } = await run(certtool.path('certtool'), ['--crq-info', '--infile', path])
    assert.match(gnutls, /Self signature: verified/)
  },
)

test('R5: a request of OpenSSL with a password and extensions is read here', { skip: openssl.skip }, async () => {
  const config = keep(
    'req.cnf',
    '[req]\ndistinguished_name=dn\nattributes=at\nreq_extensions=ex\nprompt=no\n[dn]\nCN=Press 8\n[at]\nchallengePassword=secret\n[ex]\nsubjectAltName=DNS:press8.example\nkeyUsage=critical,digitalSignature\n',
  )
  const out = join(folder, 'openssl.csr')
  await run(openssl.path('openssl'), [
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    join(folder, 'k.pem'),
    '-config',
    config,
    '-outform',
    'der',
    '-out',
    out,
  ])
  const request = parseCertificationRequest(new Uint8Array(readFileSync(out)))
  assert.equal(request.challengePassword, 'secret')
  assert.deepEqual(readExtension(request.requestedExtensions, subjectAltName)?.value, [
    { type: 'dNSName', value: 'press8.example' },
  ])
  assert.deepEqual(readExtension(request.requestedExtensions, keyUsage), { value: ['digitalSignature'], critical: true })
  await checkProofOfPossession(request, importPublicKey(request.subjectPublicKeyInfo))
})

test('R5: a request of GnuTLS is read here', { skip: certtool.skip }, async () => {
  const template = keep('crq.cfg', 'cn = "Press 9"\ndns_name = "press9.example"\nchallenge_password = "secret"\ntls_www_client\n')
  const [privateKey, out] = [join(folder, 'gk.pem'), join(folder, 'gnutls.csr')]
  await run(certtool.path('certtool'), [
    '--generate-privkey',
    '--key-type',
    'ecdsa',
    '--curve',
    'secp256r1',
    '--outfile',
    privateKey,
  ])
  await run(certtool.path('certtool'), [
    '--generate-request',
    '--load-privkey',
    privateKey,
    '--template',
    template,
    '--outder',
    '--outfile',
    out,
  ])
  const request = parseCertificationRequest(new Uint8Array(readFileSync(out)))
  assert.equal(request.challengePassword, 'secret')
  assert.deepEqual(readExtension(request.requestedExtensions, extKeyUsage)?.value, [keyPurposes.clientAuth])
  await checkProofOfPossession(request, importPublicKey(request.subjectPublicKeyInfo))
})

const now = toWholeSeconds(systemWorld().clock.now())
const hour = 3_600_000
const crlFields = {
  issuer: rootName,
  thisUpdate: new Date(now - hour),
  nextUpdate: new Date(now + 24 * hour),
  extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier: rootKeyIdentifier }), extensionWith(crlNumber, 300n)],
} as const

test('R3: OpenSSL refuses a revoked device by a list of 100,000 entries', { skip: openssl.skip }, async () => {
  const entries = function* (): Iterable<RevokedEntry> {
    for (let i = 0; i < 100_000; i++) {
      yield {
        serialNumber: Uint8Array.of(0x40, 0, i >> 16, (i >> 8) & 0xff, i & 0xff),
        revokedAt: new Date(now - i * 1000),
        reason: 'keyCompromise',
      }
    }
    yield { serialNumber: Uint8Array.of(0x2b), revokedAt: new Date(now - hour), reason: 'superseded' }
  }
  const path = keep('large.crl', encodePEM('X509 CRL', await encodeCertificateList(crlFields, entries(), root.signer)))
  const { stdout, stderr } = await run(
    openssl.path('openssl'),
    ['crl', '-in', path, '-noout', '-CAfile', rootPEM, '-issuer', '-crlnumber', '-text'],
    { maxBuffer: 64 << 20 },
  )
  assert.match(stderr, /verify OK/)
  assert.match(stdout, /crlNumber=0x012C/i)
  assert.equal(stdout.match(/Serial Number:/g)?.length, 100_001)
  assert.match(stdout, /Serial Number: 2B\n(?:.*\n){3}\s+Superseded/)
  const verdict = run(openssl.path('openssl'), ['verify', '-crl_check', '-CAfile', rootPEM, '-CRLfile', path, devicePEM])
  await assert.rejects(verdict, /certificate revoked/)
})

test(
  'R3: a shard says its scope; GnuTLS and python-cryptography read the list',
  { skip: certtool.skip || python.skip },
  async () => {
    const extensions = [
      ...crlFields.extensions,
      extensionWith(issuingDistributionPoint, issuingDistributionPointAt('http://pki.example/crl/root/7.crl')),
    ] as const
    const entries: RevokedEntry[] = [
      { serialNumber: Uint8Array.of(7), revokedAt: new Date('2026-02-03T04:05:06Z'), reason: 'certificateHold' },
      { serialNumber: Uint8Array.of(8), revokedAt: new Date('2026-02-03T04:05:07Z') },
    ]
    const der = await encodeCertificateList({ ...crlFields, extensions }, entries, root.signer)
    const path = keep('shard.crl', der)
    const { stdout } = await run(certtool.path('certtool'), ['--crl-info', '--inder', '--infile', path])
    assert.match(stdout, /Revoked certificates \(2\)/)
    const pem = keep('shard.pem', encodePEM('X509 CRL', await encodeCertificateList(crlFields, entries, root.signer)))
    const { stdout: verdict } = await run(certtool.path('certtool'), [
      '--verify-crl',
      '--load-ca-certificate',
      rootPEM,
      '--infile',
      pem,
    ])
    assert.match(verdict, /Verification output: Verified/)
    const script = `
import json, sys
from cryptography import x509
c = x509.load_der_x509_crl(open(sys.argv[1], 'rb').read())
p = c.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
print(json.dumps([p.critical, p.value.full_name[0].value, [[r.serial_number, r.revocation_date.isoformat(), [e.value.reason.value for e in r.extensions]] for r in c]]))`
    const { stdout: seen } = await run(python.path('python3'), ['-c', script, path])
    assert.deepEqual(JSON.parse(seen), [
      true,
      'http://pki.example/crl/root/7.crl',
      [
        [7, '2026-02-03T04:05:06', ['certificateHold']],
        [8, '2026-02-03T04:05:07', []],
      ],
    ])
  },
)

const responderKey = makeKey()
const responderDER = await issue(responderKey, 'OCSP', 0x33, {
  extensions: [
    extensionWith(keyUsage, ['digitalSignature']),
    extensionWith(extKeyUsage, [keyPurposes.OCSPSigning]),
    extensionWith(authorityKeyIdentifier, { keyIdentifier: rootKeyIdentifier }),
    extensionWith(ocspNoCheck, null),
  ],
})
const responder = ocspResponder({
  publicKey: responderKey.spki,
  signatureAlgorithm: signatureIdentifier('ecdsa-sha256'),
  certificates: [responderDER],
})

async function answer(request: Uint8Array, status: CertStatus): Promise<Uint8Array> {
  const { certIDs, nonce } = parseOCSPRequest(request)
  const [thisUpdate, nextUpdate] = [new Date(now - 60_000), new Date(now + hour)]
  const tbs = encodeResponseData(responder, {
    producedAt: thisUpdate,
    nonce,
    responses: certIDs.map(({ der }) => ({ certID: der, status, thisUpdate, nextUpdate })),
  })
  return encodeOCSPResponse(responder, tbs, await responderKey.signer.sign(tbs))
}

for (const [status, said] of [
  [{ type: 'good' }, /device\.pem: good/],
  [
    { type: 'revoked', revokedAt: new Date(now - hour), reason: 'keyCompromise' },
    /device\.pem: revoked[^]*Reason: keyCompromise/,
  ],
  [{ type: 'unknown' }, /device\.pem: unknown/],
] as const) {
  for (const digest of ['-sha1', '-sha256'] as const) {
    test(`R3: OpenSSL asks with ${digest} and believes the answer "${status.type}"`, { skip: openssl.skip }, async () => {
      const server = createServer((request, response) => {
        const octets: Uint8Array[] = []
        request.on('data', (chunk: Uint8Array) => octets.push(chunk))
        request.on('end', () => {
          const asked = new Uint8Array(Buffer.concat(octets))
          assert.equal(parseOCSPRequest(asked).certIDs[0]?.hashAlgorithm, digest.slice(1))
          void answer(asked, status).then((der) =>
            response.writeHead(200, { 'content-type': 'application/ocsp-response' }).end(der),
          )
        })
      })
      await once(server.listen(0, '127.0.0.1'), 'listening')
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
      const { stdout, stderr } = await run(openssl.path('openssl'), [
        'ocsp',
        digest,
        '-url',
        url,
        '-issuer',
        rootPEM,
        '-cert',
        devicePEM,
        '-CAfile',
        rootPEM,
      ])
      server.close()
      assert.match(stderr, /Response verify OK/)
      assert.doesNotMatch(stderr, /WARNING/) // it would say so if the nonce were missing
      assert.match(stdout, said)
    })
  }
}

test('R3: OpenSSL does not believe an answer that another key signed', { skip: openssl.skip }, async () => {
  const certID = encodeCertID(issuerHashes({ subject: rootName, subjectPublicKeyInfo: root.spki }, 'sha1'), Uint8Array.of(0x2b))
  const { certIDs } = parseOCSPRequest(encodeOCSPRequest([certID]))
  const tbs = encodeResponseData(responder, {
    producedAt: new Date(now),
    responses: certIDs.map(({ der }) => ({ certID: der, status: { type: 'good' }, thisUpdate: new Date(now) })),
  })
  const forged = keep('forged.ocsp', encodeOCSPResponse(responder, tbs, await makeKey().signer.sign(tbs)))
  const { stderr } = await run(openssl.path('openssl'), [
    'ocsp',
    '-respin',
    forged,
    '-issuer',
    rootPEM,
    '-cert',
    devicePEM,
    '-CAfile',
    rootPEM,
  ]).catch((error: { stderr: string }) => error)
  assert.match(stderr, /Response Verify Failure/)
})

test('R3: GnuTLS asks, and believes the answer', { skip: ocsptool.skip }, async () => {
  const request = join(folder, 'gnutls.ocsp')
  await run(ocsptool.path('ocsptool'), [
    '--generate-request',
    '--load-issuer',
    rootPEM,
    '--load-cert',
    devicePEM,
    '--outfile',
    request,
  ])
  const response = keep(
    'gnutls-response.ocsp',
    await answer(new Uint8Array(readFileSync(request)), {
      type: 'revoked',
      revokedAt: new Date(now - hour),
      reason: 'superseded',
    }),
  )
  const signer = keep('responder.pem', encodePEM('CERTIFICATE', responderDER))
  const { stdout } = await run(ocsptool.path('ocsptool'), ['--verify-response', '--load-signer', signer, '--infile', response])
  assert.match(stdout, /Verifying OCSP Response: Success/)
  const { stdout: info } = await run(ocsptool.path('ocsptool'), ['--response-info', '--infile', response])
  assert.match(info, /Certificate Status: revoked/)
})

test('R3: an answer of OpenSSL is read here', { skip: openssl.skip }, async () => {
  const index = keep('index.txt', `V\t560101000000Z\t\t2B\tunknown\t/CN=Press 7\n`)
  const keyPEM = keep('root.key', root.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const [request, response] = [join(folder, 'q.ocsp'), join(folder, 'r.ocsp')]
  await run(openssl.path('openssl'), ['ocsp', '-issuer', rootPEM, '-cert', devicePEM, '-reqout', request])
  await run(openssl.path('openssl'), [
    'ocsp',
    '-index',
    index,
    '-CA',
    rootPEM,
    '-rsigner',
    rootPEM,
    '-rkey',
    keyPEM,
    '-reqin',
    request,
    '-respout',
    response,
  ])
  const read = parseOCSPResponse(new Uint8Array(readFileSync(response)))
  assert.ok(read.type === 'answer')
  assert.deepEqual(read.answer.responses[0]?.status, { type: 'good' })
  assert.deepEqual(read.answer.nonce, parseOCSPRequest(new Uint8Array(readFileSync(request))).nonce)
})
