/** Time stamps from a real authority (openssl ts) over real HTTP, and from some that answer wrongly. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import { digestOf } from '#cms/digests.ts'
import { verifyTimeStamp } from '#cms/timestamp.ts'
import { needs } from '../../test/interop/programs.ts'
import { askForTimeStamp } from './time-stamps.ts'

const tools = needs('openssl')
const CONFIG = `
[tsa]
default_tsa = one
[one]
serial = serial
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256
ess_cert_id_alg = sha256
`

test(
  'RFC 3161: what an authority answers is taken if it is for this question, and openssl verifies it',
  { skip: tools.skip },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sealworks-tsa-'))
    const openssl = (...words: readonly string[]) => execFileSync(tools.path('openssl'), words, { cwd: directory, stdio: 'pipe' })
    const usage = ['-addext', 'extendedKeyUsage=critical,timeStamping', '-addext', 'keyUsage=critical,digitalSignature']
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'tsa.key',
      '-out',
      'tsa.pem',
      '-subj',
      '/CN=TSA',
      ...usage,
    )
    writeFileSync(join(directory, 'tsa.cnf'), CONFIG)
    writeFileSync(join(directory, 'serial'), '01')
    let kept: Buffer | undefined
    let asked = 0
    const server = createServer((request, response) => {
      void (async () => {
        asked++
        assert.equal(request.headers['content-type'], 'application/timestamp-query')
        const query = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>))
        if (request.url === '/down') return response.writeHead(503).end()
        if (request.url === '/garbage') return response.end('no time stamp')
        writeFileSync(join(directory, 'query'), query)
        const reply = [
          '-queryfile',
          'query',
          '-config',
          'tsa.cnf',
          '-section',
          'one',
          '-signer',
          'tsa.pem',
          '-inkey',
          'tsa.key',
          '-out',
          'reply',
        ]
        if (request.url !== '/replay' || kept === undefined) {
          openssl('ts', '-reply', ...reply)
          kept = readFileSync(join(directory, 'reply'))
        }
        return response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(kept)
      })()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const world = systemWorld()
    try {
      const signature = utf8('a signature')
      const token = await askForTimeStamp(`${uri}/tsa`, signature, world)
      const { info } = await verifyTimeStamp(token, { digestWith: (id) => digestOf(id, signature) })
      assert.equal(info.policy, '1.3.6.1.4.1.99999.1')
      writeFileSync(join(directory, 'token'), token)
      writeFileSync(join(directory, 'data'), signature)
      const verify = ['-verify', '-in', 'token', '-token_in', '-CAfile', 'tsa.pem']
      assert.match(openssl('ts', ...verify, '-data', 'data').toString(), /Verification: OK/)
      writeFileSync(join(directory, 'data'), 'another')
      assert.throws(() => openssl('ts', ...verify, '-data', 'data'))

      await assert.rejects(askForTimeStamp(`${uri}/replay`, signature, world), { code: 'badProof', reason: 'timeStampOther' })
      await assert.rejects(askForTimeStamp(`${uri}/garbage`, signature, world), { code: 'malformed' })
      await assert.rejects(askForTimeStamp(`${uri}/down`, signature, world), {
        code: 'unavailable',
        reason: 'timeStampUnreachable',
      })
      assert.equal(asked, 4)
    } finally {
      server.close()
      rmSync(directory, { recursive: true })
    }
    await assert.rejects(askForTimeStamp(uri, utf8('a'), world), { code: 'unavailable' })
  },
)
