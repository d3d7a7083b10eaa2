/** Bundles: written in DER's order, read in any, and read by others. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { encodeCertificateList } from '#x509/crl.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from '../../test/interop/programs.ts'
import { encodeCertsOnly, parseCertsOnly } from './certs-only.ts'

const run = promisify(execFile)
const folder = mkdtempSync(join(tmpdir(), 'sealworks-cms-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function keep(name: string, content: Uint8Array | string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

const key = makeKey()
const named = (cn: string): Promise<Uint8Array> => makeCertificate(key, { subject: nameOf([{ type: 'CN', value: cn }]) })
const certificates = [await named('zeta, the longest name'), await named('alpha'), await named('mid')]
const moment = new Date('2026-03-01T00:00:00Z')
const crl = await encodeCertificateList(
  {
    issuer: encodeName(nameOf([{ type: 'CN', value: 'CA' }])),
    thisUpdate: moment,
    nextUpdate: moment,
    extensions: [extensionWith(crlNumber, 1n)],
  },
  [],
  key.signer,
)

test('RFC 5652, 5: a bundle is a SignedData of version 1 that nobody signed', () => {
  // ContentInfo { signedData, [0] SignedData { 1, {}, { data }, signerInfos {} } }
  assert.equal(encodeCertsOnly([]).toHex(), '302306092a864886f70d010702a01630140201013100300b06092a864886f70d0107013100')
  assert.deepEqual(parseCertsOnly(encodeCertsOnly([])), { certificates: [], crls: [] })
})

test('X.690, 11.6: the certificates stand in the order of their octets', () => {
  const bundle = parseCertsOnly(encodeCertsOnly(certificates, [crl]))
  assert.deepEqual(bundle.certificates, certificates.toSorted(Buffer.compare))
  assert.deepEqual(bundle.crls, [crl])
  assert.deepEqual(encodeCertsOnly(certificates.toReversed()), encodeCertsOnly(certificates))
})

for (const { name, hex, detail } of [
  { name: 'content of another type', hex: '300f06092a864886f70d010701a0020400', detail: /not SignedData/ },
  {
    name: 'another version',
    hex: '302306092a864886f70d010702a01630140201033100300b06092a864886f70d0107013100',
    detail: /version is 3/,
  },
  {
    name: 'an attribute certificate',
    hex: '302706092a864886f70d010702a01a30180201013100300b06092a864886f70d010701a002a1003100',
    detail: /something else than X\.509/,
  },
  {
    name: 'a signer',
    hex: '302506092a864886f70d010702a01830160201013100300b06092a864886f70d01070131023000',
    detail: /more than 0/,
  },
]) {
  test(`a bundle with ${name} is refused`, () => {
    assert.throws(() => parseCertsOnly(Uint8Array.fromHex(hex)), { code: 'malformed', message: detail })
  })
}

const openssl = needs('openssl')
const certtool = needs('certtool')

test('R5: OpenSSL and GnuTLS read the bundle', { skip: openssl.skip || certtool.skip }, async () => {
  const path = keep('bundle.p7b', encodeCertsOnly(certificates, [crl]))
  const { stdout } = await run(openssl.path('openssl'), ['pkcs7', '-inform', 'der', '-in', path, '-print_certs', '-noout'])
  assert.deepEqual(
    stdout.match(/subject=CN = .*/g)?.toSorted(),
    ['subject=CN = alpha', 'subject=CN = mid', 'subject=CN = "zeta, the longest name"'].toSorted(),
  )
  const { stdout: gnutls } = await run(certtool.path('certtool'), ['--p7-info', '--inder', '--infile', path])
  assert.match(gnutls, /Number of certificates: 3/)
  assert.match(gnutls, /Number of CRLs: 1/)
})

test('R5: a bundle of OpenSSL is read here, in whatever order it has', { skip: openssl.skip }, async () => {
  const pem = keep('all.pem', certificates.map((der) => encodePEM('CERTIFICATE', der)).join(''))
  const out = join(folder, 'openssl.p7b')
  await run(openssl.path('openssl'), ['crl2pkcs7', '-nocrl', '-certfile', pem, '-outform', 'der', '-out', out])
  assert.deepEqual(parseCertsOnly(new Uint8Array(readFileSync(out))).certificates, certificates)
})
