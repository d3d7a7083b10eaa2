/** Programs whose headers lie, and signatures that say something else than they seem to. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { encodeSignedData } from '#cms/sign.ts'
import { answer } from '../artifact/answer.ts'
import { bytesSource } from '../artifact/blob.ts'
import { checksumOf, parsePE, type PEImage, wordSumOf } from '../artifact/pe.ts'
import { judged, octetsIn, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { authenticodePE } from './authenticode-pe.ts'
import { sampleOf } from './samples.ts'

const program = sampleOf('authenticode-pe')
const signer = await trialSigner('rsa-2048')
const other = await trialSigner('ecdsa-p256')
const { octets: signed } = await signedWith(authenticodePE, bytesSource(program), signer)
const image = await parsePE(bytesSource(signed))
const pe = image.checksumOffset - 64 - 24
const sectionTable = pe + 24 + new DataView(signed.buffer, signed.byteOffset).getUint16(pe + 20, true)

const changed = (octets: Uint8Array, change: (view: DataView, copy: Uint8Array) => void): Uint8Array => {
  const copy = new Uint8Array(octets)
  change(new DataView(copy.buffer), copy)
  return copy
}
const grown = (octets: Uint8Array, by: Uint8Array, change: (view: DataView) => void): Uint8Array =>
  changed(concat([octets, by]), change)

const lies: readonly { readonly name: string; readonly octets: Uint8Array; readonly verdict: string }[] = [
  {
    name: 'the header lies in the DOS header',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(0x3c, 0x20, true)),
  },
  {
    name: 'the header lies past the end',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(0x3c, 0xfffffff0, true)),
  },
  { name: 'no sections', verdict: 'malformed badArtifact', octets: changed(signed, (v) => v.setUint16(pe + 6, 0, true)) },
  {
    name: '65,535 sections',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint16(pe + 6, 0xffff, true)),
  },
  {
    name: 'an optional header of no kind',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint16(pe + 24, 0x107, true)),
  },
  {
    name: 'no entry for certificates',
    verdict: 'unsupported artifactUnsupported',
    octets: changed(signed, (v) => v.setUint32(pe + 24 + 108, 4, true)),
  },
  {
    name: 'headers larger than the file',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(pe + 24 + 60, 0x7fffffff, true)),
  },
  {
    name: 'headers that leave out the section table',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(pe + 24 + 60, 0x100, true)),
  },
  {
    name: 'a gap between sections',
    verdict: 'unsupported artifactUnsupported',
    octets: changed(signed, (v) => v.setUint32(sectionTable + 20, 0x800, true)),
  },
  {
    name: 'sections that overlap',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(sectionTable + 16, 0x400, true)),
  },
  {
    name: 'a section in the certificate table',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(sectionTable + 4 * 40 + 16, 0x2000, true)),
  },
  {
    name: 'a table that ends before the file',
    verdict: 'malformed badArtifact',
    octets: grown(signed, new Uint8Array(8), () => {}),
  },
  {
    name: 'a table of no length',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(image.directoryOffset + 4, 0, true)),
  },
  {
    name: 'a table at no place',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(image.directoryOffset, 0, true)),
  },
  {
    name: 'a table in the middle',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(image.directoryOffset, 0x400, true)),
  },
  {
    name: 'no table',
    verdict: 'unauthenticated artifactUnsigned',
    octets: changed(
      signed,
      (v) => (v.setUint32(image.directoryOffset, 0, true), v.setUint32(image.directoryOffset + 4, 0, true)),
    ),
  },
  {
    name: 'an entry that is longer than the table',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(image.end, image.tableLength + 8, true)),
  },
  {
    name: 'an entry of no length',
    verdict: 'malformed badArtifact',
    octets: changed(signed, (v) => v.setUint32(image.end, 8, true)),
  },
  {
    name: 'an entry of an older revision',
    verdict: 'unsupported artifactUnsupported',
    octets: changed(signed, (v) => v.setUint16(image.end + 4, 0x0100, true)),
  },
  {
    name: 'an entry of another type',
    verdict: 'unsupported artifactUnsupported',
    octets: changed(signed, (v) => v.setUint16(image.end + 6, 1, true)),
  },
  {
    name: 'something hidden behind the signature',
    verdict: 'malformed badArtifact',
    octets: stuffed(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
  },
  { name: 'zeros behind the signature', verdict: 'malformed badArtifact', octets: stuffed(new Uint8Array(8)) },
]

/** MS13-098: octets behind the signature, counted in with it, that no digest covers. */
function stuffed(what: Uint8Array): Uint8Array {
  return grown(signed, what, (view) => {
    view.setUint32(image.end, image.tableLength + what.length, true)
    view.setUint32(image.directoryOffset + 4, image.tableLength + what.length, true)
  })
}

for (const { name, octets, verdict } of lies) {
  test(`R31: ${name}: ${verdict}`, async () => assert.equal(await judged(authenticodePE, octets), verdict))
}

test('the sample is what the lies are told of', async () => {
  assert.equal(await judged(authenticodePE, signed), 'valid')
  assert.equal(image.sections.length, 5)
})

/** The program with another message in its table. */
async function carrying(message: Uint8Array): Promise<Uint8Array> {
  const { certificates, signatureAlgorithm } = signer.answering
  const prepared = await authenticodePE.toBeSigned(bytesSource(program), { certificates, signatureAlgorithm })
  const answers = await Promise.all(prepared.requests.map((request) => answer(request, signer.answering)))
  const { pieces } = prepared.attach(answers)
  const table = pieces.at(-1)
  assert.ok(table instanceof Uint8Array)
  const length = 8 + message.length
  const entry = new Uint8Array(length + (-length & 7))
  const view = new DataView(entry.buffer)
  view.setUint32(0, entry.length, true)
  view.setUint16(4, 0x0200, true)
  view.setUint16(6, 2, true)
  entry.set(message, 8)
  const octets = await octetsIn(bytesSource(program), pieces.with(pieces.length - 1, entry))
  new DataView(octets.buffer).setUint32(image.directoryOffset + 4, entry.length, true)
  return octets
}

const requestFor = async (artifact: Uint8Array) => {
  const { certificates, signatureAlgorithm } = signer.answering
  const [request] = (await authenticodePE.toBeSigned(bytesSource(artifact), { certificates, signatureAlgorithm })).requests
  assert.ok(request.type === 'cms' && 'attached' in request.content)
  return { ...request, content: request.content }
}
const request = await requestFor(program)

test('a signature of another program is no signature of this', async () => {
  const elsewhere = await answer(await requestFor(concat([program, program])), signer.answering)
  assert.equal(await judged(authenticodePE, await carrying(elsewhere)), 'invalid artifactChanged')
})

test('the same statement as an OCTET STRING, and for another kind of file, is malformed', async () => {
  const { certificates, signatureAlgorithm, key } = signer.answering
  const wrapped = await encodeSignedData({
    contentType: request.contentType,
    content: { attached: request.content.attached },
    signers: [{ key, certificate: certificates[0], signatureAlgorithm }],
  })
  assert.equal(await judged(authenticodePE, await carrying(wrapped)), 'malformed badArtifact')
  const hex = request.content.attached.toHex().replace('2b06010401823702010f', '2b06010401823702011e') // SpcSipInfo: MSI
  const forMSI = await answer({ ...request, content: { attached: Uint8Array.fromHex(hex) } }, signer.answering)
  assert.equal(await judged(authenticodePE, await carrying(forMSI)), 'malformed badArtifact')
})

test('two signers in one message are refused: programs look at the first and trust both', async () => {
  const both = [signer, other].map(({ answering: { key, certificates, signatureAlgorithm } }) => ({
    key,
    certificate: certificates[0],
    signatureAlgorithm,
  }))
  const [first, second] = both
  assert.ok(first !== undefined && second !== undefined)
  const message = await encodeSignedData({
    contentType: request.contentType,
    content: { element: request.content.attached },
    signers: [first, second],
  })
  assert.equal(await judged(authenticodePE, await carrying(message)), 'malformed badArtifact')
})

test('file and signature must name one digest', async () => {
  const { certificates } = other.answering
  const answering = { ...other.answering, certificates, signatureAlgorithm: 'ecdsa-sha384' as const }
  assert.equal(await judged(authenticodePE, await carrying(await answer(request, answering))), 'malformed badArtifact')
})

test('a nested signature that is stripped is gone, and the other stays valid: nothing covers that there were two', async () => {
  const { octets } = await signedWith(authenticodePE, bytesSource(signed), other, { existing: 'nest' })
  assert.equal((await verified(authenticodePE, octets)).signatures.length, 2)
  const stripped = (await signedWith(authenticodePE, bytesSource(octets), signer)).octets
  assert.equal((await verified(authenticodePE, stripped)).signatures.length, 1)
})

test('a certificate for something else than code, one that nobody trusts, and one that has ended are no signers', async () => {
  const { octets } = await signedWith(authenticodePE, bytesSource(program), await trialSigner('rsa-2048', 'serverAuth'))
  const { signatures } = await verified(authenticodePE, octets)
  const standing = signatures[0]?.standing?.atSigning
  assert.ok(standing?.valid === false && standing.failure.reason === 'pathPurpose')
})

test('the checksum is one word sum, however it is cut into parts', () => {
  const octets = Uint8Array.from({ length: 1001 }, (_, i) => (i * 37) & 0xff)
  let sum = 0
  for (let i = 0; i < octets.length; i += 2) {
    sum += (octets[i] as number) + 256 * (octets[i + 1] ?? 0)
    sum = (sum & 0xffff) + (sum >>> 16)
  }
  for (const cut of [0, 2, 500, 1000])
    assert.equal(checksumOf([wordSumOf(octets.subarray(0, cut)), wordSumOf(octets.subarray(cut))], 1001), sum + 1001)
})

test('images of any size end where a table may begin', async () => {
  for (let more = 0; more < 9; more++) {
    const { octets } = await signedWith(authenticodePE, bytesSource(concat([program, new Uint8Array(more).fill(7)])), signer)
    const { end }: PEImage = await parsePE(bytesSource(octets))
    assert.equal(end % 8, 0)
    assert.equal(await judged(authenticodePE, octets), 'valid')
  }
})
