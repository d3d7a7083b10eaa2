/**
 * R15, R24: issuing nodes as processes of their own, each with a TPM, and what a copy and a restored disk are worth; tickets
 * and certificates as others read them.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash, createPrivateKey, sign } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { compactVerify, importSPKI } from 'jose'
import { encodePEM } from '#asn1/pem.ts'
import { openStatement, peekStatement, signStatement } from '#orders/messages.ts'
import { openTPMMachine } from '#orders/node/tpm-machine.ts'
import { systemWorld } from '#base/world.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { keyAlgorithm, signatureAlgorithm } from '#algorithms/table.ts'
import { issueTicket, openOrder } from '#orders/orders.ts'
import { secret } from '#base/secret.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { signerParty, signingKey } from '#cms/testing.ts'
import { estClient } from '#protocols/est/client.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeCertificateList } from '#x509/crl.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { parsePEM } from '#asn1/pem.ts'
import { birthRequest, collect, serialAt, testMaker, type TestNode } from '../../src/server/orders-testing.ts'
import { needs } from './programs.ts'
import { makeTPM, type SoftwareTPM, tpmPrograms } from './swtpm.ts'

const SEALWORKS = fileURLToPath(new URL('../../bin/sealworks', import.meta.url))
const openssl = needs('openssl')
const person = 'person:tester'

interface Line {
  readonly est: string
  kill(): Promise<void>
  stop(): Promise<void>
}

async function sealworks(...words: readonly string[]): Promise<{ readonly code: number; readonly text: string }> {
  try {
    const { stdout } = await promisify(execFile)(SEALWORKS, [...words, '--json'])
    return { code: 0, text: stdout }
  } catch (error) {
    const { code, stderr, stdout } = error as { code: number; stderr: string; stdout: string }
    return { code, text: stdout + stderr }
  }
}

/** @returns once it answers, or what it said when it ended */
async function run(directory: string): Promise<Line | { readonly refused: string }> {
  const child = spawn(SEALWORKS, ['node', 'run', '--data', directory, '--name', 'localhost', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const first = await Promise.race([
    new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve)),
    ended.then(() => undefined),
  ])
  if (first === undefined || !first.includes('est')) {
    await ended
    return { refused: `${first ?? ''}${said}` }
  }
  const { est, process: pid } = JSON.parse(first) as { est: string; process: number }
  return {
    est,
    async kill() {
      process.kill(pid, 'SIGKILL')
      await ended
    },
    async stop() {
      process.kill(pid, 'SIGTERM')
      await ended
    },
  }
}

async function working(directory: string): Promise<Line> {
  const line = await run(directory)
  assert.ok('est' in line, JSON.stringify(line))
  return line
}

async function setting(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-line-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(directory, name), content)
    return join(directory, name)
  }
  const key = makeKey()
  const certificate = await makeCertificate(key)
  const station = {
    key,
    certificate,
    fingerprint: new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(certificate))).toHex(),
  }
  const bear = async (line: Line, place: string, number: number): Promise<Uint8Array> => {
    const trust = parsePEM(readFileSync(join(place, 'tls.pem'), 'utf8')).map(({ der }) => der)
    const client = estClient({
      url: line.est.replace('127.0.0.1', 'localhost'),
      trust,
      certificate: {
        chain: [certificate],
        privateKey: secret(new Uint8Array(key.privateKey.export({ type: 'pkcs8', format: 'der' }))),
      },
    })
    try {
      const answer = await client.simpleEnroll((await birthRequest(serialAt(number))).der)
      assert.equal(answer.state, 'issued')
      return answer.certificate
    } finally {
      client.close()
    }
  }
  return { directory, file, station, bear }
}

test('two nodes with TPMs, one of them copied and one put back', { skip: tpmPrograms.skip || openssl.skip }, async (t) => {
  const { directory, file, station, bear } = await setting(t)
  const maker = await testMaker(t)
  await maker.order('press', { tier: 'NV', quantity: 20, scrapAllowance: 20 })
  const [machine, other] = [await makeTPM(t), await makeTPM(t, { another: true })]
  const place = (tpm: typeof machine): string => `socket:${'path' in tpm.server ? tpm.server.path : ''}`
  await assert.rejects(maker.node('press'), { code: 'policyRefused', reason: 'tierTooLow' })

  const node = await maker.node('press', { tpm: place(machine) })
  const job = await issueTicket(
    maker.orders,
    'press',
    { request: node.request, stations: [station.fingerprint], quota: 10, scrapAllowance: 10 },
    person,
  )
  assert.equal(job.tier, 'NV')
  const ticket = file('ticket', job.ticketText)
  assert.equal((await sealworks('node', 'ticket', '--data', node.directory, ticket)).code, 0)

  const born: Uint8Array[] = []
  const first = await working(node.directory)
  born.push(await bear(first, node.directory, 1))
  await first.stop()
  const snapshot = join(directory, 'snapshot')
  cpSync(node.directory, snapshot, { recursive: true })
  const second = await working(node.directory)
  born.push(await bear(second, node.directory, 2))

  // a copy beside the same TPM, while the node runs: the TPM serves one, and the copy's log is old in any case
  await second.stop()
  const copied = await run(snapshot)
  assert.ok('refused' in copied)
  assert.match(copied.refused, /countingRolledBack|counts no further/)
  // the copy on another machine: another TPM does not have the key
  const elsewhere = join(directory, 'elsewhere')
  cpSync(node.directory, elsewhere, { recursive: true })
  const kept = JSON.parse(readFileSync(join(elsewhere, 'tpm.json'), 'utf8')) as Record<string, unknown>
  writeFileSync(join(elsewhere, 'tpm.json'), JSON.stringify({ ...kept, place: place(other) }))
  const abroad = await run(elsewhere)
  assert.ok('refused' in abroad)
  // the disk put back to an older state
  const present = join(directory, 'present')
  cpSync(node.directory, present, { recursive: true })
  rmSync(node.directory, { recursive: true })
  cpSync(snapshot, node.directory, { recursive: true })
  const restored = await run(node.directory)
  assert.ok('refused' in restored)
  assert.match(restored.refused, /counts no further/)
  // and to the present one again: it goes on, also after its plug was pulled, and burns what was open
  rmSync(node.directory, { recursive: true })
  cpSync(present, node.directory, { recursive: true })
  const third = await working(node.directory)
  born.push(await bear(third, node.directory, 3))
  await third.kill()
  const fourth = await working(node.directory)
  born.push(await bear(fourth, node.directory, 4))
  await fourth.stop()
  assert.equal((await sealworks('node', 'close', '--data', node.directory)).code, 0)
  assert.match(((await run(node.directory)) as { refused: string }).refused, /is closed/)
  assert.equal((await sealworks('node', 'close', '--data', node.directory)).code, 0) // again says the same
  const out = join(directory, 'stick')
  const exported = await sealworks('node', 'export', '--data', node.directory, '--out-dir', out)
  const { importBundle } = await import('#orders/synchronize.ts')
  for (const bundle of (JSON.parse(exported.text) as { files: string[] }).files)
    assert.equal((await importBundle(maker.orders, readFileSync(bundle), person)).alarms, 0)
  const report = await maker.reconcile('press')
  assert.deepEqual([report.issued, report.alarms, report.jobs[0]?.state], [4, [], 'ended'])
  assert.ok(report.burned > 0)

  // a second node on the other machine takes what is left
  const beside = await maker.node('press', { tpm: place(other) })
  const next = await issueTicket(maker.orders, 'press', { request: beside.request, stations: [station.fingerprint] }, person)
  assert.deepEqual(next.ticket.quota, 16)
  await assert.rejects(beside.take(job.ticketText), { reason: 'ticketOfAnotherNode' })

  // openssl finds its way from a device to the maker's root
  const [issuing, root] = job.ticket.authority.map((der, at) =>
    file(`${at}.pem`, encodePEM('CERTIFICATE', Uint8Array.fromBase64(der))),
  )
  for (const [at, der] of born.entries()) {
    const device = file(`device-${at}.pem`, encodePEM('CERTIFICATE', der))
    const { stdout } = await promisify(execFile)(openssl.path('openssl'), [
      ...['verify', '-x509_strict', '-CAfile', root as string, '-untrusted', issuing as string, device],
    ])
    assert.match(stdout, /: OK/)
  }
})

/** A list of the maker of this TPM, with its endorsement certificate on it. */
async function listOf(machine: SoftwareTPM, node: TestNode): Promise<Uint8Array> {
  const { attestation } = peekStatement('ticket-request', node.request)
  const { serialNumber } = parseCertificate(Uint8Array.fromBase64(attestation?.endorsement?.certificate ?? ''))
  const [issuer] = machine.issuers.map(parseCertificate)
  const key = createPrivateKey(readFileSync(machine.file('ca/signkey.pem')))
  const now = systemWorld().clock.now()
  return encodeCertificateList(
    {
      ...{
        issuer: issuer?.subject ?? new Uint8Array(),
        thisUpdate: new Date(now - 1000),
        nextUpdate: new Date(now + 86_400_000),
      },
      extensions: [extensionWith(crlNumber, 1n)],
    },
    [{ serialNumber, revokedAt: now - 1000, reason: 'keyCompromise' }],
    { signatureAlgorithm: 'rsa-sha256', sign: async (message) => new Uint8Array(sign('sha256', message, key)) },
  )
}

/** Somebody who has the node's key and not its TPM's word. */
async function wrongAnswer(node: TestNode, text: string): Promise<string> {
  const { id, request } = peekStatement('endorsement-challenge', text)
  const machine = await openTPMMachine(readFileSync(join(node.directory, 'tpm.json'), 'utf8'), systemWorld())
  try {
    const credential = new Uint8Array(32).toBase64()
    return await signStatement('endorsement-answer', { version: 1, challenge: id, request, credential }, machine.signer)
  } finally {
    await machine.close()
  }
}

test(
  'R15: N1 is for a node that shows whose TPM it has, and for no other',
  { skip: tpmPrograms.skip || openssl.skip },
  async (t) => {
    const { station } = await setting(t)
    const maker = await testMaker(t)
    const [machine, stranger] = [await makeTPM(t), await makeTPM(t, { another: true })]
    const place = (tpm: typeof machine): string => `socket:${'path' in tpm.server ? tpm.server.path : ''}`
    // a maker's issuing authorities are trusted below its root, each by its name
    for (const [at, der] of machine.anchors.entries()) await maker.trust(`vendor${at}`, der)
    for (const [at, der] of machine.issuers.entries()) await maker.trust(`vendorissuing${at}`, der)
    const endorsementAuthorities = ['vendor0', 'vendorissuing0']
    const image = new Uint8Array(100_000).fill(7)
    const imageSigner = await signerParty('ecdsa-sha256')
    const firmware = [createHash('sha256').update(image).digest('hex')]
    await assert.rejects(maker.order('press', { tier: 'N1' }), { code: 'malformed', reason: 'orderMalformed' })
    await maker.order('press', {
      ...{ tier: 'N1', quantity: 20, endorsementAuthorities, firmware },
      firmwareSigners: [imageSigner.certificate.toBase64()],
    })
    const stations = [station.fingerprint]

    const node = await maker.node('press', { tpm: place(machine) })
    await assert.rejects(node.ticket({ stations }), {
      reason: 'attestationMissing',
      facts: { asked: 'N1', shown: 'NV' },
    })
    // of a maker who is not trusted: no challenge at all, and so nothing above NV
    const foreign = await maker.node('press', { tpm: place(stranger) })
    await assert.rejects(foreign.challenge(), { code: 'policyRefused', reason: 'endorsementUntrusted' })

    const [challenge, forTheOther] = [await node.challenge(), await node.challenge()]
    // the node's directory beside another TPM: its keys are not there, so there is no answer
    const moved = node.copy()
    const kept = JSON.parse(readFileSync(join(moved.directory, 'tpm.json'), 'utf8')) as Record<string, unknown>
    writeFileSync(join(moved.directory, 'tpm.json'), JSON.stringify({ ...kept, place: place(stranger) }))
    await assert.rejects(moved.answer(challenge), { code: 'badProof' })
    const beside = await maker.node('press', { tpm: place(stranger) })
    await assert.rejects(beside.answer(challenge), { code: 'policyRefused', reason: 'challengeOfAnotherNode' })
    const answer = await node.answer(challenge)
    // a challenge is for one request, counts once, and ends with a wrong answer
    await assert.rejects(beside.ticket({ stations, answer }), { code: 'badProof', reason: 'statementSignature' })
    const lie = await wrongAnswer(node, forTheOther)
    await assert.rejects(node.ticket({ stations, answer: lie }), { code: 'badProof', reason: 'nodeCredential' })
    const late = await node.answer(forTheOther)
    await assert.rejects(node.ticket({ stations, answer: late }), { code: 'conflict', reason: 'nodeChallengeUsed' })
    const job = await node.ticket({ stations, answer, quota: 10 })
    assert.equal(job.tier, 'N1')
    assert.match(job.ticket.endorsement?.key ?? '', /^[0-9a-f]{64}$/)
    await assert.rejects(node.ticket({ stations, answer }), { code: 'conflict', reason: 'nodeChallengeUsed' })
    await node.take(job.ticketText)

    // an image for this node is opened by its TPM, and by no other
    const signature = await encodeSignedData({
      content: { detached: image },
      signers: [{ key: signingKey(imageSigner), certificate: imageSigner.certificate, signatureAlgorithm: 'ecdsa-sha256' }],
    })
    await node.takeImage(job.ticket, image, signature)
    const run = await node.start()
    const { octets, read } = await run.images.open(firmware[0] as string)
    assert.equal(octets, image.length)
    assert.deepEqual(await collect(read()), image)
    await run.stop()
    writeFileSync(join(moved.directory, 'ticket.jws'), job.ticketText)
    await assert.rejects(moved.takeImage(job.ticket, image, signature), { code: 'badProof' })

    const { jobs } = await maker.reconcile('press')
    assert.deepEqual(
      jobs.map(({ tier, endorsement }) => [tier, endorsement]),
      [['N1', job.ticket.endorsement?.key]],
    )

    // its maker takes the certificate back while an answer is on its way
    const next = await maker.node('press', { tpm: place(machine) })
    const onItsWay = await next.answer(await next.challenge())
    await maker.importCRL(await listOf(machine, next))
    await assert.rejects(next.ticket({ stations, answer: onItsWay }), { code: 'policyRefused', reason: 'endorsementUntrusted' })
    await assert.rejects(next.challenge(), { code: 'policyRefused', reason: 'endorsementUntrusted' })
  },
)

test('a library for JOSE reads our tickets, and we take what it would refuse for nothing', async (t) => {
  const maker = await testMaker(t)
  await maker.order('press')
  const node = await maker.node('press')
  const { ticketText, ticket } = await node.ticket()
  const { terms } = await openOrder(maker.orders, 'press')
  const { publicKey } = await maker.orders.keys.open(terms.ticketKey)
  const theirs = await importSPKI(encodePEM('PUBLIC KEY', publicKey), 'ES256')
  const { payload, protectedHeader } = await compactVerify(ticketText, theirs)
  assert.deepEqual(JSON.parse(new TextDecoder().decode(payload)), structuredClone(ticket))
  assert.deepEqual(protectedHeader, { alg: 'ES256', typ: 'sealworks-ticket+jws' })
  const flipped = ticketText.replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A'))
  await assert.rejects(compactVerify(flipped, theirs))
  await assert.rejects(openStatement('ticket', flipped, importPublicKey(publicKey)), { code: /badProof|malformed/ })
  // a statement of another kind, signed by the right key, is no ticket
  await assert.rejects(openStatement('ticket', node.request, importPublicKey(publicKey)), {
    code: 'malformed',
    reason: 'statementMalformed',
  })
})

for (const algorithm of ['ml-dsa-65', 'ecdsa-p384', 'rsa-3072'] as const)
  test(`statements are signed with ${algorithm}, and by no other key`, async () => {
    const { privateKey, publicKey } = await generateKey(algorithm)
    const spki = importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })))
    const value = { version: 1 as const, job: '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b', size: 3, head: 'a'.repeat(64), at: 7 }
    const text = await signStatement('log-head', value, {
      keyAlgorithm: algorithm,
      sign: async (message, id) => signMessage(message, signatureAlgorithm(id), privateKey, keyAlgorithm(algorithm).slow),
    })
    assert.deepEqual(structuredClone(await openStatement('log-head', text, spki)), value)
    const other = importPublicKey(
      new Uint8Array((await generateKey(algorithm)).publicKey.export({ type: 'spki', format: 'der' })),
    )
    await assert.rejects(openStatement('log-head', text, other), { code: 'badProof' })
  })
