import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createPublicKey } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { systemWorld } from '#base/world.ts'
import {
  checkCertified,
  checkCreation,
  checkForward,
  checkNVCertified,
  checkQuote,
  checkResident,
  counterValue,
  trustedAttestationKey,
} from './attestation.ts'
import { makeCredential } from './credential.ts'
import { checkEndorsementCertificate, checkEndorsementKey, parseEndorsementCertificate } from './endorsement.ts'
import { objectName } from './name.ts'
import { pcrSelection } from './pcr.ts'
import { keyPartOf, publicKeyOf, subjectPublicKeyInfoOf } from './public-key.ts'
import { TPMS_NV_PUBLIC, type TPMT_PUBLIC } from './structures.ts'
import { signingKey } from './templates.ts'
import { areaOf, areas, listOf, octetsOf, statementOf } from './testing.ts'
import { unmarshal } from './wire.ts'

const nonce = octetsOf('nonce')
const key = trustedAttestationKey(areaOf('attestationKey'))
const certified = areaOf('key')
const pcrs = new Map([
  [0, octetsOf('pcr0')],
  [7, octetsOf('pcr7')],
])

describe('statements of swtpm', () => {
  test('a key, its creation, an index and registers', async () => {
    const { clockInfo } = await checkCertified(statementOf('certify'), key, { certified, nonce })
    assert.equal(clockInfo.safe, true)
    const creationData = octetsOf('creationData')
    const { creation } = await checkCreation(statementOf('certifyCreation'), key, { certified, creationData, nonce })
    assert.deepEqual(creation.pcrSelect, pcrSelection('SHA256', [7]))
    const index = unmarshal(TPMS_NV_PUBLIC, octetsOf('index'))
    const { contents } = await checkNVCertified(statementOf('certifyIndex'), key, { index, nonce })
    assert.ok(counterValue(contents) > 0n)
    const expected = { hash: 'SHA256', values: pcrs } as const
    await checkQuote(statementOf('quote'), key, { expected, nonce })
    await checkQuote(statementOf('quoteRSA'), trustedAttestationKey(areaOf('attestationKeyRSA')), { expected, nonce })
  })

  test('a statement of one kind does not pass for another', async () => {
    const expected = { hash: 'SHA256', values: pcrs } as const
    const asQuote = checkQuote(statementOf('certify'), key, { expected, nonce })
    await assert.rejects(asQuote, { code: 'badProof', reason: 'attestationOther' })
  })

  test('a signature with SHA-1 counts for nothing', async () => {
    const { attest, signature } = statementOf('certify')
    const weak = signature.slice()
    weak[3] = 0x04
    await assert.rejects(checkCertified({ attest, signature: weak }, key, { certified, nonce }), { code: 'unsupported' })
  })

  test('a challenge without a nonce is a mistake in code', async () => {
    await assert.rejects(checkCertified(statementOf('certify'), key, { certified, nonce: new Uint8Array(0) }), TypeError)
  })
})

describe('attributes', () => {
  const without = (area: TPMT_PUBLIC, name: string): TPMT_PUBLIC => ({
    ...area,
    objectAttributes: area.objectAttributes.filter((one) => one !== name),
  })
  for (const name of ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'restricted', 'sign'] as const) {
    test(`an attestation key with ${name} clear is refused`, () => {
      assert.throws(() => trustedAttestationKey(without(key.publicArea, name)), {
        code: 'policyRefused',
        reason: 'attestationKey',
        message: new RegExp(`${name} is clear`),
      })
    })
  }
  test('a key whose name is a SHA-1 is refused: two public areas may have it', () => {
    const weak = { nameAlg: 'SHA1' } as const
    assert.throws(() => trustedAttestationKey({ ...key.publicArea, ...weak }), { reason: 'attestationKey', message: /SHA1/ })
    assert.throws(() => checkResident({ ...certified, ...weak }), { reason: 'keyNotResident', message: /SHA1/ })
  })
  test('an attestation key that decrypts is refused', () => {
    const both: TPMT_PUBLIC = { ...key.publicArea, objectAttributes: [...key.publicArea.objectAttributes, 'decrypt'] }
    assert.throws(() => trustedAttestationKey(both), { reason: 'attestationKey', message: /decrypt is set/ })
  })
  for (const name of ['fixedTPM', 'fixedParent', 'sensitiveDataOrigin'] as const) {
    test(`a device's key with ${name} clear is refused`, () => {
      assert.throws(() => checkResident(without(certified, name)), { reason: 'keyNotResident', message: new RegExp(name) })
    })
  }
})

describe('public areas and SubjectPublicKeyInfo', () => {
  for (const name of areas) {
    test(`${name}: as OpenSSL reads it, and back`, () => {
      const area = areaOf(name)
      const spki = subjectPublicKeyInfoOf(area)
      const again = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({
        format: 'der',
        type: 'spki',
      })
      assert.deepEqual(new Uint8Array(again), spki)
      const part = keyPartOf(importPublicKey(spki))
      assert.equal(part.type, area.type)
      assert.deepEqual(part.unique, area.unique)
    })
  }

  test('a coordinate without its leading zeros is the same key', () => {
    assert.ok(certified.type === 'ECC')
    const short: TPMT_PUBLIC = { ...certified, unique: { x: certified.unique.x.subarray(1), y: certified.unique.y } }
    const spki = subjectPublicKeyInfoOf(short)
    assert.equal(spki[27], 0)
  })

  const bad: readonly [string, TPMT_PUBLIC, string][] = [
    ['a point off its curve', signingKey(), 'malformed'],
    ['a modulus of another length', { ...areaOf('attestationKeyRSA'), unique: new Uint8Array(255) } as TPMT_PUBLIC, 'malformed'],
    [
      'an object that has no public key',
      {
        type: 'KEYEDHASH',
        nameAlg: 'SHA256',
        objectAttributes: [],
        authPolicy: new Uint8Array(0),
        parameters: { scheme: { scheme: 'NULL' } },
        unique: new Uint8Array(32),
      },
      'unsupported',
    ],
  ]
  for (const [name, area, code] of bad) {
    test(`refuses ${name}`, () => {
      assert.throws(() => publicKeyOf(area), { code })
    })
  }
})

describe('endorsement', () => {
  const rules = { at: new Date('2026-12-01T00:00:00Z'), anchors: listOf('anchors'), intermediates: listOf('issuers') }
  for (const kind of ['', 'RSA'] as const) {
    test(`swtpm's certificate ${kind} up to its root`, async () => {
      const endorsement = await checkEndorsementCertificate(octetsOf(`endorsementCertificate${kind}`), rules)
      const { tpmManufacturer, tpmModel, tpmVersion } = endorsement
      assert.deepEqual(
        { tpmManufacturer, tpmModel, tpmVersion },
        {
          tpmManufacturer: 'id:00001014',
          tpmModel: 'swtpm',
          tpmVersion: 'id:20191023',
        },
      )
      checkEndorsementKey(areaOf(`endorsementKey${kind}`), endorsement)
      const area = areaOf(`endorsementKey${kind}`)
      for (const name of ['fixedTPM', 'restricted', 'decrypt']) {
        const loose = { ...area, objectAttributes: area.objectAttributes.filter((one) => one !== name) } as TPMT_PUBLIC
        assert.throws(() => checkEndorsementKey(loose, endorsement), { code: 'policyRefused' })
      }
      assert.throws(() => checkEndorsementKey(areaOf('attestationKey'), endorsement), { reason: 'endorsementKeyOther' })
    })
  }

  test('without its root, and certificates of another kind', async () => {
    const alone = { at: rules.at, anchors: [], intermediates: [...rules.intermediates, ...rules.anchors] }
    await assert.rejects(checkEndorsementCertificate(octetsOf('endorsementCertificate'), alone), {
      code: 'policyRefused',
      reason: 'endorsementUntrusted',
    })
    assert.throws(() => parseEndorsementCertificate(listOf('issuers')[0] as Uint8Array), { message: /it is an authority/ })
  })

  test('only a storage key is challenged, with no more than it can protect', async () => {
    const { random } = systemWorld()
    const ask = (endorsementKey: TPMT_PUBLIC, octets: number) =>
      makeCredential({ endorsementKey, objectName: objectName(certified), credential: random.octets(octets) }, random)
    await assert.rejects(ask(areaOf('attestationKey'), 32), { code: 'policyRefused' })
    await assert.rejects(ask(areaOf('endorsementKeyRSA'), 33), TypeError)
    assert.equal((await ask(areaOf('endorsementKey'), 48)).credentialBlob.integrityHMAC.length, 48)
  })
})

describe('clocks only go forward', () => {
  const at = (resetCount: number, restartCount: number, clock: bigint) => ({ resetCount, restartCount, clock, safe: true })
  const cases = [
    { name: 'the same moment', before: at(1, 0, 5n), after: at(1, 0, 5n) },
    { name: 'later', before: at(1, 0, 5n), after: at(1, 0, 6n) },
    { name: 'after a reset, with a clock that was not written', before: at(1, 2, 5n), after: at(2, 0, 4n) },
    { name: 'a shifted count that wraps', before: at(2 ** 32 - 1, 0, 5n), after: at(0, 0, 5n) },
    { name: 'an earlier clock', before: at(1, 0, 5n), after: at(1, 0, 4n), refused: /its clock/ },
    { name: 'fewer resets', before: at(2, 0, 5n), after: at(1, 0, 9n), refused: /fewer resets/ },
    { name: 'fewer restarts', before: at(2, 2, 5n), after: at(2, 1, 9n), refused: /fewer restarts/ },
  ]
  for (const { name, before, after, refused } of cases) {
    test(name, () => {
      if (refused === undefined) checkForward(before, after)
      else assert.throws(() => checkForward(before, after), { code: 'conflict', reason: 'tpmWentBack', message: refused })
    })
  }
})
