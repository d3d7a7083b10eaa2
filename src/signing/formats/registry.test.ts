/**
 * What every format promises, tried on every line of the registry with a real artifact of it: what is signed verifies,
 * nothing of it can be changed, nothing is read at once that is as large as the artifact, and no octets make a fault.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bytesSource, sizeOf } from '../artifact/blob.ts'
import {
  counted,
  judged,
  octetsIn,
  READ_MAX_OCTETS,
  signedWith,
  trialSigner,
  type TrialSigner,
  trialTimeStamps,
  verified,
} from '../artifact/testing.ts'
import { answer, askedFor } from '../artifact/answer.ts'
import type { Beside, SigningFormat } from '../format.ts'
import { loadFormat } from './load.ts'
import { detectFormat, signingFormat, signingFormats } from './registry.ts'
import { largeOf, optionsOfSample, sampleOf } from './samples.ts'

const signer = await trialSigner('rsa-2048')
const otherwise = await trialSigner('ecdsa-p256')
/** RSA with PKCS #1 padding, unless those who verify the format do not know it. */
const signerFor = ({ algorithms }: SigningFormat): TrialSigner =>
  algorithms?.includes('rsa-sha256') === false ? otherwise : signer
const timed = {
  ...signer,
  answering: { ...signer.answering, timeStamp: await trialTimeStamps(new Date('2027-05-02T00:00:00Z')) },
}

interface SignedSample {
  readonly octets: Uint8Array
  readonly beside?: Beside
}

async function signedSample(format: SigningFormat, artifact: Uint8Array, by = signerFor(format)): Promise<SignedSample> {
  const { octets, isBeside } = await signedWith(format, bytesSource(artifact), by, optionsOfSample(format.id))
  const { certificates } = by.answering
  if (isBeside) return { octets, beside: { content: bytesSource(artifact), certificates } }
  const { signatures } = await format.extract(bytesSource(octets))
  // some do not say whose the signature is
  return signatures.some(({ evidence }) => evidence.type === 'unknown') ? { octets, beside: { certificates } } : { octets }
}

/** Every position in a small range, and some in a large one with both ends. */
function somePositions({ offset, length }: { readonly offset: number; readonly length: number }, count: number): number[] {
  const step = Math.max(1, Math.floor(length / count))
  return [...Array(Math.ceil(length / step)).keys()].map((i) => offset + i * step).concat(offset + length - 1)
}

const flipped = (octets: Uint8Array, at: number): Uint8Array => octets.with(at, (octets[at] as number) ^ 0x01)

for (const format of signingFormats) {
  describe(format.id, async () => {
    const { certificates, signatureAlgorithm } = signerFor(format).answering
    const artifact = sampleOf(format.id)
    const sample = await signedSample(format, artifact)
    const extracted = await format.extract(bytesSource(sample.octets), sample.beside)
    const ranges = extracted.signatures[0]?.covered ?? []

    test('R9: the same artifact and choices give the same request, whoever asks', async () => {
      const choices = { certificates, signatureAlgorithm, options: optionsOfSample(format.id) }
      const [here, there] = await Promise.all([0, 1].map(() => format.toBeSigned(bytesSource(artifact), choices)))
      assert.deepEqual(here?.requests, there?.requests)
      for (const request of here?.requests ?? []) assert.ok(format.asks.some((kind) => kind === askedFor(request)))
      const answers = await Promise.all((here?.requests ?? []).map((request) => answer(request, signerFor(format).answering)))
      const [one, other] = [here?.attach(answers), there?.attach(answers)]
      assert.deepEqual(one, other)
      assert.equal(sizeOf(one?.pieces ?? []), (await octetsIn(bytesSource(artifact), one?.pieces ?? [])).length)
    })

    test('R9, R11: what is signed verifies, and says by whom', async () => {
      const report = await verified(format, sample.octets, sample.beside)
      assert.equal(report.valid, true, JSON.stringify(report.signatures.map(({ problem, standing }) => [problem, standing])))
      assert.ok(report.signatures.length > 0)
      for (const { signer: by, untouched, signatureAlgorithm: algorithm } of report.signatures) {
        assert.deepEqual(by?.der, certificates[0])
        assert.equal(untouched, true)
        assert.equal(algorithm, signatureAlgorithm)
      }
    })

    test('no octet that is covered can change', async () => {
      assert.ok(ranges.length > 0)
      let end = 0
      for (const { covered } of extracted.signatures) {
        end = 0
        for (const { offset, length } of covered) {
          assert.ok(offset >= end && length > 0)
          end = offset + length
        }
      }
      const covered = sample.beside?.content === undefined ? sample.octets : artifact
      assert.ok(end <= covered.length)
      for (const at of ranges.flatMap((range) => somePositions(range, 40))) {
        const broken = flipped(covered, at)
        const verdict =
          sample.beside?.content === undefined
            ? await judged(format, broken, sample.beside)
            : await judged(format, sample.octets, { ...sample.beside, content: bytesSource(broken) })
        assert.notEqual(verdict, 'valid', `octet ${at} was changed`)
      }
    })

    test('R31: no other file passes for what it signed', async () => {
      const beside = { ...sample.beside, content: bytesSource(Buffer.from('another file')) }
      assert.notEqual(await judged(format, sample.octets, beside), 'valid')
    })

    test('R31: with any octet changed or cut off, it is refused or as valid as before, and never a fault', async () => {
      for (const at of somePositions({ offset: 0, length: sample.octets.length }, 150))
        await judged(format, flipped(sample.octets, at), sample.beside)
      for (const at of somePositions({ offset: 0, length: sample.octets.length }, 60)) {
        const cut = sample.octets.subarray(0, at)
        assert.notEqual(await judged(format, cut, sample.beside), 'valid', `cut at ${at}`)
      }
    })

    test('R31: with anything added behind it, it is not valid', async () => {
      for (const more of [1, 8, 4096].map((length) => new Uint8Array(length))) {
        const longer = new Uint8Array([...sample.octets, ...more])
        if (sample.beside?.content === undefined || format.id === 'cms')
          assert.notEqual(await judged(format, longer, sample.beside), 'valid')
      }
    })

    test('R31: an artifact of chance is refused', async () => {
      for (const length of [0, 1, 2, 100, 5000]) {
        const noise = Uint8Array.from({ length }, (_, i) => (i * 131 + length * 7) & 0xff)
        assert.notEqual(await judged(format, noise, sample.beside), 'valid')
        assert.equal(await format.detect(bytesSource(noise)), false)
      }
    })

    test('a large artifact is read in small parts', async () => {
      const source = counted(bytesSource(largeOf(format.id)))
      const asked = format.toBeSigned(source, { certificates, signatureAlgorithm, options: optionsOfSample(format.id) })
      // a certificate, which none is so large
      if (format.id === 'apk-lineage') return assert.rejects(asked, { code: 'tooLarge' })
      const { requests } = await asked
      assert.ok(source.size > 3 * READ_MAX_OCTETS)
      assert.ok(source.largest() <= READ_MAX_OCTETS, `${source.largest()} octets at once`)
      assert.ok(requests.length > 0)
    })

    test('an option that is not offered, and an algorithm that is not known to verifiers, are refused', async () => {
      const asked = format.toBeSigned(bytesSource(artifact), { certificates, signatureAlgorithm, options: { nothing: 'x' } })
      await assert.rejects(asked, { code: 'malformed', reason: 'formatOption' })
      if (format.algorithms === undefined) return
      const other = { certificates, signatureAlgorithm: 'slh-dsa-sha2-256s' } as const
      await assert.rejects(format.toBeSigned(bytesSource(artifact), other), { reason: 'formatAlgorithm' })
    })

    test('it is found by a look, if its artifacts show what they are', async () => {
      const isFound = await format.detect(bytesSource(sample.octets))
      if (format.id === 'plain') return assert.equal(isFound, false)
      assert.equal(isFound, true)
      assert.equal((await detectFormat(bytesSource(sample.octets))).id, format.id)
    })

    if (extracted.signatures.every(({ evidence }) => evidence.type === 'cms')) {
      test('R28: a time stamp proves when', async () => {
        const stamped = await signedSample(format, artifact, timed)
        const { signatures, valid } = await verified(format, stamped.octets, stamped.beside)
        assert.equal(valid, true)
        assert.equal(signatures[0]?.provenTime?.toISOString(), '2027-05-02T00:00:00.000Z')
      })
    }
  })
}

test('a format that is not there is named with those that are', () => {
  assert.throws(() => signingFormat('rot13'), { code: 'notFound', message: /plain/ })
  assert.equal(signingFormat('cms').id, 'cms')
})

test('every format can be had by its name, whether alone or with the others', async () => {
  for (const format of signingFormats) assert.equal(await loadFormat(format.id), format)
  for (const id of ['rot13', 'registry', 'samples', '../registry', 'constructor'])
    await assert.rejects(loadFormat(id), { code: 'notFound', reason: 'formatUnknown' })
})

test('what shows no format is said so', async () => {
  await assert.rejects(detectFormat(bytesSource(new Uint8Array(10))), { code: 'unsupported', reason: 'formatNotSeen' })
})
