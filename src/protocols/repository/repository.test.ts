/** CRLs and CA certificates over HTTP, by function calls. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { certificateOf, talkTo, testKey } from '../testing.ts'
import { statusOf } from './failures.ts'
import { certificateRepository, crlRepository, type RepositoryService } from './index.ts'

const own = certificateOf(testKey())
const root = certificateOf(testKey())
const crl = Uint8Array.of(0x30, 1, 2, 3)
const thisUpdate = new Date('2026-03-01T10:00:00Z')
const nextUpdate = new Date('2026-03-08T10:00:00Z')

function serviceAt(now: string, changes: Partial<RepositoryService> = {}): RepositoryService & { asked: [string, number][] } {
  const asked: [string, number][] = []
  return {
    asked,
    now: () => Date.parse(now),
    latestCRL(authority, shard) {
      asked.push([authority, shard])
      if (authority.startsWith('gone'))
        return Promise.reject(new TrustError('notFound', 'authorityUnknown', { facts: { authority } }))
      return Promise.resolve({ der: crl, crlNumber: 12, thisUpdate, nextUpdate })
    },
    authorityCertificates: (authority) => {
      if (authority.startsWith('gone')) throw new TrustError('notFound', 'authorityUnknown', { facts: { authority } })
      return [own, root]
    },
    ...changes,
  }
}

const fresh = serviceAt('2026-03-01T10:30:00Z')
const crls = talkTo(crlRepository, fresh)
const certificates = talkTo(certificateRepository, fresh)

for (const [path, authority, shard] of [
  ['/crl/line1.crl', 'line1', 0],
  ['/crl/line1.2.crl', 'line1.2', 0],
  ['/crl/line1.2/0.crl', 'line1.2', 0],
  ['/crl/line1.2/71.crl', 'line1.2', 71],
] as const) {
  test(`${path} is shard ${shard} of ${authority} (RFC 5280, 4.2.1.13; RFC 2585, 4.2)`, async () => {
    const { status, headers, body } = await crls({ path })
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/pkix-crl')
    assert.deepEqual(body, crl)
    assert.deepEqual(fresh.asked.at(-1), [authority, shard])
  })
}

for (const path of [
  '/crl',
  '/crl/',
  '/crl/line1',
  '/crl/line1.2/',
  '/crl/line1.2/x.crl',
  '/crl/line1.2/07.crl',
  '/crl/line1.2/-1.crl',
  '/crl/line1.2/123456.crl',
  '/crl/line1.2/delta.crl',
  '/crl/my.crl',
  '/crl/Line1.crl',
  '/crl/line1.0.crl',
  '/crl/../line1.crl',
  '/crl/line1%2Ecrl',
  '/crl/gone.crl',
  '/crl/gone.1/0.crl',
]) {
  test(`${path} is not there`, async () => {
    const { status, headers } = await crls({ path })
    assert.equal(status, 404)
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8')
  })
}

test('a CA certificate alone, or with those above it (RFC 5280, 4.2.2.1)', async () => {
  const cer = await certificates({ path: '/ca/line1.2.cer' })
  assert.equal(cer.headers['content-type'], 'application/pkix-cert')
  assert.deepEqual(cer.body, own)
  const p7c = await certificates({ path: '/ca/line1.p7c' })
  assert.equal(p7c.headers['content-type'], 'application/pkcs7-mime')
  assert.deepEqual(
    parseCertsOnly(p7c.body as Uint8Array)
      .certificates.map((der) => der.toHex())
      .toSorted(),
    [own, root].map((der) => der.toHex()).toSorted(),
  )
  for (const path of ['/ca/line1.pem', '/ca/gone.cer', '/ca/m1.cer', '/ca/line1/x.cer'])
    assert.equal((await certificates({ path })).status, 404, path)
})

const etag = `"12-0-${thisUpdate.getTime()}"`
const conditions: { name: string; headers: Record<string, string>; status: 200 | 304 }[] = [
  { name: 'nothing', headers: {}, status: 200 },
  { name: 'the same tag', headers: { 'if-none-match': etag }, status: 304 },
  { name: 'the same tag, weakly', headers: { 'if-none-match': `W/${etag}` }, status: 304 },
  { name: 'the tag among others', headers: { 'if-none-match': `"x", ${etag}` }, status: 304 },
  { name: 'any tag', headers: { 'if-none-match': '*' }, status: 304 },
  { name: 'another tag', headers: { 'if-none-match': '"11-0-0"' }, status: 200 },
  {
    name: 'another tag and a date that would match',
    headers: { 'if-none-match': '"11-0-0"', 'if-modified-since': thisUpdate.toUTCString() },
    status: 200,
  },
  { name: 'the same date', headers: { 'if-modified-since': thisUpdate.toUTCString() }, status: 304 },
  { name: 'an earlier date', headers: { 'if-modified-since': 'Sun, 01 Mar 2026 09:59:59 GMT' }, status: 200 },
  { name: 'no date', headers: { 'if-modified-since': 'yesterday' }, status: 200 },
]
for (const { name, headers, status } of conditions) {
  test(`who has ${name} gets ${status} (RFC 9110, 13)`, async () => {
    const reply = await crls({ path: '/crl/line1.2.crl', headers })
    assert.equal(reply.status, status)
    assert.equal(reply.headers['etag'], etag)
    assert.equal(reply.body.length, status === 304 ? 0 : crl.length)
  })
}

for (const [now, seconds] of [
  ['2026-03-01T10:00:00Z', 300],
  ['2026-03-08T09:58:20Z', 100],
  ['2026-03-08T10:00:01Z', 0],
] as const) {
  test(`at ${now} a cache may keep the CRL for ${seconds} s: never beyond nextUpdate`, async () => {
    const { headers } = await talkTo(crlRepository, serviceAt(now))({ path: '/crl/line1.2.crl' })
    assert.equal(headers['cache-control'], `public, max-age=${seconds}, must-revalidate`)
    assert.equal(headers['last-modified'], thisUpdate.toUTCString())
  })
}

for (const code of Object.keys(statusOf) as TrustErrorCode[]) {
  test(`a refusal ${code} is HTTP ${statusOf[code]} with its sentence`, async () => {
    const refusing = serviceAt('2026-03-01T10:00:00Z', {
      latestCRL: () => Promise.reject(new TrustError(code, 'crlNone', { facts: { authority: 'line1' }, retryAfterSeconds: 3 })),
    })
    const reply = await talkTo(crlRepository, refusing)({ path: '/crl/line1.crl' })
    assert.equal(reply.status, statusOf[code])
    assert.match(reply.body as string, /^The authority "line1" .* \(crlNone\)\n$/)
    assert.equal(reply.headers['retry-after'], '3')
    assert.equal(reply.headers['cache-control'], 'no-store')
  })
}

test('no path crashes it', async () => {
  const part = fc.oneof(fc.constantFrom('line1', '.2', '.crl', '.cer', '.p7c', '/', '0', '%', '..'), fc.string({ maxLength: 6 }))
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 6 }), async (parts) => {
      for (const [talk, mountPoint] of [
        [crls, '/crl/'],
        [certificates, '/ca/'],
      ] as const) {
        assert.ok([200, 404].includes((await talk({ path: mountPoint + parts.join('') })).status))
      }
    }),
    { numRuns: 1000 },
  )
})
