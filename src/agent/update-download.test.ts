/** Artifacts from a server that is not believed: what it may do, and what the device does then. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { systemWorld, type World } from '#base/world.ts'
import { scratch, sha256 } from './testing.ts'
import { download, SLOWEST_OCTETS_PER_SECOND, WINDOW_SECONDS } from './update-download.ts'

const image = new Uint8Array(300_000).map((_, at) => (at * 7919) >> 5)
const tls = { ca: [], cert: '', key: '' }

type Serve = (request: IncomingMessage, response: ServerResponse) => void

interface Fetching {
  readonly place: string
  readonly asked: (string | undefined)[]
  serve(how: Serve): void
  fetch(more?: { readonly world?: World; readonly octets?: number }): Promise<void>
  readonly part: () => number
  /** Once the device has so much of it. */
  arrived(octets: number, then: () => void): void
  /** Sends so much, and then ends the connection. */
  cutAfter(octets: number): Serve
}

async function fetching(t: TestContext): Promise<Fetching> {
  const place = join(scratch(t), 'updates', 'image')
  let how: Serve = () => assert.fail('nothing is to be asked')
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.headers.range)
    how(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const part = (): number => (existsSync(`${place}.part`) ? readFileSync(`${place}.part`).length : 0)
  const arrived = (octets: number, then: () => void): void => {
    if (part() >= octets) then()
    else setTimeout(() => arrived(octets, then), 2)
  }
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/image`)
  return {
    place,
    asked,
    serve: (next) => void (how = next),
    fetch: ({ world = systemWorld(), octets = image.length } = {}) =>
      download({ url, tls, place, world, octets, sha256: sha256(image).toHex() }),
    part,
    arrived,
    cutAfter: (octets) => (_, response) => {
      response.writeHead(200, { 'content-length': image.length })
      response.write(image.subarray(0, octets))
      arrived(octets, () => response.destroy())
    },
  }
}

/** As a server of the standard does. */
const honest: Serve = ({ headers }, response) => {
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
  const range = { 'content-range': `bytes ${from}-${image.length - 1}/${image.length}` }
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': image.length - from, ...(from > 0 && range) })
  response.end(image.subarray(from))
}

test('a download that was cut goes on where it ended, and is hashed as a whole', async (t) => {
  const { serve, fetch, place, part, asked, cutAfter } = await fetching(t)
  serve(cutAfter(100_000))
  await assert.rejects(fetch(), { code: 'unavailable' })
  const kept = part()
  assert.equal(kept, 100_000)
  serve(honest)
  await fetch()
  assert.deepEqual(new Uint8Array(readFileSync(place)), image)
  assert.deepEqual(asked, [undefined, `bytes=${kept}-`])
  await fetch()
  assert.equal(asked.length, 2, 'what is there is not asked for again')
})

test('a server without ranges begins again, and what it gave before is overwritten', async (t) => {
  const { serve, fetch, place, cutAfter } = await fetching(t)
  serve(cutAfter(100_000))
  await assert.rejects(fetch())
  serve((_, response) => response.writeHead(200).end(image)) // neither range nor length
  await fetch()
  assert.deepEqual(new Uint8Array(readFileSync(place)), image)
})

test('what came before a cut is not believed: a changed beginning is found at the end', async (t) => {
  const { serve, fetch, place, part, cutAfter } = await fetching(t)
  serve(cutAfter(100_000))
  await assert.rejects(fetch())
  const began = readFileSync(`${place}.part`)
  writeFileSync(`${place}.part`, began.fill(1, 5, 6))
  serve(honest)
  await assert.rejects(fetch(), { code: 'badProof', reason: 'updateArtifactOther' })
  assert.equal(part(), 0, 'and nothing of it is kept')
  await fetch()
})

test('endless data is cut at the length that was signed for, however it is announced', async (t) => {
  const { serve, fetch, part } = await fetching(t)
  let sent = 0
  serve((_, response) => {
    response.writeHead(200)
    const more = (): void => {
      sent += 65_536
      if (!response.destroyed) response.write(new Uint8Array(65_536), () => setImmediate(more))
    }
    more()
  })
  await assert.rejects(fetch(), { code: 'tooLarge', reason: 'updateArtifactLength' })
  assert.ok(sent < 64 << 20, 'it ended long before')
  assert.equal(part(), 0)
  serve((_, response) => response.writeHead(200, { 'content-length': image.length + 1 }).end())
  await assert.rejects(fetch(), { reason: 'updateArtifactLength' })
})

test('a server that is too slow is left, and what it gave is kept', async (t) => {
  const { serve, fetch, part, arrived } = await fetching(t)
  let now = 0
  const world = { ...systemWorld(), clock: { now: () => now } }
  serve((_, response) => {
    response.writeHead(200, { 'content-length': image.length })
    response.write(image.subarray(0, 1000))
    arrived(1000, () => {
      now = (WINDOW_SECONDS + 1) * 1000
      response.write(image.subarray(1000, SLOWEST_OCTETS_PER_SECOND + 1000))
    })
  })
  await assert.rejects(fetch({ world }), { code: 'unavailable', reason: 'updateTooSlow' })
  assert.ok(part() >= 1000)
})

test('another range than was asked for, other sizes, redirects and refusals are no answers', async (t) => {
  const { serve, fetch, place, part, cutAfter } = await fetching(t)
  serve(cutAfter(50_000))
  await assert.rejects(fetch())
  const kept = part()
  for (const range of [
    `bytes 0-${image.length - 1}/${image.length}`,
    `bytes ${kept}-${image.length}/${image.length + 1}`,
    'bytes */*',
  ]) {
    serve((_, response) => response.writeHead(206, { 'content-range': range }).end(image))
    await assert.rejects(fetch(), { code: 'unavailable', reason: 'updateAnswer' }, range)
  }
  serve((_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end())
  await assert.rejects(fetch(), { reason: 'updateAnswer' })
  assert.equal(part(), kept)
  assert.ok(!existsSync(place))
})

test('what the disk cannot hold is not begun', async (t) => {
  const { fetch, asked } = await fetching(t)
  await assert.rejects(fetch({ octets: 2 ** 52 }), { code: 'quotaExceeded', reason: 'updateDiskFull' })
  assert.deepEqual(asked, [])
})
