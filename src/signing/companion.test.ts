/** Signers with two keys: both sign or none, as one use with one entry, and roll over together. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { accessMigrations } from '#access/migrations.ts'
import { approvers } from '#access/approvers.ts'
import { openApprovals } from '#approvals/approvals.ts'
import { approvalsMigrations } from '#approvals/migrations.ts'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { verifySignedData } from '#cms/verify.ts'
import type { KeyStore } from '#keys/key-store.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { bytesSource } from './artifact/blob.ts'
import type { Requester } from './context.ts'
import type { KeyChoice } from './format.ts'
import { cms } from './formats/cms.ts'
import { signingMigrations } from './migrations.ts'
import { openSigning, type Signing, signingActs, type Wanted } from './service.ts'
import { type LoneKey, type SignerRecord, validityOf } from './signer.ts'
import type { NewSigner } from './signers.ts'
import { openClockWatch } from './tsp/clock.ts'

const organizationId = 'default'
const CI: Requester = { actor: 'service:ci', id: 'ci', kind: 'service', roles: ['service'] }
const officer = 'person:olga'
const firmware = bytesSource(utf8('firmware 4.2'))
const authority = makeKey()

interface Setting {
  readonly signing: Signing
  /** Labels of keys in the order in which they signed. */
  readonly touched: string[]
  readonly failing: Set<string>
  readonly chains: Readonly<Record<string, readonly Uint8Array[]>>
  entries(act: string): Promise<readonly { readonly outcome: string; readonly facts: Readonly<Record<string, unknown>> }[]>
}

async function inSetting(body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-companion-'))
  const db = sqlite({ path: join(directory, 'signing.db') })
  try {
    const world = systemWorld()
    const rooms = [storeMigrations, keysMigrations, auditMigrations, accessMigrations, approvalsMigrations, signingMigrations]
    await migrate(db, rooms.flat(), world)
    const audit = auditRecorder({ database: db, world, organizationId })
    const store = softwareKeyStore({ database: db, world, organizationId, wrappingKey: secret(world.random.octets(32)) })
    const touched: string[] = []
    const failing = new Set<string>()
    const keys: KeyStore = {
      ...store,
      async open(label) {
        const key = await store.open(label)
        return {
          ...key,
          async sign(octets, algorithm) {
            touched.push(label)
            if (failing.has(label)) throw new TrustError('unavailable', 'tokenBusy', { facts: { store: 'test' } })
            return key.sign(octets, algorithm)
          },
        }
      },
    }
    const chains: Record<string, readonly Uint8Array[]> = {}
    for (const [label, algorithm] of [
      ['today', 'ecdsa-p256'],
      ['tomorrow', 'ml-dsa-65'],
      ['today-2', 'ecdsa-p256'],
      ['tomorrow-2', 'ml-dsa-44'],
    ] as const) {
      const { publicKey } = await store.generate(label, algorithm)
      const serialNumber = Uint8Array.of(Object.keys(chains).length + 1)
      chains[label] = [await makeCertificate(authority, { serialNumber, subjectPublicKeyInfo: publicKey })]
    }
    const people = approvers(organizationId)
    const approvals = openApprovals({ db, world, audit, organizationId, people, kinds: signingActs })
    const clocks = { wall: () => world.clock.now(), monotonic: () => performance.now() }
    const clock = openClockWatch({ servers: [], clocks, random: world.random, log: silentLog, checkSeconds: 64 })
    await body({
      signing: openSigning({ db, keys, audit, world, organizationId }, approvals, clock),
      ...{ touched, failing, chains },
      async entries(act) {
        const { entries } = await listAuditEntries(db, { organizationId, limit: 100, filter: { act } })
        return entries.toReversed()
      },
    })
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

const dual = ({ chains }: Setting, more: Partial<NewSigner> = {}): NewSigner => ({
  name: 'images',
  key: {
    ...{ label: 'today', chain: chains['today'] ?? [] },
    companion: { label: 'tomorrow', chain: chains['tomorrow'] ?? [] },
  },
  formats: ['cms'],
  users: { roles: ['service'], people: [] },
  priority: 'normal',
  ...more,
})

const choiceOf = ({ signatureAlgorithm, chain }: LoneKey): KeyChoice => ({
  signatureAlgorithm,
  certificates: chain as KeyChoice['certificates'],
})

/** What a client asks for, which knows of both keys. */
async function requestsFor({ key, version }: SignerRecord) {
  const others = key.companion === undefined ? [] : [choiceOf(key.companion)]
  const { requests, attach } = await cms.toBeSigned(firmware, { ...choiceOf(key), others })
  const wanted: Wanted = { format: 'cms', requests, signerVersion: version }
  return { wanted, attach }
}

test('R9, R28: one use signs with both keys, is counted once, and has one entry that names both', () =>
  inSetting(async (setting) => {
    const { signing, touched, entries } = setting
    const record = await signing.signers.create(dual(setting), officer)
    const { wanted, attach } = await requestsFor(record)
    const made = await signing.sign('images', wanted, CI)
    assert.ok(made.state === 'signed')
    assert.deepEqual([made.signatureAlgorithm, made.companionAlgorithm], ['ecdsa-sha256', 'ml-dsa-65'])
    const [message] = attach(made.answers).pieces
    assert.ok(message instanceof Uint8Array)
    const { signers } = await verifySignedData(parseSignedData(message), { content: utf8('firmware 4.2') })
    assert.deepEqual(
      signers.map(({ signatureAlgorithm, announced }) => [signatureAlgorithm, announced]),
      [
        ['ecdsa-sha256', 1],
        ['ml-dsa-65', 1],
      ],
    )
    assert.deepEqual(touched, ['today', 'tomorrow'])
    assert.equal((await signing.signers.find('images')).uses.uses, 1)
    const [entry, another] = await entries('signature.make')
    assert.equal(another, undefined)
    const { key, companionKey, signatureAlgorithm, companionAlgorithm } = entry?.facts ?? {}
    assert.deepEqual(
      [key, companionKey, signatureAlgorithm, companionAlgorithm],
      ['today', 'tomorrow', 'ecdsa-sha256', 'ml-dsa-65'],
    )
  }))

test('whichever key fails, nothing leaves and nothing is counted, and the log says both', () =>
  inSetting(async (setting) => {
    const { signing, failing, entries } = setting
    const { wanted } = await requestsFor(await signing.signers.create(dual(setting, { usesMax: 1 }), officer))
    for (const label of ['today', 'tomorrow']) {
      failing.add(label)
      await assert.rejects(signing.sign('images', wanted, CI), { code: 'unavailable' })
      failing.delete(label)
    }
    assert.equal((await signing.signers.find('images')).uses.uses, 0)
    assert.equal((await signing.sign('images', wanted, CI)).state, 'signed')
    assert.deepEqual(
      (await entries('signature.make')).map(({ outcome, facts }) => [outcome, facts['companionKey']]),
      ['done', 'refused', 'done', 'refused', 'done'].map((outcome) => [outcome, 'tomorrow']),
    )
  }))

test('a request for one of two keys, or for one that is not there, is refused before a key is touched', () =>
  inSetting(async (setting) => {
    const { signing, touched, chains } = setting
    const formats = ['cms', 'dsse']
    const { wanted } = await requestsFor(await signing.signers.create(dual(setting, { formats }), officer))
    const [both] = wanted.requests
    assert.ok(both?.type === 'cms')
    const { by: _both, ...first } = both
    const raw = { type: 'raw', message: { octets: utf8('firmware 4.2') } } as const
    const alone = [
      { format: 'cms', requests: [first] },
      { format: 'cms', requests: [{ ...first, by: 1 }] },
      { format: 'dsse', requests: [raw] },
      { format: 'dsse', requests: [{ ...raw, by: 1 }] },
      { format: 'dsse', requests: [raw, { ...raw, by: 0 }] },
    ] as const
    for (const one of alone)
      await assert.rejects(signing.sign('images', { ...wanted, ...one }, CI), { reason: 'signerKeyLeftOut' })
    const nobody = { ...wanted, format: 'dsse', requests: [raw, { ...raw, by: 2 }] }
    await assert.rejects(signing.sign('images', nobody, CI), { code: 'malformed', reason: 'signerKeyMissing' })
    const key = { label: 'today', chain: chains['today'] ?? [] }
    await signing.signers.create(dual(setting, { name: 'alone', key, formats }), officer)
    const second = { ...wanted, format: 'dsse', requests: [{ ...raw, by: 1 }] } as const
    await assert.rejects(signing.sign('alone', second, CI), { reason: 'signerKeyMissing' })
    assert.deepEqual(touched, [])
  }))

test('raw requests are answered by the key that each names', () =>
  inSetting(async (setting) => {
    const { signing, touched } = setting
    await signing.signers.create(dual(setting, { formats: ['dsse'] }), officer)
    const message = { octets: utf8('firmware 4.2') }
    const requests = [{ type: 'raw', message, by: 1 } as const, { type: 'raw', message, by: 0 } as const]
    const made = await signing.sign('images', { format: 'dsse', requests }, CI)
    assert.ok(made.state === 'signed')
    assert.deepEqual(touched, ['tomorrow', 'today'])
    assert.equal(made.answers[0]?.length, 3309) // FIPS 204, table 2: ML-DSA-65
  }))

test('the next keys take over together, and one does not take over from two', () =>
  inSetting(async (setting) => {
    const { signing, touched, chains, entries } = setting
    const { signers } = signing
    await signers.create(dual(setting), officer)
    const next = { label: 'today-2', chain: chains['today-2'] ?? [], afterUses: 1 }
    await assert.rejects(signers.planNext('images', next, officer), { code: 'policyRefused', reason: 'signerNextAlone' })
    const companion = { label: 'tomorrow-2', chain: chains['tomorrow-2'] ?? [] }
    const planned = await signers.planNext('images', { ...next, companion }, officer)
    for (const label of ['today', 'tomorrow', 'today-2', 'tomorrow-2']) assert.equal(await signers.needs(label), true)
    assert.equal((await signing.sign('images', (await requestsFor(planned)).wanted, CI)).state, 'signed')
    // what was hashed for the keys of before is refused, and tells the client to ask again
    await assert.rejects(signing.sign('images', (await requestsFor(planned)).wanted, CI), { reason: 'signerMoved' })
    const { record } = await signers.find('images')
    assert.deepEqual([record.key.label, record.key.companion?.label, record.next], ['today-2', 'tomorrow-2', undefined])
    assert.equal((await signing.sign('images', (await requestsFor(record)).wanted, CI)).state, 'signed')
    assert.deepEqual(touched, ['today', 'tomorrow', 'today-2', 'tomorrow-2'])
    assert.equal(await signers.needs('tomorrow'), false)
    const [moved] = await entries('signer.roll-over')
    assert.deepEqual([moved?.facts['key'], moved?.facts['companionKey']], ['today-2', 'tomorrow-2'])
  }))

test('what cannot sign together makes no signer', () =>
  inSetting(async (setting) => {
    const { signing, chains } = setting
    const { key } = dual(setting)
    const cases: readonly (readonly [Partial<NewSigner>, string])[] = [
      [{ formats: ['cms', 'plain'] }, 'formatOneKey'],
      [{ formats: ['authenticode-pe'] }, 'formatOneKey'],
      [{ key: { ...key, companion: { label: 'today', chain: chains['today'] ?? [] } } }, 'signerKeyTwice'],
      [{ key: { ...key, companion: { label: 'tomorrow', chain: [] } } }, 'signerOneCertificate'],
      [{ key: { ...key, companion: { label: 'tomorrow', chain: chains['today'] ?? [] } } }, 'signerCertificate'],
      [{ key: { ...key, companion: { label: 'nonesuch', chain: [] } } }, 'keyNotFound'],
    ]
    for (const [more, reason] of cases) await assert.rejects(signing.signers.create(dual(setting, more), officer), { reason })
    assert.deepEqual(await signing.signers.list(), [])
  }))

test('both certificates bound the time in which it signs', () =>
  inSetting(async (setting) => {
    const { signing } = setting
    const { key } = await signing.signers.create(dual(setting), officer)
    const notAfter = new Date('2030-01-01T00:00:00Z')
    const validity = { notBefore: new Date('2029-01-01T00:00:00Z'), notAfter }
    const spki = key.companion?.publicKey ?? assert.fail()
    const shorter = await makeCertificate(authority, { validity, subjectPublicKeyInfo: spki })
    const companion = { ...(key.companion as LoneKey), chain: [shorter] }
    assert.deepEqual(validityOf({ key: { ...key, companion } }), {
      notBefore: validity.notBefore.getTime(),
      notAfter: notAfter.getTime(),
    })
  }))
