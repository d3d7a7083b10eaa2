/** EST with real clients on loopback: our own, curl, strongSwan; openssl as second witness. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { decode } from '#asn1/codec.ts'
import { equal } from '#base/bytes.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { EstRefusal } from '#protocols/est/client.ts'
import { agentTransport } from '#protocols/http-client.ts'
import { requestFor, testKey } from '#protocols/testing.ts'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import type { Extension } from '#x509/extensions/extension.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { hardwareModuleNameOf } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { attributeOf, nameOf, parseName } from '#x509/name.ts'
import { keyPEMOf, pemOf, plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)
const serial = (value: string) => nameOf([{ type: 'serialNumber', value }])
const serialOf = (certificate: Uint8Array): string | undefined =>
  attributeOf(parseName(parseCertificate(certificate).subject), 'serialNumber')

test('R2, R5: a station brings a device to life, the device enrolls with its birth certificate, renews, and is known', async (t) => {
  const here = await plant(t)
  const key = testKey()
  const station = here.client('births', here.station)
  const born = await station.simpleEnroll(await requestFor(key, { subject: serial('P-1') }))
  assert.ok(born.state === 'issued')
  const names = extensionOf(parseCertificate(born.certificate), subjectAltName)?.value.map(hardwareModuleNameOf)
  assert.ok(names?.some((name) => name !== undefined))

  const device = { key, certificate: born.certificate, certificateId: '' }
  const owned = await here.client('owner', device).simpleEnroll(await requestFor(key, { subject: serial('P-1') }))
  assert.ok(owned.state === 'issued')
  assert.equal(serialOf(owned.certificate), 'P-1')

  const next = testKey()
  const renewing = here.client('owner', { key, certificate: owned.certificate, certificateId: '' })
  const request = await requestFor(next, { subject: parseCertificate(owned.certificate).subject })
  const renewed = await renewing.simpleReenroll(request)
  assert.ok(renewed.state === 'issued')
  assert.ok(equal(parseCertificate(renewed.certificate).subjectPublicKeyInfo, next.publicKey))
  assert.ok(
    new X509Certificate(renewed.certificate).verify(
      new X509Certificate(here.ca.authorities.byAddress('owner1').certificate.der).publicKey,
    ),
  )
})

test('a request that is sent again gets the same certificate (decision 10)', async (t) => {
  const here = await plant(t)
  const request = await requestFor(testKey(), { subject: serial('P-1') })
  const station = here.client('births', here.station)
  const [first, second] = [await station.simpleEnroll(request), await station.simpleEnroll(request)]
  assert.ok(first.state === 'issued')
  assert.deepEqual(second, first)
})

test('R1: a one-time secret enrolls its device once, and again only for the very same request', async (t) => {
  const here = await plant(t)
  const basic = await here.oneTimeSecret(here.owner, 'P-7')
  const client = here.client(undefined, undefined, { basic })
  const request = await requestFor(testKey(), { subject: serial('P-7') })
  const answer = await client.simpleEnroll(request)
  assert.deepEqual(await client.simpleEnroll(request), answer)
  await assert.rejects(client.simpleEnroll(await requestFor(testKey(), { subject: serial('P-7') })), {
    status: 403,
    reason: 'secretUsed',
  })
  await assert.rejects(here.client('stranger', undefined, { basic }).simpleEnroll(request), {
    status: 401,
    reason: 'secretWrong',
  })
  await assert.rejects(here.client(undefined).simpleEnroll(request), { status: 401, reason: 'noCredentials' })
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a request bound to its connection passes on ${version}, and on no other connection (RFC 7030, 3.5; RFC 9266)`, async (t) => {
    const here = await plant(t)
    const { Agent } = await import('node:https')
    const agentOf = () => {
      const agent = new Agent({
        keepAlive: true,
        maxSockets: 1,
        ca: pemOf(here.tlsRoot),
        cert: pemOf(here.station.certificate),
        key: keyPEMOf(here.station.key),
        minVersion: version,
        maxVersion: version,
      })
      t.after(() => agent.destroy())
      return agent
    }
    let bound: Uint8Array | undefined
    const bind = async (challengePassword: string) =>
      (bound = await requestFor(testKey(), { subject: serial('P-3'), challengePassword }))
    const client = here.client('births', undefined, { transport: agentTransport(agentOf()) })
    const answer = await client.simpleEnroll(bind)
    assert.equal(answer.state, 'issued')
    assert.deepEqual(await client.simpleEnroll(bound as Uint8Array), answer, 'the connection is kept')
    const elsewhere = here.client('births', undefined, { transport: agentTransport(agentOf()) })
    await assert.rejects(elsewhere.simpleEnroll(bound as Uint8Array), { status: 400, reason: 'channelBindingWrong' })
    const entries = await here.ca.entries()
    assert.ok(
      entries.some(
        ({ act, outcome, reason }) => act === 'certificate.enroll' && outcome === 'refused' && reason === 'channelBindingWrong',
      ),
    )
  })
}

test('csrattrs describes what the endpoint then accepts (RFC 9908)', async (t) => {
  const here = await plant(t)
  const device = await here.issue(here.births, [{ type: 'serialNumber', value: 'P-4' }])
  const client = here.client('owner', device)
  const template = (await client.csrAttributes())?.template
  assert.ok(template)
  assert.deepEqual(template.subject.flat(), [{ type: '2.5.4.5' }])
  const extensions = template.extensions.filter((one): one is Extension => one.extnValue !== undefined)
  const answer = await client.simpleEnroll(await requestFor(device.key, { subject: serial('P-4'), extensions }))
  assert.ok(answer.state === 'issued')
  const wanted = extensions.find(({ extnID }) => extnID === extKeyUsage.oid)
  assert.deepEqual(
    extensionOf(parseCertificate(answer.certificate), extKeyUsage)?.value,
    decode(extKeyUsage.codec, wanted?.extnValue as Uint8Array),
  )
})

test('our client and our server agree on whatever may be asked for', async (t) => {
  const here = await plant(t)
  const station = here.client('births', here.station)
  const text = fc.stringMatching(/^[A-Za-z0-9äöü .:/-]{1,20}$/).filter((value) => value.trim() === value)
  const subject = fc.record({ suffix: fc.stringMatching(/^[A-Z0-9]{1,12}$/), hasCN: fc.boolean(), O: fc.option(text) })
  let devices = 0
  await fc.assert(
    fc.asyncProperty(subject, async ({ suffix, hasCN, O }) => {
      const serialNumber = `P-${devices++}${suffix}` // each is another device, also while the case is made smaller
      const parts = [
        { type: 'serialNumber', value: serialNumber },
        ...(hasCN ? [{ type: 'CN', value: serialNumber }] : []), // a station names a device by nothing else
        ...(O === null ? [] : [{ type: 'O', value: O }]),
      ]
      const key = testKey()
      const answer = await station.simpleEnroll(await requestFor(key, { subject: nameOf(parts) }))
      assert.ok(answer.state === 'issued')
      const certificate = parseCertificate(answer.certificate)
      assert.ok(equal(certificate.subjectPublicKeyInfo, key.publicKey))
      assert.deepEqual(
        parseName(certificate.subject)
          .flat()
          .map(({ value }) => value),
        parts.map(({ value }) => value),
      )
    }),
    { numRuns: 40 },
  )
})

test('no bytes on the wire make the server fail or issue', async (t) => {
  const here = await plant(t)
  const station = here.client('births', here.station)
  const whole = await requestFor(testKey(), { subject: serial('P-5') })
  const count = async (): Promise<unknown> => (await here.ca.context.db.query('SELECT COUNT(*) AS n FROM certificate'))[0]?.['n']
  const before = await count()
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const altered = whole.with(at, (whole[at] as number) ^ change)
      await assert.rejects(
        station.simpleEnroll(altered),
        (error) => error instanceof EstRefusal && error.status >= 400 && error.status < 500,
      )
    }),
    { numRuns: 200 },
  )
  assert.equal(await count(), before)
})

const curl = needs('curl', 'openssl')
test('curl and openssl enroll, and openssl verifies what came (RFC 7030, 4)', { skip: curl.skip }, async (t) => {
  const here = await plant(t)
  const at = (name: string) => join(here.directory, name)
  here.writeFile('tls-root.pem', pemOf(here.tlsRoot))
  here.writeFile('station.pem', pemOf(here.station.certificate))
  here.writeFile('station.key', keyPEMOf(here.station.key))
  const openssl = (...args: string[]) => run(curl.path('openssl'), args, { cwd: here.directory })
  const fetch = (...args: string[]) =>
    run(curl.path('curl'), ['-sS', '--cacert', 'tls-root.pem', '-i', ...args], { cwd: here.directory })

  const { stdout: cacerts } = await fetch(`${here.origin}/.well-known/est/births/cacerts`)
  assert.match(cacerts, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(cacerts, /^content-type: application\/pkcs7-mime; smime-type=certs-only\r$/im)
  assert.match(cacerts, /^content-length: \d+\r$/im)
  here.writeFile('cacerts.p7', Buffer.from(cacerts.split('\r\n\r\n')[1] ?? '', 'base64'))
  await openssl('pkcs7', '-inform', 'DER', '-in', 'cacerts.p7', '-print_certs', '-out', 'cas.pem')

  await openssl(
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    'device.key',
    '-subj',
    '/serialNumber=P-8',
    '-outform',
    'DER',
    '-out',
    'device.csr',
  )
  await openssl('base64', '-in', 'device.csr', '-out', 'device.b64')
  const { stdout: enrolled } = await fetch(
    '--cert',
    'station.pem',
    '--key',
    'station.key',
    '-H',
    'Content-Type: application/pkcs10',
    '-H',
    'Content-Transfer-Encoding: base64',
    '--data-binary',
    '@device.b64',
    `${here.origin}/.well-known/est/births/simpleenroll`,
  )
  assert.match(enrolled, /^HTTP\/1\.1 200 OK\r\n/)
  here.writeFile('device.p7', Buffer.from(enrolled.split('\r\n\r\n')[1] ?? '', 'base64'))
  await openssl('pkcs7', '-inform', 'DER', '-in', 'device.p7', '-print_certs', '-out', 'device.pem')
  const { stdout: verified } = await openssl('verify', '-x509_strict', '-CAfile', 'cas.pem', 'device.pem')
  assert.match(verified, /device\.pem: OK/)
  assert.equal(parseCertsOnly(readFileSync(at('device.p7'))).certificates.length, 1)

  const { stdout: refused } = await fetch(
    '-H',
    'Content-Type: application/pkcs10',
    '--data-binary',
    '@device.b64',
    `${here.origin}/.well-known/est/births/simpleenroll`,
  )
  assert.match(refused, /^HTTP\/1\.1 401 /)
  assert.match(refused, /^www-authenticate: Basic realm="Sealworks EST", charset="UTF-8"\r$/im)
})

const strongswan = needs('pki', 'strongswan-openssl', 'openssl')
test(
  'strongSwan gets the CA certificates and enrolls with a secret at the default endpoint',
  { skip: strongswan.skip },
  async (t) => {
    const here = await plant(t)
    const pki = (...args: string[]) => run(strongswan.path('pki'), args, { cwd: here.directory, encoding: 'buffer' })
    here.writeFile('tls-root.pem', pemOf(here.tlsRoot))
    await pki('--estca', '--url', here.origin, '--cacert', 'tls-root.pem', '--caout', 'ca.pem', '--outform', 'pem')
    const saved = readdirSync(here.directory).filter((name) => /^ca.*\.pem$/.test(name))
    assert.ok(saved.length >= 1, 'at least the issuing authority')
    here.writeFile('ownerroot.pem', pemOf(here.ca.authorities.byAddress('ownerroot').certificate.der))
    here.writeFile('owner1.pem', pemOf(here.ca.authorities.byAddress('owner1').certificate.der))

    const { userName, password } = await here.oneTimeSecret(here.owner, 'P-9')
    const userPass = `${userName}:${Buffer.from(password.reveal('test')).toString()}`
    const openssl = (...args: string[]) => run(strongswan.path('openssl'), args, { cwd: here.directory })
    await openssl(
      'req',
      '-new',
      '-newkey',
      'rsa:3072',
      '-nodes',
      '-keyout',
      'device.key',
      '-subj',
      '/serialNumber=P-9',
      '-outform',
      'DER',
      '-out',
      'device.csr',
    )
    const trust = ['--cacert', 'tls-root.pem', '--cacert', 'ownerroot.pem', '--cacert', 'owner1.pem']
    const { stdout: der } = await pki('--est', '--url', here.origin, '--in', 'device.csr', ...trust, '--userpass', userPass)
    assert.equal(serialOf(new Uint8Array(der)), 'P-9')

    here.writeFile('device.der', der)
    await openssl(
      'req',
      '-new',
      '-newkey',
      'rsa:3072',
      '-nodes',
      '-keyout',
      'next.key',
      '-subj',
      '/serialNumber=P-9',
      '-outform',
      'DER',
      '-out',
      'next.csr',
    )
    const { stdout: renewed } = await pki(
      '--est',
      '--url',
      here.origin,
      '--in',
      'next.csr',
      ...trust,
      '--cert',
      'device.der',
      '--key',
      'device.key',
    )
    assert.equal(serialOf(new Uint8Array(renewed)), 'P-9')
    assert.notDeepEqual(renewed, der)

    // with a birth certificate it posts its first request to simplereenroll
    const born = await here.issue(here.births, [{ type: 'serialNumber', value: 'P-10' }])
    here.writeFile('birth.pem', pemOf(born.certificate))
    here.writeFile('birth.key', keyPEMOf(born.key))
    here.writeFile('first.csr', await requestFor(born.key, { subject: serial('P-10') }))
    const birth = ['--cert', 'birth.pem', '--key', 'birth.key']
    const { stdout: first } = await pki('--est', '--url', here.origin, '--in', 'first.csr', ...trust, ...birth)
    assert.equal(serialOf(new Uint8Array(first)), 'P-10')
  },
)
