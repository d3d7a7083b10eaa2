/** Our client against a TPM in software: sessions, policies, memory, power. @module */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import {
  checkCreation,
  checkForward,
  checkNVCertified,
  checkQuote,
  counterValue,
  trustedAttestationKey,
} from '#tpm2/attestation.ts'
import { commands } from '#tpm2/commands.ts'
import { TPM_CC } from '#tpm2/constants.ts'
import { hashOf } from '#tpm2/hash.ts'
import {
  certifyCreation,
  createKey,
  createPrimary,
  keepKey,
  loadExternal,
  loadKey,
  openKey,
  quote,
  removeKey,
  satisfyAuthValue,
  satisfySecret,
  signDigest,
  withKey,
  withPrimary,
} from '#tpm2/keys.ts'
import { handleName } from '#tpm2/name.ts'
import { certifyIndex, defineCounter, incrementCounter, openIndex, readCounter, readIndex, undefineIndex } from '#tpm2/nv.ts'
import { pcrDigest, pcrSelection } from '#tpm2/pcr.ts'
import { extendPCR, listHandles, readPCRs, readProperties } from '#tpm2/platform.ts'
import {
  authorizedPolicy,
  authorizedSession,
  type PolicyStep,
  policyAuthorize,
  policyAuthorizeNV,
  policyAuthValue,
  policyCommandCode,
  policyCounterTimer,
  policyCpHash,
  policyNameHash,
  policyDigest,
  policyLocality,
  policyNV,
  policyNvWritten,
  policyOR,
  policyPCR,
  policySecret,
  policySigned,
} from '#tpm2/policy.ts'
import { keyPartOf, publicKeyOf, signatureValueOf } from '#tpm2/public-key.ts'
import type { Session } from '#tpm2/session.ts'
import { type TPMS_NV_PUBLIC, TPMT_HA, type TPMT_PUBLIC, type TPMT_SIGNATURE } from '#tpm2/structures.ts'
import { marshal } from '#tpm2/wire.ts'
import { powerCycle } from '#tpm2/swtpm.ts'
import { attestationKey, signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies, type SessionOptions, TPM } from '#tpm2/tpm.ts'
import { openDevice } from '#tpm2/transport.ts'
import { needs } from './programs.ts'
import { makeTPM, tpmPrograms } from './swtpm.ts'

const { random } = systemWorld()
const EMPTY = new Uint8Array(0)
const { skip } = tpmPrograms
const machineOf = (t: TestContext) => makeTPM(t)

const rsaStorageKey: TPMT_PUBLIC = {
  type: 'RSA',
  nameAlg: 'SHA256',
  objectAttributes: ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'userWithAuth', 'noDA', 'restricted', 'decrypt'],
  authPolicy: EMPTY,
  parameters: {
    symmetric: { algorithm: 'AES', keyBits: 128, mode: 'CFB' },
    scheme: { scheme: 'NULL' },
    keyBits: 2048,
    exponent: 0,
  },
  unique: new Uint8Array(256),
}
const sealed = (authPolicy: Uint8Array): TPMT_PUBLIC => ({
  type: 'KEYEDHASH',
  nameAlg: 'SHA256',
  objectAttributes: ['fixedTPM', 'fixedParent', authPolicy.length === 0 ? 'userWithAuth' : 'adminWithPolicy'],
  authPolicy,
  parameters: { scheme: { scheme: 'NULL' } },
  unique: EMPTY,
})

test('R28: sessions of each kind prove and encrypt; wrong authorizations are refused', { skip }, async (t) => {
  const tpm = await (await machineOf(t)).open()
  const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  const rsa = await createPrimary(tpm, hierarchies.owner, { template: rsaStorageKey })
  const authValue = secret(concat([utf8('a long authorization'), new Uint8Array(3)])) // zeros at its end do not count
  const data = secret(random.octets(32))
  const wrapped = await createKey(tpm, srk, { template: sealed(EMPTY), authValue, data })
  const object = await loadKey(tpm, srk, wrapped, authValue)
  const kinds: Readonly<Record<string, SessionOptions>> = {
    plain: {},
    'salted, ECC': { salt: srk },
    'salted, RSA': { salt: rsa },
    bound: { bind: object },
    'bound to another': { bind: srk },
    'salted and bound': { salt: srk, bind: object },
    'SHA-384, AES-256': { salt: srk, authHash: 'SHA384', keyBits: 256 },
  }
  for (const [name, options] of Object.entries(kinds)) {
    await tpm.withSession(options, async (session) => {
      for (const encryptBy of [undefined, session]) {
        const run = encryptBy === undefined ? {} : { encryptBy }
        const { outData } = await tpm.run(commands.Unseal, { itemHandle: { ...object, session } }, run)
        assert.deepEqual(outData, data.reveal('test'), name)
      }
      // a second session that only encrypts, with the password in the clear
      const { outData } = await tpm.run(commands.Unseal, { itemHandle: object }, { encryptBy: session })
      assert.deepEqual(outData, data.reveal('test'), name)
      const { randomBytes } = await tpm.run(commands.GetRandom, { bytesRequested: 16 }, { encryptBy: session })
      assert.equal(randomBytes.length, 16)
    })
    await tpm.withSession(options, async (session) => {
      await tpm.withSession({ salt: srk }, async (encryptBy) => {
        const { outData } = await tpm.run(commands.Unseal, { itemHandle: { ...object, session } }, { encryptBy })
        assert.deepEqual(outData, data.reveal('test'), `${name}, another encrypts`)
      })
    })
  }
  const wrong = { ...object, authValue: secret(utf8('another')) }
  await assert.rejects(tpm.run(commands.Unseal, { itemHandle: wrong }), { code: 'forbidden', reason: 'tpmAuthorization' })
  await tpm.withSession({ salt: srk }, async (session) => {
    await assert.rejects(tpm.run(commands.Unseal, { itemHandle: { ...wrong, session } }), { code: 'forbidden' })
    // a refusal does not break the session
    assert.equal((await tpm.run(commands.Unseal, { itemHandle: { ...object, session } })).outData.length, 32)
  })
  await tpm.flush(object)
  // the secret is made, and its authorization sent, encrypted
  await tpm.withSession({ salt: srk }, async (session) => {
    const hidden = await createKey(tpm, { ...srk, session }, { template: sealed(EMPTY), authValue, data, encryptBy: session })
    await withKey(tpm, srk, { ...hidden, authValue }, async (itemHandle) => {
      assert.deepEqual((await tpm.run(commands.Unseal, { itemHandle })).outData, data.reveal('test'))
    })
  })
  assert.deepEqual(await listHandles(tpm, 0x02000000), [])
})

describe('policies: the TPM computes the digest that we compute', { skip }, () => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const officer = importPublicKey(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))
  const part = keyPartOf(officer)
  assert.ok(part.type === 'ECC')
  const officerArea: TPMT_PUBLIC = {
    type: 'ECC',
    nameAlg: 'SHA256',
    objectAttributes: ['userWithAuth', 'sign'],
    authPolicy: EMPTY,
    parameters: {
      symmetric: { algorithm: 'NULL' },
      scheme: { scheme: 'ECDSA', details: { hashAlg: 'SHA256' } },
      curveID: part.curveID,
      kdf: { scheme: 'NULL' },
    },
    unique: part.unique,
  }
  const signatureOf = (message: Uint8Array): TPMT_SIGNATURE => {
    const octets = new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
    const [signatureR, signatureS] = [octets.subarray(0, 32), octets.subarray(32)]
    return { sigAlg: 'ECDSA', signature: { hash: 'SHA256', signatureR, signatureS } }
  }

  test('each step alone, a chain, and what they open', { skip }, async (t) => {
    const tpm = await (await machineOf(t)).open()
    const counter = await defineCounter(tpm, { nvIndex: 0x01800010 })
    const value = await readCounter(tpm, counter)
    const operandB = new Uint8Array(8)
    new DataView(operandB.buffer).setBigUint64(0, value)
    const pcrs = await readPCRs(tpm, 'SHA256', [0, 7])
    const selection = pcrSelection('SHA256', [0, 7])
    const policyRef = utf8('see.kek.v1')
    const hash = random.octets(32)
    let signer = await loadExternal(tpm, officerArea)
    const empty = { cpHashA: EMPTY, expiration: 0 }
    const branches = [
      policyDigest('SHA256', policyAuthValue),
      policyDigest('SHA256', policyPCR(selection, pcrDigest('SHA256', pcrs))),
    ]
    const runs: Readonly<Record<string, readonly [PolicyStep, (policySession: Session) => Promise<unknown>]>> = {
      PolicyPCR: [
        policyPCR(selection, pcrDigest('SHA256', pcrs)),
        (policySession) => tpm.run(commands.PolicyPCR, { policySession, pcrDigest: EMPTY, pcrs: selection }),
      ],
      PolicyOR: [policyOR(...branches), (policySession) => tpm.run(commands.PolicyOR, { policySession, pHashList: branches })],
      PolicyAuthValue: [policyAuthValue, (policySession) => satisfyAuthValue(tpm, policySession)],
      PolicySecret: [
        policySecret(hierarchies.endorsement.name),
        (policySession) => satisfySecret(tpm, policySession, hierarchies.endorsement),
      ],
      PolicySigned: [
        policySigned(signer.name, policyRef),
        (policySession) => {
          const auth = signatureOf(authorizedSession({ nonceTPM: policySession.nonceTPM, policyRef }))
          const { nonceTPM } = policySession
          return tpm.run(commands.PolicySigned, { authObject: signer, policySession, nonceTPM, policyRef, auth, ...empty })
        },
      ],
      PolicyNV: [
        policyNV(counter.name, operandB, 0, 'UNSIGNED_LE'),
        (policySession) =>
          tpm.run(commands.PolicyNV, {
            authHandle: counter,
            nvIndex: counter,
            policySession,
            operandB,
            offset: 0,
            operation: 'UNSIGNED_LE',
          }),
      ],
      PolicyCommandCode: [
        policyCommandCode('Unseal'),
        (policySession) => tpm.run(commands.PolicyCommandCode, { policySession, code: TPM_CC.Unseal }),
      ],
      PolicyCounterTimer: [
        policyCounterTimer(new Uint8Array(8), 0, 'UNSIGNED_GE'),
        (policySession) =>
          tpm.run(commands.PolicyCounterTimer, {
            policySession,
            operandB: new Uint8Array(8),
            offset: 0,
            operation: 'UNSIGNED_GE',
          }),
      ],
      PolicyLocality: [policyLocality(1), (policySession) => tpm.run(commands.PolicyLocality, { policySession, locality: 1 })],
      PolicyCpHash: [policyCpHash(hash), (policySession) => tpm.run(commands.PolicyCpHash, { policySession, cpHashA: hash })],
      PolicyNameHash: [
        policyNameHash(hash),
        (policySession) => tpm.run(commands.PolicyNameHash, { policySession, nameHash: hash }),
      ],
      PolicyNvWritten: [
        policyNvWritten(true),
        (policySession) => tpm.run(commands.PolicyNvWritten, { policySession, writtenSet: true }),
      ],
    }
    for (const [name, [step, satisfy]] of Object.entries(runs)) {
      // PolicyOR is satisfied only where one branch is; a trial session takes it as it is
      await tpm.withSession({ kind: name === 'PolicyOR' ? 'TRIAL' : 'POLICY' }, async (policySession) => {
        await satisfy(policySession)
        const found = await tpm.run(commands.PolicyGetDigest, { policySession })
        assert.equal(found.policyDigest.toHex(), policyDigest('SHA256', step).toHex(), name)
      })
    }
    const chain = ['PolicyPCR', 'PolicyNV', 'PolicySigned', 'PolicyCommandCode', 'PolicyAuthValue'].map((name) => runs[name])
    const authPolicy = policyDigest('SHA256', ...chain.flatMap((run) => run?.[0] ?? []))
    const satisfied = async (policySession: Session): Promise<void> => {
      for (const run of chain) await run?.[1](policySession)
    }
    const authValue = secret(utf8('and its own'))
    const data = secret(random.octets(16))
    await tpm.flush(signer) // three places, and the parent needs one
    await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, async (srk) => {
      const wrapped = await createKey(tpm, srk, { template: sealed(authPolicy), authValue, data })
      await withKey(tpm, srk, { ...wrapped, authValue }, async (itemHandle) => {
        signer = await loadExternal(tpm, officerArea)
        await tpm.withSession({ kind: 'POLICY', salt: srk }, async (session) => {
          await assert.rejects(tpm.run(commands.Unseal, { itemHandle: { ...itemHandle, session } }), { reason: 'tpmPolicy' })
          for (let times = 0; times < 2; times++) {
            await satisfied(session)
            const { outData } = await tpm.run(commands.Unseal, { itemHandle: { ...itemHandle, session } }, { encryptBy: session })
            assert.deepEqual(outData, data.reveal('test'))
          }
          // one more count, and the ceiling of the policy is below
          await incrementCounter(tpm, counter)
          await assert.rejects(satisfied(session), { code: 'policyRefused', reason: 'tpmPolicy' })
        })
        await tpm.flush(signer)
      })
    })
  })

  test('PolicyAuthorizeNV opens for what an index holds', { skip }, async (t) => {
    const tpm = await (await machineOf(t)).open()
    const nvIndex = 0x01800020
    const publicInfo: TPMS_NV_PUBLIC = {
      nvIndex,
      nameAlg: 'SHA256',
      attributes: { TPM_NT: 'ORDINARY', bits: ['OWNERWRITE', 'AUTHREAD', 'NO_DA'] },
      authPolicy: EMPTY,
      dataSize: 34,
    }
    await tpm.run(commands.NV_DefineSpace, { authHandle: hierarchies.owner, auth: EMPTY, publicInfo })
    const digest = policyDigest('SHA256', policyCommandCode('Unseal'))
    const data = marshal(TPMT_HA, { hashAlg: 'SHA256', digest })
    const fresh = await openIndex(tpm, nvIndex)
    await assert.rejects(readIndex(tpm, fresh), { facts: { command: 'NV_Read', code: 'TPM_RC_NV_UNINITIALIZED', at: '' } })
    await assert.rejects(tpm.run(commands.NV_Write, { authHandle: fresh, nvIndex: fresh, data, offset: 0 }), {
      code: 'forbidden',
    })
    await tpm.run(commands.NV_Write, { authHandle: hierarchies.owner, nvIndex: fresh, data, offset: 0 })
    const index = await openIndex(tpm, nvIndex)
    assert.deepEqual(await readIndex(tpm, index), data)
    await tpm.withSession({ kind: 'POLICY' }, async (policySession) => {
      const authorize = () => tpm.run(commands.PolicyAuthorizeNV, { authHandle: index, nvIndex: index, policySession })
      await assert.rejects(authorize(), { facts: { command: 'PolicyAuthorizeNV', code: 'TPM_RC_VALUE', at: '' } })
      await tpm.run(commands.PolicyCommandCode, { policySession, code: TPM_CC.Unseal })
      await authorize()
      const found = await tpm.run(commands.PolicyGetDigest, { policySession })
      assert.deepEqual(found.policyDigest, policyDigest('SHA256', policyAuthorizeNV(index.name)))
    })
  })

  test('PolicyAuthorize opens for what its key signed, and only that', { skip }, async (t) => {
    const tpm = await (await machineOf(t)).open()
    const policyRef = utf8('release')
    const keySign = await loadExternal(tpm, officerArea)
    const approvedPolicy = policyDigest('SHA256', policyCommandCode('Unseal'))
    const message = authorizedPolicy(approvedPolicy, policyRef)
    const { validation } = await tpm.run(commands.VerifySignature, {
      keyHandle: keySign,
      digest: hashOf('SHA256', message),
      signature: signatureOf(message),
    })
    await assert.rejects(
      tpm.run(commands.VerifySignature, {
        keyHandle: keySign,
        digest: hashOf('SHA256', message),
        signature: signatureOf(policyRef),
      }),
      { code: 'badProof' },
    )
    await tpm.withSession({ kind: 'POLICY' }, async (policySession) => {
      await tpm.run(commands.PolicyCommandCode, { policySession, code: TPM_CC.Unseal })
      await tpm.run(commands.PolicyAuthorize, {
        policySession,
        approvedPolicy,
        policyRef,
        keySign: keySign.name,
        checkTicket: validation,
      })
      const found = await tpm.run(commands.PolicyGetDigest, { policySession })
      assert.deepEqual(found.policyDigest, policyDigest('SHA256', policyAuthorize(keySign.name, policyRef)))
    })
  })
})

test('R15: a counter counts up, is certified, and goes on above where another ended', { skip }, async (t) => {
  const machine = await machineOf(t)
  const tpm = await machine.open()
  const authValue = secret(random.octets(32))
  const nvIndex = 0x01800001
  const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  const counter = await tpm.withSession({ salt: srk }, (encryptBy) => defineCounter(tpm, { nvIndex, authValue, encryptBy }))
  const first = await readCounter(tpm, counter)
  await tpm.withSession({ salt: srk, bind: counter }, async (session) => {
    assert.equal(await incrementCounter(tpm, { ...counter, session }), first + 1n)
    assert.equal(await incrementCounter(tpm, { ...counter, session }), first + 2n)
  })
  await assert.rejects(defineCounter(tpm, { nvIndex, authValue }), { code: 'conflict', reason: 'tpmExists' })
  await assert.rejects(incrementCounter(tpm, await openIndex(tpm, nvIndex)), { code: 'forbidden' })
  await assert.rejects(openIndex(tpm, 0x01800002), { code: 'notFound' })

  const ak = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
  const key = trustedAttestationKey(ak.publicArea)
  const nonce = random.octets(16)
  const statement = await certifyIndex(tpm, { index: counter, by: ak, nonce })
  const { contents, clockInfo } = await checkNVCertified(statement, key, { index: counter.publicArea, nonce })
  assert.equal(counterValue(contents), first + 2n)
  const elsewhere = { ...counter.publicArea, nvIndex: nvIndex + 1 }
  await assert.rejects(checkNVCertified(statement, key, { index: elsewhere, nonce }), { reason: 'attestationOther' })

  await undefineIndex(tpm, counter)
  const next = await defineCounter(tpm, { nvIndex, authValue })
  assert.ok((await readCounter(tpm, next)) > first + 2n)

  // power goes, as told before: the same index goes on, and the TPM says that it was reset
  await tpm.run(commands.Shutdown, { shutdownType: 'CLEAR' })
  await powerCycle(machine.control)
  await tpm.startup()
  const kept = await openIndex(tpm, nvIndex, authValue)
  const before = await readCounter(tpm, kept)
  assert.equal(await incrementCounter(tpm, kept), before + 1n)
  const again = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
  assert.deepEqual(again.publicArea, ak.publicArea)
  const later = await certifyIndex(tpm, { index: kept, by: again, nonce })
  const said = await checkNVCertified(later, key, { index: kept.publicArea, nonce })
  checkForward(clockInfo, said.clockInfo)
  assert.throws(() => checkForward(said.clockInfo, clockInfo), { reason: 'tpmWentBack' })
})

test('R16: keys are kept, saved, certified with their creation, and removed', { skip }, async (t) => {
  const tpm = await (await machineOf(t)).open()
  assert.equal((await readProperties(tpm)).manufacturer, 'IBM')
  const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  const ak = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey({ curve: 'NIST_P384' }) })
  const outsideInfo = utf8('order 7')
  const wrapped = await createKey(tpm, srk, { template: signingKey(), outsideInfo, creationPCR: pcrSelection('SHA256', [7]) })
  const loaded = await loadKey(tpm, srk, wrapped)
  const kept = await keepKey(tpm, hierarchies.owner, loaded, 0x81000100)
  await assert.rejects(keepKey(tpm, hierarchies.owner, loaded, 0x81000100), { code: 'conflict' })
  assert.ok((await listHandles(tpm, 0x81000000)).includes(kept.handle))

  const nonce = random.octets(16)
  const statement = await certifyCreation(tpm, { object: loaded, creation: wrapped, by: ak, nonce })
  const key = trustedAttestationKey(ak.publicArea)
  const { creationData } = wrapped
  const { creation } = await checkCreation(statement, key, { certified: wrapped.outPublic, creationData, nonce })
  assert.deepEqual(creation.outsideInfo, outsideInfo)
  assert.deepEqual(creation.parentName, srk.name)
  const other = creationData.slice()
  other[other.length - 1] = (other.at(-1) as number) ^ 1
  await assert.rejects(checkCreation(statement, key, { certified: wrapped.outPublic, creationData: other, nonce }), {
    reason: 'attestationOther',
  })
  await tpm.flush(loaded)

  const message = utf8('to be signed')
  const opened = await openKey(tpm, kept.handle)
  const signature = await signDigest(tpm, opened, createHash('sha256').update(message).digest())
  const octets = signatureValueOf(signature)
  assert.equal(await verifySignature({ algorithm: 'ecdsa-sha256', octets }, publicKeyOf(wrapped.outPublic), message), true)
  await assert.rejects(signDigest(tpm, opened, new Uint8Array(20)), { code: 'unsupported', reason: 'tpmRefused' })

  // saved, its place given away, and loaded again
  const { context } = await tpm.run(commands.ContextSave, { saveHandle: ak })
  await tpm.flush(ak)
  const { loadedHandle } = await tpm.run(commands.ContextLoad, { context })
  assert.deepEqual((await openKey(tpm, loadedHandle)).name, ak.name)
  await removeKey(tpm, hierarchies.owner, opened)
  await assert.rejects(openKey(tpm, kept.handle), { code: 'notFound', reason: 'tpmMissing' })

  // a restricted key signs what the TPM hashed, and nothing that looks like a statement
  const by = { ...ak, handle: loadedHandle }
  const asked = { hashAlg: 'SHA384', hierarchy: 'ENDORSEMENT' } as const
  const { outHash, validation } = await tpm.run(commands.Hash, { data: message, ...asked })
  await tpm.run(commands.Sign, { keyHandle: by, digest: outHash, inScheme: { scheme: 'NULL' }, validation })
  const forged = await tpm.run(commands.Hash, { data: statement.attest, ...asked })
  await assert.rejects(
    tpm.run(commands.Sign, {
      keyHandle: by,
      digest: forged.outHash,
      inScheme: { scheme: 'NULL' },
      validation: forged.validation,
    }),
    { reason: 'tpmProof' },
  )
})

test('R33: a quote tells what was measured, and clearing takes the keys away', { skip }, async (t) => {
  const tpm = await (await machineOf(t)).open()
  const ak = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
  const key = trustedAttestationKey(ak.publicArea)
  const nonce = random.octets(32)
  const registers = [...Array(24).keys()]
  const expected = await readPCRs(tpm, 'SHA256', registers)
  const selection = pcrSelection('SHA256', registers)
  await checkQuote(await quote(tpm, { selection, by: ak, nonce }), key, { expected, nonce })
  const measured = hashOf('SHA256', utf8('another image'))
  await extendPCR(tpm, 13, 'SHA256', measured)
  const changed = await quote(tpm, { selection, by: ak, nonce })
  await assert.rejects(checkQuote(changed, key, { expected, nonce }), { code: 'policyRefused', reason: 'quoteDigest' })
  const values = new Map(expected.values)
  values.set(13, hashOf('SHA256', expected.values.get(13) ?? EMPTY, measured))
  await checkQuote(changed, key, { expected: { hash: 'SHA256', values }, nonce })
  const fewer = await quote(tpm, { selection: pcrSelection('SHA256', [0]), by: ak, nonce })
  await assert.rejects(checkQuote(fewer, key, { expected, nonce }), { reason: 'quoteSelection' })
  await assert.rejects(readPCRs(tpm, 'SHA512', [0]), { code: 'notFound' })
  await tpm.run(commands.PCR_Reset, { pcrHandle: { handle: 23, name: handleName(23) } })
  await tpm.flush(ak)

  const srk = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  const wrapped = await createKey(tpm, srk, { template: signingKey() })
  await tpm.run(commands.Clear, { authHandle: hierarchies.lockout })
  const after = await createPrimary(tpm, hierarchies.owner, { template: storageRootKey })
  assert.notDeepEqual(after.name, srk.name)
  await assert.rejects(loadKey(tpm, after, wrapped), { code: 'badProof', reason: 'tpmProof' })
  // the endorsement seed stays, and with it the attestation key
  assert.deepEqual((await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })).name, ak.name)
})

const socat = needs('socat')
test(
  'over a device file, here a terminal without echo; a device that is silent is left',
  { skip: skip || socat.skip },
  async (t) => {
    const machine = await machineOf(t)
    if (!('path' in machine.server)) throw new Error('over a socket')
    const device = machine.file('device')
    const child = spawn(socat.path('socat'), [`PTY,link=${device},raw,echo=0`, `UNIX-CONNECT:${machine.server.path}`])
    const ended = once(child, 'close')
    t.after(async () => {
      child.kill()
      await ended
    })
    while (!existsSync(device)) await pause(10)
    const transport = await openDevice(device)
    const tpm = new TPM(transport, random)
    await tpm.startup()
    await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, async (srk) => {
      await tpm.withSession({ salt: srk }, async (encryptBy) => {
        const { randomBytes } = await tpm.run(commands.GetRandom, { bytesRequested: 32 }, { encryptBy })
        assert.equal(randomBytes.length, 32)
      })
    })
    child.kill('SIGSTOP')
    const asked = transport.exchange(Uint8Array.fromHex('80010000000c0000017b0008'), { name: 'GetRandom', limitSeconds: 0.2 })
    await assert.rejects(asked, { code: 'unavailable', reason: 'tpmSilent' })
    child.kill('SIGCONT')
    await assert.rejects(tpm.run(commands.GetRandom, { bytesRequested: 8 }), { reason: 'tpmUnreachable' })
  },
)

test('a full TPM is told from a broken one, and its places come back', { skip }, async (t) => {
  const tpm = await (await machineOf(t)).open()
  const fill = async (made: number): Promise<void> => {
    await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, () => (made > 8 ? Promise.resolve() : fill(made + 1)))
  }
  await assert.rejects(fill(0), { code: 'quotaExceeded', reason: 'tpmFull' })
  assert.deepEqual(await listHandles(tpm, 0x80000000), [])
  const { currentTime } = await tpm.run(commands.ReadClock, {})
  assert.ok(currentTime.time > 0n)
})
