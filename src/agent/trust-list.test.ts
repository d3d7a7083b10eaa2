/** Trust lists: what follows what, and everything that must not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { encodeSigningInputHead } from '#jose/jws.ts'
import { certificateOf, type TestKey, testKey } from '#protocols/testing.ts'
import {
  checkNotExpired,
  checkOwnSignatures,
  checkSuccessor,
  encodeTrustList,
  joinTrustLists,
  parseSignedTrustList,
  parseTrustList,
  signTrustList,
  type SignedTrustList,
  type TrustList,
} from './trust-list.ts'

const [a, b, c, d] = [testKey(), testKey(), testKey(), testKey()]
const anchor = certificateOf(testKey())
const listOf = (keys: readonly TestKey[], more: Partial<TrustList> = {}): TrustList => ({
  name: 'presses',
  version: 1,
  expires: new Date('2027-01-01T00:00:00Z'),
  threshold: 2,
  keys: keys.map(({ publicKey }) => publicKey),
  anchors: { software: [anchor] },
  ...more,
})
async function octetsOf(list: TrustList, signers: readonly TestKey[]): Promise<Uint8Array> {
  let octets = encodeTrustList(list)
  for (const { sign } of signers) {
    const signer = {
      keyAlgorithm: 'ecdsa-p256',
      signatureAlgorithm: 'ecdsa-sha256',
      sign: async (m: Uint8Array) => sign(m),
    } as const
    octets = await signTrustList(octets, signer)
  }
  return octets
}
const signed = async (list: TrustList, signers: readonly TestKey[]): Promise<SignedTrustList> =>
  parseSignedTrustList(await octetsOf(list, signers))

test('R11: a list is taken when enough of its own keys signed it, each counted once', async () => {
  const list = listOf([a, b, c])
  assert.equal((await checkOwnSignatures(await signed(list, [a, c]))).version, 1)
  for (const signers of [[a], [a, a], [a, d]])
    await assert.rejects(checkOwnSignatures(await signed(list, signers)), { code: 'badProof', reason: 'trustListSignatures' })
})

test('R11: a successor needs the next version, enough of the former keys and enough of its own', async () => {
  const first = await signed(listOf([a, b]), [a, b])
  const next = (more: Partial<TrustList> = {}, keys = [c, d]): TrustList => listOf(keys, { version: 2, ...more })
  assert.equal((await checkSuccessor(first, await signed(next(), [a, b, c, d]))).version, 2)
  for (const signers of [
    [c, d],
    [a, c, d],
    [a, b],
    [a, b, c],
  ])
    await assert.rejects(checkSuccessor(first, await signed(next(), signers)), { code: 'badProof' })
  const all = [a, b, c, d]
  for (const other of [next({ version: 3 }), next({ name: 'mills' }), listOf([c, d])])
    await assert.rejects(checkSuccessor(first, await signed(other, all)), { code: 'policyRefused', reason: 'trustListOther' })
  const second = await signed(next(), all)
  await assert.rejects(checkSuccessor(second, first), { reason: 'trustListOther' }, 'no way back')
  assert.equal(await checkSuccessor(second, await signed(next(), [c, d])), second.list, 'the same again')
})

test('a device that was long offline goes from list to list, also where no first key is left and those between have ended', async () => {
  const keys = Array.from({ length: 6 }, testKey)
  const at = (n: number): TestKey => keys[n] as TestKey
  let known = await signed(listOf([at(0), at(1)], { expires: new Date('2020-01-01T00:00:00Z') }), [at(0), at(1)])
  for (let n = 1; n < 5; n++) {
    const list = listOf([at(n), at(n + 1)], { version: n + 1, expires: new Date(`202${n}-01-01T00:00:00Z`) })
    const next = await signed(list, [at(n - 1), at(n), at(n + 1)])
    await checkSuccessor(known, next)
    known = next
  }
  assert.equal(known.list.version, 5)
  assert.throws(() => checkNotExpired(known.list, Date.parse('2026-01-01T00:00:00Z')), { reason: 'trustListExpired' })
  checkNotExpired(known.list, Date.parse('2023-06-01T00:00:00Z'))
})

test('signatures that were made in several places are joined, over one list only', async () => {
  const list = listOf([a, b])
  const [byA, byB] = [await octetsOf(list, [a]), await octetsOf(list, [b])]
  const joined = joinTrustLists([byA, byB, byB])
  const whole = parseSignedTrustList(joined)
  assert.equal(whole.message.signatures.length, 2)
  await checkOwnSignatures(whole)
  const other = await octetsOf(listOf([a, b], { version: 2 }), [a])
  assert.throws(() => joinTrustLists([joined, other]), { code: 'conflict', reason: 'trustListsDiffer' })
})

test('a signature over the same octets as something else does not count', async () => {
  const { message, encodedPayload } = await signed(listOf([a, b]), [a, b])
  const [one] = message.signatures
  assert.ok(one)
  const input = concat([encodeSigningInputHead(one.encodedHeader), utf8(encodedPayload)])
  const octets = fromMessageSignature(one.signature, 'ecdsa-p256')
  assert.ok(await verifySignature({ algorithm: 'ecdsa-sha256', octets }, importPublicKey(a.publicKey), input))
  const renamed = message.signatures.map((each) => ({ ...each, protectedHeader: { ...each.protectedHeader, typ: 'JWT' } }))
  const list = { ...(await signed(listOf([a, b]), [a, b])), message: { ...message, signatures: renamed } }
  await assert.rejects(checkOwnSignatures(list), { code: 'badProof' })
})

test('one changed octet anywhere is refused', async () => {
  const octets = await octetsOf(listOf([a, b]), [a, b])
  await fc.assert(
    fc.asyncProperty(fc.nat(octets.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const changed = new Uint8Array(octets)
      changed[at] = (changed[at] as number) ^ flip
      await assert.rejects(async () => checkOwnSignatures(parseSignedTrustList(changed)), { name: 'TrustError' })
    }),
    { numRuns: 300 },
  )
})

for (const [what, more] of [
  ['a key twice', { keys: [a.publicKey, a.publicKey] }],
  ['a threshold above its keys', { threshold: 3 }],
  ['a threshold of none', { threshold: 0 }],
  ['no keys', { keys: [] }],
  ['version 0', { version: 0 }],
  ['an anchor that is no certificate', { anchors: { software: [new Uint8Array(3)] } }],
  ['a purpose with odd characters', { anchors: { Software: [anchor] } }],
] as const) {
  test(`a list with ${what} is malformed`, () => {
    assert.throws(() => parseTrustList(encodeTrustList(listOf([a, b], more))), { code: 'malformed' })
  })
}

test('a list that says more than this program knows is refused', () => {
  const text = JSON.parse(new TextDecoder().decode(encodeTrustList(listOf([a, b])))) as object
  assert.throws(() => parseTrustList(utf8(JSON.stringify({ ...text, also: 1 }))), { code: 'malformed', reason: 'notTrustList' })
})
