/** Births with a whole certification authority: what is proven gets one certificate, and everything else nothing. @module */
import assert from 'node:assert/strict'
import { hash, sign as signNow } from 'node:crypto'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { testKey, testRequest } from '#ca/testing.ts'
import { importCRL } from '#ca/trusted.ts'
import { recipientParty } from '#cms/testing.ts'
import { bear, challenge, purgeBirths } from '#devices/birth/births.ts'
import { allowEndorsements, disallowEndorsement } from '#devices/birth/endorsement-list.ts'
import { listExternalKeys, takeReceipt } from '#devices/birth/external-record.ts'
import { bearWithKey } from '#devices/birth/external.ts'
import { disableLine } from '#devices/birth/lines.ts'
import { bindSpeaker, unbindSpeaker } from '#devices/speakers.ts'
import { type BirthEvidence, type IssuedChallenge, signReceipt } from '#devices/birth/messages.ts'
import { keyInTPM, testMaker, testTPM, type TestTPM } from '#devices/birth/testing.ts'
import { findDevices, registerDevice } from '#devices/register.ts'
import { testModel } from '#devices/testing.ts'
import { attestationKey as attestationTemplate, signingKey } from '#tpm2/templates.ts'
import type { Database } from '#store/database.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificateList } from '#x509/crl.ts'
import { crlNumber } from '#x509/extensions/crl-extensions.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { certificatePolicies } from '#x509/extensions/certificate-policies.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { type Factory, makeFactory, TEST_ARC } from './births-testing.ts'

const STATION = 'service:station-1'
const officer = 'person:olga'

const ask = ({ births }: Factory, tpm: TestTPM, productSerial: string, station = STATION): Promise<IssuedChallenge> =>
  challenge(births, { ...tpm.introduction, line: 'line', productSerial }, station)

const give = ({ births }: Factory, productSerial: string, evidence: BirthEvidence, station = STATION) =>
  bear(births, { line: 'line', productSerial, evidence }, station)

const requestFor = async (productSerial: string, key = testKey()) =>
  (await testRequest({ subject: [{ type: 'serialNumber', value: productSerial }], key })).der

const refusedWith = (code: string, reason: string) => (thrown: unknown) =>
  thrown instanceof TrustError && thrown.code === code && thrown.reason === reason
    ? true
    : assert.fail(thrown instanceof Error ? thrown : String(thrown))

const policiesOf = (der: Uint8Array): readonly string[] =>
  (extensionOf(parseCertificate(der), certificatePolicies)?.value ?? []).map(({ policyIdentifier }) => policyIdentifier)

test('R2, R4: a TPM proves a key, and its device is born with the level in record and certificate', async () => {
  await using plant = await makeFactory({ assuranceMin: 4 })
  await plant.line('line')
  const tpm = await testTPM(plant.maker)
  const evidence = tpm.answer(await ask(plant, tpm, 'P-1'))
  const born = await give(plant, 'P-1', evidence)
  const certificate = parseCertificate(born.certificate)
  assert.deepEqual(policiesOf(born.certificate), [`${TEST_ARC}.4`])
  assert.equal(attributeOf(parseName(certificate.subject), 'serialNumber'), 'P-1')
  assert.equal(certificate.notAfter.toISOString(), '9999-12-31T23:59:59.000Z')
  const [device] = await findDevices(plant.births, { productSerial: 'P-1' }, { limit: 2 })
  assert.equal(device?.state, 'born')
  assert.equal(device?.assurance, 4)
  const [row] = await plant.births.db.query('SELECT variant, assurance, certificate_id, evidence FROM birth_record')
  assert.deepEqual([row?.['variant'], row?.['assurance'], row?.['certificate_id']], ['tpm', 4, born.certificateId])
  assert.equal(JSON.parse(row?.['evidence'] as string).endorsement, hash('sha256', tpm.endorsement))
  assert.deepEqual((await give(plant, 'P-1', evidence)).certificateId, born.certificateId, 'asked again, the same')
})

test('R4: a planned device is born as what was planned, and only once', async () => {
  await using plant = await makeFactory()
  await plant.line('line')
  const { births, manufacturerId, modelId } = plant
  const planned = await registerDevice(births, { manufacturerId, modelId, productSerial: 'P-1' }, officer)
  await give(plant, 'P-1', { type: 'software', request: await requestFor('P-1') })
  const [device] = await findDevices(births, { productSerial: 'P-1' }, { limit: 2 })
  assert.deepEqual([device?.id, device?.state, device?.assurance], [planned.id, 'born', 2])
  const other = await testModel({ context: births }, manufacturerId, 'valve')
  await registerDevice(births, { manufacturerId, modelId: other.id, productSerial: 'P-2' }, officer)
  const request = await requestFor('P-2')
  await assert.rejects(give(plant, 'P-2', { type: 'software', request }), refusedWith('policyRefused', 'birthModelOther'))
})

interface Lie {
  readonly name: string
  readonly refusal: readonly [code: string, reason: string]
  tell(plant: Factory, tpm: TestTPM): Promise<unknown>
}

const lies: readonly Lie[] = [
  {
    name: "another TPM's attestation key",
    refusal: ['badProof', 'birthCredential'],
    async tell(plant, tpm) {
      const other = await testTPM(plant.maker)
      const { attestationKey } = other.introduction
      const asked = await challenge(
        plant.births,
        { ...tpm.introduction, attestationKey, line: 'line', productSerial: 'P-1' },
        STATION,
      )
      // neither TPM reads it: one has not the endorsement key, the other not the attestation key
      assert.throws(() => tpm.activate(asked), /TPM_RC_INTEGRITY/)
      assert.throws(() => other.activate(asked))
      const key = keyInTPM()
      const evidence = {
        ...tpm.answer(await ask(plant, tpm, 'P-9'), key),
        ...other.certify(key, asked.nonce),
        challenge: asked.id,
      }
      return give(plant, 'P-1', evidence)
    },
  },
  {
    name: 'a statement by another attestation key than the one that was challenged',
    refusal: ['badProof', 'attestationSignature'],
    async tell(plant, tpm) {
      const asked = await ask(plant, tpm, 'P-1')
      const key = keyInTPM()
      return give(plant, 'P-1', { ...tpm.answer(asked, key), ...(await testTPM(plant.maker)).certify(key, asked.nonce) })
    },
  },
  {
    name: 'a software key that is said to be in the TPM',
    refusal: ['policyRefused', 'keyNotResident'],
    async tell(plant, tpm) {
      const template = signingKey()
      const outside = keyInTPM({ ...template, objectAttributes: ['userWithAuth', 'sign'] })
      return give(plant, 'P-1', tpm.answer(await ask(plant, tpm, 'P-1'), outside))
    },
  },
  {
    name: 'a software key in the request, and a key of the TPM in the statement',
    refusal: ['badProof', 'birthKeyOther'],
    async tell(plant, tpm) {
      return give(plant, 'P-1', { ...tpm.answer(await ask(plant, tpm, 'P-1')), request: await requestFor('P-1') })
    },
  },
  {
    name: 'a software key whose public area says that it is in the TPM',
    refusal: ['badProof', 'attestationOther'],
    async tell(plant, tpm) {
      const evidence = tpm.answer(await ask(plant, tpm, 'P-1'))
      return give(plant, 'P-1', { ...evidence, key: tpm.answer(await ask(plant, tpm, 'P-2')).key })
    },
  },
  {
    name: 'an answer to a challenge that was answered',
    refusal: ['conflict', 'birthChallengeUsed'],
    async tell(plant, tpm) {
      const asked = await ask(plant, tpm, 'P-1')
      await assert.rejects(give(plant, 'P-1', { ...tpm.answer(asked), credential: new Uint8Array(32) }), TrustError)
      return give(plant, 'P-1', tpm.answer(asked))
    },
  },
  {
    name: 'a replayed nonce',
    refusal: ['badProof', 'attestationNonce'],
    async tell(plant, tpm) {
      const [before, asked, key] = [await ask(plant, tpm, 'P-1'), await ask(plant, tpm, 'P-1'), keyInTPM()]
      return give(plant, 'P-1', { ...tpm.answer(asked, key), ...tpm.certify(key, before.nonce) })
    },
  },
  {
    name: 'a challenge that ended',
    refusal: ['forbidden', 'birthChallengeExpired'],
    async tell(plant, tpm) {
      const asked = await ask(plant, tpm, 'P-1')
      plant.world.time.ahead += 301_000
      return give(plant, 'P-1', tpm.answer(asked))
    },
  },
  {
    name: 'a challenge of another station',
    refusal: ['forbidden', 'birthChallengeOther'],
    async tell(plant, tpm) {
      return give(plant, 'P-1', tpm.answer(await ask(plant, tpm, 'P-1')), 'service:station-2')
    },
  },
  {
    name: 'a challenge for another serial',
    refusal: ['forbidden', 'birthChallengeOther'],
    async tell(plant, tpm) {
      return give(plant, 'P-2', tpm.answer(await ask(plant, tpm, 'P-1')))
    },
  },
  {
    name: 'a challenge that nobody made',
    refusal: ['notFound', 'birthChallengeUnknown'],
    async tell(plant, tpm) {
      const evidence = tpm.answer(await ask(plant, tpm, 'P-1'))
      return give(plant, 'P-1', { ...evidence, challenge: '01900000-0000-7000-8000-000000000000' })
    },
  },
  {
    name: 'a TPM of an unknown maker',
    refusal: ['policyRefused', 'endorsementUntrusted'],
    async tell(plant) {
      return ask(plant, await testTPM(await testMaker('Somebody')), 'P-1')
    },
  },
  {
    name: 'a certificate of another TPM',
    refusal: ['badProof', 'endorsementKeyOther'],
    async tell(plant, tpm) {
      const { endorsementCertificate } = (await testTPM(plant.maker)).introduction
      const introduction = { ...tpm.introduction, ...(endorsementCertificate && { endorsementCertificate }) }
      return challenge(plant.births, { ...introduction, line: 'line', productSerial: 'P-1' }, STATION)
    },
  },
  {
    name: 'no certificate, and not on the list',
    refusal: ['policyRefused', 'endorsementNotListed'],
    async tell(plant, tpm) {
      const { endorsementKey, attestationKey } = tpm.introduction
      return challenge(plant.births, { endorsementKey, attestationKey, line: 'line', productSerial: 'P-1' }, STATION)
    },
  },
  {
    name: 'a restricted key as that of the device',
    refusal: ['policyRefused', 'birthKeyPurpose'],
    async tell(plant, tpm) {
      return give(plant, 'P-1', tpm.answer(await ask(plant, tpm, 'P-1'), keyInTPM(attestationTemplate())))
    },
  },
  {
    name: 'the same TPM twice',
    refusal: ['conflict', 'endorsementUsed'],
    async tell(plant, tpm) {
      const [one, another] = [await ask(plant, tpm, 'P-1'), await ask(plant, tpm, 'P-2')]
      await give(plant, 'P-1', tpm.answer(one))
      await assert.rejects(ask(plant, tpm, 'P-2'), refusedWith('conflict', 'endorsementUsed'))
      return give(plant, 'P-2', tpm.answer(another))
    },
  },
  {
    name: 'the same key twice',
    refusal: ['policyRefused', 'keyOfAnotherProduct'],
    async tell(plant, tpm) {
      const key = keyInTPM()
      await give(plant, 'P-1', tpm.answer(await ask(plant, tpm, 'P-1'), key))
      const other = await testTPM(plant.maker)
      return give(plant, 'P-2', other.answer(await ask(plant, other, 'P-2'), key))
    },
  },
  {
    name: 'the same serial twice',
    refusal: ['conflict', 'deviceBorn'],
    async tell(plant, tpm) {
      await give(plant, 'P-1', tpm.answer(await ask(plant, tpm, 'P-1')))
      const other = await testTPM(plant.maker)
      return give(plant, 'P-1', other.answer(await ask(plant, other, 'P-1')))
    },
  },
  {
    name: 'a serial that differs in case only',
    refusal: ['conflict', 'deviceBorn'],
    async tell(plant) {
      await give(plant, 'P-a', { type: 'software', request: await requestFor('P-a') })
      return give(plant, 'P-A', { type: 'software', request: await requestFor('P-A') })
    },
  },
  {
    name: 'a serial that is not of the line',
    refusal: ['forbidden', 'birthSerial'],
    async tell(plant) {
      return give(plant, 'Q-1', { type: 'software', request: await requestFor('Q-1') })
    },
  },
  {
    name: 'a request for another serial',
    refusal: ['forbidden', 'birthRequestOther'],
    async tell(plant) {
      return give(plant, 'P-1', { type: 'software', request: await requestFor('P-2') })
    },
  },
  {
    name: 'a request that another key signed',
    refusal: ['badProof', 'proofOfPossession'],
    async tell(plant) {
      const { der } = await testRequest({ subject: [{ type: 'serialNumber', value: 'P-1' }], signedBy: testKey() })
      return give(plant, 'P-1', { type: 'software', request: der })
    },
  },
  {
    name: 'a chip that no manifest states',
    refusal: ['policyRefused', 'elementNotStated'],
    async tell(plant) {
      return give(plant, 'P-1', { type: 'secure-element', request: await requestFor('P-1') })
    },
  },
  {
    name: 'a unit that is not of the line',
    refusal: ['forbidden', 'birthUnit'],
    async tell(plant) {
      return bearWithKey(
        plant.births,
        { line: 'line', productSerial: 'P-1', keyAlgorithm: 'ecdsa-p256', unit: '00'.repeat(32) },
        STATION,
      )
    },
  },
  {
    name: 'a line that is closed',
    refusal: ['policyRefused', 'birthLineDisabled'],
    async tell(plant) {
      await disableLine(plant.births, 'line', officer)
      return give(plant, 'P-1', { type: 'software', request: await requestFor('P-1') })
    },
  },
]

test('R6: lines of a maker’s model are made and ended by who speaks for that maker', async () => {
  await using plant = await makeFactory()
  await plant.line('line')
  await bindSpeaker(plant.births, 'acme', 'person:ada', officer)
  await unbindSpeaker(plant.births, 'acme', officer, 'person:ada')
  const refused = { code: 'forbidden', reason: 'organizationNotTheirs' }
  await assert.rejects(plant.line('other'), refused)
  await assert.rejects(disableLine(plant.births, 'line', officer), refused)
  assert.equal((await disableLine(plant.births, 'line', 'person:ada')).state, 'disabled')
})

for (const { name, refusal, tell } of lies) {
  test(`R4: refused: ${name}`, async () => {
    await using plant = await makeFactory()
    await plant.line('line')
    await assert.rejects(tell(plant, await testTPM(plant.maker)), refusedWith(...refusal))
    const entries = await plant.births.db.query('SELECT outcome, reason FROM audit_entry')
    const isKept = entries.some((row) => row['outcome'] === 'refused' && row['reason'] === refusal[1])
    assert.ok(isKept || refusal[0] === 'notFound', 'it is in the audit log')
    const [counts] = await plant.births.db.query(
      `SELECT (SELECT count(*) FROM birth_record) AS births, (SELECT count(*) FROM device WHERE state = 'born') AS devices,
        (SELECT count(*) FROM certificate WHERE profile = 'idevid') AS certificates`,
    )
    assert.ok((counts?.['births'] as number) <= 1)
    assert.deepEqual(counts, { births: counts?.['births'], devices: counts?.['births'], certificates: counts?.['births'] })
  })
}

test('R4: endorsement keys on the list count without a certificate, as long as they are on it', async () => {
  await using plant = await makeFactory()
  await plant.line('line', { endorsementList: true })
  const [tpm, other] = [await testTPM(plant.maker), await testTPM(plant.maker)]
  const keys = [tpm, other].map((one) => hash('sha256', one.endorsement))
  const list = { hashes: keys, source: 'supplier' }
  assert.deepEqual(await allowEndorsements(plant.births, list, officer), { imported: 2, known: 0 })
  assert.deepEqual(await allowEndorsements(plant.births, list, officer), { imported: 0, known: 2 })
  const plain = ({ introduction: { endorsementKey, attestationKey } }: TestTPM, productSerial: string) =>
    challenge(plant.births, { endorsementKey, attestationKey, line: 'line', productSerial }, STATION)
  await give(plant, 'P-1', tpm.answer(await plain(tpm, 'P-1')))
  await disallowEndorsement(plant.births, keys[1] as string, officer)
  await assert.rejects(plain(other, 'P-2'), refusedWith('policyRefused', 'endorsementNotListed'))
})

test('R4: what proves less than the model asks for is refused; what is only vouched is level 1', async () => {
  await using plant = await makeFactory({ assuranceMin: 1 })
  await plant.line('line')
  const born = await give(plant, 'P-1', { type: 'software', request: await requestFor('P-1'), vouched: true })
  assert.deepEqual(policiesOf(born.certificate), [`${TEST_ARC}.1`])
  const software = await give(plant, 'P-2', { type: 'software', request: await requestFor('P-2') })
  assert.deepEqual(policiesOf(software.certificate), [`${TEST_ARC}.2`])
  await using strict = await makeFactory({ assuranceMin: 3 })
  await strict.line('line')
  const request = await requestFor('P-1')
  await assert.rejects(give(strict, 'P-1', { type: 'software', request }), refusedWith('policyRefused', 'birthAssurance'))
})

test('R4: of requests that race, one bears, and copies of one request get the same certificate', () => race())

test('R4: the same on PostgreSQL', { skip: postgresMissing() }, async () => {
  const server = await startPostgres({ durable: false })
  try {
    await race(postgres({ url: await server.createDatabase() }))
  } finally {
    await server.stop()
  }
})

async function race(database?: Database): Promise<void> {
  await using plant = await makeFactory(database === undefined ? {} : { database })
  await plant.line('line')
  const requests = await Promise.all(Array.from({ length: 4 }, () => requestFor('P-1')))
  const outcomes = await Promise.allSettled(requests.map((request) => give(plant, 'P-1', { type: 'software', request })))
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  const tpm = await testTPM(plant.maker)
  const evidence = tpm.answer(await ask(plant, tpm, 'P-2'))
  const answers = await Promise.all(Array.from({ length: 4 }, () => give(plant, 'P-2', evidence)))
  assert.equal(new Set(answers.map(({ certificateId }) => certificateId)).size, 1)
  const [rows] = await plant.births.db.query('SELECT count(*) AS births FROM birth_record')
  assert.equal(rows?.['births'], 2)
}

test('decision 10: the same request gets the same certificate for a while, and none once it is revoked', async () => {
  await using plant = await makeFactory()
  await plant.line('line')
  const evidence: BirthEvidence = { type: 'software', request: await requestFor('P-1') }
  const { certificateId } = await give(plant, 'P-1', evidence)
  assert.equal((await give(plant, 'P-1', evidence)).certificateId, certificateId)
  await assert.rejects(give(plant, 'P-1', evidence, 'service:station-2'), refusedWith('conflict', 'deviceBorn'))
  await plant.births.db.batch([
    { sql: "UPDATE certificate SET state = 'revoked', revoked_at = 1 WHERE id = ?", parameters: [certificateId] },
  ])
  await assert.rejects(give(plant, 'P-1', evidence), refusedWith('forbidden', 'answerRevoked'))
  plant.world.time.ahead += 3601_000
  await assert.rejects(give(plant, 'P-1', evidence), refusedWith('conflict', 'deviceBorn'))
  await purgeBirths(plant.births)
  assert.deepEqual(await plant.births.db.query('SELECT station FROM birth_answer'), [])
})

test('R4: a key that is made here is delivered once, and its destruction signed by who got it', async () => {
  await using plant = await makeFactory()
  const unit = await recipientParty('P-256')
  const print = fingerprint(unit.certificate).toHex()
  await plant.line('line', { units: [unit.certificate.toBase64()] })
  const wanted = { line: 'line', productSerial: 'P-1', keyAlgorithm: 'ecdsa-p256', unit: print } as const
  const born = await bearWithKey(plant.births, wanted, STATION)
  assert.deepEqual(policiesOf(born.certificate), [`${TEST_ARC}.1`])
  await assert.rejects(bearWithKey(plant.births, wanted, STATION), refusedWith('conflict', 'externalKeyDelivered'))

  const { certificateId } = born
  const kept = { certificateId, der: born.certificate }
  const sign = (message: Uint8Array): Uint8Array => signNow('sha256', message, unit.privateKey)
  const destroyedAt = plant.world.clock.now()
  const word = { certificate: fingerprint(born.certificate).toHex(), productSerial: 'P-1', destroyedAt }
  const stranger = await recipientParty('P-256')
  const strangers = await signReceipt(word, {
    certificate: stranger.certificate,
    sign: (message) => signNow('sha256', message, stranger.privateKey),
  })
  const take = (receipt: Uint8Array) => takeReceipt(plant.births, kept, receipt, STATION)
  await assert.rejects(take(strangers), refusedWith('badProof', 'birthSignature'))
  for (const wrong of [{ productSerial: 'P-2' }, { certificate: '00'.repeat(32) }, { destroyedAt: 1 }]) {
    const receipt = await signReceipt({ ...word, ...wrong }, { certificate: unit.certificate, sign })
    await assert.rejects(take(receipt), refusedWith('badProof', 'birthReceiptOther'))
  }
  const receipt = await signReceipt(word, { certificate: unit.certificate, sign })
  assert.deepEqual((await listExternalKeys(plant.births, { state: 'delivered', limit: 10 })).length, 1)
  assert.equal((await take(receipt)).state, 'destroyed')
  await assert.rejects(take(receipt), refusedWith('conflict', 'externalKeyDestroyed'))
  assert.deepEqual(await listExternalKeys(plant.births, { state: 'delivered', limit: 10 }), [])
})

test('R4: a TPM whose maker took its certificate back is none, also once the list is past its time', async () => {
  await using plant = await makeFactory()
  await plant.line('line')
  const { ca, maker, world } = plant
  const [taken, other] = [await testTPM(maker), await testTPM(maker)]
  const { serialNumber } = parseCertificate(taken.introduction.endorsementCertificate as Uint8Array)
  const now = world.clock.now()
  const list = await encodeCertificateList(
    {
      issuer: maker.subject,
      thisUpdate: new Date(now - 1000),
      nextUpdate: new Date(now + 86_400_000),
      extensions: [extensionWith(crlNumber, 1n)],
    },
    [{ serialNumber, revokedAt: now - 1000, reason: 'keyCompromise' }],
    maker.key.signer,
  )
  await ask(plant, taken, 'P-1')
  await importCRL(ca.context, ca.authorities, list, officer)
  const refused = refusedWith('policyRefused', 'endorsementUntrusted')
  await assert.rejects(ask(plant, taken, 'P-1'), refused)
  await give(plant, 'P-2', other.answer(await ask(plant, other, 'P-2')))
  world.time.ahead = 2 * 86_400_000
  await assert.rejects(ask(plant, taken, 'P-1'), refused)
})

test('R4: a unit that makes keys itself asks with them, and signs for them too', async () => {
  await using plant = await makeFactory()
  const unit = await recipientParty('P-256')
  await plant.line('line', { units: [unit.certificate.toBase64()] })
  const evidence = { type: 'external', request: await requestFor('P-1'), unit: fingerprint(unit.certificate).toHex() } as const
  const { certificateId } = await give(plant, 'P-1', evidence)
  const [key] = await listExternalKeys(plant.births, { limit: 10 })
  assert.deepEqual([key?.certificateId, key?.maker, key?.state], [certificateId, 'unit', 'delivered'])
})
