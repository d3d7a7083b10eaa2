/** A device's key in a TPM makes a request that openssl takes, and comes back after power was lost. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { encodePEM } from '#asn1/pem.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import { createKey, keepKey, withKey, withPrimary } from '#tpm2/keys.ts'
import { listHandles } from '#tpm2/platform.ts'
import { openSigner } from '#tpm2/signer.ts'
import type { TPMT_PUBLIC } from '#tpm2/structures.ts'
import { powerCycle } from '#tpm2/swtpm.ts'
import { signingKey, storageRootKey } from '#tpm2/templates.ts'
import { hierarchies } from '#tpm2/tpm.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { nameOf } from '#x509/name.ts'
import { needs } from './programs.ts'
import { makeTPM, tpmPrograms } from './swtpm.ts'

const { random } = systemWorld()
const openssl = needs('openssl')
const skip = tpmPrograms.skip || openssl.skip

test('R4: a key in a TPM signs as a store of keys would', { skip }, async (t) => {
  const machine = await makeTPM(t)
  const tpm = await machine.open()
  const authValue = secret(random.octets(32))
  const persistentHandle = 0x81000200
  const rsa: TPMT_PUBLIC = {
    type: 'RSA',
    nameAlg: 'SHA256',
    objectAttributes: signingKey().objectAttributes,
    authPolicy: new Uint8Array(0),
    parameters: { symmetric: { algorithm: 'NULL' }, scheme: { scheme: 'NULL' }, keyBits: 2048, exponent: 0 },
    unique: new Uint8Array(0),
  }
  const [wrapped, wrappedRSA] = await withPrimary(tpm, hierarchies.owner, { template: storageRootKey }, async (srk) => {
    const key = await createKey(tpm, srk, { template: signingKey(), authValue })
    await withKey(tpm, srk, key, (loaded) => keepKey(tpm, hierarchies.owner, loaded, persistentHandle))
    return [key, await createKey(tpm, srk, { template: rsa })]
  })

  const message = utf8('to be signed')
  for (const key of [{ wrapped }, { persistentHandle }]) {
    const opened = await openSigner(tpm, { label: 'device', key, authValue })
    const signer: Signer = opened
    const request = await encodeCertificationRequest(
      { subject: nameOf([{ type: 'CN', value: 'Press 7' }]), publicKey: signer.publicKey },
      { signatureAlgorithm: 'ecdsa-sha256', sign: (octets) => signer.sign(octets, 'ecdsa-sha256') },
    )
    writeFileSync(machine.file('request.pem'), encodePEM('CERTIFICATE REQUEST', request))
    const words = ['req', '-in', machine.file('request.pem'), '-verify', '-noout']
    const { stderr } = await promisify(execFile)(openssl.path('openssl'), words)
    assert.match(stderr, /verify OK/)
    await assert.rejects(signer.sign(message, 'ecdsa-sha384'), { code: 'unsupported', reason: 'signerFamily' })
    await assert.rejects(signer.sign(message, 'rsa-sha256'), { code: 'unsupported' })
    await assert.rejects(opened.signDigest(new Uint8Array(20), 'ecdsa-sha256'), { code: 'malformed', reason: 'digestLength' })

    // power is lost: what was loaded is gone, and the signer finds it again
    await powerCycle(machine.control)
    await tpm.startup()
    const octets = await signer.sign(message, 'ecdsa-sha256')
    const publicKey = importPublicKey(signer.publicKey)
    assert.equal(await verifySignature({ algorithm: 'ecdsa-sha256', octets }, publicKey, message), true)
    await opened.close()
    assert.deepEqual(await listHandles(tpm, 0x80000000), [])
  }

  const wrong = await openSigner(tpm, { label: 'device', key: { persistentHandle }, authValue: secret(random.octets(32)) })
  await assert.rejects(wrong.sign(message, 'ecdsa-sha256'), { code: 'forbidden', reason: 'tpmAuthorization' })

  const other = await openSigner(tpm, { label: 'rsa', key: { wrapped: wrappedRSA } })
  for (const algorithm of ['rsa-sha256', 'rsa-sha384', 'rsa-sha512'] as const) {
    const octets = await other.sign(message, algorithm)
    assert.equal(await verifySignature({ algorithm, octets }, importPublicKey(other.publicKey), message), true)
  }
  await assert.rejects(other.sign(message, 'rsa-pss-sha256'), { code: 'unsupported' })
  await other.close()

  // the blob is worth nothing beside another TPM, and neither is a key made elsewhere
  const thief = await (await makeTPM(t, { another: true })).open()
  await assert.rejects(openSigner(thief, { label: 'device', key: { wrapped }, authValue }), {
    code: 'badProof',
    reason: 'tpmProof',
  })
  assert.deepEqual(await listHandles(thief, 0x80000000), [])
  await assert.rejects(openSigner(thief, { label: 'device', key: { persistentHandle }, authValue }), { code: 'notFound' })
})
