/** Shards, deltas and long lists with the programs of others: openssl, GnuTLS, NSS, curl. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { holdCertificate, releaseCertificate, revokeCertificate } from '#ca/certificates.ts'
import { issueAllCRLs, issueDeltaCRL } from '#ca/crl.ts'
import { changeRevocationPolicy, type RevocationPolicyChange } from '#ca/revocation-policy.ts'
import { person } from '#ca/testing.ts'
import { repositoryClient } from '#protocols/repository/client.ts'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { crlDistributionPoints } from '#x509/extensions/crl-distribution-points.ts'
import { pemOf, type Plant, plant } from './plant.ts'
import { needs } from './programs.ts'

const run = promisify(execFile)

interface Here extends Plant {
  readonly crlURL: string
  readonly deviceId: string
  /** Gets the device's list and what changed since, as files `full.pem` and `both.pem`. */
  fetch(): Promise<void>
  fetchFull(): Promise<void>
}

/** A plant whose line has these shards and deltas, and a device of it. */
async function deviceIn(t: TestContext, policy: RevocationPolicyChange): Promise<Here> {
  const here = await plant(t)
  const { context, authorities } = here.ca
  await changeRevocationPolicy(context, authorities, 'line1', policy, person)
  const device = await here.issue(here.births, [{ type: 'serialNumber', value: 'P-1' }])
  const [point] = extensionOf(parseCertificate(device.certificate), crlDistributionPoints)?.value ?? []
  const name = point?.distributionPoint
  assert.ok(name?.type === 'fullName')
  const crlURL = name.value[0]?.value as string
  here.writeFile('root.pem', pemOf(authorities.byAddress('root').certificate.der))
  here.writeFile('line1.pem', pemOf(authorities.byAddress('line1').certificate.der))
  here.writeFile('device.pem', pemOf(device.certificate))
  const client = repositoryClient()
  t.after(() => client.close())
  const get = async (url: string): Promise<string> => encodePEM('X509 CRL', (await client.fetch(url))?.body as Uint8Array)
  let full = ''
  const fetchFull = async (): Promise<void> => {
    full = await get(crlURL)
    here.writeFile('full.pem', full)
  }
  return {
    ...here,
    crlURL,
    deviceId: device.certificateId,
    fetchFull,
    async fetch() {
      here.writeFile('both.pem', full + (await get(crlURL.replace(/\.crl$/, '/delta.crl'))))
    },
  }
}

const openssl = needs('openssl')
const verify = (here: Here, ...more: string[]) =>
  run(
    openssl.path('openssl'),
    ['verify', '-crl_check', ...more, '-CAfile', 'root.pem', '-untrusted', 'line1.pem', 'device.pem'],
    {
      cwd: here.directory,
    },
  )

test('RFC 5280, 5.2.4: openssl puts a delta onto the list that it has', { skip: openssl.skip }, async (t) => {
  const here = await deviceIn(t, { crlDeltaSeconds: 3600 })
  const { context, authorities } = here.ca
  const withDelta = () => verify(here, '-use_deltas', '-CRLfile', 'both.pem')
  const withoutDelta = () => verify(here, '-CRLfile', 'full.pem')
  const next = async (): Promise<void> => {
    await issueDeltaCRL(context, authorities.byAddress('line1'), 0, person)
    await here.fetch()
  }
  await here.fetchFull()
  await next()
  assert.match((await withDelta()).stdout, /device\.pem: OK/)
  await holdCertificate(context, here.deviceId, person)
  await next()
  await assert.rejects(withDelta(), /certificate revoked/)
  assert.match((await withoutDelta()).stdout, /device\.pem: OK/, 'the full list is from before')
  await issueAllCRLs(context, authorities.byAddress('line1'), person)
  await here.fetchFull()
  await assert.rejects(withoutDelta(), /certificate revoked/)
  await releaseCertificate(context, here.deviceId, person)
  await next()
  assert.match((await withDelta()).stdout, /device\.pem: OK/, 'removeFromCRL')
  await assert.rejects(withoutDelta(), /certificate revoked/)
  await revokeCertificate(context, here.deviceId, 'keyCompromise', person)
  await next()
  await assert.rejects(withDelta(), /certificate revoked/)
})

test('RFC 5280, 5.2.5: openssl takes the shard that the certificate names, and no other', { skip: openssl.skip }, async (t) => {
  const here = await deviceIn(t, { crlShards: 8 })
  const { context, authorities } = here.ca
  const shard = Number(/\/(\d)\.crl$/.exec(here.crlURL)?.[1])
  await here.fetchFull()
  assert.match((await verify(here, '-x509_strict', '-CRLfile', 'full.pem')).stdout, /device\.pem: OK/)
  const client = repositoryClient()
  t.after(() => client.close())
  const other = await client.fetch(here.crlURL.replace(/\d\.crl$/, `${(shard + 1) % 8}.crl`))
  here.writeFile('other.pem', encodePEM('X509 CRL', other?.body as Uint8Array))
  await assert.rejects(verify(here, '-CRLfile', 'other.pem'), /different CRL scope/)
  await revokeCertificate(context, here.deviceId, 'keyCompromise', person)
  await issueAllCRLs(context, authorities.byAddress('line1'), person)
  await here.fetchFull()
  await assert.rejects(verify(here, '-CRLfile', 'full.pem'), /certificate revoked/)
  const whole = await client.fetch(`${here.publicOrigin}/crl/line1.crl`)
  here.writeFile('whole.pem', encodePEM('X509 CRL', whole?.body as Uint8Array))
  await assert.rejects(verify(here, '-CRLfile', 'whole.pem'), /certificate revoked/)
})

const gnutls = needs('certtool')
test('certtool reads shards and deltas, and verifies their signatures', { skip: gnutls.skip }, async (t) => {
  const here = await deviceIn(t, { crlShards: 2, crlDeltaSeconds: 3600 })
  const { context, authorities } = here.ca
  await holdCertificate(context, here.deviceId, person)
  await issueAllCRLs(context, authorities.byAddress('line1'), person)
  await releaseCertificate(context, here.deviceId, person)
  const shard = Number(/\/(\d)\.crl$/.exec(here.crlURL)?.[1])
  const { der } = await issueDeltaCRL(context, authorities.byAddress('line1'), shard, person)
  here.writeFile('delta.pem', encodePEM('X509 CRL', der))
  await here.fetchFull()
  const certtool = (...args: string[]) => run(gnutls.path('certtool'), args, { cwd: here.directory })
  for (const file of ['full.pem', 'delta.pem']) {
    const { stdout } = await certtool('--verify-crl', '--infile', file, '--load-ca-certificate', 'line1.pem')
    assert.match(stdout, /Verification output: Verified/, file)
  }
  const { stdout: info } = await certtool('--crl-info', '--infile', 'delta.pem')
  assert.match(info, /Revoked certificates \(1\)/)
  assert.match(info, /2\.5\.29\.27/)
})

const nss = needs('certutil', 'crlutil')
test('NSS imports the list of all shards and sees the revocation', { skip: nss.skip }, async (t) => {
  const here = await deviceIn(t, { crlShards: 4 })
  const { context, authorities } = here.ca
  const database = ['-d', `sql:${here.directory}`]
  const certutil = (...args: string[]) => run(nss.path('certutil'), [...database, ...args], { cwd: here.directory })
  await certutil('-N', '--empty-password')
  await certutil('-A', '-n', 'root', '-t', 'CT,,', '-a', '-i', 'root.pem')
  await certutil('-A', '-n', 'line1', '-t', ',,', '-a', '-i', 'line1.pem')
  await certutil('-A', '-n', 'device', '-t', ',,', '-a', '-i', 'device.pem')
  const valid = () => certutil('-V', '-n', 'device', '-u', 'C', '-e')
  assert.match((await valid()).stdout, /certificate is valid/)
  await revokeCertificate(context, here.deviceId, 'keyCompromise', person)
  // NSS has one list for each issuer and knows no issuingDistributionPoint: it needs the list of all shards
  here.writeFile('whole.crl', (await issueAllCRLs(context, authorities.byAddress('line1'), person)).der)
  await run(nss.path('crlutil'), [...database, '-I', '-i', 'whole.crl'], { cwd: here.directory })
  await assert.rejects(valid(), ({ stdout }: { stdout: string }) => /revoked/i.test(stdout))
})

const curl = needs('curl')
test('curl goes on with a download that broke off (RFC 9110, 14)', { skip: curl.skip }, async (t) => {
  const here = await deviceIn(t, { crlShards: 2 })
  const get = (...args: string[]) => run(curl.path('curl'), ['-sS', '--fail', ...args], { cwd: here.directory })
  await get('-o', 'whole', here.crlURL)
  await get('-o', 'piece', '-r', '0-99', here.crlURL)
  await get('-o', 'piece', '-C', '100', here.crlURL)
  await run('cmp', ['whole', 'piece'], { cwd: here.directory })
})
