/** Links between generations of a root, and cross certificates, judged by OpenSSL and GnuTLS: old and new trust anchors. @module */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { generateAndIssue } from '#ca/by-hand.ts'
import { crossSign } from '#ca/cross-sign.ts'
import { rekeyAuthority } from '#ca/rotate.ts'
import { hierarchy, person, type TestCA, testCA } from '#ca/testing.ts'
import { issueListenerCertificate, TLS_AUTHORITY } from '#server/listener-certificate.ts'
import { nameOf } from '#x509/name.ts'
import { needs } from './programs.ts'

/** By trust anchor, certificates on the way, and the one to judge: whether the verifier takes it. */
type Verify = (anchor: Uint8Array, between: readonly Uint8Array[], leaf: Uint8Array) => Promise<boolean>

const openssl = needs('openssl')
const certtool = needs('certtool')

const pem = (ders: readonly Uint8Array[]): string => ders.map((der) => encodePEM('CERTIFICATE', der)).join('')
const succeeds = (program: string, args: readonly string[]): Promise<boolean> =>
  new Promise((resolve) => {
    execFile(program, args, (error) => resolve(error === null))
  })

function filesIn(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-life-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return (name: string, ders: readonly Uint8Array[]): string => {
    const path = join(directory, name)
    writeFileSync(path, pem(ders))
    return path
  }
}

const withOpenSSL =
  (write: ReturnType<typeof filesIn>): Verify =>
  (anchor, between, leaf) => {
    const untrusted = between.length === 0 ? [] : ['-untrusted', write('between.pem', between)]
    return succeeds(openssl.path('openssl'), [
      'verify',
      '-CAfile',
      write('anchor.pem', [anchor]),
      ...untrusted,
      write('leaf.pem', [leaf]),
    ])
  }

const withGnuTLS =
  (write: ReturnType<typeof filesIn>): Verify =>
  (anchor, between, leaf) =>
    succeeds(certtool.path('certtool'), [
      '--verify',
      '--verify-profile=medium',
      '--load-ca-certificate',
      write('anchor.pem', [anchor]),
      '--infile',
      write('chain.pem', [leaf, ...between]),
    ])

async function leafOf(ca: TestCA, authority: string, host = 'press.plant.example'): Promise<Uint8Array> {
  const names = [{ type: 'dNSName' as const, value: host }]
  const wanted = { authority, profile: 'tls-server', subject: [], names, keyAlgorithm: 'ecdsa-p256' as const }
  return (await generateAndIssue(ca.context, ca.authorities, wanted, person)).certificate
}

for (const [program, skip, verifier] of [
  ['OpenSSL', openssl.skip, withOpenSSL],
  ['GnuTLS', certtool.skip, withGnuTLS],
] as const) {
  describe(program, { skip }, () => {
    test('RFC 9810, 4.4: either root reaches what either generation issued, by the link and not without', async (t) => {
      await using ca = await testCA()
      await hierarchy(ca, { noExpiry: false })
      const { context, authorities } = ca
      const verify = verifier(filesIn(t))
      const der = (address: string): Uint8Array => authorities.byAddress(address).certificate.der
      const before = await leafOf(ca, 'line1')
      await rekeyAuthority(context, authorities, 'root', {}, person)
      await rekeyAuthority(context, authorities, 'line1', {}, person)
      const after = await leafOf(ca, 'line1')
      const link = (address: string): Uint8Array =>
        authorities.further(authorities.byAddress(address))[0]?.certificate.der ?? new Uint8Array(0)
      const [newWithOld, oldWithNew] = [link('root.2'), link('root.1')]

      assert.equal(await verify(der('root.1'), [der('line1.1')], before), true)
      assert.equal(await verify(der('root.2'), [der('line1.2')], after), true)
      assert.equal(await verify(der('root.1'), [der('line1.2'), newWithOld], after), true, 'the old anchor takes what is new')
      assert.equal(await verify(der('root.2'), [der('line1.1'), oldWithNew], before), true, 'the new anchor takes what is old')
      assert.equal(await verify(der('root.1'), [der('line1.2')], after), false)
      assert.equal(await verify(der('root.2'), [der('line1.1')], before), false)
      assert.equal(await verify(der('root.1'), [der('line1.2'), oldWithNew], after), false)
    })

    test('who was given the TLS root of the installation still knows its server once that root has a new key', async (t) => {
      await using ca = await testCA()
      const { context, authorities } = ca
      const name = nameOf([{ type: 'CN', value: 'TLS root' }])
      const { certificate: given } = await authorities.create(
        { slug: TLS_AUTHORITY, name, profile: 'root', keyAlgorithm: 'ecdsa-p256' },
        person,
      )
      const served = async (): Promise<readonly Uint8Array[]> => {
        const { identity } = await issueListenerCertificate(context, authorities, { names: ['localhost'], validityDays: 90 })
        return parsePEM(identity.certificateChainPEM).map(({ der }) => der)
      }
      const verify = verifier(filesIn(t))
      const [before = given.der] = await served()
      assert.equal(await verify(given.der, [], before), true)
      const next = await rekeyAuthority(context, authorities, TLS_AUTHORITY, {}, person)
      const [after = given.der, ...between] = await served()
      assert.equal(between.length, 1)
      assert.equal(await verify(given.der, between, after), true)
      assert.equal(await verify(given.der, [], after), false)
      assert.equal(await verify(next.certificate.der, [], after), true)
    })

    test('RFC 5280, 4.2.1.10: a cross certificate leads to the other hierarchy, within its name space only', async (t) => {
      await using maker = await testCA()
      await hierarchy(maker, { noExpiry: false })
      await using plant = await testCA()
      const { authorities } = plant
      const named = (value: string) => nameOf([{ type: 'CN', value }])
      await authorities.create({ slug: 'plant', name: named('Plant root'), profile: 'root', keyAlgorithm: 'ecdsa-p256' }, person)
      await authorities.create(
        { slug: 'hall', name: named('Plant hall'), profile: 'issuing', issuer: 'plant', keyAlgorithm: 'ecdsa-p384' },
        person,
      )
      const verify = verifier(filesIn(t))
      const plantRoot = authorities.byAddress('plant').certificate.der
      const hall = authorities.byAddress('hall').certificate.der
      const wanted = {
        authority: 'root',
        of: { certificate: plantRoot },
        pathLength: 1,
        nameConstraints: { permitted: ['dns:plant.example'] },
      }
      const cross = (await crossSign(maker.context, maker.authorities, wanted, person)).der
      const anchor = maker.authorities.byAddress('root').certificate.der
      assert.equal(await verify(anchor, [hall, cross], await leafOf(plant, 'hall')), true)
      assert.equal(await verify(anchor, [hall], await leafOf(plant, 'hall')), false, 'without it there is no path')
      assert.equal(await verify(anchor, [hall, cross], await leafOf(plant, 'hall', 'bank.example')), false, 'another name space')
      const shallow = (await crossSign(maker.context, maker.authorities, { ...wanted, pathLength: 0 }, person)).der
      assert.equal(await verify(anchor, [hall, shallow], await leafOf(plant, 'hall')), false, 'one authority too deep')
    })
  })
}
