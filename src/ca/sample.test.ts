/** Every profile gives a filled sample that is a certificate of its kind. @module */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { extensionOf, parseCertificate } from '#x509/certificate.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { attributesOf, parseName } from '#x509/name.ts'
import { profiles } from './profiles/registry.ts'
import { timeStamping } from './profiles/time-stamping.ts'
import { sampleOf } from './sample.ts'
import { testCA } from './testing.ts'

for (const profile of profiles) {
  test(`a sample of ${profile.id} is what the profile says, and its issuer signed it`, async () => {
    await using ca = await testCA({ publicUrl: undefined })
    const { certificate: der, issuer } = await sampleOf(ca.context, profile)
    const certificate = parseCertificate(der)
    assert.ok(new X509Certificate(der).verify(new X509Certificate(issuer).publicKey))
    const name = parseName(certificate.subject)
    for (const [type, presence] of Object.entries(profile.subject))
      if (presence === 'required') assert.equal(attributesOf(name, type).length, 1, type)
    const names = extensionOf(certificate, subjectAltName)?.value ?? []
    const { presence: _, hardwareModuleName, ...kinds } = profile.subjectAltName as Record<string, unknown>
    assert.equal(names.length, Object.keys(kinds).length + (hardwareModuleName === true ? 1 : 0))
    assert.deepEqual(extensionOf(certificate, extKeyUsage)?.value ?? [], profile.extendedKeyUsage)
    assert.equal((await ca.entries()).length, 0, 'nothing is issued')
    assert.deepEqual(await ca.context.keys.list(), [])
  })
}

test('RFC 3161, 2.3: the purpose of time stamping stands alone and is critical', async () => {
  await using ca = await testCA()
  const { certificate } = await sampleOf(ca.context, timeStamping)
  assert.deepEqual(extensionOf(parseCertificate(certificate), extKeyUsage), { value: ['1.3.6.1.5.5.7.3.8'], critical: true })
})

test('a profile that nothing can be issued with says so', async () => {
  await using ca = await testCA()
  const [root] = profiles
  await assert.rejects(
    sampleOf(ca.context, { ...root, subject: { C: 'required', CN: 'required' }, keyUsage: ['digitalSignature'] }),
    {
      code: 'policyRefused',
    },
  )
})
