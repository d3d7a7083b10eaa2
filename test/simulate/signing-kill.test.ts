/** A server that is killed while it signs artifacts: each that was taken comes back signed, and no signature is lost. */
import assert from 'node:assert/strict'
import { createPublicKey, hash, verify } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { utf8 } from '#base/bytes.ts'
import { secret, type Secret } from '#base/secret.ts'
import { type Client, httpsTransport, RemoteRefusal, restClient } from '#server/rest/client.ts'
import { install, type Installation, type ServerProcess, startServer } from './server-process.ts'

const source = join(import.meta.dirname, '../../src/signing/upload')
/** From the last to the first: a job that goes on reaches only what comes after the point where it stopped. */
const points = [
  'signing job over',
  'signing job written',
  'signing job answered',
  'signing job signed',
  'signing job kept',
  'artifact spooled',
] as const

const artifactAt = (index: number): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(`firmware ${index}\n`.repeat(20_000)))

test(`a server that stops at any point of a signing job loses no artifact and no signature (${points.join(', ')})`, async () => {
  const reached = globSync('*.ts', { cwd: source, exclude: ['*.test.ts'] }).flatMap((file) =>
    [...readFileSync(join(source, file), 'utf8').matchAll(/faults\.reach\('([^']+)'\)/g)].map(([, point]) => point),
  )
  assert.deepEqual(new Set(reached), new Set(points), 'a new fault point is tested here')
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-signing-kill-'))
  let server: ServerProcess | undefined
  try {
    const installation = await install(directory)
    server = startServer(installation)
    await server.ready
    const { token, publicKey } = await prepare(installation)
    await stop(server)

    const jobs: (string | undefined)[] = []
    for (const [index, point] of points.entries()) {
      server = startServer(installation, `${point}#1`)
      await server.ready
      const client = connect(installation, token)
      // the server may be gone before it says which job it is
      jobs[index] = await submit(client, index).catch((error: unknown) => {
        assert.ok(error instanceof RemoteRefusal && error.code === 'unreachable', String(error))
        return undefined
      })
      const { signal, complaint } = await server.ended
      assert.equal(signal, 'SIGKILL', `${point}: ${complaint}`)
      client.close()
    }
    server = startServer(installation)
    await server.ready
    const client = connect(installation, token)
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
    for (const [index, point] of points.entries()) {
      const id = await submit(client, index) // the same key: a repeat whose answer was lost
      if (jobs[index] !== undefined) assert.equal(id, jobs[index], point)
      const job = await overWithin(client, id)
      assert.equal(job.state, 'done', `${point}: ${JSON.stringify(job.problem)}`)
      const fetched = await client.transfer('fetchSignedArtifact', { params: { id } })
      assert.ok(fetched.content !== undefined)
      const signature = Buffer.concat(await Array.fromAsync(fetched.content.read()))
      assert.ok(verify('sha256', artifactAt(index), key, signature), `${point}: the signature is not over the artifact`)

      const digest = `sha256:${hash('sha256', artifactAt(index), 'hex')}`
      const { items } = await client.call('listSignatures', { params: { name: 'firmware' }, query: { limit: 100 } })
      const made = items.filter(({ artifactDigest, outcome }) => artifactDigest === digest && outcome === 'done')
      assert.ok(made.some(({ entry }) => entry === job.entry))
      // between the signature and its record nobody knows that it was made: the log has both
      assert.equal(made.length, point === 'signing job signed' ? 2 : 1, point)
    }
    const { items } = await client.call('listSigningJobs', { query: {} })
    assert.equal(items.length, points.length, 'what came only in part is no job')
    client.close()
    const left = globSync('*.artifact', { cwd: join(directory, 'spool') })
    assert.deepEqual(left, [])
  } finally {
    if (server !== undefined) await stop(server)
    await rm(directory, { recursive: true })
  }
})

async function stop({ process, ended }: ServerProcess): Promise<void> {
  process.kill('SIGTERM')
  await ended
}

const connect = ({ origin, tlsRootPEM }: Installation, token: Secret): Client =>
  restClient({ transport: httpsTransport({ server: origin, trust: { rootsPEM: tlsRootPEM } }), token })

async function prepare(installation: Installation) {
  const admin = connect(installation, installation.token)
  const body = { kind: 'service', name: 'CI', roles: ['service', 'pki-officer'] } as const
  const { id } = await admin.call('createPrincipal', { body: { ...body, roles: [...body.roles] } })
  const given = await admin.call('createToken', { params: { id }, body: { name: 'test', lifetimeSeconds: 3600 } })
  const token = secret(utf8(given.token))
  const ci = connect(installation, token)
  const { publicKey } = await ci.call('createKey', { body: { label: 'release', keyAlgorithm: 'ecdsa-p256' } })
  await ci.call('createSigner', { body: { name: 'firmware', key: 'release', formats: ['plain'] } })
  admin.close()
  ci.close()
  return { token, publicKey: Uint8Array.fromBase64(publicKey) }
}

async function submit(client: Client, index: number): Promise<string> {
  const artifact = artifactAt(index)
  const content = {
    octets: artifact.length,
    prefersAsync: true,
    async *read() {
      yield artifact
    },
  }
  const answer = await client.transfer(
    'signArtifact',
    { params: { name: 'firmware' }, idempotencyKey: `artifact-${index}` },
    content,
  )
  assert.ok(answer.content === undefined)
  return answer.answer.id
}

async function overWithin(client: Client, id: string, tries = 200) {
  for (;;) {
    const job = await client.call('showSigningJob', { params: { id } })
    if (job.state !== 'queued') return job
    assert.ok(--tries > 0, 'the job came to no end')
    await delay(50)
  }
}
