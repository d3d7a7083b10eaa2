/** Licenses and usage with real devices: born by the CA, owned, enrolled, and asked over the message protocol. */
import assert from 'node:assert/strict'
import { createHash, sign } from 'node:crypto'
import { test } from 'node:test'
import { importPublicKey } from '#algorithms/public-key.ts'
import { asTrustError } from '#base/errors.ts'
import { person, testCA, testCAOn, type TestCA, testKey } from '#ca/testing.ts'
import { setFlag } from '#devices/change.ts'
import type { OwnershipContext } from '#devices/ownership/context.ts'
import { bindSpeaker } from '#devices/speakers.ts'
import { issueLicense } from '#licenses/licenses.ts'
import { setMaker, setPool } from '#licenses/makers.ts'
import { checkLicense, readLicense, thumbprintsOf } from '#licenses/messages.ts'
import { seller as somebody, usualTerms } from '#licenses/testing.ts'
import { birthCertificateOf } from '#orders/born.ts'
import { messageTrust } from '#signing/messages.ts'
import { openTestSigning, testAuthority } from '#signing/tsp/testing.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { usageTotals } from '#usage/export.ts'
import { encodeUsage, signUsage } from '#usage/messages.ts'
import { counting, testChain } from '#usage/testing.ts'
import { usageStanding } from '#usage/usage.ts'
import { certificateFacts } from './compose.ts'
import { devicePlant } from './device-testing.ts'
import { licenseMailbox, openLicenses } from './licenses.ts'
import { openUsage, usageMailbox } from './usage.ts'

/** Recorded the maker, and so speaks for it. */
const seller = { ...somebody, actor: person }

async function licensedAndCounted(ca: TestCA): Promise<void> {
  const all = await devicePlant(ca)
  const { devices: context, owner } = all
  const born = testKey()
  const idevid = await all.enroll(all.births, 'A-1', { key: born })
  const { id } = await all.device('A-1')
  const ownership = {
    ...context,
    birthChain: async () => [idevid.certificate],
  } as unknown as OwnershipContext // no key and no certificate state is asked for here
  const { signing, keys } = await openTestSigning(context.db, context.world)
  const { root, terms } = await testAuthority(keys, 'maker-licenses', { purposes: ['documentSigning'] })
  const { timeStamps: _, ...usual } = terms
  const users = { roles: ['server:licenses'], people: [] }
  await signing.signers.create({ ...usual, formats: ['cose-sign1'], users }, person)
  const licenses = openLicenses({ ...context, keys: ca.context.keys } as never, { context, ownership }, signing)
  await setMaker(licenses, { maker: 'maker', signer: 'maker-licenses' }, person)
  const wanted = { ...usualTerms, maker: 'maker', deviceId: id }

  // R13: of a device that the CA bore, by its maker and nobody else
  const issued = await issueLicense(licenses, wanted, seller)
  assert.ok(issued.state === 'issued')
  const [message] = (await licenseMailbox({ context, ownership }).list?.(id, 0)) ?? []
  const license = await readLicense(message?.octets ?? new Uint8Array(0), messageTrust([root]))
  const facts = { keys: thumbprintsOf(importPublicKey(born.spki)), model: 'maker/pump', epoch: 0 }
  assert.equal(checkLicense(license, facts, { now: context.world.clock.now(), lastSeen: 0, storedSequence: 0 }).state, 'valid')
  await setMaker(licenses, { maker: 'ann', signer: 'maker-licenses' }, person)
  await assert.rejects(issueLicense(licenses, { ...wanted, maker: 'ann' }, seller), { code: 'forbidden', reason: 'ruleRefuses' })
  const [refusal] = await context.db.query(
    "SELECT object, facts FROM audit_entry WHERE outcome = 'refused' AND act = 'license.issue'",
  )
  assert.equal(refusal?.['object'], `device:${id}`)
  assert.match(refusal['facts'] as string, /maker-of-model/)
  await bindSpeaker(context, 'maker', person, person)
  await assert.rejects(issueLicense(licenses, wanted, somebody), { reason: 'ruleRefuses' }, 'who does not speak for the maker')
  await assert.rejects(setPool(licenses, { maker: 'maker', feature: 'drill', most: 1 }, somebody.actor), { code: 'forbidden' })
  await assert.rejects(issueLicense(licenses, { ...wanted, isTransferable: false }, seller), { reason: 'licenseNoOwner' })

  // R32: by the operational key of the device, for whoever owned it
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  assert.deepEqual(await licenses.epochsOf([id, 'nobody']), new Map([[id, 1]]))
  const own = testKey()
  const operational = await all.enroll(all.paint, 'A-1', { shown: idevid, key: own })
  const usage = openUsage(context, (der) => certificateFacts(ca, der))
  const { take } = usageMailbox(usage)
  const [record] = testChain('ab'.repeat(16), 1)
  assert.ok(record !== undefined && take !== undefined)
  const ended = { ...record, from: context.world.clock.now() - 1000, to: context.world.clock.now() + 60_000 }
  const whole = { ...ended, from: Math.floor(ended.from / 1000) * 1000, to: Math.floor(ended.to / 1000) * 1000 }
  const signer = (key: typeof own, certificate: Uint8Array) => ({
    ...({ certificate, keyAlgorithm: 'ecdsa-p256', signatureAlgorithm: 'ecdsa-sha256' } as const),
    sign: async (octets: Uint8Array) => new Uint8Array(sign('sha256', octets, key.key)),
  })
  await take.run(id, await signUsage(encodeUsage(whole), signer(own, operational.certificate)))
  const lines = await Array.fromAsync(usageTotals(usage, { from: 0, to: whole.to + 1 }))
  assert.deepEqual(
    lines.map((line) => [line.owner, line.model, line.counter, line.amount]),
    [
      ['ann', 'maker/pump', 'holes', 1000],
      ['ann', 'maker/pump', 'run', 1],
    ],
  )
  const lower = encodeUsage({
    ...whole,
    number: 2,
    previous: (await usageStanding(usage, id)).digest,
    from: whole.to,
    to: whole.to,
    counters: counting(1, 1),
  })
  const reason = await take
    .run(id, await signUsage(lower, signer(own, operational.certificate)))
    .catch((error: unknown) => asTrustError(error).reason)
  assert.equal(reason, 'usageSetBack')

  // R33: a device that is cut off is licensed nothing, and counts nothing
  await setFlag(context, id, { flag: 'stolen', isSet: true, actor: person })
  await assert.rejects(issueLicense(licenses, wanted, seller), { reason: 'licenseDeviceCutOff' })
  await assert.rejects(take.run(id, await signUsage(lower, signer(own, operational.certificate))), { reason: 'deviceMissing' })
  assert.ok(owner)
}

test('R13, R32: a device is licensed by its maker, and what it counts is billed to its owner', async () => {
  await using ca = await testCA()
  await licensedAndCounted(ca)
})

test('R13, R32: the same on PostgreSQL', { skip: postgresMissing() }, async (t) => {
  const server = await startPostgres({ durable: false })
  t.after(() => server.stop())
  await using ca = await testCAOn(postgres({ url: await server.createDatabase() }))
  await licensedAndCounted(ca)
})

test('R13: the birth key of a device that an order bore is in the log of its node', async () => {
  await using ca = await testCA()
  const { devices: context } = await devicePlant(ca)
  const [born, other] = [testKey(), testKey()]
  const certificate = new Uint8Array([1, 2, 3])
  const hashOf = ({ spki }: typeof born): Uint8Array => new Uint8Array(createHash('sha256').update(spki).digest())
  await context.db.transaction(async (tx) => {
    await tx.insertMany(
      'job_entry',
      ['job_id', 'organization_id', 'n', 'type', 'key_hash', 'certificate', 'at'],
      [['job', context.organizationId, 1, 'issue', hashOf(born).toHex(), certificate, 0]],
    )
  })
  assert.deepEqual(await birthCertificateOf(context, hashOf(born)), certificate)
  assert.equal(await birthCertificateOf(context, hashOf(other)), undefined)
})
