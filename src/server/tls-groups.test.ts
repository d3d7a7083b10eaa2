/** Which key exchange a listener agrees on: the hybrid post-quantum one with whoever has it, another with the rest. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { describe, test, type TestContext } from 'node:test'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { needs } from '../../test/interop/programs.ts'
import { listenFor, routerOf, testdata } from './testing.ts'

const run = promisify(execFile)
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
