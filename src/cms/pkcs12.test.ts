/** PKCS #12: opened by OpenSSL, GnuTLS, NSS and Node with the right password, and by none with another. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createSecureContext } from 'node:tls'
import { promisify } from 'node:util'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from '../../test/interop/programs.ts'
import { derivePKCS12, encodePKCS12, type PKCS12Form } from './pkcs12.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'sealworks-p12-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const key = makeKey()
const pkcs8 = new Uint8Array(key.privateKey.export({ type: 'pkcs8', format: 'der' }))
const certificates = [
  await makeCertificate(key, { subject: nameOf([{ type: 'CN', value: 'Press 7' }]) }),
  await makeCertificate(makeKey(), { subject: nameOf([{ type: 'CN', value: 'Line 1 CA' }]), serialNumber: Uint8Array.of(1) }),
] as const
const PASSWORD = 'geheim-ö€'
const { random } = systemWorld()
const text = (value: string): ReturnType<typeof secret> => secret(new TextEncoder().encode(value))

const files = new Map<PKCS12Form, Uint8Array>()
for (const form of ['modern', 'legacy'] as const) {
  files.set(
    form,
    await encodePKCS12({ key: secret(pkcs8), certificates, friendlyName: 'Presse Süd', password: text(PASSWORD), form }, random),
  )
}

const openssl = needs('openssl')
const certtool = needs('certtool')
const nss = needs('pk12util', 'certutil')

for (const [form, der] of files) {
  const path = join(folder, `${form}.p12`)
  writeFileSync(path, der)

  test(`R4: Node opens the ${form} file, and only with its password`, () => {
    assert.ok(createSecureContext({ pfx: Buffer.from(der), passphrase: PASSWORD }))
    assert.throws(() => createSecureContext({ pfx: Buffer.from(der), passphrase: 'wrong' }), /mac verify failure/)
  })

  test(`R4: OpenSSL opens the ${form} file and finds key, certificates and names`, { skip: openssl.skip }, async () => {
    const args = ['pkcs12', '-in', path, '-passin', `pass:${PASSWORD}`, '-nodes', '-info']
    const { stdout, stderr } = await run(openssl.path('openssl'), args)
    assert.match(
      stderr,
      form === 'modern'
        ? /PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256/
        : /pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048/,
    )
    assert.match(stderr, form === 'modern' ? /MAC: sha256, Iteration 100000/ : /MAC: sha1, Iteration 2048/)
    assert.match(stdout, /subject=CN = Press 7/)
    assert.match(stdout, /subject=CN = Line 1 CA/)
    const pem = /-----BEGIN PRIVATE KEY-----[^]*-----END PRIVATE KEY-----/.exec(stdout)?.[0] ?? ''
    assert.ok(createPrivateKey(pem).equals(key.privateKey))
    // the key and its own certificate, and only these, carry the identifier that joins them
    assert.equal(stdout.match(/localKeyID: /g)?.length, 2)
    await assert.rejects(run(openssl.path('openssl'), args.with(4, 'pass:wrong')), /invalid password/)
  })

  test(`R4: GnuTLS opens the ${form} file`, { skip: certtool.skip }, async () => {
    const { stdout } = await run(certtool.path('certtool'), ['--p12-info', '--inder', '--infile', path, '--password', PASSWORD])
    assert.match(stdout, /Friendly name: Presse Süd/)
    assert.equal(stdout.match(/-----BEGIN CERTIFICATE-----/g)?.length, 2)
    const encrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----[^]*-----END ENCRYPTED PRIVATE KEY-----/.exec(stdout)?.[0] ?? ''
    const keyPath = join(folder, `${form}.key`)
    writeFileSync(keyPath, encrypted)
    const { stdout: opened } = await run(certtool.path('certtool'), [
      '--key-info',
      '--pkcs8',
      '--password',
      PASSWORD,
      '--infile',
      keyPath,
    ])
    assert.ok(opened.includes(`pin-sha256:${hash('sha256', key.spki, 'base64')}`))
  })

  test(`R4: NSS imports the ${form} file`, { skip: nss.skip }, async () => {
    const database = mkdtempSync(join(folder, 'nss-'))
    await run(nss.path('certutil'), ['-N', '-d', database, '--empty-password'])
    await run(nss.path('pk12util'), ['-i', path, '-d', database, '-W', PASSWORD])
    const { stdout } = await run(nss.path('certutil'), ['-K', '-d', database])
    assert.match(stdout, /ec\s+\w+\s+Presse Süd/)
  })
}

test('R28: two files of the same key have nothing secret in common', async () => {
  const again = await encodePKCS12(
    { key: secret(pkcs8), certificates, friendlyName: 'Presse Süd', password: text(PASSWORD), form: 'modern' },
    random,
  )
  const first = files.get('modern') as Uint8Array
  assert.equal(again.length, first.length)
  const hex = again.toHex()
  for (let at = 0; at + 32 < first.length; at += 16) {
    const piece = first.subarray(at, at + 32).toHex()
    if (hex.includes(piece)) assert.ok(!pkcs8.toHex().includes(piece))
  }
  for (const [form, der] of files) assert.ok(!Buffer.from(der).includes(pkcs8.subarray(36, 68)), form)
})

test('a name beyond the basic plane is shown with a replacement character, not refused', async () => {
  const der = await encodePKCS12(
    { key: secret(pkcs8), certificates, friendlyName: 'Press 🏭', password: text('x'), form: 'legacy' },
    random,
  )
  assert.ok(createSecureContext({ pfx: Buffer.from(der), passphrase: 'x' }))
  assert.ok(!Buffer.from(der).includes(Buffer.from([0xd8, 0x3c])))
})

/** Made with the KDF of OpenSSL 3: openssl kdf -keylen 24 -kdfopt digest:SHA1 -kdfopt pass:… -kdfopt id:1 PKCS12KDF. */
test('RFC 7292, B.2: the derivation agrees with OpenSSL', { skip: openssl.skip }, async () => {
  for (const { digest, purpose, id, octets } of [
    { digest: 'sha1', purpose: 'key', id: 1, octets: 24 },
    { digest: 'sha1', purpose: 'iv', id: 2, octets: 8 },
    { digest: 'sha256', purpose: 'mac', id: 3, octets: 32 },
    { digest: 'sha256', purpose: 'key', id: 1, octets: 48 },
  ] as const) {
    const salt = Uint8Array.fromHex('0102030405060708')
    const bmp = Buffer.from('secret\0', 'utf16le').swap16().toString('hex')
    const options = [`digest:${digest.toUpperCase()}`, `hexpass:${bmp}`, 'hexsalt:0102030405060708', 'iter:1000', `id:${id}`]
    const { stdout } = await run(openssl.path('openssl'), [
      'kdf',
      '-keylen',
      String(octets),
      ...options.flatMap((option) => ['-kdfopt', option]),
      'PKCS12KDF',
    ])
    const derived = await derivePKCS12(digest, purpose, text('secret'), { salt, iterations: 1000, octets })
    assert.equal(derived.toHex(), stdout.trim().replaceAll(':', '').toLowerCase())
  }
})
