/** OCSP, CRLs and CA certificates with the clients of others: openssl, GnuTLS, curl, NSS. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { equal } from '#base/bytes.ts'
import { holdCertificate, releaseCertificate, revokeCertificate } from '#ca/certificates.ts'
import { issueCRL, latestCRL } from '#ca/crl.ts'
import { ocsp } from '#ca/ocsp.ts'
import { unpackAnswers } from '#ca/ocsp-blocks.ts'
import { changeRevocationPolicy } from '#ca/revocation-policy.ts'
import { person } from '#ca/testing.ts'
import { ocspClient } from '#protocols/ocsp/client.ts'
import { repositoryClient } from '#protocols/repository/client.ts'
import { extensionOf, parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { crlDistributionPoints } from '#x509/extensions/crl-distribution-points.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { encodeCertID, encodeOCSPRequest, issuerHashes, verifyResponseSignature } from '#x509/ocsp.ts'
import { type Holder, pemOf, type Plant, plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)

interface Here extends Plant {
  readonly device: Holder
  /** `http://…/ocsp/line1.1`, as the certificate says. */
  readonly ocspURL: string
  readonly crlURL: string
  readonly issuerURL: string
}

/** A device with its birth certificate, and the files that programs ask for: ca.pem, chain.pem, device.pem. */
async function deviceIn(t: TestContext): Promise<Here> {
  const here = await plant(t)
  const device = await here.issue(here.births, [{ type: 'serialNumber', value: 'P-1' }])
  const certificate = parseCertificate(device.certificate)
  const addresses =
    extensionOf(certificate, authorityInfoAccess)?.value.map(({ accessLocation }) => accessLocation.value as string) ?? []
  const [point] = extensionOf(certificate, crlDistributionPoints)?.value ?? []
  const name = point?.distributionPoint
  assert.ok(name?.type === 'fullName')
  here.writeFile('root.pem', pemOf(here.ca.authorities.byAddress('root').certificate.der))
  here.writeFile('line1.pem', pemOf(here.ca.authorities.byAddress('line1').certificate.der))
  here.writeFile('device.pem', pemOf(device.certificate))
  const withPath = (part: string): string => addresses.find((address) => address.includes(part)) ?? ''
  return { ...here, device, ocspURL: withPath('/ocsp'), issuerURL: withPath('/ca/'), crlURL: name.value[0]?.value as string }
}

const requestAbout = (here: Here, nonce?: Uint8Array): Uint8Array => {
  const issuer = here.ca.authorities.byAddress('line1').certificate
  return encodeOCSPRequest(
    [encodeCertID(issuerHashes(issuer, 'sha256'), parseCertificate(here.device.certificate).serialNumber, 'sha256')],
    nonce,
  )
}

test('R3: a revocation is seen by the next question, and a release too (decision 18)', async (t) => {
  const here = await deviceIn(t)
  const client = ocspClient({ url: here.ocspURL })
  t.after(() => client.close())
  const statusOf = async (method: 'GET' | 'POST') => {
    const nonce = new Uint8Array(32).fill(method.length)
    const response = await client.ask(requestAbout(here, nonce), method)
    assert.ok(response.type === 'answer')
    const { answer } = response
    assert.deepEqual(answer.nonce, nonce)
    const responder = parseCertificate(answer.certs[0] as Uint8Array)
    assert.ok(await verifyCertificateSignature(responder, here.ca.authorities.byAddress('line1').publicKey))
    assert.ok(await verifyResponseSignature(answer, importPublicKey(responder.subjectPublicKeyInfo)))
    return answer.responses[0]?.status
  }
  assert.deepEqual(await statusOf('GET'), { type: 'good' })
  await holdCertificate(here.ca.context, here.device.certificateId, person)
  const held = await statusOf('POST')
  assert.ok(held?.type === 'revoked' && held.reason === 'certificateHold')
  await releaseCertificate(here.ca.context, here.device.certificateId, person)
  assert.deepEqual(await statusOf('POST'), { type: 'good' })
  await revokeCertificate(here.ca.context, here.device.certificateId, 'keyCompromise', person)
  const revoked = await statusOf('GET')
  assert.ok(revoked?.type === 'revoked' && revoked.reason === 'keyCompromise')
})

test('the addresses in a certificate lead to its CRL and its issuer, once (RFC 9110, 13)', async (t) => {
  const here = await deviceIn(t)
  const client = repositoryClient()
  t.after(() => client.close())
  const crl = await client.fetch(here.crlURL)
  assert.equal(crl?.mediaType, 'application/pkix-crl')
  assert.equal(await client.fetch(here.crlURL, crl.etag), undefined)
  await revokeCertificate(here.ca.context, here.device.certificateId, 'superseded', person)
  await issueCRL(here.ca.context, here.ca.authorities.byAddress('line1'), 0, person)
  const next = await client.fetch(here.crlURL, crl.etag)
  assert.ok(next !== undefined && next.etag !== crl.etag)
  const { serialNumber } = parseCertificate(here.device.certificate)
  assert.ok([...parseCertificateList(next.body).entries()].some((entry) => equal(entry.serialNumber, serialNumber)))
  const issuer = await client.fetch(here.issuerURL)
  assert.deepEqual(issuer?.body.toHex(), here.ca.authorities.byAddress('line1').certificate.der.toHex())
  const bundle = await client.fetch(here.issuerURL.replace(/\.cer$/, '.p7c'))
  assert.equal(parseCertsOnly(bundle?.body as Uint8Array).certificates.length, 2)
  await assert.rejects(client.fetch(`${here.publicOrigin}/crl/nobody.crl`), { code: 'notFound' })
})

const openssl = needs('openssl')
test('openssl asks by POST, with and without a nonce, about good, revoked and unknown', { skip: openssl.skip }, async (t) => {
  const here = await deviceIn(t)
  const ask = async (...more: string[]): Promise<string> => {
    const args = [
      'ocsp',
      '-issuer',
      'line1.pem',
      '-CAfile',
      'root.pem',
      '-verify_other',
      'line1.pem',
      '-url',
      here.ocspURL,
      ...more,
    ]
    const { stdout, stderr } = await run(openssl.path('openssl'), args, { cwd: here.directory })
    return stdout + stderr
  }
  for (const options of [[], ['-no_nonce'], ['-sha256', '-no_nonce']]) {
    const good = await ask(...options, '-cert', 'device.pem')
    assert.match(good, /Response verify OK/)
    assert.match(good, /device\.pem: good/)
  }
  await revokeCertificate(here.ca.context, here.device.certificateId, 'keyCompromise', person)
  const revoked = await ask('-cert', 'device.pem')
  assert.match(revoked, /device\.pem: revoked/)
  assert.match(revoked, /Reason: keyCompromise/)
  assert.match(await ask('-serial', '0x1234'), /0x1234: unknown/)
})

test('openssl takes answers that were signed ahead, by POST and by GET', { skip: openssl.skip }, async (t) => {
  const here = await deviceIn(t)
  const { context, authorities } = here.ca
  await changeRevocationPolicy(context, authorities, 'line1', { ocspMode: 'preSigned' }, person)
  const responder = ocsp(context, authorities)
  assert.ok((await responder.signAhead()) > 0)
  const signedAhead = async (file: string, status: string): Promise<void> => {
    const about = ['ocsp', '-issuer', 'line1.pem', '-cert', 'device.pem', '-no_nonce']
    const verifying = ['-CAfile', 'root.pem', '-verify_other', 'line1.pem', '-url', here.ocspURL, '-respout', file]
    const { stdout, stderr } = await run(openssl.path('openssl'), [...about, ...verifying, '-reqout', 'request.der'], {
      cwd: here.directory,
    })
    assert.match(stdout + stderr, /Response verify OK/)
    assert.match(stdout, new RegExp(`device\\.pem: ${status}`))
    const request = readFileSync(join(here.directory, 'request.der'))
    const got = await fetch(`${here.ocspURL}/${encodeURIComponent(request.toString('base64'))}`)
    assert.deepEqual(new Uint8Array(await got.arrayBuffer()), new Uint8Array(readFileSync(join(here.directory, file))))
  }
  const [{ answers } = { answers: new Uint8Array() }] = await context.db.query<{ answers: Uint8Array }>(
    'SELECT answers FROM ocsp_block',
  )
  const serial = parseCertificate(here.device.certificate).serialNumber
  const ahead = [...unpackAnswers(answers)].find(({ serialNumber }) => equal(serialNumber, serial))
  await signedAhead('good.der', 'good')
  assert.ok(readFileSync(join(here.directory, 'good.der')).includes(ahead?.signature ?? 'none'), 'it is that signature')
  await revokeCertificate(context, here.device.certificateId, 'keyCompromise', person)
  await signedAhead('revoked.der', 'revoked')
  assert.ok((await responder.signAhead()) > 0)
  await signedAhead('revoked-ahead.der', 'revoked')
})

const gnutls = needs('ocsptool', 'certtool')
test('ocsptool asks the address that the certificate names; certtool verifies the CRL', { skip: gnutls.skip }, async (t) => {
  const here = await deviceIn(t)
  const ask = () =>
    run(
      gnutls.path('ocsptool'),
      ['--ask', '--load-cert', 'device.pem', '--load-issuer', 'line1.pem', '--load-trust', 'line1.pem', '--nonce'],
      { cwd: here.directory },
    )
  const good = await ask()
  assert.match(good.stdout, /Certificate Status: good/)
  assert.match(good.stdout, /Verifying OCSP Response: Success/)
  await revokeCertificate(here.ca.context, here.device.certificateId, 'keyCompromise', person)
  const revoked = await ask().catch((error: { stdout: string }) => error)
  assert.match(revoked.stdout, /Certificate Status: revoked/)
  await issueCRL(here.ca.context, here.ca.authorities.byAddress('line1'), 0, person)
  here.writeFile(
    'line1.crl',
    encodePEM('X509 CRL', (await latestCRL(here.ca.context, here.ca.authorities.byAddress('line1'), 0)).der),
  )
  const crl = await run(
    gnutls.path('certtool'),
    ['--verify-crl', '--infile', 'line1.crl', '--load-ca-certificate', 'line1.pem'],
    { cwd: here.directory },
  )
  assert.match(crl.stdout, /Verification output: Verified/)
})

const curl = needs('curl', 'openssl')
test(
  'curl fetches by the addresses in the certificate; openssl checks the chain with that CRL',
  { skip: curl.skip },
  async (t) => {
    const here = await deviceIn(t)
    const fetch = (...args: string[]) => run(curl.path('curl'), ['-sS', '--fail', ...args], { cwd: here.directory })
    const checking = (...args: string[]) => run(curl.path('openssl'), args, { cwd: here.directory })
    await fetch('-o', 'line1.cer', here.issuerURL)
    await checking('x509', '-inform', 'DER', '-in', 'line1.cer', '-out', 'fetched.pem')
    const checks = async () => {
      await fetch('-o', 'line1.der', here.crlURL)
      await checking('crl', '-inform', 'DER', '-in', 'line1.der', '-CAfile', 'fetched.pem', '-out', 'line1.crl')
      return checking(
        'verify',
        '-x509_strict',
        '-crl_check',
        '-CRLfile',
        'line1.crl',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'fetched.pem',
        'device.pem',
      )
    }
    assert.match((await checks()).stdout, /device\.pem: OK/)
    await revokeCertificate(here.ca.context, here.device.certificateId, 'keyCompromise', person)
    await issueCRL(here.ca.context, here.ca.authorities.byAddress('line1'), 0, person)
    await assert.rejects(checks(), /certificate revoked/)
    const { stdout: headers } = await fetch('-o', 'line1.der', '-D', '-', here.crlURL)
    const etag = /^etag: (.*)\r$/im.exec(headers)?.[1] ?? ''
    const { stdout: again } = await fetch('-o', 'none', '-D', '-', '-H', `If-None-Match: ${etag}`, here.crlURL)
    assert.match(again, /^HTTP\/1\.1 304 /)
    const { stdout: head } = await fetch('-I', here.crlURL)
    assert.match(head, /^content-type: application\/pkix-crl\r$/im)
  },
)

const nss = needs('certutil', 'crlutil')
test('NSS reads the CRL and sees the revocation in it', { skip: nss.skip }, async (t) => {
  const here = await deviceIn(t)
  const database = ['-d', `sql:${here.directory}`]
  const certutil = (...args: string[]) => run(nss.path('certutil'), [...database, ...args], { cwd: here.directory })
  await certutil('-N', '--empty-password')
  await certutil('-A', '-n', 'root', '-t', 'CT,,', '-a', '-i', 'root.pem')
  await certutil('-A', '-n', 'line1', '-t', ',,', '-a', '-i', 'line1.pem')
  await certutil('-A', '-n', 'device', '-t', ',,', '-a', '-i', 'device.pem')
  const verify = () => certutil('-V', '-n', 'device', '-u', 'C', '-e')
  assert.match((await verify()).stdout, /certificate is valid/)
  await revokeCertificate(here.ca.context, here.device.certificateId, 'keyCompromise', person)
  here.writeFile('line1.crl', (await issueCRL(here.ca.context, here.ca.authorities.byAddress('line1'), 0, person)).der)
  await run(nss.path('crlutil'), [...database, '-I', '-i', 'line1.crl'], { cwd: here.directory })
  await assert.rejects(verify(), ({ stdout }: { stdout: string }) => /revoked/i.test(stdout))
})
