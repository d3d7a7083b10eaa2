/** What every profile gives, by the rules that ZLint knows: those of the RFCs, not those of browsers. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { profiles } from '#ca/profiles/registry.ts'
import { sampleOf } from '#ca/sample.ts'
import { testCA } from '#ca/testing.ts'
import { needsExtra } from './programs.ts'

const { skip, path } = needsExtra('zlint')

const SOURCES = 'RFC3279,RFC5280,RFC5480,RFC5891,RFC8813'

/** What it warns of and we do on purpose, by profile. */
const ON_PURPOSE: Readonly<Record<string, readonly string[]>> = {
  // SHOULD of RFC 5280, 4.2.1.2; a birth certificate has none (profiles/idevid.ts)
  idevid: ['w_ext_subject_key_identifier_missing_sub_cert: warn'],
}

/** @returns names of rules with their verdicts, of those that are not content */
function lintOf(t: TestContext, der: Uint8Array): readonly string[] {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-zlint-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'certificate.pem')
  writeFileSync(file, encodePEM('CERTIFICATE', der))
  const text = execFileSync(path, ['-includeSources', SOURCES, file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const verdicts = Object.entries(JSON.parse(text) as Readonly<Record<string, { readonly result: string }>>)
  assert.ok(verdicts.filter(([, { result }]) => result === 'pass').length > 20, 'it looked at little')
  return verdicts.flatMap(([rule, { result }]) => (['pass', 'NA', 'NE', 'info'].includes(result) ? [] : [`${rule}: ${result}`]))
}

for (const profile of profiles) {
  test(`R3: a certificate of ${profile.id} breaks no rule`, { skip }, async (t) => {
    await using ca = await testCA()
    const { certificate } = await sampleOf(ca.context, profile)
    assert.deepEqual(lintOf(t, certificate), ON_PURPOSE[profile.id] ?? [])
  })
}

test('it finds what is wrong', { skip }, (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-zlint-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const to = ['-keyout', join(directory, 'key.pem'), '-out', join(directory, 'wrong.pem')]
  const wrong = ['-subj', '/C=99/CN=wrong', '-addext', 'basicConstraints=CA:TRUE,pathlen:0']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', ...wrong, ...to], { stdio: 'ignore' })
  const der = execFileSync('openssl', ['x509', '-in', join(directory, 'wrong.pem'), '-outform', 'DER'])
  assert.ok(lintOf(t, der).some((finding) => finding.endsWith(': error')))
})
