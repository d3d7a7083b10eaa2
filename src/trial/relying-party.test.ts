/** A relying party that believes too much would let the trial say that all is well. @module */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertificateList } from '#x509/crl.ts'
import { accessAt, authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { crlDistributionPoints, distributionPointAt } from '#x509/extensions/crl-distribution-points.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import {
  type CertStatus,
  encodeOCSPError,
  encodeOCSPResponse,
  encodeResponseData,
  issuerHashes,
  encodeCertID,
  ocspResponder,
  parseOCSPRequest,
} from '#x509/ocsp.ts'
import { signatureIdentifier } from '#x509/signed.ts'
import { makeCertificate, makeKey, type TestKey } from '#x509/testing.ts'
import { encodeSigned } from '#x509/signed.ts'
import {
  askStanding,
  checkCertificate,
  fetchCRL,
  type KnownAuthority,
  knownAuthority,
  standingAddresses,
} from './relying-party.ts'

const world = systemWorld()
const issuerName = encodeName(nameOf([{ type: 'CN', value: 'Issuer' }]))
const deviceName = encodeName(nameOf([{ type: 'CN', value: 'Device' }]))
const [authorityKey, strangerKey, deviceKey, responderKey] = [makeKey(), makeKey(), makeKey(), makeKey()] as const

const known = (der: Uint8Array): KnownAuthority => knownAuthority('issuer.1', [der])

/** @param signer may be somebody else than it says */
async function issue(
  key: TestKey,
  subject: Uint8Array,
  extensions: Parameters<typeof makeCertificate>[1],
  signer = authorityKey,
) {
  const own = parseCertificate(await makeCertificate(key, { issuer: issuerName, subject, ...extensions }))
  return encodeSigned(own.tbsCertificate, own.signatureAlgorithm, await signer.signer.sign(own.tbsCertificate))
}

const authority = known(await issue(authorityKey, issuerName, {}))

test('a certificate is believed for its issuer, its key and its subject only', async () => {
  const der = await issue(deviceKey, deviceName, {})
  const right = { issuer: authority, publicKey: deviceKey.spki, subject: 'CN=Device' }
  assert.equal((await checkCertificate(der, right)).der, der)
  const stranger = known(await issue(strangerKey, issuerName, {}))
  const other = known(await makeCertificate(strangerKey))
  for (const [wrong, message] of [
    [{ publicKey: strangerKey.spki }, /has another key/],
    [{ subject: 'CN=Other' }, /is for CN=Device instead of CN=Other/],
    [{ issuer: other }, /is not by/],
    [{ issuer: stranger }, /signature .* is wrong/], // same name, another key
  ] as const) {
    await assert.rejects(checkCertificate(der, { ...right, ...wrong }), { name: 'NotAsExpected', message })
  }
})

test('a certificate without addresses cannot be asked about', async () => {
  const certificate = parseCertificate(await issue(deviceKey, deviceName, {}))
  assert.throws(() => standingAddresses(certificate), /names no OCSP address/)
})

interface Answer {
  readonly responderSigner: TestKey
  readonly purposes: readonly string[]
  readonly signer: TestKey
  readonly nonce: 'same' | 'none' | 'other'
  readonly serialNumber: Uint8Array
  readonly status: CertStatus
  readonly thisUpdate: number
  readonly nextUpdate: number
  readonly error: boolean
}

const HOUR = 3_600_000
const honest: Answer = {
  responderSigner: authorityKey,
  purposes: ['1.3.6.1.5.5.7.3.9'],
  signer: responderKey,
  nonce: 'same',
  serialNumber: Uint8Array.of(0x2a),
  status: { type: 'good' },
  thisUpdate: -HOUR,
  nextUpdate: HOUR,
  error: false,
}

/** @returns a certificate that names this responder */
async function responder(t: TestContext, given: Partial<Answer>): Promise<Uint8Array> {
  const answer = { ...honest, ...given }
  const extensions = { extensions: [extensionWith(extKeyUsage, answer.purposes)] }
  const certificate = await issue(responderKey, deviceName, extensions, answer.responderSigner)
  const signatureAlgorithm = signatureIdentifier('ecdsa-sha256')
  const self = ocspResponder({ publicKey: responderKey.spki, signatureAlgorithm, certificates: [certificate] })
  const url = await serve(t, 'application/ocsp-response', async (body) => {
    if (answer.error) return encodeOCSPError('unauthorized')
    const { nonce } = parseOCSPRequest(body)
    const now = world.clock.now()
    const single = {
      certID: encodeCertID(issuerHashes(authority.certificate, 'sha256'), answer.serialNumber, 'sha256'),
      status: answer.status,
      thisUpdate: new Date(now + answer.thisUpdate),
      nextUpdate: new Date(now + answer.nextUpdate),
    }
    const nonces = { same: nonce, none: undefined, other: new Uint8Array(32) }
    const data = encodeResponseData(self, { producedAt: new Date(now), responses: [single], nonce: nonces[answer.nonce] })
    return encodeOCSPResponse(self, data, await answer.signer.signer.sign(data))
  })
  return issue(deviceKey, deviceName, { extensions: [...addresses(`${url}/ocsp`, `${url}/list.crl`)] })
}

const addresses = (ocsp: string, crl: string) => [
  extensionWith(authorityInfoAccess, [accessAt('ocsp', ocsp)]),
  extensionWith(crlDistributionPoints, [distributionPointAt(crl)], false),
]

/** Questions come by GET: they are short. @returns its address */
async function serve(t: TestContext, type: string, answer: (question: Uint8Array) => Promise<Uint8Array>): Promise<string> {
  const server = createServer((request, response) => {
    const question = Buffer.from(decodeURIComponent((request.url ?? '').slice('/ocsp/'.length)), 'base64')
    response.setHeader('content-type', type)
    void answer(new Uint8Array(question)).then((body) => response.end(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('an OCSP answer is believed when all of it fits', async (t) => {
  assert.equal((await askStanding(await responder(t, {}), authority, world)).type, 'good')
  const revoked = { type: 'revoked', revokedAt: new Date('2026-01-02T00:00:00Z'), reason: 'keyCompromise' } as const
  assert.deepEqual(await askStanding(await responder(t, { status: revoked }), authority, world), revoked)
})

for (const [name, given, message] of [
  ['signed by somebody else', { signer: strangerKey }, /signature on the OCSP answer is wrong/],
  ['by a responder that somebody else appointed', { responderSigner: strangerKey }, /not appointed/],
  ['by a certificate for something else', { purposes: ['1.3.6.1.5.5.7.3.1'] }, /not allowed to answer/],
  ['to another question', { nonce: 'other' }, /not to this question/],
  ['without a nonce', { nonce: 'none' }, /not to this question/],
  ['about another certificate', { serialNumber: Uint8Array.of(0x2b) }, /about another certificate/],
  ['of yesterday', { thisUpdate: -25 * HOUR, nextUpdate: -HOUR }, /not of now/],
  ['of tomorrow', { thisUpdate: HOUR, nextUpdate: 2 * HOUR }, /not of now/],
  ['that is an error', { error: true }, /answered unauthorized/],
] as const) {
  test(`an OCSP answer ${name} is not believed`, async (t) => {
    await assert.rejects(askStanding(await responder(t, given), authority, world), { name: 'NotAsExpected', message })
  })
}

async function certificateWithCRL(t: TestContext, signer: TestKey, age = 0): Promise<Uint8Array> {
  const now = world.clock.now() - age
  const list = await encodeCertificateList(
    {
      issuer: issuerName,
      thisUpdate: new Date(now - HOUR),
      nextUpdate: new Date(now + HOUR),
      extensions: [extensionWith(crlNumber, 7n)],
    },
    [{ serialNumber: Uint8Array.of(0x2a), revokedAt: new Date(now - HOUR) }],
    signer.signer,
  )
  const url = await serve(t, 'application/pkix-crl', () => Promise.resolve(list))
  return issue(deviceKey, deviceName, { extensions: addresses(`${url}/ocsp`, `${url}/list.crl`) })
}

test('a CRL says which certificates it lists', async (t) => {
  const der = await certificateWithCRL(t, authorityKey)
  const crl = await fetchCRL(der, authority, world)
  assert.equal(crl.number, 7n)
  assert.equal(crl.entries, 1)
  assert.equal(crl.has(der), true)
  assert.equal(crl.has(await issue(deviceKey, deviceName, { serialNumber: Uint8Array.of(0x2b) })), false)
})

test('a CRL by somebody else, or an old one, is not believed', async (t) => {
  const foreign = await certificateWithCRL(t, strangerKey)
  await assert.rejects(fetchCRL(foreign, authority, world), { name: 'NotAsExpected', message: /signature on the CRL is wrong/ })
  const old = await certificateWithCRL(t, authorityKey, 2 * HOUR)
  await assert.rejects(fetchCRL(old, authority, world), { name: 'NotAsExpected', message: /not of now/ })
})
