/** CRLs and certificates in a directory, behind HTTP PUT, and in S3, whose signature boto computes for itself. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createServer, type IncomingMessage } from 'node:http'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { findCertificates, revokeCertificate } from '#ca/certificates.ts'
import { issueDueCRLs } from '#ca/crl.ts'
import { hierarchy, person, type TestCA, testCA } from '#ca/testing.ts'
import { parseCertificateList } from '#x509/crl.ts'
import { needs } from '../../../test/interop/programs.ts'
import { repositoryOf } from '../compose.ts'
import { directoryTarget } from './directory.ts'
import { putTarget, s3Target } from './http.ts'
import { publicationMigrations } from './migrations.ts'
import { listPublications, publisher } from './publisher.ts'
import { signV4 } from './sigv4.ts'
import type { PublicationTarget } from './target.ts'

async function plant(): Promise<TestCA> {
  const ca = await testCA()
  for (const { statements } of publicationMigrations)
    for (const sql of statements) await ca.context.db.transaction((tx) => tx.query(sql))
  await hierarchy(ca, { noExpiry: false })
  await issueDueCRLs(ca.context, ca.authorities.list())
  return ca
}

const publishing = (ca: TestCA, targets: readonly PublicationTarget[]) =>
  publisher({
    db: ca.context.db,
    world: ca.context.world,
    organizationId: 'default',
    authorities: ca.authorities,
    repository: repositoryOf(ca),
    targets,
    log: silentLog,
  })

function temporary(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-publication-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** @param answer the status for a request */
async function httpServer(t: TestContext, answer: (received: Received) => number) {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const one = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body: Buffer.concat(parts) }
      received.push(one)
      response.writeHead(answer(one)).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close().closeAllConnections())
  return { received, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('R10: everything that certificates point to lies in the directory, and again only when it is new', async (t) => {
  await using ca = await plant()
  const directory = temporary(t)
  const { runOnce } = publishing(ca, [directoryTarget(directory, ca.context.world)])
  assert.equal(await runOnce(), 8)
  assert.deepEqual(readdirSync(directory, { recursive: true }).map(String).toSorted(), [
    'ca',
    'ca/line1.1.cer',
    'ca/line1.1.p7c',
    'ca/root.1.cer',
    'ca/root.1.p7c',
    'crl',
    'crl/line1.1',
    'crl/line1.1.crl',
    'crl/line1.1/0.crl',
    'crl/root.1',
    'crl/root.1.crl',
    'crl/root.1/0.crl',
  ])
  assert.equal(await runOnce(), 0, 'nothing is new')
  const [record] = await findCertificates(ca.context, { profile: 'issuing' }, { limit: 1 })
  await revokeCertificate(ca.context, record?.id ?? '', 'superseded', person)
  ca.advance(120)
  await issueDueCRLs(ca.context, ca.authorities.list())
  assert.equal(await runOnce(), 2, 'the list of the root, under both of its names')
  const list = parseCertificateList(new Uint8Array(readFileSync(join(directory, 'crl/root.1/0.crl'))))
  assert.equal([...list.entries()].length, 1)
})

test('a target that fails is tried again later and later, without harm to the others, and its state can be seen', async (t) => {
  await using ca = await plant()
  let status = 503
  const { url, received } = await httpServer(t, () => status)
  const directory = temporary(t)
  const token = secret(utf8('let-me-in'))
  const { runOnce } = publishing(ca, [putTarget(`${url}/pki`, token), directoryTarget(directory, ca.context.world)])
  assert.equal(await runOnce(), 8, 'the directory has it all')
  assert.equal(received.length, 8)
  assert.equal(await runOnce(), 0)
  assert.equal(received.length, 8, 'not tried again at once')
  const [first] = await listPublications(ca.context.db, 'default')
  assert.equal(first?.target.startsWith('directory '), true)
  const failing = (await listPublications(ca.context.db, 'default')).filter(({ target }) => target.startsWith('put '))
  assert.deepEqual(
    failing.map(({ attempts, publishedAt }) => [attempts, publishedAt]),
    Array.from({ length: 8 }, () => [1, undefined]),
  )
  assert.match(failing[0]?.error ?? '', /answered 503/)
  ca.advance(6)
  await runOnce()
  assert.equal(received.length, 16)
  ca.advance(6)
  await runOnce()
  assert.equal(received.length, 16, 'twice as long as before')
  ca.advance(6)
  status = 201
  assert.equal(await runOnce(), 8)
  const put = received.at(-1)
  assert.equal(put?.method, 'PUT')
  assert.equal(put.headers.authorization, 'Bearer let-me-in')
  assert.ok(
    received.some(({ path, headers }) => path === '/pki/crl/line1.1/0.crl' && headers['content-type'] === 'application/pkix-crl'),
  )
  assert.ok(
    (await listPublications(ca.context.db, 'default')).every(({ attempts, error }) => attempts === 0 && error === undefined),
  )
})

test('a directory that cannot be written and a server that is not there are told, and nothing is half written', async (t) => {
  await using ca = await plant()
  const directory = temporary(t)
  writeFileSync(join(directory, 'crl'), 'a file where a directory should be')
  const { runOnce } = publishing(ca, [directoryTarget(directory, ca.context.world), putTarget('http://127.0.0.1:1', undefined)])
  assert.equal(await runOnce(), 4, 'the certificates')
  const problems = (await listPublications(ca.context.db, 'default')).filter(({ error }) => error !== undefined)
  assert.equal(problems.length, 12)
  assert.deepEqual(readdirSync(directory).toSorted(), ['ca', 'crl'])
})

/** Amazon S3 documentation, "Example: PUT Object". */
test('the signature is that of the published example', () => {
  const { authorization } = signV4(
    {
      method: 'PUT',
      url: new URL('https://examplebucket.s3.amazonaws.com/test$file.text'),
      headers: { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' },
      body: utf8('Welcome to Amazon S3.'),
    },
    {
      region: 'us-east-1',
      service: 's3',
      accessKey: 'AKIAIOSFODNN7EXAMPLE',
      secretKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
      at: new Date('2013-05-24T00:00:00Z'),
    },
  )
  assert.match(authorization ?? '', /Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd$/)
})

const BOTO = `
import json, sys
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
given = json.load(sys.stdin)
request = AWSRequest(method=given['method'], url=given['url'], data=bytes.fromhex(given['body']), headers={'content-type': given['type']})
request.context['timestamp'] = given['time']
request.context['payload_signing_enabled'] = True
request.headers['host'] = given['host']
request.headers['X-Amz-Date'] = given['time']
request.headers['X-Amz-Content-SHA256'] = given['hash']
signer = S3SigV4Auth(Credentials(given['key'], given['secret']), 's3', given['region'])
canonical = signer.canonical_request(request)
print(signer.signature(signer.string_to_sign(request, canonical), request))
`

test('an S3 server that computes the signature with boto takes each object', needs('python3', 'python3-botocore'), async (t) => {
  await using ca = await plant()
  const [key, hidden, region] = ['AKIDEXAMPLE', 'a/secret+key', 'eu-central-1']
  const objects = new Map<string, Buffer>()
  const { url } = await httpServer(t, ({ method, path, headers, body }) => {
    const given = {
      method,
      url: `http://${headers.host}${path}`,
      host: headers.host,
      body: body.toString('hex'),
      type: headers['content-type'],
      time: headers['x-amz-date'],
      hash: headers['x-amz-content-sha256'],
      key,
      secret: hidden,
      region,
    }
    const signature = execFileSync('/usr/bin/python3', ['-c', BOTO], { input: JSON.stringify(given) })
      .toString()
      .trim()
    if (headers.authorization?.endsWith(`Signature=${signature}`) !== true) return 403
    objects.set(path, body)
    return 200
  })
  const options = { url: `${url}/bucket/plant 7`.replace(' ', '%20'), region, accessKey: key }
  const good = s3Target({ ...options, secretKey: secret(utf8(hidden)) }, ca.context.world)
  await good.put('crl/line1.1/0.crl', Uint8Array.of(1, 2, 3), 'application/pkix-crl')
  assert.deepEqual([...objects], [['/bucket/plant%207/crl/line1.1/0.crl', Buffer.from([1, 2, 3])]])
  const bad = s3Target({ ...options, secretKey: secret(utf8('another')) }, ca.context.world)
  await assert.rejects(bad.put('x', Uint8Array.of(1), 'text/plain'), { code: 'unavailable', reason: 'publicationRefused' })
})
