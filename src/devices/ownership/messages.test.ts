import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { compactVerify, importJWK, calculateJwkThumbprint, type JWK } from 'jose'
import { asTrustError } from '#base/errors.ts'
import {
  checkNotice,
  checkOffer,
  checkPresence,
  encodeChain,
  follow,
  parseChain,
  partyOf,
  placeAfter,
  signAnswer,
  signNotice,
  signObjection,
  signOffer,
  signPresence,
  signRecovery,
  signRelease,
  type Standing,
  verifyChain,
} from './messages.ts'
import { hashOf, readStatement, signStatement } from './statement.ts'
import { chainOf, DAY, NOW, PRODUCT, sell, testKey, testOwner } from './testing.ts'

const maker = testKey()
const device = testKey()
const [anna, bert, carl] = [testOwner('Anna AG'), testOwner('Bert BV'), testOwner('Carl Co')]
const rules = { makers: [maker.public], device: device.device }
const three = await chainOf(maker, device.device, [anna, bert, carl])

const refuses = (work: Promise<unknown>, code: string, reason: string): Promise<void> =>
  assert.rejects(work, (thrown) => {
    const error = asTrustError(thrown)
    assert.deepEqual([error.code, error.reason], [code, reason])
    return true
  })

describe('the chain of owners (R6)', () => {
  test('says whose the device is, from the entries and the maker’s key alone', async () => {
    const standing = await verifyChain(three.entries, rules)
    assert.equal(standing.epoch, 3)
    assert.deepEqual(standing.owner, carl.party)
    assert.deepEqual(standing.product, PRODUCT)
    assert.deepEqual(
      standing.steps.map(({ to, terms }) => [to.name, terms]),
      [
        ['Anna AG', 'as agreed'],
        ['Bert BV', 'as agreed'],
        ['Carl Co', 'as agreed'],
      ],
    )
    assert.deepEqual(parseChain(encodeChain(three.entries)), three.entries)
  })

  test('a JOSE library that is not ours verifies every signature in it', async () => {
    const signers: readonly JWK[] = [maker, anna.key, bert.key].map(({ public: { key } }) => key.export({ format: 'jwk' }) as JWK)
    for (const [at, entry] of three.entries.entries()) {
      const jwk = signers[at] as JWK
      const { payload, protectedHeader } = await compactVerify(entry, await importJWK(jwk, 'ES256'))
      assert.equal(protectedHeader.kid, await calculateJwkThumbprint(jwk))
      const { previous, answer, offer } = JSON.parse(new TextDecoder().decode(payload)) as Record<string, string>
      assert.equal(previous, at === 0 ? undefined : hashOf(three.entries[at - 1] as string))
      const { payload: offered } = await compactVerify(offer as string, await importJWK(jwk, 'ES256'))
      const { to } = JSON.parse(new TextDecoder().decode(offered)) as { to: { key: JWK } }
      await compactVerify(answer as string, await importJWK(to.key, 'ES256'))
    }
  })

  test('keys of any algorithm that JOSE names sign entries', async () => {
    const pairs = [
      generateKeyPairSync('ed25519'),
      generateKeyPairSync('rsa', { modulusLength: 2048 }),
      generateKeyPairSync('ml-dsa-65'),
      generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    ]
    const owners = pairs.map((pair, at) => testOwner(`owner ${at}`, testKey(pair)))
    const { entries } = await chainOf(maker, device.device, owners)
    assert.equal((await verifyChain(entries, rules)).owner.name, 'owner 3')
  })

  test('entries in another order, left out or twice are refused', async () => {
    const [one, two, last] = three.entries as [string, string, string]
    for (const wrong of [[two, one, last], [one, last], [two, last], [one, one, two], [last]])
      await refuses(verifyChain(wrong, rules), 'badProof', 'ownershipOrder')
    await refuses(verifyChain([], rules), 'malformed', 'ownershipEmpty')
  })

  test('a chain that ends early is refused by whoever knows a later epoch', async () => {
    const early = three.entries.slice(0, 2)
    assert.equal((await verifyChain(early, rules)).owner.name, 'Bert BV')
    await refuses(verifyChain(early, { ...rules, epochAtLeast: 3 }), 'conflict', 'ownershipStale')
  })

  test('the chain of another device, and of another maker, are refused', async () => {
    await refuses(verifyChain(three.entries, { ...rules, device: testKey().device }), 'badProof', 'ownershipOtherDevice')
    await refuses(verifyChain(three.entries, { makers: [testKey().public] }), 'unauthenticated', 'ownershipMakerUnknown')
    const other = testKey().device
    const entry = await sell(undefined, other, { from: maker, to: anna })
    await refuses(verifyChain([entry, ...three.entries.slice(1)], { makers: [maker.public] }), 'badProof', 'ownershipOtherDevice')
  })

  test('nobody sells a device that is not theirs: a former owner, the maker, a stranger', async () => {
    const standing = three.standings[2]
    for (const from of [maker, anna.key, bert.key, testKey()]) {
      const entry = await sell(standing, device.device, { from, to: anna })
      await refuses(verifyChain([...three.entries, entry], rules), 'badProof', 'ownershipSignature')
    }
  })

  test('nobody is given a device: without an acceptance, with a refusal, with that of another offer', async () => {
    const standing = three.standings[2]
    const place = placeAfter(standing, device.device)
    const terms = { to: anna.party, terms: '', offeredAt: NOW, expiresAt: NOW + DAY }
    const offer = await signOffer(place, terms, carl.key)
    const forged = await signAnswer(offer, { isAccepted: true, answeredAt: NOW }, carl.key)
    const no = await signAnswer(offer, { isAccepted: false, answeredAt: NOW }, anna.key)
    const dearer = await signOffer(place, { ...terms, terms: 'twice the price' }, carl.key)
    const yes = await signAnswer(offer, { isAccepted: true, answeredAt: NOW }, anna.key)
    const late = await signAnswer(offer, { isAccepted: true, answeredAt: NOW + 2 * DAY }, anna.key)
    const released = async (
      ...[of, answer]: Parameters<typeof signRelease> extends [infer O, infer A, ...unknown[]] ? [O, A] : never
    ) => verifyChain([...three.entries, (await signRelease(of, answer, NOW, carl.key)).statement], rules)
    await refuses(released(offer, forged), 'badProof', 'ownershipSignature')
    await refuses(released(offer, no), 'badProof', 'ownershipNotAccepted')
    await refuses(released(dearer, yes), 'badProof', 'ownershipOrder')
    await refuses(released(offer, late), 'policyRefused', 'ownershipExpired')
    assert.equal((await released(offer, yes)).owner.name, 'Anna AG')
  })

  test('a statement is not taken for one of another kind, nor in another form', async () => {
    const offer = readStatement('release', three.entries[0] as string).payload.offer
    await refuses(
      Promise.resolve().then(() => readStatement('release', offer)),
      'malformed',
      'ownershipMalformed',
    )
    const [head, , signature] = offer.split('.') as [string, string, string]
    const spaced = Buffer.from(JSON.stringify(readStatement('offer', offer).payload, null, 1)).toString('base64url')
    await refuses(
      Promise.resolve().then(() => readStatement('offer', `${head}.${spaced}.${signature}`)),
      'malformed',
      'ownershipMalformed',
    )
    await refuses(
      Promise.resolve().then(() => readStatement('offer', `${offer}\n`)),
      'malformed',
      'ownershipMalformed',
    )
  })

  test('every octet of a chain counts', async () => {
    const text = encodeChain(three.entries)
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 2), fc.integer({ min: 1, max: 63 }), async (at, by) => {
        const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
        const place = alphabet.indexOf(text[at] as string)
        const other = place < 0 ? 'A' : (alphabet[(place + by) % 64] as string)
        const changed = text.slice(0, at) + other + text.slice(at + 1)
        await assert.rejects(
          async () => verifyChain(parseChain(changed), rules),
          (thrown) => asTrustError(thrown).code !== 'internal',
        )
      }),
      { numRuns: 150 },
    )
  })

  test('random histories of owners: only who owns the device sells it', async () => {
    const owners = [anna, bert, carl]
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(3), fc.nat(2)), { minLength: 1, maxLength: 8 }), async (sales) => {
        let standing: Standing | undefined
        const entries: string[] = []
        for (const [seller, buyer] of sales) {
          const from = seller === 3 ? maker : (owners[seller]?.key ?? maker)
          const to = owners[buyer] ?? anna
          const mayS = standing === undefined ? from === maker : from.thumbprint === ownerOf(standing)
          const entry = await sell(standing, device.device, { from, to })
          const next = await follow(standing, entry, rules).catch((thrown: unknown) => asTrustError(thrown))
          assert.equal('head' in next, mayS)
          if (!('head' in next)) continue
          standing = next
          entries.push(entry)
        }
        if (standing === undefined) return
        assert.deepEqual(await verifyChain(entries, rules), standing)
      }),
      { numRuns: 25 },
    )
  })
})

const ownerOf = (standing: Standing): string =>
  [anna, bert, carl].find(({ party }) => party.name === standing.owner.name)?.key.thumbprint ?? ''

describe('a recovery (R15)', () => {
  const standing = three.standings[2] as Standing
  const place = placeAfter(standing, device.device)
  const dora = testOwner('Dora DAO')
  const nonce = hashOf('nonce')
  const present = (key = device, to = dora.party) => signPresence(place, { key: key.public, to, nonce, at: NOW }, key)
  const days = (count: number, reason = 'the owner is bankrupt') => ({ reason, publishedAt: NOW, endsAt: NOW + count * DAY })

  test('is completed by the maker after its time, with the device and the acceptance of who claims it', async () => {
    const presence = await present()
    const notice = await signNotice(presence, days(30), maker)
    const answer = await signAnswer(notice, { isAccepted: true, answeredAt: NOW }, dora.key)
    const early = await signRecovery(notice, answer, NOW + 29 * DAY, maker)
    await refuses(verifyChain([...three.entries, early.statement], rules), 'policyRefused', 'ownershipWaits')
    const entry = await signRecovery(notice, answer, NOW + 30 * DAY, maker)
    const after = await verifyChain([...three.entries, entry.statement], rules)
    assert.deepEqual(after.owner, dora.party)
    assert.equal(after.steps.at(-1)?.kind, 'recovery')

    const objection = await signObjection(notice, { reason: 'it is in use', objectedAt: NOW }, carl.key)
    const objections = [objection.statement]
    await refuses(
      verifyChain([...three.entries, entry.statement], { ...rules, objections }),
      'policyRefused',
      'ownershipObjected',
    )
    const strangers = await signObjection(notice, { reason: 'mine', objectedAt: NOW }, bert.key)
    await verifyChain([...three.entries, entry.statement], { ...rules, objections: [strangers.statement] })
  })

  test('is no seizure: not without the device, not by another than the maker, not in a week, not of what was never sold', async () => {
    const without = await present(testKey())
    await refuses(checkPresence(standing, without.statement, rules), 'badProof', 'ownershipOtherDevice')
    const claimed = await signStatement('presence', { ...without.payload, key: (await present()).payload.key }, testKey())
    await refuses(checkPresence(standing, claimed.statement, rules), 'badProof', 'ownershipSignature')
    const presence = await present()
    const notByMaker = await signNotice(presence, days(30), dora.key)
    await refuses(checkNotice(standing, notByMaker.statement, rules), 'badProof', 'ownershipSignature')
    const short = await signNotice(presence, days(7), maker)
    await refuses(checkNotice(standing, short.statement, rules), 'badProof', 'ownershipOrder')
    const notice = await signNotice(presence, days(30), maker)
    const answer = await signAnswer(notice, { isAccepted: true, answeredAt: NOW }, dora.key)
    const entry = await signRecovery(notice, answer, NOW + 30 * DAY, maker)
    await refuses(verifyChain([entry.statement], rules), 'badProof', 'ownershipOrder')
    await refuses(verifyChain([...three.entries.slice(0, 2), entry.statement], rules), 'badProof', 'ownershipOrder')
  })

  test('an old proof of presence is of an old epoch', async () => {
    const presence = await present()
    const sold = await follow(standing, await sell(standing, device.device, { from: carl.key, to: anna }), rules)
    await refuses(checkPresence(sold, presence.statement, rules), 'badProof', 'ownershipOrder')
  })
})

test('an offer names the product once, in the first', async () => {
  const place = placeAfter(three.standings[2], device.device)
  const more = await signOffer(place, { to: anna.party, terms: '', product: PRODUCT, offeredAt: NOW, expiresAt: NOW }, carl.key)
  await refuses(checkOffer(three.standings[2], more.statement, rules), 'badProof', 'ownershipOrder')
  assert.deepEqual(partyOf('Anna AG', anna.key.public), anna.party)
})
