/**
 * Updates of UEFI variables with efitools, both ways, and openssl on the signature by itself.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { encode } from '#asn1/codec.ts'
import { encodePEM } from '#asn1/pem.ts'
import { concat } from '#base/bytes.ts'
import { ContentInfo, contentTypes } from '#cms/content-info.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { efiVariables, parseAuthenticated } from '#signing/artifact/efi-variable.ts'
import { judged, root, signedWith, type TrialSigner, trialSigner, verified } from '#signing/artifact/testing.ts'
import { uefiVariable } from '#signing/formats/uefi-variable.ts'
import { needs } from './programs.ts'
import { scratch } from './scratch.ts'

const run = promisify(execFile)
const tools = needs('cert-to-efi-sig-list', 'sign-efi-sig-list', 'sig-list-to-certs', 'openssl')
const { fresh, keep } = scratch('uefi')

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(path))
const pem = (der: Uint8Array): string => keep(encodePEM('CERTIFICATE', der), '.pem')

const owner = '4d414e55-4641-4354-5552-455253454c46'
async function listOf(certificate: Uint8Array): Promise<Uint8Array> {
  const out = fresh('.esl')
  await run(tools.path('cert-to-efi-sig-list'), ['-g', owner, pem(certificate), out])
  return read(out)
}

const timestamp = '2027-05-01T10:11:12Z'
interface Asked {
  readonly variable: string
  readonly write?: 'append'
}
const optionsFor = ({ variable, write }: Asked): Readonly<Record<string, string>> => ({
  variable,
  timestamp,
  write: write ?? 'replace',
})
const flagsFor = ({ write }: Asked): readonly string[] => [
  ...['-t', '2027-05-01 10:11:12'],
  ...(write === undefined ? [] : ['-a']),
]

/** What they say is to be signed. */
async function bundleFor(asked: Asked, list: Uint8Array): Promise<Uint8Array> {
  const out = fresh('.bundle')
  await run(tools.path('sign-efi-sig-list'), [...flagsFor(asked), '-o', asked.variable, keep(list), out])
  return read(out)
}

async function theySign(asked: Asked, list: Uint8Array, { privateKey, answering }: TrialSigner): Promise<Uint8Array> {
  const key = keep(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const out = fresh('.auth')
  const signing = ['-k', key, '-c', pem(answering.certificates[0])]
  await run(tools.path('sign-efi-sig-list'), [...flagsFor(asked), ...signing, asked.variable, keep(list), out])
  return read(out)
}

/** They put a signature that somebody else made into its place. */
async function theyComplete(asked: Asked, list: Uint8Array, signature: Uint8Array): Promise<Uint8Array> {
  const out = fresh('.auth')
  const from = keep(signature)
  await run(tools.path('sign-efi-sig-list'), [...flagsFor(asked), '-i', from, asked.variable, keep(list), out])
  return read(out)
}

async function partsOf(octets: Uint8Array): Promise<Readonly<Record<'signature' | 'message' | 'list', Uint8Array>>> {
  const { signature, data } = (await parseAuthenticated(bytesSource(octets))) ?? assert.fail('it is not signed')
  const message = encode(ContentInfo, { contentType: contentTypes.signedData, content: signature })
  return { signature, message, list: octets.slice(data.offset) }
}

/** With the functions for PKCS #7, as firmware does. */
const opensslSays = async (message: Uint8Array, bundle: Uint8Array): Promise<unknown> =>
  run(tools.path('openssl'), [
    ...['smime', '-verify', '-binary', '-inform', 'DER', '-in', keep(message), '-content', keep(bundle), '-out', fresh()],
    ...['-CAfile', pem(root), '-purpose', 'any'],
  ])

describe('R9, R11: updates of UEFI variables', { skip: tools.skip }, () => {
  let signer: TrialSigner
  let list: Uint8Array
  before(async () => {
    signer = await trialSigner('rsa-2048')
    list = await listOf((await trialSigner('rsa-2048')).answering.certificates[0])
  })

  for (const variable of efiVariables.filter((one) => !one.startsWith('dbt') && !one.startsWith('dbr'))) {
    for (const asked of [{ variable }, { variable, write: 'append' }] as const) {
      test(`${asked.write ?? 'replace'} ${variable}: we sign what efitools says is signed, and read what it signs`, async () => {
        const { octets } = await signedWith(uefiVariable, bytesSource(list), signer, optionsFor(asked))
        const bundle = await bundleFor(asked, list)
        const { message, signature } = await partsOf(octets)
        await opensslSays(message, bundle)
        assert.deepEqual(await theyComplete(asked, list, signature), octets)

        const where = asked.write === undefined ? `update of ${variable}` : `addition to ${variable}`
        for (const one of [octets, await theySign(asked, list, signer)]) {
          const { valid, signatures } = await verified(uefiVariable, one)
          assert.equal(valid, true)
          assert.equal(signatures[0]?.where, where)
          assert.deepEqual(signatures[0]?.signer?.der, signer.answering.certificates[0])
        }
      })
    }
  }

  test('the list inside is theirs, certificate by certificate', async () => {
    const certificate = (await trialSigner('rsa-2048')).answering.certificates[0]
    const both = concat([await listOf(signer.answering.certificates[0]), await listOf(certificate)])
    const { octets } = await signedWith(uefiVariable, bytesSource(both), signer, optionsFor({ variable: 'db' }))
    const out = fresh('certs')
    await run(tools.path('sig-list-to-certs'), [keep((await partsOf(octets)).list), out])
    assert.deepEqual(read(`${out}-1.der`), new Uint8Array(certificate))
  })

  test('one changed octet fails there and here', async () => {
    const bundle = await bundleFor({ variable: 'db' }, list)
    const { octets: ours } = await signedWith(uefiVariable, bytesSource(list), signer, optionsFor({ variable: 'db' }))
    for (const octets of [ours, await theySign({ variable: 'db' }, list, signer)]) {
      const { message } = await partsOf(octets)
      // year, owner of the list, certificate in it
      for (const at of [0, octets.length - list.length + 30, octets.length - 100])
        assert.notEqual(await judged(uefiVariable, octets.with(at, (octets[at] as number) ^ 0x01)), 'valid', `octet ${at}`)
      for (const at of [0, 4, 20, 26, bundle.length - 100])
        await assert.rejects(opensslSays(message, bundle.with(at, (bundle[at] as number) ^ 0x01)), `octet ${at}`)
    }
  })

  test('without its signature nobody signed it', async () => {
    assert.equal(await judged(uefiVariable, list), 'unauthenticated artifactUnsigned')
  })

  test('signed again, with another time, the new signature replaces the old one', async () => {
    const other = await trialSigner('rsa-3072')
    const theirs = await theySign({ variable: 'db' }, list, signer)
    const asked = { variable: 'KEK', write: 'append' } as const
    const { octets } = await signedWith(uefiVariable, bytesSource(theirs), other, optionsFor(asked))
    const { valid, signatures } = await verified(uefiVariable, octets)
    assert.equal(valid, true)
    assert.equal(signatures[0]?.where, 'addition to KEK')
    assert.deepEqual((await partsOf(octets)).list, list)
  })

  test('an empty list, which clears a variable, is signed as well', async () => {
    const nothing = new Uint8Array()
    const { octets } = await signedWith(uefiVariable, bytesSource(nothing), signer, optionsFor({ variable: 'PK' }))
    await opensslSays((await partsOf(octets)).message, await bundleFor({ variable: 'PK' }, nothing))
    assert.equal(await judged(uefiVariable, octets), 'valid')
    assert.equal(await judged(uefiVariable, await theySign({ variable: 'PK' }, nothing, signer)), 'valid')
  })

  test('R31: what is no list, no time or no variable is refused', async () => {
    const refused: readonly (readonly [Uint8Array, Readonly<Record<string, string>>, string])[] = [
      [list, {}, 'badArtifact'],
      [list, { variable: 'db' }, 'badArtifact'],
      [list, { timestamp }, 'badArtifact'],
      [list, { variable: 'Boot0000', timestamp }, 'formatOption'],
      [list, { variable: 'db', timestamp: 'yesterday' }, 'badArtifact'],
      [list, { variable: 'db', timestamp: '2027-02-30T00:00:00Z' }, 'badArtifact'],
      [list.subarray(0, -1), { variable: 'db', timestamp }, 'badArtifact'],
      [concat([list, new Uint8Array(3)]), { variable: 'db', timestamp }, 'badArtifact'],
      [list.with(24, 0x11), { variable: 'db', timestamp }, 'badArtifact'],
    ]
    for (const [octets, options, reason] of refused)
      await assert.rejects(signedWith(uefiVariable, bytesSource(octets), signer, options), { reason })
  })

  test('R31: heads that lie are refused', async () => {
    const { octets } = await signedWith(uefiVariable, bytesSource(list), signer, optionsFor({ variable: 'db' }))
    const changed = (at: number, value: number): Uint8Array => octets.with(at, value)
    // month, nanosecond, time zone, length of the signature: too long, too short
    for (const one of [changed(2, 13), changed(8, 1), changed(12, 1), changed(18, 0xff), changed(17, 0)])
      assert.match(await judged(uefiVariable, one), /malformed|tooLarge/)
    // revision, type and kind of signature: then it is an unsigned list, which it is not
    for (const at of [20, 22, 24]) assert.equal(await judged(uefiVariable, changed(at, 0xee)), 'malformed badArtifact')
  })
})
