/** Chains of every key algorithm, judged by Botan 3, whose ML-DSA, SLH-DSA and Ed448 are its own (R31). @module */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { keyAlgorithms } from '#algorithms/table.ts'
import { root } from '#ca/profiles/root.ts'
import { hierarchy, person, testCA, testRequest } from '#ca/testing.ts'
import { needsExtra } from './programs.ts'

const { skip, path } = needsExtra('botan')

/** @returns a writer of PEM files into a folder that goes with the test */
function folder(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-botan-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return (name: string, der: Uint8Array): string => {
    writeFileSync(join(directory, name), encodePEM('CERTIFICATE', der))
    return join(directory, name)
  }
}

const verify = (leaf: string, ...authorities: readonly string[]): string => {
  const { stdout, stderr } = spawnSync(path, ['cert_verify', leaf, ...authorities], { encoding: 'utf8' })
  return stdout + stderr
}

for (const { id } of keyAlgorithms.filter(({ id: each }) => root.keyAlgorithms.includes(each))) {
  test(`R31: it verifies what authorities with ${id} issue`, { skip }, async (t) => {
    const write = folder(t)
    await using ca = await testCA({ publicUrl: 'http://pki.test' })
    await using other = await testCA({ publicUrl: 'http://pki.test' })
    const forger = { keyAlgorithm: id, noExpiry: false }
    await hierarchy(ca, forger)
    await hierarchy(other, forger)
    const { der } = await testRequest({ subject: [{ type: 'serialNumber', value: 'P-1' }] })
    const where = { authority: 'line1', profile: 'ldevid' }
    const { certificate } = await issueForRequest(ca.context, ca.authorities, where, der, person)
    const leaf = write('leaf.pem', certificate)
    const [root, line1, theirRoot, theirLine1] = [ca, other].flatMap(({ authorities }) =>
      ['root', 'line1'].map((slug) => authorities.byAddress(slug).certificate.der),
    ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
    assert.match(verify(leaf, write('root.pem', root), write('line1.pem', line1)), /passes validation checks/)
    assert.match(verify(leaf, write('other.pem', theirRoot), write('other1.pem', theirLine1)), /did not validate/)
  })
}
