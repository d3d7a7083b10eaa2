/** Lists of known keys, compared with what OpenSSL prints of a key. @module */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { generateAndIssue, issueForRequest } from './by-hand.ts'
import { hierarchy, person, testCA, testKey, testRequest } from './testing.ts'
import { parseWeakKeys, weakKeyHash } from './weak-keys.ts'

test('the hash is that of what `openssl rsa -modulus` prints, as openssl-vulnkey has it', () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const printed = execFileSync('openssl', ['rsa', '-pubin', '-modulus', '-noout'], {
    input: publicKey.export({ type: 'spki', format: 'pem' }),
  })
  const modulus = BigInt(`0x${Buffer.from(String(publicKey.export({ format: 'jwk' }).n), 'base64url').toString('hex')}`)
  assert.equal(weakKeyHash(modulus), createHash('sha1').update(printed).digest('hex').slice(20))
})

test('a list has comments and hashes, and says where it is not understood', () => {
  assert.deepEqual(parseWeakKeys('# list\n\n00112233445566778899\nAABBCCDDEEFF00112233\n', 'f'), [
    '00112233445566778899',
    'aabbccddeeff00112233',
  ])
  assert.throws(() => parseWeakKeys('# x\nabc\n', 'f'), {
    code: 'malformed',
    reason: 'weakKeyList',
    facts: { file: 'f', line: 2 },
  })
})

test('R33: a key of the list gets no certificate, another does', async () => {
  const key = testKey('rsa-2048')
  const jwk = createPublicKey(key.key).export({ format: 'jwk' })
  const modulus = BigInt(`0x${Buffer.from(String(jwk.n), 'base64url').toString('hex')}`)
  await using ca = await testCA({ weakKeys: new Set([weakKeyHash(modulus)]) })
  await hierarchy(ca, { noExpiry: false })
  const where = { authority: 'line1', profile: 'ra' }
  const { der } = await testRequest({ subject: [{ type: 'CN', value: 'Station' }], key })
  await assert.rejects(issueForRequest(ca.context, ca.authorities, where, der, person), {
    code: 'policyRefused',
    reason: 'lint',
    facts: { rule: 'weak-key-list', finding: 'the key is on a list of keys that others have too' },
  })
  await generateAndIssue(
    ca.context,
    ca.authorities,
    { ...where, subject: [[{ type: '2.5.4.3', value: 'Station', encoding: 'utf8String' }]], names: [], keyAlgorithm: 'rsa-2048' },
    person,
  )
})
