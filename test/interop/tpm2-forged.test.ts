/** Who sits between us and the TPM, and who has another TPM or none: what they send is refused. @module */
import assert from 'node:assert/strict'
import { createServer, connect, type Server } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { checkCertified, checkQuote, type Statement, trustedAttestationKey } from '#tpm2/attestation.ts'
import { commands } from '#tpm2/commands.ts'
import { makeCredential } from '#tpm2/credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey } from '#tpm2/endorsement.ts'
import { activateCredential, certify, createKey, createPrimary, quote, withKey, withPrimary } from '#tpm2/keys.ts'
import { defineCounter, incrementCounter, readCounter } from '#tpm2/nv.ts'
import { pcrSelection } from '#tpm2/pcr.ts'
import { readEndorsement, readPCRs } from '#tpm2/platform.ts'
import { keyPartOf } from '#tpm2/public-key.ts'
import type { TPMT_PUBLIC } from '#tpm2/structures.ts'
import { attestationKey, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies, TPM } from '#tpm2/tpm.ts'
import { openSocket } from '#tpm2/transport.ts'
import { generateKey } from '#algorithms/private-key.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import { makeTPM, type SoftwareTPM, tpmPrograms } from './swtpm.ts'

const { random } = systemWorld()
const { skip } = tpmPrograms
const EMPTY = new Uint8Array(0)
const flipped = (octets: Uint8Array, at: number, mask = 1): Uint8Array =>
  octets.map((octet, i) => (i === at ? octet ^ mask : octet))

/** Hears everything, and changes what it is told to. */
interface Between {
  readonly tpm: TPM
  readonly heard: Uint8Array[]
  onCommand: (octets: Uint8Array) => Uint8Array
  onAnswer: (octets: Uint8Array) => Uint8Array
}

async function sitBetween(t: TestContext, machine: SoftwareTPM): Promise<Between> {
  if (!('path' in machine.server)) throw new Error('over a socket')
  const { path } = machine.server
  const between = join(machine.directory, 'between.sock')
  const heard: Uint8Array[] = []
  const same = (octets: Uint8Array): Uint8Array => octets
  const told = { heard, onCommand: same, onAnswer: same }
  const server: Server = createServer((near) => {
    const far = connect({ path })
    near.on('data', (chunk: Buffer) => {
      heard.push(new Uint8Array(chunk))
      far.write(told.onCommand(new Uint8Array(chunk)))
    })
    far.on('data', (chunk: Buffer) => {
      heard.push(new Uint8Array(chunk))
      near.write(told.onAnswer(new Uint8Array(chunk)))
    })
    for (const [one, another] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.on('close', () => another.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(between, resolve))
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())))
  const tpm = new TPM(await openSocket({ path: between }), random)
  t.after(() => tpm.close())
  await tpm.startup()
  return Object.assign(told, { tpm })
}

test('R16: a listener reads no secret, and whatever is changed on the way is found', { skip }, async (t) => {
  const between = await sitBetween(t, await makeTPM(t))
  const { tpm, heard } = between
  const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  const template: TPMT_PUBLIC = {
    type: 'KEYEDHASH',
    nameAlg: 'SHA256',
    objectAttributes: ['fixedTPM', 'fixedParent', 'userWithAuth'],
    authPolicy: EMPTY,
    parameters: { scheme: { scheme: 'NULL' } },
    unique: EMPTY,
  }
  const data = secret(random.octets(32))
  const authValue = secret(random.octets(16))
  const isHeard = ({ reveal }: typeof data): boolean => Buffer.concat(heard).includes(reveal('test'))
  await tpm.withSession({ salt: srk }, async (session) => {
    const wrapped = await createKey(tpm, { ...srk, session }, { template, data, authValue, encryptBy: session })
    await withKey(tpm, srk, { ...wrapped, authValue }, async (object) => {
      const { outData } = await tpm.run(commands.Unseal, { itemHandle: { ...object, session } }, { encryptBy: session })
      assert.deepEqual(outData, data.reveal('test'))
      assert.equal(isHeard(data) || isHeard(authValue), false)
      await tpm.run(commands.Unseal, { itemHandle: object }) // the listener does hear what is not hidden
      assert.equal(isHeard(data) && isHeard(authValue), true)
    })
  })

  // every octet of an answer
  let octets = 0
  await tpm.withSession({ salt: srk }, async (encryptBy) => {
    between.onAnswer = (answer) => {
      octets = answer.length
      return answer
    }
    await tpm.run(commands.GetRandom, { bytesRequested: 8 }, { encryptBy })
  })
  for (let at = 0; at < octets; at++) {
    between.onAnswer = (answer) => answer
    const session = await tpm.startSession({ salt: srk })
    // sizes that grow would be waited for: that is the time limit's matter
    if (at >= 2 && at < 6) {
      await tpm.flush(session)
      continue
    }
    between.onAnswer = (answer) => flipped(answer, at)
    await assert.rejects(
      tpm.run(commands.GetRandom, { bytesRequested: 8 }, { encryptBy: session }),
      (error) => error instanceof TrustError && error.code !== 'internal',
      `octet ${at}`,
    )
    between.onAnswer = (answer) => answer
    await tpm.flush(session)
  }

  // and a command that would count
  const counter = await defineCounter(tpm, { nvIndex: 0x01800001, authValue })
  const before = await readCounter(tpm, counter)
  await tpm.withSession({ salt: srk }, async (session) => {
    between.onCommand = (command) => flipped(command, command.length - 1)
    await assert.rejects(incrementCounter(tpm, { ...counter, session }), { code: 'forbidden', reason: 'tpmAuthorization' })
    between.onCommand = (command) => command
    between.onAnswer = (answer) => flipped(answer, answer.length - 1)
    await assert.rejects(incrementCounter(tpm, { ...counter, session }), { code: 'badProof', reason: 'tpmAnswerForged' })
    between.onAnswer = (answer) => answer
  })
  assert.equal(await readCounter(tpm, counter), before + 1n)
  // an answer of before
  await tpm.withSession({ salt: srk }, async (session) => {
    let kept: Uint8Array | undefined
    between.onAnswer = (answer) => (kept ??= answer)
    await tpm.run(commands.NV_Read, { authHandle: { ...counter, session }, nvIndex: counter, size: 8, offset: 0 })
    await assert.rejects(
      tpm.run(commands.NV_Read, { authHandle: { ...counter, session }, nvIndex: counter, size: 8, offset: 0 }),
      { reason: 'tpmAnswerForged' },
    )
    between.onAnswer = (answer) => answer
  })
})

test('R4: another TPM, a key of software, an old nonce, a foreign maker', { skip }, async (t) => {
  const [here, there] = [await makeTPM(t), await makeTPM(t, { another: true })]
  const [mine, theirs] = [await here.open(), await there.open()]
  const own = await readEndorsement(mine)
  const rules = { at: new Date('2026-12-01T00:00:00Z'), intermediates: here.issuers }
  const endorsed = await checkEndorsementCertificate(own.certificate, { ...rules, anchors: here.anchors })
  await assert.rejects(checkEndorsementCertificate(own.certificate, { ...rules, anchors: there.anchors }), {
    code: 'policyRefused',
    reason: 'endorsementUntrusted',
  })
  await assert.rejects(checkEndorsementCertificate(here.issuers[0] ?? EMPTY, { ...rules, anchors: here.anchors }), {
    reason: 'endorsementCertificate',
  })
  const foreign = await readEndorsement(theirs)
  assert.throws(() => checkEndorsementKey(foreign.key.publicArea, endorsed), { reason: 'endorsementKeyOther' })

  const ak = await createPrimary(mine, hierarchies.endorsement, { template: attestationKey() })
  const otherAK = await createPrimary(theirs, hierarchies.endorsement, { template: attestationKey() })
  const credential = random.octets(32)
  // the challenge is for their key beside my endorsement key
  const challenge = await makeCredential({ endorsementKey: own.key.publicArea, objectName: otherAK.name, credential }, random)
  await assert.rejects(activateCredential(mine, { object: ak, endorsementKey: own.key }, challenge), { reason: 'tpmProof' })
  await assert.rejects(activateCredential(theirs, { object: otherAK, endorsementKey: foreign.key }, challenge), {
    name: 'TrustError',
  })
  const right = await makeCredential({ endorsementKey: own.key.publicArea, objectName: ak.name, credential }, random)
  const { credentialBlob, secret: encrypted } = right
  const bent = { ...right, credentialBlob: { ...credentialBlob, encIdentity: flipped(credentialBlob.encIdentity, 5) } }
  await assert.rejects(activateCredential(mine, { object: ak, endorsementKey: own.key }, bent), { reason: 'tpmProof' })
  const bentSecret = { ...right, secret: flipped(encrypted, encrypted.length - 1) }
  await assert.rejects(activateCredential(mine, { object: ak, endorsementKey: own.key }, bentSecret), { name: 'TrustError' })
  assert.deepEqual((await activateCredential(mine, { object: ak, endorsementKey: own.key }, right)).reveal('test'), credential)
  await mine.flush(own.key)

  const nonce = random.octets(20)
  const [wrapped, statement] = await withPrimary(mine, hierarchies.owner, { template: storageRootKey }, async (srk) => {
    const made = await createKey(mine, srk, { template: signingKey() })
    return [made, await withKey(mine, srk, made, (object) => certify(mine, { object, by: ak, nonce }))] as const
  })
  const key = trustedAttestationKey(ak.publicArea)
  const certified = wrapped.outPublic
  await checkCertified(statement, key, { certified, nonce })

  await assert.rejects(checkCertified(statement, trustedAttestationKey(otherAK.publicArea), { certified, nonce }), {
    code: 'badProof',
    reason: 'attestationSignature',
  })
  await assert.rejects(checkCertified(statement, key, { certified, nonce: random.octets(20) }), { reason: 'attestationNonce' })
  await assert.rejects(checkCertified(statement, key, { certified: ak.publicArea, nonce }), { reason: 'attestationOther' })

  // a key of software in a public area that claims the best
  const pair = await generateKey('ecdsa-p256')
  const spki = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }))
  const part = keyPartOf(importPublicKey(spki))
  assert.ok(part.type === 'ECC' && certified.type === 'ECC')
  const claimed: TPMT_PUBLIC = { ...certified, unique: part.unique }
  await assert.rejects(checkCertified(statement, key, { certified: claimed, nonce }), { reason: 'attestationOther' })
  // and the TPM's word for keys that may leave it
  const exportable: TPMT_PUBLIC = { ...signingKey(), objectAttributes: ['sensitiveDataOrigin', 'userWithAuth', 'sign'] }
  const [leaving, said] = await withPrimary(mine, hierarchies.owner, { template: storageRootKey }, async (srk) => {
    const made = await createKey(mine, srk, { template: exportable })
    return [made, await withKey(mine, srk, made, (object) => certify(mine, { object, by: ak, nonce }))] as const
  })
  await assert.rejects(checkCertified(said, key, { certified: leaving.outPublic, nonce }), {
    code: 'policyRefused',
    reason: 'keyNotResident',
  })
  assert.throws(() => trustedAttestationKey(certified), { code: 'policyRefused', reason: 'attestationKey' }) // not restricted

  const expected = await readPCRs(mine, 'SHA256', [0, 7])
  const quoted = await quote(mine, { selection: pcrSelection('SHA256', [0, 7]), by: ak, nonce })
  await checkQuote(quoted, key, { expected, nonce })
  await assert.rejects(checkCertified(quoted, key, { certified, nonce }), { reason: 'attestationOther' })
  await assert.rejects(checkQuote(statement, key, { expected, nonce }), { reason: 'attestationOther' })

  const judges: readonly [Statement, (changed: Statement) => Promise<unknown>][] = [
    [statement, (changed) => checkCertified(changed, key, { certified, nonce })],
    [quoted, (changed) => checkQuote(changed, key, { expected, nonce })],
  ]
  for (const [right, judge] of judges) {
    for (const part of ['attest', 'signature'] as const) {
      for (let at = 0; at < right[part].length; at++) {
        const changed = { ...right, [part]: flipped(right[part], at) }
        await assert.rejects(judge(changed), (error) => error instanceof TrustError && error.code !== 'internal', `${part} ${at}`)
      }
      await assert.rejects(judge({ ...right, [part]: concat([right[part], Uint8Array.of(0)]) }), { code: 'malformed' })
    }
  }
})
