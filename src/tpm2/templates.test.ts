import assert from 'node:assert/strict'
import { test } from 'node:test'
import { policyAuthorizeNV, policyDigest } from './policy.ts'
import { endorsementBranches, endorsementTemplate, endorsementTemplates } from './templates.ts'
import { TPMT_PUBLIC } from './structures.ts'
import { marshal, unmarshal } from './wire.ts'

// TCG EK Credential Profile 2.5, B.6.2 and B.6.5
const policies = [
  { id: 'L-1', digest: '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa' },
  { id: 'L-2', digest: '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa' },
  { id: 'H-1', digest: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0' },
  { id: 'H-2', digest: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0' },
  { id: 'H-3', digest: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12' },
  {
    id: 'H-4',
    digest:
      'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
  },
  { id: 'H-6', digest: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12' },
]

for (const { id, digest } of policies) {
  test(`the policy of template ${id} is the published one`, () => {
    assert.equal(endorsementTemplate(id).publicArea.authPolicy.toHex(), digest)
  })
}

test('the published attributes: 0x000300b2 below, 0x000300f2 above', () => {
  for (const { id, publicArea } of endorsementTemplates) {
    const octets = marshal(TPMT_PUBLIC, publicArea)
    assert.equal(octets.subarray(4, 8).toHex(), id.startsWith('L') ? '000300b2' : '000300f2')
    assert.deepEqual(unmarshal(TPMT_PUBLIC, octets), publicArea)
  }
  assert.equal(endorsementTemplates.length, policies.length)
})

// B.6.3: the names of the indexes 0x01C07F01 to 0x01C07F03
const indexNames = {
  SHA256: '000b0c9d717e9c3fe69fda41769450bb145957f8b3610e084dbf65591a5d11ecd83f',
  SHA384: '000cdb62fca346612c976732ff4e8621fb4e858be82586486504f7d02e621f8d7d61ae32cfc60c4d120609ed6768afcf090c',
  SHA512:
    '000d1c47c0bbcbd3cf7d7cae6987d31937c171015dde3b7f0d3c869bca1f7e8a223b9acfadb49b7c9cf14d450f41e9327de34d9291eece2c58ab1dc10e9059cce560',
} as const
for (const hash of ['SHA256', 'SHA384', 'SHA512'] as const) {
  test(`the second branch with ${hash} is the policy that an index holds`, () => {
    const step = policyAuthorizeNV(Uint8Array.fromHex(indexNames[hash]))
    assert.deepEqual(policyDigest(hash, step), endorsementBranches(hash)[1])
  })
}
