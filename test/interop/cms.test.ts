/**
 * CMS with the programs of others, both ways: OpenSSL for everything it knows, GnuTLS and NSS for what they do, and
 * python3-cryptography as one more writer.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { decryptEnvelope, type Opener } from '#cms/decrypt.ts'
import { encodeAuthEnvelopedData, encodeEnvelopedData, type Recipient, streamAuthEnvelopedData } from '#cms/encrypt.ts'
import { parseEnvelope } from '#cms/enveloped-data.ts'
import { openerKey } from '#cms/key-objects.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { type Party, recipientParty, type RecipientType, signerParty, signingKey } from '#cms/testing.ts'
import { verifySignedData } from '#cms/verify.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const { random } = systemWorld()
const { folder, keep } = scratch('cms')

const certificateFile = ({ certificate }: Party): string => keep(encodePEM('CERTIFICATE', certificate))
const keyFile = ({ privateKey }: Party): string => keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))
const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))

const openssl = needs('openssl')
const certtool = needs('certtool')
const cmsutil = needs('cmsutil', 'certutil')
const python = needs('python3', 'python3-cryptography')
const cms = (...args: string[]): Promise<{ stdout: string; stderr: string }> => run(openssl.path('openssl'), ['cms', ...args])

const content = utf8('firmware of press 7\r\nversion 3\n'.repeat(400))
const contentFile = keep(content)

/** What OpenSSL 3.0 can sign and verify: not Ed25519, which it gives a digest in CMS and then refuses. */
const signatures: readonly (readonly [SignatureAlgorithmId, ...string[]])[] = [
  ['ecdsa-sha256', '-md', 'sha256'],
  ['ecdsa-sha384', '-md', 'sha384'],
  ['ecdsa-sha512', '-md', 'sha512'],
  ['rsa-sha256', '-md', 'sha256'],
  ['rsa-sha512', '-md', 'sha512'],
  ['rsa-pss-sha256', '-md', 'sha256', '-keyopt', 'rsa_padding_mode:pss', '-keyopt', 'rsa_pss_saltlen:digest'],
]

const parties = await Promise.all(signatures.map(([id]) => signerParty(id)))

for (const [i, [signatureAlgorithm, ...options]] of signatures.entries()) {
  const party = parties[i] as Party
  const signing = {
    key: signingKey(party),
    certificate: party.certificate,
    signatureAlgorithm,
    signingTime: new Date('2026-05-01T10:00:00Z'),
  }

  test(`R9: OpenSSL verifies our ${signatureAlgorithm}, attached and detached`, { skip: openssl.skip }, async () => {
    const attached = keep(await encodeSignedData({ content: { attached: content }, signers: [signing] }))
    const out = keep('')
    await cms('-verify', '-noverify', '-binary', '-inform', 'DER', '-in', attached, '-out', out)
    assert.deepEqual(read(out), content)
    const detached = keep(
      await encodeSignedData({ content: { detached: content }, signers: [{ ...signing, identifyBy: 'subjectKeyIdentifier' }] }),
    )
    const check = ['-verify', '-noverify', '-binary', '-inform', 'DER', '-in', detached, '-out', out]
    await cms(...check, '-content', contentFile)
    await assert.rejects(cms(...check, '-content', keep('other')), /CMS Verification failure/)
  })

  test(`R9: ${signatureAlgorithm} of OpenSSL verifies here: DER, BER in pieces, detached`, { skip: openssl.skip }, async () => {
    const sign = [
      '-sign',
      '-binary',
      '-signer',
      certificateFile(party),
      '-inkey',
      keyFile(party),
      '-in',
      contentFile,
      '-outform',
      'DER',
      ...options,
    ]
    for (const extra of [
      ['-nodetach', '-noindef'],
      ['-nodetach', '-stream'],
      ['-nodetach', '-noindef', '-cades'],
      ['-nodetach', '-noindef', '-keyid'],
    ]) {
      const out = keep('')
      if (signatureAlgorithm === 'rsa-pss-sha256' && extra.includes('-stream')) continue // its parameters come too late for OpenSSL itself
      await cms(...sign, ...extra, '-out', out)
      const signed = parseSignedData(read(out), extra.includes('-stream') ? { encoding: 'ber' } : {})
      const { signers, content: found } = await verifySignedData(signed)
      assert.deepEqual(found, content)
      assert.equal(signers[0]?.signatureAlgorithm, signatureAlgorithm)
      assert.deepEqual(signers[0]?.certificate.der, party.certificate)
      if (extra.includes('-stream')) assert.throws(() => parseSignedData(read(out)), /indefinite length/)
    }
    const out = keep('')
    await cms(...sign, '-nocerts', '-out', out)
    const signed = parseSignedData(read(out))
    await assert.rejects(verifySignedData(signed, { content }), { reason: 'cmsSignerUnknown' })
    assert.equal((await verifySignedData(signed, { content, certificates: [party.certificate] })).signers.length, 1)
    await assert.rejects(verifySignedData(signed, { content: utf8('other'), certificates: [party.certificate] }), {
      reason: 'cmsContentChanged',
    })
  })
}

test(
  'R9: without signed attributes OpenSSL signs the content itself, and that verifies here',
  { skip: openssl.skip },
  async () => {
    const party = await signerParty('rsa-sha256')
    const out = keep('')
    await cms(
      '-sign',
      '-binary',
      '-noattr',
      '-nodetach',
      '-noindef',
      '-signer',
      certificateFile(party),
      '-inkey',
      keyFile(party),
      '-in',
      contentFile,
      '-outform',
      'DER',
      '-out',
      out,
    )
    const { signers } = await verifySignedData(parseSignedData(read(out)))
    assert.deepEqual(signers[0]?.signedAttributes, [])
  },
)

test('R9: several signers, ours and theirs, in one message', { skip: openssl.skip }, async () => {
  const [maker, owner] = [await signerParty('ecdsa-sha256'), await signerParty('rsa-sha256')]
  const ours = await encodeSignedData({
    content: { attached: content },
    signers: [{ key: signingKey(maker), certificate: maker.certificate, signatureAlgorithm: 'ecdsa-sha256' }],
  })
  const out = keep('')
  await cms(
    '-resign',
    '-inform',
    'DER',
    '-in',
    keep(ours),
    '-signer',
    certificateFile(owner),
    '-inkey',
    keyFile(owner),
    '-outform',
    'DER',
    '-out',
    out,
  )
  const { signers } = await verifySignedData(parseSignedData(read(out)))
  assert.deepEqual(signers.map(({ signatureAlgorithm }) => signatureAlgorithm).toSorted(), ['ecdsa-sha256', 'rsa-sha256'])
})

test('R9: GnuTLS verifies ours and we verify GnuTLS', { skip: certtool.skip }, async () => {
  for (const signatureAlgorithm of ['ecdsa-sha256', 'rsa-sha256'] as const) {
    const party = await signerParty(signatureAlgorithm)
    const ours = await encodeSignedData({
      content: { attached: content },
      signers: [
        {
          key: signingKey(party),
          certificate: party.certificate,
          signatureAlgorithm,
          signingTime: new Date('2026-05-01T10:00:00Z'),
        },
      ],
    })
    const certificate = certificateFile(party)
    const { stdout, stderr } = await run(certtool.path('certtool'), [
      '--p7-verify',
      '--inder',
      '--infile',
      keep(ours),
      '--load-certificate',
      certificate,
    ])
    assert.match(stdout + stderr, /Signature status: ok/)
    const out = keep('')
    await run(certtool.path('certtool'), [
      '--p7-sign',
      '--p7-time',
      '--outder',
      '--load-certificate',
      certificate,
      '--load-privkey',
      keyFile(party),
      '--infile',
      contentFile,
      '--outfile',
      out,
    ])
    assert.equal((await verifySignedData(parseSignedData(read(out)))).signers[0]?.signatureAlgorithm, signatureAlgorithm)
  }
})

test(
  'R9: NSS reads our message, opens what is encrypted for it, and its own BER verifies here',
  { skip: cmsutil.skip || openssl.skip },
  async () => {
    const party = await recipientParty('rsa')
    const database = mkdtempSync(join(folder, 'nss-'))
    await run(cmsutil.path('certutil'), ['-N', '-d', database, '--empty-password'])
    const p12 = keep('')
    await run(openssl.path('openssl'), [
      'pkcs12',
      '-export',
      '-in',
      certificateFile(party),
      '-inkey',
      keyFile(party),
      '-name',
      'party',
      '-passout',
      'pass:x',
      '-out',
      p12,
    ])
    await run(needs('pk12util').path('pk12util'), ['-i', p12, '-d', database, '-W', 'x'])
    await run(cmsutil.path('certutil'), ['-M', '-d', database, '-n', 'party', '-t', 'P,P,P'])
    const signed = await encodeSignedData({
      content: { attached: content },
      signers: [{ key: signingKey(party), certificate: party.certificate, signatureAlgorithm: 'rsa-sha256' }],
    })
    const { stdout } = await run(cmsutil.path('cmsutil'), ['-D', '-d', database, '-n', '-h', '0', '-i', keep(signed)])
    assert.equal(stdout.includes('signer0.status=GoodSignature'), true, stdout.slice(0, 400))
    const theirs = keep('')
    await run(cmsutil.path('cmsutil'), [
      '-S',
      '-d',
      database,
      '-N',
      'party',
      '-H',
      'SHA256',
      '-G',
      '-i',
      contentFile,
      '-o',
      theirs,
    ])
    assert.throws(() => parseSignedData(read(theirs)), /indefinite length/)
    const { signers } = await verifySignedData(parseSignedData(read(theirs), { encoding: 'ber' }))
    assert.equal(signers[0]?.signatureAlgorithm, 'rsa-sha256')
    assert.notEqual(signers[0].signingTime, undefined)
    const out = keep('')
    const forNSS: Recipient = { type: 'certificate', certificate: party.certificate, keyTransport: 'rsaEncryption' }
    const envelope = keep(await encodeEnvelopedData({ cipher: 'aes-256-cbc', content, recipients: [forNSS] }, random))
    await run(cmsutil.path('cmsutil'), ['-D', '-d', database, '-i', envelope, '-o', out])
    assert.deepEqual(read(out), content)
  },
)

// Encryption

const opener = (party: Party): Opener => ({
  type: 'privateKey',
  certificate: party.certificate,
  key: openerKey(party.privateKey),
})

/** How OpenSSL 3.0 writes for each kind of key. */
const recipients: readonly (readonly [RecipientType, string, ...string[]])[] = [
  ['rsa', 'RSAES-OAEP with SHA-256', '-keyopt', 'rsa_padding_mode:oaep', '-keyopt', 'rsa_oaep_md:sha256'],
  ['rsa', 'RSAES-OAEP with SHA-1', '-keyopt', 'rsa_padding_mode:oaep'],
  ['rsa', 'PKCS #1 v1.5'],
  ['P-256', 'SHA-1 as it likes', '-aes128-wrap'],
  ['P-256', 'SHA-256', '-keyopt', 'ecdh_kdf_md:sha256', '-aes256-wrap'],
  ['P-384', 'SHA-384', '-keyopt', 'ecdh_kdf_md:sha384', '-aes256-wrap'],
  ['P-521', 'SHA-512', '-keyopt', 'ecdh_kdf_md:sha512', '-aes256-wrap'],
  ['P-384', 'cofactor mode', '-keyopt', 'ecdh_kdf_md:sha256', '-keyopt', 'ecdh_cofactor_mode:1', '-aes256-wrap'],
]

for (const [type, name, ...options] of recipients) {
  test(`R9: ${type} with ${name}: we open what OpenSSL encrypts`, { skip: openssl.skip }, async () => {
    const party = await recipientParty(type)
    for (const [cipher, extra] of [
      ['aes-256-cbc', '-noindef'],
      ['aes-128-cbc', '-stream'],
      ['aes-256-gcm', '-noindef'],
      ['aes-128-gcm', '-stream'],
    ] as const) {
      const out = keep('')
      await cms(
        '-encrypt',
        '-binary',
        `-${cipher}`,
        extra,
        '-in',
        contentFile,
        '-outform',
        'DER',
        '-out',
        out,
        '-recip',
        certificateFile(party),
        ...options,
      )
      const envelope = parseEnvelope(read(out), { encoding: 'ber' })
      const opened = await decryptEnvelope(envelope, opener(party), random, { allowPKCS1: true })
      assert.deepEqual(opened.content, content)
      assert.equal(opened.cipher, cipher)
      assert.equal(opened.authenticated, cipher.endsWith('gcm'))
      if (name === 'PKCS #1 v1.5')
        await assert.rejects(decryptEnvelope(envelope, opener(party), random), { reason: 'cmsKeyTransportRefused' })
    }
  })
}

for (const type of ['rsa', 'P-256', 'P-384', 'P-521'] as const) {
  test(`R9: OpenSSL opens what we encrypt for ${type}`, { skip: openssl.skip }, async () => {
    const party = await recipientParty(type)
    const other = await recipientParty('P-256')
    const decrypt = async (der: Uint8Array): Promise<Uint8Array> => {
      const out = keep('')
      await cms(
        '-decrypt',
        '-binary',
        '-inform',
        'DER',
        '-in',
        keep(der),
        '-recip',
        certificateFile(party),
        '-inkey',
        keyFile(party),
        '-out',
        out,
      )
      return read(out)
    }
    for (const identifyBy of ['issuerAndSerialNumber', 'subjectKeyIdentifier'] as const) {
      const to: [Recipient, Recipient] = [
        { type: 'certificate', certificate: other.certificate, identifyBy },
        { type: 'certificate', certificate: party.certificate, identifyBy },
      ]
      for (const cipher of ['aes-128-cbc', 'aes-256-cbc'] as const)
        assert.deepEqual(await decrypt(await encodeEnvelopedData({ cipher, content, recipients: to }, random)), content)
      for (const cipher of ['aes-128-gcm', 'aes-256-gcm'] as const)
        assert.deepEqual(await decrypt(await encodeAuthEnvelopedData({ cipher, content, recipients: to }, random)), content)
    }
    if (type !== 'rsa') return
    const pkcs1: Recipient = { type: 'certificate', certificate: party.certificate, keyTransport: 'rsaEncryption' }
    assert.deepEqual(
      await decrypt(await encodeEnvelopedData({ cipher: 'aes-128-cbc', content, recipients: [pkcs1] }, random)),
      content,
    )
  })
}

test('R9: a shared key and a password, both ways', { skip: openssl.skip }, async () => {
  const key = random.octets(32)
  const keyIdentifier = utf8('backup')
  const ours: readonly (readonly [Recipient & Opener, readonly string[], readonly string[]])[] = [
    [
      { type: 'kek', keyIdentifier, key: secret(key) },
      ['-secretkey', key.toHex(), '-secretkeyid', keyIdentifier.toHex()],
      ['-secretkey', key.toHex(), '-secretkeyid', keyIdentifier.toHex()],
    ],
    [{ type: 'password', password: secret(utf8('geheim')) }, ['-pwri_password', 'geheim'], ['-pwri_password', 'geheim']],
  ]
  for (const [both, encrypting, decrypting] of ours) {
    for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
      // OpenSSL 3.0 has no password recipients beside GCM, but opens them
      if (cipher === 'aes-256-cbc' || both.type === 'kek') {
        const theirs = keep('')
        await cms('-encrypt', '-binary', `-${cipher}`, '-in', contentFile, '-outform', 'DER', '-out', theirs, ...encrypting)
        assert.deepEqual((await decryptEnvelope(parseEnvelope(read(theirs), { encoding: 'ber' }), both, random)).content, content)
      }
      const der =
        cipher === 'aes-256-cbc'
          ? await encodeEnvelopedData({ cipher, content, recipients: [both] }, random)
          : await encodeAuthEnvelopedData({ cipher, content, recipients: [both] }, random)
      const out = keep('')
      await cms('-decrypt', '-binary', '-inform', 'DER', '-in', keep(der), '-out', out, ...decrypting)
      assert.deepEqual(read(out), content)
    }
  }
})

test('R9: OpenSSL opens content that was encrypted in a stream', { skip: openssl.skip }, async () => {
  const party = await recipientParty('P-256')
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < content.length; at += 1000) yield content.subarray(at, at + 1000)
  }
  const parts = await Array.fromAsync(
    streamAuthEnvelopedData(
      {
        cipher: 'aes-256-gcm',
        content: pieces(),
        contentOctets: content.length,
        recipients: [{ type: 'certificate', certificate: party.certificate }],
      },
      random,
    ),
  )
  const out = keep('')
  await cms(
    '-decrypt',
    '-binary',
    '-inform',
    'DER',
    '-in',
    keep(Buffer.concat(parts)),
    '-recip',
    certificateFile(party),
    '-inkey',
    keyFile(party),
    '-out',
    out,
  )
  assert.deepEqual(read(out), content)
})

test('R9: what python3-cryptography signs verifies here', { skip: python.skip }, async () => {
  const party = await signerParty('ecdsa-sha256')
  const out = keep('')
  const program = `
import sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7
certificate, key, content, out = sys.argv[1:]
key = serialization.load_pem_private_key(open(key, 'rb').read(), None)
certificate = x509.load_pem_x509_certificate(open(certificate, 'rb').read())
builder = pkcs7.PKCS7SignatureBuilder().set_data(open(content, 'rb').read()).add_signer(certificate, key, hashes.SHA384())
open(out, 'wb').write(builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary]))
`
  await run(python.path('python3'), ['-c', program, certificateFile(party), keyFile(party), contentFile, out])
  const { signers, content: found } = await verifySignedData(parseSignedData(read(out)))
  assert.deepEqual(found, content)
  assert.equal(signers[0]?.signatureAlgorithm, 'ecdsa-sha384')
})
