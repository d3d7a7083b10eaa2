/** R15, R24: a node that is killed anywhere forgets no certificate that somebody has, and gives no position twice. @module */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { birthRequest, serialAt, STATION, testMaker } from './orders-testing.ts'

const PROGRAM = fileURLToPath(new URL('orders-killed-testing.ts', import.meta.url))

const points = [
  'start intended',
  'start counted',
  'lease intended',
  'lease counted',
  'position taken',
  'birth signed',
  'birth written',
  'birth durable',
] as const

async function play(...words: readonly string[]): Promise<{ readonly signal: string | null; readonly got: readonly string[] }> {
  const child = spawn(process.execPath, [PROGRAM, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const signal = await new Promise<string | null>((resolve) => child.once('close', (_, by) => resolve(by)))
  return { signal, got: said.split('\n').slice(0, -1) }
}

test('R24: killed at each point of a birth, and then of the end', async (t) => {
  const maker = await testMaker(t)
  await maker.order('press', { quantity: 20, scrapAllowance: 60 })
  const node = await maker.node('press')
  await node.take((await node.ticket()).ticketText)
  const requests = await Promise.all(points.map(async (_, at) => (await birthRequest(serialAt(at + 1))).der.toBase64()))
  const got: string[] = []
  for (const [at, point] of points.entries()) {
    const killed = await play(node.directory, point, requests[at] as string)
    assert.equal(killed.signal, 'SIGKILL', point)
    got.push(...killed.got)
  }
  // all of it again: whoever got a certificate gets the same, the others get theirs now
  const line = await node.start()
  const { parseCertificationRequest } = await import('#x509/certification-request.ts')
  const born: string[] = []
  for (const request of requests) {
    const der = await line.issue(parseCertificationRequest(Uint8Array.fromBase64(request)), { station: STATION })
    born.push(der.toBase64())
  }
  await line.stop()
  for (const certificate of got) assert.ok(born.includes(certificate))
  const positions = readFileSync(`${node.directory}/log.jsonl`, 'utf8')
    .split('\n')
    .slice(0, -1)
    .flatMap((text) => (JSON.parse(text) as { position?: number }).position ?? [])
  assert.equal(positions.length, points.length)
  assert.equal(new Set(positions).size, points.length)

  for (const point of ['close written', 'end signed', 'key destroyed']) {
    assert.equal((await play(node.directory, point, 'close')).signal, 'SIGKILL', point)
    await assert.rejects(node.start(), { reason: /jobClosed|jobKeyGone/ }, point)
  }
  await node.close()
  for (const bundle of await node.export()) assert.equal((await maker.import(bundle)).alarms, 0)
  const { issued, alarms, jobs } = await maker.reconcile('press')
  assert.deepEqual([issued, alarms, jobs[0]?.state], [points.length, [], 'ended'])
})
