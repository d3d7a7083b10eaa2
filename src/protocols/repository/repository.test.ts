/** CRLs and CA certificates over HTTP, by function calls. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { TrustError, type TrustErrorCode } from '#base/errors.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import type { Reply } from '../protocol.ts'
import { certificateOf, talkTo, testKey } from '../testing.ts'
import { statusOf } from './failures.ts'
import { certificateRepository, crlRepository, type RepositoryService } from './index.ts'

const own = certificateOf(testKey())
const root = certificateOf(testKey())
const crl = Uint8Array.of(0x30, 1, 2, 3)
const thisUpdate = new Date('2026-03-01T10:00:00Z')
const nextUpdate = new Date('2026-03-08T10:00:00Z')

type Asked = [authority: string, shard: number | undefined, isDelta: boolean]

function serviceAt(now: string, changes: Partial<RepositoryService> = {}, der = crl): RepositoryService & { asked: Asked[] } {
  const asked: Asked[] = []
  return {
    asked,
    now: () => Date.parse(now),
    publishedCRL(authority, { shard, isDelta }) {
      asked.push([authority, shard, isDelta])
      if (authority.startsWith('gone'))
        return Promise.reject(new TrustError('notFound', 'authorityUnknown', { facts: { authority } }))
      const read = async function* (start: number, end: number) {
        for (let at = start; at < end; at += 1000) yield der.subarray(at, Math.min(at + 1000, end))
      }
      return Promise.resolve({ tag: '12', thisUpdate, nextUpdate, octets: der.length, read })
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

for (const [path, authority, shard, isDelta] of [
  ['/crl/line1.crl', 'line1', undefined, false],
  ['/crl/line1.2.crl', 'line1.2', undefined, false],
  ['/crl/line1.2/0.crl', 'line1.2', 0, false],
  ['/crl/line1.2/71.crl', 'line1.2', 71, false],
  ['/crl/line1.2/delta.crl', 'line1.2', undefined, true],
  ['/crl/line1.2/71/delta.crl', 'line1.2', 71, true],
] as const) {
  test(`${path} is ${isDelta ? 'the delta of ' : ''}shard ${shard ?? '(any)'} of ${authority} (RFC 5280, 4.2.1.13; RFC 2585, 4.2)`, async () => {
    const { status, headers, body } = await crls({ path })
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/pkix-crl')
    assert.deepEqual(body, crl)
    assert.deepEqual(fresh.asked.at(-1), [authority, shard, isDelta])
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
  '/crl/line1.2/delta/7.crl',
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

const etag = '"12"'
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
      publishedCRL: () =>
        Promise.reject(new TrustError(code, 'crlNone', { facts: { authority: 'line1' }, retryAfterSeconds: 3 })),
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

const long = Uint8Array.from({ length: 40_000 }, (_, i) => i % 251)
const longCRLs = talkTo(crlRepository, serviceAt('2026-03-01T10:30:00Z', {}, long))
const all = async ({ body, stream }: Reply): Promise<Uint8Array> =>
  stream === undefined ? (body as Uint8Array) : concat(await Array.fromAsync(stream.read()))

const ranges: { name: string; headers: Record<string, string>; status: number; from?: number; to?: number }[] = [
  { name: 'none', headers: {}, status: 200 },
  { name: 'the rest', headers: { range: 'bytes=30000-' }, status: 206, from: 30_000 },
  { name: 'a piece', headers: { range: 'bytes=999-1000' }, status: 206, from: 999, to: 1001 },
  { name: 'a long piece', headers: { range: 'bytes=1-39998' }, status: 206, from: 1, to: 39_999 },
  { name: 'the end', headers: { range: 'bytes=-500' }, status: 206, from: 39_500 },
  { name: 'more than there is', headers: { range: 'bytes=39999-90000' }, status: 206, from: 39_999 },
  { name: 'more from the end than there is', headers: { range: 'bytes=-90000' }, status: 206, from: 0 },
  { name: 'a start beyond the end', headers: { range: 'bytes=40000-' }, status: 416 },
  { name: 'nothing from the end', headers: { range: 'bytes=-0' }, status: 416 },
  { name: 'several', headers: { range: 'bytes=0-1,5-6' }, status: 200 },
  { name: 'one that is backwards', headers: { range: 'bytes=9-5' }, status: 200 },
  { name: 'another unit', headers: { range: 'lines=0-5' }, status: 200 },
  { name: 'one of this list', headers: { range: 'bytes=5-', 'if-range': etag }, status: 206, from: 5 },
  { name: 'one of another list', headers: { range: 'bytes=5-', 'if-range': '"11"' }, status: 200 },
  { name: 'one of a list with a weak tag', headers: { range: 'bytes=5-', 'if-range': `W/${etag}` }, status: 200 },
]
for (const { name, headers, status, from = 0, to = long.length } of ranges) {
  test(`a range, ${name}: ${status} (RFC 9110, 14)`, async () => {
    const reply = await longCRLs({ path: '/crl/line1.2.crl', headers })
    assert.equal(reply.status, status)
    if (status === 416) {
      assert.equal(reply.headers['content-range'], 'bytes */40000')
      return
    }
    assert.equal(reply.headers['accept-ranges'], 'bytes')
    assert.deepEqual(await all(reply), long.subarray(from, to))
    assert.equal(reply.headers['content-range'], status === 206 ? `bytes ${from}-${to - 1}/40000` : undefined)
    assert.equal(reply.stream?.octets ?? reply.body.length, to - from)
  })
}
