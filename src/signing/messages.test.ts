/** Messages of the server's own: who may say what, and that no message of one kind passes for another. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { compactVerify, importX509 } from 'jose'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { encodeCOSE, encodeSigStructureHead, makeHeaders, headers, parseCOSE, COSE_SHA_256 } from '#cbor/cose.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { fingerprint } from '#x509/certificate.ts'
import { AT, root, type TrialSigner, trialSigner } from './artifact/testing.ts'
import { onBehalf, signMessage } from './message-signing.ts'
import { type ExpectedMessage, messageTrust, verifyMessage } from './messages.ts'
import { trialMessage } from './messages-testing.ts'
import { openTestSigning, ROBOT, testAuthority, tspMigrations } from './tsp/testing.ts'

const TYPE = 'sealworks-trial+cbor'
const payload = utf8('open valve 7')
const own = ({ answering }: TrialSigner): Uint8Array => answering.certificates[0]
const cose = { form: 'cose', typ: TYPE, payload } as const

const director = await trialSigner('ecdsa-p256', 'documentSigning')
const expecting = (anchors: readonly Uint8Array[], more: Partial<ExpectedMessage> = {}): ExpectedMessage => ({
  typ: TYPE,
  trust: messageTrust(anchors),
  at: AT,
  maxOctets: 64 << 10,
  ...more,
})
const refused = (promise: Promise<unknown>, reason: string): Promise<void> =>
  assert.rejects(promise, (error) => error instanceof TrustError && error.reason === reason)

for (const algorithm of ['ecdsa-p256', 'ecdsa-p384', 'ed25519', 'ml-dsa-44', 'rsa-3072'] as const) {
  for (const form of ['cose', 'jws'] as const) {
    test(`a message as ${form} by ${algorithm} is good below an anchor, and where its signer is one (R14, R31)`, async () => {
      const signer = await trialSigner(algorithm, 'documentSigning')
      for (const certificates of ['chain', 'thumbprint'] as const) {
        const octets = await trialMessage(signer, { form, typ: TYPE, payload, certificates })
        const anchors = certificates === 'chain' ? [root] : [own(signer)]
        const { payload: found, signers } = await verifyMessage(octets, expecting(anchors))
        assert.deepEqual(found, payload)
        assert.equal(signers.length, 1)
        for (const at of [octets.length >> 1, octets.length - 1]) {
          const changed = Uint8Array.from(octets)
          changed[at] = (changed[at] ?? 0) ^ 1
          await assert.rejects(verifyMessage(changed, expecting(anchors)), TrustError)
        }
      }
    })
  }
}

test('who is not trusted for this may sign what they like', async () => {
  const coder = await trialSigner('ecdsa-p256', 'codeSigning')
  await refused(
    trialMessage(coder, cose).then((octets) => verifyMessage(octets, expecting([root]))),
    'messageSignerUntrusted',
  )
  const ended = await trialSigner('ecdsa-p256', 'documentSigning', new Date(AT.getTime() - 1000))
  const late = await trialMessage(ended, cose)
  await refused(verifyMessage(late, expecting([root])), 'messageSignerUntrusted')
  await verifyMessage(late, expecting([own(ended)])) // who is listed is good for as long as the list says so
  const octets = await trialMessage(director, cose)
  await refused(verifyMessage(octets, expecting([])), 'messageSignerUntrusted')
  await refused(verifyMessage(octets, expecting([own(coder)])), 'messageSignerUntrusted')
  const bare = await trialMessage(director, { ...cose, certificates: 'thumbprint' })
  await refused(verifyMessage(bare, expecting([root])), 'messageSignerUnknown')
})

test('a certificate for every purpose signs no statements', async () => {
  const all = await trialSigner('ecdsa-p256', 'anyExtendedKeyUsage')
  await refused(
    trialMessage(all, cose).then((octets) => verifyMessage(octets, expecting([root]))),
    'messageSignerUntrusted',
  )
})

test('a signer that was good is asked again once its time is over', async () => {
  const trust = messageTrust([root])
  const signer = await trialSigner('ecdsa-p256', 'documentSigning', new Date(AT.getTime() + 60_000))
  const octets = await trialMessage(signer, cose)
  await verifyMessage(octets, expecting([], { trust }))
  await verifyMessage(octets, expecting([], { trust, at: new Date(AT.getTime() + 59_000) }))
  await refused(verifyMessage(octets, expecting([], { trust, at: new Date(AT.getTime() + 62_000) })), 'messageSignerUntrusted')
})

test('no message passes as one of another type, and none without its type', async () => {
  const other = await trialMessage(director, { ...cose, typ: 'sealworks-other+cbor' })
  await refused(verifyMessage(other, expecting([root])), 'messageTypeOther')
  const whole = await trialMessage(director, { ...cose, typ: `application/${TYPE}` })
  await verifyMessage(whole, expecting([root]))
  const jws = await trialMessage(director, { form: 'jws', typ: 'JWT', payload })
  await refused(verifyMessage(jws, expecting([root])), 'messageTypeOther')
  const message = parseCOSE(await trialMessage(director, cose))
  const untyped = makeHeaders([[headers.alg, -7]])
  const octets = encodeCOSE({ ...message, headers: untyped })
  await refused(verifyMessage(octets, expecting([root])), 'messageTypeOther')
})

test('what both sides know is signed along', async () => {
  const octets = await trialMessage(director, { ...cose, externalAAD: utf8('topic a') })
  await verifyMessage(octets, expecting([root], { externalAAD: utf8('topic a') }))
  await refused(verifyMessage(octets, expecting([root], { externalAAD: utf8('topic b') })), 'messageSignature')
  await refused(verifyMessage(octets, expecting([root])), 'messageSignature')
})

test('of several signatures each has to be good, and no key counts twice', async () => {
  const second = await trialSigner('ed25519', 'documentSigning')
  const body = makeHeaders([[headers.typ, TYPE]])
  const signedBy = async (signer: TrialSigner, alg: number, said = payload) => {
    const certificate = own(signer)
    const mine = makeHeaders([
      [headers.alg, alg],
      [headers.x5t, [COSE_SHA_256, fingerprint(certificate)]],
      [headers.x5chain, certificate],
    ])
    const head = encodeSigStructureHead({ body, signer: mine }, said.length)
    const { key, signatureAlgorithm } = signer.answering
    const signature = await key.sign(concat([head, said]), signatureAlgorithm)
    return { headers: mine, signature: alg === -7 ? plainForm(signature) : signature }
  }
  const of = (signatures: readonly Awaited<ReturnType<typeof signedBy>>[]) =>
    encodeCOSE({ type: 'sign', headers: body, payload, signatures })
  const one = await signedBy(director, -7)
  const { signers } = await verifyMessage(of([one, await signedBy(second, -8)]), expecting([root]))
  assert.equal(signers.length, 2)
  await refused(verifyMessage(of([one, await signedBy(second, -8, utf8('shut it'))]), expecting([root])), 'messageSignature')
  await refused(verifyMessage(of([one, await signedBy(director, -7)]), expecting([root])), 'messageSignerTwice')
})

/** DER of two INTEGERs as 64 octets (RFC 9053, 2.1). */
function plainForm(der: Uint8Array): Uint8Array {
  const length = der[3] ?? 0
  const [r, s] = [der.subarray(4, 4 + length), der.subarray(6 + length)]
  const fit = (integer: Uint8Array): Uint8Array => concat([new Uint8Array(32), integer]).slice(-32)
  return concat([fit(r), fit(s)])
}

test('the server signs messages through a signer that nobody else can use, and each is in the log', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-messages-'))
  const db = sqlite({ path: join(directory, 'messages.db') })
  try {
    const world = { ...systemWorld(), clock: { now: () => AT.getTime() } }
    await migrate(db, tspMigrations, world)
    const { signing, keys } = await openTestSigning(db, world)
    const { root: anchor, terms } = await testAuthority(keys, 'director', { purposes: ['documentSigning'] })
    const { timeStamps: _, ...usual } = terms
    const users = { roles: ['server:updates'], people: [] }
    await signing.signers.create({ ...usual, formats: ['cose-sign1', 'jws'], users }, 'person:olga')
    const by = onBehalf('server:updates')
    for (const form of ['cose', 'jws'] as const) {
      const made = await signMessage(signing, 'director', { ...cose, form }, by)
      assert.ok(made.state === 'signed')
      const { signers } = await verifyMessage(made.octets, expecting([anchor]))
      if (form === 'jws') {
        const pem = encodePEM('CERTIFICATE', signers[0].certificate.der)
        const { payload: read } = await compactVerify(new TextDecoder().decode(made.octets), await importX509(pem, 'ES256'))
        assert.deepEqual(new Uint8Array(read), payload)
      }
      const [entry] = await db.query('SELECT act, actor, outcome FROM audit_entry WHERE id = ?', made.entry)
      assert.deepEqual({ ...entry }, { act: 'signature.make', actor: 'server:updates', outcome: 'done' })
    }
    await refused(signMessage(signing, 'director', cose, ROBOT), 'signerNotYours')
    await refused(signMessage(signing, 'director', cose, onBehalf('server:licenses', ROBOT)), 'signerNotYours')
    await signing.signers.create(
      { ...usual, name: 'bare', key: { label: 'director', chain: [] }, formats: ['cose-sign1'], users },
      'person:olga',
    )
    await refused(signMessage(signing, 'bare', cose, by), 'messageSignerForm')
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
})
