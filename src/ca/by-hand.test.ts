import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { importPublicKey } from '#algorithms/public-key.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { encodePKCS12 } from '#cms/pkcs12.ts'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { type GeneralName, hardwareModuleNameOf, parseIPAddress } from '#x509/extensions/general-name.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { nameOf } from '#x509/name.ts'
import { needs } from '../../test/interop/programs.ts'
import { type Generated, generateAndIssue, type GeneratedFor, issueForRequest } from './by-hand.ts'
import { findCertificates } from './certificates.ts'
import { createEndpoint } from './endpoint.ts'
import { hierarchy, person, type TestCA, testCA, testKey, testRequest } from './testing.ts'

const run = promisify(execFile)

const localhost: readonly GeneralName[] = [
  { type: 'dNSName', value: 'scada.plant.example' },
  { type: 'iPAddress', value: parseIPAddress('192.0.2.7') },
]
const server: GeneratedFor = {
  authority: 'line1',
  profile: 'tls-server',
  subject: nameOf([{ type: 'O', value: 'Example' }]),
  names: localhost,
  keyAlgorithm: 'ecdsa-p256',
}

const generate = ({ context, authorities }: TestCA, wanted: Partial<GeneratedFor> = {}): Promise<Generated> =>
  generateAndIssue(context, authorities, { ...server, ...wanted }, person)

describe('R3: a person issues by hand', () => {
  test('for a request: any name that the profile allows, in the name of that person', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station 1' }] })
    const answer = await issueForRequest(ca.context, ca.authorities, { authority: 'line1', profile: 'ra' }, der, person)
    assert.equal(answer.chain.length, 2)
    const [record] = await findCertificates(ca.context, { profile: 'ra' }, { limit: 9 })
    assert.deepEqual(record?.der, answer.certificate)
    const entry = (await ca.entries()).at(-1)
    assert.deepEqual([entry?.act, entry?.outcome, entry?.actor], ['certificate.issue', 'done', person])
  })

  test('a birth, with the hardware type that an endpoint lends', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const authorityId = ca.authorities.byAddress('line1').id
    const rules = { hardwareType: '1.3.6.1.4.1.99999.7.1' }
    const endpoint = await createEndpoint(
      ca.context,
      { label: 'b', protocol: 'est', authorityId, profile: 'idevid', rules },
      person,
    )
    const { der } = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    const where = { authority: 'line1', profile: 'idevid' }
    const issue = (lending: object): ReturnType<typeof issueForRequest> =>
      issueForRequest(ca.context, ca.authorities, { ...where, ...lending }, der, person)
    await assert.rejects(issue({}), { code: 'policyRefused', reason: 'hardwareTypeMissing' })
    const { certificate } = await issue({ endpoint })
    const names = extensionOf(parseCertificate(certificate), subjectAltName)?.value ?? []
    assert.equal(names.map(hardwareModuleNameOf).find((name) => name !== undefined)?.hwType, rules.hardwareType)
    const another = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }] })
    await assert.rejects(issueForRequest(ca.context, ca.authorities, { ...where, endpoint }, another.der, person), {
      code: 'conflict',
      reason: 'productHasAnotherKey',
    })
  })

  const cases: readonly [name: string, where: object, request: object, refusal: { code: string; reason: string }][] = [
    ['for a device profile without its serial', { profile: 'ldevid' }, {}, { code: 'policyRefused', reason: 'subjectMissing' }],
    ['without any name', { profile: 'tls-server' }, { subject: [] }, { code: 'policyRefused', reason: 'namesMissing' }],
    ['by a profile that is not there', { profile: 'nothing' }, {}, { code: 'notFound', reason: 'profileUnknown' }],
    ['by an authority that is not there', { authority: 'line9' }, {}, { code: 'notFound', reason: 'authorityUnknown' }],
    ['for a key that proved nothing', {}, { signedBy: testKey() }, { code: 'badProof', reason: 'proofOfPossession' }],
    ['for a weak key', {}, { key: testKey('rsa-1024') }, { code: 'policyRefused', reason: 'keyTooShort' }],
  ]
  for (const [name, where, request, refusal] of cases) {
    test(`a refusal ${name} is in the audit log`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const before = (await ca.entries()).length
      const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station 1' }], ...request })
      const at = { authority: 'line1', profile: 'ra', ...where }
      await assert.rejects(issueForRequest(ca.context, ca.authorities, at, der, person), refusal)
      const entries = (await ca.entries()).slice(before)
      assert.deepEqual(
        entries.map(({ act, outcome, reason, actor }) => [act, outcome, reason, actor]),
        [['certificate.issue', 'refused', refusal.reason, person]],
      )
      assert.equal((await findCertificates(ca.context, { profile: at.profile }, { limit: 1 })).length, 0)
    })
  }

  test('bytes that are no request are refused', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const at = { authority: 'line1', profile: 'ra' }
    await assert.rejects(issueForRequest(ca.context, ca.authorities, at, Uint8Array.of(0x30, 0x00), person), {
      code: 'malformed',
    })
  })
})

describe('a key that is made for its holder', () => {
  for (const keyAlgorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-3072'] as const) {
    test(`R5: ${keyAlgorithm}: the private key belongs to the certificate, and is kept nowhere`, async () => {
      await using ca = await testCA()
      await hierarchy(ca)
      const labelled = (await ca.context.keys.list()).length
      const { certificate, privateKey } = await generate(ca, { keyAlgorithm })
      const key = createPrivateKey({ key: Buffer.from(privateKey.reveal('test')), format: 'der', type: 'pkcs8' })
      assert.ok(new X509Certificate(certificate).checkPrivateKey(key))
      assert.equal(importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo).algorithm, keyAlgorithm)
      assert.deepEqual(extensionOf(parseCertificate(certificate), subjectAltName)?.value, localhost)
      assert.equal((await ca.context.keys.list()).length, labelled)
      const secretNumber = Buffer.from(key.export({ format: 'jwk' }).d as string, 'base64url')
      assert.equal(await holds(ca, secretNumber), false, 'the private key is in the database')
      assert.equal(await holds(ca, Buffer.from(certificate)), true, 'the search finds nothing at all')
    })
  }

  test('each time another', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    const made = await Promise.all([generate(ca), generate(ca), generate(ca)])
    const keys = made.map(({ privateKey }) => Buffer.from(privateKey.reveal('test')).toString('hex'))
    assert.equal(new Set(keys).size, 3)
  })

  test('R23: not by a profile that does not list it, and the refusal is in the audit log', async () => {
    await using ca = await testCA()
    await hierarchy(ca)
    await assert.rejects(generate(ca, { profile: 'ocsp-responder', keyAlgorithm: 'rsa-2048', names: [] }), {
      reason: 'keyNotInProfile',
    })
    await assert.rejects(generate(ca, { names: [{ type: 'dNSName', value: 'not a name' }] }), { reason: 'nameSyntax' })
    const refused = (await ca.entries()).filter(({ outcome }) => outcome === 'refused').map(({ reason }) => reason)
    assert.deepEqual(refused, ['keyNotInProfile', 'nameSyntax'])
  })

  const openssl = needs('openssl')
  for (const form of ['modern', 'legacy'] as const) {
    test(`R5: OpenSSL opens its PKCS #12 (${form}) with the password, and not without`, { skip: openssl.skip }, async (t) => {
      await using ca = await testCA()
      await hierarchy(ca)
      const made = await generate(ca)
      const pkcs12 = await encodePKCS12(
        {
          key: made.privateKey,
          certificates: [made.certificate, ...made.chain],
          friendlyName: 'scada',
          password: secret(utf8('open sésame')),
          form,
        },
        ca.context.world.random,
      )
      const directory = mkdtempSync(join(tmpdir(), 'sealworks-p12-'))
      t.after(() => rmSync(directory, { recursive: true }))
      const file = join(directory, 'scada.p12')
      writeFileSync(file, pkcs12)
      const open = (password: string): Promise<{ stdout: string }> =>
        run(openssl.path('openssl'), [
          'pkcs12',
          ...['-in', file, '-nodes', '-passin', `pass:${password}`],
          ...(form === 'legacy' ? ['-legacy'] : []),
        ])
      const { stdout } = await open('open sésame')
      const certificates = stdout.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
      assert.equal(certificates.length, 3)
      const own = new X509Certificate(certificates[0] ?? '')
      assert.deepEqual(new Uint8Array(own.raw), made.certificate)
      const key = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/.exec(stdout)?.[0] as string
      assert.ok(own.checkPrivateKey(createPrivateKey(key)))
      await assert.rejects(open('open sesame'), /invalid password|mac verify/i)
    })
  }
})

/** Whether the octets stand anywhere in the database. */
async function holds({ context: { db } }: TestCA, octets: Buffer): Promise<boolean> {
  const tables = await db.query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
  for (const { name } of tables) {
    for await (const row of db.iterate(`SELECT * FROM ${String(name)}`)) {
      for (const value of Object.values(row)) {
        if (value instanceof Uint8Array && Buffer.from(value).includes(octets)) return true
        if (typeof value === 'string' && value.includes(octets.toString('base64'))) return true
      }
    }
  }
  return false
}
