import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { asTrustError } from '#base/errors.ts'
import { signerParty, signingKey } from '#cms/testing.ts'
import { utf8 } from '#base/bytes.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { needs } from '../../../test/interop/programs.ts'
import {
  encodeOwnerCertificate,
  issuerOf,
  parseOwnerCertificate,
  signVoucher,
  verifyVoucher,
  type Voucher,
  VOUCHER_TYPE,
} from './voucher.ts'

const openssl = needs('openssl')
const maker = await signerParty('ecdsa-sha256')
const stranger = await signerParty('ecdsa-sha256')
const signing = (party: typeof maker) =>
  ({ key: signingKey(party), certificate: party.certificate, signatureAlgorithm: 'ecdsa-sha256' }) as const
const keyIdentifier = Uint8Array.of(1, 2, 3, 4)
const birth = await makeCertificate(makeKey(), { extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier })] })
const domain = await makeCertificate(makeKey())
const now = new Date('2027-03-01T00:00:00Z')
const voucher: Voucher = {
  createdOn: new Date('2027-01-01T00:00:00Z'),
  expiresOn: new Date('2028-01-01T00:00:00Z'),
  assertion: 'verified',
  serialNumber: 'V2-0001',
  idevidIssuer: issuerOf(birth) ?? new Uint8Array(0),
  pinnedDomainCert: domain,
  domainCertRevocationChecks: false,
}
const expected = { makers: [maker.certificate], serialNumber: 'V2-0001', birth, now }

const refuses = (work: Promise<unknown>, code: string, reason: string): Promise<void> =>
  assert.rejects(work, (thrown) => {
    const error = asTrustError(thrown)
    assert.deepEqual([error.code, error.reason], [code, reason])
    return true
  })

test('a voucher says what the maker said (R6)', async () => {
  assert.deepEqual(await verifyVoucher(await signVoucher(voucher, signing(maker)), expected), voucher)
  const { expiresOn: _, idevidIssuer: __, ...rest } = voucher
  const nonce = new Uint8Array(16).fill(7)
  const asked = await signVoucher({ ...rest, nonce }, signing(maker))
  assert.deepEqual(await verifyVoucher(asked, { ...expected, nonce }), { ...rest, nonce })
  await refuses(verifyVoucher(asked, expected), 'policyRefused', 'voucherNonce')
  await refuses(verifyVoucher(asked, { ...expected, nonce: new Uint8Array(16) }), 'policyRefused', 'voucherNonce')
})

test('a voucher for another device, of another time, or by another signer is refused', async () => {
  const der = await signVoucher(voucher, signing(maker))
  await refuses(verifyVoucher(der, { ...expected, serialNumber: 'V2-0002' }), 'policyRefused', 'voucherOtherDevice')
  const other = await makeCertificate(makeKey(), {
    extensions: [extensionWith(authorityKeyIdentifier, { keyIdentifier: Uint8Array.of(9) })],
  })
  await refuses(verifyVoucher(der, { ...expected, birth: other }), 'policyRefused', 'voucherOtherDevice')
  await refuses(verifyVoucher(der, { ...expected, now: new Date('2029-01-01T00:00:00Z') }), 'policyRefused', 'voucherTime')
  await refuses(verifyVoucher(der, { ...expected, now: new Date('2026-01-01T00:00:00Z') }), 'policyRefused', 'voucherTime')
  const forged = await signVoucher(voucher, signing(stranger))
  await refuses(verifyVoucher(forged, expected), 'unauthenticated', 'voucherSigner')
  const at = Buffer.from(der).indexOf('V2-0001')
  const changed = new Uint8Array(der)
  changed[at + 6] = 0x32
  await refuses(verifyVoucher(changed, { ...expected, serialNumber: 'V2-0002' }), 'badProof', 'cmsContentChanged')
})

test('what is no voucher, or says more than one says, is refused', async () => {
  const content = (text: string, contentType = VOUCHER_TYPE) =>
    encodeSignedData({ contentType, content: { attached: utf8(text) }, signers: [signing(maker)] })
  const members = {
    ...{ 'created-on': '2027-01-01T00:00:00Z', assertion: 'verified', 'serial-number': 'V2-0001' },
    'pinned-domain-cert': domain.toBase64(),
  }
  const having = (more: object) => JSON.stringify({ 'ietf-voucher:voucher': { ...members, ...more } })
  assert.equal((await verifyVoucher(await content(having({})), expected)).serialNumber, 'V2-0001')
  for (const text of [
    '{}',
    having({ assertion: 'trusted' }),
    having({ 'x-allow': true }),
    having({ 'pinned-domain-cert': undefined }),
    having({ 'created-on': 'yesterday' }),
    having({ nonce: 'AAAA' }),
    having({ nonce: new Uint8Array(16).toBase64(), 'expires-on': '2028-01-01T00:00:00Z' }),
  ])
    await refuses(
      content(text).then((der) => verifyVoucher(der, expected)),
      'malformed',
      'voucherMalformed',
    )
  const plain = await content(having({}), '1.2.840.113549.1.7.1')
  await refuses(verifyVoucher(plain, expected), 'malformed', 'voucherMalformed')
})

test('openssl verifies a voucher of ours, and one of its own is taken here', { skip: openssl.skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-voucher-'))
  try {
    const at = (name: string) => join(directory, name)
    const pem = (label: string, der: Uint8Array) =>
      `-----BEGIN ${label}-----\n${der.toBase64().replace(/(.{64})/g, '$1\n')}\n-----END ${label}-----\n`
    writeFileSync(at('ours.p7'), await signVoucher(voucher, signing(maker)))
    writeFileSync(at('maker.pem'), pem('CERTIFICATE', maker.certificate))
    writeFileSync(at('maker.key'), maker.privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const openssl = (...words: readonly string[]) => spawnSync('openssl', ['cms', ...words], { cwd: directory })
    const verify = ['-verify', '-inform', 'DER', '-noverify', '-certfile', 'maker.pem']
    const seen = openssl(...verify, '-in', 'ours.p7')
    assert.equal(seen.status, 0, seen.stderr.toString())
    const said = JSON.parse(seen.stdout.toString()) as Record<string, Record<string, string>>
    assert.equal(said['ietf-voucher:voucher']?.['serial-number'], 'V2-0001')
    writeFileSync(at('content'), seen.stdout)
    const sign = ['-sign', '-binary', '-nodetach', '-econtent_type', VOUCHER_TYPE, '-signer', 'maker.pem', '-inkey', 'maker.key']
    const made = openssl(...sign, '-in', 'content', '-outform', 'DER')
    assert.equal(made.status, 0, made.stderr.toString())
    assert.deepEqual(await verifyVoucher(new Uint8Array(made.stdout), expected), voucher)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('an owner certificate carries the way from the pinned certificate to the owner', () => {
  const certificates = [domain, birth]
  const read = parseOwnerCertificate(encodeOwnerCertificate(certificates))
  assert.deepEqual(new Set(read.map((one) => one.toHex())), new Set(certificates.map((one) => one.toHex())))
})
