/** Which key exchange a listener agrees on: the hybrid post-quantum one with whoever has it, another with the rest. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { describe, test, type TestContext } from 'node:test'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { encodePEM } from '#asn1/pem.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { hierarchy, person, testCA, testKey, testRequest } from '#ca/testing.ts'
import { needs } from '../../test/interop/programs.ts'
import { listenFor, routerOf, testdata } from './testing.ts'

const run = promisify(execFile)

/** A device and both authorities above it, all with ML-DSA-65. */
async function postQuantumDevice() {
  await using ca = await testCA()
  await hierarchy(ca, { keyAlgorithm: 'ml-dsa-65' })
  const { key, ...rest } = testKey('ml-dsa-65')
  const { der } = await testRequest({ subject: [{ type: 'serialNumber', value: 'A-1' }], key: { key, ...rest } })
  const where = { authority: 'line1', profile: 'ldevid' }
  const { certificate, chain } = await issueForRequest(ca.context, ca.authorities, where, der, person)
  return { certificate, chain, key: key.export({ type: 'pkcs8', format: 'pem' }) }
}
const hello = routerOf(async () => ({ status: 200, headers: {}, body: 'hello\n' }))
const programs = needs('openssl', 'gnutls-cli')

async function handshake(t: TestContext, port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const trust = { ca: testdata('server-root.pem'), servername: 'localhost' }
  const socket = connect({ port, host: '127.0.0.1', ...trust, ...options })
  t.after(() => socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

describe('R31: the key exchange of a TLS listener', () => {
  const cases: readonly (readonly [name: string, client: ConnectionOptions, group: string])[] = [
    ['a client as Node.js makes it', {}, 'X25519MLKEM768'],
    ['one that has the hybrid only', { ecdhCurve: 'X25519MLKEM768' }, 'X25519MLKEM768'],
    ['one that has the hybrid and would rather not', { ecdhCurve: 'X25519:P-256:X25519MLKEM768' }, 'X25519MLKEM768'],
    ['one with the hybrid of P-256', { ecdhCurve: 'P-256:SecP256r1MLKEM768' }, 'SecP256r1MLKEM768'],
    ['one without a hybrid', { ecdhCurve: 'X25519:P-256' }, 'X25519'],
    ['one with P-384 only', { ecdhCurve: 'P-384' }, 'secp384r1'],
    ['TLS 1.2', { maxVersion: 'TLSv1.2', ecdhCurve: 'X25519MLKEM768:P-256' }, 'prime256v1'],
  ]
  for (const [name, client, group] of cases) {
    test(`${name} gets ${group}`, async (t) => {
      const { address } = await listenFor(t, [hello], { tls: true })
      const socket = await handshake(t, address.port, client)
      assert.equal((socket.getEphemeralKeyInfo() as { name?: string }).name, group)
    })
  }

  test('one with no group of ours is refused', async (t) => {
    const { address } = await listenFor(t, [hello], { tls: true })
    await assert.rejects(handshake(t, address.port, { ecdhCurve: 'X448' }))
  })

  test('a device with an ML-DSA-65 certificate shows it in a handshake where nothing is classical but our own certificate', async (t) => {
    const { certificate, chain, key } = await postQuantumDevice()
    const { promise: shown, resolve } = Promise.withResolvers<readonly Uint8Array[]>()
    const noting = routerOf(async ({ peer }) => {
      resolve(peer.chain)
      return { status: 200, headers: {}, body: '' }
    })
    const { address } = await listenFor(t, [noting], { tls: true })
    const cert = [certificate, ...chain].map((each) => encodePEM('CERTIFICATE', each)).join('')
    const socket = await handshake(t, address.port, { cert, key, ecdhCurve: 'X25519MLKEM768' })
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    assert.equal((await shown)[0]?.toHex(), certificate.toHex())
  })

  test('the programs of others that know no hybrid connect', { skip: programs.skip }, async (t) => {
    const { address } = await listenFor(t, [hello], { tls: true })
    const at = `127.0.0.1:${address.port}`
    const openssl = run(programs.path('openssl'), ['s_client', '-connect', at, '-brief'])
    openssl.child.stdin?.end()
    assert.match((await openssl).stderr, /Protocol version: TLSv1\.3[^]*Server Temp Key: X25519/)
    const gnutls = run(programs.path('gnutls-cli'), ['--insecure', '-p', String(address.port), '127.0.0.1'])
    gnutls.child.stdin?.end()
    assert.match((await gnutls).stdout, /Description: \(TLS1\.3-X\.509\)-\(ECDHE-/)
  })
})
