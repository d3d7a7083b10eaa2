/** The outside of a backup: what was written is read, and nothing else is. R22. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, randomFillSync } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { encodePEM } from '#asn1/pem.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import type { Recipient } from '#cms/encrypt.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import { CHUNK_OCTETS, openContainer, sealChunks, sealHead } from './container.ts'
import { makeRecoveryKey, parseRecipients, parseRecoveryKey, type RecoveryAlgorithm, recoveryAlgorithms } from './recipients.ts'

const world = systemWorld()
const { random } = world

async function recovery(algorithm: RecoveryAlgorithm = 'x25519') {
  const made = await makeRecoveryKey({ algorithm, name: 'A test' }, world)
  const recipients = parseRecipients(made.certificate)
  assert.equal(recipients.length, 1)
  return { recipient: recipients[0] as Recipient, opener: parseRecoveryKey(made.key), pem: made.certificate }
}

async function* pieces(octets: Uint8Array, size: number) {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}

const of = async function* (...parts: readonly Uint8Array[]) {
  yield* parts
}

async function seal(recipient: Recipient, content: Uint8Array, size = 100_000) {
  const head = await sealHead([recipient], random)
  return { head: head.octets, chunks: await Array.fromAsync(sealChunks(head, pieces(content, size))) }
}

async function open(file: AsyncIterable<Uint8Array>, opener: Awaited<ReturnType<typeof recovery>>['opener']) {
  const { content } = await openContainer(file, opener, random)
  return concat(await Array.fromAsync(content))
}

const octets = (count: number): Uint8Array => randomFillSync(new Uint8Array(count))

describe('a container', () => {
  for (const algorithm of recoveryAlgorithms) {
    test(`is opened by a recovery key of ${algorithm}, and by no other`, async () => {
      const { recipient, opener } = await recovery(algorithm)
      const content = octets(3000)
      const { head, chunks } = await seal(recipient, content)
      assert.deepEqual(await open(of(head, ...chunks), opener), content)
      const other = await recovery(algorithm)
      await assert.rejects(open(of(head, ...chunks), other.opener), { code: 'forbidden' })
    })
  }

  test('of several recipients is opened by each', async () => {
    const [one, two] = [await recovery('p256'), await recovery('ml-kem-768')]
    const head = await sealHead([one.recipient, two.recipient], random)
    const content = octets(10)
    const chunks = await Array.fromAsync(sealChunks(head, of(content)))
    for (const { opener } of [one, two]) assert.deepEqual(await open(of(head.octets, ...chunks), opener), content)
  })

  for (const length of [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 2 * CHUNK_OCTETS, 2 * CHUNK_OCTETS + 1]) {
    test(`carries ${length} octets, however they come in and go out`, async () => {
      const { recipient, opener } = await recovery()
      const content = octets(length)
      const { head, chunks } = await seal(recipient, content, 65_537)
      assert.equal(chunks.length, Math.max(1, Math.ceil(length / CHUNK_OCTETS)))
      assert.ok(equal(await open(pieces(concat([head, ...chunks]), 7777), opener), content))
    })
  }

  test('that was changed anywhere is refused with a closed code, and hands on nothing of the changed chunk', async () => {
    const { recipient, opener } = await recovery()
    const content = octets(CHUNK_OCTETS + 500)
    const { head, chunks } = await seal(recipient, content)
    const file = concat([head, ...chunks])
    await fc.assert(
      fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const changed = Uint8Array.from(file)
        changed[at] = (changed[at] ?? 0) ^ flip
        let seen = 0
        const error = await openContainer(pieces(changed, 9999), opener, random)
          .then(async (opened) => {
            for await (const piece of opened.content) {
              assert.ok(equal(piece, content.subarray(seen, seen + piece.length)))
              seen += piece.length
            }
          })
          .catch((thrown: unknown) => thrown)
        assert.ok(error instanceof TrustError, `octet ${at} was not missed`)
        assert.ok(['malformed', 'badProof', 'forbidden', 'unsupported'].includes(error.code), error.code)
      }),
      { numRuns: 150 },
    )
  })

  test('that was cut at any place is refused', async () => {
    const { recipient, opener } = await recovery()
    const { head, chunks } = await seal(recipient, octets(2 * CHUNK_OCTETS + 50))
    const file = concat([head, ...chunks])
    const ends = [0, 5, 19, 22, head.length - 1, head.length, head.length + 3, head.length + CHUNK_OCTETS + 20, file.length - 1]
    for (const end of ends) await assert.rejects(open(of(file.subarray(0, end)), opener), { code: 'malformed' }, `cut at ${end}`)
    await assert.rejects(open(of(file, Uint8Array.of(0)), opener), { code: 'badProof', reason: 'backupChanged' })
  })

  test('whose chunks were reordered, repeated, left out or taken from another backup is refused', async () => {
    const { recipient, opener } = await recovery()
    const one = await seal(recipient, octets(2 * CHUNK_OCTETS + 50))
    const two = await seal(recipient, octets(2 * CHUNK_OCTETS + 50))
    const [a, b, c] = one.chunks as [Uint8Array, Uint8Array, Uint8Array]
    const [x, y, z] = two.chunks as [Uint8Array, Uint8Array, Uint8Array]
    for (const chunks of [[b, a, c], [a, a, b, c], [a, c], [c], [x, b, c], [a, b, z], [x, y, z], [a, b, c, c], [a, y, c]]) {
      await assert.rejects(open(of(one.head, ...chunks), opener), { code: 'badProof', reason: 'backupChanged' })
    }
    await assert.rejects(open(of(two.head, ...one.chunks), opener), { code: 'badProof' })
  })

  test('is not what any octets are', async () => {
    const { opener } = await recovery()
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (file) => {
        await assert.rejects(open(of(file), opener), { code: 'malformed', reason: 'notBackup' })
      }),
      { numRuns: 100 },
    )
  })
})

describe('recovery keys', () => {
  test('a file without a certificate, or whose key only signs, is refused', async () => {
    assert.throws(() => parseRecipients('nothing'), { code: 'malformed' })
    const { pem } = await recovery()
    assert.throws(() => parseRecoveryKey(secret(utf8(pem))), {
      reason: 'recoveryKey',
    })
    const { publicKey } = generateKeyPairSync('ed25519')
    const subjectPublicKeyInfo = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }))
    const onlySigns = encodePEM('CERTIFICATE', await makeCertificate(makeKey(), { subjectPublicKeyInfo }))
    assert.throws(() => parseRecipients(onlySigns), { code: 'unsupported' })
  })
})
