/** The device's agent against a running authority: enrolled, renewed, copied, and with its key in a TPM. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Agent, openAgent, runAgent } from '#agent/agent.ts'
import { openKey } from '#agent/device-keys.ts'
import type { Settings } from '#agent/directory.ts'
import { faultsOf } from '#devices/state/judgment.ts'
import { quoteNonce } from '#devices/state/messages.ts'
import { tpmAccess } from '#agent/tpm-access.ts'
import { encodeTrustList, signTrustList } from '#agent/trust-list.ts'
import { systemWorld, type World } from '#base/world.ts'
import { testKey } from '#protocols/testing.ts'
import { listenFor, routerOf } from '#server/testing.ts'
import { extendPCR } from '#tpm2/platform.ts'
import { keyPEMOf, pemOf, plant, type Plant } from './plant.ts'
import { makeTPM, tpmPrograms } from './swtpm.ts'

const HOUR_SECONDS = 3600

/** A device as it leaves the line, and what its agent is set up with. */
async function born(here: Plant, serial: string): Promise<Settings> {
  const { key, certificate } = await here.issue(here.births, [{ type: 'serialNumber', value: serial }])
  return {
    server: here.origin,
    label: 'owner',
    trust: [here.tlsRoot.toBase64()],
    keys: 'software',
    identity: {
      certificate: here.writeFile(`${serial}.pem`, pemOf(certificate)),
      key: here.writeFile(`${serial}.key`, keyPEMOf(key)),
    },
  }
}

function agentIn(t: TestContext, directory: string, world: World = systemWorld()): Agent {
  const agent = openAgent(directory, world)
  t.after(() => agent[Symbol.asyncDispose]())
  return agent
}

const certificateIn = (directory: string, number: number): X509Certificate =>
  new X509Certificate(readFileSync(join(directory, 'keys', String(number), 'certificate.pem')))

test('R5: a device enrolls with what it was born with, renews itself, and keeps one key', async (t) => {
  const here = await plant(t)
  const directory = join(here.directory, 'agent')
  const agent = agentIn(t, directory)
  assert.equal(agent.status().state, 'not set up')
  const settings = await born(here, 'P-1')
  assert.equal((await agent.enroll(settings)).state, 'enrolled')
  const first = certificateIn(directory, 1)
  assert.ok(first.checkIssued(new X509Certificate(here.ca.authorities.byAddress('owner1').certificate.der)))
  assert.match(first.subject, /serialNumber=P-1/)
  assert.equal(statSync(join(directory, 'keys', '1', 'key.pem')).mode & 0o777, 0o600)
  assert.equal((await agent.enroll(settings)).state, 'enrolled')
  assert.deepEqual(readdirSync(join(directory, 'keys')), ['1'], 'the second time nothing was asked for')
  await assert.rejects(agent.enroll({ ...settings, label: 'stranger' }), { reason: 'agentSetUp' })

  assert.equal((await agent.renew({ now: true })).state, 'enrolled')
  assert.deepEqual(readdirSync(join(directory, 'keys')), ['2'], 'the former key is gone')
  const second = certificateIn(directory, 2)
  assert.notDeepEqual(second.publicKey.export({ format: 'jwk' }), first.publicKey.export({ format: 'jwk' }))
  assert.throws(() => openAgent(directory, systemWorld()), { code: 'conflict', reason: 'agentBusy' })
  assert.equal(agent.status().state, 'enrolled')
})

test('R5: a server that is away is asked again later, and a refused request is not repeated', async (t) => {
  const here = await plant(t)
  const settings = await born(here, 'P-2')
  const away = agentIn(t, join(here.directory, 'away'))
  const waiting = await away.enroll({ ...settings, server: 'https://localhost:1' })
  assert.ok(waiting.state === 'waiting')
  assert.match(waiting.why, /localhost:1/)
  assert.ok(away.directory.pending() !== undefined, 'the key waits with its request')
  assert.deepEqual(await away.renew(), waiting, 'not before its time')

  const refused = agentIn(t, join(here.directory, 'refused'))
  const answer = await refused.enroll({ ...settings, label: 'stranger' })
  assert.ok(answer.state === 'waiting')
  assert.equal(refused.directory.pending(), undefined)
  assert.equal(refused.status().problem, answer.why)
})

test('R5: with a certificate that has ended, the birth certificate asks', async (t) => {
  const here = await plant(t)
  const directory = join(here.directory, 'agent')
  const { world } = here.ca.context
  const woken = agentIn(t, directory, world)
  await woken.enroll(await born(here, 'P-3'))
  here.ca.advance((Date.parse(certificateIn(directory, 1).validTo) - world.clock.now()) / 1000 + HOUR_SECONDS)
  assert.equal(woken.status().state, 'ended')
  assert.equal((await woken.renew()).state, 'enrolled')
  assert.deepEqual(readdirSync(join(directory, 'keys')), ['2'])
})

test('R2, R4: with the key in a TPM, a copy of the whole directory is worth nothing', { skip: tpmPrograms.skip }, async (t) => {
  const here = await plant(t)
  const [own, other] = [await makeTPM(t), await makeTPM(t, { another: true })]
  assert.ok('path' in own.server && 'path' in other.server)
  const settings: Settings = { ...(await born(here, 'P-4')), keys: 'tpm', tpm: own.server.path }
  const directory = join(here.directory, 'agent')
  const agent = openAgent(directory, systemWorld())
  assert.equal((await agent.enroll(settings)).state, 'enrolled')
  assert.match(readFileSync(join(directory, 'keys', '1', 'key.pem'), 'latin1'), /^-----BEGIN TSS2 PRIVATE KEY-----/)
  assert.equal((await agent.renew({ now: true })).state, 'enrolled')
  await agent[Symbol.asyncDispose]()

  const copy = join(here.directory, 'copy')
  mkdirSync(copy)
  cpSync(directory, copy, { recursive: true })
  const pem = readFileSync(join(copy, 'keys', '2', 'key.pem'), 'latin1')
  const { random } = systemWorld()
  const message = new Uint8Array(32)
  assert.ok((await openKey(pem, { tpm: tpmAccess(own.server.path, random) }).sign(message)).length > 0)
  await assert.rejects(openKey(pem, { tpm: tpmAccess(other.server.path, random) }).sign(message), { code: 'badProof' })
})

test('R33: a quote in the report shows what was started, and another start', { skip: tpmPrograms.skip }, async (t) => {
  const machine = await makeTPM(t)
  assert.ok('path' in machine.server)
  const access = tpmAccess(machine.server.path, systemWorld().random)
  const [operational, attestation] = [
    openKey(await access.makeKey('signing'), { tpm: access }),
    await access.makeKey('attestation'),
  ]
  const place = { counter: 2, previous: 'a'.repeat(64), challenge: 'of the server' }
  const measured = await access.measure(attestation, quoteNonce(place))
  const expected = { challenge: place.challenge, boot: { key: measured.key, values: measured.values } }
  const report = { ...place, at: new Date(), trustVersion: 0, components: [], boot: measured }
  assert.ok(operational.publicKey.length > 0)
  assert.deepEqual(await faultsOf(report, expected), [])
  const old = await faultsOf({ ...report, counter: 3 }, expected)
  assert.match(old.join(), /another challenge/, 'a quote of an earlier report does not serve again')

  const tpm = await machine.open()
  await extendPCR(tpm, 4, 'SHA256', new Uint8Array(32).fill(1))
  await tpm.close()
  const other = await access.measure(attestation, quoteNonce(place))
  assert.deepEqual(await faultsOf({ ...report, boot: other }, expected), ['it started otherwise: register 4'])
  const lied = { ...other, values: measured.values }
  assert.match(
    (await faultsOf({ ...report, boot: lied }, expected)).join(),
    /measured state/,
    'the values are not those of the quote',
  )
  const foreign = await access.measure(await access.makeKey('attestation'), quoteNonce(place))
  assert.deepEqual(await faultsOf({ ...report, boot: foreign }, expected), ['the attestation key is another'])
})

test('R29: while it runs, it follows the trust list step by step, and what fails does not keep the rest', async (t) => {
  const here = await plant(t)
  const key = testKey()
  const signer = {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    sign: async (m: Uint8Array) => key.sign(m),
  } as const
  const listOf = (version: number): Promise<Uint8Array> =>
    signTrustList(
      encodeTrustList({
        ...{ name: 'presses', version, expires: new Date('2036-01-01T00:00:00Z'), threshold: 1 },
        ...{ keys: [key.publicKey], anchors: { software: [here.tlsRoot], server: [here.tlsRoot] } },
      }),
      signer,
    )
  const lists = new Map([2, 3, 4].map((version) => [`/trust/${version}.json`, listOf(version)]))
  const files = await listenFor(t, [
    routerOf(async ({ path }) => {
      const body = await lists.get(path)
      return { status: body === undefined ? 404 : 200, headers: {}, body: body ?? '' }
    }),
  ])
  const settings = { ...(await born(here, 'P-5')), trustLists: `http://127.0.0.1:${files.address.port}/trust` }
  const agent = agentIn(t, join(here.directory, 'agent'))
  await agent.takeTrust(await listOf(1))
  await agent.enroll(settings)
  const stop = new AbortController()
  const said: string[] = []
  await runAgent(agent, systemWorld(), {
    pollSeconds: 3600,
    signal: stop.signal,
    say(line) {
      said.push(line)
      if (line.startsWith('report')) stop.abort() // the last of its parts; nobody takes reports here
    },
  })
  assert.equal(agent.status().trustList?.version, 4)
  assert.match(said.join('\n'), /^certificate until .*\ntrust list 4\nreport: The server did not take the report \(404\)/)
})
